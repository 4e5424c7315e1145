# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports of other hosts, which may be missing, old, damaged or hostile: read, checked, and judged.

What comes out of C(read) and C(clean) has the shape that C(_report_data) describes and nothing else, so that whoever
shows it needs no further care than escaping. What cannot be believed becomes a report that says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._report_data import (
    DAYS,
    DIGITS,
    HOST,
    NO_POINT,
    POINTS,
    STATUSES,
    VERSION,
    Data,
    Report,
    decode,
)

MOST_BYTES: Final = 1048576  # a host with 50 probes writes 60 KB
MOST_PROBES: Final = 500
MAX_AGE: Final = 600  # s; how old a report may be that came over the network
MOST_AHEAD: Final = 300  # s; a clock that is further ahead is wrong
FRESH: Final = 3  # intervals
# Controls, separators of lines, halves of surrogate pairs (which no file can hold), and marks that turn the writing.
_BAD: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]+")


class Unbelievable(Exception):
    """Why a report is not believed."""


def read(raw: str | bytes, host: str = "") -> Report:
    """Decode and check a C(report.json). Never raises: what cannot be believed becomes C(unreadable)."""
    if len(raw) > MOST_BYTES:
        return unreadable(host, f"{len(raw)} bytes, more than {MOST_BYTES}")
    try:
        decoded = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return unreadable(host, f"no JSON: {str(error)[:80]}")
    return clean(decoded, host)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def missing(host: str, why: str = "") -> Report:
    """Return the report of a host that has none: C(why) is what was tried and how it ended."""
    return {"host": _text(120)(host, ""), "missing": _text(200)(why, "") or "-"}


def unreadable(host: str, why: str) -> Report:
    """Return the report of a host whose report cannot be believed."""
    return {"host": _text(120)(host, "") or "?", "unreadable": _text(200)(why, "")}


def clean(value: Any, host: str = "") -> Report:
    """Check a decoded report and return it with its known keys only. Never raises, see C(read)."""
    try:
        if isinstance(value, Mapping) and isinstance(value.get("missing"), str):
            return missing(str(value.get("host", host)), value["missing"])
        if isinstance(value, Mapping) and isinstance(value.get("unreadable"), str):
            return unreadable(str(value.get("host", host)), value["unreadable"])
        report: Report = _REPORT(value, "report")
        if report["version"] != VERSION:
            raise Unbelievable(f"version is {report['version']:g}, this page reads {VERSION}")
        report["host"] = report["host"] or host or "?"
        if len({probe["name"] for probe in report["probes"]}) < len(report["probes"]):
            raise Unbelievable("two probes have one name")
        return report
    except Unbelievable as error:
        return unreadable(_claimed(value, host), str(error))


def _claimed(value: Any, host: str) -> str:
    claimed = value.get("host") if isinstance(value, Mapping) else ""
    return host or (claimed if isinstance(claimed, str) else "")


# ---- shapes: each checks a value, says where it is wrong, and returns what is kept of it -------------------------

Shape = Callable[[Any, str], Any]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _text(most: int) -> Shape:
    def check(value: Any, where: str) -> str:
        if not isinstance(value, str):
            raise Unbelievable(f"{where} is {_short(value)}, not a text")
        text = _BAD.sub(" ", value[: 4 * most]).strip()
        return text if len(text) <= most else text[: most - 1] + "…"

    return check


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unbelievable(f"{where} is {_short(value)}, not a number")
    if not -1e15 < value < 1e15:
        raise Unbelievable(f"{where} is out of range")
    return value


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise Unbelievable(f"{where} is {_short(value)}, neither true nor false")
    return value


def _one_of(*words: str) -> Shape:
    def check(value: Any, where: str) -> str:
        if value not in words if isinstance(value, str) else True:
            raise Unbelievable(f"{where} is {_short(value)}, not one of {', '.join(words)}")
        return str(value)

    return check


def _pattern(expression: str, what: str) -> Shape:
    compiled = re.compile(expression)

    def check(value: Any, where: str) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise Unbelievable(f"{where} is {_short(value)}, not {what}")
        return value

    return check


def _or_null(shape: Shape) -> Shape:
    return lambda value, where: None if value is None else shape(value, where)


