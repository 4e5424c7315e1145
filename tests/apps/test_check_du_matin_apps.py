# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Check du Matin stand-in keeps its contract: built, started and interrupted for real, spoken to from outside."""

from __future__ import annotations

import http.client
import http.cookies
import itertools
import json
import re
import secrets
import socketserver
import subprocess
import threading
import time
import urllib.parse
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.docker

CONTEXTS = Path(__file__).parent / "check-du-matin"
URL = "https://checking.c2s.fr"
EMAIL = "demo@c2s.fr"
DATABASE = "mysql:8.4"
APP = "check-du-matin/app"
OWN_ENVIRONMENT = {
    "APP_ENV": "production",
    "APP_DEBUG": "false",
    "APP_URL": URL,
    "DB_HOST": "db",
    "DB_DATABASE": "check_du_matin",
    "DB_USERNAME": "laravel",
    "MAIL_MAILER": "smtp",
    "MAIL_HOST": "relay",
    "MAIL_PORT": "2525",
    # Short, so that a killed worker's job is handed on while somebody waits.
    "DB_QUEUE_RETRY_AFTER": "6",
    "CHECK_MS": "100",
}
FIRST = ["2026_01_01_000000_create_framework_tables", "2026_01_02_000000_create_checks"]
EXPAND, CONTRACT = "2026_02_01_000000_add_status", "2026_03_01_000000_drop_result"
CACHES = ("optimize:clear", "config:cache", "route:cache", "view:cache")


def docker(*arguments: str, ok: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False)
    if ok and done.returncode != 0:
        pytest.fail(f"docker {' '.join(arguments[:4])} …: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def eventually(what: str, probe: Callable[[], Any], seconds: float = 90) -> Any:
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

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class _Mailbox(socketserver.StreamRequestHandler):
    """One conversation with the relay: enough of SMTP for a client that sends one plain mail."""

    def handle(self) -> None:
        self.say("220 relay")
        for line in self.rfile:
            verb = line.strip().upper()[:4]
            if verb == b"DATA":
                self.say("354 go on")
                mail = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.mails.append(mail.decode())  # type: ignore[attr-defined]
                self.say("250 taken")
            elif verb == b"QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 fine")

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class Relay(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: str) -> None:
        super().__init__((address, 0), _Mailbox)
        self.mails: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@dataclass
