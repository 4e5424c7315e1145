# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is watched of a project: its declared probes, those that follow from the rest of it, and who is told.

Pure. The results are what C(quai.ops.health_probe) and the role C(monitoring_cron) take; a secret stays
C(${project.NAME}) until the place of use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from ansible_collections.quai.ops.plugins.plugin_utils._fields import PLACEHOLDER
from ansible_collections.quai.ops.plugins.plugin_utils._schema import SEVERITIES
from ansible_collections.quai.ops.plugins.plugin_utils._values import longest_gap, pinned, seconds, size_bytes

Data = dict[str, Any]

HOST: Final = "host"  # project and policy of what belongs to the host itself
MACHINE: Final = ("disk", "memory", "cpu")  # asked once per host, however many projects declare them
LOAD: Final = "load"  # asked of every host too; its limits are those of its type
MAINTAINED: Final = ("queue_cleanup", "redis_cleanup")  # kinds of jobs that the role maintenance runs so far
JOB_STATE: Final = "/var/lib/quai/maintenance"  # PROJECT/JOB.done is touched when a job has ended well
OF_THE_WATCH: Final = ("every", "failures", "depends_on", "restart", "start_period")
OPERATORS: Final = {
    "equal": "==",
    "not_equal": "!=",
    "at_least": ">=",
    "at_most": "<=",
    "above": ">",
    "below": "<",
    "matches": "~",
}
# What a severity means where a project does not say: the guides' response times (TEC-16).
RESPOND_WITHIN: Final = {"critical": 3600, "high": 14400, "medium": 86400, "low": 259200}
REMIND_EVERY: Final = 86400


def monitoring(declaration: Data, authority: str = "") -> Data:
    """Return the variables of the role C(monitoring_cron) for one project."""
    project = declaration["name"]
    names = {name for domain in declaration["domains"].values() for name in domain["names"]}
    probes = [*_declared(declaration), *_implied(declaration)]
    return {
        "monitoring_cron_probes": [
            {
                **probe,
                "policy": probe["project"],
                **({"ca_file": authority} if authority and _asks(probe, names) else {}),
            }
            for probe in probes
        ],
        "monitoring_cron_policies": {project: _policy(declaration)},
        "monitoring_cron_channels": {
            f"{project}.{name}": _channel(project, channel) for name, channel in declaration["channels"].items()
        },
        "monitoring_cron_projects": {project: _project(declaration)},
    }


def _asks(probe: Data, names: set[str]) -> bool:
    """Tell whether a probe asks one of the project's own sites over TLS."""
    urls = [probe.get("url", ""), *(step["url"] for step in probe.get("steps", []))]
    hosts = {url.split("/")[2].partition(":")[0] for url in urls if url.startswith("https://")}
    return bool(hosts & names) or (probe["type"] == "tls" and probe["host"] in names)


def merge_monitoring(derived: Iterable[Data]) -> Data:
    """Join what several projects want to be watched on the one host they share."""
    probes: list[Data] = []
    machine: dict[str, list[Data]] = {}
    policies: Data = {}
    channels: Data = {}
    projects: Data = {}
    for item in derived:
        for given in item["monitoring_cron_probes"]:
            if not given.get("enabled", True):  # said in `overrides`, as in a lab that lacks what is asked
                continue
            # One that was added in `overrides` need not say whose it is.
            own = HOST if given["name"].startswith(f"{HOST}.") else next(iter(item["monitoring_cron_projects"]))
            probe = {"project": own, "policy": own, **given}
            if probe["project"] == HOST:
                machine.setdefault(probe["name"], []).append(probe)
            else:
                probes.append(probe)
        policies |= item["monitoring_cron_policies"]
        channels |= item["monitoring_cron_channels"]
        projects |= item["monitoring_cron_projects"]
    for kind in (*MACHINE, LOAD):
        usual = _machine_probe(kind, {})
        asked = [{**usual, **probe} for probe in machine.pop(f"{HOST}.{kind}", [])]
        probes.append(_strictest(asked) if asked else usual)
    probes += [probe for same in machine.values() for probe in same[:1]]
    host = _together(policies.values())
    return {
        "monitoring_cron_probes": probes,
        "monitoring_cron_policies": {**policies, HOST: host},
        # A watch that cannot do its work is never urgent by itself, and always somebody's.
        "monitoring_cron_own_fault_channels": host["low"]["notify"],
        "monitoring_cron_channels": channels,
        "monitoring_cron_projects": projects,
    }


