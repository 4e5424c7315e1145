# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Handshakes, certificates and unknown names, seen from outside, and what lies on the host."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import subprocess
from functools import partial
from typing import Any

import pytest

from tests.nginx_tls.web import Web, renew, wait_for

SUITES_12 = {
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305",
}  # fmt: skip


def only(version: ssl.TLSVersion, ciphers: str = "") -> ssl.SSLContext:
    """A client with one TLS version, which takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(ciphers or "ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    return context


def is_new(web: Web, name: str, serial: str) -> bool:
    """Whether another certificate than that one is served."""
    return web.serial(name) != serial


@pytest.mark.parametrize("site", ["api", "app", "www.app"])
def test_the_ca_s_certificate_is_served(web: Web, domain: str, site: str) -> None:
    """Verified by chain and name, as a browser would."""
    with web.handshake(f"{site}.{domain}", web.trusting) as connection:
        assert connection.version() == "TLSv1.3"


@pytest.mark.parametrize("site", ["ws", "dead"])
def test_self_signed_where_that_is_wanted(web: Web, domain: str, site: str) -> None:
    """For the right name."""
    with pytest.raises(ssl.SSLCertVerificationError, match=r"self-signed|self signed"):
        web.handshake(f"{site}.{domain}", web.trusting)
    with web.handshake(f"{site}.{domain}") as connection:
        assert f"{site}.{domain}".encode() in (connection.getpeercert(binary_form=True) or b"")


@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        (ssl.TLSVersion.TLSv1_3, True),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1, False),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_protocols(web: Web, domain: str, version: ssl.TLSVersion, accepted: bool) -> None:
    """1.2 and 1.3, nothing older."""
    if accepted:
        with web.handshake(f"api.{domain}", only(version)) as connection:
            assert connection.version() == version.name.replace("_", ".")
    else:
        with pytest.raises(ssl.SSLError, match=r"alert|protocol|reset|eof"):
            web.handshake(f"api.{domain}", only(version))


def test_suites_of_tls_1_2(web: Web, domain: str) -> None:
    """Mozilla's intermediate ones for this key, and no other of the hundred and more that OpenSSL knows."""
    accepted = set()
    for cipher in only(ssl.TLSVersion.TLSv1_2).get_ciphers():
        if cipher["protocol"] == "TLSv1.3":
            continue
        try:
            with web.handshake(f"api.{domain}", only(ssl.TLSVersion.TLSv1_2, f"{cipher['name']}:@SECLEVEL=0")):
                accepted.add(cipher["name"])
        except ssl.SSLError:
            continue
    assert accepted == SUITES_12


@pytest.mark.parametrize("name", ["unknown.example.org", "lab", None])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_unknown_names_are_refused_at_the_handshake(web: Web, name: str | None, version: ssl.TLSVersion) -> None:
    """No certificate of another site is shown."""
    with pytest.raises(ssl.SSLError, match=r"unrecognized name|UNRECOGNIZED_NAME"):
        web.handshake(name, only(version))


@pytest.mark.parametrize(
    "request_line", ["GET / HTTP/1.1\r\nHost: unknown.example.org\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"]
)
@pytest.mark.parametrize("path", ["/", "/.well-known/acme-challenge/x"])
def test_unknown_hosts_get_no_answer_on_port_80(web: Web, request_line: str, path: str) -> None:
    """The connection just ends."""
    with socket.create_connection((web.address, 80), 5) as connection:
        connection.sendall(request_line.replace(" / ", f" {path} ").encode())
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1000) == b""


def test_a_good_handshake_does_not_open_another_host(web: Web, domain: str) -> None:
    """421 tells a browser that shares connections among names to open another, where the handshake is refused."""
    answer = web.ask(f"api.{domain}", Host="unknown.example.org")
    assert answer.status == 421
    assert answer.one("X-Content-Type-Options") == "nosniff"


