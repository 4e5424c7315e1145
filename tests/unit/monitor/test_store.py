# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the watch keeps on disk, and what it does with files that are wrong."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _monitor_store as store
from ansible_collections.quai.ops.plugins.module_utils._monitor_store import Paths, StoreError

from tests.unit.monitor.parts import T0


@pytest.fixture
def where(tmp_path: Path) -> Paths:
    places = store.paths(str(tmp_path))
    places.config.mkdir(parents=True)
    return places


def config(where: Paths, **content: Any) -> None:
    (where.config / "config.json").write_text(json.dumps({"host": "vps1", "probes": [], **content}))


def test_places_are_below_the_root() -> None:
    assert store.paths("/") == Paths(
        Path("/etc/quai/monitor"), Path("/var/lib/quai/monitor"), Path("/run/quai/monitor"),
        Path("/var/log/quai/monitor"), Path("/run/quai/locks"),
    )  # fmt: skip


def test_a_configuration_gets_defaults(where: Paths) -> None:
    config(where)
    read, wrong = store.load_config(where)
    assert wrong == []
    assert (read["interval"], read["channels"], read["messages_per_hour"]) == (60, {}, 20)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"host": ""}, ("host is missing",)),
        ({"probes": {"a": 1}}, ("probes is {'a': 1}, not a list",)),
        ({"interval": "60"}, ("interval is '60', not a number",)),
        ({"interval": True}, ("interval is True, not a number",)),
    ],
)
def test_a_configuration_that_cannot_be_used_says_what_and_where(
    where: Paths, content: dict[str, Any], words: tuple[str, ...]
) -> None:
    config(where, **content)
    with pytest.raises(StoreError) as refused:
        store.load_config(where)
    assert str(where.config / "config.json") in str(refused.value)
    for word in words:
        assert word in str(refused.value)


MAIL = {"channels": {"x": {"type": "mail", "to": ["a@b.example"]}}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"interval": 0}, ("interval is 0; it must be 1 or more",)),
        ({"concurrency": -1}, ("concurrency is -1",)),
        ({"run_limit": -5}, ("run_limit is -5",)),
        ({"languages": [1]}, ("languages is [1]",)),
        ({"own_fault_channels": [{}]}, ("own_fault_channels is [{}]",)),
        ({"channels": {"x": "mail"}}, ("channels.x: type is None",)),
        ({"policies": {"p": ["x"]}}, ("policies.p is ['x'], not a map",)),
        ({"policies": {"p": {"high": "x"}}, **MAIL}, ("policies.p.high is 'x'",)),
        ({"policies": {"p": {"high": {"notify": "x"}}}, **MAIL}, ("policies.p.high", "lists channels")),
        ({"projects": {"shop": "x"}}, ("projects.shop is no map",)),
        ({"projects": {"shop": {"locks": "x"}}}, ("projects.shop",)),
        ({"peers": [{"name": "vps2"}]}, ("peers[0] is no map with name, url",)),
        ({"peers": [{"name": "a", "url": "http://a", "max_age": "x"}]}, ("max_age in seconds",)),
        ({"probes": [{"name": "a", "policy": ["q"]}]}, ("probe 'a': policy is ['q']",)),
        ({"channels": {"x": {"type": "fax"}}}, ("channels.x: type is 'fax'", "mail, slack, webhook")),
        ({"channels": {"x": {"type": "mail"}}}, ("channels.x: to is missing",)),
        ({"policies": {"p": {"high": {"notify": ["y"]}}}}, ("policies.p.high.notify", "'y'", "there is none")),
        ({"own_fault_channels": ["z"]}, ("own_fault_channels names 'z'",)),
        ({"probes": [{"name": "a", "policy": "q"}]}, ("probe 'a': policy is 'q'",)),
    ],
)
def test_what_is_wrong_is_left_out_and_said(where: Paths, content: dict[str, Any], words: tuple[str, ...]) -> None:
    config(where, **content)
    read, wrong = store.load_config(where)
    assert str(where.config / "config.json") in wrong[0]
    for word in words:
        assert word in "; ".join(wrong)
    assert read["interval"] > 0
    assert read["concurrency"] > 0
    assert store.load_config(where)[0] == read, "the defaults are as they were"


