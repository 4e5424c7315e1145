# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pause a queue, resume it, and wait until none of its jobs runs any more.

Pausing and resuming write what the library's own C(pause()) and C(resume()) write. Where those lose jobs, these do not:
up to BullMQ 5 and in Bull they rename C(wait) to C(paused) or back, which replaces what the other list holds; here both
are joined, in pages that keep Redis free for others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour, Queue, QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, Script, allowed, good
from ansible_collections.quai.ops.plugins.module_utils._resp import number, text

# Jobs that one run of a script moves between two lists: about 2 ms of Redis.
PAGE: Final = 3500
# How many of the jobs that still run are described.
MOST_HOLDERS: Final = 20
# The pause between two looks grows from the first to the second of these, in seconds.
POLL_SECONDS: Final = (0.02, 0.25)


class Change(NamedTuple):
    """What pausing or resuming did, or would do in a dry run."""

    changed: bool
    paused_before: bool
    paused: bool
    moved: int  # jobs moved one page at a time between wait and paused; a renamed list counts none
    jobs: int  # jobs that wait, in wait and paused together


class Holder(NamedTuple):
    """A job that still runs, or whose worker is gone."""

    queue: str
    id: str
    name: str
    worker: str  # what the worker calls itself; empty when it has no name
    since_ms: int | None  # since when it runs, ms since 1970 by the worker's clock; None: not started yet
    seconds: float | None  # how long it runs, by Redis' clock
    lock_ms: int | None  # for how long its lock is still valid; None: no worker holds it


class Waiting(NamedTuple):
    """A queue that is to be drained."""

    link: Link
    queue: Queue
    flavour: Flavour


class Drained(NamedTuple):
    """Whether nothing runs any more."""

    drained: bool
    active: dict[str, int]  # by name of the queue
    holders: tuple[Holder, ...]  # at most MOST_HOLDERS for each queue
    waited: float  # seconds


