# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input, failing CAs and reloads, while the sites are being asked all the time."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.nginx_tls.play import Converge
from tests.nginx_tls.web import Web, wait_for

CLIENTS = 4
PAUSE = 0.03


@pytest.fixture(autouse=True)
def _once(host: Any) -> None:
    if host.file("/root/repaired").exists:
        pytest.skip("ran before the host was broken and repaired")


@contextmanager
def asked_all_the_time(web: Web, domain: str) -> Iterator[Counter[str]]:
    """Several clients, each request on a fresh connection; counts what they saw."""
    seen: Counter[str] = Counter()
    stop = threading.Event()

    def client(number: int) -> None:
        site = ("app", "ws")[number % 2]
        while not stop.is_set():
            try:
                outcome = str(web.ask(f"{site}.{domain}", "/echo").status)
            except OSError as error:
                outcome = repr(error)
            seen[outcome] += 1
            # Bounds the load: this is about correctness.
            stop.wait(PAUSE)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def tree(host: Any) -> str:
    """Every file below the two configuration trees, with its content."""
    every = "find /etc/nginx /etc/quai -type f -o -type l | sort | xargs sha256sum | sha256sum"
    return str(host.check_output(every))


def changed(given: dict[str, Any], site: str, **values: object) -> list[dict[str, Any]]:
    """The declared sites, one of them changed."""
    return [{**one, **values} if one["name"] == site else one for one in given["nginx_tls_sites"]]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        pytest.param({"proxy_read_timeout": "60parsecs"}, '"proxy_send_timeout" directive invalid', id="duration"),
        pytest.param({"upstreams": ["nowhere.invalid:80"]}, "host not found in upstream", id="unresolvable back end"),
    ],
)
def test_a_bad_site_is_refused_and_the_good_ones_serve_on(  # noqa: PLR0917 - pytest gives them by name
    host: Any, web: Web, domain: str, given: dict[str, Any], converge: Converge, values: dict[str, Any], reason: str
) -> None:
    """nginx judges a copy, so nothing was written and not one request failed."""
    before, process = tree(host), host.file("/run/nginx.pid").content_string
    with asked_all_the_time(web, domain) as seen:
        done = converge(nginx_tls_sites=changed(given, "api", **values))
    assert done.failed
    assert reason in done.said.replace("\\", "")
    assert "/etc/nginx was refused by 'nginx" in done.said
    assert "nothing was written" in done.said
    assert tree(host) == before
    assert host.file("/run/nginx.pid").content_string == process
    assert set(seen) == {"200"}
    assert seen["200"] > 20


def test_wrong_variables_are_refused_all_at_once(domain: str, given: dict[str, Any], converge: Converge) -> None:
    """With the value and what would be right, before the host is asked for anything but its release."""
    wrong = changed(
        given, "api", certificate="nope", upstreams=["http://a"], rate_limits=[{"path": "/", "zone": "x"}],
        domains=[f"app.{domain}"],
    )  # fmt: skip
    done = converge(nginx_tls_sites=wrong)
    assert done.failed
    for reason in (
        "certificate 'nope' is not in nginx_tls_certificates",
        "is also one of site 'api'; only one may have it",
        "zone 'x' is not in nginx_tls_rate_zones (known: api, auth, flood, general)",
        "upstream 'http://a' is neither host:port nor unix:/path",
    ):
        assert reason in done.said
    assert "install |" not in done.said


def test_a_failing_certificate_stops_neither_the_others_nor_the_sites(
    host: Any, web: Web, domain: str, given: dict[str, Any], converge: Converge
) -> None:
    """One name leads nowhere; the other new one is issued and served, with the same run."""
    bad, good = {"name": "nowhere", "domains": ["nowhere.invalid"]}, {"name": "new", "domains": [f"new.{domain}"]}
    site = {"name": "new", "domains": [f"new.{domain}"], "certificate": "new", "upstreams": ["127.0.0.1:3000"]}
    changes = {
        "nginx_tls_certificates": [bad, *given["nginx_tls_certificates"], good],
        "nginx_tls_sites": [*given["nginx_tls_sites"], site],
    }
    try:
        with asked_all_the_time(web, domain) as seen:
            done = converge(**changes)
        assert done.failed
        said = done.said
        assert "1 of 6 certificates could not be had; what was served before still is." in said
        assert "nowhere: nowhere.invalid resolves nowhere" in said
        assert "The CA was not asked" in said
        assert set(seen) == {"200"}
        # A reload hands over within moments, not at once.
        wait_for(lambda: web.trusts(f"new.{domain}"))
        assert web.ask(f"new.{domain}", "/echo", context=web.trusting).status == 200
        assert web.ask(f"app.{domain}", "/echo", context=web.trusting).status == 200
    finally:
        back = converge()
    assert not back.failed, back.said
    assert host.file("/etc/quai/tls").listdir().count("new") == 0
    assert not host.file("/etc/letsencrypt/live/new").exists
    assert not host.file("/etc/nginx/quai/sites/new.conf").exists
    assert "changed=0" in converge().said


def test_check_mode_of_a_new_site_touches_nothing(
    host: Any, domain: str, given: dict[str, Any], converge: Converge
) -> None:
    """Although its certificate is not there to be tested with."""
    before = tree(host)
    site = {"name": "new", "domains": [f"new.{domain}"], "certificate": "new", "upstreams": ["127.0.0.1:3000"]}
    done = converge(
        "--check", "--diff",
        nginx_tls_certificates=[*given["nginx_tls_certificates"], {"name": "new", "domains": [f"new.{domain}"]}],
        nginx_tls_sites=[*given["nginx_tls_sites"], site],
    )  # fmt: skip
    assert not done.failed, done.said
    assert "/etc/nginx/quai/sites/new.conf (create)" in done.said
    assert tree(host) == before


def test_a_reload_drops_no_request(host: Any, web: Web, domain: str) -> None:
    """Twenty seconds of fresh connections, a download that outlives three reloads, and a WebSocket."""
    started = time.monotonic()
    with ThreadPoolExecutor(1) as pool, web.websocket(f"ws.{domain}", "/ws"):
        patient = Web(web.address, web.roots, timeout=60)
        download = pool.submit(patient.ask, f"app.{domain}", "/download?seconds=15")
        with asked_all_the_time(web, domain) as seen:
            for _ in range(3):
                time.sleep(4)
                assert host.run("systemctl reload nginx").rc == 0
            body = download.result(timeout=60).body
            time.sleep(max(0.0, 20 - (time.monotonic() - started)))
    assert hashlib.sha256(body).digest() == hashlib.sha256(b"".join(bytes([n]) * 16384 for n in range(64))).digest()
    assert set(seen) == {"200"}
    assert seen["200"] > 400
