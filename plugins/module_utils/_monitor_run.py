# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the watch: ask what is due, decide, write down, tell, and leave everything ready for the next run.

The order makes it safe to be killed anywhere. What was decided (messages, restarts, lines of the history) is part of
the state, which is replaced whole; only then is it carried out, and each part of that can be done twice: a message has
an id, a line is looked for before it is appended, a restart is counted before it is made.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils import _lock
from ansible_collections.quai.ops.plugins.module_utils import _monitor_guard as guard
from ansible_collections.quai.ops.plugins.module_utils import _monitor_metrics as metrics
from ansible_collections.quai.ops.plugins.module_utils import _monitor_outbox as outbox
from ansible_collections.quai.ops.plugins.module_utils import _monitor_store as store
from ansible_collections.quai.ops.plugins.module_utils._monitor_state import advance, policy_of
from ansible_collections.quai.ops.plugins.module_utils._monitor_store import Fault, Paths, State
from ansible_collections.quai.ops.plugins.module_utils._probe_engine import run_probes
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import SpecError, normalise

Config = dict[str, Any]
Result = dict[str, Any]
Message = dict[str, Any]

LOCK: Final = "monitor"
REPORT_EVERY: Final = 300  # seconds between two pages when nothing happens
FAULT_AGAIN: Final = 24 * 3600  # seconds after which a fault that lasts is told again
FAULT_SHOWN: Final = 24 * 3600  # seconds for which one that is over stays on the page
PING_SECONDS: Final = 5.0
MOST_MISSED: Final = 100000
RETRY: Final = 60.0  # seconds after which a probe that is not well is asked again, however seldom it is otherwise
# Faults that are over when a run does not find them any more, which is told.
_LASTING: Final = ("config_wrong", "history_unwritable", "metrics_unwritable", "report_failed", "state_unreadable")
# Known only when the run has tried: whether it is over is found at the end.
_UNWRITABLE: Final = "state_unwritable"
_FAULT_WORDS: Final = {
    "en": ("OWN FAULT of the watch", "RESOLVED: own fault of the watch", "The watch of {host} has a fault of its own"),
    "fr": (
        "DÉFAUT DE LA SURVEILLANCE elle-même",
        "RÉSOLU : défaut de la surveillance",
        "La surveillance de {host} est elle-même en défaut",
    ),
}
_GUARD_WORDS: Final = {
    "en": {"guard_open": "RESTARTS GIVEN UP", "restart": "RESTARTED"},
    "fr": {"guard_open": "REDÉMARRAGES ABANDONNÉS", "restart": "REDÉMARRÉ"},
}


class Hands(NamedTuple):
    """How the run acts on the world; tests put others in their place."""

    send: outbox.Send | None = None  # None: the channels of the configuration
    inspect: guard.Inspect = guard.inspect
    act: Callable[[guard.Action, Paths, float], None] = guard.act
    clock: Callable[[], float] = time.monotonic


class Ran(NamedTuple):
    """What a run did."""

    results: list[Result]
    messages: list[Message]
    events: list[dict[str, Any]]
    faults: list[Fault]
    state: State
    delivered: outbox.Delivered


class Setup(NamedTuple):
    """Configuration with normalised probes, secrets, and what cannot be used."""

    config: Config
    secrets: dict[str, str]
    unusable: list[Result]
    wrong: list[str]  # what else of the configuration is left out


# --- configuration ---------------------------------------------------------------------------------------------------


def setup(where: Paths) -> Setup:
    """Read the configuration and the secrets. Raises StoreError.

    A probe that is wrong does not stop the others: it becomes an own fault.
    """
    config, wrong = store.load_config(where)
    secrets = store.load_secrets(where)
    wanted = [*config["probes"], *peer_probes(config)]
    try:
        specs, unusable = normalise(wanted), list[Result]()
    except SpecError as error:
        specs, unusable = _usable(wanted)
        # With the others it goes on without what it depends on.
        there = {spec["name"] for spec in specs}
        wrong += [line for line in error.problems if ": depends_on: " in line and line.partition(":")[0] in there]
    return Setup({**config, "probes": specs}, secrets, unusable, wrong)


