# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units, pm2, processes and commands. Real systemd and pm2 are asked in tests/probes; here are their odd words."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _probe_units
from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, Found, OwnFault, ProbeFailed
from ansible_collections.quai.ops.plugins.module_utils._probe_engine import run_probes
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import normalise
from ansible_collections.quai.ops.plugins.module_utils._probe_units import restarts_of_day

NOW = 1_800_000_000.0
DAY = 86400


def ask(kind: str, memory: dict[str, Any] | None = None, now: float = NOW, seconds: float = 5, **options: Any) -> Found:
    spec = normalise([{"name": "x", "type": kind, **options}])[0]
    context = Context(seconds, memory, now)
    getattr(_probe_units, f"check_{kind}")(spec, context)
    return context.found


def through_the_engine(kind: str, **options: Any) -> dict[str, Any]:
    (result,) = run_probes(normalise([{"name": "x", "type": kind, **options}]))
    return result


# Restarts of the day


def test_restarts_of_the_day() -> None:
    memory: dict[str, Any] = {}

    def count(number: int, at: float, identity: str = "a") -> int | None:
        seen = restarts_of_day(memory, {"web": (identity, number)}, NOW + at)
        memory.update(json.loads(json.dumps(memory)))
        return seen

    assert count(7, 0) is None  # nothing to compare with: unknown, not none
    assert count(7, 60) == 0
    assert count(9, 120) == 2
    assert count(0, 180, "b") == 2  # made anew
    assert count(3, 240, "b") == 5
    assert count(1, 300, "b") == 6  # started by hand: its count begins again
    assert count(2, 360, "c") == 8  # made anew, and restarted more often already
    assert count(1, 420, "b") == 9
    assert count(1, DAY - 60, "b") == 9
    assert count(2, DAY + 600, "b") == 1
    assert count(2, 3 * DAY, "b") == 0


def test_a_crash_loop_does_not_fill_the_memory() -> None:
    memory: dict[str, Any] = {}
    for minute in range(3 * 1440):
        seen = restarts_of_day(memory, {"web": ("a", minute)}, NOW + minute * 60)
    assert seen == pytest.approx(1440, abs=10)
    assert len(memory["restarts"]["seen"]) <= 145


def test_a_new_container_counts_and_one_that_is_gone_is_forgotten() -> None:
    memory: dict[str, Any] = {}
    restarts_of_day(memory, {"web": ("a", 1), "old": ("b", 5)}, NOW)
    assert restarts_of_day(memory, {"web": ("a", 1), "new": ("c", 2)}, NOW + 60) == 2
    assert sorted(memory["restarts"]["counts"]) == ["new", "web"]


# systemd


SHOW = """LoadState=loaded
ActiveState=active
SubState=running
Result=success
ExecMainStatus=0
ExecMainCode=0
MemoryCurrent=123456
NRestarts=2
ActiveEnterTimestampMonotonic={entered}
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of programs that are found first."""
    monkeypatch.setattr(_probe_units, "SYSTEM_PATH", f"{tmp_path}:{_probe_units.SYSTEM_PATH}")
    return tmp_path


def program(tools: Path, name: str, output: str, code: int = 0) -> None:
    """A program that says this, and keeps what it was given."""
    (tools / f"{name}.out").write_text(output)
    script = f'#!/bin/sh\necho "$@" >> {tools}/{name}.args\ncat {tools}/{name}.out\nexit {code}\n'
    (tools / name).write_text(script)
    (tools / name).chmod(0o755)


def test_a_unit_that_runs(tools: Path) -> None:
    entered = time.clock_gettime(time.CLOCK_MONOTONIC) - 100
    program(tools, "systemctl", SHOW.format(entered=int(entered * 1e6)))
    found = ask("systemd", unit="app")
    assert found.fields["age_s"] == pytest.approx(100, abs=2)
    assert {key: value for key, value in found.fields.items() if key != "age_s"} == {
        "active": "active",
        "sub": "running",
        "result": "success",
        "exit_code": None,
        "memory_bytes": 123456,
        "restarts": 2,
        "restarts_day": None,
    }
    assert found.log == []
    assert (tools / "systemctl.args").read_text().split()[-2:] == ["--", "app.service"]
    assert found.details["state"] == "active"
    assert found.details["started_at"].startswith("2027-01-15T07:5")


