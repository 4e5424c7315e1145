# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of native protocols against the real servers: up, slow, wrong and dead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.wait import until
from tests.probes.target import CERTIFICATES, Target

pytestmark = pytest.mark.docker

PASSWORDS = {
    "redis": "s3cr3t-Redis/1",
    "jobs": "s3cr3t-Jobs",
    "scram": "s3cr3t-Scram@2:x",
    "md5": "s3cr3t-Md5",
    "clear": "s3cr3t-Clear",
    "native": "s3cr3t-Native?3",
    "mail": "s3cr3t-Mail",
    "wrong": "s3cr3t-Wrong",
}
CA, OTHER_CA = f"{CERTIFICATES}/ca.pem", f"{CERTIFICATES}/other-ca.pem"
JOBS = Path(__file__).parent / "jobs.js"
# For what must not answer in time; a probe that ends well needs a small part of it.
SHORT = 1.0


def ask(target: Target, probe: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The result of a probe. Whatever it is, it says no secret."""
    result = target.probe(probe, secrets=PASSWORDS, **options)
    said = json.dumps(result) + json.dumps(options.get("memory", {}))
    for name, password in PASSWORDS.items():
        assert password not in said, f"the password {name} is in {said}"
    return result


def fields(target: Target, probe: dict[str, Any], *conditions: str) -> dict[str, Any]:
    """Ask, and expect these conditions to hold."""
    result = ask(target, {**probe, "expect": list(conditions)})
    assert (result["status"], result["reason"]) == ("ok", ""), result
    return result


def outcome(result: dict[str, Any]) -> tuple[str, str]:
    return result["status"], result["reason"]


@contextmanager
def stopped(target: Target, unit: str) -> Iterator[None]:
    """The service's processes stand still: the kernel accepts connections, nobody answers."""
    target.sh(f"systemctl kill --signal=SIGSTOP {unit}")
    try:
        yield
    finally:
        target.sh(f"systemctl kill --signal=SIGCONT {unit}")


@contextmanager
def dead(target: Target, unit: str) -> Iterator[None]:
    target.sh(f"systemctl stop {unit}")
    try:
        yield
    finally:
        target.start(unit)


# --- Redis -----------------------------------------------------------------------------------------------------------

REDIS = {"type": "redis", "user": "monitor", "password": "${redis}"}


@pytest.fixture(scope="module")
def redis(target: Target) -> Target:
    target.put(
        "/etc/redis/redis.conf",
        f"""\
bind 0.0.0.0
protected-mode no
port 6379
tls-port 6380
tls-cert-file {CERTIFICATES}/server.pem
tls-key-file {CERTIFICATES}/server.key
tls-ca-cert-file {CA}
tls-auth-clients no
unixsocket /run/redis/redis.sock
unixsocketperm 777
dir /var/lib/redis
save ""
maxmemory 100mb
user default off
user monitor on >{PASSWORDS["redis"]} ~* &* +@all
user jobs on >{PASSWORDS["jobs"]} ~* &* +@all
user pinger on >{PASSWORDS["redis"]} ~* +ping
user nothing on >{PASSWORDS["redis"]}
""",
    )
    target.start("redis-server")
    return target


@pytest.mark.parametrize(
    "way",
    [
        pytest.param({}, id="password of a user in the ACL"),
        pytest.param({"socket": "/run/redis/redis.sock", "database": 3}, id="Unix socket"),
        pytest.param({"port": 6380, "tls": True, "ca_file": CA}, id="TLS"),
        pytest.param({"port": 6380, "tls": True, "verify": False}, id="TLS not verified"),
        pytest.param({"url": "redis://monitor:s3cr3t-Redis%2F1@127.0.0.1:6379/2"}, id="url"),
        pytest.param({"url": "rediss://monitor:s3cr3t-Redis%2F1@127.0.0.1:6380", "ca_file": CA}, id="url of TLS"),
        pytest.param({"url": "unix://monitor:s3cr3t-Redis%2F1@/run/redis/redis.sock?db=1"}, id="url of a socket"),
    ],
)
def test_redis_up(redis: Target, way: dict[str, Any]) -> None:
    result = fields(
        redis,
        {**REDIS, **way},
        *("ping == PONG", "role == master", "loading == false", "last_save_ok == true", "memory_pct in 0.1-50"),
        *("clients >= 1", "evicted == 0", "rejected == 0", 'version ~ "^8[.]"', "master_link == null"),
    )
    assert 0 < result["latency_ms"] < 1000 and result["details"]["version"].startswith("8.")
    assert ("days" in result["tls"]) == ("6380" in json.dumps(way))


@pytest.mark.usefixtures("mail")
@pytest.mark.parametrize(
    ("way", "expected", "message"),
    [
        ({"password": "${wrong}"}, ("critical", "auth"), "WRONGPASS"),
        ({"user": "", "password": ""}, ("critical", "auth"), "NOAUTH"),
        ({"user": "nothing"}, ("critical", "auth"), "NOPERM"),
        ({"database": 99}, ("critical", "proto"), "out of range"),
        ({"port": 6380, "tls": True, "ca_file": OTHER_CA}, ("critical", "tls_chain"), "127.0.0.1"),
        ({"port": 6380, "tls": True, "ca_file": CA, "sni": "wrong.lab"}, ("critical", "tls_host"), "wrong.lab"),
        ({"tls": True}, ("critical", "timeout"), "127.0.0.1:6379"),  # it waits for the end of a line
        ({"port": 6380}, ("critical", "reset"), "127.0.0.1:6380"),
        ({"port": 2525}, ("critical", "proto"), "not the protocol of Redis"),
        ({"socket": "/run/redis/none.sock"}, ("critical", "refused"), "does not exist"),
        ({"url": "http://127.0.0.1"}, ("unknown", "own_error"), "redis:// or rediss:// or unix://"),
        ({"url": "redis://a:s3cr3t-Wrong/x@127.0.0.1"}, ("unknown", "own_error"), "%2F"),
    ],
)
def test_redis_wrong(redis: Target, way: dict[str, Any], expected: tuple[str, str], message: str) -> None:
    result = ask(redis, {**REDIS, **way, "timeout": SHORT})
    assert outcome(result) == expected and message in result["message"], result


def test_redis_of_which_a_user_may_only_ping(redis: Target) -> None:
    fields(redis, {**REDIS, "user": "pinger"}, "ping == PONG", "loading == false", "memory_bytes == null")


def test_redis_slow_and_dead(redis: Target) -> None:
    with stopped(redis, "redis-server"):
        result = ask(redis, {**REDIS, "timeout": SHORT})
        assert outcome(result) == ("critical", "timeout") and SHORT * 1000 <= result["latency_ms"] < SHORT * 1500
    with dead(redis, "redis-server"):
        assert outcome(ask(redis, REDIS)) == ("critical", "refused")
    assert outcome(ask(redis, REDIS)) == ("ok", "")


def test_redis_that_cannot_save(redis: Target) -> None:
    command = f"redis-cli -s /run/redis/redis.sock --user monitor --pass '{PASSWORDS['redis']}' --no-auth-warning"
    redis.sh("chmod 0555 /var/lib/redis")
    try:
        redis.sh(f"{command} bgsave")
        until(
            "the save to fail",
            lambda: "rdb_last_bgsave_status:err" in redis.sh(f"{command} info persistence"),
            seconds=10,
        )
        result = ask(redis, REDIS)
        assert outcome(result) == ("critical", "threshold") and "last_save_ok" in result["message"], result
    finally:
        redis.sh(f"chmod 0750 /var/lib/redis && {command} bgsave")
    until("the save to work", lambda: outcome(ask(redis, REDIS)) == ("ok", ""), seconds=10)


def test_replica_without_its_master(redis: Target) -> None:
    """Valkey follows a Redis that is not there."""
    redis.put(
        "/etc/valkey/valkey.conf",
        "port 6390\ndir /var/lib/valkey\nreplicaof 127.0.0.1 6399\nreplica-serve-stale-data no\n",
    )
    redis.start("valkey-server")
    probe = {"type": "redis", "port": 6390}
    result = ask(redis, probe)
    assert outcome(result)[0] == "critical" and "MASTERDOWN" in result["message"], result
    fields(redis, probe, "role == slave", "master_link == down", 'version ~ "^8[.]1"', "ping == MASTERDOWN")
    redis.sh("systemctl stop valkey-server")


# --- queues ----------------------------------------------------------------------------------------------------------

QUEUE = {"type": "queue", "user": "monitor", "password": "${redis}", "socket": "/run/redis/redis.sock"}
LIBRARIES = pytest.mark.parametrize("library", ["bull", "bullmq"])


class Queue:
    """One queue of a real library."""

    def __init__(self, target: Target, library: str) -> None:
        self.target = target
        self.library = library
        self.name = f"work-{library}"
        self.memory: dict[str, Any] = {}
        self.now = 1_800_000_000.0
        target.sh(f"{self.cli} flushall")
        target.put("/opt/queues/jobs.js", JOBS.read_bytes())

    @property
    def cli(self) -> str:
        return f"redis-cli -s /run/redis/redis.sock --user monitor --pass '{PASSWORDS['redis']}' --no-auth-warning"

    def _command(self, action: str, **given: Any) -> str:
        return f"node /opt/queues/jobs.js {self.library} {action} {self.name} '{json.dumps(given)}'"

    def do(self, action: str, **given: Any) -> None:
        self.target.sh(f"REDIS_PASSWORD={PASSWORDS['jobs']} {self._command(action, **given)}")

    @contextmanager
    def worker(self, **given: Any) -> Iterator[None]:
        """A worker that runs for the body, and is killed at its end."""
        unit = f"worker-{self.library}"
        self.target.sh(
            f"systemd-run --quiet --unit={unit} --setenv=REDIS_PASSWORD={PASSWORDS['jobs']}"
            f" --property=KillSignal=SIGKILL {self._command('work', **given)}"
        )
        try:
            yield
        finally:
            self.target.sh(f"systemctl stop {unit}; systemctl reset-failed {unit} 2>/dev/null || true")

    def ask(self, later: float = 0.0, **options: Any) -> dict[str, Any]:
        """The result, so many seconds after the last one by the clock of the monitoring."""
        self.now += later
        probe = {**QUEUE, "queue": self.name, "library": self.library, **options}
        return ask(self.target, probe, memory=self.memory, now=self.now)

    def holds(self, *conditions: str) -> bool:
        """Whether conditions hold now; asked without memory."""
        probe = {**QUEUE, "queue": self.name, "library": self.library, "expect": list(conditions)}
        return outcome(ask(self.target, probe)) == ("ok", "")

    def expect(self, *conditions: str) -> None:
        probe = {**QUEUE, "queue": self.name, "library": self.library}
        fields(self.target, probe, *conditions)


@pytest.fixture
def queue(redis: Target, library: str) -> Queue:
    return Queue(redis, library)


@LIBRARIES
def test_jobs_of_every_kind(queue: Queue) -> None:
    """One worker busy, one failed, one done; others wait, with and without priority, or are for later."""
    queue.do("add", count=1)
    with queue.worker(fail=True):
        until("the job to fail", lambda: queue.holds("failed == 1", "depth == 0"), seconds=20)
    queue.do("add", count=1)
    with queue.worker():
        until("the job to be done", lambda: queue.holds("completed == 1", "depth == 0"), seconds=20)
    queue.do("add", count=1)
    with queue.worker(wait=60000):
        until("the job to be worked on", lambda: queue.holds("active == 1", "workers == 1"), seconds=20)
        queue.do("add", count=3)
        queue.do("add", count=2, options={"priority": 5})
        queue.do("add", count=4, options={"delay": 3600000})
        queue.expect(
            *("depth == 5", "active == 1", "delayed == 4", "failed == 1", "completed == 1", "workers == 1"),
            *("paused == false", "oldest_s < 30", "oldest_s > 0"),
        )
    until("the worker to be gone", lambda: queue.holds("workers == 0"), seconds=10)
    queue.expect("depth == 5", "active == 1")
    queue.do("pause")
    queue.expect("depth == 5", "paused == true")
    queue.do("resume")
    queue.expect("depth == 5", "paused == false")


@LIBRARIES
def test_empty_queue_with_a_worker_is_there(queue: Queue) -> None:
    with queue.worker():
        until("the worker to connect", lambda: queue.holds("workers == 1"), seconds=20)
        result = queue.ask()
        assert outcome(result) == ("ok", "") and result["value"] == 0
        queue.expect("oldest_s == 0", "stuck == false")


@LIBRARIES
@pytest.mark.parametrize(
    "wrong", [{"queue": "other"}, {"prefix": "other"}, {"database": 5}], ids=["name", "prefix", "database"]
)
def test_a_queue_that_is_not_there_is_no_empty_one(queue: Queue, wrong: dict[str, Any]) -> None:
    queue.do("add", count=1)
    result = queue.ask(**wrong)
    assert outcome(result) == ("critical", "missing") and result["value"] is None, result


@LIBRARIES
@pytest.mark.parametrize("kept", [True, False], ids=["finished jobs kept", "finished jobs removed"])
def test_stuck(queue: Queue, kept: bool) -> None:
    """Jobs wait and no worker does anything; new jobs are no sign of life, finished ones are."""
    options = {"removeOnComplete": not kept}
    queue.do("add", count=300, options=options)
    assert outcome(queue.ask()) == ("ok", "")
    assert outcome(queue.ask(later=599)) == ("ok", "")
    queue.do("add", count=1, options=options)
    result = queue.ask(later=2)
    assert outcome(result) == ("critical", "threshold") and "stuck" in result["message"], result
    assert outcome(queue.ask(later=-7200)) == ("ok", "")  # the clock was set back: nothing is known
    with queue.worker(wait=50):
        before = queue.ask(later=1)["value"]
        until("some jobs to be done", lambda: queue.holds(f"depth < {int(before) - 1}"), seconds=20)
        assert outcome(queue.ask(later=700)) == ("ok", "")
    assert outcome(queue.ask(later=599)) == ("ok", "")
    assert outcome(queue.ask(later=601)) == ("critical", "threshold")


def test_one_long_job_after_another_is_not_stuck(redis: Target) -> None:
    """Finished jobs are not kept, so only the jobs themselves tell that there is a worker."""
    queue = Queue(redis, "bullmq")
    queue.do("add", count=5, options={"removeOnComplete": True})
    queue.ask()
    with queue.worker(wait=300):
        until("the first job to be done", lambda: queue.holds("depth <= 3"), seconds=20)
        assert outcome(queue.ask(later=700)) == ("ok", "")


@LIBRARIES
def test_a_delayed_job_waits_from_when_it_is_due(queue: Queue) -> None:
    """Whether a worker has put it among the waiting ones, or is busy, or there is none that could."""
    queue.do("add", count=1, options={"delay": 1500})
    with queue.worker(wait=60000):
        until("the delayed job to be worked on", lambda: queue.holds("active == 1", "delayed == 0"), seconds=20)
        queue.do("add", count=1, options={"delay": 2000})
        queue.expect("depth == 0", "delayed == 1", "oldest_s == 0")
        until("the delayed job to be due", lambda: queue.holds("depth == 1", "delayed == 0"), seconds=20)
        queue.expect("oldest_s < 2")
    queue.do("add", count=1, options={"delay": 1000})
    until("the next job to be due", lambda: queue.holds("depth == 2", "delayed == 0"), seconds=20)
    assert outcome(queue.ask()) == ("ok", "")
    assert outcome(queue.ask(later=601)) == ("critical", "threshold")


def test_queue_without_the_right_to_list_clients(redis: Target) -> None:
    queue = Queue(redis, "bullmq")
    queue.do("add", count=1)
    redis.sh(f"{queue.cli} acl setuser reader on '>{PASSWORDS['redis']}' '~*' +@read +time +select")
    probe = {**QUEUE, "user": "reader", "queue": queue.name}
    fields(redis, probe, "depth == 1", "workers == null")


def test_list_as_a_queue(redis: Target) -> None:
    queue = Queue(redis, "list")
    assert queue.holds("depth == 0", "oldest_s == 0", "stuck == false")
    queue.target.sh(f"{queue.cli} rpush {queue.name} a b c")
    assert queue.holds("depth == 3", "oldest_s == null", "active == null")
    queue.ask()
    queue.target.sh(f"{queue.cli} rpush {queue.name} d e")
    assert outcome(queue.ask(later=601)) == ("critical", "threshold")
    queue.target.sh(f"{queue.cli} lpop {queue.name}")
    assert outcome(queue.ask(later=601)) == ("ok", "")
    queue.target.sh(f"{queue.cli} lpop {queue.name}; {queue.cli} rpush {queue.name} f g h")  # deeper, but it moves
    assert outcome(queue.ask(later=601)) == ("ok", "")
    assert outcome(queue.ask(later=601)) == ("critical", "threshold")
    queue.target.sh(f"{queue.cli} del {queue.name}; {queue.cli} set {queue.name} x")
    result = queue.ask()
    assert outcome(result) == ("critical", "proto") and "WRONGTYPE" in result["message"], result


def test_stream_as_a_queue(redis: Target) -> None:
    queue = Queue(redis, "stream")
    assert outcome(queue.ask()) == ("critical", "missing")
    queue.target.sh(f"for n in 1 2 3 4; do {queue.cli} xadd {queue.name} '*' n $n; done")
    queue.expect("depth == 4", "oldest_s < 30", "active == 0")
    queue.target.sh(f"{queue.cli} xgroup create {queue.name} readers 0")
    queue.target.sh(f"{queue.cli} xreadgroup group readers me count 1 streams {queue.name} '>'")
    queue.expect("depth == 3", "active == 1", "workers == null", "oldest_s > 0")
    queue.ask()
    queue.target.sh(f"{queue.cli} xadd {queue.name} '*' n 5")
    assert outcome(queue.ask(later=601)) == ("critical", "threshold")
    queue.target.sh(f"{queue.cli} xreadgroup group readers me count 1 streams {queue.name} '>'")
    assert outcome(queue.ask(later=601)) == ("ok", "")
    # Deleted entries make the server unsure of the lag; then they are counted.
    last = queue.target.sh(f"{queue.cli} xrevrange {queue.name} + - count 1 | head -1")
    queue.target.sh(f"{queue.cli} xadd {queue.name} '*' n 6; {queue.cli} xdel {queue.name} {last}")
    queue.expect("depth == 3")
    queue.target.sh(f"{queue.cli} xreadgroup group readers me streams {queue.name} '>'")
    queue.expect("depth == 0", "oldest_s == 0", "active == 5")
    queue.ask()
    assert outcome(queue.ask(later=601)) == ("critical", "threshold")  # taken, and never acknowledged
    ids = queue.target.sh(f"{queue.cli} xpending {queue.name} readers - + 9 | grep -- -0 | tr '\\n' ' '")
    queue.target.sh(f"{queue.cli} xack {queue.name} readers {ids}")
    assert outcome(queue.ask(later=601)) == ("ok", "")
    queue.expect("active == 0", "stuck == false")


# --- PostgreSQL ------------------------------------------------------------------------------------------------------

POSTGRESQL = {"type": "postgresql", "user": "scram", "password": "${scram}", "database": "shop"}


@pytest.fixture(scope="module")
def postgresql(target: Target) -> Target:
    target.put(
        "/etc/postgresql/17/main/pg_hba.conf",
        "local all postgres peer\n"
        "local all scram scram-sha-256\n"
        "local all clear password\n"
        + "".join(
            f"host all {user} 127.0.0.1/32 {method}\n"
            for user, method in {
                **dict.fromkeys(("scram", "crowd", "frei"), "scram-sha-256"),
                **dict.fromkeys(("md5",), "md5"),
                **dict.fromkeys(("clear",), "password"),
                **dict.fromkeys(("trusted",), "trust"),
                **dict.fromkeys(("gss",), "gss"),
            }.items()
        ),
    )
    target.sh(f"install -o postgres -m 0600 {CERTIFICATES}/server.key /etc/postgresql/17/main/server.key")
    target.put(
        "/etc/postgresql/17/main/conf.d/probes.conf",
        f"ssl = on\nssl_cert_file = '{CERTIFICATES}/server.pem'\nssl_key_file = '/etc/postgresql/17/main/server.key'\n"
        "max_connections = 20\nsuperuser_reserved_connections = 3\nfsync = off\n",
    )
    target.start("postgresql@17-main")
    target.sh(
        "runuser -u postgres -- psql --quiet --set=ON_ERROR_STOP=1",
        given=f"""
DROP DATABASE IF EXISTS shop; CREATE DATABASE shop;
SET client_min_messages = error;
DROP ROLE IF EXISTS scram, md5, clear, trusted, gss, crowd, frei;
CREATE ROLE scram LOGIN PASSWORD '{PASSWORDS["scram"]}';
CREATE ROLE clear LOGIN PASSWORD '{PASSWORDS["clear"]}';
CREATE ROLE frei LOGIN PASSWORD 'Schlüßel ½{PASSWORDS["scram"]}';
CREATE ROLE trusted LOGIN; CREATE ROLE gss LOGIN; CREATE ROLE crowd LOGIN PASSWORD '{PASSWORDS["scram"]}';
SET password_encryption = 'md5'; CREATE ROLE md5 LOGIN PASSWORD '{PASSWORDS["md5"]}';
""",
    )
    return target


@pytest.mark.parametrize(
    "way",
    [
        pytest.param({}, id="SCRAM over TLS as offered"),
        pytest.param({"tls": "off"}, id="SCRAM in the clear"),
        pytest.param({"tls": "verify", "ca_file": CA}, id="SCRAM over TLS verified"),
        pytest.param({"tls": "verify", "ca_file": CA, "sni": "target.lab"}, id="SCRAM over TLS by name"),
        pytest.param({"user": "frei", "password": "Schlüßel ½${scram}"}, id="SASLprep"),
        pytest.param({"user": "md5", "password": "${md5}"}, id="MD5"),
        pytest.param({"user": "clear", "password": "${clear}", "tls": "require"}, id="clear text over TLS"),
        pytest.param({"user": "clear", "password": "${clear}", "socket": "/run/postgresql"}, id="clear text, socket"),
        pytest.param({"user": "trusted", "password": ""}, id="trust"),
        pytest.param({"socket": "/run/postgresql"}, id="Unix socket"),
        pytest.param(
            {"url": "postgresql://scram:s3cr3t-Scram%402%3Ax@127.0.0.1/shop?sslmode=disable&schema=public"}, id="url"
        ),
        pytest.param(
            {"url": f"postgres://scram:s3cr3t-Scram%402%3Ax@127.0.0.1:5432/shop?sslmode=verify-full&sslrootcert={CA}"},
            id="url that verifies",
        ),
        pytest.param({"url": "postgres://scram:s3cr3t-Scram%402%3Ax@/shop?host=/run/postgresql"}, id="url of a socket"),
    ],
)
def test_postgresql_up(postgresql: Target, way: dict[str, Any]) -> None:
    result = fields(
        postgresql,
        {**POSTGRESQL, **way},
        *("value == 1", "connections >= 1", "connections_pct in 1-90", "size_bytes > 1000000"),
        *("in_recovery == false", 'version ~ "^17[.][0-9]+$"'),
    )
    assert 0 < result["latency_ms"] < 2000 and result["details"]["version"].startswith("17.")
    assert ("days" in result["tls"]) == (not any(word in json.dumps(way) for word in ("off", "run", "disable")))


@pytest.mark.usefixtures("redis", "mail")
@pytest.mark.parametrize(
    ("way", "expected", "message"),
    [
        ({"password": "${wrong}"}, ("critical", "auth"), "28P01"),
        ({"password": ""}, ("critical", "auth"), "none is given"),
        ({"user": "md5", "password": "${wrong}"}, ("critical", "auth"), "28P01"),
        ({"user": "nobody"}, ("critical", "auth"), "28000"),
        ({"user": "gss"}, ("critical", "auth"), "GSSAPI"),
        ({"user": "clear", "password": "${clear}", "tls": "off"}, ("critical", "auth"), "clear text"),
        ({"database": "none"}, ("critical", "proto"), '3D000: database "none" does not exist'),
        ({"tls": "verify", "ca_file": OTHER_CA}, ("critical", "tls_chain"), "127.0.0.1"),
        ({"tls": "verify", "ca_file": CA, "sni": "wrong.lab"}, ("critical", "tls_host"), "wrong.lab"),
        ({"port": 6379}, ("critical", "timeout"), "127.0.0.1:6379"),
        ({"port": 2525}, ("critical", "proto"), "not the protocol of PostgreSQL"),
        ({"port": 2525, "tls": "off"}, ("critical", "proto"), "not the protocol of PostgreSQL"),
        ({"query": "SELECT nothing"}, ("critical", "proto"), "42703"),
        ({"query": "SELECT 1 WHERE false"}, ("critical", "threshold"), "value is unknown"),
        ({"query": "SELECT pg_sleep(10)"}, ("critical", "timeout"), ""),
        ({"query": "COPY (SELECT 1) TO STDOUT"}, ("critical", "proto"), "message of the type"),
        ({"user": ""}, ("unknown", "own_error"), "user"),
    ],
)
def test_postgresql_wrong(postgresql: Target, way: dict[str, Any], expected: tuple[str, str], message: str) -> None:
    result = ask(postgresql, {**POSTGRESQL, **way, "timeout": SHORT})
    assert outcome(result) == expected and message in result["message"], result


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ("SELECT 42::bigint, 1", "value == 42"),
        ("SELECT 2.5::numeric", "value == 2.5"),
        ("SELECT true", "value == true"),
        ("SELECT 'a b' UNION SELECT 'c' ORDER BY 1", 'value == "a b"'),
        ("WITH x AS (SELECT 7 AS n) SELECT n FROM x", "value == 7"),
        ("SELECT generate_series(5, 5000)", "value == 5"),
        ("SHOW max_connections", 'value == "20"'),
    ],
)
def test_postgresql_values(postgresql: Target, query: str, condition: str) -> None:
    fields(postgresql, {**POSTGRESQL, "query": query}, condition)


