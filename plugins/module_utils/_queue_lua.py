# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripts in Lua that look at jobs and change them, put together from shared fragments.

Rules that every script here keeps: everything is read and decided before the first write, so that an error leaves
nothing half done (whether the user may run all commands is asked before, by C(allowed)); at most 7,000 arguments in a
call; numbers are compared as numbers; nothing is written when there is nothing to do. A plan is the same script with
writing switched off.

No shebang (it makes a cluster stricter), and every key has the slot of the queue.
"""

from __future__ import annotations

from typing import Final

from ansible_collections.quai.ops.plugins.module_utils._queue_layout import OWN, SUB_KEYS
from ansible_collections.quai.ops.plugins.module_utils._redis_link import NOWHERE, Script

# What an element of a list is while a script runs that takes it out.
TOMBSTONE: Final = "quai:removed"

# -- fragments -------------------------------------------------------------------------------------------------------
# Every script begins with the base of the queue's keys as ARGV[1], and what is asked as JSON in ARGV[2].
HEAD: Final = """
local call = redis.call
local base = ARGV[1]
local ask = cjson.decode(ARGV[2])
local function spent() return tostring(seconds() - STARTED) end
local function kind_of(key) return call('TYPE', key).ok end
-- The first key that has another type than it must have.
local function wrong_type(wanted)
  for key, kind in pairs(wanted) do
    local found = kind_of(key)
    if found ~= 'none' and found ~= kind then return {'type', key, found, kind} end
  end
end
-- Splits a list of arguments for calls that take at most so many.
local function in_parts(items, size, act)
  for from = 1, #items, size do act(unpack(items, from, math.min(from + size - 1, #items))) end
end
-- A number out of a field or a score; nil for anything else.
local function number(value)
  if not value or value == '' or string.find(value, '[^%d%.eE%+%-]') then return nil end
  return tonumber(value)
