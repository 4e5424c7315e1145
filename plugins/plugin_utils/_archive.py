# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps an archive that a host handed over, on the controller."""

from __future__ import annotations

import os
from pathlib import Path


def keep(directory: Path, name: str, content: bytes) -> Path:
    """Write C(name).tar.gz, never there half, and never readable by others. Raises ValueError for the name, OSError."""
    if not name or "/" in name or "\0" in name or name.startswith("."):
        # It comes from the host, which may be in other hands by now.
        raise ValueError(f"the host calls its archive {name!r}, which is no name of a file")
    path = directory / f"{name}.tar.gz"
    beside = path.with_name(f".{path.name}.new")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.write(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path
