#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pause queues of Bull and BullMQ, resume them, and wait until none of their jobs runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: queue_state
short_description: Pause queues of Bull and BullMQ, resume them, and wait until they are drained
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Pauses and resumes queues of Bull 3 and 4 and BullMQ 1 to 6 as their own C(queue.pause) and C(queue.resume) do, and
    waits until no job is active any more. Workers stay connected; a release or a restore can be done meanwhile.
  - A paused queue takes new jobs, finishes those that run, and begins no other.
  - Where the libraries lose jobs, this does not. Up to BullMQ 5 and in Bull they rename the list of waiting jobs over
    the list of paused ones, or back, which drops what is there already; here both are joined.
  - Jobs that were left in the list of paused jobs of a queue that is not paused are brought back by O(state=running).
    Jobs that wait where workers take them although the queue is paused are put to the paused ones by O(state=paused).
extends_documentation_fragment:
  - quai.ops.redis
  - quai.ops.queue
  - quai.ops.queue.missing
attributes:
  check_mode:
    support: full
    description: Says which queues would be paused or resumed. It does not wait.
  diff_mode:
    support: full
    description: Shows the state of each queue before and after.
  idempotent:
    support: full
    description: A second run changes nothing and writes nothing, no events included.
options:
  state:
    description:
      - V(paused) pauses. V(running) resumes. V(drained) pauses unless O(pause=false), and waits until no job is active,
        for at most O(wait).
      - V(drained) says nothing of jobs that wait, are delayed or have failed. They stay.
    type: str
    choices: [paused, running, drained]
    required: true
  pause:
    description: With O(state=drained), whether to pause. Without it, jobs may begin again as soon as it has ended.
    type: bool
    default: true
  wait:
    description: With O(state=drained), how long to wait for all queues together, as in V(90s) or V(10m).
    type: str
    default: 60s
  stable_for:
    description: With O(state=drained), for how long no job may be active in any queue before they count as drained.
    type: str
    default: 0s
  on_timeout:
    description:
      - With O(state=drained), what to do with the queues that this call has paused when it fails, for instance because
        jobs are still active after O(wait). V(resume) lets them run again, so that a call that fails has changed
        nothing. V(leave) leaves them paused.
    type: str
    choices: [resume, leave]
    default: resume
notes:
  - An active job without a lock belongs to a worker that is gone. It ends when another worker finds it, which takes up
    to two of their stalledInterval (30 s unless set), or by M(quai.ops.queue_repair).
seealso:
  - module: quai.ops.queue_info
  - module: quai.ops.queue_cleanup
  - module: quai.ops.queue_repair
"""

EXAMPLES = r"""
- name: Queues | Begin no more mails and wait for those that are being sent
  quai.ops.queue_state:
    url: redis://127.0.0.1:6379/0
    queues: [mail]
    state: drained
    wait: 5m

- name: Queues | Go on
  quai.ops.queue_state:
    url: redis://127.0.0.1:6379/0
    queues: [mail]
    state: running

- name: Queues | Pause all queues of a project whose Redis publishes no port, if there are any yet
  quai.ops.queue_state:
    container: masstock-redis-1
    password: "{{ vault_masstock.REDIS_PASSWORD }}"
    queues: ["*"]
    missing: skip
    state: paused

- name: Queues | Wait until nothing has run for two seconds, without pausing
  quai.ops.queue_state:
    host: 127.0.0.1
    queues: ["report-*"]
    state: drained
    pause: false
    wait: 90s
    stable_for: 2s
"""

RETURN = r"""
queues:
  description: The queues, by name.
  returned: success, and when jobs are still active after O(wait)
  type: list
  elements: dict
  contains:
    name:
      description: Name of the queue.
      type: str
      returned: always
      sample: mail
    library:
      description: Which library writes it.
      type: str
      returned: always
      sample: bullmq
    version:
      description: Its version; empty when the keys do not say it.
      type: str
      returned: always
      sample: 5.81.5
    changed:
      description: Whether it was, or would be, changed.
      type: bool
      returned: always
    paused_before:
      description: Whether it was paused before.
      type: bool
      returned: always
    paused:
      description: Whether it is paused now, or would be.
      type: bool
      returned: always
    moved:
      description: Jobs that were in the wrong list and were moved one page at a time.
      type: int
      returned: always
      sample: 0
    waiting:
      description: Jobs that waited before, paused ones included, those with a priority not.
      type: int
      returned: always
      sample: 12
    active:
      description: Jobs that are active.
      type: int
      returned: always
      sample: 0
skipped_queues:
  description: Names and patterns of O(queues) for which there is no queue.
  returned: success
  type: list
  elements: str
  sample: []
