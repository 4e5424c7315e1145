# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which modules of the engine a list of probes needs on a host, and their sources."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.quai.ops.plugins.module_utils._probe_types import TYPES

SOURCES = Path(__file__).resolve().parents[1] / "module_utils"
CORE = ("_probe_engine", "_probe_gate", "_probe_spec", "_probe_types")
METRICS = "_monitor_metrics"
_FROM = re.compile(r"\bmodule_utils\.(_\w+) import")
_IMPORT = re.compile(r"\bmodule_utils import (\([^)]*\)|[^\n]*)")


def names(arguments: Mapping[str, Any]) -> set[str]:
    """Return the modules that these options need; what is no type of probe is left for the module to refuse."""
    probes, defaults = arguments.get("probes"), arguments.get("defaults")
    common = defaults.get("type", "http") if isinstance(defaults, Mapping) else "http"
    found = {*CORE, *([METRICS] if arguments.get("textfile") else [])}
    for probe in probes if isinstance(probes, (list, tuple)) else []:
        kind = TYPES.get(str(probe.get("type", common))) if isinstance(probe, Mapping) else None
        if kind is not None:
            found.add(kind.check.split(":")[0])
    return found


def closure(wanted: Iterable[str]) -> dict[str, str]:
    """Return the sources of modules and of all that they import, by name."""
    sources: dict[str, str] = {}
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        path = SOURCES / f"{name}.py"
        if name in sources or not path.exists():
            continue
        sources[name] = text = path.read_text(encoding="utf-8")
        waiting += _FROM.findall(text)
        waiting += [word for listed in _IMPORT.findall(text) for word in re.findall(r"\b_\w+", listed)]
    return sources


def packed(sources: Mapping[str, str]) -> str:
    """Return sources as one line of text."""
    return base64.b64encode(zlib.compress(json.dumps(sources).encode(), 6)).decode()
