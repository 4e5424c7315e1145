# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the rendered files, for every scenario and release. What nginx makes of it is seen by molecule."""

from __future__ import annotations

import re

import pytest

from .conftest import Render
from .render import RELEASES, scenarios

EVERY = pytest.mark.parametrize(
    ("release", "scenario"), [(release, scenario) for release in RELEASES for scenario in scenarios()]
)
API = "/etc/nginx/quai/sites/masstock-api.conf"


def blocks(text: str, opening: str) -> list[str]:
    """Blocks that begin with a word, braces counted."""
    found = []
    for match in re.finditer(rf"^[ ]*{opening}[^\n]*\{{$", text, re.M):
        depth, position = 1, match.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            position += 1
        found.append(text[match.start() : position])
    return found


@EVERY
def test_braces_balance_and_nothing_is_undefined(render: Render, release: str, scenario: str) -> None:
    """Jinja's words do not leak."""
    for path, text in render(release, scenario).items():
        assert text.count("{") == text.count("}"), path
        for word in ("None", "True", "False", "Undefined", "{{", "omit_place"):
            assert word not in text, (path, word)


@EVERY
def test_headers_stand_at_the_server_s_level_only(render: Render, release: str, scenario: str) -> None:
    """A location with an add_header of its own would lose all the others."""
    for path, text in render(release, scenario).items():
        for location in blocks(text, "location"):
            assert "add_header" not in location, path


@EVERY
def test_every_server_of_a_site_sends_the_headers(render: Render, release: str, scenario: str) -> None:
    """Redirects and plain HTTP included; HSTS over TLS only, as RFC 6797 wants it."""
    files = render(release, scenario)
    sites = {path: text for path, text in files.items() if "/sites/" in path}
    assert bool(sites) is (scenario != "empty")
    for path, text in sites.items():
        servers = blocks(text, "server")
        assert len(servers) >= 2
        for server in servers:
            assert "add_header X-Request-ID $request_id always;" in server, path
            if "listen 80" in server:
                assert "Strict-Transport-Security" not in server
                assert "return 301 https://$host$request_uri;" in server
                assert "/.well-known/acme-challenge/" in server


@EVERY
def test_protocols_stand_where_nginx_takes_them_from(render: Render, release: str, scenario: str) -> None:
    """In http and in the catch-all, else nginx 1.22 has no TLS 1.3 for anybody."""
    files = render(release, scenario)
    protocols = "ssl_protocols TLSv1.3;" if scenario == "everything" else "ssl_protocols TLSv1.2 TLSv1.3;"
    default = blocks(files["/etc/nginx/quai/default.conf"], "server")[-1]
    assert protocols in files["/etc/nginx/nginx.conf"]
    assert protocols in default
    assert "ssl_reject_handshake on;" in default


def test_http2_and_http3_as_each_release_spells_them(render: Render) -> None:
    """1.22 has a word of listen and no QUIC; 1.26 a directive and QUIC, with reuseport once for each address."""
    old, new = render("Debian-12", "masstock"), render("Debian-13", "masstock")
    assert "listen 443 ssl http2;" in old[API]
    assert "http2 on;" not in old["/etc/nginx/nginx.conf"]
    assert not any("quic" in text or "Alt-Svc" in text for text in old.values())
    assert "listen 443 ssl;" in new[API]
    assert "listen [::]:443 quic;" in new[API]
    assert "http2 on;" in new["/etc/nginx/nginx.conf"]
    assert "add_header Alt-Svc" in new[API]
    assert "".join(new.values()).count("reuseport") == 2
    without = render("Debian-13", "empty")
    assert "quic" not in without["/etc/nginx/quai/default.conf"]
    assert "quic" not in render("Debian-13", "everything")["/etc/nginx/quai/sites/spa.conf"]


def test_a_header_of_the_back_end_is_not_doubled(render: Render) -> None:
    """What nginx sends it hides from the back end's answer; what it does not send it lets through."""
    text = render("Debian-13", "everything")["/etc/nginx/quai/sites/sockets.conf"]
    sent = set(re.findall(r"add_header (\S+)", text))
    hidden = set(re.findall(r"proxy_hide_header (\S+);", text))
    assert sent == {"X-Content-Type-Options", "X-Request-ID", "Alt-Svc"}
    assert hidden == sent | {"X-Powered-By"}


