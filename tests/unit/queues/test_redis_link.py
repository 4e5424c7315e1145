# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a connection knows without a server: addresses, slots, what INFO means, and the options of modules."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.quai.ops.plugins.doc_fragments.redis import ModuleDocFragment
from ansible_collections.quai.ops.plugins.module_utils import _redis_options
from ansible_collections.quai.ops.plugins.module_utils._redis_link import (
    DEFAULTS,
    RedisFailed,
    Script,
    doubts,
    good,
    hash_tag,
    key_slot,
    obstacle,
    place,
    told,
    unnamed,
)
from ansible_collections.quai.ops.plugins.module_utils._resp import Refusal


@pytest.mark.parametrize(
    ("key", "tag"),
    [
        ("a", None),
        ("{a}b", b"a"),
        ("x{a}b{c}", b"a"),
        ("{}a", None),
        ("{}{a}", None),
        ("{a", None),
        ("a}{", None),
        ("{{a}}", b"{a"),
        ("}{a}", b"a"),
    ],
)
def test_tag(key: str, tag: bytes | None) -> None:
    assert hash_tag(key.encode()) == tag
    assert key_slot(key) == key_slot(tag or key.encode())


def test_slot() -> None:
    # The check value of CRC-16/XMODEM.
    assert key_slot("123456789") == 0x31C3


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, {"host": "127.0.0.1", "port": 6379, "database": 0, "tls": False, "user": "", "password": ""}),
        ({"host": "a", "port": None}, {"host": "a", "port": 6379}),
        ({"url": "redis://b:7/3"}, {"host": "b", "port": 7, "database": 3, "tls": False}),
        ({"url": "rediss://u:p%40@b"}, {"host": "b", "port": 6379, "tls": True, "user": "u", "password": "p@"}),
        ({"url": "redis://b", "user": "u", "password": "p"}, {"user": "u", "password": "p"}),
        ({"url": "redis://u@b", "user": "x", "password": "p"}, {"user": "u", "password": "p"}),
        ({"url": "redis://:q@b", "user": "u", "password": "p"}, {"user": "", "password": "q"}),
        ({"url": "redis://b", "tls": True}, {"tls": True}),
        ({"url": "unix:///run/r.sock?db=2", "tls": True}, {"socket": "/run/r.sock", "database": 2, "tls": False}),
    ],
)
def test_place(given: dict[str, Any], found: dict[str, Any]) -> None:
    placed = place(given)
    assert {name: placed[name] for name in found} == found


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "http://u:topsecret@b"}, "url: it begins with http://"),
        ({"url": "redis://u:topsecret@b/x"}, 'url: the database is "x"'),
        ({"url": "redis://u:topsecret@b:0"}, "url: its port is no number"),
        ({"timeout": 0}, "timeout: 0 is no time"),
        ({"hots": "a"}, "a connection has no option hots"),
    ],
)
def test_place_refuses(given: dict[str, Any], words: str) -> None:
    with pytest.raises(RedisFailed) as caught:
        place(given)
    assert caught.value.reason == "own" and words in str(caught.value) and "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({"role": "master", "loading": "0"}, None),
        ({}, None),
        ({"role": "slave", "master_host": "m", "master_port": "1"}, "readonly"),
        ({"role": "slave", "loading": "1"}, "loading"),
    ],
)
def test_obstacle(info: dict[str, str], reason: str | None) -> None:
    found = obstacle(info)
    assert (found and found[0]) == reason
    if reason == "readonly":
        assert found is not None and found[1] == "is a replica; give the address of its master, m:1"


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"maxmemory": "0", "maxmemory_policy": "allkeys-lru"}, []),
        ({"maxmemory": "9", "used_memory": "1", "maxmemory_policy": "noeviction"}, []),
        ({"maxmemory": "9", "used_memory": "1", "maxmemory_policy": "volatile-lru"}, ["queues need noeviction"]),
        ({"maxmemory": "9", "used_memory": "9", "maxmemory_policy": "noeviction"}, ["has reached maxmemory"]),
        ({"rdb_last_bgsave_status": "err"}, ["MISCONF"]),
    ],
)
def test_doubts(info: dict[str, str], words: list[str]) -> None:
    found = doubts(info)
    assert len(found) == len(words)
    assert all(part in one for part, one in zip(words, found, strict=True))


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        ("READONLY You can't write against a read only replica.", "readonly", "its master"),
        # As Redis 6 words what happens within a script.
        (
            "ERR Error running script (call to f_1): @user_script:1: WRONGTYPE Operation against",
            "type",
            "nothing of it",
        ),
        ("ERR max number of clients reached", "refused", "maxclients"),
        ("ERR syntax error", "other", ""),
        ("WRONGTYPE Operation", "type", ""),
    ],
)
def test_good(answer: str, reason: str, words: str) -> None:
    with pytest.raises(RedisFailed) as caught:
        good(Refusal(answer), "SET")
    assert caught.value.reason == reason and words in str(caught.value)
    assert str(caught.value).startswith(f"SET is answered with {answer}")
    assert good(None, "GET") is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            "ERR The user executing the script can't run this command script: 1f, on @user_script:2.",
            "GET",
        ),
        ("ERR Error running script: @user_script:2: @user_script: 2: The user can't run this command", "GET"),
        ("ERR The user executing the script can't run this command script: 1f, on @user_script:3.", "TYPE and LLEN"),
        ("ERR The user executing the script can't run this command script: 1f, on @user_script:1.", "a command that"),
        ("ERR The user executing the script can't run this command script: 1f, on @user_script:99.", "a command that"),
        ("ERR The user executing the script can't run this command", "a command that"),
        ("ERR ACL failure in script: User x has no permissions to run the 'get' command, on @user_script:2.", ""),
        ("ERR something else, on @user_script:2.", ""),
    ],
)
def test_command_that_a_script_may_not_run(answer: str, words: str) -> None:
    script = Script("look", "local call = redis.call\nlocal x = redis.call('GET', k)\ncall('TYPE', call('LLEN', k))")
    found = unnamed(script, Refusal(answer))
    assert found.startswith(f", which needs {words}") if words else not found
    assert unnamed(script, 1) == ""


