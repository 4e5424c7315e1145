# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP probes against servers that answer well, badly, slowly and not at all."""

from __future__ import annotations

import gzip
import json
import random
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _probe_http, _probe_net
from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed
from ansible_collections.quai.ops.plugins.module_utils._probe_engine import run_probes
from ansible_collections.quai.ops.plugins.module_utils._probe_http import exchange, parse_cookie, parse_url
from ansible_collections.quai.ops.plugins.module_utils._probe_net import Connection
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import normalise

from tests.unit.probes.servers import Server, answer, by_path, chunk_split, drip, fixed, greeting, hang

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z


def ask(server: Server | str, **options: Any) -> dict[str, Any]:
    options.setdefault("url", server if isinstance(server, str) else server.url)
    return run_probes(normalise([{"name": "a", **options}]), now=NOW)[0]


def test_chunks_are_put_together_before_the_body_is_searched() -> None:
    """Acceptance check 3: the text is cut by the border of a chunk."""
    with Server(chunk_split("probe_success 1")) as server:
        result = ask(server, expect=['body ~ "(?m)^probe_success 1$"'])
    assert (result["status"], result["http"]["bytes"]) == ("ok", 31)


def test_a_slow_drip_does_not_outlive_the_deadline() -> None:
    """Acceptance check 4."""
    with Server(drip(0.1)) as server:
        began = time.monotonic()
        result = ask(server, timeout=0.8)
        took = time.monotonic() - began
    assert (result["status"], result["reason"]) == ("critical", "timeout")
    assert 0.7 < took < 3


def test_a_server_that_never_answers() -> None:
    with Server(hang) as server:
        result = ask(server, timeout=0.3)
    assert (result["reason"], result["http"]) == ("timeout", {})
    assert "no answer within 0.3 s (receive)" in result["message"]


JSON = {
    "ms": NOW * 1000,
    "much": 10**400,
    "inf": "inf",
    "old": -(10**400),
    "soon": NOW + 60,
    "nan": float("nan"),
    "ok": True,
    "n": 3,
    "db": {"state": "up"},
    "at": "2026-09-21T14:00:00Z",
    "epoch": NOW - 30,
    "text": "later",
}


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("json.ok == true", "ok"),
        ("json.n >= 3", "ok"),
        ('json.db.state == "up"', "ok"),
        ("json.n > 3", "critical"),
        ("json_age_s.at < 15m", "ok"),
        ("json_age_s.at == 800", "ok"),
        ("json_age_s.epoch in 29-31", "ok"),
        ("json_age_s.text < 5", "critical"),
        ("json_age_s.ms < 5", "critical"),  # milliseconds are so far ahead that they would be good for ever
        ("json_age_s.much < 5", "critical"),
        ("json_age_s.inf < 5", "critical"),
        ("json_age_s.nan < 5", "critical"),
        ("json_age_s.old < 5", "critical"),
        ("json_age_s.soon == 0", "ok"),  # clocks differ by a little
        ("json_age_s.none == null", "ok"),
        ("header.content-type == application/json", "ok"),
        ("header.x-twice == 'a, b'", "ok"),
        ("header.set-cookie == null", "ok"),
        ("bytes < 1KiB", "ok"),
        ("redirects == 0", "ok"),
        ("ttfb_ms < 5000 and connect_ms < 5000 and transfer_ms < 5000", "ok"),
        ("tls_ms == null and resolve_ms == null", "ok"),
    ],
)
def test_conditions_on_answers(condition: str, status: str) -> None:
    headers = "Content-Type: application/json\r\nX-Twice: a\r\nX-TWICE: b\r\n"
    with Server(fixed(answer(json.dumps(JSON).encode(), headers=headers))) as server:
        result = ask(server, expect=[condition])
    assert result["status"] == status, result


def test_the_preflight_of_a_browser() -> None:
    def api(connection: socket.socket, _number: int, asked: bytes) -> None:
        trusted = b"Origin: https://app.test\r\n" in asked
        allowed = "Access-Control-Allow-Origin: https://app.test\r\nAccess-Control-Allow-Methods: GET, POST\r\n"
        connection.sendall(answer(b"", "204 No Content", allowed if trusted else "", length=False))

    probe = {
        "method": "OPTIONS",
        "expect": [
            "status == 204",
            "header.access-control-allow-origin == https://app.test",
            "header.access-control-allow-methods ~ POST",
        ],
    }
    with Server(api) as server:
        good = ask(server, **probe, headers={"Origin": "https://app.test", "Access-Control-Request-Method": "POST"})
        bad = ask(server, **probe, headers={"Origin": "https://evil.test", "Access-Control-Request-Method": "POST"})
    assert good["status"] == "ok", good
    assert (bad["status"], bad["reason"]) == ("critical", "body")
    assert "header.access-control-allow-origin is unknown" in bad["message"]


