# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as a set: what a role wants on a host, compared with what is there, then made so in one go.

Deciding (C(plan)) is apart from acting (C(apply)); the staged check in between runs a program such as C(nginx -t)
on a copy of the tree that already holds every change, so that a wrong set is refused before the first write.
"""

from __future__ import annotations

import fnmatch
import grp
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

Command = Callable[[Sequence[str]], "tuple[int, str]"]


class FileSetError(Exception):
    """The set cannot be applied; the message says which file and why."""


@dataclass(frozen=True)
class Entry:
    """One wanted path. ``content`` is given for files, ``target`` for links."""

    path: Path
    state: str = "file"
    content: bytes = b""
    target: str = ""
    owner: str = "root"
    group: str = "root"
    mode: int | None = None
    secret: bool = False
    force: bool = True
    notify: tuple[str, ...] = ()
    validate: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What lies at a path now. ``kind`` is absent, file, directory, link or other."""

    kind: str = "absent"
    content: bytes = b""
    target: str = ""
    uid: int = 0
    gid: int = 0
    mode: int = 0


@dataclass(frozen=True)
class Change:
    """One difference between wanted and seen; ``what`` names its parts (create, content, mode, owner, remove …)."""

    entry: Entry
    before: Seen
    what: tuple[str, ...]


@dataclass(frozen=True)
class Purge:
    """Everything in ``directory`` that matches a pattern and is not wanted goes."""

    directory: Path
    patterns: tuple[str, ...]
    notify: tuple[str, ...] = ()


@dataclass(frozen=True)
class TreeCheck:
    """A program that must accept the tree as it will be; ``{tree}`` in the command is the staged copy."""

    tree: Path
    command: tuple[str, ...]


@dataclass
class Outcome:
    """What ``apply`` did or would do."""

    changes: list[Change] = field(default_factory=list)
    skipped_checks: list[str] = field(default_factory=list)


def look(path: Path) -> Seen:
    """Read what lies at ``path`` without following a final link."""
    try:
        info = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return Seen()
    kind, content, target = "other", b"", ""
    if stat.S_ISLNK(info.st_mode):
        kind, target = "link", str(path.readlink())
    elif stat.S_ISDIR(info.st_mode):
        kind = "directory"
    elif stat.S_ISREG(info.st_mode):
        kind, content = "file", path.read_bytes()
    return Seen(kind, content, target, info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode))


def user_id(name: str) -> int | None:
    """Numeric id of a user name or of digits; None when the host does not know the name."""
    if name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def group_id(name: str) -> int | None:
    """Numeric id of a group name or of digits; None when the host does not know the name."""
    if name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def difference(entry: Entry, seen: Seen) -> tuple[str, ...]:
    """Which parts of ``entry`` differ from ``seen``; empty when nothing is to do."""
    if entry.state == "absent":
        return () if seen.kind == "absent" else ("remove",)
    if entry.state == "link":
        if seen.kind == "absent":
            return ("create",)
        if seen.kind != "link":
            return ("replace",)
        return () if seen.target == entry.target else ("target",)
    if seen.kind == "absent":
        return ("create",)
    if entry.state == "directory" and seen.kind != "directory":
        raise FileSetError(f"{entry.path} is a {seen.kind}, a directory is wanted there; move it away first")
    if entry.state == "file" and seen.kind in ("directory", "other"):
        raise FileSetError(f"{entry.path} is a {seen.kind}, a file is wanted there; move it away first")
    parts = []
    if seen.kind == "link":
        parts.append("replace")
    elif entry.state == "file" and entry.force and seen.content != entry.content:
        parts.append("content")
    if seen.kind != "link":
        if entry.mode is not None and seen.mode != entry.mode:
            parts.append("mode")
        # A name the host does not know yet differs from every id.
        if user_id(entry.owner) != seen.uid or group_id(entry.group) != seen.gid:
            parts.append("owner")
    return tuple(parts)


def plan(
    entries: Sequence[Entry], purges: Sequence[Purge] = (), see: Callable[[Path], Seen] = look
) -> list[Change]:
    """Every change that makes the host as wanted, in the order of the entries, purges last."""
    twice = sorted({str(e.path) for e in entries if [x.path for x in entries].count(e.path) > 1})
    if twice:
        raise FileSetError(f"wanted twice in one set: {', '.join(twice)}; each path may stand once")
    changes = []
    for entry in entries:
        seen = see(entry.path)
        parts = difference(entry, seen)
        if parts:
            changes.append(Change(entry, seen, parts))
    wanted = {entry.path for entry in entries if entry.state != "absent"}
    for purge in purges:
        for path in _matching(purge):
            seen = see(path)
            if path not in wanted and seen.kind in ("file", "link"):
                entry = Entry(path, state="absent", notify=purge.notify)
                if all(change.entry.path != path for change in changes):
                    changes.append(Change(entry, seen, ("remove",)))
    return changes


def _matching(purge: Purge) -> list[Path]:
    try:
        found = sorted(purge.directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for path in found if any(fnmatch.fnmatchcase(path.name, one) for one in purge.patterns)]


def run(command: Sequence[str]) -> tuple[int, str]:
    """Run a command; returns its exit code and what it printed."""
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()


