# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measuring: contenders in interleaved rounds, medians beside peers, a table and C(build/bench.json).

CPU time is what a process and everything it waited for took, from the kernel's accounts, plus what daemons took
meanwhile. It is the figure to trust on a busy machine; wall time is only as good as the machine was idle.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "bench"
RESULTS = ROOT / "build" / "bench.json"
_TICKS = os.sysconf("SC_CLK_TCK")
_MIB = 1024 * 1024


class BenchError(Exception):
    """A contender did not do what it was measured for; the message says what it did."""


@dataclass(frozen=True)
class Usage:
    """What one run took. C(rss_mib) is None where it was not looked at."""

    wall_s: float
    cpu_s: float
    rss_mib: float | None = None

    def less(self, other: Usage) -> Usage:
        """What is left when a run's fixed cost is taken off."""
        return Usage(max(0.0, self.wall_s - other.wall_s), max(0.0, self.cpu_s - other.cpu_s), self.rss_mib)

    def scaled(self, factor: float) -> Usage:
        """What a run of another size would have taken, for what is linear in it."""
        return Usage(self.wall_s * factor, self.cpu_s * factor, self.rss_mib)


@dataclass(frozen=True)
class Ran:
    """A command that ended as it should."""

    usage: Usage
    output: str


@dataclass(frozen=True)
class Figure:
    """One number beside that of its peer, measured in the same rounds. C(ratio): how many times the peer's is ours."""

    name: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    runs: int = 1
    spread: tuple[float, float] | None = None  # lowest and highest of our runs

    def document(self) -> dict[str, Any]:
        """As it stands in bench.json."""
        ratio = None if self.peer_value is None or not self.value else round(self.peer_value / self.value, 2)
        return {
            "name": self.name,
            "value": _short(self.value),
            "unit": self.unit,
            "peer": self.peer or None,
            "peer_value": None if self.peer_value is None else _short(self.peer_value),
            "ratio": ratio,
            "runs": self.runs,
            "spread": None if self.spread is None else [_short(value) for value in self.spread],
        }


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def run(
    command: Sequence[str | Path],
    *,
    daemons: Iterable[int] = (),
    environment: Mapping[str, str] | None = None,
    given: bytes = b"",
    expect: Iterable[int] = (0,),
    limit: float = 300,
    cwd: Path | None = None,
) -> Ran:
    """Run a command to its end and account for it. Raises BenchError when it ends otherwise than expected."""
    pids = list(daemons)
    before = sum(daemon_cpu(pid) for pid in pids)
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as asked:
        asked.write(given)
        asked.seek(0)
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=asked,
            stdout=told,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=cwd,
            start_new_session=True,
        )
        guard = threading.Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
        guard.start()
        try:
            _pid, status, usage = os.wait4(process.pid, 0)
        finally:
            guard.cancel()
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        output = told.read().decode("utf-8", "replace")
    if process.returncode not in expect:
        said = "\n".join(output.strip().splitlines()[-15:])
        raise BenchError(
            f"{' '.join(map(str, command))[:200]} ended with {process.returncode} after {wall:.1f} s:\n{said}"
        )
    cpu = usage.ru_utime + usage.ru_stime + sum(daemon_cpu(pid) for pid in pids) - before
    return Ran(Usage(wall, cpu), output)


def daemon_cpu(pid: int) -> float:
    """CPU time that a process has taken since its start, ended threads included, s."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_rss(pid: int | str) -> float:
    """The most memory that a process has held, MiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / _MIB
    raise BenchError(f"process {pid} has no memory of its own")


def rounds(
    contenders: Mapping[str, Callable[[], Usage]], times: int, say: Callable[[str], None]
) -> dict[str, list[Usage]]:
    """Measure all contenders again and again, each round beginning with another one."""
    names = list(contenders)
    taken: dict[str, list[Usage]] = {name: [] for name in names}
    for turn in range(times):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            usage = contenders[name]()
            taken[name].append(usage)
            say(f"round {turn + 1} of {times}: {name}: {usage.cpu_s:.3f} s CPU, {usage.wall_s:.2f} s")
    return taken


def figure(
    name: str,
    unit: str,
    ours: Sequence[float],
    peer: str = "",
    theirs: Sequence[float] = (),
) -> Figure:
    """A figure from the runs of both sides."""
    return Figure(
        name,
        statistics.median(ours),
        unit,
        peer,
        statistics.median(theirs) if theirs else None,
        len(ours),
        (min(ours), max(ours)),
    )


def machine() -> str:
    """What this ran on."""
    cpu = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            cpu = " ".join(line.partition(":")[2].split())
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    name = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} x {cpu}, {memory:.0f} GiB, {name}, Linux {platform.release()}, load {load}"


def save(group: str, figures: Sequence[Figure], path: Path = RESULTS) -> None:
    """Put a group's figures in the file, in place of those it had there."""
    kept: list[dict[str, Any]] = []
    try:
        former = json.loads(path.read_text(encoding="utf-8"))["figures"]
        kept = [one for one in former if not str(one["name"]).startswith(f"{group}.")]
    except (FileNotFoundError, ValueError, KeyError):
        pass  # the first run, or a file that a killed one left
    document = {
        "machine": machine(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "figures": sorted([*kept, *(one.document() for one in figures)], key=lambda one: str(one["name"])),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)


def table(figures: Sequence[Figure]) -> str:
    """The figures for people."""
    rows = [("figure", "value", "unit", "peer", "peer's", "ratio", "runs", "spread")]
    for one in (figure.document() for figure in figures):
        spread = "" if one["spread"] is None else f"{one['spread'][0]:g} to {one['spread'][1]:g}"
        peer_value = "" if one["peer_value"] is None else f"{one['peer_value']:g}"
        ratio = "" if one["ratio"] is None else f"{one['ratio']:g}"
        rows.append(
            (
                one["name"],
                f"{one['value']:g}",
                one["unit"],
                one["peer"] or "",
                peer_value,
                ratio,
                str(one["runs"]),
                spread,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def unpack(*packages: str) -> Path:
    """Return the root of Debian packages as a tree below build/, so that no service of theirs starts by itself."""
    root = BUILD / "root"
    missing = [name for name in packages if not (BUILD / f"{name}.unpacked").exists()]
    if not missing:
        return root
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise BenchError(f"{', '.join(missing)} come from Debian packages, and this machine has no apt-get; use Debian")
    place = BUILD / "packages"
    place.mkdir(parents=True, exist_ok=True)
    for attempt in (["download"], ["update", "-q"], ["download"]):
        command = ["apt-get", *attempt, *(missing if attempt == ["download"] else [])]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        if done.returncode == 0 and attempt == ["download"]:
            break
    else:
        raise BenchError(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    for name in missing:
        newest = max(place.glob(f"{name}_*.deb"), key=lambda path: path.stat().st_mtime)
        subprocess.run(["dpkg", "-x", newest, root], check=True)
        (BUILD / f"{name}.unpacked").write_text(newest.name.split("_")[1], encoding="utf-8")
    return root


def version(package: str) -> str:
    """Version of an unpacked package, without Debian's part."""
    return (BUILD / f"{package}.unpacked").read_text(encoding="utf-8").split("-")[0]
