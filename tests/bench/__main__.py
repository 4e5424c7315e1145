# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure quai beside its peers: C(make bench), or one group: C(make bench WHAT=probe).

Prints a table and writes C(build/bench.json). Nothing is judged here: figures differ from machine to machine.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from tests.bench import frame

# Each is a module here with measure(say, times) -> list of figures whose names begin with the group's.
GROUPS = ("probe", "queue")


def say(line: str) -> None:
    """Show progress."""
    print(f"  {line}", flush=True)


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure quai beside its peers.")
    parser.add_argument("what", nargs="*", help=f"groups, or their parts as GROUP.PART; all when not given: {GROUPS}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (5)")
    options = parser.parse_args()
    groups = {word.partition(".")[0] for word in options.what} or set(GROUPS)
    unknown = sorted(groups - set(GROUPS))
    if unknown:
        parser.error(f"no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    if options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}, it must be 1 or more")
    for group in sorted(groups):
        print(f"{group}: {frame.machine()}", flush=True)
        parts = [part for word in options.what for part in [word.partition(".")[2]] if word.startswith(f"{group}.")]
        try:
            figures = importlib.import_module(f"tests.bench.{group}").measure(say, options.rounds, parts)
        except frame.BenchError as error:
            print(f"{group}: {error}", file=sys.stderr)
            return 1
        if not parts:
            frame.save(group, figures)
        print(f"\n{frame.table(figures)}\n", flush=True)
    if frame.RESULTS.exists():
        print(f"All figures are in {frame.RESULTS.relative_to(frame.ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
