# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An operator sees to the queue of a project that publishes no port of its Redis, and the host does so by itself."""

from __future__ import annotations

import json

from tests.whole_host.operations import Operator
from tests.whole_host.subject import Subject

QUEUES = "playbooks/queues.yml"


def test_the_queue_is_seen_through_its_container(operator: Operator) -> None:
    """MAS-7, MAS-11: the password comes from the secrets, and is not shown."""
    run = operator.play(QUEUES, "-e", "project=masstock")
    assert run.changed == 0
    assert "workflow-queue" in run.output
    assert "1 queue: all is well" in run.output
    assert "1 file : tout va bien" in run.output


def test_a_clean_up_can_be_planned(operator: Operator) -> None:
    run = operator.play(QUEUES, "-e", "project=masstock", "-e", "do=clean", "--check", "--diff")
    assert "workflow-queue" in run.output


def test_nothing_is_thrown_away_without_a_confirmation(operator: Operator) -> None:
    """MAS-11, in place of the guide's FLUSHALL."""
    asked = ("-e", "project=masstock", "-e", "do=empty", "-e", "queue=workflow-queue")
    run = operator.play(QUEUES, *asked, check=False)
    assert run.code != 0
    assert "add -e confirm=workflow-queue" in " ".join(run.output.split())
    assert "PLAY [See to the queues]" not in run.output


def test_the_host_cleans_by_itself(subject: Subject) -> None:
    """The unit that the timer starts, on the real queue; its end is the sign of life that the watch looks at."""
    subject.run("systemctl is-active quai-masstock-queue.timer")
    subject.run("systemctl start quai-masstock-queue.service")
    noted = json.loads(subject.run("cat /var/lib/quai/maintenance/masstock/queue.json"))
    assert noted["ok"], noted["message"]
    assert noted["result"]["queues"][0]["name"] == "workflow-queue"
    assert noted["result"]["queues"][0]["library"] == "bull"
    status = subject.run("quai-maintain status")
    assert status.startswith("ok ")
