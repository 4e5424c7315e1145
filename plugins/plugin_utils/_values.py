# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the values of a declaration mean."""

from __future__ import annotations

import math
import re


def seconds(text: str) -> int:
    """Return a duration in whole seconds, rounded up."""
    number, unit = re.fullmatch(r"([0-9]+)(ms|s|m|h|d)", text).groups()  # type: ignore[union-attr]
    factor = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    return math.ceil(int(number) * factor)


def pinned(name: str) -> bool:
    """Tell whether an image says which version it is."""
    return ":" in name.rsplit("/", 1)[-1] or "@" in name


def size_bytes(text: str) -> int:
    """Return a size in bytes."""
    return int(text[:-1]) * {"k": 1024, "m": 1024**2, "g": 1024**3}[text[-1]]


_DAY = 86400
_EVERY = {
    "minutely": 60,
    "hourly": 3600,
    "daily": _DAY,
    "weekly": 7 * _DAY,
    "monthly": 31 * _DAY,
    "quarterly": 92 * _DAY,
    "semiannually": 184 * _DAY,
    "yearly": 366 * _DAY,
}


def longest_gap(schedule: str) -> int:
    """Return the most seconds that lie between two times of a schedule, rounded up where that is simpler."""
    if schedule in _EVERY:
        return _EVERY[schedule]
    # Of a weekday, a date and a time, each may be missing.
    words = schedule.split(" ")
    *_year, month, day = next((word for word in words if "-" in word), "*-*-*").split("-")
    if not set(month) <= {"*"}:
        return _EVERY["yearly"]
    if not set(day) <= {"*"}:
        return _EVERY["monthly"]
    if words[0][0].isalpha():
        return _EVERY["weekly"]
    hours, minutes, *_seconds = next((word for word in words if ":" in word), "0:0").split(":")
    if len(_values(hours, 24)) < 24:
        return _widest(_values(hours, 24), 24) * 3600
    return _widest(_values(minutes, 60), 60) * 60


def _values(part: str, size: int) -> list[int]:
    """Return what a part of a calendar time stands for, such as 0/6, 8..18 or 1,31."""
    found: set[int] = set()
    for item in part.split(","):
        span, _slash, step = item.partition("/")
        first, _dots, last = span.partition("..")
        start = 0 if first == "*" else int(first)
        end = int(last) if last else size - 1 if step or first == "*" else start
        found.update(range(start, end + 1, int(step or 1) or 1))
    return sorted(value for value in found if value < size)


def _widest(values: list[int], size: int) -> int:
    return max(later - earlier for earlier, later in zip(values, [*values[1:], values[0] + size]))
