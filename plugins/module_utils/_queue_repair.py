# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repairs of queues: what a library does by itself, done now, where it does not do it any more.

    paused_list    jobs in C(paused) of a queue that is not paused go back to C(wait), in turn
    stalled        active jobs that no worker holds go back, to be taken next, and are counted as stalled
    parents        parents whose children are all done are released, as the last child does
    parents_lost   parents whose other children are gone are released, as removing those children does
    wake           the marker that idle workers wait for is set

Every script decides first and writes then, looks at everything it relies on itself, and only decides when C(dry) is
set: so a plan is what the run that follows does unless the queue moves in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._queue_facts import (
    PARENT_AGE_MS,
    Facts,
    Wanted,
    survey,
    unmoved,
)
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour, Queue
from ansible_collections.quai.ops.plugins.module_utils._queue_state import major_of
from ansible_collections.quai.ops.plugins.module_utils._queue_verdict import STALLED_AFTER, stalled_jobs, verdict
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, Script, Server, allowed
from ansible_collections.quai.ops.plugins.module_utils._resp import Argument, Reply, text

# In the order in which they are done: what puts jobs back before what wakes for them.
REPAIRS: Final = ("paused_list", "stalled", "parents", "parents_lost", "wake")
# Ids that one run of a script treats, jobs that one run moves between lists.
IDS: Final = 200
PAGE: Final = 3500
# Time between the two looks at a job without a lock, s: a worker that has just taken it locks it in a round trip. The
# shorter when no worker is connected, for one that connects meanwhile.
BETWEEN: Final = 5.0
BETWEEN_UNATTENDED: Final = 1.0
# The same for workers of Bull and of BullMQ up to 4: they take a job and lock it in two steps, and one that is busy
# with another job may come late to the second. So long do these libraries wait themselves (stalledInterval).
BETWEEN_TWO_STEPS: Final = 30.0
POLL: Final = 0.5


class Done(NamedTuple):
    """What one repair did, or would do."""

    repair: str
    jobs: int  # or 1, when it is about the queue
    ids: tuple[str, ...]


class Refused(NamedTuple):
    """What a repair did not do, and why. C(id) is empty when it is about the queue."""

    repair: str
    id: str
    why: str


class Outcome(NamedTuple):
    """What was done to a queue, and what was refused."""

    done: tuple[Done, ...]
    refused: tuple[Refused, ...]
    before: Facts
    after: Facts

    @property
    def changed(self) -> bool:
        """Whether anything was done, or would be."""
        return bool(self.done)


