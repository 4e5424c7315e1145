# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host must offer. The texts are what a Debian 13 host and Docker 26 said."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _preconditions
from ansible_collections.quai.ops.plugins.module_utils._preconditions import Listener, Offer

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:A861 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 543831 1 0000000059241b44 100
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 336565 1 0000000084e1fc0b 100
   2: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 956148 1 00000000463a3ed5 100
   3: 0B00007F:AC25 0B00007F:0016 01 00000000:00000000 00:00000000 00000000     0        0 335224 1 0000000067687530 100
   4: 0100007F:C001 0100007F:1F90 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000067687531
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 336573 1 00000000be02e88c 100 0 0 10 0
   1: 00000000000000000000000000000000:1388 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 962610 1 000000001f5b66d2 100 0 0 10 0
"""  # noqa: E501 - as the kernel writes it
BIG = Offer(memory_mb=8000, cpus=4, disk_gb=100, disk_free_mb=50000, docker="26.1.5+dfsg1", compose="2.26.1-4")


@pytest.mark.parametrize(
    ("wanted", "offer", "problems"),
    [
        pytest.param({}, Offer(0, 0, 0, 0), [], id="nothing-asked"),
        pytest.param({"memory_mb": None, "ports": None, "docker": None}, Offer(0, 0, 0, 0), [], id="asked-for-nothing"),
        pytest.param(
            {"memory_mb": 2048, "cpus": 2, "disk_gb": 20, "disk_free_mb": 1024, "docker": "20.10", "compose": "2.0"},
            BIG,
            [],
            id="all-met",
        ),
        pytest.param({"memory_mb": 2048}, Offer(1850, 1, 1, 1), [], id="memory-as-sold"),
        pytest.param({"memory_mb": 2048}, Offer(1800, 1, 1, 1), ["memory: 1800 MB, at least 2048 MB"], id="memory"),
        pytest.param({"cpus": 2}, Offer(1, 1, 1, 1), ["processors: 1, at least 2"], id="processors"),
        pytest.param({"disk_gb": 20}, Offer(1, 1, 18.5, 1), [], id="disk-as-sold"),
        pytest.param({"disk_gb": 20}, Offer(1, 1, 17.9, 1), ["disk: / has 17.9 GB, at least 20 GB"], id="disk"),
        pytest.param(
            {"disk_free_mb": 1024}, Offer(1, 1, 1, 1023), ["disk: 1023 MB free on /, at least 1024"], id="room"
        ),
        pytest.param(
            {"docker": "20.10"}, Offer(1, 1, 1, 1, docker=""), ["docker: not installed or not"], id="no-docker"
        ),
        pytest.param({"docker": "20.10"}, Offer(1, 1, 1, 1, docker=None), [], id="docker-not-looked-at"),
        pytest.param({"docker": "27.0"}, BIG, ["docker: version 26.1.5+dfsg1, 27.0 or later"], id="old-docker"),
        pytest.param({"docker": "9.9"}, BIG, [], id="versions-are-numbers-not-text"),
        pytest.param(
            {"compose": "2.0"}, Offer(1, 1, 1, 1, compose="1.29.2"), ["compose: version 1.29.2"], id="compose"
        ),
        pytest.param(
            {"memory_mb": 2048, "cpus": 2, "docker": "20.10"},
            Offer(1, 1, 1, 1, docker=""),
            ["memory", "processors", "docker"],
            id="all-at-once",
        ),
    ],
)
def test_unmet(wanted: dict[str, object], offer: Offer, problems: list[str]) -> None:
    found = _preconditions.unmet(wanted, offer)
    assert len(found) == len(problems)
    for text, start in zip(found, problems):
        assert text.startswith(start)


@pytest.mark.parametrize(
    ("ports", "own", "problems"),
    [
        pytest.param([3000], [], [], id="free"),
        pytest.param([8080], [], ["port 8080: taken by nginx (process 7); stop that, or give"], id="taken"),
        pytest.param([8080], [8080], [], id="our-own"),
        pytest.param([22, 3000, 8080], [22], ["port 8080: taken by nginx"], id="one-of-three"),
    ],
)
def test_taken_ports(ports: list[int], own: list[int], problems: list[str]) -> None:
    offer = Offer(1, 1, 1, 1, listeners=(Listener(22, "sshd"), Listener(8080, "nginx (process 7)")))
    found = _preconditions.unmet({"ports": ports}, offer, own)
    assert [text[: len(start)] for text, start in zip(found, problems)] == problems
    assert len(found) == len(problems)


@pytest.mark.parametrize("wanted", [{"memory_mb": [1]}, {"ports": 3000}, {"ports": ["http"]}])
def test_nonsense_is_refused(wanted: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"is right|invalid literal"):
        _preconditions.unmet(wanted, BIG)


def test_parse_listeners() -> None:
    assert _preconditions.parse_listeners(TCP) == {43105: "543831", 22: "336565", 8080: "956148"}
    assert _preconditions.parse_listeners(TCP6) == {22: "336573", 5000: "962610"}
    assert _preconditions.parse_listeners("") == {}


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        pytest.param("", set(), id="none"),
        pytest.param("127.0.0.1:8080->80/tcp", {8080}, id="one"),
        pytest.param(
            "127.0.0.1:7000->7000/tcp, 127.0.0.1:9000-9002->9000-9002/tcp", {7000, 9000, 9001, 9002}, id="range"
        ),
        pytest.param("0.0.0.0:80->80/tcp, [::]:80->80/tcp, 443/tcp", {80}, id="both-families-and-unpublished"),
        pytest.param("127.0.0.1:8080->80/tcp\n6379/tcp\n127.0.0.1:3000->3000/tcp\n", {8080, 3000}, id="containers"),
    ],
)
def test_parse_published(text: str, ports: set[int]) -> None:
    assert _preconditions.parse_published(text) == ports


def test_listeners_are_found_with_their_program() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = {one.port: one.owner for one in _preconditions.listeners()}
    assert found[port] == f"{Path('/proc/self/comm').read_text().strip()} (process {os.getpid()})"
    assert port not in {one.port for one in _preconditions.listeners()}


def test_a_program_that_cannot_be_seen_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(TCP)
    assert Listener(8080) in _preconditions.listeners(tmp_path)
    assert {one.owner for one in _preconditions.listeners(tmp_path)} == {"unknown program"}


def test_measure_looks_at_the_filesystem_of_a_path_yet_to_come(tmp_path: Path) -> None:
    offer = _preconditions.measure(str(tmp_path / "var/lib/docker"))
    assert offer.disk_path == str(tmp_path)
    assert offer.memory_mb > 100
    assert offer.cpus == len(os.sched_getaffinity(0))
    assert 0 < offer.disk_free_mb <= offer.disk_gb * 1000
