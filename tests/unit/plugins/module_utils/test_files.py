# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as a set: what differs, what may be shown, what a check refuses, and what a kill leaves."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _files
from ansible_collections.quai.ops.plugins.module_utils._files import Change, Entry, FileSetError, Purge, Seen, TreeCheck

ME, MINE = str(os.getuid()), str(os.getgid())
HERE = Path("/etc/app.conf")
REGULAR = Seen("file", b"old", uid=os.getuid(), gid=os.getgid(), mode=0o644)
FOLDER = Seen("directory", uid=os.getuid(), gid=os.getgid(), mode=0o755)
LINK = Seen("link", target="/elsewhere", mode=0o777)


def entry(path: Path = HERE, **given: Any) -> Entry:
    """An entry that belongs to whoever runs the tests."""
    return Entry(path, **{"owner": ME, "group": MINE, **given})


def make(*entries: Entry, purges: Sequence[Purge] = ()) -> list[Change]:
    """Plan and apply; returns what was changed."""
    changes = _files.plan(entries, purges)
    _files.apply(changes)
    return changes


def tree(directory: Path) -> dict[str, str]:
    """Every file below a directory with its content, and every link with its target."""
    return {
        str(path.relative_to(directory)): f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        for path in sorted(directory.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize(
    ("wanted", "seen", "parts"),
    [
        pytest.param(entry(content=b"new"), Seen(), ("create",), id="file-missing"),
        pytest.param(entry(content=b"old"), REGULAR, (), id="file-same"),
        pytest.param(entry(content=b"new"), REGULAR, ("content",), id="file-content"),
        pytest.param(entry(content=b"old", mode=0o600), REGULAR, ("mode",), id="file-mode"),
        pytest.param(entry(content=b"old", owner="54321"), REGULAR, ("owner",), id="file-owner"),
        pytest.param(entry(content=b"old", group="54321"), REGULAR, ("owner",), id="file-group"),
        pytest.param(entry(content=b"old", owner="no-such-user"), REGULAR, ("owner",), id="owner-yet-to-come"),
        pytest.param(
            entry(content=b"new", mode=0o600, owner="54321"),
            REGULAR,
            ("content", "mode", "owner"),
            id="file-everything",
        ),
        pytest.param(entry(content=b"new", force=False), REGULAR, (), id="file-kept"),
        pytest.param(entry(content=b"new", force=False, mode=0o600), REGULAR, ("mode",), id="file-kept-other-mode"),
        pytest.param(entry(content=b"new", force=False), Seen(), ("create",), id="file-made-once"),
        pytest.param(entry(content=b"new"), LINK, ("replace",), id="file-over-link"),
        pytest.param(entry(content=b"new", force=False), LINK, (), id="file-kept-link"),
        pytest.param(entry(state="directory"), Seen(), ("create",), id="directory-missing"),
        pytest.param(entry(state="directory"), FOLDER, (), id="directory-any-mode"),
        pytest.param(entry(state="directory", mode=0o700), FOLDER, ("mode",), id="directory-mode"),
        pytest.param(entry(state="link", target="/elsewhere"), LINK, (), id="link-same"),
        pytest.param(entry(state="link", target="/there"), LINK, ("target",), id="link-target"),
        pytest.param(entry(state="link", target="/there"), REGULAR, ("replace",), id="link-over-file"),
        pytest.param(entry(state="link", target="/there"), Seen(), ("create",), id="link-missing"),
        pytest.param(entry(state="absent"), Seen(), (), id="absent-already"),
        pytest.param(entry(state="absent"), REGULAR, ("remove",), id="absent-file"),
        pytest.param(entry(state="absent"), FOLDER, ("remove",), id="absent-directory"),
        pytest.param(entry(state="absent"), Seen("other"), ("remove",), id="absent-socket"),
    ],
)
def test_difference(wanted: Entry, seen: Seen, parts: tuple[str, ...]) -> None:
    assert _files.difference(wanted, seen) == parts


@pytest.mark.parametrize(
    ("wanted", "seen", "words"),
    [
        pytest.param(entry(), FOLDER, "is a directory, and a file is wanted", id="file-over-directory"),
        pytest.param(entry(), Seen("other"), "is no file, directory or link", id="file-over-socket"),
        pytest.param(
            entry(state="directory"), REGULAR, "is a file, and a directory is wanted", id="directory-over-file"
        ),
        pytest.param(entry(state="directory"), LINK, "is a link, and a directory is wanted", id="directory-over-link"),
        pytest.param(
            entry(state="link", target="/x"), FOLDER, "is a directory, and a link is wanted", id="link-over-directory"
        ),
    ],
)
def test_what_lies_in_the_way_is_never_taken_away(wanted: Entry, seen: Seen, words: str) -> None:
    with pytest.raises(FileSetError, match=words):
        _files.difference(wanted, seen)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        pytest.param([entry(Path("/a")), entry(Path("/a"))], "wanted twice in one set: /a", id="twice"),
        pytest.param([entry(Path("/a")), entry(Path("/a"), state="absent")], "wanted twice", id="wanted-and-absent"),
        pytest.param(
            [entry(Path("/a"), state="absent"), entry(Path("/a/b/c"))],
            "/a above it is to be absent",
            id="parent-absent",
        ),
    ],
)
def test_a_set_that_contradicts_itself_is_refused(entries: list[Entry], words: str) -> None:
    with pytest.raises(FileSetError, match=words):
        _files.plan(entries, see=lambda path: Seen())


