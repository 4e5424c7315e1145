# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From results to alerts: a state machine that decides who is told what, and when to be quiet.

Pure: the time comes in, what is decided goes out, and the state that was given is left alone. C(advance) keeps
C(probes) (all of each entry), C(maintenance) and C(alerts) of the state; whatever else is in it is handed through.

An incident is opened and closed by results alone; whether somebody is told is a second question. So an alert that is
suppressed (maintenance, a release, something it depends on, the host's own uplink) has its true state and its place in
the history, and no message. What was announced is also closed, however late: a recovery inside a maintenance is told at
its end.

The identity of an incident comes from what was saved before it (the time of the last good run and the number of
incidents so far), not from the clock of the run that decides. So a run that is killed and repeated decides the same
messages with the same ids.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from typing import TypeGuard  # Python 3.10

State = dict[str, Any]
Result = Mapping[str, Any]
Message = dict[str, Any]
Event = dict[str, Any]
Item = dict[str, Any]

SEVERITIES: Final = ("low", "medium", "high", "critical")  # from the least to the most
# Time to respond before an alert goes to further people, seconds.
RESPOND_WITHIN: Final = {"critical": 3600.0, "high": 14400.0, "medium": 86400.0, "low": 259200.0}
REMIND_EVERY: Final = 86400.0
MESSAGES_PER_HOUR: Final = 20
FAILURES: Final = 3
SUCCESSES: Final = 2
UNKNOWN_RUNS: Final = 3  # results that are unknown, in a row, before the watch reports its own fault
FAULT_AGAIN: Final = 86400.0  # an own fault of one probe is told at most this often
RELEASE_AT_MOST: Final = 3600.0  # a release that takes longer hides nothing any more
QUIET_AT_MOST: Final = 7 * 86400.0  # the longest acknowledgement or maintenance
HOUR: Final = 3600.0

# Flapping, fast: changes of the last 20 results, newer ones weighing more, as Icinga counts them. That alone would
# also call three lone failures in twenty minutes flapping, which 3 % of random failures reach twice a day; so results
# must be bad more often than chance makes them, in the last 20 results or in the last 60.
FLAP_RESULTS: Final = 20
FLAP_ABOVE: Final = 30.0
FLAP_BELOW: Final = 25.0
FLAP_BAD: Final = 7
FLAP_LONG: Final = 60
FLAP_LONG_BAD: Final = 10
FLAP_LONG_CHANGES: Final = 12
# Flapping, slow: that many alerts within an hour.
FLAP_FIRINGS: Final = 3
FLAP_CALM: Final = 1800.0  # seconds without change that end it

OK: Final = "ok"
PENDING: Final = "pending"
FIRING: Final = "firing"
ESCALATED: Final = "escalated"
FLAPPING: Final = "flapping"
STATES: Final = (OK, PENDING, FIRING, ESCALATED, FLAPPING)
OPEN: Final = (FIRING, ESCALATED, FLAPPING)

# Kinds of news, the most important first; a message that carries several is of the first of them.
KINDS: Final = (
    *("firing", "worse", "escalated", "flapping", "ack_expired", "maintenance_end", "reminder", "own_fault"),
    *("ack", "steady", "resolved", "digest"),
)
_KIND_RANK: Final = {kind: rank for rank, kind in enumerate(KINDS)}
_SEVERITY_RANK: Final = {severity: rank for rank, severity in enumerate(SEVERITIES)}

_RECENT: Final = {"ok": "0", "degraded": "1", "warning": "1", "critical": "2", "unknown": "3"}
_MARK: Final = {"ok": "0", "degraded": "0", "warning": "1", "critical": "2"}  # unknown leaves no mark: it is no answer
_LEVEL: Final = {"1": "warning", "2": "critical"}
_LEVELS: Final = ("", "warning", "critical")
_NOT_ACKED: Final[dict[str, Any]] = {"by": "", "at": 0, "until": 0}

# What is kept of an alert. Times are seconds since 1970; 0 is "none". What concerns one incident is reset with it.
_INCIDENT: Final[dict[str, Any]] = {
    "level": "",  # warning or critical, as confirmed
    "told_level": "",  # the level that was told
    "incident": "",  # its identity
    "fired": 0,  # when it was told first: the clock of escalation
    "next": 0,  # when the next escalation or reminder is due
    "step": 0,  # escalation and reminders so far
    "notified": 0,  # messages about it
    "told": [],  # channels that were told, and so hear of the end
    "acked": _NOT_ACKED,
    "acks": 0,
    "why": {},  # reason and message of the last bad result
    "wait": 0,  # bad results to wait for after what it depends on recovered
    "min": None,
    "max": None,
    "runs": 0,
    "bad_runs": 0,
    "missed": 0,  # runs of the watch that did not take place
    "flips": 0,
    "flap_runs": 0,
    "flap_bad": 0,
}
_ALERT: Final[dict[str, Any]] = {
    "state": OK,
    "since": 0,  # of an incident: its first bad result; otherwise of the state
    "severity": "high",
    "suppressed": "",  # maintenance, release, uplink, dependency
    "by": "",  # what it is suppressed by
    "quiet": "",  # maintenance or release that covered it in the last run
    "marks": "",  # last results, 0 good, 1 warning, 2 critical
    "key": 0,  # time of the last run before the series of bad results began
    "count": 0,  # incidents so far
    "pending": 0,  # results since it is pending
    "good_since": 0,
    "firings": [],
    "calm": 0.0,  # seconds seen without change; those without an answer do not count
    "seen": 0,
    "unknown": 0,
    "fault": False,
    "fault_key": 0,
    "fault_at": 0,
    "owed": {},  # a recovery that is still to be told
    **_INCIDENT,
}
_ENTRY: Final[dict[str, Any]] = {
    "status": "",
    "since": 0,
    "last_ok": None,
    "bad": 0,
    "good": 0,
    "recent": "",
    "result": {},
    "alert": _ALERT,
}
_NUMBERS: Final = (int, float)
_MISSING: Final = object()


class Outcome(NamedTuple):
    """What was decided: the state to save, the messages to send, the events for the history."""

    state: State
    messages: list[Message]
    events: list[Event]


class Policy(NamedTuple):
    """Who is told of a probe's alerts, and when. Times are seconds."""

    respond_within: float
    notify: list[str]
    escalate_to: list[str]
    remind_every: float


class Refused(ValueError):
    """A wish of a person (acknowledgement, maintenance) that makes no sense; the message says what would."""


class _Rules:
    """What the configuration says of one probe, defaults filled in."""

    __slots__ = ("every", "failures", "parents", "project", "severity", "spec", "successes", "window")

    def __init__(self, spec: Mapping[str, Any], interval: float, uplink: str) -> None:
        self.spec = spec
        severity = spec.get("severity")
        self.severity: str = severity if severity in _SEVERITY_RANK else "high"
        self.failures = _count(spec.get("failures"), FAILURES)
        self.successes = _count(spec.get("successes"), SUCCESSES)
        self.project: str = spec.get("project") or ""
        self.every = seconds(spec.get("every"), interval)
        window = spec.get("window")
        self.window = _window(window) if window else (0, 0)
        names = spec.get("depends_on") or ()
        self.parents = [(name, "dependency") for name in ([names] if isinstance(names, str) else names)]
        if uplink and spec.get("name") != uplink and crosses_network(spec):
            self.parents.insert(0, (uplink, "uplink"))

    def reached(self, marks: str, least: str = "1") -> bool:
        """Whether the newest results are bad often enough, at level C(least) or worse, for an alert."""
        tail = marks[-self.failures :]
        if len(tail) == self.failures and all(mark >= least for mark in tail):
            return True
        need, of = self.window
        return need > 0 and sum(mark >= least for mark in marks[-of:]) >= need

    def recovered(self, marks: str) -> bool:
        """Whether the newest results are good often enough to end an alert."""
        if not marks.endswith("0" * self.successes):
            return False
        need, of = self.window
        return not need or _bad(marks[-of:]) < need


def advance(
    state: State,
    results: Sequence[Result],
    config: Mapping[str, Any],
    now: float,
    *,
    releases: Collection[str] = (),
    missed: int = 0,
) -> Outcome:
    """Take one run's results and decide.

    C(results) are those of the probes that were due; the others keep their state, and their timers go on as long as
    their last result is recent. C(releases) are the projects whose release lock is held, C(missed) the runs that did
    not take place since the last one. C(config) is the watch's configuration, durations as seconds or as text ("26h").
    """
    run = _Run(state, config, now)
    run.observe(results, missed)
    run.find_quiet(releases)
    for name in run.in_order():
        run.decide(name)
    run.drop_unwatched()
    run.end_windows()
    return run.outcome()


def acknowledge(state: State, name: str, *, by: str, until: float, now: float, config: Mapping[str, Any]) -> Outcome:
    """Somebody works on it: until C(until), nothing is sent of this alert but its end. Raises Refused.

    A warning that becomes critical ends its acknowledgement, because that is more than what was acknowledged.
    """
    _check_person(by)
    _check_until(until, now, "an acknowledgement")
    run = _Run(state, config, now)
    if name not in run.probes:
        known = ", ".join(sorted(run.open())) or "none"
        raise Refused(f"no probe is named {name!r}; alerts that are open now: {known}")
    alert = run.entry(name)["alert"]
    if alert["state"] not in OPEN:
        known = ", ".join(sorted(run.open())) or "none"
        raise Refused(f"{name} has no open alert (it is {alert['state']}); alerts that are open now: {known}")
    alert["acked"] = {"by": by, "at": now, "until": until, "level": alert["level"]}
    alert["acks"] += 1
    item = run.item("ack", name, by=by, until=until)
    run.event("ack", name, by=by, until=until)
    if alert["told"]:
        run.say(item, alert["told"], f"ack-{alert['acks']}")
    return run.outcome()


def maintain(state: State, project: str, *, until: float, by: str, reason: str, now: float) -> Outcome:
    """Begin a maintenance of a project, or of the whole host (C(project) empty); a second one replaces the first.

    Raises Refused. Nothing is sent before its end.
    """
    _check_person(by)
    _check_until(until, now, "a maintenance")
    window = {"project": project, "from": now, "until": until, "by": by, "reason": reason}
    windows = [one for one in _windows(state) if one.get("project") != project]
    event = {
        "t": now,
        "k": "event",
        "event": "maintenance",
        "probe": "",
        "project": project,
        "severity": "",
        "reason": "",
        "message": reason,
        "since": now,
        "duration": until - now,
        "by": by,
        "until": until,
    }
    return Outcome({**state, "maintenance": [*windows, window]}, [], [event])


def end_maintenance(state: State, project: str, *, now: float) -> Outcome:
    """End a maintenance before its time; the next run sends the summary. Raises Refused where there is none."""
    windows = _windows(state)
    if not any(one.get("project") == project and one["until"] > now for one in windows):
        what = f"the project {project!r} has" if project else "the host has"
        raise Refused(f"{what} no maintenance that could be ended")
    ended = [{**one, "until": min(one["until"], now)} if one.get("project") == project else one for one in windows]
    return Outcome({**state, "maintenance": ended}, [], [])


def policy_of(spec: Mapping[str, Any], config: Mapping[str, Any]) -> Policy:
    """Who is told of this probe.

    The policy it names, or else its project's, or else the host's own (""). Where that says nothing for the severity,
    or names no channel that exists, every channel is told, after the usual times: better too many than nobody.
    """
    policies, channels = _mapping(config.get("policies")), _mapping(config.get("channels"))
    severity = str(spec.get("severity"))
    severity = severity if severity in RESPOND_WITHIN else "high"
    chosen: Mapping[str, Any] = {}
    for name in (spec.get("policy"), spec.get("project"), ""):
        if name is not None and name in policies:
            chosen = _mapping(_mapping(policies[name]).get(severity))
            break
    notify = [name for name in _names(chosen.get("notify")) if name in channels] or sorted(channels)
    escalate_to = [name for name in _names(chosen.get("escalate_to")) if name in channels] or notify
    respond = seconds(chosen.get("respond_within"), RESPOND_WITHIN[severity])
    return Policy(respond, notify, escalate_to, seconds(chosen.get("remind_every"), REMIND_EVERY))


def seconds(value: Any, default: float) -> float:
    """Read a duration: seconds, or a number with s, m, h or d. What is no duration above 0 is the default."""
    if isinstance(value, str):
        text = value.strip()
        factor = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}.get(text[-1:], 0.0)
        try:
            value = float(text[:-1]) * factor if factor else float(text)
        except ValueError:
            return default
    if not isinstance(value, _NUMBERS) or isinstance(value, bool) or not 0 < value < float("inf"):
        return default
    return float(value)


