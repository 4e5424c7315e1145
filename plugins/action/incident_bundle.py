# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of C(incident_bundle): the host hands the archive over in its answer, and it is kept here."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.quai.ops.plugins.plugin_utils import _archive


class ActionModule(ActionBase):  # type: ignore[misc]
    """Run the module, write what it collected."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module returned, with the archive's path in place of its content."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if not arguments.get("dest"):
            raise AnsibleActionFail("dest is missing: say in which directory on this machine the archive goes")
        # People know it by that name, and no two hosts share it.
        arguments.setdefault("host", str((task_vars or {}).get("inventory_hostname", "")))
        # Before the host is asked, because a bundle that cannot be kept is lost.
        directory = Path(os.path.expandvars(str(arguments["dest"]))).expanduser().resolve()
        if not self._task.check_mode:
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise AnsibleActionFail(f"dest {directory} cannot be made: {error.strerror}") from None
        result: dict[str, Any] = self._execute_module(
            module_name="quai.ops.incident_bundle", module_args=arguments, task_vars=task_vars
        )
        content, name = result.pop("content", None), result.pop("directory", "")
        if result.get("failed") or content is None:
            return result
        result["path"] = ""
        if not self._task.check_mode:
            try:
                result["path"] = str(_archive.keep(directory, str(name), base64.b64decode(content)))
            except ValueError as error:
                raise AnsibleActionFail(str(error)) from None
            except OSError as error:
                said = f"the archive cannot be written into {directory}: {error.strerror}; free some space"
                raise AnsibleActionFail(said) from None
        return result
