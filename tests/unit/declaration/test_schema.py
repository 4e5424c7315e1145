# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The description itself, and what is made of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.quai.ops.plugins.plugin_utils._fields import FORMATS, MISSING, Field
from ansible_collections.quai.ops.plugins.plugin_utils._load import load_file, load_text
from ansible_collections.quai.ops.plugins.plugin_utils._problems import dotted
from ansible_collections.quai.ops.plugins.plugin_utils._reference import json_schema
from ansible_collections.quai.ops.plugins.plugin_utils._schema import PROJECT
from ansible_collections.quai.ops.plugins.plugin_utils._shape import Shape, walk
from ansible_collections.quai.ops.plugins.plugin_utils._validate import SINGULAR, validate

from . import test_validate

ROOT = Path(__file__).parents[3]
SCHEMA = json_schema(PROJECT)
EDITOR = jsonschema.Draft202012Validator(SCHEMA)
EVERY_FIELD = list(walk(PROJECT))


def described(choose: Any) -> list[Any]:
    return [pytest.param(field, id=dotted(path) or "project") for path, field in EVERY_FIELD if choose(field)]


@pytest.mark.parametrize("field", described(lambda field: field.default is not MISSING))
def test_every_default_is_valid(field: Field) -> None:
    complaints: list[Any] = []
    Shape(lambda *said: complaints.append(said)).apply(field, field.default)
    assert complaints == []


@pytest.mark.parametrize("field", described(lambda field: field.example is not MISSING))
def test_every_example_is_valid(field: Field) -> None:
    complaints: list[Any] = []
    Shape(lambda *said: complaints.append(said)).apply(field, field.example)
    assert complaints == []


def test_every_field_is_described_by_a_sentence() -> None:
    poor = [
        dotted(path) for path, field in EVERY_FIELD if len(field.description) < 3 or field.description[-1] not in ".:)"
    ]
    assert poor == []


def test_every_reference_names_a_section() -> None:
    assert {field.refers_to for _path, field in EVERY_FIELD if field.refers_to} <= set(SINGULAR) <= set(PROJECT.fields)


def test_conditions_name_a_sibling_and_its_values() -> None:
    wrong = [
        f"{dotted(path)}.{name}"
        for path, field in EVERY_FIELD
        for name, member in field.fields.items()
        if member.when and not set(member.when[1]) <= set(field.fields[member.when[0]].choices)
    ]
    assert wrong == []


def test_alternatives_name_fields() -> None:
    wrong = [
        dotted(path)
        for path, field in EVERY_FIELD
        for names in (*field.exactly_one, *field.at_most_one, *field.at_least_one)
        if not set(names) <= set(field.fields)
    ]
    assert wrong == []


@pytest.mark.parametrize(("name", "format"), FORMATS.items(), ids=FORMATS)
def test_every_format_accepts_its_example(name: str, format: Any) -> None:
    assert format.complaint(format.example) == "", name


def test_the_page_s_example_is_right_and_whole() -> None:
    page = (ROOT / "docs" / "declaration.md").read_text(encoding="utf-8")
    example = page.split("```yaml\n")[1].split("```")[0]
    _declarations, problems = validate([load_text(example, "projects/hello.yml")])
    assert problems == []
    assert list(EDITOR.iter_errors(load_text(example, "hello").data)) == []


def test_generated_files_are_fresh() -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, "")


def test_the_check_notices_a_stale_file(tmp_path: Path) -> None:
    for name in ("collections", "tools", "plugins", "galaxy.yml", "meta", "playbooks", "roles"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("tools", "roles"):
        (tmp_path / name).unlink()
        shutil.copytree(ROOT / name, tmp_path / name)
    script = tmp_path / "tools" / "generate.py"
    for name in ("projects", "docs"):
        (tmp_path / name).mkdir()
    command = [sys.executable, str(script)]
    stale = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    assert stale.returncode == 1
    assert "docs/declaration.md: out of date, run python tools/generate.py" in stale.stdout
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0
    assert subprocess.run([*command, "--check"], capture_output=True, text=True, check=False).returncode == 0


def test_the_json_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("path", test_validate.EXAMPLES, ids=lambda path: path.stem)
def test_editors_accept_the_five(path: Path) -> None:
    assert [error.message for error in EDITOR.iter_errors(load_file(path, path.name).data)] == []


@pytest.mark.parametrize(("text", "messages"), test_validate.FORM)
def test_editors_refuse_every_mistake_of_form(text: str, messages: list[str]) -> None:
    assert messages
    assert list(EDITOR.iter_errors(load_text(text, "demo").data)) != []


def test_declarations_tell_editors_about_the_schema() -> None:
    for path in (ROOT / "projects").glob("*.yml"):
        assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=project.schema.json\n")
