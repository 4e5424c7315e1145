# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our operations at servers that break, refuse or forget, and killed at every point: a clear message, nothing lost."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _redis_link
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour, Queue, QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._redis_link import RedisFailed, Script, Server

from lab import authority
from lab.wait import until
from tests.queues.live import operations
from tests.queues.live.choke import CUT, PASS, UNANSWERED, Choke, scripts_only
from tests.queues.live.fill import NOW, counts, fill, unsound
from tests.queues.live.forked import Ended, Forks, Run
from tests.queues.live.playbook import play
from tests.queues.live.wire import Refused, Wire, snapshot
from tests.queues.place import Database, Place, library_of

QUEUE = "mail"
BASE = f"bull:{QUEUE}:"
# Bull, a BullMQ that waits for a list, and one that waits for a marker.
PACKAGES = ("bull4", "bullmq3", "bullmq6")
SECRET = "t0p-s3cret-of-the-test"
JOBS = 450  # more than two pages of a clean-up or a retry


def removal(state: str, *more: dict[str, Any], **policy: Any) -> dict[str, Any]:
    """What C(forked.perform) is asked for to remove all of a state."""
    rules = [{"state": state, "older_than": 0}, *more]
    return {"op": "clean", "rules": rules, "policy": policy, "now_ms": NOW}


# Each with the state it is for. Pages are small, so that there are several.
OPERATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "clean completed, exact": ("completed", removal("completed", fast="never")),
    "clean completed, fast": ("completed", removal("completed", fast="always")),
    "clean wait": ("wait", removal("wait")),
    "retry": ("failed", {"op": "retry", "state": "failed", "now_ms": NOW}),
    "pause": ("wait", {"op": "pause"}),
    "resume": ("paused", {"op": "resume"}),
}


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    """Processes for our operations."""
    with Forks() as opened:
        yield opened


@pytest.fixture
def wire(redis: Database) -> Iterator[Wire]:
    """The tests' own connection to the Redis of the session."""
    with dialled(redis) as opened:
        yield opened


def dialled(database: Database) -> Wire:
    """The tests' own connection."""
    return Wire(database.options["host"], database.port)


