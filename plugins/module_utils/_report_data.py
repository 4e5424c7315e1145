# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the morning page says of one host: C(report.json), made from the watch's configuration, state and history.

Pure: the time, the lines and the facts of the host are given. C(build) returns this document, version 1. Times are
seconds since 1970 unless they are said to be RFC 3339; what is unknown is null, never 0; an empty text says nothing::

    version     1
    host        name of the host
    made        when this document was made
    run         when the watch last ran; null when it never did
    run_at      the same, RFC 3339, for C(json_age_s.run_at) of those who watch this host; "" when it never ran
    interval    seconds between two runs
    languages   of the page, the first is the reader's; timezone and url (where the host's own page is) as well
    facts       of the host, as C(_report_host.collect) returns them, without releases
    strip_end   when the strips end
    strip, p50, p95, line, up_24h, up_30d
                as of a probe, of the whole host: the worst of its probes, the latency of its web probes
    projects    list of {name, title, waiting, version, live_since, released_at, released_by, releasing, contacts,
                maintenance: {until, by, reason} or null, own: whether it is the host itself}
    probes      list of {name, project, type, section, severity, status, title (what a good answer means), since,
                last_ok, checked, reason, message, value, unit, limit (the conditions that were asked), hint (when it is
                not good), alert: {state, since, acked_by, acked_until, next, told, suppressed, by, low, high} or null,
                details: numbers and texts of its type, strip, p50, p95 (ms, 24 h), line or null, up_24h, up_30d (% of
                runs that were good), peak (largest value of 24 h, machine only), days (values of the last 30 days,
                oldest first, disks only)}
    expected    list of {section, project, name}: what is declared, and that no probe looks at
    incidents   of the last 24 h, newest first, at most 40: list of {name, from, to or null, reason, severity, message}
    counts      of the last 24 h: {incidents, restarts, flapping, escalated, own_faults, delivery_failed, ack_expired,
                overruns, guards}, and suppressed: alerts that are held back now
    monitor     {duration, probes, overruns, undelivered, oldest_undelivered, guards: [names], damaged, faults: [texts]}

C(status) is ok, degraded, warning, critical, unknown, waiting (its project is not released) or no_data (it never
answered, or not for too long). C(section) is hosts, tls, backups, disks, machine or queues.

A strip is 288 slots of five minutes, oldest first, run-length encoded: C(270o3c15n); o ok, w degraded or warning, c
critical, u unknown, n no data. A line is {top, p50, p95}: 96 slots of 15 minutes, one character each of DIGITS
for the share of C(top) ms, C(-) for no data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Union

Report = dict[str, Any]
Data = dict[str, Any]

VERSION: Final = 1
BUCKET: Final = 300
SLOTS: Final = 288
POINTS: Final = 96
DAY: Final = 86400
DAYS: Final = 30
DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
NO_POINT: Final = "-"
LETTERS: Final = "owcu"  # of the worst level of a bucket: 0 ok, 1 degraded or warning, 2 critical, 3 unknown
WORST: Final = "nowuc"  # from least to most: which of several probes speaks for the host
STATUSES: Final = ("ok", "degraded", "warning", "critical", "unknown", "waiting", "no_data")
HOST: Final = "host"  # project of what belongs to the host itself
SECTIONS: Final = {
    "tls": "tls",
    "backup": "backups",
    "drill": "backups",
    "disk": "disks",
    "size": "disks",
    "memory": "machine",
    "cpu": "machine",
    "load": "machine",
    "queue": "queues",
    "heartbeat": "queues",
}
# Details of each type that the page shows; nothing else leaves the host, so that no secret can.
DETAILS: Final = {
    "tls": ("chain_days",),
    "http": ("chain_days",),
    "smtp": ("chain_days",),
    "backup": ("bytes", "change_pct", "count"),
    "disk": ("path", "full_in_days", "inodes_used_pct", "free_bytes", "read_only"),
    "size": ("path", "bytes", "files"),
    "memory": ("available_bytes", "swap_used_pct", "oom_kills"),
    "cpu": ("iowait_pct", "steal_pct"),
    "load": ("per_cpu",),
    "queue": ("oldest_s", "active", "delayed", "failed", "workers", "paused", "stuck"),
    "containers": ("version", "started_at", "restarts_day"),
    "docker": ("version", "started_at", "restarts_day"),
    "systemd": ("restarts_day",),
    "pm2": ("version", "started_at", "restarts_day"),
}
MOST_INCIDENTS: Final = 40
MOST_TEXT: Final = 200
# An answer is current for this many of the probe's intervals.
FRESH: Final = 3
_COUNTED: Final = {
    "firing": "incidents",
    "restart": "restarts",
    "flapping": "flapping",
    "escalated": "escalated",
    "own_fault": "own_faults",
    "delivery_failed": "delivery_failed",
    "ack_expired": "ack_expired",
    "overrun": "overruns",
    "guard_open": "guards",
}
_OPENS: Final = ("firing",)
_CLOSES: Final = ("resolved",)

