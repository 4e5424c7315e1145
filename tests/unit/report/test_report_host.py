# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of a host, from a root directory of our own and from this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _lock, _report_host

SIMULATION = """\
NOTE: This is only a simulation!
Inst openssl [3.0.15-1] (3.0.17-1 Debian-Security:12/oldstable-security [amd64])
Inst curl [7.88.1-1] (7.88.1-2 Debian:12.12/oldstable [amd64])
Inst linux-image-amd64 [6.1.140-1] (6.1.147-1 Debian-Security:12/oldstable-security [amd64]) []
Conf openssl (3.0.17-1 Debian-Security:12/oldstable-security [amd64])
"""


def write(root: Path, place: str, content: str = "") -> Path:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_a_bare_root_knows_nothing(tmp_path: Path) -> None:
    facts = _report_host.collect({"projects": {"shop": {"active_when": "/srv/shop/stack"}}}, root=str(tmp_path))
    for key in ("distribution", "uptime", "memory_bytes", "updates", "security_updates", "lists_at", "reboot"):
        assert facts[key] is None, key
    assert facts["releases"]["shop"] == {"waiting": True, "releasing": False, "version": "", "at": None, "by": ""}


def test_this_machine_answers() -> None:
    facts = _report_host.collect({}, root="/.")  # the same root by another name: apt, which takes seconds, is not asked
    assert facts["uptime"] > 0
    assert facts["memory_bytes"] > 0
    assert facts["kernel"] == os.uname().release
    assert facts["distribution"]


def test_updates_are_counted() -> None:
    assert _report_host.counted(SIMULATION) == {"updates": 3, "security_updates": 2}
    assert _report_host.counted("") == {"updates": 0, "security_updates": 0}


def test_apt_is_not_asked_again_while_nothing_changed(tmp_path: Path) -> None:
    write(tmp_path, "var/lib/dpkg/status")
    write(tmp_path, "var/lib/apt/lists/deb.debian.org_dists_trixie_InRelease")
    first = _report_host.collect({}, root=str(tmp_path))
    assert first["updates"] is None
    assert first["lists_at"] is not None
    known = {**first, "updates": 4, "security_updates": 1}
    again = _report_host.collect({}, known, root=str(tmp_path))
    assert (again["updates"], again["security_updates"]) == (4, 1)
    os.utime(tmp_path / "var/lib/dpkg/status", (1, 1))
    assert _report_host.collect({}, known, root=str(tmp_path))["updates"] is None


@pytest.mark.parametrize(
    "case",
    [
        ("6.12.48+deb13-amd64", ["6.12.48+deb13-amd64"], False, (False, [])),
        (
            "6.12.48+deb13-amd64",
            ["6.12.48+deb13-amd64", "6.12.57+deb13-amd64"],
            False,
            (True, ["linux-image-6.12.57+deb13-amd64"]),
        ),
        ("6.1.0-9-amd64", ["6.1.0-9-amd64", "6.1.0-10-amd64"], False, (True, ["linux-image-6.1.0-10-amd64"])),
        ("6.1.0-10-amd64", ["6.1.0-9-amd64", "6.1.0-10-amd64", "6.5.0-1-cloud-amd64"], False, (False, [])),
        ("6.18.5", [], False, (None, [])),
        ("6.18.5", ["6.1.0-10-amd64"], False, (None, [])),
        ("6.1.0-10-amd64", ["6.1.0-10-amd64"], True, (True, ["dbus", "libc6"])),
    ],
)
def test_reboots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, list[str], bool, tuple[bool | None, list[str]]]
) -> None:
    running, installed, flag, expected = case
    real = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*real[:2], running, *real[3:])))
    for kernel in installed:
        write(tmp_path, f"boot/vmlinuz-{kernel}")
    if flag:
        write(tmp_path, "run/reboot-required")
        write(tmp_path, "run/reboot-required.pkgs", "libc6\ndbus\nlibc6\n")
    facts = _report_host.collect({}, root=str(tmp_path))
    assert (facts["reboot"], facts["reboot_for"]) == expected


def test_what_the_last_release_wrote_down(tmp_path: Path) -> None:
    written = {"version": "1.4.0", "at": 1763000000, "by": "awa", "password": "x"}
    write(tmp_path, "var/lib/quai/shop/release.json", json.dumps(written))
    write(tmp_path, "srv/shop/stack/compose.yml")
    project = {
        "active_when": "/srv/shop/stack",
        "release_file": "/var/lib/quai/shop/release.json",
        "locks": ["stack-shop"],
    }
    config = {"projects": {"shop": project}}
    found = _report_host.collect(config, root=str(tmp_path))["releases"]["shop"]
    assert found == {"waiting": False, "releasing": False, "version": "1.4.0", "at": 1763000000, "by": "awa"}
    directory = tmp_path / str(_lock.LOCKS).lstrip("/")
    with _lock.held("stack-shop", 1, directory):
        assert _report_host.collect(config, root=str(tmp_path))["releases"]["shop"]["releasing"]
    assert not _report_host.collect(config, root=str(tmp_path))["releases"]["shop"]["releasing"]


def test_the_time_of_the_file_tells_since_when_a_version_is_live(tmp_path: Path) -> None:
    write(tmp_path, "r.json", '{"version": "1.4.0"}')
    os.utime(tmp_path / "r.json", (1763000000, 1763000000))
    found = _report_host.collect({"projects": {"shop": {"release_file": "/r.json"}}}, root=str(tmp_path))["releases"]
    assert (found["shop"]["version"], found["shop"]["at"]) == ("1.4.0", 1763000000)


@pytest.mark.parametrize("content", ["", "{torn", "[]", "null", '{"version": {"a": 1}, "at": []}', "[" * 10000])
def test_a_damaged_release_file_says_nothing(tmp_path: Path, content: str) -> None:
    write(tmp_path, "r.json", content)
    found = _report_host.collect({"projects": {"shop": {"release_file": "/r.json"}}}, root=str(tmp_path))["releases"][
        "shop"
    ]
    assert found["at"] is None
