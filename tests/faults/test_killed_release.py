# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release that is killed, at ten moments, and two releases at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from lab.wait import until
from tests.faults.killing import finished, killed
from tests.whole_host import state
from tests.whole_host.operations import Operator
from tests.whole_host.prober import Prober
from tests.whole_host.world import World

pytestmark = pytest.mark.lab

MOMENTS = 10
FORMER = {"1.0.0": "1.1.0", "1.1.0": "1.0.0"}
# Redis and n8n have versions of their own, so a release of MasStock leaves them alone.
UNTOUCHED = "n8n"
REPLACED = ("api", "app", "vitrine")


def release(version: str) -> tuple[str, ...]:
    """The command."""
    return ("deploy.yml", "-e", "project=masstock", "-e", f"version={version}")


@dataclass(frozen=True)
class Undisturbed:
    """What releases look like that nobody disturbs."""

    states: dict[str, dict[str, Any]]
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(served: World) -> Undisturbed:
    """The state after each version, and how long a release takes."""
    states, seconds = {}, []
    for version in ("1.1.0", "1.0.0"):
        seconds.append(served.operator.play(*release(version)).seconds)
        states[version] = state.of(served.subject)
    assert state.differences(states["1.0.0"], states["1.1.0"]), "two versions that do not differ prove nothing"
    return Undisturbed(states, min(seconds))


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_killed_and_run_again(
    served: World,
    undisturbed: Undisturbed,
    visitors: Prober,
    moment: int,
    record_property: Callable[[str, object], None],
) -> None:
    """The same end as if nothing had happened. Sites that the release does not touch are up throughout."""
    version = "1.1.0" if moment % 2 == 0 else "1.0.0"
    after = undisturbed.seconds * (moment + 0.5) / MOMENTS
    # Odd moments lose the host's half of the run as well.
    also_host = moment % 4 >= 2
    was_running = killed(served.operator, served.subject, after, *release(version), also_host=also_host)
    assert was_running or moment == MOMENTS - 1, f"the release ended within {after:.1f} s, so nothing was killed"
    finished(served.operator, *release(version))
    until("all to be healthy", lambda: not served.subject.unhealthy(), seconds=60)
    assert state.differences(undisturbed.states[version], state.of(served.subject)) == []
    told = f"killed after {after:.1f} s{' with the host' if also_host else ''}: failed/asked {visitors.summary()}"
    record_property("figures", told)
    visitors.nothing_failed(*REPLACED)


def test_two_releases_at_once(served: World, operator: Operator, undisturbed: Undisturbed) -> None:
    """The second waits as long as it may, then stops and names who holds the lock; the first is not disturbed."""
    first = served.operator.start(*release("1.1.0"))
    lock = "/run/quai/locks/stack-masstock"
    until(
        "the first release to hold the lock",
        lambda: served.subject.succeeds(f"! flock --nonblock {lock} true"),
        seconds=60,
    )
    began = time.monotonic()
    second = operator.deploy("1.0.0", "-e", "docker_stack_ready_timeout=2", check=False)
    seconds = time.monotonic() - began
    output, _ = first.communicate(timeout=180)
    assert first.returncode == 0, output[-3000:]
    assert second.code != 0
    assert "another release of masstock is running on this host" in " ".join(second.output.split())
    assert f"{lock} is held by process " in " ".join(second.output.split())
    assert seconds < undisturbed.seconds
    assert state.differences(undisturbed.states["1.1.0"], state.of(served.subject)) == []
    finished(served.operator, *release("1.0.0"))
