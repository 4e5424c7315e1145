# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module packages, against an apt and a dpkg of which the tests keep the books."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _lock
from ansible_collections.quai.ops.plugins.modules import packages

Run = Callable[..., dict[str, Any]]
WORKING_FOR_LONG = 5 * 3600


class Apt:
    """Packages by name with their state, and what apt would find."""

    def __init__(self, root: Path) -> None:
        self.states = {"base-files": "ii "}
        self.available = {"nginx", "jq"}
        self.calls: list[str] = []
        self.journal = root / "updates"
        self.lists = root / "lists"
        self.sources = root / "sources.list"
        self.fetched = root / "state" / "fetched"
        self.busy = root / "lock-frontend"
        self.journal.mkdir()
        self.lists.mkdir()
        self.sources.write_text("deb …")
        os.utime(self.sources, (1, 1))

    def __call__(self, command: Sequence[str], *, may_fail: bool = False) -> str:
        """Stand in for C(run)."""
        if command[0] == "dpkg-query":
            return "".join(f"{name} {state}\n" for name, state in self.states.items())
        self.calls.append(" ".join(word for word in command if not word.startswith("-") and "=" not in word))
        if command[0] == "dpkg":
            for path in self.journal.iterdir():
                path.unlink()
            if "iU " in self.states.values() and not may_fail:
                raise packages.InstallFailed("dpkg: dependency problems prevent configuration")
            return ""
        if any(self.journal.iterdir()):
            raise packages.InstallFailed("E: dpkg was interrupted, you must manually run 'dpkg --configure -a'")
        if command[1] == "update":
            (self.lists / "mirror_Packages").touch()
            return ""
        names = [word for word in command[2:] if word in {"nginx", "jq", "nosuch"}]
        broken = [name for name, state in self.states.items() if state[1] not in "in"]
        if names and broken:
            raise packages.InstallFailed("E: Unmet dependencies. Try 'apt --fix-broken install' with no packages")
        if not any(self.lists.iterdir()) or not set(names) <= self.available:
            raise packages.InstallFailed("E: Unable to locate package")
        self.states.update(dict.fromkeys(names or broken, "ii "))
        return ""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    """The module's apt."""
    books = Apt(tmp_path)
    monkeypatch.setattr(packages, "run", books)
    monkeypatch.setattr(packages, "JOURNAL", books.journal)
    monkeypatch.setattr(packages, "LISTS", books.lists)
    monkeypatch.setattr(packages, "SOURCES", (books.sources, tmp_path / "sources.list.d"))
    monkeypatch.setattr(packages, "FETCHED", books.fetched)
    monkeypatch.setattr(packages, "BUSY", (books.busy,))
    return books


def test_check_run_again_on_a_bare_host(apt: Apt, run_module: Run, host: Path) -> None:
    predicted = run_module(packages, check=True, names=["nginx", "base-files", "jq"])
    assert (predicted["changed"], predicted["installed"], apt.calls) == (True, ["nginx", "jq"], [])
    assert not host.parent.exists()
    done = run_module(packages, names=["nginx", "base-files", "jq"])
    assert (done["installed"], done["completed"]) == (["nginx", "jq"], False)
    assert apt.calls == ["apt-get update", "apt-get install nginx jq"]
    apt.calls.clear()
    for check in (True, False):
        assert not run_module(packages, check=check, names=["nginx", "base-files", "jq"])["changed"]
    assert apt.calls == [], "a run that changes nothing asks no mirror"


@pytest.mark.parametrize(
    ("age", "source_age", "updates"),
    [
        pytest.param(60, WORKING_FOR_LONG, False, id="young"),
        pytest.param(WORKING_FOR_LONG, 2 * WORKING_FOR_LONG, True, id="old"),
        pytest.param(60, 30, True, id="a-source-was-added-by-a-run-that-was-killed"),
    ],
)
def test_when_lists_are_fetched(apt: Apt, run_module: Run, age: int, source_age: int, updates: bool) -> None:
    (apt.lists / "mirror_Packages").touch()
    apt.fetched.parent.mkdir()
    apt.fetched.touch()
    os.utime(apt.fetched, (time.time() - age,) * 2)
    added = apt.sources.parent / "sources.list.d" / "docker.sources"
    added.parent.mkdir()
    added.write_text("Types: deb")
    for path in (added, added.parent):
        os.utime(path, (time.time() - source_age,) * 2)
    run_module(packages, names=["jq"])
    assert ("apt-get update" in apt.calls) is updates