class Stack:
    """Containers on a network of their own, their ports published on loopback only."""

    name: str
    directory: Path
    secrets: dict[str, str]
    containers: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def container(self, service: str) -> str:
        return f"{self.name}-{service}"

    def run(self, service: str, image: str, *command: str, options: tuple[str, ...] = (), port: int = 0) -> None:
        given = ["--init", "--name", self.container(service), "--network", self.name, "--network-alias", service]
        given += ["--publish", f"127.0.0.1::{port}"] if port else []
        self.containers.append(self.container(service))
        docker("run", "--detach", *given, *options, image, *command)

    def run_app(self, service: str, tag: str, *command: str, storage: str = "storage", **more: str) -> None:
        """As it is deployed: settings in the environment, secrets in .env, the storage shared with other releases."""
        env = {**OWN_ENVIRONMENT, **more}
        options = [f"--env={name}={value}" for name, value in env.items()]
        options += [f"--volume={self.directory / '.env'}:/var/www/html/.env:ro"]
        options += [f"--volume={self.name}-{storage}:/var/www/html/storage", f"--add-host=relay:{self.gateway}"]
        self.run(service, f"{APP}:{tag}", *command, options=tuple(options), port=8001)

    def run_database(self, service: str, volume: str) -> None:
        env = {"MYSQL_DATABASE": "check_du_matin", "MYSQL_USER": "laravel"}
        options = [f"--env={name}={value}" for name, value in env.items()]
        options += ["--env=MYSQL_ROOT_PASSWORD_FILE=/run/root", "--env=MYSQL_PASSWORD_FILE=/run/laravel"]
        options += [f"--volume={self.directory / name}:/run/{name}:ro" for name in ("root", "laravel", "laravel.cnf")]
        options += [f"--volume={self.name}-{volume}:/var/lib/mysql"]
        self.run(service, DATABASE, options=tuple(options), port=3306)

    @property
    def gateway(self) -> str:
        return docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", self.name).stdout.strip()

    def exec(self, service: str, *command: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        return docker("exec", self.container(service), *command, ok=ok)

    def artisan(self, service: str, *command: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        return self.exec(service, "php", "artisan", *command, ok=ok)

    def migrations(self, service: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.artisan(service, "migrations:state").stdout)
        return state

    def sql(self, statement: str, *, ok: bool = True) -> str:
        login = ("mysql", "--defaults-file=/run/laravel.cnf", "--host=127.0.0.1", "--batch", "--skip-column-names")
        return self.exec("db", *login, f"--execute={statement}", "check_du_matin", ok=ok).stdout.strip()

    def state(self, service: str, what: str) -> str:
        return docker("inspect", "--format", "{{" + what + "}}", self.container(service)).stdout.strip()

    def logs(self, service: str) -> list[dict[str, Any]]:
        done = docker("logs", self.container(service))
        return [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]

    def said(self, service: str, message: str) -> list[dict[str, Any]]:
        return [line for line in self.logs(service) if line["msg"] == message]

    def address(self, service: str) -> tuple[str, int]:
        """Where the service is published now: Docker may choose another port at each start."""
        host, _, port = docker("port", self.container(service)).stdout.split()[-1].rpartition(":")
        return host, int(port)

    def http(
        self, service: str, path: str, method: str = "GET", *, body: bytes | None = None, **headers: str
    ) -> Answer:
        """One request as the nginx in front passes it on."""
        sent = {"Host": "checking.c2s.fr", "X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7", **headers}
        connection = http.client.HTTPConnection(*self.address(service), timeout=20)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def healthy(self, service: str) -> bool:
        return self.http(service, "/health").status == 200

    def submit(self, service: str, milliseconds: int, identity: str = "") -> str:
        body = {"ms": milliseconds, "id": identity or f"test-{next(self.numbers)}"}
        answer = self.http(
            service, "/api/executions", "POST", body=json.dumps(body).encode(), **{"Content-Type": "application/json"}
        )
        assert answer.status in {200, 202}, answer.text
        return str(answer.json["id"])

    def executions(self, service: str, ids: list[str]) -> list[dict[str, Any]]:
        return list(self.http(service, f"/api/executions?ids={','.join(ids)}").json["executions"])

    def completed(self, service: str, ids: list[str], seconds: float = 40) -> list[dict[str, Any]]:
        def probe() -> list[dict[str, Any]] | None:
            found = self.executions(service, ids)
            return found if [one["status"] for one in found] == ["completed"] * len(ids) else None

        return list(eventually(f"completed: {', '.join(ids)}", probe, seconds))

    def down(self) -> None:
        if self.containers:
            docker("rm", "--force", "--volumes", *self.containers, ok=False)
        docker("network", "rm", self.name, ok=False)
        volumes = docker("volume", "ls", "--quiet", "--filter", f"name={self.name}-").stdout.split()
        if volumes:
            docker("volume", "rm", *volumes, ok=False)


@dataclass
class Visitor:
    """A browser as far as this needs one: it keeps cookies and finds the token in a form."""

    stack: Stack
    service: str
    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""

    def request(self, path: str, method: str = "GET", **form: str) -> Answer:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        body = None
        if method == "POST":
            body = urllib.parse.urlencode(form).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        answer = self.stack.http(self.service, path, method, body=body, **headers)
        for text in answer.headers.get_all("Set-Cookie", []):
            name, _, value = text.partition(";")[0].partition("=")
            self.cookies[name] = value
        if found := re.search(r'name="_token" value="(\w+)"', answer.text):
            self.token = found.group(1)
        return answer

    def login(self, password: str, email: str = EMAIL) -> Answer:
        assert self.request("/login").status == 200
        return self.request("/login", "POST", _token=self.token, email=email, password=password)


@pytest.fixture(scope="module", name="images")
def _images() -> list[str]:
    """Everything images.yml lists, built from the sources as they are; a moment when nothing changed."""
    built = []
    for image in yaml.safe_load((CONTEXTS / "images.yml").read_text()):
        for tag in image.get("tags", [{"tag": "latest"}]):
            reference = f"{image['name']}:{tag['tag']}"
            arguments = [f"--build-arg={name}={value}" for name, value in tag.get("args", {}).items()]
            docker("build", "--quiet", "--tag", reference, *arguments, str(CONTEXTS / image["context"]), timeout=500)
            built.append(reference)
    return built


@pytest.fixture(scope="module", name="stack")
def _stack(images: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    assert f"{APP}:1.0.0" in images
    given = {name: secrets.token_urlsafe(24) for name in ("root", "laravel", "demo")}
    # A quote and a backslash: nothing on the way may take them for anything else.
    given["root"] += "'\\\""
    given["key"] = b64encode(secrets.token_bytes(32)).decode()
    stack = Stack(f"quai-app-check-du-matin-{secrets.token_hex(4)}", tmp_path_factory.mktemp("files"), given)
    files = {
        ".env": f'APP_KEY="base64:{given["key"]}"\nDB_PASSWORD="{given["laravel"]}"\nDEMO_PASSWORD="{given["demo"]}"\n',
        "root": f"{given['root']}\n",
        "laravel": given["laravel"],
        "laravel.cnf": f'[client]\nuser=laravel\npassword="{given["laravel"]}"\n',
    }
    for name, content in files.items():
        (stack.directory / name).write_text(content)
        (stack.directory / name).chmod(0o444)
    docker("network", "create", stack.name)
    try:
        stack.run_database("db", "db")
        stack.run_app("app", "1.0.0")
        eventually("the application reaches its database", partial(stack.healthy, "app"))
        stack.artisan("app", "migrate", "--force")
        yield stack
    finally:
        stack.down()


def test_images_carry_their_version(images: list[str]) -> None:
    own = [image for image in images if image.startswith(f"{APP}:")]
    assert len(own) == 7
    for image in own:
        labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image).stdout)
        assert labels["org.opencontainers.image.version"] == image.partition(":")[2]


def test_releases_share_every_layer_but_the_last(images: list[str]) -> None:
    layers = [
        json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image).stdout)
        for image in images
        if image.startswith(f"{APP}:")
    ]
    assert {tuple(one[:-1]) for one in layers} == {tuple(layers[0][:-1])}


