# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading: YAML as editors read it, with lines, and one sentence for what cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.plugin_utils._load import load_file, load_text
from ansible_collections.quai.ops.plugins.plugin_utils._problems import DeclarationError


@pytest.mark.parametrize(
    ("text", "data"),
    [
        pytest.param("a: true", {"a": True}, id="true"),
        pytest.param("a: yes", {"a": "yes"}, id="yes-is-text"),
        pytest.param("a: off", {"a": "off"}, id="off-is-text"),
        pytest.param("a: 0644", {"a": "0644"}, id="octal-is-text"),
        pytest.param("a: 1:30", {"a": "1:30"}, id="sexagesimal-is-text"),
        pytest.param("a: 2026-01-31", {"a": "2026-01-31"}, id="date-is-text"),
        pytest.param("a: 20.10", {"a": 20.1}, id="float"),
        pytest.param("a: -3", {"a": -3}, id="negative"),
        pytest.param("a:", {"a": None}, id="nothing"),
        pytest.param("a: ~", {"a": None}, id="tilde"),
        pytest.param("true: 1", {"true": 1}, id="keys-are-text"),
        pytest.param("8080: 1", {"8080": 1}, id="numbers-as-keys-are-text"),
        pytest.param(
            "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}", {"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}}, id="merge"
        ),
        pytest.param(
            "x: &x {a: 1}\ny: &y {<<: *x, a: 2}\nz: *y",
            {"x": {"a": 1}, "y": {"a": 2}, "z": {"a": 2}},
            id="merged-then-alias",
        ),
    ],
)
def test_reads(text: str, data: Any) -> None:
    assert load_text(text, "projects/demo.yml").data == data


def test_knows_the_line_of_everything() -> None:
    document = load_text("---\na:\n  b:\n    - c: 1\n    - d\n", "projects/demo.yml")
    paths: list[tuple[Any, ...]] = [("a",), ("a", "b"), ("a", "b", 0, "c"), ("a", "b", 1)]
    assert [document.line(path) for path in paths] == [2, 3, 4, 5]


def test_a_line_that_is_not_there_is_that_of_what_is_around() -> None:
    document = load_text("a:\n  b: 1\n", "projects/demo.yml")
    assert document.line(("a", "missing", "deeper")) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "projects/demo.yml:1: is empty, a declaration starts with name: and title:", id="empty"),
        pytest.param(
            "a: [1\nb: 2\n",
            "projects/demo.yml:2:2: is not YAML: while parsing a flow sequence, expected ',' or ']', but got ':'",
            id="unclosed-list",
        ),
        pytest.param(
            "a:\n\tb: 1",
            "projects/demo.yml:2:1: is not YAML: while scanning for the next token, found character '\\t'"
            " that cannot start any token",
            id="tab",
        ),
        pytest.param(
            "a: 1\n  b: 2\n",
            "projects/demo.yml:2:4: is not YAML: mapping values are not allowed here",
            id="indentation",
        ),
        pytest.param("a: 1\nb: 2\na: 3\n", "projects/demo.yml:3: a is there twice, first on line 1", id="repeated-key"),
        pytest.param(
            "s:\n  x: {}\n  y: {}\n  x: {}\n",
            "projects/demo.yml:4: s.x is there twice, first on line 2",
            id="repeated-inner-key",
        ),
        pytest.param("? [a, b]\n: 1\n", "projects/demo.yml:1:3: is not YAML: a key must be text", id="list-as-key"),
        pytest.param("a: &a [*a]\n", "projects/demo.yml:1:4: is not YAML: it is nested too deeply", id="endless-alias"),
        pytest.param("a: *b\n", "projects/demo.yml:1:4: is not YAML: found undefined alias 'b'", id="unknown-alias"),
        pytest.param(
            "a: 1\n---\nb: 2\n",
            "projects/demo.yml:2:1: is not YAML: expected a single document in the stream, but found another document",
            id="two-documents",
        ),
        pytest.param(
            "a: !!python/object:os.system x\n",
            "projects/demo.yml:1:4: is not YAML: could not determine a constructor for the tag"
            " 'tag:yaml.org,2002:python/object:os.system'",
            id="code",
        ),
        pytest.param(
            "a:\n  b: !vault |\n    $ANSIBLE_VAULT;1.1\n",
            "projects/demo.yml:2: a.b is a vaulted value; a declaration names its secrets,"
            " their values live in the inventory",
            id="vaulted",
        ),
        pytest.param("a: 1\nb: \x00", "projects/demo.yml:2: is not YAML: holds the character U+0000", id="nul"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        load_text(text, "projects/demo.yml")
    assert str(caught.value).splitlines() == ["projects/demo.yml: 1 problem, no host was touched.", message]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"projects/x\.yml: cannot be read: No such file or directory"):
        load_file(tmp_path / "x.yml", "projects/x.yml")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "x.yml").write_bytes(b"name: \xff")
    with pytest.raises(DeclarationError, match=r"projects/x\.yml: is not UTF-8 text \(byte 7\)"):
        load_file(tmp_path / "x.yml", "projects/x.yml")
