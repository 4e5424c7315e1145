# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sites answer, asked from outside the host."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any

import pytest

from tests.nginx_tls.web import Answer, Web, say

HEADERS = {
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "X-XSS-Protection": "1; mode=block",
    "Referrer-Policy": "no-referrer-when-downgrade",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
}
PREFLIGHT: dict[str, Any] = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type"}


def seen(web: Web, domain: str) -> dict[str, int]:
    """What reached the back end so far."""
    return dict(web.ask(f"api.{domain}", "/seen").json)


def limited(web: Web, domain: str, **headers: Any) -> Answer:
    """Ask the login path until it is refused; the zone lets five through, whatever asked before."""
    for _ in range(7):
        answer = web.ask(f"api.{domain}", "/api/v1/auth/login", "POST", **headers)
        if answer.status == 429:
            return answer
        assert answer.status == 200
    raise AssertionError("seven logins in a row were let through")


@pytest.mark.parametrize(
    ("site", "path", "method", "status"),
    [
        pytest.param("api", "/", "GET", 200, id="200"),
        pytest.param("api", "/doubled", "GET", 200, id="200 of a back end that sends the same headers"),
        pytest.param("api", "/status/404", "GET", 404, id="404 of the back end"),
        pytest.param("api", "/status/503", "GET", 503, id="503 of the back end"),
        pytest.param("api", "/x", "OPTIONS", 204, id="204 preflight"),
        pytest.param("api", "/too-large", "POST", 413, id="413"),
        pytest.param("dead", "/", "GET", 502, id="502 of a dead back end"),
        pytest.param("www.app", "/x?y=z", "GET", 301, id="301 to the canonical name"),
        pytest.param("api", "/api/v1/auth/login", "POST", 429, id="429"),
        pytest.param("api", "/%", "GET", 400, id="400"),
    ],
)
def test_security_headers_on_every_answer_once(  # noqa: PLR0917 - pytest gives them by name
    web: Web, domain: str, site: str, path: str, method: str, status: int
) -> None:
    """Whoever makes the answer, whatever it says."""
    if status == 429:
        answer = limited(web, domain)
    else:
        headers: dict[str, Any] = {"Origin": f"https://app.{domain}", **PREFLIGHT} if method == "OPTIONS" else {}
        body = b"x" * 1_100_000 if status == 413 else None
        answer = web.ask(f"{site}.{domain}", path, method, body=body, **headers)
    assert answer.status == status
    for header, value in HEADERS.items():
        assert answer.one(header) == value
    assert len(answer.one("X-Request-ID")) == 32
    assert answer.all("X-Powered-By") == []
    assert answer.one("Server") == "nginx"
    if path == "/doubled":
        assert answer.one("Retry-After") == "77"


@pytest.mark.parametrize("site", ["api", "www.app"])
def test_plain_http_leads_to_https(web: Web, domain: str, site: str) -> None:
    """Same name first; all headers but HSTS, which RFC 6797 forbids there."""
    answer = web.ask(f"{site}.{domain}", "/a/b?c=d", tls=False)
    assert (answer.status, answer.one("Location")) == (301, f"https://{site}.{domain}/a/b?c=d")
    for header, value in HEADERS.items():
        assert answer.all(header) == ([] if header == "Strict-Transport-Security" else [value])


def test_another_name_leads_to_the_canonical_one(web: Web, domain: str) -> None:
    """With path and query."""
    answer = web.ask(f"www.app.{domain}", "/x?y=z", context=web.trusting)
    assert (answer.status, answer.one("Location")) == (301, f"https://app.{domain}/x?y=z")


def test_a_preflight_is_answered_without_the_back_end(web: Web, domain: str) -> None:
    """With the guide's headers."""
    before = seen(web, domain)
    answer = web.ask(f"api.{domain}", "/api/v1/jobs", "OPTIONS", Origin=f"https://app.{domain}", **PREFLIGHT)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.one("Access-Control-Allow-Origin") == f"https://app.{domain}"
    assert answer.one("Access-Control-Allow-Credentials") == "true"
    assert answer.one("Access-Control-Allow-Methods") == "GET, POST, PUT, DELETE, PATCH, OPTIONS"
    assert answer.one("Access-Control-Allow-Headers") == "Content-Type, Authorization, X-Requested-With"
    assert answer.one("Access-Control-Max-Age") == "86400"
    assert answer.one("Vary") == "Origin"
    assert seen(web, domain) == before


