# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module host_preconditions, with the figures of a host that a test makes up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _lock, _preconditions
from ansible_collections.quai.ops.plugins.module_utils._docker import DockerFailed
from ansible_collections.quai.ops.plugins.module_utils._preconditions import Listener, Offer
from ansible_collections.quai.ops.plugins.modules import host_preconditions

Run = Callable[..., dict[str, Any]]


class Engine:
    """What the client says."""

    def __init__(self, engine: str = "", compose: str = "", ports: str = "") -> None:
        self.engine, self.composed, self.ports = engine, compose, ports

    @property
    def present(self) -> bool:
        """Whether an engine answers."""
        return bool(self.engine)

    def engine_version(self) -> str:
        """Its version."""
        return self.engine

    def compose_version(self) -> str:
        """That of Compose."""
        return self.composed

    def run(self, arguments: Sequence[str]) -> str:
        """The column of ports."""
        assert "label=com.docker.compose.project=shop" in arguments
        if self.ports == "broken":
            raise DockerFailed("docker ps failed: the engine went away")
        return self.ports


@pytest.fixture
def check_host(run_module: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the module on a host with such an engine and 2 GB, 2 CPUs, port 8080 in use."""

    def run(engine: Engine, check: bool = False, project: str = "", **requirements: Any) -> dict[str, Any]:
        monkeypatch.setattr(host_preconditions, "Docker", lambda: engine)
        monkeypatch.setattr(_preconditions, "measure", lambda path: Offer(2000, 2, 40.0, 9000, path))
        monkeypatch.setattr(_preconditions, "listeners", lambda: (Listener(8080, "docker-proxy (process 9)"),))
        return run_module(host_preconditions, check=check, requirements=requirements, project=project)

    return run


def test_all_met(check_host: Run) -> None:
    result = check_host(Engine("26.1.5", "2.26.1"), docker="20.10", compose="2.0", memory_mb=2048, cpus=2, ports=[3000])
    assert not result["changed"]
    assert result["offer"] == {
        "memory_mb": 2000,
        "cpus": 2,
        "disk_gb": 40.0,
        "disk_free_mb": 9000,
        "disk_path": "/var/lib/docker",
        "docker": "26.1.5",
        "compose": "2.26.1",
    }


def test_every_problem_at_once(check_host: Run) -> None:
    result = check_host(Engine("19.3"), docker="20.10", memory_mb=4096, cpus=4, disk_gb=80, ports=[8080])
    assert [problem.split(":")[0] for problem in result["problems"]] == [
        "memory",
        "processors",
        "disk",
        "docker",
        "port 8080",
    ]
    assert result["msg"].startswith("this host does not offer what is required, and nothing was changed:\n  - memory")


@pytest.mark.parametrize(
    ("engine", "check", "problems"),
    [
        pytest.param(Engine(), True, 0, id="check-on-a-bare-host"),
        pytest.param(Engine("26.1.5"), True, 0, id="check-with-compose-yet-to-come"),
        pytest.param(Engine("19.3", "1.29.2"), True, 2, id="check-with-old-ones"),
        pytest.param(Engine(), False, 2, id="run-on-a-bare-host"),
        pytest.param(Engine("26.1.5"), False, 1, id="run-without-compose"),
    ],
)
def test_versions(check_host: Run, engine: Engine, check: bool, problems: int) -> None:
    assert len(check_host(engine, check=check, docker="20.10", compose="2.0").get("problems", [])) == problems


@pytest.mark.parametrize(
    ("project", "ports", "fails"),
    [
        pytest.param("shop", "127.0.0.1:8080->80/tcp", False, id="its-own"),
        pytest.param("shop", "127.0.0.1:8079-8081->79-81/tcp", False, id="its-own-in-a-range"),
        pytest.param("shop", "", True, id="not-its-own"),
        pytest.param("", "127.0.0.1:8080->80/tcp", True, id="no-project-given"),
    ],
)
def test_ports_of_the_project_itself(check_host: Run, project: str, ports: str, fails: bool) -> None:
    result = check_host(Engine("26.1.5", ports=ports), project=project, ports=[8080])
    assert bool(result.get("problems")) is fails


@pytest.mark.parametrize("answers", [(True, False), (False, True)], ids=["ended-meanwhile", "began-meanwhile"])
def test_ports_while_a_release_is_at_work(
    check_host: Run, monkeypatch: pytest.MonkeyPatch, answers: tuple[bool, bool]
) -> None:
    """A container that is being replaced holds its port and is in no list."""
    held = iter(answers)
    monkeypatch.setattr(_lock, "is_held", lambda name: name == "stack-shop" and next(held))
    assert "problems" not in check_host(Engine("26.1.5"), project="shop", ports=[8080])


def test_an_engine_that_goes_away(check_host: Run) -> None:
    result = check_host(Engine("26.1.5", ports="broken"), project="shop", ports=[8080])
    assert result["msg"] == "what this host offers cannot be found out: docker ps failed: the engine went away"


def test_unknown_requirements_are_refused(check_host: Run) -> None:
    assert "Unsupported parameters" in check_host(Engine(), memroy_mb=1)["msg"]
