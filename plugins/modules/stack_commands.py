#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until no release works on a project, and run commands while none can begin."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_commands
short_description: Run commands on a host while no release of a project runs there
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Takes the lock that releases of the project take (M(quai.ops.compose_stack)), runs the commands one after another,
    and gives the lock back. A release that begins meanwhile waits, and is told for what.
  - Without commands it only waits until no release runs.
attributes:
  check_mode:
    support: full
    description: Says what would be run. It does not wait, and tells in RV(held_by) whether it would have to.
  diff_mode:
    support: none
    description: What a command changes is not known.
  idempotent:
    support: none
    description: Commands are run each time.
options:
  name:
    description: Name of the project, which is that of its stack.
    type: str
    required: true
  commands:
    description: What to run. The first that fails ends the run.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What it is for, as in RV(done) and in messages.
        type: str
        required: true
      argv:
        description: The command and its arguments. No shell reads it.
        type: list
        elements: str
        required: true
  purpose:
    description: What the lock is held for, for whoever waits for it.
    type: str
    default: commands of a playbook
  wait:
    description: How long to wait for a release to end, as in V(90s) or V(10m). V(0s) does not wait.
    type: str
    default: 60s
  timeout:
    description: How long one command may take.
    type: str
    default: 120s
seealso:
  - module: quai.ops.compose_stack
  - module: quai.ops.queue_repair
"""

EXAMPLES = r"""
- name: Worker | Restart it, but not into the middle of a release
  quai.ops.stack_commands:
    name: masstock
    purpose: a restart of its worker
    commands:
      - {name: worker, argv: [docker, restart, masstock_worker]}

- name: Release | Wait until none runs
  quai.ops.stack_commands:
    name: masstock
    wait: 10m
"""

RETURN = r"""
done:
  description: Names of the commands that were run, or would be.
  returned: always
  type: list
  elements: str
  sample: [worker]
held_by:
  description: Who worked on the project when this looked. Empty when nobody did.
  returned: in check mode
  type: str
  sample: process 4711 (a release)
reason:
  description:
    - Why it failed, in one word. V(release) when somebody worked on the project for all of O(wait), V(command) when a
      command failed, V(input) when what was asked for cannot be done.
  returned: failure
  type: str
  sample: release
"""

import shlex
import subprocess
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quai.ops.plugins.module_utils import _compose, _lock
from ansible_collections.quai.ops.plugins.module_utils._queue_rules import duration

# Of what a failed command said, the end stands in the message.
SAID = 500


class CommandFailed(Exception):
    """A command failed; the message says which, how, and its last words."""


def seconds(params: dict[str, Any], option: str) -> float:
    """What an option says, in seconds. Raises ValueError."""
    try:
        return duration(params[option]) / 1000
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None


def carry_out(command: dict[str, Any], timeout: float) -> None:
    """Run one command to its end. Raises CommandFailed."""
    shown = f"{command['name']}: {shlex.join(command['argv'])}"
    try:
        done = subprocess.run(
            command["argv"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{shown} did not end within {timeout:g} s and was killed") from None
    except (OSError, IndexError, ValueError) as error:
        raise CommandFailed(f"{shown} cannot be run: {error}") from None
    if done.returncode:
        said = " ".join(done.stdout.split())[-SAID:] or "it said nothing"
        raise CommandFailed(f"{shown} ended with {done.returncode}: {said}")


def main() -> None:
    """Run the commands under the lock of the project's releases."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "commands": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "argv": {"type": "list", "elements": "str", "required": True},
                },
            },
            "purpose": {"type": "str", "default": "commands of a playbook"},
            "wait": {"type": "str", "default": "60s"},
            "timeout": {"type": "str", "default": "120s"},
        },
        supports_check_mode=True,
    )
    params = module.params
    lock = f"stack-{params['name']}"
    commands = params["commands"]
    result: dict[str, Any] = {"changed": False, "done": []}
    try:
        if not _compose.NAME.match(params["name"]):
            raise ValueError(f"name is {params['name']!r}; lowercase letters, digits, - and _ are right")
        wait, timeout = seconds(params, "wait"), seconds(params, "timeout")
        if not timeout:
            raise ValueError(f"timeout is {params['timeout']!r}; a command needs time, such as 120s")
        if module.check_mode:
            names = [command["name"] for command in commands]
            module.exit_json(changed=bool(commands), done=names, held_by=_lock.holder(lock))
        with _lock.held(lock, wait, purpose=params["purpose"]):
            for command in commands:
                # A command that failed may have changed something too.
                result["changed"] = True
                carry_out(command, timeout)
                result["done"].append(command["name"])
    except _lock.LockHeld as error:
        module.fail_json(msg=f"another run works on {params['name']} on this host: {error}", reason="release", **result)
    except CommandFailed as error:
        module.fail_json(msg=str(error), reason="command", **result)
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error), reason="input", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