def test_a_body_that_is_no_json() -> None:
    with Server(fixed(answer(b"<html>oops"))) as server:
        result = ask(server, expect=["status == 200", "json.ok == true"])
    assert (result["status"], result["reason"]) == ("critical", "json")
    assert result["message"] == (
        'json.ok is unknown, should be true: the body is not JSON, it begins with "<html>oops"'
    )


def test_json_of_thousands_of_brackets() -> None:
    with Server(fixed(answer(b"[" * 200_000))) as server:
        result = ask(server, expect="json.ok == true")
    assert (result["status"], result["reason"]) == ("critical", "json")
    assert "the body is not JSON" in result["message"]


@pytest.mark.parametrize("charset", ["idna", "punycode", "undefined", "zlib", "utf-99", "iso-8859-99"])
def test_charsets_that_are_none_of_the_web(charset: str) -> None:
    with Server(fixed(answer(b"all is well", headers=f"Content-Type: text/plain; charset={charset}\r\n"))) as server:
        assert ask(server, expect='body == "all is well"')["status"] == "ok"


def test_charsets() -> None:
    latin = answer("déjà".encode("latin-1"), headers="Content-Type: text/plain; charset=ISO-8859-1\r\n")
    with Server(fixed(latin)) as server:
        assert ask(server, expect="body == déjà")["status"] == "ok"
    with Server(fixed(answer("déjà".encode(), headers="Content-Type: text/plain; charset=no-such\r\n"))) as server:
        assert ask(server, expect="body == déjà")["status"] == "ok"


def test_a_compressed_body_is_read_although_none_was_asked_for() -> None:
    data = answer(gzip.compress(b'{"ok": true}'), headers="Content-Encoding: gzip\r\n")
    with Server(fixed(data)) as server:
        assert ask(server, expect="json.ok == true")["status"] == "ok"
        assert b"accept-encoding" not in server.requests[0].lower()
    with Server(fixed(answer(b"zzz", headers="Content-Encoding: br\r\n"))) as server:
        assert ask(server, expect="body ~ z")["reason"] == "proto"
        assert ask(server)["status"] == "ok"  # nobody asks for what is in it
    with Server(fixed(answer(b"", headers="Content-Encoding: gzip\r\n"))) as server:
        assert ask(server, expect='body == ""')["status"] == "ok"


@pytest.mark.parametrize(
    ("body", "reason"),
    [(gzip.compress(b" " * 3_000_000 + b"fatal"), "size"), (gzip.compress(b"fatal" * 9)[:-9], "proto")],
    ids=["a bomb", "cut"],
)
def test_of_a_part_of_a_compressed_body_nothing_follows(body: bytes, reason: str) -> None:
    with Server(fixed(answer(body, headers="Content-Encoding: GZIP\r\n"))) as server:
        result = ask(server, expect="body !~ fatal")
    assert (result["status"], result["reason"]) == ("critical", reason), result


def test_cookies() -> None:
    headers = (
        "Set-Cookie: connect.sid=s%3Aabc; Path=/; HttpOnly; Secure; SameSite=Lax\r\n"
        'Set-Cookie: theme="dark"; Expires=Wed, 21 Oct 2037 07:28:00 GMT\r\n'
    )
    with Server(fixed(answer(headers=headers))) as server:
        good = [
            "cookie.connect.sid == true",
            "cookie.connect.sid.http_only == true",
            "cookie.connect.sid.secure == true",
            "cookie.connect.sid.same_site == lax",
            'cookie.connect.sid.value == "s%3Aabc"',
            "cookie.theme.value == dark",
            "cookie.theme.secure == false",
            "cookie.theme.same_site == null",
            "cookie.other == false",
            "cookie.other.value == null",
        ]
        assert ask(server, expect=good)["status"] == "ok"
        result = ask(server, expect=["cookie.theme.http_only == true"])
        assert (result["reason"], result["message"]) == ("body", "cookie.theme.http_only is false, should be true")
        assert ask(server, expect=["cookie.other.secure == true"])["status"] == "critical"


