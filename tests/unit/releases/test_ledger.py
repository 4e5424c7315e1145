# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of releases: what was written is told, whatever broke off in between, and where a rollback goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _release_ledger as ledger_module
from ansible_collections.quai.ops.plugins.module_utils._release_ledger import (
    BROKEN,
    FAILED,
    GOOD,
    RETURNED,
    Ledger,
    LedgerError,
    crossed,
    live,
    unfinished,
    way_back,
)


class Story:
    """Releases one after the other, a hundred seconds apart."""

    def __init__(self, path: Path) -> None:
        self.ledger = Ledger(path)
        self.now = 1_790_000_000.0

    def release(
        self, version: str, result: str = GOOD, *, target: str = "", irreversible: Any = (), restored: bool = False
    ) -> str:
        self.now += 100
        identity = f"r{int(self.now) % 100_000}"
        kind = "rollback" if target else "release"
        self.ledger.begin(identity, self.now, kind=kind, version=version, by="ann@desk", target=target)
        self.ledger.step(identity, self.now + 1, "migrated", irreversible=list(irreversible))
        if restored:
            self.ledger.step(identity, self.now + 2, "restored")
        if result:
            self.ledger.end(identity, self.now + 20, result, "" if result == GOOD else "api did not answer")
        return identity

    @property
    def back(self) -> str:
        return way_back(self.ledger.releases()).version


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path / "shop/releases.jsonl")


def test_what_is_written_is_told(story: Story) -> None:
    story.ledger.begin("r1", 1000.0, kind="release", version="1.0.0", by="ann@desk", reason="sécurité")
    (running,) = story.ledger.releases()
    assert (running.result, running.ended, running.seconds) == ("", None, None)
    story.ledger.step("r1", 1004.0, "prepared", images={"api": "shop/api@sha256:12"})
    story.ledger.step("r1", 1010.5, "switched")
    story.ledger.end("r1", 1012.0, GOOD)
    (done,) = story.ledger.releases()
    assert (done.kind, done.version, done.by, done.reason) == ("release", "1.0.0", "ann@desk", "sécurité")
    assert (done.result, done.seconds, done.origin) == (GOOD, 12.0, "r1")
    assert [step.name for step in done.steps] == ["prepared", "switched"]
    assert done.data("prepared") == {"images": {"api": "shop/api@sha256:12"}}
    assert done.reached("switched") and not done.reached("migrated") and done.data("migrated") == {}
    assert story.ledger.path.stat().st_mode & 0o777 == 0o644


def test_nothing_yet(story: Story) -> None:
    assert story.ledger.releases() == []
    assert live([]) is None and unfinished([]) is None
    with pytest.raises(LedgerError, match="nothing was released here yet"):
        way_back([])


def test_what_broke_off_is_unfinished_and_not_live(story: Story) -> None:
    story.release("1.0.0")
    broken = story.release("1.1.0", "")
    releases = story.ledger.releases()
    late = unfinished(releases)
    now = live(releases)
    assert late is not None and late.id == broken and late.reached("migrated")
    assert now is not None and now.version == "1.0.0"
    story.ledger.end(broken, story.now, RETURNED, "broken off; found by the next run")
    assert unfinished(story.ledger.releases()) is None


@pytest.mark.parametrize(
    "torn",
    [
        b'{"id": "r9", "ev',
        b'{"id": "r9"',
        b"\x00\x00\x00",
        b'["no release"]',
        b"7",
        b'{"id": 1, "at": "x", "event": 2}',
    ],
)
def test_a_torn_line_loses_itself_only(story: Story, torn: bytes) -> None:
    """As a power cut leaves it, in the middle of a line."""
    story.release("1.0.0")
    with story.ledger.path.open("ab") as stream:
        stream.write(torn)
    story.release("1.1.0")
    assert [one.version for one in story.ledger.releases()] == ["1.0.0", "1.1.0"]
    assert [one.result for one in story.ledger.releases()] == [GOOD, GOOD]


