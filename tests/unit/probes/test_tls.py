# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that are wrong in one way each, under every Python that a host may have."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _probe_tls
from ansible_collections.quai.ops.plugins.module_utils._probe_base import OwnFault
from ansible_collections.quai.ops.plugins.module_utils._probe_engine import run_probes
from ansible_collections.quai.ops.plugins.module_utils._probe_net import Connection
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import normalise

from tests.unit.probes.servers import Certificates, Server, answer, fixed, greeting, hang, tlsset

LIBRARY = Path(__file__).resolve().parents[3] / "collections"
NAMES = ("good", "expired", "wrong", "nochain", "shortint")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return tlsset(tmp_path_factory.mktemp("tls"), time.time())


@pytest.fixture(scope="module")
def probes(certificates: Certificates) -> Iterator[list[dict[str, Any]]]:
    """A probe for each certificate, each with its own server."""
    with ExitStack() as stack:
        found = []
        for name in NAMES:
            server = stack.enter_context(Server(hang, tls=certificates.context(name)))
            found.append(
                {
                    "name": name,
                    "type": "tls",
                    "host": "good.test",
                    "connect_to": f"127.0.0.1:{server.port}",
                    "ca_file": str(certificates.authority),
                }
            )
        yield found


def by_name(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {result["name"]: result for result in results}


def check_set(results: dict[str, dict[str, Any]], chain: bool) -> None:
    """Acceptance check 6."""
    good = results["good"]
    assert (good["status"], good["reason"], round(good["value"])) == ("ok", "", 90), good
    assert good["tls"]["issuer"] == "Test intermediate"
    assert good["tls"]["version"].startswith("TLSv1.")
    assert good["tls"]["verify_code"] == 0
    for name, reason, code, days in (
        ("expired", "tls_expired", 10, -12),
        ("wrong", "tls_host", 62, 90),
        ("nochain", "tls_chain", 20, 90),
    ):
        bad = results[name]
        assert (bad["status"], bad["reason"], bad["tls"]["verify_code"]) == ("critical", reason, code), bad
        assert (round(bad["value"]), round(bad["tls"]["days"])) == (days, days)
        assert bad["tls"]["chain_days"] is None
        assert bad["details"]["chain"] == "unavailable"
    assert results["expired"]["message"] == "the certificate of good.test expired 12 days ago"
    short = results["shortint"]
    if chain:
        assert round(good["tls"]["chain_days"]) == 90  # the leaf ends first, and the anchor does not count
        assert (short["status"], short["reason"], short["message"]) == (
            "critical",
            "threshold",
            "chain_days is 5 (< 7); good.test: 90 days, by Test short intermediate",
        )
        assert "chain" not in short["details"]
    else:
        assert short["status"] == "ok"
        assert short["tls"]["chain_days"] is None
        assert short["details"]["chain"] == "unavailable"


def test_each_fault_has_its_reason_and_its_days(probes: list[dict[str, Any]]) -> None:
    check_set(by_name(run_probes(normalise(probes))), sys.version_info >= (3, 10))


def test_a_second_connection_that_cannot_be_made_does_not_hide_the_reason(
    probes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(_connection: Connection) -> Connection:
        raise OwnFault("no socket: too many open files")

    monkeypatch.setattr(Connection, "again", again)
    result = run_probes(normalise([probe for probe in probes if probe["name"] == "wrong"]))[0]
    assert (result["status"], result["reason"], result["value"]) == ("critical", "tls_host", None)


def interpreter(version: str) -> str:
    """A Python of this version, from the PATH or from pyenv; skips when there is none."""
    candidates = [shutil.which(f"python{version}")]
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False).stdout.strip()
        candidates += [str(path / "bin/python3") for path in sorted(Path(root, "versions").glob(f"{version}.*"))]
    for candidate in candidates:
        if candidate is None:
            continue
        # A shim of pyenv may lie on the PATH without any Python behind it.
        said = subprocess.run(
            [candidate, "-c", "import ssl, sys; sys.stdout.write('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if said.stdout == version:
            return candidate
    pytest.skip(f"no Python {version} with ssl on this machine")


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13"])
def test_every_python_judges_alike(version: str, probes: list[dict[str, Any]]) -> None:
    """Acceptance check 7; the private authority of the set fails the strict flag that Python 3.13 sets by itself."""
    code = (
        "import json, sys\n"
        "from ansible_collections.quai.ops.plugins.module_utils._probe_engine import run_probes\n"
        "from ansible_collections.quai.ops.plugins.module_utils._probe_spec import normalise\n"
        "sys.stdout.write(json.dumps(run_probes(normalise(json.load(sys.stdin)))))\n"
    )
    strict = {**probes[0], "name": "strict", "x509_strict": True}
    done = subprocess.run(
        [interpreter(version), "-S", "-c", code],
        input=json.dumps([*probes, strict]),
        env={**os.environ, "PYTHONPATH": str(LIBRARY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    results = by_name(json.loads(done.stdout))
    check_set(results, version != "3.9")
    assert (results["strict"]["status"], results["strict"]["reason"]) == ("critical", "tls_chain"), results["strict"]


def test_contexts_are_made_once(probes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes 300 probes cheap (acceptance check 8)."""
    made: list[Any] = []
    real = _probe_tls._new_context
    monkeypatch.setattr(_probe_tls, "_contexts", {})

    def counting(*key: Any) -> ssl.SSLContext:
        made.append(key)
        return real(*key)

    monkeypatch.setattr(_probe_tls, "_new_context", counting)
    many = [{**probes[0], "name": f"p{number}"} for number in range(20)]
    assert {result["status"] for result in run_probes(normalise(many))} == {"ok"}
    assert len(made) == 1


def test_unverified(probes: list[dict[str, Any]]) -> None:
    results = by_name(run_probes(normalise([{**probe, "verify": False} for probe in probes])))
    assert {name: result["status"] for name, result in results.items()} == {
        "good": "ok",
        "expired": "critical",
        "wrong": "ok",
        "nochain": "ok",
        "shortint": "ok",
    }
    assert results["expired"]["reason"] == "tls_expired"
    assert results["good"]["tls"]["verify_code"] is None
    assert results["good"]["details"]["chain"] == "unavailable"


def test_https(certificates: Certificates) -> None:
    with Server(fixed(answer()), tls=certificates.context("good")) as server:
        base = {"url": "https://good.test/up", "connect_to": f"127.0.0.1:{server.port}"}
        own = {**base, "ca_file": str(certificates.authority)}
        results = by_name(
            run_probes(
                normalise(
                    [
                        {"name": "own", **own, "warn": "tls_days < 21", "crit": ["tls_days < 7", "tls_ms > 60000"]},
                        {"name": "soon", **own, "warn": "tls_days < 100"},
                        {"name": "system", **base},
                        {"name": "sni", **own, "url": "https://alias.test/", "sni": "good.test"},
                        {"name": "alias", **own, "url": "https://alias.test/"},
                        {"name": "blind", **base, "verify": False},
                        {"name": "no_file", **base, "ca_file": "/nowhere/ca.pem"},
                    ]
                )
            )
        )
        assert any(b"\r\nHost: good.test\r\n" in request for request in server.requests)
    statuses = {name: (result["status"], result["reason"]) for name, result in results.items()}
    assert statuses == {
        "own": ("ok", ""),
        "soon": ("warning", "threshold"),
        "system": ("critical", "tls_chain"),
        "sni": ("ok", ""),
        "alias": ("critical", "tls_host"),
        "blind": ("ok", ""),
        "no_file": ("unknown", "own_error"),
    }
    assert set(results["own"]["phases"]) == {"connect", "tls", "ttfb", "transfer"}
    assert round(results["own"]["tls"]["days"]) == 90
    assert results["no_file"]["message"].startswith("ca_file: /nowhere/ca.pem cannot be read")


def test_what_is_no_tls() -> None:
    probe = {"name": "a", "type": "tls", "host": "127.0.0.1"}
    with Server(greeting(b"220 mail.test ESMTP\r\n")) as server:
        result = run_probes(normalise([{**probe, "port": server.port}]))[0]
    assert (result["status"], result["reason"]) == ("critical", "tls_other")
    with Server(hang) as server:
        result = run_probes(normalise([{**probe, "port": server.port, "timeout": 0.3}]))[0]
    assert (result["status"], result["reason"]) == ("critical", "timeout")
    assert "(TLS)" in result["message"]


def test_starttls_of_a_mail_server(certificates: Certificates) -> None:
    def mail(context: ssl.SSLContext) -> Any:
        def behave(connection: socket.socket, _number: int, _asked: bytes) -> None:
            connection.sendall(b"220-mail.test\r\n220 ESMTP\r\n")
            reader = connection.makefile("rb")
            assert reader.readline().startswith(b"EHLO ")
            connection.sendall(b"250-mail.test\r\n250 STARTTLS\r\n")
            assert reader.readline() == b"STARTTLS\r\n"
            connection.sendall(b"220 go ahead\r\n")
            with context.wrap_socket(connection, server_side=True) as secure:
                secure.recv(1)

        behave.speaks_first = True  # type: ignore[attr-defined]
        return behave

    found = {}
    for name in ("good", "expired"):
        with Server(mail(certificates.context(name))) as server:
            probe = {"name": name, "type": "tls", "host": "good.test", "starttls": "smtp"}
            probe |= {"connect_to": f"127.0.0.1:{server.port}", "ca_file": str(certificates.authority)}
            found[name] = run_probes(normalise([probe]))[0]
    assert found["good"]["status"] == "ok", found["good"]
    assert found["expired"]["reason"] == "tls_expired"
    assert round(found["expired"]["value"]) == -12  # the second connection went through STARTTLS too


def test_what_is_said_before_tls_is_not_taken_for_an_answer(certificates: Certificates) -> None:
    def injected(connection: socket.socket, _number: int, _asked: bytes) -> None:
        connection.sendall(b"220 mail.test\r\n")
        connection.recv(1024)
        connection.sendall(b"250 STARTTLS\r\n")
        connection.recv(1024)
        connection.sendall(b"220 go ahead\r\n250 injected\r\n")
        connection.recv(1024)

    injected.speaks_first = True  # type: ignore[attr-defined]
    with Server(injected) as server:
        probe = {"name": "a", "type": "tls", "host": "127.0.0.1", "port": server.port, "starttls": "smtp"}
        result = run_probes(normalise([probe]))[0]
    assert (result["status"], result["reason"]) == ("critical", "proto")
    assert "said something in the clear" in result["message"]


def test_dates_are_read_as_openssl_reads_them(certificates: Certificates) -> None:
    for name in NAMES:
        text = (certificates.directory / f"{name}.pem").read_text(encoding="ascii")
        pem = text[text.index("-----BEGIN CERT") : text.index("-----END CERT") + 26]
        found = _probe_tls.read_certificate(ssl.PEM_cert_to_DER_cert(pem))
        (certificates.directory / "one.pem").write_text(pem, encoding="ascii")
        decoded = ssl._ssl._test_decode_cert(str(certificates.directory / "one.pem"))  # type: ignore[attr-defined]
        assert found.not_after == ssl.cert_time_to_seconds(decoded["notAfter"])
        assert found.not_before == ssl.cert_time_to_seconds(decoded["notBefore"])
        assert found.issuer == dict(pair for one in decoded["issuer"] for pair in one)["commonName"]


@pytest.mark.parametrize(
    "der", [b"", b"0", b"\x30\x82", b"\x30\x03\x02\x01\x01", b"\x30\x80" + b"\x00" * 40, b"text" * 20]
)
def test_what_is_no_certificate(der: bytes) -> None:
    with pytest.raises(ValueError, match=r"certificate|element|invalid"):
        _probe_tls.read_certificate(der)
