# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a host as a document (see fingerprint.py), kept and compared.

python -m tests.whole_host.state FILE     keeps that of the lab's host
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.whole_host.subject import Subject

_SCRIPT = Path(__file__).with_name("fingerprint.py")


def of(subject: Subject) -> dict[str, Any]:
    """The state of a host now."""
    document: dict[str, Any] = json.loads(subject.python(_SCRIPT))
    return document


def differences(wanted: Any, found: Any, path: str = "") -> list[str]:
    """Where two documents differ, one line each. Pure."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [
            line
            for key in sorted({*wanted, *found})
            for line in differences(wanted.get(key, "nothing"), found.get(key, "nothing"), f"{path}/{key}")
        ]
    return [] if wanted == found else [f"{path}: {found!r} instead of {wanted!r}"]


def main() -> None:
    """Keep the state."""
    kept = Path(sys.argv[1])
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(of(Subject.from_environment())), "utf-8")


if __name__ == "__main__":
    main()
