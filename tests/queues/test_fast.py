# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast way to remove: that it is taken, what it leaves to the exact way, and what happens between its looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _queue_clean, _queue_fast, _queue_rules
from ansible_collections.quai.ops.plugins.module_utils._queue_layout import Flavour, Queue
from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, Script
from ansible_collections.quai.ops.plugins.module_utils._resp import text

from tests.queues.place import Database

QUEUE = Queue("bull", "mail")
BULLMQ = Flavour("bullmq", 6, "6.7.0", "said by the test")
BULL = Flavour("bull", 4, "4.16.5", "said by the test")
OLD = 1_700_000_000_000
NOW = OLD + 10_000_000
LEGACY = Flavour("bullmq", 2, "2.4.0", "said by the test")


def job(link: Link, number: int, state: str = "completed", *, at: int | None = None, **fields: Any) -> str:
    """A job in a state, with a time of its own."""
    time = OLD + int(number) if at is None else at
    key = QUEUE.key(str(number))
    known = {"name": "send", "data": "{}", "timestamp": time, **fields}
    link.call("HSET", key, *[part for pair in known.items() for part in pair])
    if state in ("wait", "paused"):
        link.call("LPUSH", QUEUE.key(state), number)
    else:
        link.call("ZADD", QUEUE.key(state), time, number)
    return key


def hints(link: Link, state: str = "completed", flavour: Flavour = BULLMQ) -> _queue_fast.Hints | None:
    """What is learnt of a state."""
    return _queue_fast.hints(link, QUEUE, flavour, state, now_ms=NOW)


def known(link: Link, state: str = "completed", flavour: Flavour = BULLMQ) -> _queue_fast.Hints:
    """What is learnt, where the fast way can be taken."""
    found = hints(link, state, flavour)
    assert found is not None
    return found


def swept(link: Link, found: _queue_fast.Hints, state: str = "completed", **bounds: Any) -> list[_queue_fast.Page]:
    """Every page there is."""
    most = bounds.pop("most", None)
    pages = []
    for step in _queue_fast.steps(link, QUEUE, state, found, lambda: 3, **bounds):
        pages.append(step.act(most))
        most = None if most is None else most - pages[-1].removed
        if pages[-1].exact or (step.repeat and pages[-1].end):
            break
    return pages


def keys(link: Link) -> set[str]:
    """All keys, without the queue's part."""
    return {key.decode().removeprefix(QUEUE.base) for key in link.call("KEYS", "*")}


def cleaned(link: Link, fast: str, state: str = "completed", **rule: Any) -> Any:
    """The whole clean-up."""
    rules = _queue_rules.rules([{"state": state, "older_than": 0, **rule}])
    return _queue_clean.clean(link, QUEUE, BULLMQ, rules, _queue_rules.Policy(fast=fast), dry=False, now_ms=NOW)


def test_every_key_of_finished_jobs_goes_and_no_other(redis: Database) -> None:
    """Jobs with results of children and logs by their ids, the others by the order of the set."""
    link = redis.link
    for number in range(1, 21):
        job(link, number)
    link.call("RPUSH", QUEUE.key("4:logs"), "a")
    link.call("HSET", QUEUE.key("7:processed"), "bull:mail:99", "1")
    link.call("ZADD", QUEUE.key("8:unsuccessful"), 1, "bull:mail:99")
    link.call("HSET", QUEUE.key("metrics:failed"), "count", 3)
    link.call("RPUSH", "bull:other:4:logs", "theirs")
    found = known(link)
    assert set(found.special) == {"7", "8"}
    assert found.logged == frozenset({b"4"})
    pages = swept(link, found)
    assert sum(page.removed for page in pages) == 20
    assert all(page.removed <= 3 for page in pages)
    assert (min(page.oldest or NOW for page in pages), max(page.newest or 0 for page in pages)) == (OLD + 1, OLD + 20)
    assert keys(link) == {"metrics:failed", "bull:other:4:logs"}


