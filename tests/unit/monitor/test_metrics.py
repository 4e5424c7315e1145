# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The textfile for Prometheus: check 23 of the specification."""

from __future__ import annotations

import multiprocessing
import re
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _monitor_metrics as metrics
from ansible_collections.quai.ops.plugins.module_utils import _monitor_store as store

from tests.unit.monitor.parts import T0

EVIL = 'a"b\\c\nd'


def result(name: str, kind: str, **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {
        "name": name, "type": kind, "project": "shop", "severity": "high", "status": "ok", "reason": "", "message": "",
        "value": None, "latency_ms": 12.5, "phases": {}, "tls": {}, "http": {}, "details": {}, "checked_at": T0,
    }  # fmt: skip
    return {**empty, **more}


def entry(one: dict[str, Any], **more: Any) -> dict[str, Any]:
    alert = {"state": "ok", "since": T0 - 60, "suppressed": "", "acked": {"by": "", "at": 0, "until": 0}}
    empty = {"status": one["status"], "since": T0, "last_ok": T0, "bad": 0, "result": one, "alert": alert}
    return {**empty, **more}


def rendered(results: list[dict[str, Any]], idle: set[str] | None = None, **entries: dict[str, Any]) -> str:
    state = store.new_state()
    state["run"].update(at=T0, duration=0.125, probes=len(results))
    state["probes"] = {one["name"]: entry(one, **entries.get(one["name"], {})) for one in results}
    state["guards"] = {"web": {"total": 4, "open_since": T0}}
    probes = [{"name": one["name"], "type": one["type"], "project": "shop", "severity": "high"} for one in results]
    probes[0]["restart"] = {"unit": "web.service", "container": ""}
    config = {"probes": probes, "projects": {"shop": {}, EVIL: {}}}
    counts = {EVIL: {"sent": 3, "failed": 1}}
    return metrics.render(config, state, T0, waiting=2, channels=counts, overruns=7, idle=idle or set())


def everything() -> str:
    return rendered(
        [
            result(
                "web", "http", status="critical", reason="status", http={"status": 503}, latency_ms=250.0,
                phases={"resolve": 0.001, "connect": 0.002, "tls": 0.01, "ttfb": 0.2, "transfer": 0.0005},
                tls={"days": 10.0, "not_after": T0 + 864000, "chain_days": 9.0, "verify_code": 0},
            ),
            result("disk", "disk", value=91.5, details={"inodes_used_pct": 3.0, "full_in_days": 2.0}),
            result("flat", "disk", value=10.0, details={"inodes_used_pct": None, "full_in_days": None}),
            result("backup", "backup", value=None, status="critical", reason="missing"),
            result("queue", "queue", value=3, details={"oldest_s": 0}),
            result("beat", "heartbeat", value=12.25),
            result("log", "log", value=4, details={"total": 1234567}),
        ],
        web={"bad": 3, "last_ok": T0 - 300, "alert": {
            "state": "firing", "since": T0 - 180, "suppressed": "maintenance", "acked": {"by": "a", "until": T0 + 60}
        }},
    )  # fmt: skip


def samples(text: str) -> dict[str, float]:
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


WEB = 'probe="web",type="http",severity="high",service="shop"'


@pytest.mark.parametrize(
    ("sample", "value"),
    [
        (f"health_probe_success{{{WEB}}}", 0),
        (f"health_probe_status{{{WEB}}}", 2),
        (f'health_probe_failed{{{WEB},reason="status"}}', 1),
        (f"health_probe_duration_seconds{{{WEB}}}", 0.25),
        (f'health_probe_phase_seconds{{{WEB},phase="tls"}}', 0.01),
        (f"health_probe_consecutive_failures{{{WEB}}}", 3),
        (f"health_probe_last_success_timestamp_seconds{{{WEB}}}", T0 - 300),
        (f"health_probe_http_status_code{{{WEB}}}", 503),
        (f'health_tls_not_after_timestamp_seconds{{{WEB},position="leaf"}}', T0 + 864000),
        (f'health_tls_not_after_timestamp_seconds{{{WEB},position="chain"}}', T0 + 9 * 86400),
        (f"health_tls_verified{{{WEB}}}", 1),
        ('health_disk_used_ratio{probe="disk",type="disk",severity="high",service="shop",path="/"}', 0.915),
        ('health_disk_full_in_seconds{probe="disk",type="disk",severity="high",service="shop",path="/"}', 172800),
        ('health_queue_depth{probe="queue",type="queue",severity="high",service="shop"}', 3),
        ('health_queue_oldest_seconds{probe="queue",type="queue",severity="high",service="shop"}', 0),
        ('health_heartbeat_age_seconds{probe="beat",type="heartbeat",severity="high",service="shop"}', 12.25),
        ('health_log_matches_total{probe="log",type="log",severity="high",service="shop"}', 1234567),
        (f'health_alert_state{{{WEB},state="firing"}}', 1),
        (f'health_alert_state{{{WEB},state="ok"}}', 0),
        (f"health_alert_since_timestamp_seconds{{{WEB}}}", T0 - 180),
        (f'health_alert_suppressed{{{WEB},by="maintenance"}}', 1),
        (f'health_alert_suppressed{{{WEB},by="dependency"}}', 0),
        (f'health_alert_suppressed{{{WEB},by="ack"}}', 1),
        ('health_notifications_total{channel="a\\"b\\\\c\\nd",result="sent"}', 3),
        ("health_outbox_messages", 2),
        ('health_restarts_total{unit="web.service"}', 4),
        ('health_restart_guard_open{unit="web.service"}', 1),
        ("health_run_timestamp_seconds", T0),
        ("health_run_duration_seconds", 0.125),
        ("health_run_probes", 7),
        ("health_run_overruns_total", 7),
    ],
)
def test_each_metric_of_the_specification(sample: str, value: float) -> None:
    assert samples(everything())[sample] == value


def test_what_is_unknown_is_absent() -> None:
    found = samples(everything())
    assert not any("health_backup_age" in name for name in found), "no backup has no age, least of all 0"
    assert not any("full_in_seconds" in name and '"flat"' in name for name in found)
    assert not any("inodes" in name and '"flat"' in name for name in found)
    nothing = rendered([result("web", "http", latency_ms=None, http=None, phases=None, tls=None)])
    assert "health_probe_duration_seconds" not in nothing
    assert "health_probe_http_status_code" not in nothing


def test_a_project_that_waits_is_not_green() -> None:
    text = rendered([result("web", "http")], idle={"shop"})
    assert "health_probe_success" not in text
    assert 'health_project_waiting{project="shop"} 1' in text


def test_no_sample_has_a_time_and_no_name_has_its_help_twice() -> None:
    text = everything()
    assert not re.search(r"\s[0-9.e+-]+ [0-9]{10,}$", text, re.MULTILINE)
    for word in ("HELP", "TYPE"):
        names = re.findall(rf"^# {word} (\S+)", text, re.MULTILINE)
        assert len(names) == len(set(names))
    assert len(text.splitlines()) == len(set(text.splitlines()))


def _write(path: Path, stop: Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        metrics.write(path, "".join(f"sample_{line} {number}\n" for line in range(200)))


def test_a_thousand_readers_never_see_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "quai.prom"
    metrics.write(path, "sample_0 0\n" * 200)
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    writer = context.Process(target=_write, args=(path, stop))
    writer.start()
    try:
        seen = set()
        for _reader in range(1000):
            lines = path.read_text().splitlines()
            assert len(lines) == 200
            numbers = {line.rpartition(" ")[2] for line in lines}
            assert len(numbers) == 1
            seen |= numbers
            assert [one.name for one in tmp_path.glob("*.prom")] == ["quai.prom"]
    finally:
        stop.set()
        writer.join()
    assert len(seen) > 1, "it was written meanwhile"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in tmp_path.iterdir()] == ["quai.prom"]
