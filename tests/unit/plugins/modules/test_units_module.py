# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module units, against a systemd of which the tests keep the books."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _lock, _pending
from ansible_collections.quai.ops.plugins.modules import units

Run = Callable[..., dict[str, Any]]


class Systemd:
    """Units by name, each a dictionary of what systemd shows. C(fails) maps verb and unit to what systemctl says."""

    def __init__(self) -> None:
        self.units: dict[str, dict[str, str]] = {}
        self.calls: list[str] = []
        self.fails: dict[str, str] = {}
        self.after: dict[str, dict[str, str]] = {}

    def add(self, name: str, active: str = "inactive", file: str = "disabled", **more: str) -> None:
        """Let a unit exist."""
        sub = {"active": "running", "failed": "failed"}.get(active, "dead")
        self.units[name] = {
            "LoadState": "loaded",
            "ActiveState": active,
            "SubState": sub,
            "UnitFileState": file,
            **more,
        }

    def __call__(self, command: Sequence[str]) -> tuple[int, str]:
        """Stand in for C(run)."""
        line = " ".join(command)
        if command[:2] == ["systemctl", "show"]:
            return 0, "\n\n".join(self._show(name) for name in command[5:])
        self.calls.append(line)
        if line in self.fails:
            return 1, self.fails[line]
        if command[0] == "systemctl" and len(command) == 3:
            self._act(*command[1:])
        return (0, "last words") if command[0] == "journalctl" else (0, "")

    def _show(self, name: str) -> str:
        missing = {"LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead", "UnitFileState": ""}
        shown = {"NeedDaemonReload": "no", **self.units.get(name, missing)}
        return "\n".join(f"{key}={value}" for key, value in shown.items())

    def _act(self, verb: str, name: str) -> None:
        change = {
            "start": {"ActiveState": "active", "SubState": "running"},
            "restart": {"ActiveState": "active", "SubState": "running"},
            "stop": {"ActiveState": "inactive", "SubState": "dead"},
            "enable": {"UnitFileState": "enabled"},
            "disable": {"UnitFileState": "disabled"},
        }.get(verb, {})
        self.units[name].update(self.after.get(f"{verb} {name}", change))


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Systemd:
    """The module's systemd."""
    books = Systemd()
    monkeypatch.setattr(units, "run", books)
    monkeypatch.setattr(units, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(units, "POLL_SECONDS", 0.01)
    return books


WEB = {"name": "web.service", "enabled": True, "state": "started", "flag": "web", "check": ["web", "-t"]}


def test_check_run_again(systemd: Systemd, run_module: Run) -> None:
    systemd.add("web.service")
    predicted = run_module(units, check=True, units=[WEB])
    assert systemd.calls == []
    done = run_module(units, units=[WEB])
    assert predicted["actions"] == done["actions"] == ["enable web.service", "start web.service"]
    assert systemd.calls == ["web -t", "systemctl enable web.service", "systemctl start web.service"]
    for check in (True, False):
        again = run_module(units, check=check, units=[WEB])
        assert (again["changed"], again["actions"]) == (False, [])


def test_check_mode_on_a_host_that_has_nothing_yet(systemd: Systemd, run_module: Run, host: Path) -> None:
    result = run_module(units, check=True, units=[WEB], pending=["web"])
    assert result["actions"] == ["enable web.service", "start web.service"]
    assert systemd.calls == []
    assert not host.parent.exists(), "check mode leaves nothing, not even a lock"


def test_a_flag_of_an_earlier_run_is_acted_on_and_lowered(systemd: Systemd, run_module: Run) -> None:
    systemd.add("web.service", "active", "enabled")
    _pending.mark("web")
    _pending.mark("another")
    assert run_module(units, check=True, units=[WEB])["actions"] == ["reload web.service"]
    assert _pending.read() == {"web", "another"}
    assert run_module(units, units=[WEB])["actions"] == ["reload web.service"]
    assert systemd.calls == ["web -t", "systemctl reload web.service"]
    assert _pending.read() == {"another"}


def test_check_mode_predicts_from_what_files_would_raise(systemd: Systemd, run_module: Run) -> None:
    systemd.add("web.service", "active", "enabled")
    assert run_module(units, check=True, units=[WEB], pending=["web"])["actions"] == ["reload web.service"]
    assert run_module(units, check=True, units=[WEB], pending=["other"])["actions"] == []


def test_two_units_may_share_a_flag(systemd: Systemd, run_module: Run) -> None:
    for name in ("a.service", "b.service"):
        systemd.add(name, "active")
    _pending.mark("both")
    wanted = [{"name": "a.service", "flag": "both"}, {"name": "b.service", "flag": "both", "verb": "restart"}]
    assert run_module(units, units=wanted)["actions"] == ["reload a.service", "restart b.service"]
    assert _pending.read() == set()


@pytest.mark.parametrize("failing", ["web -t", "systemctl reload web.service"])
def test_a_failure_keeps_the_flag_for_the_next_run(systemd: Systemd, run_module: Run, failing: str) -> None:
    systemd.add("web.service", "active", "enabled")
    _pending.mark("web")
    systemd.fails[failing] = "line 7 is wrong"
    result = run_module(units, units=[WEB])
    assert result["failed"]
    assert "line 7 is wrong" in result["msg"]
    assert _pending.read() == {"web"}
    systemd.fails.clear()
    assert run_module(units, units=[WEB])["actions"] == ["reload web.service"]
    assert _pending.read() == set()


def test_a_refused_configuration_leaves_the_unit_alone(systemd: Systemd, run_module: Run) -> None:
    systemd.add("web.service", "active", "enabled")
    _pending.mark("web")
    systemd.fails["web -t"] = "bad"
    message = run_module(units, units=[WEB])["msg"]
    assert "web.service was left as it is, because 'web -t' refuses its configuration: bad" in message
    assert systemd.calls == ["web -t"]


def test_a_failed_verb_brings_the_journal(systemd: Systemd, run_module: Run) -> None:
    systemd.add("web.service")
    systemd.fails["systemctl start web.service"] = "Job failed"
    message = run_module(units, units=[WEB])["msg"]
    assert "systemctl start web.service failed: Job failed\nits journal ends with:\nlast words" in message


@pytest.mark.parametrize(
    "state",
    [
        pytest.param({"ActiveState": "failed", "SubState": "failed"}, id="ended"),
        pytest.param({"ActiveState": "activating", "SubState": "auto-restart"}, id="ends-again-and-again"),
    ],
)
def test_a_unit_that_ends_right_after_its_start_is_a_failure(
    systemd: Systemd, run_module: Run, state: dict[str, str]
) -> None:
    systemd.add("web.service")
    systemd.after["start web.service"] = state
    message = run_module(units, units=[WEB])["msg"]
    assert f"web.service was to run and is {state['ActiveState']} ({state['SubState']})" in message
    assert "last words" in message


def test_a_unit_that_ends_a_moment_after_its_start_is_a_failure(
    systemd: Systemd, run_module: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd.add("web.service")
    looks = []

    def ends_at_the_third_look(command: Sequence[str]) -> tuple[int, str]:
        if command[:2] == ["systemctl", "show"] and systemd.units["web.service"]["ActiveState"] == "active":
            looks.append(command)
            if len(looks) == 3:
                systemd.units["web.service"]["ActiveState"] = "failed"
        return systemd(command)

    monkeypatch.setattr(units, "run", ends_at_the_third_look)
    assert "web.service was to run and is failed" in run_module(units, units=[WEB])["msg"]


def test_a_new_unit_file_makes_the_manager_read_again(systemd: Systemd, run_module: Run) -> None:
    systemd.add("web.service", "active", "enabled", NeedDaemonReload="yes")
    assert run_module(units, check=True, units=[WEB])["actions"] == ["daemon-reload"]
    assert systemd.calls == []
    assert run_module(units, units=[WEB])["actions"] == ["daemon-reload"]
    assert systemd.calls == ["systemctl daemon-reload"]


def test_a_manager_that_cannot_read_is_a_failure(systemd: Systemd, run_module: Run) -> None:
    systemd.add("web.service", "active", "enabled", NeedDaemonReload="yes")
    systemd.fails["systemctl daemon-reload"] = "Access denied"
    assert "systemctl daemon-reload failed: Access denied" in run_module(units, units=[WEB])["msg"]


@pytest.mark.parametrize("load", ["not-found", "masked"])
def test_a_unit_that_cannot_be_used(systemd: Systemd, run_module: Run, load: str) -> None:
    if load == "masked":
        systemd.add("web.service", LoadState="masked")
    message = run_module(units, units=[WEB])["msg"]
    assert f"web.service cannot be used, systemd calls it '{load}'" in message


def test_what_is_to_be_off_need_not_exist(systemd: Systemd, run_module: Run) -> None:
    assert not run_module(units, units=[{"name": "old.service", "enabled": False, "state": "stopped"}])["changed"]


@pytest.mark.parametrize("flag", ["Web", "../x"])
def test_a_bad_flag(systemd: Systemd, run_module: Run, flag: str) -> None:
    assert "is not a flag" in run_module(units, check=True, units=[{**WEB, "flag": flag}])["msg"]


def test_a_host_without_systemd(run_module: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "systemctl is not installed on this host" in run_module(units, units=[WEB])["msg"]


def test_flags_are_not_lowered_while_somebody_writes_files(
    systemd: Systemd, run_module: Run, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer holds the lock from the flag to the last file, so units wait for it."""
    systemd.add("web.service", "active", "enabled")
    path = host.parent / "locks" / _pending.LOCK
    path.parent.mkdir(parents=True)
    held = _lock.held
    monkeypatch.setattr(_lock, "held", lambda name, wait_seconds: held(name, 0))
    with path.open("w") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert "is held by" in run_module(units, units=[WEB])["msg"]
        assert "failed" not in run_module(units, check=True, units=[WEB])
    assert "failed" not in run_module(units, units=[WEB])


@pytest.mark.parametrize(
    ("active", "fails", "actions"),
    [
        pytest.param("active", True, ["reload wall.service"], id="gone-although-active"),
        pytest.param("active", False, [], id="still-there"),
        pytest.param("inactive", True, ["start wall.service"], id="down-anyway"),
    ],
)
def test_what_a_unit_had_set_up_is_looked_for(
    systemd: Systemd, run_module: Run, active: str, fails: bool, actions: list[str]
) -> None:
    wall = {"name": "wall.service", "state": "started", "flag": "wall", "probe": ["nft", "list", "table"]}
    systemd.add("wall.service", active)
    if fails:
        systemd.fails["nft list table"] = "No such file or directory"
    assert run_module(units, check=True, units=[wall])["actions"] == actions
    assert run_module(units, units=[wall])["actions"] == actions
    assert ("nft list table" in systemd.calls) is (active == "active"), "a unit that is down has set nothing up"
