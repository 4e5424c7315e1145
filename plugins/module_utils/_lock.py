# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks between programs on one host: held by a process, freed by the kernel when it ends however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCKS = Path("/run/quai/locks")


class LockHeld(Exception):
    """Somebody else holds the lock; the message names the process."""


@contextmanager
def held(name: str, wait_seconds: float, directory: Path = LOCKS) -> Iterator[None]:
    """Hold the lock C(name) for the body; wait for it at most C(wait_seconds). Raises LockHeld."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = directory / name
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + wait_seconds
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    owner = os.pread(handle, 100, 0).decode("utf-8", "replace").strip() or "an unknown process"
                    raise LockHeld(f"{path} is held by {owner}; waited {wait_seconds:g} s for it") from None
                time.sleep(0.1)
        os.truncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


__all__ = ["LOCKS", "LockHeld", "held"]
