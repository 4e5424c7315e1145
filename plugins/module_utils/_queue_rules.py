# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that say which jobs of a queue may go, and the policy they are carried out with: read, checked, no Redis."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Union

from ansible_collections.quai.ops.plugins.module_utils._queue_layout import STATES, Flavour, QueueProblem

# "waiting" stands for every job that waits for a worker: wait, paused, and prioritized where the flavour has it.
WAITING: Final = "waiting"
CLOCKS: Final = ("auto", "finished", "created", "processed")
# Sets that are sorted by time, and lists of which the head is the newest: what "the last N" can be said of.
COUNTED: Final = ("completed", "failed", "waiting-children", "wait", "paused")
FINISHED: Final = ("completed", "failed")
UNITS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?\Z")
_SETS: Final = re.compile(r"\[.[^]]*\]")
_LONGEST: Final = 100 * 366 * UNITS["d"]
_CHOICES: Final = {
    "parents": ("protect", "upstream"),
    "active": ("skip", "unlocked"),
    "orphans": ("ignore", "report", "remove"),
    "ghosts": ("ignore", "report", "remove"),
    "require": ("none", "no_workers", "paused"),
    "fast": ("auto", "never", "always"),
}
# A glob has few stars in practice, and each costs a search in the reason of a failure.
_STARS: Final = 16
Ceiling = Union[int, str, None]


class Rule(NamedTuple):
    """One rule: jobs of C(state) that are older than C(older_than) ms and not among the newest C(keep_last).

    At most C(limit) jobs, only those whose name and reason of failure match (globs with * and ?, and [abc]; an empty
    text is any). C(clock) says since when the age counts.
    """

    state: str
    older_than: int | None = None
    keep_last: int | None = None
    limit: int | None = None
    name: str = ""
    failed_reason: str = ""
    clock: str = "auto"


class Policy(NamedTuple):
    """What is done with jobs that others depend on, and how fast."""

    parents: str = "protect"  # protect, upstream
    active: str = "skip"  # skip, unlocked
    orphans: str = "ignore"  # ignore, report, remove
    ghosts: str = "ignore"  # ignore, report, remove
    events_maxlen: int | None = None
    chunk_ms: float = 5.0
    duty: float = 1.0
    max_seconds: float = 300
    max_remove: Ceiling = None  # a number of jobs, or "20%" of what the rules look at
    require: str = "none"  # none, no_workers, paused
    fast: str = "auto"  # auto, never, always
    protected: Sequence[str] = ()  # names and globs of queues that are never touched
    lock_ms: int = 30_000  # how long a worker's lock lasts (lockDuration)
    second_look_ms: int | None = None  # pause before the second look at active jobs; None: half of lock_ms
    orphan_age: int = 3_600_000  # ms; a younger orphan is left for the next run


def rules(raw: Any) -> list[Rule]:
    """Read rules: mappings with the fields of Rule. Raises QueueProblem with every problem of all of them."""
    problems: list[str] = []
    found = []
    if not isinstance(raw, (list, tuple)):
        raise QueueProblem("rules: a list of rules is needed, such as [{state: completed, older_than: 7d}]")
    for index, one in enumerate(raw):
        where = f"rules[{index}]"
        if not isinstance(one, Mapping):
            problems.append(f"{where}: {one!r} is no rule; one is like {{state: completed, older_than: 7d}}")
            continue
        found.append(_rule(where, one, problems))
    if problems:
        raise QueueProblem("; ".join(problems))
    return found


def _rule(where: str, raw: Mapping[str, Any], problems: list[str]) -> Rule:
    known = Rule._fields
    for key in raw:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            problems.append(
                f"{where}.{key}: not known{f', did you mean {close[0]}?' if close else ''} (known: {', '.join(known)})"
            )
    state = raw.get("state")
    if state not in STATES and state != WAITING:
        problems.append(f"{where}.state: {state!r} is none of {', '.join((*STATES, WAITING))}")
        state = "completed"
    clock = raw.get("clock") or "auto"
    if clock not in CLOCKS:
        problems.append(f"{where}.clock: {clock!r} is none of {', '.join(CLOCKS)}")
        clock = "auto"
    found = Rule(
        str(state),
        _optional(where, "older_than", raw, problems),
        _count(where, "keep_last", raw, problems, 0),
        _count(where, "limit", raw, problems, 1),
        _glob(where, "name", raw, problems),
        _glob(where, "failed_reason", raw, problems),
        str(clock),
    )
    problems += [f"{where}{problem}" for problem in _together(found)]
    return found


