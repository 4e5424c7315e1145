# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same database twice: what the real package does to the one, what we do to the other, and what then differs.

One case alone, with its commands reduced to those without which nothing differs:

    PYTHONPATH=collections:. python -m tests.queues.harness TRIAL PACKAGE SEED|FROM-TO [--real] [--all]

with QUAI_QUEUES_LOCAL as conftest.py says, or in the container.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour, Queue, QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, RedisFailed
from ansible_collections.quai.ops.plugins.module_utils._resp import text

from tests.queues import snapshot
from tests.queues.generator import NOW, OTHER, PREFIX, QUEUE, Case, Command, case_of, traits, write_real
from tests.queues.place import Database, Node, NodeError, Place, opened
from tests.queues.snapshot import Snapshot, Tolerance, Value, differences

SOURCE, THEIRS, OURS = 1, 2, 3
SHRINK_TRIES = 4000


class World:
    """A server with the databases of one case."""

    def __init__(self, place: Place, server: Database) -> None:
        self.place = place
        self.server = server
        self._databases: dict[int, Database] = {}

    def at(self, number: int) -> Database:
        """One of the databases."""
        if number not in self._databases:
            self._databases[number] = self.server.at(number)
        return self._databases[number]

    @property
    def databases(self) -> list[Database]:
        """Those that were used."""
        return list(self._databases.values())

    def link(self, number: int) -> Link:
        """Our connection to one of them."""
        return self.at(number).link

    def node(self, package: str) -> Node:
        """The real package."""
        return self.place.node(package)

    def write(self, commands: Sequence[Command]) -> None:
        """Make the source database hold exactly what these commands write."""
        self.link(SOURCE).ask(("FLUSHDB",), *commands)

    def write_with_package(self, case: Case) -> None:
        """Make the source database hold what the package itself writes for a case."""
        self.link(SOURCE).call("FLUSHDB")
        pick = random.Random(f"real-{case.package}-{case.seed}")  # noqa: S311
        write_real(self.node(case.package), self.at(SOURCE).node, case, pick)
        # They take the mark that wakes a worker for a job; test_deliberate.py has that.
        link = self.link(SOURCE)
        for state in ("wait", "paused"):
            for one in link.call("LRANGE", f"{PREFIX}:{QUEUE}:{state}", 0, -1):
                if one.startswith(b"0:"):
                    link.call("LREM", f"{PREFIX}:{QUEUE}:{state}", 0, one)

    def copy(self, number: int) -> None:
        """Make another database equal to the source."""
        keys = self.link(SOURCE).call("KEYS", "*")
        self.link(number).call("FLUSHDB")
        if keys:
            self.link(SOURCE).ask(*(("COPY", key, key, "DB", number) for key in keys))

    def take(self, number: int) -> Snapshot:
        """All that a database holds."""
        return snapshot.take(self.link(number))

    def warm(self, package: str) -> None:
        """Make the package's queue before there is anything: what it writes at that is of no interest."""
        where = {"redis": self.at(THEIRS).node, "queue": QUEUE}
        self.node(package).call("touch", where)

    def their(self, package: str, action: str, given: dict[str, Any], now: int | None = NOW) -> Any:
        """What the package does to its database."""
        return self.node(package).call(action, {"redis": self.at(THEIRS).node, "queue": QUEUE, **given}, now=now)


def flavour_of(package: str) -> Flavour:
    """What C(detect) finds in a queue of a package; a case need not hold what it needs to tell."""
    has = traits(package)
    return Flavour(has.library, has.major, has.version, "the test's")


class Trial(NamedTuple):
    """One comparison. C(run) returns what differs, for the content of the source database."""

    run: Callable[[World, Case], list[str]]
    fits: Callable[[Case], bool]


def appended(before: Snapshot, *keys: str) -> dict[str, int]:
    """The lengths of lists before, for Tolerance."""
    return {key: len(before[key].data) if key in before else 0 for key in keys}


