# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to real servers, with our client and with redis-py: replies, errors, time, TLS, users, clusters."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils._redis_link import (
    Link,
    RedisFailed,
    Script,
    Server,
    key_slot,
    place,
)
from ansible_collections.quai.ops.plugins.module_utils._resp import Refusal, text
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab import authority
from lab.wait import until
from tests.queues import masters
from tests.queues.place import Database, Place

SECRET = "gh7-Kq#2 pw"
CLIENTS = ["builtin"]
if importlib.util.find_spec("redis"):
    CLIENTS.append("redis-py")


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    """Each client that is installed here."""
    return str(request.param)


def opened(database: Database, client: str, **more: Any) -> Server:
    """A server with this client."""
    return Server({**database.options, "client": client, **more})


def refused(options: dict[str, Any]) -> RedisFailed:
    """What connecting so, and asking, ends with."""
    with pytest.raises(RedisFailed) as caught, Server(options) as server:
        server.first.call("GET", "a")
    return caught.value


def test_replies(redis: Database, client: str) -> None:
    """Every kind of reply is the same plain data, an error is a value among others."""
    with opened(redis, client) as server:
        replies = server.first.ask(
            ("SET", "a", "é\r\n\x00"),
            ("GET", "a"),
            ("GET", "none"),
            ("INCR", "n"),
            ("LPUSH", "a", 1),
            ("TYPE", "n"),
            ("MSET", "x", 1, "y", 2),
            ("MGET", "x", "none", "y"),
            ("EVAL", "return {1, {'b', redis.error_reply('ODD thing')}, false}", 0),
            ("EVALSHA", "0" * 40, 0),
            ("NOTHING", "such"),
            ("GET", b"a"),
        )
        assert replies[:4] == ["OK", "é\r\n\x00".encode(), None, 1]
        assert isinstance(replies[4], Refusal) and replies[4].code == "WRONGTYPE"
        assert replies[5:9] == ["string", "OK", [b"1", None, b"2"], [1, [b"b", Refusal("ODD thing")], None]]
        assert [one.code for one in replies[9:11]] == ["NOSCRIPT", "ERR"]
        assert replies[11] == "é\r\n\x00".encode()
        assert server.first.ask() == []


def test_large_reply(redis: Database, client: str) -> None:
    """Values that come in many pieces."""
    with opened(redis, client) as server:
        link = server.first
        value = bytes(range(256)) * 4096
        link.call("SET", "big", value)
        assert link.call("GET", "big") == value
        found = link.run(Script("many", "local t = {} for i = 1, 50000 do t[i] = 'k' .. i end return t"), (), ())
        assert found[0] == b"k1" and found[-1] == b"k50000" and len(found) == 50000


def test_script(redis: Database, client: str) -> None:
    """Sent once, then by its digest, and again when the server has forgotten it."""
    script = Script("count", "return redis.call('INCRBY', KEYS[1], ARGV[1])")
    with opened(redis, client) as server:
        link = server.first
        before = link.round_trips
        assert [link.run(script, ["n"], [2]) for _time in range(3)] == [2, 4, 6]
        assert link.round_trips - before == 3
        link.call("SCRIPT", "FLUSH")
        assert link.run(script, ["n"], [1]) == 7
        link.call("SET", "l", "text")
        bad = Script("bad", "return redis.call('LPUSH', KEYS[1], 1)")
        for _time in range(2):
            with pytest.raises(RedisFailed, match=r"bad is answered with .*WRONGTYPE") as caught:
                link.run(bad, ["l"], [])
            assert caught.value.reason == "type"


