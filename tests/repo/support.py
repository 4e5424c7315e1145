# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the repository's tests look at."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@cache
def files() -> tuple[Path, ...]:
    """Every file that is tracked or would be: links and what git ignores are left out."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    paths = sorted(ROOT / name for name in listed.split("\0") if name)
    return tuple(path for path in paths if path.is_file() and not path.is_symlink())


@cache
def text(path: Path) -> str:
    """A file's text; empty for one that is none."""
    data = path.read_bytes()
    return "" if b"\0" in data else data.decode("utf-8", "replace")


def params(*patterns: str, below: str = "") -> list[object]:
    """Files that match one of the patterns, as parameters named by their path."""
    found = [path for path in files() if any(path.match(pattern) for pattern in patterns)]
    return [
        pytest.param(path, id=str(path.relative_to(ROOT)))
        for path in found
        if str(path.relative_to(ROOT)).startswith(below)
    ]
