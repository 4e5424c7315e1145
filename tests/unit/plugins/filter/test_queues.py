# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks/queues.yml refuses, whom it means, and how it judges."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.quai.ops.plugins.filter.queues import (
    DOINGS,
    EMPTIED,
    FilterModule,
    emptying_rules,
    queue_groups,
    queues_refused,
    queues_to_restart,
    queues_verdict,
    with_secrets,
)
from ansible_collections.quai.ops.plugins.module_utils._queue_rules import rules


def queue(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "queue": more.pop("queue", name),
        "redis": "main",
        "connection": {"container": "shop_redis", "password": "${shop.REDIS}"},
        "prefix": "bull",
        "library": "bullmq",
        "version": "",
        "rules": [{"state": "completed", "older_than": "24h"}],
        "max_remove": "",
        "protect": False,
        "worker": "worker",
        "restart": ["docker", "restart", "shop_worker"],
        **more,
    }


def shop(*queues: dict[str, Any], redis: bool = True) -> dict[str, Any]:
    server = {"name": "main", "rules": [{"pattern": "session:*"}] if redis else []}
    return {"name": "shop", "queues_declared": list(queues), "queues_redis": [server]}


MAIL, BILLS = queue("mail", queue="shop-mail"), queue("bills", protect=True)


@pytest.mark.parametrize(
    ("doing", "pattern", "confirm", "words"),
    [
        pytest.param("report", "", "", "", id="report"),
        pytest.param("report", "bills", "", "", id="a-protected-queue-may-be-looked-at"),
        pytest.param("report", "shop-*", "", "", id="by-its-name-in-redis"),
        pytest.param("clean", "", "", "", id="clean-what-is-not-protected"),
        pytest.param("clean", "bills", "", "bills of shop is protected", id="clean-protected"),
        pytest.param("clean", "bill", "", "queue is 'bill', which no queue of shop is called", id="nobody"),
        pytest.param("flush", "", "", "do is 'flush'; it is one of report, clean", id="unknown"),
        pytest.param("empty", "mail", "mail", "", id="empty"),
        pytest.param("empty", "shop-mail", "mail", "", id="empty-by-its-name-in-redis"),
        pytest.param("empty", "mail", "", "confirm is missing: add -e confirm=mail", id="empty-unconfirmed"),
        pytest.param("empty", "mail", "yes", "confirm is 'yes': add -e confirm=mail", id="empty-confirmed-as-what"),
        pytest.param("empty", "*", "*", "say which: -e queue=NAME, one of mail, bills", id="empty-all"),
        pytest.param("empty", "", "mail", "say which", id="empty-without-a-name"),
        pytest.param("empty", "bills", "bills", "bills of shop is protected", id="empty-protected"),
        pytest.param("redis", "", "", "", id="redis"),
    ],
)
def test_what_is_refused(doing: str, pattern: str, confirm: str, words: str) -> None:
    """MAS-11: throwing all jobs away is refused without a confirmation that names the queue."""
    found = queues_refused(shop(MAIL, BILLS), doing, pattern, confirm)
    assert bool(found) is bool(words), found
    assert words in "; ".join(found)


def test_one_queue_is_not_emptied_unnamed() -> None:
    """Even where there is no other."""
    assert "say which" in queues_refused(shop(MAIL), "empty", "", "mail")[0]


@pytest.mark.parametrize("doing", sorted(set(DOINGS) - {"redis", "redis_clean"}))
def test_a_project_without_queues(doing: str) -> None:
    assert queues_refused(shop(), doing) == ["shop declares no queues"]


def test_a_redis_that_says_nothing_of_cleaning() -> None:
    assert "redis.<name>.clean" in queues_refused(shop(redis=False), "redis_clean")[0]
    assert queues_refused({**shop(), "queues_redis": []}, "redis") == ["shop declares no Redis"]


def test_queues_of_one_call() -> None:
    """Those that differ in nothing but name and worker are treated together; secrets are names still."""
    other = queue("other", worker="second", restart=["x"])
    old = queue("old", prefix="old")
    groups = queue_groups([MAIL, other, old])
    assert [group["queues"] for group in groups] == [["shop-mail", "other"], ["old"]]
    assert groups[0]["label"] == "shop-mail, other"
    assert groups[0]["workers"]["other"] == {"worker": "second", "restart": ["x"]}
    assert groups[0]["connection"]["password"] == "${shop.REDIS}"


