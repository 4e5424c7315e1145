# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing in the repository that does not belong there."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.repo.support import ROOT, files, params, text

HEADER = (
    "# Copyright (c) quai contributors\n"
    "# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)\n"
    "# SPDX-License-Identifier: GPL-3.0-or-later\n"
)
# Broken on purpose, or the exact bytes that another program wrote.
NOT_OURS = ("tests/**/fixtures/**", "tests/**/golden/**", "tests/**/*_output/**", "**/package-lock.json", "LICENSE")
# Each pattern with a text that it must find, in pieces so that this file does not hold what it looks for.
SECRETS = {
    "private key": (
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}",
        "-----BEGIN PRIVATE KEY-----\n" + "M" * 64,
    ),
    "AWS key": (r"\bAKIA[0-9A-Z]{16}\b", "AKIA" + "A" * 16),
    "GitHub token": (r"\bgh[pousr]_[A-Za-z0-9]{36}", "ghp_" + "a" * 36),
    "Slack token": (r"\bxox[abprs]-[0-9A-Za-z-]{10,}", "xoxb-" + "1" * 12),
    "Slack hook": (
        r"hooks\.slack\.com/services/T\w{6,}/B\w{6,}/\w{16,}",
        "hooks.slack.com/services/" + "T0000000/B0000000/" + "x" * 24,
    ),
    "Stripe key": (r"\b[sr]k_live_[0-9A-Za-z]{16,}", "sk_live_" + "a" * 24),
    "Google key": (r"\bAIza[0-9A-Za-z_-]{35}\b", "AIza" + "a" * 35),
    "JSON web token": (
        r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}",
        "eyJ" + "a" * 12 + ".eyJ" + "b" * 12 + "." + "c" * 30,
    ),
    "vault password": (r"^\$ANSIBLE_VAULT;", "$ANSIBLE_VAULT" + ";1.1;AES256"),
    "password in a URL": (
        r"\b(?:postgres(?:ql)?|mysql|redis|amqp|https?)://[\w.-]+:(?!pass|secret|hunter|example|x+@)[\w+/=-]{8,}@(?![\w.-]*\b(?:invalid|example)\b)",
        "postgresql://app:" + "s3cr3tS3cr3t" + "@db.somewhere.net/app",
    ),
    "long secret in a variable": (
        r"(?im)^\s*[\w.-]*(?:password|secret|token|api_?key)[\w.-]*\s*[:=]\s*[\"']?(?=[A-Za-z+/=-]*\d)[A-Za-z0-9+/=-]{32,}[\"']?\s*$",
        "REDIS_PASSWORD: " + "WQvoEchkf10mLuVOrgkxxcxf/" + "BJuqejvCiy0S05T8DM=",
    ),
}
ELSEWHERE = {
    "somebody's own directories": (r"(?<![\w.}/-])/(?:work|tmp/w)/(?:main|shared|v3|t)", "/work" + "/main/x"),
    "somebody's own Python": (r"/(?:root|home/\w+)/\.(?:pyenv|nvm|rbenv)\b", "/root/" + ".pyenv/shims"),
    "somebody's home": (
        r"/(?:home|Users)/(?!node\b|nodejs\b|app\b|deploy\b|user\b|quai\b)[a-z]\w+/",
        "/home/" + "alice/src",
    ),
    "who helped": (
        r"(?i)\bco-authored-by:|\bgenerated (?:with|by) (?:an? )?(?:ai\b|assistant|language model)",
        "Co-Authored" + "-By: x",
    ),
    "a private mirror": (
        r"(?i)https?://[\w.-]*(?:artifactory|nexus|pypi-?proxy|npm-?proxy|mirror\.corp)[\w.-]*/",
        "https://arti" + "factory.corp/x",
    ),
}


def ours(path: Path) -> bool:
    """Whether a file is written here."""
    place = path.relative_to(ROOT)
    return not any(
        place.full_match(pattern) if hasattr(place, "full_match") else _match(place, pattern) for pattern in NOT_OURS
    )


def _match(place: Path, pattern: str) -> bool:
    parts = [re.escape(part).replace(r"\*\*", ".*").replace(r"\*", "[^/]*") for part in pattern.split("/")]
    expression = "/".join(parts).replace(".*/", "(?:.*/)?")
    return re.fullmatch(expression, str(place)) is not None


@pytest.mark.parametrize(
    ("place", "mine"),
    [
        ("plugins/modules/units.py", True),
        ("tests/unit/declaration/fixtures/broken.yml", False),
        ("tests/unit/plugins/module_utils/docker_output/inspect.json", False),
        ("tests/apps/masstock/backend/package-lock.json", False),
        ("LICENSE", False),
    ],
)
def test_what_is_written_here(place: str, mine: bool) -> None:
    assert ours(ROOT / place) is mine


@pytest.mark.parametrize(("pattern", "sample"), [*SECRETS.values(), *ELSEWHERE.values()], ids=[*SECRETS, *ELSEWHERE])
def test_the_search_finds_what_it_looks_for(pattern: str, sample: str) -> None:
    assert re.search(pattern, sample, re.MULTILINE)