def test_postgresql_query_that_is_too_slow_does_not_go_on(postgresql: Target) -> None:
    query = "SELECT pg_sleep(60) /* too slow */"
    result = ask(postgresql, {**POSTGRESQL, "query": query, "timeout": SHORT})
    assert outcome(result) == ("critical", "timeout")
    command = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%too slow%' AND pid != pg_backend_pid()"
    running = f'runuser -u postgres -- psql -Atc "{command}"'
    until("the query to end", lambda: postgresql.sh(running) == "0", seconds=3)


def test_postgresql_full(postgresql: Target) -> None:
    """Near its limit it is critical by number, at the limit because nobody gets in."""
    sleep = "PGPASSWORD='{}' PGSSLMODE=disable psql -h 127.0.0.1 -U crowd shop -c 'SELECT pg_sleep(100)'"
    postgresql.sh(
        f'for n in $(seq 16); do systemd-run --quiet --unit=crowd-$n sh -c "{sleep.format(PASSWORDS["scram"])}"; done'
    )
    try:
        count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'crowd'"
        until(
            "the crowd to be in",
            lambda: postgresql.sh(f'runuser -u postgres -- psql -Atc "{count}"') == "16",
            seconds=20,
        )
        result = ask(postgresql, POSTGRESQL)
        assert outcome(result) == ("critical", "threshold") and "connections_pct is 100" in result["message"], result
        postgresql.sh(f'systemd-run --quiet --unit=crowd-17 sh -c "{sleep.format(PASSWORDS["scram"])}"')
        until("nobody to get in", lambda: "53300" in ask(postgresql, POSTGRESQL)["message"], seconds=20)
        assert outcome(ask(postgresql, POSTGRESQL)) == ("critical", "proto")
    finally:
        # The server goes on with their queries when they have gone away.
        end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'crowd'"
        postgresql.sh(f'systemctl stop "crowd-*"; runuser -u postgres -- psql -Atc "{end}"')
        postgresql.sh('systemctl reset-failed "crowd-*"', check=False)
    until("the crowd to be gone", lambda: outcome(ask(postgresql, POSTGRESQL)) == ("ok", ""), seconds=10)


