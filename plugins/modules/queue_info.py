#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""See how queues of Bull and BullMQ are, and what would help."""

from __future__ import annotations

DOCUMENTATION = r"""
module: queue_info
short_description: See how queues of Bull and BullMQ are, and what would help
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Looks at any number of queues of Bull 3 and 4 and BullMQ 1 to 6 from outside, and says how each is, why, and what
    would help.
  - It only reads. Even counting does not change a queue, as the libraries' own counting may.
  - Ages are measured with the clock of Redis. What is not known is null, never 0.
  - Data of jobs is not read unless O(job_data) asks for it. Reasons of failures are shown without ids, numbers,
    paths, addresses and what looks like a secret, so that equal reasons are one line.
extends_documentation_fragment:
  - quai.ops.redis
  - quai.ops.queue
attributes:
  check_mode:
    support: full
    description: It never changes anything.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: It never changes anything.
options:
  queues:
    description:
      - Names of queues, and patterns of names with V(*) and V(?). A name that is no pattern and that no queue has is
        reported with the verdict V(unknown). A pattern that no queue fits is a warning.
    type: list
    elements: str
    required: false
    default: ["*"]
  detail:
    description:
      - How closely to look. V(counts) counts jobs by state, in one round trip for all queues, and has no
        verdict, so that O(fail_on) and O(watch) cannot be used with it.
      - V(normal) looks at the ends of each state, at every active job up to 1000, and at the newest failed ones.
      - V(deep) also goes through all ids and all keys of the database with SCAN, to count ids without a job and jobs
        without a state.
    type: str
    choices: [counts, normal, deep]
    default: normal
  watch:
    description:
      - For how long to look again, such as V(10s), until a worker is seen at work in every queue that has waiting jobs
        and is not paused. It ends as soon as that is so, and workers that were just started have that time to connect.
      - V(0s) looks once. Then a queue whose jobs wait although workers are there may be V(unknown).
    type: str
    default: 0s
  stalled_after:
    description:
      - For how long a job must be active without a lock to be called stalled. Twice the lockDuration of the workers,
        which is 30 s unless set.
    type: str
    default: 60s
  samples:
    description: How many ids to give of each finding and of each reason of failures.
    type: int
    default: 3
  failed:
    description: How many of the newest failed jobs of a queue are grouped by reason.
    type: int
    default: 500
  job_data:
    description:
      - Whether to return name, reason and data of the samples of failed jobs as they are. They may hold private data
        and secrets; use C(no_log) with it.
    type: bool
    default: false
  max_keys:
    description:
      - With O(detail=deep), after how many keys and ids of a queue to stop. The counts say then that they are not
        complete.
    type: int
    default: 1000000
  fail_on:
    description: Verdicts on which to fail, after the whole report was made.
    type: list
    elements: str
    choices:
      - healthy
      - idle
      - paused
      - no_workers
      - stuck
      - asleep
      - throttled
      - stalled
      - parent_stuck
      - dead_schedule
      - damaged
      - unknown
    default: []
  language:
    description: Language of the headings in RV(report).
    type: str
    choices: [en, fr]
    default: en
notes:
  - A verdict is the first of what is found in this order, what stops work before what lost work before what slows it.
    V(unknown) (it cannot be read), V(paused), V(no_workers), V(stuck), V(asleep), V(stalled), V(parent_stuck),
    V(dead_schedule), V(damaged), V(throttled), V(unknown) (only O(watch) can tell), V(healthy), V(idle).
  - Workers are counted by the names of their connections, as the libraries do it themselves. RV(queues[].workers) is
    null for a user who may not run C(CLIENT LIST).
seealso:
  - module: quai.ops.queue_repair
  - module: quai.ops.queue_cleanup
  - module: quai.ops.queue_state
"""

