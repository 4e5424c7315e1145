# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers and Compose projects. A real engine is asked in tests/probes; here, one with the odd answers."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Union

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _probe_docker, _probe_files, _probe_log, _probe_units
from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, Found, OwnFault, ProbeFailed
from ansible_collections.quai.ops.plugins.module_utils._probe_docker import (
    frames,
    parse_time,
    rfc3339,
    tag_of,
    version_of,
)
from ansible_collections.quai.ops.plugins.module_utils._probe_engine import run_probes
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import normalise

NOW = 1_795_000_000.0
Answer = Union[bytes, Callable[[str], bytes]]


def answer(document: Any, status: int = 200) -> bytes:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return f"HTTP/1.0 {status} Whatever\r\nContent-Type: application/json\r\n\r\n".encode() + body


def frame(kind: int, text: str) -> bytes:
    return bytes([kind, 0, 0, 0]) + len(text.encode()).to_bytes(4, "big") + text.encode()


class Engine:
    """Answers requests on a Unix socket: exact bytes by the start of their path, the longest that fits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.hang = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(64)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self.listener.accept()
                with connection, contextlib.suppress(OSError):
                    self.handle(connection)

    def handle(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65536)
        line, _gap, rest = request.partition(b"\r\n")
        length = [int(one.split(b":")[1]) for one in rest.split(b"\r\n") if one.lower().startswith(b"content-length")]
        body = rest.partition(b"\r\n\r\n")[2]
        while length and len(body) < length[0]:
            body += connection.recv(65536)
        path = line.split()[1].decode()
        self.asked.append(f"{line.split()[0].decode()} {path} {body.decode()}".strip())
        known = [one for one in self.answers if path.startswith(one)]
        reply = self.answers[max(known, key=len)] if known else answer({"message": f"no {path}"}, 404)
        content = reply(path) if callable(reply) else reply
        # The first bytes alone: the header may end in the middle of what is received.
        connection.sendall(content[:30])
        connection.sendall(content[30:])

    def close(self) -> None:
        self.hang.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.chdir(tmp_path)
    # A short path: those of sockets are limited.
    one = Engine(Path("d.sock"))
    monkeypatch.setattr(_probe_docker, "SOCKET", "d.sock")
    yield one
    one.close()


def container(name: str = "web", *, service: str = "web", **changes: Any) -> dict[str, Any]:
    """What an engine says of a container, with changes: state parts, labels, and the rest by their own names."""
    state = {
        "Status": "running", "Running": True, "OOMKilled": False, "ExitCode": 0,
        "StartedAt": "2026-11-18T10:26:40.123456789Z", "FinishedAt": "0001-01-01T00:00:00Z",
    }  # fmt: skip
    state.update(changes.pop("State", {}))
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": service}
    labels.update(changes.pop("Labels", {}))
    return {
        "Id": f"id-of-{name}",
        "Name": f"/{name}",
        "RestartCount": changes.pop("RestartCount", 0),
        "State": state,
        "Config": {"Image": changes.pop("Image", "shop/web:1.4.0"), "Tty": changes.pop("Tty", False), "Labels": labels},
        "HostConfig": {
            "Memory": changes.pop("Memory", 0),
            "NetworkMode": changes.pop("NetworkMode", "shop_default"),
            "RestartPolicy": {"Name": changes.pop("policy", "unless-stopped")},
        },
        "NetworkSettings": {"Networks": changes.pop("Networks", {})},
        **changes,
    }


def serve(engine: Engine, *containers: dict[str, Any]) -> None:
    engine.answers = {"/containers/json": answer([{"Id": one["Id"]} for one in containers])}
    for one in containers:
        engine.answers[f"/containers/{one['Id']}/json"] = answer(one)
        engine.answers[f"/containers/{one['Name'].lstrip('/')}/json"] = answer(one)
        logs = frame(1, f"hello of {one['Name']}\n") + frame(2, "an error\n")
        engine.answers[f"/containers/{one['Id']}/logs"] = answer(logs)


def ask(kind: str, memory: dict[str, Any] | None = None, now: float = NOW, seconds: float = 5, **options: Any) -> Found:
    if kind in ("docker", "containers"):
        options.setdefault("docker", "/d.sock")
    spec = normalise([{"name": "x", "type": kind, **options}])[0]
    if "docker" in spec:
        spec["docker"] = spec["docker"].lstrip("/")
    context = Context(seconds, memory, now)
    check = {
        "docker": _probe_docker.check_container,
        "containers": _probe_docker.check_project,
        "command": _probe_units.check_command,
        "log": _probe_log.check,
        "heartbeat": _probe_files.check_heartbeat,
    }[kind]
    try:
        check(spec, context)
    finally:
        if memory is not None:
            copy = json.loads(json.dumps(memory))
            memory.clear()
            memory.update(copy)
    return context.found


# Parts


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-21T15:00:00Z", 1795273200),
        ("2024-02-29T23:59:59.5Z", 1709251199.5),
        ("2026-11-21T15:00:00.123456789+01:00", 1795269600.123456789),
        ("2026-11-21T15:00:00-05:30", 1795293000),
        ("2100-03-01T00:00:00Z", 4107542400),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times(text: str, seconds: float | None) -> None:
    assert parse_time(text) == (None if seconds is None else pytest.approx(seconds, abs=1e-6))


@pytest.mark.parametrize("day", range(0, 60000, 271))
def test_times_of_many_days(day: int) -> None:
    assert parse_time(rfc3339(day * 86400 + 12345)) == day * 86400 + 12345


@pytest.mark.parametrize(
    ("reference", "tag"),
    [
        ("shop/web:1.4.0", "1.4.0"),
        ("registry.lab:5000/shop/web", ""),
        ("registry.lab:5000/shop/web:2", "2"),
        ("shop/web:1@sha256:abc", "1"),
        ("shop/web@sha256:abc", ""),
    ],
)
def test_tags(reference: str, tag: str) -> None:
    assert tag_of(reference) == tag


def test_the_version_of_an_image_that_is_pinned() -> None:
    pinned = "registry.lab:5000/shop/web@sha256:0123"
    said = {"org.opencontainers.image.version": "24.04"}
    assert version_of(container(Image=pinned)) == ""
    assert version_of(container(Image=pinned, Labels=said)) == "24.04"
    # A base image may have said that, so a tag is worth more.
    assert version_of(container(Image="shop/web:1.4.0", Labels=said)) == "1.4.0"
    assert version_of(container(Image=pinned, Labels={**said, "quai.version": "1.5.0"})) == "1.5.0"


def test_pieces_of_a_log() -> None:
    body = frame(1, "one\n") + frame(2, "two\n") + frame(1, "three")[:-2]
    assert list(frames(body)) == [(1, b"one\n"), (2, b"two\n"), (1, b"thr")]
    assert list(frames(b"raw", raw=True)) == [(1, b"raw")]


# One container


def test_a_container_that_runs(engine: Engine) -> None:
    health = {"Status": "healthy", "Log": [{"ExitCode": 0, "Output": "fine"}]}
    serve(engine, container(Memory=1000, RestartCount=4, State={"Health": health}))
    usage = {"memory_stats": {"usage": 700, "stats": {"inactive_file": 200}}}
    engine.answers["/containers/id-of-web/stats?stream=false&one-shot=true"] = answer(usage)
    memory: dict[str, Any] = {}
    found = ask("docker", memory, container="web")
    assert found.fields == {
        "state": "running",
        "health": "healthy",
        "exit_code": None,
        "oom_killed": False,
        "age_s": pytest.approx(NOW - 1794997600.123, abs=0.01),
        "restarts": 4,
        "restarts_day": None,
        "memory_pct": 50.0,
    }
    started = "2026-11-18T10:26:40Z"
    assert found.details == {"state": "running", "image": "shop/web:1.4.0", "version": "1.4.0", "started_at": started}
    assert found.log == []
    serve(engine, container(RestartCount=5, State={"Health": health}))
    second = ask("docker", memory, NOW + 60, container="web")
    assert (second.fields["restarts_day"], second.fields["memory_pct"]) == (1, None)


def test_a_container_that_ended_shows_its_last_lines(engine: Engine) -> None:
    serve(engine, container(State={"Status": "exited", "ExitCode": 137, "OOMKilled": True}))
    found = ask("docker", container="web")
    assert (found.fields["state"], found.fields["exit_code"], found.fields["oom_killed"]) == ("exited", 137, True)
    assert found.fields["age_s"] is None
    assert found.log == ["hello of /web", "an error"]


def test_an_unhealthy_container_shows_its_health_check(engine: Engine) -> None:
    health = {"Status": "unhealthy", "Log": [{"ExitCode": 7, "Output": "connection\nrefused\n"}]}
    serve(engine, container(State={"Health": health}))
    assert ask("docker", container="web").log[-1] == "last health check (exit 7): connection refused"
    # A log that cannot be read takes nothing away from what was found.
    engine.answers["/containers/id-of-web/logs"] = b"HTTP/1.0 200 OK\r\n"
    found = ask("docker", container="web")
    assert found.fields["health"] == "unhealthy"
    assert found.log == ["(its log cannot be read: the Docker engine closed d.sock without an answer)"]


def test_a_container_that_is_not_there(engine: Engine) -> None:
    with pytest.raises(ProbeFailed, match="there is no container nobody") as raised:
        ask("docker", container="nobody")
    assert raised.value.reason == "missing"


# The engine itself


def test_without_a_socket_the_prober_cannot_ask_unless_it_was_there_before(engine: Engine) -> None:
    serve(engine, container())
    memory: dict[str, Any] = {}
    ask("docker", memory, container="web")
    Path("d.sock").unlink()
    with pytest.raises(ProbeFailed, match=r"the Docker engine was stopped: d\.sock is gone") as raised:
        ask("docker", memory, container="web")
    assert raised.value.reason == "refused"
    with pytest.raises(OwnFault, match=r"there is no Docker socket d\.sock; install Docker"):
        ask("docker", {}, container="web")


def test_a_socket_on_which_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("d.sock")
    with pytest.raises(ProbeFailed, match=r"no Docker engine listens on d\.sock: Connection refused") as raised:
        ask("docker", container="web")
    assert raised.value.reason == "refused"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to stop being it")
def test_a_socket_that_may_not_be_used(engine: Engine) -> None:
    Path.cwd().chmod(0o711)
    Path("d.sock").chmod(0o600)
    os.seteuid(65534)
    try:
        with pytest.raises(OwnFault, match="may not be used by this user"):
            ask("docker", container="web")
    finally:
        os.seteuid(0)


def test_an_engine_that_hangs(engine: Engine) -> None:
    def hang(_path: str) -> bytes:
        engine.hang.wait(20)
        return b""

    engine.answers = {"/": hang}
    began = time.monotonic()
    with pytest.raises(ProbeFailed) as raised:
        ask("docker", container="web", seconds=0.3)
    assert raised.value.reason == "timeout"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("content", "reason", "said"),
    [
        (b"", "proto", "without an answer"),
        (b"HTTP/1.0 200", "proto", "without an answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "proto", "does not speak HTTP"),
        (b"HTTP/1.0 200 OK\r\n\r\n{not json", "proto", "no JSON"),
        (answer({"message": "server is on fire"}, 500), "status", "with 500: server is on fire"),
        (answer(b"just text", 503), "status", "with 503: just text"),
        (answer(b"x" * (9 << 20)), "size", "more than 8388608 bytes"),
        (b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 20000, "proto", "without an answer"),
    ],
)
def test_odd_answers(engine: Engine, content: bytes, reason: str, said: str) -> None:
    engine.answers = {"/": content}
    with pytest.raises(ProbeFailed, match=said) as raised:
        ask("docker", container="web")
    assert raised.value.reason == reason


def test_no_name_reaches_another_part_of_the_engine(engine: Engine) -> None:
    with pytest.raises(ProbeFailed, match="there is no container"):
        ask("docker", container="../images/x?force=1 é")
    assert engine.asked == ["GET /containers/..%2Fimages%2Fx%3Fforce%3D1%20%C3%A9/json"]


# Projects


def test_a_project_that_runs(engine: Engine) -> None:
    serve(
        engine,
        container("shop-web-1"),
        container("shop-api-1", service="api", Image="shop/api:1.4.0", State={"StartedAt": "2026-11-18T11:00:00Z"}),
        container("shop-api-2", service="api", Image="shop/api:1.4.0", State={"Health": {"Status": "starting"}}),
        container("shop-db-1", service="db", Image="postgres:17"),
        container("shop-migrate-1", service="migrate", policy="no", State={"Status": "exited"}),
        container("shop-run", service="api", Labels={"com.docker.compose.oneoff": "True"}, State={"Status": "dead"}),
        container("shop_api_rehearsal", service="api", State={"Health": {"Status": "unhealthy"}}),
        container("0123456789ab_shop-api-1", service="api", State={"Status": "exited"}),
    )
    found = ask("containers", compose="shop", versioned=["web", "api"])
    assert found.fields == {
        "running": 3, "expected": 3, "missing": "", "unhealthy": "", "version": "1.4.0", "restarts": 0,
        "restarts_day": None,
    }  # fmt: skip
    assert found.details == {
        "services": {"api": "running, starting", "db": "running", "migrate": "done", "web": "running"},
        "version": "1.4.0",
        "started_at": "2026-11-18T11:00:00Z",
    }
    assert found.message == "3 of 3 services run"
    assert found.log == []
    listed = "GET /containers/json?all=1&filters=%7B%22label%22%3A%20%5B%22com.docker.compose.project%3Dshop%22%5D%7D"
    assert engine.asked[0] == listed


def test_services_that_are_missing_and_unhealthy(engine: Engine) -> None:
    serve(
        engine,
        container("shop-web-1", State={"Health": {"Status": "unhealthy", "Log": [{"ExitCode": 1, "Output": "no"}]}}),
        container("shop-api-1", service="api", State={"Status": "restarting", "ExitCode": 1}, RestartCount=9),
        container("shop-job-1", service="job", policy="no", State={"Status": "exited", "ExitCode": 3}),
        container("shop-once-1", service="once", policy="always", State={"Status": "exited", "ExitCode": 0}),
    )
    options: dict[str, Any] = {"compose": "shop", "services": ["web", "api", "job", "once", "worker"]}
    found = ask("containers", versioned=["web", "worker"], **options)
    assert (found.fields["missing"], found.fields["unhealthy"]) == ("api,job,once,worker", "web")
    assert (found.fields["running"], found.fields["expected"]) == (1, 5)
    assert found.details["services"] == {
        "web": "unhealthy", "api": "restarting", "job": "exited (3)", "once": "exited (0)", "worker": "no container",
    }  # fmt: skip
    assert found.log[:4] == [
        "web is unhealthy; it said last:", "hello of /shop-web-1", "an error", "last health check (exit 1): no",
    ]  # fmt: skip
    assert sum(1 for line in found.log if line.endswith("it said last:")) == 3


def test_two_versions_and_no_version(engine: Engine) -> None:
    serve(
        engine,
        container("shop-web-1"),
        container("shop-api-1", service="api", Image="shop/api:1.5.0"),
        container("shop-db-1", service="db", Image="postgres@sha256:00"),
    )
    assert ask("containers", compose="shop", versioned=["web", "api"]).fields["version"] == "1.4.0,1.5.0"
    found = ask("containers", compose="shop", versioned=["db"])
    assert (found.fields["version"], "version" in found.details) == (None, False)
    found = ask("containers", compose="shop")
    assert (found.fields["version"], "started_at" in found.details) == (None, False)


def test_a_project_without_containers(engine: Engine) -> None:
    serve(engine)
    with pytest.raises(ProbeFailed, match="there is no container of the Compose project shop") as raised:
        ask("containers", compose="shop")
    assert raised.value.reason == "missing"
    assert ask("containers", compose="shop", services=["web"]).fields["missing"] == "web"


def test_a_project_whose_containers_all_ended_does_not_run(engine: Engine) -> None:
    """A server that ends well when it is stopped looks like a job that is done."""
    serve(engine, container("shop-web-1", policy="no", State={"Status": "exited", "ExitCode": 0}))
    found = ask("containers", compose="shop")
    assert (found.fields["missing"], found.fields["running"], found.fields["expected"]) == ("web", 0, 1)
    assert found.message == "0 of 1 services run"


def test_an_error_of_the_engine_is_critical_and_no_status_of_its_own(engine: Engine) -> None:
    engine.answers["/containers/web/json"] = answer({"message": "disk full"}, 500)
    spec = normalise([{"name": "x", "type": "docker", "container": "web", "docker": "/d.sock"}])[0]
    result = run_probes([{**spec, "docker": "d.sock"}])[0]
    assert (result["status"], result["reason"]) == ("critical", "status")
    assert result["message"] == "the Docker engine refused /containers/web/json with 500: disk full"


def test_a_container_that_is_removed_while_we_look(engine: Engine) -> None:
    serve(engine, container("shop-web-1"), container("shop-api-1", service="api"))
    del engine.answers["/containers/id-of-shop-api-1/json"]
    assert ask("containers", compose="shop").fields["running"] == 1


def test_restarts_of_a_project_over_a_day(engine: Engine) -> None:
    memory: dict[str, Any] = {}
    for minute, (web, api) in enumerate([(0, 5), (0, 5), (1, 7)]):
        serve(
            engine,
            container("shop-web-1", RestartCount=web),
            container("shop-api-1", service="api", RestartCount=api),
        )
        found = ask("containers", memory, NOW + 60 * minute, compose="shop")
    assert (found.fields["restarts"], found.fields["restarts_day"]) == (8, 3)


# Commands, logs and signs of life in containers


def test_a_command_in_a_container(engine: Engine) -> None:
    engine.answers = {
        "/containers/web/exec": answer({"Id": "e1"}, 201),
        "/exec/e1/start": b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
        + frame(1, "12 jobs\n") + frame(2, "careful\n") + frame(1, "x" * 100_000),
        "/exec/e1/json": answer({"Running": False, "ExitCode": 2}),
    }  # fmt: skip
    found = ask("command", container="web", command=["check", "it"], user="app", environment={"A": "b"})
    fields = found.fields
    assert (fields["exit"], fields["nagios"], fields["number"]) == (2, "critical", 12)
    assert (len(fields["stdout"]), fields["stderr"]) == (65536, "careful\n")
    made = json.loads(engine.asked[0].partition("exec ")[2])
    assert (made["Cmd"], made["User"], made["Env"]) == (["check", "it"], "app", ["A=b"])


def test_a_command_in_a_container_that_does_not_run(engine: Engine) -> None:
    engine.answers = {"/containers/web/exec": answer({"message": "Container web is not running"}, 409)}
    with pytest.raises(ProbeFailed, match="container web does not run"):
        ask("command", container="web", command=["true"])
    with pytest.raises(ProbeFailed, match="there is no container api"):
        ask("command", container="api", command=["true"])


@pytest.mark.parametrize("early", [True, False])
def test_a_command_that_the_container_does_not_have(engine: Engine, early: bool) -> None:
    said = 'OCI runtime exec failed: exec: "check": executable file not found in $PATH'
    started = answer({"message": said}, 400) if early else b"HTTP/1.1 200 OK\r\n\r\n" + frame(1, said)
    engine.answers = {
        "/containers/web/exec": answer({"Id": "e1"}, 201),
        "/exec/e1/start": started,
        "/exec/e1/json": answer({"Running": False, "ExitCode": 127}),
    }
    with pytest.raises(OwnFault, match="executable file not found"):
        ask("command", container="web", command=["check"])


def stamped(*lines: tuple[str, str]) -> bytes:
    return answer(b"".join(frame(1, f"{stamp} {text}\n") for stamp, text in lines))


def test_a_containers_log_goes_on_after_the_last_line(engine: Engine) -> None:
    serve(engine, container())
    engine.answers["/containers/id-of-web/logs"] = stamped()
    memory: dict[str, Any] = {}
    options: dict[str, Any] = {"container": "web", "match": "ERROR"}
    assert ask("log", memory, **options).fields["files"] == 1
    assert engine.asked[-1].endswith("&since=1795000000.000000000")
    engine.answers["/containers/id-of-web/logs"] = stamped(
        ("2026-11-18T11:07:10.5Z", "ERROR 1"), ("2026-11-18T11:07:20.999999999Z", "ERROR 2")
    )
    found = ask("log", memory, NOW + 60, **options)
    assert (found.fields["new"], found.details["samples"]) == (2, ["ERROR 1", "ERROR 2"])
    assert found.fields["age_s"] == pytest.approx(19, abs=0.01)
    ask("log", memory, NOW + 120, **options)
    assert engine.asked[-1].endswith("&since=1795000041.000000000")


def test_a_containers_log_that_is_too_long_for_one_run(engine: Engine) -> None:
    serve(engine, container())
    lines = [(f"2026-11-18T11:07:10.{number:09d}Z", "x" * 1000 + " ERROR") for number in range(400)]

    def since(path: str) -> bytes:
        nanosecond = int(path.rpartition(".")[2]) if "since=1795000030" in path else 0
        return stamped(*lines[nanosecond:])

    memory: dict[str, Any] = {}
    options: dict[str, Any] = {"container": "web", "match": "ERROR", "max_bytes": 1}
    engine.answers["/containers/id-of-web/logs"] = stamped()
    ask("log", memory, **options)
    engine.answers["/containers/id-of-web/logs"] = since
    counts: list[int] = []
    while not counts or counts[-1]:
        counts.append(ask("log", memory, **options).fields["new"])
    assert sum(counts) == 400
    assert len(counts) > 3


def test_the_log_of_no_container_and_of_a_driver_that_keeps_none(engine: Engine) -> None:
    assert ask("log", container="web", match="ERROR").fields["files"] == 0
    serve(engine, container())
    engine.answers["/containers/id-of-web/logs"] = answer(
        {"message": "configured logging driver does not support reading"}, 501
    )
    with pytest.raises(OwnFault, match="cannot read the log of container web"):
        ask("log", container="web", match="ERROR")


def test_a_sign_of_life_in_a_containers_output(engine: Engine) -> None:
    serve(engine, container())
    engine.answers["/containers/id-of-web/logs"] = stamped(
        ("2026-11-18T11:06:30Z", "tick"), ("2026-11-18T11:06:35Z", "x")
    )
    memory: dict[str, Any] = {}
    options: dict[str, Any] = {"container": "web", "match": "^tick$", "max_age": 60}
    found = ask("heartbeat", memory, **options)
    assert found.fields["age_s"] == 10
    assert "since=1794999880.0" in engine.asked[-1]  # the time that counts, and a minute
    engine.answers["/containers/id-of-web/logs"] = stamped()
    assert ask("heartbeat", memory, NOW + 50, **options).fields["age_s"] == 60
    with pytest.raises(ProbeFailed, match="in the output of container web: 61 s ago, more than 60 s") as raised:
        ask("heartbeat", memory, NOW + 51, **options)
    assert raised.value.reason == "heartbeat"
    with pytest.raises(ProbeFailed, match="there is no container api"):
        ask("heartbeat", {}, container="api", match="tick", max_age=60)


def test_through_the_engine_of_probes(engine: Engine) -> None:
    serve(engine, container("shop-web-1", State={"Status": "exited", "ExitCode": 1}))
    probes = [
        {"name": "one", "type": "docker", "container": "shop-web-1", "docker": str(Path("d.sock").absolute())},
        {"name": "all", "type": "containers", "compose": "shop", "docker": str(Path("d.sock").absolute())},
    ]
    if len(str(Path("d.sock").absolute())) > 100:
        pytest.skip("the path of the socket is too long here")
    one, everything = run_probes(normalise(probes))
    assert [one["status"], everything["status"]] == ["critical", "critical"]
    assert everything["log"] == ["web is exited (1); it said last:", "hello of /shop-web-1", "an error"]
