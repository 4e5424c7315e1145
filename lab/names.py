# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a lab is: its name, its addresses, its files. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from lab.errors import LabError

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"

# Docker labels. Everything of a lab carries LABEL_LAB with the lab's name; `down` removes exactly that.
LABEL_LAB = "quai.lab"
LABEL_ROLE = "quai.lab.role"
LABEL_SPEC = "quai.lab.spec"
LABEL_KEY = "quai.lab.key"

# Last octets. Hosts get FIRST_HOST and up, in the order in which they are added.
SERVICE_OCTETS = {"dns": 2, "registry": 3, "acme": 4, "mail": 5}
FIRST_HOST = 10

# Directories of build/ that all labs share.
_RESERVED = frozenset({"engine", "images", "locks"})

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}")
_NET = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})")


@dataclass(frozen=True)
class Lab:
    """One lab. `net` is its /24 without the last octet."""

    name: str
    net: str

    @property
    def subnet(self) -> IPv4Network:
        return IPv4Network(f"{self.net}.0/24")

    @property
    def network(self) -> str:
        return f"quai-{self.name}"

    @property
    def directory(self) -> Path:
        return directory(self.name)

    @property
    def dns(self) -> str:
        return self.address(SERVICE_OCTETS["dns"])

    def address(self, octet: int) -> str:
        return f"{self.net}.{octet}"

    def container(self, part: str) -> str:
        return f"quai-{self.name}-{part}"


def directory(name: str) -> Path:
    """Where a lab keeps its keys, authorities and logs."""
    return BUILD / name


def lab_name(environment: Mapping[str, str]) -> str:
    """The lab that the environment asks for."""
    name = environment.get("QUAI_LAB") or "lab"
    if not _NAME.fullmatch(name):
        raise LabError(
            f"QUAI_LAB={name!r} is not a name for a lab",
            "use lower case letters, digits, dashes and underscores, a letter first, at most 41 characters",
        )
    if name in _RESERVED:
        raise LabError(f"QUAI_LAB={name!r} is taken: build/{name} belongs to all labs", "choose another name")
    return name


def lab_net(environment: Mapping[str, str]) -> str:
    """The /24 that the environment asks for: three octets, or "auto" for the first free one."""
    net = environment.get("QUAI_LAB_NET") or "10.213.0"
    match = _NET.fullmatch(net)
    if net != "auto" and (not match or any(int(octet) > 255 for octet in match.groups())):
        raise LabError(
            f"QUAI_LAB_NET={net!r} is not a /24 network", "give its first three octets, for example 10.213.0, or auto"
        )
    return net
