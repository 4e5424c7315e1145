# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The MasStock stand-in keeps its contract: built, started and interrupted for real, spoken to from outside."""

from __future__ import annotations

import base64
import hashlib
import http.client
import itertools
import json
import re
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.docker

CONTEXTS = Path(__file__).parent / "masstock"
ORIGIN = "https://app.masstock.fr"
BACKEND = "masstock/backend:1.0.0"
WORKER = ("node", "src/worker.js")
MIGRATE = ("node", "src/migrate.js")
PROMPT_SECONDS = 0.4
BACKEND_SECRETS = ("REDIS_PASSWORD", "JWT_SECRET", "ENCRYPTION_KEY", "DEMO_PASSWORD")
EMAIL = "demo@masstock.fr"
MIGRATIONS = 2
# The guide's health commands, as compose runs them inside the containers.
HEALTH = {
    "api": ("wget", "-q", "--spider", "localhost:3000/health"),
    "worker": ("node", "src/worker-health.js"),
    "app": ("wget", "-q", "--spider", "localhost:80/health"),
    "vitrine": ("wget", "-q", "--spider", "localhost:80/"),
    "n8n": ("wget", "-q", "--spider", "localhost:5678/healthz"),
}


def docker(*arguments: str, ok: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False)
    if ok and done.returncode != 0:
        pytest.fail(f"docker {' '.join(arguments[:4])} …: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def eventually(what: str, probe: Callable[[], Any], seconds: float = 30) -> Any:
    """Ask until the answer is true; on the way, no connection is an answer too."""
    deadline = time.monotonic() + seconds
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = probe()
            if last:
                return last
        except (OSError, http.client.HTTPException) as error:
            last = error
        time.sleep(0.1)
    return pytest.fail(f"not within {seconds:.0f} s: {what}; last answer: {last!r}")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Stack:
    """Containers on a network of their own, their ports published on loopback only."""

    name: str
    secrets: dict[str, str]
    containers: list[str] = field(default_factory=list)
    visitors: Iterator[int] = field(default_factory=itertools.count)

    @property
    def env(self) -> dict[str, str]:
        return {
            "NODE_ENV": "production",
            "REDIS_HOST": "redis",
            "REDIS_PORT": "6379",
            "CORS_ORIGIN": ORIGIN,
            "WORKER_PROMPT_MS": str(int(PROMPT_SECONDS * 1000)),
            **{name: self.secrets[name] for name in BACKEND_SECRETS},
        }

    def container(self, service: str) -> str:
        return f"{self.name}-{service}"

    def run(
        self,
        service: str,
        image: str,
        *command: str,
        env: dict[str, str] | None = None,
        port: int = 0,
        volumes: dict[str, str] | None = None,
    ) -> None:
        options = ["--name", self.container(service), "--network", self.name, "--network-alias", service]
        options += [f"--env={variable}={value}" for variable, value in (env or {}).items()]
        options += [f"--volume={self.name}-{volume}:{path}" for volume, path in (volumes or {}).items()]
        if port:
            options += ["--publish", f"127.0.0.1::{port}"]
        self.containers.append(self.container(service))
        docker("run", "--detach", *options, image, *command)

    def remove(self, service: str) -> None:
        docker("rm", "--force", "--volumes", self.container(service))

    def exec(self, service: str, *command: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        return docker("exec", self.container(service), *command, ok=ok)

    def healthy(self, service: str, command: tuple[str, ...]) -> bool:
        return self.exec(service, *command, ok=False).returncode == 0

    def state(self, service: str, what: str) -> str:
        return docker("inspect", "--format", "{{" + what + "}}", self.container(service)).stdout.strip()

    def address(self, service: str) -> tuple[str, int]:
        """Where the service is published now: Docker may choose another port at each start."""
        lines = docker("port", self.container(service)).stdout.split()
        host, _, port = lines[-1].rpartition(":")
        return host, int(port)

    def visitor(self) -> str:
        high, low = divmod(next(self.visitors), 256)
        return f"10.20.{high}.{low}"

    def http(
        self,
        service: str,
        path: str,
        method: str = "GET",
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
        client: str = "",
    ) -> Answer:
        """One request as the nginx in front passes it on. The limits count per client: each request is a new one's."""
        sent = {"X-Forwarded-For": client or self.visitor(), **(headers or {})}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not body:
            sent["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection(*self.address(service), timeout=15)
        begun = time.monotonic()
        try:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read(), time.monotonic() - begun)
        finally:
            connection.close()

    def submit(self, *prompts: str, execution: str | None = None) -> Answer:
        body: dict[str, Any] = {"prompts": list(prompts)}
        if execution:
            body["id"] = execution
        return self.http("api", "/api/v1/executions", "POST", body=body)

    def executions(self, ids: list[str]) -> list[dict[str, Any]]:
        answer = self.http("api", f"/api/v1/executions?ids={','.join(ids)}")
        return list(answer.json["executions"]) if answer.status == 200 else []

    def completed(self, *ids: str, seconds: float = 30) -> list[dict[str, Any]]:
        """The executions once all of them are completed."""

        def probe() -> list[dict[str, Any]] | None:
            found = self.executions(list(ids))
            return found if [one["status"] for one in found] == ["completed"] * len(ids) else None

        return list(eventually(f"completed: {', '.join(ids)}", probe, seconds))

    def redis(self, *command: str) -> str:
        password = f"REDISCLI_AUTH={self.secrets['REDIS_PASSWORD']}"
        return docker("exec", "--env", password, self.container("redis"), "redis-cli", *command).stdout.strip()

    def down(self) -> None:
        if self.containers:
            docker("rm", "--force", "--volumes", *self.containers, ok=False)
        docker("network", "rm", self.name, ok=False)
        volumes = docker("volume", "ls", "--quiet", "--filter", f"name={self.name}-").stdout.split()
        if volumes:
            docker("volume", "rm", *volumes, ok=False)


@pytest.fixture(scope="module", name="images")
def _images() -> list[str]:
    """Everything images.yml lists, built from the sources as they are; a moment when nothing changed."""
    built = []
    for image in yaml.safe_load((CONTEXTS / "images.yml").read_text()):
        for tag in image.get("tags", [{"tag": "latest"}]):
            reference = f"{image['name']}:{tag['tag']}"
            arguments = [f"--build-arg={name}={value}" for name, value in tag.get("args", {}).items()]
            docker("build", "--quiet", "--tag", reference, *arguments, str(CONTEXTS / image["context"]), timeout=300)
            built.append(reference)
    return built


@pytest.fixture(scope="module", name="stack")
def _stack(images: list[str]) -> Iterator[Stack]:
    names = (*BACKEND_SECRETS, "GEMINI_API_KEY", "N8N_ENCRYPTION_KEY")
    stack = Stack(f"quai-apps-{secrets.token_hex(4)}", {name: secrets.token_hex(32) for name in names})
    docker("network", "create", stack.name)
    try:
        # `always`: what Redis confirmed is in the file, so a killed Redis owes nothing to luck.
        persistent = ("--appendonly", "yes", "--appendfsync", "always")
        server = ("redis-server", *persistent, "--requirepass", stack.secrets["REDIS_PASSWORD"])
        stack.run("redis", "redis:7-alpine", *server, volumes={"redis": "/data"})
        both = {"logs": "/app/logs"}
        stack.run("api", BACKEND, env=stack.env, port=3000, volumes={**both, "uploads": "/app/uploads"})
        gemini = {"GEMINI_API_KEY": stack.secrets["GEMINI_API_KEY"]}
        stack.run("worker", BACKEND, *WORKER, env={**stack.env, **gemini}, volumes=both)
        stack.run("app", "masstock/app:1.0.0", port=80)
        stack.run("vitrine", "masstock/vitrine:1.0.0", port=80)
        n8n = {"N8N_ENCRYPTION_KEY": stack.secrets["N8N_ENCRYPTION_KEY"]}
        stack.run("n8n", "n8nio/n8n:1.100.1", env=n8n, port=5678, volumes={"n8n": "/home/node/.n8n"})
        eventually("redis answers", lambda: stack.redis("PING") == "PONG")
        for service, command in HEALTH.items():
            eventually(f"{service} is healthy", partial(stack.healthy, service, command))
        yield stack
    finally:
        stack.down()


def test_images_carry_their_version(images: list[str]) -> None:
    own = [image for image in images if image.startswith("masstock/")]
    assert len(own) == 7
    for image in own:
        labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image).stdout)
        assert labels["org.opencontainers.image.version"] == image.partition(":")[2]


