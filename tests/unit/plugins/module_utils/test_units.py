# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What units need. The states are what systemd 257 said of real units in these situations."""

from __future__ import annotations

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _units
from ansible_collections.quai.ops.plugins.module_utils._units import State, Unit

SHOWN = """\
LoadState=loaded
ActiveState=activating
SubState=auto-restart
UnitFileState=disabled
NeedDaemonReload=no

LoadState=loaded
ActiveState=failed
SubState=failed
UnitFileState=disabled
NeedDaemonReload=no

LoadState=loaded
ActiveState=inactive
SubState=dead
UnitFileState=static
NeedDaemonReload=yes

LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=
NeedDaemonReload=no

LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
NeedDaemonReload=no
"""
LOOPS = State("loaded", "disabled", "activating", "auto-restart")
FAILED = State("loaded", "disabled", "failed", "failed")
STATIC = State("loaded", "static", "inactive", "dead", stale=True)
MISSING = State("not-found", "", "inactive", "dead")
RUNS = State("loaded", "enabled", "active", "running")
ENABLED, DISABLED = State("loaded", "enabled"), State("loaded", "disabled")


def test_parse_show() -> None:
    names = ["loop.service", "limit.service", "stat.service", "nosuch.service", "nginx.service"]
    assert _units.parse_show(SHOWN, names) == dict(zip(names, [LOOPS, FAILED, STATIC, MISSING, RUNS]))


def test_parse_show_of_nothing() -> None:
    assert _units.parse_show("Version=257.7\nFeatures=+PAM\n", []) == {}


@pytest.mark.parametrize(
    ("state", "running", "loaded"),
    [
        pytest.param(RUNS, True, True, id="active"),
        pytest.param(State("loaded", "enabled", "reloading", "reload"), True, True, id="reloading"),
        pytest.param(State("loaded", "enabled", "activating", "start"), True, True, id="on-its-way"),
        pytest.param(State("loaded", "enabled", "active", "exited"), True, True, id="oneshot-that-remains"),
        pytest.param(LOOPS, False, True, id="only-started-again-and-again"),
        pytest.param(State("loaded", "", "activating", "auto-restart-queued"), False, True, id="about-to-start-again"),
        pytest.param(FAILED, False, True, id="failed"),
        pytest.param(State("loaded", "enabled", "deactivating", "stop"), False, True, id="on-its-way-down"),
        pytest.param(MISSING, False, False, id="missing"),
        pytest.param(State("masked", "masked"), False, False, id="masked"),
    ],
)
def test_state(state: State, running: bool, loaded: bool) -> None:
    assert (state.running, state.loaded) == (running, loaded)


@pytest.mark.parametrize(
    ("enabled", "state", "verbs"),
    [
        pytest.param(True, ENABLED, [], id="on-and-is"),
        pytest.param(True, DISABLED, ["enable"], id="on"),
        pytest.param(False, ENABLED, ["disable"], id="off"),
        pytest.param(False, DISABLED, [], id="off-and-is"),
        pytest.param(None, DISABLED, [], id="left-alone"),
        pytest.param(True, MISSING, ["enable"], id="unit-yet-to-come"),
        pytest.param(False, MISSING, [], id="off-and-missing"),
        pytest.param(True, State("loaded", "enabled-runtime"), ["enable"], id="only-until-reboot"),
        pytest.param(True, State("loaded", "linked"), ["enable"], id="linked"),
        *(pytest.param(True, State("loaded", word), [], id=f"on-{word}") for word in _units.FIXED),
        *(pytest.param(False, State("loaded", word), [], id=f"off-{word}") for word in _units.FIXED),
    ],
)
def test_plan_of_enabling(enabled: bool | None, state: State, verbs: list[str]) -> None:
    assert _units.plan(Unit("a.service", enabled=enabled), state, set()) == verbs


@pytest.mark.parametrize(
    ("running", "state", "pending", "verbs"),
    [
        pytest.param(True, RUNS, set(), [], id="runs"),
        pytest.param(True, ENABLED, set(), ["start"], id="start"),
        pytest.param(True, ENABLED, {"web"}, ["start"], id="start-takes-the-new-files"),
        pytest.param(True, FAILED, {"web"}, ["reset-failed", "start"], id="start-after-too-many-failures"),
        pytest.param(True, LOOPS, {"web"}, ["start"], id="start-now-and-not-at-the-next-try"),
        pytest.param(True, MISSING, set(), ["start"], id="start-what-will-be-installed"),
        pytest.param(True, RUNS, {"web"}, ["reload"], id="owes-a-reload"),
        pytest.param(True, RUNS, {"other"}, [], id="others-owe"),
        pytest.param(None, RUNS, {"web"}, ["reload"], id="left-alone-owes-a-reload"),
        pytest.param(None, ENABLED, {"web"}, [], id="left-alone-and-down"),
        pytest.param(
            True, State("loaded", "enabled", "activating", "start"), {"web"}, ["restart"], id="cannot-reload-yet"
        ),
        pytest.param(False, RUNS, {"web"}, ["stop"], id="stop"),
        pytest.param(False, LOOPS, set(), ["stop"], id="stop-what-fails-again-and-again"),
        pytest.param(False, ENABLED, {"web"}, [], id="is-down"),
        pytest.param(False, FAILED, set(), [], id="is-down-failed"),
        pytest.param(False, MISSING, set(), [], id="is-down-missing"),
    ],
)
def test_plan_of_running(running: bool | None, state: State, pending: set[str], verbs: list[str]) -> None:
    assert _units.plan(Unit("a.service", running=running, flag="web"), state, pending) == verbs


def test_plan_restarts_what_says_so() -> None:
    assert _units.plan(Unit("a.service", flag="web", verb="restart"), RUNS, {"web"}) == ["restart"]


def test_plan_enables_before_it_starts() -> None:
    assert _units.plan(Unit("a.service", enabled=True, running=True), DISABLED, set()) == ["enable", "start"]


def test_a_unit_without_a_flag_owes_nothing() -> None:
    assert _units.plan(Unit("a.service", running=True), RUNS, {"web"}) == []
