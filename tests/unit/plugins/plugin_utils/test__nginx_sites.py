# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sites of nginx: what is refused, and what the templates are told."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.filter.nginx_sites import (
    FilterModule,
    nginx_password_file,
    nginx_site_file,
)
from ansible_collections.quai.ops.plugins.plugin_utils._nginx_sites import normalise, problems, seconds_per_request

CERTIFICATES = [{"name": "wild", "domains": ["*.example.org", "example.org"], "provider": "selfsigned"}]
PASSWORD = "correct horse battery"
HASHED = "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/"
ZONES: dict[str, Any] = {"api": {"rate": "10r/s", "burst": 20}, "login": {"rate": "7r/m"}}


def site(**changes: Any) -> dict[str, Any]:
    """A good site, changed."""
    good = {"name": "app", "domains": ["app.example.org"], "certificate": "wild", "upstreams": ["127.0.0.1:3000"]}
    return {**good, **changes}


def test_good_sites_have_no_problems() -> None:
    """Every option used as it is meant."""
    sites = [
        site(
            redirect_domains=["example.org"], upstreams=["[::1]:80", "unix:/run/a.sock", "backend:8080"],
            cors={"allowed_origins": ["https://a.example:8443", "http://localhost:5173"], "allow_credentials": True},
            rate_limits=[{"path": "/", "zone": "api"}, {"path": "/login/", "zone": "login"}],
            rate_limit_exempt=["192.0.2.7", "2001:db8::/32"], cache=[{"path": "/assets/", "max_age": 5}],
            basic_auth={"users": {"ann": PASSWORD, "bob": HASHED}, "realm": "Team & friends"},
            allow=["192.0.2.0/24"], headers={"X-Frame-Options": None, "X-A": 'with "quotes"'},
        ),
        site(name="files", domains=["files.example.org"], kind="static", root="/srv/files"),
        site(name="old", domains=["old.example.org"], kind="redirect", redirect_to="https://new.example.org"),
        {"name": "gone", "state": "absent"},
    ]  # fmt: skip
    assert problems(sites, CERTIFICATES, ZONES, {}) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "App"}, "lowercase letters, digits and -"),
        ({"name": "a/../b"}, "lowercase letters, digits and -"),
        ({"domains": []}, "domains is empty"),
        ({"domains": ["a b.example.org"]}, "'a b.example.org' is not a domain name"),
        ({"domains": ["app.example.org;"]}, "is not a domain name"),
        ({"domains": ["a.b.example.org"]}, "domain a.b.example.org is not covered by certificate 'wild'"),
        ({"redirect_domains": ["example.com"]}, "domain example.com is not covered by certificate 'wild'"),
        ({"certificate": "other"}, "certificate 'other' is not in nginx_tls_certificates (known: wild)"),
        ({"upstreams": []}, "kind proxy needs upstreams"),
        ({"upstreams": ["127.0.0.1"]}, "'127.0.0.1' is neither host:port nor unix:/path"),
        ({"upstreams": ["http://a:80"]}, "neither host:port nor unix:/path"),
        ({"upstreams": ["a:80; evil"]}, "neither host:port nor unix:/path"),
        ({"kind": "static", "root": "srv"}, "kind static needs root, an absolute path on the host; it is 'srv'"),
        ({"kind": "redirect"}, "kind redirect needs redirect_to"),
        ({"kind": "redirect", "redirect_to": "new.example.org"}, "kind redirect needs redirect_to"),
        ({"rate_limits": [{"path": "/", "zone": "x"}]}, "zone 'x' is not in nginx_tls_rate_zones (known: api, login)"),
        ({"rate_limits": [{"path": "login", "zone": "api"}]}, "path 'login' of rate_limits must start with /"),
        ({"cache": [{"path": "/a {"}]}, "path '/a {' of cache must start with /"),
        ({"cache": [{"path": "/a\n"}]}, "of cache must start with /"),
        ({"allow": ["10.0.0.1/8"]}, "allow: '10.0.0.1/8' is no network"),
        ({"rate_limit_exempt": ["office"]}, "rate_limit_exempt: 'office' is no network"),
        ({"basic_auth": {"realm": "x"}}, "basic_auth.users is empty"),
        ({"basic_auth": {"users": {"a:b": PASSWORD}}}, "basic_auth.users: 'a:b' is no user name"),
        ({"basic_auth": {"users": {"ann": "short"}}}, "basic_auth.users.ann is too short for the world"),
        ({"basic_auth": {"users": {"ann": "$apr1$abcdefgh$xyz"}}}, "basic_auth.users.ann is a hash, but none of"),
        ({"basic_auth": {"users": {"ann": "{SSHA}0123456789abcdef"}}}, "basic_auth.users.ann is a hash, but none of"),
        ({"basic_auth": {"users": {"ann": PASSWORD}, "realm": 'a"b'}}, "basic_auth.realm is 'a\"b'"),
        (
            {"kind": "redirect", "redirect_to": "https://x.org", "basic_auth": {"users": {"ann": PASSWORD}}},
            "basic_auth: a redirect asks nobody",
        ),
        ({"headers": {"X A": "b"}}, "'X A' is not a header's name"),
        ({"headers": {"X-A": "b\nc"}}, "headers.X-A: a value is one line without backslashes"),
        ({"cors": {"allow_credentials": True}}, "cors.allowed_origins is empty"),
        ({"cors": {"allowed_origins": ["app.example.org"]}}, "'app.example.org' is not an origin"),
        ({"cors": {"allowed_origins": ["https://a.org/"]}}, "'https://a.org/' is not an origin"),
        ({"cors": {"allowed_origins": ["*"], "allow_credentials": True}}, "refuse credentials with origin '*'"),
    ],
)
def test_problems_of_a_site(changes: dict[str, Any], problem: str) -> None:
    """One mistake, one sentence, with the site's name and the value."""
    found = problems([site(**changes)], CERTIFICATES, ZONES, {})
    assert len(found) == 1, found
    assert problem in found[0]
    assert found[0].startswith("nginx_tls_sites, site ")


