# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch every guard off, one at a time, and see whether a random case notices.

A guard is a condition of an C(if) in one of the scripts, one in Python that an error depends on, and what is listed in
CHOSEN. Those of EQUIVALENT cannot be
noticed in what a database holds afterwards, each for the reason that stands there. What no random case reaches (long
lists, rights, workers, changes meanwhile) the named tests of OWNERS have to notice; one that fails only once under a
mutant, or without any as well, has noticed nothing. _queue_repair has no random trial: it is left to its named tests.

    QUAI_QUEUES_LOCAL=… PYTHONPATH=collections:. python -m tests.queues.mutants [MODULE] [--match TEXT] [--seeds N]
                                                                               [--from LINE] [--owners]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lab.names import ROOT
from tests.queues.harness import World, case_for, run_case
from tests.queues.place import NodeError, opened

PACKAGE = "ansible_collections.quai.ops.plugins.module_utils"
HERE = Path(__file__).resolve().parent
SOURCES = ROOT / "plugins" / "module_utils"
# Modules with scripts, and the trials that use them.
MODULES = {
    "_queue_lua": ("policy", "clean", "types"),
    "_queue_clean": ("policy", "clean", "policy-fast"),
    "_queue_fast": ("policy-fast", "fast", "types"),
    "_queue_retry": ("retry", "rank", "types"),
    "_queue_state": ("state", "types"),
    "_queue_repair": (),
}
# What is loaded anew for each mutant: all that could have taken something from the module.
RELOADED = re.compile(r"_queue_(?!layout)\w+$")
# What notices a guard that no random case can reach: long lists, rights, workers, changes meanwhile.
OWNERS = {
    "_queue_lua": ("test_clean.py", "test_halfway.py", "test_deliberate.py"),
    "_queue_clean": ("test_clean.py", "test_deliberate.py"),
    "_queue_fast": ("test_fast.py", "test_halfway.py", "test_deliberate.py"),
    "_queue_retry": ("test_halfway.py", "test_retry.py"),
    "_queue_state": ("test_halfway.py", "test_state.py"),
    "_queue_repair": ("test_halfway.py", "test_repair.py"),
}
MATRIX = ("bullmq5", "bullmq6", "bull4", "bullmq3", "bullmq4", "bullmq1", "bull3", "bullmq568")
SEEDS = 16
# Seeds before the named tests are asked: most mutants are noticed by them, and the others by no more of them.
FIRST_SEEDS = 1
SECONDS = 30
_LUA_IF = re.compile(r"^(\s*(?:else)?if )(.+)( then\b.*)$")
_PYTHON_IF = re.compile(r"^(\s*(?:el)?if )(.+)(:)$")


Seen = tuple[str, str, int]  # trial, package, seed


class Mutant(NamedTuple):
    """One change of a module's source: the line that is changed, and all of the source with it changed."""

    module: str
    before: str
    source: str
    line: int = 0

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return f"{self.module}:{self.line}: {self.before.strip()[:110]}"


# Guards that are no condition of an if in one line: (module, what stands there, what stands there in the mutant).
CHOSEN: tuple[tuple[str, str, str], ...] = (
    (
        "_queue_retry",
        "elseif (named and not like(fields[at + name_at], named))\n",
        "elseif (false)\n",
    ),
    (
        "_queue_retry",
        "    or (reasoned and not like(fields[at + name_at + 1], reasoned)) then",
        "    or false then",
    ),
)
# (module, a guard's line) -> why no database can tell.
EQUIVALENT: dict[tuple[str, str], str] = {
    ("_queue_retry", "if deepest > rewrite_most then"): "either way gives the same list; this one bounds the time",
    ("_queue_retry", "if count == looked then"): "removes the same ids, by their place in place of one by one",
}


