# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Bull and BullMQ lay their queues out in Redis, by version, and which of them wrote a queue.

Read in the sources of bull 3.29 and 4.16, bullmq 1.91, 2.4, 3.16, 4.18, 5.81 and 6.7, and compared with what they
write.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._redis_link import Link, Server, good
from ansible_collections.quai.ops.plugins.module_utils._resp import text

BULL, BULLMQ = "bull", "bullmq"
# States that can be cleaned: type of the key that lists their jobs. There is no other whitelist.
STATES: Final = {
    "completed": "zset",
    "failed": "zset",
    "delayed": "zset",
    "prioritized": "zset",
    "waiting-children": "zset",
    "wait": "list",
    "paused": "list",
    "active": "list",
}
# Other keys of a queue that are read or written, and their types.
KEYS: Final = {
    "meta": "hash",
    "events": "stream",
    "repeat": "zset",
    "marker": "zset",
    "priority": "zset",
    "limiter:index": "hash",
}
# Names of keys that a queue has itself. An id of this name stands for no job: removing "its" key would take the queue.
OWN: Final = frozenset((*STATES, *KEYS, "id", "pc", "delay", "limiter", "meta-paused", "stalled", "stalled-check"))
# Keys that may stand beside the hash of a job, after its id.
SUB_KEYS: Final = ("logs", "dependencies", "processed", "failed", "unsuccessful")
# What a queue is known by: a key of this name and type. "failed" stands beside a job as well, as a hash.
_SIGNS: Final = {**STATES, "meta": "hash", "id": "string", "events": "stream", "repeat": "zset"}
# What begins the keys of a queue that may end like one of the signs: keys for deduplication, and metrics.
_INNER: Final = ("de", "dn", "metrics", "repeat")
# What tells the major version of BullMQ where nothing says it.
_TRACES: Final = (
    (5, {"marker"}, "it has a marker, as BullMQ 5 and later have"),
    (4, {"prioritized", "pc"}, "it has prioritized jobs, as BullMQ 4 and later have"),
    (1, {"delay"}, "it has a stream of delays, as BullMQ 1 has"),
)
_PAGE: Final = 2000
_MAGIC: Final = re.compile(r"([\\*?\[\]])")


class QueueProblem(Exception):
    """What is wrong with a queue or with what was asked of it; nothing was changed because of it."""


class Queue(NamedTuple):
    """A queue by the prefix of its keys and its name."""

    prefix: str
    name: str

    @property
    def base(self) -> str:
        """What its keys begin with."""
        return f"{self.prefix}:{self.name}:"

    def key(self, suffix: str) -> str:
        """One of its keys."""
        return self.base + suffix


class Flavour(NamedTuple):
    """Which library wrote a queue. C(major) is 0 when it cannot be told; C(evidence) says why it is believed.

    C(mixed) says what another version left in the queue, empty when nothing was seen of the kind.
    """

    library: str
    major: int
    version: str
    evidence: str
    mixed: str = ""

    @property
    def bull(self) -> bool:
        """Whether it is Bull, not BullMQ."""
        return self.library == BULL

    @property
    def paused_list(self) -> bool:
        """Whether a paused queue keeps its waiting jobs in C(paused)."""
        return self.bull or self.major <= 5

    @property
    def prioritized(self) -> bool:
        """Whether jobs with a priority wait in C(prioritized); else in C(wait), and in C(priority) as well."""
        return not self.bull and (self.major == 0 or self.major >= 4)

    @property
    def marker_set(self) -> bool:
        """Whether workers wait at the sorted set C(marker)."""
        return not self.bull and (self.major == 0 or self.major >= 5)

    @property
    def unsure_of_5(self) -> bool:
        """Whether it is of BullMQ 5 or of a later one, and nobody knows which.

        A FlowProducer writes no version, and all that it leaves in Redis is the same.
        """
        return self.library == BULLMQ and self.major == 5 and not self.version

    @property
    def events(self) -> bool:
        """Whether what happens is written to the stream C(events)."""
        return not self.bull


def detect(link: Link, queue: Queue, library: str = "auto", version: str = "") -> Flavour:
    """Tell which library wrote a queue. C(library) and C(version) are what is known already.

    Raises QueueProblem when it cannot be told, or is another than what is known; RedisFailed.
    """
    (found,) = detect_all(link, (queue,), library, version)
    if isinstance(found, QueueProblem):
        raise found
    return found


def detect_all(
    link: Link, queues: Sequence[Queue], library: str = "auto", version: str = ""
) -> list[Flavour | QueueProblem]:
    """The same for all of these queues, in one round trip; in place of what detect raises stands the QueueProblem.

    Raises RedisFailed.
    """
    asked = [_questions(queue) for queue in queues]
    replies = iter(link.ask(*(command for commands in asked for command in commands)))
    found: list[Flavour | QueueProblem] = []
    for queue, commands in zip(queues, asked):
        answers = [next(replies) for _command in commands]
        try:
            found.append(_told(queue, answers, library, version))
        except QueueProblem as problem:
            found.append(problem)
    return found


