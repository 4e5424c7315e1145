# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The TechPlus stand-in keeps its contract: released from git onto a server, interrupted, spoken to from outside."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.console import Console
from lab.images import base, ensure
from tests.apps.repository import make

pytestmark = pytest.mark.docker

PLACE = Path(__file__).parent / "techplus"
NODE = PLACE.parent / "masstock" / "base"
IMAGE = "quai-techplus-server"
EMAIL = "demo@techplus.com"
ENV_FILE = "/etc/techplus/backend.env"
SECRETS = ("DATABASE_PASSWORD", "STRIPE_SECRET_KEY", "SENTRY_KEY", "DEMO_PASSWORD", "OF_THE_CALLER")
BACKEND, WORKER = "techplus-backend", "techplus-worker"
# A small server that systemd boots: what the lab gives its own hosts.
SYSTEM = (
    *("--cap-add=SYS_ADMIN", "--cap-add=NET_ADMIN", "--cap-add=SYS_PTRACE"),
    *(
        "--security-opt=seccomp=unconfined",
        "--security-opt=apparmor=unconfined",
        "--security-opt=systempaths=unconfined",
    ),
    *("--cgroupns=host", "--tmpfs=/run", "--tmpfs=/run/lock", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"),
)
# Stands for Stripe and Sentry: knows one key, keeps what it is told.
OUTSIDE = """
const { appendFileSync } = require('fs');
require('http').createServer((req, res) => {
  let body = '';
  req.on('data', (part) => { body += part; }).on('end', () => {
    if (req.method === 'POST') appendFileSync('/tmp/envelopes', `${req.headers['x-sentry-auth']}\\n${body}`);
    res.statusCode = req.method === 'POST' || req.headers.authorization === `Bearer ${process.argv[1]}` ? 200 : 401;
    res.end('{}');
  });
}).listen(4000, '127.0.0.1');
"""


def docker(
    *arguments: str, ok: bool = True, stdin: str | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["docker", *arguments], input=stdin, capture_output=True, text=True, timeout=timeout, check=False
    )
    if ok and done.returncode != 0:
        pytest.fail(f"docker {' '.join(arguments[:6])} …: exit {done.returncode}\n{done.stdout}{done.stderr}")
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


@dataclass
class Server:
    """One server with PostgreSQL, Redis and pm2 on it."""

    name: str
    secrets: dict[str, str]

    def root(self, script: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        return docker("exec", "--interactive", self.name, "bash", "-euo", "pipefail", ok=ok, stdin=script)

    def run(self, script: str, release: str = "1.0.0", ok: bool = True) -> subprocess.CompletedProcess[str]:
        """As nodejs, in a release, with the environment that its commands get."""
        options = ("--user=nodejs", f"--workdir=/srv/techplus/releases/{release}", f"--env=ENV_FILE={ENV_FILE}")
        return docker("exec", *options, self.name, "bash", "-euo", "pipefail", "-c", script, ok=ok, timeout=300)

    def install(self, release: str) -> None:
        """What a release does before it touches anything that runs. The second one takes the packages of the first."""
        source = "file:///srv/techplus/repository.git"
        self.run(
            f"git -c advice.detachedHead=false clone --quiet --depth 1 --branch {release} {source} {release}\n"
            f"cd {release}\n"
            "if [ -d ../1.0.0/node_modules ]; then cp -al ../1.0.0/node_modules .\n"
            "else npm ci --omit=dev --ignore-scripts --offline; fi\n"
            "npm run --silent build",
            "",
        )

    def start(self, release: str, port: int = 3000, suffix: str = "", only: str = "") -> None:
        only = f"--only {only}{suffix}" if only else ""
        given = f"HOST=0.0.0.0 PORT={port} SUFFIX={suffix} OF_THE_CALLER={self.secrets['OF_THE_CALLER']}"
        self.run(f"{given} pm2 start ecosystem.config.cjs {only}", release)
        # pm2 gives up waiting on a busy machine, and calls that a success.
        eventually(f"{release} answers", lambda: self.http("/version", port=port))

    def migrate(self, release: str, command: str = "db:migrate", ok: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(f"npm run --silent {command}", release, ok)

    def processes(self) -> dict[str, Any]:
        """What pm2 says of each application: its environment with `pid` in it."""
        listed = json.loads(self.run("pm2 jlist --silent", ok=True).stdout)
        return {one["name"]: {**one["pm2_env"], "pid": one["pid"]} for one in listed}

    def address(self) -> str:
        shown = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", self.name)
        return shown.stdout.strip()

    def http(
        self,
        path: str,
        method: str = "GET",
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
        port: int = 3000,
    ) -> Answer:
        connection = http.client.HTTPConnection(self.address(), port, timeout=20)
        try:
            data = None if body is None else json.dumps(body).encode()
            typed = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, data, {**typed, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def redis(self, *command: str) -> str:
        return docker("exec", self.name, "redis-cli", *command).stdout.strip()

    def sql(self, query: str) -> str:
        return self.root(f"su postgres -c 'psql -qAtd techplus -f -' <<'SQL'\n{query}\nSQL").stdout.strip()

    def log(self, name: str = "backend") -> str:
        return self.root(f"cat /var/log/techplus/{name}.log").stdout

    def reserve(self, reservation: str, port: int = 3000, **fields: Any) -> Answer:
        body = {"id": reservation, "date": "2030-05-01", "guests": 2, "contact": "+33 1 00 00 00 00", **fields}
        return self.http("/api/reservations", "POST", body=body, port=port)

    def taken(self, reservation: str, port: int = 3000, **fields: Any) -> None:
        """Reserve, and repeat that where the answer is 503, as the contract has it."""
        eventually(f"{reservation} is taken", lambda: self.reserve(reservation, port, **fields).status in {200, 202})

    def confirmed(self, reservation: str) -> Any:
        def probe() -> Any:
            found = self.http(f"/api/reservations/{reservation}").json
            return found if found.get("status") == "CONFIRMED" else None

        return eventually(f"{reservation} is confirmed", probe)

    def checks(self, port: int = 3000) -> tuple[int, dict[str, bool]]:
        answer = self.http("/health/detailed", port=port)
        return answer.status, answer.json["checks"]


@pytest.fixture(scope="module", name="image")
def _image() -> str:
    ensure([base("debian13")], Console())
    for name, place in (("quai-node", NODE / "node"), ("quai-node-build", NODE / "node-build"), (IMAGE, PLACE)):
        docker("build", "--quiet", "--tag", name, str(place), timeout=600)
    return IMAGE


@pytest.fixture(scope="module", name="server")
def _server(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    repository = tmp_path_factory.mktemp("techplus") / "repository.git"
    make(PLACE / "releases.yml", repository)
    server = Server(f"quai-app-techplus-{secrets.token_hex(4)}", {name: secrets.token_hex(16) for name in SECRETS})
    try:
        prepare(server, image, repository)
        yield server
    finally:
        docker("rm", "--force", "--volumes", server.name, ok=False)


def prepare(server: Server, image: str, repository: Path) -> None:
    docker("run", "--detach", "--name", server.name, *SYSTEM, image)
    docker("cp", "--quiet", str(repository), f"{server.name}:/srv/techplus/")
    booted(server)
    secret = server.secrets
    environment = {
        "DATABASE_URL": f"postgresql://techplus:{secret['DATABASE_PASSWORD']}@127.0.0.1:5432/techplus",
        "REDIS_URL": "redis://127.0.0.1:6379/0",
        "STRIPE_SECRET_KEY": secret["STRIPE_SECRET_KEY"],
        "STRIPE_API_URL": "http://127.0.0.1:4000",
        "SENTRY_DSN": f"http://{secret['SENTRY_KEY']}@127.0.0.1:4000/1",
        "DEMO_PASSWORD": secret["DEMO_PASSWORD"],
        "RESERVATION_MS": "1000",
    }
    lines = "\n".join(f"{name}={value}" for name, value in environment.items())
    server.root(
        "chown -R nodejs: /srv/techplus\n"
        f"install -o nodejs -m 0600 /dev/stdin {ENV_FILE} <<'END'\n{lines}\nEND\n"
        f"su postgres -c 'psql -qf -' <<'SQL'\n"
        f"CREATE ROLE techplus LOGIN PASSWORD '{secret['DATABASE_PASSWORD']}';\n"
        "CREATE DATABASE techplus OWNER techplus;\nSQL"
    )
    outside(server)
    server.install("1.0.0")
    server.migrate("1.0.0")
    server.start("1.0.0")
    eventually("it is healthy", lambda: server.checks()[0] == 200)


def booted(server: Server) -> None:
    waiting = ("exec", server.name, "systemctl", "is-system-running", "--wait")
    eventually("systemd answers", lambda: docker(*waiting, ok=False).stdout.strip() in {"running", "degraded"})
    assert docker("exec", server.name, "systemctl", "--failed", "--quiet", "--no-legend").stdout == ""


def outside(server: Server) -> None:
    docker("exec", "--detach", server.name, "node", "-e", OUTSIDE, server.secrets["STRIPE_SECRET_KEY"])


def test_both_processes_run_without_root(server: Server) -> None:
    found = server.processes()
    assert {name: one["status"] for name, one in found.items()} == {BACKEND: "online", WORKER: "online"}
    for one in found.values():
        assert server.root(f"stat -c %U /proc/{one['pid']}").stdout.strip() == "nodejs"
        assert server.root(f"readlink /proc/{one['pid']}/cwd").stdout.strip() == "/srv/techplus/releases/1.0.0"


def test_health_version_and_page(server: Server) -> None:
    health = server.http("/health")
    assert (health.status, health.json["status"], health.json["version"]) == (200, "healthy", "1.0.0")
    assert set(health.json) == {"status", "timestamp", "uptime", "memory", "version"}
    assert server.http("/version").json == {"service": BACKEND, "version": "1.0.0"}
    page = server.http("/")
    assert b'<meta name="version" content="1.0.0">' in page.body
    assert page.headers["Cache-Control"] == "no-cache"
    assets = re.findall(rb'(?:src|href)="(/assets/(?:app|style)-[0-9a-f]{8}\.(?:js|css))"', page.body)
    assert len(assets) == 2
    for asset in assets:
        answer = server.http(asset.decode())
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
    assert server.http("/assets/app-00000000.js").status == 404
    server.run("node src/worker-health.js")


def test_metrics_are_those_of_the_guide(server: Server) -> None:
    server.http("/slow?ms=0")
    text = server.http("/metrics").body.decode()
    labels = 'method="GET",route="/slow",status_code="200",version="1.0.0"'
    assert re.search(rf"^http_requests_total{{{re.escape(labels)}.*}} [1-9]", text, re.MULTILINE)
    families = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    assert {"http_request_duration_seconds", "active_connections", "reservations_total"} <= families


def test_session_of_the_demo_user(server: Server) -> None:
    credentials = {"email": EMAIL, "password": server.secrets["DEMO_PASSWORD"]}
    answer = server.http("/api/auth/login", "POST", body=credentials)
    assert (answer.status, answer.json["user"]["email"]) == (200, EMAIL)
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "Secure", "SameSite=Lax", "Max-Age=86400"} <= set(cookie.split("; "))
    jar = {"Cookie": cookie.partition(";")[0]}
    token = jar["Cookie"].partition("=")[2]
    assert server.http("/api/auth/me", headers=jar).json == answer.json
    assert 0 < int(server.redis("TTL", f"session:{token}")) <= 86400
    assert server.http("/api/auth/logout", "POST", headers=jar).status == 204
    assert server.http("/api/auth/me", headers=jar).status == 401
    # What the guide's clean-up is for.
    assert (server.redis("EXISTS", f"session:{token}"), server.redis("TTL", f"expired:{token}")) == ("0", "-1")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"email": EMAIL, "password": "wrong"}, 401),
        ({"email": "somebody@example.org", "password": "wrong"}, 401),
        ({"email": EMAIL}, 400),
    ],
)
def test_login_refuses(server: Server, body: dict[str, str], status: int) -> None:
    answer = server.http("/api/auth/login", "POST", body=body)
    assert (answer.status, "Set-Cookie" in answer.headers) == (status, False)


