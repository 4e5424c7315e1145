# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch every guard off, one at a time, and see whether a random case notices.

A guard is a condition of an C(if) in one of the scripts, one in Python that an error depends on, and what is listed in
CHOSEN. Those of EQUIVALENT cannot be noticed in what a database holds afterwards, each for the reason that stands
there. What no random case reaches (long lists, rights, workers, changes meanwhile) the named tests of OWNERS have to
notice, those that `make test` runs; one that fails only once under a mutant, or without any as well, has noticed
nothing. _queue_repair has no random trial: it is left to its named tests.

A guard that never holds in a test cannot be noticed by it. So all named tests run once with guards that tell when they
hold, and a mutant is shown to those tests only; the one that noticed it before, as is remembered in build/, begins.

    QUAI_QUEUES_LOCAL=… PYTHONPATH=collections:. python -m tests.queues.mutants [MODULE] [--match TEXT] [--seeds N]
                                                                               [--from LINE] [--owners]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from _pytest.runner import runtestprotocol

from lab import topology
from lab.console import Console
from lab.names import ROOT
from lab.wait import until
from tests.queues.harness import World, case_for, run_case
from tests.queues.place import Database, NodeError, RedisFailed, opened

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
_HALFWAY = "test_halfway.py::test_user_without_a_command"
_CLEAN_OWNERS = ("test_clean.py", "test_clean_scripts.py", "test_deliberate.py", _HALFWAY)
OWNERS = {
    "_queue_lua": _CLEAN_OWNERS,
    "_queue_clean": _CLEAN_OWNERS,
    "_queue_fast": ("test_fast.py", "test_halfway.py", "test_deliberate.py"),
    "_queue_retry": ("test_halfway.py", "test_retry.py"),
    "_queue_state": ("test_state.py", _HALFWAY, "test_halfway.py::test_key_of_another_type_in_a_queue_of_bull"),
    "_queue_repair": ("test_repair_scripts.py", f"{_HALFWAY}_repairs", "test_repair.py"),
}
MATRIX = ("bullmq5", "bullmq6", "bull4", "bullmq3", "bullmq4", "bullmq1", "bull3", "bullmq568")
SEEDS = 16
SECONDS = 30
_LUA_IF = re.compile(r"^(\s*(?:else)?if )(.+)( then\b.*)$")
_PYTHON_IF = re.compile(r"^(\s*(?:el)?if )(.+)(:)$")


Seen = tuple[str, str, int]  # trial, package, seed


# What takes the place of a guard's condition to see when it holds; the log of the server tells.
_LUA_TOLD = (
    "(function(holds) if holds and not KEYS['guard @'] then KEYS['guard @'] = true"
    " redis.log(redis.LOG_WARNING, 'guard @ holds') end return holds end)"
)
_TOLD = re.compile(rb"guard (\d+) holds")
HELD: set[int] = set()  # guards in Python that held


def guard_told(line: int, holds: Any) -> Any:
    """What stands around a guard in Python to see when it holds."""
    if holds:
        HELD.add(line)
    return holds


class Mutant(NamedTuple):
    """One change of a module's source: the line that is changed, and all of the source with it changed."""

    module: str
    before: str
    source: str
    line: int = 0
    chosen: bool = False  # one of CHOSEN

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return f"{self.module}:{self.line}: {self.before.strip()[:110]}"

    @property
    def guard(self) -> str:
        """What it is remembered by: the line, and which of those that say the same."""
        head = self.source.splitlines()[: self.line - 1]
        return f"{self.before.strip()} #{sum(self.before.strip() == line.strip() for line in head) + 1}"


