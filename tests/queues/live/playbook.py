# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our modules run by Ansible itself, a few of them in one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[3]
RUN_SECONDS = 180


class Played(NamedTuple):
    """The results of the tasks in their order, and all that was printed."""

    results: list[dict[str, Any]]
    output: str


def play(directory: Path, tasks: Sequence[tuple[str, Mapping[str, Any]]]) -> Played:
    """Run modules of the collection with these options, one after the other, whether they fail or not."""
    answers = directory / "answers.json"
    listed: list[dict[str, Any]] = [
        {
            "name": f"Test | {number}",
            f"quai.ops.{module}": dict(options),
            "register": f"r{number}",
            "ignore_errors": True,
        }
        for number, (module, options) in enumerate(tasks)
    ]
    content = "{{ [" + ", ".join(f"r{number}" for number in range(len(tasks))) + "] | to_json }}"
    listed.append({"name": "Test | answers", "ansible.builtin.copy": {"content": content, "dest": str(answers)}})
    book = directory / "play.json"
    book.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": listed}]), encoding="utf-8")
    local = {"all": {"hosts": {"here": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}}}
    inventory = directory / "hosts.json"
    inventory.write_text(json.dumps(local), encoding="utf-8")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-vvv", "-i", str(inventory), str(book)],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results: list[dict[str, Any]] = json.loads(answers.read_text(encoding="utf-8"))
    return Played(results, done.stdout + done.stderr)