def test_look_tells_kinds_apart_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xff\x00")
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    seen = {name: _files.look(tmp_path / name) for name in ("file", "folder", "link", "pipe", "none", "file/below")}
    assert {name: one.kind for name, one in seen.items()} == {
        "file": "file",
        "folder": "directory",
        "link": "link",
        "pipe": "other",
        "none": "absent",
        "file/below": "absent",
    }
    assert (seen["file"].content, seen["file"].mode, seen["link"].target) == (b"\xff\x00", 0o640, "nowhere")


@pytest.mark.parametrize(
    ("find", "known", "number"),
    [
        pytest.param(_files.user_id, "root", 0, id="user"),
        pytest.param(_files.group_id, "root", 0, id="group"),
        pytest.param(_files.user_id, "1000", 1000, id="user-number"),
        pytest.param(_files.group_id, "1000", 1000, id="group-number"),
        pytest.param(_files.user_id, "no-such-user", None, id="user-unknown"),
        pytest.param(_files.group_id, "no-such-group", None, id="group-unknown"),
    ],
)
def test_ids(find: Callable[[str], int | None], known: str, number: int | None) -> None:
    assert find(known) == number


def test_a_whole_set_is_made_and_a_second_run_finds_nothing(tmp_path: Path) -> None:
    wanted = [
        entry(tmp_path / "conf", state="directory", mode=0o750),
        entry(tmp_path / "conf/main.conf", content=b"main\n", mode=0o640),
        entry(tmp_path / "deep/er/file", content=b"deep\n"),
        entry(tmp_path / "link", state="link", target="conf/main.conf"),
    ]
    assert [change.what for change in make(*wanted)] == [("create",)] * 4
    assert _files.plan(wanted) == []
    assert stat.S_IMODE((tmp_path / "conf/main.conf").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "deep/er/file").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "conf").stat().st_mode) == 0o750
    assert (tmp_path / "link").read_text() == "main\n"


def test_every_difference_is_made_good(tmp_path: Path) -> None:
    wanted = [
        entry(tmp_path / "file", content=b"right\n", mode=0o600),
        entry(tmp_path / "was-link", content=b"own\n"),
        entry(tmp_path / "link", state="link", target="file"),
        entry(tmp_path / "old", state="absent"),
        entry(tmp_path / "old-folder", state="absent"),
        entry(tmp_path / "old-folder/inner", state="absent"),
    ]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("not ours\n")
    (tmp_path / "file").write_text("wrong\n")
    (tmp_path / "was-link").symlink_to(elsewhere)
    (tmp_path / "link").write_text("a file\n")
    (tmp_path / "old").symlink_to("nowhere")
    (tmp_path / "old-folder").mkdir()
    (tmp_path / "old-folder/inner").write_text("x")
    make(*wanted)
    assert _files.plan(wanted) == []
    assert elsewhere.read_text() == "not ours\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "file", "link", "was-link"]


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_without_a_mode_the_one_that_is_there_stays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "private"
    if kind == "file":
        path.write_text("old")
    else:
        path.mkdir()
    path.chmod(0o700)
    seen = Seen(kind, b"old", uid=12345, gid=os.getgid(), mode=0o700)
    change = Change(entry(path, state=kind, content=b"new"), seen, ("content", "owner"))
    _files.apply([change])
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_another_mode_does_not_rewrite_what_a_program_wrote_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("before")
    changes = _files.plan([entry(path, content=b"seed", force=False, mode=0o600)])
    path.write_text("written by its program since")
    _files.apply(changes)
    assert path.read_text() == "written by its program since"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("state", ["file", "directory"])
