# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast way to remove many jobs: from C(completed) and C(failed), and from the tail of C(wait) and C(paused).

What makes a removal slow is not the removal: it is the look-ups of keys that do not exist, one call of Lua each. Here a
page costs four or five commands however many jobs it holds, and still every page is decided and removed by one script.

Finished jobs: one SCAN learns which keys beside those of jobs exist (logs, results of children, locks, deduplication,
parents that wait). Jobs that have such keys are removed first, by their ids. All others have their hash only, and some
have logs, so a page of them needs no field: the order of the set decides, and whoever asks for the page says which of
its jobs have logs. A job that finished so long before the SCAN cannot get such a key later, with two exceptions: a
failed job that is made somebody's child, which the script looks for; and logs, which another SCAN finds when the jobs
are gone.

Waiting jobs change while we look, so nothing is learnt beforehand: the script reads the fields of a whole page with one
SORT ... GET and looks for locks with one EXISTS.

Whatever needs more than that is left to the exact way: C(Page.exact) says so, and nothing of it was touched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._queue_layout import OWN, SUB_KEYS, Flavour, Queue
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, RedisFailed, Script, good, refused
from ansible_collections.quai.ops.plugins.module_utils._resp import Argument, Refusal, Reply, number, text

# How long before the SCAN a job has to be finished, ms: clocks of workers may differ, and a job may still be written to
# just after it finished.
MARGIN_MS: Final = 300_000
# What the exact way costs more than the fast one, in looked-at keys of a SCAN: below this share, SCAN does not pay.
SCAN_PAYS: Final = 3
# Keys that one call of SCAN looks at: about one millisecond.
SCAN_COUNT: Final = 1000
# Jobs with keys of their own that are removed by id in one script: every one costs a dozen look-ups.
SPECIAL_PAGE: Final = 100
# More than that many of them are no exception but the rule; then the exact way is as good.
MOST_SPECIAL: Final = 20_000
# Ids with logs that are kept in mind, 30 MB of them. With more than two of five it is cheaper to try each.
MOST_LOGGED: Final = 300_000
# A script's table is unpacked into arguments; Lua has place for 8,000.
MOST: Final = 3500
MOST_TAIL: Final = 1100
# Ids that are read at a time to see which have logs: half a millisecond.
READ_AHEAD: Final = 10_000


# What the scripts here run that those of the exact way do not, or not for every state.
COMMANDS: Final = ("ZRANGEBYSCORE", "ZREMRANGEBYRANK", "LTRIM", "MGET")


class Hints(NamedTuple):
    """What one SCAN found out about the keys beside those of jobs."""

    version: str  # what meta said before
    high: str  # the highest score that pages may ask for
    special: tuple[str, ...]  # ids of finished jobs that have more keys than hash and logs
    logged: frozenset[bytes] | None  # ids that have logs; None: too many, then each is tried
    parents: str  # which jobs with a parent a page has to look for: none, waited (for by their parent), any


class Page(NamedTuple):
    """What one script did."""

    removed: int
    ghosts: int  # ids among them that had no job
    first: str  # id that was removed first, "" without any
    last: str
    oldest: int | None  # time of the first and of the last one, ms; None for a list
    newest: int | None
    end: bool  # nothing is left that the fast way would remove
    exact: str  # why the next job needs the exact way; "" when it does not
    spent: float  # s that Redis took; from 7.2 on it stops the clock for a script, then 0


