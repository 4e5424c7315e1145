# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After somebody broke the host and it was provisioned and released again: nothing is left of that."""

from __future__ import annotations

import json
from collections.abc import Callable

from lab.names import BUILD
from tests.whole_host import scan, state, web
from tests.whole_host.subject import Subject

PAGES = {"vitrine": "/", "app": "/", "api": "/health", "n8n": "/healthz"}


def test_state_is_as_before(subject: Subject) -> None:
    """Every managed file, container, unit and firewall rule is as it was before it was broken."""
    kept = json.loads((BUILD / subject.lab.name / "state.json").read_text("utf-8"))
    # That the document covers what was broken.
    assert "/etc/nginx/quai/sites/masstock-api.conf" in kept["files"] and "masstock_app" in kept["containers"]
    assert kept["firewall"] and kept["pending"] == []
    assert state.differences(kept, state.of(subject)) == []


def test_the_sites_answer(subject: Subject, ask: Callable[..., web.Answer]) -> None:
    """All four, with the header that was taken out."""
    for site, path in PAGES.items():
        answer = ask(site, path)
        assert (answer.status, answer.one("X-Frame-Options")) == (200, "SAMEORIGIN")
    assert subject.unhealthy() == {}


def test_the_firewall_is_back(subject: Subject) -> None:
    """And the forgotten site is not served."""
    assert subject.succeeds("nft list chain inet quai input | grep -q 'policy drop'")
    assert scan.open_ports(subject.address, (22, 80, 443, 3000, 5678, 6379, 8080, 8081, 8088)) == {22, 80, 443}
    assert not subject.succeeds("nginx -T 2>/dev/null | grep -q 8088")
