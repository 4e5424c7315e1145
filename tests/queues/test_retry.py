# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Retrying jobs: where they go, what is left where it is, pages, and that real workers wake for them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _queue_retry
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour, Queue, QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._queue_retry import Retried, retry
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, RedisFailed
from ansible_collections.quai.ops.plugins.module_utils._resp import text

from lab.wait import until
from tests.queues import snapshot
from tests.queues.generator import case_of
from tests.queues.harness import TRIALS, World, flavour_of, run_case
from tests.queues.place import PACKAGES, Database, Node, Place

NOW = 1_790_000_000_000
MAIL = Queue("bull", "mail")
BULLMQ5 = Flavour("bullmq", 5, "5.81.5", "test")
WAKES = 1.0
# The least number of jobs in a page that are read with one command.
MANY = 200
Packages = Callable[[str], Node]


def write(link: Link, jobs: Sequence[dict[str, Any]], state: str = "failed") -> None:
    """Write finished jobs; each has at least an id."""
    commands: list[tuple[Any, ...]] = []
    for job in jobs:
        given = {"name": "send", "data": "{}", "opts": "{}", "timestamp": NOW, "priority": 0, "at": NOW - 1000, **job}
        at, identity = given.pop("at"), given.pop("id")
        given = {"processedOn": at, "finishedOn": at, "failedReason": "as asked", "atm": 3, "ats": 3, **given}
        commands += [
            ("HSET", MAIL.key(identity), *(part for pair in given.items() for part in pair)),
            ("ZADD", MAIL.key(state), at, identity),
        ]
    link.ask(*commands)


def ids(link: Link, suffix: str) -> list[str]:
    """The ids of a list, a set or a sorted set."""
    kind = link.call("TYPE", MAIL.key(suffix))
    reads = {"list": ("LRANGE", 0, -1), "zset": ("ZRANGE", 0, -1)}
    if kind == "none":
        return []
    command, *rest = reads[kind]
    return [text(one) for one in link.call(command, MAIL.key(suffix), *rest)]


def twice(link: Link, flavour: Flavour = BULLMQ5, state: str = "failed", **given: Any) -> Retried:
    """Plan, see that nothing was written, carry it out, see that both agree and that a repetition does nothing."""
    given = {"now_ms": NOW, **given}
    before = snapshot.take(link)
    plan = retry(link, MAIL, flavour, state, dry=True, **given)
    assert snapshot.differences(before, snapshot.take(link)) == []
    assert plan.counts_after == plan.counts_before
    done = retry(link, MAIL, flavour, state, **given)
    assert (plan.retried, plan.kept, plan.oldest, plan.newest) == (done.retried, done.kept, done.oldest, done.newest)
    assert plan.samples == done.samples
    assert done.counts_before[state] - done.counts_after[state] == done.retried
    if given.get("limit") is None:
        after = snapshot.take(link)
        again = retry(link, MAIL, flavour, state, **given)
        assert again.retried == 0 and again.chunks <= done.chunks + 1
        assert snapshot.differences(after, snapshot.take(link), snapshot.Tolerance(cleaned_events=False)) == []
    return done


# --- as the package does it ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(packages: Place, redis_server: Database) -> World:
    """The databases of comparisons."""
    return World(packages, redis_server)


@pytest.mark.parametrize("package", [package for package in PACKAGES if package != "bullmq568"])
def test_as_the_package(world: World, package: str) -> None:
    """The same keys as after job.retry() of one job after the other, whatever the queue holds."""
    compared = 0
    for seed in range(9000, 9008):
        for state in ("failed", "completed"):
            case = case_of(seed, package, state=state)
            if TRIALS["retry"].fits(case):
                assert run_case(world, "retry", case) == [], f"{package} seed {seed} {state}"
                compared += 1
    assert compared >= 8


