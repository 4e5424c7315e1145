# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which queues a module is asked about: its options, their check, and the queues that fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ansible_collections.quai.ops.plugins.module_utils._queue_facts import Facts, counts
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import (
    STATES,
    Flavour,
    Queue,
    QueueProblem,
    detect,
    find,
    misnamed,
)
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, Server

OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "queues": {"type": "list", "elements": "str", "default": ["*"]},
    "prefix": {"type": "str", "default": "bull"},
    "library": {"type": "str", "choices": ["auto", "bull", "bullmq"], "default": "auto"},
    "version": {"type": "str", "default": ""},
}
Asked = list[tuple[Queue, Flavour]]


def refuse_bad(params: Mapping[str, Any], *, positive: Iterable[str] = (), natural: Iterable[str] = ()) -> None:
    """Check what the argument specification cannot. Raises QueueProblem that names everything that is wrong."""
    problems = misnamed(params)
    problems += [f"{name}: {params[name]} is not more than 0" for name in positive if not params[name] > 0]
    problems += [f"{name}: {params[name]} is less than 0" for name in natural if not params[name] >= 0]
    if problems:
        raise QueueProblem("; ".join(problems))


def detected(server: Server, params: Mapping[str, Any]) -> tuple[Asked, list[Facts]]:
    """The queues that fit, with who writes them, and facts of those of which that is not known. Raises RedisFailed."""
    asked: Asked = []
    unknown: list[Facts] = []
    for queue in find(server, params["queues"], params["prefix"]):
        try:
            flavour = detect(server.at(queue.key("meta")), queue, params["library"], params["version"])
        except QueueProblem as problem:
            unknown.append(_unknown(queue, str(problem)))
        else:
            asked.append((queue, flavour))
    return asked, unknown


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


__all__ = ["OPTIONS", "Asked", "counted", "detected", "refuse_bad", "totals"]