def test_postgresql_slow_and_dead(postgresql: Target) -> None:
    with stopped(postgresql, "postgresql@17-main"):
        result = ask(postgresql, {**POSTGRESQL, "timeout": SHORT})
        assert outcome(result) == ("critical", "timeout") and SHORT * 1000 <= result["latency_ms"] < SHORT * 1500
    with dead(postgresql, "postgresql@17-main"):
        assert outcome(ask(postgresql, POSTGRESQL)) == ("critical", "refused")
        assert outcome(ask(postgresql, {**POSTGRESQL, "socket": "/run/postgresql"})) == ("critical", "refused")
    assert outcome(ask(postgresql, POSTGRESQL)) == ("ok", "")


# --- MariaDB ---------------------------------------------------------------------------------------------------------

MYSQL = {"type": "mysql", "user": "native", "password": "${native}", "database": "shop"}


@pytest.fixture(scope="module")
def mariadb(target: Target) -> Target:
    target.put(
        "/etc/mysql/mariadb.conf.d/99-probes.cnf",
        f"[mysqld]\nssl_cert={CERTIFICATES}/server.pem\nssl_key={CERTIFICATES}/server.key\nmax_connections=20\n",
    )
    target.start("mariadb")
    target.sh(
        "mariadb --skip-ssl",
        given=f"""
CREATE DATABASE IF NOT EXISTS shop; CREATE TABLE IF NOT EXISTS shop.orders (number int);
CREATE OR REPLACE USER native@'%' IDENTIFIED BY '{PASSWORDS["native"]}'; GRANT SELECT ON shop.* TO native@'%';
CREATE OR REPLACE USER watcher@'%' IDENTIFIED BY '{PASSWORDS["native"]}';
GRANT REPLICA MONITOR ON *.* TO watcher@'%';
CREATE OR REPLACE USER open@'%';
INSTALL PLUGIN IF NOT EXISTS ed25519 SONAME 'auth_ed25519';
CREATE OR REPLACE USER curve@'%' IDENTIFIED VIA ed25519 USING PASSWORD('{PASSWORDS["native"]}');
""",
    )
    return target


