# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The restart guard: restarts what has died, seldom, and gives up aloud.

Only a probe that tells whether something lives may restart it, and only the thing its specification names. A restart is
written into the state before it is made, so that a run which is killed in between never makes one too many.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._monitor_store import Paths, State, stamp

GAPS: Final = (60, 300, 900)  # seconds after each restart of a series before the next step
MOST: Final = 3
WITHIN: Final = 3600.0
RESET_AFTER: Final = 6 * 3600  # seconds of good results that close an open guard
QUIET: Final = 900  # seconds of good results after which a series of restarts is over
LOG_LINES: Final = 50
LOGS_KEPT: Final = 50
_TOTAL_KEPT: Final = 20  # times of restarts that are kept
# What an http or tcp probe says of a thing that is dead, and not of one that is slow or badly certified.
_NO_ANSWER: Final = ("timeout", "refused", "reset", "status", "proto", "body", "json")
_STEADY: Final = {"unit": ("failed", "inactive", "active"), "container": ("exited", "dead", "running", "created")}
_UP: Final = ("active", "running")
_WORDS: Final = {
    "en": {
        "series": "{kind} {name} was restarted {count} time(s) since {since}; it has been good for {good} min.",
        "open": "{kind} {name} was restarted {count} time(s) within {span} and is bad again: {message}\n"
        "It is not restarted any more until somebody says so:\n    quai-monitor guard reset {probe}",
        "unit": "The unit",
        "container": "The container",
    },
    "fr": {
        "series": "{kind} {name} : {count} redémarrage(s) depuis le {since} ; tout va bien depuis {good} min.",
        "open": "{kind} {name} : {count} redémarrage(s) en {span}, et de nouveau en défaut : {message}\n"
        "Plus aucun redémarrage automatique avant cette commande :\n    quai-monitor guard reset {probe}",
        "unit": "L'unité",
        "container": "Le conteneur",
    },
}


class Target(NamedTuple):
    """What can be restarted."""

    kind: str  # unit or container
    name: str


class Life(NamedTuple):
    """How a target is now. C(state): of the unit or container, "" when unknown; C(started): seconds since 1970."""

    state: str
    started: float | None
    health: str = ""  # of a container


class Action(NamedTuple):
    """One restart that was decided."""

    probe: str
    target: Target
    number: int


class Decision(NamedTuple):
    """What is to be done and said. The state was changed already."""

    actions: list[Action]
    messages: list[dict[str, Any]]
    events: list[dict[str, Any]]


Inspect = Callable[[Target], Life]
Tell = Callable[..., "list[dict[str, Any]]"]


def decide(
    state: State,
    config: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    now: float,
    *,
    releases: Collection[str],
    inspect: Inspect,
    tell: Tell,
) -> Decision:
    """Decide what is restarted now, and write it into C(state["guards"]).

    C(releases): projects whose release lock is held. C(inspect) is asked only when all else is for a restart. C(tell)
    makes the messages: C(tell(spec, kind, severity, text, key)).
    """
    found = Decision([], [], [])
    by_name = {result["name"]: result for result in results}
    touched = _last_restarts(state, config)
    for spec in config["probes"]:
        restart = spec.get("restart")
        if not restart or by_name.get(spec["name"], {}).get("status") in (None, "waiting"):
            continue
        words = _WORDS.get((config.get("languages") or ["en"])[0], _WORDS["en"])
        one = _One(state, spec, by_name[spec["name"]], now, found=found, tell=tell, words=words)
        one.look_after()
        if spec.get("project") not in releases and not _asked_for_quiet(state, spec, now) and one.is_bad():
            one.step(inspect, touched)
        one.keep()
    for name in [name for name in state["guards"] if name not in {spec["name"] for spec in config["probes"]}]:
        del state["guards"][name]
    return found


def target_of(spec: Mapping[str, Any]) -> Target:
    """What a probe's C(restart) names."""
    restart = spec["restart"]
    return Target("unit", restart["unit"]) if restart.get("unit") else Target("container", restart["container"])


