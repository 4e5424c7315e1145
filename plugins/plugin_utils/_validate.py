# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find everything that is wrong with declarations, before a host is touched.

Form comes from the description; the rules here are what a description of one field cannot say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final

from ansible_collections.quai.ops.plugins.module_utils._probe_rules import RuleError
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import rule
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._queue_rules import rules as queue_rules
from ansible_collections.quai.ops.plugins.plugin_utils._fields import FORMATS, PLACEHOLDER
from ansible_collections.quai.ops.plugins.plugin_utils._load import Document
from ansible_collections.quai.ops.plugins.plugin_utils._problems import NOT_SHOWN, Path, Problem, shown, suggestion
from ansible_collections.quai.ops.plugins.plugin_utils._schema import EPHEMERAL_PORTS, HOST_PORTS, PROJECT
from ansible_collections.quai.ops.plugins.plugin_utils._shape import Reference, Shape

Data = dict[str, Any]

# How a person calls one entry of a section.
SINGULAR: Final = {
    "services": "service",
    "volumes": "volume",
    "domains": "domain",
    "rate_zones": "rate zone",
    "secrets": "secret",
    "settings": "setting",
    "databases": "database",
    "redis": "redis",
    "queues": "queue",
    "files": "file set",
    "destinations": "destination",
    "backups": "backup",
    "retention": "retention rule",
    "logs": "log",
    "probes": "probe",
    "channels": "channel",
    "contacts": "contact",
    "maintenance": "job",
    "statistics": "statistic",
    "operations": "operation",
}

