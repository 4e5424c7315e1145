# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks/queues.yml asks for and shows: which queues are meant, and one verdict about all of them."""

from __future__ import annotations

import fnmatch
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.quai.ops.plugins.filter.probe_secrets import PLACEHOLDER, probe_secrets
from ansible_collections.quai.ops.plugins.module_utils._queue_rules import duration
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
# How queue_info says that there is no such queue. Of a queue that is declared it means that no job was added so far.
NEVER_USED = "nothing was ever put into it"
# Verdicts that a restart of the workers may cure.
CURED_BY_RESTART = frozenset({"no_workers", "stuck", "asleep", "stalled", "unknown"})
GOOD_AFTER = {"pause": GOOD | {"paused"}}

WORDS: Mapping[str, Mapping[str, str]] = {
    "fr": {
        "good": "tout va bien",
        "bad": "à voir : {names}",
        "count": "{n} file{s} : ",
        "dry": "vérification seule, rien n'a été fait ; ",
        "done": "FAIT",
        "would be": "SERAIT",
        "clean": "jobs supprimés : {n}",
        "to clean": "jobs à supprimer : {n}",
        "retry": "jobs remis en attente : {n}",
        "to retry": "jobs à remettre en attente : {n}",
        "pause": "files mises en pause : {n}",
        "to pause": "files à mettre en pause : {n}",
        "resume": "files remises en marche : {n}",
        "to resume": "files à remettre en marche : {n}",
        "repair": "réparations : {n}, workers redémarrés : {workers}",
        "to repair": "réparations à faire : {n}, workers à redémarrer : {workers}",
        "redis_clean": "clés supprimées : {n}",
        "to redis_clean": "clés à supprimer : {n}",
        "nobody": "aucun",
        "kept": "gardés : {kept}",
        "paused": "mise en pause",
        "paused already": "déjà en pause",
        "running": "remise en marche",
        "running already": "déjà en marche",
        "never used": "aucun job jusqu'ici",
        "restarted": "{worker} redémarré",
        "stalled": "abandons remis en attente : {n}",
        "paused_list": "jobs sortis de la liste de pause : {n}",
        "parents": "parents libérés : {n}",
        "wake": "workers réveillés",
        "redis": "{n} Redis : ",
        "sound": "rien à signaler",
    },
    "en": {
        "good": "all is well",
        "bad": "look at {names}",
        "count": "{n} queue{s}: ",
        "dry": "check mode, nothing was done; ",
        "done": "DONE",
        "would be": "WOULD BE",
        "clean": "jobs removed: {n}",
        "to clean": "jobs to remove: {n}",
        "retry": "jobs put back to wait: {n}",
        "to retry": "jobs to put back to wait: {n}",
        "pause": "queues paused: {n}",
        "to pause": "queues to pause: {n}",
        "resume": "queues resumed: {n}",
        "to resume": "queues to resume: {n}",
        "repair": "repairs: {n}, workers restarted: {workers}",
        "to repair": "repairs to do: {n}, workers to restart: {workers}",
        "redis_clean": "keys removed: {n}",
        "to redis_clean": "keys to remove: {n}",
        "nobody": "none",
        "kept": "kept: {kept}",
        "paused": "paused",
        "paused already": "paused already",
        "running": "resumed",
        "running already": "running already",
        "never used": "no job so far",
        "restarted": "{worker} restarted",
        "stalled": "stalled jobs put back: {n}",
        "paused_list": "jobs taken from the list of a paused queue: {n}",
        "parents": "parents set free: {n}",
        "wake": "workers woken",
        "redis": "{n} Redis: ",
        "sound": "nothing to report",
    },
}
# What helps when a queue could not be reached, by the reason that a module gives.
_UNREACHED = "See why: ansible-playbook playbooks/health.yml -e project={project}"
ADVICE = {
    **dict.fromkeys(("missing", "refused", "timeout", "reset", "dns"), _UNREACHED),
    "auth": "Redis has another password than the inventory: release {project}, which gives it this one",
    "loading": "Run this again in a moment",
    "busy": "Run this again in a moment",
    "release": "Run this again when that has ended, or wait longer for it: -e wait=10m",
    "command": "Read on the host why, then run this again; a container that is not there comes with a release",
}


