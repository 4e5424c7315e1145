# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd units need so that they run with the files that are on disk now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RUNNING = ("active", "reloading", "activating")


@dataclass(frozen=True)
class Unit:
    """A unit as it should be. ``enabled`` or ``running`` of None leaves that side alone."""

    name: str
    enabled: bool | None = None
    running: bool | None = None
    flag: str = ""
    verb: str = "reload"
    check: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """A unit as systemd sees it."""

    loaded: bool = False
    enabled: bool = False
    active: str = "inactive"
    stale: bool = False

    @property
    def running(self) -> bool:
        """Whether the unit is up or on its way up."""
        return self.active in RUNNING


def parse_show(output: str, names: Sequence[str]) -> dict[str, State]:
    """States from C(systemctl show -p LoadState,UnitFileState,ActiveState,NeedDaemonReload NAME …)."""
    states = {}
    blocks = output.strip().split("\n\n")
    for name, block in zip(names, blocks):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        states[name] = State(
            loaded=values.get("LoadState") == "loaded",
            enabled=values.get("UnitFileState", "").startswith("enabled"),
            active=values.get("ActiveState", "inactive"),
            stale=values.get("NeedDaemonReload") == "yes",
        )
    return states


def plan(unit: Unit, state: State, pending: Mapping[str, object] | set[str]) -> list[str]:
    """Systemctl verbs to run for one unit, in order; empty when it is as wanted.

    A unit that must be started needs no reload: it starts with the files that are there.
    """
    verbs = []
    if unit.enabled is not None and unit.enabled != state.enabled:
        verbs.append("enable" if unit.enabled else "disable")
    if unit.running is True and not state.running:
        verbs.append("start")
    elif unit.running is False and state.running:
        verbs.append("stop")
    elif unit.flag in pending and state.running:
        verbs.append(unit.verb)
    return verbs


__all__ = ["State", "Unit", "parse_show", "plan"]