def mutants(module: str) -> list[Mutant]:
    """All mutants of a module."""
    source = (SOURCES / f"{module}.py").read_text(encoding="utf-8")
    lines = source.splitlines()
    equal = {line for where, line in EQUIVALENT if where == module}
    for line in equal:
        assert sum(one.strip() == line for one in lines) == 1, f"{module}: {line!r} of EQUIVALENT does not stand there"
    found = []
    for index, line in enumerate(lines):
        match, never = _LUA_IF.match(line), "false"
        if not match and lines[index + 1 : index + 2] and lines[index + 1].strip().startswith("raise "):
            match, never = _PYTHON_IF.match(line), "False"
        if match and line.strip() not in equal:
            changed = f"{match.group(1)}{never} and ({match.group(2)}){match.group(3)}"
            found.append(Mutant(module, line, _joined([*lines[:index], changed, *lines[index + 1 :]]), index + 1))
    for where, before, after in CHOSEN:
        if where == module:
            assert source.count(before) == 1, f"{module}: {before!r} stands there {source.count(before)} times"
            line_number = source[: source.index(before)].count("\n") + 1
            found.append(Mutant(module, before, source.replace(before, after), line_number))
    return found


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a changed source."""

    def __init__(self, module: str, source: str) -> None:
        self.source = source
        self.name = f"{PACKAGE}.{module}"
        self.path = str(SOURCES / f"{module}.py")

    def find_spec(self, fullname: str, _path: Any = None, _target: Any = None) -> Any:
        """Ours for that one module."""
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.name else None

    def create_module(self, _spec: Any) -> None:
        """As usual."""

    def exec_module(self, module: Any) -> None:
        """Run the changed source."""
        exec(compile(self.source, self.path, "exec"), module.__dict__)  # noqa: S102


def _forget() -> None:
    package = importlib.import_module(PACKAGE)
    for name in list(sys.modules):
        short = name.rpartition(".")[2]
        if name.startswith(f"{PACKAGE}.") and RELOADED.match(short):
            del sys.modules[name]
            if hasattr(package, short):
                delattr(package, short)


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """Have everything that is imported now see the mutant."""
    finder = _Finder(mutant.module, mutant.source)
    sys.meta_path.insert(0, finder)
    _forget()
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _forget()


PLANTED = "QUAI_QUEUES_MUTANT"  # MODULE:LINE, or MODULE:FILE with the changed source; conftest.py plants it
OWNER_SECONDS = 900
# The named tests that are random cases again.
ANOTHER_WAY = "not test_as_the_package"


def plant_for_session(asked: str) -> None:
    """Plant a mutant for all of a test run."""
    module, _colon, where = asked.partition(":")
    if where.isdigit():
        (source,) = (one.source for one in mutants(module) if one.line == int(where))
    else:
        source = Path(where).read_text(encoding="utf-8")
    sys.meta_path.insert(0, _Finder(module, source))
    _forget()


def _named_tests(module: str, planted_at: str, *more: str) -> list[str]:
    """The first named test that fails, with a mutant or (empty) without; all of them without."""
    files = [str(HERE / name) for name in OWNERS[module]]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=no", "-k", ANOTHER_WAY, *(more or files)],
        cwd=ROOT,
        env={**os.environ, PLANTED: planted_at, "COLUMNS": "400"},
        capture_output=True,
        text=True,
        timeout=OWNER_SECONDS,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest with {planted_at} ended with {done.returncode}: {done.stdout}{done.stderr}")
    lines = [line.partition(" ")[2] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return [line.partition(" - ")[0] for line in lines]


@cache
def fail_anyway(module: str) -> tuple[str, ...]:
    """The named tests that fail as the module is."""
    return tuple(_named_tests(module, ""))


def caught_by_owner(mutant: Mutant) -> str:
    """The named test that notices a mutant; empty when none does."""
    passed_over = list(fail_anyway(mutant.module))
    files = [str(HERE / name) for name in OWNERS[mutant.module]]
    with tempfile.TemporaryDirectory() as directory:
        changed = Path(directory) / f"{mutant.module}.py"
        changed.write_text(mutant.source, encoding="utf-8")
        at = f"{mutant.module}:{changed}"
        try:
            for _time in range(4):
                skipped = [part for name in passed_over for part in ("--deselect", name)]
                failed = _named_tests(mutant.module, at, "-x", *skipped, *files)
                if not failed:
                    return ""
                # On a busy machine a test that has to do with time may fail once.
                if _named_tests(mutant.module, at, failed[0]):
                    return failed[0]
                passed_over += failed
        except subprocess.TimeoutExpired:
            return "named tests do not end"
    return ""


class _TooLong(BaseException):
    """A mutant that does not end is one that is noticed."""


def _alarm(_signal: int, _frame: Any) -> None:
    raise _TooLong


def noticed(world: World, mutant: Mutant, seeds: int = SEEDS, skip: frozenset[Seen] = frozenset()) -> str:
    """The case or the named test that notices a mutant; empty when none does. C(skip): as of caught."""
    first = min(seeds, FIRST_SEEDS)
    return (
        caught(world, mutant, range(first), skip)
        or caught_by_owner(mutant)
        or caught(world, mutant, range(first, seeds), skip)
    )


def caught(world: World, mutant: Mutant, seeds: Iterable[int], skip: frozenset[Seen] = frozenset()) -> str:
    """The case that notices a mutant; empty when none does. C(skip): cases that differ without one."""
    signal.signal(signal.SIGALRM, _alarm)
    with planted(mutant):
        try:
            for seen, why in _differing(world, MODULES[mutant.module], seeds):
                if seen not in skip:
                    return " ".join((*(str(part) for part in seen), why))
            return ""
        except _TooLong:
            world.server.kill()
            world.server.start()
            world.place.restart_nodes()
            for database in world.databases:
                database.disconnect()
            return "it does not end"
        finally:
            signal.alarm(0)


def differing(world: World, module: str, seeds: int = SEEDS) -> dict[Seen, str]:
    """The cases that differ as the module is."""
    with planted(Mutant(module, "", (SOURCES / f"{module}.py").read_text(encoding="utf-8"))):
        found = dict(_differing(world, MODULES[module], range(seeds)))
    signal.alarm(0)
    return found


def _differing(world: World, trials: Sequence[str], seeds: Iterable[int]) -> Iterator[tuple[Seen, str]]:
    signal.signal(signal.SIGALRM, _alarm)
    for seed in seeds:
        for package in MATRIX:
            for trial in trials:
                case = case_for(trial, seed, package)
                signal.alarm(SECONDS)
                try:
                    lines = run_case(world, trial, case)
                except (NodeError, ImportError, _TooLong):
                    raise
                except Exception as error:
                    lines = [f"{type(error).__name__}: {error}"]
                if lines:
                    yield (trial, package, seed), lines[0][:120]


def main() -> int:
    """Run mutants and list those that nothing noticed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("module", nargs="?", choices=sorted(MODULES))
    parser.add_argument("--match", default="")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--owners", action="store_true", help="run the named tests for those that survive")
    parser.add_argument("--from", dest="start", type=int, default=0, help="the first line")
    asked = parser.parse_args()
    alive, total = [], 0
    with opened() as place:
        world = World(place, place.serve())
        for package in MATRIX:
            world.warm(package)
        for module in [asked.module] if asked.module else MODULES:
            known = differing(world, module, asked.seeds)
            for seen, why in known.items():
                print(f"differs without any mutant: {seen} {why}", flush=True)
            for mutant in mutants(module):
                if asked.match not in mutant.before or mutant.line < asked.start:
                    continue
                total += 1
                if asked.owners:
                    found = noticed(world, mutant, asked.seeds, frozenset(known))
                else:
                    found = caught(world, mutant, range(asked.seeds), frozenset(known))
                print(f"{'caught  ' if found else 'SURVIVED'} {mutant.name}   {found[:90]}", flush=True)
                if not found:
                    alive.append(mutant)
    print(f"{total - len(alive)} of {total} caught")
    return 1 if alive else 0


__all__ = [
    "CHOSEN",
    "EQUIVALENT",
    "MODULES",
    "Mutant",
    "caught",
    "differing",
    "fail_anyway",
    "mutants",
    "noticed",
    "planted",
]

if __name__ == "__main__":
    sys.exit(main())
