# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose stacks as data: what a definition becomes on a host, and what must change for it. No I/O here.

A service is compared by a label of our own (C(quai.config), a digest of its whole definition). It means the same under
every version of Compose, exists before an image is pulled, and makes Compose itself recreate what differs.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")
CONFIG_LABEL = "quai.config"
SECRET_ENVIRONMENT = "/run/secrets/quai.env"  # noqa: S105 - a path
# Reads the secrets inside the container, so that they stand in no compose file, argument or `docker inspect`.
_WITH_SECRETS = f'set -a; . {SECRET_ENVIRONMENT}; set +a; exec "$$@"'
_SHELL_WITH_SECRETS = f"set -a; . {SECRET_ENVIRONMENT}; set +a; "

# Name of a file that holds secrets: service, digest of the content, what it is. Also what a killed run left of one.
SECRET_FILE = re.compile(r"^\.?[A-Za-z0-9][\w.-]*\.[0-9a-f]{16}(\.env|--.+)(\.quai-new)?$")
# A service without a health check counts as ready when it ran for so long.
SETTLE_SECONDS = 5

Definition = dict[str, Any]


class StackError(Exception):
    """The definition cannot be run; the message names the service and what would be right."""


@dataclass(frozen=True)
class SecretMount:
    """What a service gets from its secrets: an environment file, and files at paths of the container.

    The names of the host's files change with their content, so a service is recreated when a secret changes, and the
    former definition goes on meaning the former secrets.
    """

    environment: str = ""
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Container:
    """A container of the stack as the engine reports it."""

    service: str
    name: str
    config: str
    status: str
    health: str = ""
    exit_code: int = 0
    restarts: int = 0
    image: str = ""
    id: str = ""
    up_seconds: float = 0.0


@dataclass(frozen=True)
class Action:
    """What must happen to one service: create, recreate, start or remove."""

    service: str
    verb: str
    image: str = ""


def prepare(
    definition: Definition,
    *,
    secrets: Mapping[str, SecretMount],
    images: Mapping[str, str],
    log_max_size: str = "10m",
    log_max_files: int = 3,
    public_ports: Iterable[int] = (),
    early_probes: bool = False,
) -> Definition:
    """The compose file as it is written: images pinned, logs capped, secrets mounted, every service labelled.

    C(images) maps a reference by tag to the one by digest; a reference it does not know stays as it is.
    C(early_probes) is for engines that know C(start_interval) (25 and later).
    Raises StackError for a port published beyond loopback that is not in C(public_ports).
    """
    result = copy.deepcopy(definition)
    services: dict[str, Definition] = result.get("services") or {}
    if not services:
        raise StackError("the stack has no services; give at least one below services")
    unknown = sorted(set(secrets) - set(services))
    if unknown:
        raise StackError(f"secrets are given for {', '.join(unknown)}, which the stack does not have")
    for name, service in services.items():
        if not isinstance(service, dict) or not service.get("image"):
            raise StackError(f"service {name} has no image; name one, with a tag or a digest")
        _normalise(name, service)
        _refuse_public_ports(name, service, set(public_ports))
        service["image"] = images.get(service["image"], service["image"])
        service.setdefault("restart", "unless-stopped")
        service.setdefault(
            "logging", {"driver": "json-file", "options": {"max-size": log_max_size, "max-file": str(log_max_files)}}
        )
        if name in secrets:
            _mount_secrets(name, service, secrets[name])
        if early_probes and service.get("healthcheck"):
            _probe_early(service["healthcheck"])
        service.pop("x-quai", None)
        service["labels"][CONFIG_LABEL] = _digest(name, service, result)
    return result


def _normalise(name: str, service: Definition) -> None:
    """Give what Compose lets one write in several ways the one form that the code here works on."""
    labels = service.get("labels") or {}
    if isinstance(labels, list):
        labels = dict(str(label).partition("=")[::2] for label in labels)
    service["labels"] = labels
    for key in ("ports", "volumes"):
        if not isinstance(service.get(key) or [], list):
            raise StackError(f"service {name}: {key} is {service[key]!r}, a list is right")
    # YAML reads an unquoted no as false, which Compose refuses.
    if service.get("restart") is False:
        service["restart"] = "no"


def _refuse_public_ports(name: str, service: Definition, public: set[int]) -> None:
    for port in service.get("ports") or []:
        if isinstance(port, dict):
            address, published = str(port.get("host_ip", "")), str(port.get("published", ""))
        else:
            parts = str(port).split("/", 1)[0].rsplit(":", 2)
            address = parts[0].strip("[]") if len(parts) == 3 else ""
            published = parts[-2] if len(parts) > 1 else ""
        loopback = address in ("127.0.0.1", "::1", "localhost")
        if not loopback and not (published.isdigit() and int(published) in public):
            raise StackError(
                f"service {name} publishes port {port!r} on every address of the host; bind it to 127.0.0.1, or name "
                f"the port in docker_stack_public_ports if the world is meant to reach it"
            )


