# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text twin and the subject of its mail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _report_read
from ansible_collections.quai.ops.plugins.module_utils._report_text import (
    BARS,
    WIDTH,
    hours,
    subject,
    text,
    verdict,
    width,
)

from tests.unit.report import world
from tests.unit.report.test_report_html import WORLDS

NOW = world.NOW
HEADS = {
    "fr": [
        "MAINTENANT",
        "24 HEURES",
        "HÔTES",
        "PROJETS",
        "CERTIFICATS",
        "SAUVEGARDES",
        "DISQUES",
        "MACHINE",
        "FILES",
        "SURVEILLANCE",
    ],
    "en": ["NOW", "24 HOURS", "HOSTS", "PROJECTS", "CERTIFICATES", "BACKUPS", "DISKS", "MACHINE", "QUEUES", "MONITOR"],
}


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("name", WORLDS)
def test_it_is_narrow_and_whole(name: str, language: str) -> None:
    lines = text(WORLDS[name](), NOW, language).splitlines()
    assert [line for line in lines if width(line) > WIDTH] == []
    assert [line for line in lines if line in HEADS[language]] == HEADS[language]
    assert [line for line in lines if line != line.rstrip()] == []


def test_the_first_line_is_the_verdict() -> None:
    reports = [world.one("morning")]
    assert text(reports, NOW).splitlines()[0] == "3 problèmes — 2 critiques, 1 alerte, 76 OK"
    assert verdict(reports, NOW) == "3 problèmes — 2 critiques, 1 alerte, 76 OK"
    assert verdict(reports, NOW, "en") == "3 problems — 2 critical, 1 warning, 76 OK"
    assert verdict([world.one()], NOW) == "Tout va bien — 79 OK"


def test_no_secret_is_told() -> None:
    assert world.SECRET not in text([world.one("morning")], NOW)


def test_letters_that_are_wide_are_counted() -> None:
    report = world.one("morning", projects=["techplus"])
    for probe in report["probes"]:
        probe["message"] = "東京が応答しません" * 9
    report["projects"][0]["title"] = "東京" * 20
    lines = text([report], NOW).splitlines()
    assert max(width(line) for line in lines) <= WIDTH
    assert any("東京" in line for line in lines)
    assert width("東a\u0301") == 3


@pytest.mark.parametrize(
    ("strip", "bars"),
    [
        ("288o", "▁" * 24),
        ("288n", "·" * 24),
        ("276o1c11o", "▁" * 23 + "▇"),
        ("12n12w12u252o", "·▅▃" + "▁" * 21),
    ],
)
def test_hours_show_their_worst(strip: str, bars: str) -> None:
    assert hours(strip) == bars


def test_bars_are_those_of_the_reference() -> None:
    assert BARS == "▁▂▃▅▇"


def case(name: str) -> list[dict[str, Any]]:
    cases: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "well": lambda: [world.one()],
        "two": lambda: world.fleet(2, 0),
        "morning": lambda: [world.one("morning")],
        "silent": lambda: [world.one(), {**world.one(name="vps2"), "run": NOW - 10800}, _report_read.missing("vps3")],
        "blip": lambda: [world.one("blip", projects=["techplus"])],
        "nobody": list,
    }
    return cases[name]()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("well", "[vps1] OK 1 host, 79 probes"),
        ("two", "[fleet] OK 2 hosts, 68 probes"),
        (
            "morning",
            (
                "[vps1] 2 CRIT 1 WARN: techplus.health (timeout), host.disk (threshold), "
                "niasotac.backup.database (stale 1 d 7 h)"
            ),
        ),
        ("silent", "[fleet] 2 CRIT: vps2 (silent 3 h), vps3 (no report)"),
        ("blip", "[vps1] 1 TO CONFIRM: techplus.health (status)"),
        ("nobody", "[fleet] NOTHING IN SERVICE 0 hosts, 0 probes"),
    ],
)
def test_subjects(name: str, expected: str) -> None:
    assert subject(case(name), NOW) == expected


def test_a_subject_is_one_short_line_whatever_hosts_are_called() -> None:
    report = world.all_red(world.one())
    report["host"] = "vps1\r\nBcc: everybody@example.com"
    made = subject([report], NOW)
    assert made.isprintable()
    assert len(made) <= 160
    assert made.startswith("[vps1 Bcc: everybody@example.com] 79 CRIT: ")


def test_what_does_not_hold_or_is_not_looked_at_is_not_ticked() -> None:
    report = world.one(projects=["techplus"])
    tls = next(probe for probe in report["probes"] if probe["type"] == "tls")
    tls |= {"status": "critical", "reason": "tls_chain", "value": 61.0}
    report["expected"] = [{"section": "backups", "project": "techplus", "name": "uploads"}]
    lines = text([report], NOW).splitlines()
    assert next(line for line in lines if "techplus.com" in line).startswith("✗")
    well = {**world.one(projects=["techplus"]), "expected": report["expected"]}
    marks = [line[0] for line in text([well], NOW).splitlines() if line[1:].startswith((" vps1  ", " TechPlus "))]
    assert marks[:2] == ["?", "?"]


def test_a_day_without_data_is_not_a_quiet_one() -> None:
    assert "Aucun incident" not in text([world.no_data()], NOW)