@pytest.mark.parametrize("package", PACKAGES)
def test_worker_wakes(redis: Database, node: Packages, package: str) -> None:
    """A worker that sleeps begins within a second, and takes urgent jobs first and lifo jobs before others."""
    real = node(package)
    where = {"redis": redis.node, "queue": "mail"}
    plain = [{"name": "plain", "data": {"fail": "once"}} for _job in range(3)]
    urgent = [{"name": f"urgent{n}", "data": {"fail": "once"}, "opts": {"priority": n}} for n in (2, 1, 2)]
    real.call("add", {**where, "jobs": [*plain, *urgent]})
    assert len(real.call("work", {**where, "count": 6})) == 6
    # So that they do not fail again.
    keys = [text(one) for one in redis.link.call("ZRANGE", "bull:mail:failed", 0, -1)]
    for key in keys:
        redis.link.call("HSET", MAIL.key(key), "data", "{}")
    real.call("worker", {**where, "name": "w", "worker": {"drainDelay": 30}})
    try:
        asleep(redis.link, package)
        began = time.monotonic()
        done = retry(redis.link, MAIL, flavour_of(package))
        assert done.retried == 6
        until("the retried jobs to run", lambda: len(real.call("ran", {"name": "w"})["done"]) == 6, seconds=20)
        assert time.monotonic() - began < WAKES + 2  # all six; the first of them is what WAKES is of
        names = real.call("ran", {"name": "w"})["names"]
        urgent_names = [name for name in names if name.startswith("urgent")]
        assert urgent_names == ["urgent1", "urgent2", "urgent2"]
        if flavour_of(package).bull or flavour_of(package).major <= 3:
            assert names[:3] == urgent_names
        assert ids(redis.link, "failed") == []
    finally:
        real.call("stop", {"name": "w", "force": True})


def asleep(link: Link, package: str) -> None:
    """Wait until a worker waits for jobs."""
    command = "bzpopmin" if package in ("bullmq5", "bullmq568", "bullmq6") else "brpoplpush"

    def blocked() -> bool:
        clients = text(link.call("CLIENT", "LIST")).splitlines()
        return any(f"cmd={command}" in line and "flags=b" in line for line in clients)

    until(f"a worker of {package} to wait for jobs", blocked, seconds=20)


# --- where jobs go ---------------------------------------------------------------------------------------------------


def test_fields_and_event(redis: Database) -> None:
    write(redis.link, [{"id": "1", "stc": 1, "stacktrace": "[]"}])
    assert twice(redis.link).retried == 1
    fields = snapshot.take(redis.link)["bull:mail:1"].data
    assert not {"processedOn", "finishedOn", "failedReason"} & fields.keys()
    assert (fields["atm"], fields["ats"], fields["stc"], fields["stacktrace"]) == ("3", "3", "1", "[]")
    events = snapshot.take(redis.link)["bull:mail:events"].data
    assert events == [{"event": "waiting", "jobId": "1", "prev": "failed"}]
    assert text(redis.link.call("HGET", "bull:mail:meta", "opts.maxLenEvents")) == "10000"


@pytest.mark.parametrize("flavour", [Flavour("bull", 4, "", ""), Flavour("bullmq", 4, "", ""), BULLMQ5])
def test_attempts_are_reset(redis: Database, flavour: Flavour) -> None:
    write(redis.link, [{"id": "1", "attemptsMade": 3}])
    assert twice(redis.link, flavour, reset_attempts=True).retried == 1
    assert not {"atm", "ats", "attemptsMade"} & snapshot.take(redis.link)["bull:mail:1"].data.keys()


