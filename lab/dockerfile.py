# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Dockerfile is built from, and the key that tells when it must be built again. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from docker.utils.build import exclude_paths

_ARG = re.compile(r"^ARG\s+(\w+)(?:=(.*))?$", re.IGNORECASE)
_FROM = re.compile(r"^FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?\s*$", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


def parents(dockerfile: str, args: Mapping[str, str]) -> list[str]:
    """Images that the Dockerfile starts from, with their tags, without its own stages."""
    values: dict[str, str] = {}
    stages: set[str] = set()
    found: list[str] = []
    for line in map(str.strip, dockerfile.splitlines()):
        if argument := _ARG.match(line):
            name, default = argument.group(1), (argument.group(2) or "").strip("\"'")
            values.setdefault(name, args.get(name, default))
        elif start := _FROM.match(line):
            image = _VARIABLE.sub(lambda m: values.get(m.group(1) or m.group(2), ""), start.group(1))
            if image not in stages and image != "scratch":
                found.append(with_tag(image))
            if start.group(2):
                stages.add(start.group(2))
    return list(dict.fromkeys(found))


def with_tag(image: str) -> str:
    """`name` means `name:latest`."""
    return image if ":" in image.rpartition("/")[2] else f"{image}:latest"


def context_key(context: Path, args: Mapping[str, str], parent_keys: Sequence[str]) -> str:
    """A digest of everything that goes into an image: the files that the engine is sent, arguments, parents."""
    ignore = context / ".dockerignore"
    patterns = [line.strip() for line in ignore.read_text("utf-8").splitlines()] if ignore.exists() else []
    digest = hashlib.sha256(json.dumps([sorted(args.items()), list(parent_keys)]).encode())
    for name in sorted(exclude_paths(str(context), [p for p in patterns if p and not p.startswith("#")])):
        path = context / name
        if path.is_file():
            digest.update(f"\0{name}\0{path.stat().st_mode & 0o777:o}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
