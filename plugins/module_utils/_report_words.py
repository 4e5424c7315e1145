# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every word of the morning page and of its text twin, in French and in English, and how each language writes numbers.

C(say(language, key, …)) is the only way to a sentence; a key that is missing in one language is a mistake that a test
finds. Counts take the plural of their language: a word is C("one|many") where the number decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

LANGUAGES: Final = ("fr", "en")
THIN: Final = "\u202f"  # narrow no-break space: before % and units in French
HARD: Final = "\u00a0"  # no-break space

# key: (French, English). {n} chooses between "one|many".
WORDS: Final[dict[str, tuple[str, str]]] = {
    # the head
    "title": ("État de {what}", "State of {what}"),
    "fleet": ("la flotte", "the fleet"),
    "language": ("Langue", "Language"),
    "skip": ("Aller au contenu", "Skip to content"),
    "as_of": ("État au {time}", "As of {time}"),
    "zone": ("heures : {zone}", "times: {zone}"),
    "last_run": ("dernière ronde {age}", "last round {age}"),
    "oldest_run": ("ronde la plus ancienne {age}", "oldest round {age}"),
    "reload": (
        "Page ouverte depuis plus de dix minutes : rechargez-la pour voir l\u2019état actuel.",
        "This page was opened more than ten minutes ago: reload it to see the present state.",
    ),
    # verdicts
    "all_well": ("Tout va bien", "All is well"),
    "problems": ("{n} problème|{n} problèmes", "{n} problem|{n} problems"),
    "only_no_data": (
        "{n} contrôle sans données|{n} contrôles sans données",
        "{n} check without data|{n} checks without data",
    ),
    "only_watch": ("{n} contrôle à confirmer|{n} contrôles à confirmer", "{n} check to confirm|{n} checks to confirm"),
    "nothing": ("Rien n\u2019est surveillé", "Nothing is watched"),
    "only_waiting": ("Rien n\u2019est encore en service", "Nothing is in service yet"),
    "hosts": ("{n} hôte|{n} hôtes", "{n} host|{n} hosts"),
    "probes": ("{n} sonde|{n} sondes", "{n} probe|{n} probes"),
    "watched": ("{probes} sur {hosts}", "{probes} on {hosts}"),
    "all_acked": ("déjà pris en charge par {who}", "already being handled by {who}"),
    "some_acked": (
        "dont {n} déjà pris en charge|dont {n} déjà pris en charge",
        "{n} already being handled|{n} already being handled",
    ),
    # states, as words beside their mark
    "ok": ("OK", "OK"),
    "degraded": ("dégradé", "degraded"),
    "warning": ("alerte", "warning"),
    "critical": ("critique", "critical"),
    "unknown": ("inconnu", "unknown"),
    "no_data": ("sans données", "no data"),
    "waiting": ("en attente", "waiting"),
    "silenced": ("mis en sourdine", "silenced"),
    "watch": ("à confirmer", "to confirm"),
    "recovering": ("en rétablissement", "recovering"),
    "flapping": ("instable", "flapping"),
    "unreadable": ("rapport illisible", "unreadable report"),
    "silent": ("muet", "silent"),
    "blind": ("sans données", "without data"),
    "n_ok": ("{n} OK", "{n} OK"),
    "n_critical": ("{n} critique|{n} critiques", "{n} critical"),
    "n_warning": ("{n} alerte|{n} alertes", "{n} warning|{n} warnings"),
    "n_unknown": ("{n} inconnu|{n} inconnus", "{n} unknown"),
    "n_watch": ("{n} à confirmer", "{n} to confirm"),
    "n_no_data": ("{n} sans données", "{n} without data"),
    "n_waiting": ("{n} en attente", "{n} waiting"),
    "n_silenced": ("{n} en sourdine", "{n} silenced"),
    # sections
    "s_verdict": ("Verdict", "Verdict"),
    "s_now": ("À traiter maintenant", "Needs a person now"),
    "s_day": ("Dernières 24 heures", "Last 24 hours"),
    "s_hosts": ("Services et sondes", "Services and probes"),
    "s_fleet": ("Hôtes", "Hosts"),
    "s_tls": ("Certificats", "Certificates"),
    "s_backups": ("Sauvegardes", "Backups"),
    "s_disks": ("Disques", "Disks"),
    "s_machine": ("Machine", "Machine"),
    "s_queues": ("Files d\u2019attente et signes de vie", "Queues and heartbeats"),
    "s_monitor": ("La surveillance elle-même", "The monitor itself"),
    # needs a person now
    "nobody_needed": ("Aucune intervention nécessaire.", "Nothing needs a person."),
    "since": ("Depuis", "Since"),
    "reason": ("Cause", "Reason"),
    "value": ("Valeur", "Value"),
    "limit": ("Limite", "Limit"),
    "last_ok": ("Dernier OK", "Last OK"),
    "never": ("jamais", "never"),
    "ack": ("Pris en charge", "Acknowledged"),
    "acked_until": ("par {who}, jusqu\u2019à {time}", "by {who}, until {time}"),
    "not_acked": ("par personne", "by nobody"),
    "next": ("Prochaine relance", "Next escalation"),
    "told": ("Messages envoyés", "Messages sent"),
    "range": ("Extrêmes", "Range"),
    "range_of": ("de {low} à {high}", "{low} to {high}"),
    "hint": ("Que faire", "What to do"),
    "contacts": ("Qui appeler", "Whom to call"),
    "causes": (
        "Entraîne {n} autre sonde : {names}|Entraîne {n} autres sondes : {names}",
        "Takes {n} other probe down: {names}|Takes {n} other probes down: {names}",
    ),
    "and_more": ("et {n} de plus", "and {n} more"),
    "host_silent": ("Aucun rapport récent : le dernier date de {age}.", "No recent report: the last one is {age} old."),
    "host_never": ("Aucun rapport reçu.", "No report received."),
    "host_ahead": (
        "Son horloge avance de {age} : ses données sont ignorées.",
        "Its clock is {age} ahead: its data are not believed.",
    ),
    "host_no_data": ("Aucune de ses sondes n\u2019a de données.", "None of its probes has data."),
    "host_unreadable": ("Rapport illisible : {why}", "Unreadable report: {why}"),
    "stale": (
        "Données périmées : la dernière ronde de {host} date de {age}. Rien de ce qui suit n\u2019est actuel.",
        "Stale data: the last round of {host} was {age} ago. Nothing below is current.",
    ),
    "watching": ("À confirmer", "To confirm"),
    "watching_why": (
        "En échec à la dernière ronde, mais pas depuis assez longtemps pour alerter.",
        "Bad in the last round, not for long enough to alert.",
    ),
    "quiet": ("En sourdine", "Silenced"),
    "by_maintenance": ("maintenance", "maintenance"),
    "by_dependency": ("dépendance en panne", "dependency down"),
    "by_release": ("livraison en cours", "release under way"),
    "by_uplink": ("réseau de l\u2019hôte coupé", "host\u2019s network down"),
    "missing_data": ("Sans données", "Without data"),
    "maintenance_until": (
        "{project} : maintenance jusqu\u2019à {time}, par {who}",
        "{project}: maintenance until {time}, by {who}",
    ),
    # last 24 hours
    "quiet_day": ("Aucun incident.", "No incident."),
    "ongoing": ("en cours", "ongoing"),
    "lasted": ("durée", "lasted"),
    "n_incidents": ("{n} incident|{n} incidents", "{n} incident|{n} incidents"),
    "n_restarts": ("{n} redémarrage|{n} redémarrages", "{n} restart|{n} restarts"),
    "n_flaps": ("{n} instabilité|{n} instabilités", "{n} flapping|{n} flapping"),
    "n_suppressed": ("{n} alerte retenue|{n} alertes retenues", "{n} alert held back|{n} alerts held back"),
    "n_escalated": ("{n} escalade|{n} escalades", "{n} escalation|{n} escalations"),
    "from": ("Début", "Began"),
    "what": ("Quoi", "What"),
    "duration": ("Durée", "Duration"),
    "more_incidents": ("{n} autre incident|{n} autres incidents", "{n} more incident|{n} more incidents"),
    # services and probes
    "project": ("Projet", "Project"),
    "version": ("Version", "Version"),
    "live_since": ("En service", "Live since"),
    "version_unknown": ("version inconnue", "version unknown"),
    "last_release": ("Livraison", "Last release"),
    "last_drill": ("Restauration", "Restore proved"),
    "not_released": ("pas encore livré", "not released yet"),
    "in_maintenance": ("en maintenance", "under maintenance"),
    "releasing": ("livraison en cours", "release under way"),
    "depth": ("En file", "Queued"),
    "of_host": ("Hôte", "Host"),
    "probe": ("Sonde", "Probe"),
    "state": ("État", "State"),
    "last_24h": ("24 heures", "24 hours"),
    "latency": ("Latence", "Latency"),
    "latency_of": ("Latence, médiane / 95e centile", "Latency, median / 95th percentile"),
    "up_24h": ("Dispo. 24 h", "Up 24 h"),
    "up_30d": ("30 j", "30 d"),
    "n_of": ("{good} sur {all} OK", "{good} of {all} OK"),
    "wanted": ("attendu : {what}", "expected: {what}"),
    "legend": (
        "Chaque bande couvre 24 heures, une case par 5 minutes.",
        "Each strip covers 24 hours, one slot per 5 minutes.",
    ),
    "strip_ok": ("24 h : OK sans interruption", "24 h: OK throughout"),
    "strip_bad": ("24 h : {parts}", "24 h: {parts}"),
    "strip_from": ("{status} {from_} – {to}", "{status} {from_} – {to}"),
    "line_text": (
        "latence médiane {p50} ms, 95e centile {p95} ms",
        "latency median {p50} ms, 95th percentile {p95} ms",
    ),
    "line_none": ("pas de mesure de latence", "no latency measured"),
    "own_page": ("page de l\u2019hôte", "host\u2019s own page"),
    # certificates
    "no_tls": ("Aucun certificat surveillé.", "No certificate is watched."),
    "days": ("{n} jour|{n} jours", "{n} day|{n} days"),
    "d": ("{n} j", "{n} d"),
    "expired": ("expiré", "expired"),
    "chain": ("chaîne {n} j", "chain {n} d"),
    "ends": ("fin", "ends"),
    "others": ("{n} autre|{n} autres", "{n} other|{n} others"),
    # backups
    "no_backups": ("Aucune sauvegarde déclarée.", "No backup is declared."),
    "backup": ("Sauvegarde", "Backup"),
    "drill": ("Exercice de restauration", "Restore drill"),
    "age": ("Âge", "Age"),
    "not_probed": ("déclarée, mais aucune sonde ne la regarde", "declared, but no probe looks at it"),
    # disks
    "no_disks": ("Aucun disque surveillé.", "No disk is watched."),
    "full_on": ("plein le {date} ({days})", "full on {date} ({days})"),
    "not_filling": ("stable", "stable"),
    "trend_unknown": ("tendance : moins de 7 jours de mesures", "trend: less than 7 days measured"),
    "free": ("{size} libres", "{size} free"),
    "inodes": ("inodes {n}", "inodes {n}"),
    "month_line": ("30 jours : de {low} % à {high} %", "30 days: {low}% to {high}%"),
    "read_only": ("lecture seule", "read-only"),
    # machine
    "memory": ("Mémoire", "Memory"),
    "swap": ("Swap", "Swap"),
    "cpu": ("Processeur", "Processor"),
    "load": ("Charge", "Load"),
    "peak": ("pic {n}", "peak {n}"),
    "updates": ("Mises à jour", "Updates"),
    "n_updates": ("{n} en attente", "{n} pending"),
    "n_security": ("dont {n} de sécurité", "{n} of them security"),
    "up_to_date": ("à jour", "up to date"),
    "lists_old": ("listes datant de {age}", "lists {age} old"),
    "reboot": ("Redémarrage", "Reboot"),
    "reboot_needed": ("nécessaire", "needed"),
    "reboot_no": ("pas nécessaire", "not needed"),
    "uptime": ("En marche depuis", "Up for"),
    "system": ("Système", "System"),
    "no_machine": ("Aucune mesure de la machine.", "The machine is not measured."),
    # queues
    "no_queues": ("Aucune file ni tâche planifiée surveillée.", "No queue or scheduled job is watched."),
    "restored": ("restauration prouvée {age}", "restore proved {age}"),
    "never_restored": ("restauration jamais prouvée", "restore never proved"),
    "too_old": ("{value}, limite {limit}", "{value}, limit {limit}"),
    "oldest": ("attend depuis {age}", "oldest waits {age}"),
    "n_failed": ("{n} en échec", "{n} failed"),
    "n_workers": ("{n} worker|{n} workers", "{n} worker|{n} workers"),
    "n_active": ("{n} en cours", "{n} active"),
    "paused": ("en pause", "paused"),
    "beat": ("dernier signe {age}", "last sign {age}"),
    "jobs": ("{n} en attente", "{n} waiting"),
    # the monitor
    "round": ("Dernière ronde", "Last round"),
    "took": ("{probes} en {time}", "{probes} in {time}"),
    "overruns": ("Rondes sautées (24 h)", "Rounds skipped (24 h)"),
    "undelivered": ("Messages non remis", "Undelivered messages"),
    "oldest_message": ("le plus ancien {age}", "oldest {age}"),
    "failed_deliveries": ("Envois échoués (24 h)", "Failed deliveries (24 h)"),
    "expired_acks": ("Prises en charge expirées (24 h)", "Expired acknowledgements (24 h)"),
    "without_data": ("Sondes sans données", "Probes without data"),
    "own_faults": ("Défaillances de la surveillance (24 h)", "Faults of the monitor (24 h)"),
    "guards": ("Redémarrages automatiques bloqués", "Open restart guards"),
    "damaged": ("Lignes d\u2019historique illisibles", "Unreadable lines of history"),
    "none": ("0", "0"),
    "no_data_here": ("sans données", "no data"),
    "foot": (
        "Page produite par quai. Une donnée absente n\u2019est jamais verte.",
        "Made by quai. Missing data are never green.",
    ),
    # the text twin
    "t_now": ("MAINTENANT", "NOW"),
    "t_day": ("24 HEURES", "24 HOURS"),
    "t_hosts": ("HÔTES", "HOSTS"),
    "t_projects": ("PROJETS", "PROJECTS"),
    "t_tls": ("CERTIFICATS", "CERTIFICATES"),
    "t_backups": ("SAUVEGARDES", "BACKUPS"),
    "t_disks": ("DISQUES", "DISKS"),
    "t_machine": ("MACHINE", "MACHINE"),
    "t_queues": ("FILES", "QUEUES"),
    "t_monitor": ("SURVEILLANCE", "MONITOR"),
    # reasons: the closed list of the probes
    "r_dns": ("nom non résolu", "name not resolved"),
    "r_timeout": ("pas de réponse à temps", "no answer in time"),
    "r_refused": ("connexion refusée", "connection refused"),
    "r_reset": ("connexion rompue", "connection reset"),
    "r_tls_expired": ("certificat expiré", "certificate expired"),
    "r_tls_host": ("certificat d\u2019un autre nom", "certificate of another name"),
    "r_tls_chain": ("chaîne de certificats invalide", "invalid certificate chain"),
    "r_tls_other": ("erreur TLS", "TLS error"),
    "r_status": ("code de réponse inattendu", "unexpected status"),
    "r_body": ("contenu inattendu", "unexpected content"),
    "r_json": ("contenu inattendu", "unexpected content"),
    "r_latency": ("trop lent", "too slow"),
    "r_size": ("taille inattendue", "unexpected size"),
    "r_redirect": ("redirection inattendue", "unexpected redirect"),
    "r_auth": ("accès refusé", "login refused"),
    "r_proto": ("erreur de protocole", "protocol error"),
    "r_stale": ("trop ancien", "too old"),
    "r_missing": ("absent", "missing"),
    "r_empty": ("vide", "empty"),
    "r_threshold": ("seuil dépassé", "limit exceeded"),
    "r_heartbeat": ("plus de signe de vie", "no sign of life"),
    "r_restarts": ("redémarre sans cesse", "keeps restarting"),
    "r_own_error": ("la sonde n\u2019a pas pu s\u2019exécuter", "the probe could not run"),
    # counts with their unit
    "u_instances": ("{n} instance|{n} instances", "{n} instance|{n} instances"),
    "u_jobs": ("{n} tâche|{n} tâches", "{n} job|{n} jobs"),
    "u_lines/h": ("{n} ligne/h|{n} lignes/h", "{n} line/h|{n} lines/h"),
    "u_processes": ("{n} processus", "{n} process|{n} processes"),
    "u_services": ("{n} service|{n} services", "{n} service|{n} services"),
}

