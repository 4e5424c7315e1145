# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The NIASOTAC stand-in keeps its contract: checked out from git, built, started and stopped for real."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.apps.repository import make

pytestmark = pytest.mark.docker

PLACE = Path(__file__).parent / "niasotac"
USER = "niasotac"
RELEASES = "/srv/niasotac/releases"
EMAIL = "demo@niasotac.com"
SECRETS = ("SECRET_KEY", "DATABASE_PASSWORD", "DEMO_PASSWORD")
PORTS = (8000, 8001, 8002)
MANAGE = ("venv/bin/python", "manage.py")
# What the declaration lists under source.build, after the virtual environment and the packages.
CHECKS = ((*MANAGE, "check"), (*MANAGE, "collectstatic", "--noinput", "--verbosity=0"))
# TLS ends in front of it.
PROXIED = {"Host": "api.niasotac.com", "X-Forwarded-Proto": "https"}


def docker(*arguments: str, ok: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False)
    if ok and done.returncode != 0:
        shown = f"docker {' '.join(arguments[:3])} … {' '.join(arguments[-3:])}"
        pytest.fail(f"{shown}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def eventually(what: str, probe: Callable[[], Any], seconds: float = 60) -> Any:
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
    def cookies(self) -> dict[str, str]:
        return {text.partition("=")[0]: text for text in self.headers.get_all("Set-Cookie", [])}


@dataclass
class Host:
    """A container with PostgreSQL, in which releases are built and run as an unprivileged user."""

    name: str
    secrets: dict[str, str]
    published: dict[int, int] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return {
            "HOST": "0.0.0.0",
            "ALLOWED_HOSTS": "api.niasotac.com",
            "DATABASE_ENGINE": "postgresql",
            "DATABASE_HOST": "127.0.0.1",
            "DATABASE_NAME": "niasotac_db",
            "DATABASE_USER": "niasotac_user",
            "MEDIA_ROOT": "/srv/niasotac/shared/media",
            "LOG_FILE": "/var/log/niasotac/django.log",
            "SLOW_QUERY_MS": "1",
            "STATS_LEASE_SECONDS": "2",
            **self.secrets,
        }

    def root(self, *command: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        return docker("exec", self.name, *command, ok=ok)

    def run(
        self, directory: str, *command: str, env: dict[str, str] | None = None, ok: bool = True, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """A command in a directory below the releases, as the project's user."""
        given = [f"--env={name}={value}" for name, value in (env or {}).items()]
        where = ["--user", USER, "--workdir", f"{RELEASES}/{directory}"]
        return docker("exec", *where, *given, self.name, *command, ok=ok, timeout=timeout)

    def manage(self, tag: str, *command: str, ok: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        return self.run(f"{tag}/backend", *MANAGE, *command, env={**self.env, **more}, ok=ok)

    def check_out(self, tag: str) -> None:
        clone = ["git", "clone", "--quiet", "--depth=1", "--config=advice.detachedHead=false"]
        self.run(".", *clone, f"--branch={tag}", "file:///srv/niasotac.git", f"{RELEASES}/{tag}")

    def borrow(self, tag: str, *paths: str) -> None:
        """What was installed for 1.0.0: the locks of all releases are the same."""
        for path in paths:
            self.run(tag, "ln", "-s", f"{RELEASES}/1.0.0/{path}", path)

    def status(self, tag: str) -> Any:
        """Which migrations of the application are in which state; those of Django stay the same."""
        document = json.loads(self.manage(tag, "migration_status").stdout)
        return {
            state: [name.removeprefix("showcase.") for name in names if name.startswith("showcase.")]
            for state, names in document.items()
        }

    def background(self, tag: str, name: str, *command: str, **more: str) -> None:
        """Start a command in the back end of a release; its output, process and exit code are in files of this name."""
        self.root("rm", "-f", *(f"/tmp/{name}.{kind}" for kind in ("log", "pid", "exit")))
        file = f"/tmp/{name}"
        script = f"{' '.join(command)} > {file}.log 2>&1 & echo $! > {file}.pid; wait $!; echo $? > {file}.exit"
        given = [f"--env={variable}={value}" for variable, value in {**self.env, **more}.items()]
        where = ["--user", USER, "--workdir", f"{RELEASES}/{tag}/backend"]
        docker("exec", "--detach", *where, *given, self.name, "sh", "-c", script)

    def start(self, tag: str, port: int) -> None:
        self.background(tag, str(port), "venv/bin/gunicorn", PORT=str(port))
        eventually(f"{tag} answers on {port}", lambda: self.http(port, "/health"))

    def signal(self, name: str | int, signal: str = "TERM") -> None:
        self.root("sh", "-c", f"kill -{signal} $(cat /tmp/{name}.pid)")

    def ended(self, name: str | int) -> int:
        """The exit code, once there is one."""
        return int(eventually(f"{name} ends", lambda: self.root("cat", f"/tmp/{name}.exit", ok=False).stdout))

    def stop(self, port: int) -> None:
        self.signal(port)
        assert self.ended(port) == 0

    def listeners(self) -> set[tuple[str, int]]:
        """Addresses and ports, as the kernel has them."""
        rows = [line.split() for line in self.root("cat", "/proc/net/tcp").stdout.splitlines()[1:]]
        found = [row[1].split(":") for row in rows if row[3] == "0A"]
        return {(".".join(str(byte) for byte in reversed(bytes.fromhex(ip))), int(port, 16)) for ip, port in found}

    def http(
        self, port: int, path: str, method: str = "GET", *, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        sent = {**PROXIED, **(headers or {})}
        data = body if isinstance(body, str) or body is None else json.dumps(body)
        if data is not body:
            sent["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.published[port], timeout=20)
        try:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()


@pytest.fixture(scope="module", name="image")
def _image() -> str:
    """Everything images.yml lists; a moment when nothing changed."""
    reference = ""
    for image in yaml.safe_load((PLACE / "images.yml").read_text()):
        reference = f"{image['name']}:latest"
        docker("build", "--quiet", "--tag", reference, str(PLACE / image["context"]), timeout=900)
    return reference


@pytest.fixture(scope="module", name="host")
def _host(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """1.0.0 and 1.1.0 built, 1.0.0 migrated and running on port 8000."""
    repository = tmp_path_factory.mktemp("git") / "niasotac.git"
    make(PLACE / "releases.yml", repository)
    host = Host(f"quai-app-niasotac-{secrets.token_hex(4)}", {name: secrets.token_hex(24) for name in SECRETS})
    publish = [f"--publish=127.0.0.1::{port}" for port in PORTS]
    docker("run", "--detach", "--init", "--name", host.name, *publish, image)
    try:
        for port in PORTS:
            host.published[port] = int(docker("port", host.name, str(port)).stdout.split()[0].rpartition(":")[2])
        host.root("install", "-d", "-o", USER, "-g", USER, RELEASES, "/srv/niasotac/shared/media", "/var/log/niasotac")
        docker("cp", "--quiet", str(repository), f"{host.name}:/srv/niasotac.git")
        host.root("chown", "-R", USER, "/srv/niasotac.git")
        host.root("pg_ctlcluster", "17", "main", "start")
        role = f"CREATE ROLE niasotac_user LOGIN PASSWORD '{host.secrets['DATABASE_PASSWORD']}'"
        for statement in (role, "CREATE DATABASE niasotac_db OWNER niasotac_user"):
            docker("exec", "--user", "postgres", host.name, "psql", "-qc", statement)
        host.check_out("1.0.0")
        host.run("1.0.0/backend", "python3", "-m", "venv", "venv")
        install = (
            "venv/bin/pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
            "requirements.txt",
        )
        host.run("1.0.0/backend", *install)
        host.run("1.0.0/frontend", "npm", "ci", "--ignore-scripts")
        host.run("1.0.0/frontend", "npm", "run", "lint")
        host.check_out("1.1.0")
        host.borrow("1.1.0", "backend/venv", "frontend/node_modules")
        for tag in ("1.0.0", "1.1.0"):
            host.run(f"{tag}/frontend", "npm", "run", "build")
            for command in CHECKS:
                host.run(f"{tag}/backend", *command, env={"DEBUG": "true"})
        host.manage("1.0.0", "migrate", "--noinput", "--verbosity=0")
        host.manage("1.0.0", "ensure_admin")
        assert host.manage("1.0.0", "populate_data").stdout == "6 products added\n"
        host.start("1.0.0", 8000)
        yield host
    finally:
        docker("rm", "--force", "--volumes", host.name, ok=False)


def test_health_and_version(host: Host) -> None:
    assert host.http(8000, "/health").json == {"status": "ok", "version": "1.0.0"}
    assert host.http(8000, "/version").json == {"service": "niasotac-backend", "version": "1.0.0"}


def test_catalogue(host: Host) -> None:
    everything = host.http(8000, "/api/products/").json
    assert everything["count"] == len(everything["results"]) == 6
    found = host.http(8000, "/api/products/?search=hp+pavilion").json
    assert [one["slug"] for one in found["results"]] == ["pavilion-15-hp"]
    assert host.http(8000, "/api/products/?search=nothing-like-it").json == {"count": 0, "results": []}
    computers = host.http(8000, "/api/products/?category=Ordinateurs+portables").json
    assert computers["count"] == 3
    assert {one["slug"] for one in host.http(8000, "/api/products/?featured=true").json["results"]} == {
        "pavilion-15-hp",
        "xps-15-dell",
    }
    assert host.http(8000, "/api/products/xps-15-dell/").json["price"] == 850_000
    assert host.http(8000, "/api/products/nothing/").status == 404
    assert {"name": "Téléphones", "parent": None} in host.http(8000, "/api/categories/").json["results"]


def test_images_are_below_media(host: Host) -> None:
    product = host.http(8000, "/api/products/xps-15-dell/").json
    assert product["image"] == "/media/products/xps-15-dell.jpg"
    image = host.http(8000, product["image"])
    assert (image.headers["Content-Type"], image.body[:3]) == ("image/jpeg", b"\xff\xd8\xff")
    listed = host.manage("1.0.0", "list_images").stdout.split()
    stored = host.root("ls", "/srv/niasotac/shared/media/products").stdout.split()
    assert sorted(listed) == sorted(f"products/{name}" for name in stored)


def test_statistics_of_the_guide(host: Host) -> None:
    numbers = {"products": 6, "in_stock": 5, "featured": 2, "categories": 5}
    assert host.http(8000, "/api/statistics/").json == numbers
    assert json.loads(host.manage("1.0.0", "statistics").stdout) == numbers
    assert host.manage("1.0.0", "statistics", "in_stock").stdout == "5\n"
    assert host.manage("1.0.0", "populate_data").stdout == "0 products added\n"


def test_the_page_carries_version_whatsapp_and_hashed_names(host: Host) -> None:
    assets = {}
    for tag in ("1.0.0", "1.1.0"):
        page = host.run(f"{tag}/frontend/dist", "cat", "index.html").stdout
        assert f'<meta name="version" content="{tag}">' in page
        assert "https://wa.me/" in page
        assets[tag] = re.findall(r'(?:src|href)="/(assets/index-[\w-]{8}\.(?:js|css))"', page)
        assert len(assets[tag]) == 2
        host.run(f"{tag}/frontend/dist", "test", "-s", *assets[tag][:1])
    # The style did not change and keeps its name.
    assert len({*assets["1.0.0"], *assets["1.1.0"]}) in {2, 3}


def test_login_of_programs(host: Host) -> None:
    given = {"email": EMAIL, "password": host.secrets["DEMO_PASSWORD"]}
    answer = host.http(8000, "/api/session/", "POST", body=given)
    assert (answer.status, answer.json) == (200, {"user": {"email": EMAIL, "staff": True}})
    cookie = answer.cookies["sessionid"]
    assert {"HttpOnly", "Secure", "SameSite=Lax"} <= set(cookie.split("; "))
    jar = {"Cookie": cookie.partition(";")[0]}
    assert host.http(8000, "/api/session/", headers=jar).json == answer.json
    assert host.http(8000, "/admin/", headers=jar).status == 200
    assert host.http(8000, "/api/session/", "DELETE", headers=jar).status == 200
    assert host.http(8000, "/api/session/", headers=jar).status == 401
    wrong = host.http(8000, "/api/session/", "POST", body={**given, "password": "wrong"})
    assert (wrong.status, wrong.json, wrong.cookies) == (401, {"error": "invalid_credentials"}, {})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert host.http(8000, "/api/session/", "POST", body="email=x&password=y", headers=form).status == 400
    assert host.http(8000, "/api/session/", "POST", body=[]).status == 400


def test_login_to_the_administration(host: Host) -> None:
    login = "/admin/login/?next=/admin/"
    page = host.http(8000, login)
    token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page.body)
    assert token
    # Its style is there, under a name with a hash.
    style = re.search(rb'href="(/static/admin/css/base\.[0-9a-f]{12}\.css)"', page.body)
    assert style
    assert host.http(8000, style[1].decode()).status == 200
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Cookie": page.cookies["csrftoken"].partition(";")[0],
        "Referer": f"https://{PROXIED['Host']}{login}",
    }
    form = f"csrfmiddlewaretoken={token[1].decode()}&username={EMAIL}&password="
    refused = host.http(8000, login, "POST", body=form + "wrong", headers=headers)
    assert (refused.status, "sessionid" in refused.cookies) == (200, False)
    entered = host.http(8000, login, "POST", body=form + host.secrets["DEMO_PASSWORD"], headers=headers)
    assert (entered.status, entered.headers["Location"], "sessionid" in entered.cookies) == (302, "/admin/", True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({}, "missing environment variables: SECRET_KEY, ALLOWED_HOSTS, DATABASE_ENGINE", id="nothing"),
        pytest.param(
            {"SECRET_KEY": "x", "ALLOWED_HOSTS": "x", "DATABASE_ENGINE": "postgresql"},
            "missing environment variables: DATABASE_HOST, DATABASE_NAME, DATABASE_USER, DATABASE_PASSWORD",
            id="postgresql",
        ),
        pytest.param({"DEBUG": "true", "PORT": "0"}, 'PORT="0" is not a number from 1 to 65535', id="port"),
        pytest.param({"DEBUG": "yes", "SECRET_KEY": "x"}, 'DEBUG="yes" is not true or false', id="debug"),
    ],
)
def test_wrong_environment_stops_the_start(host: Host, given: dict[str, str], message: str) -> None:
    commands = (["venv/bin/gunicorn"], [*MANAGE, "check"])
    for done in [host.run("1.0.0/backend", *command, env=given, ok=False) for command in commands]:
        assert (done.returncode, done.stdout) == (78, "")
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("fatal: ")
        assert message in done.stderr


def test_the_administrator_needs_a_password(host: Host) -> None:
    done = host.manage("1.0.0", "ensure_admin", ok=False, DEMO_PASSWORD="")
    assert (done.returncode, done.stderr) == (78, "fatal: missing environment variables: DEMO_PASSWORD\n")


def test_it_listens_where_the_environment_says(host: Host) -> None:
    assert ("0.0.0.0", 8000) in host.listeners()
    host.background("1.0.0", "8009", "venv/bin/gunicorn", PORT="8009", HOST="")
    found = eventually("it listens", lambda: [place for place in host.listeners() if place[1] == 8009])
    assert found == [("127.0.0.1", 8009)]
    host.stop(8009)


def test_next_release_works_beside_the_old_one(host: Host) -> None:
    before = host.status("1.1.0")
    assert (before["applied"], before["pending"]) == (["0001_initial"], ["0002_former_price"])
    host.manage("1.1.0", "migrate", "--noinput", "--verbosity=0")
    after = host.status("1.1.0")
    assert (after["applied"], after["pending"]) == (["0001_initial", "0002_former_price"], [])
    assert host.status("1.0.0")["unknown"] == ["0002_former_price"]
    host.start("1.1.0", 8001)
    assert [host.http(port, "/health").json["version"] for port in (8000, 8001)] == ["1.0.0", "1.1.0"]
    shown = [host.http(port, "/api/products/xps-15-dell/").json for port in (8000, 8001)]
    assert ["former_price" in one for one in shown] == [False, True]
    # The old code still writes: it adds again what was deleted, image included.
    delete = "from showcase.models import Product; Product.objects.get(slug='xps-15-dell').delete()"
    host.manage("1.1.0", "shell", "--command", delete)
    assert host.http(8001, shown[0]["image"]).status == 404
    assert host.manage("1.0.0", "populate_data").stdout == "1 products added\n"
    assert host.http(8001, "/api/products/xps-15-dell/").json == {**shown[1], "former_price": None}
    # A session of the one is one of the other.
    given = {"email": EMAIL, "password": host.secrets["DEMO_PASSWORD"]}
    cookie = host.http(8000, "/api/session/", "POST", body=given).cookies["sessionid"]
    assert host.http(8001, "/api/session/", headers={"Cookie": cookie.partition(";")[0]}).status == 200


def test_requests_in_flight_are_answered(host: Host) -> None:
    """Of 1.0.0, which runs beside 1.1.0 since the test above."""
    answers: list[Answer] = []
    request = threading.Thread(target=lambda: answers.append(host.http(8000, "/slow?ms=8000")))
    request.start()
    eventually("it is being answered", lambda: "slow request begun" in host.root("cat", "/tmp/8000.log").stdout)
    host.signal(8000)
    eventually("the listener is closed", lambda: all(port != 8000 for _ip, port in host.listeners()), 7)
    assert answers == []
    request.join()
    assert [(answer.status, answer.json["version"]) for answer in answers] == [(200, "1.0.0")]
    assert host.ended(8000) == 0
    assert host.http(8001, "/slow?ms=1").json["version"] == "1.1.0"
    assert host.http(8001, "/slow?ms=10001").status == 400


def test_each_run_of_the_timer_is_in_the_ledger(host: Host) -> None:
    host.manage("1.1.0", "refresh_stats", "--slot", "monday")
    host.manage("1.1.0", "refresh_stats", "--slot", "monday")
    ledger = host.http(8001, "/executions-summary").json
    assert ledger["executions"]["monday"] == {"starts": 1, "completions": 1, "release": "1.1.0"}
    assert (ledger["lost"], ledger["repeated"]) == ([], [])
    assert ledger["counts"] == {"completed": ledger["total"], "processing": 0, "waiting": 0}


@pytest.mark.parametrize(("signal", "count"), [("TERM", "waiting"), ("KILL", "lost")])
def test_an_interrupted_run_is_ended_by_the_next(host: Host, signal: str, count: str) -> None:
    slot = f"stopped-by-{signal}"
    host.background("1.1.0", "job", *MANAGE, "refresh_stats", "--slot", slot, STATS_STEP_MS="60000")

    def summary() -> Any:
        return host.http(8001, "/executions-summary").json

    eventually("it is begun", lambda: summary()["executions"].get(slot, {}).get("starts") == 1)
    host.signal("job", signal)
    assert host.ended("job") == (0 if signal == "TERM" else 137)
    if count == "lost":
        assert eventually("its lease ends", lambda: summary()["lost"]) == [slot]
    else:
        assert (summary()["counts"]["waiting"], summary()["lost"]) == (1, [])
    host.manage("1.1.0", "refresh_stats")
    ledger = summary()
    assert ledger["executions"][slot] == {"starts": 2, "completions": 1, "release": "1.1.0"}
    assert (ledger["lost"], ledger["repeated"], ledger["counts"]["waiting"]) == ([], [], 0)


def faulty(host: Host, fault: str) -> str:
    tag = f"1.3.0-{fault}"
    host.check_out(tag)
    host.borrow(tag, "backend/venv", "frontend/node_modules", "backend/staticfiles")
    return tag


def test_fault_never_healthy(host: Host) -> None:
    host.start(faulty(host, "never-healthy"), 8002)
    answer = host.http(8002, "/health")
    assert (answer.status, answer.json["status"]) == (503, "failing")
    assert host.http(8002, "/version").json["version"] == "1.3.0-never-healthy"
    host.stop(8002)


def test_fault_crash_later(host: Host) -> None:
    host.start(faulty(host, "crash-later"), 8002)
    assert host.http(8002, "/health").status == 200
    assert host.ended(8002) == 1
    eventually("nothing listens", lambda: all(port != 8002 for _ip, port in host.listeners()), 10)


def test_fault_migration_fails(host: Host) -> None:
    tag = faulty(host, "migration-fails")
    done = host.manage(tag, "migrate", "--noinput", ok=False)
    assert done.returncode == 1
    assert "migration showcase.0003_fails failed: " in done.stderr
    state = host.status(tag)
    assert (state["pending"], state["failed"]) == ([], ["0003_fails"])
    # All of it was taken back, so that the running release goes on.
    assert host.http(8001, "/api/products/xps-15-dell/").json["price"] == 850_000
    assert host.status("1.1.0")["failed"] == []
    host.manage(tag, "migration_status", "--resolve", "showcase.0003_fails")
    assert host.status(tag)["pending"] == ["0003_fails"]
    assert host.manage(tag, "migration_status", "--resolve", "showcase.0003_fails", ok=False).returncode == 1


def test_fault_migration_hangs(host: Host) -> None:
    tag = faulty(host, "migration-hangs")
    host.background(tag, "migrate", *MANAGE, "migrate", "--noinput")
    eventually("it is begun", lambda: host.status(tag)["failed"] == ["0003_hangs"])
    refused = host.manage("1.1.0", "migrate", "--noinput", ok=False)
    assert (refused.returncode, refused.stderr) == (1, "CommandError: another migration is running\n")
    host.signal("migrate")
    eventually("its lock ends", lambda: host.manage("1.1.0", "migrate", "--noinput", ok=False).returncode == 0)
    assert host.status("1.1.0") == {
        "applied": ["0001_initial", "0002_former_price"],
        "pending": [],
        "failed": [],
        "unknown": [],
        "irreversible": [],
    }


def test_fault_build_fails(host: Host) -> None:
    done = host.run(f"{faulty(host, 'build-fails')}/frontend", "npm", "run", "build", ok=False)
    assert done.returncode != 0
    assert "NotThere.jsx" in done.stdout + done.stderr


def test_an_irreversible_migration_leaves_the_oldest_behind(host: Host) -> None:
    host.check_out("1.2.0")
    host.borrow("1.2.0", "backend/venv", "backend/staticfiles")
    before = host.status("1.2.0")
    assert (before["pending"], before["irreversible"]) == (["0003_drop_reference"], ["0003_drop_reference"])
    host.start("1.0.0", 8000)
    assert host.http(8000, "/health").status == 200
    host.manage("1.2.0", "migrate", "--noinput", "--verbosity=0")
    oldest = host.http(8000, "/health")
    assert (oldest.status, oldest.json["reason"]) == (503, "database: ProgrammingError")
    assert host.http(8000, "/api/products/").status == 500
    host.stop(8000)
    assert host.http(8001, "/health").status == 200
    host.start("1.2.0", 8000)
    assert host.http(8000, "/health").json == {"status": "ok", "version": "1.2.0"}
    assert host.http(8000, "/api/products/").json["count"] == 6
    back = host.manage("1.2.0", "migrate", "showcase", "0002", ok=False)
    assert back.returncode == 1
    assert "is not reversible" in back.stderr


def test_sqlite_in_development(host: Host) -> None:
    given = {"DEBUG": "true", "SQLITE_PATH": "/tmp/development.sqlite3", "MEDIA_ROOT": "/tmp/development-media"}

    def manage(*command: str) -> str:
        return host.run("1.2.0/backend", *MANAGE, *command, env=given).stdout

    manage("migrate", "--noinput", "--verbosity=0")
    assert manage("populate_data") == "6 products added\n"
    manage("refresh_stats")
    manage("clearsessions")
    assert json.loads(manage("statistics"))["products"] == 6
    manage("makemigrations", "--check", "--dry-run")


def test_database_away_and_back(host: Host) -> None:
    host.root("pg_ctlcluster", "17", "main", "stop", "--mode=immediate")
    answer = host.http(8000, "/health")
    assert (answer.status, answer.json["reason"]) == (503, "database: OperationalError")
    assert host.http(8000, "/version").status == 200
    host.root("pg_ctlcluster", "17", "main", "start")
    eventually("it recovers by itself", lambda: host.http(8000, "/health").status == 200)


def test_logs_are_json_and_hold_no_secret(host: Host) -> None:
    """The last test: it reads what all the others left behind."""
    written = host.root("sh", "-c", "cat /tmp/800[01].log").stdout
    lines = [json.loads(line) for line in written.splitlines()]
    assert {line["version"] for line in lines} == {"1.1.0", "1.2.0"}
    assert any(line.get("status") == 500 or line.get("status") == 200 for line in lines)
    file = host.root("cat", "/var/log/niasotac/django.log").stdout
    for pattern in (
        r"^WARNING .* admin login failed$",
        r"^INFO .* admin login of user \d+$",
        r"^ERROR ",
        r"slow query: \d+ ms: ",
    ):
        assert re.search(pattern, file, re.MULTILINE), pattern
    everything = written + file
    assert {name for name, value in host.secrets.items() if value in everything} == set()
