# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where we differ from the packages on purpose: what the real package does, and what we do, in the same database.

Each test asserts both sides. One that fails on the package's side says that a defect was repaired there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _queue_clean, _queue_retry, _queue_rules, _queue_state
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Queue, QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._redis_link import RedisFailed
from ansible_collections.quai.ops.plugins.module_utils._resp import text

from tests.queues.generator import NOW, PREFIX, QUEUE
from tests.queues.harness import OURS, SOURCE, THEIRS, World, flavour_of
from tests.queues.place import Database, NodeError, Place

KEY = f"{PREFIX}:{QUEUE}:"
DAY = 86_400_000
OLD, YOUNG = NOW - 2 * DAY, NOW - 1000
FAST = pytest.mark.parametrize("fast", ["never", "always"])
MODERN = pytest.mark.parametrize("package", ["bullmq5", "bullmq6"])
BULLMQ = pytest.mark.parametrize("package", ["bullmq1", "bullmq3", "bullmq4", "bullmq5", "bullmq6"])
ANY = pytest.mark.parametrize("package", ["bull3", "bull4", "bullmq1", "bullmq3", "bullmq4", "bullmq5", "bullmq6"])


@pytest.fixture(scope="module")
def world(packages: Place, redis_server: Database) -> World:
    """The databases."""
    return World(packages, redis_server)


class Both:
    """One content; the package's database and ours."""

    def __init__(self, world: World, package: str) -> None:
        self.world, self.package = world, package
        world.warm(package)
        self.source = world.link(SOURCE)
        self.source.call("FLUSHDB")

    def job(self, state: str, identity: str, at: Any = OLD, *, score: Any = None, **fields: Any) -> str:
        """Write a job; a score of its own, or that of its time."""
        key = KEY + identity
        given = {"name": "send", "data": "{}", "opts": "{}", "timestamp": at, **fields}
        if state in ("completed", "failed"):
            given = {"finishedOn": at, "processedOn": at, **given}
        self.source.call("HSET", key, *(part for pair in given.items() for part in pair))
        if state in ("wait", "paused", "active"):
            self.source.call("LPUSH", KEY + state, identity)
        else:
            self.source.call("ZADD", KEY + state, at if score is None else score, identity)
        return key

    def put(self, *command: Any) -> None:
        """One command."""
        self.source.call(*command)

    def split(self) -> None:
        """Give both the content."""
        self.world.copy(THEIRS)
        self.world.copy(OURS)

    def theirs(self, action: str, **given: Any) -> Any:
        """What the package does."""
        return self.world.their(self.package, action, given)

    def clean(self, rules: Sequence[Mapping[str, Any]], *, dry: bool = False, **policy: Any) -> Any:
        """What we do."""
        return _queue_clean.clean(
            self.world.link(OURS),
            Queue(PREFIX, QUEUE),
            flavour_of(self.package),
            _queue_rules.rules(rules) if rules else [],
            _queue_rules.Policy(**policy),
            dry=dry,
            now_ms=NOW,
        )

    def ids(self, number: int, state: str) -> list[str]:
        """The ids of a state."""
        link = self.world.link(number)
        kind = link.call("TYPE", KEY + state)
        if kind == "none":
            return []
        found = link.call("LRANGE" if kind == "list" else "ZRANGE", KEY + state, 0, -1)
        return [text(one) for one in found]

    def has(self, number: int, *suffixes: str) -> list[bool]:
        """Whether keys exist."""
        return [bool(self.world.link(number).call("EXISTS", KEY + suffix)) for suffix in suffixes]


@pytest.fixture
def both(world: World, package: str) -> Both:
    """For the package of the test."""
    return Both(world, package)


# --- 2. what is compared


@pytest.mark.parametrize("package", ["bull3", "bull4", "bullmq1", "bullmq3"])
@FAST
def test_exactly_as_old(both: Both, fast: str) -> None:
    """Old versions keep a job that is exactly as old as asked for."""
    both.job("completed", "1", NOW - DAY)
    both.split()
    assert both.theirs("clean", grace=DAY, limit=0, state="completed") == []
    assert both.clean([{"state": "completed", "older_than": "1d"}], fast=fast).removed["completed"] == 1
    assert both.ids(OURS, "completed") == []


