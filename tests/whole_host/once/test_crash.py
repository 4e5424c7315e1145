# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide's three crash scenarios, with jobs in flight. Nobody helps, and no promised job may be missing."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.wait import until
from tests.whole_host import load
from tests.whole_host.subject import Subject

_LOAD = Path(load.__file__)
_JOBS, _PAUSE = 32, 0.4
_API = "http://127.0.0.1:3000"


class Client(threading.Thread):
    """Submits jobs from the host itself, and remembers which ones were promised."""

    def __init__(self, subject: Subject, prefix: str) -> None:
        super().__init__(daemon=True)
        self._subject, self._prefix = subject, prefix
        self.promised: dict[str, int] = {}
        self.error: AssertionError | None = None

    def run(self) -> None:
        """Submit all, repeating what was not confirmed."""
        try:
            printed = self._subject.python(_LOAD, _API, self._prefix, str(_JOBS), str(_PAUSE))
            self.promised = json.loads(printed)
        except AssertionError as error:
            self.error = error


def summary(subject: Subject) -> dict[str, Any]:
    """The project's own account of its jobs; empty while it cannot give one."""
    asked = (
        "import urllib.request as r; print(r.urlopen(r.Request("
        f"'{_API}/api/v1/executions-summary', headers={{'X-Forwarded-For': '203.0.113.{secrets.randbelow(250)}'}}"
        "), timeout=5).read().decode())"
    )
    printed = subject.run(f'python3 -c "{asked}" 2>/dev/null || true')
    document: dict[str, Any] = json.loads(printed) if printed else {}
    return document


def killed(subject: Subject, service: str) -> int:
    """Kill the container's first process, as the kernel would when memory runs out; returns its restarts so far."""
    one = subject.inspect(service)[service]
    subject.run(f"kill -9 {one['State']['Pid']}")
    return int(one["RestartCount"])


@pytest.mark.parametrize("service", ["api", "redis", "worker"])
def test_no_job_is_lost(subject: Subject, service: str, record_property: Callable[[str, object], None]) -> None:
    """Killed while jobs come in and are worked on: all healthy again, and enqueued = completed, by id."""
    prefix = f"crash-{service}-{secrets.token_hex(4)}"
    client = Client(subject, prefix)
    client.start()

    def mine(status: str) -> list[str]:
        return [
            name for name, one in executions(subject).items() if name.startswith(prefix) and one["status"] == status
        ]

    until("jobs in flight", lambda: len(mine("processing")) > 1 and len(mine("completed")) > 1, seconds=30)
    assert client.is_alive(), "all jobs were submitted before the crash, so it would prove little"
    began = time.monotonic()
    restarts = killed(subject, service)
    until(
        f"{service} to be restarted",
        lambda: int(subject.inspect(service)[service]["RestartCount"]) > restarts,
        seconds=30,
    )
    until("every service to be healthy", lambda: not subject.unhealthy(), seconds=60)
    healthy_after = time.monotonic() - began
    client.join(90)
    assert client.error is None, client.error
    assert len(client.promised) == _JOBS

    until(
        "every promised job to be completed",
        lambda: set(client.promised) <= set(mine("completed")),
        seconds=90,
        fix="the summary names lost ones: GET /api/v1/executions-summary on the API",
    )
    account = summary(subject)
    ours = {name: one for name, one in account["executions"].items() if name.startswith(prefix)}
    assert set(ours) == set(client.promised)
    assert [name for name in account["lost"] if name.startswith(prefix)] == []
    started_again = sum(one["starts"] > 1 for one in ours.values())
    completed_twice = sum(one["completions"] > 1 for one in ours.values())
    repeated = sum(asked > 1 for asked in client.promised.values())
    told = (
        f"{service} killed: {len(ours)} of {_JOBS} jobs completed, healthy after {healthy_after:.1f} s, "
        f"{repeated} requests were repeated, {started_again} jobs started again, {completed_twice} ran to the end twice"
    )
    record_property("figures", told)


def executions(subject: Subject) -> dict[str, dict[str, Any]]:
    """Every execution by id; none while the API cannot say."""
    found: dict[str, dict[str, Any]] = summary(subject).get("executions", {})
    return found
