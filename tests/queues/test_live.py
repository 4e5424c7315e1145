# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our operations at queues that live: real producers and workers of every version, and a ledger of every job's runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _queue_repair

from tests.queues.live import operations
from tests.queues.live.agent import Agent, Live
from tests.queues.live.forked import Forks
from tests.queues.live.playbook import play
from tests.queues.live.soak import DONE, WAKES, leftovers, soak, states, ticking, wakes
from tests.queues.place import Database, Place, each, library_of

VERSIONS = ("bull3", "bull4", "bullmq1", "bullmq3", "bullmq4", "bullmq5", "bullmq6")
SOAK_JOBS = 800


@pytest.fixture(scope="module")
def agents(packages: Place) -> Iterator[Callable[[str], Agent]]:
    """The process of a package, made anew when a test ended it."""
    known: dict[str, Agent] = {}

    def agent(package: str) -> Agent:
        if package not in known or not known[package].alive:
            known[package] = Agent(packages, package)
        return known[package]

    yield agent
    for one in known.values():
        one.__exit__()


@pytest.fixture(params=each(VERSIONS))
def live(request: pytest.FixtureRequest, agents: Callable[[str], Agent], redis: Database) -> Iterator[Live]:
    """A queue of one of the versions, without a worker yet."""
    with agents(request.param).queue(redis, "orders") as opened:
        yield opened


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    """Processes for our operations."""
    with Forks() as opened:
        yield opened


def clean(live: Live, *rules: dict[str, Any], now_ms: int | None = None, **policy: Any) -> Any:
    """Our clean-up."""
    return operations.clean(live.link, live.queue, live.flavour, rules, policy, now_ms=now_ms)


# --- everything at once -----------------------------------------------------------------------------------------------


def test_all_at_once(live: Live, forks: Forks) -> None:
    """Producers, workers, two clean-ups and a retry: each job runs as often as it should, and nothing is left."""
    soak(live, forks, jobs=SOAK_JOBS, concurrency=20)


# --- a worker after each operation ------------------------------------------------------------------------------------


def test_clean_of_finished_jobs(live: Live) -> None:
    """A worker that sleeps while finished jobs are removed takes the next job, and the schedule goes on."""
    live.do("work")
    live.do("schedule", every=200)
    live.until_done(live.add(count=5, data={"log": True}))
    failing = live.add("doomed", count=3, data={"fail": 9, "log": True})
    live.until("three failed jobs", lambda: set(failing) <= set(live.ids("failed")))
    live.until_idle()
    found = clean(live, {"state": "completed", "older_than": 0}, {"state": "failed", "older_than": 0})
    assert found.removed["failed"] == 3 and found.removed["completed"] >= 5
    assert not live.ids("failed")
    wakes(live)
    ticking(live)
    assert live.strange() == [] and live.do("faults") == []


def test_clean_of_delayed_jobs(live: Live) -> None:
    """When the job that a worker would wake up for is removed, the one after it still runs in its time."""
    live.do("work")
    live.do("schedule", every=200)
    near = live.add("near", count=3, delay=1500)
    later = live.add("later", count=2, delay=1700)
    live.until_idle()
    assert clean(live, {"state": "delayed", "older_than": 0, "name": "near"}).removed["delayed"] == 3
    wakes(live)
    live.until_done(later, 1.7 + WAKES)
    assert not set(near) & live.runs().keys()
    ticking(live)
    assert live.strange() == [] and live.do("faults") == []


def test_clean_of_all_delayed_jobs_keeps_the_schedule(live: Live) -> None:
    """The run of a schedule that is armed is a delayed job, and stays: else the schedule never fires again."""
    live.do("work")
    live.do("schedule", every=200)
    live.add(count=4, delay=60_000)
    for _turn in range(5):
        live.until_idle()
        clean(live, {"state": "delayed", "older_than": 0})
    assert len(live.ids("delayed")) <= 1
    ticking(live)
    wakes(live)
    live.until_done(live.add("late", delay=100), WAKES)
    assert live.strange() == [] and live.do("faults") == []


