# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The alert state machine: every row of its table, who is told, when it is quiet, what a bad clock or state does."""

from __future__ import annotations

import copy
import json
import random
import time
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils._monitor_simulate import START, Story, expand, fast_forward
from ansible_collections.quai.ops.plugins.module_utils._monitor_state import (
    OPEN,
    STATES,
    Outcome,
    Refused,
    acknowledge,
    advance,
    changes,
    crosses_network,
    end_maintenance,
    flaps,
    maintain,
    policy_of,
    seconds,
)

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
Config = dict[str, Any]
POLICY = {
    "critical": {"respond_within": 3600, "notify": ["team"], "escalate_to": ["boss"], "remind_every": 86400},
    "high": {"respond_within": "4h", "notify": ["team"], "escalate_to": ["boss"]},
    "medium": {"respond_within": "24h", "notify": ["team"], "escalate_to": ["boss"]},
    "low": {"respond_within": "72h", "notify": ["team"]},
}


def spec(name: str = "web", **more: Any) -> dict[str, Any]:
    """A probe of the project shop, critical, with the usual thresholds."""
    return {"name": name, "type": "http", "project": "shop", "policy": "shop", "severity": "critical", **more}


def config(*probes: dict[str, Any], **more: Any) -> Config:
    """A watch with three channels."""
    return {
        "host": "vps1",
        "languages": ["en"],
        "interval": 60,
        "probes": list(probes or (spec(),)),
        "policies": {"shop": POLICY},
        "channels": {"team": {}, "boss": {}, "watch": {}},
        "own_fault_channels": ["watch"],
        **more,
    }


def run(series: str, given: Config | None = None, **more: Any) -> Story:
    """One probe's results, one a minute, written to disk and read again after each run."""
    given = given or config()
    return together({given["probes"][0]["name"]: series}, given, **more)


def together(series: dict[str, str], given: Config, **more: Any) -> Story:
    """Results of several probes."""
    lines = {name: expand(one) for name, one in series.items()}
    return fast_forward(lines, given, save=lambda state: json.loads(json.dumps(state)), **more)


def said(story: Story, start: float = START) -> list[tuple[int, str, str]]:
    """When (minutes), what kind, to whom."""
    return [(round((one["at"] - start) / 60), one["kind"], one["channel"]) for one in story.messages]


def kinds(story: Story) -> list[tuple[int, str]]:
    """When, and what kind of message."""
    return [(minute, kind) for minute, kind, _channel in said(story)]


def events(story: Story, name: str = "") -> list[str]:
    """What the history says."""
    return [one["event"] for one in story.events if not name or one["probe"] == name]


def alert(story: Story, name: str = "web") -> dict[str, Any]:
    """The alert of a probe at the end."""
    found: dict[str, Any] = story.state["probes"][name]["alert"]
    return found


def at(minute: float) -> float:
    """The time of a minute of a story."""
    return START + minute * 60


# Every row of the table


@pytest.mark.parametrize(
    ("series", "state", "messages"),
    [
        pytest.param("111", "ok", [], id="ok stays ok"),
        pytest.param("110", "pending", [], id="first bad result: pending"),
        pytest.param("1100", "pending", [], id="second: still pending"),
        pytest.param("11000", "firing", [(4, "firing")], id="third in a row: firing"),
        pytest.param("11 0x50", "firing", [(4, "firing")], id="told once"),
        pytest.param("11001", "ok", [], id="pending, one good result: ok"),
        pytest.param("1100100100", "pending", [], id="never three in a row"),
        pytest.param("000 1", "firing", [(2, "firing")], id="one good result does not end it"),
        pytest.param("000 101", "firing", [(2, "firing")], id="nor do two that are not in a row"),
        pytest.param("000 11", "ok", [(2, "firing"), (4, "resolved")], id="two in a row do"),
        pytest.param("000 dd", "ok", [(2, "firing"), (4, "resolved")], id="degraded is not bad"),
        pytest.param("ddddddd", "ok", [], id="degraded never alerts"),
        pytest.param("www", "firing", [(2, "firing")], id="warnings alert too"),
        pytest.param("w0w", "firing", [(2, "firing")], id="warning and critical count together"),
        pytest.param("www 00", "firing", [(2, "firing")], id="a rise must last as long as an alert"),
        pytest.param("www 000", "firing", [(2, "firing"), (5, "worse")], id="a rise is told"),
        pytest.param("www 000 www 000", "firing", [(2, "firing"), (5, "worse")], id="a rise is told once"),
        pytest.param("000 wwwwww", "firing", [(2, "firing")], id="a fall is not told"),
        pytest.param("??", "ok", [], id="two unknown results"),
        pytest.param("???", "ok", [(2, "own_fault")], id="three: own fault"),
        pytest.param("1 ?x300", "ok", [(3, "own_fault")], id="own fault is told once"),
        pytest.param("??? 1 ??? 11 ???", "ok", [(2, "own_fault")], id="and not again the same day"),
        pytest.param("0?0?0", "firing", [(4, "firing")], id="unknown neither breaks a series"),
        pytest.param("0??", "pending", [], id="nor adds to it"),
        pytest.param("000 ?x9", "firing", [(2, "firing"), (5, "own_fault")], id="unknown is not good"),
        pytest.param("000 1?1", "ok", [(2, "firing"), (5, "resolved")], id="good results around it count"),
    ],
)
def test_the_table(series: str, state: str, messages: list[tuple[int, str]]) -> None:
    story = run(series)
    assert alert(story)["state"] == state
    assert kinds(story) == messages


def test_an_own_fault_that_comes_back_for_good_is_told_after_a_day() -> None:
    story = run("??? 11 ?x150", config(interval=1200))
    assert kinds(story) == [(40, "own_fault"), (1480, "own_fault")]


def test_an_own_fault_that_lasts_is_told_once() -> None:
    assert kinds(run("1 ?x150", config(interval=1200))) == [(60, "own_fault")]  # and not in the next two days


def test_failures_and_successes_are_the_probes_own() -> None:
    given = config(spec(failures=1, successes=4))
    assert kinds(run("1 0 1110 1111", given)) == [(1, "firing"), (9, "resolved")]


