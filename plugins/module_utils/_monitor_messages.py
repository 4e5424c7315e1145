# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of alerts: subjects, bodies in the team's languages, and the same for machines."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

Item = Mapping[str, Any]

SUBJECT_LENGTH: Final = 120
TEXT_LENGTH: Final = 3000  # of the short text for chats
NAMES_SHOWN: Final = 40
LINE_LENGTH: Final = 300

REASON_WORDS: Final = {
    "en": {
        "dns": "the name is not resolved",
        "timeout": "no answer in time",
        "refused": "the connection is refused",
        "reset": "the connection breaks off",
        "tls_expired": "the certificate has expired",
        "tls_host": "the certificate is for another name",
        "tls_chain": "the certificate's chain is incomplete or not trusted",
        "tls_other": "TLS fails",
        "status": "the answer's status is wrong",
        "body": "the answer's content is wrong",
        "json": "the answer's data are wrong",
        "latency": "it is too slow",
        "size": "the size is wrong",
        "redirect": "the redirect is wrong",
        "auth": "the login is refused",
        "proto": "the answer does not follow the protocol",
        "stale": "it is too old",
        "missing": "it is missing",
        "empty": "it is empty",
        "threshold": "a limit is crossed",
        "heartbeat": "no sign of life",
        "restarts": "it restarts again and again",
        "own_error": "the watch itself could not check",
    },
    "fr": {
        "dns": "le nom n'est pas résolu",
        "timeout": "pas de réponse à temps",
        "refused": "la connexion est refusée",
        "reset": "la connexion est coupée",
        "tls_expired": "le certificat a expiré",
        "tls_host": "le certificat est établi pour un autre nom",
        "tls_chain": "la chaîne de certificats est incomplète ou non reconnue",
        "tls_other": "la connexion TLS échoue",
        "status": "le code de réponse n'est pas celui attendu",
        "body": "le contenu de la réponse n'est pas celui attendu",
        "json": "les données de la réponse ne sont pas celles attendues",
        "latency": "trop lent",
        "size": "la taille est anormale",
        "redirect": "la redirection n'est pas celle attendue",
        "auth": "l'authentification est refusée",
        "proto": "la réponse ne respecte pas le protocole",
        "stale": "trop ancien",
        "missing": "absent",
        "empty": "vide",
        "threshold": "un seuil est franchi",
        "heartbeat": "aucun signe de vie",
        "restarts": "redémarre sans cesse",
        "own_error": "la surveillance elle-même n'a pas pu vérifier",
    },
}