@MODERN
@FAST
def test_exactly_as_old_modern(both: Both, fast: str) -> None:
    """Newer ones remove it, as we do in every version; one millisecond younger stays."""
    both.job("completed", "1", NOW - DAY)
    both.job("completed", "2", NOW - DAY + 1)
    both.split()
    assert both.theirs("clean", grace=DAY, limit=0, state="completed") == ["1"]
    both.clean([{"state": "completed", "older_than": "1d"}], fast=fast)
    assert both.ids(OURS, "completed") == both.ids(THEIRS, "completed") == ["2"]


@pytest.mark.parametrize("package", ["bull3"])
@FAST
def test_bull_3_takes_the_time_of_creation(both: Both, fast: str) -> None:
    """A job that finished a second ago but was added last week is old for Bull 3; for us when asked so."""
    both.job("completed", "1", YOUNG, timestamp=OLD)
    both.split()
    assert both.theirs("clean", grace=DAY, limit=0, state="completed") == ["1"]
    both.clean([{"state": "completed", "older_than": "1d"}], fast=fast)
    assert both.ids(OURS, "completed") == ["1"]
    both.clean([{"state": "completed", "older_than": "1d", "clock": "created"}], fast=fast)
    assert both.ids(OURS, "completed") == []


@pytest.mark.parametrize("package", ["bull4", "bullmq3", "bullmq5"])
@pytest.mark.parametrize("state", ["wait", "delayed"])
def test_times_are_numbers(both: Both, state: str) -> None:
    """A time in seconds is "newer" than one in milliseconds when they are compared as texts; it is never removed."""
    both.job(state, "1", 999_999_999, score=0)
    both.split()
    assert both.theirs("clean", grace=DAY, limit=0, state=state) == []
    both.clean([{"state": state, "older_than": "1d"}])
    assert both.ids(OURS, state) == []


@pytest.mark.parametrize("package", ["bullmq5", "bullmq6"])
def test_job_without_times(both: Both) -> None:
    """A half-written job: they remove it as if it were old; we do not know how old it is."""
    both.put("HSET", f"{KEY}1", "name", "send")
    both.put("LPUSH", f"{KEY}wait", "1")
    both.split()
    assert both.theirs("clean", grace=DAY, limit=0, state="wait") == ["1"]
    outcome = both.clean([{"state": "wait", "older_than": "1d"}])
    assert both.ids(OURS, "wait") == ["1"]
    assert sum(outcome.kept.values()) == 1


# --- 3. locks


@BULLMQ
def test_locked_job_in_wait(both: Both) -> None:
    """BullMQ removes a waiting job that a worker holds and leaves the lock; we leave both."""
    both.job("wait", "1")
    both.put("SET", f"{KEY}1:lock", "token", "PX", 60_000)
    both.split()
    assert both.theirs("clean", grace=DAY, limit=0, state="wait") == ["1"]
    assert both.has(THEIRS, "1", "1:lock") == [False, True]
    outcome = both.clean([{"state": "wait", "older_than": "1d"}])
    assert outcome.kept["locked"] == 1
    assert both.has(OURS, "1", "1:lock") == [True, True]


@ANY
def test_locked_active_job(both: Both) -> None:
    """Nobody removes a job that runs."""
    both.job("active", "1")
    both.put("SET", f"{KEY}1:lock", "token", "PX", 60_000)
    both.split()
    assert both.theirs("clean", grace=DAY, limit=0, state="active") == []
    both.clean([{"state": "active", "older_than": "1d"}], active="unlocked", second_look_ms=1)
    assert both.ids(OURS, "active") == both.ids(THEIRS, "active") == ["1"]


@ANY
def test_active_jobs_are_skipped_unless_asked(both: Both) -> None:
    """They remove an active job without a lock at once, though its worker may only have lost Redis for a moment."""
    both.job("active", "1")
    both.split()
    assert both.theirs("clean", grace=DAY, limit=0, state="active") == ["1"]
    with pytest.raises(QueueProblem, match="active: unlocked"):
        both.clean([{"state": "active", "older_than": "1d"}])
    assert both.ids(OURS, "active") == ["1"]
    both.clean([{"state": "active", "older_than": "1d"}], active="unlocked", second_look_ms=1)
    assert both.ids(OURS, "active") == []


# --- 4. and 5. what stands beside a job


