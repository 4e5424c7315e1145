# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis and Valkey: login, PING and INFO in one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ansible_collections.quai.ops.plugins.module_utils._probe_address import split_address
from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed, Spec
from ansible_collections.quai.ops.plugins.module_utils._probe_net import Connection, dial
from ansible_collections.quai.ops.plugins.module_utils._resp import Argument, Client, NotResp, Refusal, Reply, text

PORT: Final = 6379
# Replies that say who is asking is the trouble. ERR is so only in answer to AUTH: old servers have no better word.
_LOGIN_CODES: Final = frozenset({"NOAUTH", "WRONGPASS", "NOPERM", "DENIED"})


def endpoint(spec: Spec) -> dict[str, Any]:
    """The spec with the parts of its url in their own options. Raises OwnFault."""
    if not spec["url"]:
        return dict(spec)
    address = split_address(spec["url"], ("redis", "rediss", "unix"))
    found = {**spec, "url": "", "user": address.user, "password": address.password}
    if address.scheme.partition("+")[0] == "unix":
        if not address.path:
            raise OwnFault("url: unix:// needs the path of a socket, as in unix:///run/redis/redis.sock")
        database = address.options.get("db", "0")
        found.update(socket=f"/{address.path}", tls=False)
    else:
        database = address.path or address.options.get("db", "") or "0"
        tls = address.scheme.startswith("rediss")
        found.update(host=address.host or "127.0.0.1", port=address.port or PORT, socket="", tls=tls)
    if not database.isdigit():
        raise OwnFault(f'url: the database is "{database[:20]}", but Redis has numbers')
    found["database"] = int(database)
    return found


class Session:
    """A connection that logs in with the first commands it sends. Use it in a C(with) statement."""

    def __init__(self, spec: Spec, context: Context) -> None:
        """Connect as C(spec) says (see C(endpoint)). Raises ProbeFailed and OwnFault."""
        self._login: list[tuple[Argument, ...]] = []
        if spec["user"]:
            self._login.append(("AUTH", spec["user"], spec["password"]))
        elif spec["password"]:
            self._login.append(("AUTH", spec["password"]))
        if spec["database"]:
            self._login.append(("SELECT", spec["database"]))
        self._connection: Connection = dial(spec, context)
        try:
            if spec["tls"] and not spec["socket"]:
                self._connection.start_tls(spec, spec["host"])
        except BaseException:
            self._connection.close()
            raise
        self._client = Client(self._connection)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._connection.close()

    def ask(self, *commands: Sequence[Argument]) -> list[Reply]:
        """Send commands in one go and return their replies. Raises ProbeFailed when the login is refused."""
        login, self._login = self._login, []
        try:
            replies = self._client.ask([*login, *commands])
        except NotResp as error:
            raise ProbeFailed("proto", f"{self._connection.label} {error}") from None
        for command, reply in zip(login, replies):
            if isinstance(reply, Refusal):
                reason = "auth" if command[0] == "AUTH" or reply.code in _LOGIN_CODES else "proto"
                raise ProbeFailed(reason, f"{command[0]!s} is answered with {reply.text[:200]}")
        return replies[len(login) :]


def required(command: str, reply: Reply) -> Reply:
    """The reply, when it is no error. Raises ProbeFailed."""
    if isinstance(reply, Refusal):
        reason = "auth" if reply.code in _LOGIN_CODES else "proto"
        raise ProbeFailed(reason, f"{command} is answered with {reply.text[:200]}")
    return reply


def facts_of(info: str) -> dict[str, str]:
    """What INFO says, by name."""
    facts = {}
    for line in info.splitlines():
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            facts[name] = value
    return facts


def fields_of(facts: Mapping[str, str]) -> dict[str, Any]:
    """The fields that INFO knows; None for what it does not say."""

    def number(name: str) -> int | None:
        value = facts.get(name, "")
        return int(value) if value.isdigit() else None

    def flag(name: str, good: str) -> bool | None:
        return facts[name] == good if name in facts else None

    used, most = number("used_memory"), number("maxmemory")
    saved = flag("rdb_last_bgsave_status", "ok")
    if facts.get("aof_enabled") == "1" and saved:
        saved = (
            flag("aof_last_write_status", "ok") is not False and flag("aof_last_bgrewrite_status", "ok") is not False
        )
    return {
        "role": facts.get("role"),
        "master_link": facts.get("master_link_status"),
        "loading": flag("loading", "1"),
        "memory_bytes": used,
        "memory_pct": 100.0 * used / most if used is not None and most else None,
        "clients": number("connected_clients"),
        "evicted": number("evicted_keys"),
        "rejected": number("rejected_connections"),
        "last_save_ok": saved,
        # Valkey also gives the version of the Redis it is compatible with.
        "version": facts.get("valkey_version") or facts.get("redis_version"),
    }


def check(spec: Spec, context: Context) -> None:
    """Ask the server. What INFO would say is unknown to a user who may not run it."""
    found = context.found
    with Session(endpoint(spec), context) as session:
        ping, info = session.ask(("PING",), ("INFO",))
    facts = {} if isinstance(info, Refusal) else facts_of(text(info))
    found.fields.update(fields_of(facts))
    if isinstance(ping, Refusal):
        if ping.code in _LOGIN_CODES:
            required("PING", ping)
        # Loading, a script that does not end, a replica without its master: the first word says which.
        found.fields["ping"] = ping.code
        found.fields["loading"] = found.fields["loading"] or ping.code == "LOADING"
        if ping.code == "ERR":
            required("PING", ping)
    else:
        found.fields["ping"] = text(ping)
        # A server that still loads its data does not answer PING with PONG.
        found.fields["loading"] = False
    if found.fields["version"]:
        found.details["version"] = found.fields["version"]
    if facts.get("uptime_in_seconds", "").isdigit():
        found.details["started_at"] = round(context.now) - int(facts["uptime_in_seconds"])
    kind = "Valkey" if "valkey_version" in facts else "Redis"
    found.message = " ".join(filter(None, (kind, found.fields["version"], found.fields["role"]))) + " answers PING"


__all__ = ["Session", "check", "endpoint", "facts_of", "fields_of", "required"]
