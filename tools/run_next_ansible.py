# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the unit tests and read every playbook under the next ansible-core, where a Python for it is on the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv-next"
LOCK = ROOT / "requirements" / "py312.txt"
PLAYBOOKS = ("deploy.yml", "playbooks/provision.yml", "playbooks/explain.yml", "playbooks/secrets.yml")


def interpreter() -> str | None:
    """A Python 3.12 or later that works; pyenv has some that are there by name only."""
    versions = sorted((Path.home() / ".pyenv" / "versions").glob("3.1[2-9].*/bin/python"), reverse=True)
    for name in (*map(str, versions), "python3.14", "python3.13", "python3.12"):
        path = shutil.which(name)
        if path and subprocess.run([path, "-c", "import venv"], check=False, capture_output=True).returncode == 0:
            return path
    return None


def main() -> int:
    """Make the environment when its lock changed, then test."""
    python = interpreter()
    if python is None:
        print("There is no Python 3.12 or later on this machine, so the next ansible-core was not tested.")
        return 0
    ready = ENVIRONMENT / ".ready"
    if not ready.exists() or ready.stat().st_mtime < LOCK.stat().st_mtime:
        subprocess.run([python, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        subprocess.run([ENVIRONMENT / "bin" / "pip", "install", "-q", "-r", LOCK], check=True)
        ready.touch()
    environment = {
        **os.environ,
        "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
    }
    subprocess.run([ENVIRONMENT / "bin" / "ansible", "--version"], check=True, cwd=ROOT, env=environment)
    # The lab's own tests need the Docker SDK, which is no business of ansible-core.
    commands = [
        [str(ENVIRONMENT / "bin" / "python"), "-m", "pytest", "-q", "tests/unit/declaration", "tests/unit/plugins"],
        *[
            [
                str(ENVIRONMENT / "bin" / "ansible-playbook"),
                "-i",
                "inventories/lab",
                "-e",
                "project=masstock",
                "--syntax-check",
                one,
            ]
            for one in PLAYBOOKS
        ],
        [
            str(ENVIRONMENT / "bin" / "ansible-playbook"),
            "-i",
            "inventories/lab",
            "-e",
            "project=masstock",
            "playbooks/explain.yml",
        ],
    ]
    failed = [
        " ".join(command)
        for command in commands
        if subprocess.run(command, check=False, cwd=ROOT, env=environment).returncode != 0
    ]
    for command in failed:
        print(f"failed under the next ansible-core: {command}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
