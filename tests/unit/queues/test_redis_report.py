# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What INFO, the slow log and the list of clients become."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _redis_report as report
from ansible_collections.quai.ops.plugins.module_utils._redis_link import told

INFO = """# Server
redis_version:7.0.15
uptime_in_seconds:172800
maxclients:10000
# Clients
connected_clients:12
blocked_clients:3
# Memory
used_memory:1048576
used_memory_rss:2097152
used_memory_peak:1258291
maxmemory:1073741824
maxmemory_policy:noeviction
mem_fragmentation_ratio:2.00
# Stats
rejected_connections:0
instantaneous_ops_per_sec:41
expired_keys:901
evicted_keys:0
keyspace_hits:90
keyspace_misses:10
# Replication
role:master
connected_slaves:0
# Keyspace
db0:keys=20110,expires=19800,avg_ttl=5000
db3:keys=5,expires=0,avg_ttl=0
"""


def found(info: str = INFO) -> dict[str, Any]:
    one = {**report.of_info(info), "address": "h:6379"}
    one["slow"] = {"entries": [], "length": 0, "threshold_us": 10000}
    one["clients"]["by_address"] = []
    one["warnings"] = report.warnings(one, told(info).info)
    return one


def test_of_info() -> None:
    one = found()
    assert one["memory"]["used_pct"] == 0.1 and one["memory"]["max"] == 1 << 30
    assert one["stats"]["hit_pct"] == 90.0 and one["stats"]["expired"] == 901
    assert one["keyspace"] == [
        {"database": 0, "keys": 20110, "with_ttl": 19800, "without_ttl": 310, "avg_ttl_ms": 5000},
        {"database": 3, "keys": 5, "with_ttl": 0, "without_ttl": 5, "avg_ttl_ms": None},
    ]
    assert one["warnings"] == []


def test_unknown_is_none() -> None:
    """A server that says nothing has no numbers, not zeros."""
    one = found("# Server\r\n")

    def numbers(value: Any) -> list[Any]:
        if isinstance(value, dict):
            return [one for part in value.values() for one in numbers(part)]
        return [] if isinstance(value, (str, list)) else [value]

    del one["slow"]
    assert set(numbers(one)) == {None}
    one["slow"] = {"entries": None, "length": None, "threshold_us": None}
    assert "unknown connected" in "\n".join(report.lines(one))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("used_memory:1048576", "used_memory:1020054732", "uses 95 % of its maxmemory"),
        ("evicted_keys:0", "evicted_keys:17", "has evicted 17 keys"),
        ("rejected_connections:0", "rejected_connections:2", "has refused 2 connections"),
        ("used_memory_rss:2097152", "used_memory_rss:900000000", "takes 2 times the memory"),
        ("role:master", "role:slave\nmaster_link_status:down", "has lost its master"),
        ("role:master", "role:master\naof_last_write_status:err", "append-only file"),
        ("role:master", "role:master\nloading:1", "still reads its data"),
        ("noeviction", "allkeys-lru", "queues need noeviction"),
    ],
)
def test_warnings(old: str, new: str, words: str) -> None:
    assert old in INFO
    (warning,) = found(INFO.replace(old, new))["warnings"]
    assert words in warning


def test_lines() -> None:
    assert report.lines(found()) == [
        "h:6379  Redis 7.0.15, master, up 2.0 days",
        "  memory    1.0 MiB of 1.0 GiB (0.1 %), peak 1.2 MiB, resident 2.0 MiB, noeviction",
        "  clients   12 connected, 3 blocked, 0 refused",
        "  commands  41 per second, hits 90.0 %",
        "  keys      901 expired, 0 evicted since the start",
        "  db0       20,110 keys, 310 without a TTL",
        "  db3       5 keys, 5 without a TTL",
        "  slow log  empty",
    ]


def test_slow_log_without_arguments() -> None:
    entries = [
        [2, 1700000000, 12000, [b"AUTH", b"topsecret"], b"10.0.0.1:5", b""],
        [1, 1700000001, 90000, [b"set", b"session:topsecret", b"topsecret"], b"10.0.0.1:5", b"web"],
        [0, 1700000002, 11000, [b"CONFIG", b"set", b"requirepass", b"topsecret"]],
        [0, 1700000003, 10500, [b"EVALSHA", b"9f0587731a", b"0"]],
    ]
    slow = report.slow_entries(entries)
    assert "topsecret" not in str(slow)
    assert [(one["command"], one["arguments"], one["ms"], one["client"]) for one in slow] == [
        ("SET", 2, 90.0, "web"),
        ("AUTH", 1, 12.0, None),
        ("CONFIG SET", 3, 11.0, None),
        ("EVALSHA 9f058773", 2, 10.5, None),
    ]


def test_by_address() -> None:
    clients = (
        "id=1 addr=10.0.0.1:5 flags=N cmd=get\nid=2 addr=10.0.0.1:6 flags=b cmd=bzpopmin\n"
        "id=3 addr=[::1]:6 flags=N\nid=4 addr=/run/r.sock:0 flags=U\n"
    )
    assert report.by_address(clients) == [
        {"address": "10.0.0.1", "connections": 2, "blocked": 1},
        {"address": "[::1]", "connections": 1, "blocked": 0},
        {"address": "/run/r.sock", "connections": 1, "blocked": 0},
    ]


@pytest.mark.parametrize(
    ("name", "prefix", "seen"),
    [
        ("session:abcdefgh", "session:", "session:abcd…"),
        ("user:12345:cart", "user:*:", "user:*:cart"),
        ("tok:9f86d081884c7d659a2feaa0c55ad015:x", "tok:*:", "tok:*:x"),
        ("plainname", "", "plai…"),
        ("a:b:c", "a:b:", "a:b:c"),
    ],
)
def test_names(name: str, prefix: str, seen: str) -> None:
    assert report.prefix_of(name) == prefix and report.shown(name) == seen


def test_totals() -> None:
    one, other = found(), found(INFO.replace("expired_keys:901", "expired_keys:99"))
    sums = report.totals([one, other])
    assert sums["keys"] == 40230 and sums["expired"] == 1000 and sums["without_ttl"] == 630
    other["memory"]["used"] = None
    assert report.totals([one, other])["memory"] is None


@pytest.mark.parametrize(("value", "seen"), [(None, "unknown"), (5, "5 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB")])
def test_size(value: int | None, seen: str) -> None:
    assert report.size(value) == seen
