# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that all modules for queues have: which queues. Documented in the fragment quai.ops.queue.

A name that no queue has is a mistake, unless missing is skip; a pattern that nothing fits is a warning.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._queue_layout import (
    STATES,
    Flavour,
    Queue,
    QueueProblem,
    detect_all,
    find,
    is_pattern,
    misnamed,
)
from ansible_collections.quai.ops.plugins.module_utils._queue_rules import duration
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, Server, good

OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "queues": {"type": "list", "elements": "str", "required": True},
    "prefix": {"type": "str", "default": "bull"},
    "library": {"type": "str", "choices": ["auto", "bull", "bullmq"], "default": "auto"},
    "version": {"type": "str", "default": ""},
}
FAIL, SKIP = "fail", "skip"
# Of the modules that change queues.
MISSING: Final[Mapping[str, Mapping[str, Any]]] = {
    "missing": {"type": "str", "choices": [FAIL, SKIP], "default": FAIL},
}
# Any of these keys says that there is a queue.
_THERE: Final = ("meta", "meta-paused", "id", "events", *STATES)
_TOGETHER: Final = 500
_NEAR: Final = 3


class At(NamedTuple):
    """One queue, who holds it, and who writes it."""

    link: Link
    queue: Queue
    flavour: Flavour


class Chosen(NamedTuple):
    """The queues that somebody means."""

    queues: list[At]
    skipped: list[str]  # names and patterns for which there is no queue
    warnings: list[str]


def read(
    params: Mapping[str, Any],
    *,
    durations: Iterable[str] = (),
    positive: Iterable[str] = (),
    natural: Iterable[str] = (),
) -> dict[str, float]:
    """Check what the argument specification cannot; return C(durations) in seconds.

    Raises QueueProblem that names everything that is wrong.
    """
    problems = misnamed(params)
    times = {}
    for name in durations:
        try:
            times[name] = duration(params[name]) / 1000
        except ValueError as error:
            problems.append(f"{name}: {error}")
    problems += [f"{name}: {params[name]} is not more than 0" for name in positive if not params[name] > 0]
    problems += [f"{name}: {params[name]} is less than 0" for name in natural if not params[name] >= 0]
    if problems:
        raise QueueProblem("; ".join(problems))
    return times


def chosen(server: Server, params: Mapping[str, Any], *, unless: Sequence[str] = ()) -> Chosen:
    """The queues that C(queues), C(prefix), C(library), C(version) and C(missing) mean, sorted by name.

    Those are left out whose name is one of C(unless), or fits a pattern there. Raises QueueProblem with everything that
    is wrong, and RedisFailed.
    """
    queues, skipped = named(server, params["queues"], params["prefix"])
    lost = [name for name in skipped if not is_pattern(name)]
    if lost and params["missing"] == FAIL:
        raise QueueProblem(
            f"{'; '.join(absent(server, lost, params['prefix']))}; nothing was changed (missing: skip goes on without)"
        )
    queues = [queue for queue in queues if not any(fnmatch.fnmatchcase(queue.name, one) for one in unless)]
    found, problems = [], []
    for link, queue, flavour in told(server, queues, params["library"], params["version"]):
        if isinstance(flavour, QueueProblem):
            problems.append(str(flavour))
        else:
            found.append(At(link, queue, flavour))
    if problems:
        raise QueueProblem("; ".join(problems))
    return Chosen(found, skipped, unfitting(skipped, params["prefix"]))


def named(server: Server, names: Sequence[str], prefix: str) -> tuple[list[Queue], list[str]]:
    """The queues that are there, sorted by name, and the names and patterns that stand for none. Raises RedisFailed."""
    exact = [Queue(prefix, name) for name in names if not is_pattern(name)]
    there = {queue for queue, exists in zip(exact, _existing(server, exact)) if exists}
    found: set[Queue] = set()
    missing = []
    for name in dict.fromkeys(names):
        fitting = set(find(server, [name], prefix)) if is_pattern(name) else there & {Queue(prefix, name)}
        if not fitting:
            missing.append(name)
        found |= fitting
    return sorted(found), missing


def told(
    server: Server, queues: Sequence[Queue], library: str, version: str
) -> list[tuple[Link, Queue, Flavour | QueueProblem]]:
    """Who writes each queue, or why that cannot be told: one round trip to each server. Raises RedisFailed."""
    found: dict[Queue, tuple[Link, Queue, Flavour | QueueProblem]] = {}
    for link, part in _by_link(server, queues):
        for queue, flavour in zip(part, detect_all(link, part, library, version)):
            found[queue] = (link, queue, flavour)
    return [found[queue] for queue in queues]


def absent(server: Server, names: Sequence[str], prefix: str) -> list[str]:
    """Sentences about names that no queue has, with those that are near. Raises RedisFailed."""
    there = [queue.name for queue in find(server, ["*"], prefix)]
    said = []
    for name in names:
        near = get_close_matches(name, there, n=_NEAR)
        hint = f" (there is {', '.join(near)})" if near else ""
        said.append(f"{name}: no queue has this name with the prefix {prefix}{hint}, or nothing was ever put into it")
    return said


def unfitting(names: Iterable[str], prefix: str) -> list[str]:
    """Warnings about the patterns among names that stand for no queue."""
    return [f"{name}: no queue with the prefix {prefix} fits this pattern" for name in names if is_pattern(name)]


def _existing(server: Server, queues: Sequence[Queue]) -> list[bool]:
    there: dict[Queue, bool] = {}
    for link, part in _by_link(server, queues):
        replies = link.ask(*(("EXISTS", *(queue.key(suffix) for suffix in _THERE)) for queue in part))
        there.update((queue, bool(good(reply, f"{queue.base}meta"))) for queue, reply in zip(part, replies))
    return [there[queue] for queue in queues]


def _by_link(server: Server, queues: Sequence[Queue]) -> list[tuple[Link, list[Queue]]]:
    """Queues that one server holds, not too many together."""
    held: dict[int, tuple[Link, list[Queue]]] = {}
    for queue in queues:
        link = server.at(queue.key("meta"))
        held.setdefault(id(link), (link, []))[1].append(queue)
    return [
        (link, part[begin : begin + _TOGETHER])
        for link, part in held.values()
        for begin in range(0, len(part), _TOGETHER)
    ]


__all__ = [
    "FAIL",
    "MISSING",
    "OPTIONS",
    "SKIP",
    "At",
    "Chosen",
    "absent",
    "chosen",
    "named",
    "read",
    "told",
    "unfitting",
]