def crosses_network(spec: Mapping[str, Any]) -> bool:
    """Whether what a probe asks lies beyond the host's own network, so that a dead uplink explains its failure."""
    from ansible_collections.quai.ops.plugins.module_utils._probe_types import TYPES

    kind = TYPES.get(spec.get("type") or "http")
    if kind is None or not kind.remote or spec.get("container") or spec.get("socket"):
        return False
    address = spec.get("connect_to") or spec.get("url")
    if not address:
        host = spec.get("host") or (kind.options["host"].default if "host" in kind.options else "")
        return not _local(str(host or ""))
    rest = str(address).rpartition("://")[2]
    if str(address).startswith("unix:"):
        return False
    return not _local(rest.partition("/")[0].rpartition("@")[2])


def _local(host: str) -> bool:
    bare = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0] if host != "::1" else host
    return bare in ("localhost", "::1") or bare.startswith("127.")


class _Run:
    """One decision in the making. Entries are copied when they are first touched."""

    def __init__(self, state: State, config: Mapping[str, Any], now: float) -> None:
        self.now = now
        self.config = config
        self.state: State = dict(state) if isinstance(state, dict) else {}
        self.probes: dict[str, dict[str, Any]] = {
            str(name): _clean(entry) for name, entry in _mapping(self.state.get("probes")).items()
        }
        self.windows = _windows(self.state)
        own = _mapping(self.state.get("alerts"))
        self.own: dict[str, Any] = dict(own)
        self.releases = {
            str(name): dict(one) for name, one in _mapping(own.get("releases")).items() if _has_time(one, "since")
        }
        self.channels = {str(name): _clean_channel(one) for name, one in _mapping(own.get("channels")).items()}
        last = own.get("at")
        if _is_number(last) and now < last:
            self._turn_back(float(last))
        self.own["at"] = now
        uplink = str(config.get("uplink_probe") or "")
        self.interval = seconds(config.get("interval"), 60.0)
        specs = config.get("probes")
        self.rules = {
            spec["name"]: _Rules(spec, self.interval, uplink)
            for spec in (specs if isinstance(specs, (list, tuple)) else ())
            if isinstance(spec, Mapping) and isinstance(spec.get("name"), str)
        }
        self.quiet_projects: dict[str, str] = {}
        self.host_quiet = ""
        self.events: list[Event] = []
        self.news: list[tuple[Item, list[str], str]] = []
        self.fresh_results: set[str] = set()
        self.watched: set[str] = set()
        self.decided: set[str] = set()

    # What was seen

    def entry(self, name: str) -> dict[str, Any]:
        """The entry of a probe, made when there is none."""
        if name not in self.probes:
            self.probes[name] = _clean({})
            self.probes[name]["since"] = self.probes[name]["alert"]["since"] = self.now
        return self.probes[name]

    def observe(self, results: Sequence[Result], missed: int) -> None:
        """Write what was seen into the entries."""
        now = self.now
        for result in results:
            name = result.get("name")
            if not isinstance(name, str):
                continue
            rules = self.rules.get(name)
            if rules is None:
                # A result of a probe that the configuration does not name: what the result says of itself must do.
                rules = self.rules[name] = _Rules(result, self.interval, "")
            entry = self.entry(name)
            status = result.get("status")
            if status != "waiting" and status not in _RECENT:
                status = "unknown"
            if entry["status"] != status:
                entry["status"], entry["since"] = status, now
            entry["result"] = result
            if status == "waiting":
                continue
            self.fresh_results.add(name)
            entry["recent"] = (entry["recent"] + _RECENT[status])[-FLAP_RESULTS:]
            self._mark(entry, rules, _MARK.get(status, ""), missed)
        for name, entry in self.probes.items():
            rules = self.rules.get(name)
            # Without recent results (a project that waits for its start, a probe that is not run) nothing is decided.
            if (
                rules is not None
                and entry["status"] != "waiting"
                and now - entry["alert"]["seen"] <= (2 * rules.every + 2 * self.interval)
            ):
                self.watched.add(name)

    def _mark(self, entry: dict[str, Any], rules: _Rules, mark: str, missed: int) -> None:
        now, alert = self.now, entry["alert"]
        before, alert["seen"] = alert["seen"], now
        alert["severity"] = rules.severity
        if not mark:
            alert["unknown"] += 1
            alert["fault_key"] = alert["fault_key"] if alert["unknown"] > 1 else before or now
            return
        alert["unknown"], alert["fault"] = 0, False
        marks, is_bad = alert["marks"], mark != "0"
        was_bad = marks[-1:] not in ("", "0")
        if is_bad:
            entry["bad"], entry["good"] = entry["bad"] + 1, 0
        else:
            entry["bad"], entry["good"], entry["last_ok"] = 0, entry["good"] + 1, now
        if marks and is_bad != was_bad:
            alert["calm"] = 0.0
            alert["flips"] += alert["state"] == FLAPPING
        else:
            # Time that was not watched (the host was off, the clock jumped) is no calm.
            alert["calm"] = min(alert["calm"] + min(max(now - before, 0.0), 2 * rules.every), 2 * FLAP_CALM)
        if not is_bad and (was_bad or not marks):
            alert["good_since"] = now
        if is_bad and alert["state"] == OK and not was_bad:
            alert["key"] = before or now
        alert["marks"] = (marks + mark)[-max(FLAP_LONG, rules.window[1], rules.failures) - 1 :]
        if alert["state"] != OK or is_bad:
            self._tally(entry, is_bad, missed)

    def _tally(self, entry: dict[str, Any], is_bad: bool, missed: int) -> None:
        """Count what the end of an incident tells: runs, the lowest and the highest value."""
        alert = entry["alert"]
        if is_bad:
            alert["why"] = {key: entry["result"].get(key) or "" for key in ("reason", "message")}
        if alert["state"] == FLAPPING:
            alert["flap_runs"] += 1
            alert["flap_bad"] += is_bad
        alert["runs"] += 1
        alert["bad_runs"] += is_bad
        alert["missed"] += missed
        value = entry["result"].get("value")
        if _is_number(value):
            alert["min"] = value if alert["min"] is None else min(alert["min"], value)
            alert["max"] = value if alert["max"] is None else max(alert["max"], value)

    def _turn_back(self, last: float) -> None:
        """The clock was set back: what lies in the future now was just now, what is due keeps its remaining time."""
        now = self.now

        def past(holder: dict[str, Any], *keys: str) -> None:
            for key in keys:
                if _is_number(holder.get(key)):
                    holder[key] = min(holder[key], now)

        def due(holder: dict[str, Any], key: str) -> None:
            if _is_number(holder.get(key)) and holder[key]:
                holder[key] = now + max(holder[key] - last, 0.0)

        for entry in self.probes.values():
            alert = entry["alert"]
            past(entry, "since", "last_ok")
            past(alert, "since", "fired", "good_since", "seen", "fault_at")
            due(alert, "next")
            alert["firings"] = [min(when, now) for when in alert["firings"]]
            if alert["acked"]["until"]:
                acked = dict(alert["acked"])
                past(acked, "at")
                due(acked, "until")
                alert["acked"] = acked
        windows = [dict(one) for one in self.windows]
        for window in windows:
            past(window, "from")
            due(window, "until")
        self.windows = windows
        for one in self.releases.values():
            past(one, "since")
        for channel in self.channels.values():
            channel["sent"] = [[min(when, now), names] for when, names in channel["sent"]]
            due(channel, "held_until")

    # When to be quiet

    def find_quiet(self, releases: Collection[str]) -> None:
        """Find the projects that are in maintenance or in a release."""
        now = self.now
        for project in releases:
            self.releases.setdefault(project, {"since": now})
        self.releases = {name: one for name, one in self.releases.items() if name in releases}
        for project, one in self.releases.items():
            if now - one["since"] < RELEASE_AT_MOST:
                self.quiet_projects[project] = "release"
        for window in self.windows:
            if window["until"] > now:
                self.quiet_projects[str(window.get("project") or "")] = "maintenance"
                if not window.get("project"):
                    self.host_quiet = "maintenance"

    def quiet(self, project: str) -> str:
        """What keeps a project quiet, if anything."""
        return self.host_quiet or self.quiet_projects.get(project, "")

    def in_order(self) -> list[str]:
        """All watched probes, what others depend on first."""
        order: dict[str, bool] = {}

        def visit(name: str, above: tuple[str, ...]) -> None:
            if name in order or name in above:  # a circle is refused elsewhere; here it must only not go on for ever
                return
            for parent, label in self.rules[name].parents:
                if parent in self.watched and label:
                    visit(parent, (*above, name))
            order[name] = True

        for name in self.rules:
            if name in self.watched:
                if self.rules[name].parents:
                    visit(name, ())
                else:
                    order[name] = True
        return list(order)

    def _gate(self, rules: _Rules, alert: dict[str, Any]) -> tuple[str, str, bool]:
        """What suppresses an alert, by whom, and whether that is not certain yet (something above is pending)."""
        recent = alert["marks"][-5:]
        if not rules.parents or not recent.strip("0"):
            return "", "", False
        level = max(recent)
        waiting = ("", "", False)
        for name, label in rules.parents:
            if name not in self.decided:  # not watched, or (in a circle) not decided yet
                continue
            above, its = self.probes[name]["alert"], self.rules[name]
            # Something that only warns does not explain why another thing is down.
            if max(above["marks"][-max(5, its.successes + 1) :], default="0") < level:
                continue
            root = above["by"] if above["suppressed"] in ("dependency", "uplink") else name
            if above["state"] in OPEN:
                return label, root, False
            if above["state"] == PENDING and above["marks"][-1:] >= level and above["pending"] <= its.failures:
                waiting = (label, root, True)
        return waiting

    # What to decide

    def decide(self, name: str) -> None:
        """Open, change or close the alert of one probe, and say so where that is wanted."""
        alert, rules = self.probes[name]["alert"], self.rules[name]
        self.decided.add(name)
        if alert["state"] == OK and not alert["quiet"] and not alert["unknown"] and not alert["owed"]:
            quiet = self.quiet(rules.project)
            if not quiet and alert["marks"][-1:] == "0" and not flaps(alert["marks"]):
                alert["suppressed"] = alert["by"] = ""
                return  # nearly always
        else:
            quiet = self.quiet(rules.project)
        self._change(name, alert, rules, quiet)

    def _change(self, name: str, alert: dict[str, Any], rules: _Rules, quiet: str) -> None:
        was_suppressed = alert["suppressed"]
        happened = {"quiet_ended"} if alert["quiet"] and not quiet else set()
        gate, by, perhaps = (quiet, "", False) if quiet else self._gate(rules, alert)
        if perhaps and alert["notified"]:
            gate = by = ""  # what may be above it holds back a first message, not the later ones
        alert["suppressed"], alert["by"], alert["quiet"] = gate, by, quiet
        if gate and not perhaps and alert["state"] != FLAPPING:
            alert["marks"] = _last_series(alert["marks"])  # what something else explains is no flapping
        self._own_fault(name, alert, quiet)
        if self._expire(name, alert):
            happened.add("expired")
        if self._transition(name, alert, rules):
            happened.add("flapping")
        if alert["owed"] and not quiet and alert["state"] == OK:
            self._pay(alert)
        if alert["state"] not in OPEN:
            return
        if gate:
            if gate in ("dependency", "uplink") and not perhaps:
                alert["wait"] = rules.failures
            return
        policy = policy_of(rules.spec, self.config)
        if not self._is_acked(alert, policy):
            if was_suppressed and alert["notified"] and alert["next"] <= self.now:
                alert["next"] = self.now + policy.respond_within
            if alert["notified"]:
                self._follow_up(name, alert, policy, happened)
            else:
                self._first_message(name, alert, policy, happened)

    def _is_acked(self, alert: dict[str, Any], policy: Policy) -> bool:
        """Whether somebody works on it, knowing how bad it is."""
        if alert["acked"].get("level") == "warning" and alert["level"] == "critical":
            alert["acked"] = _NOT_ACKED
            self._put_off(alert, policy)
        return bool(alert["acked"]["until"])

    def _first_message(self, name: str, alert: dict[str, Any], policy: Policy, happened: set[str]) -> None:
        """Tell of an incident, unless it may yet recover together with what it depends on."""
        is_bad = alert["marks"][-1:] not in ("", "0")
        if "quiet_ended" in happened:
            alert["wait"] = 0
        elif alert["wait"] and is_bad and name in self.fresh_results:
            alert["wait"] -= 1
        if alert["wait"] or not (is_bad or "flapping" in happened):
            return
        now = self.now
        alert["fired"], alert["next"] = now, now + policy.respond_within
        alert["firings"] = [*[when for when in alert["firings"] if now - when < HOUR][1 - FLAP_FIRINGS :], now]
        if alert["state"] == FIRING and len(alert["firings"]) >= FLAP_FIRINGS:
            self._flap(name, alert)
        kind = "flapping" if alert["state"] == FLAPPING else "firing"
        kind = "maintenance_end" if "quiet_ended" in happened else kind
        self._tell(kind, name, policy.notify, "firing")

    def _follow_up(self, name: str, alert: dict[str, Any], policy: Policy, happened: set[str]) -> None:
        """Tell what is new of an incident that was told: one message in one run, the most important."""
        is_bad = alert["marks"][-1:] not in ("", "0")
        if "expired" in happened:
            self._put_off(alert, policy)
        if "quiet_ended" in happened and is_bad:
            self._tell("maintenance_end", name, alert["told"], f"maintenance_end-{alert['notified']}")
        elif "flapping" in happened:
            self._tell("flapping", name, alert["told"], f"flapping-{alert['notified']}")
        elif "expired" in happened and is_bad:
            self._tell("ack_expired", name, alert["told"], f"ack_expired-{alert['acks']}")
        elif self.now >= alert["next"] and (is_bad or alert["state"] == FLAPPING):
            self._escalate(name, alert, policy)
        elif alert["level"] == "critical" and alert["told_level"] == "warning":
            self.event("worse", name)
            self._tell("worse", name, [*alert["told"], *policy.notify], "worse")

    def _transition(self, name: str, alert: dict[str, Any], rules: _Rules) -> bool:
        """Move on to the state that the results ask for. Returns whether it began to flap."""
        marks, state = alert["marks"], alert["state"]
        is_bad = marks[-1:] not in ("", "0")
        if state == FLAPPING:
            if alert["calm"] >= FLAP_CALM and changes(marks) < FLAP_BELOW:
                self._steady(name, alert, is_bad)
            return False
        if flaps(marks):
            if state not in OPEN:
                self._open(alert, "2" if "2" in marks[-FLAP_RESULTS:] else "1")
                alert["since"] = self.now
            self._flap(name, alert)
            return True
        if state in OPEN:
            if rules.recovered(marks):
                self._close(name, alert, "resolved")
            elif alert["level"] == "warning" and rules.reached(marks, "2"):
                alert["level"] = "critical"
            return False
        if is_bad:
            if state == OK:
                alert["state"], alert["since"], alert["pending"] = PENDING, self.now, 0
            if name in self.fresh_results:
                alert["pending"] += 1
            if rules.reached(marks):
                self._open(alert, marks[-1])
                self.event("firing", name)
        elif state == PENDING and not _bad(marks[-rules.window[1] :] if rules.window[1] else marks[-1:]):
            self._reset(alert)
        return False

    def _open(self, alert: dict[str, Any], mark: str) -> None:
        alert["state"], alert["level"] = FIRING, _LEVEL[mark]
        alert["incident"] = f"{alert['key']:.0f}.{alert['count']}"

    def _flap(self, name: str, alert: dict[str, Any]) -> None:
        alert["state"] = FLAPPING
        alert["flips"] = sum(1 for one, two in _pairs(alert["marks"]) if (one == "0") != (two == "0"))
        alert["flap_runs"], alert["flap_bad"] = len(alert["marks"]), _bad(alert["marks"])
        alert["calm"] = 0.0
        self.event("flapping", name)

    def _escalate(self, name: str, alert: dict[str, Any], policy: Policy) -> None:
        """Tell further people, then remind them at ever longer intervals."""
        kind = "reminder" if alert["step"] else "escalated"
        alert["step"] += 1
        if alert["state"] == FIRING:
            alert["state"] = ESCALATED
        self._put_off(alert, policy)
        self.event(kind, name)
        self._tell(kind, name, policy.escalate_to, f"{kind}-{alert['step']}")

    def _put_off(self, alert: dict[str, Any], policy: Policy) -> None:
        """Find the next time that is due: the age doubles, at most C(remind_every) later, and never in the past."""
        now = self.now
        if not alert["step"]:
            alert["next"] = now + policy.respond_within
            return
        most = max(policy.remind_every, policy.respond_within)
        age = max(alert["next"] - alert["fired"], policy.respond_within)
        age += min(age, most)
        # After time that nobody watched, what was due meanwhile is one message, and the next does not follow at once.
        if alert["fired"] + age - now < policy.respond_within / 2:
            age = now - alert["fired"]
            age += min(age, most)
        alert["next"] = alert["fired"] + age

    def _steady(self, name: str, alert: dict[str, Any], is_bad: bool) -> None:
        """It has not changed for a while: it is down, or it is well."""
        if not is_bad:
            self._close(name, alert, "steady")
            return
        alert["state"] = ESCALATED if alert["step"] else FIRING
        alert["marks"] = _last_series(alert["marks"])
        self.event("steady", name, flips=alert["flips"], duty=_duty(alert))
        if alert["told"] and not alert["suppressed"] and not alert["acked"]["until"]:
            self._tell("steady", name, alert["told"], f"steady-{alert['notified']}")

    def _close(self, name: str, alert: dict[str, Any], kind: str, cause: str = "") -> None:
        """End an incident. Whoever was told of it hears of its end."""
        ended = max(self.now if cause else min(alert["good_since"], self.now), alert["since"])
        extra = {"duration": ended - alert["since"], "ended": ended, "cause": cause}
        if kind == "steady":
            extra.update(flips=alert["flips"], duty=_duty(alert))
        self.event(kind, name, **extra)
        if alert["told"]:
            item = self.item(kind, name, **extra)
            if alert["quiet"]:
                alert["owed"] = {"item": item, "told": alert["told"], "incident": alert["incident"]}
            else:
                alert["owed"] = {}
                self.say(item, alert["told"], "resolved")
        if alert["state"] == FLAPPING:
            alert["marks"] = _last_series(alert["marks"])
        alert["count"] += 1
        self._reset(alert)

    def _reset(self, alert: dict[str, Any]) -> None:
        alert.update(_INCIDENT)
        alert["state"], alert["since"], alert["pending"] = OK, self.now, 0

    def _pay(self, alert: dict[str, Any]) -> None:
        """Tell a recovery that fell into a maintenance or a release."""
        owed, alert["owed"] = alert["owed"], {}
        self.news.append((owed["item"], _names(owed["told"]), f"{owed.get('incident')}:resolved"))

    def _expire(self, name: str, alert: dict[str, Any]) -> bool:
        until = alert["acked"]["until"]
        if not until or until > self.now:
            return False
        self.event("ack_expired", name, by=alert["acked"]["by"])
        alert["acked"] = _NOT_ACKED
        return True

    def _own_fault(self, name: str, alert: dict[str, Any], quiet: str) -> None:
        """The watch itself cannot ask: that is told once, to those who look after the watch."""
        if alert["unknown"] < UNKNOWN_RUNS or alert["fault"] or quiet:
            return
        if alert["fault_at"] and self.now - alert["fault_at"] < FAULT_AGAIN:
            return  # if it lasts until then, it is told then
        alert["fault"], alert["fault_at"] = True, self.now
        self.event("own_fault", name)
        channels = _mapping(self.config.get("channels"))
        told = [one for one in _names(self.config.get("own_fault_channels")) if one in channels] or sorted(channels)
        tag = f"{alert['fault_key']:.0f}:own_fault"
        self.news.append((self.item("own_fault", name), told, tag))

    def drop_unwatched(self) -> None:
        """Forget probes that the configuration no longer has; what they left open is closed."""
        for name in [name for name in self.probes if name not in self.rules]:
            entry = self.probes[name]
            alert = entry["alert"]
            if self.quiet(str(entry["result"].get("project") or "")):
                continue  # its end is told after the maintenance
            alert["quiet"] = ""
            if alert["state"] in OPEN:
                self._close(name, alert, "resolved", "unwatched")
            if alert["owed"]:
                self._pay(alert)
            del self.probes[name]

    def end_windows(self) -> None:
        """Forget maintenances that are over."""
        for window in self.windows:
            if window["until"] <= self.now:
                begun = window.get("from")
                since = begun if _is_number(begun) else window["until"]
                event = {"t": self.now, "k": "event", "event": "maintenance_end", "probe": "", "severity": ""}
                event.update(project=window.get("project") or "", by=window.get("by") or "", reason="")
                event.update(message=window.get("reason") or "", since=since, duration=max(self.now - since, 0.0))
                self.events.append(event)
        self.windows = [window for window in self.windows if window["until"] > self.now]

    # What to say

    def item(self, kind: str, name: str, **extra: Any) -> Item:
        """One piece of news, with all that a message may want to say of it."""
        entry, rules = self.probes[name], self.rules.get(name)
        alert, result = entry["alert"], entry["result"]
        spec: Mapping[str, Any] = rules.spec if rules else {}
        item: Item = {
            "kind": kind,
            "name": name,
            "project": (rules.project if rules else result.get("project")) or "",
            "severity": alert["severity"],
            "level": alert["level"],
            "state": alert["state"],
            "incident": alert["incident"],
            "status": entry["status"],
            "since": alert["since"],
            "last_ok": entry["last_ok"],
            **{key: result.get(key) for key in ("reason", "message", "value", "unit", "warn", "crit", "ip", "type")},
            "min": alert["min"],
            "max": alert["max"],
            "runs": alert["runs"],
            "bad_runs": alert["bad_runs"],
            "missed": alert["missed"],
            "next": alert["next"] or None,
            "next_to": [],
            "behind": [],
            "hint": spec.get("hint") or "",
            "runbook": spec.get("runbook") or "",
            "log": [str(line) for line in (result.get("log") or ())][-5:],
        }
        if alert["marks"][-1:] == "0" and alert["why"] and kind != "own_fault":
            item.update(alert["why"])  # it is well at this moment; what is told is what was wrong
        if kind == "flapping" or alert["state"] == FLAPPING:
            item.update(flips=alert["flips"], duty=_duty(alert))
        if alert["next"] and rules:
            policy = policy_of(spec, self.config)
            item["next_to"] = policy.escalate_to
        item.update(extra)
        return item

    def event(self, event: str, name: str, **extra: Any) -> None:
        """Note something for the history."""
        entry = self.probes[name]
        alert, result = entry["alert"], entry["result"]
        why = alert["why"] if alert["why"] and event != "own_fault" else result
        line: Event = {
            "t": self.now,
            "k": "event",
            "event": event,
            "probe": name,
            "severity": alert["severity"],
            "level": alert["level"],
            **{key: why.get(key) or "" for key in ("reason", "message")},
            "since": alert["since"],
            "duration": max(self.now - alert["since"], 0.0),
            "suppressed": alert["suppressed"],
            "project": result.get("project") or "",
        }
        line.update(extra)
        self.events.append(line)

    def _tell(self, kind: str, name: str, channels: Iterable[str], tag: str) -> None:
        """Put news of an open incident into the messages of this run."""
        alert = self.probes[name]["alert"]
        channels = list(dict.fromkeys(channels))
        alert["notified"] += 1
        alert["told"] = [*alert["told"], *(channel for channel in channels if channel not in alert["told"])]
        alert["told_level"] = alert["level"]
        self.say(self.item(kind, name), channels, tag)

    def say(self, item: Item, channels: Iterable[str], tag: str) -> None:
        """Put news into the messages of this run. C(tag) tells apart what is said of one incident."""
        incident = self.probes[item["name"]]["alert"]["incident"]
        self.news.append((item, list(channels), f"{incident}:{tag}"))

    def open(self) -> list[str]:
        """Names of the probes that have an open alert."""
        return [name for name, entry in self.probes.items() if entry["alert"]["state"] in OPEN]

    def outcome(self) -> Outcome:
        """Group the news into one message per channel, within each channel's budget."""
        messages = self._messages() if self.news or self.channels else []
        self.own["releases"] = self.releases
        self.own["channels"] = self.channels
        state = {**self.state, "version": 1, "probes": self.probes, "maintenance": self.windows, "alerts": self.own}
        return Outcome(state, messages, self.events)

    def _messages(self) -> list[Message]:
        behind: dict[str, list[str]] = {}
        for name, entry in self.probes.items():
            alert = entry["alert"]
            if alert["by"] and alert["marks"][-1:] not in ("", "0"):
                behind.setdefault(alert["by"], []).append(name)
        by_channel: dict[str, list[tuple[Item, str]]] = {}
        for item, channels, tag in self.news:
            if item["kind"] not in ("resolved", "own_fault"):
                item["behind"] = sorted(behind.get(item["name"], ()))
            for channel in channels:
                by_channel.setdefault(channel, []).append((item, tag))
        for channel, one in list(self.channels.items()):
            one["sent"] = [sent for sent in one["sent"] if self.now - sent[0] < HOUR]
            if not one["sent"] and not one["held"]:
                del self.channels[channel]
            elif one["held"] and self.now >= one["held_until"]:
                by_channel.setdefault(channel, [])
        return [
            message for channel in sorted(by_channel) for message in self._within_budget(channel, by_channel[channel])
        ]

    def _within_budget(self, channel: str, news: list[tuple[Item, str]]) -> list[Message]:
        """Most of the time one message. In a flood, one digest that names the loudest, then silence for a while."""
        now = self.now
        most = int(seconds(self.config.get("messages_per_hour"), MESSAGES_PER_HOUR))
        book = self.channels.setdefault(channel, _clean_channel({}))
        held, sent = book["held"], book["sent"]
        if now < book["held_until"]:
            # The worst news still gets through a flood, within bounds of its own.
            urgent = any(_is_urgent(item) for item, _tag in news)
            if not urgent or len(sent) >= 2 * most:
                for item, _tag in news:
                    held[item["name"]] = held.get(item["name"], 0) + 1
                return []
            digest: dict[str, Any] | None = None
        elif held or len(sent) >= most - 1:
            loud = dict(held)
            for _when, names in sent:
                for name in names:
                    loud[name] = loud.get(name, 0) + 1
            digest = {
                "sent": len(sent),
                "held": sum(held.values()),
                "loudest": sorted(loud.items(), key=lambda one: (-one[1], one[0]))[:5],
                "until": 0,
            }
            if len(sent) >= most - 1:
                digest["until"] = book["held_until"] = max(sent[0][0] + HOUR if sent else now + HOUR, now + HOUR / 4)
            book["held"] = {}
        else:
            digest = None
        names = sorted({item["name"] for item, _tag in news})
        sent.append([now, names[:20]])
        return [self._compose(channel, news, digest)]

    def _compose(self, channel: str, news: list[tuple[Item, str]], digest: dict[str, Any] | None) -> Message:
        from hashlib import sha256

        from ansible_collections.quai.ops.plugins.module_utils._monitor_messages import compose

        items = [item for item, _tag in sorted(news, key=lambda one: _order(one[0]))]
        said = {item["name"] for item in items if item["kind"] not in ("resolved", "own_fault")}
        still = [
            {"name": name, "level": entry["alert"]["level"], "since": entry["alert"]["since"]}
            for name, entry in sorted(self.probes.items())
            if entry["alert"]["state"] in OPEN and name not in said and self._concerns(channel, name, entry)
        ]
        kind = "digest" if digest else items[0]["kind"]
        parts = [channel, *sorted(f"{item['name']} {tag}" for item, tag in news)]
        if digest:
            first = self.channels[channel]["sent"][0][0]
            parts.append(f"digest {first:.0f} {digest['sent']} {digest['held']}")
        subject, body, data = compose(kind, channel, items, self.config, self.now, still=still, digest=digest)
        severities = [str(item["severity"]) for item in items] or ["low"]
        return {
            "id": sha256("\n".join([str(self.config.get("host") or ""), *parts]).encode()).hexdigest()[:32],
            "kind": kind,
            "channel": channel,
            "severity": max(severities, key=_SEVERITY_RANK.__getitem__),
            "level": max((str(item["level"]) for item in items), key=_LEVELS.index, default=""),
            "subject": subject,
            "body": body,
            "at": self.now,
            "probes": list(dict.fromkeys(item["name"] for item in items)),
            "data": data,
        }

    def _concerns(self, channel: str, name: str, entry: dict[str, Any]) -> bool:
        rules = self.rules.get(name)
        return channel in entry["alert"]["told"] or (
            rules is not None and channel in policy_of(rules.spec, self.config).notify
        )


