# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks/health.yml shows: every answer in a table, one line of verdict, and the page of all hosts."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.quai.ops.plugins.module_utils._report_html import html
from ansible_collections.quai.ops.plugins.module_utils._report_read import missing, read

GOOD = ("ok", "waiting")
ORDER = ("critical", "unknown", "warning", "degraded", "ok", "waiting")
WHERE = {"quai_inside": "on the host", "quai_outside": "from outside"}

Health = dict[str, Any]


def health_of_hosts(hosts: Iterable[str], hostvars: Mapping[str, Any]) -> list[Health]:
    """Return what was found on each host; a host that did not answer has none."""
    return [_health(host, hostvars[host]) for host in hosts]


def _health(host: str, variables: Mapping[str, Any]) -> Health:
    answers = []
    for name, where in WHERE.items():
        answers += [{**result, "where": where} for result in (variables.get(name) or {}).get("results") or []]
    return {
        "host": host,
        # That its sites answer the world says nothing of a host on which nothing could be asked.
        "silent": not any(answer["where"] == WHERE["quai_inside"] for answer in answers),
        "answers": answers,
        "report": _report(host, variables.get("quai_report") or {}),
    }


def _report(host: str, slurped: Mapping[str, Any]) -> Health:
    content = slurped.get("content")
    return read(base64.b64decode(content), host) if content else missing(host)


def health_verdict(found: list[Health]) -> dict[str, Any]:
    """Return C(table) (lines, the worst first), C(line) (one line) and C(good)."""
    silent = [health["host"] for health in found if health["silent"]]
    answers = [{**answer, "host": health["host"]} for health in found for answer in health["answers"]]
    bad = [answer for answer in answers if answer["status"] not in GOOD]
    counts = {status: sum(answer["status"] == status for answer in answers) for status in ORDER}
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "no answer"
    hosts = f"{len(found)} {'host' if len(found) == 1 else 'hosts'}"
    names = [f"{host} does not answer" for host in silent]
    # Bad inside and outside for the same reason is said once.
    names += dict.fromkeys(
        f"{answer['name']} on {answer['host']} ({answer['reason']})" for answer in sorted(bad, key=_rank)
    )
    what = ", ".join(names[:5]) + (" …" if len(names) > 5 else "") if names else "all is well"
    return {
        "table": [*(f"{host}: no answer" for host in silent), *map(_line, sorted(answers, key=_rank))],
        "line": f"{hosts}: {said}; {what}",
        "good": not silent and bool(answers) and not counts["critical"] and not counts["unknown"],
    }


def _rank(answer: Mapping[str, Any]) -> tuple[int, str, str]:
    return ORDER.index(answer["status"]), answer["host"], answer["name"]


def _line(answer: Mapping[str, Any]) -> str:
    why = f"{answer['reason']}: {answer['message']}" if answer["status"] != "ok" else _value(answer)
    return f"{answer['status']:<9} {answer['host']:<12} {answer['name']:<32} {answer['where']:<13} {why}".rstrip()


def _value(answer: Mapping[str, Any]) -> str:
    value = answer.get("value")
    if value is None:
        return ""
    return f"{value:g} {answer.get('unit') or ''}".rstrip() if isinstance(value, (int, float)) else str(value)


def health_page(found: list[Health]) -> str:
    """Return the page of all hosts, from what their watches wrote last."""
    return html([health["report"] for health in found], time.time())


class FilterModule:
    """Filters of playbooks/health.yml."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {"health_of_hosts": health_of_hosts, "health_page": health_page, "health_verdict": health_verdict}