@pytest.mark.parametrize(
    ("series", "messages"),
    [
        ("1 01010 1", [(5, "firing")]),
        ("1 01101 1", []),
        ("1 010110", []),
        ("1 0101101001", [(9, "firing")]),
        ("1 0101011", [(5, "firing"), (7, "resolved")]),
    ],
)
def test_window(series: str, messages: list[tuple[int, str]]) -> None:
    assert kinds(run(series, config(spec(failures=20, window="3/5")))) == messages


def test_an_alert_by_window_ends_when_the_window_is_no_longer_met() -> None:
    given = config(spec(failures=20, window="3/8"))
    assert kinds(run("1 000 11111", given)) == [(3, "firing")]  # good often enough, and still three bad of eight
    assert kinds(run("1 000 111111", given)) == [(3, "firing"), (9, "resolved")]


def test_pending_lasts_until_the_window_is_clear() -> None:
    given = config(spec(failures=20, window="3/5"))
    assert alert(run("1 0 1111", given))["state"] == "pending"
    assert alert(run("1 0 11111", given))["state"] == "ok"


def test_a_warning_says_so_and_goes_the_way_of_the_severity() -> None:
    (message,) = run("www").messages
    assert (message["channel"], message["severity"], message["level"]) == ("team", "critical", "warning")
    assert message["subject"] == "[vps1] 1 WARN: web (threshold)"
    assert "WARNING  web" in message["body"]
    (_first, worse) = run("www 000").messages
    assert worse["subject"] == "[vps1] WORSE 1 CRIT: web (timeout)"


def test_recovery_tells_duration_values_runs_and_what_is_still_bad() -> None:
    given = config(spec(), spec("db"))
    state: dict[str, Any] = {}
    messages: list[dict[str, Any]] = []
    values = [10, 20, 700, 900, 800, 850, 30, 20]
    for minute, value in enumerate(values):
        results: list[dict[str, Any]] = [
            {"name": "web", "status": "critical" if value > 100 else "ok", "value": value, "unit": "ms"},
            {"name": "db", "status": "critical" if minute > 1 else "ok"},
        ]
        outcome = advance(state, results, given, at(minute), missed=2 if minute == 5 else 0)
        state, messages = outcome.state, messages + outcome.messages
    assert [one["kind"] for one in messages] == ["firing", "resolved"]
    assert messages[0]["probes"] == ["db", "web"]
    (item,) = messages[1]["data"]["items"]
    assert (item["since"], item["ended"], item["duration"]) == (at(2), at(6), 4 * MINUTE)
    # From the first bad result to the last one that was needed to end it.
    assert (item["min"], item["max"], item["runs"], item["bad_runs"], item["missed"]) == (20, 900, 6, 4, 2)
    assert [one["name"] for one in messages[1]["data"]["still"]] == ["db"]
    assert "4 min" in messages[1]["body"]
    assert "20 ms … 900 ms" in messages[1]["body"]
    assert "4 bad of 6; 2 runs of the watch did not take place" in messages[1]["body"]
    assert "Still bad: db" in messages[1]["body"]


def test_values_that_are_not_known_stay_unknown() -> None:
    item = run("000 11").messages[-1]["data"]["items"][0]
    assert (item["min"], item["max"]) == (None, None)


def test_one_message_per_channel_and_run() -> None:
    names = [f"p{number:02}" for number in range(30)]
    story = together(dict.fromkeys(names, "1 0x5 11"), config(*map(spec, names)))
    assert said(story) == [(3, "firing", "team"), (7, "resolved", "team")]
    assert story.messages[0]["probes"] == names
    assert story.messages[1]["probes"] == names


def test_news_of_different_kinds_share_a_message() -> None:
    story = together({"a": "000 11", "b": "11 000"}, config(spec("a"), spec("b")))
    assert said(story) == [(2, "firing", "team"), (4, "firing", "team")]
    assert [item["kind"] for item in story.messages[1]["data"]["items"]] == ["firing", "resolved"]
    assert story.messages[1]["subject"] == "[vps1] 1 CRIT 1 OK: b (timeout), a (3 min)"


# Escalation and acknowledgement


@pytest.mark.parametrize(
    ("severity", "hours"),
    [("critical", [1, 2, 4, 8, 16]), ("high", [4, 8, 16]), ("medium", [24, 48, 72, 96]), ("low", [72, 144, 216])],
)
def test_escalation_after_the_time_to_respond(severity: str, hours: list[int]) -> None:
    given = config(spec(severity=severity, failures=1), interval=1200)
    story = run(f"0x{hours[-1] * 3 + 1}", given)
    channel = "team" if severity == "low" else "boss"  # low has nobody else
    expected = [(0, "firing", "team"), (hours[0] * 60, "escalated", channel)]
    expected += [(hour * 60, "reminder", channel) for hour in hours[1:]]
    assert said(story) == expected
    assert alert(story)["state"] == "escalated"


def test_a_critical_outage_of_six_hours_is_five_messages() -> None:
    story = run("1 0x360 11", config(policies={}, channels={"team": {}}))
    assert kinds(story) == [(3, "firing"), (63, "escalated"), (123, "reminder"), (243, "reminder"), (362, "resolved")]


def test_reminders_never_come_closer_than_doubling_nor_further_apart_than_they_may() -> None:
    given = config(spec(failures=1), interval=1200)
    minutes = [minute for minute, _kind in kinds(run("0x361", given))]
    assert minutes == [60 * hour for hour in (0, 1, 2, 4, 8, 16, 32, 56, 80, 104)]
    given["policies"] = {"shop": {"critical": {"notify": ["team"], "respond_within": 3600, "remind_every": "2h"}}}
    assert [minute for minute, _kind in kinds(run("0x31", given))] == [60 * hour for hour in (0, 1, 2, 4, 6, 8, 10)]


def test_the_end_is_told_to_everybody_who_was_told() -> None:
    story = run("0x70 11")
    assert said(story)[-2:] == [(71, "resolved", "boss"), (71, "resolved", "team")]


def test_no_escalation_in_the_minute_of_recovery() -> None:
    assert kinds(run("0x62 11")) == [(2, "firing"), (63, "resolved")]


def ack(minutes: float, name: str = "web") -> Any:
    """Acknowledge for so many minutes."""
    return lambda state, now: acknowledge(
        state, name, by="Zoé", until=now + minutes * 60, now=now, config=config(spec(), spec("db"))
    )


