# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role monitoring_cron; the logic is in plugin_utils/_monitoring.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.plugins.filter.core import to_nice_json
from ansible_collections.quai.ops.plugins.filter.host_python import host_python
from ansible_collections.quai.ops.plugins.plugin_utils import _monitoring

FLAG = "monitoring_cron"


def absent_file(name: str, directory: str) -> dict[str, str]:
    """Entry for C(quai.ops.file_set): a file that is not there."""
    return {"path": f"{directory}/{name}", "state": "absent"}


def host_program(program: str, below: str = "") -> list[dict[str, str]]:
    """Entries for C(quai.ops.file_set): a program of module_utils with every file that it imports."""
    return [host_python(module, below) for module in _monitoring.needed(program)]


def json_file(content: Mapping[str, Any]) -> str:
    """The text of a JSON file, the same for the same content."""
    return str(to_nice_json(content, indent=1, ensure_ascii=False)) + "\n"


def monitor_problems(
    config: Mapping[str, Any], secrets: Mapping[str, Any], scheduler: str, report_at: str
) -> list[str]:
    """What is wrong with the role's variables; empty when nothing is."""
    return _monitoring.problems(config, secrets, scheduler, report_at)


def monitor_unit(name: str, wanted: bool = True) -> dict[str, Any]:
    """Entry for C(quai.ops.units): a timer runs and takes new settings; what it starts is only known of, or stopped."""
    if not wanted:
        return {"name": name, "state": "stopped", **({"enabled": False} if name.endswith(".timer") else {})}
    if not name.endswith(".timer"):
        return {"name": name}
    return {"name": name, "enabled": True, "state": "started", "flag": FLAG, "verb": "restart"}


def monitor_unit_file(name: str, present: bool = True) -> dict[str, Any]:
    """Entry for C(quai.ops.file_set): the file of a unit."""
    path = f"/etc/systemd/system/{name}"
    if not present:
        return {"path": path, "state": "absent"}
    return {"path": path, "template": f"{path.lstrip('/')}.j2", "mode": "0644", "notify": [FLAG]}


class FilterModule:
    """Filters for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {
            "absent_file": absent_file,
            "host_program": host_program,
            "json_file": json_file,
            "monitor_problems": monitor_problems,
            "monitor_unit": monitor_unit,
            "monitor_unit_file": monitor_unit_file,
        }
