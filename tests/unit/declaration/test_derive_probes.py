# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a declaration to what is watched: the guides' thresholds, said a second time, and each rule by itself."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import normalise
from ansible_collections.quai.ops.plugins.plugin_utils._derive import Environment, merge_host

from tests.unit.declaration.test_derive import WEB, demo, real

PROJECTS = ("masstock", "check-du-matin", "moverz", "niasotac", "techplus")


def probes_of(derived: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {probe["name"]: probe for probe in derived["monitoring_cron_probes"]}


@pytest.mark.parametrize("project", PROJECTS)
def test_the_engine_takes_what_every_project_becomes(project: str) -> None:
    host = merge_host([real(project)])
    specs = normalise(host["monitoring_cron_probes"])
    assert len(specs) == len(host["monitoring_cron_probes"]) > 5
    assert {spec["name"] for spec in specs} >= {"host.disk", "host.memory", "host.cpu", "host.load"}


def test_all_projects_on_one_host_are_watched_together() -> None:
    host = merge_host([real(project) for project in PROJECTS])
    specs = normalise(host["monitoring_cron_probes"])
    assert [spec["name"] for spec in specs].count("host.disk") == 1
    assert set(host["monitoring_cron_policies"]) == {*PROJECTS, "host"}
    told = {
        channel
        for policy in host["monitoring_cron_policies"].values()
        for severity in policy.values()
        for channel in severity["notify"] + severity["escalate_to"]
    }
    assert told <= set(host["monitoring_cron_channels"])


# ---- the guides' figures, said a second time on purpose --------------------------------------------------------


@pytest.mark.parametrize(
    ("project", "probe", "level", "condition"),
    [
        pytest.param("moverz", "moverz.ai", "expect", "json.successRate >= 0.95", id="MOV-5-success"),
        pytest.param("moverz", "moverz.ai", "expect", "json.latency.p95 <= 15000", id="MOV-5-latency"),
        pytest.param("moverz", "moverz.metrics_closed", "expect", "status in 401,403", id="MOV-closed"),
        pytest.param("niasotac", "host.disk", "warn", "used_pct > 80", id="NIA-2-disk"),
        pytest.param("niasotac", "niasotac.whatsapp", "expect", 'body ~ "wa\\\\.me"', id="NIA-2-whatsapp"),
        pytest.param("niasotac", "niasotac.log.django.admin_logins", "crit", "per_hour > 10", id="NIA-2-logins"),
        pytest.param("techplus", "techplus.detailed", "expect", "json.checks.database == true", id="TEC-3"),
        pytest.param("check-du-matin", "check-du-matin.site", "warn", "latency_ms > 5000", id="CDM-slow"),
        pytest.param("check-du-matin", "host.memory", "warn", "used_pct > 80", id="CDM-5-memory"),
        pytest.param("check-du-matin", "host.cpu", "warn", "used_pct > 80", id="CDM-5-cpu"),
        pytest.param("masstock", "masstock.login", "", "", id="MAS-16"),
        pytest.param("masstock", "masstock.queue", "crit", "stuck == true", id="MAS-11"),
        pytest.param("masstock", "masstock.containers", "warn", "restarts_day > 3", id="MAS-13"),
    ],
)
def test_a_guide_s_threshold(project: str, probe: str, level: str, condition: str) -> None:
    found = probes_of(merge_host([real(project)]))[probe]
    if level:
        assert condition in found[level]
    else:
        [step] = found["steps"]
        for flag in ("http_only == true", "secure == true", 'same_site == "lax"'):
            assert f"cookie.access_token.{flag}" in step["expect"]


@pytest.mark.parametrize(
    ("project", "probe", "key", "figure"),
    [
        pytest.param("niasotac", "niasotac.media", "max_bytes", "5g", id="NIA-2-media"),
        pytest.param("check-du-matin", "check-du-matin.scheduler", "max_age", 900, id="CDM-11"),
        pytest.param("masstock", "masstock.api_inside", "restart", None, id="TEC-11"),
    ],
)
def test_a_guide_s_limit(project: str, probe: str, key: str, figure: Any) -> None:
    found = probes_of(real(project))[probe]
    assert found[key] == (figure if figure is not None else {"container": "masstock_api", "most": 3, "within": 3600})


def test_response_times_are_the_guides() -> None:
    policy = real("techplus")["monitoring_cron_policies"]["techplus"]
    assert {name: policy[name]["respond_within"] // 3600 for name in policy} == {
        "critical": 1,
        "high": 4,
        "medium": 24,
        "low": 72,
    }
    assert policy["critical"]["notify"] == ["techplus.slack"]
    assert policy["critical"]["escalate_to"] == ["techplus.mail"]


# ---- each rule by itself ---------------------------------------------------------------------------------------


def test_secrets_keep_their_names_and_say_whose_they_are() -> None:
    derived = demo(
        "secrets: {TOKEN: {description: t, generate: {}}, DATABASE_URL: {description: d, supplied_by: x}}\n"
        "databases: {main: {engine: postgresql, url_secret: DATABASE_URL}}\n"
        "services: {web: {image: 'a/b', port: 3000}}\n"
        "probes: {a: {service: web, headers: {Authorization: 'Bearer ${TOKEN}', X: '$${TOKEN}'}}}\n"
    )
    found = probes_of(derived)
    assert found["demo.a"]["headers"] == {"Authorization": "Bearer ${demo.TOKEN}", "X": "$${TOKEN}"}
    assert found["demo.database.main"]["url"] == "${demo.DATABASE_URL}"


def test_nothing_is_watched_twice() -> None:
    derived = demo(
        "services: {redis: {image: 'redis:7'}, w: {image: 'a/b'}}\n"
        "redis: {main: {service: redis}}\n"
        "queues: {jobs: {library: bullmq, redis: main, worker: w}}\n"
        "probes: {r: {type: redis, redis: main}, q: {type: queue, queue: jobs}, c: {type: containers}}\n"
    )
    assert sorted(probes_of(derived)) == ["demo.c", "demo.q", "demo.r"]


def test_a_limit_in_the_declaration_is_watched() -> None:
    found = probes_of(
        demo(
            WEB + "volumes: {v: {}}\nfiles: {up: {volume: v, largest: 5g}}\n"
            "databases: {d: {engine: sqlite, path: db.sqlite3, largest: 2g}}\n"
            "logs: {l: {service: web, filters: {e: {pattern: ERROR, most_per_hour: 5}, f: {pattern: x}}}}\n"
            "domains: {d: {names: [a.fr], service: web}, w: {names: ['*.b.fr'], service: web, "
            "certificate: {challenge: dns-01}}}\n"
        )
    )
    assert found["demo.size.up"]["path"] == "/var/lib/docker/volumes/demo_v/_data"
    assert (found["demo.database.d"]["type"], found["demo.database.d"]["max_bytes"]) == ("size", "2g")
    assert found["demo.log.l.e"]["container"] == "demo_web"
    assert "demo.log.l.f" not in found
    assert found["demo.tls.d"]["host"] == "a.fr"
    assert "demo.tls.w" not in found


def test_the_strictest_limit_of_a_shared_machine_wins() -> None:
    loose = demo(WEB + "probes: {d: {type: disk, most_percent: 90, severity: low, every: 1h}}\n")
    strict = demo(WEB + "probes: {d: {type: disk, most_percent: 70, severity: critical, every: 1m}}\n")
    for order in ([loose, strict], [strict, loose]):
        disk = probes_of(merge_host(order))["host.disk"]
        assert disk["warn"][0] == "used_pct > 70"
        assert (disk["severity"], disk["every"]) == ("critical", 60)


def test_what_an_environment_lacks_can_be_switched_off_and_anything_added() -> None:
    derived = demo(
        WEB + "overrides:\n  monitoring_cron_probes:\n"
        "    - {name: demo.containers, enabled: false}\n"
        "    - {name: demo.more, type: load, project: demo, policy: demo, crit: [per_cpu > 9]}\n"
    )
    found = probes_of(merge_host([derived]))
    assert "demo.containers" not in found
    assert found["demo.more"]["crit"] == ["per_cpu > 9"]


def test_further_conditions_and_dependencies_are_kept() -> None:
    found = probes_of(
        demo(
            WEB + "probes:\n  a: {service: web, warn: [latency_ms > 800], crit: [bytes < 10], depends_on: [d, b]}\n"
            "  b: {service: web}\n  d: {type: disk}\n"
        )
    )
    assert found["demo.a"]["warn"] == ["latency_ms > 5000", "latency_ms > 800"]
    assert found["demo.a"]["crit"] == ["bytes < 10"]
    assert found["demo.a"]["depends_on"] == ["host.disk", "demo.b"]


def test_own_sites_are_asked_with_their_private_authority_and_others_are_not() -> None:
    text = (
        WEB + "domains: {d: {names: [a.fr], service: web}}\n"
        "probes: {out: {domain: d}, path: {domain: d, steps: [{path: /x}]}, "
        "other: {url: 'https://b.fr/'}, in: {service: web}}\n"
    )
    found = probes_of(demo(text, Environment(probe_authority="/ca.pem")))
    assert {name for name, probe in found.items() if probe.get("ca_file")} == {"demo.out", "demo.path", "demo.tls.d"}
    assert not [
        probe for probe in demo(text, Environment(probe_authority="/ca.pem"))["health_outside"] if "ca_file" in probe
    ]


def test_the_page_of_the_host_has_its_certificate_watched() -> None:
    page = {"name": "quai.a.fr", "users": {"ann": "x"}}
    host = merge_host([demo(WEB)], page, Environment(probe_authority="/ca.pem"))
    found = probes_of(host)["host.tls.page"]
    assert (found["host"], found["ca_file"], found["policy"]) == ("quai.a.fr", "/ca.pem", "host")
    assert host["nginx_tls_sites"][-1]["basic_auth"]["users"] == {"ann": "x"}
    assert "host.tls.page" not in probes_of(merge_host([demo(WEB)]))


def test_a_project_waits_until_it_was_released() -> None:
    assert demo(WEB)["monitoring_cron_projects"]["demo"]["active_when"] == "/srv/demo/stack"


def test_every_limit_that_projects_set_to_a_shared_machine_is_kept() -> None:
    one = demo(WEB + "probes: {d: {type: disk, most_percent: 90, warn: [full_in_days < 30, read_only == true]}}\n")
    other = demo(WEB + "probes: {d: {type: disk, most_percent: 70}}\n")
    for order in ([one, other], [other, one]):
        disk = probes_of(merge_host(order))["host.disk"]
        assert sorted(disk["warn"]) == [
            "full_in_days < 30", "inodes_used_pct > 70", "read_only == true", "used_pct > 70"
        ]  # fmt: skip
        assert sorted(disk["crit"]) == ["inodes_used_pct > 95", "used_pct > 95"]


def test_what_is_added_belongs_to_its_project_and_needs_no_more_than_it_says() -> None:
    derived = demo(
        WEB + "overrides:\n  monitoring_cron_probes:\n"
        "    - {name: demo.more, type: load}\n"
        "    - {name: host.disk, warn: [used_pct > 60]}\n"
    )
    host = merge_host([derived])
    found = probes_of(host)
    assert (found["demo.more"]["project"], found["demo.more"]["policy"]) == ("demo", "demo")
    assert (found["host.disk"]["type"], found["host.disk"]["warn"]) == ("disk", ["used_pct > 60"])
    assert normalise(host["monitoring_cron_probes"])
