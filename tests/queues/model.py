# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What our clean-up promises, written down once more: plain Python over a snapshot, one job after the other, no pages.

The packages can be compared with where we do as they do. This is for what they have not: filters, several rules, jobs
that are kept because of a parent, a lock or a schedule, ids without a job.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from typing import Any

from ansible_collections.quai.ops.plugins.module_utils._queue_rules import Policy, Rule

from tests.queues.generator import PREFIX, QUEUE, traits
from tests.queues.snapshot import Snapshot, Value

_SUBS = ("logs", "dependencies", "processed", "failed", "unsuccessful")
_STATES = ("completed", "failed", "delayed", "prioritized", "waiting-children", "wait", "paused", "active")
_FIRST = ("finishedOn", "processedOn", "timestamp")
_CLOCKS = {
    **dict.fromkeys(("completed", "failed", "waiting-children"), ("score",)),
    **dict.fromkeys(("wait", "paused", "active"), _FIRST),
    "delayed": ("processedOn", "timestamp"),
    "prioritized": ("timestamp",),
}
_NUMBER = re.compile(r"[\d.eE+-]+")
# What BullMQ 2 to 4 wakes a worker with.
_MARKER = re.compile(r"0(:.*)?")


def number(value: str) -> float | None:
    """A time; None for what is none."""
    if not _NUMBER.fullmatch(value):
        return None
    try:
        return float(value)
    except ValueError:
        return None


