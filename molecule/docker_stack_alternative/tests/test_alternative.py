# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docker_stack with nearly every variable changed."""

from __future__ import annotations

import json
import urllib.request

from testinfra.host import Host


def test_the_engine_came_from_the_named_repository(host: Host) -> None:
    """Its packages are installed, and apt knows them from there alone."""
    assert host.package("docker-ce").is_installed
    assert "file:/srv/vendor" in host.check_output("apt-cache policy docker-ce")
    assert host.file("/etc/apt/keyrings/quai-docker.asc").mode == 0o644


def test_engine_settings_are_merged(host: Host) -> None:
    """What is given wins, the role's own stay."""
    settings = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert settings["mtu"] == 1400
    assert settings["live-restore"] is False
    assert settings["log-opts"] == {"max-size": "1m", "max-file": "7"}
    assert settings["ip"] == "127.0.0.1"


def test_a_declared_port_answers_from_outside(host: Host) -> None:
    """8088 is public by declaration."""
    address = host.ansible.get_variables()["ansible_host"]
    with urllib.request.urlopen(f"http://{address}:8088/", timeout=5) as answer:
        assert answer.status == 200


def test_the_container_has_the_given_limits(host: Host) -> None:
    """And keeps the labels that were given as a list."""
    (found,) = json.loads(host.check_output("docker inspect open-site-page-1"))
    assert found["HostConfig"]["LogConfig"]["Config"] == {"max-size": "1m", "max-file": "2"}
    assert found["Config"]["Labels"]["org.example.kind"] == "page"
    assert found["State"]["Health"]["Status"] == "healthy"


def test_nothing_of_the_refused_stack_is_there(host: Host) -> None:
    """It was refused before anything was made."""
    assert "other" not in host.check_output("docker ps -a --format '{{.Names}}'")
