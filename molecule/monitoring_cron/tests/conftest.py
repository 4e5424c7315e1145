# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the role monitoring_cron share: the host's watch, and where its news arrives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring_cron.play import Converge, converging
from tests.monitoring_cron.watch import Watch

SCENARIO = Path(__file__).resolve().parents[1]


@pytest.fixture
def watch(host: Any) -> Watch:
    """The watch as it is."""
    return Watch(host, SCENARIO.name)


@pytest.fixture
def given() -> dict[str, Any]:
    """The role's variables as converge gives them."""
    return dict(yaml.safe_load((SCENARIO / "vars/watch.yml").read_text(encoding="utf-8")))


@pytest.fixture
def by_hand(watch: Watch) -> Iterator[Watch]:
    """The watch as on its first day, all being well, run by nobody but the test."""
    watch.stop()
    watch.forget()
    for _ in range(2):
        watch.run()
    assert watch.bad() == {}
    yield watch
    watch.repair()
    watch.start()


@pytest.fixture
def converge(host: Any, tmp_path: Path) -> Converge:
    """Run the scenario's play on this host, some variables changed; returns what happened without judging it."""
    return converging(SCENARIO, str(host.backend.host), tmp_path)