def page_certificate(name: str, authority: str) -> Data:
    """Return the probe of the certificate of the host's own page."""
    probe = {"name": f"{HOST}.tls.page", "type": "tls", "project": HOST, "policy": HOST, "host": name}
    return {
        **probe,
        "severity": "medium",
        "every": 3600,
        "failures": 1,
        **({"ca_file": authority} if authority else {}),
    }


def outside(declaration: Data, names: Iterable[str]) -> list[Data]:
    """Return those of the named probes that the world can ask, for the verification after a release."""
    found = []
    for name in names:
        probe = declaration["probes"][name]
        if probe["type"] == "http" and (probe["domain"] or probe["url"]):
            made = _probe(declaration, name, probe)
            kept = {
                key: value for key, value in made.items() if key not in ("every", "failures", "restart", "start_period")
            }
            found.append(kept)
    return found


# ---- declared probes -------------------------------------------------------------------------------------------


def _declared(declaration: Data) -> list[Data]:
    return [_probe(declaration, name, probe) for name, probe in declaration["probes"].items()]


def _probe(declaration: Data, name: str, probe: Data) -> Data:
    project = declaration["name"]
    kind = probe["type"]
    own = HOST if kind in MACHINE else project
    specific, thresholds = _OF_TYPE[kind](declaration, probe)
    result: Data = {
        "name": f"{own}.{kind if kind in MACHINE else name}",
        "type": kind,
        "project": own,
        "description": probe["description"],
        "every": seconds(probe["every"]),
        "timeout": seconds(probe["timeout"]),
        "failures": probe["failures"],
        "severity": probe["severity"],
        "hint": probe["hint"],
        **specific,
    }
    for level in ("expect", "warn", "crit"):
        conditions = [*thresholds.get(level, []), *(probe[level] if level != "expect" else [])]
        if conditions:
            result[level] = conditions
    if probe["depends_on"]:
        result["depends_on"] = [_name_of(declaration, other) for other in probe["depends_on"]]
    result |= _restart(declaration, name)
    return {key: value for key, value in result.items() if value not in (None, "", [], {})}


def _name_of(declaration: Data, name: str) -> str:
    kind = declaration["probes"][name]["type"]
    return f"{HOST}.{kind}" if kind in MACHINE else f"{declaration['name']}.{name}"


def _restart(declaration: Data, probe: str) -> Data:
    """Return what to restart when this probe stays bad: the service that names it in C(restart_on)."""
    project = declaration["name"]
    for name, service in declaration["services"].items():
        wanted = service["restart_on"]
        if not wanted or wanted["probe"] != probe:
            continue
        what = (
            {"container": container_name(project, name)}
            if service["runtime"] == "compose"
            else {"unit": unit_name(project, name)}
        )
        restart = {**what, "most": wanted["most"], "within": seconds(wanted["within"])}
        return {"restart": restart, "start_period": seconds(wanted["wait"])}
    return {}


def _http(declaration: Data, probe: Data) -> tuple[Data, Data]:
    base = _base(declaration, probe)
    if probe["steps"]:
        steps = [
            {**_request(declaration, step), "url": base + step["path"], "expect": _expected(step["expect"])}
            for step in probe["steps"]
        ]
        within = sum(seconds(step["expect"]["within"]) for step in probe["steps"])
        return {"steps": steps}, {"warn": [f"latency_ms > {within * 1000}"]}
    url = _named(declaration, probe["url"] or base + probe["path"])
    expect = probe["expect"]
    slow = f"latency_ms > {seconds(expect['within']) * 1000}"
    return {"url": url, **_request(declaration, probe)}, {"expect": _expected(expect), "warn": [slow]}


