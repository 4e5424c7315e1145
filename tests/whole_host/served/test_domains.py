# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the world sees of the four domains."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography import x509

from lab.wait import until
from tests.whole_host import quic, web
from tests.whole_host.operations import Operator
from tests.whole_host.subject import DOMAINS, Subject

# The guide's, section "Headers de sécurité (VPS Nginx)".
SECURITY_HEADERS = {
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "X-XSS-Protection": "1; mode=block",
    "Referrer-Policy": "no-referrer-when-downgrade",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
}
APP = "https://app.masstock.fr"
LOGIN = "/api/v1/auth/login"
PREFLIGHT = {"Origin": APP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}

Ask = Callable[..., web.Answer]

every_site = pytest.mark.parametrize("site", DOMAINS)


def secured(answer: web.Answer, *, tls: bool = True) -> None:
    """Assert that an answer carries every security header of the guide, each once."""
    for name, value in SECURITY_HEADERS.items():
        # Over plain HTTP browsers must ignore this one (RFC 6797, 7.2), so it is not sent.
        if tls or name != "Strict-Transport-Security":
            assert answer.one(name) == value


@every_site
def test_certificate_of_the_lab_ca(subject: Subject, site: str) -> None:
    """The chain leads to the CA's root, and the certificate is for this name alone."""
    version, _, certificate = web.handshake(subject.address, DOMAINS[site], subject.authority)
    names = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == [DOMAINS[site]]
    assert version == "TLSv1.3"


@every_site
def test_pages(ask: Ask, site: str) -> None:
    """Each site answers, with the guide's headers."""
    answer = ask(site, {"api": "/health"}.get(site, "/"))
    assert answer.status == 200
    secured(answer)
    expected = {"vitrine": b"MasStock", "app": b'<div id="root">', "api": b'"status":"ok"', "n8n": b"n8n"}
    assert expected[site] in answer.body


@every_site
def test_http_leads_to_https(ask: Ask, site: str) -> None:
    """Plain HTTP is answered with the same address over TLS."""
    answer = ask(site, "/a/page?with=query", plain=True)
    assert (answer.status, answer.one("Location")) == (301, f"https://{DOMAINS[site]}/a/page?with=query")
    secured(answer, tls=False)


