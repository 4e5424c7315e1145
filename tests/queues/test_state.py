# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pausing, resuming, waiting until nothing runs; and the module quai.ops.queue_state."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _queue_state
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour, Queue, QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._queue_state import Waiting, drained, pause, resume
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, RedisFailed
from ansible_collections.quai.ops.plugins.module_utils._resp import text
from ansible_collections.quai.ops.plugins.modules import queue_state

from lab.wait import until
from tests.module import outcome
from tests.queues import snapshot
from tests.queues.generator import case_of
from tests.queues.harness import World, flavour_of, run_case
from tests.queues.place import PACKAGES, Database, Node, Place

MAIL = Queue("bull", "mail")
LISTS = ["bull3", "bull4", "bullmq1", "bullmq2", "bullmq3", "bullmq4", "bullmq568", "bullmq5"]
BLOCKING = {"bullmq5": "bzpopmin", "bullmq568": "bzpopmin", "bullmq6": "bzpopmin"}
WAKES = 1.0
Packages = Callable[[str], Node]
Call = Callable[..., dict[str, Any]]


def ids(link: Link, suffix: str, queue: Queue = MAIL) -> list[str]:
    """The ids of a list."""
    return [text(one) for one in link.call("LRANGE", queue.key(suffix), 0, -1)]


def flag(link: Link, flavour: Flavour) -> None:
    """Mark a queue as paused, and move nothing."""
    link.call("HSET", MAIL.key("meta"), "paused", 1)
    if flavour.bull:
        link.call("SET", MAIL.key("meta-paused"), 1)


def asleep(link: Link, package: str) -> None:
    """Wait until a worker waits for jobs."""
    command = BLOCKING.get(package, "brpoplpush")

    def blocked() -> bool:
        clients = text(link.call("CLIENT", "LIST")).splitlines()
        return any(f"cmd={command}" in line and "flags=b" in line for line in clients)

    until(f"a worker of {package} to wait for jobs", blocked, seconds=20)


@pytest.fixture(scope="module")
def world(packages: Place, redis_server: Database) -> World:
    """The databases of comparisons."""
    return World(packages, redis_server)


# --- as the package does it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", PACKAGES)
def test_as_the_package(world: World, package: str) -> None:
    """The same keys as after pause() and resume(), whatever the queue holds."""
    for seed in range(9100, 9108):
        case = case_of(seed, package)
        assert run_case(world, "state", case) == [], f"{package} seed {seed}"


@pytest.mark.parametrize("package", PACKAGES)
def test_worker_stops_and_wakes(redis: Database, node: Packages, package: str) -> None:
    """While a queue is paused a sleeping worker leaves jobs alone; it goes on within a second when it is resumed."""
    real = node(package)
    flavour = flavour_of(package)
    where = {"redis": redis.node, "queue": "mail"}
    real.call("worker", {**where, "name": "w", "worker": {"drainDelay": 30}})
    try:
        asleep(redis.link, package)
        change = pause(redis.link, MAIL, flavour)
        assert (change.changed, change.paused_before, change.paused) == (True, False, True)
        jobs = [{"name": "plain"}, {"name": "urgent", "opts": {"priority": 1}}, {"name": "soon", "opts": {"delay": 20}}]
        if package == "bullmq1":
            # There, delayed jobs need a process of their own.
            del jobs[2]
        real.call("add", {**where, "jobs": jobs})
        assert not pause(redis.link, MAIL, flavour).changed
        # A job that is added to another queue meanwhile shows that time enough has passed for this one.
        real.call("add", {**where, "queue": "other", "jobs": [{"name": "x"}]})
        assert real.call("work", {**where, "queue": "other", "count": 1})
        assert real.call("ran", {"name": "w"})["done"] == []
        began = time.monotonic()
        assert resume(redis.link, MAIL, flavour).changed
        until("the waiting jobs to run", lambda: len(real.call("ran", {"name": "w"})["done"]) >= 2, seconds=20)
        assert time.monotonic() - began < WAKES + 1
        until("the delayed job to run", lambda: len(real.call("ran", {"name": "w"})["done"]) == len(jobs), seconds=20)
        assert not resume(redis.link, MAIL, flavour).changed
    finally:
        real.call("stop", {"name": "w", "force": True})


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_is_written_twice(redis: Database, package: str) -> None:
    """A second pause and a second resume write nothing, and neither does a dry run."""
    link, flavour = redis.link, flavour_of(package)
    link.call("LPUSH", MAIL.key("wait"), "2", "1")
    for change_of in (pause, resume):
        before = snapshot.take(link)
        assert change_of(link, MAIL, flavour, dry=True).changed
        assert snapshot.take(link) == before
        assert change_of(link, MAIL, flavour).changed
        after = snapshot.take(link)
        assert not change_of(link, MAIL, flavour).changed
        assert snapshot.take(link) == after


