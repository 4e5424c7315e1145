# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which queues M(quai.ops.queue_info) is asked about, and what is said of those that cannot be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._queue_facts import Facts, counts
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import (
    STATES,
    Flavour,
    Queue,
    QueueProblem,
    find,
    is_pattern,
)
from ansible_collections.quai.ops.plugins.module_utils._queue_options import absent, named, told, unfitting
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, Server


class Asked(NamedTuple):
    """The queues that fit."""

    queues: list[tuple[Queue, Flavour]]
    unknown: list[Facts]  # of names that no queue has, and of queues of which nobody knows who writes them
    warnings: list[str]  # patterns that nothing fits


def detected(server: Server, params: Mapping[str, Any]) -> Asked:
    """The queues that fit, with who writes them. Raises RedisFailed."""
    prefix = params["prefix"]
    queues, missing = named(server, params["queues"], prefix)
    lost = [name for name in missing if not is_pattern(name)]
    said = absent(server, lost, prefix) if lost else []
    unknown = [_unknown(Queue(prefix, name), problem) for name, problem in zip(lost, said)]
    asked = []
    for _link, queue, flavour in told(server, queues, params["library"], params["version"]):
        if isinstance(flavour, QueueProblem):
            unknown.append(_unknown(queue, str(flavour)))
        else:
            asked.append((queue, flavour))
    return Asked(asked, unknown, unfitting(missing, prefix))


def _unknown(queue: Queue, problem: str) -> Facts:
    return {
        "name": queue.name,
        "prefix": queue.prefix,
        **dict.fromkeys(("library", "version", "major", "version_evidence")),
        "problems": [problem],
    }


def counted(server: Server, patterns: Sequence[str], prefix: str) -> list[Facts]:
    """Counts of the queues that fit, one round trip for those of one server. Raises QueueProblem and RedisFailed."""
    links: dict[int, tuple[Link, list[Queue]]] = {}
    for queue in find(server, patterns, prefix):
        link = server.at(queue.key("meta"))
        links.setdefault(id(link), (link, []))[1].append(queue)
    found = [one for link, queues in links.values() for one in counts(link, queues)]
    return sorted(found, key=lambda one: str(one["name"]))


def totals(found: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Jobs of all queues by state, as far as they are known."""
    known = [one["counts"] for one in found if one.get("counts")]
    return {state: sum(one[state] or 0 for one in known) for state in STATES}


__all__ = ["Asked", "counted", "detected", "totals"]
