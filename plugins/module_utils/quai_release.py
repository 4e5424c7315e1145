# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""quai-release: one release on this host, from a plan that says everything.

    quai-release run PLAN        release; the last line says how it ended
    quai-release recover PLAN    end what a killed release has begun, with the services as the plan declares them
    quai-release confirm PLAN    word from outside: it is good
    quai-release refuse PLAN WHY word from outside: it is not; what served before comes back
    quai-release status PROJECT  what serves, and the last releases

A plan is a file of JSON with mode 0600. Exit codes: 0 good, 1 what served before serves (again), 2 it does not, 3 the
plan is wrong or the lock is held.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from ansible_collections.quai.ops.plugins.module_utils import _lock, _release_front, _release_run
from ansible_collections.quai.ops.plugins.module_utils._release_ledger import BROKEN, GOOD, Ledger, live
from ansible_collections.quai.ops.plugins.module_utils._release_run import (
    Hands,
    Places,
    Plan,
    Service,
    StepFailed,
)
from ansible_collections.quai.ops.plugins.module_utils._release_source import BuildStep, GitSource, Tree, prepare
from ansible_collections.quai.ops.plugins.module_utils._release_systemd import Systemd, UnitCopy

Data = Mapping[str, Any]
STATE: Final = Path("/var/lib/quai")
RUN: Final = Path("/run/quai/release")
GOOD_EXIT, BACK_EXIT, BROKEN_EXIT, WRONG_EXIT = 0, 1, 2, 3
TAIL_LINES: Final = 30


def places(project: str) -> Places:
    """Where a project's releases keep what they know."""
    return Places(STATE / project, RUN / project, _release_front.DIRECTORY / f"{project}.conf")


def plan_of(given: Data) -> Plan:
    """The plan as the engine takes it."""
    services = [_service(given, one) for one in given["services"]]
    words = {name: str(given.get(name, "")) for name in ("id", "project", "version", "kind", "by", "reason", "target")}
    return Plan(
        services=services,
        replace=list(given.get("replace") or [service.name for service in services]),
        drain=float(given["drain"]),
        verdict=float(given["verdict"]),
        **words,
    )


def _service(given: Data, one: Data) -> Service:
    copies = _release_front.ports(one["port"]) if one["port"] else {}

    def fill(value: Any, colour: str) -> Any:
        """Put the port of a copy where it is asked for."""
        return _filled(value, str(copies.get(colour, "")))

    def describe(colour: str, directory: Path) -> UnitCopy:
        listens = {"HOST": "127.0.0.1", "PORT": str(copies[colour])} if copies else {}
        return UnitCopy(
            project=given["project"],
            service=one["name"],
            colour=colour,
            description=f"{given['project']}, {one['name']} ({colour}), release {given['version']}",
            command=fill(one["command"], colour),
            directory=directory / one["directory"],
            user=one["user"],
            # The copy's own port wins over the declared one, which is nginx'.
            environment={**fill(one["environment"], colour), **listens},
            secrets_file=one["secrets_file"],
            grace=float(one["grace"]),
        )

    def probes(colour: str) -> list[dict[str, Any]]:
        return list(fill(one["probes"], colour))

    runtime = Systemd(given["project"], one["name"], one["port"], describe, probes, grace=float(one["grace"]))
    return Service(one["name"], one["port"], runtime, alone=bool(one.get("alone")))


def _filled(value: Any, port: str) -> Any:
    if isinstance(value, str):
        return value.replace("{port}", port)
    if isinstance(value, Mapping):
        return {key: _filled(item, port) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, port) for item in value]
    return value


def hands_of(given: Data) -> Hands:
    """What a release does beyond its copies."""
    source = given["source"]
    git = GitSource(
        source["repository"],
        source["ref"],
        source["user"],
        [
            BuildStep(one["command"], one["directory"], one["environment"], float(one["seconds"]))
            for one in source["build"]
        ],
        source["shared"],
    )
    return Hands(
        prepare=partial(prepare, Tree(Path(given["root"])), git, given["target"] or given["id"]),
        migrate=partial(migrate, given),
        gate=partial(gate, given),
        verify=partial(verify, given),
        say=say,
    )


