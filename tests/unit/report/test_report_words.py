# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words, numbers and times in both languages."""

from __future__ import annotations

import re
import string

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _report_words as words
from ansible_collections.quai.ops.plugins.module_utils._probe_base import REASONS

from tests.unit.report import world


@pytest.mark.parametrize("key", words.WORDS)
def test_both_languages_say_the_same_things(key: str) -> None:
    french, english = words.WORDS[key]
    assert french
    assert english

    def fields(text: str) -> set[str]:
        return {name for _text, name, _spec, _conversion in string.Formatter().parse(text) if name}

    asked = fields(french)
    assert asked == fields(english)
    for text in (french, english):
        for part in text.split("|"):
            assert fields(part) == asked
    assert "'" not in french, "a French apostrophe is ’"


def test_every_reason_has_its_words() -> None:
    assert [reason for reason in REASONS if f"r_{reason}" not in words.WORDS] == []


def test_every_word_is_used() -> None:
    from pathlib import Path

    directory = Path(words.__file__).parent
    source = "".join(path.read_text() for path in directory.glob("_report_*.py"))
    built = re.compile(r"(?:r_|n_|by_|s_|t_|u_).*")
    unused = [
        key for key in words.WORDS if not built.fullmatch(key) and len(re.findall(rf"[\"']{key}[\"']", source)) < 2
    ]
    assert unused == []


@pytest.mark.parametrize(
    ("seconds", "french", "english"),
    [
        (None, "sans données", "no data"),
        (0, "0 s", "0 s"),
        (0.04, "0,04 s", "0.04 s"),
        (1.4, "1,4 s", "1.4 s"),
        (59, "59 s", "59 s"),
        (60, "1 min", "1 min"),
        (3599, "59 min", "59 min"),
        (3600, "1 h", "1 h"),
        (11520, "3 h 12", "3 h 12"),
        (111600, "1 j 7 h", "1 d 7 h"),
        (63 * 86400 + 7200, "63 j", "63 d"),
        (2000 * 86400, "2 000 j", "2,000 d"),
    ],
)
def test_durations(seconds: float | None, french: str, english: str) -> None:
    def plain(text: str) -> str:
        return text.replace(words.HARD, " ").replace(words.THIN, " ")

    assert plain(words.duration("fr", seconds)) == french
    assert plain(words.duration("en", seconds)) == english


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (99.996, 2, "99.99%"),
        (100, 2, "100%"),
        (0, 1, "0%"),
        (54.4, 0, "54%"),
        (None, 0, "no data"),
        (120.5, 1, "120.5%"),
    ],
)
def test_shares_are_never_rounded_to_perfection(value: float | None, digits: int, text: str) -> None:
    assert words.percent("en", value, digits) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 o"),
        (999, "999 o"),
        (1000, "1,0 Kio"),
        (3_200_000_000, "3,0 Gio"),
        (52_000_000, "50 Mio"),
        (None, "sans données"),
    ],
)
def test_sizes(count: float | None, text: str) -> None:
    assert words.size("fr", count).replace(words.HARD, " ") == text


@pytest.mark.parametrize(
    ("language", "n", "text"),
    [("fr", 0, "0 hôte"), ("fr", 1, "1 hôte"), ("fr", 2, "2 hôtes"), ("en", 0, "0 hosts"), ("en", 1, "1 host")],
)
def test_plurals(language: str, n: int, text: str) -> None:
    assert words.say(language, "hosts", n=n) == text


def test_times() -> None:
    paris = words.Zone("Europe/Paris")
    assert paris.offset(world.NOW) == "Europe/Paris, UTC+1"
    assert paris.offset(world.NOW - 120 * 86400) == "Europe/Paris, UTC+2"
    assert words.Zone("Asia/Kolkata").offset(world.NOW) == "Asia/Kolkata, UTC+5:30"
    assert paris.moment("fr", world.NOW, world.NOW) == "07:00"
    assert paris.moment("fr", world.NOW - 86400, world.NOW).replace(words.HARD, " ") == "ven. 20 nov. 07:00"
    assert paris.date("en", world.NOW + 60 * 86400, world.NOW).replace(words.HARD, " ") == "20 Jan 2027"


@pytest.mark.parametrize("name", ["", "UTC", "../../etc/passwd", "No/Such", "\x00"])
def test_an_unknown_zone_is_utc_and_says_so(name: str) -> None:
    zone = words.Zone(name)
    assert zone.offset(world.NOW) == "UTC"
    assert zone.clock(world.NOW) == "06:00"


@pytest.mark.parametrize(
    ("value", "unit", "french", "english"),
    [
        (1, "services", "1\u00a0service", "1\u00a0service"),
        (12, "jobs", "12\u00a0tâches", "12\u00a0jobs"),
        (0, "lines/h", "0\u00a0ligne/h", "0\u00a0lines/h"),
        (2, "processes", "2\u00a0processus", "2\u00a0processes"),
        (3, "instances", "3\u00a0instances", "3\u00a0instances"),
    ],
)
def test_no_count_is_without_its_unit(value: float, unit: str, french: str, english: str) -> None:
    assert words.quantity("fr", value, unit) == french
    assert words.quantity("en", value, unit) == english