# One table per language, the same keys in each.
WORDS: Final = {
    "en": {
        "language": "English",
        "firing": "new alert",
        "worse": "worse than before",
        "escalated": "ESCALATED, nobody has acknowledged it",
        "reminder": "REMINDER, still not acknowledged",
        "flapping": "FLAPPING, it fails and recovers again and again; further changes are not told",
        "ack": "acknowledged",
        "ack_expired": "the acknowledgement has expired and it is still bad",
        "maintenance_end": "still bad after the maintenance or release",
        "own_fault": "OWN FAULT of the watch",
        "steady": "no longer flapping",
        "steady_bad": "no longer flapping, and bad",
        "resolved": "RESOLVED",
        "unwatched": "RESOLVED: no longer watched",
        "warning": "WARNING",
        "critical": "CRITICAL",
        "none": "UNKNOWN",
        "seen": "Seen",
        "value": "Value",
        "limit_warn": "warning",
        "limit_crit": "critical",
        "since": "Since",
        "last_ok": "Last good",
        "never": "never since it is watched",
        "was_bad": "It was bad for",
        "from_to": "from {0} to {1}",
        "range": "Lowest and highest value",
        "runs": "Runs",
        "runs_bad": "{0} bad of {1}",
        "runs_missed": "{0} runs of the watch did not take place",
        "flips": "Changes",
        "flips_duty": "{0}, bad in {1} % of the runs",
        "behind": "Not told apart, because it depends on this",
        "next": "Next step without an answer",
        "acked": "By",
        "acked_until": "{0}, silent until {1}",
        "hint": "What to do",
        "runbook": "Runbook",
        "log": "Last lines",
        "ack_how": "Acknowledge",
        "you": "YOU",
        "still": "Still bad",
        "contacts": "Contacts of {0}",
        "level": "level {0}",
        "digest": "Too many messages: {0} in the last hour, {1} news held back. Loudest: {2}.",
        "digest_until": "Until {0} only critical news is sent; then a summary.",
        "digest_nothing": "Nothing is bad any more.",
        "and_more": "and {0} more",
        "day": "d",
        "subject_escalated": "ESCALATED",
        "subject_reminder": "REMINDER",
        "subject_flapping": "FLAPPING",
        "subject_ack": "ACK",
        "subject_ack_expired": "ACK EXPIRED",
        "subject_own_fault": "OWN FAULT",
        "subject_maintenance_end": "STILL BAD",
        "subject_steady": "STEADY",
        "subject_worse": "WORSE",
        "subject_digest": "DIGEST",
        "subject_behind": "{0} behind it",
        "subject_messages": "{0} messages in 1 h",
    },
    "fr": {
        "language": "Français",
        "firing": "nouvelle alerte",
        "worse": "plus grave qu'avant",
        "escalated": "ESCALADE, alerte non acquittée",
        "reminder": "RAPPEL, alerte toujours non acquittée",
        "flapping": "INSTABLE, tombe et se rétablit sans cesse ; les prochains changements ne seront pas signalés",
        "ack": "alerte acquittée",
        "ack_expired": "l'acquittement a expiré et le problème persiste",
        "maintenance_end": "toujours en défaut après la maintenance ou la mise en production",
        "own_fault": "DÉFAUT DE LA SURVEILLANCE elle-même",
        "steady": "de nouveau stable",
        "steady_bad": "de nouveau stable, et en défaut",
        "resolved": "RÉSOLU",
        "unwatched": "RÉSOLU : n'est plus surveillé",
        "warning": "AVERTISSEMENT",
        "critical": "CRITIQUE",
        "none": "INCONNU",
        "seen": "Constaté",
        "value": "Valeur",
        "limit_warn": "avertissement",
        "limit_crit": "critique",
        "since": "Depuis",
        "last_ok": "Dernier bon résultat",
        "never": "jamais depuis le début de la surveillance",
        "was_bad": "Durée du défaut",
        "from_to": "du {0} au {1}",
        "range": "Valeurs minimale et maximale",
        "runs": "Contrôles",
        "runs_bad": "{0} en échec sur {1}",
        "runs_missed": "{0} passages de la surveillance n'ont pas eu lieu",
        "flips": "Changements d'état",
        "flips_duty": "{0}, en défaut dans {1} % des contrôles",
        "behind": "Non signalés séparément, car ils en dépendent",
        "next": "Prochaine étape, faute de réponse",
        "acked": "Par",
        "acked_until": "{0}, silence jusqu'au {1}",
        "hint": "Que faire",
        "runbook": "Procédure",
        "log": "Dernières lignes",
        "ack_how": "Acquitter",
        "you": "VOUS",
        "still": "Toujours en défaut",
        "contacts": "Contacts de {0}",
        "level": "niveau {0}",
        "digest": "Trop de messages : {0} au cours de la dernière heure, {1} retenus. Sondes les plus bruyantes : {2}.",
        "digest_until": "Jusqu'au {0}, seules les alertes critiques sont envoyées ; un résumé suivra.",
        "digest_nothing": "Plus rien n'est en défaut.",
        "and_more": "et {0} autres",
        "day": "j",
        "subject_escalated": "ESCALADE",
        "subject_reminder": "RAPPEL",
        "subject_flapping": "INSTABLE",
        "subject_ack": "ACQUITTÉ",
        "subject_ack_expired": "ACQUITTEMENT EXPIRÉ",
        "subject_own_fault": "DÉFAUT DE SURVEILLANCE",
        "subject_maintenance_end": "TOUJOURS EN DÉFAUT",
        "subject_steady": "STABLE",
        "subject_worse": "AGGRAVÉ",
        "subject_digest": "RÉSUMÉ",
        "subject_behind": "{0} en aval",
        "subject_messages": "{0} messages en 1 h",
    },
}


class _Voice(NamedTuple):
    """The language and the time in which something is said."""

    language: str
    words: Mapping[str, str]
    reasons: Mapping[str, str]
    now: float
    zone: str

    def label(self, key: str) -> str:
        """Give a heading with its colon."""
        return f"{self.words[key]}{self.colon}"

    @property
    def colon(self) -> str:
        """The colon as the language sets it."""
        return " :" if self.language == "fr" else ":"

    def moment(self, when: float) -> str:
        """Write a time."""
        return moment(when, self.zone)

    def span(self, duration: float) -> str:
        """Write a duration."""
        return span(duration, self.words["day"])

    def amount(self, value: Any, item: Item) -> str:
        """Write a value of an item."""
        return amount(value, one_line(str(item.get("unit") or ""), 20), self.words["day"])


