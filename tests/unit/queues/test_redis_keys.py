# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about keys and patterns, without a server."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils._redis_keys import (
    KeyPolicy,
    KeyRule,
    KeysProblem,
    beginning,
    ceiling,
    check,
    described,
    literal,
    lua_pattern,
    rules,
    shown,
)


def test_rules() -> None:
    found = rules(
        [
            {"pattern": "expired:*"},
            {"pattern": "session:*", "only_without_ttl": True, "types": ["hash"], "limit": 5},
            {"pattern": "a:*", "ttl_above": "2h", "idle_for": "1500ms"},
            {"pattern": "b:*", "action": "expire", "ttl": 60},
        ]
    )
    assert found == [
        KeyRule("expired:*"),
        KeyRule("session:*", True, None, None, ("hash",), 5),
        KeyRule("a:*", False, 7_200_000, 2),
        KeyRule("b:*", action="expire", ttl=60_000),
    ]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ([], "rules: there is none"),
        ([{}], "rules[0].pattern: a pattern is needed"),
        ([{"pattern": "a*"}, {"pattern": "*"}], "rules[1].pattern: '*' matches every key"),
        ([{"pattern": "**"}], "confirm it with everything: true"),
        ([{"pattern": "?*"}], "or any of some length"),
        ([{"pattern": "[^a]*"}], "or any of some length"),
        ([{"pattern": "a["}], "its [ is not closed"),
        ([{"pattern": "a[b\\"}], "its [ is not closed"),
        ([{"pattern": "a[]"}], "there is nothing within its [ ]"),
        ([{"pattern": "a\\"}], "ends in a backslash"),
        ([{"pattern": "a" + "*b" * 9}], "more than 8 times *"),
        ([{"pattern": "a", "ttl_above": "soon"}], "rules[0].ttl_above: 'soon' is no duration"),
        ([{"pattern": "a", "types": ["json"]}], "'json' is none of string, list"),
        ([{"pattern": "a", "limit": 0}], "rules[0].limit: 0 is no whole number"),
        ([{"pattern": "a", "limit": True}], "rules[0].limit: True is no whole number"),
        ([{"pattern": "a", "action": "drop"}], "'drop' is neither remove nor expire"),
        ([{"pattern": "a", "action": "expire"}], "needs the time to live"),
        ([{"pattern": "a", "action": "expire", "ttl": 0}], "needs the time to live"),
        ([{"pattern": "a", "ttl": "1d"}], "action is remove"),
        ([{"pattern": "a", "without_ttl": True, "ttl_above": 5}], "no key can be without a TTL and have one"),
        ([{"pattern": "a", "withoutttl": True}], "there is no option withoutttl"),
    ],
)
def test_rules_refused(raw: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(KeysProblem) as caught:
        rules(raw)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_all_problems_at_once() -> None:
    with pytest.raises(KeysProblem) as caught:
        rules([{"pattern": "*", "limit": 0}, {"pattern": "a", "action": "drop"}])
    assert str(caught.value).count("rules[") == 3


def test_everything_is_confirmed() -> None:
    assert rules([{"pattern": "*"}], everything=True) == [KeyRule("*")]


@pytest.mark.parametrize(
    ("pattern", "said"), [("a*", True), ("*:x", True), ("[a-c]*", True), ("*", False), ("??", False)]
)
def test_literal(pattern: str, said: bool) -> None:
    assert literal(pattern) is said


@pytest.mark.parametrize(
    ("pattern", "lua"),
    [
        ("a:*", b"^a:.*$"),
        ("a**b", b"^a.*b$"),
        ("a?", b"^a.$"),
        ("%.$", b"^%%%.%$$"),
        ("[a-c]", b"^[abc]$"),
        ("[c-a]", b"^[abc]$"),
        ("[^]a]", None),
        ("[\\]-]", b"^[%-%]]$"),
        ("[^ab]", b"^[^ab]$"),
        ("\\*\\[", b"^%*%[$"),
        ("é", b"^\xc3\xa9$"),
        ("\0", b"^%z$"),
    ],
)
def test_lua_pattern(pattern: str, lua: bytes | None) -> None:
    if lua is None:
        with pytest.raises(KeysProblem):
            lua_pattern(pattern)
    else:
        assert lua_pattern(pattern) == lua


@pytest.mark.parametrize(
    ("patterns", "common"),
    [
        (["a:[bc]*"], "a:[bc]*"),
        (["session:*", "sess:*"], "sess*"),
        (["a:*", "b:*"], ""),
        (["a:1", "a:1"], "a:1*"),
        (["\\*a:*", "\\*b:*"], "\\**"),
        (["{x}:a*", "{x}:b*"], "{x}:*"),
        (["a[b]c*", "abd*"], "ab*"),
        (["a*", "*"], ""),
    ],
)
def test_beginning(patterns: list[str], common: str) -> None:
    """What SCAN is asked for matches whatever one of the patterns does."""
    assert beginning(patterns) == common


@pytest.mark.parametrize(
    ("value", "total", "most"), [(None, 5, None), ("", 5, None), (7, 5, 7), ("7", 5, 7), ("20%", 99, 19), ("0%", 9, 0)]
)
def test_ceiling(value: int | str | None, total: int, most: int | None) -> None:
    assert ceiling(value, total) == most


@pytest.mark.parametrize("value", ["101%", "many", "-1", -1, True, "1.5"])
def test_ceiling_refused(value: int | str) -> None:
    with pytest.raises(KeysProblem, match="max_remove"):
        ceiling(value, 100)


def test_policy() -> None:
    check(KeyPolicy())
    bad = KeyPolicy(protected=("a[",), max_remove="x", max_seconds=0, chunk_ms=0, duty=0, samples=99)
    with pytest.raises(KeysProblem) as caught:
        check(bad)
    for name in ("protected", "max_remove", "max_seconds", "chunk_ms", "duty", "samples"):
        assert f"{name}: " in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "name", "seen"),
    [
        ("session:*", b"session:Zx81pQrs", "session:Zx81…"),
        ("session:*", b"session:1", "session:1"),
        ("*:x", b"secretsecret:x", "secr…"),
        ("[ab]:*", b"a:secret", "a:se…"),
        ("\\*x*", b"*xabcde", "*xabcd…"),
    ],
)
def test_shown(pattern: str, name: bytes, seen: str) -> None:
    """Who reads a report gets no session that way."""
    assert shown(pattern, name) == seen


def test_described() -> None:
    assert described(KeyRule("a:*")) == "a:*"
    assert (
        described(KeyRule("a:*", True, None, 60, ("hash", "set")))
        == "a:* (without a TTL, idle for 60 s, of type hash or set)"
    )
    assert described(KeyRule("a:*", action="expire", ttl=90_000)) == "a:* (get a TTL of 90 s)"