def _list(shape: Shape, most: int) -> Shape:
    def check(value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            raise Unbelievable(f"{where} is {_short(value)}, not a list")
        if len(value) > most:
            raise Unbelievable(f"{where} has {len(value)} entries, more than {most}")
        return [shape(item, f"{where}[{position}]") for position, item in enumerate(value)]

    return check


def _map(**shapes: Shape) -> Shape:
    def check(value: Any, where: str) -> Data:
        if not isinstance(value, Mapping):
            raise Unbelievable(f"{where} is {_short(value)}, not a map")
        found = {}
        for key, shape in shapes.items():
            if key not in value:
                raise Unbelievable(f"{where} has no {key}")
            found[key] = shape(value[key], f"{where}.{key}")
        return found

    return check


def _free(value: Any, where: str) -> Data:
    """Names with numbers, texts and flags, as details and facts have them."""
    if not isinstance(value, Mapping) or len(value) > 40:
        raise Unbelievable(f"{where} is {_short(value)}, not a small map")
    found: Data = {}
    for key, item in value.items():
        name = _text(40)(key, where)
        if item is None or isinstance(item, bool):
            found[name] = item
        elif isinstance(item, (int, float)):
            found[name] = _number(item, f"{where}.{name}")
        elif isinstance(item, list):
            found[name] = _list(_text(120), 60)(item, f"{where}.{name}")
        else:
            found[name] = _text(200)(item, f"{where}.{name}")
    return found


def _facts(value: Any, where: str) -> Data:
    """Facts of a host, of which any may be missing."""
    if not isinstance(value, Mapping):
        raise Unbelievable(f"{where} is {_short(value)}, not a map")
    return {key: _or_null(shape)(value.get(key), f"{where}.{key}") for key, shape in _FACTS.items()}


def _slots(value: Any, where: str) -> str:
    try:
        decode(value if isinstance(value, str) else "")
    except ValueError as error:
        raise Unbelievable(f"{where} is {_short(value)}: {error}") from None
    return str(value)


_FACTS: Final = {
    **dict.fromkeys(("distribution", "kernel", "updates_of"), _text(120)),
    **dict.fromkeys(("uptime", "cpus", "memory_bytes", "updates", "security_updates", "lists_at"), _number),
    "reboot": _flag,
    "reboot_for": _list(_text(120), 60),
}
_COUNT = _number
_MAYBE = _or_null(_number)
_NAME = _pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,119}", "a name")
_POINTS = _pattern(f"[{DIGITS}{NO_POINT}]{{{POINTS}}}", f"{POINTS} points")
_LATENCY: Final = {
    "p50": _MAYBE,
    "p95": _MAYBE,
    "line": _or_null(_map(top=_number, p50=_POINTS, p95=_POINTS)),
    "up_24h": _MAYBE,
    "up_30d": _MAYBE,
    "strip": _slots,
}
_ALERT = _map(
    state=_one_of("ok", "pending", "firing", "escalated", "flapping"),
    since=_MAYBE,
    acked_by=_text(60),
    acked_until=_MAYBE,
    next=_MAYBE,
    told=_COUNT,
    suppressed=_one_of("", "maintenance", "dependency", "release", "uplink"),
    by=_text(120),
    low=_MAYBE,
    high=_MAYBE,
)
_PROBE_SHAPE = _map(
    name=_NAME,
    project=_NAME,
    type=_text(40),
    section=_one_of("hosts", "tls", "backups", "disks", "machine", "queues"),
    severity=_one_of("critical", "high", "medium", "low"),
    status=_one_of(*STATUSES),
    title=_text(200),
    since=_MAYBE,
    last_ok=_MAYBE,
    checked=_MAYBE,
    reason=_text(40),
    message=_text(200),
    value=_MAYBE,
    unit=_text(20),
    limit=_text(200),
    hint=_text(400),
    alert=_or_null(_ALERT),
    details=_free,
    **_LATENCY,
)


def _probe(value: Any, where: str) -> Data:
    probe: Data = _PROBE_SHAPE(value, where)
    probe["peak"] = _MAYBE(value.get("peak"), f"{where}.peak")
    probe["days"] = _list(_MAYBE, DAYS)(value.get("days", []), f"{where}.days")
    return probe


def _contact(value: Any, where: str) -> Data:
    return {key: item for key, item in _free(value, where).items() if isinstance(item, str)}


