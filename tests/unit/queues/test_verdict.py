# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What facts mean, and which of several troubles is named first."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import STATES
from ansible_collections.quai.ops.plugins.module_utils._queue_verdict import (
    GOOD,
    ORDER,
    VERDICTS,
    report,
    stalled_jobs,
    verdict,
)

LOST = {"id": "17", "since_s": 400.0, "seen_for_s": 0.0}


def facts(**changes: Any) -> dict[str, Any]:
    """A queue at work, with changes; C(counts) are merged."""
    found: dict[str, Any] = {
        "name": "mail",
        "library": "bullmq",
        "version": "5.81.5",
        "major": 5,
        "overdue": 0,
        "renewed": None,
        "counts": {**dict.fromkeys(STATES, 0), "wait": 4, "active": 1, "completed": 9},
        "waiting": 4,
        "oldest_wait_s": 30.0,
        "paused": False,
        "workers": 2,
        "throttled": {"limited": False, "limited_for_ms": 0, "concurrency": None, "full": False},
        "moving": None,
        "watched_s": 10.0,
        "idle_without_marker": False,
        "unlocked": [],
        "longest_active_s": 3.0,
        "parents": {"looked_at": 0, "stuck": []},
        "schedules": {"count": 0, "looked_at": 0, "dead": []},
        "ghosts": {"count": 0, "states": {}, "ids": {}, "complete": False},
        "orphans": None,
        "problems": [],
    }
    counts = {**found["counts"], **changes.pop("counts", {})}
    return {**found, **changes, "counts": counts}


NOTHING = {"counts": {"wait": 0, "active": 0}, "waiting": 0, "oldest_wait_s": 0.0}
IDLE_WORKERS = {"counts": {"active": 0}}
TROUBLES: list[tuple[str, dict[str, Any], str]] = [
    ("unknown", {"problems": ["bull:mail:wait is of another type"]}, "another type"),
    ("paused", {"paused": True}, "paused, 4 jobs waiting"),
    ("no_workers", {"workers": 0}, "no worker is connected"),
    ("stuck", {**IDLE_WORKERS, "moving": False}, "nothing was taken or finished in 10 s"),
    ("asleep", {**IDLE_WORKERS, "idle_without_marker": True}, "the marker that wakes workers is missing"),
    ("stalled", {"unlocked": [LOST]}, "1 active job without a lock, the longest for 7 min (17)"),
    (
        "parent_stuck",
        {"parents": {"looked_at": 1, "stuck": [{"id": "p", "why": "failed"}]}},
        "every child that is left",
    ),
    ("dead_schedule", {"schedules": {"count": 1, "looked_at": 1, "dead": [{"schedule": "nightly"}]}}, "nightly"),
    ("damaged", {"ghosts": {"count": 2, "states": {"wait": 2}, "ids": {}, "complete": True}}, "2 ids without a job"),
    ("damaged", {"orphans": {"count": 1, "ids": ["9"], "complete": False}}, "at least 1 job in no state"),
    (
        "throttled",
        {"throttled": {"limited": True, "limited_for_ms": 2500, "concurrency": None, "full": False}},
        "rate limit holds jobs back for 2.5 s",
    ),
    (
        "throttled",
        {"throttled": {"limited": False, "limited_for_ms": 0, "concurrency": 1, "full": True}},
        "all its concurrency of 1 allows",
    ),
    ("unknown", IDLE_WORKERS, "only watch can tell"),
    ("healthy", {}, "4 jobs waiting, the oldest for 30 s, 1 active, 2 workers connected"),
    ("healthy", {**IDLE_WORKERS, "moving": True}, "jobs move"),
    ("healthy", {"moving": False}, "locks are held"),
    ("idle", NOTHING, "nothing waits"),
]


@pytest.mark.parametrize(("wanted", "changes", "said"), TROUBLES)
def test_verdict(wanted: str, changes: Mapping[str, Any], said: str) -> None:
    found = verdict(facts(**copy.deepcopy(dict(changes))))
    assert found["verdict"] == wanted
    assert said in found["evidence"][0]
    assert wanted in VERDICTS
    assert bool(found["repair"]) == (wanted not in GOOD)


def test_precedence() -> None:
    """What stops work is named before what lost work, that before what slows it; everything is said."""
    whole = facts(
        workers=0,
        paused=True,
        unlocked=[LOST],
        parents={"looked_at": 1, "stuck": [{"id": "p", "why": "done"}]},
        schedules={"count": 1, "looked_at": 1, "dead": [{"schedule": "nightly"}]},
        ghosts={"count": 1, "states": {"wait": 1}, "ids": {}, "complete": True},
    )
    names = ["paused", "no_workers", "stalled", "parent_stuck", "dead_schedule", "damaged"]
    assert verdict(whole)["findings"] == names
    assert [name for name in ORDER if name in names] == names
    assert len(verdict(whole)["evidence"]) == len(names)
    assert verdict(whole)["repairs"] == ["stalled", "parents"]


