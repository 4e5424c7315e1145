# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen of queues of the real packages, and that seeing never writes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils._queue_ask import counted, detected, totals
from ansible_collections.quai.ops.plugins.module_utils._queue_facts import Wanted, counts, published, survey, watch
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Queue
from ansible_collections.quai.ops.plugins.module_utils._queue_verdict import verdict
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Server
from ansible_collections.quai.ops.plugins.module_utils._resp import text
from ansible_collections.quai.ops.plugins.modules import queue_info

from lab.wait import until
from tests.queues import masters
from tests.queues.look import (
    FLOWS,
    HOUR,
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
from tests.queues.place import PACKAGES, Database, Place, each

pytestmark = pytest.mark.usefixtures("nobody_connected")


@pytest.fixture
def node(own_node: Nodes) -> Nodes:
    """What is connected counts here."""
    return own_node


@pytest.mark.parametrize("package", each())
def test_counts_by_state(package: str, redis: Database, node: Nodes) -> None:
    real = node(package)
    add(redis, real, 6)
    add(redis, real, 2, delay=HOUR)
    real.call("work", {**where(redis), "count": 2})
    real.call("work", {**where(redis), "count": 1, "fail": "connect ECONNREFUSED 10.0.0.1:587"})
    real.call("take", {**where(redis), "count": 1})
    alone(redis, real)
    found = look(redis, package)
    expected = {
        **dict.fromkeys(("prioritized", "waiting-children", "paused"), 0),
        "wait": 2,
        "active": 1,
        "completed": 2,
        "failed": 1,
        "delayed": 2,
    }
    assert found["counts"] == expected
    assert (found["waiting"], found["overdue"], found["locked"]) == (2, 0, 1)
    assert 0 <= found["oldest_wait_s"] < 60
    assert found["failed_reasons"][0]["reason"] == "connect ECONNREFUSED <address>"
    assert found["library"] == PACKAGES[package].split()[0]
    assert found["workers"] == 0
    assert found["verdict"] == "no_workers"


@pytest.mark.parametrize("package", each())
def test_priorities_wait_as_well(package: str, redis: Database, node: Nodes) -> None:
    real = node(package)
    add(redis, real, 3, priority=5)
    alone(redis, real)
    found = look(redis, package)
    assert found["waiting"] == 3
    assert found["verdict"] == "no_workers"


@pytest.mark.parametrize("package", each())
def test_idle(package: str, redis: Database, node: Nodes) -> None:
    real = node(package)
    add(redis, real, 1)
    real.call("work", {**where(redis), "count": 1})
    found = look(redis, package)
    assert (found["verdict"], found["waiting"], found["oldest_wait_s"]) == ("idle", 0, 0.0)


@pytest.mark.parametrize("package", each())
def test_paused(package: str, redis: Database, node: Nodes) -> None:
    real = node(package)
    add(redis, real, 3)
    real.call("pause", where(redis))
    alone(redis, real)
    found = look(redis, package)
    assert (found["paused"], found["waiting"], found["verdict"]) == (True, 3, "paused")
    assert "no_workers" in found["findings"]
    other = node(package)
    other.call("resume", where(redis))
    assert look(redis, package)["paused"] is False


@pytest.mark.parametrize("package", each())
def test_workers_are_counted_and_jobs_move(package: str, redis: Database, node: Nodes) -> None:
    real = node(package)
    add(redis, real, 1)
    real.call("worker", {**where(redis), "wait": 300, "name": "one"})
    real.call("worker", {**where(redis), "name": "two", "wait": 300})
    until("two workers", lambda: look(redis, package)["workers"] == 2, seconds=20)
    # They are not those of the queue of this name in another database.
    with Server({**redis.options, "database": 1}) as server:
        (found,) = survey(server, [(MAIL, flavour_of(package))], Wanted())
    assert found["workers"] == 0
    add(redis, real, 40)
    (found,) = watch(redis.server, [(MAIL, flavour_of(package))], Wanted(), 20)
    assert found["moving"] is True
    assert verdict(found)["verdict"] == "healthy"


@pytest.mark.parametrize("package", each())
def test_nothing_is_written(package: str, redis: Database, node: Nodes) -> None:
    """Also what the library's own counting would write: it takes markers away."""
    real = node(package)
    add(redis, real, 5)
    add(redis, real, 3, delay=1)
    add(redis, real, 2, priority=3)
    real.call("work", {**where(redis), "count": 1, "fail": True})
    real.call("take", {**where(redis), "count": 1})
    redis.link.ask(("RPUSH", "bull:mail:wait", "ghost"), ("LPUSH", "bull:mail:wait", "0:0"))
    flavour = flavour_of(package)
    before = contents(redis)
    redis.link.call("CONFIG", "RESETSTAT")
    pair = [(MAIL, flavour)]
    (first,) = survey(redis.server, pair, Wanted(deep=True, job_data=True))
    survey(redis.server, pair, Wanted(), before=[first])
    watch(redis.server, pair, Wanted(), 0.6)
    counted(redis.server, ["*"], "bull")
    statistics = text(redis.link.call("INFO", "commandstats"))
    assert contents(redis) == before
    ran = {line.split(":")[0].removeprefix("cmdstat_").lower() for line in statistics.splitlines()[1:] if line}
    listed = redis.link.call("COMMAND", "LIST", "FILTERBY", "ACLCAT", "write")
    writing = {text(one).lower() for one in listed} | {"eval", "evalsha"}
    assert "llen" in ran and "zcard" in ran
    assert not ran & writing


def test_read_by_a_user_who_may_only_read(redis: Database, node: Nodes) -> None:
    add(redis, node("bullmq5"), 3)
    redis.link.call("ACL", "SETUSER", "reader", "on", ">look", "~*", "+@read", "+@connection", "-client|list", "+time")
    with Server({**redis.options, "user": "reader", "password": "look"}) as server:
        (found,) = survey(server, [(MAIL, flavour_of("bullmq5"))], Wanted(deep=True))
    assert found["workers"] is None
    assert found["waiting"] == 3
    assert "not known" not in verdict(found)["evidence"][0] or verdict(found)["verdict"] != "no_workers"
    redis.link.call("ACL", "DELUSER", "reader")


@pytest.mark.parametrize("package", each())
def test_active_without_a_lock(package: str, redis: Database, node: Nodes) -> None:
    real = node(package)
    add(redis, real, 2)
    taken = [str(one) for one in real.call("take", {**where(redis), "count": 1})]
    alone(redis, real)
    assert look(redis, package)["unlocked"] == []
    redis.link.call("DEL", f"bull:mail:{taken[0]}:lock")
    later = now(redis) + 120_000
    found = look(redis, package, now_ms=later)
    assert [one["id"] for one in found["unlocked"]] == taken
    assert found["unlocked"][0]["since_s"] == pytest.approx(120, abs=30)
    assert "stalled" in found["findings"]
    assert found["repairs"] == ["stalled"]
    # A moment after it was taken that is no sign of anything.
    assert "stalled" not in look(redis, package)["findings"]


@pytest.mark.parametrize("package", each())
def test_ghosts_and_orphans(package: str, redis: Database, node: Nodes) -> None:
    real = node(package)
    ids = add(redis, real, 6)
    real.call("work", {**where(redis), "count": 2})
    real.call("schedule", {**where(redis), "id": "nightly", "repeat": {"every": HOUR}})
    clean = look(redis, package, deep=True)
    assert clean["ghosts"] == {"count": 0, "states": {}, "ids": {}, "complete": True}
    assert clean["orphans"] == {"count": 0, "ids": [], "complete": True}
    redis.link.ask(
        ("DEL", f"bull:mail:{ids[4]}"),
        ("LREM", "bull:mail:wait", 0, ids[5]),
        ("ZADD", "bull:mail:completed", 5, "gone"),
        ("HSET", "bull:mail:metrics:failed", "count", 4),
    )
    found = look(redis, package, deep=True)
    assert found["ghosts"]["ids"] == {"completed": ["gone"], "wait": [ids[4]]}
    assert found["orphans"] == {"count": 1, "ids": [ids[5]], "complete": True}
    assert "damaged" in found["findings"]
    # Without looking at everything the ends of the states show the first, and nothing is said of the second.
    shallow = look(redis, package)
    assert (shallow["ghosts"]["count"], shallow["ghosts"]["complete"], shallow["orphans"]) == (2, False, None)


@pytest.mark.parametrize("package", each())
@pytest.mark.parametrize(
    "repeat", [{"every": HOUR}, {"pattern": "15 3 * * *", "tz": "Europe/Paris"}], ids=["every", "cron"]
)
def test_dead_schedule(package: str, repeat: Mapping[str, Any], redis: Database, node: Nodes) -> None:
    real = node(package)
    real.call("schedule", {**where(redis), "id": "a:b nightly", "repeat": repeat})
    if not redis.link.call("EXISTS", "bull:mail:meta"):
        real.call("touch", where(redis))
    found = look(redis, package)
    assert (found["schedules"]["count"], found["schedules"]["dead"]) == (1, [])
    assert found["findings"][0] in ("idle", "healthy", "no_workers")
    # What cleaning delayed jobs with the library does up to BullMQ 5.15, and always with Bull.
    (_member, score) = map(text, redis.link.call("ZRANGE", "bull:mail:repeat", 0, 0, "WITHSCORES"))
    (run,) = (text(key)[len("bull:mail:") :] for key in redis.link.call("KEYS", f"bull:mail:repeat:*:{score}"))
    key = "bull:mail:{}".format
    redis.link.ask(("ZREM", key("delayed"), run), ("LREM", key("wait"), 0, run), ("DEL", key(run)))
    found = look(redis, package)
    assert len(found["schedules"]["dead"]) == 1
    assert found["verdict"] == "dead_schedule"
    # Wherever its next run is, it is not dead.
    places: list[tuple[Any, ...]] = [("RPUSH", key(state), run) for state in ("wait", "active", "paused")]
    places.append(("ZADD", key("delayed"), 1, run))
    if not package.startswith(("bull3", "bull4", "bullmq1", "bullmq2", "bullmq3")):
        places.append(("ZADD", key("prioritized"), 1, run))
    for command in places:
        redis.link.ask(command)
        assert look(redis, package)["schedules"]["dead"] == [], command
        redis.link.ask(("DEL", command[1]))


@pytest.mark.parametrize("package", each(FLOWS))
def test_stuck_parents(package: str, redis: Database, node: Nodes) -> None:
    real = node(package)
    parents = []
    for n in range(3):
        children = [
            {"name": "child", "queueName": "mail", "data": {}},
            {"name": "child", "queueName": "other", "data": {}},
        ]
        flow = {"name": "parent", "queueName": "mail", "data": {"n": n}, "children": children}
        parents.append(str(real.call("flow", {"redis": redis.node, "queue": "mail", "flow": flow})))
    later = now(redis) + 120_000
    assert look(redis, package, now_ms=later)["parents"] == {"looked_at": 3, "stuck": []}
    done, failed, lost = parents
    key = "bull:mail:{}".format
    left = [text(one) for one in redis.link.call("SMEMBERS", key(f"{failed}:dependencies"))]
    redis.link.ask(
        ("DEL", key(f"{done}:dependencies")),
        *(("ZADD", f"{child.rpartition(':')[0]}:failed", 1, child.rpartition(":")[2]) for child in left),
        *(("DEL", text(one)) for one in redis.link.call("SMEMBERS", key(f"{lost}:dependencies"))),
    )
    found = look(redis, package, now_ms=later)
    assert {one["id"]: one["why"] for one in found["parents"]["stuck"]} == {
        done: "done",
        failed: "failed",
        lost: "lost",
    }
    assert "parent_stuck" in found["findings"]
    assert look(redis, package)["parents"]["stuck"] == []  # a young one may still get its children


@pytest.mark.parametrize("package", each(one for one in PACKAGES if one != "bullmq6"))
def test_left_in_the_list_of_a_paused_queue(package: str, redis: Database, node: Nodes) -> None:
    real = node(package)
    add(redis, real, 3)
    real.call("pause", where(redis))
    redis.link.ask(("HDEL", "bull:mail:meta", "paused"), ("DEL", "bull:mail:meta-paused"))
    found = look(redis, package)
    assert "stuck" in found["findings"]
    assert "paused_list" in found["repairs"]


def test_a_watch_waits_for_workers_that_just_start(redis: Database, node: Nodes) -> None:
    real = node("bullmq5")
    add(redis, real, 3)
    looks = 0

    def pause(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            real.call("worker", {**where(redis), "wait": 50})

    (found,) = watch(redis.server, [(MAIL, flavour_of("bullmq5"))], Wanted(pause=pause), 30)
    assert found["moving"] is True


@pytest.mark.parametrize("package", ["bullmq4", "bullmq5", "bullmq6"])
def test_stuck_is_only_known_after_two_looks(package: str, redis: Database, node: Nodes) -> None:
    """A worker is connected and does nothing."""
    real = node(package)
    ids = add(redis, real, 2)
    source = """
        state.worker = new lib.Worker(given.queue, async () => {}, {
          connection: { ...given.redis, maxRetriesPerRequest: null }, autorun: false,
        });
        await state.worker.waitUntilReady();
    """
    real.script(source, **where(redis))
    redis.link.ask(*(("HSET", f"bull:mail:{one}", "timestamp", now(redis) - HOUR) for one in ids))
    until("a worker", lambda: look(redis, package)["workers"] == 1, seconds=20)
    once = look(redis, package)
    assert (once["verdict"], once["moving"]) == ("unknown", None)
    assert once["repair"] == ["Look again with watch."]
    (found,) = watch(redis.server, [(MAIL, flavour_of(package))], Wanted(), 1.5)
    assert found["moving"] is False and found["watched_s"] >= 1.4
    assert verdict(found)["verdict"] == "stuck"


@pytest.mark.parametrize("package", each(NEWER))
def test_asleep(package: str, redis: Database, node: Nodes) -> None:
    """Somebody else put a job into the list and set no marker; the worker would look by itself in five minutes."""
    real = node(package)
    real.call("worker", {**where(redis), "worker": {"drainDelay": 300}})
    (one,) = add(redis, real, 1)
    until("the first job", lambda: look(redis, package)["counts"]["completed"] == 1, seconds=20)
    until("a worker that waits", lambda: rests(redis), seconds=20)
    redis.link.ask(("ZREM", "bull:mail:completed", one), ("LPUSH", "bull:mail:wait", one))
    redis.link.call("HDEL", f"bull:mail:{one}", "processedOn", "finishedOn")
    found = look(redis, package, now_ms=now(redis) + 30_000)
    assert found["idle_without_marker"] is True
    assert (found["verdict"], found["repairs"]) == ("asleep", ["wake"])


@pytest.mark.parametrize(
    "package", [one for one in PACKAGES if one.startswith(("bullmq5", "bullmq6")) and one != "bullmq568"]
)
def test_throttled(package: str, redis: Database, node: Nodes) -> None:
    real = node(package)
    real.script("const q = queueOf(given); await q.setGlobalConcurrency(1)", **where(redis))
    add(redis, real, 4)
    real.call("take", {**where(redis), "count": 1})
    found = look(redis, package)
    assert found["throttled"] == {"limited": False, "limited_for_ms": 0, "concurrency": 1, "full": True}
    real.script("const q = queueOf(given); await q.removeGlobalConcurrency(); await q.rateLimit(60000)", **where(redis))
    found = look(redis, package)
    assert found["throttled"]["limited"] is True
    assert 50_000 < found["throttled"]["limited_for_ms"] <= 60_000


def test_a_key_of_another_type(redis: Database, node: Nodes) -> None:
    add(redis, node("bullmq5"), 2)
    redis.link.ask(("DEL", "bull:mail:failed"), ("SET", "bull:mail:failed", "oops"))
    found = look(redis, "bullmq5")
    assert found["counts"]["failed"] is None
    assert found["verdict"] == "unknown"
    assert found["problems"] == ["bull:mail:failed is of another type than that of a queue"]


def test_data_only_when_asked(redis: Database, node: Nodes) -> None:
    real = node("bullmq5")
    add(redis, real, 2)
    real.call("work", {**where(redis), "count": 2, "fail": "no mailbox someone@example.org, token=hunter2hunter2"})
    quiet = str(published(look(redis, "bullmq5")))
    assert "example.org" not in quiet and "hunter2" not in quiet and "send" not in quiet
    (group,) = look(redis, "bullmq5", job_data=True)["failed_reasons"]
    assert group["jobs"][0]["data"] == '{"to":"someone@example.org","n":1}'


def test_a_thousand_queues_in_one_round_trip(redis: Database, node: Nodes) -> None:
    source = """
        for (let n = 0; n < 1000; n++) {
          const one = queueOf({ ...given, queue: "q" + n });
          await one.add("a", {}, n % 2 ? {} : { delay: 100000 });
          await one.close();
        }
    """
    node("bullmq5").script(source, seconds=240, redis=redis.node, queue="q")
    queues = [Queue("bull", f"q{n}") for n in range(1000)]
    before = redis.link.round_trips
    found = counts(redis.link, queues)
    assert redis.link.round_trips == before + 1
    assert totals(found)["wait"] == totals(found)["delayed"] == 500
    assert [one["name"] for one in found] == [queue.name for queue in queues]
    begin = time.perf_counter()
    looked = survey(redis.server, [(queue, flavour_of("bullmq5")) for queue in queues[:200]], Wanted())
    assert len(looked) == 200
    assert time.perf_counter() - begin < 60


def test_cluster(packages: Place, node: Nodes) -> None:
    """Each queue is read where it is, and each worker is found at whatever node it waits."""
    three = masters.cluster(packages)
    real = node("bullmq5")
    queues = [Queue(f"{{tag{n}}}", "mail") for n in range(6)]
    with Server(three[0].options) as server:
        held = [masters.holder(three, server, queue.key("meta"))[0] for queue in queues]
        assert len({one.port for one in held}) > 1
        for queue, database in zip(queues, held):
            given = {"redis": database.node, "queue": queue.name, "prefix": queue.prefix}
            real.call("add", {**given, "jobs": [{"name": "a", "data": {}, "opts": {}}] * 2})
            real.call("worker", {**given, "name": queue.prefix, "wait": 60_000})
        pairs = [(queue, flavour_of("bullmq5")) for queue in queues]
        until("all taken", lambda: all(one["locked"] == 1 for one in survey(server, pairs, Wanted())), seconds=20)
        found = survey(server, pairs, Wanted(deep=True))
    assert [(one["prefix"], one["workers"], one["waiting"]) for one in found] == [(one.prefix, 1, 1) for one in queues]
    assert [verdict(one)["verdict"] for one in found] == ["healthy"] * 6
    assert [one["orphans"]["count"] for one in found] == [0] * 6


def test_module(redis: Database, node: Nodes, call: Call) -> None:
    real = node("bullmq5")
    add(redis, real, 3)
    real.call("add", {**where(redis, "bills"), "jobs": [{"name": "bill", "data": {}, "opts": {"delay": HOUR}}]})
    alone(redis, real)
    found = call(queue_info, redis)
    assert [one["name"] for one in found["queues"]] == ["bills", "mail"]
    assert [one["verdict"] for one in found["queues"]] == ["idle", "no_workers"]
    assert (found["changed"], found["good"], found["bad"]) == (False, False, ["mail"])
    assert (found["totals"]["wait"], found["totals"]["delayed"]) == (3, 1)
    assert found["report"][1].startswith("no_workers  mail")
    assert found["queues"][0]["version"] == "5.81.5"
    assert not [name for one in found["queues"] for name in one if name.startswith("_")]
    assert call(queue_info, redis, queues=["b*"], language="fr")["report"][1].startswith("au repos  bills")
    (counted_only,) = call(queue_info, redis, queues=["mail"], detail="counts")["queues"]
    assert counted_only["counts"]["wait"] == 3 and "verdict" not in counted_only
    failed = call(queue_info, redis, fail_on=["no_workers"])
    assert failed["failed"] and failed["msg"].startswith("mail is no_workers: 3 jobs waiting")
    assert len(failed["queues"]) == 2


def test_module_says_what_is_wrong(redis: Database, call: Call) -> None:
    (missing,) = call(queue_info, redis, queues=["nobody"])["queues"]
    assert missing["verdict"] == "unknown" and "nobody: no queue has this name" in missing["evidence"][0]
    found = call(queue_info, redis, queues=["x-*"])
    assert found["queues"] == []
    assert "x-*: no queue with the prefix bull fits this pattern" in str(found["warnings"])
    wrong = call(queue_info, redis, queues=[""], prefix="", watch=-1, failed=0, version="5.1")
    for said in (
        "queues[0]: ''",
        "prefix: ''",
        "watch: '-1'",
        "failed: 0 is not more",
        "version: 5.1 says nothing without",
    ):
        assert said in wrong["msg"]
    pointless = call(queue_info, redis, detail="counts", fail_on=["paused"])
    assert pointless["failed"] and "counts has no verdict" in pointless["msg"]
    refused = call(queue_info, redis, port=1)
    assert refused["failed"] and refused["reason"] == "refused"


def test_who_writes_many_queues_is_asked_in_a_few_round_trips(redis: Database, call: Call) -> None:
    """As many for forty queues as for two, whether by name or by a pattern."""
    trips = []
    for many in (2, 40):
        names = [f"q{number:02}" for number in range(many)]
        redis.link.ask(*(("HSET", f"bull:{name}:meta", "version", "bullmq:5.81.5") for name in names))
        for asked in (names, ["q*"]):
            with Server(redis.options) as server:
                found = detected(server, {"queues": asked, "prefix": "bull", "library": "auto", "version": ""})
                trips.append(server.round_trips)
            assert [queue.name for queue, _flavour in found.queues] == names
            assert {flavour.version for _queue, flavour in found.queues} == {"5.81.5"}
    assert trips[:2] == trips[2:]
