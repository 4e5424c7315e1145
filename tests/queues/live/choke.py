# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A point between a client and Redis that every request passes, where a fault can be made at a chosen one."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

from tests.queues.live.wire import requests
from tests.queues.place import Database

# What becomes of a request: it passes; it is not passed on and the connection is closed; or it is passed on, and the
# connection is closed when Redis answers, in place of the answer.
PASS, CUT, UNANSWERED = "pass", "cut", "unanswered"
Hook = Callable[[int, list[bytes]], str]


def scripts_only(fault: Callable[[int], str]) -> Hook:
    """A hook that asks about scripts only, counted from 1."""
    seen = 0

    def hook(_number: int, words: list[bytes]) -> str:
        nonlocal seen
        if not words[0].upper().startswith(b"EVAL"):
            return PASS
        seen += 1
        return fault(seen)

    return hook


class Choke:
    """A proxy on this machine's loopback. The hook is asked for each request, counted from 1 over all connections."""

    def __init__(self, database: Database, hook: Hook, dropped: Callable[[], object] = lambda: None) -> None:
        """C(dropped) is called in place of passing an answer on (UNANSWERED), before the connection is closed."""
        self._target = (str(database.options["host"]), database.port)
        self._hook = hook
        self._dropped = dropped
        self._lock = threading.Lock()
        self.requests = 0
        self.names: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.options: dict[str, Any] = {
            **database.options,
            "host": "127.0.0.1",
            "port": self._listener.getsockname()[1],
        }
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Choke:
        return self

    def __exit__(self, *_exception: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target)
        except OSError:
            client.close()
            return
        drop = threading.Event()
        threading.Thread(target=self._answers, args=(server, client, drop), daemon=True).start()
        with contextlib.suppress(OSError, ValueError), client.makefile("rb") as stream:
            for words, raw in requests(stream):
                with self._lock:
                    self.requests += 1
                    self.names.append(words[0].decode().upper())
                    verdict = self._hook(self.requests, words)
                if verdict == CUT:
                    break
                if verdict == UNANSWERED:
                    drop.set()
                server.sendall(raw)
        if not drop.is_set():
            _close(client, server)

    def _answers(self, server: socket.socket, client: socket.socket, drop: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if drop.is_set():
                    self._dropped()
                    break
                client.sendall(data)
        _close(client, server)


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
