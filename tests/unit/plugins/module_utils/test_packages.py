# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages. The states are what dpkg said after apt and dpkg had been killed at work."""

from __future__ import annotations

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _packages

CLEAN = "adduser ii \nbase-files ii \nexim4-config rc \nheld-back hi \ngone un \n"
KILLED = "adduser ii \nfonts-noto-core iHR\nlibc-bin it \nnginx iU \nnginx-common iF \ntomcat iW \n"


def test_parse_status() -> None:
    assert _packages.parse_status(CLEAN) == {
        "adduser": "ii",
        "base-files": "ii",
        "exim4-config": "rc",
        "held-back": "hi",
        "gone": "un",
    }
    assert _packages.parse_status("") == {}


@pytest.mark.parametrize(
    ("wanted", "missing"),
    [
        pytest.param(["adduser", "base-files"], [], id="all-there"),
        pytest.param(["held-back"], [], id="held-and-installed"),
        pytest.param(["zsh", "adduser", "bash"], ["zsh", "bash"], id="in-the-order-wanted"),
        pytest.param(["exim4-config"], ["exim4-config"], id="removed-with-files-left"),
        pytest.param(["gone"], ["gone"], id="known-and-not-installed"),
    ],
)
def test_missing(wanted: list[str], missing: list[str]) -> None:
    assert _packages.missing(wanted, _packages.parse_status(CLEAN)) == missing


@pytest.mark.parametrize("package", ["fonts-noto-core", "libc-bin", "nginx", "nginx-common", "tomcat"])
def test_what_is_half_done_counts_as_missing_and_as_interrupted(package: str) -> None:
    state = {package: _packages.parse_status(KILLED)[package]}
    assert _packages.missing([package], state) == [package]
    assert _packages.interrupted(state)


@pytest.mark.parametrize(
    ("journal", "cut_short"),
    [
        pytest.param([], False, id="empty"),
        pytest.param(["0000", "0001", "tmp.i"], True, id="not-taken-over"),
        pytest.param(["tmp.i"], False, id="only-a-draft"),
    ],
)
def test_a_journal_that_dpkg_did_not_take_over_counts_as_interrupted(journal: list[str], cut_short: bool) -> None:
    assert _packages.interrupted(_packages.parse_status(CLEAN), journal) is cut_short


@pytest.mark.parametrize(
    ("fetched", "sources", "result"),
    [
        pytest.param(None, [], True, id="never"),
        pytest.param(900, [100], False, id="young"),
        pytest.param(400, [100], False, id="just-young-enough"),
        pytest.param(399, [100], True, id="old"),
        pytest.param(900, [100, 950], True, id="source-added-since"),
        pytest.param(900, [900], True, id="source-written-meanwhile"),
        pytest.param(1001, [100], True, id="clock-went-back"),
    ],
)
def test_outdated(fetched: float | None, sources: list[float], result: bool) -> None:
    assert _packages.outdated(fetched, sources, now=1000, valid_seconds=600) is result


def test_reason_is_what_apt_complains_of() -> None:
    output = """\
Reading package lists...
E: Unable to locate package no-such-package
"""
    assert _packages.reason(output) == "E: Unable to locate package no-such-package"
    assert _packages.reason("one\ntwo\n\n three\nfour\nfive\n") == "two; three; four; five"
    refused = "dpkg: error processing package x (--configure):\n dependency problems\nE: Sub-process failed\n"
    assert _packages.reason(refused) == "dpkg: error processing package x (--configure):; E: Sub-process failed"


@pytest.mark.parametrize(("recommends", "present"), [(False, True), (True, False)])
def test_install_command(recommends: bool, present: bool) -> None:
    command = _packages.install_command(["nginx", "jq"], recommends=recommends)
    assert command[:2] == ["apt-get", "install"]
    assert command[-2:] == ["nginx", "jq"]
    assert ("--no-install-recommends" in command) is present
    assert "DPkg::Lock::Timeout=300" in command
    assert {"Dpkg::Options::=--force-confold", "-y", "--fix-broken"} <= set(command)