@pytest.mark.parametrize(
    "way",
    [
        pytest.param({}, id="native password over TLS as offered"),
        pytest.param({"tls": "off"}, id="native password in the clear"),
        pytest.param({"tls": "verify", "ca_file": CA}, id="TLS verified"),
        pytest.param({"socket": "/run/mysqld/mysqld.sock"}, id="Unix socket"),
        pytest.param({"user": "root", "password": "", "socket": "/run/mysqld/mysqld.sock"}, id="by the socket's user"),
        pytest.param({"url": "mysql://native:s3cr3t-Native%3F3@127.0.0.1:3306/shop?ssl-mode=REQUIRED"}, id="url"),
        pytest.param(
            {"url": "mariadb://native:s3cr3t-Native%3F3@localhost/shop?socket=/run/mysqld/mysqld.sock"},
            id="url of a socket",
        ),
    ],
)
def test_mariadb_up(mariadb: Target, way: dict[str, Any]) -> None:
    result = fields(
        mariadb,
        {**MYSQL, **way},
        *(
            "value == 1",
            "connections >= 1",
            "connections_pct in 1-90",
            "size_bytes > 10000",
            'version ~ "^11[.]8[.][0-9]+$"',
        ),
    )
    assert 0 < result["latency_ms"] < 2000
    assert ("days" in result["tls"]) == (not any(word in json.dumps(way) for word in ("off", "run")))


