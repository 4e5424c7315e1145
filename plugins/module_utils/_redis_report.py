# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Redis or Valkey says of itself: memory, clients, keys that expired or were evicted, slow commands, keyspace.

It only reads. Arguments of slow commands and whole names of keys are in no result, because both may be secrets. A
number that is not known is None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, RedisFailed, Server, doubts, good, told
from ansible_collections.quai.ops.plugins.module_utils._resp import Refusal, Reply, number, text

# Shares above which something is worth a warning.
FULL_PCT: Final = 90.0
FRAGMENTED: Final = 1.5
# Below this, fragmentation says nothing, bytes.
_FRAGMENTS_OF: Final = 256 * 1024 * 1024
_CLIENTS: Final = 10
_BIGGEST: Final = 10
_PREFIXES: Final = 20
_PAGE: Final = 200
_SHOWN: Final = 4
_KIB: Final = 1024.0


class Wanted(NamedTuple):
    """What to ask for beside INFO. 0 for nothing."""

    slow: int = 10  # entries of the slow log
    sample: int = 0  # keys whose size is measured, on each node


def report(server: Server, wanted: Wanted) -> dict[str, Any]:
    """Ask every master. Raises RedisFailed."""
    nodes = [node(link, wanted) for link in server.nodes()]
    return {
        "cluster": server.cluster,
        "nodes": nodes,
        "totals": totals(nodes),
        "warnings": [f"{one['address']} {warning}" for one in nodes for warning in one["warnings"]],
        "report": [line for one in nodes for line in lines(one)],
    }


def node(link: Link, wanted: Wanted) -> dict[str, Any]:
    """Ask one server. Raises RedisFailed."""
    info, slow, length, threshold, clients = link.ask(
        ("INFO",),
        ("SLOWLOG", "GET", max(1, wanted.slow)),
        ("SLOWLOG", "LEN"),
        ("CONFIG", "GET", "slowlog-log-slower-than"),
        ("CLIENT", "LIST"),
    )
    answer = text(good(info, f"{link.label}: INFO"))
    found = of_info(answer)
    found["address"] = link.label
    found["slow"] = {
        "entries": slow_entries(slow)[: wanted.slow] if isinstance(slow, list) else None,
        "length": None if isinstance(length, Refusal) else number(length),
        "threshold_us": number(threshold[1]) if isinstance(threshold, list) and len(threshold) == 2 else None,
    }
    found["clients"]["by_address"] = None if isinstance(clients, Refusal) else by_address(text(clients))
    found["warnings"] = warnings(found, told(answer).info)
    refused = (("SLOWLOG", slow), ("CLIENT LIST", clients))
    found["warnings"] += [f"does not answer {name}: {one.text}" for name, one in refused if isinstance(one, Refusal)]
    found["sample"] = sample(link, wanted.sample) if wanted.sample else None
    return found


def of_info(answer: str) -> dict[str, Any]:
    """What INFO says, by what it is about."""
    facts = told(answer)
    info = facts.info

    def whole(name: str) -> int | None:
        value = info.get(name, "")
        return int(value) if value.lstrip("-").isdigit() else None

    def real(name: str) -> float | None:
        try:
            return float(info[name])
        except (KeyError, ValueError):
            return None

    def flag(name: str, yes: str) -> bool | None:
        return info[name] == yes if info.get(name) else None

    used, most = whole("used_memory"), whole("maxmemory")
    hits, misses = whole("keyspace_hits"), whole("keyspace_misses")
    return {
        "kind": facts.kind,
        "version": facts.version or None,
        "role": facts.role or None,
        "loading": flag("loading", "1"),
        "uptime_s": whole("uptime_in_seconds"),
        "memory": {
            "used": used,
            "peak": whole("used_memory_peak"),
            "rss": whole("used_memory_rss"),
            "dataset": whole("used_memory_dataset"),
            "max": most or None,  # 0 is no limit
            "used_pct": share(used, most),
            "policy": info.get("maxmemory_policy") or None,
            "fragmentation": real("mem_fragmentation_ratio"),
        },
        "clients": {
            "connected": whole("connected_clients"),
            "blocked": whole("blocked_clients"),
            "max": whole("maxclients"),
            "rejected": whole("rejected_connections"),
        },
        "stats": {
            "commands": whole("total_commands_processed"),
            "commands_per_s": whole("instantaneous_ops_per_sec"),
            "hits": hits,
            "misses": misses,
            "hit_pct": share(hits, None if hits is None or misses is None else hits + misses),
            "expired": whole("expired_keys"),
            "evicted": whole("evicted_keys"),
            "bytes_in": whole("total_net_input_bytes"),
            "bytes_out": whole("total_net_output_bytes"),
            "cpu_s": None
            if real("used_cpu_sys") is None or real("used_cpu_user") is None
            else round((real("used_cpu_sys") or 0.0) + (real("used_cpu_user") or 0.0), 2),
        },
        "persistence": {
            "last_save_at": whole("rdb_last_save_time"),
            "last_save_ok": flag("rdb_last_bgsave_status", "ok"),
            "changes_since_save": whole("rdb_changes_since_last_save"),
            "aof": flag("aof_enabled", "1"),
            "aof_ok": flag("aof_last_write_status", "ok"),
        },
        "replication": {
            "replicas": whole("connected_slaves"),
            "master": f"{info['master_host']}:{info.get('master_port', '')}" if info.get("master_host") else None,
            "master_link_up": flag("master_link_status", "up"),
        },
        "keyspace": keyspace(info),
    }


