# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module queue_cleanup and the command quai-maintain, as they are called, on queues of real packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.filter.host_python import LIBRARY
from ansible_collections.quai.ops.plugins.filter.monitoring import host_program
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._queue_task import run, task
from ansible_collections.quai.ops.plugins.module_utils._redis_options import OPTIONS
from ansible_collections.quai.ops.plugins.module_utils._resp import text
from ansible_collections.quai.ops.plugins.modules import queue_cleanup

from tests.module import outcome
from tests.queues.place import Database, Node, Place

Run = Callable[..., dict[str, Any]]
OLD = [{"state": "completed", "older_than": "0"}]
EVERY = ["bull4", "bullmq1", "bullmq4", "bullmq5", "bullmq6"]


@pytest.fixture
def node(packages: Place) -> Iterator[Callable[[str], Node]]:
    """Processes of this test alone: an emptied server knows no scripts, and older packages believe that it does."""
    made: list[Node] = []

    def start(package: str) -> Node:
        same = [one for one in made if one.package == package]
        if not same:
            made.append(packages.node(package, own=True))
        return (same or made)[-1]

    yield start
    for one in made:
        one.kill()


@pytest.fixture
def cleanup(redis: Database, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module with options; returns its result, C(failed) included."""

    def run(*, check: bool = False, diff: bool = False, **options: Any) -> dict[str, Any]:
        at = {name: value for name, value in redis.options.items() if name in OPTIONS}
        given = {**at, **options, "_ansible_check_mode": check, "_ansible_diff": diff}
        return outcome(queue_cleanup, given, capsys)

    return run


def fill(redis: Database, real: Node, name: str = "mail", jobs: int = 12, fail: int = 3) -> None:
    """Jobs of which some failed and one waits."""
    at = {"redis": redis.node, "queue": name}
    real.call("add", {**at, "jobs": [{"name": "send", "data": {"n": number}, "opts": {}} for number in range(jobs)]})
    if fail:
        real.call("work", {**at, "count": fail, "fail": "ECONNREFUSED 127.0.0.1"})
    real.call("work", {**at, "count": jobs - fail})
    real.call("add", {**at, "jobs": [{"name": "later", "data": {}, "opts": {}}]})


def library(package: str) -> dict[str, str]:
    """Who writes it, for versions that do not say so themselves."""
    name = "bullmq" if package.startswith("bullmq") else "bull"
    return {"library": name, "version": f"{package.removeprefix(name)}.0"} if package in ("bull4", "bullmq1") else {}


def contents(redis: Database) -> dict[str, bytes]:
    """Every key with its serialised value."""
    keys = sorted(text(key) for key in redis.link.call("KEYS", "*"))
    return {key: redis.link.call("DUMP", key) for key in keys}


@pytest.mark.parametrize("package", EVERY)
def test_check_says_what_the_run_does_and_a_second_run_writes_nothing(
    redis: Database, node: Callable[[str], Node], cleanup: Run, package: str
) -> None:
    fill(redis, node(package))
    before = contents(redis)
    given = {"queues": ["mail"], "rules": OLD, **library(package)}
    planned = cleanup(check=True, diff=True, **given)
    assert contents(redis) == before, "check mode wrote"
    done = cleanup(diff=True, **given)
    assert done["changed"]
    assert planned["changed"]
    assert planned["msg"] == done["msg"].replace("removed", "would remove", 1)
    assert done["msg"].startswith("removed 9 jobs of mail: 9 completed")
    for key in ("removed", "counts_before", "counts_after", "kept"):
        assert planned["queues"][0][key] == done["queues"][0][key], key
    assert planned["diff"] == done["diff"]
    assert "mail completed: 9" in done["diff"]["before"]
    assert "mail completed: 0" in done["diff"]["after"]
    assert done["queues"][0]["counts_after"]["failed"] == 3
    after = contents(redis)
    again = cleanup(diff=True, **given)
    assert (again["changed"], again["msg"]) == (False, "nothing to remove in mail")
    assert "diff" not in again
    assert contents(redis) == after, "a run without anything to do wrote"


def test_a_plan_that_is_too_large_stops_before_the_first_job_of_the_first_queue(
    redis: Database, node: Callable[[str], Node], cleanup: Run
) -> None:
    """The share is of all queues together: neither alone would be too many."""
    for name in ("mail", "report"):
        fill(redis, node("bullmq5"), name)
    before = contents(redis)
    result = cleanup(queues=["mail", "rep*"], rules=OLD, max_remove="17")
    assert result["failed"]
    assert "18 of 26 jobs would be removed (mail 9, report 9), and max_remove allows 17" in result["msg"]
    assert contents(redis) == before
    result = cleanup(queues=["mail", "rep*"], rules=OLD, max_remove="50%")
    assert "max_remove allows 50%, which is 13; nothing was removed" in result["msg"]
    assert contents(redis) == before
    planned = cleanup(queues=["mail", "rep*"], rules=OLD, max_remove="17", check=True)
    assert planned["failed"] and "max_remove allows 17" in planned["msg"], "check mode is true to the run"
    told = cleanup(queues=["mail", "rep*"], rules=OLD, max_remove="17", action="report")
    assert (told["changed"], told["totals"]["removed"]) == (False, 18)
    said = task({"queues": ["mail", "rep*"], "rules": OLD, "max_remove": "17", "action": "report"})
    assert any("max_remove allows 17" in one for one in run(said, redis.options)["warnings"])
    now = iter(range(0, 9000, 300))
    with pytest.raises(QueueProblem, match="300 s were too few to count"):
        run(task({"queues": ["*"], "rules": OLD, "max_remove": "18"}), redis.options, clock=lambda: float(next(now)))
    assert contents(redis) == before
    assert cleanup(queues=["mail", "rep*"], rules=OLD, max_remove="18")["totals"]["removed"] == 18


def test_a_protected_queue_is_left_out_of_a_pattern_and_refused_by_name(
    redis: Database, node: Callable[[str], Node], cleanup: Run
) -> None:
    """Whatever is to be done; and the others are done, before it and after it."""
    for name in ("mail", "bills", "alarm"):
        fill(redis, node("bullmq5"), name)
    before = {key: value for key, value in contents(redis).items() if key.startswith("bull:bills:")}
    refused = cleanup(queues=["*", "bills"], rules=OLD, protected=["b*"])
    assert refused["failed"] and refused["msg"] == "bills: protected (b*), it is never touched; nothing was done"
    done = cleanup(queues=["*"], rules=OLD, protected=["bills"])
    assert [one["name"] for one in done["queues"]] == ["alarm", "mail"]
    retry = [{"state": "failed", "older_than": "0"}]
    done = cleanup(queues=["*"], rules=retry, action="retry", protected=["bills"])
    assert done["totals"]["retried"] == 6
    assert {key: value for key, value in contents(redis).items() if key.startswith("bull:bills:")} == before


@pytest.mark.parametrize("action", ["remove", "retry"])
def test_what_is_required_is_required_of_all_queues_before_the_first_is_touched(
    redis: Database, node: Callable[[str], Node], cleanup: Run, action: str
) -> None:
    for name in ("mail", "report"):
        fill(redis, node("bullmq5"), name)
    redis.link.call("HSET", "bull:mail:meta", "paused", "1")
    before = contents(redis)
    rules = [{"state": "failed", "older_than": "0"}]
    for check in (True, False):
        result = cleanup(queues=["*"], rules=rules, action=action, require="paused", check=check)
        assert result["failed"] and "report: it is not paused" in result["msg"]
        assert contents(redis) == before


def test_a_failure_after_something_was_changed_says_what(
    redis: Database, node: Callable[[str], Node], cleanup: Run
) -> None:
    """The first queue is clean, the second has a key of another type."""
    fill(redis, node("bullmq5"), "mail")
    redis.link.call("HSET", "bull:zoo:meta", "version", "bullmq:5.81.5")
    redis.link.call("SET", "bull:zoo:completed", "x")
    given = {"queues": ["mail", "zoo"], "rules": OLD}
    result = cleanup(**given)
    assert result["failed"] and result["changed"]
    assert "bull:zoo:completed is a string" in result["msg"]
    assert "before that, removed 9 jobs" in result["msg"]
    assert [one["removed"]["completed"] for one in result["queues"]] == [9]
    again = cleanup(**given)
    assert again["failed"] and not again.get("changed")
    assert "before that" not in again["msg"]


def test_report_changes_nothing(redis: Database, node: Callable[[str], Node], cleanup: Run) -> None:
    fill(redis, node("bullmq6"))
    before = contents(redis)
    result = cleanup(queues=["*"], rules=OLD, action="report", ghosts="report", orphans="report")
    assert not result["changed"]
    assert result["totals"]["removed"] == 9
    assert result["queues"][0]["ghosts"] == 0
    assert result["queues"][0]["orphans"] == 0
    assert [line.split() for line in result["report"][:2]] == [
        ["queue", "state", "before", "gone", "left"],
        ["mail", "completed", "9", "9", "0"],
    ]
    assert contents(redis) == before


@pytest.mark.parametrize("package", EVERY)
def test_retry(redis: Database, node: Callable[[str], Node], cleanup: Run, package: str) -> None:
    """Those that fit go back, and a worker takes them."""
    fill(redis, node(package))
    given = {"queues": ["mail"], "action": "retry", **library(package)}
    rule = {"state": "failed", "older_than": "0"}
    assert cleanup(rules=[{**rule, "failed_reason": "ETIMEDOUT*"}], **given)["msg"].startswith("nothing to retry")
    rules = [{**rule, "failed_reason": "ECONN*", "limit": 2}]
    planned = cleanup(check=True, rules=rules, **given)
    assert planned["msg"].startswith("would retry 2 jobs of mail: 2 failed")
    assert redis.link.call("ZCARD", "bull:mail:failed") == 3
    done = cleanup(rules=rules, **given)
    assert done["changed"]
    assert done["queues"][0]["retried"] == {"failed": 2}
    assert done["queues"][0]["counts_after"]["failed"] == 1
    node(package).call("work", {"redis": redis.node, "queue": "mail", "count": 3})
    assert redis.link.call("ZCARD", "bull:mail:completed") == 12


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"rules": []}, "rules: none, so there is nothing to do", id="no-rules"),
        pytest.param({"rules": [{"state": "completed"}]}, "needs older_than or keep_last", id="everything"),
        pytest.param({"action": "retry", "rules": [{"state": "wait", "older_than": "0"}]}, "wait jobs cannot", id="x"),
        pytest.param({"rules": OLD, "max_remove": "many"}, "max_remove: 'many' is neither", id="max-remove"),
        pytest.param({"rules": OLD, "queues": []}, "names no queue", id="no-queue"),
        pytest.param({"rules": OLD, "chunk_ms": 0, "orphan_age": "x"}, "orphan_age: 'x' is no duration", id="two"),
        pytest.param({"rules": OLD, "queues": ["nope"]}, "nope: no queue has this name", id="nobody"),
        pytest.param({"rules": OLD, "prefix": ""}, "prefix: '' is no prefix", id="prefix"),
        pytest.param({"rules": OLD, "version": "4.1"}, "version: 4.1 says nothing without library", id="version"),
        pytest.param({"rules": OLD, "lock_duration": "0"}, "lock_duration: 0 ms are not", id="lock"),
        pytest.param({"rules": OLD, "port": 70000}, "port: 70000 is no whole number", id="port"),
        pytest.param({"rules": OLD, "database": -1}, "database: -1 is no whole number", id="database"),
    ],
)
def test_what_is_refused(redis: Database, cleanup: Run, options: dict[str, Any], words: str) -> None:
    result = cleanup(**{"queues": ["mail"], **options})
    assert result["failed"]
    assert words in result["msg"]
    assert contents(redis) == {}


def test_nobody_fits_a_pattern(redis: Database, cleanup: Run) -> None:
    """That is no mistake: the queue may come one day."""
    result = cleanup(queues=["report-*"], rules=OLD)
    assert (result["changed"], result["msg"]) == (False, "no queue is named report-* with the prefix bull")
    assert "report-*: no queue with the prefix bull fits this pattern" in str(result["warnings"])
    assert result["skipped_queues"] == ["report-*"]


@pytest.mark.parametrize("library", ["auto", "bullmq"])
def test_a_name_that_no_queue_has(redis: Database, cleanup: Run, library: str) -> None:
    """It is a mistake, whoever wrote it, unless it may be missing."""
    redis.link.call("HSET", "bull:mail:1", "name", "send", "timestamp", "1")
    redis.link.call("ZADD", "bull:mail:completed", 1, "1")
    redis.link.call("HSET", "bull:mail:meta", "version", "bullmq:5.81.5")
    before = contents(redis)
    result = cleanup(queues=["mail", "mial", "bills"], rules=OLD, library=library)
    assert result["failed"] and not result.get("changed")
    said = "mial: no queue has this name with the prefix bull (there is mail), or nothing was ever put into it; bills:"
    assert result["msg"].startswith(said)
    assert contents(redis) == before
    done = cleanup(queues=["mail", "mial"], rules=OLD, library=library, missing="skip")
    assert (done["changed"], done["skipped_queues"], done["totals"]["removed"]) == (True, ["mial"], 1)


def test_a_wrong_password_is_said_and_not_shown(redis: Database, cleanup: Run) -> None:
    result = cleanup(queues=["mail"], rules=OLD, password="very-wrong-9")
    assert result["failed"]
    assert result["reason"] == "auth"
    assert "very-wrong-9" not in json.dumps(result)


# ---- the command -----------------------------------------------------------------------------------------------


@pytest.fixture
def installed(redis: Database, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command as it lies on a host, with nothing else on its path; a function that calls it."""
    below = tmp_path / "lib"
    for entry in host_program("quai_maintain"):
        path = below / Path(entry["path"]).relative_to(LIBRARY)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(entry["content"], encoding="utf-8")
    root = tmp_path / "root"
    config = root / "etc/quai/maintenance"
    config.mkdir(parents=True)
    at = {name: value for name, value in redis.options.items() if name in OPTIONS and name != "client"}
    common = {"project": "shop", "connection": {**at, "user": "default", "password": "${shop.REDIS}"}, "timeout": 60}
    sessions = [{"pattern": "session:*", "only_without_ttl": True}]
    jobs = [
        {**common, "name": "jobs", "kind": "queue_cleanup", "queues": ["mail"], "library": "bullmq", "rules": OLD},
        {**common, "name": "keys", "kind": "redis_cleanup", "rules": sessions},
        {**common, "name": "lost", "kind": "queue_cleanup", "queues": ["gone"], "rules": OLD},
        {**common, "name": "all", "kind": "queue_cleanup", "queues": ["mail", "x-*"], "rules": OLD},
    ]
    (config / "shop.json").write_text(json.dumps({"jobs": jobs}))
    (config / "shop.secrets.json").write_text(json.dumps({"shop.REDIS": "any word is right for a user without one"}))
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1));"
        "from ansible_collections.quai.ops.plugins.module_utils import quai_maintain; sys.exit(quai_maintain.main())"
    )

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-IS", "-W", "error", "-c", program, str(below), *arguments, "--root", str(root)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env={**os.environ})

    return call


