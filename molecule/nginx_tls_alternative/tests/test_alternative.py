# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role with nearly every variable at another value than its default."""

from __future__ import annotations

import gzip
import ssl
from typing import Any

import pytest

from tests.nginx_tls.web import Web, renew, wait_for


def test_the_wildcard_certificate_is_served(web: Web, domain: str) -> None:
    """Proven by DNS: the name itself and any below it."""
    for name in (domain, f"www.{domain}", f"files.{domain}", f"old.{domain}"):
        with web.handshake(name, web.trusting) as connection:
            shown: Any = connection.getpeercert()
            assert {value for _, value in shown["subjectAltName"]} == {f"*.{domain}", domain}


def test_the_provided_certificate_is_served(host: Any, web: Web, domain: str) -> None:
    """The one that lies on the host, with its RSA key."""
    context = ssl.create_default_context(cadata=host.file("/root/given/certificate.pem").content_string)
    with web.handshake(f"given.{domain}", context) as connection:
        assert connection.version() == "TLSv1.3"


def test_only_tls_1_3(web: Web, domain: str) -> None:
    """The modern profile."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match=r"alert|protocol"):
        web.handshake(domain, context)


def test_neither_http3_nor_ipv6(host: Any, web: Web, domain: str) -> None:
    """Both were declined."""
    assert not host.socket("udp://443").is_listening
    assert not host.socket("tcp://:::443").is_listening
    assert host.socket("tcp://0.0.0.0:443").is_listening
    assert web.ask(domain).all("Alt-Svc") == []


def test_the_application_answers_unknown_paths(web: Web, domain: str) -> None:
    """But not below its assets, and never with what begins with a dot."""
    for path in ("/", "/orders/7", "/index.html"):
        answer = web.ask(domain, path)
        assert (answer.status, answer.body) == (200, b"<h1>application</h1>\n")
        assert answer.one("Cache-Control") == "no-cache"
    for path in ("/assets/gone.js", "/.env", "/assets/.git/config"):
        answer = web.ask(domain, path)
        assert answer.status == 404
        assert answer.all("Cache-Control") == []
        assert answer.json["error"] == "Not found"


def test_assets(web: Web, domain: str) -> None:
    """Compressed and kept as long as declared."""
    answer = web.ask(domain, "/assets/app.js", Accept_Encoding="gzip")
    assert gzip.decompress(answer.body) == b"let a = 1;\n" * 500
    assert answer.one("Cache-Control") == "public, max-age=600"


def test_changed_headers(web: Web, domain: str) -> None:
    """The general ones, a site's own, one removed under another spelling; errors included."""
    for path, status in (("/", 200), ("/assets/gone.js", 404)):
        answer = web.ask(domain, path)
        assert answer.status == status
        assert answer.one("Strict-Transport-Security") == "max-age=63072000; includeSubDomains; preload"
        assert answer.one("Content-Security-Policy") == "default-src 'self'; style-src \"none\""
        assert answer.one("X-Content-Type-Options") == "nosniff"
        assert answer.all("X-Frame-Options") == answer.all("Referrer-Policy") == []


def test_a_removed_header_is_the_back_end_s_again(web: Web, domain: str) -> None:
    """nginx neither sends nor hides it."""
    answer = web.ask(f"given.{domain}", "/doubled")
    assert answer.one("Strict-Transport-Security") == "max-age=1"
    assert answer.one("X-Frame-Options") == "DENY"
    assert answer.one("Referrer-Policy") == "unsafe-url"


def test_cors_for_everybody_on_static_files(web: Web, domain: str) -> None:
    """There is no back end to say it, so nginx does on every answer."""
    preflight = web.ask(domain, "/", "OPTIONS", Origin="https://any.example", Access_Control_Request_Method="GET")
    assert preflight.status == 204
    assert preflight.one("Access-Control-Allow-Origin") == "*"
    assert preflight.one("Access-Control-Allow-Methods") == "GET"
    assert preflight.one("Access-Control-Allow-Headers") == "X-A"
    assert preflight.one("Access-Control-Max-Age") == "60"
    answer = web.ask(domain, "/assets/app.js", Origin="https://any.example")
    assert answer.one("Access-Control-Allow-Origin") == "*"
    assert answer.all("Access-Control-Allow-Credentials") == answer.all("Access-Control-Max-Age") == []


