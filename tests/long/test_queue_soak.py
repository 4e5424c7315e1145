# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each version at once with our clean-ups and retries for longer: 30,000 jobs, 50 at a time."""

from __future__ import annotations

import pytest

from tests.queues.conftest import packages, redis, redis_server
from tests.queues.live.agent import living
from tests.queues.live.forked import Forks
from tests.queues.live.soak import soak
from tests.queues.place import Database, Place
from tests.queues.test_live import VERSIONS

__all__ = ["packages", "redis", "redis_server"]

JOBS = 30_000


@pytest.mark.parametrize("package", VERSIONS)
def test_soak(packages: Place, redis: Database, package: str) -> None:
    """No job is lost or runs twice because of us, and nothing is left."""
    with Forks() as forks, living(packages, redis, package, "orders") as live:
        removed = soak(live, forks, jobs=JOBS, concurrency=50, seconds=600)
    assert removed["completed"] > JOBS / 2