def test_a_job_is_done_noted_and_leaves_a_sign(
    redis: Database,
    node: Callable[[str], Node],
    installed: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    """With --check neither Redis nor the disk is written."""
    fill(redis, node("bullmq5"))
    state = tmp_path / "root/var/lib/quai/maintenance/shop"
    before = contents(redis)
    done = installed("run", "shop", "jobs", "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "shop jobs: would remove 9 jobs of mail: 9 completed\n"
    assert contents(redis) == before
    assert not state.exists()
    done = installed("run", "shop", "jobs")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "shop jobs: removed 9 jobs of mail: 9 completed\n")
    noted = json.loads((state / "jobs.json").read_text())
    assert (noted["ok"], noted["changed"], noted["result"]["totals"]["removed"]) == (True, True, 9)
    assert (state / "jobs.done").exists()
    redis.link.call("SET", "session:1", "x")
    done = installed("run", "shop", "keys", "--json")
    assert json.loads(done.stdout)["message"] == f"removed 1 of {len(contents(redis)) + 1} keys: 1 of session:*"
    assert "any word" not in "".join(path.read_text() for path in state.iterdir())


@pytest.mark.parametrize("fails", [False, True])
def test_the_journal_has_every_warning(
    redis: Database, installed: Callable[..., subprocess.CompletedProcess[str]], fails: bool
) -> None:
    """Whether it goes well or not, and apart from what a program reads."""
    redis.link.call("HSET", "bull:mail:1", "name", "send", "timestamp", "1")
    redis.link.call("ZADD", "bull:mail:completed", 1, "1")
    redis.link.call("HSET", "bull:mail:meta", "version", "bullmq:5.81.5")
    if fails:
        redis.link.call("SET", "bull:mail:repeat", "x")
    settings = {"maxmemory": "1gb", "maxmemory-policy": "allkeys-lru"}
    redis.link.ask(*(("CONFIG", "SET", name, value) for name, value in settings.items()))
    try:
        done = installed("run", "shop", "all", "--json")
        keys = installed("run", "shop", "keys")
    finally:
        redis.link.ask(("CONFIG", "SET", "maxmemory", 0), ("CONFIG", "SET", "maxmemory-policy", "noeviction"))
    lines = done.stderr.splitlines()
    start = "quai-maintain: shop all: warning: "
    assert any(line.startswith(start) and "may evict keys of queues" in line for line in lines)
    assert f"{start}x-*: no queue with the prefix bull fits this pattern" in lines
    assert done.returncode == int(fails)
    if fails:
        assert lines[-1].startswith("quai-maintain: shop all: mail: bull:mail:repeat is a string")
    else:
        assert f"{start}mail: maxmemory-policy is allkeys-lru" in done.stderr
        assert json.loads(done.stdout)["message"].startswith("removed 1 job of mail")
    assert "quai-maintain: shop keys: warning: " in keys.stderr and keys.returncode == 0


def test_before_the_first_release_there_is_nothing_to_do(
    redis: Database, installed: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """And its sign of life says so, lest the first release begin with an alarm."""
    config = tmp_path / "root/etc/quai/maintenance/shop.json"
    jobs = json.loads(config.read_text())["jobs"]
    config.write_text(json.dumps({"jobs": [{**one, "active_when": "/srv/shop/current"} for one in jobs]}))
    done = installed("run", "shop", "lost")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "shop lost: nothing to do before the first release (/srv/shop/current does not exist)\n"
    assert (tmp_path / "root/var/lib/quai/maintenance/shop/lost.done").exists()
    (tmp_path / "root/srv/shop/current").mkdir(parents=True)
    assert installed("run", "shop", "lost").returncode == 1


def test_a_job_that_fails_is_noted_and_leaves_no_sign(
    redis: Database, installed: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = installed("run", "shop", "lost")
    assert done.returncode == 1
    assert done.stderr.startswith("quai-maintain: shop lost: gone: no queue has this name")
    state = tmp_path / "root/var/lib/quai/maintenance/shop"
    assert not (state / "lost.done").exists()
    said = installed("status")
    assert said.returncode == 1
    assert [line.split()[:3] for line in said.stdout.splitlines()] == [
        ["-", "shop", "jobs"],
        ["-", "shop", "keys"],
        ["FAILED", "shop", "lost"],
        ["-", "shop", "all"],
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "shop"], "run was given 1 names; write quai-maintain run PROJECT JOB"),
        (["run", "shop", "nope"], "shop has no job 'nope'; it has all, jobs, keys, lost"),
        (["run", "other", "jobs"], "other.json does not exist; run playbooks/provision.yml"),
        (["run", "../x", "jobs"], "'../x' is no name of a project"),
        (["walk"], "'walk' is no verb"),
        (["run", "shop", "jobs", "--chek"], "run has no option '--chek'; it has --check, --json"),
        (["status", "nope"], "'nope' has no jobs here; shop has"),
    ],
)
def test_wrong_use(
    installed: Callable[..., subprocess.CompletedProcess[str]], arguments: list[str], words: str
) -> None:
    done = installed(*arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_two_runs_of_a_job_never_overlap(
    redis: Database, installed: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    from ansible_collections.quai.ops.plugins.module_utils import _lock

    with _lock.held("maintenance-shop-jobs", 0, tmp_path / "root/run/quai/locks"):
        done = installed("run", "shop", "jobs")
    assert done.returncode == 1
    assert f"is held by process {os.getpid()}" in done.stderr
