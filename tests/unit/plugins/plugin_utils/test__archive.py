# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the archive of a host goes, whatever the host calls it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.quai.ops.plugins.plugin_utils import _archive


def test_the_archive_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = _archive.keep(tmp_path, "shop-vps1-20261121T143000Z", b"archive")
    assert path == tmp_path / "shop-vps1-20261121T143000Z.tar.gz"
    assert path.read_bytes() == b"archive"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["../authorized", "/srv/x", "a/b", "..", "", "a\0b"])
def test_a_host_does_not_choose_the_place(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "incidents"
    directory.mkdir()
    with pytest.raises(ValueError, match="which is no name of a file"):
        _archive.keep(directory, name, b"archive")
    assert list(tmp_path.rglob("*.gz*")) == []
