# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP request at a time, on a connection of its own, with everything in the answer that a proof may need."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """An answer; C(headers) holds every header line, so that a doubled one shows."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    protocol: str = ""

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str:
        """The value of a header that must be there exactly once."""
        found = self.values(name)
        assert len(found) == 1, f"header {name} is there {len(found)} times: {found}; status {self.status}"
        return found[0]

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class _Connection(http.client.HTTPConnection):
    """Connects to an address and speaks to a name there."""

    def __init__(self, address: str, host: str, port: int, context: ssl.SSLContext | None, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._address, self._context = address, context

    def connect(self) -> None:
        raw = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = self._context.wrap_socket(raw, server_hostname=self.host) if self._context else raw


def trusting(authority: Path | None) -> ssl.SSLContext:
    """A context that believes one authority alone; none at all when there is none to believe."""
    if authority is not None:
        return ssl.create_default_context(cafile=str(authority))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def ask(
    address: str,
    host: str,
    path: str = "/",
    *,
    authority: Path | None,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    plain: bool = False,
    timeout: float = 15,
) -> Answer:
    """Ask for host/path at an address, over TLS unless C(plain). Raises OSError when there is no answer."""
    context = None if plain else trusting(authority)
    connection = _Connection(address, host, 80 if plain else 443, context, timeout)
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        answer = connection.getresponse()
        secured = connection.sock
        protocol = secured.version() or "" if isinstance(secured, ssl.SSLSocket) else ""
        return Answer(answer.status, answer.getheaders(), answer.read(), protocol)
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer from {host}: {error!r}") from error
    finally:
        connection.close()


def handshake(
    address: str,
    name: str | None,
    authority: Path | None,
    *,
    only: ssl.TLSVersion | None = None,
    alpn: Sequence[str] = (),
) -> tuple[str, str, bytes]:
    """Shake hands and nothing more; returns the TLS version, the protocol agreed on, and the certificate (DER)."""
    context = trusting(authority)
    if only is not None:
        # This side would refuse the oldest versions itself; what is asked is whether the other side does.
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = only
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if name is None:
        context.check_hostname = False
    raw = socket.create_connection((address, 443), 10)
    with context.wrap_socket(raw, server_hostname=name) as secured:
        return secured.version() or "", secured.selected_alpn_protocol() or "", secured.getpeercert(True) or b""
