# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A week of a host's life in fast-forward: how many messages people get, that none is missing, what always holds."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any, NamedTuple

import pytest
from ansible_collections.quai.ops.plugins.module_utils._monitor_simulate import (
    START,
    Story,
    expand,
    fast_forward,
    lines,
    simulate,
)
from ansible_collections.quai.ops.plugins.module_utils._monitor_state import (
    OPEN,
    Outcome,
    Refused,
    acknowledge,
    advance,
    maintain,
)

DAY = 1440  # runs of a minute


class Scenario(NamedTuple):
    """What happens on one day, and how many messages that may be."""

    name: str
    series: str
    most: int
    accepted: int  # what the acceptance check allows; C(most) is the stricter table of the reference
    probes: int = 1
    expected: int = 1  # messages without which something was missed


SCENARIOS = [
    Scenario("hard down 6 h", "1x60 0x360", 5, 5, expected=2),
    Scenario("1-0-1-0 for 6 h", "1x60 10x360", 5, 6),
    Scenario("4 min down, 4 up, 6 h", "1x60 00001111x360", 9, 10, expected=2),
    Scenario("3 % lone failures", "noise", 0, 0, expected=0),
    Scenario("host down 1 h, 30 probes", "1x60 0x60", 2, 3, probes=30, expected=2),
    Scenario("crash loop 2 up 1 down, 12 h", "1x60 110x720", 6, 8),
    Scenario("one blip of 3 min", "1x60 000", 2, 2, expected=2),
]


def lone_failures(rng: random.Random, runs: int, share: float) -> str:
    """Good results with lone bad ones among them, never two in a row."""
    line = ""
    for _run in range(runs):
        line += "0" if not line.endswith("0") and rng.random() < share else "1"
    return line


def day(scenario: Scenario, seed: int = 1) -> str:
    """One day of a scenario."""
    if scenario.series == "noise":
        return lone_failures(random.Random(seed), DAY, 0.03)  # noqa: S311
    return (expand(scenario.series) + "1" * DAY)[:DAY]


def config(names: list[str], **more: Any) -> dict[str, Any]:
    """Critical probes, one team."""
    return {
        "host": "vps1",
        "languages": ["en"],
        "interval": 60,
        "probes": [{"name": name, "severity": "critical", "project": "shop", "policy": "shop"} for name in names],
        "policies": {},
        "channels": {"team": {}},
        **more,
    }


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_messages_of_a_day(scenario: Scenario) -> None:
    names = [f"p{number:02}" for number in range(scenario.probes)]
    story = fast_forward(dict.fromkeys(names, day(scenario)), config(names))
    assert scenario.expected <= len(story.messages) <= scenario.most <= scenario.accepted
    if scenario.expected:
        assert story.messages[0]["kind"] in ("firing", "flapping")
        assert story.messages[0]["probes"] == names
        assert story.messages[-1]["kind"] in ("resolved", "steady")
        assert all(entry["alert"]["state"] == "ok" for entry in story.state["probes"].values())
        # Nobody waits longer than the twenty results that the rule for fast flapping looks at.
        assert story.messages[0]["at"] - START <= (60 + 20) * 60


@pytest.mark.parametrize("seed", range(10))
def test_lone_failures_say_nothing_whatever_the_seed(seed: int) -> None:
    scenario = SCENARIOS[3]
    assert fast_forward({"p": day(scenario, seed)}, config(["p"])).messages == []


