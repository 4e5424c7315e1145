# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes as a gate: asked until all of them were good often enough in a row, or once.

One good answer proves little: an application that answers twice and then dies passes whoever asks once. What is only
known to run (a container, a unit, a process) proves less still, so it must also stay up for a while.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._probe_base import (
    Context,
    Memory,
    OwnFault,
    ProbeFailed,
    Spec,
)
from ansible_collections.quai.ops.plugins.module_utils._probe_rules import seconds

Result = dict[str, Any]
Runner = Callable[..., "list[Result]"]

FAIL_ON: Final = ("critical", "warning", "none")
# That these run says little about whether they work: they have to be seen running for stable_for.
LIVENESS: Final = ("docker", "containers", "systemd", "pm2", "process")
# States that nobody comes back from without help. "restarting" and "activating" are none.
FINAL_STATES: Final = ("exited", "dead", "failed", "errored", "stopped")
# Starts closer together than this are one: systemd's is reckoned back from an age.
_SAME_START: Final = 2.0
_TAIL_SECONDS: Final = 5.0
_SHORTEST_SECRET: Final = 4
TIMELINE: Final = 50
# The last round may begin when the time is over; its probes get this long, s.
LAST_ROUND: Final = 0.5
_RANK: Final = {"ok": 0, "degraded": 1, "warning": 1, "critical": 2, "unknown": 3}
_UNITS: Final = {"ms": "ms", "s": "s", "%": "%", "B": "B"}


class GateError(ValueError):
    """The options contradict each other; the message says which and what would be right."""


class Options(NamedTuple):
    """How to ask. Times are seconds."""

    wait: float = 0.0
    interval: float = 1.0
    success_threshold: int = 3
    stable_for: float = 7.0
    start_period: float = 0.0
    fail_fast: bool = True
    log_tail: int = 20
    concurrency: int = 20
    fail_on: str = "critical"


class Verdict(NamedTuple):
    """How it ended. C(result) is what the module returns; C(message) says why when it is not C(passed)."""

    passed: bool
    message: str
    result: dict[str, Any]
    warnings: list[str]


class Clock(NamedTuple):
    """Where time comes from, so that a test need not wait."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time


def check(options: Options, probes: Sequence[Spec]) -> None:
    """Refuse options that can never be met. Raises GateError with all problems at once."""
    problems = []
    if options.fail_on not in FAIL_ON:
        problems.append(f"fail_on is {options.fail_on!r}, it must be one of {', '.join(FAIL_ON)}")
    for name, least in (("wait", 0), ("stable_for", 0), ("start_period", 0), ("log_tail", 0)):
        if getattr(options, name) < least:
            problems.append(f"{name} is {getattr(options, name):g}, it must be {least} or more")
    for name in ("success_threshold", "concurrency"):
        if getattr(options, name) < 1:
            problems.append(f"{name} is {getattr(options, name)}, it must be 1 or more")
    if options.interval <= 0:
        problems.append(f"interval is {options.interval:g}, it must be more than 0 seconds")
    if not options.wait and options.success_threshold > 1:
        problems.append(f"success_threshold is {options.success_threshold}, which needs wait: one shot asks once")
    needed = (options.success_threshold - 1) * options.interval
    if options.wait and options.wait < needed:
        problems.append(
            f"wait is {options.wait:g} s, but {options.success_threshold} rounds {options.interval:g} s apart take"
            f" {needed:g} s; give a longer wait or a lower success_threshold"
        )
    if 0 < options.wait < options.stable_for and any(spec["type"] in LIVENESS for spec in probes):
        problems.append(
            f"wait is {options.wait:g} s, but what runs has to stay up for stable_for, {options.stable_for:g} s;"
            " give a longer wait or a shorter stable_for"
        )
    if problems:
        raise GateError("; ".join(problems))


def choose(probes: Sequence[Spec], only: Sequence[str]) -> list[Spec]:
    """Return the probes that are asked for by name, in their own order; all when none is named. Raises GateError."""
    if not probes:
        raise GateError("probes is empty; an empty list proves nothing, give at least one probe")
    names = [spec["name"] for spec in probes]
    for name in only:
        if name not in names:
            from difflib import get_close_matches

            near = get_close_matches(name, names, 1)
            hint = f", did you mean {near[0]!r}?" if near else f"; there are {', '.join(names)}"
            raise GateError(f"only names {name!r}, which is no probe{hint}")
    return [spec for spec in probes if not only or spec["name"] in only]


def former(baseline: Mapping[str, Any] | None) -> dict[str, str]:
    """Return name to status of an earlier result of this module; empty without one. Raises GateError."""
    if not baseline or baseline.get("skipped"):
        return {}
    results = baseline.get("results")
    if not isinstance(results, list) or not all(isinstance(one, Mapping) and "name" in one for one in results):
        raise GateError("baseline must be what an earlier run of this module returned, it has no list of results")
    return {str(one["name"]): str(one.get("status", "unknown")) for one in results}


def fails(result: Result, fail_on: str, before: Mapping[str, str]) -> bool:
    """Whether a result is bad enough to count, and was not as bad before already."""
    if not bad(result, fail_on):
        return False
    was = before.get(result["name"], "ok")
    if was == "unknown" or result["status"] == "unknown":
        # Not knowing says nothing about good or bad, so it excuses nothing but the same.
        return bool(was != result["status"])
    return not (bad({"status": was}, fail_on) and _RANK[result["status"]] <= _RANK[was])


def bad(result: Mapping[str, Any], fail_on: str) -> bool:
    """Whether a status is bad by itself. C(none) waits for the same as C(critical)."""
    return _RANK[result["status"]] >= (1 if fail_on == "warning" else 2)


def ask(
    probes: Sequence[Spec],
    options: Options,
    run: Runner,
    *,
    secrets: Mapping[str, str] | None = None,
    baseline: Mapping[str, str] | None = None,
    tail: Callable[[Spec, int], list[str]] | None = None,
    clock: Clock | None = None,
) -> Verdict:
    """Ask once, or until it is decided. C(run) is the engine's run_probes; C(baseline) is what former() returned."""
    return _Gate(
        probes,
        options,
        run,
        secrets=secrets or {},
        before=baseline or {},
        tail=tail or last_lines,
        clock=clock or Clock(),
    ).decide()


