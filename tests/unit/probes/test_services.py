# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Native protocols: what is computed, what bytes mean, and servers that lie. The real ones are in tests/probes."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from typing import Any, Union

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _probe_mysql, _probe_postgresql, _probe_sql
from ansible_collections.quai.ops.plugins.module_utils._probe_address import split_address
from ansible_collections.quai.ops.plugins.module_utils._probe_base import OwnFault, ProbeFailed
from ansible_collections.quai.ops.plugins.module_utils._probe_engine import run_probes
from ansible_collections.quai.ops.plugins.module_utils._probe_postgresql import Scram, prepared
from ansible_collections.quai.ops.plugins.module_utils._probe_queue import stuck, waiting_since, workers_of
from ansible_collections.quai.ops.plugins.module_utils._probe_redis import endpoint, facts_of, fields_of
from ansible_collections.quai.ops.plugins.module_utils._probe_smtp import Answer, extensions
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import normalise
from ansible_collections.quai.ops.plugins.module_utils._resp import (
    Client,
    NotResp,
    Refusal,
    encode,
    number,
    pairs,
    read_reply,
)

from tests.unit.probes.servers import Behaviour, Server

PASSWORD = "s3cr3t-Unit"
# Steps of a server: bytes it sends, a number of bytes it reads, a function of what it reads to what it sends, None: it
# closes the connection.
Step = Union[bytes, int, Callable[[bytes], bytes], None]


def script(*steps: Step) -> Behaviour:
    """A server that does this, then says no more until the client goes."""

    def behave(connection: socket.socket, _number: int, _asked: bytes) -> None:
        read = b""
        for step in steps:
            if step is None:
                return
            if isinstance(step, int):
                read = b""
                while len(read) < step:
                    data = connection.recv(step - len(read))
                    if not data:
                        return
                    read += data
            else:
                if callable(step):
                    read = connection.recv(65536)
                    step = step(read)  # noqa: PLW2901 - what it says depends on what it heard
                connection.sendall(step)
        while connection.recv(65536):
            pass

    behave.speaks_first = True  # type: ignore[attr-defined]
    return behave


def ask(kind: str, *steps: Step, **options: Any) -> dict[str, Any]:
    """The result of a probe of a server that does these steps."""
    with Server(script(*steps)) as server:
        probe = {"name": "a", "type": kind, "port": server.port, "timeout": 1, "password": "${p}", **options}
        (result,) = run_probes(normalise([probe]), secrets={"p": PASSWORD})
    assert PASSWORD not in json.dumps(result)
    return result


def spec(kind: str, **options: Any) -> dict[str, Any]:
    return dict(normalise([{"name": "a", "type": kind, **options}])[0])


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", ("redis", "", "", "h", 0, "", {})),
        ("REDIS://h:1/2", ("redis", "", "", "h", 1, "2", {})),
        ("rediss://:p%40%2F@h", ("rediss", "", "p@/", "h", 0, "", {})),
        ("redis://u:p@@h/", ("redis", "u", "p@", "h", 0, "", {})),
        ("redis://[::1]:7/0", ("redis", "", "", "::1", 7, "0", {})),
        ("redis+x://h?a=1&b=%20&c", ("redis+x", "", "", "h", 0, "", {"a": "1", "b": " "})),
        ("redis:///run/a%20b.sock#x", ("redis", "", "", "", 0, "run/a b.sock", {})),
    ],
)
def test_address(url: str, expected: tuple[Any, ...]) -> None:
    assert tuple(split_address(url, ("redis", "rediss"))) == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3cr3t-Unit", "must begin with redis://"),
        ("http://u:s3cr3t-Unit@h", "begins with http://"),
        ("redis://u:s3cr3t-Unit/@h", "port"),
        ("redis://u:\u00b2/s3cr3t-Unit@h", "port"),
        ("redis://u:s3cr3t-Unit@h:99999", "port"),
        ("redis://u:s3cr3t-Unit@h1,h2", "several hosts"),
        ("redis://u:s3cr3t-Unit@[::1", "IPv6"),
    ],
)
def test_address_that_is_wrong_is_not_shown(url: str, message: str) -> None:
    with pytest.raises(OwnFault, match=message) as fault:
        split_address(url, ("redis",))
    assert PASSWORD not in str(fault.value)