Line = Union[str, bytes, Mapping[str, Any]]


class History(NamedTuple):
    """What the lines of the history hold: buckets of the last 24 h, events of the last 24 h, sums of each day."""

    buckets: list[tuple[int, Data]]  # slot 0 to 287, then {probe: [worst, runs, bad, [ms], value]}
    events: list[Data]
    days: dict[int, dict[str, list[Any]]]  # day since 1970 to {probe: [runs, bad, last value, largest value]}
    damaged: int
    end: int  # of the last slot, s since 1970


def build(
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    history_lines: Iterable[Line],
    now: float,
    host_facts: Mapping[str, Any],
) -> Report:
    """Return the content of C(report.json), as the module says.

    C(history_lines) are lines of the watch's history (texts or decoded), in any order, and lines C({"k": "day", "t",
    "p"}) as C(day_line) makes them, which stand for all buckets of their day.
    """
    run = state.get("run") or {}
    bucket = state.get("bucket") or {}
    pending: list[Line] = [{"t": bucket["t"], "k": "bucket", "p": bucket["p"]}] if bucket.get("p") else []
    history = read_lines([*history_lines, *pending], now)
    interval = float(config.get("interval") or 60)
    ran = float(run.get("at") or 0) or None
    projects = _projects(config, state, host_facts, now)
    waiting = {project["name"] for project in projects if project["waiting"]}
    slots = _by_probe(history.buckets)
    probes = [
        _probe(
            spec,
            state,
            slots.get(spec["name"], {}),
            history.days,
            interval=interval,
            now=now,
            waiting=spec.get("project", "") in waiting,
        )
        for spec in config.get("probes") or []
    ]
    _versions(projects, probes, config)
    web = [slots[probe["name"]] for probe in probes if probe["type"] == "http" and probe["name"] in slots]
    counts, incidents = _incidents(history.events, state, probes)
    counts["suppressed"] = sum(1 for probe in probes if (probe["alert"] or {}).get("suppressed"))
    sums = [sum(column) for column in zip(*(_runs(slot) for slot in slots.values()))] or [0, 0]
    month = [0, 0]
    for day in history.days.values():
        for entry in day.values():
            month = [month[0] + entry[0], month[1] + entry[1]]
    outgoing = state.get("outgoing") or []
    report = config.get("report") or {}
    return {
        "version": VERSION,
        "host": str(config.get("host") or ""),
        "made": round(now),
        "run": None if ran is None else round(ran),
        "run_at": "" if ran is None else rfc3339(ran),
        "interval": interval,
        "languages": [str(one) for one in config.get("languages") or ["fr", "en"]],
        "timezone": str(config.get("timezone") or "UTC"),
        "url": str(report.get("url") or ""),
        "facts": {key: value for key, value in host_facts.items() if key != "releases"},
        "strip_end": history.end,
        "strip": _worst_strip(slots.values()),
        **_latency(web),
        "up_24h": _share(*sums),
        "up_30d": _share(*month),
        "projects": projects,
        "probes": probes,
        "expected": _expected(config, probes),
        "incidents": incidents,
        "counts": counts,
        "monitor": {
            "duration": run.get("duration"),
            "probes": run.get("probes"),
            "overruns": run.get("overruns"),
            "undelivered": _number(run.get("undelivered"), len(outgoing)),
            "oldest_undelivered": min((one["at"] for one in outgoing if one.get("at")), default=None),
            "guards": sorted(
                name for name, guard in (state.get("guards") or {}).items() if (guard or {}).get("open_since")
            ),
            "damaged": history.damaged,
            "faults": [_short(str(text)) for text in (state.get("faults") or {}).values()][:10],
        },
    }


