# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of the web against a real nginx: up, slow, wrong and dead, in the clear and over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.probes.target import CERTIFICATES, Target

pytestmark = pytest.mark.docker

SITE = f"""
server {{
    listen 127.0.0.1:8088;
    listen 127.0.0.1:8443 ssl;
    server_name target.lab;
    ssl_certificate {CERTIFICATES}/server.pem;
    ssl_certificate_key {CERTIFICATES}/server.key;
    default_type text/plain;
    location = /up {{ default_type application/json; return 200 '{{"status":"ok","queue":{{"failed":2}}}}'; }}
    location = /down {{ default_type application/json; return 503 '{{"status":"down"}}'; }}
    location = /moved {{ return 302 /up; }}
    location = /elsewhere {{ return 302 http://elsewhere.invalid/; }}
    location = /login {{
        add_header Set-Cookie "session=1; Path=/; HttpOnly; Secure; SameSite=Lax";
        add_header Set-Cookie "theme=dark; Path=/";
        return 200 "welcome";
    }}
    location = /preflight {{
        add_header Access-Control-Allow-Origin https://app.example;
        add_header Access-Control-Max-Age 86400;
        return 204;
    }}
    location = /private {{ auth_basic Team; auth_basic_user_file /etc/nginx/probed.passwords; return 200 "in"; }}
    location = /slow {{ root /srv; limit_rate 10; }}
}}
"""
PLAIN, SECURE = "http://127.0.0.1:8088", "https://target.lab:8443"
TLS = {"connect_to": "127.0.0.1:8443", "ca_file": f"{CERTIFICATES}/ca.pem"}


@pytest.fixture(scope="module", autouse=True)
def nginx(target: Target) -> Iterator[None]:
    target.put("/etc/nginx/conf.d/probed-web.conf", SITE)
    target.put("/srv/slow", "x" * 10_000)
    target.sh("echo probe:$(openssl passwd -6 -stdin) > /etc/nginx/probed.passwords", given="s3cr3t-Web")
    # auth_basic comes after return: the password decides before nginx looks for a file.
    target.sh("sed -i 's#return 200 \"in\"#try_files /up-file =204#' /etc/nginx/conf.d/probed-web.conf; nginx -t 2>&1")
    target.start("nginx")
    yield
    target.sh("systemctl stop nginx; rm /etc/nginx/conf.d/probed-web.conf")


def outcome(target: Target, **probe: Any) -> tuple[str, str]:
    result = target.probe({"type": "http", **probe}, secrets={"web": "s3cr3t-Web"})
    assert "s3cr3t" not in str(result)
    return result["status"], result["reason"]


@contextmanager
def signalled(target: Target, stop: str, go_on: str) -> Iterator[None]:
    target.sh(stop)
    try:
        yield
    finally:
        target.sh(go_on)


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        pytest.param({"url": f"{PLAIN}/up"}, ("ok", ""), id="up"),
        pytest.param({"url": f"{SECURE}/up", **TLS}, ("ok", ""), id="up-over-tls"),
        pytest.param(
            {"url": f"{PLAIN}/up", "expect": ["json.queue.failed <= 2", "json.status == ok"]}, ("ok", ""), id="json"
        ),
        pytest.param(
            {"url": f"{PLAIN}/up", "expect": ["json.queue.failed < 2"]}, ("critical", "json"), id="json-wrong"
        ),
        pytest.param({"url": f"{PLAIN}/up", "expect": ["body ~ nothing"]}, ("critical", "body"), id="body-wrong"),
        pytest.param({"url": f"{PLAIN}/down"}, ("critical", "status"), id="503"),
        pytest.param({"url": f"{PLAIN}/down", "expect": ["status == 503"]}, ("ok", ""), id="503-wanted"),
        pytest.param({"url": f"{PLAIN}/moved", "follow_redirects": 1}, ("ok", ""), id="redirect"),
        pytest.param({"url": f"{PLAIN}/moved"}, ("critical", "status"), id="redirect-not-followed"),
        pytest.param({"url": f"{PLAIN}/elsewhere", "follow_redirects": 3}, ("warning", "redirect"), id="redirect-away"),
        pytest.param(
            {
                "url": f"{SECURE}/login",
                **TLS,
                "expect": ["cookie.session.http_only == true", "cookie.session.same_site == lax"],
            },
            ("ok", ""),
            id="cookie",
        ),
        pytest.param(
            {"url": f"{SECURE}/login", **TLS, "expect": ["cookie.theme.secure == true"]},
            ("critical", "body"),
            id="cookie-unsafe",
        ),
        pytest.param(
            {
                "url": f"{PLAIN}/preflight",
                "method": "OPTIONS",
                "headers": {"Origin": "https://app.example"},
                "expect": ["status == 204", 'header.access-control-max-age == "86400"'],
            },
            ("ok", ""),
            id="preflight",
        ),
        pytest.param(
            {"url": f"{PLAIN}/private", "user": "probe", "password": "${web}", "expect": ["status == 204"]},
            ("ok", ""),
            id="basic",
        ),
        pytest.param(
            {"url": f"{PLAIN}/private", "user": "probe", "password": "no"}, ("critical", "status"), id="basic-wrong"
        ),
        pytest.param({"url": f"{PLAIN}/slow", "timeout": 1}, ("critical", "timeout"), id="slow-body"),
        pytest.param(
            {"url": f"{SECURE}/up", **TLS, "ca_file": f"{CERTIFICATES}/other-ca.pem"},
            ("critical", "tls_chain"),
            id="chain",
        ),
        pytest.param({"url": "https://other.lab:8443/up", **TLS}, ("critical", "tls_host"), id="host"),
        pytest.param({"url": f"{PLAIN}/up".replace("8088", "8089")}, ("critical", "refused"), id="dead-port"),
        pytest.param(
            {"url": f"{PLAIN}/up".replace("http:", "https:"), "verify": False}, ("critical", "tls_other"), id="no-tls"
        ),
        pytest.param({"url": "http://no-such-host.invalid/"}, ("critical", "dns"), id="dns"),
    ],
)
def test_an_answer(target: Target, probe: dict[str, Any], expected: tuple[str, str]) -> None:
    assert outcome(target, **probe) == expected


def test_a_served_certificate(target: Target) -> None:
    result = target.probe({"type": "tls", "host": "target.lab", "port": 8443, **TLS, "warn": ["tls_days < 100000"]})
    assert (result["status"], result["reason"]) == ("warning", "threshold")
    assert result["tls"]["days"] > 1
    assert result["tls"]["version"] == "TLSv1.3"


@pytest.mark.parametrize("url", [f"{PLAIN}/up", f"{SECURE}/up"])
def test_nginx_that_hangs(target: Target, url: str) -> None:
    """The kernel takes the connection, nobody answers."""
    tls = TLS if url.startswith("https") else {}
    with signalled(target, "systemctl kill --signal=SIGSTOP nginx", "systemctl kill --signal=SIGCONT nginx"):
        assert outcome(target, url=url, timeout=1, **tls) == ("critical", "timeout")
    assert outcome(target, url=url, **tls) == ("ok", "")


def test_nginx_that_is_dead(target: Target) -> None:
    with signalled(target, "systemctl stop nginx", "systemctl start nginx"):
        assert outcome(target, url=f"{PLAIN}/up") == ("critical", "refused")
        assert target.probe({"type": "tcp", "port": 8443})["reason"] == "refused"
    assert target.probe({"type": "tcp", "port": 8443})["status"] == "ok"
