# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module stack_commands, with real commands and a lock that a test holds as a release does."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _lock
from ansible_collections.quai.ops.plugins.modules import stack_commands

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def locks(host: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the locks of this host are."""
    path = host.parent / "locks"
    monkeypatch.setattr(_lock.holder, "__defaults__", (path,))
    return path


@pytest.fixture
def shop(locks: Path, run_module: Run) -> Run:
    """Run the module for the project shop; commands are given as C(name=argv)."""

    def run(check: bool = False, wait: str = "0s", timeout: str = "30s", **commands: list[str]) -> dict[str, Any]:
        given = [{"name": name, "argv": argv} for name, argv in commands.items()]
        options = {"wait": wait, "timeout": timeout, "purpose": "a test", "commands": given}
        return run_module(stack_commands, check=check, name="shop", **options)

    return run


@contextmanager
def release(locks: Path) -> Iterator[None]:
    """Hold the lock of shop's releases."""
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / "stack-shop").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.write("process 4711 (a release)\n")
        stream.flush()
        yield


def test_commands_run_in_their_order_under_the_lock_of_releases(shop: Run, locks: Path, tmp_path: Path) -> None:
    seen, said = tmp_path / "seen", tmp_path / "said"
    # The first asks whether somebody else could take the lock.
    first = f"flock --nonblock {locks}/stack-shop true || echo held > {seen}; cp {locks}/stack-shop {said}"
    result = shop(worker=["sh", "-c", first], second=["sh", "-c", f"echo second >> {seen}"])
    assert (result["changed"], result["done"]) == (True, ["worker", "second"])
    assert seen.read_text() == "held\nsecond\n"
    assert said.read_text().endswith(" (a test)\n")
    assert not _lock.is_held("stack-shop", locks)


def test_nothing_runs_while_a_release_does(shop: Run, locks: Path, tmp_path: Path) -> None:
    with release(locks):
        result = shop(wait="200ms", worker=["touch", str(tmp_path / "ran")])
    assert result["failed"]
    assert result["reason"] == "release"
    assert (result["changed"], result["done"]) == (False, [])
    assert result["msg"] == (
        f"another run works on shop on this host: {locks}/stack-shop is held by process 4711 (a release); "
        "waited 0.2 s for it"
    )
    assert not (tmp_path / "ran").exists()


def test_without_commands_it_only_waits(shop: Run, locks: Path) -> None:
    assert shop()["changed"] is False
    with release(locks):
        assert shop()["reason"] == "release"


def test_check_mode_runs_nothing_waits_for_nothing_and_tells_who_works(
    shop: Run, locks: Path, tmp_path: Path
) -> None:
    commands = {"worker": ["touch", str(tmp_path / "ran")]}
    with release(locks):
        result = shop(check=True, wait="10m", **commands)
    assert (result["changed"], result["done"], result["held_by"]) == (True, ["worker"], "process 4711 (a release)")
    free = shop(check=True)
    assert (free["changed"], free["done"], free["held_by"]) == (False, [], "")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        pytest.param(["sh", "-c", "echo No such container >&2; exit 3"], "ended with 3: No such container", id="fails"),
        pytest.param(["sh", "-c", "exit 1"], "ended with 1: it said nothing", id="silent"),
        pytest.param(["/no/such/command"], "cannot be run: [Errno 2]", id="missing"),
        pytest.param([], "cannot be run", id="empty"),
        pytest.param(["sh", "-c", "read line < /dev/zero"], "did not end within 0.3 s and was killed", id="hangs"),
    ],
)
def test_a_command_that_fails_ends_the_run(shop: Run, tmp_path: Path, argv: list[str], words: str) -> None:
    """What was done before it is told, and what comes after it is not begun."""
    result = shop(timeout="300ms", before=["true"], worker=argv, after=["touch", str(tmp_path / "ran")])
    assert result["failed"]
    assert result["reason"] == "command"
    assert result["msg"].startswith("worker: ")
    assert words in result["msg"]
    assert (result["changed"], result["done"]) == (True, ["before"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
def test_bad_input(run_module: Run, locks: Path, check: bool) -> None:
    for options, words in (
        ({"name": "../x"}, "name is '../x'; lowercase letters"),
        ({"name": "shop", "wait": "soon"}, "wait: 'soon' is no duration"),
        ({"name": "shop", "timeout": "0s"}, "timeout is '0s'; a command needs time, such as 120s"),
        ({"name": "shop", "timeout": "-1"}, "timeout: '-1' is no duration"),
    ):
        result = run_module(stack_commands, check=check, **options)
        assert result["failed"]
        assert result["reason"] == "input"
        assert words in result["msg"]
    assert not locks.exists()