def test_reservation_is_confirmed_once(server: Server) -> None:
    answer = server.reserve("round-trip")
    assert (answer.status, answer.json["status"]) == (202, "PENDING")
    assert server.reserve("round-trip", guests=5).json["guests"] == 2
    done = server.confirmed("round-trip")
    assert (done["starts"], done["completions"], done["contact"]) == (1, 1, "+33 1 00 00 00 00")
    assert server.reserve("round-trip").status == 200
    for fields in ({"date": "1 May"}, {"guests": 0}, {"contact": 3}):
        assert server.reserve("refused", **fields).status == 400


def test_killed_worker_loses_no_reservation(server: Server) -> None:
    worker = server.processes()[WORKER]["pid"]
    working = "[ $(redis-cli llen bull:reservations:active) != 0 ]"
    killer = threading.Thread(target=server.root, args=(f"until {working}; do sleep 0.05; done; kill -KILL {worker}",))
    killer.start()
    for number in range(6):
        server.taken(f"kill-{number}")
    killer.join()
    for number in range(6):
        server.confirmed(f"kill-{number}")
    summary = server.http("/api/reservations-summary").json
    assert (summary["lost"], summary["repeated"]) == ([], [])
    # The run that was cut off is in the ledger.
    assert summary["starts"] > summary["completions"] == summary["total"] == summary["counts"]["CONFIRMED"]
    # A reservation whose job vanished is exactly what `lost` is for.
    server.sql("INSERT INTO reservations (id, date, guests, phone) VALUES ('gone', now(), 1, '')")
    assert server.http("/api/reservations-summary").json["lost"] == ["gone"]
    server.sql("DELETE FROM reservations WHERE id = 'gone'")