# --- where the package loses jobs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", LISTS)
@pytest.mark.parametrize("page", [1, 2, 3500])
def test_pause_joins(redis: Database, package: str, page: int) -> None:
    """Jobs left in paused are older than those in wait, and stay in front of them."""
    link, flavour = redis.link, flavour_of(package)
    link.ask(("RPUSH", MAIL.key("wait"), "7", "6", "5"), ("RPUSH", MAIL.key("paused"), "4", "3", "2", "1"))
    assert pause(link, MAIL, flavour, page=page).changed
    assert (ids(link, "wait"), ids(link, "paused")) == ([], list("7654321"))
    assert not pause(link, MAIL, flavour).changed


@pytest.mark.parametrize("package", LISTS)
@pytest.mark.parametrize("page", [1, 2, 3500])
def test_paused_queue_with_jobs_in_wait(redis: Database, package: str, page: int) -> None:
    """Where a retry of an old version put them: their workers would take them. They are behind those in paused."""
    link, flavour = redis.link, flavour_of(package)
    flag(link, flavour)
    link.ask(("RPUSH", MAIL.key("wait"), "7", "6", "5"), ("RPUSH", MAIL.key("paused"), "4", "3", "2", "1"))
    change = pause(link, MAIL, flavour, page=page)
    assert (change.changed, change.paused_before, change.moved, change.jobs) == (True, True, 3, 7)
    assert (ids(link, "wait"), ids(link, "paused")) == ([], list("7654321"))
    assert not pause(link, MAIL, flavour).changed


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("page", [1, 2, 3500])
@pytest.mark.parametrize("flagged", [True, False])
def test_resume_joins(redis: Database, package: str, page: int, flagged: bool) -> None:
    """Jobs in both lists, or left in paused by a version that is gone: none is lost, all are in order, workers wake."""
    link, flavour = redis.link, flavour_of(package)
    if flagged:
        flag(link, flavour)
    link.ask(("RPUSH", MAIL.key("wait"), "7", "6", "5"), ("RPUSH", MAIL.key("paused"), "4", "3", "2", "1"))
    change = resume(link, MAIL, flavour, page=page)
    assert (change.changed, change.paused_before, change.paused, change.moved) == (True, flagged, False, 4)
    assert (ids(link, "wait"), ids(link, "paused")) == (list("7654321"), [])
    assert not link.call("HEXISTS", MAIL.key("meta"), "paused") and not link.call("EXISTS", MAIL.key("meta-paused"))
    assert bool(link.call("EXISTS", MAIL.key("marker"))) == flavour.marker_set
    assert not resume(link, MAIL, flavour).changed


@pytest.mark.parametrize("package", LISTS)
@pytest.mark.parametrize("change_of", [pause, resume])
def test_one_list_is_renamed(redis: Database, package: str, change_of: Callable[..., Any]) -> None:
    """Where only one holds jobs, however many, none has to be moved."""
    link, flavour = redis.link, flavour_of(package)
    source, target = ("wait", "paused") if change_of is pause else ("paused", "wait")
    if change_of is resume:
        flag(link, flavour)
    link.call("RPUSH", MAIL.key(source), *"54321")
    change = change_of(link, MAIL, flavour, page=2)
    assert (change.changed, change.moved, change.jobs) == (True, 0, 5)
    assert (ids(link, source), ids(link, target)) == ([], list("54321"))


