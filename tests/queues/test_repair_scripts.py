# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each script of the repairs decides and writes, key by key, on queues written by hand.

test_repair.py shows that workers of the real packages go on with what is left; here nothing but a server is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _queue_repair
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour, Queue
from ansible_collections.quai.ops.plugins.module_utils._queue_repair import Tools
from ansible_collections.quai.ops.plugins.module_utils._redis_link import RedisFailed
from ansible_collections.quai.ops.plugins.module_utils._resp import text

from tests.queues import snapshot
from tests.queues.place import Database

QUEUE = Queue("bull", "q")
BASE = QUEUE.base
NOW = 1_790_000_000_000
MINUTE = 60_000
FLAVOURS = {
    "bull4": Flavour("bull", 4, "4.16.5", "the test's"),
    **{f"bullmq{major}": Flavour("bullmq", major, f"{major}.9.0", "the test's") for major in range(1, 7)},
}
OF_BULLMQ = [package for package in FLAVOURS if package != "bull4"]
WITH_MARKER = ("bullmq5", "bullmq6")
Command = tuple[Any, ...]


def tools(redis: Database, package: str, *, dry: bool = False) -> Tools:
    return Tools(redis.link, QUEUE, FLAVOURS[package], dry=dry, now=NOW)


def pause(package: str) -> Command:
    """The command that marks a queue as paused."""
    return ("SET", f"{BASE}meta-paused", 1) if package == "bull4" else ("HSET", f"{BASE}meta", "paused", 1)


def held(redis: Database, suffix: str) -> Any:
    """What a key of the queue holds: a list, the pairs of a sorted set, a dictionary; None when it is not there."""
    key = BASE + suffix
    kind = text(redis.link.call("TYPE", key))
    if kind == "list":
        return [text(one) for one in redis.link.call("LRANGE", key, 0, -1)]
    if kind == "zset":
        flat = redis.link.call("ZRANGE", key, 0, -1, "WITHSCORES")
        return [(text(one), float(score)) for one, score in zip(flat[::2], flat[1::2], strict=True)]
    if kind == "hash":
        flat = [text(one) for one in redis.link.call("HGETALL", key)]
        return dict(zip(flat[::2], flat[1::2], strict=True))
    if kind == "stream":
        entries = redis.link.call("XRANGE", key, "-", "+")
        return [" ".join(text(part) for part in fields) for _number, fields in entries]
    return None if kind == "none" else kind


# --- what all of them look at first ----------------------------------------------------------------------------------

TYPES = {
    **dict.fromkeys(("wait", "paused", "active"), "list"),
    **dict.fromkeys(("delayed", "prioritized", "waiting-children", "marker", "priority"), "zset"),
    "stalled": "set",
    "meta": "hash",
    "events": "stream",
    "pc": "string",
}
OF_ALL = {"wait", "paused", "active", "delayed", "stalled", "meta"}
USED = {
    "bull4": OF_ALL,
    "bullmq3": OF_ALL | {"events", "prioritized", "waiting-children", "priority"},
    "bullmq4": OF_ALL | {"events", "prioritized", "waiting-children", "pc"},
    "bullmq5": OF_ALL | {"events", "prioritized", "waiting-children", "pc", "marker"},
}
SCRIPTS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "paused list": ("_PAUSED_LIST", (100,)),
    "stalled": ("_STALLED", ("20", "", "", "")),
    "parents": ("_PARENTS", ("done", 1, "plain", "ranked", "later")),
    "wake": ("_WAKE", ()),
}


def broken(package: str) -> list[Command]:
    """A queue that every script finds something to do in."""
    commands: list[Command] = [
        ("RPUSH", f"{BASE}paused", "9"),
        ("RPUSH", f"{BASE}active", "20"),
        ("HSET", f"{BASE}20", "name", "a"),
        ("ZADD", f"{BASE}waiting-children", 1, "plain", 1, "ranked", 1, "later"),
        ("HSET", f"{BASE}plain", "name", "a"),
        ("HSET", f"{BASE}ranked", "name", "a", "priority", 3),
        ("HSET", f"{BASE}later", "name", "a", "delay", 3),
    ]
    if package != "bull4":
        commands.append(("ZADD", f"{BASE}prioritized", 1 << 32, "8"))
    return commands


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("suffix", TYPES)
@pytest.mark.parametrize("package", USED)
def test_key_of_another_type(redis: Database, package: str, suffix: str, script: str) -> None:
    """What the library uses is named, and nothing is half done; what it does not use is nobody's business."""
    if (package, script) == ("bull4", "parents"):
        pytest.skip("Bull knows no parents")
    link, key = redis.link, BASE + suffix
    wrong = ("LPUSH", key, "x") if TYPES[suffix] == "string" else ("SET", key, "x")
    link.ask(*broken(package), ("DEL", key), wrong)
    before = snapshot.take(link)
    name, arguments = SCRIPTS[script]
    run = tools(redis, package)._run
    if suffix in USED[package]:
        with pytest.raises(RedisFailed, match=f"{key} is a (string|list) in place of a {TYPES[suffix]}") as failed:
            run(getattr(_queue_repair, name), *arguments)
        assert failed.value.reason == "type"
        assert snapshot.take(link) == before
    else:
        run(getattr(_queue_repair, name), *arguments)
        assert snapshot.take(link)[key] == before[key]


