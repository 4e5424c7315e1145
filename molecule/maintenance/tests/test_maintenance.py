# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scheduled work as the role leaves it: it is done by itself, says how it went, and fails loudly."""

from __future__ import annotations

import json
from typing import Any

from lab.wait import until
from tests.maintenance.kept import STATE, Kept
from tests.monitoring_cron.play import Converge

LIBRARY = "/usr/local/lib/quai/maintenance/ansible_collections/quai/ops/plugins/module_utils"
UNITS = ("quai-shop-jobs", "quai-shop-sessions")


def test_a_timer_cleans_the_queue(kept: Kept) -> None:
    """Old jobs go with their hashes; young ones, waiting ones and the queue itself stay."""
    until(
        "the old jobs to go",
        lambda: not any(one.startswith("old") for one in kept.ids("mail", "completed")),
        seconds=60,
    )
    assert kept.ids("mail", "completed") == {"young0", "young1", "young2"}
    until("the run's end", lambda: kept.ids("mail", "failed") == {"month0", "month1", "month2"}, seconds=30)
    assert kept.redis("EXISTS", "bull:mail:old0", "bull:mail:ancient0") == "0"
    assert kept.redis("EXISTS", "bull:mail:young0", "bull:mail:40", "bull:mail:meta", "bull:mail:id") == "4"
    assert kept.redis("LLEN", "bull:mail:wait") == "1"
    outcome = until("what it noted", lambda: _changed(kept.outcome("shop", "jobs")), seconds=30)
    assert outcome["ok"]
    assert outcome["message"] == "removed 20 jobs of mail: 10 completed, 10 failed"


def _changed(outcome: dict[str, Any]) -> dict[str, Any] | None:
    return outcome if outcome["changed"] else None


def test_a_timer_cleans_redis(kept: Kept) -> None:
    """What expires by itself, other keys and the jobs stay."""
    until("the sessions to go", lambda: kept.redis("EXISTS", "session:forever", "expired:one") == "0", seconds=60)
    assert kept.redis("EXISTS", "session:hour", "other", "bull:mail:meta", "bull:post:id") == "4"


def test_it_runs_again_and_again_and_leaves_a_sign_of_life(kept: Kept) -> None:
    """The watch looks at that file."""
    first = kept.host.file(f"{STATE}/shop/jobs.done").mtime
    until("another run", lambda: kept.host.file(f"{STATE}/shop/jobs.done").mtime > first, seconds=60)


def test_what_would_be_done_can_be_seen(by_hand: Kept) -> None:
    """Nothing is written for it, neither to Redis nor to the disk; the run that follows does what it said."""
    before = by_hand.host.file(f"{STATE}/shop/jobs.done").mtime
    done = by_hand.run("shop", "jobs", "--check")
    assert (done.rc, done.stdout.strip()) == (0, "shop jobs: would remove 20 jobs of mail: 10 completed, 10 failed")
    assert len(by_hand.ids("mail", "completed")) == 13
    assert by_hand.host.file(f"{STATE}/shop/jobs.done").mtime == before
    done = by_hand.run("shop", "jobs")
    assert (done.rc, done.stdout.strip()) == (0, "shop jobs: removed 20 jobs of mail: 10 completed, 10 failed")
    written = by_hand.digest()
    done = by_hand.run("shop", "jobs")
    assert (done.rc, done.stdout.strip()) == (0, "shop jobs: nothing to remove in mail")
    assert by_hand.digest() == written, "a run with nothing to do wrote to Redis"


def test_more_than_expected_is_refused(by_hand: Kept) -> None:
    """3 of 4 jobs are more than half."""
    done = by_hand.run("blog", "by_hand")
    assert done.rc == 1
    assert "3 of 4 jobs would be removed (post 3), and max_remove allows 50%, which is 2; nothing was removed" in (
        done.stderr
    )
    assert len(by_hand.ids("post", "failed")) == 3


def test_a_job_that_fails_says_so(by_hand: Kept) -> None:
    """No sign of life, a failed unit, and one line that says why."""
    sign = f"{STATE}/shop/jobs.done"
    by_hand.host.check_output("systemctl stop redis-server.service")
    before = by_hand.host.file(sign).mtime
    assert by_hand.host.run("systemctl start quai-shop-jobs.service").rc != 0
    assert by_hand.host.check_output("systemctl is-failed quai-shop-jobs.service") == "failed"
    assert by_hand.host.file(sign).mtime == before
    outcome = by_hand.outcome("shop", "jobs")
    assert not outcome["ok"]
    assert "127.0.0.1" in outcome["message"]
    done = by_hand.host.run("quai-maintain status")
    assert done.rc == 1
    assert any(line.startswith("FAILED shop jobs") for line in done.stdout.splitlines())
    said = by_hand.host.check_output("journalctl --no-pager -o cat -n 5 -u quai-shop-jobs.service")
    assert "quai-maintain: shop jobs: " in said
    assert "Traceback" not in said


