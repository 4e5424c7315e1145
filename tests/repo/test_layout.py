# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clone is the collection: five narrow links, and nothing that would replace them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.repo.support import ROOT

GALAXY: dict[str, Any] = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
COLLECTION = ROOT / "collections" / "ansible_collections" / GALAXY["namespace"] / GALAXY["name"]
LINKED = ["galaxy.yml", "meta", "playbooks", "plugins", "roles"]


@pytest.mark.parametrize("name", LINKED)
def test_links_are_relative_and_lead_to_the_root(name: str) -> None:
    link = COLLECTION / name
    assert link.is_symlink(), f"{link} must be a link; molecule's prerun may have replaced it: git checkout {link}"
    assert not link.readlink().is_absolute(), (
        f"{link} leads to {link.readlink()}; a clone elsewhere needs a relative one"
    )
    assert link.resolve() == ROOT / name
    assert link.exists()


def test_there_are_no_other_links() -> None:
    assert sorted(path.name for path in COLLECTION.iterdir()) == LINKED
    assert not COLLECTION.is_symlink()


def test_no_link_leads_to_its_own_parent() -> None:
    """A link to the root would make tools walk in circles."""
    for path in COLLECTION.iterdir():
        assert path.resolve() not in COLLECTION.resolve().parents


def test_the_collection_that_is_imported_is_this_one() -> None:
    module = importlib.import_module(
        f"ansible_collections.{GALAXY['namespace']}.{GALAXY['name']}.plugins.module_utils._files"
    )
    assert Path(str(module.__file__)).resolve() == ROOT / "plugins/module_utils/_files.py"


def test_molecule_runs_nothing_beforehand() -> None:
    settings = yaml.safe_load((ROOT / ".config/molecule/config.yml").read_text(encoding="utf-8"))
    assert settings["prerun"] is False, "its default replaces the links by a stale copy"


@pytest.mark.parametrize("path", sorted((ROOT / "molecule").glob("*/molecule.yml")), ids=lambda path: path.parent.name)
def test_no_scenario_switches_it_on_again(path: Path) -> None:
    assert (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("prerun", False) is False


def test_action_groups_name_only_what_there_is() -> None:
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))
    there = {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}
    assert set(runtime["action_groups"]["ops"]) <= there


def test_what_does_not_belong_into_the_package_is_left_out() -> None:
    needed = {"collections", "tests", "molecule", "inventories", "projects", "lab", "build", ".*"}
    assert needed <= set(GALAXY["build_ignore"])
