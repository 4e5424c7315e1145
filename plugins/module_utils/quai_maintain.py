# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command quai-maintain: what the timers of a host's projects call, and what people call by hand.

    quai-maintain run PROJECT JOB [--check] [--json]
    quai-maintain status [PROJECT] [--json]

run does one job and says in one line how it went; with --check it says what it would do, and changes
nothing. status shows how each job ended last.

Both take --root DIR, in place of /.

Exit codes: 0 well done, 1 it failed (status: a job did), 2 it was used wrongly or its files cannot be used.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils import _files, _lock

WRONG_USE: Final = 2
REFERENCE: Final = re.compile(r"\$\$\{|\$\{([A-Za-z0-9_.-]+)\}")
# What a run leaves for the end of its time: to write down how it went.
SPARE_SECONDS: Final = 10


class UsageError(Exception):
    """The command was used wrongly or its files cannot be used; the message says what would be right."""


class JobFailed(Exception):
    """A job could not be done; the message says why."""


Warn = Callable[[str], None]


class Done(NamedTuple):
    """What a job did, or would do."""

    changed: bool
    message: str  # one line
    result: Mapping[str, Any]


class Paths(NamedTuple):
    """Where things are."""

    config: Path
    state: Path
    locks: Path


class Asked(NamedTuple):
    """What was asked for."""

    verb: str
    words: tuple[str, ...]
    flags: frozenset[str]
    root: str


# Verb, the words it takes (fewest, most) and its flags.
VERBS: Final[dict[str, tuple[tuple[int, int], tuple[str, ...]]]] = {
    "run": ((2, 2), ("check", "json")),
    "status": ((0, 1), ("json",)),
}


def paths(root: str = "/") -> Paths:
    """Return the places below C(root)."""
    top = Path(root)
    return Paths(top / "etc/quai/maintenance", top / "var/lib/quai/maintenance", top / "run/quai/locks")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if any(one in ("-h", "--help") for one in given):
        _say((__doc__ or "").strip())
        return 0
    try:
        asked = parse(given)
        return _run(asked) if asked.verb == "run" else _status(asked)
    except UsageError as error:
        wrong, code = str(error), WRONG_USE
    except _lock.LockHeld as error:
        wrong, code = str(error), 1
    except BrokenPipeError:
        # Whoever read has read enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except PermissionError as error:
        wrong, code = f"{error.filename}: permission denied; run it as root", 1
    except OSError as error:
        wrong, code = f"{error.filename}: {error.strerror}" if error.filename else str(error), 1
    sys.stderr.write(f"quai-maintain: {wrong}\n")
    return code


def parse(arguments: Sequence[str]) -> Asked:
    """Read a command line. Raises UsageError."""
    verb = arguments[0] if arguments else ""
    if verb not in VERBS:
        raise UsageError(f"{verb!r} is no verb; write quai-maintain run PROJECT JOB, or quai-maintain status")
    (fewest, most), flags = VERBS[verb]
    words: list[str] = []
    found: set[str] = set()
    root, rest = "/", list(arguments[1:])
    while rest:
        one = rest.pop(0)
        if one == "--root" and rest:
            root = rest.pop(0)
        elif one.startswith("--") and one[2:] in flags:
            found.add(one[2:])
        elif one.startswith("-"):
            known = ", ".join(f"--{flag}" for flag in (*flags, "root DIR"))
            raise UsageError(f"{verb} has no option {one!r}; it has {known}")
        else:
            words.append(one)
    if not fewest <= len(words) <= most:
        use = "run PROJECT JOB [--check]" if verb == "run" else "status [PROJECT]"
        raise UsageError(f"{verb} was given {len(words)} names; write quai-maintain {use}")
    return Asked(verb, tuple(words), frozenset(found), root)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


# ---- one job ---------------------------------------------------------------------------------------------------


