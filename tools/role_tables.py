# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of a role's variables, made from its argument specs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

BEGIN = "<!-- variables: made by tools/generate.py from meta/argument_specs.yml -->"
END = "<!-- end of variables -->"
# Ansible's semantic markup: O(name), V(value), C(code), M(module), RV(value).
MARKUP = re.compile(r"\b(?:O|V|C|M|RV)\(([^()]*(?:\([^()]*\))?[^()]*)\)")


def plain(description: str | list[str]) -> str:
    """A description as Markdown in a table cell."""
    text = " ".join(description) if isinstance(description, list) else description
    return MARKUP.sub(r"`\1`", text).replace("|", "\\|").replace("\n", " ").strip()


def rows(options: Mapping[str, Mapping[str, Any]], prefix: str = "") -> Iterator[str]:
    """One row for each variable and each of its parts."""
    for name, option in options.items():
        kind = str(option.get("type", "str"))
        if kind == "list":
            kind = f"list of {option.get('elements', 'str')}"
        if option.get("choices"):
            kind += ": " + ", ".join(f"`{choice}`" for choice in option["choices"])
        default = "**required**" if option.get("required") else ""
        if "default" in option:
            value = option["default"]
            default = f"`{value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)}`"
        yield f"| `{prefix}{name}` | {kind} | {default} | {plain(option.get('description', ''))} |"
        if option.get("options"):
            inner = f"{prefix}{name}[]." if option.get("type") == "list" else f"{prefix}{name}."
            yield from rows(option["options"], inner)


def readme(role: Path) -> str:
    """The role's README with its table renewed; raises ValueError when the marks are missing."""
    path = role / "README.md"
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{path} has no place for its variables: add the lines {BEGIN} and {END}")
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    table = ["| variable | type | default | meaning |", "| --- | --- | --- | --- |"]
    table += rows(specs["argument_specs"]["main"]["options"])
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return "\n".join([f"{before}{BEGIN}", "", *table, "", f"{END}{after}"])
