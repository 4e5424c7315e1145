# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run `ansible-test sanity` on a copy of the collection.

ansible-test wants a real directory ``…/ansible_collections/quai/ops``; among links it finds nothing and is content.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What is no part of the collection that is shipped.
LEFT_OUT = (
    "collections",
    "inventories",
    "lab",
    "molecule",
    "projects",
    "requirements",
    "tools",
    "tests",
    ".ci",
    ".config",
)
# Offline, ansible-test cannot fetch its own pip installer; the one that Python carries does.
BOOTSTRAP = "import ensurepip\n\nensurepip.bootstrap(upgrade=True)\n"
# Need a Java, PowerShell or shellcheck that the machine may not have, or look for what a repository is not made of.
SKIPPED = ("pslint", "shellcheck")


def main() -> int:
    """Copy what git tracks, then run every sanity test that applies."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    with tempfile.TemporaryDirectory(prefix="quai-sanity-") as scratch:
        copy = Path(scratch) / "ansible_collections" / "quai" / "ops"
        for name in filter(None, tracked):
            if name.split("/")[0] in LEFT_OUT or not (ROOT / name).is_file():
                continue
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
        sanity = ROOT / "tests" / "sanity"
        if sanity.is_dir():
            shutil.copytree(sanity, copy / "tests" / "sanity")
        subprocess.run(["git", "init", "-q"], cwd=copy, check=True)
        subprocess.run(["git", "add", "-A"], cwd=copy, check=True)
        cache = Path.home() / ".ansible" / "test" / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        for version in ("24_2", "23_1_2", "21_3_1"):
            installer = cache / f"get_pip_{version}.py"
            if not installer.exists():
                installer.write_text(BOOTSTRAP, encoding="utf-8")
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        command = ["ansible-test", "sanity", "--python", python, "--color", "no"]
        for name in SKIPPED:
            command += ["--skip-test", name]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        return subprocess.run([*command, *sys.argv[1:]], cwd=copy, check=False, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