def _base(declaration: Data, probe: Data) -> str:
    if probe["domain"]:
        return f"https://{declaration['domains'][probe['domain']]['names'][0]}"
    if probe["service"]:
        return f"http://127.0.0.1:{declaration['services'][probe['service']]['port']}"
    return "/".join((probe["url"] or "").split("/")[:3])


def _request(declaration: Data, request: Data) -> Data:
    made: Data = {}
    if request["method"] != "GET":
        made["method"] = request["method"]
    if request["headers"]:
        made["headers"] = {key: _named(declaration, value) for key, value in request["headers"].items()}
    if request["body"]:
        made["body"] = _named(declaration, request["body"])
    return made


def _expected(expect: Data) -> list[str]:
    """Return the conditions of a good answer."""
    conditions = [f"status in {','.join(map(str, expect['status']))}"]
    conditions += [f"body ~ {quoted(re.escape(text))}" for text in expect["contains"]]
    conditions += [f"body !~ {quoted(re.escape(text))}" for text in expect["lacks"]]
    for header, value in expect["headers"].items():
        conditions.append(f"header.{header.lower()} == {'null' if value is None else quoted(value)}")
    for cookie, wanted in expect["cookies"].items():
        conditions.append(f"cookie.{cookie} == true")
        conditions += [f"cookie.{cookie}.{flag} == true" for flag in ("http_only", "secure") if wanted[flag]]
        if wanted["same_site"]:
            conditions.append(f"cookie.{cookie}.same_site == {quoted(wanted['same_site'])}")
    for condition in expect["json"]:
        field = f"json.{condition['path']}"
        if condition["is"] in ("present", "absent"):
            conditions.append(f"{field} {'!=' if condition['is'] == 'present' else '=='} null")
        else:
            value = condition["value"]
            conditions.append(f"{field} {OPERATORS[condition['is']]} {quoted(value)}")
    return conditions


def quoted(value: Any) -> str:
    """Write a value as the grammar of conditions reads it."""
    return json.dumps(value, ensure_ascii=False)


def _tcp(declaration: Data, probe: Data) -> tuple[Data, Data]:
    if not probe["service"]:
        return {"host": probe["host"], "port": probe["port"]}, {}
    service = declaration["services"][probe["service"]]
    if service["port"]:
        return {"host": "127.0.0.1", "port": service["port"]}, {}
    port = service["container_port"] or probe["port"]
    return {"container": container_name(declaration["name"], probe["service"]), "port": port}, {}


def _smtp(_declaration: Data, probe: Data) -> tuple[Data, Data]:
    return {"host": probe["host"], "port": probe["port"]}, {}


def _tls(_declaration: Data, probe: Data) -> tuple[Data, Data]:
    return {"host": probe["host"], "port": probe["port"]}, {"warn": [f"tls_days < {probe['days']}"]}


def _command(declaration: Data, probe: Data) -> tuple[Data, Data]:
    project, name = declaration["name"], probe["service"]
    service = declaration["services"].get(name)
    if not service:
        return {"command": probe["command"]}, {}
    if service["runtime"] == "compose":
        return {"command": probe["command"], "container": container_name(project, name)}, {}
    user = service["user"] or project
    directory = _release_directory(project, service)
    return {"command": ["/usr/bin/env", "-C", directory, *probe["command"]], "user": user}, {}


def _containers(declaration: Data, probe: Data) -> tuple[Data, Data]:
    containers = {name: item for name, item in declaration["services"].items() if item["runtime"] == "compose"}
    asked = [probe["service"]] if probe["service"] else list(containers)
    return {
        "compose": declaration["name"],
        "services": asked,
        "versioned": [name for name in asked if not pinned(containers[name]["image"])],
    }, {"warn": [f"restarts_day > {probe['most_restarts']}"]}