@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        (b"", "reset", "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-", "proto", "closed the connection within the headers"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "proto", "does not speak HTTP"),
        (b"HTTP/2 200\r\n\r\n", "proto", "is no status line"),
        (b"HTTP/1.1 999 No\r\n\r\n", "proto", "is no status line"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "proto", '"no colon" is no header'),
        (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "proto", "is no header"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n", "proto", "is no header"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "proto", "two different"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", "proto", "is no number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "reset", "after 5 of 9 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n", "size", "a body of 2000000 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "proto", "was not asked for"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "proto", "is no size of a chunk"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n", "proto", "is no size of a chunk"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", "proto", "longer than it says"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "reset", "after 2 of 5"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "reset", "in the middle of a line"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n", "size", "more than max_body"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70000, "proto", "headers of more than"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "proto", "another protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", "proto", "is no number"),
        (b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n", "proto", "is no header"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_100_000, "size", "more than max_body"),
    ],
)
def test_bad_answers(data: bytes, reason: str, said: str) -> None:
    with Server(fixed(data)) as server:
        result = ask(server)
    assert (result["status"], result["reason"]) == ("critical", reason), result
    assert said in result["message"]


@pytest.mark.parametrize(
    ("data", "status", "size"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + answer(b"hi"), 200, 2),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, 13),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, 0),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n", 204, 0),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", 200, 2),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\nTrailer: x\r\n\r\n", 200, 2),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and what follows is not ours", 200, 2),
    ],
)
def test_unusual_answers_that_are_good(data: bytes, status: int, size: int) -> None:
    with Server(fixed(data)) as server:
        result = ask(server)
    assert result["status"] == "ok", result
    assert (result["http"]["status"], result["http"]["bytes"]) == (status, size)


def test_head_has_no_body() -> None:
    with Server(fixed(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")) as server:
        assert ask(server, method="head")["status"] == "ok"
        assert server.requests[0].startswith(b"HEAD / HTTP/1.1\r\n")


def test_what_is_sent() -> None:
    with Server(fixed(answer())) as server:
        url = f"http://127.0.0.1:{server.port}/chemin/été?q=a b#part"
        ask(
            url,
            method="PUT",
            headers={"host": "example.test", "X-A": "1"},
            body='{"a": 1}',
            user="me",
            password="pa:ss",
        )
        ask(f"http://ali%40ce:s%3Acret@127.0.0.1:{server.port}")
        ask(server, method="POST", headers={"Content-Type": "text/plain"}, body="é")
        ask(server, method="OPTIONS", headers={"Origin": "https://app.test", "Access-Control-Request-Method": "POST"})
        first, second, third, fourth = (request.decode() for request in server.requests)
    assert first.startswith("PUT /chemin/%C3%A9t%C3%A9?q=a%20b HTTP/1.1\r\nHost: example.test\r\n")
    assert first.lower().count("host:") == 1
    for line in ("X-A: 1", "Content-Type: application/json", "Content-Length: 8", "Authorization: Basic bWU6cGE6c3M="):
        assert f"{line}\r\n" in first
    assert first.endswith('\r\n\r\n{"a": 1}')
    assert second.startswith("GET / HTTP/1.1\r\n")
    assert "Authorization: Basic YWxpQGNlOnM6Y3JldA==\r\n" in second
    assert "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\né" in third
    assert "Origin: https://app.test\r\n" in fourth
    assert all("\r\nConnection: close\r\n" in request for request in (first, second, third, fourth))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "ftp://x.test/"}, 'url: "ftp://x.test/" is no http:// or https:// address'),
        ({"url": "http://me:geheim@/"}, 'url: "http:///" is no http://'),
        ({"url": "http://x.test:99999/"}, 'url: "99999" is no port'),
        ({"headers": {"X": "a\r\nEvil: 1"}}, 'headers: "X" is no header, or its value has a line break'),
        ({"headers": {"X": "漢"}}, "headers: a value has characters that HTTP cannot carry"),
        ({"method": "GET /"}, 'method: "GET /" is no method'),
        ({"connect_to": "127.0.0.1:http"}, '"127.0.0.1:http": "http" is no port'),
        ({"connect_to": "[::1"}, '"[::1" is no HOST or HOST:PORT'),
    ],
)
def test_own_faults(options: dict[str, Any], said: str) -> None:
    with Server(fixed(answer())) as server:
        result = ask(server, **options)
    assert (result["status"], result["reason"]) == ("unknown", "own_error"), result
    assert result["message"].startswith(said)
    assert "geheim" not in result["message"]