@pytest.mark.parametrize("service", HEALTH)
def test_health_command_of_the_guide(stack: Stack, service: str) -> None:
    stack.exec(service, *HEALTH[service])


@pytest.mark.parametrize(("service", "uid"), [("redis", "999"), ("api", "1000"), ("worker", "1000"), ("n8n", "1000")])
def test_services_run_without_root(stack: Stack, service: str, uid: str) -> None:
    assert stack.exec(service, "id", "-u").stdout.strip() == uid


def test_api_health_and_version(stack: Stack) -> None:
    health = stack.http("api", "/health")
    assert health.json["status"] == "ok"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", health.json["timestamp"])
    assert stack.http("api", "/version").json == {"service": "masstock-api", "version": "1.0.0"}


def test_redis_is_version_7(stack: Stack) -> None:
    assert re.search(r"^redis_version:7\.", stack.redis("INFO", "server"), re.MULTILINE)


def test_login_sets_the_cookies_of_the_guide(stack: Stack) -> None:
    credentials = {"email": EMAIL, "password": stack.secrets["DEMO_PASSWORD"]}
    answer = stack.http("api", "/api/v1/auth/login", "POST", body=credentials, headers={"Origin": ORIGIN})
    assert answer.status == 200
    assert answer.json["user"]["email"] == EMAIL
    assert set(answer.json["session"]) == {"expires_at"}
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    cookies = {text.partition("=")[0]: text for text in answer.headers.get_all("Set-Cookie", [])}
    assert set(cookies) == {"access_token", "refresh_token"}
    for text in cookies.values():
        assert {"HttpOnly", "Secure", "SameSite=Lax"} <= set(text.split("; "))
    assert "Max-Age=900" in cookies["access_token"].split("; ")

    jar = {"Cookie": "; ".join(text.partition(";")[0] for text in cookies.values())}
    assert stack.http("api", "/api/v1/me", headers=jar).json == {"user": answer.json["user"]}
    refreshed = stack.http("api", "/api/v1/auth/refresh", "POST", body={}, headers=jar)
    assert len(refreshed.headers.get_all("Set-Cookie", [])) == 2
    # A refresh token is no access token.
    swapped = {"Cookie": cookies["refresh_token"].partition(";")[0].replace("refresh_", "access_")}
    assert stack.http("api", "/api/v1/me", headers=swapped).status == 401


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"email": EMAIL, "password": "wrong"}, 401, "invalid_credentials"),
        ({"email": "somebody@example.org", "password": "wrong"}, 401, "invalid_credentials"),
        ({"email": "not an address", "password": "x"}, 400, "invalid_request"),
        ({"email": EMAIL, "password": "x", "admin": True}, 400, "invalid_request"),
        (b'{"email": ', 400, "entity.parse.failed"),
    ],
)
def test_login_refuses(stack: Stack, body: Any, status: int, error: str) -> None:
    json_type = {"Content-Type": "application/json"}
    answer = stack.http("api", "/api/v1/auth/login", "POST", body=body, headers=json_type)
    assert (answer.status, answer.json["error"]) == (status, error)
    assert "Set-Cookie" not in answer.headers


