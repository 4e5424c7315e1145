# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The repositories of stand-ins that are released from git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.apps.repository import ListingError, make

LISTING = """---
- {tag: "1.0.0", without: [app/later.py]}
- {tag: "1.1.0", over: [changes/one, changes/two]}
- {tag: 1.2.0-bad, fault: bad}
- {tag: 1.2.0-old, fault: old, after: "1.0.0"}
- {tag: "1.2.0", without: ["app/*.py"]}
"""


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root / "releases.yml"


@pytest.fixture(name="listing")
def _listing(tmp_path: Path) -> Path:
    place = tmp_path / "demo"
    listing = write(
        place,
        {
            "releases.yml": LISTING,
            "source/app/main.py": "first\n",
            "source/app/later.py": "later\n",
            "source/run": "#!/bin/sh\n",
            'source/un beau "nom".txt': "é\n",
            "source/app/node_modules/left.js": "built\n",
            "source/app/__pycache__/main.pyc": "built\n",
            "changes/one/app/main.py": "second\n",
            "changes/two/app/main.py": "third\n",
        },
    )
    (place / "source/run").chmod(0o755)
    (place / "source/link").symlink_to("app/main.py")
    return listing


def git(repository: Path, *arguments: str) -> str:
    command = ["git", "-c", f"safe.directory={repository}", "--git-dir", str(repository), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.rstrip("\n")


def tree(repository: Path, tag: str) -> list[str]:
    return git(repository, "ls-tree", "-r", "-z", "--name-only", tag).rstrip("\0").split("\0")


@pytest.fixture(name="repository")
def _repository(listing: Path, tmp_path: Path) -> Path:
    target = tmp_path / "demo.git"
    make(listing, target)
    return target


def test_a_tag_has_the_files_of_its_release(repository: Path) -> None:
    assert git(repository, "rev-parse", "--is-bare-repository") == "true"
    assert git(repository, "tag").split() == ["1.0.0", "1.1.0", "1.2.0", "1.2.0-bad", "1.2.0-old"]
    assert tree(repository, "1.0.0") == ["VERSION", "app/main.py", "link", "run", 'un beau "nom".txt']
    assert tree(repository, "1.1.0") == ["VERSION", "app/later.py", "app/main.py", "link", "run", 'un beau "nom".txt']
    assert tree(repository, "1.2.0") == ["VERSION", "link", "run", 'un beau "nom".txt']
    assert git(repository, "show", "1.0.0:app/main.py") == "first"
    assert git(repository, "show", "1.1.0:app/main.py") == "third"
    assert git(repository, "show", "1.1.0:VERSION") == "1.1.0"
    modes = {line.split("\t")[1]: line[:6] for line in git(repository, "ls-tree", "1.0.0", "run", "link").splitlines()}
    assert modes == {"link": "120000", "run": "100755"}


def test_only_a_faulty_release_has_a_fault(repository: Path) -> None:
    assert git(repository, "show", "1.2.0-bad:FAULT") == "bad"
    assert "FAULT" not in tree(repository, "1.2.0")


def test_faulty_releases_are_beside_the_branch(repository: Path) -> None:
    assert git(repository, "symbolic-ref", "HEAD") == "refs/heads/main"
    assert git(repository, "log", "--format=%s", "main").splitlines() == [
        "Release 1.2.0",
        "Release 1.1.0",
        "Release 1.0.0",
    ]
    parents = {tag: git(repository, "log", "-1", "--format=%s", f"{tag}~1") for tag in ("1.2.0-bad", "1.2.0-old")}
    assert parents == {"1.2.0-bad": "Release 1.1.0", "1.2.0-old": "Release 1.0.0"}


def test_tags_are_annotated(repository: Path) -> None:
    assert git(repository, "cat-file", "-t", "1.0.0") == "tag"


def test_the_same_files_give_the_same_commits(
    listing: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_DIR"):
        monkeypatch.setenv(name, "somebody")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    make(listing, tmp_path / "again.git")
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_DIR"):
        monkeypatch.delenv(name)
    both = [git(place, "for-each-ref") for place in (repository, tmp_path / "again.git")]
    assert both[0] == both[1]
    assert len(both[0].splitlines()) == 6


def test_it_is_sound_and_can_be_cloned(repository: Path, tmp_path: Path) -> None:
    git(repository, "fsck", "--strict")
    clone = ["git", "clone", "--quiet", "--branch", "1.1.0", f"file://{repository}", str(tmp_path / "clone")]
    subprocess.run([*clone, "--depth=1"], capture_output=True, check=True)
    assert (tmp_path / "clone/VERSION").read_text() == "1.1.0\n"
    assert (repository / "info/refs").exists()


def test_nothing_is_replaced(listing: Path, repository: Path) -> None:
    with pytest.raises(FileExistsError):
        make(listing, repository)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("{}", "not a list", id="no-list"),
        pytest.param("[{version: 1}]", "needs a tag", id="unknown-field"),
        pytest.param('[{tag: "1 0"}]', "is no tag", id="no-tag"),
        pytest.param("[{tag: a}, {tag: a}]", "listed twice", id="twice"),
        pytest.param("[{tag: a, after: b}, {tag: b}]", "not above it", id="after-a-later-one"),
        pytest.param("[{tag: a, over: [nowhere]}]", "no directory", id="no-overlay"),
        pytest.param("[{tag: a, without: [nothing]}]", "not have anyway", id="nothing-left-out"),
        pytest.param("[{tag: a, fault: bad}]", "without a fault", id="nothing-good"),
    ],
)
def test_a_wrong_listing(tmp_path: Path, content: str, words: str) -> None:
    listing = write(tmp_path, {"releases.yml": f"---\n{content}\n", "source/a": "a\n"})
    with pytest.raises(ListingError, match=words):
        make(listing, tmp_path / "demo.git")
    assert not (tmp_path / "demo.git").exists()