def reset(state: State, name: str, now: float) -> dict[str, Any]:
    """Close an open guard by hand. Returns the event for the history; raises ValueError when there is nothing open."""
    opened = sorted(one for one, guard in state["guards"].items() if guard.get("open_since") is not None)
    if name not in opened:
        there = ", ".join(opened) or "none"
        raise ValueError(f"the guard of {name!r} is not open; guards that are open now: {there}")
    guard = state["guards"][name]
    since = guard["open_since"]
    guard.update(open_since=None, restarts=[], series=[], ok_since=None)
    return _event("guard_reset", name, "", now, since=since, message="reset by hand")


def _asked_for_quiet(state: State, spec: Mapping[str, Any], now: float) -> bool:
    """Whether a maintenance covers the probe, whatever the alert says of itself."""
    return any(
        window.get("project") in ("", spec.get("project")) and window.get("from", 0) <= now < window.get("until", 0)
        for window in state["maintenance"]
    )


def _last_restarts(state: State, config: Mapping[str, Any]) -> dict[Target, float]:
    last: dict[Target, float] = {}
    for spec in config["probes"]:
        if spec.get("restart"):
            times = (state["guards"].get(spec["name"]) or {}).get("restarts") or [0]
            target = target_of(spec)
            last[target] = max(last.get(target, 0), times[-1])
    return last


