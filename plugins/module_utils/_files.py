# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as a set: what a role wants on a host, compared with what is there, then made so in one go.

Deciding (C(plan)) is apart from acting (C(apply)); the staged check in between runs a program such as C(nginx -t)
on a copy of the tree that already holds every change, so that a wrong set is refused before the first write.
"""

from __future__ import annotations

import errno
import fnmatch
import grp
import os
import pwd
import shutil
import stat
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

Command = Callable[[Sequence[str]], "tuple[int, str]"]

# One fixed place in memory, so that copies of private files which a killed run left there go with the next run.
STAGING = Path("/run/quai/staged")
DEFAULT_MODES = {"file": 0o644, "directory": 0o755}
# What may be in the way of a wanted state. Anything else is somebody's data, and a person must decide.
REPLACEABLE = {"file": ("file", "link"), "link": ("file", "link"), "directory": ("directory",)}


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

    @property
    def rewrites(self) -> bool:
        """Whether a file gets other bytes, and not only another mode or owner."""
        return self.entry.state == "file" and bool({"create", "content", "replace"} & set(self.what))

    @property
    def content(self) -> bytes:
        """The bytes of the file afterwards."""
        return self.entry.content if self.rewrites else self.before.content

    @property
    def mode(self) -> int:
        """The mode afterwards: the wanted one, else the one that is there, else the usual one."""
        if self.entry.mode is not None:
            return self.entry.mode
        if self.before.kind == self.entry.state:
            return self.before.mode
        return DEFAULT_MODES.get(self.entry.state, 0)

    @property
    def private(self) -> bool:
        """Whether the content may not be shown: declared so, or not readable for everybody on the host either."""
        modes = [self.mode] if self.entry.state == "file" else []
        modes += [self.before.mode] if self.before.kind == "file" else []
        return self.entry.secret or any(not mode & stat.S_IROTH for mode in modes)


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
    if seen.kind == "absent":
        return ("create",)
    if seen.kind not in REPLACEABLE[entry.state]:
        there = {"other": "no file, directory or link"}.get(seen.kind, f"a {seen.kind}")
        raise FileSetError(f"{entry.path} is {there}, and a {entry.state} is wanted there; move it away first")
    if entry.state == "link":
        if seen.kind == "file":
            return ("replace",)
        return () if seen.target == entry.target else ("target",)
    if seen.kind == "link":
        return ("replace",) if entry.force else ()
    parts = []
    if entry.state == "file" and entry.force and seen.content != entry.content:
        parts.append("content")
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
    twice = sorted(str(path) for path, count in Counter(entry.path for entry in entries).items() if count > 1)
    if twice:
        raise FileSetError(f"wanted twice in one set: {', '.join(twice)}; each path may stand once")
    gone = {entry.path for entry in entries if entry.state == "absent"}
    for entry in entries:
        lost = gone.intersection(entry.path.parents)
        if lost and entry.state != "absent":
            raise FileSetError(f"{entry.path} is wanted, and {lost.pop()} above it is to be absent; give one of them")
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
    """Run a command; returns its exit code and what it printed. A program that is not there ends as in a shell."""
    try:
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except FileNotFoundError:
        return 127, f"{command[0]} is not installed on this host"
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()


def verify(
    changes: Sequence[Change],
    checks: Sequence[TreeCheck],
    *,
    may_skip: bool,
    execute: Command = run,
    staging: Path = STAGING,
) -> list[str]:
    """Run file validators and staged tree checks on what is about to be written.

    With ``may_skip`` (check mode) a program that the host does not have yet is named in the returned list instead
    of failing. Raises FileSetError with the program's own words when it refuses.
    """
    skipped = []
    for change in changes:
        path = change.entry.path
        if change.entry.validate and change.rewrites:
            with _staged(staging) as scratch:
                candidate = scratch / path.name
                _create(candidate, change.content)
                command = [part.replace("%s", str(candidate)) for part in change.entry.validate]
                skipped += _try(command, path, candidate, may_skip, execute)
    for check in checks:
        below = [change for change in changes if check.tree in change.entry.path.parents]
        if not below:
            continue
        with _staged(staging) as scratch:
            copy = scratch / check.tree.name
            if check.tree.is_dir():
                shutil.copytree(check.tree, copy, symlinks=True)
            else:
                copy.mkdir()
            for change in below:
                _stage(change, copy / change.entry.path.relative_to(check.tree))
            command = [part.replace("{tree}", str(copy)) for part in check.command]
            skipped += _try(command, check.tree, copy, may_skip, execute)
    return skipped


@contextmanager
def _staged(place: Path) -> Iterator[Path]:
    """An empty directory for nobody else's eyes, removed afterwards."""
    if place.exists():
        shutil.rmtree(place)
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    place.mkdir(mode=0o700)
    try:
        yield place
    finally:
        shutil.rmtree(place)


def _stage(change: Change, path: Path) -> None:
    entry = change.entry
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
        _create(path, change.content)


def _try(command: Sequence[str], subject: Path, staged: Path, may_skip: bool, execute: Command) -> list[str]:
    if shutil.which(command[0]) is None:
        if may_skip:
            return [f"{subject}: {command[0]} is not installed yet, so its check was left for the real run"]
        raise FileSetError(f"{subject} cannot be checked: {command[0]} is not installed on this host")
    code, said = execute(command)
    if code == 0:
        return []
    said = said.replace(str(staged), str(subject))
    raise FileSetError(f"{subject} was refused by '{command[0]}' and nothing was written: {said}")


