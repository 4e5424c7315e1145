# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The morning page: one file of HTML for one host or for a fleet, without script, in French and in English.

Every text that is said stands in it in both languages, in C(span)s of which the style sheet shows one; two radio
buttons choose. Whatever comes from a report is escaped here and nowhere else, by C(esc).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from ansible_collections.quai.ops.plugins.module_utils import _report_draw as draw
from ansible_collections.quai.ops.plugins.module_utils._report_data import (
    BUCKET,
    DAY,
    HOST,
    SLOTS,
    Data,
    Report,
    decode,
    encode,
)
from ansible_collections.quai.ops.plugins.module_utils._report_read import (
    MAX_AGE,
    Assessment,
    Problem,
    Standing,
    assess,
    clean,
    fault,
    standing,
    standings,
    tls_level,
)
from ansible_collections.quai.ops.plugins.module_utils._report_style import CSS, icon, sprite
from ansible_collections.quai.ops.plugins.module_utils._report_words import (
    HARD,
    LANGUAGES,
    Zone,
    ago,
    ahead,
    duration,
    headline,
    number,
    percent,
    quantity,
    reason,
    say,
    size,
)

OPEN: Final = 24  # probes of a host whose projects are all shown open
CARDS: Final = 12  # problems that are told at length
ROWS: Final = 10  # rows of a section that are well and shown without a click
CONTENT_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)
_SHARP: Final = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;", ord("'"): "&#39;"}
_LETTER: Final = {"o": "ok", "w": "warning", "c": "critical", "u": "unknown", "n": "no_data"}

Teller = Callable[[str], str]  # from a language to a text


def html(
    reports: Sequence[Mapping[str, Any]],
    now: float,
    *,
    title: str = "",
    max_age: float = MAX_AGE,
    languages: Sequence[str] = (),
) -> str:
    """Return the page of one host or of many, as of C(now).

    C(reports) are contents of C(report.json), or what C(_report_read.read) and C(_report_read.missing) made of those of
    other hosts. A report may be C(max_age) seconds old (or three of its intervals, if that is more) before its host is
    shown as silent. C(title) stands for the name of the host or of the fleet; C(languages) begins with the one that is
    shown first.
    """
    checked = [clean(report) for report in reports]
    return _Page(checked, now, title, max_age, languages).whole()


def esc(text: Any) -> str:
    """Escape a text for HTML, between tags and in quoted attributes."""
    return str(text).translate(_SHARP)


def mark(level: str) -> str:
    """Return the mark of a level."""
    return f'<svg class="m {level}" aria-hidden="true"><use href="#{level}"/></svg>'