DAYS_OF_WEEK: Final = {
    "fr": ("lun.", "mar.", "mer.", "jeu.", "ven.", "sam.", "dim."),
    "en": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
}
MONTHS: Final = {
    "fr": ("janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."),
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
}
_UNITS: Final = {"fr": ("o", "Kio", "Mio", "Gio", "Tio"), "en": ("B", "KiB", "MiB", "GiB", "TiB")}
_DAY: Final = {"fr": "j", "en": "d"}


def say(language: str, key: str, **values: Any) -> str:
    """Return the sentence C(key). C(n), when given, chooses singular or plural and is written as the language does."""
    text = WORDS[key][LANGUAGES.index(language)]
    if "n" in values:
        count = values["n"]
        one, divided, many = text.partition("|")
        if divided and isinstance(count, (int, float)):
            text = one if (abs(count) < 2 if language == "fr" else count == 1) else many
        if isinstance(count, (int, float)):
            values["n"] = number(language, count)
    return text.format(**values) if values else text


def number(language: str, value: float, digits: int = 0) -> str:
    """Write a number: narrow spaces between thousands and a comma in French, commas and a point in English."""
    text = f"{value:,.{digits}f}"
    return text.replace(",", THIN).replace(".", ",") if language == "fr" else text


def percent(language: str, value: float | None, digits: int = 0) -> str:
    """Write a share of a hundred; 99.996 is never rounded up to 100."""
    if value is None:
        return say(language, "no_data")
    scale = 10**digits
    shown = min(round(value * scale), 100 * scale - 1) / scale if 0 < value < 100 else value
    text = number(language, shown, 0 if shown in (0, 100) else digits)
    return f"{text}{THIN}%" if language == "fr" else f"{text}%"


