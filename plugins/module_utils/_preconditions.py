# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host must offer before anything on it is changed: pure comparisons, and reading the figures from C(/proc)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.quai.ops.plugins.module_utils._compose import version_tuple

LISTEN = "0A"
# A "2 GB" server shows a little less than 2048 MB, because the kernel keeps some for itself.
TOLERANCE = 0.9


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket. ``owner`` is the program, as far as it can be seen."""

    port: int
    owner: str = "unknown program"


@dataclass(frozen=True)
class Offer:
    """What the host has. A version of None means that nobody looked; empty means not installed."""

    memory_mb: int
    cpus: int
    disk_gb: float
    disk_free_mb: int
    disk_path: str = "/"
    docker: str | None = None
    compose: str | None = None
    listeners: tuple[Listener, ...] = ()


def unmet(wanted: Mapping[str, object], offer: Offer, own_ports: Iterable[int] = ()) -> list[str]:
    """Every requirement that the host does not meet, one sentence each, with what to do."""
    problems = []
    memory, cpus = _number(wanted, "memory_mb"), _number(wanted, "cpus")
    disk, free = _number(wanted, "disk_gb"), _number(wanted, "disk_free_mb")
    if offer.memory_mb < memory * TOLERANCE:
        problems.append(f"memory: {offer.memory_mb} MB, at least {memory:g} MB are required; choose a larger server")
    if offer.cpus < cpus:
        problems.append(f"processors: {offer.cpus}, at least {cpus:g} are required; choose a larger server")
    if offer.disk_gb < disk * TOLERANCE:
        problems.append(
            f"disk: {offer.disk_path} has {offer.disk_gb:.1f} GB, at least {disk:g} GB are required; enlarge the disk"
        )
    if offer.disk_free_mb < free:
        problems.append(
            f"disk: {offer.disk_free_mb} MB free on {offer.disk_path}, at least {free:g} MB are required; free some "
            f"space (old images: docker image prune) or enlarge the disk"
        )
    for name, found in (("docker", offer.docker), ("compose", offer.compose)):
        least = str(wanted.get(name) or "")
        if not least or found is None:
            continue
        if not found:
            problems.append(f"{name}: not installed or not running, {least} or later is required; provision the host")
        elif version_tuple(found) < version_tuple(least):
            problems.append(f"{name}: version {found}, {least} or later is required; upgrade it (docker_stack_source)")
    problems += taken(_ports(wanted), offer.listeners, own_ports)
    return problems


def taken(ports: Sequence[int], listeners: Iterable[Listener], own_ports: Iterable[int]) -> list[str]:
    """Wanted ports that somebody else listens on."""
    own = set(own_ports)
    owners = {listener.port: listener.owner for listener in listeners}
    return [
        f"port {port}: taken by {owners[port]}; stop that, or give the service another port in the declaration"
        for port in ports
        if port in owners and port not in own
    ]


def _number(wanted: Mapping[str, object], key: str) -> float:
    value = wanted.get(key) or 0
    if not isinstance(value, (int, float, str)):
        raise ValueError(f"requirement {key} is {value!r}, a number is right")
    return float(value)


def _ports(wanted: Mapping[str, object]) -> list[int]:
    ports = wanted.get("ports") or []
    if not isinstance(ports, (list, tuple)):
        raise ValueError(f"requirement ports is {ports!r}, a list of numbers is right")
    return [int(port) for port in ports]


def parse_listeners(text: str) -> dict[int, str]:
    """Port to socket inode, from the text of C(/proc/net/tcp) or C(tcp6)."""
    found = {}
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == LISTEN:
            found[int(fields[1].rsplit(":", 1)[1], 16)] = fields[9]
    return found


def parse_published(text: str) -> set[int]:
    """Host ports from the C(Ports) column of C(docker ps), which writes neighbours as a range."""
    found: set[int] = set()
    for first, last in re.findall(r":(\d+)(?:-(\d+))?->", text):
        found.update(range(int(first), int(last or first) + 1))
    return found


def listeners(proc: Path = Path("/proc")) -> tuple[Listener, ...]:
    """Who listens on this host, with the names of the programs."""
    sockets: dict[int, str] = {}
    for name in ("tcp", "tcp6"):
        try:
            sockets.update(parse_listeners((proc / "net" / name).read_text()))
        except FileNotFoundError:
            continue
    names = _programs(proc, set(sockets.values()))
    return tuple(Listener(port, names.get(inode, "unknown program")) for port, inode in sorted(sockets.items()))


def _programs(proc: Path, inodes: set[str]) -> dict[str, str]:
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    names = {}
    for process in proc.glob("[0-9]*"):
        try:
            for handle in (process / "fd").iterdir():
                inode = wanted.get(os.readlink(handle))  # noqa: PTH115 - the target is no path
                if inode:
                    names[inode] = f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue  # it ended meanwhile
    return names


def measure(path: str) -> Offer:
    """Figures of this host; C(path) is on the filesystem that must have room. Versions and ports are left out."""
    place = Path(path)
    while not place.exists():
        place = place.parent
    room = os.statvfs(place)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return Offer(
        memory_mb=int(memory.group(1)) // 1024 if memory else 0,
        cpus=len(os.sched_getaffinity(0)),
        disk_gb=room.f_frsize * room.f_blocks / 1e9,
        disk_free_mb=int(room.f_frsize * room.f_bavail / 1e6),
        disk_path=str(place),
    )


__all__ = [
    "Listener", "Offer", "listeners", "measure", "parse_listeners", "parse_published", "taken", "unmet",
]
