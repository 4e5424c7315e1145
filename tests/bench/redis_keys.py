# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing keys by pattern beside C(redis-cli --scan | xargs redis-cli del): a part of the group C(queue).

The peers are favoured: they look neither at types and times to live nor for queues, and C(xargs) would break names with
spaces or quotes in them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ansible_collections.quai.ops.plugins.module_utils._redis_link import Script

from tests.bench.frame import BenchError, Figure, figure, run, version

if TYPE_CHECKING:
    from tests.bench.queue import Bench, Taken

GONE: Final = 100_000
OTHERS: Final = 200_000
PAGE: Final = 5000
# Writing the keys anew takes longer than all else.
ROUNDS: Final = 3
PROGRAM: Final = Path(__file__).parent / "queues" / "keys.py"
FILL: Final = Script(
    "fill",
    """
for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local more = i % 2 == 0 and {'EX', 100000} or {}
  redis.call('SET', ARGV[3] .. redis.sha1hex(i), string.rep('x', 200), unpack(more))
end
""",
)


def keys(bench: Bench) -> Iterator[Figure]:
    """Remove 100,000 of 300,000 keys by their pattern; then half of them, those without a time to live."""
    from tests.bench.queue import LIBRARY, PYTHON, figures_of

    def filled() -> None:
        bench.link.call("FLUSHALL")
        for prefix, count in (("expired:", GONE), ("user:", OTHERS)):
            for first in range(0, count, PAGE):
                bench.link.run(FILL, (), (first, first + PAGE - 1, prefix))

    def removed(act: Callable[[], Taken], gone: int) -> Callable[[], Taken]:
        def once() -> Taken:
            filled()
            done = act()
            left = bench.link.call("DBSIZE")
            if left != GONE + OTHERS - gone:
                raise BenchError(f"{left} keys are left, expected {GONE + OTHERS - gone}")
            return done

        return once

    def ours(expected: int, **rule: object) -> Callable[[], Taken]:
        told = json.dumps({"port": bench.port, "rules": [{"pattern": "expired:*", **rule}]})
        environment = {"PYTHONPATH": str(LIBRARY), "PYTHONDONTWRITEBYTECODE": ""}
        command: list[str | Path] = [PYTHON, "-S", PROGRAM, told]
        return lambda: bench.taken(lambda: bench.told(run(command, environment=environment).output, expected))

    times = min(bench.times, ROUNDS)
    cli = f"redis-cli {version('redis-tools').rpartition('%3a')[2]} --scan"
    scan = "CLI --scan --pattern 'expired:*' | xargs"
    taken = bench.rounds(
        {
            "quai": removed(ours(GONE), GONE),
            f"{cli}, xargs del": removed(lambda: bench.shell(f"{scan} CLI del >/dev/null"), GONE),
            f"unlink, {cli}, xargs -n1000": removed(lambda: bench.shell(f"{scan} -n1000 CLI unlink >/dev/null"), GONE),
        },
        times,
    )
    yield from figures_of("keys_100k", taken)
    half = GONE // 2
    # There is no such command of redis-cli: to ask each key for its TTL with it would take an hour.
    alone = bench.rounds({"quai": removed(ours(half, without_ttl=True), half)}, times)["quai"]
    yield figure("queue.keys_without_ttl_50k.redis_cpu_seconds", "s CPU of Redis", [one.redis_cpu_s for one in alone])
    yield figure("queue.keys_without_ttl_50k.ping_p99_ms", "ms", [one.p99_ms for one in alone])


__all__ = ["keys"]
