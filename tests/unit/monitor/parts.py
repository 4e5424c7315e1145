# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the watch share: real servers on the loopback that behave as told, and a host's directory."""

from __future__ import annotations

import contextlib
import json
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils import _monitor_run as running
from ansible_collections.quai.ops.plugins.module_utils import _monitor_store as store

T0 = 1_800_000_000.0


class Request(NamedTuple):
    """One request that a server got."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)


class Web:
    """An HTTP server: C(answers) are statuses to give in turn, then C(status) for ever."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: list[int] = []
        self.status = 200
        self.content = b"ok"
        self.chunked = False
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                web.requests.append(Request(self.command, self.path, headers, body))
                status = web.answers.pop(0) if web.answers else web.status
                self.send_response(status)
                if web.chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for at in range(0, len(web.content), 7):
                        piece = web.content[at : at + 7]
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.write(b"0\r\n\r\n")
                    return
                self.send_header("Content-Length", str(len(web.content)))
                self.end_headers()
                self.wfile.write(web.content)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def wrap(self, context: ssl.SSLContext) -> None:
        """Speak TLS."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self.port}"

    def __enter__(self) -> Web:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Post:
    """An SMTP server. C(replies) maps a verb to the line it answers with; C(drip) sends a byte now and then."""

    def __init__(self, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.mails: list[EmailMessage] = []
        self.envelopes: list[tuple[str, list[str]]] = []
        self.logins: list[str] = []
        self.secure: list[bool] = []
        self.replies: dict[str, str] = {}
        self.drip = False
        self.after_data: Callable[[], None] | None = None
        post = self

        class Handler(socketserver.StreamRequestHandler):
            def say(self, line: str) -> None:
                self.wfile.write(f"{line}\r\n".encode())
                self.wfile.flush()

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    self.talk()

            def talk(self) -> None:
                secure, sender, to = False, "", list[str]()
                if post.drip:
                    for _count in range(200):
                        self.wfile.write(b"2")
                        self.wfile.flush()
                        time.sleep(0.1)
                    return
                self.say("220 relay.test ESMTP")
                for line in self.rfile:
                    text = line.decode().strip()
                    verb = text.split(":")[0].split(" ")[0].upper()
                    if verb in post.replies:
                        self.say(post.replies[verb])
                    elif verb == "EHLO":
                        self.say("250-relay.test")
                        self.say("250-AUTH PLAIN")
                        if context is not None and not secure:
                            self.say("250-STARTTLS")
                        self.say("250 8BITMIME")
                    elif verb == "STARTTLS" and context is not None:
                        self.say("220 go on")
                        self.request = context.wrap_socket(self.request, server_side=True)
                        self.rfile = self.request.makefile("rb")
                        self.wfile = self.request.makefile("wb")
                        self.again(True)
                        return
                    elif verb == "QUIT":
                        self.say("221 bye")
                        return
                    else:
                        sender, to = self.common(verb, text, secure, sender, to)

            def again(self, secure: bool) -> None:
                sender, to = "", list[str]()
                for line in self.rfile:
                    text = line.decode().strip()
                    verb = text.split(":")[0].split(" ")[0].upper()
                    if verb == "EHLO":
                        self.say("250-relay.test")
                        self.say("250 AUTH PLAIN")
                    elif verb == "QUIT":
                        self.say("221 bye")
                        return
                    else:
                        sender, to = self.common(verb, text, secure, sender, to)

            def common(self, verb: str, text: str, secure: bool, sender: str, to: list[str]) -> tuple[str, list[str]]:
                if verb == "AUTH":
                    post.logins.append(text)
                    self.say("235 welcome")
                elif verb == "MAIL":
                    sender, to = text.partition(":")[2], []
                    self.say("250 ok")
                elif verb == "RCPT":
                    to = [*to, text.partition(":")[2]]
                    self.say("250 ok")
                elif verb == "DATA":
                    self.say("354 go on")
                    lines = []
                    for line in self.rfile:
                        if line == b".\r\n":
                            break
                        lines.append(line[1:] if line.startswith(b"..") else line)
                    mail = message_from_bytes(b"".join(lines), policy=default)
                    assert isinstance(mail, EmailMessage)
                    post.mails.append(mail)
                    post.envelopes.append((sender, to))
                    post.secure.append(secure)
                    if post.after_data is not None:
                        post.after_data()
                    self.say("250 queued")
                else:
                    self.say("250 ok")
                return sender, to

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, *arguments: Any) -> None:
                """A client that goes away is what some tests are about."""

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]

    def __enter__(self) -> Post:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def ids(self) -> list[str]:
        """Ids of the messages that came, in their order."""
        return [str(mail["X-Quai-Id"]) for mail in self.mails]


def certificate(directory: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for localhost, by itself its own authority, and a server's context with it."""
    key, file = directory / "key.pem", directory / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    subprocess.run(
        ["openssl", "req", "-x509", *curve, "-nodes", "-keyout", key, "-out", file, "-days", "30", *subject],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return file, context


class Watch:
    """A host with a watch, below a directory of its own, and its clock."""

    def __init__(self, root: Path, config: Mapping[str, Any], now: float = T0) -> None:
        self.root = root
        self.where = store.paths(str(root))
        self.now = now
        self.where.config.mkdir(parents=True)
        self.configure(config)

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write the configuration."""
        self.config = {"host": "vps1", "languages": ["en"], "interval": 60, "probes": [], **config}
        (self.where.config / "config.json").write_text(json.dumps(self.config))

    def secrets(self, **secrets: str) -> None:
        """Write the secrets."""
        path = self.where.config / "secrets.json"
        path.write_text(json.dumps(secrets))
        path.chmod(0o600)

    def run(self, hands: running.Hands | None = None, after: float = 60, **options: Any) -> running.Ran:
        """One run, C(after) seconds after the one before."""
        self.now += after
        return running.run_once(self.where, running.setup(self.where), self.now, hands=hands, **options)

    @property
    def state(self) -> dict[str, Any]:
        """The state on disk."""
        state: dict[str, Any] = json.loads((self.where.state / "state.json").read_bytes())
        return state

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Events of the history."""
        lines = [line for line in store.history(self.where) if line["k"] == "event"]
        return [line for line in lines if not kinds or line["event"] in kinds]


def policy(*channels: str, **more: Any) -> dict[str, Any]:
    """A policy that tells these channels of everything."""
    return {severity: {"notify": list(channels), **more} for severity in ("critical", "high", "medium", "low")}
