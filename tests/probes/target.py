# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with real services on it, and the probe engine that runs there as on any host: with the host's own Python."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab import authority, containers, hosts, images, topology
from lab.console import Console
from lab.containers import File
from lab.engine import client
from lab.images import Built
from lab.names import FIRST_HOST, ROOT, Lab
from lab.topology import Plan
from lab.wait import until

HERE = Path(__file__).resolve().parent
APPS = ROOT / "tests" / "apps" / "masstock" / "base"
LIBRARY = "/usr/local/lib/quai"
MODULES = f"{LIBRARY}/ansible_collections/quai/ops/plugins/module_utils"
CERTIFICATES = "/etc/probes"  # ca.pem, server.pem, server.key, other-ca.pem (which signed nothing)
PART = "target"
BOOT_SECONDS = 60
# Asks the engine on the host; what is asked and answered goes through pipes, so that secrets are in no command line.
DRIVER = """
import json, sys
from ansible_collections.quai.ops.plugins.module_utils import _probe_engine, _probe_spec
asked = json.load(sys.stdin)
memory = asked.pop("memory")
results = _probe_engine.run_probes(_probe_spec.normalise(asked.pop("probes")), memory=memory, **asked)
json.dump({"results": results, "memory": memory}, sys.stdout)
"""


def image() -> Built:
    """The lab's Debian 13 host with the packages of image/Dockerfile."""
    base = images.host("debian13")
    # The same two images as the stand-in applications start from, so that they are made once.
    node = Built("quai-node:latest", APPS / "node", {}, (images.base("debian13"),))
    node_build = Built("quai-node-build:latest", APPS / "node-build", {}, (node,))
    return Built("quai-probes:latest", HERE / "image", {"BASE": base.ref}, (base, node_build))


@dataclass(frozen=True)
class Target:
    """The host."""

    lab: Lab
    address: str

    @property
    def container(self) -> Any:
        """The container that plays it."""
        return client().containers.get(self.lab.container(PART))

    def execute(self, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command on the host, with this on its standard input."""
        return subprocess.run(
            ["docker", "exec", "--interactive", self.lab.container(PART), *command],
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def sh(self, command: str, *, given: str = "", check: bool = True) -> str:
        """Run a shell command on the host; return what it printed."""
        done = self.execute("/bin/bash", "-c", f"set -o pipefail; {command}", given=given)
        assert not check or done.returncode == 0, f"{command}\nended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def succeeds(self, command: str) -> bool:
        """Whether a shell command on the host ends with 0."""
        return self.execute("/bin/bash", "-c", command).returncode == 0

    def put(self, path: str, content: bytes | str, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a file on the host."""
        data = content.encode() if isinstance(content, str) else content
        self.container.put_archive("/", containers.archive({path: File(data, mode)}))
        if owner != "root:root":
            self.sh(f"chown {owner} {path}")

    def run(
        self,
        probes: Sequence[Mapping[str, Any]],
        *,
        secrets: Mapping[str, str] | None = None,
        memory: dict[str, Any] | None = None,
        previous: Mapping[str, str] | None = None,
        now: float | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        """Run probes on the host; the results in their order. C(memory) is updated, as the engine does with its own."""
        kept = {} if memory is None else memory
        asked = {"probes": probes, "secrets": secrets, "memory": kept, "previous": previous, "now": now}
        variables = [f"{name}={value}" for name, value in (environment or {}).items()]
        done = self.execute(
            "env", f"PYTHONPATH={LIBRARY}", *variables, "python3", "-B", "-c", DRIVER, given=json.dumps(asked)
        )
        assert done.returncode == 0, f"the engine ended with {done.returncode}: {done.stdout}{done.stderr}"
        answer = json.loads(done.stdout)
        kept.update(answer["memory"])
        return list(answer["results"])

    def probe(self, given: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """Run one probe; its name is its type when it says none."""
        (result,) = self.run([{"name": given.get("type", "probe"), **given}], **options)
        return result

    def start(self, unit: str) -> None:
        """Start a systemd unit anew."""
        self.sh(f"systemctl restart {unit} || {{ systemctl status --no-pager --lines=30 {unit} >&2; exit 1; }}")

    def install(self) -> None:
        """Copy the collection's module_utils to where a host has them."""
        sources = sorted((ROOT / "plugins" / "module_utils").glob("*.py"))
        files = {f"{MODULES}/{path.name}": File(path.read_bytes()) for path in sources}
        self.sh(f"rm -rf {MODULES}")
        self.container.put_archive("/", containers.archive(files))


def up(name: str, console: Console) -> Target:
    """Make the host and wait until it has booted."""
    lab = topology.open_lab(name, "auto")
    topology.up(lab, Plan(hosts={}, zones={}, services=()), console)
    images.ensure([image()], console)
    address = lab.address(FIRST_HOST)
    spec = hosts.spec(lab, PART, "debian13", address)
    containers.ensure(lab, replace(spec, image=image().ref))
    target = Target(lab, address)

    def booted() -> bool:
        # Units that a container cannot have may have failed; the tests start what they need.
        return target.sh("systemctl is-system-running --wait", check=False) in ("running", "degraded")

    until("the target to boot", booted, seconds=BOOT_SECONDS)
    target.install()
    _certificates(target)
    return target


def _certificates(target: Target) -> None:
    own, other = target.lab.directory / "probes-ca", target.lab.directory / "probes-other-ca"
    certificate, key = authority.ensure_certificate(own, "target.lab", target.address)
    target.put(f"{CERTIFICATES}/ca.pem", authority.ensure_authority(own).read_bytes())
    target.put(f"{CERTIFICATES}/other-ca.pem", authority.ensure_authority(other).read_bytes())
    target.put(f"{CERTIFICATES}/server.pem", certificate.read_bytes())
    # Readable by every service of a host that holds nothing but tests.
    target.put(f"{CERTIFICATES}/server.key", key.read_bytes(), 0o644)
