# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where servers and real npm packages of the queue tests run: a container of the lab, or here while developing."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, RedisFailed, Server

from lab import containers, images, topology
from lab.console import Console
from lab.containers import Spec
from lab.images import Built
from lab.names import FIRST_HOST, ROOT
from lab.topology import Plan
from lab.wait import until

HERE = Path(__file__).resolve().parent
APPS = ROOT / "tests" / "apps" / "masstock" / "base"
PART = "queues"
IN_IMAGE = "/opt/queues"
START_SECONDS = 30.0
CALL_SECONDS = 120.0
# Alias in package.json -> what it is. The order is that of age.
PACKAGES = {
    "bull3": "bull 3.29.3",
    "bull4": "bull 4.16.5",
    "bullmq1": "bullmq 1.91.1",
    "bullmq2": "bullmq 2.4.0",
    "bullmq3": "bullmq 3.16.2",
    "bullmq4": "bullmq 4.18.3",
    "bullmq568": "bullmq 5.68.0",
    "bullmq5": "bullmq 5.81.5",
    "bullmq6": "bullmq 6.7.0",
}
# Those that tests of many seconds run with; what the others are to be tried with waits for tests marked slow.
USUAL = ("bull4", "bullmq1", "bullmq4", "bullmq5", "bullmq6")


def each(packages: Iterable[str] = tuple(PACKAGES)) -> list[Any]:
    """Parameters of a test: these packages, those that are not of USUAL marked slow."""
    import pytest

    return [one if one in USUAL else pytest.param(one, marks=pytest.mark.slow) for one in packages]


def library_of(package: str) -> tuple[str, str]:
    """The library and the version behind an alias."""
    library, _space, version = PACKAGES[package].partition(" ")
    return library, version


class NodeError(Exception):
    """What the real package threw."""


class NotInstalled(Exception):
    """A program that this place does not have."""


class Node:
    """A C(node) process that holds one of the packages; see packages.js for what it can be asked."""

    def __init__(self, package: str, process: subprocess.Popen[str], run: tuple[str, ...] = ()) -> None:
        self.package = package
        self.pid = 0  # there, not here; known once it has said something
        self._run = run
        self.library, self.version = library_of(package)
        self.notes: list[Any] = []  # what scripts told with C(note)
        self._process = process
        self._ids = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def bull(self) -> bool:
        """Whether it is Bull, not BullMQ."""
        return self.library == "bull"

    def ask(self, action: str, given: Mapping[str, Any] | None = None, *, now: int | None = None) -> int:
        """Begin an action; return the number that C(answer) takes. C(now) pins the process' clock, in ms."""
        number = next(self._ids)
        line = json.dumps({"id": number, "action": action, "given": given or {}, "now": now})
        assert self._process.stdin
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise NodeError(f"node with {self.package} has ended ({self._process.poll()})") from None
        return number

    def answer(self, number: int, seconds: float = CALL_SECONDS) -> Any:
        """Wait for the answer to an action. Raises NodeError."""
        with self._news:
            done = self._news.wait_for(lambda: number in self._answers or not self._reader.is_alive(), seconds)
            answer = self._answers.pop(number, None)
        if answer is None:
            ended = f"ended with {self._process.poll()}" if done else f"gave no answer in {seconds:.0f} s"
            raise NodeError(f"node with {self.package} {ended}")
        if "error" in answer:
            raise NodeError(f"{self.package}: {answer['error']}")
        return answer.get("result")

    def call(
        self,
        action: str,
        given: Mapping[str, Any] | None = None,
        *,
        now: int | None = None,
        seconds: float = CALL_SECONDS,
    ) -> Any:
        """Run an action of packages.js and return its result. Raises NodeError with what the package threw."""
        return self.answer(self.ask(action, given, now=now), seconds)

    def script(self, source: str, seconds: float = CALL_SECONDS, now: int | None = None, **given: Any) -> Any:
        """Run the body of an async function: it sees lib (the package), given, queueOf, note and state."""
        return self.call("script", {"source": source, "given": given}, now=now, seconds=seconds)

    def kill(self) -> None:
        """End the process as a crash would. Its C(pid) is known after the first C(call)."""
        subprocess.run([*self._run, "kill", "-KILL", str(self.pid)], capture_output=True, check=True)
        self._process.wait(20)

    def close(self) -> None:
        """End the process."""
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            message = json.loads(line)
            with self._news:
                if "pid" in message:
                    self.pid = int(message["pid"])
                elif "note" in message:
                    self.notes.append(message["note"])
                else:
                    self._answers[message["id"]] = message
                self._news.notify_all()
        with self._news:
            self._news.notify_all()


