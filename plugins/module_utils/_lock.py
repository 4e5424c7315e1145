# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks between programs on one host: held by a process, freed by the kernel when it ends however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

LOCKS = Path("/run/quai/locks")
POLL_SECONDS = 0.1


class LockHeld(Exception):
    """Somebody else holds the lock; the message names the process."""


@contextmanager
def held(name: str, wait_seconds: float, directory: Path = LOCKS, *, purpose: str = "") -> Iterator[None]:
    """Hold the lock C(name) for the body; wait for it at most C(wait_seconds). Raises LockHeld.

    Whoever waits for it meanwhile is told the process and C(purpose).
    A child that was started with C(close_fds=False) holds it too, so that what a killed program left running is waited
    for and not disturbed.
    """
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = directory / name
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    os.set_inheritable(handle, True)
    deadline = time.monotonic() + wait_seconds
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LockHeld(f"{path} is held by {_owner(handle)}; waited {wait_seconds:g} s for it") from None
                time.sleep(POLL_SECONDS)
        os.truncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()}{f' ({purpose})' if purpose else ''}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def _owner(handle: int) -> str:
    """Who wrote itself into the lock last."""
    return os.pread(handle, 100, 0).decode("utf-8", "replace").strip() or "an unknown process"


def holder(name: str, directory: Path = LOCKS) -> str:
    """Who holds the lock C(name) at this moment, in words; empty when nobody does, or it cannot be looked at."""
    if not is_held(name, directory):
        return ""
    handle = os.open(directory / name, os.O_RDONLY)
    try:
        return _owner(handle)
    finally:
        os.close(handle)


def is_held(name: str, directory: Path = LOCKS) -> bool:
    """Whether some program holds the lock C(name) at this moment; a lock that cannot be looked at is not held."""
    try:
        handle = os.open(directory / name, os.O_RDONLY)
    except OSError:
        return False
    try:
        # Shared and given back at once: two who only look do not see each other, and who wants to hold it tries again.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def wait_until_free(paths: Sequence[Path], wait_seconds: float) -> None:
    """Wait until no program holds a POSIX record lock on one of the files, as apt and dpkg do. Raises LockHeld."""
    deadline = time.monotonic() + wait_seconds
    for path in paths:
        while not _free(path):
            if time.monotonic() >= deadline:
                raise LockHeld(f"{path} is held by another program; waited {wait_seconds:g} s for it")
            time.sleep(POLL_SECONDS)


def _free(path: Path) -> bool:
    try:
        with path.open("r+") as stream:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except (BlockingIOError, PermissionError):  # either may mean that it is held, see fcntl(2)
        return False
    return True


__all__ = ["LOCKS", "LockHeld", "held", "holder", "is_held", "wait_until_free"]