# ---- history ----------------------------------------------------------------------------------------------------


def read_lines(lines: Iterable[Line], now: float) -> History:
    """Sort the lines of the history into what the page needs of them; damaged ones are counted, not believed."""
    found: list[tuple[int, Data]] = []
    events: list[Data] = []
    days: dict[int, dict[str, list[Any]]] = {}
    whole: dict[int, dict[str, list[Any]]] = {}
    damaged = 0
    for line in lines:
        try:
            entry = json.loads(line) if isinstance(line, (str, bytes)) else line
            kind, t = entry["k"], int(entry["t"])
            if t > now:
                continue  # written before the clock was set back
            if kind == "event":
                if t >= now - DAY:
                    events.append(dict(entry))
            elif kind == "day":
                whole[t // DAY] = {name: list(sums) for name, sums in entry["p"].items()}
            elif kind == "bucket":
                counts = {name: list(count) for name, count in entry["p"].items() if len(count) == 5}
                _add(days.setdefault(t // DAY, {}), counts)
                if t > now - DAY - 2 * BUCKET:
                    found.append((t, counts))
        except (ValueError, TypeError, KeyError, AttributeError):
            damaged += 1
    last = strip_end([t for t, _counts in found], now)
    start = last - (SLOTS - 1) * BUCKET
    buckets = [((t - start) // BUCKET, counts) for t, counts in found if start <= t <= last]
    first = int(now) // DAY - DAYS + 1
    merged = {day: sums for day, sums in {**days, **whole}.items() if day >= first}
    return History(buckets, sorted(events, key=lambda event: event["t"]), merged, damaged, last + BUCKET)


def strip_end(times: Iterable[int], now: float) -> int:
    """Return the start of the last slot of a strip: the present bucket, or the one before while it is still empty."""
    present = int(now) // BUCKET * BUCKET
    return present if present in times else present - BUCKET


def day_line(day: int, lines: Iterable[Line]) -> Data:
    """Return the one line that stands for all buckets of a C(day), counted from 1970.

    Of each probe it has the runs, the bad ones, the last value and the largest one.
    """
    history = read_lines(lines, (day + 1) * DAY - 1)
    return {"t": day * DAY, "k": "day", "p": history.days.get(day, {})}


def _add(sums: dict[str, list[Any]], counts: Mapping[str, Sequence[Any]]) -> None:
    for name, (level, runs, bad, _ms, value) in counts.items():
        entry = sums.setdefault(name, [0, 0, None, None])
        entry[0] += runs
        entry[1] += bad
        if level not in range(len(LETTERS)):
            raise ValueError(f"level {level!r} of {name}")
        if isinstance(value, (int, float)):
            entry[2] = value
            entry[3] = value if entry[3] is None else max(entry[3], value)


def _by_probe(buckets: Iterable[tuple[int, Data]]) -> dict[str, dict[int, list[Any]]]:
    """Turn buckets into slots of each probe; what was counted twice (before and after a restart) is joined."""
    found: dict[str, dict[int, list[Any]]] = {}
    for slot, counts in buckets:
        for name, count in counts.items():
            mine = found.setdefault(name, {})
            if slot in mine:
                old = mine[slot]
                worst = max(old[0], count[0])
                mine[slot] = [worst, old[1] + count[1], old[2] + count[2], [*old[3], *count[3]], count[4]]
            else:
                mine[slot] = count
    return found


def _runs(slots: Mapping[int, Sequence[Any]]) -> tuple[int, int]:
    return sum(one[1] for one in slots.values()), sum(one[2] for one in slots.values())


def _share(runs: float, bad: float) -> float | None:
    return round(100 * (runs - bad) / runs, 3) if runs else None


def encode(letters: Iterable[str]) -> str:
    """Run-length encode the letters of a strip."""
    parts: list[str] = []
    last, count = "", 0
    for letter in letters:
        if letter == last:
            count += 1
            continue
        if count:
            parts.append(f"{count}{last}")
        last, count = letter, 1
    if count:
        parts.append(f"{count}{last}")
    return "".join(parts)


def decode(strip: str) -> list[tuple[str, int, int]]:
    """Return a strip as (letter, first slot, number of slots). Raises ValueError when it is no strip of 288 slots."""
    found: list[tuple[str, int, int]] = []
    at = 0
    if not re.fullmatch(r"(?:[1-9][0-9]{0,2}[owcun]){1,288}", strip):
        raise ValueError("it is no strip")
    for count, letter in re.findall(r"(\d+)(\w)", strip):
        found.append((letter, at, int(count)))
        at += int(count)
    if at != SLOTS:
        raise ValueError(f"it has {at} slots, not {SLOTS}")
    return found


def _strip(slots: Mapping[int, Sequence[Any]]) -> str:
    return encode(LETTERS[slots[at][0]] if at in slots else "n" for at in range(SLOTS))


def _worst_strip(probes: Iterable[Mapping[int, Sequence[Any]]]) -> str:
    letters = ["n"] * SLOTS
    for slots in probes:
        for at, entry in slots.items():
            letter = LETTERS[entry[0]]
            if WORST.index(letter) > WORST.index(letters[at]):
                letters[at] = letter
    return encode(letters)


def _latency(probes: Sequence[Mapping[int, Sequence[Any]]]) -> Data:
    """Return median and 95th percentile of 24 h, and the line of both in 96 points."""
    points: list[list[float]] = [[] for point in range(POINTS)]
    for slots in probes:
        for at, entry in slots.items():
            points[at * POINTS // SLOTS] += entry[3]
    everything = sorted(ms for point in points for ms in point)
    if not everything:
        return {"p50": None, "p95": None, "line": None}
    ordered = [sorted(point) for point in points]
    # One timeout of seconds must not flatten a day of milliseconds: what is above the top is drawn at the top.
    top = max(1.0, min(everything[-1], 2 * _quantile(everything, 0.95)))
    line = {"top": _few(top), "p50": _points(ordered, 0.5, top), "p95": _points(ordered, 0.95, top)}
    return {"p50": _few(_quantile(everything, 0.5)), "p95": _few(_quantile(everything, 0.95)), "line": line}


def _points(ordered: Sequence[Sequence[float]], share: float, top: float) -> str:
    most = len(DIGITS) - 1
    return "".join(
        DIGITS[min(most, max(0, round(_quantile(point, share) / top * most)))] if point else NO_POINT
        for point in ordered
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share of the sorted numbers lies: the nearest rank."""
    return float(ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))])


def _few(value: float) -> float:
    """Keep three digits: more are noise, and cost room."""
    return round(value) if value >= 100 else round(value, 1)


# ---- probes -----------------------------------------------------------------------------------------------------


def _probe(
    spec: Mapping[str, Any],
    state: Mapping[str, Any],
    slots: Mapping[int, Sequence[Any]],
    days: Mapping[int, Mapping[str, Sequence[Any]]],
    *,
    interval: float,
    now: float,
    waiting: bool,
) -> Data:
    name = spec["name"]
    kept = (state.get("probes") or {}).get(name) or {}
    result = kept.get("result") or {}
    kind = result.get("type") or spec.get("type") or "http"
    checked = _moment(result.get("checked_at"))
    status = _status(kept, checked, max(interval, _seconds(spec.get("every"))), now, waiting)
    bad = status not in ("ok", "waiting")
    month = [entries[name] for entries in days.values() if name in entries]
    probe = {
        "name": name,
        "project": spec.get("project") or HOST,
        "type": kind,
        "section": SECTIONS.get(kind, "hosts"),
        "severity": result.get("severity") or spec.get("severity") or "high",
        "status": status,
        "title": _short(spec.get("description") or ""),
        "since": _number(kept.get("since")),
        "last_ok": _number(kept.get("last_ok")),
        "checked": None if checked is None else round(checked),
        "reason": result.get("reason") or "" if bad else "",
        "message": _short(result.get("message") or "") if bad or kind in DETAILS else "",
        "value": _number(result.get("value")),
        "unit": result.get("unit") or "",
        "limit": _limit(spec, result, status) if bad else "",
        "hint": _short(spec.get("hint") or "", 400) if bad else "",
        "alert": _alert(kept.get("alert"), now),
        "details": _details(kind, spec, result),
        "strip": _strip(slots),
        **_latency([slots] if kind not in SECTIONS else []),
        "up_24h": _share(*_runs(slots)),
        "up_30d": _share(sum(entry[0] for entry in month), sum(entry[1] for entry in month)),
    }
    if SECTIONS.get(kind) == "machine":
        values = [one[4] for one in slots.values() if isinstance(one[4], (int, float))]
        probe["peak"] = max(values, default=None)
    if kind == "disk":
        today = int(now) // DAY
        probe["days"] = [
            _tenth((days.get(day) or {}).get(name, (0, 0, None))[2]) for day in range(today - DAYS + 1, today + 1)
        ]
    return probe


def _status(kept: Mapping[str, Any], checked: float | None, every: float, now: float, waiting: bool) -> str:
    if waiting:
        return "waiting"
    status = kept.get("status")
    if status == "waiting":
        return "waiting"
    if status not in STATUSES or not kept.get("result"):
        return "no_data"
    if checked is None or now - checked > FRESH * every + 60:
        return "no_data"
    return str(status)


def _alert(alert: Mapping[str, Any] | None, now: float) -> Data | None:
    """Return what is public of an alert; None while there is none."""
    if not alert:
        return None
    fault = bool(alert.get("fault")) and alert.get("state", "ok") in ("ok", "pending")
    if alert.get("state", "ok") == "ok" and not alert.get("suppressed") and not fault:
        return None
    acked = alert.get("acked") or {}
    valid = bool(acked.get("by")) and (not acked.get("until") or acked["until"] > now)
    # The prober's own fault has no state of its own, and is as confirmed as any.
    state, since = ("firing", alert.get("fault_at")) if fault else (alert.get("state", "ok"), alert.get("since"))
    return {
        "state": state,
        "since": _number(since) or None,
        "acked_by": _short(str(acked["by"]), 60) if valid else "",
        "acked_until": _number(acked.get("until")) if valid else None,
        "next": _number(alert.get("next")) or None,
        "told": _number(alert.get("notified"), 0),
        "suppressed": alert.get("suppressed") or "",
        "by": str(alert.get("by") or ""),
        "low": _number(alert.get("min")),
        "high": _number(alert.get("max")),
    }


def _limit(spec: Mapping[str, Any], result: Mapping[str, Any], status: str) -> str:
    """Return the conditions of the level that was reached, as they were written."""
    level = {"warning": "warn", "critical": "crit"}.get(status, "")
    rules = spec.get(level) or result.get(level) or ()
    if isinstance(rules, (str, Mapping)):
        rules = [rules]
    # A body or a header may hold anything: only limits that are numbers are told.
    texts = [str(rule.get("on", "")) if isinstance(rule, Mapping) else str(rule) for rule in rules]
    return _short(" · ".join(text for text in texts if re.fullmatch(r"\w+ ?[<>=!]+ ?[\d.]+(?: (?:and|or) .*)?", text)))


def _details(kind: str, spec: Mapping[str, Any], result: Mapping[str, Any]) -> Data:
    given = {**(result.get("fields") or {}), **(result.get("details") or {})}
    found = {key: given[key] for key in DETAILS.get(kind, ()) if isinstance(given.get(key), (str, int, float, bool))}
    found = {key: _short(value, 80) if isinstance(value, str) else value for key, value in found.items()}
    tls = result.get("tls") or {}
    if tls:
        found["tls_days"] = _number(tls.get("days"))
        found["chain_days"] = _number(tls.get("chain_days"))
    if kind in ("tls", "http", "smtp"):
        found["host"] = _short(_asked_host(spec), 80)
    if kind in ("disk", "size") and "path" not in found:
        found["path"] = _short(str(spec.get("path") or "/"), 120)
    if kind in ("backup", "drill", "heartbeat", "size") and spec.get("max_age"):
        found["max_age"] = _seconds(spec["max_age"])
    if kind == "size" and spec.get("max_bytes") is not None:
        found["max_bytes"] = spec["max_bytes"] if isinstance(spec["max_bytes"], (int, float)) else None
    return found


def _asked_host(spec: Mapping[str, Any]) -> str:
    """Return the name a probe asks, never the rest of its address: that may hold a secret."""
    if spec.get("host"):
        return str(spec["host"])
    url = str(spec.get("url") or "")
    if not url and spec.get("steps"):
        url = str((spec["steps"][0] or {}).get("url") or "")
    match = re.match(r"\w+://(?:[^/?#@]*@)?([\w.-]+)", url)
    return match[1] if match else ""


# ---- projects ---------------------------------------------------------------------------------------------------


def _projects(
    config: Mapping[str, Any], state: Mapping[str, Any], host_facts: Mapping[str, Any], now: float
) -> list[Data]:
    releases = host_facts.get("releases") or {}
    found = []
    for name, project in (config.get("projects") or {}).items():
        release = releases.get(name) or {}
        found.append(
            {
                "name": name,
                "title": _short(str(project.get("title") or name), 80),
                "own": False,
                "waiting": bool(release.get("waiting")),
                "version": _short(str(release.get("version") or ""), 60),
                "live_since": _moment(release.get("at")),
                "released_at": _moment(release.get("at")),
                "released_by": _short(str(release.get("by") or ""), 60),
                "releasing": bool(release.get("releasing")),
                "maintenance": _maintenance(state, name, now),
                "contacts": [_contact(one) for one in (project.get("contacts") or ())[:12]],
            }
        )
    if any((probe.get("project") or HOST) == HOST for probe in config.get("probes") or ()):
        found.append(_own(config, state, now))
    return found


def _own(config: Mapping[str, Any], state: Mapping[str, Any], now: float) -> Data:
    return {
        "name": HOST,
        "title": str(config.get("host") or HOST),
        "own": True,
        "waiting": False,
        "version": "",
        "live_since": None,
        "released_at": None,
        "released_by": "",
        "releasing": False,
        "maintenance": _maintenance(state, HOST, now),
        "contacts": [],
    }


def _maintenance(state: Mapping[str, Any], project: str, now: float) -> Data | None:
    for window in state.get("maintenance") or ():
        if window.get("project") in (project, "", "*") and window.get("from", 0) <= now < window.get("until", 0):
            return {
                "until": _number(window["until"]),
                "by": _short(str(window.get("by") or ""), 60),
                "reason": _short(str(window.get("reason") or ""), 120),
            }
    return None


def _contact(contact: Mapping[str, Any]) -> Data:
    keys = ("name", "role", "level", "email", "phone", "link", "availability")
    return {key: _short(str(contact[key]), 120) for key in keys if contact.get(key) not in (None, "")}


def _versions(projects: Iterable[Data], probes: Iterable[Data], config: Mapping[str, Any]) -> None:
    """Complete what runs now: the containers' own word comes before what the last release wrote down."""
    by_name = {probe["name"]: probe for probe in probes}
    for project in projects:
        declared = (config.get("projects") or {}).get(project["name"]) or {}
        probe = by_name.get(declared.get("containers_probe") or "")
        if not probe or probe["status"] == "no_data":
            continue
        version = str(probe["details"].get("version") or "")
        if version and version != project["version"]:
            project["version"] = version
            project["live_since"] = None
        if project["live_since"] is None:
            project["live_since"] = _moment(probe["details"].get("started_at"))


def _expected(config: Mapping[str, Any], probes: Sequence[Mapping[str, Any]]) -> list[Data]:
    """Return what a project declares and no probe looks at: it is shown as without data, not left out."""
    found: list[Data] = []
    for name, project in (config.get("projects") or {}).items():
        mine = [probe for probe in probes if probe["project"] == name]
        for backup in project.get("backups") or ():
            if not any(probe["type"] == "backup" and _names(probe["name"], backup) for probe in mine):
                found.append({"section": "backups", "project": name, "name": str(backup)})
        seen = {probe["details"].get("host") for probe in mine if probe["type"] in ("tls", "http")}
        for domain in project.get("domains") or ():
            if domain not in seen and not str(domain).startswith("*."):
                found.append({"section": "tls", "project": name, "name": str(domain)})
    return found


def _names(probe: str, backup: str) -> bool:
    return backup in re.split(r"[._]", probe) or probe.endswith(backup)


# ---- events -----------------------------------------------------------------------------------------------------


def _incidents(
    events: Sequence[Mapping[str, Any]], state: Mapping[str, Any], probes: Sequence[Mapping[str, Any]]
) -> tuple[Data, list[Data]]:
    """Pair what began with what ended; an alert older than a day that still lasts is one too."""
    counts: Data = dict.fromkeys([*_COUNTED.values(), "suppressed"], 0)
    found: list[Data] = []
    open_: dict[str, Data] = {}
    for event in events:
        kind, name = str(event.get("event", "")), str(event.get("probe", ""))
        if kind in _COUNTED:
            counts[_COUNTED[kind]] += 1
        if kind in _OPENS and name not in open_:
            open_[name] = {
                "name": name,
                "from": _number(event.get("since")) or event["t"],
                "to": None,
                "reason": str(event.get("reason") or ""),
                "severity": str(event.get("severity") or ""),
                "message": _short(str(event.get("message") or "")),
            }
            found.append(open_[name])
        elif kind in _CLOSES:
            incident = open_.pop(name, None)
            if incident is None:
                began = _number(event.get("since")) or event["t"] - (_number(event.get("duration")) or 0)
                incident = {"name": name, "from": began, "to": None, "reason": str(event.get("reason") or "")}
                incident |= {"severity": str(event.get("severity") or ""), "message": ""}
                found.append(incident)
            incident["to"] = event["t"]
    for probe in probes:
        alert = probe["alert"] or {}
        if alert.get("state") in ("firing", "escalated", "flapping") and probe["name"] not in open_:
            found.append(
                {"name": probe["name"], "from": alert["since"], "to": None, "reason": probe["reason"]}
                | {"severity": probe["severity"], "message": probe["message"]}
            )
    for incident in found:
        incident["from"] = None if incident["from"] is None else round(incident["from"])
        incident["to"] = None if incident["to"] is None else round(incident["to"])
    found.sort(key=lambda incident: -(incident["from"] or 0))
    counts["incidents"] = len(found)
    return counts, found[:MOST_INCIDENTS]


# ---- small things -----------------------------------------------------------------------------------------------


def rfc3339(epoch: float) -> str:
    """Write a time as RFC 3339, in UTC and whole seconds."""
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))


def _moment(value: Any) -> float | None:
    """Read a time: seconds since 1970, or RFC 3339. None when it is neither."""
    if isinstance(value, bool) or value in (None, ""):
        return None
    if isinstance(value, (int, float)):
        return float(value) if value > 0 else None
    import datetime

    try:
        moment = datetime.datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or datetime.timezone.utc).timestamp()


_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def _seconds(value: Any) -> float:
    """Read a duration as specs write it: C(26h), C(130s), C(5). 0 when there is none."""
    if isinstance(value, (int, float)):
        return float(value)
    parts = re.findall(r"([\d.]+)\s*([smhdw]?)", str(value or ""))
    return sum(float(count) * _UNITS[unit] for count, unit in parts)


def _number(value: Any, default: Any = None) -> Any:
    # A number that is none (NaN) is not between any two.
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and -1e15 < value < 1e15
    return (round(value, 3) if isinstance(value, float) else value) if good else default


def _tenth(value: Any) -> float | None:
    return round(float(value), 1) if isinstance(value, (int, float)) else None


def _short(text: str, most: int = MOST_TEXT) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def probes_of(report: Mapping[str, Any], section: str) -> Iterator[Mapping[str, Any]]:
    """Yield the probes of one section."""
    return (probe for probe in report["probes"] if probe["section"] == section)


__all__ = [
    "BUCKET", "DAY", "DAYS", "DIGITS", "HOST", "NO_POINT", "POINTS", "SECTIONS", "SLOTS", "STATUSES", "VERSION", "Data",
    "Report", "build", "day_line", "decode", "encode", "probes_of", "read_lines", "rfc3339",
]  # fmt: skip
