# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the watch knows as metrics for node_exporter's textfile collector.

No times of samples: the collector refuses a whole file for one. What is unknown is absent, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from ansible_collections.quai.ops.plugins.module_utils._monitor_store import LEVELS, replace

_ALERT_STATES: Final = ("ok", "pending", "firing", "escalated", "flapping")
_SUPPRESSED: Final = ("maintenance", "dependency", "release", "uplink", "ack")
_PHASES: Final = ("resolve", "connect", "tls", "ttfb", "transfer")
# Every family: its type and its help, in the order of the file.
_FAMILIES: Final = {
    "health_probe_success": ("gauge", "Whether the last result is ok or degraded."),
    "health_probe_status": ("gauge", "Last result: 0 ok, 1 degraded or warning, 2 critical, 3 unknown."),
    "health_probe_failed": ("gauge", "1 with the reason of a last result that is bad."),
    "health_probe_duration_seconds": ("gauge", "Time of the last run of the probe."),
    "health_probe_phase_seconds": ("gauge", "Time of one phase of the last run of the probe."),
    "health_probe_consecutive_failures": ("gauge", "Bad results in a row."),
    "health_probe_last_success_timestamp_seconds": ("gauge", "Time of the last good result."),
    "health_probe_http_status_code": ("gauge", "Status of the last HTTP answer."),
    "health_tls_not_after_timestamp_seconds": ("gauge", "End of the certificate, or of the first of its chain."),
    "health_tls_verified": ("gauge", "Whether the certificate is valid for the name."),
    "health_disk_used_ratio": ("gauge", "Used part of what unprivileged programs may use."),
    "health_disk_inodes_used_ratio": ("gauge", "Used part of the inodes."),
    "health_disk_full_in_seconds": ("gauge", "Time until it is full at its trend; absent when flat or unknown."),
    "health_backup_age_seconds": ("gauge", "Age of the newest backup."),
    "health_backup_size_bytes": ("gauge", "Size of the newest backup."),
    "health_heartbeat_age_seconds": ("gauge", "Time since the last sign of life."),
    "health_queue_depth": ("gauge", "Jobs that wait."),
    "health_queue_oldest_seconds": ("gauge", "Time for which the oldest job has waited."),
    "health_log_matches_total": ("counter", "Matching lines since the log is watched."),
    "health_alert_state": ("gauge", "1 for the state the alert is in, 0 for the others."),
    "health_alert_since_timestamp_seconds": ("gauge", "Time since when the alert is in its state."),
    "health_alert_suppressed": ("gauge", "Whether messages are held back, and by what."),
    "health_notifications_total": ("counter", "Tries to deliver a message, by their result."),
    "health_outbox_messages": ("gauge", "Messages that wait to be delivered."),
    "health_restarts_total": ("counter", "Restarts by the guard."),
    "health_restart_guard_open": ("gauge", "1 when the guard has given up restarting."),
    "health_run_timestamp_seconds": ("gauge", "Time of the last run."),
    "health_run_duration_seconds": ("gauge", "Time the last run took for its probes."),
    "health_run_probes": ("gauge", "Probes of the last run."),
    "health_run_overruns_total": ("counter", "Runs that found the one before still at work."),
    "health_project_waiting": ("gauge", "1 for a project that is not live yet, so that its probes do not run."),
}
# Fields of a probe's details by the metric that shows them, with their factor.
_DETAILS: Final[dict[str, tuple[tuple[str, str, float], ...]]] = {
    "disk": (
        ("used_pct", "health_disk_used_ratio", 0.01),
        ("inodes_used_pct", "health_disk_inodes_used_ratio", 0.01),
        ("full_in_days", "health_disk_full_in_seconds", 86400),
    ),
    "backup": (("age_s", "health_backup_age_seconds", 1), ("bytes", "health_backup_size_bytes", 1)),
    "heartbeat": (("age_s", "health_heartbeat_age_seconds", 1),),
    "queue": (("depth", "health_queue_depth", 1), ("oldest_s", "health_queue_oldest_seconds", 1)),
    "log": (("total", "health_log_matches_total", 1),),
}
# The probe's value stands for the field that its type calls the main one.
_MAIN: Final = {"disk": "used_pct", "backup": "age_s", "heartbeat": "age_s", "queue": "depth", "log": "per_hour"}


class _Page:
    """Samples by family."""

    def __init__(self) -> None:
        self._samples: dict[str, dict[str, float]] = {name: {} for name in _FAMILIES}

    def add(self, name: str, value: Any, labels: Mapping[str, str]) -> None:
        """Add a sample; an unknown value adds none, and a second one of the same labels replaces the first."""
        if isinstance(value, bool):
            value = int(value)
        if not isinstance(value, (int, float)) or math.isnan(value):
            return
        inner = ",".join(f'{key}="{escape(text)}"' for key, text in labels.items())
        self._samples[name][f"{{{inner}}}" if inner else ""] = value

    def text(self) -> str:
        """The file."""
        lines = []
        for name, (kind, help_) in _FAMILIES.items():
            samples = self._samples[name]
            if samples:
                lines += [f"# HELP {name} {help_}", f"# TYPE {name} {kind}"]
                lines += [f"{name}{labels} {_number(value)}" for labels, value in samples.items()]
        return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """A label's value as the format wants it."""
    return str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e15):
        return str(int(value))
    return repr(round(value, 6))


