# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One clean-up of queues as somebody asked for it: read, checked, carried out, and said in words.

The module, the playbook and the timers on a host all come here, so that what was tried by hand is what the timer does.
"""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils import _queue_clean, _queue_retry
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import QueueProblem, is_pattern, misnamed
from ansible_collections.quai.ops.plugins.module_utils._queue_options import FAIL, SKIP, At, chosen
from ansible_collections.quai.ops.plugins.module_utils._queue_rules import Policy, Rule, ceiling, check, duration, rules
from ansible_collections.quai.ops.plugins.module_utils._redis_link import RedisFailed, Server
from ansible_collections.quai.ops.plugins.module_utils._resp import Refusal, text

ACTIONS: Final = ("remove", "retry", "report")
# The options of M(quai.ops.queue_cleanup) beside the connection, and what they are when nobody says.
DEFAULTS: Final[Mapping[str, Any]] = {
    "queues": [],
    "prefix": "bull",
    "library": "auto",
    "version": "",
    "missing": FAIL,
    "action": "remove",
    "rules": [],
    "parents": "protect",
    "active": "skip",
    "orphans": "ignore",
    "orphan_age": "1h",
    "ghosts": "ignore",
    "protected": [],
    "require": "none",
    "max_remove": "",
    "reset_attempts": False,
    "events_maxlen": None,
    "lock_duration": "30s",
    "chunk_ms": 5.0,
    "duty": 1.0,
    "max_seconds": 300.0,
    "fast": "auto",
    "memory_purge": False,
}
_POLICY: Final = ("parents", "active", "orphans", "ghosts", "require", "events_maxlen", "chunk_ms", "duty", "fast")
# What a run returns that failed when it had done something.
_KEPT: Final = ("report", "queues", "skipped_queues", "totals")
_COLUMNS: Final = ("queue", "state", "before", "gone", "left")


class Task(NamedTuple):
    """What was asked for."""

    queues: tuple[str, ...]  # names and globs
    prefix: str
    library: str
    version: str
    missing: str
    action: str
    rules: tuple[Rule, ...]
    policy: Policy
    max_remove: str  # of all queues together; empty: any number
    reset_attempts: bool
    memory_purge: bool


class Stopped(Exception):
    """A run that failed when it had changed something. C(result) is what the module returns of it."""

    def __init__(self, error: QueueProblem | RedisFailed, result: Mapping[str, Any]) -> None:
        super().__init__(f"{error}; before that, {result['msg']}" if result["queues"] else str(error))
        self.reason = getattr(error, "reason", "input")
        self.result = {"changed": True, **{key: result[key] for key in _KEPT}}


def task(options: Mapping[str, Any]) -> Task:
    """Read the options. Raises QueueProblem with everything that is wrong with them."""
    problems: list[str] = []
    unknown = sorted(set(options) - set(DEFAULTS))
    if unknown:
        problems.append(f"{', '.join(unknown)}: not known (known: {', '.join(DEFAULTS)})")
    given = {**DEFAULTS, **{key: value for key, value in options.items() if value is not None}}
    problems += misnamed(given)
    if given["action"] not in ACTIONS:
        problems.append(f"action: {given['action']!r} is none of {', '.join(ACTIONS)}")
    if given["missing"] not in (FAIL, SKIP):
        problems.append(f"missing: {given['missing']!r} is none of {FAIL}, {SKIP}")
    found: list[Rule] = []
    try:
        found = rules(given["rules"]) if given["rules"] else []
    except QueueProblem as error:
        problems.append(str(error))
    else:
        problems += _unfit(given, found)
    policy = _policy(given, problems)
    try:
        ceiling(given["max_remove"] or None, 0)
    except QueueProblem as error:
        problems.append(str(error))
    if problems:
        raise QueueProblem("; ".join(problems))
    return Task(
        tuple(given["queues"]), given["prefix"], given["library"], str(given["version"]), given["missing"],
        given["action"], tuple(found), policy, str(given["max_remove"] or ""), bool(given["reset_attempts"]),
        bool(given["memory_purge"]),
    )  # fmt: skip


def _unfit(given: Mapping[str, Any], found: Sequence[Rule]) -> list[str]:
    """Say what does not fit together."""
    if given["action"] == "retry":
        wrong = ["max_remove: is about what is removed; a retry is bounded by limit"] if given["max_remove"] else []
        wrong += [
            f"rules[{index}]: {rule.state} jobs cannot be retried; failed and completed ones can"
            for index, rule in enumerate(found)
            if rule.state not in _queue_retry.STATES
        ]
        wrong += [
            f"rules[{index}].keep_last: has no meaning with action: retry; use older_than and limit"
            for index, rule in enumerate(found)
            if rule.keep_last is not None
        ]
        return wrong or ([] if found else ["rules: none; say what is retried, such as {state: failed, older_than: 0}"])
    if not found and {given["orphans"], given["ghosts"]} == {"ignore"} and given["events_maxlen"] is None:
        return ["rules: none, so there is nothing to do; a rule is like {state: completed, older_than: 7d}"]
    return []


def _policy(given: Mapping[str, Any], problems: list[str]) -> Policy:
    times: dict[str, Any] = {}
    for option, field in (("orphan_age", "orphan_age"), ("lock_duration", "lock_ms")):
        try:
            times[field] = duration(given[option])
        except ValueError as error:
            problems.append(f"{option}: {error}")
    policy = Policy(
        **{name: given[name] for name in _POLICY},
        **times,
        max_seconds=float(given["max_seconds"]),
        protected=tuple(given["protected"]),
    )
    try:
        check(policy)
    except QueueProblem as error:
        problems.append(str(error))
    return policy


# ---- carrying it out -------------------------------------------------------------------------------------------


def run(
    asked: Task,
    connection: Mapping[str, Any],
    *,
    dry: bool = False,
    now_ms: int | None = None,
    progress: Callable[[str], None] | None = None,
    warn: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Carry it out, or with C(dry) or the action C(report) only tell what would be.

    C(warn) is told each warning as it comes, also those of a run that fails later. Returns C(changed), C(msg),
    C(report) (lines), C(queues), C(totals) and the rest of what the module returns. Raises QueueProblem and RedisFailed
    when nothing was changed, else Stopped.
    """
    report = asked.action == "report"
    dry = dry or report
    began = clock()
    warnings = _Warnings(warn)
    with Server(connection) as server:
        warnings.add(*(() if dry else server.writable()))
        wanted, skipped = _meant(server, asked, warnings)
        for at in wanted:
            # Of all of them before the first is touched, whatever is to be done.
            _queue_clean.required(at.link, at.queue, at.flavour, asked.policy)
        memory = None if dry else _memory(server)
        if asked.max_remove and not dry:
            _stop_when_too_many(asked, [_one(at, asked, True, now_ms) for at in wanted])
            if clock() - began >= asked.policy.max_seconds:
                raise QueueProblem(
                    f"max_seconds: {asked.policy.max_seconds:g} s were too few to count what would be removed, as "
                    "max_remove asks for; nothing was removed"
                )
        done: list[dict[str, Any]] = []
        begun: dict[str, int] = {}
        freed = None
        try:
            for at in wanted:
                left = asked.policy.max_seconds - (clock() - began)
                if left <= 0:
                    warnings.add(f"{at.queue.name}: not reached in max_seconds; the next run goes on")
                    continue
                begun.clear()
                task_left = asked._replace(policy=asked.policy._replace(max_seconds=left))
                done.append(_one(at, task_left, dry, now_ms, begun.update))
                warnings.add(*(f"{at.queue.name}: {line}" for line in done[-1]["warnings"]))
                if progress:
                    progress(_line(done[-1], dry))
            if not dry and memory is not None and any(one["changed"] for one in done):
                freed = _freed(server, memory, asked.memory_purge, warnings)
        except (QueueProblem, RedisFailed) as error:
            if dry or not (any(one["changed"] for one in done) or any(begun.values())):
                raise
            raise Stopped(error, _result(asked, done, skipped, dry=False, wanted=len(wanted))) from None
    if asked.max_remove and dry:
        # What a run would refuse, check mode refuses.
        warnings.add(*(_too_many(asked, done) if report else _stop_when_too_many(asked, done)))
    return {
        **_result(asked, done, skipped, dry=dry, wanted=len(wanted)),
        "bytes_freed": freed,
        "seconds": round(clock() - began, 3),
        "warnings": warnings.said,
    }