@pytest.mark.parametrize("package", ["bull4"])
def test_deduplication_of_another_job(both: Both) -> None:
    """Bull removes a deduplication key whoever holds it, so that its job can be added once more."""
    both.job("wait", "1", deid="d")
    both.job("wait", "2", YOUNG, deid="d")
    both.put("SET", f"{KEY}de:d", "2")
    both.split()
    both.theirs("clean", grace=DAY, limit=0, state="wait")
    assert both.has(THEIRS, "1", "2", "de:d") == [False, True, False]
    both.clean([{"state": "wait", "older_than": "1d"}])
    assert both.has(OURS, "1", "2", "de:d") == [False, True, True]


@pytest.mark.parametrize("package", ["bullmq568", "bullmq5", "bullmq6"])
def test_which_child_is_the_last(both: Both) -> None:
    """They begin at the head of a list, with the newest. The last child ends its deduplication, whoever holds it."""
    parent = f"{KEY}p"
    both.job("waiting-children", "p")
    for name in ("older", "newer"):
        both.put("SADD", f"{parent}:dependencies", both.job("wait", name, parentKey=parent, deid=name))
        both.put("SET", f"{KEY}de:{name}", "another")
    both.split()
    both.theirs("clean", grace=DAY, limit=0, state="wait")
    assert both.has(THEIRS, "p", "older", "newer", "de:older", "de:newer") == [False, False, False, False, True]
    both.clean([{"state": "wait", "older_than": "1d"}], parents="upstream")
    assert both.has(OURS, "p", "older", "newer", "de:older", "de:newer") == [False, False, False, True, False]


@pytest.mark.parametrize("package", ["bullmq1", "bullmq3", "bullmq4"])
@FAST
def test_keys_left_behind(both: Both, fast: str) -> None:
    """BullMQ 1 to 4 leave what newer workers write beside a job."""
    both.job("completed", "1")
    both.put("HSET", f"{KEY}1:failed", "child", "x")
    both.put("ZADD", f"{KEY}1:unsuccessful", 1, "child")
    both.split()
    both.theirs("clean", grace=DAY, limit=0, state="completed")
    assert both.has(THEIRS, "1", "1:failed", "1:unsuccessful") == [False, True, True]
    both.clean([{"state": "completed", "older_than": "1d"}], fast=fast)
    assert both.has(OURS, "1", "1:failed", "1:unsuccessful") == [False, False, False]


@MODERN
def test_next_data_left_behind(both: Both) -> None:
    """With the last child of a parent in its queue they remove de: too early to see that dn: goes too."""
    failed_child(both)
    both.put("HSET", f"{KEY}1", "deid", "d")
    both.put("SET", f"{KEY}de:d", "1")
    both.put("HSET", f"{KEY}dn:d", "name", "next")
    both.split()
    both.theirs("clean", grace=DAY, limit=0, state="failed")
    assert both.has(THEIRS, "1", "de:d", "dn:d") == [False, False, True]
    both.clean([{"state": "failed", "older_than": "1d"}], parents="upstream")
    assert both.has(OURS, "1", "de:d", "dn:d") == [False, False, False]


@pytest.mark.parametrize("package", ["bullmq1", "bullmq3"])
@FAST
def test_ghost_in_a_finished_set(both: Both, fast: str) -> None:
    """They remove a finished id without a hash at any age; its score says how old it is."""
    both.put("ZADD", f"{KEY}completed", YOUNG, "1")
    both.put("ZADD", f"{KEY}completed", OLD, "2")
    both.split()
    assert sorted(both.theirs("clean", grace=DAY, limit=0, state="completed")) == ["1", "2"]
    both.clean([{"state": "completed", "older_than": "1d"}], fast=fast)
    assert both.ids(OURS, "completed") == ["1"]


@pytest.mark.parametrize("package", ["bull3"])
def test_limit_takes_the_oldest(both: Both) -> None:
    """Bull 3 removes the newest of a list first, which would have been the last to run; we remove the oldest."""
    both.job("wait", "1", OLD - 5)
    both.job("wait", "2", OLD)
    both.split()
    assert both.theirs("clean", grace=DAY, limit=1, state="wait") == ["2"]
    both.clean([{"state": "wait", "older_than": "1d", "limit": 1}])
    assert both.ids(OURS, "wait") == ["2"]