def _run(asked: Asked) -> int:
    where, dry = paths(asked.root), "check" in asked.flags
    project, name = asked.words
    job = load(where, project, name)
    started, began = time.time(), time.monotonic()

    def warn(line: str) -> None:
        # At once, and on the error output: it is for the journal, also of a run that fails or that answers in JSON.
        sys.stderr.write(f"quai-maintain: {project} {name}: warning: {line}\n")

    try:
        # Two runs of one job never overlap: a person's waits for nothing, and says who is at it.
        with _lock.held(f"maintenance-{project}-{name}", 0, where.locks):
            done = _waiting(asked.root, job) or KINDS[job["kind"]](job, dry, warn)
        failed = ""
    except JobFailed as error:
        done, failed = Done(False, str(error), {}), str(error)
    seconds = time.monotonic() - began
    outcome = {
        "project": project,
        "job": name,
        "kind": job["kind"],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(seconds, 3),
        "ok": not failed,
        "changed": done.changed,
        "message": done.message,
        "result": done.result,
    }
    if not dry:
        keep(where, outcome)
    line = f"{project} {name}: {done.message}"
    if failed:
        sys.stderr.write(f"quai-maintain: {line}\n")
        return 1
    _say(json.dumps({**outcome, "check": dry}, ensure_ascii=False) if "json" in asked.flags else line)
    return 0


def _waiting(root: str, job: Mapping[str, Any]) -> Done | None:
    """What there is to say of a project that was not released yet: nothing is wrong, and there is nothing to do."""
    path = str(job.get("active_when") or "")
    if not path or (Path(root) / path.lstrip("/")).exists():
        return None
    return Done(False, f"nothing to do before the first release ({path} does not exist)", {})


def load(where: Paths, project: str, name: str) -> dict[str, Any]:
    """Return a job with its secrets. Raises UsageError."""
    if not re.fullmatch(r"[a-z0-9-]+", project):
        raise UsageError(f"{project!r} is no name of a project")
    jobs = _read(where.config / f"{project}.json", "run playbooks/provision.yml").get("jobs")
    known = {str(job.get("name")): job for job in jobs or [] if isinstance(job, dict)}
    if name not in known:
        raise UsageError(f"{project} has no job {name!r}; it has {', '.join(sorted(known)) or 'none'}")
    job = known[name]
    if job.get("kind") not in KINDS:
        raise UsageError(f"{project} {name} is of the kind {job.get('kind')!r}; known are {', '.join(KINDS)}")
    secrets = _read(where.config / f"{project}.secrets.json", "run playbooks/provision.yml")
    revealed: dict[str, Any] = reveal(job, secrets)
    return revealed