def clean_tolerance(before: Snapshot, case: Case) -> Tolerance:
    """Several parents that one clean sets free come in the order of its pages."""
    keys = [f"{PREFIX}:{queue}:{state}" for queue in (OTHER, QUEUE) for state in ("wait", "paused")]
    # We tell in a stream that is there; they also begin one.
    events = f"{PREFIX}:{QUEUE}:events"
    # Whether a parent that went with its last child is counted once more depends on the pages.
    counted = not (case.state == "waiting-children" and page_of(case))
    return Tolerance(
        cleaned_sum=counted,
        appended=appended(before, *keys),
        ignore=lambda key: key == events and events not in before,
    )


def with_others_deduplication(case: Case, before: Snapshot, theirs: Snapshot, ours: Snapshot) -> None:
    """Put back what C(clean) removed in place of us: deduplication keys that no job held that went.

    Bull removes them with every job that has the name, and we never do: we must have all of these. BullMQ does so with
    the last of the children that go with their parent, as we do, but goes through a list from the other end: where
    there are several, those of one list may be without the key in one of the two. test_deliberate.py has both.
    """
    has, base = traits(case.package), f"{PREFIX}:{QUEUE}:"
    went = {key: before[key].data for key in before if before[key].kind == "hash" and key not in theirs}
    jobs = {key: job for key, job in went.items() if key.startswith(base) and "deid" in job}
    for job in jobs.values():
        dedup = f"{base}de:{job['deid']}"
        held = before.get(dedup)
        if held is None or jobs.get(base + held.data, {}).get("deid") == job["deid"]:
            continue
        parent = job.get("parentKey")
        if has.bull:
            theirs[dedup] = held
        elif parent in went and case.state in ("wait", "paused", "active"):
            several = sum(other.get("parentKey") == parent for other in went.values()) > 1
            if several and ours.get(dedup, held) == held:
                theirs.pop(dedup, None)
                theirs.update({dedup: held} if dedup in ours else {})


PAGES = (1, 2, 7, 0, 0)


@contextlib.contextmanager
def pages(size: int) -> Iterator[None]:
    """Have our clean-up take pages of this size; 0: of its own."""
    from ansible_collections.quai.ops.plugins.module_utils import _queue_pace

    defaults = _queue_pace.Pace.__init__.__kwdefaults__
    assert defaults, "Pace has other arguments now"
    saved, smallest = dict(defaults), _queue_pace.SMALLEST
    if size:
        defaults.update(first=size, largest=size)
        _queue_pace.SMALLEST = size  # type: ignore[misc]
    try:
        yield
    finally:
        defaults.update(saved)
        _queue_pace.SMALLEST = smallest  # type: ignore[misc]


def page_of(case: Case) -> int:
    """The page size that goes with a case."""
    if case.state == "waiting-children" and case.limit:
        # Whether a parent that went with its last child counts towards the limit depends on the pages.
        return 0
    return PAGES[case.seed % len(PAGES)]


def our_clean(world: World, case: Case, number: int, fast: str, *, dry: bool = False, **policy: Any) -> Any:
    """Our clean-up with the rule that means what the package's C(clean) does."""
    from ansible_collections.quai.ops.plugins.module_utils import _queue_clean, _queue_rules

    rule = {"state": case.state, "older_than": case.grace / 1000, "clock": clock_of(case)}
    if case.limit:
        rule["limit"] = case.limit
    told: dict[str, Any] = {"parents": "upstream", "fast": fast, **policy}
    if case.state == "active":
        told.update(active="unlocked", lock_ms=1000, second_look_ms=1)
    return _queue_clean.clean(
        world.link(number),
        Queue(PREFIX, QUEUE),
        flavour_of(case.package),
        _queue_rules.rules([rule]),
        _queue_rules.Policy(**told),
        dry=dry,
        now_ms=case.now,
    )


def clock_of(case: Case) -> str:
    """The name of what the package compares, in our words."""
    if case.package == "bull3":
        return "created"
    return "auto"


