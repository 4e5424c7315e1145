# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing keys by pattern in real servers: what goes, what stays, what a dry run says, and what is refused."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils._redis_keys import (
    KeyPolicy,
    KeyRule,
    KeysOutcome,
    KeysProblem,
    Tally,
    clean,
    rules,
)
from ansible_collections.quai.ops.plugins.module_utils._redis_link import RedisFailed, Server, good, key_slot
from ansible_collections.quai.ops.plugins.module_utils._resp import text

from tests.queues import masters
from tests.queues.place import PACKAGES, Database, Node, Place

Raw = list[dict[str, Any]]


def run(database: Database, raw: Raw, *, dry: bool = False, **policy: Any) -> KeysOutcome:
    """Clean one database."""
    wanted = rules(raw, everything=policy.pop("everything", False))
    return clean(database.server, wanted, KeyPolicy(**policy), dry=dry)


def keys(database: Database) -> dict[str, int]:
    """All keys, with their time to live rounded to seconds; -1 for none."""
    link = database.link
    names = sorted(link.call("KEYS", "*"))
    left = link.ask(*[("PTTL", name) for name in names])
    return {text(name): one if one < 0 else round(one / 1000) for name, one in zip(names, left, strict=True)}


def writes(database: Database) -> int:
    """How often the server's data was changed."""
    return int(database.link.facts().info["rdb_changes_since_last_save"])


def put(database: Database, *names: str, ttl: int | None = None, value: str = "x") -> None:
    """Write strings, with a time to live in seconds."""
    more = () if ttl is None else ("EX", ttl)
    for start in range(0, len(names), 1000):
        replies = database.link.ask(*[("SET", name, value, *more) for name in names[start : start + 1000]])
        assert set(replies) == {"OK"}