# Guards that are no condition of an if in one line: (module, what stands there, what stands there in the mutant).
CHOSEN: tuple[tuple[str, str, str], ...] = (
    (
        "_queue_retry",
        "elseif (named and not like(fields[name_at], named))\n",
        "elseif (false)\n",
    ),
    (
        "_queue_retry",
        "    or (reasoned and not like(fields[name_at + 1], reasoned)) then",
        "    or false then",
    ),
    ("_queue_clean", '    allowed(link, queue.base, commands, "cleaning it")\n', ""),
    ("_queue_state", '    allowed(link, queue.base, commands, f"to {action} it")\n', ""),
    ("_queue_repair", "        if self._commands:\n", "        if False:\n"),
    ("_queue_clean", "    if policy.max_remove is not None and not dry:\n", "    if False:\n"),
    ("_queue_clean", "        if seen > bound and not found.done:\n", "        if False:\n"),
    ("_queue_clean", "            if found.done or seen > bound:\n", "            if found.done:\n"),
    ("_queue_clean", '            if any(one.startswith(b"groups") for one in ids):\n', "            if False:\n"),
    ("_queue_clean", "                if one in listed or one in _NO_JOBS:\n", "                if False:\n"),
    ("_queue_clean", '                if b":" in one and not _RUN.match(one):\n', "                if False:\n"),
    ("_queue_repair", ' if one["seen_for_s"] > 0]', "]"),
    ("_queue_repair", '    if "stalled" in chosen and before["unlocked"]:\n', "    if False:\n"),
    ("_queue_repair", "        if self._flavour.bull:\n", "        if False:\n"),
    ("_queue_repair", "        if text(why):\n            left", "        if False:\n            left"),
)
# (module, a guard's line) -> why no database can tell.
EQUIVALENT: dict[tuple[str, str], str] = {
    ("_queue_retry", "if deepest > rewrite_most then"): "either way gives the same list; this one bounds the time",
    ("_queue_retry", "if count == looked then"): "removes the same ids, by their place in place of one by one",
    (
        "_queue_fast",
        "if page.err then return ended(1, 'sort') end",
    ): "without a page no job has a time, so that the exact way takes over as well",
}


def mutants(module: str) -> list[Mutant]:
    """All mutants of a module."""
    source = (SOURCES / f"{module}.py").read_text(encoding="utf-8")
    lines = source.splitlines()
    equal = {line for where, line in EQUIVALENT if where == module}
    for line in equal:
        assert sum(one.strip() == line for one in lines) == 1, f"{module}: {line!r} of EQUIVALENT does not stand there"
    found = []
    for index, match, never in _guards(lines):
        if lines[index].strip() not in equal:
            changed = f"{match.group(1)}{never} and ({match.group(2)}){match.group(3)}"
            whole = _joined([*lines[:index], changed, *lines[index + 1 :]])
            found.append(Mutant(module, lines[index], whole, index + 1))
    for where, before, after in CHOSEN:
        if where == module:
            assert source.count(before) == 1, f"{module}: {before!r} stands there {source.count(before)} times"
            line_number = source[: source.index(before)].count("\n") + 1
            found.append(Mutant(module, before, source.replace(before, after), line_number, chosen=True))
    return found


def _guards(lines: Sequence[str]) -> Iterator[tuple[int, re.Match[str], str]]:
    """Conditions that are switched off: place of the line, its three parts, and what is never true there."""
    for index, line in enumerate(lines):
        if found := _LUA_IF.match(line):
            yield index, found, "false"
        elif (found := _PYTHON_IF.match(line)) and _refuses(lines, index):
            yield index, found, "False"


def telling(module: str) -> str:
    """The source of a module whose guards tell when they hold."""
    lines = (SOURCES / f"{module}.py").read_text(encoding="utf-8").splitlines()
    for index, match, never in list(_guards(lines)):
        around = _LUA_TOLD.replace("@", str(index + 1)) if never == "false" else f"_guard_told({index + 1}, "
        begin, end = (f"{around}(", ")") if never == "false" else (around, ")")
        lines[index] = f"{match.group(1)}{begin}{match.group(2)}{end}{match.group(3)}"
    first = lines.index("from __future__ import annotations") + 1
    lines.insert(first, "from tests.queues.mutants import guard_told as _guard_told")
    return _joined(lines)


def _refuses(lines: Sequence[str], index: int) -> bool:
    """Whether an if in Python raises something, or adds to what is raised together."""
    depth, inner = _depth(lines[index]), 0
    for line in filter(str.strip, lines[index + 1 :]):
        inner = inner or _depth(line)
        if _depth(line) <= depth:
            break
        if _depth(line) == inner and line.strip().startswith(("raise ", "problems.append(")):
            return True
    return False


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


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