def clean_trial(fast: str, **policy: Any) -> Callable[[World, Case], list[str]]:
    """The package's C(clean) and ours."""

    def run(world: World, case: Case) -> list[str]:
        before = world.take(SOURCE)
        world.copy(THEIRS)
        world.copy(OURS)
        given = {"grace": case.grace, "limit": case.limit, "state": case.state}
        removed = world.their(case.package, "clean", given, case.now)
        with pages(page_of(case)):
            plan = our_clean(world, case, OURS, fast, dry=True, **policy)
            lines = [f"a dry run wrote: {line}" for line in differences(before, world.take(OURS))]
            outcome = our_clean(world, case, OURS, fast, **policy)
        theirs, ours = world.take(THEIRS), world.take(OURS)
        with_others_deduplication(case, before, theirs, ours)
        lines += differences(theirs, ours, clean_tolerance(before, case))
        counted = outcome.removed.get(case.state, 0)
        # Parents that go with their last child are counted by us, and are not among the ids that they return.
        if counted != len(removed) and case.state != "waiting-children":
            lines.append(f"they say {len(removed)} were removed, we say {outcome.removed}")
        if dict(plan.removed) != dict(outcome.removed) and plan.exact:
            lines.append(f"planned {plan.removed}, removed {outcome.removed}")
        return lines

    return run


def retried_states(package: str) -> tuple[str, ...]:
    """The states that a package retries."""
    return ("failed",) if traits(package).bull else ("failed", "completed")


def always(_case: Case) -> bool:
    """For every case."""
    return True


def state_trial(world: World, case: Case) -> list[str]:
    """The package's pause and resume and ours, in both orders."""
    from ansible_collections.quai.ops.plugins.module_utils import _queue_state

    lines = []
    pick = random.Random(f"state-{case.seed}")  # noqa: S311
    if traits(case.package).paused_list:
        # Where both lists hold jobs, theirs loses those of one; test_deliberate.py has that.
        world.link(SOURCE).call("DEL", f"{PREFIX}:{QUEUE}:{pick.choice(('wait', 'paused'))}")
    for start in (True, False):
        world.copy(THEIRS)
        world.copy(OURS)
        for action in ("pause", "resume") if start else ("resume", "pause"):
            flavour = flavour_of(case.package)
            # What the package does when nothing has to change writes events for nothing; we do not.
            is_paused = _queue_state.is_paused(world.link(OURS), Queue(PREFIX, QUEUE), flavour)
            if is_paused == (action == "pause"):
                continue
            found = world.take(THEIRS)
            world.their(case.package, action, {})
            ours = {"pause": _queue_state.pause, "resume": _queue_state.resume}[action]
            before = world.take(OURS)
            ours(world.link(OURS), Queue(PREFIX, QUEUE), flavour, dry=True)
            lines += [f"a dry {action} wrote: {line}" for line in differences(before, world.take(OURS))]
            ours(world.link(OURS), Queue(PREFIX, QUEUE), flavour, page=pick.choice((1, 3, 3500)))
            theirs = world.take(THEIRS)
            if action == "resume":
                with_marker(case, found, theirs)
            lines += [f"{action}: {line}" for line in differences(theirs, world.take(OURS), Tolerance())]
    return lines


def with_marker(case: Case, before: Snapshot, theirs: Snapshot) -> None:
    """Add the mark that BullMQ 5 forgets for jobs in C(wait) of a paused queue; test_deliberate.py has it."""
    key = f"{PREFIX}:{QUEUE}:"
    if traits(case.package).major != 5 or f"{key}wait" not in before:
        return
    if f"{key}paused" not in before and f"{key}prioritized" not in before:
        marks = before[f"{key}marker"].data if f"{key}marker" in before else []
        data = [("0", "0"), *(mark for mark in marks if mark[0] != "0")]
        theirs[f"{key}marker"] = Value("zset", data, expires=False)