@pytest.mark.parametrize("package", ["bull4", "bullmq1", "bullmq3"])
def test_delayed_with_a_limit(both: Both) -> None:
    """They compare the score of a delayed job, which is 4096 times a time, with a time: nothing is ever old."""
    both.job("delayed", "1", OLD, score=(OLD + 5000) * 4096)
    both.split()
    assert both.theirs("clean", grace=DAY, limit=10, state="delayed") == []
    both.clean([{"state": "delayed", "older_than": "1d", "limit": 10}])
    assert both.ids(OURS, "delayed") == []


@pytest.mark.parametrize("package", ["bullmq1", "bullmq3"])
def test_young_parents_are_kept(both: Both) -> None:
    """They look at finishedOn of a job that waits for its children: it has none, so that all are removed at any age."""
    both.job("waiting-children", "1", YOUNG)
    both.split()
    assert both.theirs("clean", grace=DAY, limit=0, state="waiting-children") == ["1"]
    both.clean([{"state": "waiting-children", "older_than": "1d"}], parents="upstream")
    assert both.ids(OURS, "waiting-children") == ["1"]


# --- 6. schedules


@pytest.mark.parametrize("package", ["bull3", "bull4", "bullmq1", "bullmq3", "bullmq4"])
def test_armed_run_of_a_repeatable(both: Both) -> None:
    """The package's own repeatable: its clean removes the next run, and the schedule is dead; we keep it."""
    node = both.world.node(both.package)
    where = {"redis": both.world.at(SOURCE).node, "queue": QUEUE}
    node.call("schedule", {**where, "id": "tick", "repeat": {"every": 60_000}, "template": {"name": "tick"}}, now=OLD)
    assert len(both.ids(SOURCE, "delayed")) == 1
    both.split()
    assert len(both.theirs("clean", grace=DAY, limit=0, state="delayed")) == 1
    assert both.ids(THEIRS, "delayed") == []
    assert len(both.ids(THEIRS, "repeat")) == 1
    outcome = both.clean([{"state": "delayed", "older_than": "1d"}])
    assert outcome.kept["scheduler"] == 1
    assert len(both.ids(OURS, "delayed")) == 1


@MODERN
def test_armed_run_of_a_job_scheduler(both: Both) -> None:
    """Newer versions keep it, and so do we; past runs go."""
    node = both.world.node(both.package)
    where = {"redis": both.world.at(SOURCE).node, "queue": QUEUE}
    node.call("schedule", {**where, "id": "tick", "repeat": {"every": 60_000}, "template": {"name": "tick"}}, now=OLD)
    (armed,) = both.ids(SOURCE, "delayed") or both.ids(SOURCE, "wait")
    state = "delayed" if both.ids(SOURCE, "delayed") else "wait"
    both.job("completed", "repeat:tick:1789000000000", rjk="tick")
    both.split()
    assert both.theirs("clean", grace=DAY, limit=0, state=state) == []
    both.clean([{"state": state, "older_than": "1d"}, {"state": "completed", "older_than": "1d"}])
    assert both.ids(OURS, state) == [armed]
    assert both.ids(OURS, "completed") == []


@pytest.mark.parametrize("package", ["bullmq3", "bullmq4", "bullmq5", "bullmq6"])
def test_schedules_are_no_state(both: Both) -> None:
    """BullMQ takes any sorted set for a state: cleaning "repeat" deletes the schedules. We refuse the word."""
    both.put("ZADD", f"{KEY}repeat", OLD, "tick")
    both.put("HSET", f"{KEY}repeat:tick", "name", "tick", "every", 60_000)
    both.split()
    both.theirs("clean", grace=0, limit=0, state="repeat")
    assert both.ids(THEIRS, "repeat") == []
    with pytest.raises(QueueProblem, match="repeat"):
        both.clean([{"state": "repeat", "older_than": 0}])
    assert both.ids(OURS, "repeat") == ["tick"]


