# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The restart guard: check 20 of the specification with real processes, and each reason not to restart."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _monitor_guard as guard
from ansible_collections.quai.ops.plugins.module_utils import _monitor_run as running
from ansible_collections.quai.ops.plugins.module_utils import _monitor_store as store
from ansible_collections.quai.ops.plugins.module_utils._monitor_guard import Action, Life, Target

from tests.unit.monitor.parts import T0, Watch, policy

# --- the decision ----------------------------------------------------------------------------------------------------

SPEC: dict[str, Any] = {
    "name": "app",
    "type": "systemd",
    "project": "shop",
    "severity": "high",
    "failures": 3,
    "depends_on": ["db"],
    "restart": {"unit": "app.service", "container": "", "most": 3, "within": 3600.0},
    "start_period": 60.0,
}
CONFIG: dict[str, Any] = {"host": "vps1", "languages": ["en"], "probes": [SPEC]}


class Story:
    """One probe over time, with a clock of a minute."""

    def __init__(self, **spec: Any) -> None:
        self.spec = {**SPEC, **spec}
        self.state = store.new_state()
        self.now = T0
        self.life = Life("failed", None)
        self.inspected = 0
        self.alert: dict[str, Any] = {"state": "firing", "suppressed": ""}
        self.status, self.reason = "critical", "threshold"
        self.value: float | None = None
        self.releases: set[str] = set()
        self.actions: list[tuple[float, Action]] = []
        self.messages: list[tuple[float, str, str, str]] = []
        self.events: list[dict[str, Any]] = []
        self.parents: dict[str, str] = {"db": "ok"}

    def inspect(self, target: Target) -> Life:
        self.inspected += 1
        return self.life

    def step(self, seconds: float = 60) -> list[Action]:
        self.now += seconds
        self.state["probes"] = {name: {"status": status} for name, status in self.parents.items()}
        self.state["probes"]["app"] = {"status": self.status, "bad": 5, "alert": self.alert}
        result = {
            "name": "app",
            "type": self.spec["type"],
            "status": self.status,
            "reason": self.reason,
            "value": self.value,
            "message": "it is dead",
        }
        config = {**CONFIG, "probes": [self.spec]}
        decision = guard.decide(
            self.state, config, [result], self.now,
            releases=self.releases, inspect=self.inspect, tell=self.tell,
        )  # fmt: skip
        self.state = json.loads(json.dumps(self.state))  # as it is saved and read
        self.actions += [(self.now, action) for action in decision.actions]
        self.events += decision.events
        return decision.actions

    def tell(self, spec: Any, kind: str, severity: str, text: str, key: str) -> list[dict[str, Any]]:
        self.messages.append((self.now, kind, severity, text))
        return [{"id": key}]

    def run(self, minutes: int) -> None:
        for _minute in range(minutes):
            self.step()

    @property
    def minutes(self) -> list[float]:
        return [(at - T0) / 60 for at, action in self.actions]


def test_what_dies_at_once_is_restarted_three_times_with_growing_gaps_and_then_given_up() -> None:
    story = Story()
    story.run(60)
    assert story.minutes == [1, 2, 7]
    assert [action.number for at, action in story.actions] == [1, 2, 3]
    ((at, kind, severity, text),) = story.messages
    assert ((at - T0) / 60, kind, severity) == (22, "guard_open", "critical")
    assert "restarted 3 time(s) within 1 h" in text
    assert "quai-monitor guard reset app" in text
    assert [event["event"] for event in story.events] == ["restart"] * 3 + ["guard_open"]
    assert story.state["guards"]["app"]["open_since"] == T0 + 22 * 60
    story.run(24 * 60)
    assert len(story.actions) == 3
    assert len(story.messages) == 1


def test_a_guard_is_reset_by_hand() -> None:
    story = Story()
    story.run(60)
    with pytest.raises(ValueError, match="the guard of 'other' is not open; guards that are open now: app"):
        guard.reset(story.state, "other", story.now)
    event = guard.reset(story.state, "app", story.now)
    assert (event["event"], event["duration"]) == ("guard_reset", story.now - T0 - 22 * 60)
    story.run(1)
    assert len(story.actions) == 4
    assert story.state["guards"]["app"]["total"] == 4