@pytest.fixture(params=["redis", "valkey"])
def database(request: pytest.FixtureRequest) -> Database:
    """Both servers, empty."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Database)
    return found


def test_expired_and_sessions(database: Database) -> None:
    """What TEC-10 asks for; a second run finds nothing and writes nothing."""
    put(database, *(f"expired:{i}" for i in range(1200)))
    put(database, *(f"session:old{i}" for i in range(700)))
    put(database, *(f"session:new{i}" for i in range(300)), ttl=500)
    put(database, "user:1", "xexpired:1", "session", "expired")
    wanted: Raw = [{"pattern": "expired:*"}, {"pattern": "session:*", "without_ttl": True}]
    planned = run(database, wanted, dry=True)
    assert len(keys(database)) == 2204
    found = run(database, wanted)
    assert [one.done for one in found.rules] == [1200, 700] == [one.done for one in planned.rules]
    assert found.rules[1].kept["ttl"] == 300 and found.examined == 2200 and found.complete
    assert found.keys == 2204
    left = keys(database)
    assert len(left) == 304 and {"user:1", "xexpired:1", "session", "expired"} <= set(left)
    before = writes(database)
    again = run(database, wanted)
    assert again.done == 0 and writes(database) == before


def test_expire_never_lengthens(database: Database) -> None:
    put(database, "session:1", "session:2")
    put(database, "session:short", ttl=100)
    put(database, "session:long", ttl=900_000)
    wanted: Raw = [{"pattern": "session:*", "action": "expire", "ttl": "1h"}]
    assert run(database, wanted, dry=True).done == 3
    assert keys(database)["session:1"] == -1
    found = run(database, wanted)
    assert found.done == 3 and found.rules[0].kept["ttl"] == 1
    left = keys(database)
    assert left["session:short"] <= 100
    assert all(3590 <= left[f"session:{one}"] <= 3600 for one in ("1", "2", "long"))
    before = writes(database)
    assert run(database, wanted).done == 0 and writes(database) == before


def test_conditions(database: Database) -> None:
    """Types, times to live and idle time, each alone and together; the first rule that holds decides."""
    link = database.link
    put(database, "a:forever")
    put(database, "a:hour", ttl=3600)
    put(database, "a:month", ttl=30 * 86400)
    link.ask(
        ("HSET", "a:hash", "f", 1), ("RPUSH", "a:list", 1), ("ZADD", "a:zset", 1, 1), ("XADD", "a:stream", "*", "f", 1)
    )
    link.call("RESTORE", "a:idle", 0, link.call("DUMP", "a:forever"), "IDLETIME", 5000)

    def would(**rule: Any) -> tuple[int, dict[str, int]]:
        (one,) = run(database, [{"pattern": "a:*", **rule}], dry=True).rules
        assert one.done + sum(one.kept.values()) == 8
        return one.done, {reason: count for reason, count in one.kept.items() if count}

    assert would() == (8, {})
    assert would(types=["string"]) == (4, {"type": 4})
    assert would(types=["hash", "list", "zset", "stream"]) == (4, {"type": 4})
    assert would(without_ttl=True) == (6, {"ttl": 2})
    assert would(ttl_above="7d") == (1, {"ttl": 7})
    assert would(ttl_above="59m") == (2, {"ttl": 6})
    assert would(idle_for="4000s") == (1, {"idle": 7})
    assert would(idle_for="6000s") == (0, {"idle": 8})
    assert would(types=["hash"], without_ttl=True, limit=5) == (1, {"type": 7})
    assert would(limit=3) == (3, {"limit": 5})
    two: Raw = [
        {"pattern": "a:*", "types": ["string"], "limit": 1},
        {"pattern": "a:?[a-z]*", "types": ["string", "hash", "list"]},
    ]
    found = run(database, two)
    # What a rule takes up to its limit is not left to the next one.
    assert [one.done for one in found.rules] == [1, 2]
    assert found.rules[0].kept["limit"] == 3 and found.rules[1].kept["type"] == 2
    # Looking at a key does not make it young: nobody but us has seen it.
    idle = [number for number in link.ask(("OBJECT", "IDLETIME", "a:idle")) if isinstance(number, int)]
    assert not idle or idle[0] >= 5000


def test_idle_is_not_known_under_lfu(packages: Place) -> None:
    database = packages.serve("--maxmemory-policy", "allkeys-lfu", "--maxmemory", "100mb")
    put(database, "a:1")
    with pytest.raises(KeysProblem, match=r"idle_for: .* maxmemory-policy is allkeys-lfu"):
        run(database, [{"pattern": "a:*", "idle_for": "1d"}])
    found = run(database, [{"pattern": "a:*"}])
    assert found.done == 1 and "queues need noeviction" in found.warnings[0]


def test_protected(database: Database) -> None:
    put(database, "cache:config:1", "cache:config:2", "cache:page:1", "cache:[x]", "other:1")
    found = run(database, [{"pattern": "cache:*"}], protected=("cache:config:*", "cache:\\[x\\]"))
    assert found.done == 1 and found.rules[0].kept["protected"] == 3
    assert set(keys(database)) == {"cache:config:1", "cache:config:2", "cache:[x]", "other:1"}


@pytest.mark.parametrize("prefix", ["bull", "jobs", "{x}", "a:b"])
@pytest.mark.parametrize("package", PACKAGES)
def test_queues_are_kept(package: str, prefix: str, redis: Database, node: Callable[[str], Node]) -> None:
    """Nothing that a real library writes for a queue is removed, whatever the pattern; what stands beside it is."""
    real = node(package)
    where = {"redis": redis.node, "queue": "mail", "prefix": prefix}
    jobs: list[dict[str, Any]] = [{"name": "a", "data": {"fail": i == 1}} for i in range(5)]
    jobs += [{"name": "d", "data": {}, "opts": {"delay": 60_000}}, {"name": "p", "data": {}, "opts": {"priority": 3}}]
    real.call("add", {**where, "jobs": jobs})
    real.call("work", {**where, "count": 2})
    real.call("take", {**where, "count": 1})
    queue = keys(redis)
    assert len(queue) > 8 and all(name.startswith(f"{prefix}:mail:") for name in queue)
    put(redis, f"{prefix}:cache:1", f"{prefix}x:mail:1", "mail:1")
    patterns = [{"pattern": "*"}]
    planned = run(redis, patterns, dry=True, everything=True)
    found = run(redis, patterns, everything=True)
    # The default prefix stands for queues by itself.
    ours = {f"{prefix}:cache:1"} if prefix == "bull" else set()
    assert set(keys(redis)) == set(queue) | ours
    assert found.done == planned.done == 3 - len(ours)
    assert found.rules[0].kept["queue"] == len(queue) + len(ours)
    # Said to be wanted, it is done.
    assert run(redis, patterns, everything=True, protect_queues=False).done == len(queue) + len(ours)
    assert keys(redis) == {}


@pytest.mark.parametrize("package", ["bull3", "bull4", "bullmq1", "bullmq6"])
def test_an_empty_queue_is_kept(package: str, redis: Database, node: Callable[[str], Node]) -> None:
    """Its counter is all that it may have left."""
    real = node(package)
    where = {"redis": redis.node, "queue": "mail", "prefix": "jobs"}
    real.call("add", {**where, "jobs": [{"name": "a", "data": {}, "opts": {"removeOnComplete": True}}]})
    real.call("work", {**where, "count": 1})
    queue = set(keys(redis))
    assert queue
    run(redis, [{"pattern": "jobs:*"}])
    assert set(keys(redis)) == queue


def test_counters_and_lookalikes(redis: Database) -> None:
    """Keys that only look like a part of a queue."""
    link = redis.link
    link.ask(("SET", "user:id", 17), ("HSET", "user:1", "a", 1), ("HSET", "user:meta", "title", "x"))
    put(redis, "page:id", value="not a number")
    put(redis, "page:1")
    link.ask(("HSET", "shop:meta", "title", "x", "version", "7"), ("RPUSH", "shop:active", 1))
    link.ask(
        ("SET", "lot:id", 1), ("SET", "lot:active", "yes"), ("SET", "lot:meta", "text"), ("SET", "long:id", "1" * 30)
    )
    put(redis, "ttl:id", value="5", ttl=1000)
    patterns = ("user:*", "page:*", "shop:*", "lot:*", "long:*", "ttl:*")
    found = run(redis, [{"pattern": pattern} for pattern in patterns])
    assert [one.done for one in found.rules] == [2, 2, 2, 2, 1, 1]
    assert set(keys(redis)) == {"user:id", "lot:id"}


def test_each_sign_of_a_queue(redis: Database) -> None:
    """Each thing that a queue is known by is enough by itself."""
    link = redis.link
    signs: dict[str, tuple[Any, ...]] = {
        "wait": ("RPUSH", 1),
        "active": ("RPUSH", 1),
        "paused": ("RPUSH", 1),
        "completed": ("ZADD", 1, 1),
        "failed": ("ZADD", 1, 1),
        "delayed": ("ZADD", 1, 1),
        "prioritized": ("ZADD", 1, 1),
        "priority": ("ZADD", 1, 1),
        "waiting-children": ("ZADD", 1, 1),
        "repeat": ("ZADD", 1, 1),
        "marker": ("ZADD", 1, 1),
        "events": ("XADD", "*", "a", 1),
        "stalled-check": ("SET", 1),
    }
    for sign, (command, *rest) in signs.items():
        link.ask(("SET", f"a:{sign}:id", 1), ("HSET", f"a:{sign}:1", "f", 1))
        good(link.ask((command, f"a:{sign}:{sign}", *rest))[0], command)
    metas: dict[str, tuple[Any, ...]] = {
        "maxed": ("opts.maxLenEvents", 10),
        "newest": ("version", "bullmq:6.7.0"),
        "stopped": ("paused", 1),
    }
    for name, fields in metas.items():
        link.ask(("HSET", f"b:{name}:meta", *fields), ("HSET", f"b:{name}:1", "f", 1))
    link.ask(("SET", "c:bull:meta-paused", 1), ("HSET", "c:bull:1", "f", 1))
    before = set(keys(redis))
    found = run(redis, [{"pattern": "[abc]:*"}])
    assert found.done == 0 and set(keys(redis)) == before and len(before) == len(signs) * 3 + 8


def test_max_remove(database: Database) -> None:
    """More than expected: nothing is touched. Equal is not more."""
    put(database, *(f"a:{i}" for i in range(100)), *(f"b:{i}" for i in range(100)))
    before = writes(database)
    for most, words in ((99, "max_remove is 99;"), ("49%", r"max_remove is 49% \(98 of 200 keys\)")):
        for dry in (True, False):
            with pytest.raises(KeysProblem, match=rf"^100 keys would be removed .*{words}.*nothing was changed"):
                run(database, [{"pattern": "a:*"}], max_remove=most, dry=dry)
    assert writes(database) == before
    assert run(database, [{"pattern": "a:*"}], max_remove=100).done == 100
    assert run(database, [{"pattern": "b:*"}], max_remove="100%").done == 100


def test_max_remove_while_somebody_adds(redis: Database) -> None:
    """Between the count and the removal: it never removes more than it may, and says that it is not done."""
    put(redis, *(f"a:{i}" for i in range(50)))
    wanted = rules([{"pattern": "a:*"}])
    ticks = iter(range(10**9))
    tally = Tally(wanted)

    def clock() -> float:
        # The second pass begins with a tally of nothing and a count of 50.
        if next(ticks) == 12:
            put(redis, *(f"a:more{i}" for i in range(70)))
        return time.monotonic()

    found = clean(redis.server, wanted, KeyPolicy(max_remove=50), dry=False, tally=tally, clock=clock)
    assert found.done == 50 and not found.complete
    assert len(keys(redis)) == 70


def test_max_seconds(redis: Database) -> None:
    """It ends in time and says so; what it did stays, and the next run goes on."""
    put(redis, *(f"a:{i}" for i in range(5000)))
    wanted = rules([{"pattern": "a:*"}])
    now = iter(range(10**9))
    found = clean(redis.server, wanted, KeyPolicy(max_seconds=20), dry=False, clock=lambda: float(next(now)))
    assert not found.complete and 0 < found.done < 5000
    assert len(keys(redis)) == 5000 - found.done
    assert run(redis, [{"pattern": "a:*"}]).done == 5000 - found.done
    with pytest.raises(KeysProblem, match="max_seconds: 3 s were too few to count"):
        put(redis, *(f"a:{i}" for i in range(5000)))
        clean(
            redis.server, wanted, KeyPolicy(max_seconds=3, max_remove=10_000), dry=False, clock=lambda: float(next(now))
        )
    assert len(keys(redis)) == 5000


def test_pages_follow_the_time(redis: Database) -> None:
    """The less time a page may take, the more pages there are; nobody waits for the whole."""
    put(redis, *(f"a:{i}" for i in range(30_000)))
    chunks = {ms: run(redis, [{"pattern": "a:*"}], dry=True, chunk_ms=ms).chunks for ms in (0.1, 50.0)}
    assert chunks[0.1] > 4 * chunks[50.0], chunks
    stop, pings = threading.Event(), []

    def ping() -> None:
        with Server(redis.options) as server:
            while not stop.is_set():
                began = time.monotonic()
                server.first.call("PING")
                pings.append(time.monotonic() - began)

    other = threading.Thread(target=ping)
    other.start()
    try:
        found = run(redis, [{"pattern": "a:*"}])
    finally:
        stop.set()
        other.join()
    assert found.done == 30_000
    # Others are answered in between: at least once for every two pages.
    assert len(pings) > found.chunks / 2


def test_replica_is_refused(packages: Place) -> None:
    master = packages.serve()
    replica = packages.serve("--replicaof", f"{master.options['host']} {master.port}")
    for dry in (True, False):
        with pytest.raises(RedisFailed, match="is a replica") as caught:
            run(replica, [{"pattern": "a:*"}], dry=dry)
        assert caught.value.reason == "readonly"


def test_user_who_may_not(redis: Database) -> None:
    """A key that the user may not see ends the run before anything of its page is written."""
    put(redis, "a:1", "a:2", "b:1")
    redis.link.call("ACL", "SETUSER", "half", "on", ">pw-of-half", "~a:*", "+@all")
    try:
        with Server({**redis.options, "user": "half", "password": "pw-of-half"}) as server:
            with pytest.raises(RedisFailed) as caught:
                clean(server, rules([{"pattern": "[ab]:*"}]), KeyPolicy(), dry=False)
            assert caught.value.reason == "auth"
            assert len(keys(redis)) == 3
            assert clean(server, rules([{"pattern": "a:*"}]), KeyPolicy(), dry=False).done == 2
        # Whether b: is a queue is nothing that this user can see; of a queue that is b:c: it sees everything.
        redis.link.call("ACL", "SETUSER", "half", "resetkeys", "~b:c:*")
        put(redis, "b:c:1")
        with Server({**redis.options, "user": "half", "password": "pw-of-half"}) as server:
            assert clean(server, rules([{"pattern": "b:c:*"}]), KeyPolicy(), dry=False).done == 1
    finally:
        redis.link.call("ACL", "DELUSER", "half")


# --- the same as Redis itself would match, and as a plain model decides -----------------------------------------------

ALPHABET = "ab:*?[]^-\\é%.$ (x"


def a_pattern(dice: random.Random) -> str:
    """A glob, often with what has a meaning in it."""
    parts = ["*", "?", "[ab]", "[^a]", "[a-c]", "[c-a:]", "\\*", "\\?", "\\[", "\\\\", "[\\]a]", "[a\\-z]", "%", "."]
    return "".join(dice.choice([*parts, *"ab:x(-^]é$ "]) for _part in range(dice.randint(1, 6)))


def test_patterns_match_what_redis_matches(redis: Database) -> None:
    """Lua and SCAN agree about every pattern and key, so that two rules find the same as each of them alone."""
    dice = random.Random(4)  # noqa: S311
    names = {"".join(dice.choice(ALPHABET) for _one in range(dice.randint(1, 6))) for _key in range(1500)}
    names |= {"a\nb", "\x00a", "a\x00", "ab:x", "aaa", "bbb"}
    put(redis, *names)
    compared = 0
    while compared < 250:
        pattern = a_pattern(dice)
        try:
            rules([{"pattern": pattern}], everything=True)
        except KeysProblem:
            continue
        expected = len(redis.link.call("KEYS", pattern))
        wanted: Raw = [{"pattern": pattern}, {"pattern": "zz\\*never"}]
        (one, _other) = run(redis, wanted, dry=True, everything=True, protect_queues=False).rules
        assert one.done == expected, pattern
        (alone,) = run(redis, [{"pattern": pattern}], dry=True, everything=True, protect_queues=False).rules
        assert alone.done == expected, pattern
        compared += expected > 0


def model(rule: KeyRule, kind: str, left: int) -> bool:
    """Whether a rule holds for a key whose name it matches."""
    if rule.types and kind not in rule.types:
        return False
    if rule.without_ttl and left != -1:
        return False
    if rule.ttl_above is not None and left <= rule.ttl_above:
        return False
    return not (rule.action == "expire" and rule.ttl is not None and -1 < left <= rule.ttl)


@pytest.mark.parametrize("seed", range(30))
def test_as_a_plain_model(seed: int, redis: Database) -> None:
    """Random keys and rules: dry run, run and model agree, and no other key changes."""
    dice = random.Random(seed)  # noqa: S311
    link = redis.link
    makers: dict[str, tuple[Any, ...]] = {
        "string": ("SET", 1),
        "hash": ("HSET", "f", 1),
        "list": ("RPUSH", 1),
        "set": ("SADD", 1),
        "zset": ("ZADD", 1, 1),
    }
    state: dict[str, tuple[str, int]] = {}
    for number in range(dice.randint(1, 400)):
        name = f"{dice.choice(['a', 'b', 'a:b', 'c'])}:{number}"
        kind = dice.choice(list(makers))
        command, *rest = makers[kind]
        link.call(command, name, *rest)
        left = dice.choice([-1, 100, 10_000, 1_000_000])
        if left > 0:
            link.call("EXPIRE", name, left)
        state[name] = (kind, left * 1000 if left > 0 else -1)
    raw: Raw = []
    for _rule in range(dice.randint(1, 3)):
        one: dict[str, Any] = {"pattern": dice.choice(["a:*", "b:*", "a:b:*", "?:*1", "[bc]:*", "c:1*"])}
        if dice.random() < 0.4:
            one["types"] = dice.sample(list(makers), 2)
        if dice.random() < 0.4:
            one["without_ttl"] = True
        elif dice.random() < 0.4:
            one["ttl_above"] = dice.choice([5000, "1d"])
        if dice.random() < 0.3:
            one.update(action="expire", ttl="30m")
        raw.append(one)
    wanted = rules(raw)
    expected, done = {name: left for name, (_kind, left) in state.items()}, [0] * len(wanted)
    matched = [{text(name) for name in link.call("KEYS", rule.pattern)} for rule in wanted]
    for name, (kind, left) in state.items():
        for position, rule in enumerate(wanted):
            if name in matched[position] and model(rule, kind, left):
                done[position] += 1
                if rule.action == "expire":
                    assert rule.ttl is not None
                    expected[name] = rule.ttl
                else:
                    del expected[name]
                break
    planned = run(redis, raw, dry=True)
    assert [one.done for one in planned.rules] == done
    found = run(redis, raw)
    assert [one.done for one in found.rules] == done
    left_over = keys(redis)
    assert left_over.keys() == expected.keys()
    for name, left in expected.items():
        seconds = left if left < 0 else left / 1000
        assert seconds - 60 <= left_over[name] <= seconds, name
    second = run(redis, raw)
    # A key that got a time to live may satisfy a later rule now; without such a rule, there is nothing left.
    if not any(rule.action == "expire" for rule in wanted):
        assert second.done == 0


# --- a cluster --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["redis-server", "valkey-server"])
def three(request: pytest.FixtureRequest, packages: Place) -> list[Database]:
    """Three masters."""
    if not packages.has(request.param):
        pytest.skip(f"no {request.param} here: only where QUAI_QUEUES_LOCAL is set")
    return masters.cluster(packages, program=request.param)


@pytest.fixture
def cluster(three: list[Database]) -> Iterator[Server]:
    """An empty cluster."""
    masters.empty(three)
    with Server(three[0].options) as server:
        yield server


def test_cluster(cluster: Server, three: list[Database], node: Callable[[str], Node]) -> None:
    """Every master's keys; queues with a tag are kept; keys of several slots go in one page."""
    for number in range(900):
        cluster.at(f"session:{number}").call("SET", f"session:{number}", 1)
    for number in range(60):
        cluster.at(f"other:{number}").call("SET", f"other:{number}", 1, "EX", 1000)
    queue = {"redis": three[0].node, "queue": "mail", "prefix": "{jobs}"}
    real = node("bullmq6")
    holds, _other = masters.holder(three, cluster, "{jobs}:mail:id")
    real.call("add", {**queue, "redis": holds.node, "jobs": [{"name": "a", "data": {}} for _job in range(3)]})
    size = sum(masters.direct(one).call("DBSIZE") for one in three)
    wanted = rules([{"pattern": "session:*"}])
    planned = clean(cluster, wanted, KeyPolicy(max_remove="95%"), dry=True)
    found = clean(cluster, wanted, KeyPolicy(max_remove="95%"), dry=False)
    assert planned.done == found.done == 900 and found.keys == size
    assert sum(masters.direct(one).call("DBSIZE") for one in three) == size - 900
    # Two tags in one node: what is said about the queue beside does not stop the others.
    everything = rules([{"pattern": "*"}], everything=True)
    found = clean(cluster, everything, KeyPolicy(), dry=False)
    assert found.done == 60 and found.rules[0].kept["queue"] == size - 960
    assert masters.direct(holds).call("EXISTS", "{jobs}:mail:id", "{jobs}:mail:meta") == 2
    assert key_slot("{jobs}:mail:id") == key_slot("jobs")
    assert clean(cluster, everything, KeyPolicy(), dry=False).done == 0