def _process(declaration: Data, probe: Data) -> tuple[Data, Data]:
    project, name = declaration["name"], probe["service"]
    service = declaration["services"][name]
    if service["runtime"] == "compose":
        return {"type": "docker", "container": container_name(project, name)}, {}
    if service["runtime"] == "pm2":
        return {"type": "pm2", "app": f"{project}-{name}", "user": service["user"] or project}, {}
    return {"type": "systemd", "unit": unit_name(project, name)}, {}


def _database(declaration: Data, probe: Data) -> tuple[Data, Data]:
    return _database_probe(declaration, probe["database"])


def _database_probe(declaration: Data, name: str) -> tuple[Data, Data]:
    project, database = declaration["name"], declaration["databases"][name]
    largest = {"warn": [f"size_bytes > {size_bytes(database['largest'])}"]} if database["largest"] else {}
    if database["engine"] == "sqlite":
        path = _data_path(project, database["path"])
        size: Data = {"type": "size", "path": path}
        return ({**size, "max_bytes": database["largest"]} if database["largest"] else size), {}
    kind = "postgresql" if database["engine"] == "postgresql" else "mysql"
    if database["url_secret"]:
        return {"type": kind, "url": _secret(project, database["url_secret"])}, largest
    default_port = 5432 if kind == "postgresql" else 3306
    login = {
        "port": database["port"] or default_port,
        "database": database["database"],
        "user": database["user"],
        "password": _secret(project, database["password_secret"]),
    }
    return {"type": kind, **_where(declaration, database), **login}, largest


def _where(declaration: Data, store: Data) -> Data:
    """Return where a database or Redis is: its host, or that of the service that runs it."""
    if not store["service"]:
        return {"host": store["host"]} if store["host"] else {}
    compose = declaration["services"][store["service"]]["runtime"] == "compose"
    return {"container": container_name(declaration["name"], store["service"])} if compose else {"host": "127.0.0.1"}


def _redis(declaration: Data, probe: Data) -> tuple[Data, Data]:
    return redis_server(declaration, probe["redis"]), {}


def redis_server(declaration: Data, name: str) -> Data:
    """Return how a Redis is reached: through its container where no port of it is published."""
    project, redis = declaration["name"], declaration["redis"][name]
    if redis["url_secret"]:
        return {"url": _secret(project, redis["url_secret"])}
    login = {"user": redis["user"]} if redis["user"] else {}
    login |= {"password": _secret(project, redis["password_secret"])} if redis["password_secret"] else {}
    login |= {"tls": True} if redis["tls"] else {}
    return {**_where(declaration, redis), "port": redis["port"], "database": redis["database"], **login}


def _queue(declaration: Data, probe: Data) -> tuple[Data, Data]:
    return _queue_probe(declaration, probe["queue"])


def _queue_probe(declaration: Data, name: str) -> tuple[Data, Data]:
    queue = declaration["queues"][name]
    return {
        **redis_server(declaration, queue["redis"]),
        "queue": queue["name"] or name,
        "library": queue["library"],
        "prefix": queue["prefix"],
        "stuck_after": seconds(queue["stuck_after"]),
    }, {
        "warn": [f"depth > {queue['most_waiting']}", f"failed > {queue['most_failed']}"],
        "crit": ["stuck == true"],
    }


def _machine(kind: str) -> Any:
    def make(_declaration: Data, probe: Data) -> tuple[Data, Data]:
        made = _machine_probe(kind, probe)
        return {}, {level: made[level] for level in ("warn", "crit") if level in made}

    return make


def _machine_probe(kind: str, probe: Data) -> Data:
    """Return a probe of the machine: a warning at the guides' 80 % (CDM-5, NIA-2), critical shortly before the end."""
    percent = probe.get("most_percent") or 80
    critical = max(95, min(99, percent + 1))
    full = ("used_pct", "inodes_used_pct") if kind == "disk" else ("used_pct",)
    further = {"disk": ["full_in_days < 14"], "memory": ["oom_kills > 0"]}.get(kind, [])
    conditions = {} if kind == LOAD else {"warn": [*(f"{field} > {percent}" for field in full), *further]}
    if kind in ("disk", "memory"):
        conditions["crit"] = [f"{field} > {critical}" for field in full]
    return {
        "name": f"{HOST}.{kind}",
        "type": kind,
        "project": HOST,
        "policy": HOST,
        "every": 60,
        # Sustained use only: one busy minute of a processor is no news.
        "failures": {"disk": 1, "memory": 3, "cpu": 10, LOAD: 3}[kind],
        "severity": "medium" if kind in ("cpu", LOAD) else "high",
        **conditions,
    }


