# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a declaration, said in one line each."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

Path = tuple[Any, ...]  # keys and list positions, from the top of the file

NOT_SHOWN: Final = object()  # the value is no part of the message
LONGEST_VALUE: Final = 60


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is, what stands there, what would be right."""

    file: str
    line: int
    path: Path
    message: str
    value: Any = NOT_SHOWN
    column: int = 0

    def __str__(self) -> str:
        where = ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])
        subject = dotted(self.path)
        if self.value is not NOT_SHOWN:
            return f"{where}: {subject} is {shown(self.value)}, {self.message}"
        return f"{where}: {subject} {self.message}" if subject else f"{where}: {self.message}"


class DeclarationError(Exception):
    """Declarations cannot be used; the text lists every problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems), key=lambda problem: (problem.file, problem.line, str(problem)))
        super().__init__(report(self.problems))


def dotted(path: Path) -> str:
    """Write a path as people do: services.api.ports[0]."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]+", str(part)):
            text += f".{part}" if text else str(part)
        else:
            text += f"[{json.dumps(str(part), ensure_ascii=False)}]"
    return text


def shown(value: Any) -> str:
    """Write a value on one line, shortened."""
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    written = json.dumps(value, ensure_ascii=False, default=str)
    return written if len(written) <= LONGEST_VALUE else f"{written[: LONGEST_VALUE - 4]}..." + '"'


def suggestion(word: Any, words: Iterable[str]) -> str:
    """Return ' (did you mean "x"?)' when a known word is near."""
    near = difflib.get_close_matches(str(word), list(words), n=1, cutoff=0.6)
    return f' (did you mean "{near[0]}"?)' if near else ""


def report(problems: list[Problem]) -> str:
    """Write the first line that counts, then one line per problem."""
    files = sorted({problem.file for problem in problems})
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return "\n".join([f"{', '.join(files)}: {count}, no host was touched.", *map(str, problems)])
