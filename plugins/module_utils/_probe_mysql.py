# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MySQL and MariaDB by their own protocol: TLS, login, queries."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, ProbeFailed, Spec
from ansible_collections.quai.ops.plugins.module_utils._probe_net import Connection, dial
from ansible_collections.quai.ops.plugins.module_utils._probe_sql import (
    MAX_MESSAGE,
    endpoint,
    fill,
    number,
    unencrypted,
)

PORT: Final = 3306
# Capabilities: those that are always asked for (4.1 protocol and passwords, transactions, authentication plugins with
# answers of any length), and those that depend.
_BASE: Final = 0x1 | 0x4 | 0x200 | 0x2000 | 0x8000 | 0x80000 | 0x200000
_WITH_DATABASE: Final = 0x8
_TLS: Final = 0x800
_UTF8MB4: Final = 45
_MAX_PACKET: Final = MAX_MESSAGE
# Rows of the probe's own query that are read, and thrown away, after the one that counts.
_MAX_ROWS: Final = 1000
# Access denied to a database or account, unknown account plugin, host not allowed or blocked.
_AUTH_CODES: Final = frozenset({1044, 1045, 1129, 1130, 1251, 1275, 1524, 1698, 1862, 2049, 3118, 3955, 4151})
_TIMEOUT_CODES: Final = frozenset({1969, 3024})
_INTEGERS: Final = frozenset({1, 2, 3, 8, 9, 13})
_FRACTIONS: Final = frozenset({0, 4, 5, 246})
_NATIVE: Final = "mysql_native_password"
_SHA2: Final = "caching_sha2_password"
# The last two show the password to the server, and so need TLS or a Unix socket.
_PLUGINS: Final = (_NATIVE, _SHA2, "sha256_password", "mysql_clear_password")
# What a server that knows caching_sha2_password says next: that is enough, or the password itself is needed.
_FAST: Final = b"\x01\x03"
_FULL: Final = b"\x01\x04"


def check(spec: Spec, context: Context) -> None:
    """Log in and ask."""
    spec = endpoint(spec, ("mysql", "mariadb"), PORT)
    with dial(spec, context) as connection:
        packets = Packets(connection)
        greeting = read_greeting(packets.read(), connection.label)
        _Login(packets, connection, spec, greeting).run()
        _ask(packets, spec, context, greeting)


class Greeting(NamedTuple):
    """What the server says first."""

    version: str
    mariadb: bool
    nonce: bytes
    capabilities: int
    plugin: str


