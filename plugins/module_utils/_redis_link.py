# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to Redis or Valkey for what changes data: who answers, where a key lives, scripts, and errors by kind.

C(Server) is what stands behind an address: one server, or all masters of a cluster, each with one C(Link). Commands are
packed and replies read by the client of C(_resp), or by redis-py where that is asked for; connecting, logging in, time
limits and errors are the same for both.
"""

from __future__ import annotations

import binascii
import hashlib
import re
import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, Final, NamedTuple, Protocol

from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed
from ansible_collections.quai.ops.plugins.module_utils._probe_net import Connection, dial
from ansible_collections.quai.ops.plugins.module_utils._probe_redis import endpoint, facts_of
from ansible_collections.quai.ops.plugins.module_utils._resp import (
    Argument,
    Client,
    NotResp,
    Refusal,
    Reply,
    encode,
    text,
)

# The first word of an error, and how it is called here.
REASONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("NOAUTH", "WRONGPASS", "NOPERM", "DENIED"), "auth"),
    "READONLY": "readonly",
    "LOADING": "loading",
    "MASTERDOWN": "loading",
    "BUSY": "busy",
    "UNKILLABLE": "busy",
    "OOM": "memory",
    "MISCONF": "disk",
    "NOREPLICAS": "readonly",
    "WRONGTYPE": "type",
    "CROSSSLOT": "slot",
    **dict.fromkeys(("CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN"), "cluster"),
}
# What to do about an error, by its first word.
_ADVICE: Final[Mapping[str, str]] = {
    "NOAUTH": "a password is needed: give password, and user when it is not the default one",
    "WRONGPASS": "check user and password",
    "NOPERM": "the rules of this user do not allow it; see ACL GETUSER",
    "DENIED": "the server is in protected mode: bind it to its network, or give it a password",
    "READONLY": "this is a replica; give the address of its master",
    "LOADING": "try again when it has read its data",
    "MASTERDOWN": "this replica has lost its master; give the address of a master",
    "BUSY": "a script runs that does not end; SCRIPT KILL ends it unless it has written",
    "OOM": "it has reached maxmemory and evicts nothing; make room or raise maxmemory",
    "MISCONF": "its last snapshot failed, and it refuses writes until one succeeds; look at its disk and its log",
    "NOREPLICAS": "fewer replicas follow it than min-replicas-to-write asks for",
    "WRONGTYPE": "something else has written this key; nothing of it was changed",
    "CROSSSLOT": "on a cluster, keys that belong together need a name with the same {tag}",
    "CLUSTERDOWN": "the cluster does not serve all its slots; see CLUSTER INFO",
    "MOVED": "this is a cluster, though cluster is said to be false",
    "TRYAGAIN": "this slot is moving to another node; try again when it has moved",
}
# The same for errors that have no word of their own.
_PHRASES: Final = (
    ("The user executing the script", "auth", _ADVICE["NOPERM"]),
    ("ACL failure in script", "auth", _ADVICE["NOPERM"]),
    ("max number of clients", "refused", "maxclients is reached; see CLIENT LIST"),
    ("DB index is out of range", "database", "it has fewer databases; see CONFIG GET databases"),
    ("SELECT is not allowed in cluster mode", "database", "a cluster has database 0 only"),
    ("without any password configured", "auth", "it has no password; leave password out"),
    ("no password is set", "auth", "it has no password; leave password out"),
    ("invalid password", "auth", "check the password"),
    ("wrong number of arguments for 'auth'", "auth", "it is older than Redis 6 and knows no users; leave user out"),
)
# What an address is not, and may still be meant to be.
_MAYBE_TLS: Final = "does it want TLS (tls: true, or rediss://)?"
SLOTS: Final = 16384
_REDIRECTIONS: Final = 5
_SHORTEST_SECRET: Final = 3


class RedisFailed(Exception):
    """Redis could not be asked, or refused. C(reason) is a value of REASONS, one of a probe's reasons, or other."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Script:
    """A Lua script and its digest."""

    __slots__ = ("digest", "name", "text")

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.text = source
        self.digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