@pytest.mark.parametrize("origin", ["https://evil.example", "https://app.{}.evil.example", "null", "http://app.{}"])
def test_an_unknown_origin_gets_no_cors_headers(web: Web, domain: str, origin: str) -> None:
    """So the browser refuses; the back end is not asked either."""
    before = seen(web, domain)
    answer = web.ask(f"api.{domain}", "/", "OPTIONS", Origin=origin.format(domain), **PREFLIGHT)
    assert answer.status == 204
    assert [name for name, _ in answer.headers if name.lower().startswith("access-control")] == []
    assert answer.one("Vary") == "Origin"
    assert seen(web, domain) == before


def test_options_that_is_no_preflight_reaches_the_back_end(web: Web, domain: str) -> None:
    """Only browsers' questions are answered in its place."""
    assert web.ask(f"api.{domain}", "/x", "OPTIONS").json["method"] == "OPTIONS"


def test_cors_headers_of_the_back_end_pass_once(web: Web, domain: str) -> None:
    """nginx adds none of its own to them."""
    answer = web.ask(f"api.{domain}", "/cors", Origin=f"https://app.{domain}")
    assert answer.one("Access-Control-Allow-Origin") == f"https://app.{domain}"
    assert answer.one("Access-Control-Allow-Credentials") == "true"
    assert answer.one("Vary") == "Origin"
    without = web.ask(f"api.{domain}", "/echo", Origin=f"https://app.{domain}")
    assert without.all("Access-Control-Allow-Origin") == []


@pytest.mark.parametrize("site", ["api", "dead"])
def test_a_browser_application_can_read_nginx_s_errors(web: Web, domain: str, site: str) -> None:
    """Without CORS headers it would see a CORS error in place of 429 or 502."""
    origin = f"https://app.{domain}"
    answer = limited(web, domain, Origin=origin) if site == "api" else web.ask(f"dead.{domain}", Origin=origin)
    assert answer.one("Access-Control-Allow-Origin") == origin
    assert answer.all("Access-Control-Allow-Methods") == []
    foreign = web.ask(f"dead.{domain}", Origin="https://evil.example")
    assert foreign.all("Access-Control-Allow-Origin") == []