class _Page:
    """One page: what all of its parts need to know."""

    def __init__(self, reports: list[Report], now: float, title: str, max_age: float, languages: Sequence[str]) -> None:
        self.now = now
        self.fleet = len(reports) != 1
        self.max_age = max_age
        self.assessment: Assessment = assess(reports, now, max_age)
        wanted = [*languages, *(one for report in reports for one in report.get("languages", ()))]
        self.language = next((one for one in wanted if one in LANGUAGES), LANGUAGES[0])
        self.zone = Zone(self.assessment.zone)
        self.title = title or (reports[0]["host"] if not self.fleet else "")
        self.faults = {id(report): fault(report, now, max_age) for report in reports}
        self.reports = sorted(reports, key=self._report_order)
        self.shown = [report for report in self.reports if "probes" in report]
        self._ids = self._anchors()
        self._said: dict[str, str] = {}
        for report in self.shown:
            if self.faults[id(report)]:
                _forget(report)

    def _report_order(self, report: Report) -> tuple[Any, ...]:
        if self.faults[id(report)]:
            return (0, 0, report["host"])
        levels = standings(report)
        worst = min(
            ("cwuzk".index(how.level) for how in levels if how.kind in ("problem", "watch", "no_data")), default=9
        )
        return (1, worst, report["host"])

    def _current(self, report: Report) -> bool:
        """Whether what a report says is of now, even when it says that it knows nothing."""
        broken = self.faults[id(report)]
        return broken is None or broken.word == "host_no_data"

    def _anchors(self) -> dict[int, str]:
        """Return one anchor per report; two hosts of one name get two."""
        used: set[str] = set()
        found = {}
        for report in self.reports:
            base = re.sub(r"[^A-Za-z0-9_.-]+", "-", report["host"])
            name, count = base, 1
            while name in used:
                count += 1
                name = f"{base}-{count}"
            used.add(name)
            found[id(report)] = name
        return found

    # ---- words ------------------------------------------------------------------------------------------------

    def tell(self, teller: Teller) -> str:
        """Return a text in both languages, escaped; once when both are the same."""
        french, english = esc(teller("fr")), esc(teller("en"))
        if french == english:
            return french
        return f'<span lang="fr">{french}</span><span lang="en">{english}</span>'

    def t(self, key: str, **values: Any) -> str:
        """Return the sentence C(key) in both languages; a value that is a function is called with the language."""
        if not values:
            if key not in self._said:
                self._said[key] = self.tell(lambda language: say(language, key))
            return self._said[key]
        return self.tell(
            lambda language: say(
                language, key, **{name: value(language) if callable(value) else value for name, value in values.items()}
            )
        )

    def age(self, epoch: float | None) -> str:
        """Return how long ago something was."""
        return self.t("never") if not epoch else self.tell(lambda language: ago(language, self.now - epoch))

    def moment(self, epoch: float | None) -> str:
        """Return a time as people of the page's zone write it."""
        if not epoch:
            return self.t("never")
        stamp = self.zone.at(epoch).isoformat(timespec="seconds")
        return f'<time datetime="{stamp}">{self.tell(self.moment_in(epoch))}</time>'

    def moment_in(self, epoch: float) -> Teller:
        """Return the same for use within a sentence."""
        return lambda language: self.zone.moment(language, epoch, self.now)

    def name(self, report: Report, name: str) -> str:
        """Return a probe's name, with its host's on the page of a fleet."""
        short = name[len(HOST) + 1 :] if name.startswith(f"{HOST}.") else name
        if not self.fleet:
            return f"{report['host']}.{short}" if short != name else name
        return f"{report['host']} · {short}"

    def anchor(self, report: Report, name: str = "") -> str:
        """Return the anchor of a host, or of one of its probes."""
        host = self._ids[id(report)]
        if not name:
            return f"h-{host}"
        return f"p-{host}.{name}" if self.fleet else f"p-{name}"

    # ---- the whole --------------------------------------------------------------------------------------------

    def whole(self) -> str:
        """Return the page."""
        other = next(one for one in LANGUAGES if one != self.language)
        choice = (
            f"span[lang={other}],g[lang={other}]{{display:none}}"
            f"body:has(#{other}:checked) :is(span,g)[lang={other}]{{display:inline}}"
            f"body:has(#{other}:checked) :is(span,g)[lang={self.language}]{{display:none}}"
        )
        heading = say(self.language, "title", what=self.title or say(self.language, "fleet"))
        parts = [
            f'<!DOCTYPE html>\n<html lang="{self.language}">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{esc(CONTENT_POLICY)}">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            '<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">',
            f"<title>{esc(self._headline(self.language))} — {esc(heading)}</title>",
            f'<link rel="icon" href="{icon(self.assessment.level)}">',
            f"<style>{CSS}{choice}</style>\n</head>\n<body>",
            sprite(),
            self._header(),
            '<main id="main">',
            self._verdict(),
            self._now(),
            self._day(),
            self._hosts(),
            '<div class="panels">',
            self._tls(),
            self._backups(),
            self._disks(),
            self._machine(),
            self._queues(),
            self._monitor(),
            "</div>\n</main>",
            f"<footer><p>{self.t('foot')}</p></footer>\n</body>\n</html>\n",
        ]
        return "\n".join(parts)

    def _header(self) -> str:
        labels = {"fr": "Français", "en": "English"}
        ordered = [self.language, *(one for one in LANGUAGES if one != self.language)]
        radios = "".join(
            f'<input type="radio" name="language" id="{one}"{" checked" if one == self.language else ""}>'
            f'<label for="{one}" lang="{one}">{labels[one]}</label>'
            for one in ordered
        )
        what = esc(self.title) if self.title else self.t("s_fleet")
        zone = self.t("zone", zone=self.zone.offset(self.now))
        return (
            f'<header><a class="skip" href="#main">{self.t("skip")}</a>'
            f'<p class="t"><b>{what}</b> · {self.t("as_of", time=self._full_moment())} <small>({zone})</small></p>'
            f'<fieldset class="lang"><legend class="vh">{self.t("language")}</legend>{radios}</fieldset></header>'
        )

    def _full_moment(self) -> Teller:
        def write(language: str) -> str:
            day = self.zone.date(language, self.now, None, weekday=True)
            return f"{day}, {self.zone.clock(self.now)}"

        return write

    def _section(self, name: str, title: str, body: str, kind: str = "section") -> str:
        shell = 'class="panel' + (" full" if kind == "full" else "") + '" ' if kind != "section" else ""
        return f'<section {shell}id="{name}" aria-labelledby="{name}-h"><h2 id="{name}-h">{title}</h2>{body}</section>'

    # ---- 1: the verdict ---------------------------------------------------------------------------------------

    def _headline(self, language: str) -> str:
        return headline(self.assessment.counts, language)

    def _verdict(self) -> str:
        counts = self.assessment.counts
        level = self.assessment.level
        watched = self.t(
            "watched",
            probes=lambda language: say(language, "probes", n=counts["all"]),
            hosts=lambda language: say(language, "hosts", n=counts["hosts"]),
        )
        run = self.assessment.oldest_run
        last = "" if run is None else f" · {self._last_run(run)}"
        who = sorted({_acked(problem) for problem in self.assessment.problems} - {""})
        acked = ""
        if counts["acked"] and counts["acked"] == counts["problem"]:
            acked = " · " + self.t("all_acked", who=", ".join(who))
        elif counts["acked"]:
            acked = " · " + self.t("some_acked", n=counts["acked"])
        chips = "".join(
            f'<li class="{kind}">{mark(kind)}{self.t(f"n_{name}", n=counts[name])}</li>'
            for kind, name in _CHIPS
            if counts[name]
        )
        return (
            f'{self._banners()}<section class="verdict {level}" id="verdict" aria-labelledby="verdict-h">'
            f'{mark(level)}<h1 id="verdict-h">{self.tell(self._headline)}</h1>'
            f'<div class="more"><p>{watched}{last}{acked}</p><ul class="chips">{chips}</ul>'
            f'<p class="reload">{self.t("reload")}</p></div></section>'
        )

    def _last_run(self, run: float) -> str:
        key = "oldest_run" if self.fleet else "last_run"
        return self.t(key, age=lambda language: ago(language, self.now - run))

    def _banners(self) -> str:
        if self.fleet:
            return ""
        return "".join(
            f'<p class="banner" role="alert">{self._stale(report)}</p>'
            for report in self.shown
            if not self._current(report)
        )

    def _stale(self, report: Report) -> str:
        broken = self.faults[id(report)]
        if broken is None or broken.age is None or broken.word != "host_silent":
            return self._fault_words(report)
        age = broken.age
        return self.t("stale", host=report["host"], age=lambda language: duration(language, age))

    def _fault_words(self, report: Report) -> str:
        broken = self.faults[id(report)]
        if broken is None:
            return ""
        values: Data = dict(broken.values)
        if broken.age is not None:
            age = broken.age
            values["age"] = lambda language: duration(language, age)
        told = self.t(broken.word, **values)
        why = broken.values.get("why", "")
        return f"{told} ({esc(why)})" if broken.word == "host_never" and why not in ("", "-") else told

    # ---- 2: what needs a person now ---------------------------------------------------------------------------

    def _now(self) -> str:
        problems = self.assessment.problems
        cards = "".join(self._card(problem) for problem in problems[:CARDS])
        body = f'<ol class="cards">{cards}</ol>' if problems else ""
        if not problems and self.assessment.level in "kz":
            body = f'<p class="calm">{self.t("nobody_needed")}</p>'
        if problems[CARDS:]:
            rows = "".join(
                f"<tr><td>{self._badge(problem.standing)}</td><td>{self._link(problem)}"
                f"{self._sub(self._message(problem))}</td></tr>"
                for problem in problems[CARDS:]
            )
            more = self.t("and_more", n=len(problems) - CARDS)
            head = f"<thead><tr><th>{self.t('state')}</th><th>{self.t('what')}</th></tr></thead>"
            body += (
                f'<details class="more"><summary>{more}</summary><table>{head}<tbody>{rows}</tbody></table></details>'
            )
        return self._section("now", self.t("s_now"), body + self._notes())

    def _sub(self, text: str) -> str:
        return f'<span class="sub">{text}</span>' if text else ""

    def _link(self, problem: Problem) -> str:
        name = problem.report["host"] if problem.probe is None else self.name(problem.report, problem.probe["name"])
        target = self.anchor(problem.report, problem.probe["name"] if problem.probe else "")
        if problem.probe is None and not self.fleet:
            return esc(name)
        return f'<a class="q" href="#{esc(target)}">{esc(name)}</a>'

    def _message(self, problem: Problem) -> str:
        if problem.probe is None:
            return self._fault_words(problem.report)
        why, message = problem.probe["reason"], problem.probe["message"]
        told = self.tell(lambda language: reason(language, why)) if why else ""
        value, most = problem.probe["value"], _figure(problem.probe["details"].get("max_age"))
        if why in ("stale", "heartbeat") and value is not None and most:
            old = self.t(
                "too_old",
                value=lambda language: duration(language, value),
                limit=lambda language: duration(language, most),
            )
            return f"{told} — {old}"
        return f"{told} — {esc(message)}" if told and message else told or esc(message)

    def _card(self, problem: Problem) -> str:
        probe, report = problem.probe, problem.report
        head = f'<div class="top"><h3>{self._link(problem)}</h3>{self._badge(problem.standing)}'
        if probe is None:
            return f'<li class="card c">{head}</div><p class="msg">{self._fault_words(report)}</p></li>'
        alert = probe["alert"] or {}
        since = alert.get("since") or probe["since"]
        head += f'<span class="since">{self.moment(since)} · {self.age(since)}</span></div>' if since else "</div>"
        facts = "".join(
            f"<div{' class=wide' if wide else ''}><dt>{self.t(key)}</dt><dd>{text}</dd></div>"
            for key, text, wide in self._card_facts(problem)
            if text
        )
        return (
            f'<li class="card {problem.standing.level}">{head}<p class="msg">{self._message(problem)}</p>'
            f'<dl class="facts">{facts}</dl></li>'
        )

    def _card_facts(self, problem: Problem) -> Iterable[tuple[str, str, bool]]:
        probe, report = problem.probe or {}, problem.report
        alert = probe["alert"] or {}
        yield "value", "" if probe["value"] is None else self._value(probe), False
        yield "limit", f"<code>{esc(probe['limit'])}</code>" if probe["limit"] else "", False
        if alert.get("low") is not None and alert.get("high") is not None and alert["low"] != alert["high"]:
            low, high, unit = alert["low"], alert["high"], probe["unit"]
            told = self.t(
                "range_of",
                low=lambda language: quantity(language, low, unit),
                high=lambda language: quantity(language, high, unit),
            )
            yield "range", told, False
        last = probe["last_ok"]
        yield "last_ok", self.moment(last), False
        if alert.get("acked_by"):
            until = alert["acked_until"]
            when = self.moment_in(until) if until else (lambda _language: "–")
            yield "ack", self.t("acked_until", who=alert["acked_by"], time=when), False
        else:
            yield "ack", self.t("not_acked"), False
        if alert.get("next") and alert["next"] > self.now:
            coming = alert["next"]
            told = self.tell(lambda language: ahead(language, coming - self.now))
            yield "next", f"{self.moment(coming)} ({told})", False
        yield "told", esc(f"{alert['told']:g}") if alert.get("told") else "", False
        yield "hint", esc(probe["hint"]), True
        yield "contacts", self._contacts(report, probe["project"]), True
        children = [
            one["name"]
            for one in report["probes"]
            if (one["alert"] or {}).get("by") == probe["name"] and standing(one).kind == "silenced"
        ]
        if children:
            names = children[:8]
            more = len(children) - len(names)
            told = self.t(
                "causes",
                n=len(children),
                names=lambda language: ", ".join(names) + (f", {say(language, 'and_more', n=more)}" if more else ""),
            )
            yield "quiet", told, True

    def _contacts(self, report: Report, project: str) -> str:
        contacts: list[Data] = next((one["contacts"] for one in report["projects"] if one["name"] == project), [])
        shown = []
        for contact in contacts[:3]:
            who = esc(contact.get("role") or contact.get("name", ""))
            if contact.get("name") and contact.get("role"):
                who = f"{esc(contact['role'])} ({esc(contact['name'])})"
            ways = [_way(key, contact[key]) for key in ("phone", "email", "link") if contact.get(key)]
            when = f' <span class="soft">{esc(contact["availability"])}</span>' if contact.get("availability") else ""
            shown.append(f"{who} {' · '.join(ways)}{when}".strip())
        return "<br>".join(shown)

    def _notes(self) -> str:
        """Return what is not well and needs nobody now: each kind one line."""
        found = []
        judged = self.assessment
        for report in self.shown:
            for project in report["projects"]:
                window = project["maintenance"]
                if window and not self.faults[id(report)]:
                    told = self.t(
                        "maintenance_until",
                        project=project["title"],
                        time=self.moment_in(window["until"]),
                        who=window["by"] or "?",
                    )
                    found.append(("z", told + (f" — {esc(window['reason'])}" if window["reason"] else "")))
        if judged.watch:
            found.append(("w", f"<b>{self.t('watching')}</b> {self._several(judged.watch)} {self._why()}"))
        missing = [self._link(problem) for problem in judged.no_data]
        missing += [f"{esc(self._expected_name(report, one))}" for report, one in judged.expected]
        if missing:
            found.append(("u", f"<b>{self.t('missing_data')}</b> {self._few(missing)}"))
        quiet = judged.silenced
        for word in ("maintenance", "release", "dependency", "uplink"):
            some = [problem for problem in quiet if problem.probe and problem.probe["alert"]["suppressed"] == word]
            if some:
                found.append(("z", f"<b>{self.t('quiet')}</b> ({self.t(f'by_{word}')}) {self._several(some)}"))
        rows = "".join(f"<li>{mark(level)}<span>{text}</span></li>" for level, text in found)
        return f'<ul class="notes">{rows}</ul>' if rows else ""

    def _why(self) -> str:
        return f'<small class="soft">{self.t("watching_why")}</small>'

    def _several(self, problems: Sequence[Problem]) -> str:
        return self._few([self._link(problem) for problem in problems])

    def _few(self, names: Sequence[str], most: int = 8) -> str:
        text = ", ".join(names[:most])
        return text if len(names) <= most else f"{text} {self.t('and_more', n=len(names) - most)}"

    def _expected_name(self, report: Report, one: Mapping[str, Any]) -> str:
        name = f"{one['project']}.{one['name']}" if one["section"] == "backups" else one["name"]
        return f"{report['host']} · {name}" if self.fleet else str(name)

    def _badge(self, how: Standing) -> str:
        level = "z" if how.kind == "silenced" else how.level
        return f'<span class="b {level}">{mark(level)}{self.t(how.word)}</span>'

    # ---- 3: the last day --------------------------------------------------------------------------------------

    def _day(self) -> str:
        totals: dict[str, float] = {}
        rows: list[tuple[float, Report, Data]] = []
        for report in self.shown:
            for key, value in report["counts"].items():
                if isinstance(value, (int, float)):
                    totals[key] = totals.get(key, 0) + value
            rows += [(incident["from"] or 0, report, incident) for incident in report["incidents"]]
        rows.sort(key=lambda row: (row[2]["to"] is not None, -row[0]))
        summary = [
            self.t(f"n_{word}", n=totals[key])
            for key, word in (
                ("incidents", "incidents"),
                ("escalated", "escalated"),
                ("restarts", "restarts"),
                ("flapping", "flaps"),
                ("suppressed", "suppressed"),
            )
            if totals.get(key)
        ]
        if not rows:
            known = any(set(report["strip"]) - set("0123456789n") for report in self.shown)
            quiet = " · ".join([self.t("quiet_day") if known else self._none(), *summary])
            return self._section("day", self.t("s_day"), f'<p class="calm">{quiet}</p>')
        head = "".join(f"<th>{self.t(key)}</th>" for key in ("from", "what", "duration"))
        table = self._folded(
            [self._incident(report, incident) for _began, report, incident in rows],
            lambda body: f'<table class="cardy ev"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>',
            "more_incidents",
            shown=8,
        )
        return self._section("day", self.t("s_day"), f'<p class="calm">{" · ".join(summary)}</p>{table}')

    def _incident(self, report: Report, incident: Data) -> str:
        began, ended = incident["from"], incident["to"]
        if ended is None:
            lasted = f'<b class="b c">{self.t("ongoing")}</b>'
        elif began is None:
            lasted = "–"
        else:
            lasted = self.tell(lambda language: duration(language, ended - began))
        why = incident["reason"]
        told = self.tell(lambda language: reason(language, why)) if why else ""
        message = esc(incident["message"])
        both = f"{told} — {message}" if told and message else told or message
        return (
            f'<tr><td class="nw">{self.moment(began)}</td><td>{esc(self.name(report, incident["name"]))}'
            f'{self._sub(both)}</td><td class="r">{lasted}</td></tr>'
        )

    def _folded(self, rows: Sequence[str], table: Callable[[str], str], more: str, shown: int = ROWS) -> str:
        """Return a table of the first rows, and one that opens with the others."""
        text = table("".join(rows[:shown]))
        if rows[shown:]:
            count = self.t(more, n=len(rows) - shown)
            text += f'<details class="more"><summary>{count}</summary>{table("".join(rows[shown:]))}</details>'
        return text

    # ---- 4: hosts, services and probes --------------------------------------------------------------------------

    def _hosts(self) -> str:
        parts = [self._tiles()]
        if self.fleet:
            parts.append(self._overview())
            parts += [self._host_details(report) for report in self.shown]
        else:
            parts += [self._hero(report) + self._probe_tables(report) for report in self.shown]
        parts.append(self._legend())
        return self._section("hosts", self.t("s_fleet" if self.fleet else "s_hosts"), "".join(parts))

    def _legend(self) -> str:
        words = (("k", "ok"), ("w", "warning"), ("c", "critical"), ("n", "no_data"))
        items = "".join(
            f'<span class="nw"><svg class="st" viewBox="0 0 24 20" aria-hidden="true"><path class="{kind}" '
            f'd="M0 10h24"/></svg>{self.t(word)}</span>'
            for kind, word in words
        )
        return f'<p class="legend"><span>{self.t("legend")}</span>{items}</p>'

    def _tiles(self) -> str:
        """Return one tile per project and host: what is live, since when, and whether it could be restored."""
        tiles = []
        for report in self.shown:
            for project in report["projects"]:
                if not project["own"]:
                    tiles.append((self._project_level(report, project), report, project))
        if self.fleet and len(tiles) > 2 * CARDS:
            # A tile for each would push the hosts off the page; those that are well stand in their host's part.
            tiles = [tile for tile in tiles if tile[0].kind == "problem"][:CARDS]
        shown = "".join(self._tile(how, report, project) for how, report, project in tiles)
        return f'<ul class="tiles">{shown}</ul>' if shown else ""

    def _project_level(self, report: Report, project: Data) -> Standing:
        if self.faults[id(report)]:
            return Standing("no_data", "no_data", "u")
        if project["waiting"]:
            return Standing("waiting", "waiting", "z")
        return _worst(standings(report, project["name"]))

    def _tile(self, how: Standing, report: Report, project: Data) -> str:
        mine = [probe for probe in report["probes"] if probe["project"] == project["name"]]
        version = (
            esc(project["version"]) if project["version"] else f'<span class="soft">{self.t("version_unknown")}</span>'
        )
        if project["waiting"]:
            version = f'<span class="soft">{self.t("not_released")}</span>'
        lines: list[tuple[str, str]] = []
        if project["live_since"] and not project["waiting"]:
            lines.append(
                ("live_since", f"{self._day_of(project['live_since'])} ({self._short_age(project['live_since'])})")
            )
        if not project["waiting"]:
            released = project["released_at"]
            lines.append(("last_release", self._day_of(released) if released else self.t("no_data")))
            drills = [probe for probe in mine if probe["type"] == "drill"]
            known = [probe["value"] for probe in drills if probe["value"] is not None and probe["status"] != "no_data"]
            proved = max(known, default=None)
            told = self.t("no_data") if proved is None else self.tell(lambda language: ago(language, proved))
            lines.append(("last_drill", told))
            queues = [probe for probe in mine if probe["type"] == "queue"]
            depths = [probe["value"] for probe in queues if probe["value"] is not None and probe["status"] != "no_data"]
            if queues:
                total = sum(depths)
                whole = len(depths) == len(queues)
                lines.append(
                    ("depth", self.tell(lambda language: number(language, total)) if whole else self.t("no_data"))
                )
        state = ""
        if project["maintenance"] or project["releasing"]:
            word = "in_maintenance" if project["maintenance"] else "releasing"
            state = f'<p class="b z">{mark("z")}{self.t(word)}</p>'
        rows = "".join(f"<div><dt>{self.t(key)}</dt><dd>{text}</dd></div>" for key, text in lines)
        where = f' <span class="soft s">{esc(report["host"])}</span>' if self.fleet else ""
        shown = "" if how.word in ("ok", "waiting") else f'<span class="b {how.level} s">{self.t(how.word)}</span>'
        quiet = f'<span class="vh">{self.t(how.word)}</span>' if not shown else ""
        return (
            f'<li class="tile"><h3>{mark(how.level)}<span>{esc(project["title"])}{where}</span>{quiet}{shown}</h3>'
            f'<p class="v">{version}</p>{state}<dl>{rows}</dl></li>'
        )

    def _day_of(self, epoch: float) -> str:
        return self.tell(lambda language: self.zone.date(language, epoch, self.now))

    def _short_age(self, epoch: float) -> str:
        return self.tell(lambda language: duration(language, self.now - epoch))

    def _hero(self, report: Report) -> str:
        """Return the day of the whole host, large, with its hours."""
        line = report["line"]
        drawn = draw.line(line["p50"], line["p95"], self._line_words(report)) if line else ""
        if line:
            latency = self._pair(report)
            drawn += f'<p class="axis"><span>{self.t("latency_of")} <b>{latency}</b></span></p>'
        start = report["strip_end"] - DAY
        hours = "".join(f"<span>{self.zone.clock(start + hour * 3600)}</span>" for hour in (0, 6, 12, 18, 24))
        numbers = "".join(
            f'<span class="n">{self.t(key)} <b>{self._percent(report[field])}</b></span>'
            for key, field in (("up_24h", "up_24h"), ("up_30d", "up_30d"))
        )
        return (
            f'<div class="hero" id="{esc(self.anchor(report))}">'
            f'<div class="head"><h3>{esc(report["host"])}</h3>{numbers}</div>'
            f"{draw.strip(report['strip'], self._strip_words(report['strip'], report['strip_end']))}"
            f'<p class="axis" aria-hidden="true">{hours}</p>{drawn}</div>'
        )

    def _percent(self, value: float | None) -> str:
        if value is None:
            return f'<span class="soft">{self.t("no_data_here")}</span>'
        if value == 100:
            return f"100{HARD}%"
        return self.tell(lambda language: percent(language, value, 2 if value >= 99 else 1))

    def _uptimes(self, one: Data) -> str:
        return "".join(f'<td class="r">{self._percent(one[key])}</td>' for key in ("up_24h", "up_30d"))

    def _pair(self, one: Data) -> str:
        if one["p50"] is None or one["p95"] is None:
            return ""
        low, high = one["p50"], one["p95"]
        digits = 1 if high < 10 else 0
        return self.tell(lambda language: f"{number(language, low, digits)} / {number(language, high, digits)}{HARD}ms")

    def _strip_words(self, encoded: str, end: float) -> str:
        """Return what a strip shows, in words, as SVG: one group per language."""
        start = end - SLOTS * BUCKET
        runs = [(letter, at, count) for letter, at, count in decode(encoded) if letter != "o"]

        def write(language: str) -> str:
            if not runs:
                return say(language, "strip_ok")
            parts = [
                say(
                    language,
                    "strip_from",
                    status=say(language, _LETTER[letter]),
                    from_=self.zone.clock(start + at * BUCKET),
                    to=self.zone.clock(start + (at + count) * BUCKET),
                )
                for letter, at, count in runs[:4]
            ]
            if runs[4:]:
                parts.append(say(language, "and_more", n=len(runs) - 4))
            return say(language, "strip_bad", parts=", ".join(parts))

        return _words(write, f'width="{SLOTS}" height="20"')

    def _line_words(self, one: Data) -> str:
        low, high = one["p50"], one["p95"]
        if low is None or high is None:
            return _words(lambda language: say(language, "line_none"), 'width="95" height="22"')
        return _words(
            lambda language: say(
                language, "line_text", p50=number(language, low, 0 if low >= 10 else 1), p95=number(language, high)
            ),
            'y="-1" width="95" height="22"',
        )

    def _overview(self) -> str:
        head = "".join(
            f"<th{right}>{self.t(key)}</th>" if key else "<td></td>"
            for key, right in (
                ("state", ""), ("of_host", ""), ("last_24h", ""), ("latency", ""), ("", ""),
                ("up_24h", ' class="r"'), ("up_30d", ' class="r"'),
            )
        )  # fmt: skip
        rows = "".join(self._overview_row(report) for report in self.reports)
        return f'<table class="cardy ho"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'

    def _overview_row(self, report: Report) -> str:
        broken = self.faults[id(report)]
        target = esc(self.anchor(report))
        if broken or "probes" not in report:
            word = "unreadable" if "unreadable" in report else "silent"
            if broken and broken.word == "host_no_data":
                word = "blind"
            badge = self._badge(Standing("problem", word, "c"))
            where = f'id="{target}"' if "probes" not in report else ""
            name = esc(report["host"]) if where else f'<a href="#{target}">{esc(report["host"])}</a>'
            told = self._fault_words(report)
            return f'<tr class="c" {where}><td>{badge}</td><td>{name}</td><td colspan="5">{told}</td></tr>'
        levels = standings(report)
        good = sum(how.kind == "ok" for how in levels)
        how = _worst(levels)
        count = self.t("n_of", good=good, all=len(report["probes"]))
        line = report["line"]
        drawn = draw.line(line["p50"], line["p95"], self._line_words(report)) if line else ""
        strip = draw.strip(report["strip"], self._strip_words(report["strip"], report["strip_end"]))
        return (
            f'<tr><td>{self._badge(how)}</td><td><a href="#{target}">{esc(report["host"])}</a>{self._sub(count)}</td>'
            f'<td>{strip}</td><td>{drawn}</td><td class="nw">{self._pair(report)}</td>'
            f"{self._uptimes(report)}</tr>"
        )

    def _host_details(self, report: Report) -> str:
        url = report["url"]
        link = f'<p class="s"><a href="{esc(url)}">{self.t("own_page")}</a></p>' if _safe(url) else ""
        count = self.t("probes", n=len(report["probes"]))
        return (
            f'<details class="host" id="{esc(self.anchor(report))}"><summary><h3>{esc(report["host"])}</h3>'
            f'<span class="soft s">{count}</span></summary>{link}{self._probe_tables(report)}</details>'
        )

    def _probe_tables(self, report: Report) -> str:
        parts = []
        projects = [*report["projects"]]
        known = {project["name"] for project in projects}
        for probe in report["probes"]:
            if probe["project"] not in known:
                known.add(probe["project"])
                projects.append({"name": probe["project"], "title": probe["project"], "own": False, "waiting": False})
        head = "".join(
            f"<th{right}>{self.t(key)}</th>" if key else "<td></td>"
            for key, right in (
                ("state", ""), ("probe", ""), ("last_24h", ""), ("latency", ""), ("value", ""),
                ("up_24h", ' class="r"'), ("up_30d", ' class="r"'),
            )
        )  # fmt: skip
        for project in projects:
            mine = [probe for probe in report["probes"] if probe["project"] == project["name"]]
            if not mine:
                continue
            mine.sort(key=lambda probe: (_KINDS.index(standing(probe).kind), probe["name"]))
            good = sum(standing(probe).kind == "ok" for probe in mine)
            rows = "".join(self._probe_row(report, probe) for probe in mine)
            count = self.t("n_of", good=good, all=len(mine))
            tag = "h4" if self.fleet else "h3"
            opened = " open" if good < len(mine) or (len(report["probes"]) <= OPEN and not self.fleet) else ""
            strip = worst_strip([probe["strip"] for probe in mine])
            whole = self._percent(_mean(probe["up_24h"] for probe in mine))
            month = self._percent(_mean(probe["up_30d"] for probe in mine))
            parts.append(
                f'<details class="group"{opened}><summary><{tag}>{esc(project["title"])} '
                f'<span class="soft s nw">{count}</span></{tag}>'
                f"{draw.strip(strip, self._strip_words(strip, report['strip_end']))}"
                f'<span class="r">{whole}</span><span class="r">{month}</span></summary>'
                f'<table class="cardy pr"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></details>'
            )
        return "".join(parts)

    def _probe_row(self, report: Report, probe: Data) -> str:
        how = standing(probe)
        anchor = esc(self.anchor(report, probe["name"]))
        prefix = f"{probe['project']}."
        short = esc(probe["name"][len(prefix) :] if probe["name"].startswith(prefix) else probe["name"])
        name = short if self.fleet else f'<a class="q" href="#{anchor}">{short}</a>'
        note = ""
        if how.kind in ("problem", "watch", "silenced"):
            note = self._sub(self._message(Problem(report, probe, how, None)))
        elif how.kind == "no_data" and probe["title"]:
            note = self._sub(self.t("wanted", what=probe["title"]))
        # Of a day without a fault the words beside it say as much, and the figures beside a line the same as it.
        words = "" if probe["strip"] == f"{SLOTS}o" else self._strip_words(probe["strip"], report["strip_end"])
        line = probe["line"]
        drawn = ""
        if line and not self.fleet:
            drawn = draw.line(line["p50"], line["p95"])
        value = self._pair(probe) if probe["unit"] == "ms" and probe["p50"] is not None else self._value(probe)
        return (
            f'<tr id="{anchor}" class="{how.level}"><td>{self._badge(how)}</td><td>{name}{note}</td>'
            f"<td>{draw.strip(probe['strip'], words)}</td><td>{drawn}</td><td>{value}</td>"
            f"{self._uptimes(probe)}</tr>"
        )

    def _value(self, probe: Data) -> str:
        value, unit = probe["value"], probe["unit"]
        if value is None or probe["status"] in ("no_data", "waiting"):
            return ""
        return self._quantity(value, unit)

    def _quantity(self, value: float, unit: str) -> str:
        return self.tell(_quantity_of(value, unit))

    # ---- 5 to 10: panels --------------------------------------------------------------------------------------

    def _of(self, section: str) -> list[tuple[Report, Data, Standing]]:
        return [
            (report, probe, standing(probe))
            for report in self.shown
            for probe in report["probes"]
            if probe["section"] == section
        ]

    def _expected(self, section: str) -> list[tuple[Report, Data]]:
        return [(report, one) for report, one in self.assessment.expected if one["section"] == section]

    def _where(self, report: Report, project: str) -> str:
        title = next((one["title"] for one in report["projects"] if one["name"] == project), project)
        return f"{esc(report['host'])} · {esc(title)}" if self.fleet else esc(title)

    def _missing_row(self, report: Report, one: Data, columns: int) -> str:
        badge = self._badge(Standing("no_data", "no_data", "u"))
        where = self._sub(f"{self._where(report, one['project'])} — {self.t('not_probed')}")
        return f'<tr><td>{esc(one["name"])}{where}</td><td colspan="{columns}">{badge}</td></tr>'

    def _panel(self, section: str, rows: list[str], head: Sequence[str], empty: str, *, bare: bool = True) -> str:
        title = self.t(f"s_{section}")
        if not rows:
            return self._section(section, title, f'<p class="calm">{self.t(empty)}</p>', "panel")
        cells = "".join(f"<th>{self.t(key)}</th>" if key else "<td></td>" for key in head)
        kind = ' class="bare"' if bare else ""

        def table(some: str) -> str:
            text = f"<table{kind}><thead><tr>{cells}</tr></thead><tbody>{some}</tbody></table>"
            if bare:
                return text
            return f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{section}-h">{text}</div>'

        body = self._folded(rows, table, "others")
        return self._section(section, title, body, "panel")

    def _tls(self) -> str:
        """Certificates, those that end first at the top: of probes of certificates, and of sites that none looks at."""
        found: dict[tuple[int, str], tuple[float, Report, Data]] = {}
        for report in self.shown:
            for probe in report["probes"]:
                days = probe["details"].get("tls_days")
                if days is None and probe["type"] == "tls":
                    days = probe["value"]
                host = str(probe["details"].get("host") or probe["name"])
                if probe["type"] != "tls" and (days is None or any(key == (id(report), host) for key in found)):
                    continue
                unknown = not isinstance(days, (int, float)) or probe["status"] in ("no_data", "waiting")
                if probe["type"] == "tls" or not unknown:
                    found[id(report), host] = (-1e6 if unknown else float(days), report, probe)
        rows = [self._missing_row(report, one, 2) for report, one in self._expected("tls")]
        for (_report, host), (days, report, probe) in sorted(found.items(), key=lambda item: item[1][0]):
            rows.append(self._tls_row(host, days, report, probe))
        return self._panel("tls", rows, ("what", "", ""), "no_tls")

    def _tls_row(self, host: str, days: float, report: Report, probe: Data) -> str:
        notes = [self._where(report, probe["project"])]
        if days == -1e6:
            how = standing(probe)
            return f'<tr><td>{esc(host)}{self._sub(notes[0])}</td><td colspan="2">{self._badge(how)}</td></tr>'
        level = tls_level(probe, days)
        chain = probe["details"].get("chain_days")
        why = probe["reason"]
        if why.startswith("tls_"):
            notes.append(self.tell(lambda language: reason(language, why)))
        tick = None
        if isinstance(chain, (int, float)) and chain < days:
            level = "c" if chain < 7 else "w" if chain < 21 and level == "k" else level
            notes.append(self.t("chain", n=chain))
            tick = chain / 0.9
        ends = self._day_of(self.now + days * DAY)
        text = self.t("expired") if days < 0 else self.t("d", n=int(days))
        shown = text if level == "k" else f'<span class="b {level}">{mark(level)}{text}</span>'
        drawn = draw.meter(days / 0.9, level, tick)
        return (
            f'<tr><td>{esc(host)}{self._sub(" · ".join(notes))}</td><td style="width:32%">{drawn}</td>'
            f'<td class="r">{shown}<span class="sub">{ends}</span></td></tr>'
        )

    def _backups(self) -> str:
        rows = [self._missing_row(report, one, 2) for report, one in self._expected("backups")]
        found = sorted(self._of("backups"), key=_worst_first)
        drills = {
            (id(report), one["project"], _last(one)): one for report, one, _how in found if one["type"] == "drill"
        }
        for report, probe, how in found:
            if probe["type"] == "backup":
                drill = drills.pop((id(report), probe["project"], _last(probe)), None)
                rows.append(self._backup_row(report, probe, how, drill))
        for report, probe, how in found:
            if drills.get((id(report), probe["project"], _last(probe))) is probe:
                rows.append(self._backup_row(report, probe, how, None))
        return self._panel("backups", rows, ("what", "state", "age"), "no_backups")

    def _backup_row(self, report: Report, probe: Data, how: Standing, drill: Data | None) -> str:
        details = probe["details"]
        bytes_, change = details.get("bytes"), details.get("change_pct")
        amount = ""
        if isinstance(bytes_, (int, float)) and probe["status"] not in ("no_data", "waiting"):
            amount = self.tell(lambda language: size(language, bytes_))
            if isinstance(change, (int, float)):
                sign = "+" if change >= 0 else "−"
                amount += f" ({self.tell(lambda language: sign + percent(language, abs(change), 1))})"
        where = self._sub(self._where(report, probe["project"]))
        name = self.t("drill") if probe["type"] == "drill" else esc(_last(probe))
        if drill:
            where += self._sub(self._restored(drill))
        return (
            f"<tr><td>{name}{where}</td><td>{self._quiet_badge(how)}</td>"
            f'<td class="r">{self._aged(probe)}{self._sub(amount)}</td></tr>'
        )

    def _restored(self, drill: Data) -> str:
        """Return when a restore was proved last; with its mark when that is not well."""
        how = standing(drill)
        value = drill["value"]
        if drill["status"] in ("no_data", "waiting"):
            text = f"{self.t('drill')}: {self.t('no_data')}"
        elif value is None:
            text = self.t("never_restored")
        else:
            text = self.t("restored", age=lambda language: ago(language, value))
        return text if how.kind == "ok" else f'<span class="b {how.level}">{mark(how.level)}{text}</span>'

    def _aged(self, probe: Data) -> str:
        value = probe["value"]
        if value is None or probe["status"] in ("no_data", "waiting"):
            return ""
        return self.tell(lambda language: ago(language, value))

    def _quiet_badge(self, how: Standing) -> str:
        """Return the badge; of what is well the mark alone is seen."""
        return self._badge(how) if how.kind != "ok" else f'{mark("k")}<span class="vh">OK</span>'

    def _disks(self) -> str:
        rows = []
        for report, probe, how in sorted(self._of("disks"), key=_worst_first):
            rows.append(
                self._disk_row(report, probe, how) if probe["type"] == "disk" else self._size_row(report, probe, how)
            )
        return self._panel("disks", rows, ("what", "", ""), "no_disks")

    def _disk_row(self, report: Report, probe: Data, how: Standing) -> str:
        details = probe["details"]
        path = esc(details.get("path") or "/")
        name = f"{esc(report['host'])}:{path}" if self.fleet else path
        free, inodes = details.get("free_bytes"), details.get("inodes_used_pct")
        notes = []
        blind = how.kind in ("no_data", "waiting")
        if isinstance(free, (int, float)) and not blind:
            notes.append(self.t("free", size=lambda language: size(language, free)))
        if isinstance(inodes, (int, float)) and not blind:
            notes.append(self.t("inodes", n=lambda language: percent(language, inodes)))
        if details.get("read_only") is True:
            notes.append(f'<b class="b c">{self.t("read_only")}</b>')
        known = [value for value in probe["days"] if value is not None]
        drawn = ""
        if len(known) > 1:
            low, high = min(known), max(known)
            words = _words(
                lambda language: say(
                    language, "month_line", low=number(language, low, 0), high=number(language, high, 0)
                ),
                'y="-1" width="29" height="22"',
            )
            drawn = draw.month(probe["days"], how.level, words)
        left = details.get("full_in_days")
        if blind:
            trend = ""
        elif isinstance(left, (int, float)) and left >= 0:
            end = self.zone
            trend = self.t(
                "full_on",
                date=lambda language: end.date(language, self.now + left * DAY, self.now),
                days=lambda language: ahead(language, left * DAY),
            )
        elif len(known) < 7:
            trend = self.t("trend_unknown")
        else:
            trend = self.t("not_filling")
        value = self._value(probe)
        state = (
            value
            if how.kind == "ok"
            else f'<span class="b {how.level}">{mark(how.level)}{value or self.t(how.word)}</span>'
        )
        return (
            f'<tr><td><span class="mono">{name}</span>{self._sub(" · ".join(notes))}</td>'
            f'<td style="width:30%">{drawn}</td>'
            f'<td class="r">{state}<span class="sub">{trend}</span></td></tr>'
        )

    def _size_row(self, report: Report, probe: Data, how: Standing) -> str:
        name = probe["name"][len(probe["project"]) + 1 :]
        value = self._value(probe)
        most = probe["details"].get("max_bytes")
        drawn = ""
        if isinstance(most, (int, float)) and most > 0 and probe["value"] is not None:
            drawn = draw.meter(100 * probe["value"] / most, how.level)
        state = (
            value
            if how.kind == "ok"
            else f'<span class="b {how.level}">{mark(how.level)}{value or self.t(how.word)}</span>'
        )
        return (
            f"<tr><td>{esc(name)}{self._sub(self._where(report, probe['project']))}</td><td>{drawn}</td>"
            f'<td class="r">{state}</td></tr>'
        )

    def _machine(self) -> str:
        blocks = [self._machine_of(report) for report in self.shown if self._current(report)]
        if not self.fleet:
            body = "".join(blocks) or f'<p class="calm">{self.t("no_machine")}</p>'
            return self._section("machine", self.t("s_machine"), body, "panel")
        rows = [self._machine_row(report) for report in self.shown if self._current(report)]
        head = ("of_host", "memory", "cpu", "load", "updates", "reboot")
        return self._panel("machine", rows, head, "no_machine", bare=False)

    def _gauges(self, report: Report) -> dict[str, tuple[str, Data, Standing]]:
        """Return memory, swap, processor and load of a host: text, probe, standing."""
        found: dict[str, tuple[str, Data, Standing]] = {}
        for probe in report["probes"]:
            if probe["section"] != "machine" or probe["value"] is None or probe["status"] == "no_data":
                continue
            value, peak, unit = probe["value"], probe["peak"], probe["unit"]
            text = self._quantity(value, unit)
            if peak is not None and peak > value:
                told = self.t("peak", n=_quantity_of(peak, unit))
                text += f' <span class="soft s">{told}</span>'
            found[probe["type"]] = (text, probe, standing(probe))
        return found

    def _machine_of(self, report: Report) -> str:
        facts = report["facts"]
        gauges = self._gauges(report)
        rows = []
        for kind in ("memory", "cpu", "load"):
            if kind not in gauges:
                rows.append((kind, self._none()))
                continue
            text, probe, how = gauges[kind]
            share = probe["value"]
            if kind == "load":
                cpus = facts.get("cpus")
                share = 100 * share / cpus if isinstance(cpus, (int, float)) and cpus > 0 else None
            drawn = "" if share is None else draw.meter(share, how.level)
            rows.append(
                (
                    kind,
                    drawn
                    + (text if how.kind == "ok" else f'<span class="b {how.level}">{mark(how.level)}{text}</span>'),
                )
            )
            swap = probe["details"].get("swap_used_pct")
            if kind == "memory" and isinstance(swap, (int, float)):
                rows.append(("swap", draw.meter(swap, "k") + self._quantity(swap, "%")))
        rows.append(("updates", self._updates(facts)))
        rows.append(("reboot", self._reboot(facts)))
        up = facts.get("uptime")
        rows.append(
            (
                "uptime",
                self.tell(lambda language: duration(language, up)) if isinstance(up, (int, float)) else self._none(),
            )
        )
        system = " · ".join(esc(facts[key]) for key in ("distribution", "kernel") if facts.get(key))
        rows.append(("system", system or self._none()))
        return f'<dl class="kv">{"".join(f"<dt>{self.t(key)}</dt><dd>{text}</dd>" for key, text in rows)}</dl>'

    def _machine_row(self, report: Report) -> str:
        gauges = self._gauges(report)
        cells = "".join(
            f"<td>{gauges[kind][0] if kind in gauges else self._none()}</td>" for kind in ("memory", "cpu", "load")
        )
        return (
            f"<tr><td>{esc(report['host'])}</td>{cells}<td>{self._updates(report['facts'])}</td>"
            f"<td>{self._reboot(report['facts'])}</td></tr>"
        )

    def _none(self) -> str:
        return f'<span class="b u">{mark("u")}{self.t("no_data_here")}</span>'

    def _updates(self, facts: Data) -> str:
        count, security, fetched = facts["updates"], facts["security_updates"], facts["lists_at"]
        if count is None:
            return self._none()
        text = self.t("n_updates", n=count) if count else self.t("up_to_date")
        if security:
            text = f'<span class="b w">{mark("w")}{text}, {self.t("n_security", n=security)}</span>'
        if fetched is not None and self.now - fetched > 3 * DAY:
            told = self.t("lists_old", age=lambda language: duration(language, self.now - fetched))
            text += f' <span class="b w">{mark("w")}{told}</span>'
        return text

    def _reboot(self, facts: Data) -> str:
        needed = facts["reboot"]
        if needed is True:
            why = ", ".join(esc(one) for one in facts["reboot_for"] or ())
            return f'<span class="b w">{mark("w")}{self.t("reboot_needed")}</span>{self._sub(why)}'
        return self.t("reboot_no") if needed is False else self._none()

    def _queues(self) -> str:
        rows = []
        for report, probe, how in sorted(self._of("queues"), key=_worst_first):
            name = probe["name"][len(probe["project"]) + 1 :]
            where = " · ".join([self._where(report, probe["project"]), *self._queue_notes(probe)])
            shown = self._aged(probe) if probe["type"] == "heartbeat" else self._depth(probe)
            rows.append(
                f"<tr><td>{esc(name)}{self._sub(where)}</td><td>{self._quiet_badge(how)}</td>"
                f'<td class="r">{shown}</td></tr>'
            )
        return self._panel("queues", rows, ("what", "state", ""), "no_queues")

    def _depth(self, probe: Data) -> str:
        known = probe["value"] is not None and probe["status"] not in ("no_data", "waiting")
        return self.t("jobs", n=probe["value"]) if known else ""

    def _queue_notes(self, probe: Data) -> Iterable[str]:
        details = probe["details"]
        oldest, failed, workers = (_figure(details.get(key)) for key in ("oldest_s", "failed", "workers"))
        if oldest:
            yield self.t("oldest", age=lambda language: duration(language, oldest))
        if failed:
            yield self.t("n_failed", n=failed)
        if workers is not None:
            yield self.t("n_workers", n=workers)
        if details.get("paused") is True:
            yield f"<b>{self.t('paused')}</b>"

    def _monitor(self) -> str:
        if self.fleet:
            rows = [self._monitor_row(report) for report in self.shown]
            head = ("of_host", "round", "overruns", "undelivered", "without_data")
            return self._panel("monitor", rows, head, "nothing", bare=False)
        body = "".join(
            '<dl class="kv">'
            + "".join(f"<dt>{self.t(key)}</dt><dd>{text}</dd>" for key, text in self._monitor_facts(report))
            + "</dl>"
            for report in self.shown
        )
        return self._section("monitor", self.t("s_monitor"), body or f'<p class="calm">{self._none()}</p>', "panel")

    def _counted(self, value: Any, level: str = "w") -> str:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return self._none()
        if not value:
            return f'<span class="soft">{self.t("none")}</span>'
        return f'<span class="b {level}">{mark(level)}{self.tell(lambda language: number(language, value))}</span>'

    def _round(self, report: Report) -> str:
        run = report["run"]
        if run is None:
            return self._none()
        told = self.age(run)
        return told if self._current(report) else f'<span class="b c">{mark("c")}{told}</span>'

    def _without_data(self, report: Report) -> int:
        blind = [probe for probe in report["probes"] if probe["status"] == "no_data"]
        return len(blind) + len(report["expected"])

    def _monitor_facts(self, report: Report) -> Iterable[tuple[str, str]]:
        monitor, counts = report["monitor"], report["counts"]
        took = monitor["duration"]
        done = ""
        if isinstance(took, (int, float)) and monitor["probes"] is not None:
            told = self.t(
                "took",
                probes=lambda language: say(language, "probes", n=monitor["probes"]),
                time=lambda language: duration(language, took),
            )
            done = f' <span class="soft">({told})</span>'
        yield "round", self._round(report) + done
        yield "overruns", self._counted(counts.get("overruns"))
        waiting = self._counted(monitor["undelivered"])
        if monitor["undelivered"] and monitor["oldest_undelivered"]:
            oldest = monitor["oldest_undelivered"]
            waiting += self._sub(self.t("oldest_message", age=lambda language: ago(language, self.now - oldest)))
        yield "undelivered", waiting
        yield "failed_deliveries", self._counted(counts.get("delivery_failed"))
        yield "expired_acks", self._counted(counts.get("ack_expired"))
        yield "without_data", self._counted(self._without_data(report), "u")
        faults = self._counted(counts.get("own_faults"))
        yield "own_faults", faults + "".join(self._sub(esc(text)) for text in monitor["faults"])
        yield "guards", self._counted(len(monitor["guards"]), "c") + self._sub(esc(", ".join(monitor["guards"])))
        if monitor["damaged"]:
            yield "damaged", self._counted(monitor["damaged"])

    def _monitor_row(self, report: Report) -> str:
        return (
            f"<tr><td>{esc(report['host'])}</td><td>{self._round(report)}</td>"
            f"<td>{self._counted(report['counts'].get('overruns'))}</td>"
            f"<td>{self._counted(report['monitor']['undelivered'])}</td>"
            f"<td>{self._counted(self._without_data(report), 'u')}</td></tr>"
        )


