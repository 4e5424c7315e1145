# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cleaning engine against a real Redis: what it takes, what it leaves, and that it never does half of something.

What the packages do with the same queues is compared in test_differential.py and test_deliberate.py.
"""

from __future__ import annotations

import base64
import fnmatch
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _queue_clean, _queue_lua, _redis_link
from ansible_collections.quai.ops.plugins.module_utils._queue_clean import Outcome, clean
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import (
    STATES,
    SUB_KEYS,
    Flavour,
    Queue,
    QueueProblem,
    detect,
    find,
)
from ansible_collections.quai.ops.plugins.module_utils._queue_rules import Policy, rules
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, RedisFailed, Server
from ansible_collections.quai.ops.plugins.module_utils._resp import text

from tests.queues import snapshot
from tests.queues.place import Database, Node

NOW = 1_790_000_000_000
DAY = 86_400_000
OLD, YOUNG = NOW - 10 * DAY, NOW - 1000
BULLMQ = Flavour("bullmq", 6, "6.7.0", "the test's")
BULL = Flavour("bull", 4, "4.16.5", "the test's")
SETS = [state for state, kind in STATES.items() if kind == "zset"]
LISTS = [state for state, kind in STATES.items() if kind == "list"]
FAST = pytest.mark.parametrize("fast", ["never", "always"])


class Mail:
    """A queue to put jobs into and to clean."""

    def __init__(self, link: Link, name: str = "mail", *, version: str = "bullmq:6.7.0") -> None:
        self.link = link
        self.queue = Queue("bull", name)
        self.flavour = BULLMQ
        self.commands: list[tuple[Any, ...]] = []
        if version:
            self.add("HSET", self.key("meta"), "version", version, "opts.maxLenEvents", 10000)
            self.add("XADD", self.key("events"), "*", "event", "added")

    def key(self, suffix: str) -> str:
        return self.queue.key(suffix)

    def add(self, *command: Any) -> None:
        """Write later, together."""
        self.commands.append(command)

    def job(self, state: str, name: str, at: int = OLD, /, **fields: Any) -> str:
        """One job; its hash is left out with C(ghost=True). A list has the oldest at its tail."""
        key = self.key(name)
        given = {"name": "send", "data": "{}", "opts": "{}", "timestamp": at, **fields}
        if state in ("completed", "failed"):
            given = {"finishedOn": at, **given}
        if not given.pop("ghost", False):
            self.add("HSET", key, *(part for pair in given.items() for part in pair))
        if STATES.get(state) == "list":
            self.add("LPUSH", self.key(state), name)
        elif state:
            self.add("ZADD", self.key(state), at * 4096 if state == "delayed" else at, name)
        return key

    def write(self) -> None:
        for begin in range(0, len(self.commands), 1000):
            for reply in self.link.ask(*self.commands[begin : begin + 1000]):
                assert "Refusal" not in repr(reply)
        self.commands.clear()

    def clean(self, *given: Mapping[str, Any], dry: bool = False, progress: Any = None, **policy: Any) -> Outcome:
        """Write what waits for it, then clean."""
        self.write()
        told = Policy(**{"fast": "never", **policy})
        return clean(
            self.link, self.queue, self.flavour, rules(list(given)), told, dry=dry, now_ms=NOW, progress=progress
        )

    def ids(self, state: str) -> list[str]:
        command = ("LRANGE", self.key(state), 0, -1) if STATES[state] == "list" else ("ZRANGE", self.key(state), 0, -1)
        return [text(one) for one in self.link.call(*command)]

    def there(self, *names: str) -> set[str]:
        return {name for name in names if self.link.call("EXISTS", self.key(name))}


@pytest.fixture
def mail(redis: Database) -> Mail:
    return Mail(redis.link)


def old(state: str, **more: Any) -> dict[str, Any]:
    return {"state": state, "older_than": "7d", **more}


def writes(link: Link) -> set[str]:
    """The commands that change data among all that ran since CONFIG RESETSTAT, within scripts too."""
    told = text(link.call("INFO", "commandstats"))
    ran = [line.partition(":")[0][len("cmdstat_") :] for line in told.splitlines() if line.startswith("cmdstat_")]
    facts = link.call("COMMAND", "INFO", *(name.partition("|")[0] for name in ran))
    flags = [{text(flag).lstrip("+") for flag in fact[2]} if fact else set() for fact in facts]
    # SORT is one because it can STORE, which no script of ours does.
    return {name for name, known in zip(ran, flags) if "write" in known} - {"sort"}


# -- which jobs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [*SETS, "wait", "paused"])
def test_takes_the_old_ones_only(mail: Mail, state: str) -> None:
    mail.job(state, "1")
    mail.job(state, "2", YOUNG)
    mail.job(state, "3")
    mail.job(state, "border", NOW - 7 * DAY)
    mail.job(state, "after", NOW - 7 * DAY + 1)
    for sub in SUB_KEYS:
        mail.add("SET", mail.key(f"1:{sub}"), "x") if sub != "dependencies" else None
    plan = mail.clean(old(state), dry=True)
    done = mail.clean(old(state))
    assert sorted(mail.ids(state)) == ["2", "after"]
    assert mail.there("1", "3", "border", "2", "after") == {"2", "after"}
    assert not mail.there(*(f"1:{sub}" for sub in SUB_KEYS))
    assert done.removed[state] == plan.removed[state] == 3
    assert done.kept["young"] == plan.kept["young"] == 2
    assert (done.counts_before[state], done.counts_after[state]) == (5, 2) == (5, plan.counts_after[state])
    assert plan.exact
    assert done.complete
    assert set(done.samples) == {"1", "3", "border"}
    assert (done.oldest, done.newest) == (OLD, NOW - 7 * DAY)


@pytest.mark.parametrize("state", [*SETS, "wait", "paused"])
@pytest.mark.parametrize("page", [20, 100])
def test_looks_at_every_job(mail: Mail, state: str, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither stops at a page where all are too young nor loses its place among those that stay."""
    monkeypatch.setattr("ansible_collections.quai.ops.plugins.module_utils._queue_pace.LARGEST", page)
    names = [f"{i:04}" for i in range(1000)]
    for i, name in enumerate(names):
        # Equal scores: the order is that of the ids. 150 in a row stay.
        mail.job(state, name, OLD, name="stays" if i % 7 == 0 or 300 <= i < 450 else "goes")
    done = mail.clean(old(state, name="goes"))
    stay = {name for i, name in enumerate(names) if i % 7 == 0 or 300 <= i < 450}
    assert set(mail.ids(state)) == stay == mail.there(*names)
    assert done.removed[state] == 1000 - len(stay)
    assert done.kept["filter"] == len(stay)
    plan = mail.clean(old(state, name="*"), dry=True)
    assert plan.removed[state] == len(stay)


def test_keeps_the_order_of_a_list(mail: Mail) -> None:
    for i in range(50):
        mail.job("wait", str(i), OLD if i % 3 else YOUNG)
    mail.write()
    before = mail.ids("wait")
    mail.clean(old("wait"))
    assert mail.ids("wait") == [name for name in before if int(name) % 3 == 0]


def test_many_at_once_stay_below_the_limit_of_arguments(mail: Mail) -> None:
    """A page is larger than the number of values that Lua hands to a call."""
    for state in ("completed", "wait"):
        for i in range(9000):
            mail.job(state, f"{state}{i}")
            mail.add("LPUSH", mail.key(f"{state}{i}:logs"), "x")
    done = mail.clean(old("completed"), old("wait"), chunk_ms=1000)
    assert done.removed == {"completed": 9000, "wait": 9000}
    assert [text(key) for key in mail.link.call("KEYS", "*")] == [
        mail.key("meta"),
        mail.key("events"),
    ] or mail.link.call("DBSIZE") == 2
    assert done.chunks < 60


def test_numbers_are_compared_as_numbers(mail: Mail) -> None:
    mail.job("wait", "seconds", 999_999_999)
    mail.job("wait", "exponent", timestamp="1e3")
    mail.job("wait", "words", timestamp="soon")
    # Lua takes more for numbers than anybody writes.
    none = {"nothing": "", "hexadecimal": "0x10", "infinite": "-inf", "no number": "nan", "spaces": " 5 "}
    for name, value in none.items():
        mail.job("wait", name, timestamp=value)
    done = mail.clean(old("wait"))
    assert sorted(mail.ids("wait")) == sorted([*none, "words"])
    # Their age cannot be told, so that they are not old.
    assert done.kept["unknown"] == 6
    mail.job("completed", "short", 999_999_999)
    mail.job("completed", "long")
    assert mail.clean(old("completed")).removed["completed"] == 2


def test_clocks(mail: Mail) -> None:
    mail.job("completed", "created-long-ago", YOUNG, timestamp=OLD)
    assert mail.clean(old("completed"), dry=True).removed["completed"] == 0
    assert mail.clean(old("completed", clock="created")).removed["completed"] == 1
    mail.job("wait", "tried-just-now", OLD, processedOn=YOUNG)
    assert mail.clean(old("wait"), dry=True).removed["wait"] == 0
    assert mail.clean(old("wait", clock="processed"), dry=True).removed["wait"] == 0
    assert mail.clean(old("wait", clock="created")).removed["wait"] == 1


