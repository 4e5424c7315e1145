# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict of playbooks/health.yml: the worst first, and silence is never good."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.filter.health import health_of_hosts, health_page, health_verdict


def answer(name: str, status: str = "ok", reason: str = "", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "status": status,
        "reason": reason,
        "message": f"about {name}",
        "value": 3.25,
        "unit": "ms",
        **more,
    }


def found(*answers: dict[str, Any], host: str = "vps1") -> list[dict[str, Any]]:
    return health_of_hosts([host], {host: {"quai_inside": {"results": list(answers)}}})


def test_all_is_well() -> None:
    verdict = health_verdict(found(answer("a"), answer("b")))
    assert verdict["good"]
    assert verdict["line"] == "1 host: 2 ok; all is well"
    assert verdict["table"][0].split() == ["ok", "vps1", "a", "on", "the", "host", "3.25", "ms"]


@pytest.mark.parametrize(
    ("status", "good"), [("critical", False), ("unknown", False), ("warning", True), ("degraded", True)]
)
def test_what_is_bad_decides(status: str, good: bool) -> None:
    verdict = health_verdict(found(answer("a"), answer("b", status, "timeout")))
    assert verdict["good"] is good
    assert verdict["line"].endswith(f"1 {status}, 1 ok; b on vps1 (timeout)")


def test_the_worst_comes_first() -> None:
    table = health_verdict(found(answer("a"), answer("b", "warning", "latency"), answer("c", "critical", "dns")))[
        "table"
    ]
    assert [line.split()[0] for line in table] == ["critical", "warning", "ok"]


def test_a_silent_host_is_never_good() -> None:
    hosts = health_of_hosts(["vps1", "vps2"], {"vps1": {"quai_inside": {"results": [answer("a")]}}, "vps2": {}})
    verdict = health_verdict(hosts)
    assert not verdict["good"]
    assert "vps2 does not answer" in verdict["line"]
    assert verdict["table"][0] == "vps2: no answer"


def test_no_host_at_all_is_never_good() -> None:
    assert not health_verdict([])["good"]


def test_inside_and_outside_are_told_apart() -> None:
    hosts = health_of_hosts(
        ["v"], {"v": {"quai_inside": {"results": [answer("a")]}, "quai_outside": {"results": [answer("a")]}}}
    )
    assert [each["where"] for each in hosts[0]["answers"]] == ["on the host", "from outside"]


def test_what_is_bad_inside_and_outside_is_named_once() -> None:
    bad = {"results": [answer("a", "critical", "dns")]}
    verdict = health_verdict(health_of_hosts(["v"], {"v": {"quai_inside": bad, "quai_outside": bad}}))
    assert verdict["line"] == "1 host: 2 critical; a on v (dns)"


def test_many_bad_ones_are_cut_short() -> None:
    verdict = health_verdict(found(*(answer(f"p{number}", "critical", "dns") for number in range(9))))
    assert verdict["line"].endswith("p4 on vps1 (dns) …")


@pytest.mark.parametrize("content", ["", "bm90IGpzb24=", base64.b64encode(b"[1]").decode()])
def test_a_page_is_made_of_whatever_a_host_has(content: str) -> None:
    hosts = health_of_hosts(["vps1"], {"vps1": {"quai_report": {"content": content}}})
    assert "vps1" in health_page(hosts) or json.loads(base64.b64decode(content)) == [1]


def test_sites_that_answer_do_not_stand_for_a_host_that_does_not() -> None:
    unreachable = {"unreachable": True, "msg": "no route"}
    hosts = health_of_hosts(
        ["vps1"], {"vps1": {"quai_inside": unreachable, "quai_outside": {"results": [answer("a")]}}}
    )
    verdict = health_verdict(hosts)
    assert not verdict["good"]
    assert verdict["line"] == "1 host: 1 ok; vps1 does not answer"


def test_a_host_without_a_report_is_said_to_have_none() -> None:
    assert "Aucun rapport reçu." in health_page(found(answer("a")))
