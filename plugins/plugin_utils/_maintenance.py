# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role maintenance is told: checked on the controller, all of it at once, before a host is touched."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from ansible_collections.quai.ops.plugins.module_utils import _queue_task, _redis_keys
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._redis_link import RedisFailed, place
from ansible_collections.quai.ops.plugins.module_utils._redis_options import EXCLUSIVE, OPTIONS, connection
from ansible_collections.quai.ops.plugins.module_utils.quai_maintain import REFERENCE
from ansible_collections.quai.ops.plugins.plugin_utils._fields import FORMATS

Job = Mapping[str, Any]

COMMON: Final = ("name", "project", "kind", "description", "schedule", "timeout", "active_when", "connection")
# A project has a file of its name below /etc/quai/maintenance; units.json there is that of the role.
RESERVED: Final = ("units",)
# On a host the Python that runs it is the system's.
_NOT_HERE: Final = ("client",)


def problems(jobs: Sequence[Any], secrets: Mapping[str, Any]) -> list[str]:
    """Return what is wrong, each with its place and what would be right."""
    found: list[str] = []
    seen: dict[str, str] = {}
    for position, job in enumerate(jobs):
        place = f"maintenance_jobs[{position}]"
        if not isinstance(job, Mapping):
            found.append(f"{place}: {job!r} is no job; it is a dictionary with name, project and kind")
            continue
        found += [f"{place} {words}" for words in _job(job)]
        unit = f"quai-{job.get('project')}-{job.get('name')}"
        if unit in seen:
            found.append(f"{place}: {unit} is already the unit of {seen[unit]}; give the job another name")
        seen.setdefault(unit, place)
        for name in sorted(named([job]) - set(secrets)):
            found.append(f"{place} names the secret {name}, which is not in maintenance_secrets")
    return found


def _job(job: Job) -> Iterator[str]:
    name, project, kind = (str(job.get(key) or "") for key in ("name", "project", "kind"))
    if not re.fullmatch(FORMATS["key"].pattern, name):
        yield f"(name): {name!r} is no name of a job; it is {FORMATS['key'].words}"
    if not re.fullmatch(FORMATS["name"].pattern, project):
        yield f"(project): {project!r} is no name of a project; it is {FORMATS['name'].words}"
    if project in RESERVED:
        yield f"(project): {project!r} is the name of a file of this role; a project needs another name"
    schedule = str(job.get("schedule") or "")
    wrong = FORMATS["schedule"].complaint(schedule) if schedule else ""
    if wrong:
        yield f"(schedule): {schedule!r} {wrong}"
    live = job.get("active_when") or ""
    if live and not (isinstance(live, str) and live.startswith("/")):
        yield f"(active_when): {live!r} is no absolute path"
    timeout = job.get("timeout", 3600)
    if isinstance(timeout, bool) or not isinstance(timeout, int) or timeout < 1:
        yield f"(timeout): {timeout!r} is no whole number of seconds of at least 1"
    if kind not in KINDS:
        yield f"(kind): {kind!r} is none of {', '.join(KINDS)}"
        return
    known, check = KINDS[kind]
    for key in job:
        if key not in (*COMMON, *known):
            near = get_close_matches(str(key), (*COMMON, *known), n=1)
            yield f"has no {key!r}{f', did you mean {near[0]}?' if near else ''}"
    yield from _connection(job.get("connection"))
    try:
        check(job)
    except (QueueProblem, _redis_keys.KeysProblem) as error:
        yield f"({name}): {error}"


def _connection(given: Any) -> Iterator[str]:
    if not isinstance(given, Mapping) or not given:
        yield f"(connection): {given!r} is no connection; it is a dictionary such as {{container: shop_redis}}"
        return
    for key in given:
        if key not in OPTIONS or key in _NOT_HERE:
            near = get_close_matches(str(key), [one for one in OPTIONS if one not in _NOT_HERE], n=1)
            yield f"(connection): there is no {key!r}{f', did you mean {near[0]}?' if near else ''}"
    for pair in EXCLUSIVE:
        if all(given.get(one) for one in pair):
            yield f"(connection): {' and '.join(pair)} say two things; give one of them"
    # A url that names a secret is known on the host only.
    known = {key: value for key, value in given.items() if key in OPTIONS and "${" not in str(value)}
    try:
        place(connection(known))
    except RedisFailed as error:
        yield f"(connection): {error}"


def _check_queues(job: Job) -> None:
    _queue_task.task({key: value for key, value in job.items() if key in _queue_task.DEFAULTS})


def _check_keys(job: Job) -> None:
    _redis_keys.rules(job.get("rules") or [])
    given = {key: value for key, value in job.items() if key in _redis_keys.KeyPolicy._fields}
    _redis_keys.check(_redis_keys.KeyPolicy(**given))


# Of each kind what it takes beside COMMON, and who checks it.
KINDS: Final[Mapping[str, tuple[tuple[str, ...], Callable[[Job], None]]]] = {
    "queue_cleanup": (tuple(_queue_task.DEFAULTS), _check_queues),
    "redis_cleanup": (("rules", *_redis_keys.KeyPolicy._fields), _check_keys),
}


def named(jobs: Sequence[Job]) -> set[str]:
    """Return the secrets that jobs name."""
    return {match[1] for match in REFERENCE.finditer(json.dumps(list(jobs), default=dict)) if match[1]}


def units(job: Job) -> list[str]:
    """Return the names of a job's units: a service, and a timer when it has a schedule."""
    stem = f"quai-{job['project']}-{job['name']}"
    return [f"{stem}.service", *([f"{stem}.timer"] if job.get("schedule") else [])]


__all__ = ["KINDS", "named", "problems", "units"]
