#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repair queues of Bull and BullMQ, as far as that is safe."""

from __future__ import annotations

DOCUMENTATION = r"""
module: queue_repair
short_description: Repair queues of Bull and BullMQ, as far as that is safe
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Does what the libraries do by themselves, where they do not do it any more. Jobs that were lost by a worker that
    died, left in the list of a queue that is not paused, or are parents whose children are done, wait again; idle
    workers whose marker is gone are woken.
  - Each repair is one script that looks at everything it relies on, decides, and writes then. A job whose lock is
    held is never touched.
  - Workers themselves are not restarted. O(until_moving) verifies that jobs move after something else has restarted
    them.
extends_documentation_fragment:
  - quai.ops.redis
  - quai.ops.queue
  - quai.ops.queue.missing
attributes:
  check_mode:
    support: full
    description: The same scripts decide, with writing switched off.
  diff_mode:
    support: full
    description: Shows what is repaired, with ids.
  idempotent:
    support: full
    description: A second run finds nothing to do and writes nothing.
options:
  repairs:
    description:
      - What to repair. Without it, what RV(quai.ops.queue_info#module:queues[].repairs) suggests, which is safe
        unasked. An empty list repairs nothing, for O(until_moving) alone.
      - V(paused_list) puts the jobs in the list of a paused queue back in turn, if the queue is not paused.
      - V(stalled) puts active jobs back that nobody holds, to be taken next, and counts them as stalled, as the
        library does. A job must have been active without a lock for O(stalled_after) and be so in two looks, of which
        the second comes after a second when no worker is connected, after 5 s with workers of BullMQ 5 and later, and
        after 30 s with others, which take and lock a job in two steps. Unasked only when no worker is connected. A
        worker that lost its lock, but is still at it, would run the job beside the one that takes it; restart the
        workers first.
      - V(parents) releases parents whose children are all done, older than a minute.
      - V(parents_lost) releases parents of which all children that are left are gone. They run without them, as when
        the children are removed with the library. Never unasked.
      - V(wake) sets the marker that idle workers of BullMQ 4 and later wait for.
    type: list
    elements: str
    choices: [paused_list, stalled, parents, parents_lost, wake]
  stalled_after:
    description:
      - For how long a job must be active without a lock. Twice the lockDuration of the workers, which is 30 s unless
        set.
    type: str
    default: 60s
  until_moving:
    description:
      - For how long to wait, such as V(60s), until a worker takes or finishes a job, or prolongs its lock on one, in
        every queue that has waiting jobs and is not paused; fails when none does. V(0s) does not wait. Not in check
        mode.
    type: str
    default: 0s
notes:
  - Dead schedules are not repaired, as what is left in Redis does not say all of it. Restart the application, which
    adds them when it starts.
  - Ids without a job and jobs without a state are removed by M(quai.ops.queue_cleanup).
seealso:
  - module: quai.ops.queue_info
  - module: quai.ops.queue_cleanup
  - module: quai.ops.queue_state
"""

EXAMPLES = r"""
- name: Queues | Repair what is safe to repair
  quai.ops.queue_repair:
    url: redis://127.0.0.1:6379/0
    queues: ["*"]

- name: Queues | Put back what a dead worker held
  quai.ops.queue_repair:
    host: 127.0.0.1
    queues: [mail]
    repairs: [stalled]
    stalled_after: 2m

- name: Queues | Make sure that jobs move again after the workers were restarted
  quai.ops.queue_repair:
    container: masstock-redis-1
    queues: ["*"]
    until_moving: 60s
"""

