#!/usr/bin/python3
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fills the Redis of the scenario with jobs as BullMQ 5 and Bull 4 leave them, old and young ones, and with sessions.

That the clean-up does to real queues what it should is proven in tests/queues, with the libraries themselves.
"""

from __future__ import annotations

import subprocess
import sys
import time

DAY = 86_400_000
NOW = int(time.time() * 1000)
COMMANDS: list[list[str]] = []


def job(queue: str, state: str, name: str, finished: int) -> None:
    """One finished job."""
    key = f"bull:{queue}:{name}"
    fields = ["name", "send", "data", "{}", "opts", "{}", "timestamp", str(finished - 5), "finishedOn", str(finished)]
    COMMANDS.append(["HSET", key, *fields])
    COMMANDS.append(["ZADD", f"bull:{queue}:{state}", str(finished), name])


COMMANDS.append(["FLUSHALL"])
COMMANDS.append(["HSET", "bull:mail:meta", "opts.maxLenEvents", "10000", "version", "bullmq:5.81.5"])
COMMANDS.append(["SET", "bull:mail:id", "40"])
COMMANDS.append(["SET", "bull:post:id", "4"])
for number in range(10):
    job("mail", "completed", f"old{number}", NOW - 2 * DAY - number)
    job("mail", "failed", f"ancient{number}", NOW - 31 * DAY - number)
for number in range(3):
    job("mail", "completed", f"young{number}", NOW - DAY // 2 - number)
    job("mail", "failed", f"month{number}", NOW - 20 * DAY - number)
    job("post", "failed", f"post{number}", NOW - DAY - number)
job("post", "completed", "done", NOW - DAY)
COMMANDS.append(["RPUSH", "bull:mail:wait", "40"])
COMMANDS.append(["HSET", "bull:mail:40", "name", "send", "data", "{}", "opts", "{}", "timestamp", str(NOW - 9 * DAY)])
COMMANDS.append(["SET", "session:forever", "x"])
COMMANDS.append(["SET", "session:hour", "x", "EX", "3600"])
COMMANDS.append(["SET", "expired:one", "x"])
COMMANDS.append(["SET", "other", "x"])

# The password comes from the environment, as redis-cli wants it.
lines = "\n".join(" ".join(f"'{word}'" for word in command) for command in COMMANDS) + "\n"
done = subprocess.run(["redis-cli"], input=lines, capture_output=True, text=True, check=True)
wrong = [line for line in done.stdout.splitlines() if "ERR" in line or "NOAUTH" in line]
sys.exit("\n".join(wrong) or 0)