@pytest.mark.parametrize("state", ["completed", "failed", "wait", "paused"])
@FAST
def test_keep_last(mail: Mail, state: str, fast: str) -> None:
    for i in range(250):
        mail.job(state, str(i), OLD + i)
    done = mail.clean({"state": state, "keep_last": 30}, fast=fast)
    assert {int(name) for name in mail.ids(state)} == set(range(220, 250))
    assert done.removed[state] == 220
    assert done.kept["newest"] == 30
    # Both conditions have to hold.
    assert mail.clean({"state": state, "keep_last": 10, "older_than": "11d"}).removed[state] == 0


@pytest.mark.parametrize(
    "glob",
    ["send-*", "*-mail", "s*d*mail", "send-?-mail", "*", "send-[ab]-mail", "send-[!a]-mail", "send-[a-c]-mail",
     "%d+.mail", "send-é-mail", "a[b", "*é*", "?????"],
)  # fmt: skip
def test_globs(mail: Mail, glob: str) -> None:
    names = [
        "send-a-mail",
        "send-b-mail",
        "send-é-mail",
        "send-",
        "send",
        "x-mail",
        "%d+.mail",
        "1.mail",
        "a[b",
        "mail-mail",
        "héllo",
    ]
    for name in names:
        mail.job("failed", name, name=name, failedReason=name)
    for key in ("name", "failed_reason"):
        done = mail.clean(old("failed", **{key: glob}), dry=True)
        assert set(done.samples) == {name for name in names if fnmatch.fnmatchcase(name, glob)}


def test_a_long_reason_and_many_stars_take_no_time(mail: Mail) -> None:
    mail.job("failed", "1", failedReason="a" * 200_000)
    done = mail.clean(old("failed", failed_reason="*a*a*a*a*a*a*a*b"), dry=True)
    assert done.kept["filter"] == 1
    assert done.longest_chunk_ms < 2000


def test_limit(mail: Mail) -> None:
    for i in range(300):
        mail.job("completed", str(i), OLD + i)
        mail.job("wait", f"w{i}", OLD + i)
    done = mail.clean(old("completed", limit=120), old("waiting", limit=10))
    assert done.removed["completed"] == 120
    assert mail.ids("completed")[0] == "120"  # the oldest first
    assert done.removed["wait"] == 10
    assert mail.ids("wait")[-1] == "w10"
    assert not done.complete
    done = mail.clean(old("completed", limit=180))
    assert done.removed["completed"] == 180


def test_rules_of_one_state_are_looked_at_together(mail: Mail) -> None:
    """What two rules take is counted once, and each rule has its own limit."""
    for i in range(100):
        mail.job("failed", str(i), OLD + i, name="send" if i % 2 else "resize")
    given = (
        old("failed", name="send", limit=10),
        old("failed", name="resize", limit=20),
        {"state": "failed", "keep_last": 90},
    )
    plan = mail.clean(*given, dry=True)
    done = mail.clean(*given)
    assert done.removed == plan.removed
    # 10 send and 20 resize by the first two; the third takes of the ten oldest what they left.
    assert done.removed["failed"] == 30


def test_waiting_is_all_that_waits(mail: Mail) -> None:
    for state in ("wait", "paused", "prioritized"):
        mail.job(state, f"in-{state}")
    assert mail.clean(old("waiting")).removed == {"wait": 1, "paused": 1, "prioritized": 1}


def test_priorities_and_groups_are_forgotten(redis: Database) -> None:
    mail = Mail(redis.link, version="")
    mail.flavour = BULL
    for name in ("1", "2"):
        mail.job("wait", name, OLD if name == "1" else YOUNG)
        mail.add("ZADD", mail.key("priority"), 1, name)
        mail.add("HSET", mail.key("limiter:index"), name, mail.key("limiter:g"))
        mail.add("SADD", mail.key("limiter:g"), name)
    mail.clean(old("wait"))
    assert redis.link.call("ZRANGE", mail.key("priority"), 0, -1) == [b"2"]
    assert redis.link.call("HKEYS", mail.key("limiter:index")) == [b"2"]
    assert redis.link.call("SMEMBERS", mail.key("limiter:g")) == [b"2"]


@pytest.mark.parametrize("marker", ["0", "0:0", "0:1790000000000", "0:1790000000000.2"])
@FAST
def test_markers_in_a_list_stay(mail: Mail, marker: str, fast: str) -> None:
    """BullMQ 2 to 4 wakes its workers with them."""
    mail.job("wait", "1")
    mail.add("LPUSH", mail.key("wait"), marker)
    for ghosts in ("ignore", "remove"):
        done = mail.clean({"state": "wait", "older_than": 0}, ghosts=ghosts, fast=fast)
        assert mail.ids("wait") == [marker]
    assert done.ghosts == 0


def test_a_job_whose_id_looks_like_a_marker_goes(redis: Database) -> None:
    """Bull takes any id."""
    mail = Mail(redis.link, version="")
    mail.flavour = BULL
    mail.job("wait", "0:1")
    assert mail.clean(old("wait")).removed["wait"] == 1


@pytest.mark.parametrize("package", ["bullmq2", "bullmq3", "bullmq4"])
def test_the_marker_that_a_package_writes_stays(redis: Database, node: Callable[[str], Node], package: str) -> None:
    """The number of a delayed job is in its score, and so the time in the marker has a fraction in most cases."""
    mail = Mail(redis.link, version="")
    redis.link.call("SET", mail.key("id"), 998)
    given = {"redis": redis.options, "queue": "mail", "jobs": [{"name": "send", "opts": {"delay": 60_000}}]}
    node(package).call("add", given)
    mail.flavour = detect(redis.link, mail.queue)
    before = mail.ids("wait")
    assert len(before) == 1
    assert mail.clean({"state": "wait", "older_than": 0}, ghosts="remove").changed is False
    assert mail.ids("wait") == before


@pytest.mark.parametrize("name", ["meta", "wait", "events", "id"])
@FAST
def test_an_id_that_names_a_key_of_the_queue_takes_nothing_with_it(mail: Mail, name: str, fast: str) -> None:
    mail.add("SET", mail.key("id"), 7)
    mail.job("wait", "waits")
    mail.job("completed", name, ghost=True)
    mail.job("completed", "2")
    done = mail.clean({"state": "completed", "older_than": 0}, fast=fast)
    assert mail.there("meta", "wait", "events", "id", "waits") == {"meta", "wait", "events", "id", "waits"}
    assert mail.ids("completed") == [name]
    assert (done.removed["completed"], done.kept["damaged"]) == (1, 1)


@FAST
def test_flows_without_events_are_not_taken_for_bull(redis: Database, fast: str) -> None:
    """Nothing but its flows tells that a queue is not one of Bull when meta and events were deleted."""
    mail = Mail(redis.link, version="")
    mail.job("failed", "child", parentKey=mail.key("parent"))
    mail.job("waiting-children", "parent")
    mail.add("SADD", mail.key("parent:dependencies"), mail.key("child"))
    mail.write()
    mail.flavour = detect(redis.link, mail.queue)
    assert mail.flavour.library == "bullmq"
    for flavour in (mail.flavour, BULL):
        mail.flavour = flavour
        done = mail.clean({"state": "failed", "older_than": 0}, fast=fast)
        assert mail.ids("failed") == ["child"]
        assert done.kept["parent"] == 1


# -- which never -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [*SETS, "wait", "paused"])
@pytest.mark.parametrize("flavour", [BULLMQ, BULL], ids=["bullmq", "bull"])
@FAST
def test_locked_jobs_stay(mail: Mail, state: str, flavour: Flavour, fast: str) -> None:
    mail.flavour = flavour
    mail.job(state, "1")
    mail.job(state, "2")
    mail.job(state, "ghost", ghost=True)
    for name in ("1", "ghost"):
        mail.add("SET", mail.key(f"{name}:lock"), "token")
    done = mail.clean({"state": state, "older_than": 0}, ghosts="ignore", fast=fast)
    assert set(mail.ids(state)) == {"1", "ghost"}
    assert mail.there("1:lock", "ghost:lock", "1") == {"1:lock", "ghost:lock", "1"}
    assert (done.removed[state], done.kept["locked"]) == (1, 2)


