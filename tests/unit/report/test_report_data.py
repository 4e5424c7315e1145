# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What C(report.json) says, and what it never says."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _report_data as data
from ansible_collections.quai.ops.plugins.module_utils import _report_read as read

from tests.unit.report import world

NOW = world.NOW


def empty_state(**more: Any) -> dict[str, Any]:
    return {"version": 1, "run": {"at": NOW - 10, "duration": 1.0, "probes": 1}, "probes": {}, **more}


def bucket(t: float, **probes: list[Any]) -> str:
    return json.dumps({"t": t, "k": "bucket", "p": {name.replace("_", "."): count for name, count in probes.items()}})


def config(*specs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"host": "vps1", "interval": 60, "probes": [{"type": "http", "every": 60, **spec} for spec in specs], **more}


def build(
    configuration: dict[str, Any], state: dict[str, Any] | None = None, lines: list[Any] | None = None, **facts: Any
) -> dict[str, Any]:
    made = data.build(configuration, state or empty_state(), lines or [], NOW, facts)
    checked = read.clean(json.loads(json.dumps(made)))
    assert "unreadable" not in checked, checked
    return made


def result(status: str = "ok", **more: Any) -> dict[str, Any]:
    kept = {"status": status, "since": NOW - 600, "last_ok": NOW - 700, "alert": more.pop("alert", {})}
    return {**kept, "result": {"type": "http", "status": status, "checked_at": NOW - 10, **more}}


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return world.one("morning")


def test_it_is_small_and_made_quickly() -> None:
    host = world.Host(projects=["masstock", "techplus"], probes=50, trouble="morning")
    before = time.process_time()
    made = host.report()
    spent = time.process_time() - before
    assert len(made["probes"]) == 50
    assert len(json.dumps(made, separators=(",", ":")).encode()) < 60_000
    assert spent < 0.5, f"{spent:.2f} s; it should be 0.1 s, and is with an idle processor"


def test_run_at_is_for_those_who_watch(report: dict[str, Any]) -> None:
    assert report["run_at"] == "2026-11-21T05:59:40Z"
    assert report["version"] == 1


@pytest.mark.parametrize("word", [world.SECRET, "API_KEY", "DATABASE_PASSWORD", "hooks.example", "mail.example"])
def test_no_secret_and_no_address_leaves_the_host(report: dict[str, Any], word: str) -> None:
    assert word in json.dumps(world.Host().config) + json.dumps(world.Host().state)
    assert word not in json.dumps(report)


def test_own_report_passes_the_check_of_foreign_ones(report: dict[str, Any]) -> None:
    checked = read.clean(report)
    assert {key: checked[key] for key in checked if key != "probes"} == {
        key: report[key] for key in checked if key != "probes"
    }
    assert set(checked) == set(report)


def test_strip_has_the_worst_of_each_bucket() -> None:
    lines = [bucket(NOW - 300 * back, a_b=[2 if back == 3 else 0, 5, back == 3, [10.0], 10]) for back in range(1, 5)]
    lines.append(bucket(NOW - 300 * 2, a_b=[1, 1, 1, [], None]))  # the same bucket once more, after a restart
    made = build(config({"name": "a.b"}), None, lines)
    assert made["probes"][0]["strip"] == "284n1o1c1w1o"
    assert made["strip"] == made["probes"][0]["strip"]
    assert made["probes"][0]["up_24h"] == pytest.approx(100 * (21 - 2) / 21, abs=0.001)
    assert made["strip_end"] == NOW


def test_the_bucket_that_is_not_over_counts() -> None:
    state = empty_state(bucket={"t": NOW, "p": {"a.b": [3, 1, 1, [], None]}})
    made = build(config({"name": "a.b"}), state, [bucket(NOW - 300, a_b=[0, 5, 0, [], 1])])
    assert made["probes"][0]["strip"] == "286n1o1u"
    assert made["strip_end"] == NOW + 300


def test_lines_that_are_damaged_or_of_the_future_are_not_believed() -> None:
    lines: list[Any] = ["{torn", b"\xff", "[]", '{"t": 1}', '{"t": "x", "k": "bucket", "p": {}}', "null"]
    lines.append(bucket(NOW - 300, a_b=[7, 1, 0, [], None]))  # a level that there is not
    lines.append(bucket(NOW + 3600, a_b=[2, 1, 1, [], None]))  # the clock was set back
    lines.append(bucket(NOW - 600, a_b=[0, 1, 0, [], None]))
    made = build(config({"name": "a.b"}), None, lines)
    assert made["monitor"]["damaged"] == 7
    assert made["probes"][0]["strip"] == "286n1o1n"


