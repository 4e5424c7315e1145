# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host for all probes.

While working on one of them: QUAI_PROBES_LAB=NAME for a host of one's own, QUAI_PROBES_KEEP=1 to keep it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab import engine, topology
from lab.console import Console
from tests.probes import target as targets
from tests.probes.target import Target

LAB = os.environ.get("QUAI_PROBES_LAB", "probes")
KEEP = bool(os.environ.get("QUAI_PROBES_KEEP"))


@pytest.fixture(scope="session")
def target() -> Iterator[Target]:
    """The host, with the engine on it."""
    console = Console()
    engine.ensure(console)
    if not KEEP:
        topology.down(LAB, console)
    yield targets.up(LAB, console)
    if not KEEP:
        topology.down(LAB, console)
