# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of queue_info and queue_repair share: queues of real packages, and who is connected to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.quai.ops.plugins.module_utils._queue_facts import Wanted, survey
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour, Queue
from ansible_collections.quai.ops.plugins.module_utils._queue_verdict import verdict
from ansible_collections.quai.ops.plugins.module_utils._resp import text

from lab.wait import until
from tests.queues.place import PACKAGES, Database, Node

Nodes = Callable[[str], Node]
Call = Callable[..., dict[str, Any]]


def crash(real: Node) -> None:
    """End a process as a crash would."""
    real.script("return 1")  # its number is known when it has answered
    real.kill()


MAIL = Queue("bull", "mail")
HOUR = 3_600_000
NEWER = [package for package in PACKAGES if package.startswith(("bullmq5", "bullmq6"))]
FLOWS = [package for package in PACKAGES if package.startswith("bullmq")]


def flavour_of(package: str) -> Flavour:
    """Who writes the queues of a package."""
    library, _space, version = PACKAGES[package].partition(" ")
    return Flavour(library, int(version.partition(".")[0]), version, "the test says so")


def look(redis: Database, package: str, queue: Queue = MAIL, **wanted: Any) -> dict[str, Any]:
    """Facts and verdict of one queue."""
    (found,) = survey(redis.server, [(queue, flavour_of(package))], Wanted(**wanted))
    return {**found, **verdict(found)}


def where(redis: Database, queue: str = "mail") -> dict[str, Any]:
    return {"redis": redis.node, "queue": queue}


def add(redis: Database, real: Node, count: int, **opts: Any) -> list[str]:
    jobs = [{"name": "send", "data": {"to": "someone@example.org", "n": n}, "opts": opts} for n in range(count)]
    ids: list[str] = real.call("add", {**where(redis), "jobs": jobs})
    return [str(one) for one in ids]


def alone(redis: Database, *processes: Node) -> None:
    """End processes as a crash would, and wait until Redis has noticed."""
    for real in processes:
        crash(real)
    until("nobody else connected", lambda: len(redis.link.call("CLIENT", "LIST").splitlines()) == 1, seconds=20)


def rests(redis: Database) -> bool:
    """Whether a worker of BullMQ 5 or later waits for a marker, and none is there."""
    clients, marker = redis.link.ask(("CLIENT", "LIST"), ("EXISTS", "bull:mail:marker"))
    return not marker and any(" flags=b " in line and "cmd=bzpopmin" in line for line in text(clients).splitlines())


def now(redis: Database) -> int:
    seconds, micro = redis.link.call("TIME")
    return int(seconds) * 1000 + int(micro) // 1000


def contents(redis: Database) -> dict[str, Any]:
    """Everything in the database."""
    keys = sorted(redis.link.call("KEYS", "*"))
    return dict(zip(map(text, keys), redis.link.ask(*(("DUMP", key) for key in keys))))