# For conftest.py: MODULE:LINE, MODULE:FILE with a changed source, or MODULE: where guards tell when they hold.
PLANTED = "QUAI_QUEUES_MUTANT"
KNOWN = "QUAI_QUEUES_MUTANT_KNOWN"  # the file of Known; conftest.py sorts the tests by it, and writes to it
OWNER_SECONDS = 900
QUIET = ("-q", "--no-header", "--tb=no", "-p", "no:cacheprovider")
# The named tests that are random cases again are left out, and those that `make test` does not run.
NAMED = ("-k", "not test_as_the_package", "-m", "not slow")
KNOWN_AT = ROOT / "build" / "mutants"


class Known:
    """What is known of the named tests of a module. C(guard) is the one that is tried."""

    def __init__(self, path: Path) -> None:
        self.path = path
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.seconds: dict[str, float] = found.get("seconds", {})  # test -> how long it takes
        self.held: dict[str, list[int]] = found.get("held", {})  # test -> lines of guards that hold in it
        self.noticed: dict[str, str] = found.get("noticed", {})  # guard -> test
        self.guard: str = found.get("guard", "")
        self.line: int = found.get("line", 0)

    def write(self) -> None:
        """Write it down."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        told = {name: value for name, value in vars(self).items() if name != "path"}
        self.path.write_text(json.dumps(told, indent=1, sort_keys=True), encoding="utf-8")

    def may_notice(self) -> bool:
        """Whether the guard holds in any test. True as well when it is none that tells."""
        return not self.line or any(self.line in lines for lines in self.held.values())

    def limit(self) -> float:
        """Seconds that the tests may take: a mutant that does not end is one that is noticed."""
        if not self.line:
            return OWNER_SECONDS
        return 60 + 5 * sum(self.seconds.get(test, 0.0) for test, lines in self.held.items() if self.line in lines)

    def rank(self, test: str) -> tuple[int, int, float]:
        """What to sort by: what noticed this guard before, then what noticed most others, then the fastest."""
        others = sum(one == test for one in self.noticed.values())
        return int(self.noticed.get(self.guard) != test), -others, self.seconds.get(test, 0.0)


class Session:
    """A plugin of pytest for a run with a mutant, or for one that measures how long each test takes, and what holds."""

    def __init__(self, planted_at: str, known: str) -> None:
        self.measures = planted_at.endswith(":")
        self.known = Known(Path(known))
        self._servers: list[Database] = []
        self._read: dict[Path, int] = {}
        if self.measures:
            start, servers = Database.start, self._servers

            def start_and_tell(server: Database) -> None:
                log = self._log(server)
                # That of a lab that is kept goes on where an earlier run ended.
                self._read.setdefault(log, log.stat().st_size if log.exists() else 0)
                start(server)
                if server not in servers:
                    servers.append(server)

            Database.start = start_and_tell  # type: ignore[method-assign,assignment]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what cannot notice, and begin with what is most likely to."""
        known = self.known
        if known.line:
            some = [one for one in items if known.line in known.held.get(one.nodeid, ())]
            config.hook.pytest_deselected(items=[one for one in items if one not in some])
            items[:] = some
        items.sort(key=lambda item: known.rank(item.nodeid))

    @pytest.hookimpl
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Run one that failed again: on a busy machine a test that has to do with time may fail once."""
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for _time in range(2):
            HELD.clear()
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
            if not any(report.failed for report in reports):
                break
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        if self.measures:
            self.known.seconds[item.nodeid] = round(sum(report.duration for report in reports), 3)
            self.known.held[item.nodeid] = sorted(HELD)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Read the logs while there are any."""
        if self.measures:
            HELD.update(self._told(item.nodeid))

    def pytest_sessionfinish(self) -> None:
        """Keep what was measured."""
        if self.measures:
            self.known.write()

    def _told(self, test: str) -> set[int]:
        """Which guards held, by the logs of the servers, as soon as they have all that was told until now."""
        found = set()
        for server in self._servers:
            log = self._log(server)
            if server._process is not None:
                try:
                    server.link.call("EVAL", "redis.log(redis.LOG_WARNING, ARGV[1])", 0, f"end of {test}")
                except RedisFailed:
                    pass  # one that refuses everything, say; its log is read all the same
                else:
                    end = f"end of {test}".encode()
                    until(f"the end in {log}", partial(self._has, log, end), seconds=10)
            news = self._news(log)
            self._read[log] += len(news)
            found |= {int(line) for line in _TOLD.findall(news)}
        return found

    @staticmethod
    def _log(server: Database) -> Path:
        return server.place.log(f"{server.program}-{server.port}")

    def _has(self, log: Path, words: bytes) -> bool:
        return words in self._news(log)

    def _news(self, log: Path) -> bytes:
        with log.open("rb") as stream:
            stream.seek(self._read[log])
            return stream.read()


