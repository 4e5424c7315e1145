# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the environment says, checked before anything starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

BASE = Path(__file__).resolve().parent.parent
EX_CONFIG = 78


def _marker(name: str, default: str) -> str:
    """The content of a file that the release carries beside back end and front end."""
    path = BASE.parent / name
    return path.read_text("utf-8").strip() if path.exists() else default


VERSION = _marker("VERSION", "0.0.0-dev")
FAULT = _marker("FAULT", "")


@dataclass(frozen=True)
class Environment:
    debug: bool
    secret_key: str
    allowed_hosts: list[str]
    host: str
    port: int
    workers: int
    threads: int
    grace_seconds: int
    database: dict[str, object]
    media: Path
    log_file: str
    slow_query_ms: int
    step_ms: int
    lease_seconds: int
    demo_email: str
    demo_password: str


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.missing: list[str] = []
        self.malformed: list[str] = []

    def text(self, name: str, default: str | None = None) -> str:
        value = self._environ.get(name) or default
        if value is None:
            self.missing.append(name)
        return value or ""

    def number(self, name: str, default: int, least: int, most: int) -> int:
        value = self._environ.get(name) or str(default)
        return self._checked(
            name, value, lambda: value.isdecimal() and least <= int(value) <= most, f"a number from {least} to {most}"
        ) and int(value)

    def choice(self, name: str, default: str | None, *choices: str) -> str:
        value = self.text(name, default)
        if value:
            self._checked(name, value, lambda: value in choices, " or ".join(choices))
        return value

    def file(self, name: str) -> str:
        """A file to write to; empty for none."""
        value = self.text(name, "")
        directory = Path(value).parent
        if value:
            self._checked(name, value, lambda: os.access(directory, os.W_OK), "in a directory that can be written to")
        return value

    def _checked(self, name: str, value: str, good: Callable[[], bool], wanted: str) -> bool:
        if not good():
            self.malformed.append(f'{name}="{value}" is not {wanted}')
            return False
        return True


def load(environ: Mapping[str, str] = os.environ) -> Environment:
    """Read the environment, or end the process with one line that names everything wrong with it."""
    read = _Reader(environ)
    debug = read.choice("DEBUG", "false", "true", "false") == "true"
    environment = Environment(
        debug=debug,
        secret_key=read.text("SECRET_KEY", "for development only" if debug else None),
        allowed_hosts=read.text("ALLOWED_HOSTS", "localhost" if debug else None).split(","),
        host=read.text("HOST", "127.0.0.1"),
        port=read.number("PORT", 8000, 1, 65535),
        workers=read.number("WEB_WORKERS", 2, 1, 64),
        threads=read.number("WEB_THREADS", 16, 1, 256),
        grace_seconds=read.number("SHUTDOWN_GRACE_SECONDS", 15, 1, 600),
        database=_database(read, debug),
        media=Path(read.text("MEDIA_ROOT", str(BASE / "media"))),
        log_file=read.file("LOG_FILE"),
        slow_query_ms=read.number("SLOW_QUERY_MS", 500, 1, 600_000),
        step_ms=read.number("STATS_STEP_MS", 0, 0, 60_000),
        lease_seconds=read.number("STATS_LEASE_SECONDS", 90, 1, 3600),
        demo_email=read.text("DEMO_EMAIL", "demo@niasotac.com"),
        demo_password=read.text("DEMO_PASSWORD", ""),
    )
    problems = read.malformed
    if read.missing:
        problems = [f"missing environment variables: {', '.join(read.missing)}", *problems]
    if problems:
        print(f"fatal: {'; '.join(problems)}", file=sys.stderr)
        raise SystemExit(EX_CONFIG)
    return environment


def _database(read: _Reader, debug: bool) -> dict[str, object]:
    engine = read.choice("DATABASE_ENGINE", "sqlite" if debug else None, "sqlite", "postgresql")
    if engine != "postgresql":
        # IMMEDIATE takes the lock when a transaction begins: two writers wait for each other instead of failing.
        options = {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}
        path = read.text("SQLITE_PATH", str(BASE / "db.sqlite3"))
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": path, "OPTIONS": options}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": read.text("DATABASE_HOST"),
        "PORT": read.number("DATABASE_PORT", 5432, 1, 65535),
        "NAME": read.text("DATABASE_NAME"),
        "USER": read.text("DATABASE_USER"),
        "PASSWORD": read.text("DATABASE_PASSWORD"),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5},
    }
