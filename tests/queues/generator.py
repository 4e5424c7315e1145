# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random queues from a seed, as commands for Redis; and queues that the real packages write themselves.

A case holds what production databases were seen to hold: all states, flows within a queue and into another one,
grand-parents, deduplication keys, schedulers and legacy repeatables, locks, ghosts, orphans, half-written jobs. What
the package treats in a way that we deliberately do not is left out when C(wild) is false; it has named tests.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tests.queues.place import Node, library_of

NOW = 1_790_000_000_000
QUEUE, OTHER = "q", "other"
PREFIX = "bull"
GRACES = (0, 1000, 60_000, 7 * 86_400_000)
Command = tuple[Any, ...]


class Traits(NamedTuple):
    """How a package's C(clean) decides and what it removes, for what is left out of a tame case."""

    library: str
    version: str
    major: int
    states: tuple[str, ...]
    # What of a finished job is compared: its score, a field, or the first field that it has.
    finished: str
    sub_keys: tuple[str, ...]  # removed with the job; others would stay
    strict: bool  # a job exactly as old as asked for stays
    locks_kept: tuple[str, ...]  # states in which a locked job stays
    armed_kept: bool
    flows: bool
    dedup: bool
    next_data: bool  # dn:
    ghosts: bool  # an id without a hash is removed like an old job
    paused_list: bool
    retry_paused: bool  # job.retry() minds that the queue is paused
    retry_priority: bool  # job.retry() keeps a priority
    retry_reset: bool  # job.retry() can reset attempts

    @property
    def bull(self) -> bool:
        """Whether it is Bull."""
        return self.library == "bull"

    @property
    def prioritized(self) -> bool:
        """Whether jobs with a priority have a sorted set of their own."""
        return "prioritized" in self.states


_LISTS = ("wait", "paused", "active")
_SETS = ("completed", "failed", "delayed")


def traits(package: str) -> Traits:
    """Those of a package; read in its sources."""
    library, version = library_of(package)
    major, minor = (int(part) for part in version.split(".")[:2])
    bull = library == "bull"
    states: tuple[str, ...] = (*_LISTS, *_SETS)
    if bull:
        return Traits(
            library=library,
            version=version,
            major=major,
            states=states,
            finished="timestamp" if major == 3 else "first",
            sub_keys=("logs",),
            strict=True,
            locks_kept=states,
            armed_kept=False,
            flows=False,
            dedup=(major, minor) >= (4, 16),
            next_data=False,
            # Bull 4 compares a job without a hash with the time of the one before it.
            ghosts=major == 3,
            paused_list=True,
            retry_paused=major == 4,
            retry_priority=False,
            retry_reset=False,
        )
    states = (*states, "waiting-children")
    if major >= 4:
        states = (*states, "prioritized")
    if major >= 6:
        states = tuple(state for state in states if state != "paused")
    common = ("logs", "dependencies", "processed")
    return Traits(
        library=library,
        version=version,
        major=major,
        states=states,
        finished="score" if (major, minor) >= (4, 12) else "finishedOn",
        sub_keys=(*common, "failed", "unsuccessful") if major >= 5 else common,
        strict=major < 4,
        locks_kept=("active",),
        armed_kept=(major, minor) >= (5, 16),
        flows=True,
        dedup=(major, minor) >= (5, 17),
        next_data=(major, minor) >= (5, 72),
        ghosts=True,
        paused_list=major < 6,
        retry_paused=major >= 3,
        retry_priority=major >= 6,
        retry_reset=(major, minor) >= (5, 66),
    )


class Case(NamedTuple):
    """What is in the database, and what is asked of it."""

    seed: int
    package: str
    state: str
    grace: int
    limit: int
    commands: tuple[Command, ...]
    units: tuple[int, ...] = ()  # what each command belongs to: a job with all that stands beside it, for instance
    now: int = NOW

    @property
    def cut(self) -> int:
        """Jobs before this time are old."""
        return self.now - self.grace