def test_lists_that_were_deleted_are_fetched_again(apt: Apt, run_module: Run) -> None:
    apt.fetched.parent.mkdir()
    apt.fetched.touch()
    assert run_module(packages, names=["jq"])["installed"] == ["jq"]


def test_a_fetch_that_failed_does_not_count(apt: Apt, run_module: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_mirror(command: Sequence[str], *, may_fail: bool = False) -> str:
        if command[:2] == ["apt-get", "update"]:
            (apt.lists / "half_Packages").touch()
            raise packages.InstallFailed("apt-get update failed: E: no mirror")
        return apt(command, may_fail=may_fail)

    monkeypatch.setattr(packages, "run", no_mirror)
    assert run_module(packages, names=["jq"])["msg"] == "apt-get update failed: E: no mirror"
    assert not apt.fetched.exists()


@pytest.mark.parametrize(
    ("states", "names", "calls"),
    [
        pytest.param(
            {"nginx": "iU "},
            ["nginx"],
            ["dpkg", "apt-get update", "apt-get install", "apt-get install nginx"],
            id="unpacked-and-wanted",
        ),
        pytest.param(
            {"other": "iHR"}, ["base-files"], ["dpkg", "apt-get update", "apt-get install"], id="another-half-done"
        ),
        pytest.param({}, ["base-files"], ["dpkg", "apt-get update", "apt-get install"], id="journal-alone"),
        pytest.param(
            {"other": "iF "},
            ["jq"],
            ["dpkg", "apt-get update", "apt-get install", "apt-get install jq"],
            id="another-and-wanted",
        ),
    ],
)
def test_what_was_cut_short_is_completed(
    apt: Apt, run_module: Run, states: dict[str, str], names: list[str], calls: list[str]
) -> None:
    apt.states.update(states)
    (apt.journal / "0000").touch()
    predicted = run_module(packages, check=True, names=names)
    assert (predicted["changed"], predicted["completed"], apt.calls) == (True, True, [])
    assert run_module(packages, names=names)["completed"]
    assert apt.calls == calls
    assert set(apt.states.values()) == {"ii "}
    again = run_module(packages, names=names)
    assert (again["changed"], again["completed"]) == (False, False)


def test_an_apt_that_is_at_work_is_waited_for(apt: Apt, run_module: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks cut short may be an installation that somebody else is about to end well."""
    apt.states["jq"] = "iU "
    waited: list[Sequence[Path]] = []

    def other_ends(paths: Sequence[Path], seconds: float) -> None:
        waited.append(paths)
        apt.states["jq"] = "ii "

    monkeypatch.setattr(_lock, "wait_until_free", other_ends)
    run_module(packages, names=["jq"])
    assert waited == [(apt.busy,)]
    assert apt.calls == []


def test_an_apt_that_never_ends(apt: Apt, run_module: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    apt.busy.touch()
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        with apt.busy.open("r+") as stream:
            fcntl.lockf(stream, fcntl.LOCK_EX)
            os.write(go, b"x")
            signal_wait()
    try:
        os.read(ready, 1)
        monkeypatch.setattr(packages, "WAIT_SECONDS", 0.1)
        message = run_module(packages, names=["jq"])["msg"]
        assert f"{apt.busy} is held by another program" in message
        assert apt.calls == []
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(go)


def signal_wait() -> None:
    """Stay until killed."""
    while True:
        signal.pause()


def test_an_unknown_package(apt: Apt, run_module: Run) -> None:
    assert "Unable to locate package" in run_module(packages, names=["nosuch"])["msg"]


def test_a_host_without_dpkg(run_module: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run_module(packages, check=True, names=["jq"])
    assert "No such file or directory: 'dpkg-query'" in result["msg"]


def test_run_says_why(tmp_path: Path) -> None:
    script = tmp_path / "apt-get"
    script.write_text("#!/bin/sh\necho 'Reading lists'; echo \"E: $DEBIAN_FRONTEND $LC_ALL\" >&2; exit 100\n")
    script.chmod(0o755)
    with pytest.raises(packages.InstallFailed, match=f"{script} install failed: E: noninteractive C.UTF-8"):
        packages.run([str(script), "install"])
    assert "Reading lists" in packages.run([str(script)], may_fail=True)