def test_nothing_is_said_while_somebody_works_on_it() -> None:
    story = run("0x600", actions={30: ack(240)})
    # The clock of escalation begins again when the acknowledgement ends.
    expected = [(2, "firing"), (30, "ack"), (270, "ack_expired"), (330, "escalated")]
    assert kinds(story)[:4] == expected
    assert "Zoé, silent until" in story.messages[1]["body"]
    assert events(story)[:4] == ["firing", "ack", "ack_expired", "escalated"]
    assert alert(story)["acked"] == {"by": "", "at": 0, "until": 0}


def test_what_flaps_is_silent_too_when_acknowledged() -> None:
    assert kinds(run("0x5 10x60", actions={3: ack(240)})) == [(2, "firing"), (3, "ack")]


def test_a_warning_that_becomes_critical_was_not_acknowledged_as_that() -> None:
    story = run("www w 0x90", actions={3: ack(240)})
    assert kinds(story) == [(2, "firing"), (3, "ack"), (6, "worse"), (66, "escalated")]
    assert alert(story)["acked"]["until"] == 0
    again = run("www w 0x90", actions={3: ack(240), 8: ack(240)})
    assert kinds(again) == [(2, "firing"), (3, "ack"), (6, "worse"), (8, "ack")]


def test_the_end_is_told_even_when_acknowledged() -> None:
    story = run("0x20 1x300", actions={10: ack(240)})
    assert kinds(story) == [(2, "firing"), (10, "ack"), (21, "resolved")]


def test_each_acknowledgement_is_told_and_its_end_too() -> None:
    story = run("0x50", actions={5: ack(10), 30: ack(10)})
    assert kinds(story) == [(2, "firing"), (5, "ack"), (15, "ack_expired"), (30, "ack"), (40, "ack_expired")]
    assert len({one["id"] for one in story.messages}) == 5


def test_an_acknowledgement_that_expires_while_it_recovers_says_nothing() -> None:
    assert kinds(run("0x15 11", actions={10: ack(5)})) == [(2, "firing"), (10, "ack"), (16, "resolved")]


def test_acknowledgement_goes_to_all_who_were_told() -> None:
    story = run("0x90", actions={70: ack(10)})
    assert [one for one in said(story) if one[1] == "ack"] == [(70, "ack", "boss"), (70, "ack", "team")]


@pytest.mark.parametrize(
    ("name", "by", "until", "words"),
    [
        ("wbe", "Zoé", HOUR, "no probe is named 'wbe'; alerts that are open now: web"),
        ("db", "Zoé", HOUR, "db has no open alert (it is ok); alerts that are open now: web"),
        ("web", " ", HOUR, "nobody is named; say who it is with --by NAME"),
        ("web", "Zoé", 0, "must end in the future, and 0 s from now does not; give --for 4h"),
        ("web", "Zoé", 30 * DAY, "at most 7 days, and 30.0 days were asked for"),
    ],
)
def test_refused_acknowledgements(name: str, by: str, until: float, words: str) -> None:
    given = config(spec(), spec("db"))
    story = together({"web": "000", "db": "111"}, given)
    with pytest.raises(Refused) as caught:
        acknowledge(story.state, name, by=by, until=at(3) + until, now=at(3), config=given)
    assert words in str(caught.value)


# Maintenance and releases


def quiet(minutes: float, project: str = "shop") -> Any:
    """Begin a maintenance of so many minutes."""
    return lambda state, now: maintain(state, project, until=now + minutes * 60, by="Zoé", reason="new disk", now=now)


@pytest.mark.parametrize("project", ["shop", ""])
def test_one_summary_at_the_end_of_a_maintenance(project: str) -> None:
    given = config(spec(), spec("db"))
    actions = {5: quiet(60, project)}
    story = together({"web": "1x10 0x100", "db": "1x10 0x20 1x100"}, given, actions=actions)
    assert said(story)[:1] == [(65, "maintenance_end", "team")]
    assert story.messages[0]["probes"] == ["web"]
    assert story.messages[0]["subject"] == "[vps1] STILL BAD 1 CRIT: web (timeout)"
    assert events(story, "") == ["maintenance", "firing", "firing", "resolved", "maintenance_end"]
    assert [one["suppressed"] for one in story.events if one["event"] == "firing"] == ["maintenance"] * 2
    assert story.state["maintenance"] == []


def test_a_maintenance_that_ends_well_says_nothing() -> None:
    assert run("1x10 0x20 1x100", actions={5: quiet(60)}).messages == []


def test_maintenance_of_another_project_changes_nothing() -> None:
    assert kinds(run("11 000", actions={1: quiet(60, "other")})) == [(4, "firing")]


def test_what_was_told_before_and_ended_inside_is_told_after() -> None:
    story = run("0x10 1x100", actions={5: quiet(60)})
    assert kinds(story) == [(2, "firing"), (65, "resolved")]
    item = story.messages[1]["data"]["items"][0]
    assert (item["ended"], item["duration"]) == (at(10), 10 * MINUTE)


def test_what_was_told_before_and_ended_and_came_back_is_told_as_bad() -> None:
    story = run("0x10 1x10 0x50 11", actions={5: quiet(60)})
    assert kinds(story) == [(2, "firing"), (65, "maintenance_end"), (71, "resolved")]


def test_what_was_told_before_and_is_bad_after_is_in_the_summary_and_its_clock_goes_on() -> None:
    story = run("0x200", actions={5: quiet(60)})
    assert kinds(story) == [(2, "firing"), (65, "maintenance_end"), (125, "escalated")]


def test_flapping_in_a_maintenance_is_not_held_against_it() -> None:
    story = run("1x10 10x50 1x50", actions={5: quiet(60)})
    assert story.messages == []
    assert events(story) == ["maintenance", "maintenance_end"]


def test_own_faults_wait_for_the_end_of_a_maintenance() -> None:
    assert kinds(run("1 ?x70", actions={0: quiet(60)})) == [(60, "own_fault")]


def test_a_second_maintenance_replaces_the_first_and_it_can_be_ended() -> None:
    actions = {1: quiet(10), 5: quiet(100), 30: lambda state, now: end_maintenance(state, "shop", now=now)}
    assert kinds(run("11 0x40", actions=actions)) == [(30, "maintenance_end")]


def test_maintenance_of_host_and_project_end_apart() -> None:
    actions = {1: quiet(10, ""), 2: quiet(30)}
    assert kinds(run("11 0x40", actions=actions)) == [(32, "maintenance_end")]