def to(location: str, status: str = "302 Found") -> bytes:
    return answer(b"", status, f"Location: {location}\r\n")


def test_redirects() -> None:
    pages = {
        "/": to("/next"),
        "/next": to("?last"),
        "/next?last": answer(b"here"),
        "/loop": to("/loop"),
        "/away": to("https://other.test/path?token=geheim"),
        "/bad": to("http://[bad"),
        "/none": answer(b"", "302 Found"),
    }
    with Server(by_path(pages)) as server:
        assert ask(server, follow_redirects=3, expect=["redirects == 2", "body == here"])["http"]["redirects"] == 2
        assert ask(server)["message"] == "status is 302, not in 200-299"
        assert ask(server, expect=["status == 302", "header.location == /next"])["status"] == "ok"
        loop = ask(server.url + "loop", follow_redirects=3)
        assert (loop["status"], loop["reason"]) == ("critical", "redirect")
        assert "more than 3 redirects" in loop["message"]
        away = ask(server.url + "away", follow_redirects=3)
        assert (away["status"], away["reason"]) == ("warning", "redirect")
        assert away["message"] == "302 leads to https://other.test/path, which is not followed"
        assert ask(server.url + "bad", follow_redirects=1)["reason"] == "redirect"
        assert ask(server.url + "none", follow_redirects=1)["reason"] == "status"


def test_a_redirect_turns_post_into_get_and_keeps_cookies() -> None:
    def login(connection: socket.socket, _number: int, asked: bytes) -> None:
        if asked.startswith(b"POST /login"):
            connection.sendall(answer(b"", "303 See Other", "Location: /home\r\nSet-Cookie: sid=1; Path=/\r\n"))
        else:
            connection.sendall(answer(asked))

    with Server(login) as server:
        result = ask(
            server.url + "login", method="POST", body="a=1", follow_redirects=1,
            expect=['body ~ "^GET /home "', 'body ~ "Cookie: sid=1"', "body !~ Content-Length"],
        )  # fmt: skip
    assert result["status"] == "ok", result


def shop(connection: socket.socket, _number: int, asked: bytes) -> None:
    """A site with a login, as users see it."""
    path = asked.split(b" ", 2)[1]
    signed_in = b"sid=abc" in asked
    if path == b"/login" and asked.endswith(b"user=probe&password=geheim1"):
        cookies = (
            "Set-Cookie: sid=abc; Path=/; HttpOnly\r\nSet-Cookie: tls=1; Secure\r\nSet-Cookie: old=1; Max-Age=0\r\n"
        )
        connection.sendall(answer(b"", "302 Found", f"Location: /account\r\n{cookies}"))
    elif path == b"/account" and signed_in and b"tls=1" not in asked and b"old=1" not in asked:
        connection.sendall(answer(b'{"name": "probe", "orders": 4}'))
    else:
        connection.sendall(answer(b"forbidden", "403 Forbidden"))


STEPS = [
    {
        "name": "sign in",
        "path": "/login",
        "method": "POST",
        "body": "user=probe&password=${PW}",
        "expect": ["status == 302"],
    },
    {"name": "account", "path": "/account", "expect": ["status == 200", "json.orders > 3"]},
]


def test_steps_are_a_users_path() -> None:
    probe = {"name": "a", "steps": STEPS}
    with Server(shop) as server:
        good, bad, refused = run_probes(
            normalise(
                [
                    {**probe, "url": server.url},
                    {
                        **probe,
                        "name": "b",
                        "url": server.url,
                        "steps": [STEPS[0], {**STEPS[1], "expect": "json.orders > 9"}],
                    },
                    {**probe, "name": "c", "url": server.url, "steps": [STEPS[1]]},
                ]
            ),
            secrets={"PW": "geheim1"},
            now=NOW,
        )
    assert good["status"] == "ok", good
    assert good["http"] == {"status": 200, "bytes": 30, "redirects": 0, "step": 2}
    assert (bad["reason"], bad["message"]) == ("json", "step 2 (account): json.orders is 4, not > 9")
    assert (refused["reason"], refused["http"]["step"]) == ("status", 1)
    assert refused["message"].startswith("step 1 (account): status is 403, should be 200")