def test_a_unit_that_failed_and_one_without_counters(tools: Path) -> None:
    shown = (
        "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\nExecMainStatus=3\nExecMainCode=1\n"
    )
    program(tools, "systemctl", f"{shown}MemoryCurrent=[not set]\nNRestarts=0\nActiveEnterTimestampMonotonic=5\n")
    program(tools, "journalctl", "".join(f"2026-11-21T15:00:00+0000 app[1]: line {number}\n" for number in range(30)))
    found = ask("systemd", unit="app.service")
    assert (found.fields["active"], found.fields["exit_code"], found.fields["age_s"]) == ("failed", 3, None)
    assert found.fields["memory_bytes"] is None
    assert found.log[-1] == "2026-11-21T15:00:00+0000 app[1]: line 29"
    program(
        tools,
        "systemctl",
        "LoadState=loaded\nActiveState=active\nSubState=mounted\nMemoryCurrent=18446744073709551615\n",
    )
    fields = ask("systemd", unit="srv.mount").fields
    assert (fields["restarts"], fields["restarts_day"], fields["memory_bytes"]) == (None, None, None)


def test_a_unit_that_is_not_there_and_a_host_without_systemd(tools: Path) -> None:
    program(tools, "systemctl", "LoadState=not-found\nActiveState=inactive\n")
    with pytest.raises(ProbeFailed, match=r"there is no unit app\.service") as raised:
        ask("systemd", unit="app")
    assert raised.value.reason == "missing"
    program(tools, "systemctl", "", 1)
    with pytest.raises(OwnFault, match=r"systemctl show app\.service failed: exit code 1"):
        ask("systemd", unit="app")


def test_a_host_without_systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_probe_units, "SYSTEM_PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OwnFault, match="systemctl is not installed on this host"):
        ask("systemd", unit="app")


def test_systemctl_that_hangs_ends_at_the_deadline(tools: Path) -> None:
    (tools / "systemctl").write_text("#!/bin/sh\nsleep 60\n")
    (tools / "systemctl").chmod(0o755)
    began = time.monotonic()
    with pytest.raises(ProbeFailed) as raised:
        ask("systemd", unit="app", seconds=0.3)
    assert raised.value.reason == "timeout"
    assert time.monotonic() - began < 2


# pm2


class Daemon:
    """A pm2 daemon's socket that answers as it is told."""

    def __init__(self, home: Path, answer: bytes | None) -> None:
        self.asked = b""
        self.answer = answer
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(home / "rpc.sock"))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self.listener.accept()
                self.asked = connection.recv(65536)
                if self.answer is not None:
                    # In two pieces, as a long answer comes.
                    connection.sendall(self.answer[:7])
                    connection.sendall(self.answer[7:])
                    connection.close()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)


