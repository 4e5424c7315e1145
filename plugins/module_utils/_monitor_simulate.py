# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A day or a week of results in a moment: the real state machine, fed from a text, with a clock of its own.

It answers what a threshold or a policy would have sent before it sends anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._monitor_messages import span
from ansible_collections.quai.ops.plugins.module_utils._monitor_state import (
    Event,
    Message,
    Outcome,
    Refused,
    State,
    advance,
    seconds,
)

# What a character of a series stands for.
CHARACTERS: Final = {
    "1": "ok",
    "0": "critical",
    "w": "warning",
    "d": "degraded",
    "?": "unknown",
    "-": "",  # the probe is not run
}
MOST_RESULTS: Final = 100_000
START: Final = 1_700_000_000.0

Action = Callable[[State, float], Outcome]


class Story(NamedTuple):
    """What happened in a fast-forward: the last state, and all messages and events with their times in C(at), C(t)."""

    state: State
    messages: list[Message]
    events: list[Event]


def expand(series: str) -> str:
    """Write a series out: one character per run, as in CHARACTERS. Raises Refused.

    C(1) is up, C(0) is down. C(PATTERNxN) is the pattern again and again until it is N runs long, so C(1x60 0x360) is
    an hour up and six hours down, and C(10x360) six hours of ups and downs. Spaces and commas stand between the parts.
    """
    whole = ""
    for part in series.replace(",", " ").split():
        pattern, times, length = part.partition("x")
        wrong = sorted(set(pattern) - set(CHARACTERS))
        if wrong or not pattern:
            meant = ", ".join(f"{one} {what or 'not run'}" for one, what in CHARACTERS.items())
            what = f"holds {wrong[0]!r}" if wrong else "has no results before its 'x'"
            raise Refused(f"the series' part {part!r} {what}; a result is one of: {meant}; and 0x360 is 360 of them")
        if times and not (length.isascii() and length.isdigit() and 0 < int(length) <= MOST_RESULTS):
            raise Refused(f"the series' part {part!r} must end in a number of runs from 1 to {MOST_RESULTS}, as 0x360")
        runs = int(length) if times else len(pattern)
        whole += (pattern * (runs // len(pattern) + 1))[:runs]
        if len(whole) > MOST_RESULTS:
            raise Refused(f"the series is longer than {MOST_RESULTS} runs; give a shorter one")
    if not whole:
        raise Refused("the series is empty; give results such as 1x60 0x360 1x60 (1 is up, 0 is down)")
    return whole


def fast_forward(
    series: Mapping[str, str],
    config: Mapping[str, Any],
    *,
    start: float = START,
    state: State | None = None,
    actions: Mapping[int, Action] | None = None,
    releases: Callable[[int], Collection[str]] | None = None,
    save: Callable[[State], State] | None = None,
) -> Story:
    """Run the watch over series of results, one character per probe and run; a shorter series goes on as not run.

    C(actions) are what people do before run N (acknowledge, maintain), C(releases) tells whose lock is held in run N,
    and C(save) stands for writing the state to disk and reading it again.
    """
    interval = seconds(config.get("interval"), 60.0)
    declared = {probe["name"]: probe for probe in config.get("probes") or ()}
    kinds = {name: _results(name, declared.get(name, {})) for name in series}
    current: State = {} if state is None else state
    messages: list[Message] = []
    events: list[Event] = []
    for run in range(max(map(len, series.values()), default=0)):
        now = start + run * interval
        if actions and run in actions:
            current = _add(actions[run](current, now), messages, events)
        results = [kinds[name][line[run]] for name, line in series.items() if run < len(line) and line[run] != "-"]
        held = releases(run) if releases else ()
        current = _add(advance(current, results, config, now, releases=held), messages, events)
        if save:
            current = save(current)
    return Story(current, messages, events)


def _add(outcome: Outcome, messages: list[Message], events: list[Event]) -> State:
    messages += outcome.messages
    events += outcome.events
    return outcome.state


def _results(name: str, spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    common = {"name": name, "type": spec.get("type") or "http", "project": spec.get("project") or ""}
    common.update(severity=spec.get("severity") or "high", value=None, unit="", log=[])
    why = {"critical": "timeout", "warning": "threshold", "unknown": "own_error"}
    words = {"critical": "no answer", "warning": "a limit is crossed", "unknown": "could not be checked"}
    return {
        one: {**common, "status": status, "reason": why.get(status, ""), "message": words.get(status, "")}
        for one, status in CHARACTERS.items()
        if status
    }


def simulate(series: str, config: Mapping[str, Any] | None = None, *, name: str = "") -> list[Message]:
    """Return the messages that a series of results of one probe would have caused. Raises Refused.

    C(name) is a probe of C(config), whose thresholds, severity and policy count; without one it is a critical probe
    with the usual thresholds and one channel for everything.
    """
    given = {"host": "simulation", **(config or {})}
    if name:
        probes = [probe for probe in given.get("probes") or () if probe.get("name") == name]
        if not probes:
            known = ", ".join(sorted(str(probe.get("name")) for probe in given.get("probes") or ())) or "none"
            raise Refused(f"no probe is named {name!r}; there are: {known}")
        # What it depends on is not part of the series.
        given["probes"] = [{**probes[0], "depends_on": []}]
    else:
        given.update(probes=[{"name": "probe", "severity": "critical"}], channels={"channel": {}}, policies={})
    given["uplink_probe"] = ""
    return fast_forward({name or "probe": expand(series)}, given).messages


def lines(messages: Collection[Message], start: float = START) -> list[str]:
    """Write messages for a terminal, one line each: after how long, to whom, what."""
    return [f"+{span(message['at'] - start):<10} {message['channel']}: {message['subject']}" for message in messages]


__all__ = ["CHARACTERS", "START", "Action", "Story", "expand", "fast_forward", "lines", "simulate"]
