# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents lead to what there is."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.repo.support import ROOT, files, params, text

LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|<(?:img|a)\s[^>]*?(?:src|href)=\"([^\"]+)\"")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
DOCUMENTS = params("*.md")


def links(source: str) -> list[str]:
    """Where a document leads; code is no document."""
    plain = re.sub(r"`[^`\n]*`", "", FENCE.sub("", source))
    return [first or second for first, second in LINK.findall(plain)]


def anchors(source: str) -> set[str]:
    """The anchors of a document's headings, as forges make them."""
    headings = re.findall(r"^#{1,6}\s+(.+?)\s*#*$", FENCE.sub("", source), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def broken(path: Path, link: str) -> str:
    """Why a link leads nowhere; empty when it does not."""
    if re.match(r"[a-z][a-z0-9+.-]*:", link):
        return "" if link.startswith(("https://", "http://", "mailto:")) else "is of an unknown kind"
    place, _, anchor = link.partition("#")
    target = (path.parent / unquote(place)).resolve() if place else path
    if not target.exists():
        return f"{target} does not exist"
    if not target.is_relative_to(ROOT):
        return "leads out of the repository"
    if anchor and target.suffix == ".md" and anchor not in anchors(text(target)):
        return f"{target.name} has no heading #{anchor}"
    return ""


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_lead_somewhere(path: Path) -> None:
    wrong = {link: broken(path, link) for link in links(text(path)) if broken(path, link)}
    assert wrong == {}


@pytest.mark.parametrize(
    ("link", "words"),
    [
        pytest.param("README.md", "", id="file"),
        pytest.param("roles/", "", id="directory"),
        pytest.param("https://example.org/x", "", id="elsewhere"),
        pytest.param("no-such-file.md", "does not exist", id="missing"),
        pytest.param("../outside", "", id="outside"),
        pytest.param("README.md#no-such-heading", "has no heading", id="no-heading"),
        pytest.param("file:///etc/passwd", "unknown kind", id="scheme"),
    ],
)
def test_broken_links_are_found(link: str, words: str) -> None:
    reason = broken(ROOT / "CHANGELOG.md", link)
    assert words in reason
    assert bool(reason) is (bool(words) or link == "../outside")


def test_links_in_code_are_none() -> None:
    assert links('[a](b)\n```\n[c](d)\n```\n`[e](f)` <img src="g">\n![h](i "title")') == ["b", "g", "i"]


def test_anchors() -> None:
    assert anchors("# A house\n## `make up`, and then?\n```\n# no\n```\n### [Link](x)") == {
        "a-house",
        "make-up-and-then",
        "link",
    }


def test_there_is_a_readme_that_says_how_to_begin() -> None:
    readme = text(ROOT / "README.md")
    for words in ("make up", "make test", "make check", "make down"):
        assert words in readme


def test_every_role_has_a_readme() -> None:
    roles = {path.name for path in (ROOT / "roles").iterdir()}
    documented = {
        path.parent.name for path in files() if path.name == "README.md" and path.parent.parent.name == "roles"
    }
    assert documented == roles
