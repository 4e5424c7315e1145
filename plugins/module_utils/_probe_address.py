# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of services as applications have them: SCHEME://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE.

Read by hand: the parts that are wrong are named without showing the address, because a password is in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._probe_base import OwnFault


class Address(NamedTuple):
    """The parts of an address, decoded. C(port) is 0 and texts are empty where it says nothing."""

    scheme: str
    user: str
    password: str
    host: str
    port: int
    path: str  # without the slash that begins it
    options: dict[str, str]


def split_address(url: str, schemes: Sequence[str]) -> Address:
    """Read an address. A scheme may go on after a plus, as in postgresql+psycopg. Raises OwnFault."""
    wanted = " or ".join(f"{scheme}://" for scheme in schemes)
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise OwnFault(f"url: it must begin with {wanted}")
    scheme = scheme.lower()
    if scheme.partition("+")[0] not in schemes:
        raise OwnFault(f"url: it begins with {scheme[:20]}://, but must with {wanted}")
    rest = rest.partition("#")[0]
    rest, _mark, query = rest.partition("?")
    authority, _slash, path = rest.partition("/")
    login, _at, place = authority.rpartition("@")
    user, _colon, password = login.partition(":")
    host, port = _host_and_port(place)
    options = {}
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        if equals:
            options[_decoded(name)] = _decoded(value)
    return Address(scheme, _decoded(user), _decoded(password), _decoded(host), port, _decoded(path), options)


def _host_and_port(place: str) -> tuple[str, int]:
    if "," in place:
        raise OwnFault("url: it names several hosts; a probe asks one of them")
    if place.startswith("["):
        host, bracket, port = place[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise OwnFault("url: its host begins with [ and does not go on as [IPv6] or [IPv6]:PORT")
        port = port[1:]
    else:
        host, _colon, port = place.partition(":")
    if not port:
        return host, 0
    # Not shown: what follows a colon here may be half of a password with an unencoded @ or /.
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise OwnFault(
            "url: its port is no number from 1 to 65535; are @, / and : in the password written as %40, %2F, %3A?"
        )
    return host, int(port)


def _decoded(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text)


__all__ = ["Address", "split_address"]
