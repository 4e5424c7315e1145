# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How gunicorn runs: read from the working directory."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from niasotac_backend.environment import FAULT, load
from niasotac_backend.log import configuration

_environment = load()

wsgi_app = "niasotac_backend.wsgi:application"
bind = f"{_environment.host}:{_environment.port}"
workers = _environment.workers
worker_class = "niasotac_backend.worker.Worker"
threads = _environment.threads
timeout = 30
# SIGTERM closes the listener; requests in flight have so long to end.
graceful_timeout = _environment.grace_seconds
# Longer than nginx keeps an idle connection, so that nginx is the one to close it.
keepalive = 75
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None
logconfig_dict = configuration(_environment)
proc_name = "niasotac-backend"
control_socket_disable = True


def when_ready(server: Any) -> None:
    if FAULT == "crash-later":
        threading.Timer(5, _crash, [server]).start()


def _crash(server: Any) -> None:
    for worker in list(server.WORKERS):
        os.kill(worker, signal.SIGKILL)
    os._exit(1)
