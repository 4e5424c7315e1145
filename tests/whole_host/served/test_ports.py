# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What answers from outside: three TCP ports, one UDP port, and nothing else whatever Docker does."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import containers, images
from lab.engine import client
from lab.names import LABEL_LAB, LABEL_ROLE
from lab.wait import until
from tests.whole_host import quic, scan
from tests.whole_host.subject import Subject

PUBLIC = {22, 80, 443}
# What containers listen on, what they publish on loopback, and what an engine or a database would open by mistake.
TEMPTING = (2375, 3000, 3306, 5432, 5678, 6379, 8080, 8081, 8090, 9999)
QUIET_UDP = (53, 67, 123, 161, 323, 500, 1900, 4500, 5353, 8443, 51820)
_SCAN = Path(scan.__file__)


@pytest.fixture(scope="module")
def neighbour(subject: Subject) -> Iterator[Any]:
    """Another machine on the host's network; it may set its own routes, as an attacker's would."""
    lab = subject.lab
    container = client().containers.run(
        images.host("debian13").ref,
        ["sleep", "infinity"],
        name=lab.container("neighbour"),
        detach=True,
        init=True,
        network=lab.network,
        cap_add=["NET_ADMIN"],
        labels={LABEL_LAB: lab.name, LABEL_ROLE: "neighbour"},
    )
    yield container
    container.remove(force=True)


def from_neighbour(neighbour: Any, address: str, ports: tuple[int, ...]) -> set[int]:
    """Scan from the neighbour."""
    wanted = ",".join(map(str, ports))
    status, output = containers.run(neighbour, "python3", "-c", _SCAN.read_text("utf-8"), address, wanted)
    assert status == 0, output
    return set(json.loads(output))


def routed(neighbour: Any, *commands: str) -> None:
    """Change the neighbour's routes."""
    for command in commands:
        status, output = containers.run(neighbour, "ip", *command.split())
        assert status == 0, f"ip {command}: {output}"


def nested(subject: Subject) -> dict[str, str]:
    """The containers' own addresses, by service."""
    return {
        name: one["NetworkSettings"]["Networks"]["masstock_network"]["IPAddress"]
        for name, one in subject.inspect().items()
    }


def test_only_three_ports_of_65535(subject: Subject) -> None:
    """Every TCP port is tried."""
    assert scan.open_ports(subject.address) == PUBLIC


def test_only_quic_of_udp(subject: Subject) -> None:
    """UDP 443 answers; the others neither answer nor say that they are closed."""
    assert quic.speaks(subject.address)
    for port in QUIET_UDP:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.2)
            probe.connect((subject.address, port))
            probe.send(b"\0" * 48)
            # A refusal would be an ICMP answer: ConnectionRefusedError instead of silence.
            with pytest.raises(TimeoutError):
                probe.recv(2048)


def test_containers_are_out_of_a_neighbours_reach(subject: Subject, neighbour: Any) -> None:
    """Neither by their addresses nor by what they publish on loopback, though the neighbour routes both to the host."""
    addresses = nested(subject)
    subnet = addresses["api"].rsplit(".", 2)[0] + ".0.0/16"
    # The second is CVE-2020-8558: loopback addresses sent over the wire to the host.
    routed(
        neighbour,
        f"route add {subnet} via {subject.address}",
        "route del local 127.0.0.0/8 dev lo",
        f"route add 127.0.0.1/32 via {subject.address} dev eth0",
    )
    assert from_neighbour(neighbour, subject.address, (*sorted(PUBLIC), *TEMPTING)) == PUBLIC
    assert {name: from_neighbour(neighbour, address, (80, *TEMPTING)) for name, address in addresses.items()} == {
        name: set() for name in addresses
    }
    assert from_neighbour(neighbour, "127.0.0.1", TEMPTING) == set()


def test_the_firewall_is_what_keeps_them_out(subject: Subject, neighbour: Any) -> None:
    """Without it the neighbour reaches the API: the other tests of this file can fail."""
    address = nested(subject)["api"]
    subject.run("systemctl stop quai-firewall")
    try:
        assert from_neighbour(neighbour, address, (3000,)) == {3000}
    finally:
        subject.run("systemctl start quai-firewall")
    assert from_neighbour(neighbour, address, (3000,)) == set()


@pytest.fixture
def published_by_hand(subject: Subject) -> Iterator[int]:
    """A container that somebody starts on every address of the host."""
    image = subject.inspect("vitrine")["vitrine"]["Config"]["Image"]
    subject.run(f"docker run --detach --rm --name by-hand --publish 0.0.0.0:9999:80 {image}")
    listening = "python3 -c 'import urllib.request as r; r.urlopen(\"http://127.0.0.1:9999/\")'"
    until("the container to answer on the host itself", lambda: subject.succeeds(listening), seconds=20)
    yield 9999
    subject.run("docker rm --force by-hand")


@pytest.mark.parametrize("disturbance", ["systemctl restart docker", "systemctl reload quai-firewall"])
def test_nothing_opens_afterwards(subject: Subject, neighbour: Any, published_by_hand: int, disturbance: str) -> None:
    """Also when Docker has rewritten its rules, and with a port published to the whole world."""
    before = {name: one["State"]["Pid"] for name, one in subject.inspect().items()}
    subject.run(disturbance)
    ports = (*sorted(PUBLIC), published_by_hand, *TEMPTING)
    assert scan.open_ports(subject.address, ports) == PUBLIC
    assert from_neighbour(neighbour, subject.address, ports) == PUBLIC
    assert from_neighbour(neighbour, nested(subject)["api"], TEMPTING) == set()
    # Containers outlive a restart of the engine.
    assert {name: one["State"]["Pid"] for name, one in subject.inspect().items()} == before