def _usable(wanted: Sequence[Any]) -> tuple[list[dict[str, Any]], list[Result]]:
    """The probes that are right by themselves, and results for the others."""
    specs: dict[str, dict[str, Any]] = {}
    unusable: list[Result] = []
    for number, one in enumerate(wanted):
        name = str(one.get("name") or "") if isinstance(one, dict) else ""
        try:
            if name in specs:
                raise SpecError([f"another probe is named {name!r} too"])
            above = one.get("depends_on") or ()
            (spec,) = normalise([{key: value for key, value in one.items() if key != "depends_on"}])
        except (SpecError, AttributeError) as error:
            name = name if name and name not in specs else f"probe-{number + 1}"
            unusable.append(_unusable(name, one, str(error)))
            continue
        spec["depends_on"] = [above] if isinstance(above, str) else list(above) if isinstance(above, list) else []
        specs[spec["name"]] = spec
    for spec in specs.values():
        spec["depends_on"] = [name for name in spec["depends_on"] if isinstance(name, str) and name in specs]
    return list(specs.values()), unusable


def peer_probes(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Probes of the last runs of other hosts: hosts that watch each other."""
    probes = []
    for peer in config["peers"]:
        probe = {
            "name": f"peer.{str(peer['name']).lower()}",
            "type": "http",
            "url": peer["url"],
            "description": f"{peer['name']} watches itself",
            "every": max(float(config["interval"]), 120.0),
            "timeout": 10,
            "severity": peer.get("severity") or "high",
            "expect": ["status == 200", f"json_age_s.run_at < {float(peer.get('max_age') or 600):g}"],
            "hint": peer.get("hint") or f"See whether {peer['name']} is up: systemctl status quai-monitor.timer",
        }
        for option in ("user", "password", "ca_file", "connect_to", "policy", "verify"):
            if option in peer:
                probe[option] = peer[option]
        probes.append(probe)
    return probes


def _empty_result(name: str, spec: Mapping[str, Any], status: str, reason: str, message: str) -> Result:
    return {
        "name": name,
        "type": str(spec.get("type") or "http"),
        "project": str(spec.get("project") or ""),
        "severity": str(spec.get("severity") or "high"),
        "status": status,
        "reason": reason,
        "message": message,
        **dict.fromkeys(("value", "warn", "crit", "latency_ms", "checked_at")),
        "unit": "",
        **{key: {} for key in ("phases", "tls", "http", "details")},
        "attempts": 0,
        "ip": "",
        "log": [],
    }


def _unusable(name: str, spec: Any, error: str) -> Result:
    known = spec if isinstance(spec, dict) else {}
    return _empty_result(name, known, "unknown", "own_error", f"the probe cannot be used: {error}")


def waiting_projects(config: Mapping[str, Any], where: Paths, state: Mapping[str, Any]) -> set[str]:
    """Projects that are not live yet: what they wait for was never there.

    What was there once and is gone (a disk that is not mounted, a link that leads nowhere) is a failure.
    """
    live = state.get("live") or {}
    return {
        name
        for name, project in config["projects"].items()
        if project.get("active_when")
        and live.get(name) != project["active_when"]
        and not os.path.lexists(where.root / project["active_when"].lstrip("/"))
    }


def releases(config: Mapping[str, Any], where: Paths) -> set[str]:
    """Projects of which a lock is held by somebody at this moment."""
    return {
        name
        for name, project in config["projects"].items()
        if any(_lock.is_held(one, where.locks) for one in project.get("locks") or ())
    }


def due(
    config: Mapping[str, Any], state: Mapping[str, Any], now: float, idle: Collection[str], only: Collection[str] = ()
) -> list[dict[str, Any]]:
    """The probes to run now: those whose time has come, without those of projects that wait."""
    ran = state.get("ran") or {}
    interval = float(config["interval"])
    chosen = []
    for spec in config["probes"]:
        if spec["project"] and spec["project"] in idle:
            continue
        if only:
            if spec["name"] in only:
                chosen.append(spec)
            continue
        since = now - float(ran.get(spec["name"], 0))
        every = spec["every"]
        if (state.get("asked") or {}).get(spec["name"]) != _mark(spec):
            every = 0.0  # nothing is known of what it asks now
        if _is_in_doubt(state["probes"].get(spec["name"])):
            every = min(every, RETRY)
        # Timers are never exact: half an interval early is on time. A clock that was set back makes it due.
        if since < 0 or since >= every - min(interval, every) / 2:
            chosen.append(spec)
    return chosen


def _is_in_doubt(kept: Mapping[str, Any] | None) -> bool:
    """Whether the last answer was bad or an alert is open: an hourly probe must not take hours to be believed."""
    if not kept:
        return False
    alert = (kept.get("alert") or {}).get("state") or "ok"
    return alert != "ok" or kept.get("status") in ("warning", "critical", "unknown")


def _mark(spec: Mapping[str, Any]) -> int:
    """A number that changes with what a probe asks."""
    return zlib.crc32(json.dumps(spec, sort_keys=True, default=str).encode())


# --- faults of the watch ---------------------------------------------------------------------------------------------


def identity(*parts: str) -> str:
    """Return the id of a message that says this and nothing else."""
    from hashlib import sha256

    return sha256("\n".join(parts).encode()).hexdigest()[:32]


def _language(config: Mapping[str, Any]) -> str:
    return str((config.get("languages") or ["en"])[0])


def _fault_channels(config: Mapping[str, Any]) -> list[str]:
    return list(config["own_fault_channels"]) or sorted(config["channels"])


def _fault_messages(config: Mapping[str, Any], kind: str, fault: Fault, since: float, now: float) -> list[Message]:
    words = _FAULT_WORDS.get(_language(config), _FAULT_WORDS["en"])
    head = words[1] if kind == "resolved" else words[0]
    host = config["host"]
    return [
        {
            "id": identity(host, channel, "own_fault", kind, fault.key, f"{since:.0f}", f"{now // FAULT_AGAIN:.0f}"),
            "kind": kind,
            "channel": channel,
            "severity": "high",
            "subject": f"[{host}] {head}: {fault.text}"[:120],
            "body": f"{words[2].format(host=host)}:\n\n{fault.text}\n",
            "at": now,
            "probes": [],
            "data": {"version": 1, "host": host, "kind": kind, "fault": fault.key, "text": "", "since": since},
        }
        for channel in _fault_channels(config)
    ]


def _tell_faults(
    config: Mapping[str, Any], state: State, faults: Iterable[Fault], now: float, lasting: Collection[str] = _LASTING
) -> tuple[list[Message], list[dict[str, Any]]]:
    """Messages and events of what is wrong with the watch itself: once, again after a day, and when it is over.

    Those of C(lasting) are over when they are not among C(faults).
    """
    messages: list[Message] = []
    events: list[dict[str, Any]] = []
    times = state.setdefault("fault_times", {})
    current = {fault.key: fault for fault in faults}
    for key, fault in current.items():
        one = times.get(key)
        if one is None or one.get("over"):
            one = times[key] = {"since": now, "told": None, "seen": now}
        one["seen"] = now
        state["faults"][key] = fault.text
        if one["told"] is None or now - one["told"] >= FAULT_AGAIN or now < one["told"]:
            one["told"] = now
            messages += _fault_messages(config, "own_fault", fault, one["since"], now)
            events.append(_fault_event(fault, one["since"], now))
    for key in [key for key in times if key not in current]:
        one = times[key]
        if key in lasting:
            if not one.get("over"):
                one["over"] = True
                fault = Fault(key, state["faults"].pop(key, key))
                messages += _fault_messages(config, "resolved", fault, one["since"], now)
        elif key != _UNWRITABLE and not 0 <= now - one["seen"] < FAULT_SHOWN:
            del times[key]
            state["faults"].pop(key, None)
    return messages, events


def _fault_event(fault: Fault, since: float, now: float) -> dict[str, Any]:
    return {
        "t": now,
        "k": "event",
        "event": "overrun" if fault.key in ("overrun", "killed") else "own_fault",
        "probe": "",
        "severity": "high",
        "reason": "own_error",
        "message": fault.text,
        "since": since,
        "duration": max(0.0, now - since),
    }


# --- one run ---------------------------------------------------------------------------------------------------------


def run_limit(config: Mapping[str, Any]) -> float:
    """Seconds after which a run kills itself."""
    slowest = max((spec["timeout"] * (spec["retries"] + 1) for spec in config["probes"]), default=0.0)
    return float(config.get("run_limit") or max(120.0, 2 * config["interval"], slowest + outbox.BUDGET + 60))


def run_once(
    where: Paths,
    setup_: Setup,
    now: float,
    *,
    only: Collection[str] = (),
    dry: bool = False,
    hands: Hands | None = None,
) -> Ran:
    """Do one run; the lock is held by the caller. With C(dry) nothing is written, restarted or sent."""
    return _Run(where, setup_, now, hands or Hands(), dry).all(only)


class _Run:
    """One run in the making."""

    def __init__(self, where: Paths, setup_: Setup, now: float, hands: Hands, dry: bool) -> None:
        self.where = where
        self.config = setup_.config
        self.secrets = setup_.secrets
        self.unusable = setup_.unusable
        self.now = now
        self.hands = hands
        self.dry = dry
        self.faults = [Fault("config_wrong", "; ".join(setup_.wrong))] if setup_.wrong else []
        self.messages: list[Message] = []
        self.events: list[dict[str, Any]] = []

    def all(self, only: Collection[str]) -> Ran:
        """The whole run."""
        began = self.hands.clock()
        pinger = None if self.dry else _Pinger(self.config, self.secrets)
        if pinger is None:
            return self._whole(only, began)
        pinger.start()
        good = False
        try:
            ran = self._whole(only, began)
            good = not ran.faults
        except Exception as error:  # a mistake of ours must not end in silence
            self._tell_crash(error)
            raise
        finally:
            pinger.finish(good)
        return ran

    def _tell_crash(self, error: Exception) -> None:
        """Tell, once a day, that runs fail; the state cannot be relied on for it."""
        from ansible_collections.quai.ops.plugins.module_utils._monitor_deliver import hide

        said = hide(f"{type(error).__name__}: {error}", self.secrets)
        fault = Fault("crashed", f"a run of the watch failed: {said}")
        day = f"{self.now // FAULT_AGAIN:.0f}"
        messages = [
            {**one, "id": identity(self.config["host"], one["channel"], fault.key, day)}
            for one in _fault_messages(self.config, "own_fault", fault, self.now, self.now)
        ]
        self._deliver(outbox.put(self.where, messages, self.now))
        with suppress(OSError):
            (self.where.run / "running.json").unlink(missing_ok=True)

    def _whole(self, only: Collection[str], began: float) -> Ran:
        loaded = store.load_state(self.where, self.now) if not self.dry else self._look()
        self.faults += loaded.faults
        state = self._take_over(loaded.state)
        results = self._ask(state, only)
        state, actions = self._decide(state, results)
        state["run"].update(
            at=self.now,
            duration=round(self.hands.clock() - began, 3),
            probes=len(results),
        )
        if self.dry:
            nothing = outbox.Delivered(0, 0, [])
            return Ran(results, self.messages, self.events, self.faults, state, nothing)
        report_due = self._report_due(state)
        if report_due:
            state["run"]["reported"] = self.now
        direct = self._save(state, loaded.good)
        late = self._act(state, actions)
        delivered = self._deliver(direct)
        if delivered.events:
            self.events += delivered.events
            store.note(state, delivered.events)
        late += self._publish(state, report_due)
        self._keep_late(late)
        return Ran(results, self.messages, self.events, [*self.faults, *late], state, delivered)

    def _look(self) -> store.Loaded:
        state = json.loads(json.dumps(store.read_state(self.where)))
        return store.Loaded(state, False, [])

    def _take_over(self, state: State) -> State:
        """Finish what the last run had decided, and see how it ended."""
        if self.dry:
            return state
        left = outbox.put(self.where, state["outgoing"], self.now)
        state["outgoing"] = left
        if state["journal"] and not store.flush(self.where, state["journal"]):
            state["journal"] = []
        self.faults += _unfinished(self.where, self.now)
        self.faults += _late(self.where)
        counted, before = store.overruns(self.where), int(state["run"]["overruns"])
        if counted > before:
            text = f"{counted - before} run(s) could not start, because the run before was still at work"
            self.events.append(_fault_event(Fault("overrun", text), self.now, self.now))
        state["run"]["overruns"] = counted
        _mark_running(self.where, self.now, run_limit(self.config))
        return state

    def _ask(self, state: State, only: Collection[str]) -> list[Result]:
        idle = waiting_projects(self.config, self.where, state)
        state["live"] = {
            name: project["active_when"]
            for name, project in self.config["projects"].items()
            if project.get("active_when") and name not in idle
        }
        specs = due(self.config, state, self.now, idle, only)
        names = {spec["name"] for spec in self.config["probes"]}
        memory = {name: value for name, value in state["memory"].items() if name in names}
        state["memory"] = memory
        previous = {name: entry.get("status", "") for name, entry in state["probes"].items()}
        results = run_probes(
            specs,
            concurrency=int(self.config["concurrency"]),
            secrets=self.secrets,
            memory=memory,
            previous=previous,
            now=self.now,
        )
        ran = state.get("ran") or {}
        state["ran"] = {name: at for name, at in ran.items() if name in names}
        state["asked"] = {name: mark for name, mark in (state.get("asked") or {}).items() if name in names}
        for spec in specs:
            state["ran"][spec["name"]] = self.now
            state["asked"][spec["name"]] = _mark(spec)
        for spec in self.config["probes"]:
            if spec["project"] and spec["project"] in idle and not only:
                text = f"waits for {self.config['projects'][spec['project']]['active_when']}"
                results.append(_empty_result(spec["name"], spec, "waiting", "", text))
        if not only:
            results += [{**one, "checked_at": self.now} for one in self.unusable]
        return results

    def _decide(self, state: State, results: list[Result]) -> tuple[State, list[guard.Action]]:
        now, config = self.now, self._full_config()
        locked = releases(config, self.where)
        last = float(state["run"]["at"] or 0)
        missed = round((now - last) / float(config["interval"])) - 1 if 0 < last < now else 0
        outcome = advance(state, results, config, now, releases=locked, missed=min(max(0, missed), MOST_MISSED))
        state = outcome.state
        decision = guard.decide(
            state, config, results, now, releases=locked, inspect=self.hands.inspect, tell=self._tell_guard
        )
        messages, events = _tell_faults(config, state, self.faults, now)
        self.messages += [*outcome.messages, *decision.messages, *messages]
        self.events += [*outcome.events, *decision.events, *events]
        store.count(state, results, now)
        store.note(state, self.events)
        state["outgoing"] = [*state["outgoing"], *self.messages]
        return state, decision.actions

    def _full_config(self) -> Config:
        """The configuration with what cannot be used, so that its faults are told and nobody forgets it."""
        if not self.unusable:
            return self.config
        there = [{"name": one["name"], "type": one["type"], "severity": one["severity"]} for one in self.unusable]
        return {**self.config, "probes": [*self.config["probes"], *there]}

    def _tell_guard(
        self, spec: Mapping[str, Any], kind: str, severity: str, text: str, key: str
    ) -> list[dict[str, Any]]:
        words = _GUARD_WORDS.get(_language(self.config), _GUARD_WORDS["en"])
        policy = policy_of({**spec, "severity": severity}, self.config)
        host, name = self.config["host"], spec["name"]
        target = guard.target_of(spec)
        return [
            {
                "id": identity(host, channel, kind, name, key),
                "kind": kind,
                "channel": channel,
                "severity": severity,
                "subject": f"[{host}] {words[kind]}: {target.name} ({name})",
                "body": f"{text}\n",
                "at": self.now,
                "probes": [name],
                "data": {"version": 1, "host": host, "kind": kind, "probe": name, "target": list(target)},
            }
            for channel in policy.notify
        ]

    def _save(self, state: State, good: bool) -> list[Message]:
        """Write the state, and then the messages. Returns those that could be written nowhere."""
        written = store.write_state(self.where, state, self.now, copy=good)
        known = state["fault_times"].get(_UNWRITABLE)
        failed = written.where != "disk"
        if failed or (known and not known.get("over")):
            now_wrong = [Fault(_UNWRITABLE, f"the state cannot be written: {written.error}")] if failed else []
            self.faults += now_wrong
            messages, events = _tell_faults(self.config, state, now_wrong, self.now, (_UNWRITABLE,))
            if written.where == "nowhere":
                # Nobody will remember that it was told: let it be the same message, at least.
                day = f"{self.now // FAULT_AGAIN:.0f}"
                messages = [
                    {**one, "id": identity(self.config["host"], one["channel"], _UNWRITABLE, day)} for one in messages
                ]
            self.messages += messages
            self.events += events
            store.note(state, events)
            state["outgoing"] += messages
            store.write_state(self.where, state, self.now, copy=False)
        # In memory only: on disk the next run finds them, and finds them known.
        left = state["outgoing"] = outbox.put(self.where, state["outgoing"], self.now)
        return left

    def _act(self, state: State, actions: Sequence[guard.Action]) -> list[Fault]:
        late = []
        for action in actions:
            try:
                self.hands.act(action, self.where, self.now)
            except guard.ActFailed as error:
                late.append(Fault(f"restart_failed.{action.probe}", f"{action.probe}: {error}"))
        return late

    def _deliver(self, direct: Sequence[Message]) -> outbox.Delivered:
        send = self.hands.send or _LazySender(self.config, self.secrets)
        delivered = outbox.deliver(self.where, self.config, self.now, send, clock=self.hands.clock)
        sent, failed = delivered.sent, delivered.failed
        for message in direct:  # neither disk nor memory took them: now or never
            try:
                send(message, 5.0)
                sent += 1
            except outbox.DeliveryFailed:
                failed += 1
        return outbox.Delivered(sent, failed, delivered.events)

    def _report_due(self, state: State) -> bool:
        """Whether the page is written anew: every few minutes, and when something happened that it should tell."""
        if not self.config["report"].get("directory"):
            return False
        waiting, releasing = waiting_projects(self.config, self.where, state), releases(self.config, self.where)
        projects = [sorted(waiting), sorted(releasing)]
        moved = projects != state["run"].get("projects")
        state["run"]["projects"] = projects
        since = self.now - float(state["run"].get("reported", 0))
        return moved or bool(self.events) or not 0 <= since < REPORT_EVERY - float(self.config["interval"]) / 2

    def _publish(self, state: State, report_due: bool) -> list[Fault]:
        """What others read: history, metrics, page."""
        late = []
        error = store.flush(self.where, state["journal"]) if state["journal"] else ""
        if error and not any(fault.key == _UNWRITABLE for fault in self.faults):
            late.append(Fault("history_unwritable", error))
        left = outbox.waiting(self.where)
        state["run"]["undelivered"] = len(left)
        if self.config["textfile"]:
            page = metrics.render(
                self.config,
                state,
                self.now,
                waiting=len(left),
                channels=outbox.channels(self.where),
                overruns=int(state["run"]["overruns"]),
                idle=waiting_projects(self.config, self.where, state),
            )
            try:
                metrics.write(Path(self.config["textfile"]), page)
            except OSError as failed:
                late.append(
                    Fault("metrics_unwritable", f"{self.config['textfile']} cannot be written: {failed.strerror}")
                )
        if report_due:
            late += _report(self.where, self.config, state, self.now)
        return late

    def _keep_late(self, late: Sequence[Fault]) -> None:
        """Faults that came after the state was written are the next run's to tell."""
        with suppress(OSError):
            path = self.where.run / "late.json"
            if late:
                self.where.run.mkdir(mode=0o700, parents=True, exist_ok=True)
                store.replace(path, store.dumps([list(fault) for fault in late]), sync=False)
            else:
                path.unlink(missing_ok=True)
            (self.where.run / "running.json").unlink(missing_ok=True)


class _LazySender:
    """Loads the code that sends only when there is something to send."""

    def __init__(self, config: Config, secrets: dict[str, str]) -> None:
        self._made: Callable[[Message, float], None] | None = None
        self._config = config
        self._secrets = secrets

    def __call__(self, message: Message, seconds: float) -> None:
        if self._made is None:
            from ansible_collections.quai.ops.plugins.module_utils._monitor_deliver import Sender

            self._made = Sender(self._config, self._secrets)
        self._made(message, seconds)


def _report(where: Paths, config: Config, state: State, now: float) -> list[Fault]:
    try:
        from ansible_collections.quai.ops.plugins.module_utils import _monitor_page

        _monitor_page.write(where, config, state, now)
    except OSError as error:
        return [Fault("report_failed", f"the page cannot be written: {error.strerror}: {error.filename}")]
    except Exception as error:  # the page must never stop the watch, whatever is wrong with it
        return [Fault("report_failed", f"the page cannot be made: {type(error).__name__}: {error}")]
    return []


def _mark_running(where: Paths, now: float, limit: float) -> None:
    with suppress(OSError):
        where.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = {"pid": os.getpid(), "at": now, "limit": limit, "clock": time.monotonic()}
        store.replace(where.run / "running.json", store.dumps(content), sync=False)


def _unfinished(where: Paths, now: float) -> list[Fault]:
    """Whether the last run came to its end. What is in /run is of this boot, so a boot is no fault."""
    try:
        last = json.loads((where.run / "running.json").read_bytes())
        lasted, limit = time.monotonic() - float(last["clock"]), float(last["limit"])
        at, pid = float(last["at"]), int(last["pid"])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        return [Fault("killed", "the last run did not come to its end")]
    began = time.strftime("%H:%M:%S UTC", time.gmtime(at))
    if lasted >= limit:
        return [Fault("killed", f"the run of {began} (process {pid}) took more than its {limit:g} s and was killed")]
    return [Fault("killed", f"the run of {began} (process {pid}) was killed before its end")]


def _late(where: Paths) -> list[Fault]:
    try:
        return [Fault(str(key), str(text)) for key, text in json.loads((where.run / "late.json").read_bytes())]
    except (OSError, ValueError, TypeError):
        return []


class _Pinger:
    """The dead man's switch: somebody elsewhere who misses us. Nothing that goes wrong with it harms the run."""

    def __init__(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        ping = config["ping"]
        self._url = str(ping.get("url") or "")
        self._start = bool(ping.get("start", True))
        self._secrets = secrets
        self._thread: Any = None

    def start(self) -> None:
        """Say that a run begins, beside it."""
        if self._url and self._start:
            from threading import Thread

            self._thread = Thread(target=self._ping, args=("start",), daemon=True)
            self._thread.start()

    def finish(self, good: bool) -> None:
        """Say that it ended, and how."""
        if self._url:
            if self._thread is not None:
                self._thread.join(PING_SECONDS)
            self._ping("" if good else "fail")

    def _ping(self, what: str) -> None:
        from ansible_collections.quai.ops.plugins.module_utils._monitor_deliver import fill, request

        with suppress(outbox.DeliveryFailed):
            base, mark, query = fill(self._url, self._secrets).partition("?")
            url = f"{base.rstrip('/')}/{what}" if what else base
            request(f"{url}{mark}{query}", PING_SECONDS)


__all__ = [
    "LOCK",
    "Hands",
    "Ran",
    "Setup",
    "due",
    "identity",
    "peer_probes",
    "releases",
    "run_limit",
    "run_once",
    "setup",
    "waiting_projects",
]
