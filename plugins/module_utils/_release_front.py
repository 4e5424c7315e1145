# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The front of a project: which copy of each service nginx sends requests to, and the switch from one to another.

A service that can run twice has two colours, each with a port of its own. Its declared port is nginx': whoever asks it
on loopback, and every site of the project, reaches the colour that is live. A switch writes one file and reloads nginx;
requests that the old copy is answering are answered to their end by nginx' old workers.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils import _files

COLOURS: Final = ("blue", "green")
# Where the two copies of a service listen, above the port that it is known by.
OFFSETS: Final = {"blue": 10_000, "green": 20_000}
HIGHEST_PORT: Final = 32_767 - max(OFFSETS.values())  # above are the ports that Linux gives to outgoing connections
DIRECTORY: Final = Path("/etc/nginx/quai/fronts")
TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
ESTABLISHED: Final = "01"  # as the kernel writes the state
RELOAD_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.05
# Where a door tells which front is in force, on loopback only.
MARK: Final = "/.quai/front"
MARK_SECONDS: Final = 5.0
_DIGEST: Final = "@digest@"


class FrontError(Exception):
    """nginx does not take the front; the message says why. What was before is in force."""


class Door(NamedTuple):
    """One service as nginx reaches it. C(live) is the port of the copy that serves; None: nobody serves."""

    service: str
    port: int  # as declared; nginx listens there on loopback
    live: int | None


class Nginx(NamedTuple):
    """Where the host's nginx is; a test has one of its own."""

    program: str = "nginx"
    configuration: Path = Path("/etc/nginx/nginx.conf")
    pid_file: Path = Path("/run/nginx.pid")
    proc: Path = Path("/proc")


def other(colour: str) -> str:
    """The colour that the next release takes; blue when there is none yet."""
    return "green" if colour == "blue" else "blue"


def ports(port: int) -> dict[str, int]:
    """Where the copies of the service with this declared port listen."""
    return {colour: port + offset for colour, offset in OFFSETS.items()}


def upstream(project: str, service: str) -> str:
    """The name by which the project's sites reach a service."""
    return f"quai_{project}_{service}"


def render(project: str, doors: Sequence[Door]) -> str:
    """The front as nginx reads it, within C(http). Each door tells which front is in force at MARK."""
    body = "".join(_door(project, door) for door in sorted(doors))
    return "# Written by the releases of this project; what is changed here by hand is lost.\n" + body.replace(
        _DIGEST, digest(body)
    )


def digest(body: str) -> str:
    """What tells one front from another."""
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def _door(project: str, door: Door) -> str:
    name = upstream(project, door.service)
    # Port 9 (discard) refuses, which the site answers with its page for a service that is away.
    return f"""
upstream {name} {{
    server 127.0.0.1:{door.live or 9};
    keepalive 32;
    # Shorter than any back end keeps an idle connection, so that nginx never sends into one that is being closed.
    keepalive_timeout 1500ms;
}}
server {{
    listen 127.0.0.1:{door.port};
    access_log off;
    client_max_body_size 0;
    location = {MARK} {{ return 200 "{_DIGEST}"; }}
    location / {{
        proxy_pass http://{name};
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Connection "";
        proxy_request_buffering off;
        proxy_buffering off;
        proxy_read_timeout 3600s;
    }}
}}
"""


def switch(path: Path, text: str, nginx: Nginx) -> None:
    """Let nginx take this front, and see that it has; what the file says already may never have been taken.

    When nginx refuses it or does not take it in time, the former file is put back, taken again, and FrontError raised.
    """
    former = path.read_bytes() if path.exists() else None
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if former != text.encode():
        _files.write(path, text.encode(), 0o644)
    try:
        reload(nginx)
        _seen(text)
    except FrontError as error:
        if former is None:
            path.unlink()
        elif former != text.encode():
            _files.write(path, former, 0o644)
        try:
            reload(nginx)
        except FrontError as again:
            raise FrontError(f"{error}; and the former front is not in force either: {again}") from error
        raise


def reload(nginx: Nginx) -> None:
    """Test the configuration, let nginx take it, and wait until no worker that knows the former one takes requests."""
    tested = subprocess.run(
        [nginx.program, "-t", "-q", "-c", str(nginx.configuration)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if tested.returncode:
        raise FrontError(f"nginx refuses the front: {_last_words(tested.stdout)}")
    master = _master(nginx)
    if master is None:
        raise FrontError(f"nginx does not run, or {nginx.pid_file} names another process; start it")
    before = set(workers(nginx, master))
    os.kill(master, signal.SIGHUP)
    deadline = time.monotonic() + RELOAD_SECONDS
    while True:
        now = workers(nginx, master)
        if any(pid not in before for pid in now) and not any(now.get(pid, False) for pid in before):
            return
        if time.monotonic() >= deadline:
            raise FrontError(f"nginx did not take the front within {RELOAD_SECONDS:g} s; its error log says why")
        time.sleep(POLL_SECONDS)


def _seen(text: str) -> None:
    """Ask each door which front is in force. Raises FrontError when one tells of another, or of none."""
    told = re.search(r'return 200 "(\w+)"', text)
    for port in re.findall(r"listen 127\.0\.0\.1:(\d+);", text) if told else []:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=MARK_SECONDS)
        try:
            connection.request("GET", MARK)
            found = connection.getresponse().read(100).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise FrontError(f"nginx has the new front, and does not answer on 127.0.0.1:{port}: {error}") from error
        finally:
            connection.close()
        if told and found != told[1]:
            raise FrontError(f"127.0.0.1:{port} is not nginx with the new front; is the port another program's?")


def workers(nginx: Nginx, master: int) -> Mapping[int, bool]:
    """The workers of this master by process id, and whether they take requests still."""
    found: dict[int, bool] = {}
    try:
        children = (nginx.proc / f"{master}/task/{master}/children").read_text().split()
    except OSError:
        return found
    for child in children:
        try:
            title = (nginx.proc / child / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        if b"worker process" in title:
            found[int(child)] = b"shutting down" not in title
    return found


def established(port: int, tables: Sequence[Path] = TABLES) -> int:
    """Established TCP connections to a port of this host, idle ones of nginx among them until it closes them."""
    count = 0
    for table in tables:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _number, local, _remote, state = line.split(None, 4)[:4]
            count += state == ESTABLISHED and int(local.rpartition(":")[2], 16) == port
    return count


def _master(nginx: Nginx) -> int | None:
    try:
        pid = int(nginx.pid_file.read_text())
        title = (nginx.proc / str(pid) / "cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if b"nginx" in title else None


def _last_words(output: bytes) -> str:
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return "; ".join(lines[-3:]) or "it said nothing"


__all__ = [
    "COLOURS",
    "DIRECTORY",
    "HIGHEST_PORT",
    "Door",
    "FrontError",
    "Nginx",
    "established",
    "other",
    "ports",
    "reload",
    "render",
    "switch",
    "upstream",
    "workers",
]
