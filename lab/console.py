# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person sees: one line per step with its seconds, colours only on a terminal."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}
# A step that is quicker than this gets one line, a longer one is announced and then heard of regularly.
_ANNOUNCE_AFTER = 1.0
_REPEAT_EVERY = 15.0


@dataclass
class Console:
    """Prints steps from any thread and remembers how long each took."""

    stream: TextIO = field(default_factory=lambda: sys.stdout)
    timings: list[tuple[str, float]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def paint(self, colour: str, text: str) -> str:
        return f"\033[{_COLOURS[colour]}m{text}\033[0m" if self.stream.isatty() else text

    def line(self, text: str = "") -> None:
        with self._lock:
            print(text, file=self.stream, flush=True)

    def note(self, text: str) -> None:
        self.line(f"  {self.paint('yellow', '!')} {text}")

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Time a step. It is announced when it turns out to be long, and closed with its seconds."""
        done = threading.Event()
        started = time.monotonic()
        threading.Thread(target=self._announce, args=(title, started, done), daemon=True).start()
        try:
            yield
        except BaseException:
            self._close(self.paint("red", "✗"), title, started, done)
            raise
        self.timings.append((title, time.monotonic() - started))
        self._close(self.paint("green", "✓"), title, started, done)

    def _announce(self, title: str, started: float, done: threading.Event) -> None:
        pause = _ANNOUNCE_AFTER
        while not done.wait(pause):
            seconds = time.monotonic() - started
            waited = "" if pause == _ANNOUNCE_AFTER else self.paint("dim", f" ({seconds:.0f} s so far)")
            pause = _REPEAT_EVERY
            self.line(f"  {self.paint('dim', '…')} {title}{waited}")

    def _close(self, mark: str, title: str, started: float, done: threading.Event) -> None:
        done.set()
        self.line(f"  {mark} {title} {self.paint('dim', f'({time.monotonic() - started:.1f} s)')}")

    def save_timings(self, path: Path, verb: str) -> None:
        """Keep the seconds of this run for whoever draws tables of them."""
        steps = [{"name": name, "seconds": round(seconds, 2)} for name, seconds in self.timings]
        document = {"verb": verb, "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps({**document, "seconds": round(self.seconds, 2), "steps": steps}, indent=2) + "\n", "utf-8"
        )


def table(rows: list[tuple[str, ...]], header: tuple[str, ...]) -> list[str]:
    """Lines of a plain table: columns as wide as their widest cell."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def render(row: tuple[str, ...]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

    return [render(header), render(tuple("-" * width for width in widths)), *map(render, rows)]