def share(part: int | None, whole: int | None) -> float | None:
    """Percentage; None when it is not known or there is no whole."""
    return round(100.0 * part / whole, 1) if part is not None and whole else None


def keyspace(info: Mapping[str, str]) -> list[dict[str, Any]]:
    """Keys by database; those that are empty are not listed."""
    found = []
    for name, value in info.items():
        if not (name.startswith("db") and name[2:].isdigit() and value.startswith("keys=")):
            continue
        parts = dict(part.partition("=")[::2] for part in value.split(","))
        keys, expires = _digits(parts.get("keys")), _digits(parts.get("expires"))
        found.append(
            {
                "database": int(name[2:]),
                "keys": keys,
                "with_ttl": expires,
                "without_ttl": None if keys is None or expires is None else keys - expires,
                "avg_ttl_ms": _digits(parts.get("avg_ttl")) or None,  # 0 is not measured yet
            }
        )
    return found


def _digits(value: str | None) -> int | None:
    return int(value) if value is not None and value.isdigit() else None


def slow_entries(entries: Sequence[Any]) -> list[dict[str, Any]]:
    """The slow log, the slowest first, without arguments: a value, a key or a password may be among them."""
    found = []
    for entry in entries:
        words = [text(one) for one in entry[3]]
        found.append(
            {
                "command": _command(words),
                "arguments": len(words) - 1,
                "ms": round(int(entry[2]) / 1000, 3),
                "at": int(entry[1]),
                "client": text(entry[5]) or None if len(entry) > 5 else None,
            }
        )
    return sorted(found, key=lambda one: -one["ms"])