def test_a_guard_closes_after_six_good_hours() -> None:
    story = Story()
    story.run(60)
    story.status, story.alert = "ok", {"state": "ok"}
    story.run(6 * 60)
    assert story.state["guards"]["app"]["open_since"] is not None
    story.run(2)
    assert story.state["guards"]["app"]["open_since"] is None
    assert story.events[-1]["event"] == "guard_reset"


def test_a_restart_that_helps_is_told_once_with_its_count() -> None:
    story = Story()
    story.run(2)
    story.status, story.alert = "ok", {"state": "ok"}
    story.run(14)
    assert story.messages == []
    story.run(60)
    ((_at, kind, severity, text),) = story.messages
    assert (kind, severity) == ("restart", "high")
    assert (
        text == "The unit app.service was restarted 2 time(s) since 2027-01-15 08:01 UTC; it has been good for 15 min."
    )


def test_a_guard_that_may_restart_often_still_gives_up() -> None:
    story = Story(restart={"unit": "app.service", "container": "", "most": 30, "within": 86400.0})
    story.run(24 * 60)
    assert len(story.actions) == 30
    assert [kind for _at, kind, _severity, _text in story.messages] == ["guard_open"]


def test_a_project_that_waits_is_not_called_good() -> None:
    story = Story()
    story.run(2)
    story.status, story.alert = "waiting", {"state": "firing"}
    story.run(60)
    assert story.messages == []


def test_a_crash_loop_that_recovers_between_is_one_series() -> None:
    story = Story()
    for _round in range(20):
        story.status, story.alert = "critical", {"state": "firing"}
        story.step()
        story.status, story.alert = "ok", {"state": "ok"}
        story.run(5)
    assert len(story.actions) == 3
    assert [message[1] for message in story.messages] == ["guard_open"]


def quiet(story: Story, **changes: Any) -> None:
    for name, value in changes.items():
        setattr(story, name, value)
    story.run(30)
    assert story.actions == []
    assert story.messages == []
    assert story.state["guards"] == {}


@pytest.mark.parametrize("state", ["ok", "pending"])
def test_no_restart_before_an_alert_fires(state: str) -> None:
    quiet(Story(), alert={"state": state})


@pytest.mark.parametrize("by", ["maintenance", "dependency", "release", "uplink"])
def test_no_restart_while_an_alert_is_suppressed(by: str) -> None:
    quiet(Story(), alert={"state": "firing", "suppressed": by})


@pytest.mark.parametrize("status", ["warning", "unknown", "degraded", "ok"])
def test_no_restart_for_less_than_critical(status: str) -> None:
    quiet(Story(), status=status)


@pytest.mark.parametrize("parent", ["critical", "unknown"])
def test_no_restart_while_what_it_depends_on_is_bad(parent: str) -> None:
    quiet(Story(), parents={"db": parent})


def test_no_restart_under_a_release_or_a_maintenance() -> None:
    quiet(Story(), releases={"shop"})
    for project in ("shop", ""):
        story = Story()
        window = {"project": project, "from": T0, "until": T0 + 86400}
        story.state["maintenance"] = [window]
        quiet(story)


@pytest.mark.parametrize(
    "life", [Life("activating", None), Life("deactivating", None), Life("", None), Life("reloading", None)]
)
def test_no_restart_of_a_unit_that_is_on_its_way(life: Life) -> None:
    quiet(Story(), life=life)


@pytest.mark.parametrize("life", [Life("restarting", None), Life("paused", None), Life("removing", None)])
def test_no_restart_of_a_container_that_is_on_its_way(life: Life) -> None:
    story = Story(type="docker", restart={"unit": "", "container": "shop-api", "most": 3, "within": 3600.0})
    quiet(story, life=life)


def test_no_restart_of_a_unit_that_is_up_because_of_its_memory() -> None:
    quiet(Story(), life=Life("active", T0 - 86400))


def test_a_container_is_restarted_when_it_is_unhealthy_and_not_when_it_is_well() -> None:
    restart = {"unit": "", "container": "shop-api", "most": 3, "within": 3600.0}
    quiet(Story(type="docker", restart=restart), life=Life("running", T0 - 86400, "healthy"))
    story = Story(type="docker", restart=restart)
    story.life = Life("running", T0 - 86400, "unhealthy")
    assert story.step() == [Action("app", Target("container", "shop-api"), 1)]