def test_too_many_requests_say_so(web: Web, domain: str) -> None:
    """JSON for programs, a page for people, and when to come back: five a minute are one in twelve seconds."""
    answer = limited(web, domain, Accept="application/json")
    assert answer.one("Retry-After") == "12"
    assert answer.one("Content-Type") == "application/json"
    said = answer.json
    assert (said["status"], said["error"], said["request_id"]) == (429, "Too many requests", answer.one("X-Request-ID"))
    page = limited(web, domain, Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert page.one("Content-Type").startswith("text/html")
    assert b"<h1>Too many requests</h1>" in page.body
    assert web.ask(f"api.{domain}", "/echo").status == 200, "other paths are not limited by the login's zone"


def test_a_flood_is_limited(web: Web, domain: str) -> None:
    """Ten a second and a burst of twenty: of a hundred at once some pass, the others are told to wait a second."""
    count = 100
    with web.handshake(f"flood.{domain}") as connection:
        connection.sendall(f"GET /status/200 HTTP/1.1\r\nHost: flood.{domain}\r\n\r\n".encode() * count)
        received = b""
        while received.count(b"HTTP/1.1 ") < count:
            piece = connection.recv(65536)
            assert piece, "closed before all were answered"
            received += piece
    statuses = Counter(part[:3] for part in received.split(b"HTTP/1.1 ")[1:])
    assert set(statuses) == {b"200", b"429"}
    assert 10 <= statuses[b"200"] <= 60
    assert b"\r\nRetry-After: 1\r\n" in received


def test_a_dead_back_end_has_a_friendly_page(web: Web, domain: str) -> None:
    """And JSON for programs."""
    page = web.ask(f"dead.{domain}", Accept="text/html")
    assert b"<h1>Temporarily unavailable</h1>" in page.body
    assert page.one("X-Request-ID").encode() in page.body
    assert web.ask(f"dead.{domain}").json["status"] == 502


def test_an_error_of_the_back_end_is_its_own(web: Web, domain: str) -> None:
    """Its body is not replaced."""
    assert web.ask(f"api.{domain}", "/status/503").json == {"from": "back end"}


def test_what_reaches_the_back_end(web: Web, domain: str) -> None:
    """The client's address is nginx's to tell; request ids go both ways."""
    answer = web.ask(
        f"api.{domain}", "/echo?a=b%20c",
        X_Forwarded_For="1.2.3.4", X_Real_IP="1.2.3.4", X_Forwarded_Proto="http", X_Request_ID="forged", Proxy="evil",
        Upgrade="websocket", Connection="Upgrade",
    )  # fmt: skip
    got = answer.json["headers"]
    assert answer.json["path"] == "/echo?a=b%20c"
    assert got["x-request-id"] == answer.one("X-Request-ID")
    assert got["host"] == got["x-forwarded-host"] == f"api.{domain}"
    assert got["x-forwarded-proto"] == "https"
    assert got["x-forwarded-for"] == got["x-real-ip"] != "1.2.3.4"
    assert not {"proxy", "upgrade", "connection"} & set(got)


def test_requests_are_logged_as_json_without_queries(host: Any, web: Web, domain: str) -> None:
    """Found by its id; tokens of path and referrer are not in it."""
    answer = web.ask(
        f"api.{domain}", "/echo?token=s3cr3t", Referer="https://x.example/?code=s3cr3t", User_Agent='a "quoted" one'
    )
    log = host.file("/var/log/nginx/api-access.log").content_string
    lines = [json.loads(line) for line in log.splitlines()]
    line = next(line for line in lines if line["request_id"] == answer.one("X-Request-ID"))
    assert (line["path"], line["status"], line["method"]) == ("/echo", 200, "GET")
    assert (line["host"], line["upstream"]) == (f"api.{domain}", "127.0.0.1:3000")
    assert (line["referrer"], line["user_agent"]) == ("https://x.example/", 'a "quoted" one')
    assert line["tls"] == "TLSv1.3"
    assert "s3cr3t" not in log


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_compression(web: Web, domain: str, encoding: str) -> None:
    """Both kinds, with a Vary for caches."""
    answer = web.ask(f"app.{domain}", "/assets/app.js", Accept_Encoding=encoding)
    assert answer.one("Content-Encoding") == encoding
    assert "Accept-Encoding" in answer.all("Vary")
    assert len(answer.body) < 1000
    assert web.ask(f"app.{domain}", "/assets/app.js").all("Content-Encoding") == []


def test_cache_control_of_static_paths(web: Web, domain: str) -> None:
    """Said by nginx unless the back end says it; never for errors or other paths."""
    assert web.ask(f"app.{domain}", "/assets/app.js").one("Cache-Control") == "public, max-age=31536000, immutable"
    assert web.ask(f"app.{domain}", "/assets/app.js?cache=no-store").one("Cache-Control") == "no-store"
    assert web.ask(f"app.{domain}", "/echo").all("Cache-Control") == []


def test_websockets(web: Web, domain: str) -> None:
    """Frames go both ways; a site without the option passes no upgrade on."""
    with web.websocket(f"ws.{domain}", "/ws") as connection:
        assert say(connection, b"hello") == b"hello"
        assert say(connection, b"bye") == b"bye"
    refused = web.ask(
        f"api.{domain}", "/ws", Upgrade="websocket", Connection="Upgrade",
        Sec_WebSocket_Key="x", Sec_WebSocket_Version="13",
    )  # fmt: skip
    assert refused.status == 426
    assert "upgrade" not in refused.json["headers"]


@pytest.mark.parametrize(
    ("user", "password", "status"),
    [
        pytest.param("ann", "correct horse battery", 200, id="a password that the role hashed"),
        pytest.param("bob", "password", 200, id="a password that was given hashed"),
        pytest.param("ann", "password", 401, id="somebody else's password"),
        pytest.param("eve", "", 401, id="an unknown user"),
        pytest.param("", "", 401, id="nobody"),
    ],
)
def test_a_site_for_those_who_have_a_password(web: Web, domain: str, user: str, password: str, status: int) -> None:
    """Others are asked for one by an answer like every other error of nginx."""
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    headers: dict[str, Any] = {"Authorization": f"Basic {credentials}"} if user else {}
    answer = web.ask(f"private.{domain}", "/echo", **headers)
    assert answer.status == status
    assert answer.all("WWW-Authenticate") == ([] if status == 200 else ['Basic realm="Those who may"'])
    assert answer.one("X-Frame-Options") == "SAMEORIGIN"
    if status == 401:
        assert answer.json["error"] == "Password needed"
        assert b"<h1>Password needed</h1>" in web.ask(f"private.{domain}", Accept="text/html").body


def test_passwords_are_hashed_and_for_nginx_alone(host: Any) -> None:
    """One file a site."""
    directory = "/etc/nginx/quai/passwords"
    assert host.file(directory).listdir() == ["private"]
    file = host.file(f"{directory}/private")
    assert (file.mode, file.user, file.group) == (0o640, "root", "www-data")
    assert "correct horse battery" not in host.check_output("grep -r 'correct horse' /etc/nginx || true")
    assert file.content_string.startswith("ann:$6$")