def test_only_what_is_safe_is_suggested_unasked() -> None:
    assert verdict(facts(unlocked=[LOST]))["repairs"] == []
    assert verdict(facts(unlocked=[LOST], workers=None))["repairs"] == []
    assert verdict(facts(unlocked=[LOST], workers=0))["repairs"] == ["stalled"]
    for why, repairs in (("done", ["parents"]), ("lost", []), ("failed", [])):
        stuck = {"looked_at": 1, "stuck": [{"id": "p", "why": why}]}
        assert verdict(facts(parents=stuck))["repairs"] == repairs


def test_jobs_in_the_list_of_a_paused_queue() -> None:
    found = verdict(facts(counts={"wait": 0, "paused": 4, "active": 0}))
    assert (found["verdict"], found["repairs"]) == ("stuck", ["paused_list"])
    # Where jobs are when the queue is paused.
    assert verdict(facts(counts={"wait": 0, "paused": 4}, paused=True))["findings"] == ["paused"]


def test_delayed_jobs_of_bullmq_1_need_a_scheduler() -> None:
    found = verdict(facts(counts={"wait": 0, "active": 0}, overdue=4, major=1, moving=False))
    assert found["verdict"] == "stuck" and "QueueScheduler" in found["repair"][0]


def test_who_is_connected_may_be_unknown() -> None:
    found = verdict(facts(workers=None, counts={"active": 0}))
    assert found["verdict"] == "unknown"
    assert "who is connected is not known" in found["evidence"][0]


def test_waiting_for_a_short_time_is_no_trouble() -> None:
    assert verdict(facts(counts={"active": 0}, oldest_wait_s=1.0))["verdict"] == "healthy"
    assert verdict(facts(counts={"active": 0}, oldest_wait_s=1.0, idle_without_marker=True))["verdict"] == "healthy"


def test_a_limit_explains_that_nothing_moves() -> None:
    limits = {"limited": True, "limited_for_ms": 100, "concurrency": None, "full": False}
    assert verdict(facts(counts={"active": 0}, moving=False, throttled=limits))["findings"] == ["throttled", "healthy"]
    unknown = {**limits, "limited": None}
    assert "known to the workers only" in verdict(facts(counts={"active": 0}, throttled=unknown))["evidence"][0]


@pytest.mark.parametrize(
    ("since", "seen", "is_stalled"),
    [(59.9, 30.0, False), (60.0, 0.0, True), (None, 4.9, False), (None, 5.0, True)],
)
def test_stalled_for_long_enough(since: float | None, seen: float, is_stalled: bool) -> None:
    one = {"id": "17", "since_s": since, "seen_for_s": seen}
    assert bool(stalled_jobs({"unlocked": [one]})) is is_stalled
    assert bool(stalled_jobs({"unlocked": [{**one, "since_s": 10.0}]}, 10.0))


def test_report() -> None:
    good, bad = facts(name="good"), facts(name="bad", workers=0)
    unread = {
        "name": "odd",
        "library": None,
        "version": None,
        "major": None,
        "problems": ["odd: no queue of this name"],
    }
    results = [{**one, **verdict(one)} for one in (good, bad, unread)]
    lines = report(results)
    heads = "VERDICT QUEUE WAITING OLDEST ACTIVE DELAYED FAILED WORKERS VERSION"
    assert " ".join(lines[0].split()) == heads
    assert [line.split()[:2] for line in lines[1:4]] == [["unknown", "odd"], ["no_workers", "bad"], ["healthy", "good"]]
    assert lines[1].split()[2:] == ["?"] * 6 + ["?"]
    assert lines[2].split()[2:] == ["4", "30", "s", "1", "0", "0", "0", "bullmq", "5.81.5"]
    assert lines[4:] == [
        "",
        "odd: odd: no queue of this name",
        "odd: -> Check name, prefix and database; say library and version when the keys do not tell them.",
        "bad: 4 jobs waiting, the oldest for 30 s and no worker is connected",
        "bad: -> Start the workers of this queue.",
    ]
    french = report(results, "fr")
    assert french[0].split()[:2] == ["VERDICT", "FILE"]
    assert french[2].startswith("sans worker  bad")
    assert {len(line.rstrip()) <= 120 for line in french[:4]} == {True}