@pytest.mark.parametrize(
    ("package", "state", "mark"),
    [
        ("bullmq4", "prioritized", ("wait", ["0:0"])), ("bullmq5", "prioritized", ("marker", ["0"])),
        ("bullmq6", "prioritized", ("marker", ["0"])), ("bullmq5", "delayed", ("marker", ["1"])),
        ("bullmq6", "delayed", ("marker", ["1"])),
    ],
)  # fmt: skip
def test_resume_wakes_for_what_is_in_no_list(redis: Database, package: str, state: str, mark: Any) -> None:
    """Only jobs with a priority, or only delayed ones."""
    link, flavour = redis.link, flavour_of(package)
    flag(link, flavour)
    link.call("ZADD", MAIL.key(state), 1_790_000_000_000 * 4096, "1")
    assert resume(link, MAIL, flavour).changed
    read = ("LRANGE", 0, -1) if mark[0] == "wait" else ("ZRANGE", 0, -1)
    assert [text(one) for one in link.call(read[0], MAIL.key(mark[0]), *read[1:])] == mark[1]


def test_marker_in_the_list_is_no_job(redis: Database) -> None:
    """What wakes workers of BullMQ 4 may be left in the list of a paused queue; nothing has to be done about it."""
    flavour = flavour_of("bullmq4")
    flag(redis.link, flavour)
    redis.link.call("RPUSH", MAIL.key("wait"), "0:0")
    assert not pause(redis.link, MAIL, flavour).changed


def test_bull_heeds_its_own_mark(redis: Database) -> None:
    """Bull's workers do not look at the mark of BullMQ: with that alone, the queue is not paused."""
    flavour = flavour_of("bull4")
    redis.link.ask(("HSET", MAIL.key("meta"), "paused", 1), ("RPUSH", MAIL.key("wait"), "1"))
    change = pause(redis.link, MAIL, flavour)
    assert change.changed and not change.paused_before
    assert ids(redis.link, "paused") == ["1"] and redis.link.call("EXISTS", MAIL.key("meta-paused"))


@pytest.mark.parametrize("suffix", ["wait", "paused", "meta", "events", "marker", "prioritized", "delayed"])
@pytest.mark.parametrize("change_of", [pause, resume])
def test_wrong_type(redis: Database, suffix: str, change_of: Callable[..., Any]) -> None:
    """A key of another type is named, and nothing is half done."""
    link, flavour = redis.link, flavour_of("bullmq5")
    if change_of is resume and suffix != "meta":
        flag(link, flavour)
    link.call("SET", MAIL.key(suffix), "x")
    before = snapshot.take(link)
    with pytest.raises(RedisFailed, match=f"bull:mail:{suffix}") as caught:
        change_of(link, MAIL, flavour)
    assert caught.value.reason == "type"
    assert snapshot.take(link) == before


@pytest.mark.parametrize("command", ["rename", "hset", "xadd", "del"])
def test_user_without_a_command(redis: Database, command: str) -> None:
    """What a user may not run is found before anything is written."""
    link = redis.link
    link.ask(("RPUSH", MAIL.key("wait"), "1"), ("ZADD", MAIL.key("marker"), 0, "0"))
    link.call("ACL", "SETUSER", "part", "on", ">pw", "~*", "&*", "+@all", f"-{command}")
    before = snapshot.take(link)
    try:
        options = {**redis.options, "user": "part", "password": "pw"}
        other = Database(redis.place, redis.program, options, redis.port, "", ())
        with pytest.raises(RedisFailed) as caught:
            pause(other.link, MAIL, flavour_of("bullmq5"))
        other.disconnect()
    finally:
        link.call("ACL", "DELUSER", "part")
    assert caught.value.reason == "auth" and command in str(caught.value).lower()
    assert snapshot.take(link) == before


def test_unknown_version(redis: Database) -> None:
    with pytest.raises(QueueProblem, match="give library: bullmq and its version"):
        pause(redis.link, MAIL, Flavour("bullmq", 0, "", "it has a stream of events"))


