#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove or retry jobs of Bull and BullMQ by rules."""

from __future__ import annotations

DOCUMENTATION = r"""
module: queue_cleanup
short_description: Remove or retry jobs of Bull and BullMQ by rules
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Removes jobs of any number of queues of Bull 3 and 4 and BullMQ 1 to 6, or puts them back, by rules of state, age,
    number, name and reason of failure.
  - What a worker holds, what a schedule needs and what another job depends on is kept unless somebody says otherwise.
    Every page of jobs is decided on and removed in one step that Redis carries out as a whole, and that takes a few
    milliseconds, so that others are hardly held up.
  - Ages are measured with the clock of Redis. Nothing is ever removed by a pattern of keys.
  - Check mode decides with the same script, told not to write, so that its numbers are those of the run that follows.
extends_documentation_fragment:
  - quai.ops.redis
  - quai.ops.queue
  - quai.ops.queue.missing
attributes:
  check_mode:
    support: full
    description: Says how many jobs of each state would go, and which are kept and why.
    details: Where the number of a dry run can only be estimated, RV(queues[].exact) is V(false).
  diff_mode:
    support: full
    description: Shows the number of jobs per queue and state, before and after.
  idempotent:
    support: partial
    description: A second run finds nothing to remove and writes nothing.
    details: Jobs grow older from one run to the next. With O(action=retry) a job that fails again is retried again.
options:
  action:
    description:
      - V(remove) removes what the rules name. V(retry) puts failed or completed jobs back, as the libraries' own retry
        does, and keeps their priority. V(report) only says what V(remove) would do.
    type: str
    choices: [remove, retry, report]
    default: remove
  rules:
    description:
      - Which jobs. All that a rule says must hold, and a job goes when one of the rules takes it.
      - May be left out where only O(ghosts), O(orphans) or O(events_maxlen) is asked for.
    type: list
    elements: dict
    default: []
    suboptions:
      state:
        description:
          - State of the jobs. V(waiting) stands for V(wait), V(paused), and V(prioritized) where there is one.
        type: str
        required: true
        choices: [completed, failed, delayed, prioritized, waiting-children, wait, paused, active, waiting]
      older_than:
        description:
          - Only jobs of this age or older, such as V(7d), V(24h), V(90s), or a number of seconds. V(0) means all.
          - Needed unless O(rules[].keep_last) is given, so that nobody takes all jobs by omission.
        type: str
      keep_last:
        description: All but so many of the youngest. Not for states that are not sorted by age.
        type: int
      limit:
        description: At most so many jobs of each queue, the oldest first.
        type: int
      name:
        description: Pattern of the jobs' name, with V(*), V(?) and V([abc]). Any when empty.
        type: str
        default: ""
      failed_reason:
        description: Pattern of the reason of failure. Only for O(rules[].state=failed).
        type: str
        default: ""
      clock:
        description:
          - Since when the age counts. V(auto) is what the newest libraries do, which is the time a job finished, or
            what is known instead of a job that has not.
        type: str
        choices: [auto, finished, created, processed]
        default: auto
  parents:
    description:
      - V(protect) keeps a job whose removal would delete its parent, or set the parent free to run without it.
      - V(upstream) does what the library's own C(clean) does.
    type: str
    choices: [protect, upstream]
    default: protect
  active:
    description:
      - V(skip) never touches active jobs. V(unlocked) removes those that no worker holds, after a second look.
      - A job whose worker died is better put back by M(quai.ops.queue_repair).
    type: str
    choices: [skip, unlocked]
    default: skip
  lock_duration:
    description: How long the lock of a worker lasts (its C(lockDuration)). For O(active=unlocked).
    type: str
    default: 30s
  ghosts:
    description: What to do with ids without a job. They are counted with V(report).
    type: str
    choices: [ignore, report, remove]
    default: ignore
  orphans:
    description:
      - What to do with jobs that are in no state. To find them, all keys of the database are gone through with SCAN.
    type: str
    choices: [ignore, report, remove]
    default: ignore
  orphan_age:
    description: How old an orphan must be to be removed.
    type: str
    default: 1h
  protected:
    description:
      - Names and patterns of queues that are never touched. Patterns in O(queues) leave them out; to name one there is
        an error.
    type: list
    elements: str
    default: []
  require:
    description: What must be so for every queue, or nothing is done to any.
    type: str
    choices: [none, no_workers, paused]
    default: none
  max_remove:
    description:
      - The most jobs of all queues together that may go, as a number, or as a share of all their jobs such as V(20%).
        When the plan is larger, the module fails before the first job is removed, in check mode too. With
        O(action=report) it is a warning.
      - Not for O(action=retry), which O(rules[].limit) bounds.
    type: str
    default: ""
  reset_attempts:
    description: Whether retried jobs begin again with all of their attempts.
    type: bool
    default: false
  events_maxlen:
    description: Trim the stream of events of a BullMQ queue to about so many entries, never above its own limit.
    type: int
  chunk_ms:
    description: How long one step may keep Redis busy, ms. The number of jobs in a step is adapted to it.
    type: float
    default: 5.0
  duty:
    description: The share of time that Redis may be kept busy. With V(0.5) the module pauses as long as Redis worked.
    type: float
    default: 1.0
  max_seconds:
    description: When to stop. What is left is said in RV(complete), and is for the next run.
    type: float
    default: 300.0
  fast:
    description:
      - Whether finished jobs are removed without reading each of them, where that is proven to be the same. It takes
        half of the time. V(auto) decides by the number of jobs and by what else is in the database.
    type: str
    choices: [auto, never, always]
    default: auto
  memory_purge:
    description: Ask Redis to give freed memory back to the system afterwards.
    type: bool
    default: false
notes:
  - Run it where Redis can be reached, on a host or on the controller. Nothing needs to be installed on either.
  - docs/queues.md in this repository lists what equals each version of the libraries, and what differs on purpose.
seealso:
  - module: quai.ops.queue_info
  - module: quai.ops.queue_state
  - module: quai.ops.queue_repair
  - module: quai.ops.redis_keys
"""

