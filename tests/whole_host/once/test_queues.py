# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An operator sees to the queue of a project that publishes no port of its Redis, and the host does so by itself.

The queue is that of the real application: its worker takes Bull's jobs, its API says how often each ran.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.names import ROOT
from lab.wait import until
from tests.whole_host.operations import Operator, Run
from tests.whole_host.subject import Subject

QUEUES = "playbooks/queues.yml"
PROJECT = ("-e", "project=masstock")
LOCK = "/run/quai/locks/stack-masstock"
API = "http://127.0.0.1:3000"
KEY = "bull:workflow-queue"
CHECKED = "check mode, nothing was done; "


def does(what: str, *more: str, check: bool = False) -> tuple[str, ...]:
    """What is typed after the playbook's name."""
    return (*PROJECT, "-e", f"do={what}", *more, *(("--check",) if check else ()))


def reason(run: Run) -> str:
    """The last error that a run printed, in one line."""
    assert run.code != 0, run.output
    return " ".join(run.output.rsplit("[ERROR]: ", 1)[-1].split("\nOrigin: ", 1)[0].split())


class Jobs:
    """The queue from its producer's side, and Redis as an administrator has it on the host."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.run = secrets.token_hex(4)

    def redis(self, *command: str) -> str:
        """The answer of Redis, as redis-cli prints it."""
        inside = '. /run/secrets/quai.env; export REDISCLI_AUTH; exec redis-cli "$@"'
        printed = self.subject.run(shlex.join(["docker", "exec", "masstock_redis", "sh", "-c", inside, "sh", *command]))
        return printed.strip()

    def add(self, name: str, prompts: int = 1) -> str:
        """Have the API put an execution into the queue; returns its id."""
        identifier = f"queues-{self.run}-{name}"
        self.api("", {"id": identifier, "prompts": [f"picture {at}" for at in range(prompts)]})
        return identifier

    def of(self, *identifiers: str) -> dict[str, dict[str, Any]]:
        """What the API says of executions."""
        return {one["id"]: one for one in self.api(f"?ids={','.join(identifiers)}")["executions"]}

    def api(self, query: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the API about executions, as another client each time, because it has limits for each."""
        headers = {"Content-Type": "application/json", "X-Forwarded-For": f"203.0.113.{secrets.randbelow(250)}"}
        data = json.dumps(body).encode() if body else None
        asked = f"Request({f'{API}/api/v1/executions{query}'!r}, {data!r}, {headers!r})"
        code = f"from urllib.request import *; print(urlopen({asked}, timeout=10).read().decode())"
        return json.loads(self.subject.run(shlex.join(["python3", "-c", code])))

    def states(self, *identifiers: str) -> set[str]:
        """Their states, each once."""
        return {str(one["status"]) for one in self.of(*identifiers).values()}

    def ran_once(self, *identifiers: str, tries: int = 1) -> None:
        """Wait until they are done; nothing ran twice."""
        until(f"{identifiers} to be completed", lambda: self.states(*identifiers) == {"completed"}, seconds=90)
        assert {(one["starts"], one["completions"]) for one in self.of(*identifiers).values()} == {(tries, 1)}

    def paused(self) -> bool:
        """Whether Bull would say so."""
        return self.redis("exists", f"{KEY}:meta-paused") == "1"

    def count(self, state: str) -> int:
        """Jobs in a state that is a list, or in the failed ones."""
        return int(self.redis("zcard" if state == "failed" else "llen", f"{KEY}:{state}"))


@pytest.fixture(scope="module")
def jobs(subject: Subject) -> Iterator[Jobs]:
    """The queue; it runs, and its worker does, whatever becomes of the tests."""
    found = Jobs(subject)
    yield found
    subject.run("docker unpause masstock_worker", check=False)
    found.redis("del", f"{KEY}:meta-paused")
    if not subject.run("docker ps --quiet --filter name=masstock_worker"):
        subject.run("docker start masstock_worker")


