# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn a validated declaration into the variables of the roles. Pure; no secret's value passes through here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ansible_collections.quai.ops.plugins.plugin_utils import _derive_probes, _derive_queues
from ansible_collections.quai.ops.plugins.plugin_utils._fields import PLACEHOLDER
from ansible_collections.quai.ops.plugins.plugin_utils._values import pinned, seconds

Data = dict[str, Any]

PAGE_DIRECTORY: Final = "/var/lib/quai/page"  # where the watch of a host writes its page
UNRELEASED: Final = "unreleased"  # tag of own images where no version is asked for, as in provision and explain


@dataclass(frozen=True)
class Environment:
    """What differs from one environment to the next (inventory variables C(quai_*))."""

    registry: str = ""
    registry_mirror: str = ""
    certificate: Mapping[str, Any] = field(default_factory=dict)  # provider and challenge where a domain names none
    settings: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    probe_authority: str = ""  # file on a host with the authority of its sites' certificates, where it is a private one


def derive(declaration: Data, environment: Environment, version: str = "") -> Data:
    """Return every role variable of one project; C(docker_stack_secrets) still holds ${NAME} in place of values."""
    derived = {
        "name": declaration["name"],
        "title": declaration["title"],
        "version": version or UNRELEASED,
        **_stack(declaration, environment, version or UNRELEASED),
        **_web(declaration, environment),
        "release_migrations": declaration["release"]["migrations"],
        "release_verify": _derive_probes.outside(declaration, declaration["release"]["verify"]),
        "health_outside": _derive_probes.outside(declaration, declaration["probes"]),
        **_derive_probes.monitoring(declaration, environment.probe_authority),
        **_derive_queues.queues(declaration),
    }
    result: Data = merge(merge(derived, declaration["overrides"]), environment.overrides)
    return result


def merge_host(
    derived: Iterable[Data], page: Mapping[str, Any] | None = None, environment: Environment | None = None
) -> Data:
    """Join what several projects ask of the one host they share, and the host's own page."""
    host: Data = {
        "projects": [],
        "nginx_tls_certificates": [],
        "nginx_tls_sites": [],
        "nginx_tls_rate_zones": {},
        "docker_stack_public_ports": [],
        "host_base_public_tcp": [],
        "host_base_public_udp": [],
    }
    derived = list(derived)
    host |= _derive_probes.merge_monitoring(derived)
    host |= _derive_queues.merge_queues(derived)
    requirements: list[Data] = []
    for project in derived:
        if project["docker_stack_compose"]["services"]:
            requirements.append(project["docker_stack_requirements"])
        host["projects"].append(project["name"])
        for name in ("nginx_tls_certificates", "nginx_tls_sites"):
            host[name] += project[name]
        host["nginx_tls_rate_zones"] |= project["nginx_tls_rate_zones"]
        for name in ("docker_stack_public_ports", "host_base_public_tcp", "host_base_public_udp"):
            host[name] = sorted({*host[name], *project[name]})
    if requirements:
        host["docker_stack_requirements"] = _together(requirements)
    if page:
        certificate = _certificate(
            {"names": [page["name"]], "redirect_names": [], "certificate": {}}, environment or Environment()
        )
        host["nginx_tls_certificates"].append(certificate)
        host["nginx_tls_sites"].append(_page(page))
        host["host_base_public_tcp"] = sorted({*host["host_base_public_tcp"], 80, 443})
        host["monitoring_cron_probes"].append(
            _derive_probes.page_certificate(page["name"], (environment or Environment()).probe_authority)
        )
    return host


def _together(requirements: list[Data]) -> Data:
    """Join requirements: the newest version, the room for all of them."""

    def version(text: str) -> list[int]:
        return [int(part) for part in text.split(".")]

    return {
        **{key: max((item[key] for item in requirements), key=version) for key in ("docker", "compose")},
        **{key: sum(item[key] for item in requirements) for key in ("memory_mb", "disk_gb")},
        "cpus": max(item["cpus"] for item in requirements),
        "ports": sorted({port for item in requirements for port in item["ports"]}),
    }