EXAMPLES = r"""
- name: Queues | Keep completed jobs for a day and failed ones for a month
  quai.ops.queue_cleanup:
    container: masstock_redis
    password: "{{ vault_masstock.REDIS_PASSWORD }}"
    queues: [workflow-queue]
    rules:
      - {state: completed, older_than: 24h}
      - {state: failed, older_than: 30d}

- name: Queues | See what would go, of all queues, without touching any
  quai.ops.queue_cleanup:
    url: redis://127.0.0.1:6379/0
    queues: ["*"]
    action: report
    rules:
      - {state: completed, keep_last: 1000}
    ghosts: report
    orphans: report
  register: __queues

- name: Queues | Show it
  ansible.builtin.debug:
    msg: "{{ __queues.report }}"

- name: Queues | Give up mails that could not be delivered, unless that is nearly all
  quai.ops.queue_cleanup:
    host: 127.0.0.1
    queues: [mail]
    rules:
      - {state: failed, older_than: 1h, name: "send-*", failed_reason: "*ENOTFOUND*"}
    max_remove: 20%

- name: Queues | Retry what failed while the database was away
  quai.ops.queue_cleanup:
    host: 127.0.0.1
    queues: [mail, "report-*"]
    action: retry
    rules:
      - {state: failed, older_than: 0, failed_reason: "*ECONNREFUSED*", limit: 10000}
"""