def compose(
    kind: str,
    channel: str,
    items: Sequence[Item],
    config: Mapping[str, Any],
    now: float,
    *,
    still: Sequence[Item] = (),
    digest: Mapping[str, Any] | None = None,
) -> tuple[str, str, dict[str, Any]]:
    """Put the news of one run into words: subject, body, and the same for machines (C(text) fits a chat).

    C(items) are news as C(_monitor_state) makes them, the most important first, C(still) the other open alerts that
    concern the channel, C(digest) what was held back in a flood.
    """
    languages = [one for one in config.get("languages") or ("en",) if one in WORDS] or ["en"]
    zone = str(config.get("timezone") or "")
    host = one_line(str(config.get("host") or ""), 60)
    subject = subject_of(kind, host, items, WORDS[languages[0]], digest)
    voices = [_Voice(one, WORDS[one], REASON_WORDS[one], now, zone) for one in languages]
    parts = []
    for voice in voices:
        blocks = [_digest(digest, items, still, voice)] if digest else []
        blocks += [_block(item, voice) for item in items]
        if still:
            blocks.append(_still(still, voice))
        part = "\n\n".join([*blocks, *_contacts(items, config, voice)])
        parts.append(f"== {voice.words['language']} ==\n\n{part}" if len(voices) > 1 else part)
    data = {
        "version": 1,
        "host": host,
        "kind": kind,
        "channel": channel,
        "at": now,
        "time": moment(now, zone),
        "items": [dict(item) for item in items],
        "still": [dict(one) for one in still],
        "digest": dict(digest) if digest else None,
        "text": _text(subject, items, still, voices[0]),
    }
    return subject, "\n\n".join(parts) + "\n", data


def subject_of(
    kind: str, host: str, items: Sequence[Item], words: Mapping[str, str], digest: Mapping[str, Any] | None = None
) -> str:
    """One line of at most 120 characters: how many, how bad, which, and why in short."""
    counts = []
    bad = [item for item in items if _is_bad(item)]
    for label, number in (
        ("CRIT", sum(item.get("level") == "critical" for item in bad)),
        ("WARN", sum(item.get("level") == "warning" for item in bad)),
        ("UNKNOWN", sum(item.get("kind") == "own_fault" for item in items)),
        ("OK", sum(item.get("kind") in ("resolved", "steady") and not _is_bad(item) for item in items)),
    ):
        if number:
            counts.append(f"{number} {label}")
    lead = words.get(f"subject_{kind}", "")
    if digest:
        counts.insert(0, words["subject_messages"].format(digest["sent"] + digest["held"]))
    head = f"[{host}] " + " ".join(part for part in (lead, *counts) if part)
    names = [_short(item, words) for item in items]
    if digest and not names:
        names = [f"{name} ({count})" for name, count in digest["loudest"]]
    return _fit(head, names)


def _is_bad(item: Item) -> bool:
    return item.get("kind") not in ("resolved", "own_fault") and not (
        item.get("kind") == "steady" and item.get("ended") is not None
    )


def _fit(head: str, names: Sequence[str]) -> str:
    """Add as many names as fit, then how many do not."""
    line = one_line(head, SUBJECT_LENGTH)
    for index, name in enumerate(names):
        longer = f"{line}{', ' if index else ': '}{name}"
        left = len(names) - index - 1
        room = SUBJECT_LENGTH - (len(f", +{left}") if left else 0)
        if len(longer) > room:
            if index == 0:
                return one_line(longer, SUBJECT_LENGTH)
            return f"{line}, +{left + 1}"
        line = longer
    return line


def _short(item: Item, words: Mapping[str, str]) -> str:
    name = one_line(str(item.get("name")), 60)
    if item.get("duration") is not None:
        return f"{name} ({span(item['duration'], words['day'])})"
    why = [one_line(str(item["reason"]), 20)] if item.get("reason") else []
    if item.get("value") is not None and item.get("reason") in ("stale", "threshold", "latency", "size", "heartbeat"):
        why.append(amount(item["value"], one_line(str(item.get("unit") or ""), 20), words["day"]))
    text = f"{name} ({' '.join(why)})" if why else name
    if item.get("behind"):
        text += " + " + words["subject_behind"].format(len(item["behind"]))
    return text


def _digest(digest: Item, items: Sequence[Item], still: Sequence[Item], voice: _Voice) -> str:
    words = voice.words
    loud = ", ".join(f"{one_line(str(name), 60)} ({count})" for name, count in digest["loudest"]) or "-"
    lines = [words["digest"].format(digest["sent"], digest["held"], loud)]
    if digest["until"]:
        lines.append(words["digest_until"].format(voice.moment(digest["until"])))
    if not still and not any(_is_bad(item) for item in items):
        lines.append(words["digest_nothing"])
    return "\n".join(lines)