def test_address_of_redis() -> None:
    found = endpoint(spec("redis", url="rediss://u:p@h/3", socket="/other"))
    assert [found[name] for name in ("host", "port", "database", "tls", "socket", "user")] == [
        "h",
        6379,
        3,
        True,
        "",
        "u",
    ]
    found = endpoint(spec("redis", url="unix:///run/r.sock?db=4"))
    assert (found["socket"], found["database"], found["tls"]) == ("/run/r.sock", 4, False)
    for url, message in (("redis://h/shop", "numbers"), ("unix://", "path of a socket")):
        with pytest.raises(OwnFault, match=message):
            endpoint(spec("redis", url=url))


def test_address_of_a_database() -> None:
    def sql(**options: Any) -> dict[str, Any]:
        return _probe_sql.endpoint(spec("postgresql", **options), ("postgres", "postgresql"), 5432)

    found = sql(url="postgresql+psycopg://u:p%40@h:1/shop?sslmode=verify-full&sslrootcert=/ca&schema=x", tls="off")
    expected = {
        "host": "h",
        "port": 1,
        "user": "u",
        "password": "p@",
        "database": "shop",
        "tls": "verify",
        "ca_file": "/ca",
    }
    assert {name: found[name] for name in expected} == expected and found["socket"] == ""
    found = sql(url="postgres://u@/shop?host=%2Frun%2Fpostgresql&password=p")
    assert (found["socket"], found["port"], found["password"]) == ("/run/postgresql", 5432, "p")
    for options, message in (
        ({"url": "postgres://u@h?sslmode=maybe"}, 'sslmode is "maybe"'),
        ({"url": "postgres://h/shop"}, "user"),
        ({"user": "a\0b"}, "NUL"),
    ):
        with pytest.raises(OwnFault, match=message):
            sql(**options)


# --- RESP ------------------------------------------------------------------------------------------------------------