# --- drained ---------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that goes on when somebody sleeps; C(then) happens at its times."""

    def __init__(self, **then: Any) -> None:
        self.now = 100.0
        self.then: list[tuple[float, Callable[[], Any]]] = then.get("then", [])

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Go on."""
        assert 0 < seconds <= _queue_state.POLL_SECONDS[1]
        self.now += seconds
        while self.then and self.then[0][0] <= self.now:
            self.then.pop(0)[1]()


@pytest.mark.parametrize("package", PACKAGES)
def test_drained(redis: Database, node: Packages, package: str) -> None:
    """The job that a worker holds is named until it ends."""
    real = node(package)
    where = {"redis": redis.node, "queue": "mail"}
    real.call("add", {**where, "jobs": [{"name": "send"}]})
    (job,) = real.call("take", {**where, "count": 1})
    at = [Waiting(redis.link, MAIL, flavour_of(package))]
    clock = Clock()
    found = drained(at, 3.0, clock=clock, sleep=clock.sleep)
    assert (found.drained, found.active) == (False, {"mail": 1})
    assert found.waited == pytest.approx(3.0)
    (holder,) = found.holders
    assert (holder.queue, holder.id, holder.name) == ("mail", job, "send")
    assert holder.since_ms is not None and holder.seconds is not None and 0 <= holder.seconds < 60
    assert holder.lock_ms is not None and 0 < holder.lock_ms <= 30_000
    redis.link.call("DEL", MAIL.key(f"{job}:lock"))
    assert drained(at, 0).holders[0].lock_ms is None
    clock = Clock(then=[(101.0, lambda: redis.link.call("LREM", MAIL.key("active"), 0, job))])
    found = drained(at, 3.0, clock=clock, sleep=clock.sleep)
    assert (found.drained, found.active, found.holders) == (True, {"mail": 0}, ())
    assert 1.0 <= found.waited < 1.0 + 2 * _queue_state.POLL_SECONDS[1]


def test_drained_for_a_while(redis: Database) -> None:
    """With stable_for, a job that begins in between makes it begin to count again."""
    link = redis.link
    at = [Waiting(link, MAIL, flavour_of("bullmq5")), Waiting(link, Queue("bull", "other"), flavour_of("bullmq5"))]
    other = "bull:other:active"
    begin, end = (lambda: link.call("LPUSH", other, "1")), (lambda: link.call("DEL", other))
    clock = Clock(then=[(101.0, begin), (102.0, end)])
    found = drained(at, 10.0, stable_for=2.0, clock=clock, sleep=clock.sleep)
    assert found.drained and 4.0 <= found.waited < 5.0
    clock = Clock(then=[(101.0, begin)])
    assert not drained(at, 4.0, stable_for=2.0, clock=clock, sleep=clock.sleep).drained


@pytest.mark.parametrize("package", ["bullmq2", "bullmq3", "bullmq4"])
def test_what_wakes_a_worker_is_not_active(redis: Database, package: str) -> None:
    at = [Waiting(redis.link, MAIL, flavour_of(package))]
    redis.link.call("LPUSH", MAIL.key("active"), "0:1790000000000", "0:0", "0")
    assert drained(at, 0).drained
    redis.link.call("LPUSH", MAIL.key("active"), "10")
    found = drained(at, 0)
    assert found.active == {"mail": 1} and [holder.id for holder in found.holders] == ["10"]
    assert found.holders[0].since_ms is None and found.holders[0].seconds is None


# --- the module ------------------------------------------------------------------------------------------------------


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], redis: Database) -> Call:
    """Run the module with options; returns what it prints."""

    def run(*, check: bool = False, **options: Any) -> dict[str, Any]:
        host = {"host": redis.options["host"], "port": redis.port, "queues": ["mail"], **options}
        return outcome(queue_state, {**host, "_ansible_check_mode": check, "_ansible_diff": True}, capsys)

    return run


def made(redis: Database, node: Packages, *queues: str, package: str = "bullmq5", take: int = 0) -> None:
    """Queues with two jobs each, some of them taken."""
    for queue in queues:
        where = {"redis": redis.node, "queue": queue}
        # The package writes this once for each of its Queue objects, which outlive a test.
        redis.link.call("HSET", f"bull:{queue}:meta", "version", f"bullmq:{node(package).version}")
        node(package).call("add", {**where, "jobs": [{"name": "a"}, {"name": "b"}]})
        node(package).call("take", {**where, "count": take})


def test_module(redis: Database, node: Packages, call: Call) -> None:
    """Check mode predicts, a second run changes nothing, the diff shows the queues."""
    made(redis, node, "mail", "report-a", "report-b")
    pause(redis.link, Queue("bull", "report-b"), flavour_of("bullmq5"))
    options = {"state": "paused", "queues": ["mail", "report-*"]}
    before = snapshot.take(redis.link)
    plan = call(check=True, **options)
    assert snapshot.take(redis.link) == before
    done = call(**options)
    assert plan["changed"] is done["changed"] is True
    assert (plan["diff"], plan["queues"]) == (done["diff"], done["queues"])
    assert done["diff"]["before"] == "mail: running\nreport-a: running\nreport-b: paused\n"
    assert done["diff"]["after"] == "mail: paused\nreport-a: paused\nreport-b: paused\n"
    first, _second, third = done["queues"]
    assert (first["name"], first["library"], first["version"]) == ("mail", "bullmq", "5.81.5")
    assert (first["changed"], first["paused_before"], first["paused"]) == (True, False, True)
    assert (first["waiting"], first["active"], first["moved"]) == (2, 0, 0)
    assert (third["changed"], third["paused_before"], third["paused"]) == (False, True, True)
    after = snapshot.take(redis.link)
    again = call(**options)
    assert again["changed"] is False and again["diff"]["before"] == again["diff"]["after"]
    assert snapshot.take(redis.link) == after
    assert call(state="running", queues=["*"], check=True)["changed"]
    assert call(state="running", queues=["*"])["diff"]["after"].count("running") == 3
    assert not call(state="running", queues=["*"])["changed"]


def test_module_drains(redis: Database, node: Packages, call: Call) -> None:
    """It pauses and waits for what runs in one call; what waits stays."""
    made(redis, node, "mail", take=1)
    plan = call(state="drained", check=True)
    assert plan["changed"] and plan["queues"][0]["active"] == 1 and "waited" not in plan
    finishing = threading.Timer(0.3, lambda: node("bullmq5").call("script", {"source": FINISH, "given": _where(redis)}))
    finishing.start()
    done = call(state="drained", wait="20s")
    finishing.join()
    assert done["changed"] and done["waited"] > 0.2
    (mail,) = done["queues"]
    assert (mail["paused"], mail["active"], mail["waiting"]) == (True, 0, 1)
    again = call(state="drained", wait="20s")
    assert not again["changed"] and again["waited"] < 5


FINISH = """
    const queue = queueOf(given);
    const [job] = await queue.getActive();
    await job.moveToCompleted("done", "token", false);