def render(
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    now: float,
    *,
    waiting: int,
    channels: Mapping[str, Mapping[str, Any]],
    overruns: int,
    idle: Collection[str] = (),
) -> str:
    """Return the metrics. C(waiting): messages in the outbox; C(channels): counts per channel; C(idle): projects that
    are not live yet.
    """
    page = _Page()
    for spec in config["probes"]:
        if spec.get("project") not in idle or not spec.get("project"):
            _probe(page, spec, state["probes"].get(spec["name"]), now)
    _guards(page, config, state)
    for name, counts in sorted(channels.items()):
        page.add("health_notifications_total", counts["sent"], {"channel": name, "result": "sent"})
        page.add("health_notifications_total", counts["failed"], {"channel": name, "result": "failed"})
    page.add("health_outbox_messages", waiting, {})
    run = state["run"]
    page.add("health_run_timestamp_seconds", run["at"], {})
    page.add("health_run_duration_seconds", run["duration"], {})
    page.add("health_run_probes", run["probes"], {})
    page.add("health_run_overruns_total", overruns, {})
    for name in sorted(config["projects"]):
        page.add("health_project_waiting", name in idle, {"project": name})
    return page.text()


def _probe(page: _Page, spec: Mapping[str, Any], entry: Mapping[str, Any] | None, now: float) -> None:
    result = (entry or {}).get("result")
    if entry is None or not result:
        return  # it never ran: absent, and health_run_probes tells
    status = LEVELS.get(entry.get("status", ""), LEVELS.get(result["status"]))
    if status is None:
        return
    name, kind = spec["name"], str(spec.get("type") or result["type"])
    labels = {
        "probe": name,
        "type": kind,
        "severity": str(spec.get("severity") or result["severity"]),
        "service": str(spec.get("project") or result["project"]),
    }
    page.add("health_probe_success", result["status"] in ("ok", "degraded"), labels)
    page.add("health_probe_status", LEVELS.get(result["status"]), labels)
    if result["reason"]:
        page.add("health_probe_failed", 1, {**labels, "reason": result["reason"]})
    page.add("health_probe_duration_seconds", _scaled(result["latency_ms"], 0.001), labels)
    for phase in _PHASES:
        page.add("health_probe_phase_seconds", (result["phases"] or {}).get(phase), {**labels, "phase": phase})
    page.add("health_probe_consecutive_failures", entry.get("bad"), labels)
    page.add("health_probe_last_success_timestamp_seconds", entry.get("last_ok") or None, labels)
    page.add("health_probe_http_status_code", (result["http"] or {}).get("status"), labels)
    _tls(page, result, labels, now)
    details = dict(result["details"] or {})
    if kind in _MAIN:
        details.setdefault(_MAIN[kind], result["value"])
    extra = {"path": str(spec.get("path") or "/")} if kind == "disk" else {}
    for field, metric, factor in _DETAILS.get(kind, ()):
        page.add(metric, _scaled(details.get(field), factor), {**labels, **extra})
    alert = entry.get("alert") or {}
    for one in _ALERT_STATES:
        page.add("health_alert_state", alert.get("state") == one, {**labels, "state": one})
    page.add("health_alert_since_timestamp_seconds", alert.get("since") or None, labels)
    acked = bool(alert.get("acked")) and (alert["acked"].get("until") or 0) > now
    for by in _SUPPRESSED:
        held = acked if by == "ack" else alert.get("suppressed") == by
        page.add("health_alert_suppressed", held, {**labels, "by": by})


def _tls(page: _Page, result: Mapping[str, Any], labels: Mapping[str, str], now: float) -> None:
    tls = result["tls"] or {}
    if not tls:
        return
    at = result.get("checked_at") or now
    ends = _seconds(tls.get("not_after"))
    if ends is None and isinstance(tls.get("days"), (int, float)):
        ends = at + tls["days"] * 86400
    page.add("health_tls_not_after_timestamp_seconds", ends, {**labels, "position": "leaf"})
    if isinstance(tls.get("chain_days"), (int, float)):
        chain = at + tls["chain_days"] * 86400
        page.add("health_tls_not_after_timestamp_seconds", round(chain), {**labels, "position": "chain"})
    if "verify_code" in tls or "verified" in tls:
        page.add("health_tls_verified", tls.get("verified", tls.get("verify_code") == 0), labels)


def _seconds(at: Any) -> float | None:
    if isinstance(at, (int, float)) and not isinstance(at, bool):
        return at
    if isinstance(at, str) and at:
        from datetime import datetime

        try:
            return datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
        except ValueError:
            return None
    return None


def _scaled(value: Any, factor: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value * factor


def _guards(page: _Page, config: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    totals: dict[str, int] = {}
    opened: dict[str, bool] = {}
    for spec in config["probes"]:
        restart = spec.get("restart")
        if restart:
            unit = str(restart.get("unit") or restart.get("container"))
            guard = state["guards"].get(spec["name"]) or {}
            totals[unit] = totals.get(unit, 0) + int(guard.get("total") or 0)
            opened[unit] = opened.get(unit, False) or guard.get("open_since") is not None
    for unit, total in sorted(totals.items()):
        page.add("health_restarts_total", total, {"unit": unit})
        page.add("health_restart_guard_open", opened[unit], {"unit": unit})


def write(path: Path, text: str) -> None:
    """Replace the file, for everyone to read. Raises OSError."""
    # The name of the candidate starts with a dot and does not end in .prom, so no collector reads it.
    replace(path, text.encode(), 0o644)


__all__ = ["escape", "render", "write"]
