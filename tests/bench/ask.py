# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the probes of a file once, as a program of its own with nothing but the engine in it.

C(ask.py PROBES.json CONCURRENCY) prints how many ended how, and the most memory it held.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ansible_collections.quai.ops.plugins.module_utils import _probe_engine, _probe_spec


def main() -> None:
    """Ask and count."""
    probes = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    results = _probe_engine.run_probes(_probe_spec.normalise(probes), concurrency=int(sys.argv[2]))
    counts: dict[str, int] = {}
    for result in results:
        key = result["reason"] or result["status"]
        counts[key] = counts.get(key, 0) + 1
    memory = Path("/proc/self/status").read_text(encoding="ascii").partition("VmHWM:")[2].split()[0]
    wrong = [f"{one['name']}: {one['reason']}: {one['message']}" for one in results if one["status"] != "ok"][:5]
    print(json.dumps({"counts": counts, "rss_kib": int(memory), "wrong": wrong}))


main()