def test_a_release_is_healthy_before_and_useful_after_its_migrations(stack: Stack) -> None:
    """What the guide looks at after a start: HTTP 200, and migrate:status without an error."""
    assert stack.http("app", "/").status == 200
    status = stack.artisan("app", "migrate:status").stdout
    assert re.findall(r"^ +(\w+) \.+ \[1\] Ran", status, re.MULTILINE) == FIRST
    assert stack.migrations("app") == {
        "version": "1.0.0", "applied": FIRST, "pending": [], "failed": [], "unknown": [], "irreversible": [],
    }  # fmt: skip
    assert "Nothing to migrate" in stack.artisan("app", "migrate", "--force").stdout


def test_health_and_version(stack: Stack) -> None:
    health = stack.http("app", "/health").json
    assert (health["status"], health["database"]) == ("ok", "ok")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", health["timestamp"])
    stack.exec("app", "wget", "--quiet", "--spider", "http://127.0.0.1:8001/health")
    assert stack.http("app", "/version").json == {"service": "check-du-matin", "version": "1.0.0"}
    assert '<meta name="version" content="1.0.0">' in stack.http("app", "/").text


@pytest.mark.parametrize(("service", "uid"), [("app", "33"), ("db", "999")])
def test_services_run_without_root(stack: Stack, service: str, uid: str) -> None:
    assert stack.exec(service, "id", "-u").stdout.strip() == uid