@dataclass(repr=False)
class Database:
    """A running server. C(options) is what C(Server) takes; C(node) is what packages.js takes as C(redis)."""

    place: Place
    program: str
    options: dict[str, Any]
    port: int
    directory: str
    arguments: tuple[str, ...]
    pid: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _servers: list[Server] = field(default_factory=list)

    @property
    def node(self) -> dict[str, Any]:
        """The connection in ioredis' words."""
        found = {"host": self.options["host"], "port": self.port, "db": self.options.get("database", 0)}
        if self.options.get("password"):
            found["password"] = self.options["password"]
        if self.options.get("user"):
            found["username"] = self.options["user"]
        return found

    @property
    def link(self) -> Link:
        """A connection of ours; the same one each time while it lives."""
        return self.server.at("any")

    @property
    def server(self) -> Server:
        """Ours."""
        if not self._servers:
            self._servers.append(Server(self.options))
        return self._servers[0]

    def at(self, number: int) -> Database:
        """The same server with another of its 16 databases."""
        return Database(
            self.place, self.program, {**self.options, "database": number}, self.port, self.directory, self.arguments
        )

    def empty(self) -> None:
        """Remove everything from all of its databases, and its scripts and settings of a test's own."""
        self.link.ask(("FLUSHALL",), ("SCRIPT", "FLUSH"))

    def start(self) -> None:
        """Start the server (again, after C(kill) or C(stop)) and wait until it answers."""
        command = self.place.server_command(self.program, self.port, self.directory, self.arguments)
        line = f"mkdir -p {shlex.quote(self.directory)}; echo $$; exec {shlex.join(command)}"
        log = self.place.log(f"{self.program}-{self.port}")
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [*self.place.run, "sh", "-c", line],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self._process.stdout
        self.pid = int(self._process.stdout.readline())
        # Its log would fill the pipe.
        threading.Thread(target=_drain, args=(self._process.stdout, log), daemon=True).start()
        until(f"{self.program} on port {self.port} (see {log})", self._answers, seconds=START_SECONDS)

    def kill(self, signal: str = "KILL") -> None:
        """End the server with a signal and wait until it has ended."""
        if self._process is None:
            return
        subprocess.run([*self.place.run, "kill", f"-{signal}", str(self.pid)], capture_output=True, check=False)
        self._process.wait(20)
        self._process = None
        self.disconnect()

    def signal(self, name: str) -> None:
        """Send a signal, STOP or CONT for instance."""
        subprocess.run([*self.place.run, "kill", f"-{name}", str(self.pid)], capture_output=True, check=True)

    def disconnect(self) -> None:
        """Close our connection; the next use of C(link) makes another."""
        while self._servers:
            self._servers.pop().close()

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"{self.program} on port {self.port} ended with {self._process.returncode}")
        try:
            with socket.create_connection((self.options["host"], self.port), timeout=1) as plain:
                if self.options.get("tls") or "--tls-port" in self.arguments:
                    return True
                plain.sendall(b"PING\r\n")
                # Anything but "still loading" will do: a password may be needed, a script may run.
                return not plain.recv(64).startswith(b"-LOADING")
        except OSError:
            return False