def test_the_month_counts_a_day_line_in_place_of_its_buckets() -> None:
    day = int(NOW) // 86400 - 3
    raw = [bucket(day * 86400 + 300 * slot, a_b=[0, 10, 1, [], 50 + slot]) for slot in range(10)]
    line = data.day_line(day, raw)
    assert line == {"t": day * 86400, "k": "day", "p": {"a.b": [100, 10, 59, 59]}}
    for lines in (raw, [line], [*raw, json.dumps(line)]):
        assert build(config({"name": "a.b"}), None, list(lines))["probes"][0]["up_30d"] == 90.0


def test_days_of_a_disk_are_the_last_values_of_its_days() -> None:
    today = int(NOW) // 86400
    lines = [{"t": (today - back) * 86400, "k": "day", "p": {"host.disk": [9, 0, 50 - back, 60]}} for back in (1, 2, 5)]
    disk = build(config({"name": "host.disk", "type": "disk"}), None, [*lines])["probes"][0]
    assert disk["days"] == [None] * 24 + [45, None, None, 48, 49, None]


def test_percentiles_are_of_what_was_measured() -> None:
    lines = [bucket(NOW - 300 * back, a_b=[0, 2, 0, [10.0, 20.0 if back > 1 else 400.0], 1]) for back in range(1, 41)]
    probe = build(config({"name": "a.b"}), None, lines)["probes"][0]
    assert (probe["p50"], probe["p95"]) == (10.0, 20.0)
    line = probe["line"]
    assert len(line["p50"]) == len(line["p95"]) == 96
    assert line["p95"][-1] == "z"  # what is above the top stays in the picture
    assert line["p95"][0] == "-"


@pytest.mark.parametrize(
    ("kept", "status"),
    [
        pytest.param(None, "no_data", id="never-asked"),
        pytest.param({}, "no_data", id="empty"),
        pytest.param({"status": "ok"}, "no_data", id="no-result"),
        pytest.param(result(), "ok", id="fresh"),
        pytest.param(result(checked_at=NOW - 239), "ok", id="within-three-intervals"),
        pytest.param(result(checked_at=NOW - 241), "no_data", id="older-than-three-intervals"),
        pytest.param(result("sunny"), "no_data", id="unknown-status"),
        pytest.param(result("waiting"), "waiting", id="waiting"),
        pytest.param(result("degraded"), "degraded", id="degraded"),
    ],
)
def test_missing_data_is_never_ok(kept: dict[str, Any] | None, status: str) -> None:
    state = empty_state(probes={} if kept is None else {"a.b": kept})
    assert build(config({"name": "a.b"}), state)["probes"][0]["status"] == status


def test_a_rare_probe_is_fresh_for_its_own_interval() -> None:
    state = empty_state(probes={"a.b": result(checked_at=NOW - 9000)})
    assert build(config({"name": "a.b", "every": "1h"}), state)["probes"][0]["status"] == "ok"


def test_a_project_that_was_never_released_waits() -> None:
    settings = config({"name": "shop.web", "project": "shop"}, projects={"shop": {"title": "Shop", "backups": ["db"]}})
    made = build(settings, None, None, releases={"shop": {"waiting": True}})
    assert made["projects"][0]["waiting"]
    assert made["probes"][0]["status"] == "waiting"
    assert read.assess([read.clean(made)], NOW).level == "z"


def test_a_declared_backup_without_a_probe_is_missing_data() -> None:
    projects = {"shop": {"title": "Shop", "backups": ["database", "files"], "domains": ["shop.fr", "*.shop.fr"]}}
    made = build(config({"name": "shop.backup.files", "type": "backup", "project": "shop"}, projects=projects))
    assert made["expected"] == [
        {"section": "backups", "project": "shop", "name": "database"},
        {"section": "tls", "project": "shop", "name": "shop.fr"},
    ]


