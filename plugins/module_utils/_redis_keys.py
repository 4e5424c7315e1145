# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing keys of Redis by pattern, in pages that end soon, and never those of a job queue.

One script asks for a page of keys with SCAN, decides about each, and then removes them, so nobody can change a key
between the decision and the removal. A dry run is the same script, told not to write.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._queue_pace import Pace
from ansible_collections.quai.ops.plugins.module_utils._queue_rules import duration
from ansible_collections.quai.ops.plugins.module_utils._redis_link import (
    Link,
    RedisFailed,
    Script,
    Server,
    good,
    told,
)
from ansible_collections.quai.ops.plugins.module_utils._resp import number, text

REMOVE, EXPIRE = "remove", "expire"
TYPES: Final = ("string", "list", "set", "zset", "hash", "stream")
# Why a key that a pattern matches is kept, in the order in which they are asked.
KEPT: Final = ("type", "ttl", "idle", "protected", "queue", "limit")
SAMPLES: Final = 20
# How much of a key is shown after what the pattern says: the rest may be a session's secret.
_SHOWN: Final = 4
_STARS: Final = 8
# Keys that one page looks at.
_FIRST, _LARGEST = 100, 20_000
_NEVER: Final = -1


class KeysProblem(Exception):
    """What is wrong with what was asked; nothing was changed."""


class KeyRule(NamedTuple):
    """Which keys go, or get a time to live. All that is said must hold. Times are ms, idle is s; None is not asked."""

    pattern: str
    without_ttl: bool = False
    ttl_above: int | None = None
    idle_for: int | None = None
    types: tuple[str, ...] = ()
    limit: int | None = None
    action: str = REMOVE
    ttl: int | None = None


class KeyPolicy(NamedTuple):
    """How far it may go."""

    protected: tuple[str, ...] = ()
    protect_queues: bool = True
    max_remove: int | str | None = None
    max_seconds: float = 300.0
    chunk_ms: float = 5.0
    duty: float = 1.0
    samples: int = 5


class RuleOutcome(NamedTuple):
    """What became of the keys of one rule. In a dry run, what would."""

    pattern: str
    action: str
    done: int  # removed, or given a time to live
    kept: dict[str, int]  # by KEPT
    samples: list[str]  # shortened: names of keys can be secrets


class KeysOutcome(NamedTuple):
    """What a run has done. In a dry run, what it would."""

    rules: list[RuleOutcome]
    examined: int  # keys that a pattern matched
    keys: int  # in the database before
    chunks: int
    longest_chunk_ms: float
    redis_ms: float
    complete: bool  # False when a limit ended it before all keys were seen
    warnings: list[str]

    @property
    def done(self) -> int:
        """Keys removed or given a time to live."""
        return sum(one.done for one in self.rules)


def rules(raw: Sequence[Mapping[str, Any]], *, everything: bool = False) -> list[KeyRule]:
    """Read rules as people write them. Raises KeysProblem with all that is wrong."""
    problems: list[str] = []
    found = [_rule(f"rules[{position}]", one, everything, problems) for position, one in enumerate(raw)]
    if not raw:
        problems.append("rules: there is none; one is like {pattern: 'expired:*'}")
    if problems:
        raise KeysProblem("; ".join(problems))
    return found