@pytest.mark.parametrize("state", ["delayed", "prioritized", "wait", "paused"])
@pytest.mark.parametrize("flavour", [BULLMQ, BULL], ids=["bullmq", "bull"])
@FAST
def test_the_next_run_of_a_schedule_stays(mail: Mail, state: str, flavour: Flavour, fast: str) -> None:
    mail.flavour = flavour
    next_run, last_run = NOW + 1000, NOW - DAY
    mail.add("ZADD", mail.key("repeat"), next_run, "nightly", next_run + 5, "send::::5000")
    armed = {
        f"repeat:nightly:{next_run}": {"rjk": "nightly"},
        f"repeat:0cc175b9c0f1b6a831c399e269772661:{next_run + 5}": {},
    }
    past = {f"repeat:nightly:{last_run}": {"rjk": "nightly"}, f"repeat:0cc175b9c0f1b6a831c399e269772661:{last_run}": {}}
    gone = {f"repeat:removed:{last_run}": {"rjk": "removed"}}
    # At this time another schedule runs.
    others = {f"repeat:nightly:{next_run + 5}": {"rjk": "nightly"}}
    for name, fields in {**armed, **past, **gone, **others}.items():
        mail.job(state, name, **fields)
    done = mail.clean({"state": state, "older_than": 0}, fast=fast)
    assert set(mail.ids(state)) == set(armed)
    assert (done.removed[state], done.kept["scheduler"]) == (4, 2)


def family(
    mail: Mail, child: str, where: str = "failed", *, parent: str = "waiting-children", other: str = "mail"
) -> str:
    """A child that is still listed as a dependency of a parent, in this queue or in another one."""
    base = f"bull:{other}:"
    key = f"{base}parent"
    mail.add("HSET", key, "name", "p", "data", "{}", "opts", "{}", "timestamp", OLD)
    if STATES.get(parent) == "zset":
        mail.add("ZADD", base + parent, OLD, "parent")
    elif parent:
        mail.add("LPUSH", base + parent, "parent")
    name = mail.job(where, child, parentKey=key)
    mail.add("SADD", f"{key}:dependencies", name)
    return key


@pytest.mark.parametrize("other", ["mail", "other"])
@pytest.mark.parametrize("state", ["failed", "completed", "wait", "delayed", "prioritized"])
@pytest.mark.parametrize("parent", ["waiting-children", "active", ""])
@FAST
def test_a_child_that_a_parent_waits_for_stays(mail: Mail, other: str, state: str, parent: str, fast: str) -> None:
    family(mail, "child", state, parent=parent, other=other)
    family(mail, "second", state, parent="", other=other)
    mail.job(state, "free", parentKey=f"bull:{other}:gone")
    before = snapshot_of(mail)
    done = mail.clean(old(state), fast=fast)
    assert set(mail.ids(state)) == {"child", "second"}
    assert (done.removed[state], done.kept["parent"]) == (1, 2)
    after = snapshot_of(mail)
    changed = {name for name in before if before[name] != after.get(name)}
    assert changed == {mail.key("free"), mail.key(state), mail.key("events")}


@pytest.mark.parametrize("parent", ["completed", "failed"])
@FAST
def test_a_child_of_a_finished_parent_goes(mail: Mail, parent: str, fast: str) -> None:
    key = family(mail, "child", parent=parent, other="other")
    done = mail.clean(old("failed"), fast=fast)
    assert mail.ids("failed") == []
    assert done.released == 0
    # The parent forgets it and is otherwise as it was.
    assert mail.link.call("EXISTS", f"{key}:dependencies") == 0
    assert mail.link.call("EXISTS", key) == 1


@pytest.mark.parametrize("state", ["waiting-children", "wait", "delayed", "prioritized", "completed", "failed"])
@FAST
def test_a_parent_with_children_that_have_not_finished_stays(mail: Mail, state: str, fast: str) -> None:
    mail.job(state, "parent")
    mail.add("SADD", mail.key("parent:dependencies"), mail.job("paused", "child", YOUNG, parentKey=mail.key("parent")))
    mail.job(state, "alone")
    done = mail.clean(old(state), fast=fast)
    assert mail.ids(state) == ["parent"]
    assert mail.there("parent:dependencies", "child") == {"parent:dependencies", "child"}
    assert done.kept["parent"] == 1
    # When all of them have finished, a finished parent is as good as any other.
    mail.add("LREM", mail.key("paused"), 0, "child")
    mail.add("ZADD", mail.key("failed"), YOUNG, "child")
    done = mail.clean(old(state), fast=fast)
    assert done.removed[state] == (1 if state in ("completed", "failed") else 0)


FREED = [old("failed"), old("delayed"), old("completed")]


@pytest.mark.parametrize("order", [1, -1])
@FAST
def test_a_finished_parent_goes_with_its_last_child(mail: Mail, order: int, fast: str) -> None:
    """Whichever is looked at first: a second run would remove it otherwise. A plan cannot know, and says so."""
    family(mail, "child", "delayed", parent="failed", other="mail")
    mail.job("failed", "stays")
    mail.add("SADD", mail.key("stays:dependencies"), mail.job("delayed", "young", YOUNG))
    mail.job("failed", "locked")
    mail.add("SET", mail.key("locked:lock"), "token")
    mail.add("SET", mail.key("text"), "no job")
    mail.add("ZADD", mail.key("failed"), OLD, "text")
    asked = FREED[::order]
    plan = mail.clean(*asked, dry=True, fast=fast)
    assert (plan.exact, sum(plan.removed.values())) == (False, 1)
    done = mail.clean(*asked, fast=fast)
    assert (done.removed, done.complete) == ({"failed": 1, "delayed": 1, "completed": 0}, True)
    # Nothing is counted twice.
    kept = {why: count for why, count in done.kept.items() if count}
    assert kept == {"parent": 1, "locked": 1, "young": 1, "damaged": 1}
    assert [warning.rpartition(": ")[2] for warning in done.warnings] == ["text"]
    assert (mail.ids("failed"), mail.ids("delayed")) == (["locked", "stays", "text"], ["young"])
    after = snapshot_of(mail)
    assert not mail.clean(*asked, fast=fast).changed
    assert snapshot_of(mail) == after


def test_a_parent_that_stays_leaves_a_plan_exact(mail: Mail) -> None:
    """Where nothing goes that could be its child."""
    mail.job("failed", "parent")
    mail.add("SADD", mail.key("parent:dependencies"), mail.job("delayed", "child", YOUNG))
    mail.job("failed", "alone")
    assert mail.clean(*FREED, dry=True).exact
    assert mail.clean(*FREED).removed["failed"] == 1


@pytest.mark.parametrize(("most", "left"), [(1, ["parent"]), (2, [])])
def test_a_parent_that_no_plan_has_is_within_the_most(mail: Mail, most: int, left: list[str]) -> None:
    family(mail, "child", "delayed", parent="failed", other="mail")
    done = mail.clean(*FREED, max_remove=most)
    assert mail.ids("failed") == left
    assert done.complete == (not left)
    assert mail.clean(*FREED, max_remove=most).removed["failed"] == len(left)


def test_a_parent_goes_with_a_child_that_does_not_know_it(mail: Mail) -> None:
    mail.job("failed", "parent")
    mail.add("SADD", mail.key("parent:dependencies"), mail.job("delayed", "child", parentKey=mail.key("nobody")))
    assert mail.clean(*FREED).removed == {"failed": 1, "delayed": 1, "completed": 0}


def test_a_parent_without_data_goes_with_its_last_child(mail: Mail) -> None:
    """It can never run: an id in waiting-children whose job was evicted, say."""
    child = mail.job("failed", "child", parentKey=mail.key("parent"))
    mail.job("waiting-children", "parent", ghost=True)
    mail.add("SADD", mail.key("parent:dependencies"), child)
    asked = (old("waiting-children"), old("failed"))
    assert mail.clean(*asked).removed == {"waiting-children": 1, "failed": 1}
    assert not mail.clean(*asked).changed


@pytest.mark.parametrize(("parent", "child"), [("failed", ""), ("", "failed")])
def test_a_family_goes_with_an_orphan(mail: Mail, parent: str, child: str) -> None:
    key = mail.job(parent, "parent")
    mail.add("SADD", f"{key}:dependencies", mail.job(child, "child", parentKey=key))
    assert not mail.clean(old("failed"), orphans="remove", dry=True).exact
    done = mail.clean(old("failed"), orphans="remove")
    assert (done.removed["failed"], done.orphans_removed, done.kept["parent"]) == (1, 1, 0)
    assert not mail.clean(old("failed"), orphans="remove").changed


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("major", [3, 5, 6])
def test_upstream_frees_or_deletes_parents(mail: Mail, paused: bool, major: int) -> None:
    """As the libraries do it, with a marker for who waits; the default keeps both (above)."""
    mail.flavour = Flavour("bullmq", major, f"{major}.9.0", "the test's")
    family(mail, "last-of-other", other="other")
    same = family(mail, "last-of-mail")
    if paused:
        mail.add("HSET", "bull:other:meta", "paused", 1)
    plan = mail.clean(old("failed"), parents="upstream", dry=True)
    assert not plan.exact
    done = mail.clean(old("failed"), parents="upstream")
    assert (done.removed["failed"], done.released, done.parents_deleted) == (2, 1, 1)
    where = "paused" if paused and major < 6 else "wait"
    assert mail.link.call("LRANGE", f"bull:other:{where}", 0, -1) == [b"parent"]
    assert mail.link.call("EXISTS", "bull:other:marker") == int(major >= 5 and not paused)
    assert mail.link.call("EXISTS", same) == 0


