# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests' own connection to a Redis, apart from what they test; and the words of requests that pass by."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any


class Refused(Exception):
    """Redis answers with an error."""


class Wire:
    """One connection: plain replies, errors raised."""

    def __init__(self, host: str, port: int, database: int = 0, seconds: float = 30) -> None:
        self._socket = socket.create_connection((host, port), timeout=seconds)
        self._stream = self._socket.makefile("rb")
        if database:
            self("SELECT", database)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._stream.close()
        self._socket.close()

    def __call__(self, *command: object) -> Any:
        """Send a command; return its reply, with texts as str."""
        return self.many([command])[0]

    def many(self, commands: Sequence[Sequence[object]]) -> list[Any]:
        """Send commands together; return their replies. Raises Refused for the first that is refused."""
        self._socket.sendall(b"".join(encoded(command) for command in commands))
        replies = [self._reply() for _command in commands]
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, Refused):
                raise Refused(f"{command[0]}: {reply}")
        return replies

    def hash(self, key: str) -> dict[str, str]:
        """A hash."""
        flat = self("HGETALL", key)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def info(self, section: str = "default") -> dict[str, str]:
        """What INFO says."""
        lines = (line.partition(":") for line in str(self("INFO", section)).splitlines())
        return {name: value for name, colon, value in lines if colon}

    def _reply(self) -> Any:
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            return Refused(rest.decode())
        if kind == b"+":
            return rest.decode()
        count = int(rest)
        if kind == b":":
            return count
        if count < 0:
            return None
        if kind == b"$":
            return self._stream.read(count + 2)[:-2].decode("utf-8", "surrogateescape")
        return [self._reply() for _item in range(count)]


def encoded(command: Sequence[object]) -> bytes:
    """A command as it is sent."""
    words = [word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogateescape") for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def snapshot(wire: Wire) -> dict[str, Any]:
    """Every key of a database with its type and value; sets in an order of their own."""
    keys = sorted(str(key) for key in wire("KEYS", "*"))
    if not keys:
        return {}
    kinds = wire.many([("TYPE", key) for key in keys])
    values = wire.many([(_READ[kind][0], key, *_READ[kind][1:]) for key, kind in zip(keys, kinds, strict=True)])
    return {
        key: (kind, _READ_AS[kind](value) if kind in _READ_AS else value)
        for key, kind, value in zip(keys, kinds, values, strict=True)
    }


_READ: dict[str, tuple[object, ...]] = {
    "string": ("GET",),
    "list": ("LRANGE", 0, -1),
    "set": ("SMEMBERS",),
    "zset": ("ZRANGE", 0, -1, "WITHSCORES"),
    "hash": ("HGETALL",),
    "stream": ("XRANGE", "-", "+"),
}
_READ_AS: dict[str, Callable[[list[str]], Any]] = {
    "set": sorted,
    "hash": lambda flat: dict(zip(flat[::2], flat[1::2], strict=True)),
}


def requests(stream: Any) -> Iterator[tuple[list[bytes], bytes]]:
    """The requests that a client sends, one by one: their words, and the bytes themselves."""
    while line := stream.readline():
        raw, words = [line], []
        for _word in range(int(line[1:])):
            head = stream.readline()
            body = stream.read(int(head[1:]) + 2)
            raw += [head, body]
            words.append(body[:-2])
        yield words, b"".join(raw)
