# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which /24 a lab may have. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from ipaddress import IPv4Network

from lab.errors import LabError

# Free-subnet search stays in here, away from 10.213.0 to 10.213.127, which people choose by hand.
_POOL = "10.213"
_POOL_FIRST = 128
_POOL_SIZE = 127

Taken = tuple[IPv4Network, str]


def collision(subnet: IPv4Network, taken: Iterable[Taken]) -> str:
    """Who already uses part of the subnet; empty when nobody does."""
    return next((f"{other} ({owner})" for other, owner in taken if other.overlaps(subnet)), "")


def candidates(name: str) -> list[str]:
    """The /24s to try for a lab, always in the same order for the same name."""
    start = zlib.crc32(name.encode()) % _POOL_SIZE
    return [f"{_POOL}.{_POOL_FIRST + (start + step) % _POOL_SIZE}" for step in range(_POOL_SIZE)]


def first_free(name: str, taken: Iterable[Taken]) -> str:
    """The first candidate that nobody uses."""
    known = list(taken)
    for net in candidates(name):
        if not collision(IPv4Network(f"{net}.0/24"), known):
            return net
    raise LabError(
        f"no free /24 for lab {name} between {_POOL}.{_POOL_FIRST}.0 and {_POOL}.{_POOL_FIRST + _POOL_SIZE - 1}.0",
        "take labs down that are no longer used: `docker network ls --filter label=quai.lab`",
    )


def routes(listing: list[dict[str, object]]) -> list[Taken]:
    """Networks in the machine's routing table (`ip -json route`), without the default route."""
    found: list[Taken] = []
    for route in listing:
        destination = str(route.get("dst", "default"))
        if destination != "default":
            found.append((IPv4Network(destination, strict=False), f"route through {route.get('dev', '?')}"))
    return found