def test_mariadb_fields_that_need_a_right_or_a_database(mariadb: Target) -> None:
    fields(mariadb, MYSQL, "in_recovery == null")
    probe = {**MYSQL, "user": "watcher", "database": ""}
    fields(mariadb, probe, "in_recovery == false", "size_bytes == null", "value == 1")
    fields(mariadb, {**MYSQL, "user": "open", "password": "", "database": ""}, "value == 1")


@pytest.mark.usefixtures("redis", "mail")
@pytest.mark.parametrize(
    ("way", "expected", "message"),
    [
        ({"password": "${wrong}"}, ("critical", "auth"), "1045"),
        ({"password": ""}, ("critical", "auth"), "1045"),
        ({"user": "nobody"}, ("critical", "auth"), "1698"),
        ({"user": "curve"}, ("critical", "auth"), "client_ed25519"),
        ({"database": "none"}, ("critical", "auth"), "1044"),
        (
            {"user": "root", "password": "", "database": "none", "socket": "/run/mysqld/mysqld.sock"},
            ("critical", "proto"),
            "1049",
        ),
        ({"tls": "verify", "ca_file": OTHER_CA}, ("critical", "tls_chain"), "127.0.0.1"),
        ({"tls": "verify", "ca_file": CA, "sni": "wrong.lab"}, ("critical", "tls_host"), "wrong.lab"),
        ({"port": 6379}, ("critical", "timeout"), "127.0.0.1:6379"),
        ({"port": 2525}, ("critical", "proto"), "not the protocol of MySQL"),
        ({"query": "SELECT nothing"}, ("critical", "proto"), "1054"),
        ({"query": "SELECT 1 FROM shop.orders"}, ("critical", "threshold"), "value is unknown"),
        ({"query": "SELECT SLEEP(10)"}, ("critical", "timeout"), ""),
        ({"query": "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE orders"}, ("critical", "proto"), ""),
    ],
)
def test_mariadb_wrong(mariadb: Target, way: dict[str, Any], expected: tuple[str, str], message: str) -> None:
    result = ask(mariadb, {**MYSQL, **way, "timeout": SHORT})
    assert outcome(result) == expected and message in result["message"], result


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ("SELECT 42, 1", "value == 42"),
        ("SELECT 2.5", "value == 2.5"),
        ("SELECT 'a b' UNION SELECT 'c'", 'value == "a b"'),
        ("SELECT seq FROM seq_5_to_5000", "value == 5"),
        ("SELECT REPEAT('x', 70000) LIKE 'x%'", "value == 1"),
        ("SELECT REPEAT('x', 70000)", 'value ~ "^x+$"'),
    ],
)
def test_mariadb_values(mariadb: Target, query: str, condition: str) -> None:
    fields(mariadb, {**MYSQL, "query": query}, condition)