def test_refused_maintenances() -> None:
    with pytest.raises(Refused, match="in the future"):
        maintain({}, "shop", until=at(0), by="Zoé", reason="", now=at(0))
    with pytest.raises(Refused, match="at most 7 days"):
        maintain({}, "shop", until=at(0) + 8 * DAY, by="Zoé", reason="", now=at(0))
    with pytest.raises(Refused, match="--by NAME"):
        maintain({}, "shop", until=at(9), by="", reason="", now=at(0))
    with pytest.raises(Refused, match="the project 'shop' has no maintenance"):
        end_maintenance({}, "shop", now=at(0))
    with pytest.raises(Refused, match="the host has no maintenance"):
        end_maintenance({}, "", now=at(0))


def test_a_release_is_quiet_and_what_is_bad_after_it_is_told_at_once() -> None:
    story = run("1x5 0x20", releases=lambda minute: {"shop"} if 4 <= minute < 15 else ())
    assert kinds(story) == [(15, "maintenance_end")]
    story = run("1x5 0x5 1x20", releases=lambda minute: {"shop"} if 4 <= minute < 15 else ())
    assert story.messages == []
    assert kinds(run("11 000", releases=lambda minute: {"other"})) == [(4, "firing")]


def test_a_lock_that_is_never_let_go_hides_at_most_an_hour() -> None:
    story = run("1x5 0x80", releases=lambda minute: {"shop"} if minute >= 4 else ())
    assert kinds(story) == [(64, "maintenance_end")]


# What depends on what


def test_parent_and_thirty_children_are_one_message_that_names_them() -> None:
    names = [f"child{number:02}" for number in range(30)]
    given = config(spec("nginx"), *(spec(name, depends_on=["nginx"]) for name in names))
    story = together(dict.fromkeys(["nginx", *names], "11 0x10 1x5"), given)
    assert said(story) == [(4, "firing", "team"), (13, "resolved", "team")]
    (item,) = story.messages[0]["data"]["items"]
    assert (item["name"], item["behind"]) == ("nginx", names)
    assert story.messages[0]["subject"] == "[vps1] 1 CRIT: nginx (timeout) + 30 behind it"
    assert all(name in story.messages[0]["body"] for name in names)
    # Suppressed is not forgotten: each child's incident has its beginning and its end in the history.
    for name in names:
        assert events(story, name) == ["firing", "resolved"]
    assert {one["suppressed"] for one in story.events if one["probe"] in names and one["event"] == "firing"} == {
        "dependency"
    }


@pytest.mark.parametrize("first", ["nginx", "child"])
def test_the_order_in_the_configuration_does_not_matter(first: str) -> None:
    probes = [spec("nginx"), spec("child", depends_on=["nginx"])]
    given = config(*(probes if first == "nginx" else reversed(probes)))
    assert said(together({"child": "0x10", "nginx": "0x10"}, given)) == [(2, "firing", "team")]


def test_a_child_is_quicker_than_its_parent_and_waits_for_it() -> None:
    given = config(spec("nginx", failures=4), spec("child", failures=1, depends_on=["nginx"]))
    story = together({"nginx": "1 0x9", "child": "1 0x9"}, given)
    assert said(story) == [(4, "firing", "team")]
    assert story.messages[0]["data"]["items"][0]["behind"] == ["child"]


def test_a_child_does_not_wait_for_a_parent_that_is_well() -> None:
    given = config(spec("nginx", failures=4), spec("child", failures=1, depends_on=["nginx"]))
    story = together({"nginx": "1 00 111", "child": "1 00 000"}, given)
    assert [(one["at"], one["probes"]) for one in story.messages] == [(at(3), ["child"])]


def test_waiting_for_a_parent_is_bounded() -> None:
    # Nobody learns whether this parent is down; the runs that it would have needed are the bound.
    given = config(spec("nginx", failures=3), spec("child", failures=1, depends_on=["nginx"]))
    story = together({"nginx": "1 0 ?x9", "child": "1 0x10"}, given)
    assert [(one["at"], one["probes"]) for one in story.messages if one["kind"] == "firing"] == [(at(4), ["child"])]


def test_grandchildren_are_behind_the_one_at_the_top() -> None:
    given = config(spec("net"), spec("db", depends_on=["net"]), spec("app", depends_on=["db"]))
    story = together(dict.fromkeys(("net", "db", "app"), "1 0x9"), given)
    assert len(story.messages) == 1
    assert story.messages[0]["data"]["items"][0]["behind"] == ["app", "db"]


def test_what_stays_bad_after_its_parent_recovered_is_told() -> None:
    given = config(spec("nginx"), spec("child", depends_on=["nginx"]))
    story = together({"nginx": "0x10 1x20", "child": "0x40"}, given)
    assert [(one["kind"], one["probes"]) for one in story.messages] == [
        ("firing", ["nginx"]),
        ("resolved", ["nginx"]),
        ("firing", ["child"]),
    ]
    # It has as many runs to recover as an alert needs.
    assert [one["at"] for one in story.messages] == [at(2), at(11), at(13)]
    assert [one["name"] for one in story.messages[1]["data"]["still"]] == ["child"]


def test_what_stays_bad_is_told_after_as_many_results_of_its_own() -> None:
    given = config(spec("nginx"), spec("child", every="5m", depends_on=["nginx"]))
    story = together({"nginx": "0x10 1x40", "child": "0----x50"}, given)
    assert [(one["at"], one["probes"]) for one in story.messages][2:] == [(at(25), ["child"])]


def test_what_is_bad_after_its_parent_and_a_maintenance_is_told_at_the_end_of_it() -> None:
    given = config(spec("nginx"), spec("child", depends_on=["nginx"]))
    story = together({"nginx": "0x10 1x40", "child": "0x50"}, given, actions={5: quiet(30)})
    assert said(story) == [(2, "firing", "team"), (35, "maintenance_end", "team")]
    assert story.messages[1]["probes"] == ["child", "nginx"]


def test_what_recovers_with_its_parent_is_never_told() -> None:
    given = config(spec("nginx"), spec("child", depends_on=["nginx"]))
    story = together({"nginx": "0x10 1x20", "child": "0x12 1x20"}, given)
    assert [one["probes"] for one in story.messages] == [["nginx"], ["nginx"]]


def test_resolution_is_never_suppressed() -> None:
    given = config(spec("nginx"), spec("child", depends_on=["nginx"]))
    story = together({"nginx": "1x10 0x90", "child": "0x15 1x90"}, given)
    assert [(one["kind"], one["probes"]) for one in story.messages][:3] == [
        ("firing", ["child"]),
        ("firing", ["nginx"]),
        ("resolved", ["child"]),
    ]


