# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove jobs of a queue by rules, page by page, each page decided and removed by one script.

A dry run is the same scripts with writing switched off, so that its numbers are those of the run that follows. Ages are
measured against one moment, which the clock of Redis says at the start. A page costs Redis about C(chunk_ms).

Never removed, whatever the rules say: a job that a worker holds the lock of, the next run of a schedule, and, unless
C(parents) is C(upstream), a job that a parent waits for and a parent that waits for jobs.
"""

from __future__ import annotations

import fnmatch
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils import _queue_fast as fast
from ansible_collections.quai.ops.plugins.module_utils._probe_queue import workers_of
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import (
    KEYS,
    OWN,
    STATES,
    SUB_KEYS,
    Flavour,
    Queue,
    QueueProblem,
    detect,
    escaped,
)
from ansible_collections.quai.ops.plugins.module_utils._queue_lua import (
    CLEAN,
    FORESEE,
    GHOSTS,
    KEPT,
    ORPHANS,
    READ,
    READ_ARMED,
    READ_FLOWS,
    READ_LIST,
    READ_ORPHANS,
    READ_SET,
    TELL,
    WHOLE,
    WRITE,
    WRITE_GROUPS,
    WRITE_LIST,
    WRITE_PARENTS,
)
from ansible_collections.quai.ops.plugins.module_utils._queue_pace import Pace
from ansible_collections.quai.ops.plugins.module_utils._queue_rules import (
    FINISHED,
    Policy,
    Rule,
    by_state,
    ceiling,
    check,
    clock_fields,
    lua_glob,
)
from ansible_collections.quai.ops.plugins.module_utils._queue_state import sure_of_lists
from ansible_collections.quai.ops.plugins.module_utils._redis_link import (
    NOWHERE,
    Facts,
    Link,
    RedisFailed,
    Script,
    allowed,
    good,
    obstacle,
)
from ansible_collections.quai.ops.plugins.module_utils._resp import number, text

SAMPLES: Final = 20
# A page of large jobs ends after this share of a chunk's time even when it is not full.
_PATIENCE: Final = 3.0
# A stream is trimmed by whole nodes, of at most so many entries by default.
_NODE: Final = 100
_DEFAULT_EVENTS: Final = 10_000
# Suspects per script: each may cost a look through the lists.
_SUSPECTS: Final = 200
# Jobs that a warning names.
_NAMED: Final = 5
# Nothing of a state was looked at yet.
_START: Final[tuple[Any, Any, int]] = ("", "", 0)
# Hashes of a queue that are no jobs, the next runs of schedules, and what stands beside a job.
_NO_JOBS: Final = frozenset(name.encode() for name in OWN)
_RUN: Final = re.compile(rb"repeat:.+:\d+\Z", re.DOTALL)
_KNOWN: Final = (b"metrics:", b"repeat:", b"de:", b"dn:", b"limiter:")
_BESIDE: Final = tuple(f":{name}".encode() for name in (*SUB_KEYS, "lock"))
Progress = Callable[[Mapping[str, int]], None]


class Outcome(NamedTuple):
    """What was done; in a dry run, what would be. Times are ms since 1970, durations ms."""

    counts_before: Mapping[str, int]
    counts_after: Mapping[str, int]
    removed: Mapping[str, int]  # per state
    kept: Mapping[
        str, int
    ]  # why not, of those that were looked at: young, newest, filter, locked, scheduler, parent, …
    ghosts: int | None  # ids without a job, of all states; None when they were not looked for
    orphans: int | None  # jobs of no state; None when they were not looked for
    oldest: int | None  # of the removed, by the clock of their rule
    newest: int | None
    samples: Sequence[str]  # ids of some that were removed
    chunks: int
    longest_chunk_ms: float
    redis_ms: float
    exact: bool  # whether the numbers of a dry run are those of the run that follows
    complete: bool  # False when the time or a limit ended it
    warnings: Sequence[str]
    released: int = 0  # parents that were set free; only with parents: upstream, as the next one
    parents_deleted: int = 0  # parents in the same queue, deleted with their last child
    ghosts_removed: int = 0
    orphans_removed: int = 0
    events_trimmed: int = 0

    @property
    def changed(self) -> bool:
        """Whether anything was written, or would be."""
        return bool(
            sum(self.removed.values())
            + self.released
            + self.ghosts_removed
            + self.orphans_removed
            + self.events_trimmed
        )


def clean(
    link: Link,
    queue: Queue,
    flavour: Flavour,
    rules: Sequence[Rule],
    policy: Policy,
    *,
    dry: bool,
    now_ms: int | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Carry the rules out, or tell what they would do.

    C(link) goes to the master that holds the queue. C(now_ms) is the time; None asks Redis. C(progress) is told the
    jobs removed so far per state after each page. Raises QueueProblem, with nothing removed unless the queue changed
    under us (its message says how many were), and RedisFailed, whose message says the same.
    """
    check(policy)
    _asked(queue, flavour, rules, policy)
    warnings = _able(link, queue, flavour, policy, needed(flavour, by_state(rules, flavour), policy, dry=dry))
    if policy.fast != "never" and not fast.able(link, queue):
        policy = policy._replace(fast="never")
    now = link.time_ms() if now_ms is None else now_ms
    before = counts(link, queue)
    seconds = policy.max_seconds
    if policy.max_remove is not None and not dry:
        plan = _Work(link, queue, flavour, rules, policy, now=now, dry=True, before=before, seconds=seconds)
        plan.all()
        _within(plan)
        seconds = plan.pace.left
    work = _Work(link, queue, flavour, rules, policy, now=now, dry=dry, before=before, seconds=seconds)
    work.progress = progress
    if policy.max_remove is not None:
        work.most = _most(policy, rules, flavour, before)
    try:
        work.all()
        work.tell()
    except RedisFailed as error:
        if dry or not work.total:
            raise
        raise RedisFailed(error.reason, f"{error.message} ({work.total} jobs were removed before)") from None
    if policy.max_remove is not None and dry:
        most = _most(policy, rules, flavour, before)
        if work.total > most:
            warnings.append(f"{work.total} jobs are more than max_remove ({policy.max_remove}): a run would refuse")
    after = before if dry else counts(link, queue)
    return work.outcome(after, warnings)


