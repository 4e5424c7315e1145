#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring systemd units to their state, reloads that an earlier run owes included."""

from __future__ import annotations

DOCUMENTATION = r"""
module: units
short_description: Bring systemd units to their state, owed reloads included
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Enables, starts, reloads and restarts a list of units in one round trip, and verifies that they run afterwards.
  - A unit is reloaded or restarted when its O(units[].flag) is raised, which M(quai.ops.file_set) does when it writes.
    It is lowered only after the unit took the new files, so a run killed in between is completed by the next one.
  - The manager itself is reloaded when a unit file on disk is newer than what it has loaded.
attributes:
  check_mode:
    support: full
    description: Says which units would be started, enabled, reloaded. A unit that does not exist yet would be.
  diff_mode:
    support: none
    description: There is no text to compare.
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  units:
    description: The units, in the order in which they are treated.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Full name of the unit, for example V(nginx.service).
        type: str
        required: true
      enabled:
        description: Whether it starts with the host. Left alone when not given.
        type: bool
      state:
        description: Whether it runs now. Left alone when not given.
        type: str
        choices: [started, stopped]
      flag:
        description: Name of the flag that asks for O(units[].verb).
        type: str
        default: ""
      verb:
        description: How the unit takes new files.
        type: str
        choices: [reload, restart]
        default: reload
      check:
        description: Command that must succeed before the unit is started, reloaded or restarted.
        type: list
        elements: str
        default: []
      probe:
        description:
          - Command that succeeds while what the unit has set up is still there. When it fails although the unit is
            active, the unit is treated as if its O(units[].flag) were raised, which must be given then.
        type: list
        elements: str
        default: []
  pending:
    description: Flags that earlier tasks of this run would raise. Only needed so that check mode predicts.
    type: list
    elements: str
    default: []
seealso:
  - module: quai.ops.file_set
"""

EXAMPLES = r"""
- name: Service | Run nginx
  quai.ops.units:
    pending: "{{ __web_files.pending }}"
    units:
      - name: nginx.service
        enabled: true
        state: started
        flag: nginx
        check: [nginx, -t, -q]
"""

RETURN = r"""
actions:
  description: What was or would be done, as systemctl verbs.
  returned: always
  type: list
  elements: str
  sample: [reload nginx.service]
"""

import time
from contextlib import nullcontext

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quai.ops.plugins.module_utils import _lock, _pending, _units
from ansible_collections.quai.ops.plugins.module_utils._files import run

# How long a unit that was just started is watched.
SETTLE_SECONDS = 1.0
POLL_SECONDS = 0.2


class UnitFailed(Exception):
    """A unit did not take what was asked of it."""


def show(names: list[str]) -> dict[str, _units.State]:
    """What systemd knows of the units."""
    code, said = run(["systemctl", "show", "-p", ",".join(_units.PROPERTIES), "--", *names])
    if code != 0:
        raise UnitFailed(f"systemctl show failed: {said}")
    return _units.parse_show(said, names)


def act(unit: _units.Unit, verbs: list[str]) -> None:
    """Run the verbs; raises UnitFailed with the unit's own last words."""
    if unit.check and {"start", "reload", "restart"} & set(verbs):
        code, said = run(unit.check)
        if code != 0:
            raise UnitFailed(
                f"{unit.name} was left as it is, because {' '.join(unit.check)!r} refuses its configuration: {said}"
            )
    for verb in verbs:
        code, said = run(["systemctl", verb, unit.name])
        if code != 0:
            raise UnitFailed(
                f"systemctl {verb} {unit.name} failed: {said}\nits journal ends with:\n{last_words(unit.name)}"
            )


def bring(units: list[_units.Unit], expected: set[str], actions: list[str], *, check_mode: bool) -> None:
    """Bring the units to their state; what is done is added to C(actions)."""
    names = [unit.name for unit in units]
    pending = _pending.read() | expected
    states = show(names)
    if any(state.stale for state in states.values()):
        actions.append("daemon-reload")
    if not check_mode and any(state.stale or not state.loaded for state in states.values()):
        code, said = run(["systemctl", "daemon-reload"])
        if code != 0:
            raise UnitFailed(f"systemctl daemon-reload failed: {said}")
        states = show(names)
    for unit in units:
        state = states[unit.name]
        if not state.loaded and not check_mode and (unit.running or unit.enabled):
            raise UnitFailed(
                f"{unit.name} cannot be used, systemd calls it {state.load!r}; is its package or unit file installed?"
            )
        # Systemd calls a oneshot unit active although what it set up is gone, as a firewall after `nft flush ruleset`.
        lost = bool(unit.probe) and state.running and run(unit.probe)[0] != 0
        verbs = _units.plan(unit, state, pending | {unit.flag} if lost else pending)
        actions += [f"{verb} {unit.name}" for verb in verbs]
        if not check_mode:
            act(unit, verbs)
    if check_mode:
        return
    # Lowered only now: two units may share a flag.
    for flag in {unit.flag for unit in units if unit.flag}:
        _pending.clear(flag)
    started = any(action.partition(" ")[0] in ("start", "restart") for action in actions)
    names = [unit.name for unit in units if unit.running]
    if names:
        watch(names, SETTLE_SECONDS if started else 0)


def watch(names: list[str], seconds: float) -> None:
    """Make sure that units run, and go on to: most programs that cannot start end after systemctl has returned."""
    deadline = time.monotonic() + seconds
    while True:
        for name, state in show(names).items():
            if not state.running:
                raise UnitFailed(
                    f"{name} was to run and is {state.active} ({state.sub}); its journal ends with:\n{last_words(name)}"
                )
        if time.monotonic() >= deadline:
            return
        time.sleep(POLL_SECONDS)


def last_words(name: str) -> str:
    """The end of a unit's journal."""
    return run(["journalctl", "--no-pager", "-q", "-n", "15", "-o", "cat", "-u", name])[1]


def main() -> None:
    """Compare with systemd's view, then act unit by unit."""
    module = AnsibleModule(
        argument_spec={
            "units": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "enabled": {"type": "bool"},
                    "state": {"choices": ["started", "stopped"]},
                    "flag": {"type": "str", "default": ""},
                    "verb": {"choices": ["reload", "restart"], "default": "reload"},
                    "check": {"type": "list", "elements": "str", "default": []},
                    "probe": {"type": "list", "elements": "str", "default": []},
                },
            },
            "pending": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    units = [
        _units.Unit(
            name=item["name"],
            enabled=item["enabled"],
            running=None if item["state"] is None else item["state"] == "started",
            flag=item["flag"],
            verb=item["verb"],
            check=tuple(item["check"]),
            probe=tuple(item["probe"]),
        )
        for item in module.params["units"]
    ]
    actions: list[str] = []
    try:
        _pending.refuse_bad(unit.flag for unit in units if unit.flag)
        with nullcontext() if module.check_mode else _lock.held(_pending.LOCK, wait_seconds=600):
            bring(units, set(module.params["pending"]), actions, check_mode=module.check_mode)
    except (UnitFailed, _lock.LockHeld, ValueError, OSError) as error:
        module.fail_json(msg=str(error), actions=actions)
    module.exit_json(changed=bool(actions), actions=actions)


if __name__ == "__main__":
    main()
