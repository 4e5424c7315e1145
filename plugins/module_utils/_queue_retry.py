# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put failed or completed jobs back into the queue, as each version's own C(job.retry()) does, many at a time.

It differs from it where that one loses something: in every version a job keeps its priority and a paused queue stays
paused, and an id without a job (a ghost) or a job that a worker still holds is left alone. A page of jobs is decided on
and moved by one run of a script, so that no job is ever in two states or in none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._queue_layout import STATES as LISTED
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour, Queue, QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._queue_lua import CLOCK, ELSEWHERE, GLOB
from ansible_collections.quai.ops.plugins.module_utils._queue_pace import Pace
from ansible_collections.quai.ops.plugins.module_utils._queue_rules import lua_glob
from ansible_collections.quai.ops.plugins.module_utils._queue_state import TYPES, major_of, sure_of_lists
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, RedisFailed, Script, allowed, good
from ansible_collections.quai.ops.plugins.module_utils._resp import Argument, Refusal, text

# States that jobs can be retried from.
STATES: Final = ("failed", "completed")
# Jobs of the first run of the script. Lua hands at most 7,999 values to a command, and a job may need two.
FIRST_PAGE: Final = 200
LARGEST_PAGE: Final = 3500
MOST_SAMPLES: Final = 20
# What is counted before and after, with the command that counts it.
COUNTED: Final = (
    *(("LLEN", name) for name in ("wait", "paused", "active")),
    *(("ZCARD", name) for name in ("prioritized", "delayed", "completed", "failed", "waiting-children")),
)
# Why a job was left where it is.
LEFT: Final = ("young", "filter", "locked", "ghost", "damaged")


class Retried(NamedTuple):
    """What was retried, or would be in a dry run."""

    counts_before: Mapping[str, int]
    counts_after: Mapping[str, int]  # in a dry run the same
    retried: int
    kept: Mapping[str, int]  # by one of LEFT; C(filter) jobs were only seen until the limit was reached
    ghosts: int  # ids without a job; they are among C(kept) as well
    oldest: int | None  # when the first and the last of the retried finished, ms since 1970
    newest: int | None
    samples: tuple[str, ...]  # at most MOST_SAMPLES ids
    chunks: int
    longest_chunk_ms: float
    redis_ms: float
    complete: bool  # False when max_seconds or the limit ended it
    warnings: tuple[str, ...]


# What the user must be allowed to run: always, for the version of the library, and to write.
_READS: Final = (
    *("TIME", "TYPE", "EXISTS", "HGET", "HMGET", "HEXISTS", "LLEN"),
    *("ZCARD", "ZCOUNT", "ZRANGE", "ZRANK", "ZSCORE"),
)
_WRITES: Final = ("LPUSH", "RPUSH", "HDEL", "ZADD", "ZREM", "ZREMRANGEBYRANK")
_WRITES_BULL: Final = ("HSET", "PUBLISH")
_WRITES_BULLMQ: Final = ("XADD",)
_WRITES_FAMILY: Final = ("HSET", "SADD")
# A job with a priority goes to a set of those, or up to BullMQ 3 and in Bull into its place in the list.
_WRITES_SET: Final = ("INCRBY",)
_WRITES_LIST: Final = ("LINDEX", "LINSERT", "LRANGE", "LTRIM")


def needed(flavour: Flavour, *, dry: bool) -> list[str]:
    """The commands that a user must be allowed to run, whatever is found."""
    found = list(_READS)
    if not dry:
        found += [*_WRITES, *(_WRITES_BULL if flavour.bull else _WRITES_BULLMQ)]
        found += _WRITES_FAMILY if flavour.marker_set else ()
        found += _WRITES_SET if not flavour.bull and flavour.major >= 4 else _WRITES_LIST
    return found


