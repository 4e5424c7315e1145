# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be seen of queues of Bull and BullMQ from outside: counts, ages, workers, and what is wrong with them.

Reads only: no script, no command that writes, none that the libraries use and that would (their own count of jobs
takes markers away). Any number of queues is read in the same few round trips. What a first look finds suspicious is
looked at again a moment later, because jobs go from state to state between two commands: reads follow a job's way
(delayed, waiting, active), so that one that moves is met at least once.

Ages are measured with the clock of Redis. A number that is not known is None.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._probe_queue import HEAD, TAIL, Clients, waiting_since
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import (
    BULL,
    OWN,
    STATES,
    SUB_KEYS,
    Flavour,
    Queue,
    escaped,
)
from ansible_collections.quai.ops.plugins.module_utils._queue_reasons import Failure, grouped
from ansible_collections.quai.ops.plugins.module_utils._queue_state import is_marker
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, Server, good
from ansible_collections.quai.ops.plugins.module_utils._resp import Argument, Refusal, Reply, number, text

Facts = dict[str, Any]
Command = tuple[Argument, ...]

# A job that is due is in front: delayed jobs are sorted by their time in ms, times this, plus a counter.
DELAYED_UNIT: Final = 4096
# Active jobs, parents, schedules and failed jobs that are looked at.
ACTIVE: Final = 1000
PARENTS: Final = 100
CHILDREN: Final = 50
SCHEDULES: Final = 200
FAILED: Final = 500
# Ends of the sorted sets that are looked at for ids without a job.
ENDS: Final = 50
# A parent that is younger may still get its children.
PARENT_AGE_MS: Final = 60_000
# What rateLimit() of BullMQ writes: no job at all until the key expires.
LIMITED_BY_HAND: Final = 2**53 - 1
# A moment, in seconds, after which what looked suspicious is looked at again. Between taking a job and locking it a
# worker needs one round trip.
MOMENT: Final = 0.25
# Queues that are read together beyond their counts, and keys of one page of SCAN.
TOGETHER: Final = 100
PAGE: Final = 1000
# Time between two looks of a watch, s.
POLL: Final = 0.5
# Keys that orphans are looked for in, unless more are asked for.
MOST_KEYS: Final = 1_000_000

_JOB: Final = ("timestamp", "processedOn", "opts", "attemptsMade", "atm", "name")
_ZSETS: Final = tuple(state for state, kind in STATES.items() if kind == "zset")


class Wanted(NamedTuple):
    """How closely to look."""

    samples: int = 3  # ids of each finding
    deep: bool = False  # every id and every key, to count ghosts and orphans
    job_data: bool = False  # names, reasons as they are and data of the samples
    failed: int = FAILED  # failed jobs that are grouped, the newest
    max_keys: int = MOST_KEYS
    now_ms: int | None = None  # in place of the clock of Redis, for tests
    pause: Callable[[float], None] = time.sleep


def counts(link: Link, queues: Sequence[Queue]) -> list[Facts]:
    """Counts of jobs per state and whether a queue is paused, of any number of queues in one round trip.

    A count is None where the key is of another type. Raises RedisFailed.
    """
    per_queue = [_count_commands(queue) for queue in queues]
    replies = iter(link.ask(*(command for commands in per_queue for command in commands)))
    found = [_counted(queue, [next(replies) for _one in commands]) for queue, commands in zip(queues, per_queue)]
    return [{name: value for name, value in one.items() if name != "_signs"} for one in found]


def facts(link: Link, server: Server, queue: Queue, flavour: Flavour, *, samples: int = 3, deep: bool = False) -> Facts:
    """Everything about one queue. Raises RedisFailed."""
    (found,) = survey(server, [(queue, flavour)], Wanted(samples=samples, deep=deep), link=link)
    return found


def survey(
    server: Server,
    queues: Sequence[tuple[Queue, Flavour]],
    wanted: Wanted,
    *,
    link: Link | None = None,
    before: Sequence[Facts] = (),
) -> list[Facts]:
    """Everything about some queues, in their order. C(before) is what an earlier call returned for the same queues:

    then RV(moving) says whether jobs were taken or finished in between, and C(unlocked) for how long. Raises
    RedisFailed.
    """
    clients = connected(server)
    found: dict[int, Facts] = {}
    groups: dict[int, tuple[Link, list[int]]] = {}
    for index, (queue, _flavour) in enumerate(queues):
        one = link or server.at(queue.key("meta"))
        groups.setdefault(id(one), (one, []))[1].append(index)
    for one, indexes in groups.values():
        for start in range(0, len(indexes), TOGETHER):
            part = indexes[start : start + TOGETHER]
            looks = [
                _Look(*queues[index], wanted=wanted, clients=clients, before=before[index] if before else None)
                for index in part
            ]
            _look(one, looks, wanted)
            found.update((index, look.facts) for index, look in zip(part, looks))
    return [found[index] for index in range(len(queues))]


