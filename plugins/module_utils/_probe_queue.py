# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Job queues in Redis: those of Bull and BullMQ, plain lists, and streams.

Reads only, and a bounded number of jobs. The ages are measured with the clock of the Redis server, whether anything
moves with that of this host.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, Memory, ProbeFailed, Spec
from ansible_collections.quai.ops.plugins.module_utils._probe_redis import Session, endpoint, required
from ansible_collections.quai.ops.plugins.module_utils._resp import Reply, number, pairs, text

# Jobs that are looked at to find the one that has waited longest: the ends of each list, where it is unless jobs were
# put in out of turn.
HEAD: Final = 5
TAIL: Final = 30
PRIORITIZED: Final = 200
# Entries of a stream that are counted when the server cannot say how many a group has not read.
PAGE: Final = 1000
PAGES: Final = 50
_JOB: Final = ("timestamp", "processedOn", "opts", "attemptsMade", "atm")
# Workers take from the tail of a list and the low end of a set, so these come first in their pair.
_WAITING: Final = ("wait_tail", "wait_head", "paused_tail", "paused_head", "prioritized_first", "prioritized_last")
_MARKER: Final = "0:"
# What a connection of the libraries runs before its first work.
_FRESH: Final = frozenset({"client", "client|setname", "info", "select", "auth", "hello"})
# What changes when a worker does something, and only then.
_SIGNS: Final = ("last_completed", "last_failed", "newest_active")


def check(spec: Spec, context: Context) -> None:
    """Ask for the numbers of one queue."""
    with Session(endpoint(spec), context) as session:
        {"list": _list, "stream": _stream}.get(spec["library"], _jobs)(spec, context, session)
    fields = context.found.fields
    if fields["depth"] is not None:
        age = fields.get("oldest_s")
        waits = f", the oldest for {age:.0f} s" if age else ""
        paused = ", paused" if fields.get("paused") else ""
        workers = fields.get("workers")
        by = "" if workers is None else f", workers: {workers}"
        context.found.message = f"{fields['depth']} wait{waits}{paused}{by}"


def waiting_since(job: Mapping[str, str]) -> float | None:
    """When a waiting job became ready to run, ms since 1970; None for what is no job.

    That is its creation and its delay; after a failed attempt, the beginning of that attempt and its backoff, as far
    as the backoff is one of the two that the libraries compute by themselves.
    """
    if not job.get("timestamp", "").isdigit():
        return None
    try:
        options = json.loads(job.get("opts") or "{}")
    except ValueError:
        options = {}
    if not isinstance(options, dict):
        options = {}
    if not job.get("processedOn", "").isdigit():
        return int(job["timestamp"]) + _positive(options.get("delay"))
    attempts = max(1, int(_positive(job.get("attemptsMade")) or _positive(job.get("atm"))))
    backoff = options.get("backoff")
    wait = 0.0
    if isinstance(backoff, dict):
        wait = _positive(backoff.get("delay"))
        if backoff.get("type") == "exponential":
            wait *= 2 ** min(attempts, 30)
    else:
        wait = _positive(backoff)
    return int(job["processedOn"]) + wait


def _positive(value: Any) -> float:
    """A number of JSON or text that is more than 0; 0 for anything else."""
    if isinstance(value, str):
        value = float(value) if value.isdigit() else 0
    return float(value) if isinstance(value, (int, float)) and value > 0 else 0.0


def workers_of(clients: str, prefix: str, queue: str, library: str, database: int) -> int:
    """How many workers of a queue of C(database) are among the clients that CLIENT LIST shows."""
    return Clients(clients, database).workers(prefix, queue, library)