@pytest.mark.parametrize(
    ("unit", "check"), [("redis-server", "redis"), ("postgresql@17-main", "database"), ("", "external_apis")]
)
def test_detailed_health_says_what_is_down(server: Server, unit: str, check: str) -> None:
    server.root(f"systemctl stop {unit}" if unit else "pkill -f 'listen.4000'")
    try:
        _status, checks = eventually("it is seen", lambda: (found := server.checks())[0] == 503 and found)
        assert {name for name, good in checks.items() if not good} == {check}
        assert server.http("/health").status == 200
        if unit:
            assert server.reserve(f"without-{check}").status == 503
    finally:
        if unit:
            server.root(f"systemctl start {unit}")
        else:
            outside(server)
    eventually("it is well again", lambda: server.checks()[0] == 200)
    if unit:
        # The same request once more: one reservation comes of both.
        server.taken(f"without-{check}")
        assert server.confirmed(f"without-{check}")["completions"] == 1


def test_next_release_beside_this_one(server: Server) -> None:
    server.install("1.1.0")
    assert json.loads(server.migrate("1.1.0", "db:status").stdout) == {
        "version": "1.1.0",
        "applied": ["001-first", "002-runs"],
        "pending": ["003-contact"],
        "failed": [],
        "unknown": [],
        "irreversible": [],
    }
    applied = server.migrate("1.1.0").stdout.splitlines()[-1]
    assert json.loads(applied) == {"applied": 1, "present": 3}
    assert json.loads(server.migrate("1.1.0").stdout) == {"applied": 0, "present": 3}
    server.start("1.1.0", 3001, "-next")
    eventually("both are healthy", lambda: server.checks()[0] == server.checks(3001)[0] == 200)
    assert [server.http("/version", port=port).json["version"] for port in (3000, 3001)] == ["1.0.0", "1.1.0"]
    # Each reads what the other wrote.
    server.taken("by-old", contact="old")
    server.taken("by-new", 3001, contact="new")
    for port in (3000, 3001):
        found = [server.http(f"/api/reservations/by-{name}", port=port).json["contact"] for name in ("old", "new")]
        assert found == ["old", "new"]
    for name in ("by-old", "by-new"):
        assert server.confirmed(name)["completions"] == 1


