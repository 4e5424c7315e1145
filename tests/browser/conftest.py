# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real browser: Debian's Chromium, driven by playwright-core; axe-core looks for what keeps people out."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.engine import apt_install

HERE = Path(__file__).parent
PROGRAMS = {"chromium": "chromium", "node": "nodejs", "npm": "npm"}  # command and Debian package

Seen = dict[str, Any]
Look = Callable[[Sequence[Mapping[str, Any]]], list[Seen]]


def run(*command: str, seconds: float = 600) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}: exit {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path; what the tests need is installed when it is missing."""
    missing = [package for command, package in PROGRAMS.items() if not shutil.which(command)]
    if missing:
        apt_install(*missing)
    # npm writes this file last; it is as old as what it installed.
    installed = HERE / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < (HERE / "package-lock.json").stat().st_mtime:
        run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    found = shutil.which("chromium")
    assert found
    return found


@pytest.fixture(scope="session")
def look(chromium: str) -> Look:
    """Open pages and return what was seen of each, in the order of the cases."""

    def opened(cases: Sequence[Mapping[str, Any]]) -> list[Seen]:
        done = subprocess.run(
            ["node", "look.mjs", chromium],
            cwd=HERE,
            input=json.dumps(list(cases), default=str),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    return opened
