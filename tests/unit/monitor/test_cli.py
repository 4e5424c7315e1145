# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command quai-monitor: every verb, every way to use it wrongly, and check 24: runs that overlap or never end."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _monitor_outbox as outbox
from ansible_collections.quai.ops.plugins.module_utils import _monitor_store as store
from ansible_collections.quai.ops.plugins.module_utils import quai_monitor

from tests.unit.monitor.parts import Post, Watch, Web, policy

MODULE = "ansible_collections.quai.ops.plugins.module_utils.quai_monitor"
COLLECTIONS = Path(__file__).resolve().parents[3] / "collections"


@pytest.fixture
def app() -> Iterator[Web]:
    with Web() as web:
        yield web


@pytest.fixture
def hook() -> Iterator[Web]:
    with Web() as web:
        yield web


@pytest.fixture
def host(tmp_path: Path, app: Web, hook: Web) -> Watch:
    probe = {"name": "api", "type": "http", "url": app.url, "policy": "p", "severity": "critical", "project": "shop"}
    config = {
        "probes": [probe],
        "policies": {"p": policy("hook")},
        "channels": {"hook": {"type": "webhook", "url": hook.url}},
        "own_fault_channels": ["hook"],
        "projects": {"shop": {"title": "Shop"}},
    }
    return Watch(tmp_path, config, now=time.time() - 1000)


def ask(host: Watch, *arguments: str) -> int:
    return quai_monitor.main([*arguments, "--root", str(host.root)])