waited:
  description: For how long it waited, in seconds.
  returned: with O(state=drained), not in check mode
  type: float
  sample: 1.27
holders:
  description: Jobs that were still active after O(wait), at most 20 of each queue, those that run longest first.
  returned: when jobs are still active after O(wait)
  type: list
  elements: dict
  contains:
    queue:
      description: Name of the queue.
      type: str
      returned: always
      sample: mail
    id:
      description: Id of the job.
      type: str
      returned: always
      sample: "17"
    name:
      description: Name of the job.
      type: str
      returned: always
      sample: send
    worker:
      description: Name of the worker, for workers that have one.
      type: str
      returned: always
      sample: ""
    since_ms:
      description: Since when it is worked on, ms since 1970. Null when that did not begin.
      type: int
      returned: always
      sample: 1790000000000
    seconds:
      description: For how long. Null when that did not begin.
      type: float
      returned: always
      sample: 61.2
    lock_ms:
      description: For how long its lock is still valid, ms. Null when no worker holds it.
      type: int
      returned: always
      sample: 28734
reason:
  description:
    - Why it failed, in one word. V(input) when what was asked for cannot be done, V(active) when jobs are
      still active after O(wait). Else it is about the
      connection or the server, such as V(own) (its options), V(auth), V(refused), V(timeout), V(readonly), V(loading),
      V(memory) or V(cluster).
  returned: failure
  type: str
  sample: auth
