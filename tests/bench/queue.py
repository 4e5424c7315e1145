# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cleaning, retrying and counting beside bullmq's own C(Queue.clean) and C(retryJobs), and C(redis-cli --scan | xargs).

Every contender gets the same Redis and the same jobs, written anew before each run. What counts is the CPU time of
Redis, which all its clients share, and how long another client waits meanwhile. Wall time is that of the action in a
process that runs already. The peers are favoured where they differ: C(redis-cli | xargs) deletes everything of the
queue, its settings and schedules included, and bullmq keeps neither priority nor order of retried jobs.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, Script, Server

from tests.bench import redis_keys, services
from tests.bench.frame import BUILD, ROOT, BenchError, Figure, Usage, figure, rounds, run, unpack, version

Say = Callable[[str], None]
HERE = Path(__file__).parent / "queues"
MODULES = BUILD / "queues"
LIBRARY = ROOT / "collections"
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
PACKAGES = ("redis-server", "redis-tools")
# What every Debian has, or what must be its own.
PRESENT = ("libc6", "libgcc-s1", "libssl3", "libssl3t64", "libstdc++6", "libsystemd0")
QUEUE = "bench"
# In the past, so that every job is old.
TIME = 1_700_000_000_000
FILL = Script("fill", (HERE / "fill.lua").read_text(encoding="utf-8"))
PAGE = 1000
# Above that, one round takes minutes.
FEW_ROUNDS = 3


@dataclass(frozen=True)
class Taken(Usage):
    """What one run took of Redis and of its other clients. C(rss_mib) is that of the contender."""

    redis_cpu_s: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0

    def scaled(self, factor: float) -> Taken:
        """What a run of another size would have taken; waits stay what they are."""
        return replace(
            self,
            wall_s=self.wall_s * factor,
            cpu_s=self.cpu_s * factor,
            redis_cpu_s=self.redis_cpu_s * factor,
        )


def measure(say: Say, times: int, parts: Sequence[str] = ()) -> list[Figure]:
    """Measure all parts of the group, or those that are named."""
    known: dict[str, Callable[[Bench], Iterator[Figure]]] = {
        "idle": idle,
        "completed_100k": lambda bench: cleaned(bench, "completed_100k", "completed", 100_000),
        "wait_100k": lambda bench: cleaned(bench, "wait_100k", "wait", 100_000),
        "retry_100k": retried,
        "counts_1000": counted,
        "keys": redis_keys.keys,
        "completed_1m": lambda bench: cleaned(bench, "completed_1m", "completed", 1_000_000),
    }
    unknown = sorted(set(parts) - set(known))
    if unknown:
        raise BenchError(f"no such part: {', '.join(unknown)}; there are {', '.join(known)}")
    root = servers()
    packages()
    figures: list[Figure] = []
    for name, part in known.items():
        if not parts or name in parts:
            say(name)
            # A Redis of its own for each, so that none inherits the memory of another.
            with ExitStack() as stack:
                port = stack.enter_context(services.redis(root)).http
                link = stack.enter_context(Server({"port": port, "client": "builtin"})).first
                figures += part(Bench(root, port, link, say, times))
    return figures


def servers() -> Path:
    """Return the root with a redis-server that runs, with the libraries that this machine lacks."""
    root = unpack(*PACKAGES)
    program = root / "usr/bin/redis-server"
    libraries = {"LD_LIBRARY_PATH": str(root / "usr/lib" / f"{os.uname().machine}-linux-gnu")}

    def lacks() -> bool:
        return "not found" in run(["ldd", program], environment=libraries).output

    if lacks():
        depends = run(["apt-cache", "depends", *PACKAGES]).output
        words = [line.split()[-1] for line in depends.splitlines() if line.strip().startswith("Depends: lib")]
        unpack(*sorted(set(words) - set(PRESENT)))
    if lacks():
        raise BenchError(f"{program} lacks libraries on this machine: use the Debian that its packages are of")
    return root


def packages() -> None:
    """Install bullmq as the committed lock file says."""
    MODULES.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "package-lock.json").read_text(encoding="utf-8")
    done = MODULES / "installed.json"
    if done.exists() and done.read_text(encoding="utf-8") == wanted:
        return
    if not (shutil.which("npm") and shutil.which("node")):
        raise BenchError("bullmq is measured with Node.js: install nodejs and npm")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, MODULES / name)
    run(["npm", "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"], cwd=MODULES)
    done.write_text(wanted, encoding="utf-8")


def peer_version() -> str:
    """The bullmq that is measured."""
    lock = json.loads((HERE / "package-lock.json").read_text(encoding="utf-8"))
    return str(lock["packages"]["node_modules/bullmq"]["version"])


