# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run modules in this process, on a host whose /run is a directory of the test."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _files, _lock, _pending

from tests.module import outcome

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Flags, locks and staging below a directory of the test; returns that of the flags."""
    run = tmp_path / "run-quai"
    flags = run / "pending"
    for function in (_pending.read, _pending.mark, _pending.clear):
        monkeypatch.setattr(function, "__defaults__", (flags,))
    monkeypatch.setattr(inspect.unwrap(_lock.held), "__defaults__", (run / "locks",))
    monkeypatch.setattr(
        _files.verify, "__kwdefaults__", {**(_files.verify.__kwdefaults__ or {}), "staging": run / "staged"}
    )
    return flags


@pytest.fixture
def run_module(host: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a module's C(main) with options; returns its result, C(failed) included."""

    def run(module: ModuleType, check: bool = False, **options: Any) -> dict[str, Any]:
        return outcome(module, {**options, "_ansible_check_mode": check}, capsys)

    return run