@pytest.mark.parametrize(("major", "left"), [(3, 1), (5, 0), (6, 0)])
def test_upstream_ends_the_deduplication_of_the_last_child(mail: Mail, major: int, left: int) -> None:
    """The libraries end it with the parent that they delete, whichever job holds it now; those before 5 have none."""
    mail.flavour = Flavour("bullmq", major, f"{major}.9.0", "the test's")
    family(mail, "child")
    family(mail, "one-of-two", other="other")
    mail.add("SADD", "bull:other:parent:dependencies", mail.key("second"))
    for name in ("child", "one-of-two"):
        mail.add("HSET", mail.key(name), "deid", name)
        mail.add("SET", mail.key(f"de:{name}"), "another job")
    done = mail.clean(old("failed"), parents="upstream")
    assert (done.removed["failed"], done.parents_deleted) == (2, 1)
    assert mail.link.call("EXISTS", mail.key("de:child")) == left
    # Its parent still waits for another one.
    assert mail.link.call("EXISTS", mail.key("de:one-of-two")) == 1


def test_upstream_goes_up_to_grand_parents(mail: Mail) -> None:
    """The last child's parent is deleted, and with it the last child of its own parent."""
    parent = family(mail, "child")
    mail.add("HSET", "bull:other:grand", "name", "g", "timestamp", OLD)
    mail.add("ZADD", "bull:other:waiting-children", OLD, "grand")
    mail.add("SADD", "bull:other:grand:dependencies", parent)
    mail.add("HSET", parent, "parentKey", "bull:other:grand")
    done = mail.clean(old("failed"), parents="upstream")
    assert (done.parents_deleted, done.released) == (1, 1)
    assert mail.link.call("LRANGE", "bull:other:wait", 0, -1) == [b"grand"]


@pytest.mark.parametrize(("major", "left"), [(2, 0), (3, 1)])
def test_old_versions_forget_the_result_of_a_child(mail: Mail, major: int, left: int) -> None:
    mail.flavour = Flavour("bullmq", major, f"{major}.9.0", "the test's")
    key = family(mail, "child", "completed", parent="completed", other="other")
    mail.add("HSET", f"{key}:processed", mail.key("child"), "1")
    mail.clean(old("completed"), parents="upstream")
    assert mail.link.call("HLEN", f"{key}:processed") == left


def test_a_full_queue_gets_no_marker(mail: Mail) -> None:
    family(mail, "child", other="other")
    mail.add("HSET", "bull:other:meta", "concurrency", 1)
    mail.add("LPUSH", "bull:other:active", "7")
    mail.clean(old("failed"), parents="upstream")
    assert mail.link.call("LRANGE", "bull:other:wait", 0, -1) == [b"parent"]
    assert mail.link.call("EXISTS", "bull:other:marker") == 0


def test_deduplication_is_ended_only_by_the_job_that_holds_it(mail: Mail) -> None:
    for name, holder in (("1", "1"), ("2", "other")):
        mail.job("completed", name, deid=f"d{name}")
        mail.add("SET", mail.key(f"de:d{name}"), holder)
        mail.add("HSET", mail.key(f"dn:d{name}"), "data", "{}")
    mail.clean(old("completed"))
    assert mail.there("de:d1", "dn:d1", "de:d2", "dn:d2") == {"de:d2", "dn:d2"}


# -- active jobs -----------------------------------------------------------------------------------------------------


def stalled(mail: Mail, name: str, **fields: Any) -> None:
    mail.job("active", name, processedOn=OLD, **fields)


def test_active_jobs_need_to_be_asked_for(mail: Mail) -> None:
    stalled(mail, "1")
    with pytest.raises(QueueProblem, match="active: unlocked"):
        mail.clean(old("active"))
    with pytest.raises(QueueProblem, match="twice their lock lasts, 60 s"):
        mail.clean({"state": "active", "older_than": 59}, active="unlocked")
    assert mail.ids("active") == ["1"]


def test_active_jobs_hold_up_no_other(mail: Mail) -> None:
    stalled(mail, "1")
    mail.job("completed", "2")
    done = mail.clean(old("active"), old("completed"), active="unlocked", max_seconds=10)
    assert done.removed == {"active": 0, "completed": 1}
    assert not done.complete  # the second look would come too late