# In place of a version.
ANY_VERSION: Final = "*"
# What every script returns: removed, ghosts, first id, last id, their times, whether there is more, why the exact way
# is needed, CPU time in seconds. Nothing was touched when a reason is given, but by TAIL what it says it removed.
#
# As in the exact scripts, all is read before the first write. Whether the user may run COMMANDS is asked before, by
# able: who may not can still have the right to those of the exact way.
_HEAD: Final = f"""
local function seconds()
  local time = redis.call('TIME')
  return time[1] + time[2] / 1000000
end
local STARTED = seconds()
local call = redis.call
local state, base = KEYS[1], ARGV[1]
local function ended(more, why)
  return {{0, 0, '', '', '', '', more, why, tostring(seconds() - STARTED)}}
end
local function kind_of(key) return call('TYPE', key).ok end
local function wrong_type(wanted)
  for key, kind in pairs(wanted) do
    local found = kind_of(key)
    if found ~= 'none' and found ~= kind then return true end
  end
end
-- Whether a text stands in place of a job: that is damage, and the exact way leaves it. It is all that one command can
-- tell of many keys; a list or a set in place of a finished job goes with it, as with the libraries.
local function texts_among(keys)
  local values = redis.pcall('MGET', unpack(keys))
  if values.err then return true end
  for _, value in ipairs(values) do
    if value then return true end
  end
end
-- Another version may have taken the queue over, with other rules.
if ARGV[2] ~= '{ANY_VERSION}' and (call('HGET', KEYS[2], 'version') or '') ~= ARGV[2] then
  return ended(1, 'version')
end
"""
# A page of finished jobs.
#
# KEYS: 1 completed or failed, 2 meta, 3 priority, 4 limiter:index
# ARGV: 1 what keys begin with, 2 version in meta, 3 highest score, 4 jobs per page, 5 most jobs to remove ("" for any
#       number), 6 how many of the newest stay, 7 which jobs with a parent stay: none, waited (those that their parent
#       waits for), any, 8 whether ids without a job stay, 9 whose logs go: all, or those in the places 13 and later,
#       if the page is still the one that was looked at: 10 its first id, 11 its last, 12 how many ids it has
PAGE: Final = Script(
    "clean a page of finished jobs fast",
    _HEAD
    + """
if wrong_type({[state] = 'zset', [KEYS[3]] = 'zset'}) then return ended(1, 'type') end
if call('EXISTS', KEYS[4]) == 1 then return ended(1, 'places') end
local ids = call('ZRANGEBYSCORE', state, '-inf', ARGV[3], 'LIMIT', 0, tonumber(ARGV[4]))
local count = math.min(#ids, call('ZCARD', state) - tonumber(ARGV[6]))
if ARGV[5] ~= '' then count = math.min(count, tonumber(ARGV[5])) end
if count < 1 then return ended(0, '') end
local more = count == tonumber(ARGV[4])

-- Decide.
local keys, logs = {}, {}
for i = 1, count do keys[i] = base .. ids[i] end
if ARGV[9] == 'those' and ids[1] == ARGV[10] and ids[#ids] == ARGV[11] and #ids == tonumber(ARGV[12]) then
  for i = 13, #ARGV do
    local place = tonumber(ARGV[i])
    if place <= count then logs[#logs + 1] = keys[place] .. ':logs' end
  end
else
  for i = 1, count do logs[i] = keys[i] .. ':logs' end
end
if ARGV[7] ~= 'none' then
  local parents = redis.pcall('SORT', state, 'BY', 'nosort', 'LIMIT', 0, count, 'GET', base .. '*->parentKey')
  if parents.err then return ended(1, 'sort') end
  for i = 1, count do
    local parent = parents[i]
    if parent and parent ~= '' then
      if ARGV[7] == 'any' then return ended(1, 'parents') end
      local kind = kind_of(parent .. ':dependencies')
      if kind ~= 'none' and (kind ~= 'set' or call('SISMEMBER', parent .. ':dependencies', keys[i]) == 1) then
        return ended(1, 'parents')
      end
    end
  end
end
if ARGV[8] == '1' and call('EXISTS', unpack(keys)) < count then return ended(1, 'ghosts') end
if texts_among(keys) then return ended(1, 'damaged') end
local first, last = call('ZSCORE', state, ids[1]), call('ZSCORE', state, ids[count])

-- Write.
call('ZREMRANGEBYRANK', state, 0, count - 1)
if call('EXISTS', KEYS[3]) == 1 then call('ZREM', KEYS[3], unpack(ids, 1, count)) end
local ghosts = count - call('UNLINK', unpack(keys))
if #logs > 0 then call('UNLINK', unpack(logs)) end
return {count, ghosts, ids[1], ids[count], first, last, more and 1 or 0, '', tostring(seconds() - STARTED)}
""",
)
# Finished jobs that have keys of their own, by their ids.
#
# KEYS and ARGV: as PAGE, without a size: 4 most jobs to remove, 5 how many of the newest stay, 6 which jobs with a
#                parent stay, 7 whether ids without a job stay, then ids
# Returns: as the others, and the lowest score of those that are not among the ones to remove
SPECIAL: Final = Script(
    "clean some finished jobs fast",
    _HEAD
    + """
if wrong_type({[state] = 'zset', [KEYS[3]] = 'zset'}) then return ended(1, 'type') end
if call('EXISTS', KEYS[4]) == 1 then return ended(1, 'places') end
-- Those that go are the first so many of the set, now as well as after some of them are gone.
local top = math.min(call('ZCOUNT', state, '-inf', ARGV[3]), call('ZCARD', state) - tonumber(ARGV[5]))
if ARGV[4] ~= '' then top = math.min(top, tonumber(ARGV[4])) end

-- Decide.
local names = {@SUBS@}
local keys, more, members, ranks, stays = {}, {}, {}, {}, false
for i = 8, #ARGV do
  local id = ARGV[i]
  local rank = call('ZRANK', state, id)
  if rank and rank >= top then
    if not stays or rank < stays then stays = rank end
  elseif rank then
    local key = base .. id
    local kind = kind_of(key)
    if kind ~= 'none' and kind ~= 'hash' then return ended(1, 'type') end
    if call('EXISTS', key .. ':lock', key .. ':dependencies') > 0 then return ended(1, 'locks or children') end
    if ARGV[6] ~= 'none' then
      local parent = call('HGET', key, 'parentKey')
      if parent and parent ~= '' then
        if ARGV[6] == 'any' then return ended(1, 'parents') end
        local children = kind_of(parent .. ':dependencies')
        if children ~= 'none' and (children ~= 'set' or call('SISMEMBER', parent .. ':dependencies', key) == 1) then
          return ended(1, 'parents')
        end
      end
    end
    members[#members + 1] = id
    ranks[#ranks + 1] = rank
    keys[#keys + 1] = key
    for _, name in ipairs(names) do more[#more + 1] = key .. ':' .. name end
  end
end
local function score_at(rank) return call('ZRANGE', state, rank, rank, 'WITHSCORES')[2] end
local bound = stays and score_at(stays) or ''
local count = #members
if count == 0 then return {0, 0, '', '', '', '', 0, '', tostring(seconds() - STARTED), bound} end
if ARGV[7] == '1' and call('EXISTS', unpack(keys)) < count then return ended(1, 'ghosts') end
local lowest, highest = ranks[1], ranks[1]
for i = 2, count do
  if ranks[i] < lowest then lowest = ranks[i] end
  if ranks[i] > highest then highest = ranks[i] end
end
local oldest, newest = score_at(lowest), score_at(highest)

-- Write.
call('ZREM', state, unpack(members))
if call('EXISTS', KEYS[3]) == 1 then call('ZREM', KEYS[3], unpack(members)) end
local ghosts = count - call('UNLINK', unpack(keys))
call('UNLINK', unpack(more))
return {
  count, ghosts, members[1], members[count], oldest, newest, 0, '', tostring(seconds() - STARTED), bound,
}
""".replace("@SUBS@", ", ".join(f"'{name}'" for name in SUB_KEYS)),
)
# Logs that were written while their job was removed.
#
# KEYS and ARGV: 1 what keys begin with, 2 any version, then ids
SWEEP: Final = Script(
    "remove logs of jobs that are gone",
    _HEAD
    + """
local keys = {}
for i = 3, #ARGV do
  local key = base .. ARGV[i]
  if call('EXISTS', key) == 0 and kind_of(key .. ':logs') == 'list' then keys[#keys + 1] = key .. ':logs' end
end
if #keys > 0 then call('UNLINK', unpack(keys)) end
return #keys
""",
)
# A page at the tail of a list.
#
# KEYS: 1 wait or paused, 2 meta, 3 priority, 4 limiter:index
# ARGV: 1 what keys begin with, 2 version in meta, 3 latest time, 4 jobs per page, 5 most jobs to remove ("" for any
#       number), 6 how many of the newest stay, 7 and later the fields that say the age, the first that a job has
TAIL: Final = Script(
    "clean the tail of a list of jobs fast",
    _HEAD
    + """
if wrong_type({[state] = 'list'}) then return ended(1, 'type') end
local latest, length = tonumber(ARGV[3]), call('LLEN', state)
local count = math.min(tonumber(ARGV[4]), length - tonumber(ARGV[6]))
if ARGV[5] ~= '' then count = math.min(count, tonumber(ARGV[5])) end
if count < 1 then return ended(0, '') end
-- Jobs with a priority, or of a group, are in other places as well.
if call('EXISTS', KEYS[3], KEYS[4]) > 0 then return ended(1, 'places') end

-- Decide, from the oldest on: what goes is one piece at the tail.
local clocks = #ARGV - 6
local command = {'SORT', state, 'BY', 'nosort', 'LIMIT', length - count, count, 'GET', '#'}
for i = 7, #ARGV do
  command[#command + 1] = 'GET'
  command[#command + 1] = base .. '*->' .. ARGV[i]
end
for _, field in ipairs({'parentKey', 'deid', 'rjk'}) do
  command[#command + 1] = 'GET'
  command[#command + 1] = base .. '*->' .. field
end
local page = redis.pcall(unpack(command))
if page.err then return ended(1, 'sort') end
local width = clocks + 4
local keys, locks, run, why, oldest, newest = {}, {}, 0, '', false, false
for i = count, 1, -1 do
  local at = (i - 1) * width
  local id = page[at + 1]
  local time = false
  for field = 1, clocks do time = time or page[at + 1 + field] end
  if not time or time == '' or string.find(time, '[^%d]') then why = 'fields'
  elseif tonumber(time) > latest then why = 'young'
  elseif page[at + clocks + 2] or page[at + clocks + 3] or page[at + clocks + 4] then why = 'fields'
  elseif string.find(id, '^repeat:') or string.find(id, '^0:') then why = 'schedules'
  end
  if why ~= '' then break end
  run = run + 1
  local key = base .. id
  locks[run] = key .. ':lock'
  keys[#keys + 1] = key
  for _, name in ipairs({@SUBS@}) do keys[#keys + 1] = key .. ':' .. name end
  time = tonumber(time)
  if not oldest or time < oldest then oldest = time end
  if not newest or time > newest then newest = time end
end
if run == 0 then return ended(1, why) end
if call('EXISTS', unpack(locks)) > 0 then return ended(1, 'locks') end
@CHILDREN@
local first, last = page[(count - 1) * width + 1], page[(count - run) * width + 1]
-- An id that is in the list twice goes from both places, or from none.
local seen = {}
for i = count - run + 1, count do
  local id = page[(i - 1) * width + 1]
  if seen[id] then return ended(1, 'twice') end
  seen[id] = true
end

-- Write.
-- LTRIM 0 -1 would leave all of it.
call('LTRIM', state, run == length and 1 or 0, run == length and 0 or length - run - 1)
call('UNLINK', unpack(keys))
local more = why ~= '' or (run == tonumber(ARGV[4]) and run < length)
return {
  run, 0, first, last, string.format('%.0f', oldest), string.format('%.0f', newest), more and 1 or 0, why,
  tostring(seconds() - STARTED),
}
""".replace("@SUBS@", ", ".join(f"'{name}'" for name in SUB_KEYS)).replace(
        "@CHILDREN@",
        """
-- A parent that waits for children is not in a list, but one whose children were added later is.
local parents = {}
for i = 1, run do parents[i] = string.sub(locks[i], 1, -5) .. 'dependencies' end
if call('EXISTS', unpack(parents)) > 0 then return ended(1, 'children') end
""",
    ),
)


