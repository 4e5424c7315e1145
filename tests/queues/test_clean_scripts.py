# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scripts of a clean-up look at and hardly anybody ever meets: half of a family, a key that changes meanwhile.

What they do every day is in test_clean.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _queue_clean, _queue_lua
from ansible_collections.quai.ops.plugins.module_utils._queue_clean import clean
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour, QueueProblem
from ansible_collections.quai.ops.plugins.module_utils._queue_rules import Policy, rules
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, RedisFailed, Script, Server
from ansible_collections.quai.ops.plugins.module_utils._resp import text

from lab.wait import until
from tests.queues.harness import pages as harness_pages
from tests.queues.live.wire import Wire
from tests.queues.place import Database, Place
from tests.queues.test_clean import BULLMQ, FAST, NOW, OLD, Mail, family, mail, old, snapshot_of

__all__ = ["mail"]


# --- families --------------------------------------------------------------------------------------------------------


def odd_parent(given: Mail) -> None:
    """A child, old and failed, of a parent whose key is none of any queue."""
    given.job("failed", "child", parentKey="parent")
    given.add("HSET", "parent", "name", "p", "timestamp", OLD)
    given.add("SADD", "parent:dependencies", given.key("child"))


@FAST
def test_a_parent_of_no_queue(mail: Mail, fast: str) -> None:
    """Whether it has finished cannot be told; it waits."""
    odd_parent(mail)
    mail.job("failed", "free")
    done = mail.clean(old("failed"), fast=fast)
    assert mail.ids("failed") == ["child"]
    assert (done.removed["failed"], done.kept["parent"]) == (1, 1)


def test_a_parent_of_no_queue_cannot_be_freed(mail: Mail) -> None:
    odd_parent(mail)
    mail.write()
    before = snapshot_of(mail)
    done = mail.clean(old("failed"), parents="upstream")
    assert (done.removed["failed"], done.kept["damaged"]) == (0, 1)
    assert snapshot_of(mail) == before


@FAST
def test_a_parent_that_is_gone_waits_for_nobody(mail: Mail, fast: str) -> None:
    """Even though its list of children is still there."""
    parent = family(mail, "child", other="other")
    mail.add("DEL", parent)
    assert mail.clean(old("failed"), fast=fast).removed["failed"] == 1


@pytest.mark.parametrize("other", ["mail", "other"])
@pytest.mark.parametrize("state", ["active", "completed", ""])
def test_a_parent_that_does_not_wait_is_not_freed(mail: Mail, state: str, other: str) -> None:
    """One that runs, before it waits for its children, would run twice."""
    parent = family(mail, "child", parent=state, other=other)
    done = mail.clean(old("failed"), parents="upstream")
    assert (done.removed["failed"], done.released, done.parents_deleted) == (1, 0, 0)
    assert mail.link.call("EXISTS", parent) == 1
    assert mail.link.call("EXISTS", f"bull:{other}:wait", f"{parent}:dependencies") == 0


def test_a_family_that_goes_round_in_a_circle(mail: Mail) -> None:
    """Nothing of it can be decided, and nothing is half done."""
    for child, parent in (("1", "2"), ("2", "1")):
        mail.job("failed", child, parentKey=mail.key(parent))
        mail.add("SADD", mail.key(f"{parent}:dependencies"), mail.key(child))
    mail.job("failed", "free")
    done = mail.clean(old("failed"), parents="upstream")
    assert mail.ids("failed") == ["1", "2"]
    assert (done.removed["failed"], done.kept["damaged"]) == (1, 2)


def test_results_of_children_of_another_type(mail: Mail) -> None:
    """BullMQ 1 and 2 forget the result of a child that goes; where that is kept is found before anything is written."""
    mail.flavour = Flavour("bullmq", 2, "", "the test's")
    parent = family(mail, "child", "completed", other="other")
    mail.add("SET", f"{parent}:processed", "x")
    mail.job("completed", "free")
    done = mail.clean(old("completed"), parents="upstream")
    assert mail.ids("completed") == ["child"]
    assert (done.removed["completed"], done.kept["damaged"]) == (1, 1)
    assert mail.link.call("SISMEMBER", f"{parent}:dependencies", mail.key("child")) == 1