def test_login_needs_the_token_and_sets_a_safe_session(stack: Stack) -> None:
    visitor = Visitor(stack, "app")
    page = visitor.request("/login")
    cookies = {text.partition("=")[0]: text.lower() for text in page.headers.get_all("Set-Cookie", [])}
    attributes = set(cookies["check_du_matin_session"].split("; "))
    assert {"httponly", "secure", "samesite=lax", "path=/"} <= attributes
    before = dict(visitor.cookies)

    without = visitor.request("/login", "POST", email=EMAIL, password=stack.secrets["demo"])
    assert without.status == 419
    assert visitor.request("/checks").headers["Location"] == f"{URL}/login"

    done = visitor.request("/login", "POST", _token=visitor.token, email=EMAIL, password=stack.secrets["demo"])
    assert (done.status, done.headers["Location"]) == (302, f"{URL}/checks")
    # A session that existed before the login must not become the one that is logged in.
    stale = Visitor(stack, "app", before)
    assert stale.request("/checks").status == 302
    checks = visitor.request("/checks")
    assert checks.status == 200
    assert EMAIL in checks.text
    assert visitor.request("/logout", "POST", _token=visitor.token).status == 302
    assert visitor.request("/checks").status == 302


@pytest.mark.parametrize(("email", "password"), [(EMAIL, "wrong"), ("somebody@example.org", "wrong"), (EMAIL, "")])
def test_login_refuses(stack: Stack, email: str, password: str) -> None:
    visitor = Visitor(stack, "app")
    assert visitor.login(password, email).headers["Location"] == f"{URL}/login"
    assert visitor.request("/checks").status == 302


def test_pages_have_hashed_assets(stack: Stack, images: list[str]) -> None:
    page = stack.http("app", "/").text
    assets = set(re.findall(rf'"{URL}(/build/assets/app-[0-9a-f]{{8}}\.(?:css|js))"', page))
    assert len(assets) == 2
    for asset in assets:
        answer = stack.http("app", asset)
        assert answer.status == 200
        assert b"/* release 1.0.0 */" in answer.body
        assert "Set-Cookie" not in answer.headers
    assert stack.http("app", "/build/assets/app-00000000.css").status == 404
    following = docker("run", "--rm", f"{APP}:1.1.0", "cat", "public/build/manifest.json").stdout
    assert f"{APP}:1.1.0" in images
    assert not any(asset.removeprefix("/build/") in following for asset in assets)


def test_caches_of_the_guide_are_made_while_it_serves(stack: Stack) -> None:
    for command in CACHES:
        stack.artisan("app", command)
    assert {"config.php", "routes-v7.php"} <= set(stack.exec("app", "ls", "bootstrap/cache").stdout.split())
    assert stack.http("app", "/login").status == 200
    assert stack.http("app", "/version").json["version"] == "1.0.0"
    stack.artisan("app", "migrate:status")


def test_executions_are_queued_once_and_counted(stack: Stack) -> None:
    identity = stack.submit("app", 100, "once")
    assert stack.submit("app", 100, "once") == identity
    [done] = stack.completed("app", [identity])
    assert done == {"id": "once", "status": "completed", "starts": 1, "completions": 1}
    summary = stack.http("app", "/api/executions-summary").json
    assert (summary["lost"], summary["repeated"]) == ([], [])
    assert summary["total"] == sum(summary["counts"].values())
    # An execution whose job vanished is exactly what `lost` is for.
    stack.sql("INSERT INTO executions (id, milliseconds, created_at) VALUES ('vanished', 1, NOW())")
    try:
        assert stack.http("app", "/api/executions-summary").json["lost"] == ["vanished"]
    finally:
        stack.sql("DELETE FROM executions WHERE id = 'vanished'")


@pytest.mark.parametrize("body", [b'{"id": "4 2"}', b'{"ms": -1}', b'{"ms": "soon"}'])
def test_execution_refuses(stack: Stack, body: bytes) -> None:
    answer = stack.http("app", "/api/executions", "POST", body=body, **{"Content-Type": "application/json"})
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")


