# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks that the kernel frees, and waiting for those of apt and dpkg. The other party is a real process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _lock
from ansible_collections.quai.ops.plugins.module_utils._lock import LockHeld

HOLD = """
import subprocess, sys
from pathlib import Path
from ansible_collections.quai.ops.plugins.module_utils import _lock
with _lock.held("deploy", 0, Path(sys.argv[1])):
    child = subprocess.Popen(["cat"], stdin=sys.stdin, stdout=subprocess.DEVNULL, close_fds=sys.argv[2] != "inherit")
    print("held", child.pid, flush=True)
    child.wait()
"""
HOLD_RECORD = """
import fcntl, sys
with open(sys.argv[1], "r+") as stream:
    fcntl.lockf(stream, fcntl.LOCK_EX)
    print("held", 0, flush=True)
    sys.stdin.read()
"""


@contextmanager
def other(code: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process, once it holds its lock, with the id of its child. Both end when their input does."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdin
    assert process.stdout
    try:
        word, child = process.stdout.readline().split()
        assert word == "held"
        yield process, int(child)
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def test_a_held_lock_refuses_and_names_the_holder(tmp_path: Path) -> None:
    with other(HOLD, str(tmp_path), "alone") as (process, _):
        with pytest.raises(LockHeld) as refusal, _lock.held("deploy", 0, tmp_path):
            pytest.fail("two held it")
        assert f"held by process {process.pid}" in str(refusal.value)
        with _lock.held("another", 0, tmp_path):
            pass


def test_who_waits_is_told_what_the_lock_is_held_for(tmp_path: Path) -> None:
    assert _lock.holder("deploy", tmp_path) == ""
    with _lock.held("deploy", 0, tmp_path, purpose="a release"):
        owner = f"process {os.getpid()} (a release)"
        assert _lock.holder("deploy", tmp_path) == owner
        with (
            pytest.raises(LockHeld, match=re.escape(f"is held by {owner}; waited 0 s for it")),
            _lock.held("deploy", 0, tmp_path),
        ):
            pytest.fail("two held it")
    # The file still names who held it last.
    assert _lock.holder("deploy", tmp_path) == ""


def test_a_lock_is_free_after_its_body_however_that_ends(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), _lock.held("deploy", 0, tmp_path):
        raise ZeroDivisionError
    with _lock.held("deploy", 0, tmp_path):
        assert (tmp_path / "deploy").read_text() == f"process {os.getpid()}\n"


def test_waiting_ends_when_the_holder_does(tmp_path: Path) -> None:
    with other(HOLD, str(tmp_path), "alone") as (process, _):
        process.kill()
        with _lock.held("deploy", 10, tmp_path):
            pass


def test_waiting_goes_on_for_what_a_killed_holder_left_working(tmp_path: Path) -> None:
    with other(HOLD, str(tmp_path), "inherit") as (process, child):
        process.kill()
        process.wait(10)
        with pytest.raises(LockHeld), _lock.held("deploy", 0.3, tmp_path):
            pytest.fail("the child still works")
        os.kill(child, signal.SIGKILL)
        with _lock.held("deploy", 10, tmp_path):
            pass


def test_an_ordinary_child_does_not_hold_the_lock(tmp_path: Path) -> None:
    with other(HOLD, str(tmp_path), "alone") as (process, _):
        process.kill()
        process.wait(10)
        with _lock.held("deploy", 0, tmp_path):
            pass


def test_record_locks_are_waited_for(tmp_path: Path) -> None:
    free, busy = tmp_path / "free", tmp_path / "busy"
    free.touch()
    busy.touch()
    with other(HOLD_RECORD, str(busy)) as (process, _):
        with pytest.raises(LockHeld, match=f"{busy} is held by another program; waited 0.2 s"):
            _lock.wait_until_free([free, busy], 0.2)
        process.kill()
        _lock.wait_until_free([busy], 10)


def test_files_that_nobody_made_are_free(tmp_path: Path) -> None:
    _lock.wait_until_free([tmp_path / "none"], 0)
    assert list(tmp_path.iterdir()) == []


def test_whether_a_lock_is_held_is_told_without_taking_it(tmp_path: Path) -> None:
    assert not _lock.is_held("deploy", tmp_path)
    with other(HOLD, str(tmp_path), "inherit"):
        assert _lock.is_held("deploy", tmp_path)
    assert not _lock.is_held("deploy", tmp_path)
    with _lock.held("deploy", 0, tmp_path):
        assert _lock.is_held("deploy", tmp_path)