end
"""

# Rights to keys of other queues, where the libraries have families across queues. The queue's own were asked for before
# (allowed), and who may read a key may write it, up to Redis 6; from 7 on one can have the right to read only.
ELSEWHERE: Final = """
local function must(name, key, ...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(name, key, ...) then
    error({err = 'NOPERM this user may not run ' .. name .. ' on ' .. key})
  end
end
"""

# The key of a job and everything that stands beside it.
REMOVE: Final = (
    f"local SUBS = {{{', '.join(repr(name) for name in SUB_KEYS)}}}"
    """
local function keys_of(key, into)
  into[#into + 1] = key
  for _, sub in ipairs(SUBS) do into[#into + 1] = key .. ':' .. sub end
end
local function unlink(keys)
  in_parts(keys, 6996, function(...) call('UNLINK', ...) end)
end
"""
)

# Ids that no job can have, because a key of the queue itself is called so.
NAMES: Final = f"local OWN = {{{', '.join(f'[{name!r}] = true' for name in sorted(OWN))}}}"

# Whether a text matches a glob, given as the patterns between its stars.
GLOB: Final = """
local function like(value, parts)
  if not value then return false end
  local last, at = #parts, 1
  for i, pattern in ipairs(parts) do
    if i == 1 then pattern = '^' .. pattern end
    if i == last then pattern = pattern .. '$' end
    local found, ends = string.find(value, pattern, at)
    if not found then return false end
    at = ends + 1
  end
  return true
end
"""

# Whether a job is the next run of a schedule: without it the schedule never runs again. SCHEDULES is the sorted set.
ARMED: Final = """
local function armed(id, schedule)
  local at = string.match(id, '^repeat:.*:(%d+)$')
  if not at then return false end
  if schedule then
    local score = call('ZSCORE', SCHEDULES, schedule)
    if score then return tonumber(score) == tonumber(at) end
  end
  return #call('ZRANGEBYSCORE', SCHEDULES, at, at, 'LIMIT', 0, 1) > 0
end
"""

# Where the parent of a job is, as the libraries split its key.
FAMILY: Final = """
local function split(key)
  local id = string.match(key, '.*:(.*)')
  if not id then return nil end
  return string.sub(key, 1, #key - #id), id
end
-- Types of keys that belong to families: they do not change while a script decides.
local kinds = {}
local function is_not(key, kind)
  local found = kinds[key]
  if not found then
    found = kind_of(key)
    kinds[key] = found
  end
  return found ~= 'none' and found ~= kind
end
-- What follows says 'damaged' where a key has another type than it must have, so that nothing can be told of the job.
local function finished(key)
  local queue, id = split(key)
  if not queue then return false end
  if is_not(queue .. 'completed', 'zset') or is_not(queue .. 'failed', 'zset') then return 'damaged' end
  return (call('ZSCORE', queue .. 'completed', id) or call('ZSCORE', queue .. 'failed', id)) and true or false
end
-- Whether the parent of a job lists it among its children.
local function listed_by(key, parent)
  if not parent or parent == '' then return false end
  local children = parent .. ':dependencies'
  if is_not(children, 'set') then return 'damaged' end
  return kinds[children] == 'set' and call('SISMEMBER', children, key) == 1
end
-- 'parent' when a parent that can still run waits for a job.
local function awaited(key, parent)
  local member = listed_by(key, parent)
  if member ~= true then return member end
  if is_not(parent, 'hash') then return 'damaged' end
  if kinds[parent] == 'none' then return false end
  local over = finished(parent)
  if over == 'damaged' then return over end
  return not over and 'parent'
end
-- 'parent' when a job has children that have not finished. Too many to look at count as such.
local function expectant(key, over)
  local children = key .. ':dependencies'
  local kind = kind_of(children)
  if kind == 'none' then return false end
  if kind ~= 'set' then return 'damaged' end
  if not over or call('SCARD', children) > 200 then return 'parent' end
  for _, child in ipairs(call('SMEMBERS', children)) do
    if call('EXISTS', child) == 1 then
      local done = finished(child)
      if done ~= true then return done or 'parent' end
    end
  end
  return false
end
"""

# Takes a job off the list of its parent as the library of the queue does: the last one frees the parent, or deletes
# it where both are in one queue.
LOOSEN: Final = """
local released, deleted = 0, 0
-- Stops here unless the user may write what removing a job writes of a parent in another queue.
local reached = {}
local function reach(parent)
  local queue = split(parent)
  if ask.dry or not queue or queue == base or reached[queue] then return end
  must('SREM', parent .. ':dependencies', 'x')
  if not ask.protect then
    must('HDEL', parent .. ':processed', 'x')
    must('ZREM', queue .. 'waiting-children', 'x')
    must('HMGET', queue .. 'meta', 'x')
    must('RPUSH', queue .. 'wait', 'x')
    must('RPUSH', queue .. 'paused', 'x')
    must('ZADD', queue .. 'marker', 0, '0')
  end
  reached[queue] = true
end
local function wake(queue, paused, full)
  if ask.marker and not paused and not full then call('ZADD', queue .. 'marker', 0, '0') end
end
local function release(queue, id)
  local meta = call('HMGET', queue .. 'meta', 'paused', 'concurrency')
  local paused = meta[1] and true or false
  local most = tonumber(meta[2] or '')
  local full = most and call('LLEN', queue .. 'active') >= most
  call('RPUSH', queue .. ((paused and ask.paused_list) and 'paused' or 'wait'), id)
  wake(queue, paused, full)
  released = released + 1
end
local function loosen(key)
  local facts = call('HMGET', key, 'parentKey', 'deid')
  local parent = facts[1]
  if not parent or parent == '' or call('EXISTS', parent) == 0 then return end
  if ask.forgets then call('HDEL', parent .. ':processed', key) end
  if call('SREM', parent .. ':dependencies', key) == 0 or call('SCARD', parent .. ':dependencies') > 0 then return end
  local queue, id = split(parent)
  if call('ZREM', queue .. 'waiting-children', id) == 0 then return end
  if queue ~= base then return release(queue, id) end
  loosen(parent)
  local keys = {}
  keys_of(parent, keys)
  unlink(keys)
  if facts[2] and ask.dedup then call('UNLINK', base .. 'de:' .. facts[2]) end
  deleted = deleted + 1
end
-- 'damaged' when a key that loosen would read or write has another type than it must have.
local function tangled(key, parent)
  for _ = 1, 100 do
    if not parent or parent == '' or call('EXISTS', parent) == 0 then return false end
    reach(parent)
    if ask.forgets and is_not(parent .. ':processed', 'hash') then return 'damaged' end
    local member = listed_by(key, parent)
    if member ~= true then return member end
    local queue = split(parent)
    if not queue or is_not(parent, 'hash') or is_not(queue .. 'waiting-children', 'zset') then return 'damaged' end
    if queue ~= base then
      local lists = is_not(queue .. 'wait', 'list') or is_not(queue .. 'paused', 'list')
      local others = is_not(queue .. 'active', 'list') or is_not(queue .. 'meta', 'hash')
      return (lists or others or is_not(queue .. 'marker', 'zset')) and 'damaged'
    end
    key, parent = parent, call('HGET', parent, 'parentKey')
  end
  -- Nobody nests them so deep: they go round in a circle.
  return 'damaged'
end
"""

# The jobs after the anchor, oldest first: ids, scores, and how many are before them. ARGV 3 is the anchor (the last job
# looked at that stays), 4 its score, 5 how many stay before it (lists), 6 how many to read.
LOOK: Final = """
local state, anchor, page = KEYS[1], ARGV[3], tonumber(ARGV[6])
local is_list, dry = ask.kind == 'list', ask.dry
local total, ids, scores, before = 0, {}, {}, tonumber(ARGV[5])
local function look()
  total = call(is_list and 'LLEN' or 'ZCARD', state)
  if is_list then
    if before > 0 and call('LINDEX', state, -before) ~= anchor then
      -- Workers took from the tail: look where the anchor went; when it is gone, so is everything behind it.
      local found = redis.pcall('LPOS', state, anchor, 'RANK', -1, 'MAXLEN', before + 10 * page)
      before = type(found) == 'number' and total - found or 0
    end
    local some = call('LRANGE', state, -(before + page), -(before + 1))
    for i = #some, 1, -1 do ids[#ids + 1] = some[i] end
    return
  end
  before = 0
  if anchor ~= '' then
    if call('ZSCORE', state, anchor) == ARGV[4] then
      before = call('ZRANK', state, anchor) + 1
    else
      before = call('ZCOUNT', state, '-inf', '(' .. ARGV[4])
    end
  end
  local some = call('ZRANGE', state, before, before + page - 1, 'WITHSCORES')
  for i = 1, #some, 2 do ids[#ids + 1], scores[#scores + 1] = some[i], some[i + 1] end
end
-- What wakes workers stands among the ids of a list: 0 in BullMQ 2, 0:TIME in 3 and 4, where the time has a fraction
-- when the job's number is in its score. Ids of jobs may look so as well.
local function is_marker(id)
  return is_list and (id == '0' or string.sub(id, 1, 2) == '0:') and call('EXISTS', base .. id) == 0
end
-- Takes ids out of the state; positions are those in a list, from its tail on.
local function take(taken, positions)
  if not is_list then return in_parts(taken, 6999, function(...) call('ZREM', state, ...) end) end
  -- From here on an element is known by its position only, and nobody else changes the list meanwhile.
  for _, position in ipairs(positions) do call('LSET', state, position, '@TOMBSTONE@') end
  local from_tail = -positions[#positions] <= total / 2
  call('LREM', state, from_tail and -#taken or #taken, '@TOMBSTONE@')
end
""".replace("@TOMBSTONE@", TOMBSTONE)

# -- scripts ---------------------------------------------------------------------------------------------------------
# How long a script takes: seconds() - STARTED. It comes first.
CLOCK: Final = """
-- Redis 7.2 and later stop TIME while a script runs, and have os.clock, which older ones may lack.
local has_clock, clock = pcall(function() return os.clock end)
local function seconds()
  if has_clock and clock then return clock() end
  local time = redis.call('TIME')
  return time[1] % 100000 + time[2] / 1000000
end
local STARTED = seconds()
"""
_SCHEDULES: Final = "local SCHEDULES = KEYS[3]"

# KEYS  1 the state, 2 meta, 3 repeat, 4 priority, 5 limiter:index
# ARGV  1 base, 2 what is asked, 3 to 6 as LOOK takes them, then pairs of id and processedOn of the only jobs that
#       may go (ask.only)
_CLEAN: Final = """
local version = call('HGET', KEYS[2], 'version') or ''
if version ~= ask.version then return {'version', version} end
local wrong = wrong_type({[state] = ask.kind, [KEYS[3]] = 'zset', [KEYS[4]] = 'zset', [KEYS[5]] = 'hash'})
if wrong then return wrong end

local FIELDS = {'timestamp', 'name', 'processedOn', 'finishedOn', 'parentKey', 'deid', 'rjk'}
local AT = {}
for i, field in ipairs(FIELDS) do AT[field] = i end
if ask.reason then FIELDS[#FIELDS + 1] = 'failedReason' end
look()

local only
if ask.only then
  only = {}
  for i = 7, #ARGV, 2 do only[ARGV[i]] = ARGV[i + 1] end
end

-- What a rule says of a job: nil when the rule takes it, else why not.
local RANK = {limit = 1, young = 2, newest = 3, unknown = 4, filter = 5}
local function moment(rule, job, score)
  for _, field in ipairs(rule.clock) do
    local value = score
    if field ~= 'score' then value = job[AT[field]] end
    if value then return number(value) end
  end
end
local function against(rule, job, score, place, ghost)
  if rule.name and not like(job[AT.name], rule.name) then return 'filter' end
  if rule.reason and not like(job[#FIELDS], rule.reason) then return 'filter' end
  if rule.keep and place > total - rule.keep then return 'newest' end
  if rule.cut then
    local at = moment(rule, job, score)
    -- Nothing is known of a job without data: as the libraries do, it counts as old where its score says nothing.
    if not at and not ghost then return 'unknown' end
    if at and at > rule.cut then return 'young', at end
    return nil, at
  end
  return nil, moment(rule, job, score)
end

local kept = {young = 0, newest = 0, unknown = 0, filter = 0, limit = 0,
  locked = 0, scheduler = 0, parent = 0, ghost = 0, damaged = 0}
local grouped = ask.bull and call('EXISTS', KEYS[5]) == 1
local groups, damaged = {}, {}
local taken, jobs, per_rule, positions = {}, {}, {}, {}
local stay, stay_score, examined, done = anchor, ARGV[4], 0, 0
local oldest, newest
local touched, waits, left = 0, 0, {}
for i, rule in ipairs(ask.rules) do per_rule[i], left[i] = 0, rule.left end

local function decide(id, score, place)
  if is_marker(id) then return 'marker' end
  local key = base .. id
  local job = redis.pcall('HMGET', key, unpack(FIELDS))
  if job.err then
    if not string.find(job.err, 'WRONGTYPE', 1, true) then error(job.err) end
    return 'damaged'
  end
  if OWN[id] and not job[AT.timestamp] then return 'damaged' end
  local ghost = not job[1] and not job[2] and call('EXISTS', key) == 0
  if ghost and ask.ghosts then return 'ghost' end
  local why, chosen, at
  for i, rule in ipairs(ask.rules) do
    local reason, time = against(rule, job, score, place, ghost)
    if not reason and left[i] == 0 then reason = 'limit' end
    if not reason then chosen, at = i, time break end
    if not why or RANK[reason] < RANK[why] then why = reason end
  end
  if not chosen then return why end
  if call('EXISTS', key .. ':lock') == 1 then return 'locked' end
  if only and only[id] ~= (job[AT.processedOn] or '') then return 'locked' end
  if not ask.over and armed(id, job[AT.rjk]) then return 'scheduler' end
  local group = grouped and call('HGET', KEYS[5], id)
  if group and is_not(group, 'set') then return 'damaged' end
  -- Bull knows no parents: whoever takes the queue for one of Bull is wrong.
  if not ask.flows and job[AT.parentKey] then return 'parent' end
  if ask.flows then
    local parent = job[AT.parentKey]
    local held
    if ask.protect then
      held = awaited(key, parent)
      if not held then
        held = expectant(key, ask.over)
        -- One that cannot run any more may go as soon as its children have gone.
        if held == 'parent' and (ask.over or ghost) then waits = waits + 1 end
      end
      if not held and parent and parent ~= '' then reach(parent) end
    else
      held = tangled(key, parent)
    end
    if held then return held end
    if parent and parent ~= '' then
      local there = ask.protect or call('EXISTS', parent) == 1
      if there and listed_by(key, parent) == true then touched = touched + 1 end
    end
  end
  groups[#jobs + 1] = group
  left[chosen] = left[chosen] - 1
  per_rule[chosen] = per_rule[chosen] + 1
  if at then
    if not oldest or at < oldest then oldest = at end
    if not newest or at > newest then newest = at end
  end
  jobs[#jobs + 1] = job
  return nil
end

local function exhausted()
  for _, count in ipairs(left) do
    if count ~= 0 then return false end
  end
  return true
end

local first = before
for i, id in ipairs(ids) do
  local place = first + i
  -- Sorted by time: everything from here on is too young, or among the newest.
  if ask.sorted and tonumber(scores[i]) > ask.top then
    kept.young = kept.young + total - place + 1
    done = 1
    break
  end
  if ask.keep and place > total - ask.keep then
    kept.newest = kept.newest + total - place + 1
    done = 1
    break
  end
  if exhausted() then done = 2 break end
  -- A page of large jobs ends early, so that nobody waits long.
  if i % 32 == 0 and seconds() - STARTED > ask.seconds then break end
  examined = examined + 1
  local why = decide(id, scores[i], place)
  if why and kept[why] then kept[why] = kept[why] + 1 end
  if why == 'damaged' and #damaged < 3 then damaged[#damaged + 1] = id end
  if not why then
    taken[#taken + 1] = id
    positions[#positions + 1] = -(first + i)
  end
  if why or dry then
    before = before + 1
    stay, stay_score = id, scores[i] or ''
  end
end
if done == 0 and #ids < page and examined == #ids then done = 1 end

local some = {}
for i = 1, math.min(#taken, ask.samples) do some[i] = taken[i] end
if ask.list then
  some = {}
  for i, id in ipairs(taken) do
    some[#some + 1] = id
    some[#some + 1] = jobs[i][AT.processedOn] or ''
  end
end

if #taken > 0 and not dry then
  local dedup = {}
  for i, id in ipairs(taken) do
    local named = jobs[i][AT.deid]
    if named and not (ask.bull and ask.over) then
      local key = base .. 'de:' .. named
      if kind_of(key) == 'string' and call('GET', key) == id then
        dedup[#dedup + 1] = key
        dedup[#dedup + 1] = base .. 'dn:' .. named
      end
    end
  end
  -- First something that needs no room: after it, Redis also takes what needs some when it is out of memory.
  call('UNLINK', base .. '@NOWHERE@')
  take(taken, positions)
  if call('EXISTS', KEYS[4]) == 1 then
    in_parts(taken, 6999, function(...) call('ZREM', KEYS[4], ...) end)
  end
  for i, group in pairs(groups) do
    if group then
      call('SREM', group, taken[i])
      call('HDEL', KEYS[5], taken[i])
    end
  end
  local keys = {}
  for i, id in ipairs(taken) do
    if ask.flows and jobs[i][AT.parentKey] then
      if ask.protect then
        local parent = jobs[i][AT.parentKey]
        if parent ~= '' then call('SREM', parent .. ':dependencies', base .. id) end
      else
        loosen(base .. id)
      end
    end
    keys_of(base .. id, keys)
  end
  for _, key in ipairs(dedup) do keys[#keys + 1] = key end
  unlink(keys)
end

local counts = {kept.young, kept.newest, kept.unknown, kept.filter, kept.limit, kept.locked, kept.scheduler,
  kept.parent, kept.ghost, kept.damaged}
return {'ok', examined, #taken, done, stay, stay_score, before, spent(), counts, per_rule,
  tostring(oldest or ''), tostring(newest or ''), some, released, deleted, touched, total, damaged, waits}
"""
KEPT: Final = ("young", "newest", "unknown", "filter", "limit", "locked", "scheduler", "parent", "ghost", "damaged")

CLEAN: Final = Script(
    "clean a page of jobs",
    "\n".join((CLOCK, HEAD, ELSEWHERE, REMOVE, NAMES, GLOB, _SCHEDULES, ARMED, FAMILY, LOOSEN, LOOK, _CLEAN)).replace(
        "@NOWHERE@", NOWHERE
    ),
)

# Ids that have no job.
# KEYS  1 the state, 2 meta, 3 repeat, 4 priority, 5 limiter:index
# ARGV  1 base, 2 what is asked, 3 to 6 as LOOK takes them
_GHOSTS: Final = """
local wrong = wrong_type({[state] = ask.kind, [KEYS[4]] = 'zset', [KEYS[5]] = 'hash'})
if wrong then return wrong end
look()
local taken, positions, examined = {}, {}, 0
local stay, stay_score = anchor, ARGV[4]
local first = before
for i, id in ipairs(ids) do
  examined = examined + 1
  local key = base .. id
  local ghost = not is_marker(id) and call('EXISTS', key) == 0 and call('EXISTS', key .. ':lock') == 0
  if ghost then
    taken[#taken + 1] = id
    positions[#positions + 1] = -(first + i)
  end
  if not ghost or dry then
    before = before + 1
    stay, stay_score = id, scores[i] or ''
  end
end
if #taken > 0 and not dry then
  local groups = {}
  if call('EXISTS', KEYS[5]) == 1 then
    for i, id in ipairs(taken) do
      groups[i] = call('HGET', KEYS[5], id)
    end
  end
  local kinds = {}
  for _, group in pairs(groups) do
    if group then kinds[group] = kind_of(group) end
  end
  call('UNLINK', base .. '@NOWHERE@')
  take(taken, positions)
  if call('EXISTS', KEYS[4]) == 1 then
    in_parts(taken, 6999, function(...) call('ZREM', KEYS[4], ...) end)
  end
  for i, group in pairs(groups) do
    if group then
      if kinds[group] == 'set' then call('SREM', group, taken[i]) end
      call('HDEL', KEYS[5], taken[i])
    end
  end
  local keys = {}
  for _, id in ipairs(taken) do keys_of(base .. id, keys) end
  unlink(keys)
end
local some = {}
for i = 1, math.min(#taken, ask.samples) do some[i] = taken[i] end
return {'ok', examined, #taken, #ids < page and 1 or 0, stay, stay_score, before, spent(), some, total}
"""

GHOSTS: Final = Script("look for ghosts", "\n".join((CLOCK, HEAD, REMOVE, LOOK, _GHOSTS)).replace("@NOWHERE@", NOWHERE))

# Jobs that are in no state. Whatever moves a job between states does it in one step, so that one that is in none now,
# and is old, is in none for good.
# KEYS  1 meta, 2 unused, 3 repeat, then the sorted sets and after them the lists of all states
# ARGV  1 base, 2 what is asked (cut, dry, sets, bull), then ids
_ORPHANS: Final = """
local wanted = {}
for i = 4, #KEYS do wanted[KEYS[i]] = i < 4 + ask.sets and 'zset' or 'list' end
local wrong = wrong_type(wanted)
if wrong then return wrong end
local function listed(id)
  for i = 4, 3 + ask.sets do
    if call('ZSCORE', KEYS[i], id) then return true end
  end
  for i = 4 + ask.sets, #KEYS do
    if call('LPOS', KEYS[i], id) then return true end
  end
  return false
end
local keys, found, young, held, parents, examined = {}, {}, 0, 0, 0, 0
for i = 3, #ARGV do
  if examined > 0 and seconds() - STARTED > ask.seconds then break end
  examined = examined + 1
  local id = ARGV[i]
  local key = base .. id
  if kind_of(key) == 'hash' then
    local job = call('HMGET', key,
      'timestamp', 'processedOn', 'finishedOn', 'data', 'parentKey', 'deid', 'name', 'opts')
    local at = math.max(number(job[1]) or 0, number(job[2]) or 0, number(job[3]) or 0)
    -- Every library writes these four of every job. The template of a schedule and metrics have no time and data, and
    -- what an application keeps beside its queue is none either.
    if number(job[1]) and job[4] and job[7] and job[8] then
      if at > ask.cut then
        young = young + 1
      elseif call('EXISTS', key .. ':lock') == 0 and not listed(id) then
        if awaited(key, job[5]) or expectant(key, true) then
          held = held + 1
        else
          found[#found + 1] = id
          parents = parents + call('EXISTS', key .. ':dependencies')
          keys_of(key, keys)
          local dedup = job[6] and base .. 'de:' .. job[6]
          if dedup and kind_of(dedup) == 'string' and call('GET', dedup) == id then
            keys[#keys + 1] = dedup
            keys[#keys + 1] = base .. 'dn:' .. job[6]
          end
        end
      end
    end
  end
end
if #found > 0 and not ask.dry then unlink(keys) end
local some = {}
for i = 1, math.min(#found, ask.samples) do some[i] = found[i] end
return {'ok', examined, #found, young, held, spent(), some, parents}
"""

ORPHANS: Final = Script("look for orphans", "\n".join((CLOCK, HEAD, REMOVE, FAMILY, _ORPHANS)))

# What the scripts above run: always, for lists, for sorted sets, for flows, for jobs that are not finished, and for
# orphans; and what they write with.
READ: Final = ("TIME", "TYPE", "EXISTS", "HGET", "HMGET")
READ_LIST: Final = ("LLEN", "LRANGE", "LINDEX")
READ_SET: Final = ("ZCARD", "ZRANGE", "ZSCORE", "ZRANK", "ZCOUNT")
READ_FLOWS: Final = ("ZSCORE", "SISMEMBER", "SCARD", "SMEMBERS", "GET")
READ_ARMED: Final = ("ZSCORE", "ZRANGEBYSCORE", "GET")
READ_ORPHANS: Final = ("SCAN", "LRANGE", "LPOS", "ZSCORE", "SISMEMBER", "SCARD", "SMEMBERS", "GET")
WRITE: Final = ("UNLINK", "ZREM")
WRITE_LIST: Final = ("LSET", "LREM")
WRITE_GROUPS: Final = ("SREM", "HDEL")
WRITE_PARENTS: Final = ("SREM", "LLEN", "RPUSH", "ZADD", "HDEL")

# How many of the oldest of a sorted set would go, where it is known that nothing but their place decides.
# KEYS  1 the state, 2 limiter:index
# ARGV  1 base, 2 highest score, 3 how many of the newest stay, 4 most ("" for any number), 5 how many ids to return
FORESEE: Final = Script(
    "count what would be removed",
    """
local call, state = redis.call, KEYS[1]
if call('EXISTS', KEYS[2]) == 1 then return {0} end
local count = math.min(call('ZCOUNT', state, '-inf', ARGV[2]), call('ZCARD', state) - tonumber(ARGV[3]))
if ARGV[4] ~= '' then count = math.min(count, tonumber(ARGV[4])) end
if count < 1 then return {0} end
local last = call('ZRANGE', state, count - 1, count - 1, 'WITHSCORES')
local some = call('ZRANGE', state, 0, math.min(count, tonumber(ARGV[5])) - 1)
return {count, call('ZRANGE', state, 0, 0, 'WITHSCORES')[2], last[1], last[2], some}
""",
)
# Whether some ids in a row are jobs as far as one command for all can tell: no text stands in place of one, and where
# ids without a job stay, each has one.
# KEYS  1 the state
# ARGV  1 base, 2 place of the first, 3 how many, 4 whether ids without a job stay
WHOLE: Final = Script(
    "look for ids without a job",
    """
local keys = redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[2] + ARGV[3] - 1)
if #keys == 0 then return 0 end
for i, id in ipairs(keys) do keys[i] = ARGV[1] .. id end
if ARGV[4] == '1' and redis.call('EXISTS', unpack(keys)) < #keys then return 0 end
local values = redis.pcall('MGET', unpack(keys))
if values.err then return 0 end
for _, value in ipairs(values) do
  if value then return 0 end
end
return 1
""",
)

# One event about all that was removed. Something that writes comes first, as redis refuses XADD, which needs room, only
# to a script that has written nothing when it is out of memory.
# KEYS  1 events
# ARGV  1 a key that is not there, 2 how many events stay about, 3 count
TELL: Final = Script(
    "tell what was cleaned",
    """
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' then return 0 end
redis.call('UNLINK', ARGV[1])
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'event', 'cleaned', 'count', ARGV[3])
return 1
""",
)

__all__ = [
    "ARMED",
    "CLEAN",
    "CLOCK",
    "ELSEWHERE",
    "FAMILY",
    "FORESEE",
    "GHOSTS",
    "GLOB",
    "HEAD",
    "KEPT",
    "LOOK",
    "LOOSEN",
    "ORPHANS",
    "READ",
    "READ_ARMED",
    "READ_FLOWS",
    "READ_LIST",
    "READ_ORPHANS",
    "READ_SET",
    "REMOVE",
    "TELL",
    "TOMBSTONE",
    "WHOLE",
    "WRITE",
    "WRITE_GROUPS",
    "WRITE_LIST",
    "WRITE_PARENTS",
]