def able(link: Link, queue: Queue) -> bool:
    """Whether the user may run what the fast way needs besides what the exact way does. Raises RedisFailed."""
    return not refused(link, queue.base, COMMANDS)


def worthwhile(link: Link, candidates: int) -> bool:
    """Whether a SCAN of the database costs less than it spares. Raises RedisFailed."""
    (reply,) = link.ask(("DBSIZE",))
    size = number(reply)
    return size is not None and candidates * SCAN_PAYS > size


def hints(
    link: Link,
    queue: Queue,
    flavour: Flavour,
    state: str,
    *,
    high: str = "+inf",
    version: str | None = None,
    now_ms: int | None = None,
    after: Callable[[float], None] | None = None,
) -> Hints | None:
    """Learn what pages of C(state), completed or failed, need to know; None: they need the exact way.

    C(high) is the highest score that is wanted, as ZCOUNT takes it; that of the answer leaves out what is too young to
    be judged by a SCAN. C(version) is what meta must say; None for what it says now. C(now_ms) is the time; None asks
    Redis. C(after) is called after each call of SCAN with the
    seconds that it took; what it raises goes to the caller. Raises RedisFailed.
    """
    # SORT ... GET puts an id in place of the first asterisk. In a cluster keys may move to another node meanwhile.
    if "*" in queue.base or link.facts().cluster:
        return None
    if version is None:
        version = text(link.call("HGET", queue.key("meta"), "version"))
    youngest = (link.time_ms() if now_ms is None else now_ms) - MARGIN_MS
    if float(high.lstrip("(").replace("+inf", "inf")) > youngest:
        high = str(youngest)
    set_key = queue.key(state)
    most_logged = min(MOST_LOGGED, int(link.call("ZCOUNT", set_key, "-inf", high)) * 2 // 5)
    try:
        found = _found(link, queue.base.encode("utf-8", "surrogateescape"), most_logged, after)
    except RedisFailed as error:
        if error.reason != "auth":
            raise
        # Who may clean a queue may still not be allowed to look at all keys.
        found = None
    if found is None:
        return None
    exact, special, logged = found
    # An id that is the name of a key of the queue itself: pages would take that key for the job's.
    exact.update(name.encode() for name in OWN)
    if any(True for _id in _in_set(link, set_key, sorted(exact), high)):
        return None
    if flavour.bull:
        parents = "none"
    elif flavour.major in (1, 2):
        # They forget the result of a child that is removed.
        parents = "any"
    else:
        # A completed job that becomes somebody's child is not waited for.
        parents = "waited" if state == "failed" else "none"
    return Hints(version, high, tuple(_in_set(link, set_key, sorted(special), high)), logged, parents)


def _found(  # noqa: PLR0912
    link: Link, base: bytes, most_logged: int, after: Callable[[float], None] | None
) -> tuple[set[bytes], set[bytes], frozenset[bytes] | None] | None:
    """Ids that need the exact way, ids with more keys than hash and logs, and ids with logs; None: too many.

    Instead of more than C(most_logged) ids with logs there is None.
    """
    special: set[bytes] = set()
    exact: set[bytes] = set()
    logged: set[bytes] | None = set()
    dedup: list[bytes] = []
    parents: list[bytes] = []
    # Every key beside a job has three colons at least: prefix:queue:id:name.
    for keys in _scan(link, b"*:*:*:*", after):
        for key in keys:
            stem, _colon, last = key.rpartition(b":")
            if last == b"dependencies":
                parents.append(key)
            if not key.startswith(base):
                continue
            if key.startswith(b"de:", len(base)):
                dedup.append(key)
            if last == b"logs":
                if logged is not None:
                    logged.add(stem[len(base) :])
            elif last in {b"lock", b"dependencies"}:
                exact.add(stem[len(base) :])
            elif last in _SPECIAL:
                special.add(stem[len(base) :])
        if logged is not None and len(logged) > most_logged:
            logged = None
        if len(parents) > MOST_SPECIAL or len(dedup) > MOST_SPECIAL or len(special) > MOST_SPECIAL:
            return None
    for key in parents:
        exact.update(child[len(base) :] for child in _members(link, key) if child.startswith(base))
        if len(exact) > MOST_SPECIAL:
            return None
    for begin in range(0, len(dedup), 500):
        exact.update(value for value in link.call("MGET", *dedup[begin : begin + 500]) if value is not None)
    return exact, special, None if logged is None else frozenset(logged)


class Step(NamedTuple):
    """One script that can be run: C(act) takes how many jobs may go at most, None for any number."""

    size: int  # how many jobs it looks at
    act: Callable[[int | None], Page]
    repeat: bool  # whether it is run again until its page says C(end); the others are run whatever theirs says


def steps(
    link: Link,
    queue: Queue,
    state: str,
    known: Hints,
    size: Callable[[], int],
    *,
    keep_last: int = 0,
    keep_ghosts: bool = False,
) -> Iterator[Step]:
    """What removes the finished jobs that C(known) is about, script by script; C(size) says how large a page may be.

    Whoever runs them stops at the first page with C(exact), or with C(end) where the step says C(repeat).
    """
    bounds: dict[str, Any] = {"keep_last": keep_last, "keep_ghosts": keep_ghosts}
    high = known.high

    def special(ids: Sequence[Argument]) -> Step:
        def act(most: int | None) -> Page:
            nonlocal high
            done, stays = _special(link, queue, state, known, ids, most=most, **bounds)
            # What must stay now may be among those to go later, and pages know nothing of its keys.
            if stays and float(stays) <= float(high.lstrip("(")):
                high = f"({stays}"
            return done

        return Step(len(ids), act, repeat=False)

    def page_of_them(most: int | None) -> Page:
        return page(link, queue, state, lower, size(), most=most, ahead=ahead, **bounds)

    rest = list(known.special)
    while rest:
        yield special(rest[:SPECIAL_PAGE])
        del rest[:SPECIAL_PAGE]
    lower = known._replace(high=high)
    ahead = None if known.logged is None else Ahead(link, queue.key(state), lower)
    while True:
        yield Step(size(), page_of_them, repeat=True)


def sweep(link: Link, queue: Queue, known: Hints, after: Callable[[float], None] | None = None) -> int:
    """Remove logs that came since C(known) to jobs that are gone; return how many. Raises RedisFailed."""
    if known.logged is None:
        return 0
    base = queue.base.encode("utf-8", "surrogateescape")
    removed = 0
    for keys in _scan(link, b"*:*:*:logs", after):
        ids = [key[len(base) : -len(b":logs")] for key in keys if key.startswith(base)]
        new = [one for one in ids if one not in known.logged]
        if new:
            removed += int(link.run(SWEEP, _keys(queue, "completed"), (queue.base, ANY_VERSION, *new)))
    return removed


def _special(
    link: Link,
    queue: Queue,
    state: str,
    known: Hints,
    ids: Sequence[Argument],
    *,
    most: int | None,
    keep_last: int,
    keep_ghosts: bool,
) -> tuple[Page, str]:
    """Remove those of some ids that are still within the bounds; also the lowest score of those that are not."""
    arguments = ("" if most is None else most, keep_last, known.parents, int(keep_ghosts), *ids)
    reply = link.run(SPECIAL, _keys(queue, state), (queue.base, known.version, known.high, *arguments))
    return _page(reply[:9]), text(reply[9]) if len(reply) > 9 else ""


def page(
    link: Link,
    queue: Queue,
    state: str,
    known: Hints,
    size: int,
    *,
    most: int | None = None,
    keep_last: int = 0,
    keep_ghosts: bool = False,
    ahead: Ahead | None = None,
) -> Page:
    """Remove the oldest C(size) finished jobs that have no keys of their own; see steps. Raises RedisFailed.

    C(most) is how many may go in all, C(keep_last) how many of the newest stay. With C(keep_ghosts) nothing goes from a
    page with an id that has no job. C(ahead) is kept from page to page; None reads what this one needs.
    """
    size = min(size, MOST)
    logs: tuple[Argument, ...] = ("all",)
    if known.logged is not None:
        ahead = ahead or Ahead(link, queue.key(state), known)
        logs = ("those", *ahead.page(size))
    arguments = (size, "" if most is None else most, keep_last, known.parents, int(keep_ghosts), *logs)
    done = _page(link.run(PAGE, _keys(queue, state), (queue.base, known.version, known.high, *arguments)))
    if ahead is not None:
        ahead.went(done)
    return done


class Ahead:
    """Ids of the pages to come, read many at a time, to say which of them have logs."""

    def __init__(self, link: Link, key: str, known: Hints) -> None:
        """C(known) has the ids with logs and the highest score of a page."""
        self._link, self._key, self._high = link, key, known.high
        self._logged = known.logged or frozenset()
        self._ids: list[bytes] = []
        self._at = 0

    def page(self, size: int) -> tuple[Argument, ...]:
        """The first and the last id of the next page, how many it has, and the places of those with logs."""
        if len(self._ids) - self._at < size:
            most = max(size, READ_AHEAD)
            self._ids = self._link.call("ZRANGEBYSCORE", self._key, "-inf", self._high, "LIMIT", 0, most)
            self._at = 0
        ids = self._ids[self._at : self._at + size]
        if not ids:
            return "", "", 0
        return ids[0], ids[-1], len(ids), *(place for place, one in enumerate(ids, 1) if one in self._logged)

    def went(self, done: Page) -> None:
        """Note what a page removed. Where that is not what was expected, the rest is read anew."""
        ids = self._ids[self._at : self._at + done.removed]
        if not ids or (text(ids[0]), text(ids[-1])) != (done.first, done.last):
            self._ids = ids = []
        self._at += len(ids)


def tail(
    link: Link,
    queue: Queue,
    state: str,
    size: int,
    *,
    latest: int,
    fields: Sequence[str],
    version: str | None = None,
    most: int | None = None,
    keep_last: int = 0,
) -> Page:
    """Remove up to C(size) jobs at the tail of C(wait) or C(paused) that are not younger than C(latest), ms.

    C(fields) say the age, the first of them that a job has. C(version) is what meta must say; None for anything.
    Raises RedisFailed.
    """
    if "*" in queue.base:
        return Page(0, 0, "", "", None, None, end=False, exact="sort", spent=0.0)
    told = ANY_VERSION if version is None else version
    arguments = (latest, min(size, MOST_TAIL), "" if most is None else most, keep_last, *fields)
    return _page(link.run(TAIL, _keys(queue, state), (queue.base, told, *arguments)))


def _keys(queue: Queue, state: str) -> tuple[str, ...]:
    return tuple(queue.key(suffix) for suffix in (state, "meta", "priority", "limiter:index"))


def _page(reply: Reply) -> Page:
    removed, ghosts, first, last, oldest, newest, more, exact, spent = reply
    times = _whole(oldest), _whole(newest)
    return Page(removed, ghosts, text(first), text(last), *times, not more, text(exact), float(text(spent)))


def _whole(score: Reply) -> int | None:
    try:
        return round(float(text(score)))
    except (ValueError, OverflowError):
        return None


_SPECIAL: Final = frozenset(name.encode() for name in SUB_KEYS if name != "logs")


def _scan(link: Link, pattern: bytes, after: Callable[[float], None] | None) -> Iterator[list[bytes]]:
    cursor = b"0"
    while True:
        began = time.monotonic()
        cursor, keys = link.call("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT)
        if after is not None:
            after(time.monotonic() - began)
        yield keys
        if cursor == b"0":
            return


def _members(link: Link, key: bytes) -> Iterator[bytes]:
    """The children that a parent waits for; nothing when the key is gone or is no set. Raises RedisFailed."""
    cursor = b"0"
    while True:
        (reply,) = link.ask(("SSCAN", key, cursor, "COUNT", SCAN_COUNT))
        if isinstance(reply, Refusal) and reply.code == "WRONGTYPE":
            return
        cursor, found = good(reply, f"SSCAN {text(key)}")
        yield from found
        if cursor == b"0":
            return


def _in_set(link: Link, key: str, ids: Sequence[bytes], high: str) -> Iterator[str]:
    """Which ids are in a sorted set with a score up to C(high)."""
    top = float(high.lstrip("(").replace("+inf", "inf"))
    for begin in range(0, len(ids), 500):
        part = ids[begin : begin + 500]
        for one, reply in zip(part, link.ask(*(("ZSCORE", key, one) for one in part))):
            score = good(reply, f"ZSCORE {key}")
            if score is not None and float(score) <= top:
                yield one.decode("utf-8", "surrogateescape")


__all__ = [
    "COMMANDS",
    "MARGIN_MS",
    "MOST",
    "MOST_SPECIAL",
    "SPECIAL_PAGE",
    "Hints",
    "Page",
    "Step",
    "able",
    "hints",
    "page",
    "steps",
    "sweep",
    "tail",
    "worthwhile",
]
