# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page: whole, closed, in two languages, and green only where it may be (acceptance check 25)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _report_read
from ansible_collections.quai.ops.plugins.module_utils._report_html import CONTENT_POLICY, html

from tests.unit.report import world
from tests.unit.report.pages import Page

NOW = world.NOW
SECTIONS = ["verdict", "now", "day", "hosts", "tls", "backups", "disks", "machine", "queues", "monitor"]


def small_fleet() -> list[dict[str, Any]]:
    hosts = world.fleet(4, 50)
    hosts[3]["run"] -= 4 * 3600
    return [*hosts, _report_read.missing("vps98", "timeout"), _report_read.read(b"{}", "vps99")]


WORLDS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "well": lambda: [world.one()],
    "morning": lambda: [world.one("morning")],
    "no-data": lambda: [world.no_data()],
    "all-red": lambda: [world.all_red(world.one())],
    "fleet": small_fleet,
    "nobody": list,
    "never-reported": lambda: [_report_read.missing("vps9")],
}


@pytest.fixture(scope="module", params=WORLDS)
def page(request: pytest.FixtureRequest) -> str:
    return html(WORLDS[request.param](), NOW)


def test_it_is_closed_and_in_order(page: str) -> None:
    tree = Page(page)
    assert tree.problems == []
    assert sorted(set(tree.ids)) == sorted(tree.ids)
    assert tree.headings[0] == 1
    assert tree.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(tree.headings, tree.headings[1:]))


def test_it_has_the_ten_sections_in_their_order(page: str) -> None:
    places = [page.index(f'id="{name}" aria-labelledby') for name in SECTIONS]
    assert places == sorted(places)


def test_it_needs_nothing_from_elsewhere(page: str) -> None:
    tree = Page(page)
    assert "script" not in tree.names
    assert not re.search(r'https?://[^"]*\.(js|css)', page)
    fetched = {"src", "srcset", "action", "data", "poster", "background", "xlink:href"}
    assert [one for one in tree.attributes if one[1] in fetched] == []
    icons = [value for tag, name, value in tree.attributes if tag == "link" and name == "href"]
    assert len(icons) == 1
    assert icons[0].startswith("data:image/svg+xml,")
    assert "@import" not in page
    assert "url(" not in page
    assert ("meta", "content", CONTENT_POLICY) in tree.attributes


def test_links_within_it_lead_somewhere(page: str) -> None:
    tree = Page(page)
    inner = {link[1:] for link in tree.links if link.startswith("#")}
    assert inner <= set(tree.ids)
    assert all(re.match(r"#|data:|https?://|mailto:|tel:", link) for link in tree.links)
    referred = {value for _tag, name, value in tree.attributes if name in {"aria-labelledby", "for"}}
    assert referred <= set(tree.ids)


def test_every_text_is_in_both_languages(page: str) -> None:
    tree = Page(page)
    assert len(tree.texts["fr"]) == len(tree.texts["en"]) > 10
    french_only = re.compile(r"\b(?:Sauvegardes|Aucun|depuis|sondes?|critique|en attente|sans données|il y a)\b")
    english_only = re.compile(r"\b(?:Backups|since|probes?|critical|waiting|no data|ago)\b")
    assert not french_only.search(" ".join(tree.texts["en"]))
    assert not english_only.search(re.sub("no answer within", "", " ".join(tree.texts["fr"])))


@pytest.mark.parametrize("page", ["morning"], indirect=True)
def test_no_secret_is_shown(page: str) -> None:
    assert world.SECRET not in page
    assert "${" not in page


@pytest.mark.parametrize(
    ("name", "verdict", "level"),
    [
        ("well", "Tout va bien", "k"),
        ("morning", "3 problèmes", "c"),
        ("no-data", "1 problème", "c"),
        ("all-red", "79 problèmes", "c"),
        ("nobody", "Rien n’est surveillé", "z"),
        ("never-reported", "1 problème", "c"),
    ],
)
def test_verdicts(name: str, verdict: str, level: str) -> None:
    page = html(WORLDS[name](), NOW)
    heading = re.search(r'<section class="verdict (\w)".*?<h1[^>]*>(.*?)</h1>', page, re.DOTALL)
    assert heading
    assert heading[1] == level
    assert verdict in heading[2]


@pytest.mark.parametrize("page", ["no-data"], indirect=True)
def test_missing_data_is_never_green(page: str) -> None:
    body = page[page.index("<main") :]
    assert 'class="m k"' not in body
    assert '<path class="k"' not in body.replace('<path class="k" d="M0 10h24"/>', "")  # but in the legend
    assert "sans données" in body


def test_what_was_never_released_is_grey() -> None:
    host = world.Host(projects=["techplus"])
    host.facts["releases"]["techplus"]["waiting"] = True
    page = html([host.report()], NOW)
    tile = page[page.index('class="tile"') :]
    assert 'class="m z"' in tile[: tile.index("</li>")]
    assert "pas encore livré" in tile
    assert "en attente" in page


def test_a_problem_says_everything_a_person_needs() -> None:
    report = world.one("morning")
    page = html([report], NOW)
    first = page[page.index('<li class="card') :]
    card = re.sub(r"<[^>]+>", " ", first[: first.index("</li>")])
    for words in (
        *("techplus.health", "critique", "03:48", "il y a 3\u00a0h\u00a012", "pas de réponse à temps"),
        *("no answer within 5 s", "Pris en charge", "par personne", "Prochaine relance", "07:45"),
        *("systemctl restart", "+33 1 23 45 67 89", "ops@techplus.com"),
    ):
        assert words in card, words
    assert 'href="#p-techplus.health"' in first
    assert "par Awa, jusqu’à 10:00" in page
    assert "<code>used_pct &gt; 80" in page