def _mount_secrets(name: str, service: Definition, mount: SecretMount) -> None:
    volumes = [*(service.get("volumes") or []), *(f"{source}:{target}:ro" for source, target in mount.files)]
    service["volumes"] = volumes
    if not mount.environment:
        return
    volumes.append(f"{mount.environment}:{SECRET_ENVIRONMENT}:ro")
    command = service.get("command")
    entrypoint = service.get("entrypoint") or []
    if not command and not entrypoint:
        raise StackError(
            f"service {name} has secrets in its environment, so its command must be declared: quai starts it through a "
            f"shell that reads them first, and cannot see the command inside the image"
        )
    if isinstance(entrypoint, str) or (entrypoint and isinstance(command, str)):
        raise StackError(f"service {name}: with secrets, give entrypoint and command as lists")
    service["command"] = [*entrypoint, *(command or [])] if entrypoint else command
    service["entrypoint"] = ["/bin/sh", "-c", _WITH_SECRETS, "quai"]
    test = (service.get("healthcheck") or {}).get("test")
    if isinstance(test, str):
        service["healthcheck"]["test"] = ["CMD-SHELL", _SHELL_WITH_SECRETS + test]
    elif test and test[0] == "CMD-SHELL":
        service["healthcheck"]["test"] = ["CMD-SHELL", _SHELL_WITH_SECRETS + test[1]]
    elif test and test[0] == "CMD":
        service["healthcheck"]["test"] = ["CMD", "/bin/sh", "-c", _WITH_SECRETS, "quai", *test[1:]]


def _probe_early(check: Definition) -> None:
    """Let the first health checks come at once, not after a whole interval.

    A check every 30 s would make each release wait 30 s for a service that is up after two. Until the first regular
    check is due, a service that has no start period gets one, so that an early probe never counts as a failure.
    """
    if check.get("start_period") in (None, 0, "0", "0s"):
        check["start_period"] = check.get("interval", "30s")
    check.setdefault("start_interval", "2s")


def _digest(name: str, service: Definition, whole: Definition) -> str:
    """Digest of a service with the networks and volumes that it uses."""
    labels = {key: value for key, value in service["labels"].items() if key != CONFIG_LABEL}
    names = {"networks": set(service.get("networks") or ["default"]), "volumes": {one[0] for one in _mounts(service)}}
    used = {
        kind: {key: value for key, value in (whole.get(kind) or {}).items() if key in names[kind]} for kind in names
    }
    document = {"name": name, "service": {**service, "labels": labels}, **used}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def _mounts(service: Definition) -> list[tuple[str, str, bool]]:
    """Source, target and whether it can be written, for each mount of a service; no source for an anonymous volume."""
    found = []
    for volume in service.get("volumes") or []:
        if isinstance(volume, dict):
            writable = not volume.get("read_only") and volume.get("type") != "tmpfs"
            found.append((str(volume.get("source") or ""), str(volume.get("target") or ""), writable))
        else:
            parts = str(volume).split(":")
            source, target = parts[:2] if len(parts) > 1 else ("", parts[0])
            found.append((source, target, "ro" not in ",".join(parts[2:]).split(",")))
    return found


def secret_sources(definition: Definition) -> set[str]:
    """The host's files of secrets that a definition mounts."""
    sources = {mount[0] for service in definition["services"].values() for mount in _mounts(service)}
    return {source for source in sources if SECRET_FILE.search(source.rpartition("/")[2])}


def narrow(wanted: Definition, current: Definition | None, only: Sequence[str]) -> Definition:
    """The stack that changes nothing but the services in C(only): the rest stays as C(current) has it."""
    unknown = sorted(set(only) - set(wanted["services"]))
    if unknown:
        known = ", ".join(sorted(wanted["services"]))
        raise StackError(f"no service {', '.join(unknown)} in the stack; it has {known}")
    if not only:
        return wanted
    if current is None:
        raise StackError("nothing was released yet, so no service can be replaced alone; release the whole stack first")
    services = {**current["services"], **{name: wanted["services"][name] for name in only}}
    return {**current, **wanted, "services": services}


def plan(wanted: Definition, containers: Sequence[Container]) -> list[Action]:
    """What must happen so that the containers match the definition; empty when they do."""
    by_service: dict[str, list[Container]] = {}
    for container in containers:
        by_service.setdefault(container.service, []).append(container)
    actions = []
    for name, service in wanted["services"].items():
        found = by_service.get(name, [])
        if not found:
            actions.append(Action(name, "create", service["image"]))
        elif any(one.config != (service.get("labels") or {}).get(CONFIG_LABEL) for one in found):
            actions.append(Action(name, "recreate", service["image"]))
        elif any(one.status not in ("running", "restarting") and not _done(service, one) for one in found):
            actions.append(Action(name, "start", service["image"]))
    actions += [Action(name, "remove") for name in sorted(set(by_service) - set(wanted["services"]))]
    return actions


