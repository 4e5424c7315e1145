# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules and policies of the clean-up, and the pace of its scripts: no Redis."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour, Queue, QueueProblem, escaped
from ansible_collections.quai.ops.plugins.module_utils._queue_pace import FIRST, LARGEST, SMALLEST, Pace
from ansible_collections.quai.ops.plugins.module_utils._queue_rules import (
    Policy,
    Rule,
    by_state,
    ceiling,
    check,
    clock_fields,
    duration,
    lua_glob,
    rules,
)

BULLMQ6 = Flavour("bullmq", 6, "6.7.0", "")
BULLMQ3 = Flavour("bullmq", 3, "3.16.2", "")
BULL = Flavour("bull", 4, "4.16.5", "")


@pytest.mark.parametrize(
    ("given", "milliseconds"),
    [("7d", 604_800_000), ("24h", 86_400_000), ("90s", 90_000), ("15m", 900_000), ("2w", 1_209_600_000), ("500ms", 500),
     (86400, 86_400_000), ("86400", 86_400_000), (0, 0), ("1.5h", 5_400_000), (0.001, 1), (" 5 m ", 300_000)],
)  # fmt: skip
def test_durations(given: Any, milliseconds: int) -> None:
    assert duration(given) == milliseconds


@pytest.mark.parametrize("given", ["", "d", "7 days", "-1d", -1, None, True, [1], "1e3", "7D", "101000d", "7d\n8d"])
def test_no_durations(given: Any) -> None:
    with pytest.raises(ValueError, match=r"no duration such as 7d|longer than"):
        duration(given)


def test_rules_are_read() -> None:
    assert rules(
        [
            {"state": "completed", "older_than": "7d"},
            {"state": "failed", "older_than": 5, "keep_last": 0, "limit": "50", "name": "a*", "failed_reason": "E?"},
            {"state": "waiting", "older_than": 0, "clock": "created", "limit": None},
        ]
    ) == [
        Rule("completed", 604_800_000),
        Rule("failed", 5000, 0, 50, "a*", "E?"),
        Rule("waiting", 0, None, None, "", "", "created"),
    ]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"state": "repeat", "older_than": 1}, "state: 'repeat' is none of completed, failed"),
        ({"older_than": 1}, "state: None is none of"),
        ({"state": "completed"}, "needs older_than or keep_last"),
        ({"state": "completed", "older_then": 1}, "older_then: not known, did you mean older_than?"),
        ({"state": "completed", "older_than": "soon"}, "older_than: 'soon' is no duration"),
        ({"state": "completed", "keep_last": -1}, "keep_last: -1 is no whole number of at least 0"),
        ({"state": "completed", "keep_last": True}, "keep_last: True is no whole number"),
        ({"state": "completed", "older_than": 1, "limit": 0}, "limit: 0 is no whole number of at least 1"),
        ({"state": "delayed", "keep_last": 5}, "keep_last: delayed is not sorted by age"),
        ({"state": "waiting", "keep_last": 5}, "keep_last: waiting is more than one list"),
        ({"state": "wait", "older_than": 1, "failed_reason": "x"}, "only failed jobs have one"),
        ({"state": "wait", "older_than": 1, "clock": "finished"}, "clock: wait jobs are not finished"),
        ({"state": "wait", "older_than": 1, "clock": "now"}, "clock: 'now' is none of auto, finished"),
        ({"state": "wait", "older_than": 1, "name": 5}, "name: 5 is no text"),
        ({"state": "wait", "older_than": 1, "name": "*a" * 17}, r"name: more than 16 \*"),
        ({"state": "wait", "older_than": 1, "name": "[é]"}, "letters beyond ASCII"),
    ],
)
def test_wrong_rules(rule: Any, problem: str) -> None:
    with pytest.raises(QueueProblem, match=rf"^rules\[1\].*{problem}"):
        rules([{"state": "completed", "older_than": 1}, rule])


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(QueueProblem) as told:
        rules([{"state": "x", "older_than": "y"}, {"limit": "z", "older_than": 1}, {"state": "failed"}])
    assert [part.partition(":")[0] for part in str(told.value).split("; ")] == [
        "rules[0].state",
        "rules[0].older_than",
        "rules[1].state",
        "rules[1].limit",
        "rules[2]",
    ]


@pytest.mark.parametrize("given", [None, "completed", {"state": "completed"}])
def test_no_rules(given: Any) -> None:
    with pytest.raises(QueueProblem, match="a list of rules is needed"):
        rules(given)


@pytest.mark.parametrize(
    ("most", "total", "allowed"),
    [(None, 5, None), (7, 5, 7), ("7", 5, 7), ("20%", 10, 2), ("0%", 9, 0), ("100 %", 9, 9)],
)
def test_ceilings(most: Any, total: int, allowed: int | None) -> None:
    assert ceiling(most, total) == allowed