_KEYS: Final = (
    *("wait", "paused", "active", "meta", "meta-paused", "events", "marker", "prioritized", "delayed", "priority"),
    *("pc", "stalled", "waiting-children"),
)
# KEYS: those of _KEYS. ARGV: 1 bull or bullmq, 2 major version, 3 whether to write, 4 ms since 1970, 5 what keys begin
# with, and what each script says.
_COMMON: Final = """
local call = redis.call
local wait, paused, active, meta, meta_paused, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local marker, prioritized, delayed, priority, pc = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local stalled, parents = KEYS[12], KEYS[13]
local bull, major, writing, now, base = ARGV[1] == 'bull', tonumber(ARGV[2]), ARGV[3] == '1', tonumber(ARGV[4]), ARGV[5]

local expected = {
  {wait, 'list'}, {paused, 'list'}, {active, 'list'}, {delayed, 'zset'}, {stalled, 'set'}, {meta, 'hash'},
}
if not bull then
  expected[#expected + 1] = {events, 'stream'}
  expected[#expected + 1] = {prioritized, 'zset'}
  expected[#expected + 1] = {parents, 'zset'}
  if major >= 4 then expected[#expected + 1] = {pc, 'string'} else expected[#expected + 1] = {priority, 'zset'} end
  if major >= 5 then expected[#expected + 1] = {marker, 'zset'} end
end
for _index, one in ipairs(expected) do
  local kind = call('TYPE', one[1])['ok']
  if kind ~= 'none' and kind ~= one[2] then
    return redis.error_reply('WRONGTYPE ' .. one[1] .. ' is a ' .. kind .. ' in place of a ' .. one[2])
  end
end

local function is_paused()
  if bull then return call('EXISTS', meta_paused) == 1 end
  return call('HEXISTS', meta, 'paused') == 1
end

local function is_maxed()
  local most = tonumber(call('HGET', meta, 'concurrency') or '')
  return most ~= nil and call('LLEN', active) >= most
end

-- Where jobs wait now.
local function target()
  if is_paused() and (bull or major <= 5) then return paused end
  return wait
end

local function set_marker()
  if not bull and major >= 5 and not is_paused() and not is_maxed() then call('ZADD', marker, 0, '0') end
end

local function tell(...)
  local most = tonumber(call('HGET', meta, 'opts.maxLenEvents') or '') or 10000
  call('XADD', events, 'MAXLEN', '~', most, '*', 'event', ...)
end
"""
# What the user must be allowed to run: a script that is stopped half way leaves jobs in two places.
_READS: Final = ("TYPE", "EXISTS", "HEXISTS", "HGET", "HMGET", "LLEN", "LINDEX", "LRANGE")
_READS_BULLMQ: Final = ("SCARD", "SMEMBERS", "ZCARD", "ZCOUNT", "ZRANGE", "ZSCORE")
_WRITES: Final = ("DEL", "HINCRBY", "LREM", "LTRIM", "RENAME", "RPUSH", "SREM")
_WRITES_BULL: Final = ("PUBLISH",)
_WRITES_BULLMQ: Final = ("INCRBY", "LINSERT", "LPUSH", "XADD", "ZADD", "ZREM")

# Returns: 1 jobs moved, or all that would be; 2 whether there are more; 3 why nothing was done.
_PAUSED_LIST: Final = Script(
    "queue_repair_paused_list",
    _COMMON
    + """
local page = tonumber(ARGV[6])
local resting, waiting = call('LLEN', paused), call('LLEN', wait)
if is_paused() then return {0, 0, 'paused'} end
if resting == 0 then return {0, 0, ''} end
if not writing then return {resting, 0, ''} end
local moved = resting
if waiting == 0 then
  call('RENAME', paused, wait)
else
  -- Those that were put in last are at the head; so the whole, in pages, keeps its order behind what waits.
  local ids = call('LRANGE', paused, 0, page - 1)
  call('RPUSH', wait, unpack(ids))
  call('LTRIM', paused, #ids, -1)
  moved = #ids
end
set_marker()
return {moved, call('EXISTS', paused), ''}
""",
)

# ARGV from 6: id, processedOn, attemptsMade and atm of each job, as they were when it was last seen.
# Returns: pairs of an id and why it was left alone; empty where it was put back.
_STALLED: Final = Script(
    "queue_repair_stalled",
    _COMMON
    + """
local held = {}
for _index, id in ipairs(call('LRANGE', active, 0, -1)) do held[id] = true end
local found, back = {}, {}
for i = 6, #ARGV, 4 do
  local id = ARGV[i]
  local key = base .. id
  local why = ''
  if call('EXISTS', key .. ':lock') == 1 then
    why = 'locked'
  elseif not held[id] then
    why = 'moved'
  elseif call('EXISTS', key) == 0 then
    why = 'ghost'
  else
    for n, value in ipairs(call('HMGET', key, 'processedOn', 'attemptsMade', 'atm')) do
      if (value or '') ~= ARGV[i + n] then why = 'moved' end
    end
  end
  found[#found + 1] = id
  found[#found + 1] = why
  if why == '' then back[#back + 1] = id end
end
if writing and #back > 0 then
  local where = target()
  for _index, id in ipairs(back) do
    -- What may fail, a counter that is no number, comes before what moves the job.
    call('SREM', stalled, id)
    call('HINCRBY', base .. id, major >= 5 and not bull and 'stc' or 'stalledCounter', 1)
    call('LREM', active, 1, id)
    call('RPUSH', where, id)
    if bull then
      call('PUBLISH', stalled .. '@', id)
    else
      tell('waiting', 'jobId', id, 'prev', 'active')
      tell('stalled', 'jobId', id)
    end
  end
  set_marker()
end
return found
""",
)