def _read(path: Path, cure: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; {cure}") from None
    except ValueError as error:
        raise UsageError(f"{path} cannot be read as JSON ({error}); {cure}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no mapping; {cure}")
    return found


def reveal(value: Any, secrets: Mapping[str, str]) -> Any:
    """Put secrets where C(${NAME}) stands. Raises UsageError with the name, never the value, of one that is missing."""

    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "${"
        if name not in secrets:
            raise UsageError(f"the secret {name} has no value here; run playbooks/provision.yml")
        return str(secrets[name])

    if isinstance(value, str):
        return REFERENCE.sub(value_of, value)
    if isinstance(value, Mapping):
        return {key: reveal(inner, secrets) for key, inner in value.items()}
    if isinstance(value, list):
        return [reveal(inner, secrets) for inner in value]
    return value


def keep(where: Paths, outcome: Mapping[str, Any]) -> None:
    """Write down how a job ended. What is touched after a good end is the sign of life that the watch looks at."""
    directory = where.state / outcome["project"]
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    text = json.dumps(outcome, indent=1, ensure_ascii=False) + "\n"
    _files.write(directory / f"{outcome['job']}.json", text.encode(), 0o640)
    if outcome["ok"]:
        sign = directory / f"{outcome['job']}.done"
        sign.touch(mode=0o644)
        os.utime(sign)


# ---- the kinds of jobs -----------------------------------------------------------------------------------------


def _queue_cleanup(job: Mapping[str, Any], dry: bool, warn: Warn) -> Done:
    from ansible_collections.quai.ops.plugins.module_utils import _queue_task
    from ansible_collections.quai.ops.plugins.module_utils._queue_layout import QueueProblem
    from ansible_collections.quai.ops.plugins.module_utils._redis_link import RedisFailed
    from ansible_collections.quai.ops.plugins.module_utils._redis_options import connection

    options = {key: value for key, value in job.items() if key in _queue_task.DEFAULTS}
    options.setdefault("max_seconds", _time_for(job))
    try:
        task = _queue_task.task(options)
        done = _queue_task.run(task, connection(job["connection"]), dry=dry, warn=warn)
    except (QueueProblem, RedisFailed, _queue_task.Stopped) as error:
        raise JobFailed(str(error)) from None
    return Done(done["changed"], done["msg"], done)


def _redis_cleanup(job: Mapping[str, Any], dry: bool, warn: Warn) -> Done:
    from ansible_collections.quai.ops.plugins.module_utils import _redis_keys
    from ansible_collections.quai.ops.plugins.module_utils._redis_link import RedisFailed, Server
    from ansible_collections.quai.ops.plugins.module_utils._redis_options import connection

    options = {key: value for key, value in job.items() if key in _redis_keys.KeyPolicy._fields}
    options.setdefault("max_seconds", _time_for(job))
    options["max_remove"] = options.get("max_remove") or None
    try:
        wanted = _redis_keys.rules(job.get("rules") or [])
        policy = _redis_keys.KeyPolicy(**{**options, "protected": tuple(options.get("protected") or ())})
        _redis_keys.check(policy)
        with Server(connection(job["connection"])) as server:
            outcome = _redis_keys.clean(server, wanted, policy, dry=dry)
    except (_redis_keys.KeysProblem, RedisFailed) as error:
        raise JobFailed(str(error)) from None
    for line in outcome.warnings:
        warn(line)
    parts = ", ".join(f"{one.done} of {one.pattern}" for one in outcome.rules)
    word = "would remove" if dry else "removed"
    line = f"{word} {outcome.done} of {outcome.keys} keys: {parts}" if outcome.done else f"nothing to remove: {parts}"
    if not outcome.complete:
        line += "; not finished, more is left for the next run"
    result = {**outcome._asdict(), "rules": [one._asdict() for one in outcome.rules]}
    return Done(bool(outcome.done) and not dry, line, result)


def _time_for(job: Mapping[str, Any]) -> float:
    return max(1.0, float(job.get("timeout") or 3600) - SPARE_SECONDS)


KINDS: Final[dict[str, Callable[[Mapping[str, Any], bool, Warn], Done]]] = {
    "queue_cleanup": _queue_cleanup,
    "redis_cleanup": _redis_cleanup,
}


# ---- how it stands ---------------------------------------------------------------------------------------------


def _status(asked: Asked) -> int:
    where = paths(asked.root)
    files = sorted(where.config.glob("*.json")) if where.config.is_dir() else []
    projects = [path.stem for path in files if "." not in path.stem and path.name != "units.json"]
    if asked.words and asked.words[0] not in projects:
        raise UsageError(f"{asked.words[0]!r} has no jobs here; {', '.join(projects) or 'no project'} has")
    found = []
    for project in asked.words or projects:
        for job in _read(where.config / f"{project}.json", "run playbooks/provision.yml").get("jobs") or []:
            last: dict[str, Any] = {}
            with suppress(FileNotFoundError, ValueError):
                last = json.loads((where.state / project / f"{job['name']}.json").read_text(encoding="utf-8"))
            found.append({"project": project, "job": job["name"], "schedule": job.get("schedule") or "", **last})
    if "json" in asked.flags:
        _say(json.dumps(found, ensure_ascii=False))
    else:
        for one in found:
            word = "-" if "ok" not in one else "ok" if one["ok"] else "FAILED"
            when, said = one.get("at") or "never run", one.get("message") or one["schedule"] or "on demand"
            _say(f"{word:<6} {one['project'] + ' ' + one['job']:<32} {when:<20} {said}")
    return 0 if all(one.get("ok", True) for one in found) else 1


__all__ = [
    "KINDS",
    "REFERENCE",
    "VERBS",
    "Done",
    "JobFailed",
    "Paths",
    "UsageError",
    "main",
    "parse",
    "paths",
    "reveal",
]
