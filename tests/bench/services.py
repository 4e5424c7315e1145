# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Daemons for measurements: from unpacked packages, on 127.0.0.1, ended by their process ids."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.wait import until
from tests.bench.frame import BUILD, BenchError

_NGINX = """
daemon off;
worker_processes 1;
pid {place}/nginx.pid;
error_log {place}/nginx-error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    server {{
        listen 127.0.0.1:{http} backlog=4096;
        listen 127.0.0.1:{https} ssl backlog=4096;
        ssl_certificate {place}/server.pem;
        ssl_certificate_key {place}/server.key;
        ssl_session_cache off;
        ssl_session_tickets off;
        location ~ ^/probe/(\\d+)$ {{
            default_type application/json;
            return 200 '{{"status":"ok","id":$1,"version":"1.4.0","checks":{{"database":"ok","queue":"ok"}}}}';
        }}
    }}
}}
"""
_BLACKBOX = """
modules:
  json:
    prober: http
    timeout: 5s
    http:
      valid_status_codes: [200]
      preferred_ip_protocol: ip4
      fail_if_body_not_matches_regexp: ['"status":"ok"']
      tls_config: {{ca_file: "{place}/ca.pem"}}
"""


@dataclass(frozen=True)
class Daemon:
    """A running daemon. C(pids): all its processes."""

    pids: tuple[int, ...]
    http: int
    https: int = 0


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(name: str, command: Sequence[str | Path], port: int) -> Iterator[int]:
    log = BUILD / f"{name}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)
    try:

        def ready() -> bool:
            if process.poll() is not None:
                raise BenchError(f"{name} ended with {process.returncode}: {log.read_text(errors='replace')[-800:]}")
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return True

        try:
            until(name, ready, seconds=20)
        except LabError as error:
            raise BenchError(str(error)) from None
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def nginx(root: Path) -> Iterator[Daemon]:
    """Run nginx, which answers /probe/N with JSON, in the clear and over TLS."""
    certificates()
    http, https = free_port(), free_port()
    configuration = BUILD / "nginx.conf"
    configuration.write_text(_NGINX.format(place=BUILD, http=http, https=https), encoding="utf-8")
    command: list[str | Path] = [root / "usr/sbin/nginx", "-p", BUILD, "-c", configuration]
    with _running("nginx", command, http) as pid:
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        yield Daemon((pid, *map(int, workers)), http, https)


@contextmanager
def blackbox(root: Path) -> Iterator[Daemon]:
    """Run blackbox_exporter with one module: status 200 and a body with the right status."""
    port = free_port()
    configuration = BUILD / "blackbox.yml"
    configuration.write_text(_BLACKBOX.format(place=BUILD), encoding="utf-8")
    command: list[str | Path] = [
        root / "usr/bin/prometheus-blackbox-exporter",
        f"--config.file={configuration}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with _running("blackbox_exporter", command, port) as pid:
        yield Daemon((pid,), port)


@contextmanager
def redis(root: Path) -> Iterator[Daemon]:
    """Run a Redis that writes nothing to disk."""
    port = free_port()
    libraries = root / "usr/lib" / f"{os.uname().machine}-linux-gnu"
    program: list[str | Path] = ["env", f"LD_LIBRARY_PATH={libraries}", root / "usr/bin/redis-server"]
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(BUILD)]
    with _running("redis", [*program, *settings], port) as pid:
        yield Daemon((pid,), port)


@contextmanager
def silent() -> Iterator[int]:
    """Listen on a port that takes connections and never says a word. Yields the port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(4096)
        yield int(listener.getsockname()[1])


def certificates() -> None:
    """Make an authority and a certificate with RSA keys of 2048 bits, as most servers have them."""
    if (BUILD / "server.pem").exists():
        return
    extensions = BUILD / "server.ext"
    extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n", encoding="ascii")
    key = ["-newkey", "rsa:2048", "-nodes"]
    signing = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key"]
    for command in (
        ["req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=bench CA"],
        ["req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"],
        [*signing, "-CAcreateserial", "-days", "29", "-extfile", "server.ext", "-out", "server.pem.new"],
    ):
        done = subprocess.run(["openssl", *command], cwd=BUILD, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"openssl {command[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    (BUILD / "server.pem.new").replace(BUILD / "server.pem")
