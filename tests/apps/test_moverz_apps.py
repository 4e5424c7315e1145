# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Moverz stand-in keeps its contract: built, started and interrupted for real, spoken to from outside."""

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

pytestmark = pytest.mark.docker

CONTEXTS = Path(__file__).parent / "moverz"
APP = "moverz/app"
PORTS = {"app": 3001, "bullboard": 3010}
EMAIL = "demo@movers-test.gslv.cloud"
SECRETS = (
    *("OWNER_PASSWORD", "ROLE_PASSWORD", "REDIS_PASSWORD", "JWT_SECRET", "ADMIN_BYPASS_TOKEN", "BULLBOARD_TOKEN"),
    *("DEMO_PASSWORD", "OPENAI_API_KEY", "CLAUDE_API_KEY"),
)
MIGRATE = ("npx", "prisma", "migrate")
INIT, METRIC = "20251001090000_init", "20251012090000_ai_metric"
EXPAND, DROP = "20251101090000_user_full_name", "20251115090000_drop_user_name"
BROKEN, ENDLESS = "20251201090000_broken", "20251201090000_endless"
# The guide's second user of PostgreSQL: it works with the tables and may not change them.
ROLE = """
CREATE ROLE moverz LOGIN PASSWORD '{password}';
ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO moverz;
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO moverz;
"""


