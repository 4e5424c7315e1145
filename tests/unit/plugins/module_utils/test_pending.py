# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flags that outlive a killed run."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _pending


def test_a_flag_stays_raised_until_it_is_lowered(tmp_path: Path) -> None:
    flags = tmp_path / "run" / "pending"
    assert _pending.read(flags) == set()
    _pending.mark("nginx", flags)
    _pending.mark("docker_stack-engine", flags)
    _pending.mark("nginx", flags)
    assert _pending.read(flags) == {"nginx", "docker_stack-engine"}
    _pending.clear("nginx", flags)
    assert _pending.read(flags) == {"docker_stack-engine"}


def test_lowering_what_is_not_raised_is_fine(tmp_path: Path) -> None:
    _pending.clear("nginx", tmp_path / "none")
    _pending.clear("nginx", tmp_path)
    assert _pending.read(tmp_path) == set()


def test_flags_live_in_memory_so_that_a_reboot_lowers_them() -> None:
    assert _pending.FLAGS.is_relative_to("/run")


@pytest.mark.parametrize("name", ["nginx", "host_base-firewall", "php8.4-fpm@shop", "0"])
def test_good_names(name: str, tmp_path: Path) -> None:
    _pending.mark(name, tmp_path)
    assert _pending.read(tmp_path) == {name}


@pytest.mark.parametrize("name", ["", "Nginx", "a b", "../../etc/passwd", ".hidden", "a/b", "nginx\n", "-x"])
def test_bad_names_are_refused_and_reach_no_file(name: str, tmp_path: Path) -> None:
    flags = tmp_path / "a" / "b"
    for act in (_pending.mark, _pending.clear):
        with pytest.raises(ValueError, match="is not a flag"):
            act(name, flags)
    with pytest.raises(ValueError, match="is not a flag"):
        _pending.refuse_bad(["fine", name])
    assert list(tmp_path.iterdir()) == []