# Tells which of some commands a user may not run. Redis 7 and later are asked; before, each is run in a form that
# changes nothing: on a key that is not there, with something for a value that is none. What adds to that key all the
# same is taken away again in the same script, so that nobody ever sees it.
#
# KEYS: 1 a key that is not there
# ARGV: names of commands
# Returns: those that are refused
_RIGHTS: Final = Script(
    "ask what this user may run",
    """
local nowhere = KEYS[1]
local without_key = {DBSIZE = {}, SCAN = {'0'}, TIME = {}}
local after_key = {
  EXISTS = {}, GET = {}, LLEN = {}, SCARD = {}, SMEMBERS = {}, TYPE = {}, XLEN = {}, ZCARD = {},
  HEXISTS = {'x'}, HGET = {'x'}, HMGET = {'x'}, LINDEX = {0}, LPOS = {'x'}, LRANGE = {0, 0}, MGET = {},
  SISMEMBER = {'x'}, ZCOUNT = {0, 0}, ZRANGE = {0, 0}, ZRANGEBYSCORE = {0, 0}, ZRANK = {'x'}, ZSCORE = {'x'},
  DEL = {}, HDEL = {'x'}, LREM = {1, 'x'}, LTRIM = {0, 0}, SREM = {'x'}, UNLINK = {}, XTRIM = {'MAXLEN', 0},
  ZREM = {'x'}, ZREMRANGEBYRANK = {0, 0}, LINSERT = {'BEFORE', 'x', 'x'}, LSET = {0, 'x'}, RENAME = {nowhere},
  PUBLISH = {''}, ZADD = {'XX', 0, 'x'}, HINCRBY = {'x', 'x'}, HSET = {'x', 'x', 'x'}, INCRBY = {'x'},
  SET = {'x', 'x'}, XADD = {'x', 'x', 'x'},
}
local adds = {LPUSH = {'x'}, RPUSH = {'x'}, SADD = {'x'}}
local function may(name)
  local rest = after_key[name] or adds[name]
  local command = rest and {name, nowhere, unpack(rest)} or {name, unpack(without_key[name])}
  if redis.acl_check_cmd then return redis.acl_check_cmd(unpack(command)) end
  local reply = redis.pcall(unpack(command))
  local said = type(reply) == 'table' and reply.err or ''
  for _, words in ipairs({'The user executing the script', 'ACL failure in script', 'NOPERM'}) do
    if string.find(said, words, 1, true) then return false end
  end
  return true
end
local refused, eraser = {}, 'none'
for _, name in ipairs(ARGV) do
  if adds[name] and eraser == 'none' and not redis.acl_check_cmd then
    eraser = may('UNLINK') and 'UNLINK' or may('DEL') and 'DEL'
    -- Without it the others cannot be tried; they are named when there is one.
    if not eraser then refused[#refused + 1] = 'UNLINK' end
  end
  if eraser or not adds[name] then
    if not may(name) then refused[#refused + 1] = name end
    if adds[name] and not redis.acl_check_cmd then redis.call(eraser, nowhere) end
  end
end
return refused
""",
)
# A key that is never there: what ends so is only asked about.
NOWHERE: Final = "quai:nowhere"


class Facts(NamedTuple):
    """What a server says of itself."""

    kind: str  # Redis or Valkey
    version: str
    role: str  # master or slave
    cluster: bool
    info: Mapping[str, str]  # everything that INFO says


class _Transport(Protocol):
    """What carries commands over a connection that is made."""

    def exchange(self, commands: Sequence[Sequence[Argument]]) -> list[Reply]:
        """Send commands together and return their replies."""


