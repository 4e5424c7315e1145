# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long others wait: C(ping.py PORT) sends PING every half millisecond until its input ends.

It says C(ready) after the first answer, and at the end the 99th percentile and the longest of all, in ms. Whoever waits
for an answer asks nothing meanwhile: the questions that would have been asked count too, with the rest of that wait.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

PAUSE = 0.0005


def main() -> None:
    """Ask until told to stop."""
    waits = []
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            began = time.perf_counter()
            link.sendall(b"PING\r\n")
            if link.recv(64) != b"+PONG\r\n":
                raise SystemExit("no answer to PING")
            waits.append(time.perf_counter() - began)
            if len(waits) == 1:
                print("ready", flush=True)
            if select.select([sys.stdin], [], [], PAUSE)[0]:
                break
    for wait in list(waits):
        waits.extend(wait - PAUSE * missed for missed in range(1, int(wait / PAUSE)))
    waits.sort()
    told = {"count": len(waits), "p99_ms": waits[int(len(waits) * 0.99)] * 1000, "max_ms": waits[-1] * 1000}
    print(json.dumps(told), flush=True)


main()
