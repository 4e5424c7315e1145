# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small web service that is released by the tests: it tells its version, answers slowly when asked to, and drains."""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

HERE = Path(__file__).resolve().parent
VERSION = (HERE / "VERSION").read_text().strip()
FAULT = (HERE / "FAULT").read_text().strip() if (HERE / "FAULT").exists() else ""
STARTED = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    """Answers with the version, whatever is asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer, slowly when told to."""
        asked = urlsplit(self.path)
        if asked.path == "/slow":
            time.sleep(min(int(parse_qs(asked.query)["ms"][0]), 10_000) / 1000)
        bad = asked.path == "/health" and FAULT == "never-healthy"
        body = json.dumps({"version": VERSION, "pid": os.getpid(), "secret": bool(os.environ.get("TOKEN"))}).encode()
        self.send_response(503 if bad else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Waits for the requests in flight when it is closed."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128


def main() -> None:
    """Serve until told to end."""
    if FAULT == "exits":
        sys.exit("told to exit")
    server = Server((os.environ["HOST"], int(os.environ["PORT"])), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    if FAULT == "crash-later":
        threading.Timer(3, lambda: os._exit(1)).start()
    print(f"version {VERSION} listens on {os.environ['PORT']}", flush=True)
    server.serve_forever(poll_interval=0.05)
    server.server_close()


main()
