# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What fails has written nothing: whichever command a user may not run, and whichever key is of another type.

The commands are those that Redis counted while somebody who may do everything did the same, so none is forgotten.
Rights are learnt in two ways: as with Redis 7 and later, which can tell what a user may run, and as before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import (
    _queue_clean,
    _queue_repair,
    _queue_retry,
    _queue_rules,
    _queue_state,
    _redis_link,
)
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour, Queue, QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, RedisFailed, Script
from ansible_collections.quai.ops.plugins.module_utils._resp import text

from tests.queues import snapshot
from tests.queues.place import Database

QUEUE = Queue("bull", "q")
BASE = QUEUE.base
NOW = 1_790_000_000_000
OLD = NOW - 86_400_000
FLAVOURS = {
    "bull4": Flavour("bull", 4, "4.16.5", "the test's"),
    **{f"bullmq{major}": Flavour("bullmq", major, f"{major}.9.0", "the test's") for major in (3, 4, 5, 6)},
}
# What connects, and what this test itself runs.
OF_THE_LINK = {"auth", "hello", "select", "client", "config", "info", "script", "acl"}
Command = tuple[Any, ...]


def job(state: str, identity: str, *, at: int = OLD, **fields: Any) -> list[Command]:
    """The commands that write a job."""
    known = {"name": "send", "data": "{}", "opts": "{}", "timestamp": at, **fields}
    if state in ("failed", "completed"):
        known = {"processedOn": at, "finishedOn": at, "atm": 1, "attemptsMade": 1, **known}
    into = ("LPUSH", BASE + state, identity) if state in ("wait", "paused") else ("ZADD", BASE + state, at, identity)
    return [("HSET", BASE + identity, *(part for pair in known.items() for part in pair)), into]


def content(flavour: Flavour, *, paused: bool) -> list[Command]:
    """Jobs in every state with all that can stand beside them, as far as a flavour has it."""
    commands = [
        *job("failed", "1", failedReason="x"),
        *job("failed", "2", at=OLD + 1, priority=3, failedReason="x"),
        *job("failed", "3", at=OLD + 2, opts='{"lifo":true}', failedReason="x"),
        *job("completed", "6"),
        *job("wait", "8"),
        *job("delayed", "10"),
        ("RPUSH", f"{BASE}6:logs", "one"),
        ("HSET", f"{BASE}meta", "opts.maxLenEvents", 1000),
    ]
    if paused:
        commands.append(("HSET", f"{BASE}meta", "paused", 1))
    if flavour.bull:
        if paused:
            commands.append(("SET", f"{BASE}meta-paused", 1))
        group = f"{BASE}limiter:g"
        return [
            *commands,
            *job("paused", "9"),
            ("ZADD", f"{BASE}priority", 3, "2"),
            ("HSET", f"{BASE}limiter:index", "8", group, "1", group),
            ("SADD", group, "8", "1"),
        ]
    commands += [
        ("XADD", f"{BASE}events", "*", "event", "added"),
        ("HSET", f"{BASE}meta", "version", f"bullmq:{flavour.version}"),
    ]
    if flavour.major <= 5:
        commands += job("paused", "9")
    if flavour.major >= 5:
        commands.append(("ZADD", f"{BASE}marker", 0, "0"))
    if flavour.major >= 4:
        commands += job("prioritized", "11")
    # Parents here and elsewhere, and the records that they have of their children.
    for number, queue in enumerate((BASE, "bull:other:")):
        parent = f"{queue}p"
        commands += [
            ("HSET", parent, "name", "p", "data", "{}", "opts", "{}", "timestamp", OLD),
            ("ZADD", f"{queue}waiting-children", OLD, "p"),
            *job("failed", f"4{number}", at=OLD + 3, parentKey=parent, failedReason="x"),
            *job("failed", f"5{number}", at=OLD + 4, parentKey=parent, failedReason="x"),
            *job("completed", f"7{number}", parentKey=parent),
            *job("wait", f"12{number}", parentKey=parent, deid=f"d{number}"),
            ("HSET", f"{parent}:failed", f"{BASE}4{number}", "x"),
            ("ZADD", f"{parent}:unsuccessful", 1, f"{BASE}5{number}"),
            ("HSET", f"{parent}:processed", f"{BASE}7{number}", '"done"'),
            ("SADD", f"{parent}:dependencies", f"{BASE}12{number}"),
            ("SET", f"{BASE}de:d{number}", f"12{number}"),
        ]
    return commands


def cleaned(state: str, parents: str, fast: str) -> Callable[[Link, Flavour], Any]:
    """A clean-up."""

    def run(link: Link, flavour: Flavour) -> Any:
        rules = _queue_rules.rules([{"state": state, "older_than": 0}])
        policy = _queue_rules.Policy(parents=parents, fast=fast)
        return _queue_clean.clean(link, QUEUE, flavour, rules, policy, dry=False, now_ms=NOW)

    return run


