#!/usr/bin/python3
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where webhooks and pings arrive: writes down each request, and refuses when a file says so."""

from __future__ import annotations

import http.server
import json
from pathlib import Path

RECEIVED = Path("/srv/receiver/received.jsonl")
REFUSE = Path("/srv/receiver/refuse")


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    def do_POST(self) -> None:
        """Write it down, unless it is refused."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        refused = REFUSE.exists()
        if not refused:
            with RECEIVED.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"path": self.path, "id": self.headers.get("X-Quai-Id"), "body": body}) + "\n")
        self.send_response(503 if refused else 204)
        self.end_headers()

    def do_GET(self) -> None:
        """A ping is a request like another."""
        self.do_POST()

    def log_message(self, *_: object) -> None:
        """Keep addresses, which hold secrets, out of the journal: what the watch does with them is tested there."""


http.server.ThreadingHTTPServer(("127.0.0.1", 9009), Handler).serve_forever()