# Keys whose type is asked for, and keys that only have to be there.
_READ: Final = {"meta": KEYS["meta"], "paused": STATES["paused"]}
_ASKED: Final = (
    *("events", "marker", "meta-paused", "prioritized", "pc", "priority", "delay", "limiter:index"),
    "waiting-children",
)


def _questions(queue: Queue) -> list[tuple[Any, ...]]:
    key = queue.key
    return [
        *(("TYPE", key(suffix)) for suffix in _READ),
        ("HMGET", key("meta"), "version", "opts.maxLenEvents"),
        ("EXISTS", *(key(suffix) for suffix in (*STATES, "id"))),
        ("LLEN", key("paused")),
        *(("EXISTS", key(suffix)) for suffix in _ASKED),
    ]


def _told(queue: Queue, replies: Sequence[Any], library: str, version: str) -> Flavour:
    for (suffix, wanted_kind), reply in zip(_READ.items(), replies):
        kind = text(good(reply, f"TYPE {queue.key(suffix)}"))
        if kind not in ("none", wanted_kind):
            raise QueueProblem(f"{queue.name}: {queue.key(suffix)} is a {kind}, where a queue has a {wanted_kind}")
    rest = [good(reply, f"{queue.base}meta") for reply in replies[len(_READ) :]]
    (written, max_events), any_key, paused, *there = rest
    traits = {suffix for suffix, exists in zip(_ASKED, there) if exists}
    if text(max_events):
        traits.add("events")
    found = _detected(text(written), traits, bool(any_key))
    if found is not None:
        found = found._replace(mixed=_mixed(found, traits, int(paused)))
    if version:
        wanted = _major(version)
        if library == "auto":
            raise QueueProblem(f"{queue.name}: a version ({version}) needs its library, bull or bullmq")
        if found is not None and (found.library != library or not _may_be(found, traits, wanted)):
            raise QueueProblem(f"{queue.name}: said to be of {library} {version}, but {found.evidence}")
        flavour = Flavour(library, wanted, version, "said by who asks")
        return flavour._replace(mixed=_mixed(flavour, traits, int(paused)))
    if library != "auto":
        if found is None:
            return Flavour(library, 0, "", "said by who asks")
        if found.library != library:
            raise QueueProblem(
                f"{queue.name}: said to be of {library}, but {found.evidence}, as {found.library} writes it"
            )
        return found
    if found is None:
        raise QueueProblem(
            f"{queue.name}: no queue of this name with the prefix {queue.prefix}, or one that nothing was put into yet"
        )
    return found


def _detected(version: str, traits: set[str], any_key: bool) -> Flavour | None:
    name, _colon, number = version.partition(":")
    if name == "bullmq" and number:
        return Flavour(BULLMQ, _major(number), number, f"its meta says version {version}")
    for major, traces, why in _TRACES:
        if traits & traces:
            return Flavour(BULLMQ, major, "", why)
    if name.startswith("bullmq"):
        # What is built on BullMQ, such as bullmq-pro, counts its own versions.
        return Flavour(BULLMQ, 0, "", f"its meta says version {version}")
    # Of a queue whose events were deleted, flows still tell that it is no queue of Bull, where nobody looks for them.
    for trace, what in (("events", "a stream of events"), ("waiting-children", "jobs that wait for their children")):
        if trace in traits:
            if "priority" in traits:
                return Flavour(BULLMQ, 3, "", f"it has {what}, and priorities as BullMQ 3 and older keep them")
            return Flavour(BULLMQ, 0, "", f"it has {what}")
    evidence = "it has meta-paused" if "meta-paused" in traits else "it has no stream of events"
    return Flavour(BULL, 0, "", evidence) if any_key or "meta-paused" in traits else None


def _may_be(found: Flavour, traits: set[str], major: int) -> bool:
    """Whether a major version may have written a queue: meta names the one that did, other keys only bound it."""
    if found.version or found.bull:
        return found.major in (0, major)
    for oldest, traces, _why in _TRACES:
        if traits & traces:
            return major >= oldest
    return major <= found.major or not found.major


def _mixed(found: Flavour, traits: set[str], paused: int) -> str:
    """What does not go with the version that wrote last."""
    if found.bull:
        return ""
    if traits & {"meta-paused", "limiter:index"}:
        return "keys of Bull are in it as well"
    if found.major >= 4 and "priority" in traits:
        return "jobs that BullMQ 3 or older gave a priority are in it as well"
    if 0 < found.major < 5 and "marker" in traits:
        return "a marker, as BullMQ 5 and later write it, is in it as well"
    if found.major >= 6 and paused:
        return "jobs that BullMQ 5 or older put into its list of paused jobs are in it as well"
    return ""


def _major(version: str) -> int:
    number = version.partition(".")[0]
    if not number.isdigit():
        raise QueueProblem(f'"{version}" is no version; one is like 5.81.5')
    return int(number)


