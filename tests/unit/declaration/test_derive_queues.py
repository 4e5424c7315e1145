# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a declaration to what is done with queues and Redis, by hand and by schedule."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import normalise
from ansible_collections.quai.ops.plugins.plugin_utils._derive import Environment, merge_host
from ansible_collections.quai.ops.plugins.plugin_utils._values import longest_gap

from tests.unit.declaration.test_derive import demo, real

SECRETS = "secrets: {REDIS_PASSWORD: {description: x, generate: {}}}\n"
SERVICES = (
    "services:\n  r: {image: 'redis:7'}\n  w: {image: demo/w}\n  s: {runtime: systemd, command: [x]}\n"
    "  p: {runtime: pm2, script: x.js, user: node}\nsource: {repository: 'https://example.org/x.git'}\n"
)
SERVER = "redis: {main: {service: r, password_secret: REDIS_PASSWORD}}\n"


def queue(text: str = "", worker: str = "w") -> dict[str, Any]:
    more = f", {text}" if text else ""
    declared = f"queues: {{mail: {{library: bullmq, redis: main, worker: {worker}{more}}}}}\n"
    (found,) = demo(SECRETS + SERVICES + SERVER + declared)["queues_declared"]
    return dict(found)


# ---- the guides' figures, said a second time on purpose --------------------------------------------------------


def test_completed_jobs_of_a_day_are_kept_and_failed_ones_are_not_touched() -> None:
    """MOV-6: grace 86400000."""
    (found,) = real("moverz")["queues_declared"]
    assert found["queue"] == "photo-analyze"
    assert found["rules"] == [{"state": "completed", "older_than": "24h"}]


def test_masstock_is_reached_through_its_container() -> None:
    """MAS-7: no port of Redis is published."""
    (found,) = real("masstock")["queues_declared"]
    assert found["connection"] == {
        "container": "masstock_redis",
        "port": 6379,
        "database": 0,
        "password": "${masstock.REDIS_PASSWORD}",
    }
    assert (found["queue"], found["prefix"], found["library"]) == ("workflow-queue", "bull", "bull")
    assert found["restart"] == ["docker", "restart", "masstock_worker"]


def test_techplus_cleans_what_the_guide_cleans() -> None:
    """TEC-10."""
    (found,) = real("techplus")["queues_redis"]
    assert found["rules"] == [
        {"pattern": "expired:*", "only_without_ttl": False},
        {"pattern": "session:*", "only_without_ttl": True},
    ]


# ---- queues ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "rules"),
    [
        pytest.param("keep_completed: 7d", [("completed", "7d")], id="completed"),
        pytest.param("keep_failed: 30d", [("completed", "24h"), ("failed", "30d")], id="failed-too"),
        pytest.param("clean: [{state: failed, older_than: 1h}]", [("failed", "1h")], id="rules-instead"),
    ],
)
def test_what_is_cleaned(said: str, rules: list[tuple[str, str]]) -> None:
    assert [(rule["state"], rule["older_than"]) for rule in queue(said)["rules"]] == rules


def test_a_rule_says_only_what_was_said() -> None:
    said = "clean: [{state: failed, keep_last: 0, limit: 5, name: 'send-*', failed_reason: 'ECONN*'}]"
    assert queue(said)["rules"] == [
        {"state": "failed", "keep_last": 0, "limit": 5, "name": "send-*", "failed_reason": "ECONN*"}
    ]


def test_what_else_is_said_of_a_queue() -> None:
    found = queue("name: m, prefix: '{q}', version: '4.18', most_removed: 20%, protect: true, stuck_after: 5m")
    wanted = {"name": "mail", "queue": "m", "prefix": "{q}", "version": "4.18", "max_remove": "20%", "protect": True}
    assert {key: found[key] for key in wanted} == wanted
    assert found["stuck_after"] == 300


@pytest.mark.parametrize(
    ("worker", "command"),
    [
        ("w", ["docker", "restart", "demo_w"]),
        ("s", ["systemctl", "restart", "quai-demo-s.service"]),
        ("p", ["runuser", "-u", "node", "--", "pm2", "restart", "demo-p"]),
    ],
)
def test_how_workers_are_restarted(worker: str, command: list[str]) -> None:
    assert queue(worker=worker)["restart"] == command