def test_escalation_waits_while_the_parent_explains_it() -> None:
    given = config(spec("nginx", severity="low"), spec("child", depends_on=["nginx"]))
    story = together({"nginx": "1x10 0x100 1x100", "child": "0x210"}, given)
    told = [(round((one["at"] - START) / 60), one["kind"]) for one in story.messages if "child" in one["probes"]]
    assert told == [(2, "firing"), (171, "escalated")]


def test_escalation_does_not_wait_for_a_parent_that_is_only_pending() -> None:
    given = config(spec("nginx"), spec("child", depends_on=["nginx"]))
    story = together({"nginx": "1x61 001111", "child": "0x67"}, given)
    assert kinds(story) == [(2, "firing"), (62, "escalated")]


def test_a_parent_that_only_warns_hides_only_warnings() -> None:
    given = config(spec("nginx"), spec("child", depends_on=["nginx"]))
    story = together({"nginx": "1 wwwww", "child": "1 00000"}, given)
    assert story.messages[0]["probes"] == ["child", "nginx"]
    story = together({"nginx": "1 wwwww", "child": "1 wwwww"}, given)
    assert story.messages[0]["probes"] == ["nginx"]


def test_a_parent_that_cannot_be_asked_hides_nothing() -> None:
    given = config(spec("nginx"), spec("child", depends_on=["nginx"]))
    story = together({"nginx": "1 ?????", "child": "1 00000"}, given)
    assert ("firing", ["child"]) in [(one["kind"], one["probes"]) for one in story.messages]


def test_a_parent_that_is_not_watched_any_more_hides_nothing() -> None:
    given = config(spec("nginx"), spec("child", depends_on=["nginx"]))
    story = together({"nginx": "0x5 -x60", "child": "1x30 0x30"}, given)
    assert ["child"] in [one["probes"] for one in story.messages]


def test_a_parent_in_maintenance_hides_its_children_in_other_projects() -> None:
    given = config(spec("db", project="data"), spec("child", depends_on=["db"]))
    story = together({"db": "1x5 0x20", "child": "1x5 0x20"}, given, actions={1: quiet(60, "data")})
    assert story.messages == []


def test_a_flapping_parent_hides_what_fails_with_it_but_no_outage() -> None:
    given = config(spec("nginx", failures=20), spec("child", depends_on=["nginx"]))
    story = together({"nginx": "10x40 1x25", "child": "1x40 0x25"}, given)
    assert [one["probes"] for one in story.messages] == [["nginx"], ["child"]]


def test_a_circle_does_not_go_on_for_ever() -> None:
    given = config(spec("a", depends_on=["b"]), spec("b", depends_on=["a"]))
    assert together({"a": "0x9", "b": "0x9"}, given).messages


def test_a_dead_uplink_holds_what_lies_beyond_it() -> None:
    given = config(
        spec("uplink", project=""),
        spec("far", url="https://example.com/"),
        spec("near", url="http://127.0.0.1:8080/up"),
        spec("disk", type="disk"),
        uplink_probe="uplink",
    )
    story = together(dict.fromkeys(("uplink", "far"), "1 0x9 11") | {"near": "1 0x9 11", "disk": "1x12"}, given)
    assert story.messages[0]["probes"] == ["near", "uplink"]
    uplink = next(item for item in story.messages[0]["data"]["items"] if item["name"] == "uplink")
    assert uplink["behind"] == ["far"]
    assert [one["suppressed"] for one in story.events if one["probe"] == "far"][:1] == ["uplink"]
    assert story.messages[-1]["kind"] == "resolved"


@pytest.mark.parametrize(
    ("probe", "crosses"),
    [
        ({"type": "http", "url": "https://example.com/up"}, True),
        ({"type": "http", "url": "http://localhost/up"}, False),
        ({"type": "http", "url": "http://user:x@127.0.0.1:80/up"}, False),
        ({"type": "http", "url": "http://[::1]:80/"}, False),
        ({"type": "http", "url": "https://example.com/", "connect_to": "127.0.0.1:443"}, False),
        ({"type": "http", "url": "http://web/", "container": "shop-web-1"}, False),
        ({"url": "https://example.com/"}, True),
        ({"type": "tcp", "port": 5432}, False),
        ({"type": "tcp", "port": 5432, "host": "db.example.com"}, True),
        ({"type": "redis", "socket": "/run/redis.sock"}, False),
        ({"type": "redis", "url": "unix:///run/redis.sock"}, False),
        ({"type": "tls", "host": "example.com"}, True),
        ({"type": "disk"}, False),
        ({"type": "nonsense"}, False),
    ],
)
def test_what_crosses_the_network(probe: dict[str, Any], crosses: bool) -> None:
    assert crosses_network(probe) is crosses


# Flapping


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ("", False),
        ("0" * 60, False),
        ("2" * 60, False),
        ("0" * 30 + "2" * 30, False),
        ("02" * 10, True),
        ("0" * 8 + "02" * 6, False),  # 12 changes, and six bad results are not enough
        ("0" * 6 + "02" * 7, True),
        ("0000" + "2" + "0" * 6 + "2" + "0" * 6 + "2" + "0", False),  # three lone failures of twenty
        ("00002222" * 8, True),  # slow, but for an hour
        ("000002" * 10, True),  # one in six for an hour
        ("0000000002" * 6, False),  # one in ten
        ("002" * 7, True),
    ],
)
def test_what_is_flapping(marks: str, expected: bool) -> None:
    assert flaps(marks) is expected


def test_changes_weigh_more_when_they_are_new() -> None:
    assert changes("0" * 21) == 0
    assert changes("02" * 11) == pytest.approx(99.0)
    assert changes("0" * 20 + "2") == pytest.approx(5.9)
    assert changes("2" + "0" * 20) == pytest.approx(4.0)
    assert changes("0" * 40 + "2" + "0" * 20) == pytest.approx(4.0)


def test_fast_flapping_is_told_once_and_its_end_in_one_line() -> None:
    story = run("1x30 10x60 1x60", config(spec(severity="high")))
    assert said(story) == [(43, "flapping", "team"), (120, "steady", "team")]
    item = story.messages[1]["data"]["items"][0]
    assert item["flips"] == 60
    assert item["duty"] == pytest.approx(24.8)
    assert "Changes: 60, bad in 24.8 % of the runs" in story.messages[1]["body"]
    assert alert(story)["state"] == "ok"
    assert events(story) == ["flapping", "steady"]


