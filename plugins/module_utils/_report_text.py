# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The morning page as a text for mail: 80 columns, pictures as bars of Unicode, the verdict in the first line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ansible_collections.quai.ops.plugins.module_utils._report_data import (
    DAY,
    DIGITS,
    NO_POINT,
    SLOTS,
    Data,
    Report,
    decode,
)
from ansible_collections.quai.ops.plugins.module_utils._report_read import (
    MAX_AGE,
    Assessment,
    Fault,
    Problem,
    assess,
    clean,
    fault,
    standing,
    standings,
    tls_level,
)
from ansible_collections.quai.ops.plugins.module_utils._report_words import (
    LANGUAGES,
    Zone,
    ago,
    ahead,
    duration,
    headline,
    listing,
    number,
    percent,
    quantity,
    reason,
    say,
    size,
)

WIDTH: Final = 80
BARS: Final = "▁▂▃▅▇"
MARKS: Final = {"k": "✓", "w": "!", "c": "✗", "u": "?", "z": "–"}
SUBJECT: Final = 160  # characters; mail programs show fewer still
ROWS: Final = 12
_PROJECT: Final = (24, 13, 13, 13, 0)  # columns of a project
_COUNTED: Final = {
    "critical": "CRIT",
    "warning": "WARN",
    "unknown": "UNKNOWN",
    "watch": "TO CONFIRM",
    "no_data": "NO DATA",
}
# Letter of a strip to its bar: no data is no bar.
_HOURS: Final = {"n": "·", "o": "▁", "w": "▅", "u": "▃", "c": "▇"}
_ORDER: Final = "nowuc"


def subject(reports: Sequence[Mapping[str, Any]], now: float, *, name: str = "fleet", max_age: float = MAX_AGE) -> str:
    """Return the subject of the mail: C([fleet] OK 4 hosts, 71 probes), or C([vps1] 1 CRIT: masstock.api (timeout))."""
    checked = [clean(report) for report in reports]
    judged = assess(checked, now, max_age)
    where = checked[0]["host"] if len(checked) == 1 else name
    counts = judged.counts
    if judged.level in "kz":
        hosts, probes = counts["hosts"], counts["all"]
        told = "OK" if judged.level == "k" else "NOTHING IN SERVICE"
        amount = f"{hosts} host{'' if hosts == 1 else 's'}, {probes} probe{'' if probes == 1 else 's'}"
        return _line(
            f"[{where}] {told} {amount}" + (f", {counts['waiting']} waiting" if counts["waiting"] else ""), SUBJECT
        )
    told = " ".join(f"{counts[key]} {word}" for key, word in _COUNTED.items() if counts[key])
    offenders = [*judged.problems, *judged.watch, *judged.no_data]
    names = [_offender(problem, len(checked) > 1) for problem in offenders]
    names += [f"{one['project']}.{one['name']} (no data)" for _report, one in judged.expected]
    return _line(f"[{where}] {told}: {', '.join(names)}", SUBJECT)


def _offender(problem: Problem, fleet: bool) -> str:
    host = problem.report["host"]
    if problem.probe is None:
        return f"{host} ({_fault_word(problem.fault)})"
    name = f"{host} {problem.probe['name']}" if fleet else problem.probe["name"]
    why = problem.probe["reason"] or ("no data" if problem.standing.kind == "no_data" else problem.standing.word)
    if why in ("stale", "heartbeat") and problem.probe["value"] is not None:
        why = f"{why} {_plain(duration('en', problem.probe['value']))}"
    return f"{name} ({why})"


def _fault_word(broken: Fault | None) -> str:
    words = {
        "host_unreadable": "unreadable report",
        "host_never": "no report",
        "host_ahead": "clock ahead",
        "host_no_data": "no data",
    }
    if broken is None:
        return ""
    if broken.word == "host_silent" and broken.age is not None:
        return f"silent {_plain(duration('en', broken.age))}"
    return words.get(broken.word, broken.word)