# --- paused_list -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", FLAVOURS)
@pytest.mark.parametrize("page", [1, 2, 3500])
def test_paused_list_page_by_page(redis: Database, package: str, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there first stays first, and idle workers are woken where a marker wakes them."""
    monkeypatch.setattr(_queue_repair, "PAGE", page)
    redis.link.ask(("RPUSH", f"{BASE}wait", "7", "6", "5"), ("RPUSH", f"{BASE}paused", "4", "3", "2", "1"))
    before = snapshot.take(redis.link)
    assert tools(redis, package, dry=True).paused_list({}, 0) == ((4, []), [])
    assert snapshot.take(redis.link) == before
    assert tools(redis, package).paused_list({}, 0) == ((4, []), [])
    assert (held(redis, "wait"), held(redis, "paused")) == (list("7654321"), None)
    assert held(redis, "marker") == ([("0", 0)] if package in WITH_MARKER else None)
    after = snapshot.take(redis.link)
    assert tools(redis, package).paused_list({}, 0) == (None, [])
    assert snapshot.take(redis.link) == after


@pytest.mark.parametrize("package", FLAVOURS)
def test_paused_list_alone_is_renamed(redis: Database, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it goes in one step however long it is."""
    monkeypatch.setattr(_queue_repair, "PAGE", 1)
    redis.link.call("RPUSH", f"{BASE}paused", "3", "2", "1")
    redis.link.call("CONFIG", "RESETSTAT")
    assert tools(redis, package).paused_list({}, 0) == ((3, []), [])
    assert held(redis, "wait") == ["3", "2", "1"] and held(redis, "paused") is None
    assert "cmdstat_rename:calls=1," in text(redis.link.call("INFO", "commandstats"))


@pytest.mark.parametrize("package", FLAVOURS)
def test_paused_list_of_a_paused_queue_stays(redis: Database, package: str) -> None:
    redis.link.ask(pause(package), ("RPUSH", f"{BASE}paused", "1"))
    before = snapshot.take(redis.link)
    assert tools(redis, package).paused_list({}, 0) == (None, [("", "paused")])
    assert snapshot.take(redis.link) == before


def test_marks_of_the_other_library_are_not_heeded(redis: Database) -> None:
    """Bull looks at meta-paused alone, BullMQ at meta."""
    for package, foreign in (("bull4", "bullmq5"), ("bullmq5", "bull4")):
        redis.link.ask(("FLUSHDB",), pause(foreign), ("RPUSH", f"{BASE}paused", "1"))
        assert tools(redis, package).paused_list({}, 0) == ((1, []), [])


# --- stalled ---------------------------------------------------------------------------------------------------------


def active(*ids: str) -> list[Command]:
    return [
        ("RPUSH", f"{BASE}active", *ids),
        ("SADD", f"{BASE}stalled", *ids, "other"),
        *(("HSET", BASE + one, "name", "a", "processedOn", 1) for one in ids),
    ]


def put_back(redis: Database, package: str, *ids: str, dry: bool = False) -> Any:
    """Run the script on jobs as they were seen when they were taken."""
    marks = [part for one in ids for part in (one, "1", "", "")]
    did: list[str] = []
    left: list[tuple[str, str]] = []
    _queue_repair._split(tools(redis, package, dry=dry)._run(_queue_repair._STALLED, *marks), did, left)
    return did, left


@pytest.mark.parametrize("package", FLAVOURS)
@pytest.mark.parametrize("paused", [False, True])
def test_stalled_key_by_key(redis: Database, package: str, paused: bool) -> None:
    redis.link.ask(*active("1", "2", "3"), ("LPUSH", f"{BASE}wait", "5"))
    if paused:
        redis.link.call(*pause(package))
    before = snapshot.take(redis.link)
    assert put_back(redis, package, "1", "3", dry=True) == (["1", "3"], [])
    assert snapshot.take(redis.link) == before
    assert put_back(redis, package, "1", "3") == (["1", "3"], [])
    aside = paused and package != "bullmq6"
    assert held(redis, "wait") == (["5"] if aside else ["5", "1", "3"])
    assert held(redis, "paused") == (["1", "3"] if aside else None)
    assert held(redis, "active") == ["2"]
    assert {text(one) for one in redis.link.call("SMEMBERS", f"{BASE}stalled")} == {"2", "other"}
    counter = "stc" if package in WITH_MARKER else "stalledCounter"
    assert held(redis, "1") == {"name": "a", "processedOn": "1", counter: "1"}
    told = [line for one in "13" for line in (f"event waiting jobId {one} prev active", f"event stalled jobId {one}")]
    assert held(redis, "events") == (None if package == "bull4" else told)
    assert held(redis, "marker") == ([("0", 0)] if package in WITH_MARKER and not paused else None)
    assert not redis.link.call("EXISTS", f"{BASE}quai:nowhere")


def test_bull_tells_its_queues_of_a_stalled_job(redis: Database) -> None:
    redis.link.ask(*active("1"), ("CONFIG", "RESETSTAT"))
    assert put_back(redis, "bull4", "1") == (["1"], [])
    assert "cmdstat_publish:calls=1," in text(redis.link.call("INFO", "commandstats"))


@pytest.mark.parametrize("package", ["bull4", "bullmq4", "bullmq5"])
def test_stalled_looks_again(redis: Database, package: str) -> None:
    """One of each that is left alone beside one that is not."""
    redis.link.ask(*active("1", "2", "3", "4", "5", "6"))
    redis.link.ask(
        ("SET", f"{BASE}1:lock", "token"),
        ("LREM", f"{BASE}active", 0, "2"),
        ("DEL", f"{BASE}3"),
        ("HSET", f"{BASE}4", "processedOn", 2),
        ("HSET", f"{BASE}5", "atm", 1),
    )
    left = [("1", "locked"), ("2", "moved"), ("3", "ghost"), ("4", "moved"), ("5", "moved")]
    assert put_back(redis, package, *"123456") == (["6"], left)
    assert (held(redis, "active"), held(redis, "wait")) == (["1", "3", "4", "5"], ["6"])
    before = snapshot.take(redis.link)
    assert put_back(redis, package, *"12345") == ([], left)
    assert snapshot.take(redis.link) == before


@pytest.mark.parametrize("package", WITH_MARKER)
@pytest.mark.parametrize("most", ["1", "2", "", "x"])
def test_no_marker_when_as_many_are_active_as_may_be(redis: Database, package: str, most: str) -> None:
    """A worker that woke for it would find that it may take none, and take the marker with it."""
    redis.link.ask(*active("1", "2"), ("HSET", f"{BASE}meta", "concurrency", most))
    assert put_back(redis, package, "1") == (["1"], [])
    assert held(redis, "marker") == (None if most == "1" else [("0", 0)])


# --- parents ---------------------------------------------------------------------------------------------------------


def parent(identity: str, *, since: int = NOW - 2 * MINUTE, **fields: Any) -> list[Command]:
    whole = [part for pair in {"name": "p", **fields}.items() for part in pair]
    return [("ZADD", f"{BASE}waiting-children", since, identity), ("HSET", BASE + identity, *whole)]


def release(redis: Database, package: str, why: str, *ids: str, dry: bool = False) -> Any:
    did: list[str] = []
    left: list[tuple[str, str]] = []
    reply = tools(redis, package, dry=dry)._run(_queue_repair._PARENTS, why, MINUTE, *ids)
    _queue_repair._split(reply, did, left)
    return did, left


def released(redis: Database, package: str, *commands: Command, ids: Sequence[str] = ("p",)) -> None:
    """Release parents; whatever becomes of them, they are written once and nowhere else."""
    redis.link.ask(*commands)
    before = snapshot.take(redis.link)
    assert release(redis, package, "done", *ids, dry=True) == (list(ids), [])
    assert snapshot.take(redis.link) == before
    assert release(redis, package, "done", *ids) == (list(ids), [])
    assert held(redis, "waiting-children") is None
    assert not redis.link.call("EXISTS", f"{BASE}quai:nowhere")
    after = snapshot.take(redis.link)
    assert release(redis, package, "done", *ids) == ([], [(one, "moved") for one in ids])
    assert snapshot.take(redis.link) == after


@pytest.mark.parametrize("package", OF_BULLMQ)
@pytest.mark.parametrize("paused", [False, True])
def test_parent_without_a_priority(redis: Database, package: str, paused: bool) -> None:
    released(redis, package, *parent("p"), ("LPUSH", f"{BASE}wait", "5"), *([pause(package)] if paused else []))
    aside = paused and package != "bullmq6"
    assert held(redis, "wait") == (["5"] if aside else ["5", "p"])
    assert held(redis, "paused") == (["p"] if aside else None)
    assert held(redis, "marker") == ([("0", 0)] if package in WITH_MARKER and not paused else None)
    assert held(redis, "events") == ["event waiting jobId p prev waiting-children"]


@pytest.mark.parametrize("package", ["bullmq4", "bullmq5", "bullmq6"])
@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("waiting", [False, True])
def test_parent_with_a_priority(redis: Database, package: str, paused: bool, waiting: bool) -> None:
    commands: list[Command] = [("SET", f"{BASE}pc", 6)]
    commands += [pause(package)] if paused else []
    commands += [("LPUSH", f"{BASE}wait", "5")] if waiting else []
    released(redis, package, *parent("p", priority=3), *commands)
    assert held(redis, "prioritized") == [("p", 3 * 2**32 + 7)]
    woken = ["0:0"] if package == "bullmq4" and not paused and not waiting else None
    assert held(redis, "wait") == (["5"] if waiting else woken)
    assert held(redis, "paused") is None
    assert held(redis, "marker") == ([("0", 0)] if package in WITH_MARKER and not paused else None)


@pytest.mark.parametrize("package", ["bullmq1", "bullmq2", "bullmq3"])
@pytest.mark.parametrize("paused", [False, True])
def test_parent_with_a_priority_in_an_ordered_list(redis: Database, package: str, paused: bool) -> None:
    """Taken from the tail: behind those that are as urgent, before those that are less, wherever jobs wait."""
    name = "paused" if paused else "wait"
    commands: list[Command] = [
        ("RPUSH", BASE + name, "plain", "nine", "five", "three", "one"),
        ("ZADD", f"{BASE}priority", 9, "nine", 5, "five", 3, "three", 1, "one"),
        *([pause(package)] if paused else []),
    ]
    parents = [one for number in (3, 1, 20) for one in parent(f"p{number}", priority=number)]
    released(redis, package, *parents, *commands, ids=("p3", "p1", "p20"))
    assert held(redis, name) == ["plain", "p20", "nine", "five", "p3", "three", "p1", "one"]
    ranks = {("p3", 3), ("p1", 1), ("p20", 20)}
    assert ranks <= set(held(redis, "priority"))
    assert held(redis, "wait" if paused else "paused") is None


@pytest.mark.parametrize("package", ["bullmq1", "bullmq2", "bullmq3"])
def test_parent_with_a_priority_in_an_empty_list(redis: Database, package: str) -> None:
    released(redis, package, *parent("p", priority=3))
    assert held(redis, "wait") == ["p"] and held(redis, "priority") == [("p", 3)]


@pytest.mark.parametrize("package", OF_BULLMQ)
@pytest.mark.parametrize("priority", [0, 3])
def test_parent_with_a_delay(redis: Database, package: str, priority: int) -> None:
    """BullMQ 1 and 2 forget the delay of a parent; from 3 on it begins when the last child is done."""
    released(redis, package, *parent("p", delay=5000, priority=priority), ("HSET", f"{BASE}meta", "paused", 1))
    if package in ("bullmq1", "bullmq2"):
        assert held(redis, "delayed") is None and held(redis, "paused") == ["p"]
        return
    assert held(redis, "delayed") == [("p", (NOW + 5000) * 4096)]
    assert held(redis, "wait") is None and held(redis, "paused") is None and held(redis, "prioritized") is None
    assert held(redis, "events") == [f"event delayed jobId p delay {NOW + 5000}"]
    assert held(redis, "marker") == ([("1", NOW + 5000)] if package in WITH_MARKER else None)


def test_parent_with_a_delay_behind_a_sooner_job(redis: Database) -> None:
    """The marker says when the first of all delayed jobs is due."""
    released(redis, "bullmq5", *parent("p", delay=5000), ("ZADD", f"{BASE}delayed", (NOW + 10) * 4096 + 5, "soon"))
    ((name, score),) = held(redis, "marker")
    assert name == "1" and int(score) == NOW + 10


@pytest.mark.parametrize("package", OF_BULLMQ)
def test_parents_that_are_left_alone(redis: Database, package: str) -> None:
    """One of each beside one that is released."""
    redis.link.ask(*(one for name in ("gone", "empty", "new", "half", "waits", "lost", "ok") for one in parent(name)))
    redis.link.ask(
        ("ZREM", f"{BASE}waiting-children", "gone"),
        ("DEL", f"{BASE}empty"),
        ("ZADD", f"{BASE}waiting-children", NOW - MINUTE + 1, "new"),
        ("HSET", f"{BASE}half", "flowAttachmentFailed", 1),
        ("SADD", f"{BASE}waits:dependencies", "bull:other:1", "bull:other:2"),
        ("HSET", "bull:other:2", "name", "child"),
        ("SADD", f"{BASE}lost:dependencies", "bull:other:3"),
    )
    ids = ("gone", "empty", "new", "half", "waits", "lost", "ok")
    common = [("gone", "moved"), ("empty", "ghost"), ("new", "young"), ("half", "unfinished"), ("waits", "children")]
    copy = [(text(key), redis.link.call("DUMP", key)) for key in redis.link.call("KEYS", "*")]
    assert release(redis, package, "done", *ids) == (["ok"], [*common, ("lost", "children")])
    assert held(redis, "wait") == ["ok"]
    redis.link.ask(("FLUSHDB",), *(("RESTORE", key, 0, data) for key, data in copy))
    assert release(redis, package, "lost", *ids) == (["lost"], [*common, ("ok", "done")])
    assert held(redis, "wait") == ["lost"] and not redis.link.call("EXISTS", f"{BASE}lost:dependencies")


def test_parent_of_more_children_than_are_looked_at(redis: Database) -> None:
    redis.link.ask(*parent("p"), ("SADD", f"{BASE}p:dependencies", *(f"bull:other:{n}" for n in range(1001))))
    before = snapshot.take(redis.link)
    assert release(redis, "bullmq5", "lost", "p") == ([], [("p", "many")])
    assert snapshot.take(redis.link) == before
    redis.link.call("SREM", f"{BASE}p:dependencies", "bull:other:0")
    assert release(redis, "bullmq5", "lost", "p") == (["p"], [])


def test_bull_knows_no_parents(redis: Database) -> None:
    """Whatever stands where BullMQ keeps them is nobody's business."""
    redis.link.ask(*parent("p"))
    before = snapshot.take(redis.link)
    found = {"parents": {"stuck": [{"id": "p", "why": why} for why in ("done", "lost")]}}
    for act in (tools(redis, "bull4").parents, tools(redis, "bull4").parents_lost):
        assert act(found, 0) == (None, [])
    assert snapshot.take(redis.link) == before


@pytest.mark.parametrize("most", ["", "7"])
def test_events_are_trimmed_as_the_library_does(redis: Database, most: str) -> None:
    """About so many stay as the queue says, or 10,000."""
    redis.link.ask(*([("HSET", f"{BASE}meta", "opts.maxLenEvents", most)] if most else []))
    redis.link.ask(*active("1"), *(("XADD", f"{BASE}events", "*", "event", "x") for _n in range(350)))
    assert put_back(redis, "bullmq5", "1") == (["1"], [])
    left = redis.link.call("XLEN", f"{BASE}events")
    assert left < 250 if most else left == 352


@pytest.mark.parametrize("package", ["bull4", "bullmq4", "bullmq5"])
def test_counter_that_is_no_number(redis: Database, package: str) -> None:
    """The job stays where it was."""
    counter = "stc" if package in WITH_MARKER else "stalledCounter"
    redis.link.ask(*active("1"), ("HSET", f"{BASE}1", counter, "x"))
    with pytest.raises(RedisFailed, match="not an integer"):
        put_back(redis, package, "1")
    assert (held(redis, "active"), held(redis, "wait"), held(redis, "events")) == (["1"], None, None)
    if package != "bull4":
        redis.link.ask(*parent("p", priority=3), ("SET", f"{BASE}pc", "x"))
        with pytest.raises(RedisFailed, match="not an integer"):
            release(redis, package, "done", "p")
        assert [one for one, _score in held(redis, "waiting-children")] == ["p"]
        assert held(redis, "prioritized") is None


# --- wake ------------------------------------------------------------------------------------------------------------

SOON = (NOW + 5000) * 4096 + 3
WAKES: list[tuple[str, list[Command], tuple[str, str], Any]] = [
    ("bullmq5", [("LPUSH", "wait", "1")], ("work", ""), ("marker", [("0", 0)])),
    ("bullmq5", [("ZADD", "prioritized", 5, "1")], ("work", ""), ("marker", [("0", 0)])),
    ("bullmq6", [("LPUSH", "wait", "1")], ("work", ""), ("marker", [("0", 0)])),
    ("bullmq5", [], ("", ""), ("marker", None)),
    ("bullmq5", [("LPUSH", "wait", "1"), ("HSET", "meta", "paused", 1)], ("", "paused"), ("marker", None)),
    ("bullmq5", [("LPUSH", "wait", "1"), ("ZADD", "marker", 0, "0")], ("", ""), ("marker", [("0", 0)])),
    (
        "bullmq5",
        [("LPUSH", "wait", "1"), ("ZADD", "marker", NOW, "1")],
        ("work", ""),
        ("marker", [("0", 0), ("1", NOW)]),
    ),
    (
        "bullmq5",
        [("LPUSH", "wait", "1"), ("LPUSH", "active", "2"), ("HSET", "meta", "concurrency", 1)],
        ("", "maxed"),
        ("marker", None),
    ),
    ("bullmq5", [("ZADD", "delayed", SOON, "1")], ("delayed", ""), ("marker", [("1", NOW + 5000)])),
    (
        "bullmq5",
        [("ZADD", "delayed", SOON, "1"), ("LPUSH", "active", "2"), ("HSET", "meta", "concurrency", 1)],
        ("delayed", ""),
        ("marker", [("1", NOW + 5000)]),
    ),
    (
        "bullmq5",
        [("ZADD", "delayed", SOON, "1"), ("ZADD", "marker", NOW + 9000, "1")],
        ("delayed", ""),
        ("marker", [("1", NOW + 5000)]),
    ),
    (
        "bullmq5",
        [("ZADD", "delayed", SOON, "1"), ("ZADD", "marker", NOW + 5001, "1")],
        ("", ""),
        ("marker", [("1", NOW + 5001)]),
    ),
    (
        "bullmq5",
        [("ZADD", "delayed", SOON, "1"), ("ZADD", "marker", 0, "0")],
        ("", ""),
        ("marker", [("0", 0)]),
    ),
    ("bullmq4", [("ZADD", "prioritized", 5, "1")], ("work", ""), ("wait", ["0:0"])),
    ("bullmq4", [("ZADD", "prioritized", 5, "1"), ("LPUSH", "wait", "2")], ("", ""), ("wait", ["2"])),
    ("bullmq4", [], ("", ""), ("wait", None)),
    (
        "bullmq4",
        [("ZADD", "prioritized", 5, "1"), ("HSET", "meta", "paused", 1)],
        ("", "paused"),
        ("wait", None),
    ),
    ("bullmq4", [("ZADD", "delayed", SOON, "1")], ("", ""), ("marker", None)),
    ("bullmq3", [("ZADD", "prioritized", 5, "1"), ("ZADD", "delayed", SOON, "1")], ("", "version"), ("wait", None)),
    ("bull4", [("LPUSH", "wait", "1"), ("ZADD", "delayed", SOON, "1")], ("", "version"), ("marker", None)),
    ("bull4", [("LPUSH", "wait", "1"), ("SET", "meta-paused", 1)], ("", "paused"), ("marker", None)),
]


@pytest.mark.parametrize(("package", "commands", "says", "holds"), WAKES)
def test_wake_key_by_key(
    redis: Database, package: str, commands: list[Command], says: tuple[str, str], holds: tuple[str, Any]
) -> None:
    redis.link.ask(*((name, BASE + suffix, *rest) for name, suffix, *rest in commands))
    before = snapshot.take(redis.link)
    planned = tools(redis, package, dry=True)._run(_queue_repair._WAKE)
    assert snapshot.take(redis.link) == before
    done = tools(redis, package)._run(_queue_repair._WAKE)
    assert [text(one) for one in planned] == [text(one) for one in done] == list(says)
    name, value = holds
    assert held(redis, name) == value
    after = snapshot.take(redis.link)
    written = {key for key in (*before, *after) if before.get(key) != after.get(key)}
    assert written == ({BASE + name} if says[0] else set())