def test_slow_flapping_the_third_alert_within_an_hour() -> None:
    story = run("1x10 00001111x40 1x60")
    assert kinds(story) == [
        *((12, "firing"), (15, "resolved"), (20, "firing"), (23, "resolved"), (28, "flapping")),
        (76, "steady"),
    ]
    # Three alerts in more than an hour are three alerts.
    story = run("1x10 0000 1x26 0000 1x26 0000 1111")
    assert [kind for _minute, kind in kinds(story)] == ["firing", "resolved"] * 3


def test_the_clock_of_escalation_goes_on_while_it_flaps() -> None:
    story = run("0x20 10x300")
    assert [kind for _minute, kind in kinds(story)] == ["firing", "flapping", "escalated", "reminder", "reminder"]
    assert [minute for minute, kind in kinds(story) if kind != "flapping"] == [2, 62, 122, 242]


def test_flapping_ends_in_an_outage() -> None:
    story = run("1x30 10x30 0x100 11")
    assert kinds(story) == [(43, "flapping"), (89, "steady"), (103, "escalated"), *[(161, "resolved")] * 2]
    assert "no longer flapping, and bad" in story.messages[1]["body"]
    assert len({one["data"]["items"][0]["since"] for one in story.messages}) == 1


def test_time_that_nobody_watched_is_no_calm() -> None:
    # The result before the gap and those after it are good.
    assert alert(run("1x30 10x31 -x120 1x20"))["state"] == "flapping"
    assert alert(run("1x30 10x31 ?x120 1x20"))["state"] == "flapping"
    assert alert(run("1x30 10x31 1x40"))["state"] == "ok"


def test_flapping_of_a_probe_that_runs_each_hour_ends_only_when_results_are_steady() -> None:
    given = config(spec(every=3600, failures=20), interval=3600)
    assert alert(run("10x20 1x4", given))["state"] == "flapping"
    assert alert(run("10x20 1x20", given))["state"] == "ok"


# Restarts, clocks, configurations


def test_a_restart_of_the_watch_repeats_nothing_and_forgets_nothing() -> None:
    before = run("11 0x10")
    assert kinds(before) == [(4, "firing")]
    still = run("0x10", state=before.state, start=at(120))
    assert [kind for _minute, kind in kinds(still)] == ["escalated"]  # due meanwhile; no second FIRING
    after = run("11", state=before.state, start=at(30))
    assert [one["kind"] for one in after.messages] == ["resolved"]


def test_the_clock_is_set_back_by_an_hour() -> None:
    before = run("11 0x30")
    start = at(32) - HOUR
    story = run("0x200 11", state=before.state, start=start)
    # Fired in minute 4, 28 minutes before: the other 32 of the hour are still to come, then the age doubles.
    assert said(story, start)[0] == (33, "escalated", "boss")
    assert 2 <= len(story.messages) <= 5
    assert story.messages[-1]["kind"] == "resolved"
    for one in story.events:
        assert one["duration"] >= 0
        assert one["since"] <= one["t"]
    assert story.messages[-1]["data"]["items"][0]["duration"] >= 200 * MINUTE


def test_acknowledgement_and_maintenance_keep_their_length_when_the_clock_is_set_back() -> None:
    acked = run("0x30", actions={20: ack(60)})
    story = run("0x200", state=acked.state, start=at(30) - HOUR)
    assert said(story, at(30) - HOUR)[0] == (51, "ack_expired", "team")
    covered = run("1x30", actions={20: quiet(60)})
    story = run("0x200", state=covered.state, start=at(30) - HOUR)
    assert said(story, at(30) - HOUR)[0] == (51, "maintenance_end", "team")


def test_a_release_hides_no_longer_when_the_clock_is_set_back() -> None:
    held = run("1x20", releases=lambda minute: {"shop"} if minute >= 4 else ())
    story = run("0x200", state=held.state, start=at(20) - HOUR, releases=lambda _minute: {"shop"})
    assert said(story, at(20) - HOUR)[0] == (60, "maintenance_end", "team")


def test_a_flood_is_held_back_no_longer_when_the_clock_is_set_back() -> None:
    given = config(spec(failures=1, successes=1, severity="high"), messages_per_hour=3)
    before = run("1 0 1 0 1 0", given)
    assert kinds(before) == [(1, "firing"), (2, "resolved"), (3, "digest")]
    story = run("1x200", given, state=before.state, start=at(6) - HOUR)
    assert said(story, at(6) - HOUR) == [(56, "digest", "team")]


def test_the_clock_jumps_ahead() -> None:
    names = [f"p{number}" for number in range(5)]
    given = config(*map(spec, names))
    before = together(dict.fromkeys(names, "11 0x30"), given)
    story = together(dict.fromkeys(names, "0x30 11"), given, state=before.state, start=at(32) + 365 * DAY)
    assert [kind for _minute, kind in kinds(story)] == ["escalated", "resolved", "resolved"]


def test_a_probe_that_is_removed_while_it_is_bad_is_closed() -> None:
    given = config(spec(), spec("db"))
    before = together({"web": "0x9", "db": "1x9"}, given)
    story = together({"db": "11"}, config(spec("db")), state=before.state, start=at(9))
    (message,) = story.messages
    assert (message["kind"], message["probes"], message["channel"]) == ("resolved", ["web"], "team")
    assert "no longer watched" in message["body"]
    assert events(story) == ["resolved"]
    assert story.events[0]["cause"] == "unwatched"
    assert list(story.state["probes"]) == ["db"]


def test_a_probe_that_is_removed_when_well_goes_silently() -> None:
    before = together({"web": "1x9", "db": "1x9"}, config(spec(), spec("db")))
    story = together({"db": "11"}, config(spec("db")), state=before.state, start=at(9))
    assert (story.messages, list(story.state["probes"])) == ([], ["db"])


def test_a_probe_that_is_removed_in_a_maintenance_is_closed_after_it() -> None:
    given = config(spec(), spec("db"))
    before = together({"web": "0x9", "db": "1x9"}, given, actions={5: quiet(30)})
    story = together({"db": "1x60"}, config(spec("db")), state=before.state, start=at(9))
    assert said(story) == [(35, "resolved", "team")]


