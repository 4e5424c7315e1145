# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's adapter, against a stand-in for the client that notes its arguments, and an HTTP server on a socket.

docker_output/inspect.json is what Docker 26.1 said of a healthy service, a finished task and an unhealthy container.
"""

from __future__ import annotations

import base64
import json
import os
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _docker
from ansible_collections.quai.ops.plugins.module_utils._docker import Docker, DockerFailed

CAPTURED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "docker_output" / "inspect.json").read_text(encoding="utf-8")
)
WEB, TASK, SICK = CAPTURED
CLIENT = """#!/bin/sh
# Answers with the files of the directory beside it: the first whose name starts the arguments.
here=$(dirname "$0")/answers
echo "$(basename "$0") $* [$DOCKER_CONFIG]" >> "$here/calls"
for file in "$here"/*.out; do
  start=$(basename "$file" .out)
  case "$(basename "$0")_$(echo "$*" | tr ' /' '__')" in
    "$start"*) cat "$file"; [ -e "${file%out}err" ] && cat "${file%out}err" >&2; exit "$(cat "${file%out}code")";;
  esac
done
echo "unknown command" >&2
exit 1
"""


class Engine:
    """A client whose answers a test sets."""

    def __init__(self, directory: Path) -> None:
        self.answers = directory / "answers"
        self.answers.mkdir()
        self.directory = directory
        self.install("docker")

    def install(self, name: str) -> None:
        """Put a program on the path."""
        (self.directory / name).write_text(CLIENT)
        (self.directory / name).chmod(0o755)

    def answer(self, arguments: str, out: str = "", *, err: str = "", code: int = 0) -> None:
        """What to say when called with arguments that start so."""
        name = arguments.replace(" ", "_").replace("/", "_")
        (self.answers / f"{name}.out").write_text(out)
        (self.answers / f"{name}.err").write_text(err)
        (self.answers / f"{name}.code").write_text(str(code))

    def calls(self) -> list[str]:
        """Every call so far, without the configuration's directory."""
        return [line.rpartition(" [")[0] for line in (self.answers / "calls").read_text().splitlines()]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A host whose only Docker is the stand-in."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    return Engine(directory)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without Docker."""
    monkeypatch.setenv("PATH", str(tmp_path))


class TestPresence:
    """What is installed."""

    def test_an_engine_that_answers(self, engine: Engine, tmp_path: Path) -> None:
        engine.answer("docker version", "26.1.5+dfsg1\n")
        docker = Docker(tmp_path / "config")
        assert docker.present
        assert docker.engine_version() == "26.1.5+dfsg1"
        assert f"[{tmp_path}/config]" in (engine.answers / "calls").read_text()

    def test_a_client_without_an_engine(self, engine: Engine) -> None:
        engine.answer("docker version", err="Cannot connect to the Docker daemon\n", code=1)
        assert not Docker().present
        assert Docker().engine_version() == ""

    @pytest.mark.usefixtures("bare")
    def test_nothing(self) -> None:
        docker = Docker()
        assert not docker.present
        assert docker.engine_version() == docker.compose_version() == ""
        with pytest.raises(DockerFailed, match="Compose is not installed; provision the host first"):
            docker.compose()

    def test_the_compose_plugin(self, engine: Engine) -> None:
        engine.install("docker-compose")
        engine.answer("docker compose version", "2.26.1-4\n")
        docker = Docker()
        assert docker.compose() == ["docker", "compose"]
        assert docker.compose_version() == "2.26.1-4"

    def test_the_older_compose(self, engine: Engine) -> None:
        engine.install("docker-compose")
        engine.answer("docker-compose version", "1.29.2\n")
        docker = Docker()
        assert docker.compose() == ["docker-compose"]
        assert docker.compose_version() == "1.29.2"


class TestRun:
    """Calling the client."""

    def test_output(self, engine: Engine) -> None:
        engine.answer("docker pull", "done\n", err="progress")
        assert Docker().run(["docker", "pull", "x"]) == "done\n"

    def test_a_failure_says_what_the_client_said_last(self, engine: Engine) -> None:
        engine.answer("docker pull", err="\n".join(f"line {number}" for number in range(20)), code=1)
        with pytest.raises(DockerFailed) as failure:
            Docker().run(["docker", "pull", "--quiet", "img", "further"])
        assert str(failure.value) == (
            "docker pull --quiet img … failed: line 14\nline 15\nline 16\nline 17\nline 18\nline 19"
        )

    def test_what_never_ends_is_ended(self) -> None:
        with pytest.raises(DockerFailed, match=r"no end after 0\.1 s"):
            Docker().run(["tail", "-f", "/dev/null"], timeout=0.1)

    def test_what_it_starts_holds_the_lock_of_the_release(self, engine: Engine, tmp_path: Path) -> None:
        (tmp_path / "lock").touch()
        handle = os.open(tmp_path / "lock", os.O_RDONLY)
        os.set_inheritable(handle, True)
        try:
            assert "lock" in Docker().run(["readlink", f"/proc/self/fd/{handle}"])
        finally:
            os.close(handle)

    def test_images(self, engine: Engine) -> None:
        engine.answer("docker image inspect here", "[{}]")
        assert Docker().has_image("here")
        assert not Docker().has_image("gone")


class TestContainers:
    """Reading containers."""

    def test_a_healthy_service(self) -> None:
        found = _docker.parse_container(WEB, _docker.started_at(WEB["State"]["StartedAt"]) + 12)
        assert (found.service, found.name, found.status, found.health) == ("web", "shop_web", "running", "healthy")
        assert (found.exit_code, found.restarts, found.up_seconds) == (0, 0, 12)
        assert found.config == WEB["Config"]["Labels"]["quai.config"]
        assert found.image.startswith("localhost:5000/web@sha256:")

    def test_a_finished_task(self) -> None:
        found = _docker.parse_container(TASK, 2e9)
        assert (found.service, found.status, found.health, found.up_seconds) == ("migrate", "exited", "", 0)

    def test_a_container_that_is_nobodys(self) -> None:
        found = _docker.parse_container({**SICK, "Config": {**SICK["Config"], "Labels": None}}, 2e9)
        assert (found.service, found.config, found.health) == ("", "", "unhealthy")

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("1970-01-01T00:01:40.123456789Z", 100),
            ("2026-11-21T03:21:45Z", 1795231305),
            ("2026-11-21T03:21:45.7Z", 1795231305),
        ],
    )
    def test_started_at(self, text: str, seconds: float) -> None:
        assert _docker.started_at(text) == seconds

    @staticmethod
    def like(name: str, status: str = "running", *, one_off: bool = False) -> dict[str, Any]:
        """A container with another name."""
        labels = {**WEB["Config"]["Labels"], "com.docker.compose.oneoff": str(one_off)}
        return {
            **WEB,
            "Name": f"/{name}",
            "State": {**WEB["State"], "Status": status},
            "Config": {**WEB["Config"], "Labels": labels},
        }

    @pytest.mark.parametrize(
        ("name", "status", "one_off", "rest"),
        [
            pytest.param("shop_web", "running", False, False, id="serves"),
            pytest.param("shop_web", "exited", False, False, id="stopped"),
            pytest.param("shop_web_rehearsal", "running", True, True, id="rehearsal"),
            pytest.param("shop_web_run_1", "running", True, False, id="somebodys-own-run"),
            pytest.param("web_rehearsal", "running", False, False, id="service-of-that-name"),
            pytest.param("edc36e878651_shop_web", "created", False, True, id="replacement-not-started"),
            pytest.param("edc36e878651_shop_web", "exited", False, True, id="replaced-and-stopped"),
            pytest.param("edc36e878651_shop_web", "running", False, False, id="serves-under-a-strange-name"),
        ],
    )
    def test_what_a_killed_release_left(self, name: str, status: str, one_off: bool, rest: bool) -> None:
        assert _docker.is_rest(self.like(name, status, one_off=one_off)) is rest

    def test_containers_and_rests_of_a_project(self, engine: Engine) -> None:
        everything = [WEB, self.like("shop_web_rehearsal", one_off=True), self.like("shop_web_run_1", one_off=True)]
        engine.answer("docker ps", "a\nb\nc\n")
        engine.answer("docker inspect", json.dumps(everything))
        assert [one.name for one in Docker().containers("shop")] == ["shop_web"]
        assert Docker().rests("shop") == ["shop_web_rehearsal"]
        assert engine.calls()[0] == "docker ps -aq --no-trunc --filter label=com.docker.compose.project=shop"

    def test_no_containers_need_no_second_call(self, engine: Engine) -> None:
        engine.answer("docker ps")
        assert Docker().containers("shop") == []
        assert len(engine.calls()) == 1

    def test_one_that_vanished_meanwhile_is_left_out(self, engine: Engine) -> None:
        engine.answer("docker inspect", json.dumps([WEB]), err="Error: No such container: b", code=1)
        assert Docker().inspect(["a", "b"]) == [WEB]

    @pytest.mark.parametrize(("volumes", "flags"), [(False, "-f"), (True, "-f -v")])
    def test_removing_stops_first(self, engine: Engine, volumes: bool, flags: str) -> None:
        engine.answer("docker inspect", json.dumps([WEB]))
        engine.answer("docker rm")
        Docker().remove(["shop_web"], volumes=volumes)
        assert engine.calls()[1:] == [f"docker stop {WEB['Id']}", f"docker rm {flags} {WEB['Id']}"]

    def test_removing_what_is_gone(self, engine: Engine) -> None:
        engine.answer("docker inspect", "[]", code=1)
        Docker().remove(["gone"])
        assert [call.split()[1] for call in engine.calls()] == ["inspect"]

    def test_last_words(self, engine: Engine) -> None:
        engine.answer("docker logs", "out 1\nout 2\n", err="err 1\n")
        engine.answer("docker inspect", json.dumps([SICK]))
        assert Docker().last_words("t1", 2) == "out 2\nerr 1\nlast health check (exit 1):"

    def test_last_words_without_a_health_check(self, engine: Engine) -> None:
        engine.answer("docker logs", "bye\n")
        engine.answer("docker inspect", json.dumps([TASK]))
        assert Docker().last_words("shop_migrate") == "bye"


class _Registry(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """An engine's socket that knows some images."""

    daemon_threads = True
    answers: dict[str, tuple[int, bytes]]
    asked: list[tuple[str, dict[str, Any]]]


class _Handler(BaseHTTPRequestHandler):
    server: _Registry

    def do_GET(self) -> None:
        """Answer C(/distribution/NAME/json)."""
        name = unquote(self.path).removeprefix("/distribution/").removesuffix("/json")
        self.server.asked.append((name, json.loads(base64.urlsafe_b64decode(self.headers["X-Registry-Auth"]))))
        status, body = self.server.answers[name]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def address_string(self) -> str:
        """There is no address on a socket."""
        return "socket"


class TestDigest:
    """Asking registries through the engine."""

    @pytest.fixture
    def registry(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Registry]:
        """A socket that answers."""
        monkeypatch.setattr(_docker, "SOCKET", tmp_path / "docker.sock")
        with _Registry(str(tmp_path / "docker.sock"), _Handler) as server:
            server.answers, server.asked = {}, []
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            yield server
            server.shutdown()
            thread.join()

    def test_digest(self, registry: _Registry, tmp_path: Path) -> None:
        answer = {"Descriptor": {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": "sha256:ab"}}
        registry.answers["r.example.org:5000/shop/web:1"] = 200, json.dumps(answer).encode()
        assert Docker(tmp_path).digest("r.example.org:5000/shop/web:1") == "sha256:ab"
        assert registry.asked == [("r.example.org:5000/shop/web:1", {})]

    def test_credentials_go_to_their_registry_only(self, registry: _Registry, tmp_path: Path) -> None:
        auth = base64.b64encode(b"deploy:pass:word").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {"r.example.org": {"auth": auth}}}))
        body = b'{"Descriptor": {"digest": "sha256:ab"}}'
        registry.answers = {"r.example.org/web:1": (200, body), "redis:7": (200, body)}
        for name in registry.answers:
            Docker(tmp_path).digest(name)
        assert dict(registry.asked) == {
            "r.example.org/web:1": {"username": "deploy", "password": "pass:word", "serveraddress": "r.example.org"},
            "redis:7": {},
        }

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            pytest.param(
                (404, b'{"message": "manifest unknown"}'),
                "registry r.example.org answered: manifest unknown",
                id="gone",
            ),
            pytest.param((401, b"{}"), "registry r.example.org answered: Unauthorized", id="no-message"),
            pytest.param((200, b"<html>"), "registry r.example.org gave no answer", id="not-json"),
            pytest.param((200, b"{}"), "registry r.example.org answered without a digest", id="no-digest"),
        ],
    )
    def test_failures_name_image_and_registry(
        self, registry: _Registry, tmp_path: Path, answer: tuple[int, bytes], words: str
    ) -> None:
        registry.answers["r.example.org/web:1"] = answer
        with pytest.raises(DockerFailed, match=f"image r.example.org/web:1: {words}"):
            Docker(tmp_path).digest("r.example.org/web:1")

    def test_no_engine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_docker, "SOCKET", tmp_path / "none.sock")
        with pytest.raises(DockerFailed, match=r"image redis:7: registry docker\.io gave no answer"):
            Docker(tmp_path).digest("redis:7")
