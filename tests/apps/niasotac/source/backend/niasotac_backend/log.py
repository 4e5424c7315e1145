# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON lines on standard output; the guide's lines in the log file."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from niasotac_backend.environment import VERSION, Environment

EXTRA = ("method", "path", "status", "milliseconds", "request")


class Json(logging.Formatter):
    """One object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": record.name,
            "version": VERSION,
            "message": record.getMessage(),
        }
        line.update(
            {name: getattr(record, name) for name in EXTRA if isinstance(getattr(record, name, None), str | int)}
        )
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configuration(environment: Environment) -> dict[str, object]:
    """For Django and for gunicorn."""
    handlers: dict[str, dict[str, object]] = {
        "stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"},
    }
    if environment.log_file:
        # Watched: after a rotation it opens the new file by itself.
        file = {"filename": environment.log_file, "delay": True, "formatter": "guide"}
        handlers["file"] = {"class": "logging.handlers.WatchedFileHandler", **file}
    own = {"handlers": [], "level": "INFO", "propagate": True}
    # The application's own lines about requests leave out what people search for.
    silent = {"handlers": [], "level": "CRITICAL", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": "niasotac_backend.log.Json"},
            "guide": {"format": "{levelname} {asctime} {module} {message}", "style": "{"},
        },
        "handlers": handlers,
        "root": {"handlers": list(handlers), "level": "INFO"},
        "loggers": {"django": own, "django.server": own, "gunicorn.error": own, "gunicorn.access": silent},
    }