class _Gate:
    """One run of the gate: what was seen so far, and whether that is enough."""

    def __init__(
        self,
        probes: Sequence[Spec],
        options: Options,
        run: Runner,
        *,
        secrets: Mapping[str, str],
        before: Mapping[str, str],
        tail: Callable[[Spec, int], list[str]],
        clock: Clock,
    ) -> None:
        self.probes, self.options, self.run, self.secrets, self.before = probes, options, run, secrets, before
        self.tail, self.clock = tail, clock
        self.start = self.last_round = clock.monotonic()
        self.attempts = self.streak = 0
        self.timeline: list[dict[str, Any]] = []
        self.latest: dict[str, Result] = {}
        self.memory: dict[str, Memory] = {}
        self.up_since: dict[str, float] = {}  # since when what only runs was seen running, without a restart
        self.was_up: set[str] = set()
        self.ended: dict[str, int] = {}  # rounds in a row in which it had come to its end

    def decide(self) -> Verdict:
        """Ask until it is decided."""
        deadline = self.start + self.options.wait
        while True:
            self.round(deadline)
            if self.satisfied() or not self.options.wait or self.hopeless() or self.clock.monotonic() >= deadline:
                break
            pause = min(self.last_round + self.options.interval, deadline) - self.clock.monotonic()
            if pause > 0:
                self.clock.sleep(pause)
        return self.verdict()

    def round(self, deadline: float) -> None:
        """Ask every probe once."""
        began = self.last_round = self.clock.monotonic()
        probes, shortened = self.probes, False
        if self.options.wait:
            left = max(deadline - began, LAST_ROUND)
            shortened = any(spec["timeout"] > left for spec in probes)
            probes = [{**spec, "timeout": min(spec["timeout"], left)} for spec in probes]
        results = self.run(
            probes,
            concurrency=self.options.concurrency,
            secrets=self.secrets,
            memory=self.memory,
            previous={name: result["status"] for name, result in self.latest.items()},
            now=self.clock.now(),
        )
        self.attempts += 1
        failing = []
        for result in results:
            name = result["name"]
            if fails(result, self.options.fail_on, self.before):
                failing.append(name)
            self.follow(result)
            # What our own deadline cut short says less than the answer before.
            if not (shortened and result["reason"] == "timeout" and name in self.latest):
                self.latest[name] = result
        self.streak = 0 if failing else self.streak + 1
        self.timeline.append({"t": round(began - self.start, 3), "ok": not failing, "bad": failing})

    def follow(self, result: Result) -> None:
        """Keep track of what runs: since when, and whether it came to its end."""
        name = result["name"]
        if result["type"] not in LIVENESS:
            return
        up = not bad(result, "critical")
        if up:
            old, new = started(self.latest.get(name)), started(result)
            if old is not None and new is not None and new > old + _SAME_START:
                self.up_since.pop(name, None)  # it was restarted between two looks
            self.up_since.setdefault(name, self.last_round)
            self.was_up.add(name)
        else:
            self.up_since.pop(name, None)
        gone = name in self.was_up and (result["reason"] == "missing" or result["type"] == "process")
        self.ended[name] = self.ended.get(name, 0) + 1 if not up and (gone or is_final(result)) else 0

    def satisfied(self) -> bool:
        """Whether it was good often enough, and what runs has run for long enough."""
        if self.streak < self.options.success_threshold:
            return False
        return not self.options.wait or not self.unstable()

    def unstable(self) -> list[str]:
        """Names of what runs, but not for long enough to be believed."""
        now, needed = self.clock.monotonic(), self.options.stable_for
        names = []
        for name, since in self.up_since.items():
            start = started(self.latest[name])
            age = None if start is None else self.latest[name]["checked_at"] - start
            if now - since < needed and (age is None or age < needed):
                names.append(name)
        return names

    def hopeless(self) -> bool:
        """Whether something ended for good: seen twice, because a restart by hand looks like an end once."""
        if not self.options.fail_fast or self.clock.monotonic() - self.start < self.options.start_period:
            return False
        return any(
            count >= 2 and fails(self.latest[name], self.options.fail_on, self.before)
            for name, count in self.ended.items()
        )

    def verdict(self) -> Verdict:
        """Put together what the module returns."""
        options = self.options
        elapsed = self.clock.monotonic() - self.start
        results = [self.latest[spec["name"]] for spec in self.probes]
        failing = [one["name"] for one in results if fails(one, options.fail_on, self.before)]
        good = self.satisfied()
        passed = good or options.fail_on == "none"
        if not good and not failing:
            failing = self.timeline[-1]["bad"] or self.unstable()
        logs = {} if good else self.logs(results, failing)
        warnings = [] if not good else self.remarks(results)
        result = {
            "ok": good,
            "status": worst(results),
            "summary": summary(results),
            "attempts": self.attempts,
            "elapsed_s": round(elapsed, 3),
            "waited_s": round(self.last_round - self.start, 3),
            "timeline": self.timeline[-TIMELINE:],
            "failed_probes": failing,
            "results": [{key: value for key, value in one.items() if key != "log"} for one in results],
            "perfdata": perfdata(results),
            "log_tail": logs,
        }
        message = "" if good else self.explain(results, failing, elapsed, logs)
        return Verdict(passed, message, result, warnings)

    def remarks(self, results: Sequence[Result]) -> list[str]:
        """What people should know of a gate that is open: what was bad before already, and lesser troubles."""
        lines = []
        for one in results:
            if bad(one, self.options.fail_on):
                lines.append(f"{describe(one)} (it was {self.before.get(one['name'], 'ok')} before already)")
            elif one["status"] != "ok":
                lines.append(describe(one))
        return lines

    def logs(self, results: Sequence[Result], failing: Sequence[str]) -> dict[str, list[str]]:
        """Return the last lines of what failed, and of what runs: what does not answer says why there."""
        most = self.options.log_tail
        if not most:
            return {}
        found = {one["name"]: list(one["log"])[-most:] for one in results if one["name"] in failing and one.get("log")}
        for spec in self.probes:
            if spec["name"] not in found and (spec["name"] in failing or spec["type"] in LIVENESS):
                lines = [self.hide(line) for line in self.tail(spec, most)[-most:]]
                if lines and lines not in found.values():
                    found[spec["name"]] = lines
        return found

    def hide(self, line: str) -> str:
        """Return a line of a log without the secrets that we were given."""
        for value in sorted(self.secrets.values(), key=len, reverse=True):
            if len(value) >= _SHORTEST_SECRET:
                line = line.replace(value, "***")
        return line

    def explain(
        self, results: Sequence[Result], failing: Sequence[str], elapsed: float, logs: Mapping[str, list[str]]
    ) -> str:
        """Return one clear line, one line for each failing probe, and the logs."""
        options = self.options
        by_name = {one["name"]: one for one in results}
        count = f"{len(failing)} of {len(results)} probe{'s' if len(results) > 1 else ''}"
        if not options.wait:
            head = f"{count} failed"
        elif self.hopeless():
            ended = [name for name, times in self.ended.items() if times >= 2]
            head = f"{count} failed, and waiting longer is no use: {', '.join(ended)} came to an end"
            head += f" ({elapsed:.0f} s of {options.wait:g} s)"
        elif self.streak:
            why = f"stayed good for {self.streak} of {options.success_threshold} rounds"
            if self.streak >= options.success_threshold:
                why = f"did not run for {options.stable_for:g} s without a break ({', '.join(failing)})"
            head = f"the time to wait, {options.wait:g} s, was over too soon: it became good at last but {why}"
        else:
            head = f"{count} not good {options.success_threshold} times in a row within {options.wait:g} s"
        names = ", ".join(f"{name} ({by_name[name]['reason'] or by_name[name]['status']})" for name in failing)
        lines = [f"{head}: {names}" if names and not self.streak else head]
        for name in failing:
            one = by_name[name]
            rounds = sum(name in entry["bad"] for entry in self.timeline)
            often = f" [bad in {rounds} of {self.attempts} rounds]" if 0 < rounds < self.attempts else ""
            lines.append(f"- {describe(one)}{often}")
        for name, log in logs.items():
            lines.append(f"The log of {name} ends with:")
            lines += [f"  {line}" for line in log]
        return "\n".join(lines)


