# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Days of made-up hosts, as a watch would have written them: from a seed, so that every run sees the same.

The five projects are those that the declarations name. What goes wrong on a host is said by name, see C(TROUBLES).
"""

from __future__ import annotations

import copy
import functools
import json
import random
from typing import Any

from ansible_collections.quai.ops.plugins.module_utils import _report_data

Data = dict[str, Any]

NOW = 1795240800.0  # 2026-11-21 06:00:00 UTC
BUCKET = 300
DAY = 86400
SECRET = "s3cr3t-never-shown"
PROJECTS = {
    "moverz": ("Moverz", ["moverz.fr", "api.moverz.fr", "devis.moverz.fr"]),
    "niasotac": ("NIASOTAC", ["niasotac.com", "api.niasotac.com"]),
    "techplus": ("TechPlus", ["techplus.com"]),
    "check-du-matin": ("Check du Matin", ["checkdumatin.fr", "app.checkdumatin.fr"]),
    "masstock": ("MasStock", ["app.masstock.fr", "api.masstock.fr"]),
}
# Of one project, without what is one per domain: name, type, usual value, unit, latency in ms or None.
KINDS: tuple[tuple[str, str, float, str, float | None], ...] = (
    ("health", "http", 48, "ms", 48),
    ("containers", "containers", 4, "services", 9),
    ("database.main", "postgresql", 7, "ms", 7),
    ("redis.main", "redis", 3, "ms", 3),
    ("queue.jobs", "queue", 12, "jobs", 4),
    ("scheduler", "heartbeat", 40, "s", None),
    ("backup.database", "backup", 4 * 3600, "s", None),
    ("drill.database", "drill", 12 * DAY, "s", None),
    ("size.uploads", "size", 3.2e9, "B", None),
    ("log.app.errors", "log", 2, "lines/h", None),
    ("smtp", "smtp", 30, "ms", 30),
)
MACHINE: tuple[tuple[str, str, float, str], ...] = (
    ("host.disk", "disk", 61, "%"),
    ("host.memory", "memory", 54, "%"),
    ("host.cpu", "cpu", 18, "%"),
    ("host.load", "load", 0.6, ""),
)
MESSAGES = {
    "timeout": "no answer within 5 s",
    "refused": "connection refused by 127.0.0.1:3000",
    "stale": "age_s is 111600, not < 93600",
    "threshold": "used_pct is 86.4, not < 80",
    "tls_expired": "the certificate ended 2 days ago",
    "status": "status is 502, not in 200-299",
    "latency": "latency_ms is 1840, not < 800",
    "heartbeat": "age_s is 1260, not < 660",
    "json": "json.workers is 0, not > 0",
}
# Name to what goes wrong: the end of a probe's name, its status, the reason, the alert's state, hours it lasts.
TROUBLES: dict[str, tuple[tuple[str, str, str, str, float], ...]] = {
    "": (),
    "morning": (
        ("techplus.health", "critical", "timeout", "escalated", 3.2),
        ("niasotac.backup.database", "critical", "stale", "firing", 5.0),
        ("host.disk", "warning", "threshold", "firing", 11.5),
    ),
    "readme": (("techplus.health", "critical", "timeout", "escalated", 3.2),),
    "blip": (("health", "critical", "status", "pending", 0.03),),
    "flap": (("redis.main", "warning", "latency", "flapping", 2.0),),
    "late": (("backup.database", "critical", "stale", "firing", 7.0),),
}


def host_config(name: str, projects: list[str], probes: int = 0) -> Data:
    """Configuration of a watch; filled up with web probes to the number of C(probes), when that is more."""
    specs: list[Data] = []
    for project in projects:
        _title, domains = PROJECTS[project]
        for position, domain in enumerate(domains):
            key = domain.split(".", maxsplit=1)[0]
            address = f"https://{domain}/?key=${{{project}.API_KEY}}"
            specs.append(_spec(project, f"web.{key}" if position else "web", "http", url=address, severity="critical"))
            specs.append(_spec(project, f"tls.{key}", "tls", host=domain, every=3600))
        for kind_name, kind, *_rest in KINDS:
            more: Data = {"url": f"http://127.0.0.1:3000/{SECRET}"} if kind == "http" else {}
            if kind == "drill":
                more = {"max_age": "40d", "every": 3600}
            if kind == "backup":
                more = {"max_age": "26h", "every": 900, "severity": "critical"}
            if kind == "heartbeat":
                more = {"max_age": "11m"}
            if kind_name == "database.main":
                more = {"password": f"${{{project}.DATABASE_PASSWORD}}", "depends_on": []}
            if kind_name == "health":
                more |= {"depends_on": [f"{project}.database.main"], "severity": "critical"}
            specs.append(_spec(project, kind_name, kind, **more))
    for machine, kind, *_rest in MACHINE:
        warn = {"disk": ["used_pct > 80", "inodes_used_pct > 80"], "memory": ["used_pct > 80"]}.get(kind, [])
        specs.append(_spec("host", machine[5:], kind, warn=warn, **({"path": "/"} if kind == "disk" else {})))
    extra = 0
    while len(specs) < probes:
        extra += 1
        project = projects[extra % len(projects)]
        specs.append(_spec(project, f"page.{extra}", "http", url=f"https://{PROJECTS[project][1][0]}/{extra}"))
    return {
        "host": name,
        "languages": ["fr", "en"],
        "timezone": "Europe/Paris",
        "interval": 60,
        "probes": specs,
        "channels": {f"{projects[0]}.slack": {"type": "slack", "url": f"https://hooks.example/{SECRET}"}},
        "mail": {"relay": {"host": "mail.example", "password": SECRET}},
        "report": {"url": f"https://{name}.example.fr/quai/"},
        "projects": {
            project: {
                "title": PROJECTS[project][0],
                "backups": ["database"],
                "domains": PROJECTS[project][1],
                "containers_probe": f"{project}.containers",
                "active_when": f"/srv/{project}/stack",
                "contacts": [
                    {
                        "name": "operators",
                        "role": "Exploitation",
                        "level": 1,
                        "email": f"ops@{PROJECTS[project][1][0]}",
                        "phone": "+33 1 23 45 67 89",
                        "availability": "9 h – 18 h",
                        "handles": ["critical"],
                    },
                    {"name": "lead", "role": "Développement", "level": 2, "email": "dev@example.com"},
                ],
            }
            for project in projects
        },
    }


def _spec(project: str, name: str, kind: str, **more: Any) -> Data:
    return {
        "name": f"{project}.{name}",
        "type": kind,
        "project": project,
        "policy": project,
        "every": 60,
        "severity": "high",
        "description": "" if kind in ("tls", "disk", "backup") else f"{name} answers.",
        "hint": "Look at the log of the unit, then restart it: systemctl restart quai-app." if kind == "http" else "",
        **more,
    }


def usual(spec: Data) -> tuple[float, str, float | None]:
    """Usual value, unit and latency of a probe."""
    for name, kind, value, unit, latency in KINDS:
        if spec["name"].endswith(f".{name}") and kind == spec["type"]:
            return value, unit, latency
    for name, _kind, value, unit in MACHINE:
        if spec["name"] == name:
            return value, unit, None
    return {"tls": (61.0, "days", 38.0)}.get(spec["type"], (120.0, "ms", 120.0))


def details(spec: Data, rng: random.Random, now: float) -> Data:
    """What the checks tell beside their value."""
    project = spec["project"]
    found: dict[str, Data] = {
        "containers": {
            "version": f"1.{len(project)}.{rng.randrange(9)}",
            "started_at": _report_data.rfc3339(now - rng.randrange(2, 30) * DAY),
        },
        "backup": {
            "bytes": rng.randrange(80, 4000) * 1_000_000,
            "change_pct": round(rng.uniform(-3, 6), 1),
            "count": 14,
        },
        "disk": {"full_in_days": 52.0, "inodes_used_pct": 22.5, "free_bytes": 31_000_000_000, "read_only": False},
        "size": {"bytes": 3_200_000_000, "files": 18_204},
        "memory": {"available_bytes": 3_700_000_000, "swap_used_pct": 4.0, "oom_kills": 0},
        "cpu": {"iowait_pct": 1.2, "steal_pct": 0.4},
        "load": {"per_cpu": 0.3},
        "queue": {"oldest_s": 9.0, "active": 3, "failed": 2, "workers": 2, "paused": False},
    }
    return found.get(spec["type"], {})


class Host:
    """One made-up host: configuration, state, lines of its history and facts."""

    def __init__(
        self,
        name: str = "vps1",
        projects: list[str] | None = None,
        *,
        seed: int = 1,
        trouble: str = "",
        probes: int = 0,
        samples: int = 5,
        days: int = DAY,
        now: float = NOW,
    ) -> None:
        self.name = name
        self.now = now
        self.rng = random.Random(seed)  # noqa: S311
        self.samples = samples
        self.config = host_config(name, projects or list(PROJECTS), probes)
        self.troubles = {
            spec["name"]: trouble_
            for trouble_ in TROUBLES[trouble]
            for spec in self.config["probes"]
            if spec["name"] == trouble_[0] or spec["name"].endswith(f".{trouble_[0]}")
        }
        self.history = [*self._days(), *self._buckets(), *self._events()]
        self.state = self._state()
        self.facts = self._facts()

    def report(self, now: float | None = None) -> Data:
        """What C(build) makes of it, as it is after a way through JSON."""
        made = _report_data.build(self.config, self.state, self.history, now or self.now, self.facts)
        decoded: Data = json.loads(json.dumps(made))
        return decoded

    def _days(self) -> list[str]:
        """One line for each earlier day."""
        today = int(self.now) // DAY
        lines = []
        for day in range(today - 29, today):
            entries = {}
            for spec in self.config["probes"]:
                value = usual(spec)[0]
                if spec["type"] == "disk":
                    value = value - (today - day) * 0.55 + self.rng.uniform(-0.3, 0.3)
                bad = self.rng.randrange(3, 40) if self.rng.random() < 0.02 else 0
                entries[spec["name"]] = [1440, bad, round(value, 1), round(value * 1.1, 1)]
            lines.append(json.dumps({"t": day * DAY, "k": "day", "p": entries}))
        return lines

    def _buckets(self) -> list[str]:
        """Buckets of the last 24 h, the one that is not over left to the state."""
        lines = []
        first = int(self.now - DAY) // BUCKET * BUCKET
        specs = [(spec, usual(spec), self.troubles.get(spec["name"])) for spec in self.config["probes"]]
        gauss = self.rng.gauss
        for t in range(first, int(self.now) // BUCKET * BUCKET, BUCKET):
            busy = 1.0 + 0.35 * (1 if 7 <= t // 3600 % 24 <= 20 else 0)
            entries = {}
            for spec, (value, _unit, latency), trouble in specs:
                level, bad = 0, 0
                if trouble and t >= self.now - trouble[4] * 3600:
                    level = 2 if trouble[1] == "critical" else 1
                    if trouble[3] == "flapping" and t // 600 % 2:
                        level = 0
                    bad = self.samples if level else 0
                elif self.rng.random() < 0.0002:
                    level, bad = 2, 1
                timings = []
                if latency:
                    timings = [
                        round(max(1.0, latency * busy * (1 + gauss(0, 0.12))), 1) for _one in range(self.samples)
                    ]
                    if level == 2:
                        timings = [5000.0] * len(timings)
                entries[spec["name"]] = [level, self.samples, bad, timings, round(value * (1 + gauss(0, 0.03)), 1)]
            lines.append(json.dumps({"t": t, "k": "bucket", "p": entries}))
        return lines

    def _events(self) -> list[str]:
        events = []
        for name, (_end, status, reason, alert, hours) in self.troubles.items():
            since = self.now - hours * 3600
            if alert == "pending":
                continue
            common = {"k": "event", "probe": name, "severity": "high", "reason": reason, "since": since}
            events.append({**common, "t": since + 120, "event": "firing", "message": MESSAGES[reason]})
            if alert == "escalated":
                events.append({**common, "t": since + 3720, "event": "escalated", "message": status})
            if alert == "flapping":
                events.append({**common, "t": since + 600, "event": "flapping", "message": status})
        web = next((spec["name"] for spec in self.config["probes"] if spec["name"].endswith(".web")), "")
        if web:
            began = self.now - 9 * 3600
            common = {"k": "event", "probe": web, "severity": "critical", "reason": "status", "since": began}
            events.append({**common, "t": began + 120, "event": "firing", "message": MESSAGES["status"]})
            events.append({**common, "t": began + 200, "event": "restart", "message": "container restarted"})
            events.append({**common, "t": began + 780, "event": "resolved", "message": "", "duration": 780})
        return [json.dumps(event) for event in sorted(events, key=lambda event: event["t"])]

    def _state(self) -> Data:
        probes = {}
        for spec in self.config["probes"]:
            trouble = self.troubles.get(spec["name"])
            value: float | None
            value, unit, latency = usual(spec)
            if spec["type"] == "tls":
                value = self.rng.choice([88.0, 74.0, 61.0, 61.0, 47.0, 33.0])
            status, reason, since = "ok", "", self.now - 6 * DAY
            alert: Data = {"state": "ok", "since": 0, "acked": {}, "notified": 0, "next": 0, "suppressed": ""}
            if trouble:
                status, reason, since = trouble[1], trouble[2], self.now - trouble[4] * 3600
                alert |= {"state": trouble[3], "since": since, "severity": status, "notified": 2}
                alert |= {"next": self.now + 2700, "min": value, "max": value and value * 1.4}
                if spec["type"] == "backup":
                    value = 31 * 3600.0
                    alert["acked"] = {"by": "Awa", "at": self.now - 3000, "until": self.now + 3 * 3600}
                if spec["type"] == "disk":
                    value = 86.4
                if reason == "timeout":
                    value = None
                    alert["min"] = alert["max"] = None
            more = details(spec, self.rng, self.now)
            if trouble and spec["type"] == "disk":
                more["full_in_days"] = 13.0
            probes[spec["name"]] = {
                "status": status,
                "since": since,
                "last_ok": since if trouble else self.now - 20,
                "bad": 3 if trouble else 0,
                "recent": "000",
                "result": {
                    "name": spec["name"],
                    "type": spec["type"],
                    "project": spec["project"],
                    "severity": spec["severity"],
                    "status": status,
                    "reason": reason,
                    "message": MESSAGES[reason] if trouble else "",
                    "value": value,
                    "unit": unit,
                    "warn": spec.get("warn", []),
                    "crit": spec.get("crit", []),
                    "latency_ms": latency,
                    "details": more,
                    "log": [f"password={SECRET}"],
                    "checked_at": self.now - 20,
                    "tls": {"days": value, "chain_days": 961.0} if spec["type"] == "tls" else {},
                },
                "alert": alert,
            }
        return {
            "version": 1,
            "run": {"at": self.now - 20, "duration": 1.4, "probes": len(probes), "overruns": 0},
            "probes": probes,
            "memory": {"host.disk": {"token": SECRET}},
            "maintenance": [],
            "guards": {},
            "bucket": {"t": int(self.now) // BUCKET * BUCKET, "p": {}},
            "outgoing": [],
        }

    def _facts(self) -> Data:
        return {
            "distribution": "Debian GNU/Linux 13 (trixie)",
            "kernel": "6.12.48+deb13-amd64",
            "uptime": 41 * DAY + 7 * 3600.0,
            "cpus": 2,
            "memory_bytes": 8_200_000_000,
            "updates": self.rng.choice([0, 0, 3, 11]),
            "security_updates": 0,
            "updates_of": "1:2:3:4",
            "lists_at": self.now - 3 * 3600,
            "reboot": False,
            "reboot_for": [],
            "releases": {
                project: {
                    "waiting": False,
                    "releasing": False,
                    "version": "",
                    "at": self.now - self.rng.randrange(1, 40) * DAY - 3 * 3600,
                    "by": "awa",
                }
                for project in self.config["projects"]
            },
        }


def one(trouble: str = "", projects: list[str] | None = None, **options: Any) -> Data:
    """The report of one host, with the five projects if none are named."""
    return copy.deepcopy(_one(trouble, tuple(projects or PROJECTS), **options))


@functools.cache
def _one(trouble: str, projects: tuple[str, ...], **options: Any) -> Data:
    return Host(trouble=trouble, projects=list(projects), **options).report()


def fleet(count: int = 40, probes: int = 50) -> list[Data]:
    """The reports of many hosts, most of them well."""
    return copy.deepcopy(_fleet(count, probes))


@functools.cache
def _fleet(count: int, probes: int) -> list[Data]:
    names = list(PROJECTS)
    found = []
    for position in range(count):
        trouble = {3: "late", 11: "flap", 17: "blip"}.get(position, "")
        chosen = [names[position % 5], names[(position + 2) % 5]]
        host = Host(f"vps{position + 1:02d}", chosen, seed=position, trouble=trouble, probes=probes, samples=1)
        found.append(host.report())
    return found


def all_red(report: Data) -> Data:
    """The same host with everything down."""
    broken: Data = json.loads(json.dumps(report))
    for probe in broken["probes"]:
        since = broken["run"] - 7200
        probe |= {"status": "critical", "reason": "timeout", "message": MESSAGES["timeout"], "since": since}
        probe["strip"] = "264o24c"
        probe["alert"] = {
            "state": "escalated",
            "since": since,
            "acked_by": "",
            "acked_until": None,
            "next": broken["run"] + 600,
            "told": 3,
            "suppressed": "",
            "by": "",
            "low": None,
            "high": None,
        }
    return broken


def no_data(name: str = "vps1") -> Data:
    """A host whose watch was installed and has not run yet."""
    host = Host(name, samples=1)
    host.state = {"version": 1, "run": {"at": host.now - 5, "duration": 0.1, "probes": 0}, "probes": {}}
    host.history = []
    host.facts = {}
    return host.report()