def test_problems_between_sites_and_in_the_rest() -> None:
    """All of them at once."""
    found = problems(
        [site(), site(domains=["two.example.org"]), site(name="three", redirect_domains=["two.example.org"])],
        [*CERTIFICATES, {"name": "bad", "domains": ["*.b.org"]}],
        {"Fast!": {"rate": "10/s", "size": "big", "burst": -1}},
        {"directory_url": "prod"},
    )
    assert [text.split(":")[0] for text in found] == [
        "nginx_tls_certificates, certificate 'bad'",
        "nginx_tls_certificates, certificate 'bad'",
        "nginx_tls_rate_zones.Fast!",
        "nginx_tls_rate_zones.Fast!.rate is '10/s'; a rate reads 10r/s or 100r/m",
        "nginx_tls_rate_zones.Fast!.size is 'big'; a size reads 10m",
        "nginx_tls_rate_zones.Fast!.burst is -1; it is 0 or more",
        "nginx_tls_sites, site 'app'",
        "nginx_tls_sites, site 'three'",
        "nginx_tls_sites, site 'three'",
    ]


def test_limits_add_up_along_the_path() -> None:
    """Longest path first; each with its own and those above; the wait is the slowest zone's."""
    made = normalise(
        [site(rate_limits=[
            {"path": "/", "zone": "api"}, {"path": "/login/", "zone": "login"}, {"path": "/login/", "zone": "api"},
        ])],
        ZONES, {},
    )[0]  # fmt: skip
    assert [(one["path"], [zone["name"] for zone in one["zones"]]) for one in made["locations"]] == [
        ("/login/", ["api", "login"]), ("/", ["api"]),
    ]  # fmt: skip
    assert made["waits"] == [{"pattern": "/login/", "seconds": 9}, {"pattern": "/", "seconds": 1}]


