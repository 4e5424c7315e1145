# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of real servers, and both modules for Redis as Ansible calls them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils._redis_link import RedisFailed, Server
from ansible_collections.quai.ops.plugins.module_utils._redis_report import Wanted, report
from ansible_collections.quai.ops.plugins.modules import redis_info, redis_keys

from tests.module import outcome
from tests.queues import masters
from tests.queues.place import Database, Place

SECRET = "gh7-Kq#2 pw"
Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a module's C(main) with options; returns what it prints."""

    def run(module: ModuleType, options: dict[str, Any], *, check: bool = False, **more: Any) -> dict[str, Any]:
        return outcome(module, {**options, **more, "_ansible_check_mode": check, "_ansible_diff": True}, capsys)

    return run


@pytest.fixture(params=["redis", "valkey"])
def database(request: pytest.FixtureRequest) -> Database:
    """Both servers, empty."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Database)
    return found


def test_report(database: Database) -> None:
    link = database.link
    link.ask(("CONFIG", "RESETSTAT"), ("SLOWLOG", "RESET"), ("CONFIG", "SET", "slowlog-log-slower-than", "0"))
    link.ask(("SET", "session:topsecret", SECRET), ("SET", "cache:1", "x" * 5000, "EX", 100), ("GET", "none"))
    link.ask(("GET", "cache:1"), ("SET", "gone", 1, "PX", 1), ("CONFIG", "SET", "slowlog-log-slower-than", "10000"))
    with Server(database.options) as server:
        before = link.facts().info["total_commands_processed"]
        found = report(server, Wanted(slow=50, sample=100))
    (node,) = found["nodes"]
    assert node["kind"].lower() == database.program.partition("-")[0]
    assert node["role"] == "master" and node["loading"] is False and node["uptime_s"] >= 0
    assert node["stats"]["commands"] >= int(before) and node["stats"]["evicted"] == 0
    assert node["clients"]["connected"] >= 2 and sum(one["connections"] for one in node["clients"]["by_address"]) >= 2
    (keyspace,) = [one for one in node["keyspace"] if one["database"] == 0]
    assert keyspace["keys"] in (2, 3) and keyspace["without_ttl"] == 1
    assert node["memory"]["used"] > 100_000 and node["memory"]["max"] is None
    slow = node["slow"]["entries"]
    assert {"SET", "GET", "CONFIG SET"} <= {one["command"] for one in slow}
    assert node["slow"]["threshold_us"] == 10000 and node["slow"]["length"] >= len(slow)
    (biggest, *_others) = node["sample"]["biggest"]
    assert biggest["key"] == "cache:1" and biggest["bytes"] > 5000 and biggest["type"] == "string"
    prefixes = {one["prefix"]: one for one in node["sample"]["by_prefix"]}
    assert prefixes["session:"]["without_ttl"] == 1 and prefixes["cache:"]["without_ttl"] == 0
    assert "topsecret" not in str(found) and SECRET not in str(found)
    assert found["totals"]["memory"] == node["memory"]["used"]
    assert found["report"][0].startswith(f"{node['address']}  {node['kind']} {node['version']}, master")


def test_what_may_not_be_asked_is_unknown(redis: Database) -> None:
    """A user who may only run INFO gets the rest as unknown, and is told."""
    redis.link.call("ACL", "SETUSER", "looker", "on", f">{SECRET}", "+info")
    try:
        with Server({**redis.options, "user": "looker", "password": SECRET}) as server:
            (node,) = report(server, Wanted())["nodes"]
        assert node["slow"] == {"entries": None, "length": None, "threshold_us": None}
        assert node["clients"]["by_address"] is None and node["memory"]["used"] > 0
        assert [one.partition(":")[0] for one in node["warnings"]] == [
            "does not answer SLOWLOG",
            "does not answer CLIENT LIST",
        ]
        redis.link.call("ACL", "SETUSER", "looker", "-info")
        with (
            Server({**redis.options, "user": "looker", "password": SECRET}) as server,
            pytest.raises(RedisFailed, match=r"INFO is answered with NOPERM"),
        ):
            report(server, Wanted())
    finally:
        redis.link.call("ACL", "DELUSER", "looker")


def test_expired_and_evicted_are_counted(packages: Place) -> None:
    database = packages.serve("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru")
    link = database.link
    for number in range(300):
        link.call("SET", f"a:{number}", "x" * 10_000)
    (node,) = report(database.server, Wanted())["nodes"]
    assert node["stats"]["evicted"] > 0 and node["memory"]["used_pct"] > 80
    words = " ".join(node["warnings"])
    assert "keys since it was started" in words and "queues need noeviction" in words


def test_cluster(packages: Place) -> None:
    three = masters.cluster(packages)
    with Server(three[0].options) as server:
        for number in range(90):
            server.at(f"k{number}").call("SET", f"k{number}", 1)
        found = report(server, Wanted(sample=10))
    assert found["cluster"] and len(found["nodes"]) == masters.MASTERS
    assert found["totals"]["keys"] == 90
    assert len({node["address"] for node in found["nodes"]}) == masters.MASTERS


def test_module_info(redis: Database, call: Call) -> None:
    found = call(redis_info, redis.options, sample=5)
    assert found["changed"] is False and found["report"] and found["warnings_found"] == []
    assert call(redis_info, redis.options, sample=-1)["msg"] == "sample: -1 is not from 0 to 100000"
    failed = call(redis_info, {"url": f"redis://:{'topsecret'}@{redis.options['host']}:{redis.port}"})
    assert failed["failed"] and failed["reason"] == "auth" and "topsecret" not in str(failed)


def test_module_keys(redis: Database, call: Call) -> None:
    """Check mode, run and second run; the diff; refusals."""
    link = redis.link
    for number in range(20):
        link.call("SET", f"expired:{number}", 1)
        link.call("SET", f"session:{number}", 1)
    wanted = [{"pattern": "expired:*"}, {"pattern": "session:*", "without_ttl": True, "action": "expire", "ttl": "1d"}]
    planned = call(redis_keys, redis.options, rules=wanted, check=True, max_remove="100%")
    assert planned["changed"] and link.call("DBSIZE") == 40
    found = call(redis_keys, redis.options, rules=wanted, max_remove=40)
    assert found["changed"] and (found["removed"], found["expiring"], found["keys"]) == (20, 20, 40)
    for name in ("removed", "expiring", "examined", "complete", "diff"):
        assert found[name] == planned[name], name
    # Removing keys may make Redis walk the rest in another order, so the samples need not be the same.
    rules = [[{**rule, "samples": len(rule["samples"])} for rule in one["rules"]] for one in (found, planned)]
    assert rules[0] == rules[1]
    assert found["diff"]["before"].splitlines() == [
        "expired:*: 20 keys",
        "session:* (without a TTL, get a TTL of 86400 s): 20 keys",
    ]
    assert "20" not in found["diff"]["after"]
    again = call(redis_keys, redis.options, rules=wanted)
    assert again["changed"] is False and again["diff"] == {"before": "", "after": ""}
    failed = call(redis_keys, redis.options, rules=[{"pattern": "session:*"}], max_remove="10%")
    assert failed["failed"] and "nothing was changed" in failed["msg"] and link.call("DBSIZE") == 20
    for options, words in (
        ({"rules": [{"pattern": "*"}]}, "everything: true"),
        ({"rules": [{"pattern": "a"}], "duty": 2}, "duty: 2.0 is not from 0.01 to 1"),
        ({"rules": [{"pattern": "a"}], "url": "redis://h"}, "mutually exclusive"),
        ({"rules": [{"pattern": "a", "types": ["json"]}]}, "json"),
    ):
        failed = call(redis_keys, redis.options, **options)
        assert failed["failed"] and words in failed["msg"]
    assert link.call("DBSIZE") == 20


def test_module_keys_broken_off(packages: Place, call: Call) -> None:
    """What was removed until an error is told, because it stays removed."""
    database = packages.serve()
    link = database.link
    link.call("EVAL", "for i = 1, 5000 do redis.call('SET', 'a:' .. i, 1) end", 0)
    # The user may not see this one key; it is somewhere in the middle.
    link.call("SET", "b:1", 1)
    link.call("ACL", "SETUSER", "half", "on", f">{SECRET}", "~a:*", "+@all")
    options = {**database.options, "user": "half", "password": SECRET, "chunk_ms": 0.1}
    failed = call(redis_keys, options, rules=[{"pattern": "[ab]:*"}])
    assert failed["failed"] and failed["reason"] == "auth" and not failed["complete"]
    assert failed["removed"] == 5001 - link.call("DBSIZE") and failed["changed"] == (failed["removed"] > 0)
    assert SECRET not in str(failed)