# A script that fails half way leaves half of its work. So nothing is written when a key is not what it should be; and
# whether the user may run all of READS and WRITES is asked before.
TYPES: Final = """
local function wrong_type(expected)
  for i = 1, #expected, 2 do
    local kind = redis.call('TYPE', expected[i])['ok']
    if kind ~= 'none' and kind ~= expected[i + 1] then
      return redis.error_reply('WRONGTYPE ' .. expected[i] .. ' is a ' .. kind .. ' in place of a ' .. expected[i + 1])
    end
  end
end
"""
READS: Final = ("TYPE", "HEXISTS", "LLEN", "LRANGE")
READS_BULL: Final = ("EXISTS",)
READS_BULLMQ: Final = ("LINDEX", "ZCARD", "ZRANGE")
WRITES: Final = ("RENAME", "HSET", "HDEL", "DEL", "RPUSH", "LPUSH", "LTRIM")
WRITES_BULL: Final = ("SET", "PUBLISH")
WRITES_BULLMQ: Final = ("XADD", "ZADD")
# One step of pausing or resuming. It decides first and writes then; with ARGV[4] = 0 it only decides.
#
# KEYS: 1 wait, 2 paused, 3 meta, 4 meta-paused, 5 events, 6 marker, 7 prioritized, 8 delayed
# ARGV: 1 bull or bullmq, 2 major version, 3 pause or resume, 4 whether to write, 5 jobs per page,
#       6 channel of Bull's event
# Returns: 1 whether it was paused before, 2 whether anything changed, 3 jobs moved one page at a time,
#          4 whether there is more to do, 5 jobs that wait
STEP: Final = Script(
    "queue_state",
    TYPES
    + """
local call = redis.call
local wait, paused, meta, meta_paused, events, marker = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local prioritized, delayed = KEYS[7], KEYS[8]
local bull, major = ARGV[1] == 'bull', tonumber(ARGV[2])
local pausing, writing, page = ARGV[3] == 'pause', ARGV[4] == '1', tonumber(ARGV[5])
local one_list = not bull and major >= 6

local expected = {
  wait, 'list', paused, 'list', meta, 'hash', events, 'stream', marker, 'zset', prioritized, 'zset', delayed, 'zset',
}
if bull then expected = {wait, 'list', paused, 'list', meta, 'hash', meta_paused, 'string'} end
local wrong = wrong_type(expected)
if wrong then return wrong end

local flag = call('HEXISTS', meta, 'paused') == 1
if bull then
  -- Bull's workers and producers heed meta-paused alone.
  flag = call('EXISTS', meta_paused) == 1 or (flag and not pausing)
end
local waiting, resting = call('LLEN', wait), call('LLEN', paused)
-- BullMQ 2 to 4 wake their workers with an id that stands for no job.
local only_marker = false
if waiting == 1 and not bull and major < 5 then
  local id = call('LINDEX', wait, 0)
  only_marker = id == '0' or string.sub(id, 1, 2) == '0:'
end
local ranked, soonest = false, nil
if not pausing and not bull and major >= 4 then
  ranked = call('ZCARD', prioritized) > 0
  if major >= 5 then soonest = call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2] end
end
-- What moves now: the head of paused goes behind the tail of wait, so that what was there first stays first; or, while
-- the queue is paused, the tail of wait goes before the head of paused.
local ids = {}
if pausing and flag and not one_list then
  ids = call('LRANGE', wait, -page, -1)
elseif waiting > 0 and resting > 0 then
  ids = call('LRANGE', paused, 0, page - 1)
end
local moved, more, changed = 0, 0, 0

local function tell(what)
  if bull then
    call('PUBLISH', ARGV[6], what)
  else
    call('XADD', events, '*', 'event', what)
  end
end

local function join_wait()
  call('RPUSH', wait, unpack(ids))
  call('LTRIM', paused, #ids, -1)
  moved = #ids
end

if pausing then
  if flag and (one_list or waiting == 0 or only_marker) then
    changed = 0
  elseif one_list then
    changed = 1
    if writing then
      tell('paused')
      call('HSET', meta, 'paused', 1)
      call('DEL', marker)
    end
  elseif flag then
    -- Jobs that were put into wait although the queue is paused: they are newer than those in paused.
    changed = 1
    if writing then
      local turned = {}
      for i = #ids, 1, -1 do turned[#turned + 1] = ids[i] end
      call('LPUSH', paused, unpack(turned))
      call('LTRIM', wait, 0, -#ids - 1)
      moved = #ids
      if waiting > moved then more = 1 end
    end
  else
    changed = 1
    if writing then
      if waiting > 0 and resting > page then
        join_wait()
        more = 1
      else
        tell('paused')
        if waiting > 0 then
          if resting > 0 then join_wait() end
          call('RENAME', wait, paused)
        end
        if bull then call('SET', meta_paused, 1) end
        call('HSET', meta, 'paused', 1)
        if not bull and major >= 5 then call('DEL', marker) end
      end
    end
  end
elseif flag or resting > 0 then
  changed = 1
  if writing then
    if flag then tell('resumed') end
    if bull then call('DEL', meta_paused) end
    call('HDEL', meta, 'paused')
    if resting > 0 then
      if waiting == 0 then
        call('RENAME', paused, wait)
      else
        join_wait()
        if resting > moved then more = 1 end
      end
    end
    if not bull then
      local ready = waiting + resting > 0
      if major >= 5 then
        if ready or ranked then
          call('ZADD', marker, 0, '0')
        elseif soonest then
          call('ZADD', marker, tonumber(soonest) / 4096, '1')
        end
      elseif major == 4 and ranked and not ready then
        call('LPUSH', wait, '0:0')
      end
    end
  end
end
return {flag and 1 or 0, changed, moved, more, waiting + resting}
""",
)


def pause(link: Link, queue: Queue, flavour: Flavour, *, dry: bool = False, page: int = PAGE) -> Change:
    """Pause a queue. Raises QueueProblem and RedisFailed."""
    if not dry:
        sure_of_lists(flavour, queue)
    return _steps(link, queue, flavour, "pause", dry=dry, page=page)


def resume(link: Link, queue: Queue, flavour: Flavour, *, dry: bool = False, page: int = PAGE) -> Change:
    """Resume a queue, or bring jobs back that were left in C(paused). Raises QueueProblem and RedisFailed."""
    return _steps(link, queue, flavour, "resume", dry=dry, page=page)


def is_paused(link: Link, queue: Queue, flavour: Flavour) -> bool:
    """Whether a queue is paused. Raises QueueProblem and RedisFailed."""
    return pause(link, queue, flavour, dry=True).paused_before


def _steps(link: Link, queue: Queue, flavour: Flavour, action: str, *, dry: bool, page: int) -> Change:
    major = major_of(flavour, queue)
    commands = [*READS, *(READS_BULL if flavour.bull else READS_BULLMQ)]
    if not dry:
        commands += [*WRITES, *(WRITES_BULL if flavour.bull else WRITES_BULLMQ)]
    allowed(link, queue.base, commands, f"to {action} it")
    names = ("wait", "paused", "meta", "meta-paused", "events", "marker", "prioritized", "delayed")
    keys = [queue.key(name) for name in names]
    channel = queue.key("paused" if action == "pause" else "resumed")
    before: bool | None = None
    changed, moved, jobs, more = False, 0, 0, True
    while more:
        arguments = (flavour.library, major, action, int(not dry), page, channel)
        flag, did, step, rest, waiting = link.run(STEP, keys, arguments)
        if before is None:
            before, jobs = bool(flag), waiting
        changed = changed or bool(did)
        moved += step
        more = bool(rest)
    return Change(changed, bool(before), bool(before) if dry else action == "pause", moved, jobs)


