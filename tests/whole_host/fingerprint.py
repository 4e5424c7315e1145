# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything on a host that quai answers for, as one JSON document. Runs on the host itself, standard library only.

Two hosts, or one host at two times, are in the same state exactly when their documents are equal.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_TREES = (
    "/etc/nginx",
    "/etc/quai",
    "/etc/docker",
    "/etc/systemd/system",
    "/etc/systemd/journald.conf.d",
    "/etc/letsencrypt/renewal-hooks",
    "/srv",
    "/usr/local/lib/quai",
)
# Keys and certificates differ from host to host and from renewal to renewal; that they are there does not.
_DIFFERENT = ("/etc/quai/tls/", "/etc/docker/key.json")
# Files that say whose they are, which is no difference between two hosts.
_OF_THE_HOST = "/etc/quai/monitor/"
# What a release that failed wanted: it stays for whoever asks why, until the next release writes its own.
_LEFT_OVER = ("compose.next.json",)
# Named by the digest of the certificate in it; the links that lead there are compared.
_STORE = "/etc/quai/tls/.store/"
_UNITS = ("quai-firewall.service", "docker.service", "nginx.service", "certbot.timer", "quai-monitor.timer")
_PENDING = Path("/run/quai/pending")
_NAME = os.uname().nodename.partition(".")[0].encode()


def output(*command: str) -> str:
    """What a command prints; empty when it fails or does not exist."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def entry(path: Path) -> str:
    """One file, directory or link."""
    found = path.lstat()
    what = f"{found.st_mode:o} {found.st_uid}:{found.st_gid}"
    if path.is_symlink():
        return f"{what} -> {path.readlink()}" if not str(path).startswith(_DIFFERENT) else what
    if path.is_file() and not str(path).startswith(_DIFFERENT):
        content = path.read_bytes()
        if str(path).startswith(_OF_THE_HOST):
            content = content.replace(_NAME, b"this-host")
        return f"{what} {hashlib.sha256(content).hexdigest()}"
    return what


def files() -> dict[str, str]:
    """Every managed file."""
    found = {}
    for tree in _TREES:
        for path in [Path(tree), *Path(tree).rglob("*")]:
            if "__pycache__" in path.parts or path.name in _LEFT_OVER or str(path).startswith(_STORE):
                continue
            if path.exists() or path.is_symlink():
                found[str(path)] = entry(path)
    return found


def containers() -> dict[str, Any]:
    """Every container of a Compose project, by what it was made from."""
    names = output("docker", "ps", "--all", "--quiet").split()
    documents = json.loads(output("docker", "inspect", *names) or "[]") if names else []
    return {
        one["Name"].lstrip("/"): {
            "image": one["Config"]["Image"],
            "config": one["Config"]["Labels"].get("quai.config"),
            "secrets": one["Config"]["Labels"].get("quai.secrets"),
            "status": one["State"]["Status"],
        }
        for one in documents
    }


def units() -> dict[str, list[str]]:
    """Whether what must run runs, now and after a reboot."""
    return {unit: [output("systemctl", "is-enabled", unit), output("systemctl", "is-active", unit)] for unit in _UNITS}


def main() -> None:
    """Print the document."""
    document = {
        "files": files(),
        "containers": containers(),
        "units": units(),
        "firewall": output("nft", "--stateless", "list", "table", "inet", "quai").splitlines(),
        "pending": sorted(entry.name for entry in _PENDING.iterdir()) if _PENDING.is_dir() else [],
    }
    json.dump(document, sys.stdout, indent=1, sort_keys=True)


if __name__ == "__main__":
    main()