_CHIPS: Final = (
    ("c", "critical"), ("w", "warning"), ("u", "unknown"), ("w", "watch"), ("u", "no_data"), ("k", "ok"),
    ("z", "silenced"), ("z", "waiting"),
)  # fmt: skip
_KINDS: Final = ("problem", "watch", "no_data", "silenced", "waiting", "ok")


def _quantity_of(value: float, unit: str) -> Teller:
    """Return how to write a value; a function of its own, because one that is made in a loop sees the last value."""
    return lambda language: quantity(language, value, unit)


def worst_strip(strips: Sequence[str]) -> str:
    """Return the strip that shows the worst of several."""
    order = "nowuc"
    slots = [0] * SLOTS
    for strip in strips:
        for letter, at, count in decode(strip):
            rank = order.index(letter)
            if rank == 0:
                continue
            for slot in range(at, at + count):
                slots[slot] = max(slots[slot], rank)
    return encode(order[rank] for rank in slots)


def _worst(levels: Sequence[Standing]) -> Standing:
    """Return the standing that speaks for several; of none nothing is known."""
    worst = min(levels, key=lambda how: (_KINDS.index(how.kind), "cwuzk".index(how.level)), default=None)
    if worst is None:
        return Standing("no_data", "no_data", "u")
    return Standing("watch", "watch", "w") if worst.kind == "watch" else worst


