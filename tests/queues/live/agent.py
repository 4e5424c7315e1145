# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A queue with real producers and workers at it, and the ledger of every run of every job."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour, Queue, detect
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link

from lab.wait import until
from tests.queues.live.wire import Wire
from tests.queues.place import Database, Node, Place, library_of

HERE = Path(__file__).resolve().parent
LEDGER = 15  # the database that holds it
CLOSE_SECONDS = 10
# What a worker waits with: Bull and BullMQ 1-3 for a list, 4 as well, 5 and later for the marker.
BLOCKED = ("bzpopmin", "brpoplpush", "blmove", "brpop")
T = TypeVar("T")


class Agent:
    """A C(node) process that holds producers and workers of one package."""

    def __init__(self, place: Place, package: str) -> None:
        driver = place.put("agent.js", (HERE / "agent.js").read_bytes())
        environment = [f"NODE_PATH={place.modules}", "NODE_NO_WARNINGS=1"]
        with place.log(f"agent-{package}").open("ab") as errors:
            self._process = subprocess.Popen(
                [*place.run, "env", *environment, "node", driver],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.place = place
        self.package = package
        self.node = Node(package, self._process)
        self._handles = itertools.count(1)

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.node.close()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def crash(self) -> None:
        """End it as a crash of its machine would: nothing is closed or given back."""
        pid = self.node.call("pid")
        subprocess.run([*self.place.run, "kill", "-KILL", str(pid)], check=True)
        self._process.wait(CLOSE_SECONDS)

    def queue(self, database: Database, name: str, *, prefix: str = "bull", ledger: Database | None = None) -> Live:
        """Open a queue. The ledger is in another database of the same server unless said otherwise."""
        handle = next(self._handles)
        noted = ledger or database.at(LEDGER)
        self.node.call(
            "open",
            {
                "handle": handle,
                "package": self.package,
                "redis": database.node,
                "ledger": noted.node,
                "prefix": prefix,
                "queue": name,
            },
        )
        return Live(self, handle, database, noted, Queue(prefix, name))


class Live:
    """A queue of a living application."""

    def __init__(self, agent: Agent, handle: int, database: Database, ledger: Database, queue: Queue) -> None:
        self.agent = agent
        self.database = database
        self.queue = queue
        self.name = queue.name
        self._handle = handle
        options = ledger.options
        self.ledger = Wire(options["host"], ledger.port, options.get("database", 0))
        options = database.options
        self.wire = Wire(options["host"], database.port, options.get("database", 0))

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.agent.alive:
            self.do("close")
        self.ledger.close()
        self.wire.close()

    def do(self, action: str, **given: Any) -> Any:
        """Let the agent do something."""
        return self.agent.node.call(action, {"handle": self._handle, **given})

    def add(self, name: str = "plain", *, count: int = 1, data: Any = None, **options: Any) -> list[str]:
        """Add jobs; return their ids."""
        given = {"name": name, "count": count, "data": data or {}, "options": options}
        return [str(job) for job in self.do("add", **given)]

    @property
    def link(self) -> Link:
        """Our connection."""
        return self.database.link

    @property
    def flavour(self) -> Flavour:
        """What we tell of it with what an operator would say of it: its library and version."""
        library, version = library_of(self.agent.package)
        return detect(self.link, self.queue, library, version)

    def key(self, suffix: str) -> str:
        """One of its keys."""
        return self.queue.key(suffix)

    def noted(self, what: str) -> dict[str, str]:
        """A page of the ledger."""
        return self.ledger.hash(f"{self.name}:{what}")

    def runs(self) -> dict[str, int]:
        """How often the processor began with each job."""
        return {job: int(count) for job, count in self.noted("runs").items()}

    def done(self) -> dict[str, int]:
        """How often each job ended well."""
        return {job: int(count) for job, count in self.noted("done").items()}

    def ticks(self) -> int:
        """How often schedules fired."""
        return int(self.ledger("LLEN", f"{self.name}:ticks"))

    def strange(self) -> list[str]:
        """Jobs that ran without a name."""
        return list(self.ledger("LRANGE", f"{self.name}:strange", 0, -1))

    def ids(self, state: str) -> list[str]:
        """The ids in a state."""
        kind = self.wire("TYPE", self.key(state))
        reads = {"list": ("LRANGE", 0, -1), "zset": ("ZRANGE", 0, -1), "none": None}
        read = reads[kind]
        return list(self.wire(read[0], self.key(state), *read[1:])) if read else []

    def idle(self) -> bool:
        """Whether a worker of this server sleeps until there is work."""
        return any(
            f"cmd={command} " in line for line in self.wire("CLIENT", "LIST").splitlines() for command in BLOCKED
        )

    def until_idle(self) -> None:
        """Wait until a worker sleeps."""
        self.until("a sleeping worker", self.idle)

    def until(self, what: str, attempt: Callable[[], T | None], seconds: float = 10) -> T:
        """Wait for something of this queue."""
        told = f"{what} ({self.agent.package}, {self.name})"
        try:
            return until(told, attempt, seconds=seconds, pause=0.01)
        except Exception as error:
            raise AssertionError(f"{error}; errors of the library: {self.do('faults')}; {self.picture()}") from None

    def until_done(self, jobs: list[str], seconds: float = 10) -> None:
        """Wait until these jobs ended well."""
        wanted = set(jobs)
        self.until(f"the end of {sorted(wanted)[:10]}", lambda: wanted <= self.done().keys(), seconds)

    def picture(self) -> dict[str, Any]:
        """What a failed test wants to know."""
        keys = sorted(str(key)[len(self.queue.base) :] for key in self.wire("KEYS", f"{self.queue.base}*"))
        listed = (
            "wait",
            "paused",
            "active",
            "delayed",
            "prioritized",
            "marker",
            "repeat",
            "failed",
            "waiting-children",
        )
        clients = [line for line in self.wire("CLIENT", "LIST").splitlines() if " flags=b " in line]
        return {
            "keys": keys[:40],
            "jobs": {state: self.ids(state)[:10] for state in listed},
            "blocked": [line.partition(" cmd=")[2].partition(" ")[0] for line in clients],
            "time": self.wire("TIME")[0],
        }


@contextlib.contextmanager
def living(place: Place, database: Database, package: str, name: str, **more: Any) -> Iterator[Live]:
    """A queue with an agent of its own."""
    with Agent(place, package) as agent, agent.queue(database, name, **more) as live:
        yield live
