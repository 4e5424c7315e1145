# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a release: fetched from git and built by an unprivileged user, in a directory of their own.

Nothing that serves is touched. Everything below the release's directory is done as that user: root follows no name
there, because whoever writes the code decides what it leads to. A release that is not complete has no mark, which lies
where only root writes, and is made anew.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils import _files
from ansible_collections.quai.ops.plugins.module_utils._release_run import StepFailed

PROTOCOLS: Final = "https:ssh:git:file"
# As the user: put what is shared in the place of a path of the release, which brings what it has if nothing is shared
# yet. $1 the path, $2 the shared directory, $3 whether it is a file in that directory.
SHARE: Final = """
set -eu
mkdir -p -- "$(dirname -- "$1")"
if [ "$3" = file ]; then
  place=$2/$(basename -- "$1")
  if [ -f "$1" ] && [ ! -L "$1" ] && [ ! -e "$place" ]; then cp -p -- "$1" "$place"; fi
else
  place=$2
  if [ -d "$1" ] && [ ! -L "$1" ] && [ -z "$(ls -A -- "$2")" ]; then cp -Rp -- "$1/." "$2/"; fi
fi
rm -rf -- "$1"
ln -s -- "$place" "$1"
"""
FETCH_SECONDS: Final = 300.0
TAIL_LINES: Final = 30
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BuildStep(NamedTuple):
    """One command of a build."""

    command: Sequence[str]
    directory: str  # in the release
    environment: Mapping[str, str]
    seconds: float  # it may take


class GitSource(NamedTuple):
    """Where the code comes from and how it is built."""

    repository: str
    ref: str
    user: str  # who fetches and builds
    build: Sequence[BuildStep]
    shared: Sequence[str]  # paths in the release that all releases share


class Tree(NamedTuple):
    """Where a project's releases lie, such as C(/srv/shop)."""

    root: Path

    @property
    def mirror(self) -> Path:
        """The repository as it was fetched last."""
        return self.root / "repository.git"

    def release(self, identity: str) -> Path:
        """The directory of one release."""
        return self.root / "releases" / identity

    def shared(self, path: str) -> Path:
        """The directory for a path that all releases share: what is there, or for a file, what holds it."""
        return self.root / "shared" / path.replace("/", "__")

    def mark(self, identity: str) -> Path:
        """A file that is there when a release is complete; it holds the commit."""
        return self.root / "complete" / identity


def prepare(tree: Tree, source: GitSource, identity: str) -> Path:
    """Fetch and build; returns the directory of the release, complete. Raises StepFailed with the last lines."""
    account = _account(source.user)
    target, mark = tree.release(identity), tree.mark(identity)
    if mark.exists():
        return target
    for directory in (tree.root, target.parent, tree.root / "shared", mark.parent):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    commit = fetch(tree, source)
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(mode=0o755)
    os.chown(target, account.pw_uid, account.pw_gid)
    _unpack(tree, commit, target, account)
    for name in source.shared:
        _share(tree, name, target, account)
    for number, step in enumerate(source.build, 1):
        where = target / step.directory
        if not where.is_dir():
            raise StepFailed(f"build step {number}: {step.directory} is no directory of {source.ref}")
        what = f"build step {number}, {' '.join(step.command)}"
        environment = {"CI": "true", **step.environment}
        with tempfile.TemporaryFile() as output:
            _run(step.command, where, account, output, what, environment=environment, seconds=step.seconds)
    _files.write(mark, f"{commit}\n".encode(), 0o644)
    return target


