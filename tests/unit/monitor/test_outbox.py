# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages that wait: their order, their patience, their detours, and that each is delivered once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _monitor_outbox as outbox
from ansible_collections.quai.ops.plugins.module_utils import _monitor_store as store
from ansible_collections.quai.ops.plugins.module_utils._monitor_outbox import DeliveryFailed

from tests.unit.monitor.parts import T0, policy

CONFIG: dict[str, Any] = {
    "host": "vps1",
    "languages": ["en"],
    "channels": {"mail": {}, "chat": {}, "hook": {}},
    "probes": [{"name": "api", "policy": "p"}],
    "policies": {"p": {"high": {"notify": ["mail"], "escalate_to": ["chat"]}, "low": {"notify": ["hook"]}}},
    "own_fault_channels": ["mail", "hook"],
}


class Channels:
    """Channels that work or fail as told, and what they were given."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.refuses: set[str] = set()
        self.got: list[tuple[str, str]] = []
        self.bodies: dict[str, str] = {}
        self.subjects: dict[str, str] = {}
        self.tries = 0

    def __call__(self, message: dict[str, Any], seconds: float) -> None:
        self.tries += 1
        if message["channel"] in self.down:
            raise DeliveryFailed("nobody answers")
        if message["id"] in self.refuses:
            raise DeliveryFailed("not this one", refused=True)
        self.got.append((message["channel"], message["id"]))
        self.bodies[message["id"]] = message["body"]
        self.subjects[message["id"]] = message["subject"]

    @property
    def ids(self) -> list[str]:
        return [identity for channel, identity in self.got]


@pytest.fixture
def where(tmp_path: Path) -> store.Paths:
    return store.paths(str(tmp_path))


@pytest.fixture
def channels() -> Channels:
    return Channels()


def message(identity: str, channel: str = "mail", **more: Any) -> dict[str, Any]:
    return {
        "id": identity,
        "kind": "firing",
        "channel": channel,
        "severity": "high",
        "subject": f"subject {identity}",
        "body": f"body {identity}",
        "at": T0,
        "probes": ["api"],
        "data": {"n": 1},
        **more,
    }


def deliver(where: store.Paths, send: outbox.Send, now: float, **options: Any) -> outbox.Delivered:
    return outbox.deliver(where, CONFIG, now, send, **options)


def left(where: store.Paths) -> list[str]:
    return [item.message["id"] for item in outbox.waiting(where)]


def test_messages_go_out_in_the_order_they_were_decided(where: store.Paths, channels: Channels) -> None:
    outbox.put(where, [message("z"), message("a")], T0)
    outbox.put(where, [message("m")], T0 - 3600)  # the clock was set back: the order is the same
    assert left(where) == ["z", "a", "m"]
    done = deliver(where, channels, T0)
    assert channels.ids == ["z", "a", "m"]
    assert (done.sent, done.failed, left(where)) == (3, 0, [])


def test_a_file_is_for_root_alone(where: store.Paths) -> None:
    outbox.put(where, [message("a")], T0)
    assert (where.state / "outbox" / "a.json").stat().st_mode & 0o777 == 0o600


def test_a_message_that_is_known_is_not_put_again(where: store.Paths, channels: Channels) -> None:
    outbox.put(where, [message("a"), message("a")], T0)
    outbox.put(where, [message("a")], T0)
    deliver(where, channels, T0)
    outbox.put(where, [message("a")], T0 + 60)
    deliver(where, channels, T0 + 60)
    assert channels.ids == ["a"]


def test_what_was_delivered_is_forgotten_after_two_days(where: store.Paths, channels: Channels) -> None:
    outbox.put(where, [message("old"), message("new")], T0)
    deliver(where, channels, T0)
    done = where.state / "delivered"
    stamp = (done / "old.json").stat().st_mtime - outbox.REMEMBERED - 60
    os.utime(done / "old.json", (stamp, stamp))
    outbox.put(where, [message("third")], T0)
    deliver(where, channels, T0)
    assert sorted(path.name for path in done.iterdir()) == ["new.json", "third.json"]


@pytest.mark.parametrize("identity", ["../../etc/passwd", "", "a/b", ".hidden", "x" * 200])
def test_an_id_that_is_no_name_is_refused(where: store.Paths, identity: str) -> None:
    with pytest.raises(ValueError, match="not the id of a message"):
        outbox.put(where, [message(identity)], T0)


def test_retries_come_after_1_2_5_10_and_then_up_to_60_minutes(where: store.Paths, channels: Channels) -> None:
    outbox.put(where, [message("a", "hook", probes=[])], T0)
    channels.down = {"hook", "mail"}
    tried = []
    for minute in range(24 * 60):
        before = channels.tries
        outbox.deliver(where, {**CONFIG, "own_fault_channels": []}, T0 + 60 * minute, channels)
        if channels.tries > before:
            tried.append(minute)
    gaps = [after - before for before, after in zip(tried, tried[1:])]
    assert gaps[:7] == [1, 2, 5, 10, 20, 40, 60]
    assert set(gaps[7:]) == {60}
    channels.down = set()
    deliver(where, channels, T0 + 25 * 3600)
    assert channels.ids == ["a"]


def test_a_clock_that_was_set_back_makes_no_message_wait_longer(where: store.Paths, channels: Channels) -> None:
    outbox.put(where, [message("a")], T0)
    channels.down = {"mail"}
    deliver(where, channels, T0)
    channels.down = set()
    deliver(where, channels, T0 - 2 * 3600)
    assert channels.ids == ["a"]


def test_order_is_kept_while_a_channel_fails(where: store.Paths, channels: Channels) -> None:
    channels.down = {"mail"}
    for number in range(3):
        outbox.put(where, [message(f"m{number}")], T0 + 60 * number)
        deliver(where, channels, T0 + 60 * number)
    channels.down = set()
    for minute in range(3, 8):
        outbox.put(where, [message(f"m{minute}")], T0 + 60 * minute)
        deliver(where, channels, T0 + 60 * minute)
    assert [identity for channel, identity in channels.got if channel == "mail"] == [f"m{n}" for n in range(8)]


def test_one_channel_that_fails_holds_no_other(where: store.Paths, channels: Channels) -> None:
    outbox.put(where, [message("a"), message("b", "hook"), message("c")], T0)
    channels.down = {"mail"}
    deliver(where, channels, T0)
    assert channels.got == [("hook", "b")]


def test_a_message_that_is_refused_lets_the_next_ones_pass(where: store.Paths, channels: Channels) -> None:
    outbox.put(where, [message("bad"), message("good")], T0)
    channels.refuses = {"bad"}
    done = deliver(where, channels, T0)
    assert (channels.ids, done.failed, left(where)) == (["good"], 1, ["bad"])
    deliver(where, channels, T0 + 30)
    assert channels.tries == 2, "its time has not come again"
    channels.refuses = set()
    deliver(where, channels, T0 + 60)
    assert channels.ids == ["good", "bad"]


def test_after_three_failures_another_channel_of_the_policy_is_told(where: store.Paths, channels: Channels) -> None:
    outbox.put(where, [message("a")], T0)
    channels.down = {"mail"}
    for now in (T0, T0 + 60):
        deliver(where, channels, now)
    assert channels.got == []
    deliver(where, channels, T0 + 180)
    assert len(channels.got) == 1
    channel, identity = channels.got[0]
    assert channel == "chat", "the same severity comes first"
    assert identity.startswith("a."), "another id: the first one is not delivered"
    assert "channel mail failed 3 times: nobody answers" in channels.bodies[identity]
    for minute in range(4, 60):
        deliver(where, channels, T0 + 60 * minute)
    assert len(channels.got) == 1, "once"
    channels.down = set()
    deliver(where, channels, T0 + 7200)
    assert channels.got[1:] == [("mail", "a")]


def test_what_comes_while_a_channel_is_known_to_fail_takes_the_detour_at_once(
    where: store.Paths, channels: Channels
) -> None:
    outbox.put(where, [message("a")], T0)
    channels.down = {"mail"}
    for now in (T0, T0 + 60, T0 + 180):
        deliver(where, channels, now)
    channels.got.clear()
    outbox.put(where, [message("b")], T0 + 200)
    deliver(where, channels, T0 + 200)
    assert [(channel, identity[:2]) for channel, identity in channels.got] == [("chat", "b.")]


def test_a_detour_makes_no_detour(where: store.Paths, channels: Channels) -> None:
    outbox.put(where, [message("a")], T0)
    channels.down = {"mail", "chat", "hook"}
    for minute in range(120):
        deliver(where, channels, T0 + 60 * minute)
    assert len(left(where)) == 2


def test_own_faults_take_a_detour_among_their_channels(where: store.Paths, channels: Channels) -> None:
    outbox.put(where, [message("a", kind="own_fault", probes=[])], T0)
    channels.down = {"mail"}
    for now in (T0, T0 + 60, T0 + 180):
        deliver(where, channels, now)
    assert [channel for channel, identity in channels.got] == ["hook"]


def down_for_a_day(where: store.Paths, channels: Channels, count: int) -> None:
    channels.down = {"mail", "chat", "hook"}
    every = 24 * 60 // count
    for minute in range(24 * 60):
        if minute % every == 0 and minute // every < count:
            outbox.put(where, [message(f"m{minute // every:03}", at=T0 + 60 * minute)], T0 + 60 * minute)
        deliver(where, channels, T0 + 60 * minute)
    channels.down = {"chat", "hook"}


def test_after_a_day_few_messages_come_one_by_one(where: store.Paths, channels: Channels) -> None:
    down_for_a_day(where, channels, 4)
    for minute in range(24 * 60, 26 * 60):
        deliver(where, channels, T0 + 60 * minute)
    assert channels.ids == ["m000", "m001", "m002", "m003"]


def test_after_a_day_many_messages_come_as_one_with_all_of_them_in_order(
    where: store.Paths, channels: Channels
) -> None:
    down_for_a_day(where, channels, 40)
    for minute in range(24 * 60, 26 * 60):
        outbox.put(where, [message("fresh")], T0 + 60 * 24 * 60)
        deliver(where, channels, T0 + 60 * minute)
    got = [identity for channel, identity in channels.got if channel == "mail"]
    text = "\n".join(f"{channels.subjects[identity]}\n{channels.bodies[identity]}" for identity in got)
    subjects = [f"subject m{number:03}" for number in range(40)]
    places = [text.find(subject) for subject in subjects]
    assert -1 not in places
    assert places == sorted(places), "in order"
    assert all(text.count(subject) == 1 for subject in subjects), "nothing twice"
    assert len(got) <= 12, "few messages"
    assert "m000" not in got, "what a digest tells does not come by itself"
    outbox.put(where, [message("m000")], T0 + 90000)
    assert "m000" not in left(where), "and is known to be delivered"


def test_a_digest_says_what_happened_and_ends_with_the_last_one(where: store.Paths, channels: Channels) -> None:
    channels.down = {"mail", "chat"}
    outbox.put(where, [message("m0")], T0)
    deliver(where, channels, T0)
    outbox.put(where, [message(f"m{number}", severity="critical") for number in range(1, 8)], T0 + 10)
    channels.down = set()
    deliver(where, channels, T0 + 60)
    (identity,) = channels.ids
    body = channels.bodies[identity]
    assert body.startswith("8 messages waited since 2027-01-15 08:00 UTC, because this channel failed: nobody answers")
    assert body.endswith("body m7")


def test_a_run_killed_while_it_folds_loses_and_doubles_nothing(
    where: store.Paths, channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels.down = {"mail", "chat"}
    outbox.put(where, [message(f"m{number}") for number in range(8)], T0)
    deliver(where, channels, T0)
    channels.down = set()
    before = outbox._remember
    calls = 0

    def killed(item: outbox.Item, home: Path | None = None) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        before(item, home)

    monkeypatch.setattr(outbox, "_remember", killed)
    with pytest.raises(KeyboardInterrupt):
        deliver(where, channels, T0 + 60)
    monkeypatch.setattr(outbox, "_remember", before)
    assert channels.ids == []
    deliver(where, channels, T0 + 60)
    deliver(where, channels, T0 + 120)
    assert len(channels.ids) == 1
    assert left(where) == []


def test_a_message_not_delivered_for_a_day_is_an_event_once(where: store.Paths, channels: Channels) -> None:
    outbox.put(where, [message("a")], T0)
    channels.down = {"mail", "chat"}
    events = []
    for hour in range(48):
        events += deliver(where, channels, T0 + 3600 * hour).events
    late = [event for event in events if "mail: subject a" in event["message"]]
    assert [(event["event"], event["probe"], event["since"]) for event in late] == [("delivery_failed", "api", T0)]
    assert left(where)[0] == "a", "and it is still tried"
    events = deliver(where, channels, T0 + 8 * 86400).events
    assert any("given up after 7 days" in event["message"] for event in events)
    assert "a" not in left(where)


def test_all_deliveries_of_a_run_share_one_budget(where: store.Paths) -> None:
    outbox.put(where, [message(f"m{number}", channel) for channel in ("mail", "chat", "hook") for number in (1, 2)], T0)
    outbox.put(where, [message("x", "chat"), message("y", "hook")], T0)
    clock = [0.0]
    seen = []

    def slow(one: dict[str, Any], seconds: float) -> None:
        seen.append(seconds)
        clock[0] += seconds
        raise DeliveryFailed("no answer")

    deliver(where, slow, T0, budget=20.0, clock=lambda: clock[0])
    assert seen == [10.0, 10.0]
    assert clock[0] <= 20.0


def test_channels_that_work_come_before_those_that_fail(where: store.Paths, channels: Channels) -> None:
    channels.down = {"chat"}
    outbox.put(where, [message("a", "chat")], T0)
    deliver(where, channels, T0)
    order = []

    def note(one: dict[str, Any], seconds: float) -> None:
        order.append(one["channel"])
        channels(one, seconds)

    outbox.put(where, [message("b", "mail")], T0 + 60)
    deliver(where, note, T0 + 60)
    assert order == ["mail", "chat"]


def test_a_damaged_file_is_kept_aside_and_holds_nothing_up(where: store.Paths, channels: Channels) -> None:
    outbox.put(where, [message("a"), message("b")], T0)
    box = where.state / "outbox"
    (box / "a.json").write_text('{"message": {"id": "a"')
    (box / "c.json").write_text('{"message": 3, "order": 1}')
    deliver(where, channels, T0)
    assert channels.ids == ["b"]
    assert sorted(path.name for path in box.iterdir()) == ["a.damaged", "c.damaged"]


def test_counts_per_channel_last(where: store.Paths, channels: Channels) -> None:
    outbox.put(where, [message("a"), message("b", "hook")], T0)
    channels.down = {"mail"}
    deliver(where, channels, T0)
    channels.down = set()
    deliver(where, channels, T0 + 60)
    counts = outbox.channels(where)
    assert counts["mail"] == {"sent": 1, "failed": 1, "error": "", "ok_at": T0 + 60}
    assert counts["hook"] == {"sent": 1, "failed": 0, "error": "", "ok_at": T0}


def test_secrets_of_a_channel_are_not_in_the_files(where: store.Paths) -> None:
    outbox.put(where, [message("a")], T0)

    def leak(one: dict[str, Any], seconds: float) -> None:
        raise DeliveryFailed("answered 500")

    deliver(where, leak, T0)
    record = json.loads((where.state / "outbox" / "a.json").read_bytes())
    assert record["error"] == "answered 500"
    assert "url" not in json.dumps(record)


def test_a_policy_of_one_channel_has_no_detour(where: store.Paths, channels: Channels) -> None:
    config = {**CONFIG, "policies": {"p": policy("mail")}, "own_fault_channels": ["mail"]}
    outbox.put(where, [message("a")], T0)
    channels.down = {"mail"}
    for minute in range(30):
        outbox.deliver(where, config, T0 + 60 * minute, channels)
    assert left(where) == ["a"]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, where: store.Paths) -> dict[str, bool]:
    """A disk that takes nothing while it is full; memory goes on."""
    state = {"full": False}

    def replace(path: Path, content: bytes, mode: int = 0o600, *, sync: bool = True) -> None:
        if state["full"] and where.state in path.parents:
            raise OSError(28, "No space left on device")
        store.replace(path, content, mode, sync=sync)

    monkeypatch.setattr(outbox, "replace", replace)
    return state


@pytest.mark.parametrize("full_at_first", [False, True])
def test_a_disk_that_fills_up_or_is_freed_meanwhile_sends_nothing_twice(
    where: store.Paths, channels: Channels, disk: dict[str, bool], full_at_first: bool
) -> None:
    disk["full"] = full_at_first
    outbox.put(where, [message("a", "hook")], T0)
    channels.down = {"hook"}
    deliver(where, channels, T0)
    disk["full"] = not full_at_first
    for at in (61, 125):
        deliver(where, channels, T0 + at)
    (item,) = outbox.waiting(where)
    assert (channels.tries, item.record["attempts"]) == (2, 2), "its patience counts, wherever it is kept"
    channels.down = set()
    for hours in range(1, 4):
        deliver(where, channels, T0 + 3600 * hours)
    assert channels.ids == ["a"]
    assert left(where) == []


def test_a_detour_is_taken_although_the_message_moved_to_the_disk(
    where: store.Paths, channels: Channels, disk: dict[str, bool]
) -> None:
    disk["full"] = True
    outbox.put(where, [message("a")], T0)
    channels.down = {"mail"}
    deliver(where, channels, T0)
    deliver(where, channels, T0 + 61)
    disk["full"] = False
    deliver(where, channels, T0 + 200)
    assert [channel for channel, _identity in channels.got] == ["chat"]


def test_a_file_that_cannot_be_read_holds_nothing_up(where: store.Paths, channels: Channels) -> None:
    outbox.put(where, [message("a")], T0)
    (where.state / "outbox" / "b.json").mkdir()
    deliver(where, channels, T0)
    assert channels.ids == ["a"]


def test_who_has_one_channel_is_told_by_that_of_the_watch(where: store.Paths, channels: Channels) -> None:
    config = {**CONFIG, "policies": {"p": policy("mail")}}
    outbox.put(where, [message("a")], T0)
    channels.down = {"mail"}
    for minute in range(10):
        outbox.deliver(where, config, T0 + 60 * minute, channels)
    assert [channel for channel, _identity in channels.got] == ["hook"]