def counts(link: Link, queue: Queue) -> dict[str, int]:
    """Number of ids per state. Raises RedisFailed."""
    commands = [("LLEN" if kind == "list" else "ZCARD", queue.key(state)) for state, kind in STATES.items()]
    replies = link.ask(*commands)
    return {state: int(good(reply, f"{queue.base}{state}")) for state, reply in zip(STATES, replies)}


# -- before anything is touched --------------------------------------------------------------------------------------


def _asked(queue: Queue, flavour: Flavour, rules: Sequence[Rule], policy: Policy) -> None:
    for pattern in policy.protected:
        if fnmatch.fnmatchcase(queue.name, pattern):
            raise QueueProblem(f"{queue.name}: protected ({pattern}), it is never cleaned")
    problems = []
    if not rules and policy.ghosts == policy.orphans == "ignore" and policy.events_maxlen is None:
        problems.append("no rules, and neither ghosts, orphans nor events_maxlen: nothing is asked for")
    for rule in rules:
        if rule.state != "active":
            continue
        if policy.active == "skip":
            problems.append("a rule for active jobs needs active: unlocked")
        elif rule.older_than is None or rule.older_than < 2 * policy.lock_ms:
            problems.append(
                f"active jobs have to be older than twice their lock lasts, {2 * policy.lock_ms / 1000:g} s"
            )
    if problems:
        raise QueueProblem(f"{queue.name}: {'; '.join(problems)}")
    if policy.parents == "upstream":
        # A parent that is set free is put where jobs of its queue wait.
        sure_of_lists(flavour, queue)


def _able(link: Link, queue: Queue, flavour: Flavour, policy: Policy, commands: Iterable[str]) -> list[str]:
    """Whether this server and this queue can be worked on; warnings about both."""
    facts = link.facts()
    why = obstacle(facts.info)
    if why:
        raise RedisFailed(why[0], f"{queue.name}: this server {why[1]}")
    if facts.cluster and not _tagged(queue.base):
        raise QueueProblem(
            f"{queue.name}: on a cluster the prefix or the name needs a tag in braces, such as {{{queue.prefix}}}; "
            "without one the queue cannot be in one slot, and BullMQ itself fails"
        )
    allowed(link, queue.base, commands, "cleaning it")
    warnings = _memory(queue, facts)
    suffixes = {**STATES, **KEYS}
    kinds = link.ask(*(("TYPE", queue.key(suffix)) for suffix in suffixes))
    for (suffix, wanted), reply in zip(suffixes.items(), kinds):
        kind = text(good(reply, f"TYPE {queue.key(suffix)}"))
        if kind not in ("none", wanted):
            raise QueueProblem(
                f"{queue.name}: {queue.key(suffix)} is a {kind}, where a queue has a {wanted}; "
                f"is it a queue of {flavour.library}?"
            )
    if flavour.mixed:
        warnings.append(f"{queue.name}: {flavour.mixed}")
    required(link, queue, flavour, policy)
    return warnings


def needed(flavour: Flavour, states: Iterable[str], policy: Policy, *, dry: bool) -> list[str]:
    """The commands that a user must be allowed to run, whatever is found."""
    states = set(states)
    kinds = {STATES[state] for state in states}
    if policy.ghosts != "ignore":
        kinds = {"list", "zset"}
    found = [*READ, *(READ_LIST if "list" in kinds else ()), *(READ_SET if "zset" in kinds else ())]
    if not flavour.bull:
        found += READ_FLOWS
    if not states <= set(FINISHED):
        found += READ_ARMED
    if policy.orphans != "ignore":
        found += READ_ORPHANS
    if policy.events_maxlen is not None:
        found.append("XLEN")
    if dry:
        return found
    found += [*WRITE, *(WRITE_LIST if "list" in kinds else ())]
    if flavour.bull or policy.ghosts == "remove":
        found += WRITE_GROUPS
    if not flavour.bull:
        found += WRITE_PARENTS if policy.parents == "upstream" else ("SREM",)
    if policy.events_maxlen is not None:
        found.append("XTRIM")
    return found


