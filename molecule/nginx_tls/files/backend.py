#!/usr/bin/python3
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A back end that tells what reached it, and answers as it is asked to.

usage: backend.py PORT...
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SEEN: Counter[str] = Counter()


class Handler(BaseHTTPRequestHandler):
    """Each path does one thing."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self) -> None:
        """Count the request, then dispatch by the first part of the path."""
        url = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if url.path == "/seen":
            self.reply(200, dict(SEEN))
            return
        SEEN[f"{self.command} {url.path}"] += 1
        SEEN["all"] += 1
        action = {
            "status": self.status, "cors": self.cors, "doubled": self.doubled, "slow": self.slow, "assets": self.asset,
            "download": self.download, "ws": self.websocket,
        }.get(url.path.split("/")[1], self.echo)  # fmt: skip
        action()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer  # noqa: N815 - http.server's names

    def reply(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        """Send JSON."""
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def echo(self) -> None:
        """What arrived."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.reply(200, {"method": self.command, "path": self.path, "headers": headers, "bytes": len(self.body)})

    def status(self) -> None:
        """/status/404 answers 404."""
        self.reply(int(self.path.split("?")[0].split("/")[2]), {"from": "back end"})

    def cors(self) -> None:
        """As a back end with CORS of its own."""
        origin = self.headers.get("Origin") or "null"
        self.reply(
            200, {},
            {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true", "Vary": "Origin"},
        )  # fmt: skip

    def doubled(self) -> None:
        """Sends what nginx sends too."""
        self.reply(
            200, {},
            {
                "X-Frame-Options": "DENY", "Strict-Transport-Security": "max-age=1", "X-Content-Type-Options": "no",
                "Referrer-Policy": "unsafe-url", "X-XSS-Protection": "0", "X-Request-ID": "mine", "Alt-Svc": "clear",
                "X-Powered-By": "Express", "Retry-After": "77",
            },
        )  # fmt: skip

    def slow(self) -> None:
        """/slow?seconds=2 takes its time."""
        time.sleep(float(self.query.get("seconds", "1")))
        self.reply(200, {"slept": self.query.get("seconds", "1")})

    def asset(self) -> None:
        """Something that compresses; its keeping time only when asked for."""
        data = b"const a = 1;\n" * 1000
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript")
        self.send_header("Content-Length", str(len(data)))
        if "cache" in self.query:
            self.send_header("Cache-Control", self.query["cache"])
        self.end_headers()
        self.wfile.write(data)

    def download(self) -> None:
        """/download?seconds=10 sends a megabyte in that time."""
        pieces = 64
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(pieces * 16384))
        self.end_headers()
        for number in range(pieces):
            self.wfile.write(bytes([number]) * 16384)
            self.wfile.flush()
            time.sleep(float(self.query.get("seconds", "1")) / pieces)

    def websocket(self) -> None:
        """Echo text frames until one says bye."""
        if self.headers.get("Upgrade") != "websocket" or self.headers.get("Connection", "").lower() != "upgrade":
            self.reply(426, {"headers": {name.lower(): value for name, value in self.headers.items()}})
            return
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accept = hashlib.sha1(key.encode())  # noqa: S324 - RFC 6455 asks for it
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(accept.digest()).decode())
        self.end_headers()
        self.close_connection = True
        while True:
            head = self.rfile.read(2)
            if len(head) < 2 or head[0] & 0x0F == 8:
                return
            length = head[1] & 0x7F
            mask, data = self.rfile.read(4), self.rfile.read(length)
            text = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
            self.wfile.write(bytes([0x81, length]) + text)
            if text == b"bye":
                return

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Daemon threads: stopping does not wait for WebSockets."""

    daemon_threads = True
    request_queue_size = 128


for port in sys.argv[1:]:
    threading.Thread(target=Server(("127.0.0.1", int(port)), Handler).serve_forever).start()
