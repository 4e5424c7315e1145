# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pins are exact, and the ways to install the collections give the same ones."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.repo.support import ROOT, files, text

REQUIRED: list[dict[str, Any]] = yaml.safe_load((ROOT / "requirements.yml").read_text(encoding="utf-8"))["collections"]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
CARRIED = Path(str(importlib.metadata.distribution("ansible").locate_file("ansible_collections")))
# Names of three parts that are modules or other plugins: at the start of a task, or in a filter or lookup.
WHOLE = r"[a-z_]+\.[a-z_]+\.[a-z_]+"
COLLECTION = r"([a-z][a-z_]+\.[a-z][a-z_]+)\.[a-z][a-z_]+"
NAME = re.compile(rf"(?:^\s*(?:- )?(?={WHOLE}:(?:\s|$))|\| |lookup\('){COLLECTION}", re.MULTILINE)
OURS = {"ansible.builtin", "quai.ops"}


def pins(lock: Path) -> dict[str, str]:
    """Versions by name; a line that is no exact pin has an empty one."""
    lines = [line.split("#")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines()]
    return {name.lower(): version for name, _, version in (line.partition("==") for line in lines if line)}


@pytest.mark.parametrize("wanted", REQUIRED, ids=lambda wanted: str(wanted["name"]))
def test_the_pinned_ansible_carries_the_required_versions(wanted: dict[str, Any]) -> None:
    manifest = CARRIED / wanted["name"].replace(".", "/") / "MANIFEST.json"
    version = json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"]
    assert version == wanted["version"], f"{manifest}: write {version} into requirements.yml, or pin another ansible"


@pytest.mark.parametrize("wanted", REQUIRED, ids=lambda wanted: str(wanted["name"]))
def test_collections_are_pinned(wanted: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", str(wanted.get("version", ""))), f"{wanted}: give one exact version"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.name))
def test_packages_are_pinned(lock: Path) -> None:
    assert pins(lock)
    assert {name: version for name, version in pins(lock).items() if not re.fullmatch(r"\d[\w.!+]*", version)} == {}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.name))
def test_no_index_is_named(lock: Path) -> None:
    assert "://" not in lock.read_text(encoding="utf-8")
    assert "--" not in lock.read_text(encoding="utf-8")


def test_what_is_installed_is_what_is_pinned() -> None:
    lock = ROOT / "requirements" / ("py311.txt" if sys.version_info < (3, 12) else "py312.txt")
    wanted = {name: version for name, version in pins(lock).items() if name in {"ansible", "ansible-core", "pytest"}}
    assert len(wanted) == 3
    assert {name: importlib.metadata.version(name) for name in wanted} == wanted


def test_the_older_and_the_newer_python_have_both_a_lock() -> None:
    assert [lock.name for lock in LOCKS] == ["py311.txt", "py312.txt"]


def used() -> dict[str, str]:
    """Collections that the repository uses, each with a place."""
    found = {}
    for path in files():
        place = path.relative_to(ROOT)
        if place.parts[0] in {"roles", "playbooks", "molecule", "inventories", "deploy.yml"} and path.suffix == ".yml":
            found.update({match.group(1): str(place) for match in NAME.finditer(text(path))})
    return found


def test_every_collection_that_is_used_is_required() -> None:
    missing = {name: place for name, place in used().items() if name not in OURS | {one["name"] for one in REQUIRED}}
    assert missing == {}


def test_the_search_finds_what_is_used() -> None:
    assert set(used()) >= OURS
    sample = '- name: X\n  community.general.thing:\n    a: "{{ b | community.crypto.other }}"\n'
    assert set(NAME.findall(sample)) == {"community.general", "community.crypto"}
