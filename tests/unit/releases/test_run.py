# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a release and the way back from each of them, on a host that is a few sets: killed before every act."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _release_front
from ansible_collections.quai.ops.plugins.module_utils._release_front import FrontError
from ansible_collections.quai.ops.plugins.module_utils._release_ledger import (
    BROKEN,
    FAILED,
    GOOD,
    RETURNED,
    Ledger,
    live,
)
from ansible_collections.quai.ops.plugins.module_utils._release_run import (
    CONFIRMED,
    REFUSED,
    Engine,
    Hands,
    Outcome,
    Places,
    Plan,
    Runtime,
    Service,
    StepFailed,
    recover,
    serving,
    tell,
)


class Killed(BaseException):
    """The process is no more; nothing catches it."""


class Host:
    """What runs, what starts with the host, what nginx does; every change of it is an act that can be the last."""

    def __init__(self) -> None:
        self.running: dict[str, str] = {}  # copy to version
        self.kept: set[str] = set()
        self.front: dict[str, int | None] = {}
        self.outages: list[str] = []
        self.left = 10_000  # acts until it is killed
        self.bad: set[str] = set()  # versions that are never good
        self.refuses: set[str] = set()  # acts that fail
        self.acts: list[str] = []

    def act(self, what: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed
        self.acts.append(what)
        if what in self.refuses:
            raise StepFailed(f"{what} is refused")

    def looked_at(self) -> None:
        """After each act: a service that once served has a running copy behind its door, or was closed on purpose."""
        for name, port in self.front.items():
            colour = {18000: "blue", 28000: "green", 18001: "blue", 28001: "green"}.get(port or 0, "")
            if colour and f"{name}-{colour}" not in self.running:
                self.outages.append(f"{name}: its door leads to {colour}, which does not run")

    def boot(self) -> None:
        """Only what is kept runs after it."""
        self.running = {copy: version for copy, version in self.running.items() if copy in self.kept}


class Copies(Runtime):
    """Copies that are names in a set."""

    def __init__(self, host: Host, name: str, version: str) -> None:
        self.host, self.name, self.version = host, name, version
        self.known: dict[str, str] = {}

    def start(self, colour: str, directory: Path) -> None:
        self.host.act(f"start {self.name}-{colour}")
        self.host.running[f"{self.name}-{colour}"] = directory.name
        self.host.looked_at()

    def resume(self, colour: str) -> None:
        self.host.act(f"resume {self.name}-{colour}")
        self.host.running.setdefault(f"{self.name}-{colour}", "resumed")

    def probes(self, colour: str) -> list[dict[str, Any]]:
        return [{"copy": f"{self.name}-{colour}"}]

    def connections(self, colour: str) -> int:
        return 0

    def stop(self, colour: str) -> None:
        self.host.act(f"stop {self.name}-{colour}")
        self.host.running.pop(f"{self.name}-{colour}", None)
        self.host.looked_at()

    def keep(self, colour: str) -> None:
        self.host.act(f"keep {self.name}-{colour}")
        self.host.kept.add(f"{self.name}-{colour}")

    def forget(self, colour: str) -> None:
        self.host.act(f"forget {self.name}-{colour}")
        self.host.running.pop(f"{self.name}-{colour}", None)
        self.host.kept.discard(f"{self.name}-{colour}")
        self.host.looked_at()


class Story:
    """Releases of a project with a web service, a second one and a worker."""

    def __init__(self, tmp_path: Path) -> None:
        self.host = Host()
        self.places = Places(tmp_path / "state", tmp_path / "run", tmp_path / "front.conf")
        self.number = 0
        self.now = 1_790_000_000.0
        self.word = CONFIRMED
        self.alone: set[str] = set()
        self.fronts: dict[str, int | None] = {}

    def plan(self, version: str, replace: tuple[str, ...] = ("web", "admin", "worker")) -> Plan:
        self.number += 1
        services = [
            Service(name, port, Copies(self.host, name, version), alone=name in self.alone)
            for name, port in (("web", 8000), ("admin", 8001), ("worker", None))
        ]
        return Plan(
            id=f"r{self.number}", project="shop", version=version, kind="release", by="ann@desk", reason="", target="",
            services=services, replace=replace, drain=0, verdict=0,
        )  # fmt: skip

    def clock(self) -> float:
        self.now += 1
        return self.now

    def hands(self, plan: Plan) -> Hands:
        def verify() -> str:
            if self.word:
                tell(self.places, plan.id, self.word, "the login does not work")
            return ""

        def gate(probes: Any) -> str:
            for probe in probes:
                version = self.host.running.get(probe["copy"])
                if version is None or version in self.host.bad:
                    return f"{probe['copy']} is not good"
            return ""

        def prepare() -> Path:
            self.host.act("prepare")
            return Path("/srv/shop/releases") / plan.version

        def migrate(_directory: Path) -> dict[str, Any]:
            self.host.act("migrate")
            return {}

        return Hands(prepare, migrate, gate, verify, lambda _line: None, self.clock)

    def release(self, version: str, **changes: Any) -> Outcome:
        plan = self.plan(version, **changes)
        return Engine(plan, self.places, self.hands(plan)).run()

    def recover(self) -> Outcome | None:
        plan = self.plan("whatever")
        return recover(plan, self.places, self.hands(plan))

    def check(self, version: str) -> None:
        """One version serves, whole; nothing else runs; the ledger and what is noted say so."""
        colours = serving(self.places)
        assert set(self.host.running) == {f"{name}-{colour}" for name, colour in colours.items()}
        assert set(self.host.running.values()) <= {version, "resumed"}, self.host.running
        assert self.host.kept == set(self.host.running)
        for name, port in (("web", 8000), ("admin", 8001)):
            assert self.host.front[name] == _release_front.ports(port)[colours[name]]
        now = live(Ledger(self.places.ledger).releases())
        assert now is not None and now.version == version


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Story]:
    one = Story(tmp_path)

    def switch(_path: Path, text: str, _nginx: Any) -> None:
        one.host.act("switch")
        one.host.front = dict(one.fronts)
        one.host.looked_at()

    def render(_project: str, doors: Any) -> str:
        one.fronts = {door.service: door.live for door in doors}
        return ""

    monkeypatch.setattr(_release_front, "switch", switch)
    monkeypatch.setattr(_release_front, "render", render)
    yield one


