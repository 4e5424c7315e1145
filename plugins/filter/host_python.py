# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code of this collection that a host runs by itself, from timers and hooks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

LIBRARY = "/usr/local/lib/quai"
PACKAGE = "ansible_collections/quai/ops/plugins/module_utils"


def host_python(module: str, below: str = "") -> dict[str, str]:
    """Entry for C(quai.ops.file_set): a file of module_utils below its own full name, so that its imports work as here.

    The host runs it with PYTHONPATH=/usr/local/lib/quai; directories without __init__.py are packages too. C(below) is
    a directory of its own there, for a program that comes and goes without the others.
    """
    source = Path(__file__).resolve().parents[1] / "module_utils" / f"{module}.py"
    return {
        "path": "/".join(part for part in (LIBRARY, below, PACKAGE, f"{module}.py") if part),
        "content": source.read_text(encoding="utf-8"),
        "mode": "0644",
    }


class FilterModule:
    """Filters for Ansible."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names and functions."""
        return {"host_python": host_python}
