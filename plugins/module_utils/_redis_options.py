# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that all modules for Redis and for queues have: how to connect. Documented in the fragment quai.ops.redis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote

from ansible_collections.quai.ops.plugins.module_utils._queue_rules import duration
from ansible_collections.quai.ops.plugins.module_utils._redis_link import DEFAULTS, RedisFailed

OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    # A password may be in it.
    "url": {"type": "str", "no_log": True},
    "host": {"type": "str"},
    "port": {"type": "int"},
    "socket": {"type": "path"},
    "database": {"type": "int", "default": 0},
    "user": {"type": "str", "default": ""},
    "password": {"type": "str", "no_log": True},
    "tls": {"type": "bool", "default": False},
    "verify": {"type": "bool", "default": True},
    "ca_file": {"type": "path"},
    "cert_file": {"type": "path"},
    "key_file": {"type": "path", "no_log": False},
    "sni": {"type": "str"},
    "container": {"type": "str"},
    "docker": {"type": "path"},
    "cluster": {"type": "str", "choices": ["auto", "true", "false"], "default": "auto"},
    "client": {"type": "str", "choices": ["auto", "redis-py", "builtin"], "default": "auto"},
    "timeout": {"type": "str", "default": "10s"},
}
# For AnsibleModule, beside those of the module itself.
EXCLUSIVE: Final[Sequence[tuple[str, ...]]] = (
    ("url", "host"),
    ("url", "port"),
    ("url", "socket"),
    ("host", "socket"),
    ("host", "container"),
    ("socket", "container"),
)
REQUIRED_BY: Final[Mapping[str, tuple[str, ...]]] = {"key_file": ("cert_file",), "docker": ("container",)}
# A shorter value stands in too many words to be hidden in all of them.
_SHORTEST_SECRET: Final = 4


def connection(params: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the connection among those of a module, as Server takes them. Raises RedisFailed."""
    found = {name: params[name] for name in OPTIONS if params.get(name) is not None and name in DEFAULTS}
    if "timeout" in found:
        try:
            found["timeout"] = duration(found["timeout"]) / 1000
        except ValueError as error:
            raise RedisFailed("own", f"timeout: {error}") from None
    return found


def secrets(params: Mapping[str, Any]) -> set[str]:
    """What Ansible has to hide beside the values of the options themselves, for C(module.no_log_values)."""
    return {one for one in _secrets(params) if len(one) >= _SHORTEST_SECRET}


def _secrets(params: Mapping[str, Any]) -> Iterator[str]:
    if params.get("password"):
        yield quote(params["password"], safe="")
    login, at, _host = str(params.get("url") or "").partition("://")[2].rpartition("@")
    password = login.partition(":")[2]
    if at and password:
        yield password
        yield unquote(password)


__all__ = ["EXCLUSIVE", "OPTIONS", "REQUIRED_BY", "connection", "secrets"]