def retried(state: str) -> Callable[[Link, Flavour], Any]:
    """A retry."""
    return lambda link, flavour: _queue_retry.retry(link, QUEUE, flavour, state, now_ms=NOW)


ACTIONS: dict[str, Callable[[Link, Flavour], Any]] = {
    "retry failed": retried("failed"),
    "retry completed": retried("completed"),
    "pause": lambda link, flavour: _queue_state.pause(link, QUEUE, flavour),
    "resume": lambda link, flavour: _queue_state.resume(link, QUEUE, flavour),
    "clean failed": cleaned("failed", "protect", "never"),
    "clean failed fast": cleaned("failed", "protect", "always"),
    "clean wait upstream": cleaned("wait", "upstream", "never"),
    "clean wait fast": cleaned("wait", "protect", "always"),
    "clean completed fast": cleaned("completed", "upstream", "always"),
}
# Nothing at all may differ; or the event that tells of what was removed, without the right to write it.
EXACTLY, BUT_EVENT = snapshot.Tolerance(cleaned_events=False), snapshot.Tolerance(cleaned_sum=False)


def run_as(redis: Database, denied: str, action: Callable[[Link, Flavour], Any], flavour: Flavour) -> Exception | None:
    """Do it as a user who may run everything else; the error that comes."""
    rights = ("+@all", f"-{denied}") if denied else ("+@all",)
    redis.link.call("ACL", "SETUSER", "part", "reset", "on", ">pw", "~*", "&*", *rights)
    options = {**redis.options, "user": "part", "password": "pw"}
    other = Database(redis.place, redis.program, options, redis.port, "", ())
    try:
        action(other.link, flavour)
    except (RedisFailed, QueueProblem) as error:
        return error
    finally:
        other.disconnect()
        redis.link.call("ACL", "DELUSER", "part")
    return None


def written(redis: Database, commands: Sequence[Command]) -> snapshot.Snapshot:
    """Fill the database anew."""
    redis.link.ask(("FLUSHDB",), *commands)
    return snapshot.take(redis.link)


def repaired(script: str, *arguments: Any) -> Callable[[Link, Flavour], Any]:
    """One script of the repairs; it decides by itself, whatever was seen before."""

    def run(link: Link, flavour: Flavour) -> Any:
        tools = _queue_repair.Tools(link, QUEUE, flavour, dry=False, now=NOW)
        return tools._run(getattr(_queue_repair, script), *arguments)

    return run


REPAIRS = {
    "paused list": repaired("_PAUSED_LIST", 100),
    "stalled": repaired("_STALLED", "20", "", "", ""),
    "wake": repaired("_WAKE"),
    "parents": repaired("_PARENTS", "done", 1, "ranked", "later"),
}