def _strictest(probes: list[Data]) -> Data:
    """Join what several projects ask of the machine: the lowest limits, the highest severity, the shortest times."""
    first = min(probes, key=lambda probe: SEVERITIES.index(probe["severity"]))
    limits = {
        level: _limits(rule for probe in probes for rule in probe.get(level, []))
        for level in ("warn", "crit")
        if any(level in probe for probe in probes)
    }
    times = {
        key: min(probe[key] for probe in probes if key in probe)
        for key in ("every", "failures", "timeout")
        if any(key in probe for probe in probes)
    }
    return {**first, **limits, **times, "policy": HOST}


def _limits(rules: Iterable[Any]) -> list[Any]:
    """Keep every condition once, and of several limits of one field the strictest."""
    kept: dict[str, Any] = {}
    for rule in rules:
        match = re.fullmatch(r"(\w+ *[<>]=?) *([0-9.]+)", rule) if isinstance(rule, str) else None
        key = match[1].replace(" ", "") if match else json.dumps(rule, sort_keys=True)
        if match is None or key not in kept:
            kept.setdefault(key, rule)
        elif (float(match[2]) < _limit(kept[key])) == (">" in key):
            kept[key] = rule
    return list(kept.values())


def _limit(rule: str) -> float:
    return float(re.split("[<>= ]+", rule)[-1])


def _size(declaration: Data, probe: Data) -> tuple[Data, Data]:
    return _size_probe(declaration, probe["files"]), {}


def _size_probe(declaration: Data, name: str) -> Data:
    project, files = declaration["name"], declaration["files"][name]
    path = _volume_path(project, files["volume"]) if files["volume"] else _data_path(project, files["path"])
    return {"path": path, **({"max_bytes": files["largest"]} if files["largest"] else {})}


def _heartbeat(declaration: Data, probe: Data) -> tuple[Data, Data]:
    age = {"max_age": seconds(probe["age"])}
    if probe["file"]:
        return {"file": _data_path(declaration["name"], probe["file"]), **age}, {}
    where = _log_place(declaration, probe["log"])
    if "path" in where:
        where = {"log": where["path"]}
    return {**where, "match": probe["pattern"], **age}, {}


def _log(declaration: Data, probe: Data) -> tuple[Data, Data]:
    made, thresholds = _log_probe(declaration, probe["log"], probe["pattern"], probe["most_per_hour"])
    return made, thresholds


def _log_probe(declaration: Data, log: str, pattern: str, most: int) -> tuple[Data, Data]:
    return {**_log_place(declaration, log), "match": pattern}, {"crit": [f"per_hour > {most}"]}


def _log_place(declaration: Data, name: str) -> Data:
    project, log = declaration["name"], declaration["logs"][name]
    if log["service"]:
        service = declaration["services"][log["service"]]
        if service["runtime"] == "compose":
            return {"container": container_name(project, log["service"])}
        return {"unit": unit_name(project, log["service"])}
    if log["volume"]:
        return {"path": f"{_volume_path(project, log['volume'])}/{log['directory'] or '*'}"}
    return {"path": _data_path(project, log["path"])}


_OF_TYPE: Final = {
    "http": _http,
    "tcp": _tcp,
    "smtp": _smtp,
    "tls": _tls,
    "command": _command,
    "containers": _containers,
    "process": _process,
    "database": _database,
    "redis": _redis,
    "queue": _queue,
    **{kind: _machine(kind) for kind in MACHINE},
    "size": _size,
    "heartbeat": _heartbeat,
    "log": _log,
}