@pytest.mark.parametrize("most", ["101%", "-1", -1, True, "many", "%", "", "1.5"])
def test_no_ceilings(most: Any) -> None:
    with pytest.raises(QueueProblem, match="neither a number of jobs nor a percentage"):
        ceiling(most, 10)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"parents": "release"}, "parents: 'release' is none of protect, upstream"),
        ({"ghosts": "yes"}, "ghosts: 'yes'"),
        ({"chunk_ms": 0}, "chunk_ms: 0 is not between"),
        ({"duty": 0}, "duty: 0 is not between"),
        ({"max_seconds": 0}, "max_seconds: 0 is not more than 0"),
        ({"events_maxlen": 0}, "events_maxlen: 0 is not at least 1"),
        ({"lock_ms": 30}, "lock_duration: 30 ms are not at least 1s"),
        ({"max_remove": "x"}, "max_remove: 'x'"),
    ],
)
def test_wrong_policies(wrong: dict[str, Any], problem: str) -> None:
    check(Policy())
    with pytest.raises(QueueProblem, match=f"{problem}.*; active: 'all'|active: 'all'.*; {problem}"):
        check(Policy(**wrong, active="all"))


@pytest.mark.parametrize(
    ("flavour", "states"),
    [(BULLMQ6, ["wait", "paused", "prioritized"]), (BULLMQ3, ["wait", "paused"]), (BULL, ["wait", "paused"])],
)
def test_waiting_is_what_the_flavour_has(flavour: Flavour, states: list[str]) -> None:
    found = by_state(rules([{"state": "waiting", "older_than": 1}, {"state": "wait", "older_than": 2}]), flavour)
    assert found == {state: [0, 1] if state == "wait" else [0] for state in states}


def test_clocks() -> None:
    assert clock_fields("auto", "completed") == clock_fields("finished", "failed") == ("score",)
    assert clock_fields("created", "completed") == ("timestamp",)
    assert clock_fields("auto", "wait") == ("finishedOn", "processedOn", "timestamp")
    assert clock_fields("auto", "delayed") == clock_fields("processed", "wait") == ("processedOn", "timestamp")


@pytest.mark.parametrize(
    ("glob", "parts"),
    [
        ("", None),
        ("*", None),
        ("***", None),
        ("a", ["a"]),
        ("a*", ["a", ""]),
        ("*a-b*", ["", "a%-b", ""]),
        ("%d+$", ["%%d%+%$"]),
        ("a?", ["a[^\x80-\xbf][\x80-\xbf]*"]),
        ("[a-c]", ["[a-c]"]),
        ("[-a]", ["[%-a]"]),
        ("[!a]", ["[^a\x80-\xbf][\x80-\xbf]*"]),
        ("[]]", ["[%]]"]),
        ("a[b", ["a%[b"]),
        ("é", ["\xc3\xa9"]),
    ],
)
def test_globs_for_lua(glob: str, parts: list[str] | None) -> None:
    assert lua_glob(glob) == parts


def test_names_are_escaped() -> None:
    assert escaped("a*[b]?\\") == r"a\*\[b\]\?\\"
    assert Queue("{bull}", "mail").key("wait") == "{bull}:mail:wait"


def pace(target: float, **more: Any) -> Pace:
    return Pace(target, more.pop("duty", 1.0), more.pop("seconds", 60), **more)


def test_pages_follow_the_time_they_take() -> None:
    one = pace(5)
    one.took(1, FIRST)
    assert one.size == 2 * FIRST  # not five times: a quick page says little
    one.took(10, one.size)
    assert one.size == FIRST
    one.took(0.001, FIRST)
    assert one.size == FIRST * 5 // 4  # one was slow: from then on pages grow by steps
    for _page in range(20):
        one.took(0.001, one.size)
    assert one.size == LARGEST
    one.took(10_000, one.size)
    assert one.size == SMALLEST
    assert (one.chunks, one.longest_ms) == (24, 10_000)


@pytest.mark.parametrize(("milliseconds", "grows"), [(4.99, 2), (5, 1.25)])
def test_the_first_pages_double(milliseconds: float, grows: float) -> None:
    one = pace(5)
    one.took(milliseconds, 3)
    one.took(0.001, FIRST)
    assert one.size == FIRST * grows


def test_a_page_with_little_in_it_says_nothing() -> None:
    one = pace(5)
    one.took(0.1, 3)
    assert one.size == FIRST
    # Unless that little took too long.
    one.took(50, 40)
    assert one.size == SMALLEST


def test_pauses_and_the_end() -> None:
    moments = iter(range(100))
    slept: list[float] = []
    one = pace(5, duty=0.25, seconds=3, clock=lambda: float(next(moments)), sleep=slept.append)
    one.took(10, 10)
    assert slept == [pytest.approx(0.030)]
    assert one.left == 0.0 or one.over
    one.took(10, 10)
    assert len(slept) == 1
