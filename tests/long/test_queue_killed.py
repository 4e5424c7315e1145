# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our operations killed before and after each of their scripts, for the versions that the quick tests leave out."""

from __future__ import annotations

import pytest

from tests.queues.conftest import packages, redis, redis_server
from tests.queues.live.forked import Forks
from tests.queues.live.wire import Wire
from tests.queues.place import Database
from tests.queues.test_faults import EVERYWHERE, KILLED, forks, kill_at_every_script, wire

__all__ = ["forks", "packages", "redis", "redis_server", "wire"]


@pytest.mark.parametrize(("name", "package"), sorted(set(EVERYWHERE) - set(KILLED)))
def test_killed_at_every_script(forks: Forks, redis: Database, wire: Wire, name: str, package: str) -> None:
    kill_at_every_script(forks, redis, wire, name, package)