def docker(*arguments: str, ok: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False)
    if ok and done.returncode != 0:
        pytest.fail(f"docker {' '.join(arguments[:4])} …: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def eventually(what: str, probe: Callable[[], Any], seconds: float = 120) -> Any:
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
class Stack:
    """Containers on a network of their own, their ports published on loopback only."""

    name: str
    secrets: dict[str, str]
    containers: list[str] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        given = ("JWT_SECRET", "ADMIN_BYPASS_TOKEN", "BULLBOARD_TOKEN", "DEMO_PASSWORD", "OPENAI_API_KEY")
        return {
            "DATABASE_URL": f"postgresql://moverz:{self.secrets['ROLE_PASSWORD']}@postgres:5432/moverz",
            "DIRECT_URL": f"postgresql://owner:{self.secrets['OWNER_PASSWORD']}@postgres:5432/moverz",
            "REDIS_URL": f"redis://:{self.secrets['REDIS_PASSWORD']}@redis:6379/0",
            "AI_CALL_MS": "300",
            "AI_TIMEOUT_MS": "5000",
            "IMAGE_TARGET_SIZE": "512",
            **{name: self.secrets[name] for name in (*given, "CLAUDE_API_KEY")},
        }

    def container(self, service: str) -> str:
        return f"{self.name}-{service}"

    def run(self, service: str, image: str, *command: str, env: dict[str, str], volumes: dict[str, str]) -> None:
        options = ["--name", self.container(service), "--network", self.name, "--network-alias", service]
        options += [f"--env={variable}={value}" for variable, value in env.items()]
        options += [f"--volume={self.name}-{volume}:{path}" for volume, path in volumes.items()]
        if port := next((port for prefix, port in PORTS.items() if service.startswith(prefix)), 0):
            options += ["--publish", f"127.0.0.1::{port}"]
        self.containers.append(self.container(service))
        docker("run", "--detach", *options, image, *command)

    def start(self, service: str, version: str, script: str, **env: str) -> None:
        volumes = {"logs": "/app/logs", "metrics": "/app/.next/metrics"}
        self.run(service, f"{APP}:{version}", "pnpm", script, env={**self.env, **env}, volumes=volumes)

    def once(self, version: str, *command: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of its own in a container of that release, as a release runs its migrations."""
        options = [f"--env={name}={value}" for name, value in self.env.items()]
        return docker("run", "--rm", "--network", self.name, *options, f"{APP}:{version}", *command, ok=ok)

    def migrate(self, version: str, *words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        return self.once(version, *MIGRATE, *words, ok=ok)

    def status(self, version: str) -> tuple[int, list[str]]:
        done = self.migrate(version, "status", ok=False)
        return done.returncode, done.stdout.splitlines()

    def remove(self, service: str) -> None:
        docker("rm", "--force", "--volumes", self.container(service))

    def exec(self, service: str, *command: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        return docker("exec", self.container(service), *command, ok=ok)

    def logs(self, service: str) -> str:
        return docker("logs", self.container(service)).stdout

    def sql(self, statement: str) -> str:
        command = ("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-U", "owner", "-d", "moverz", "-c", statement)
        return self.exec("postgres", *command).stdout.strip()

    def state(self, service: str, what: str) -> str:
        return docker("inspect", "--format", "{{" + what + "}}", self.container(service)).stdout.strip()

    def address(self, service: str) -> tuple[str, int]:
        """Where the service is published now: Docker may choose another port at each start."""
        lines = docker("port", self.container(service)).stdout.split()
        host, _, port = lines[-1].rpartition(":")
        return host, int(port)

    def http(
        self, service: str, path: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection(*self.address(service), timeout=30)
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def board(self, path: str, body: Any = None) -> Answer:
        token = {"x-access-token": self.secrets["BULLBOARD_TOKEN"]}
        return self.http("bullboard", path, "GET" if body is None else "POST", body, token)

    def login(self, service: str = "app") -> Answer:
        credentials = {"email": EMAIL, "password": self.secrets["DEMO_PASSWORD"]}
        return self.http(service, "/api/auth/login", "POST", credentials)

    def submit(self, name: str, **more: Any) -> Answer:
        return self.http("app", "/api/photos", "POST", {"name": name, **more})

    def photos(self, *ids: str) -> dict[str, dict[str, Any]]:
        answer = self.http("app", f"/api/photos?ids={','.join(ids)}")
        return {photo["id"]: photo for photo in answer.json["photos"]} if answer.status == 200 else {}

    def ended(self, *ids: str, status: str = "completed") -> dict[str, dict[str, Any]]:
        """The photographs once all of them have this status."""

        def probe() -> dict[str, dict[str, Any]] | None:
            found = self.photos(*ids)
            return found if [one["status"] for one in found.values()] == [status] * len(ids) else None

        return dict(eventually(f"{status}: {', '.join(ids)}", probe))

    def up(self, service: str, version: str) -> None:
        eventually(f"{service} answers", lambda: self.http(service, "/version").json["version"] == version)

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
            docker("build", "--quiet", "--tag", reference, *arguments, str(CONTEXTS / image["context"]), timeout=1200)
            built.append(reference)
    return built


@pytest.fixture(scope="module", name="stack")
def _stack(images: list[str]) -> Iterator[Stack]:
    assert images
    stack = Stack(f"quai-app-moverz-{secrets.token_hex(4)}", {name: secrets.token_hex(32) for name in SECRETS})
    docker("network", "create", stack.name)
    try:
        database = {"POSTGRES_USER": "owner", "POSTGRES_DB": "moverz"}
        password = {"POSTGRES_PASSWORD": stack.secrets["OWNER_PASSWORD"]}
        data = {"database": "/var/lib/postgresql/data"}
        stack.run("postgres", "postgres:17", env={**database, **password}, volumes=data)
        # `always`: what Redis confirmed is in the file, so a killed Redis owes nothing to luck.
        persistent = ("--appendonly", "yes", "--appendfsync", "always")
        server = ("redis-server", *persistent, "--requirepass", stack.secrets["REDIS_PASSWORD"])
        stack.run("redis", "redis:7-alpine", *server, env={}, volumes={"redis": "/data"})
        ready = ("pg_isready", "-q", "-h", "127.0.0.1", "-U", "owner", "-d", "moverz")
        eventually("PostgreSQL answers", lambda: stack.exec("postgres", *ready, ok=False).returncode == 0)
        stack.sql(ROLE.format(password=stack.secrets["ROLE_PASSWORD"]))
        assert stack.status("1.0.0") == (1, [f"pending {INIT}", f"pending {METRIC}"])
        stack.migrate("1.0.0", "deploy")
        stack.start("app", "1.0.0", "start")
        stack.start("worker", "1.0.0", "worker", QUEUE_CONCURRENCY="3")
        stack.start("bullboard", "1.0.0", "bullboard")
        stack.up("app", "1.0.0")
        stack.up("bullboard", "1.0.0")
        eventually("the worker is there", lambda: stack.http("app", "/api/status").json["queues"] == "ok")
        yield stack
    finally:
        stack.down()


def test_images_carry_their_version(images: list[str]) -> None:
    own = [image for image in images if image.startswith(f"{APP}:")]
    assert len(own) == 7
    for image in own:
        labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image).stdout)
        assert labels["org.opencontainers.image.version"] == image.partition(":")[2]


def test_nothing_runs_as_root(stack: Stack) -> None:
    uids = {service: stack.exec(service, "id", "-u").stdout.strip() for service in ("app", "worker", "bullboard")}
    assert uids == {"app": "1000", "worker": "1000", "bullboard": "1000"}


def test_health_and_version(stack: Stack) -> None:
    assert stack.http("app", "/health").json["status"] == "ok"
    assert stack.http("app", "/version").json == {"service": "moverz-app", "version": "1.0.0"}
    assert stack.http("bullboard", "/version").json == {"service": "moverz-bullboard", "version": "1.0.0"}
    assert stack.exec("worker", "node", "scripts/worker-health.js").stdout == "healthy\n"
    good = {"status": "ok", "version": "1.0.0", "database": "ok", "queues": "ok", "ai": "ok"}
    assert stack.http("app", "/api/status").json == good


def test_login_opens_a_session(stack: Stack) -> None:
    answer = stack.login()
    assert (answer.status, answer.json) == (200, {"user": {"id": "demo", "email": EMAIL, "name": "Demo"}})
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "Secure", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    session = cookie.partition(";")[0]
    assert stack.http("app", "/api/me", headers={"Cookie": session}).json == answer.json
    assert stack.http("app", "/api/me").status == 401
    assert stack.http("app", "/api/me", headers={"Cookie": f"{session[:-4]}AAAA"}).status == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [({"email": EMAIL, "password": "wrong"}, 401), ({"email": "nobody", "password": "x"}, 400), (b"{", 400)],
)
def test_login_refuses(stack: Stack, body: Any, status: int) -> None:
    answer = stack.http("app", "/api/auth/login", "POST", body)
    assert (answer.status, "Set-Cookie" in answer.headers) == (status, False)


def test_photo_round_trip(stack: Stack) -> None:
    assert stack.submit("sofa.jpg", id="round-trip").json == {"id": "round-trip", "status": "pending"}
    photo = stack.ended("round-trip")["round-trip"]
    assert photo["result"].startswith("512px sha256:")  # IMAGE_TARGET_SIZE
    again = stack.submit("another.jpg", id="round-trip")
    assert (again.status, again.json["status"]) == (200, "completed")
    assert (photo["starts"], photo["completions"]) == (1, 1)


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "x", "id": "42"}, {"name": "x", "ms": -1}])
def test_photo_refuses(stack: Stack, body: dict[str, Any]) -> None:
    assert stack.http("app", "/api/photos", "POST", body).status == 400


def test_killed_worker_loses_no_photo(stack: Stack) -> None:
    ids = [stack.submit("wardrobe.jpg", ms=1500).json["id"] for _ in range(5)]
    # QUEUE_CONCURRENCY jobs at once, not one more.
    eventually("three are begun", lambda: sum(one["starts"] for one in stack.photos(*ids).values()) == 3)
    docker("kill", "--signal", "KILL", stack.container("worker"))
    docker("start", stack.container("worker"))
    done = stack.ended(*ids).values()
    assert sum(one["starts"] for one in done) > len(ids)
    assert {one["completions"] for one in done} == {1}


def test_stopped_worker_ends_what_it_began(stack: Stack) -> None:
    photo = stack.submit("lamp.jpg", ms=2500).json["id"]
    eventually("it is begun", lambda: stack.photos(photo)[photo]["starts"] == 1)
    docker("stop", stack.container("worker"))
    assert stack.state("worker", ".State.ExitCode") == "0"
    assert stack.photos(photo)[photo]["completions"] == 1
    assert stack.http("app", "/api/status").json["queues"] == "no worker"
    docker("start", stack.container("worker"))
    eventually("the worker is back", lambda: stack.http("app", "/api/status").json["queues"] == "ok")


def test_killed_redis_loses_no_photo(stack: Stack) -> None:
    ids = [stack.submit("piano.jpg", ms=1500).json["id"] for _ in range(4)]
    docker("kill", "--signal", "KILL", stack.container("redis"))
    late = "while-redis-was-down"
    refused = stack.submit("late.jpg", id=late)
    assert (refused.status, refused.json["error"]) == (503, "queue_unavailable")
    assert stack.http("app", "/health").status == 200
    assert stack.exec("worker", "node", "scripts/worker-health.js", ok=False).returncode == 1
    docker("start", stack.container("redis"))
    eventually("the refused one is taken", lambda: stack.submit("late.jpg", id=late).status == 200)
    # At least once: a lock that ran out meanwhile may have meant a second run.
    assert all(one["completions"] >= 1 for one in stack.ended(*ids, late).values())
    assert stack.state("worker", ".State.Running") == "true"


def test_summary_counts_lost_photos(stack: Stack) -> None:
    summary = stack.http("app", "/api/photos/summary").json
    assert summary["total"] == summary["counts"]["completed"] == len(summary["photos"]) > 0
    assert summary["lost"] == []
    stack.sql("""INSERT INTO "Photo" ("id", "userId", "name", "queuedAt") VALUES ('vanished', 'demo', 'x', now())""")
    assert stack.http("app", "/api/photos/summary").json["lost"] == ["vanished"]
    stack.sql("""DELETE FROM "Photo" WHERE "id" = 'vanished'""")


def test_bull_board_needs_its_token(stack: Stack) -> None:
    closed = ("/admin/queues", "/admin/queues/api/queues", "/admin/api/stats", "/admin/api/failed?queue=photo-analyze")
    assert {stack.http("bullboard", path).status for path in closed} == {401}
    assert stack.http("bullboard", "/admin/api/stats", headers={"x-access-token": "wrong"}).status == 401
    assert b"Bull" in stack.board("/admin/queues").body
    # The guide's address for a browser: the token leaves the address at once.
    first = stack.http("bullboard", f"/admin/queues?token={stack.secrets['BULLBOARD_TOKEN']}")
    assert (first.status, first.headers["Location"]) == (302, "/admin/queues")
    kept = {"Cookie": first.headers["Set-Cookie"].partition(";")[0]}
    assert stack.http("bullboard", "/admin/queues/api/queues", headers=kept).status == 200


def test_failed_jobs_are_listed_retried_and_cleaned(stack: Stack) -> None:
    ids = [stack.submit(name, id=f"bad-{n}", ms=ms).json["id"] for n, (name, ms) in enumerate(BAD)]
    stack.ended(*ids, status="failed")
    failed = stack.board("/admin/api/failed?queue=photo-analyze").json["jobs"]
    reasons = {job["id"]: job["failedReason"] for job in failed}
    assert reasons == {"bad-0": "the picture cannot be read", "bad-1": "no answer within 5000 ms"}  # AI_TIMEOUT_MS
    starts = stack.photos("bad-0")["bad-0"]["starts"]
    assert stack.board("/admin/api/retry-failed", {"queue": "photo-analyze"}).json == {"retried": 2}
    eventually("it is tried again", lambda: stack.photos("bad-0")["bad-0"]["starts"] > starts)
    day = {"queue": "photo-analyze", "grace": 86_400_000}
    assert stack.board("/admin/api/clean", day).json == {"cleaned": 0}
    assert stack.board("/admin/api/clean", {**day, "grace": 0}).json["cleaned"] > 0
    assert stack.board("/admin/api/stats").json["queues"]["photo-analyze"]["completed"] == 0


BAD = (("unreadable.jpg", 0), ("claude.jpg", 6000))


def test_ai_metrics(stack: Stack) -> None:
    """What the tests before this one cost."""
    summary = stack.http("app", "/inventaire-ia/api/ai-metrics/summary").json
    assert summary["totalCalls"] == int(stack.sql('SELECT count(*) FROM "AiMetric"')) > 10
    assert 0.3 < summary["successRate"] < 1
    assert summary["successRate"] + summary["failureRate"] == pytest.approx(1)
    assert 300 <= summary["latency"]["p50"] <= summary["latency"]["p95"] <= summary["latency"]["p99"] <= 5000
    assert summary["totalCostUsd"] > 0
    assert {part["provider"] for part in summary["breakdown"]} == {"openai", "claude"}
    lines = stack.exec("worker", "cat", ".next/metrics/ai-metrics.jsonl").stdout.splitlines()
    assert {"provider", "model", "success", "latencyMs", "costUsd"} < set(json.loads(lines[-1]))


def test_admin_metrics_needs_the_token(stack: Stack) -> None:
    assert stack.http("app", "/admin/metrics").status == 401
    assert stack.http("app", "/admin/metrics", headers={"x-admin-token": "wrong"}).status == 401
    token = {"x-admin-token": stack.secrets["ADMIN_BYPASS_TOKEN"]}
    assert stack.http("app", "/admin/metrics", headers=token).json["queues"]["photo-analyze"]["active"] >= 0
    assert stack.http("app", "/admin").status == 200
    tries = [json.loads(line)["allowed"] for line in stack.logs("app").splitlines() if '"admin access"' in line]
    assert tries == [False, False, True]


def test_scripts_of_the_guide(stack: Stack) -> None:
    assert json.loads(stack.exec("app", "node", "scripts/show-db-stats.js").stdout)["User"] == 1
    details = ("node", "scripts/show-user-details.js")
    assert json.loads(stack.exec("app", *details, "demo").stdout)["projects"] == 1
    assert stack.exec("app", *details, "nobody", ok=False).returncode == 1


def assets(page: Answer) -> set[str]:
    return set(re.findall(r"/_next/static/[\w./-]+?\.js", page.body.decode()))


def test_each_release_has_front_end_files_of_its_own(stack: Stack) -> None:
    """Two releases beside each other, then the slow request that a stop must not cut off."""
    stack.start("app2", "1.1.0", "start", PORT="3001")
    stack.up("app2", "1.1.0")
    old, new = (stack.http(service, "/") for service in ("app", "app2"))
    assert b'<meta name="version" content="1.0.0"/>' in old.body
    assert b'<meta name="version" content="1.1.0"/>' in new.body
    for service, page in (("app", old), ("app2", new)):
        assert len(assets(page)) > 3
        for asset in assets(page):
            answer = stack.http(service, asset)
            assert (answer.status, b"release-to-be-stamped" in answer.body) == (200, False)
            assert "immutable" in answer.headers["Cache-Control"]
    # What a release replaces, an old page still asks for; what it keeps has one name.
    [gone] = assets(old) - assets(new)
    assert stack.http("app2", gone).status == 404
    assert assets(old) & assets(new)

    answers: list[Answer] = []
    request = threading.Thread(target=lambda: answers.append(stack.http("app2", "/slow?ms=3000")))
    request.start()
    eventually("it is being answered", lambda: "slow request begun" in stack.logs("app2"))
    place = stack.address("app2")
    docker("kill", "--signal", "TERM", stack.container("app2"))
    eventually("it is stopping", lambda: '"stopping"' in stack.logs("app2"))
    with pytest.raises(OSError):  # Docker's proxy may accept what nobody answers
        connection = http.client.HTTPConnection(*place, timeout=5)
        connection.request("GET", "/health")
        connection.getresponse()
    request.join()
    assert [(answer.status, answer.json["version"]) for answer in answers] == [(200, "1.1.0")]
    assert docker("wait", stack.container("app2")).stdout.strip() == "0"
    stack.remove("app2")


def test_database_url_is_not_enough_to_migrate(stack: Stack) -> None:
    role = f"--env=DIRECT_URL={stack.env['DATABASE_URL']}"
    done = docker("run", "--rm", "--network", stack.name, role, f"{APP}:1.1.0", *MIGRATE, "deploy", ok=False)
    assert done.returncode == 1
    assert "permission denied" in done.stderr
    assert stack.status("1.1.0") == (1, [f"applied {INIT}", f"applied {METRIC}", f"pending {EXPAND}"])


def test_release_1_0_0_lives_with_the_tables_of_1_1_0(stack: Stack) -> None:
    stack.migrate("1.1.0", "deploy")
    assert "0 applied now" in stack.migrate("1.1.0", "deploy").stdout
    assert stack.status("1.1.0") == (0, [f"applied {name}" for name in (INIT, METRIC, EXPAND)])
    assert stack.status("1.0.0") == (0, [f"applied {INIT}", f"applied {METRIC}", f"unknown {EXPAND}"])
    assert stack.login().status == 200


def test_failed_migration_stops_and_is_resolved(stack: Stack) -> None:
    faulty = "1.3.0-migration-fails"
    done = stack.migrate(faulty, "deploy", ok=False)
    assert (done.returncode, done.stderr.partition(": relation")[0]) == (1, f"fatal: migration: P3018: {BROKEN} failed")
    assert stack.sql("""SELECT to_regclass('"HalfWay"')""") == ""  # all of it or nothing
    code, lines = stack.status(faulty)
    assert (code, lines[-1]) == (1, f"failed {BROKEN}")
    refused = stack.migrate("1.2.0", "deploy", ok=False)
    assert (refused.returncode, BROKEN in refused.stderr, "P3009" in refused.stderr) == (1, True, True)
    assert stack.login().status == 200
    stack.migrate(faulty, "resolve", "--rolled-back", BROKEN)
    assert stack.status("1.1.0")[0] == 0
    assert stack.migrate(faulty, "resolve", "--rolled-back", BROKEN, ok=False).returncode == 1


def test_hanging_migration_can_be_ended(stack: Stack) -> None:
    faulty = "1.3.0-migration-hangs"
    stack.run("hanging", f"{APP}:{faulty}", *MIGRATE, "deploy", env=stack.env, volumes={})
    eventually("it hangs", lambda: f"applying {ENDLESS}" in stack.logs("hanging"))
    second = stack.migrate("1.1.0", "deploy", ok=False)
    assert (second.returncode, second.stderr) == (1, "fatal: migration: another migration is running\n")
    docker("kill", "--signal", "KILL", stack.container("hanging"))
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(86400)%' AND pid <> pg_backend_pid()"
    eventually("PostgreSQL has given it up", lambda: stack.sql(sleeping) == "0")
    assert stack.status("1.1.0") == (1, [*(f"applied {name}" for name in (INIT, METRIC, EXPAND)), f"failed {ENDLESS}"])
    stack.migrate("1.1.0", "resolve", "--rolled-back", ENDLESS)
    assert stack.status("1.1.0")[0] == 0


def test_no_way_back_behind_the_irreversible_migration(stack: Stack) -> None:
    assert stack.status("1.2.0")[1][-1] == f"pending {DROP} irreversible"
    stack.migrate("1.2.0", "deploy")
    broken = stack.login()
    assert (broken.status, broken.json) == (500, {"error": "internal"})
    assert stack.http("app", "/health").status == 200  # only a user's path shows it
    stack.start("app3", "1.2.0", "start")
    stack.up("app3", "1.2.0")
    assert stack.login("app3").json["user"]["name"] == "Demo"
    stack.remove("app3")


def test_faulty_releases(stack: Stack) -> None:
    for fault in ("never-healthy", "crash-later"):
        for service, script in (("app", "start"), ("worker", "worker")):
            stack.start(f"{service}-{fault}", f"1.3.0-{fault}", script)
    assert eventually("it answers", lambda: stack.http("app-never-healthy", "/health")).status == 503
    health = stack.exec("worker-never-healthy", "node", "scripts/worker-health.js", ok=False)
    assert (health.returncode, health.stderr) == (1, "unhealthy: this image is made to fail\n")
    # Good at first.
    eventually("it is healthy", lambda: stack.http("app-crash-later", "/health").status == 200)
    eventually("it works", lambda: "processing" in stack.logs("worker-crash-later"))
    for service in ("app-crash-later", "worker-crash-later"):
        assert docker("wait", stack.container(service)).stdout.strip() == "1"
        assert "made to crash" in stack.logs(service)
    for fault in ("never-healthy", "crash-later"):
        for service in ("app", "worker"):
            stack.remove(f"{service}-{fault}")


TUNING = (
    'LOG_LEVEL="loud" is none of debug, info, warn, error',
    'AI_TIMEOUT_MS="15s" is not a whole number from 1000 to 120000',
    'QUEUE_CONCURRENCY="0" is not a whole number from 1 to 32',
    'IMAGE_TARGET_SIZE="9999" is not a whole number from 256 to 4096',
)
WHOLE = {
    "DATABASE_URL": "postgresql://u:geheim@db/x",
    "REDIS_URL": "redis://:geheim@redis",
    "JWT_SECRET": "x",
    "ADMIN_BYPASS_TOKEN": "x",
}


@pytest.mark.parametrize(
    ("script", "given", "message"),
    [
        ("start", {"JWT_SECRET": ""}, "missing environment variables: JWT_SECRET"),
        ("worker", {}, "missing environment variables: OPENAI_API_KEY, CLAUDE_API_KEY"),
        ("bullboard", {}, "missing environment variables: BULLBOARD_TOKEN"),
        ("db:reset", {}, "missing environment variables: DIRECT_URL"),
        (
            "start",
            {"AI_TIMEOUT_MS": "15s", "QUEUE_CONCURRENCY": "0", "IMAGE_TARGET_SIZE": "9999", "LOG_LEVEL": "loud"},
            "; ".join(TUNING),
        ),
        (
            "start",
            {"DATABASE_URL": "mysql://u:geheim@db/x"},
            "DATABASE_URL is not an address that begins with postgresql://",
        ),
    ],
)
def test_wrong_environment_stops_the_start(images: list[str], script: str, given: dict[str, str], message: str) -> None:
    assert images
    options = [f"--env={name}={value}" for name, value in {**WHOLE, **given}.items()]
    done = docker("run", "--rm", "--network", "none", *options, f"{APP}:1.0.0", "pnpm", script, ok=False)
    assert (done.returncode, done.stdout, done.stderr) == (78, "", f"fatal: {message}\n")


def test_logs_are_json_and_hold_no_secret(stack: Stack) -> None:
    """The last test: it reads what all the others left behind."""
    written = {service: stack.logs(service) for service in ("app", "worker", "bullboard")}
    file = stack.exec("app", "cat", "/app/logs/app.log").stdout
    lines = [json.loads(line) for line in (*file.splitlines(), *"".join(written.values()).splitlines())]
    assert {line["service"] for line in lines} == {"app", "worker", "bullboard"}
    # The guide's filters.
    for pattern in ("ERROR", "POST /api", "AI_METRIC"):
        assert pattern in file
    errors = "".join(docker("logs", stack.container(service)).stderr for service in written)
    everything = file + "".join(written.values()) + errors
    assert {name for name, value in stack.secrets.items() if value in everything} == set()