def test_http2(web: Web, domain: str) -> None:
    """Negotiated, and answered."""
    context = only(ssl.TLSVersion.TLSv1_3)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with web.handshake(f"api.{domain}", context) as connection:
        assert connection.selected_alpn_protocol() == "h2"
    done = subprocess.run(
        [
            "curl", "-sS", "--http2", "--cacert", str(web.roots), "-o", "/dev/null",
            "-w", "%{http_version} %{http_code}", "--resolve", f"api.{domain}:443:{web.address}", f"https://api.{domain}/echo",
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "2 200"


def test_http3(host: Any, web: Web, domain: str, name: str) -> None:
    """Where the distribution's nginx has it, announced and answered."""
    announced = web.ask(f"api.{domain}", "/echo").all("Alt-Svc")
    listens = host.socket("udp://0.0.0.0:443").is_listening
    if name == "debian12":
        assert (announced, listens) == ([], False)
        return
    assert (announced, listens) == (['h3=":443"; ma=86400'], True)
    told = "-o /dev/null -w '%{http_version} %{http_code}'"
    assert host.check_output(f"curl -sSk --http3-only -m 10 {told} https://api.{domain}/echo") == "3 200"


def test_sessions_are_resumed(web: Web, domain: str) -> None:
    """By the server's cache: a returning client saves a round trip and us a signature."""
    context = only(ssl.TLSVersion.TLSv1_2)
    # The first connection stays open: a session whose connection was cut is rightly forgotten.
    with web.handshake(f"api.{domain}", context) as first:

        def reused() -> bool:
            plain = socket.create_connection((web.address, 443), 5)
            with context.wrap_socket(plain, server_hostname=f"api.{domain}", session=first.session) as second:
                return bool(second.session_reused)

        # A worker stores the session right after its last word of the handshake; the other one may look before.
        wait_for(reused)


def test_ocsp_is_stapled_where_the_certificate_offers_it(web: Web, domain: str) -> None:
    """The lab's CA does; a self-signed certificate cannot."""

    def status(site: str) -> str:
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"{web.address}:443", "-servername", f"{site}.{domain}", "-status"],
            input="", check=False, capture_output=True, text=True, timeout=20,
        )  # fmt: skip
        return done.stdout

    # Each worker asks the responder after the first handshake that wants an answer.
    wait_for(lambda: re.search("OCSP Response Status: successful.*Cert Status: good", status("api"), re.S) is not None)
    assert "OCSP response: no response sent" in status("ws")


def test_keys_are_root_s_alone(host: Any, domain: str) -> None:
    """Directory and files; the store keeps one pair for each name."""
    for site in ("api", "app", "ws", "dead"):
        key = host.file(f"/etc/quai/tls/{site}.{domain}/privkey.pem")
        assert (key.user, key.mode) == ("root", 0o600)
        assert len(host.file(f"/etc/quai/tls/.store/{site}.{domain}").listdir()) == 1
    assert host.file("/etc/quai/tls/.store").mode == 0o700


def test_renewals_are_scheduled(host: Any) -> None:
    """By Debian's timer; our hook is there for it."""
    timer = host.service("certbot.timer")
    assert timer.is_running
    assert timer.is_enabled
    assert host.file("/etc/letsencrypt/renewal-hooks/deploy/quai").mode == 0o755
    environment = host.check_output("systemctl show -p Environment --value certbot.service")
    assert "REQUESTS_CA_BUNDLE=/etc/quai/acme/ca.pem" in environment


def test_nothing_of_the_distribution_s_default_is_left(host: Any) -> None:
    """Nor of what nobody declared."""
    assert not host.file("/etc/nginx/sites-enabled/default").exists
    declared = ["api.conf", "app.conf", "dead.conf", "flood.conf", "private.conf", "ws.conf"]
    assert sorted(host.file("/etc/nginx/quai/sites").listdir()) == declared
    assert host.run("nginx -t -q").rc == 0
    assert not host.file("/run/quai/pending").exists or host.file("/run/quai/pending").listdir() == []


def test_a_renewal_by_the_timer_s_service_is_served(host: Any, web: Web, domain: str) -> None:
    """Through the unit as it is, with the lab's own CA; only the time to renew is brought forward."""
    before = {site: web.serial(f"{site}.{domain}") for site in ("api", "app")}
    renew(host)
    for site, serial in before.items():
        wait_for(partial(is_new, web, f"{site}.{domain}", serial))
