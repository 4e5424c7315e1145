# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much one script may do: pages that grow and shrink with the time Redis took, pauses, and a deadline."""

from __future__ import annotations

import time
from typing import Callable, Final

SMALLEST: Final = 20
LARGEST: Final = 3500
FIRST: Final = 100
# A page may at most grow by this factor, so that one quick page does not make a slow one: by the first one until a page
# took as long as it should, then by the second.
GROWTH: Final = 2.0
LATER_GROWTH: Final = 1.25


class Pace:
    """Page size for a target time per script, the share of the time of Redis, and the time left."""

    def __init__(
        self,
        target_ms: float,
        duty: float,
        max_seconds: float,
        *,
        first: int = FIRST,
        largest: int = LARGEST,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """C(target_ms) per script; C(duty) 1.0 never pauses, 0.5 pauses as long as Redis worked."""
        self.size = first
        self.chunks = 0
        self.longest_ms = 0.0
        self.redis_ms = 0.0
        self._target = target_ms
        self._growth = GROWTH
        self._duty = duty
        self._largest = largest
        self._clock = clock
        self._sleep = sleep or time.sleep
        self._end = clock() + max_seconds

    @property
    def over(self) -> bool:
        """Whether no time is left."""
        return self._clock() >= self._end

    @property
    def left(self) -> float:
        """Seconds until the deadline, 0 after it."""
        return max(0.0, self._end - self._clock())

    def took(self, milliseconds: float, done: int) -> None:
        """Note what a script took for how many jobs, choose the size of the next page, and pause where asked to."""
        self.chunks += 1
        self.redis_ms += milliseconds
        self.longest_ms = max(self.longest_ms, milliseconds)
        if milliseconds >= self._target:
            self._growth = LATER_GROWTH
        # A page with little in it says nothing about the size of a full one.
        if done >= self.size // 2:
            factor = self._target / max(milliseconds, 0.01)
            self.size = max(SMALLEST, min(self._largest, int(self.size * min(self._growth, factor))))
        elif milliseconds > self._target:
            self.size = max(SMALLEST, min(self.size, int(max(done, SMALLEST) * self._target / milliseconds)))
        if self._duty < 1.0 and not self.over:
            self._sleep(min(self.left, milliseconds / 1000 * (1 / self._duty - 1)))


__all__ = ["FIRST", "LARGEST", "SMALLEST", "Pace"]
