# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts jobs into MasStock's queue as a client would. Runs on the host itself: load.py ADDRESS PREFIX COUNT PAUSE.

It chooses the ids and repeats a request that was not confirmed, with the same id, until it is; so every id that it
prints is a job that the project has promised to do. Straight to the API, because the rate limits in front are for
others to prove; each request is another client's, because the API has limits of its own.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request

_DEADLINE = 60


def submit(address: str, number: int, identifier: str) -> int:
    """Repeat until the API confirms; return how often it was asked."""
    body = json.dumps({"id": identifier, "prompts": [f"picture {number}"]}).encode()
    asked, deadline = 0, time.monotonic() + _DEADLINE
    while True:
        asked += 1
        client = f"198.51.100.{(number + asked) % 250}"
        headers = {"Content-Type": "application/json", "X-Forwarded-For": client}
        request = urllib.request.Request(f"{address}/api/v1/executions", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                if answer.status in (200, 202):
                    return asked
        except urllib.error.HTTPError as error:
            if error.code not in (429, 502, 503):
                raise
        except OSError:
            pass
        if time.monotonic() >= deadline:
            raise SystemExit(f"job {identifier} was not confirmed within {_DEADLINE} s")
        time.sleep(0.2)


def main() -> None:
    """Submit all; say what was promised."""
    address, prefix, count, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    asked = {}
    for number in range(count):
        identifier = f"{prefix}-{number}"
        asked[identifier] = submit(address, number, identifier)
        time.sleep(pause)
    print(json.dumps(asked))


if __name__ == "__main__":
    main()
