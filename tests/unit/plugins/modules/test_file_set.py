# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module file_set, run as Ansible runs it."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _files, _pending
from ansible_collections.quai.ops.plugins.modules import file_set

Run = Callable[..., dict[str, Any]]

OWNER = {"owner": str(os.getuid()), "group": str(os.getgid())}


def file(path: Path, content: str = "", **given: Any) -> dict[str, Any]:
    """An item of files, as the action plugin hands it over."""
    return {"path": str(path), "data": base64.b64encode(content.encode()).decode(), **OWNER, **given}


def test_check_run_check_run_change_drift(run_module: Run, host: Path, tmp_path: Path) -> None:
    path = tmp_path / "etc/app.conf"
    wanted = {"files": [file(path, "one\n", mode="0640", notify=["app"])]}
    predicted = run_module(file_set, check=True, **wanted)
    assert (predicted["changed"], predicted["changed_paths"], predicted["pending"]) == (True, [str(path)], ["app"])
    assert not path.exists()
    assert not host.exists()

    done = run_module(file_set, **wanted)
    assert {key: done[key] for key in ("changed", "changed_paths", "pending", "diff")} == {
        key: predicted[key] for key in ("changed", "changed_paths", "pending", "diff")
    }
    assert path.read_text() == "one\n"

    for check in (True, False):
        again = run_module(file_set, check=check, **wanted)
        assert (again["changed"], again["changed_paths"], again["diff"]) == (False, [], [])
        assert again["pending"] == ["app"], "the flag outlives the run that raised it"

    _pending.clear("app")
    wanted["files"][0] = file(path, "two\n", mode="0640", notify=["app"])
    assert run_module(file_set, **wanted)["changed_paths"] == [str(path)]
    path.chmod(0o644)
    path.write_text("by hand\n")
    drifted = run_module(file_set, **wanted)
    assert drifted["diff"][0]["after_header"] == f"{path} (content, mode)"
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("two\n", 0o640)


def test_flags_are_raised_only_for_what_changed(run_module: Run, tmp_path: Path) -> None:
    files = [file(tmp_path / "a", notify=["a-flag"]), file(tmp_path / "b", notify=["b-flag", "both"])]
    assert run_module(file_set, files=files)["pending"] == ["a-flag", "b-flag", "both"]
    for flag in ("a-flag", "b-flag", "both"):
        _pending.clear(flag)
    (tmp_path / "b").unlink()
    assert run_module(file_set, files=files)["pending"] == ["b-flag", "both"]


def test_a_kill_between_the_flag_and_the_write_keeps_the_flag(
    run_module: Run, host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    monkeypatch.setattr(_files, "apply", lambda changes: seen.append(_pending.read()))
    run_module(file_set, files=[file(tmp_path / "a", notify=["app"])])
    assert seen == [{"app"}], "the flag must stand before the first write"
    monkeypatch.undo()
    assert sorted(path.name for path in host.iterdir()) == ["app"]


def test_a_refused_tree_writes_nothing_and_raises_no_flag(run_module: Run, host: Path, tmp_path: Path) -> None:
    tree = tmp_path / "etc"
    tree.mkdir()
    (tree / "main").write_text("good")
    result = run_module(
        file_set,
        files=[file(tree / "main", "bad", notify=["app"]), file(tree / "sites" / "one", "x")],
        checks=[{"tree": str(tree), "command": ["sh", "-c", "! grep bad {tree}/main"]}],
    )
    assert result["failed"]
    assert f"{tree} was refused by 'sh' and nothing was written" in result["msg"]
    assert [path.name for path in tree.iterdir()] == ["main"]
    assert (tree / "main").read_text() == "good"
    assert not host.exists()


def test_a_checker_that_is_not_installed_yet(run_module: Run, tmp_path: Path) -> None:
    options = {
        "files": [file(tmp_path / "t/a", "x")],
        "checks": [{"tree": str(tmp_path / "t"), "command": ["no-such-program", "{tree}"]}],
    }
    assert len(run_module(file_set, check=True, **options)["skipped_checks"]) == 1
    refused = run_module(file_set, **options)
    assert "no-such-program is not installed on this host" in refused["msg"]
    assert not (tmp_path / "t").exists()


def test_purge(run_module: Run, tmp_path: Path) -> None:
    for name in ("a.conf", "b.conf", "c.txt"):
        (tmp_path / name).write_text("")
    purge = [{"directory": str(tmp_path), "patterns": ["*.conf"], "notify": ["app"]}]
    files = [file(tmp_path / "a.conf")]
    assert run_module(file_set, check=True, files=files, purge=purge)["changed_paths"] == [str(tmp_path / "b.conf")]
    result = run_module(file_set, files=files, purge=purge)
    assert (result["changed_paths"], result["pending"]) == ([str(tmp_path / "b.conf")], ["app"])
    assert sorted(path.name for path in tmp_path.glob("?.*")) == ["a.conf", "c.txt"]
    assert not run_module(file_set, files=files, purge=purge)["changed"]


def test_secrets_are_nowhere_in_the_answer(run_module: Run, tmp_path: Path) -> None:
    for content in ("hunter2\n", "hunter3\n"):
        result = run_module(file_set, files=[file(tmp_path / "key", content, mode="0600", secret=True)])
        told = json.dumps({key: value for key, value in result.items() if key != "invocation"})
        assert "hunter" not in told
        assert base64.b64encode(content.encode()).decode() not in json.dumps(result)
        assert result["changed"]
    result = run_module(file_set, files=[file(tmp_path / "key", state="absent", data=None)])
    assert "hunter" not in json.dumps(result)


def test_parents_do_not_depend_on_the_umask(run_module: Run, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        run_module(file_set, files=[file(tmp_path / "srv/www/index.html", "hi")])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "srv/www").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "srv/www/index.html").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("item", "words"),
    [
        pytest.param({"path": "etc/x"}, "path 'etc/x' is not absolute", id="relative"),
        pytest.param({"path": "/etc/../etc/x"}, "goes through ..", id="dots"),
        pytest.param({"path": "/x", "mode": "u=rw"}, "mode 'u=rw' is not octal", id="symbolic-mode"),
        pytest.param({"path": "/x", "mode": "0899"}, "mode '0899' is not octal", id="mode-with-a-nine"),
        pytest.param({"path": "/x", "state": "link"}, "/x: a link needs a target", id="link-to-nowhere"),
        pytest.param({"path": "/x", "state": "touch"}, "value of state must be one of", id="unknown-state"),
        pytest.param({"path": "/x", "nofity": ["a"]}, "Unsupported parameters", id="typing-error"),
        pytest.param({"path": "/x", "notify": ["Bad Flag"]}, "'Bad Flag' is not a flag", id="bad-flag"),
    ],
)
@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
def test_bad_input_is_refused_in_check_mode_too(
    run_module: Run, host: Path, item: dict[str, Any], words: str, check: bool
) -> None:
    result = run_module(file_set, check=check, files=[item])
    assert result["failed"]
    assert words in result["msg"]
    assert not host.exists()


def test_a_flag_of_a_purge_is_checked_before_anything_matches(run_module: Run, tmp_path: Path) -> None:
    purge = [{"directory": str(tmp_path), "patterns": ["*"], "notify": ["../x"]}]
    assert "is not a flag" in run_module(file_set, check=True, files=[], purge=purge)["msg"]


def test_a_wrong_set_names_what_is_wrong(run_module: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    result = run_module(file_set, files=[file(tmp_path / "a", "x"), file(tmp_path / "folder", "x")])
    assert "folder is a directory, and a file is wanted there" in result["msg"]
    assert not (tmp_path / "a").exists()