class Model:
    """A database that is cleaned."""

    def __init__(self, before: Snapshot, package: str) -> None:
        self.keys: dict[str, Value] = {
            key: value._replace(data=set(value.data) if value.kind == "set" else type(value.data)(value.data))
            for key, value in before.items()
        }
        self.has = traits(package)
        self.base = f"{PREFIX}:{QUEUE}:"
        self.removed: dict[str, int] = {}
        self.ghosts = 0
        self.kept = {"locked": 0, "scheduler": 0, "parent": 0}

    # --- reading and writing

    def data(self, key: str, default: Any) -> Any:
        """What a key holds."""
        return self.keys[key].data if key in self.keys else default

    def gone(self, key: str) -> None:
        """Remove a key."""
        self.keys.pop(key, None)

    def without(self, key: str, member: str) -> bool:
        """Take a member out of a list, set, sorted set or hash; whether it was there."""
        held = self.keys.get(key)
        if held is None:
            return False
        if held.kind == "zset":
            left: Any = [pair for pair in held.data if pair[0] != member]
        elif held.kind == "hash":
            left = {name: value for name, value in held.data.items() if name != member}
        elif held.kind == "set":
            left = held.data - {member}
        else:
            left = [one for one in held.data if one != member]
        changed = len(left) != len(held.data)
        if left:
            self.keys[key] = held._replace(data=left)
        else:
            self.gone(key)
        return changed

    def members(self, state: str) -> list[tuple[str, str]]:
        """Ids and scores of a state, the oldest first."""
        held = self.keys.get(self.base + state)
        if held is None:
            return []
        return list(held.data) if held.kind == "zset" else [(one, "") for one in reversed(held.data)]

    # --- what keeps a job

    def is_finished(self, key: str) -> bool:
        """Whether a job, by its key, is completed or failed."""
        queue, colon, identity = key.rpartition(":")
        if not colon:
            return False
        return any(
            identity == one for state in ("completed", "failed") for one, _s in self.data(f"{queue}:{state}", [])
        )

    def is_armed(self, identity: str, job: dict[str, str]) -> bool:
        """Whether it is the next run of a schedule."""
        found = re.fullmatch(r"repeat:.*:(\d+)", identity)
        if not found:
            return False
        schedules = dict(self.data(f"{self.base}repeat", []))
        if job.get("rjk") in schedules:
            return float(schedules[job["rjk"]]) == float(found.group(1))
        return any(float(score) == float(found.group(1)) for score in schedules.values())

    def is_family(self, key: str, job: dict[str, str], over: bool) -> bool:
        """Whether a parent waits for it, or it waits for children."""
        parent = job.get("parentKey", "")
        waited = bool(parent) and parent in self.keys and key in self.data(f"{parent}:dependencies", ())
        if waited and not self.is_finished(parent):
            return True
        children = self.data(f"{key}:dependencies", ())
        if not over:
            return bool(children)
        return any(child in self.keys and not self.is_finished(child) for child in children)

    # --- cleaning

    def clean(self, rules: Sequence[Rule], policy: Policy, now: int) -> None:
        """Carry rules out."""
        left = [rule.limit for rule in rules]
        states: dict[str, list[int]] = {}
        for index, rule in enumerate(rules):
            waiting = ["wait", "paused", *(["prioritized"] if self.has.prioritized else [])]
            for state in waiting if rule.state == "waiting" else [rule.state]:
                states.setdefault(state, []).append(index)
        self.once(rules, policy, now, states, left)
        if policy.ghosts != "ignore":
            self.sweep_ghosts(policy.ghosts == "remove")
        # A parent that has finished stays for its children, and no longer than they are there.
        while self.once(rules, policy, now, states, left):
            pass

    def once(
        self,
        rules: Sequence[Rule],
        policy: Policy,
        now: int,
        states: dict[str, list[int]],
        left: list[int | None],
    ) -> int:
        """Look at every state once; how many jobs went."""
        before = sum(self.removed.values())
        for state, indexes in states.items():
            self.removed.setdefault(state, 0)
            everything = self.members(state)
            for place, (identity, score) in enumerate(everything):
                if all(left[index] == 0 for index in indexes):
                    break
                from_end = len(everything) - 1 - place
                taken = self.rule_for(
                    identity=identity,
                    score=score,
                    from_end=from_end,
                    state=state,
                    rules=[(i, rules[i]) for i in indexes],
                    left=left,
                    policy=policy,
                    now=now,
                )
                if taken is None:
                    continue
                left[taken] = None if left[taken] is None else left[taken] - 1  # type: ignore[operator]
                self.removed[state] += 1
                self.remove(identity, state, policy)
        return sum(self.removed.values()) - before

    def rule_for(
        self,
        *,
        identity: str,
        score: str,
        from_end: int,
        state: str,
        rules: Sequence[tuple[int, Rule]],
        left: Sequence[int | None],
        policy: Policy,
        now: int,
    ) -> int | None:
        """The number of the rule that takes a job."""
        if _MARKER.fullmatch(identity) and state in ("wait", "paused", "active"):
            return None
        key = self.base + identity
        there = key in self.keys
        job = self.data(key, {})
        if not there and policy.ghosts != "ignore":
            return None
        chosen = None
        for index, rule in rules:
            if left[index] != 0 and self.takes(
                rule, job, score=score, from_end=from_end, state=state, there=there, now=now
            ):
                chosen = index
                break
        if chosen is None:
            return None
        over = state in ("completed", "failed")
        if f"{key}:lock" in self.keys:
            self.kept["locked"] += 1
        elif not over and self.is_armed(identity, job):
            self.kept["scheduler"] += 1
        elif self.has.flows and policy.parents == "protect" and self.is_family(key, job, over):
            self.kept["parent"] += 1
        else:
            return chosen
        return None

    def takes(
        self, rule: Rule, job: dict[str, str], *, score: str, from_end: int, state: str, there: bool, now: int
    ) -> bool:
        """Whether a rule takes a job that nothing protects."""
        for glob, field in ((rule.name, "name"), (rule.failed_reason, "failedReason")):
            if glob.strip("*") and (field not in job or not fnmatch.fnmatchcase(job[field], glob)):
                return False
        if rule.keep_last is not None and from_end < rule.keep_last:
            return False
        if rule.older_than is None:
            return True
        clock = {"created": ("timestamp",), "processed": ("processedOn", "timestamp")}.get(rule.clock, _CLOCKS[state])
        at = None
        for field in clock:
            value = score if field == "score" else job.get(field)
            if value is not None:
                at = number(value)
                break
        if at is None:
            return not there
        return at <= now - rule.older_than

    def remove(self, identity: str, state: str, policy: Policy) -> None:
        """Remove a job."""
        key, base = self.base + identity, self.base
        job = self.data(key, {})
        self.without(base + state, identity)
        self.without(f"{base}priority", identity)
        if self.has.bull:
            group = self.data(f"{base}limiter:index", {}).get(identity)
            if group:
                self.without(group, identity)
                self.without(f"{base}limiter:index", identity)
        named = job.get("deid")
        kept = self.has.bull and state in ("completed", "failed")
        if named and not kept and self.data(f"{base}de:{named}", None) == identity:
            self.gone(f"{base}de:{named}")
            self.gone(f"{base}dn:{named}")
        parent = job.get("parentKey")
        if self.has.flows and parent:
            # Only where nobody waits for it any more, or the children of another are to go.
            self.without(f"{parent}:dependencies", key)
        self.unlink(key)

    def unlink(self, key: str) -> None:
        """Remove a job's key and those beside it."""
        for one in (key, *(f"{key}:{sub}" for sub in _SUBS)):
            self.gone(one)

    def sweep_ghosts(self, removing: bool) -> None:
        """Ids without a job, of all states."""
        for state in _STATES:
            for identity, _score in self.members(state):
                key = self.base + identity
                marker = state in ("wait", "paused", "active") and _MARKER.fullmatch(identity)
                if marker or key in self.keys or f"{key}:lock" in self.keys:
                    continue
                self.ghosts += 1
                if removing:
                    self.without(self.base + state, identity)
                    self.without(f"{self.base}priority", identity)
                    group = self.data(f"{self.base}limiter:index", {}).get(identity)
                    if group:
                        self.without(group, identity)
                        self.without(f"{self.base}limiter:index", identity)
                    self.unlink(key)

    def after(self) -> Snapshot:
        """The database now."""
        return {
            key: value._replace(data=frozenset(value.data)) if value.kind == "set" else value
            for key, value in self.keys.items()
        }


__all__ = ["Model", "number"]