def retry_trial(world: World, case: Case) -> list[str]:
    """The package's C(job.retry()) of one job after the other, and ours."""
    from ansible_collections.quai.ops.plugins.module_utils import _queue_retry

    has = traits(case.package)
    pick = random.Random(f"retry-{case.seed}")  # noqa: S311
    source, key = world.link(SOURCE), f"{PREFIX}:{QUEUE}:"
    if not has.retry_paused:
        # Theirs puts jobs of a paused queue where workers take them; test_deliberate.py has that.
        source.ask(("HDEL", f"{key}meta", "paused"), ("DEL", f"{key}meta-paused"))
    ids = [text(one) for one in source.call("ZRANGEBYSCORE", key + case.state, "-inf", case.cut)]
    if not has.retry_priority:
        # As it does a job's priority.
        for one in ids:
            if source.call("EXISTS", key + one):
                source.call("HSET", key + one, "priority", 0)
    if case.package == "bullmq568":
        # It throws half way where a parent has a hash of failed children; test_deliberate.py has that.
        for found in source.call("KEYS", "*:failed"):
            if source.call("TYPE", found) == "hash":
                source.call("DEL", found)
    world.copy(THEIRS)
    world.copy(OURS)
    before = world.take(SOURCE)
    good = [one for one in ids if source.call("EXISTS", key + one) and not source.call("EXISTS", f"{key}{one}:lock")]
    limit = case.limit or None
    reset = has.retry_reset and pick.random() < 0.3
    options = {"resetAttemptsMade": True, "resetAttemptsStarted": True} if reset else {}
    world.their(case.package, "retry", {"ids": good[:limit], "state": case.state, "options": options}, case.now)
    given: dict[str, Any] = {
        "older_than": case.grace,
        "limit": limit,
        "reset_attempts": reset,
        "now_ms": case.now,
    }
    flavour = flavour_of(case.package)
    plan = _queue_retry.retry(world.link(OURS), Queue(PREFIX, QUEUE), flavour, case.state, dry=True, **given)
    lines = [f"a dry run wrote: {line}" for line in differences(before, world.take(OURS))]
    done = _queue_retry.retry(world.link(OURS), Queue(PREFIX, QUEUE), flavour, case.state, **given)
    lines += differences(world.take(THEIRS), world.take(OURS), Tolerance(event_order=False))
    if not len(good[:limit]) == done.retried == plan.retried:
        lines.append(f"retried: {len(good[:limit])} by them, {done.retried} by us, {plan.retried} planned")
    return lines


def rank_trial(world: World, case: Case) -> list[str]:
    """A retried job with a priority stands where the package puts a new one with that priority."""
    from ansible_collections.quai.ops.plugins.module_utils import _queue_retry

    pick = random.Random(f"rank-{case.package}-{case.seed}")  # noqa: S311
    key = f"{PREFIX}:{QUEUE}:"
    world.write(())
    where = {"redis": world.at(SOURCE).node, "queue": QUEUE}

    def job(number: int) -> dict[str, Any]:
        opts = {"jobId": f"{pick.choice('abcdef')}{number}", "priority": pick.choice((0, 0, 1, 2, 2, 7))}
        return {"name": "send", "data": {}, "opts": opts}

    node = world.node(case.package)
    paused = case.seed % 3 == 0
    if paused:
        node.call("pause", where)
    node.call("add", {**where, "jobs": [job(number) for number in range(pick.choice((0, 3, 8)))]}, now=NOW)
    again = [job(100 + number) for number in range(pick.choice((1, 2, 6)))]
    world.copy(THEIRS)
    for place, one in enumerate(again):
        opts = one["opts"]
        fields = ("name", "send", "data", "{}", "opts", "{}", "timestamp", NOW, "priority", opts["priority"])
        world.link(SOURCE).call("HSET", key + opts["jobId"], *fields)
        world.link(SOURCE).call("ZADD", f"{key}failed", NOW + place, opts["jobId"])
    world.copy(OURS)
    world.their(case.package, "add", {"jobs": again})
    _queue_retry.retry(world.link(OURS), Queue(PREFIX, QUEUE), flavour_of(case.package), now_ms=NOW + 1000)
    lists = tuple(key + name for name in ("wait", "paused", "priority", "prioritized", "failed", "marker"))
    theirs, ours = (without_idle_marks(world.take(number)) for number in (THEIRS, OURS))
    return differences(theirs, ours, Tolerance(ignore=lambda one: one not in lists))


