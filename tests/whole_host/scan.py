# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which TCP ports of an address accept a connection. Also runs by itself, in a neighbour: scan.py ADDRESS PORT,…|all.

Standard library only, because the neighbour has nothing else.
"""

from __future__ import annotations

import errno
import json
import resource
import select
import socket
import sys
import time
from collections.abc import Iterable, Iterator

ALL_PORTS = range(1, 65536)
# A filtered port says nothing, so each batch costs this long. An open one answers within a millisecond here.
_PATIENCE = 1.0
_BATCH = 6000


def open_ports(address: str, ports: Iterable[int] = ALL_PORTS, patience: float = _PATIENCE) -> set[int]:
    """Connect to every port, thousands at a time; return those that accepted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _BATCH + 200 <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_BATCH + 200, hard))
    size = min(_BATCH, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
    return {port for batch in _batches(list(ports), size) for port in _accepting(address, batch, patience)}


def _batches(ports: list[int], size: int) -> Iterator[list[int]]:
    return (ports[start : start + size] for start in range(0, len(ports), size))


def _accepting(address: str, ports: list[int], patience: float) -> set[int]:
    poll, waiting, found = select.epoll(), {}, set()
    try:
        for port in ports:
            client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            client.setblocking(False)
            outcome = client.connect_ex((address, port))
            if outcome == 0:
                found.add(port)
            if outcome != errno.EINPROGRESS:
                client.close()
                continue
            waiting[client.fileno()] = (port, client)
            poll.register(client.fileno(), select.EPOLLOUT)
        deadline = time.monotonic() + patience
        while waiting and (left := deadline - time.monotonic()) > 0:
            for number, _ in poll.poll(left):
                port, client = waiting.pop(number)
                if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    found.add(port)
                poll.unregister(number)
                client.close()
    finally:
        for _, client in waiting.values():
            client.close()
        poll.close()
    return found


if __name__ == "__main__":
    wanted = ALL_PORTS if sys.argv[2] == "all" else [int(port) for port in sys.argv[2].split(",")]
    print(json.dumps(sorted(open_ports(sys.argv[1], wanted))))