def changes(marks: str) -> float:
    """The share of changes between good and bad in the last 20 results, newer ones weighing more, in %."""
    total, weight = 0.0, 1.18
    tail = marks[-FLAP_RESULTS - 1 :]
    for index in range(len(tail) - 1, 0, -1):
        if (tail[index] == "0") != (tail[index - 1] == "0"):
            total += weight
        weight -= 0.02
    return 100.0 * total / FLAP_RESULTS


def flaps(marks: str) -> bool:
    """Whether results change so often that each of them says little."""
    if len(marks) - marks.count("0") < FLAP_BAD:
        return False
    if _bad(marks[-FLAP_RESULTS:]) >= FLAP_BAD and changes(marks) > FLAP_ABOVE:
        return True
    tail = marks[-FLAP_LONG:]
    if _bad(tail) < FLAP_LONG_BAD:
        return False
    return sum(1 for one, two in _pairs(tail) if (one == "0") != (two == "0")) >= FLAP_LONG_CHANGES


def _last_series(marks: str) -> str:
    """The newest results that are alike, good or bad."""
    return marks[len(marks.rstrip("0")) :] if marks.endswith("0") else marks[marks.rfind("0") + 1 :]


def _pairs(marks: str) -> Iterable[tuple[str, str]]:
    return zip(marks, marks[1:])


