# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are killed, and the run after them that finishes the work."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from lab.wait import until
from tests.whole_host.operations import Operator, Run
from tests.whole_host.subject import Subject

_SEVERED = Path(__file__).with_name("severed.py")


def killed(operator: Operator, subject: Subject, seconds: float, playbook: str, *arguments: str, also_host: bool) -> bool:
    """Start a playbook and kill -9 its whole process group after so long; with C(also_host) what it runs on the host too.

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
    """Run to the end. A half of a killed run that still works on the host is waited for, as its message tells an operator to."""
    deadline = time.monotonic() + 120
    while True:
        run = operator.play(playbook, *arguments, check=False)
        if run.code == 0 or "is held by" not in run.output or time.monotonic() >= deadline:
            assert run.code == 0, f"the run after a killed one failed:\n{run.tail}"
            return run


def idle(subject: Subject) -> None:
    """Return when nothing that SSH started runs on the host."""
    until("the killed run's last process", lambda: not subject.succeeds("pgrep -f AnsiballZ || pgrep -x dpkg"), seconds=120)
