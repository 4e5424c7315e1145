# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs, compared with the guide's tables: ports, health checks, restarts, volumes, network, dependencies."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.whole_host import web
from tests.whole_host.operations import Operator
from tests.whole_host.subject import Subject

Documents = dict[str, dict[str, Any]]

# Host port, container port.
PORTS = {"api": (3000, 3000), "app": (8080, 80), "vitrine": (8081, 80), "n8n": (5678, 5678)}
# Seconds: interval, timeout; then retries; seconds of start period where the guide gives one.
HEALTH = {
    "redis": (10, 3, 5, None),
    "api": (30, 10, 3, 40),
    "worker": (30, 10, 3, 40),
    "app": (30, 10, 3, None),
    "vitrine": (30, 10, 3, None),
}
VOLUMES = {
    "redis": {"/data"},
    "api": {"/app/logs", "/app/uploads"},
    "worker": {"/app/logs"},
    "n8n": {"/home/node/.n8n"},
    "app": set[str](),
    "vitrine": set[str](),
}
DEPENDS = {
    "api": {"redis:service_healthy"},
    "worker": {"redis:service_healthy", "api:service_healthy"},
    "app": {"api:service_started"},
}
SERVICES = sorted(VOLUMES)

every_service = pytest.mark.parametrize("service", SERVICES)


@pytest.fixture(scope="module")
def stack(subject: Subject) -> Documents:
    """The engine's own words about each service."""
    found = subject.inspect()
    assert sorted(found) == SERVICES
    return found


@every_service
def test_runs_and_is_healthy(stack: Documents, service: str) -> None:
    """Up, and its own health check says so."""
    state = stack[service]["State"]
    assert (state["Status"], state["Health"]["Status"]) == ("running", "healthy")


@every_service
def test_ports(stack: Documents, service: str) -> None:
    """Redis and worker publish nothing; the others on loopback alone."""
    bindings = stack[service]["HostConfig"]["PortBindings"] or {}
    found = {(one["HostIp"], int(one["HostPort"]), inside) for inside, all_of in bindings.items() for one in all_of}
    expected = {("127.0.0.1", PORTS[service][0], f"{PORTS[service][1]}/tcp")} if service in PORTS else set()
    assert found == expected


@pytest.mark.parametrize("service", sorted(HEALTH))
def test_health_figures(stack: Documents, service: str) -> None:
    """Interval, timeout, retries and start period are the guide's."""
    check, second = stack[service]["Config"]["Healthcheck"], 10**9
    interval, timeout, retries, start = HEALTH[service]
    assert (check["Interval"], check["Timeout"], check["Retries"]) == (interval * second, timeout * second, retries)
    assert start is None or check["StartPeriod"] == start * second


@every_service
def test_restart_and_logs(stack: Documents, service: str) -> None:
    """Restarted unless stopped, with logs that cannot fill the disk."""
    host = stack[service]["HostConfig"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"]["Type"] == "json-file"
    assert host["LogConfig"]["Config"]["max-size"] == "10m"
    assert 1 <= int(host["LogConfig"]["Config"]["max-file"]) <= 5


@every_service
def test_image_is_pinned(stack: Documents, service: str) -> None:
    """What runs is named by its digest, so it is the same tomorrow."""
    name, _, digest = stack[service]["Config"]["Image"].partition("@sha256:")
    assert name.startswith("registry.lab:5000/") and len(digest) == 64


@every_service
def test_volumes(stack: Documents, service: str) -> None:
    """Data is in named volumes of the project, and nowhere else."""
    mounts = [mount for mount in stack[service]["Mounts"] if mount["Type"] == "volume"]
    assert {mount["Destination"] for mount in mounts} == VOLUMES[service]
    assert all(mount["Name"].startswith("masstock_") for mount in mounts)
    binds = {mount["Source"] for mount in stack[service]["Mounts"] if mount["Type"] == "bind"}
    assert all(source.startswith("/etc/quai/masstock/secrets/") for source in binds)


@every_service
def test_network_and_name(stack: Documents, service: str) -> None:
    """One network for the project; containers have the guide's names."""
    assert set(stack[service]["NetworkSettings"]["Networks"]) == {"masstock_network"}
    assert stack[service]["Name"] == f"/masstock_{service}"


@pytest.mark.parametrize("service", sorted(DEPENDS))
def test_dependencies(stack: Documents, service: str) -> None:
    """What must be there first, and in which state."""
    label = stack[service]["Config"]["Labels"]["com.docker.compose.depends_on"]
    assert {":".join(part.split(":")[:2]) for part in label.split(",")} == DEPENDS[service]


@every_service
def test_no_secret_file_is_open(subject: Subject, service: str) -> None:
    """Each file of secrets is its owner's alone."""
    listing = subject.run("find /etc/quai/masstock/secrets -type f -printf '%m %f\n'").splitlines()
    assert listing
    assert [line for line in listing if not line.startswith("600 ")] == []
    assert subject.run("stat -c %a /etc/quai/masstock/secrets") == "700"


def test_redis_keeps_and_guards(subject: Subject) -> None:
    """Append-only file, and no word without the password."""
    inside = ". /run/secrets/quai.env; export REDISCLI_AUTH; redis-cli config get appendonly"
    config = subject.run(f"docker exec masstock_redis sh -c '{inside}'")
    assert config.split() == ["appendonly", "yes"]
    assert "NOAUTH" in subject.run("docker exec -e REDISCLI_AUTH= masstock_redis redis-cli ping")


def test_a_service_is_replaced_alone(subject: Subject, operator: Operator, ask: Callable[..., web.Answer]) -> None:
    """deploy -e only=api changes the API's container and no other; and back."""

    def identities() -> dict[str, str]:
        return {name: str(one["Id"]) for name, one in subject.inspect().items()}

    for version in ("1.1.0", "1.0.0"):
        before = identities()
        operator.deploy(version, "-e", "only=api")
        after = identities()
        assert {name for name in after if after[name] != before[name]} == {"api"}
        assert json.loads(ask("api", "/version").body)["version"] == version