def _together(rule: Rule) -> list[str]:
    """What does not go together in a rule."""
    problems = []
    state = rule.state
    if rule.older_than is None and rule.keep_last is None:
        problems.append(": needs older_than or keep_last, so that nobody takes all by omission (older_than: 0 does)")
    if rule.keep_last is not None and state == WAITING:
        problems.append(".keep_last: waiting is more than one list; name wait or paused")
    elif rule.keep_last is not None and state not in COUNTED:
        problems.append(f".keep_last: {state} is not sorted by age; it goes with {', '.join(COUNTED)}")
    if rule.failed_reason and state != "failed":
        problems.append(f".failed_reason: only failed jobs have one, not {state} jobs")
    if rule.clock == "finished" and state not in FINISHED:
        problems.append(f".clock: {state} jobs are not finished; created or processed")
    return problems


def _glob(where: str, key: str, raw: Mapping[str, Any], problems: list[str]) -> str:
    value = raw.get(key) or ""
    if not isinstance(value, str):
        problems.append(f"{where}.{key}: {value!r} is no text with * and ?")
        return ""
    if value.count("*") > _STARS:
        problems.append(f"{where}.{key}: more than {_STARS} * in {value!r}")
    if "\0" in value or any(not part.isascii() for part in _SETS.findall(value)):
        problems.append(f"{where}.{key}: {value!r} has letters beyond ASCII between brackets, or NUL; use ? for them")
    return value


def _optional(where: str, key: str, raw: Mapping[str, Any], problems: list[str]) -> int | None:
    if raw.get(key) is None:
        return None
    try:
        return duration(raw[key])
    except ValueError as error:
        problems.append(f"{where}.{key}: {error}")
        return 0


def _count(where: str, key: str, raw: Mapping[str, Any], problems: list[str], least: int) -> int | None:
    value = raw.get(key)
    if value is None:
        return None
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        problems.append(f"{where}.{key}: {raw[key]!r} is no whole number of at least {least}")
        return least
    return value