def _still(still: Sequence[Item], voice: _Voice) -> str:
    words = voice.words
    shown = [
        f"{one_line(str(one['name']), 60)} ({words.get(str(one['level']), words['none'])}, "
        f"{voice.span(voice.now - one['since'])})"
        for one in still
    ]
    return f"{voice.label('still')} {_names(shown, words)}"


def _what(item: Item, words: Mapping[str, str]) -> str:
    if item.get("cause") == "unwatched":
        return words["unwatched"]
    return words["steady_bad" if item["kind"] == "steady" and _is_bad(item) else str(item["kind"])]


def _block(item: Item, voice: _Voice) -> str:
    """One piece of news: a headline, then a fact per line."""
    words = voice.words
    head = one_line(str(item.get("name")), 60)
    if _is_bad(item):
        head = f"{words.get(str(item.get('level')), words['none'])}  {head}"
    reason = voice.reasons.get(str(item.get("reason") or ""), "")
    if reason and item.get("ended") is None:
        head += f" – {reason}"
    facts = [("seen", one_line(str(item.get("message") or "")))]
    facts += _facts_of_open(item, voice) if item.get("ended") is None else _facts_of_ended(item, voice)
    if item.get("flips") is not None:
        duty = "?" if item.get("duty") is None else f"{item['duty']:g}"
        facts.append(("flips", words["flips_duty"].format(item["flips"], duty)))
    behind = item.get("behind") or ()
    if behind:
        facts.append(("behind", f"({len(behind)}) {_names([one_line(str(one), 60) for one in behind], words)}"))
    facts += _facts_of_help(item, voice)
    lines = [f"{head}  [{_what(item, words)}]"]
    lines += [f"  {voice.label(key)} {text}".rstrip() for key, text in facts if text]
    if item.get("log") and item.get("ended") is None:
        lines.append(f"  {voice.label('log')}")
        lines += [f"    | {one_line(str(one), 200)}" for one in item["log"]]
    return "\n".join(lines)


def _facts_of_open(item: Item, voice: _Voice) -> list[tuple[str, str]]:
    facts = []
    if item.get("value") is not None:
        limits = [
            f"{voice.words[label]}{voice.colon} {', '.join(texts)}"
            for label, texts in (("limit_warn", rules(item.get("warn"))), ("limit_crit", rules(item.get("crit"))))
            if texts
        ]
        facts.append(("value", voice.amount(item["value"], item) + (f" ({'; '.join(limits)})" if limits else "")))
    if item.get("since"):
        facts.append(("since", f"{voice.moment(item['since'])} ({voice.span(voice.now - item['since'])})"))
    last = item.get("last_ok")
    facts.append(("last_ok", voice.moment(last) if last else voice.words["never"]))
    return facts


def _facts_of_ended(item: Item, voice: _Voice) -> list[tuple[str, str]]:
    words = voice.words
    period = words["from_to"].format(voice.moment(item["since"]), voice.moment(item["ended"]))
    facts = [("was_bad", f"{voice.span(item['duration'])}, {period}")]
    if item.get("min") is not None and item.get("max") is not None:
        facts.append(("range", f"{voice.amount(item['min'], item)} … {voice.amount(item['max'], item)}"))
    if item.get("runs"):
        text = words["runs_bad"].format(item.get("bad_runs"), item["runs"])
        if item.get("missed"):
            text += "; " + words["runs_missed"].format(item["missed"])
        facts.append(("runs", text))
    return facts


def _facts_of_help(item: Item, voice: _Voice) -> list[tuple[str, str]]:
    """What comes next, and what a person can do."""
    if item.get("ended") is not None:
        return []
    words, kind = voice.words, item["kind"]
    facts = []
    if kind == "ack":
        by = one_line(str(item["by"]), 60)
        facts.append(("acked", words["acked_until"].format(by, voice.moment(item["until"]))))
    elif kind != "own_fault" and item.get("next"):
        facts.append(("next", f"{voice.moment(item['next'])} → {', '.join(item.get('next_to') or ()) or '-'}"))
    facts += [(key, one_line(str(item.get(key) or ""))) for key in ("hint", "runbook")]
    if kind not in ("ack", "own_fault"):
        facts.append(
            ("ack_how", f"sudo quai-monitor ack {one_line(str(item['name']), 200)} --for 4h --by {words['you']}")
        )
    return facts


