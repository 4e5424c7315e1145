# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The challenge's preflight against real servers, and certbot's lock."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _tls_acme
from ansible_collections.quai.ops.plugins.module_utils._certificates import Acme, CertificateError, Wanted


class Server(ThreadingHTTPServer):
    """A web server whose directory can be exchanged."""

    root = Path("/nonexistent")
    failures = 0


class Handler(SimpleHTTPRequestHandler):
    """Files of the server's directory; the first few answers may be wrong."""

    server: Server

    def do_GET(self) -> None:
        if self.server.failures:
            self.server.failures -= 1
            self.send_error(404)
            return
        self.directory = str(self.server.root)
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """On a free port of loopback."""
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, server: Server) -> dict[str, int]:
    """Names that resolve, with the port that really answers for them."""
    known = {"here.example.org": server.server_port}

    def resolve(host: str, port: int, *args: Any, **more: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", known[host]))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(_tls_acme, "own_addresses", lambda: ["198.51.100.7"])
    return known


def test_a_domain_that_leads_here(server: Server, names: dict[str, int], tmp_path: Path) -> None:
    """Nothing to say, and no token is left behind."""
    server.root = tmp_path
    assert _tls_acme.preflight(["here.example.org"], tmp_path) == []
    assert list((tmp_path / _tls_acme.CHALLENGES).iterdir()) == []


def test_each_domain_that_does_not_is_explained(server: Server, names: dict[str, int], tmp_path: Path) -> None:
    """Resolves nowhere, leads to another server, nobody listens."""
    server.root = tmp_path
    (tmp_path / "else").mkdir()
    with Server(("127.0.0.1", 0), partial(Handler, directory="/nonexistent")) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        names["other.example.org"] = other.server_port
        closed = socket.create_server(("127.0.0.1", 0))
        names["closed.example.org"] = closed.getsockname()[1]
        closed.close()
        said = _tls_acme.preflight(
            ["here.example.org", "no.example.org", "other.example.org", "closed.example.org"], tmp_path, patience=0
        )
        other.shutdown()
        thread.join()
    assert [line.split(" ", 1)[0] for line in said] == ["no.example.org", "other.example.org", "closed.example.org"]
    assert "resolves nowhere (Name or service not known)" in said[0]
    assert "was 404 instead of 200" in said[1]
    assert "cannot be reached there: Connection refused" in said[2]
    assert list((tmp_path / _tls_acme.CHALLENGES).iterdir()) == []


def test_a_reload_may_take_a_moment(server: Server, names: dict[str, int], tmp_path: Path) -> None:
    """The former configuration's answers are asked for again."""
    server.root, server.failures = tmp_path, 3
    assert _tls_acme.preflight(["here.example.org"], tmp_path) == []
    assert server.failures == 0


def certbot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program of that name first on the PATH."""
    program = tmp_path / "bin/certbot"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr(_tls_acme, "CERTBOT_LOG", tmp_path / "log")


WANTED = Wanted("a.example.org", ("a.example.org",))


def test_issue_tells_certbot_of_the_ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bundle comes by the environment."""
    certbot(tmp_path, monkeypatch, f'echo "$REQUESTS_CA_BUNDLE $2" > {tmp_path}/said')
    _tls_acme.issue(WANTED, Acme(directory_url="https://ca/dir", ca_bundle="/etc/ca.pem"))
    assert (tmp_path / "said").read_text(encoding="utf-8") == "/etc/ca.pem --non-interactive\n"


def test_issue_fails_with_the_log_s_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And names the log."""
    certbot(tmp_path, monkeypatch, 'echo "AttributeError: can\'t set attribute"; exit 1')
    error = "acme.messages.Error: urn:ietf:params:acme:error:rateLimited :: Slow down :: too many certificates\n"
    (tmp_path / "log").write_text(error, encoding="utf-8")
    with pytest.raises(CertificateError) as caught:
        _tls_acme.issue(WANTED, Acme())
    assert str(caught.value).splitlines() == ["too many certificates (rateLimited)", f"certbot's log is {tmp_path}/log"]


@pytest.mark.parametrize(("refusals", "succeeds"), [(3, True), (4, False)])
def test_a_refused_nonce_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int, succeeds: bool
) -> None:
    """Certbot gives up after two; we ask it four times."""
    calls = tmp_path / "calls"
    said = "JWS has an invalid anti-replay nonce: x"
    refuse = f"[ $(wc -l < {calls}) -gt {refusals} ] || {{ echo '{said}'; exit 1; }}"
    certbot(tmp_path, monkeypatch, f"echo x >> {calls}; {refuse}")
    if succeeds:
        _tls_acme.issue(WANTED, Acme())
    else:
        with pytest.raises(CertificateError, match="invalid anti-replay nonce"):
            _tls_acme.issue(WANTED, Acme())
    assert calls.read_text(encoding="utf-8") == "x\n" * 4


def test_issue_without_certbot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said as it is."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CertificateError, match="certbot is not installed"):
        _tls_acme.issue(WANTED, Acme())


def test_issue_waits_for_the_timer_s_certbot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its lock is free, then asks once more."""
    calls, lock = tmp_path / "calls", tmp_path / "lock"
    monkeypatch.setattr(_tls_acme, "CERTBOT_LOCK", lock)
    certbot(tmp_path, monkeypatch, f"echo x >> {calls}; [ ! -e {lock} ] || {{ echo '{_tls_acme.BUSY}.'; exit 1; }}")
    lock.touch()
    # Another program holds a record lock on the file until its standard input ends; certbot removes the file then.
    other = subprocess.Popen(
        ["/usr/bin/python3", "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdin is not None
    assert other.stdout is not None
    other.stdout.readline()
    with ThreadPoolExecutor(1) as pool:
        issued = pool.submit(_tls_acme.issue, WANTED, Acme())
        wait_for(calls.exists)
        assert not issued.done()
        other.stdin.close()
        issued.result(timeout=10)
    assert other.wait() == 0
    assert calls.read_text(encoding="utf-8") == "x\nx\n"


HOLDER = """
import fcntl, os, sys
with open(sys.argv[1], "r+") as stream:
    fcntl.lockf(stream, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
    os.unlink(sys.argv[1])
"""


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds; fails after ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def test_issue_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody should look at a certbot that hangs."""
    certbot(tmp_path, monkeypatch, f"echo '{_tls_acme.BUSY}.'; exit 1")
    monkeypatch.setattr(_tls_acme, "CERTBOT_LOCK", tmp_path / "lock")
    monkeypatch.setattr(_tls_acme, "BUSY_SECONDS", 0.1)
    (tmp_path / "lock").touch()
    with (
        subprocess.Popen(
            ["/usr/bin/python3", "-c", HOLDER, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other,
        pytest.raises(CertificateError, match="another certbot runs on this host: "),
    ):
        assert other.stdout is not None
        other.stdout.readline()
        _tls_acme.issue(WANTED, Acme())