def test_killed_worker_loses_no_execution(stack: Stack) -> None:
    ids = [stack.submit("app", 1500) for _ in range(2)]
    eventually("one is begun", lambda: any(one["starts"] for one in stack.executions("app", ids)))
    stack.exec("app", "pkill", "-KILL", "-f", "queue:work")
    done = stack.completed("app", ids)
    assert sorted(one["starts"] for one in done) == [1, 2]
    assert {one["completions"] for one in done} == {1}


def test_checks_are_made_worked_on_and_deleted(stack: Stack) -> None:
    assert "created 3 checks" in stack.artisan("app", "checks:create").stdout
    eventually("they are done", lambda: stack.sql("SELECT COUNT(*) FROM checks WHERE result <> 'ok'") == "0")
    stack.sql("UPDATE checks SET created_at = NOW() - INTERVAL 61 DAY ORDER BY id LIMIT 2")
    young = int(stack.sql("SELECT COUNT(*) FROM checks")) - 2
    refused = stack.artisan("app", "checks:delete-old", "--days=none", ok=False)
    assert refused.returncode == 2
    assert "deleted 2 checks older than 60 days" in stack.artisan("app", "checks:delete-old", "--days=60").stdout
    assert int(stack.sql("SELECT COUNT(*) FROM checks")) == young


def test_mail_goes_through_the_relay(stack: Stack) -> None:
    with Relay(stack.gateway) as relay:
        stack.run_app("mailer", "1.0.0", "sleep", "600", MAIL_PORT=str(relay.port))
        assert stack.artisan("mailer", "checks:report").returncode == 0
        relay.shutdown()
    [mail] = relay.mails
    assert "Subject: Check du Matin" in mail
    # Nobody listens there now: the run fails and says so, and the guide's search for `mail` finds it.
    failed = stack.artisan("mailer", "checks:report", ok=False)
    assert failed.returncode == 1
    assert '"msg":"mail not sent"' in failed.stderr
    assert "MAIL_HOST=relay" in stack.exec("mailer", "env").stdout


def test_stopped_release_finishes_what_it_began(stack: Stack) -> None:
    stack.run_app("beside", "1.0.0")
    eventually("it is healthy", partial(stack.healthy, "beside"))
    address = stack.address("beside")
    answers: list[Answer] = []
    request = threading.Thread(target=lambda: answers.append(stack.http("beside", "/slow?ms=3000")))
    request.start()
    eventually("it is being answered", lambda: stack.said("beside", "slow request begun"))
    stop = threading.Thread(target=docker, args=("stop", "--time", "30", stack.container("beside")))
    stop.start()

    def refused() -> bool:
        connection = http.client.HTTPConnection(*address, timeout=2)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/version")
            connection.getresponse()
            return False
        return True

    eventually("new requests are refused", refused, 2.5)
    assert request.is_alive()
    request.join()
    stop.join()
    assert [(answer.status, answer.json["version"]) for answer in answers] == [(200, "1.0.0")]
    assert stack.state("beside", ".State.ExitCode") == "0"


def test_stopped_release_hands_its_jobs_on(stack: Stack) -> None:
    stack.run_app("worker", "1.0.0")
    eventually("it is healthy", partial(stack.healthy, "worker"))
    ids = [stack.submit("app", 700) for _ in range(6)]
    eventually("work begins", lambda: sum(one["starts"] for one in stack.executions("app", ids)) >= 2)
    docker("stop", "--time", "30", stack.container("worker"))
    assert stack.state("worker", ".State.ExitCode") == "0"
    assert {(one["starts"], one["completions"]) for one in stack.completed("app", ids)} == {(1, 1)}


def test_releases_beside_each_other(stack: Stack) -> None:
    """1.0.0 serves while 1.1.0 migrates; both know the same session and read each other's checks."""
    visitor = Visitor(stack, "app")
    visitor.login(stack.secrets["demo"])
    stack.run_app("next", "1.1.0", PORT="9001")
    pending = stack.migrations("next")
    assert (pending["pending"], pending["irreversible"]) == ([EXPAND], [])
    stack.artisan("next", "migrate", "--force")
    assert stack.exec("next", "wget", "-q", "-O-", "http://127.0.0.1:9001/version").stdout.count("1.1.0") == 1
    for service in ("app", "next"):
        stack.artisan(service, "checks:create")
    assert stack.migrations("app")["unknown"] == [EXPAND]
    assert visitor.request("/checks").status == 200
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    page = stack.exec("next", "wget", "-q", "-O-", f"--header=Cookie: {cookie}", "http://127.0.0.1:9001/checks").stdout
    assert EMAIL in page
    assert '<meta name="version" content="1.1.0">' in page
    docker("stop", "--time", "30", stack.container("next"))


