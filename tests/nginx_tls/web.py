# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client outside the host: by name, to the host's address, with every header line as it came."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BACKLOG = 65536


@dataclass(frozen=True)
class Answer:
    """A response; ``headers`` keeps doubled ones."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str:
        """The only value of a header; fails when there are none or several."""
        values = self.all(name)
        assert len(values) == 1, f"{name} came {len(values)} times: {values}; answer {self.status}"
        return values[0]

    @property
    def json(self) -> Any:
        """The body."""
        body = gzip.decompress(self.body) if self.all("Content-Encoding") == ["gzip"] else self.body
        return json.loads(body)


class _Named(http.client.HTTPSConnection):
    """TLS for a name at an address."""

    def __init__(self, address: str, name: str, context: ssl.SSLContext, timeout: float) -> None:
        super().__init__(name, 443, timeout=timeout, context=context)
        self._address = address
        self._tls = context

    def connect(self) -> None:
        """Connect to the address, ask for the name."""
        plain = socket.create_connection((self._address, 443), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


@dataclass
class Web:
    """The sites of one host."""

    address: str
    roots: Path
    timeout: float = 10
    insecure: ssl.SSLContext = field(init=False)
    trusting: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        self.insecure = ssl.create_default_context()
        self.insecure.check_hostname = False
        self.insecure.verify_mode = ssl.CERT_NONE
        self.trusting = ssl.create_default_context(cafile=str(self.roots))

    def ask(
        self,
        name: str,
        path: str = "/",
        method: str = "GET",
        *,
        body: bytes | None = None,
        tls: bool = True,
        context: ssl.SSLContext | None = None,
        **headers: str,
    ) -> Answer:
        """One request on a connection of its own. Underscores in header names stand for dashes."""
        connection: http.client.HTTPConnection
        if tls:
            connection = _Named(self.address, name, context or self.insecure, self.timeout)
        else:
            connection = http.client.HTTPConnection(self.address, 80, timeout=self.timeout)
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        sent.setdefault("Host", name)
        try:
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def handshake(self, name: str | None, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        """An open TLS connection."""
        plain = socket.create_connection((self.address, 443), self.timeout)
        try:
            return (context or self.insecure).wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise

    def trusts(self, name: str) -> bool:
        """Whether the lab's CA vouches for what is served."""
        try:
            self.handshake(name, self.trusting).close()
        except ssl.SSLCertVerificationError:
            return False
        return True

    def serial(self, name: str) -> str:
        """Serial number of the certificate that is served."""
        context = ssl.create_default_context(cafile=str(self.roots))
        with self.handshake(name, context) as connection:
            return str(connection.getpeercert()["serialNumber"]).lower()  # type: ignore[index]

    @contextmanager
    def websocket(self, name: str, path: str) -> Iterator[socket.socket]:
        """An upgraded connection."""
        with self.handshake(name) as connection:
            key = base64.b64encode(os.urandom(16)).decode()
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: {name}\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
            )
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(BACKLOG)
                assert piece, f"closed after {head!r}"
                head += piece
            assert head.startswith(b"HTTP/1.1 101 "), head
            yield connection


def say(connection: socket.socket, text: bytes) -> bytes:
    """Send a text frame, return the one that comes back."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(text))
    connection.sendall(bytes([0x81, 0x80 | len(text)]) + mask + masked)
    frame = b""
    while len(frame) < 2 or len(frame) < 2 + frame[1]:
        piece = connection.recv(BACKLOG)
        assert piece, "closed"
        frame += piece
    return frame[2:]


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not come true in {seconds} s"
        time.sleep(0.1)


def renew(host: Any) -> None:
    """Renew every certificate through the timer's unit as it is; only the time to do so is brought forward.

    Pebble refuses some good nonces on purpose; then the next run of the timer would succeed, so we are the timer.
    """
    host.check_output("sed -i '1i renew_before_expiry = 100 days' /etc/letsencrypt/renewal/*.conf")
    try:
        for _ in range(5):
            if host.run("systemctl start certbot.service").rc == 0:
                return
            journal = host.check_output("journalctl -u certbot.service -n 50 --no-pager")
            assert "anti-replay nonce" in journal, journal
        raise AssertionError("the CA refused five runs in a row")
    finally:
        host.check_output("sed -i '/^renew_before_expiry = 100 days$/d' /etc/letsencrypt/renewal/*.conf")