@pytest.mark.parametrize("everything", [False, True])
def test_clean_of_waiting_jobs(live: Live, everything: bool) -> None:
    """What waits in a paused queue is removed, all or in part, while its worker sleeps; the rest runs when resumed."""
    live.do("work")
    wakes(live)
    live.do("pause")
    waste = [*live.add("waste", count=7), *live.add("waste", count=4, priority=3), *live.add("waste", lifo=True)]
    keep = [] if everything else [*live.add("keep", count=3), *live.add("keep", count=2, priority=2)]
    rule = {"older_than": 0, **({} if everything else {"name": "waste"})}
    found = clean(live, *({"state": state, **rule} for state in states(live) if state not in (*DONE, "delayed")))
    assert sum(found.removed.values()) == len(waste)
    live.do("resume")
    live.until_done(keep, WAKES)
    wakes(live)
    wakes(live, priority=1)
    assert not set(waste) & live.runs().keys()
    assert live.strange() == [] and live.do("faults") == []
    live.do("stop")
    clean(live, {"state": "completed", "older_than": 0})
    assert leftovers(live) == set()


def test_clean_of_jobs_that_wait_behind_a_busy_worker(live: Live) -> None:
    """Nothing of the job that runs is touched, and the worker goes on with what is left."""
    live.do("work")
    live.until_idle()
    (busy,) = live.add("busy", data={"wait": 400})
    live.until("the job to begin", lambda: busy in live.runs())
    waste, keep = live.add("waste", count=40), live.add("keep", count=3)
    waiting = {"state": "wait", "older_than": 0, "name": "waste"}
    running = {"state": "active", "older_than": "5m"}
    found = clean(live, waiting, running, active="unlocked", second_look_ms=50, now_ms=_minutes_from_now(live))
    assert found.removed["wait"] == len(waste) and not found.removed.get("active")
    live.until_done([busy, *keep])
    assert not set(waste) & live.runs().keys()
    wakes(live)
    assert live.strange() == [] and live.do("faults") == []


def test_clean_of_parents_that_wait(live: Live) -> None:
    """A parent that waits for its children and is removed takes nothing with it; its children still run."""
    if live.flavour.bull:
        pytest.skip("Bull has no flows")
    child = {"name": "child", "queueName": live.name, "data": {}, "opts": {"delay": 700}}
    tree = live.do("flow", flow={"name": "parent", "queueName": live.name, "data": {}, "children": [child, child]})
    live.do("work")
    live.until_idle()
    found = clean(live, {"state": "waiting-children", "older_than": 0}, parents="upstream")
    assert found.removed["waiting-children"] == 1
    live.until_done([each["id"] for each in tree["children"]], 0.7 + WAKES)
    wakes(live)
    assert tree["id"] not in live.runs() and live.strange() == []


def test_clean_protects_a_parent(live: Live) -> None:
    """A failed child that its parent waits for is kept; retried, it runs, and so does the parent."""
    if live.flavour.bull:
        pytest.skip("Bull has no flows")
    child = {"name": "flaky", "queueName": live.name, "data": {"fail": 1}}
    tree = live.do("flow", flow={"name": "parent", "queueName": live.name, "data": {}, "children": [child]})
    live.do("work")
    live.until("a failed child", lambda: live.ids("failed"))
    found = clean(live, {"state": "failed", "older_than": 0})
    assert not found.removed.get("failed") and found.kept["parent"] == 1
    live.until_idle()
    operations.retry(live.link, live.queue, live.flavour)
    live.until_done([tree["id"]], WAKES)
    assert live.runs()[tree["id"]] == 1
    assert live.strange() == [] and live.do("faults") == []


def test_retry(live: Live) -> None:
    """A sleeping worker runs jobs that are put back, each once more; those of a paused queue when it is resumed."""
    live.do("work", concurrency=2)
    live.do("schedule", every=200)
    flaky = [*live.add("flaky", count=4, data={"fail": 1}), *live.add("flaky", count=2, data={"fail": 1}, priority=2)]
    live.until("failed jobs", lambda: set(flaky) <= set(live.ids("failed")))
    live.until_idle()
    operations.retry(live.link, live.queue, live.flavour)
    live.until_done(flaky, WAKES)
    live.do("pause")
    operations.retry(live.link, live.queue, live.flavour, "completed", name="flaky")
    assert not set(flaky) & set(live.ids("completed"))
    for _look in range(10):
        assert set(live.done().values()) == {1}
    live.do("resume")
    live.until("each to run again", lambda: all(live.done()[job] == 2 for job in flaky), WAKES)
    assert all(live.runs()[job] == 3 for job in flaky)
    wakes(live)
    ticking(live)
    assert live.strange() == [] and live.do("faults") == []