def misnamed(options: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with C(queues), C(prefix), C(library) and C(version) as somebody gives them."""
    names = options["queues"]
    problems = []
    if not isinstance(names, (list, tuple)) or not names:
        problems.append(f"queues: {names!r} names no queue; give names or patterns, such as [mail, 'report-*']")
    else:
        problems += [
            f"queues[{at}]: {name!r} names no queue"
            for at, name in enumerate(names)
            if not (isinstance(name, str) and name)
        ]
    if not isinstance(options["prefix"], str) or not options["prefix"]:
        problems.append(f"prefix: {options['prefix']!r} is no prefix; Bull and BullMQ use bull unless another is set")
    library, version = options["library"], str(options["version"] or "")
    if library not in ("auto", BULL, BULLMQ):
        problems.append(f"library: {library!r} is none of auto, {BULL}, {BULLMQ}")
    if version and library == "auto":
        problems.append(f"version: {version} says nothing without library; say whether it is that of bull or bullmq")
    if version and not version.partition(".")[0].isdigit():
        problems.append(f"version: {version!r} is no version; one is like 5.81.5")
    return problems


def escaped(name: str) -> str:
    """A name as a pattern of Redis that matches only itself."""
    return _MAGIC.sub(r"\\\1", name)


def is_pattern(name: str) -> bool:
    """Whether a name of a queue is a pattern: it has * or ?."""
    return "*" in name or "?" in name


def find(server: Server, patterns: Iterable[str], prefix: str = "bull") -> list[Queue]:
    """The queues that some names and patterns (with * and ?) name, sorted by name, each once.

    A name without a pattern is taken as it is, whether such a queue is there or not: C(detect) tells. Patterns are
    answered with SCAN; a queue is found by any of its own keys, such as C(meta). Raises RedisFailed.
    """
    found: set[str] = set()
    for pattern in patterns:
        if not is_pattern(pattern):
            found.add(pattern)
            continue
        match = f"{escaped(prefix)}:{_redis_pattern(pattern)}:[a-z]*[a-z]"
        signs: dict[str, dict[str, str]] = {}
        for link in server.nodes():
            for key in scan(link, match):
                name, suffix = _sign(key, prefix)
                if name and fnmatch.fnmatchcase(name, pattern.replace("[", "[[]")):
                    signs.setdefault(name, {})[key] = _SIGNS[suffix]
        found.update(_confirmed(server, signs))
    return [Queue(prefix, name) for name in sorted(found)]


def scan(link: Link, match: str, kind: str = "") -> Iterable[str]:
    """Names of the keys that a pattern of Redis matches, at most once per page. C(kind) keeps those of one type."""
    cursor = "0"
    while True:
        rest: Sequence[Any] = ("TYPE", kind) if kind else ()
        reply = link.call("SCAN", cursor, "MATCH", match, "COUNT", _PAGE, *rest)
        cursor = text(reply[0])
        for one in dict.fromkeys(reply[1]):
            yield one.decode("utf-8", "surrogateescape") if isinstance(one, bytes) else str(one)
        if cursor == "0":
            return


def _redis_pattern(pattern: str) -> str:
    """A pattern with * and ? only, as one of Redis."""
    return re.sub(r"([\\\[\]])", r"\\\1", pattern)


def _sign(key: str, prefix: str) -> tuple[str, str]:
    """Name of the queue that a key is a sign of, and what it is; empty texts for any other key."""
    rest = key[len(prefix) + 1 :]
    name, _colon, suffix = rest.rpartition(":")
    return (name, suffix) if suffix in _SIGNS else ("", "")


def _confirmed(server: Server, signs: dict[str, dict[str, str]]) -> set[str]:
    """Names of which some key has the type that it must have."""
    sure: set[str] = set()
    links: dict[int, tuple[Link, list[tuple[str, str, str]]]] = {}
    for name, keys in signs.items():
        link = server.at(next(iter(keys)))
        links.setdefault(id(link), (link, []))[1].extend((name, key, wanted) for key, wanted in keys.items())
    for link, asked in links.values():
        for begin in range(0, len(asked), _PAGE):
            part = asked[begin : begin + _PAGE]
            kinds = link.ask(*(("TYPE", key) for _name, key, _wanted in part))
            sure.update(name for (name, _key, wanted), kind in zip(part, kinds) if text(kind) == wanted)
    # The key of a deduplication "id" of queue "mail" is mail:de:id, which looks like a queue mail:de.
    return {name for name in sure if not (name.rpartition(":")[0] in sure and name.rpartition(":")[2] in _INNER)}


__all__ = [
    "BULL",
    "BULLMQ",
    "KEYS",
    "OWN",
    "STATES",
    "SUB_KEYS",
    "Flavour",
    "Queue",
    "QueueProblem",
    "detect",
    "detect_all",
    "escaped",
    "find",
    "is_pattern",
    "misnamed",
    "scan",
]