def merge(base: Any, over: Any) -> Any:
    """Lay one value over another: mappings deeply, lists of named items by name, anything else replaced."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        return {**base, **{key: merge(base.get(key), value) for key, value in over.items()}}
    if _named(base) and _named(over):
        changes = {item["name"]: item for item in over}
        kept = [merge(item, changes.pop(item["name"], {})) for item in base]
        return [*kept, *changes.values()]
    return over


def _named(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(item, Mapping) and "name" in item for item in value)


# ---- the stack -------------------------------------------------------------------------------------------------


def _stack(declaration: Data, environment: Environment, version: str) -> Data:
    project = declaration["name"]
    containers = {name: item for name, item in declaration["services"].items() if item["runtime"] == "compose"}
    settings = _settings(declaration, environment)
    network = f"{project}_network"
    used = {volume for service in containers.values() for volume in service["volumes"]}
    services, secrets = {}, {}
    for name, service in containers.items():
        open_values, secret_values = _environment(service, settings.get(name, {}))
        full_image = image(service["image"], environment, version)
        services[name] = {"image": escape(full_image), **_container(project, name, service, open_values)}
        # What a release may not run twice at once, not even to try it: see C(quai.ops.compose_stack).
        services[name]["x-quai"] = {"stateful": not all(_shared(declaration, volume) for volume in service["volumes"])}
        if secret_values or service["files"]:
            secrets[name] = {"owner": service["uid"], "environment": secret_values, "files": service["files"]}
    return {
        "docker_stack_name": project,
        "docker_stack_compose": {
            "services": services,
            "networks": {network: {"name": network, "driver": "bridge"}} if containers else {},
            "volumes": {name: {"name": f"{project}_{name}"} for name in sorted(used)},
        },
        "docker_stack_secrets": secrets,
        "docker_stack_requirements": {
            **declaration["requirements"],
            "ports": sorted(service["port"] for service in declaration["services"].values() if service["port"]),
        },
        "docker_stack_ready_timeout": seconds(declaration["release"]["health_timeout"]),
        "docker_stack_public_ports": sorted(service["port"] for service in containers.values() if service["public"]),
    }


def _shared(declaration: Data, volume: str) -> bool:
    return bool(declaration["volumes"].get(volume, {}).get("shared"))


def _settings(declaration: Data, environment: Environment) -> dict[str, Data]:
    """Return the settings' values per service."""
    result: dict[str, Data] = {}
    for name, setting in declaration["settings"].items():
        for service in setting["services"]:
            result.setdefault(service, {})[name] = environment.settings.get(name, setting["value"])
    return result


def _environment(service: Data, settings: Data) -> tuple[dict[str, str], dict[str, str]]:
    """Split the environment into what may be seen and what holds a secret."""
    values = {name: as_text(value) for name, value in {**service["environment"], **settings}.items()}
    secret = {name: value for name, value in values.items() if PLACEHOLDER.search(value)}
    secret |= {name: f"${{{name}}}" for name in service["secrets"]}
    plain = {name: value.replace("$${", "${") for name, value in values.items() if name not in secret}
    return plain, secret


def _container(project: str, name: str, service: Data, environment: dict[str, str]) -> Data:
    container: Data = {
        "container_name": f"{project}_{name}",
        "restart": service["restart"],
        "init": service["init"],
        "environment": environment,
        "networks": [f"{project}_network"],
        "security_opt": ["no-new-privileges:true"],
        "stop_grace_period": compose_duration(service["stop_grace_period"]),
        "logging": {
            "driver": "json-file",
            "options": {"max-size": service["log_max_size"], "max-file": str(service["log_max_files"])},
        },
        "labels": {"quai.project": project, "quai.service": name},
    }
    optional: Data = {
        "command": service["command"],
        "entrypoint": service["entrypoint"],
        "user": service["user"],
        "stop_signal": service["stop_signal"],
        "read_only": service["read_only"],
        "tmpfs": service["tmpfs"],
        "mem_limit": service["memory"],
        "cpus": service["cpus"] and float(service["cpus"]),
        "ports": _published(service),
        "volumes": [f"{volume}:{path}" for volume, path in service["volumes"].items()],
        "depends_on": {
            other: {"condition": f"service_{'completed_successfully' if condition == 'completed' else condition}"}
            for other, condition in service["depends_on"].items()
        },
        "healthcheck": service["health"] and _healthcheck(service),
    }
    container |= {key: value for key, value in optional.items() if value}
    escaped: Data = escape(container)
    return escaped


def _published(service: Data) -> list[str]:
    if not service["port"]:
        return []
    address = "" if service["public"] else "127.0.0.1:"
    return [f"{address}{service['port']}:{service['container_port'] or service['port']}"]


def _healthcheck(service: Data) -> Data:
    health = service["health"]
    if health["command"]:
        test = ["CMD", *health["command"]]
    elif health["shell"]:
        test = ["CMD-SHELL", health["shell"]]
    else:
        # 127.0.0.1 and not localhost, which may mean ::1 where only IPv4 is listened on.
        address = f"http://127.0.0.1:{service['container_port'] or service['port']}{health['http']}"
        test = ["CMD", "wget", "--quiet", "--spider", address]
    return {
        "test": test,
        "interval": compose_duration(health["interval"]),
        "timeout": compose_duration(health["timeout"]),
        "retries": health["retries"],
        "start_period": compose_duration(health["start_period"]),
    }


