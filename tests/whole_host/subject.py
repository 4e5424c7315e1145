# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host that is proven: from outside by its address, and from within to know what really happened."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import containers, hosts, services, topology
from lab.engine import client
from lab.names import Lab, lab_name, lab_net

PROJECT = "masstock"
DOMAINS = {"vitrine": "masstock.fr", "app": "app.masstock.fr", "api": "api.masstock.fr", "n8n": "n8n.masstock.fr"}


@dataclass(frozen=True)
class Subject:
    """A host of a lab."""

    lab: Lab
    name: str = "vps1"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Subject:
        """The host of the lab that the environment names, wherever that lab is."""
        name = lab_name(environment)
        return cls(topology.open_lab(name, lab_net(environment)))

    @property
    def address(self) -> str:
        """Where the world reaches it."""
        return hosts.known(self.lab)[self.name]

    @property
    def container(self) -> Any:
        """The container that plays the server."""
        return client().containers.get(self.lab.container(self.name))

    @property
    def authority(self) -> Path:
        """The root of the certificates that it must serve."""
        return services.acme_root(self.lab)

    def run(self, command: str, *, check: bool = True) -> str:
        """Run a shell command on the host, not through its SSH server; return what it printed."""
        status, output = containers.run(self.container, "/bin/bash", "-c", f"set -o pipefail; {command}")
        assert not check or status == 0, f"on {self.name}, this ended with {status}: {command}\n{output}"
        return output

    def succeeds(self, command: str) -> bool:
        """Whether a shell command on the host ends with 0."""
        return containers.run(self.container, "/bin/bash", "-c", command)[0] == 0

    def python(self, script: Path, *arguments: str) -> str:
        """Run a script of this directory on the host; return what it printed."""
        status, output = containers.run(self.container, "python3", "-c", script.read_text("utf-8"), *arguments)
        assert status == 0, f"on {self.name}, {script.name} ended with {status}:\n{output}"
        return output

    def put(self, path: str, content: bytes, mode: int = 0o600) -> None:
        """Write a file on the host."""
        self.container.put_archive("/", containers.archive({path: containers.File(content, mode)}))

    def inspect(self, *services_wanted: str, project: str = PROJECT) -> dict[str, dict[str, Any]]:
        """What the host's engine says of a project's containers, by service."""
        label = f"label=com.docker.compose.project={project}"
        found = self.run(f"docker ps --all --quiet --filter {label} --filter label=com.docker.compose.oneoff=False")
        if not found:
            return {}
        documents = json.loads(self.run(f"docker inspect {shlex.join(found.split())}"))
        by_service = {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in documents}
        assert len(by_service) == len(documents), f"a service has more than one container: {found}"
        return {name: one for name, one in by_service.items() if not services_wanted or name in services_wanted}

    def unhealthy(self, project: str = PROJECT) -> dict[str, str]:
        """Services that do not run well, each with its state."""
        states = {}
        for name, one in self.inspect(project=project).items():
            state = one["State"]
            health = (state.get("Health") or {}).get("Status", "healthy")
            if state["Status"] != "running" or health != "healthy":
                states[name] = f"{state['Status']}, {health}"
        return states
