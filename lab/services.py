# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's services as container descriptions, and the conditions under which each is up."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from lab import containers, https, zones
from lab.authority import ensure_authority, ensure_certificate, write_private
from lab.containers import File, Spec
from lab.errors import LabError
from lab.images import SERVICES_IMAGE
from lab.names import SERVICE_OCTETS, Lab
from lab.wait import until
from lab.zones import Zone

SERVICES = tuple(SERVICE_OCTETS)
REGISTRY_USER = "quai"
REGISTRY_PORT = 5000
ACME_PORT = 14000
_ACME_MANAGEMENT_PORT = 15000
_WAIT = 30


def address(lab: Lab, service: str) -> str:
    """Where a service of the lab is."""
    return lab.address(SERVICE_OCTETS[service])


def registry_password(lab: Lab) -> str:
    """The registry's password, generated once per lab."""
    return _generated(lab.directory / "registry" / "password", lambda: secrets.token_urlsafe(24))


def page_password(lab: Lab) -> str:
    """The password of the morning page, generated once per lab; its hash lies beside it, as nginx is given it."""
    directory = lab.directory / "page"
    password = _generated(directory / "password", lambda: secrets.token_urlsafe(18))
    _generated(directory / "hash", lambda: _crypted(password))
    return password


def _crypted(password: str) -> str:
    made = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=password, capture_output=True, text=True, check=True
    )
    return made.stdout.strip()


def acme_root(lab: Lab) -> Path:
    """The root of the certificates that the lab's ACME CA issues."""
    return lab.directory / "ca" / "acme-root.pem"


def spec(lab: Lab, service: str, domains: Mapping[str, Zone], hosts: Mapping[str, str]) -> Spec:
    """The container of a service."""
    made = {"dns": _dns, "registry": _registry, "acme": _acme, "mail": _mail}
    return made[service](lab, domains, hosts)


def _dns(lab: Lab, domains: Mapping[str, Zone], hosts: Mapping[str, str]) -> Spec:
    secret = _generated(lab.directory / "dns" / "tsig.key", lambda: base64.b64encode(secrets.token_bytes(64)).decode())
    credentials = zones.certbot_credentials(lab.dns, secret)
    write_private(lab.directory / "dns" / "rfc2136.ini", credentials.encode())
    parts = {service: lab.address(octet) for service, octet in SERVICE_OCTETS.items()}
    files = {"lab": zones.lab_zone_file(parts, hosts)}
    for domain, zone in domains.items():
        if zone.host not in hosts:
            raise LabError(
                f"zone {domain} leads to host {zone.host!r}, which this lab does not have",
                f"hosts of the lab: {', '.join(hosts) or 'none'}",
            )
        files[domain] = zones.zone_file(zone, hosts)
    configuration = zones.named_conf(list(files), _forwarders(), secret)
    return Spec(
        part="dns",
        role="dns",
        image=SERVICES_IMAGE,
        address=lab.dns,
        command=("named", "-g", "-4", "-c", "/etc/lab/named.conf"),
        files={
            "/etc/lab/named.conf": File(configuration.encode(), 0o600),
            **{f"/var/lib/bind/{name}.zone": File(text.encode()) for name, text in files.items()},
        },
    )


def _registry(lab: Lab, _domains: Mapping[str, Zone], _hosts: Mapping[str, str]) -> Spec:
    certificate, key = ensure_certificate(lab.directory / "ca", "registry.lab", address(lab, "registry"))
    configuration = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": "/var/lib/registry"}, "delete": {"enabled": True}},
        "auth": {"htpasswd": {"realm": "quai lab", "path": "/etc/lab/htpasswd"}},
        "http": {
            "addr": f":{REGISTRY_PORT}",
            # Signs upload sessions; any value does, but without one each start invents another and warns.
            "secret": registry_password(lab),
            "tls": {"certificate": "/etc/lab/tls.pem", "key": "/etc/lab/tls.key"},
        },
    }
    return Spec(
        part="registry",
        role="registry",
        image=SERVICES_IMAGE,
        address=address(lab, "registry"),
        command=("lab-registry",),
        files={
            # JSON is YAML.
            "/etc/lab/registry.yml": File(json.dumps(configuration).encode(), 0o600),
            "/etc/lab/password": File(registry_password(lab).encode(), 0o600),
            "/etc/lab/tls.pem": File(certificate.read_bytes()),
            "/etc/lab/tls.key": File(key.read_bytes(), 0o600),
        },
        # Blobs go by their digests and tags are compared before use, so a new lab need not push everything again.
        caches={"registry": "/var/lib/registry"},
        # Engines trust 127.0.0.0/8 as it is, so this machine's engine pushes without being configured.
        publish=REGISTRY_PORT,
    )


