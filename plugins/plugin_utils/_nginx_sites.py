# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx sites as a role is given them: what is wrong with them, and what the templates need to know of each.

nginx judges its own language (C(nginx -t) runs before anything is written); here stands what it would accept and should
not, or would refuse with words that do not lead to the variable.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.quai.ops.plugins.module_utils import _certificates
from ansible_collections.quai.ops.plugins.plugin_utils._crypt import sha512_crypt, stable_salt

SITE_DEFAULTS: dict[str, Any] = {
    "redirect_domains": [],
    "kind": "proxy",
    "upstreams": [],
    "root": "",
    "spa": False,
    "redirect_to": "",
    "redirect_status": 301,
    "websocket": False,
    "client_max_body_size": "10m",
    "proxy_read_timeout": "60s",
    "http3": True,
    "headers": {},
    "cors": {},
    "rate_limits": [],
    "rate_limit_exempt": [],
    "cache": [],
    "allow": [],
    "basic_auth": {},
    "extra_config": "",
}
CORS_DEFAULTS: dict[str, Any] = {
    "allowed_methods": ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"],
    "allowed_headers": ["Content-Type", "Authorization", "X-Requested-With"],
    "allow_credentials": False,
    "max_age": 86400,
}
BASIC_AUTH_REALM = "Restricted"
ZONE_DEFAULTS: dict[str, Any] = {"burst": 0, "size": "10m"}

SITE_NAME = re.compile(r"[a-z0-9][a-z0-9-]*\Z")
ZONE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")
UPSTREAM = re.compile(r"(unix:/[^\s;{}]+|(\[[0-9a-fA-F:]+\]|[A-Za-z0-9][A-Za-z0-9.-]*):\d{1,5})\Z")
PATH = re.compile(r"/[A-Za-z0-9._~/@:+-]*\Z")
ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?\Z")
RATE = re.compile(r"([1-9]\d*)r/([sm])\Z")
SIZE = re.compile(r"[1-9]\d*[km]\Z")
HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]*\Z")
USER = re.compile(r"[^:\s]+\Z")
# Schemes that crypt(3) of a host knows, by which nginx asks, and that are salted and slow.
HASH = re.compile(r"\$(5|6|y|2[aby])\$[./A-Za-z0-9$=,]{20,}\Z")
HASH_OF_ANY_SCHEME = re.compile(r"(\$\w{1,8}\$|\{\w+\}).")
SHORTEST_PASSWORD = 12
REALM = re.compile(r"[^\"\\$\r\n]+\Z")


