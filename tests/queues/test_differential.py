# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random queues: what the real packages do and what we do leave the same database. See harness.py to run one again."""

from __future__ import annotations

import pytest

from tests.queues.harness import TRIALS, World, case_for, failure
from tests.queues.place import Database, Place

MATRIX = ("bull3", "bull4", "bullmq1", "bullmq3", "bullmq4", "bullmq568", "bullmq5", "bullmq6")
# Seeds of each package. tests/long has as many more as its time allows.
CASES = {"clean": 24, "fast": 14, "retry": 10, "state": 6, "rank": 6, "types": 5, "policy": 24, "policy-fast": 10}
REAL = {"clean": 6, "fast": 3, "retry": 3, "policy": 3}


@pytest.fixture(scope="module")
def world(packages: Place, redis_server: Database) -> World:
    """The databases."""
    return World(packages, redis_server)


@pytest.mark.parametrize("package", MATRIX)
@pytest.mark.parametrize("trial", sorted(TRIALS))
def test_written_directly(world: World, trial: str, package: str) -> None:
    world.warm(package)
    for seed in range(CASES[trial]):
        assert not (found := failure(world, trial, case_for(trial, seed, package))), found


@pytest.mark.parametrize("package", MATRIX)
@pytest.mark.parametrize("trial", sorted(REAL))
def test_written_by_the_package(world: World, trial: str, package: str) -> None:
    world.warm(package)
    for seed in range(1000, 1000 + REAL[trial]):
        assert not (found := failure(world, trial, case_for(trial, seed, package), real=True)), found
