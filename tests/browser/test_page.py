# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The morning page in a real browser: light, dark, on a phone, on paper; one host and forty; well and all red."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _report_read
from ansible_collections.quai.ops.plugins.module_utils._report_html import html

from tests.browser.conftest import Look, Seen
from tests.unit.report import world

NOW = world.NOW
SECTIONS = ["verdict", "now", "day", "hosts", "tls", "backups", "disks", "machine", "queues", "monitor"]
DESKTOP, PHONE = 1200, 360


def forty() -> list[dict[str, Any]]:
    """A fleet of forty of whom one is silent, one was never heard of and one lies."""
    reports = world.fleet(40, 50)
    reports[5] = _report_read.missing("vps06", "no answer within 10 s")
    reports[6] = _report_read.read(b'{"host": "<script>alert(1)</script>"}', "vps07")
    reports[20]["run"] -= 4 * 3600
    return reports


def stale() -> list[dict[str, Any]]:
    report = world.one()
    report["run"] -= 7200
    return [report]


WORLDS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "well": lambda: [world.one()],
    "morning": lambda: [world.one("morning")],
    "no-data": lambda: [world.no_data()],
    "stale": stale,
    "all-red": lambda: [world.all_red(world.one("morning"))],
    "fleet": lambda: [*world.fleet(3, 50), _report_read.missing("vps98"), _report_read.read(b"{}", "vps99")],
    "forty": forty,
}
# Each world is opened in some of these ways, those of one host and of a small fleet with everything unfolded.
WAYS: dict[str, dict[str, Any]] = {
    "light": {"scheme": "light", "width": DESKTOP, "axe": True},
    "dark": {"scheme": "dark", "width": DESKTOP, "language": "en", "axe": True},
    "phone": {"scheme": "light", "width": PHONE, "language": "en", "axe": True},
    "phone-dark": {"scheme": "dark", "width": PHONE},
    "desktop": {"scheme": "light", "width": DESKTOP},
    "tablet": {"scheme": "light", "width": 768},
    "keyboard": {"scheme": "light", "width": DESKTOP, "keyboard": True},
    "paper": {"scheme": "light", "width": 794, "media": "print"},
}


@pytest.fixture(scope="module")
def seen(look: Look, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Seen]:
    """Everything that was seen, by world and way: one start of the browser for all."""
    directory = tmp_path_factory.mktemp("pages")
    cases = []
    keys = []
    for name, make in WORLDS.items():
        page = directory / f"{name}.html"
        page.write_text(html(make(), NOW), encoding="utf-8")
        for way in ways(name):
            keys.append((name, way))
            cases.append({"name": f"{name} {way}", "page": page, "open": name != "forty", **WAYS[way]})
    return dict(zip(keys, look(cases)))


def ways(name: str) -> list[str]:
    """The ways in which a world is opened: what depends on the amount is seen with the large ones."""
    if name == "forty":
        return ["desktop", "phone-dark"]
    return [
        "light",
        "dark",
        "phone",
        "keyboard",
        *(["tablet", "paper", "phone-dark"] if name in ("morning", "fleet") else []),
    ]


every = pytest.mark.parametrize(("name", "way"), [(name, way) for name in WORLDS for way in ways(name)])
SMALL = [name for name in WORLDS if name != "forty"]


@every
def test_it_opens_in_silence_and_asks_nobody(seen: dict[tuple[str, str], Seen], name: str, way: str) -> None:
    one = seen[name, way]
    assert one["console"] == []
    assert one["errors"] == []
    own = [url for url in one["requests"] if url.startswith("file:")]
    assert len(own) == 1
    assert [url for url in one["requests"] if url not in own and not url.startswith("data:")] == []
    assert one["sections"] == SECTIONS


@every
def test_nothing_is_wider_than_the_window(seen: dict[tuple[str, str], Seen], name: str, way: str) -> None:
    scroll, client = seen[name, way]["document"]
    assert scroll <= client, seen[name, way]["tooWide"]
    assert seen[name, way]["tooWide"] == []


@every
def test_one_language_is_shown_at_a_time(seen: dict[tuple[str, str], Seen], name: str, way: str) -> None:
    one = seen[name, way]
    shown = one.get("expected") or WAYS[way].get("language", "fr")
    hidden = "en" if shown == "fr" else "fr"
    assert one["languages"][shown] > 20
    assert one["languages"][hidden] == 0


@pytest.mark.parametrize("name", SMALL)
def test_the_keyboard_chooses_the_language(seen: dict[tuple[str, str], Seen], name: str) -> None:
    one = seen[name, "keyboard"]
    assert one["tabs"] <= 2  # after the link that skips it
    assert one["outline"] == "solid 3px"
    assert one["chosen"] == one["expected"] == "en"


@pytest.mark.parametrize(("name", "way"), [(name, way) for name in SMALL for way in ways(name) if WAYS[way].get("axe")])
def test_nobody_is_kept_out(seen: dict[tuple[str, str], Seen], name: str, way: str) -> None:
    one = seen[name, way]
    assert one["passes"] > 15
    bad = [each for each in one["violations"] if each["impact"] in ("serious", "critical")]
    assert bad == []


@pytest.mark.parametrize("name", SMALL)
def test_dark_is_dark(seen: dict[tuple[str, str], Seen], name: str) -> None:
    def light(way: str) -> float:
        red, green, blue = (int(part) for part in seen[name, way]["background"][4:-1].split(", "))
        return (red + green + blue) / 765

    assert light("dark") < 0.2
    assert light("light") > 0.9


@pytest.mark.parametrize(
    ("name", "french", "english", "marks"),
    [
        ("well", "Tout va bien", "All is well", {"k"}),
        ("morning", "3 problèmes", "3 problems", {"k", "w", "c"}),
        ("no-data", "1 problème", "1 problem", {"c", "u"}),
        ("stale", "1 problème", "1 problem", {"c", "u"}),
        ("all-red", "79 problèmes", "79 problems", {"c"}),
        ("fleet", "2 problèmes", "2 problems", {"k", "c"}),
    ],
)
def test_the_verdict_is_what_one_sees(
    seen: dict[tuple[str, str], Seen], name: str, french: str, english: str, marks: set[str]
) -> None:
    assert seen[name, "light"]["headline"] == french
    assert seen[name, "dark"]["headline"] == english
    assert marks <= set(seen[name, "light"]["marks"])
    if name in ("no-data", "stale"):
        assert "k" not in seen[name, "light"]["marks"]


def test_forty_hosts_are_all_there(seen: dict[tuple[str, str], Seen]) -> None:
    assert seen["forty", "desktop"]["headline"] == "7 problèmes"


def test_forty_hosts_open_quickly(seen: dict[tuple[str, str], Seen]) -> None:
    assert seen["forty", "desktop"]["milliseconds"] < 10_000  # well below a second on an idle machine


def test_the_fleet_is_of_bearable_size(tmp_path: Path) -> None:
    page = tmp_path / "fleet.html"
    page.write_text(html(forty(), NOW), encoding="utf-8")
    assert page.stat().st_size < 1_500_000