def test_old_release_leaves_after_its_last_answer(server: Server) -> None:
    answers: list[Answer] = []
    request = threading.Thread(target=lambda: answers.append(server.http("/slow?ms=10000")))
    request.start()
    eventually("it is being answered", lambda: '"message":"slow request begun","ms":10000' in server.log())
    server.run(f"pm2 delete {BACKEND} {WORKER}")
    with pytest.raises(ConnectionError):
        server.http("/version")
    request.join()
    assert [(answer.status, answer.json["version"]) for answer in answers] == [(200, "1.0.0")]
    assert {one["status"] for one in server.processes().values()} == {"online"}
    stopped = [json.loads(line) for line in server.log().splitlines()][-1]
    assert (stopped["message"], stopped["version"]) == ("stopped", "1.0.0")


def test_what_cannot_be_undone_says_so(server: Server) -> None:
    server.install("1.2.0")
    assert json.loads(server.migrate("1.2.0", "db:status").stdout)["irreversible"] == ["004-drop-phone"]
    server.migrate("1.2.0")
    # 1.1.0 does not mind; 1.0.0 does, and says so where the guide looks.
    eventually("1.1.0 is healthy", lambda: server.checks(3001)[0] == 200)
    server.taken("after-drop", 3001)
    assert json.loads(server.migrate("1.0.0", "db:status").stdout)["unknown"] == ["003-contact", "004-drop-phone"]
    server.start("1.0.0", only=BACKEND)
    found = (503, {"database": False, "redis": True, "external_apis": True})
    eventually("1.0.0 misses its column", lambda: server.checks() == found)
    eventually("it cannot reserve", lambda: server.reserve("too-late").status == 500)
    envelope = eventually("the error is reported", lambda: server.root("cat /tmp/envelopes", ok=False).stdout)
    assert f"sentry_key={server.secrets['SENTRY_KEY']}" in envelope
    event = json.loads(envelope.splitlines()[-1])
    assert (event["release"], event["environment"]) == ("1.0.0", "production")
    assert 'column "phone"' in event["exception"]["values"][0]["value"]
    server.run(f"pm2 delete {BACKEND}")


