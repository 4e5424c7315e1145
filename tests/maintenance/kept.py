# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with scheduled work, seen from a test."""

from __future__ import annotations

import json
from typing import Any

STATE = "/var/lib/quai/maintenance"


class Kept:
    """The scenario's host."""

    def __init__(self, host: Any, password: str) -> None:
        self.host = host
        self._password = password

    def redis(self, *command: str) -> str:
        """Ask Redis."""
        quoted = " ".join(f"'{word}'" for word in command)
        return str(self.host.check_output(f"REDISCLI_AUTH={self._password} redis-cli {quoted}"))

    def fill(self) -> None:
        """Bring back what is to be cleaned."""
        self.host.check_output(f"REDISCLI_AUTH={self._password} /root/fill.py")

    def ids(self, queue: str, state: str) -> set[str]:
        """Jobs of a state."""
        return set(self.redis("ZRANGE", f"bull:{queue}:{state}", "0", "-1").split())

    def digest(self) -> str:
        """A digest of everything in Redis."""
        script = (
            'local keys, all = redis.call("KEYS", "*"), "" table.sort(keys) '
            'for _, key in ipairs(keys) do all = all .. key .. redis.call("DUMP", key) end return redis.sha1hex(all)'
        )
        return self.redis("EVAL", script, "0")

    def run(self, project: str, job: str, *options: str) -> Any:
        """Do a job by hand."""
        return self.host.run(" ".join(["quai-maintain", "run", project, job, *options]))

    def outcome(self, project: str, job: str) -> dict[str, Any]:
        """How a job ended last."""
        return dict(json.loads(self.host.file(f"{STATE}/{project}/{job}.json").content_string))
