# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are killed, and the run after them that finishes the work."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import topology
from lab.topology import DEFAULT_ZONES, Plan
from lab.wait import until
from lab.zones import Zone
from tests.whole_host.operations import Operator, Run
from tests.whole_host.subject import Subject
from tests.whole_host.world import World

_SEVERED = Path(__file__).with_name("severed.py")


def killed(
    operator: Operator, subject: Subject, seconds: float, playbook: str, *arguments: str, also_host: bool
) -> bool:
    """Start a playbook and kill -9 its whole process group after so long; with C(also_host) its half on the host too.

    Without, the host's half of the run goes on alone until it notices: both happen to operators. Returns whether it was
    still running.
    """
    process = operator.start(playbook, *arguments, log=subprocess.DEVNULL)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if also_host:
            subject.python(_SEVERED)
        return True
    return False


def finished(operator: Operator, playbook: str, *arguments: str) -> Run:
    """Run to the end. While the host's half of a killed run still holds the lock, the message says so: try again."""
    deadline = time.monotonic() + 120
    while True:
        run = operator.play(playbook, *arguments, check=False)
        if run.code == 0 or "is held by" not in run.output or time.monotonic() >= deadline:
            assert run.code == 0, f"the run after a killed one failed:\n{run.tail}"
            return run


def idle(subject: Subject) -> None:
    """Return when the host's half of a killed run is through: modules, and what they started."""
    working = "pgrep -x 'python3|apt-get|dpkg|certbot'"
    until("the killed run's last process", lambda: not subject.succeeds(working), seconds=120)


@contextmanager
def bare_host(served: World, operator: Operator) -> Iterator[Subject]:
    """A second, bare host to which MasStock's names lead for a while; the operator's inventory says so."""
    lab = served.lab
    names = DEFAULT_ZONES["masstock.fr"].names
    topology.up(lab, Plan(hosts={"vps2": "debian13"}, zones={"masstock.fr": Zone("vps2", names)}), served.console)
    try:
        subject = Subject(lab, "vps2")
        hosts = operator.tree / "inventories/lab/hosts.yml"
        head, _, _ = hosts.read_text("utf-8").replace("vps1:", "vps2:").partition("      ansible_host:")
        hosts.write_text(f"{head}      ansible_host: {subject.address}\n", "utf-8")
        yield subject
    finally:
        topology.remove_host(lab, "vps2")
        topology.up(lab, Plan(), served.console)