def test_a_failed_migration_stops_all_others(server: Server) -> None:
    release, name = "1.3.0-migration-fails", "900-migration-fails"
    server.install(release)
    failed = server.migrate(release, ok=False)
    assert (failed.returncode, failed.stderr) == (1, f"fatal: migration: {name}: division by zero\n")
    status = server.migrate(release, "db:status", ok=False)
    assert (status.returncode, json.loads(status.stdout)["failed"]) == (1, [name])
    again = server.migrate("1.2.0", ok=False)
    assert again.stderr == f"fatal: migration: failed before and not resolved: {name}\n"
    server.migrate("1.2.0", f"db:resolve {name}")
    assert json.loads(server.migrate("1.2.0").stdout) == {"applied": 0, "present": 4}


def test_a_hanging_migration_ends_with_its_process(server: Server) -> None:
    release, name = "1.3.0-migration-hangs", "900-migration-hangs"
    server.install(release)
    hanging = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE state = 'active' AND query LIKE '%pg_sleep(%' AND pid <> pg_backend_pid()"
    )
    runner = threading.Thread(target=lambda: server.migrate(release, ok=False))
    runner.start()
    try:
        eventually("it hangs", lambda: server.sql(hanging) == "1")
        second = server.migrate("1.2.0", ok=False)
        assert second.stderr == "fatal: migration: another migration is running\n"
    finally:
        server.root("pkill -KILL -f 'node src/migrate.js'")
        runner.join()
    eventually("the database gives up too", lambda: server.sql(hanging) == "0")
    server.migrate("1.2.0", f"db:resolve {name}")


def test_a_build_that_fails(server: Server) -> None:
    with pytest.raises(pytest.fail.Exception, match="the fault build-fails"):
        server.install("1.3.0-build-fails")


