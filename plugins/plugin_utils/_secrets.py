# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets: making them, completing a project's set of them, and putting them where they are named."""

from __future__ import annotations

import base64
import math
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml
from ansible_collections.quai.ops.plugins.plugin_utils._fields import PLACEHOLDER

ALPHANUMERIC: Final = string.ascii_letters + string.digits
Random = Callable[[int], bytes]  # secrets.token_bytes, or a stand-in in tests


class MissingSecretsError(Exception):
    """Places name secrets that have no value. Says names, never values."""


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """Replace ${NAME} by its value everywhere, and $${ by ${."""
    missing: set[str] = set()
    result = _fill(template, values, missing)
    if missing:
        raise MissingSecretsError(f"no value for {', '.join(sorted(missing))}")
    return result


def _fill(template: Any, values: Mapping[str, Any], missing: set[str]) -> Any:
    if isinstance(template, Mapping):
        return {str(key): _fill(value, values, missing) for key, value in template.items()}
    if isinstance(template, list):
        return [_fill(value, values, missing) for value in template]
    if not isinstance(template, str):
        return template
    missing |= {name for name in PLACEHOLDER.findall(template) if values.get(name) in (None, "")}
    return PLACEHOLDER.sub(lambda match: str(values.get(match[1])), template).replace("$${", "${")


def generate(format: str, size: int, random: Random) -> str:
    """Make a secret that holds C(size) random bytes."""
    if format == "hex":
        return random(size).hex()
    if format == "base64":
        return base64.b64encode(random(size)).decode()
    if format == "base64url":
        return base64.urlsafe_b64encode(random(size)).decode().rstrip("=")
    # As many characters as it takes to hold as much; bytes that would favour some letters are thrown away.
    length = math.ceil(size * 8 / math.log2(len(ALPHANUMERIC)))
    fair = 256 - 256 % len(ALPHANUMERIC)
    characters = ""
    while len(characters) < length:
        characters += "".join(ALPHANUMERIC[byte % len(ALPHANUMERIC)] for byte in random(length) if byte < fair)
    return characters[:length]


@dataclass(frozen=True)
class Completion:
    """What a project's secrets become."""

    values: dict[str, Any]
    generated: list[str]
    to_supply: dict[str, str]  # name -> where a person gets it


def complete(
    declared: Mapping[str, Any], existing: Mapping[str, Any], random: Random, placeholders: bool
) -> Completion:
    """Add what is missing; a value that is there is never touched."""
    values: dict[str, Any] = {}
    generated: list[str] = []
    to_supply: dict[str, str] = {}
    for name, secret in declared.items():
        if existing.get(name) not in (None, ""):
            values[name] = existing[name]
        elif secret["generate"]:
            values[name] = generate(secret["generate"]["format"], secret["generate"]["bytes"], random)
            generated.append(name)
        elif placeholders:
            values[name] = secret["placeholder"].replace("{random}", random(16).hex())
            generated.append(name)
        else:
            to_supply[name] = secret["supplied_by"]
    kept = {name: value for name, value in existing.items() if name not in declared}
    return Completion({**values, **kept}, generated, to_supply)


def render(variable: str, project: str, completion: Completion, declared: Mapping[str, Any]) -> str:
    """Write the variables file: values with what they are for, and what is still to be supplied."""
    lines = [
        "---",
        f"# Secrets of {project}. Complete it with: ansible-playbook playbooks/secrets.yml -e project={project}",
    ]
    lines.append(f"{variable}:" if completion.values else f"{variable}: {{}}")
    for name, value in completion.values.items():
        if name in declared:
            lines.append(f"  # {declared[name]['description']}")
        lines += [
            "  " + line for line in yaml.safe_dump({str(name): value}, allow_unicode=True, width=10**6).splitlines()
        ]
    for name, source in completion.to_supply.items():
        lines += [f"  # {declared[name]['description']} Get it from: {source}", f"  # {name}:"]
    return "\n".join(lines) + "\n"