def started(result: Result | None) -> float | None:
    """Return when what a probe looks at was started, in seconds since 1970; None when unknown."""
    at = result["details"].get("started_at") if result else None
    if not at:
        return None
    from ansible_collections.quai.ops.plugins.module_utils._probe_docker import parse_time

    return parse_time(str(at))


def is_final(result: Result) -> bool:
    """Whether what a probe looks at came to an end, and will not come back by itself."""
    details = result["details"]
    # A service may have several containers: "running, exited (1)".
    services = [word for words in details.get("services", {}).values() for word in re.findall("[a-z]+", words)]
    return any(state in FINAL_STATES for state in (details.get("state"), *services))


def last_lines(spec: Spec, lines: int) -> list[str]:
    """Return the end of the log of the container or unit that a probe names; empty when it names none."""
    target = {**(spec.get("restart") or {}), **{key: spec[key] for key in ("container", "unit") if spec.get(key)}}
    context = Context(_TAIL_SECONDS)
    try:
        if target.get("container"):
            from ansible_collections.quai.ops.plugins.module_utils._probe_docker import Engine

            engine = Engine(context.remaining, *([spec["docker"]] if spec.get("docker") else []))
            return engine.tail(engine.container(target["container"]), lines)
        if target.get("unit"):
            from ansible_collections.quai.ops.plugins.module_utils._probe_units import journal

            return journal(context, target["unit"], lines)
    except (OwnFault, ProbeFailed) as error:
        return [f"(its log cannot be read: {error})"]
    return []