def test_the_clean_up_takes_the_fast_way_and_ends_as_the_exact_one(redis: Database) -> None:
    """The fast one asks far less of Redis, and leaves the same."""
    link = redis.link
    ends = []
    for fast in ("always", "never"):
        link.call("FLUSHDB")
        for number in range(1, 41):
            job(link, number)
            if number % 4 == 0:
                link.call("RPUSH", QUEUE.key(f"{number}:logs"), "a")
        link.call("CONFIG", "RESETSTAT")
        done = cleaned(link, fast, keep_last=5)
        asked = link.call("INFO", "commandstats")
        ends.append((dict(done.removed), done.oldest, done.newest, keys(link)))
        assert (b"cmdstat_hmget" in asked) == (fast == "never")
    assert ends[0] == ends[1]
    assert ends[0][0] == {"completed": 35}


@pytest.mark.parametrize("many", [3, 4, 6])
def test_a_list_that_becomes_empty_goes(redis: Database, many: int) -> None:
    """LTRIM to nothing: a page as large as the list, a smaller and a larger list."""
    link = redis.link
    for number in range(many):
        job(link, number, "wait")
    removed = 0
    for _turn in range(9):
        page = _queue_fast.tail(link, QUEUE, "wait", 3, latest=NOW, fields=("timestamp",))
        removed += page.removed
        if page.end:
            break
    assert (removed, keys(link)) == (many, set())


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"parentKey": "bull:mail:9"}, "fields"),
        ({"deid": "once"}, "fields"),
        ({"rjk": "nightly"}, "fields"),
        ({"timestamp": NOW + 1}, "young"),
        ({"timestamp": "yesterday"}, "fields"),
    ],
)
def test_a_waiting_job_that_needs_more_stops_the_page_before_it(redis: Database, fields: Any, why: str) -> None:
    """The older ones before it go; it and the younger ones stay."""
    link = redis.link
    for number in (1, 2, 3, 4, 5):
        job(link, number, "wait", **(fields if number == 3 else {}))
    page = _queue_fast.tail(link, QUEUE, "wait", 9, latest=NOW, fields=("timestamp",))
    assert (page.removed, page.first, page.last, page.exact) == (2, "1", "2", why)
    assert link.call("LRANGE", QUEUE.key("wait"), 0, -1) == [b"5", b"4", b"3"]
    assert keys(link) == {"wait", "3", "4", "5"}


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (("SET", QUEUE.key("2:lock"), "token"), "locks"),
        (("SADD", QUEUE.key("2:dependencies"), "bull:mail:77"), "children"),
        (("ZADD", QUEUE.key("priority"), 1, 2), "places"),
        (("HSET", QUEUE.key("limiter:index"), 2, "bull:mail:limiter:a"), "places"),
        (("LPUSH", QUEUE.key("wait"), 1), "twice"),
        (("LPUSH", QUEUE.key("wait"), "repeat:nightly:1700000000000"), "fields"),
    ],
)
def test_waiting_jobs_are_left_alone_when_one_is_held(redis: Database, prepare: tuple[Any, ...], why: str) -> None:
    """Nothing is touched, but by a job that ends the page."""
    link = redis.link
    for number in (1, 2, 3):
        job(link, number, "wait")
    link.call(*prepare)
    before = keys(link)
    page = _queue_fast.tail(link, QUEUE, "wait", 9, latest=NOW, fields=("timestamp",))
    assert page.exact == why
    if why != "fields":
        assert page.removed == 0
        assert keys(link) == before


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(("SADD", "bull:other:5:dependencies", QUEUE.key("2")), id="a parent elsewhere waits for it"),
        pytest.param(("SADD", QUEUE.key("2:dependencies"), "bull:mail:77"), id="it waits for children"),
        pytest.param(("SET", QUEUE.key("2:lock"), "token"), id="it is locked"),
        pytest.param(("SET", QUEUE.key("de:once"), "2"), id="it stands for others"),
    ],
)
def test_one_job_that_needs_its_fields_sends_all_the_exact_way(redis: Database, prepare: tuple[Any, ...]) -> None:
    """What SCAN finds about any of them."""
    link = redis.link
    for number in (1, 2, 3):
        job(link, number)
    assert hints(link) is not None
    link.call(*prepare)
    assert hints(link) is None


def test_a_young_job_is_left_to_the_exact_way(redis: Database) -> None:
    """It may still be written to."""
    link = redis.link
    job(link, 1)
    job(link, 2, at=NOW - _queue_fast.MARGIN_MS + 1)
    assert sum(page.removed for page in swept(link, known(link))) == 1
    assert keys(link) == {"completed", "2"}