def test_good_releases(story: Story) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        assert story.release(version).result == GOOD
        story.check(version)
    assert story.host.outages == []


def test_only_one_of_them(story: Story) -> None:
    story.release("1.0.0")
    before = serving(story.places)
    assert story.release("1.1.0", replace=("web",)).result == GOOD
    after = serving(story.places)
    assert after == {**before, "web": "green"}
    assert story.host.running == {"web-green": "1.1.0", "admin-blue": "1.0.0", "worker-blue": "1.0.0"}


@pytest.mark.parametrize("first", [True, False])
def test_bad_versions(story: Story, first: bool) -> None:
    if not first:
        story.release("1.0.0")
    story.host.bad.add("1.1.0")
    assert story.release("1.1.0").result == FAILED
    assert story.host.outages == []
    if first:
        assert story.host.running == {}
        assert story.release("1.2.0").result == GOOD
        story.check("1.2.0")
    else:
        story.check("1.0.0")


def test_refused_from_outside(story: Story) -> None:
    story.release("1.0.0")
    story.word = REFUSED
    outcome = story.release("1.1.0")
    assert outcome.result == RETURNED and outcome.message.startswith("the login does not work\nWhat served before")
    story.check("1.0.0")
    assert story.host.outages == []


MOST_ACTS = 22


@pytest.mark.parametrize("alone", [set(), {"web", "worker"}])
def test_every_act_is_among_those_that_are_tried(story: Story, alone: set[str]) -> None:
    story.alone = alone
    story.release("1.0.0")
    for word in (CONFIRMED, REFUSED):
        before = len(story.host.acts)
        story.word = word
        story.release("1.1.0")
        assert len(story.host.acts) - before <= MOST_ACTS


@pytest.mark.parametrize("boot", [False, True])
@pytest.mark.parametrize("word", [CONFIRMED, REFUSED, ""])  # nothing: the host's own look decides
@pytest.mark.parametrize("alone", [set(), {"web", "worker"}])
@pytest.mark.parametrize("at", range(MOST_ACTS))
def test_killed_before_every_act(story: Story, at: int, alone: set[str], word: str, boot: bool) -> None:
    """Recovered, also after a boot, what was there before or the new one serves whole; the next release works."""
    story.alone = alone
    story.release("1.0.0")
    story.word = word
    story.host.left = at
    with suppress(Killed):
        story.release("1.1.0")
    story.host.left = 10_000
    if boot:
        story.host.boot()
    found = story.recover()
    version = "1.1.0" if (found and found.result == GOOD) or "web" not in story.host.running else "1.0.0"
    now = live(Ledger(story.places.ledger).releases())
    assert now is not None
    story.check(now.version)
    assert found is None or found.result in (GOOD, RETURNED, FAILED), found
    assert story.recover() is None, version
    story.word = CONFIRMED
    assert story.release("1.2.0").result == GOOD
    story.check("1.2.0")
    if not alone and not boot:
        assert story.host.outages == []


@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize("again", range(8))
def test_killed_while_it_recovers(story: Story, at: int, again: int) -> None:
    story.release("1.0.0")
    story.word = REFUSED
    for left in (at + 8, again):
        story.host.left = left
        with suppress(Killed):
            if left == at + 8:
                story.release("1.1.0")
            else:
                story.recover()
    story.host.left = 10_000
    story.recover()
    story.check("1.0.0")


def test_an_act_of_the_way_back_that_fails_stops_no_other(story: Story) -> None:
    story.release("1.0.0")
    story.word = REFUSED
    story.host.refuses = {"resume web-blue"}
    outcome = story.release("1.1.0")
    assert outcome.result == BROKEN and "resume web-blue is refused" in outcome.message
    assert story.host.front == {"web": 18000, "admin": 18001}, "nginx went back all the same"


def test_what_is_left_over_makes_a_release_no_worse(story: Story) -> None:
    story.release("1.0.0")
    story.host.refuses = {"forget web-blue"}
    outcome = story.release("1.1.0")
    assert outcome.result == GOOD and "the old web (blue) is left over: forget web-blue is refused" in outcome.message
    assert story.host.front == {"web": 28000, "admin": 28001}


def test_nginx_refuses(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    story.release("1.0.0")
    whole = _release_front.switch
    asked: list[int] = []

    def refuse_once(path: Path, text: str, nginx: Any) -> None:
        asked.append(1)
        if len(asked) == 1:
            raise FrontError("nginx refuses the front: no such upstream")
        whole(path, text, nginx)

    monkeypatch.setattr(_release_front, "switch", refuse_once)
    outcome = story.release("1.1.0")
    assert outcome.result == RETURNED and "no such upstream" in outcome.message
    story.check("1.0.0")