def queues_refused(
    derived: Mapping[str, Any], doing: str, pattern: str = "", confirm: str = "", wait: Any = "60s"
) -> list[str]:
    """What is wrong with what was asked for; empty when nothing is."""
    project = derived["name"]
    typed = _typed_wrongly(doing, wait)
    if typed:
        return typed
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


def _typed_wrongly(doing: str, wait: Any) -> list[str]:
    wrong = [] if doing in DOINGS else [f"do is {doing!r}; it is one of {', '.join(DOINGS)}"]
    try:
        duration(wait)
    except ValueError:
        wrong.append(f"wait is {wait!r}, which is no duration such as 90s or 10m")
    return wrong


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
    return [
        {**group, "at": at, "label": ", ".join(group["queues"])} for at, group in enumerate(groups.values())
    ]


def group_labels(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a loop over groups shows of them, also when one fails: C(at), the place in the list, and C(label)."""
    return [{"at": group["at"], "label": group["label"]} for group in groups]


def server_labels(servers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same for Redis servers, with C(rules), whether there are any."""
    return [
        {"at": at, "label": server["name"], "rules": bool(server["rules"])} for at, server in enumerate(servers)
    ]


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


def seen(looked: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The queues in results of queue_info; one that never had a job is idle."""
    queues = [dict(one) for result in looked for one in result.get("queues") or []]
    for one in queues:
        if any(NEVER_USED in problem for problem in one.get("problems") or ()):
            one.update(verdict="idle", evidence=["no job so far"], repair=[], problems=[])
    return queues


def queues_to_restart(groups: Sequence[Mapping[str, Any]], looked: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The workers whose restart may help, each once: C(worker), C(restart) (a command), C(queues) and C(why)."""
    restarts: dict[str, dict[str, Any]] = {}
    for group, result in zip(groups, looked):
        for one in seen([result]):
            worker = group["workers"].get(one["name"])
            if worker and one["verdict"] in CURED_BY_RESTART:
                entry = restarts.setdefault(worker["worker"], {**worker, "queues": [], "why": one["verdict"]})
                entry["queues"].append(one["name"])
    return list(restarts.values())


def restart_commands(restarts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same as commands of M(quai.ops.stack_commands)."""
    return [
        {"name": f"{one['worker']} ({one['why']}: {', '.join(one['queues'])})", "argv": one["restart"]}
        for one in restarts
    ]


def queues_verdict(
    looked: Sequence[Mapping[str, Any]],
    languages: Sequence[str] = ("fr", "en"),
    doing: str = "report",
    done: Sequence[Mapping[str, Any]] = (),
    restarts: Sequence[Mapping[str, Any]] = (),
    *,
    dry: bool = False,
) -> dict[str, Any]:
    """Return C(table) (lines), C(lines) (the verdict in each language), C(line) (all of them), C(bad) and C(good).

    C(looked) are results of queue_info, C(done) those of the module that did what was asked for, C(restarts) what
    queues_to_restart said. C(dry) is for check mode.
    """
    _refuse_languages(languages)
    queues = seen(looked)
    good = GOOD_AFTER.get(doing, GOOD)
    unused = [name for result in done for name in result.get("skipped_queues") or []] if doing == "pause" else []
    bad = [one["name"] for one in queues if one["verdict"] not in good or one["name"] in unused]
    lines = []
    for language in languages:
        words = WORDS[language]
        count = words["count"].format(n=len(queues), s="" if len(queues) == 1 else "s")
        said = words["bad"].format(names=", ".join(bad)) if bad else words["good"]
        lines.append(_deed(doing, done, restarts, words, dry=dry) + count + said)
    words = WORDS[languages[0]]
    cells = _cells(done, restarts, words)
    extra = (words["would be" if dry else "done"], cells) if doing in DOINGS[1:] else None
    return {
        "table": report(queues, languages[0], extra),
        "lines": lines,
        "line": " / ".join(lines),
        "bad": bad,
        "good": bool(queues) and not bad,
    }


def _refuse_languages(languages: Sequence[str]) -> None:
    wrong = sorted(set(languages) - set(LANGUAGES))
    if wrong or not languages:
        raise AnsibleFilterError(f"languages {list(languages)!r} are not among {', '.join(LANGUAGES)}")


def _deed(
    doing: str,
    done: Sequence[Mapping[str, Any]],
    restarts: Sequence[Mapping[str, Any]],
    words: Mapping[str, str],
    *,
    dry: bool,
) -> str:
    """What was done in one clause, with a full stop; empty for a report."""
    key = "clean" if doing == "empty" else doing
    if key not in words:
        return ""
    workers = ", ".join(one["worker"] for one in restarts) or words["nobody"]
    number = sum(_number_done(one) for result in done for one in result.get("queues") or [])
    said = words[f"to {key}" if dry else key].format(n=number, workers=workers)
    return f"{words['dry'] if dry else ''}{said}. "


def _number_done(one: Mapping[str, Any]) -> int:
    """How many jobs, or queues, something was done to, as a module says it of one queue."""
    if "paused_before" in one:
        return int(one["changed"])
    if "done" in one:
        return int(sum(repair["jobs"] for repair in one["done"]))
    return int(sum(one["removed"].values()) + sum(one["retried"].values()))


def _cells(
    done: Sequence[Mapping[str, Any]], restarts: Sequence[Mapping[str, Any]], words: Mapping[str, str]
) -> dict[str, str]:
    """What was done to each queue, for the table."""
    cells: dict[str, list[str]] = {}
    for result in done:
        for name in result.get("skipped_queues") or []:
            cells.setdefault(name, []).append(words["never used"])
        for one in result.get("queues") or []:
            cells.setdefault(one["name"], []).extend(_deeds(one, words))
    for restart in restarts:
        for name in restart["queues"]:
            cells.setdefault(name, []).append(words["restarted"].format(worker=restart["worker"]))
    return {name: "; ".join(parts) or "-" for name, parts in cells.items()}


def _deeds(one: Mapping[str, Any], words: Mapping[str, str]) -> list[str]:
    if "paused_before" in one:
        state = "paused" if one["paused"] else "running"
        return [words[state if one["changed"] else f"{state} already"]]
    if "done" in one:
        return [words.get(repair["repair"], repair["repair"]).format(n=repair["jobs"]) for repair in one["done"]]
    parts = []
    for states in (one["removed"], one["retried"]):
        said = ", ".join(f"{number} {state}" for state, number in states.items() if number)
        parts += [said] if said else []
    kept = ", ".join(f"{number} {why}" for why, number in one["kept"].items() if number)
    return parts + ([words["kept"].format(kept=kept)] if kept else [])


def queues_next(
    looked: Sequence[Mapping[str, Any]],
    verdict: Mapping[str, Any],
    derived: Mapping[str, Any],
    doing: str = "report",
    held_by: str = "",
    *,
    dry: bool = False,
) -> str:
    """Of each queue that is not well, why and what comes next: what a run ends with that fails.

    C(held_by) is who works on the project's stack at the moment.
    """
    declared = {queue["queue"]: queue for queue in derived["queues_declared"]}
    said = []
    for one in seen(looked):
        if one["name"] in verdict["bad"]:
            if one["verdict"] in GOOD_AFTER.get(doing, GOOD):  # only a pause of nothing is bad nevertheless
                why, step = "it has had no job so far, so there is nothing to pause", "pause it when it has had one"
            else:
                why = f"{one['verdict']}, {one['evidence'][0]}"
                step = _step(one, declared.get(one["name"]), derived["name"], doing, dry=dry)
            said.append(f"{one['name']}: {why}. Next: {step}")
    if held_by:
        said.append(f"A release may explain it: {held_by} works on {derived['name']} at the moment; look again then")
    return "\n".join([verdict["line"], *said])


def _step(one: Mapping[str, Any], queue: Queue | None, project: str, doing: str, *, dry: bool) -> str:
    """What comes next for a queue with this verdict."""
    again = f"ansible-playbook playbooks/queues.yml -e project={project} -e queue={one['name']} -e do="
    if one["verdict"] == "paused":
        return f"when the reason is gone, {again}resume"
    if one["verdict"] not in CURED_BY_RESTART or one.get("problems"):
        return " ".join(one["repair"]) or f"{again}report"
    if doing != "repair":
        return f"{again}repair"
    if dry:
        return "run this without --check"
    log = f", on the host: {_log_command(queue['restart'])}" if queue else ""
    return f"read why in the log of its worker{log}"


def _log_command(restart: Sequence[str]) -> str:
    """What shows the log of a worker that is restarted like this."""
    if restart[0] == "docker":
        return f"docker logs --tail 50 {restart[-1]}"
    if restart[0] == "systemctl":
        return f"journalctl --lines 50 --unit {restart[-1]}"
    # pm2, as the user that it runs as.
    return shlex.join(["logs" if part == "restart" else part for part in restart])


def queues_failure(result: Mapping[str, Any], project: str) -> str:
    """What a task that failed is about, why, and what helps, one line for each; C(result) is what Ansible has of it."""
    failed = [one for one in result.get("results") or [] if one.get("failed")] or [result]
    said = []
    for one in failed:
        label = (one.get("quai_one") or {}).get("label")
        why = str(one.get("msg") or "it failed without a word").strip().rstrip(".")
        why = why.removeprefix("Task failed: ").removeprefix("Module failed: ")
        # Who lacks a right has the right password; what would help is said already.
        reason = "" if "may not run" in why or "NOPERM" in why else str(one.get("reason"))
        advice = ADVICE.get(reason, "").format(project=project)
        said.append(f"{f'{label}: ' if label else ''}{why}.{f' Next: {advice}' if advice else ''}")
    return "\n".join(said)


def redis_verdict(
    looked: Sequence[Mapping[str, Any]],
    languages: Sequence[str] = ("fr", "en"),
    done: Sequence[Mapping[str, Any]] | None = None,
    *,
    dry: bool = False,
) -> list[str]:
    """Lines about each Redis, what a clean-up took (C(done): results of redis_keys), and the verdict per language."""
    _refuse_languages(languages)
    lines = [line for result in looked for line in result.get("report") or []]
    for result in done or ():
        lines += ["", *(_rule(rule, result, WORDS[languages[0]], dry=dry) for rule in result.get("rules") or [])]
    found = [warning for result in looked for warning in result.get("warnings_found") or []]
    lines += ["", *found] if found else []
    lines.append("")
    for language in languages:
        words = WORDS[language]
        deed = ""
        if done is not None:
            number = sum(rule["done"] for result in done for rule in result.get("rules") or [])
            said = words["to redis_clean" if dry else "redis_clean"].format(n=number)
            deed = f"{words['dry'] if dry else ''}{said}. "
        names = ", ".join(result["quai_one"]["label"] for result in looked if result.get("warnings_found"))
        verdict = words["bad"].format(names=names) if names else words["sound"]
        lines.append(f"{deed}{words['redis'].format(n=len(looked))}{verdict}")
    return lines


def _rule(rule: Mapping[str, Any], result: Mapping[str, Any], words: Mapping[str, str], *, dry: bool) -> str:
    kept = ", ".join(f"{number} {why}" for why, number in rule["kept"].items() if number)
    key = "to redis_clean" if dry else "redis_clean"
    said = words[key].format(n=rule["done"]) + (f"; {words['kept'].format(kept=kept)}" if kept else "")
    return f"{result['quai_one']['label']} {rule['pattern']}  {said}"


class FilterModule:
    """Filters of playbooks/queues.yml."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {
            "emptying_rules": emptying_rules,
            "group_labels": group_labels,
            "queue_groups": queue_groups,
            "queues_failure": queues_failure,
            "queues_next": queues_next,
            "queues_refused": queues_refused,
            "queues_to_restart": queues_to_restart,
            "queues_verdict": queues_verdict,
            "redis_verdict": redis_verdict,
            "restart_commands": restart_commands,
            "server_labels": server_labels,
            "with_secrets": with_secrets,
        }