def verdict(reports: Sequence[Mapping[str, Any]], now: float, language: str = "", *, max_age: float = MAX_AGE) -> str:
    """Return one line: the verdict with its counts, in C(language) or in the first one of the reports."""
    checked = [clean(report) for report in reports]
    return _verdict(assess(checked, now, max_age), _language(checked, language))


def _verdict(judged: Assessment, language: str) -> str:
    counts = judged.counts
    parts = [
        say(language, f"n_{key}", n=counts[key])
        for key in ("critical", "warning", "unknown", "watch", "no_data", "ok", "silenced", "waiting")
        if counts[key]
    ]
    return _line(f"{headline(counts, language)} — {', '.join(parts)}" if parts else headline(counts, language))


def _language(reports: Sequence[Report], wanted: str) -> str:
    given = [wanted, *(one for report in reports for one in report.get("languages", ()))]
    return next((one for one in given if one in LANGUAGES), LANGUAGES[0])


def text(
    reports: Sequence[Mapping[str, Any]], now: float, language: str = "", *, max_age: float = MAX_AGE, url: str = ""
) -> str:
    """Return the text twin of the page; C(url) is where the page is. Parameters as C(_report_html.html) has them."""
    checked = [clean(report) for report in reports]
    return _Letter(checked, now, _language(checked, language), max_age, url).whole()


