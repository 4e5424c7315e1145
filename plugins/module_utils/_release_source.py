# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a release: fetched from git and built by an unprivileged user, in a directory of their own.

Nothing that serves is touched. A directory that is not complete carries no mark, and is made anew.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils import _files
from ansible_collections.quai.ops.plugins.module_utils._release_run import StepFailed

MARK: Final = ".quai-complete"  # lies in a directory whose build came to its end; holds the commit
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
        """What all releases share."""
        return self.root / "shared" / path


def prepare(tree: Tree, source: GitSource, identity: str) -> Path:
    """Fetch and build; returns the directory of the release, complete. Raises StepFailed with the last lines."""
    account = _account(source.user)
    target = tree.release(identity)
    if (target / MARK).exists():
        return target
    for directory in (tree.root, target.parent, tree.root / "shared"):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    commit = fetch(tree, source)
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(mode=0o755)
    os.chown(target, account.pw_uid, account.pw_gid)
    _unpack(tree, commit, target, account)
    _share(tree, source, target, account)
    for number, step in enumerate(source.build, 1):
        where = target / step.directory
        if not where.is_dir():
            raise StepFailed(f"build step {number}: {step.directory} is no directory of {source.ref}")
        what = f"build step {number}, {' '.join(step.command)}"
        environment = {"CI": "true", **step.environment}
        with tempfile.TemporaryFile() as output:
            _run(step.command, where, account, output, what, environment=environment, seconds=step.seconds)
    _files.write(target / MARK, f"{commit}\n".encode(), 0o644)
    return target


def fetch(tree: Tree, source: GitSource) -> str:
    """Bring the mirror up to date; returns the commit that the ref means now. Raises StepFailed."""
    account = _account(source.user)
    tree.root.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not (tree.mirror / "HEAD").exists():
        tree.mirror.mkdir(mode=0o755, exist_ok=True)
        os.chown(tree.mirror, account.pw_uid, account.pw_gid)
        _git(tree, account, "init", "--quiet", "--bare", str(tree.mirror))
    _git(
        tree,
        account,
        *("fetch", "--quiet", "--prune", "--prune-tags", "--force", source.repository),
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
            shutil.rmtree(path)
            gone.append(path.name)
    return gone


def _unpack(tree: Tree, commit: str, target: Path, account: pwd.struct_passwd) -> None:
    with tempfile.TemporaryFile() as archive:
        _run(
            ["git", "-C", str(tree.mirror), "archive", "--format=tar", commit],
            tree.mirror,
            account,
            archive,
            "git archive",
        )
        archive.seek(0)
        with tarfile.open(fileobj=archive, mode="r:") as members:
            for member in members:
                # git itself refuses paths that lead out of the tree; a link may still point anywhere, as in any clone.
                members.extract(member, target, set_attrs=False)
                path = target / member.name
                os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
                if member.isfile():
                    path.chmod(member.mode & 0o755)


def _share(tree: Tree, source: GitSource, target: Path, account: pwd.struct_passwd) -> None:
    """Let paths of the release lead to what all releases share; the first release brings what it has there."""
    for name in source.shared:
        inside, outside = target / name, tree.shared(name)
        outside.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not outside.exists():
            if inside.exists():
                shutil.move(str(inside), str(outside))
            elif "." not in Path(name).name:
                outside.mkdir(mode=0o755)
                os.chown(outside, account.pw_uid, account.pw_gid)
            os.chown(outside.parent, account.pw_uid, account.pw_gid)
        if inside.is_dir() and not inside.is_symlink():
            shutil.rmtree(inside)
        elif inside.exists() or inside.is_symlink():
            inside.unlink()
        inside.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        inside.symlink_to(outside)


def _git(tree: Tree, account: pwd.struct_passwd, *arguments: str) -> str:
    with tempfile.TemporaryFile() as output:
        command = ["git", "-C", str(tree.mirror), *arguments]
        _run(command, tree.mirror, account, output, f"git {arguments[0]}", environment={"GIT_TERMINAL_PROMPT": "0"})
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
) -> None:
    """Run a command as the user, in a session of its own that ends with its time. Raises StepFailed."""
    errors = output if "git archive" not in what else None
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                list(command),
                cwd=directory,
                env={"PATH": PATH, "HOME": account.pw_dir, "LANG": "C.UTF-8", "USER": account.pw_name, **environment},
                stdin=subprocess.DEVNULL,
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