# --- what changes meanwhile ------------------------------------------------------------------------------------------


def test_a_key_changes_its_type_before_ghosts_are_looked_for(mail: Mail) -> None:
    mail.job("completed", "1")
    mail.job("wait", "ghost", ghost=True)

    def meanwhile(_removed: Mapping[str, int]) -> None:
        mail.link.call("SET", mail.key("priority"), "x")

    with pytest.raises(
        QueueProblem, match="priority is a string, where a queue has a zset; 1 jobs were removed before"
    ):
        mail.clean(old("completed"), ghosts="remove", progress=meanwhile)
    assert mail.ids("wait") == ["ghost"]


@pytest.mark.parametrize("ghosts", ["report", "remove"])
@pytest.mark.parametrize("state", ["wait", "completed"])
def test_ghosts_behind_pages_of_jobs(mail: Mail, state: str, ghosts: str) -> None:
    """Each page begins where the one before ended, whatever stays or goes."""
    for number in range(450):
        mail.job(state, f"{number:03}", OLD + number, ghost=number >= 350)
    with harness_pages(100):
        done = mail.clean(ghosts=ghosts)
    assert done.ghosts == 100
    assert len(mail.ids(state)) == (450 if ghosts == "report" else 350)


@pytest.mark.parametrize(
    ("command", "state"),
    [("LPUSH", "wait"), ("LPUSH", "active"), ("ZADD", "failed"), ("ZADD", "delayed"), ("SET", "paused")],
)
def test_an_orphan_finds_a_place_before_it_is_removed(
    mail: Mail,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    state: str,
) -> None:
    """The script looks again; where it cannot, because a state is of another type, it says so and removes nothing."""
    mail.job("", "1")
    mail.job("", "2")
    look = _queue_clean._Work._suspects

    def meanwhile(work: Any) -> Any:
        found = look(work)
        mail.link.call(command, mail.key(state), *([NOW] if command == "ZADD" else []), "1")
        return found

    monkeypatch.setattr(_queue_clean._Work, "_suspects", meanwhile)
    if command == "SET":
        with pytest.raises(QueueProblem, match="paused is a string, where a queue has a list; nothing was removed"):
            mail.clean(old("completed"), orphans="remove")
        assert mail.there("1", "2") == {"1", "2"}
    else:
        assert mail.clean(old("completed"), orphans="remove").orphans_removed == 1
        assert mail.there("1", "2") == {"1"}