@pytest.mark.parametrize(("text", "word"), [(None, "does not exist"), ("{", "is not JSON"), ("[]", "not a map")])
def test_a_configuration_that_is_none(where: Paths, text: str | None, word: str) -> None:
    if text is not None:
        (where.config / "config.json").write_text(text)
    with pytest.raises(StoreError, match=word):
        store.load_config(where)


def test_secrets_are_for_root_alone(where: Paths) -> None:
    assert store.load_secrets(where) == {}
    path = where.config / "secrets.json"
    path.write_text('{"a.B": "s3cr3t"}')
    path.chmod(0o640)
    with pytest.raises(StoreError, match=r"mode 0640.*make it 0600"):
        store.load_secrets(where)
    path.chmod(0o600)
    assert store.load_secrets(where) == {"a.B": "s3cr3t"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_secrets_of_somebody_else_are_refused(where: Paths) -> None:
    path = where.config / "secrets.json"
    path.write_text("{}")
    path.chmod(0o600)
    os.chown(path, 12345, -1)
    with pytest.raises(StoreError, match="belongs to user 12345"):
        store.load_secrets(where)


def test_a_secret_that_is_no_text_is_named_and_not_shown(where: Paths) -> None:
    path = where.config / "secrets.json"
    path.write_text('{"a.B": 4711}')
    path.chmod(0o600)
    with pytest.raises(StoreError, match=r"a\.B") as refused:
        store.load_secrets(where)
    assert "4711" not in str(refused.value)


def saved(where: Paths, now: float, mark: str, copy: bool = True) -> None:
    state = store.load_state(where, now).state
    state["memory"] = {"mark": mark}
    assert store.write_state(where, state, now, copy=copy and (where.state / "state.json").exists()).where == "disk"


def test_a_state_is_replaced_whole_and_for_root(where: Paths) -> None:
    saved(where, T0, "one")
    path = where.state / "state.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open() as old:
        saved(where, T0 + 60, "two")
        assert json.load(old)["memory"] == {"mark": "one"}, "who reads sees one state or the other"
    assert [one.name for one in where.state.iterdir() if one.name.startswith(".")] == []


def test_a_good_copy_is_kept_every_hour(where: Paths) -> None:
    copy = where.state / "state.json.1"
    saved(where, T0, "first")
    assert not copy.exists()
    for minute in range(1, 91):
        saved(where, T0 + 60 * minute, f"minute {minute}")
    assert json.loads(copy.read_bytes())["memory"] == {"mark": "minute 60"}


@pytest.mark.parametrize("content", [b"", b'{"version": 1, "probes": {', b"[]", b'{"version": 9}', b"\xff\xfe", b"nan"])
def test_a_damaged_state_is_kept_aside_and_the_copy_is_used(where: Paths, content: bytes) -> None:
    saved(where, T0, "old")
    saved(where, T0 + 3600, "newer")
    path = where.state / "state.json"
    path.write_bytes(content)
    loaded = store.load_state(where, T0 + 3660)
    assert loaded.state["memory"] == {"mark": "old"}
    assert not loaded.good
    assert [fault.key for fault in loaded.faults] == ["state_damaged"]
    assert "61 min ago" in loaded.faults[0].text
    kept = list(where.state.glob("state.json.corrupt-*"))
    assert [one.read_bytes() for one in kept] == [content]
    assert kept[0].name == "state.json.corrupt-20270115T090100Z"


def test_a_state_without_a_copy_starts_anew(where: Paths) -> None:
    where.state.mkdir(parents=True)
    (where.state / "state.json").write_text("{")
    loaded = store.load_state(where, T0)
    assert loaded.state == store.new_state()
    assert "starts anew" in loaded.faults[0].text


def test_only_the_last_damaged_ones_are_kept(where: Paths) -> None:
    where.state.mkdir(parents=True)
    for number in range(6):
        (where.state / "state.json").write_text(f"damaged {number}")
        store.load_state(where, T0 + number)
    assert len(list(where.state.glob("state.json.corrupt-*"))) == store.CORRUPT_KEPT


def test_the_younger_of_disk_and_memory_counts(where: Paths) -> None:
    saved(where, T0, "disk")
    state = store.load_state(where, T0).state
    state["memory"] = {"mark": "memory"}
    state["run"]["serial"] = 5
    where.run.mkdir(parents=True)
    store.replace(where.run / "state.json", store.dumps(state))
    assert store.load_state(where, T0).state["memory"] == {"mark": "memory"}
    assert store.read_state(where)["memory"] == {"mark": "memory"}
    saved(where, T0 + 60, "disk again")
    assert not (where.run / "state.json").exists()
    assert store.load_state(where, T0).state["memory"] == {"mark": "disk again"}


def event(t: float, text: str) -> dict[str, Any]:
    return {"t": t, "k": "event", "event": "firing", "probe": text}


def lines(where: Paths, *entries: dict[str, Any]) -> list[str]:
    state = store.new_state()
    store.note(state, entries)
    journal: list[str] = state["journal"]
    return journal


def test_lines_are_appended_once_however_often_they_are_flushed(where: Paths) -> None:
    journal = lines(where, event(T0, "a"), event(T0, "b"))
    for _again in range(3):
        assert store.flush(where, journal) == ""
    store.flush(where, lines(where, event(T0 + 1, "c")))
    assert [line["probe"] for line in store.history(where)] == ["a", "b", "c"]


def test_lines_go_to_their_day(where: Paths) -> None:
    store.flush(where, lines(where, event(T0, "today"), event(T0 + 86400, "tomorrow"), event(T0 - 3600, "earlier")))
    assert sorted(path.name for path in (where.state / "history").iterdir()) == ["2027-01-15.jsonl", "2027-01-16.jsonl"]


def test_a_torn_line_costs_only_itself(where: Paths) -> None:
    store.flush(where, lines(where, event(T0, "a")))
    path = where.state / "history" / "2027-01-15.jsonl"
    with path.open("a") as stream:
        stream.write('{"t":1800000000,"k":"ev')
    store.flush(where, lines(where, event(T0, "b")))
    assert [line["probe"] for line in store.history(where)] == ["a", "b"]


def test_days_are_kept_by_number_so_that_a_wrong_clock_loses_none(where: Paths) -> None:
    for day in range(40):
        store.flush(where, lines(where, event(T0 + 86400 * day, str(day))))
    found = [line["probe"] for line in store.history(where)]
    assert found == [str(day) for day in range(5, 40)]
    store.flush(where, lines(where, event(T0 + 86400 * 3650, "in ten years")))
    assert len(store.history(where)) == 35


def test_a_history_that_cannot_be_written_says_so(where: Paths) -> None:
    where.state.mkdir(parents=True)
    (where.state / "history").write_text("in the way")
    assert "history cannot be written" in store.flush(where, lines(where, event(T0, "a")))


def result(status: str, latency: float | None = 10.0, value: float | None = None) -> dict[str, Any]:
    return {"name": "a", "status": status, "latency_ms": latency, "value": value}


def test_results_are_summed_in_buckets_of_five_minutes(where: Paths) -> None:
    state = store.new_state()
    start = T0 // 300 * 300
    for minute, status in enumerate(["ok", "degraded", "critical", "ok", "unknown"]):
        store.count(state, [result(status, 10.04 + minute, 1.23456)], start + 60 * minute)
    assert state["journal"] == []
    store.count(state, [result("waiting")], start + 300)
    assert [json.loads(line) for line in state["journal"]] == [
        {"t": start, "k": "bucket", "p": {"a": [3, 5, 3, [10.0, 11.0, 12.0, 13.0, 14.0], 1.235]}}
    ]
    assert state["bucket"] == {"t": start + 300, "p": {}}


def test_what_is_unknown_is_null_in_a_bucket(where: Paths) -> None:
    state = store.new_state()
    store.count(state, [result("critical", None, None)], T0)
    assert state["bucket"]["p"]["a"] == [2, 1, 1, [], None]


def test_overruns_are_counted_from_anywhere(where: Paths) -> None:
    assert store.overruns(where) == 0
    store.overrun(where)
    store.overrun(where)
    assert store.overruns(where) == 2