RETURN = r"""
msg:
  description: What was done, in one line.
  returned: always
  type: str
  sample: "removed 4120 jobs of mail: 4000 completed, 120 failed; kept 2 locked"
report:
  description: A table for people, per queue and state how many jobs there were, how many go and how many are left.
  returned: success, and when it failed after something was changed
  type: list
  elements: str
  sample: ["queue  state      before  gone  left", "mail   completed    4212  4000   212"]
queues:
  description: What was done to each queue, or would be.
  returned: success, and when it failed after something was changed
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
      description: Which library writes it.
      type: str
      returned: always
      sample: bullmq
    version:
      description: Version of the library. Empty when the keys do not say it.
      type: str
      returned: always
      sample: 5.81.5
    major:
      description: Its major version, as far as it can be told.
      type: int
      returned: always
      sample: 5
    counts_before:
      description: Jobs by state before.
      type: dict
      returned: always
      sample: {completed: 4212, failed: 120, wait: 3}
    counts_after:
      description: Jobs by state after. In check mode those that would be left.
      type: dict
      returned: always
      sample: {completed: 212, failed: 0, wait: 3}
    removed:
      description: Jobs removed, by state.
      type: dict
      returned: always
      sample: {completed: 4000, failed: 120}
    retried:
      description: Jobs put back, by the state they were in.
      type: dict
      returned: always
      sample: {}
    kept:
      description: Jobs that a rule looked at and that were kept, by reason.
      type: dict
      returned: always
      sample: {young: 212, locked: 2}
    ghosts:
      description: Ids without a job. Null when they were not looked for.
      type: int
      returned: always
      sample: 0
    ghosts_removed:
      description: How many of them were removed.
      type: int
      returned: unless O(action=retry)
      sample: 0
    orphans:
      description: Jobs in no state. Null when they were not looked for.
      type: int
      returned: always
    orphans_removed:
      description: How many of them were removed.
      type: int
      returned: unless O(action=retry)
      sample: 0
    released:
      description: Parents that were set free to run, with O(parents=upstream).
      type: int
      returned: unless O(action=retry)
      sample: 0
    parents_deleted:
      description: Parents that went with the last of their children, with O(parents=upstream).
      type: int
      returned: unless O(action=retry)
      sample: 0
    events_trimmed:
      description: Entries taken from the stream of events.
      type: int
      returned: unless O(action=retry)
      sample: 0
    oldest:
      description: Time of the oldest of these jobs, ms since 1970. Null when there was none.
      type: int
      returned: always
      sample: 1790000000000
    newest:
      description: Time of the newest of them.
      type: int
      returned: always
      sample: 1790000086400
    sample_ids:
      description: Ids of at most 20 of them.
      type: list
      elements: str
      returned: always
      sample: ["17", "18"]
    chunks:
      description: Number of steps.
      type: int
      returned: always
      sample: 3
    longest_chunk_ms:
      description: Time that the longest step took, ms.
      type: float
      returned: always
      sample: 5.2
    redis_ms:
      description: Time that all steps took, ms.
      type: float
      returned: always
      sample: 12.7
    exact:
      description: Whether the numbers of check mode are those of the run that follows.
      type: bool
      returned: always
    complete:
      description: Whether everything was done that the rules say. V(false) when O(max_seconds) or a limit ended it.
      type: bool
      returned: always
    changed:
      description: Whether anything was written, or would be.
      type: bool
      returned: always
    warnings:
      description: What is worth knowing.
      type: list
      elements: str
      returned: always
      sample: []
skipped_queues:
  description: Names and patterns of O(queues) for which there is no queue.
  returned: success, and when it failed after something was changed
  type: list
  elements: str
  sample: []
totals:
  description: All queues together.
  returned: success, and when it failed after something was changed
  type: dict
  contains:
    queues:
      description: Number of queues.
      type: int
      returned: success
    removed:
      description: Jobs removed.
      type: int
      returned: success
    retried:
      description: Jobs put back.
      type: int
      returned: success
    jobs_before:
      description: Jobs in all states before.
      type: int
      returned: success
    jobs_after:
      description: Jobs in all states after.
      type: int
      returned: success
  sample: {queues: 1, removed: 4120, retried: 0, jobs_before: 4335, jobs_after: 215}
chunks:
  description: Number of steps.
  returned: success
  type: int
  sample: 3
longest_chunk_ms:
  description: Time that the longest step took, ms.
  returned: success
  type: float
  sample: 5.2
redis_ms:
  description: Time that all steps took, ms.
  returned: success
  type: float
  sample: 12.7
bytes_freed:
  description:
    - How much less memory Redis uses than before. Others that write meanwhile count too, so it may be below 0.
      Null in check mode, and when nothing was changed or Redis does not say.
  returned: success
  type: int
  sample: 5341184
complete:
  description: Whether everything was done that the rules say, in all queues.
  returned: success
  type: bool
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 0.31
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
from ansible_collections.quai.ops.plugins.module_utils import _queue_options, _queue_task, _redis_module
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import STATES
from ansible_collections.quai.ops.plugins.module_utils._queue_rules import CLOCKS, WAITING
from ansible_collections.quai.ops.plugins.module_utils._redis_options import connection

RULE = {
    "state": {"type": "str", "required": True, "choices": [*STATES, WAITING]},
    "older_than": {"type": "str"},
    "keep_last": {"type": "int"},
    "limit": {"type": "int"},
    "name": {"type": "str", "default": ""},
    "failed_reason": {"type": "str", "default": ""},
    "clock": {"type": "str", "choices": list(CLOCKS), "default": "auto"},
}


SPEC = {
    **_queue_options.OPTIONS,
    **_queue_options.MISSING,
    "action": {"type": "str", "choices": list(_queue_task.ACTIONS), "default": "remove"},
    "rules": {"type": "list", "elements": "dict", "default": [], "options": RULE},
    "parents": {"type": "str", "choices": ["protect", "upstream"], "default": "protect"},
    "active": {"type": "str", "choices": ["skip", "unlocked"], "default": "skip"},
    "lock_duration": {"type": "str", "default": "30s"},
    "ghosts": {"type": "str", "choices": ["ignore", "report", "remove"], "default": "ignore"},
    "orphans": {"type": "str", "choices": ["ignore", "report", "remove"], "default": "ignore"},
    "orphan_age": {"type": "str", "default": "1h"},
    "protected": {"type": "list", "elements": "str", "default": []},
    "require": {"type": "str", "choices": ["none", "no_workers", "paused"], "default": "none"},
    "max_remove": {"type": "str", "default": ""},
    "reset_attempts": {"type": "bool", "default": False},
    "events_maxlen": {"type": "int"},
    "chunk_ms": {"type": "float", "default": 5.0},
    "duty": {"type": "float", "default": 1.0},
    "max_seconds": {"type": "float", "default": 300.0},
    "fast": {"type": "str", "choices": ["auto", "never", "always"], "default": "auto"},
    "memory_purge": {"type": "bool", "default": False},
}


def act(module: AnsibleModule) -> dict[str, Any]:
    """Read what is asked for, do it, say it. Raises QueueProblem, RedisFailed and Unmet."""
    params = module.params
    asked = _queue_task.task({name: params[name] for name in _queue_task.DEFAULTS})
    try:
        result = _queue_task.run(asked, connection(params), dry=module.check_mode, warn=module.warn)
    except _queue_task.Stopped as error:
        raise _redis_module.Unmet(error.reason, str(error), error.result) from None
    # Each was said as it came.
    del result["warnings"]
    if module._diff and result["changed"]:
        result["diff"] = _queue_task.difference(result["queues"])
    return result


def main() -> None:
    """Say what it takes, and do it."""
    _redis_module.run(SPEC, act)


if __name__ == "__main__":
    main()
