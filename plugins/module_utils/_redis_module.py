# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules for Redis and for queues have in common: options of the connection, and how a failure is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._redis_link import RedisFailed
from ansible_collections.quai.ops.plugins.module_utils._redis_options import EXCLUSIVE, OPTIONS, REQUIRED_BY, secrets


class Unmet(Exception):
    """What was asked for did not come about. C(result) is what the module returns all the same."""

    def __init__(self, reason: str, message: str, result: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.reason = reason
        self.result = result


def run(spec: Mapping[str, Any], act: Callable[[AnsibleModule], Mapping[str, Any]]) -> None:
    """Be a module. C(spec) are its options beside those of the connection; C(act) does the work and returns the result.

    It fails with C(msg) and C(reason) where C(act) raises QueueProblem, RedisFailed or Unmet.
    """
    module = AnsibleModule(
        argument_spec={**OPTIONS, **spec},
        mutually_exclusive=EXCLUSIVE,
        required_by=REQUIRED_BY,
        supports_check_mode=True,
    )
    module.no_log_values.update(secrets(module.params))
    try:
        result = act(module)
    except Unmet as error:
        module.fail_json(msg=str(error), reason=error.reason, **error.result)
    except (QueueProblem, RedisFailed) as error:
        module.fail_json(msg=str(error), reason=getattr(error, "reason", "input"))
    module.exit_json(**result)


__all__ = ["Unmet", "run"]