def connected(server: Server) -> list[Clients] | None:
    """Who is connected to each node; None when that may not be asked."""
    found = []
    for node in server.nodes():
        (reply,) = node.ask(("CLIENT", "LIST"))
        if isinstance(reply, Refusal):
            return None
        found.append(Clients(text(reply), node.database))
    return found


def watch(
    server: Server,
    queues: Sequence[tuple[Queue, Flavour]],
    wanted: Wanted,
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> list[Facts]:
    """Look at queues, and again until it is known of each whether its jobs move, for at most C(seconds).

    Raises RedisFailed.
    """
    end = clock() + seconds
    before = survey(server, queues, wanted)
    found = before
    while any(map(unsettled, found)) and clock() < end:
        wanted.pause(min(POLL, max(0.0, end - clock())))
        found = survey(server, queues, wanted, before=before)
    return found


def unsettled(found: Facts) -> bool:
    """Whether a longer look can say more: jobs wait that could be taken, or one is active that nobody holds."""
    if found["problems"]:
        return False
    # Without a worker too: one that was just started needs a moment to connect.
    return unmoved(found) or bool(found["unlocked"])


def unmoved(found: Facts) -> bool:
    """Whether jobs wait that could be taken, and no sign was seen of a worker that is at work."""
    return bool(found["waiting"]) and not found["paused"] and not found["moving"] and not found["renewed"]


def published(found: Facts) -> Facts:
    """The facts without what is only kept to be compared with a later look."""
    whole = {name: value for name, value in found.items() if not name.startswith("_")}
    if "unlocked" in whole:
        whole["unlocked"] = [{name: one[name] for name in ("id", "since_s", "seen_for_s")} for one in whole["unlocked"]]
    return whole


def _count_commands(queue: Queue) -> list[Command]:
    key = queue.key
    return [
        *(("LLEN" if kind == "list" else "ZCARD", key(state)) for state, kind in STATES.items()),
        ("HGET", key("meta"), "paused"),
        ("EXISTS", key("meta-paused")),
        # BullMQ 2 to 4 wakes its workers by markers among the ids.
        ("LINDEX", key("wait"), 0),
        ("LINDEX", key("wait"), -1),
    ]


def _counted(queue: Queue, replies: Sequence[Reply]) -> Facts:
    problems: list[str] = []
    found: dict[str, int | None] = {}
    for state, reply in zip(STATES, replies):
        found[state] = _value(queue.key(state), reply, problems)
    paused, was_paused, first, last = (_value(queue.key("meta"), reply, problems) for reply in replies[len(STATES) :])
    if found["wait"]:
        ends = {0: text(first), found["wait"] - 1: text(last)}
        found["wait"] -= sum(is_marker(end) for end in ends.values())
    return {
        "name": queue.name,
        "prefix": queue.prefix,
        "counts": found,
        "paused": bool(text(paused)) or bool(was_paused),
        "_signs": (bool(text(paused)), bool(was_paused)),
        "problems": list(dict.fromkeys(problems)),
    }


def _value(key: str, reply: Reply, problems: list[str]) -> Any:
    """The reply; None, and a problem, when the key is of another type. Raises RedisFailed for other errors."""
    if isinstance(reply, Refusal) and reply.code == "WRONGTYPE":
        problems.append(f"{key} is of another type than that of a queue")
        return None
    return good(reply, key)


def _look(link: Link, looks: Sequence[_Look], wanted: Wanted) -> None:
    """Let every look ask its questions; those of one step of all queues go together."""
    asked = [look.questions() for look in looks]
    waiting: dict[int, list[Command]] = {index: next(steps) for index, steps in enumerate(asked)}
    while waiting:
        commands = [command for one in waiting.values() for command in one]
        if any(looks[index].wants_pause for index in waiting):
            wanted.pause(MOMENT)
        replies = iter(link.ask(*commands) if commands else ())
        following: dict[int, list[Command]] = {}
        for index, one in waiting.items():
            try:
                following[index] = asked[index].send([next(replies) for _command in one])
            except StopIteration:
                if wanted.deep:
                    looks[index].search(link)
                looks[index].finish()
        waiting = following


class _Look:
    """One look at one queue."""

    def __init__(
        self,
        queue: Queue,
        flavour: Flavour,
        *,
        wanted: Wanted,
        clients: Sequence[Clients] | None,
        before: Facts | None,
    ) -> None:
        self.queue, self.flavour, self.wanted, self.before = queue, flavour, wanted, before
        self.problems: list[str] = []
        self.wants_pause = False
        self.now = 0
        self._jobs: dict[str, dict[str, str]] = {}
        self._ghosts: dict[str, list[str]] = {}
        workers = None
        if clients is not None:
            # A worker of a cluster names a connection to each node, but waits at one; the library counts so as well.
            workers = max((one.workers(queue.prefix, queue.name, flavour.library) for one in clients), default=0)
        self.facts: Facts = {
            "name": queue.name,
            "prefix": queue.prefix,
            "library": flavour.library,
            "version": flavour.version or None,
            "major": flavour.major or None,
            "version_evidence": flavour.evidence,
            "workers": workers,
            "problems": self.problems,
        }

    def questions(self) -> Generator[list[Command], list[Reply], None]:
        """The commands of each step; what is sent back are their replies."""
        ids = self._first((yield self._first_commands()))
        self._second(ids, (yield self._second_commands(ids)))
        doubts = self._doubts()
        if doubts:
            self.wants_pause = any(doubt.kind != "sample" for doubt in doubts)
            self._settle(doubts, (yield [command for doubt in doubts for command in doubt.commands]))

    # -- first step: counts and ids

    def _first_commands(self) -> list[Command]:
        key = self.queue.key
        self._counting = _count_commands(self.queue)
        self._named: dict[str, Command] = {
            "clock": ("TIME",),
            "settings": ("HMGET", key("meta"), "concurrency", "max", "duration"),
            "wait_head": ("LRANGE", key("wait"), 0, HEAD - 1),
            "wait_tail": ("LRANGE", key("wait"), -TAIL, -1),
            "paused_head": ("LRANGE", key("paused"), 0, HEAD - 1),
            "paused_tail": ("LRANGE", key("paused"), -TAIL, -1),
            "prioritized": ("ZRANGE", key("prioritized"), 0, ENDS - 1),
            "active": ("LRANGE", key("active"), -ACTIVE, -1),
            "newest_active": ("LINDEX", key("active"), 0),
            "first_delayed": ("ZRANGE", key("delayed"), 0, ENDS - 1, "WITHSCORES"),
            "completed": ("ZREVRANGE", key("completed"), 0, 0, "WITHSCORES"),
            "oldest_completed": ("ZRANGE", key("completed"), 0, ENDS - 1),
            "failed": ("ZREVRANGE", key("failed"), 0, max(1, self.wanted.failed) - 1, "WITHSCORES"),
            "oldest_failed": ("ZRANGE", key("failed"), 0, 0, "WITHSCORES"),
            "parents": ("ZRANGE", key("waiting-children"), 0, PARENTS - 1, "WITHSCORES"),
            "schedule_count": ("ZCARD", key("repeat")),
            "schedules": ("ZRANGE", key("repeat"), 0, SCHEDULES - 1, "WITHSCORES"),
            "limiter": ("GET", key("limiter")),
            "limiter_ttl": ("PTTL", key("limiter")),
            "marker": ("ZRANGE", key("marker"), 0, -1, "WITHSCORES"),
            "events": ("XLEN", key("events")),
            "finished": ("HGET", key("metrics:completed"), "count"),
        }
        return [*self._counting, *self._named.values()]

    def _first(self, replies: Sequence[Reply]) -> list[str]:
        """Take the replies; returns the ids whose jobs are read next."""
        split = len(self._counting)
        counted = _counted(self.queue, replies[:split])
        self.problems += counted["problems"]
        found = {
            name: _value(str(command[1]) if len(command) > 1 else "TIME", reply, self.problems)
            for (name, command), reply in zip(self._named.items(), replies[split:])
        }
        self.now = self.wanted.now_ms or _milliseconds(found["clock"])
        # Each library heeds its own sign alone.
        paused = counted["_signs"][1] if self.flavour.bull else counted["_signs"][0]
        self.facts.update(counts=counted["counts"], paused=paused, looked_at_ms=self.now)
        self._found = found
        self._throttled(found)
        self.facts["markers"] = _markers(found["marker"]) if self.flavour.marker_set else None
        self.facts["events"] = found["events"] if self.flavour.events else None
        # Workers take from the tail of a list and the low end of a set.
        groups = [_texts(found[name]) for name in ("wait_tail", "paused_tail", "wait_head", "paused_head")]
        waiting = [*groups[0][::-1], *groups[1][::-1], *_texts(found["prioritized"]), *groups[2], *groups[3]]
        self._waiting = [one for one in dict.fromkeys(waiting) if one and not is_marker(one)]
        self._active = [one for one in dict.fromkeys(_texts(found["active"])) if not is_marker(one)]
        self._delayed = _scored(found["first_delayed"])
        self._failed = _scored(found["failed"])
        self._parents = _scored(found["parents"])
        self._schedules = _scored(found["schedules"])
        ids = [*self._waiting, *self._active, *self._delayed, *_texts(found["oldest_completed"])]
        return list(dict.fromkeys([*ids, *_scored(found["completed"])]))

    def _throttled(self, found: Mapping[str, Reply]) -> None:
        concurrency, most, _duration = (number(one) for one in found["settings"] or (None, None, None))
        ttl, used = found["limiter_ttl"] or 0, number(found["limiter"])
        limited: bool | None = False
        if ttl > 0 and used is not None:
            # How many jobs a worker may take is in its own code unless the queue has a limit for all.
            limited = True if used >= LIMITED_BY_HAND else used >= most if most is not None else None
        active = self.facts["counts"]["active"]
        full = concurrency is not None and active is not None and active >= concurrency
        self.facts["throttled"] = {
            "limited": limited,
            "limited_for_ms": ttl if ttl > 0 and limited is not False else 0,
            "concurrency": concurrency,
            "full": full,
        }

    # -- second step: jobs, locks, children, schedules

    def _second_commands(self, ids: Sequence[str]) -> list[Command]:
        key = self.queue.key
        self._witnesses = list(self.before["_witnesses"]) if self.before else []
        self._armed = {
            member: _armed_ids(member, score, self.flavour.library) for member, score in self._schedules.items()
        }
        return [
            ("ZCOUNT", key("delayed"), "-inf", self.now * DELAYED_UNIT + DELAYED_UNIT - 1),
            *(("HMGET", key(one), *_JOB) for one in ids),
            *(("PTTL", key(f"{one}:lock")) for one in self._active),
            *(("HMGET", key(one), "failedReason", "name") for one in self._failed),
            *(("HGET", key(one), "processedOn") for one in self._witnesses),
            *(("SCARD", key(f"{one}:dependencies")) for one in self._parents),
            *(("SSCAN", key(f"{one}:dependencies"), 0, "COUNT", CHILDREN) for one in self._parents),
            *(("HMGET", key(f"repeat:{member}"), "ic", "limit", "endDate") for member in self._schedules),
            *(("ZSCORE", key("delayed"), one) for ids in self._armed.values() for one in ids),
        ]

    def _second(self, ids: Sequence[str], replies: Sequence[Reply]) -> None:
        taken = iter(replies)

        def take(keys: Iterable[Any]) -> list[Reply]:
            return [next(taken) for _key in keys]

        overdue = _value("delayed", next(taken), self.problems) or 0
        for one, reply in zip(ids, take(ids)):
            self._jobs[one] = self._job(one, reply)
        self._locks = dict(zip(self._active, take(self._active)))
        failed = take(self._failed)
        self._failures(failed)
        self._moving(take(self._witnesses))
        self._dependencies = dict(zip(self._parents, take(self._parents)))
        self._children = {parent: _texts(page[1]) for parent, page in zip(self._parents, take(self._parents))}
        self._templates = dict(zip(self._schedules, take(self._schedules)))
        armed = {member: any(take(some)) for member, some in self._armed.items()}
        self._missing = [member for member in self._schedules if not armed[member]]
        self._waits(int(overdue))
        for state, some in (
            ("wait", self._waiting),
            ("active", self._active),
            ("delayed", self._delayed),
            ("completed", [one for one in ids if one not in self._waiting and one not in self._active]),
        ):
            for one in some:
                if one in self._jobs and not any(self._jobs[one].values()):
                    self._ghosts.setdefault(state, []).append(one)

    def _job(self, one: str, reply: Reply) -> dict[str, str]:
        values = _value(self.queue.key(one), reply, self.problems)
        return dict(zip(_JOB, _texts(values) if values else [""] * len(_JOB)))

    def _waits(self, overdue: int) -> None:
        found = self.facts["counts"]
        parts = [found["wait"], found["paused"], found["prioritized"]]
        waiting = None if any(part is None for part in parts) else sum(parts) + overdue
        since = [moment for one in self._waiting if (moment := waiting_since(self._jobs[one])) is not None]
        if overdue and self._delayed:
            since.append(min(self._delayed.values()) / DELAYED_UNIT)
        oldest: float | None = None
        if waiting == 0:
            oldest = 0.0
        elif since:
            oldest = round(max(0.0, self.now - min(since)) / 1000, 3)
        self.facts.update(waiting=waiting, overdue=overdue, oldest_wait_s=oldest)

    def _failures(self, replies: Sequence[Reply]) -> None:
        failures = []
        for (one, score), reply in zip(self._failed.items(), replies):
            values = _value(self.queue.key(one), reply, self.problems)
            if values == [None, None]:
                self._ghosts.setdefault("failed", []).append(one)
            elif values:
                failures.append(Failure(one, text(values[1]), text(values[0]), int(score)))
        self.facts["failed_looked_at"] = len(failures)
        self.facts["failed_reasons"] = grouped(failures, self.wanted.samples)
        if not self.wanted.job_data:
            for group in self.facts["failed_reasons"]:
                del group["names"]

    def _moving(self, witnesses: Sequence[Reply]) -> None:
        """Whether a worker did anything since the look before. New jobs do not count, only what workers do."""
        found = self._found
        signs = [_texts(found[name]) for name in ("completed", "oldest_failed")]
        signs += [list(self._failed)[:1], [text(found["newest_active"]), text(found["finished"])]]
        self.facts.update(moving=None, renewed=None, _signs=signs, _locks=self._locks)
        self.facts["_witnesses"] = {one: self._jobs[one]["processedOn"] for one in self._waiting[:TAIL]}
        if self.before is None:
            return
        was = self.before["_witnesses"]
        taken = any(
            text(now) != was[one] for one, now in zip(self._witnesses, witnesses) if not isinstance(now, Refusal)
        )
        gone = [one for one in was if one not in self.facts["_witnesses"] and one in self._active]
        self.facts["moving"] = taken or bool(gone) or signs != self.before["_signs"]
        # Only a worker that lives makes the time of its lock longer.
        held = self.before["_locks"]
        self.facts["renewed"] = any(one in held and lock > held[one] >= 0 for one, lock in self._locks.items())
        self.facts["watched_s"] = round((self.now - self.before["_since_ms"]) / 1000, 3)

    # -- third step: what looked suspicious is looked at again

    def _doubts(self) -> list[_Doubt]:
        key = self.queue.key
        doubts: list[_Doubt] = []
        for state, ids in self._ghosts.items():
            doubts += [_Doubt("ghost", (state, one), self._whereabouts(one, state)) for one in ids]
        for one, lock in self._locks.items():
            if lock == -2 and any(self._jobs[one].values()):
                commands: list[Command] = [
                    ("EXISTS", key(f"{one}:lock")),
                    ("HMGET", key(one), *_JOB),
                    ("LPOS", key("active"), one),
                ]
                doubts.append(_Doubt("unlocked", one, commands))
        for parent, score in self._parents.items():
            known = self._children[parent]
            if self.now - score >= PARENT_AGE_MS and self._dependencies[parent] == len(known):
                commands = [command for child in known for command in _child_commands(child)]
                commands += [("ZSCORE", key("waiting-children"), parent), ("SCARD", key(f"{parent}:dependencies"))]
                doubts.append(_Doubt("parent", parent, commands))
        for member in self._missing:
            doubts.append(_Doubt("schedule", member, self._schedule_commands(member)))
        if self.flavour.marker_set and self.facts["markers"] == {} and self.facts["waiting"]:
            doubts.append(
                _Doubt("marker", "", [("ZRANGE", key("marker"), 0, -1, "WITHSCORES"), ("LLEN", key("active"))])
            )
        if self.wanted.job_data:
            for group in self.facts["failed_reasons"]:
                group["jobs"] = []
                for one in group["ids"]:
                    asked: list[Command] = [("HMGET", key(one), "name", "failedReason", "data")]
                    doubts.append(_Doubt("sample", (group, one), asked))
        return doubts

    def _whereabouts(self, one: str, state: str) -> list[Command]:
        """Whether there is a job, then where its id is: in this order, a job that is just removed is no ghost."""
        key = self.queue.key
        exists: Command = ("EXISTS", key(one))
        if state == "wait":
            return [
                exists,
                ("LPOS", key("wait"), one),
                ("LPOS", key("paused"), one),
                ("ZSCORE", key("prioritized"), one),
            ]
        if state == "active":
            return [exists, ("LPOS", key("active"), one)]
        return [exists, ("ZSCORE", key(state), one)]

    def _schedule_commands(self, member: str) -> list[Command]:
        key = self.queue.key
        score = int(self._schedules[member])
        commands: list[Command] = [
            # However its id was made, a run that is armed for this time says so at its end.
            ("ZRANGEBYSCORE", key("delayed"), score * DELAYED_UNIT, score * DELAYED_UNIT + DELAYED_UNIT - 1)
        ]
        for one in self._armed[member]:
            commands += [
                ("ZSCORE", key("delayed"), one),
                ("ZSCORE", key("prioritized"), one),
                ("LPOS", key("wait"), one),
                ("LPOS", key("paused"), one),
                ("LPOS", key("active"), one),
                ("HGET", key(one), "opts"),
            ]
        return [*commands, ("ZSCORE", key("repeat"), member)]

    def _settle(self, doubts: Sequence[_Doubt], replies: Sequence[Reply]) -> None:
        taken = iter(replies)
        self._ghosts = {}
        self._unlocked: list[Facts] = []
        self._stuck_parents: list[Facts] = []
        self._dead: list[Facts] = []
        for doubt in doubts:
            answers = [next(taken) for _command in doubt.commands]
            getattr(self, f"_settle_{doubt.kind}")(doubt.subject, answers)

    def _settle_ghost(self, subject: tuple[str, str], answers: Sequence[Reply]) -> None:
        state, one = subject
        if answers[0] == 0 and any(_present(answer) for answer in answers[1:]):
            self._ghosts.setdefault(state, []).append(one)

    def _settle_unlocked(self, one: str, answers: Sequence[Reply]) -> None:
        locked, job, place = answers
        if locked or not _present(place) or self._job(one, job) != self._jobs[one]:
            return
        started = number(self._jobs[one]["processedOn"])
        mark = [self._jobs[one][name] for name in ("processedOn", "attemptsMade", "atm")]
        earlier = {entry["id"]: entry for entry in (self.before or {}).get("unlocked", ())}
        seen = earlier.get(one)
        first = seen["_seen_ms"] if seen and seen["_mark"] == mark else self.now
        self._unlocked.append(
            {
                "id": one,
                "since_s": None if started is None else round(max(0, self.now - started) / 1000, 3),
                "seen_for_s": round((self.now - first) / 1000, 3),
                "_seen_ms": first,
                "_mark": mark,
            }
        )

    def _settle_parent(self, parent: str, answers: Sequence[Reply]) -> None:
        *states, place, left = answers
        children = self._children[parent]
        if place is None or left != len(children):
            return
        gone = failed = 0
        for exists, failure in zip(states[::2], states[1::2]):
            gone += exists == 0
            failed += exists != 0 and failure is not None and not isinstance(failure, Refusal)
        if gone + failed < len(children):
            return
        why = "failed" if failed else "lost" if gone else "done"
        self._stuck_parents.append(
            {"id": parent, "why": why, "children": len(children), "lost": gone, "failed": failed}
        )

    def _settle_schedule(self, member: str, answers: Sequence[Reply]) -> None:
        nearby, *states, score = answers
        planned = int(self._schedules[member])
        if any(isinstance(one, Refusal) for one in answers):
            # LPOS is not there before Redis 6.0.6: then it cannot be told.
            self.facts["schedules_known"] = False
            return
        runs = [text(one) for one in nearby]
        if any(run.startswith("repeat:") and run.endswith(f":{planned}") for run in runs):
            return
        if score is None or int(float(text(score))) != planned:
            return
        size = 6
        last: dict[str, Any] = {}
        for start in range(0, len(states), size):
            *places, options = states[start : start + size]
            if any(place is not None for place in places):
                return
            last = _object(text(options)).get("repeat") or last
        if not _ended(member, self._templates[member], last, self.now):
            self._dead.append(
                {"schedule": member, "due_ms": planned, "overdue_s": round((self.now - planned) / 1000, 3)}
            )

    def _settle_marker(self, _subject: str, answers: Sequence[Reply]) -> None:
        self.facts["markers"] = _markers(answers[0])
        self.facts["idle_without_marker"] = self.facts["markers"] == {} and answers[1] == 0

    def _settle_sample(self, subject: tuple[Facts, str], answers: Sequence[Reply]) -> None:
        group, one = subject
        name, reason, data = _texts(answers[0]) or ("", "", "")
        group["jobs"].append({"id": one, "name": name, "reason": reason, "data": data})

    # -- every id and every key

    def search(self, link: Link) -> None:
        """Count every id without a job and every job without an id."""
        if self.problems:
            return
        ghosts, complete = _all_ghosts(link, self.queue, self.wanted.max_keys)
        self._ghosts = ghosts if ghosts or complete else self._ghosts
        self._complete = complete
        self.facts["orphans"] = orphans(link, self.queue, self.wanted.max_keys, self.wanted.samples)

    def finish(self) -> None:
        """Put together what was found."""
        self.problems[:] = dict.fromkeys(self.problems)
        samples = self.wanted.samples
        ghosts = {state: ids for state, ids in self._ghosts.items() if ids}
        self.facts["ghosts"] = {
            "count": sum(map(len, ghosts.values())),
            "states": {state: len(ids) for state, ids in ghosts.items()},
            "ids": {state: ids[:samples] for state, ids in ghosts.items()},
            "complete": getattr(self, "_complete", False),
        }
        self.facts.setdefault("orphans", None)
        unlocked = getattr(self, "_unlocked", [])
        self.facts["unlocked"] = unlocked
        active = self.facts["counts"]["active"]
        self.facts["locked"] = None if active is None else sum(lock != -2 for lock in self._locks.values())
        starts = [number(self._jobs[one]["processedOn"]) for one, lock in self._locks.items() if lock != -2]
        since = [one for one in starts if one is not None]
        self.facts["longest_active_s"] = round(max(0, self.now - min(since)) / 1000, 3) if since else None
        self.facts["parents"] = {
            "looked_at": len(self._parents),
            "stuck": getattr(self, "_stuck_parents", []),
        }
        self.facts["schedules"] = {
            "count": self._found["schedule_count"],
            "looked_at": len(self._schedules) if self.facts.pop("schedules_known", True) else None,
            "dead": getattr(self, "_dead", []),
        }
        self.facts.setdefault("idle_without_marker", False)
        self.facts["_since_ms"] = self.before["_since_ms"] if self.before else self.now


class _Doubt(NamedTuple):
    """What looked suspicious, and what is asked to be sure."""

    kind: str
    subject: Any
    commands: list[Command]


def orphans(link: Link, queue: Queue, max_keys: int, samples: int) -> Facts:
    """Jobs that are in no state: C(count), some C(ids), C(complete) when every key of the database was seen.

    A job is looked for in every state after its key was seen, and once more after all keys were, in the order in which
    jobs move; one that is in none of them both times, and is still there, is an orphan. Lists are read as a whole, as
    searching them for each job would take long. Raises RedisFailed.
    """
    listed = _listed(link, queue)
    found: dict[str, None] = {}
    cursor, seen = "0", 0
    pattern = escaped(queue.base) + "*"
    while True:
        reply = link.call("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE)
        cursor = text(reply[0])
        seen += PAGE
        names = [one[len(queue.base) :] for one in _texts(reply[1])]
        some = [name for name in names if _job_name(name) and name not in listed and name not in found]
        found.update(dict.fromkeys(_unsorted(link, queue, some, _ZSETS)))
        if cursor == "0" or seen >= max_keys:
            break
    left = list(found)
    if left:
        left = _unsorted(link, queue, left, ("delayed", "waiting-children", "prioritized"))
        listed = _listed(link, queue)
        left = _unsorted(link, queue, [one for one in left if one not in listed], ("completed", "failed"))
    return {"count": len(left), "ids": sorted(left)[:samples], "complete": cursor == "0"}


def _listed(link: Link, queue: Queue) -> set[str]:
    """Every id in a list of the queue, those first that move on first."""
    return {
        one for state in ("wait", "paused", "active") for page in _pages(link, queue.key(state), "list") for one in page
    }


def _unsorted(link: Link, queue: Queue, names: Sequence[str], states: Sequence[str]) -> list[str]:
    """Those of some names that are jobs and in none of some sorted sets."""
    key = queue.key
    stray = []
    for start in range(0, len(names), PAGE):
        some = names[start : start + PAGE]
        commands: list[Command] = []
        for name in some:
            commands += [("ZSCORE", key(state), name) for state in states]
            commands += [("TYPE", key(name)), ("HMGET", key(name), "timestamp", "name")]
        replies = iter(link.ask(*commands))
        for name in some:
            places = [good(next(replies), state) for state in states]
            kind, job = text(good(next(replies), "TYPE")), next(replies)
            if kind == "hash" and not isinstance(job, Refusal) and any(job) and not any(map(_present, places)):
                stray.append(name)
    return stray


def _all_ghosts(link: Link, queue: Queue, most: int) -> tuple[dict[str, list[str]], bool]:
    """Every id without a job, by state, and whether all ids were seen."""
    found: dict[str, list[str]] = {}
    seen = 0
    for state, kind in STATES.items():
        missing: dict[str, None] = {}
        for page in _pages(link, queue.key(state), kind):
            ids = [one for one in dict.fromkeys(page) if not is_marker(one)]
            seen += len(ids)
            missing.update(dict.fromkeys(_without_job(link, queue, ids)))
            if seen >= most:
                break
        # Once more, in this order: a job that was just removed is in no state any more.
        left = _without_job(link, queue, list(missing)) if missing else []
        if left and kind == "list":
            there = {one for page in _pages(link, queue.key(state), kind) for one in page}
            left = [one for one in left if one in there]
        elif left:
            places = link.ask(*(("ZSCORE", queue.key(state), one) for one in left))
            left = [one for one, place in zip(left, places) if _present(place)]
        if left:
            found[state] = left
        if seen >= most:
            return found, False
    return found, True


def _without_job(link: Link, queue: Queue, ids: Sequence[str]) -> list[str]:
    if not ids:
        return []
    return [one for one, there in zip(ids, link.ask(*(("EXISTS", queue.key(one)) for one in ids))) if there == 0]


def _pages(link: Link, key: str, kind: str) -> Iterator[list[str]]:
    """The ids of a state, in pages. Of a list that moves meanwhile some may be seen twice or not at all."""
    if kind == "list":
        start = 0
        while True:
            page = link.ask(("LRANGE", key, start, start + PAGE - 1))[0]
            if isinstance(page, Refusal) or not page:
                return
            yield _texts(page)
            start += PAGE
    cursor = "0"
    while True:
        reply = link.ask(("ZSCAN", key, cursor, "COUNT", PAGE))[0]
        if isinstance(reply, Refusal):
            return
        cursor = text(reply[0])
        yield _texts(reply[1][::2])
        if cursor == "0":
            return


def _job_name(name: str) -> bool:
    """Whether a key of a queue, without its base, may be a job."""
    if not name or name in OWN or name.startswith(("metrics:", "de:", "dn:", "limiter:")):
        return False
    # The template of a schedule is a hash too: repeat:ID, where a run is repeat:ID:TIME.
    if name.startswith("repeat:"):
        return name.rpartition(":")[2].isdigit() and name.count(":") > 1
    return name.rpartition(":")[2] not in (*SUB_KEYS, "lock")


def _child_commands(child: str) -> list[Command]:
    """Whether a child is there, and whether it failed. Its queue may be another."""
    return [("EXISTS", child), ("ZSCORE", *_failed_of(child))]


def _failed_of(child: str) -> tuple[str, str]:
    """Key of the failed jobs of a child's queue, and its id."""
    base, run, rest = child.partition(":repeat:")
    if not run:
        base, _colon, rest = child.rpartition(":")
        return f"{base}:failed", rest
    return f"{base}:failed", f"repeat:{rest}"


def _armed_ids(member: str, score: float, library: str) -> list[str]:
    """Ids that the armed run of a schedule may have: by the schedule's id, or by a digest of what legacy keys say."""
    moment = int(score)
    found = [f"repeat:{member}:{moment}"]
    parts = member.split(":")
    # Legacy keys are name:id:end:zone:pattern, and any of them may hold a colon.
    for end in range(1, len(parts) - 2):
        name, job = ":".join(parts[:end]), parts[end]
        for middle in (f"{job}:",) if library == BULL else (job,):
            digest = _md5(name + middle + _md5(member))
            found.append(f"repeat:{digest}:{moment}")
    return found


def _md5(value: str) -> str:
    # The libraries' choice of a short name.
    return hashlib.new("md5", value.encode(), usedforsecurity=False).hexdigest()


def _ended(member: str, template: Reply, last: Mapping[str, Any], now: int) -> bool:
    """Whether a schedule has no further run to come, by its own limits."""
    made, most, end = (number(one) for one in template) if isinstance(template, list) else (None, None, None)
    if most is not None and made is not None and made >= most:
        return True
    count, limit = last.get("count"), last.get("limit")
    if isinstance(count, int) and isinstance(limit, int) and count >= limit:
        return True
    parts = member.split(":")
    ends = [end] if end is not None else [int(part) for part in parts[2:-2] if part.isdigit() and len(part) == 13]
    return any(one < now for one in ends)


def _object(value: str) -> dict[str, Any]:
    try:
        found = json.loads(value or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _present(reply: Reply) -> bool:
    return reply is not None and not isinstance(reply, Refusal)


def _markers(reply: Reply) -> dict[str, int]:
    """Markers by what they are for."""
    return {"work" if one == "0" else "delayed": int(score) for one, score in _scored(reply).items()}


def _scored(reply: Reply) -> dict[str, float]:
    flat = _texts(reply)
    return {one: float(score) for one, score in zip(flat[::2], flat[1::2])}


def _texts(reply: Reply) -> list[str]:
    return [text(one) for one in reply] if isinstance(reply, list) else []


def _milliseconds(clock: Reply) -> int:
    return int(clock[0]) * 1000 + int(clock[1]) // 1000


__all__ = [
    "MOST_KEYS",
    "PARENT_AGE_MS",
    "Facts",
    "Wanted",
    "connected",
    "counts",
    "facts",
    "orphans",
    "published",
    "survey",
    "unsettled",
    "watch",
]