def test_no_restart_in_the_start_period() -> None:
    story = Story(type="http")
    story.reason = "refused"
    story.life = Life("active", T0 + 30)
    assert story.step() == []
    assert story.step() != []


@pytest.mark.parametrize(
    "kind", ["disk", "memory", "postgresql", "redis", "queue", "backup", "heartbeat", "log", "tls", "command"]
)
def test_no_restart_for_a_probe_that_tells_nothing_of_life(kind: str) -> None:
    quiet(Story(type=kind))


@pytest.mark.parametrize(
    "reason", ["latency", "tls_expired", "tls_host", "dns", "redirect", "auth", "own_error", "threshold"]
)
def test_no_restart_for_an_http_probe_that_got_an_answer_of_another_kind(reason: str) -> None:
    quiet(Story(type="http"), reason=reason)


@pytest.mark.parametrize("reason", ["timeout", "refused", "reset", "status"])
def test_an_http_probe_of_the_service_itself_restarts_it(reason: str) -> None:
    story = Story(type="http")
    story.reason, story.life = reason, Life("active", T0 - 86400)
    assert len(story.step()) == 1


def test_a_process_that_is_gone_and_one_that_is_too_big() -> None:
    story = Story(type="process")
    story.value = 0
    assert len(story.step()) == 1
    quiet(Story(type="process"), value=2)


def test_two_probes_of_one_unit_do_not_restart_it_twice() -> None:
    story = Story()
    other = {**SPEC, "name": "other", "depends_on": []}
    story.state["probes"] = {name: {"status": "critical", "alert": {"state": "firing"}} for name in ("app", "other")}
    results = [
        {"name": name, "type": "systemd", "status": "critical", "reason": "threshold", "value": None, "message": ""}
        for name in ("app", "other")
    ]
    config = {**CONFIG, "probes": [SPEC, other]}
    for minute in range(60):
        decision = guard.decide(
            story.state, config, results, T0 + 60 * minute, releases=(), inspect=story.inspect, tell=story.tell
        )
        assert len(decision.actions) <= 1
        story.actions += [(T0 + 60 * minute, action) for action in decision.actions]
    gaps = [after - before for before, after in zip(story.minutes, story.minutes[1:])]
    assert min(gaps) >= 1


def test_flapping_is_restarted_when_it_stays_bad() -> None:
    story = Story()
    story.alert = {"state": "flapping"}
    assert len(story.step()) == 1
    story = Story(failures=6)
    quiet(story, alert={"state": "flapping"})


def test_a_clock_that_is_set_back_frees_no_restart_and_blocks_none() -> None:
    story = Story()
    story.run(10)
    assert len(story.actions) == 3
    story.now -= 3600
    story.run(20)
    assert len(story.actions) == 3
    story.run(20)
    assert [kind for at, kind, severity, text in story.messages] == ["guard_open"]


def test_guards_of_probes_that_are_gone_are_forgotten() -> None:
    story = Story()
    story.run(3)
    decision = guard.decide(
        story.state, {**CONFIG, "probes": []}, [], story.now, releases=(), inspect=story.inspect, tell=story.tell
    )
    assert (decision.actions, story.state["guards"]) == ([], {})


# --- a whole run with real processes ---------------------------------------------------------------------------------