def test_a_new_probe_begins_like_any_other() -> None:
    before = run("1x9")
    story = together({"web": "1x9", "new": "0x9"}, config(spec(), spec("new")), state=before.state, start=at(9))
    assert [one["probes"] for one in story.messages] == [["new"]]
    assert story.state["probes"]["new"]["last_ok"] is None


@pytest.mark.parametrize("told", [True, False], ids=["with results that say so", "without results"])
def test_a_project_that_waits_keeps_its_state_and_is_silent(told: bool) -> None:
    given = config(spec(), spec("db"))
    state = together({"web": "0x9", "db": "1x9"}, given).state
    messages: list[dict[str, Any]] = []
    for minute in range(14, 300):
        results: list[dict[str, Any]] = [{"name": "db", "status": "ok"}]
        results += [{"name": "web", "status": "waiting"}] if told else []
        outcome = advance(state, results, given, at(minute))
        state, messages = outcome.state, messages + outcome.messages
    assert messages == []
    assert state["probes"]["web"]["alert"]["state"] == "firing"
    outcome = advance(state, [{"name": "web", "status": "ok"}], given, at(300))
    outcome = advance(outcome.state, [{"name": "web", "status": "ok"}], given, at(301))
    assert [one["kind"] for one in outcome.messages] == ["resolved"]


def test_a_project_that_begins_to_wait_is_silent_at_once() -> None:
    state = run("0x60").state
    for minute in range(60, 70):
        outcome = advance(state, [{"name": "web", "status": "waiting"}], config(), at(minute))
        assert outcome.messages == []
        state = outcome.state


def test_timers_go_on_between_the_results_of_a_slow_probe() -> None:
    given = config(spec(every="30m", failures=1))
    story = run("0 -x29 0 -x29 0 -x29", given)
    assert kinds(story) == [(0, "firing"), (60, "escalated")]
    story = run("0" + "-" * 29 + "0" + "-" * 20, given, actions={2: ack(40)})
    assert kinds(story) == [(0, "firing"), (2, "ack"), (42, "ack_expired")]


@pytest.mark.parametrize(
    ("probe", "notify", "escalate_to", "respond"),
    [
        ({"policy": "shop", "severity": "critical"}, ["team"], ["boss"], 3600),
        ({"policy": "shop", "severity": "low"}, ["team"], ["team"], 259200),
        ({"policy": "gone", "project": "shop", "severity": "high"}, ["team"], ["boss"], 14400),
        ({"policy": "", "severity": "critical"}, ["watch"], ["watch"], 60),
        ({"policy": "none", "severity": "critical"}, ["watch"], ["watch"], 60),
        ({"policy": "", "severity": "high"}, ["boss", "team", "watch"], ["boss", "team", "watch"], 14400),
        ({"policy": "odd", "severity": "critical"}, ["boss", "team", "watch"], ["boss", "team", "watch"], 3600),
    ],
)
def test_who_is_told(probe: dict[str, Any], notify: list[str], escalate_to: list[str], respond: float) -> None:
    own = {"critical": {"notify": ["watch"], "respond_within": "1m"}}
    odd = {"critical": {"notify": ["gone"], "respond_within": -1}}
    policy = policy_of(probe, config(policies={"shop": POLICY, "": own, "odd": odd}))
    assert policy == (respond, notify, escalate_to, 86400)


def test_without_channels_the_history_still_tells() -> None:
    story = run("0x9 11", config(channels={}))
    assert story.messages == []
    assert events(story) == ["firing", "resolved"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((5, 5.0), (2.5, 2.5), ("90", 90.0), ("130s", 130.0), ("5m", 300.0), ("26h", 93600.0), ("3d", 259200.0)),
        *((None, 7.0), ("", 7.0), ("soon", 7.0), (0, 7.0), (-3, 7.0), (True, 7.0), ("nan", 7.0), ("inf", 7.0)),
    ],
)
def test_durations(value: Any, expected: float) -> None:
    assert seconds(value, 7.0) == expected


# Floods


def test_a_flood_ends_in_one_digest_that_names_the_loudest() -> None:
    # Each of these lasts long enough to be told and short enough to be over, each at its own time.
    names = [f"p{number:02}" for number in range(40)]
    given = config(*(spec(name, severity="high", failures=1, successes=1) for name in names), messages_per_hour=10)
    lines = {name: "1" * (2 * number + 1) + "0" + "1" * 200 for number, name in enumerate(names)}
    lines = {name: line[:200] for name, line in lines.items()}
    story = fast_forward(lines, given)
    times = [one["at"] for one in story.messages]
    for when in times:
        assert sum(when <= other < when + HOUR for other in times) <= 10
    digests = [one for one in story.messages if one["kind"] == "digest"]
    assert [round((one["at"] - START) / 60) for one in digests] == [10, 61, 76]
    assert "Too many messages" in digests[0]["body"]
    assert digests[0]["data"]["digest"]["until"] > digests[0]["at"]
    # The first says that more is held back from now on, the others what was held back.
    assert [one["data"]["digest"]["held"] for one in digests] == [0, 50, 14]
    assert digests[0]["data"]["digest"]["loudest"][:2] == [("p00", 2), ("p01", 2)]
    assert "p00 (2), p01 (2)" in digests[0]["body"]


def test_critical_news_gets_through_a_flood() -> None:
    names = [f"p{number:02}" for number in range(10)]
    probes = [spec(name, severity="high", failures=1, successes=1) for name in names]
    given = config(*probes, spec(failures=1), messages_per_hour=5)
    lines = {name: "1" * (2 * number + 1) + "0" + "1" * 60 for number, name in enumerate(names)}
    lines["web"] = "1" * 30 + "0" * 30
    story = fast_forward(lines, given)
    assert [(one["at"], one["kind"]) for one in story.messages if "web" in one["probes"]] == [(at(30), "firing")]


def test_not_even_critical_news_comes_without_bound() -> None:
    names = [f"p{number:02}" for number in range(40)]
    given = config(*(spec(name, failures=1, successes=1) for name in names), messages_per_hour=5)
    lines = {name: ("1" * (number + 1) + "0" + "1" * 60)[:55] for number, name in enumerate(names)}
    assert len(fast_forward(lines, given).messages) == 10