class _Letter:
    """One text: what all of its parts need to know."""

    def __init__(self, reports: list[Report], now: float, language: str, max_age: float, url: str) -> None:
        self.now = now
        self.language = language
        self.judged = assess(reports, now, max_age)
        self.zone = Zone(self.judged.zone)
        self.fleet = len(reports) != 1
        self.max_age = max_age
        self.reports = sorted(reports, key=lambda report: report["host"])
        self.faults = {id(report): fault(report, now, max_age) for report in reports}
        self.fresh = [report for report in self.reports if not self.faults[id(report)]]
        self.url = url or (reports[0].get("url", "") if len(reports) == 1 else "")

    def say(self, key: str, **values: Any) -> str:
        return say(self.language, key, **values)

    def moment(self, epoch: float | None) -> str:
        return self.zone.moment(self.language, epoch, self.now) if epoch else self.say("never")

    def whole(self) -> str:
        where = self.reports[0]["host"] if not self.fleet else self.say("hosts", n=len(self.reports))
        day = self.zone.date(self.language, self.now, None, weekday=True)
        lines = [
            _verdict(self.judged, self.language),
            _line(f"{where} · {day} {self.zone.clock(self.now)} ({self.zone.offset(self.now)})"),
        ]
        if self.url:
            lines.append(_line(self.url))
        for key, part in (
            ("t_now", self._now()),
            ("t_day", self._day()),
            ("t_hosts", self._hosts()),
            ("t_projects", self._projects()),
            ("t_tls", self._tls()),
            ("t_backups", self._backups()),
            ("t_disks", self._disks()),
            ("t_machine", self._machine()),
            ("t_queues", self._queues()),
            ("t_monitor", self._monitor()),
        ):
            rows = list(part)
            lines += ["", self.say(key), *(rows or [f"  {self.say('no_data')}"])]
        return "\n".join(_line(line) for line in lines) + "\n"

    # ---- parts ------------------------------------------------------------------------------------------------

    def _name(self, report: Report, probe: Mapping[str, Any]) -> str:
        return f"{report['host']} {probe['name']}" if self.fleet else str(probe["name"])

    def _now(self) -> Iterable[str]:
        judged = self.judged
        for problem in judged.problems[: 2 * ROWS]:
            yield from self._problem(problem)
        if judged.problems[2 * ROWS :]:
            yield f"  {self.say('and_more', n=len(judged.problems) - 2 * ROWS)}"
        if not judged.problems and judged.level in "kz":
            yield f"  {self.say('nobody_needed')}"
        for key, problems in (("watching", judged.watch), ("missing_data", judged.no_data), ("quiet", judged.silenced)):
            names = [self._name(problem.report, problem.probe or {"name": ""}) for problem in problems]
            if key == "missing_data":
                names += [f"{one['project']}.{one['name']}" for _report, one in judged.expected]
            if names:
                yield from _wrapped(
                    f"{self.say(key)} : " if self.language == "fr" else f"{self.say(key)}: ",
                    listing(names, self.language, 8),
                )

    def _problem(self, problem: Problem) -> Iterable[str]:
        sign = MARKS[problem.standing.level]
        if problem.probe is None:
            broken = self.faults[id(problem.report)]
            yield f"{sign} {problem.report['host']}"
            yield from _wrapped("    ", self._fault(broken))
            return
        probe, alert = problem.probe, problem.probe["alert"] or {}
        since = alert.get("since") or probe["since"]
        when = f"{self.moment(since)} ({duration(self.language, self.now - since)})" if since else ""
        yield _columns(
            (f"{sign} {self._name(problem.report, probe)}", 38), (self.say(problem.standing.word), 11), (when, 0)
        )
        why = reason(self.language, probe["reason"]) if probe["reason"] else ""
        value = "" if probe["value"] is None else quantity(self.language, probe["value"], probe["unit"])
        told = " — ".join(part for part in (why, probe["message"]) if part)
        yield from _wrapped("    ", told + (f" [{value}]" if value else ""))
        who = self.say("not_acked")
        if alert.get("acked_by"):
            who = self.say("acked_until", who=alert["acked_by"], time=self.moment(alert["acked_until"]))
        coming = alert.get("next")
        relay = (
            f" · {self.say('next')} {ahead(self.language, coming - self.now)}" if coming and coming > self.now else ""
        )
        yield from _wrapped("    ", f"{self.say('ack')} {who}{relay}")
        if probe["hint"]:
            yield from _wrapped("    ", f"→ {probe['hint']}")
        contacts: list[Data] = next(
            (one["contacts"] for one in problem.report["projects"] if one["name"] == probe["project"]), []
        )
        for contact in contacts[:1]:
            ways = [contact[key] for key in ("role", "phone", "email") if contact.get(key)]
            yield from _wrapped("    ", "☎ " + " · ".join(ways))

    def _fault(self, broken: Fault | None) -> str:
        if broken is None:
            return ""
        values = dict(broken.values)
        if broken.age is not None:
            values["age"] = duration(self.language, broken.age)
        return self.say(broken.word, **values)

    def _day(self) -> Iterable[str]:
        rows = [(report, one) for report in self.fresh for one in report["incidents"]]
        rows.sort(key=lambda row: (row[1]["to"] is not None, -(row[1]["from"] or 0)))
        if not rows:
            known = any(set(report["strip"]) - set("0123456789n") for report in self.fresh)
            yield f"  {self.say('quiet_day' if known else 'no_data')}"
        for report, one in rows[:ROWS]:
            lasted = self.say("ongoing")
            if one["to"] is not None:
                lasted = duration(self.language, one["to"] - one["from"]) if one["from"] is not None else "–"
            why = reason(self.language, one["reason"]) if one["reason"] else ""
            yield _columns((f"  {self.moment(one['from'])}", 22), (lasted, 10), (f"{self._name(report, one)} {why}", 0))
        if rows[ROWS:]:
            yield f"  {self.say('more_incidents', n=len(rows) - ROWS)}"

    def _hosts(self) -> Iterable[str]:
        for report in self.reports:
            broken = self.faults[id(report)]
            if broken:
                yield from _wrapped(f"✗ {_line(report['host'], 24)}  ", self._fault(broken))
                continue
            levels = standings(report)
            good = sum(how.kind == "ok" for how in levels)
            sign = MARKS["k"] if good == len(levels) else MARKS[min((how.level for how in levels), key="cwuzk".index)]
            up = "" if report["up_24h"] is None else percent(self.language, report["up_24h"], 2)
            latency = _latency_bars(report["line"])
            count = f"{good}/{len(report['probes'])}"
            ms = "" if report["p95"] is None else f"{number(self.language, report['p95'])} ms"
            yield _columns(
                (f"{sign} {report['host']}", 17), (count, 6), (hours(report["strip"]), 24), (up, 8),
                (latency, 12), (ms, 0),
            )  # fmt: skip

    def _projects(self) -> Iterable[str]:
        rows = [
            self._project(report, project)
            for report in self.fresh
            for project in report["projects"]
            if not project["own"]
        ]
        if rows:
            heads = [self.say(key) for key in ("project", "version", "live_since", "last_release", "last_drill")]
            yield _columns(*zip([f"  {heads[0]}", *heads[1:]], _PROJECT))
        yield from rows

    def _project(self, report: Report, project: Data) -> str:
        title = f"{project['title']} ({report['host']})" if self.fleet else project["title"]
        if project["waiting"]:
            return _columns((f"– {title}", _PROJECT[0]), (self.say("not_released"), 0))
        mine = [probe for probe in report["probes"] if probe["project"] == project["name"]]
        drills = [probe["value"] for probe in mine if probe["type"] == "drill" and probe["value"] is not None]
        level = min((how.level for how in standings(report, project["name"])), key="cwuzk".index, default="u")
        times = [
            self.zone.date(self.language, epoch, self.now) if epoch else self.say("no_data")
            for epoch in (project["live_since"], project["released_at"])
        ]
        proved = ago(self.language, max(drills)) if drills else self.say("no_data")
        cells = (f"{MARKS[level]} {title}", project["version"] or "?", *times, proved)
        return _columns(*zip(cells, _PROJECT))

    def _probes(self, section: str) -> list[tuple[Report, Data]]:
        found = [(report, probe) for report in self.fresh for probe in report["probes"] if probe["section"] == section]
        order = ("problem", "watch", "no_data", "silenced", "waiting", "ok")
        return sorted(found, key=lambda row: order.index(standing(row[1]).kind))

    def _cut(self, rows: Sequence[str]) -> Iterable[str]:
        yield from rows[:ROWS]
        if rows[ROWS:]:
            yield f"  {self.say('others', n=len(rows) - ROWS)}"

    def _missing(self, section: str) -> list[str]:
        return [
            _columns((f"? {one['project']}.{one['name']}", 44), (self.say("no_data"), 0))
            for _report, one in self.judged.expected
            if one["section"] == section
        ]

    def _tls(self) -> Iterable[str]:
        rows: list[tuple[float, str]] = []
        for report, probe in self._probes("tls"):
            days = probe["value"] if probe["status"] not in ("no_data", "waiting") else None
            host = str(probe["details"].get("host") or probe["name"])
            name = f"{report['host']} {host}" if self.fleet else host
            if days is None:
                rows.append((-1e6, _columns((f"? {name}", 44), (self.say("no_data"), 0))))
                continue
            sign = MARKS[tls_level(probe, days)]
            told = self.say("expired") if days < 0 else self.say("d", n=int(days))
            end = self.zone.date(self.language, self.now + days * DAY, self.now)
            rows.append((days, _columns((f"{sign} {name}", 44), (_gauge(days / 0.9), 12), (f"{told} ({end})", 0))))
        rows.sort(key=lambda row: row[0])
        yield from self._cut([*self._missing("tls"), *(row for _days, row in rows)])
        if not rows and not self._missing("tls"):
            yield f"  {self.say('no_tls')}"

    def _backups(self) -> Iterable[str]:
        rows = self._missing("backups")
        for report, probe in self._probes("backups"):
            how = standing(probe)
            value = probe["value"] if probe["status"] not in ("no_data", "waiting") else None
            age = self.say(how.word) if value is None else ago(self.language, value)
            bytes_, change = probe["details"].get("bytes"), probe["details"].get("change_pct")
            amount = size(self.language, bytes_) if isinstance(bytes_, (int, float)) else ""
            if amount and isinstance(change, (int, float)):
                amount += f" ({'+' if change >= 0 else '−'}{percent(self.language, abs(change), 1)})"
            rows.append(_columns((f"{MARKS[how.level]} {self._name(report, probe)}", 44), (age, 16), (amount, 0)))
        yield from self._cut(rows) if rows else [f"  {self.say('no_backups')}"]

    def _disks(self) -> Iterable[str]:
        rows = []
        for report, probe in self._probes("disks"):
            how = standing(probe)
            value = probe["value"] if probe["status"] not in ("no_data", "waiting") else None
            shown = self.say(how.word) if value is None else quantity(self.language, value, probe["unit"])
            name = self._name(report, probe)
            trend = ""
            if probe["type"] == "disk":
                name = f"{report['host']}:{probe['details'].get('path', '/')}"
                trend = _days_bars(probe["days"])
                left = probe["details"].get("full_in_days")
                if isinstance(left, (int, float)) and left >= 0:
                    end = self.zone.date(self.language, self.now + left * DAY, self.now)
                    shown += " " + self.say("full_on", date=end, days=self.say("d", n=int(left)))
            rows.append(_columns((f"{MARKS[how.level]} {name}", 36), (trend, 15), (shown, 0)))
        yield from self._cut(rows) if rows else [f"  {self.say('no_disks')}"]

    def _machine(self) -> Iterable[str]:
        for report in self.fresh:
            parts = []
            for kind in ("memory", "cpu", "load"):
                probe = next((one for one in report["probes"] if one["type"] == kind), None)
                shown = self.say("no_data")
                if probe and probe["value"] is not None and probe["status"] != "no_data":
                    shown = quantity(self.language, probe["value"], probe["unit"])
                    peak = probe["peak"]
                    if peak is not None and peak > probe["value"]:
                        shown += f" ({self.say('peak', n=quantity(self.language, peak, probe['unit']))})"
                parts.append(f"{self.say(kind)} {shown}")
            facts = report["facts"]
            count = facts["updates"]
            pending = (
                self.say("n_updates", n=count) if count else self.say("no_data" if count is None else "up_to_date")
            )
            parts.append(f"{self.say('updates')} {pending}")
            needed = {True: "reboot_needed", False: "reboot_no", None: "no_data"}[facts["reboot"]]
            parts.append(f"{self.say('reboot')} {self.say(needed)}")
            yield from _wrapped(f"  {report['host']} : " if self.fleet else "  ", " · ".join(parts))

    def _queues(self) -> Iterable[str]:
        rows = []
        for report, probe in self._probes("queues"):
            how = standing(probe)
            value = probe["value"] if probe["status"] not in ("no_data", "waiting") else None
            if value is None:
                shown = self.say(how.word)
            elif probe["type"] == "heartbeat":
                shown = self.say("beat", age=ago(self.language, value))
            else:
                shown = self.say("jobs", n=value)
                oldest = probe["details"].get("oldest_s")
                if isinstance(oldest, (int, float)) and oldest > 0:
                    shown += f", {self.say('oldest', age=duration(self.language, oldest))}"
            rows.append(_columns((f"{MARKS[how.level]} {self._name(report, probe)}", 44), (shown, 0)))
        yield from self._cut(rows) if rows else [f"  {self.say('no_queues')}"]

    def _monitor(self) -> Iterable[str]:
        for report in self.reports:
            if "probes" not in report or report["run"] is None:
                yield _columns((f"✗ {report['host']}", 24), (self.say("no_data"), 0))
                continue
            monitor, counts = report["monitor"], report["counts"]
            blind = sum(probe["status"] == "no_data" for probe in report["probes"]) + len(report["expected"])
            odd = [
                f"{self.say(key)} {number(self.language, value)}"
                for key, value in (
                    ("overruns", counts.get("overruns")),
                    ("undelivered", monitor["undelivered"]),
                    ("failed_deliveries", counts.get("delivery_failed")),
                    ("expired_acks", counts.get("ack_expired")),
                    ("without_data", blind),
                    ("own_faults", counts.get("own_faults")),
                    ("guards", len(monitor["guards"])),
                    ("damaged", monitor["damaged"]),
                )
                if isinstance(value, (int, float)) and value
            ]
            last = f"{self.say('round')} {ago(self.language, self.now - report['run'])}"
            sign = "✗" if self.faults[id(report)] else "!" if odd else "✓"
            yield from _wrapped(f"{sign} {_line(report['host'], 22)}  ", " · ".join([last, *odd]))