RESERVED: Final = ("all", "ungrouped", "localhost")
# A host has a file of each project beside files of its own.
FILES: Final = ("units",)
_SECRET_WORDS: Final = {"PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "KEY", "APIKEY", "CREDENTIALS"}
# JWT_SECRET_FILE, TOKEN_TTL and KEY_ID say something about a secret, they are none.
_HARMLESS_ENDS: Final = {
    *("FILE", "PATH", "DIR", "URL", "URI", "NAME", "ID", "ISSUER"),
    *("TTL", "AGE", "EXPIRY", "EXPIRES", "SECONDS", "MINUTES", "LENGTH"),
}
_URL_PASSWORD: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:(?!\$\{)[^/\s@]+@")


@dataclass(frozen=True)
class Declaration:
    """A declaration after validation: every default filled in."""

    document: Document
    data: Data
    names: Mapping[str, frozenset[str]] = field(default_factory=dict)  # what each section declares, well-formed or not

    @property
    def name(self) -> str:
        """Return the project's name: the file's."""
        return PurePath(self.document.file).stem


@dataclass(frozen=True)
class Surroundings:
    """What a declaration is checked against besides itself."""

    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # host -> projects on it
    secrets: Mapping[str, frozenset[str]] | None = None  # project -> names with a value; None: not looked at
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # project -> changed settings
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # project -> changed variables
    vault_directory: str = "inventories/<environment>/group_vars/all"


def validate(
    documents: Iterable[Document], surroundings: Surroundings | None = None
) -> tuple[dict[str, Declaration], list[Problem]]:
    """Return the declarations by project name, and every problem of all of them."""
    around = surroundings or Surroundings()
    problems: list[Problem] = []
    declarations: dict[str, Declaration] = {}
    for document in documents:
        declaration, found = _one(document, around)
        declarations[declaration.name] = declaration
        problems += found
    problems += _between(declarations, around)
    return declarations, sorted(problems, key=lambda problem: (problem.file, problem.line, str(problem)))


def _one(document: Document, around: Surroundings) -> tuple[Declaration, list[Problem]]:
    problems: list[Problem] = []

    def complain(path: Path, message: str, value: Any = NOT_SHOWN) -> None:
        problems.append(Problem(document.file, document.line(path), path, message, value))

    if not isinstance(document.data, dict):
        complain((), "is no declaration, it must be a mapping that starts with name: and title:")
        return Declaration(document, {}), problems
    shape = Shape(complain)
    data = shape.apply(PROJECT, document.data)
    sections = {
        section: frozenset(raw if isinstance(raw := document.data.get(section), dict) else ()) for section in SINGULAR
    }
    declaration = Declaration(document, data, sections)
    _references(shape.references, declaration, complain)
    for check in RULES:
        check(declaration, complain)
    _secret_values(declaration, around, complain)
    _changed_settings(declaration, around, problems)
    _changed_variables(declaration, around, problems)
    return declaration, problems


def _references(references: list[Reference], declaration: Declaration, complain: Callable[..., None]) -> None:
    for path, name, section in references:
        known = sorted(declaration.names[section])
        if name not in known:
            kind = SINGULAR[section]
            others = f"; declared: {', '.join(known)}" if known else f"; {section} declares none"
            hint = suggestion(name, known) or others
            if path[-1] == name:
                complain(path, f"names no declared {kind}{hint}")
            else:
                complain(path, f"no such {kind}{hint}", name)


# ---- rules within one declaration ------------------------------------------------------------------------------


def _entries(data: Data, section: str) -> Iterator[tuple[str, Data]]:
    yield from (data.get(section) or {}).items()


def _name(declaration: Declaration, complain: Callable[..., None]) -> None:
    name = declaration.data["name"]
    if name is not None and name != declaration.name:
        complain(("name",), f"must be the file's name, {declaration.name}", name)
    elif name in RESERVED:
        complain(("name",), "has a meaning in every inventory, must be another", name)
    elif name in FILES:
        complain(("name",), "is the name of a file on every host (/etc/quai/maintenance), must be another", name)


def _dependencies(declaration: Declaration, complain: Callable[..., None]) -> None:
    services = declaration.data["services"] or {}
    for name, service in services.items():
        for other, condition in (service["depends_on"] or {}).items():
            there = services.get(other)
            if condition == "healthy" and there and _unsaid(declaration, other, "health"):
                complain(
                    ("services", name, "depends_on", other),
                    f"needs services.{other}.health to be declared, or must be started",
                    condition,
                )
    for cycle in _cycles({name: list(service["depends_on"] or {}) for name, service in services.items()}):
        complain(("services", cycle[0], "depends_on"), f"goes in a circle: {' -> '.join([*cycle, cycle[0]])}")


def _unsaid(declaration: Declaration, service: str, field: str) -> bool:
    """Tell whether a field is not there at all; one that is there but wrong has its complaint already."""
    raw = declaration.document.data["services"][service]
    return not isinstance(raw, dict) or field not in raw


def _cycles(graph: Mapping[str, list[str]]) -> list[list[str]]:
    """Return each circle once, starting at its alphabetically first member."""
    found: set[tuple[str, ...]] = set()

    def visit(node: str, trail: list[str]) -> None:
        if node in trail:
            circle = trail[trail.index(node) :]
            start = circle.index(min(circle))
            found.add((*circle[start:], *circle[:start]))
            return
        for other in graph.get(node, []):
            visit(other, [*trail, node])

    for node in graph:
        visit(node, [])
    return [list(circle) for circle in sorted(found)]


def _ports(declaration: Declaration, complain: Callable[..., None]) -> None:
    users: dict[int, str] = {}
    for name, service in _entries(declaration.data, "services"):
        number, path = service["port"], ("services", name, "port")
        if number is None:
            continue
        if number in HOST_PORTS:
            complain(path, "belongs to the host (ssh, http, https); take another", number)
        elif number in EPHEMERAL_PORTS:
            low, high = EPHEMERAL_PORTS.start, EPHEMERAL_PORTS.stop - 1
            complain(path, f"must not be from {low} to {high}: any outgoing connection may have taken it", number)
        if number in users:
            complain(path, f"is already the port of services.{users[number]}", number)
        users.setdefault(number, name)


def _service_kinds(declaration: Declaration, complain: Callable[..., None]) -> None:
    needs_source = False
    for name, service in _entries(declaration.data, "services"):
        path = ("services", name)
        if service["runtime"] == "systemd" and _unsaid(declaration, name, "command"):
            complain((*path, "command"), "is missing, a systemd service must say what to run")
        started = not (_unsaid(declaration, name, "command") and _unsaid(declaration, name, "entrypoint"))
        if service["runtime"] == "compose" and _has_secrets(service) and not started:
            reason = "quai starts a service with secrets through a shell that reads them first"
            complain((*path, "command"), f"is missing, must be the image's own or another: {reason}")
        if service["public"] and _unsaid(declaration, name, "port"):
            complain((*path, "public"), "publishes nothing, services with public: true must have a port", True)
        if service["runtime"] not in ("compose", None) and not declaration.data["source"]:
            needs_source = True
        portless = all(_unsaid(declaration, name, key) for key in ("port", "container_port"))
        if service["health"] and service["health"]["http"] and portless:
            complain((*path, "health", "http"), "needs a port or container_port to ask", service["health"]["http"])
    if needs_source and "source" not in declaration.document.data:
        complain(("source",), "is missing, must say where the code of systemd, pm2 and static services comes from")


def _has_secrets(service: Data) -> bool:
    values = (service["environment"] or {}).values()
    return bool(service["secrets"]) or any(isinstance(value, str) and PLACEHOLDER.search(value) for value in values)


def _volumes(declaration: Declaration, complain: Callable[..., None]) -> None:
    volumes = declaration.data["volumes"] or {}
    writers: dict[str, list[str]] = {}
    for name, service in _entries(declaration.data, "services"):
        for volume in service["volumes"] or {}:
            writers.setdefault(volume, []).append(name)
    for volume, users in writers.items():
        if len(users) > 1 and volume in volumes and not volumes[volume]["shared"]:
            complain(
                ("services", users[1], "volumes", volume),
                f"is mounted by {' and '.join(users)}; when that is meant, say volumes.{volume}.shared: true",
            )


def _environment(declaration: Declaration, complain: Callable[..., None]) -> None:
    settings = declaration.data["settings"] or {}
    for name, service in _entries(declaration.data, "services"):
        environment = service["environment"] or {}
        for variable, value in environment.items():
            path = ("services", name, "environment", variable)
            reason = _literal_secret(variable, value)
            if reason:
                complain(path, reason)
            if variable in (service["secrets"] or []):
                complain(path, f"is set twice: services.{name}.secrets has it too")
            if variable in settings and name in settings[variable]["services"]:
                complain(path, f"is set twice: settings.{variable} has it too")


def _literal_secret(variable: str, value: Any) -> str:
    """Say why the value must not stand in the file; the value itself is never shown."""
    literal = value if isinstance(value, str) else str(value) if type(value) in (int, float) else ""
    if not literal or "${" in literal.replace("$${", ""):
        return ""
    words = variable.upper().split("_")
    if _SECRET_WORDS.intersection(words) and words[-1] not in _HARMLESS_ENDS:
        name = variable.upper()
        return f"looks like a secret with its value in the file (not shown); declare secrets.{name} and list it there"
    if _URL_PASSWORD.search(literal):
        return "has a password in its address (not shown); declare it under secrets and write ${NAME} there"
    return ""


def _domains(declaration: Declaration, complain: Callable[..., None]) -> None:
    owners: dict[str, str] = {}
    for key, domain in _entries(declaration.data, "domains"):
        for names in ("names", "redirect_names"):
            for position, name in enumerate(domain[names] or []):
                path = ("domains", key, names, position)
                if name in owners:
                    complain(path, f"is already a name of domains.{owners[name]}", name)
                owners.setdefault(name, key)
                if name.startswith("*.") and _challenge(domain) == "http-01":
                    complain(path, f"is a wildcard, which needs domains.{key}.certificate.challenge: dns-01", name)
        certificate = domain["certificate"] or {}
        if certificate.get("provider") == "provided":
            for wanted in ("certificate_file", "key_file"):
                if not certificate[wanted]:
                    complain(("domains", key, "certificate", wanted), "is missing, must be there where it is provided")
        _served(declaration, key, domain, complain)


def _challenge(domain: Data) -> str:
    certificate = domain["certificate"] or {}
    asked = certificate.get("provider") in (None, "acme")
    return (certificate.get("challenge") or "http-01") if asked else ""


def _served(declaration: Declaration, key: str, domain: Data, complain: Callable[..., None]) -> None:
    service = (declaration.data["services"] or {}).get(domain["service"])
    if service and service["runtime"] != "static" and _unsaid(declaration, domain["service"], "port"):
        name = domain["service"]
        complain(("domains", key, "service"), f"has no port that nginx could ask; give services.{name}.port", name)


def _databases(declaration: Declaration, complain: Callable[..., None]) -> None:
    for name, database in _entries(declaration.data, "databases"):
        if database["engine"] in (None, "sqlite") or database["url_secret"]:
            continue
        raw = declaration.document.data["databases"][name]
        missing = [key for key in ("database", "user", "password_secret") if not database[key] and key not in raw]
        if not (database["service"] or database["host"] or {"service", "host", "url_secret"} & set(raw)):
            complain(("databases", name), "cannot be reached, must have url_secret, or a service or host")
        elif missing and "url_secret" not in raw:
            complain(("databases", name), f"lacks {', '.join(missing)}, must have them or a url_secret")


def _settings(declaration: Declaration, complain: Callable[..., None]) -> None:
    for name, setting in _entries(declaration.data, "settings"):
        reason = _bad_setting(setting, setting["value"])
        if reason:
            complain(("settings", name, "value"), reason, setting["value"])


def _bad_setting(setting: Data, value: Any) -> str:
    kind = setting["type"]
    if value is None or kind is None:
        return ""
    if kind == "boolean":
        return "" if isinstance(value, bool) else "must be true or false"
    if kind == "text":
        return "" if isinstance(value, str) else "must be text"
    if kind == "choice":
        choices = setting["choices"] or []
        return "" if value in choices else f"must be one of {', '.join(choices)}{suggestion(value, choices)}"
    right = isinstance(value, int if kind == "integer" else (int, float)) and not isinstance(value, bool)
    low, high = setting["minimum"], setting["maximum"]
    if right and (low is None or value >= low) and (high is None or value <= high):
        return ""
    words = "a whole number" if kind == "integer" else "a number"
    bounds = f" from {low:g}" if low is not None else ""
    return f"must be {words}{bounds}" + (f" to {high:g}" if high is not None else "")


def _checklists(declaration: Declaration, complain: Callable[..., None]) -> None:
    for often, entries in (declaration.data["checklists"] or {}).items():
        for position, entry in enumerate(entries or []):
            path = ("checklists", often, position)
            section, _dot, name = entry.partition(".")
            if section not in declaration.names:
                complain(path, f"must start with a section{suggestion(section, declaration.names)}", entry)
            elif name and name not in declaration.names[section]:
                known = sorted(declaration.names[section])
                complain(path, f"no such {SINGULAR[section]}{suggestion(name, known)}", entry)


def _probes(declaration: Declaration, complain: Callable[..., None]) -> None:
    for name, probe in _entries(declaration.data, "probes"):
        raw, path = declaration.document.data["probes"][name], ("probes", name)
        if probe["type"] == "http" and not {"url", "domain", "service"} & set(raw):
            complain(path, "has nothing to ask, must have url, domain or service")
        if probe["type"] in ("smtp", "tls") and not {"host", "port"} <= set(raw):
            complain(path, f"must have host and port to ask {probe['type']}")
        if probe["type"] == "tcp" and "service" not in raw and not {"host", "port"} <= set(raw):
            complain(path, "must have a service, or host and port")
        if probe["type"] == "log" and not {"log", "pattern"} <= set(raw):
            complain(path, "counts no lines, must have log and pattern")
        if probe["type"] == "process" and "service" not in raw:
            complain(path, "watches no process, must have service")
        for key in ("warn", "crit"):
            for position, text in enumerate(probe[key] or []):
                reason = _condition(probe["type"], text)
                if reason:
                    complain((*path, key, position), reason)
        if probe["type"] == "heartbeat" and not ({"log", "pattern"} <= set(raw) or "file" in raw):
            complain(path, "has no sign of life, must have log and pattern, or file")


def _queues(declaration: Declaration, complain: Callable[..., None]) -> None:
    for name, _queue in _entries(declaration.data, "queues"):
        raw, path = declaration.document.data["queues"][name], ("queues", name)
        for key in ("keep_completed", "keep_failed"):
            if key in raw and "clean" in raw:
                complain((*path, key), "is not used beside clean; say it there as a rule, or take clean away", raw[key])
        for position, given in enumerate(raw.get("clean") or []):
            reason = _queue_rule(given)
            if reason:
                complain((*path, "clean", position), reason)
    for name, redis in _entries(declaration.data, "redis"):
        for position, rule_ in enumerate(redis["clean"] or []):
            pattern = rule_ and rule_["pattern"]
            if pattern and not re.match(r"[^*?\[\\]", pattern):
                where = ("redis", name, "clean", position, "pattern")
                complain(where, "would match keys of everybody, must begin with what the keys begin with", pattern)


def _queue_rule(given: Any) -> str:
    """Say what is wrong with a rule that has the right form; the engine that will read it is asked."""
    if not isinstance(given, dict) or not {"older_than", "keep_last"} & set(given) or "state" not in given:
        return ""
    try:
        queue_rules([given])
    except QueueProblem as error:
        field_, _colon, words = str(error).removeprefix("rules[0]").lstrip(".").partition(": ")
        known = set(given) & {"keep_last", "failed_reason"}
        return f"{field_}: {words}" if field_ in known else ""
    return ""


def _jobs(declaration: Declaration, complain: Callable[..., None]) -> None:
    queues, servers = declaration.data["queues"] or {}, declaration.data["redis"] or {}
    for name, job in _entries(declaration.data, "maintenance"):
        path = ("maintenance", name)
        service = (declaration.data["services"] or {}).get(name)
        if service and service["runtime"] in ("systemd", "pm2"):
            complain(path, f"would have the unit of services.{name}, must have another name")
        if job["kind"] == "queue_cleanup" and job["queue"] in queues and queues[job["queue"]]["protect"]:
            complain((*path, "queue"), f"is protected by queues.{job['queue']}.protect", job["queue"])
        if job["kind"] == "redis_cleanup" and job["redis"] in servers and not servers[job["redis"]]["clean"]:
            complain((*path, "redis"), f"has nothing to clean, must have redis.{job['redis']}.clean", job["redis"])


def _condition(kind: str, text: str) -> str:
    """Say what is wrong with a condition; the engine that will read it is asked."""
    kinds = {"database": ("postgresql", "size"), "process": ("systemd", "docker", "pm2")}.get(kind, (kind,))
    problems = []
    for name in kinds:
        try:
            rule(name, text, limit=True)
        except RuleError as error:
            problems.append(str(error))
    return problems[0] if len(problems) == len(kinds) else ""


def _overrides(declaration: Declaration, complain: Callable[..., None]) -> None:
    for key in declaration.data["overrides"] or {}:
        if key not in OVERRIDABLE:
            hint = suggestion(key, OVERRIDABLE) or f"; there are: {', '.join(OVERRIDABLE)}"
            complain(("overrides", key), f"is no derived variable{hint}")


RULES: Final[tuple[Callable[[Declaration, Callable[..., None]], None], ...]] = (
    _name,
    _service_kinds,
    _dependencies,
    _ports,
    _volumes,
    _environment,
    _domains,
    _databases,
    _settings,
    _probes,
    _queues,
    _jobs,
    _checklists,
    _overrides,
)

# What derive makes of a project and `overrides` may change.
OVERRIDABLE: Final = (
    "docker_stack_name",
    "docker_stack_compose",
    "docker_stack_secrets",
    "docker_stack_requirements",
    "docker_stack_public_ports",
    "docker_stack_ready_timeout",
    "nginx_tls_certificates",
    "nginx_tls_sites",
    "nginx_tls_rate_zones",
    "host_base_public_tcp",
    "host_base_public_udp",
    "release_migrations",
    "release_verify",
    "health_outside",
    "monitoring_cron_probes",
    "monitoring_cron_policies",
    "monitoring_cron_channels",
    "monitoring_cron_projects",
    "queues_declared",
    "queues_redis",
    "maintenance_jobs",
)


# ---- against the environment -----------------------------------------------------------------------------------


def _secret_values(declaration: Declaration, around: Surroundings, complain: Callable[..., None]) -> None:
    if around.secrets is None or declaration.name not in around.secrets:
        return
    there = around.secrets[declaration.name]
    variable = vault_variable(declaration.name)
    for name, secret in _entries(declaration.data, "secrets"):
        if name in there:
            continue
        how = f" or run: ansible-playbook playbooks/secrets.yml -e project={declaration.name}"
        if secret["supplied_by"]:
            how = f"; get it from: {secret['supplied_by']}"
        where = f"{around.vault_directory}/{variable}.yml"
        complain(("secrets", name), f"has no value in this environment; set {variable}.{name} in {where}{how}")


def _changed_settings(declaration: Declaration, around: Surroundings, problems: list[Problem]) -> None:
    settings = declaration.data["settings"] or {}
    for name, value in around.settings.get(declaration.name, {}).items():
        path = ("quai_settings", declaration.name, name)
        if name not in settings:
            problems.append(Problem("inventory", 0, path, f"is no declared setting{suggestion(name, settings)}"))
            continue
        reason = _bad_setting(settings[name], value)
        if reason:
            problems.append(Problem("inventory", 0, path, reason, value))


def _changed_variables(declaration: Declaration, around: Surroundings, problems: list[Problem]) -> None:
    for key in around.overrides.get(declaration.name, {}):
        if key not in OVERRIDABLE:
            path = ("quai_overrides", declaration.name, key)
            problems.append(Problem("inventory", 0, path, f"is no derived variable{suggestion(key, OVERRIDABLE)}"))


def page_problems(page: Any) -> list[Problem]:
    """Return what is wrong with the inventory's C(quai_page): where a host's morning page is served, and to whom."""
    keys = ("name", "users", "mail_to", "at")
    if not isinstance(page, Mapping):
        return [Problem("inventory", 0, ("quai_page",), "must be a mapping with name and users", page)]
    problems = [
        Problem(
            "inventory", 0, ("quai_page", key), f"is no option{suggestion(key, keys)}; there are: {', '.join(keys)}"
        )
        for key in page
        if key not in keys
    ]
    if page:
        reason = FORMATS["domain"].complaint(str(page.get("name", "")))
        if reason:
            problems.append(Problem("inventory", 0, ("quai_page", "name"), reason, page.get("name")))
        if not (isinstance(page.get("users"), Mapping) and page["users"]):
            problems.append(Problem("inventory", 0, ("quai_page", "users"), "must name users with hashed passwords"))
    return problems


def vault_variable(project: str) -> str:
    """Return the name of the variable with a project's secrets."""
    return f"vault_{project.replace('-', '_')}"


# ---- between projects ------------------------------------------------------------------------------------------


def _between(declarations: Mapping[str, Declaration], around: Surroundings) -> list[Problem]:
    problems: dict[tuple[str, Path], Problem] = {}

    def complain(declaration: Declaration, path: Path, message: str, value: Any) -> None:
        document = declaration.document
        problems.setdefault((document.file, path), Problem(document.file, document.line(path), path, message, value))

    for host, projects in sorted(around.hosts.items()):
        users: dict[int, str] = {}
        for project in sorted(set(projects) & set(declarations)):
            for name, service in _entries(declarations[project].data, "services"):
                number = service["port"]
                if number is None:
                    continue
                other = users.setdefault(number, f"{project} services.{name}")
                if not other.startswith(f"{project} "):
                    path = ("services", name, "port")
                    complain(declarations[project], path, f"is already the port of {other} on host {host}", number)
    owners: dict[str, str] = {}
    for project, declaration in sorted(declarations.items()):
        for path, name in _all_domains(declaration):
            owner = owners.setdefault(name, project)
            if owner != project:
                complain(declaration, path, f"is already a domain of project {owner}", name)
    return list(problems.values())


def _all_domains(declaration: Declaration) -> Iterator[tuple[Path, str]]:
    for key, domain in _entries(declaration.data, "domains"):
        for names in ("names", "redirect_names"):
            for position, name in enumerate(domain[names] or []):
                yield ("domains", key, names, position), name


__all__ = ["Declaration", "Surroundings", "page_problems", "shown", "validate", "vault_variable"]