def verify(
    changes: Sequence[Change], checks: Sequence[TreeCheck], *, may_skip: bool, execute: Command = run
) -> list[str]:
    """Run file validators and staged tree checks on what is about to be written.

    With ``may_skip`` (check mode) a program that the host does not have yet is named in the returned list instead
    of failing. Raises FileSetError with the program's own words when it refuses.
    """
    skipped = []
    for change in changes:
        entry = change.entry
        if entry.validate and entry.state == "file":
            with tempfile.TemporaryDirectory(prefix="quai-validate-") as scratch:
                candidate = Path(scratch) / entry.path.name
                _create(candidate, entry.content, 0o600)
                command = [part.replace("%s", str(candidate)) for part in entry.validate]
                skipped += _try(command, f"{entry.path}", {str(candidate): str(entry.path)}, may_skip, execute)
    for check in checks:
        below = [change for change in changes if check.tree in change.entry.path.parents]
        if not below:
            continue
        with tempfile.TemporaryDirectory(prefix="quai-staged-") as scratch:
            staged = Path(scratch) / check.tree.name
            if check.tree.is_dir():
                shutil.copytree(check.tree, staged, symlinks=True)
            else:
                staged.mkdir()
            for change in below:
                _stage(change.entry, staged / change.entry.path.relative_to(check.tree))
            command = [part.replace("{tree}", str(staged)) for part in check.command]
            skipped += _try(command, f"{check.tree}", {str(staged): str(check.tree)}, may_skip, execute)
    return skipped


def _stage(entry: Entry, path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    if entry.state == "absent":
        if path.is_dir():
            shutil.rmtree(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.state == "directory":
        path.mkdir(exist_ok=True)
    elif entry.state == "link":
        path.symlink_to(entry.target)
    else:
        _create(path, entry.content, 0o600)


def _try(
    command: Sequence[str], subject: str, real_names: dict[str, str], may_skip: bool, execute: Command
) -> list[str]:
    if shutil.which(command[0]) is None:
        if may_skip:
            return [f"{subject}: {command[0]} is not installed yet, so its check was left for the real run"]
        raise FileSetError(f"{subject} cannot be checked: {command[0]} is not installed on this host")
    code, said = execute(command)
    if code == 0:
        return []
    for staged, real in real_names.items():
        said = said.replace(staged, real)
    raise FileSetError(f"{subject} was refused by '{command[0]}' and nothing was written: {said}")


def apply(changes: Iterable[Change]) -> None:
    """Make the changes. Each file is replaced whole (write beside, fsync, rename), so no reader sees half of one."""
    for change in changes:
        entry = change.entry
        if entry.state == "absent":
            _remove(entry.path)
            continue
        uid, gid = user_id(entry.owner), group_id(entry.group)
        if uid is None or gid is None:
            unknown = f"user {entry.owner!r}" if uid is None else f"group {entry.group!r}"
            raise FileSetError(f"{entry.path} is to belong to {unknown}, which this host does not have")
        entry.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if entry.state == "link":
            beside = _beside(entry.path)
            beside.unlink(missing_ok=True)
            beside.symlink_to(entry.target)
            if change.before.kind == "directory":
                raise FileSetError(f"{entry.path} is a directory, a link is wanted there; move it away first")
            beside.replace(entry.path)
        elif entry.state == "directory":
            entry.path.mkdir(mode=0o700, exist_ok=True)
            os.chown(entry.path, uid, gid)
            entry.path.chmod(0o755 if entry.mode is None else entry.mode)
        else:
            replaces_content = bool({"create", "content", "replace"} & set(change.what))
            content = entry.content if replaces_content else change.before.content
            kept = change.before.mode if change.before.kind == "file" else 0o644
            write(entry.path, content, kept if entry.mode is None else entry.mode, uid, gid)
        _sync_directory(entry.path.parent)


def write(path: Path, content: bytes, mode: int, uid: int = -1, gid: int = -1) -> None:
    """Replace ``path`` atomically: the bytes are on disk, with owner and mode, before the name points to them."""
    beside = _beside(path)
    beside.unlink(missing_ok=True)
    try:
        _create(beside, content, 0o600)
        os.chown(beside, uid, gid)
        beside.chmod(mode)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _create(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _beside(path: Path) -> Path:
    # A leading dot keeps the candidate out of every include glob. The name is fixed (writers hold a lock), so what a
    # killed run left is overwritten by the next one.
    return path.with_name(f".{path.name}.quai-new")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def describe(change: Change) -> dict[str, str]:
    """A diff entry as Ansible prints it. Contents of secret files are replaced by a remark."""
    entry, seen = change.entry, change.before
    return {
        "before_header": str(entry.path),
        "after_header": f"{entry.path} ({', '.join(change.what)})",
        "before": _picture(seen, hide=entry.secret),
        "after": _picture(_wanted(change), hide=entry.secret),
    }


def _wanted(change: Change) -> Seen | Entry:
    entry = change.entry
    if entry.state == "absent":
        return Seen()
    if entry.state == "file" and not {"create", "content", "replace"} & set(change.what):
        return Seen("file", content=change.before.content, mode=entry.mode or 0, uid=-1)
    return entry


def _picture(thing: Seen | Entry, *, hide: bool) -> str:
    kind = thing.kind if isinstance(thing, Seen) else thing.state
    if kind == "absent":
        return ""
    lines = []
    if isinstance(thing, Entry):
        if thing.mode is not None:
            lines.append(f"# mode {thing.mode:04o}, owner {thing.owner}:{thing.group}")
    elif kind != "link":
        owner = "" if thing.uid < 0 else f", owner {_name(thing.uid, thing.gid)}"
        lines.append(f"# mode {thing.mode:04o}{owner}")
    if kind == "link":
        lines.append(f"-> {thing.target}")
    elif kind == "file":
        lines.append("(content not shown: secret)" if hide else thing.content.decode("utf-8", "replace"))
    return "\n".join(lines).rstrip("\n") + "\n"


def _name(uid: int, gid: int) -> str:
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = str(gid)
    return f"{user}:{group}"


__all__ = [
    "Change", "Entry", "FileSetError", "Purge", "Seen", "TreeCheck",
    "apply", "describe", "difference", "group_id", "look", "plan", "run", "user_id", "verify", "write",
]