def test_mariadb_query_that_is_too_slow_does_not_go_on(mariadb: Target) -> None:
    result = ask(mariadb, {**MYSQL, "query": "SELECT SLEEP(60) /* too slow */", "timeout": SHORT})
    assert outcome(result) == ("critical", "timeout")
    running = "mariadb --skip-ssl -Ne 'SHOW FULL PROCESSLIST' | grep -c 'too[ ]slow' || true"
    until("the query to end", lambda: mariadb.sh(running) == "0", seconds=3)


def test_mariadb_slow_and_dead(mariadb: Target) -> None:
    with stopped(mariadb, "mariadb"):
        result = ask(mariadb, {**MYSQL, "timeout": SHORT})
        assert outcome(result) == ("critical", "timeout") and SHORT * 1000 <= result["latency_ms"] < SHORT * 1500
    with dead(mariadb, "mariadb"):
        assert outcome(ask(mariadb, MYSQL)) == ("critical", "refused")
    assert outcome(ask(mariadb, MYSQL)) == ("ok", "")


# --- SMTP ------------------------------------------------------------------------------------------------------------

SMTP = {"type": "smtp", "ca_file": CA}
LOGIN = {"user": "monitor", "password": "${mail}"}


@pytest.fixture(scope="module")
def mail(target: Target) -> Target:
    """Exim. Port 25: STARTTLS; 465: TLS; 2525: no TLS; 2526: LOGIN only; 2527: refuses all; 2528: refuses EHLO."""
    target.put(
        "/etc/exim4/exim4.conf",
        f"""\
primary_hostname = target.lab
daemon_smtp_ports = 25 : 465 : 2525 : 2526 : 2527 : 2528
tls_on_connect_ports = 465
tls_advertise_hosts = ${{if eq{{$received_port}}{{2525}}{{}}{{*}}}}
tls_certificate = {CERTIFICATES}/server.pem
tls_privatekey = {CERTIFICATES}/server.key
auth_advertise_hosts = ${{if or{{{{def:tls_in_cipher}}{{eq{{$received_port}}{{2525}}}}}}{{*}}{{}}}}
acl_smtp_connect = connection
acl_smtp_helo = greeting
acl_smtp_rcpt = nobody
begin acl
connection:
  deny condition = ${{if eq{{$received_port}}{{2527}}}}
       message = not today
  accept
greeting:
  deny condition = ${{if eq{{$received_port}}{{2528}}}}
       message = whoever you are
  accept
nobody:
  deny
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_advertise_condition = ${{if eq{{$received_port}}{{2526}}{{no}}{{yes}}}}
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{monitor}}}}{{eq{{$auth3}}{{{PASSWORDS["mail"]}}}}}}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${{if and{{{{eq{{$auth1}}{{monitor}}}}{{eq{{$auth2}}{{{PASSWORDS["mail"]}}}}}}}}}
  server_set_id = $auth1
""",
    )
    target.start("exim4")
    until("Exim to listen", lambda: target.succeeds("ss -Hltn sport = :2528 | grep -q LISTEN"), seconds=10)
    return target