def _contacts(items: Sequence[Item], config: Mapping[str, Any], voice: _Voice) -> list[str]:
    """The people of the projects concerned, those who are asked first on top."""
    words = voice.words
    projects = config.get("projects") or {}
    blocks = []
    for project in sorted({str(item.get("project")) for item in items if item.get("project") and _is_bad(item)}):
        declared = projects.get(project) or {}
        people = [one for one in declared.get("contacts") or () if isinstance(one, Mapping)]
        lines = []
        for one in sorted(people, key=lambda one: (one.get("level") or 99, str(one.get("name") or ""))):
            facts = [one.get(key) for key in ("role", "email", "phone", "link", "availability", "handles")]
            text = ", ".join(one_line(str(fact), 120) for fact in facts if fact)
            name = one_line(str(one.get("name") or "-"), 60)
            lines.append(f"  {words['level'].format(one.get('level') or '-')}  {name}{voice.colon} {text}")
        if lines:
            title = words["contacts"].format(one_line(str(declared.get("title") or project), 60))
            blocks.append("\n".join([f"{title}{voice.colon}", *lines]))
    return blocks


def _text(subject: str, items: Sequence[Item], still: Sequence[Item], voice: _Voice) -> str:
    """A short text for chats, with the characters escaped that Slack gives a meaning."""
    words = voice.words
    lines = [f"*{_escape(subject)}*"]
    for item in items[:NAMES_SHOWN]:
        why = one_line(str(item.get("message") or voice.reasons.get(str(item.get("reason") or ""), "")), 160)
        name = one_line(str(item.get("name")), 60)
        lines.append(_escape(f"• {name} [{_what(item, words)}]" + (f": {why}" if why and _is_bad(item) else "")))
        if item.get("behind"):
            names = _names([one_line(str(one), 60) for one in item["behind"]], words)
            lines.append(_escape(f"   {voice.label('behind')} {names}"))
        if _is_bad(item) and item["kind"] != "ack":
            lines.append(f"   `sudo quai-monitor ack {_escape(name)} --for 4h --by {words['you']}`")
    if len(items) > NAMES_SHOWN:
        lines.append(words["and_more"].format(len(items) - NAMES_SHOWN))
    if still:
        names = _names([one_line(str(one["name"]), 60) for one in still], words)
        lines.append(_escape(f"{voice.label('still')} {names}"))
    while len("\n".join(lines)) > TEXT_LENGTH and len(lines) > 2:
        lines[-2:] = ["…"]
    return "\n".join(lines)[:TEXT_LENGTH]


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _names(names: Sequence[str], words: Mapping[str, str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    return shown if len(names) <= NAMES_SHOWN else f"{shown} {words['and_more'].format(len(names) - NAMES_SHOWN)}"


def rules(value: Any) -> list[str]:
    """The texts of conditions, whichever way they are written."""
    if not value:
        return []
    if isinstance(value, Mapping):
        return [one_line(str(value["on"]), 80)] if value.get("on") else []
    if isinstance(value, (list, tuple)):
        return [text for one in value for text in rules(one)][:5]
    return [one_line(str(value), 80)]


def one_line(text: str, length: int = LINE_LENGTH) -> str:
    """Make one line of a text that others wrote: no control characters, no more than C(length)."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def moment(when: float, zone: str = "") -> str:
    """Write a time as people read it, with its zone: 2026-11-21 14:03 UTC."""
    if zone:
        try:
            from datetime import datetime
            from zoneinfo import ZoneInfo

            return datetime.fromtimestamp(when, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M %Z")
        except (ImportError, KeyError, ValueError, OSError, OverflowError):
            pass  # an unknown zone must not keep an alert from going out
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(when))
    except (ValueError, OSError, OverflowError):
        return f"{when:.0f} s"


def span(duration: float, day: str = "d") -> str:
    """Write a duration in its two largest units: 6 h 2 min."""
    left = max(round(duration), 0)
    if left < 60:
        return f"{left} s"
    minutes = left // 60
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    if hours < 48:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{hours // 24} {day} {hours % 24} h" if hours % 24 else f"{hours // 24} {day}"


def amount(value: Any, unit: str, day: str = "d") -> str:
    """Write a value with its unit: seconds as a duration, bytes in binary units, at most four digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return one_line(str(value), 40)
    if unit == "s" and value >= 60:
        return span(value, day)
    if unit == "B":
        for name in ("B", "KiB", "MiB", "GiB"):
            if abs(value) < 1024:
                return f"{value:.4g} {name}"
            value = value / 1024
        return f"{value:.4g} TiB"
    text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{text} {unit}" if unit else text


__all__ = [
    "REASON_WORDS",
    "SUBJECT_LENGTH",
    "WORDS",
    "amount",
    "compose",
    "moment",
    "one_line",
    "rules",
    "span",
    "subject_of",
]