def test_times_of_a_step_are_its_own() -> None:
    def slow_start(connection: socket.socket, number: int, _asked: bytes) -> None:
        threading.Event().wait(0.3 if number == 1 else 0)
        connection.sendall(answer())

    steps = [{"path": "/a", "expect": "ttfb_ms >= 250"}, {"path": "/b", "expect": "latency_ms < 250 and ttfb_ms < 250"}]
    with Server(slow_start) as server:
        result = ask(server, steps=steps, expect="latency_ms >= 250")
    assert result["status"] == "ok", result


def test_a_step_that_breaks_says_which() -> None:
    with Server(by_path({"/a": answer(), "/b": b""})) as server:
        result = ask(server, steps=[{"path": "/a"}, {"path": "/b"}, {"path": "/a"}])
    assert result["reason"] == "reset"
    assert result["message"].startswith("step 2: ")


def test_the_deadline_is_of_the_whole_path() -> None:
    def slow(connection: socket.socket, _number: int, _asked: bytes) -> None:
        threading.Event().wait(0.4)
        connection.sendall(answer())

    with Server(slow) as server:
        result = ask(server, steps=[{"path": f"/{number}"} for number in range(20)], timeout=1)
    assert result["reason"] == "timeout"
    assert 1 <= result["http"]["step"] <= 3


def test_connect_to_keeps_the_name() -> None:
    with Server(by_path({"/": to("http://site.test/done"), "/done": answer()})) as server:
        result = ask("http://site.test/", connect_to=f"127.0.0.1:{server.port}", follow_redirects=1)
        assert result["status"] == "ok", result
        assert all(b"\r\nHost: site.test\r\n" in request for request in server.requests)


def test_a_container_that_is_not_there_and_an_engine_that_is_not_there() -> None:
    result = ask("http://x.test/", container="quai-no-such-container")
    assert (result["status"], result["reason"]) in {("critical", "missing"), ("unknown", "own_error")}
    assert "quai-no-such-container" in result["message"] or "/var/run/docker.sock" in result["message"]