@MODERN
def test_drain_loses_a_schedule(both: Both) -> None:
    """drain() trims the list by the number that it kept, at the wrong end; a rule for wait removes just the others."""
    for identity in ("1", "2", "3"):
        both.job("wait", identity)
    both.put("ZADD", f"{KEY}repeat", OLD, "tick")
    both.put("HSET", f"{KEY}repeat:tick", "name", "tick", "every", 60_000)
    both.job("wait", f"repeat:tick:{OLD}", rjk="tick")
    both.split()
    both.theirs("drain")
    # What is left is the id of a job that was deleted, and the armed run is in no list any more.
    assert both.ids(THEIRS, "wait") == ["1"]
    assert both.has(THEIRS, "1") == [False]
    both.clean([{"state": "wait", "older_than": 0}])
    assert both.ids(OURS, "wait") == [f"repeat:tick:{OLD}"]
    assert both.has(OURS, f"repeat:tick:{OLD}", "1", "2", "3") == [True, False, False, False]


@pytest.mark.parametrize("package", ["bullmq4"])
def test_mark_for_a_delayed_job(both: Both) -> None:
    """BullMQ 2 to 4 mark in the list of waiting jobs when a delayed one is due, and clean the mark like a job."""
    node = both.world.node(both.package)
    where = {"redis": both.world.at(SOURCE).node, "queue": QUEUE}
    node.call("add", {**where, "jobs": [{"opts": {"delay": 5000}}]}, now=OLD)
    assert [one for one in both.ids(SOURCE, "wait") if one.startswith("0:")]
    both.split()
    both.theirs("clean", grace=DAY, limit=0, state="wait")
    assert both.ids(THEIRS, "wait") == []
    both.clean([{"state": "wait", "older_than": "1d"}], ghosts="remove")
    assert both.ids(OURS, "wait") == both.ids(SOURCE, "wait")


# --- 7. parents


def failed_child(both: Both, queue: str = QUEUE) -> str:
    """A parent whose only child has failed; with its defaults it waits for ever. Returns the key of the parent."""
    parent = f"{PREFIX}:{queue}:p"
    both.job("failed", "1", parentKey=parent, parent=f'{{"id":"p","queueKey":"{PREFIX}:{queue}"}}')
    both.put("HSET", parent, "name", "parent", "data", "{}", "opts", "{}", "timestamp", OLD)
    both.put("ZADD", f"{PREFIX}:{queue}:waiting-children", OLD, "p")
    both.put("SADD", f"{parent}:dependencies", f"{KEY}1")
    return parent


@BULLMQ
@FAST
def test_parent_in_the_same_queue(both: Both, fast: str) -> None:
    """Cleaning the last failed child deletes its unfinished parent; we keep both, or do the same when asked."""
    failed_child(both)
    both.split()
    assert both.theirs("clean", grace=DAY, limit=0, state="failed") == ["1"]
    assert both.has(THEIRS, "p", "1") == [False, False]
    outcome = both.clean([{"state": "failed", "older_than": "1d"}], fast=fast)
    assert outcome.kept["parent"] == 1
    assert both.has(OURS, "p", "1", "p:dependencies") == [True, True, True]
    both.clean([{"state": "failed", "older_than": "1d"}], parents="upstream", fast=fast)
    assert both.has(OURS, "p", "1") == [False, False]


@BULLMQ
@FAST
def test_parent_in_another_queue(both: Both, fast: str) -> None:
    """There it sets the parent free to run without its child."""
    failed_child(both, "other")
    both.split()
    both.theirs("clean", grace=DAY, limit=0, state="failed")
    assert both.world.link(THEIRS).call("LRANGE", f"{PREFIX}:other:wait", 0, -1) == [b"p"]
    both.clean([{"state": "failed", "older_than": "1d"}], fast=fast)
    assert both.world.link(OURS).call("LRANGE", f"{PREFIX}:other:wait", 0, -1) == []
    assert both.ids(OURS, "failed") == ["1"]


@BULLMQ
def test_parent_with_unfinished_children(both: Both) -> None:
    """Cleaning waiting-children deletes parents and leaves their children; we keep a parent that has work below it."""
    both.job("waiting-children", "p", score=OLD)
    child = both.job("wait", "1", parentKey=f"{KEY}p")
    both.put("SADD", f"{KEY}p:dependencies", child)
    both.split()
    # The versions that look at finishedOn find none and take that for old.
    assert both.theirs("clean", grace=DAY, limit=0, state="waiting-children") == ["p"]
    assert both.has(THEIRS, "p", "1") == [False, True]
    outcome = both.clean([{"state": "waiting-children", "older_than": "1d"}])
    assert outcome.kept["parent"] == 1
    assert both.has(OURS, "p", "1", "p:dependencies") == [True, True, True]


