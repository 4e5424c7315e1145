# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each repair, on queues that real packages left broken; then a worker of that version takes the jobs, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils._queue_facts import Wanted, survey
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour
from ansible_collections.quai.ops.plugins.module_utils._queue_repair import (
    BETWEEN,
    BETWEEN_TWO_STEPS,
    BETWEEN_UNATTENDED,
    Outcome,
    Tools,
    apart,
    repair,
    until_moving,
)
from ansible_collections.quai.ops.plugins.module_utils._queue_verdict import verdict
from ansible_collections.quai.ops.plugins.module_utils._resp import text
from ansible_collections.quai.ops.plugins.modules import queue_repair

from lab.wait import until
from tests.queues.look import (
    FLOWS,
    MAIL,
    NEWER,
    Call,
    Nodes,
    add,
    alone,
    contents,
    flavour_of,
    look,
    now,
    rests,
    where,
)
from tests.queues.place import PACKAGES, Database, Node, each

pytestmark = pytest.mark.usefixtures("nobody_connected")


@pytest.fixture
def node(own_node: Nodes) -> Nodes:
    """What is connected counts here."""
    return own_node


WITH_LIST = [package for package in PACKAGES if package != "bullmq6"]


def mend(
    redis: Database, package: str, which: Iterable[str] | None = None, *, dry: bool = False, **more: Any
) -> Outcome:
    """Repair the queue. Jobs need not be old, but both looks are taken."""
    given = {"between": 0.05, "stalled_after": 0.0, **more}
    return repair(redis.server, redis.link, MAIL, flavour_of(package), which=which, dry=dry, **given)


def worker(redis: Database, real: Node, **more: Any) -> None:
    real.call("worker", {**where(redis), **more})


def completed(redis: Database) -> list[str]:
    return [text(one) for one in redis.link.call("ZRANGE", "bull:mail:completed", 0, -1)]


def ran(redis: Database, real: Node, ids: Iterable[str], seconds: float = 30.0) -> list[str]:
    """Wait until these jobs are completed; return what the worker did, in order."""
    wanted = set(ids)
    until("the jobs completed", lambda: wanted <= set(completed(redis)), seconds=seconds)
    did: list[str] = []

    def told() -> bool:
        did[:] = [str(one) for one in real.call("ran", {})["done"]]
        return wanted <= set(did)

    until("the worker told", told, seconds=seconds)
    return did


def written(redis: Database, act: Callable[[], Any]) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    before = contents(redis)
    result = act()
    return result, before, contents(redis)


@pytest.mark.parametrize("package", each())
def test_stalled(package: str, redis: Database, node: Nodes) -> None:
    dead = node(package)
    ids = add(redis, dead, 3)
    taken = [str(one) for one in dead.call("take", {**where(redis), "count": 1})]
    alone(redis, dead)
    # Its lock is still there: nobody knows yet that the worker is dead.
    refused, before, after = written(redis, lambda: mend(redis, package, ["stalled"]))
    assert not refused.changed and before == after
    redis.link.call("DEL", f"bull:mail:{taken[0]}:lock")
    planned, before, after = written(redis, lambda: mend(redis, package, dry=True))
    assert before == after
    done = mend(redis, package)
    assert [(one.repair, one.jobs, list(one.ids)) for one in done.done] == [("stalled", 1, taken)]
    assert done.done == planned.done
    again, before, after = written(redis, lambda: mend(redis, package))
    assert not again.changed and before == after
    real = node(package)
    worker(redis, real)
    did = ran(redis, real, ids)
    assert did[0] == taken[0]  # it is the next
    assert sorted(did) == sorted(ids)  # each once, none lost
    counter = "stc" if package.startswith(("bullmq5", "bullmq6")) else "stalledCounter"
    assert redis.link.call("HGET", f"bull:mail:{taken[0]}", counter) == b"1"


@pytest.mark.parametrize("package", each())
def test_stalled_while_paused(package: str, redis: Database, node: Nodes) -> None:
    dead = node(package)
    ids = add(redis, dead, 2)
    taken = [str(one) for one in dead.call("take", {**where(redis), "count": 1})]
    dead.call("pause", where(redis))
    alone(redis, dead)
    redis.link.call("DEL", f"bull:mail:{taken[0]}:lock")
    assert mend(redis, package, ["stalled"]).changed
    found = look(redis, package)["counts"]
    assert found["active"] == 0
    assert (found["paused"], found["wait"]) == ((2, 0) if package in WITH_LIST else (0, 2))
    real = node(package)
    worker(redis, real)
    real.call("resume", where(redis))
    assert sorted(ran(redis, real, ids)) == sorted(ids)