_REPORT = _map(
    version=_number,
    host=_text(120),
    made=_number,
    run=_MAYBE,
    run_at=_text(40),
    interval=_number,
    strip_end=_number,
    languages=_list(_text(10), 10),
    timezone=_text(60),
    url=_text(300),
    facts=_facts,
    projects=_list(
        _map(
            name=_NAME,
            title=_text(80),
            own=_flag,
            waiting=_flag,
            version=_text(60),
            live_since=_MAYBE,
            released_at=_MAYBE,
            released_by=_text(60),
            releasing=_flag,
            maintenance=_or_null(_map(until=_number, by=_text(60), reason=_text(120))),
            contacts=_list(_contact, 12),
        ),
        60,
    ),
    probes=_list(_probe, MOST_PROBES),
    expected=_list(_map(section=_one_of("tls", "backups"), project=_NAME, name=_text(120)), 200),
    incidents=_list(
        _map(
            **{
                "name": _text(120),
                "from": _MAYBE,
                "to": _MAYBE,
                "reason": _text(40),
                "severity": _text(20),
                "message": _text(200),
            }
        ),
        60,
    ),
    counts=_free,
    monitor=_map(
        duration=_MAYBE,
        probes=_MAYBE,
        overruns=_MAYBE,
        undelivered=_MAYBE,
        oldest_undelivered=_MAYBE,
        guards=_list(_text(120), 100),
        damaged=_number,
        faults=_list(_text(200), 10),
    ),
    **_LATENCY,
)


# ---- judgement --------------------------------------------------------------------------------------------------


class Standing(NamedTuple):
    """How a probe stands: what people need to know, which is more than its last status."""

    kind: str  # ok, problem, watch, silenced, no_data, waiting
    word: str  # key of its word: ok, degraded, warning, critical, unknown, no_data, waiting, recovering, flapping, …
    level: str  # k ok, w warning, c critical, u unknown or no data, z waiting: its colour and its mark


def standing(probe: Mapping[str, Any]) -> Standing:
    """Return how a probe of a checked report stands."""
    status, alert = probe["status"], probe["alert"] or {}
    level = {"ok": "k", "degraded": "w", "warning": "w", "critical": "c"}.get(status, "u")
    if status == "waiting":
        return Standing("waiting", "waiting", "z")
    if status == "no_data":
        return Standing("no_data", "no_data", "u")
    if alert.get("suppressed") and status != "ok":
        return Standing("silenced", status, "z")
    if alert.get("state") in ("firing", "escalated", "flapping"):
        if alert["state"] == "flapping":
            return Standing("problem", "flapping", "w" if level == "k" else level)
        return Standing("problem", "recovering", "w") if status == "ok" else Standing("problem", status, level)
    return Standing("ok", "ok", "k") if status == "ok" else Standing("watch", status, level)


def standings(report: Mapping[str, Any], project: str = "") -> list[Standing]:
    """Return how all of a host, or of one of its projects, stands; what is declared and not asked has no data."""
    waiting = {one["name"] for one in report["projects"] if one["waiting"]}
    missing_ = [one for one in report["expected"] if one["project"] not in waiting]
    return [
        *(standing(probe) for probe in report["probes"] if project in ("", probe["project"])),
        *(Standing("no_data", "no_data", "u") for one in missing_ if project in ("", one["project"])),
    ]


def tls_level(probe: Mapping[str, Any], days: float) -> str:
    """Return the level of a certificate that ends in C(days); one that does not hold is critical, however long."""
    if days < 7 or probe["reason"].startswith("tls_"):
        return "c"
    return "w" if days < 21 else "k"


class Fault(NamedTuple):
    """Why nothing of a host is believed or current."""

    word: str  # key of a sentence
    values: Data
    age: float | None = None  # s


def fault(report: Mapping[str, Any], now: float, max_age: float = MAX_AGE) -> Fault | None:
    """Return what is wrong with a whole report; None when it can be believed and is fresh.

    When it was made, the watch may have been silent for three intervals; when it is read, which is later where it came
    over the network, for C(max_age) seconds if that is more.
    """
    if "unreadable" in report:
        return Fault("host_unreadable", {"why": report["unreadable"]})
    if "missing" in report or report["run"] is None:
        return Fault("host_never", {"why": report.get("missing", "")})
    age = now - report["run"]
    if age < -MOST_AHEAD:
        return Fault("host_ahead", {}, -age)
    limit = FRESH * report["interval"]
    if report["made"] - report["run"] > limit or age > max(limit, max_age):
        return Fault("host_silent", {}, age)
    watched = [probe for probe in report["probes"] if probe["status"] != "waiting"]
    if watched and all(probe["status"] == "no_data" for probe in watched):
        return Fault("host_no_data", {})
    return None