class _One:
    """The guard of one probe in one run."""

    def __init__(
        self,
        state: State,
        spec: Mapping[str, Any],
        result: Mapping[str, Any],
        now: float,
        *,
        found: Decision,
        tell: Tell,
        words: Mapping[str, str],
    ) -> None:
        self.state = state
        self.spec = spec
        self.result = result
        self.now = now
        self.found = found
        self.tell = tell
        self.words = words
        self.name = spec["name"]
        self.target = target_of(spec)
        self.most = int(spec["restart"].get("most") or MOST)
        self.within = float(spec["restart"].get("within") or WITHIN)
        empty: dict[str, Any] = {"restarts": [], "series": [], "open_since": None, "ok_since": None, "total": 0}
        self.guard: dict[str, Any] = {**empty, **(state["guards"].get(self.name) or {})}
        # A clock that was set back must not make a restart look as if it were still to come.
        for key in ("restarts", "series"):
            self.guard[key] = [min(at, now) for at in self.guard[key]]
        for key in ("open_since", "ok_since"):
            if self.guard[key] is not None:
                self.guard[key] = min(self.guard[key], now)

    def keep(self) -> None:
        """Write the guard back, when there is anything to remember."""
        if self.guard["total"] or self.guard["open_since"] is not None:
            self.state["guards"][self.name] = self.guard

    def look_after(self) -> None:
        """Follow what became of earlier restarts."""
        guard, now = self.guard, self.now
        if self.result["status"] in ("critical", "unknown"):
            guard["ok_since"] = None
            return
        if guard["ok_since"] is None:
            guard["ok_since"] = now
        good = now - guard["ok_since"]
        if guard["open_since"] is not None and good >= RESET_AFTER:
            self._note("guard_reset", guard["open_since"], f"good for {good / 3600:.0f} h")
            guard.update(open_since=None, restarts=[], series=[])
        elif guard["series"] and guard["open_since"] is None and good >= QUIET:
            text = self._text(
                "series", count=len(guard["series"]), since=_moment(guard["series"][0]), good=f"{good / 60:.0f}"
            )
            key = f"series-{guard['series'][0]:.0f}"
            self.found.messages.extend(self.tell(self.spec, "restart", self.spec["severity"], text, key))
            guard["series"] = []

    def _text(self, word: str, **values: Any) -> str:
        return self.words[word].format(kind=self.words[self.target.kind], name=self.target.name, **values)

    def is_bad(self) -> bool:
        """Whether the probe says, firmly enough and by itself, that the thing has died."""
        entry = self.state["probes"].get(self.name) or {}
        alert = entry.get("alert") or {}
        if not self._says_dead() or alert.get("suppressed"):
            return False
        if alert.get("state") == "flapping":
            if int(entry.get("bad") or 0) < int(self.spec.get("failures") or MOST):
                return False
        elif alert.get("state") not in ("firing", "escalated"):
            return False
        parents = [self.state["probes"].get(name) or {} for name in self.spec.get("depends_on") or ()]
        return not any(parent.get("status") in ("critical", "unknown") for parent in parents)

    def _says_dead(self) -> bool:
        kind, reason = self.result["type"], self.result["reason"]
        if self.result["status"] != "critical":
            return False
        if kind in ("http", "tcp"):
            return bool(reason in _NO_ANSWER)
        if kind in ("process", "pm2"):
            return bool(self.result["value"] == 0 or reason == "missing")
        return bool(kind in ("systemd", "docker", "containers") and reason in ("threshold", "missing", "status"))

    def _is_dead(self, life: Life) -> bool:
        """Whether what the host says of the target agrees."""
        if life.state not in _STEADY[self.target.kind]:
            return False  # it is being started or stopped right now, or nobody knows
        if life.state not in _UP:
            return True
        start = float(self.spec.get("start_period") or 0)
        if life.started is not None and 0 <= self.now - life.started < start:
            return False
        if self.result["type"] == "docker" and self.target.kind == "container":
            return life.health == "unhealthy"
        # A unit that is up is not what a probe of that unit complains of; others see more than the unit does.
        return bool(self.result["type"] != "systemd")

    def step(self, inspect: Inspect, touched: dict[Target, float]) -> None:
        """Restart, wait, or give up."""
        guard, now = self.guard, self.now
        if guard["open_since"] is not None:
            return
        recent = [at for at in guard["restarts"] if now - at < self.within]
        gap = GAPS[min(len(recent), len(GAPS)) - 1] if recent else GAPS[0]
        if now - max(touched.get(self.target, 0), *recent, 0) < gap:
            return
        if len(recent) >= self.most:
            guard["open_since"] = now
            span, message = _span(self.within), self.result["message"]
            text = self._text("open", count=len(recent), span=span, message=message, probe=self.name)
            self.found.messages.extend(self.tell(self.spec, "guard_open", "critical", text, f"open-{now:.0f}"))
            self._note("guard_open", recent[0], f"{len(recent)} restarts within {_span(self.within)}", "critical")
            guard["series"] = []
            return
        if not self._is_dead(inspect(self.target)):
            return
        guard["restarts"] = [*guard["restarts"], now][-max(_TOTAL_KEPT, self.most) :]
        guard["series"] = [*guard["series"], now][-_TOTAL_KEPT:]
        guard["total"] += 1
        guard["ok_since"] = None
        touched[self.target] = now
        self.found.actions.append(Action(self.name, self.target, len(recent) + 1))
        text = f"{self.target.kind} {self.target.name}, {len(recent) + 1} of {self.most} within {_span(self.within)}"
        self._note("restart", now, text)

    def _note(self, event: str, since: float, message: str, severity: str = "") -> None:
        reason = self.result["reason"]
        severity = severity or self.spec["severity"]
        self.found.events.append(
            _event(event, self.name, severity, self.now, since=since, message=message, reason=reason)
        )


def _event(
    event: str, name: str, severity: str, now: float, *, since: float, message: str, reason: str = ""
) -> dict[str, Any]:
    return {
        "t": now,
        "k": "event",
        "event": event,
        "probe": name,
        "severity": severity,
        "reason": reason,
        "message": message,
        "since": since,
        "duration": max(0.0, now - since),
    }


def _moment(at: float) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


def _span(seconds: float) -> str:
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds / 60:g} min"


# --- acting ----------------------------------------------------------------------------------------------------------


class ActFailed(Exception):
    """A restart could not be made."""


