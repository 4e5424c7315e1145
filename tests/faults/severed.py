# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills everything that runs on this host through SSH, as if it had lost its power. Runs on the host itself."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def children() -> dict[int, list[int]]:
    """Processes by their parent."""
    found: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text("utf-8", "replace").rpartition(")")[2].split()
            found.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    return found


def descendants(process: int, tree: dict[int, list[int]]) -> list[int]:
    """All below a process."""
    return [one for child in tree.get(process, []) for one in [child, *descendants(child, tree)]]


def main() -> None:
    """The SSH server itself stays."""
    server = next(int(path.parent.name) for path in Path("/proc").glob("[0-9]*/comm") if is_server(path))
    killed = descendants(server, children())
    for process in killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    print(len(killed))


def is_server(comm: Path) -> bool:
    """Whether this is the SSH server that init started."""
    with contextlib.suppress(OSError):
        parent = comm.with_name("stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1]
        return comm.read_text("utf-8").strip() == "sshd" and parent == "1"
    return False


if __name__ == "__main__":
    main()