class Bench:
    """What every part needs."""

    def __init__(self, root: Path, port: int, link: Link, say: Say, times: int) -> None:
        self.root, self.port, self.link, self.say, self.times = root, port, link, say, times

    def fill(self, state: str, count: int, *, logs: int = 10, ranked: int = 0, lifo: int = 0) -> None:
        """Make the database hold that many jobs of one queue, and a few of another one."""
        self.link.call("FLUSHALL")
        self.link.call("HSET", "bull:bench:meta", "opts.maxLenEvents", 10000, "version", f"bullmq:{peer_version()}")
        self.link.call("HSET", "bull:other:meta", "opts.maxLenEvents", 10000, "version", f"bullmq:{peer_version()}")
        self.link.run(FILL, (), ("bull:other:", 1, 50, "wait", TIME, 0, 0, 0))
        for first in range(1, count + 1, PAGE):
            some = min(PAGE, count - first + 1)
            self.link.run(FILL, (), ("bull:bench:", first, some, state, TIME, logs, ranked, lifo))

    def redis_cpu(self) -> float:
        """CPU time of Redis so far, s, finer than that of the kernel's accounts."""
        info = self.link.facts().info
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def taken(self, act: Callable[[], tuple[float, float | None]]) -> Taken:
        """Run something that returns its seconds and memory, and account for it."""
        with pings(self.port) as pinged:
            before = self.redis_cpu()
            seconds, rss = act()
            spent = self.redis_cpu() - before
        return Taken(seconds, spent, rss, spent, pinged["p99_ms"], pinged["max_ms"])

    def ours(self, action: str, expected: int, **given: Any) -> Taken:
        """Run one of our actions as a program of its own; it must do what is expected."""
        told = {"port": self.port, "queue": QUEUE, "fast": "auto", "chunk_ms": 5.0, **given}
        environment = {"PYTHONPATH": str(LIBRARY), "PYTHONDONTWRITEBYTECODE": ""}
        command: list[str | Path] = [PYTHON, "-S", HERE / "ours.py", action, json.dumps(told)]
        return self.taken(lambda: self.told(run(command, environment=environment).output, expected))

    def bullmq(self, action: str, expected: int | None, **given: Any) -> Taken:
        """Run one of the package's."""
        told = {"port": self.port, "queue": QUEUE, **given}
        command: list[str | Path] = ["node", HERE / "peer.js", MODULES, action, json.dumps(told)]
        return self.taken(lambda: self.told(run(command).output, expected))

    def shell(self, script: str) -> Taken:
        """Run something with redis-cli, for which all of its time counts."""
        libraries = self.root / "usr/lib" / f"{os.uname().machine}-linux-gnu"
        cli = f"{self.root}/usr/bin/redis-cli -p {self.port}"
        environment = {"LD_LIBRARY_PATH": str(libraries)}

        def act() -> tuple[float, float | None]:
            return run(["/bin/sh", "-c", script.replace("CLI", cli)], environment=environment).usage.wall_s, None

        return self.taken(act)

    @staticmethod
    def told(output: str, expected: int | None) -> tuple[float, float]:
        """Seconds and memory that a program says it took."""
        said = json.loads(output.strip().splitlines()[-1])
        if expected is not None and said["result"] != expected:
            raise BenchError(f"expected {expected}, it says {said['result']}")
        return said["seconds"], said["rss_kib"] / 1024

    def left(self, **expected: int) -> None:
        """Raise BenchError when a state holds another number of jobs than it should."""
        for state, count in expected.items():
            key = f"bull:bench:{state}"
            found = self.link.call("LLEN" if state == "wait" else "ZCARD", key)
            if found != count:
                raise BenchError(f"{key} holds {found} jobs, expected {count}")
        if self.link.call("LLEN", "bull:other:wait") != 50:
            raise BenchError("another queue was touched")

    def rounds(self, contenders: dict[str, Callable[[], Taken]], times: int) -> dict[str, list[Taken]]:
        """Measure in interleaved rounds."""
        return cast("dict[str, list[Taken]]", rounds(contenders, times, lambda line: self.say(f"  {line}")))


