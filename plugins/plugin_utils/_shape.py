# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold data against its description: find every mistake of form, fill in every default.

What is wrong is reported and left out of the result, so that later checks meet only well-formed data.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ansible_collections.quai.ops.plugins.plugin_utils._fields import FORMATS, MISSING, PLACEHOLDER, Field
from ansible_collections.quai.ops.plugins.plugin_utils._problems import NOT_SHOWN, Path, suggestion

Complain = Callable[..., None]  # (path, message, value=NOT_SHOWN)


class Reference(NamedTuple):
    """A place that names something of another section."""

    path: Path
    name: str
    section: str


class Shape:
    """One pass over one declaration."""

    def __init__(self, complain: Complain) -> None:
        self.complain = complain
        self.references: list[Reference] = []

    def apply(self, field: Field, raw: Any, path: Path = ()) -> Any:
        """Return the value with defaults, or MISSING when it has the wrong form."""
        if raw is None and field.nullable:
            return None
        handler = getattr(self, f"_{field.kind}")
        return handler(field, raw, path)

    def _wrong(self, field: Field, raw: Any, path: Path) -> Any:
        self.complain(path, f"must be {field.words}", raw)
        return MISSING

    def _object(self, field: Field, raw: Any, path: Path) -> Any:
        if not isinstance(raw, dict):
            return self._wrong(field, raw, path)
        for key in raw:
            if key not in field.fields:
                fitting = [name for name in field.fields if _fits(field, name, raw)]
                near = suggestion(key, fitting)
                known = "" if near else f"; known here: {', '.join(fitting)}"
                self.complain((*path, key), f"is unknown{near}{known}")
        self._alternatives(field, raw, path)
        return {name: self._member(field, name, raw, path) for name in field.fields}

    def _member(self, parent: Field, name: str, raw: dict[Any, Any], path: Path) -> Any:
        field = parent.fields[name]
        here = (*path, name)
        fits = _fits(parent, name, raw)
        if field.when and not fits and name in raw:
            sibling, values = field.when
            actual = raw.get(sibling, parent.fields[sibling].default)
            if actual in parent.fields[sibling].choices:
                self.complain(here, f"is only for {sibling}: {' or '.join(values)}; {sibling} is {actual}")
        if name in raw:
            value = self.apply(field, raw[name], here)
            return None if value is MISSING else value
        if field.required and fits:
            self.complain(here, f"is missing, must be {field.words}")
        if field.default is MISSING:
            return None
        return self.apply(field, copy.deepcopy(field.default), here) if fits else None

    def _alternatives(self, field: Field, raw: dict[Any, Any], path: Path) -> None:
        def given(names: tuple[str, ...]) -> list[str]:
            return [name for name in names if name in raw]

        for names in field.exactly_one:
            self._count(path, given(names), f"exactly one of {', '.join(names)}", 1, 1)
        for names in field.at_most_one:
            self._count(path, given(names), f"at most one of {', '.join(names)}", 0, 1)
        for names in field.at_least_one:
            self._count(path, given(names), f"at least one of {', '.join(names)}", 1, len(names))

    def _count(self, path: Path, given: list[str], words: str, low: int, high: int) -> None:
        if not low <= len(given) <= high:
            self.complain(path, f"has {' and '.join(given) or 'none'}, must have {words}")

    def _mapping(self, field: Field, raw: Any, path: Path) -> Any:
        if not isinstance(raw, dict):
            return self._wrong(field, raw, path)
        if len(raw) < field.min_items:
            self.complain(path, "has no entry, must have at least one")
        if not (field.keys and field.item):
            raise AssertionError("a mapping is described by its keys and its item")
        result = {}
        for key, value in raw.items():
            here = (*path, key)
            if self._text_or_choice(field.keys, key, here) is MISSING:
                continue
            shaped = self.apply(field.item, value, here)
            if shaped is not MISSING:
                result[key] = shaped
        return result

    def _text_or_choice(self, field: Field, key: Any, path: Path) -> Any:
        complaint = ""
        if field.kind == "choice":
            complaint = "" if key in field.choices else f"must be {field.words}{suggestion(key, field.choices)}"
        else:
            complaint = FORMATS[field.format].complaint(str(key))
        if complaint:
            self.complain(path, f"has a wrong name: {complaint}")
            return MISSING
        self._note(field, str(key), path)
        return key

    def _list(self, field: Field, raw: Any, path: Path) -> Any:
        if not isinstance(raw, list):
            return self._wrong(field, raw, path)
        if len(raw) < field.min_items:
            self.complain(path, "has no item, must have at least one")
        if not field.item:
            raise AssertionError("a list is described by its item")
        shaped = [self.apply(field.item, value, (*path, position)) for position, value in enumerate(raw)]
        return [value for value in shaped if value is not MISSING]

    def _text(self, field: Field, raw: Any, path: Path) -> Any:
        if not isinstance(raw, str) or not raw:
            if isinstance(raw, (int, float)) and not isinstance(raw, bool):
                self.complain(path, f"must be {field.words}; put it in quotes", raw)
                return MISSING
            return self._wrong(field, raw, path)
        complaint = FORMATS[field.format].complaint(raw)
        if complaint:
            self.complain(path, complaint, raw)
            return MISSING
        self._note(field, raw, path)
        return raw

    def _scalar(self, field: Field, raw: Any, path: Path) -> Any:
        if not isinstance(raw, (str, int, float)):
            return self._wrong(field, raw, path)
        self._note(field, raw if isinstance(raw, str) else "", path)
        return raw

    def _note(self, field: Field, text: str, path: Path) -> None:
        if field.refers_to:
            self.references.append(Reference(path, text, field.refers_to))
        if field.takes_secrets:
            self.references += [Reference(path, name, "secrets") for name in PLACEHOLDER.findall(text)]

    def _integer(self, field: Field, raw: Any, path: Path) -> Any:
        if isinstance(raw, bool) or not isinstance(raw, int) or not _inside(field, raw):
            return self._wrong(field, raw, path)
        return raw

    def _number(self, field: Field, raw: Any, path: Path) -> Any:
        if isinstance(raw, bool) or not isinstance(raw, (int, float)) or not _inside(field, raw):
            return self._wrong(field, raw, path)
        return raw

    def _boolean(self, field: Field, raw: Any, path: Path) -> Any:
        return raw if isinstance(raw, bool) else self._wrong(field, raw, path)

    def _choice(self, field: Field, raw: Any, path: Path) -> Any:
        if raw in field.choices:
            return raw
        self.complain(path, f"must be {field.words}{suggestion(raw, field.choices)}", raw)
        return MISSING

    def _any(self, field: Field, raw: Any, path: Path) -> Any:
        return raw if isinstance(raw, dict) else self._wrong(field, raw, path)


def _fits(parent: Field, name: str, raw: dict[Any, Any]) -> bool:
    """Tell whether a field makes sense beside the value that its sibling has."""
    condition = parent.fields[name].when
    if not condition:
        return True
    sibling, values = condition
    return raw.get(sibling, parent.fields[sibling].default) in values


def _inside(field: Field, value: float) -> bool:
    return (field.minimum is None or value >= field.minimum) and (field.maximum is None or value <= field.maximum)


def walk(field: Field, path: Path = ()) -> Iterator[tuple[Path, Field]]:
    """Yield every field of a description with where it stands; * for a name, [] for an item."""
    yield path, field
    for name, member in field.fields.items():
        yield from walk(member, (*path, name))
    if field.kind == "mapping" and field.item:
        yield from walk(field.item, (*path, "*"))
    if field.kind == "list" and field.item:
        yield from walk(field.item, (*path, "[]"))


__all__ = ["NOT_SHOWN", "Reference", "Shape", "walk"]