@pytest.mark.parametrize(
    ("server", "connection"),
    [
        pytest.param("host: 127.0.0.1", {"host": "127.0.0.1", "port": 6379, "database": 0}, id="host"),
        pytest.param("url_secret: REDIS_PASSWORD", {"url": "${demo.REDIS_PASSWORD}"}, id="url"),
        pytest.param(
            "host: h, port: 6380, database: 3, user: ops, password_secret: REDIS_PASSWORD, tls: true",
            {
                "host": "h", "port": 6380, "database": 3, "user": "ops",
                "password": "${demo.REDIS_PASSWORD}", "tls": True,
            },
            id="everything",
        ),
        pytest.param("service: s", {"host": "127.0.0.1", "port": 6379, "database": 0}, id="no-container"),
    ],
)  # fmt: skip
def test_where_redis_is(server: str, connection: dict[str, Any]) -> None:
    (found,) = demo(SECRETS + SERVICES + f"redis: {{main: {{{server}}}}}\n")["queues_redis"]
    assert found["connection"] == connection


# ---- jobs ------------------------------------------------------------------------------------------------------

JOBS = (
    "queues: {mail: {library: bull, redis: main, worker: w, most_removed: '500'}}\n"
    "maintenance:\n"
    "  tidy: {description: Tidy., kind: queue_cleanup, queue: mail, schedule: '*-*-* 03:00:00', timeout: 10m}\n"
    "  keys: {description: Keys., kind: redis_cleanup, redis: main}\n"
    "  later: {description: Later., kind: journal_cleanup, schedule: daily}\n"
)
CLEANED = SERVER.replace("}}", ", clean: [{pattern: 'expired:*'}]}}")


def test_jobs_of_two_kinds_are_run_so_far() -> None:
    """The others are not derived yet; docs/queues.md says so."""
    found = {job["name"]: job for job in demo(SECRETS + SERVICES + CLEANED + JOBS)["maintenance_jobs"]}
    assert set(found) == {"tidy", "keys"}
    tidy = found["tidy"]
    assert (tidy["queues"], tidy["library"], tidy["max_remove"]) == (["mail"], "bull", "500")
    assert (tidy["schedule"], tidy["timeout"]) == ("*-*-* 03:00:00", 600)
    assert tidy["active_when"] == "/srv/demo/stack"
    assert found["keys"]["schedule"] == ""
    assert found["keys"]["rules"] == [{"pattern": "expired:*", "only_without_ttl": False}]
    assert found["keys"]["protected"] == ["bull:*"], "a pattern must never reach the jobs"


def test_silence_of_a_scheduled_job_is_an_alarm() -> None:
    host = merge_host([demo(SECRETS + SERVICES + CLEANED + JOBS, Environment())])
    probes = {probe["name"]: probe for probe in host["monitoring_cron_probes"]}
    probe = probes["demo.maintenance.tidy"]
    assert probe["type"] == "heartbeat"
    assert probe["file"] == "/var/lib/quai/maintenance/demo/tidy.done"
    assert probe["max_age"] == 2 * 86400 + 600
    assert {name for name in probes if ".maintenance." in name} == {"demo.maintenance.tidy"}, "keys has no schedule"
    assert normalise(host["monitoring_cron_probes"])


def test_projects_on_one_host_keep_their_jobs() -> None:
    host = merge_host([real("masstock"), demo(SECRETS + SERVICES + CLEANED + JOBS)])
    jobs = [(job["project"], job["name"]) for job in host["maintenance_jobs"]]
    assert jobs == [("masstock", "queue"), ("demo", "tidy"), ("demo", "keys")]


def test_what_is_derived_can_be_overridden() -> None:
    """By the name of the queue and of the job, as everything else."""
    over = (
        "overrides:\n"
        "  queues_declared: [{name: mail, prefix: other}]\n"
        "  maintenance_jobs: [{name: tidy, timeout: 60}]\n"
    )
    found = demo(SECRETS + SERVICES + CLEANED + JOBS + over)
    assert found["queues_declared"][0]["prefix"] == "other"
    assert found["queues_declared"][0]["queue"] == "mail"
    assert {job["name"]: job["timeout"] for job in found["maintenance_jobs"]} == {"tidy": 60, "keys": 3600}


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [
        ("minutely", 60),
        ("hourly", 3600),
        ("yearly", 366 * 86400),
        ("*-*-* 03:30:00", 86400),
        ("03:30", 86400),
        ("*-*-*", 86400),
        ("*:0/15", 900),
        ("*-*-* *:05:00", 3600),
        ("*-*-* 00/6:00:00", 6 * 3600),
        ("*-*-* 08..18:00:00", 14 * 3600),
        ("*-*-* 02,14,20:00:00", 12 * 3600),
        ("Sun *-*-* 04:00:00", 7 * 86400),
        ("Mon..Fri 04:00", 7 * 86400),
        ("*-*-01 02:00:00", 31 * 86400),
        ("*-01-01 02:00:00", 366 * 86400),
        ("01-01", 366 * 86400),
        ("Mon", 7 * 86400),
    ],
)
def test_the_longest_silence_of_a_schedule(schedule: str, seconds: int) -> None:
    assert longest_gap(schedule) == seconds
