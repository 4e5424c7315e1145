# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What quai does to a queue, with nothing but the engine: C(ours.py ACTION {"port": ..., "queue": ..., ...}).

Prints C({"seconds": of the action alone, "result": ..., "rss_kib": ...}), as peer.js does.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from ansible_collections.quai.ops.plugins.module_utils import _queue_clean, _queue_facts, _queue_retry, _queue_rules
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Queue, detect
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Server


def clean(server: Server, given: dict[str, Any]) -> int:
    """Remove all jobs of a state."""
    queue = Queue("bull", given["queue"])
    link = server.at(queue.base)
    rules = _queue_rules.rules([{"state": given["state"], "older_than": 0}])
    policy = _queue_rules.Policy(fast=given["fast"], chunk_ms=given["chunk_ms"])
    done = _queue_clean.clean(link, queue, detect(link, queue), rules, policy, dry=False)
    return sum(done.removed.values())


def retry(server: Server, given: dict[str, Any]) -> int:
    """Retry all failed jobs."""
    queue = Queue("bull", given["queue"])
    link = server.at(queue.base)
    return _queue_retry.retry(link, queue, detect(link, queue), "failed", chunk_ms=given["chunk_ms"]).retried


def counts(server: Server, given: dict[str, Any]) -> int:
    """Count the jobs of many queues."""
    queues = [Queue("bull", name) for name in given["names"]]
    found = _queue_facts.counts(server.at(queues[0].base), queues)
    return sum(sum(one["counts"].values()) for one in found)


def main() -> None:
    """Do it."""
    given = json.loads(sys.argv[2])
    with Server({"port": given["port"], "client": "builtin"}) as server:
        began = time.perf_counter()
        result = {"clean": clean, "retry": retry, "counts": counts}[sys.argv[1]](server, given)
        seconds = time.perf_counter() - began
    memory = Path("/proc/self/status").read_text(encoding="ascii").partition("VmHWM:")[2].split()[0]
    print(json.dumps({"seconds": seconds, "result": result, "rss_kib": int(memory)}))


main()
