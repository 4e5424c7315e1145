# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines about requests and slow queries."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse

log = logging.getLogger("showcase.requests")
slow = logging.getLogger("showcase.database")
Handler = Callable[[HttpRequest], HttpResponse]
REQUEST_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


def log_requests(get_response: Handler) -> Handler:
    """One line per request, without its query, body or cookies; none for the health check."""

    def handle(request: HttpRequest) -> HttpResponse:
        begun = time.monotonic()
        response = get_response(request)
        if request.path != "/health":
            extra = {
                "method": request.method,
                "path": request.path,
                "status": response.status_code,
                "milliseconds": round(1000 * (time.monotonic() - begun)),
            }
            given = request.headers.get("X-Request-Id", "")
            if REQUEST_ID.fullmatch(given):
                extra["request"] = given
            log.info("%s %s %s", request.method, request.path, response.status_code, extra=extra)
        return response

    return handle


def log_slow_queries(get_response: Handler) -> Handler:
    """A line for each query above the limit: its text, without the values."""

    def timed(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        begun = time.monotonic()
        try:
            return execute(sql, parameters, many, context)
        finally:
            milliseconds = round(1000 * (time.monotonic() - begun))
            if milliseconds >= settings.ENVIRONMENT.slow_query_ms:
                slow.warning("slow query: %s ms: %s", milliseconds, sql)

    def handle(request: HttpRequest) -> HttpResponse:
        with connection.execute_wrapper(timed):
            return get_response(request)

    return handle
