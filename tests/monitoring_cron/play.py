# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of a scenario's play with some variables changed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and everything it said, on one line."""

    failed: bool
    said: str


Converge = Callable[..., Outcome]


def converging(scenario: Path, host: str, scratch: Path) -> Converge:
    """A function that runs the play of a scenario on one host, some variables changed."""
    project = scenario.parents[1]

    def run(*options: str, **changes: object) -> Outcome:
        extra = scratch / "changes.json"
        extra.write_text(json.dumps(changes), encoding="utf-8")
        inventories = [os.environ["MOLECULE_INVENTORY_FILE"], str(project / "molecule/shared/inventory")]
        done = subprocess.run(
            [
                "ansible-playbook", *(f"--inventory={path}" for path in inventories), "--limit", host,
                "--extra-vars", f"@{extra}", *options, str(scenario / "converge.yml"),
            ],
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "ansible.cfg"),
                "ANSIBLE_COLLECTIONS_PATH": str(project / "collections"),
                "QUAI_LAB": f"mol-{scenario.name}",
                "MOLECULE_PROJECT_DIRECTORY": str(project),
            },
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return Outcome(done.returncode != 0, " ".join(done.stdout.split()))

    return run