def asked(package: str, operation: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """An operation at the queue of the tests."""
    library, version = library_of(package)
    return {**operation, "options": options, "queue": QUEUE, "library": library, "version": version}


def contents(wire: Wire) -> dict[str, Any]:
    """All keys without those that hold the time of writing."""
    return {key: value for key, value in snapshot(wire).items() if not key.endswith(":events")}


def ended(wire: Wire, name: str, queue: str = QUEUE) -> bool:
    """Whether an operation has come to its end."""
    if name == "pause":
        return bool(wire("HGET", f"bull:{queue}:meta", "paused") == "1")
    return OPERATIONS[name][0] not in counts(wire, queue)


def clear(found: dict[str, Any], reason: str, *parts: str) -> None:
    """An error of this kind, in one line, that says this."""
    assert "error" in found, found
    message = found["error"]
    assert found["reason"] == reason, found
    assert "\n" not in message and len(message) < 600 and "Traceback" not in message
    for part in parts:
        assert part in message, (part, message)


# --- killed -----------------------------------------------------------------------------------------------------------


class Killed:
    """An operation that is killed at its Nth request: before Redis gets it, or when Redis has answered it."""

    def __init__(self, forks: Forks, redis: Database, ask: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._forks, self._redis, self._ask = forks, redis, ask

    def whole(self) -> list[str]:
        """The requests of a run that nothing happens to."""
        with Choke(self._redis, lambda _number, _words: PASS) as choke:
            found = self._forks.run(self._ask(choke.options))
            assert "result" in found, found
            return choke.names

    def at(self, number: int, how: str) -> bool:
        """Run it and kill it; whether it got so far."""
        running: list[Run] = []
        known, struck = threading.Event(), threading.Event()

        def kill() -> None:
            known.wait(10)
            running[0].kill()
            struck.set()

        def hook(count: int, _words: list[bytes]) -> str:
            if count != number:
                return PASS
            if how == CUT:
                kill()
            return how

        with Choke(self._redis, hook, kill) as choke:
            running.append(self._forks.start(self._ask(choke.options)))
            known.set()
            try:
                found = running[0].result()
            except Ended:
                assert struck.is_set()
                return True
        assert "result" in found, found
        return False


# What an operation sends beside its scripts. None of it writes, so that it is the same at which of them it is killed.
READING = {
    *("INFO", "TIME", "SCAN", "TYPE", "EXISTS", "HMGET", "HGET", "XLEN"),
    *("LLEN", "LRANGE", "ZCARD", "ZCOUNT", "ZRANGE", "ZSCORE"),
}


# What is done the same way in every version is killed in the newest; tests/long has all of them.
EVERYWHERE = [(name, package) for name in OPERATIONS for package in PACKAGES]
KILLED = [(name, package) for name, package in EVERYWHERE if package == "bullmq6" or "completed" not in name]


@pytest.mark.parametrize(("name", "package"), KILLED)
def test_killed_at_every_script(forks: Forks, redis: Database, wire: Wire, name: str, package: str) -> None:
    """Wherever it is killed, ids, jobs and parts fit together, and the next run ends as one that was not killed."""
    kill_at_every_script(forks, redis, wire, name, package)


def kill_at_every_script(forks: Forks, redis: Database, wire: Wire, name: str, package: str) -> None:
    """Kill it before and after each of its scripts."""
    state, operation = OPERATIONS[name]

    def fresh() -> None:
        wire("FLUSHALL")
        fill(wire, package, QUEUE, state, JOBS)

    def ask(options: dict[str, Any]) -> dict[str, Any]:
        return asked(package, operation, options)

    killed = Killed(forks, redis, ask)
    fresh()
    before = contents(wire)
    requests = killed.whole()
    wanted = contents(wire)
    assert unsound(wire, QUEUE) == [] and wanted != before
    scripts = [number for number, request in enumerate(requests, 1) if request.startswith("EVAL")]
    assert {requests[number - 1] for number in range(1, len(requests) + 1) if number not in scripts} <= READING
    points = [(number, how) for number in scripts for how in (CUT, UNANSWERED)]
    halfway = 0
    for number, how in ((1, CUT), *points, (len(requests), UNANSWERED)):
        fresh()
        # The size of pages follows the speed of Redis, so that a run may be over before.
        if not killed.at(number, how):
            continue
        assert unsound(wire, QUEUE) == [], (number, how)
        halfway += contents(wire) not in (before, wanted)
        found = forks.run(ask(redis.options))
        assert "result" in found, found
        assert contents(wire) == wanted, (number, how)
    if name not in ("pause", "resume"):
        # Else nothing was ever half done, and this test proves nothing.
        assert halfway


# --- cut off, forgotten, restarted ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATIONS)
def test_scripts_forgotten(forks: Forks, redis: Database, wire: Wire, name: str) -> None:
    """SCRIPT FLUSH before each script: Redis is given their text again."""
    state, operation = OPERATIONS[name]
    fill(wire, "bullmq6", QUEUE, state, JOBS)
    flushed = 0

    def flush(_number: int) -> str:
        nonlocal flushed
        flushed += wire("SCRIPT", "FLUSH") == "OK"
        return PASS

    with Choke(redis, scripts_only(flush)) as choke:
        found = forks.run(asked("bullmq6", operation, choke.options))
    assert "result" in found, found
    assert flushed and unsound(wire, QUEUE) == [] and ended(wire, name)


@pytest.mark.parametrize("how", [CUT, UNANSWERED])
@pytest.mark.parametrize("name", OPERATIONS)
def test_connection_cut(forks: Forks, redis: Database, wire: Wire, name: str, how: str) -> None:
    """A connection that breaks at the second script, or the only one: said so; the next run finishes."""
    state, operation = OPERATIONS[name]
    fill(wire, "bullmq6", QUEUE, state, JOBS)
    last = 1 if name in ("pause", "resume") else 2
    with Choke(redis, scripts_only(lambda number: how if number == last else PASS)) as choke:
        found = forks.run(asked("bullmq6", operation, choke.options))
    clear(found, "reset", "127.0.0.1", "closed")
    assert unsound(wire, QUEUE) == []
    assert "result" in forks.run(asked("bullmq6", operation, redis.options))
    assert unsound(wire, QUEUE) == [] and ended(wire, name)


@pytest.fixture
def own(packages: Place) -> Iterator[Callable[..., Database]]:
    """Servers of a test's own."""
    started: list[Database] = []

    def serve(*arguments: str, **more: Any) -> Database:
        started.append(packages.serve(*arguments, **more))
        return started[-1]

    yield serve
    for each in started:
        each.kill()


@pytest.mark.parametrize("name", ["clean completed, exact", "clean completed, fast", "retry"])
def test_redis_restarted(forks: Forks, own: Callable[..., Database], name: str) -> None:
    """Redis crashes under a run and comes back with what its log holds: said so; the next run finishes."""
    state, operation = OPERATIONS[name]
    server = own("--appendonly", "yes", "--appendfsync", "always")
    with dialled(server) as wire:
        fill(wire, "bullmq6", QUEUE, state, JOBS)

    back = threading.Event()

    def crash(number: int) -> str:
        if number == 2:
            server.kill()
            server.start()
            back.set()
        return PASS

    with Choke(server, scripts_only(crash)) as choke:
        found = forks.run(asked("bullmq6", operation, choke.options))
    clear(found, "reset", "closed")
    assert back.wait(60)
    with dialled(server) as wire:
        assert 0 < counts(wire, QUEUE)[state] <= JOBS
        assert unsound(wire, QUEUE) == []
        assert "result" in forks.run(asked("bullmq6", operation, server.options))
        assert unsound(wire, QUEUE) == [] and state not in counts(wire, QUEUE)


def test_redis_away(forks: Forks, own: Callable[..., Database]) -> None:
    """No Redis there."""
    server = own()
    server.kill()
    found = forks.run(asked("bullmq6", removal("completed"), server.options))
    clear(found, "refused", str(server.port))


def test_redis_silent(forks: Forks, own: Callable[..., Database]) -> None:
    """A Redis that is stopped answers nothing: the timeout ends it, and says where and after how long."""
    server = own()
    with dialled(server) as wire:
        fill(wire, "bullmq6", QUEUE, "completed", JOBS)

    def stop(number: int) -> str:
        if number == 2:
            server.signal("STOP")
        return PASS

    with Choke(server, scripts_only(stop)) as choke:
        found = forks.run(asked("bullmq6", removal("completed"), {**choke.options, "timeout": 0.5}))
    server.signal("CONT")
    clear(found, "timeout", "0.5 s")
    with dialled(server) as wire:
        assert unsound(wire, QUEUE) == []


# --- servers that refuse ----------------------------------------------------------------------------------------------


def test_replica(forks: Forks, own: Callable[..., Database]) -> None:
    """A replica is refused before anything, with the address of its master."""
    master = own()
    replica = own("--replicaof", master.options["host"], str(master.port))
    with dialled(master) as wire, dialled(replica) as copy:
        fill(wire, "bullmq6", QUEUE, "completed", 50)
        until("the replica", lambda: counts(copy, QUEUE).get("completed") == 50, seconds=20)
        for _state, operation in OPERATIONS.values():
            found = forks.run(asked("bullmq6", operation, replica.options))
            clear(found, "readonly", "replica", "master", str(master.port))
        assert counts(wire, QUEUE)["completed"] == 50


@pytest.mark.parametrize("name", ["clean completed, exact", "clean completed, fast", "clean wait", "retry"])
def test_master_becomes_a_replica(forks: Forks, own: Callable[..., Database], name: str) -> None:
    """A failover under a run: said so, nothing half done, and the new master finishes it."""
    state, operation = OPERATIONS[name]
    first, second = own(), own()
    with dialled(first) as wire, dialled(second) as copy:
        fill(wire, "bullmq6", QUEUE, state, JOBS)
        copy("REPLICAOF", first.options["host"], first.port)
        until("the replica", lambda: counts(copy, QUEUE).get(state) == JOBS, seconds=20)

        def over(number: int) -> str:
            if number == 2:
                wire("WAIT", 1, 5000)
                copy("REPLICAOF", "NO", "ONE")
                wire("REPLICAOF", second.options["host"], second.port)
            return PASS

        with Choke(first, scripts_only(over)) as choke:
            found = forks.run(asked("bullmq6", operation, choke.options))
        clear(found, "readonly", "READONLY", "master")
        assert unsound(copy, QUEUE) == []
        assert "result" in forks.run(asked("bullmq6", operation, second.options))
        assert unsound(copy, QUEUE) == [] and state not in counts(copy, QUEUE)


def test_too_few_replicas(forks: Forks, own: Callable[..., Database]) -> None:
    """min-replicas-to-write refuses every write: said so, nothing changed."""
    server = own()
    with dialled(server) as wire:
        for name, (state, operation) in OPERATIONS.items():
            wire("CONFIG", "SET", "min-replicas-to-write", 0)
            wire("FLUSHALL")
            fill(wire, "bullmq6", QUEUE, state, 50)
            before = snapshot(wire)
            wire("CONFIG", "SET", "min-replicas-to-write", 1)
            found = forks.run(asked("bullmq6", operation, server.options))
            clear(found, "readonly", "NOREPLICAS", "min-replicas-to-write")
            assert snapshot(wire) == before, name


@pytest.mark.parametrize("package", PACKAGES)
def test_out_of_memory(forks: Forks, own: Callable[..., Database], package: str) -> None:
    """A full Redis: removing works, for that is what makes room; what needs room ends whole or not at all."""
    server = own("--maxmemory-policy", "noeviction")
    with dialled(server) as wire:
        for name, (state, operation) in OPERATIONS.items():
            wire("CONFIG", "SET", "maxmemory", 0)
            wire("FLUSHALL")
            fill(wire, package, QUEUE, state, JOBS)
            before = contents(wire)
            wire("CONFIG", "SET", "maxmemory", 1)
            found = forks.run(asked(package, operation, server.options))
            assert unsound(wire, QUEUE) == []
            if operation["op"] == "clean":
                assert "result" in found, (name, found)
                assert state not in counts(wire, QUEUE)
            elif "error" in found:
                clear(found, "memory", "maxmemory")
                assert contents(wire) == before, name


def test_scripts_that_do_not_end(forks: Forks, own: Callable[..., Database]) -> None:
    """Another's script keeps Redis busy: said so, with what ends it."""
    server = own("--busy-reply-threshold", "20")
    with dialled(server) as wire, dialled(server) as other:
        fill(wire, "bullmq6", QUEUE, "completed", 50)
        blocked = threading.Thread(target=_endless, args=(other,))
        blocked.start()

        def busy() -> bool:
            try:
                wire("GET", "x")
            except Refused as error:
                return "BUSY" in str(error)
            return False

        until("a busy Redis", busy, seconds=10)
        found = forks.run(asked("bullmq6", removal("completed"), server.options))
        clear(found, "busy", "SCRIPT KILL")
        wire("SCRIPT", "KILL")
        blocked.join(10)
        assert counts(wire, QUEUE)["completed"] == 50
        assert "result" in forks.run(asked("bullmq6", removal("completed"), server.options))


def _endless(wire: Wire) -> None:
    with pytest.raises(Refused, match="killed"):
        wire("EVAL", "while true do end", 0)


def test_still_loading(forks: Forks, own: Callable[..., Database]) -> None:
    """A Redis that still reads its data: said so."""
    server = own()
    with dialled(server) as wire:
        fill(wire, "bullmq6", QUEUE, "completed", 600)
        wire("SAVE")
    server.kill("TERM")
    # It takes so long for each key, in microseconds, and looks up from its file after so many bytes.
    server.arguments += ("--key-load-delay", "50000", "--loading-process-events-interval-bytes", "1024")
    starting = threading.Thread(target=_started, args=(server,))
    starting.start()
    until("a Redis that loads", lambda: _loading(server), seconds=20)
    for _state, operation in OPERATIONS.values():
        clear(forks.run(asked("bullmq6", operation, server.options)), "loading", "reads its data")
    server.signal("KILL")
    starting.join(60)


def _started(server: Database) -> None:
    # The test ends it before it is ready.
    with contextlib.suppress(RuntimeError):
        server.start()


def _loading(server: Database) -> bool:
    with dialled(server) as wire:
        return wire.info()["loading"] == "1"


MODULES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("queue_cleanup", {"queues": [QUEUE], "rules": [{"state": "completed", "older_than": 0}]}),
    ("queue_state", {"queues": [QUEUE], "state": "paused"}),
    ("redis_keys", {"rules": [{"pattern": "bull:*"}]}),
)


def test_modules(own: Callable[..., Database], tmp_path: Path) -> None:
    """By Ansible: each module fails with one clear message at each of these servers, and no output holds a secret."""
    master = own("--requirepass", SECRET, "--masterauth", SECRET)
    replica = own("--requirepass", SECRET, "--masterauth", SECRET)
    away = own()
    away.kill()
    with dialled(master) as wire, dialled(replica) as copy:
        for each in (wire, copy):
            each("AUTH", SECRET)
        fill(wire, "bullmq6", QUEUE, "completed", 20)
        copy("REPLICAOF", master.options["host"], master.port)
        until("the replica", lambda: counts(copy, QUEUE).get("completed") == 20, seconds=20)
        before = snapshot(wire)
        cases = (
            (replica, SECRET, ("replica", str(master.port))),
            (master, f"not-{SECRET}", ("WRONGPASS", "password")),
            (away, SECRET, (str(away.port),)),
        )
        asked_for = [
            (name, {**options, "host": server.options["host"], "port": server.port, "password": password}, words)
            for server, password, words in cases
            for name, options in MODULES
        ]
        played = play(tmp_path, [(name, options) for name, options, _words in asked_for])
        for result, (name, options, words) in zip(played.results, asked_for, strict=True):
            assert result.get("failed"), (name, options, result)
            assert all(word in result["msg"] for word in words), (name, result["msg"])
            assert "\n" not in result["msg"] and "Traceback" not in result["msg"], (name, result["msg"])
        assert SECRET not in played.output
        assert snapshot(wire) == before


# What the script of pausing and resuming reads with.
READ_BY_STATE = ("type", "exists", "hexists", "llen", "lindex", "lrange", "zcard", "zrange")


# --- who asks ---------------------------------------------------------------------------------------------------------


def test_wrong_password(forks: Forks, own: Callable[..., Database]) -> None:
    """Said so, without the password."""
    server = own("--requirepass", SECRET)
    wrong = {**server.options, "password": "another-s3cret"}
    for options, words in ((wrong, "WRONGPASS"), (server.options, "NOAUTH")):
        found = forks.run(asked("bullmq6", removal("completed"), options))
        clear(found, "auth", words, "password")
        assert SECRET not in found["error"] and "another-s3cret" not in found["error"]
    assert "result" in forks.run(asked("bullmq6", removal("completed"), {**server.options, "password": SECRET}))


def used(wire: Wire) -> list[str]:
    """The commands that ran since CONFIG RESETSTAT, in scripts too; without those of the tests and of a connection."""
    names = {name.removeprefix("cmdstat_").partition("|")[0] for name in wire.info("commandstats")}
    return sorted(names - {"config", "acl", "auth"})


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_user_without_a_command(forks: Forks, redis: Database, wire: Wire, name: str, package: str) -> None:
    """A user who lacks one command: all is done without it, or the message names it and nothing was changed."""
    state, operation = OPERATIONS[name]
    fill(wire, package, QUEUE, state, 30)
    before = snapshot(wire)
    wire("CONFIG", "RESETSTAT")
    found = forks.run(asked(package, operation, redis.options))
    commands = used(wire)
    wanted = contents(wire)
    refused, unclear = set(), {}
    for command in commands:
        wire("FLUSHALL")
        fill(wire, package, QUEUE, state, 30)
        wire("ACL", "SETUSER", "clerk", "reset", "on", f">{SECRET}", "~*", "&*", "+@all", f"-{command}")
        options = {**redis.options, "user": "clerk", "password": SECRET}
        found = forks.run(asked(package, operation, options))
        if "result" in found:
            assert contents(wire) == wanted, command
            continue
        refused.add(command)
        assert snapshot(wire) == before, (command, found)
        assert SECRET not in found["error"]
        if found["reason"] != "auth" or command not in found["error"].lower():
            unclear[command] = found
    wire("ACL", "DELUSER", "clerk")
    assert unclear == {}
    assert "eval" in refused and len(refused) > 2


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("action", ["pause", "resume"])
def test_all_is_read_before_anything_is_written(
    redis: Database, wire: Wire, monkeypatch: pytest.MonkeyPatch, action: str, package: str
) -> None:
    """Before Redis 7 a script cannot ask what it may run; then a user who may not read changes nothing all the same."""
    script = _redis_link._RIGHTS
    older = Script(f"{script.name} before Redis 7", script.text.replace("redis.acl_check_cmd", "redis.not_there"))
    assert older.digest != script.digest
    monkeypatch.setattr(_redis_link, "_RIGHTS", older)
    library, version = library_of(package)
    flavour = Flavour(library, int(version[0]), version, "the test's")
    refused = []
    for state in ("wait", "delayed"):
        for command in READ_BY_STATE:
            wire("FLUSHALL")
            fill(wire, package, QUEUE, "paused" if action == "resume" else "wait", 30)
            fill(wire, package, QUEUE, "wait" if action == "resume" else "paused", 30, first=31)
            if state == "delayed":
                wire("DEL", f"{BASE}wait", f"{BASE}paused")
                wire("ZADD", f"{BASE}delayed", NOW, "1")
            wire.many([("DEL", f"{BASE}meta-paused"), ("HDEL", f"{BASE}meta", "paused")][: 2 * (action == "pause")])
            before = snapshot(wire)
            wire("ACL", "SETUSER", "clerk", "reset", "on", f">{SECRET}", "~*", "&*", "+@all", f"-{command}")
            with Server({**redis.options, "user": "clerk", "password": SECRET}) as server:
                try:
                    operations.__dict__[action](server.at(BASE), Queue("bull", QUEUE), flavour)
                except RedisFailed as error:
                    assert error.reason == "auth" and command in error.message.lower(), error.message
                    assert snapshot(wire) == before, command
                    refused.append(command)
    wire("ACL", "DELUSER", "clerk")
    assert {"type", "hexists", "llen", "lrange"} <= set(refused)


@pytest.mark.parametrize("package", PACKAGES)
def test_user_without_the_keys(forks: Forks, redis: Database, wire: Wire, package: str) -> None:
    """A user of other keys is refused, and one of the queue's own keys is enough."""
    for name, (state, operation) in OPERATIONS.items():
        wire("FLUSHALL")
        fill(wire, package, QUEUE, state, 30)
        before = snapshot(wire)
        options = {**redis.options, "user": "clerk", "password": SECRET}
        wire("ACL", "SETUSER", "clerk", "reset", "on", f">{SECRET}", "~bull:other:*", "&*", "+@all")
        clear(forks.run(asked(package, operation, options)), "auth", "NOPERM", "ACL GETUSER")
        assert snapshot(wire) == before
        wire("ACL", "SETUSER", "clerk", "reset", "on", f">{SECRET}", f"~{BASE}*", f"&{BASE}*", "+@all")
        found = forks.run(asked(package, operation, options))
        assert "result" in found, found
        assert ended(wire, name)
    wire("ACL", "DELUSER", "clerk")


# --- what is written wrong --------------------------------------------------------------------------------------------

WRONG = {
    "string": ("SET", "x"),
    "list": ("RPUSH", "x"),
    "set": ("SADD", "x"),
    "zset": ("ZADD", 1, "x"),
    "hash": ("HSET", "x", "y"),
    "stream": ("XADD", "*", "x", "y"),
}
RIGHT = {"completed": "zset", "failed": "zset", "wait": "list", "paused": "list", "meta": "hash", "active": "list"}


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_wrong_types(forks: Forks, redis: Database, wire: Wire, name: str, package: str) -> None:
    """A key of another type where a queue has a list, a set or a hash: its name and both types; nothing is changed."""
    state, operation = OPERATIONS[name]
    touched = {state} | ({"wait", "paused"} if operation["op"] != "clean" else set())
    if package == "bullmq6":
        touched.discard("paused")
    for suffix, kind in ((suffix, kind) for suffix in sorted(touched | {"meta"}) for kind in WRONG):
        if RIGHT[suffix] == kind:
            continue
        wire("FLUSHALL")
        fill(wire, package, QUEUE, state, 30)
        wire("DEL", BASE + suffix)
        wire(WRONG[kind][0], BASE + suffix, *WRONG[kind][1:])
        before = snapshot(wire)
        found = forks.run(asked(package, operation, redis.options))
        if suffix == "meta" and package == "bull4" and "result" in found:
            continue
        assert "error" in found, (suffix, kind, found)
        clear(found, found["reason"], BASE + suffix, kind, RIGHT[suffix])
        assert found["reason"] in ("type", "queue")
        assert snapshot(wire) == before, (suffix, kind)


# A job's hash, its members and its parts as a crash, another program or a hand may leave them.
JOB = BASE + "7"
HALF: dict[str, list[tuple[object, ...]]] = {
    "hash without a field that counts": [("DEL", JOB), ("HSET", JOB, "x", "y")],
    "only data": [("DEL", JOB), ("HSET", JOB, "data", "{}")],
    "empty fields": [("HSET", JOB, "timestamp", "", "opts", "", "name", "", "finishedOn", "")],
    "numbers that are none": [("HSET", JOB, "timestamp", "soon", "finishedOn", "never", "priority", "x")],
    "no JSON": [("HSET", JOB, "opts", "{", "parent", "[", "stacktrace", "no")],
    "JSON of another kind": [("HSET", JOB, "opts", "[]", "parent", "1")],
    "a parent that is no key": [("HSET", JOB, "parentKey", "nothing", "parent", '{"id":"1"}')],
    "a parent of another type": [("SET", "bull:other:1", "x"), ("HSET", JOB, "parentKey", "bull:other:1")],
    "no job": [("DEL", JOB)],
    "a string in place of the job": [("DEL", JOB), ("SET", JOB, "x")],
    "a list in place of the job": [("DEL", JOB), ("RPUSH", JOB, "x")],
    "a string in place of the log": [("DEL", f"{JOB}:logs"), ("SET", f"{JOB}:logs", "x")],
    "a list in place of the dependencies": [("RPUSH", f"{JOB}:dependencies", "x")],
    "bytes that are no text": [("HSET", JOB, "name", b"\xff\xfe\x00", "data", b"\xff")],
}


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_half_written_job(forks: Forks, redis: Database, wire: Wire, name: str, package: str) -> None:
    """A job that is not whole keeps nobody from dealing with the others."""
    state, operation = OPERATIONS[name]
    stuck = {}
    for what, damage in HALF.items():
        wire("FLUSHALL")
        fill(wire, package, QUEUE, state, 30)
        wire.many(damage)
        foreign = wire("GET", "bull:other:1")
        found = forks.run(asked(package, operation, redis.options))
        assert found.get("reason") != "fault", (what, found)
        if "error" in found:
            stuck[what] = found["error"]
            continue
        left = wire("LRANGE" if RIGHT[state] == "list" else "ZRANGE", BASE + state, 0, -1)
        assert name == "pause" or set(left) <= {"7"}, what
        assert ended(wire, name) or left, what
        problems = [problem for problem in unsound(wire, QUEUE) if not re.match(r"7\b", problem)]
        assert problems == [], what
        assert wire("GET", "bull:other:1") == foreign
    assert stuck == {}


STRANGE_IDS = (
    "a b",
    "a:b",
    "*",
    "[x]",
    "\\",
    '"',
    "ä",
    "\n",
    "{x}",
    "7:logs",
    "0",
    "wait",
    "-1",
    "repeat:x",
    "",
    "\udcff",
)


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("name", ["clean completed, exact", "clean completed, fast", "clean wait", "retry"])
def test_strange_ids(forks: Forks, redis: Database, wire: Wire, name: str, package: str) -> None:
    """An id may look like a pattern, a part, another key of the queue: only what belongs to the job goes."""
    state, operation = OPERATIONS[name]
    fill(wire, package, QUEUE, state, 10)
    wire("ZADD", BASE + "repeat", 1, "not a job")
    wire("SET", "outside", "x")
    own_keys = set(wire("KEYS", "*"))
    for job in STRANGE_IDS:
        if job in ("wait", "repeat:x") or BASE + job in own_keys:
            continue
        wire(
            "HSET",
            BASE + job,
            "name",
            "job",
            "data",
            "{}",
            "opts",
            "{}",
            "timestamp",
            NOW - 5000,
            "finishedOn",
            NOW - 5000,
        )
        if RIGHT[state] == "list":
            wire("LPUSH", BASE + state, job)
        else:
            wire("ZADD", BASE + state, NOW - 5000, job)
    found = forks.run(asked(package, operation, redis.options))
    assert "result" in found, found
    assert wire("GET", "outside") == "x" and wire("ZRANGE", BASE + "repeat", 0, -1) == ["not a job"]
    if operation["op"] == "clean":
        left = {str(key) for key in wire("KEYS", "*")} - {
            BASE + part for part in ("meta", "id", "events", "repeat", "marker")
        }
        # "0" in a list wakes workers of BullMQ 2 to 4.
        assert left <= {"outside", BASE + "0", BASE + state}


# --- clusters, TLS, Valkey --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(packages: Place) -> Iterator[list[Database]]:
    """Three masters."""
    nodes = [packages.serve("--cluster-enabled", "yes", "--cluster-node-timeout", "5000") for _node in range(3)]
    wires = [dialled(node) for node in nodes]
    for number, wire in enumerate(wires):
        wire("CLUSTER", "ADDSLOTSRANGE", number * 5462, min(16383, number * 5462 + 5461))
        wire("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    for node in nodes[1:]:
        wires[0]("CLUSTER", "MEET", node.options["host"], node.port)
    until("the cluster", lambda: all("cluster_state:ok" in wire("CLUSTER", "INFO") for wire in wires), seconds=60)
    yield nodes
    for wire in wires:
        wire.close()
    for node in nodes:
        node.kill()


@pytest.mark.parametrize("name", OPERATIONS)
def test_cluster(forks: Forks, cluster: list[Database], name: str) -> None:
    """A queue with a tag is found from every node; one without is refused before anything, with what is needed."""
    state, operation = OPERATIONS[name]
    tagged = "{mail}"
    slot = dialled(cluster[0])("CLUSTER", "KEYSLOT", f"bull:{tagged}:wait")
    holder = dialled(cluster[slot // 5462])
    for node in cluster:
        holder("FLUSHALL")
        fill(holder, "bullmq6", tagged, state, JOBS)
        request = asked("bullmq6", operation, node.options)
        found = forks.run({**request, "queue": tagged})
        assert "result" in found, found
        assert ended(holder, name, tagged) and unsound(holder, tagged) == []
        found = forks.run(request)
        clear(found, "slot", "bull:mail:", "{mail}", "{bull}")
    holder.close()


def test_cluster_node_away(forks: Forks, cluster: list[Database]) -> None:
    """The cluster's node that holds the queue is gone: said so, with its address."""
    slot = dialled(cluster[0])("CLUSTER", "KEYSLOT", "bull:{mail}:wait")
    number = slot // 5462
    fill(dialled(cluster[number]), "bullmq6", "{mail}", "completed", 20)
    request = {**asked("bullmq6", removal("completed"), cluster[(number + 1) % 3].options), "queue": "{mail}"}
    cluster[number].kill()
    found = forks.run(request)
    assert found.get("reason") in ("refused", "cluster"), found
    assert str(cluster[number].port) in found["error"] or "slot" in found["error"]


@pytest.fixture(scope="module")
def secured(packages: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, dict[str, str]]]:
    """A Redis that only speaks TLS, and the files of its own and of another authority."""
    own, other = tmp_path_factory.mktemp("ca"), tmp_path_factory.mktemp("other")
    certificate, key = authority.ensure_certificate(own, "redis.lab", packages.address)
    paths = {
        name: packages.put(f"tls/{name}", path.read_bytes())
        for name, path in (("ca", authority.ensure_authority(own)), ("cert", certificate), ("key", key))
    }
    tls = ("--tls-cert-file", paths["cert"], "--tls-key-file", paths["key"], "--tls-ca-cert-file", paths["ca"])
    server = packages.serve(*tls, "--tls-auth-clients", "no")
    with dialled(server) as wire:
        wire("CONFIG", "SET", "tls-port", server.port + 1000)
    yield server, {"own": str(authority.ensure_authority(own)), "other": str(authority.ensure_authority(other))}
    server.kill()


def test_tls(forks: Forks, secured: tuple[Database, dict[str, str]]) -> None:
    """With the right authority, by any; without, with another, without TLS, or under another name: said so."""
    server, authorities = secured
    trusted = {**server.options, "port": server.port + 1000, "tls": True, "ca_file": authorities["own"]}
    with dialled(server) as wire:
        fill(wire, "bullmq6", QUEUE, "completed", 30)
        refusals = (
            ({**trusted, "ca_file": ""}, "tls_chain", "certificate"),
            ({**trusted, "ca_file": authorities["other"]}, "tls_chain", "certificate"),
            ({**trusted, "sni": "another.lab"}, "tls_host", "another.lab"),
            ({**trusted, "tls": False, "ca_file": ""}, "reset", "TLS"),
        )
        for options, reason, word in refusals:
            clear(forks.run(asked("bullmq6", removal("completed"), options)), reason, word)
        assert counts(wire, QUEUE) == {"completed": 30}
        for options in (trusted, {**trusted, "ca_file": "", "verify": False}):
            fill(wire, "bullmq6", QUEUE, "completed", 30)
            found = forks.run(asked("bullmq6", removal("completed"), options))
            assert "result" in found, found
            assert counts(wire, QUEUE) == {}


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_valkey(forks: Forks, valkey: Database, redis: Database, name: str, package: str) -> None:
    """Valkey ends with the same keys as Redis."""
    state, operation = OPERATIONS[name]
    ends = []
    for server in (redis, valkey):
        with dialled(server) as own_wire:
            fill(own_wire, package, QUEUE, state, JOBS)
            found = forks.run(asked(package, operation, server.options))
            assert "result" in found, found
            ends.append(contents(own_wire))
    assert ends[0] == ends[1]


# --- limits, and two at once ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", ["never", "always"])
def test_two_at_once(forks: Forks, redis: Database, wire: Wire, fast: str) -> None:
    """Two clean-ups of one queue: each job is removed and counted by one of them."""
    for package in PACKAGES:
        wire("FLUSHALL")
        fill(wire, package, QUEUE, "completed", 3000)
        fill(wire, package, QUEUE, "wait", 2000, first=3001)
        request = asked(
            package, removal("completed", {"state": "wait", "older_than": 0}, fast=fast, chunk_ms=0.5), redis.options
        )
        found = [run.result() for run in [forks.start(request), forks.start(request)]]
        assert all("result" in each for each in found), found
        for state, number in (("completed", 3000), ("wait", 2000)):
            assert sum(each["result"]["removed"].get(state, 0) for each in found) == number
        assert counts(wire, QUEUE) == {} and unsound(wire, QUEUE) == []


@pytest.mark.parametrize("fast", ["never", "always"])
def test_time_is_over(forks: Forks, redis: Database, wire: Wire, fast: str) -> None:
    """max_seconds ends a run between two pages; what it says is what it did, and the next run does the rest."""
    fill(wire, "bullmq6", QUEUE, "completed", 5000)
    request = asked("bullmq6", removal("completed", fast=fast, chunk_ms=0.5, duty=0.02, max_seconds=0.5), redis.options)
    found = forks.run(request)["result"]
    left = counts(wire, QUEUE).get("completed", 0)
    assert not found["complete"] and left > 0
    assert found["removed"]["completed"] == 5000 - left == 5000 - found["counts_after"]["completed"]
    assert unsound(wire, QUEUE) == []
    found = forks.run(asked("bullmq6", removal("completed", fast=fast), redis.options))["result"]
    assert found["complete"] and found["removed"]["completed"] == left
    assert counts(wire, QUEUE) == {}


def test_bad_queue(redis: Database, wire: Wire) -> None:
    """A queue that does not exist is said to be none; nothing is made."""
    with Server(redis.options) as server, pytest.raises(QueueProblem, match="no queue"):
        operations.flavour(server.at(BASE), Queue("bull", QUEUE), "auto", "")
    with pytest.raises(RedisFailed, match="database"), Server({**redis.options, "database": 99}) as server:
        server.at(BASE).call("PING")
    assert snapshot(wire) == {}