def _memory(queue: Queue, facts: Facts) -> list[str]:
    limit, used = number(facts.info.get("maxmemory")), number(facts.info.get("used_memory"))
    eviction = facts.info.get("maxmemory_policy", "")
    if limit and used and used > limit and eviction == "noeviction":
        # Removing needs no memory, and makes room.
        return [f"{queue.name}: Redis is out of memory ({used} of {limit} bytes) and takes no new jobs"]
    if eviction in ("", "noeviction"):
        return []
    what = "the data of any job" if eviction.startswith("allkeys-") else "the locks of jobs that are worked on"
    return [f"maxmemory-policy is {eviction}: it can take {what}; a queue needs noeviction"]


def _tagged(base: str) -> bool:
    begin = base.find("{")
    return begin >= 0 and base.find("}", begin) > begin + 1


def required(link: Link, queue: Queue, flavour: Flavour, policy: Policy) -> None:
    """Return when the queue is as C(policy.require) wants it. Raises QueueProblem, and RedisFailed."""
    if policy.require == "no_workers":
        clients = text(link.call("CLIENT", "LIST"))
        found = workers_of(clients, queue.prefix, queue.name, flavour.library, link.database)
        if found:
            raise QueueProblem(f"{queue.name}: {found} workers are connected, and require is no_workers")
    elif policy.require == "paused" and not is_paused(link, queue, flavour):
        raise QueueProblem(f"{queue.name}: it is not paused, and require is paused")


def is_paused(link: Link, queue: Queue, flavour: Flavour) -> bool:
    """Whether workers are told not to take jobs. Each library heeds its own sign alone. Raises RedisFailed."""
    if flavour.bull:
        return bool(link.call("EXISTS", queue.key("meta-paused")))
    return bool(link.call("HEXISTS", queue.key("meta"), "paused"))


def _most(policy: Policy, rules: Sequence[Rule], flavour: Flavour, before: Mapping[str, int]) -> int:
    total = sum(before[state] for state in by_state(rules, flavour))
    most = ceiling(policy.max_remove, total)
    return total if most is None else most


def _within(plan: _Work) -> None:
    """Raise QueueProblem when a plan removes more than is allowed."""
    name, policy = plan.queue.name, plan.policy
    most = _most(policy, plan.rules, plan.flavour, plan.before)
    if plan.timed_out:
        raise QueueProblem(
            f"{name}: max_seconds ({policy.max_seconds:g}) was over before all jobs were counted, so that "
            f"max_remove cannot be kept ({plan.total} so far); nothing was removed"
        )
    if plan.total > most:
        each = ", ".join(f"{state} {count}" for state, count in plan.removed.items() if count)
        that = "" if str(most) == str(policy.max_remove) else f", that is {most}"
        raise QueueProblem(
            f"{name}: {plan.total} jobs would be removed ({each}), more than max_remove ({policy.max_remove}{that}); "
            "nothing was removed"
        )


# -- the work --------------------------------------------------------------------------------------------------------


class _Ended(Exception):
    """The time is over."""


