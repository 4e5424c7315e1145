# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab for all faults: a host that is provisioned and serves MasStock 1.0.0, and operators who make mistakes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lab import apps, engine, topology
from lab.console import Console
from lab.topology import Plan
from lab.wait import until
from tests.faults import clone
from tests.whole_host import state
from tests.whole_host.operations import Operator
from tests.whole_host.prober import Prober
from tests.whole_host.subject import Subject
from tests.whole_host.world import World

LAB = "faults"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The lab, with one bare host."""
    console = Console()
    engine.ensure(console)
    topology.down(LAB, console)
    lab = topology.open_lab(LAB, "auto")
    topology.up(lab, Plan(), console)
    apps.ensure(lab, apps.MASSTOCK, console)
    operator = Operator(clone.make(tmp_path_factory.mktemp("clone") / "quai"), lab)
    operator.play("playbooks/secrets.yml", "-e", "project=masstock")
    yield World(lab, operator, Subject(lab), console)
    topology.down(LAB, console)


@dataclass(frozen=True)
class Provisioned:
    """The host after it was provisioned, undisturbed, and how long that took."""

    state: dict[str, Any]
    seconds: float


@pytest.fixture(scope="session")
def provisioned(world: World) -> Provisioned:
    """The host is provisioned."""
    run = world.operator.provision()
    return Provisioned(state.of(world.subject), run.seconds)


@pytest.fixture(scope="session")
def served(world: World, provisioned: Provisioned) -> World:
    """MasStock 1.0.0 is released."""
    assert provisioned.state["pending"] == []
    world.operator.deploy("1.0.0")
    return world


@pytest.fixture
def operator(served: World, tmp_path: Path) -> Operator:
    """An operator with a clone of their own, to make mistakes in."""
    # Links stay links; the secrets lie in the tree.
    return replace(served.operator, tree=shutil.copytree(served.operator.tree, tmp_path / "quai", symlinks=True))


@pytest.fixture
def visitors(served: World) -> Iterator[Prober]:
    """People who use all four sites during the whole test, from before the fault until after it."""
    until("the sites to be healthy before the fault", lambda: not served.subject.unhealthy(), seconds=60)
    with Prober(served.subject) as prober:
        until("the first visitors", lambda: len(prober.asked) == 4 and all(prober.asked.values()), seconds=15)
        yield prober


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures that tests measured."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "figures":
                terminalreporter.write_line(f"  {value}")
