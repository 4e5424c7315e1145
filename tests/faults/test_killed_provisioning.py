# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The provisioning of a bare host that is killed again and again until it is through."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Provisioned
from tests.faults.killing import bare_host, finished, idle, killed
from tests.whole_host import state
from tests.whole_host.operations import Operator
from tests.whole_host.prober import Prober
from tests.whole_host.world import World

pytestmark = pytest.mark.lab

KILLS = 10
PLAYBOOK = "playbooks/provision.yml"


def test_killed_ten_times_on_the_way(
    served: World, operator: Operator, provisioned: Provisioned, visitors: Prober
) -> None:
    """Each run gets a little further than the one before; the last one is left alone and ends as the first host did."""
    with bare_host(served, operator) as subject:
        for kill in range(KILLS):
            # Long enough to come past what is done already, so that the moments are spread over the whole of the work.
            seconds = 2.5 + 0.45 * kill
            assert killed(operator, subject, seconds, PLAYBOOK, also_host=kill % 2 == 1), f"kill {kill} came too late"
        idle(subject)
        finished(operator, PLAYBOOK)
        assert state.differences(provisioned.state, state.of(subject)) == []
        assert operator.provision().changed == 0
    visitors.nothing_failed()