def size(language: str, count: float | None) -> str:
    """Write a number of bytes with three digits at most."""
    if count is None:
        return say(language, "no_data")
    step, value = 0, float(count)
    while abs(value) >= 1000 and step < 4:
        value /= 1024
        step += 1
    return number(language, value, 1 if step and abs(value) < 10 else 0) + HARD + _UNITS[language][step]


def duration(language: str, seconds: float | None) -> str:
    """Write a duration in its one or two greatest units: C(45 s), C(12 min), C(3 h 05), C(2 j 4 h), C(63 j)."""
    if seconds is None:
        return say(language, "no_data")
    left = max(0, round(seconds))
    if left < 60:
        if 0 < seconds < 10 and seconds != left:
            return f"{number(language, seconds, 2 if seconds < 0.1 else 1)}{HARD}s"
        return f"{left}{HARD}s"
    minutes = left // 60
    if minutes < 60:
        return f"{minutes}{HARD}min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}{HARD}h" + (f"{HARD}{minutes:02d}" if minutes else "")
    days, hours = divmod(hours, 24)
    text = f"{number(language, days)}{HARD}{_DAY[language]}"
    return text + (f"{HARD}{hours}{HARD}h" if hours and days < 3 else "")


def ago(language: str, seconds: float) -> str:
    """Write an age: C(il y a 3 h), C(3 h ago)."""
    text = duration(language, seconds)
    return f"il y a {text}" if language == "fr" else f"{text} ago"


