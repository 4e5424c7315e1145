# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd units need so that they run with the files that are on disk now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Properties that parse_show reads.
PROPERTIES = ("LoadState", "UnitFileState", "ActiveState", "SubState", "NeedDaemonReload")
RUNNING = ("active", "reloading", "activating", "refreshing")
# Unit files with one of these states start as something else says; they can be neither enabled nor disabled.
FIXED = ("static", "alias", "indirect", "generated", "transient")


@dataclass(frozen=True)
class Unit:
    """A unit as it should be. ``enabled`` or ``running`` of None leaves that side alone."""

    name: str
    enabled: bool | None = None
    running: bool | None = None
    flag: str = ""
    verb: str = "reload"
    check: tuple[str, ...] = ()
    probe: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """A unit as systemd sees it, in systemd's own words."""

    load: str = "not-found"
    file: str = ""
    active: str = "inactive"
    sub: str = "dead"
    stale: bool = False

    @property
    def loaded(self) -> bool:
        """Whether there is such a unit and it can be used."""
        return self.load == "loaded"

    @property
    def running(self) -> bool:
        """Whether the unit is up or on its way up; one that systemd only keeps starting again is not."""
        return self.active in RUNNING and not self.sub.startswith("auto-restart")


def parse_show(output: str, names: Sequence[str]) -> dict[str, State]:
    """States from C(systemctl show -p PROPERTIES NAME …)."""
    states = {}
    for name, block in zip(names, output.strip().split("\n\n")):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        states[name] = State(
            load=values.get("LoadState", "not-found"),
            file=values.get("UnitFileState", ""),
            active=values.get("ActiveState", "inactive"),
            sub=values.get("SubState", "dead"),
            stale=values.get("NeedDaemonReload") == "yes",
        )
    return states


def plan(unit: Unit, state: State, pending: set[str]) -> list[str]:
    """Systemctl verbs to run for one unit, in order; empty when it is as wanted.

    A unit that must be started needs no reload: it starts with the files that are there.
    """
    verbs = []
    # "enabled-runtime" ends with the next boot, so it counts as disabled.
    if unit.enabled is not None and unit.enabled != (state.file == "enabled") and state.file not in FIXED:
        verbs.append("enable" if unit.enabled else "disable")
    if unit.running is True and not state.running:
        # What kept failing may not be started again before somebody says that the cause is gone.
        verbs += ["reset-failed", "start"] if state.active == "failed" else ["start"]
    elif unit.running is False and state.active not in ("inactive", "failed"):
        verbs.append("stop")
    elif unit.flag in pending and state.running:
        # A unit on its way up has no process yet that could reload.
        verbs.append(unit.verb if state.active == "active" else "restart")
    return verbs


__all__ = ["PROPERTIES", "State", "Unit", "parse_show", "plan"]