class Clients:
    """What CLIENT LIST shows, read once for any number of queues of one database.

    A worker names its blocking connection PREFIX:BASE64(QUEUE), then :w:NAME when it has a name. Bull 3 gives the
    same name to all three connections of a worker, of which one waits with BRPOPLPUSH, and to the one of who only adds
    jobs. A connection that has done nothing yet may be that of a worker that just starts.
    """

    __slots__ = ("_blocking", "_fresh", "_named")

    def __init__(self, clients: str, database: int) -> None:
        self._named: dict[str, int] = {}
        self._blocking: dict[str, int] = {}
        self._fresh: dict[str, int] = {}
        for line in clients.splitlines():
            facts = dict(part.partition("=")[::2] for part in line.split(" "))
            name = facts.get("name", "")
            if not name or facts.get("db", str(database)) != str(database):
                continue
            # The name of a worker may hold the mark as well, and so may a prefix: every reading counts.
            parts = name.split(":w:")
            for end in range(1, len(parts) + 1):
                owner = ":w:".join(parts[:end])
                self._named[owner] = self._named.get(owner, 0) + 1
                self._blocking[owner] = self._blocking.get(owner, 0) + (facts.get("cmd") == "brpoplpush")
                self._fresh[owner] = self._fresh.get(owner, 0) + (facts.get("cmd") in _FRESH)

    def workers(self, prefix: str, queue: str, library: str) -> int:
        """How many workers of a queue there are."""
        from base64 import b64encode

        encoded = b64encode(queue.encode("utf-8", "surrogateescape")).decode()
        name = f"{prefix}:{encoded}"
        if library == "bull":
            return self._blocking.get(name, 0) or self._fresh.get(name, 0)
        return self._named.get(name, 0)


def stuck(memory: Memory, signs: Mapping[str, Any], waiting: bool, now: float, limit: float) -> bool | None:
    """Whether jobs wait and no sign has changed for C(limit) seconds; None while that is not known yet.

    C(signs) is what changes when a worker does something, and only then. It is kept in C(memory).
    """
    before = memory.get("signs")
    since = memory.get("since")
    known = isinstance(since, (int, float)) and since <= now
    if not waiting or not known or before != signs:
        memory["signs"], memory["since"] = dict(signs), now
        # Nothing was seen before: that nothing has moved cannot be known.
        return None if waiting and not known else False
    return now - float(since or 0) >= limit


def _list(spec: Spec, context: Context, session: Session) -> None:
    key = spec["queue"]
    length, *items = session.ask(("LLEN", key), ("LINDEX", key, 0), ("LINDEX", key, -1))
    depth = int(required(f"LLEN {key}", length))
    # New items change one end only. So something was taken when there are fewer, or when both ends are others.
    memory = context.memory
    ends = [_digest(item) for item in items]
    before, had = memory.get("ends", ends), memory.get("depth", depth)
    turns = int(memory.get("turns", 0)) + (depth < had or all(old != new for old, new in zip(before, ends)))
    memory.update(ends=ends, depth=depth, turns=turns)
    context.found.fields.update(
        depth=depth,
        oldest_s=0.0 if depth == 0 else None,  # items of a list say no time
        stuck=stuck(memory, {"turns": turns}, depth > 0, context.now, spec["stuck_after"]),
    )


def _digest(value: Reply) -> str:
    """A short stand-in for an item, which may hold private data and must not get into the state."""
    from hashlib import sha256

    return sha256(text(value).encode("utf-8", "replace")).hexdigest()[:16]


def _stream(spec: Spec, context: Context, session: Session) -> None:
    key = spec["queue"]
    clock, length, kind, groups = session.ask(("TIME",), ("XLEN", key), ("TYPE", key), ("XINFO", "GROUPS", key))
    if text(required("TYPE", kind)) == "none":
        raise ProbeFailed("missing", f"there is no stream {key} in database {spec['database']}")
    total = int(required(f"XLEN {key}", length))
    seconds = _time(required("TIME", clock))
    fields = context.found.fields
    found = [_group(session, key, pairs(one)) for one in required("XINFO GROUPS", groups)]
    if not found:
        (first,) = session.ask(("XRANGE", key, "-", "+", "COUNT", 1))
        fields.update(depth=total, oldest_s=_age(first, seconds), active=0, workers=None)
        signs: dict[str, Any] = {"total": total, "first": _entry(first)}
    else:
        # The group that is behind most stands for the stream.
        worst = max(found, key=lambda one: (one["lag"] is None, one["lag"] or 0, one["pending"]))
        fields.update(
            depth=worst["lag"],
            oldest_s=_age(worst["next"], seconds),
            active=worst["pending"],
            workers=None,  # consumers stay listed when they are gone
        )
        context.found.details["group"] = worst["name"]
        signs = {one["name"]: [one["last"], one["pending"]] for one in found}
    # What a consumer took and never acknowledged is nobody's any more when the consumer is gone.
    waiting = fields["depth"] is None or fields["depth"] + fields["active"] > 0
    fields["stuck"] = stuck(context.memory, signs, waiting, context.now, spec["stuck_after"])


