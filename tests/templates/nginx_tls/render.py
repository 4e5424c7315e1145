# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's files as Ansible itself renders them, for every release and scenario, as JSON.

A process of its own: Ansible finds the collection's filters only when nobody has imported the collection before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles/nginx_tls"
SCENARIOS = Path(__file__).parent / "scenarios"
RELEASES = ("Debian-12", "Debian-13")
# As the action plugin of file_set renders.
WHITESPACE = {"trim_blocks": True, "lstrip_blocks": True}


def scenarios() -> list[str]:
    """Names of the scenarios, each a file of role variables."""
    return sorted(path.stem for path in SCENARIOS.glob("*.yml"))


def rendered(release: str, scenario: str) -> dict[str, str]:
    """All files made of templates that the role would write, by path."""
    variables: dict[str, Any] = {
        **_load(ROLE / "defaults/main.yml"),
        **_load(SCENARIOS / f"{scenario}.yml"),
        **_load(ROLE / "vars/main.yml"),
        **_load(ROLE / f"vars/{release}.yml"),
        "ansible_managed": "Written by a test",
    }
    listed = trust_as_template(
        "{{ __nginx_tls_nginx_files + __nginx_tls_acme_files"
        " + (__nginx_tls_active | map('quai.ops.nginx_site_file')) }}"
    )
    return {
        entry["path"]: _text(entry["template"], {**variables, **entry.get("vars", {})})
        for entry in Templar(DataLoader(), variables).template(listed)
        if "template" in entry
    }


def _load(path: Path) -> dict[str, Any]:
    return dict(DataLoader().load_from_file(str(path), trusted_as_template=True) or {})


def _text(template: str, variables: dict[str, Any]) -> str:
    source = ROLE / "templates" / template
    templar = Templar(DataLoader(), variables).copy_with_new_env(
        searchpath=[str(source.parent), str(ROLE / "templates")], available_variables=variables
    )
    text = trust_as_template(source.read_text(encoding="utf-8"))
    return str(templar.template(text, escape_backslashes=False, overrides=WHITESPACE))


if __name__ == "__main__":
    init_plugin_loader([str(ROOT / "collections")])
    print(json.dumps({release: {name: rendered(release, name) for name in scenarios()} for release in RELEASES}))