class Problem(NamedTuple):
    """One thing that is not well: a probe, or a whole host when C(probe) is None."""

    report: Report
    probe: Data | None
    standing: Standing
    fault: Fault | None


class Assessment(NamedTuple):
    """Everything that is asked of all reports at once. Lists are sorted, worst first."""

    level: str  # c, w, u (nothing worse than missing data or what is to be confirmed), z (nothing in service), k
    problems: list[Problem]
    watch: list[Problem]
    silenced: list[Problem]
    no_data: list[Problem]
    expected: list[tuple[Report, Data]]
    # ok, problem, critical, warning, unknown, watch, silenced, no_data, waiting, acked, all, hosts
    counts: dict[str, int]
    oldest_run: float | None
    zone: str


def assess(reports: Sequence[Report], now: float, max_age: float = MAX_AGE) -> Assessment:
    """Judge checked reports, as of C(now). For C(max_age) see C(fault)."""
    lists: dict[str, list[Problem]] = {"problem": [], "watch": [], "silenced": [], "no_data": []}
    counts = dict.fromkeys(
        ("ok", "problem", "critical", "warning", "unknown", "watch", "silenced", "no_data", "waiting", "acked", "all"),
        0,
    )
    expected: list[tuple[Report, Data]] = []
    for report in reports:
        broken = fault(report, now, max_age)
        if broken:
            lists["problem"].append(Problem(report, None, Standing("problem", "critical", "c"), broken))
            counts["critical"] += 1
            counts["all"] += len(report.get("probes", ()))
            continue
        counts["all"] += len(report["probes"])
        waiting = {project["name"] for project in report["projects"] if project["waiting"]}
        for one in report["expected"]:
            if one["project"] not in waiting:
                expected.append((report, one))
                counts["no_data"] += 1
        for probe in report["probes"]:
            how = standing(probe)
            counts[how.kind] += 1
            if how.kind in lists:
                lists[how.kind].append(Problem(report, probe, how, None))
            if how.kind == "problem":
                counts[{"c": "critical", "w": "warning"}.get(how.level, "unknown")] += 1
                counts["acked"] += bool(probe["alert"] and probe["alert"]["acked_by"])
    counts["problem"] = len(lists["problem"])
    counts["hosts"] = len(reports)
    for problems in lists.values():
        problems.sort(key=_urgency)
    runs = [report["run"] for report in reports if report.get("run")]
    zone = next((report["timezone"] for report in reports if report.get("timezone")), "UTC")
    return Assessment(
        _level(counts),
        lists["problem"],
        lists["watch"],
        lists["silenced"],
        lists["no_data"],
        expected,
        counts,
        min(runs, default=None),
        zone,
    )


def _level(counts: Mapping[str, int]) -> str:
    if counts["critical"]:
        return "c"
    if counts["warning"] or counts["unknown"]:
        return "w"
    if counts["watch"] or counts["no_data"]:
        return "u"
    return "k" if counts["ok"] else "z"


_SEVERITY: Final = {"critical": 0, "high": 1, "medium": 2, "low": 3}


def _urgency(problem: Problem) -> tuple[Any, ...]:
    """What nobody handles comes first, then what is critical, then what lasts longest."""
    probe = problem.probe
    if probe is None:
        return (0, 0, -1, 0, problem.report["host"])
    alert = probe["alert"] or {}
    rank = "cwuzk".index(problem.standing.level)
    since = alert.get("since") or probe["since"] or 0
    return (bool(alert.get("acked_by")), rank, _SEVERITY[probe["severity"]], since, probe["name"])


__all__ = [
    "HOST", "MAX_AGE", "Assessment", "Fault", "Problem", "Standing", "assess", "clean", "fault", "missing", "read",
    "standing", "standings", "tls_level", "unreadable",
]  # fmt: skip