def test_orphans_are_looked_at_for_a_short_time(mail: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step ends when its time is over, with one of them at least."""
    for number in range(5):
        mail.job("", str(number))
    monkeypatch.setattr(_queue_clean, "_PATIENCE", -1.0)
    patient = mail.clean(old("completed"), orphans="report", dry=True)
    monkeypatch.setattr(_queue_clean, "_PATIENCE", 1000.0)
    quick = mail.clean(old("completed"), orphans="report", dry=True)
    assert patient.orphans == quick.orphans == 5
    assert patient.chunks == quick.chunks + 4


@pytest.mark.parametrize("rule", [{"keep_last": 1950}, {"older_than": "7d"}])
@pytest.mark.parametrize("dry", [False, True])
def test_those_that_stay_anyway_are_not_looked_at(mail: Mail, rule: dict[str, Any], dry: bool) -> None:
    """Behind the last one that is too young, or among the newest, there is none to remove."""
    for number in range(2000):
        mail.job("completed", f"{number:04}", OLD + number if number < 50 else NOW - 5000 + number)
    done = mail.clean({"state": "completed", **rule}, dry=dry)
    assert (done.removed["completed"], done.chunks) == (50, 1)
    assert sum(done.kept.values()) == 1950
    assert (done.oldest, done.newest) == (OLD, OLD + 49)


def test_a_state_that_grows_faster_than_it_is_looked_at(mail: Mail) -> None:
    """It ends all the same, and says so."""
    pages, most = 0, 40
    names = iter(range(100_000))

    def grow(_removed: Mapping[str, int] | None = None) -> None:
        nonlocal pages
        pages += 1
        # After so many pages the test itself makes an end.
        for number in (next(names) for _job in range(200 if pages < most else 10)):
            mail.job("completed", str(number), OLD + number)
        mail.write()

    grow()
    with harness_pages(100):
        done = mail.clean(old("completed"), progress=grow)
    assert 1 < pages < most
    assert not done.complete
    assert any("completed grew faster than it could be looked at" in warning for warning in done.warnings)


def test_the_time_is_over_while_all_keys_are_looked_through(mail: Mail) -> None:
    """Where a database is large, this alone can take longer than there is time."""
    for number in range(300):
        mail.job("completed", str(number))
    mail.write()
    mail.link.ask(*(("SET", f"bull:mail:{number}:logs", "x") for number in range(1000, 6000)))
    calls = []
    for seconds in (60, 1e-9):
        mail.link.call("CONFIG", "RESETSTAT")
        done = mail.clean(old("completed"), fast="always", dry=True, max_seconds=seconds)
        stats = text(mail.link.call("INFO", "commandstats"))
        calls.append(int(stats.partition("cmdstat_scan:calls=")[2].partition(",")[0] or 0))
    assert calls[0] > calls[1] == 1
    assert not done.complete


def test_there_is_no_time_for_a_second_look(mail: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody waits for it in vain."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    mail.job("active", "1", processedOn=OLD)
    done = mail.clean(old("active"), active="unlocked", max_seconds=10)
    assert not slept and not done.complete and mail.ids("active") == ["1"]
    assert mail.clean(old("active"), active="unlocked", max_seconds=60).removed["active"] == 1
    assert slept == [15.0]


def test_a_queue_without_events_gets_none(redis: Database) -> None:
    given = Mail(redis.link, version="")
    given.job("completed", "1")
    assert given.clean(old("completed")).removed["completed"] == 1
    assert redis.link.call("DBSIZE") == 0


@FAST
@pytest.mark.parametrize("state", ["completed", "wait"])
@pytest.mark.parametrize("dry", [False, True])
def test_the_time_is_over(mail: Mail, state: str, fast: str, dry: bool) -> None:
    """Before the first page, whatever it is for."""
    for number in range(300):
        mail.job(state, str(number))
    mail.job("", "orphan")
    for rule in ([old(state)], []):
        done = mail.clean(*rule, fast=fast, dry=dry, ghosts="remove", orphans="remove", max_seconds=1e-9)
        assert not done.complete and not done.changed
        assert any("max_seconds" in warning for warning in done.warnings)
    assert len(mail.ids(state)) == 300 and mail.there("orphan")


@pytest.mark.parametrize("dry", [False, True])
def test_a_replica(mail: Mail, dry: bool) -> None:
    """Said before anything is looked at, in a plan too."""
    mail.write()
    mail.link.call("REPLICAOF", "127.0.0.1", 1)
    mail.link.close()
    try:
        with pytest.raises(
            RedisFailed, match="mail: this server is a replica; give the address of its master"
        ) as failed:
            mail.clean(old("completed"), dry=dry)
        assert failed.value.reason == "readonly"
    finally:
        mail.link.call("REPLICAOF", "NO", "ONE")


def test_a_queue_without_a_tag_on_a_cluster(packages: Place) -> None:
    """What can never be in one slot is told before anything is looked at."""
    node = packages.serve("--cluster-enabled", "yes")
    try:
        with Wire(node.options["host"], node.port) as wire:
            wire("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            until("the cluster", lambda: "cluster_state:ok" in wire("CLUSTER", "INFO"), seconds=20)
        for name in ("mail", "{}", "a}b{"):
            with pytest.raises(QueueProblem, match="on a cluster the prefix or the name needs a tag in braces"):
                Mail(node.link, name, version="").clean(old("completed"), dry=True)
        given = Mail(node.link, "{mail}")
        given.job("completed", "1")
        assert given.clean(old("completed")).removed == {"completed": 1}
    finally:
        node.kill()


# --- scripts by themselves -------------------------------------------------------------------------------------------


def test_clock_of_a_script(redis: Database) -> None:
    """os.clock, where a script may have it; else TIME."""
    told = "return tostring(seconds())"
    for known, expected in (("{clock = function() return 42.5 end}", 42.5), ("{}", None), ("nil", None)):
        reply = redis.link.run(Script("clock", f"local os = {known}\n{_queue_lua.CLOCK}{told}"), (), ())
        seconds = redis.link.time_ms() / 1000 % 100_000
        assert float(text(reply)) == pytest.approx(expected if expected else seconds, abs=60 if expected is None else 0)


def test_nothing_is_left_of_what_was_to_be_counted(mail: Mail) -> None:
    """Workers and other clean-ups may have been faster."""
    state, groups = mail.key("completed"), mail.key("limiter:index")
    link = mail.link
    for there in ((), (1, "a"), (1, "a", 2, "b")):
        if there:
            link.call("ZADD", state, *there)
        assert link.run(_queue_lua.FORESEE, (state, groups), (mail.queue.base, "+inf", 2, "", 5)) == [0]
    for ghosts in (0, 1):
        assert link.run(_queue_lua.WHOLE, (state,), (mail.queue.base, 2, 10, ghosts)) == 0


@contextmanager
def user(redis: Database, *granted: str) -> Iterator[Link]:
    """A connection of somebody who may do this."""
    redis.link.call("ACL", "SETUSER", "half", "reset", "on", ">secret", *granted)
    try:
        with Server({**redis.options, "user": "half", "password": "secret"}) as server:
            yield server.at("x")
    finally:
        redis.link.call("ACL", "DELUSER", "half")


def test_jobs_that_may_not_be_read_are_not_counted(mail: Mail, redis: Database) -> None:
    mail.job("completed", "1")
    mail.write()
    given: tuple[Any, ...] = (_queue_lua.WHOLE, (mail.key("completed"),), (mail.queue.base, 0, 1, 0))
    assert mail.link.run(*given) == 1
    with user(redis, "~*", "+@all", "-mget") as link:
        assert link.run(*given) == 0


@pytest.mark.parametrize("command", ["srem", "hdel", "zrem", "hmget", "rpush", "zadd"])
def test_a_right_that_is_lacking_in_the_queue_of_a_parent(mail: Mail, redis: Database, command: str) -> None:
    """All that freeing a parent in another queue may take is asked for before the child goes."""
    family(mail, "child", other="other")
    mail.write()
    before = snapshot_of(mail)
    policy = Policy(fast="never", parents="upstream")
    given: Any = (mail.queue, BULLMQ, rules([old("failed")]), policy)
    elsewhere = f"(~bull:other:* +@all -{command})"
    words = f"may not run {command.upper()} on bull:other:"
    with (
        user(redis, "~bull:mail:*", "&*", "+@all", elsewhere) as link,
        pytest.raises(RedisFailed, match=words) as failed,
    ):
        clean(link, *given, dry=False, now_ms=NOW)
    assert failed.value.reason == "auth"
    assert snapshot_of(mail) == before
    with user(redis, "~bull:mail:*", "&*", "+@all", "(~bull:other:* +@all)") as link:
        assert clean(link, *given, dry=False, now_ms=NOW).released == 1


def test_a_job_that_may_not_be_read_is_not_taken_for_damaged(mail: Mail, redis: Database) -> None:
    """Who may read only some keys of a queue is told."""
    mail.job("completed", "1")
    mail.write()
    before = snapshot_of(mail)
    policy = Policy(fast="never")
    act: Callable[[Link], Any] = lambda link: clean(  # noqa: E731
        link, mail.queue, BULLMQ, rules([old("completed")]), policy, dry=False, now_ms=NOW
    )
    with user(redis, "~bull:mail:[^0-9]*", "&*", "+@all") as link, pytest.raises(RedisFailed, match="clean a page"):
        act(link)
    assert snapshot_of(mail) == before
    with user(redis, "~bull:mail:*", "&*", "+@all") as link:
        assert act(link).removed == {"completed": 1}
