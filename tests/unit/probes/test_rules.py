# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar of conditions: what holds, what is unknown, what is refused and how."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _probe_rules as rules

FIELDS = dict.fromkeys(
    ("status", "used_pct", "free_gib", "body", "json", "json.*", "age_s", "size_bytes", "state", "missing"), ""
)
FIELDS.update({"cookie.*": "", "header.*": "", "json_age_s.*": "", "ok": ""})
VALUES: dict[str, Any] = {
    "status": 204,
    "used_pct": 91.25,
    "free_gib": 3,
    "body": "all good\nprobe_success 1",
    "json": {
        "ok": True,
        "n": 3,
        "text": "3",
        "a b": {"c": None},
        "a.b": "dots",
        "list": [{"id": 7}, {"id": 8}],
        "version": "1.10",
        "off": False,
        "empty": [],
    },
    "age_s": 7200.0,
    "size_bytes": 1048577,
    "state": "running",
    "missing": "",
    "ok": True,
    "cookie": {"connect.sid": True, "connect.sid.secure": False},
    "header": {"x-count": "12", "content-type": "text/html; charset=utf-8"}.get,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("status == 204", True),
        ("status==204", True),
        ("status != 200", True),
        ("status in 200-299", True),
        ("status in 301,302, 304", False),
        ("status in 200,204", True),
        ("status !in 500-599", True),
        ("used_pct > 91", True),
        ("used_pct < 91.25", False),
        ("used_pct <= 91.25", True),
        ("used_pct > 85 and free_gib < 5", True),
        ("used_pct > 95 or free_gib < 5", True),
        ("used_pct > 95 and free_gib < 5 or status == 204", True),
        ("status == 204 or used_pct > 95 and free_gib > 5", True),  # and binds tighter
        ('body ~ "probe_success 1"', True),
        ("body !~ '(?i)MAINTENANCE'", True),
        (r'body ~ "good\s+probe"', True),
        ("json.ok == true", True),
        ("json.ok == 1", False),  # a boolean is no number
        ('json.ok == "true"', False),  # nor a text
        ("json.off == false", True),
        ("json.n == 3", True),
        ("json.n == 3.0", True),
        ('json.n == "3"', False),
        ('json.text == "3"', True),
        ("json.text == 3", True),  # a word equals the text that is written like it
        ("json.n >= 3", True),
        ("json.version == 1.10", True),
        ("json.version == 1.1", False),  # texts are compared as they are written
        ('json."a b".c == null', True),
        ("json.a.b == dots", True),
        ("json.list.1.id == 8", True),
        ("json.list.-1.id == 8", True),
        ("json.list.length == 2", True),
        ("json.list.5.id == null", True),
        ("json.empty == []", True),
        ("json.nothing != null", False),
        ("json.nothing == 5", None),
        ("json.nothing != 5", None),
        ("json.nothing !~ x", None),
        ("json.nothing !in 1,2", None),
        ("json.nothing in null,5", True),
        ("json.nothing == 5 and status == 500", False),  # one that is known decides
        ("json.nothing == 5 or status == 204", True),
        ("json.nothing == 5 or status == 500", None),
        ("cookie.connect.sid == true", True),
        ("cookie.connect.sid.secure == true", False),
        ("header.x-count > 11", True),
        ("header.content-type ~ ^text/html", True),
        ("header.x-none == null", True),
        ("age_s < 2h", False),
        ("age_s <= 2h", True),
        ("age_s > 1h30m", True),
        ("size_bytes > 1MiB", True),
        ("size_bytes > 2MB", False),
        ("state in running,starting", True),
        ("state in 'running', \"x\"", True),
        ('missing == ""', True),
        ("state > 5", False),  # a text that is no number is not above one
        ("body ~ 'and status == 500'", False),  # an operator within quotes is text
        ("ok == true", True),
    ],
)
def test_holds(text: str, expected: bool | None) -> None:
    assert rules.holds(rules.parse(text, FIELDS), VALUES) is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no condition"),
        ("statsu == 200", 'there is no field "statsu"; did you mean "status"?'),
        ("body.x == 1", 'there is no field "body.x"'),
        ("status = 200", 'after "status" comes one of =='),
        ("status ==", "a value is missing"),
        ("status == 200 300", '"300" follows the value'),
        ("status == 200 and", "follows the value"),
        ("status == 200 and or", 'there is no field "or"'),
        ("== 200", "begins with a field"),
        ("body ~ (", "is no regular expression"),
        ("used_pct > many", '> compares numbers, "many" is none'),
        ('used_pct > "5"', "compares numbers"),
        ("used_pct > true", "compares numbers"),
        ("status in 300-200", "is an empty range"),
        ("status in 200,", "a value is missing"),
        ("used_pct > 5 trailing", "put a value that has spaces in quotes"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(rules.RuleError) as caught:
        rules.parse(text, FIELDS)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fires"),
    [
        ("85", {-1: True, 0: False, 85: False, 85.1: True}),
        ("10:", {9: True, 10: False, 1e9: False}),
        ("~:10", {-5: False, 10: False, 11: True}),
        ("10:20", {9: True, 10: False, 20: False, 21: True}),
        ("@10:20", {9: False, 10: True, 20: True, 21: False}),
        ("@~:0", {-1: True, 0: True, 1: False}),
        ("0.5", {0.4: False, 0.6: True}),
    ],
)
def test_nagios_ranges(text: str, fires: dict[float, bool]) -> None:
    rule = rules.parse(text, FIELDS, "used_pct")
    assert {value: rules.holds(rule, {"used_pct": value}) for value in fires} == fires
    assert rules.holds(rule, {"used_pct": None}) is None