@contextmanager
def pings(port: int) -> Iterator[dict[str, float]]:
    """Ask Redis all the time from a process of its own. What that found is there afterwards."""
    found: dict[str, float] = {}
    command: list[str | Path] = [PYTHON, "-S", HERE / "ping.py", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            out = process.stdout
            if out is None or not select.select([out], [], [], 20)[0] or out.readline() != "ready\n":
                raise BenchError("nobody answers PING")
            yield found
            told, _errors = process.communicate("\n", timeout=30)
            found.update(json.loads(told))
        finally:
            process.kill()


def figures_of(name: str, taken: dict[str, list[Taken]], *, waits: bool = True) -> Iterator[Figure]:
    """Yield our figures beside those of each peer: the first peer's under the figure's own name."""
    values: dict[str, tuple[str, Callable[[Taken], float]]] = {
        "redis_cpu_seconds": ("s CPU of Redis", lambda one: one.redis_cpu_s),
        "wall_s": ("s", lambda one: one.wall_s),
        "client_rss_mib": ("MiB at most", lambda one: one.rss_mib or 0.0),
    }
    if waits:
        values["ping_p99_ms"] = ("ms", lambda one: one.p99_ms)
        values["ping_max_ms"] = ("ms", lambda one: one.max_ms)
    ours, *peers = taken
    for key, (unit, value) in values.items():
        with_it = [peer for peer in peers if key != "client_rss_mib" or taken[peer][0].rss_mib is not None]
        for number, peer in enumerate(with_it):
            suffix = f".vs_{peer.partition(',')[0].replace(' ', '_')}" if number else ""
            mine, theirs = ([value(one) for one in taken[who]] for who in (ours, peer))
            yield figure(f"queue.{name}.{key}{suffix}", unit, mine, peer, theirs)


def idle(bench: Bench) -> Iterator[Figure]:
    """How long the other client waits when nobody does anything: what this machine adds to all that follows."""
    bench.fill("wait", 1000)
    taken = [bench.taken(lambda: (run(["sleep", "2"]).usage.wall_s, None)) for _turn in range(bench.times)]
    yield figure("queue.idle.ping_p99_ms", "ms", [one.p99_ms for one in taken])
    yield figure("queue.idle.ping_max_ms", "ms", [one.max_ms for one in taken])


def cleaned(bench: Bench, name: str, state: str, count: int) -> Iterator[Figure]:
    """Remove all jobs of a state, a tenth of which have logs."""

    def removed(act: Callable[[], Taken], *, all_keys: bool = True) -> Callable[[], Taken]:
        def once() -> Taken:
            bench.fill(state, count)
            done = act()
            bench.left(**{state: 0})
            # meta and events are left, and the other queue.
            left = bench.link.call("DBSIZE")
            if all_keys and left > 60:
                raise BenchError(f"{left} keys are left")
            return done

        return once

    release = peer_version()
    clean = {"state": state}
    contenders = {
        "quai": removed(lambda: bench.ours("clean", count, **clean)),
        f"bullmq {release}, Queue.clean of 1,000": removed(lambda: bench.bullmq("clean", count, limit=PAGE, **clean)),
        f"bullmq-unlimited {release}, as Bull Board does": removed(
            lambda: bench.bullmq("clean", count, limit=0, **clean)
        ),
    }
    if state == "completed":
        contenders[f"redis-cli {version('redis-tools').rpartition('%3a')[2]} --scan, xargs del"] = removed(
            lambda: bench.shell("CLI --scan --pattern 'bull:bench:*' | xargs CLI del >/dev/null")
        )
    times = min(bench.times, FEW_ROUNDS) if count > 200_000 else bench.times
    taken = bench.rounds(contenders, times)
    yield from figures_of(name, taken)


def retried(bench: Bench) -> Iterator[Figure]:
    """Put 100,000 failed jobs back. A tenth have a priority, a twentieth are last in, first out: ours keep both."""
    count, some = 100_000, 10_000

    def ours() -> Taken:
        bench.fill("failed", count, logs=0, ranked=10, lifo=20)
        done = bench.ours("retry", count)
        bench.left(failed=0, prioritized=count // 10, wait=count - count // 10)
        return done

    def theirs(action: str, jobs: int) -> Taken:
        bench.fill("failed", jobs, logs=0, ranked=10, lifo=20)
        done = bench.bullmq(action, None)
        bench.left(failed=0)
        return done

    release = peer_version()
    taken = bench.rounds(
        {
            "quai": ours,
            f"bullmq {release}, retryJobs of 1,000": lambda: theirs("retry", count),
            f"bull-board way, job.retry in pages of 100 ({some:,} of {count:,}, scaled)": lambda: theirs(
                "retryEach", some
            ).scaled(count / some),
        },
        bench.times,
    )
    yield from figures_of("retry_100k", taken)


def counted(bench: Bench) -> Iterator[Figure]:
    """Count the jobs of 1,000 queues with five each."""
    names = [f"q{number}" for number in range(1000)]
    bench.fill("wait", 0)
    for name in names:
        for state in ("wait", "completed"):
            bench.link.run(FILL, (), (f"bull:{name}:", 1, 2 + (state == "wait"), state, TIME, 0, 0, 0))
    release = peer_version()
    taken = bench.rounds(
        {
            "quai": lambda: bench.ours("counts", 5 * len(names), names=names),
            f"bullmq {release}, getJobCounts of all at once": lambda: bench.bullmq(
                "counts", 5 * len(names), names=names
            ),
        },
        bench.times,
    )
    yield from figures_of("counts_1000", taken, waits=False)
