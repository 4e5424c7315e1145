# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A version that somebody names: taken where the queue's keys allow it, refused with the reason where they do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _queue_clean, _queue_repair, _queue_retry, _queue_state
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour, Queue, QueueProblem, detect
from ansible_collections.quai.ops.plugins.module_utils._queue_rules import Policy, rules
from ansible_collections.quai.ops.plugins.modules import queue_state

from tests.module import outcome
from tests.queues import snapshot
from tests.queues.place import Database, Node

MAIL = Queue("bull", "mail")
EVENTS = ("XADD", "events", "*", "a", "b")
MARKER = ("ZADD", "marker", 0, "0")
PRIORITY = ("ZADD", "priority", 1, "1")
DELAYS = ("XADD", "delay", "*", "a", "b")
PRIORITIZED = ("ZADD", "prioritized", 0, "1")
Command = tuple[Any, ...]


def put(redis: Database, *commands: Command) -> None:
    """Write keys of the queue."""
    redis.link.ask(*((name, MAIL.key(key), *rest) for name, key, *rest in commands))


@pytest.mark.parametrize(
    ("commands", "version", "mixed"),
    [
        ((MARKER,), "5.81.5", ""),
        ((MARKER,), "6.7.0", ""),
        ((MARKER, ("RPUSH", "paused", "1")), "6.7.0", "BullMQ 5 or older"),
        ((PRIORITIZED,), "4.18.3", ""),
        ((PRIORITIZED, PRIORITY), "6.7.0", "BullMQ 3 or older"),
        ((EVENTS,), "1.91.1", ""),
        ((EVENTS,), "6.7.0", ""),
        ((EVENTS, PRIORITY), "1.91.1", ""),
        ((EVENTS, PRIORITY), "2.4.0", ""),
        ((DELAYS, EVENTS), "1.91.1", ""),
        ((DELAYS, EVENTS), "2.4.0", ""),  # once written by BullMQ 1
        ((("HSET", "meta", "version", "bullmq:6.7.0"), MARKER), "6.1.0", ""),
        ((("HSET", "meta", "version", "bullmq-pro:7.1.0"), MARKER), "6.1.0", ""),
    ],
)
def test_taken(redis: Database, commands: tuple[Command, ...], version: str, mixed: str) -> None:
    """What the keys tell is only the oldest or the newest version that writes them."""
    put(redis, *commands)
    found = detect(redis.link, MAIL, "bullmq", version)
    assert (found.library, found.major, found.version) == ("bullmq", int(version[0]), version)
    assert mixed in found.mixed and bool(mixed) is bool(found.mixed)


@pytest.mark.parametrize(
    ("commands", "version", "why"),
    [
        ((MARKER,), "4.18.3", "marker"),
        ((PRIORITIZED,), "3.16.2", "prioritized"),
        ((EVENTS, PRIORITY), "4.18.3", "BullMQ 3 and older"),
        ((("HSET", "meta", "version", "bullmq:6.7.0"), MARKER), "5.81.5", "bullmq:6.7.0"),
        ((("HSET", "meta", "version", "bullmq:3.1.0"), MARKER), "5.81.5", "bullmq:3.1.0"),
        ((("SET", "meta-paused", 1),), "5.81.5", "meta-paused"),
    ],
)
def test_refused(redis: Database, commands: tuple[Command, ...], version: str, why: str) -> None:
    """What no such version can have written."""
    put(redis, *commands)
    with pytest.raises(QueueProblem, match=f"mail: said to be of bullmq {version}, but it.*{why}"):
        detect(redis.link, MAIL, "bullmq", version)


def flow(redis: Database, real: Node) -> None:
    """Have a FlowProducer add a parent and its child."""
    real.script(
        "const flow = new lib.FlowProducer({connection: given.redis});"
        "await flow.add({name: 'parent', queueName: given.queue, children: [{name: 'child', queueName: given.queue}]});"
        "await flow.close()",
        redis=redis.node,
        queue=MAIL.name,
    )


def test_flow_of_bullmq_6(redis: Database, node: Callable[[str], Node]) -> None:
    """A queue that only a FlowProducer has written to has no version in its meta."""
    flow(redis, node("bullmq6"))
    assert not redis.link.call("HGET", MAIL.key("meta"), "version")
    found = detect(redis.link, MAIL)
    assert found.major < 6 and found.unsure_of_5  # not to be told; so it can be named
    assert detect(redis.link, MAIL, "bullmq", "6.7.0").major == 6