def test_login(packages: Place, client: str) -> None:
    """Each way in which a login fails is said in one line, without the password."""
    database = packages.serve("--requirepass", SECRET, options={"password": SECRET})
    with opened(database, client) as server:
        assert server.first.call("PING") == "PONG"
        server.first.call("ACL", "SETUSER", "reader", "on", f">{SECRET}", "~a*", "+get", "+info", "+ping")
    with opened(database, client, user="reader") as server:
        assert server.first.call("GET", "a") is None
        for command in (("GET", "b"), ("SET", "a", SECRET)):
            with pytest.raises(RedisFailed, match=r"NOPERM.*; the rules of this user do not allow it") as caught:
                server.first.call(*command)
            assert caught.value.reason == "auth" and SECRET not in str(caught.value)
    base = {**database.options, "client": client}
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"password": ""}, "auth", "NOAUTH.*a password is needed"),
        ({"password": "wrong-word"}, "auth", "WRONGPASS.*check user and password"),
        ({"user": "nobody"}, "auth", "AUTH as nobody is answered with WRONGPASS"),
        ({"database": 99}, "database", "SELECT is answered with .*it has fewer databases"),
    ]
    for options, reason, words in cases:
        error = refused({**base, **options})
        assert error.reason == reason, error
        assert "\n" not in str(error) and SECRET not in str(error) and "wrong-word" not in str(error)
        with pytest.raises(RedisFailed, match=words):
            raise error


def test_nothing_is_done_as_somebody_else_or_in_another_database(redis: Database, client: str) -> None:
    """What is sent before the answer to AUTH and SELECT, a server that refuses these does all the same."""
    redis.link.call("ACL", "SETUSER", "limited", "on", ">word", "~*", "+@all", "-select")
    try:
        for more in ({"user": "limited", "password": "word", "database": 3}, {"database": 99}, {"password": SECRET}):
            options = {**redis.options, "client": client, "cluster": "false", **more}
            with Server(options) as server, pytest.raises(RedisFailed, match=r"SELECT|AUTH"):
                server.first.call("SET", "where", "here")
        assert redis.link.call("EXISTS", "where") == 0
    finally:
        redis.link.call("ACL", "DELUSER", "limited")


def test_no_password_set(redis: Database, client: str) -> None:
    error = refused({**redis.options, "client": client, "password": SECRET})
    assert error.reason == "auth" and "leave password out" in str(error) and SECRET not in str(error)


def test_secret_is_not_quoted_back(packages: Place, client: str) -> None:
    """A server whose AUTH has another name answers with the arguments that it was given."""
    database = packages.serve("--rename-command", "AUTH", "LETMEIN")
    error = refused({**database.options, "client": client, "password": SECRET})
    assert error.reason == "auth" and SECRET not in str(error) and "***" in str(error)


def test_socket_and_url(redis: Database, packages: Place, client: str) -> None:
    """A Unix socket; an address in one piece, completed by the other options."""
    with opened(redis.at(3), client) as server:
        server.first.call("SET", "where", "three")
    host, port = redis.options["host"], redis.port
    with Server({"url": f"redis://{host}:{port}/3", "client": client}) as server:
        assert server.first.call("GET", "where") == b"three"
    error = refused({"url": f"redis://{host}:{port}/3", "password": SECRET, "client": client})
    assert "leave password out" in str(error)
    error = refused({"url": f"redis://:{SECRET}@{host}:{port}0/"})
    assert error.reason == "own" and SECRET not in str(error)
    if not packages.run:
        path = f"{redis.directory}/redis.sock"
        with Server({"socket": path, "database": 3, "client": client}) as server:
            assert server.first.call("GET", "where") == b"three"
        with Server({"url": f"unix://{path}?db=3", "client": client}) as server:
            assert server.first.call("GET", "where") == b"three"
        assert path in str(refused({"socket": f"{path}.gone", "client": client}))


def test_container(redis: Database, packages: Place, client: str) -> None:
    """A Redis that publishes no port, by the name of its container."""
    if not packages.run:
        pytest.skip("there is no container where QUAI_QUEUES_LOCAL is set")
    name = packages.run[-1]
    with Server({"container": name, "port": redis.port, "client": client}) as server:
        assert server.first.label == f"{name}:{redis.port}"
        assert server.first.call("SET", "a", 1) == "OK"
    # A secret in the address is used, its host is not.
    error = refused({"url": f"redis://:{'topsecret'}@redis:{redis.port}", "container": name, "client": client})
    assert error.reason == "auth" and "leave password out" in str(error) and "topsecret" not in str(error)
    error = refused({"container": f"{name}-none", "client": client})
    assert error.reason == "missing" and f"{name}-none" in str(error)
    error = refused({"container": name, "docker": "/run/none.sock", "client": client})
    assert error.reason == "own" and "/run/none.sock" in str(error)


def test_unreachable(packages: Place, client: str) -> None:
    database = packages.serve()
    database.kill()
    assert refused({**database.options, "client": client}).reason == "refused"
    assert refused({"host": "name.invalid", "client": client}).reason == "dns"
    assert refused({"client": "other"}).reason in ("own", "refused")