def test_what_the_containers_say_comes_before_what_was_written_down() -> None:
    settings = config(
        {"name": "shop.containers", "type": "containers", "project": "shop"},
        projects={"shop": {"title": "Shop", "containers_probe": "shop.containers"}},
    )
    found = {"version": "2.0.0", "started_at": data.rfc3339(NOW - 3600)}
    state = empty_state(probes={"shop.containers": result(type="containers", details=found)})
    release = {"version": "1.9.0", "at": NOW - 86400, "by": "awa", "waiting": False}
    project = build(settings, state, None, releases={"shop": release})["projects"][0]
    assert (project["version"], project["live_since"]) == ("2.0.0", NOW - 3600)
    assert project["released_at"] == NOW - 86400
    release["version"] = "2.0.0"
    project = build(settings, state, None, releases={"shop": release})["projects"][0]
    assert (project["version"], project["live_since"]) == ("2.0.0", NOW - 86400)


def test_incidents_are_pairs_of_what_began_and_what_ended() -> None:
    def event(kind: str, ago: float, name: str, **more: Any) -> str:
        return json.dumps({"t": NOW - ago, "k": "event", "event": kind, "probe": name, **more})

    lines = [
        event("firing", 5000, "a.b", since=NOW - 5100, reason="timeout"),
        event("escalated", 4000, "a.b"),
        event("resolved", 3000, "a.b"),
        event("resolved", 80000, "a.c", duration=20000),  # it began before the day did
        event("firing", 90000, "a.d"),  # too long ago, and it still lasts
        event("restart", 100, "a.b"),
        event("overrun", 50, ""),
    ]
    alert = {"state": "escalated", "since": NOW - 90100}
    state = empty_state(probes={"a.d": result("critical", alert=alert, reason="refused", message="no")})
    made = build(config({"name": "a.b"}, {"name": "a.c"}, {"name": "a.d"}), state, lines)
    assert [(one["name"], one["from"], one["to"]) for one in made["incidents"]] == [
        ("a.b", NOW - 5100, NOW - 3000),
        ("a.d", NOW - 90100, None),
        ("a.c", NOW - 100000, NOW - 80000),
    ]
    counts = made["counts"]
    assert (counts["incidents"], counts["escalated"], counts["restarts"], counts["overruns"]) == (3, 1, 1, 1)


@pytest.mark.parametrize(
    ("alert", "expected"),
    [
        pytest.param({"state": "ok"}, None, id="none"),
        pytest.param({"state": "ok", "fault": True, "fault_at": NOW - 9}, ("firing", ""), id="own-fault"),
        pytest.param({"state": "pending"}, ("pending", ""), id="pending"),
        pytest.param({"state": "firing", "acked": {"by": "Awa", "until": NOW + 9}}, ("firing", "Awa"), id="acked"),
        pytest.param({"state": "firing", "acked": {"by": "Awa", "until": NOW - 9}}, ("firing", ""), id="ack-expired"),
    ],
)
def test_alerts(alert: dict[str, Any], expected: tuple[str, str] | None) -> None:
    state = empty_state(probes={"a.b": result("critical", alert=alert)})
    found = build(config({"name": "a.b"}), state)["probes"][0]["alert"]
    assert (found and (found["state"], found["acked_by"])) == expected


@pytest.mark.parametrize(
    ("rules", "shown"),
    [
        (["used_pct > 80", "inodes_used_pct > 80"], "used_pct > 80 · inodes_used_pct > 80"),
        ([{"on": "used_pct > 85", "clear": "used_pct < 80"}], "used_pct > 85"),
        ("latency_ms > 800", "latency_ms > 800"),
        ([f'body ~ "{world.SECRET}"', 'header.authorization == "x"'], ""),
    ],
)
def test_limits_are_told_and_contents_are_not(rules: Any, shown: str) -> None:
    state = empty_state(probes={"a.b": result("critical")})
    assert build(config({"name": "a.b", "crit": rules}), state)["probes"][0]["limit"] == shown


@pytest.mark.parametrize("strip", ["", "288x", "287o", "289o", "0o288o", "288o\n", "1o" * 289, "999o"])
def test_what_is_no_strip_is_refused(strip: str) -> None:
    with pytest.raises(ValueError, match=r"strip|slots"):
        data.decode(strip)


def test_strips_go_both_ways() -> None:
    letters = "nnocwu" * 48
    runs = data.decode(data.encode(letters))
    assert "".join(letter * count for letter, _at, count in runs) == letters
    assert [at for _letter, at, _count in runs][:3] == [0, 2, 3]


def test_an_answer_without_a_time_is_none() -> None:
    host = world.Host(projects=["techplus"])
    host.state["probes"]["techplus.health"]["result"]["checked_at"] = None
    by_name = {probe["name"]: probe["status"] for probe in host.report()["probes"]}
    assert by_name["techplus.health"] == "no_data"
    assert by_name["techplus.web"] == "ok"