@pytest.mark.parametrize(("doing", "names"), [("clean", ["shop-mail"]), ("report", ["shop-mail", "bills"])])
def test_a_protected_queue_is_not_cleaned(doing: str, names: list[str]) -> None:
    groups = queue_groups([MAIL, BILLS], "", doing)
    assert [name for group in groups for name in group["queues"]] == names


def test_what_emptying_means() -> None:
    """Every state but active, parents before their children; the engine takes the rules."""
    found = rules(emptying_rules("empty"))
    assert [rule.state for rule in found] == list(EMPTIED)
    assert {rule.older_than for rule in found} == {0}
    assert EMPTIED[0] == "waiting-children"
    assert "active" not in EMPTIED


def test_secrets_are_put_in_where_they_are_named() -> None:
    vaults = {"shop": {"REDIS": "pa$s", "OTHER": "x"}}
    wanted = {"password": "${shop.REDIS}", "port": 6379, "many": ["a", "${shop.REDIS}!"], "plain": "$${shop.REDIS}"}
    assert with_secrets(wanted, vaults) == {
        "password": "pa$s", "port": 6379, "many": ["a", "pa$s!"], "plain": "$${shop.REDIS}",
    }  # fmt: skip
    with pytest.raises(AnsibleFilterError, match=r"shop\.REDIS"):
        with_secrets(wanted, {"shop": {}})


def looked(*verdicts: tuple[str, str]) -> dict[str, Any]:
    counts = {"active": 0, "delayed": 0, "failed": 0}
    return {
        "queues": [
            {"name": name, "verdict": verdict, "evidence": ["why"], "repair": ["do it"], "counts": counts}
            for name, verdict in verdicts
        ]
    }


@pytest.mark.parametrize(
    ("doing", "verdicts", "good", "line"),
    [
        ("report", ["healthy", "idle"], True, "2 files : tout va bien / 2 queues: all is well"),
        ("report", ["stuck"], False, "1 file : à voir : q0 / 1 queue: look at q0"),
        ("report", ["healthy", "paused", "no_workers"], False, "3 files : à voir : q1, q2 / 3 queues: look at q1, q2"),
        ("pause", ["paused"], True, "1 file : tout va bien / 1 queue: all is well"),
        ("resume", ["paused"], False, "1 file : à voir : q0 / 1 queue: look at q0"),
        ("report", ["throttled"], True, "1 file : tout va bien / 1 queue: all is well"),
        ("report", ["unknown"], False, "1 file : à voir : q0 / 1 queue: look at q0"),
    ],
)
def test_the_verdict(doing: str, verdicts: list[str], good: bool, line: str) -> None:
    found = queues_verdict([looked(*((f"q{at}", one) for at, one in enumerate(verdicts)))], doing=doing)
    assert (found["good"], found["line"]) == (good, line)
    assert len(found["lines"]) == 2
    assert all(any(f"q{at}" in row for row in found["table"]) for at in range(len(verdicts)))


def test_nothing_that_was_looked_at_is_not_good() -> None:
    assert queues_verdict([])["good"] is False
    assert queues_verdict([{"skipped": True}])["good"] is False


def test_languages() -> None:
    assert queues_verdict([looked(("q", "idle"))], ["en"])["lines"] == ["1 queue: all is well"]
    with pytest.raises(AnsibleFilterError, match="'de'"):
        queues_verdict([looked(("q", "idle"))], ["de"])


def test_only_workers_that_may_be_cured_are_restarted_and_each_once() -> None:
    """MOV-7."""
    groups = queue_groups([MAIL, queue("fine", worker="other"), queue("third")])
    found = queues_to_restart(groups, [looked(("shop-mail", "no_workers"), ("fine", "healthy"), ("third", "stuck"))])
    assert found == [
        {
            "worker": "worker",
            "restart": ["docker", "restart", "shop_worker"],
            "queues": ["shop-mail", "third"],
            "why": "no_workers",
        }
    ]
    for verdict in ("paused", "idle", "throttled", "dead_schedule", "damaged"):
        assert queues_to_restart(groups, [looked(("shop-mail", verdict))]) == []


def test_every_filter_has_a_name() -> None:
    assert set(FilterModule().filters()) == {
        "emptying_rules", "queue_groups", "queues_refused", "queues_to_restart", "queues_verdict", "with_secrets",
    }  # fmt: skip
