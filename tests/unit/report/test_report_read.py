# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports of other hosts: whatever they hold, the page is made, and nothing of theirs is believed without a check."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _report_html, _report_read, _report_text

from tests.unit.report import world
from tests.unit.report.pages import Page

NOW = world.NOW
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=y>\u202e\u0000\ud800"


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return world.one("morning", projects=["techplus"])


def both(reports: list[dict[str, Any]]) -> tuple[str, str]:
    page = _report_html.html(reports, NOW)
    page.encode()
    letter = _report_text.text(reports, NOW)
    letter.encode()
    assert Page(page).problems == []
    return page, letter


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        pytest.param(b"", "no JSON", id="empty"),
        pytest.param(b"<html>502</html>", "no JSON", id="html"),
        pytest.param(b"\xff\xfe\x00", "no JSON", id="bytes"),
        pytest.param(b"[" * 100_000, "no JSON", id="deep"),
        pytest.param(b"[]", "report is [], not a map", id="list"),
        pytest.param(b"null", "not a map", id="null"),
        pytest.param(b'{"version": NaN}', "NaN is no number", id="nan"),
        pytest.param(b'{"version": 1}', "report has no host", id="missing-keys"),
        pytest.param(b" " * 10_000_000, "10000000 bytes, more than 1048576", id="ten-megabytes"),
    ],
)
def test_what_is_no_report_is_unreadable_and_red(raw: bytes, why: str) -> None:
    found = _report_read.read(raw, "vps9")
    assert why in found["unreadable"]
    page, letter = both([found, world.one(projects=["techplus"])])
    assert _report_read.assess([found], NOW).level == "c"
    assert "rapport illisible" in page
    assert "vps9" in letter


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a report."""
    found = [at] if at else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += paths(item, (*at, key))
    elif isinstance(value, list):
        for position, item in enumerate(value[:1]):
            found += paths(item, (*at, position))
    return found


def changed(report: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    other = copy.deepcopy(report)
    target = other
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    return other


@pytest.mark.parametrize(
    "value",
    [None, True, -1, 1e300, 10**400, "x", HOSTILE, [], [1], {}, {"a": {"b": []}}],
    ids=lambda value: repr(value)[:12],
)
def test_any_value_at_any_place_makes_a_page(report: dict[str, Any], value: Any) -> None:
    small = {**report, "probes": [one for one in report["probes"] if one["name"] in ("techplus.health", "host.disk")]}
    believed = 0
    for place in paths(small):
        found = _report_read.clean(changed(small, place, value), "vps9")
        if "unreadable" in found:
            continue
        believed += 1
        page = _report_html.html([found], NOW)
        page.encode()
        assert "<script" not in page
        assert "<img" not in page
        _report_text.text([found], NOW).encode()
        assert _report_text.subject([found], NOW).isprintable()
    assert believed < len(paths(small)), "something is checked"


def test_what_is_not_believed_makes_a_page_whatever_it_says() -> None:
    found = _report_read.clean({"version": HOSTILE}, HOSTILE)
    assert "version is" in found["unreadable"]
    page, letter = both([found])
    assert "<script" not in page
    assert "\u202e" not in page + letter


def test_any_key_may_be_missing(report: dict[str, Any]) -> None:
    small = {**report, "probes": report["probes"][:1]}
    for place in paths(small):
        if isinstance(place[-1], str):
            other = copy.deepcopy(small)
            target: Any = other
            for key in place[:-1]:
                target = target[key]
            del target[place[-1]]
            found = _report_read.clean(other, "vps9")
            if "unreadable" not in found:
                _report_html.html([found], NOW)
                _report_text.text([found], NOW)


def test_texts_of_others_are_escaped(report: dict[str, Any]) -> None:
    hostile = copy.deepcopy(report)
    hostile["host"] = HOSTILE
    hostile["url"] = "javascript:alert(1)"
    for project in hostile["projects"]:
        project["title"] = HOSTILE
        project["contacts"] = [{"name": HOSTILE, "link": "javascript:x", "email": HOSTILE, "phone": HOSTILE}]
    for probe in hostile["probes"]:
        probe |= {"message": HOSTILE, "hint": HOSTILE, "title": HOSTILE, "reason": "timeout"}
        probe["details"] = {**probe["details"], "host": HOSTILE, "path": HOSTILE}
    cleaned = _report_read.clean(hostile)
    assert "unreadable" not in cleaned, cleaned["unreadable"]
    for reports in ([cleaned], [cleaned, report]):
        page, letter = both(reports)
        tree = Page(page)
        assert [
            link for link in tree.links if not re.match(r"#|data:image|https://|mailto:[\w.]+@|tel:[+0-9]+\Z", link)
        ] == []
        assert "script" not in tree.names
        assert "img" not in tree.names
        assert not [name for _tag, name, _value in tree.attributes if name.startswith("on")]
        assert "\u202e" not in page + letter


def test_what_is_too_much_is_refused(report: dict[str, Any]) -> None:
    many = {**report, "probes": [{**report["probes"][0], "name": f"a.{count}"} for count in range(501)]}
    assert "more than 500" in _report_read.clean(many)["unreadable"]
    twice = {**report, "probes": [report["probes"][0]] * 2}
    assert "two probes have one name" in _report_read.clean(twice)["unreadable"]
    later = {**report, "version": 2}
    assert "version is 2" in _report_read.clean(later)["unreadable"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        pytest.param({}, None, id="fresh"),
        pytest.param({"run": NOW - 599, "made": NOW - 590}, None, id="within-ten-minutes"),
        pytest.param({"run": NOW - 601, "made": NOW - 590}, "host_silent", id="older"),
        pytest.param({"run": NOW - 181, "made": NOW}, "host_silent", id="made-of-a-stale-state"),
        pytest.param({"run": None}, "host_never", id="never-ran"),
        pytest.param({"run": NOW + 301, "made": NOW + 310}, "host_ahead", id="clock-ahead"),
        pytest.param({"interval": 3600, "run": NOW - 10000, "made": NOW - 9990}, None, id="three-long-intervals"),
    ],
)
def test_what_is_old_is_not_believed(report: dict[str, Any], change: dict[str, Any], word: str | None) -> None:
    changed_report = _report_read.clean({**report, **change})
    found = _report_read.fault(changed_report, NOW)
    assert (found and found.word) == word


def test_a_stale_host_is_red_and_nothing_of_it_green(report: dict[str, Any]) -> None:
    stale = _report_read.clean({**world.one(projects=["techplus"]), "run": NOW - 7200})
    judged = _report_read.assess([stale], NOW)
    assert (judged.level, judged.counts["ok"], judged.counts["problem"]) == ("c", 0, 1)
    page = _report_html.html([stale], NOW)
    assert 'role="alert"' in page
    assert "2\u00a0h" in page
    assert 'class="m k"' not in page[page.index("</style>") : page.index('id="machine"')]


def test_a_host_without_data_is_red() -> None:
    blind = _report_read.clean(world.no_data())
    judged = _report_read.assess([blind, _report_read.clean(world.one())], NOW)
    assert judged.level == "c"
    page = _report_html.html([blind, world.one(name="vps2")], NOW)
    row = page[page.index('class="cardy ho"') :].split("<tr", 3)[2]
    assert 'class="c"' in row
    assert "vps1" in row


@pytest.mark.parametrize(
    ("status", "alert", "kind", "level"),
    [
        ("ok", None, "ok", "k"),
        ("degraded", None, "watch", "w"),
        ("critical", {"state": "pending"}, "watch", "c"),
        ("critical", {"state": "firing"}, "problem", "c"),
        ("critical", {"state": "flapping"}, "problem", "c"),
        ("ok", {"state": "flapping"}, "problem", "w"),
        ("ok", {"state": "escalated"}, "problem", "w"),
        ("warning", {"state": "firing"}, "problem", "w"),
        ("unknown", {"state": "firing"}, "problem", "u"),
        ("critical", {"state": "firing", "suppressed": "maintenance"}, "silenced", "z"),
        ("ok", {"state": "firing", "suppressed": "release"}, "problem", "w"),
        ("no_data", {"state": "firing"}, "no_data", "u"),
        ("waiting", None, "waiting", "z"),
    ],
)
def test_how_a_probe_stands(status: str, alert: dict[str, Any] | None, kind: str, level: str) -> None:
    found = _report_read.standing({"status": status, "alert": alert and {"suppressed": "", **alert}})
    assert (found.kind, found.level) == (kind, level)


def test_nobody_handles_comes_before_handled() -> None:
    judged = _report_read.assess([_report_read.clean(world.one("morning"))], NOW)
    assert [problem.probe and problem.probe["name"] for problem in judged.problems] == [
        "techplus.health",
        "host.disk",
        "niasotac.backup.database",
    ]


def test_reports_survive_json(report: dict[str, Any]) -> None:
    assert _report_read.read(json.dumps(report)) == _report_read.clean(report)
