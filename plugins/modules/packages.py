#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install Debian packages, also on a host that has never seen a package list."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Install Debian packages, on bare and on interrupted hosts too
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Installs what is missing from a list, in one round trip.
  - Differs from M(ansible.builtin.apt) in what bare hosts and killed runs need. Check mode works where no package list
    was ever fetched. An installation that was cut short is completed first. Lists are fetched only when something is to
    be installed, so a run that changes nothing asks no mirror.
attributes:
  check_mode:
    support: full
    description: Says what would be installed, from the state of dpkg alone.
    details: Whether the mirrors have the packages shows in the real run only.
  diff_mode:
    support: full
    description: Lists the packages.
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  names:
    description: Names of the packages.
    type: list
    elements: str
    required: true
  install_recommends:
    description: Also install what the packages recommend.
    type: bool
    default: false
  refresh:
    description: Fetch the package lists whatever their age. For a repository that was just added.
    type: bool
    default: false
  valid_seconds:
    description: Age in seconds up to which package lists are used as they are.
    type: int
    default: 3600
seealso:
  - module: ansible.builtin.apt
"""

EXAMPLES = r"""
- name: Install | Web server
  quai.ops.packages:
    names: [nginx-light, openssl]
"""

RETURN = r"""
installed:
  description: Packages that were or would be installed.
  returned: always
  type: list
  elements: str
  sample: [nginx-light]
completed:
  description: Whether an installation that was cut short was or would be completed.
  returned: always
  type: bool
  sample: false
"""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quai.ops.plugins.module_utils import _lock, _packages

LISTS = Path("/var/lib/apt/lists")


class InstallFailed(Exception):
    """Apt or dpkg refused."""


def run(command: Sequence[str]) -> str:
    """Run a command without questions; raises InstallFailed with its reason."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
    )
    output = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        raise InstallFailed(f"{' '.join(command[:2])} failed: {_packages.reason(output)}")
    return output


def lists_age(now: float) -> float:
    """Seconds since package lists were fetched; infinite where there are none."""
    fetched = [path.stat().st_mtime for path in LISTS.glob("*_Packages*")] if LISTS.is_dir() else []
    return now - max(fetched) if fetched else float("inf")


def main() -> None:
    """Ask dpkg, then complete, fetch and install as needed."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "install_recommends": {"type": "bool", "default": False},
            "refresh": {"type": "bool", "default": False},
            "valid_seconds": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        with _lock.held("packages", wait_seconds=600):
            states = _packages.parse_status(run(_packages.QUERY))
            completed = _packages.interrupted(states)
            if completed and not module.check_mode:
                run(["dpkg", "--configure", "-a", "--force-confdef", "--force-confold"])
                states = _packages.parse_status(run(_packages.QUERY))
            names = _packages.missing(params["names"], states)
            if names and not module.check_mode:
                if params["refresh"] or lists_age(time.time()) > params["valid_seconds"]:
                    run(["apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any"])
                run(_packages.install_command(names, recommends=params["install_recommends"]))
    except (InstallFailed, _lock.LockHeld) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(names) or completed,
        installed=names,
        completed=completed,
        diff={"before": "", "after": "".join(f"{name}\n" for name in names), "after_header": "packages to install"},
    )


if __name__ == "__main__":
    main()
