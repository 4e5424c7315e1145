# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An open-loop client on the host itself: so many requests a second, whatever the answers take.

    load.py URL PER_SECOND SLOW_SHARE < one line that ends it

It runs until its standard input is closed or has a line, at most two minutes, and prints one JSON object: requests,
failed with reasons, requests per version, and waits in ms. One in SLOW_SHARE requests asks for a slow answer.
"""

import asyncio
import collections
import json
import sys
import time
from urllib.parse import urlsplit

MOST_SECONDS = 120
ANSWER_SECONDS = 30
SLOW_MS = 1500


async def ask(host: str, port: int, path: str) -> str:
    """One request on a connection of its own; returns the version that answered. Raises what went wrong."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        head, _blank, body = (await reader.read()).partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1].decode() if head else "nothing"
        if status != "200":
            raise ValueError(f"status {status}")
        return str(json.loads(body)["version"])
    finally:
        writer.close()


async def main() -> None:
    """Send until told to stop."""
    url = urlsplit(sys.argv[1])
    gap, share = 1 / float(sys.argv[2]), int(sys.argv[3])
    failed: collections.Counter[str] = collections.Counter()
    versions: collections.Counter[str] = collections.Counter()
    waits: list[float] = []

    async def one(number: int, due: float) -> None:
        slow = share and number % share == 0
        path = f"/slow?ms={SLOW_MS}" if slow else "/"
        try:
            version = await asyncio.wait_for(ask(str(url.hostname), int(url.port or 80), path), ANSWER_SECONDS)
        except Exception as error:  # whatever it is, the request failed
            failed[f"{type(error).__name__}: {error}"] += 1
            return
        versions[version] += 1
        if not slow:
            # From when it was due, so that a client that is late hides nothing.
            waits.append((time.monotonic() - due) * 1000)

    loop = asyncio.get_running_loop()
    told = loop.run_in_executor(None, sys.stdin.readline)
    start, number, running = time.monotonic(), 0, set()
    print("ready", flush=True)
    while not told.done() and time.monotonic() - start < MOST_SECONDS:
        due = start + number * gap
        if due > time.monotonic():
            await asyncio.sleep(due - time.monotonic())
        task = asyncio.create_task(one(number, due))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1
    await asyncio.gather(*running)
    waits.sort()
    print(
        json.dumps(
            {
                "requests": number,
                "failed": dict(failed),
                "versions": dict(versions),
                "p50_ms": round(waits[len(waits) // 2], 2) if waits else None,
                "p99_ms": round(waits[int(len(waits) * 0.99)], 2) if waits else None,
            }
        ),
        flush=True,
    )


asyncio.run(main())
