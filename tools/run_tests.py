# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the tests in parts, two at a time, with progress; name what failed and what took longest.

    python tools/run_tests.py check|test|long [PART …]

Each part's whole output goes to C(build/tests/PART.log); that of a failed part is shown at its end. The last line is
C(N passed, N failed).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "tests"
AT_ONCE = 2  # the machines this runs on have two cores, and half of each part is waiting
TAIL_LINES = 60


@dataclass(frozen=True)
class Part:
    """One test command. ``first`` runs before all others, alone. ``limit`` is in seconds."""

    name: str
    command: tuple[str, ...]
    tier: str
    limit: int = 600
    first: bool = False


@dataclass(frozen=True)
class Result:
    """How a part ended."""

    part: Part
    seconds: float
    failure: str = ""


def pytest(*arguments: str) -> tuple[str, ...]:
    """A pytest command line."""
    return ("python", "-m", "pytest", "-q", *arguments)


def molecule(scenario: str) -> tuple[str, ...]:
    """The whole test sequence of a scenario."""
    return ("molecule", "test", "-s", scenario)


# Longest first, so that the last one to end is a short one.
PARTS = (
    Part("images", ("python", "-m", "lab", "images"), "test", limit=900, first=True),
    Part("whole-host", molecule("masstock"), "test", limit=2400),
    Part("faults", pytest("tests/faults"), "test", limit=2400),
    Part("probes", pytest("tests/probes"), "test", limit=1500),
    Part("queues", pytest("-m", "not slow", "tests/queues"), "test", limit=2400),
    Part("nginx_tls", molecule("nginx_tls"), "test", limit=900),
    Part("nginx_tls_alternative", molecule("nginx_tls_alternative"), "test", limit=900),
    Part("monitoring_cron", molecule("monitoring_cron"), "test", limit=1800),
    Part("monitoring_cron_alternative", molecule("monitoring_cron_alternative"), "test", limit=1200),
    Part("maintenance", molecule("maintenance"), "test", limit=900),
    Part("docker_stack", molecule("docker_stack"), "test", limit=900),
    Part("docker_stack_alternative", molecule("docker_stack_alternative"), "test"),
    Part("sanity", ("python", "tools/run_sanity.py"), "test", limit=900),
    Part("host_base", molecule("host_base"), "test"),
    Part("browser", pytest("tests/browser"), "test", limit=1200),
    Part("applications", pytest("tests/apps/test_masstock_apps.py"), "test"),
    Part("nginx-accepts", pytest("-m", "docker", "tests/templates"), "test"),
    Part("next-ansible", ("python", "tools/run_next_ansible.py"), "test"),
    Part("ansible-lint", ("ansible-lint", "--offline", "-q"), "check"),
    Part("mypy", ("mypy", "plugins", "lab", "tools", "tests"), "check"),
    Part("unit", pytest("-m", "not docker"), "check", limit=1200),
    Part("ruff", ("ruff", "check", "."), "check"),
    Part("yamllint", ("yamllint", "--strict", "."), "check"),
    Part("generated", ("python", "tools/generate.py", "--check"), "check"),
    Part("applications-all", pytest("tests/apps"), "long", limit=3600),
    Part("releases", pytest("tests/releases"), "long", limit=1200),
    Part("long", pytest("tests/long"), "long", limit=10800),
    # In a lab of its own, beside the one that the tests of queues in tests/long use.
    Part("queues-slow", ("env", "QUAI_QUEUES_LAB=queues-slow", *pytest("-m", "slow", "tests/queues")), "long", 3600),
)


def run(part: Part) -> Result:
    """Run one part to its end or its limit."""
    log = LOGS / f"{part.name}.log"
    started = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            part.command,
            cwd=ROOT,
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=part.limit)
            failure = "" if code == 0 else f"exit code {code}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            failure = f"no end after its limit of {part.limit} s"
    return Result(part, time.monotonic() - started, failure)


def wanted(tier: str, names: Sequence[str]) -> list[Part]:
    """The parts of a tier: ``test`` holds ``check``; or those named."""
    tiers = {"check": {"check"}, "test": {"check", "test"}, "long": {"long"}}[tier]
    parts = [part for part in PARTS if part.tier in tiers or (tier == "long" and part.first)]
    if not names:
        return parts
    unknown = sorted(set(names) - {part.name for part in PARTS})
    if unknown:
        sys.exit(f"no such part: {', '.join(unknown)}; there are {', '.join(part.name for part in PARTS)}")
    return [part for part in PARTS if part.name in names]


def report(result: Result, done: int, total: int, lock: threading.Lock) -> None:
    """One line for a part that ended; the end of its log when it failed."""
    with lock:
        word = "FAILED" if result.failure else "passed"
        print(f"[{done}/{total}] {word} {result.part.name} in {result.seconds:.0f} s", flush=True)
        if result.failure:
            log = LOGS / f"{result.part.name}.log"
            tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
            print(f"  {result.failure}; the end of {log.relative_to(ROOT)}:")
            print("\n".join(f"  | {line}" for line in tail), flush=True)


# How the tools used here begin the line that says what failed.
REASONS = ("FAILED ", "ERROR ", "fatal: ", "[ERROR]: ", "CRITICAL ", "quai: failed", "E   ")
REASON_LINES, REASON_WIDTH = 12, 200


def reasons(part: Part) -> list[str]:
    """The lines of a part's log that say what failed, the last ones, for who sees only the end of the whole output."""
    log = (LOGS / f"{part.name}.log").read_text(encoding="utf-8", errors="replace")
    # Molecule frames what it runs.
    lines = [line.strip(" │") for line in re.sub(r"\x1b\[[0-9;]*m", "", log).splitlines()]
    found = list(dict.fromkeys(line for line in lines if line.startswith(REASONS))) or lines[-2:]
    return [line[:REASON_WIDTH] for line in found[-REASON_LINES:]]


def main() -> int:
    """Run and count."""
    parser = argparse.ArgumentParser(description="Run the tests of quai in parts.")
    parser.add_argument("tier", choices=["check", "test", "long"])
    parser.add_argument("parts", nargs="*", help="only these parts")
    options = parser.parse_args()
    parts = wanted(options.tier, options.parts)
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    started = time.monotonic()
    results: list[Result] = []
    lock = threading.Lock()
    print(f"{len(parts)} parts, {AT_ONCE} at a time; logs in {LOGS.relative_to(ROOT)}/", flush=True)
    for part in (part for part in parts if part.first):
        results.append(run(part))
        report(results[-1], len(results), len(parts), lock)
        if results[-1].failure:
            print(f"Nothing else can run without {part.name}.")
            print(f"0 passed, {len(parts)} failed")
            return 1
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for future in as_completed([pool.submit(run, part) for part in parts if not part.first]):
            results.append(future.result())
            report(results[-1], len(results), len(parts), lock)
    failed = [result.part.name for result in results if result.failure]
    print(f"\nSlowest parts of {time.monotonic() - started:.0f} s in all:")
    for result in sorted(results, key=lambda one: -one.seconds)[:10]:
        print(f"  {result.seconds:6.0f} s  {result.part.name}")
    if failed:
        for result in (result for result in results if result.failure):
            print(f"\n{result.part.name}: {result.failure}")
            print("\n".join(f"  | {line}" for line in reasons(result.part)))
        print(f"\nFailed: {', '.join(failed)}. One alone: .venv/bin/python tools/run_tests.py test PART")
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
