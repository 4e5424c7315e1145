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
    was ever fetched. An installation that was cut short is completed first, and another apt that is at work is waited
    for. Lists are fetched only when something is to be installed, so a run that changes nothing asks no mirror. Their
    age does not matter when a source was added or changed since.
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
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quai.ops.plugins.module_utils import _lock, _packages

WAIT_SECONDS = 600
SOURCES = Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d")
# Its time is when all lists were last fetched. The lists' own times tell when the mirror made them.
FETCHED = Path("/var/lib/quai/package-lists-fetched")
LISTS = Path("/var/lib/apt/lists")
JOURNAL = Path("/var/lib/dpkg/updates")
# An apt that a killed run left behind, or the host's own timer, may hold these. Only `apt-get install` waits by itself.
BUSY = Path("/var/lib/apt/lists/lock"), Path("/var/lib/dpkg/lock-frontend"), Path("/var/lib/dpkg/lock")


class InstallFailed(Exception):
    """Apt or dpkg refused."""


def run(command: Sequence[str], *, may_fail: bool = False) -> str:
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
    if done.returncode != 0 and not may_fail:
        raise InstallFailed(f"{' '.join(command[:2])} failed: {_packages.reason(output)}")
    return output


def look(names: Sequence[str]) -> tuple[list[str], bool]:
    """Which packages are missing, and whether an installation was cut short."""
    states = _packages.parse_status(run(_packages.QUERY))
    journal = [path.name for path in JOURNAL.iterdir()] if JOURNAL.is_dir() else []
    return _packages.missing(names, states), _packages.interrupted(states, journal)


def lists_outdated(valid_seconds: float) -> bool:
    """Whether package lists must be fetched before something can be installed."""
    there = FETCHED.exists() and any(LISTS.glob("*_Packages*"))
    sources = [SOURCES[0], SOURCES[1], *SOURCES[1].glob("*")]
    times = [path.stat().st_mtime for path in sources if path.exists()]
    return _packages.outdated(FETCHED.stat().st_mtime if there else None, times, time.time(), valid_seconds)


def install(params: dict[str, Any]) -> None:
    """Complete what was cut short, fetch lists as needed, install."""
    _lock.wait_until_free(BUSY, WAIT_SECONDS)
    # Once more: what was held may have been the installation that looked cut short.
    names, cut_short = look(params["names"])
    if cut_short:
        # Takes over dpkg's journal, without which apt does nothing, and fails where a dependency is yet to come.
        run(["dpkg", "--configure", "-a", "--force-confdef", "--force-confold"], may_fail=True)
    if not names and not cut_short:
        return
    if lists_outdated(params["valid_seconds"]):
        started = time.time()
        run(["apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any"])
        FETCHED.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        FETCHED.touch()
        os.utime(FETCHED, (started, started))
    if cut_short:
        run(_packages.install_command([], recommends=params["install_recommends"]))
    if names:
        run(_packages.install_command(names, recommends=params["install_recommends"]))


def main() -> None:
    """Ask dpkg, then complete, fetch and install as needed."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "install_recommends": {"type": "bool", "default": False},
            "valid_seconds": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        with nullcontext() if module.check_mode else _lock.held("packages", WAIT_SECONDS):
            names, cut_short = look(params["names"])
            if (names or cut_short) and not module.check_mode:
                install(params)
    except (InstallFailed, _lock.LockHeld, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(names) or cut_short,
        installed=names,
        completed=cut_short,
        diff={"before": "", "after": "".join(f"{name}\n" for name in names), "after_header": "packages to install"},
    )


if __name__ == "__main__":
    main()