def tools(redis: Database, package: str, moment: int) -> Tools:
    return Tools(redis.link, MAIL, flavour_of(package), dry=False, now=moment)


@pytest.mark.parametrize("package", ["bull4", "bullmq4", "bullmq5"])
def test_a_job_that_moved_since_the_last_look_is_left_alone(package: str, redis: Database, node: Nodes) -> None:
    """The script itself looks at everything it relies on."""
    dead = node(package)
    add(redis, dead, 1)
    (one,) = (str(taken) for taken in dead.call("take", {**where(redis), "count": 1}))
    alone(redis, dead)
    pair = [(MAIL, flavour_of(package))]
    key = f"bull:mail:{one}"
    redis.link.call("DEL", f"{key}:lock")
    first = survey(redis.server, pair, Wanted())
    (found,) = survey(redis.server, pair, Wanted(), before=first)
    assert found["unlocked"]
    whole = redis.link.call("DUMP", key)
    for change, why in (
        (("SET", f"{key}:lock", "token", "PX", 60_000), "locked"),
        (("HSET", key, "processedOn", 5), "moved"),
        (("LREM", "bull:mail:active", 0, one), "moved"),
        (("DEL", key), "ghost"),
    ):
        redis.link.ask(change)
        before = contents(redis)
        assert tools(redis, package, now(redis)).stalled(found, 0.0) == (None, [(one, why)])
        assert contents(redis).keys() == before.keys()
        redis.link.ask(
            ("DEL", f"{key}:lock", "bull:mail:active"),
            ("LPUSH", "bull:mail:active", one),
            ("RESTORE", key, 0, whole, "REPLACE"),
        )
    did, left = tools(redis, package, now(redis)).stalled(found, 0.0)
    assert (did, left) == ((1, [one]), [])


@pytest.mark.parametrize("package", ["bullmq4", "bullmq5"])
def test_a_parent_that_moved_since_the_last_look_is_left_alone(package: str, redis: Database, node: Nodes) -> None:
    real = node(package)
    parent, children = flow(redis, real)
    later = now(redis) + 120_000
    key = f"bull:mail:{parent}"
    whole = [redis.link.call("DUMP", name) for name in (key, f"{key}:dependencies")]
    redis.link.call("DEL", *children)
    (lost,) = survey(redis.server, [(MAIL, flavour_of(package))], Wanted(now_ms=later))
    redis.link.call("DEL", f"{key}:dependencies")
    (done,) = survey(redis.server, [(MAIL, flavour_of(package))], Wanted(now_ms=later))
    assert [one["parents"]["stuck"][0]["why"] for one in (lost, done)] == ["lost", "done"]
    old = tools(redis, package, later)
    assert tools(redis, package, now(redis)).parents(done, 0.0) == (None, [(parent, "young")])
    assert old.parents_lost(lost, 0.0) == (None, [(parent, "done")])
    redis.link.call("RESTORE", f"{key}:dependencies", 0, whole[1])
    assert old.parents(done, 0.0) == (None, [(parent, "children")])
    redis.link.call("HSET", children[0], "name", "again")
    assert old.parents_lost(lost, 0.0) == (None, [(parent, "children")])
    assert old.parents(done, 0.0) == (None, [(parent, "children")])
    redis.link.ask(("DEL", f"{key}:dependencies", key))
    assert old.parents(done, 0.0) == (None, [(parent, "ghost")])
    redis.link.ask(("RESTORE", key, 0, whole[0]), ("HSET", key, "flowAttachmentFailed", 1))
    assert old.parents(done, 0.0) == (None, [(parent, "unfinished")])
    redis.link.ask(("HDEL", key, "flowAttachmentFailed"), ("ZREM", "bull:mail:waiting-children", parent))
    assert old.parents(done, 0.0) == (None, [(parent, "moved")])


