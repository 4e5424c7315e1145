#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell what a Redis or Valkey says of itself."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_info
short_description: Report memory, clients, expired and evicted keys, slow commands and keyspace of Redis or Valkey
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Asks a server, or every master of a cluster, in one round trip each. It only reads.
  - RV(report) has the same in a few lines for people.
  - Arguments of slow commands and whole names of keys are not returned, because both may be secrets.
attributes:
  check_mode:
    support: full
    description: It only reads, so it does the same in check mode.
  diff_mode:
    support: none
    description: Nothing is changed, so there is nothing to compare.
  idempotent:
    support: full
    description: Nothing is ever changed.
extends_documentation_fragment:
  - quai.ops.redis
options:
  slow:
    description: How many of the latest entries of the slow log to return.
    type: int
    default: 10
  sample:
    description:
      - How many keys to measure on each node, to see what takes the memory. V(0) for none.
      - It takes three short commands for each key.
    type: int
    default: 0
notes:
  - A number that is not known is null, never 0.
seealso:
  - module: quai.ops.redis_keys
"""

EXAMPLES = r"""
- name: Redis | Look at it
  quai.ops.redis_info:
    url: redis://127.0.0.1:6379/0
    sample: 1000
  register: shop_redis

- name: Redis | Show it
  ansible.builtin.debug:
    var: shop_redis.report
"""

RETURN = r"""
report:
  description: All of it in a few lines for people.
  returned: success
  type: list
  elements: str
  sample: ["127.0.0.1:6379  Redis 8.0.2, master, up 12.4 days", "  memory    1.2 MiB, no limit, peak 1.4 MiB, …"]
cluster:
  description: Whether it is a cluster.
  returned: success
  type: bool
  sample: false
warnings_found:
  description: What somebody should look at, with the address of the server.
  returned: success
  type: list
  elements: str
  sample: ["127.0.0.1:6379 has evicted 17 keys since it was started"]
totals:
  description:
    - Sums of C(keys), C(without_ttl), C(memory) in bytes, C(clients), C(expired), C(evicted) and C(commands_per_s).
  returned: success
  type: dict
  sample: {keys: 20110, without_ttl: 310, memory: 1258291, clients: 12, expired: 901, evicted: 0, commands_per_s: 41}
nodes:
  description: The servers; one without a cluster.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: Where it is.
      type: str
      returned: always
    kind:
      description: Redis or Valkey.
      type: str
      returned: always
    version:
      description: Its version.
      type: str
      returned: always
    role:
      description: Whether it is a master or a slave.
      type: str
      returned: always
    loading:
      description: Whether it still reads its data.
      type: bool
      returned: always
    uptime_s:
      description: How long it has run, s.
      type: int
      returned: always
    memory:
      description:
        - C(used), C(peak), C(rss), C(dataset) and C(max) in bytes, C(used_pct), C(policy) and C(fragmentation).
        - C(max) is null without a limit.
      type: dict
      returned: always
    clients:
      description: C(connected), C(blocked), C(max), C(rejected), and C(by_address), the ten with most connections.
      type: dict
      returned: always
    stats:
      description:
        - C(commands), C(commands_per_s), C(hits), C(misses), C(hit_pct), C(expired), C(evicted), C(bytes_in),
          C(bytes_out) and C(cpu_s), since the start.
      type: dict
      returned: always
    persistence:
      description: C(last_save_at), C(last_save_ok), C(changes_since_save), C(aof) and C(aof_ok).
      type: dict
      returned: always
    replication:
      description: C(replicas), C(master) and C(master_link_up).
      type: dict
      returned: always
    keyspace:
      description: C(database), C(keys), C(with_ttl), C(without_ttl) and C(avg_ttl_ms) of each that has keys.
      type: list
      elements: dict
      returned: always
    slow:
      description:
        - C(length) and C(threshold_us) of the slow log, and its C(entries), the slowest first, each with C(command),
          the number of its C(arguments), C(ms), C(at) and C(client).
      type: dict
      returned: always
    sample:
      description:
        - C(keys) that were measured and their C(bytes), C(by_prefix) and the C(biggest). Null when O(sample) is V(0).
      type: dict
      returned: always
    warnings:
      description: What somebody should look at.
      type: list
      elements: str
      returned: always
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
from ansible_collections.quai.ops.plugins.module_utils import _redis_module
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Server
from ansible_collections.quai.ops.plugins.module_utils._redis_options import connection
from ansible_collections.quai.ops.plugins.module_utils._redis_report import Wanted, report


def act(module: AnsibleModule) -> dict[str, Any]:
    """Ask, and tell. Raises QueueProblem and RedisFailed."""
    params = module.params
    problems = [
        f"{name}: {params[name]} is not from 0 to {most}"
        for name, most in (("slow", 1000), ("sample", 100_000))
        if not 0 <= params[name] <= most
    ]
    if problems:
        raise QueueProblem("; ".join(problems))
    with Server(connection(params)) as server:
        found = report(server, Wanted(params["slow"], params["sample"]))
    # Ansible keeps the name "warnings" for its own.
    found["warnings_found"] = found.pop("warnings")
    return {"changed": False, **found}


def main() -> None:
    """Say what it takes, and do it."""
    _redis_module.run({"slow": {"type": "int", "default": 10}, "sample": {"type": "int", "default": 0}}, act)


if __name__ == "__main__":
    main()