# Commands whose second word says what they do.
_CONTAINERS: Final = frozenset(
    (
        *("ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "LATENCY", "MEMORY", "MODULE"),
        *("OBJECT", "PUBSUB", "SCRIPT", "SLOWLOG", "XGROUP", "XINFO"),
    )
)


def _command(words: Sequence[str]) -> str:
    first = words[0].upper() if words else ""
    if first in _CONTAINERS and len(words) > 1 and words[1].isalpha():
        return f"{first} {words[1].upper()}"
    # The digest of a script tells which one it was, and nothing else.
    return f"{first} {words[1][:8]}" if first in ("EVALSHA", "EVALSHA_RO") and len(words) > 1 else first


def by_address(clients: str) -> list[dict[str, Any]]:
    """How many connections come from where, most first."""
    counts: Counter[str] = Counter()
    blocked: Counter[str] = Counter()
    for line in clients.splitlines():
        facts = dict(part.partition("=")[::2] for part in line.split(" "))
        address = facts.get("addr", "").rpartition(":")[0] or facts.get("addr", "")
        counts[address] += 1
        blocked[address] += "b" in facts.get("flags", "")
    return [
        {"address": address, "connections": count, "blocked": blocked[address]}
        for address, count in counts.most_common(_CLIENTS)
    ]


def warnings(found: Mapping[str, Any], info: Mapping[str, str]) -> list[str]:
    """What somebody should look at, each the end of a sentence."""
    said = doubts(info)
    memory, stats, clients = found["memory"], found["stats"], found["clients"]
    if found["loading"]:
        said.append("still reads its data")
    if found["replication"]["master_link_up"] is False:
        said.append("is a replica that has lost its master")
    if memory["used_pct"] is not None and memory["used_pct"] >= FULL_PCT:
        said.append(f"uses {memory['used_pct']:.0f} % of its maxmemory")
    if stats["evicted"]:
        said.append(f"has evicted {stats['evicted']} keys since it was started")
    if clients["rejected"]:
        said.append(f"has refused {clients['rejected']} connections since it was started (maxclients)")
    if (memory["fragmentation"] or 0) > FRAGMENTED and (memory["rss"] or 0) > _FRAGMENTS_OF:
        said.append(f"takes {memory['fragmentation']:g} times the memory that it uses; MEMORY PURGE may give some back")
    if found["persistence"]["aof_ok"] is False:
        said.append("could not write its append-only file")
    return said


def sample(link: Link, most: int) -> dict[str, Any]:
    """Measure the first keys that SCAN gives, which are as good as random ones. Raises RedisFailed."""
    prefixes: dict[str, list[int]] = {}
    biggest: list[tuple[int, str, str]] = []
    seen, total = 0, 0
    cursor: Reply = b"0"
    while seen < most:
        cursor, page = good(link.call("SCAN", cursor, "COUNT", min(_PAGE, most)), "SCAN")
        names = page[: most - seen]
        replies = link.ask(*[command for name in names for command in _measured(name)])
        for position, name in enumerate(names):
            size, kind, left = replies[position * 3 : position * 3 + 3]
            if isinstance(size, Refusal):
                raise RedisFailed("other", f"{link.label}: MEMORY USAGE is answered with {size.text[:200]}")
            if size is None:
                continue  # gone since
            seen, total = seen + 1, total + int(size)
            facts = prefixes.setdefault(prefix_of(text(name)), [0, 0, 0])
            facts[0] += 1
            facts[1] += int(size)
            facts[2] += number(left) == -1
            biggest.append((int(size), shown(text(name)), text(kind)))
        biggest = sorted(biggest, reverse=True)[:_BIGGEST]
        if cursor in (b"0", "0"):
            break
    ordered = sorted(prefixes.items(), key=lambda one: -one[1][1])[:_PREFIXES]
    return {
        "keys": seen,
        "bytes": total,
        "by_prefix": [
            {"prefix": prefix, "keys": keys, "bytes": size, "without_ttl": forever}
            for prefix, (keys, size, forever) in ordered
        ],
        "biggest": [{"key": name, "type": kind, "bytes": size} for size, name, kind in biggest],
    }


def _measured(name: Any) -> list[tuple[Any, ...]]:
    return [("MEMORY", "USAGE", name), ("TYPE", name), ("PTTL", name)]


def prefix_of(name: str) -> str:
    """What groups keys: all up to the last colon, with * for parts that look like ids; empty for a name without one."""
    parts = name.split(":")[:-1]
    return ":".join("*" if _is_id(part) else part for part in parts) + ":" if parts else ""


def shown(name: str) -> str:
    """The name of a key for people. What stands behind its last colon may be a secret: little of it is shown."""
    last = name.rpartition(":")[2]
    return prefix_of(name) + (last if len(last) <= _SHOWN else f"{last[:_SHOWN]}…")


def _is_id(part: str) -> bool:
    digits = sum(one.isdigit() for one in part)
    return part.isdigit() or len(part) > 24 or (len(part) >= 8 and digits >= 3)


def totals(nodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums over the nodes; None when one of them does not say."""

    def added(*path: str) -> int | None:
        values = []
        for one in nodes:
            value: Any = one
            for name in path:
                value = value[name]
            values.append(value)
        return None if None in values else sum(values)

    keys = [one for node_ in nodes for one in node_["keyspace"]]
    return {
        "keys": sum(one["keys"] or 0 for one in keys),
        "without_ttl": None
        if any(one["without_ttl"] is None for one in keys)
        else sum(one["without_ttl"] for one in keys),
        "memory": added("memory", "used"),
        "clients": added("clients", "connected"),
        "expired": added("stats", "expired"),
        "evicted": added("stats", "evicted"),
        "commands_per_s": added("stats", "commands_per_s"),
    }


def lines(one: Mapping[str, Any]) -> list[str]:
    """A server in a few lines for people."""
    memory, clients, stats, slow = one["memory"], one["clients"], one["stats"], one["slow"]
    limit = f" of {size(memory['max'])} ({memory['used_pct']:g} %)" if memory["used_pct"] is not None else ", no limit"
    used = f"{size(memory['used'])}{limit}, peak {size(memory['peak'])}, resident {size(memory['rss'])}"
    refused = f"{_or(clients['blocked'])} blocked, {_or(clients['rejected'])} refused"
    rows = [
        ("memory", f"{used}, {_or(memory['policy'])}"),
        ("clients", f"{_or(clients['connected'])} connected, {refused}"),
        ("commands", f"{_or(stats['commands_per_s'])} per second, hits {_or(stats['hit_pct'])} %"),
        ("keys", f"{_or(stats['expired'])} expired, {_or(stats['evicted'])} evicted since the start"),
        *(
            (f"db{db['database']}", f"{_or(db['keys'])} keys, {_or(db['without_ttl'])} without a TTL")
            for db in one["keyspace"]
        ),
    ]
    if slow["entries"]:
        worst = slow["entries"][0]
        rows.append(("slow log", f"{_or(slow['length'])} entries, the slowest {worst['command']} {worst['ms']:g} ms"))
    elif slow["entries"] is not None:
        rows.append(("slow log", "empty" if slow["length"] == 0 else f"{_or(slow['length'])} entries"))
    uptime = _or(None if one["uptime_s"] is None else round(one["uptime_s"] / 86400, 1))
    head = f"{one['address']}  {one['kind']} {_or(one['version'])}, {_or(one['role'])}, up {uptime} days"
    return [
        head,
        *(f"  {name:<9} {value}" for name, value in rows),
        *(f"  warning   {said}" for said in one["warnings"]),
    ]


def _or(value: Any) -> str:
    return "unknown" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def size(value: int | None) -> str:
    """A number of bytes for people."""
    if value is None:
        return "unknown"
    amount, unit = float(value), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < _KIB or unit == "TiB":
            break
        amount /= _KIB
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


__all__ = [
    "Wanted",
    "by_address",
    "keyspace",
    "lines",
    "node",
    "of_info",
    "prefix_of",
    "report",
    "sample",
    "share",
    "shown",
    "size",
    "slow_entries",
    "totals",
    "warnings",
]
