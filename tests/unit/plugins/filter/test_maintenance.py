# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role maintenance puts on a host, and what it refuses beforehand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.filter.host_python import LIBRARY
from ansible_collections.quai.ops.plugins.filter.maintenance import (
    FilterModule,
    maintenance_files,
    maintenance_problems,
    maintenance_unit_files,
    maintenance_unit_names,
    maintenance_units,
)
from ansible_collections.quai.ops.plugins.filter.monitoring import host_program

from tests.unit.declaration.test_derive import real

SECRETS = {"shop.REDIS": "pass-1", "shop.OTHER": "pass-2", "blog.REDIS": "pass-3"}


def job(**more: Any) -> dict[str, Any]:
    return {
        "name": "jobs",
        "project": "shop",
        "kind": "queue_cleanup",
        "schedule": "daily",
        "timeout": 60,
        "connection": {"container": "shop_redis", "password": "${shop.REDIS}"},
        "queues": ["mail"],
        "rules": [{"state": "completed", "older_than": "24h"}],
        **more,
    }


KEYS = {
    "name": "keys",
    "project": "blog",
    "kind": "redis_cleanup",
    "connection": {"host": "127.0.0.1", "password": "${blog.REDIS}"},
    "rules": [{"pattern": "session:*", "only_without_ttl": True}],
}


@pytest.mark.parametrize("project", ["masstock", "techplus"])
def test_the_role_takes_what_projects_become(project: str) -> None:
    jobs = real(project)["maintenance_jobs"]
    assert jobs
    assert maintenance_problems(jobs, {"masstock.REDIS_PASSWORD": "x"}) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({}, "", id="good"),
        pytest.param({"name": "A b"}, "'A b' is no name of a job", id="name"),
        pytest.param({"project": "units"}, "'units' is the name of a file of this role", id="project-file"),
        pytest.param({"project": "../x"}, "'../x' is no name of a project", id="project"),
        pytest.param({"kind": "queue_clean"}, "'queue_clean' is none of queue_cleanup, redis_cleanup", id="kind"),
        pytest.param({"schedule": "0 3 * * *"}, "write *-*-* 03:00:00", id="schedule"),
        pytest.param({"timeout": "1h"}, "'1h' is no whole number of seconds", id="timeout"),
        pytest.param({"rule": []}, "has no 'rule', did you mean rules?", id="option"),
        pytest.param({"rules": [{"state": "x", "older_than": 1}]}, "rules[0].state: 'x' is none of", id="rule"),
        pytest.param({"max_remove": "some"}, "max_remove: 'some' is neither", id="max-remove"),
        pytest.param({"connection": {}}, "is no connection", id="no-connection"),
        pytest.param({"connection": {"hots": "x"}}, "there is no 'hots', did you mean host?", id="connection"),
        pytest.param({"connection": {"host": "x", "port": "high"}}, "port: 'high' is no whole number", id="port"),
        pytest.param({"connection": {"host": "x", "url": "redis://x"}}, "url and host say two", id="two-places"),
        pytest.param({"connection": {"url": "http://x"}}, "must with redis://", id="url"),
        pytest.param({"connection": {"password": "${shop.NONE}"}}, "the secret shop.NONE, which", id="secret"),
    ],
)
def test_problems(change: dict[str, Any], words: str) -> None:
    found = maintenance_problems([job(**change)], SECRETS)
    assert words in "; ".join(found)
    assert bool(found) is bool(words), found


def test_all_problems_at_once() -> None:
    found = maintenance_problems([job(), job(), {**KEYS, "rules": []}, "x"], SECRETS)
    assert len(found) == 3
    assert "maintenance_jobs[1]: quai-shop-jobs is already the unit of maintenance_jobs[0]" in found[0]
    assert "maintenance_jobs[2]" in found[1]
    assert "maintenance_jobs[3]: 'x' is no job" in found[2]


def test_files_hold_their_own_project_s_secrets_and_no_others() -> None:
    files = {entry["path"]: entry for entry in maintenance_files([job(), KEYS], SECRETS)}
    shop = files["/etc/quai/maintenance/shop.secrets.json"]
    assert (shop["mode"], shop["secret"]) == ("0600", True)
    assert json.loads(shop["content"]) == {"shop.REDIS": "pass-1"}
    assert json.loads(files["/etc/quai/maintenance/blog.secrets.json"]["content"]) == {"blog.REDIS": "pass-3"}
    config = files["/etc/quai/maintenance/shop.json"]["content"]
    assert json.loads(config) == {"jobs": [job()]}
    assert "pass-" not in config


def test_a_sign_of_life_is_made_once() -> None:
    """So that silence counts from the day on which the job came to the host, and no converge is taken for a run."""
    (sign,) = [entry for entry in maintenance_files([job()], SECRETS) if entry["path"].endswith(".done")]
    assert sign["path"] == "/var/lib/quai/maintenance/shop/jobs.done"
    assert sign["force"] is False


def test_units() -> None:
    """A job without a schedule has no timer; each timer takes its own new settings only."""
    assert maintenance_unit_names(job()) == ["quai-shop-jobs.service", "quai-shop-jobs.timer"]
    assert maintenance_unit_names(job(schedule="")) == ["quai-shop-jobs.service"]
    service, timer = maintenance_unit_files(job())
    assert service["template"] == "etc/systemd/system/job.service.j2"
    assert timer["template"] == "etc/systemd/system/job.timer.j2"
    assert timer["notify"] == ["maintenance-quai-shop-jobs"]
    known, runs = maintenance_units(job())
    assert known == {"name": "quai-shop-jobs.service"}
    assert (runs["enabled"], runs["state"], runs["flag"]) == (True, "started", timer["notify"][0])
    assert maintenance_units(job(name="x"))[1]["flag"] != runs["flag"]


def test_its_code_is_not_that_of_the_watch() -> None:
    """The two roles come and go without each other."""
    paths = [entry["path"] for entry in host_program("quai_maintain", "maintenance")]
    assert all(path.startswith(f"{LIBRARY}/maintenance/ansible_collections/quai/ops/") for path in paths)
    names = {path.rpartition("/")[2] for path in paths}
    assert {"quai_maintain.py", "_queue_task.py", "_queue_clean.py", "_queue_retry.py", "_redis_keys.py"} <= names
    assert not {name for name in names if name.startswith(("_monitor", "_report", "_probe_sql"))}


def test_every_filter_has_a_name() -> None:
    assert set(FilterModule().filters()) == {
        "maintenance_files", "maintenance_problems", "maintenance_unit_files", "maintenance_unit_names",
        "maintenance_units",
    }  # fmt: skip
