# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's bare servers, reached over SSH with keys that are known beforehand."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from lab import containers, images
from lab.console import Console
from lab.containers import File, Spec
from lab.errors import LabError
from lab.names import FIRST_HOST, Lab
from lab.wait import until

ROLE = "vps"
_BOOT_SECONDS = 60
_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"


def ensure_key(lab: Lab) -> Path:
    """The lab's SSH key pair."""
    key = lab.directory / "ssh" / "id_ed25519"
    if not key.exists():
        key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"quai lab {lab.name}", "-f", str(key)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except FileNotFoundError:
            raise LabError("ssh-keygen is missing on this machine", "apt-get install openssh-client") from None
    return key


def spec(lab: Lab, name: str, system: str, address: str) -> Spec:
    """A host's container."""
    public = ensure_key(lab).with_suffix(".pub").read_bytes()
    return Spec(
        part=name,
        role=ROLE,
        image=images.host(system).ref,
        address=address,
        command=("/lib/systemd/systemd",),
        files={"/root/.ssh/authorized_keys": File(public, 0o600)},
        # A nested engine needs a real file system here; on the container's own it would fall back to copying.
        volumes={f"{name}-docker": "/var/lib/docker"},
        # The resolver is the lab's own, without Docker's proxy in between: a firewall on the host may then do what it
        # wants with the rules that proxy lives by, as on a real server.
        binds=(f"{resolv_conf(lab)}:/etc/resolv.conf",),
        environment={"container": "docker"},
        system=True,
    )


def resolv_conf(lab: Lab) -> Path:
    """The hosts' /etc/resolv.conf."""
    path = lab.directory / "dns" / "resolv.conf"
    text = f"nameserver {lab.dns}\noptions timeout:2 attempts:3\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written only when it differs, and in place: it is mounted as a file, so hosts see this very inode.
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")
    return path


def known(lab: Lab) -> dict[str, str]:
    """Name and address of every host that the lab has."""
    found = containers.of_lab(lab.name, ROLE)
    return {str(c.attrs["Config"]["Hostname"]): containers.address_of(c) for c in found}


def addresses(lab: Lab, wanted: list[str], present: dict[str, str]) -> dict[str, str]:
    """Keep present hosts where they are and give the others the next free addresses. Pure."""
    result = dict(present)
    used = set(present.values())
    free = (lab.address(octet) for octet in range(FIRST_HOST, 255) if lab.address(octet) not in used)
    for name in wanted:
        if name not in result:
            result[name] = next(free)
    return dict(sorted(result.items(), key=lambda item: int(item[1].rpartition(".")[2])))


def wait(lab: Lab, name: str, address: str, console: Console, *, fresh: bool) -> None:
    """Return when systemd has finished booting and root can log in with the lab's key."""
    container = containers.find(lab, name)

    def booted() -> str:
        _, output = containers.run(container, "systemctl", "is-system-running", "--wait")
        return output if output in ("running", "degraded") else ""

    if until(f"host {name} to boot", booted, seconds=_BOOT_SECONDS) == "degraded":
        _, failed = containers.run(container, "systemctl", "--failed", "--plain", "--no-legend")
        units = ", ".join(line.split()[0] for line in failed.splitlines() if line)
        if fresh:
            raise LabError(
                f"host {name} booted with failed units: {units}", "the host image is broken; see lab/files/host"
            )
        console.note(f"host {name} runs with failed units: {units}")
    key = until(f"the SSH host key of {name}", lambda: _host_key(container), seconds=_BOOT_SECONDS)
    _remember(lab, name, address, key)
    until(
        f"SSH to {name} ({address})",
        lambda: _login(lab, address),
        seconds=_BOOT_SECONDS if fresh else 15,
        fix=f"if build/{lab.name} was removed while the lab ran: take it down and up again",
    )


def forget_certificates(lab: Lab, name: str) -> None:
    """Let a host forget what an ACME CA knew of it, and the certificates; those that it serves stay until replaced.

    Pebble keeps its root, its accounts and its orders in memory: after a restart nobody trusts what it issued before.
    """
    folders = [f"/etc/letsencrypt/{folder}" for folder in ("accounts", "archive", "live", "renewal")]
    code, output = containers.run(containers.find(lab, name), "rm", "-rf", *folders)
    if code:
        raise LabError(f"the old certificates of {name} cannot be removed: {output}")


def ssh_command(lab: Lab, address: str) -> list[str]:
    """How to log in to a host of the lab."""
    directory = lab.directory / "ssh"
    options = {
        "IdentityFile": str(directory / "id_ed25519"),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": str(directory / "known_hosts"),
        "StrictHostKeyChecking": "yes",
        "LogLevel": "ERROR",
        "ConnectTimeout": "5",
    }
    return ["ssh", "-F", "none", *(f"-o{name}={value}" for name, value in options.items()), f"root@{address}"]


def connection(lab: Lab, name: str, address: str) -> dict[str, str | int]:
    """How to reach a host, in the words of Molecule's instance config."""
    identity = str(lab.directory / "ssh" / "id_ed25519")
    return {"instance": name, "address": address, "user": "root", "port": 22, "identity_file": identity}


def forget_connections(name: str) -> None:
    """End the SSH connections that Ansible keeps to a lab's hosts, since new hosts may get the same addresses."""
    directory = control_sockets(name)
    for socket in directory.glob("*"):
        subprocess.run(["ssh", "-O", "exit", "-S", str(socket), "lab"], capture_output=True, check=False)
    shutil.rmtree(directory, ignore_errors=True)


def control_sockets(name: str) -> Path:
    """Where inventories/lab puts them (ansible_control_path_dir)."""
    return Path.home() / ".ansible" / "cp" / f"quai-{name}"


def _login(lab: Lab, address: str) -> bool:
    command = ssh_command(lab, address)
    done = subprocess.run(
        [*command[:-1], "-oBatchMode=yes", command[-1], "true"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LabError(done.stderr.strip() or f"ssh ended with {done.returncode}")
    return True


def _host_key(container: Any) -> str:
    """The host's public key, read from its own disk rather than believed from the network."""
    (content,) = containers.read(container, _HOST_KEY).values()
    return " ".join(content.decode().split()[:2])


def _remember(lab: Lab, name: str, address: str, key: str) -> None:
    path = lab.directory / "ssh" / "known_hosts"
    line = f"{address},{name}.lab {key}"
    others = path.read_text("utf-8").splitlines() if path.exists() else []
    kept = [other for other in others if not other.startswith(f"{address},")]
    path.write_text("\n".join([*kept, line]) + "\n", "utf-8")
