# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How modules connect to Redis or Valkey."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of the options in module_utils/_redis_options.py."""

    DOCUMENTATION = r"""
requirements:
  - Python 3.9 or later on the host, and nothing else
options:
  url:
    description:
      - Address such as V(redis://:password@127.0.0.1:6379/0), V(rediss://…) for TLS, or V(unix:///run/redis/redis.sock?db=0).
      - A user, password or TLS that it does not say is taken from O(user), O(password) and O(tls).
    type: str
  host:
    description: Name or address of the server. V(127.0.0.1) when nothing else says where it is.
    type: str
  port:
    description: Its port. V(6379) when not given.
    type: int
  socket:
    description: Path of its Unix socket.
    type: path
  database:
    description: Number of the database. A cluster has V(0) only.
    type: int
    default: 0
  user:
    description: Name of the ACL user. The default user when empty.
    type: str
    default: ""
  password:
    description: Password of the user.
    type: str
  tls:
    description: Whether to speak TLS.
    type: bool
    default: false
  verify:
    description: Whether the certificate of the server must be good.
    type: bool
    default: true
  ca_file:
    description: Authorities that may have signed it, PEM. Those of the system when not given.
    type: path
  cert_file:
    description: Certificate to show to the server, PEM, which Redis asks for unless C(tls-auth-clients) says otherwise.
    type: path
  key_file:
    description: Key of O(cert_file). Without it, the key is in O(cert_file).
    type: path
  sni:
    description: Name to ask for and to verify in place of the host, for every node of a cluster.
    type: str
  container:
    description:
      - Name of a running container whose address is asked from the Docker engine, for a Redis that publishes no port.
        The host that runs the container must run the module.
    type: str
  docker:
    description: Socket of the Docker engine, V(/var/run/docker.sock) when not given.
    type: path
  cluster:
    description: Whether it is a cluster, of which all masters are asked. V(auto) asks the server.
    type: str
    choices: [auto, "true", "false"]
    default: auto
  client:
    description:
      - What packs commands and reads replies. V(builtin) needs nothing but Python. V(redis-py) uses the package redis
        (3.5 or later), and C(hiredis) where it is installed; replies, time limits and errors are the same.
      - V(auto) is V(builtin), since it takes longer to load redis-py than a call of a module usually lasts.
    type: str
    choices: [auto, redis-py, builtin]
    default: auto
  timeout:
    description: Time for the connection and for each answer, such as V(10s).
    type: str
    default: 10s
"""