@pytest.mark.parametrize("many", [1, MANY])
def test_priority_and_lifo(redis: Database, many: int) -> None:
    """Whether a page is small or so large that it is read with one command."""
    jobs: list[dict[str, Any]] = [{"id": f"p{i}", "priority": 3, "at": NOW - 9000 + i} for i in range(many)]
    jobs += [{"id": f"l{i}", "opts": '{"lifo":true}', "at": NOW - 6000 + i} for i in range(many)]
    jobs += [{"id": f"n{i}", "opts": '{"x":"\\"lifo\\":true"}', "at": NOW - 3000 + i} for i in range(many)]
    jobs += [{"id": "not", "opts": '{"lifo":false}', "at": NOW - 10}, {"id": "bad", "opts": '{"lifo":', "at": NOW - 9}]
    write(redis.link, jobs)
    done = twice(redis.link)
    assert done.retried == 3 * many + 2
    last = [f"l{i}" for i in range(many)]
    assert ids(redis.link, "wait") == ["bad", "not", *(f"n{i}" for i in reversed(range(many))), *last]
    assert ids(redis.link, "prioritized") == [f"p{i}" for i in range(many)]
    assert text(redis.link.call("ZSCORE", "bull:mail:prioritized", "p0")) == str(3 * 2**32 + 1)
    assert text(redis.link.call("GET", "bull:mail:pc")) == str(many)
    assert redis.link.call("ZSCORE", "bull:mail:marker", "0") == b"0"