@pytest.mark.parametrize(
    ("way", "conditions"),
    [
        pytest.param({}, ("starttls == true", "auth == null", "tls_days > 1"), id="STARTTLS as offered"),
        pytest.param({"tls": "starttls", **LOGIN}, ("starttls == true", "auth == true"), id="STARTTLS, PLAIN"),
        pytest.param({"port": 2526, **LOGIN}, ("starttls == true", "auth == true"), id="STARTTLS, LOGIN"),
        pytest.param({"port": 465, "tls": "implicit", **LOGIN}, ("starttls == true", "auth == true"), id="TLS at once"),
        pytest.param({"tls": "off"}, ("starttls == false", "tls_days == null"), id="no TLS wanted"),
        pytest.param({"port": 2525}, ("starttls == false",), id="no TLS offered"),
        pytest.param({"port": 2525, "tls": "off", **LOGIN}, ("auth == true",), id="login in the clear as told"),
        pytest.param({"sni": "target.lab", "helo": "monitor.lab"}, ("starttls == true",), id="by name"),
    ],
)
def test_smtp_up(mail: Target, way: dict[str, Any], conditions: tuple[str, ...]) -> None:
    fields(mail, {**SMTP, **way}, "code == 250", *conditions)


@pytest.mark.usefixtures("redis", "mariadb")
@pytest.mark.parametrize(
    ("way", "expected", "message"),
    [
        ({**LOGIN, "password": "${wrong}"}, ("critical", "auth"), "535"),
        ({**LOGIN, "port": 2526, "password": "${wrong}"}, ("critical", "auth"), "535"),
        ({**LOGIN, "port": 2525}, ("critical", "auth"), "clear text"),
        ({**LOGIN, "tls": "off"}, ("critical", "auth"), "no way to log in"),
        ({"port": 2525, "tls": "starttls"}, ("critical", "tls_other"), "does not offer STARTTLS"),
        ({"ca_file": OTHER_CA}, ("critical", "tls_chain"), "127.0.0.1"),
        ({"sni": "wrong.lab"}, ("critical", "tls_host"), "wrong.lab"),
        ({"port": 465, "tls": "implicit", "ca_file": OTHER_CA}, ("critical", "tls_chain"), "127.0.0.1"),
        ({"port": 465}, ("critical", "timeout"), "127.0.0.1:465"),
        ({"tls": "implicit"}, ("critical", "tls_other"), "127.0.0.1:25"),
        ({"port": 2527}, ("critical", "status"), "550 not today"),
        ({"port": 2528}, ("critical", "status"), "whoever you are"),
        ({"port": 6379}, ("critical", "timeout"), "127.0.0.1:6379"),
        ({"port": 3306}, ("critical", "proto"), "not SMTP"),
        ({"helo": "a b"}, ("unknown", "own_error"), "helo"),
    ],
)
def test_smtp_wrong(mail: Target, way: dict[str, Any], expected: tuple[str, str], message: str) -> None:
    result = ask(mail, {**SMTP, **way, "timeout": SHORT})
    assert outcome(result) == expected and message in result["message"], result


def test_smtp_bad_certificate_still_tells_its_dates(mail: Target) -> None:
    result = ask(mail, {**SMTP, "ca_file": OTHER_CA})
    assert result["tls"]["days"] > 1 and result["tls"]["verify_code"] == 20, result


def test_smtp_slow_and_dead(mail: Target) -> None:
    with stopped(mail, "exim4"):
        result = ask(mail, {**SMTP, "timeout": SHORT})
        assert outcome(result) == ("critical", "timeout") and SHORT * 1000 <= result["latency_ms"] < SHORT * 1500
    with dead(mail, "exim4"):
        assert outcome(ask(mail, SMTP)) == ("critical", "refused")
    until("Exim to answer", lambda: outcome(ask(mail, SMTP)) == ("ok", ""), seconds=10)
