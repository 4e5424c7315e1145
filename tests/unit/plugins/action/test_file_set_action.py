# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""file_set from end to end: a real ansible-playbook against this machine, all steps in one run."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.quai.ops.plugins.module_utils import _pending

ROOT = Path(__file__).parents[4]
FLAG = f"unit-test-{os.getpid()}"
SECRET = "hunter2-in-a-file"
TEMPLATE = """\
{{ ansible_managed | comment }}
{% include "part.j2" %}

{% for name in names %}
  {% if name != "skip" %}
server {{ name }} {{ extra | default("-") }};
  {% endif %}
{% endfor %}
"""

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="flags and locks are below /run, which belongs to root")


def step(name: str, files: list[dict[str, Any]], check: bool = False, **more: Any) -> dict[str, Any]:
    """A task whose result is kept under a name; C(check) runs it in check mode."""
    arguments = {"files": files, **{key: value for key, value in more.items() if key in ("purge", "checks")}}
    others = {key: value for key, value in more.items() if key not in arguments}
    task = {"name": name, "quai.ops.file_set": arguments, "register": name, "diff": True, "ignore_errors": True}
    return {**task, **({"check_mode": True} if check else {}), **others}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files go."""
    return tmp_path_factory.mktemp("host")


@pytest.fixture(scope="module")
def results(place: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every step's result by its name."""
    project = tmp_path_factory.mktemp("project")
    (project / "templates/sub").mkdir(parents=True)
    (project / "templates/sub/app.conf.j2").write_text(TEMPLATE)
    (project / "templates/sub/part.j2").write_text("# included by {{ who }}\n")
    (project / "templates/broken.j2").write_text("one\n{{ no_such_variable }}\n")
    conf, key = place / "etc/app.conf", place / "etc/key"
    app: dict[str, Any] = {"path": str(conf), "template": "sub/app.conf.j2", "vars": {"extra": "tuned"}, "notify": FLAG}
    hidden: dict[str, Any] = {"path": str(key), "content": SECRET, "mode": "0600", "secret": True}
    wanted = [app, hidden]
    other = [{**app, "vars": {"extra": "changed"}}, {**hidden, "content": f"{SECRET}-rotated"}]
    check = [{"tree": str(place / "etc"), "command": ["sh", "-c", "! grep -q forbidden {tree}/app.conf"]}]
    refused = [{**app, "vars": {"extra": "forbidden"}}, {"path": str(place / "etc/further"), "content": "x"}]
    drift = f"echo by-hand > {conf}; chmod 0666 {conf}"
    tasks = [
        step("check_bare", wanted, check=True, checks=check),
        step("run", wanted, checks=check),
        step("check_again", wanted, check=True),
        step("run_again", wanted),
        step("change", other),
        step("refused", refused, checks=check),
        {"name": "drift", "ansible.builtin.raw": drift, "register": "drift"},
        step("drifted", other),
        step("number", [{"path": str(place / "x"), "content": "x", "mode": 0o644}]),
        step("data", [{"path": str(place / "x"), "content": {"a": 1}}]),
        step("both", [{"path": str(place / "x"), "content": "x", "template": "broken.j2"}]),
        step("neither", [{"path": str(place / "x")}]),
        step("content_of_a_link", [{"path": str(place / "x"), "content": "x", "state": "link", "target": "/y"}]),
        step("unknown_template", [{"path": str(place / "x"), "template": "none.j2"}]),
        step("undefined", [{"path": str(place / "x"), "template": "broken.j2"}]),
        step("no_list", "x"),  # type: ignore[arg-type]
    ]
    names = [task["register"] for task in tasks]
    content = "{{ {" + ", ".join(f"'{name}': {name}" for name in names) + "} | to_json }}"
    save = {"quai.ops.file_set": {"files": [{"path": str(project / "results.json"), "content": content}]}}
    variables = {"names": ["a", "skip", "b"], "who": "a role"}
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": [*tasks, save]}
    (project / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    done = subprocess.run(
        [
            Path(sys.executable).parent / "ansible-playbook",
            "-vvv",
            "-i",
            "localhost,",
            "-c",
            "local",
            project / "play.yml",
        ],
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "ANSIBLE_PIPELINING": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
    )
    flagged = _pending.read()
    _pending.clear(FLAG)
    assert (project / "results.json").exists(), done.stdout + done.stderr
    found: dict[str, Any] = json.loads((project / "results.json").read_text())
    return {**found, "output": done.stdout + done.stderr, "flagged": FLAG in flagged}


def test_check_run_check_run(results: dict[str, Any], place: Path) -> None:
    paths = [f"{place}/etc/app.conf", f"{place}/etc/key"]
    for name in ("check_bare", "run"):
        assert results[name]["changed"]
        assert results[name]["changed_paths"] == paths
        assert FLAG in results[name]["pending"]
    assert results["check_bare"]["diff"] == results["run"]["diff"]
    for name in ("check_again", "run_again"):
        assert not results[name]["changed"]
        assert results[name]["diff"] == []
        assert FLAG in results[name]["pending"]
    assert results["flagged"], "the flag stays raised on the host until units lowers it"


def test_what_a_template_becomes(results: dict[str, Any]) -> None:
    assert results["run"]["diff"][0]["after"] == (
        "# file, mode 0644, owner root:root\n"
        "#\n# Written by quai: change the declaration or the role's variables, not this file.\n#\n"
        "# included by a role\n"
        "server a tuned;\n"
        "server b tuned;\n"
    )


def test_a_change_and_a_drift(results: dict[str, Any], place: Path) -> None:
    assert results["change"]["diff"][0]["before"].endswith("server b tuned;\n")
    assert results["change"]["diff"][0]["after"].endswith("server b changed;\n")
    assert results["drifted"]["changed_paths"] == [f"{place}/etc/app.conf"]
    assert results["drifted"]["diff"][0]["before"] == "# file, mode 0666, owner root:root\nby-hand\n"
    assert (place / "etc/app.conf").read_text().endswith("server b changed;\n")
    # No mode was asked for, so the one that is there stays.
    assert stat.S_IMODE((place / "etc/app.conf").stat().st_mode) == 0o666


def test_a_refused_tree(results: dict[str, Any], place: Path) -> None:
    assert results["refused"]["failed"]
    assert f"{place}/etc was refused by 'sh' and nothing was written" in results["refused"]["msg"]
    assert not (place / "etc/further").exists()
    assert "forbidden" not in (place / "etc/app.conf").read_text()


def test_secrets_stay_in_their_file(results: dict[str, Any], place: Path) -> None:
    assert (place / "etc/key").read_text() == f"{SECRET}-rotated"
    assert SECRET not in json.dumps(results)
    assert "module_args" not in results["output"], "what was asked for, contents included, is no part of the answer"
    told = results["change"]["diff"][1]
    assert ("former content, not shown" in told["before"], "new content, not shown" in told["after"]) == (True, True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("number", 'x: mode is the number 420; quote it, as in mode: "0644"'),
        ("data", "x: content must be text; pass data through a filter such as to_json"),
        ("both", "x: give either template or content"),
        ("neither", "x: give either template or content"),
        ("content_of_a_link", "x: only a file has a template or content"),
        ("unknown_template", "none.j2"),
        ("undefined", "'no_such_variable' is undefined"),
        ("no_list", "files must be a list of dictionaries"),
    ],
)
def test_bad_input(results: dict[str, Any], place: Path, name: str, words: str) -> None:
    assert results[name]["failed"]
    assert words in results[name]["msg"]
    assert not (place / "x").exists()


def test_an_error_in_a_template_names_the_template(results: dict[str, Any]) -> None:
    assert re.search(r"'no_such_variable' is undefined\nOrigin: .*/templates/broken\.j2", results["output"])
