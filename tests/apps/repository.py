# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The git repository of a stand-in that is released from git: one commit and one tag per release.

C(releases.yml) lists the releases, the oldest first. The files of a release are those of C(source/) beside it, and

    tag      its name, annotated; also the content of the file VERSION
    over     directories beside releases.yml that are laid over the source, in order
    without  paths, or patterns of paths, that this release does not have
    fault    what is wrong with it: the content of the file FAULT, which a good release does not have
    after    the release that its commit follows; otherwise the last good one above it

The branch main ends at the last release without a fault. The same files give the same commits everywhere.
"""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

AUTHOR = "Release <release@example.invalid>"
# 1 January 2025, noon; every further release is a day younger.
FIRST, DAY = 1735732800, 86400
# What building leaves behind in a source tree.
NEVER = frozenset({".git", "__pycache__", "dist", "node_modules", "staticfiles", "venv"})
FIELDS = {"tag", "over", "without", "fault", "after"}
FILE, PROGRAM, LINK = "100644", "100755", "120000"

Files = dict[str, tuple[str, bytes]]


class ListingError(ValueError):
    """The listing does not say what a release is made of."""


@dataclass(frozen=True)
class Release:
    """One commit with its tag."""

    tag: str
    files: Files
    fault: str
    after: str


def make(listing: Path, target: Path) -> None:
    """Make the bare repository C(target), which must not exist."""
    releases = load(listing)
    if target.exists():
        raise FileExistsError(f"{target} exists")
    # Nobody's own settings, hooks or templates: the commits depend on the files only.
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }

    def git(*arguments: str, stdin: bytes = b"") -> None:
        done = subprocess.run(
            ["git", *arguments], input=stdin, capture_output=True, env=environment, timeout=60, check=False
        )
        if done.returncode:
            raise ListingError(f"git {arguments[0]} of {listing}: {done.stderr.decode(errors='replace').strip()}")

    git("init", "--quiet", "--bare", "--template=", "--object-format=sha1", "--initial-branch=main", str(target))
    git("--git-dir", str(target), "fast-import", "--quiet", "--done", stdin=b"".join(_stream(releases)))
    # So that a plain web server can offer it too.
    git("--git-dir", str(target), "update-server-info")


def load(listing: Path) -> list[Release]:
    """Read a releases.yml and the files of its releases."""
    entries = yaml.safe_load(listing.read_text("utf-8"))
    if not isinstance(entries, list) or not entries:
        raise ListingError(f"{listing} is not a list of releases")
    releases: list[Release] = []
    good = ""
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not {"tag"} <= entry.keys() <= FIELDS:
            raise ListingError(
                f"{listing}, release {number}: {entry!r} needs a tag and may have {', '.join(sorted(FIELDS - {'tag'}))}"
            )
        release = _release(listing, entry, good)
        known = [other.tag for other in releases]
        if release.tag in known:
            raise ListingError(f"{listing}: {release.tag} is listed twice")
        if release.after and release.after not in known:
            raise ListingError(f"{listing}: {release.tag} is after {release.after}, which is not above it")
        releases.append(release)
        good = good if release.fault else release.tag
    if not good:
        raise ListingError(f"{listing} has no release without a fault")
    return releases


def _release(listing: Path, entry: dict[str, Any], good: str) -> Release:
    tag, fault = str(entry["tag"]), str(entry.get("fault", ""))
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z._-]*", tag):
        raise ListingError(f"{listing}: {tag!r} is no tag")
    files: Files = {}
    for directory in ("source", *entry.get("over", [])):
        root = listing.parent / directory
        if not root.is_dir():
            raise ListingError(f"{listing}: {tag} is made of {directory}, which is no directory")
        files.update(_tree(root))
    for pattern in entry.get("without", []):
        gone = fnmatch.filter(files, pattern)
        if not gone:
            raise ListingError(f"{listing}: {tag} is without {pattern}, which it would not have anyway")
        for path in gone:
            del files[path]
    files["VERSION"] = (FILE, f"{tag}\n".encode())
    if fault:
        files["FAULT"] = (FILE, f"{fault}\n".encode())
    return Release(tag, files, fault, str(entry.get("after", good)))


def _tree(root: Path) -> Iterator[tuple[str, tuple[str, bytes]]]:
    for path in sorted(root.rglob("*")):
        place = path.relative_to(root)
        if NEVER & set(place.parts) or path.suffix == ".pyc":
            continue
        if path.is_symlink():
            yield place.as_posix(), (LINK, os.fsencode(path.readlink()))
        elif path.is_file():
            yield place.as_posix(), (PROGRAM if path.stat().st_mode & 0o100 else FILE, path.read_bytes())


def _stream(releases: list[Release]) -> Iterator[bytes]:
    """What git fast-import reads: commits, then tags, then the branch."""
    marks = {release.tag: f":{number}" for number, release in enumerate(releases, 1)}
    for number, release in enumerate(releases):
        moment = f"{AUTHOR} {FIRST + number * DAY} +0000"
        # A name of its own for each, or fast-import would make the commits one branch.
        yield f"commit refs/tags/{release.tag}\nmark {marks[release.tag]}\ncommitter {moment}\n".encode()
        yield _data(f"Release {release.tag}\n".encode())
        if release.after:
            yield f"from {marks[release.after]}\n".encode()
        yield b"deleteall\n"
        for path, (mode, content) in sorted(release.files.items()):
            yield f'M {mode} inline "{_quoted(path)}"\n'.encode() + _data(content)
        yield f"tag {release.tag}\nfrom {marks[release.tag]}\ntagger {moment}\n".encode()
        yield _data(f"Release {release.tag}\n".encode())
    last = [release.tag for release in releases if not release.fault][-1]
    yield f"reset refs/heads/main\nfrom {marks[last]}\n\ndone\n".encode()


def _data(content: bytes) -> bytes:
    return f"data {len(content)}\n".encode() + content + b"\n"


def _quoted(path: str) -> str:
    return path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
