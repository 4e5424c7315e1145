# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verification after a release: what is asked from outside, and what is wrong with an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def verify_command(wanted: Mapping[str, Any], connect_to: str = "", trust: str = "") -> list[str]:
    """The curl call for one entry of C(release_verify).

    C(connect_to) is an address to use in place of what the name resolves to, C(trust) a file of certificates to
    trust in place of the system's. Five tries, because nginx may have been told of a new back end this very second.
    """
    command = ["curl", "--silent", "--show-error", "--max-time", "20"]
    command += ["--retry", "5", "--retry-delay", "1", "--retry-connrefused"]
    command += ["--output", "/dev/null", "--write-out", "%{http_code}"]
    if connect_to:
        command += ["--connect-to", f"::{connect_to}:"]
    if trust:
        command += ["--cacert", trust]
    for name, value in wanted["headers"].items():
        command += ["--header", f"{name}: {value}"]
    return [*command, "--request", wanted["method"], wanted["url"]]


def wrong_answer(result: Mapping[str, Any]) -> str:
    """What is wrong with an answer that C(playbooks/tasks/verify.yml) got; empty when it is as declared."""
    wanted = result["__quai_verify"]
    expected = wanted["expect"].get("status") or [200]
    request = f"{wanted['method']} {wanted['url']}"
    if result["rc"] != 0:
        # curl's first line says what happened; those after it explain certificates in general.
        return f"{request}: {(str(result['stderr']).strip() or 'no answer').splitlines()[0]}"
    if int(result["stdout"]) not in expected:
        return f"{request} answered {result['stdout']}, {' or '.join(map(str, expected))} is expected"
    return ""


class FilterModule:
    """Filters of playbooks/tasks/verify.yml."""

    def filters(self) -> dict[str, Any]:
        """Names and functions."""
        return {"verify_command": verify_command, "wrong_answer": wrong_answer}