def test_a_release_that_is_never_healthy(server: Server) -> None:
    server.install("1.3.0-never-healthy")
    server.start("1.3.0-never-healthy", 3002, "-never", BACKEND)
    assert server.processes()[f"{BACKEND}-never"]["status"] == "online"
    assert [server.http(path, port=3002).status for path in ("/health", "/health/detailed")] == [503, 503]
    assert server.run("node src/worker-health.js", "1.3.0-never-healthy", ok=False).returncode == 1
    server.run(f"pm2 delete {BACKEND}-never")


def test_a_release_that_crashes_later(server: Server) -> None:
    server.install("1.3.0-crash-later")
    server.start("1.3.0-crash-later", 3002, "-later", BACKEND)
    eventually("it is healthy at first", lambda: server.http("/health", port=3002).status == 200)

    def crashed() -> Any:
        now = server.processes()[f"{BACKEND}-later"]
        return now if now["restart_time"] > 0 else None

    # pm2 calls it online in between: only the counter and the process id tell.
    assert eventually("pm2 restarts it", crashed)["exit_code"] == 1
    server.run(f"pm2 delete {BACKEND}-later")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("NODE_ENV=production", "missing environment variables: DATABASE_URL, REDIS_URL, STRIPE_SECRET_KEY"),
        ("PORT=none", 'PORT="none" is not a whole number from 0 to 65535'),
        ("LOG_LEVEL=loud", 'LOG_LEVEL="loud" is none of error, warn, info, debug'),
        (
            "DATABASE_URL=mysql://u:secret@h/d",
            "DATABASE_URL is not an address that begins with postgresql:// or postgres://",
        ),
        ("ENV_FILE=/nowhere", 'ENV_FILE="/nowhere" cannot be read: ENOENT'),
    ],
)
def test_wrong_environment_stops_the_start(server: Server, given: str, message: str) -> None:
    done = server.run(f"env --ignore-environment PATH=$PATH {given} node src/server.js", "1.2.0", ok=False)
    assert (done.returncode, done.stdout, done.stderr) == (78, "", f"fatal: {message}\n")


def test_rotated_logs_are_let_go(server: Server) -> None:
    """What logrotate does, and `pm2 reloadLogs` after it: no process restarts for it."""
    before = server.processes()[f"{BACKEND}-next"]["pid"]
    old, new = "/var/log/techplus/backend.log.1", "/var/log/techplus/backend.log"
    server.root(f"mv {new} {old} && install -o nodejs -g nodejs -m 0644 /dev/null {new}")
    server.run("pm2 reloadLogs")
    server.http("/version", port=3001)
    eventually("the new file is written", server.log)
    assert server.processes()[f"{BACKEND}-next"]["pid"] == before
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert {line["service"] for line in lines} == {"techplus-api"}


def test_pm2_brings_everything_back_after_a_boot(server: Server) -> None:
    server.run("pm2 save")
    docker("restart", "--time", "30", server.name)
    booted(server)
    outside(server)
    eventually("it is healthy", lambda: server.checks(3001)[0] == 200)
    assert server.http("/version", port=3001).json["version"] == "1.1.0"
    found = server.processes()
    assert {name: one["status"] for name, one in found.items()} == {
        f"{BACKEND}-next": "online",
        f"{WORKER}-next": "online",
    }
    server.taken("after-boot", 3001)
    eventually(
        "it is confirmed",
        lambda: server.http("/api/reservations/after-boot", port=3001).json["status"] == "CONFIRMED",
    )


def test_no_secret_in_logs_or_in_what_pm2_keeps(server: Server) -> None:
    """The last test: it reads what all the others left behind."""
    kept = server.root("cat /var/log/techplus/* /home/nodejs/.pm2/dump.pm2* /home/nodejs/.pm2/*.log").stdout
    shown = server.run(
        "pm2 jlist --silent; pm2 env 0; pm2 env 1; tr '\\0' '\\n' < /proc/$(pm2 pid techplus-backend-next)/environ"
    )
    everything = kept + shown.stdout
    assert ENV_FILE in everything
    assert {name for name, value in server.secrets.items() if value in everything} == set()
