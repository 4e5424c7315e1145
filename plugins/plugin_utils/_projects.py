# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of declarations, and which project lives on which host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ansible_collections.quai.ops.plugins.plugin_utils._load import Document, load_file
from ansible_collections.quai.ops.plugins.plugin_utils._problems import DeclarationError, Problem, suggestion
from ansible_collections.quai.ops.plugins.plugin_utils._validate import Declaration, Surroundings, validate
from ansible_collections.quai.ops.plugins.plugin_utils._values import pinned

SUFFIX = ".yml"


def find_directory(candidates: Iterable[str | None]) -> Path:
    """Return the first directory that exists."""
    tried = [Path(candidate) for candidate in candidates if candidate]
    for path in tried:
        if path.is_dir():
            return path.resolve()
    raise DeclarationError([Problem("projects", 0, (), f"no such directory; looked for {', '.join(map(str, tried))}")])


def declared(directory: Path) -> list[str]:
    """Return the names of all declared projects."""
    return sorted(path.stem for path in directory.glob(f"*{SUFFIX}"))


def group_of(project: str, groups: Iterable[str]) -> str:
    """Return the inventory group of a project; group names hold no dashes."""
    return project if project in set(groups) else project.replace("-", "_")


def placement(projects: Iterable[str], groups: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Return which projects each host carries."""
    hosts: dict[str, tuple[str, ...]] = {}
    for project in sorted(projects):
        for host in groups.get(group_of(project, groups), ()):
            hosts[host] = (*hosts.get(host, ()), project)
    return hosts


def load_projects(directory: Path, wanted: Iterable[str], groups: Mapping[str, Iterable[str]]) -> list[Document]:
    """Read the wanted projects and all that have a host; raise with every one that cannot be read."""
    known = declared(directory)
    placed = {project for projects in placement(known, groups).values() for project in projects}
    problems, documents = [], []
    for name in sorted({*wanted, *placed}):
        file = f"{directory.name}/{name}{SUFFIX}"
        if name not in known:
            hint = suggestion(name, known) or f"; declared: {', '.join(known) or 'none'}"
            problems.append(Problem(file, 0, (), f"does not exist{hint}"))
            continue
        try:
            documents.append(load_file(directory / f"{name}{SUFFIX}", file))
        except DeclarationError as error:
            problems += error.problems
    if problems:
        # What can be read is checked too: one run shows everything.
        raise DeclarationError([*problems, *validate(documents, Surroundings(hosts=placement(known, groups)))[1]])
    return documents


def unversioned(declarations: Iterable[Declaration], versions: Mapping[str, str]) -> list[Problem]:
    """Return a problem for each project that cannot be released without a version and has none."""
    return [
        Problem(
            declaration.document.file,
            0,
            (),
            f"has no version to release; add -e version=1.2.3 or set quai_versions.{declaration.name} in the inventory",
        )
        for declaration in declarations
        if not versions.get(declaration.name) and _needs_version(declaration)
    ]


def _needs_version(declaration: Declaration) -> bool:
    """Public images carry their own version, and a repository has a branch to fall back on."""
    images = [service["image"] for service in (declaration.data.get("services") or {}).values()]
    source = declaration.data.get("source") or {}
    return source.get("type") == "artifact" or any(name and not pinned(name) for name in images)