# --- 8. ghosts and orphans


@MODERN
def test_official_repair_deletes_metrics(both: Both) -> None:
    """removeOrphanedJobs() takes metrics:failed for a job, and never finds one of a schedule; ours is the reverse."""
    both.put("HSET", f"{KEY}metrics:failed", "count", 3, "prevTS", NOW, "prevCount", 1)
    both.put("HSET", f"{KEY}77", "name", "lost", "data", "{}", "opts", "{}", "timestamp", OLD)
    both.put("HSET", f"{KEY}repeat:tick:{OLD}", "name", "tick", "data", "{}", "opts", "{}", "timestamp", OLD)
    both.job("completed", "1", YOUNG)
    both.split()
    both.theirs("orphans")
    assert both.has(THEIRS, "metrics:failed", "77", f"repeat:tick:{OLD}", "1") == [False, False, True, True]
    outcome = both.clean([], orphans="remove")
    assert both.has(OURS, "metrics:failed", "77", f"repeat:tick:{OLD}", "1") == [True, False, False, True]
    assert outcome.orphans == 2


@pytest.mark.parametrize("package", ["bullmq568"])
def test_orphans_of_a_real_run(both: Both) -> None:
    """BullMQ 5.66.6 to 5.70.1, removeOnComplete by age: the set is emptied, the hashes stay; our sweep finds them."""
    node = both.world.node(both.package)
    where = {"redis": both.world.at(SOURCE).node, "queue": QUEUE}
    opts = {"removeOnComplete": {"age": 10, "limit": 5}}
    node.call("add", {**where, "jobs": [{"opts": opts} for _job in range(30)]}, now=OLD)
    node.call("work", {**where, "count": 30}, now=OLD)
    node.call("add", {**where, "jobs": [{"opts": opts}]}, now=OLD + DAY)
    node.call("work", {**where, "count": 1}, now=OLD + DAY)
    listed = set(both.ids(SOURCE, "completed"))
    hashes = {str(number) for number in range(1, 32) if both.has(SOURCE, str(number))[0]}
    assert len(hashes - listed) >= 20, "5.68.0 no longer leaks"
    both.split()
    outcome = both.clean([], orphans="report", dry=True)
    assert outcome.orphans == len(hashes - listed)
    both.clean([], orphans="remove")
    assert {one for one in hashes if both.has(OURS, one)[0]} == listed


@MODERN
def test_ghosts_are_reported(both: Both) -> None:
    """An id without a job: they count it as cleaned; we say what it is, and remove it when asked."""
    both.put("LPUSH", f"{KEY}wait", "1")
    both.split()
    assert both.theirs("clean", grace=DAY, limit=0, state="wait") == ["1"]
    outcome = both.clean([{"state": "wait", "older_than": "1d"}], ghosts="report")
    assert outcome.ghosts == 1
    assert both.ids(OURS, "wait") == ["1"]
    both.clean([{"state": "wait", "older_than": "1d"}], ghosts="remove")
    assert both.ids(OURS, "wait") == []


@pytest.mark.parametrize("package", ["bull4", "bullmq5"])
def test_job_of_another_type(both: Both) -> None:
    """A key that is no hash where a job should be: theirs throws when it reads a field; ours names the key at least."""
    both.job("wait", "1")
    both.put("LPUSH", f"{KEY}wait", "2")
    both.put("SET", f"{KEY}2", "x")
    both.split()
    with pytest.raises(NodeError, match="WRONGTYPE"):
        both.theirs("clean", grace=DAY, limit=0, state="wait")
    try:
        both.clean([{"state": "wait", "older_than": "1d"}])
    except (QueueProblem, RedisFailed) as error:
        assert f"{KEY}2" in str(error)
        assert both.ids(OURS, "wait") == ["2", "1"]
    else:
        assert both.ids(OURS, "wait") == ["2"]


# --- 9. starvation and early stop


