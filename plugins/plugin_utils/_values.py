# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the values of a declaration mean."""

from __future__ import annotations

import math
import re


def seconds(text: str) -> int:
    """Return a duration in whole seconds, rounded up."""
    number, unit = re.fullmatch(r"([0-9]+)(ms|s|m|h|d)", text).groups()  # type: ignore[union-attr]
    factor = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    return math.ceil(int(number) * factor)


def pinned(name: str) -> bool:
    """Tell whether an image says which version it is."""
    return ":" in name.rsplit("/", 1)[-1] or "@" in name


def size_bytes(text: str) -> int:
    """Return a size in bytes."""
    return int(text[:-1]) * {"k": 1024, "m": 1024**2, "g": 1024**3}[text[-1]]
