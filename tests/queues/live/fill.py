# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many jobs of a version at once, written as it writes them; and whether ids, jobs and their parts fit together."""

from __future__ import annotations

import re
from typing import Any

from tests.queues.live.wire import Wire
from tests.queues.place import library_of

NOW = 1_795_000_000_000  # the time, in ms since 1970, that tests give to what they make and to what looks at it
LISTS = ("wait", "paused", "active")
SETS = ("completed", "failed", "delayed", "prioritized", "waiting-children")
PARTS = ("logs", "dependencies", "processed", "failed", "unsuccessful", "lock")
# Fills in one script, because it is asked for many times. Ages grow with the number of the job, a second each.
SCRIPT = """
local base, state, attempts = ARGV[1], ARGV[2], ARGV[6]
local first, count, now = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
for i = first, first + count - 1 do
  local id, at = tostring(i), string.format('%d', now - i * 1000)
  redis.call('HSET', base .. id, 'name', i % 5 == 0 and 'fifth' or 'job', 'data', '{"i":' .. id .. '}',
    'opts', '{"attempts":1}', 'timestamp', at, 'delay', '0', 'priority', i % 4 == 0 and state ~= 'wait' and '2' or '0')
  if i % 3 == 0 then redis.call('RPUSH', base .. id .. ':logs', 'a', 'b') end
  if state == 'completed' or state == 'failed' then
    redis.call('HSET', base .. id, 'processedOn', at, 'finishedOn', at, attempts, '1')
    if state == 'failed' then
      redis.call('HSET', base .. id, 'failedReason', 'as asked', 'stacktrace', '["Error: as asked"]')
    else
      redis.call('HSET', base .. id, 'returnvalue', '1')
    end
    redis.call('ZADD', base .. state, at, id)
  else
    redis.call('LPUSH', base .. state, id)
  end
end
redis.call('SET', base .. 'id', first + count - 1)
"""


def fill(wire: Wire, package: str, queue: str, state: str, count: int, *, first: int = 1, now: int = NOW) -> None:
    """Add jobs, numbered from C(first), in the state completed, failed, wait or paused."""
    library, version = library_of(package)
    base = f"bull:{queue}:"
    attempts = "attemptsMade" if library == "bull" or int(version.split(".")[0]) <= 4 else "atm"
    wire("EVAL", SCRIPT, 0, base, state, first, count, now, attempts)
    if library == "bullmq":
        wire("HSET", f"{base}meta", "opts.maxLenEvents", 10000, "version", f"bullmq:{version}")
    if state == "paused":
        wire("HSET", f"{base}meta", "paused", 1)
        if library == "bull":
            wire("SET", f"{base}meta-paused", 1)


def unsound(wire: Wire, queue: str) -> list[str]:
    """What does not fit together: ids without a job, jobs in no state or in two, parts without their job."""
    base = f"bull:{queue}:"
    keys = [str(key)[len(base) :] for key in wire("KEYS", f"{base}*")]
    kinds = dict(zip(keys, wire.many([("TYPE", base + key) for key in keys]), strict=True)) if keys else {}
    jobs = {key for key, kind in kinds.items() if kind == "hash" and re.fullmatch(r"\d+|flow-\d+|[0-9a-f-]{36}", key)}
    places: dict[str, list[str]] = {}
    for state in (*LISTS, *SETS):
        if state in kinds:
            reading = ("LRANGE", "ZRANGE")[state in SETS]
            for job in wire(reading, base + state, 0, -1):
                places.setdefault(job, []).append(state)
    # What BullMQ 2 to 4 wake a worker with is no job.
    places = {job: found for job, found in places.items() if not job.startswith("0:") and job != "0"}
    problems = [f"{job} is in {' and '.join(found)}" for job, found in places.items() if len(found) > 1]
    problems += [f"{job} in {places[job][0]} has no hash" for job in places if job not in kinds]
    problems += [f"{job} is in no state" for job in jobs if job not in places]
    for key in keys:
        job, colon, part = key.rpartition(":")
        if colon and part in PARTS and job not in jobs:
            problems.append(f"{key} has no job")
    return sorted(problems)


def counts(wire: Wire, queue: str) -> dict[str, Any]:
    """Jobs by state, of the states that have some."""
    base = f"bull:{queue}:"
    found = {state: wire("LLEN", base + state) for state in LISTS}
    found.update({state: wire("ZCARD", base + state) for state in SETS})
    return {state: number for state, number in found.items() if number}
