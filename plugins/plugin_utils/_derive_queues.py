# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What C(playbooks/queues.yml) and the role C(maintenance) are told of a project's queues and of its Redis.

Pure. A secret stays C(${project.NAME}) until the place of use.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ansible_collections.quai.ops.plugins.plugin_utils._derive_probes import (
    MAINTAINED,
    active_when,
    container_name,
    redis_server,
    unit_name,
)
from ansible_collections.quai.ops.plugins.plugin_utils._values import seconds

Data = dict[str, Any]

# What of a rule is handed on as it is, when it is said.
_RULE: Final = ("state", "older_than", "keep_last", "limit", "name", "failed_reason")


def queues(declaration: Data) -> Data:
    """Return the variables of one project."""
    return {
        "queues_declared": [_queue(declaration, name) for name in declaration["queues"]],
        "queues_redis": [_redis(declaration, name) for name in declaration["redis"]],
        "maintenance_jobs": [
            _job(declaration, name, job)
            for name, job in declaration["maintenance"].items()
            if job["kind"] in MAINTAINED
        ],
    }


def merge_queues(derived: Iterable[Data]) -> Data:
    """Join what several projects have on the one host they share."""
    return {"maintenance_jobs": [job for project in derived for job in project["maintenance_jobs"]]}


def _queue(declaration: Data, name: str) -> Data:
    queue = declaration["queues"][name]
    return {
        "name": name,
        "project": declaration["name"],
        "redis": queue["redis"],
        **_where(declaration, name),
        "queue": queue["name"] or name,
        "protect": queue["protect"],
        "rules": _rules(queue),
        "max_remove": queue["most_removed"] or "",
        "stuck_after": seconds(queue["stuck_after"]),
        "worker": queue["worker"],
        "restart": _restart(declaration, queue["worker"]),
    }


def _where(declaration: Data, name: str) -> Data:
    queue = declaration["queues"][name]
    return {
        "connection": redis_server(declaration, queue["redis"]),
        "prefix": queue["prefix"],
        "library": queue["library"],
        "version": queue["version"] or "",
    }


def _rules(queue: Data) -> list[Data]:
    """Return what is cleaned: the rules as declared, or the two ages."""
    if queue["clean"]:
        return [{key: rule[key] for key in _RULE if rule[key] is not None} for rule in queue["clean"]]
    ages = {"completed": queue["keep_completed"], "failed": queue["keep_failed"]}
    return [{"state": state, "older_than": age} for state, age in ages.items() if age]


def _restart(declaration: Data, worker: str) -> list[str]:
    """Return the command that restarts what works on a queue, for the runtime that it has."""
    project, service = declaration["name"], declaration["services"][worker]
    if service["runtime"] == "compose":
        return ["docker", "restart", container_name(project, worker)]
    if service["runtime"] == "pm2":
        return ["runuser", "-u", service["user"] or project, "--", "pm2", "restart", f"{project}-{worker}"]
    return ["systemctl", "restart", unit_name(project, worker)]


def _redis(declaration: Data, name: str) -> Data:
    return {
        "name": name,
        "project": declaration["name"],
        "connection": redis_server(declaration, name),
        "rules": [dict(rule) for rule in declaration["redis"][name]["clean"]],
        # A pattern that someone writes one day must not reach the jobs.
        "protected": sorted(
            {f"{queue['prefix']}:*" for queue in declaration["queues"].values() if queue["redis"] == name}
        ),
    }


def _job(declaration: Data, name: str, job: Data) -> Data:
    """Return one job of the schedule. What is removed is said by the queue or the Redis, not by the job."""
    common = {
        "name": name,
        "project": declaration["name"],
        "kind": job["kind"],
        "description": job["description"],
        "schedule": job["schedule"] or "",
        "timeout": seconds(job["timeout"]),
        "active_when": active_when(declaration),
    }
    if job["kind"] == "redis_cleanup":
        redis = _redis(declaration, job["redis"])
        return {**common, **{key: redis[key] for key in ("connection", "rules", "protected")}}
    queue = _queue(declaration, job["queue"])
    return {
        **common,
        **_where(declaration, job["queue"]),
        "queues": [queue["queue"]],
        # Before its first job there is nothing of a queue, and nothing wrong with that.
        "missing": "skip",
        "rules": queue["rules"],
        "max_remove": queue["max_remove"],
    }


__all__ = ["merge_queues", "queues"]