# --- pause and resume -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pauses", "resumes"), [("ours", "ours"), ("ours", "theirs"), ("theirs", "ours")])
def test_pause_and_resume(live: Live, pauses: str, resumes: str) -> None:
    """Nothing runs while a queue is paused; a sleeping worker goes on when it is resumed. Whoever does it."""
    live.do("work")
    live.do("schedule", every=200)
    wakes(live)
    if pauses == "ours":
        assert operations.pause(live.link, live.queue, live.flavour).changed
    else:
        live.do("pause")
    assert live.do("paused")
    jobs = [*live.add(count=3), *live.add(priority=2), *live.add(delay=50)]
    for _look in range(20):
        assert not set(jobs) & live.runs().keys()
    assert not operations.pause(live.link, live.queue, live.flavour).changed
    if resumes == "ours":
        assert operations.resume(live.link, live.queue, live.flavour).changed
    else:
        live.do("resume")
    assert not live.do("paused")
    live.until_done(jobs, WAKES)
    assert not operations.resume(live.link, live.queue, live.flavour).changed
    wakes(live)
    ticking(live)
    assert live.strange() == [] and live.do("faults") == []


def test_pause_and_wait_until_nothing_runs(live: Live) -> None:
    """A job that runs ends in a paused queue, those behind it wait, and the queue is drained when it has ended."""
    live.do("work", concurrency=2)
    live.until_idle()
    busy = live.add("busy", count=2, data={"wait": 500})
    live.until("jobs to begin", lambda: set(busy) <= live.runs().keys())
    behind = live.add(count=5)
    operations.pause(live.link, live.queue, live.flavour)
    waiting = [operations.Waiting(live.link, live.queue, live.flavour)]
    early = operations.drained(waiting, 0.0)
    assert not early.drained and {holder.id for holder in early.holders} == set(busy)
    assert operations.drained(waiting, 10.0).drained
    assert set(busy) <= live.done().keys() and not set(behind) & live.runs().keys()
    operations.resume(live.link, live.queue, live.flavour)
    live.until_done(behind, WAKES)
    assert live.strange() == [] and live.do("faults") == []


# --- repairs ----------------------------------------------------------------------------------------------------------


def repair(live: Live, *which: str, **options: Any) -> list[str]:
    """Our repair; the names of what it did."""
    server = live.database.server
    found = _queue_repair.repair(server, live.link, live.queue, live.flavour, which=which, **options)
    return [done.repair for done in found.done]


def forget_the_pause(live: Live) -> None:
    """Resume a queue as no library does: the flag goes, and nothing else happens."""
    live.wire("HDEL", live.key("meta"), "paused")
    live.wire("DEL", live.key("meta-paused"))


def test_repair_of_a_queue_that_sleeps(live: Live) -> None:
    """Jobs with a priority wait, the worker sleeps, and nothing wakes it: the repair does."""
    if live.flavour.bull or live.flavour.major < 4:
        pytest.skip("its workers wait for the list itself, which wakes them")
    live.do("work")
    wakes(live)
    live.do("pause")
    live.until_idle()
    jobs = live.add(count=3, priority=2)
    forget_the_pause(live)
    live.wire("DEL", live.key("marker"))
    live.until_idle()
    assert len(live.ids("prioritized")) == 3
    assert repair(live, "wake") == ["wake"]
    live.until_done(jobs, WAKES)
    assert repair(live, "wake") == []
    wakes(live)
    assert live.strange() == [] and live.do("faults") == []


def test_repair_of_a_forgotten_list(live: Live) -> None:
    """Jobs in C(paused) of a queue that is not paused run after the repair, the oldest first."""
    if not live.flavour.paused_list:
        pytest.skip("it has no such list")
    live.do("work")
    wakes(live)
    live.do("pause")
    jobs = live.add(count=5)
    forget_the_pause(live)
    assert live.ids("paused") == jobs[::-1]
    assert "paused_list" in repair(live, "paused_list", "wake")
    live.until_done(jobs, WAKES)
    assert live.ids("completed")[-5:] == jobs
    assert repair(live, "paused_list", "wake") == []
    wakes(live)
    assert live.strange() == [] and live.do("faults") == []


