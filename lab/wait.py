# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a condition, never for a time."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from lab.console import Console
from lab.errors import LabError
from lab.names import BUILD

T = TypeVar("T")


def until(what: str, attempt: Callable[[], T | None], *, seconds: float, pause: float = 0.1, fix: str = "") -> T:
    """Return the first true result of `attempt`; its failures (OSError, LabError) count as "not yet"."""
    deadline = time.monotonic() + seconds
    last = "no answer"
    while True:
        try:
            result = attempt()
        except (OSError, LabError) as error:
            last = str(error) or type(error).__name__
        else:
            if result:
                return result
        if time.monotonic() >= deadline:
            raise LabError(f"waited {seconds:.0f} s for {what}; last seen: {last}", fix)
        time.sleep(pause)


@contextmanager
def lock(name: str, what: str, console: Console) -> Iterator[None]:
    """Hold an exclusive lock; the kernel releases it when the process dies."""
    # Apart from what they protect, which may be removed while another process waits.
    path = BUILD / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with console.step(f"Wait for another lab command that is busy with {what}"):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
