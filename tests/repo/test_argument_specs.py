# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Defaults, argument specs and uses of a role's variables say the same."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.repo.support import ROOT, files, text

ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "meta/argument_specs.yml").exists())
TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "list": list,
    "dict": dict,
    "path": str,
}


@cache
def load(path: Path) -> dict[str, Any]:
    """A YAML file's dictionary."""
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def options(role: str) -> dict[str, dict[str, Any]]:
    """The options of all entry points."""
    specs = load(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]
    return {name: option for spec in specs.values() for name, option in (spec.get("options") or {}).items()}


def defaults(role: str) -> dict[str, Any]:
    """The defaults."""
    path = ROOT / "roles" / role / "defaults/main.yml"
    return load(path) if path.exists() else {}


def variables(role: str, source: str) -> set[str]:
    """Public variables of a role that a text names."""
    found = re.finditer(rf"(?<![\w.-]){role}_[a-z0-9_]+\b(?![-./(])|(?<=\bquai_host\.){role}_[a-z0-9_]+", source)
    scenarios = {path.name for path in (ROOT / "molecule").iterdir()}
    return {match.group() for match in found} - scenarios


def every_option(role: str) -> list[tuple[str, dict[str, Any]]]:
    """Options and suboptions at any depth, with their place."""

    def walk(place: str, some: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        found = []
        for name, option in some.items():
            found.append((f"{place}{name}", option))
            found += walk(f"{place}{name}.", option.get("options") or {})
        return found

    return walk("", options(role))


def test_every_role_has_a_spec() -> None:
    assert sorted(path.name for path in (ROOT / "roles").iterdir()) == ROLES


@pytest.mark.parametrize("role", ROLES)
class TestRole:
    """One role."""

    def test_names_are_the_same(self, role: str) -> None:
        required = {name for name, option in options(role).items() if option.get("required")}
        assert set(options(role)) - required == set(defaults(role))

    def test_values_are_the_same(self, role: str) -> None:
        wrong = {
            name: (option.get("default"), defaults(role)[name])
            for name, option in options(role).items()
            if not option.get("required") and option.get("default") != defaults(role)[name]
        }
        assert wrong == {}, "(spec, defaults) differ"

    def test_every_default_is_documented_where_it_is(self, role: str) -> None:
        for name, option in options(role).items():
            assert option.get("required") or "default" in option, f"{name} has a default that its spec does not tell"

    def test_types(self, role: str) -> None:
        for name, option in every_option(role):
            kind = option.get("type")
            assert kind in {*TYPES, "raw"}, f"{name}: type is {kind!r}"
            if kind == "list":
                assert "elements" in option, f"{name}: a list says what its elements are"
            default = option.get("default")
            if kind == "raw" or default is None or (isinstance(default, str) and "{{" in default):
                continue
            assert isinstance(default, TYPES[kind]), f"{name}: {default!r} is no {kind}"
            assert kind == "bool" or not isinstance(default, bool), f"{name}: {default!r} is no {kind}"
            if "choices" in option:
                chosen = option["default"] if kind == "list" else [default]
                assert set(chosen) <= set(option["choices"]), f"{name}: {default!r} is none of its choices"

    def test_descriptions(self, role: str) -> None:
        for name, option in every_option(role):
            assert option.get("description"), f"{name} has no description"

    def test_names_begin_with_the_role(self, role: str) -> None:
        constants = [name for path in (ROOT / "roles" / role / "vars").glob("*.yml") for name in load(path)]
        assert [name for name in {*defaults(role), *options(role)} if not name.startswith(f"{role}_")] == []
        assert [name for name in constants if not name.startswith(f"__{role}_")] == []

    def test_the_role_uses_what_it_declares_and_nothing_else(self, role: str) -> None:
        used: set[str] = set()
        for path in files():
            if ROOT / "roles" / role in path.parents and path.suffix in {".yml", ".j2"} and path.parent.name != "meta":
                body = "\n".join(line for line in text(path).splitlines() if not line.lstrip().startswith("#"))
                used |= variables(role, body) if path.parent.name != "defaults" else set()
        assert used <= set(options(role)), "used, and in no spec"
        assert set(options(role)) <= used, "declared, and never used"

    def test_everybody_else_uses_what_it_declares(self, role: str) -> None:
        places = ("inventories", "playbooks", "molecule", "deploy.yml")
        unknown = {
            f"{path.relative_to(ROOT)}: {name}"
            for path in files()
            if path.relative_to(ROOT).parts[0] in places and path.suffix in {".yml", ".yaml", ".j2"}
            for name in variables(role, text(path))
            if name not in options(role)
        }
        assert unknown == set(), "no argument spec knows these"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        pytest.param("nginx_tls_sites: []", {"nginx_tls_sites"}, id="key"),
        pytest.param("{{ nginx_tls_sites | length }}", {"nginx_tls_sites"}, id="expression"),
        pytest.param("__nginx_tls_sites", set(), id="internal"),
        pytest.param("my_nginx_tls_sites", set(), id="longer-name"),
        pytest.param("ansible_facts.quai_host.nginx_tls_sites", {"nginx_tls_sites"}, id="derived"),
        pytest.param("molecule/nginx_tls_alternative", set(), id="scenario"),
    ],
)
def test_variables_are_found(source: str, found: set[str]) -> None:
    assert variables("nginx_tls", source) == found
