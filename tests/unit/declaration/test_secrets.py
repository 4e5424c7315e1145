# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making secrets, completing a set of them, and putting values where their names stand."""

from __future__ import annotations

import base64
import itertools
import math
import re
import secrets
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.quai.ops.plugins.filter.stack_secrets import FilterModule
from ansible_collections.quai.ops.plugins.plugin_utils._secrets import (
    MissingSecretsError,
    complete,
    fill,
    generate,
    render,
)

GENERATED = {
    "description": "Made here.",
    "generate": {"format": "hex", "bytes": 16},
    "supplied_by": None,
    "placeholder": "",
}
SUPPLIED = {
    "description": "Brought.",
    "generate": None,
    "supplied_by": "https://b.example, keys",
    "placeholder": "lab-{random}",
}
DECLARED = {"A": GENERATED, "B": SUPPLIED}


def counting(size: int) -> bytes:
    """Stand in for chance."""
    return bytes(range(size))


@pytest.mark.parametrize(
    ("format", "size", "pattern"),
    [
        pytest.param("hex", 64, r"[0-9a-f]{128}", id="jwt-secret"),
        pytest.param("hex", 32, r"[0-9a-f]{64}", id="encryption-key"),
        pytest.param("base64", 32, r"[A-Za-z0-9+/]{43}=", id="redis-password"),
        pytest.param("base64url", 32, r"[A-Za-z0-9_-]{43}", id="base64url"),
        pytest.param("alphanumeric", 16, r"[A-Za-z0-9]{22}", id="alphanumeric"),
    ],
)
def test_generate_has_the_asked_strength(format: str, size: int, pattern: str) -> None:
    first, second = (generate(format, size, secrets.token_bytes) for _ in range(2))
    assert re.fullmatch(pattern, first)
    assert first != second


def test_generate_writes_all_the_bytes() -> None:
    assert bytes.fromhex(generate("hex", 32, counting)) == counting(32)
    assert base64.b64decode(generate("base64", 32, counting)) == counting(32)


def test_alphanumeric_favours_no_character() -> None:
    # 248 to 255 would fall on the first eight letters once more than on the others, so they must not count.
    blocks = itertools.chain([bytes([255] * 22)], itertools.repeat(bytes(range(22))))
    assert generate("alphanumeric", 16, lambda size: next(blocks)) == "abcdefghijklmnopqrstuv"
    assert 22 * math.log2(62) >= 16 * 8


@pytest.mark.parametrize(
    ("existing", "placeholders", "values", "generated", "to_supply"),
    [
        pytest.param({}, False, {"A": counting(16).hex()}, ["A"], {"B": "https://b.example, keys"}, id="fresh"),
        pytest.param(
            {}, True, {"A": counting(16).hex(), "B": f"lab-{counting(16).hex()}"}, ["A", "B"], {}, id="laboratory"
        ),
        pytest.param({"A": "kept", "B": "kept too"}, True, {"A": "kept", "B": "kept too"}, [], {}, id="complete"),
        pytest.param(
            {"A": "", "B": None},
            False,
            {"A": counting(16).hex()},
            ["A"],
            {"B": "https://b.example, keys"},
            id="empty-is-missing",
        ),
        pytest.param(
            {"A": "kept", "OLD": 1},
            False,
            {"A": "kept", "OLD": 1},
            [],
            {"B": "https://b.example, keys"},
            id="undeclared-is-kept",
        ),
    ],
)
def test_complete(existing: Any, placeholders: bool, values: Any, generated: Any, to_supply: Any) -> None:
    made = complete(DECLARED, existing, counting, placeholders)
    assert (made.values, made.generated, made.to_supply) == (values, generated, to_supply)


@pytest.mark.parametrize(
    "value", ["plain", "a: b # c", "'\"", "éà", "- x", "  blank  ", "0123", "true", "a\nb\n", "x" * 500]
)
def test_render_can_be_read_back(value: str) -> None:
    made = complete(DECLARED, {"A": value}, counting, placeholders=False)
    text = render("vault_demo", "demo", made, DECLARED)
    assert yaml.safe_load(text) == {"vault_demo": {"A": value}}
    assert "# Brought. Get it from: https://b.example, keys\n  # B:\n" in text


def test_render_of_nothing_is_an_empty_mapping() -> None:
    made = complete({"B": SUPPLIED}, {}, counting, placeholders=False)
    assert yaml.safe_load(render("vault_demo", "demo", made, {"B": SUPPLIED})) == {"vault_demo": {}}


VALUES = {"PW": "p$w", "N": 5, "EMPTY": ""}


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("${PW}", "p$w"),
        ("redis://:${PW}@redis/${N}", "redis://:p$w@redis/5"),
        ("$${PW}", "${PW}"),
        ("$PW ${lower} ${}", "$PW ${lower} ${}"),
        ({"a": ["${N}", 3, True, None]}, {"a": ["5", 3, True, None]}),
        ({}, {}),
    ],
)
def test_fill(template: Any, result: Any) -> None:
    assert fill(template, VALUES) == result


def test_fill_names_everything_that_is_missing_and_shows_nothing() -> None:
    with pytest.raises(MissingSecretsError) as caught:
        fill({"a": "${PW} ${NOPE}", "b": ["${EMPTY}"]}, VALUES)
    assert str(caught.value) == "no value for EMPTY, NOPE"


def test_the_filter() -> None:
    stack_secrets = FilterModule().filters()["stack_secrets"]
    assert stack_secrets({"api": {"environment": {"A": "${PW}"}}}, VALUES) == {"api": {"environment": {"A": "p$w"}}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "stack_secrets: no value for PW"),
        ("text", "stack_secrets: the secrets must be a mapping from names to values"),
    ],
)
def test_the_filter_refuses(values: Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        FilterModule().filters()["stack_secrets"]("${PW}", values)