def test_a_job_that_became_a_child_since_is_seen(redis: Database) -> None:
    """A failed job that is added again under another parent is waited for."""
    link = redis.link
    for number in (1, 2, 3):
        job(link, number, "failed")
    found = known(link, "failed")
    link.call("HSET", QUEUE.key("2"), "parentKey", "bull:other:5")
    link.call("SADD", "bull:other:5:dependencies", QUEUE.key("2"))
    pages = swept(link, found, "failed")
    assert [(page.removed, page.exact) for page in pages] == [(0, "parents")]
    assert link.call("ZCARD", QUEUE.key("failed")) == 3


def test_the_same_for_a_job_with_logs_and_for_older_versions(redis: Database) -> None:
    """Those that are removed by id; BullMQ 2 forgets the result of a child."""
    link = redis.link
    job(link, 1, "failed")
    job(link, 2)
    link.call("RPUSH", QUEUE.key("1:logs"), "a")
    failed, completed = known(link, "failed", Flavour("bullmq", 6, "", "")), known(link, flavour=LEGACY)
    link.call("HSET", QUEUE.key("1"), "parentKey", "bull:other:5")
    link.call("HSET", QUEUE.key("2"), "parentKey", "bull:other:5")
    link.call("SADD", "bull:other:5:dependencies", QUEUE.key("1"))
    assert swept(link, failed, "failed")[-1].exact == "parents"
    assert swept(link, completed)[-1].exact == "parents"
    assert {"1", "1:logs", "2"} <= keys(link)


def test_another_version_since_is_seen(redis: Database) -> None:
    """Its rules may be others."""
    link = redis.link
    job(link, 1)
    job(link, 2)
    link.call("RPUSH", QUEUE.key("1:logs"), "a")
    found = known(link)
    link.call("HSET", QUEUE.key("meta"), "version", "bullmq:7.0.0")
    assert swept(link, found)[-1].exact == "version"
    assert swept(link, found._replace(logged=None))[-1].exact == "version"
    assert _queue_fast.tail(link, QUEUE, "wait", 3, latest=NOW, fields=("timestamp",), version="").exact == "version"
    assert link.call("ZCARD", QUEUE.key("completed")) == 2


def test_logs_that_came_since_are_swept(redis: Database) -> None:
    """Those of jobs that are gone, not those of others, and nothing that is called logs only."""
    link = redis.link
    for number in (1, 2, 3):
        job(link, number)
    link.call("RPUSH", QUEUE.key("99:logs"), "an orphan from before")
    found = known(link)
    for number in (1, 50):
        link.call("RPUSH", QUEUE.key(f"{number}:logs"), "late")
    job(link, 50, at=NOW)
    link.call("HSET", QUEUE.key("repeat:logs"), "name", "a schedule of this name")
    swept(link, found)
    assert _queue_fast.sweep(link, QUEUE, found) == 1
    assert keys(link) == {"completed", "50", "50:logs", "99:logs", "repeat:logs"}