def test_a_site_for_some_networks_only(web: Web, domain: str) -> None:
    """Found by the address that the trusted proxy names."""
    refused = web.ask(f"files.{domain}")
    assert (refused.status, refused.json["error"]) == (403, "Not allowed")
    assert refused.one("X-Content-Type-Options") == "nosniff"
    assert web.ask(f"files.{domain}", X_Forwarded_For="192.0.2.9").body == b"<h1>files</h1>\n"


def test_redirects(web: Web, domain: str) -> None:
    """With the status and the path that were declared."""
    answer = web.ask(f"old.{domain}", "/a?b=c")
    assert (answer.status, answer.one("Location")) == (308, "https://new.example.org/base/a?b=c")
    answer = web.ask(f"www.{domain}", "/a?b=c")
    assert (answer.status, answer.one("Location")) == (301, f"https://{domain}/a?b=c")


def test_exempt_clients_are_not_limited(web: Web, domain: str) -> None:
    """Six a minute for the others, a request every ten seconds."""
    exempt = [web.ask(f"given.{domain}", "/tight", X_Forwarded_For="198.51.100.7").status for _ in range(5)]
    assert exempt == [200] * 5
    others = [web.ask(f"given.{domain}", "/tight", X_Forwarded_For="203.0.113.50") for _ in range(3)]
    assert [answer.status for answer in others[1:]] == [429, 429]
    assert others[-1].one("Retry-After") == "10"
    assert web.ask(f"given.{domain}", "/free", X_Forwarded_For="203.0.113.50").status == 200


def test_clients_of_one_ipv6_network_share_a_limit(web: Web, domain: str) -> None:
    """Whoever has one address has all of its /64."""
    first = web.ask(f"given.{domain}", "/tight", X_Forwarded_For="2001:db8:1:2::1")
    second = web.ask(f"given.{domain}", "/tight", X_Forwarded_For="2001:db8:1:2:ffff::9")
    other = web.ask(f"given.{domain}", "/tight", X_Forwarded_For="2001:db8:1:3::1")
    assert second.status == 429
    assert first.status in (200, 429)
    assert other.status in (200, 429)
    assert web.ask(f"given.{domain}", "/free").status == 200


def test_the_client_s_address_comes_from_the_trusted_proxy(web: Web, domain: str) -> None:
    """And reaches the back end."""
    got = web.ask(f"given.{domain}", "/echo", X_Forwarded_For="198.51.100.7").json["headers"]
    assert got["x-forwarded-for"] == got["x-real-ip"] == "198.51.100.7"


def test_a_slow_back_end_is_given_up(web: Web, domain: str) -> None:
    """After the declared second, on each of the two; a page says so."""
    answer = web.ask(f"given.{domain}", "/slow?seconds=5", Accept="text/html")
    assert answer.status == 504
    assert b"<h1>No answer in time</h1>" in answer.body


def test_words_of_nginx_s_own(web: Web, domain: str) -> None:
    """extra_config; headers are kept."""
    answer = web.ask(f"given.{domain}", "/hello")
    assert answer.body == b"hello " + answer.one("X-Request-ID").encode()
    assert answer.one("X-Frame-Options") == "DENY"


def test_credentials_are_root_s_alone(host: Any) -> None:
    """And the timer finds what it needs to renew by DNS."""
    credentials = host.file("/etc/quai/acme/dns-credentials.ini")
    assert (credentials.user, credentials.mode) == ("root", 0o600)
    renewal = host.file("/etc/letsencrypt/renewal/wildcard.conf").content_string
    assert "authenticator = dns-rfc2136" in renewal
    assert "dns_rfc2136_credentials = /etc/quai/acme/dns-credentials.ini" in renewal
    environment = host.check_output("systemctl show -p Environment certbot.service")
    assert "REQUESTS_CA_BUNDLE=/etc/ssl/lab-ca.pem" in environment


def test_the_wildcard_is_renewed_by_dns(host: Any, web: Web, domain: str) -> None:
    """By the timer's service as it is; only the time to renew is brought forward."""
    before = web.serial(domain)
    renew(host)
    wait_for(lambda: web.serial(domain) != before)


def test_everything_is_in_order(host: Any) -> None:
    """Also after it was broken and repaired."""
    nginx = host.service("nginx")
    assert nginx.is_running
    assert nginx.is_enabled
    assert host.run("nginx -t -q").rc == 0
    for name in ("wildcard", "given"):
        assert host.file(f"/etc/quai/tls/{name}").is_symlink
        assert host.file(f"/etc/quai/tls/{name}/privkey.pem").mode == 0o600
    assert sorted(host.file("/etc/quai/tls").listdir()) == ["given", "wildcard"]
