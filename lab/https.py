# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTPS to an address under a name, trusting exactly one authority."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


class _Connection(http.client.HTTPSConnection):
    """Connects to `address`, but asks for, and verifies, `host`."""

    def __init__(self, address: str, host: str, port: int, context: ssl.SSLContext, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._address = address
        self._tls = context

    def connect(self) -> None:
        raw = socket.create_connection((self._address, self.port), self.timeout)
        # As http.client's own connect does; without it each request waits 40 ms for a delayed acknowledgement.
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._tls.wrap_socket(raw, server_hostname=self.host)


def get(
    address: str,
    host: str,
    path: str = "/",
    *,
    authority: Path,
    port: int = 443,
    headers: Mapping[str, str] | None = None,
    timeout: float = 10,
) -> Response:
    """GET https://host:port/path from address. A certificate of any other authority is an error (OSError)."""
    context = ssl.create_default_context(cafile=str(authority))
    connection = _Connection(address, host, port, context, timeout)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer from {host}: {error!r}") from error
    finally:
        connection.close()