@pytest.mark.parametrize("package", ["bullmq4", "bullmq5", "bullmq6"])
def test_starved_by_young_jobs(both: Both) -> None:
    """With a limit they look at the first jobs only: when these are young, nothing is ever removed."""
    for number in range(5):
        both.job("delayed", f"young{number}", YOUNG, score=(NOW + 1) * 4096)
    for number in range(5):
        both.job("delayed", f"old{number}", OLD, score=(NOW + DAY) * 4096)
    both.split()
    assert both.theirs("clean", grace=DAY, limit=5, state="delayed") == []
    both.clean([{"state": "delayed", "older_than": "1d", "limit": 5}])
    assert sorted(both.ids(OURS, "delayed")) == [f"young{number}" for number in range(5)]
    # What we leave is nothing that they would have removed.
    both.world.link(THEIRS).call("FLUSHDB")
    keys = both.world.link(OURS).call("KEYS", "*")
    both.world.link(OURS).ask(*(("COPY", key, key, "DB", THEIRS) for key in keys))
    assert both.theirs("clean", grace=DAY, limit=0, state="delayed") == []


@pytest.mark.parametrize("package", ["bullmq3", "bullmq5", "bullmq6"])
def test_old_jobs_at_the_head(both: Both) -> None:
    """In a list they look at the last few only; jobs that were put at the head are never reached."""
    for number in range(3):
        both.job("wait", f"young{number}", YOUNG)
    for number in range(3):
        both.job("wait", f"old{number}", OLD)
    both.split()
    assert both.theirs("clean", grace=DAY, limit=3, state="wait") == []
    both.clean([{"state": "wait", "older_than": "1d", "limit": 3}])
    assert sorted(both.ids(OURS, "wait")) == ["young0", "young1", "young2"]


@MODERN
def test_unlimited_stops_early(both: Both) -> None:
    """clean(grace, 0) works in batches of 10,000 and ends with the first that holds one young job."""
    commands: list[tuple[Any, ...]] = []
    for number in range(12_000):
        at = YOUNG if number == 50 else OLD
        commands.append(("HSET", f"{KEY}{number}", "name", "send", "timestamp", at))
        commands.append(("LPUSH", f"{KEY}wait", number))
    both.source.ask(*commands)
    both.split()
    both.theirs("clean", grace=DAY, limit=0, state="wait")
    assert len(both.ids(THEIRS, "wait")) == 2001
    outcome = both.clean([{"state": "wait", "older_than": "1d"}])
    assert both.ids(OURS, "wait") == ["50"]
    assert outcome.removed["wait"] == 11_999


# --- writing nothing when there is nothing to do


@BULLMQ
@FAST
def test_nothing_to_do(both: Both, fast: str) -> None:
    """Each empty clean of theirs writes an event, on a queue that was never there too; ours writes nothing."""
    both.job("completed", "1", YOUNG)
    both.put("XADD", f"{KEY}events", "*", "event", "added")
    both.split()
    for _time in range(3):
        both.theirs("clean", grace=DAY, limit=0, state="completed")
        both.clean([{"state": "completed", "older_than": "1d"}], fast=fast)
    assert both.world.link(THEIRS).call("XLEN", f"{KEY}events") == 4
    assert both.world.link(OURS).call("XLEN", f"{KEY}events") == 1
    assert both.has(OURS, "meta") == [False]


# --- retry and state


def retried(both: Both, state: str = "failed", **given: Any) -> Any:
    """Our retry."""
    return _queue_retry.retry(
        both.world.link(OURS), Queue(PREFIX, QUEUE), flavour_of(both.package), state, now_ms=NOW, **given
    )


@pytest.mark.parametrize("package", ["bullmq4", "bullmq5", "bullmq6"])
def test_retry_keeps_priority_and_lifo(both: Both) -> None:
    """retryJobs() puts every job at the head of wait; we put it where it was added."""
    both.job("failed", "1", OLD, priority=5, opts='{"priority":5}')
    both.job("failed", "2", OLD + 1, opts='{"lifo":true}')
    both.job("failed", "3", OLD + 2)
    both.split()
    both.theirs("retryJobs", options={"state": "failed"})
    assert both.ids(THEIRS, "wait")[:3] == ["3", "2", "1"]
    assert both.ids(THEIRS, "prioritized") == []
    retried(both)
    assert [one for one in both.ids(OURS, "wait") if not one.startswith("0:")] == ["3", "2"]
    assert both.ids(OURS, "prioritized") == ["1"]


