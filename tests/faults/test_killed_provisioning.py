# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The provisioning of a bare host that is killed again and again until it is through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab import topology
from lab.topology import DEFAULT_ZONES, Plan
from lab.zones import Zone
from tests.faults.killing import finished, idle, killed
from tests.whole_host import state
from tests.whole_host.operations import Operator
from tests.whole_host.prober import Prober
from tests.whole_host.subject import Subject
from tests.whole_host.world import World

pytestmark = pytest.mark.lab

KILLS = 10
PLAYBOOK = "playbooks/provision.yml"


@pytest.fixture
def bare(served: World, operator: Operator) -> Iterator[tuple[Operator, Subject]]:
    """A second, bare host to which MasStock's names lead for a while, and an operator whose inventory says so."""
    lab = served.lab
    names = next(iter(DEFAULT_ZONES.values())).names
    topology.up(lab, Plan(hosts={"vps2": "debian13"}, zones={"masstock.fr": Zone("vps2", names)}), served.console)
    subject = Subject(lab, "vps2")
    hosts = operator.tree / "inventories/lab/hosts.yml"
    text = hosts.read_text("utf-8").replace("vps1:", "vps2:")
    head, _, _ = text.partition("      ansible_host:")
    hosts.write_text(f"{head}      ansible_host: {subject.address}\n", "utf-8")
    yield replace(operator), subject
    topology.remove_host(lab, "vps2")
    topology.up(lab, Plan(), served.console)


def test_killed_ten_times_on_the_way(
    bare: tuple[Operator, Subject], provisioned: dict[str, object], visitors: Prober
) -> None:
    """Each run gets a little further than the one before; the last one is left alone, and the end is that of the first host."""
    operator, subject = bare
    for kill in range(KILLS):
        # Long enough to come past what is done already, so that the moments are spread over the whole of the work.
        seconds = 2.5 + 0.45 * kill
        assert killed(operator, subject, seconds, PLAYBOOK, also_host=kill % 2 == 1), f"kill {kill} came too late"
    idle(subject)
    finished(operator, PLAYBOOK)
    assert state.differences(provisioned, state.of(subject)) == []
    assert operator.provision().changed == 0
    visitors.nothing_failed()