def fetch(tree: Tree, source: GitSource) -> str:
    """Bring the mirror up to date; returns the commit that the ref means now. Raises StepFailed."""
    account = _account(source.user)
    if source.ref.startswith("-"):
        raise StepFailed(f"{source.ref!r} is no tag, branch or commit")
    tree.root.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not (tree.mirror / "HEAD").exists():
        tree.mirror.mkdir(mode=0o755, exist_ok=True)
        os.chown(tree.mirror, account.pw_uid, account.pw_gid)
        _git(tree, account, "init", "--quiet", "--bare", str(tree.mirror))
    # Of a fetch that was killed. Nobody else fetches: the project's lock is held.
    with tempfile.TemporaryFile() as output:
        _run(["find", str(tree.mirror), "-name", "*.lock", "-delete"], tree.root, account, output, "find")
    _git(
        tree,
        account,
        *("fetch", "--quiet", "--prune", "--prune-tags", "--force", "--", source.repository),
        *("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"),
    )
    for name in (f"refs/tags/{source.ref}", f"refs/tags/v{source.ref}", f"refs/heads/{source.ref}", source.ref):
        with suppress(StepFailed):
            return _git(tree, account, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()
    raise StepFailed(f"{source.repository} has no tag, branch or commit {source.ref!r}")


def prune(tree: Tree, keep: Sequence[str]) -> list[str]:
    """Remove the directories of releases that are not among C(keep); returns their names."""
    gone = []
    releases = tree.root / "releases"
    for path in sorted(releases.iterdir()) if releases.is_dir() else []:
        if path.name not in keep:
            tree.mark(path.name).unlink(missing_ok=True)
            shutil.rmtree(path)
            gone.append(path.name)
    return gone


def _unpack(tree: Tree, commit: str, target: Path, account: pwd.struct_passwd) -> None:
    with tempfile.TemporaryFile() as archive, tempfile.TemporaryFile() as output:
        command = ["git", "-C", str(tree.mirror), "archive", "--format=tar", commit]
        _run(command, tree.mirror, account, archive, "git archive")
        archive.seek(0)
        _run(["tar", "-x", "-f", "-", "-C", str(target)], target, account, output, "tar", given=archive)


def _share(tree: Tree, name: str, target: Path, account: pwd.struct_passwd) -> None:
    """Let a path of the release lead to what all releases share."""
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise StepFailed(f"shared path {name!r} has to lie in the release")
    holder = tree.shared(name)
    if not holder.exists():
        holder.mkdir(mode=0o755)
        os.chown(holder, account.pw_uid, account.pw_gid)
    inside = target / name
    kind = "file" if inside.is_file() or (not inside.exists() and inside.suffix) else "directory"
    with tempfile.TemporaryFile() as output:
        command = ["/bin/sh", "-c", SHARE, "sh", str(inside), str(holder), kind]
        _run(command, target, account, output, f"sharing {name}")


def _git(tree: Tree, account: pwd.struct_passwd, *arguments: str) -> str:
    with tempfile.TemporaryFile() as output:
        command = ["git", "-C", str(tree.mirror), *arguments]
        _run(
            command,
            tree.mirror,
            account,
            output,
            f"git {arguments[0]}",
            environment={"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": PROTOCOLS},
        )
        output.seek(0)
        return output.read().decode("utf-8", "replace")


def _run(
    command: Sequence[str],
    directory: Path,
    account: pwd.struct_passwd,
    output: IO[bytes],
    what: str,
    *,
    environment: Mapping[str, str] = MappingProxyType({}),
    seconds: float = FETCH_SECONDS,
    given: IO[bytes] | None = None,
) -> None:
    """Run a command as the user, in a session of its own that ends with its time. Raises StepFailed."""
    errors = output if "git archive" not in what else None
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                list(command),
                cwd=directory,
                env={"PATH": PATH, "HOME": account.pw_dir, "LANG": "C.UTF-8", "USER": account.pw_name, **environment},
                stdin=given or subprocess.DEVNULL,
                stdout=output,
                stderr=errors or said,
                user=account.pw_uid,
                group=account.pw_gid,
                extra_groups=[],
                umask=0o022,
                start_new_session=True,
            )
        except OSError as error:
            raise StepFailed(f"{what} cannot be started: {error.strerror}: {command[0]}") from error
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if code == 0:
            return
        stream = errors or said
        stream.seek(0)
        lines = stream.read().decode("utf-8", "replace").splitlines()[-TAIL_LINES:]
        how = f"did not end within {seconds:g} s" if code is None else f"ended with {code}"
        raise StepFailed("\n".join([f"{what} {how}; it said last:", *lines]))


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError as error:
        raise StepFailed(f"there is no user {user!r} on this host; provision it first") from error


__all__ = ["BuildStep", "GitSource", "Tree", "fetch", "prepare", "prune"]