def test_the_address_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine as far as the probe needs one; tests/probes has the real one."""

    def facts(status: str, networks: dict[str, Any]) -> bytes:
        state = {"Running": status == "running", "Status": status}
        return answer(json.dumps({"State": state, "NetworkSettings": {"Networks": networks}}).encode())

    engine = {
        "/containers/app/json": facts("running", {"none": {"IPAddress": ""}, "web": {"IPAddress": "127.0.0.1"}}),
        "/containers/host/json": facts("running", {"host": {"IPAddress": ""}}),
        "/containers/old/json": facts("exited", {"web": {"IPAddress": ""}}),
        "/containers/alone/json": facts("running", {}),
        "/containers/odd/json": answer(b"{}"),
    }
    path = str(tmp_path / "docker.sock")
    monkeypatch.setattr(_probe_net, "DOCKER_SOCKET", path)
    with Server(fixed(answer())) as server, Server(by_path(engine), path=path) as docker:
        names = ("app", "app", "host", "old", "alone", "odd", "none")
        probes = [
            {"name": f"p{number}", "url": f"http://site.test:{server.port}/", "container": name}
            for number, name in enumerate(names)
        ]
        results = run_probes(normalise(probes), concurrency=1)
        assert len(docker.requests) == 6  # the address of a container is asked for once in a run
        assert all(f"\r\nHost: site.test:{server.port}\r\n".encode() in request for request in server.requests)
    assert [result["status"] for result in results] == ["ok"] * 3 + ["critical"] * 2 + ["unknown", "critical"]
    assert [result["reason"] for result in results[3:]] == ["missing", "missing", "own_error", "missing"]
    assert results[3]["message"] == "the container old does not run: exited"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://x.test", ("http", "", "x.test", 80, "/")),
        ("HTTPS://X.test:8443?a=1#b", ("https", "", "x.test", 8443, "/?a=1")),
        ("http://[::1]:81/a", ("http", "", "::1", 81, "/a")),
        ("https://u:p@bücher.test/é", ("https", "u:p", "xn--bcher-kva.test", 443, "/%C3%A9")),
    ],
)
def test_addresses(text: str, expected: tuple[Any, ...]) -> None:
    assert tuple(parse_url(text)) == expected


@pytest.mark.parametrize("text", ["", "x.test", "http://", "http://a b/", "http://x.test:0/", "http://" + "é" * 80])
def test_wrong_addresses(text: str) -> None:
    with pytest.raises(OwnFault):
        parse_url(text)


def test_parse_cookie() -> None:
    assert parse_cookie('a="b=c" ; Path=/x;HttpOnly; SameSite=None') == (
        "a",
        "b=c",
        {"path": "/x", "httponly": "", "samesite": "None"},
    )


@pytest.mark.parametrize(
    ("header", "url", "sent"),
    [
        ("a=1", "http://x.test/d/e", "a=1"),
        ("a=1", "http://x.test/f", ""),  # the default path is that of the page
        ("a=1; Path=/", "http://x.test/f", "a=1"),
        ("a=1; Path=/dir", "http://x.test/directory", ""),
        ("a=1; Path=/; Domain=test", "http://y.test/", ""),  # a whole top domain is refused
        ("a=1; Path=/; Domain=.x.test", "http://sub.x.test/", "a=1"),
        ("a=1; Path=/", "http://sub.x.test/", ""),
        ("a=1; Path=/; Domain=other.test", "http://other.test/", ""),
        ("a=1; Path=/; Secure", "http://x.test/", ""),
        ("a=1; Path=/; Secure", "https://x.test/", ""),  # it was not set over https
        ("a=1; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://x.test/", ""),
        ("a=1; Path=/; Expires=Thu, 01-Jan-38 00:00:00 GMT", "http://x.test/", "a=1"),
        ("a=1; Path=/; Max-Age=0", "http://x.test/", ""),
        ("a=1; Path=/; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://x.test/", "a=1"),
    ],
)
def test_jar(header: str, url: str, sent: str) -> None:
    jar = _probe_http._Jar()
    jar.store(_probe_http.Answer(200, {}, [header], b""), parse_url("http://x.test/d/page"), NOW)
    assert jar.header(parse_url(url)) == sent


def test_random_chunks_arrive_whole_however_they_are_cut() -> None:
    """Seeded: any body, in chunks of any size, in packets of any size."""
    source = random.Random(20261121)  # noqa: S311 - seeded on purpose
    for _round in range(60):
        body = source.randbytes(source.randint(0, 3000))
        data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        at = 0
        while at < len(body):
            size = source.randint(1, 700)
            part = body[at : at + size]
            data += b"%X\r\n%b\r\n" % (len(part), part)
            at += size
        data += b"0\r\n\r\n"
        ours, theirs = socket.socketpair()
        with ours, theirs:
            connection = Connection.over(ours, Context(5), "pair")

            def feed(data: bytes = data, theirs: socket.socket = theirs) -> None:
                at = 0
                while at < len(data):
                    size = source.randint(1, 900)
                    theirs.sendall(data[at : at + size])
                    at += size

            thread = threading.Thread(target=feed)
            thread.start()
            found = exchange(connection, b"GET / HTTP/1.1\r\n\r\n", "GET", 1 << 20)
            thread.join()
        assert found.body == body


def test_random_answers_end_in_an_answer_or_one_failure() -> None:
    """Seeded: an answer with a few bytes changed is read or refused; nothing else comes out."""
    source = random.Random(4)  # noqa: S311 - seeded on purpose
    good = b"HTTP/1.1 200 OK\r\nContent-Type: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    for _round in range(400):
        data = bytearray(good)
        for _change in range(source.randint(1, 4)):
            data[source.randrange(len(data))] = source.randrange(256)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(bytes(data))
            theirs.shutdown(socket.SHUT_WR)
            try:
                found = exchange(Connection.over(ours, Context(5), "pair"), b"x", "GET", 1 << 20)
            except ProbeFailed as failed:
                assert failed.reason in {"proto", "reset", "size"}
            else:
                assert 200 <= found.status < 600


def test_a_server_that_speaks_another_protocol_first() -> None:
    with Server(greeting(b"220 mail.test ESMTP\r\n")) as server:
        assert ask(server)["reason"] == "proto"