def _group(session: Session, key: str, group: Mapping[str, Reply]) -> dict[str, Any]:
    """What a consumer group has before it."""
    last = text(group.get("last-delivered-id"))
    (following,) = session.ask(("XRANGE", key, _after(last), "+", "COUNT", 1))
    following = required("XRANGE", following)
    # Not given before Redis 7, nor when entries were deleted.
    lag = number(group.get("lag"))
    if lag is None:
        lag = _count(session, key, last) if following else 0
    return {
        "name": text(group.get("name")),
        "last": last,
        "pending": number(group.get("pending")) or 0,
        "next": following,
        "lag": lag,
    }


def _count(session: Session, key: str, last: str) -> int | None:
    """Entries after an id; None when there are too many to count."""
    total = 0
    for _page in range(PAGES):
        (entries,) = session.ask(("XRANGE", key, _after(last), "+", "COUNT", PAGE))
        total += len(required("XRANGE", entries))
        if len(entries) < PAGE:
            return total
        last = _entry(entries[-1:])
    return None


def _after(entry: str) -> str:
    """The first id that can follow another. (Redis before 6.2 has no sign for "without this one".)"""
    moment, _dash, sequence = entry.partition("-")
    return f"{moment}-{int(sequence or 0) + 1}"


def _entry(entries: Reply) -> str:
    """Id of the first of some entries of a stream."""
    return text(entries[0][0]) if entries else ""


def _age(entries: Reply, seconds: float) -> float:
    """Age of the first of some entries, s; 0 when there is none."""
    if not entries:
        return 0.0
    return max(0.0, seconds - int(_entry(entries).partition("-")[0]) / 1000)


def _time(clock: Reply) -> float:
    """Reply of TIME, as seconds since 1970."""
    return int(clock[0]) + int(clock[1]) / 1e6