# ---- probes that follow from the rest of the declaration -------------------------------------------------------


def _implied(declaration: Data) -> list[Data]:
    """Return probes for what the declaration sets a limit to or relies on, unless one is declared for it already."""
    project = declaration["name"]
    found = []
    for made in (_certificates, _stack, _stores, _sizes, _logs, _jobs):
        for name, kind, severity, every, (specific, thresholds) in made(declaration):
            # What is asked once an hour, or counts lines of an hour, need not be bad twice to be believed.
            failures = 1 if every >= 3600 or kind == "log" else 2
            common = {"name": f"{project}.{name}", "type": kind, "project": project, "severity": severity}
            found.append({**common, "every": every, "failures": failures, **specific, **thresholds})
    return sorted(found, key=lambda probe: str(probe["name"]))


# Name, type, severity, seconds between two runs, and what is particular to it.
Implied = Iterator[tuple[str, str, str, int, tuple[Data, Data]]]


def _asked(declaration: Data, kind: str, key: str) -> set[str]:
    """Return what the declared probes of a type ask already."""
    return {str(probe[key]) for probe in declaration["probes"].values() if probe["type"] == kind}


def _certificates(declaration: Data) -> Implied:
    hosts = _asked(declaration, "tls", "host")
    for key, domain in declaration["domains"].items():
        name = domain["names"][0]
        if name not in hosts and not name.startswith("*.") and domain["certificate"]["provider"] != "selfsigned":
            yield f"tls.{key}", "tls", "high", 3600, ({"host": name}, {})


def _stack(declaration: Data) -> Implied:
    if any(service["runtime"] == "compose" for service in declaration["services"].values()) and not _asked(
        declaration, "containers", "type"
    ):
        yield "containers", "containers", "high", 60, _containers(declaration, {"service": None, "most_restarts": 3})


def _stores(declaration: Data) -> Implied:
    for name in declaration["redis"].keys() - _asked(declaration, "redis", "redis"):
        yield f"redis.{name}", "redis", "high", 60, (redis_server(declaration, name), {})
    for name in declaration["queues"].keys() - _asked(declaration, "queue", "queue"):
        yield f"queue.{name}", "queue", declaration["queues"][name]["severity"], 60, _queue_probe(declaration, name)
    for name in declaration["databases"].keys() - _asked(declaration, "database", "database"):
        database = declaration["databases"][name]
        if database["engine"] != "sqlite" or database["largest"]:
            made = _database_probe(declaration, name)
            yield f"database.{name}", made[0]["type"], "high", 300, made


def _sizes(declaration: Data) -> Implied:
    for name in declaration["files"].keys() - _asked(declaration, "size", "files"):
        if declaration["files"][name]["largest"]:
            yield f"size.{name}", "size", "medium", 3600, (_size_probe(declaration, name), {})


def _logs(declaration: Data) -> Implied:
    for log, described in declaration["logs"].items():
        for name, wanted in described["filters"].items():
            if wanted["most_per_hour"] is not None:
                made = _log_probe(declaration, log, wanted["pattern"], wanted["most_per_hour"])
                yield f"log.{log}.{name}", "log", wanted["severity"], 60, made


def _jobs(declaration: Data) -> Implied:
    """Yield the signs of life of what runs by itself: a clean-up that no longer succeeds tells nobody otherwise."""
    for name, job in declaration["maintenance"].items():
        if job["kind"] in MAINTAINED and job["schedule"]:
            age = 2 * longest_gap(job["schedule"]) + seconds(job["timeout"])
            made = {"file": f"{JOB_STATE}/{declaration['name']}/{name}.done", "max_age": age}
            yield f"maintenance.{name}", "heartbeat", job["severity"], 3600, (made, {})


# ---- who is told -----------------------------------------------------------------------------------------------