class Application:
    """A program that a guard restarts by its unit's name; C(dies) says whether it ends at once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pid_file = directory / "app.pid"
        self.dies = True
        self.started = 0
        self.processes: list[subprocess.Popen[bytes]] = []
        self.order: list[str] = []

    def start(self) -> None:
        code = "import time" if self.dies else "import time; time.sleep(600)"
        process = subprocess.Popen([sys.executable, "-S", "-c", code])
        self.pid_file.write_text(f"{process.pid}\n")
        self.processes.append(process)
        if self.dies:
            process.wait()

    def act(self, action: Action, where: store.Paths, now: float) -> None:
        assert action.target == Target("unit", "app.service")
        saved = json.loads((where.state / "state.json").read_bytes())
        assert saved["guards"]["app"]["restarts"][-1] == now, "counted before it is made"
        guard.keep_log(where, action, now, [f"last words {self.started}"])
        self.started += 1
        self.start()

    def hands(self) -> running.Hands:
        return running.Hands(
            send=lambda message, seconds: self.order.append(message["kind"]), inspect=self.look, act=self.act
        )

    def look(self, target: Target) -> Life:
        return Life("failed", None)


def test_logs_of_the_same_second_are_both_kept(tmp_path: Path) -> None:
    """The clock may have been put back."""
    where = store.Paths(*(tmp_path / name for name in ("config", "state", "run", "log", "locks")))
    action = Action("app", Target("unit", "app.service"), 1)
    kept = [guard.keep_log(where, action, 1_700_000_000.5, [words]) for words in ("first", "second", "third")]
    assert [path.name for path in kept if path] == [
        "restart-app-20231114T221320Z.log",
        "restart-app-20231114T221320Z-2.log",
        "restart-app-20231114T221320Z-3.log",
    ]
    assert [path.read_text() for path in kept if path] == ["first\n", "second\n", "third\n"]


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    one = Application(tmp_path)
    yield one
    for process in one.processes:
        process.kill()
        process.wait()


def watch(tmp_path: Path, application: Application, **more: Any) -> Watch:
    probe = {
        "name": "app", "type": "process", "pid_file": str(application.pid_file), "project": "shop",
        "severity": "critical", "policy": "p", "restart": {"unit": "app.service"}, "failures": 2,
    }  # fmt: skip
    config = {
        "probes": [probe],
        "policies": {"p": policy("chat")},
        "channels": {"chat": {"type": "slack", "url": "http://127.0.0.1:9/"}},
        "projects": {"shop": {"locks": ["compose-shop"]}},
        **more,
    }
    return Watch(tmp_path / "host", config)


def test_an_application_that_dies_at_once(tmp_path: Path, application: Application) -> None:
    host = watch(tmp_path, application)
    application.start()
    for _minute in range(60):
        host.run(application.hands())
    assert application.started == 3
    assert len(host.events("restart")) == 3
    assert len(host.events("guard_open")) == 1
    assert application.order.count("guard_open") == 1
    logs = sorted(host.where.log.iterdir())
    assert [log.read_text() for log in logs] == [f"last words {number}\n" for number in range(3)]
    assert {log.stat().st_mode & 0o777 for log in logs} == {0o600}


def test_an_application_that_lives_after_its_restart(tmp_path: Path, application: Application) -> None:
    host = watch(tmp_path, application)
    application.start()
    application.dies = False
    for _minute in range(40):
        host.run(application.hands())
    assert application.started == 1
    assert application.order.count("restart") == 1
    assert "guard_open" not in application.order
    assert host.state["probes"]["app"]["alert"]["state"] == "ok"


def test_a_release_lock_holds_the_guard(tmp_path: Path, application: Application) -> None:
    host = watch(tmp_path, application)
    application.start()
    host.where.locks.mkdir(parents=True)
    with (host.where.locks / "compose-shop").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for _minute in range(30):
            host.run(application.hands())
        assert application.started == 0
    host.run(application.hands())
    assert application.started == 1


def test_a_red_database_alone_restarts_nothing(tmp_path: Path, application: Application) -> None:
    host = watch(tmp_path, application)
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    database = {"name": "db", "type": "postgresql", "host": "127.0.0.1", "port": port, "user": "x", "policy": "p"}
    application.dies = False
    application.start()
    host.configure({**host.config, "probes": [{**host.config["probes"][0], "depends_on": ["db"]}, database]})
    for _minute in range(10):
        host.run(application.hands())
    assert host.state["probes"]["db"]["alert"]["state"] == "firing"
    assert application.started == 0
    os.kill(application.processes[0].pid, signal.SIGKILL)
    application.processes[0].wait()
    for _minute in range(10):
        host.run(application.hands())
    assert application.started == 0, "not while what it depends on is dead"


def test_a_restart_that_fails_is_an_own_fault(tmp_path: Path, application: Application) -> None:
    host = watch(tmp_path, application)
    application.start()

    def fail(action: Action, where: store.Paths, now: float) -> None:
        raise guard.ActFailed("systemctl restart app.service: no such unit")

    for _minute in range(5):
        host.run(application.hands()._replace(act=fail))
    assert "app: systemctl restart app.service: no such unit" in host.state["faults"].values()
    assert application.order.count("own_fault") == 1


def test_a_target_that_nobody_knows() -> None:
    assert guard.inspect(Target("unit", "quai-no-such-unit.service")).state == ""