def migrate(given: Data, directory: Path) -> dict[str, Any]:
    """Run the migrations from the new code, each as its service's user; raises StepFailed with the last lines."""
    services = {one["name"]: one for one in given["services"]}
    for one in given["migrations"]:
        service = services[one["service"]]
        settings = {
            "User": service["user"],
            "WorkingDirectory": str(directory / service["directory"]),
            "RuntimeMaxSec": f"{one['seconds']:g}",
            "EnvironmentFile": service["secrets_file"],
        }
        properties = [f"--property={name}={value}" for name, value in settings.items() if value]
        values = [f"--setenv={name}={_filled(value, '')}" for name, value in service["environment"].items()]
        command = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", *properties, *values, *one["command"]]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        if done.returncode:
            lines = done.stdout.decode("utf-8", "replace").splitlines()[-TAIL_LINES:]
            what = " ".join(one["command"])
            raise StepFailed("\n".join([f"migration {what} ended with {done.returncode}; it said last:", *lines]))
    return {"migrations": [one["command"] for one in given["migrations"]]}


def gate(given: Data, probes: Sequence[dict[str, Any]]) -> str:
    """Ask until all are good, often enough in a row; returns why not, or nothing."""
    from ansible_collections.quai.ops.plugins.module_utils import _probe_engine, _probe_gate, _probe_spec

    specs = _probe_spec.normalise(list(probes), {})
    wanted = given["gate"]
    options = _probe_gate.Options(
        wait=float(wanted["wait"]),
        interval=float(wanted["interval"]),
        success_threshold=int(wanted["success_threshold"]),
        stable_for=float(wanted["stable_for"]),
    )
    verdict = _probe_gate.ask(specs, options, _probe_engine.run_probes)
    return "" if verdict.passed else verdict.message


def verify(given: Data) -> str:
    """Ask the public addresses once more and more until they are good, from the host; returns why not, or nothing."""
    return gate(given, given["verify"]) if given["verify"] else ""


def say(line: str) -> None:
    """A line for whoever watches, with the time of day."""
    out(f"{time.strftime('%H:%M:%S')} {line}")


def out(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run(given: Data) -> int:
    """Release, or end what another release has begun and then release."""
    plan, where = plan_of(given), places(given["project"])
    purpose = f"{plan.kind} of {plan.version} by {plan.by}"
    with _lock.held(f"stack-{plan.project}", float(given["lock_wait"]), purpose=purpose):
        late = _release_run.recover(plan, where, hands_of(given))
        if late:
            say(f"before: {late.message}")
            if late.result == BROKEN:
                raise StepFailed("what the release before left behind has to be mended first; nothing was begun")
        where.word.unlink(missing_ok=True)
        outcome = _release_run.Engine(plan, where, hands_of(given)).run()
    return _exit(outcome.result)


def recover(given: Data) -> int:
    """End what a killed release has begun."""
    plan = plan_of(given)
    with _lock.held(f"stack-{plan.project}", float(given["lock_wait"]), purpose="recovery of a release"):
        outcome = _release_run.recover(plan, places(plan.project), hands_of(given))
    if outcome:
        say(outcome.message)
    return _exit(outcome.result) if outcome else GOOD_EXIT


def status(project: str) -> int:
    """Say what serves and what was released."""
    releases = Ledger(places(project).ledger).releases()
    now = live(releases)
    for one in releases[-10:]:
        took = f"{one.seconds:.0f} s" if one.seconds is not None else "has not ended"
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.begun))
        out(f"{when}  {one.version:20} {one.result or 'broken off':10} {took:14} {one.by}")
    out(f"{project}: {now.version} serves" if now else f"{project}: nothing was released yet")
    return GOOD_EXIT


def _exit(result: str) -> int:
    return {GOOD: GOOD_EXIT, BROKEN: BROKEN_EXIT}.get(result, BACK_EXIT)


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; returns the exit code."""
    verb, *rest = [*arguments, ""][: max(len(arguments), 1)]
    try:
        if verb == "status" and len(rest) == 1:
            return status(rest[0])
        if verb in ("run", "recover", "confirm", "refuse") and rest:
            given = json.loads(Path(rest[0]).read_text(encoding="utf-8"))
            if verb == "run":
                return run(given)
            if verb == "recover":
                return recover(given)
            word = _release_run.CONFIRMED if verb == "confirm" else _release_run.REFUSED
            _release_run.tell(places(given["project"]), given["id"], word, " ".join(rest[1:]))
            return GOOD_EXIT
    except (_lock.LockHeld, StepFailed, OSError, ValueError) as error:
        sys.stderr.write(f"quai-release: {error}\n")
        return WRONG_EXIT
    sys.stderr.write(str(__doc__).split("\n\n", 2)[1] + "\n")
    return WRONG_EXIT


__all__ = ["gate", "hands_of", "main", "migrate", "places", "plan_of", "recover", "run", "status", "verify"]