def apply(changes: Sequence[Change]) -> None:
    """Make the changes: first all that may fail (owners, room on the disk), then renames, which do not.

    Each file is replaced whole (written beside, synced, renamed), so no reader ever sees half of one. Raises
    FileSetError; when the first half failed, no file was changed.
    """
    owners = [_owner(change.entry) for change in changes]
    for change, owner in zip(changes, owners):
        try:
            _prepare(change, *owner)
        except OSError as error:
            for one in changes:
                with suppress(OSError):
                    _beside(one.entry.path).unlink()
            raise FileSetError(f"{_cannot(change.entry.path, error)}; no file was changed") from error
    for change, owner in zip(changes, owners):
        try:
            _commit(change, *owner)
        except OSError as error:
            raise FileSetError(_cannot(change.entry.path, error)) from error
    for directory in dict.fromkeys(change.entry.path.parent for change in changes):
        _sync_directory(directory)


def _prepare(change: Change, uid: int, gid: int) -> None:
    path, state = change.entry.path, change.entry.state
    if state == "absent":
        return
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if state == "directory":
        path.mkdir(mode=0o700, exist_ok=True)
        _own(path, change.mode, uid, gid)
    elif state == "link":
        _beside(path).unlink(missing_ok=True)
        _beside(path).symlink_to(change.entry.target)
    elif change.rewrites:
        _beside(path).unlink(missing_ok=True)
        _create(_beside(path), change.content, change.mode, uid, gid)


def _commit(change: Change, uid: int, gid: int) -> None:
    path, state = change.entry.path, change.entry.state
    if state == "absent":
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    elif state == "link" or change.rewrites:
        _beside(path).replace(path)
    elif state == "file":
        # In place: rewriting what only needs another mode would undo what its program writes meanwhile.
        _own(path, change.mode, uid, gid)


def _owner(entry: Entry) -> tuple[int, int]:
    if entry.state in ("absent", "link"):
        return -1, -1
    uid, gid = user_id(entry.owner), group_id(entry.group)
    if uid is None or gid is None:
        unknown = f"user {entry.owner!r}" if uid is None else f"group {entry.group!r}"
        raise FileSetError(
            f"{entry.path} is to belong to {unknown}, which this host does not have; nothing was written"
        )
    return uid, gid


def _cannot(path: Path, error: OSError) -> str:
    hint = "; free some space, then run again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    other = f" ({error.filename})" if error.filename not in (None, str(path), str(_beside(path))) else ""
    return f"{path} cannot be written: {error.strerror}{other}{hint}"


def write(path: Path, content: bytes, mode: int, uid: int = -1, gid: int = -1) -> None:
    """Replace ``path`` atomically: the bytes are on disk, with owner and mode, before the name points to them."""
    beside = _beside(path)
    try:
        beside.unlink(missing_ok=True)
        _create(beside, content, mode, uid, gid)
        beside.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error


def _create(path: Path, content: bytes, mode: int = 0o600, uid: int = -1, gid: int = -1) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
        os.fchown(stream.fileno(), uid, gid)
        os.fchmod(stream.fileno(), mode)
        stream.flush()
        os.fsync(stream.fileno())


def _own(path: Path, mode: int, uid: int, gid: int) -> None:
    # Never through a link that somebody put there since we looked.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fchown(handle, uid, gid)
        os.fchmod(handle, mode)
    finally:
        os.close(handle)


def _beside(path: Path) -> Path:
    # A leading dot keeps the candidate out of every include glob. The name is fixed (writers hold a lock), so what a
    # killed run left is overwritten by the next one.
    return path.with_name(f".{path.name}.quai-new")


def _sync_directory(directory: Path) -> None:
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return  # it was removed as well
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def describe(change: Change) -> dict[str, str]:
    """A diff entry as Ansible prints it. What may not be shown is replaced by a remark."""
    entry, seen = change.entry, change.before
    before = after = ""
    if seen.kind != "absent":
        content = "(former content, not shown)" if change.private else _text(seen.content)
        before = _picture(seen.kind, seen.mode, _name(seen.uid, seen.gid), seen.target, content)
    if entry.state != "absent":
        content = _text(change.content)
        if change.private:
            content = "(new content, not shown)" if change.rewrites else "(former content, not shown)"
        after = _picture(entry.state, change.mode, f"{entry.owner}:{entry.group}", entry.target, content)
    return {
        "before_header": str(entry.path),
        "after_header": f"{entry.path} ({', '.join(change.what)})",
        "before": before,
        "after": after,
    }


def _text(content: bytes) -> str:
    return content.decode("utf-8", "backslashreplace").rstrip("\n")


def _picture(kind: str, mode: int, owner: str, target: str, content: str) -> str:
    if kind == "link":
        return f"-> {target}\n"
    head = f"# {kind}, mode {mode:04o}, owner {owner}\n"
    return f"{head}{content}\n" if kind == "file" and content else head


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
    "STAGING", "Change", "Entry", "FileSetError", "Purge", "Seen", "TreeCheck",
    "apply", "describe", "difference", "group_id", "look", "plan", "run", "user_id", "verify", "write",
]
