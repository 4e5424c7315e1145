#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove keys of Redis or Valkey by pattern, without blocking it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_keys
short_description: Remove keys of Redis or Valkey by pattern, or give them a time to live
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Looks at every key once, in pages that end soon, decides about each key by pattern, type, time to live and idle
    time, and removes it with C(UNLINK) in the same script. Nobody can change a key in between.
  - It never uses C(KEYS), C(FLUSHDB) or C(DEL), and refuses a pattern that matches everything.
  - Keys of queues of Bull and BullMQ are kept, whatever a pattern says. They are known by the keys beside them, with
    any prefix. Use M(quai.ops.queue_cleanup) for jobs.
  - On a cluster, the keys of all masters are looked at.
attributes:
  check_mode:
    support: full
    description: Decides with the same script, told not to write.
    details: The numbers are those of the run that follows, unless somebody changes keys in between.
  diff_mode:
    support: full
    description: How many keys each rule would find before and after.
  idempotent:
    support: full
    description: A second run finds nothing more, and writes nothing.
extends_documentation_fragment:
  - quai.ops.redis
options:
  rules:
    description:
      - Which keys. All that a rule says must hold. The first rule that a key satisfies decides what becomes of it.
    type: list
    elements: dict
    required: true
    suboptions:
      pattern:
        description:
          - Pattern of their names as Redis has it, with C(*), C(?), C([abc]), and a backslash before a character that
            is meant as it is.
        type: str
        required: true
      without_ttl:
        description: Only keys that would never expire.
        type: bool
        default: false
        aliases: [only_without_ttl]
      ttl_above:
        description: Only keys that expire, but not within this time, such as V(90d).
        type: str
      idle_for:
        description:
          - Only keys that nobody has read or written for this time, such as V(30d). Redis counts from its last start
            when it was restarted since, and does not know it under a C(maxmemory-policy) of LFU, which is an error.
        type: str
      types:
        description: Only keys of these types. Any when not given.
        type: list
        elements: str
        choices: [string, list, set, zset, hash, stream]
        default: []
      limit:
        description: How many keys one run takes at most.
        type: int
      action:
        description:
          - V(remove) removes them.
          - V(expire) gives them O(rules[].ttl) to live, which lets sessions that are in use renew themselves. A key
            that expires sooner keeps its time.
        type: str
        choices: [remove, expire]
        default: remove
      ttl:
        description: Time to live for V(expire), such as V(7d).
        type: str
  protected:
    description: Patterns of keys that are kept, whatever the rules say.
    type: list
    elements: str
    default: []
  protect_queues:
    description:
      - Whether keys of job queues are kept. These are all that match C(bull:*:*) or C({bull*}:*), and all that begin as
        the C(id), C(meta) and lists of a queue do.
      - A counter whose name ends in C(:id) is kept as well, because it may be all that an empty queue has.
    type: bool
    default: true
  everything:
    description: Confirms that a pattern such as V(*), which says nothing about the keys, is meant so.
    type: bool
    default: false
  max_remove:
    description:
      - Fail before the first key is touched when the rules find more keys than this, a number or a share of all keys
        such as V(20%). They are counted first, so it takes longer.
    type: str
  max_seconds:
    description: End after this time. What is left is for the next run, see RV(complete).
    type: float
    default: 300.0
  chunk_ms:
    description: How long one page may keep Redis from others, in milliseconds. The number of keys adapts to it.
    type: float
    default: 5.0
  duty:
    description: Share of the time in which Redis works for this. V(0.5) pauses after each page for as long as it took.
    type: float
    default: 1.0
  samples:
    description:
      - How many names of keys to return for each rule, at most V(20). Little is shown of what the pattern does not say,
        because names of keys can be secrets, those of sessions for instance.
    type: int
    default: 5
seealso:
  - module: quai.ops.redis_info
  - module: quai.ops.queue_cleanup
"""

EXAMPLES = r"""
- name: Redis | Remove what the application calls expired
  quai.ops.redis_keys:
    url: redis://127.0.0.1:6379/0
    rules:
      - pattern: expired:*

- name: Redis | Give sessions an end that have none
  quai.ops.redis_keys:
    container: shop-redis-1
    password: "{{ vault_shop.REDIS_PASSWORD }}"
    max_remove: 50%
    rules:
      - {pattern: session:*, without_ttl: true, action: expire, ttl: 7d}
      - {pattern: cache:*, idle_for: 30d, types: [string, hash]}
    protected: [cache:config:*]
"""

RETURN = r"""
rules:
  description: What became of the keys of each rule, in their order. In check mode, what would.
  returned: when Redis could be asked
  type: list
  elements: dict
  contains:
    pattern:
      description: The pattern.
      type: str
      returned: always
    action:
      description: What is done to the keys.
      type: str
      returned: always
    done:
      description: How many were removed or given a time to live.
      type: int
      returned: always
      sample: 1200
    kept:
      description:
        - How many match the pattern and were kept, because of C(type), C(ttl), C(idle), C(protected), C(queue) or
          C(limit).
      type: dict
      returned: always
      sample: {type: 0, ttl: 310, idle: 0, protected: 0, queue: 4, limit: 0}
    samples:
      description: Names of some, shortened.
      type: list
      elements: str
      returned: always
      sample: ["session:8aad…"]