@pytest.mark.parametrize("what", SECRETS)
def test_no_secret_is_kept(what: str) -> None:
    pattern = re.compile(SECRETS[what][0], re.MULTILINE)
    # Tests make values up that must look like secrets, to see that none of them leaks.
    made_up = ("tests", "molecule") if what in ("long secret in a variable", "password in a URL") else ()
    found = [
        f"{path.relative_to(ROOT)}: {match.group()[:40]}…"
        for path in files()
        if ours(path) and path != Path(__file__) and path.relative_to(ROOT).parts[0] not in made_up
        for match in pattern.finditer(text(path))
    ]
    assert found == []


@pytest.mark.parametrize("what", ELSEWHERE)
def test_nothing_is_of_one_machine_or_one_person(what: str) -> None:
    pattern = re.compile(ELSEWHERE[what][0])
    here = Path(__file__)
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in files()
        if path != here
        for match in pattern.finditer(text(path))
    ]
    assert found == []


@pytest.mark.parametrize("path", params("package-lock.json"))
def test_packages_come_from_the_public_registry(path: Path) -> None:
    packages = json.loads(text(path))["packages"].values()
    hosts = {package["resolved"].split("/")[2] for package in packages if "resolved" in package}
    assert hosts <= {"registry.npmjs.org"}


def test_every_python_file_names_its_licence() -> None:
    python = [path for path in files() if path.suffix == ".py" and text(path).strip()]
    assert len(python) > 50
    without = [
        str(path.relative_to(ROOT)) for path in python if not re.sub(r"\A#!.*\n", "", text(path)).startswith(HEADER)
    ]
    assert without == []


def test_every_python_file_puts_off_annotations() -> None:
    """Python 3.9 on a host cannot evaluate X | None."""
    hosts = [path for path in files() if path.suffix == ".py" and path.parent.name in {"modules", "module_utils"}]
    assert [str(path) for path in hosts if "from __future__ import annotations" not in text(path)] == []


def scripts() -> list[Path]:
    """Shell scripts, by name or by first line."""
    first_line = re.compile(r"#!\s*(?:/usr)?/bin/(?:env )?(?:ba|da)?sh\b")
    return [path for path in files() if path.suffix == ".sh" or first_line.match(text(path))]


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in scripts()])
def test_shell_scripts_can_be_read(path: Path) -> None:
    shell = "bash" if "bash" in text(path).splitlines()[0] else "sh"
    assert shutil.which(shell)
    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_scripts_that_are_called_by_name_can_be_run() -> None:
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_yaml_starts_as_yaml() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in files()
        if path.suffix in {".yml", ".yaml"} and ours(path) and not re.match(r"(?:#.*\n)*---(?:\s|\Z)", text(path))
    ]
    assert wrong == []


def test_lines_end_as_they_should() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in files()
        if ours(path) and text(path) and ("\r\n" in text(path) or not text(path).endswith("\n"))
    ]
    assert wrong == []


def constant_sleeps(source: str) -> list[int]:
    """Lines that wait for a fixed time and then believe; a poll, which looks again in a loop, is none."""
    found = []

    def walk(node: ast.AST, *, looping: bool) -> None:
        if isinstance(node, ast.Call) and not looping:
            name = ast.unparse(node.func)
            if name in {"time.sleep", "sleep"} and node.args and isinstance(node.args[0], ast.Constant):
                found.append(node.lineno)
        if isinstance(node, (ast.While, ast.For)):
            looping = True
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            looping = False
        for child in ast.iter_child_nodes(node):
            walk(child, looping=looping)

    walk(ast.parse(source), looping=False)
    return found


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        pytest.param("time.sleep(1)", [1], id="wait-and-believe"),
        pytest.param("def f():\n  x()\n  time.sleep(0.5)\n", [3], id="in-a-function"),
        pytest.param("while not ready():\n  time.sleep(0.1)\n", [], id="poll"),
        pytest.param("for _ in range(9):\n  if ready():\n    break\n  time.sleep(1)\n", [], id="bounded-poll"),
        pytest.param("time.sleep(deadline - now)", [], id="computed"),
        pytest.param("while True:\n  f = lambda: time.sleep(1)\n", [2], id="a-function-in-a-loop-is-not-a-poll"),
    ],
)
def test_sleeps_are_told_from_polls(source: str, lines: list[int]) -> None:
    assert constant_sleeps(source) == lines


@pytest.mark.parametrize("path", params("*.py", below="tests/"))
def test_tests_wait_for_conditions(path: Path) -> None:
    assert constant_sleeps(text(path)) == [], "wait for what you need in a loop, not for a time"


def test_nothing_is_ignored_that_fails() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in files()
        if path.suffix == ".yml" and ours(path) and re.search(r"^\s*ignore_errors:", text(path), re.MULTILINE)
    ]
    assert wrong == []