@dataclass(repr=False)
class Place:
    """Where it all runs. C(run) begins a command line there; empty on this machine itself."""

    address: str
    run: tuple[str, ...]
    modules: str
    redis: str
    scratch: str
    logs: Path
    _started: list[Database] = field(default_factory=list)
    _nodes: dict[str, Node] = field(default_factory=dict)
    _loose: list[Node] = field(default_factory=list)

    def log(self, name: str) -> Path:
        """The file for what a process writes to its standard error."""
        self.logs.mkdir(parents=True, exist_ok=True)
        return self.logs / f"{name}.log"

    def sh(self, command: str, given: bytes = b"") -> str:
        """Run a shell command there; return what it printed."""
        done = subprocess.run(
            [*self.run, "sh", "-c", command], input=given, capture_output=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{command}\nended with {done.returncode}: {done.stdout!r} {done.stderr!r}"
        return done.stdout.decode().strip()

    def put(self, path: str, content: bytes | str, mode: int = 0o644) -> str:
        """Write a file there (below C(scratch) when the path is relative); return its path."""
        whole = path if path.startswith("/") else f"{self.scratch}/{path}"
        data = content.encode() if isinstance(content, str) else content
        quoted = shlex.quote(whole)
        command = f"mkdir -p $(dirname {quoted}) && base64 -d > {quoted} && chmod {mode:o} {quoted}"
        self.sh(command, base64.b64encode(data))
        return whole

    def has(self, program: str) -> bool:
        """Whether the place has redis-server or valkey-server."""
        if self.run:
            return True
        return program == "redis-server" or shutil.which(program) is not None

    def server_command(self, program: str, port: int, directory: str, arguments: Sequence[str]) -> list[str]:
        """The command line of a server."""
        if self.redis and program == "redis-server":
            return [self.redis, str(port), directory, *arguments]
        bind = self.address if self.run else "127.0.0.1"
        common = ["--bind", bind, *(["127.0.0.1"] if self.run else []), "--protected-mode", "no", "--save", ""]
        socket_path = f"{directory}/redis.sock"
        return [program, "--port", str(port), "--dir", directory, "--unixsocket", socket_path, *common, *arguments]

    def serve(
        self, *arguments: str, program: str = "redis-server", options: Mapping[str, Any] | None = None
    ) -> Database:
        """Start a server of one's own with these arguments. C(options) go to C(Server) as well, for TLS say."""
        if not self.has(program):
            raise NotInstalled(f"no {program} here")
        port = self._free_port()
        directory = f"{self.scratch}/{program}-{port}"
        told = {"host": self.address, "port": port, **(options or {})}
        database = Database(self, program, told, port, directory, tuple(arguments))
        self._started.append(database)
        database.start()
        return database

    def node(self, package: str, *, own: bool = False) -> Node:
        """The process of a package; C(own) for another one than everybody's."""
        if not own and package in self._nodes:
            return self._nodes[package]
        environment = {"NODE_PATH": self.modules, "NODE_NO_WARNINGS": "1"}
        driver = self._driver()
        prefix = [*self.run, "env", *(f"{name}={value}" for name, value in environment.items())]
        with self.log(f"node-{package}").open("ab") as errors:
            process = subprocess.Popen(
                [*prefix, "node", driver, package],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        node = Node(package, process, self.run)
        if own:
            self._loose.append(node)
        else:
            self._nodes[package] = node
        return node

    def restart_nodes(self) -> None:
        """End the shared processes; the next use starts them again."""
        while self._nodes:
            self._nodes.popitem()[1].close()

    def close(self) -> None:
        """End all that was started."""
        for node in (*self._nodes.values(), *self._loose):
            node.close()
        for database in self._started:
            database.kill()

    def _driver(self) -> str:
        path = HERE / "packages.js"
        # Written once per session: the container has the file of the session that runs.
        if not self.run:
            return str(path)
        if not hasattr(self, "_driver_path"):
            self._driver_path = self.put("packages.js", path.read_bytes())
        return self._driver_path

    def _free_port(self) -> int:
        if self.run:
            # Nobody else is in the container. Cluster nodes also take their port + 10000.
            taken = [database.port for database in self._started]
            return max(taken, default=7000) + 1
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            if port < 55_000:
                return port


@contextlib.contextmanager
def local(switch: str) -> Iterator[Place]:
    """This machine. C(switch) is DIRECTORY_OF_NODE_MODULES:PROGRAM_THAT_STARTS_REDIS."""
    packages, _colon, redis = switch.partition(":")
    modules = str(Path(packages) / "node_modules")
    with tempfile.TemporaryDirectory(prefix="queues-") as scratch:
        place = Place("127.0.0.1", (), modules, redis, scratch, Path(scratch) / "logs")
        try:
            yield place
        finally:
            place.close()


def image() -> Built:
    """The image of packages and servers, on what the stand-in applications start from."""
    base = images.base("debian13")
    node = Built("quai-node:latest", APPS / "node", {}, (base,))
    node_build = Built("quai-node-build:latest", APPS / "node-build", {}, (node,))
    return Built("quai-queues:latest", HERE / "image", {}, (node, node_build))


@contextlib.contextmanager
def container(name: str, console: Console, *, keep: bool) -> Iterator[Place]:
    """A container of a lab of this name."""
    if not keep:
        topology.down(name, console)
    lab = topology.open_lab(name, "auto")
    topology.up(lab, Plan(hosts={}, zones={}, services=()), console)
    images.ensure([image()], console)
    address = lab.address(FIRST_HOST)
    containers.ensure(lab, Spec(PART, "queues", image().ref, address, ("sleep", "infinity")))
    run = ("docker", "exec", "--interactive", lab.container(PART))
    scratch = f"/srv/queues/{int(time.time())}"
    place = Place(address, run, f"{IN_IMAGE}/node_modules", "", scratch, lab.directory / "queues-logs")
    try:
        yield place
    finally:
        place.close()
        if not keep:
            topology.down(name, console)


def opened() -> contextlib.AbstractContextManager[Place]:
    """The place that the environment asks for; see conftest.py."""
    switch = os.environ.get("QUAI_QUEUES_LOCAL", "")
    if switch:
        return local(switch)
    from lab import engine

    console = Console()
    engine.ensure(console)
    return container(
        os.environ.get("QUAI_QUEUES_LAB", "queues"), console, keep=bool(os.environ.get("QUAI_QUEUES_KEEP"))
    )


def _drain(stream: Any, log: Path) -> None:
    with log.open("ab") as handle:
        for line in stream:
            handle.write(line)
            handle.flush()


__all__ = [
    "PACKAGES",
    "USUAL",
    "Database",
    "Node",
    "NodeError",
    "NotInstalled",
    "Place",
    "RedisFailed",
    "each",
    "library_of",
    "opened",
]
