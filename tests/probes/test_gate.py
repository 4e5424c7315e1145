# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate on a host, with units of systemd and processes that start, stay up, crash and end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from tests.probes.target import LIBRARY, Target

pytestmark = pytest.mark.docker
DRIVER = """
import json, sys
from ansible_collections.quai.ops.plugins.module_utils import _probe_engine, _probe_gate, _probe_spec
asked = json.load(sys.stdin)
probes = _probe_spec.normalise(asked["probes"])
options = _probe_gate.Options(**asked["options"])
_probe_gate.check(options, probes)
verdict = _probe_gate.ask(probes, options, _probe_engine.run_probes, baseline=asked["baseline"])
json.dump(verdict._asdict(), sys.stdout)
"""
UNIT = """[Service]
ExecStart={command}
Restart={restart}
RestartSec=500ms
"""
Probes = Sequence[Mapping[str, Any]]


class Gate:
    """The gate, as the host's own Python runs it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.units: list[str] = []

    def ask(self, probes: Probes, baseline: Mapping[str, str] | None = None, **options: Any) -> dict[str, Any]:
        """Run the gate to its end."""
        given = json.dumps({"probes": probes, "options": options, "baseline": baseline})
        done = self.target.execute("env", f"PYTHONPATH={LIBRARY}", "python3", "-B", "-c", DRIVER, given=given)
        assert done.returncode == 0, done.stdout + done.stderr
        verdict: dict[str, Any] = json.loads(done.stdout)
        return verdict

    def unit(self, name: str, command: str, restart: str = "no") -> str:
        """Start a unit; one that ends at once is started all the same."""
        self.target.put(f"/etc/systemd/system/{name}.service", UNIT.format(command=command, restart=restart))
        self.target.sh("systemctl daemon-reload")
        self.target.sh(f"systemctl restart {name}", check=False)
        self.units.append(name)
        return name


@pytest.fixture
def gate(target: Target) -> Iterator[Gate]:
    """A gate whose units are gone after the test."""
    gate = Gate(target)
    yield gate
    for name in gate.units:
        target.sh(
            f"systemctl stop {name}; systemctl reset-failed {name}; rm /etc/systemd/system/{name}.service", check=False
        )
    target.sh("systemctl daemon-reload")


def test_a_unit_that_failed_ends_the_wait(gate: Gate) -> None:
    unit = gate.unit("gate-false", "/bin/sh -c 'echo cannot read its settings; exit 7'")
    verdict = gate.ask([{"name": "app", "type": "systemd", "unit": unit}], wait=30.0)
    assert not verdict["passed"]
    assert verdict["result"]["elapsed_s"] < 3
    assert "waiting longer is no use: app came to an end" in verdict["message"].splitlines()[0]
    assert any("cannot read its settings" in line for line in verdict["result"]["log_tail"]["app"])


def test_a_unit_that_stays_up_opens_it(gate: Gate) -> None:
    unit = gate.unit("gate-good", "/bin/sleep 600")
    verdict = gate.ask([{"name": "app", "type": "systemd", "unit": unit}], wait=30.0, stable_for=4.0)
    assert verdict["passed"], verdict["message"]
    # It was started just now, so it had to be watched; once more, and it is believed.
    assert 1.5 <= verdict["result"]["waited_s"] <= 6
    again = gate.ask([{"name": "app", "type": "systemd", "unit": unit}], wait=30.0, stable_for=2.0)
    assert again["result"]["waited_s"] < 3


def test_a_crash_loop_does_not_open_it(gate: Gate) -> None:
    unit = gate.unit("gate-loop", "/bin/sleep 1.7", restart="always")
    verdict = gate.ask(
        [{"name": "app", "type": "systemd", "unit": unit}], wait=12.0, stable_for=5.0, success_threshold=2, interval=0.5
    )
    assert not verdict["passed"]


def test_a_unit_that_ran_and_ended(gate: Gate) -> None:
    """Successfully, which is no better for what should serve."""
    unit = gate.unit("gate-short", "/bin/sleep 2")
    verdict = gate.ask([{"name": "app", "type": "process", "match": "^/bin/sleep 2$"}], wait=30.0, stable_for=20.0)
    assert unit
    assert not verdict["passed"]
    assert verdict["result"]["elapsed_s"] < 8


def test_what_does_not_answer_says_why_in_the_log_of_its_unit(gate: Gate) -> None:
    unit = gate.unit("gate-mute", "/bin/sh -c 'echo waiting for the database; exec sleep 600'")
    probes: Probes = [
        {"name": "web", "type": "tcp", "port": 9, "timeout": 1},
        {"name": "app", "type": "systemd", "unit": unit},
    ]
    verdict = gate.ask(probes, wait=3.0, stable_for=1.0)
    assert verdict["result"]["failed_probes"] == ["web"]
    assert 2 <= verdict["result"]["elapsed_s"] <= 4
    assert any("waiting for the database" in line for line in verdict["result"]["log_tail"]["app"])
    assert gate.ask(probes, baseline={"web": "critical"}, wait=5.0, stable_for=1.0)["passed"]
