# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small stack as docker_stack leaves it: pinned, capped, private, healthy."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from testinfra.host import Host

SECRETS = ("it's a $ecret", "7c1e6a0b52d94f3886aa1f0e9d3b5c47")


@pytest.fixture
def containers(host: Host) -> dict[str, dict[str, Any]]:
    """What the engine knows of each container of the stack."""
    found = json.loads(host.check_output("docker inspect demo_redis demo_api demo_page"))
    return {one["Name"].lstrip("/"): one for one in found}


def test_every_service_runs_and_is_healthy(containers: dict[str, dict[str, Any]]) -> None:
    """Redis answers PONG with its password, the API answers /health."""
    states = {
        name: one["State"].get("Health", {}).get("Status", one["State"]["Status"]) for name, one in containers.items()
    }
    assert states == {"demo_redis": "healthy", "demo_api": "healthy", "demo_page": "running"}


def test_images_are_pinned_by_digest(containers: dict[str, dict[str, Any]]) -> None:
    """What the registry's tag says tomorrow changes nothing here."""
    for one in containers.values():
        assert re.search(r"@sha256:[0-9a-f]{64}$", one["Config"]["Image"])


def test_ports_are_on_loopback_only(containers: dict[str, dict[str, Any]]) -> None:
    """Redis publishes none at all."""
    bindings = {
        name: [binding for port in (one["HostConfig"]["PortBindings"] or {}).values() for binding in port]
        for name, one in containers.items()
    }
    assert bindings["demo_redis"] == []
    assert {binding["HostIp"] for found in bindings.values() for binding in found} == {"127.0.0.1"}


def test_logs_are_capped(containers: dict[str, dict[str, Any]]) -> None:
    """By the stack, and by the engine for what forgets to."""
    for one in containers.values():
        assert one["HostConfig"]["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}


def test_secrets_reach_the_process_and_nothing_else(host: Host, containers: dict[str, dict[str, Any]]) -> None:
    """Neither `docker inspect`, nor arguments, nor the definition hold one; the process has them."""
    everything = json.dumps(containers) + host.check_output("cat /srv/demo/stack/compose.json; ps axww -o args")
    for secret in SECRETS:
        assert secret not in everything
    pid = containers["demo_api"]["State"]["Pid"]
    children = host.check_output(f"cat /proc/{pid}/task/{pid}/children").split()
    environment = host.check_output(f"cat {' '.join(f'/proc/{one}/environ' for one in [pid, *children])}")
    for secret in SECRETS:
        assert secret in environment


def test_secret_files_belong_to_the_container_alone(host: Host) -> None:
    """Mode 0600, owned by the number of the user inside; no file of an earlier release is left."""
    listed = host.check_output("find /etc/quai/demo/secrets -type f -printf '%m %U %f\\n'").splitlines()
    assert sorted({line.rsplit(" ", 1)[0] for line in listed}) == ["600 1000", "600 999"]
    assert len(listed) == 3


def test_engine_settings(host: Host) -> None:
    """Containers outlive a restart of the engine."""
    info = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert info["LiveRestoreEnabled"] is True
    assert info["LoggingDriver"] == "json-file"


def test_containers_outlive_a_restart_of_the_engine(host: Host, containers: dict[str, dict[str, Any]]) -> None:
    """The same processes run before and after."""
    before = {name: one["State"]["Pid"] for name, one in containers.items()}
    host.check_output("systemctl reset-failed docker; systemctl restart docker")
    found = json.loads(host.check_output("docker inspect demo_redis demo_api demo_page"))
    assert {one["Name"].lstrip("/"): one["State"]["Pid"] for one in found} == before


def test_nothing_is_owed_and_nothing_left(host: Host) -> None:
    """No flag, no candidate, no container of a rehearsal."""
    assert host.file("/run/quai/pending").listdir() == []
    assert host.file("/srv/demo/stack").listdir() == ["compose.json"]
    assert "rehearsal" not in host.check_output("docker ps -a")
