# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RESP 2, the protocol of Redis and Valkey: commands as bytes, replies as plain data.

A reply is a str (simple string), bytes (bulk string), int, None, a list of replies, or a Refusal: an error is a value
here, because one of many commands sent together may fail without the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, Union

# No probe or clean-up reads values that are larger; what announces more is no Redis, or not what was asked for.
MAX_BULK: Final = 64 * 1024 * 1024
MAX_ITEMS: Final = 4_000_000
MAX_DEPTH: Final = 16

Argument = Union[str, bytes, int, float]
Reply = Any


class Stream(Protocol):
    """What carries it."""

    def send(self, data: bytes) -> None:
        """Send all of it."""

    def recv_line(self, limit: int = ...) -> bytes:
        """Return a line without its end."""

    def recv_exactly(self, size: int) -> bytes:
        """Return that many bytes."""


class NotResp(Exception):
    """The other side speaks another protocol."""


class Refusal:
    """An error reply. C(code) is its first word, such as NOAUTH; C(text) is all of it."""

    __slots__ = ("code", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.code = text.partition(" ")[0]

    def __repr__(self) -> str:
        return f"Refusal({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Refusal) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


def encode(arguments: Sequence[Argument]) -> bytes:
    """A command as the bytes to send."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode("utf-8", "surrogateescape")
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


def read_reply(stream: Stream, depth: int = 0) -> Reply:
    """Read one reply. Raises NotResp, and what the stream raises."""
    line = stream.recv_line()
    kind, rest = line[:1], line[1:]
    if kind == b"+":
        return rest.decode("utf-8", "replace")
    if kind == b"-":
        return Refusal(rest.decode("utf-8", "replace"))
    digits = rest[1:] if rest[:1] == b"-" else rest
    if kind not in (b":", b"$", b"*") or not digits.isdigit() or len(digits) > 20:
        raise NotResp(f"answers {line[:40]!r}, which is not the protocol of Redis")
    count = int(rest)
    if kind == b":":
        return count
    if count == -1:
        return None
    return _bulk(stream, count) if kind == b"$" else _items(stream, count, depth)


def _bulk(stream: Stream, size: int) -> bytes:
    if not 0 <= size <= MAX_BULK:
        raise NotResp(f"announces a value of {size} bytes; at most {MAX_BULK} are read")
    data = stream.recv_exactly(size + 2)
    if data[-2:] != b"\r\n":
        raise NotResp(f"ends a value with {data[-2:]!r} in place of CR LF")
    return data[:-2]


def _items(stream: Stream, count: int, depth: int) -> list[Reply]:
    if not 0 <= count <= MAX_ITEMS or depth >= MAX_DEPTH:
        raise NotResp(f"announces a list of {count} items at depth {depth}")
    return [read_reply(stream, depth + 1) for _item in range(count)]


class Client:
    """Commands and their replies over one connection."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def ask(self, commands: Iterable[Sequence[Argument]]) -> list[Reply]:
        """Send commands together and return their replies in the same order."""
        encoded = [encode(command) for command in commands]
        self._stream.send(b"".join(encoded))
        return [read_reply(self._stream) for _command in encoded]


def text(reply: Reply) -> str:
    """A string reply as text; empty for anything else."""
    if isinstance(reply, bytes):
        return reply.decode("utf-8", "replace")
    return reply if isinstance(reply, str) else ""


def number(reply: Reply) -> int | None:
    """An integer reply, or a string that is one; None for anything else."""
    if isinstance(reply, int):
        return reply
    digits = text(reply)
    return int(digits) if digits.lstrip("-").isdigit() else None


def pairs(reply: Reply) -> dict[str, Reply]:
    """A list of names and values in turn, as HGETALL and XINFO return them; empty for anything else."""
    if not isinstance(reply, list):
        return {}
    return {text(name): value for name, value in zip(reply[::2], reply[1::2])}


__all__ = [
    "Argument",
    "Client",
    "NotResp",
    "Refusal",
    "Reply",
    "Stream",
    "encode",
    "number",
    "pairs",
    "read_reply",
    "text",
]
