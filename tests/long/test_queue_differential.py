# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The differential tests of the queues with seeds of their own, more than 4,000 cases, and every guard switched off."""

from __future__ import annotations

import pytest

from tests.queues import mutants
from tests.queues.conftest import packages, redis_server
from tests.queues.harness import TRIALS, World, case_for, failure
from tests.queues.place import Database, Place
from tests.queues.test_differential import MATRIX, REAL

__all__ = ["packages", "redis_server"]

FIRST = 10_000
CASES = {"clean": 150, "fast": 100, "policy": 150, "policy-fast": 60, "retry": 60, "rank": 20, "state": 30, "types": 40}
REAL_CASES = 30


@pytest.fixture(scope="module")
def world(packages: Place, redis_server: Database) -> World:
    """The databases."""
    return World(packages, redis_server)


@pytest.mark.parametrize("package", MATRIX)
@pytest.mark.parametrize("trial", sorted(TRIALS))
def test_written_directly(world: World, trial: str, package: str) -> None:
    world.warm(package)
    for seed in range(FIRST, FIRST + CASES[trial]):
        assert not (found := failure(world, trial, case_for(trial, seed, package))), found


@pytest.mark.parametrize("package", MATRIX)
@pytest.mark.parametrize("trial", sorted(REAL))
def test_written_by_the_package(world: World, trial: str, package: str) -> None:
    world.warm(package)
    for seed in range(FIRST, FIRST + REAL_CASES):
        assert not (found := failure(world, trial, case_for(trial, seed, package), real=True)), found


@pytest.mark.parametrize("module", sorted(mutants.MODULES))
def test_every_guard_is_noticed(world: World, module: str) -> None:
    """Switch each off: some case or named test must fail then, and none before.

    _queue_repair has no random trial, so there are its named tests alone. The scripts of _queue_clean are those of
    _queue_lua; of its own there is what it refuses.
    """
    if mutants.MODULES[module]:
        for package in MATRIX:
            world.warm(package)
    try:
        assert not mutants.differing(world, module), "cases differ without a mutant"
        assert not mutants.fail_anyway(module), "named tests fail without a mutant"
        guards = mutants.mutants(module)
        assert guards, "no guard is known"
        alive = [mutant.name for mutant in guards if not mutants.noticed(world, mutant)]
    finally:
        mutants.put_away()
    assert not alive, "nothing notices that these are switched off:\n" + "\n".join(alive)
