# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker engine of this machine: found, or installed and started."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests

from lab.console import Console
from lab.errors import LabError
from lab.names import BUILD
from lab.wait import lock, until

_DIRECTORY = BUILD / "engine"
# Says which dockerd quai itself started; `down` stops that one and no other.
_MARKER = _DIRECTORY / "dockerd.json"
_LOG = _DIRECTORY / "dockerd.log"
_START_SECONDS = 60
_APT_SECONDS, _APT_PAUSE = 600, 1.0
_PID_FILE = Path("/var/run/docker.pid")
_ROOM_GB = 5

_clients = threading.local()


def client() -> Any:
    """The SDK's client, one per thread because its HTTP session is not made for sharing."""
    if not hasattr(_clients, "client"):
        _clients.client = docker.from_env(version="auto", timeout=300)
    return _clients.client


def answers() -> bool:
    """Whether an engine answers where the environment points."""
    try:
        return bool(docker.from_env(version="auto", timeout=10).ping())
    except (docker.errors.DockerException, requests.RequestException):
        return False


def ensure(console: Console) -> None:
    """Return when an engine answers, having installed and started it where needed."""
    if answers():
        return
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        raise LabError(f"no Docker engine answers at DOCKER_HOST={host}", "start it, or unset DOCKER_HOST")
    if os.geteuid() != 0:
        raise LabError(
            f"no Docker engine answers at {host} for user {os.getuid()}, and starting one takes root",
            "run as root, or start Docker and join the group docker",
        )
    with lock("engine", "the Docker engine", console):
        if answers():
            return
        _DIRECTORY.mkdir(parents=True, exist_ok=True)
        if not shutil.which("dockerd"):
            with console.step("Install the Docker engine (docker.io)"):
                apt_install("docker.io")
            # Where its package's init script has started it, quai is who brought it.
            if _daemon_pid():
                _remember(_daemon_pid(), host)
        if not answers():
            with console.step("Start the Docker engine"):
                _start(host)


def apt_install(*packages: str) -> None:
    """Install Debian packages on this machine."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise LabError(
            f"{', '.join(packages)} missing on this machine, and quai can only install it as root on Debian",
            f"install it yourself: {' '.join(packages)}",
        )
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-yq", "--no-install-recommends", *packages]):
        done = until(
            "another apt-get to end",
            functools.partial(_apt, command),
            seconds=_APT_SECONDS,
            pause=_APT_PAUSE,
            fix="see which program holds it: fuser -v /var/lib/apt/lists/lock /var/lib/dpkg/lock-frontend",
        )
        if done.returncode:
            tail = "\n".join(done.stdout.strip().splitlines()[-10:])
            raise LabError(f"`{' '.join(command)}` ended with {done.returncode}:\n{tail}")


def _apt(command: Sequence[str]) -> subprocess.CompletedProcess[str] | None:
    """How it ended; None when another holds apt's locks, for only one of which apt-get itself can wait."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return None if done.returncode and "Could not get lock" in done.stdout else done


def _start(host: str) -> None:
    """Start dockerd: by systemd where it runs, else in the background as a session of its own."""
    if Path("/run/systemd/system").is_dir() and "DOCKER_HOST" not in os.environ:
        subprocess.run(["systemctl", "start", "docker"], check=False)
        until("the Docker engine", answers, seconds=_START_SECONDS, fix="read `journalctl -u docker`")
        return
    if _daemon_pid() and "DOCKER_HOST" not in os.environ:
        until("the Docker engine that is starting already", answers, seconds=_START_SECONDS)
        return
    # Further options, for example --data-root on a larger disk.
    options = shlex.split(os.environ.get("QUAI_DOCKERD_OPTIONS", ""))
    with _LOG.open("wb") as log:
        process = subprocess.Popen(
            ["dockerd", "--host", host, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _remember(process.pid, host)

    def ready() -> bool:
        if process.poll() is not None:
            tail = "\n".join(_LOG.read_text("utf-8", "replace").splitlines()[-5:])
            _MARKER.unlink(missing_ok=True)
            raise _Ended(f"dockerd ended with {process.returncode}:\n{tail}", f"read {_LOG}")
        return answers()

    try:
        until("the Docker engine", ready, seconds=_START_SECONDS, fix=f"read {_LOG}")
    except _Ended as ended:
        raise LabError(ended.reason, ended.fix) from None


def _daemon_pid() -> int:
    """The running daemon by its pid file, 0 when there is none."""
    try:
        pid = int(_PID_FILE.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return 0
    return pid if _start_time(pid) else 0


def _remember(pid: int, host: str) -> None:
    _MARKER.write_text(json.dumps({"pid": pid, "started": _start_time(pid), "host": host}), "utf-8")


class _Ended(RuntimeError):
    """dockerd is gone, so there is no use in waiting for it."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


def stop_if_ours(console: Console) -> None:
    """Stop the engine that quai started, unless something still runs on it."""
    try:
        marker = json.loads(_MARKER.read_text("utf-8"))
    except FileNotFoundError:
        return
    pid = int(marker["pid"])
    # A pid may have been given to another process since; the start time tells them apart.
    if _start_time(pid) != marker["started"]:
        _MARKER.unlink()
        return
    running = client().containers.list()
    if running:
        console.note(f"the Docker engine keeps running: {len(running)} containers that are not this lab's use it")
        return
    with console.step("Stop the Docker engine that quai started"):
        os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        until("dockerd to end", lambda: _start_time(pid) != marker["started"], seconds=_START_SECONDS)
        _MARKER.unlink()


def _start_time(pid: int) -> str:
    """When a process started (field 22 of its stat), empty when it is gone or only a zombie is left."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def check_room() -> None:
    """Refuse to begin what a full disk would break half-way."""
    for path in {Path(client().info()["DockerRootDir"]), BUILD}:
        existing = next(parent for parent in [path, *path.parents] if parent.exists())
        free = shutil.disk_usage(existing).free / 1e9
        if free < _ROOM_GB:
            raise LabError(
                f"{free:.1f} GB free on the disk of {path}; building images takes {_ROOM_GB} GB",
                "make room: `python -m lab purge` removes cached images, `docker system df` shows the rest",
            )