class _Warnings:
    """What is worth knowing, said as it comes."""

    def __init__(self, warn: Callable[[str], None] | None) -> None:
        self.said: list[str] = []
        self._warn = warn

    def add(self, *lines: str) -> None:
        """Say it."""
        self.said += lines
        if self._warn is not None:
            for line in lines:
                self._warn(line)


def _meant(server: Server, asked: Task, warnings: _Warnings) -> tuple[list[At], list[str]]:
    """The queues that are meant, without the protected ones, and names and patterns for which there is none.

    Raises QueueProblem, also when a protected one is named itself.
    """
    protected = asked.policy.protected
    for name in asked.queues:
        by = [] if is_pattern(name) else [one for one in protected if fnmatch.fnmatchcase(name, one)]
        if by:
            raise QueueProblem(f"{name}: protected ({by[0]}), it is never touched; nothing was done")
    found = chosen(server, asked._asdict(), unless=protected)
    warnings.add(*found.warnings)
    return found.queues, found.skipped


def _one(
    at: At,
    asked: Task,
    dry: bool,
    now_ms: int | None,
    progress: Callable[[Mapping[str, int]], None] | None = None,
) -> dict[str, Any]:
    """Treat one queue. C(progress) is told how many jobs are gone so far."""
    if asked.action == "retry":
        return _retried(at, asked, dry, now_ms, progress)
    outcome = _queue_clean.clean(
        at.link, at.queue, at.flavour, asked.rules, asked.policy, dry=dry, now_ms=now_ms, progress=progress
    )
    found = _published(at, outcome._asdict())
    found["retried"] = {}
    found["changed"] = outcome.changed
    return _foreseen(found) if dry else found


