# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every living queue is asked: does it wake, does its schedule go on; and everything at once, with the ledger."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.queues.live.agent import Live
from tests.queues.live.forked import Forks
from tests.queues.place import library_of

WAKES = 2.0  # seconds in which a sleeping worker has done a job, on a machine that is busy with other things
# What a queue keeps when all of its jobs are gone.
OWN_KEYS = {"meta", "id", "events", "marker", "stalled", "stalled-check", "repeat", "pc", "delay", "limiter", "delayed"}
DONE = ("completed", "failed")


def states(live: Live) -> list[str]:
    """The states that a queue of this version can have jobs in."""
    flavour = live.flavour
    found = ["completed", "failed", "delayed", "wait"]
    found += ["prioritized"] if flavour.prioritized else []
    return found + (["paused"] if flavour.paused_list else [])


def wakes(live: Live, **options: Any) -> None:
    """A sleeping worker takes a new job."""
    live.until_idle()
    live.until_done(live.add("next", **options), WAKES)


def ticking(live: Live) -> None:
    """The schedule goes on."""
    seen = live.ticks()
    # Workers of BullMQ 4 and older may sleep for 5 s (drainDelay) on a delayed job, whoever else is there or not.
    live.until("two more ticks of the schedule", lambda: live.ticks() >= seen + 2, 15)


def leftovers(live: Live) -> set[str]:
    """Keys that belong to no queue without jobs and to no schedule."""
    base = len(live.queue.base)
    names = {str(key)[base:] for key in live.wire("KEYS", f"{live.queue.base}*")}
    return {name for name in names - OWN_KEYS if not name.startswith("repeat:")}


def soak(live: Live, forks: Forks, *, jobs: int, concurrency: int, seconds: float = 60) -> Counter[str]:
    """Let everything happen at once; check the ledger; return how many jobs were removed, by state."""
    library, version = library_of(live.agent.package)
    common = {"options": live.database.options, "queue": live.name, "library": library, "version": version}
    waste = [{"state": state, "older_than": 0, "name": "waste"} for state in states(live) if state not in DONE]
    rules = [
        {"state": "completed", "older_than": 0},
        {"state": "failed", "older_than": 0, "name": "doomed"},
        *(rule for rule in waste if rule["state"] != "paused"),
    ]
    cleaning = {**common, "op": "clean", "rules": rules, "policy": {"chunk_ms": 0.5}}
    retrying = {**common, "op": "retry", "state": "failed", "failed_reason": "flaky"}
    removed: Counter[str] = Counter()

    def step() -> None:
        runs = [forks.start(asked) for asked in (cleaning, retrying, cleaning)]
        for number, run in enumerate(runs):
            found = run.result()
            assert "result" in found, found
            if number != 1:
                removed.update(found["result"]["removed"])

    live.do("work", concurrency=concurrency)
    live.do("schedule", every=250)
    live.do("produce", seed=7, most=jobs)
    while live.do("produced") < jobs:
        step()
    added = live.noted("added")

    def open_jobs() -> list[str]:
        step()
        kinds, done = live.noted("added"), live.done()
        left = [job for job in kinds if job not in done]
        exist = live.wire.many([("EXISTS", live.key(job)) for job in left]) if left else []
        return [job for job, there in zip(left, exist, strict=True) if there or kinds[job] not in ("doomed", "waste")]

    live.until("the end of all jobs", lambda: not open_jobs(), seconds)
    live.do("produced", stop=True)
    added = live.noted("added")
    ticking(live)
    runs, done, kinds = live.runs(), live.done(), live.noted("kinds")
    wrong = {
        job: (kind, runs.get(job), done.get(job))
        for job, kind in added.items()
        if not as_it_should(kind, runs.get(job, 0), done.get(job, 0))
    }
    assert not wrong, wrong
    ticks = {job for job, kind in kinds.items() if kind == "tick"}
    twice = {job for job in ticks if runs[job] != 1}
    assert not twice, twice
    assert set(runs) - set(added) == ticks, set(runs) - set(added) - ticks
    assert not live.strange(), live.strange()
    wakes(live)
    faults = live.do("faults")
    assert not faults, faults
    live.do("stop")
    step()
    assert not leftovers(live), leftovers(live)
    # Each by one of the clean-ups, and counted by it.
    assert removed["completed"] == sum(live.done().values()), (removed, sum(live.done().values()))
    return removed


def as_it_should(kind: str, runs: int, done: int) -> bool:
    """Whether a job ran as often as its kind says (see agent.js)."""
    if kind == "waste":
        return runs == done <= 1
    if kind == "doomed":
        return (runs, done) == (2, 0)
    return (runs, done) == (2 if kind in ("twice", "flaky") else 1, 1)