def message(*parts: bytes) -> bytes:
    return bytes([0x10 | len(parts)]) + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A PM2_HOME whose daemon seems to run."""
    place = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())  # a short path, as sockets need
    process = tmp_path / "proc/77"
    process.mkdir(parents=True)
    (process / "cmdline").write_bytes(b"PM2 v5.3.0: God Daemon (/root/.pm2)\0")
    monkeypatch.setattr(_probe_units, "PROC", str(tmp_path / "proc"))
    (place / "pm2.pid").write_text("77")
    yield place
    for path in place.iterdir():
        path.unlink()
    place.rmdir()


APPS = [
    {
        "name": "api", "pm_id": number, "pid": 100 + number, "monit": {"memory": 50_000_000, "cpu": 1.5},
        "pm2_env": {
            "status": status, "restart_time": 3, "pm_uptime": (NOW - 100 - number) * 1000, "created_at": 1,
            "version": "1.4.2", "pm_err_log_path": "/no/such/log", "SECRET": "s3cr3t-of-the-app",
        },
    }
    for number, status in enumerate(["online", "online"])
]  # fmt: skip


def test_an_application_under_pm2(home: Path) -> None:
    daemon = Daemon(home, message(b"j:null", b"j:" + json.dumps({"args": [APPS]}).encode(), b"s:quai:0"))
    try:
        found = ask("pm2", app="api", home=str(home))
        with pytest.raises(ProbeFailed, match="has no application web; it has api") as raised:
            ask("pm2", app="web", home=str(home))
    finally:
        daemon.close()
    assert found.fields == {
        "status": "online", "instances": 2, "online": 2, "memory_bytes": 100_000_000, "cpu_pct": 3.0, "age_s": 100.0,
        "restarts": 6, "restarts_day": None,
    }  # fmt: skip
    assert (found.details["state"], found.details["version"]) == ("online", "1.4.2")
    assert "s3cr3t" not in json.dumps([found.fields, found.details, found.log, found.message])
    assert raised.value.reason == "missing"
    assert b'"getMonitorData"' in daemon.asked


def test_a_pm2_daemon_that_does_not_run_is_not_started(home: Path, tools: Path) -> None:
    program(tools, "pm2", "[]")
    said = "pm2 daemon of user root does not run"
    for content, more in (("78", "process 78 of .* is gone"), ("", "process 0"), ("x", "holds no process id")):
        (home / "pm2.pid").write_text(content)
        with pytest.raises(ProbeFailed, match=f"{said}: .*{more}") as raised:
            ask("pm2", app="api", home=str(home))
        assert raised.value.reason == "missing"
    (home / "pm2.pid").write_text("77")
    with pytest.raises(ProbeFailed, match="does not listen") as raised:
        ask("pm2", app="api", home=str(home))
    assert raised.value.reason == "refused"
    (home / "pm2.pid").unlink()
    with pytest.raises(ProbeFailed, match=f"{said}: there is no"):
        ask("pm2", app="api", home=str(home))
    assert not (tools / "pm2.args").exists()


def test_a_pm2_daemon_that_says_nothing(home: Path) -> None:
    daemon = Daemon(home, None)
    try:
        with pytest.raises(ProbeFailed) as raised:
            ask("pm2", app="api", home=str(home), seconds=0.3)
    finally:
        daemon.close()
    assert raised.value.reason == "timeout"


@pytest.mark.parametrize(
    "answer", [b"", b"\x12\0\0", message(b"j:null", b"j:{}"), b"\x11\xff\xff\xff\xff", message(b"j:{")]
)
def test_an_answer_that_is_not_understood_lets_the_program_be_asked(home: Path, tools: Path, answer: bytes) -> None:
    program(tools, "pm2", f">>>> In-memory PM2 is out-of-date\n{json.dumps(APPS)}")
    daemon = Daemon(home, answer)
    try:
        assert ask("pm2", app="api", home=str(home)).fields["online"] == 2
    finally:
        daemon.close()


def test_an_unknown_user() -> None:
    with pytest.raises(OwnFault, match="this host has no user 'nobody-has-this-name'"):
        ask("pm2", app="api", user="nobody-has-this-name")
    with pytest.raises(OwnFault, match="this host has no user 'nobody-has-this-name'"):
        ask("command", command=["true"], user="nobody-has-this-name")


# Processes


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    code = "import time; print('ready', flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code, "quai-test-sleeper (x) y"], stdout=subprocess.PIPE)
    if process.stdout:
        process.stdout.readline()  # it has all its memory by now
    yield process
    process.kill()
    process.wait()


def test_processes_by_their_command_line(sleeper: subprocess.Popen[bytes]) -> None:
    found = ask("process", match=r"quai-test-sleeper \(x\)")
    assert found.fields["count"] == 1
    assert found.fields["memory_bytes"] > 1_000_000
    assert 0 <= found.fields["oldest_s"] < 60
    assert ask("process", match="quai-test-sleeper", user="daemon").fields["count"] == 0
    sleeper.kill()
    sleeper.wait()
    found = ask("process", match=r"quai-test-sleeper \(x\)")
    assert found.fields == {"count": 0, "memory_bytes": None, "oldest_s": None}
    assert through_the_engine("process", match="quai-test-sleeper")["status"] == "critical"


def test_the_prober_does_not_find_itself() -> None:
    code = """if True:
        from ansible_collections.quai.ops.plugins.module_utils import _probe_units
        from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context
        context = Context(5)
        _probe_units.check_process({"match": "quai-finds-itself", "pid_file": "", "user": ""}, context)
        print(context.found.fields["count"])
    """
    command = ["/bin/sh", "-c", '"$@"; true', "sh", sys.executable, "-c", code, "quai-finds-itself"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3] / "collections")}
    assert subprocess.check_output(command, env=environment, text=True) == "0\n"


def test_processes_by_pid_file(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    pid_file = tmp_path / "app.pid"
    assert ask("process", pid_file=str(pid_file)).fields["count"] == 0
    pid_file.write_text(f"{sleeper.pid}\n")
    assert ask("process", pid_file=str(pid_file)).fields["count"] == 1
    # The number may have gone to another program.
    assert ask("process", pid_file=str(pid_file), match="nginx").fields["count"] == 0
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert ask("process", pid_file=str(pid_file)).fields["count"] == 0  # dead, though nobody has asked how it ended
    pid_file.write_text("abc")
    with pytest.raises(ProbeFailed, match="holds 'abc', where a process id is right"):
        ask("process", pid_file=str(pid_file))


def test_a_wrong_expression_is_an_own_fault() -> None:
    with pytest.raises(OwnFault, match=r"match is '\(', which is no regular expression"):
        _probe_units.check_process({"match": "(", "pid_file": "", "user": ""}, Context(5))


def test_names_with_parentheses_and_processes_that_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    for pid, command in ((5, b"app\0--x\0"), (6, b""), (7, b"app\0gone\0")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_bytes(command)
    rest = " ".join(["S", "1"] + ["0"] * 17 + [str(40 * tick)] + ["0"] * 10)
    (tmp_path / "5/stat").write_text(f"5 (app) (evil) 9 {rest}".replace(" 9 ", " "))
    (tmp_path / "5/statm").write_text("100 20 3 4 5 6 7\n")
    (tmp_path / "uptime").write_text("100.50 1.0\n")
    monkeypatch.setattr(_probe_units, "PROC", str(tmp_path))
    assert ask("process", match="^app").fields == {"count": 1, "memory_bytes": 20 * page, "oldest_s": 60.5}


# Commands


def test_a_command_that_ends_well() -> None:
    found = ask("command", command=["sh", "-c", "echo 'depth: -12.5 of 30'; echo hm >&2"])
    assert {key: value for key, value in found.fields.items() if key != "latency_ms"} == {
        "exit": 0,
        "stdout": "depth: -12.5 of 30\n",
        "stderr": "hm\n",
        "number": -12.5,
        "nagios": "ok",
    }
    assert found.message == "depth: -12.5 of 30"
    assert ask("command", command=["true"]).fields["number"] is None


@pytest.mark.parametrize(("code", "word"), [(0, "ok"), (1, "warning"), (2, "critical"), (3, "unknown"), (9, "unknown")])
def test_exit_codes_as_nagios_has_them(code: int, word: str) -> None:
    fields = ask("command", command=["sh", "-c", f"exit {code}"]).fields
    assert (fields["exit"], fields["nagios"]) == (code, word)


def test_a_killed_command_and_its_last_lines() -> None:
    found = ask("command", command=["sh", "-c", "echo going; kill -9 $$"])
    assert (found.fields["exit"], found.log) == (128 + signal.SIGKILL, ["going"])
    assert through_the_engine("command", command=["false"])["status"] == "critical"


def test_a_command_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    script = f"sleep 300 & echo $! > {tmp_path}/pid; trap '' TERM; wait; sleep 300"
    began = time.monotonic()
    with pytest.raises(ProbeFailed) as raised:
        ask("command", command=["sh", "-c", script], seconds=0.5)
    assert raised.value.reason == "timeout"
    assert time.monotonic() - began < 2
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline


def test_a_command_that_leaves_something_behind_does_not_hang() -> None:
    began = time.monotonic()
    assert ask("command", command=["sh", "-c", "sleep 2 & echo 5"]).fields["number"] == 5
    assert time.monotonic() - began < 1.5


def test_much_output_is_cut_and_does_not_stop_the_command() -> None:
    fields = ask("command", command=["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo done >&2"]).fields
    assert (len(fields["stdout"]), fields["stderr"], fields["exit"]) == (65536, "done\n", 0)


def test_the_environment_is_the_commands_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUAI_SECRET", "s3cr3t")
    found = ask("command", command=["env"], environment={"A": "1", "B": "x y"})
    lines = found.fields["stdout"].splitlines()
    assert {"A=1", "B=x y"} <= set(lines)
    assert "s3cr3t" not in found.fields["stdout"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a command as another user")
def test_another_user_with_its_home_and_groups() -> None:
    found = ask(
        "command", command=["sh", "-c", "id -un; id -Gn; echo $HOME; pwd; cut -d' ' -f6 /proc/self/stat"], user="mail"
    )
    user, groups, place, directory, session = found.fields["stdout"].splitlines()
    assert (user, groups, place, directory) == ("mail", "mail", "/var/mail", "/")
    assert int(session) != os.getsid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to stop being it")
def test_only_root_can_become_somebody() -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(OwnFault, match="only root can run a command as mail"):
            ask("command", command=["true"], user="mail")
    finally:
        os.seteuid(0)


def test_a_command_that_is_not_there_is_an_own_fault(tmp_path: Path) -> None:
    result = through_the_engine("command", command=["/no/such/check"])
    assert (result["status"], result["reason"]) == ("unknown", "own_error")
    assert result["message"] == "/no/such/check is not installed on this host"
    (tmp_path / "script").write_text("true")
    with pytest.raises(OwnFault, match="script cannot be run: Permission denied"):
        ask("command", command=[str(tmp_path / "script")])
