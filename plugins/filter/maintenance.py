# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role maintenance; the logic is in plugin_utils/_maintenance.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.quai.ops.plugins.filter.monitoring import json_file
from ansible_collections.quai.ops.plugins.plugin_utils import _maintenance


def maintenance_problems(jobs: Sequence[Any], secrets: Mapping[str, Any]) -> list[str]:
    """What is wrong with the role's variables; empty when nothing is."""
    return _maintenance.problems(jobs, secrets)


def maintenance_files(jobs: Sequence[Mapping[str, Any]], secrets: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries for C(quai.ops.file_set): per project its jobs, the secrets they name, and where their ends are noted.

    The sign of life is made once, so that silence counts from the day on which the job came to the host.
    """
    entries: list[dict[str, Any]] = []
    for project in sorted({str(job["project"]) for job in jobs}):
        own = [dict(job) for job in jobs if job["project"] == project]
        values = {name: str(secrets[name]) for name in sorted(_maintenance.named(own))}
        state = f"/var/lib/quai/maintenance/{project}"
        common = {"path": f"/etc/quai/maintenance/{project}"}
        entries += [
            {**common, "path": f"{common['path']}.json", "mode": "0644", "content": json_file({"jobs": own})},
            {
                "path": f"{common['path']}.secrets.json",
                "mode": "0600",
                "secret": True,
                "content": json_file(values),
            },
            {"path": state, "state": "directory", "mode": "0755"},
        ]
        entries += [
            {"path": f"{state}/{job['name']}.done", "content": "", "mode": "0644", "force": False} for job in own
        ]
    return entries


def maintenance_unit_names(job: Mapping[str, Any]) -> list[str]:
    """The units of a job: a service, and a timer when it has a schedule."""
    return _maintenance.units(job)


def maintenance_unit_files(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries for C(quai.ops.file_set): the files of a job's units."""
    return [
        {
            "path": f"/etc/systemd/system/{name}",
            "template": f"etc/systemd/system/job.{name.rpartition('.')[2]}.j2",
            "vars": {"job": dict(job)},
            "mode": "0644",
            "notify": [_flag(name)],
        }
        for name in _maintenance.units(job)
    ]


def maintenance_units(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries for C(quai.ops.units): a timer runs and takes a new schedule; its service is only known of."""
    return [
        {"name": name, "enabled": True, "state": "started", "flag": _flag(name), "verb": "restart"}
        if name.endswith(".timer")
        else {"name": name}
        for name in _maintenance.units(job)
    ]


def _flag(unit: str) -> str:
    """Of each timer its own: another job's new schedule must not make this one begin again."""
    return f"maintenance-{unit.rpartition('.')[0]}"


class FilterModule:
    """Filters for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {
            "maintenance_files": maintenance_files,
            "maintenance_problems": maintenance_problems,
            "maintenance_unit_files": maintenance_unit_files,
            "maintenance_unit_names": maintenance_unit_names,
            "maintenance_units": maintenance_units,
        }
