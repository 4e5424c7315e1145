# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rendered files, once for all tests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Rendered = dict[str, str]
Render = Callable[[str, str], Rendered]


@pytest.fixture(scope="session")
def render() -> Render:
    """Files of a release and scenario, by path."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "render.py")], check=True, stdout=subprocess.PIPE, text=True
    )
    everything = json.loads(done.stdout)

    def pick(release: str, scenario: str) -> Rendered:
        return dict(everything[release][scenario])

    return pick