RETURN = r"""
queues:
  description: What was done, or would be, by queue. Queues to which nothing was done or refused are left out.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the queue.
      type: str
      returned: always
      sample: mail
    done:
      description: The repairs, with the number of C(jobs) and at most 20 of their C(ids).
      type: list
      elements: dict
      returned: always
      sample: [{repair: stalled, jobs: 1, ids: ["17"]}]
    refused:
      description: What was left alone, and why. C(id) is empty when it is about the queue.
      type: list
      elements: dict
      returned: always
      sample: [{repair: stalled, id: "18", why: "a worker holds its lock, so it is being worked on"}]
    before:
      description: Verdict before.
      type: str
      returned: always
      sample: stalled
    after:
      description: Verdict after. The one before in check mode.
      type: str
      returned: always
      sample: healthy
skipped_queues:
  description: Names and patterns of O(queues) for which there is no queue.
  returned: success
  type: list
  elements: str
  sample: []
moving:
  description: Whether jobs move, by queue with waiting ones; null when nothing waits or the queue is paused.
  returned: with O(until_moving)
  type: dict
  sample: {mail: true}
reason:
  description:
    - Why it failed, in one word. V(input) when what was asked for cannot be done, V(not_moving) when
      O(until_moving) was not met. Else it is about the connection or the server, such as V(own) (its options),
      V(auth), V(refused), V(timeout), V(readonly), V(loading), V(memory) or V(cluster).
  returned: failure
  type: str
  sample: auth
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quai.ops.plugins.module_utils import _queue_options, _queue_repair, _redis_module
from ansible_collections.quai.ops.plugins.module_utils._queue_facts import Wanted, survey, unmoved
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._queue_verdict import verdict
from ansible_collections.quai.ops.plugins.module_utils._redis_link import RedisFailed, Server
from ansible_collections.quai.ops.plugins.module_utils._redis_options import connection

SPEC = {
    **_queue_options.OPTIONS,
    **_queue_options.MISSING,
    "repairs": {"type": "list", "elements": "str", "choices": list(_queue_repair.REPAIRS)},
    "stalled_after": {"type": "str", "default": "60s"},
    "until_moving": {"type": "str", "default": "0s"},
}


def repaired(module: AnsibleModule, server: Server, times: dict[str, float], result: dict[str, Any]) -> None:
    """Repair every queue; what is done is added to C(result).

    Raises QueueProblem, RedisFailed and Unmet.
    """
    params = module.params
    after_s, until_s = times["stalled_after"], times["until_moving"]
    asked = _queue_options.chosen(server, params)
    result["skipped_queues"] = asked.skipped
    for warning in asked.warnings:
        module.warn(warning)
    for one in asked.queues:
        outcome = _queue_repair.repair(
            server,
            one.link,
            one.queue,
            one.flavour,
            which=params["repairs"],
            dry=module.check_mode,
            stalled_after=after_s,
        )
        if outcome.changed or outcome.refused:
            result["queues"].append(_published(one.queue.name, outcome, after_s))
        if outcome.changed:
            result["changed"] = True
            if "diff" in result:
                result["diff"].append(_diff(one.queue.name, outcome))
    if until_s and not module.check_mode:
        queues = [(one.queue, one.flavour) for one in asked.queues]
        before = survey(server, queues, Wanted())
        after = _queue_repair.until_moving(server, queues, before, until_s)
        result["moving"] = {one["name"]: _moves(one) for one in after}
        still = [one for one in after if unmoved(one)]
        if still:
            said = "; ".join(f"{one['name']}: {verdict(one)['evidence'][0]}" for one in still[:10])
            raise _redis_module.Unmet("not_moving", f"jobs do not move after {until_s:g} s. {said}", {})


def _published(name: str, outcome: _queue_repair.Outcome, stalled_after: float) -> dict[str, Any]:
    """What is returned of a queue."""
    done = [one._asdict() for one in outcome.done]
    return {
        "name": name,
        "done": [{**one, "ids": list(one["ids"])} for one in done],
        "refused": [one._asdict() for one in outcome.refused],
        "before": verdict(outcome.before, stalled_after=stalled_after)["verdict"],
        "after": verdict(outcome.after, stalled_after=stalled_after)["verdict"],
    }


def _moves(found: dict[str, Any]) -> bool | None:
    """Whether a worker is at work; None when there is nothing to do."""
    if found["moving"] or found["renewed"]:
        return True
    return None if found["paused"] or not found["waiting"] else False


def _diff(name: str, outcome: _queue_repair.Outcome) -> dict[str, Any]:
    """What is repaired in one queue. Counts would change by themselves meanwhile."""
    repairs = {one.repair: {"jobs": one.jobs, "ids": list(one.ids)} for one in outcome.done}
    return {"before_header": name, "after_header": name, "before": {"repaired": {}}, "after": {"repaired": repairs}}


def act(module: AnsibleModule) -> dict[str, Any]:
    """Look, decide, repair, verify. Raises QueueProblem and Unmet, which says what was done before."""
    result: dict[str, Any] = {"changed": False, "queues": []}
    if module._diff:
        result["diff"] = []
    try:
        times = _queue_options.read(module.params, durations=("stalled_after", "until_moving"))
        with Server(connection(module.params)) as server:
            repaired(module, server, times, result)
    except (QueueProblem, RedisFailed, _redis_module.Unmet) as error:
        raise _redis_module.Unmet(getattr(error, "reason", "input"), str(error), result) from None
    for one in result["queues"]:
        for left in one["refused"]:
            what = f"job {left['id']}" if left["id"] else "nothing was done"
            module.warn(f"queue {one['name']}, repair {left['repair']}: {what}: {left['why']}")
    return result


def main() -> None:
    """Say what it takes, and do it."""
    _redis_module.run(SPEC, act)


if __name__ == "__main__":
    main()
