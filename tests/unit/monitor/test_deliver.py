# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One message through each kind of channel, against real servers that are good, wrong, slow and dead."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _monitor_deliver as delivery
from ansible_collections.quai.ops.plugins.module_utils._monitor_deliver import Sender
from ansible_collections.quai.ops.plugins.module_utils._monitor_outbox import DeliveryFailed

from tests.unit.monitor.parts import T0, Post, Web, certificate

SECRET = "s3cr3t-t0ken"


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        yield server


@pytest.fixture
def post() -> Iterator[Post]:
    with Post() as server:
        yield server


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return certificate(tmp_path_factory.mktemp("tls"))


def message(**more: Any) -> dict[str, Any]:
    return {
        "id": "0a1b2c",
        "kind": "firing",
        "channel": "x",
        "severity": "critical",
        "at": T0,
        "probes": ["api"],
        "subject": "[vps1] 1 CRIT: api (timeout)",
        "body": "L'API ne répond pas : 5 s\n",
        "data": {"n": 1},
        **more,
    }


def send(channel: dict[str, Any], seconds: float = 5, mail: dict[str, Any] | None = None, **more: Any) -> None:
    config = {"host": "vps1", "channels": {"x": channel}, "mail": mail or {}}
    Sender(config, {"TOKEN": SECRET, "PASSWORD": "pass word"})(message(**more), seconds)


def refused(*arguments: Any, **options: Any) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as failed:
        send(*arguments, **options)
    assert SECRET not in failed.value.message
    assert SECRET not in str(failed.value)
    return failed.value


# --- webhook and Slack -----------------------------------------------------------------------------------------------


def test_a_webhook_gets_the_machine_readable_twin(web: Web) -> None:
    send({"type": "webhook", "url": f"{web.url}/hook/${{TOKEN}}", "headers": {"Authorization": "Bearer ${TOKEN}"}})
    (request,) = web.requests
    assert (request.method, request.path) == ("POST", f"/hook/{SECRET}")
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["idempotency-key"] == request.headers["x-quai-id"] == "0a1b2c"
    assert request.json == {"host": "vps1", **{key: value for key, value in message().items() if key != "channel"}}


def test_slack_gets_a_text_with_its_characters_escaped(web: Web) -> None:
    send({"type": "slack", "url": web.url}, body="a <b> & c")
    assert web.requests[0].json == {"text": "*[vps1] 1 CRIT: api (timeout)*\na &lt;b&gt; &amp; c"}


def test_slack_gets_the_short_text_of_a_message_that_has_one(web: Web) -> None:
    send({"type": "slack", "url": web.url}, data={"text": "*short* &amp; ready"})
    assert web.requests[0].json == {"text": "*short* &amp; ready"}
    send(
        {"type": "slack", "url": web.url},
        data={"text": "short"},
        via="mail",
        body="Sent here too: mail is down\n\nrest",
    )
    assert web.requests[1].json == {"text": "Sent here too: mail is down\nshort"}


def test_a_long_text_is_cut_for_slack(web: Web) -> None:
    send({"type": "slack", "url": web.url}, body="x" * 10000)
    assert len(web.requests[0].json["text"]) < 3600


@pytest.mark.parametrize(
    ("status", "lasting"),
    [(500, False), (503, False), (429, False), (403, False), (404, False), (301, False), (400, True), (413, True)],
)
def test_what_a_status_means(web: Web, status: int, lasting: bool) -> None:
    web.status, web.content = status, b"no  thanks\n"
    error = refused({"type": "webhook", "url": f"{web.url}/{SECRET}"})
    assert (error.message, error.refused) == (f"answered {status} no thanks", lasting)


def test_an_answer_that_repeats_the_secret_is_not_repeated(web: Web) -> None:
    web.status, web.content = 500, f"bad token {SECRET}".encode()
    assert refused({"type": "webhook", "url": web.url}).message == "answered 500 bad token ***"


def test_a_dead_one_a_silent_one_and_a_slow_one(web: Web) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        assert (
            "no answer within 0.4 s"
            in refused({"type": "webhook", "url": f"http://127.0.0.1:{port}/{SECRET}"}, 0.4).message
        )
        assert time.monotonic() - began < 2
    error = refused({"type": "webhook", "url": f"http://127.0.0.1:{port}/{SECRET}"})
    assert "refused the connection" in error.message
    assert not error.refused


