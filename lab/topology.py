# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole lab: its network, services and hosts, brought up as asked and taken down without a trace."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Network
from typing import Any

import docker.errors
import docker.types

from lab import containers, hosts, images, services, subnets
from lab.console import Console
from lab.engine import client
from lab.errors import LabError
from lab.names import LABEL_LAB, Lab
from lab.subnets import Taken
from lab.zones import Zone

# The lab of `make up`: MasStock on one bare server.
DEFAULT_HOSTS = {"vps1": "debian13"}
DEFAULT_ZONES = {"masstock.fr": Zone("vps1", ("@", "app", "api", "n8n", "quai"))}


@dataclass(frozen=True)
class Plan:
    """What a lab shall consist of. Hosts map a name to a system (debian12, debian13)."""

    hosts: Mapping[str, str] = field(default_factory=lambda: DEFAULT_HOSTS)
    zones: Mapping[str, Zone] = field(default_factory=lambda: DEFAULT_ZONES)
    services: Sequence[str] = services.SERVICES


def running(name: str) -> Lab:
    """The lab of that name as it is."""
    if _network(name) is None:
        raise LabError(f"lab {name} is not up", "python -m lab up, or choose another one with QUAI_LAB")
    return open_lab(name, "auto")


def open_lab(name: str, net: str) -> Lab:
    """The lab of that name: where it already is, else on the network asked for, else on the first free one."""
    present = _network(name)
    if present is not None:
        current = str(present.attrs["IPAM"]["Config"][0]["Subnet"]).rpartition(".")[0]
        if net not in ("auto", current):
            raise LabError(
                f"lab {name} is up on {current}.0/24, not on {net}.0/24",
                f"set QUAI_LAB_NET={current}, or take it down first: python -m lab down",
            )
        return Lab(name, current)
    return Lab(name, subnets.first_free(name, _taken(name)) if net == "auto" else net)


def up(lab: Lab, plan: Plan, console: Console) -> None:
    """Bring the lab to the plan. What already is as planned stays untouched; hosts beyond the plan stay too."""
    unknown = [service for service in plan.services if service not in services.SERVICES]
    if unknown:
        raise LabError(f"unknown service {unknown[0]!r}", f"one of: {', '.join(services.SERVICES)}")
    # Every host resolves names through the lab, so there is no lab without DNS.
    wanted = [service for service in services.SERVICES if service in plan.services or service == "dns"]
    _ensure_network(lab)
    images.ensure([images.services(), *map(images.host, dict.fromkeys(plan.hosts.values()))], console)
    addresses = hosts.addresses(lab, list(plan.hosts), hosts.known(lab))
    _remember_zones(lab, plan.zones)
    services.page_password(lab)
    specs = [services.spec(lab, service, plan.zones, addresses) for service in wanted]
    vps = [hosts.spec(lab, name, system, addresses[name]) for name, system in plan.hosts.items()]
    root = services.acme_root(lab)
    former_root = root.read_bytes() if root.exists() else b""
    with ThreadPoolExecutor(max_workers=8) as pool:
        running = [pool.submit(_bring_up, lab, spec, console) for spec in [*specs, *vps]]
        _first_failure(running)
    if former_root and root.read_bytes() != former_root:
        for name in hosts.known(lab):
            hosts.forget_certificates(lab, name)
            console.note(f"the ACME CA is a new one since its restart: {name} will ask it for new certificates")


def _remember_zones(lab: Lab, zones: Mapping[str, Zone]) -> None:
    path = lab.directory / "dns" / "zones.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({domain: asdict(zone) for domain, zone in zones.items()}, indent=2) + "\n", "utf-8")


def zones_of(lab: Lab) -> dict[str, Zone]:
    """The zones with which the lab was last brought up."""
    document = json.loads((lab.directory / "dns" / "zones.json").read_text("utf-8"))
    return {domain: Zone(zone["host"], tuple(zone["names"])) for domain, zone in document.items()}


def _bring_up(lab: Lab, spec: containers.Spec, console: Console) -> None:
    with console.step(f"{lab.container(spec.part)} at {spec.address}"):
        # A host holds what was installed on it; a service holds nothing that cannot be made again.
        fresh = containers.ensure(lab, spec, replace=spec.role != hosts.ROLE)
        if spec.role == hosts.ROLE:
            hosts.wait(lab, spec.part, spec.address, console, fresh=fresh)
        else:
            services.wait(lab, spec.role)


def _first_failure(futures: Sequence[Future[None]]) -> None:
    for future in futures:
        future.result()


def remove_host(lab: Lab, name: str) -> None:
    """Remove one host with its volume."""
    container = containers.find(lab, name)
    if container is None or name not in hosts.known(lab):
        raise LabError(f"lab {lab.name} has no host {name!r}", f"it has: {', '.join(hosts.known(lab)) or 'none'}")
    hosts.forget_connections(lab.name)
    container.remove(force=True)
    client().volumes.get(lab.container(f"{name}-docker")).remove(force=True)


def down(name: str, console: Console) -> None:
    """Remove everything that carries the lab's label, then what it kept in build/."""
    selection = {"label": f"{LABEL_LAB}={name}"}
    hosts.forget_connections(name)
    found = containers.of_lab(name)
    volumes = client().volumes.list(filters=selection)
    networks = client().networks.list(filters=selection)
    if found or volumes or networks:
        with console.step(
            f"Remove {len(found)} containers, {len(volumes)} volumes, {len(networks)} networks of lab {name}"
        ):
            with ThreadPoolExecutor(max_workers=8) as pool:
                list(pool.map(lambda container: container.remove(force=True, v=True), found))
            for item in [*volumes, *networks]:
                item.remove()
    directory = Lab(name, "").directory
    if directory.exists():
        shutil.rmtree(directory)


def _network(name: str) -> Any | None:
    found = client().networks.list(names=[Lab(name, "").network])
    exact = [network for network in found if network.name == Lab(name, "").network]
    if exact and exact[0].attrs["Labels"].get(LABEL_LAB) != name:
        raise LabError(
            f"a Docker network {exact[0].name} exists that is not this lab's", f"docker network rm {exact[0].name}"
        )
    return exact[0] if exact else None


def _taken(name: str) -> list[Taken]:
    """Networks in use on this machine by anything but this lab."""
    taken: list[Taken] = []
    for network in client().networks.list():
        if (network.attrs.get("Labels") or {}).get(LABEL_LAB) != name:
            for pool in network.attrs["IPAM"]["Config"] or []:
                if "." in pool.get("Subnet", ""):
                    taken.append((IPv4Network(pool["Subnet"]), f"Docker network {network.name}"))
    listing = subprocess.run(["ip", "-json", "-4", "route"], capture_output=True, text=True, check=True)
    return taken + subnets.routes(json.loads(listing.stdout))


def _ensure_network(lab: Lab) -> None:
    if _network(lab.name) is not None:
        return
    used_by = subnets.collision(lab.subnet, _taken(lab.name))
    if used_by:
        raise LabError(
            f"{lab.subnet} of lab {lab.name} is already in use: {used_by}",
            "choose another one, for example QUAI_LAB_NET=10.213.42, or QUAI_LAB_NET=auto",
        )
    pool = docker.types.IPAMPool(subnet=str(lab.subnet), gateway=lab.address(1))
    try:
        client().networks.create(
            lab.network,
            driver="bridge",
            ipam=docker.types.IPAMConfig(pool_configs=[pool]),
            labels={LABEL_LAB: lab.name},
        )
    except docker.errors.APIError as error:
        raise LabError(f"network {lab.network} ({lab.subnet}) cannot be made: {error.explanation}") from error