@pytest.mark.parametrize(
    ("changes", "size", "stay"),
    [
        ([("ZREM", "1")], 5, {9}),
        ([("ZREM", "3")], 5, {9}),
        ([("ZREM", "3")], 20, set()),
        ([("ZADD", OLD, "0")], 5, {5, 9}),
        ([("ZREM", "3"), ("ZADD", OLD, "0")], 5, {9}),
        ([("ZREMRANGEBYRANK", 0, 4)], 5, {2, 5}),
        ([("ZREMRANGEBYRANK", 5, 9)], 5, {9}),
    ],
)
def test_a_page_that_is_not_the_one_that_was_looked_at(
    redis: Database, changes: list[tuple[Any, ...]], size: int, stay: set[int]
) -> None:
    """Somebody takes a job of it, or brings one: jobs with logs are not in the places any more where they were."""
    link = redis.link
    for number in range(1, 11):
        job(link, number)
    for number in (2, 5, 9):
        link.call("RPUSH", QUEUE.key(f"{number}:logs"), "a")
    found = known(link)
    ask = link.run

    def meanwhile(script: Script, names: Sequence[str], arguments: Sequence[Any]) -> Any:
        for change in changes:
            link.call(change[0], QUEUE.key("completed"), *change[1:])
        return ask(script, names, arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(link, "run", meanwhile)
        page = _queue_fast.page(link, QUEUE, "completed", found, size)
    assert page.removed == (9 if size == 20 else 5)
    assert {name for name in keys(link) if name.endswith(":logs")} == {f"{number}:logs" for number in stay}


@pytest.mark.parametrize("bounds", [{"most": 4}, {"keep_last": 6}])
def test_logs_beyond_the_bounds_of_a_page_stay(redis: Database, bounds: dict[str, Any]) -> None:
    """The page that was looked at is longer than what may go."""
    link = redis.link
    for number in range(1, 11):
        job(link, number)
    for number in (4, 5):
        link.call("RPUSH", QUEUE.key(f"{number}:logs"), "a")
    assert _queue_fast.page(link, QUEUE, "completed", known(link), 9, **bounds).removed == 4
    assert {name for name in keys(link) if name.endswith(":logs")} == {"5:logs"}


def test_nobody_asks_for_logs_where_none_are_known(redis: Database) -> None:
    """A page of jobs without logs is nothing but their keys."""
    link = redis.link
    for number in range(1, 11):
        job(link, number)
    link.call("RPUSH", QUEUE.key("9:logs"), "a")
    found = known(link)
    link.call("RPUSH", QUEUE.key("2:logs"), "since")
    assert _queue_fast.page(link, QUEUE, "completed", found, 5).removed == 5
    assert "2:logs" in keys(link)
    assert _queue_fast.sweep(link, QUEUE, found) == 1
    assert keys(link) == {"completed", *map(str, range(6, 11)), "9:logs"}


def test_many_logs_are_tried_for_each_job(redis: Database) -> None:
    """Where most have logs, nobody remembers which."""
    link = redis.link
    for number in range(1, 8):
        job(link, number)
        link.call("RPUSH", QUEUE.key(f"{number}:logs"), "a")
    found = known(link)
    assert found.logged is None
    assert sum(page.removed for page in swept(link, found)) == 7
    assert keys(link) == set()


@pytest.mark.parametrize("bounds", [{"most": 4}, {"keep_last": 6}])
def test_bounds_count_for_those_with_keys_of_their_own_too(redis: Database, bounds: dict[str, Any]) -> None:
    """The four oldest of ten, whichever have logs and results."""
    link = redis.link
    for number in range(1, 11):
        job(link, number)
    for number in (2, 4, 5, 9):
        link.call("RPUSH", QUEUE.key(f"{number}:logs"), "a")
    for number in (3, 6):
        link.call("HSET", QUEUE.key(f"{number}:processed"), "bull:mail:99", "1")
    pages = swept(link, known(link), **bounds)
    assert sum(page.removed for page in pages) == 4
    assert link.call("ZRANGE", QUEUE.key("completed"), 0, -1) == [b"5", b"6", b"7", b"8", b"9", b"10"]
    assert {"5:logs", "9:logs", "6:processed"} <= keys(link)
    assert not {"2:logs", "3:processed", "4:logs"} & keys(link)


def test_a_job_with_keys_that_may_go_only_later_is_not_reached_by_a_page(redis: Database) -> None:
    """While jobs finish, keep_last lets go of one that had to stay when its turn was."""
    link = redis.link
    for number in range(1, 6):
        job(link, number)
    link.call("HSET", QUEUE.key("4:processed"), "bull:mail:99", "1")
    steps = _queue_fast.steps(link, QUEUE, "completed", known(link), lambda: 50, keep_last=2)
    assert next(steps).act(None).removed == 0
    for number in range(6, 10):
        job(link, number, at=NOW + number)
    page = next(steps).act(None)
    assert (page.removed, page.last) == (3, "3")
    assert {"4", "4:processed"} <= keys(link)


def test_ids_without_a_job_stay_where_they_are_asked_for(redis: Database) -> None:
    """The page with one is left to the exact way, or counted."""
    link = redis.link
    job(link, 1)
    link.call("ZADD", QUEUE.key("completed"), OLD + 2, 2)
    found = known(link)
    assert swept(link, found, keep_ghosts=True)[-1].exact == "ghosts"
    assert link.call("ZCARD", QUEUE.key("completed")) == 2
    pages = swept(link, found)
    assert (sum(page.removed for page in pages), sum(page.ghosts for page in pages)) == (2, 1)


@pytest.mark.parametrize("refused", ["zrangebyscore", "zremrangebyrank", "ltrim", "mget"])
def test_a_user_without_a_right_is_left_to_the_exact_way(redis: Database, refused: str) -> None:
    """That is asked beforehand, so that nothing is half done."""
    link = redis.link
    for number in (1, 2):
        job(link, number)
        job(link, 10 + number, "wait")
    assert _queue_fast.able(link, QUEUE)
    link.call("ACL", "SETUSER", "default", f"-{refused}")
    try:
        assert not _queue_fast.able(link, QUEUE)
        link.call("CONFIG", "RESETSTAT")
        states = ["completed"] if refused == "zrangebyscore" else ["completed", "wait"]
        done = [cleaned(link, "always", state=state) for state in states]
        counted = text(link.call("INFO", "commandstats"))
    finally:
        link.call("ACL", "SETUSER", "default", "+@all")
    assert [one.removed for one in done] == [{state: 2} for state in states]
    # The fast way was not even begun.
    assert "cmdstat_scan:" not in counted and f"cmdstat_{refused}:" not in counted


def test_a_user_who_may_not_sort_is_left_to_the_exact_way(redis: Database) -> None:
    """Redis refuses SORT ... GET to who may not read all keys, so it is tried."""
    link = redis.link
    for number in (1, 2):
        job(link, number, "failed")
    found = known(link, "failed")
    before = keys(link)
    link.call("ACL", "SETUSER", "default", "-sort")
    try:
        page = _queue_fast.page(link, QUEUE, "failed", found, 9)
    finally:
        link.call("ACL", "SETUSER", "default", "+@all")
    assert page.exact == "sort"
    assert keys(link) == before
    assert link.call("ZCARD", QUEUE.key("failed")) == 2


def test_who_may_not_look_at_all_keys_cleans_all_the_same(redis: Database) -> None:
    """The exact way needs no SCAN."""
    link = redis.link
    for number in (1, 2):
        job(link, number)
    link.call("ACL", "SETUSER", "default", "-scan", "-dbsize")
    try:
        assert not _queue_fast.worthwhile(link, 1000)
        done = cleaned(link, "always")
    finally:
        link.call("ACL", "SETUSER", "default", "+@all")
    assert done.removed == {"completed": 2}


def test_who_may_not_look_at_children_leaves_all_to_the_exact_way(redis: Database) -> None:
    """Not to know them is not to know that there are none."""
    link = redis.link
    job(link, 1)
    link.call("SADD", "bull:other:9:dependencies", QUEUE.key("1"))
    link.call("ACL", "SETUSER", "default", "-sscan")
    try:
        assert _queue_fast.hints(link, QUEUE, BULLMQ, "completed") is None
    finally:
        link.call("ACL", "SETUSER", "default", "+@all")
    link.call("DEL", "bull:other:9:dependencies")
    link.call("SET", "bull:other:9:dependencies", "text")
    assert _queue_fast.hints(link, QUEUE, BULLMQ, "completed") is not None


@pytest.mark.parametrize("logs", [False, True])
def test_a_text_in_place_of_a_job_is_left_to_the_exact_way(redis: Database, logs: bool) -> None:
    """It is no job, whatever its id is among; also where it is to be removed by id, for the logs beside it."""
    link = redis.link
    for number in (1, 2, 3):
        job(link, number)
    link.call("SET", QUEUE.key("2"), "text")
    if logs:
        link.call("RPUSH", QUEUE.key("2:logs"), "a")
    pages = swept(link, known(link))
    assert (pages[-1].exact, sum(page.removed for page in pages)) == ("damaged", 0)
    assert link.call("ZCARD", QUEUE.key("completed")) == 3
    assert link.call("GET", QUEUE.key("2")) == b"text"


def test_a_user_who_cannot_look_for_texts_is_left_to_the_exact_way(redis: Database) -> None:
    """MGET is what tells them from jobs."""
    link = redis.link
    job(link, 1)
    found = known(link)
    link.call("ACL", "SETUSER", "default", "-mget")
    try:
        page = _queue_fast.page(link, QUEUE, "completed", found, 9)
    finally:
        link.call("ACL", "SETUSER", "default", "+@all")
    assert (page.exact, page.removed) == ("damaged", 0)
    assert link.call("ZCARD", QUEUE.key("completed")) == 1


def test_jobs_of_bull_are_removed_from_its_priorities_too(redis: Database) -> None:
    """The set keeps them when they finish."""
    link = redis.link
    job(link, 1)
    job(link, 2)
    link.call("ZADD", QUEUE.key("priority"), 1, 1, 1, 3)
    assert sum(page.removed for page in swept(link, known(link, flavour=BULL))) == 2
    assert link.call("ZRANGE", QUEUE.key("priority"), 0, -1) == [b"3"]


@pytest.mark.parametrize("bounds", [{"most": 2}, {"keep_last": 3}])
@pytest.mark.parametrize("state", ["completed", "wait"])
def test_a_page_keeps_to_its_bounds(redis: Database, state: str, bounds: dict[str, Any]) -> None:
    """Two of five may go."""
    link = redis.link
    for number in range(1, 6):
        job(link, number, state)
    if state == "wait":
        page = _queue_fast.tail(link, QUEUE, state, 9, latest=NOW, fields=("timestamp",), **bounds)
    else:
        page = _queue_fast.page(link, QUEUE, state, known(link), 9, **bounds)
    assert (page.removed, page.last) == (2, "2")


@pytest.mark.parametrize("bounds", [{"most": 0}, {"keep_last": 2}, {"keep_last": 3}])
@pytest.mark.parametrize("state", ["completed", "wait"])
def test_a_page_of_nothing_is_the_end(redis: Database, state: str, bounds: dict[str, Any]) -> None:
    """None of two may go."""
    link = redis.link
    for number in (1, 2):
        job(link, number, state)
    if state == "wait":
        page = _queue_fast.tail(link, QUEUE, state, 9, latest=NOW, fields=("timestamp",), **bounds)
    else:
        page = _queue_fast.page(link, QUEUE, state, known(link), 9, **bounds)
    assert (page.removed, page.end, page.exact) == (0, True, "")
    assert keys(link) == {state, "1", "2"}


@pytest.mark.parametrize("state", ["completed", "wait"])
def test_a_queue_whose_name_holds_an_asterisk_is_left_to_the_exact_way(redis: Database, state: str) -> None:
    """SORT ... GET would put ids in its place."""
    queue = Queue("bull", "a*b")
    if state == "wait":
        redis.link.call("LPUSH", queue.key("wait"), 1)
        redis.link.call("HSET", queue.key("1"), "timestamp", OLD)
        assert _queue_fast.tail(redis.link, queue, state, 9, latest=NOW, fields=("timestamp",)).exact == "sort"
    else:
        assert _queue_fast.hints(redis.link, queue, BULLMQ, state, now_ms=NOW) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("HSET", QUEUE.key("limiter:index"), 1, "bull:mail:limiter:a"), "places"),
        (("SET", QUEUE.key("1:lock"), "token"), "locks or children"),
        (("SADD", QUEUE.key("1:dependencies"), "bull:mail:77"), "locks or children"),
        (("SET", QUEUE.key("1"), "text"), "type"),
        (("DEL", QUEUE.key("1")), "ghosts"),
        (("SET", QUEUE.key("priority"), "text"), "type"),
    ],
)
def test_a_job_with_keys_of_its_own_is_looked_at_again(redis: Database, change: tuple[Any, ...], why: str) -> None:
    """What came between the look and the removal."""
    link = redis.link
    job(link, 1)
    link.call("HSET", QUEUE.key("1:processed"), "bull:mail:99", "1")
    found = known(link)
    link.call(*change)
    assert swept(link, found, keep_ghosts=True)[-1].exact == why
    if why in ("places", "type") and change[1] != QUEUE.key("1"):
        plain = found._replace(special=())
        assert swept(link, plain)[-1].exact == why
    assert link.call("ZCARD", QUEUE.key("completed")) == 1