class Builder:
    """Collects the commands that write a queue."""

    def __init__(
        self, seed: int, package: str, *, wild: bool = False, state: str = "", limit: int | None = None
    ) -> None:
        # Not for security: the same seed must give the same case.
        self.random = random.Random(f"{package}-{seed}-{wild}")  # noqa: S311
        self.traits = traits(package)
        self.wild = wild
        self.package = package
        self.seed = seed
        self.commands: list[Command] = []
        self.units: list[int] = []
        self.unit = 0
        pick = self.random
        self.state = state or pick.choice(self.traits.states)
        # What runs has to be older than a lock lasts.
        self.grace = pick.choice(GRACES[2:] if self.state == "active" else GRACES)
        self.limit = pick.choice((0, 0, 0, 1, 7, 1000)) if limit is None else limit
        if not wild and self.limit:
            # Bull 3 takes the newest of a list first; before BullMQ 4.11 no delayed job is ever found with a limit.
            newest_first = package == "bull3" and self.state in ("wait", "paused", "active")
            if newest_first or (self.state == "delayed" and self.traits.finished != "score"):
                self.limit = 0 if package != "bull3" or newest_first else self.limit
        self.cut = NOW - self.grace
        self.used: set[str] = set()
        self.counter = 0
        # With a limit packages look at some jobs only; where none of these may stay, they do what they are asked.
        self.all_old = not wild and self.limit > 0
        if not wild and self.state == "waiting-children" and self.traits.finished != "score":
            # They look at finishedOn, which a job that waits has not, and so remove all.
            self.all_old = True
        self.schedulers: list[tuple[str, int]] = []
        self.parents: list[str] = []  # keys of jobs that can be a parent
        self.paused = pick.random() < 0.25

    # --- small parts

    def put(self, *command: Any) -> None:
        """Add one command."""
        self.commands.append(command)
        self.units.append(self.unit)

    def chance(self, share: float) -> bool:
        """True in that share of the cases."""
        return self.random.random() < share

    def base(self, queue: str) -> str:
        """What a queue's keys begin with."""
        return f"{PREFIX}:{queue}:"

    def new_id(self) -> str:
        """An id as the packages give them, or as their users do."""
        self.counter += 1
        kind = self.random.random()
        if kind < 0.7:
            return str(self.counter)
        if kind < 0.8:
            return f"{self.random.getrandbits(128):032x}"
        if kind < 0.9:
            return f"order-{self.counter}"
        return f"a:{self.counter}:b" if self.traits.bull else f"mail {self.counter} é%[*]"

    def moment(self) -> int:
        """A time at or around the border between young and old."""
        if self.all_old:
            return self.cut - self.random.choice((1, 2, 1000, 86_400_000))
        far = self.random.choice((2, 500, 5000, 86_400_000, 40 * 86_400_000))
        near = self.random.choice((1, 2))
        distance = self.random.choice((near, far))
        if self.wild and self.chance(0.06):
            return self.cut
        return self.cut + (-distance if self.chance(0.65) else distance)

    # --- jobs

    def fields(self, state: str) -> dict[str, Any]:
        """The fields of a job in a state."""
        pick = self.random
        name = pick.choice(("send", "send-later", "resend", "resize", "__default__"))
        opts: dict[str, Any] = {"attempts": pick.choice((0, 1, 3)), "delay": 0}
        found: dict[str, Any] = {
            "name": name,
            "data": json.dumps({"i": pick.randrange(1000)}),
            "timestamp": self.moment(),
            "delay": 0,
            "priority": 0,
        }
        if self.chance(0.2):
            opts["lifo"] = True
        attempts = "attemptsMade" if self.traits.bull or self.traits.major <= 4 else "atm"
        if state in ("completed", "failed", "active") or self.chance(0.3):
            found["processedOn"] = self.moment()
            found[attempts] = pick.choice((1, 2))
            if attempts == "atm":
                found["ats"] = found[attempts]
        if state in ("completed", "failed"):
            found["finishedOn"] = self.moment()
        if state == "completed":
            found["returnvalue"] = '"done"'
        if state == "failed":
            found["failedReason"] = pick.choice(
                ("ECONNREFUSED 10.0.0.1:25", "as asked", "timeout", "not ECONNREFUSED but asked too")
            )
            found["stacktrace"] = json.dumps(["Error: as asked\n    at x"])
        elif self.chance(0.1):
            # A job that was retried keeps these.
            found["stacktrace"] = "[]"
        if self.chance(0.2):
            found["progress"] = pick.choice(("10", '{"a":1}'))
        if self.chance(0.15):
            found["stc"] = 1
        found["opts"] = json.dumps(opts)
        return found

    def job(self, queue: str, state: str, *, job_id: str = "", listed: bool = True) -> str:
        """One job with its hash, its membership and some of what may stand beside it; return its key."""
        self.unit += 1
        identity = job_id or self.new_id()
        key = self.base(queue) + identity
        fields = self.fields(state)
        ghost = listed and not job_id and self.chance(0.04) and (self.wild or self.traits.ghosts)
        if not self.wild and self.traits.finished == "finishedOn" and state in ("completed", "failed"):
            # It has no finishedOn and is removed whatever its score says, by which we go.
            ghost = False
        if self.chance(0.3) and state in ("wait", "paused", "prioritized"):
            fields["priority"] = self.random.choice((1, 5, 10))
            fields["opts"] = json.dumps({**json.loads(fields["opts"]), "priority": fields["priority"]})
        if state == "prioritized" and not fields["priority"]:
            fields["priority"] = 3
        if state == "delayed":
            fields["delay"] = 5000
        self.beside(queue, identity, key, state, fields)
        if self.chance(0.05) and (self.wild or self.state != state):
            self.spoil(fields)
        if not ghost:
            flat = [part for pair in fields.items() for part in pair]
            if flat:
                self.put("HSET", key, *flat)
        if listed:
            self.list_in(queue, identity, state, fields)
        return key

    def spoil(self, fields: dict[str, Any]) -> None:
        """Make a job half-written, or its times those of another program: in seconds, with fractions, empty."""
        kind = self.random.randrange(5)
        times = [name for name in ("timestamp", "processedOn", "finishedOn") if name in fields]
        if kind == 0:
            for name in list(fields):
                if name != "name":
                    del fields[name]
        elif kind == 1:
            for name in times:
                fields[name] = str(fields[name] // 1000)
        elif kind == 2:
            for name in times:
                fields[name] = "999999999"
        elif kind == 3:
            for name in times:
                fields[name] = self.random.choice(("", "soon", "1e3", "0x1", "nan", " 7"))
        else:
            for name in times:
                del fields[name]

    def list_in(self, queue: str, identity: str, state: str, fields: dict[str, Any]) -> None:
        """Put an id where its state says."""
        key = self.base(queue) + state
        if state in ("wait", "paused", "active"):
            self.put("RPUSH" if self.chance(0.2) else "LPUSH", key, identity)
            if state != "active" and fields.get("priority") and not self.traits.prioritized:
                self.put("ZADD", self.base(queue) + "priority", fields["priority"], identity)
            if state == "active":
                if self.chance(0.4):
                    self.put("SADD", self.base(queue) + "stalled", identity)
                if self.chance(0.5) and not self.all_old:
                    self.put("SET", f"{self.base(queue)}{identity}:lock", "token", "PX", 600_000)
            elif self.chance(0.05) and (self.wild or (state in self.traits.locks_kept and not self.all_old)):
                self.put("SET", f"{self.base(queue)}{identity}:lock", "token", "PX", 600_000)
            return
        score: Any = fields.get("timestamp", NOW)
        if state in ("completed", "failed"):
            score = fields.get("finishedOn", NOW)
        elif state == "delayed":
            score = (int(self.moment()) + 5000) * 4096 + self.random.randrange(4)
        elif state == "prioritized":
            score = int(fields.get("priority") or 3) * 2**32 + self.counter
        try:
            float(score)
        except ValueError:
            score = self.cut - 5
        self.put("ZADD", key, score, identity)
        if self.chance(0.04) and (self.wild or (state in self.traits.locks_kept and not self.all_old)):
            self.put("SET", f"{self.base(queue)}{identity}:lock", "token", "PX", 600_000)

    def beside(self, queue: str, identity: str, key: str, state: str, fields: dict[str, Any]) -> None:
        """Sub-keys, deduplication, logs, a place in a group."""
        names: Sequence[str] = self.traits.sub_keys
        if self.wild:
            names = ("logs", "dependencies", "processed", "failed", "unsuccessful") if self.traits.flows else ("logs",)
        every = self.chance(0.05)
        for name in names:
            # A finished job can have what its children left; one that waits may have logs.
            share = 0.2 if name == "logs" else 0.08
            if every or self.chance(share):
                self.sub_key(key, name, queue)
        # Where a parent goes with its last child and is itself old, what they leave depends on which is first.
        both = self.state == "waiting-children" and identity.startswith(("child", "parent", "grand"))
        share = 0.4 if identity.startswith("child") else 0.2
        if self.traits.dedup and self.chance(share) and (self.wild or not both):
            self.dedup(queue, identity, state, fields)
        if self.traits.bull and self.chance(0.1):
            group = f"{self.base(queue)}limiter:g{self.random.randrange(2)}"
            self.put("HSET", f"{self.base(queue)}limiter:index", identity, group)
            self.put("SADD", group, identity)

    def sub_key(self, key: str, name: str, queue: str) -> None:
        """One of the keys that may stand beside a job."""
        child = f"{self.base(queue)}gone-{self.counter}"
        if name == "logs":
            self.put("RPUSH", f"{key}:logs", "one", "two")
        elif name == "dependencies":
            self.put("SADD", f"{key}:dependencies", child)
        elif name == "unsuccessful":
            self.put("ZADD", f"{key}:unsuccessful", NOW - 10, child)
        else:
            self.put("HSET", f"{key}:{name}", child, '"done"')

    def dedup(self, queue: str, identity: str, state: str, fields: dict[str, Any]) -> None:
        """A deduplication id, and the key that says who holds it."""
        name = f"d{self.counter}"
        fields["deid"] = name
        key = f"{self.base(queue)}de:{name}"
        kind = self.random.randrange(4)
        if kind == 0:
            self.put("SET", key, identity)
        elif kind == 1:
            self.put("SET", key, "another")
        elif kind == 2:
            self.put("SET", key, identity, "PX", 500_000)
        # With the last child of a parent they remove de: too early and leave dn: behind; test_deliberate.py has that.
        if self.traits.next_data and self.chance(0.5) and (self.wild or not identity.startswith("child")):
            self.put("HSET", f"{self.base(queue)}dn:{name}", "name", "next", "data", "{}")

    # --- flows

    def flow(self) -> None:
        """A child, its parent, perhaps the parent's parent; in this queue or the other."""
        pick = self.random
        parent_queue = pick.choice((QUEUE, QUEUE, OTHER))
        usual = self.chance(0.5 if self.wild else 0.8)
        parent_state = "waiting-children" if usual else pick.choice(("completed", "failed", "active", "wait"))
        if self.state == "waiting-children" and parent_queue == QUEUE and not self.wild:
            parent_state = "waiting-children"
        parent = self.job(parent_queue, parent_state, job_id=f"parent{self.new_number()}")
        if self.wild and self.chance(0.1):
            # A key of no queue.
            parent = "loner"
            self.put("HSET", parent, "name", "alone")
        if parent_queue == QUEUE and parent != "loner" and self.chance(0.4):
            queue = pick.choice((QUEUE, OTHER))
            grand = self.job(queue, "waiting-children", job_id=f"grand{self.new_number()}")
            self.child_of(parent, grand)
        for _child in range(pick.choice((1, 1, 2, 3))):
            state = self.state if self.chance(0.7) else pick.choice(self.traits.states)
            if state == "paused" and not self.traits.paused_list:
                state = "wait"
            child_queue = QUEUE if self.chance(0.85) else OTHER
            child = self.job(child_queue, state, job_id=f"child{self.new_number()}")
            pending = self.chance(0.5 if state in ("completed", "failed") else 0.85)
            self.child_of(child, parent, pending=pending, missing=self.chance(0.05))
        if self.chance(0.2):
            # A child that is in no state any more.
            self.put("SADD", f"{parent}:dependencies", f"{self.base(QUEUE)}lost{self.counter}")

    def new_number(self) -> int:
        """The next number."""
        self.counter += 1
        return self.counter

    def child_of(self, child: str, parent: str, *, pending: bool = True, missing: bool = False) -> None:
        """Make one job the child of another."""
        self.unit += 1
        queue_key, _colon, identity = parent.rpartition(":")
        told = f"{queue_key}:nobody" if missing else parent
        self.put("HSET", child, "parentKey", told, "parent", json.dumps({"id": identity, "queueKey": queue_key}))
        if pending:
            self.put("SADD", f"{parent}:dependencies", child)
        elif self.chance(0.5):
            self.put("HSET", f"{parent}:processed", child, '"done"')
        elif self.traits.major >= 5:
            kind = self.random.choice(("failed", "unsuccessful"))
            if kind == "failed":
                self.put("HSET", f"{parent}:failed", child, "as asked")
            else:
                self.put("ZADD", f"{parent}:unsuccessful", NOW - 100, child)

    # --- schedulers

    def scheduler(self) -> None:
        """A schedule, its armed run, and some that are over."""
        number = self.new_number()
        at = self.cut + self.random.choice((-5000, 60_000))
        key = self.base(QUEUE)
        every = 60_000
        modern = self.traits.armed_kept
        if modern:
            name = f"every-{number}"
            self.put("ZADD", f"{key}repeat", at, name)
            self.put("HSET", f"{key}repeat:{name}", "name", "tick", "every", every, "ic", 3, "data", "{}")
        else:
            member = f"tick::::{every}" if self.chance(0.5) else f"tick:{number}:::{every}"
            name = hashlib.md5(member.encode(), usedforsecurity=False).hexdigest()
            self.put("ZADD", f"{key}repeat", at, member)
        if self.wild or self.traits.armed_kept:
            state = self.random.choice(("delayed", "delayed", "wait", "active", "prioritized"))
            if state not in self.traits.states:
                state = "delayed"
            # One that is armed in the state that is cleaned is kept: not so when all of the state must go.
            if not (self.all_old and state == self.state):
                armed = self.job(QUEUE, state, job_id=f"repeat:{name}:{at}")
                self.put("HSET", armed, "rjk" if modern else "tick", name)
                if not modern:
                    self.put("HSET", armed, "opts", json.dumps({"repeat": {"every": every, "count": 1}, "delay": 5000}))
        for _run in range(self.random.randrange(3)):
            at -= every
            if modern and self.chance(0.3):
                # Another schedule is due when this one was.
                self.put("ZADD", f"{key}repeat", at, f"other-{number}")
            state = self.random.choice(("completed", "failed", self.state))
            if state == "waiting-children":
                state = "completed"
            run = self.job(QUEUE, state, job_id=f"repeat:{name}:{at}")
            if modern:
                self.put("HSET", run, "rjk", name)

    # --- the rest of a queue

    def surroundings(self) -> None:
        """Meta, events, counters and what else a queue has."""
        has = self.traits
        for queue in (QUEUE, OTHER):
            self.unit += 1
            key = self.base(queue)
            self.put("SET", f"{key}id", self.counter + 10)
            if not has.bull:
                self.put("HSET", f"{key}meta", "opts.maxLenEvents", 10000)
                if has.major >= 3:
                    self.put("HSET", f"{key}meta", "version", f"bullmq:{has.version}")
                self.put("XADD", f"{key}events", "*", "event", "added", "jobId", "1", "name", "send")
                if has.major >= 5 and self.chance(0.4):
                    self.put("ZADD", f"{key}marker", 0, "0")
                if has.major >= 5 and self.chance(0.3):
                    self.put("HSET", f"{key}meta", "concurrency", self.random.choice((1, 2, 100)))
                if has.major >= 4:
                    self.put("SET", f"{key}pc", self.counter)
            if self.paused if queue == QUEUE else self.chance(0.3):
                self.put("HSET", f"{key}meta", "paused", 1)
                if has.bull:
                    self.put("SET", f"{key}meta-paused", 1)
            if self.chance(0.2):
                self.put("SET", f"{key}limiter", 3, "PX", 600_000)
            if self.chance(0.3):
                self.put("HSET", f"{key}metrics:failed", "count", 3, "prevTS", NOW, "prevCount", 1)
                self.put("RPUSH", f"{key}metrics:failed:data", 1, 2)
            if self.chance(0.3):
                self.put("SET", f"{key}stalled-check", 1, "PX", 600_000)

    def neighbours(self) -> None:
        """A queue whose name begins alike, keys of another program, hashes that are in no state."""
        for name in ("q2", "q:sub"):
            self.unit += 1
            for state in ("completed", "wait"):
                self.put("HSET", f"{PREFIX}:{name}:1", "name", "near", "timestamp", 1, "finishedOn", 1)
                if state == "wait":
                    self.put("LPUSH", f"{PREFIX}:{name}:{state}", "1")
                else:
                    self.put("ZADD", f"{PREFIX}:{name}:{state}", 1, "1")
        self.put("SET", "session:1", "x")
        if self.chance(0.3):
            self.job(QUEUE, "completed", listed=False)
        if self.chance(0.1):
            self.put("RPUSH", f"{self.base(QUEUE)}lost:logs", "a")

    def case(self) -> Case:
        """Everything."""
        pick = self.random
        for state in self.traits.states:
            if state == "paused" and not self.paused and not self.chance(0.2):
                continue
            if state == "wait" and self.paused and self.traits.paused_list and not self.chance(0.2):
                continue
            many = pick.randrange(14) if state == self.state else pick.randrange(4)
            for _job in range(many):
                self.job(QUEUE, state)
        for state in pick.sample(self.traits.states, 3):
            self.job(OTHER, state)
        if self.traits.flows:
            for _flow in range(pick.choice((0, 0, 1, 1, 2, 3))):
                self.flow()
        if self.chance(0.3):
            self.scheduler()
        if self.wild and self.traits.major in (3, 4) and not self.traits.bull and self.chance(0.3):
            # What wakes a worker in these versions; 0: at once, else when a delayed job is due, with a fraction
            # when the job's number is in its score.
            self.put("LPUSH", f"{self.base(QUEUE)}wait", f"0:{pick.choice(('0', f'{NOW + 5000}', f'{NOW + 5000}.2'))}")
        self.surroundings()
        self.neighbours()
        return Case(
            self.seed, self.package, self.state, self.grace, self.limit, tuple(self.commands), tuple(self.units)
        )


def case_of(seed: int, package: str, **given: Any) -> Case:
    """The case of a seed. C(given): wild, state, limit."""
    return Builder(seed, package, **given).case()


def write_real(node: Node, redis: dict[str, Any], case: Case, pick: random.Random) -> None:
    """Write a queue with the package itself: what it adds, takes, finishes, fails, delays and schedules."""
    has = traits(case.package)
    where = {"redis": redis, "queue": QUEUE}

    # As in Builder: with a limit only what is old, free and no run of a schedule.
    all_old = bool(case.limit) or (case.state == "waiting-children" and has.finished != "score")

    ages = (-86_400_000, -5000, -2, -1) if all_old else (-86_400_000, -5000, -2, -1, 1, 3000)

    def moment() -> int:
        return case.cut + pick.choice(ages)

    def jobs(many: int) -> Iterable[dict[str, Any]]:
        for number in range(many):
            opts: dict[str, Any] = {"attempts": pick.choice((1, 1, 2))}
            kind = pick.randrange(8)
            if kind == 0:
                opts["delay"] = 5000
            elif kind == 1:
                opts["priority"] = pick.choice((1, 2, 10))
            elif kind == 2:
                opts["lifo"] = True
            elif kind == 3:
                opts["jobId"] = f"order-{pick.randrange(10**9)}"
            elif kind == 4 and has.dedup:
                word = "debounce" if has.bull else "deduplication"
                opts[word] = {
                    "id": f"d{pick.randrange(5)}",
                    **({"ttl": 500_000} if pick.random() < 0.5 or has.bull else {}),
                }
            yield {"name": f"send{number % 3}", "data": {"fail": pick.random() < 0.4}, "opts": opts}

    node.call("touch", where)
    node.call("add", {**where, "jobs": list(jobs(pick.randrange(3, 9)))}, now=moment())
    if has.flows:
        for _flow in range(pick.choice((0, 1, 1, 2))):
            children: list[dict[str, Any]] = [
                {"name": "child", "queueName": QUEUE, "data": {"fail": pick.random() < 0.6}}
                for _child in range(pick.choice((1, 2)))
            ]
            if pick.random() < 0.4:
                children[0]["children"] = [{"name": "grandchild", "queueName": QUEUE, "data": {"fail": True}}]
            root = {"name": "parent", "queueName": pick.choice((QUEUE, OTHER)), "children": children, "data": {}}
            node.call("flow", {**where, "flow": root}, now=moment())
    if pick.random() < 0.4 and has.armed_kept and not all_old:
        node.call(
            "schedule", {**where, "id": "tick", "repeat": {"every": 60_000}, "template": {"name": "tick"}}, now=moment()
        )
    node.call("work", {**where, "count": pick.randrange(6)}, now=moment())
    node.call("add", {**where, "jobs": list(jobs(pick.randrange(4)))}, now=moment())
    node.call("work", {**where, "count": pick.randrange(4)}, now=moment())
    if not (all_old and case.state == "active"):
        node.call("take", {**where, "count": pick.randrange(3)}, now=moment())
    if pick.random() < 0.2:
        node.call("pause", where)


__all__ = ["GRACES", "NOW", "OTHER", "PREFIX", "QUEUE", "Builder", "Case", "Traits", "case_of", "traits", "write_real"]
