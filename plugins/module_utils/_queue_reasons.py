# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why jobs failed, so that equal reasons are equal: ids, numbers, times, paths and addresses give way to a word.

Pure. What is left is meant to be shown, so secrets go as well; what looks like private data (mail addresses, quoted
text) goes with the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._redact import Redactor

# A reason is the message of an error; what is longer holds a whole answer or a dump.
LONGEST: Final = 2000
SHOWN: Final = 200
NONE: Final = "(no reason was kept)"

# In this order: what is replaced first cannot be part of what follows.
_WORDS: Final = (
    (re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s\"'<>()\[\]{},;]+", re.IGNORECASE), "<url>"),
    (re.compile(r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}"), "<mail>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"), "<time>"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?\b"), "<address>"),
    (re.compile(r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{1,4}(?![\w:])", re.IGNORECASE), "<address>"),
    (re.compile(r"(?<![\w<])(?:[A-Za-z]:\\|\\\\)[^\s\"'<>|]+"), "<path>"),
    (re.compile(r"(?<![\w<./])(?:~|\.{1,2})?/[\w.@%+~-]+(?:/[\w.@%+~-]*)*(?::\d+){0,2}"), "<path>"),
    # A number with its unit.
    (re.compile(r"(?<![\w<])\d+(?:[.,]\d+)?(?=(?:ns|us|ms|s|m|min|h|d|[kKMGT]i?[bB]?|[bB]|px|%)(?![\w-]))"), "<n>"),
    # Words in quotes say which property or method it is about; anything else in quotes is data.
    (re.compile(r"(['\"`])(?!<\w+>\1)(?![A-Za-z_$][A-Za-z_$.]{0,40}\1)[^'\"`\n]{1,500}\1"), "<text>"),
    # Words with digits in them: ids of jobs, orders and objects, but not the names of errors (ERR_HTTP2_PROTOCOL).
    (re.compile(r"\b(?![A-Z][A-Z_]*\d{1,3}[A-Z_]*\b)(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{6,}\b"), "<id>"),
    (re.compile(r"(?<![\w<])[-+]?\d+(?:[.,]\d+)*"), "<n>"),
)
_BLANKS: Final = re.compile(r"\s+")


class Failure(NamedTuple):
    """A failed job, as far as it is needed to group it."""

    id: str
    name: str
    reason: str
    finished_ms: int | None


def normalised(reason: str, redactor: Redactor | None = None) -> str:
    """The reason of a failure without what differs from job to job."""
    first = reason.strip().split("\n", 1)[0][:LONGEST]
    # Without the quotes that JSON puts around a text.
    if len(first) > 1 and first[0] == first[-1] == '"':
        first = first[1:-1]
    if not first.strip():
        return NONE
    text = (redactor or Redactor()).text(first)
    for pattern, word in _WORDS:
        text = pattern.sub(word, text)
    text = _BLANKS.sub(" ", text).strip()
    return text if len(text) <= SHOWN else text[: SHOWN - 2] + " …"


def grouped(failures: Iterable[Failure], samples: int) -> list[dict[str, Any]]:
    """Failed jobs by reason, the most frequent first, with at most C(samples) ids of each, the newest first."""
    redactor = Redactor()
    groups: dict[str, list[Failure]] = {}
    for failure in failures:
        groups.setdefault(normalised(failure.reason, redactor), []).append(failure)
    found = []
    for reason, members in groups.items():
        times = [one.finished_ms for one in members if one.finished_ms is not None]
        newest = sorted(members, key=lambda one: one.finished_ms or 0, reverse=True)
        found.append(
            {
                "reason": reason,
                "count": len(members),
                "newest_ms": max(times, default=None),
                "oldest_ms": min(times, default=None),
                "names": sorted({one.name for one in members if one.name})[:5],
                "ids": [one.id for one in newest[:samples]],
            }
        )
    return sorted(found, key=lambda group: (-int(str(group["count"])), str(group["reason"])))


__all__ = ["Failure", "grouped", "normalised"]