def without_idle_marks(found: Snapshot) -> Snapshot:
    """Without the mark that wakes a worker in a list that holds a job too, which does the same."""
    for name in ("wait", "paused"):
        key = f"{PREFIX}:{QUEUE}:{name}"
        if key in found:
            jobs = [one for one in found[key].data if not one.startswith("0:")]
            found[key] = found[key]._replace(data=jobs or found[key].data)
    return found


NATURAL = {
    **dict.fromkeys(("wait", "paused", "active"), "list"),
    **dict.fromkeys(("completed", "failed", "delayed", "prioritized", "waiting-children", "repeat"), "zset"),
    **dict.fromkeys(("priority", "marker"), "zset"),
    **dict.fromkeys(("meta", "limiter:index"), "hash"),
    "events": "stream",
    "pc": "string",
    "meta-paused": "string",
}


def types_trial(world: World, case: Case) -> list[str]:
    """A key that is of another type than a queue has: what then fails has written nothing."""
    from ansible_collections.quai.ops.plugins.module_utils import _queue_clean, _queue_retry, _queue_rules, _queue_state

    pick = random.Random(f"types-{case.package}-{case.seed}")  # noqa: S311
    before = world.take(SOURCE)
    own = {f"{PREFIX}:{QUEUE}:{name}": kind for name, kind in NATURAL.items()}
    beside = {
        key: value.kind for key, value in before.items() if key.startswith((f"{PREFIX}:{QUEUE}:", f"{PREFIX}:{OTHER}:"))
    }
    keys = own if pick.random() < 0.4 else {**own, **beside}
    queue, flavour, lines = Queue(PREFIX, QUEUE), flavour_of(case.package), []
    for key in pick.sample(sorted(keys), 3):
        # The wrong type is one that commands of the right one refuse.
        wrong = ("LPUSH", key, "x") if keys[key] == "string" else ("SET", key, "x")
        for action in ("clean", "retry", "pause", "resume"):
            world.copy(OURS)
            link = world.link(OURS)
            link.ask(("DEL", key), wrong)
            start = world.take(OURS)
            try:
                if action == "clean":
                    told: dict[str, Any] = {
                        "parents": pick.choice(("protect", "upstream")),
                        "fast": pick.choice(("never", "always")),
                    }
                    if case.state == "active":
                        told.update(active="unlocked", lock_ms=1000, second_look_ms=1)
                    rule = {"state": case.state, "older_than": case.grace / 1000}
                    rules, policy = _queue_rules.rules([rule]), _queue_rules.Policy(**told)
                    _queue_clean.clean(link, queue, flavour, rules, policy, dry=False, now_ms=case.now)
                elif action == "retry":
                    _queue_retry.retry(link, queue, flavour, pick.choice(("failed", "completed")), now_ms=case.now)
                else:
                    {"pause": _queue_state.pause, "resume": _queue_state.resume}[action](link, queue, flavour)
            except (QueueProblem, RedisFailed) as error:
                found = differences(start, world.take(OURS), Tolerance(cleaned_events=False))
                if "removed before" in str(error):
                    # The pages before this one were done, and the message says so.
                    found = []
                lines += [f"{action} with {key} as {wrong[0]}: {line} ({error})" for line in found[:3]]
    return lines


def rules_of(case: Case, pick: random.Random) -> list[dict[str, Any]]:
    """One to three rules, as a person writes them."""
    has = traits(case.package)
    found = []
    for _rule in range(pick.choice((1, 1, 1, 2, 3))):
        state = case.state if pick.random() < 0.7 else pick.choice((*has.states, "waiting"))
        rule: dict[str, Any] = {"state": state}
        if pick.random() < 0.8 or state == "active":
            rule["older_than"] = case.grace / 1000
        if state == "active":
            rule["older_than"] = max(60.0, case.grace / 1000)
        counted = state in ("completed", "failed", "waiting-children", "wait", "paused")
        if counted and ("older_than" not in rule or pick.random() < 0.3):
            rule["keep_last"] = pick.choice((0, 1, 3, 10))
        rule.setdefault("older_than", 0.0) if "keep_last" not in rule else None
        if pick.random() < 0.3:
            rule["limit"] = pick.choice((1, 2, 5))
        if pick.random() < 0.3:
            rule["name"] = pick.choice(("send", "send*", "*size", "s?nd-[a-l]*", "*e*", "*"))
        if state == "failed" and pick.random() < 0.4:
            rule["failed_reason"] = pick.choice(("ECONN*", "*asked", "time[!x]ut", "*10.0.0.1:2?"))
        if pick.random() < 0.25:
            rule["clock"] = pick.choice(("created", "processed"))
        found.append(rule)
    return found