def duration(value: Any, option: str) -> float:
    """Read a duration, such as 5 or C(2m), in seconds. Raises GateError that names the option."""
    found = seconds(str(value))
    if found is None or found < 0:
        raise GateError(f'{option} is {value!r}; a duration is needed, as 5, "90s" or "2m"')
    return found


def describe(result: Result) -> str:
    """Return one line on a result that is not good."""
    reason = f" ({result['reason']})" if result["reason"] else ""
    said = f": {result['message']}" if result["message"] else ""
    return f"{result['name']} is {result['status']}{reason}{said}"


def worst(results: Iterable[Result]) -> str:
    """Return the worst status."""
    order = ("ok", "degraded", "warning", "critical", "unknown")
    return max((str(one["status"]) for one in results), key=order.index)


def summary(results: Sequence[Result]) -> str:
    """Return how many ended how: C(18 ok, 1 warning, 1 critical of 20)."""
    counts: dict[str, int] = {}
    for status in ("ok", "degraded", "warning", "critical", "unknown"):
        counts[status] = sum(one["status"] == status for one in results)
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count) + f" of {len(results)}"


def perfdata(results: Sequence[Result]) -> str:
    """Return the values as Nagios plugins print them; what is unknown is C(U), and has no unit."""
    parts = []
    for one in results:
        value = one["value"]
        if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
            continue
        label = str(one["name"]).replace("'", "''").replace("=", "_")
        number = "U" if value is None else f"{value:.6g}{_UNITS.get(str(one['unit']), '')}"
        limits = [str(one[key]) if isinstance(one[key], (int, float)) else "" for key in ("warn", "crit")]
        parts.append(f"'{label}'={number};{limits[0]};{limits[1]}".rstrip(";"))
    return " ".join(parts)


__all__ = [
    "FAIL_ON",
    "LIVENESS",
    "Clock",
    "GateError",
    "Options",
    "Verdict",
    "ask",
    "bad",
    "check",
    "choose",
    "describe",
    "duration",
    "fails",
    "former",
    "is_final",
    "last_lines",
    "perfdata",
    "started",
    "summary",
    "worst",
]
