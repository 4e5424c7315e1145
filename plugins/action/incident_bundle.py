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
            path = directory / f"{name}.tar.gz"
            try:
                _write(path, base64.b64decode(content))
            except OSError as error:
                raise AnsibleActionFail(f"{path} cannot be written: {error.strerror}; free some space") from None
            result["path"] = str(path)
        return result


def _write(path: Path, content: bytes) -> None:
    """Write a file that is never there half, and never readable by others."""
    beside = path.with_name(f".{path.name}.new")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.write(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