def test_kind() -> None:
    facts = told("# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.1.1\r\nrole:master\r\ncluster_enabled:1\r\n")
    assert facts[:4] == ("Valkey", "8.1.1", "master", True)
    assert told("redis_version:7.0.15\r\n")[:4] == ("Redis", "7.0.15", "", False)


def test_options_are_documented() -> None:
    """Each option is documented as it is, and one that the connection takes."""
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    assert documented.keys() == _redis_options.OPTIONS.keys()
    for name, option in _redis_options.OPTIONS.items():
        assert option["type"] == documented[name]["type"], name
        assert option.get("default") == documented[name].get("default"), name
        assert option.get("choices") == documented[name].get("choices"), name
        assert name in DEFAULTS
        if "default" in option:
            assert _redis_options.connection({name: option["default"]}) == {name: DEFAULTS[name]}, name
    # Only what nobody but tests and probes needs is no option.
    assert set(DEFAULTS) - set(_redis_options.OPTIONS) == {"connect_to", "ip_family"}


def test_connection() -> None:
    params: dict[str, Any] = {"url": None, "host": "h", "database": 0, "rules": [], "cluster": "auto", "password": None}
    assert _redis_options.connection(params) == {"host": "h", "database": 0, "cluster": "auto"}


@pytest.mark.parametrize(("given", "seconds"), [("10s", 10.0), ("1m", 60.0), ("0.5", 0.5), (3, 3.0), ("250ms", 0.25)])
def test_timeout(given: Any, seconds: float) -> None:
    """As any other time; a number is seconds."""
    assert _redis_options.connection({"timeout": given}) == {"timeout": seconds}


def test_timeout_that_is_none() -> None:
    with pytest.raises(RedisFailed, match="timeout: 'soon' is no duration") as caught:
        _redis_options.connection({"timeout": "soon"})
    assert caught.value.reason == "own"


def test_secrets() -> None:
    found = _redis_options.secrets({"url": "redis://u:p%40ss%2Fw@h/0", "password": "a b/c"})
    assert found == {"p%40ss%2Fw", "p@ss/w", "a%20b%2Fc"}
    # Too short to be hidden everywhere; a URL without a password.
    assert _redis_options.secrets({"url": "redis://u:pw@h", "password": None}) == set()
    assert _redis_options.secrets({"url": "redis://host:6379/0@x"}) <= {"6379/0"}
