# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/probes.md: every type of probe, from the table that the engine itself reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.quai.ops.plugins.module_utils._probe_base import REASONS, STATUSES
from ansible_collections.quai.ops.plugins.module_utils._probe_types import COMMON, TYPES, Option, ProbeType

INTRODUCTION = f"""# Probes

<!-- Written by tools/generate.py from plugins/module_utils/_probe_types.py; do not edit. -->

A probe asks one question. The same probes are the gate of a release (`quai.ops.health_probe`), the watch of a host
(`quai-monitor`) and what `playbooks/health.yml` asks now. Most follow from a project's
[declaration](declaration.md); any can be added or changed there below `overrides.monitoring_cron_probes`.

A probe ends as one of {", ".join(f"`{status}`" for status in STATUSES)}. `degraded` was good only when asked again;
`unknown` means that the prober itself could not ask. Why it is bad is one of
{", ".join(f"`{reason}`" for reason in REASONS)}.

Conditions read `FIELD OP VALUE`, joined by `and` or `or`; OP is `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `!in` (a range
`200-299` or a list `200,204`), `~` or `!~` (a regular expression). Text with blanks is put in double quotes. For a
type's value, `warn` and `crit` also take a range as Nagios plugins write it (`85`, `10:`, `@10:20`). With
`{{on: used_pct > 85, clear: used_pct < 80}}` a state that was entered is left only when `clear` holds. A field that is
not known is null and fulfils no comparison.
"""


def probe_reference() -> str:
    """Return the whole page."""
    sections = [INTRODUCTION, "## Options of every probe\n\n" + _options(COMMON)]
    sections += [_section(name, described) for name, described in TYPES.items()]
    return "\n".join(sections)


def _section(name: str, described: ProbeType) -> str:
    lines = [f"## {name}\n", f"{described.help}\n"]
    if described.at_least_one:
        lines.append(f"At least one of {_code(described.at_least_one)} must be given.\n")
    if described.options:
        lines.append(_options(described.options))
    lines.append("| field | what it is |\n|---|---|")
    lines += [f"| `{field}` | {_cell(text)} |" for field, text in described.fields.items()]
    unless = [(level, getattr(described, level)) for level in ("expect", "warn", "crit")]
    said = "; ".join(f"{level} {_code(rules)}" for level, rules in unless if rules)
    lines.append(f"\nUnless said otherwise: {said}. Its value is `{described.main}`{_unit(described)}.\n")
    return "\n".join(lines)


def _unit(described: ProbeType) -> str:
    return f" ({described.unit})" if described.unit else ""


def _options(options: dict[str, Option]) -> str:
    rows = ["| option | kind | default | what it is |", "|---|---|---|---|"]
    for name, option in options.items():
        kind = "/".join(choice or '""' for choice in option.choices) or option.kind
        default = "required" if option.required else _default(option.default)
        rows.append(f"| `{name}` | {kind} | {default} | {_cell(option.help)} |")
    return "\n".join(rows) + "\n"


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "" if value in (None, "", (), {}, []) else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(items: Iterable[str]) -> str:
    return ", ".join(f"`{item}`" for item in items)