def test_each_run_is_one_line_in_the_journal(by_hand: Kept) -> None:
    by_hand.host.check_output("systemctl start quai-shop-jobs.service")
    identity = by_hand.host.check_output("systemctl show quai-shop-jobs.service -p InvocationID --value")
    said = by_hand.host.check_output(f"journalctl --no-pager -o cat _SYSTEMD_INVOCATION_ID={identity}").splitlines()
    assert said == ["shop jobs: removed 20 jobs of mail: 10 completed, 10 failed"]


def test_secrets_are_in_one_place(kept: Kept, given: dict[str, Any]) -> None:
    (value,) = given["maintenance_secrets"].values()
    places = "/etc/quai /var/lib/quai /var/log /var/cache/quai /run/quai /usr/local /etc/systemd"
    found = kept.host.run(f"grep -rlaF -e {value} {places}").stdout.split()
    assert sorted(path for path in found if not path.startswith("/var/log/journal/")) == [
        "/etc/quai/maintenance/blog.secrets.json",
        "/etc/quai/maintenance/shop.secrets.json",
    ]
    for project in ("blog", "shop"):
        assert kept.host.file(f"/etc/quai/maintenance/{project}.secrets.json").mode == 0o600
    assert kept.host.run(f"journalctl --no-pager -o cat -a | grep -F -e {value}").stdout == ""


def test_units(host: Any) -> None:
    """Started with the host; systemd has no word against them; a job without a schedule has no timer."""
    for name in UNITS:
        assert host.service(f"{name}.timer").is_enabled
        assert host.service(f"{name}.timer").is_running
    names = " ".join(f"/etc/systemd/system/{name}.{kind}" for name in UNITS for kind in ("service", "timer"))
    done = host.run(f"systemd-analyze verify {names}")
    assert (done.rc, done.stderr) == (0, "")
    assert host.file("/etc/systemd/system/quai-blog-by_hand.service").exists
    assert not host.file("/etc/systemd/system/quai-blog-by_hand.timer").exists


def test_only_its_own_code_is_on_its_path(host: Any) -> None:
    host.check_output("mkdir -p /root/trap && echo 'raise SystemExit(3)' > /root/trap/json.py")
    done = host.run("cd /root/trap && PYTHONPATH=/root/trap quai-maintain status --json")
    assert {one["job"] for one in json.loads(done.stdout)} == {"jobs", "sessions", "by_hand"}
    assert host.run(f"ls -d {LIBRARY}/__pycache__").rc != 0


def test_a_job_that_is_taken_away_is_done_no_more(host: Any, converge: Converge, given: dict[str, Any]) -> None:
    """Its units go, those of others stay; with the last one all of it goes, but what was noted stays."""
    jobs = given["maintenance_jobs"]
    outcome = converge(maintenance_jobs=jobs[1:])
    assert not outcome.failed, outcome.said
    assert host.run("systemctl cat quai-shop-jobs.timer").rc != 0
    assert not host.file("/etc/systemd/system/quai-shop-jobs.service").exists
    assert host.service("quai-shop-sessions.timer").is_running
    outcome = converge(maintenance_jobs=[])
    assert not outcome.failed, outcome.said
    assert host.run("ls /etc/systemd/system | grep '^quai-'").stdout == ""
    for path in ("/etc/quai/maintenance", "/usr/local/bin/quai-maintain", "/usr/local/lib/quai/maintenance"):
        assert not host.file(path).exists, path
    assert host.file(f"{STATE}/shop/jobs.done").exists
    outcome = converge()
    assert not outcome.failed, outcome.said
    assert host.service("quai-shop-jobs.timer").is_running


def test_wrong_variables_are_refused_before_anything_is_touched(converge: Converge, given: dict[str, Any]) -> None:
    """All of them at once."""
    jobs = given["maintenance_jobs"]
    wrong = [{**jobs[0], "rules": [{"state": "gone"}], "schedule": "0 3 * * *", "conection": {}}, jobs[1], jobs[1]]
    outcome = converge(maintenance_jobs=wrong, maintenance_secrets={})
    assert outcome.failed
    for words in (
        "rules[0].state: 'gone'",
        "*-*-* 03:00:00",
        "did you mean connection",
        "already the unit",
        "shop.REDIS",
    ):
        assert words in outcome.said, words
    assert "changed=0" in outcome.said
