# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of three masters, made without redis-cli."""

from __future__ import annotations

from ansible_collections.quai.ops.plugins.module_utils._redis_link import SLOTS, Link, Server
from ansible_collections.quai.ops.plugins.module_utils._resp import text

from lab.wait import until
from tests.queues.place import Database, Place

MASTERS = 3
SECONDS = 30.0


def cluster(packages: Place, *arguments: str, program: str = "redis-server") -> list[Database]:
    """Start three servers and wait until each of them knows that the cluster is whole."""
    options = {"cluster": "false"}
    every = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", *arguments)
    databases = [packages.serve(*every, program=program, options=options) for _master in range(MASTERS)]
    links = [database.link for database in databases]
    share = -(-SLOTS // MASTERS)
    for position, link in enumerate(links):
        first, last = position * share, min(SLOTS, (position + 1) * share) - 1
        link.call("CLUSTER", "ADDSLOTSRANGE", first, last)
        link.call("CLUSTER", "SET-CONFIG-EPOCH", position + 1)
    for database in databases[1:]:
        links[0].call("CLUSTER", "MEET", database.options["host"], database.port)
    until("the cluster", lambda: all(_whole(link) for link in links), seconds=SECONDS)
    for database in databases:
        del database.options["cluster"]
        database.disconnect()
    return databases


def identity(link: Link) -> str:
    """The id of a node."""
    return text(link.call("CLUSTER", "MYID"))


def holder(databases: list[Database], server: Server, key: str) -> tuple[Database, Database]:
    """The database that holds a key, and another one."""
    port = int(server.at(key).label.rpartition(":")[2])
    holds = next(one for one in databases if one.port == port)
    return holds, next(one for one in databases if one.port != port)


def direct(database: Database) -> Link:
    """A connection to a node that follows no redirection."""
    return Server({**database.options, "cluster": "false"}).first


def empty(databases: list[Database]) -> None:
    """Remove everything."""
    for database in databases:
        direct(database).call("FLUSHALL")


def _whole(link: Link) -> bool:
    info = text(link.call("CLUSTER", "INFO"))
    return "cluster_state:ok" in info and f"cluster_known_nodes:{MASTERS}" in info


__all__ = ["MASTERS", "cluster", "direct", "empty", "holder", "identity"]