def present(items: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that are not declared absent."""
    return [item for item in items if item.get("state", "present") == "present"]


def problems(
    sites: Sequence[Mapping[str, Any]],
    certificates: Sequence[Mapping[str, Any]],
    zones: Mapping[str, Mapping[str, Any]],
    acme: Mapping[str, Any],
) -> list[str]:
    """Everything that is wrong with the role's variables, as sentences that say what would be right."""
    found = _certificate_problems(present(certificates), acme)
    for name, zone in zones.items():
        here = f"nginx_tls_rate_zones.{name}"
        if not ZONE_NAME.match(name):
            found.append(f"{here}: {name!r} is not a zone's name; it has lowercase letters, digits, - and _")
        if not RATE.match(str(zone.get("rate", ""))):
            found.append(f"{here}.rate is {zone.get('rate')!r}; a rate reads 10r/s or 100r/m")
        if not SIZE.match(str(zone.get("size", ZONE_DEFAULTS["size"]))):
            found.append(f"{here}.size is {zone.get('size')!r}; a size reads 10m")
        if int(zone.get("burst", 0)) < 0:
            found.append(f"{here}.burst is {zone['burst']}; it is 0 or more")
    domains_of = {one.get("name"): list(one.get("domains", [])) for one in present(certificates)}
    names: set[str] = set()
    owner: dict[str, str] = {}
    for site in present(sites):
        name = str(site.get("name", ""))
        here = f"nginx_tls_sites, site {name!r}"
        if name in names:
            found.append(f"{here}: declared twice; a name may stand once")
        names.add(name)
        found += [f"{here}: {problem}" for problem in _site_problems({**SITE_DEFAULTS, **site}, domains_of, zones)]
        for domain in [*site.get("domains", []), *site.get("redirect_domains", [])]:
            if domain in owner:
                found.append(f"{here}: domain {domain} is also one of site {owner[domain]!r}; only one may have it")
            owner.setdefault(domain, name)
    return found


def _certificate_problems(certificates: Sequence[Mapping[str, Any]], acme: Mapping[str, Any]) -> list[str]:
    wanted = [
        _certificates.Wanted(
            name=str(one.get("name", "")),
            domains=tuple(one.get("domains", [])),
            provider=one.get("provider", "acme"),
            challenge=one.get("challenge", "http-01"),
            # Contents are judged on the host; here it only counts whether they are given.
            fullchain=b"given" if one.get("certificate") or one.get("certificate_file") else b"",
            privkey=b"given" if one.get("key") or one.get("key_file") else b"",
        )
        for one in certificates
    ]
    ca = _certificates.Acme(
        directory_url=acme.get("directory_url", "production"), dns_plugin=acme.get("dns_plugin", "")
    )
    return [f"nginx_tls_certificates, {problem}" for problem in _certificates.check_wanted(wanted, ca)]


def _site_problems(  # noqa: PLR0912 - one rule after the other reads better than a framework for rules
    site: Mapping[str, Any], domains_of: Mapping[Any, list[str]], zones: Mapping[str, Any]
) -> list[str]:
    found = []
    if not SITE_NAME.match(str(site.get("name", ""))):
        found.append("its name names files; it has lowercase letters, digits and -")
    domains = [*site.get("domains", []), *site["redirect_domains"]]
    if not site.get("domains"):
        found.append("domains is empty; give at least one, the canonical one first")
    found += [f"{domain!r} is not a domain name" for domain in domains if not _certificates.DOMAIN.match(str(domain))]
    certificate = site.get("certificate", "")
    if certificate not in domains_of:
        known = ", ".join(str(name) for name in domains_of) or "none"
        found.append(f"certificate {certificate!r} is not in nginx_tls_certificates (known: {known})")
    else:
        found += [
            f"domain {domain} is not covered by certificate {certificate!r} ({', '.join(domains_of[certificate])})"
            for domain in domains
            if _certificates.DOMAIN.match(str(domain)) and not _certificates.covers(domains_of[certificate], domain)
        ]
    kind = site["kind"]
    if kind == "proxy" and not site["upstreams"]:
        found.append("kind proxy needs upstreams, for example [127.0.0.1:3000]")
    if kind == "static" and not str(site["root"]).startswith("/"):
        found.append(f"kind static needs root, an absolute path on the host; it is {site['root']!r}")
    if kind == "redirect" and not re.match(r"https?://[^\s;{}]+\Z", str(site["redirect_to"])):
        found.append(f"kind redirect needs redirect_to, an http(s):// address; it is {site['redirect_to']!r}")
    found += [
        f"upstream {one!r} is neither host:port nor unix:/path"
        for one in site["upstreams"]
        if not UPSTREAM.match(str(one))
    ]
    for limit in site["rate_limits"]:
        if limit.get("zone") not in zones:
            found.append(
                f"rate limit zone {limit.get('zone')!r} is not in nginx_tls_rate_zones"
                f" (known: {', '.join(sorted(zones)) or 'none'})"
            )
    found += [
        f"path {one.get('path')!r} of {part} must start with / and have no characters that mean something to nginx"
        for part in ("rate_limits", "cache")
        for one in site[part]
        if not PATH.match(str(one.get("path", "")))
    ]
    for part in ("allow", "rate_limit_exempt"):
        for network in site[part]:
            try:
                ipaddress.ip_network(str(network))
            except ValueError as error:
                found.append(f"{part}: {network!r} is no network ({error}); write it like 203.0.113.0/24")
    found += _basic_auth_problems(site["basic_auth"] or {}, kind)
    for header, value in site["headers"].items():
        if not HEADER.match(str(header)):
            found.append(f"headers: {header!r} is not a header's name")
        if value is not None and re.search(r"[\r\n\\]", str(value)):
            found.append(f"headers.{header}: a value is one line without backslashes")
    cors = site["cors"] or {}
    if cors:
        origins = cors.get("allowed_origins") or []
        if not origins:
            found.append("cors.allowed_origins is empty; name the origins, like https://app.example.org")
        found += [
            f"cors.allowed_origins: {origin!r} is not an origin; it reads https://app.example.org, without a path"
            for origin in origins
            if origin != "*" and not ORIGIN.match(str(origin))
        ]
        if "*" in origins and cors.get("allow_credentials"):
            found.append("cors: browsers refuse credentials with origin '*'; name the origins or forbid credentials")
    return found


def _basic_auth_problems(given: Mapping[str, Any], kind: str) -> list[str]:
    """What is wrong with a site's users. Passwords, hashed or not, are not repeated."""
    if not given:
        return []
    found = []
    if kind == "redirect":
        found.append("basic_auth: a redirect asks nobody who they are; put it on the site that it leads to")
    if not REALM.match(str(given.get("realm", BASIC_AUTH_REALM))):
        found.append(f"basic_auth.realm is {given['realm']!r}; it is one line without quotes, backslashes and $")
    users = given.get("users") or {}
    if not users:
        found.append("basic_auth.users is empty, so that nobody could open the site; give user names with passwords")
    for user, password in users.items():
        if not USER.match(str(user)):
            found.append(f"basic_auth.users: {user!r} is no user name; it has neither blanks nor colons")
        if HASH.match(str(password)):
            continue
        if HASH_OF_ANY_SCHEME.match(str(password)):
            found.append(
                f"basic_auth.users.{user} is a hash, but none of the schemes $6$, $5$, $y$ and $2b$;"
                " make one with `openssl passwd -6`, or give the password itself"
            )
        elif len(str(password)) < SHORTEST_PASSWORD:
            found.append(f"basic_auth.users.{user} is too short for the world; give {SHORTEST_PASSWORD} characters")
    return found


def htpasswd(site: Mapping[str, Any]) -> str:
    """The file of a site's users and their hashed passwords, as nginx reads it."""
    lines = []
    for user, given in sorted(site["basic_auth"]["users"].items()):
        password = str(given)
        if not HASH.match(password):
            password = sha512_crypt(password, stable_salt(password, site["name"], user))
        lines.append(f"{user}:{password}\n")
    return "".join(lines)


def normalise(
    sites: Sequence[Mapping[str, Any]], zones: Mapping[str, Mapping[str, Any]], headers: Mapping[str, str | None]
) -> list[dict[str, Any]]:
    """The sites that are to be served, with everything the template prints worked out."""
    return [_normalised({**SITE_DEFAULTS, **site}, zones, headers) for site in present(sites)]


def _normalised(
    site: dict[str, Any], zones: Mapping[str, Mapping[str, Any]], headers: Mapping[str, str | None]
) -> dict[str, Any]:
    site["id"] = site["name"].replace("-", "_")
    # A header that the site sets again under another spelling replaces the general one.
    own = {name.lower() for name in site["headers"]}
    merged = {name: value for name, value in headers.items() if name.lower() not in own} | dict(site["headers"])
    site["headers"] = {name: str(value).replace('"', '\\"') for name, value in merged.items() if value is not None}
    site["cors"] = {**CORS_DEFAULTS, **site["cors"]} if site["cors"] else {}
    site["basic_auth"] = {"realm": BASIC_AUTH_REALM, **site["basic_auth"]} if site["basic_auth"] else {}
    # Of an application that answers unknown paths with its page, files that may be cached for long are files only:
    # a page cached under the name of a missing script would break the next release.
    file_paths = {rule["path"] for rule in site["cache"] if site["spa"] and rule["path"].endswith("/")} - {"/"}
    site["locations"] = _locations(site["rate_limits"], zones, file_paths)
    site["waits"] = [
        {"pattern": re.escape(one["path"]), "seconds": max(math.ceil(zone["seconds"]) for zone in one["zones"])}
        for one in site["locations"]
        if one["zones"]
    ]
    site["cache"] = [
        {"pattern": re.escape(rule["path"]), "value": _cache_control(rule)}
        for rule in sorted(site["cache"], key=_longest_first)
    ]
    return site


def _longest_first(item: Mapping[str, Any]) -> tuple[int, str]:
    return -len(item["path"]), item["path"]


def _locations(
    limits: Sequence[Mapping[str, Any]], zones: Mapping[str, Mapping[str, Any]], file_paths: set[str]
) -> list[dict[str, Any]]:
    """Locations, longest path first. nginx applies one location's limits only, so each carries those above it too."""
    found = []
    for path in {"/", *file_paths, *(limit["path"] for limit in limits)}:
        names = list(dict.fromkeys(limit["zone"] for limit in limits if path.startswith(limit["path"])))
        found.append(
            {
                "path": path,
                "files_only": any(path.startswith(prefix) for prefix in file_paths),
                "zones": [
                    {
                        "name": name,
                        "burst": int(zones[name].get("burst", 0)),
                        "seconds": seconds_per_request(zones[name]["rate"]),
                    }
                    for name in names
                ],
            }
        )
    return sorted(found, key=_longest_first)


def _cache_control(rule: Mapping[str, Any]) -> str:
    age = int(rule.get("max_age", 0))
    if age == 0:
        return "no-cache"
    return f"public, max-age={age}" + (", immutable" if rule.get("immutable") else "")


def seconds_per_request(rate: str) -> float:
    """How long a client waits for its next request at a rate such as C(5r/m)."""
    match = RATE.match(rate)
    if match is None:
        raise ValueError(f"{rate!r} is not a rate like 10r/s or 100r/m")
    return (60 if match[2] == "m" else 1) / int(match[1])


__all__ = ["CORS_DEFAULTS", "SITE_DEFAULTS", "htpasswd", "normalise", "present", "problems", "seconds_per_request"]
