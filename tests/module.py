# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module in this process as a host runs it."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
from ansible.module_utils.testing import patch_module_args


def outcome(module: ModuleType, options: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What C(module.main) prints when it is called with these options; C(failed) included."""
    # Options travel as JSON. Where some other test has loaded the controller's side of Ansible, warnings would go to
    # its display and not into the result.
    with (
        patch("ansible.module_utils._internal.is_controller", False),
        patch_module_args(json.loads(json.dumps(options))),
        pytest.raises(SystemExit),
    ):
        module.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    return result