removed:
  description: How many keys were removed.
  returned: when Redis could be asked
  type: int
  sample: 1200
expiring:
  description: How many keys were given a time to live.
  returned: when Redis could be asked
  type: int
  sample: 0
examined:
  description: How many keys matched a pattern.
  returned: when Redis could be asked
  type: int
  sample: 1514
keys:
  description: How many keys the database had before.
  returned: success
  type: int
  sample: 20110
complete:
  description: Whether all keys were looked at; not when O(max_seconds) or O(max_remove) ended it.
  returned: when Redis could be asked
  type: bool
  sample: true
chunks:
  description: How many pages.
  returned: when Redis could be asked
  type: int
  sample: 31
longest_chunk_ms:
  description: How long the longest page took, ms, as seen from here.
  returned: when Redis could be asked
  type: float
  sample: 6.2
redis_ms:
  description: How long all pages took, ms.
  returned: when Redis could be asked
  type: float
  sample: 148.8
reason:
  description:
    - Why it failed, in one word. V(input) when what was asked for cannot be done. Else it is about the
      connection or the server, such as V(own) (its options), V(auth), V(refused), V(timeout), V(readonly), V(loading),
      V(memory) or V(cluster).
  returned: failure
  type: str
  sample: auth
"""

from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quai.ops.plugins.module_utils import _redis_module
from ansible_collections.quai.ops.plugins.module_utils._redis_keys import (
    EXPIRE,
    REMOVE,
    TYPES,
    KeyPolicy,
    KeyRule,
    KeysOutcome,
    KeysProblem,
    Tally,
    check,
    clean,
    described,
    outcome,
    rules,
)
from ansible_collections.quai.ops.plugins.module_utils._redis_link import RedisFailed, Server
from ansible_collections.quai.ops.plugins.module_utils._redis_options import connection


def result(found: KeysOutcome) -> dict[str, Any]:
    """Return what a run has done as the module returns it."""
    actions = {action: sum(one.done for one in found.rules if one.action == action) for action in (REMOVE, EXPIRE)}
    return {
        "rules": [one._asdict() for one in found.rules],
        "removed": actions[REMOVE],
        "expiring": actions[EXPIRE],
        "examined": found.examined,
        "complete": found.complete,
        "chunks": found.chunks,
        "longest_chunk_ms": found.longest_chunk_ms,
        "redis_ms": found.redis_ms,
    }


def difference(wanted: Sequence[KeyRule], found: KeysOutcome) -> dict[str, str]:
    """Return what a diff shows: the keys that each rule finds before and after."""
    lines = {"before": "", "after": ""}
    for rule, one in zip(wanted, found.rules):
        if one.done:
            left = one.kept["limit"]
            lines["before"] += f"{described(rule)}: {one.done + left} keys\n"
            lines["after"] += f"{described(rule)}: {left} keys\n"
    return lines


SPEC = {
    "rules": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "pattern": {"type": "str", "required": True},
            "without_ttl": {"type": "bool", "default": False, "aliases": ["only_without_ttl"]},
            "ttl_above": {"type": "str"},
            "idle_for": {"type": "str"},
            "types": {"type": "list", "elements": "str", "choices": list(TYPES), "default": []},
            "limit": {"type": "int"},
            "action": {"type": "str", "choices": [REMOVE, EXPIRE], "default": REMOVE},
            "ttl": {"type": "str"},
        },
    },
    "protected": {"type": "list", "elements": "str", "default": []},
    "protect_queues": {"type": "bool", "default": True},
    "everything": {"type": "bool", "default": False},
    "max_remove": {"type": "str"},
    "max_seconds": {"type": "float", "default": 300.0},
    "chunk_ms": {"type": "float", "default": 5.0},
    "duty": {"type": "float", "default": 1.0},
    "samples": {"type": "int", "default": 5},
}


def act(module: AnsibleModule) -> dict[str, Any]:
    """Read the rules, then let the script decide. Raises Unmet and RedisFailed."""
    params = module.params
    try:
        wanted = rules(params["rules"], everything=params["everything"])
        policy = KeyPolicy(
            protected=tuple(params["protected"]),
            **{name: params[name] for name in KeyPolicy._fields if name != "protected"},
        )
        check(policy)
    except KeysProblem as error:
        raise _redis_module.Unmet("input", str(error), {}) from None
    tally = Tally(wanted)
    try:
        with Server(connection(params)) as server:
            found = clean(server, wanted, policy, dry=module.check_mode, tally=tally)
    except KeysProblem as error:
        raise _redis_module.Unmet("input", str(error), {}) from None
    except RedisFailed as error:
        tally.complete = False
        # What was removed until then stays removed, and the next run goes on.
        changed = tally.total > 0 and not module.check_mode
        told = {"changed": changed, **result(outcome(wanted, tally, 0, ()))}
        raise _redis_module.Unmet(error.reason, error.message, told) from None
    for warning in found.warnings:
        module.warn(warning)
    said = {"changed": found.done > 0, "keys": found.keys, **result(found)}
    if module._diff:
        said["diff"] = difference(wanted, found)
    return said


def main() -> None:
    """Say what it takes, and do it."""
    _redis_module.run(SPEC, act)


if __name__ == "__main__":
    main()