def test_ranges_only_where_there_is_a_main_field() -> None:
    with pytest.raises(rules.RuleError):
        rules.parse("85", FIELDS)
    with pytest.raises(rules.RuleError, match="empty range"):
        rules.parse("20:10", FIELDS, "used_pct")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("used_pct < 85", "used_pct is 91.25, not < 85"),
        ("used_pct > 85", "used_pct is 91.25 (> 85)"),
        ("json.nothing == 5", "json.nothing is unknown, should be 5"),
        ("status == 200 and used_pct < 85", "status is 204, should be 200 and used_pct is 91.25, not < 85"),
        ('state == "gone"', 'state is "running", should be "gone"'),
        ("json.ok == false", "json.ok is true, should be false"),
        ("json.ok == true", "json.ok is true"),
        ("json.nothing != null", "json.nothing is unknown"),
        ("status != 204", "status is 204, should not be 204"),
        ("status in 200,201", "status is 204, not in 200,201"),
        ("status !in 200-299", "status is 204, should not be in 200-299"),
        ("state ~ '^x'", "state is \"running\", should match '^x'"),
        ("state !~ run", 'state is "running", should not match run'),
    ],
)
def test_explain(text: str, said: str) -> None:
    assert rules.explain(rules.parse(text, FIELDS), VALUES) == said


def test_explain_shortens_bodies_and_hides_before_it_does() -> None:
    secret = "s3cr3t-" * 10
    fields = {"body": "x" * 70 + secret + "\n" * 1000}
    said = rules.explain(rules.parse("body ~ zzz", FIELDS), fields, lambda text: text.replace(secret, "***"))
    assert len(said) < 120
    assert "s3c" not in said
    assert "***" in said


def test_a_text_that_is_mostly_space_shows_where_it_was_cut() -> None:
    """The engine takes out halves of secrets only before a mark."""
    assert rules.shown(" " * 315 + "s3cr3t-and-more") == '"s3cr3…"'


def test_explain_gives_the_reason_of_an_unknown() -> None:
    said = rules.explain(rules.parse("json.ok == true", FIELDS), {"json": rules.Unknown("the body is empty")})
    assert said == "json.ok is unknown, should be true: the body is empty"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5", 5.0), ("130s", 130.0), ("26h", 93600.0), ("1h30m", 5400.0), ("1.5d", 129600.0), ("200ms", 0.2), ("h", None)],
)
def test_seconds(text: str, expected: float | None) -> None:
    assert rules.seconds(text) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5", 5), ("1MiB", 1 << 20), ("2g", 2 << 30), ("5MB", 5_000_000), ("1.5 KiB", 1536), ("12b", 12), ("x", None)],
)
def test_size(text: str, expected: int | None) -> None:
    assert rules.size(text) == expected


def test_random_documents_compare_as_python_does() -> None:
    """Seeded: any scalar found in a JSON document equals its own JSON text, and no other of the document's."""
    source = random.Random(20261121)  # noqa: S311 - seeded on purpose

    def scalar() -> Any:
        kinds = (
            None,
            True,
            False,
            source.randint(-99, 99),
            round(source.uniform(-9, 9), 3),
            f"t{source.randint(0, 9)}",
        )
        return source.choice(kinds)

    for _round in range(300):
        document = {f"k{number}": scalar() for number in range(6)}
        for name, value in document.items():
            literal = json.dumps(value)
            assert rules.holds(rules.parse(f"json.{name} == {literal}", FIELDS), {"json": document}) is True
            for other in document.values():
                same = type(other) is type(value) and other == value
                same = same or (isinstance(other, (int, float)) and type(value) in {int, float} and other == value)
                if isinstance(other, bool) or isinstance(value, bool):
                    same = other is value
                if value is not None and other is not None:
                    rule = rules.parse(f"json.{name} == {json.dumps(other)}", FIELDS)
                    assert rules.holds(rule, {"json": document}) is same, (value, other)


def test_random_texts_are_read_or_refused_with_one_error() -> None:
    source = random.Random(7)  # noqa: S311 - seeded on purpose
    pieces = [
        "status",
        "json.a",
        "==",
        "!=",
        "in",
        "~",
        "and",
        "or",
        '"',
        "'",
        "200",
        "200-299",
        ",",
        " ",
        "(",
        "\\",
        "é",
    ]
    read = 0
    for _round in range(3000):
        text = " ".join(source.choice(pieces) for _piece in range(source.randint(1, 8)))
        try:
            rule = rules.parse(text, FIELDS, "used_pct")
        except rules.RuleError as error:
            assert str(error)
            continue
        read += 1
        assert rules.holds(rule, VALUES) in {True, False, None}
        assert rules.explain(rule, VALUES)
    assert read > 20