# ARGV from 6: done or lost, the age in ms that a parent must have, ids.
# Returns: pairs of an id and why it was left alone; empty where it was released.
_PARENTS: Final = Script(
    "queue_repair_parents",
    _COMMON
    + """
local lost, age = ARGV[6] == 'lost', tonumber(ARGV[7])
local found, ready = {}, {}
for i = 8, #ARGV do
  local id = ARGV[i]
  local key = base .. id
  local since = tonumber(call('ZSCORE', parents, id) or '')
  local children = call('SCARD', key .. ':dependencies')
  local why = ''
  if not since then
    why = 'moved'
  elseif call('EXISTS', key) == 0 then
    why = 'ghost'
  elseif since > now - age then
    why = 'young'
  elseif call('HEXISTS', key, 'flowAttachmentFailed') == 1 then
    why = 'unfinished'
  elseif children > 0 and not lost then
    why = 'children'
  elseif children > 1000 then
    why = 'many'
  elseif children > 0 then
    for _index, child in ipairs(call('SMEMBERS', key .. ':dependencies')) do
      if call('EXISTS', child) == 1 then why = 'children' end
    end
  elseif lost then
    why = 'done'
  end
  found[#found + 1] = id
  found[#found + 1] = why
  if why == '' then ready[#ready + 1] = id end
end
if writing and #ready > 0 then
  for _index, id in ipairs(ready) do
    local key = base .. id
    local job = call('HMGET', key, 'priority', 'delay')
    local rank, later = tonumber(job[1] or '') or 0, tonumber(job[2] or '') or 0
    local delays = later > 0 and major >= 3
    call('DEL', key .. ':dependencies')
    local score
    if rank ~= 0 and not delays and major >= 4 then
      -- It may fail, where pc is no number; so it comes before what moves the job.
      score = rank * 4294967296 + call('INCRBY', pc, 1) % 4294967296
    end
    call('ZREM', parents, id)
    if delays then
      local moment = now + later
      call('ZADD', delayed, moment * 4096, id)
      if major >= 5 then
        call('ZADD', marker, tonumber(call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]) / 4096, '1')
      end
      tell('delayed', 'jobId', id, 'delay', moment)
    else
      if rank == 0 then
        call('RPUSH', target(), id)
      elseif score then
        call('ZADD', prioritized, score, id)
        if major == 4 and not is_paused() and call('LLEN', wait) == 0 then call('LPUSH', wait, '0:0') end
      else
        -- Up to BullMQ 3 the list itself is in order: it goes behind those that are as urgent.
        local list = target()
        call('ZADD', priority, rank, id)
        local before = call('ZCOUNT', priority, 0, rank)
        local other = call('LINDEX', list, call('LLEN', list) - (before - 1))
        if other then call('LINSERT', list, 'BEFORE', other, id) else call('RPUSH', list, id) end
      end
      tell('waiting', 'jobId', id, 'prev', 'waiting-children')
      set_marker()
    end
  end
end
return found
""",
)

# Returns: what wakes (work, delayed or nothing), and why nothing was done.
_WAKE: Final = Script(
    "queue_repair_wake",
    _COMMON
    + """
if is_paused() then return {'', 'paused'} end
if bull or major < 4 then return {'', 'version'} end
local waiting, ranked = call('LLEN', wait), call('ZCARD', prioritized)
if major == 4 then
  if ranked == 0 or waiting > 0 then return {'', ''} end
  if writing then call('LPUSH', wait, '0:0') end
  return {'work', ''}
end
if waiting + ranked > 0 then
  if is_maxed() then return {'', 'maxed'} end
  if call('ZSCORE', marker, '0') then return {'', ''} end
  if writing then call('ZADD', marker, 0, '0') end
  return {'work', ''}
end
local soonest = call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
if not soonest then return {'', ''} end
local moment = math.floor(tonumber(soonest) / 4096)
local set = tonumber(call('ZSCORE', marker, '1') or '')
if call('ZSCORE', marker, '0') or (set and set <= moment + 1) then return {'', ''} end
if writing then call('ZADD', marker, moment, '1') end
return {'delayed', ''}
""",
)

