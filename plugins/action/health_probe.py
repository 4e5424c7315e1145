# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of C(health_probe): sends the host the engine and the checks that its probes need, and no others.

Ansible finds what a module imports by reading the syntax tree of every file, each time. For the whole engine that costs
more than to ask twenty probes, so the module imports nothing and gets the sources as an option.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.quai.ops.plugins.plugin_utils import _carried


class ActionModule(ActionBase):  # type: ignore[misc]
    """Run the module with what it needs."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module returns."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        arguments["engine"] = _carried.packed(_carried.closure(_carried.names(arguments)))
        result: dict[str, Any] = self._execute_module(
            module_name="quai.ops.health_probe",
            module_args=arguments,
            task_vars=task_vars,
            wrap_async=self._task.async_val,
        )
        shown = result.get("invocation", {}).get("module_args", {})
        shown.pop("engine", None)  # nobody wants to read it
        return result