def _bad(marks: str) -> int:
    return len(marks) - marks.count("0")


def _duty(alert: Mapping[str, Any]) -> float | None:
    """Share of bad results while it flapped, in %."""
    return round(100.0 * alert["flap_bad"] / alert["flap_runs"], 1) if alert["flap_runs"] else None


def _order(item: Item) -> tuple[int, int, int, str]:
    level = 0 if item["level"] == "critical" else 1
    return _KIND_RANK[item["kind"]], level, -_SEVERITY_RANK[item["severity"]], item["name"]


def _is_urgent(item: Item) -> bool:
    news = item["kind"] in ("firing", "worse", "escalated", "flapping", "maintenance_end")
    return news and item["severity"] == "critical" and item["level"] == "critical"


def _count(value: Any, default: int) -> int:
    return value if isinstance(value, int) and value > 0 else default


def _window(text: Any) -> tuple[int, int]:
    need, slash, of = str(text).partition("/")
    if slash and need.strip().isdigit() and of.strip().isdigit() and 0 < int(need) <= int(of):
        return int(need), int(of)
    return 0, 0


def _names(value: Any) -> list[str]:
    return (
        [value] if isinstance(value, str) else [str(one) for one in value] if isinstance(value, (list, tuple)) else []
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, _NUMBERS) and not isinstance(value, bool) and value - value == 0  # finite