def test_connects_again(packages: Place, client: str) -> None:
    """A server that was restarted, or did not answer in time, is asked over a new connection."""
    database = packages.serve()
    script = Script("echo", "return ARGV[1]")
    with opened(database, client, timeout=0.5) as server:
        link = server.first
        assert link.run(script, (), ("a",)) == b"a"
        database.signal("STOP")
        with pytest.raises(RedisFailed) as caught:
            link.call("ECHO", "late")
        assert caught.value.reason == "timeout" and "0.5 s" in str(caught.value)
        database.signal("CONT")
        # The late answer is not taken for that of the next command.
        assert link.call("ECHO", "next") == b"next"
        database.kill()
        with pytest.raises(RedisFailed) as caught:
            link.call("PING")
        assert caught.value.reason in ("reset", "refused")
        database.start()
        assert link.run(script, (), ("b",)) == b"b"


def client_certificate(directory: Path) -> Path:
    """A certificate for a client and its key in one file, signed by the authority in this directory."""
    issuer = x509.load_pem_x509_certificate((directory / "lab-ca.pem").read_bytes())
    signer = serialization.load_pem_private_key((directory / "lab-ca.key").read_bytes(), password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    private = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")]))
        .issuer_name(issuer.subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pem, key = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = directory / "client.pem"
    path.write_bytes(private.private_bytes(pem, key, serialization.NoEncryption()) + signed.public_bytes(pem))
    return path


def test_tls(packages: Place, tmp_path: Path, client: str) -> None:
    """A certificate of the right authority and name, of a wrong one, none; and one of the client."""
    pem, key = authority.ensure_certificate(tmp_path / "ours", "redis", packages.address)
    other = authority.ensure_authority(tmp_path / "other")
    ours = tmp_path / "ours" / "lab-ca.pem"
    there = {
        name: packages.put(f"tls-{client}/{name}", path.read_bytes(), 0o600)
        for name, path in (("pem", pem), ("key", key), ("ca", ours))
    }
    files = ("--tls-cert-file", there["pem"], "--tls-key-file", there["key"], "--tls-ca-cert-file", there["ca"])
    plain = packages.serve()
    for wants_client in ("no", "yes"):
        # The port that place.py chooses is the one in clear; TLS gets another.
        database = packages.serve(*files, "--tls-auth-clients", wants_client)
        tls_port = database.port + 1000 if packages.run else packages._free_port()
        link = database.link
        link.call("CONFIG", "SET", "tls-port", tls_port)
        base = {"host": database.options["host"], "port": tls_port, "client": client, "tls": True}
        good = {**base, "ca_file": str(ours)}
        if wants_client == "yes":
            error = refused(good)
            assert error.reason in ("tls_other", "reset") and "cert_file" in str(error), error
            good.update(cert_file=str(client_certificate(tmp_path / "ours")))
        with Server(good) as server:
            assert server.first.call("SET", "a", "x" * 100_000) == "OK"
            assert server.first.call("GET", "a") == b"x" * 100_000
        with Server({**good, "verify": False, "ca_file": ""}) as server:
            assert server.first.call("PING") == "PONG"
        assert refused({**good, "ca_file": str(other)}).reason == "tls_chain"
        assert refused({**good, "sni": "elsewhere.example"}).reason in ("tls_host", "tls_chain")
        assert refused({**good, "ca_file": str(tmp_path / "none")}).reason == "own"
        error = refused({**base, "tls": False})
        assert error.reason in ("reset", "proto") and "TLS" in str(error), error
        # Redis takes the beginning of TLS for the first half of a command, or not.
        error = refused({**good, "port": plain.port, "timeout": 1.0})
        assert error.reason in ("tls_other", "timeout", "reset") and "speak TLS at all" in str(error), error


def test_what_takes_no_writes(packages: Place, client: str) -> None:
    """A replica, and a server that is full, are known before, and named when they refuse."""
    master = packages.serve("--maxmemory-policy", "noeviction")
    host, port = master.options["host"], master.port
    replica = packages.serve("--replicaof", f"{host} {port}")
    until("the replica", lambda: "master_link_status:up" in text(replica.link.call("INFO", "replication")), seconds=30)
    with opened(replica, client) as server:
        with pytest.raises(RedisFailed, match=f"is a replica; give the address of its master, {host}:{port}") as caught:
            server.writable()
        assert caught.value.reason == "readonly"
        with pytest.raises(RedisFailed, match=r"READONLY .*; this is a replica") as caught:
            server.first.call("SET", "a", 1)
        assert caught.value.reason == "readonly"
    with opened(master, client) as server:
        assert server.writable() == []
        server.first.call("CONFIG", "SET", "maxmemory", "1")
        assert [one for one in server.writable() if "has reached maxmemory" in one]
        with pytest.raises(RedisFailed, match=r"OOM .*; it has reached maxmemory and evicts nothing") as caught:
            server.first.call("SET", "a", 1)
        assert caught.value.reason == "memory"
        with pytest.raises(RedisFailed) as caught:
            server.first.run(Script("write", "return redis.call('SET', KEYS[1], 1)"), ["a"], [])
        assert caught.value.reason == "memory"
        server.first.call("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
        assert [one for one in server.writable() if "queues need noeviction" in one]


def test_loading(packages: Place, client: str) -> None:
    """A server that still reads its data."""
    database = packages.serve("--enable-debug-command", "yes")
    fill = "for i = 1, 3000 do redis.call('SET', 'k' .. i, string.rep('x', 100)) end"
    database.link.call("EVAL", fill, 0)
    database.link.call("CONFIG", "SET", "key-load-delay", "1000", "loading-process-events-interval-bytes", "1024")
    slow = Server({**database.options, "timeout": 60})
    reload = threading.Thread(target=lambda: slow.first.call("DEBUG", "RELOAD"), daemon=True)
    reload.start()
    with opened(database, client) as server:
        until("loading", lambda: server.first.facts().info.get("loading") == "1", seconds=10)
        with pytest.raises(RedisFailed, match=r"LOADING .*; try again when it has read its data") as caught:
            server.first.call("GET", "k1")
        assert caught.value.reason == "loading"
        with pytest.raises(RedisFailed, match="still reads its data") as caught:
            server.writable()
        assert caught.value.reason == "loading"
        reload.join(60)
        assert server.first.call("DBSIZE") == 3000
        assert server.writable() == []


# --- a cluster --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three(packages: Place) -> list[Database]:
    """Three masters."""
    return masters.cluster(packages)


@pytest.fixture
def cluster(three: list[Database], client: str) -> Iterator[Server]:
    """An empty cluster."""
    masters.empty(three)
    with opened(three[0], client) as server:
        yield server


def test_cluster_found(cluster: Server, three: list[Database]) -> None:
    """It is seen, there is one connection to each master, and each key is asked where it lives."""
    assert cluster.cluster
    assert len(cluster.nodes()) == masters.MASTERS and cluster.first in cluster.nodes()
    assert {id(link) for link in cluster.nodes()} == {id(link) for link in cluster.nodes()}
    for key in ("a", "session:1", "{x}b", "a{x}b{y}", "foo{}", "b{", "}{a}", "é:ß", ""):
        assert cluster.first.call("CLUSTER", "KEYSLOT", key) == key_slot(key), key
    before = {id(link): link.round_trips for link in cluster.nodes()}
    for number in range(200):
        cluster.at(f"k{number}").call("SET", f"k{number}", number)
    after = {id(link): link.round_trips for link in cluster.nodes()}
    # No command was sent twice, and all of them have a part.
    assert sum(after.values()) - sum(before.values()) == 200
    assert all(after[one] > before[one] for one in after)
    assert sum(masters.direct(one).call("DBSIZE") for one in three) == 200


def test_cluster_needs_tags(cluster: Server) -> None:
    """What has several keys, as a queue, needs a tag."""
    with pytest.raises(RedisFailed, match=r"no \{tag\} in the name.*such as \{bull\}") as caught:
        cluster.at("bull:mail:")
    assert caught.value.reason == "slot" and "\n" not in str(caught.value)
    assert cluster.at("{bull}:mail:") is cluster.at("{bull}:other:")
    assert cluster.at("bull:{mail}:") is cluster.at("{mail}")
    with pytest.raises(RedisFailed, match=r"CROSSSLOT.*the same \{tag\}") as caught:
        cluster.first.call("MGET", "a", "b")
    assert caught.value.reason == "slot"


def test_cluster_options(three: list[Database], redis: Database, client: str) -> None:
    assert refused({**three[0].options, "client": client, "database": 1}).reason == "database"
    error = refused({**redis.options, "client": client, "cluster": "true"})
    assert error.reason == "cluster" and "is no cluster" in str(error)
    with opened(three[0], client, cluster="false") as server:
        assert not server.cluster and server.nodes() == [server.first]


def test_cluster_tells_where_it_is(three: list[Database], client: str) -> None:
    """The nodes are asked where the cluster says that they are, not where it was found."""
    told = f"{three[0].options['host']}:{three[0].port}"
    with opened(three[0], client, host="name.invalid", connect_to=told) as server:
        labels = {f"{one.options['host']}:{one.port}" for one in three}
        # The first connection serves for its own node.
        assert {link.label for link in server.nodes()} == labels
        assert [link.call("PING") for link in server.nodes()] == ["PONG"] * masters.MASTERS


def test_cluster_moved(cluster: Server, three: list[Database]) -> None:
    """A slot that moves while it is used: ASK on the way, MOVED afterwards; commands and scripts arrive."""
    script = Script("add", "return redis.call('INCRBY', KEYS[1], ARGV[1])")
    link = cluster.at("{move}n")
    assert link.run(script, ["{move}n"], [1]) == 1
    slot = key_slot("{move}")
    holds, other = masters.holder(three, cluster, "{move}n")
    source, target = masters.direct(holds), masters.direct(other)
    target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", masters.identity(source))
    source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", masters.identity(target))
    host, port = other.options["host"], other.port
    assert text(source.call("MIGRATE", host, port, "{move}n", 0, 5000)) == "OK"
    assert source.ask(("GET", "{move}n"))[0].code == "ASK"
    assert link.call("GET", "{move}n") == b"1"
    assert link.run(script, ["{move}n"], [1]) == 2
    for one in (target, source, *(masters.direct(one) for one in three)):
        one.call("CLUSTER", "SETSLOT", slot, "NODE", masters.identity(target))
    assert source.ask(("GET", "{move}n"))[0].code == "MOVED"
    # The connection that somebody still holds leads there, and at() knows the new place from then on.
    assert link.run(script, ["{move}n"], [1]) == 3
    assert cluster.at("{move}n").label == f"{host}:{port}"
    assert cluster.at("{move}n").call("GET", "{move}n") == b"3"
    with opened(other, "builtin") as fresh:
        assert fresh.at("{move}n").label == f"{host}:{port}"


def test_cluster_without_info(three: list[Database], client: str) -> None:
    """A user who may not run INFO finds the cluster at the first MOVED."""
    for database in three:
        masters.direct(database).call(
            "ACL", "SETUSER", "blind", "on", f">{SECRET}", "~*", "+get", "+set", "+cluster", "-info"
        )
    with opened(three[0], client, user="blind", password=SECRET) as server:
        assert [server.cluster] == [False]
        for number in range(20):
            server.at(f"b{number}").call("SET", f"b{number}", number)
            assert server.at(f"b{number}").call("GET", f"b{number}") == str(number).encode()
        assert server.cluster
        warnings = server.writable()
        assert len(warnings) == masters.MASTERS and "may not run INFO" in warnings[0]


def test_link_alone(redis: Database) -> None:
    """A Link without a Server, as others use it."""
    with Link(place(redis.options), 5.0) as link:
        facts = link.facts()
        assert facts.kind == "Redis" and facts.role == "master" and not facts.cluster
        assert facts.version.split(".")[0].isdigit()


def test_time_is_that_of_a_round_trip(redis: Database) -> None:
    """A connection that nobody used for long has all of its time for the next command."""
    later = [0.0]
    with Link(place(redis.options), 5.0, lambda: time.monotonic() + later[0]) as link:
        for _call in range(2):
            later[0] += 1000.0
            assert link.call("PING") == "PONG"


def test_valkey(valkey: Database, client: str) -> None:
    with opened(valkey, client) as server:
        assert server.first.facts().kind == "Valkey"
        assert server.first.run(Script("echo", "return ARGV[1]"), (), ("a",)) == b"a"
        assert server.writable() == []