def fewer(some: Mapping[str, int], more: Mapping[str, int]) -> bool:
    """Whether there are at most as many of each."""
    return some.keys() == more.keys() and all(count <= more[state] for state, count in some.items())


def policy_trial(fast: str) -> Callable[[World, Case], list[str]]:
    """Our clean-up and what it promises, where the packages have nothing to compare with."""

    def run(world: World, case: Case) -> list[str]:
        from ansible_collections.quai.ops.plugins.module_utils import _queue_clean, _queue_rules

        from tests.queues.model import Model

        pick = random.Random(f"policy-{case.package}-{case.seed}")  # noqa: S311
        rules = _queue_rules.rules(rules_of(case, pick))
        told: dict[str, Any] = {"fast": fast, "ghosts": pick.choice(("ignore", "report", "remove"))}
        if any(rule.state == "active" for rule in rules):
            told.update(active="unlocked", lock_ms=1000, second_look_ms=1)
        policy = _queue_rules.Policy(**told)
        before = world.take(SOURCE)
        world.copy(OURS)
        model = Model(before, case.package)
        model.clean(rules, policy, case.now)
        given = (world.link(OURS), Queue(PREFIX, QUEUE), flavour_of(case.package), rules, policy)
        with pages(page_of(case)):
            plan = _queue_clean.clean(*given, dry=True, now_ms=case.now)
            lines = [f"a dry run wrote: {line}" for line in differences(before, world.take(OURS))]
            done = _queue_clean.clean(*given, dry=False, now_ms=case.now)
        after = world.take(OURS)
        lines += differences(model.after(), after, Tolerance(cleaned_sum=False))
        events = f"{PREFIX}:{QUEUE}:events"
        counted = snapshot.cleaned(after.get(events)) - snapshot.cleaned(before.get(events))
        if counted != sum(done.removed.values()) and events in before:
            lines.append(f"{events} says {counted} were removed, the outcome {done.removed}")
        # Where a plan cannot know which parents stay alone, it says so, and has fewer of them.
        planned = done.removed if not plan.exact and fewer(plan.removed, done.removed) else plan.removed
        if not model.removed == dict(planned) == dict(done.removed):
            lines.append(f"removed: {model.removed} expected, {plan.removed} planned, {done.removed} done")
        if policy.ghosts != "ignore" and not model.ghosts == plan.ghosts == done.ghosts:
            lines.append(f"ghosts: {model.ghosts} expected, {plan.ghosts} planned, {done.ghosts} found")
        if not any(rule.limit for rule in rules):
            again = _queue_clean.clean(*given, dry=False, now_ms=case.now)
            lines += [f"a second run wrote: {line}" for line in differences(after, world.take(OURS))]
            if again.changed or any(again.removed.values()):
                lines.append(f"a second run says {again.removed}")
        if lines:
            lines.append(f"with {[tuple(rule) for rule in rules]}, ghosts {policy.ghosts}, page {page_of(case)}")
        return lines

    return run


TRIALS = {
    "policy": Trial(policy_trial("never"), always),
    "policy-fast": Trial(policy_trial("always"), always),
    "types": Trial(types_trial, always),
    "rank": Trial(rank_trial, always),
    "retry": Trial(retry_trial, lambda case: case.state in retried_states(case.package)),
    "clean": Trial(clean_trial("never"), always),
    "fast": Trial(clean_trial("always"), always),
    "state": Trial(state_trial, always),
}


