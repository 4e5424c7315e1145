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
    group_labels,
    queue_groups,
    queues_failure,
    queues_next,
    queues_refused,
    queues_to_restart,
    queues_verdict,
    redis_verdict,
    restart_commands,
    server_labels,
    with_secrets,
)
from ansible_collections.quai.ops.plugins.module_utils import _queue_options
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


def test_a_wait_that_is_none() -> None:
    words = "wait is 'soon', which is no duration such as 90s or 10m"
    assert queues_refused(shop(MAIL), "resume", wait="soon") == [words]
    assert queues_refused(shop(MAIL), "resume", wait="10m") == []


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


STATE = {"name": "q0", "paused_before": False, "paused": True, "changed": True}
REMOVED = {"name": "q0", "removed": {"completed": 4, "failed": 1}, "retried": {}, "kept": {"locked": 2, "young": 0}}
RETRIED = {"name": "q0", "removed": {}, "retried": {"failed": 3}, "kept": {}}
REPAIRED = {"name": "q0", "done": [{"repair": "stalled", "jobs": 2, "ids": ["1", "2"]}]}
RESTART = {"worker": "worker", "restart": ["docker", "restart", "shop_worker"], "queues": ["q0"], "why": "stuck"}


@pytest.mark.parametrize(
    ("doing", "done", "dry", "line", "cell"),
    [
        ("pause", STATE, False, "queues paused: 1", "paused"),
        ("pause", STATE, True, "check mode, nothing was done; queues to pause: 1", "paused"),
        ("pause", {**STATE, "changed": False}, False, "queues paused: 0", "paused already"),
        ("resume", {**STATE, "paused": False}, False, "queues resumed: 1", "resumed"),
        ("clean", REMOVED, False, "jobs removed: 5", "4 completed, 1 failed; kept: 2 locked"),
        ("empty", REMOVED, True, "check mode, nothing was done; jobs to remove: 5", "4 completed, 1 failed"),
        ("clean", {**REMOVED, "removed": {}, "kept": {}}, False, "jobs removed: 0", "-"),
        ("retry", RETRIED, False, "jobs put back to wait: 3", "3 failed"),
        ("repair", REPAIRED, False, "repairs: 2, workers restarted: worker", "jobs put back: 2; worker restarted"),
        ("repair", REPAIRED, True, "nothing was done; repairs to do: 2, workers to restart: worker", "put back: 2"),
    ],
)
def test_what_was_done_stands_in_the_table_and_in_the_verdict(
    doing: str, done: dict[str, Any], dry: bool, line: str, cell: str
) -> None:
    verdict = "paused" if doing == "pause" else "idle"
    restarts = [RESTART] if doing == "repair" else []
    found = queues_verdict([looked(("q0", verdict))], ["en", "fr"], doing, [{"queues": [done]}], restarts, dry=dry)
    assert f"{line}. 1 queue: all is well" in found["lines"][0]
    assert found["lines"][1].endswith("1 file : tout va bien")
    assert found["table"][0].endswith("WOULD BE" if dry else "DONE")
    assert cell in found["table"][1]


def test_every_action_is_told_in_every_language() -> None:
    """A word that were missing would end a run that has done its work."""
    for doing in set(DOINGS) - {"redis", "redis_clean", "report"}:
        for dry in (True, False):
            found = queues_verdict([looked(("q0", "idle"))], ["fr", "en"], doing, [], dry=dry)
            assert all(len(line.split(". ")) == 2 for line in found["lines"]), found["lines"]


def test_a_queue_that_could_not_be_paused_is_not_well() -> None:
    """Whoever paused it relies on it."""
    skipped = [{"queues": [], "skipped_queues": ["q0"]}]
    found = queues_verdict([looked(("q0", "idle"))], ["en"], "pause", skipped)
    assert (found["good"], found["bad"]) == (False, ["q0"])
    assert "no job so far" in found["table"][1]
    said = queues_next([looked(("q0", "idle"))], found, shop(queue("q0")), "pause")
    assert "q0: it has had no job so far, so there is nothing to pause. Next: pause it" in said
    assert queues_verdict([looked(("q0", "idle"))], ["en"], "resume", skipped)["good"]


PLAYBOOK = "ansible-playbook playbooks/queues.yml -e project=shop -e queue=q0 -e do="


@pytest.mark.parametrize(
    ("verdict", "doing", "dry", "step"),
    [
        ("stuck", "report", False, f"{PLAYBOOK}repair"),
        ("no_workers", "retry", False, f"{PLAYBOOK}repair"),
        ("paused", "report", False, f"when the reason is gone, {PLAYBOOK}resume"),
        ("paused", "repair", False, f"when the reason is gone, {PLAYBOOK}resume"),
        ("stuck", "repair", True, "run this without --check"),
        ("stuck", "repair", False, "read why in the log of its worker, on the host: docker logs --tail 50 shop_worker"),
        ("damaged", "report", False, "do it"),
        ("dead_schedule", "repair", False, "do it"),
    ],
)
def test_each_queue_that_is_not_well_has_a_reason_and_a_next_step(
    verdict: str, doing: str, dry: bool, step: str
) -> None:
    found = [looked(("q0", verdict), ("fine", "idle"))]
    judged = queues_verdict(found, ["en"], doing, dry=dry)
    said = queues_next(found, judged, shop(queue("q0")), doing, dry=dry).splitlines()
    assert said == [judged["line"], f"q0: {verdict}, why. Next: {step}"]
    held = queues_next(found, judged, shop(queue("q0")), doing, "process 7 (a release)", dry=dry).splitlines()
    assert held[:2] == said
    assert "process 7 (a release) works on shop at the moment" in held[2]