def ahead(language: str, seconds: float) -> str:
    """Write a time to come: C(dans 3 h), C(in 3 h)."""
    text = duration(language, seconds)
    return f"dans {text}" if language == "fr" else f"in {text}"


def reason(language: str, name: str) -> str:
    """Return what a reason of the closed list means; an unknown one as it is."""
    return say(language, f"r_{name}") if f"r_{name}" in WORDS else name


def listing(names: list[str], language: str, most: int = 8) -> str:
    """Join names with commas, and say how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} {say(language, 'and_more', n=len(names) - most)}"


def headline(counts: Mapping[str, int], language: str) -> str:
    """Return the verdict in a few words."""
    if counts["problem"]:
        return say(language, "problems", n=counts["problem"])
    if counts["no_data"]:
        return say(language, "only_no_data", n=counts["no_data"])
    if counts["watch"]:
        return say(language, "only_watch", n=counts["watch"])
    if counts["ok"]:
        return say(language, "all_well")
    return say(language, "only_waiting" if counts["waiting"] else "nothing")


def quantity(language: str, value: float, unit: str) -> str:
    """Write a value with its unit, in the size that people read."""
    if unit == "s":
        return duration(language, value)
    if unit == "B":
        return size(language, value)
    if unit == "%":
        return percent(language, value, 0 if abs(value) >= 10 else 1)
    if unit == "days":
        return say(language, "d", n=int(value))
    if f"u_{unit}" in WORDS:
        return say(language, f"u_{unit}", n=round(value)).replace(" ", HARD)
    digits = 0 if value == int(value) or abs(value) >= 100 else 1
    return number(language, value, digits) + (f"{HARD}{unit}" if unit else "")


class Zone:
    """Local time of one place. An unknown or uninstalled zone is UTC, and C(name) says so."""

    def __init__(self, name: str) -> None:
        self.name = "UTC"
        self._zone: Any = None
        if name and name != "UTC":
            import zoneinfo

            try:
                self._zone = zoneinfo.ZoneInfo(name)
                self.name = name
            except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
                self._zone = None

    def at(self, epoch: float) -> Any:
        """Return the local date and time of C(epoch) seconds since 1970."""
        import datetime

        zone = self._zone or datetime.timezone.utc
        return datetime.datetime.fromtimestamp(min(max(epoch, 0.0), 32503680000.0), zone)

    def clock(self, epoch: float) -> str:
        """Write the time of day: C(07:00)."""
        return f"{self.at(epoch):%H:%M}"

    def moment(self, language: str, epoch: float, now: float | None = None) -> str:
        """Write date and time, short: C(14:02) of today, C(ven. 21 nov. 14:02) else; with the year when it differs."""
        then = self.at(epoch)
        if now is not None and then.date() == self.at(now).date():
            return f"{then:%H:%M}"
        return f"{self.date(language, epoch, now, weekday=True)}{HARD}{then:%H:%M}"

    def date(self, language: str, epoch: float, now: float | None = None, *, weekday: bool = False) -> str:
        """Write the date: C(21 nov.); the year when it is not this one, or when C(now) is not given."""
        then = self.at(epoch)
        day = f"{then.day}{HARD}{MONTHS[language][then.month - 1]}"
        if weekday:
            day = f"{DAYS_OF_WEEK[language][then.weekday()]}{HARD}{day}"
        return day if now is not None and then.year == self.at(now).year else f"{day}{HARD}{then.year}"

    def offset(self, epoch: float) -> str:
        """Write the zone for people: C(Europe/Paris, UTC+1)."""
        if not self._zone:
            return "UTC"
        shift = self.at(epoch).utcoffset()
        minutes = round(shift.total_seconds() / 60)
        hours, rest = divmod(abs(minutes), 60)
        sign = "-" if minutes < 0 else "+"
        return f"{self.name}, UTC{sign}{hours}" + (f":{rest:02d}" if rest else "")


__all__ = [
    "DAYS_OF_WEEK", "HARD", "LANGUAGES", "MONTHS", "THIN", "WORDS", "Zone", "ago", "ahead", "duration", "headline",
    "listing",
    "number", "percent", "quantity", "reason", "say", "size",
]  # fmt: skip