def _jobs(spec: Spec, context: Context, session: Session) -> None:
    base = f"{spec['prefix']}:{spec['queue']}:"
    commands = {
        "clock": ("TIME",),
        "wait": ("LLEN", f"{base}wait"),
        "paused": ("LLEN", f"{base}paused"),
        "prioritized": ("ZCARD", f"{base}prioritized"),
        "active": ("LLEN", f"{base}active"),
        "delayed": ("ZCARD", f"{base}delayed"),
        "failed": ("ZCARD", f"{base}failed"),
        "completed": ("ZCARD", f"{base}completed"),
        "is_paused": ("HGET", f"{base}meta", "paused"),
        "was_paused": ("EXISTS", f"{base}meta-paused"),  # Bull
        "known": ("EXISTS", f"{base}meta", f"{base}id", f"{base}wait", f"{base}completed", f"{base}failed"),
        "wait_head": ("LRANGE", f"{base}wait", 0, HEAD - 1),
        "wait_tail": ("LRANGE", f"{base}wait", -TAIL, -1),
        "paused_head": ("LRANGE", f"{base}paused", 0, HEAD - 1),
        "paused_tail": ("LRANGE", f"{base}paused", -TAIL, -1),
        "prioritized_first": ("ZREVRANGE", f"{base}prioritized", -PRIORITIZED // 2, -1),
        "prioritized_last": ("ZREVRANGE", f"{base}prioritized", 0, PRIORITIZED // 2 - 1),
        "last_completed": ("ZREVRANGE", f"{base}completed", 0, 0),
        "last_failed": ("ZREVRANGE", f"{base}failed", 0, 0),
        "newest_active": ("LRANGE", f"{base}active", 0, 0),
        "clients": ("CLIENT", "LIST"),
    }
    replies = dict(zip(commands, session.ask(*commands.values())))
    clients = text(replies.pop("clients"))
    for name, reply in replies.items():
        required(" ".join(map(str, commands[name][:2])), reply)
    fields = context.found.fields
    database = endpoint(spec)["database"]
    of_queue = (spec["prefix"], spec["queue"], spec["library"], database)
    fields["workers"] = workers_of(clients, *of_queue) if clients else None
    if not replies["known"] and not fields["workers"]:
        raise ProbeFailed(
            "missing",
            f"database {database} has no queue {spec['queue']} with the prefix {spec['prefix']}: no job was"
            " ever put into it, or its name, prefix or database is another",
        )
    waiting = [_texts(replies[name]) for name in _WAITING]
    # BullMQ 2 to 4 wakes its workers by markers among the ids.
    markers = {(name[:4], one) for name, ids in zip(_WAITING, waiting) for one in ids if one.startswith(_MARKER)}
    depth = sum(int(replies[name]) for name in ("wait", "paused", "prioritized")) - len(markers)
    ids = _distinct(waiting)
    moment = _time(replies["clock"])
    witness = context.memory.get("witness")
    asked = [*ids, *([witness] if isinstance(witness, str) and witness not in ids else [])]
    due, first, *data = session.ask(
        # Jobs for later are sorted by their time in ms, times 4096. Those that are due wait, although no worker has
        # found the time to say so, or there is none.
        ("ZCOUNT", f"{base}delayed", "-inf", int(moment * 1000) * 4096 + 4095),
        ("ZRANGE", f"{base}delayed", 0, 0, "WITHSCORES"),
        *(("HMGET", f"{base}{one}", *_JOB) for one in asked),
    )
    jobs = {one: _job(reply) for one, reply in zip(asked, data)}
    overdue = int(required("ZCOUNT", due))
    depth += overdue
    since = [time for time in (waiting_since(jobs[one]) for one in ids) if time is not None]
    if overdue:
        since.append(float(text(first[1])) / 4096)
    oldest: float | None = 0.0
    if depth:
        # Without the data of a single job nothing is known of their age.
        oldest = max(0.0, moment - min(since) / 1000) if since else None
    fields.update(
        depth=depth,
        oldest_s=oldest,
        active=int(replies["active"]),
        delayed=max(0, int(replies["delayed"]) - overdue),
        failed=int(replies["failed"]),
        completed=int(replies["completed"]),
        paused=text(replies["is_paused"]) == "1" or bool(replies["was_paused"]),
    )
    # New jobs must not count as movement, only what workers do: another finished or active job, and a job that waited
    # and no longer does. The last matters where finished jobs are not kept.
    signs: dict[str, Any] = {name: _texts(replies[name]) for name in _SIGNS}
    signs["taken"] = _taken(context.memory, ids, jobs)
    fields["stuck"] = stuck(context.memory, signs, depth > 0, context.now, spec["stuck_after"])


def _taken(memory: Memory, ids: Sequence[str], jobs: Mapping[str, Mapping[str, str]]) -> int:
    """How often a job that waited was seen to be taken.

    One that waits is remembered in C(memory) with the time when it was last worked on; it was taken when that is
    another, or the job gone. It is the next in turn, so that no other can be taken for long while it waits.
    """
    witness = memory.get("witness")
    times = int(memory.get("taken", 0))
    if isinstance(witness, str):
        job = jobs.get(witness, {})
        if job.get("timestamp") and job.get("processedOn") == memory.get("processed"):
            return times
        times += 1
    following = next((one for one in ids if jobs[one].get("timestamp")), None)
    memory.update(taken=times, witness=following, processed=jobs[following]["processedOn"] if following else "")
    return times


def _texts(reply: Reply) -> list[str]:
    return [text(one) for one in reply or ()]


def _distinct(groups: Iterable[Sequence[str]]) -> list[str]:
    """Ids, each once, without markers; the last of each group first."""
    found: dict[str, None] = {}
    for group in groups:
        for one in reversed(group):
            if one and not one.startswith(_MARKER):
                found.setdefault(one)
    return list(found)


def _job(reply: Reply) -> dict[str, str]:
    """What is read of a job; empty texts where it is gone."""
    return dict(zip(_JOB, _texts(reply) if isinstance(reply, list) else [""] * len(_JOB)))


__all__ = ["Clients", "check", "stuck", "waiting_since", "workers_of"]