@pytest.fixture(scope="module")
def plays(operator: Operator) -> Callable[..., list[Run]]:
    """Start several runs at once, since most of a run is waiting; returns them in their order."""

    def at_once(*wanted: tuple[str, ...]) -> list[Run]:
        processes = [operator.start(QUEUES, *arguments) for arguments in wanted]
        outputs = [process.communicate(timeout=420)[0] for process in processes]
        return [Run(process.returncode, output, 0.0) for process, output in zip(processes, outputs, strict=True)]

    return at_once


@contextmanager
def release_running(subject: Subject) -> Iterator[str]:
    """Hold the lock that a release holds, until the body ends; yields who does, as a message names it."""
    script = f'mkdir -p {Path(LOCK).parent}; exec flock {LOCK} bash -c "$0"'
    inner = f'echo "process $$ (a release)" > {LOCK}; exec timeout 900 tail --follow /dev/null'
    subject.container.exec_run(["bash", "-c", script, inner], detach=True)
    free = f"flock --nonblock {LOCK} true"
    try:
        until("the lock to be held", lambda: subject.succeeds(f"! {free} && grep -q release {LOCK}"), seconds=10)
        yield subject.run(f"cat {LOCK}").strip()
    finally:
        subject.run(f"kill $(sed 's/process \\([0-9]*\\).*/\\1/' {LOCK})")
        until("the lock to be free", lambda: subject.succeeds(free), seconds=10)


def test_the_queue_is_seen_through_its_container(operator: Operator) -> None:
    """MAS-7, MAS-11: the password comes from the secrets, and is not shown."""
    run = operator.play(QUEUES, *PROJECT)
    assert run.changed == 0
    assert "workflow-queue" in run.output
    assert "1 queue: all is well" in run.output
    assert "1 file : tout va bien" in run.output
    assert operator.vault()["REDIS_PASSWORD"] not in run.output


def test_a_clean_up_can_be_planned(operator: Operator) -> None:
    run = operator.play(QUEUES, *does("clean", "--diff", check=True))
    assert f"{CHECKED}jobs to remove: " in run.output


REFUSED = {
    "wrong-do": (does("flush"), "do is 'flush'; it is one of report, clean, retry, pause, resume, repair, empty"),
    "no-confirm": (does("empty", "-e", "queue=workflow-queue"), "confirm is missing: add -e confirm=workflow-queue"),
    "no-queue": (does("pause", "-e", "queue=mail"), "no queue of masstock is called; declared: workflow-queue"),
    "no-rules": (does("redis_clean"), "masstock says of no Redis what is cleaned (redis.<name>.clean)"),
    "bad-wait": (does("resume", "-e", "wait=soon"), "wait is 'soon', which is no duration such as 90s or 10m"),
}


def test_what_cannot_be_meant_is_refused_at_once(plays: Callable[..., list[Run]], tmp_path: Path) -> None:
    """MAS-11: one message, before any host is asked; nothing is thrown away without a confirmation."""
    document = yaml.safe_load((ROOT / "projects/masstock.yml").read_text("utf-8"))
    for part, name in (("maintenance", "queue"), ("probes", "queue")):
        del document[part][name]
    document["checklists"]["weekly"].remove("maintenance.queue")
    del document["queues"]
    tmp_path.joinpath("masstock.yml").write_text(yaml.safe_dump(document), "utf-8")
    bare = (*does("pause"), "-e", f"quai_projects_dir={tmp_path}")
    asked = {**REFUSED, "queueless": (bare, "masstock declares no queues"), "no-project": ((), "Say which project")}
    for run, (_arguments, words) in zip(plays(*(one[0] for one in asked.values())), asked.values(), strict=True):
        assert words in reason(run)
        assert run.output.count("[ERROR]: ") == 1, run.output
        assert "PLAY [See to the queues]" not in run.output


def test_a_failure_names_queue_reason_and_what_helps(operator: Operator) -> None:
    wrong = {**operator.vault(), "REDIS_PASSWORD": "not-the-password-of-redis"}
    run = operator.play(QUEUES, *does("pause"), "-e", json.dumps({"vault_masstock": wrong}), check=False)
    last = reason(run)
    assert re.search(r"workflow-queue: .*WRONGPASS.* Next: Redis has another password than the inventory", last), last
    assert "not-the-password-of-redis" not in run.output


