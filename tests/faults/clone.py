# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clones of the repository for operators who make mistakes in them, so that the working tree is never touched."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from lab.names import BUILD, ROOT


def make(target: Path) -> Path:
    """Copy what git knows or would add, and link build/, where the labs' keys are."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listing.stdout.decode().split("\0"):
        source = ROOT / name
        if name and (source.is_symlink() or source.is_file()):
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)
    (target / "build").symlink_to(BUILD)
    return target


def edit(tree: Path, file: str, old: str, new: str) -> None:
    """Replace a text that must be there exactly once."""
    path = tree / file
    text = path.read_text("utf-8")
    assert text.count(old) == 1, f"{file} holds {text.count(old)} times: {old}"
    path.write_text(text.replace(old, new), "utf-8")