def test_a_site_changes_headers(render: Render) -> None:
    """Under any spelling; null removes; quotes survive."""
    text = render("Debian-12", "everything")["/etc/nginx/quai/sites/spa.conf"]
    assert "add_header strict-transport-security" in text.lower()
    assert "add_header x-content-type-options" not in text.lower()
    assert """add_header Content-Security-Policy "default-src 'self'; report-to \\"x\\"" always;""" in text


def test_limits_of_a_path_and_of_those_above(render: Render) -> None:
    """nginx forgets inherited limit_req, so the deeper location repeats them."""
    text = render("Debian-12", "masstock")[API]
    login, everywhere = (block for block in blocks(text, "location") if "proxy_pass" in block)
    assert login.strip().startswith("location /api/v1/auth/ {")
    assert re.findall(r"zone=(\S+?);?(?: burst=(\d+) nodelay;)?\n", login) == [
        ("masstock-api", "20"), ("masstock-general", "100"), ("masstock-auth", "4"),
    ]  # fmt: skip
    assert re.findall(r"zone=(\S+)", everywhere) == ["masstock-api", "masstock-general"]
    waits = blocks(text, 'map "\\$quai_own_answer \\$status \\$uri"')[0]
    assert re.findall(r'"(.+)" (\d+);', waits) == [("~^1 429 /api/v1/auth/", "12"), ("~^1 429 /", "1")]
    assert "limit_req_zone $quai_limit_key zone=masstock-general:5m rate=100r/m;" in (
        render("Debian-12", "masstock")["/etc/nginx/nginx.conf"]
    )


def test_exempt_clients_have_no_key(render: Render) -> None:
    """By the site, through its canonical name."""
    files = render("Debian-12", "masstock")
    assert "api.example.org $quai_masstock_api_exempt;" in files["/etc/nginx/nginx.conf"]
    assert "192.0.2.0/24 1;" in blocks(files[API], r"geo \$quai_masstock_api_exempt")[0]


def test_cached_files_of_an_spa_are_files(render: Render) -> None:
    """A missing script is a 404 there, not the page."""
    text = render("Debian-12", "everything")["/etc/nginx/quai/sites/spa.conf"]
    locations = {block.split()[1]: block for block in blocks(text, "location")}
    assert "try_files" not in locations["/assets/"]
    assert "try_files $uri $uri/ /index.html =404;" in locations["/"]
    assert "limit_req zone=slow;" in locations["/search/"]
    assert '"~^\\|/assets/" "public, max-age=60";' in text
    assert '"~^\\|/index\\.html" "no-cache";' in text


def test_websockets_only_where_they_are_wanted(render: Render) -> None:
    """Elsewhere no upgrade reaches the back end."""
    files = render("Debian-12", "masstock")
    assert "proxy_set_header Upgrade $quai_upgrade;" in files["/etc/nginx/quai/sites/masstock-n8n.conf"]
    assert 'proxy_set_header Upgrade "";' in files[API]


def test_a_redirect_site(render: Render) -> None:
    """Path and query follow; the address's own slash is not doubled."""
    text = render("Debian-12", "everything")["/etc/nginx/quai/sites/old.conf"]
    assert "return 308 https://new.example.net$request_uri;" in text


def test_renewals_know_the_ca(render: Render) -> None:
    """Certbot's unit gets the bundle by its environment."""
    unit = render("Debian-12", "masstock")["/etc/systemd/system/certbot.service.d/quai.conf"]
    assert "\nEnvironment=REQUESTS_CA_BUNDLE=/etc/ssl/ca.pem\n" in unit
    assert "/etc/systemd/system/certbot.service.d/quai.conf" not in render("Debian-12", "minimal")


def test_a_password_is_asked_for_over_tls_only(render: Render) -> None:
    """Neither the redirect of plain HTTP nor the CA's challenges need one."""
    text = render("Debian-13", "everything")["/etc/nginx/quai/sites/spa.conf"]
    asked = ["auth_basic" in server for server in blocks(text, "server")]
    assert asked == [False, True]
    assert 'auth_basic "Team";' in text
    assert "auth_basic_user_file /etc/nginx/quai/passwords/spa;" in text
    assert "correct horse" not in text
    assert "auth_basic" not in render("Debian-13", "everything")["/etc/nginx/quai/sites/files.conf"]


def test_no_credential_is_rendered(render: Render) -> None:
    """It goes to a file of its own, not through a template."""
    assert not any("s3cr3t" in text for text in render("Debian-12", "everything").values())