@pytest.mark.parametrize("package", ["bull3", "bull4", "bullmq1", "bullmq2", "bullmq3"])
@pytest.mark.parametrize("crowd", [0, 40, 5200])
def test_priority_in_the_list(redis: Database, node: Packages, package: str, crowd: int) -> None:
    """Up to BullMQ 3 and in Bull an urgent job goes to where the package puts a new one, however many are there."""
    link = redis.link
    # In the list, from its head: jobs without a priority, then a crowd of one, the most urgent at the tail.
    rest = ["a", "b", *(f"c{i}" for i in range(crowd))]
    listed = [f"bull:{name}:wait" for name in ("mail", "theirs")]
    for name in ("mail", "theirs"):
        for start in range(0, len(rest), 1000):
            link.call("RPUSH", f"bull:{name}:wait", *rest[start : start + 1000])
        pairs = [part for i in range(crowd) for part in (9 - 8 * i // crowd, f"c{i}")]
        for start in range(0, len(pairs), 2000):
            link.call("ZADD", f"bull:{name}:priority", *pairs[start : start + 2000])
    priorities = [5, 1, 9, 5, 2, 10, 1]
    real = node(package)
    theirs = {"redis": redis.node, "queue": "theirs"}
    new = [{"name": "n", "data": {}, "opts": {"priority": p, "jobId": f"j{i}"}} for i, p in enumerate(priorities)]
    real.call("add", {**theirs, "jobs": new})
    jobs = [{"id": f"j{i}", "priority": p, "at": NOW - 100 + i} for i, p in enumerate(priorities)]
    write(link, jobs)
    assert retry(link, MAIL, flavour_of(package), now_ms=NOW).retried == len(priorities)
    ours, expected = ([text(one) for one in link.call("LRANGE", key, 0, -1)] for key in listed)
    assert ours == expected
    assert link.call("ZRANGE", "bull:mail:priority", 0, -1, "WITHSCORES") == link.call(
        "ZRANGE", "bull:theirs:priority", 0, -1, "WITHSCORES"
    )


def test_many_urgent_jobs_are_few_in_a_page(redis: Database) -> None:
    """Where each has to be looked for in a long list, a page ends before that takes long."""
    link = redis.link
    crowd = [f"c{i}" for i in range(5200)]
    link.ask(("RPUSH", MAIL.key("wait"), *crowd), ("ZADD", MAIL.key("priority"), *_pairs(crowd, 1)))
    write(link, [{"id": f"j{i}", "priority": 2, "at": NOW - 900 + i} for i in range(150)])
    done = retry(link, MAIL, Flavour("bullmq", 3, "3.16.2", ""), now_ms=NOW, chunk_ms=1000.0)
    assert (done.retried, done.chunks) == (150, 3)
    assert ids(link, "wait") == [*(f"j{i}" for i in reversed(range(150))), *crowd]


def test_name_with_a_star(redis: Database) -> None:
    """Large pages are read by a pattern, which such a name would spoil."""
    odd = Queue("bull", "m*l")
    write(redis.link, [{"id": str(i), "at": NOW - 900 + i, "opts": '{"lifo":true}'} for i in range(MANY)])
    for key in redis.link.call("KEYS", "bull:mail:*"):
        redis.link.call("RENAME", key, text(key).replace("mail", "m*l"))
    redis.link.call("HSET", "bull:mail:1", "priority", 1)
    assert retry(redis.link, odd, BULLMQ5, now_ms=NOW).retried == MANY
    assert [text(one) for one in redis.link.call("LRANGE", odd.key("wait"), 0, -1)] == [str(i) for i in range(MANY)]


def test_urgent_jobs_of_bullmq_4_wake(redis: Database) -> None:
    """Its workers wait at the list, so something has to be in it; not when it is paused."""
    flavour = Flavour("bullmq", 4, "4.18.3", "")
    write(redis.link, [{"id": "1", "priority": 1}])
    assert twice(redis.link, flavour).retried == 1
    assert (ids(redis.link, "wait"), ids(redis.link, "prioritized")) == (["0:0"], ["1"])
    redis.link.call("FLUSHDB")
    redis.link.call("HSET", "bull:mail:meta", "paused", 1)
    write(redis.link, [{"id": "1", "priority": 1}, {"id": "2"}])
    assert twice(redis.link, flavour).retried == 2
    assert (ids(redis.link, "wait"), ids(redis.link, "paused")) == ([], ["2"])


@pytest.mark.parametrize("many", [1, MANY])
def test_paused_queue_of_bull(redis: Database, many: int) -> None:
    """Its own mark counts, not that of BullMQ."""
    flavour = Flavour("bull", 4, "", "")
    bullmqs, own = ("HSET", "bull:mail:meta", "paused", 1), ("SET", "bull:mail:meta-paused", 1)
    for mark, target in ((bullmqs, "wait"), (own, "paused")):
        redis.link.call("FLUSHDB")
        redis.link.call(*mark)
        write(redis.link, [{"id": str(i)} for i in range(many)])
        assert twice(redis.link, flavour).retried == many
        assert len(ids(redis.link, target)) == many


@pytest.mark.parametrize("major", [5, 6])
def test_paused_and_full_queues_are_not_woken(redis: Database, major: int) -> None:
    flavour = Flavour("bullmq", major, f"{major}.0.0", "")
    redis.link.call("HSET", "bull:mail:meta", "paused", 1)
    write(redis.link, [{"id": "1"}])
    assert twice(redis.link, flavour).retried == 1
    assert ids(redis.link, "paused" if major == 5 else "wait") == ["1"]
    assert not redis.link.call("EXISTS", "bull:mail:marker")
    redis.link.call("FLUSHDB")
    redis.link.ask(("HSET", "bull:mail:meta", "concurrency", 1), ("LPUSH", "bull:mail:active", "9"))
    write(redis.link, [{"id": "1"}])
    assert twice(redis.link, flavour).retried == 1
    assert ids(redis.link, "wait") == ["1"] and not redis.link.call("EXISTS", "bull:mail:marker")


@pytest.mark.parametrize("package", ["bullmq5", "bullmq6"])
def test_parent_waits_for_a_retried_child(redis: Database, node: Packages, package: str) -> None:
    """A failed child whose failure its parent was told of: retried, it runs, and then the parent does."""
    real = node(package)
    where = {"redis": redis.node, "queue": "mail"}
    children = [
        {"name": "child", "queueName": "mail", "data": {"fail": "once"}, "opts": {"ignoreDependencyOnFailure": True}},
        {"name": "other", "queueName": "mail", "data": {}, "opts": {"delay": 3_600_000}},
    ]
    real.call("flow", {**where, "flow": {"name": "parent", "queueName": "mail", "data": {}, "children": children}})
    (child,) = real.call("work", {**where, "count": 1})
    (parent,) = ids(redis.link, "waiting-children")
    assert redis.link.call("HEXISTS", MAIL.key(f"{parent}:failed"), MAIL.key(child)) == 1
    assert twice(redis.link, flavour_of(package), now_ms=None).retried == 1
    assert not redis.link.call("HEXISTS", MAIL.key(f"{parent}:failed"), MAIL.key(child))
    assert redis.link.call("SISMEMBER", MAIL.key(f"{parent}:dependencies"), MAIL.key(child)) == 1
    redis.link.call("HSET", MAIL.key(child), "data", "{}")
    assert real.call("work", {**where, "count": 1}) == [child]
    assert redis.link.call("HEXISTS", MAIL.key(f"{parent}:processed"), MAIL.key(child)) == 1


@pytest.mark.parametrize(
    ("state", "record", "command"),
    [
        ("completed", "processed", ("HSET", "bull:mail:1", '"done"')),
        ("failed", "failed", ("HSET", "bull:mail:1", "as asked")),
        ("failed", "unsuccessful", ("ZADD", 1, "bull:mail:1")),
    ],
)
@pytest.mark.parametrize("parent", ["hash", "gone", "broken"])
def test_record_of_the_parent(redis: Database, state: str, record: str, command: Sequence[Any], parent: str) -> None:
    """A child leaves its parent's record for its dependencies; a parent that is gone or broken is left alone."""
    link, key = redis.link, "bull:other:p"
    write(link, [{"id": "1", "parentKey": key}], state)
    link.call(command[0], f"{key}:{record}", *command[1:])
    if parent != "gone":
        link.call("HSET", key, "name", "p")
    if parent == "broken":
        link.call("SET", f"{key}:dependencies", "x")
    assert twice(link, state=state).retried == 1
    moved = parent == "hash"
    assert bool(link.call("EXISTS", f"{key}:{record}")) is not moved
    if moved:
        assert link.call("SMEMBERS", f"{key}:dependencies") == [b"bull:mail:1"]


def test_bull_tells_who_listens(redis: Database, node: Packages) -> None:
    """Bull's event of a waiting job is a message."""
    real = node("bull4")
    listen = """
        const queue = queueOf(given);
        state.heard = [];
        queue.on("global:waiting", (id) => state.heard.push(id));
        await queue.isReady();
    """
    real.script(listen, redis=redis.node, queue="mail")
    until("Bull to listen", lambda: redis.link.call("PUBSUB", "NUMPAT") == 1, seconds=20)
    write(redis.link, [{"id": "1"}])
    assert retry(redis.link, MAIL, flavour_of("bull4"), now_ms=NOW).retried == 1
    until("Bull to hear of it", lambda: real.script("return state.heard") == ["1"], seconds=20)
    assert text(redis.link.call("HGET", "bull:mail:1", "retriedOn")) == str(NOW)


# --- what is left where it is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("many", [0, MANY])
def test_left_alone(redis: Database, many: int) -> None:
    """Ghosts, locked jobs, and ids whose key is something else; in small and in large pages."""
    write(redis.link, [{"id": "1"}, {"id": "locked"}, *({"id": f"x{i}", "at": NOW - 900 + i} for i in range(many))])
    redis.link.ask(
        ("SET", "bull:mail:locked:lock", "token"),
        ("ZADD", "bull:mail:failed", NOW - 2000, "ghost", NOW - 1500, "junk", NOW - 1400, "text"),
        ("HSET", "bull:mail:junk", "atm", 1),
        ("SET", "bull:mail:text", "x"),
    )
    done = twice(redis.link, name="send")
    assert done.retried == many + 1
    assert done.kept == {"young": 0, "filter": 0, "locked": 1, "ghost": 2, "damaged": 1}
    assert sorted(ids(redis.link, "failed")) == ["ghost", "junk", "locked", "text"]
    assert [line.partition(": ")[2][:20] for line in done.warnings] == [
        "2 ids in failed have", "1 jobs in failed are", "1 ids in failed name",
    ]  # fmt: skip


def test_a_job_without_opts_is_a_job(redis: Database) -> None:
    write(redis.link, [{"id": "1"}])
    redis.link.call("HDEL", "bull:mail:1", "opts", "priority")
    assert twice(redis.link).retried == 1


def test_age_and_limit(redis: Database) -> None:
    write(redis.link, [{"id": str(i), "at": NOW - 1000 * i} for i in range(10)])
    done = twice(redis.link, older_than=5000, limit=2)
    assert (done.retried, done.kept["young"], done.complete) == (2, 5, False)
    assert ids(redis.link, "wait") == ["8", "9"]
    assert (done.oldest, done.newest) == (NOW - 9000, NOW - 8000)
    done = twice(redis.link, older_than=5000)
    assert (done.retried, done.complete) == (3, True)
    assert len(ids(redis.link, "failed")) == 5


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"name": "send-*"}, "023"),
        ({"name": "send-?"}, "02"),
        ({"name": "*a[b-d]"}, "03"),
        ({"name": "*a[!b-d]"}, "2"),
        ({"name": "send"}, ""),
        ({"name": "send-*", "failed_reason": "*REFUSED*:25"}, "0"),
        ({"failed_reason": "*é?"}, "2"),
        ({"failed_reason": "100%*"}, "1"),
        ({"failed_reason": "*"}, "0123"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("many", [0, MANY])
def test_filters(redis: Database, given: dict[str, Any], expected: str, many: int) -> None:
    jobs = [
        {"id": "0", "name": "send-b", "failedReason": "connect ECONNREFUSED 10.0.0.1:25"},
        {"id": "1", "name": "resize", "failedReason": "100% wrong"},
        {"id": "2", "name": "send-ä", "failedReason": "coupé!"},
        {"id": "3", "name": "send-bab", "failedReason": ""},
    ]
    if given.get("name") == "*a[!b-d]":
        jobs[2]["name"] = "send-ae"
    if given.get("name") == "*a[b-d]":
        jobs[0]["name"] = "send-ad"
    if given.get("name") == "send-?" or given.get("name") == "*a[!b-d]":
        jobs[3]["name"] = "send-bab"
    filler = [{"id": f"x{i}", "name": "zzz", "failedReason": "-", "at": NOW - 5000 + i} for i in range(many)]
    write(redis.link, [*filler, *jobs])
    done = twice(redis.link, **given)
    anything = given == {"failed_reason": "*"}
    assert sorted(one for one in ids(redis.link, "wait") if not one.startswith("x")) == list(expected)
    assert done.kept["filter"] == (0 if anything else many + 4 - len(expected))


def test_completed(redis: Database) -> None:
    write(redis.link, [{"id": "1", "returnvalue": '"done"'}], "completed")
    assert twice(redis.link, state="completed").retried == 1
    assert "returnvalue" not in snapshot.take(redis.link)["bull:mail:1"].data


# --- pages -----------------------------------------------------------------------------------------------------------


def test_pages(redis: Database) -> None:
    """Jobs that stay are passed over once, whatever page they are in, and all others are found."""
    jobs = [{"id": str(i), "at": NOW - 5000 + i // 50, "name": "keep" if i % 3 == 0 else "send"} for i in range(3000)]
    write(redis.link, jobs)
    done = twice(redis.link, name="send", chunk_ms=1.0)
    assert done.chunks > 3
    assert (done.retried, done.kept["filter"]) == (2000, 1000)
    assert sorted(ids(redis.link, "failed"), key=int) == [str(i) for i in range(0, 3000, 3)]
    # By score and then by name, as the set has them.
    expected = sorted((job for job in jobs if job["name"] == "send"), key=lambda job: (job["at"], job["id"]))
    assert ids(redis.link, "wait") == [job["id"] for job in reversed(expected)]


def test_last_one_that_stayed_goes_meanwhile(redis: Database) -> None:
    """The place in the set is found again when what marks it is removed, or fails again, between two pages."""
    jobs = [{"id": str(i), "at": NOW - 5000 + i, "name": "keep" if i % 2 == 0 else "send"} for i in range(1200)]
    for move in (True, False):
        redis.link.call("FLUSHDB")
        write(redis.link, jobs)

        def gone(_count: int, move: bool = move) -> None:
            kept = [one for one in ids(redis.link, "failed") if int(one) % 2 == 0]
            if kept and move:
                redis.link.call("ZADD", "bull:mail:failed", *(part for one in kept[:700] for part in (NOW + 5, one)))
            elif kept:
                redis.link.call("ZREM", "bull:mail:failed", *kept[:700])

        done = retry(redis.link, MAIL, BULLMQ5, name="send", now_ms=NOW, progress=gone, chunk_ms=1.0)
        assert done.chunks > 1
        assert len(ids(redis.link, "wait")) == done.retried == 600


def test_what_fails_again_is_not_retried_for_ever(redis: Database) -> None:
    """A worker whose clock is behind ours fails them into the past."""
    write(redis.link, [{"id": str(i), "at": NOW - 9000} for i in range(600)])

    def fail_again(_count: int) -> None:
        again = ids(redis.link, "wait")
        redis.link.ask(("DEL", "bull:mail:wait"), ("ZADD", "bull:mail:failed", *_pairs(again, NOW - 8000)))

    done = retry(redis.link, MAIL, BULLMQ5, now_ms=NOW, progress=fail_again, chunk_ms=1.0)
    assert done.retried == 600


def _pairs(names: Sequence[str], score: int) -> list[Any]:
    return [part for name in names for part in (score, name)]


def test_time_is_over(redis: Database) -> None:
    """It stops between two pages and says so; the next run goes on."""
    write(redis.link, [{"id": str(i), "at": NOW - 9000 + i} for i in range(900)])
    ticks = iter(range(0, 10_000, 4))
    done = retry(redis.link, MAIL, BULLMQ5, now_ms=NOW, max_seconds=6, clock=lambda: float(next(ticks)))
    assert not done.complete and 0 < done.retried < 900
    rest = retry(redis.link, MAIL, BULLMQ5, now_ms=NOW)
    assert rest.complete and done.retried + rest.retried == 900
    assert ids(redis.link, "wait") == [str(i) for i in reversed(range(900))]


def test_pages_are_short(redis: Database) -> None:
    """No page is much longer than asked for once the first has shown how long they take."""
    data = json.dumps({"x": "y" * 150})
    write(redis.link, [{"id": str(i), "at": NOW - 90_000 + i, "data": data} for i in range(20_000)])
    sizes: list[int] = []
    done = retry(redis.link, MAIL, BULLMQ5, now_ms=NOW, progress=sizes.append, chunk_ms=2.0)
    steps = [later - earlier for earlier, later in zip([0, *sizes], sizes)]
    assert done.retried == 20_000 and steps[0] == _queue_retry.FIRST_PAGE
    assert max(steps) <= _queue_retry.LARGEST_PAGE
    assert all(later <= 2 * max(earlier, 20) for earlier, later in zip(steps, steps[1:]))


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "command"),
    [
        ("failed", ("SET", "x")), ("wait", ("SET", "x")), ("meta", ("SET", "x")), ("events", ("SET", "x")),
        ("marker", ("SET", "x")), ("prioritized", ("SET", "x")), ("pc", ("HSET", "x", "y")), ("paused", ("SET", "x")),
    ],
)  # fmt: skip
def test_wrong_type(redis: Database, suffix: str, command: Sequence[str]) -> None:
    """A key of another type is named, and nothing is half done."""
    write(redis.link, [{"id": "1"}, {"id": "2", "priority": 1}])
    redis.link.call("DEL", MAIL.key(suffix))
    redis.link.call(command[0], MAIL.key(suffix), *command[1:])
    before = snapshot.take(redis.link)
    with pytest.raises((RedisFailed, QueueProblem), match=f"(?i){suffix}|wrong") as caught:
        retry(redis.link, MAIL, BULLMQ5, now_ms=NOW)
    assert getattr(caught.value, "reason", "type") == "type"
    assert snapshot.differences(before, snapshot.take(redis.link)) == []


@pytest.mark.parametrize("command", ["lpush", "xadd", "hdel", "zremrangebyrank", "zadd", "sadd"])
def test_user_without_a_command(redis: Database, command: str) -> None:
    """What a user may not run is found before anything is written."""
    link = redis.link
    write(link, [{"id": "1", "parentKey": "bull:mail:p"}, {"id": "2", "priority": 1}])
    link.ask(("HSET", "bull:mail:p", "name", "p"), ("HSET", "bull:mail:p:failed", "bull:mail:1", "x"))
    link.call("ACL", "SETUSER", "part", "on", ">pw", "~*", "&*", "+@all", f"-{command}")
    before = snapshot.take(link)
    try:
        other = Database(
            redis.place, redis.program, {**redis.options, "user": "part", "password": "pw"}, redis.port, "", ()
        )
        with pytest.raises(RedisFailed) as caught:
            retry(other.link, MAIL, BULLMQ5, now_ms=NOW)
        other.disconnect()
    finally:
        link.call("ACL", "DELUSER", "part")
    assert caught.value.reason == "auth" and command in str(caught.value).lower()
    assert snapshot.differences(before, snapshot.take(link)) == []


@pytest.mark.parametrize("record", [("HSET", "failed"), ("ZADD", "unsuccessful")])
def test_the_parent_is_in_a_queue_that_may_only_be_read(redis: Database, record: tuple[str, str]) -> None:
    """Its record of the child could not be changed, so the child stays. Redis 7 and later have such rights."""
    link = redis.link
    write(link, [{"id": "1", "parentKey": "bull:other:p"}])
    parent = f"bull:other:p:{record[1]}"
    value = ("bull:mail:1", "x") if record[0] == "HSET" else (1, "bull:mail:1")
    link.ask(("HSET", "bull:other:p", "name", "p"), (record[0], parent, *value))
    before = snapshot.take(link)
    name = "HDEL" if record[0] == "HSET" else "ZREM"
    for rule, words in (
        ("%R~bull:other:*", f"may not run {name} on {parent}"),
        (f"~{parent}", "may not run SADD on bull:other:p:dependencies"),
    ):
        rules = ("%R~bull:other:*", rule) if rule[0] == "~" else (rule,)
        link.call("ACL", "SETUSER", "part", "reset", "on", ">pw", "~bull:mail:*", *rules, "&*", "+@all")
        options = {**redis.options, "user": "part", "password": "pw"}
        other = Database(redis.place, redis.program, options, redis.port, "", ())
        with pytest.raises(RedisFailed, match=words) as caught:
            retry(other.link, MAIL, BULLMQ5, now_ms=NOW)
        other.disconnect()
        assert caught.value.reason == "auth"
        assert snapshot.differences(before, snapshot.take(link)) == []
    link.call("ACL", "DELUSER", "part")


def test_version_changes_meanwhile(redis: Database) -> None:
    """BullMQ 6 keeps paused jobs elsewhere than 5: what was decided for the one is not done to the other."""
    redis.link.call("HSET", "bull:mail:meta", "version", "bullmq:5.81.5")
    write(redis.link, [{"id": str(i), "at": NOW - 9000 + i} for i in range(900)])

    def deployed(_count: int) -> None:
        redis.link.call("HSET", "bull:mail:meta", "version", "bullmq:6.7.0")

    with pytest.raises(QueueProblem, match=r'changed from "bullmq:5.81.5" to "bullmq:6.7.0".* 200 jobs'):
        retry(redis.link, MAIL, BULLMQ5, now_ms=NOW, progress=deployed)
    assert len(ids(redis.link, "wait")) == 200


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"state": "delayed"}, 'mail: jobs of state "delayed" cannot be retried; failed and completed ones can'),
        ({"state": "completed", "failed_reason": "x"}, "mail: completed jobs have no failed_reason"),
        ({"flavour": Flavour("bullmq", 0, "", "it has events")}, "give library: bullmq and its version"),
    ],
)  # fmt: skip
def test_bad_input(redis: Database, given: dict[str, Any], words: str) -> None:
    write(redis.link, [{"id": "1"}])
    given = {"state": "failed", "flavour": BULLMQ5, **given}
    with pytest.raises(QueueProblem) as caught:
        retry(redis.link, MAIL, given.pop("flavour"), given.pop("state"), **given)
    assert words in str(caught.value)
    assert ids(redis.link, "failed") == ["1"]