def plant_for_session(asked: str) -> None:
    """Plant a mutant for all of a test run."""
    module, _colon, where = asked.partition(":")
    if not where:
        source = telling(module)
    elif where.isdigit():
        (source,) = (one.source for one in mutants(module) if one.line == int(where))
    else:
        source = Path(where).read_text(encoding="utf-8")
    sys.meta_path.insert(0, _Finder(module, source))
    _forget()


def _named_tests(module: str, where: str, *more: str) -> list[str]:
    """The named tests that fail, with a mutant or (empty) without."""
    known, planted_at = KNOWN_AT / f"{module}.json", f"{module}:{where}"
    files = [str(HERE / name) for name in OWNERS[module]]
    given = {PLANTED: planted_at, KNOWN: str(known), "QUAI_QUEUES_LAB": _lab(), "QUAI_QUEUES_KEEP": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *QUIET, *NAMED, *more, *files],
        cwd=ROOT,
        env={**os.environ, **given, "COLUMNS": "400"},
        capture_output=True,
        text=True,
        timeout=Known(known).limit(),
        check=False,
    )
    if done.returncode not in (0, 1, 5):
        raise RuntimeError(f"pytest with {planted_at} ended with {done.returncode}: {done.stdout}{done.stderr}")
    lines = [line.partition(" ")[2] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return [line.partition(" - ")[0] for line in lines]


@cache
def fail_anyway(module: str) -> tuple[str, ...]:
    """The named tests that fail as the module is."""
    known = Known(KNOWN_AT / f"{module}.json")
    known.seconds, known.held, known.guard, known.line = {}, {}, "", 0
    known.write()
    return tuple(_named_tests(module, ""))


def put_away() -> None:
    """Remove the container that the named tests had."""
    if not os.environ.get("QUAI_QUEUES_LOCAL"):
        topology.down(_lab(), Console())


def _lab() -> str:
    """The lab of the named tests: their own, beside that of the random cases, and kept while there are mutants."""
    return f"{os.environ.get('QUAI_QUEUES_LAB', 'queues')}-mutants"


def caught_by_owner(mutant: Mutant) -> str:
    """The named test that notices a mutant; empty when none does."""
    skipped = [part for name in fail_anyway(mutant.module) for part in ("--deselect", name)]
    known = Known(KNOWN_AT / f"{mutant.module}.json")
    known.guard, known.line = mutant.guard, 0 if mutant.chosen else mutant.line
    if not known.may_notice():
        return ""
    known.write()
    with tempfile.TemporaryDirectory() as directory:
        changed = Path(directory) / f"{mutant.module}.py"
        changed.write_text(mutant.source, encoding="utf-8")
        try:
            failed = _named_tests(mutant.module, str(changed), "-x", *skipped)
        except subprocess.TimeoutExpired:
            return "named tests do not end"
    if failed:
        known.noticed[mutant.guard] = failed[0]
        known.write()
    return failed[0] if failed else ""


class _TooLong(BaseException):
    """A mutant that does not end is one that is noticed."""


def _alarm(_signal: int, _frame: Any) -> None:
    raise _TooLong


def noticed(world: World, mutant: Mutant, seeds: int = SEEDS, skip: frozenset[Seen] = frozenset()) -> str:
    """The case or the named test that notices a mutant; empty when none does. C(skip): as of caught."""
    return caught_by_owner(mutant) or caught(world, mutant, range(seeds), skip)


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
        for module in [asked.module] if asked.module else MODULES:
            for package in MATRIX if MODULES[module] else ():
                world.warm(package)
            known = differing(world, module, asked.seeds) if asked.seeds else {}
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
    put_away()
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
    "put_away",
]

if __name__ == "__main__":
    sys.exit(main())