def test_https_is_verified(tls: tuple[Path, ssl.SSLContext]) -> None:
    file, context = tls
    with Web() as web:
        web.wrap(context)
        send({"type": "webhook", "url": f"{web.url}/", "ca_file": str(file)})
        assert len(web.requests) == 1
        assert "certificate" in refused({"type": "webhook", "url": f"{web.url}/"}).message
        assert len(web.requests) == 1


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "http://a b/", "x"])
def test_an_address_that_is_none_is_not_shown(url: str) -> None:
    assert refused({"type": "webhook", "url": url}).message == "its address is not http:// or https://"


def test_a_secret_that_is_missing_is_named() -> None:
    assert "the secret OTHER is not in secrets.json" in refused({"type": "slack", "url": "${OTHER}"}).message


def test_a_header_cannot_make_another_one(web: Web) -> None:
    channel = {"type": "webhook", "url": web.url, "headers": {"X-A": "a\r\nX-B: b"}}
    assert "line break" in refused(channel).message
    assert web.requests == []


def test_a_mistake_in_the_configuration_of_a_channel_is_told(post: Post) -> None:
    error = refused(MAIL, mail={"relay": {"port": post.port, "user": SECRET}})
    assert error.message == "cannot be sent: KeyError: 'host'"
    assert error.refused


def test_a_channel_that_is_gone_refuses_its_messages() -> None:
    with pytest.raises(DeliveryFailed, match="no channel 'y'") as failed:
        Sender({"host": "vps1", "channels": {}}, {})(message(channel="y"), 5)
    assert failed.value.refused


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_read_whole(web: Web, chunked: bool) -> None:
    web.content, web.chunked = b"0123456789" * 50, chunked
    assert delivery.request(web.url, 5.0) == (200, web.content)
    with pytest.raises(DeliveryFailed, match="a body of"):
        delivery.request(web.url, 5.0, most=20)


# --- mail ------------------------------------------------------------------------------------------------------------

MAIL = {"type": "mail", "to": ["ops@example.org", "boss@example.org"]}


def relay(post: Post, **more: Any) -> dict[str, Any]:
    return {"from": "quai@vps1.example", "relay": {"host": "localhost", "port": post.port, **more}}


def test_a_mail_by_a_relay(post: Post) -> None:
    send(MAIL, mail=relay(post), subject="[vps1] 1 CRIT : base de données\nX-Evil: yes")
    (mail,) = post.mails
    sender, to = post.envelopes[0]
    assert sender.startswith("<quai@vps1.example>")
    assert to == ["<ops@example.org>", "<boss@example.org>"]
    assert mail["Subject"] == "[vps1] 1 CRIT : base de données X-Evil: yes"
    assert mail["X-Evil"] is None
    assert mail["To"] == "ops@example.org, boss@example.org"
    assert (mail["Message-ID"], mail["X-Quai-Id"]) == ("<0a1b2c@vps1>", "0a1b2c")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"] == "Fri, 15 Jan 2027 08:00:00 +0000"
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().splitlines() == ["L'API ne répond pas : 5 s"]


def test_mails_of_one_incident_are_one_thread(post: Post) -> None:
    items = [{"name": "api", "since": T0 - 60}]
    send(MAIL, mail=relay(post), data={"items": items})
    send(MAIL, mail=relay(post), id="ffff", kind="resolved", data={"items": items})
    send(MAIL, mail=relay(post), id="eeee", data={"items": [{"name": "api", "since": T0 + 900}]})
    first, second, other = (mail["References"] for mail in post.mails)
    assert first == second == "<incident.api.1799999940@vps1>"
    assert other != first
    assert len({mail["Message-ID"] for mail in post.mails}) == 3


def test_a_report_carries_its_page(post: Post) -> None:
    send(MAIL, mail=relay(post), html="<!DOCTYPE html><p>é</p>", file="quai.html")
    (mail,) = post.mails
    (page,) = mail.iter_attachments()
    assert (page.get_content_type(), page.get_filename()) == ("text/html", "quai.html")
    assert page.get_content().strip() == "<!DOCTYPE html><p>é</p>"
    body = mail.get_body(("plain",))
    assert body is not None
    assert "répond" in body.get_content()