def test_children_of_a_dead_parent_are_told_with_it() -> None:
    report = world.one(projects=["techplus"])
    by_name = {probe["name"]: probe for probe in report["probes"]}
    alert = {"state": "firing", "since": NOW - 900, "acked_by": "", "acked_until": None, "next": None, "told": 1}
    common = {"low": None, "high": None}
    parent = {**alert, **common, "suppressed": "", "by": ""}
    by_name["techplus.database.main"] |= {"status": "critical", "reason": "refused", "alert": parent}
    child = {**alert, **common, "suppressed": "dependency", "by": "techplus.database.main"}
    by_name["techplus.health"] |= {"status": "critical", "reason": "status", "alert": child}
    page = html([report], NOW)
    assert page.count('<li class="card') == 1
    assert "Entraîne 1 autre sonde : techplus.health" in page
    assert "dépendance en panne" in page


def test_sizes_and_times() -> None:
    fifty = world.one("morning", projects=["masstock", "techplus"], probes=50)
    before = time.process_time()
    page = html([fifty], NOW)
    spent = time.process_time() - before
    assert len(fifty["probes"]) == 50
    assert len(page.encode()) < 100_000
    assert spent < 0.25, f"{spent:.2f} s; it should be 0.02 s, and is with an idle processor"


def test_a_fleet_is_bounded() -> None:
    hosts = world.fleet(8, 50)
    eight = len(html(hosts, NOW).encode())
    four = len(html(hosts[:4], NOW).encode())
    assert (eight - four) / 4 < 36_000  # so that forty stay below 1.5 MB


def test_two_hosts_of_one_name_have_their_own_anchors() -> None:
    tree = Page(html([world.one(projects=["techplus"]), world.one(projects=["techplus"], seed=2)], NOW))
    assert sorted(set(tree.ids)) == sorted(tree.ids)


@pytest.mark.parametrize(
    ("languages", "first"), [(["en", "fr"], "en"), (["fr"], "fr"), (["de", "en"], "en"), ([], "fr")]
)
def test_the_first_language_is_the_reader_s(languages: list[str], first: str) -> None:
    report = {**world.one(projects=["techplus"]), "languages": languages}
    page = html([report], NOW)
    assert f'<html lang="{first}">' in page
    assert re.search(rf'id="{first}" checked', page)
    assert page.count(" checked>") == 1


def test_times_are_of_the_place() -> None:
    report = world.one("morning")
    assert "Europe/Paris, UTC+1" in html([report], NOW)
    assert "03:48" in html([report], NOW)
    utc = html([{**report, "timezone": "Nowhere/Atlantis"}], NOW)
    assert "heures : UTC" in utc
    assert "02:48" in utc


def test_a_fleet_shows_a_silent_host_first() -> None:
    page = html(small_fleet(), NOW)
    table = page[page.index('class="cardy ho"') :]
    table = table[: table.index("</table>")]
    rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)[1:]
    assert len(rows) == 6
    assert ["muet" in row or "illisible" in row for row in rows] == [True] * 3 + [False] * 3
    assert "4\u00a0h" in rows[0]


def section(page: str, name: str) -> str:
    """One section of a page."""
    found = page[page.index(f'id="{name}" aria-labelledby') :]
    return found[: found.index("</section>")]


@pytest.mark.parametrize("page", ["no-data"], indirect=True)
def test_a_day_without_data_is_not_a_quiet_one(page: str) -> None:
    assert "sans données" in section(page, "day")
    assert "Aucun incident" not in page


@pytest.mark.parametrize("page", ["no-data"], indirect=True)
def test_what_a_good_answer_would_mean_is_not_said_as_if_it_were_there(page: str) -> None:
    assert '<span lang="fr">attendu : health answers.</span>' in page
    assert ">health answers." not in page


def test_the_day_of_a_host_is_told_by_its_own_clock() -> None:
    report = {**world.one(projects=["techplus"]), "strip": "264o24c", "made": NOW + 200}
    assert "24 h : critique 05:00 – 07:00" in section(html([report], NOW + 200), "hosts")


def test_a_disk_without_data_has_no_trend() -> None:
    report = world.one(projects=["techplus"])
    disk = next(probe for probe in report["probes"] if probe["type"] == "disk")
    disk["details"]["full_in_days"] = None
    assert "stable" in section(html([report], NOW), "disks")
    disk["status"] = "no_data"
    blind = section(html([report], NOW), "disks")
    assert "sans données" in blind
    assert not re.search("stable|libres|inodes", blind)


def test_a_certificate_that_does_not_hold_is_red_however_long_it_lasts() -> None:
    report = world.one(projects=["techplus"])
    tls = next(probe for probe in report["probes"] if probe["type"] == "tls")
    tls |= {"status": "critical", "reason": "tls_host", "value": 61.0}
    tls["details"] |= {"tls_days": 61.0}
    shown = section(html([report], NOW), "tls")
    assert "certificat d’un autre nom" in shown
    assert 'class="k"' not in shown


def test_what_nothing_looks_at_keeps_its_project_from_green() -> None:
    report = world.one(projects=["techplus"])
    report["expected"] = [{"section": "backups", "project": "techplus", "name": "uploads"}]
    page = html([report], NOW)
    tile = page[page.index('class="tile"') :]
    assert 'class="m u"' in tile[: tile.index("</h3>")]
    overview = html([report, world.one(projects=["masstock"])], NOW)
    row = overview[overview.index('class="cardy ho"') :].split("<tr")[2]
    assert "sans données" in row
    assert re.search(r"\d+ sur \d+ OK", row)