def _has_time(value: Any, key: str) -> bool:
    return isinstance(value, Mapping) and _is_number(value.get(key))


def _windows(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    windows = state.get("maintenance")
    return [one for one in windows if _has_time(one, "until")] if isinstance(windows, list) else []


def _clean(entry: Any) -> dict[str, Any]:
    """Copy an entry; what is missing or of another kind than it should be is as in a new one."""
    clean = _fitting(entry, _ENTRY)
    alert = clean["alert"] = _fitting(clean["alert"], _ALERT)
    if alert["state"] not in STATES:
        alert["state"] = OK
    if alert["marks"].strip("012"):
        alert["marks"] = ""
    if not (_has_time(alert["acked"], "until") and _has_time(alert["acked"], "at") and "by" in alert["acked"]):
        alert["acked"] = _NOT_ACKED
    if alert["severity"] not in _SEVERITY_RANK:
        alert["severity"] = "high"
    if alert["level"] not in _LEVELS or (alert["state"] in OPEN and not alert["level"]):
        alert["level"] = "critical" if alert["state"] in OPEN else ""
    if alert["owed"] and not _is_owed(alert["owed"]):
        alert["owed"] = {}
    alert["why"] = {key: text for key, text in alert["why"].items() if key in ("reason", "message")}
    alert["firings"] = [when for when in alert["firings"] if _is_number(when)]
    alert["told"] = [channel for channel in alert["told"] if isinstance(channel, str)]
    return clean


def _is_owed(owed: Mapping[str, Any]) -> bool:
    item = owed.get("item")
    return (
        isinstance(item, dict)
        and item.get("kind") in _KIND_RANK
        and item.get("severity") in _SEVERITY_RANK
        and item.get("level") in _LEVELS
        and isinstance(item.get("name"), str)
        and all(_is_number(item.get(key)) for key in ("since", "ended", "duration"))
        and isinstance(owed.get("told"), list)
    )


def _fitting(value: Any, template: Mapping[str, Any]) -> dict[str, Any]:
    clean = dict(value) if isinstance(value, dict) else {}
    for key, default in template.items():
        have = clean.get(key, _MISSING)
        kind = type(default)
        same = isinstance(have, kind) and isinstance(have, bool) == isinstance(default, bool)
        if same or (_is_number(have) and (default is None or kind in _NUMBERS)):
            continue
        clean[key] = default
    return clean


def _clean_channel(value: Any) -> dict[str, Any]:
    one = _fitting(value, {"sent": [], "held": {}, "held_until": 0})
    one["sent"] = [[sent[0], _names(sent[1])] for sent in one["sent"] if _is_sent(sent)]
    one["held"] = {str(name): count for name, count in one["held"].items() if isinstance(count, int)}
    return one


def _is_sent(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and _is_number(value[0])


def _check_person(by: str) -> None:
    if not by.strip():
        raise Refused("nobody is named; say who it is with --by NAME")


def _check_until(until: float, now: float, what: str) -> None:
    if until <= now:
        raise Refused(f"{what} must end in the future, and {until - now:.0f} s from now does not; give --for 4h")
    if until - now > QUIET_AT_MOST:
        days = (until - now) / 86400
        raise Refused(f"{what} lasts at most {QUIET_AT_MOST / 86400:.0f} days, and {days:.1f} days were asked for")


__all__ = [
    "KINDS",
    "OPEN",
    "RESPOND_WITHIN",
    "SEVERITIES",
    "STATES",
    "Event",
    "Message",
    "Outcome",
    "Policy",
    "Refused",
    "acknowledge",
    "advance",
    "changes",
    "crosses_network",
    "end_maintenance",
    "flaps",
    "maintain",
    "policy_of",
    "seconds",
]
