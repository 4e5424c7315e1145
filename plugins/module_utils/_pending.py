# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pending actions of a host: flags that outlive a killed run.

A file that was written needs its service reloaded. Were that remembered in the run's memory alone (as Ansible
handlers do), a run killed in between would leave it undone for ever, because the next run finds nothing to change.
So C(file_set) raises a flag on the host before it writes, and C(units) lowers it after it has acted.
The flags live below /run: a reboot starts every service with its new files anyway.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

FLAGS = Path("/run/quai/pending")
# Held while files are written and while units act, so that no flag is lowered that was raised meanwhile.
LOCK = "pending"
NAME = re.compile(r"[a-z0-9][a-z0-9_.@-]*\Z")


def read(directory: Path = FLAGS) -> set[str]:
    """Names of the flags raised at present."""
    try:
        return {entry.name for entry in directory.iterdir()}
    except FileNotFoundError:
        return set()


def refuse_bad(flags: Iterable[str]) -> None:
    """Raise ValueError for a name that is no flag's."""
    for flag in flags:
        if not NAME.match(flag):
            raise ValueError(f"{flag!r} is not a flag: its name has only lowercase letters, digits and . _ @ -")


def mark(flag: str, directory: Path = FLAGS) -> None:
    """Raise a flag; raises ValueError for a name that is no flag's."""
    refuse_bad([flag])
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    (directory / flag).touch(mode=0o644)


def clear(flag: str, directory: Path = FLAGS) -> None:
    """Lower a flag; one that is not raised stays so. Raises ValueError for a name that is no flag's."""
    refuse_bad([flag])
    (directory / flag).unlink(missing_ok=True)


__all__ = ["FLAGS", "LOCK", "NAME", "clear", "mark", "read", "refuse_bad"]
