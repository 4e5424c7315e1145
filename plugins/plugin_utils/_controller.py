# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What actions on the controller share: inventory variables, and where declarations are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail


class Variables:
    """Inventory variables, templated when they are asked for."""

    def __init__(self, templar: Any, raw: Mapping[str, Any]) -> None:
        self._templar, self._raw = templar, raw

    def get(self, name: str, default: Any) -> Any:
        """Return the variable's value, or the default when it is not set or null."""
        value = self._templar.template(self._raw[name]) if name in self._raw else None
        if value is None:
            return default
        kind: type = Mapping if isinstance(default, dict) else type(default)
        if not isinstance(value, kind):
            raise AnsibleActionFail(f"{name} must be a {type(default).__name__}, it is a {type(value).__name__}")
        return value

    def of_project(self, name: str, project: str) -> dict[str, Any]:
        """Return the project's part of a variable that is a mapping by project."""
        part = self.get(name, {}).get(project) or {}
        if not isinstance(part, Mapping):
            raise AnsibleActionFail(f"{name}.{project} must be a dict, it is a {type(part).__name__}")
        return dict(part)

    def names_with_values(self, name: str) -> frozenset[str]:
        """Return the keys of a mapping that have a value; the values go no further."""
        return frozenset(str(key) for key, value in self.get(name, {}).items() if value not in (None, ""))


def directories(options: Mapping[str, Any], variables: Variables) -> list[str]:
    """Return where declarations may be: as told, else beside the playbooks, the inventory, or here."""
    told = options["projects_dir"] or variables.get("quai_projects_dir", "")
    if told:
        return [told]
    playbooks, inventory = variables.get("playbook_dir", ""), inventory_directory(variables)
    places = [Path(playbooks).parent, Path(playbooks)] if playbooks else []
    places += [inventory.parent.parent] if inventory else []
    return [str(place / "projects") for place in [*places, Path.cwd()]]


def inventory_directory(variables: Variables) -> Path | None:
    """Return the directory of the inventory; the implicit localhost does not know it, but knows the sources."""
    known: str = variables.get("inventory_dir", "")
    if known:
        return Path(known)
    for source in variables.get("ansible_inventory_sources", []):
        path = Path(source)
        if path.exists():
            return path if path.is_dir() else path.parent
    return None