def inspect(target: Target) -> Life:
    """How a unit or container is now; an empty state when the host does not say."""
    from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed

    if target.kind == "container":
        from ansible_collections.quai.ops.plugins.module_utils._probe_docker import engine, parse_time

        try:
            found = engine(Context(5.0)).container(target.name)
        except (ProbeFailed, OwnFault):
            return Life("", None)
        status = found["State"]
        return Life(
            str(status.get("Status") or ""),
            parse_time(str(status.get("StartedAt") or "")),
            str((status.get("Health") or {}).get("Status") or ""),
        )
    code, said = _run(
        ["systemctl", "show", "-p", "ActiveState,ActiveEnterTimestampMonotonic,LoadState", target.name], 10
    )
    facts = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    if code != 0 or facts.get("LoadState") != "loaded":
        return Life("", None)
    import time

    since_boot = int(facts.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
    started = time.time() - (time.clock_gettime(time.CLOCK_MONOTONIC) - since_boot) if since_boot else None
    return Life(facts.get("ActiveState", ""), started)


def act(action: Action, where: Paths, now: float) -> None:
    """Keep the last lines of its log, then restart. Raises ActFailed."""
    keep_log(where, action, now, last_lines(action.target))
    if action.target.kind == "unit":
        # Only handed over: what becomes of it, the next run's probes tell.
        code, said = _run(["systemctl", "restart", "--no-block", action.target.name], 20)
        if code != 0:
            raise ActFailed(f"systemctl restart {action.target.name}: {' '.join(said.split())[:200] or code}")
        return
    from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed
    from ansible_collections.quai.ops.plugins.module_utils._probe_docker import engine, quote

    try:
        engine(Context(30.0)).send("POST", f"/containers/{quote(action.target.name)}/restart?t=10")
    except (ProbeFailed, OwnFault) as error:
        raise ActFailed(f"restart of the container {action.target.name}: {error}") from None


def last_lines(target: Target) -> list[str]:
    """The last lines of a unit's journal or a container's output; a remark in their place when there are none."""
    if target.kind == "unit":
        lines = ["--lines", str(LOG_LINES), "--no-pager", "--output", "short-iso"]
        code, said = _run(["journalctl", "--unit", target.name, *lines], 10)
        return said.splitlines() if code == 0 else [f"(journalctl ended with {code}: {said.strip()[:200]})"]
    from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed
    from ansible_collections.quai.ops.plugins.module_utils._probe_docker import engine

    try:
        docker = engine(Context(10.0))
        return docker.tail(docker.container(target.name), LOG_LINES)
    except (ProbeFailed, OwnFault) as error:
        return [f"(no log: {error})"]


def keep_log(where: Paths, action: Action, now: float, lines: Sequence[str]) -> Path | None:
    """Write what it said before it was restarted; a full disk loses it, and stops no restart."""
    name = f"restart-{action.probe}-{stamp(now)}"
    with suppress(OSError):
        where.log.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The clock may have been put back: what is there stays.
        names = [name, *(f"{name}-{number}" for number in range(2, LOGS_KEPT + 2))]
        path = next(one for one in (where.log / f"{name}.log" for name in names) if not one.exists())
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as stream:
            stream.write("\n".join([*lines, ""]))
        kept = sorted(where.log.glob("restart-*.log"), key=lambda one: one.stat().st_mtime)
        for old in kept[:-LOGS_KEPT]:
            old.unlink()
        return path
    return None


def _run(command: Sequence[str], seconds: float) -> tuple[int, str]:
    import subprocess

    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 124, f"no end within {seconds:g} s"
    except OSError as error:
        return 127, f"{command[0]}: {error.strerror}"
    return done.returncode, done.stdout.decode("utf-8", "replace")


__all__ = [
    "GAPS",
    "QUIET",
    "RESET_AFTER",
    "ActFailed",
    "Action",
    "Decision",
    "Life",
    "Target",
    "act",
    "decide",
    "inspect",
    "keep_log",
    "last_lines",
    "reset",
    "target_of",
]