@pytest.mark.parametrize(
    ("restart", "log"),
    [
        (["systemctl", "restart", "quai-shop-worker.service"], "journalctl --lines 50 --unit quai-shop-worker.service"),
        (["runuser", "-u", "shop", "--", "pm2", "restart", "shop-worker"], "runuser -u shop -- pm2 logs shop-worker"),
    ],
)
def test_where_the_log_of_a_worker_is(restart: list[str], log: str) -> None:
    found = [looked(("q0", "stuck"))]
    judged = queues_verdict(found, ["en"], "repair")
    assert queues_next(found, judged, shop(queue("q0", restart=restart)), "repair").endswith(f"on the host: {log}")


def test_a_queue_that_cannot_be_read_is_not_cured_by_a_restart() -> None:
    found = [looked(("q0", "unknown"))]
    found[0]["queues"][0]["problems"] = ["bull:q0:wait is of another type"]
    judged = queues_verdict(found, ["en"])
    assert queues_next(found, judged, shop(queue("q0"))).endswith("q0: unknown, why. Next: do it")


def test_a_declared_queue_that_never_had_a_job_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words of the module: a project that was released a minute ago is well."""
    monkeypatch.setattr(_queue_options, "find", lambda *_: [])
    found = [looked(("shop-mail", "unknown"))]
    found[0]["queues"][0]["problems"] = _queue_options.absent(None, ["shop-mail"], "bull")  # type: ignore[arg-type]
    judged = queues_verdict(found, ["en"])
    assert (judged["good"], judged["line"]) == (True, "1 queue: all is well")
    assert judged["table"][1].startswith("idle ")
    assert queues_to_restart(queue_groups([MAIL]), found) == []


def test_a_failure_names_the_queue_the_reason_and_what_helps() -> None:
    result = {
        "msg": "One or more items failed",
        "results": [
            {"quai_one": {"at": 0, "label": "q0"}, "changed": True},
            {"quai_one": {"at": 1, "label": "q1"}, "failed": True, "reason": "refused", "msg": "it refused. "},
            {"quai_one": {"at": 2, "label": "q2"}, "failed": True, "reason": "input", "msg": "no such queue"},
        ],
    }
    assert queues_failure(result, "shop").splitlines() == [
        "q1: it refused. Next: See why: ansible-playbook playbooks/health.yml -e project=shop",
        "q2: no such queue.",
    ]
    alone = {"failed": True, "reason": "release", "msg": "another run works on shop"}
    assert queues_failure(alone, "shop").startswith("another run works on shop. Next: Run this again when that has")


@pytest.mark.parametrize("dry", [True, False])
def test_what_went_from_redis_is_told(dry: bool) -> None:
    one = {"at": 0, "label": "main"}
    rules = [{"pattern": "session:*", "done": 12, "kept": {"ttl": 3, "queue": 0}}]
    seen = [{"quai_one": one, "report": ["redis:6379  Redis 7"], "warnings_found": []}]
    lines = redis_verdict(seen, ["en", "fr"], [{"quai_one": one, "rules": rules}], dry=dry)
    said = "keys to remove: 12" if dry else "keys removed: 12"
    assert lines[:3] == ["redis:6379  Redis 7", "", f"main session:*  {said}; kept: 3 ttl"]
    assert lines[-2] == f"{'check mode, nothing was done; ' if dry else ''}{said}. 1 Redis: nothing to report"
    assert lines[-1].endswith("12. 1 Redis : rien à signaler")


def test_what_is_wrong_with_a_redis_is_told() -> None:
    seen = [
        {"quai_one": {"at": 0, "label": "main"}, "report": ["a"], "warnings_found": ["redis:6379: it evicts keys"]},
        {"quai_one": {"at": 1, "label": "cache"}, "report": ["b"], "warnings_found": []},
    ]
    assert redis_verdict(seen, ["en"]) == ["a", "b", "", "redis:6379: it evicts keys", "", "2 Redis: look at main"]
    with pytest.raises(AnsibleFilterError, match="'de'"):
        redis_verdict(seen, ["de"])


def test_what_loops_show() -> None:
    """No connection, and so no secret, stands in what a failed item prints."""
    groups = queue_groups([MAIL, queue("old", prefix="old")])
    assert group_labels(groups) == [{"at": 0, "label": "shop-mail"}, {"at": 1, "label": "old"}]
    assert server_labels(shop()["queues_redis"]) == [{"at": 0, "label": "main", "rules": True}]


def test_restarts_as_commands() -> None:
    assert restart_commands([RESTART]) == [
        {"name": "worker (stuck: q0)", "argv": ["docker", "restart", "shop_worker"]}
    ]


def test_every_filter_has_a_name() -> None:
    assert set(FilterModule().filters()) == {
        "emptying_rules", "group_labels", "queue_groups", "queues_failure", "queues_next", "queues_refused",
        "queues_to_restart", "queues_verdict", "redis_verdict", "restart_commands", "server_labels", "with_secrets",
    }  # fmt: skip
