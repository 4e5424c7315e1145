# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that a database holds, as plain data, and what differs between two of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, good

# Type -> the command that reads all of it.
_READ = {
    b"string": ("GET",),
    b"list": ("LRANGE", 0, -1),
    b"set": ("SMEMBERS",),
    b"zset": ("ZRANGE", 0, -1, "WITHSCORES"),
    b"hash": ("HGETALL",),
    b"stream": ("XRANGE", "-", "+"),
}


class Value(NamedTuple):
    """One key. C(data): str, list, frozenset or dict by kind; a stream is a list of dicts, its ids left out."""

    kind: str
    data: Any
    expires: bool


Snapshot = dict[str, Value]


def take(link: Link) -> Snapshot:
    """Read a whole database; it is a test's and small."""
    keys = sorted(link.call("KEYS", "*"))
    if not keys:
        return {}
    kinds = link.ask(*(("TYPE", key) for key in keys))
    names = [kind.encode() if isinstance(kind, str) else kind for kind in kinds]
    reads = [(_READ[name][0], key, *_READ[name][1:]) for key, name in zip(keys, names, strict=True)]
    values = link.ask(*reads)
    lives = link.ask(*(("PTTL", key) for key in keys))
    found: Snapshot = {}
    for key, name, raw, life in zip(keys, names, values, lives, strict=True):
        found[_text(key)] = Value(name.decode(), _plain(name, good(raw, "read")), life >= 0)
    return found


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _plain(kind: bytes, raw: Any) -> Any:
    if kind == b"string":
        return _text(raw)
    if kind == b"stream":
        return [_pairs(fields) for _id, fields in raw]
    items = [_text(item) for item in raw]
    if kind == b"set":
        return frozenset(items)
    if kind == b"hash":
        return dict(zip(items[::2], items[1::2], strict=True))
    if kind == b"zset":
        return list(zip(items[::2], items[1::2], strict=True))
    return items


def _pairs(fields: Any) -> dict[str, str]:
    words = [_text(field) for field in fields]
    return dict(zip(words[::2], words[1::2], strict=True))


def cleaned(stream: Value | None) -> int:
    """How many jobs the C(cleaned) events of a stream tell of."""
    return sum(int(event["count"]) for event in stream.data if event.get("event") == "cleaned") if stream else 0


def without_cleaned(value: Value) -> list[tuple[tuple[str, str], ...]]:
    """The other events of a stream."""
    return [tuple(sorted(event.items())) for event in value.data if event.get("event") != "cleaned"]


class Tolerance(NamedTuple):
    """What two snapshots may differ in. Everything else must be equal."""

    # `cleaned` events: one for each script of the package, one for each of our runs. Their sums must agree.
    cleaned_events: bool = True
    cleaned_sum: bool = True
    # Lists to which jobs were added at the end: by pages the order of those added may be another one.
    appended: Mapping[str, int] = {}  # key -> length before
    # Streams in which several jobs' events may come in another order.
    event_order: bool = True
    # Keys that are compared by something else; each is asked for by name.
    ignore: Callable[[str], bool] = lambda _key: False


EXACT = Tolerance()


def differences(left: Snapshot, right: Snapshot, tolerance: Tolerance = EXACT) -> list[str]:
    """Lines that say what differs; none when the two are equal."""
    lines = []
    for key in sorted({*left, *right}):
        if tolerance.ignore(key):
            continue
        one, other = left.get(key), right.get(key)
        if one == other:
            continue
        kind = (one or other).kind  # type: ignore[union-attr]
        if kind == "stream":
            lines += _streams(key, one, other, tolerance)
        elif one is None or other is None:
            lines.append(f"{key}: {_short(one)} <> {_short(other)}")
        elif key in tolerance.appended and _same_but_order(one, other, tolerance.appended[key]):
            continue
        elif one.kind != other.kind or one.expires != other.expires:
            lines.append(f"{key}: {one.kind}, expires {one.expires} <> {other.kind}, expires {other.expires}")
        elif one.kind == "hash":
            lines += [
                f"{key} {name}: {one.data.get(name)!r} <> {other.data.get(name)!r}"
                for name in sorted({*one.data, *other.data})
                if one.data.get(name) != other.data.get(name)
            ]
        elif one.kind == "set":
            lines.append(f"{key}: {sorted(one.data - other.data)} <> {sorted(other.data - one.data)}")
        else:
            lines.append(f"{key}: {_short(one)} <> {_short(other)}")
    return lines


def _streams(key: str, one: Value | None, other: Value | None, tolerance: Tolerance) -> list[str]:
    lines = []
    if tolerance.cleaned_events:
        if tolerance.cleaned_sum and cleaned(one) != cleaned(other):
            lines.append(f"{key}: cleaned {cleaned(one)} <> {cleaned(other)}")
        first, second = (without_cleaned(value) if value else [] for value in (one, other))
    else:
        first, second = ([tuple(sorted(e.items())) for e in value.data] if value else [] for value in (one, other))
    if tolerance.event_order:
        first, second = sorted(first), sorted(second)
    if first != second:
        lacking = list((Counter(first) - Counter(second)).elements())
        more = list((Counter(second) - Counter(first)).elements())
        lines.append(f"{key}: events {lacking[:5]} <> {more[:5]}" if lacking or more else f"{key}: order of events")
    return lines


def _same_but_order(one: Value, other: Value, before: int) -> bool:
    return bool(one.data[:before] == other.data[:before] and sorted(one.data[before:]) == sorted(other.data[before:]))


def _short(value: Value | None) -> str:
    if value is None:
        return "nothing"
    text = repr(value.data)
    return text if len(text) <= 300 else f"{text[:300]}… ({len(text)})"


__all__ = ["Snapshot", "Tolerance", "Value", "cleaned", "differences", "take", "without_cleaned"]
