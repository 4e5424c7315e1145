# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch of this scenario's host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.monitoring_cron.play import Converge, converging
from tests.monitoring_cron.watch import Watch

SCENARIO = Path(__file__).resolve().parents[1]


@pytest.fixture
def watch(host: Any) -> Watch:
    """The watch as it is."""
    return Watch(host, SCENARIO.name)


@pytest.fixture
def converge(host: Any, tmp_path: Path) -> Converge:
    """Run the scenario's play on this host, some variables changed; returns what happened without judging it."""
    return converging(SCENARIO, str(host.backend.host), tmp_path)