def test_what_was_held_back_is_told_when_there_is_room() -> None:
    given = config(spec(failures=1, successes=1, severity="high"), messages_per_hour=3)
    story = run("1 0 1 0 1 0 1x200", given)
    assert kinds(story) == [(1, "firing"), (2, "resolved"), (3, "digest"), (61, "digest")]
    assert "Nothing is bad any more." in story.messages[-1]["body"]


# The state itself


def test_the_given_state_is_left_alone() -> None:
    given = config(spec(), spec("db"), messages_per_hour=3)
    state: dict[str, Any] = {}
    rng = random.Random(1)  # noqa: S311
    for minute in range(300):
        before = copy.deepcopy(state)
        results = [{"name": name, "status": rng.choice(["ok", "critical", "unknown"])} for name in ("web", "db")]
        outcome = advance(state, results, given, at(minute), releases=["shop"] if minute % 50 < 5 else [])
        assert state == before
        if outcome.state["probes"]["web"]["alert"]["state"] in OPEN:
            frozen = copy.deepcopy(outcome.state)
            acknowledge(outcome.state, "web", by="Zoé", until=at(minute + 9), now=at(minute), config=given)
            maintain(outcome.state, "shop", until=at(minute + 9), by="Zoé", reason="", now=at(minute))
            assert outcome.state == frozen
        state = outcome.state


def test_what_others_keep_in_the_state_is_handed_through() -> None:
    state: dict[str, Any] = {
        "version": 1,
        "run": {"at": 5, "overruns": 2},
        "memory": {"web": {"inode": 3}},
        "outgoing": [{"id": "x"}],
        "later": {"of": "somebody"},
        "probes": {"web": {"mine": 1, "alert": {"future": [2]}}},
    }
    after = advance(state, [{"name": "web", "status": "ok"}], config(), at(0)).state
    assert {key: after[key] for key in ("run", "memory", "outgoing", "later")} == {
        key: state[key] for key in ("run", "memory", "outgoing", "later")
    }
    assert after["probes"]["web"]["mine"] == 1
    assert after["probes"]["web"]["alert"]["future"] == [2]


def _rubbish(rng: random.Random, depth: int = 0) -> Any:
    keys = ["probes", "web", "alert", "state", "marks", "acked", "until", "owed", "item", "told", "sent", "held", "at"]
    keys += ["alerts", "channels", "team", "releases", "since", "maintenance", "result", "firings", "quiet", "why"]
    leaves: list[Any] = [
        None,
        0,
        -1,
        1e300,
        float("nan"),
        "",
        "firing",
        "flapping",
        "222",
        "x" * 9,
        True,
        [],
        {},
        "critical",
    ]
    if depth > 4 or rng.random() < 0.25:
        return rng.choice(leaves)
    if rng.random() < 0.2:
        return [_rubbish(rng, depth + 1) for _index in range(rng.randrange(4))]
    return {rng.choice(keys): _rubbish(rng, depth + 1) for _index in range(rng.randrange(12))}


def test_no_state_whatever_is_in_it_stops_the_watch() -> None:
    rng = random.Random(2)  # noqa: S311
    good = run("1 0x70", actions={4: ack(10), 6: quiet(9)}).state

    def spoil(value: Any) -> Any:
        """The same with a few parts replaced by rubbish."""
        if rng.random() < 0.04:
            return _rubbish(rng, 3)
        if isinstance(value, dict):
            return {key: spoil(one) for key, one in value.items() if rng.random() > 0.02}
        return [spoil(one) for one in value] if isinstance(value, list) else value

    for number in range(300):
        state = spoil(good) if number % 2 else {"probes": {"web": _rubbish(rng)}, "alerts": _rubbish(rng)}
        for status in ("critical", "critical", "critical", "ok", "ok"):
            outcome = advance(state, [{"name": "web", "status": status}], config(), at(100 + number))
            state = outcome.state
        assert outcome.state["probes"]["web"]["alert"]["state"] in STATES
    assert isinstance(advance([], [], config(), at(0)), Outcome)  # type: ignore[arg-type]


def test_the_state_does_not_grow() -> None:
    rng = random.Random(3)  # noqa: S311
    given = config(spec(), spec("db", depends_on=["web"]), spec("disk"), messages_per_hour=5)
    state: dict[str, Any] = {}
    sizes = []
    for minute in range(2500):
        results = [{"name": name, "status": rng.choice(["ok", "critical"])} for name in ("web", "db", "disk")]
        if rng.random() < 0.3:
            results = results[:1]
        state = advance(state, results, given, at(minute)).state
        if minute % 500 == 499:
            sizes.append(len(json.dumps(state)))
    assert max(sizes) < 9000
    assert sizes[-1] < 1.5 * sizes[0]


def test_one_run_of_fifty_probes_costs_at_most_two_milliseconds() -> None:
    names = [f"p{number}" for number in range(50)]
    given = config(
        *(spec(name, every=60.0, depends_on=["p0"] if number > 25 else []) for number, name in enumerate(names))
    )
    state = together(dict.fromkeys(names, "1x60"), given).state
    results = [{"name": name, "status": "ok", "value": 5.0, "unit": "ms", "message": "200"} for name in names]
    costs = []
    for _round in range(15):
        begun = time.process_time()
        advance(state, results, given, at(61))
        costs.append(time.process_time() - begun)
    assert min(costs) <= 0.002


def test_ids_are_the_same_for_the_same_decision_and_for_no_other() -> None:
    given = config(spec(failures=1))
    state = run("111", given).state
    bad = [{"name": "web", "status": "critical"}]
    (first,) = advance(state, bad, given, at(3)).messages
    (again,) = advance(json.loads(json.dumps(state)), bad, given, at(3) + 41).messages  # killed, and run again
    assert first["id"] == again["id"]
    story = run("1 0x250 11 0x70 11", given)
    ids = [one["id"] for one in story.messages]
    assert len(ids) == 10
    assert len(set(ids)) == 10


def test_ids_differ_when_the_clock_shows_the_same_time_twice() -> None:
    first = run("1 000 11")
    second = run("1 000 11", state=first.state)
    assert len({one["id"] for one in (*first.messages, *second.messages)}) == 4


def test_two_hosts_and_two_channels_have_ids_of_their_own() -> None:
    given = config(policies={"shop": {"critical": {"notify": ["team", "boss"]}}})
    here, there = run("000", given), run("000", {**given, "host": "vps2"})
    assert len({one["id"] for one in (*here.messages, *there.messages)}) == 4