def test_database_survives_a_kill_and_the_application_waits_for_it(stack: Stack) -> None:
    ids = [stack.submit("app", 300) for _ in range(3)]
    docker("kill", "--signal", "KILL", stack.container("db"))
    answer = stack.http("app", "/health")
    assert (answer.status, answer.json["database"]) == (503, "failing")
    docker("start", stack.container("db"))
    eventually("it is healthy again", partial(stack.healthy, "app"))
    assert {one["completions"] for one in stack.completed("app", ids, 60)} == {1}
    assert stack.state("app", ".RestartCount") == "0"


def test_database_keeps_its_promises(stack: Stack) -> None:
    """Passwords are only in files; users, the guide's commands and a clean stop are as the official image has them."""
    environment = stack.state("db", "json .Config.Env")
    assert not any(value in environment for value in stack.secrets.values())
    process = stack.exec("db", "sh", "-c", "tr '\\0' '\\n' < /proc/$(pidof mariadbd)/cmdline").stdout
    assert not any(value in process for value in stack.secrets.values())
    password = f"MYSQL_PWD={stack.secrets['root']}"
    root = ("mysql", "--host=127.0.0.1", "--user=root", "--batch", "--skip-column-names")
    grants = docker(
        "exec", "--env", password, stack.container("db"), *root, "--execute=SELECT CURRENT_USER()"
    ).stdout.strip()
    assert grants == "root@%"
    for guess in ("wrong", ""):
        tried = ("exec", "--env", f"MYSQL_PWD={guess}", stack.container("db"), *root, "--execute=SELECT 1")
        assert "Access denied" in docker(*tried, ok=False).stderr
    assert "SHOW FULL PROCESSLIST" in stack.sql("SHOW FULL PROCESSLIST")
    assert "checks_created_at_index" in stack.sql("SHOW INDEX FROM checks")
    for tool in ("mysqlcheck", "mysqldump"):
        done = stack.exec(
            "db", tool, "--defaults-file=/run/laravel.cnf", "--host=127.0.0.1", "check_du_matin", "checks"
        )
        assert "checks" in done.stdout


def test_database_asks_for_its_passwords(images: list[str]) -> None:
    assert DATABASE in images
    done = docker("run", "--rm", "--network", "none", DATABASE, ok=False)
    missing = "fatal: missing environment variables: MYSQL_ROOT_PASSWORD (or MYSQL_ROOT_PASSWORD_FILE)\n"
    assert (done.returncode, done.stderr) == (78, missing)


GOOD = {**OWN_ENVIRONMENT, "DB_PASSWORD": "x", "APP_KEY": f"base64:{b64encode(bytes(32)).decode()}"}
REQUIRED = "APP_KEY, DB_HOST, DB_DATABASE, DB_USERNAME, DB_PASSWORD, MAIL_HOST"


@pytest.mark.parametrize(
    ("command", "given", "message"),
    [
        ((), {"APP_URL": URL}, f"missing environment variables: {REQUIRED}"),
        (("php", "artisan", "migrate", "--force"), {**GOOD, "APP_KEY": ""}, "missing environment variables: APP_KEY"),
        ((), {**GOOD, "APP_KEY": "short"}, "APP_KEY is not base64: and 32 bytes in base64"),
        ((), {**GOOD, "PORT": "web"}, 'PORT="web" is not a whole number from 1 to 65535'),
        ((), {**GOOD, "APP_DEBUG": "maybe"}, 'APP_DEBUG="maybe" is neither true nor false'),
        ((), {**GOOD, "APP_URL": "checking"}, 'APP_URL="checking" is not an address such as https://checking.c2s.fr'),
    ],
)  # fmt: skip
def test_wrong_environment_stops_the_start(
    images: list[str], command: tuple[str, ...], given: dict[str, str], message: str
) -> None:
    assert f"{APP}:1.0.0" in images
    options = [f"--env={name}={value}" for name, value in given.items()]
    done = docker("run", "--rm", "--network", "none", *options, f"{APP}:1.0.0", *command, ok=False)
    assert (done.returncode, done.stdout, done.stderr) == (78, "", f"fatal: {message}\n")


