# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An operator at a clone of the repository, running its playbooks as the README says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab.names import Lab

_RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)
_LIMIT = 420


@dataclass(frozen=True)
class Run:
    """How a playbook ended."""

    code: int
    output: str
    seconds: float

    @property
    def changed(self) -> int:
        """Tasks that changed something, on all hosts."""
        return sum(int(found.group(2)) for found in _RECAP.finditer(self.output))

    @property
    def tail(self) -> str:
        """The end of the output, for a failed test's message."""
        return "\n".join(self.output.splitlines()[-60:])

    @property
    def errors(self) -> list[str]:
        """What the run printed as its reasons to fail, one for each failed task and host."""
        found = re.split(r"^\[ERROR\]: |^fatal: ", self.output, flags=re.MULTILINE)[1:]
        return [part.split("\nPLAY RECAP", 1)[0].split("\nTASK [", 1)[0] for part in found]


@dataclass(frozen=True)
class Operator:
    """Somebody at a tree, with an inventory and a lab."""

    tree: Path
    lab: Lab
    inventories: tuple[str, ...] = ("inventories/lab",)
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self, playbook: str, *arguments: str, log: int | None = None) -> subprocess.Popen[str]:
        """Start a playbook in a process group of its own."""
        # What a test runner set for its own runs of Ansible is not what an operator has.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        inventories = [part for inventory in self.inventories for part in ("-i", inventory)]
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("ansible-playbook")), *inventories, playbook, *arguments],
            cwd=self.tree,
            env={
                **clean,
                "QUAI_LAB": self.lab.name,
                "QUAI_LAB_NET": self.lab.net,
                "ANSIBLE_CONFIG": str(self.tree / "ansible.cfg"),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                **self.environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if log is None else log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def play(self, playbook: str, *arguments: str, check: bool = True) -> Run:
        """Run a playbook to its end."""
        started = time.monotonic()
        process = self.start(playbook, *arguments)
        try:
            output, _ = process.communicate(timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise AssertionError(f"{playbook} {arguments} did not end within {_LIMIT} s:\n{output[-4000:]}") from None
        run = Run(process.returncode, output, time.monotonic() - started)
        assert not check or run.code == 0, f"{playbook} {arguments} ended with {run.code}:\n{run.tail}"
        return run

    def provision(self, *arguments: str, check: bool = True) -> Run:
        """Provision all hosts."""
        return self.play("playbooks/provision.yml", *arguments, check=check)

    def deploy(self, version: str, *arguments: str, project: str = "masstock", check: bool = True) -> Run:
        """Release a project."""
        return self.play("deploy.yml", "-e", f"project={project}", "-e", f"version={version}", *arguments, check=check)

    def vault(self, project: str = "masstock") -> dict[str, Any]:
        """The project's secrets, as this operator's inventory has them."""
        loaded = yaml.safe_load(self.vault_file(project).read_text("utf-8"))
        values: dict[str, Any] = loaded[f"vault_{project}"]
        return values

    def vault_file(self, project: str = "masstock") -> Path:
        """Where they stand."""
        return self.tree / self.inventories[0] / "group_vars" / "all" / f"vault_{project}.yml"