def _acme(lab: Lab, _domains: Mapping[str, Zone], _hosts: Mapping[str, str]) -> Spec:
    certificate, key = ensure_certificate(lab.directory / "ca", "acme.lab", address(lab, "acme"))
    configuration = {
        "pebble": {
            "listenAddress": f"0.0.0.0:{ACME_PORT}",
            "managementListenAddress": f"0.0.0.0:{_ACME_MANAGEMENT_PORT}",
            "certificate": "/etc/lab/tls.pem",
            "privateKey": "/etc/lab/tls.key",
            "httpPort": 80,
            "tlsPort": 443,
            "ocspResponderURL": "http://ocsp.lab",
            "externalAccountBindingRequired": False,
            "retryAfter": {"authz": 1, "order": 1},
            # 90 days, as Let's Encrypt; what watches expiry then meets real numbers.
            "certificateValidityPeriod": 90 * 86400,
        }
    }
    return Spec(
        part="acme",
        role="acme",
        image=SERVICES_IMAGE,
        address=address(lab, "acme"),
        command=("lab-acme", f"{lab.dns}:53"),
        files={
            "/etc/lab/pebble.json": File(json.dumps(configuration).encode()),
            "/etc/lab/lab-ca.pem": File(ensure_authority(lab.directory / "ca").read_bytes()),
            "/etc/lab/tls.pem": File(certificate.read_bytes()),
            "/etc/lab/tls.key": File(key.read_bytes(), 0o600),
        },
        # Pebble otherwise sleeps up to 15 s before each validation, to provoke clients that do not wait.
        environment={"PEBBLE_VA_NOSLEEP": "1"},
    )


def _mail(lab: Lab, _domains: Mapping[str, Zone], _hosts: Mapping[str, str]) -> Spec:
    handler = ("-c", "aiosmtpd.handlers.Mailbox", "/var/mail/lab/maildir")
    return Spec(
        part="mail",
        role="mail",
        image=SERVICES_IMAGE,
        address=address(lab, "mail"),
        command=("aiosmtpd", "-n", "-l", "0.0.0.0:25", *handler),
        volumes={"mail": "/var/mail/lab"},
    )


def wait(lab: Lab, service: str) -> None:
    """Return when the service answers as its clients will ask it."""

    def attempt() -> bool:
        container = containers.find(lab, service)
        if container is None or container.status != "running":
            return False
        return _READY[service](lab)

    try:
        until(f"{service} of lab {lab.name} to answer", attempt, seconds=_WAIT)
    except LabError as error:
        container = containers.find(lab, service)
        log = containers.log_tail(container) if container else "no such container"
        raise LabError(
            f"{error.reason}\nits last words:\n{log}", f"read `docker logs {lab.container(service)}`"
        ) from None


def _dns_ready(lab: Lab) -> bool:
    status, _ = containers.run(
        containers.find(lab, "dns"), "dig", "+short", "+time=1", "+tries=1", "@127.0.0.1", "dns.lab"
    )
    return status == 0


def _registry_ready(lab: Lab) -> bool:
    authority = ensure_authority(lab.directory / "ca")
    answer = https.get(address(lab, "registry"), "registry.lab", "/v2/", authority=authority, port=REGISTRY_PORT)
    return answer.status == 401


def _acme_ready(lab: Lab) -> bool:
    """Pebble's root is new at each start, so it is fetched whenever pebble is waited for."""
    authority = ensure_authority(lab.directory / "ca")
    where = address(lab, "acme")
    directory = https.get(where, "acme.lab", "/dir", authority=authority, port=ACME_PORT)
    root = https.get(where, "acme.lab", "/roots/0", authority=authority, port=_ACME_MANAGEMENT_PORT)
    if directory.status != 200 or root.status != 200:
        return False
    path = acme_root(lab)
    if not path.exists() or path.read_bytes() != root.body:
        path.write_bytes(root.body)
    return True


def _mail_ready(lab: Lab) -> bool:
    with socket.create_connection((address(lab, "mail"), 25), timeout=2) as connection:
        return connection.recv(3) == b"220"


_READY = {"dns": _dns_ready, "registry": _registry_ready, "acme": _acme_ready, "mail": _mail_ready}


def _forwarders() -> list[str]:
    """The machine's own name servers; behind a local stub, those that the stub asks."""
    for path in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        if path.exists() and (found := zones.resolvers(path.read_text("utf-8"))):
            return found
    raise LabError(
        "no name server in /etc/resolv.conf that a container could reach",
        "put the address of a real one there; loopback addresses are the machine's own",
    )


def _generated(path: Path, make: Callable[[], str]) -> str:
    """A secret kept in a file of mode 0600."""
    if not path.exists():
        write_private(path, make().encode())
    return path.read_text("utf-8")