@pytest.mark.parametrize(
    ("verb", "reply", "lasting", "words"),
    [
        ("RCPT", "550 no such user", True, "takes no recipient: 550 no such user"),
        ("RCPT", "450 greylisted", False, "takes no recipient: 450 greylisted"),
        ("DATA", "554 spam", True, "554 spam"),
        ("MAIL", "552 too much", True, "552 too much"),
        ("MAIL", "421 not now", False, "421 not now"),
        ("EHLO", "421 busy", False, "421 busy"),
    ],
)
def test_what_a_relay_refuses(post: Post, verb: str, reply: str, lasting: bool, words: str) -> None:
    post.replies = {verb: reply, "HELO": "421 busy"}
    error = refused(MAIL, mail=relay(post))
    assert words in error.message
    assert f"localhost:{post.port}" in error.message
    assert error.refused is lasting
    assert post.mails == []


def test_a_relay_that_drips_is_given_up_in_time(post: Post) -> None:
    post.drip = True
    began = time.monotonic()
    assert "no answer within" in refused(MAIL, 0.6, mail=relay(post)).message
    assert time.monotonic() - began < 2.5


def test_a_relay_that_is_dead(post: Post) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    error = refused(MAIL, mail={"relay": {"host": "127.0.0.1", "port": port}})
    assert f"127.0.0.1:{port}" in error.message
    assert "refused" in error.message.lower()
    assert not error.refused


def test_starttls_verified_with_a_login(tls: tuple[Path, ssl.SSLContext]) -> None:
    file, context = tls
    with Post(context) as post:
        send(MAIL, mail=relay(post, tls="require", ca_file=str(file), user="quai", password="${PASSWORD}"))
        assert post.secure == [True]
        assert post.logins[0].startswith("AUTH PLAIN")
        error = refused(MAIL, mail=relay(post, tls="require"))
        assert "certificate" in error.message
        assert len(post.mails) == 1


def test_prefer_takes_what_there_is(tls: tuple[Path, ssl.SSLContext], post: Post) -> None:
    send(MAIL, mail=relay(post))
    with Post(tls[1]) as secure:
        send(MAIL, mail=relay(secure))
        assert secure.secure == [True]
    assert post.secure == [False]


def test_require_refuses_a_relay_without_tls(post: Post) -> None:
    assert "offers no STARTTLS" in refused(MAIL, mail=relay(post, tls="require")).message
    assert post.mails == []


def test_a_password_goes_nowhere_in_the_clear(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        delivery, "dial", lambda host, port, seconds: socket.create_connection(("127.0.0.1", post.port))
    )
    mail = {"relay": {"host": "mail.example.org", "port": 25, "user": "u", "password": "${PASSWORD}"}}
    assert "offers no STARTTLS" in refused(MAIL, mail=mail).message
    assert post.logins == []


@pytest.fixture
def sendmail(tmp_path: Path) -> Path:
    program = tmp_path / "sendmail"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat > {tmp_path}/mail\n. {tmp_path}/end\n')
    program.chmod(0o755)
    (tmp_path / "end").write_text("exit 0")
    return program


def test_a_mail_by_sendmail(sendmail: Path) -> None:
    send(MAIL, mail={"from": "quai@vps1.example", "sendmail": str(sendmail)})
    assert (sendmail.parent / "arguments").read_text() == "-t -i -f quai@vps1.example\n"
    content = (sendmail.parent / "mail").read_bytes()
    assert b"\r" not in content
    text = content.decode()
    assert "To: ops@example.org, boss@example.org" in text
    assert "Message-ID: <0a1b2c@vps1>" in text


@pytest.mark.parametrize(("code", "lasting"), [(75, False), (67, True), (1, False)])
def test_a_sendmail_that_fails(sendmail: Path, code: int, lasting: bool) -> None:
    (sendmail.parent / "end").write_text(f"echo deferred >&2; exit {code}")
    error = refused(MAIL, mail={"sendmail": str(sendmail)})
    assert (error.message, error.refused) == (f"{sendmail} ended with {code} deferred", lasting)


def test_a_sendmail_that_hangs_and_one_that_is_not_there(sendmail: Path, tmp_path: Path) -> None:
    (sendmail.parent / "end").write_text("exec sleep 30")
    assert "did not end within" in refused(MAIL, 0.3, mail={"sendmail": str(sendmail)}).message
    missing = str(tmp_path / "none")
    assert "install a mail server or set mail.relay" in refused(MAIL, mail={"sendmail": missing}).message