def process(host: Watch, *arguments: str) -> subprocess.Popen[str]:
    """The command as the host's wrapper calls it."""
    command = [sys.executable, "-S", "-m", MODULE, *arguments, "--root", str(host.root)]
    environment = {**os.environ, "PYTHONPATH": str(COLLECTIONS)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def fire(host: Watch, app: Web) -> None:
    app.status = 503
    for _minute in range(4):
        host.run()


# --- runs that overlap or never end ----------------------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def slow(host: Watch, silent: socket.socket, **more: Any) -> None:
    probe = {"name": "slow", "type": "http", "url": f"http://127.0.0.1:{silent.getsockname()[1]}/", "timeout": 30}
    host.configure({**host.config, "probes": [probe], **more})


def test_two_runs_at_once(host: Watch, silent: socket.socket, capsys: pytest.CaptureFixture[str]) -> None:
    slow(host, silent)
    first = process(host, "run")
    try:
        connection, _address = silent.accept()  # now the first one is at work
        second = process(host, "run")
        out, err = second.communicate(timeout=20)
        assert second.returncode == 0
        assert out == ""
        assert f"held by process {first.pid}" in err
        assert store.overruns(host.where) == 1
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        connection.close()
        first.communicate(timeout=20)
        assert first.returncode == 0
    finally:
        first.kill()
        first.wait()
    host.configure({**host.config, "probes": []})
    assert ask(host, "run") == 0
    assert host.state["run"]["overruns"] == 1
    (event,) = host.events("overrun")
    assert "1 run(s) could not start" in event["message"]
    capsys.readouterr()
    ask(host, "status", "--json")
    assert json.loads(capsys.readouterr().out)["overruns"] == 1


def test_a_run_that_does_not_end_is_killed_and_reported(host: Watch, silent: socket.socket, hook: Web) -> None:
    slow(host, silent, run_limit=0.5)
    began = time.monotonic()
    run = process(host, "run")
    run.communicate(timeout=20)
    assert run.returncode == -signal.SIGALRM
    assert time.monotonic() - began < 10
    host.configure({**host.config, "probes": [], "run_limit": 60})
    assert ask(host, "run") == 0
    (message,) = (request.json for request in hook.requests)
    assert message["kind"] == "own_fault"
    assert "took more than its 0.5 s and was killed" in message["body"]
    assert str(run.pid) in message["body"]
    assert [event["event"] for event in host.events()] == ["overrun"]


def test_the_lock_of_a_run_that_was_killed_is_free(host: Watch, silent: socket.socket) -> None:
    slow(host, silent)
    first = process(host, "run")
    silent.accept()
    first.kill()
    first.wait()
    host.configure({**host.config, "probes": []})
    assert ask(host, "run") == 0
    assert store.overruns(host.where) == 0


# --- looking ---------------------------------------------------------------------------------------------------------


def test_run_says_what_it_sends(host: Watch, app: Web, capsys: pytest.CaptureFixture[str]) -> None:
    app.status = 503
    host.configure({**host.config, "probes": [{**host.config["probes"][0], "failures": 1}]})
    assert ask(host, "run", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "CRIT  api" in out
    assert "would be sent by hook: [vps1] 1 CRIT: api (status)" in out
    assert not (host.where.state / "state.json").exists()
    assert ask(host, "run") == 0
    assert capsys.readouterr().out == "hook: [vps1] 1 CRIT: api (status)\n"
    assert ask(host, "run") == 0
    assert capsys.readouterr().out == "", "a run that has nothing to say fills no journal"


def test_check_asks_now_and_changes_nothing(host: Watch, app: Web, capsys: pytest.CaptureFixture[str]) -> None:
    host.run()
    before = {path: path.read_bytes() for path in host.where.state.rglob("*") if path.is_file()}
    assert ask(host, "check") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "vps1: 1 ok of 1"
    app.status = 503
    assert ask(host, "check", "--json") == 2
    document = json.loads(capsys.readouterr().out)
    assert (document["code"], document["summary"]) == (2, "1 critical of 1")
    assert document["results"][0]["reason"] == "status"
    assert {path: path.read_bytes() for path in host.where.state.rglob("*") if path.is_file()} == before


def test_check_of_a_warning_and_of_nothing(host: Watch, app: Web, capsys: pytest.CaptureFixture[str]) -> None:
    host.configure({**host.config, "probes": [{**host.config["probes"][0], "warn": ["latency_ms >= 0"]}]})
    assert ask(host, "check") == 1
    assert "WARN  api" in capsys.readouterr().out
    host.configure({**host.config, "probes": []})
    assert ask(host, "check") == 1, "nothing asked proves nothing"


def test_check_of_a_project_that_waits(host: Watch, app: Web, capsys: pytest.CaptureFixture[str]) -> None:
    host.configure({**host.config, "projects": {"shop": {"active_when": "/none"}}})
    ask(host, "check")
    assert capsys.readouterr().out == "vps1: nothing was asked of 0; waiting: shop\n"
    assert app.requests == []


def test_status_ends_with_one_clear_line(host: Watch, app: Web, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(host, "status") == 2
    out = capsys.readouterr().out
    assert "NONE  api" in out
    assert out.splitlines()[-1] == "vps1: SILENT: 0 of 1 ok, 1 bad (api); it never ran"
    ask(host, "run")
    capsys.readouterr()
    assert ask(host, "status") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "vps1: OK: 1 of 1 ok; last run 0 s ago"
    fire(host, app)
    ask(host, "run")
    capsys.readouterr()
    assert ask(host, "status") == 2
    out = capsys.readouterr().out
    assert "CRIT  api" in out
    assert "firing" in out
    assert out.splitlines()[-1].startswith("vps1: CRITICAL: 0 of 1 ok, 1 bad (api)")


def test_a_watch_that_stopped_is_not_fine(host: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    host.run()
    assert ask(host, "status") == 2
    assert "vps1: SILENT: 1 of 1 ok; last run 16 min ago" in capsys.readouterr().out


# --- changing --------------------------------------------------------------------------------------------------------


def test_an_acknowledgement(host: Watch, app: Web, hook: Web, capsys: pytest.CaptureFixture[str]) -> None:
    host.now = time.time() - 250
    assert ask(host, "ack", "api", "--for", "4h", "--by", "anna") == 1
    assert "no probe is named 'api'" in capsys.readouterr().err
    fire(host, app)
    assert ask(host, "ack", "api", "--for", "4h", "--by", "anna") == 0
    assert "acknowledged by anna for 4 h" in capsys.readouterr().out
    assert host.state["probes"]["api"]["alert"]["acked"]["by"] == "anna"
    ask(host, "run")
    assert [request.json["kind"] for request in hook.requests] == ["firing", "ack"]
    capsys.readouterr()
    ask(host, "status")
    assert "acked by anna" in capsys.readouterr().out
    assert ask(host, "ack", "apo", "--for=1h", "--by=anna") == 1
    assert "no probe is named 'apo'; alerts that are open now: api" in capsys.readouterr().err


def test_a_maintenance(host: Watch, app: Web, hook: Web, capsys: pytest.CaptureFixture[str]) -> None:
    host.now = time.time()
    options = ["--project", "shop", "--for", "1h", "--by", "anna", "--reason", "new disk"]
    assert ask(host, "maintenance", "start", *options) == 0
    fire(host, app)
    assert hook.requests == []
    capsys.readouterr()
    ask(host, "status")
    assert "maintenance of shop for another 60 min, by anna: new disk" in capsys.readouterr().out
    assert ask(host, "maintenance", "end", "--project", "shop") == 0
    host.run()
    assert [request.json["kind"] for request in hook.requests] == ["maintenance_end"]
    assert ask(host, "maintenance", "end", "--project", "shop") == 1
    assert "no maintenance that could be ended" in capsys.readouterr().err
    assert {event["event"] for event in host.events()} >= {"maintenance", "maintenance_end", "firing"}


def test_a_guard_that_is_not_open(host: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(host, "guard", "reset", "api") == 1
    assert "the guard of 'api' is not open" in capsys.readouterr().err
    state = store.new_state()
    state["guards"]["api"] = {"open_since": 1.0, "restarts": [1.0], "series": [], "ok_since": None, "total": 3}
    store.write_state(host.where, state, 1.0, copy=False)
    assert ask(host, "guard", "reset", "api") == 0
    assert host.state["guards"]["api"]["open_since"] is None
    assert ask(host, "run") == 0
    assert [event["event"] for event in host.events()] == ["guard_reset"]


def test_a_person_waits_for_a_run_and_is_told_of_one_that_lasts(
    host: Watch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quai_monitor, "PATIENCE", 0.2)
    host.where.locks.mkdir(parents=True)
    with (host.where.locks / "monitor").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert ask(host, "maintenance", "start", "--for=1h", "--by=a", "--reason=b") == 1
    assert "locks/monitor is held by" in capsys.readouterr().err


# --- pages and messages ----------------------------------------------------------------------------------------------


def test_messages_that_wait(host: Watch, app: Web, hook: Web, capsys: pytest.CaptureFixture[str]) -> None:
    hook.status = 500
    fire(host, app)
    assert ask(host, "messages") == 0
    out = capsys.readouterr().out
    assert "hook: [vps1] 1 CRIT: api (status), 2 failed: answered 500 ok" in out
    assert out.splitlines()[-1] == "1 message(s) wait"
    ask(host, "messages", "--json")
    assert json.loads(capsys.readouterr().out)[0]["attempts"] == 2


def test_a_report_to_a_file_and_to_the_terminal(
    host: Watch, app: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(host, "run")
    out = tmp_path / "page.html"
    assert ask(host, "report", "--out", str(out)) == 0
    assert "<html" in out.read_text()
    assert capsys.readouterr().out == ""
    assert ask(host, "report", "--text") == 0
    text = capsys.readouterr().out
    assert "vps1" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_report_of_files(host: Watch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = tmp_path / "fixtures"
    files.mkdir()
    assert ask(host, "report", "--from", str(files), "--text") == 2
    assert "there is no HOST.json and no HOST/report.json below it" in capsys.readouterr().err
    (files / "vps7.json").write_text("{")
    assert ask(host, "report", "--from", str(files), "--text") == 0
    assert "vps7" in capsys.readouterr().out, "a report that is damaged is not left out"


def test_a_report_by_mail(host: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(host, "report", "--mail") == 1
    assert "report.mail_to" in capsys.readouterr().err
    with Post() as post:
        channels = {**host.config["channels"], "ops": {"type": "mail", "to": "ops@example.org"}}
        mail = {"relay": {"host": "127.0.0.1", "port": post.port}}
        host.configure({**host.config, "channels": channels, "mail": mail, "report": {"mail_to": ["ops"]}})
        ask(host, "run")
        assert ask(host, "report", "--mail") == 0
        (sent,) = post.mails
        (page,) = sent.iter_attachments()
        assert "<html" in page.get_content()
        body = sent.get_body(("plain",))
        assert body is not None
        assert "vps1" in body.get_content()
    assert ask(host, "report", "--mail") == 1
    assert "it waits" in capsys.readouterr().err
    assert len(outbox.waiting(host.where)) == 1


def test_a_fleet(host: Watch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Web() as peer:
        peers = [
            {"name": "vps2", "url": f"{peer.url}/report.json", "user": "quai", "password": "${pw}"},
            {"name": "vps3", "url": "http://127.0.0.1:9/s3cr3t-path"},
        ]
        host.secrets(pw="s3cr3t-pw")
        page = tmp_path / "page"
        host.configure({**host.config, "peers": peers, "report": {"directory": str(page)}})
        host.run()
        report = json.loads((page / "report.json").read_bytes())
        peer.requests.clear()
        peer.content = json.dumps({**report, "host": "vps2"}).encode()
        assert ask(host, "fleet") == 0
        assert peer.requests[0].headers["authorization"] == "Basic cXVhaTpzM2NyM3QtcHc="
    made = (page / "fleet.html").read_text()
    for name in ("vps1", "vps2", "vps3"):
        assert name in made
    assert "s3cr3t" not in made
    assert ask(host, "fleet", "--text") == 0


# --- used wrongly ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "a verb is missing; use one of run, check, status"),
        (["rum"], "there is no verb 'rum', did you mean 'run'"),
        (["run", "--dry"], "run has no option '--dry', did you mean '--dry-run'"),
        (["run", "now"], "'now' is too much; write quai-monitor run"),
        (["run", "--only"], "--only needs a value"),
        (["run", "--only", "apo"], "there is no probe 'apo', did you mean 'api'"),
        (["check", "--only", "apo"], "there is no probe 'apo', did you mean 'api'"),
        (["ack"], "NAME is missing; write quai-monitor ack NAME"),
        (["ack", "api", "--by", "anna"], "--for is missing; for example --for 4h"),
        (["ack", "api", "--for", "4h"], "--by is missing; for example --by anna"),
        (["ack", "api", "--for", "4 hours", "--by", "anna"], "'4 hours' is no duration; write 30m, 4h or 2d"),
        (["ack", "api", "--for", "30d", "--by", "anna"], "not between 1 second and 7 days"),
        (["ack", "api", "--for", "0h", "--by", "anna"], "not between 1 second and 7 days"),
        (["ack", "api", "--for", "nanh", "--by", "anna"], "not between 1 second and 7 days"),
        (["ack", "api", "--for=1h", "--for=2h", "--by=anna"], "--for is given 2 times"),
        (["maintenance", "stop"], "'stop' is neither start nor end"),
        (["maintenance", "start", "--project", "shopp"], "there is no project 'shopp', did you mean 'shop'"),
        (["maintenance", "start", "--for=1h", "--by=a"], "--reason is missing"),
        (["guard", "open", "api"], "write quai-monitor guard reset NAME"),
        (["simulate"], "--series is missing"),
        (["simulate", "--series", "1z"], "holds 'z'"),
    ],
)
def test_a_wrong_command_says_what_would_be_right(
    host: Watch, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = quai_monitor.main(arguments) if not arguments else ask(host, *arguments)
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert words in said.err
    assert len(said.err.splitlines()) == 1


def test_a_configuration_that_is_missing_or_wrong(host: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(host, "validate") == 0
    assert capsys.readouterr().out == "1 probes, 1 channels: fine\n"
    host.configure({**host.config, "probes": [{"name": "a", "type": "htp"}]})
    assert ask(host, "validate") == 1
    assert "there is no type" in capsys.readouterr().err
    (host.where.config / "config.json").unlink()
    for verb in ("run", "check", "status", "validate"):
        assert ask(host, verb) == 2
        assert "config.json does not exist" in capsys.readouterr().err


def test_secrets_that_others_can_read_are_refused(host: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    host.secrets(a="s3cr3t")
    (host.where.config / "secrets.json").chmod(0o644)
    assert ask(host, "run") == 2
    said = capsys.readouterr().err
    assert "mode 0644" in said
    assert "s3cr3t" not in said


def test_help_and_simulation(capsys: pytest.CaptureFixture[str]) -> None:
    assert quai_monitor.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"quai-monitor {verb}" in said for verb in quai_monitor.VERBS)
    assert quai_monitor.main(["simulate", "--series", "1x5 0x360"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "4 message(s)"


def test_a_reader_that_goes_away_is_no_error(host: Watch) -> None:
    run = process(host, "--help")
    assert run.stdout is not None
    assert run.stderr is not None
    run.stdout.close()
    assert run.stderr.read() == ""
    assert run.wait(timeout=20) == 0