def test_a_rollback_goes_to_the_last_good_one(story: Story) -> None:
    story.release("1.0.0")
    story.release("1.1.0", FAILED)
    story.release("1.2.0", RETURNED)
    story.release("1.3.0", BROKEN)
    story.release("1.4.0", "")
    story.release("1.5.0")
    assert story.back == "1.0.0"


def test_two_rollbacks_do_not_go_to_and_fro(story: Story) -> None:
    first = story.release("1.0.0")
    second = story.release("1.1.0")
    story.release("1.2.0")
    story.release("1.1.0", target=second)
    now = live(story.ledger.releases())
    assert now is not None and (now.version, now.origin) == ("1.1.0", second)
    assert story.back == "1.0.0"
    story.release("1.0.0", target=first)
    with pytest.raises(LedgerError, match=r"1\.0\.0 is the first good release here"):
        way_back(story.ledger.releases())
    # Released once more, it does not go back to what somebody went away from, its former self among them.
    story.release("1.2.0")
    assert story.back == "1.0.0"
    assert way_back(story.ledger.releases(), "1.1.0").id == second


def test_a_rollback_to_a_version(story: Story) -> None:
    story.release("1.0.0")
    again = story.release("1.0.0")
    story.release("1.1.0", FAILED)
    story.release("1.2.0")
    releases = story.ledger.releases()
    assert way_back(releases, "1.0.0").id == again
    assert way_back(releases, again).version == "1.0.0"
    for wanted, words in (
        ("1.2.0", r"1\.2\.0 is what is live, since r"),
        ("1.1.0", r"1\.1\.0 was never good here \(failed\); what can be gone back to: 1\.0\.0"),
        ("9", r"9 was never here; what can be gone back to: 1\.0\.0"),
    ):
        with pytest.raises(LedgerError, match=words):
            way_back(releases, wanted)


def test_migrations_that_a_rollback_would_cross(story: Story) -> None:
    first = story.release("1.0.0", irreversible=["0001"])
    story.release("1.1.0")
    failed = story.release("1.2.0", RETURNED, irreversible=["0003_drop"])
    releases = story.ledger.releases()
    # The code went back by itself; the database did not.
    assert [one.id for one in crossed(releases, way_back(releases))] == [failed]
    story.release("1.0.0", target=first, restored=True)
    story.release("1.4.0")
    releases = story.ledger.releases()
    back = way_back(releases, "1.0.0")
    assert back.id == first and crossed(releases, back) == []


def test_it_does_not_grow_for_ever(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MOST_BYTES", 5000)
    monkeypatch.setattr(ledger_module, "KEPT", 5)
    for number in range(40):
        story.release(f"1.{number}.0")
    releases = story.ledger.releases()
    assert releases[-1].version == "1.39.0" and story.back == "1.38.0"
    assert 5 <= len(releases) < 40
    assert story.ledger.path.stat().st_size < 7000
    assert [path.name for path in story.ledger.path.parent.iterdir()] == ["releases.jsonl"]
    for number in range(40):
        story.release(f"2.{number}.0", FAILED)
    now = live(story.ledger.releases())
    assert now is not None and now.version == "1.39.0", "what is live is never forgotten"


def test_what_cannot_be(story: Story, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot end as 'fine'; one of: good, failed, returned, broken"):
        story.ledger.end("r1", 1.0, "fine")
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=r"file/releases\.jsonl cannot be written: "):
        Ledger(tmp_path / "file/releases.jsonl").step("r1", 1.0, "switched")
    (tmp_path / "away").mkdir()
    (tmp_path / "away/releases.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LedgerError, match="cannot be written"):
        Ledger(tmp_path / "away/releases.jsonl").step("r1", 1.0, "switched")
    assert not (tmp_path / "elsewhere").exists()


def test_lines_are_for_people_and_programs(story: Story) -> None:
    """One JSON object a line, so that grep and jq do."""
    story.release("1.0.0")
    for line in story.ledger.path.read_text(encoding="utf-8").splitlines():
        assert {"id", "at", "event"} <= json.loads(line).keys()