def major_of(flavour: Flavour, queue: Queue) -> int:
    """The major version of who wrote a queue, for what differs by version. Raises QueueProblem when it is unknown."""
    if flavour.major or flavour.bull:
        return flavour.major
    raise QueueProblem(
        f"{queue.name}: which version of BullMQ writes it cannot be told ({flavour.evidence}), and versions differ in "
        f"what is written here; give library: bullmq and its version"
    )


def sure_of_lists(flavour: Flavour, queue: Queue) -> None:
    """Return when it is known where jobs of a paused queue wait. Raises QueueProblem."""
    if flavour.unsure_of_5:
        raise QueueProblem(
            f"{queue.name}: whether BullMQ 5 or a later one writes it cannot be told ({flavour.evidence}), and they "
            f"differ in where jobs of a paused queue wait; give library: bullmq and its version, such as 5.0 or 6.0"
        )


def drained(
    waiting: Sequence[Waiting],
    seconds: float,
    *,
    stable_for: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Drained:
    """Wait until no job of these queues is active, for at most C(seconds), and stays so for C(stable_for) seconds.

    One look is taken in any case. Raises RedisFailed.
    """
    begin = clock()
    quiet_since: float | None = None
    step, longest = POLL_SECONDS
    while True:
        active = {one.queue.name: count_active(one.link, one.queue, one.flavour) for one in waiting}
        now = clock()
        if any(active.values()):
            quiet_since = None
        else:
            quiet_since = now if quiet_since is None else quiet_since
            if now - quiet_since >= stable_for:
                return Drained(True, active, (), now - begin)
        left = begin + seconds - now
        if left <= 0:
            break
        sleep(min(step, left))
        step = min(step * 1.5, longest)
    found = [holder for one in waiting if active[one.queue.name] for holder in holders(one.link, one.queue)]
    return Drained(False, active, tuple(found), clock() - begin)


def count_active(link: Link, queue: Queue, flavour: Flavour) -> int:
    """The number of jobs that are active. Raises RedisFailed."""
    key = queue.key("active")
    count = int(link.call("LLEN", key))
    if not count or flavour.bull or flavour.major >= 5:
        return count
    # What wakes a worker of BullMQ 2 to 4 passes through active.
    return sum(1 for reply in link.call("LRANGE", key, 0, -1) if not is_marker(text(reply)))


def is_marker(job: str) -> bool:
    """Whether an id in a list is no job but what BullMQ 2 to 4 wake a worker with."""
    return job == "0" or job.startswith("0:")


def holders(link: Link, queue: Queue, most: int = MOST_HOLDERS) -> list[Holder]:
    """Describe the jobs that are active, those that run longest first. Raises RedisFailed."""
    clock, listed = link.ask(("TIME",), ("LRANGE", queue.key("active"), -most, -1))
    seconds, micro = (int(text(part)) for part in good(clock, "TIME"))
    now = seconds * 1000 + micro // 1000
    ids = [text(reply) for reply in good(listed, queue.key("active")) if not is_marker(text(reply))]
    if not ids:
        return []
    commands: list[tuple[Any, ...]] = []
    for job in ids:
        commands += [("HMGET", queue.key(job), "name", "processedOn", "pb"), ("PTTL", queue.key(f"{job}:lock"))]
    replies = link.ask(*commands)
    found = []
    for index, job in enumerate(ids):
        fields, ttl = replies[2 * index], replies[2 * index + 1]
        name, started, worker = fields if isinstance(fields, list) else (None, None, None)
        since = number(started)
        found.append(
            Holder(
                queue.name,
                job,
                text(name),
                text(worker),
                since,
                None if since is None else max(0, now - since) / 1000,
                ttl if isinstance(ttl, int) and ttl >= 0 else None,
            )
        )
    return sorted(found, key=lambda holder: holder.since_ms or now)


__all__ = [
    "MOST_HOLDERS",
    "PAGE",
    "TYPES",
    "Change",
    "Drained",
    "Holder",
    "Waiting",
    "count_active",
    "drained",
    "holders",
    "is_marker",
    "is_paused",
    "major_of",
    "pause",
    "resume",
    "sure_of_lists",
]
