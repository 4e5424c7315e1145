# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conditions of probes: C(FIELD OP VALUE [and|or FIELD OP VALUE …]).

OP is one of C(== != < <= > >= in !in ~ !~); C(and) binds tighter than C(or); there are no brackets.
VALUE is a word, or a text in single or double quotes. A word is a number, true, false, null, or itself; it also
equals the text that is written like it (C(header.x-count == 3)), while a quoted value is never a number. For fields
that end in C(_s) it may be a duration (26h, 1h30m), for those that end in C(bytes) a size (1MiB).
C(in) takes words separated by commas, and ranges of numbers (C(200-299,304)). C(~) searches a regular expression.

A field may go on with names joined by dots (C(json.data.0.id)). A name that has dots in itself is found as well
(C(cookie.connect.sid)), and may be put in double quotes (C(json."a b".c)). C(length) is the length of a list.

A field that is null is unknown: nothing holds for it but C(== null).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

_FIELD: Final = re.compile(r'\s*([A-Za-z_]\w*(?:\.(?:"[^"]*"|[^\s"\'=!<>~]+))*)')
_OPERATOR: Final = re.compile(r"\s*(==|!=|<=|>=|<|>|!~|~)\s*|\s+(!?in)\s+")
_VALUE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|([^\s"\']\S*)', re.DOTALL)
_ITEM: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|([^\s"\',][^\s,]*)', re.DOTALL)
_JOIN: Final = re.compile(r"\s+(and|or)(?=\s)")
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
# These are compiled where they are used: to compile all of them is a good part of what a short run costs.
_INTERVAL: Final = r"(-?\d+(?:\.\d+)?)-(-?\d+(?:\.\d+)?)"
_NAGIOS: Final = r"(@?)(?:(~|-?\d+(?:\.\d+)?)?:)?(-?\d+(?:\.\d+)?)?"
_DURATION: Final = r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)"
_SIZE: Final = r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?b)?|b)?"
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_ORDER: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
_WORDS: Final[dict[str, bool | None]] = {"null": None, "true": True, "false": False}
_SHOWN: Final = 80
_NOTHING: Final = object()


class RuleError(ValueError):
    """A condition that cannot be understood; the message says what, which value, and what would be right."""


class Unknown(NamedTuple):
    """Value of a field that is unknown for a reason people should read; it counts as null."""

    why: str


class Literal(NamedTuple):
    """A value of a condition: as written, as a value, and as the interval it may be in a list."""

    raw: str
    value: Any
    quoted: bool
    interval: tuple[float, float] | None = None


class Condition(NamedTuple):
    """One comparison. C(path) is the field in its parts, C(pattern) the regular expression of C(~) and C(!~)."""

    field: str
    path: tuple[str, ...]
    op: str
    values: tuple[Literal, ...]
    shown: str
    pattern: re.Pattern[str] | None = None


class Rule(NamedTuple):
    """One of C(alternatives) must hold, which it does when all of its conditions do.

    C(names) are those of its fields, without what follows the first dot.
    """

    text: str
    alternatives: tuple[tuple[Condition, ...], ...]
    names: frozenset[str]


def seconds(text: str) -> float | None:
    """Read a duration ("26h", "1h30m", "5") in seconds; None when it is none."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    if not re.fullmatch(rf"(?:{_DURATION})+", text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_DURATION, text))


def size(text: str) -> int | None:
    """Read a size ("1MiB", "2g" = 2 GiB, "5MB" = 5,000,000) in bytes; None when it is none."""
    match = re.fullmatch(_SIZE, text.strip(), re.IGNORECASE)
    if match is None:
        return None
    number, letter, rest = match.groups()
    power: int = " kmgt".index(letter.lower()) if letter else 0
    found = float(number) * (1000 if rest and rest.lower() == "b" else 1024) ** power
    return int(found) if found < math.inf else None


def close_to(name: str, names: Any) -> str:
    """Return '; did you mean "x"?' when one of C(names) is like C(name), else an empty text."""
    from difflib import get_close_matches

    found = get_close_matches(name, [str(one) for one in names], n=1)
    return f'; did you mean "{found[0]}"?' if found else ""


def parse(text: str, fields: Mapping[str, str], main: str = "") -> Rule:
    """Read a condition on C(fields) (name to meaning; a trailing ".*" takes any rest). Raises RuleError.

    With C(main), the field that is the probe's value, a Nagios range on it is understood too: "85", "10:", "~:10",
    "10:20" are bad outside, "@10:20" inside, bounds included in the range.
    """
    if not isinstance(text, str) or not text.strip():
        raise RuleError(f'{text!r} is no condition; write FIELD OP VALUE, as "status == 200"')
    if main:
        alternatives = _nagios(text.strip(), main)
        if alternatives is not None:
            return _rule(text, alternatives)
    groups: list[tuple[Condition, ...]] = []
    group: list[Condition] = []
    at = 0
    while True:
        condition, at = _condition(text, at, fields)
        group.append(condition)
        if not text[at:].strip():
            groups.append(tuple(group))
            return _rule(text, tuple(groups))
        join = _JOIN.match(text, at)
        if join is None:
            raise RuleError(
                f'"{text}": "{text[at:].strip()}" follows the value; join conditions with "and" or "or", '
                "and put a value that has spaces in quotes"
            )
        at = join.end()
        if join.group(1) == "or":
            groups.append(tuple(group))
            group = []


def _rule(text: str, alternatives: tuple[tuple[Condition, ...], ...]) -> Rule:
    names = frozenset(condition.path[0] for every in alternatives for condition in every)
    return Rule(text.strip(), alternatives, names)


def _condition(text: str, at: int, fields: Mapping[str, str]) -> tuple[Condition, int]:
    match = _FIELD.match(text, at)
    if match is None:
        raise RuleError(f'"{text}": a condition begins with a field, not with "{text[at:].strip()[:20]}"')
    field = match.group(1)
    path = _path(field)
    if field not in fields and not (len(path) > 1 and f"{path[0]}.*" in fields):
        known = ", ".join(sorted(fields))
        raise RuleError(f'"{text}": there is no field "{field}"{close_to(field, fields)}; fields are {known}')
    operator = _OPERATOR.match(text, match.end())
    if operator is None:
        rest = text[match.end() :].strip()[:20]
        raise RuleError(f'"{text}": after "{field}" comes one of == != < <= > >= in !in ~ !~, not "{rest}"')
    op = operator.group(1) or operator.group(2)
    values, end = _values(text, operator.end(), op, path[0])
    shown = text[operator.end() : end].strip()
    pattern = None
    if op in {"~", "!~"}:
        try:
            pattern = re.compile(values[0].raw)
        except re.error as error:
            raise RuleError(f'"{text}": "{values[0].raw}" is no regular expression: {error}') from None
    elif op in _ORDER and (isinstance(values[0].value, (str, bool)) or values[0].value is None):
        raise RuleError(f'"{text}": {op} compares numbers, "{values[0].raw}" is none')
    return Condition(field, path, op, values, f"{op} {shown}", pattern), end


def _path(field: str) -> tuple[str, ...]:
    if '"' not in field:
        return tuple(field.split("."))
    return tuple(quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|([^."]+)', field))


def _values(text: str, at: int, op: str, field: str) -> tuple[tuple[Literal, ...], int]:
    listed = op in {"in", "!in"}
    found = []
    while True:
        match = (_ITEM if listed else _VALUE).match(text, at)
        if match is None:
            raise RuleError(f'"{text}": a value is missing after "{text[:at].strip()}"; write "" for an empty one')
        found.append(_literal(match, op, field))
        at = match.end()
        rest = text[at:].lstrip()
        if not listed or not rest.startswith(","):
            return tuple(found), at
        at = len(text) - len(rest[1:].lstrip())


def _literal(match: re.Match[str], op: str, field: str) -> Literal:
    double, single, bare = match.groups()
    if bare is None:
        quoted = single if double is None else double
        # The escapes of a regular expression are its own.
        if double is not None and op not in {"~", "!~"}:
            quoted = re.sub(r'\\(["\\])', r"\1", quoted)
        return Literal(quoted, quoted, True)
    if bare in _WORDS:
        return Literal(bare, _WORDS[bare], False)
    if _NUMBER.fullmatch(bare):
        return Literal(bare, _number(bare), False)
    interval = re.fullmatch(_INTERVAL, bare) if op in {"in", "!in"} else None
    if interval is not None:
        low, high = float(interval.group(1)), float(interval.group(2))
        if low > high:
            raise RuleError(f'"{bare}" is an empty range; write the smaller number first')
        return Literal(bare, bare, False, (low, high))
    measured: float | None = None
    if field.endswith("_s"):
        measured = seconds(bare)
    elif field.endswith("bytes"):
        measured = size(bare)
    return Literal(bare, bare if measured is None else measured, False)


def _number(text: str) -> float | int:
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def _nagios(text: str, main: str) -> tuple[tuple[Condition, ...], ...] | None:
    if text[0].isalpha():
        return None
    match = re.fullmatch(_NAGIOS, text)
    if match is None or not any(character.isdigit() for character in text):
        return None
    inside, low_text, high_text = match.groups()
    low = None if low_text == "~" else _number(low_text or "0")
    high = None if high_text is None else _number(high_text)
    if low is not None and high is not None and low > high:
        raise RuleError(f'"{text}" is an empty range; write the smaller number first')

    def compare(op: str, limit: float) -> Condition:
        return Condition(main, tuple(main.split(".")), op, (Literal(f"{limit:g}", limit, False),), f"{op} {limit:g}")

    if inside:
        return (tuple(compare(op, limit) for op, limit in ((">=", low), ("<=", high)) if limit is not None),)
    return tuple((compare(op, limit),) for op, limit in (("<", low), (">", high)) if limit is not None)


def value_of(condition: Condition, fields: Mapping[str, Any]) -> Any:
    """Value of a condition's field in C(fields); None or an Unknown when it is not known.

    A field may be a mapping or list in which the rest of the name is looked up, or a function that is given the rest.
    """
    value: Any = fields.get(condition.field, _NOTHING)
    path = condition.path
    if value is _NOTHING:
        value = fields.get(path[0])
        if len(path) > 1 and not isinstance(value, Unknown):
            value = value(".".join(path[1:])) if callable(value) else walk(value, path[1:])
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def walk(value: Any, names: tuple[str, ...]) -> Any:
    """Look C(names) up in mappings and lists; None when they are not there."""
    found = _walk(value, names)
    return None if found is _NOTHING else found


def _walk(value: Any, names: tuple[str, ...]) -> Any:
    if not names:
        return value
    if isinstance(value, Mapping):
        for end in range(1, len(names) + 1):  # a name may have dots in itself
            key = ".".join(names[:end])
            if key in value:
                found = _walk(value[key], names[end:])
                if found is not _NOTHING:
                    return found
    elif isinstance(value, (list, tuple)):
        if names == ("length",):
            return len(value)
        if names[0].lstrip("-").isdigit() and -len(value) <= int(names[0]) < len(value):
            return _walk(value[int(names[0])], names[1:])
    return _NOTHING


def holds(rule: Rule, fields: Mapping[str, Any]) -> bool | None:
    """Whether the rule holds; None when that hangs on a field that is unknown."""
    unknown = False
    for every in rule.alternatives:
        answer: bool | None = True
        for condition in every:
            one = _test(condition, fields)
            if one is False:
                answer = False
                break
            if one is None:
                answer = None
        if answer:
            return True
        unknown = unknown or answer is None
    return None if unknown else False


def _test(condition: Condition, fields: Mapping[str, Any]) -> bool | None:
    value = value_of(condition, fields)
    op = condition.op
    if value is None or isinstance(value, Unknown):
        if any(literal.value is None for literal in condition.values):
            return op in {"==", "in"}
        return None
    if op in {"==", "in"}:
        return any(_equal(value, literal) for literal in condition.values)
    if op in {"!=", "!in"}:
        return not any(_equal(value, literal) for literal in condition.values)
    if condition.pattern is not None:
        return (condition.pattern.search(_text(value)) is not None) == (op == "~")
    number = _as_number(value)
    return number is not None and _ORDER[op](number, condition.values[0].value)


def _equal(value: Any, literal: Literal) -> bool:
    if isinstance(value, str):
        return value == literal.raw
    if literal.quoted:
        return False
    if isinstance(value, bool):
        return literal.value is value
    if isinstance(value, (int, float)):
        if literal.interval is not None:
            return literal.interval[0] <= value <= literal.interval[1]
        return not isinstance(literal.value, (str, bool)) and literal.value is not None and value == literal.value
    return _text(value) == literal.raw


def _as_number(value: Any) -> float | int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    return None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def shown(value: Any, hide: Callable[[str], str] | None = None) -> str:
    """Show a value to people: short, on one line, numbers with at most two decimals.

    C(hide) takes secrets out of texts; it comes before the shortening, which could cut one in two.
    """
    if value is None or isinstance(value, Unknown):
        return "unknown"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1e6 else f"{round(value, 2):g}"
    text = _text(value) if hide is None else hide(_text(value))
    if isinstance(value, str):
        text = text if len(text) <= 4 * _SHOWN else text[: 4 * _SHOWN] + "…"
        text = '"' + " ".join(text.split()) + '"'
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


_WANTED: Final = {
    "==": "should be",
    "!=": "should not be",
    "!in": "should not be in",
    "~": "should match",
    "!~": "should not match",
}


def _wanted(condition: Condition) -> str:
    """What a condition that does not hold asks for, as a sentence goes on after the value."""
    words = _WANTED.get(condition.op)
    if words is None:
        return f", not {condition.shown}"
    if condition.op == "!=" and condition.values[0].value is None:
        return ""  # "is unknown" says it all
    return f", {words} {condition.shown[len(condition.op) :].strip()}"


def explain(rule: Rule, fields: Mapping[str, Any], hide: Callable[[str], str] | None = None) -> str:
    """Say why the rule holds ("used_pct is 91.2 (> 85)") or does not ("used_pct is 91.2, not < 85"), for messages."""
    answer = holds(rule, fields)
    said = []
    for every in rule.alternatives:
        tests = [(condition, _test(condition, fields)) for condition in every]
        if answer and not all(test for _condition, test in tests):
            continue
        for condition, test in tests:
            if answer:
                limit = "" if condition.op == "==" else f" ({condition.shown})"
                said.append(f"{condition.field} is {shown(value_of(condition, fields), hide)}{limit}")
            elif not test:
                value = value_of(condition, fields)
                why = f": {value.why}" if isinstance(value, Unknown) else ""
                said.append(f"{condition.field} is {shown(value, hide)}{_wanted(condition)}{why}")
        if answer:
            break
    return " and ".join(dict.fromkeys(said))


def first_decisive(rule: Rule, fields: Mapping[str, Any]) -> Condition:
    """The condition that names why the rule holds or does not: the first that holds, or the first that does not."""
    answer = holds(rule, fields)
    for every in rule.alternatives:
        tests = [_test(condition, fields) for condition in every]
        if answer:
            if all(tests):
                return every[0]
        else:
            for condition, test in zip(every, tests):
                if not test:
                    return condition
    return rule.alternatives[0][0]


__all__ = [
    "Condition",
    "Literal",
    "Rule",
    "RuleError",
    "Unknown",
    "close_to",
    "explain",
    "first_decisive",
    "holds",
    "parse",
    "seconds",
    "shown",
    "size",
    "value_of",
    "walk",
]