def _retried(
    at: At,
    asked: Task,
    dry: bool,
    now_ms: int | None,
    progress: Callable[[Mapping[str, int]], None] | None,
) -> dict[str, Any]:
    policy = asked.policy
    parts = []
    began = time.monotonic()
    for rule in asked.rules:
        left = max(0.0, policy.max_seconds - (time.monotonic() - began))
        parts.append(
            _queue_retry.retry(
                at.link, at.queue, at.flavour, rule.state,
                older_than=rule.older_than, limit=rule.limit, name=rule.name, failed_reason=rule.failed_reason,
                reset_attempts=asked.reset_attempts, chunk_ms=policy.chunk_ms, max_seconds=left, dry=dry, now_ms=now_ms,
            )
        )  # fmt: skip
        if progress:
            progress({rule.state: parts[-1].retried})
    retried: dict[str, int] = {}
    kept: dict[str, int] = {}
    for rule, part in zip(asked.rules, parts):
        retried[rule.state] = retried.get(rule.state, 0) + part.retried
        if dry:
            # A job that two rules take is counted by both.
            retried[rule.state] = min(retried[rule.state], parts[0].counts_before[rule.state])
        for reason, count in part.kept.items():
            kept[reason] = kept.get(reason, 0) + count
    first, last = parts[0], parts[-1]
    found = _published(
        at,
        {
            "counts_before": first.counts_before,
            "counts_after": last.counts_after,
            "removed": {},
            "kept": kept,
            "ghosts": sum(part.ghosts for part in parts),
            "orphans": None,
            "oldest": min((part.oldest for part in parts if part.oldest is not None), default=None),
            "newest": max((part.newest for part in parts if part.newest is not None), default=None),
            "samples": [one for part in parts for one in part.samples][: _queue_retry.MOST_SAMPLES],
            "chunks": sum(part.chunks for part in parts),
            "longest_chunk_ms": max(part.longest_chunk_ms for part in parts),
            "redis_ms": sum(part.redis_ms for part in parts),
            "exact": not dry or len(asked.rules) == len({rule.state for rule in asked.rules}),
            "complete": all(part.complete for part in parts),
            "warnings": [one for part in parts for one in part.warnings],
        },
    )
    found["retried"] = retried
    found["changed"] = any(retried.values())
    return _foreseen(found) if dry else found


def _foreseen(found: dict[str, Any]) -> dict[str, Any]:
    """Say what a dry run would leave; where a retried job would wait depends on what it is by then."""
    gone = found["retried"] or found["removed"]
    found["counts_after"] = {state: count - gone.get(state, 0) for state, count in found["counts_before"].items()}
    return found