def test_a_list_of_another_type_and_a_marker_in_it(redis: Database) -> None:
    """The exact way says what is wrong; a marker is no job."""
    link = redis.link
    link.call("SET", QUEUE.key("wait"), "text")
    assert _queue_fast.tail(link, QUEUE, "wait", 9, latest=NOW, fields=("timestamp",)).exact == "type"
    link.call("DEL", QUEUE.key("wait"))
    link.call("LPUSH", QUEUE.key("wait"), "0:5")
    link.call("HSET", QUEUE.key("0:5"), "timestamp", OLD)
    assert _queue_fast.tail(link, QUEUE, "wait", 9, latest=NOW, fields=("timestamp",)).exact == "schedules"


def test_a_child_with_results_of_its_own_is_looked_at_again(redis: Database) -> None:
    """Failed, removed by its id, and waited for since; and a child of BullMQ 2, whatever its parent waits for."""
    link = redis.link
    job(link, 1, "failed")
    job(link, 2)
    for number in (1, 2):
        link.call("HSET", QUEUE.key(f"{number}:processed"), "bull:mail:99", "1")
    failed, legacy = known(link, "failed"), known(link, flavour=LEGACY)
    assert (failed.special, legacy.special) == (("1",), ("2",))
    for number in (1, 2):
        link.call("HSET", QUEUE.key(str(number)), "parentKey", "bull:other:5")
    link.call("SADD", "bull:other:5:dependencies", QUEUE.key("1"))
    first = next(_queue_fast.steps(link, QUEUE, "failed", failed, lambda: 20)).act(None)
    second = next(_queue_fast.steps(link, QUEUE, "completed", legacy, lambda: 20)).act(None)
    assert (first.exact, second.exact) == ("parents", "parents")
    # What is no set holds no children that could be told from others.
    link.call("DEL", "bull:other:5:dependencies")
    link.call("SET", "bull:other:5:dependencies", "text")
    assert next(_queue_fast.steps(link, QUEUE, "failed", failed, lambda: 20)).act(None).exact == "parents"
    # Nobody waits for it, or it is nobody's child any more.
    link.call("DEL", "bull:other:5:dependencies")
    assert next(_queue_fast.steps(link, QUEUE, "failed", failed, lambda: 20)).act(None).removed == 1
    link.call("HSET", QUEUE.key("2"), "parentKey", "")
    assert next(_queue_fast.steps(link, QUEUE, "completed", legacy, lambda: 20)).act(None).removed == 1
    assert keys(link) == set()


