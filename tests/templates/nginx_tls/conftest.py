# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's files as Ansible itself renders them, from its defaults and a scenario."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles/nginx_tls"
SCENARIOS = Path(__file__).parent / "scenarios"
RELEASES = ("Debian-12", "Debian-13")

# As the action plugin of file_set renders.
WHITESPACE = {"trim_blocks": True, "lstrip_blocks": True}

Rendered = dict[str, str]
Render = Callable[..., Rendered]


def _load(path: Path) -> dict[str, Any]:
    return dict(DataLoader().load_from_file(str(path), trusted_as_template=True) or {})


def scenarios() -> list[str]:
    """Names of the scenarios, each a file of role variables."""
    return sorted(path.stem for path in SCENARIOS.glob("*.yml"))


@pytest.fixture(scope="session", autouse=True)
def _collection() -> None:
    init_plugin_loader([str(ROOT / "collections")])


@pytest.fixture(scope="session")
def render() -> Render:
    """All files of templates that the role would write on a release for a scenario, by path."""

    def rendered(release: str, scenario: str = "minimal", **changes: object) -> Rendered:
        variables: dict[str, Any] = {
            **_load(ROLE / "defaults/main.yml"),
            **_load(SCENARIOS / f"{scenario}.yml"),
            **_load(ROLE / "vars/main.yml"),
            **_load(ROLE / f"vars/{release}.yml"),
            **changes,
            "ansible_managed": "Written by a test",
        }
        listed = trust_as_template(
            "{{ __nginx_tls_nginx_files + __nginx_tls_acme_files"
            " + (__nginx_tls_active | map('quai.ops.nginx_site_file')) }}"
        )
        entries = Templar(DataLoader(), variables).template(listed)
        return {
            entry["path"]: _text(entry["template"], {**variables, **entry.get("vars", {})})
            for entry in entries
            if "template" in entry
        }

    return rendered


def _text(template: str, variables: dict[str, Any]) -> str:
    source = ROLE / "templates" / template
    templar = Templar(DataLoader(), variables).copy_with_new_env(
        searchpath=[str(source.parent), str(ROLE / "templates")], available_variables=variables
    )
    text = trust_as_template(source.read_text(encoding="utf-8"))
    return str(templar.template(text, escape_backslashes=False, overrides=WHITESPACE))
