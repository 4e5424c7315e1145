# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations become facts. Runs on the controller only and opens no connection."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.quai.ops.plugins.plugin_utils import _controller, _derive, _projects, _validate
from ansible_collections.quai.ops.plugins.plugin_utils._problems import DeclarationError


class ActionModule(ActionBase):  # type: ignore[misc]
    """Load, validate, derive."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the facts, or fail with every problem of every declaration at once."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _spec, options = self.validate_argument_spec(
            argument_spec={
                "projects_dir": {"type": "path"},
                "projects": {"type": "list", "elements": "str"},
                "version": {"type": "str", "default": ""},
                "release": {"type": "bool", "default": False},
                "secrets": {"type": "bool", "default": True},
            }
        )
        variables = _controller.Variables(self._templar, task_vars or {})
        try:
            result["ansible_facts"] = _facts(options, variables)
        except DeclarationError as error:
            raise AnsibleActionFail(str(error)) from None
        result["changed"] = False
        return result


def _facts(options: Mapping[str, Any], variables: _controller.Variables) -> dict[str, Any]:
    directory = _projects.find_directory(_controller.directories(options, variables))
    groups: Mapping[str, list[str]] = variables.get("groups", {})
    hosts = _projects.placement(_projects.declared(directory), groups)
    wanted = options["projects"]
    if wanted is None:
        wanted = list(hosts.get(variables.get("inventory_hostname", ""), ()))
    elif wanted == ["all"]:
        wanted = _projects.declared(directory)
    documents = _projects.load_projects(directory, wanted, groups)
    environments = {name: _environment(variables, name) for name in wanted}
    surroundings = _validate.Surroundings(
        hosts=hosts,
        secrets=_secret_names(variables, wanted) if options["secrets"] else None,
        settings={name: environment.settings for name, environment in environments.items()},
        overrides={name: environment.overrides for name, environment in environments.items()},
        vault_directory=_vault_directory(variables),
    )
    declarations, problems = _validate.validate(documents, surroundings)
    asked = [declarations[name] for name in wanted]
    versions = {name: options["version"] or variables.get("quai_versions", {}).get(name, "") for name in wanted}
    if options["release"]:
        problems += _projects.unversioned(asked, versions)
    if problems:
        raise DeclarationError(problems)
    derived = {}
    for declaration in asked:
        name = declaration.name
        derived[name] = _derive.derive(declaration.data, environments[name], versions[name])
        derived[name]["hosts"] = [host for host, projects in hosts.items() if name in projects]
    return {
        "quai_project_names": list(wanted),
        "quai_derived": derived,
        "quai_host": _derive.merge_host(derived.values(), _page(variables), _environment(variables, "")),
    }


def _page(variables: _controller.Variables) -> dict[str, Any]:
    """Return the inventory's C(quai_page), or raise with what is wrong with it."""
    page = variables.get("quai_page", {}) or {}
    problems = _validate.page_problems(page)
    if problems:
        raise DeclarationError(problems)
    return dict(page)


def _secret_names(variables: _controller.Variables, projects: list[str]) -> dict[str, frozenset[str]]:
    return {name: variables.names_with_values(_validate.vault_variable(name)) for name in projects}


def _environment(variables: _controller.Variables, project: str) -> _derive.Environment:
    return _derive.Environment(
        registry=variables.get("quai_registry", ""),
        registry_mirror=variables.get("quai_registry_mirror", ""),
        certificate=variables.get("quai_certificate", {}),
        settings=variables.of_project("quai_settings", project),
        overrides=variables.of_project("quai_overrides", project),
        probe_authority=variables.get("quai_probe_authority", ""),
    )


def _vault_directory(variables: _controller.Variables) -> str:
    inventory = _controller.inventory_directory(variables)
    if not inventory:
        return "inventories/<environment>/group_vars/all"
    path = inventory / "group_vars" / "all"
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
