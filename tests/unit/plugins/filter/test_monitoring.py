# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role monitoring_cron puts on a host, and that it runs there with nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.quai.ops.plugins.filter.host_python import LIBRARY
from ansible_collections.quai.ops.plugins.filter.monitoring import (
    FilterModule,
    host_program,
    json_file,
    monitor_unit,
    monitor_unit_file,
)

# Every import of this collection that any of the files has, wherever it stands, is carried out; then the program.
EVERYTHING = """
import ast, importlib, pathlib, sys
sys.path.insert(0, sys.argv[1])
files = sorted(pathlib.Path(sys.argv[1]).rglob("*.py"))
for path in files:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        text = ast.unparse(node)
        if "ansible" in text:
            exec(text)
    importlib.import_module("ansible_collections.quai.ops.plugins.module_utils." + path.stem)
from ansible_collections.quai.ops.plugins.module_utils import _probe_types, quai_monitor
for kind in _probe_types.TYPES.values():
    module, _, function = kind.check.partition(":")
    getattr(importlib.import_module("ansible_collections.quai.ops.plugins.module_utils." + module), function)
assert not any("site-packages" in each or "collections" in each for each in sys.path), sys.path
"""
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.quai.ops.plugins.module_utils import quai_monitor
sys.exit(quai_monitor.main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the watch, and no other, as they lie on a host."""
    root = tmp_path_factory.mktemp("library")
    for entry in host_program("quai_monitor"):
        path = root / Path(entry["path"]).relative_to(LIBRARY)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(entry["content"], encoding="utf-8")
    return root


def bare(script: str, library: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script as a host does: no environment, no site packages, no working directory on the path."""
    command = [sys.executable, "-IS", "-W", "error", "-c", script, str(library), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=library)


def test_the_watch_needs_no_other_file(library: Path) -> None:
    done = bare(EVERYTHING, library)
    assert (done.returncode, done.stderr) == (0, "")
    done = bare(PROGRAM, library, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "quai-monitor run" in done.stdout


def test_a_file_that_is_missing_is_noticed(library: Path) -> None:
    """Else the test above could not fail."""
    one = next(library.rglob("_probe_smtp.py"))
    content = one.read_text(encoding="utf-8")
    one.unlink()
    try:
        assert "ModuleNotFoundError" in bare(EVERYTHING, library).stderr
    finally:
        one.write_text(content, encoding="utf-8")


def test_it_asks_and_remembers(library: Path, tmp_path: Path) -> None:
    """One run on a host that has nothing but the configuration that the role writes."""
    etc = tmp_path / "etc/quai/monitor"
    etc.mkdir(parents=True)
    (etc / "config.json").write_text(
        json_file({"host": "bare", "probes": [{"name": "host.memory", "type": "memory", "warn": [], "crit": []}]})
    )
    done = bare(PROGRAM, library, "run", "--root", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    state = json.loads((tmp_path / "var/lib/quai/monitor/state.json").read_text())
    assert state["probes"]["host.memory"]["status"] == "ok"


def test_no_file_of_the_controller_is_among_them() -> None:
    names = {Path(entry["path"]).stem for entry in host_program("quai_monitor")}
    assert {"quai_monitor", "_probe_engine", "_monitor_state", "_report_html", "_lock"} <= names
    assert not names & {"_compose", "_certificates", "_packages", "_tls_acme", "_probe_gate"}


def test_entries_of_units() -> None:
    """A timer takes new settings by a restart; what is gone raises no flag that nobody would lower."""
    wanted = monitor_unit_file("quai-monitor.timer")
    assert wanted["path"] == "/etc/systemd/system/quai-monitor.timer"
    assert wanted["template"] == "etc/systemd/system/quai-monitor.timer.j2"
    assert wanted["notify"] == [monitor_unit("quai-monitor.timer")["flag"]]
    assert monitor_unit_file("x.timer", present=False) == {"path": "/etc/systemd/system/x.timer", "state": "absent"}
    assert monitor_unit("quai-monitor.service") == {"name": "quai-monitor.service"}
    assert monitor_unit("x.service", wanted=False) == {"name": "x.service", "state": "stopped"}
    assert monitor_unit("x.timer", wanted=False) == {"name": "x.timer", "state": "stopped", "enabled": False}


def test_json_is_the_same_for_the_same_content() -> None:
    assert json_file({"b": 1, "a": ["é"]}) == json_file({"a": ["é"], "b": 1}) == '{\n "a": [\n  "é"\n ],\n "b": 1\n}\n'


def test_every_filter_has_a_name() -> None:
    assert set(FilterModule().filters()) == {
        "absent_file", "host_program", "json_file", "monitor_problems", "monitor_unit", "monitor_unit_file",
    }  # fmt: skip