def verdict(
    services: Mapping[str, Definition], containers: Iterable[Container], before: Mapping[str, int]
) -> dict[str, str]:
    """Services that are not ready yet, each with why; a reason that starts with C(failed:) will not mend itself.

    C(before) has the containers that were there before anything was done, with how often each had been restarted.
    Such a one may be unhealthy because of what is just being mended, so it is waited for.
    """
    waiting = {}
    by_service: dict[str, list[Container]] = {}
    for container in containers:
        by_service.setdefault(container.service, []).append(container)
    for name, service in services.items():
        reasons = [_unready(service, container, before) for container in by_service.get(name, [])]
        if not reasons:
            waiting[name] = "has no container yet"
        elif any(reasons):
            waiting[name] = max(reasons, key=lambda reason: (reason.startswith("failed:"), reason != ""))
    return waiting


def _unready(service: Definition, container: Container, before: Mapping[str, int]) -> str:
    """Why a container is not ready; empty when it is."""
    restarts = container.restarts - before.get(container.id, 0)
    reason = ""
    if _done(service, container):
        pass
    elif container.status in ("exited", "dead"):
        final = container.status == "dead" or not _restarts(service)
        reason = f"{'failed: ' if final else ''}exited with code {container.exit_code}"
    elif restarts >= 3:
        reason = f"failed: it ended {restarts} times, last with code {container.exit_code}"
    elif container.status != "running":
        reason = f"is {container.status}"
    elif container.health == "unhealthy":
        reason = f"{'' if container.id in before else 'failed: '}its health check fails"
    elif container.health == "starting":
        reason = "has not passed its health check yet"
    elif not container.health and container.up_seconds < SETTLE_SECONDS:
        reason = f"has no health check, and has not run for {SETTLE_SECONDS} s yet"
    return reason


def _restarts(service: Definition) -> bool:
    return service.get("restart", "no") not in ("no", "", False)


def _done(service: Definition, container: Container) -> bool:
    """Whether the container did its one task, as a migration does."""
    return container.status == "exited" and container.exit_code == 0 and not _restarts(service)


def rehearsable(wanted: Definition, actions: Sequence[Action], definition: Definition) -> list[str]:
    """Services that can be tried beside the running ones: changed, with a health check, and safe to run twice.

    Two processes on the same data may damage it, so a service that writes to a mount must say that it is safe
    (C(x-quai.stateful=false)).
    """
    names = []
    for action in actions:
        service = wanted["services"].get(action.service, {})
        traits = (definition["services"].get(action.service) or {}).get("x-quai") or {}
        stateful = traits.get("stateful", any(mount[2] for mount in _mounts(service)))
        if action.verb == "recreate" and service.get("healthcheck") and not stateful:
            names.append(action.service)
    return names


def own_images(definition: Definition, only: Sequence[str] = ()) -> list[str]:
    """References of all services (or C(only) some) that are not pinned by digest yet, each once."""
    references = [
        str(service.get("image", ""))
        for name, service in (definition.get("services") or {}).items()
        if isinstance(service, dict) and (not only or name in only)
    ]
    return sorted({reference for reference in references if "@sha256:" not in reference})


def pinned(reference: str, digest: str) -> str:
    """C(name:tag) pinned to C(digest); the tag stays readable where Docker allows both, so it is dropped here."""
    return f"{repository(reference)}@{digest}"


def repository(reference: str) -> str:
    """The reference without tag and digest."""
    name = reference.split("@", 1)[0]
    head, slash, tail = name.rpartition("/")
    return f"{head}{slash}{tail.split(':', 1)[0]}"


def registry_host(reference: str) -> str:
    """Host of the registry that a reference names; Docker Hub when it names none."""
    first = reference.split("/", 1)[0]
    if "/" in reference and ("." in first or ":" in first or first == "localhost"):
        return first
    return "docker.io"


def version_tuple(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: C(26.1.5+dfsg1) becomes (26, 1, 5)."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", text.strip())
    return tuple(int(part) for part in match.group(1).split(".")) if match else ()


__all__ = [
    "CONFIG_LABEL", "NAME", "SECRET_ENVIRONMENT", "SECRET_FILE", "Action", "Container", "Definition", "SecretMount",
    "StackError", "narrow", "own_images", "pinned", "plan", "prepare", "registry_host", "rehearsable", "repository",
    "secret_sources", "verdict", "version_tuple",
]
