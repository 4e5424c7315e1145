# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of the scenario nginx_tls, for this one's hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.nginx_tls.web import Web

SCENARIO = Path(__file__).resolve().parents[1]

@pytest.fixture
def domain(host: Any) -> str:
    """Everything below it leads to the host."""
    return f"{host.backend.host}.lab"


@pytest.fixture
def web(host: Any) -> Web:
    """A client outside, which trusts the lab's CA."""
    roots = SCENARIO.parents[1] / "build" / f"mol-{SCENARIO.name}" / "ca/acme-root.pem"
    return Web(str(host.ansible.get_variables()["ansible_host"]), roots)