def test_preflight_is_answered_by_the_api_itself(stack: Stack) -> None:
    asks = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answer = stack.http("api", "/api/v1/auth/login", "OPTIONS", headers=asks)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Access-Control-Allow-Methods"] == "GET,POST,PUT,DELETE,PATCH,OPTIONS"
    assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type,Authorization,X-Requested-With"
    assert answer.headers["Access-Control-Max-Age"] == "86400"
    foreign = stack.http("api", "/api/v1/auth/login", "OPTIONS", headers={**asks, "Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in foreign.headers


def test_limits_of_the_guide(stack: Stack) -> None:
    wrong = {"email": EMAIL, "password": "wrong"}

    def login(client: str) -> Answer:
        return stack.http("api", "/api/v1/auth/login", "POST", body=wrong, headers={"Origin": ORIGIN}, client=client)

    logins = [login("198.51.100.1") for _ in range(6)]
    assert [answer.status for answer in logins] == [401] * 5 + [429]
    assert logins[-1].json["error"] == "rate_limited"
    assert 0 < int(logins[-1].headers["Retry-After"]) <= 60
    assert logins[-1].headers["Access-Control-Allow-Origin"] == ORIGIN
    assert login("198.51.100.2").status == 401

    statuses = [stack.http("api", "/nothing-here", client="198.51.100.3").status for _ in range(101)]
    assert statuses == [404] * 100 + [429]
    assert stack.http("api", "/health", client="198.51.100.3").status == 200


def test_execution_round_trip(stack: Stack) -> None:
    answer = stack.submit("a pier", "a crane", execution="round-trip")
    assert (answer.status, answer.json) == (202, {"id": "round-trip", "status": "pending"})
    again = stack.submit("something else", execution="round-trip")
    assert (again.status, again.json["id"]) == (200, "round-trip")
    [done] = stack.completed("round-trip")
    assert (done["starts"], done["completions"]) == (1, 1)
    assert done["results"] == {
        str(n): f"sha256:{hashlib.sha256(prompt).hexdigest()}" for n, prompt in enumerate((b"a pier", b"a crane"))
    }
    eventually("removeOnComplete", lambda: stack.redis("EXISTS", "bull:workflow-queue:round-trip") == "0")
    # A late repetition of a finished request queues nothing: Bull counts every job that it is handed.
    queued = stack.redis("GET", "bull:workflow-queue:id")
    assert stack.submit("a pier", execution="round-trip").json == {"id": "round-trip", "status": "completed"}
    assert stack.redis("GET", "bull:workflow-queue:id") == queued


@pytest.mark.parametrize(
    "body",
    [{}, {"prompts": []}, {"prompts": [""]}, {"prompts": ["x"], "id": "42"}, {"prompts": ["x"], "id": "a:b"}],
)
def test_execution_refuses(stack: Stack, body: dict[str, Any]) -> None:
    answer = stack.http("api", "/api/v1/executions", "POST", body=body)
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")
    assert answer.json["problems"]


def test_killed_worker_loses_no_execution(stack: Stack) -> None:
    ids = [stack.submit("one", "two", "three").json["id"] for _ in range(6)]
    eventually("an execution is half done", lambda: any(one["results"] for one in stack.executions(ids)))
    docker("kill", "--signal", "KILL", stack.container("worker"))
    interrupted = [one["id"] for one in stack.executions(ids) if one["status"] == "processing"]
    assert interrupted
    # With no worker, work waits where the guide says to look.
    ids.append(stack.submit("four").json["id"])
    assert int(stack.redis("LLEN", "bull:workflow-queue:wait")) >= 1
    docker("start", stack.container("worker"))
    done = stack.completed(*ids)
    starts = {one["id"]: one["starts"] for one in done}
    assert all(starts[one] >= 2 for one in interrupted)
    assert all(one["completions"] == 1 and len(one["results"]) == one["prompts"] for one in done)


def test_killed_redis_loses_no_execution(stack: Stack) -> None:
    ids = [stack.submit("one", "two", "three").json["id"] for _ in range(4)]
    eventually("work begins", lambda: int(stack.redis("LLEN", "bull:workflow-queue:active")) > 0)
    docker("kill", "--signal", "KILL", stack.container("redis"))
    late = "while-redis-was-down"
    refused = stack.submit("late", execution=late)
    assert (refused.status, refused.json["error"]) == (503, "queue_unavailable")
    assert refused.seconds < 3
    assert stack.http("api", "/health").status == 200
    unhealthy = stack.exec("worker", *HEALTH["worker"], ok=False)
    assert (unhealthy.returncode, unhealthy.stderr.partition(":")[0]) == (1, "unhealthy")
    docker("start", stack.container("redis"))
    eventually("the refused one is taken", lambda: stack.submit("late", execution=late).status in {200, 202})
    # At least once: a lock that ran out meanwhile may have meant a second run, but every result is there once.
    assert all(one["completions"] >= 1 and len(one["results"]) == one["prompts"] for one in stack.completed(*ids, late))
    # The processes waited; they were not restarted into it.
    assert (stack.state("worker", ".State.Running"), stack.state("api", ".State.Running")) == ("true", "true")


def test_hanging_redis_delays_no_client(stack: Stack) -> None:
    late = "while-redis-hung"
    docker("pause", stack.container("redis"))
    try:
        answer = stack.submit("patience", execution=late)
    finally:
        docker("unpause", stack.container("redis"))
    assert answer.status == 503
    assert answer.seconds < 5
    # The first request may have arrived after all. Repeating it makes one execution of both.
    eventually("it is taken", lambda: stack.submit("patience", execution=late).status in {200, 202})
    [done] = stack.completed(late)
    assert done["completions"] == 1


def test_summary_counts_every_execution(stack: Stack) -> None:
    ids = [stack.submit("count me").json["id"] for _ in range(3)]
    stack.completed(*ids)
    summary = stack.http("api", "/api/v1/executions-summary").json
    assert summary["total"] == summary["counts"]["completed"] == len(summary["executions"])
    assert set(ids) <= set(summary["executions"])
    assert (summary["lost"], summary["repeated"]) == ([], [])
    # An execution whose job vanished is exactly what `lost` is for.
    stack.redis("SADD", "executions", "vanished")
    stack.redis("HSET", "execution:vanished", "status", "pending")
    try:
        assert stack.http("api", "/api/v1/executions-summary").json["lost"] == ["vanished"]
    finally:
        stack.redis("DEL", "execution:vanished")
        stack.redis("SREM", "executions", "vanished")


def test_upload_is_kept_in_the_volume(stack: Stack) -> None:
    content = secrets.token_bytes(100_000)
    stored = stack.http("api", "/api/v1/uploads", "POST", body=content).json
    assert (stored["bytes"], stored["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert stack.exec("api", "ls", "/app/uploads").stdout.split() == [stored["id"]]
    assert stack.http("api", f"/api/v1/uploads/{stored['id']}").body == content
    assert stack.http("api", "/api/v1/uploads/..%2f..%2fpackage.json").status == 400
    assert stack.http("api", "/api/v1/uploads/00000000-0000-4000-8000-000000000000").status == 404
    too_large = {"Content-Length": str(10 * 1024 * 1024 + 1)}
    assert stack.http("api", "/api/v1/uploads", "POST", body=b"x", headers=too_large).status == 413


def test_migrations_are_applied_once(stack: Stack) -> None:
    last = [stack.exec("api", *MIGRATE).stdout.splitlines()[-1] for _ in range(2)]
    assert [json.loads(line) for line in last] == [
        {"applied": MIGRATIONS, "present": MIGRATIONS},
        {"applied": 0, "present": MIGRATIONS},
    ]
    stack.redis("SET", "schema:lock", "somebody else")
    try:
        refused = stack.exec("api", *MIGRATE, ok=False)
    finally:
        stack.redis("DEL", "schema:lock")
    assert refused.returncode == 1
    assert refused.stderr == "fatal: migration: another migration is running: somebody else\n"


def test_next_release_without_limits_finishes_what_it_began(stack: Stack) -> None:
    stack.run("api2", "masstock/backend:1.1.0", env={**stack.env, "RATE_LIMIT_ENABLED": "false"}, port=3000)
    eventually("it answers", lambda: stack.http("api2", "/version").json["version"] == "1.1.0")
    assert {stack.http("api2", "/nothing-here").status for _ in range(105)} == {404}
    answers: list[Answer] = []
    request = threading.Thread(target=lambda: answers.append(stack.http("api2", "/slow?ms=1500")))
    request.start()
    eventually("it is being answered", lambda: "slow request begun" in docker("logs", stack.container("api2")).stdout)
    docker("stop", stack.container("api2"))
    request.join()
    assert [answer.status for answer in answers] == [200]
    assert stack.state("api2", ".State.ExitCode") == "0"


def test_broken_release_never_becomes_healthy(stack: Stack) -> None:
    broken = "masstock/backend:1.2.0-broken"
    stack.run("broken", broken, env=stack.env, port=3000)
    answer = eventually("it answers", lambda: stack.http("broken", "/health"))
    assert (answer.status, answer.json["status"]) == (503, "failing")
    assert not stack.healthy("broken", HEALTH["api"])
    assert not stack.healthy("broken", HEALTH["worker"])


@pytest.mark.parametrize(
    ("image", "command", "given", "message"),
    [
        (
            BACKEND,
            (),
            {"NODE_ENV": "production", "REDIS_HOST": "redis", "CORS_ORIGIN": ORIGIN, "JWT_SECRET": ""},
            "missing environment variables: REDIS_PORT, REDIS_PASSWORD, JWT_SECRET, ENCRYPTION_KEY",
        ),
        (BACKEND, MIGRATE, {}, "missing environment variables: REDIS_HOST, REDIS_PORT, REDIS_PASSWORD"),
        (BACKEND, (), {"REDIS_PORT": "none"}, 'REDIS_PORT="none" is not a whole number of 0 or more'),
        (BACKEND, (), {"RATE_LIMIT_ENABLED": "no"}, 'RATE_LIMIT_ENABLED="no" is neither true nor false'),
        ("n8nio/n8n:1.100.1", (), {}, "missing environment variables: N8N_ENCRYPTION_KEY"),
    ],
)
def test_wrong_environment_stops_the_start(
    images: list[str], image: str, command: tuple[str, ...], given: dict[str, str], message: str
) -> None:
    assert image in images
    options = [f"--env={name}={value}" for name, value in given.items()]
    done = docker("run", "--rm", "--network", "none", *options, image, *command, ok=False)
    assert (done.returncode, done.stdout, done.stderr) == (78, "", f"fatal: {message}\n")


def test_worker_needs_its_own_key(stack: Stack) -> None:
    options = [f"--env={name}={value}" for name, value in stack.env.items()]
    done = docker("run", "--rm", "--network", "none", *options, BACKEND, *WORKER, ok=False)
    assert (done.returncode, done.stderr) == (78, "fatal: missing environment variables: GEMINI_API_KEY\n")


def test_app_is_a_single_page_with_hashed_assets(stack: Stack) -> None:
    assert stack.http("app", "/health").body == b"healthy\n"
    page = stack.http("app", "/")
    assert b'<meta name="version" content="1.0.0">' in page.body
    assert page.headers["Cache-Control"] == "no-cache"
    assert page.headers["Server"] == "nginx"
    assert stack.http("app", "/workflows/some/deep/link").body == page.body
    assets = re.findall(rb'(?:src|href)="(/assets/index-[\w-]{8}\.(?:js|css))"', page.body)
    assert len(assets) == 2
    for asset in assets:
        answer = stack.http("app", asset.decode())
        assert answer.status == 200
        assert "Cache-Control" not in answer.headers
    assert stack.http("app", "/assets/index-00000000.js").status == 404


def test_vitrine_is_a_static_page(stack: Stack) -> None:
    page = stack.http("vitrine", "/")
    assert b'<meta name="version" content="1.0.0">' in page.body
    assert stack.http("vitrine", "/style.css").headers["Content-Type"] == "text/css"
    assert stack.http("vitrine", "/nothing-here").status == 404


def test_n8n_pushes_over_a_websocket(stack: Stack) -> None:
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    with socket.create_connection(stack.address("n8n"), timeout=10) as connection:
        connection.sendall(
            f"GET /rest/push HTTP/1.1\r\nHost: n8n\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        stream = connection.makefile("rb")
        head = b"".join(iter(stream.readline, b"\r\n")).decode()
        # RFC 6455: the constant that proves the other side speaks WebSocket.
        proof = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode(), usedforsecurity=False).digest()
        assert head.startswith("HTTP/1.1 101 ")
        assert f"Sec-WebSocket-Accept: {base64.b64encode(proof).decode()}" in head
        opcode, length = stream.read(2)
        assert opcode == 0x81  # one whole text frame
        assert json.loads(stream.read(length)) == {"type": "hello", "version": "1.100.1"}
    assert b"stand-in" in stack.http("n8n", "/").body


def test_n8n_keeps_its_credentials_under_one_key(stack: Stack) -> None:
    secret = secrets.token_hex(16)
    credential = {"name": "gemini", "value": secret}
    assert stack.http("n8n", "/rest/credentials", "POST", body=credential).status == 201
    assert secret not in stack.exec("n8n", "cat", "/home/node/.n8n/credentials.json").stdout

    stack.remove("n8n")
    volume = {"n8n": "/home/node/.n8n"}
    stack.run("n8n", "n8nio/n8n:1.100.1", env={"N8N_ENCRYPTION_KEY": "another key"}, volumes=volume)
    assert docker("wait", stack.container("n8n")).stdout.strip() == "78"
    assert "N8N_ENCRYPTION_KEY is not the key" in docker("logs", stack.container("n8n")).stderr

    stack.remove("n8n")
    right = {"N8N_ENCRYPTION_KEY": stack.secrets["N8N_ENCRYPTION_KEY"]}
    stack.run("n8n", "n8nio/n8n:1.100.1", env=right, port=5678, volumes=volume)
    verify = "/rest/credentials/verify"
    answer = eventually("n8n is back", lambda: stack.http("n8n", verify, "POST", body=credential))
    assert answer.json == {"name": "gemini", "matches": True}
    assert stack.http("n8n", verify, "POST", body={**credential, "value": "x"}).json["matches"] is False


def test_logs_are_json_and_hold_no_secret(stack: Stack) -> None:
    """The last test: it reads what all the others left behind."""
    file = stack.exec("api", "cat", "/app/logs/app.log").stdout
    services = ("redis", "api", "worker", "app", "vitrine", "n8n")
    written = {service: docker("logs", stack.container(service)) for service in services}
    assert {json.loads(line)["service"] for line in file.splitlines()} >= {"server", "worker"}
    assert all(json.loads(line)["level"] for line in written["api"].stdout.splitlines())
    everything = file + "".join(done.stdout + done.stderr for done in written.values())
    assert {name for name, value in stack.secrets.items() if value in everything} == set()
