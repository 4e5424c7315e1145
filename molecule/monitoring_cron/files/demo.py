#!/usr/bin/python3
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Something to watch: answers for those who know the token, badly or not at all when a file says so."""

from __future__ import annotations

import http.server
import json
import os
import sys
from pathlib import Path

WISHES = Path("/srv/demo")


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        """Answer."""
        allowed = self.headers.get("Authorization") == f"Bearer {os.environ['TOKEN']}"
        status = 401 if not allowed else 503 if (WISHES / "broken").exists() else 200
        body = json.dumps({"status": "ok" if status == 200 else "bad"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if (WISHES / "dead").exists():
    sys.exit("told to be dead")
http.server.ThreadingHTTPServer(("127.0.0.1", 8099), Handler).serve_forever()