@pytest.mark.parametrize("package", ["bullmq3", "bullmq4", "bullmq5", "bullmq6"])
def test_retry_skips_ghosts(both: Both) -> None:
    """retryJobs() queues an id without a job, which a worker then "completes"; we leave it where it is."""
    both.put("ZADD", f"{KEY}failed", OLD, "1")
    both.job("failed", "2")
    both.split()
    both.theirs("retryJobs", options={"state": "failed"})
    assert "1" in both.ids(THEIRS, "wait")
    done = retried(both)
    assert (done.retried, done.ghosts) == (1, 1)
    assert both.ids(OURS, "failed") == ["1"]
    assert "1" not in both.ids(OURS, "wait")


@pytest.mark.parametrize("package", ["bullmq568"])
def test_retry_of_a_child_in_5_68(both: Both) -> None:
    """5.68 reads a hash as a sorted set and throws half way: the job is in wait, without event; ours is complete."""
    parent = f"{KEY}p"
    both.job("failed", "1", parentKey=parent)
    both.put("HSET", parent, "name", "parent", "timestamp", OLD)
    both.put("ZADD", f"{KEY}waiting-children", OLD, "p")
    both.put("HSET", f"{parent}:failed", f"{KEY}1", "as asked")
    both.split()
    with pytest.raises(NodeError, match="WRONGTYPE"):
        both.theirs("retry", ids=["1"], state="failed")
    assert both.ids(THEIRS, "wait") == ["1"]
    assert both.has(THEIRS, "p:dependencies", "events") == [False, False]
    assert retried(both).retried == 1
    assert both.world.link(OURS).call("SMEMBERS", f"{parent}:dependencies") == [f"{KEY}1".encode()]
    assert both.has(OURS, "p:failed", "events") == [False, True]


@pytest.mark.parametrize("package", ["bull3", "bullmq1"])
def test_retry_into_a_paused_queue(both: Both) -> None:
    """Old versions put a retried job where workers take it, though the queue is paused."""
    both.job("failed", "1")
    both.put("HSET", f"{KEY}meta", "paused", 1)
    if both.package.startswith("bull3"):
        both.put("SET", f"{KEY}meta-paused", 1)
    both.split()
    both.theirs("retry", ids=["1"], state="failed")
    assert both.ids(THEIRS, "wait") == ["1"]
    retried(both)
    assert (both.ids(OURS, "wait"), both.ids(OURS, "paused")) == ([], ["1"])


@pytest.mark.parametrize("package", ["bull3", "bull4", "bullmq1", "bullmq3", "bullmq4", "bullmq5"])
@pytest.mark.parametrize("action", ["pause", "resume"])
def test_both_lists_hold_jobs(both: Both, action: str) -> None:
    """pause() renames one list to the other and so loses what that one held; ours joins them."""
    both.job("wait", "1")
    both.job("paused", "2")
    if action == "resume":
        both.put("HSET", f"{KEY}meta", "paused", 1)
        both.put("SET", f"{KEY}meta-paused", 1)
    both.split()
    both.theirs(action)
    left = both.ids(THEIRS, "wait") + both.ids(THEIRS, "paused")
    assert len([one for one in left if one in ("1", "2")]) == 1
    ours: Callable[..., Any] = {"pause": _queue_state.pause, "resume": _queue_state.resume}[action]
    ours(both.world.link(OURS), Queue(PREFIX, QUEUE), flavour_of(both.package))
    target = "paused" if action == "pause" else "wait"
    assert sorted(one for one in both.ids(OURS, target) if not one.startswith("0:")) == ["1", "2"]


@pytest.mark.parametrize("package", ["bullmq568", "bullmq5"])
def test_resume_with_jobs_in_wait(both: Both) -> None:
    """Jobs that another version put into wait of a paused queue: resume() wakes nobody for them; ours does."""
    both.job("wait", "1")
    both.put("HSET", f"{KEY}meta", "paused", 1)
    both.split()
    both.theirs("resume")
    assert both.ids(THEIRS, "wait") == ["1"]
    assert both.has(THEIRS, "marker") == [False]
    _queue_state.resume(both.world.link(OURS), Queue(PREFIX, QUEUE), flavour_of(both.package))
    assert (both.ids(OURS, "wait"), both.ids(OURS, "marker")) == (["1"], ["0"])