# ---- bars and columns -------------------------------------------------------------------------------------------


def hours(strip: str) -> str:
    """Draw a strip as 24 bars, one per hour: the worst of it."""
    ranks = [0] * 24
    for letter, at, count in decode(strip):
        for hour in range(at * 24 // SLOTS, (at + count - 1) * 24 // SLOTS + 1):
            ranks[hour] = max(ranks[hour], _ORDER.index(letter))
    return "".join(_HOURS[_ORDER[rank]] for rank in ranks)


def _bar(share: float) -> str:
    return BARS[min(len(BARS) - 1, max(0, int(share * len(BARS))))]


def _latency_bars(line: Data | None) -> str:
    """Draw the median of every two hours."""
    if not line:
        return ""
    most = len(DIGITS)
    bars = ""
    for at in range(0, 96, 8):
        known = [DIGITS.index(point) for point in line["p50"][at : at + 8] if point != NO_POINT]
        bars += _bar(max(known) / most) if known else "·"
    return bars


def _days_bars(days: Sequence[float | None]) -> str:
    """Draw every second of 30 days of per cent."""
    return "".join("·" if value is None else _bar(value / 100) for value in days[1::2])


def _gauge(share: float, width: int = 10) -> str:
    full = min(width, max(0, round(share * width / 100)))
    return "▇" * full + "▁" * (width - full)


def _plain(words: str) -> str:
    return words.replace("\u00a0", " ").replace("\u202f", " ")


def _wide(letter: str) -> int:
    """Return the columns that a character takes."""
    if letter < "\u0300":
        return 1
    import unicodedata

    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def width(words: str) -> int:
    """Return the columns that a text takes."""
    return len(words) if words.isascii() else sum(map(_wide, words))


def _line(words: str, most: int = WIDTH) -> str:
    """Cut a text to a number of columns; no-break spaces become plain, because mail programs are not to be trusted."""
    words = _plain(words).rstrip()
    if width(words) <= most:
        return words
    kept, used = "", 0
    for letter in words:
        used += _wide(letter)
        if used > most - 1:
            break
        kept += letter
    return kept.rstrip() + "…"


def _columns(*cells: tuple[str, int]) -> str:
    """Set cells beside each other, each cut and filled to its width; 0 takes what is left."""
    line = ""
    for words, wanted in cells:
        if not wanted:
            line += words
            continue
        cut = _line(words, wanted)
        line += cut + " " * (wanted - width(cut)) + " "
    return _line(line)


def _wrapped(first: str, words: str) -> Iterable[str]:
    """Break a text into lines that begin under each other, at most four."""
    indent = " " * min(width(first), 24)
    line, begun, lines = first, False, 0
    for word in _plain(words).split():
        if begun and width(line) + 1 + width(word) > WIDTH:
            yield _line(line)
            lines += 1
            if lines == 4:
                return
            line, begun = indent, False
        line += f" {word}" if begun else word
        begun = True
    yield _line(line)


__all__ = ["BARS", "WIDTH", "hours", "subject", "text", "verdict", "width"]