EXAMPLES = r"""
- name: Queues | See how all of them are
  quai.ops.queue_info:
    url: redis://127.0.0.1:6379/0
  register: __queues

- name: Queues | Show it
  ansible.builtin.debug:
    msg: "{{ __queues.report }}"

- name: Queues | Watch whether jobs move, and fail when they do not
  quai.ops.queue_info:
    host: 127.0.0.1
    queues: [mail, "report-*"]
    watch: 30s
    fail_on: [stuck, no_workers, asleep]

- name: Queues | Count a thousand queues in one round trip
  quai.ops.queue_info:
    container: masstock-redis-1
    detail: counts

- name: Queues | Look at every key of one queue
  quai.ops.queue_info:
    url: "{{ vault_masstock.REDIS_URL }}"
    queues: [mail]
    detail: deep
    samples: 10
"""

RETURN = r"""
queues:
  description: The queues, by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the queue.
      type: str
      returned: always
      sample: mail
    prefix:
      description: Prefix of its keys.
      type: str
      returned: always
      sample: bull
    library:
      description: Which library writes it, V(bull) or V(bullmq); null when it cannot be told.
      type: str
      returned: with O(detail=normal) and O(detail=deep)
      sample: bullmq
    version:
      description: Version of the library; null when the keys do not say it.
      type: str
      returned: with O(detail=normal) and O(detail=deep)
      sample: 5.81.5
    major:
      description: Major version, as far as it can be told.
      type: int
      returned: with O(detail=normal) and O(detail=deep)
      sample: 5
    version_evidence:
      description: Why that is believed.
      type: str
      returned: with O(detail=normal) and O(detail=deep)
      sample: its meta says version 5.81.5
    counts:
      description: Jobs by state. A state is null when its key is of another type.
      type: dict
      returned: when there is such a queue
      sample: {completed: 9, failed: 3, delayed: 1, prioritized: 0, waiting-children: 0, wait: 4, paused: 0, active: 1}
    paused:
      description: Whether it is paused.
      type: bool
      returned: when there is such a queue
    waiting:
      description:
        - Jobs that could be taken now, in all states where such jobs are; delayed ones that are due included.
      type: int
      returned: when there is such a queue, except with O(detail=counts)
      sample: 4
    overdue:
      description: Delayed jobs that are due and that no worker has found yet.
      type: int
      returned: as RV(queues[].waiting)
      sample: 0
    oldest_wait_s:
      description: For how long the oldest of those that were looked at could have been taken, s. Null when not known.
      type: float
      returned: as RV(queues[].waiting)
      sample: 2.31
    workers:
      description: Workers that are connected. Null when that may not be asked.
      type: int
      returned: as RV(queues[].waiting)
      sample: 2
    throttled:
      description:
        - Limits of the queue. C(limited) says whether its rate limit is reached, null when only the workers know the
          limit; C(limited_for_ms) until when; C(concurrency) is that of the queue, null when it has none; C(full)
          whether so many jobs are active.
      type: dict
      returned: as RV(queues[].waiting)
      sample: {limited: false, limited_for_ms: 0, concurrency: null, full: false}
    locked:
      description: Active jobs whose worker holds them.
      type: int
      returned: as RV(queues[].waiting)
      sample: 1
    longest_active_s:
      description: For how long the longest of RV(queues[].locked) has been worked on, s.
      type: float
      returned: as RV(queues[].waiting)
      sample: 0.4
    unlocked:
      description:
        - Active jobs that nobody holds. C(since_s) is the time since they were taken, null when work on them never
          began; C(seen_for_s) is for how long O(watch) has seen them so.
      type: list
      elements: dict
      returned: as RV(queues[].waiting)
      sample: [{id: "17", since_s: 340.5, seen_for_s: 0.0}]
    moving:
      description: Whether a worker took or finished a job while O(watch) looked. Null without it.
      type: bool
      returned: as RV(queues[].waiting)
    renewed:
      description: Whether a worker prolonged the lock of an active job while O(watch) looked. Null without it.
      type: bool
      returned: as RV(queues[].waiting)
    watched_s:
      description: For how long it was watched, s.
      type: float
      returned: with O(watch)
      sample: 1.5
    markers:
      description: What wakes workers of BullMQ 5 and later, by kind, with its time. Null for older ones.
      type: dict
      returned: as RV(queues[].waiting)
      sample: {work: 0}
    idle_without_marker:
      description: Whether jobs wait, nothing is active and no marker is there, seen twice.
      type: bool
      returned: as RV(queues[].waiting)
    events:
      description: Entries of the stream of events. Null for Bull.
      type: int
      returned: as RV(queues[].waiting)
      sample: 10021
    parents:
      description:
        - Parents that wait for children. C(looked_at) is how many, the oldest; C(stuck) are those whose children
          will not finish by themselves, with C(why) (V(done), V(lost), V(failed)).
      type: dict
      returned: as RV(queues[].waiting)
      sample: {looked_at: 0, stuck: []}
    schedules:
      description:
        - Job schedulers and repeatable jobs. C(dead) are those whose next run is in no state. C(looked_at) is null
          when Redis is too old to tell.
      type: dict
      returned: as RV(queues[].waiting)
      sample: {count: 2, looked_at: 2, dead: []}
    ghosts:
      description: Ids in a state without a job. C(complete) says whether every id was looked at.
      type: dict
      returned: as RV(queues[].waiting)
      sample: {count: 0, states: {}, ids: {}, complete: false}
    orphans:
      description: Jobs in no state. Null unless O(detail=deep).
      type: dict
      returned: as RV(queues[].waiting)
      sample: {count: 2, ids: ["44", "45"], complete: true}
    failed_reasons:
      description: Reasons of failures, the most frequent first, with times in ms since 1970 and some ids.
      type: list
      elements: dict
      returned: as RV(queues[].waiting)
      sample:
        - {reason: connect ECONNREFUSED <address>, count: 1, newest_ms: 1790000000, oldest_ms: 1790000000, ids: ["9"]}
    failed_looked_at:
      description: How many failed jobs RV(queues[].failed_reasons) counts.
      type: int
      returned: as RV(queues[].waiting)
      sample: 3
    looked_at_ms:
      description: Redis' time of the look, ms since 1970.
      type: int
      returned: as RV(queues[].waiting)
      sample: 1790000000000
    problems:
      description: Why it cannot be read.
      type: list
      elements: str
      returned: always
      sample: []
    verdict:
      description: How it is, in one word.
      type: str
      returned: with O(detail=normal) and O(detail=deep)
      sample: healthy
    evidence:
      description: Why, one line for each thing that was found, those of the verdict first.
      type: list
      elements: str
      returned: with O(detail=normal) and O(detail=deep)
      sample: ["4 jobs waiting, the oldest for 2 s, 1 active, 2 workers connected; jobs move"]
    repair:
      description: What would help, for people.
      type: list
      elements: str
      returned: with O(detail=normal) and O(detail=deep)
      sample: []
    repairs:
      description: Repairs of M(quai.ops.queue_repair) that would help and are safe unasked.
      type: list
      elements: str
      returned: with O(detail=normal) and O(detail=deep)
      sample: []
    findings:
      description: Everything that was found, as words of the verdict.
      type: list
      elements: str
      returned: with O(detail=normal) and O(detail=deep)
      sample: [healthy]
good:
  description: Whether every verdict is V(healthy), V(idle) or V(throttled).
  returned: with O(detail=normal) and O(detail=deep)
  type: bool
bad:
  description: Names of the queues with another verdict.
  returned: with O(detail=normal) and O(detail=deep)
  type: list
  elements: str
  sample: []
totals:
  description: Jobs of all queues by state, as far as they are known.
  returned: success
  type: dict
  sample: {completed: 1200, failed: 3, delayed: 1, prioritized: 0, "waiting-children": 0, wait: 4, paused: 0, active: 1}
report:
  description: A table for people, the worst first, and why.
  returned: with O(detail=normal) and O(detail=deep)
  type: list
  elements: str
reason:
  description:
    - Why it failed, in one word. V(input) when what was asked for cannot be done. Else it is about the
      connection or the server, such as V(own) (its options), V(auth), V(refused), V(timeout), V(readonly), V(loading),
      V(memory) or V(cluster).
  returned: failure
  type: str
  sample: auth
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quai.ops.plugins.module_utils import _queue_ask, _queue_options, _redis_module
from ansible_collections.quai.ops.plugins.module_utils._queue_facts import MOST_KEYS, Wanted, published, watch
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._queue_verdict import GOOD, LANGUAGES, VERDICTS, report, verdict
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Server
from ansible_collections.quai.ops.plugins.module_utils._redis_options import connection

SPEC = {
    **_queue_options.OPTIONS,
    "queues": {"type": "list", "elements": "str", "default": ["*"]},
    "detail": {"type": "str", "choices": ["counts", "normal", "deep"], "default": "normal"},
    "watch": {"type": "str", "default": "0s"},
    "stalled_after": {"type": "str", "default": "60s"},
    "samples": {"type": "int", "default": 3},
    "failed": {"type": "int", "default": 500},
    "job_data": {"type": "bool", "default": False},
    "max_keys": {"type": "int", "default": MOST_KEYS, "no_log": False},
    "fail_on": {"type": "list", "elements": "str", "choices": list(VERDICTS), "default": []},
    "language": {"type": "str", "choices": list(LANGUAGES), "default": "en"},
}


def looked(server: Server, params: dict[str, Any], times: dict[str, float]) -> tuple[dict[str, Any], list[str]]:
    """Look at all queues; what is returned, and warnings. Raises QueueProblem and RedisFailed."""
    if params["detail"] == "counts":
        found = _queue_ask.counted(server, params["queues"], params["prefix"])
        return {"queues": found, "totals": _queue_ask.totals(found)}, []
    asked = _queue_ask.detected(server, params)
    wanted = Wanted(
        samples=params["samples"],
        deep=params["detail"] == "deep",
        job_data=params["job_data"],
        failed=params["failed"],
        max_keys=params["max_keys"],
    )
    found = [*watch(server, asked.queues, wanted, times["watch"]), *asked.unknown]
    results = [{**published(one), **verdict(one, stalled_after=times["stalled_after"])} for one in found]
    results.sort(key=lambda one: str(one["name"]))
    bad = [one["name"] for one in results if one["verdict"] not in GOOD]
    result = {
        "queues": results,
        "totals": _queue_ask.totals(results),
        "good": not bad,
        "bad": bad,
        "report": report(results, params["language"]),
    }
    return result, asked.warnings


def act(module: AnsibleModule) -> dict[str, Any]:
    """Look, judge, report. Raises QueueProblem and RedisFailed."""
    params = module.params
    times = _queue_options.read(
        params, durations=("watch", "stalled_after"), positive=("failed", "max_keys"), natural=("samples",)
    )
    if params["detail"] == "counts" and (params["fail_on"] or times["watch"]):
        raise QueueProblem("detail: counts has no verdict; take fail_on and watch away, or detail")
    with Server(connection(params)) as server:
        result, warnings = looked(server, params, times)
    for warning in warnings:
        module.warn(warning)
    failing = [one for one in result["queues"] if one.get("verdict") in params["fail_on"]]
    if failing:
        said = "; ".join(f"{one['name']} is {one['verdict']}: {one['evidence'][0]}" for one in failing[:10])
        module.fail_json(msg=said, changed=False, **result)
    return {"changed": False, **result}


def main() -> None:
    """Say what it takes, and do it."""
    _redis_module.run(SPEC, act)


if __name__ == "__main__":
    main()