class Packets:
    """Packets in both directions, with their running number."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._next = 0

    def read(self) -> bytes:
        """Content of the next packet. Raises ProbeFailed."""
        head = self._connection.recv_exactly(4)
        size = int.from_bytes(head[:3], "little")
        # A packet of the largest size goes on in the next one; no answer to a probe does.
        if head[3] != self._next & 0xFF or size >= min(_MAX_PACKET, 0xFFFFFF):
            raise ProbeFailed("proto", f"{self._connection.label} answers {head!r}, which is not the protocol of MySQL")
        self._next += 1
        content = self._connection.recv_exactly(size)
        if not content:
            raise ProbeFailed("proto", f"{self._connection.label} sends an empty packet")
        return content

    def send(self, content: bytes) -> None:
        """Send a packet as an answer."""
        self._connection.send(len(content).to_bytes(3, "little") + bytes([self._next & 0xFF]) + content)
        self._next += 1

    def command(self, content: bytes) -> None:
        """Send a packet that begins anew."""
        self._next = 0
        self.send(content)


def refusal(packet: bytes) -> ProbeFailed:
    """What an ERR packet means."""
    code = int.from_bytes(packet[1:3], "little")
    text = packet[3:]
    if text[:1] == b"#":  # the state of SQL, which errors before the login have not
        text = text[6:]
    reason = "auth" if code in _AUTH_CODES else "timeout" if code in _TIMEOUT_CODES else "proto"
    return ProbeFailed(reason, f"error {code}: {text.decode('utf-8', 'replace')[:300]}")


def read_greeting(packet: bytes, label: str = "the server") -> Greeting:
    """Read the first packet. Raises ProbeFailed."""
    if packet[0] == 0xFF:
        raise refusal(packet)
    end = packet.find(b"\0", 1)
    if packet[0] != 10 or end < 0 or len(packet) < end + 32:
        raise ProbeFailed("proto", f"{label} begins with {packet[:20]!r}, which is not version 10 of MySQL's protocol")
    version = packet[1:end].decode("utf-8", "replace")
    at = end + 5  # the number of the connection
    nonce = packet[at : at + 8]
    at += 9
    low, high = packet[at : at + 2], packet[at + 5 : at + 7]
    size = packet[at + 7]
    at += 18
    nonce += packet[at : at + max(13, size - 8) - 1]
    at += max(13, size - 8)
    plugin = packet[at:].partition(b"\0")[0].decode("ascii", "replace")
    # MariaDB hides behind the version 5.5.5 from clients that would think 10 a mistake.
    mariadb = "MariaDB" in version
    version = version.removeprefix("5.5.5-") if mariadb else version
    return Greeting(version, mariadb, nonce[:20], int.from_bytes(low + high, "little"), plugin)


def native_answer(password: bytes, nonce: bytes) -> bytes:
    """Proof of the password for mysql_native_password."""
    import hashlib

    if not password:
        return b""
    inner = hashlib.sha1(password, usedforsecurity=False).digest()
    outer = hashlib.sha1(nonce + hashlib.sha1(inner, usedforsecurity=False).digest(), usedforsecurity=False).digest()
    return bytes(left ^ right for left, right in zip(inner, outer))


def sha2_answer(password: bytes, nonce: bytes) -> bytes:
    """Proof of the password for caching_sha2_password, to a server that has seen it before."""
    import hashlib

    if not password:
        return b""
    inner = hashlib.sha256(password).digest()
    outer = hashlib.sha256(hashlib.sha256(inner).digest() + nonce).digest()
    return bytes(left ^ right for left, right in zip(inner, outer))


class _Login:
    """From the server's first packet to the point where queries are taken."""

    def __init__(self, packets: Packets, connection: Connection, spec: Spec, greeting: Greeting) -> None:
        self._packets = packets
        self._connection = connection
        self._spec = spec
        self._greeting = greeting
        self._plugin = greeting.plugin
        self._nonce = greeting.nonce

    def run(self) -> None:
        """Log in. Raises ProbeFailed."""
        spec, greeting, packets = self._spec, self._greeting, self._packets
        if not greeting.capabilities & 0x200:
            raise ProbeFailed("proto", f"the server, version {greeting.version}, is from before MySQL 4.1")
        database = spec["database"].encode()
        capabilities = _BASE | (_WITH_DATABASE if database else 0)
        if not spec["socket"] and spec["tls"] != "off":
            capabilities |= self._start_tls(capabilities)
        # Where the user's way is another than the server's usual one, the server asks for it next.
        first = self._proof() if self._plugin in _PLUGINS else b""
        login = _head(capabilities) + spec["user"].encode() + b"\0" + _sized(first)
        login += (database + b"\0" if database else b"") + self._plugin.encode() + b"\0"
        packets.send(login)
        while True:
            answer = packets.read()
            if answer[0] == 0x00:
                return
            if answer[0] == 0xFF:
                raise refusal(answer)
            if answer != _FAST or self._plugin != _SHA2:
                packets.send(self._reply(answer))

    def _start_tls(self, capabilities: int) -> int:
        connection, spec = self._connection, self._spec
        if not self._greeting.capabilities & _TLS:
            if spec["tls"] == "prefer":
                return 0
            raise ProbeFailed("tls_other", f"{connection.label} does not offer TLS, but tls is {spec['tls']}")
        self._packets.send(_head(capabilities | _TLS))
        connection.start_tls(spec, spec["host"], prepare=_before_tls, verify=spec["tls"] == "verify")
        return _TLS

    def _reply(self, answer: bytes) -> bytes:
        """What to say when the server asks for more."""
        if answer[0] == 0xFE:
            name, _zero, rest = answer[1:].partition(b"\0")
            self._plugin = name.decode("ascii", "replace") or "mysql_old_password"
            self._nonce = rest[:20]
            return self._proof()
        if answer == _FULL and self._plugin == _SHA2:
            if not self._private():
                raise unencrypted(
                    "MySQL", f"{_SHA2}, for a user that it has not seen since its start or another password"
                )
            return self._secret() + b"\0"
        raise ProbeFailed("proto", f"the server answers the login with {answer[:20]!r}")

    def _private(self) -> bool:
        return bool(self._spec["socket"]) or self._connection.secure

    def _secret(self) -> bytes:
        return bytes(self._spec["password"].encode())

    def _proof(self) -> bytes:
        plugin = self._plugin
        if plugin == _NATIVE:
            return native_answer(self._secret(), self._nonce)
        if plugin == _SHA2:
            return sha2_answer(self._secret(), self._nonce)
        if plugin not in _PLUGINS:
            known = ", ".join(_PLUGINS)
            text = f"the server asks for the plugin {plugin}; this probe knows {known}: give it a user of its own"
            raise ProbeFailed("auth", text)
        if not self._private():
            raise unencrypted("MySQL", plugin)
        return self._secret() + b"\0"


def _before_tls(connection: Connection) -> None:
    """What comes before TLS, on a connection of its own."""
    packets = Packets(connection)
    greeting = read_greeting(packets.read(), connection.label)
    if not greeting.capabilities & _TLS:
        raise ProbeFailed("tls_other", f"{connection.label} does not offer TLS")
    packets.send(_head(_BASE | _TLS))


