# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that others read of a watch: C(report.json), the page and its text; and the page of several hosts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ansible_collections.quai.ops.plugins.module_utils import _monitor_store as store
from ansible_collections.quai.ops.plugins.module_utils._monitor_run import waiting_projects
from ansible_collections.quai.ops.plugins.module_utils._monitor_store import Paths, State
from ansible_collections.quai.ops.plugins.module_utils._report_data import build, day_line
from ansible_collections.quai.ops.plugins.module_utils._report_host import collect
from ansible_collections.quai.ops.plugins.module_utils._report_html import html
from ansible_collections.quai.ops.plugins.module_utils._report_read import clean, missing, read
from ansible_collections.quai.ops.plugins.module_utils._report_text import text

DAY: Final = 86400
_RECENT_FILES: Final = 3  # days whose every line the page needs, today included
_MODE: Final = 0o644  # for the web server; who may read it, the directory and the server say

Report = dict[str, Any]


def report(where: Paths, config: Mapping[str, Any], state: State, now: float) -> Report:
    """Return the content of C(report.json) as the watch knows it now."""
    previous: Any = None
    with suppress(OSError, ValueError):
        previous = json.loads((_directory(where, config) / "report.json").read_bytes())
    facts = collect(config, previous.get("facts") if isinstance(previous, dict) else None, str(where.root))
    # Only the state knows whether what is not there was there once, so that its project is asked and bad.
    idle = waiting_projects(config, where, state)
    for name, release in facts["releases"].items():
        release["waiting"] = name in idle
    return build(config, state, lines(where, now), now, facts)


def lines(where: Paths, now: float) -> list[dict[str, Any]]:
    """The history as the page needs it: everything of the last days, one line for each day before."""
    from datetime import datetime, timezone

    directory = where.state / "history"
    files = sorted(path for path in directory.glob("????-??-??.jsonl") if path.is_file())
    found = store.history(where, _RECENT_FILES)
    path = where.state / "days.json"
    known: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        known = json.loads(path.read_bytes())
    new = {}
    for one in files[:-_RECENT_FILES]:
        day = one.name[:10]
        if day in known:
            new[day] = known[day]
        else:
            number = int(datetime.fromisoformat(day).replace(tzinfo=timezone.utc).timestamp() // DAY)
            new[day] = day_line(number, one.read_bytes().splitlines())
    if new != known:
        with suppress(OSError):
            store.replace(path, store.dumps(new))
    return [*new.values(), *found]


def _directory(where: Paths, config: Mapping[str, Any]) -> Path:
    given = config["report"].get("directory")
    return Path(given) if given else where.state / "page"


def write(where: Paths, config: Mapping[str, Any], state: State, now: float) -> Report:
    """Make the page of this host and put its files into the directory of the configuration. Raises OSError."""
    directory = _directory(where, config)
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    made = report(where, config, state, now)
    checked = [clean(made)]
    store.replace(directory / "report.json", store.dumps(made), _MODE, sync=False)
    store.replace(directory / "index.html", html(checked, now).encode(), _MODE, sync=False)
    store.replace(directory / "report.txt", text(checked, now).encode(), _MODE, sync=False)
    return made


def gather(files: Sequence[Path]) -> list[Report]:
    """Reports from files; one that cannot be read is a host without data, never one less."""
    found = []
    for path in files:
        host = path.name[: -len(".json")] if path.name != "report.json" else path.parent.name
        try:
            found.append(read(path.read_bytes(), host))
        except OSError as error:
            found.append(missing(host, str(error.strerror)))
    return found


def fetch(config: Mapping[str, Any], get: Callable[[Mapping[str, Any]], bytes]) -> list[Report]:
    """Reports of the peers. C(get) returns the content of one, or raises ValueError with the reason."""
    found = []
    for peer in config["peers"]:
        name = str(peer["name"])
        try:
            found.append(read(get(peer), name))
        except ValueError as error:
            found.append(missing(name, str(error)))
    return found


__all__ = ["fetch", "gather", "lines", "report", "write"]