def test_a_link_slipped_in_after_the_look_is_not_followed(tmp_path: Path, state: str) -> None:
    victim = tmp_path / "victim"
    path = tmp_path / "ours"
    for one in (victim, path):
        if state == "file":
            one.write_text("x")
        else:
            one.mkdir()
        one.chmod(0o700)
    changes = _files.plan([entry(path, state=state, content=b"x", mode=0o777)])
    path.unlink() if state == "file" else path.rmdir()
    path.symlink_to(victim)
    with pytest.raises(FileSetError, match="cannot be written"):
        _files.apply(changes)
    assert stat.S_IMODE(victim.stat().st_mode) == 0o700


def test_a_candidate_is_private_until_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    chmod = os.fchmod

    def note(handle: int, mode: int) -> None:
        modes.append((stat.S_IMODE(os.fstat(handle).st_mode), mode))
        chmod(handle, mode)

    monkeypatch.setattr(os, "fchmod", note)
    make(entry(tmp_path / "key", content=b"secret", mode=0o640))
    assert modes == [(0o600, 0o640)]


def test_nothing_is_written_when_an_owner_is_unknown(tmp_path: Path) -> None:
    changes = _files.plan(
        [entry(tmp_path / "a", content=b"a"), entry(tmp_path / "b", content=b"b", owner="no-such-user")]
    )
    with pytest.raises(FileSetError, match="user 'no-such-user', which this host does not have; nothing was written"):
        _files.apply(changes)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_changes_no_file_and_leaves_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("old")
    changes = _files.plan([entry(tmp_path / "a", content=b"new"), entry(tmp_path / "b", content=b"b")])
    create = _files._create

    def full(path: Path, content: bytes, *rest: int) -> None:
        if path.name == ".b.quai-new":
            path.touch()
            raise OSError(errno.ENOSPC, "No space left on device")
        create(path, content, *rest)

    monkeypatch.setattr(_files, "_create", full)
    with pytest.raises(FileSetError, match=r"b cannot be written: No space left.*free some space.*no file was changed"):
        _files.apply(changes)
    assert tree(tmp_path) == {"a": "old"}


def test_a_really_full_disk(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))"
    code = (
        "import signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"{limit}\n"
        "from pathlib import Path\n"
        "from ansible_collections.quai.ops.plugins.module_utils import _files\n"
        f"wanted = _files.Entry(Path({str(tmp_path / 'big')!r}), content=b'x' * 100, owner={ME!r}, group={MINE!r})\n"
        "try:\n    _files.apply(_files.plan([wanted]))\nexcept _files.FileSetError as error:\n    print(error)\n"
    )
    said, status = in_child(code)
    assert (status, list(tmp_path.iterdir())) == (0, [])
    assert "big cannot be written: File too large; no file was changed" in said