def _head(capabilities: int) -> bytes:
    """The part of the login that also asks for TLS."""
    return capabilities.to_bytes(4, "little") + _MAX_PACKET.to_bytes(4, "little") + bytes([_UTF8MB4]) + bytes(23)


def _sized(data: bytes) -> bytes:
    """Data with its length before it."""
    size = len(data)
    return (bytes([size]) if size < 251 else b"\xfc" + size.to_bytes(2, "little")) + data


def _ask(packets: Packets, spec: Spec, context: Context, greeting: Greeting) -> None:
    facts: dict[str, Any] = {"version": greeting.version.partition("-")[0]}
    connected = _try(packets, "SHOW GLOBAL STATUS LIKE 'Threads_connected'")
    if connected and len(connected) == 2 and str(connected[1]).isdigit():
        facts["connections"] = int(connected[1])
    allowed = _try(packets, "SELECT @@max_connections")
    if allowed:
        facts["allowed"] = allowed[0]
    size = _try(
        packets,
        "SELECT SUM(data_length + index_length) FROM information_schema.tables WHERE table_schema = DATABASE()",
    )
    if size:
        facts["size_bytes"] = size[0]
    facts["in_recovery"] = _replica(packets)
    fill(context, "MariaDB" if greeting.mariadb else "MySQL", facts)
    # A query that is too slow for the probe must not go on and meet the next one.
    seconds = context.remaining()
    limit = (
        f"max_statement_time = {seconds:.3f}" if greeting.mariadb else f"max_execution_time = {int(seconds * 1000) + 1}"
    )
    _try(packets, f"SET SESSION {limit}")
    row = query(packets, spec["query"])
    context.found.fields["value"] = row[0] if row else None
    with suppress(ProbeFailed):
        packets.command(b"\x01")  # says that this is the end


def _replica(packets: Packets) -> bool | None:
    """Whether it follows another server; None when the user may not know."""
    for words in ("SHOW REPLICA STATUS", "SHOW SLAVE STATUS"):  # the second before MySQL 8.0.22
        try:
            return query(packets, words) is not None
        except _Refused as refused:
            if refused.code != 1064:
                break
    return None


class _Refused(ProbeFailed):
    """A query was refused."""

    def __init__(self, packet: bytes) -> None:
        failed = refusal(packet)
        super().__init__(failed.reason, failed.message)
        self.code = int.from_bytes(packet[1:3], "little")


def _try(packets: Packets, text: str) -> list[Any] | None:
    """First row, or None where the user may not ask that."""
    try:
        return query(packets, text)
    except _Refused:
        return None


def query(packets: Packets, text: str) -> list[Any] | None:
    """Run a query; its first row, None when there is none. Raises ProbeFailed."""
    packets.command(b"\x03" + text.encode())
    head = packets.read()
    if head[0] == 0xFF:
        raise _Refused(head)
    if head[0] == 0x00:
        return None
    if head[0] == 0xFB:
        raise ProbeFailed("proto", "the query asks for a file of this host, which it does not get")
    columns, _at = _length(head, 0)
    types = [column_type(packets.read()) for _column in range(columns or 0)]
    packets.read()  # the end of the columns
    row: list[Any] | None = None
    for _row in range(_MAX_ROWS):
        packet = packets.read()
        if packet[0] == 0xFF:
            raise _Refused(packet)
        if packet[0] == 0xFE and len(packet) < 9:
            return row
        row = row or row_values(packet, types)
    return row  # the rest is not read; the connection serves for nothing else then


def _length(packet: bytes, at: int) -> tuple[int | None, int]:
    """A number with its own length, None for NULL, and where the next thing begins."""
    first = packet[at]
    if first < 251:
        return first, at + 1
    if first == 251:
        return None, at + 1
    size = {252: 2, 253: 3, 254: 8}.get(first, 0)
    return int.from_bytes(packet[at + 1 : at + 1 + size], "little"), at + 1 + size


def column_type(packet: bytes) -> int:
    """Type of a column, from its definition."""
    at = 0
    for _text in range(6):  # catalogue, schema, and both names of table and column
        size, at = _length(packet, at)
        at += size or 0
    return packet[at + 7]  # after a length, the character set and the width


def row_values(packet: bytes, types: list[int]) -> list[Any]:
    """Values of a row: numbers as such, anything else as text."""
    values: list[Any] = []
    at = 0
    for kind in types:
        size, at = _length(packet, at)
        if size is None:
            values.append(None)
            continue
        text = packet[at : at + size].decode("utf-8", "replace")
        at += size
        values.append(number(text) if kind in _INTEGERS or kind in _FRACTIONS else text)
    return values


__all__ = [
    "Greeting",
    "Packets",
    "check",
    "column_type",
    "native_answer",
    "query",
    "read_greeting",
    "refusal",
    "row_values",
    "sha2_answer",
]
