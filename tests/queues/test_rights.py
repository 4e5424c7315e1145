# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user may run is known before anything is written, whether Redis can tell or not.

Up to Redis 6 a script cannot ask. There, every command is run so that it changes nothing; these tests have it so on any
version, by taking away what newer ones can tell with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from ansible_collections.quai.ops.plugins.module_utils import (
    _queue_clean,
    _queue_fast,
    _queue_lua,
    _queue_repair,
    _queue_retry,
    _queue_rules,
    _queue_state,
    _redis_link,
)
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import STATES, Flavour
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, RedisFailed, Script, Server

from tests.queues import snapshot
from tests.queues.place import Database

BASE = "bull:mail:"
_TABLES = re.findall(r"^local (?:without_key|after_key|adds) = \{(.*?)\}$", _redis_link._RIGHTS.text, re.M | re.S)
COMMANDS = sorted({name for table in _TABLES for name in re.findall(r"\b([A-Z]+) = \{", table)})
FLAVOURS = [
    *(Flavour("bull", major, f"{major}.0.0", "the test's") for major in (3, 4)),
    *(Flavour("bullmq", major, f"{major}.9.0", "the test's") for major in (1, 2, 3, 4, 5, 6)),
]


@pytest.fixture(params=["asked", "tried"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How Redis is asked: as from 7 on, or as before."""
    if request.param == "tried":
        script = _redis_link._RIGHTS
        told = script.text.replace("redis.acl_check_cmd", "redis.not_there")
        assert told != script.text
        monkeypatch.setattr(_redis_link, "_RIGHTS", Script(f"{script.name} before Redis 7", told))
    return str(request.param)


class Clerk:
    """A user whose rights change."""

    def __init__(self, redis: Database) -> None:
        self.redis = redis

    def may(self, *rules: str) -> None:
        """Have exactly these rights."""
        self.redis.link.call("ACL", "SETUSER", "clerk", "reset", "on", ">word", *rules)

    def link(self) -> Link:
        """A connection."""
        return Server({**self.redis.options, "user": "clerk", "password": "word"}).first


@pytest.fixture
def clerk(redis: Database) -> Iterator[Clerk]:
    yield Clerk(redis)
    redis.link.call("ACL", "DELUSER", "clerk")


def test_every_command_is_known() -> None:
    """Whatever the modules ask for, and nothing else."""
    wanted = set(_queue_fast.COMMANDS)
    for flavour in FLAVOURS:
        wanted |= set(_queue_retry.needed(flavour, dry=False))
        for parents in ("protect", "upstream"):
            policy = _queue_rules.Policy(parents=parents, orphans="remove", ghosts="remove", events_maxlen=1)
            wanted |= set(_queue_clean.needed(flavour, STATES, policy, dry=False))
    for module, names in ((_queue_state, ("READS", "WRITES")), (_queue_repair, ("_READS", "_WRITES"))):
        for name in names:
            for one in (name, f"{name}_BULL", f"{name}_BULLMQ"):
                wanted |= set(getattr(module, one, ()))
    assert sorted(wanted | {"UNLINK", "DBSIZE"}) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_one_command_is_missing(redis: Database, clerk: Clerk, way: str, command: str) -> None:
    """It is named, the others are not, and nothing is written by asking."""
    redis.link.call("HSET", f"{BASE}1", "name", "send")
    before = snapshot.take(redis.link)
    clerk.may(f"~{BASE}*", f"&{BASE}*", "+@all", f"-{command}")
    found = _redis_link.refused(clerk.link(), BASE, COMMANDS)
    assert found == [command]
    assert snapshot.take(redis.link) == before
    clerk.may(f"~{BASE}*", f"&{BASE}*", "+@all")
    assert _redis_link.refused(clerk.link(), BASE, COMMANDS) == []
    assert snapshot.take(redis.link) == before


@pytest.mark.parametrize("command", ["RPUSH", "LPUSH", "SADD"])
def test_who_may_not_remove_what_is_tried(redis: Database, clerk: Clerk, way: str, command: str) -> None:
    """What adds is tried only where it can be taken away again; that right is then what is asked for."""
    clerk.may("~*", "&*", "+@all", "-unlink")
    assert _redis_link.refused(clerk.link(), BASE, [command]) == []
    clerk.may("~*", "&*", "+@all", "-unlink", "-del", f"-{command}")
    assert _redis_link.refused(clerk.link(), BASE, ["TYPE", command]) == [command if way == "asked" else "UNLINK"]
    assert redis.link.call("DBSIZE") == 0


@pytest.mark.parametrize("command", ["EVAL", "EVALSHA"])
def test_scripts_are_missing(redis: Database, clerk: Clerk, way: str, command: str) -> None:
    redis.link.call("SCRIPT", "FLUSH")
    clerk.may("~*", "&*", "+@all", f"-{command}")
    assert _redis_link.refused(clerk.link(), BASE, ["TYPE"]) == [command]


def granted(message: str) -> list[str]:
    """The rules that a message asks for."""
    return re.findall(r"[+~&]\S+", message[message.index("have to grant") :])


def test_message(clerk: Clerk, way: str) -> None:
    """Who, what, and what has to be granted."""
    rules = [f"~{BASE}*", f"&{BASE}*", "+@all", "-rpush", "-publish"]
    clerk.may(*rules)
    with pytest.raises(RedisFailed) as caught:
        _redis_link.allowed(clerk.link(), BASE, ["TYPE", "RPUSH", "PUBLISH"], "a retry")
    assert caught.value.reason == "auth"
    assert "user clerk may not run RPUSH, PUBLISH on bull:mail:*, which a retry needs" in caught.value.message
    assert granted(caught.value.message) == ["+rpush", "+publish", f"~{BASE}*", f"&{BASE}*"]
    clerk.may(*rules, "+rpush", "+publish")
    _redis_link.allowed(clerk.link(), BASE, ["TYPE", "RPUSH", "PUBLISH"], "a retry")


def test_other_keys(clerk: Clerk, way: str) -> None:
    """What is asked for is enough."""
    clerk.may("~bull:other:*", "+@all")
    with pytest.raises(RedisFailed, match=r"user clerk may not run \w+ on bull:mail:\*") as caught:
        _redis_link.allowed(clerk.link(), BASE, ["TYPE", "RPUSH"], "a retry")
    clerk.may("~bull:other:*", "+@all", *granted(caught.value.message))
    _redis_link.allowed(clerk.link(), BASE, ["TYPE", "RPUSH"], "a retry")


def test_the_default_user(redis: Database, way: str) -> None:
    redis.link.call("ACL", "SETUSER", "default", "-rpush")
    try:
        with pytest.raises(RedisFailed, match="user default may not run RPUSH on"):
            _redis_link.allowed(redis.link, BASE, ["TYPE", "RPUSH"], "a retry")
    finally:
        redis.link.call("ACL", "SETUSER", "default", "+@all")


def test_out_of_memory(redis: Database, clerk: Clerk, way: str) -> None:
    """A full memory is no missing right."""
    redis.link.call("CONFIG", "SET", "maxmemory", "1")
    try:
        clerk.may("~*", "&*", "+@all", "-lpush")
        assert _redis_link.refused(clerk.link(), BASE, COMMANDS) == ["LPUSH"]
    finally:
        redis.link.call("CONFIG", "SET", "maxmemory", "0")
    assert redis.link.call("DBSIZE") == 0


def test_what_is_not_known_is_a_mistake(redis: Database, way: str) -> None:
    with pytest.raises(RedisFailed):
        _redis_link.refused(redis.link, BASE, ["FLUSHALL"])


SCRIPTS = {
    "clean": (_queue_lua.CLEAN, _queue_lua.GHOSTS, _queue_lua.ORPHANS, _queue_lua.FORESEE),
    "fast": (_queue_fast.PAGE, _queue_fast.SPECIAL, _queue_fast.SWEEP, _queue_fast.TAIL, _queue_lua.WHOLE),
    "retry": (_queue_retry.PAGE,),
    "state": (_queue_state.STEP,),
    "repair": (_queue_repair._PAUSED_LIST, _queue_repair._STALLED, _queue_repair._PARENTS, _queue_repair._WAKE),
}
# Tried as they are, with another way where they are refused.
OPTIONAL = {"SORT", "SORT_RO"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_scripts_run_is_asked_for(name: str) -> None:
    """Every command in the text of a script is among those that are asked for before it runs."""
    policy = _queue_rules.Policy(parents="upstream", orphans="remove", ghosts="remove", events_maxlen=1)
    asked: set[str] = set()
    for flavour in FLAVOURS:
        if name in ("clean", "fast"):
            asked |= set(_queue_clean.needed(flavour, STATES, policy, dry=False))
        elif name == "retry":
            asked |= set(_queue_retry.needed(flavour, dry=False))
    if name == "fast":
        asked |= set(_queue_fast.COMMANDS)
    for module, chosen, start in ((_queue_state, "state", ""), (_queue_repair, "repair", "_")):
        for each in ("READS", "READS_BULL", "READS_BULLMQ", "WRITES", "WRITES_BULL", "WRITES_BULLMQ"):
            asked |= set(getattr(module, start + each, ())) if name == chosen else set()
    for script in SCRIPTS[name]:
        told = re.findall(r"call\('([A-Z_]+)'", script.text)
        assert told
        assert set(told) - OPTIONAL <= asked, script.name