# The patterns of lua_glob out of one argument, with a NUL between two of them; nil where anything matches.
PARTS: Final = """
local function parts_of(packed)
  if packed == '' then return nil end
  local parts = {}
  for part in string.gmatch(packed .. '\\0', '([^%z]*)%z') do parts[#parts + 1] = part end
  return parts
end
"""
# Up to BullMQ 3 and in Bull, jobs with a priority wait in the list of the others, at its tail, the most urgent last.
# C(jobs) are ids and priorities in turn. The place of each is that of a new job: before the jobs that are as urgent.
RANK: Final = """
local function rank(priority_set, list, jobs, rewrite_most)
  local groups, order = {}, {}
  for i = 1, #jobs, 2 do
    local priority = jobs[i + 1]
    if not groups[priority] then
      groups[priority] = {}
      order[#order + 1] = priority
    end
    table.insert(groups[priority], jobs[i])
  end
  table.sort(order)
  local length = redis.call('LLEN', list)
  local deepest = math.min(length, redis.call('ZCOUNT', priority_set, 0, order[#order]))
  if deepest > rewrite_most then
    for i = 1, #jobs, 2 do
      redis.call('ZADD', priority_set, jobs[i + 1], jobs[i])
      local ahead = redis.call('ZCOUNT', priority_set, 0, jobs[i + 1]) - 1
      local pivot = ahead > 0 and redis.call('LINDEX', list, -math.min(ahead, redis.call('LLEN', list)))
      if pivot then
        redis.call('LINSERT', list, 'BEFORE', pivot, jobs[i])
      else
        redis.call('RPUSH', list, jobs[i])
      end
    end
    return
  end
  -- The tail that they go into is taken off and put back with them in it: one pass in place of one for each of them.
  local tail = deepest > 0 and redis.call('LRANGE', list, -deepest, -1) or {}
  local merged, at = {}, 1
  for i = #order, 1, -1 do
    local ahead = math.min(deepest, redis.call('ZCOUNT', priority_set, 0, order[i]))
    while at <= deepest - ahead do
      merged[#merged + 1] = tail[at]
      at = at + 1
    end
    local group = groups[order[i]]
    for j = #group, 1, -1 do merged[#merged + 1] = group[j] end
  end
  while at <= deepest do
    merged[#merged + 1] = tail[at]
    at = at + 1
  end
  if deepest > 0 then redis.call('LTRIM', list, 0, -deepest - 1) end
  for from = 1, #merged, 7000 do
    redis.call('RPUSH', list, unpack(merged, from, math.min(from + 6999, #merged)))
  end
  local scores = {}
  for i = 1, #jobs, 2 do
    scores[i] = jobs[i + 1]
    scores[i + 1] = jobs[i]
  end
  redis.call('ZADD', priority_set, unpack(scores))
end
"""
# One page.
#
# KEYS: 1 failed or completed, 2 wait, 3 paused, 4 active, 5 meta, 6 events, 7 marker, 8 prioritized, 9 pc, 10 priority,
#       11 meta-paused
# ARGV: 1 what keys begin with, 2 state, 3 jobs per page, 4 the last job that stayed and 5 its score (empty at first),
#       6 highest score, 7 most jobs to retry, 8 whether to write, 9 the time in ms, 10 library, 11 major version,
#       12 glob of names, 13 glob of reasons, 14 whether to reset attempts, 15 most ids to return, 16 version in meta
# Returns: 1 jobs looked at, 2 retried, 3 not matching, 4 locked, 5 ghosts, 6 damaged, 7 whether there is more,
#          8 and 9 what ARGV 4 and 5 of the next page are, 10 and 11 when the first and the last finished, 12 how long
#          it took in ms, then ids; or -1 and the version in meta when that is another one
PAGE: Final = Script(
    "queue_retry",
    CLOCK
    + GLOB
    + PARTS
    + TYPES
    + ELSEWHERE
    + RANK
    + """
local call = redis.call
local set, wait, paused, active, meta, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local marker, prioritized, counter, priority_set, meta_paused = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local base, state, size = ARGV[1], ARGV[2], tonumber(ARGV[3])
local anchor, most = ARGV[4], tonumber(ARGV[7])
local writing, bull, major = ARGV[8] == '1', ARGV[10] == 'bull', tonumber(ARGV[11])
local named, reasoned, reset = parts_of(ARGV[12]), parts_of(ARGV[13]), ARGV[14] == '1'
local in_set, marker_set = not bull and major >= 4, not bull and major >= 5
local REWRITE = 5000

local expected = {set, 'zset', wait, 'list', active, 'list', meta, 'hash'}
local function expect(key, kind)
  expected[#expected + 1] = key
  expected[#expected + 1] = kind
end
if bull or major <= 5 then expect(paused, 'list') end
if bull then expect(meta_paused, 'string') else expect(events, 'stream') end
if marker_set then expect(marker, 'zset') end
if in_set then
  expect(prioritized, 'zset')
  expect(counter, 'string')
else
  expect(priority_set, 'zset')
end
local wrong = wrong_type(expected)
if wrong then return wrong end

-- Where jobs go, and whether a worker is to be woken.
local target, asleep = wait, false
local settings = call('HMGET', meta, 'paused', 'concurrency', 'opts.maxLenEvents', 'version')
if (settings[4] or '') ~= ARGV[16] then return {-1, settings[4] or ''} end
if bull then
  if call('EXISTS', meta_paused) == 1 then target, asleep = paused, true end
elseif settings[1] then
  asleep = true
  if major <= 5 then target = paused end
elseif marker_set and tonumber(settings[2]) then
  asleep = call('LLEN', active) >= tonumber(settings[2])
end

-- Decide. The page begins behind the last job that stayed: by its rank, or by its score when it is not there any more.
local start = 0
if anchor ~= '' then
  if call('ZSCORE', set, anchor) == ARGV[5] then
    start = call('ZRANK', set, anchor) + 1
  else
    start = call('ZCOUNT', set, '-inf', '(' .. ARGV[5])
  end
end
local stop = math.min(start + size, call('ZCOUNT', set, '-inf', ARGV[6])) - 1
local page = stop >= start and call('ZRANGE', set, start, stop) or {}
local found = #page
local wanted = {'priority', 'opts'}
if marker_set then wanted[3] = 'parentKey' end
local name_at = #wanted + 1
if named or reasoned then
  wanted[name_at] = 'name'
  wanted[name_at + 1] = 'failedReason'
end
local locks, locked_some = {}, false
local keys = {}
for i = 1, found do
  keys[i] = base .. page[i]
  locks[i] = keys[i] .. ':lock'
end
if found > 0 then locked_some = call('EXISTS', unpack(locks)) > 0 end
local plain, last_in, ranked, children, taken = {}, {}, {}, {}, {}
local count, other, locked, ghosts, damaged, looked, inserts = 0, 0, 0, 0, 0, 0, 0
local length = call('LLEN', target)
local deep = not in_set and call('ZCARD', priority_set) > REWRITE
for i = 1, found do
  if count >= most then break end
  local id = page[i]
  local fields = redis.pcall('HMGET', keys[i], unpack(wanted))
  local priority, opts, take = fields[1], fields[2], true
  if not opts then
    -- Every job has opts. What has none is no job, or one that somebody wrote by hand.
    local kind = call('TYPE', keys[i])['ok']
    if kind ~= 'none' and kind ~= 'hash' then
      damaged = damaged + 1
      take = false
    elseif kind == 'none' or call('HEXISTS', keys[i], 'name') == 0 then
      ghosts = ghosts + 1
      take = false
    end
  end
  if not take then
    take = false
  elseif (named and not like(fields[name_at], named))
    or (reasoned and not like(fields[name_at + 1], reasoned)) then
    other = other + 1
    take = false
  elseif locked_some and call('EXISTS', locks[i]) == 1 then
    locked = locked + 1
    take = false
  end
  if take then
    priority = priority and priority ~= '0' and tonumber(priority) or 0
    if priority > 0 then
      if deep then
        -- Each of these walks the list: few in one page.
        inserts = inserts + length
        if inserts > 300000 and #ranked > 0 then break end
      end
      ranked[#ranked + 1] = id
      ranked[#ranked + 1] = priority
    else
      local lifo = false
      if opts and string.find(opts, '"lifo"', 1, true) then
        local good, told = pcall(cjson.decode, opts)
        lifo = good and type(told) == 'table' and told['lifo']
        lifo = lifo and lifo ~= cjson.null and lifo ~= 0 and lifo ~= ''
      end
      if lifo then last_in[#last_in + 1] = id else plain[#plain + 1] = id end
    end
    if marker_set and fields[3] then
      children[#children + 1] = keys[i]
      children[#children + 1] = fields[3]
    end
    count = count + 1
    taken[count] = id
  end
  looked = looked + 1
  if not (take and writing) then anchor = id end
end
-- The score of one from an earlier page is the one of then: it may have failed again since.
local anchor_score = anchor == ARGV[4] and ARGV[5] or call('ZSCORE', set, anchor)
local first_time, last_time = '', ''
if count > 0 then
  first_time, last_time = call('ZSCORE', set, taken[1]), call('ZSCORE', set, taken[count])
end

-- A child that is retried is waited for again, as long as its parent's record of it says that it ended.
local again = {}
for i = 1, #children, 2 do
  local key, parent = children[i], children[i + 1]
  local function has(suffix, kind) return call('TYPE', parent .. suffix)['ok'] == kind end
  if has('', 'hash') and (has(':dependencies', 'set') or has(':dependencies', 'none')) then
    local how = false
    if state == 'completed' then
      if has(':processed', 'hash') and call('HEXISTS', parent .. ':processed', key) == 1 then how = ':processed' end
    elseif has(':unsuccessful', 'zset') and call('ZSCORE', parent .. ':unsuccessful', key) then
      how = ':unsuccessful'
    elseif has(':failed', 'hash') and call('HEXISTS', parent .. ':failed', key) == 1 then
      how = ':failed'
    end
    if how then
      again[#again + 1] = key
      again[#again + 1] = parent
      again[#again + 1] = how
    end
  end
end

-- Write. First what is refused when memory is short: a script that has not written yet is then ended.
if writing and count > 0 then
  for i = 1, #again, 3 do
    must(again[i + 2] == ':unsuccessful' and 'ZREM' or 'HDEL', again[i + 1] .. again[i + 2], 'x')
    must('SADD', again[i + 1] .. ':dependencies', 'x')
  end
  if bull then
    for _index, id in ipairs(taken) do call('PUBLISH', wait .. 'ing@quai', id) end
  else
    local longest = settings[3] or 10000
    for i = 1, count - 1 do
      call('XADD', events, '*', 'event', 'waiting', 'jobId', taken[i], 'prev', state)
    end
    call('XADD', events, 'MAXLEN', '~', longest, '*', 'event', 'waiting', 'jobId', taken[count], 'prev', state)
    if marker_set and not settings[3] then call('HSET', meta, 'opts.maxLenEvents', longest) end
  end
  if #plain > 0 then call('LPUSH', target, unpack(plain)) end
  if #ranked > 0 then
    if in_set then
      local pairs_of, last = {}, call('INCRBY', counter, #ranked / 2)
      last = last - #ranked / 2
      for i = 1, #ranked, 2 do
        last = last + 1
        pairs_of[i] = ranked[i + 1] * 4294967296 + last % 4294967296
        pairs_of[i + 1] = ranked[i]
      end
      call('ZADD', prioritized, unpack(pairs_of))
    else
      rank(priority_set, target, ranked, REWRITE)
    end
  end
  if #last_in > 0 then call('RPUSH', target, unpack(last_in)) end
  local value = state == 'failed' and 'failedReason' or 'returnvalue'
  for i = 1, count do
    local key = base .. taken[i]
    if reset then
      call('HDEL', key, 'finishedOn', 'processedOn', value, 'atm', 'ats', 'attemptsMade')
    else
      call('HDEL', key, 'finishedOn', 'processedOn', value)
    end
    if bull then call('HSET', key, 'retriedOn', ARGV[9]) end
  end
  if count == looked then
    call('ZREMRANGEBYRANK', set, start, start + count - 1)
  else
    call('ZREM', set, unpack(taken))
  end
  for i = 1, #again, 3 do
    if again[i + 2] == ':unsuccessful' then
      call('ZREM', again[i + 1] .. again[i + 2], again[i])
    else
      call('HDEL', again[i + 1] .. again[i + 2], again[i])
    end
    call('SADD', again[i + 1] .. ':dependencies', again[i])
  end
  if not asleep then
    if marker_set then
      call('ZADD', marker, 0, '0')
    elseif in_set and #ranked > 0 and length + #plain + #last_in == 0 then
      call('LPUSH', wait, '0:0')
    end
  end
end
local more = looked < found or found == size
local result = {
  looked, count, other, locked, ghosts, damaged, more and 1 or 0, anchor, anchor_score, first_time,
  last_time, string.format('%.3f', (seconds() - STARTED) * 1000),
}
for i = 1, math.min(count, tonumber(ARGV[15])) do result[#result + 1] = taken[i] end
return result
""",
)


