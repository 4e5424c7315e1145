# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BIND's configuration and zone files. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from lab.errors import LabError

KEY_NAME = "quai-lab."
KEY_ALGORITHM = "hmac-sha512"

# Short lives: tests change records and ask again. The last field is how long a "no such name" is remembered.
_HEAD = """\
$TTL 30
@ IN SOA dns.lab. hostmaster.lab. 1 3600 600 86400 1
@ IN NS dns.lab.
@ IN MX 10 mail.lab.
"""

_NAMED = """\
options {{
  directory "/var/cache/bind";
  listen-on {{ any; }};
  listen-on-v6 {{ none; }};
  allow-query {{ any; }};
  allow-recursion {{ any; }};
  forward only;
  forwarders {{ {forwarders} }};
  dnssec-validation no;
}};
controls {{ }};
key "{key_name}" {{ algorithm {algorithm}; secret "{secret}"; }};
{zones}"""

_ZONE = """\
zone "{name}" {{
  type primary;
  file "/var/lib/bind/{name}.zone";
  update-policy {{ grant {key} zonesub ANY; }};
}};
"""


@dataclass(frozen=True)
class Zone:
    """A domain whose names all lead to one host; "@" is the domain itself."""

    host: str
    names: tuple[str, ...]


def parse_zone(text: str) -> tuple[str, Zone]:
    """Read `domain=host:name,name`, the form of the command line."""
    domain, equals, rest = text.partition("=")
    host, colon, names = rest.partition(":")
    parts = tuple(name.strip() for name in names.split(",") if name.strip())
    if not (domain and equals and host and colon and parts):
        raise LabError(f"--zone {text!r} is not a zone", "write it like masstock.fr=vps1:@,app,api")
    return domain, Zone(host, parts)


def zone_file(zone: Zone, hosts: Mapping[str, str]) -> str:
    """Records of a project's domain."""
    return _HEAD + "".join(f"{name} IN A {hosts[zone.host]}\n" for name in zone.names)


def lab_zone_file(services: Mapping[str, str], hosts: Mapping[str, str]) -> str:
    """Records of the zone `lab`: each part by its name, and everything below a host leads to that host."""
    lines = [f"{name} IN A {address}\n" for name, address in services.items()]
    if "acme" in services:
        lines.append(f"ocsp IN A {services['acme']}\n")
    for name, address in hosts.items():
        lines += [f"{name} IN A {address}\n", f"*.{name} IN A {address}\n"]
    return _HEAD + "".join(lines)


def named_conf(zones: Sequence[str], forwarders: Sequence[str], secret: str) -> str:
    """The server's configuration: authoritative for the zones, everything else is asked of the forwarders."""
    return _NAMED.format(
        forwarders="".join(f"{server}; " for server in forwarders).strip(),
        key_name=KEY_NAME,
        algorithm=KEY_ALGORITHM,
        secret=secret,
        zones="".join(_ZONE.format(name=name, key=KEY_NAME) for name in zones),
    )


def certbot_credentials(server: str, secret: str) -> str:
    """The file that certbot's plugin dns-rfc2136 reads."""
    return (
        f"dns_rfc2136_server = {server}\ndns_rfc2136_port = 53\ndns_rfc2136_name = {KEY_NAME}\n"
        f"dns_rfc2136_secret = {secret}\ndns_rfc2136_algorithm = {KEY_ALGORITHM.upper()}\n"
    )


def resolvers(resolv_conf: str) -> list[str]:
    """Name servers of a resolv.conf that a container can reach, so none on loopback."""
    words = [line.split() for line in resolv_conf.splitlines()]
    found = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver" and "." in line[1]]
    return [server for server in found if not IPv4Address(server).is_loopback]