"""

from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quai.ops.plugins.module_utils import _queue_options, _queue_state, _redis_module
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._queue_state import Change, Drained, Waiting
from ansible_collections.quai.ops.plugins.module_utils._redis_link import RedisFailed, Server
from ansible_collections.quai.ops.plugins.module_utils._redis_options import connection

SPEC = {
    **_queue_options.OPTIONS,
    **_queue_options.MISSING,
    "state": {"type": "str", "choices": ["paused", "running", "drained"], "required": True},
    "pause": {"type": "bool", "default": True},
    "wait": {"type": "str", "default": "60s"},
    "stable_for": {"type": "str", "default": "0s"},
    "on_timeout": {"type": "str", "choices": ["resume", "leave"], "default": "resume"},
}
# How many of the jobs that are still active stand in the message.
MOST_NAMED = 5


class Asked(NamedTuple):
    """What is asked for. Times in seconds."""

    state: str
    pause: bool
    wait: float
    stable_for: float
    resume: bool  # when jobs are still active after that time
    dry: bool


def asked_of(params: dict[str, Any], *, dry: bool) -> Asked:
    """Read the options. Raises QueueProblem with everything that is wrong with them."""
    times = _queue_options.read(params, durations=("wait", "stable_for"))
    if times["stable_for"] > times["wait"]:
        raise QueueProblem(f"stable_for ({params['stable_for']}) cannot be longer than wait ({params['wait']})")
    back = params["on_timeout"] == "resume"
    return Asked(params["state"], params["pause"], times["wait"], times["stable_for"], back, dry)


def pauses(asked: Asked) -> bool:
    """Whether queues are paused, or would be."""
    return asked.state == "paused" or (asked.state == "drained" and asked.pause)


def found(server: Server, params: dict[str, Any], asked: Asked) -> tuple[list[Waiting], _queue_options.Chosen]:
    """The queues that are there, of versions that are known well enough. Raises QueueProblem and RedisFailed."""
    chosen = _queue_options.chosen(server, params)
    for one in chosen.queues:
        _queue_state.major_of(one.flavour, one.queue)
        if pauses(asked):
            _queue_state.sure_of_lists(one.flavour, one.queue)
    return [Waiting(*one) for one in chosen.queues], chosen


def bring(waiting: list[Waiting], asked: Asked) -> dict[str, Any]:
    """Bring the queues to their state. Raises Unmet, QueueProblem and RedisFailed."""
    changes: list[Change] = []
    done: Drained | None = None
    try:
        for one in waiting:
            changes.append(change_of(one, asked))
        if asked.state == "drained" and not asked.dry:
            done = _queue_state.drained(waiting, asked.wait, stable_for=asked.stable_for)
        active = done.active if done else {one.queue.name: _queue_state.count_active(*one) for one in waiting}
    except (QueueProblem, RedisFailed) as error:
        raise told(error, left_paused(waiting, changes, asked)) from None
    undone = bool(done and not done.drained and asked.resume and any(change.changed for change in changes))
    if undone:
        changes = back(waiting, changes)
    result: dict[str, Any] = {
        "changed": any(change.changed for change in changes),
        "queues": [published(one, change, active) for one, change in zip(waiting, changes)],
    }
    if done:
        result["waited"] = round(done.waited, 3)
    if done and not done.drained:
        result["holders"] = [holder._asdict() for holder in done.holders]
        raise _redis_module.Unmet("active", message(done, undone), result)
    return result


def change_of(one: Waiting, asked: Asked) -> Change:
    """Pause or resume one queue, or only look at it. Raises QueueProblem and RedisFailed."""
    if asked.state == "running":
        change = _queue_state.resume(*one, dry=asked.dry)
        return change._replace(paused=False)
    if asked.state == "drained" and not asked.pause:
        return _queue_state.pause(*one, dry=True)._replace(changed=False)
    return _queue_state.pause(*one, dry=asked.dry)._replace(paused=True)


def back(waiting: list[Waiting], changes: list[Change]) -> list[Change]:
    """Resume the queues that were not paused before; return what was done to all of them then."""
    after = []
    for one, change in zip(waiting, changes):
        if change.changed and not change.paused_before:
            _queue_state.resume(*one)
            after.append(change._replace(changed=False, paused=False))
        else:
            after.append(change)
    return after


def left_paused(waiting: list[Waiting], changes: list[Change], asked: Asked) -> list[str]:
    """Resume what this call has paused, as far as Redis still answers; return the names of those that stay paused."""
    names = []
    for one, change in zip(waiting, changes):
        if asked.dry or asked.state == "running" or not change.changed or change.paused_before:
            continue
        try:
            if asked.state == "drained" and asked.resume:
                _queue_state.resume(*one)
                continue
        except (QueueProblem, RedisFailed):
            pass
        names.append(one.queue.name)
    return names


def told(error: QueueProblem | RedisFailed, paused: list[str]) -> QueueProblem | RedisFailed:
    """The same error, with the queues that it leaves paused."""
    if not paused:
        return error
    said = f"{error}; {', '.join(paused)} had been paused before that and may still be"
    return RedisFailed(error.reason, said) if isinstance(error, RedisFailed) else QueueProblem(said)


def message(done: Drained, undone: bool) -> str:
    """What is still active, and why that may be."""
    counts = ", ".join(f"{count} of {name}" for name, count in done.active.items() if count)
    said = []
    for holder in done.holders[:MOST_NAMED]:
        since = "not begun" if holder.seconds is None else f"for {holder.seconds:.0f} s"
        held = "no lock: its worker is gone" if holder.lock_ms is None else f"locked by {holder.worker or 'a worker'}"
        said.append(f"{holder.queue} {holder.id} ({holder.name or 'no name'}, {since}, {held})")
    more = sum(done.active.values()) - len(said)
    tail = f" and {more} more" if more > 0 and said else ""
    then = "; what was paused for it runs again (on_timeout: leave keeps it paused)" if undone else ""
    return f"jobs are still active after {done.waited:.1f} s: {counts}: {', '.join(said)}{tail}{then}"


def published(one: Waiting, change: Change, active: dict[str, int]) -> dict[str, Any]:
    """What is returned of a queue."""
    return {
        "name": one.queue.name,
        "library": one.flavour.library,
        "version": one.flavour.version,
        "changed": change.changed,
        "paused_before": change.paused_before,
        "paused": change.paused,
        "moved": change.moved,
        "waiting": change.jobs,
        "active": active[one.queue.name],
    }


def difference(queues: list[dict[str, Any]]) -> dict[str, Any]:
    """The state of each queue before and after, for --diff."""
    words = {True: "paused", False: "running"}
    return {
        "before_header": "queues",
        "after_header": "queues",
        "before": "".join(f"{one['name']}: {words[one['paused_before']]}\n" for one in queues),
        "after": "".join(f"{one['name']}: {words[one['paused']]}\n" for one in queues),
    }


def act(module: AnsibleModule) -> dict[str, Any]:
    """Check everything, then bring the queues to their state. Raises Unmet, QueueProblem and RedisFailed."""
    params = module.params
    asked = asked_of(params, dry=module.check_mode)
    with Server(connection(params)) as server:
        writes = not asked.dry and (asked.state == "running" or pauses(asked))
        for warning in server.writable() if writes else ():
            module.warn(warning)
        waiting, chosen = found(server, params, asked)
        for warning in chosen.warnings:
            module.warn(warning)
        result = bring(waiting, asked)
    if module._diff:
        result["diff"] = difference(result["queues"])
    return {"skipped_queues": chosen.skipped, **result}


def main() -> None:
    """Say what it takes, and do it."""
    _redis_module.run(SPEC, act)


if __name__ == "__main__":
    main()
