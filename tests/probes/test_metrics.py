# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus' own tool finds nothing wrong with the metrics."""

from __future__ import annotations

import subprocess

import pytest

from tests.bench.frame import unpack
from tests.unit.monitor.test_metrics import everything

pytestmark = pytest.mark.docker


def promtool(text: str) -> subprocess.CompletedProcess[str]:
    program = unpack("prometheus") / "usr/bin/promtool"
    return subprocess.run([program, "check", "metrics"], input=text, capture_output=True, text=True, check=False)


def test_promtool_has_nothing_to_say() -> None:
    checked = promtool(everything())
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_promtool_would_say_something() -> None:
    assert promtool("Quai-Total 1\n").returncode != 0