def run_case(world: World, trial: str, case: Case, *, real: bool = False) -> list[str]:
    """Run one case; what differs."""
    if real:
        world.write_with_package(case)
    else:
        world.write(case.commands)
    try:
        return TRIALS[trial].run(world, case)
    except (QueueProblem, RedisFailed) as error:
        return [f"ours failed: {type(error).__name__}: {error}"]


def case_for(trial: str, seed: int, package: str) -> Case:
    """The case of a seed that a trial can take: wild where only our own promises count."""
    state = ""
    if trial == "retry":
        state = retried_states(package)[seed % len(retried_states(package))]
    return case_of(seed, package, wild=trial.startswith("policy") or trial == "types", state=state)


def failure(world: World, trial: str, case: Case, *, real: bool = False) -> str:
    """What a failed test prints; empty when nothing differs."""
    lines = run_case(world, trial, case, real=real)
    if not lines:
        return ""
    if not real:
        case, lines = reduced(world, trial, case)
    commands = [f"    {' '.join(str(part) for part in command)}" for command in case.commands if not real]
    return "\n".join([told(trial, case, lines, real=real), *commands])


def reduced(world: World, trial: str, case: Case) -> tuple[Case, list[str]]:
    """The case with as few jobs as still make the same kind of difference, and that difference."""
    lines = run_case(world, trial, case)
    kinds = {kind_of(line) for line in lines}
    units = sorted(set(case.units))
    tries, width = 0, max(1, len(units) // 2)
    while width and tries < SHRINK_TRIES:
        start, gone = 0, False
        while start < len(units) and tries < SHRINK_TRIES:
            fewer = units[:start] + units[start + width :]
            tries += 1
            found = _attempt(world, trial, of_units(case, fewer))
            if any(kind_of(line) in kinds for line in found):
                units, lines, gone = fewer, found, True
            else:
                start += width
        width = width if gone and width == 1 else width // 2
    return of_units(case, units), lines


def kind_of(line: str) -> str:
    """What a difference is about: a key, without the id of a job."""
    return " ".join(line.split()[:2]).rstrip("0123456789")


def of_units(case: Case, units: Iterable[int]) -> Case:
    """The case with those of its units only."""
    chosen = set(units)
    pairs = [(c, u) for c, u in zip(case.commands, case.units, strict=True) if u in chosen]
    return case._replace(commands=tuple(c for c, _unit in pairs), units=tuple(unit for _command, unit in pairs))


def _attempt(world: World, trial: str, case: Case) -> list[str]:
    try:
        return run_case(world, trial, case)
    except NodeError:
        # Such a database no package ever wrote.
        return []


def told(trial: str, case: Case, lines: Iterable[str], *, real: bool = False) -> str:
    """What differs, and how to see it again."""
    head = f"{case.package} seed {case.seed}: clean({case.grace}, {case.limit}, {case.state}) at {case.now}"
    again = f"PYTHONPATH=collections:. python -m tests.queues.harness {trial} {case.package} {case.seed}"
    return "\n".join([head, *(f"  theirs <> ours  {line}" for line in lines), again + (" --real" if real else "")])


def main() -> int:
    """Run one case, reduced."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("trial", choices=sorted(TRIALS))
    parser.add_argument("package")
    parser.add_argument("seed", help="a number, or FROM-TO for all of them until one differs")
    parser.add_argument("--real", action="store_true", help="written by the package itself")
    parser.add_argument("--all", action="store_true", help="go on after one that differs")
    asked = parser.parse_args()
    first, _dash, last = asked.seed.partition("-")
    bad = ran = 0
    with opened() as place:
        world = World(place, place.serve())
        world.warm(asked.package)
        for seed in range(int(first), int(last or first) + 1):
            ran += 1
            found = failure(world, asked.trial, case_for(asked.trial, seed, asked.package), real=asked.real)
            if found:
                bad += 1
                print(found, flush=True)
                if not asked.all:
                    break
    print(f"{bad} of {ran} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