def retry(
    link: Link,
    queue: Queue,
    flavour: Flavour,
    state: str = "failed",
    *,
    older_than: int | None = None,
    limit: int | None = None,
    name: str = "",
    failed_reason: str = "",
    reset_attempts: bool = False,
    chunk_ms: float = 5.0,
    duty: float = 1.0,
    max_seconds: float = 300.0,
    dry: bool = False,
    now_ms: int | None = None,
    progress: Callable[[int], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Retried:
    """Put the jobs of C(state) back that finished at least C(older_than) ms ago, the oldest first, at most C(limit).

    C(name) and C(failed_reason) are globs; empty: any. C(reset_attempts): jobs begin again with all of their attempts.
    C(chunk_ms) is how long one page is to take, in ms; C(duty) the share of the time that Redis works for us. C(now_ms)
    is the time; None asks Redis. C(progress) is told how many were retried so far. What fails again meanwhile is not
    retried again. Raises QueueProblem and RedisFailed.
    """
    if state not in STATES:
        raise QueueProblem(f'{queue.name}: jobs of state "{state}" cannot be retried; failed and completed ones can')
    if failed_reason and state != "failed":
        raise QueueProblem(f"{queue.name}: completed jobs have no failed_reason")
    major = _ready(link, queue, flavour, dry=dry)
    globs = (packed_glob(name), packed_glob(failed_reason))
    now = link.time_ms() if now_ms is None else now_ms
    highest = now - (older_than or 0)
    before = _counts(link, queue)
    version = text(link.call("HGET", queue.key("meta"), "version"))
    budget = int(link.call("ZCOUNT", queue.key(state), "-inf", highest))
    names = ("wait", "paused", "active", "meta", "events", "marker", "prioritized", "pc", "priority", "meta-paused")
    keys = [queue.key(state), *(queue.key(each) for each in names)]
    kept = dict.fromkeys(LEFT, 0)
    kept["young"] = max(0, before[state] - budget)
    retried, complete = 0, True
    oldest: int | None = None
    newest: int | None = None
    samples: list[str] = []
    anchor: Argument = ""
    anchor_score: Argument = ""
    pace = Pace(chunk_ms, duty, max_seconds, first=FIRST_PAGE, largest=LARGEST_PAGE, clock=clock, sleep=sleep)
    while budget > 0 and (limit is None or retried < limit):
        if pace.chunks and pace.over:
            complete = False
            break
        page = min(pace.size, budget)
        most = page if limit is None else min(page, limit - retried)
        arguments = (
            *(queue.base, state, page, anchor, anchor_score, highest, most, int(not dry), now, flavour.library, major),
            *(*globs, int(reset_attempts), MOST_SAMPLES - len(samples), version),
        )
        reply = link.run(PAGE, keys, arguments)
        if reply[0] < 0:
            raise QueueProblem(
                f'{queue.name}: its version changed from "{version}" to "{text(reply[1])}" meanwhile; '
                f"{retried} jobs were retried before that; run it again"
            )
        looked, count, other, locked, ghosts, damaged, more = reply[:7]
        anchor, anchor_score = reply[7], reply[8]
        for reason, found in zip(("filter", "locked", "ghost", "damaged"), (other, locked, ghosts, damaged)):
            kept[reason] += found
        retried += count
        # What fails again meanwhile is not retried for ever: no more are looked at than there were in the beginning.
        budget = budget - looked if more else 0
        if count:
            oldest = _milliseconds(reply[9]) if oldest is None else oldest
            newest = _milliseconds(reply[10])
        samples += [text(each) for each in reply[12:]]
        pace.took(float(reply[11]), looked)
        if progress:
            progress(retried)
    if budget > 0 and limit is not None and retried >= limit:
        complete = False
    after = before if dry else _counts(link, queue)
    return Retried(
        before,
        after,
        retried,
        kept,
        kept["ghost"],
        oldest,
        newest,
        tuple(samples),
        pace.chunks,
        round(pace.longest_ms, 2),
        round(pace.redis_ms, 2),
        complete,
        _warnings(queue, state, kept),
    )


def _ready(link: Link, queue: Queue, flavour: Flavour, *, dry: bool) -> int:
    """The major version, when it is known well enough and the user may do it. Raises QueueProblem and RedisFailed."""
    allowed(link, queue.base, needed(flavour, dry=dry), "a retry")
    if flavour.unsure_of_5 and link.call("HEXISTS", queue.key("meta"), "paused"):
        sure_of_lists(flavour, queue)
    return major_of(flavour, queue)


def packed_glob(glob: str) -> bytes:
    """A glob as C(parts_of) in Lua takes it; empty for one that matches anything."""
    return "\0".join(lua_glob(glob) or []).encode("latin-1")


def _counts(link: Link, queue: Queue) -> dict[str, int]:
    replies = link.ask(*((command, queue.key(state)) for command, state in COUNTED))
    for (_command, state), reply in zip(COUNTED, replies):
        if isinstance(reply, Refusal) and reply.code == "WRONGTYPE":
            kind = text(link.call("TYPE", queue.key(state)))
            raise RedisFailed("type", f"WRONGTYPE {queue.key(state)} is a {kind} in place of a {LISTED[state]}")
    return {state: int(good(reply, queue.key(state))) for (_command, state), reply in zip(COUNTED, replies)}


def _milliseconds(score: Any) -> int | None:
    try:
        return int(float(text(score)))
    except (ValueError, OverflowError):
        return None


def _warnings(queue: Queue, state: str, kept: Mapping[str, int]) -> tuple[str, ...]:
    found = []
    if kept["ghost"]:
        found.append(f"{queue.name}: {kept['ghost']} ids in {state} have no job any more and were left there")
    if kept["locked"]:
        found.append(f"{queue.name}: {kept['locked']} jobs in {state} are locked by a worker and were left there")
    if kept["damaged"]:
        found.append(f"{queue.name}: {kept['damaged']} ids in {state} name keys that are no jobs and were left there")
    return tuple(found)


__all__ = [
    "LEFT",
    "RANK",
    "STATES",
    "Retried",
    "packed_glob",
    "retry",
]