def image(name: str, environment: Environment, version: str) -> str:
    """Return the full name: own images from the registry at the version, public ones through the mirror."""
    first, _slash, rest = name.partition("/")
    has_registry = bool(rest) and ("." in first or ":" in first or first == "localhost")
    prefix = environment.registry_mirror if pinned(name) else environment.registry
    if not pinned(name):
        name = f"{name}:{version}"
    return name if has_registry or not prefix else f"{prefix.rstrip('/')}/{name}"


def compose_duration(text: str) -> str:
    """Return a duration that Compose understands: it knows no days."""
    return f"{int(text[:-1]) * 24}h" if text.endswith("d") else text


def escape(value: Any) -> Any:
    """Double every dollar, so that Compose puts nothing of its own there."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: escape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escape(item) for item in value]
    return value


def as_text(value: Any) -> str:
    """Write a value as an environment holds it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


# ---- the web ---------------------------------------------------------------------------------------------------


def _web(declaration: Data, environment: Environment) -> Data:
    project = declaration["name"]
    domains = declaration["domains"]
    public = [service["port"] for service in declaration["services"].values() if service["public"]]
    return {
        "nginx_tls_certificates": [_certificate(domain, environment) for domain in domains.values()],
        "nginx_tls_sites": [_site(declaration, key, domain) for key, domain in domains.items()],
        "nginx_tls_rate_zones": {
            f"{project}-{name}": {key: zone[key] for key in ("rate", "burst", "size")}
            for name, zone in declaration["rate_zones"].items()
        },
        "host_base_public_tcp": sorted({*([80, 443] if domains else []), *public}),
        "host_base_public_udp": [443] if any(domain["http3"] for domain in domains.values()) else [],
    }


def _certificate(domain: Data, environment: Environment) -> Data:
    own = {key: value for key, value in domain["certificate"].items() if value}
    certificate = {
        "name": _certificate_name(domain),
        "domains": [*domain["names"], *domain["redirect_names"]],
        "provider": "acme",
        "challenge": "http-01",
        **{key: value for key, value in environment.certificate.items() if value},
        **own,
    }
    if certificate["provider"] != "acme":
        certificate.pop("challenge", None)
    return certificate


def _certificate_name(domain: Data) -> str:
    return re.sub(r"^\*\.", "wildcard.", domain["names"][0])


def _site(declaration: Data, key: str, domain: Data) -> Data:
    project = declaration["name"]
    service = declaration["services"].get(domain["service"])
    static = bool(service) and service["runtime"] == "static"
    return {
        "name": f"{project}-{key}",
        "domains": domain["names"],
        "redirect_domains": domain["redirect_names"],
        "certificate": _certificate_name(domain),
        "kind": "static" if static else "proxy" if service else "redirect",
        "upstreams": [f"127.0.0.1:{service['port']}"] if service and not static else [],
        "root": _root(project, service) if static else "",
        "spa": bool(static and service["spa"]),
        "redirect_to": domain["redirect_to"] or "",
        "websocket": domain["websocket"],
        "client_max_body_size": domain["max_body_size"],
        "proxy_read_timeout": domain["read_timeout"],
        "http3": domain["http3"],
        "headers": domain["headers"],
        "cors": domain["cors"] or {},
        "rate_limits": [{**limit, "zone": f"{project}-{limit['zone']}"} for limit in domain["rate_limits"]],
        "rate_limit_exempt": domain["rate_limit_exempt"],
        "cache": domain["cache"],
        "allow": domain["allow"],
        "extra_config": "".join(f"location ^~ {path} {{ return 404; }}\n" for path in domain["blocked_paths"]),
        "state": "present",
    }


def _page(page: Mapping[str, Any]) -> Data:
    """Return the site of the host's morning page; nobody sees it without a password."""
    return {
        "name": "quai-page",
        "domains": [page["name"]],
        "certificate": page["name"],
        "kind": "static",
        "root": PAGE_DIRECTORY,
        "basic_auth": {"realm": "quai", "users": dict(page["users"])},
        # A page of an hour ago would be taken for now.
        "headers": {"Cache-Control": "no-store"},
    }


def _root(project: str, service: Data) -> str:
    parts = [part for part in (service["directory"], service["root"]) if part != "."]
    return "/".join([f"/srv/{project}/current", *parts])