def _rule(where: str, raw: Mapping[str, Any], everything: bool, problems: list[str]) -> KeyRule:
    known = {*KeyRule._fields, "only_without_ttl"}
    problems += [f"{where}: there is no option {name}" for name in raw if name not in known]
    pattern = _pattern(where, raw.get("pattern"), everything, problems)
    times = {name: _time(f"{where}.{name}", raw.get(name), problems) for name in ("ttl_above", "idle_for", "ttl")}
    types = tuple(raw.get("types") or ())
    problems += [f"{where}.types: {one!r} is none of {', '.join(TYPES)}" for one in types if one not in TYPES]
    limit = raw.get("limit")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        problems.append(f"{where}.limit: {limit!r} is no whole number of at least 1")
        limit = None
    action = raw.get("action") or REMOVE
    if action not in (REMOVE, EXPIRE):
        problems.append(f"{where}.action: {action!r} is neither {REMOVE} nor {EXPIRE}")
    elif action == EXPIRE and not times["ttl"]:
        problems.append(f"{where}.ttl: {EXPIRE} needs the time to live that keys get, such as 7d")
    elif action == REMOVE and raw.get("ttl") is not None:
        problems.append(f"{where}.ttl: only {EXPIRE} gives keys a time to live; action is {REMOVE}")
    without = bool(raw.get("without_ttl") or raw.get("only_without_ttl"))
    if without and times["ttl_above"] is not None:
        problems.append(f"{where}: no key can be without a TTL and have one above {raw['ttl_above']}; use two rules")
    idle = times["idle_for"]
    # Redis counts whole seconds.
    seconds = None if idle is None else -(-idle // 1000)
    return KeyRule(pattern, without, times["ttl_above"], seconds, types, limit, action, times["ttl"])


def _pattern(where: str, pattern: Any, everything: bool, problems: list[str]) -> str:
    if not isinstance(pattern, str) or not pattern:
        problems.append(f"{where}.pattern: a pattern is needed, such as 'expired:*'")
        return ""
    try:
        lua_pattern(pattern)
    except KeysProblem as problem:
        problems.append(f"{where}.pattern: {problem}")
        return pattern
    if not everything and not literal(pattern):
        problems.append(
            f"{where}.pattern: {pattern!r} matches every key, or any of some length; name what the keys have in"
            " common, or confirm it with everything: true"
        )
    return pattern


def _time(where: str, value: Any, problems: list[str]) -> int | None:
    if value is None:
        return None
    try:
        return duration(value)
    except ValueError as error:
        problems.append(f"{where}: {error}")
        return None


def check(policy: KeyPolicy) -> None:
    """Raise KeysProblem with everything that is wrong with a policy."""
    problems = []
    for pattern in policy.protected:
        try:
            lua_pattern(pattern)
        except KeysProblem as problem:
            problems.append(f"protected: {problem}")
    if not 0.1 <= policy.chunk_ms <= 1000:
        problems.append(f"chunk_ms: {policy.chunk_ms} is not from 0.1 to 1000")
    if not 0.01 <= policy.duty <= 1:
        problems.append(f"duty: {policy.duty} is not from 0.01 to 1")
    if policy.max_seconds <= 0:
        problems.append(f"max_seconds: {policy.max_seconds} is no time above 0")
    if not 0 <= policy.samples <= SAMPLES:
        problems.append(f"samples: {policy.samples} is not from 0 to {SAMPLES}")
    try:
        ceiling(policy.max_remove, 0)
    except KeysProblem as problem:
        problems.append(str(problem))
    if problems:
        raise KeysProblem("; ".join(problems))


def ceiling(value: int | str | None, total: int) -> int | None:
    """How many keys C(max_remove) allows of C(total); None for any number. Raises KeysProblem."""
    if value is None or value == "":
        return None
    match = re.fullmatch(r"(\d+)\s*(%?)", str(value).strip()) if not isinstance(value, bool) else None
    if match is None or (match.group(2) and int(match.group(1)) > 100):
        raise KeysProblem(f"max_remove: {value!r} is neither a number of keys nor a share of all, such as 20%")
    return total * int(match.group(1)) // 100 if match.group(2) else int(match.group(1))


def literal(pattern: str) -> bool:
    """Whether a pattern says anything about what it matches: a character that is no wildcard, or a short class."""
    return any(0 < len(one) <= 64 for one in _parts(pattern) if one is not None)


def beginning(patterns: Sequence[str]) -> str:
    """A pattern that matches whatever one of these does, for SCAN: their common beginning."""
    if len(patterns) == 1:
        return patterns[0]
    starts = []
    for pattern in patterns:
        start = bytearray()
        for part in _parts(pattern):
            if part is None or len(part) != 1:
                break
            start += bytes(part)
        starts.append(bytes(start))
    common = starts[0]
    for other in starts[1:]:
        differs = next((at for at, (one, two) in enumerate(zip(common, other)) if one != two), None)
        common = common[: min(len(common), len(other)) if differs is None else differs]
    escaped = re.sub(rb"([\\*?\[\]^-])", rb"\\\1", common)
    return escaped.decode("utf-8", "surrogateescape") + "*" if common else ""


def lua_pattern(pattern: str) -> bytes:
    """A glob of Redis as a pattern of Lua, which matches the same keys. Raises KeysProblem for one that is cut off."""
    parts = _parts(pattern)
    if parts.count(None) > _STARS:
        raise KeysProblem(f"{pattern!r} has more than {_STARS} times *")
    out: bytes = b"^"
    for part in parts:
        if part is None:
            out += b".*"
        elif len(part) == 256:
            out += b"."
        elif len(part) == 1:
            out += _lua(next(iter(part)))
        else:
            negate = len(part) > 128
            listed = sorted(set(range(256)) - part if negate else part)
            out += b"[" + (b"^" if negate else b"") + b"".join(map(_lua, listed)) + b"]"
    return out + b"$"


def _lua(byte: int) -> bytes:
    one = bytes((byte,))
    if byte == 0:
        return b"%z"
    return one if one.isalnum() or byte >= 128 or one in b" _:" else b"%" + one


def _parts(pattern: str) -> list[frozenset[int] | None]:
    """What a glob matches, byte by byte; None is any number of any bytes."""
    data = pattern.encode("utf-8", "surrogateescape")
    found: list[frozenset[int] | None] = []
    at = 0
    while at < len(data):
        one = data[at : at + 1]
        at += 1
        if one == b"*":
            if not found or found[-1] is not None:
                found.append(None)
        elif one == b"?":
            found.append(frozenset(range(256)))
        elif one == b"[":
            members, at = _class(data, at, pattern)
            found.append(members)
        else:
            if one == b"\\":
                if at == len(data):
                    raise KeysProblem(f"{pattern!r} ends in a backslash, which has nothing to escape")
                one = data[at : at + 1]
                at += 1
            found.append(frozenset(one))
    return found


def _class(data: bytes, at: int, pattern: str) -> tuple[frozenset[int], int]:
    """The bytes of a class such as [a-c], and where the pattern goes on."""
    negate = data[at : at + 1] == b"^"
    at += negate
    members: set[int] = set()
    while True:
        rest = data[at : at + 3]
        if not rest or rest == b"\\":
            raise KeysProblem(f"{pattern!r}: its [ is not closed; a [ of the name itself is written \\[")
        if rest[:1] == b"]":
            at += 1
            break
        if rest[:1] == b"\\" and len(rest) > 1:
            members.add(rest[1])
            at += 2
        elif rest[1:2] == b"-" and len(rest) == 3:
            low, high = sorted((rest[0], rest[2]))
            members.update(range(low, high + 1))
            at += 3
        else:
            members.add(rest[0])
            at += 1
    if not members:
        raise KeysProblem(f"{pattern!r}: there is nothing within its [ ]")
    return frozenset(set(range(256)) - members if negate else members), at


# KEYS is empty: which keys they are is what SCAN finds. ARGV: cursor, keys to look at, pattern for SCAN, "1" to write,
# how many may be removed (-1: any number), "1" on a cluster, "1" to keep what belongs to a queue, samples per rule;
# protected patterns, preceded by their number; rules of seven, preceded by their number.
# Returns the next cursor, keys that were looked at, "1" when more was to be removed than it may, and per rule: done,
# kept by reason, samples.
SCRIPT: Final = Script(
    "keys",
    """
local call, find = redis.call, string.find
local cursor, count, match = ARGV[1], ARGV[2], ARGV[3]
local write, budget, cluster, queues = ARGV[4] == '1', tonumber(ARGV[5]), ARGV[6] == '1', ARGV[7] == '1'
local wanted, at = tonumber(ARGV[8]), 9
local protected, rules = {}, {}
for i = 1, tonumber(ARGV[at]) do protected[i] = ARGV[at + i] end
at = at + #protected + 1
for i = 1, tonumber(ARGV[at]) do
  local from = at + (i - 1) * 7
  local types
  if ARGV[from + 4] ~= '' then
    types = {}
    for one in string.gmatch(ARGV[from + 4], '%a+') do types[one] = true end
  end
  rules[i] = {
    pattern = ARGV[from + 1], ttl = tonumber(ARGV[from + 2]), idle = tonumber(ARGV[from + 3]), types = types,
    left = tonumber(ARGV[from + 5]), expire = tonumber(ARGV[from + 6]), single = ARGV[from + 7] == '1',
    done = 0, kept = {0, 0, 0, 0, 0, 0}, samples = {}
  }
end

local function kind(key)
  return call('TYPE', key).ok
end

local signs = {
  wait = 'list', active = 'list', paused = 'list', completed = 'zset', failed = 'zset', delayed = 'zset',
  prioritized = 'zset', priority = 'zset', ['waiting-children'] = 'zset', ['repeat'] = 'zset', marker = 'zset',
  events = 'stream', ['stalled-check'] = 'string', ['meta-paused'] = 'string'
}
local bases = {}
local function is_base(base)
  local known = bases[base]
  if known ~= nil then return known end
  known = false
  -- On a cluster, the keys of a queue have a tag, and so are all here; others need not be asked for.
  if not cluster or find(base, '^[^{]*{[^}]+}') then
    local any = redis.pcall('EXISTS', base .. 'id', base .. 'meta', base .. 'meta-paused')
    -- An error: this user may not see them, and so it is not the user's queue.
    if type(any) == 'number' and any > 0 then
      if kind(base .. 'meta') == 'hash' then
        local told = call('HMGET', base .. 'meta', 'opts.maxLenEvents', 'version', 'paused')
        known = told[1] or told[3] or (told[2] and find(told[2], '^bullmq'))
      end
      if not known then
        local numbered = kind(base .. 'id') == 'string'
        for suffix, sign in pairs(signs) do
          if kind(base .. suffix) == sign and (numbered or suffix == 'meta-paused') then
            known = true
            break
          end
        end
      end
    end
  end
  known = known and true or false
  bases[base] = known
  return known
end

local function of_queue(key)
  -- The default prefix, without and with a tag. Queues with another are known by the keys beside them.
  if find(key, '^bull:.*:') or find(key, '^{bull[^}]*}:') then return true end
  local from, seen = 1, 0
  while seen < 16 do
    local colon = find(key, ':', from, true)
    if not colon then break end
    if is_base(string.sub(key, 1, colon)) then return true end
    from, seen = colon + 1, seen + 1
  end
  -- All that is left of a queue of Bull that is empty.
  return string.sub(key, -3) == ':id' and kind(key) == 'string' and call('PTTL', key) == -1
    and call('STRLEN', key) < 20 and find(call('GET', key), '^%d+$') ~= nil
end

-- Why a rule keeps a key: the number of the reason; nil when it does not.
local function kept_by(rule, key)
  if rule.types and not rule.types[kind(key)] then return 1 end
  if rule.ttl ~= -2 or rule.expire >= 0 then
    local left = call('PTTL', key)
    if left == -2 then return 2 end
    if rule.ttl == -1 and left ~= -1 then return 2 end
    if rule.ttl >= 0 and left <= rule.ttl then return 2 end
    -- Never give a key longer than it has.
    if rule.expire >= 0 and left ~= -1 and left <= rule.expire then return 2 end
  end
  if rule.idle >= 0 and (call('OBJECT', 'IDLETIME', key) or 0) < rule.idle then return 3 end
  return nil
end

local function is_protected(key)
  for i = 1, #protected do
    if find(key, protected[i]) then return true end
  end
  return false
end

local page = match == '' and call('SCAN', cursor, 'COUNT', count) or
  call('SCAN', cursor, 'MATCH', match, 'COUNT', count)
local remove, expire, examined, over = {}, {}, 0, '0'
for i = 1, #page[2] do
  local key = page[2][i]
  local matched = false
  for j = 1, #rules do
    local rule = rules[j]
    if rule.single or find(key, rule.pattern) then
      matched = true
      local why = kept_by(rule, key)
      if not why then
        if is_protected(key) then why = 4
        elseif queues and of_queue(key) then why = 5
        elseif rule.left == 0 then why = 6 end
        if why then
          rule.kept[why] = rule.kept[why] + 1
        elseif budget == 0 then
          over = '1'
        else
          rule.done, rule.left, budget = rule.done + 1, rule.left - 1, budget - 1
          if #rule.samples < wanted then rule.samples[#rule.samples + 1] = key end
          if rule.expire >= 0 then
            expire[#expire + 1] = key
            expire[#expire + 1] = rule.expire
          else
            remove[#remove + 1] = key
          end
        end
        break
      end
      rule.kept[why] = rule.kept[why] + 1
    end
  end
  if matched then examined = examined + 1 end
end

-- All is decided: from here on it is only written.
if write then
  if cluster then
    for i = 1, #remove do call('UNLINK', remove[i]) end
  else
    for i = 1, #remove, 5000 do call('UNLINK', unpack(remove, i, math.min(i + 4999, #remove))) end
  end
  for i = 1, #expire, 2 do call('PEXPIRE', expire[i], expire[i + 1]) end
end
local told = {page[1], examined, over}
for j = 1, #rules do told[#told + 1] = {rules[j].done, rules[j].kept, rules[j].samples} end
return told
""",
)


class Tally:
    """What a run has done so far: also known when it is broken off by an error."""

    def __init__(self, wanted: Sequence[KeyRule]) -> None:
        self.done = [0] * len(wanted)
        self.kept = [dict.fromkeys(KEPT, 0) for _rule in wanted]
        self.samples: list[list[bytes]] = [[] for _rule in wanted]
        self.examined = 0
        self.chunks = 0
        self.longest_ms = 0.0
        self.redis_ms = 0.0
        self.complete = True

    @property
    def total(self) -> int:
        """Keys removed or given a time to live."""
        return sum(self.done)

    def add(self, page: Sequence[Any], samples: int) -> None:
        """Add what the script tells of a page."""
        self.examined += int(page[1])
        for position, (done, kept, names) in enumerate(page[3:]):
            self.done[position] += int(done)
            for reason, more in zip(KEPT, kept):
                self.kept[position][reason] += int(more)
            self.samples[position] = (self.samples[position] + list(names))[:samples]


def clean(
    server: Server,
    wanted: Sequence[KeyRule],
    policy: KeyPolicy,
    *,
    dry: bool,
    tally: Tally | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> KeysOutcome:
    """Remove what the rules say, or give it a time to live; with C(dry) only count it. C(tally) is filled on the way.

    Raises KeysProblem before anything is changed, RedisFailed.
    """
    check(policy)
    began = clock()
    warnings = server.writable()
    nodes = server.nodes()
    total = 0
    for link in nodes:
        size, info = link.ask(("DBSIZE",), ("INFO", "memory"))
        total += number(good(size, f"{link.label}: DBSIZE")) or 0
        if any(rule.idle_for is not None for rule in wanted):
            policy_name = told(text(info)).info.get("maxmemory_policy", "")
            if "lfu" in policy_name:
                raise KeysProblem(
                    f"idle_for: {link.label} does not know how long keys were idle, because its maxmemory-policy is"
                    f" {policy_name}; leave idle_for out"
                )
    most = ceiling(policy.max_remove, total)
    found = tally or Tally(wanted)
    if dry or most is not None:
        plan = found if dry else Tally(wanted)
        _pass(
            server, nodes, wanted, policy, plan, write=False, budget=None, end=began + policy.max_seconds, clock=clock
        )
        if most is not None and plan.total > most:
            at_least = "" if plan.complete else "at least "
            allowed = f"{policy.max_remove} ({most} of {total} keys)" if "%" in str(policy.max_remove) else str(most)
            raise KeysProblem(
                f"{at_least}{plan.total} keys would be removed or get a time to live, but max_remove is {allowed};"
                " nothing was changed"
            )
        if not dry and not plan.complete:
            raise KeysProblem(
                f"max_seconds: {policy.max_seconds:g} s were too few to count what would be removed, as max_remove"
                " asks for; nothing was changed"
            )
    if not dry:
        _pass(
            server, nodes, wanted, policy, found, write=True, budget=most, end=began + policy.max_seconds, clock=clock
        )
    return outcome(wanted, found, total, warnings)


def outcome(wanted: Sequence[KeyRule], tally: Tally, total: int, warnings: Sequence[str]) -> KeysOutcome:
    """What a tally says."""
    return KeysOutcome(
        [
            RuleOutcome(rule.pattern, rule.action, done, kept, [shown(rule.pattern, name) for name in names])
            for rule, done, kept, names in zip(wanted, tally.done, tally.kept, tally.samples)
        ],
        tally.examined,
        total,
        tally.chunks,
        round(tally.longest_ms, 3),
        round(tally.redis_ms, 3),
        tally.complete,
        list(warnings),
    )


def shown(pattern: str, name: bytes) -> str:
    """The name of a key for people: what the pattern says already, and a little more. The rest may be a secret."""
    start = 0
    for part in _parts(pattern):
        if part is None or len(part) != 1:
            break
        start += 1
    most = start + _SHOWN
    return name[:most].decode("utf-8", "replace") + ("…" if len(name) > most else "")


def described(rule: KeyRule) -> str:
    """A rule in a few words."""
    words = [rule.pattern]
    words += ["without a TTL"] if rule.without_ttl else []
    words += [f"with a TTL above {rule.ttl_above / 1000:g} s"] if rule.ttl_above is not None else []
    words += [f"idle for {rule.idle_for} s"] if rule.idle_for is not None else []
    words += [f"of type {' or '.join(rule.types)}"] if rule.types else []
    words += [f"get a TTL of {rule.ttl / 1000:g} s"] if rule.action == EXPIRE and rule.ttl is not None else []
    return " ".join(words[:1]) + (f" ({', '.join(words[1:])})" if words[1:] else "")


def _pass(
    server: Server,
    nodes: Sequence[Link],
    wanted: Sequence[KeyRule],
    policy: KeyPolicy,
    tally: Tally,
    *,
    write: bool,
    budget: int | None,
    end: float,
    clock: Callable[[], float],
) -> None:
    """See every key of every master once."""
    match = beginning([rule.pattern for rule in wanted])
    protected = [lua_pattern(one) for one in policy.protected]
    for link in nodes:
        quickest = _round_trip(link, clock)
        pace = Pace(policy.chunk_ms, policy.duty, max(0.0, end - clock()), first=_FIRST, largest=_LARGEST, clock=clock)
        cursor = b"0"
        while True:
            if pace.over:
                tally.complete = False
                return
            left = _NEVER if budget is None else budget - tally.total
            arguments: list[Any] = [
                *(cursor, pace.size, match, int(write), left, int(server.cluster), int(policy.protect_queues)),
                *(policy.samples, len(protected), *protected, len(wanted)),
            ]
            for rule, done in zip(wanted, tally.done):
                arguments += _arguments(rule, done, single=len(wanted) == 1)
            before = clock()
            page = link.run(SCRIPT, (), arguments)
            took = max(0.0, (clock() - before - quickest) * 1000)
            tally.add(page, policy.samples)
            tally.chunks += 1
            tally.redis_ms += took
            tally.longest_ms = max(tally.longest_ms, took)
            pace.took(took, pace.size)
            if text(page[2]) == "1":
                # More than was counted before: somebody adds keys.
                tally.complete = False
                return
            cursor = page[0]
            if cursor == b"0":
                break


def _arguments(rule: KeyRule, done: int, *, single: bool) -> list[Any]:
    any_ttl, no_ttl = -2, -1
    ttl = no_ttl if rule.without_ttl else any_ttl if rule.ttl_above is None else rule.ttl_above
    expire = rule.ttl if rule.action == EXPIRE and rule.ttl is not None else _NEVER
    return [
        # SCAN has matched the pattern of a single rule already.
        b"" if single else lua_pattern(rule.pattern),
        ttl,
        _NEVER if rule.idle_for is None else rule.idle_for,
        "|".join(rule.types),
        _NEVER if rule.limit is None else max(0, rule.limit - done),
        expire,
        int(single),
    ]


def _round_trip(link: Link, clock: Callable[[], float]) -> float:
    """The time of a round trip that does nothing, in seconds."""
    quickest = float("inf")
    for _time in range(3):
        before = clock()
        link.call("PING")
        quickest = min(quickest, clock() - before)
    return quickest


__all__ = [
    "EXPIRE",
    "KEPT",
    "REMOVE",
    "SAMPLES",
    "SCRIPT",
    "TYPES",
    "KeyPolicy",
    "KeyRule",
    "KeysOutcome",
    "KeysProblem",
    "RedisFailed",
    "RuleOutcome",
    "Tally",
    "beginning",
    "ceiling",
    "check",
    "clean",
    "described",
    "literal",
    "lua_pattern",
    "outcome",
    "rules",
    "shown",
]