@pytest.fixture(params=["asked", "tried"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How rights are learnt: as from Redis 7 on, or as before."""
    if request.param == "tried":
        script = _redis_link._RIGHTS
        told = script.text.replace("redis.acl_check_cmd", "redis.not_there")
        assert told != script.text
        monkeypatch.setattr(_redis_link, "_RIGHTS", Script(f"{script.name} before Redis 7", told))
    return str(request.param)


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("package", FLAVOURS)
@pytest.mark.parametrize("action", ACTIONS)
def test_user_without_a_command(redis: Database, way: str, action: str, package: str, paused: bool) -> None:
    """Either it does without that command and the same comes out, or it is refused and nothing has changed."""
    flavour = FLAVOURS[package]
    refused_or_same(redis, ACTIONS[action], flavour, content(flavour, paused=paused), fast=action.endswith("fast"))


@pytest.mark.parametrize("package", FLAVOURS)
def test_rights_that_are_enough(redis: Database, way: str, package: str) -> None:
    """Those that docs/queues.md names."""
    flavour = FLAVOURS[package]
    rights = ["+@read", "+@write", "+@scripting", "+@connection", "+info", "+time"]
    if flavour.bull:
        rights.append("+publish")
    redis.link.call("ACL", "SETUSER", "part", "reset", "on", ">pw", "~bull:*", "&bull:*", *rights)
    for name, act in {**ACTIONS, **REPAIRS}.items():
        if name == "parents" and flavour.bull:
            continue
        written(redis, content(flavour, paused=False))
        other = Database(
            redis.place, redis.program, {**redis.options, "user": "part", "password": "pw"}, redis.port, "", ()
        )
        act(other.link, flavour)
        other.disconnect()
    redis.link.call("ACL", "DELUSER", "part")


@pytest.mark.parametrize(
    ("action", "package"),
    [(action, package) for action in REPAIRS for package in FLAVOURS if (action, package) != ("parents", "bull4")],
)
def test_user_without_a_command_repairs(redis: Database, way: str, action: str, package: str) -> None:
    """The same for repairs: jobs left in two lists would run twice."""
    flavour = FLAVOURS[package]
    commands = [
        *content(flavour, paused=False),
        ("HSET", f"{BASE}20", "name", "a", "opts", "{}"),
        ("LPUSH", f"{BASE}active", "20"),
        ("DEL", f"{BASE}marker"),
    ]
    if not flavour.bull:
        commands += [
            ("ZADD", f"{BASE}waiting-children", 1, "ranked", 1, "later"),
            ("HSET", f"{BASE}ranked", "name", "a", "priority", 3),
            ("HSET", f"{BASE}later", "name", "a", "delay", 3),
        ]
    refused_or_same(redis, REPAIRS[action], flavour, commands)


def refused_or_same(
    redis: Database, act: Callable[[Link, Flavour], Any], flavour: Flavour, commands: list[Command], fast: bool = False
) -> None:
    """Try it without each of the commands that it runs."""
    written(redis, commands)
    redis.link.call("CONFIG", "RESETSTAT")
    assert run_as(redis, "", act, flavour) is None
    counted = text(redis.link.call("INFO", "commandstats"))
    after = snapshot.take(redis.link)
    names = {line.partition(":")[0].removeprefix("cmdstat_").partition("|")[0] for line in counted.splitlines()[1:]}
    assert "eval" in names
    refused = 0
    for name in sorted(names - OF_THE_LINK):
        before = written(redis, commands)
        error = run_as(redis, name, act, flavour)
        found = snapshot.take(redis.link)
        if error is None:
            assert snapshot.differences(after, found, BUT_EVENT) == [], f"without {name}"
        elif "removed before" in str(error):
            # Pages before this one were done, and it says so.
            assert fast
        else:
            refused += 1
            assert snapshot.differences(before, found, EXACTLY) == [], f"without {name}: {error}"
    assert refused >= 1


# Keys that a script uses besides those of jobs; C(progress) changes them when a part of the work is done.
KINDS = {
    "list": ("wait", "paused", "active"),
    "zset": ("failed", "prioritized", "priority", "marker"),
    "string": ("pc", "meta-paused"),
    "hash": ("meta",),
    "stream": ("events",),
}
OF_BULL = {"wait", "paused", "active", "failed", "priority", "meta", "meta-paused"}
OF_BULLMQ = {"wait", "active", "failed", "meta", "events"}
USED = {
    "bull4": OF_BULL,
    "bullmq3": OF_BULLMQ | {"paused", "priority"},
    "bullmq4": OF_BULLMQ | {"paused", "prioritized", "pc"},
    "bullmq5": OF_BULLMQ | {"paused", "prioritized", "pc", "marker"},
    "bullmq6": OF_BULLMQ | {"prioritized", "pc", "marker"},
}


# Those that are counted are counted whatever the flavour.
COUNTED = {suffix for _command, suffix in _queue_retry.COUNTED}
CHANGES = [
    (package, suffix)
    for package, used in USED.items()
    for names in KINDS.values()
    for suffix in names
    if suffix in used or suffix not in COUNTED
]


@pytest.mark.parametrize(("package", "suffix"), CHANGES)
def test_key_changes_its_type_while_jobs_are_retried(redis: Database, package: str, suffix: str) -> None:
    """What a flavour uses is named before the next page writes; what it does not use is nobody's business."""
    link, key = redis.link, BASE + suffix
    jobs = [one for number in range(250) for one in job("failed", f"j{number}", at=OLD + number, priority=number % 2)]
    link.ask(*jobs)
    last: list[snapshot.Snapshot] = []

    def change(_count: int) -> None:
        if not last:
            wrong = ("LPUSH", key, "x") if suffix in KINDS["string"] else ("SET", key, "x")
            link.ask(("DEL", key), wrong)
            last.append(snapshot.take(link))

    flavour, used = FLAVOURS[package], suffix in USED[package]
    try:
        _queue_retry.retry(link, QUEUE, flavour, now_ms=NOW, progress=change)
    except RedisFailed as error:
        assert used and error.reason == "type" and key in str(error)
        assert snapshot.differences(last[0], snapshot.take(link), EXACTLY) == []
    else:
        assert not used and last
        assert link.call("ZCARD", f"{BASE}failed") == 0


@pytest.mark.parametrize("act", ["pause", "resume"])
@pytest.mark.parametrize("suffix", ["wait", "paused", "meta", "meta-paused", "events", "marker", "prioritized"])
def test_key_of_another_type_in_a_queue_of_bull(redis: Database, act: str, suffix: str) -> None:
    """Bull has fewer keys than BullMQ; others may be anything."""
    link, flavour = redis.link, FLAVOURS["bull4"]
    written(redis, content(flavour, paused=act == "resume"))
    wrong = ("LPUSH", BASE + suffix, "x") if suffix == "meta-paused" else ("SET", BASE + suffix, "x")
    link.ask(("DEL", BASE + suffix), wrong)
    before = snapshot.take(link)
    if suffix in OF_BULL:
        with pytest.raises(RedisFailed, match=f"{BASE}{suffix}"):
            ACTIONS[act](link, flavour)
        assert snapshot.take(link) == before
    else:
        ACTIONS[act](link, flavour)
        assert snapshot.take(link)[BASE + suffix] == before[BASE + suffix]
