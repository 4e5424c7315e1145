# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A version that somebody names: taken where the queue's keys allow it, refused with the reason where they do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Queue, QueueProblem, detect

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


def test_flow_of_bullmq_6(redis: Database, node: Callable[[str], Node]) -> None:
    """A queue that only a FlowProducer has written to has no version in its meta."""
    node("bullmq6").script(
        "const flow = new lib.FlowProducer({connection: given.redis});"
        "await flow.add({name: 'parent', queueName: given.queue, children: [{name: 'child', queueName: given.queue}]});"
        "await flow.close()",
        redis=redis.node,
        queue=MAIL.name,
    )
    assert not redis.link.call("HGET", MAIL.key("meta"), "version")
    assert detect(redis.link, MAIL).major < 6  # not to be told; so it can be named
    assert detect(redis.link, MAIL, "bullmq", "6.7.0").major == 6