@pytest.mark.parametrize("event", ["nothing", "lock", "taken again"])
def test_active_jobs_are_looked_at_twice(mail: Mail, event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stalled(mail, "1")
    stalled(mail, "2")
    mail.add("SET", mail.key("2:lock"), "token")
    slept: list[float] = []

    def meanwhile(seconds: float) -> None:
        slept.append(seconds)
        if event == "lock":
            mail.link.call("SET", mail.key("1:lock"), "token")
        elif event == "taken again":
            mail.link.call("HSET", mail.key("1"), "processedOn", OLD + 1)
            mail.link.call("LREM", mail.key("active"), 0, "1")
            mail.link.call("LPUSH", mail.key("active"), "1")

    monkeypatch.setattr("time.sleep", meanwhile)
    done = mail.clean(old("active"), active="unlocked")
    assert slept == [15.0]
    assert set(mail.ids("active")) == ({"2"} if event == "nothing" else {"1", "2"})
    assert done.removed["active"] == (1 if event == "nothing" else 0)
    assert done.kept["locked"] == (1 if event == "nothing" else 2)


# -- ghosts and orphans ----------------------------------------------------------------------------------------------


def test_ghosts(mail: Mail) -> None:
    for state in STATES:
        mail.job(state, f"{state}-ghost", ghost=True)
        mail.job(state, f"{state}-job", YOUNG)
    mail.job("active", "held", ghost=True)
    mail.add("SET", mail.key("held:lock"), "token")
    mail.add("ZADD", mail.key("priority"), 1, "wait-ghost")
    mail.add("LPUSH", mail.key("wait-ghost:logs"), "left over")
    mail.write()
    before = snapshot_of(mail)
    assert mail.clean(old("completed"), ghosts="report").ghosts == len(STATES)
    plan = mail.clean(old("completed"), ghosts="remove", dry=True)
    assert snapshot_of(mail) == before
    done = mail.clean(old("completed"), ghosts="remove")
    assert (done.ghosts, done.ghosts_removed) == (plan.ghosts, plan.ghosts_removed) == (len(STATES), len(STATES))
    for state in STATES:
        assert set(mail.ids(state)) - {"held"} == {f"{state}-job"}
    assert not mail.there("priority", "wait-ghost:logs")
    assert mail.clean(old("completed")).ghosts is None


@pytest.mark.parametrize("flavour", [BULLMQ, BULL], ids=["bullmq", "bull"])
@pytest.mark.parametrize("state", STATES)
def test_removed_ghosts_leave_nothing_behind(redis: Database, state: str, flavour: Flavour) -> None:
    mail = Mail(redis.link, version="")
    mail.flavour = flavour
    for name in ("1", "2"):
        mail.job(state, name, ghost=True)
        for sub in SUB_KEYS:
            mail.add("SET", mail.key(f"{name}:{sub}"), "x")
        mail.add("ZADD", mail.key("priority"), 1, name)
        mail.add("HSET", mail.key("limiter:index"), name, mail.key("limiter:g"))
        mail.add("SADD", mail.key("limiter:g"), name)
    # A group that is none keeps nobody.
    mail.add("SET", mail.key("limiter:odd"), "x")
    mail.add("HSET", mail.key("limiter:index"), "1", mail.key("limiter:odd"))
    mail.add("SREM", mail.key("limiter:g"), "1")
    done = mail.clean(ghosts="remove")
    assert (done.ghosts, done.ghosts_removed) == (2, 2)
    mail.link.call("DEL", mail.key("limiter:odd"))
    assert mail.link.call("KEYS", "*") == []


def test_orphans(mail: Mail) -> None:
    for state in STATES:
        mail.job(state, f"in-{state}")
    leaked = ["1", "order-2", f"repeat:nightly:{OLD}"]
    for name in leaked:
        mail.job("", name, deid=f"d{name}")
        mail.add("SET", mail.key(f"de:d{name}"), name)
        mail.add("LPUSH", mail.key(f"{name}:logs"), "x")
    mail.job("", "held")
    mail.add("SET", mail.key("held:lock"), "token")
    mail.job("", "just-made", YOUNG)
    # What is no job: metrics, the template of a schedule, a hash of another program, another queue's jobs.
    mail.add("HSET", mail.key("metrics:failed"), "count", 3, "prevTS", OLD)
    mail.add("HSET", mail.key("repeat:nightly"), "name", "nightly", "data", "{}", "opts", "{}", "every", 5000)
    mail.add("ZADD", mail.key("repeat"), NOW, "nightly")
    mail.add("HSET", mail.key("notes"), "a", "b")
    for field in ("name", "opts", "data", "timestamp"):
        whole = {"name": "x", "opts": "{}", "data": "{}", "timestamp": OLD}
        del whole[field]
        mail.add("HSET", mail.key(f"without-{field}"), *(part for pair in whole.items() for part in pair))
    mail.add("SET", mail.key("note"), "a")
    mail.add("HSET", mail.key("later:1"), "name", "x", "data", "{}", "opts", "{}", "timestamp", OLD)
    mail.add("HSET", "bull:mail2:1", "name", "x", "data", "{}", "opts", "{}", "timestamp", OLD)
    mail.write()
    before = snapshot_of(mail)
    assert mail.clean(old("completed", name="none"), orphans="report").orphans == 3
    plan = mail.clean(old("completed", name="none"), orphans="remove", dry=True)
    assert snapshot_of(mail) == before
    done = mail.clean(old("completed", name="none"), orphans="remove")
    assert (done.orphans, done.orphans_removed) == (plan.orphans, plan.orphans_removed) == (3, 3)
    assert any("longer name" in warning for warning in done.warnings)
    gone = {
        mail.key(f"{head}{name}{tail}") for name in leaked for head, tail in (("", ""), ("", ":logs"), ("de:d", ""))
    }
    assert {name: value for name, value in before.items() if name not in gone} == snapshot_of(mail)


def test_an_orphan_that_is_found_a_place_meanwhile_stays(mail: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look is the script's own, in the same step that removes."""
    mail.job("", "1")
    mail.write()
    look = _queue_clean._Work._suspects

    def meanwhile(work: Any) -> Any:
        found = look(work)
        mail.link.call("LPUSH", mail.key("wait"), "1")
        return found

    monkeypatch.setattr(_queue_clean._Work, "_suspects", meanwhile)
    assert mail.clean(old("completed"), orphans="remove").orphans == 0
    assert mail.there("1")


def test_orphans_are_not_looked_for_among_groups(mail: Mail) -> None:
    mail.job("", "1")
    mail.add("LPUSH", mail.key("groups:a"), "1")
    done = mail.clean(old("completed"), orphans="remove")
    assert done.orphans is None
    assert mail.there("1")


def test_an_orphan_that_a_parent_waits_for_stays(mail: Mail) -> None:
    family(mail, "child", "", other="other")
    mail.job("", "lost-parent")
    mail.add("SADD", mail.key("lost-parent:dependencies"), mail.job("wait", "its-child"))
    done = mail.clean(old("completed"), orphans="remove")
    assert mail.there("child", "lost-parent") == {"child", "lost-parent"}
    assert any(warning.startswith("2 jobs of no state stay") for warning in done.warnings)


# -- nothing by halves, nothing for nothing ----------------------------------------------------------------------------


def snapshot_of(mail: Mail) -> dict[str, Any]:
    mail.write()
    return dict(snapshot.take(mail.link))


def full(mail: Mail) -> list[dict[str, Any]]:
    """Some of everything, and rules for it."""
    for state in STATES:
        for i in range(30):
            mail.job(state, f"{state}{i}", OLD + i if i % 2 else YOUNG, processedOn=OLD + i if i % 2 else YOUNG)
    family(mail, "child", other="other")
    mail.job("", "leaked")
    return [old(state) for state in STATES]


EVERYTHING: dict[str, Any] = {
    "active": "unlocked", "second_look_ms": 0, "ghosts": "remove", "orphans": "remove", "events_maxlen": 1000,
}  # fmt: skip


@FAST
def test_a_second_run_writes_nothing(mail: Mail, fast: str) -> None:
    given = full(mail)
    done = mail.clean(*given, fast=fast, **EVERYTHING)
    assert done.changed
    before = snapshot_of(mail)
    mail.link.call("CONFIG", "RESETSTAT")
    again = mail.clean(*given, fast=fast, **EVERYTHING)
    assert writes(mail.link) == set()
    assert not again.changed
    assert snapshot_of(mail) == before


def test_a_dry_run_writes_nothing_and_says_what_a_run_does(mail: Mail) -> None:
    given = full(mail)
    before = snapshot_of(mail)
    mail.link.call("CONFIG", "RESETSTAT")
    plan = mail.clean(*given, dry=True, **EVERYTHING)
    assert writes(mail.link) == set()
    assert snapshot_of(mail) == before
    done = mail.clean(*given, **EVERYTHING)
    assert plan.exact
    for field in (
        "counts_before",
        "counts_after",
        "removed",
        "kept",
        "ghosts",
        "orphans",
        "oldest",
        "newest",
        "samples",
    ):
        assert getattr(plan, field) == getattr(done, field), field


FORESEEN = [
    {},
    {"limit": 120},
    {"limit": 200},
    {"limit": 1000},
    {"keep_last": 30},
    {"keep_last": 500},
    {"keep_last": 900},
    {"keep_last": 30, "limit": 150},
    {"name": "s*"},
    {"clock": "created"},
]


@pytest.mark.parametrize("more", FORESEEN, ids=lambda more: " ".join(f"{key} {value}" for key, value in more.items()))
@pytest.mark.parametrize("state", ["completed", "failed"])
@pytest.mark.parametrize("ghosts", ["ignore", "remove"])
@pytest.mark.parametrize(
    "odd", ["nothing", "a lock", "a child", "a parent", "a deduplication", "ghosts", "logs", "damage", "logs of damage"]
)
def test_a_plan_without_a_look_at_the_jobs(mail: Mail, state: str, more: dict[str, Any], ghosts: str, odd: str) -> None:
    """What is counted by places alone is what is counted job by job, and what a run then does."""
    for i in range(300):
        mail.job(state, str(i), OLD + i)
    for i in range(300, 400):
        mail.job(state, str(i), NOW - 7 * DAY + 1 + i)
    if odd == "a lock":
        mail.add("SET", mail.key("140:lock"), "token")
    elif odd == "a child":
        family(mail, "140", state, other="other")
    elif odd == "a parent":
        mail.add("SADD", mail.key("140:dependencies"), mail.job("wait", "child"))
    elif odd == "a deduplication":
        mail.add("HSET", mail.key("140"), "deid", "d")
        mail.add("SET", mail.key("de:d"), "140")
    elif odd == "ghosts":
        mail.add("DEL", mail.key("140"), mail.key("399"))
    elif odd == "logs":
        mail.add("RPUSH", mail.key("140:logs"), "x")
    elif "damage" in odd:
        mail.add("DEL", mail.key("140"))
        mail.add("SET", mail.key("140"), "x")
    if odd == "logs of damage":
        mail.add("RPUSH", mail.key("140:logs"), "x")
    told: dict[str, Any] = {"ghosts": ghosts, "dry": True}
    slow = mail.clean(old(state, **more), fast="never", **told)
    quick = mail.clean(old(state, **more), fast="always", **told)
    auto = mail.clean(old(state, **more), fast="auto", **told)
    done = mail.clean(old(state, **more), fast="auto", ghosts=ghosts)
    same = ("counts_before", "counts_after", "removed", "ghosts", "ghosts_removed", "complete", "oldest", "newest")
    for field in same:
        assert getattr(slow, field) == getattr(quick, field) == getattr(auto, field), field
        assert getattr(quick, field) == getattr(done, field) or field == "counts_after", field
    if ghosts == "ignore":
        assert done.counts_after == quick.counts_after
    assert slow.kept == quick.kept == auto.kept
    assert quick.kept["damaged"] == done.kept["damaged"] <= int("damage" in odd)
    assert ("140" in mail.ids(state)) is ("140" in mail.there("140")) or odd == "ghosts"
    assert set(slow.samples) == set(quick.samples)


@FAST
def test_a_plan_reads_no_job_that_it_can_count(mail: Mail, fast: str) -> None:
    for i in range(2000):
        mail.job("completed", str(i), OLD + i)
    mail.write()
    mail.link.call("CONFIG", "RESETSTAT")
    plan = mail.clean(old("completed"), dry=True, fast=fast)
    assert plan.removed["completed"] == 2000
    told = text(mail.link.call("INFO", "commandstats"))
    assert ("cmdstat_hmget" in told) is (fast == "never")
    mail.link.call("CONFIG", "RESETSTAT")
    with pytest.raises(QueueProblem, match="2000 jobs would be removed"):
        mail.clean(old("completed"), fast=fast, max_remove=1999)
    assert ("cmdstat_hmget" in text(mail.link.call("INFO", "commandstats"))) is (fast == "never")


@FAST
def test_valkey(valkey: Database, fast: str) -> None:
    """The same scripts, whose clock may be another one there."""
    mail = Mail(valkey.link)
    given = full(mail)
    plan = mail.clean(*given, dry=True, **EVERYTHING)
    done = mail.clean(*given, fast=fast, **EVERYTHING)
    assert (done.removed, done.counts_after) == (plan.removed, plan.counts_after)
    assert done.redis_ms > 0
    assert not mail.clean(*given, fast=fast, **EVERYTHING).changed


def test_something_has_to_be_asked_for(mail: Mail) -> None:
    with pytest.raises(QueueProblem, match="nothing is asked for"):
        mail.clean()
    assert mail.clean(ghosts="report").ghosts == 0


def test_a_queue_that_is_not_there_is_not_made(redis: Database) -> None:
    mail = Mail(redis.link, version="")
    assert not mail.clean(old("completed"), old("waiting"), **{**EVERYTHING, "active": "skip"}).changed
    assert redis.link.call("DBSIZE") == 0


def test_one_event_for_all(mail: Mail) -> None:
    for i in range(300):
        mail.job("completed", str(i))
        mail.job("wait", f"w{i}")
    mail.clean(old("completed"), old("wait"))
    entries = mail.link.call("XRANGE", mail.key("events"), "-", "+")
    assert [[text(one) for one in entry[1]] for entry in entries[1:]] == [["event", "cleaned", "count", "600"]]


def test_events_are_trimmed_to_what_the_queue_allows(mail: Mail) -> None:
    for _event in range(3000):
        mail.add("XADD", mail.key("events"), "*", "event", "added")
    plan = mail.clean(old("completed"), events_maxlen=500, dry=True)
    done = mail.clean(old("completed"), events_maxlen=500)
    assert 500 <= mail.link.call("XLEN", mail.key("events")) <= 600
    assert done.events_trimmed == 3001 - mail.link.call("XLEN", mail.key("events"))
    assert plan.events_trimmed >= done.events_trimmed > 0
    assert not mail.clean(old("completed"), events_maxlen=500).changed


@pytest.mark.parametrize("suffix", [*STATES, "meta", "events", "repeat", "marker", "priority", "limiter:index"])
def test_a_key_of_another_type(mail: Mail, suffix: str) -> None:
    for state in STATES:
        if state != suffix:
            mail.job(state, f"in-{state}")
    mail.write()
    mail.link.ask(("DEL", mail.key(suffix)), ("SET", mail.key(suffix), "x"))
    before = snapshot_of(mail)
    with pytest.raises(QueueProblem, match=f"bull:mail:{suffix} is a string"):
        mail.clean(*(old(state) for state in STATES if state != "active"))
    assert snapshot_of(mail) == before


@pytest.mark.parametrize("suffix", ["priority", "repeat", "limiter:index", "completed"])
def test_a_key_that_changes_its_type_meanwhile(mail: Mail, suffix: str) -> None:
    for i in range(300):
        mail.job("completed", str(i))
    ids: list[str] = []

    def meanwhile(_removed: Mapping[str, int]) -> None:
        ids.extend(mail.ids("completed"))
        mail.link.ask(("DEL", mail.key(suffix)), ("SET", mail.key(suffix), "x"))

    with pytest.raises(QueueProblem, match=f"{suffix} is a string.*100 jobs were removed before"):
        mail.clean(old("completed"), progress=meanwhile)
    assert mail.there(*ids) == set(ids)
    assert len(ids) == 200
    if suffix != "completed":
        assert mail.ids("completed") == ids


@pytest.mark.parametrize("suffix", ["wait", "meta", "marker", "waiting-children", "parent:dependencies", "active"])
def test_a_parent_s_key_of_another_type(mail: Mail, suffix: str) -> None:
    """It is found before the first write, although it is needed last; the child stays, and the others go."""
    family(mail, "child", other="other")
    mail.job("failed", "1")
    mail.write()
    mail.link.ask(("DEL", f"bull:other:{suffix}"), ("SET", f"bull:other:{suffix}", "x"))
    before = snapshot_of(mail)
    plan = mail.clean(old("failed"), parents="upstream", dry=True)
    done = mail.clean(old("failed"), parents="upstream")
    assert mail.ids("failed") == ["child"]
    assert (done.removed, done.kept) == (plan.removed, plan.kept)
    assert done.kept["damaged"] == 1
    assert any(warning.startswith("1 jobs stay") and warning.endswith(": child") for warning in done.warnings)
    after = snapshot_of(mail)
    assert {name for name in before if before[name] != after.get(name)} == {
        mail.key(name) for name in ("1", "failed", "events")
    }


DAMAGE: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "a string in place of the job": ("both", [("DEL", "bull:mail:3"), ("SET", "bull:mail:3", "x")]),
    "a list in place of the job": ("both", [("DEL", "bull:mail:3"), ("RPUSH", "bull:mail:3", "x")]),
    "children": ("protect", [("SET", "bull:mail:3:dependencies", "x")]),
    "the children of its parent": (
        "both",
        [
            ("HSET", "bull:other:p", "name", "p"),
            ("SET", "bull:other:p:dependencies", "x"),
            ("HSET", "bull:mail:3", "parentKey", "bull:other:p"),
        ],
    ),
    "its parent": (
        "both",
        [
            ("SET", "bull:other:p", "x"),
            ("SADD", "bull:other:p:dependencies", "bull:mail:3"),
            ("HSET", "bull:mail:3", "parentKey", "bull:other:p"),
        ],
    ),
    "where its parent finishes": (
        "protect",
        [
            ("HSET", "bull:other:p", "name", "p"),
            ("SADD", "bull:other:p:dependencies", "bull:mail:3"),
            ("SET", "bull:other:completed", "x"),
            ("HSET", "bull:mail:3", "parentKey", "bull:other:p"),
        ],
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("parents", ["protect", "upstream"])
@pytest.mark.parametrize("state", ["failed", "wait", "delayed"])
def test_a_damaged_job_stays_and_the_others_go(mail: Mail, state: str, parents: str, what: str) -> None:
    matters, commands = DAMAGE[what]
    if matters not in (parents, "both"):
        pytest.skip("only read to protect families")
    for name in ("1", "2", "3", "4"):
        mail.job(state, name)
    mail.commands += commands
    before = snapshot_of(mail)
    plan = mail.clean(old(state), parents=parents, dry=True)
    done = mail.clean(old(state), parents=parents)
    assert mail.ids(state) == ["3"]
    assert (done.removed, done.kept) == (plan.removed, plan.kept)
    assert (done.removed[state], done.kept["damaged"]) == (3, 1)
    assert any(warning.startswith("1 jobs stay") and warning.endswith(": 3") for warning in done.warnings)
    after = snapshot_of(mail)
    assert {name for name in before if before[name] != after.get(name)} == {
        mail.key(name) for name in ("1", "2", "4", state, "events")
    }


def test_many_damaged_jobs_are_not_all_named(mail: Mail) -> None:
    for i in range(9):
        mail.job("completed", str(i), ghost=True)
        mail.add("SET", mail.key(str(i)), "x")
    done = mail.clean(old("completed"))
    assert done.kept["damaged"] == 9
    (warning,) = done.warnings
    assert warning.startswith("9 jobs stay") and warning.endswith(", …")
    assert warning.count(",") <= 6


def test_a_group_of_another_type(redis: Database) -> None:
    mail = Mail(redis.link, version="")
    mail.flavour = BULL
    for name in ("1", "2"):
        mail.job("wait", name)
        mail.add("HSET", mail.key("limiter:index"), name, mail.key(f"limiter:{name}"))
    mail.add("SET", mail.key("limiter:1"), "x")
    mail.add("SADD", mail.key("limiter:2"), "2")
    done = mail.clean(old("wait"))
    assert mail.ids("wait") == ["1"]
    assert (done.removed["wait"], done.kept["damaged"]) == (1, 1)


@FAST
def test_a_plan_with_a_group_of_another_type(redis: Database, fast: str) -> None:
    mail = Mail(redis.link, version="")
    mail.flavour = BULL
    for i in range(50):
        mail.job("completed", str(i))
    mail.add("HSET", mail.key("limiter:index"), "3", mail.key("limiter:odd"))
    mail.add("SET", mail.key("limiter:odd"), "x")
    plan = mail.clean(old("completed"), fast=fast, dry=True)
    done = mail.clean(old("completed"), fast=fast)
    assert plan.removed["completed"] == done.removed["completed"] == 49
    assert plan.kept["damaged"] == done.kept["damaged"] == 1


def test_a_number_that_is_none_in_the_queue_of_a_parent(mail: Mail) -> None:
    """What the last steps read must not end a script that has written."""
    family(mail, "child", other="other")
    mail.add("HSET", "bull:other:meta", "concurrency", "many")
    done = mail.clean(old("failed"), parents="upstream")
    assert done.released == 1
    assert mail.link.call("LRANGE", "bull:other:wait", 0, -1) == [b"parent"]


@pytest.mark.parametrize("command", ["unlink", "zrem", "lrem", "lset", "srem", "rpush", "zadd"])
def test_a_user_without_the_right_to_a_command(mail: Mail, redis: Database, command: str) -> None:
    mail.job("failed", "1")
    mail.job("wait", "2")
    family(mail, "child", other="other")
    mail.write()
    redis.link.call("ACL", "SETUSER", "half", "reset", "on", ">secret", "~*", "&*", "+@all", f"-{command}")
    before = snapshot_of(mail)
    state = "wait" if command in ("lrem", "lset") else "failed"
    try:
        with Server({**redis.options, "user": "half", "password": "secret"}) as server:
            told = Policy(fast="never", parents="upstream")
            with pytest.raises(RedisFailed) as failed:
                clean(server.at("x"), mail.queue, BULLMQ, rules([old(state)]), told, dry=False, now_ms=NOW)
        assert failed.value.reason == "auth"
        assert f"may not run {command.upper()}" in failed.value.message
        assert snapshot_of(mail) == before
    finally:
        redis.link.call("ACL", "DELUSER", "half")


@pytest.mark.parametrize("parents", ["protect", "upstream"])
@pytest.mark.parametrize("rules_of_user", ["%R~bull:other:*", "~bull:other:*"])
def test_the_parent_is_in_a_queue_that_may_only_be_read(
    mail: Mail, redis: Database, rules_of_user: str, parents: str
) -> None:
    """Its record of the child could not be changed, so the child stays. Redis 7 and later have such rights."""
    family(mail, "child", other="other")
    if parents == "protect":
        # Nobody waits for it any more, and the record is taken away all the same.
        mail.add("SREM", "bull:other:parent:dependencies", mail.key("child"))
        mail.add("SADD", "bull:other:parent:dependencies", "bull:mail:another")
    before = snapshot_of(mail)
    redis.link.call("ACL", "SETUSER", "half", "reset", "on", ">secret", "~bull:mail:*", rules_of_user, "&*", "+@all")
    try:
        with Server({**redis.options, "user": "half", "password": "secret"}) as server:
            told = Policy(fast="never", parents=parents)
            given = (server.at("x"), mail.queue, BULLMQ, rules([old("failed")]), told)
            if rules_of_user.startswith("~"):
                assert clean(*given, dry=False, now_ms=NOW).removed == {"failed": 1}
                return
            assert clean(*given, dry=True, now_ms=NOW).removed == {"failed": 1}
            with pytest.raises(RedisFailed, match=r"may not run SREM on bull:other:parent:dependencies") as failed:
                clean(*given, dry=False, now_ms=NOW)
        assert failed.value.reason == "auth"
        assert snapshot_of(mail) == before
    finally:
        redis.link.call("ACL", "DELUSER", "half")


@pytest.mark.parametrize("now", ["bullmq:4.0.0", "bullmq:6.9.9"])
def test_another_version_takes_over(mail: Mail, now: str) -> None:
    for i in range(500):
        mail.job("completed", str(i))

    def meanwhile(_removed: Mapping[str, int]) -> None:
        mail.link.call("HSET", mail.key("meta"), "version", now)

    if now == "bullmq:6.9.9":
        assert mail.clean(old("completed"), progress=meanwhile).removed["completed"] == 500
        return
    with pytest.raises(
        QueueProblem, match=r"another version works on it now \(bullmq:4.0.0.*100 jobs were removed before"
    ):
        mail.clean(old("completed"), progress=meanwhile)
    assert len(mail.ids("completed")) == 400


def test_workers_take_and_producers_add_meanwhile(mail: Mail) -> None:
    """The list moves under us: everything old that is still there goes, nothing else does."""
    for i in range(2000):
        mail.job("wait", str(i), OLD if i % 2 else YOUNG)
    taken: list[str] = []
    added: Iterable[int] = iter(range(10**6))

    def meanwhile(_removed: Mapping[str, int]) -> None:
        for _job in range(7):
            mail.link.call("RPOPLPUSH", mail.key("wait"), mail.key("active"))
            mail.job("wait", f"new{next(iter(added))}", NOW)
        # One that is retried goes to the tail.
        name = f"retried{next(iter(added))}"
        mail.job("", name, YOUNG)
        mail.add("RPUSH", mail.key("wait"), name)
        mail.write()

    done = mail.clean(old("wait"), progress=meanwhile)
    assert done.complete
    taken = mail.ids("active")
    names = mail.ids("wait")
    assert [name for name in names if name.isdigit() and int(name) % 2] == []
    young = {str(i) for i in range(0, 2000, 2)}
    assert young <= set(names) | set(taken)
    assert len(names) == len(set(names))
    assert all(mail.link.call("EXISTS", mail.key(name)) for name in (*names, *taken))


# -- before the first delete -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "fine"), [(10, True), (9, False), ("50%", True), ("49%", False), (0, False)])
def test_max_remove(mail: Mail, most: Any, fine: bool) -> None:
    for i in range(20):
        mail.job("completed", str(i), OLD if i % 2 else YOUNG)
    before = snapshot_of(mail)
    assert bool(mail.clean(old("completed"), max_remove=most, dry=True).warnings) is not fine
    if fine:
        assert mail.clean(old("completed"), max_remove=most).removed["completed"] == 10
        return
    with pytest.raises(QueueProblem, match=r"10 jobs would be removed \(completed 10\).*nothing was removed"):
        mail.clean(old("completed"), max_remove=most)
    assert snapshot_of(mail) == before


def test_max_seconds(mail: Mail) -> None:
    mail.job("completed", "1")
    done = mail.clean(old("completed"), max_seconds=1e-9)
    assert not done.complete
    assert done.removed["completed"] == 0
    assert any("max_seconds" in warning for warning in done.warnings)
    with pytest.raises(QueueProblem, match="max_remove cannot be kept"):
        mail.clean(old("completed"), max_seconds=1e-9, max_remove=5)


def test_require(mail: Mail, redis: Database) -> None:
    mail.job("completed", "1")
    name = f"bull:{base64.b64encode(b'mail').decode()}"
    with pytest.raises(QueueProblem, match="not paused"):
        mail.clean(old("completed"), require="paused")
    with Server(redis.options) as worker:
        worker.at("x").call("CLIENT", "SETNAME", name)
        with pytest.raises(QueueProblem, match="1 workers are connected"):
            mail.clean(old("completed"), require="no_workers")
    # Each library heeds its own sign alone, whatever another has left.
    mail.link.call("SET", mail.key("meta-paused"), 1)
    with pytest.raises(QueueProblem, match="not paused"):
        mail.clean(old("completed"), require="paused")
    mail.link.call("DEL", mail.key("meta-paused"))
    mail.link.call("HSET", mail.key("meta"), "paused", 1)
    bull = Flavour("bull", 4, "", "the test's")
    with pytest.raises(QueueProblem, match="not paused"):
        clean(mail.link, mail.queue, bull, rules([old("completed")]), Policy(require="paused"), dry=False, now_ms=NOW)
    assert mail.clean(old("completed"), require="paused").removed["completed"] == 1


@pytest.mark.parametrize("pattern", ["mail", "m*"])
def test_protected(mail: Mail, pattern: str) -> None:
    mail.job("completed", "1")
    with pytest.raises(QueueProblem, match="protected"):
        mail.clean(old("completed"), protected=("other", pattern))
    assert mail.ids("completed") == ["1"]


def test_out_of_memory_and_eviction(mail: Mail) -> None:
    mail.job("completed", "1")
    mail.write()
    try:
        for policy, what in (("allkeys-lru", "data of any job"), ("volatile-ttl", "locks")):
            mail.link.call("CONFIG", "SET", "maxmemory-policy", policy)
            (warning,) = mail.clean(old("completed"), dry=True).warnings
            assert what in warning
        mail.link.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        mail.link.call("CONFIG", "SET", "maxmemory", "1")
        (warning,) = mail.clean(old("completed"), dry=True).warnings
        assert "out of memory" in warning
    finally:
        mail.link.ask(("CONFIG", "SET", "maxmemory", "0"), ("CONFIG", "SET", "maxmemory-policy", "noeviction"))


@FAST
@pytest.mark.parametrize("parents", ["protect", "upstream"])
def test_a_full_redis_is_cleaned(mail: Mail, fast: str, parents: str) -> None:
    """Even what needs room itself works, since removing comes first: the event, and a parent that is set free."""
    for i in range(300):
        mail.job("completed", str(i))
        mail.job("wait", f"w{i}", OLD if i % 2 else YOUNG)
    family(mail, "child", other="other")
    mail.write()
    mail.link.call("CONFIG", "SET", "maxmemory", "1")
    try:
        done = mail.clean(old("completed"), old("wait"), old("failed"), fast=fast, parents=parents)
    finally:
        mail.link.call("CONFIG", "SET", "maxmemory", "0")
    assert done.removed == {"completed": 300, "wait": 150, "failed": int(parents == "upstream")}
    assert done.released == int(parents == "upstream")
    assert mail.link.call("XLEN", mail.key("events")) == 2
    assert len(done.warnings) == 1 and "out of memory" in done.warnings[0]


@FAST
@pytest.mark.parametrize("command", ["xadd", "xlen", "hget", "lrange", "zrank", "time", "evalsha", "xtrim"])
def test_a_right_that_is_needed_late(mail: Mail, redis: Database, fast: str, command: str) -> None:
    """What cannot be done is said before anything is; what only tells of it is a warning."""
    for i in range(300):
        mail.job("completed", str(i))
        mail.job("wait", f"w{i}")
    for _event in range(3):
        mail.add("XADD", mail.key("events"), "*", "event", "added")
    before = snapshot_of(mail)
    redis.link.call("ACL", "SETUSER", "half", "reset", "on", ">secret", "~*", "&*", "+@all", f"-{command}")
    told = Policy(fast=fast, events_maxlen=1000 if command == "xtrim" else None)
    try:
        with Server({**redis.options, "user": "half", "password": "secret"}) as server:
            given = (server.at("x"), mail.queue, BULLMQ, rules([old("completed"), old("wait")]), told)
            if command in ("xadd", "xlen"):
                done = clean(*given, dry=False, now_ms=NOW)
                assert done.removed == {"completed": 300, "wait": 300}
                assert [("XADD" in warning) for warning in done.warnings] == [True] * (command == "xadd")
                return
            with pytest.raises(RedisFailed) as failed:
                clean(*given, dry=False, now_ms=NOW)
        assert failed.value.reason == "auth"
        assert command in failed.value.message.lower()
        assert snapshot_of(mail) == before
    finally:
        redis.link.call("ACL", "DELUSER", "half")


def test_a_plan_names_the_right_that_it_lacks(mail: Mail, redis: Database) -> None:
    mail.job("wait", "1")
    mail.write()
    redis.link.call("ACL", "SETUSER", "half", "reset", "on", ">secret", "~*", "&*", "+@all", "-lrange", "-lindex")
    try:
        with Server({**redis.options, "user": "half", "password": "secret"}) as server:
            given = (server.at("x"), mail.queue, BULLMQ, rules([old("wait")]), Policy())
            with pytest.raises(RedisFailed, match=r"user half may not run LRANGE, LINDEX on bull:mail:\*, which"):
                clean(*given, dry=True, now_ms=NOW)
    finally:
        redis.link.call("ACL", "DELUSER", "half")


def test_an_error_says_what_was_done_before(mail: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(300):
        mail.job("completed", str(i))

    def lost(_removed: Mapping[str, int]) -> None:
        raise RedisFailed("readonly", "the master changed")

    with pytest.raises(RedisFailed, match=r"the master changed \(100 jobs were removed before\)"):
        mail.clean(old("completed"), progress=lost)


def test_the_time_is_that_of_redis(mail: Mail) -> None:
    seconds = int(mail.link.call("TIME")[0])
    mail.job("completed", "old", (seconds - 120) * 1000)
    mail.job("completed", "young", seconds * 1000)
    mail.write()
    given = rules([{"state": "completed", "older_than": 60}])
    clean(mail.link, mail.queue, BULLMQ, given, Policy(fast="never"), dry=False)
    assert mail.ids("completed") == ["young"]


def test_chunks_are_short_and_duty_pauses(mail: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3000):
        mail.job("completed", str(i))
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    mail.write()
    done = mail.clean(old("completed"), duty=0.5, chunk_ms=2, dry=True)
    assert done.chunks > 3
    assert sum(slept) * 1000 == pytest.approx(done.redis_ms, rel=0.01)


def test_a_page_that_takes_long_ends_early(mail: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3000):
        mail.job("wait", str(i))
    monkeypatch.setattr("ansible_collections.quai.ops.plugins.module_utils._queue_pace.SMALLEST", 3500)
    done = mail.clean(old("wait"), old("wait", name="x*"), chunk_ms=0.5)
    assert done.removed["wait"] == 3000
    # The first page has 100 jobs, and all others would fit into one.
    assert done.chunks > 4


# -- whose queue -------------------------------------------------------------------------------------------------------


def test_find(redis: Database) -> None:
    link = redis.link
    for name in ("mail", "mail-2", "report-a", "report-b", "a[b]"):
        Mail(link, name).write()
    link.ask(
        ("ZADD", "bull:only-failed:failed", 1, "1"),
        ("HSET", "bull:mail:7:failed", "bull:mail:8", "x"),  # beside a job
        ("SET", "bull:mail:de:id", "1"),
        ("HSET", "bull:mail:metrics:completed", "count", 1),
        ("SET", "other:x:id", 1),
    )
    with Server(redis.options) as server:

        def names(*patterns: str, prefix: str = "bull") -> list[str]:
            return [queue.name for queue in find(server, patterns, prefix)]

        assert names("*") == ["a[b]", "mail", "mail-2", "only-failed", "report-a", "report-b"]
        assert names("report-?", "mail*", "mail") == ["mail", "mail-2", "report-a", "report-b"]
        assert names("a[b]*") == ["a[b]"]
        assert names("nobody") == ["nobody"]
        assert names("nobody*") == []
        assert names("*", prefix="other") == ["x"]


@pytest.mark.parametrize(
    ("commands", "library", "major", "mixed"),
    [
        ([("HSET", "meta", "version", "bullmq:6.7.0")], "bullmq", 6, ""),
        ([("HSET", "meta", "version", "bullmq:6.7.0"), ("LPUSH", "paused", "1")], "bullmq", 6, "BullMQ 5 or older"),
        ([("HSET", "meta", "version", "bullmq:5.1.0"), ("ZADD", "priority", 1, "1")], "bullmq", 5, "BullMQ 3 or older"),
        ([("HSET", "meta", "version", "bullmq:3.1.0"), ("ZADD", "marker", 0, "0")], "bullmq", 3, "BullMQ 5 and later"),
        ([("HSET", "meta", "version", "bullmq:5.1.0"), ("SET", "meta-paused", "1")], "bullmq", 5, "keys of Bull"),
        ([("ZADD", "marker", 0, "0"), ("LPUSH", "wait", "1")], "bullmq", 5, ""),
        ([("HSET", "meta", "version", "bullmq-pro:7.1.0"), ("ZADD", "marker", 0, "0")], "bullmq", 5, ""),
        ([("HSET", "meta", "version", "bullmq-pro:7.1.0")], "bullmq", 0, ""),
        ([("ZADD", "prioritized", 0, "1"), ("XADD", "events", "*", "a", "b")], "bullmq", 4, ""),
        ([("XADD", "events", "*", "a", "b"), ("ZADD", "priority", 0, "1")], "bullmq", 3, ""),
        ([("XADD", "events", "*", "a", "b")], "bullmq", 0, ""),
        ([("XADD", "delay", "*", "a", "b")], "bullmq", 1, ""),
        ([("SET", "id", "5")], "bull", 0, ""),
        ([("SET", "meta-paused", "1")], "bull", 0, ""),
    ],
)
def test_detect(redis: Database, commands: list[tuple[Any, ...]], library: str, major: int, mixed: str) -> None:
    queue = Queue("bull", "mail")
    for name, key, *rest in commands:
        redis.link.call(name, queue.key(key), *rest)
    found = detect(redis.link, queue)
    assert (found.library, found.major) == (library, major)
    assert mixed in found.mixed
    assert bool(found.mixed) is bool(mixed)


@pytest.mark.parametrize(
    ("commands", "version", "fine"),
    [
        ([("ZADD", "marker", 0, "0")], "bullmq 6.7.0", True),
        ([("XADD", "events", "*", "a", "b"), ("ZADD", "priority", 0, "1")], "bullmq 1.91.1", True),
        ([("HSET", "meta", "version", "bullmq:6.7.0")], "bullmq 5.81.5", False),
        ([("XADD", "events", "*", "a", "b")], "bull 4.16.5", False),
    ],
)
def test_what_is_said_holds_unless_it_is_known_better(
    redis: Database, commands: list[tuple[Any, ...]], version: str, fine: bool
) -> None:
    queue = Queue("bull", "mail")
    for name, key, *rest in commands:
        redis.link.call(name, queue.key(key), *rest)
    library, _space, number = version.partition(" ")
    if fine:
        found = detect(redis.link, queue, library, number)
        assert (found.library, found.version, found.major) == (library, number, int(number[0]))
        return
    with pytest.raises(QueueProblem, match=f"said to be of {version}, but"):
        detect(redis.link, queue, library, number)


@pytest.mark.parametrize(("suffix", "kind"), [("meta", "hash"), ("paused", "list")])
def test_detect_with_a_key_of_another_type(redis: Database, suffix: str, kind: str) -> None:
    redis.link.call("SET", f"bull:mail:{suffix}", "x")
    with pytest.raises(QueueProblem, match=f"bull:mail:{suffix} is a string, where a queue has a {kind}"):
        detect(redis.link, Queue("bull", "mail"))


def test_mixed_writers_are_warned_of(mail: Mail) -> None:
    mail.job("paused", "1")
    mail.write()
    mail.flavour = detect(mail.link, mail.queue)
    assert any("BullMQ 5 or older" in warning for warning in mail.clean(old("waiting"), dry=True).warnings)


def test_no_script_has_a_tombstone_or_a_try_left(mail: Mail) -> None:
    given = full(mail)
    mail.clean(*given, **EVERYTHING)
    told = repr(snapshot_of(mail))
    assert _queue_lua.TOMBSTONE not in told
    assert _redis_link.NOWHERE not in told