def test_a_week_of_a_hosts_life(capsys: pytest.CaptureFixture[str]) -> None:
    """Each day has its trouble, on top of a few lone failures everywhere."""
    rng = random.Random(7)  # noqa: S311
    names = [f"p{number:02}" for number in range(30)]
    series = dict.fromkeys(names, "")
    for scenario in SCENARIOS:
        for index, name in enumerate(names):
            # Most of the thirty are only there on the day on which the whole host is down.
            usual = lone_failures(rng, DAY, 0.01) if index < 10 else "-" * DAY
            series[name] += day(scenario) if index < scenario.probes else usual
    story = fast_forward(series, config(names))
    counted = Counter(int((one["at"] - START) // 86400) for one in story.messages)
    table = [f"{'day':<4}{'scenario':<32}{'messages':>9}{'at most':>9}{'needed':>8}"]
    for index, scenario in enumerate(SCENARIOS):
        table.append(f"{index + 1:<4}{scenario.name:<32}{counted[index]:>9}{scenario.most:>9}{scenario.expected:>8}")
    table.append(f"{'':<4}{'week':<32}{len(story.messages):>9}{sum(one.most for one in SCENARIOS):>9}")
    with capsys.disabled():
        print("\n" + "\n".join(table))
    for index, scenario in enumerate(SCENARIOS):
        assert scenario.expected <= counted[index] <= scenario.most, scenario.name
    # Whatever was told is about the probes that had trouble, and all is told to be well at the end.
    assert {name for one in story.messages for name in one["probes"]} == set(names)
    assert all({"p00"} == set(one["probes"]) for one in story.messages if (one["at"] - START) // 86400 != 4)
    check_history(story)
    assert not any(entry["alert"]["state"] in OPEN for entry in story.state["probes"].values())


# What always holds


def check_history(story: Story) -> None:
    """Every incident has one beginning, and one end unless it is still open."""
    open_ones: set[str] = set()
    for event in story.events:
        name, kind = event["probe"], event["event"]
        assert event["t"] >= event["since"] - 1e-6
        assert event["duration"] >= 0
        if kind == "firing":
            assert name not in open_ones, event
            open_ones.add(name)
        elif kind == "flapping":
            open_ones.add(name)
        elif kind == "resolved" or (kind == "steady" and "ended" in event):
            assert name in open_ones, event
            open_ones.remove(name)
    assert open_ones == {name for name, entry in story.state["probes"].items() if entry["alert"]["state"] in OPEN}


def check_messages(story: Story) -> None:
    """Nothing twice, and the last word of everything that ended is that it ended."""
    ids = [one["id"] for one in story.messages]
    assert len(ids) == len(set(ids))
    first: Counter[tuple[str, str, str]] = Counter()
    last: dict[tuple[str, str], str] = {}
    runs: Counter[tuple[str, float]] = Counter()
    for message in story.messages:
        runs[message["channel"], message["at"]] += message["kind"] != "ack"
        for item in message["data"]["items"]:
            key = (message["channel"], item["name"])
            if item["kind"] == "firing":
                first[(*key, item["incident"])] += 1
            if item["kind"] != "own_fault":
                closes = item["kind"] == "resolved" or (item["kind"] == "steady" and "ended" in item)
                last[key] = "well" if closes else "bad"
    assert max(first.values(), default=1) == 1
    assert max(runs.values(), default=1) == 1
    for (channel, name), word in last.items():
        alert = story.state["probes"].get(name, {"alert": {"state": "ok", "owed": {}, "told": []}})["alert"]
        if alert["state"] == "ok" and not alert["owed"]:
            assert word == "well", (channel, name)
        elif alert["state"] in OPEN and channel in alert["told"]:
            assert word == "bad", (channel, name)


class Walk:
    """A host on which everything happens at random, by a seed."""

    probes = (
        {"name": "net", "severity": "high", "failures": 2, "successes": 1},
        {"name": "db", "severity": "critical", "depends_on": ["net"]},
        {"name": "web", "severity": "critical", "depends_on": ["db"], "window": "4/10"},
        {"name": "disk", "severity": "medium", "failures": 1},
    )

    def __init__(self, seed: int, **more: Any) -> None:
        self.rng = random.Random(seed)  # noqa: S311
        policy = {"respond_within": 1800, "notify": ["team"], "escalate_to": ["boss"]}
        self.config = config(
            [],
            probes=[{"project": "shop", "policy": "shop", **one} for one in self.probes],
            policies={"shop": dict.fromkeys(("critical", "high", "medium", "low"), policy)},
            channels={"team": {}, "boss": {}, "watch": {}},
            own_fault_channels=["watch"],
            **{"messages_per_hour": 1000, **more},
        )
        self.state: dict[str, Any] = {}
        self.now = START
        self.status = dict.fromkeys((str(one["name"]) for one in self.probes), "ok")
        self.calmness = {name: self.rng.choice([0.5, 0.8, 0.95, 0.99]) for name in self.status}
        self.locked = 0
        self.messages: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.free: Counter[str] = Counter()

    def take(self, outcome: Outcome) -> None:
        """Save what was decided, as a disk would give it back."""
        self.state = json.loads(json.dumps(outcome.state))
        self.messages += outcome.messages
        self.events += outcome.events

    def step(self) -> None:
        """One run, with what people do before it; and the same run again, as after a kill."""
        rng = self.rng
        self.now += 60 if rng.random() < 0.98 else rng.choice([600, 7200, 90000])
        for name, calm in self.calmness.items():
            if rng.random() > calm:
                self.status[name] = rng.choice(["ok", "ok", "ok", "degraded", "warning", "critical", "unknown"])
        if rng.random() < 0.02:
            self.calmness = {name: rng.choice([0.5, 0.8, 0.95, 0.99]) for name in self.status}
        self.people()
        results = [{"name": name, "status": status} for name, status in self.status.items() if rng.random() < 0.97]
        releases = ["shop"] if self.locked > 0 else []
        self.locked -= 1
        before, acked = self.state, self.acked()
        outcome = advance(before, results, self.config, self.now, releases=releases)
        killed = advance(before, results, self.config, self.now + rng.uniform(0, 0.5), releases=releases)
        assert [one["id"] for one in killed.messages] == [one["id"] for one in outcome.messages]
        self.take(outcome)
        self.check_silence(outcome, acked)
        self.check_nothing_missed(results)

    def people(self) -> None:
        """Somebody acknowledges, or begins a maintenance or a release."""
        rng, chance = self.rng, self.rng.random()
        until = self.now + rng.choice([300, 1800, 7200])
        if chance < 0.02:
            name = rng.choice(list(self.status))
            try:
                self.take(acknowledge(self.state, name, by="Zoé", until=until, now=self.now, config=self.config))
            except Refused:
                assert self.state.get("probes", {}).get(name, {}).get("alert", {}).get("state") not in OPEN
        elif chance < 0.025:
            project = rng.choice(["", "shop"])
            self.take(maintain(self.state, project, until=until, by="Zoé", reason="", now=self.now))
        elif chance < 0.03:
            self.locked = rng.choice([5, 20, 100])

    def acked(self) -> set[str]:
        """Probes whose alert is acknowledged in the run that comes."""
        probes = self.state.get("probes", {})
        return {name for name, entry in probes.items() if entry["alert"]["acked"]["until"] > self.now}

    def check_silence(self, outcome: Outcome, acked: set[str]) -> None:
        """Nothing about what is acknowledged but its end; nothing at all about what is in maintenance or released."""
        for message in outcome.messages:
            for item in message["data"]["items"]:
                alert = self.state["probes"][item["name"]]["alert"]
                assert not alert["quiet"], item
                closes = item["kind"] == "resolved" or (item["kind"] == "steady" and "ended" in item)
                assert item["name"] not in acked or closes or item["kind"] == "own_fault", item
                assert closes or item["kind"] == "own_fault" or not alert["suppressed"], item

    def check_nothing_missed(self, results: list[dict[str, Any]]) -> None:
        """What is bad often enough, and is not suppressed, was told."""
        seen = {result["name"] for result in results if result["status"] in ("warning", "critical")}
        for probe in self.probes:
            name = str(probe["name"])
            alert = self.state["probes"].get(name, {}).get("alert")
            if alert is None or alert["suppressed"] or alert["acked"]["until"] or alert["marks"][-1:] in ("", "0"):
                self.free[name] = 0
            elif name in seen:
                self.free[name] += 1
                if self.free[name] > int(str(probe.get("failures", 3))):
                    assert alert["state"] in OPEN, (name, alert)
                    assert alert["notified"], (name, alert)


@pytest.mark.parametrize("seed", range(20))
def test_random_walks(seed: int) -> None:
    walk = Walk(seed)
    for _run in range(250):
        walk.step()
    story = Story(walk.state, walk.messages, walk.events)
    check_history(story)
    check_messages(story)


def test_the_walks_go_everywhere() -> None:
    """The invariants above would hold of a machine that never says anything; this one says everything there is."""
    kinds: Counter[str] = Counter()
    gates: set[str] = set()
    for seed in range(100, 110):
        walk = Walk(seed)
        for _run in range(250):
            walk.step()
            gates |= {entry["alert"]["suppressed"] for entry in walk.state["probes"].values()}
        kinds += Counter(item["kind"] for one in walk.messages for item in one["data"]["items"])
    wanted = ("firing", "worse", "escalated", "reminder", "flapping", "steady", "resolved", "ack", "ack_expired")
    assert {kind: kinds[kind] for kind in (*wanted, "own_fault", "maintenance_end") if kinds[kind] < 3} == {}
    assert gates == {"", "maintenance", "release", "dependency"}


@pytest.mark.parametrize("seed", range(3))
def test_no_hour_has_more_messages_than_its_budget(seed: int) -> None:
    walk = Walk(seed, messages_per_hour=4)
    for _run in range(400):
        walk.step()
    for channel in ("team", "boss"):
        times = [one["at"] for one in walk.messages if one["channel"] == channel and one["kind"] != "ack"]
        for when in times:
            assert sum(when <= other < when + 3600 for other in times) <= 8  # twice the budget, for critical news only
    assert any(one["kind"] == "digest" for one in walk.messages)


# The simulator of the command line


def test_simulate_reads_patterns() -> None:
    assert expand("1x3 0,10x5") == "111" + "0" + "10101"
    assert [one["kind"] for one in simulate("1x10 000 11")] == ["firing", "resolved"]
    (message,) = simulate("1x9 000")
    assert lines([message]) == ["+11 min     channel: [simulation] 1 CRIT: probe (timeout)"]


def test_simulate_uses_the_thresholds_and_channels_of_a_probe() -> None:
    given = config(["web"], channels={"team": {}, "boss": {}})
    given["probes"] = [{"name": "web", "failures": 5, "depends_on": ["db"], "policy": "p", "severity": "low"}]
    given["policies"] = {"p": {"low": {"notify": ["boss"]}}}
    assert [(one["channel"], one["at"] - START) for one in simulate("0x9", given, name="web")] == [("boss", 240)]
    with pytest.raises(Refused, match=r"no probe is named 'wbe'; there are: web"):
        simulate("0x9", given, name="wbe")


@pytest.mark.parametrize(
    ("series", "words"),
    [
        ("", "the series is empty"),
        ("1x60 2x5", "'2x5' holds '2'"),
        ("x5", "'x5' has no results before its 'x'"),
        ("0x", "'0x' must end in a number of runs"),
        ("0x0", "'0x0' must end in a number of runs"),
        ("0x1000000", "from 1 to 100000"),
        ("0x60000 1x60000", "longer than 100000 runs"),
    ],
)
def test_simulate_refuses(series: str, words: str) -> None:
    with pytest.raises(Refused) as caught:
        simulate(series)
    assert words in str(caught.value)