def _figure(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _acked(problem: Problem) -> str:
    """Return who handles a problem."""
    alert = (problem.probe or {}).get("alert") or {}
    return str(alert.get("acked_by") or "")


def _last(probe: Mapping[str, Any]) -> str:
    """Return what a probe is about: C(database) of C(masstock.backup.database)."""
    return str(probe["name"].rsplit(".", 1)[-1])


def _worst_first(row: tuple[Report, Data, Standing]) -> tuple[Any, ...]:
    report, probe, how = row
    return (_KINDS.index(how.kind), probe["type"] in ("drill", "size"), report["host"], probe["name"])


def _words(write: Teller, frame: str) -> str:
    """Return what a picture shows in words, within it: read aloud, and shown under a pointer."""
    return "".join(
        f'<g lang="{language}" role="img"><title>{esc(write(language))}</title><rect {frame}/></g>'
        for language in LANGUAGES
    )


def _way(kind: str, value: str) -> str:
    """Return a way to reach a person as a link, when it is what it says."""
    text = esc(value)
    if kind == "phone" and re.fullmatch(r"\+?[\d ().-]{5,30}", value):
        return f'<a class="nw" href="tel:{re.sub(r"[^+0-9]", "", value)}">{text}</a>'
    if kind == "email" and re.fullmatch(r"[\w.+-]+@[\w.-]+", value):
        return f'<a href="mailto:{text}">{text}</a>'
    if kind == "link" and _safe(value):
        return f'<a href="{text}">{text}</a>'
    return text


def _safe(url: str) -> bool:
    return bool(re.match(r"https?://[^\s<>\"']+\Z", url))


def _forget(report: Report) -> None:
    """Take back what a report says when it is too old: nothing of it is known to be so now."""
    for probe in report["probes"]:
        if probe["status"] != "waiting":
            probe["status"] = "no_data"
        probe["alert"] = None


__all__ = ["CONTENT_POLICY", "esc", "html"]
