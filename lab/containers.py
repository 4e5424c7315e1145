# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers described as data, and brought to be what was described."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import docker.errors

from lab.engine import client
from lab.errors import LabError
from lab.names import LABEL_KEY, LABEL_LAB, LABEL_ROLE, LABEL_SPEC, Lab

# What lets systemd and a nested Docker engine run in a container that is not privileged.
_SYSTEM = {
    # SYS_PTRACE: without it root cannot enter a nested container whose user is not root (docker exec, health checks).
    "CapAdd": ["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE"],
    "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"],
    # The command line calls these two systempaths=unconfined.
    "MaskedPaths": [],
    "ReadonlyPaths": [],
    "CgroupnsMode": "host",
    "Tmpfs": {"/run": "", "/run/lock": ""},
}


@dataclass(frozen=True)
class File:
    """A file put into a container before it starts."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Spec:
    """What a container is."""

    part: str
    role: str
    image: str
    address: str
    command: tuple[str, ...]
    files: Mapping[str, File] = field(default_factory=dict)
    # Volumes of this lab, and volumes that all labs share because what they hold is the same for all.
    volumes: Mapping[str, str] = field(default_factory=dict)
    caches: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    publish: int | None = None
    system: bool = False

    def digest(self, image_id: str) -> str:
        """Changes exactly when the container would have to be another one."""
        files = {path: [hashlib.sha256(f.content).hexdigest(), f.mode] for path, f in self.files.items()}
        parts = [image_id, self.part, self.role, self.address, self.command, files, dict(self.volumes), self.binds]
        document = json.dumps(
            [*parts, dict(self.caches), dict(self.environment), self.publish, self.system], sort_keys=True
        )
        return hashlib.sha256(document.encode()).hexdigest()


def archive(files: Mapping[str, File]) -> bytes:
    """Files as the tar that the engine unpacks at /, with the directories that lead to them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        made: set[str] = set()
        for path, file in files.items():
            steps = path.strip("/").split("/")
            for depth in range(1, len(steps)):
                parent = "/".join(steps[:depth])
                if parent not in made and parent == "root/.ssh":
                    entry = tarfile.TarInfo(parent)
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o700
                    tar.addfile(entry)
                made.add(parent)
            entry = tarfile.TarInfo(path.strip("/"))
            entry.size, entry.mode = len(file.content), file.mode
            tar.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()


def find(lab: Lab, part: str) -> Any | None:
    """The lab's container of that name, running or not."""
    try:
        return client().containers.get(lab.container(part))
    except docker.errors.NotFound:
        return None


def ensure(lab: Lab, spec: Spec, *, replace: bool = True) -> bool:
    """Make the container run as described; return whether it was (re)created.

    A container that differs is replaced, or with replace=False left as it is, because it holds somebody's work.
    """
    digest = spec.digest(client().images.get(spec.image).id)
    present = find(lab, spec.part)
    if present is not None:
        if present.labels.get(LABEL_LAB) != lab.name:
            raise LabError(
                f"a container {present.name} exists that is not this lab's", f"remove it: docker rm -f {present.name}"
            )
        if present.labels.get(LABEL_SPEC) == digest or not replace:
            if present.status != "running":
                present.start()
            return False
        present.remove(force=True)
    _create(lab, spec, digest)
    return True


def _create(lab: Lab, spec: Spec, digest: str) -> None:
    api = client().api
    labels = {LABEL_LAB: lab.name, LABEL_ROLE: spec.role, LABEL_SPEC: digest}
    for volume in spec.volumes:
        client().volumes.create(lab.container(volume), labels={LABEL_LAB: lab.name})
    for cache in spec.caches:
        client().volumes.create(f"quai-{cache}", labels={LABEL_KEY: cache})
    binds = [*spec.binds, *(f"{lab.container(volume)}:{path}" for volume, path in spec.volumes.items())]
    binds += [f"quai-{cache}:{path}" for cache, path in spec.caches.items()]
    if spec.system:
        binds.append("/sys/fs/cgroup:/sys/fs/cgroup:rw")
    port = f"{spec.publish}/tcp"
    host_config: dict[str, Any] = {
        "Binds": binds,
        "NetworkMode": lab.network,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
        **(_SYSTEM if spec.system else {"Init": True}),
        **({"PortBindings": {port: [{"HostIp": "127.0.0.1", "HostPort": ""}]}} if spec.publish else {}),
    }
    configuration = {
        "Image": spec.image,
        "Hostname": spec.part,
        "Cmd": list(spec.command),
        "Env": [f"{name}={value}" for name, value in spec.environment.items()],
        "Labels": labels,
        "HostConfig": host_config,
        "NetworkingConfig": {"EndpointsConfig": {lab.network: {"IPAMConfig": {"IPv4Address": spec.address}}}},
        **({"ExposedPorts": {port: {}}} if spec.publish else {}),
    }
    container = api.create_container_from_config(configuration, lab.container(spec.part))["Id"]
    try:
        if spec.files:
            api.put_archive(container, "/", archive(spec.files))
        api.start(container)
    except docker.errors.APIError as error:
        api.remove_container(container, force=True)
        raise LabError(f"container {lab.container(spec.part)} does not start: {error.explanation}") from error


def of_lab(name: str, role: str = "") -> list[Any]:
    """All containers of a lab."""
    labels = [f"{LABEL_LAB}={name}", *([f"{LABEL_ROLE}={role}"] if role else [])]
    found: list[Any] = client().containers.list(all=True, filters={"label": labels})
    return sorted(found, key=lambda container: str(container.name))


def address_of(container: Any) -> str:
    """The address that was asked for, which also a stopped container has."""
    for endpoint in container.attrs["NetworkSettings"]["Networks"].values():
        if endpoint.get("IPAMConfig"):
            return str(endpoint["IPAMConfig"]["IPv4Address"])
    return ""


def run(container: Any, *command: str) -> tuple[int, str]:
    """Run a command in a container; its exit status and output."""
    api = client().api
    execution = api.exec_create(container.id, list(command))["Id"]
    # By plain HTTP. The SDK's own exec_start takes the socket over, and now and then loses the beginning of the output,
    # when that arrives together with the headers of the answer.
    url = f"{api.base_url}/v{api.api_version}/exec/{execution}/start"
    answer = api.post(url, json={"Detach": False, "Tty": False}, timeout=None)
    answer.raise_for_status()
    output = _joined(answer.content).decode(errors="replace").strip()
    return int(api.exec_inspect(execution)["ExitCode"]), output


def _joined(stream: bytes) -> bytes:
    """The engine's stream without its frames: each has a header of eight bytes, the last four of them its length."""
    parts, at = [], 0
    while at < len(stream):
        end = at + 8 + int.from_bytes(stream[at + 4 : at + 8], "big")
        parts.append(stream[at + 8 : end])
        at = end
    return b"".join(parts)


def read(container: Any, path: str) -> dict[str, bytes]:
    """Files at or below a path in a container, by their names relative to the path's parent."""
    try:
        stream, _ = container.get_archive(path)
    except docker.errors.NotFound as error:
        raise LabError(f"{container.name} has no {path}") from error
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        files = [(member.name, tar.extractfile(member)) for member in tar.getmembers() if member.isfile()]
        return {name: handle.read() for name, handle in files if handle}


def log_tail(container: Any, lines: int = 10) -> str:
    """The end of what a container printed."""
    return str(container.logs(tail=lines).decode(errors="replace").strip())