def module(redis: Database, capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    """queue_state."""
    given = {name: value for name, value in redis.options.items() if name in ("host", "port", "database")}
    return outcome(queue_state, {**given, "queues": ["mail"], **options}, capsys)


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    "asked", [{"state": "paused"}, {"state": "drained", "wait": "0s"}], ids=["paused", "drained"]
)
def test_pausing_a_flow_needs_its_version(
    redis: Database, node: Callable[[str], Node], capsys: pytest.CaptureFixture[str], asked: dict[str, Any], check: bool
) -> None:
    """BullMQ 6 leaves the jobs in C(wait); in the other list, its workers would not see them after its own resume."""
    flow(redis, node("bullmq6"))
    before = snapshot.take(redis.link)
    refused = module(redis, capsys, _ansible_check_mode=check, **asked)
    assert refused["failed"] and refused["reason"] == "input"
    assert refused["msg"].startswith("mail: whether BullMQ 5 or a later one writes it cannot be told (it has a marker")
    assert refused["msg"].endswith("give library: bullmq and its version, such as 5.0 or 6.0")
    assert snapshot.take(redis.link) == before
    looked = module(redis, capsys, **{**asked, "pause": False}) if asked["state"] == "drained" else {}
    assert not looked.get("failed")
    done = module(redis, capsys, library="bullmq", version="6.7.0", **asked)
    assert done["changed"]
    assert redis.link.call("LLEN", MAIL.key("wait")) == 1
    assert not redis.link.call("EXISTS", MAIL.key("paused"))


def test_a_worker_of_bullmq_6_takes_the_job_of_a_flow_that_was_paused(
    redis: Database, node: Callable[[str], Node], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its marker, which pausing takes away, the version has to be said again."""
    real = node("bullmq6")
    flow(redis, real)
    assert module(redis, capsys, state="paused", library="bullmq", version="6.7.0")["changed"]
    refused = module(redis, capsys, state="running")
    assert refused["failed"] and "give library: bullmq and its version" in refused["msg"]
    assert module(redis, capsys, state="running", library="bullmq", version="6.7.0")["changed"]
    done = real.call("work", {"redis": redis.node, "queue": "mail", "count": 2})
    assert done
    assert redis.link.call("ZCARD", MAIL.key("completed")) == 2


UNSURE = Flavour("bullmq", 5, "", "it has a marker, as BullMQ 5 and later have")
NOW = 1_790_000_000_000


@pytest.mark.parametrize("paused", [True, False])
def test_what_puts_jobs_into_the_lists_of_a_paused_queue(redis: Database, paused: bool) -> None:
    """Retries, repairs and freed parents go where waiting jobs are: only while it is paused the versions differ."""
    link = redis.link
    put(
        redis,
        MARKER,
        *([("HSET", "meta", "paused", 1)] if paused else []),
        ("HSET", "1", "name", "a", "opts", "{}", "data", "{}", "timestamp", 1, "finishedOn", 1),
        ("ZADD", "failed", 1, "1"),
        ("HSET", "2", "name", "a", "opts", "{}", "data", "{}", "timestamp", 1),
        ("LPUSH", "active", "2"),
        ("HSET", "3", "name", "a", "opts", "{}", "data", "{}", "timestamp", 1),
        ("ZADD", "waiting-children", 1, "3"),
    )
    before = snapshot.take(link)
    found = {
        "paused": paused,
        "unlocked": [{"id": "2", "seen_for_s": 99.0, "since_s": 99.0, "_mark": ["", "", ""]}],
        "parents": {"stuck": [{"id": "3", "why": "done"}]},
    }
    tools = _queue_repair.Tools(link, MAIL, UNSURE, dry=False, now=NOW)
    policy = Policy(parents="upstream")
    with pytest.raises(QueueProblem, match="give library: bullmq and its version"):
        _queue_clean.clean(link, MAIL, UNSURE, rules([{"state": "failed", "older_than": 0}]), policy, dry=True)
    if paused:
        with pytest.raises(QueueProblem, match="give library: bullmq and its version"):
            _queue_retry.retry(link, MAIL, UNSURE, now_ms=NOW)
        assert tools.stalled(found, 0.0) == (None, [("", "unsure")])
        assert tools.parents(found, 0.0) == (None, [("", "unsure")])
        assert snapshot.take(link) == before
        with pytest.raises(QueueProblem, match="give library: bullmq and its version"):
            _queue_state.pause(link, MAIL, UNSURE)
        assert _queue_state.is_paused(link, MAIL, UNSURE)
    else:
        assert tools.stalled(found, 0.0)[0] == (1, ["2"])
        assert tools.parents(found, 0.0)[0] == (1, ["3"])
        assert _queue_retry.retry(link, MAIL, UNSURE, now_ms=NOW).retried == 1
        assert link.call("LLEN", MAIL.key("wait")) == 3
