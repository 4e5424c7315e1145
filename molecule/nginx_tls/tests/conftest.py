# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the role nginx_tls share."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.nginx_tls.play import Converge, Outcome
from tests.nginx_tls.web import Web

SCENARIO = Path(__file__).resolve().parents[1]
PROJECT = SCENARIO.parents[1]
LAB = PROJECT / "build" / f"mol-{SCENARIO.name}"


@pytest.fixture
def name(host: Any) -> str:
    """The host's name in the inventory."""
    return str(host.backend.host)


@pytest.fixture
def domain(name: str) -> str:
    """Everything below it leads to the host."""
    return f"{name}.lab"


@pytest.fixture
def web(host: Any) -> Web:
    """A client outside, which trusts the lab's CA."""
    return Web(str(host.ansible.get_variables()["ansible_host"]), LAB / "ca/acme-root.pem")


@pytest.fixture
def given() -> dict[str, Any]:
    """The role's variables as converge gives them."""
    play = yaml.safe_load((SCENARIO / "converge.yml").read_text(encoding="utf-8"))
    return dict(play[0]["vars"])


@pytest.fixture
def converge(name: str, tmp_path: Path) -> Converge:
    """Run the scenario's play on this host, some variables changed; returns what happened without judging it."""

    def run(*options: str, **changes: object) -> Outcome:
        extra = tmp_path / "changes.json"
        extra.write_text(json.dumps(changes), encoding="utf-8")
        inventories = [os.environ["MOLECULE_INVENTORY_FILE"], str(PROJECT / "molecule/shared/inventory")]
        done = subprocess.run(
            [
                "ansible-playbook", *(f"--inventory={path}" for path in inventories), "--limit", name,
                "--extra-vars", f"@{extra}", *options, str(SCENARIO / "converge.yml"),
            ],
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "ansible.cfg"),
                "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / "collections"),
                "QUAI_LAB": LAB.name,
                "MOLECULE_PROJECT_DIRECTORY": str(PROJECT),
            },
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return Outcome(done.returncode != 0, " ".join(done.stdout.split()))

    return run