# Why something was left alone, for people.
WHY: Final[Mapping[str, str]] = {
    "locked": "a worker holds its lock, so it is being worked on",
    "moved": "it has moved since it was looked at",
    "ghost": "there is no job of this id, only its id",
    "young": f"it is younger than {PARENT_AGE_MS // 1000} s; its children may still be added",
    "unfinished": "its flow was not added completely",
    "children": "it has children that are not done",
    "done": "its children are done: repair parents does it",
    "many": "it has more than 1000 children left",
    "paused": "the queue is paused; resume it",
    "maxed": "as many jobs are active as the queue allows, so waking would be in vain",
    "version": "workers of this version find waiting jobs by themselves",
    "unsure": "the queue is paused, and BullMQ 5 and later ones keep its jobs in different lists; give its version",
    "recent": "it has been without a lock for too short a time to be sure",
}


def repair(
    server: Server,
    link: Link,
    queue: Queue,
    flavour: Flavour,
    *,
    which: Iterable[str] | None = None,
    dry: bool = False,
    stalled_after: float = STALLED_AFTER,
    between: float | None = None,
    now_ms: int | None = None,
    samples: int = 20,
    pause: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Repair a queue. C(which) are names in REPAIRS; None does what the verdict suggests and is safe unasked.

    C(stalled_after) is for how long a job must be active without a lock, C(between) the time between the two looks at
    it, both in seconds. Raises QueueProblem and RedisFailed.
    """
    wanted = Wanted(samples=samples, now_ms=now_ms, pause=pause)
    (before,) = survey(server, [(queue, flavour)], wanted, link=link)
    chosen = verdict(before, stalled_after=stalled_after)["repairs"] if which is None else list(which)
    tools = Tools(link, queue, flavour, dry=dry, now=int(before["looked_at_ms"]))
    done: list[Done] = []
    refused: list[Refused] = []
    # What looks twice needs a second look; everything else is decided by its script.
    seen = before
    if "stalled" in chosen and before["unlocked"]:
        pause(apart(flavour, before["workers"]) if between is None else between)
        (seen,) = survey(server, [(queue, flavour)], wanted, link=link, before=[before])
    for name in (one for one in REPAIRS if one in chosen):
        did, left = getattr(tools, name)(seen, stalled_after)
        if did:
            done.append(Done(name, did[0], tuple(did[1][:samples])))
        refused += [Refused(name, one, WHY[why]) for one, why in left]
    if dry or not done:
        return Outcome(tuple(done), tuple(refused), before, before)
    (after,) = survey(server, [(queue, flavour)], wanted, link=link, before=[before])
    return Outcome(tuple(done), tuple(refused), before, after)


def apart(flavour: Flavour, workers: int | None) -> float:
    """Seconds between two looks at a job without a lock; C(workers) are connected, None: nobody knows."""
    if workers == 0:
        return BETWEEN_UNATTENDED
    return BETWEEN if flavour.marker_set and flavour.major else BETWEEN_TWO_STEPS


def until_moving(
    server: Server,
    queues: Sequence[tuple[Queue, Flavour]],
    before: Sequence[Facts],
    seconds: float,
    *,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[Facts]:
    """Wait until jobs of every queue move that has waiting ones, for at most C(seconds); returns the last facts.

    A worker that holds on to a long job is at work as well. A queue that is paused or has nothing waiting is not
    waited for. Raises RedisFailed.
    """
    end = clock() + seconds
    wanted = Wanted(pause=pause)
    found = list(before)
    while True:
        found = survey(server, queues, wanted, before=before)
        if not any(map(unmoved, found)) or clock() >= end:
            return found
        pause(min(POLL, max(0.0, end - clock())))


_Did = tuple[int, list[str]]
_Left = list[tuple[str, str]]


class Tools:
    """The repairs of one queue, each as its script decides it, given facts that may have changed since."""

    def __init__(self, link: Link, queue: Queue, flavour: Flavour, *, dry: bool, now: int) -> None:
        self._link = link
        self._flavour = flavour
        self._keys = [queue.key(name) for name in _KEYS]
        self._arguments: tuple[Argument, ...] = (
            *(flavour.library, major_of(flavour, queue), int(not dry), now, queue.base),
        )
        self._base = queue.base
        self._commands = [*_READS, *(() if flavour.bull else _READS_BULLMQ)]
        if not dry:
            self._commands += [*_WRITES, *(_WRITES_BULL if flavour.bull else _WRITES_BULLMQ)]

    def _run(self, script: Script, *arguments: Argument) -> Reply:
        if self._commands:
            allowed(self._link, self._base, self._commands, "its repair")
            self._commands = []
        return self._link.run(script, self._keys, (*self._arguments, *arguments))

    def paused_list(self, _found: Facts, _after: float) -> tuple[_Did | None, _Left]:
        """Bring back what was left in C(paused)."""
        moved = 0
        while True:
            step, more, why = self._run(_PAUSED_LIST, PAGE)
            moved += step
            if text(why):
                return ((moved, []) if moved else None), [("", text(why))]
            if not more:
                return ((moved, []) if moved else None), []

    def stalled(self, found: Facts, after: float) -> tuple[_Did | None, _Left]:
        """Put back active jobs that nobody holds."""
        twice = [one for one in stalled_jobs(found, after) if one["seen_for_s"] > 0]
        sure = {one["id"] for one in twice}
        left = [(one["id"], "recent") for one in found["unlocked"] if one["id"] not in sure]
        if twice and self._unsure(found):
            return None, [*left, ("", "unsure")]
        did: list[str] = []
        for start in range(0, len(twice), IDS):
            given: list[Argument] = []
            for one in twice[start : start + IDS]:
                given += [one["id"], *one["_mark"]]
            _split(self._run(_STALLED, *given), did, left)
        return ((len(did), did) if did else None), left

    def parents(self, found: Facts, _after: float) -> tuple[_Did | None, _Left]:
        """Release parents whose children are all done."""
        return self._release(found, "done")

    def parents_lost(self, found: Facts, _after: float) -> tuple[_Did | None, _Left]:
        """Release parents whose other children are gone."""
        return self._release(found, "lost")

    def _release(self, found: Facts, why: str) -> tuple[_Did | None, _Left]:
        if self._flavour.bull:
            return None, []
        ids = [one["id"] for one in found["parents"]["stuck"] if one["why"] == why]
        if ids and self._unsure(found):
            return None, [("", "unsure")]
        did: list[str] = []
        left: _Left = []
        for start in range(0, len(ids), IDS):
            _split(self._run(_PARENTS, why, PARENT_AGE_MS, *ids[start : start + IDS]), did, left)
        return ((len(did), did) if did else None), left

    def _unsure(self, found: Facts) -> bool:
        """Whether nobody knows into which list jobs go now."""
        return self._flavour.unsure_of_5 and bool(found["paused"])

    def wake(self, _found: Facts, _after: float) -> tuple[_Did | None, _Left]:
        """Set the marker that idle workers wait for."""
        what, why = (text(one) for one in self._run(_WAKE))
        return ((1, []) if what else None), [("", why)] if why else []


def _split(reply: Reply, did: list[str], left: _Left) -> None:
    """Sort a script's pairs of ids and reasons."""
    pairs: list[Any] = list(reply)
    for one, why in zip(pairs[::2], pairs[1::2]):
        if text(why):
            left.append((text(one), text(why)))
        else:
            did.append(text(one))


__all__ = [
    "BETWEEN",
    "BETWEEN_TWO_STEPS",
    "BETWEEN_UNATTENDED",
    "REPAIRS",
    "WHY",
    "Done",
    "Outcome",
    "Refused",
    "Tools",
    "apart",
    "repair",
    "until_moving",
]
