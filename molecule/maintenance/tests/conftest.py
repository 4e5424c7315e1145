# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the role maintenance share: a Redis to clean, and runs of the scenario's play."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.maintenance.kept import Kept
from tests.monitoring_cron.play import Converge, converging

SCENARIO = Path(__file__).resolve().parents[1]


@pytest.fixture
def given() -> dict[str, Any]:
    """The role's variables as converge gives them."""
    return dict(yaml.safe_load((SCENARIO / "vars/jobs.yml").read_text(encoding="utf-8")))


@pytest.fixture
def kept(host: Any, given: dict[str, Any]) -> Kept:
    """The host with everything to clean."""
    found = Kept(host, given["maintenance_secrets"]["shop.REDIS"])
    found.fill()
    return found


@pytest.fixture
def by_hand(kept: Kept) -> Iterator[Kept]:
    """The same, while no timer fires."""
    timers = "quai-shop-jobs.timer quai-shop-sessions.timer"
    services = timers.replace(".timer", ".service")
    kept.host.check_output(f"systemctl stop {timers} {services}")
    kept.fill()
    yield kept
    kept.host.check_output(f"systemctl reset-failed {services} || true; systemctl start redis-server.service {timers}")


@pytest.fixture
def converge(host: Any, tmp_path: Path) -> Converge:
    """Run the scenario's play on this host, some variables changed; returns what happened without judging it."""
    return converging(SCENARIO, str(host.backend.host), tmp_path)