def test_a_job_that_lost_its_lock_only_now_is_left_alone(redis: Database, node: Nodes) -> None:
    dead = node("bullmq5")
    add(redis, dead, 2)
    old, new = dead.call("take", {**where(redis), "count": 2})
    alone(redis, dead)
    redis.link.call("DEL", f"bull:mail:{old}:lock")
    looks = 0

    def between(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        began = redis.link.time_ms()
        while redis.link.time_ms() == began:  # the looks must not fall into one millisecond
            pass
        if looks == 2:
            redis.link.call("DEL", f"bull:mail:{new}:lock")

    outcome = mend(redis, "bullmq5", ["stalled"], pause=between)
    assert [one.ids for one in outcome.done] == [(old,)]
    assert [(one.id, one.why) for one in outcome.refused] == [
        (new, "it has been without a lock for too short a time to be sure")
    ]


@pytest.mark.parametrize("package", each(NEWER))
@pytest.mark.parametrize("what", ["stalled", "parents", "paused_list"])
def test_idle_workers_are_woken(package: str, what: str, redis: Database, node: Nodes) -> None:
    """A worker that would look by itself in five minutes takes what was put back."""
    if (package, what) == ("bullmq6", "paused_list"):
        pytest.skip("BullMQ 6 has no such list")
    real, idle = node(package), node(package)
    if what == "parents":
        one, children = flow(redis, real)
        redis.link.ask(
            ("DEL", f"bull:mail:{one}:dependencies", *children), ("DEL", "bull:mail:wait", "bull:other:wait")
        )
    else:
        (one,) = add(redis, real, 1)
        if what == "stalled":
            real.call("take", {**where(redis), "count": 1})
        else:
            redis.link.call("RENAME", "bull:mail:wait", "bull:mail:paused")
    alone(redis, real)
    redis.link.call("DEL", f"bull:mail:{one}:lock", "bull:mail:marker")
    # Its own check for stalled jobs would take two intervals.
    worker(redis, idle, worker={"drainDelay": 300, "stalledInterval": 300_000})
    until("a worker that waits", lambda: rests(redis), seconds=20)
    later: dict[str, Any] = {"now_ms": now(redis) + 120_000} if what == "parents" else {}
    assert mend(redis, package, [what], **later).changed
    assert ran(redis, idle, [one]) == [one]


def test_time_between_two_looks() -> None:
    """A worker that takes and locks a job in two steps may be busy in between, as long as its library waits."""
    for package in PACKAGES:
        two_steps = package in ("bull3", "bull4", "bullmq1", "bullmq2", "bullmq3", "bullmq4")
        for workers in (1, None):
            assert apart(flavour_of(package), workers) == (BETWEEN_TWO_STEPS if two_steps else BETWEEN)
        assert apart(flavour_of(package), 0) == BETWEEN_UNATTENDED
    assert apart(Flavour("bullmq", 0, "", "nobody knows"), 1) == BETWEEN_TWO_STEPS


def test_stalled_is_not_unasked_while_workers_are_connected(redis: Database, node: Nodes) -> None:
    """Who lost the lock may still be at it."""
    real = node("bullmq5")
    add(redis, real, 1)
    (one,) = real.call("take", {**where(redis), "count": 1})
    redis.link.call("DEL", f"bull:mail:{one}:lock")
    assert look(redis, "bullmq5")["workers"] == 1
    outcome = mend(redis, "bullmq5")
    assert not outcome.changed
    assert "stalled" in verdict(outcome.before, stalled_after=0)["findings"]
    assert mend(redis, "bullmq5", ["stalled"]).changed


@pytest.mark.parametrize("package", each(WITH_LIST))
@pytest.mark.parametrize("newer", [0, 2], ids=["alone", "beside newer jobs"])
def test_paused_list(package: str, newer: int, redis: Database, node: Nodes) -> None:
    real = node(package)
    ids = add(redis, real, 4)
    real.call("pause", where(redis))
    redis.link.ask(("HDEL", "bull:mail:meta", "paused"), ("DEL", "bull:mail:meta-paused"))
    ids += add(redis, real, newer)
    planned, before, after = written(redis, lambda: mend(redis, package, dry=True))
    assert before == after and planned.done[0].jobs == 4
    done = mend(redis, package)
    assert [one.repair for one in done.done] == ["paused_list"]
    assert redis.link.call("EXISTS", "bull:mail:paused") == 0
    again, before, after = written(redis, lambda: mend(redis, package, ["paused_list"]))
    assert not again.changed and before == after
    worker(redis, real)
    assert ran(redis, real, ids) == ids  # in turn, each once


@pytest.mark.parametrize("package", each())
def test_a_paused_queue_stays_paused(package: str, redis: Database, node: Nodes) -> None:
    real = node(package)
    add(redis, real, 3)
    real.call("pause", where(redis))
    outcome, before, after = written(redis, lambda: mend(redis, package, ["paused_list", "wake"]))
    assert not outcome.changed and before == after
    assert {one.why for one in outcome.refused} == {"the queue is paused; resume it"}


@pytest.mark.parametrize("package", each(NEWER))
@pytest.mark.parametrize("ranked", [False, True], ids=["wait", "prioritized"])
def test_wake(package: str, ranked: bool, redis: Database, node: Nodes) -> None:
    real = node(package)
    worker(redis, real, worker={"drainDelay": 300})
    (first,) = add(redis, real, 1)
    ran(redis, real, [first])
    until("a worker that waits", lambda: rests(redis), seconds=20)
    (one,) = add_quietly(redis, "lost", ranked=ranked)
    planned, before, after = written(redis, lambda: mend(redis, package, ["wake"], dry=True))
    assert before == after and planned.changed
    before_facts = survey(redis.server, [(MAIL, flavour_of(package))], Wanted())
    assert mend(redis, package, ["wake"]).changed
    ran(redis, real, [one])
    (found,) = until_moving(redis.server, [(MAIL, flavour_of(package))], before_facts, 20)
    assert found["moving"] is True
    assert not mend(redis, package, ["wake"]).changed


def add_quietly(redis: Database, one: str, *, ranked: bool) -> list[str]:
    """A job as another program puts it into a queue, without a marker."""
    moment = now(redis)
    fields = ("name", "send", "data", "{}", "opts", "{}", "timestamp", moment, "delay", 0, "priority", int(ranked))
    place = ("ZADD", "bull:mail:prioritized", 1 << 32, one) if ranked else ("LPUSH", "bull:mail:wait", one)
    redis.link.ask(("HSET", f"bull:mail:{one}", *fields), place)
    return [one]


def test_wake_for_delayed_jobs(redis: Database, node: Nodes) -> None:
    real = node("bullmq5")
    (one,) = add(redis, real, 1, delay=1500)
    redis.link.call("DEL", "bull:mail:marker")
    assert mend(redis, "bullmq5", ["wake"]).changed
    assert not mend(redis, "bullmq5", ["wake"]).changed
    worker(redis, real, worker={"drainDelay": 300})
    ran(redis, real, [one])


def test_wake_of_bullmq4(redis: Database, node: Nodes) -> None:
    real = node("bullmq4")
    (one,) = add(redis, real, 1, priority=3)
    redis.link.call("DEL", "bull:mail:wait")
    assert mend(redis, "bullmq4", ["wake"]).changed
    assert redis.link.call("LRANGE", "bull:mail:wait", 0, -1) == [b"0:0"]
    assert not mend(redis, "bullmq4", ["wake"]).changed
    worker(redis, real)
    ran(redis, real, [one])


def flow(redis: Database, real: Node, **opts: Any) -> tuple[str, list[str]]:
    """A parent with two children, in two queues; returns the keys of the children."""
    children: list[dict[str, Any]] = [{"name": "child", "queueName": name, "data": {}} for name in ("mail", "other")]
    whole = {"name": "parent", "queueName": "mail", "data": {}, "opts": opts, "children": children}
    parent = str(real.call("flow", {**where(redis), "flow": whole}))
    return parent, [text(one) for one in redis.link.call("SMEMBERS", f"bull:mail:{parent}:dependencies")]


@pytest.mark.parametrize("package", each(FLOWS))
@pytest.mark.parametrize("opts", [{}, {"priority": 2}], ids=["plain", "priority"])
def test_parents(package: str, opts: dict[str, Any], redis: Database, node: Nodes) -> None:
    real = node(package)
    parent, children = flow(redis, real, **opts)
    alone(redis, real)
    redis.link.ask(("DEL", f"bull:mail:{parent}:dependencies", *children), ("DEL", "bull:mail:wait", "bull:other:wait"))
    young, before, after = written(redis, lambda: mend(redis, package, ["parents"]))
    assert not young.changed and before == after
    later = now(redis) + 120_000
    planned, before, after = written(redis, lambda: mend(redis, package, dry=True, now_ms=later))
    assert before == after and planned.done[0].ids == (parent,)
    assert mend(redis, package, now_ms=later).done == planned.done
    assert not mend(redis, package, ["parents"], now_ms=later).changed
    other = node(package)
    worker(redis, other)
    assert ran(redis, other, [parent]) == [parent]


@pytest.mark.parametrize("package", ["bullmq1", "bullmq4", "bullmq5", "bullmq6"])
def test_parents_lost(package: str, redis: Database, node: Nodes) -> None:
    real = node(package)
    parent, children = flow(redis, real)
    alone(redis, real)
    later = now(redis) + 120_000
    # One child is still there.
    redis.link.ask(("DEL", children[0]))
    assert not mend(redis, package, ["parents_lost", "parents"], now_ms=later).changed
    redis.link.ask(("DEL", children[1]), ("DEL", "bull:mail:wait", "bull:other:wait"))
    assert not mend(redis, package, now_ms=later).changed  # never unasked
    assert mend(redis, package, ["parents_lost"], now_ms=later).done[0].ids == (parent,)
    other = node(package)
    worker(redis, other)
    assert ran(redis, other, [parent]) == [parent]


def test_jobs_move_after_the_workers_are_started(redis: Database, node: Nodes) -> None:
    real = node("bullmq5")
    add(redis, real, 30)
    pair = [(MAIL, flavour_of("bullmq5"))]
    before = survey(redis.server, pair, Wanted())
    (still,) = until_moving(redis.server, pair, before, 0.0)
    assert still["moving"] is False
    worker(redis, real, wait=50)
    (moving,) = until_moving(redis.server, pair, before, 20)
    assert moving["moving"] is True


def test_a_user_who_may_not_write_loses_nothing(redis: Database, node: Nodes) -> None:
    from ansible_collections.quai.ops.plugins.module_utils._redis_link import RedisFailed, Server

    real = node("bullmq5")
    add(redis, real, 1)
    (one,) = real.call("take", {**where(redis), "count": 1})
    alone(redis, real)
    redis.link.call("DEL", f"bull:mail:{one}:lock")
    for command in ("rpush", "hincrby", "xadd", "srem", "zadd"):
        redis.link.call("ACL", "SETUSER", "half", "reset", "on", ">half", "~*", "+@all", f"-{command}")
        before = contents(redis)
        with Server({**redis.options, "user": "half", "password": "half"}) as server:
            link = server.at("bull:mail:meta")
            with pytest.raises(RedisFailed) as failed:
                repair(
                    server,
                    link,
                    MAIL,
                    flavour_of("bullmq5"),
                    which=["stalled"],
                    stalled_after=0.0,
                    between=0.05,
                )
        assert f"user half may not run {command.upper()} on bull:mail:*" in failed.value.message
        assert contents(redis) == before
    redis.link.call("ACL", "DELUSER", "half")


def test_module(redis: Database, node: Nodes, call: Call) -> None:
    dead = node("bullmq5")
    ids = add(redis, dead, 2)
    (one,) = dead.call("take", {**where(redis), "count": 1})
    alone(redis, dead)
    redis.link.call("DEL", f"bull:mail:{one}:lock")
    given = {"queues": ["*"], "stalled_after": 0, "_ansible_diff": True}
    planned, before, after = written(redis, lambda: call(queue_repair, redis, check=True, **given))
    assert before == after
    done = call(queue_repair, redis, **given)
    assert planned["changed"] and done["changed"]
    (queue,) = done["queues"]
    assert queue["done"] == planned["queues"][0]["done"] == [{"repair": "stalled", "jobs": 1, "ids": [one]}]
    # No worker yet; that stops work, so it is what is said first.
    assert (queue["before"], queue["after"]) == ("no_workers", "no_workers")
    assert done["diff"] == planned["diff"]
    assert done["diff"][0]["after"] == {"repaired": {"stalled": {"jobs": 1, "ids": [one]}}}
    for check in (True, False):
        assert call(queue_repair, redis, check=check, **given) == {**done, "changed": False, "queues": [], "diff": []}
    still = call(queue_repair, redis, queues=["mail"], repairs=[], until_moving=0.2)
    assert still["reason"] == "not_moving" and "no worker is connected" in still["msg"]
    real = node("bullmq5")
    worker(redis, real, wait=200)
    moving = call(queue_repair, redis, queues=["mail"], repairs=[], until_moving=30)
    assert moving["moving"]["mail"] is not False and not moving["changed"]
    ran(redis, real, ids)
    skipped = call(queue_repair, redis, queues=["nobody", "x-*"], missing="skip")
    assert (skipped["changed"], skipped["skipped_queues"]) == (False, ["nobody", "x-*"])
    missing = call(queue_repair, redis, queues=["nobody"])
    assert missing["failed"] and "nobody" in missing["msg"]


def test_module_warns_of_what_it_left_alone(redis: Database, node: Nodes, call: Call) -> None:
    real = node("bullmq5")
    add(redis, real, 1)
    real.call("pause", where(redis))
    left = call(queue_repair, redis, queues=["mail"], repairs=["wake"])
    assert not left["changed"]
    assert "queue mail, repair wake: nothing was done: the queue is paused; resume it" in str(left["warnings"])