def test_repair_of_a_job_whose_worker_is_gone(live: Live) -> None:
    """A job that lies in C(active) without a lock runs, once, at once; one that a worker holds is left to it."""
    (lost,) = live.add()
    assert live.do("take") == lost
    live.wire("DEL", live.key(f"{lost}:lock"))
    live.do("work", concurrency=2)
    (busy,) = live.add("busy", data={"wait": 1500})
    live.until("the other job to begin", lambda: busy in live.runs())
    assert repair(live, "stalled", stalled_after=0.0, between=0.3) == ["stalled"]
    live.until_done([lost, busy], WAKES + 1.5)
    assert (live.runs()[lost], live.runs()[busy]) == (1, 1)
    # The processor notes its end before the worker tells Redis.
    live.until("the end of what was active", lambda: not live.ids("active"))
    wakes(live)
    assert live.strange() == [] and live.do("faults") == []


def test_repair_of_a_parent_that_was_not_told(live: Live) -> None:
    """A parent whose last child is done, but that waits on, runs."""
    if live.flavour.bull:
        pytest.skip("Bull has no flows")
    child = {"name": "child", "queueName": live.name, "data": {}, "opts": {"delay": 3_600_000}}
    tree = live.do("flow", flow={"name": "parent", "queueName": live.name, "data": {}, "children": [child]})
    live.do("work")
    live.until_idle()
    # As a crash of the application's own script may leave it: the child is gone, the parent was not released.
    (key,) = live.wire("SMEMBERS", live.key(f"{tree['id']}:dependencies"))
    live.wire("DEL", live.key(f"{tree['id']}:dependencies"), key)
    live.wire("ZREM", live.key("delayed"), key.removeprefix(live.queue.base))
    assert repair(live, "parents", now_ms=_minutes_from_now(live)) == ["parents"]
    live.until_done([tree["id"]], WAKES)
    assert live.runs()[tree["id"]] == 1
    assert live.strange() == []


def _minutes_from_now(live: Live) -> int:
    return int(live.wire("TIME")[0]) * 1000 + 600_000


# --- by Ansible -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("live", ["bullmq6"], indirect=True)
def test_modules(live: Live, tmp_path: Path) -> None:
    """A day of an operator, by Ansible: look, retry, clean, pause, wait, look, resume, look; the worker follows."""
    live.do("work")
    live.do("schedule", every=500)
    live.until_done(live.add(count=6))
    flaky = live.add("flaky", count=3, data={"fail": 1})
    live.until("failed jobs", lambda: set(flaky) <= set(live.ids("failed")))
    library, version = library_of(live.agent.package)
    options = live.database.options
    given = {
        "host": options["host"],
        "port": options["port"],
        "queues": [live.name],
        "library": library,
        "version": version,
    }
    retrying = {"action": "retry", "rules": [{"state": "failed", "older_than": 0}]}
    cleaning = {"rules": [{"state": "completed", "older_than": 0, "name": "plain"}]}
    look = {key: value for key, value in given.items() if key not in ("library", "version")}
    played = play(
        tmp_path,
        (
            ("queue_info", look),
            ("queue_cleanup", {**given, **retrying}),
            ("queue_cleanup", {**given, **cleaning}),
            ("queue_cleanup", {**given, **cleaning}),
            ("queue_state", {**given, "state": "drained", "wait": "10s"}),
            ("queue_info", look),
            ("queue_state", {**given, "state": "running"}),
            ("queue_repair", look),
        ),
    )
    seen, retried, cleaned, again, drained, paused, resumed, repaired = played.results
    assert not any(result.get("failed") for result in played.results), played.output
    assert [result["changed"] for result in (retried, cleaned, again, drained, resumed)] == [
        True,
        True,
        False,
        True,
        True,
    ]
    assert seen["queues"][0]["verdict"] in ("healthy", "idle")
    assert paused["queues"][0]["verdict"] == "paused"
    assert not repaired["changed"], repaired
    live.until_done(flaky, WAKES)
    assert all(live.runs()[job] == 2 for job in flaky)
    wakes(live)
    ticking(live)
    assert live.strange() == [] and live.do("faults") == []