def test_scheduler_lives_and_has_the_times_of_the_guide(stack: Stack) -> None:
    listed = stack.artisan("app", "schedule:list").stdout
    assert re.search(r"\*/5 +\* +\* +\* +\* +php artisan checks:create", listed)
    assert re.search(r"0 +2 +\* +\* +\* +php artisan checks:delete-old", listed)
    eventually("a heartbeat is logged", lambda: stack.said("app", "schedule heartbeat"), 75)
    eventually("the run is told", lambda: stack.said("app", "schedule"))
    assert re.fullmatch(r"[\d-]{10}T[\d:]{8}Z", stack.http("app", "/api/scheduler").json["heartbeat"])


def test_faulty_releases(stack: Stack) -> None:
    """Each is bad in its own way, and 1.0.0 still works after all of them."""
    for fault in ("never-healthy", "crash-later", "migration-fails", "migration-hangs"):
        stack.run_app(fault, f"1.3.0-{fault}")
    crash = eventually("it crashed", lambda: stack.state("crash-later", ".State.Status") == "exited", 40)
    assert crash
    assert stack.state("crash-later", ".State.ExitCode") == "1"
    assert stack.said("crash-later", "started")

    answer = eventually("it answers", lambda: stack.http("never-healthy", "/health"))
    assert (answer.status, answer.json["status"]) == (503, "failing")

    failed = stack.artisan("migration-fails", "migrate", "--force", ok=False)
    assert failed.returncode == 1
    assert "no_such_column" in failed.stdout + failed.stderr
    name = "2026_04_01_000000_fail"
    assert stack.migrations("migration-fails")["failed"] == [name]
    assert json.loads(stack.artisan("migration-fails", "migrations:state", f"--resolve={name}").stdout)["failed"] == []

    hanging = ("timeout", "6", "php", "artisan", "migrate", "--force")
    assert stack.exec("migration-hangs", *hanging, ok=False).returncode == 124
    assert stack.migrations("migration-hangs")["failed"] == ["2026_04_01_000000_hang"]
    assert stack.http("app", "/").status == 200
    stack.artisan("app", "checks:create")


def test_irreversible_release_takes_what_the_first_needs(stack: Stack) -> None:
    stack.run_app("last", "1.2.0")
    eventually("it is up", partial(stack.healthy, "last"))
    assert stack.migrations("last")["irreversible"] == [CONTRACT]
    stack.artisan("last", "migrate", "--force")
    stack.artisan("last", "checks:create")
    assert stack.artisan("app", "checks:create", ok=False).returncode == 1
    back = stack.artisan("last", "migrate:rollback", "--force", "--step=1", ok=False)
    assert back.returncode == 1
    assert "restore the database" in back.stdout + back.stderr


def test_logs_are_json_and_hold_no_secret(stack: Stack) -> None:
    """The last test: it reads what all the others left behind."""
    file = stack.exec("app", "cat", "storage/logs/laravel.log").stdout
    assert {json.loads(line)["service"] for line in file.splitlines()} <= {"web", "artisan"}
    written = {name: docker("logs", name) for name in stack.containers}
    everything = file + "".join(done.stdout + done.stderr for done in written.values())
    assert {name for name, value in stack.secrets.items() if value in everything} == set()
    own = written[stack.container("app")]
    assert all(json.loads(line)["level"] for line in own.stdout.splitlines())
    assert [line for line in own.stderr.splitlines() if not line.startswith(("{", "["))] == []
