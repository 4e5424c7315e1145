# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the queue tests: real servers, and the real npm packages in persistent node processes.

C(packages) (session) is the place where both run, a container of the lab named C(queues):

    packages.serve("--maxmemory", "20mb")                 a server of one's own: .options .link .port .kill() .start()
    packages.serve(program="valkey-server")
    packages.put("tls/ca.pem", data); packages.sh("ls")   files and commands there

C(redis), C(valkey) (per test) are one server of the session, emptied before each test:

    redis.options            what C(Server) takes         redis.link       a connection of ours
    redis.at(1)              another of its 16 databases  redis.node       what packages.js takes as "redis"

C(node) gives the process of a package, by its alias in place.PACKAGES (bull3 bull4 bullmq1 … bullmq6):

    node("bullmq5").call("add", {"redis": redis.node, "queue": "mail", "jobs": [{"name": "a", "data": {}, "opts": {}}]})
    node("bullmq5").call("clean", {"redis": redis.node, "queue": "mail", "grace": 0, "limit": 0, "state": "failed"})
    node("bull4").script("const q = queueOf(given); return q.getJobCounts()", redis=redis.node, queue="mail")
    packages.node("bullmq5", own=True)                    a process of one's own: .kill() ends it as a crash would

What packages.js can be asked is listed at its head. call(…, now=MS) pins the clock of that process during the call.

While developing:
    QUAI_QUEUES_LOCAL=DIRECTORY_WITH_NODE_MODULES:PROGRAM   no container but local processes. PROGRAM PORT DIRECTORY …
                                                            starts a redis-server on 127.0.0.1 in the foreground.
    QUAI_QUEUES_LAB=NAME QUAI_QUEUES_KEEP=1                 a container of one's own, and kept after the tests.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.module import outcome
from tests.queues.place import Database, Node, NodeError, NotInstalled, Place, opened

if "QUAI_QUEUES_MUTANT" in os.environ:
    # A run of mutants.py: one guard is switched off for all tests; or each tells when it holds.
    from tests.queues import mutants

    mutants.plant_for_session(os.environ["QUAI_QUEUES_MUTANT"])

    def pytest_configure(config: pytest.Config) -> None:
        """Begin with the tests that are most likely to notice."""
        known = os.environ["QUAI_QUEUES_MUTANT_KNOWN"]
        config.pluginmanager.register(mutants.Session(os.environ["QUAI_QUEUES_MUTANT"], known))


@pytest.fixture(scope="session")
def packages() -> Iterator[Place]:
    """The place with servers and packages."""
    with opened() as place:
        yield place


@pytest.fixture(scope="session")
def redis_server(packages: Place) -> Database:
    """The one Redis of the session; tests take C(redis), which is empty."""
    return packages.serve()


@pytest.fixture
def redis(redis_server: Database) -> Database:
    """A Redis with nothing in it."""
    redis_server.empty()
    return redis_server


@pytest.fixture(scope="module")
def nobody_connected(packages: Place) -> None:
    """For tests that count who is connected to Redis: no process of an earlier test is."""
    packages.restart_nodes()


@pytest.fixture(scope="session")
def valkey_server(packages: Place) -> Database:
    """The one Valkey of the session."""
    try:
        return packages.serve(program="valkey-server")
    except NotInstalled as error:
        pytest.skip(f"{error}: only where QUAI_QUEUES_LOCAL is set")


@pytest.fixture
def valkey(valkey_server: Database) -> Database:
    """A Valkey with nothing in it."""
    valkey_server.empty()
    return valkey_server


@pytest.fixture(scope="session")
def node(packages: Place) -> Callable[[str], Node]:
    """The process of a package."""
    return packages.node


@pytest.fixture
def own_node(packages: Place) -> Iterator[Callable[[str], Node]]:
    """A process of one's own for a package, which ends with the test: for tests that count who is connected."""
    started: list[Node] = []

    def start(package: str) -> Node:
        started.append(packages.node(package, own=True))
        return started[-1]

    yield start
    for one in started:
        with contextlib.suppress(NodeError):
            # A process that has gone by itself is gone as well.
            one.script("return 1")
            one.kill()


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Run a module's C(main) with options; returns what it prints."""

    def run(module: ModuleType, redis: Database, *, check: bool = False, **options: Any) -> dict[str, Any]:
        given = {name: value for name, value in redis.options.items() if name in ("host", "port", "database")}
        return outcome(module, {**given, **options, "_ansible_check_mode": check}, capsys)

    return run
