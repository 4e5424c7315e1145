# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker engine of a host, through its command line and, where that has no word for it, its socket."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ansible_collections.quai.ops.plugins.module_utils._compose import Container, registry_host, version_tuple

SOCKET = Path("/var/run/docker.sock")
CONFIG = Path("/etc/quai/docker")
# End of the names of containers that are tried beside the running ones.
REHEARSAL = "_rehearsal"


class DockerFailed(Exception):
    """The engine, the client or a registry refused; the message is theirs, shortened."""


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over the engine's socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Docker:
    """Docker and Compose as this host has them. ``config`` holds the credentials of registries."""

    def __init__(self, config: Path = CONFIG) -> None:
        self._config = config
        self._environment = {**os.environ, "DOCKER_CONFIG": str(config)}
        self.client = shutil.which("docker")
        self._compose: list[str] | None = None

    @property
    def present(self) -> bool:
        """Whether a client is installed and an engine answers it."""
        return self.client is not None and self._run(["docker", "version", "--format", "{{.Server.Version}}"])[0] == 0

    def engine_version(self) -> str:
        """Version of the engine; empty when none answers."""
        if self.client is None:
            return ""
        code, out, _err = self._run(["docker", "version", "--format", "{{.Server.Version}}"])
        return out.strip() if code == 0 else ""

    def compose(self) -> list[str]:
        """The Compose command: the plugin where there is one, else the older C(docker-compose)."""
        if self._compose is None:
            if self.client and self._run(["docker", "compose", "version", "--short"])[0] == 0:
                self._compose = ["docker", "compose"]
            elif shutil.which("docker-compose"):
                self._compose = ["docker-compose"]
            else:
                raise DockerFailed("Compose is not installed; provision the host first")
        return self._compose

    def compose_version(self) -> str:
        """Version of Compose; empty when there is none."""
        try:
            code, out, _err = self._run([*self.compose(), "version", "--short"])
        except DockerFailed:
            return ""
        return out.strip() if code == 0 else ""

    def run(self, arguments: Sequence[str], timeout: float | None = None) -> str:
        """Run a command; returns its output, raises DockerFailed with the last lines of what it said."""
        code, out, err = self._run(arguments, timeout)
        if code != 0:
            said = "\n".join((err or out).strip().splitlines()[-6:])
            raise DockerFailed(f"{' '.join(arguments[:4])} … failed: {said}")
        return out

    def _run(self, arguments: Sequence[str], timeout: float | None = None) -> tuple[int, str, str]:
        try:
            done = subprocess.run(
                arguments,
                check=False,
                capture_output=True,
                env=self._environment,
                timeout=timeout,
                stdin=subprocess.DEVNULL,
                # What a killed release leaves running holds its lock until it ends.
                close_fds=False,
            )
        except subprocess.TimeoutExpired:
            return 124, "", f"no end after {timeout:g} s"
        return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")

    def digest(self, reference: str, timeout: float = 30) -> str:
        """Digest of C(name:tag) as its registry has it now; raises DockerFailed, which names the registry."""
        connection = _SocketConnection(SOCKET, timeout)
        host = registry_host(reference)
        try:
            connection.request(
                "GET", f"/distribution/{quote(reference)}/json", headers={"X-Registry-Auth": self._credentials(host)}
            )
            answer = connection.getresponse()
            body = json.loads(answer.read() or b"{}")
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise DockerFailed(f"image {reference}: registry {host} gave no answer ({error})") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise DockerFailed(f"image {reference}: registry {host} answered: {body.get('message', answer.reason)}")
        digest = (body.get("Descriptor") or {}).get("digest")
        if not digest:
            raise DockerFailed(f"image {reference}: registry {host} answered without a digest: {body}")
        return str(digest)

    def _credentials(self, host: str) -> str:
        try:
            entry = json.loads((self._config / "config.json").read_text(encoding="utf-8"))["auths"][login_key(host)][
                "auth"
            ]
            user, _colon, password = base64.b64decode(entry).decode().partition(":")
        except (OSError, ValueError, KeyError):
            return base64.urlsafe_b64encode(b"{}").decode()
        document = {"username": user, "password": password, "serveraddress": host}
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()

    def has_image(self, reference: str) -> bool:
        """Whether the image is on this host."""
        return self._run(["docker", "image", "inspect", reference])[0] == 0

    def containers(self, project: str) -> list[Container]:
        """The service containers of a Compose project; those of C(compose run) are left out."""
        return [parse_container(one, time.time()) for one in self._of(project) if not _one_off(one)]

    def rests(self, project: str) -> list[str]:
        """Names of containers that a killed release left: rehearsals, and what Compose had not yet renamed."""
        return sorted(str(one["Name"]).lstrip("/") for one in self._of(project) if is_rest(one))

    def _of(self, project: str) -> list[dict[str, Any]]:
        label = f"label=com.docker.compose.project={project}"
        return self.inspect(self.run(["docker", "ps", "-aq", "--no-trunc", "--filter", label]).split())

    def inspect(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """What the engine knows of containers; one that vanished meanwhile is left out."""
        if not names:
            return []
        _code, out, _err = self._run(["docker", "inspect", "--type", "container", *names])
        found: list[dict[str, Any]] = json.loads(out or "[]")
        return found

    def remove(self, names: Sequence[str], *, volumes: bool = False) -> None:
        """Stop containers as gently as they ask for, then remove them, on demand with the volumes that have no name.

        Those that do not exist are fine.
        """
        there = [str(one["Id"]) for one in self.inspect(names)]
        if there:
            self._run(["docker", "stop", *there])
            self.run(["docker", "rm", "-f", *(["-v"] if volumes else []), *there])

    def last_words(self, name: str, lines: int = 20) -> str:
        """The end of a container's log and of its last health check."""
        _code, out, err = self._run(["docker", "logs", "--tail", str(lines), name])
        said = "\n".join((out + err).strip().splitlines()[-lines:])
        health = [one.get("State", {}).get("Health") or {} for one in self.inspect([name])]
        probes = health[0].get("Log") or [] if health else []
        if probes:
            said += f"\nlast health check (exit {probes[-1]['ExitCode']}): {str(probes[-1]['Output']).strip()}"
        return said.strip()


def _one_off(found: Mapping[str, Any]) -> bool:
    return str((found["Config"]["Labels"] or {}).get("com.docker.compose.oneoff")) == "True"


def is_rest(found: Mapping[str, Any]) -> bool:
    """Whether a container, as C(docker inspect) has it, is what a killed release left behind."""
    name = str(found["Name"]).lstrip("/")
    if _one_off(found):
        return name.endswith(REHEARSAL)
    # While Compose replaces a container, the one that does not serve has the start of an id before its name.
    return found["State"]["Status"] != "running" and re.match(r"[0-9a-f]{12}_", name) is not None


def started_at(text: str) -> float:
    """Seconds since the epoch of the engine's C(StartedAt), which has nanoseconds and is in UTC."""
    return datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc).timestamp()


def login_key(host: str) -> str:
    """Under which name C(config.json) has the login of a registry: Docker Hub's is an address of old."""
    return "https://index.docker.io/v1/" if host == "docker.io" else host


def parse_container(found: Mapping[str, Any], now: float) -> Container:
    """A container from what C(docker inspect) says of it."""
    labels = found["Config"]["Labels"] or {}
    state = found["State"]
    return Container(
        service=labels.get("com.docker.compose.service", ""),
        name=str(found["Name"]).lstrip("/"),
        config=labels.get("quai.config", ""),
        status=state["Status"],
        health=(state.get("Health") or {}).get("Status", ""),
        exit_code=int(state.get("ExitCode", 0)),
        restarts=int(found.get("RestartCount", 0)),
        image=found["Config"]["Image"],
        id=found["Id"],
        up_seconds=now - started_at(state["StartedAt"]) if state["Status"] == "running" else 0.0,
    )


__all__ = [
    "CONFIG",
    "REHEARSAL",
    "Docker",
    "DockerFailed",
    "is_rest",
    "login_key",
    "parse_container",
    "started_at",
    "version_tuple",
]