def test_pause_and_resume(
    subject: Subject, operator: Operator, jobs: Jobs, plays: Callable[..., list[Run]]
) -> None:
    """The worker takes nothing while it is paused. A pause may be urgent, so it is made while a release runs."""
    jobs.ran_once(jobs.add("before"))
    planned = operator.play(QUEUES, *does("pause", check=True))
    assert planned.changed == 1
    assert f"{CHECKED}queues to pause: 1. 1 queue: all is well" in planned.output
    assert not jobs.paused()

    with release_running(subject) as owner:
        assert "queues paused: 1. 1 queue: all is well" in operator.play(QUEUES, *does("pause")).output
        assert jobs.paused()
        waiting = [jobs.add("first"), jobs.add("second")]
        again, emptied, *refused = plays(
            does("pause"),
            does("empty", "-e", "queue=workflow-queue", "-e", "confirm=workflow-queue", check=True),
            does("resume", "-e", "wait=1s"),
            does("retry", "-e", "wait=1s"),
            does("repair", "-e", "wait=1s"),
        )
        for run in refused:
            last = reason(run)
            assert f"another run works on masstock on this host: {LOCK} is held by {owner}; waited 1 s for it" in last
            assert "Next: Run this again when that has ended" in last
            assert run.changed == 0
    # Whole runs went by since they were added, and they still wait.
    assert (again.code, again.changed) == (0, 0)
    assert "queues paused: 0. 1 queue: all is well" in again.output
    assert f"{CHECKED}jobs to remove: 2" in emptied.output
    assert jobs.paused()
    assert jobs.count("paused") == 2
    assert {(one["status"], one["starts"]) for one in jobs.of(*waiting).values()} == {("pending", 0)}

    reported, planned = plays(PROJECT, does("resume", check=True))
    assert "workflow-queue: paused, paused, 2 jobs waiting" in reason(reported)
    assert "-e queue=workflow-queue -e do=resume" in reason(reported)
    assert planned.changed == 1
    assert f"{CHECKED}queues to resume: 1" in planned.output
    assert jobs.paused()
    run = operator.play(QUEUES, *does("resume"))
    assert run.changed == 1
    assert "queues resumed: 1. 1 queue: all is well" in run.output
    jobs.ran_once(*waiting)


def test_failed_jobs_run_again_once_their_cause_is_gone(
    subject: Subject, operator: Operator, jobs: Jobs, plays: Callable[..., list[Run]]
) -> None:
    """Each once; a run that is narrowed to another reason takes none."""
    # Each is given what makes it fail before the worker can begin.
    subject.run("docker pause masstock_worker")
    failing = [jobs.add("third"), jobs.add("fourth")]
    for one in failing:
        jobs.redis("rename", f"execution:{one}", f"kept:{one}")
        jobs.redis("set", f"execution:{one}", "of another type")
    subject.run("docker unpause masstock_worker")
    until("both to fail for good", lambda: jobs.count("failed") == 2, seconds=90)
    for one in failing:
        jobs.redis("rename", f"kept:{one}", f"execution:{one}")

    wanted = ("-e", "reason=*WRONGTYPE*")
    other, planned = plays(does("retry", "-e", "reason=*ECONNREFUSED*"), does("retry", *wanted, check=True))
    assert (other.code, other.changed) == (0, 0)
    assert "jobs put back to wait: 0. 1 queue: all is well" in other.output
    assert planned.changed == 1
    assert f"{CHECKED}jobs to put back to wait: 2" in planned.output
    assert jobs.count("failed") == 2
    run = operator.play(QUEUES, *does("retry", *wanted))
    assert run.changed == 1
    assert "jobs put back to wait: 2. 1 queue: all is well" in run.output
    jobs.ran_once(*failing)
    assert jobs.count("failed") == 0


