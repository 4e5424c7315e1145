# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks/queues.yml asks for and shows: which queues are meant, and one verdict about all of them."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.quai.ops.plugins.filter.probe_secrets import PLACEHOLDER, probe_secrets
from ansible_collections.quai.ops.plugins.module_utils._queue_verdict import GOOD, LANGUAGES, report

Queue = Mapping[str, Any]

DOINGS = ("report", "clean", "retry", "pause", "resume", "repair", "empty", "redis", "redis_clean")
# Those that are about Redis itself and need no queue.
OF_REDIS = ("redis", "redis_clean")
REMOVING = ("clean", "empty")
# In this order: a parent that is gone is not set free by the last of its children.
EMPTIED = ("waiting-children", "delayed", "prioritized", "wait", "paused", "completed", "failed")
# What queues of one call have in common.
_COMMON = ("connection", "prefix", "library", "version", "rules", "max_remove", "protect")
# Verdicts that a restart of the workers may cure.
CURED_BY_RESTART = frozenset({"no_workers", "stuck", "asleep", "stalled", "unknown"})
GOOD_AFTER = {"pause": GOOD | {"paused"}}

WORDS = {
    "fr": {"good": "tout va bien", "bad": "à voir : {names}", "one": "file", "many": "files"},
    "en": {"good": "all is well", "bad": "look at {names}", "one": "queue", "many": "queues"},
}


def queues_refused(derived: Mapping[str, Any], doing: str, pattern: str = "", confirm: str = "") -> list[str]:
    """What is wrong with what was asked for; empty when nothing is."""
    project = derived["name"]
    if doing not in DOINGS:
        return [f"do is {doing!r}; it is one of {', '.join(DOINGS)}"]
    if doing in OF_REDIS:
        return _redis_refused(derived, doing)
    declared = derived["queues_declared"]
    if not declared:
        return [f"{project} declares no queues"]
    asked = _asked(declared, pattern)
    names = ", ".join(queue["name"] for queue in declared)
    if not asked:
        return [f"queue is {pattern!r}, which no queue of {project} is called; declared: {names}"]
    protected = [queue["name"] for queue in asked if queue["protect"]]
    refused = _empty_refused(asked, pattern, confirm) if doing == "empty" else []
    if not refused and doing in REMOVING and len(protected) == len(asked):
        return [f"{', '.join(protected)} of {project} is protected in its declaration (protect: true)"]
    return refused


def _redis_refused(derived: Mapping[str, Any], doing: str) -> list[str]:
    servers = derived["queues_redis"]
    if not servers:
        return [f"{derived['name']} declares no Redis"]
    if doing == "redis_clean" and not any(server["rules"] for server in servers):
        return [f"{derived['name']} says of no Redis what is cleaned (redis.<name>.clean)"]
    return []


def _empty_refused(asked: Sequence[Queue], pattern: str, confirm: str) -> list[str]:
    """Everything that waits and everything that failed would be lost: name the queue, and name it again."""
    if len(asked) > 1 or not pattern:
        names = ", ".join(queue["name"] for queue in asked)
        return [f"empty throws away all jobs of one queue; say which: -e queue=NAME, one of {names}"]
    name = asked[0]["name"]
    if confirm != name:
        said = f"confirm is {confirm!r}" if confirm else "confirm is missing"
        return [f"empty throws away every job of {name} that is not being worked on, and {said}: add -e confirm={name}"]
    return []


def _asked(declared: Sequence[Queue], pattern: str) -> list[Queue]:
    """The queues whose name in the declaration or in Redis fits."""
    wanted = pattern or "*"
    return [
        queue
        for queue in declared
        if fnmatch.fnmatchcase(queue["name"], wanted) or fnmatch.fnmatchcase(queue["queue"], wanted)
    ]


def queue_groups(declared: Sequence[Queue], pattern: str = "", doing: str = "report") -> list[dict[str, Any]]:
    """The queues that are meant, those together that one call of a module can treat.

    A protected queue is left out where jobs would be removed.
    """
    groups: dict[str, dict[str, Any]] = {}
    for queue in _asked(declared, pattern):
        if doing in REMOVING and queue["protect"]:
            continue
        common = {key: queue[key] for key in _COMMON}
        group = groups.setdefault(json.dumps(common, sort_keys=True), {**common, "queues": [], "workers": {}})
        group["queues"].append(queue["queue"])
        group["workers"][queue["queue"]] = {"worker": queue["worker"], "restart": queue["restart"]}
    return [{**group, "label": ", ".join(group["queues"])} for group in groups.values()]


def emptying_rules(_doing: str) -> list[dict[str, Any]]:
    """Rules that take every job that is not being worked on."""
    return [{"state": state, "older_than": "0"} for state in EMPTIED]


def with_secrets(wanted: Any, vaults: Mapping[str, Mapping[str, Any]]) -> Any:
    """The same with values where it says C(${project.NAME}). Raises with the names that have none."""
    values = probe_secrets(wanted, vaults)

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return PLACEHOLDER.sub(lambda match: values[f"{match[1]}.{match[2]}"], value)
        if isinstance(value, Mapping):
            return {key: fill(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [fill(inner) for inner in value]
        return value

    return fill(wanted)


def queues_to_restart(groups: Sequence[Mapping[str, Any]], looked: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The workers whose restart may help, each once: C(worker), C(restart) (a command), C(queues) and C(why)."""
    restarts: dict[str, dict[str, Any]] = {}
    for group, result in zip(groups, looked):
        for one in result.get("queues") or []:
            worker = group["workers"].get(one["name"])
            if worker and one["verdict"] in CURED_BY_RESTART:
                entry = restarts.setdefault(worker["worker"], {**worker, "queues": [], "why": one["verdict"]})
                entry["queues"].append(one["name"])
    return list(restarts.values())


def queues_verdict(
    looked: Sequence[Mapping[str, Any]], languages: Sequence[str] = ("fr", "en"), doing: str = "report"
) -> dict[str, Any]:
    """Return C(table) (lines), C(lines) (the verdict in each language), C(line) (all of them) and C(good)."""
    wrong = sorted(set(languages) - set(LANGUAGES))
    if wrong or not languages:
        raise AnsibleFilterError(f"queues_verdict: languages {list(languages)!r} are not among {', '.join(LANGUAGES)}")
    queues = [one for result in looked for one in result.get("queues") or []]
    good = GOOD_AFTER.get(doing, GOOD)
    bad = [one["name"] for one in queues if one["verdict"] not in good]
    lines = []
    for language in languages:
        words = WORDS[language]
        count = f"{len(queues)} {words['one' if len(queues) == 1 else 'many']}"
        said = words["bad"].format(names=", ".join(bad)) if bad else words["good"]
        lines.append(f"{count}{' ' if language == 'fr' else ''}: {said}")
    return {
        "table": report(queues, languages[0]),
        "lines": lines,
        "line": " / ".join(lines),
        "good": bool(queues) and not bad,
    }


class FilterModule:
    """Filters of playbooks/queues.yml."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {
            "emptying_rules": emptying_rules,
            "queue_groups": queue_groups,
            "queues_refused": queues_refused,
            "queues_to_restart": queues_to_restart,
            "queues_verdict": queues_verdict,
            "with_secrets": with_secrets,
        }
