# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host on which the release engine runs with the host's own Python, nginx and systemd.

While working on it: QUAI_RELEASES_LAB=NAME for a host of one's own, QUAI_RELEASES_KEEP=1 to keep it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab import engine, topology
from lab.console import Console
from tests.probes import target as targets
from tests.probes.target import Target
from tests.releases.host import Shop

LAB = os.environ.get("QUAI_RELEASES_LAB", "releases")
KEEP = bool(os.environ.get("QUAI_RELEASES_KEEP"))


@pytest.fixture(scope="session")
def target() -> Iterator[Target]:
    """The host, with nginx running."""
    console = Console()
    engine.ensure(console)
    if not KEEP:
        topology.down(LAB, console)
    yield targets.up(LAB, console)
    if not KEEP:
        topology.down(LAB, console)


@pytest.fixture
def shop(target: Target) -> Iterator[Shop]:
    """A project of which nothing was released yet, with a repository of five versions."""
    one = Shop(target)
    one.clear()
    one.prepare()
    yield one
    one.clear()