def test_a_queue_whose_worker_died_is_repaired(subject: Subject, operator: Operator, jobs: Jobs) -> None:
    """The job it held is put back, and the worker restarted, under the lock that releases take; nothing is lost."""
    # Long enough for a slow machine to kill its worker meanwhile; what is left of it is short.
    held = jobs.add("long", prompts=80)
    until("the worker to be at it", lambda: jobs.states(held) == {"processing"}, seconds=60)
    subject.run("docker kill masstock_worker")
    jobs.redis("hset", f"execution:{held}", *(part for at in range(79) for part in (f"result:{at}", "kept")))
    waiting = jobs.add("behind")
    until("its lock to end", lambda: jobs.redis("exists", f"{KEY}:{held}:lock") == "0", seconds=60)
    # Two times the time of a lock must be over before a job counts as abandoned: as if it had begun long ago.
    jobs.redis("hset", f"{KEY}:{held}", "processedOn", str(int((time.time() - 300) * 1000)))

    planned = operator.play(QUEUES, *does("repair", check=True), check=False)
    assert f"{CHECKED}repairs to do: 1, workers to restart: worker. 1 queue: look at workflow-queue" in planned.output
    assert "workflow-queue: no_workers, 1 job waiting" in reason(planned)
    assert "Next: run this without --check" in reason(planned)
    assert (jobs.count("active"), subject.inspect("worker")["worker"]["State"]["Status"]) == (1, "exited")

    run = operator.play(QUEUES, *does("repair"))
    assert "repairs: 1, workers restarted: worker. 1 queue: all is well" in run.output
    assert "(a restart of workers)" in subject.run(f"cat {LOCK}")
    jobs.ran_once(waiting)
    jobs.ran_once(held, tries=2)
    again = operator.play(QUEUES, *does("repair"))
    assert again.changed == 0
    assert "repairs: 0, workers restarted: none. 1 queue: all is well" in again.output
    until("the worker to be healthy", lambda: not subject.unhealthy(), seconds=90)


def test_only_declared_keys_are_removed_from_redis(operator: Operator, jobs: Jobs, tmp_path: Path) -> None:
    """Those of the queues never, whatever a declaration says."""
    document = yaml.safe_load((ROOT / "projects/masstock.yml").read_text("utf-8"))
    document["redis"]["main"]["clean"] = [{"pattern": "session:*", "only_without_ttl": True}, {"pattern": "bull:*"}]
    tmp_path.joinpath("masstock.yml").write_text(yaml.safe_dump(document), "utf-8")
    jobs.ran_once(jobs.add("any"))
    jobs.redis("mset", "session:a", "1", "session:b", "1", "session:mortal", "1", "other:c", "1")
    jobs.redis("expire", "session:mortal", "3600")
    where = ("-e", f"quai_projects_dir={tmp_path}")
    planned = operator.play(QUEUES, *does("redis_clean", *where, check=True))
    assert planned.changed == 1
    assert f"{CHECKED}keys to remove: 2. 1 Redis: " in planned.output
    assert jobs.redis("exists", "session:a", "session:b", "session:mortal", "other:c") == "4"
    run = operator.play(QUEUES, *does("redis_clean", *where))
    assert run.changed == 1
    assert "keys removed: 2. 1 Redis: " in run.output
    assert jobs.redis("exists", "session:a", "session:b") == "0"
    assert jobs.redis("exists", "session:mortal", "other:c", f"{KEY}:id") == "3"
    again = operator.play(QUEUES, *does("redis_clean", *where))
    assert again.changed == 0
    assert "keys removed: 0. 1 Redis: " in again.output
    jobs.redis("del", "session:mortal", "other:c")


def test_the_host_cleans_by_itself(subject: Subject) -> None:
    """The unit that the timer starts, on the real queue; its end is the sign of life that the watch looks at."""
    subject.run("systemctl is-active quai-masstock-queue.timer")
    subject.run("systemctl start quai-masstock-queue.service")
    noted = json.loads(subject.run("cat /var/lib/quai/maintenance/masstock/queue.json"))
    assert noted["ok"], noted["message"]
    assert noted["result"]["queues"][0]["name"] == "workflow-queue"
    assert noted["result"]["queues"][0]["library"] == "bull"
    status = subject.run("quai-maintain status")
    assert status.startswith("ok ")