def in_child(code: str) -> tuple[str, int]:
    """Run code in a process of its own; returns what it printed and how it ended."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, text=True, timeout=20,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    return done.stdout + done.stderr, done.returncode


def killed_at(moment: int, wanted: list[Entry]) -> int:
    """Plan and apply in a process that kills itself at a moment; returns how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    count = 0

    def kill_then(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            return function(*args, **kwargs)

        return counted

    for name in ("open", "fsync", "fchown", "fchmod"):
        setattr(os, name, kill_then(getattr(os, name)))
    Path.replace = kill_then(Path.replace)  # type: ignore[method-assign]
    _files.apply(_files.plan(wanted))
    os._exit(0)


def test_a_kill_at_any_moment_leaves_each_file_old_or_new_and_the_next_run_completes(tmp_path: Path) -> None:
    old, new = "old", "new " * 10000
    for moment in range(100):
        root = tmp_path / str(moment)
        root.mkdir()
        for name in "ab":
            (root / name).write_text(old)
        wanted = [entry(root / name, content=new.encode(), mode=0o640) for name in "abc"]
        status = killed_at(moment, wanted)
        assert status in (0, -signal.SIGKILL)
        for name in "ab":
            assert (root / name).read_text() in (old, new), f"half a file after a kill at moment {moment}"
        assert not (root / "c").exists() or (root / "c").read_text() == new
        make(*wanted)
        assert _files.plan(wanted) == []
        assert sorted(path.name for path in root.iterdir()) == ["a", "b", "c"], f"a rest after moment {moment}"
        if status == 0:
            break
    assert 15 < moment < 99, "the kills never hit the writing"


def test_write_names_the_file_that_could_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No such file or directory: '.*missing/file'"):
        _files.write(tmp_path / "missing/file", b"x", 0o644)


def test_write_takes_over_what_a_killed_run_left(tmp_path: Path) -> None:
    (tmp_path / ".file.quai-new").write_text("half of somethi")
    _files.write(tmp_path / "file", b"whole", 0o600)
    assert tree(tmp_path) == {"file": "whole"}
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_purge_takes_what_matches_and_is_not_wanted(tmp_path: Path) -> None:
    for name in ("kept.conf", "old.conf", "note.txt", ".hidden.conf"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.conf").mkdir()
    (tmp_path / "dangling.conf").symlink_to("nowhere")
    purge = Purge(tmp_path, ("*.conf",), ("web",))
    changes = make(entry(tmp_path / "kept.conf", content=b"kept.conf"), purges=[purge])
    assert {change.entry.path.name for change in changes} == {"old.conf", "dangling.conf", ".hidden.conf"}
    assert {change.entry.notify for change in changes} == {("web",)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.conf", "kept.conf", "note.txt"]


def test_purge_removes_once_what_is_absent_anyway(tmp_path: Path) -> None:
    (tmp_path / "old.conf").write_text("x")
    changes = make(entry(tmp_path / "old.conf", state="absent"), purges=[Purge(tmp_path, ("*.conf",))])
    assert len(changes) == 1


def test_purge_of_a_directory_that_is_not_there_finds_nothing(tmp_path: Path) -> None:
    assert _files.plan([], [Purge(tmp_path / "none", ("*",))]) == []


class Program:
    """Stands in for a checker: notes what it is called with, says what it is told to."""

    def __init__(self, code: int = 0, said: str = "", look: Callable[[Path], Any] | None = None) -> None:
        self.code, self.said, self.look = code, said, look
        self.calls: list[list[str]] = []
        self.seen: list[Any] = []

    def __call__(self, command: Sequence[str]) -> tuple[int, str]:
        self.calls.append(list(command))
        if self.look:
            self.seen.append(self.look(Path(command[-1])))
        return self.code, self.said.replace("%s", command[-1])


def verify(
    tmp_path: Path, changes: list[Change], program: Program, *checks: TreeCheck, may_skip: bool = False
) -> list[str]:
    """Run the checks below a scratch directory that must be gone afterwards."""
    staging = tmp_path / "run" / "staged"
    try:
        return _files.verify(changes, checks, may_skip=may_skip, execute=program, staging=staging)
    finally:
        assert not staging.exists()


def test_a_validator_gets_the_candidate_in_private(tmp_path: Path) -> None:
    program = Program(look=lambda path: (path.read_text(), stat.S_IMODE(path.parent.stat().st_mode)))
    changes = _files.plan([entry(tmp_path / "rules", content=b"new", validate=("true", "-f", "%s"))])
    assert verify(tmp_path, changes, program) == []
    assert program.seen == [("new", 0o700)]
    assert program.calls[0][:2] == ["true", "-f"]


@pytest.mark.parametrize(
    ("before", "given", "calls"),
    [
        pytest.param("right", {"content": b"right"}, 0, id="unchanged"),
        pytest.param("kept", {"content": b"seed", "force": False, "mode": 0o600}, 0, id="kept-content-other-mode"),
        pytest.param("wrong", {"content": b"right"}, 1, id="changed"),
    ],
)
def test_a_validator_runs_only_on_what_will_be_written(
    tmp_path: Path, before: str, given: dict[str, Any], calls: int
) -> None:
    (tmp_path / "f").write_text(before)
    program = Program()
    verify(tmp_path, _files.plan([entry(tmp_path / "f", validate=("true", "%s"), **given)]), program)
    assert len(program.calls) == calls


def test_a_refusal_names_the_real_path(tmp_path: Path) -> None:
    changes = _files.plan([entry(tmp_path / "rules", content=b"bad", validate=("true", "%s"))])
    with pytest.raises(FileSetError) as refusal:
        verify(tmp_path, changes, Program(1, "syntax error in %s:1"))
    assert f"syntax error in {tmp_path}/rules:1" in str(refusal.value)
    assert "nothing was written" in str(refusal.value)
    assert "staged" not in str(refusal.value)


def test_a_tree_is_checked_as_it_will_be(tmp_path: Path) -> None:
    root = tmp_path / "nginx"
    (root / "sites").mkdir(parents=True)
    for name in ("nginx.conf", "sites/good.conf", "sites/old.conf", "kept"):
        (root / name).write_text(f"former {name}")
    (root / "current").symlink_to("sites/old.conf")
    (root / "modules").symlink_to("/nowhere/that/exists")
    changes = _files.plan(
        [
            entry(root / "nginx.conf", content=b"new main"),
            entry(root / "kept", content=b"seed", force=False, mode=0o600),
            entry(root / "snippets", state="directory"),
            entry(root / "snippets/tls.conf", content=b"tls"),
            entry(root / "current", state="link", target="sites/good.conf"),
            entry(tmp_path / "elsewhere", content=b"not below"),
        ],
        [Purge(root / "sites", ("old.conf",))],
    )
    program = Program(look=tree)
    verify(tmp_path, changes, program, TreeCheck(root, ("true", "{tree}")))
    assert program.seen == [
        {
            "current": "-> sites/good.conf",
            "kept": "former kept",
            "modules": "-> /nowhere/that/exists",
            "nginx.conf": "new main",
            "sites/good.conf": "former sites/good.conf",
            "snippets/tls.conf": "tls",
        }
    ]
    assert (root / "nginx.conf").read_text() == "former nginx.conf"
    assert program.calls[0][-1].endswith("/nginx")


def test_a_tree_that_does_not_exist_yet_is_checked(tmp_path: Path) -> None:
    program = Program(look=tree)
    changes = _files.plan([entry(tmp_path / "new/a", content=b"a")])
    verify(tmp_path, changes, program, TreeCheck(tmp_path / "new", ("true", "{tree}")))
    assert program.seen == [{"a": "a"}]


def test_a_tree_in_which_nothing_changes_is_not_checked(tmp_path: Path) -> None:
    program = Program(1)
    changes = _files.plan([entry(tmp_path / "a", content=b"a")])
    verify(tmp_path, changes, program, TreeCheck(tmp_path / "other", ("true", "{tree}")))
    assert program.calls == []


def test_a_refused_tree_names_the_real_one(tmp_path: Path) -> None:
    changes = _files.plan([entry(tmp_path / "conf/a", content=b"a")])
    with pytest.raises(
        FileSetError, match=f"{tmp_path}/conf was refused by 'true' and nothing was written: {tmp_path}"
    ):
        verify(tmp_path, changes, Program(1, "%s/a: bad"), TreeCheck(tmp_path / "conf", ("true", "{tree}")))
    assert not (tmp_path / "conf").exists()


def test_what_a_killed_check_left_goes_with_the_next(tmp_path: Path) -> None:
    staged = tmp_path / "run" / "staged"
    (staged / "nginx").mkdir(parents=True)
    (staged / "nginx" / "privkey.pem").write_text("KEY")
    changes = _files.plan([entry(tmp_path / "f", content=b"x", validate=("true", "%s"))])
    verify(tmp_path, changes, Program())


@pytest.mark.parametrize("kind", ["file", "tree"])
def test_a_missing_checker_is_left_for_the_real_run_only_in_check_mode(tmp_path: Path, kind: str) -> None:
    command = ("no-such-program", "%s", "{tree}")
    changes = _files.plan([entry(tmp_path / "t/f", content=b"x", validate=command if kind == "file" else ())])
    checks = [TreeCheck(tmp_path / "t", command)] if kind == "tree" else []
    skipped = verify(tmp_path, changes, Program(), *checks, may_skip=True)
    assert len(skipped) == 1
    assert "no-such-program is not installed yet" in skipped[0]
    with pytest.raises(FileSetError, match="no-such-program is not installed on this host"):
        verify(tmp_path, changes, Program(), *checks)


def test_in_check_mode_an_installed_checker_may_refuse(tmp_path: Path) -> None:
    changes = _files.plan([entry(tmp_path / "f", content=b"x", validate=("true", "%s"))])
    with pytest.raises(FileSetError, match="was refused"):
        verify(tmp_path, changes, Program(1, "no"), may_skip=True)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        pytest.param(["sh", "-c", "echo out; echo err >&2; exit 3"], 3, "out\nerr", id="fails"),
        pytest.param(["true"], 0, "", id="works"),
        pytest.param(["no-such-program"], 127, "no-such-program is not installed on this host", id="missing"),
    ],
)
def test_run(command: list[str], code: int, said: str) -> None:
    assert _files.run(command) == (code, said)


SECRET = b"password=hunter2\n"


@pytest.mark.parametrize(
    ("given", "seen", "what"),
    [
        pytest.param({"content": SECRET, "secret": True}, Seen(), ("create",), id="new"),
        pytest.param({"content": b"x", "secret": True}, Seen("file", SECRET, mode=0o644), ("content",), id="former"),
        pytest.param({"content": SECRET, "mode": 0o600}, Seen(), ("create",), id="not-for-everybody"),
        pytest.param(
            {"content": b"x", "mode": 0o644}, Seen("file", SECRET, mode=0o640), ("content",), id="was-private"
        ),
        pytest.param({"content": b"x"}, Seen("file", SECRET, mode=0o600), ("content",), id="stays-private"),
        pytest.param({"state": "absent"}, Seen("file", SECRET, mode=0o600), ("remove",), id="removed"),
        pytest.param(
            {"state": "absent", "secret": True}, Seen("file", SECRET, mode=0o644), ("remove",), id="removed-told"
        ),
        pytest.param({"state": "link", "target": "/x"}, Seen("file", SECRET, mode=0o600), ("replace",), id="replaced"),
        pytest.param({"content": SECRET, "mode": 0o640}, Seen("file", SECRET, mode=0o644), ("mode",), id="mode-only"),
    ],
)
def test_what_not_everybody_may_read_is_in_no_diff(given: dict[str, Any], seen: Seen, what: tuple[str, ...]) -> None:
    told = _files.describe(Change(entry(**given), seen, what))
    assert "hunter2" not in str(told)
    assert "not shown" in told["before"] + told["after"]
    # Equal sides would hide that there is a change at all.
    assert told["before"] != told["after"]


@pytest.mark.parametrize(
    ("given", "seen", "what", "before", "after"),
    [
        pytest.param(
            {"content": b"b\n", "owner": "root", "group": "root"},
            Seen("file", b"a\n", mode=0o644),
            ("content",),
            "# file, mode 0644, owner root:root\na\n",
            "# file, mode 0644, owner root:root\nb\n",
            id="content",
        ),
        pytest.param(
            {"content": b"b\n", "owner": "www", "group": "www"},
            Seen(),
            ("create",),
            "",
            "# file, mode 0644, owner www:www\nb\n",
            id="new",
        ),
        pytest.param(
            {"state": "directory", "mode": 0o700, "owner": "root", "group": "root"},
            Seen("directory", mode=0o755),
            ("mode",),
            "# directory, mode 0755, owner root:root\n",
            "# directory, mode 0700, owner root:root\n",
            id="directory",
        ),
        pytest.param(
            {"state": "link", "target": "/b"}, Seen("link", target="/a"), ("target",), "-> /a\n", "-> /b\n", id="link"
        ),
        pytest.param(
            {"state": "absent"},
            Seen("file", b"a\n", mode=0o644),
            ("remove",),
            "# file, mode 0644, owner root:root\na\n",
            "",
            id="removed",
        ),
        pytest.param(
            {"content": b"seed", "force": False, "owner": "root", "group": "adm"},
            Seen("file", b"kept\n", mode=0o664),
            ("owner",),
            "# file, mode 0664, owner root:root\nkept\n",
            "# file, mode 0664, owner root:adm\nkept\n",
            id="kept",
        ),
        pytest.param(
            {"content": b"\xff", "owner": "54321", "group": "root"},
            Seen("file", b"\xfe", uid=54321, mode=0o644),
            ("content",),
            "# file, mode 0644, owner 54321:root\n\\xfe\n",
            "# file, mode 0644, owner 54321:root\n\\xff\n",
            id="binary",
        ),
    ],
)
def test_diff(given: dict[str, Any], seen: Seen, what: tuple[str, ...], before: str, after: str) -> None:
    told = _files.describe(Change(entry(**given), seen, what))
    assert (told["before"], told["after"]) == (before, after)
    assert (told["before_header"], told["after_header"]) == (str(HERE), f"{HERE} ({', '.join(what)})")
