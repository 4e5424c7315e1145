# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of the morning page as inline SVG: strips of states, lines of latency, bars, and the month of a disk.

Pictures say nothing by themselves to those who do not see them: C(words) is SVG that holds the same in words, one group
per language, as C(_report_html) makes it. Paths are relative and short, because a fleet has thousands of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.quai.ops.plugins.module_utils._report_data import DIGITS, NO_POINT, POINTS, SLOTS, decode

# Letter of a strip to the class of its path, which has the colour and the height: what is worse stands out further.
_CLASSES = {"o": "k", "w": "w", "c": "c", "u": "u", "n": "n"}
_LEAST = 3  # slots that what is bad is drawn with, so that five minutes are seen on a phone


def strip(encoded: str, words: str = "") -> str:
    """Draw 24 h of states."""
    paths = dict.fromkeys("onuwc", "")
    for letter, at, count in decode(encoded):
        wide = count if letter in "on" else max(count, _LEAST)
        paths[letter] += f"M{min(at, SLOTS - wide)} 10h{wide}"
    drawn = "".join(f'<path class="{_CLASSES[letter]}" d="{path}"/>' for letter, path in paths.items() if path)
    return f'<svg class="st" viewBox="0 0 {SLOTS} 20" preserveAspectRatio="none"{_named(words)}>{drawn}{words}</svg>'


def _named(words: str) -> str:
    return "" if words else ' aria-hidden="true"'


def line(p50: str, p95: str, words: str = "") -> str:
    """Draw 24 h of latency: the median as a line, the 95th percentile as the area behind it."""
    low, high = _heights(p50), _heights(p95)
    drawn = f'<path class="a" d="{_area(high)}"/><path d="{_polyline(low)}"/>'
    frame = f'viewBox="0 -1 {POINTS - 1} 22" preserveAspectRatio="none"'
    return f'<svg class="ln" {frame}{_named(words)}>{drawn}{words}</svg>'


def _heights(points: str) -> list[int | None]:
    most = len(DIGITS) - 1
    return [None if point == NO_POINT else 20 - round(DIGITS.index(point) * 20 / most) for point in points]


def _polyline(heights: Sequence[int | None]) -> str:
    """Return a path in relative steps; points without data break it, equal ones are joined."""
    parts: list[str] = []
    last: int | None = None
    level = 0  # points at the present height that are not drawn yet
    for x, y in enumerate(heights):
        if y is None:
            parts += [f"h{level}"] if level else []
            last, level = None, 0
        elif last is None:
            parts.append(f"M{x} {y}")
            last, level = y, 0
        elif y == last:
            level += 1
        else:
            parts += [f"h{level}"] if level else []
            parts.append(f"l1{y - last:+d}" if y < last else f"l1 {y - last}")
            last, level = y, 0
    return "".join([*parts, f"h{level}" if level else ""])


def _area(heights: Sequence[int | None]) -> str:
    """Return the same closed down to the ground, each unbroken part for itself."""
    parts = []
    start = 0
    for x in range(len(heights) + 1):
        if x == len(heights) or heights[x] is None:
            if x > start:
                padded: list[int | None] = [*([None] * start), *heights[start:x]]
                parts.append(f"{_polyline(padded)}V21H{start}z")
            start = x + 1
    return "".join(parts)


def meter(share: float, level: str, tick: float | None = None) -> str:
    """Draw a bar of a hundred; C(tick) is a second value on it."""
    full = max(0, min(100, round(share)))
    mark = "" if tick is None else f'<path class="x" d="M{max(0, min(99, round(tick)))} 4h1"/>'
    return (
        f'<svg class="bar {level}" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="t" d="M0 4h100"/><path d="M0 4h{full}"/>{mark}</svg>'
    )


def month(values: Sequence[float | None], level: str, words: str = "") -> str:
    """Draw 30 days of per cent; the top is always 100, so that the room that is left is seen."""
    known = [value for value in values if value is not None]
    ground = max(0.0, min(known, default=0.0) // 10 * 10 - 10)
    heights = [
        None if value is None else 20 - round(20 * (max(ground, min(100.0, value)) - ground) / (100 - ground))
        for value in values
    ]
    return (
        f'<svg class="mo {level}" viewBox="0 -1 29 22" preserveAspectRatio="none"{_named(words)}>'
        f'<path class="a" d="{_area(heights)}"/><path d="{_polyline(heights)}"/>{words}</svg>'
    )


__all__ = ["line", "meter", "month", "strip"]