def _published(at: At, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Ansible and JSON can hold, under the names that the documentation gives."""
    found: dict[str, Any] = {
        "name": at.queue.name,
        "prefix": at.queue.prefix,
        "library": at.flavour.library,
        "major": at.flavour.major or None,
        "version": at.flavour.version,
    }
    for key, value in outcome.items():
        if isinstance(value, Mapping):
            found[key] = {str(name): count for name, count in value.items()}
        elif isinstance(value, (tuple, set, frozenset)):
            found[key] = list(value)
        elif isinstance(value, float):
            found[key] = round(value, 3)
        else:
            found[key] = value
    found["sample_ids"] = found.pop("samples")
    return found


def _stop_when_too_many(asked: Task, plans: Sequence[Mapping[str, Any]]) -> list[str]:
    """Raise QueueProblem, before the first delete, when more would go than is allowed; else there are no warnings."""
    for problem in _too_many(asked, plans):
        raise QueueProblem(f"{problem}; nothing was removed")
    return []


def _too_many(asked: Task, plans: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say that more would go than is allowed; empty when not."""
    planned = sum(sum(plan["removed"].values()) for plan in plans)
    total = sum(sum(plan["counts_before"].values()) for plan in plans)
    most = ceiling(asked.max_remove, total)
    if most is not None and planned > most:
        queues = ", ".join(f"{plan['name']} {sum(plan['removed'].values())}" for plan in plans if plan["removed"])
        share = f", which is {most}" if asked.max_remove.endswith("%") else ""
        return [
            f"{planned} of {total} jobs would be removed ({queues}), and max_remove allows {asked.max_remove}{share}"
        ]
    return []


# ---- memory ----------------------------------------------------------------------------------------------------


def _memory(server: Server) -> int | None:
    """The bytes that all masters use; None when one does not say."""
    total = 0
    for link in server.nodes():
        (reply,) = link.ask(("INFO", "memory"))
        if isinstance(reply, Refusal):
            return None
        lines = dict(line.split(":", 1) for line in text(reply).splitlines() if ":" in line)
        if not lines.get("used_memory", "").isdigit():
            return None
        total += int(lines["used_memory"])
    return total


def _freed(server: Server, before: int, purge: bool, warnings: _Warnings) -> int | None:
    for link in server.nodes() if purge else ():
        (reply,) = link.ask(("MEMORY", "PURGE"))
        if isinstance(reply, Refusal):
            warnings.add(f"memory_purge: {link.label} answers {reply.text[:300]}")
    after = _memory(server)
    return None if after is None else before - after


# ---- in words --------------------------------------------------------------------------------------------------


def _result(
    asked: Task, done: Sequence[dict[str, Any]], skipped: Sequence[str], *, dry: bool, wanted: int
) -> dict[str, Any]:
    totals = {
        "queues": wanted,
        "removed": sum(sum(one["removed"].values()) for one in done),
        "retried": sum(sum(one["retried"].values()) for one in done),
        "jobs_before": sum(sum(one["counts_before"].values()) for one in done),
        "jobs_after": sum(sum(one["counts_after"].values()) for one in done),
    }
    return {
        "changed": any(one["changed"] for one in done) and asked.action != "report",
        "msg": _message(asked, done, totals, dry, wanted),
        "report": table(done),
        "queues": list(done),
        "skipped_queues": list(skipped),
        "totals": totals,
        "chunks": sum(one["chunks"] for one in done),
        "longest_chunk_ms": max((one["longest_chunk_ms"] for one in done), default=0.0),
        "redis_ms": round(sum(one["redis_ms"] for one in done), 3),
        "complete": len(done) == wanted and all(one["complete"] for one in done),
    }


def _message(asked: Task, done: Sequence[Mapping[str, Any]], totals: Mapping[str, int], dry: bool, wanted: int) -> str:
    key, did, would = ("retried", "retried", "retry") if asked.action == "retry" else ("removed", "removed", "remove")
    where = done[0]["name"] if wanted == 1 and done else f"{wanted} {'queue' if wanted == 1 else 'queues'}"
    if not wanted:
        return f"no queue is named {', '.join(asked.queues)} with the prefix {asked.prefix}"
    states: dict[str, int] = {}
    kept: dict[str, int] = {}
    for one in done:
        for state, count in one[key].items():
            states[state] = states.get(state, 0) + count
        for reason, count in one["kept"].items():
            kept[reason] = kept.get(reason, 0) + count
    number = totals[key]
    if number:
        parts = ", ".join(f"{count} {state}" for state, count in states.items() if count)
        line = f"{f'would {would}' if dry else did} {number} {'job' if number == 1 else 'jobs'} of {where}: {parts}"
    else:
        line = f"nothing to {would} in {where}"
    because = ", ".join(f"{count} {reason}" for reason, count in kept.items() if count and reason != "young")
    line += f"; kept {because}" if because else ""
    unfinished = [one["name"] for one in done if not one["complete"]]
    if unfinished or len(done) < wanted:
        line += "; not finished, more is left for the next run"
    return line


def _line(one: Mapping[str, Any], dry: bool) -> str:
    number = sum(one["removed"].values()) + sum(one["retried"].values())
    return f"{one['name']}: {number} {'would go' if dry else 'gone'}"


def table(done: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return lines for people: per queue and state how many jobs there are, how many go, how many are left."""
    rows = [_COLUMNS]
    for one in done:
        gone = one["retried"] or one["removed"]
        for state, before in one["counts_before"].items():
            count = gone.get(state, 0)
            if before or count:
                after = one["counts_after"].get(state, before)
                rows.append((one["name"], state, str(before), str(count), str(after)))
    if len(rows) == 1:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def difference(done: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return a diff for Ansible: per queue and state the number of jobs before and after, where there are any."""
    sides = {"before": "", "after": ""}
    for one in done:
        for state, before in one["counts_before"].items():
            after = one["counts_after"].get(state, 0)
            if before or after:
                sides["before"] += f"{one['name']} {state}: {before}\n"
                sides["after"] += f"{one['name']} {state}: {after}\n"
    return {**sides, "before_header": "jobs before", "after_header": "jobs after"}


__all__ = ["ACTIONS", "DEFAULTS", "Stopped", "Task", "difference", "run", "table", "task"]
