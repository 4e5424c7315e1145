# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether QUIC is spoken on a UDP port, asked with the smallest conversation that RFC 9000 has."""

from __future__ import annotations

import secrets
import socket

# RFC 9000, section 15: versions of this form are reserved to force a negotiation; nobody implements them.
_RESERVED = 0x1A2A3A4A
_V1 = 0x00000001
# A server may ignore smaller datagrams (section 14.1).
_DATAGRAM = 1200


def supported_versions(address: str, port: int = 443, *, attempts: int = 3, timeout: float = 2) -> list[int]:
    """Versions in the server's Version Negotiation packet (section 17.2.1); empty when nothing answers.

    Raises AssertionError when what answers is not QUIC.
    """
    ours, theirs = secrets.token_bytes(8), secrets.token_bytes(8)
    # Long header: form and fixed bit, version, the two connection ids; the rest has no meaning in an unknown version.
    packet = bytes([0xC0]) + _RESERVED.to_bytes(4, "big") + bytes([8]) + theirs + bytes([8]) + ours
    packet += secrets.token_bytes(_DATAGRAM - len(packet))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(timeout)
        client.connect((address, port))
        for _ in range(attempts):
            try:
                client.send(packet)
                return _negotiated(client.recv(65535), ours, theirs)
            except (TimeoutError, ConnectionRefusedError):
                continue
    return []


def _negotiated(answer: bytes, ours: bytes, theirs: bytes) -> list[int]:
    assert len(answer) >= 27 and answer[0] & 0x80 and answer[1:5] == b"\0\0\0\0", (
        f"not a Version Negotiation: {answer!r}"
    )
    ids = bytes([8]) + ours + bytes([8]) + theirs
    assert answer[5:23] == ids, "the answer does not echo the connection ids, so it is not for this question"
    rest = answer[23:]
    assert len(rest) % 4 == 0, f"versions are four bytes each, {len(rest)} came"
    return [int.from_bytes(rest[at : at + 4], "big") for at in range(0, len(rest), 4)]


def speaks(address: str, port: int = 443) -> bool:
    """Whether QUIC version 1 is offered."""
    return _V1 in supported_versions(address, port)