def test_a_job_of_bull_with_keys_of_its_own_leaves_its_priorities(redis: Database) -> None:
    """Those that are removed by id."""
    link = redis.link
    for number in (1, 2, 3):
        job(link, number)
    link.call("HSET", QUEUE.key("1:processed"), "bull:mail:99", "1")
    link.call("ZADD", QUEUE.key("priority"), 1, 1, 1, 9)
    found = known(link, flavour=BULL)
    assert found.special == ("1",)
    next(_queue_fast.steps(link, QUEUE, "completed", found, lambda: 20)).act(None)
    assert link.call("ZRANGE", QUEUE.key("priority"), 0, -1) == [b"9"]


def test_times_of_jobs_that_are_removed_by_id(redis: Database) -> None:
    """The first id is neither the oldest job nor the newest."""
    link = redis.link
    for number in (9, 10, 11):
        job(link, number)
        link.call("HSET", QUEUE.key(f"{number}:processed"), "bull:mail:99", "1")
    found = known(link)
    assert found.special == ("10", "11", "9")
    page = next(_queue_fast.steps(link, QUEUE, "completed", found, lambda: 20)).act(None)
    assert (page.removed, page.oldest, page.newest) == (3, OLD + 9, OLD + 11)


def test_ids_are_read_ahead_for_many_pages(redis: Database) -> None:
    """Once for all of them; and anew when a page removed something else than was expected."""
    link = redis.link
    for number in range(1, 31):
        job(link, number)
        if number % 5 == 0:
            link.call("RPUSH", QUEUE.key(f"{number}:logs"), "a")
    found = known(link)
    link.call("CONFIG", "RESETSTAT")
    pages = _queue_fast.steps(link, QUEUE, "completed", found, lambda: 6)
    assert [next(pages).act(None).removed for _page in range(2)] == [6, 6]
    link.call("ZREM", QUEUE.key("completed"), 14)
    assert [next(pages).act(None).last for _page in range(2)] == ["19", "25"]
    (told,) = link.ask(("INFO", "commandstats"))
    # One of each page, one to begin with, and one after the page that was another one.
    assert "cmdstat_zrangebyscore:calls=6," in text(told)
    assert [next(pages).act(None).last, next(pages).act(None).end] == ["30", True]
    assert keys(link) == {"14"}