class Link:
    """One connection to one server. After a failure, the next command makes a new one."""

    def __init__(
        self,
        options: Mapping[str, Any],
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        server: Server | None = None,
    ) -> None:
        """Connect. C(timeout) is the time of the connection and of each round trip, in seconds."""
        self.round_trips = 0
        self.label = _label(options)
        self.host = str(options["host"])
        self.user = str(options["user"] or "default")
        self.database = int(options["database"])
        self._options = dict(options)
        self._server = server
        self._context = _Renewed(timeout, clock)
        self._loaded: set[str] = set()
        self._connection: Connection | None = None
        self._transport: _Transport | None = None
        self._login: list[tuple[Argument, ...]] = []
        self._answered = False  # on the connection that is open
        self._connect()

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection, self._transport = self._connection, None, None
        if connection is not None:
            connection.close()

    def ask(self, *commands: Sequence[Argument]) -> list[Reply]:
        """Send commands in one go and return their replies; an error among them is a Refusal. Raises RedisFailed.

        On a cluster, a command whose key has moved is sent again to where it is now.
        """
        replies = self._exchange(commands)
        if self._server is not None:
            for position, reply in enumerate(replies):
                if isinstance(reply, Refusal) and reply.code in ("MOVED", "ASK"):
                    replies[position] = self._server.follow(commands[position], reply)
        return replies

    def call(self, *command: Argument) -> Reply:
        """Send one command and return its reply. Raises RedisFailed, for an error reply as well."""
        return good(self.ask(command)[0], f"{self.label}: {_shown(command)}")

    def run(self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Reply:
        """Run a script by its digest; send its text when the server does not know it (any more). Raises RedisFailed."""
        rest = (len(keys), *keys, *arguments)
        what = f"{self.label}: {script.name}"
        if script.digest in self._loaded:
            (reply,) = self.ask(("EVALSHA", script.digest, *rest))
            if not (isinstance(reply, Refusal) and reply.code == "NOSCRIPT"):
                return good(reply, what + unnamed(script, reply))
        (reply,) = self.ask(("EVAL", script.text, *rest))
        good(reply, what + unnamed(script, reply))
        self._loaded.add(script.digest)
        return reply

    def facts(self) -> Facts:
        """Ask who answers."""
        return told(text(self.call("INFO")))

    def time_ms(self) -> int:
        """Ask what time it is there, in ms since 1970. Raises RedisFailed."""
        seconds, micros = self.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def asking(self, command: Sequence[Argument]) -> Reply:
        """Send a command for a slot that is just coming to this node."""
        return self._exchange((("ASKING",), command))[1]

    def only_here(self, command: Sequence[Argument]) -> Reply:
        """Send a command and return its reply, also when that says that the key is elsewhere."""
        return self._exchange((command,))[0]

    def _connect(self) -> None:
        self._context.renew()
        options = self._options
        self._login, self._answered = [], False
        if options["user"]:
            self._login.append(("AUTH", options["user"], options["password"]))
        elif options["password"]:
            self._login.append(("AUTH", options["password"]))
        if options["database"]:
            self._login.append(("SELECT", options["database"]))
        try:
            self._connection = dial(options, self._context)
            if options["tls"] and not options["socket"]:
                _start_tls(self._connection, options)
            self._transport = _transport(options.get("client") or "auto", self._connection, self._context.timeout)
        except (ProbeFailed, OwnFault, RedisFailed) as error:
            self.close()
            raise self._failed(error) from None
        except BaseException:
            self.close()
            raise

    def _exchange(self, commands: Sequence[Sequence[Argument]]) -> list[Reply]:
        if self._transport is None:
            self._connect()
        self._log_in()
        self.round_trips += 1
        return self._sent(commands)

    def _log_in(self) -> None:
        """Say who we are and choose the database: before anything else, which a server that refuses would do as well.

        What it does then, it does as another user or in another database.
        """
        login, self._login = self._login, []
        if not login:
            return
        for command, reply in zip(login, self._sent(login)):
            if isinstance(reply, Refusal):
                self.close()
                who = f" as {self._options['user']}" if command[0] == "AUTH" and self._options["user"] else ""
                reason, words = _explained(reply)
                if command[0] == "AUTH" and reason == "other":
                    reason = "auth"
                message = f"{self.label}: {command[0]!s}{who} is answered with {reply.text[:200]}{words}"
                raise RedisFailed(reason, self._without_secrets(message))

    def _sent(self, commands: Sequence[Sequence[Argument]]) -> list[Reply]:
        transport = self._transport
        self._context.renew()
        try:
            # Not None: _connect has just made it. A failure leaves replies on the way, so it ends the connection.
            replies = transport.exchange(commands) if transport is not None else []
        except (ProbeFailed, OwnFault) as error:
            self.close()
            raise self._failed(error) from None
        except NotResp as error:
            self.close()
            raise RedisFailed("proto", f"{self.label} {error}; is it the port of Redis?") from None
        except BaseException:
            self.close()
            raise
        self._answered = True
        return replies

    def _failed(self, error: Exception) -> RedisFailed:
        reason, message = getattr(error, "reason", "own"), str(error)
        tls = self._options["tls"]
        # With TLS 1.3, who has no certificate is refused when the first answer is awaited, and maybe without a word.
        silent = not self._answered and (reason == "reset" or "eof occurred" in message)
        if "certificate required" in message or (tls and silent and not self._options["cert_file"]):
            message += "; does the server ask for a certificate of the client (cert_file, key_file)?"
        elif "wrong version number" in message or "record layer failure" in message or message.endswith("(TLS)"):
            message += "; does it speak TLS at all (tls: false, or redis://)?"
        elif silent and not tls:
            message += f"; {_MAYBE_TLS}"
        return RedisFailed(reason, self._without_secrets(message))

    def _without_secrets(self, message: str) -> str:
        """A server that does not know AUTH quotes what it was given."""
        secret = self._options["password"]
        return message.replace(secret, "***") if len(secret) >= _SHORTEST_SECRET else message


class Server:
    """All masters behind one address: one without a cluster, or those of the cluster."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Connect, and learn who answers. C(options) are those of _redis_options.OPTIONS, or some of them.

        Raises RedisFailed.
        """
        self._options = place(options)
        self._timeout = float(self._options["timeout"])
        self._cluster = False
        self._links: dict[tuple[str, int], Link] = {}
        self._starts: list[int] = []
        self._ranges: list[tuple[int, int, tuple[str, int]]] = []
        wanted = str(self._options["cluster"]).lower()
        self._link = Link(self._options, self._timeout, server=None if wanted == "false" else self)
        try:
            self._begin(wanted)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def cluster(self) -> bool:
        """Whether it is a cluster."""
        return self._cluster

    @property
    def first(self) -> Link:
        """The connection to the address that was given, which may be a replica or hold no slot."""
        return self._link

    @property
    def round_trips(self) -> int:
        """Those of all connections."""
        return sum(link.round_trips for link in {id(one): one for one in (self._link, *self._links.values())}.values())

    def close(self) -> None:
        """Close every connection."""
        for link in (self._link, *self._links.values()):
            link.close()

    def at(self, key: str) -> Link:
        """Return the connection to the master that holds a key.

        A C(key) that ends in a colon stands for all keys that begin so, such as C(bull:mail:) of a queue. On a cluster
        they are in one place only when there is a {tag} in it, and RedisFailed says so when there is none.
        """
        if not self._cluster:
            return self._link
        if key.endswith(":") and hash_tag(key.encode("utf-8", "surrogateescape")) is None:
            raise RedisFailed("slot", _without_tag(key))
        return self._at_slot(key_slot(key))

    def nodes(self) -> list[Link]:
        """Return a connection to every master that holds a part of the keys."""
        if not self._cluster:
            return [self._link]
        return [self._node(address) for address in sorted({one[2] for one in self._ranges})]

    def writable(self) -> list[str]:
        """Make sure that every master takes writes; return what is worth a warning. Raises RedisFailed."""
        warnings = []
        for link in self.nodes():
            (reply,) = link.ask(("INFO",))
            if isinstance(reply, Refusal) and reply.code == "NOPERM":
                warnings.append(f"{link.label}: this user may not run INFO, so a replica is only seen when it refuses")
                continue
            info = facts_of(text(good(reply, f"{link.label}: INFO")))
            why = obstacle(info)
            if why is not None:
                raise RedisFailed(why[0], f"{link.label} {why[1]}")
            warnings += [f"{link.label} {one}" for one in doubts(info)]
        return warnings

    def follow(self, command: Sequence[Argument], answer: Refusal) -> Reply:
        """Send a command to where C(answer), MOVED or ASK, says that its key is. For Link only."""
        reply: Reply = answer
        for _time in range(_REDIRECTIONS):
            if not (isinstance(reply, Refusal) and reply.code in ("MOVED", "ASK")):
                return reply
            parts = reply.text.split(" ")
            host, colon, port = parts[2].rpartition(":") if len(parts) > 2 else ("", "", "")
            if not colon or not port.isdigit():
                return reply
            link = self._node((host or str(self._options["host"]), int(port)))
            if reply.code == "ASK":
                reply = link.asking(command)
            else:
                self._learn(link)
                reply = link.only_here(command)
        return reply

    def _begin(self, wanted: str) -> None:
        if wanted not in ("auto", "true", "false"):
            raise RedisFailed("own", f'cluster: "{wanted}" is none of auto, true and false')
        if wanted == "false":
            return
        (reply,) = self._link.ask(("INFO", "cluster"))
        if isinstance(reply, Refusal) and reply.code != "NOPERM":
            good(reply, f"{self._link.label}: INFO")
        enabled = facts_of(text(reply)).get("cluster_enabled") == "1"
        if wanted == "true" and not enabled and not isinstance(reply, Refusal):
            raise RedisFailed("cluster", f"{self._link.label} is no cluster, but cluster is said to be true")
        # A user who may not run INFO is told of a cluster by the first MOVED.
        if enabled or wanted == "true":
            self._learn(self._link)

    def _learn(self, link: Link) -> None:
        """Ask which master holds what."""
        slots, mine = link.only_here(("CLUSTER", "SLOTS")), link.only_here(("CLUSTER", "MYID"))
        ranges = []
        for part in good(slots, f"{link.label}: CLUSTER SLOTS"):
            start, end, master = int(part[0]), int(part[1]), part[2]
            # An empty address is the one that was asked.
            address = (text(master[0]) or link.host, int(master[1]))
            ranges.append((start, end, address))
            if link is self._link and len(master) > 2 and text(master[2]) == text(mine):
                self._links.setdefault(address, link)
        if not ranges:
            raise RedisFailed("cluster", f"{link.label}: no node of the cluster holds slots yet; see CLUSTER NODES")
        self._ranges = sorted(ranges)
        self._starts = [one[0] for one in self._ranges]
        self._cluster = True

    def _at_slot(self, slot: int) -> Link:
        position = bisect_right(self._starts, slot) - 1
        if position < 0 or self._ranges[position][1] < slot:
            raise RedisFailed("cluster", f"no master of the cluster holds slot {slot}; see CLUSTER SLOTS")
        return self._node(self._ranges[position][2])

    def _node(self, address: tuple[str, int]) -> Link:
        link = self._links.get(address)
        if link is None:
            options = {**self._options, "host": address[0], "port": address[1]}
            options.update(dict.fromkeys(("socket", "container", "connect_to"), ""), database=0)
            link = self._links[address] = Link(options, self._timeout, server=self)
        return link


# What a connection needs to know, with the defaults.
DEFAULTS: Final[Mapping[str, Any]] = {
    "url": "",
    "host": "127.0.0.1",
    "port": 6379,
    "socket": "",
    "database": 0,
    "user": "",
    "password": "",
    "tls": False,
    "verify": True,
    "ca_file": "",
    "cert_file": "",
    "key_file": "",
    "sni": "",
    "container": "",
    "docker": "",
    "connect_to": "",
    "ip_family": "any",
    "timeout": 10.0,
    "cluster": "auto",
    "client": "auto",
}


def place(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a connection with the parts of its url in their own options. Raises RedisFailed.

    What the url does not say comes from the other options: user, password and tls.
    """
    given = {**DEFAULTS, **{name: value for name, value in options.items() if value is not None}}
    unknown = sorted(set(options) - set(DEFAULTS))
    if unknown:
        raise RedisFailed("own", f"a connection has no option {', '.join(unknown)}")
    if float(given["timeout"]) <= 0:
        raise RedisFailed("own", f"timeout: {given['timeout']} is no time in seconds above 0")
    try:
        found = endpoint(given)
    except OwnFault as error:
        raise RedisFailed("own", str(error)) from None
    if given["url"]:
        if not (found["user"] or found["password"]):
            found.update(user=given["user"], password=given["password"])
        elif not found["password"]:
            found["password"] = given["password"]
        found["tls"] = found["tls"] or (bool(given["tls"]) and not found["socket"])
    for name, least, most in (("port", 1, 65_535), ("database", 0, 2**31 - 1)):
        value = found[name]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise RedisFailed("own", f"{name}: {value!r} is no whole number from {least} to {most}")
    return found


class _Renewed(Context):
    """A time limit that begins again with each round trip."""

    __slots__ = ()

    def renew(self) -> None:
        """Begin again."""
        self._end = self.clock() + self.timeout

    def __init__(self, timeout: float, clock: Callable[[], float]) -> None:
        super().__init__(timeout, clock=clock)


class _Stream:
    """Reads a connection without moving what is left in its buffer with every line."""

    __slots__ = ("_at", "_buffer", "_connection")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = b""
        self._at = 0

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self._connection.send(data)

    def _more(self) -> None:
        data = self._connection.recv_some()
        if not data:
            raise ProbeFailed("reset", f"{self._connection.label} closed the connection in the middle of an answer")
        self._buffer = self._buffer[self._at :] + data
        self._at = 0

    def recv_line(self, limit: int = 65536) -> bytes:
        """Return a line without its end."""
        while True:
            end = self._buffer.find(b"\r\n", self._at)
            if end >= 0:
                line = self._buffer[self._at : end]
                self._at = end + 2
                return line
            if len(self._buffer) - self._at > limit:
                raise NotResp(f"sends a line of more than {limit} bytes")
            self._more()

    def recv_exactly(self, size: int) -> bytes:
        """Return that many bytes."""
        have = len(self._buffer) - self._at
        if have < size:
            rest = self._connection.recv_exactly(size - have)
            data = self._buffer[self._at :] + rest
            self._buffer, self._at = b"", 0
            return data
        data = self._buffer[self._at : self._at + size]
        self._at += size
        return data


class _BuiltIn:
    """The client of C(_resp)."""

    __slots__ = ("_client",)

    def __init__(self, connection: Connection) -> None:
        self._client = Client(_Stream(connection))

    def exchange(self, commands: Sequence[Sequence[Argument]]) -> list[Reply]:
        """Send commands together and return their replies."""
        return self._client.ask(commands)


# Commands that answer with a simple string, which is text here; redis-py does not tell it from a bulk string.
_SIMPLE: Final = frozenset(
    (
        *("ASKING", "AUTH", "FLUSHALL", "FLUSHDB", "HMSET", "LSET", "LTRIM", "MSET", "MULTI", "PING", "PSETEX"),
        *("RENAME", "RESTORE", "SELECT", "SET", "SETEX", "TYPE"),
    )
)


class _RedisPy:
    """Packing and parsing by redis-py, and by hiredis where that is installed, over a connection of ours.

    It gets a socket that is connected and in TLS already, and logs in with commands as the other one does. So all that
    differs between its versions (defaults of TLS, retries, protocol, time limits) does not matter here.
    """

    __slots__ = ("_connection", "_errors", "_label", "_redis", "_timeout")

    def __init__(self, connection: Connection, timeout: float) -> None:
        """Raises ImportError, AttributeError or TypeError when redis-py is not there, or not as it is known."""
        from importlib import import_module

        redis: Any = import_module("redis")
        parts: Any = import_module("redis.connection")
        # An error keeps all of its text: redis-py itself drops the first word of those that it knows.
        answered = type("Answered", (redis.ResponseError,), {})

        def parse_error(_class: type, said: Any) -> Any:
            return answered(said if isinstance(said, str) else said.decode("utf-8", "replace"))

        parser = type("Parser", (parts.DefaultParser,), {"parse_error": classmethod(parse_error)})
        carried = connection._socket
        carrier = type("Carrier", (parts.Connection,), {"_connect": lambda _self: carried})
        self._errors = redis
        self._label, self._timeout = connection.label, timeout
        self._connection = connection
        carried.settimeout(timeout)
        self._redis = _first_that_fits(
            lambda **more: carrier(socket_timeout=timeout, socket_connect_timeout=timeout, parser_class=parser, **more),
            # From the newest to the oldest version: what keeps it from saying anything of its own on a connection.
            (
                {"protocol": 2, "driver_info": None},
                {"protocol": 2, "lib_name": None, "lib_version": None},
                {"protocol": 2},
                {},
            ),
        )
        self._redis.connect()

    def exchange(self, commands: Sequence[Sequence[Argument]]) -> list[Reply]:
        """Send commands together and return their replies."""
        errors = self._errors
        replies = []
        try:
            self._connection.send(b"".join(encode(command) for command in commands))
            for command in commands:
                try:
                    reply = _plain(self._redis.read_response())
                    if isinstance(reply, bytes) and str(command[0]).upper() in _SIMPLE:
                        reply = reply.decode("utf-8", "replace")
                    replies.append(reply)
                except errors.ResponseError as error:
                    replies.append(Refusal(str(error)))
        except errors.InvalidResponse as error:
            raise NotResp(f"answers {str(error)[:60]!r}, which is not the protocol of Redis") from None
        except errors.TimeoutError:
            raise ProbeFailed("timeout", f"{self._label}: no answer within {self._timeout:g} s (receive)") from None
        except (errors.ConnectionError, OSError) as error:
            if "ssl" in type(error.__cause__ or error).__module__:
                raise ProbeFailed("tls_other", f"{self._label}: {error}") from None
            raise ProbeFailed("reset", f"{self._label} closed the connection in the middle of an answer") from None
        return replies


def _first_that_fits(make: Callable[..., Any], choices: Sequence[Mapping[str, Any]]) -> Any:
    for choice in choices[:-1]:
        try:
            return make(**choice)
        except TypeError:
            continue
    return make(**choices[-1])


def _plain(reply: Any) -> Reply:
    """A reply of redis-py as _resp has it: an error within a list is a value there as well."""
    if isinstance(reply, list):
        return [_plain(one) for one in reply]
    return Refusal(str(reply)) if isinstance(reply, Exception) else reply


def _transport(client: str, connection: Connection, timeout: float) -> _Transport:
    if client == "builtin":
        return _BuiltIn(connection)
    if client not in ("auto", "redis-py"):
        raise RedisFailed("own", f'client: "{client}" is none of auto, redis-py and builtin')
    if client == "auto":
        return _BuiltIn(connection)
    try:
        return _RedisPy(connection, timeout)
    except ImportError:
        raise RedisFailed("own", "client: redis-py is not installed for this Python; use auto or builtin") from None
    except (AttributeError, TypeError) as error:
        raise RedisFailed("own", f"client: this version of redis-py cannot be used ({error}); use builtin") from None


def _start_tls(connection: Connection, options: Mapping[str, Any]) -> None:
    name = options["sni"] or options["host"]
    if not options["cert_file"]:
        connection.start_tls(options, name)
        return
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    option = "ca_file"
    try:
        if not options["verify"]:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif options["ca_file"]:
            context.load_verify_locations(cafile=options["ca_file"])
        else:
            context.load_default_certs()
        option = "cert_file"
        # An empty password: without one, OpenSSL asks for that of an encrypted key on the terminal.
        context.load_cert_chain(options["cert_file"], options["key_file"] or None, password="")
    except (OSError, ssl.SSLError) as error:
        raise OwnFault(f"{option}: {options[option]} cannot be used: {error}") from None
    try:
        connection.wrap(context, name)
    except ssl.SSLCertVerificationError as error:
        words = error.verify_message or str(error)
        raise ProbeFailed("tls_chain", f"the certificate of {name} is not accepted: {words}") from None


def told(info: str) -> Facts:
    """The facts in what INFO says."""
    found = facts_of(info)
    return Facts(
        "Valkey" if "valkey_version" in found else "Redis",
        found.get("valkey_version") or found.get("redis_version") or "",
        found.get("role", ""),
        found.get("cluster_enabled") == "1",
        found,
    )


def obstacle(info: Mapping[str, str]) -> tuple[str, str] | None:
    """Why a server takes no writes, as a reason and the end of a sentence; None when nothing speaks against it."""
    if info.get("loading") == "1":
        left = info.get("loading_eta_seconds", "")
        soon = f", for about {left} s" if left.isdigit() else ""
        return "loading", f"still reads its data{soon}; {_ADVICE['LOADING']}"
    if info.get("role") == "slave":
        master = f"{info.get('master_host', '')}:{info.get('master_port', '')}".strip(":")
        return "readonly", f"is a replica; give the address of its master{f', {master}' if master else ''}"
    return None


def doubts(info: Mapping[str, str]) -> list[str]:
    """What is worth a warning before data is changed, each the end of a sentence."""
    found = []
    policy = info.get("maxmemory_policy", "")
    used, most = info.get("used_memory", ""), info.get("maxmemory", "")
    limited = most.isdigit() and int(most) > 0
    if policy not in ("", "noeviction") and limited:
        found.append(
            f"may evict keys of queues and sessions when it is full (maxmemory-policy {policy}); queues need noeviction"
        )
    if limited and used.isdigit() and int(used) >= int(most) and policy == "noeviction":
        found.append("has reached maxmemory: it takes no new data, though keys can still be removed")
    if info.get("rdb_last_bgsave_status") == "err":
        found.append("could not write its last snapshot, and may refuse writes (MISCONF)")
    return found


def hash_tag(key: bytes) -> bytes | None:
    """The part of a key that decides its slot, when it is not all of it: that between the first { and the next }."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1) if start >= 0 else -1
    return key[start + 1 : end] if end > start + 1 else None


def key_slot(key: str | bytes) -> int:
    """The slot of a key, as CLUSTER KEYSLOT says."""
    data = key if isinstance(key, bytes) else key.encode("utf-8", "surrogateescape")
    return binascii.crc_hqx(hash_tag(data) or data, 0) % SLOTS


def good(reply: Reply, what: str) -> Reply:
    """The reply, when it is no error. Raises RedisFailed."""
    if isinstance(reply, Refusal):
        reason, words = _explained(reply)
        raise RedisFailed(reason, f"{what} is answered with {reply.text[:300]}{words}")
    return reply


def allowed(link: Link, base: str, commands: Iterable[str], what: str) -> None:
    """Return when the user of a connection may run all commands on keys that begin with C(base).

    Scripts ask before their first write: one that is stopped half way leaves half of its work. C(what) needs them, for
    the message. Raises RedisFailed.
    """
    missing = refused(link, base, commands)
    if missing:
        grant = " ".join(f"+{name.lower()}" for name in missing)
        where = f"~{base}*" + (f" and &{base}*" if "PUBLISH" in missing else "")
        raise RedisFailed(
            "auth",
            f"{link.label}: user {link.user} may not run {', '.join(missing)} on {base}*, which {what} needs; nothing"
            f" there was changed. Its rules have to grant {grant} on {where} (ACL GETUSER {link.user} shows them)",
        )


def refused(link: Link, base: str, commands: Iterable[str]) -> list[str]:
    """Which of some commands a user may not run on keys that begin with C(base), EVALSHA and EVAL among them.

    C(commands) are those that _RIGHTS knows. Raises RedisFailed.
    """
    rest: list[Argument] = [1, f"{base}{NOWHERE}", *dict.fromkeys(commands)]
    # By its digest even when nothing is known of it: a user may have the right to EVAL only.
    reply: Reply = None
    for command in (("EVALSHA", _RIGHTS.digest), ("EVAL", _RIGHTS.text)):
        (reply,) = link.ask((*command, *rest))
        if isinstance(reply, Refusal) and reply.code == "NOPERM":
            return [command[0]]
        if not (isinstance(reply, Refusal) and reply.code == "NOSCRIPT"):
            break
    # UNLINK may be asked for, and be what the others cannot be tried without.
    return list(dict.fromkeys(text(one) for one in good(reply, f"{link.label}: {_RIGHTS.name}")))


def unnamed(script: Script, reply: Reply) -> str:
    """The commands in the line of a script that a user may not run, where the answer does not name any."""
    # Up to Redis 7.0 it says no more than where the script stopped.
    if not isinstance(reply, Refusal) or "can't run this command" not in reply.text:
        return ""
    where = re.search(r"@user_script: ?([0-9]+)", reply.text)
    line = script.text.splitlines()[int(where.group(1)) - 1 :][:1] if where else []
    names = dict.fromkeys(name for found in line for name in re.findall(r"call\(\s*'([A-Za-z]+)'", found))
    return f", which needs {' and '.join(names) or 'a command that this user may not run'},"


def _explained(reply: Refusal) -> tuple[str, str]:
    """How an error is called here, and what to do about it, beginning with a semicolon; empty when unknown."""
    code = reply.code
    if code not in REASONS and "script" in reply.text:
        # Before Redis 7, an error within a script stands behind where it happened.
        inner = re.search(rf"\b({'|'.join(REASONS)})\b", reply.text)
        code = inner.group(1) if inner else code
    if code in REASONS:
        advice = _ADVICE.get(code, "")
        return REASONS[code], f"; {advice}" if advice else ""
    for phrase, reason, advice in _PHRASES:
        if phrase.lower() in reply.text.lower():
            return reason, f"; {advice}"
    return "other", ""


def _shown(command: Iterable[Argument]) -> str:
    """The first word of a command; arguments may be secret."""
    return str(next(iter(command)))


def _label(options: Mapping[str, Any]) -> str:
    """Where a connection goes, for messages."""
    if options.get("socket") or options.get("connect_to"):
        return str(options["socket"] or options["connect_to"])
    host = options.get("container") or options["host"]
    return f"[{host}]:{options['port']}" if ":" in host else f"{host}:{options['port']}"


def _without_tag(base: str) -> str:
    prefix, _colon, rest = base.rstrip(":").partition(":")
    return (
        f"the keys {base}* are spread over the nodes of this cluster, because there is no {{tag}} in the name, and no"
        f" version of Bull or BullMQ can work so; the queue needs a prefix such as {{{prefix}}}"
        f"{f' (now {prefix}) or a name such as {{{rest}}}' if rest else ''}"
    )


__all__ = [
    "DEFAULTS",
    "NOWHERE",
    "REASONS",
    "SLOTS",
    "Facts",
    "Link",
    "RedisFailed",
    "Script",
    "Server",
    "allowed",
    "doubts",
    "good",
    "hash_tag",
    "key_slot",
    "obstacle",
    "place",
    "refused",
    "told",
    "unnamed",
]
