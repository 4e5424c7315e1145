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
  queues:
    description: Names of queues, and patterns of names with V(*) and V(?). A name that no queue has fails.
    type: list
    elements: str
    required: true
  prefix:
    description: Prefix of the queues' keys. On a cluster it holds a tag in braces, unless the names do.
    type: str
    default: bull
  library:
    description: Which library writes the queues. Told from their keys unless said.
    type: str
    choices: [auto, bull, bullmq]
    default: auto
  version:
    description: Version of O(library), for example V(5.81.5), where the keys do not say it.
    type: str
    default: ""
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
      - For how many seconds a job must be active without a lock. Twice the lockDuration of the workers, which is 30 s
        unless set.
    type: float
    default: 60
  until_moving:
    description:
      - For how many seconds to wait until a worker takes or finishes a job, or prolongs its lock on one, in every
        queue that has waiting jobs and is not paused; fails when none does. V(0) does not wait. Not in check mode.
    type: float
    default: 0
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
    stalled_after: 120

- name: Queues | Make sure that jobs move again after the workers were restarted
  quai.ops.queue_repair:
    container: masstock-redis-1
    queues: ["*"]
    until_moving: 60
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
from ansible_collections.quai.ops.plugins.module_utils import _queue_ask, _queue_repair
from ansible_collections.quai.ops.plugins.module_utils._queue_facts import Wanted, survey, unmoved
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._queue_verdict import verdict
from ansible_collections.quai.ops.plugins.module_utils._redis_link import RedisFailed, Server
from ansible_collections.quai.ops.plugins.module_utils._redis_options import (
    EXCLUSIVE,
    OPTIONS,
    REQUIRED_BY,
    connection,
    secrets,
)


class NotMoving(Exception):
    """Jobs wait and do not move."""

    reason = "not_moving"


def repaired(
    server: Server, params: dict[str, Any], *, dry: bool, result: dict[str, Any], diff: list[dict[str, Any]] | None
) -> None:
    """Repair every queue; what is done is added to C(result) and C(diff).

    Raises QueueProblem, RedisFailed and NotMoving.
    """
    queues, unknown = _queue_ask.detected(server, params)
    if unknown:
        raise QueueProblem("; ".join(problem for one in unknown for problem in one["problems"]))
    for queue, flavour in queues:
        outcome = _queue_repair.repair(
            server,
            server.at(queue.key("meta")),
            queue,
            flavour,
            which=params["repairs"],
            dry=dry,
            stalled_after=params["stalled_after"],
        )
        if outcome.changed or outcome.refused:
            done = [one._asdict() for one in outcome.done]
            after = verdict(outcome.after, stalled_after=params["stalled_after"])["verdict"]
            result["queues"].append(
                {
                    "name": queue.name,
                    "done": [{**one, "ids": list(one["ids"])} for one in done],
                    "refused": [one._asdict() for one in outcome.refused],
                    "before": verdict(outcome.before, stalled_after=params["stalled_after"])["verdict"],
                    "after": after,
                }
            )
        if outcome.changed:
            result["changed"] = True
            if diff is not None:
                diff.append(_diff(queue.name, outcome))
    if params["until_moving"] and not dry:
        before = survey(server, queues, Wanted())
        after = _queue_repair.until_moving(server, queues, before, params["until_moving"])
        result["moving"] = {one["name"]: _moves(one) for one in after}
        still = [one for one in after if unmoved(one)]
        if still:
            said = "; ".join(f"{one['name']}: {verdict(one)['evidence'][0]}" for one in still[:10])
            raise NotMoving(f"jobs do not move after {params['until_moving']:.0f} s. {said}")


def _moves(found: dict[str, Any]) -> bool | None:
    """Whether a worker is at work; None when there is nothing to do."""
    if found["moving"] or found["renewed"]:
        return True
    return None if found["paused"] or not found["waiting"] else False


def _diff(name: str, outcome: _queue_repair.Outcome) -> dict[str, Any]:
    """What is repaired in one queue. Counts would change by themselves meanwhile."""
    repairs = {one.repair: {"jobs": one.jobs, "ids": list(one.ids)} for one in outcome.done}
    return {"before_header": name, "after_header": name, "before": {"repaired": {}}, "after": {"repaired": repairs}}


def main() -> None:
    """Look, decide, repair, verify."""
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            **_queue_ask.OPTIONS,
            "queues": {"type": "list", "elements": "str", "required": True},
            "repairs": {"type": "list", "elements": "str", "choices": list(_queue_repair.REPAIRS)},
            "stalled_after": {"type": "float", "default": 60},
            "until_moving": {"type": "float", "default": 0},
        },
        mutually_exclusive=EXCLUSIVE,
        required_by=REQUIRED_BY,
        supports_check_mode=True,
    )
    params = module.params
    module.no_log_values.update(secrets(params))
    result: dict[str, Any] = {"changed": False, "queues": []}
    if module._diff:
        result["diff"] = []
    try:
        _queue_ask.refuse_bad(params, natural=("stalled_after", "until_moving"))
        with Server(connection(params)) as server:
            repaired(server, params, dry=module.check_mode, result=result, diff=result.get("diff"))
    except (QueueProblem, RedisFailed, NotMoving) as error:
        module.fail_json(msg=str(error), reason=getattr(error, "reason", "input"), **result)
    for one in result["queues"]:
        for left in one["refused"]:
            what = f"job {left['id']}" if left["id"] else "nothing was done"
            module.warn(f"queue {one['name']}, repair {left['repair']}: {what}: {left['why']}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
