# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a declaration: plain data, and the line that each part of it stands on."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Final

import yaml
from ansible_collections.quai.ops.plugins.plugin_utils._problems import DeclarationError, Path, Problem


@dataclass(frozen=True)
class Document:
    """A file's data with the lines it came from."""

    file: str
    data: Any
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """Return the line of the path, or of the nearest thing around it."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)


DEEPEST: Final = 50  # an alias that contains itself would never end


class _Loader(yaml.SafeLoader):
    """YAML as 1.2 and editors read it: only true and false are switches, dates and 1:30 are text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (yaml's own interface)


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", "n~"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?", "-+0123456789"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), [*_first])
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^$"), [""])


def load_text(content: str, file: str) -> Document:
    """Read one document; raise DeclarationError when it is not YAML that a declaration can be."""
    try:
        loader = _Loader(content)
        node = loader.get_single_node()
        if node is None:
            raise DeclarationError([Problem(file, 1, (), "is empty, a declaration starts with name: and title:")])
        construction = _Construction(loader, file)
        data = construction.of(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise DeclarationError([Problem(file, line, (), f"is not YAML: {reason}", column=column)]) from None
    except yaml.reader.ReaderError as error:
        character = f"U+{ord(error.character) if isinstance(error.character, str) else error.character:04X}"
        line = content.count("\n", 0, error.position) + 1
        raise DeclarationError([Problem(file, line, (), f"is not YAML: holds the character {character}")]) from None
    if construction.problems:
        raise DeclarationError(construction.problems)
    return Document(file, data, construction.lines)


def load_file(path: FilePath, shown_as: str) -> Document:
    """Read one file."""
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DeclarationError([Problem(shown_as, 0, (), f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise DeclarationError([Problem(shown_as, 0, (), f"is not UTF-8 text (byte {error.start + 1})")]) from None
    return load_text(content, shown_as)


class _Construction:
    """Turns YAML nodes into data and remembers where each stood."""

    def __init__(self, loader: _Loader, file: str) -> None:
        self.loader, self.file = loader, file
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self.merged: set[int] = set()  # nodes that hold merged pairs already: an alias brings a node here again

    def of(self, node: yaml.Node, path: Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if len(path) > DEEPEST:
            raise yaml.constructor.ConstructorError(None, None, "it is nested too deeply", node.start_mark)
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.of(item, (*path, position)) for position, item in enumerate(node.value)]
        if node.tag == "!vault":
            reason = "is a vaulted value; a declaration names its secrets, their values live in the inventory"
            self.problems.append(Problem(self.file, node.start_mark.line + 1, path, reason))
            return None
        return self.loader.construct_object(node, deep=True)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        if id(node) not in self.merged:
            self.merged.add(id(node))
            self._refuse_repetitions(node, path)
            # Merged pairs (<<) come first, so that the mapping's own win.
            self.loader.flatten_mapping(node)
        result: dict[str, Any] = {}
        for key, value in node.value:
            here = (*path, key.value)
            self.lines[here] = key.start_mark.line + 1
            result[key.value] = self.of(value, here)
        return result

    def _refuse_repetitions(self, node: yaml.MappingNode, path: Path) -> None:
        first: dict[str, int] = {}
        for key, _value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key.start_mark)
            if key.value in first:
                again = f"is there twice, first on line {first[key.value]}"
                self.problems.append(Problem(self.file, line, (*path, key.value), again))
            first.setdefault(key.value, line)
