# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every probe has in common: the time it has, what it finds, and how it fails.

A check is a function C(check(spec, context)). It fills C(context.found) as it goes, so that what was learnt before a
failure is kept, and raises ProbeFailed when what it asks is bad, OwnFault when it could not ask.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Final

# Why a probe is bad: a closed list, so that alerts and metrics can be grouped by it.
REASONS: Final = (
    *("dns", "timeout", "refused", "reset", "tls_expired", "tls_host", "tls_chain", "tls_other"),
    *("status", "body", "json", "latency", "size", "redirect", "auth", "proto"),
    *("stale", "missing", "empty", "threshold", "heartbeat", "restarts", "own_error"),
)
# How a probe can end, from good to bad; unknown means that the prober itself could not ask.
STATUSES: Final = ("ok", "degraded", "warning", "critical", "unknown")
# What stands where a text was shortened.
CUT: Final = "…"

Spec = dict[str, Any]
Memory = dict[str, Any]


class ProbeFailed(Exception):
    """What was asked is bad. C(reason) is one of REASONS, C(status) how bad it is: one of STATUSES."""

    status = "critical"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class OwnFault(Exception):
    """The prober could not ask: a missing permission or tool, not a bad answer."""


class Found:
    """What a check has found so far. Times are seconds. C(fields) is what conditions can name; None means unknown."""

    __slots__ = ("details", "fields", "http", "ip", "log", "message", "phases", "tls")

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.phases: dict[str, float] = {}  # resolve, connect, tls, ttfb, transfer
        self.tls: dict[str, Any] = {}  # days, not_after, chain_days, issuer, version, verify_code
        self.http: dict[str, Any] = {}  # status, bytes, redirects
        self.details: dict[str, Any] = {}  # small, public, shown to people: version, started_at, …
        self.ip = ""
        self.message = ""  # one line for people when all is well
        self.log: list[str] = []  # last lines of the unit or container, when it is bad


def shorten(text: str, most: int) -> str:
    """At most C(most) characters of a text. The mark at the cut tells that half a secret may stand before it."""
    return text if len(text) <= most else text[: most - 1] + CUT


class Context:
    """The time a check has, what it remembers from one run to the next, and where its findings go."""

    __slots__ = ("_end", "clock", "found", "memory", "now", "timeout")

    def __init__(
        self,
        timeout: float,
        memory: Memory | None = None,
        now: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.timeout = timeout
        self.clock = clock
        self._end = clock() + timeout
        self.memory: Memory = {} if memory is None else memory
        self.now = time.time() if now is None else now  # seconds since 1970, the same for a whole run
        self.found = Found()

    def remaining(self) -> float:
        """Return the seconds that are left of the whole check, DNS included. Raises ProbeFailed when none are."""
        left = self._end - self.clock()
        if left <= 0:
            raise ProbeFailed("timeout", f"no answer within {self.timeout:g} s")
        return left


__all__ = ["CUT", "REASONS", "STATUSES", "Context", "Found", "Memory", "OwnFault", "ProbeFailed", "Spec", "shorten"]
