# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fixtures themselves: every package of the matrix adds, works and counts with the clock that it is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.quai.ops.plugins.module_utils._resp import text

from tests.queues.place import PACKAGES, Database, Node, NodeError, Place

NOW = 1_790_000_000_000


@pytest.mark.parametrize("package", PACKAGES)
def test_package(package: str, redis: Database, node: Callable[[str], Node]) -> None:
    real = node(package)
    where = {"redis": redis.node, "queue": "mail"}
    real.call("add", {**where, "jobs": [{"name": "a", "data": {"fail": i == 1}} for i in range(4)]}, now=NOW)
    assert len(real.call("work", {**where, "count": 2}, now=NOW + 5)) == 2
    assert len(real.call("take", {**where, "count": 1}, now=NOW + 6)) == 1
    counts = real.call("counts", where)
    assert (counts["waiting"], counts["active"], counts["completed"], counts["failed"]) == (1, 1, 1, 1)
    (_job, score) = redis.link.call("ZRANGE", "bull:mail:completed", 0, 0, "WITHSCORES")
    assert int(text(score)) == NOW + 5
    removed = real.call("clean", {**where, "grace": 0, "limit": 0, "state": "failed"}, now=NOW + 10)
    assert len(removed) == 1
    assert redis.link.call("ZCARD", "bull:mail:failed") == 0


def test_node_killed(packages: Place) -> None:
    real = packages.node("bullmq5", own=True)
    assert real.script("return Object.keys(lib).includes('Queue')")
    real.kill()
    with pytest.raises(NodeError, match="ended"):
        real.call("close")


def test_server_started_again(packages: Place) -> None:
    server = packages.serve("--appendonly", "yes")
    server.link.call("SET", "a", "b")
    server.kill()
    server.start()
    assert server.link.call("GET", "a") == b"b"
    server.kill()


def test_valkey(valkey: Database) -> None:
    assert valkey.link.facts().kind == "Valkey"