def test_paths_are_taken_literally() -> None:
    """In the patterns that nginx's maps hold."""
    cache = [{"path": "/v1.0/", "max_age": 9}, {"path": "/v1.0/x/", "immutable": True}]
    made = normalise([site(cache=cache)], {}, {})[0]
    assert made["cache"] == [
        {"pattern": r"/v1\.0/x/", "value": "no-cache"}, {"pattern": r"/v1\.0/", "value": "public, max-age=9"},
    ]  # fmt: skip


def test_headers_are_merged_whatever_their_spelling() -> None:
    """A site's own wins, null removes, quotes are escaped."""
    general = {"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": None}
    made = normalise([site(headers={"x-frame-options": None, "X-A": 'a "b"', "X-N": 1})], {}, general)[0]
    assert made["headers"] == {"X-Content-Type-Options": "nosniff", "X-A": 'a \\"b\\"', "X-N": "1"}


def test_normalising_leaves_what_it_was_given() -> None:
    """Variables of a play are used more than once."""
    given = site(headers={"A": None}, cors={"allowed_origins": ["*"]})
    before = repr(given)
    assert normalise([given], {}, {}) == normalise([given], {}, {})
    assert repr(given) == before
    assert normalise([site(state="absent")], {}, {}) == []


@pytest.mark.parametrize(("rate", "seconds"), [("10r/s", 0.1), ("5r/m", 12), ("100r/m", 0.6)])
def test_seconds_per_request(rate: str, seconds: float) -> None:
    """The reverse of a rate."""
    assert seconds_per_request(rate) == pytest.approx(seconds)


def test_seconds_of_no_rate() -> None:
    """Refused, should the check before have been left out."""
    with pytest.raises(ValueError, match="'10/s' is not a rate"):
        seconds_per_request("10/s")


def test_the_file_of_a_site() -> None:
    """Named by the site, with it as the template's variable."""
    entry = nginx_site_file({"name": "app", "id": "app"})
    assert entry["path"] == "/etc/nginx/quai/sites/app.conf"
    assert entry["vars"] == {"site": {"name": "app", "id": "app", "basic_auth": {}}}
    assert set(FilterModule().filters()) == {
        "nginx_password_file",
        "nginx_site_file",
        "nginx_site_problems",
        "nginx_sites",
    }


def test_password_file() -> None:
    """Hashes as given, passwords hashed, the same each time, and other ones for another user or site."""
    users = {"cid": PASSWORD, "ann": PASSWORD, "bob": HASHED}
    (made,) = normalise([site(basic_auth={"users": users})], ZONES, {})
    entry = nginx_password_file(made)
    assert (entry["path"], entry["mode"], entry["group"]) == ("/etc/nginx/quai/passwords/app", "0640", "www-data")
    assert entry["secret"] is True
    lines = dict(line.split(":") for line in entry["content"].splitlines())
    assert list(lines) == ["ann", "bob", "cid"]
    assert lines["bob"] == HASHED
    assert PASSWORD not in entry["content"]
    assert lines["ann"].startswith("$6$")
    assert lines["ann"] != lines["cid"]
    assert nginx_password_file(made) == entry
    assert lines["ann"] not in nginx_password_file({**made, "name": "other"})["content"]


def test_the_template_is_told_no_password() -> None:
    """It needs the realm alone."""
    (made,) = normalise([site(basic_auth={"users": {"ann": PASSWORD}})], ZONES, {})
    assert nginx_site_file(made)["vars"]["site"]["basic_auth"] == {"realm": "Restricted"}
    (without,) = normalise([site()], ZONES, {})
    assert nginx_site_file(without)["vars"]["site"]["basic_auth"] == {}


def test_problems_repeat_no_password() -> None:
    """Neither a wrong hash nor a short one."""
    said = str(problems([site(basic_auth={"users": {"a": "hunter2", "b": "{SHA}hunter2"}})], CERTIFICATES, ZONES, {}))
    assert "hunter2" not in said