"""


def _where(redis: Database) -> dict[str, Any]:
    return {"redis": redis.node, "queue": "mail"}


@pytest.mark.parametrize("on_timeout", ["resume", "leave"])
def test_module_gives_up(redis: Database, node: Packages, call: Call, on_timeout: str) -> None:
    """The jobs that still run are named; what this call paused, and only that, runs again unless asked otherwise."""
    made(redis, node, "mail", "other", take=1)
    pause(redis.link, Queue("bull", "other"), flavour_of("bullmq5"))
    before = snapshot.take(redis.link)
    found = call(state="drained", queues=["mail", "other"], wait="100ms", on_timeout=on_timeout)
    assert found["failed"] and found["reason"] == "active"
    assert found["msg"].startswith("jobs are still active after 0.1 s: 1 of mail, 1 of other: mail 1 (a, for ")
    assert "s, locked by a worker)" in found["msg"]
    assert [(one["queue"], one["id"]) for one in found["holders"]] == [("mail", "1"), ("other", "1")]
    after = snapshot.take(redis.link)
    assert [one["paused"] for one in found["queues"]] == [on_timeout == "leave", True]
    assert found["changed"] is (on_timeout == "leave")
    if on_timeout == "resume":
        assert "runs again" in found["msg"]
        events = ("bull:mail:events", "bull:mail:marker")
        assert {k: v for k, v in after.items() if k not in events} == {
            k: v for k, v in before.items() if k not in events
        }  # fmt: skip
    else:
        assert redis.link.call("HEXISTS", "bull:mail:meta", "paused") == 1


def test_module_without_pausing(redis: Database, node: Packages, call: Call) -> None:
    made(redis, node, "mail", take=1)
    before = snapshot.take(redis.link)
    found = call(state="drained", pause=False, wait="50ms")
    assert found["failed"] and not found["changed"] and not found["queues"][0]["paused"]
    redis.link.call("DEL", "bull:mail:active")
    done = call(state="drained", pause=False, wait="5s", stable_for="50ms")
    assert not done["changed"] and done["queues"][0]["paused"] is False and done["waited"] >= 0.05
    assert snapshot.take(redis.link) == {key: value for key, value in before.items() if key != "bull:mail:active"}


@pytest.mark.parametrize("check", [True, False])
def test_module_missing(redis: Database, node: Packages, call: Call, check: bool) -> None:
    """A name that no queue has: nothing is done, unless it may be missing."""
    made(redis, node, "mail")
    before = snapshot.take(redis.link)
    found = call(state="paused", queues=["mail", "mial", "x-*"], check=check)
    assert found["failed"]
    assert found["msg"].startswith("mial: no queue has this name with the prefix bull (there is mail), or nothing")
    assert "; nothing was changed (missing: skip goes on without)" in found["msg"]
    assert snapshot.take(redis.link) == before
    done = call(state="paused", queues=["mail", "mial", "x-*"], missing="skip", check=check)
    assert done["changed"] and done["skipped_queues"] == ["mial", "x-*"]
    assert "x-*: no queue with the prefix bull fits this pattern" in str(done["warnings"])
    assert "bull:mial:meta" not in snapshot.take(redis.link)
    fits = call(state="running", queues=["mail", "x-*"], check=check)
    assert not fits.get("failed") and fits["skipped_queues"] == ["x-*"]


def test_module_finds_all_problems_first(redis: Database, node: Packages, call: Call) -> None:
    """What is wrong with the second queue is found before the first one is paused."""
    made(redis, node, "mail")
    redis.link.call("XADD", "bull:old:events", "*", "event", "x")
    before = snapshot.take(redis.link)
    found = call(state="paused", queues=["mail", "old"])
    assert found["failed"] and found["msg"].startswith("old: which version of BullMQ writes it cannot be told")
    assert snapshot.take(redis.link) == before
    assert call(state="paused", queues=["old"], library="bullmq", version="2.4.0")["changed"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"wait": "soon"}, "wait: 'soon' is no duration such as 7d"),
        ({"wait": "1s", "stable_for": "2s"}, "stable_for (2s) cannot be longer than wait (1s)"),
        ({"queues": []}, "queues: [] names no queue"),
        ({"queues": ["mail", ""], "prefix": ""}, "queues[1]: '' names no queue; prefix: '' is no prefix"),
        ({"version": "5.1.0"}, "version: 5.1.0 says nothing without library"),
    ],
)
def test_module_bad_input(redis: Database, call: Call, options: dict[str, Any], words: str) -> None:
    found = call(state="drained", **options)
    assert found["failed"] and words in found["msg"]
    assert snapshot.take(redis.link) == {}


def test_module_loses_redis(packages: Place, node: Packages, capsys: pytest.CaptureFixture[str]) -> None:
    """When Redis goes while it waits, it says which queues it had paused."""
    own = packages.serve()
    try:
        made(own, node, "mail", take=1)
        watch: Sequence[threading.Timer] = [threading.Timer(0.5, own.kill)]
        watch[0].start()
        given = {"host": own.options["host"], "port": own.port, "queues": ["mail"], "state": "drained", "wait": "30s"}
        found = outcome(queue_state, given, capsys)
        watch[0].join()
    finally:
        own.kill()
    assert found["failed"] and "; mail had been paused before that and may still be" in found["msg"]