class Bytes:
    """A stream that is all there."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.sent = b""

    def send(self, data: bytes) -> None:
        self.sent += data

    def recv_line(self, limit: int = 8192) -> bytes:
        line, _end, self.data = self.data.partition(b"\r\n")
        return line

    def recv_exactly(self, size: int) -> bytes:
        data, self.data = self.data[:size], self.data[size:]
        assert len(data) == size
        return data


def test_resp_command() -> None:
    assert encode(["SET", "key", "é", 7, b"\0\r\n"]) == (
        b"*5\r\n$3\r\nSET\r\n$3\r\nkey\r\n$2\r\n\xc3\xa9\r\n$1\r\n7\r\n$3\r\n\0\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"+OK\r\n", "OK"),
        (b":-12\r\n", -12),
        (b"$0\r\n\r\n", b""),
        (b"$4\r\na\r\nb\r\n", b"a\r\nb"),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"*0\r\n", []),
        (b"*3\r\n:1\r\n*1\r\n$1\r\nx\r\n-ERR no\r\n", [1, [b"x"], Refusal("ERR no")]),
    ],
)
def test_resp_reply(data: bytes, reply: Any) -> None:
    stream = Bytes(data)
    assert read_reply(stream) == reply and stream.data == b""


@pytest.mark.parametrize(
    "data",
    [
        *(b"HTTP/1.1 400 Bad Request\r\n", b"\r\n", b":\r\n", b":1x\r\n", b":--1\r\n", b"$-2\r\n", b"*-2\r\n"),
        *(b"$99999999999\r\n", b"$1\r\nabc", b"*99999999\r\n", b":123456789012345678901\r\n", "$²\r\n".encode()),
        b"*1\r\n" * 20 + b":1\r\n",
    ],
)
def test_not_resp(data: bytes) -> None:
    with pytest.raises(NotResp):
        read_reply(Bytes(data))


def test_resp_commands_together() -> None:
    stream = Bytes(b"+PONG\r\n-NOAUTH Authentication required.\r\n$2\r\n17\r\n")
    replies = Client(stream).ask([["PING"], ["GET", "a"], ["GET", "b"]])
    assert replies[0] == "PONG" and replies[1].code == "NOAUTH" and number(replies[2]) == 17
    assert stream.sent == encode(["PING"]) + encode(["GET", "a"]) + encode(["GET", "b"])
    assert (number(b"x"), number(None), number(3)) == (None, None, 3)
    assert pairs([b"a", 1, b"b", [b"c"]]) == {"a": 1, "b": [b"c"]} and pairs(None) == {}


# --- Redis -----------------------------------------------------------------------------------------------------------

INFO = """\
# Server\r
redis_version:7.2.4\r
valkey_version:8.1.1\r
# Memory\r
used_memory:2000\r
maxmemory:8000\r
# Persistence\r
loading:0\r
rdb_last_bgsave_status:ok\r
aof_enabled:1\r
aof_last_write_status:err\r
# Replication\r
role:slave\r
master_link_status:down\r
"""


def test_info() -> None:
    found = fields_of(facts_of(INFO))
    assert found == {
        **dict.fromkeys(("clients", "evicted", "rejected")),
        "role": "slave",
        "master_link": "down",
        "loading": False,
        "memory_bytes": 2000,
        "memory_pct": 25.0,
        "last_save_ok": False,
        "version": "8.1.1",
    }
    assert fields_of(facts_of(INFO.replace("maxmemory:8000", "maxmemory:0")))["memory_pct"] is None
    assert fields_of(facts_of(INFO.replace("status:err", "status:ok")))["last_save_ok"] is True
    assert set(fields_of({}).values()) == {None}


@pytest.mark.parametrize(
    ("replies", "reason", "message"),
    [
        (b"-ERR invalid password\r\n+PONG\r\n$0\r\n\r\n", "auth", "invalid password"),
        (b"-ERR AUTH <password> called without any password configured\r\n+PONG\r\n$0\r\n\r\n", "auth", "without any"),
        (b"-DENIED Redis is running in protected mode\r\n" * 3, "auth", "protected mode"),
        (b"-ERR max number of clients reached\r\n" * 3, "auth", "max number"),
        (b"+OK\r\n-LOADING Redis is loading\r\n$9\r\nloading:1\r\n", "threshold", "ping is"),
        (b"+OK\r\n-BUSY Redis is busy running a script\r\n-BUSY Redis\r\n", "threshold", "BUSY"),
        (b"+OK\r\n+PONG\r\n", "timeout", "no answer"),
        (b"220 mail.example ESMTP\r\n", "proto", "not the protocol of Redis"),
        (b"+" + b"x" * 9000, "proto", "line"),
    ],
)
def test_redis_refuses(replies: bytes, reason: str, message: str) -> None:
    result = ask("redis", lambda _asked: replies)
    assert result["status"] == "critical" and result["reason"] == reason and message in result["message"], result


def test_redis_while_it_loads() -> None:
    replies = b"+OK\r\n-LOADING Redis is loading the dataset in memory\r\n$9\r\nloading:1\r\n"
    assert ask("redis", lambda _asked: replies, expect="loading == true")["status"] == "ok"
    # To a user who may not run INFO.
    replies = b"+OK\r\n-LOADING Redis is loading\r\n-NOPERM no INFO\r\n"
    assert ask("redis", lambda _asked: replies, expect="loading == true")["status"] == "ok"


def test_redis_of_which_a_user_may_not_have_the_database() -> None:
    result = ask("redis", lambda _asked: b"+OK\r\n-NOPERM no SELECT\r\n+PONG\r\n$0\r\n\r\n", user="u", database=1)
    assert result["reason"] == "auth" and "SELECT" in result["message"]


# --- queues ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "since"),
    [
        ({}, None),
        ({"timestamp": "soon"}, None),
        ({"timestamp": "1000"}, 1000),
        ({"timestamp": "1000", "opts": '{"delay": 500, "attempts": 3}'}, 1500),
        ({"timestamp": "1000", "opts": "no JSON"}, 1000),
        ({"timestamp": "1000", "opts": "[1]"}, 1000),
        ({"timestamp": "1000", "opts": '{"delay": 500}', "processedOn": "9000"}, 9000),
        ({"timestamp": "1000", "opts": '{"backoff": 50}', "processedOn": "9000"}, 9050),
        ({"timestamp": "1", "opts": '{"backoff": {"type": "fixed", "delay": 50}}', "processedOn": "9000"}, 9050),
        (
            {
                "timestamp": "1",
                "opts": '{"backoff": {"type": "exponential", "delay": 50}}',
                "processedOn": "9000",
                "atm": "3",
            },
            9400,
        ),
        ({"timestamp": "1", "opts": '{"backoff": {"type": "own"}}', "processedOn": "9000", "attemptsMade": "2"}, 9000),
    ],
)
def test_waiting_since(job: dict[str, str], since: float | None) -> None:
    assert waiting_since(job) == since


def test_workers() -> None:
    name = "bull:" + base64.b64encode(b"mail").decode()
    clients = "\n".join(
        [
            f"id=1 addr=a name={name} cmd=bzpopmin user=default",
            f"id=2 addr=a name={name}:w:one cmd=bzpopmin",
            f"id=3 addr=a name={name}:qe cmd=xread",
            f"id=4 addr=a name={name}x cmd=bzpopmin",
            f"id=6 addr=a name={name} db=3 cmd=bzpopmin",
            "id=5 addr=a name= cmd=client|list",
        ]
    )
    assert workers_of(clients, "bull", "mail", "bullmq", 0) == 2
    # Databases have queues of the same name, each with its own workers.
    assert workers_of(clients, "bull", "mail", "bullmq", 3) == 3
    assert workers_of(clients, "bull", "other", "bullmq", 0) == 0
    assert workers_of("", "bull", "mail", "bull", 0) == 0
    # Bull 3: three connections of one worker.
    three = "\n".join(f"id={n} name={name} cmd={cmd}" for n, cmd in enumerate(["brpoplpush", "evalsha", "subscribe"]))
    assert workers_of(three, "bull", "mail", "bull", 0) == 1
    # Who only adds jobs has that name as well.
    assert workers_of(f"id=1 name={name} cmd=evalsha", "bull", "mail", "bull", 0) == 0
    assert workers_of(f"id=1 name={name} cmd=client|setname", "bull", "mail", "bull", 0) == 1


def test_stuck() -> None:
    memory: dict[str, Any] = {}

    def look(now: float, waiting: bool = True, **signs: Any) -> bool | None:
        nonlocal memory
        memory = json.loads(json.dumps(memory))  # as the state file keeps it
        return stuck(memory, signs, waiting, now, 600)

    assert look(0, done=1) is None
    assert look(599, done=1) is False
    assert look(600, done=1) is True
    assert look(601, done=2) is False
    assert look(1300, waiting=False, done=2) is False
    assert look(1899, done=2) is False
    assert look(1900, done=2) is True
    assert look(-3600, done=2) is None  # the clock went back
    assert look(-3001, done=2) is False
    assert look(-3000, done=2) is True


# --- PostgreSQL ------------------------------------------------------------------------------------------------------

# RFC 7677, section 3.
NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = f"r={NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode()
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_scram_as_in_the_standard() -> None:
    proof = Scram("pencil", "user", NONCE)
    assert proof.first() == b"n,,n=user,r=" + NONCE.encode()
    final = f"c=biws,r={NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert proof.final(SERVER_FIRST) == final.encode()
    assert not proof.verified
    proof.verify(SERVER_FINAL)
    assert proof.verified


def test_scram_begins_with_another_nonce_each_time() -> None:
    one, other = Scram("x", "a=b,c"), Scram("x", "a=b,c")
    assert one.first().startswith(b"n,,n=a=3Db=2Cc,r=") and one.first() != other.first()


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (SERVER_FIRST.replace(NONCE.encode(), b"another"), "nonce"),
        (f"r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode(), "nonce"),
        (SERVER_FIRST.replace(b"4096", b"0"), "iterations"),
        (SERVER_FIRST.replace(b"4096", b"2000000000"), "iterations"),
        (SERVER_FIRST.replace(b"4096", b"x"), "count"),
        (SERVER_FIRST.replace(b"W22Z", b"W22"), "salt"),
        (b"", "nonce"),
        (b"\xff\xfe", "nonce"),
    ],
)
def test_scram_message_that_is_none(first: bytes, message: str) -> None:
    with pytest.raises(ProbeFailed, match=message) as failed:
        Scram("pencil", "user", NONCE).final(first)
    assert failed.value.reason == "proto"


@pytest.mark.parametrize("final", [SERVER_FINAL.replace(b"6", b"7"), b"v=", b"", b"e=invalid-proof", "v=é".encode()])
def test_scram_server_that_does_not_know_the_password(final: bytes) -> None:
    proof = Scram("pencil", "user", NONCE)
    proof.final(SERVER_FIRST)
    with pytest.raises(ProbeFailed) as failed:
        proof.verify(final)
    assert failed.value.reason == "auth" and not proof.verified
    with pytest.raises(ProbeFailed):
        Scram("pencil", "user", NONCE).verify(b"v=")  # before anything was signed


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        # RFC 4013, section 3; what it forbids is left as it is.
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("\u0007é", "\u0007é"),
        ("\u06271", "\u06271"),
        ("\u06271\u0628", "\u06271\u0628"),
        ("\u00ad", "\u00ad"),
    ],
)
def test_saslprep(password: str, expected: str) -> None:
    assert prepared(password) == expected.encode()


def test_md5_answer() -> None:
    # md5(md5("secret" + "quai") + salt), computed with md5sum.
    assert _probe_postgresql.md5_answer("quai", "secret", b"\1\2\3\4") == b"md5%s" % MD5_OF_QUAI


MD5_OF_QUAI = b"7b97480c994fdb440f113b2225072e7b"


def test_postgresql_rows() -> None:
    def column(name: bytes, kind: int) -> bytes:
        return name + b"\0" + bytes(6) + kind.to_bytes(4, "big") + bytes(8)

    kinds = [20, 1700, 16, 16, 25, 701, 23, 701]
    described = len(kinds).to_bytes(2, "big") + b"".join(column(b"c%d" % kind, kind) for kind in kinds)
    values = [b"-7", b"2.50", b"t", b"f", "é".encode(), b"NaN", None, b"Infinity"]
    row = len(values).to_bytes(2, "big") + b"".join(
        b"\xff\xff\xff\xff" if value is None else len(value).to_bytes(4, "big") + value for value in values
    )
    assert _probe_postgresql.column_types(described) == kinds
    assert _probe_postgresql.row_values(row, kinds) == [-7, 2.5, True, False, "é", "NaN", None, "Infinity"]


def message(kind: bytes, content: bytes) -> bytes:
    return kind + (len(content) + 4).to_bytes(4, "big") + content


OK, READY = message(b"R", bytes(4)), message(b"Z", b"I")


def error(code: str, text: str = "no") -> bytes:
    return message(b"E", f"SFATAL\0C{code}\0M{text}\0\0".encode())


@pytest.mark.parametrize(
    ("steps", "reason", "said"),
    [
        ([b"S" + b"more in the clear"], "proto", "in the clear"),
        ([b"H"], "proto", "not the protocol of PostgreSQL"),
        ([error("57P03", "the database system is starting up")], "proto", "starting up"),
        ([b"N", lambda _asked: error("28000", "no pg_hba.conf entry")], "auth", "pg_hba"),
        ([b"N", lambda _asked: error("08P01", "SASL authentication failed")], "auth", "08P01"),
        ([b"N", lambda _asked: error("08P01", "no such database")], "proto", "08P01"),
        ([b"N", lambda _asked: message(b"R", (3).to_bytes(4, "big"))], "auth", "clear text"),
        ([b"N", lambda _asked: message(b"R", (7).to_bytes(4, "big"))], "auth", "GSSAPI"),
        ([b"N", lambda _asked: message(b"R", (10).to_bytes(4, "big") + b"SCRAM-NEW\0\0")], "auth", "SCRAM-NEW"),
        ([b"N", lambda _asked: message(b"R", (12).to_bytes(4, "big") + b"v=x")], "auth", "method 12"),
        ([b"N", lambda _asked: b"R\xff\xff\xff\xff"], "proto", "not the protocol"),
        ([b"N", lambda _asked: b"R\x7f\xff\xff\xff"], "proto", "not the protocol"),
        ([b"N", lambda _asked: OK + message(b"X", b"")], "proto", "type"),
        ([b"N", lambda _asked: OK + READY, lambda _asked: READY * 3 + message(b"G", bytes(3))], "proto", "message of"),
        ([b"N", lambda _asked: OK + READY, lambda _asked: error("57P01", "bye"), None], "reset", "closed"),
        ([b"N", lambda _asked: OK], "timeout", "no answer"),
    ],
)
def test_postgresql_server_that_lies(steps: list[Step], reason: str, said: str) -> None:
    result = ask("postgresql", 8, *steps, user="quai")
    assert result["status"] == "critical" and result["reason"] == reason and said in result["message"], result


def _scram_server(finals: Callable[[bytes], bytes]) -> list[Step]:
    def first(asked: bytes) -> bytes:
        nonce = asked.rpartition(b"r=")[2]
        return message(b"R", (11).to_bytes(4, "big") + b"r=" + nonce + b"xyz,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")

    offer = message(b"R", (10).to_bytes(4, "big") + b"SCRAM-SHA-256\0\0")
    return [b"N", lambda _asked: offer, first, finals]


@pytest.mark.parametrize(
    ("final", "said"),
    [
        (message(b"R", (12).to_bytes(4, "big") + SERVER_FINAL) + OK + READY, "does not know the password"),
        (OK + READY, "without proof"),
    ],
)
def test_postgresql_server_that_does_not_know_the_password(final: bytes, said: str) -> None:
    result = ask("postgresql", 8, *_scram_server(lambda _asked: final), user="quai")
    assert result["reason"] == "auth" and said in result["message"], result


def test_postgresql_facts_that_are_not_allowed_are_unknown() -> None:
    def row(*values: bytes) -> bytes:
        described = len(values).to_bytes(2, "big") + b"".join(
            b"c\0" + bytes(6) + b"\0\0\0\x17" + bytes(8) for _ in values
        )
        data = b"".join(len(value).to_bytes(4, "big") + value for value in values)
        return message(b"T", described) + message(b"D", len(values).to_bytes(2, "big") + data) + message(b"C", b"S\0")

    denied = message(b"E", b"SERROR\0C42501\0Mpermission denied\0\0")
    answers = denied + READY + denied + READY + row(b"4096") + READY + row(b"1") + READY
    parameters = message(b"S", b"server_version\x0016.4 (Ubuntu)\0")
    result = ask(
        *("postgresql", 8, b"N", lambda _asked: OK + parameters + READY),
        # PgBouncer gives no answers any more when the end of the session is sent with the queries.
        lambda asked: b"" if asked.endswith(b"X\0\0\0\4") else answers,
        user="quai",
        expect=[
            "value == 1",
            "connections == null",
            "connections_pct == null",
            "size_bytes == 4096",
            "version == 16.4",
        ],
    )
    assert result["status"] == "ok" and result["details"]["version"] == "16.4", result


# --- MySQL -----------------------------------------------------------------------------------------------------------

# The examples of the protocol's documentation.
GREETING_56 = bytes.fromhex(
    "500000000a352e362e342d6d372d6c6f6700560a00005242337 67a26477200ffff080200 0fc015000000000000000000 00"
    "7076213d505c5a322a7a493f006d7973716c5f6e61746976655f70617373776f726400".replace(" ", "")
)
NONCE_SHA2 = bytes([10, 47, 74, 111, 75, 73, 34, 48, 88, 76, 114, 74, 37, 13, 3, 80, 82, 2, 23, 21])


def test_mysql_greeting() -> None:
    found = _probe_mysql.read_greeting(GREETING_56[4:])
    assert (found.version, found.mariadb, found.plugin) == ("5.6.4-m7-log", False, "mysql_native_password")
    assert found.nonce == b"RB3vz&Grpv!=P\\Z2*zI?" and found.capabilities == 0xC00FFFFF
    with pytest.raises(ProbeFailed, match="version 10"):
        _probe_mysql.read_greeting(b"\x09" + GREETING_56[5:])
    with pytest.raises(ProbeFailed, match="1040: Too many") as failed:
        _probe_mysql.read_greeting(b"\xff\x10\x04Too many connections")
    assert failed.value.reason == "proto"
    with pytest.raises(ProbeFailed, match="1130: Host") as failed:
        _probe_mysql.read_greeting(b"\xff\x6a\x04Host is not allowed")
    assert failed.value.reason == "auth"


def test_mysql_proofs() -> None:
    import hashlib

    def sha1(data: bytes) -> bytes:
        return hashlib.sha1(data).digest()  # noqa: S324 - the protocol's

    nonce = b"RB3vz&Grpv!=P\\Z2*zI?"
    proof = _probe_mysql.native_answer(b"secret", nonce)
    # What a server does: it knows SHA1(SHA1(password)), takes its part away and compares.
    stored = sha1(sha1(b"secret"))
    inner = bytes(left ^ right for left, right in zip(proof, sha1(nonce + stored)))
    assert sha1(inner) == stored
    assert _probe_mysql.native_answer(b"", nonce) == b"" == _probe_mysql.sha2_answer(b"", nonce)
    assert _probe_mysql.sha2_answer(b"secret", NONCE_SHA2).hex() == (
        "f490e76f66d9d86665ce54d98c78d0acfe2fb0b08b423da807144873d30b312c"
    )


def test_mysql_rows() -> None:
    def column(kind: int) -> bytes:
        return b"\x03def\0\0\0\x01c\0\x0c\x2d\0\x10\0\0\0" + bytes([kind]) + bytes(5)

    kinds = [8, 246, 253, 6, 253]
    assert [_probe_mysql.column_type(column(kind)) for kind in kinds] == kinds
    long = b"x" * 300
    row = b"\x0242" + b"\x032.5" + b"\x03a b" + b"\xfb" + b"\xfc\x2c\x01" + long
    assert _probe_mysql.row_values(row, kinds) == [42, 2.5, "a b", None, long.decode()]


def packet(sequence: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "little") + bytes([sequence]) + content


@pytest.mark.parametrize(
    ("steps", "reason", "said"),
    [
        ([b"220 mail.example ESMTP\r\n"], "proto", "not the protocol of MySQL"),
        ([packet(0, b"")], "proto", "empty"),
        ([packet(1, b"\x0a")], "proto", "not the protocol of MySQL"),
        ([packet(0, b"\x0a5.7")], "proto", "version 10"),
        ([GREETING_56, lambda _a: packet(2, b"\xff\x15\x04#28000Access denied")], "auth", "1045: Access denied"),
        ([GREETING_56, lambda _a: packet(2, b"\xfedialog\0x")], "auth", "plugin dialog"),
        ([GREETING_56, lambda _a: packet(2, b"\xfe")], "auth", "mysql_old_password"),
        ([GREETING_56, lambda _a: packet(2, b"\xfemysql_clear_password\0")], "auth", "clear text"),
        ([GREETING_56, lambda _a: packet(2, b"\xfecaching_sha2_password\0" + bytes(21)),
          lambda _a: packet(4, b"\x01\x04")], "auth", "clear text"),
        ([GREETING_56, lambda _a: packet(2, b"\x01\x04")], "proto", "login"),
        ([GREETING_56, lambda _a: packet(2, bytes(7)), lambda _a: packet(1, b"\xfb/etc/passwd")], "proto", "file"),
        ([GREETING_56], "timeout", "no answer"),
    ],
)  # fmt: skip
def test_mysql_server_that_lies(steps: list[Step], reason: str, said: str) -> None:
    result = ask("mysql", *steps, user="quai", tls="off")
    assert result["status"] == "critical" and result["reason"] == reason and said in result["message"], result


def test_mysql_without_tls() -> None:
    result = ask("mysql", GREETING_56.replace(b"\xff\xff\x08", b"\xff\xf7\x08"), user="quai", tls="require")
    assert result["reason"] == "tls_other" and "does not offer TLS" in result["message"]


# --- SMTP ------------------------------------------------------------------------------------------------------------


def test_smtp_extensions() -> None:
    lines = ["mail.example", "STARTTLS", "auth plain Login", "AUTH=CRAM-MD5", "SIZE 10", ""]
    assert extensions(Answer(250, lines)) == {
        "STARTTLS": [],
        "AUTH": ["PLAIN", "LOGIN", "CRAM-MD5"],
        "SIZE": ["10"],
        "": [],
    }


EHLO = b"250-mail.example\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"


@pytest.mark.parametrize(
    ("steps", "options", "reason", "said"),
    [
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], {}, "proto", "not SMTP"),
        ([b"220\xb2 x\r\n"], {}, "proto", "not SMTP"),
        ([b"421 too busy\r\n"], {}, "status", "421 too busy"),
        ([b"220-a\r\n" * 200], {}, "proto", "lines"),
        ([b"220 x\r\n", lambda _a: b"502 what\r\n"], {}, "status", "502 what"),
        ([b"220 x\r\n", lambda _a: EHLO, lambda _a: b"454 no\r\n"], {}, "tls_other", "454 no"),
        ([b"220 x\r\n", lambda _a: EHLO, lambda _a: b"220 go\r\n250 early\r\n"], {}, "proto", "in the clear"),
        ([b"220 x\r\n", lambda _a: b"250 x\r\n"], {"user": "u"}, "auth", "not sent in clear text"),
        ([b"220 x\r\n", lambda _a: b"250-x\r\n250 AUTH CRAM-MD5\r\n"], {"user": "u", "tls": "off"}, "auth", "CRAM-MD5"),
        # A server that repeats what it did not like, in clear text and in Base64.
        ([b"220 x\r\n", lambda _a: EHLO, lambda asked: b"535 bad: " + asked.split()[-1] + b"\r\n"],
         {"user": "u", "tls": "off"}, "auth", "535 bad: ***"),
        ([b"220 x\r\n", lambda _a: EHLO, lambda asked: b"535 " + base64.b64decode(asked.split()[-1])[3:] + b"\r\n"],
         {"user": "u", "tls": "off"}, "auth", "535 ***"),
        ([b"2"], {}, "timeout", "no answer"),
    ],
)  # fmt: skip
def test_smtp_server_that_lies(steps: list[Step], options: dict[str, Any], reason: str, said: str) -> None:
    result = ask("smtp", *steps, timeout=0.5, **options)
    assert result["status"] == "critical" and result["reason"] == reason and said in result["message"], result