def duration(value: Any) -> int:
    """A duration such as 7d, 24h or 500ms in milliseconds; a number without a unit is seconds. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{value!r} is no duration such as 7d, 24h, 90s or a number of seconds")
    match = _DURATION.match(str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is no duration such as 7d, 24h, 90s or a number of seconds")
    found = round(float(match.group(1)) * UNITS[match.group(2) or "s"])
    if found > _LONGEST:
        raise ValueError(f"{value!r} is longer than a hundred years")
    return found


def ceiling(value: Ceiling, total: int) -> int | None:
    """How many jobs C(max_remove) allows of C(total); None for any number. Raises QueueProblem."""
    if value is None:
        return None
    if isinstance(value, str):
        number = value.strip()
        percent = number.endswith("%")
        number = number.rstrip("%").strip()
        if number.isdigit() and (not percent or int(number) <= 100):
            return total * int(number) // 100 if percent else int(number)
    elif not isinstance(value, bool) and value >= 0:
        return value
    raise QueueProblem(f"max_remove: {value!r} is neither a number of jobs nor a percentage such as 20%")


def check(policy: Policy) -> None:
    """Raise QueueProblem with everything that is wrong with a policy."""
    problems = [
        f"{name}: {getattr(policy, name)!r} is none of {', '.join(values)}"
        for name, values in _CHOICES.items()
        if getattr(policy, name) not in values
    ]
    if not 0.5 <= policy.chunk_ms <= 1000:
        problems.append(f"chunk_ms: {policy.chunk_ms} is not between 0.5 and 1000")
    if not 0.01 <= policy.duty <= 1:
        problems.append(f"duty: {policy.duty} is not between 0.01 and 1")
    if policy.max_seconds <= 0:
        problems.append(f"max_seconds: {policy.max_seconds} is not more than 0")
    if policy.events_maxlen is not None and policy.events_maxlen < 1:
        problems.append(f"events_maxlen: {policy.events_maxlen} is not at least 1")
    if policy.lock_ms < 1000:
        problems.append(f"lock_duration: {policy.lock_ms} ms are not at least 1s, as the lockDuration of a worker is")
    try:
        ceiling(policy.max_remove, 0)
    except QueueProblem as error:
        problems.append(str(error))
    if problems:
        raise QueueProblem("; ".join(problems))


def by_state(found: Sequence[Rule], flavour: Flavour) -> dict[str, list[int]]:
    """States in the order in which they are cleaned, each with the numbers of the rules that look at it.

    A job is looked at once however many rules look at its state, and goes when one of them takes it.
    """
    states: dict[str, list[int]] = {}
    for index, rule in enumerate(found):
        for state in expanded(rule.state, flavour):
            states.setdefault(state, []).append(index)
    return states


def expanded(state: str, flavour: Flavour) -> list[str]:
    """What a state of a rule means: itself, but for C(waiting).

    A list of paused jobs is looked at whatever the flavour: an older version may have left one.
    """
    if state != WAITING:
        return [state]
    return ["wait", "paused", *(["prioritized"] if flavour.prioritized else [])]


# The first of these fields that a job has says its age. "score" is its score in the sorted set of its state.
_FIRST_SET: Final = ("finishedOn", "processedOn", "timestamp")
_AUTO: Final = {
    "completed": ("score",),
    "failed": ("score",),
    "waiting-children": ("score",),
    "delayed": ("processedOn", "timestamp"),
    "prioritized": ("timestamp",),
    "wait": _FIRST_SET,
    "paused": _FIRST_SET,
    "active": _FIRST_SET,
}


def clock_fields(clock: str, state: str) -> tuple[str, ...]:
    """Fields of a job that a clock reads, in their order.

    They are those that the newest libraries read by default. The score of a finished job is the time it finished.
    """
    if clock == "created":
        return ("timestamp",)
    if clock == "processed":
        return ("processedOn", "timestamp")
    return _AUTO[state]


def lua_glob(glob: str) -> list[str] | None:
    """A glob as patterns of Lua, one for what stands between two stars; None for one that matches anything.

    The first must begin the text, the last must end it, and the others follow each other, so that no pattern has
    to try again, however long the text. Each character of a pattern is one byte (latin-1) of the UTF-8 to match.
    """
    if not glob.strip("*"):
        return None
    parts = [""]
    index = 0
    while index < len(glob):
        char = glob[index]
        index += 1
        if char == "*":
            parts.append("")
        elif char == "?":
            # One character, not one byte of it.
            parts[-1] += "[^\x80-\xbf][\x80-\xbf]*"
        elif char == "[" and glob.find("]", index + 1) > 0:
            end = glob.index("]", index + 1)
            parts[-1] += _set(glob[index:end])
            index = end + 1
        else:
            parts[-1] += _literal(char)
    return parts


def _literal(char: str) -> str:
    if char.isascii():
        return char if char.isalnum() else f"%{char}"
    return char.encode("utf-8", "surrogateescape").decode("latin-1")


def _set(inner: str) -> str:
    negated = inner[:1] in ("!", "^")
    members = inner[negated:]
    last = len(members) - 1
    # A hyphen between two others is a range; at an end it stands for itself.
    body = "".join("-" if char == "-" and 0 < at < last else _literal(char) for at, char in enumerate(members))
    # One character that is none of these is all of its bytes.
    return f"[^{body}\x80-\xbf][\x80-\xbf]*" if negated else f"[{body}]"


__all__ = [
    "CLOCKS",
    "COUNTED",
    "FINISHED",
    "UNITS",
    "WAITING",
    "Policy",
    "Rule",
    "by_state",
    "ceiling",
    "check",
    "clock_fields",
    "duration",
    "expanded",
    "lua_glob",
    "rules",
]
