# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports and Unix sockets, and the connections that all remote probes share."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _probe_net
from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed
from ansible_collections.quai.ops.plugins.module_utils._probe_engine import run_probes
from ansible_collections.quai.ops.plugins.module_utils._probe_net import Connection, resolve, split_host
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import normalise

from tests.unit.probes.servers import Certificates, Server, greeting, hang, nothing_listens, tlsset


def ask(**options: Any) -> dict[str, Any]:
    return run_probes(normalise([{"name": "a", "type": "tcp", **options}]))[0]


def test_a_port() -> None:
    with Server(hang) as server:
        result = ask(port=server.port)
    assert (result["status"], result["message"]) == ("ok", f"127.0.0.1:{server.port} accepts connections")
    assert set(result["phases"]) == {"connect"}


def test_nobody_there() -> None:
    with nothing_listens() as port:
        assert ask(port=port)["reason"] == "refused"
    result = ask(host="no-such-host.invalid", port=1)
    assert (result["status"], result["reason"], result["ip"]) == ("critical", "dns", "")
    assert result["message"].startswith("no-such-host.invalid cannot be resolved: ")


def test_an_address_that_drops_packets() -> None:
    """TEST-NET-1 has no hosts: there is a time-out, or no route at all."""
    result = ask(host="192.0.2.1", port=9, timeout=0.3)
    assert (result["status"], result["ip"]) == ("critical", "192.0.2.1")
    assert result["reason"] in {"timeout", "refused"}


def test_banner() -> None:
    with Server(greeting(b"SSH-2.0-Test\r\nmore")) as server:
        good = ask(port=server.port, expect="banner ~ ^SSH-2")
        bad = ask(port=server.port, expect='banner == "SSH-1"')
    assert (good["status"], good["message"]) == ("ok", f"127.0.0.1:{server.port} says 'SSH-2.0-Test'")
    assert (bad["status"], bad["reason"]) == ("critical", "body")
    assert bad["message"] == 'banner is "SSH-2.0-Test", should be "SSH-1"'
    with Server(greeting(b"no line end")) as server:
        assert ask(port=server.port, expect='banner == "no line end"')["status"] == "ok"
    with Server(hang) as server:
        assert ask(port=server.port, expect="banner ~ x", timeout=0.3)["reason"] == "timeout"


def test_a_unix_socket_needs_no_port(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    with Server(greeting(b"hello\n"), path=path):
        result = ask(socket=path, expect="banner == hello")
    assert (result["status"], result["message"]) == ("ok", f"{path} says 'hello'")


def test_a_long_banner_is_marked_where_it_is_cut() -> None:
    with Server(greeting(b"x" * 75 + b"s3cr3t-and-more\n")) as server:
        spec = normalise([{"name": "a", "type": "tcp", "port": server.port, "expect": "banner ~ x"}])
        result = run_probes(spec, secrets={"TOKEN": "s3cr3t-and-more"})[0]
    assert result["status"] == "ok"
    assert "s3cr" not in result["message"]


def test_send() -> None:
    def echo(connection: socket.socket, _number: int, _asked: bytes) -> None:
        connection.sendall(connection.recv(100).upper())

    echo.speaks_first = True  # type: ignore[attr-defined]
    with Server(echo) as server:
        assert ask(port=server.port, send="ping\r\n", expect="banner == PING")["status"] == "ok"


def test_tls(tmp_path: Path) -> None:
    certificates: Certificates = tlsset(tmp_path, time.time())
    with Server(hang, tls=certificates.context("good")) as server:
        base = {"port": server.port, "host": "localhost", "ip_family": "4", "tls": True}
        assert ask(**base, ca_file=str(certificates.authority))["status"] == "ok"
        assert ask(**base)["reason"] == "tls_chain"


def test_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with Server(hang, path=path):
        assert ask(port=1, socket=path)["status"] == "ok"
    result = ask(port=1, socket=path)
    assert (result["status"], result["reason"]) == ("critical", "refused")
    result = ask(port=1, socket=str(tmp_path / "none"))
    assert (result["status"], result["reason"]) == ("critical", "refused")
    assert "does not exist" in result["message"]


def pair(timeout: float = 2) -> tuple[Connection, socket.socket]:
    ours, theirs = socket.socketpair()
    return Connection.over(ours, Context(timeout), "pair"), theirs


def test_reading() -> None:
    connection, theirs = pair()
    with connection, theirs:
        theirs.sendall(b"one\r\ntwo\nabcdef")
        assert connection.recv_line() == b"one"
        assert connection.recv_line() == b"two"
        assert connection.recv_exactly(2) == b"ab"
        connection.push_back(b"AB")
        assert connection.recv_exactly(3) == b"ABc"
        assert connection.recv_some() == b"def"
        theirs.sendall(b"x" * 20)
        with pytest.raises(ProbeFailed, match="a line of more than 10 bytes") as caught:
            connection.recv_line(10)
        assert caught.value.reason == "proto"
        theirs.close()
        assert connection.recv_exactly(20) == b"x" * 20
        assert connection.recv_some() == b""
        with pytest.raises(ProbeFailed) as caught:
            connection.recv_line()
        assert caught.value.reason == "reset"
        with pytest.raises(ProbeFailed) as caught:
            connection.recv_exactly(1)
        assert caught.value.reason == "reset"
        with pytest.raises(ProbeFailed) as caught:
            for _try in range(2):
                connection.send(b"x" * 100)
        assert caught.value.reason == "reset"


def test_reading_ends_with_the_time_of_the_probe() -> None:
    connection, theirs = pair(0.2)
    with connection, theirs:
        theirs.sendall(b"begun")
        began = time.monotonic()
        with pytest.raises(ProbeFailed, match=r"no answer within 0\.2 s") as caught:
            connection.recv_exactly(10)
        assert caught.value.reason == "timeout"
        assert time.monotonic() - began < 2
        with pytest.raises(ProbeFailed):
            connection.send(b"late")


def test_writing_ends_with_the_time_of_the_probe() -> None:
    connection, theirs = pair(0.2)
    with connection, theirs, pytest.raises(ProbeFailed) as caught:
        connection.send(b"x" * 50_000_000)  # nobody reads it
    assert caught.value.reason == "timeout"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x.test", ("x.test", 80)),
        ("x.test:81", ("x.test", 81)),
        ("::1", ("::1", 80)),
        ("[::1]", ("::1", 80)),
        ("[::1]:81", ("::1", 81)),
    ],
)
def test_split_host(text: str, expected: tuple[str, int]) -> None:
    assert split_host(text, 80) == expected


@pytest.mark.parametrize("text", ["x:y", "x:0", "x:65536", "[::1", "[::1]81"])
def test_split_host_refuses(text: str) -> None:
    with pytest.raises(OwnFault):
        split_host(text, 80)


def test_families() -> None:
    assert resolve("127.0.0.1", Context(1)) == (socket.AF_INET, "127.0.0.1")
    assert resolve("::1", Context(1), "6") == (socket.AF_INET6, "::1")
    for host, family in (("127.0.0.1", "6"), ("::1", "4")):
        with pytest.raises(ProbeFailed, match="is no IPv"):
            resolve(host, Context(1), family)
    _probe_net.forget()
    assert resolve("localhost", Context(5), "4") == (socket.AF_INET, "127.0.0.1")
    for name in ("a" * 70 + ".test", "..", "999.1.1.1"):
        with pytest.raises(ProbeFailed) as caught:
            resolve(name, Context(5))
        assert caught.value.reason == "dns"