def _policy(declaration: Data) -> Data:
    """Return what each severity means; one that is not declared is like the next one that is, with its usual time."""
    project, declared = declaration["name"], declaration["severities"]
    order = [name for name in SEVERITIES if name in declared]
    policy = {}
    for position, name in enumerate(SEVERITIES):
        nearest = min(order, key=lambda other: abs(SEVERITIES.index(other) - position), default="")
        said = declared.get(name) or declared.get(nearest)
        notify = said["notify"] if said else list(declaration["channels"])
        policy[name] = {
            "respond_within": seconds(said["respond_within"]) if name in declared else RESPOND_WITHIN[name],
            "notify": [f"{project}.{channel}" for channel in notify],
            "escalate_to": [f"{project}.{channel}" for channel in (said["escalate_to"] if said else [])],
            "remind_every": seconds(said["remind_every"]) if said else REMIND_EVERY,
        }
    return policy


def _together(policies: Iterable[Mapping[str, Data]]) -> Data:
    """Return the policy of the host: everybody whose project is on it is told, in the shortest of the times."""
    given = list(policies)

    def union(severity: str, key: str) -> list[str]:
        return list(dict.fromkeys(channel for policy in given for channel in policy[severity][key]))

    def least(severity: str, key: str, otherwise: int) -> int:
        return min((policy[severity][key] for policy in given), default=otherwise)

    return {
        severity: {
            "respond_within": least(severity, "respond_within", RESPOND_WITHIN[severity]),
            "notify": union(severity, "notify"),
            "escalate_to": union(severity, "escalate_to"),
            "remind_every": least(severity, "remind_every", REMIND_EVERY),
        }
        for severity in SEVERITIES
    }


def _channel(project: str, channel: Data) -> Data:
    if channel["type"] == "mail":
        return {"type": "mail", "to": channel["to"]}
    return {"type": channel["type"], "url": _secret(project, channel["url_secret"])}


def _project(declaration: Data) -> Data:
    project = declaration["name"]
    compose = any(service["runtime"] == "compose" for service in declaration["services"].values())
    named = [name for name, probe in declaration["probes"].items() if probe["type"] == "containers"]
    contacts = sorted(declaration["contacts"].items(), key=lambda item: int(item[1]["level"]))
    return {
        "title": declaration["title"],
        # Before its first release nothing of a project can be good, and nobody needs to be told.
        "active_when": active_when(declaration),
        "locks": [f"stack-{project}"] if compose else [],
        "contacts": [
            {"name": name, **{key: value for key, value in contact.items() if value}} for name, contact in contacts
        ],
        "backups": list(declaration["backups"]),
        "domains": [domain["names"][0] for domain in declaration["domains"].values()],
        "containers_probe": f"{project}.{named[0] if named else 'containers'}" if compose else "",
        "release_file": f"/var/lib/quai/{project}/release.json",
    }


def _said(values: Data) -> Data:
    return {key: value for key, value in values.items() if value}


# ---- names on a host -------------------------------------------------------------------------------------------


def active_when(declaration: Data) -> str:
    """Return the path that is there as soon as a project was released for the first time."""
    compose = any(service["runtime"] == "compose" for service in declaration["services"].values())
    return f"/srv/{declaration['name']}/{'stack' if compose else 'current'}"


def container_name(project: str, service: str) -> str:
    """Return the container of a service that Compose runs."""
    return f"{project}_{service}"


def unit_name(project: str, service: str) -> str:
    """Return the unit of a service or job that systemd runs."""
    return f"quai-{project}-{service}.service"


def _volume_path(project: str, volume: str) -> str:
    return f"/var/lib/docker/volumes/{project}_{volume}/_data"


def _data_path(project: str, path: str) -> str:
    return path if path.startswith("/") else f"/srv/{project}/shared/{path}"


def _release_directory(project: str, service: Data) -> str:
    parts = [service["directory"]] if service["directory"] not in ("", ".") else []
    return "/".join([f"/srv/{project}/current", *parts])


def _secret(project: str, name: str) -> str:
    return f"${{{project}.{name}}}"


def _named(declaration: Data, text: str) -> str:
    """Say of which project a secret is: on a host the secrets of all its projects lie together."""
    return PLACEHOLDER.sub(lambda match: _secret(declaration["name"], match[1]), text)