@every_site
def test_http2(subject: Subject, site: str) -> None:
    """HTTP/2 is agreed on in the handshake, and spoken."""
    _, agreed, _ = web.handshake(subject.address, DOMAINS[site], subject.authority, alpn=["h2", "http/1.1"])
    assert agreed == "h2"
    url = f"https://{DOMAINS[site]}{'/health' if site == 'api' else '/'}"
    connect = f"::{subject.address}:"
    command = ["curl", "-sS", "--http2", "--cacert", str(subject.authority), "--connect-to", connect]
    done = subprocess.run(
        [*command, "-o", "/dev/null", "-w", "%{http_version} %{http_code}", url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "2 200", done.stderr


def test_http3(subject: Subject, ask: Ask) -> None:
    """QUIC answers on UDP 443, and browsers are told so."""
    assert quic.speaks(subject.address)
    assert ask("vitrine").one("Alt-Svc").startswith('h3=":443"')


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@every_site
def test_tls_versions_spoken(subject: Subject, site: str, version: ssl.TLSVersion) -> None:
    """TLS 1.2 and 1.3."""
    agreed, _, _ = web.handshake(subject.address, DOMAINS[site], subject.authority, only=version)
    assert agreed == version.name.replace("_", ".")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@every_site
def test_tls_versions_refused(subject: Subject, site: str, version: ssl.TLSVersion) -> None:
    """The other side says that it does not speak older ones; it is not this side that refuses."""
    with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol.version"):
        web.handshake(subject.address, DOMAINS[site], subject.authority, only=version)


@pytest.mark.parametrize("name", ["unknown.example", "www.masstock.fr", None])
def test_unknown_names_are_refused_at_the_handshake(subject: Subject, name: str | None) -> None:
    """Whoever does not know a name learns no certificate."""
    with pytest.raises(ssl.SSLError, match=r"(?i)tlsv1 unrecognized name"):
        web.handshake(subject.address, name, None)


@pytest.mark.parametrize("host", ["unknown.example", ""])
def test_unknown_hosts_get_no_answer(ask: Ask, subject: Subject, host: str) -> None:
    """On port 80 the connection is closed without a word."""
    with pytest.raises(OSError, match=r"(?i)closed|reset"):
        web.ask(subject.address, host or subject.address, authority=None, plain=True)


def test_missing_pages_are_secured(ask: Ask) -> None:
    """404 from a back end of each kind."""
    for site in ("vitrine", "api", "n8n"):
        answer = ask(site, "/there/is/nothing.here")
        assert answer.status == 404
        secured(answer)


@pytest.fixture
def without_vitrine(subject: Subject) -> Iterator[None]:
    """The landing page's container is down."""
    name = subject.inspect("vitrine")["vitrine"]["Name"].lstrip("/")
    subject.run(f"docker kill {name}")
    yield
    subject.run(f"docker start {name}")
    until("vitrine to be healthy", lambda: not subject.unhealthy(), seconds=60)


@pytest.mark.usefixtures("without_vitrine")
def test_a_dead_back_end_is_secured(ask: Ask) -> None:
    """502 with the headers, as a page for people and as JSON for programs; the other sites do not notice."""
    page = ask("vitrine", headers={"Accept": "text/html"})
    assert page.status == 502
    assert page.one("Content-Type").startswith("text/html")
    secured(page)
    program = ask("vitrine", headers={"Accept": "application/json"})
    assert (program.status, program.json["status"]) == (502, 502)
    secured(program)
    for site, path in {"app": "/", "api": "/health", "n8n": "/healthz"}.items():
        assert ask(site, path).status == 200


def seen_by_the_api(subject: Subject, method: str) -> int:
    """How many requests with a method the API has logged."""
    name = subject.inspect("api")["api"]["Name"].lstrip("/")
    return int(subject.run(f'docker logs {name} 2>&1 | grep -c \'"method":"{method}"\' || true'))


def test_preflight_never_reaches_the_api(subject: Subject, ask: Ask) -> None:
    """The browser's question is answered by nginx, with what the guide says."""
    before = seen_by_the_api(subject, "OPTIONS")
    answer = ask("api", LOGIN, method="OPTIONS", headers=PREFLIGHT)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.one("Access-Control-Allow-Origin") == APP
    assert answer.one("Access-Control-Allow-Credentials") == "true"
    assert answer.one("Access-Control-Allow-Methods") == "GET, POST, PUT, DELETE, PATCH, OPTIONS"
    assert answer.one("Access-Control-Allow-Headers") == "Content-Type, Authorization, X-Requested-With"
    assert answer.one("Access-Control-Max-Age") == "86400"
    secured(answer)
    # Asked directly, the API answers too, and its log shows it: so a preflight that had passed nginx would show.
    subject.run(f"python3 - <<'END'\n{_direct_preflight()}\nEND")
    until("the API's log", lambda: seen_by_the_api(subject, "OPTIONS") > before, seconds=5)
    assert seen_by_the_api(subject, "OPTIONS") == before + 1


def _direct_preflight() -> str:
    return (
        "import urllib.request\n"
        f"asked = urllib.request.Request('http://127.0.0.1:3000{LOGIN}', method='OPTIONS', headers={PREFLIGHT!r})\n"
        "assert urllib.request.urlopen(asked).status == 204\n"
    )


def test_preflight_of_a_stranger_gets_no_permission(ask: Ask) -> None:
    """Another origin is answered without the headers that would let it in."""
    answer = ask("api", LOGIN, method="OPTIONS", headers={**PREFLIGHT, "Origin": "https://evil.example"})
    assert answer.values("Access-Control-Allow-Origin") in ([], [APP])
    assert "https://evil.example" not in answer.values("Access-Control-Allow-Origin")


def log_in(ask: Ask, password: str) -> web.Answer:
    """Try to log in once, as the front end does."""
    body = json.dumps({"email": "demo@masstock.fr", "password": password}).encode()
    headers = {"Content-Type": "application/json", "Origin": APP, "Accept": "application/json"}
    return ask("api", LOGIN, method="POST", headers=headers, body=body)


def test_login_cookies_and_cors(ask: Ask, operator: Operator) -> None:
    """The real POST: nothing doubled, and cookies that only the site itself can use."""
    password = str(operator.vault()["DEMO_PASSWORD"])
    # Whoever tried before in this minute has used up the limit; the answer says how long that lasts.
    answer = log_in(ask, password)
    deadline = time.monotonic() + 75
    while answer.status == 429 and time.monotonic() < deadline:
        time.sleep(min(float(answer.one("Retry-After")), 12.5))
        answer = log_in(ask, password)
    assert answer.status == 200, answer.body
    assert answer.one("Access-Control-Allow-Origin") == APP
    assert answer.one("Access-Control-Allow-Credentials") == "true"
    secured(answer)
    cookies = {cookie.split("=", 1)[0]: cookie.split("; ")[1:] for cookie in answer.values("Set-Cookie")}
    assert set(cookies) == {"access_token", "refresh_token"}
    for attributes in cookies.values():
        assert {"HttpOnly", "Secure", "SameSite=Lax"} <= set(attributes)
    assert "Max-Age=900" in cookies["access_token"]


def test_login_is_limited(ask: Ask, subject: Subject) -> None:
    """Five attempts a minute; then nginx itself says no, with a body, and lets the rest of the API be."""
    answers = [log_in(ask, "wrong") for _ in range(7)]
    refused = [answer for answer in answers if answer.status == 429 and answer.json.get("request_id")]
    assert refused, f"nginx refused none of {[answer.status for answer in answers]}"
    assert len(answers) - len([answer for answer in answers if answer.status == 429]) <= 5
    last = refused[-1]
    assert last.json["error"] == "Too many requests"
    assert int(last.one("Retry-After")) > 0
    assert last.one("Access-Control-Allow-Origin") == APP
    secured(last)
    assert logged(subject, last.one("X-Request-ID"))["rate_limit"] == "REJECTED"
    assert ask("api", "/health").status == 200


def logged(subject: Subject, request: str) -> dict[str, Any]:
    """The access log's entry for a request id."""
    line = until(
        "the access log", lambda: subject.run(f"grep -h {request} /var/log/nginx/*access.log || true"), seconds=5
    )
    entry: dict[str, Any] = json.loads(line)
    return entry


def test_request_id_end_to_end(ask: Ask, subject: Subject) -> None:
    """The id in the answer is that in nginx's log and in the API's."""
    answer = ask("api", "/version", headers={"X-Request-ID": "made-up-by-the-client"})
    request = answer.one("X-Request-ID")
    assert len(request) == 32 and set(request) <= set("0123456789abcdef")
    entry = logged(subject, request)
    assert (entry["path"], entry["status"], entry["upstream_status"]) == ("/version", 200, "200")
    name = subject.inspect("api")["api"]["Name"].lstrip("/")
    seen = until("the API's log", lambda: subject.run(f"docker logs {name} 2>&1 | grep {request} || true"), seconds=5)
    assert json.loads(seen)["request_id"] == request


def test_access_logs_are_json_without_queries(ask: Ask, subject: Subject) -> None:
    """Every line is a document, and what a query holds is in none."""
    token = secrets.token_hex(12)
    answer = ask("app", f"/reset?token={token}", headers={"Referer": f"https://elsewhere.example/?token={token}"})
    assert logged(subject, answer.one("X-Request-ID"))["path"] == "/reset"
    assert not subject.succeeds(f"grep -rq {token} /var/log/nginx")
    lines = subject.run("cat /var/log/nginx/*access.log").splitlines()
    assert len(lines) > 10
    assert all({"time", "client", "status", "request_id"} <= json.loads(line).keys() for line in lines)


class Push:
    """n8n's WebSocket, just enough of RFC 6455 to say something and hear it back."""

    def __init__(self, subject: Subject) -> None:
        raw = socket.create_connection((subject.address, 443), 10)
        self._socket = web.trusting(subject.authority).wrap_socket(raw, server_hostname=DOMAINS["n8n"])
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /rest/push HTTP/1.1\r\nHost: {DOMAINS['n8n']}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._reader = self._socket.makefile("rb")
        head = b"".join(iter(self._reader.readline, b"\r\n")).decode()
        # RFC 6455, section 1.3.
        accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())  # noqa: S324
        assert head.startswith("HTTP/1.1 101"), head
        assert f"sec-websocket-accept: {accept.decode()}".lower() in head.lower()

    def say(self, text: str) -> None:
        """Send a text frame; a client's frames are masked."""
        mask, data = os.urandom(4), text.encode()
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self._socket.sendall(struct.pack("!BB", 0x81, 0x80 | len(data)) + mask + masked)

    def hear(self) -> dict[str, Any]:
        """The next frame; the server's are short and unmasked."""
        first, length = self._reader.read(2)
        assert (first, length < 126) == (0x81, True)
        document: dict[str, Any] = json.loads(self._reader.read(length))
        return document

    def close(self) -> None:
        """Leave."""
        self._reader.close()
        self._socket.close()


def test_websocket(subject: Subject) -> None:
    """n8n's push connection passes nginx in both directions."""
    push = Push(subject)
    try:
        assert push.hear()["type"] == "hello"
        push.say("ahoy")
        heard = push.hear()
        while heard["type"] == "heartbeat":
            heard = push.hear()
        assert heard == {"type": "echo", "data": "ahoy"}
    finally:
        push.close()


def test_websocket_is_for_n8n_alone(ask: Ask) -> None:
    """The other sites never upgrade a connection."""
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "eA==",
    }
    assert ask("app", "/", headers=headers).status == 200