class _Work:
    """One pass over a queue."""

    def __init__(
        self,
        link: Link,
        queue: Queue,
        flavour: Flavour,
        rules: Sequence[Rule],
        policy: Policy,
        *,
        now: int,
        dry: bool,
        before: Mapping[str, int],
        seconds: float,
    ) -> None:
        self.link = link
        self.queue = queue
        self.flavour = flavour
        self.rules = rules
        self.policy = policy
        self.now = now
        self.dry = dry
        self.before = before
        self.progress: Progress | None = None
        self.pace = Pace(policy.chunk_ms, policy.duty, seconds)
        self.version = text(link.call("HGET", queue.key("meta"), "version"))
        # How many each rule may still take; -1 for any number.
        self.left = [-1 if rule.limit is None else rule.limit for rule in rules]
        self.removed: dict[str, int] = {}
        self.kept = dict.fromkeys(KEPT, 0)
        self.kept_in: dict[str, Counter[str]] = {}  # the same for each state
        self.waits: Counter[str] = Counter()  # parents per state that may go as soon as their children have gone
        self.most: int | None = None  # of total; None for any number
        self.ghosts: int | None = None
        self.ghosts_removed = 0
        self.orphans: int | None = None
        self.orphans_removed = 0
        self.lost_parents = 0  # of these orphans
        self.released = 0
        self.parents_deleted = 0
        self.touched = 0
        self.trimmed = 0
        self.oldest: int | None = None
        self.newest: int | None = None
        self.samples: list[str] = []
        self.limited = False
        self.timed_out = False
        self.warnings: list[str] = []
        self.damaged: list[str] = []  # ids of some

    @property
    def total(self) -> int:
        """Jobs and ids that were removed, or would be."""
        return sum(self.removed.values()) + self.ghosts_removed + self.orphans_removed

    @property
    def gone(self) -> int:
        """Removed jobs for which a parent that cannot run any more may have stayed."""
        unfinished = sum(count for state, count in self.removed.items() if state not in FINISHED)
        return unfinished + self.touched + self.orphans_removed

    def all(self) -> None:
        """All rules, then ghosts and orphans, then the parents that stayed only because of what has gone."""
        try:
            states = by_state(self.rules, self.flavour)
            self.removed = dict.fromkeys(states, 0)
            # Active jobs last: they are waited for, and nothing else should.
            for state, indexes in sorted(states.items(), key=lambda item: item[0] == "active"):
                if self.before[state]:
                    self._state(state, indexes)
            if self.policy.ghosts != "ignore":
                self._ghosts()
            if self.policy.orphans != "ignore":
                self._orphans()
            if self.lost_parents:
                # Jobs stayed for these as well: which ones, nobody knows any more.
                self.waits = Counter({state: kept["parent"] for state, kept in self.kept_in.items()})
            if not self.dry:
                self._parents(states)
        except _Ended:
            self.timed_out = True
            self.warnings.append(f"max_seconds ({self.policy.max_seconds:g}) was over; the next run goes on")

    def tell(self) -> None:
        """Write one event about all that was removed, as the library does, and trim the events where asked to."""
        events = self.queue.key("events")
        count = 0 if self.dry or not self.flavour.events else sum(self.removed.values())
        if not count and self.policy.events_maxlen is None:
            return
        known = number(self.link.call("HGET", self.queue.key("meta"), "opts.maxLenEvents"))
        limit = known if known is not None and known >= 0 else _DEFAULT_EVENTS
        if count:
            try:
                self.link.run(TELL, (events,), (self.queue.key(NOWHERE), limit, count))
            except RedisFailed as error:
                if error.reason not in ("auth", "memory", "type"):
                    raise
                # The jobs are gone, whoever hears of it.
                self.warnings.append(f"no event tells of what was removed (XADD): {error.message}")
        if self.policy.events_maxlen is not None:
            there = int(self.link.call("XLEN", events))
            wanted = min(self.policy.events_maxlen, limit)
            # The stream is trimmed by whole nodes: what is left over is no reason to write.
            if there > wanted + _NODE:
                self.trimmed = (
                    there - wanted if self.dry else int(self.link.call("XTRIM", events, "MAXLEN", "~", wanted))
                )

    def outcome(self, after: Mapping[str, int], warnings: list[str]) -> Outcome:
        """All of it."""
        before = self.before
        if self.dry:
            after = {state: max(0, count - self.removed.get(state, 0)) for state, count in before.items()}
        damaged = self.kept["damaged"]
        if damaged:
            names = ", ".join(self.damaged) + (", …" if damaged > len(self.damaged) else "")
            why = "a key of theirs or of their family is of another type than in a queue"
            warnings = [*warnings, f"{damaged} jobs stay, because {why}: {names}"]
        cascades = self.touched and (self.policy.parents == "upstream" or self.kept["parent"])
        # A dry run takes no child away.
        freed = self.gone and any(self.waits.values())
        return Outcome(
            counts_before=before,
            counts_after=after,
            removed=dict(self.removed),
            kept={why: count for why, count in self.kept.items() if why != "ghost"},
            ghosts=self.ghosts,
            orphans=self.orphans,
            oldest=self.oldest,
            newest=self.newest,
            samples=tuple(self.samples),
            chunks=self.pace.chunks,
            longest_chunk_ms=round(self.pace.longest_ms, 3),
            redis_ms=round(self.pace.redis_ms, 3),
            exact=not self.dry or not (cascades or freed or self.timed_out),
            complete=not self.limited and not self.timed_out,
            warnings=tuple(warnings + self.warnings),
            released=self.released,
            parents_deleted=self.parents_deleted,
            ghosts_removed=self.ghosts_removed,
            orphans_removed=self.orphans_removed,
            events_trimmed=self.trimmed,
        )

    # -- rules -------------------------------------------------------------------------------------------------------

    def _state(self, state: str, indexes: Sequence[int]) -> None:
        only: dict[bytes, bytes] | None = None
        if state == "active":
            only = self._unlocked(indexes)
            if not only:
                return
        start = _START
        if state != "active" and self._fast_for(indexes):
            start = self._quick(state, indexes)
        for found in self._pages(state, indexes, only=only, start=start):
            self._count(state, indexes, found)

    def _parents(self, states: Mapping[str, Sequence[int]]) -> None:
        """Look again where parents stayed because of their children, as long as children go.

        Otherwise a second run would remove them.
        """
        gone = 0
        while self.gone > gone and any(self.waits.values()):
            if self.most is not None and self.total + sum(self.waits.values()) > self.most:
                # They were in no plan: the next one counts them.
                self.limited = True
                return
            gone = self.gone
            # A second look at active jobs takes as long as a lock lasts, and hardly any of them is such a parent.
            for state in [one for one, count in self.waits.items() if count and one != "active"]:
                self.kept = {why: count - self.kept_in[state][why] for why, count in self.kept.items()}
                del self.kept_in[state], self.waits[state]
                for found in self._pages(state, states[state]):
                    self._count(state, states[state], found)

    def _pages(
        self,
        state: str,
        indexes: Sequence[int],
        *,
        only: Mapping[bytes, bytes] | None = None,
        listing: bool = False,
        start: tuple[Any, Any, int] = _START,
    ) -> Iterator[_Found]:
        """Pages of a state until all of it was looked at. C(start) is the last job that was, its score and place."""
        anchor, score, before = start
        seen = 0
        bound: int | None = None
        pairs = [part for pair in (only or {}).items() for part in pair]
        while True:
            self._in_time()
            rest = (anchor, score, before, self.pace.size, *pairs)
            found = self._run(state, indexes, rest, only=only is not None, listing=listing)
            seen += found.examined
            self.pace.took(found.spent, found.examined)
            yield found
            if found.done == 2:
                self.limited = True
            # Jobs that come in while we look are not this run's: a list that grows would never end.
            bound = 2 * found.total + 1000 if bound is None else bound
            if seen > bound and not found.done:
                self.limited = True
                self.warnings.append(f"{state} grew faster than it could be looked at; the next run goes on")
            if found.done or seen > bound:
                return
            anchor, score, before = found.anchor, found.score, found.before

    def _run(
        self, state: str, indexes: Sequence[int], rest: Sequence[Any], *, only: bool = False, listing: bool = False
    ) -> _Found:
        key = self.queue.key
        keys = (key(state), key("meta"), key("repeat"), key("priority"), key("limiter:index"))
        while True:
            asked = self._ask(state, indexes, only=only, listing=listing)
            reply, wall = self._script(CLEAN, keys, (self.queue.base, asked, *rest))
            if self._accepted(reply):
                break
        return _Found(
            examined=reply[1], taken=reply[2], done=reply[3], anchor=reply[4], score=reply[5], before=reply[6],
            spent=_spent(reply[7], wall), kept=reply[8], per_rule=reply[9], oldest=_time(reply[10]),
            newest=_time(reply[11]), some=reply[12], released=reply[13], deleted=reply[14], touched=reply[15],
            total=reply[16], damaged=reply[17], waits=reply[18],
        )  # fmt: skip

    def _script(self, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> tuple[Any, float]:
        """Run a script; its reply, and the milliseconds that it took."""
        began = time.monotonic()
        reply = self.link.run(script, keys, arguments)
        return reply, (time.monotonic() - began) * 1000

    def _accepted(self, reply: Any) -> bool:
        """Whether a script did its work; False to ask again. Raises QueueProblem when it says why it did nothing."""
        status = text(reply[0])
        if status == "type":
            key, kind, wanted = (text(one) for one in reply[1:4])
            raise QueueProblem(f"{self.queue.name}: {key} is a {kind}, where a queue has a {wanted}; {self._so_far()}")
        if status == "version":
            found = detect(self.link, self.queue)
            if (found.library, found.major) != (self.flavour.library, self.flavour.major):
                raise QueueProblem(
                    f"{self.queue.name}: another version works on it now ({text(reply[1])}, "
                    f"before {self.version or 'none'}); {self._so_far()}, run again"
                )
            # Another release of the same major version, whose layout is the same.
            self.version = text(reply[1])
            return False
        return True

    def _so_far(self) -> str:
        return f"{self.total} jobs were removed before" if self.total and not self.dry else "nothing was removed"

    def _ask(self, state: str, indexes: Sequence[int], *, only: bool, listing: bool) -> bytes:
        """What a page is asked for, as JSON."""
        told = []
        keeps = []
        tops = []
        for index in indexes:
            rule = self.rules[index]
            one: dict[str, Any] = {"left": self.left[index], "clock": clock_fields(rule.clock, state)}
            if rule.older_than is not None:
                one["cut"] = self.now - rule.older_than
            if rule.keep_last is not None:
                one["keep"] = rule.keep_last
            for name, glob in (("name", rule.name), ("reason", rule.failed_reason)):
                parts = lua_glob(glob)
                if parts is not None:
                    one[name] = [_bytes(part) for part in parts]
            told.append(one)
            keeps.append(rule.keep_last)
            tops.append(one.get("cut") if one["clock"] == ("score",) else None)
        major = self.flavour.major
        asked: dict[str, Any] = {
            "kind": STATES[state],
            "dry": self.dry or listing,
            "version": self.version,
            "rules": told,
            "reason": any("reason" in one for one in told),
            "only": only,
            "list": listing,
            "over": state in FINISHED,
            "flows": not self.flavour.bull,
            "bull": self.flavour.bull,
            "protect": self.policy.parents == "protect",
            "ghosts": self.policy.ghosts != "ignore",
            "marker": self.flavour.marker_set,
            "paused_list": self.flavour.paused_list,
            # BullMQ 1 and 2 also forget the result of a child that is removed, 5 and later have keys for deduplication.
            "forgets": not self.flavour.bull and major in (1, 2) and self.policy.parents == "upstream",
            "dedup": not self.flavour.bull and (major == 0 or major >= 5),
            "samples": max(0, SAMPLES - len(self.samples)),
            "seconds": self.policy.chunk_ms * _PATIENCE / 1000,
        }
        if all(top is not None for top in tops):
            asked["sorted"] = True
            asked["top"] = max(top for top in tops if top is not None)
        if all(keep is not None for keep in keeps):
            asked["keep"] = min(keep for keep in keeps if keep is not None)
        return json.dumps(asked, ensure_ascii=False).encode("utf-8", "surrogateescape")

    def _count(self, state: str, indexes: Sequence[int], found: _Found) -> None:
        self.removed[state] += found.taken
        self.parents_deleted += found.deleted
        self.released += found.released
        self.touched += found.touched
        self.waits[state] += found.waits
        for why, count in zip(KEPT, found.kept):
            self.kept[why] += count
            self.kept_in.setdefault(state, Counter())[why] += count
        damaged = [text(one) for one in found.damaged]
        self.damaged += [one for one in damaged if one not in self.damaged][: _NAMED - len(self.damaged)]
        for index, count in zip(indexes, found.per_rule):
            self._used(index, count)
        self._times(found.oldest, found.newest)
        self._sample(text(one) for one in found.some)
        self._progress()

    def _used(self, index: int, count: int) -> None:
        if self.left[index] >= 0:
            self.left[index] = max(0, self.left[index] - count)

    def _times(self, oldest: int | None, newest: int | None) -> None:
        if oldest is not None:
            self.oldest = oldest if self.oldest is None else min(self.oldest, oldest)
        if newest is not None:
            self.newest = newest if self.newest is None else max(self.newest, newest)

    def _sample(self, ids: Any) -> None:
        for one in ids:
            if len(self.samples) < SAMPLES:
                self.samples.append(one)

    def _progress(self) -> None:
        if self.progress is not None:
            self.progress(dict(self.removed))

    # -- active jobs -------------------------------------------------------------------------------------------------

    def _unlocked(self, indexes: Sequence[int]) -> dict[bytes, bytes]:
        """Active jobs that nobody holds, looked at twice: a worker renews its lock after half of the time it lasts."""
        first: dict[bytes, bytes] = {}
        kept = dict(self.kept)
        for found in self._pages("active", indexes, listing=True):
            first.update(zip(found.some[::2], found.some[1::2]))
            for why, count in zip(KEPT, found.kept):
                self.kept[why] += count
        if first:
            # Both looks see the same jobs; the second one counts.
            self.kept = kept
            pause = self.policy.second_look_ms
            seconds = (self.policy.lock_ms / 2 if pause is None else pause) / 1000
            if seconds >= self.pace.left:
                raise _Ended
            time.sleep(seconds)
        return first

    # -- the fast path -----------------------------------------------------------------------------------------------

    def _fast_for(self, indexes: Sequence[int]) -> bool:
        """Whether one rule alone looks at the state, and no field of a job."""
        if self.policy.fast == "never" or len(indexes) != 1:
            return False
        rule = self.rules[indexes[0]]
        return not rule.name and not rule.failed_reason

    def _quick(self, state: str, indexes: Sequence[int]) -> tuple[Any, Any, int]:
        """Remove what the fast path can, or count it; return where the pages that look at the rest begin."""
        index = indexes[0]
        rule = self.rules[index]
        if state in FINISHED and clock_fields(rule.clock, state) == ("score",):
            known = self._known(state, index, rule)
            if known is not None and self.dry:
                return self._foreseen(state, index, rule, known)
            if known is not None:
                self._quick_set(state, index, rule, known)
        elif not self.dry and state in ("wait", "paused") and self.policy.ghosts != "report":
            self._quick_tail(state, index, rule)
        return _START

    def _known(self, state: str, index: int, rule: Rule) -> fast.Hints | None:
        """What the fast path needs to know of a state; None where it does not pay, or is not possible."""
        high = "+inf" if rule.older_than is None else str(self.now - rule.older_than)
        candidates = int(self.link.call("ZCOUNT", self.queue.key(state), "-inf", high)) - (rule.keep_last or 0)
        if self.left[index] >= 0:
            candidates = min(candidates, self.left[index])
        if candidates <= 0 or (self.policy.fast == "auto" and not fast.worthwhile(self.link, candidates)):
            return None
        return fast.hints(
            self.link, self.queue, self.flavour, state,
            high=high, version=self.version, now_ms=self.now, after=self._scanned,
        )  # fmt: skip

    def _foreseen(self, state: str, index: int, rule: Rule, known: fast.Hints) -> tuple[Any, Any, int]:
        """Count what the fast path would remove: nothing but their place in the set decides about these jobs."""
        keys = tuple(self.queue.key(suffix) for suffix in (state, "limiter:index"))
        keep = rule.keep_last or 0
        most: Any = "" if self.left[index] < 0 else self.left[index]

        def look(limit: Any) -> Any:
            wanted = SAMPLES - len(self.samples)
            reply, wall = self._script(FORESEE, keys, (self.queue.base, known.high, keep, limit, wanted))
            self.pace.took(wall, 0)
            return reply

        reply = look(most)
        if reply[0]:
            reply = look(self._whole(keys[0], reply[0]))
        if not reply[0]:
            return _START
        count, oldest, anchor, score, some = reply
        self.removed[state] += count
        self._used(index, count)
        self._times(_time(oldest), _time(score))
        self._sample(text(one) for one in some)
        return anchor, score, count

    def _whole(self, key: str, count: int) -> int:
        """How many of the first so many ids of a sorted set come before one that is no job, in whole pages."""
        seen = 0
        ghosts = int(self.policy.ghosts != "ignore")
        while seen < count:
            self._in_time()
            size = min(self.pace.size, count - seen)
            reply, wall = self._script(WHOLE, (key,), (self.queue.base, seen, size, ghosts))
            if not reply:
                break
            self.pace.took(wall, size)
            seen += size
        return seen

    def _quick_set(self, state: str, index: int, rule: Rule, known: fast.Hints) -> None:
        keep = rule.keep_last or 0
        ghosts = self.policy.ghosts != "ignore"
        size = partial(getattr, self.pace, "size")
        for step in fast.steps(self.link, self.queue, state, known, size, keep_last=keep, keep_ghosts=ghosts):
            if not self._quick_page(state, index, step.size, step.act, to_end=step.repeat):
                break
        fast.sweep(self.link, self.queue, known, self._scanned)

    def _quick_tail(self, state: str, index: int, rule: Rule) -> None:
        latest = 2**53 if rule.older_than is None else self.now - rule.older_than
        fields = clock_fields(rule.clock, state)
        keep = rule.keep_last or 0
        link, queue = self.link, self.queue

        def page(most: int | None) -> fast.Page:
            return fast.tail(
                link, queue, state, self.pace.size,
                latest=latest, fields=fields, version=self.version, most=most, keep_last=keep,
            )  # fmt: skip

        while self._quick_page(state, index, self.pace.size, page, to_end=True):
            pass

    def _quick_page(
        self, state: str, index: int, size: int, act: Callable[[int | None], fast.Page], *, to_end: bool = False
    ) -> bool:
        """Do one page; whether another one makes sense."""
        if self.pace.over:
            raise _Ended
        if self.left[index] == 0:
            return False
        began = time.monotonic()
        page = act(None if self.left[index] < 0 else self.left[index])
        wall = (time.monotonic() - began) * 1000
        self.pace.took(page.spent * 1000 or wall, page.removed if page.removed else size)
        self.removed[state] += page.removed
        self._used(index, page.removed)
        self._times(page.oldest, page.newest)
        self._sample(one for one in dict.fromkeys((page.first, page.last)) if one)
        if page.removed:
            self._progress()
        return not page.exact and not (to_end and (page.end or not page.removed))

    def _scanned(self, seconds: float) -> None:
        self.pace.took(seconds * 1000, 0)
        if self.pace.over:
            raise _Ended

    # -- ghosts and orphans ------------------------------------------------------------------------------------------

    def _ghosts(self) -> None:
        """Ids in any state that have no job."""
        remove = self.policy.ghosts == "remove"
        self.ghosts = 0
        key = self.queue.key
        for state, kind in STATES.items():
            rest: tuple[Any, ...] = ("", "", 0)
            seen = bound = 0
            while True:
                self._in_time()
                asked = {"kind": kind, "dry": self.dry or not remove, "samples": self._wanted(remove)}
                keys = (key(state), key("meta"), key("repeat"), key("priority"), key("limiter:index"))
                arguments = (self.queue.base, json.dumps(asked), *rest, self.pace.size)
                reply, wall = self._script(GHOSTS, keys, arguments)
                self._accepted(reply)
                examined, found, done = reply[1:4]
                self.pace.took(_spent(reply[7], wall), examined)
                self.ghosts += found
                if remove:
                    self.ghosts_removed += found
                    self._sample(text(one) for one in reply[8])
                seen += examined
                bound = bound or 2 * reply[9] + 1000
                if done or seen > bound:
                    break
                rest = tuple(reply[4:7])

    def _orphans(self) -> None:
        """Jobs that are in no state: seen once among all keys, and once more by the script that removes them."""
        remove = self.policy.orphans == "remove"
        self.orphans = held = 0
        suspects = self._suspects()
        key = self.queue.key
        sets = [key(state) for state, kind in STATES.items() if kind == "zset"]
        lists = [key(state) for state, kind in STATES.items() if kind == "list"]
        asked = {
            "cut": self.now - self.policy.orphan_age,
            "dry": self.dry or not remove,
            "sets": len(sets),
            "seconds": self.policy.chunk_ms * _PATIENCE / 1000,
        }
        keys = (key("meta"), key("id"), key("repeat"), *sets, *lists)
        begin = 0
        while begin < len(suspects):
            self._in_time()
            asked["samples"] = self._wanted(remove)
            ids = suspects[begin : begin + min(self.pace.size, _SUSPECTS)]
            reply, wall = self._script(ORPHANS, keys, (self.queue.base, json.dumps(asked), *ids))
            self._accepted(reply)
            examined, found, _young, awaited = reply[1:5]
            begin += examined
            self.pace.took(_spent(reply[5], wall), examined)
            self.orphans += found
            held += awaited
            if remove:
                self.orphans_removed += found
                self.lost_parents += reply[7]
                self._sample(text(one) for one in reply[6])
        if held:
            self.warnings.append(
                f"{held} jobs of no state stay: a parent waits for them, or they have children that have not finished"
            )

    def _suspects(self) -> list[bytes]:
        """Ids that look like those of jobs and are in no state as far as is known before they are looked at again."""
        listed = self._listed()
        base = self.queue.base.encode("utf-8", "surrogateescape")
        sets = [self.queue.key(state) for state, kind in STATES.items() if kind == "zset"]
        match = f"{escaped(self.queue.base)}*"
        suspects: list[bytes] = []
        unsure = 0
        cursor: Any = b"0"
        while True:
            self._in_time()
            began = time.monotonic()
            cursor, keys = self.link.call("SCAN", cursor, "MATCH", match, "COUNT", 1000)
            ids = [key[len(base) :] for key in keys]
            if any(one.startswith(b"groups") for one in ids):
                self.warnings.append("the queue has groups (BullMQ Pro): orphans cannot be told from jobs in them")
                self.orphans = None
                return []
            likely = []
            for one in ids:
                if one in listed or one in _NO_JOBS:
                    continue
                # Bull takes colons in names of queues and in ids: this may be a key of a job, or another queue's.
                if b":" in one and not _RUN.match(one):
                    unsure += not one.startswith(_KNOWN) and not one.endswith(_BESIDE)
                    continue
                likely.append(one)
            asked = [("ZSCORE", where, one) for one in likely for where in sets]
            scores = [good(reply, "ZSCORE") for reply in self.link.ask(*asked)] if asked else []
            for place, one in enumerate(likely):
                if scores[place * len(sets) : (place + 1) * len(sets)] == [None] * len(sets):
                    suspects.append(one)
            self.pace.took((time.monotonic() - began) * 1000, 0)
            if cursor in (b"0", "0", 0):
                break
        if unsure:
            self.warnings.append(
                f"{unsure} keys could belong to a job or to a queue with a longer name; they are no orphans here"
            )
        return suspects

    def _listed(self) -> set[bytes]:
        """Ids in the lists of the queue."""
        found: set[bytes] = set()
        for state, kind in STATES.items():
            begin = 0
            while kind == "list":
                self._in_time()
                some = self.link.call("LRANGE", self.queue.key(state), begin, begin + 4999)
                found.update(some)
                if len(some) < 5000:
                    break
                begin += 5000
        return found

    def _in_time(self) -> None:
        if self.pace.over:
            raise _Ended

    def _wanted(self, remove: bool) -> int:
        """How many more samples are wanted."""
        return SAMPLES - len(self.samples) if remove else 0


class _Found(NamedTuple):
    """What one page says."""

    examined: int
    taken: int
    done: int
    anchor: Any
    score: Any
    before: int
    spent: float  # ms
    kept: Sequence[int]
    per_rule: Sequence[int]
    oldest: int | None
    newest: int | None
    some: Sequence[Any]
    released: int
    deleted: int
    touched: int
    total: int
    damaged: Sequence[Any]  # ids of some
    waits: int


def _bytes(part: str) -> str:
    """A text of which each character is a byte, as one that becomes those bytes when it is sent."""
    return part.encode("latin-1").decode("utf-8", "surrogateescape")


def _spent(reply: Any, wall: float) -> float:
    """Milliseconds that a script says it took; those of the round trip where its clock stood still."""
    return float(text(reply)) * 1000 or wall


def _time(reply: Any) -> int | None:
    digits = text(reply)
    return int(float(digits)) if digits else None


__all__ = ["SAMPLES", "Outcome", "clean", "counts", "is_paused", "required"]
