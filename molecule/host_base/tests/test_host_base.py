# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host carries after host_base, seen on the host and from outside."""

from __future__ import annotations

import socket

import pytest
from testinfra.host import Host


def address(host: Host) -> str:
    """The host as the world sees it."""
    return str(host.ansible.get_variables()["ansible_host"])


def reachable(host: Host, port: int) -> bool:
    """Whether a connection from this machine to the host gets through."""
    with socket.socket() as client:
        client.settimeout(2)
        return client.connect_ex((address(host), port)) == 0


@pytest.mark.parametrize(("port", "open_"), [(22, True), (80, True), (9999, False), (443, False)])
def test_only_declared_ports_answer_from_outside(host: Host, port: int, open_: bool) -> None:
    """9999 is listened on, 443 is let through and not listened on; neither answers."""
    if port in (80, 9999):
        assert host.socket(f"tcp://0.0.0.0:{port}").is_listening
    assert reachable(host, port) is open_


def test_a_refused_port_is_dropped_and_a_closed_one_is_not(host: Host) -> None:
    """The firewall is silent; what it lets through is answered by the host itself."""
    with socket.socket() as client:
        client.settimeout(1)
        with pytest.raises(TimeoutError):
            client.connect((address(host), 9999))
    with socket.socket() as client:
        client.settimeout(1)
        with pytest.raises(ConnectionRefusedError):
            client.connect((address(host), 443))


def test_the_firewall_starts_with_the_host(host: Host) -> None:
    """And is running now."""
    unit = host.service("quai-firewall.service")
    assert unit.is_enabled
    assert unit.is_running


def test_the_host_itself_reaches_its_own_ports(host: Host) -> None:
    """Loopback is nobody's business but the host's."""
    assert host.run("python3 -c \"import socket; socket.create_connection(('127.0.0.1', 9999), 2)\"").rc == 0


def test_the_journal_is_capped(host: Host) -> None:
    """The running daemon was told: its own report names the limit."""
    assert host.file("/etc/systemd/journald.conf.d/quai.conf").mode == 0o644
    assert "SystemMaxUse=64M" in host.check_output("systemd-analyze cat-config systemd/journald.conf")


def test_authorities_are_those_named(host: Host) -> None:
    """One that is not in the list is gone."""
    assert host.file("/etc/quai/ca").listdir() == ["example.pem"]


def test_nothing_is_owed(host: Host) -> None:
    """Every flag was acted on."""
    assert host.file("/run/quai/pending").listdir() == []
