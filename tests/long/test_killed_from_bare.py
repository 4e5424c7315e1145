# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The provisioning of a bare host, killed once at each of ten moments, each time on a new host (make test-long)."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Provisioned
from tests.faults.killing import bare_host, finished, idle, killed
from tests.whole_host import state
from tests.whole_host.operations import Operator
from tests.whole_host.prober import Prober
from tests.whole_host.world import World

pytestmark = [pytest.mark.lab, pytest.mark.slow]

MOMENTS = 10
PLAYBOOK = "playbooks/provision.yml"


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_killed_once(
    served: World, operator: Operator, provisioned: Provisioned, visitors: Prober, moment: int
) -> None:
    """The run after it ends as an undisturbed one does."""
    with bare_host(served, operator) as subject:
        after = provisioned.seconds * (moment + 0.5) / MOMENTS
        was_running = killed(operator, subject, after, PLAYBOOK, also_host=moment % 2 == 1)
        assert was_running or moment == MOMENTS - 1, f"it ended within {after:.1f} s, so nothing was killed"
        idle(subject)
        finished(operator, PLAYBOOK)
        assert state.differences(provisioned.state, state.of(subject)) == []
        assert operator.provision().changed == 0
    visitors.nothing_failed()
