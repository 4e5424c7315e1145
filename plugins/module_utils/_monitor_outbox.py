# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages that wait to be delivered, one file each, and the order, patience and detours of their delivery.

A message is a file C(outbox/<id>.json) until it is delivered, then it is renamed into C(delivered/), where its id is
remembered for two days. So a run that is killed at any point leaves a message once, and at worst it is sent twice with
the same id.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._monitor_store import Paths, dumps, replace

Message = dict[str, Any]

RETRIES: Final = (60, 120, 300, 600, 1200, 2400, 3600)  # seconds after each failed try, the last one for ever
PATIENCE: Final = 24 * 3600  # seconds of tries, after which it is told that a message does not get through
KEPT: Final = 7 * 24 * 3600  # seconds after which a message is given up
REMEMBERED: Final = 48 * 3600  # seconds for which a delivered id is known
DETOUR_AFTER: Final = 3  # failures after which a message goes by another channel too
DIGEST_FROM: Final = 6  # messages that waited because the channel failed, from which they become one
BUDGET: Final = 20.0  # seconds a run gives to all deliveries
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")


class DeliveryFailed(Exception):
    """A channel did not take a message. C(refused): it answered, and does not want this message; others may pass."""

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.refused = refused


class Item(NamedTuple):
    """One message that waits."""

    path: Path
    record: dict[str, Any]  # {"message", "order", "put", "attempts", "next", "error", "detour"}

    @property
    def message(self) -> Message:
        """What is to be delivered."""
        message: Message = self.record["message"]
        return message


class Delivered(NamedTuple):
    """What one round of deliveries did."""

    sent: int
    failed: int
    events: list[dict[str, Any]]


Send = Callable[[Message, float], None]  # a message and the seconds there are; raises DeliveryFailed


# --- files -----------------------------------------------------------------------------------------------------------


def _homes(where: Paths) -> tuple[Path, Path]:
    # The second one is in memory, for when the disk takes nothing.
    return where.state, where.run


def put(where: Paths, messages: Sequence[Message], now: float) -> list[Message]:
    """Store messages that are not known yet. Returns those that could be stored nowhere."""
    if not messages:
        return []
    known = {path.name for home in _homes(where) for path in _files(home / "delivered")}
    there = waiting(where)
    known |= {item.path.name for item in there} | {_file(one) for item in there for one in item.record["members"]}
    order = max((item.record["order"] for item in there), default=0)
    lost = []
    for message in messages:
        name = _file(message["id"])
        if name in known:
            continue
        order += 1
        record = _record(message, order, now)
        if not _store(where, name, record):
            lost.append(message)
        known.add(name)
    return lost


def _record(message: Message, order: int, now: float) -> dict[str, Any]:
    return {
        "message": message,
        "order": order,
        "put": now,
        "attempts": 0,
        "next": 0,
        "error": "",
        "refused": False,
        "detour": False,  # whether it went by another channel too
        "late": False,  # whether it was told that it does not get through
        "members": [],  # ids of the messages that this one stands for
    }


def _store(where: Paths, name: str, record: Mapping[str, Any]) -> bool:
    """Write a record to the disk or else to memory. What memory has is younger, so it goes when the disk takes one."""
    homes = _homes(where)
    for number, home in enumerate(homes):
        with suppress(OSError):
            (home / "outbox").mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(home / "outbox" / name, dumps(record))
            for other in homes[number + 1 :]:
                with suppress(OSError):
                    (other / "outbox" / name).unlink()
            return True
    return False


def _file(identity: str) -> str:
    if not _NAME.match(identity):
        raise ValueError(f"{identity!r} is not the id of a message: letters, digits and . _ - only")
    return f"{identity}.json"


def _files(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.suffix == ".json" and not path.name.startswith(".")]
    except OSError:
        return []


def waiting(where: Paths) -> list[Item]:
    """Return what waits, in the order in which it was decided. A file that is damaged is kept aside."""
    items = {}
    for home in _homes(where):
        for path in _files(home / "outbox"):
            try:
                record = json.loads(path.read_bytes())
                message = record["message"]
                items[path.name] = Item(path, {**_record(message, 0, 0), **record, "order": int(record["order"])})
                if not all(isinstance(message[key], str) for key in ("id", "channel", "subject", "body")):
                    raise ValueError("a message's parts are texts")
            except OSError:
                continue  # delivered meanwhile, or unreadable: it must not hold up the others
            except (ValueError, KeyError, TypeError):
                items.pop(path.name, None)
                with suppress(OSError):
                    path.replace(path.with_suffix(".damaged"))
    if items:
        # A full disk may have left two copies of a message. When one was delivered, both were.
        for home in _homes(where):
            for name in {path.name for path in _files(home / "delivered")}.intersection(items):
                del items[name]
                for other in _homes(where):
                    with suppress(OSError):
                        (other / "outbox" / name).unlink()
    # A digest stands for its members from the moment at which it is stored.
    covered = {_file(one) for item in items.values() for one in item.record["members"]}
    for home in _homes(where):
        for name in covered.intersection(items):
            _remember(items[name], home)
    left = [item for name, item in items.items() if name not in covered]
    return sorted(left, key=lambda item: (item.record["order"], item.path.name))


def _remember(item: Item, home: Path | None = None) -> None:
    """Turn a waiting message into a delivered one: one rename, so it is never both and never neither."""
    target = item.path.parent.parent / "delivered"
    try:
        target.mkdir(mode=0o700, exist_ok=True)
        item.path.replace(target / item.path.name)
    except FileNotFoundError:
        return
    except OSError:
        # The disk takes no name more: what counts is that it is not sent again.
        if home is not None:
            with suppress(OSError):
                (home / "delivered").mkdir(mode=0o700, parents=True, exist_ok=True)
                (home / "delivered" / item.path.name).touch(mode=0o600)
        with suppress(OSError):
            item.path.unlink()


def forget(where: Paths) -> None:
    """Remove what was delivered more than two days ago."""
    # By the clock of the files, not the run's: a test's clock or one that jumps must not forget what was sent.
    limit = time.time() - REMEMBERED
    for home in _homes(where):
        for path in _files(home / "delivered"):
            with suppress(OSError):
                if path.stat().st_mtime < limit:
                    path.unlink()


# --- delivery --------------------------------------------------------------------------------------------------------


def deliver(
    where: Paths,
    config: Mapping[str, Any],
    now: float,
    send: Send,
    *,
    budget: float = BUDGET,
    clock: Callable[[], float] = time.monotonic,
) -> Delivered:
    """Try to deliver what waits and is due, each channel in order, within C(budget) seconds in all.

    A channel that fails is left alone until its first message is due again. A message that a channel refuses lets
    the next ones pass. After three failures it also goes by another channel of the same policy.
    """
    items = waiting(where)
    if not items:
        return Delivered(0, 0, [])
    end = clock() + budget
    round_ = _Round(where, config, now, send, lambda: end - clock())
    queues: dict[str, list[Item]] = {}
    for item in items:
        queues.setdefault(item.message["channel"], []).append(item)
    # Those that work go first, so that one that hangs takes no time from them.
    pending = sorted(queues, key=lambda name: max(item.record["attempts"] for item in queues[name]))
    while pending:
        name = pending.pop(0)
        for detour in round_.channel(name, queues.pop(name)):
            other = detour.message["channel"]
            if round_.tally.get(other, {}).get("failed"):
                continue  # it had its turn and failed, so this waits with what waits there
            queues.setdefault(other, []).append(detour)
            if other not in pending:
                pending.append(other)
    _tally(where, round_.tally)
    forget(where)
    sent = sum(one["sent"] for one in round_.tally.values())
    return Delivered(sent, sum(one["failed"] for one in round_.tally.values()), round_.events)


class _Round:
    """One run's deliveries."""

    def __init__(
        self, where: Paths, config: Mapping[str, Any], now: float, send: Send, left: Callable[[], float]
    ) -> None:
        self.where = where
        self.config = config
        self.now = now
        self.send = send
        self.left = left
        self.events: list[dict[str, Any]] = []
        self.tally: dict[str, dict[str, Any]] = {}

    def channel(self, name: str, items: Sequence[Item]) -> list[Item]:
        """Deliver what waits for one channel. Returns what goes by another one from now on."""
        queue = self._fold(name, self._drop_old(items))
        sent: set[str] = set()
        for item in queue:
            if not _due(item, self.now):
                if item.record["refused"]:
                    continue
                break  # the channel failed, and its patience is not over
            left = self.left()
            if left <= 0.5:
                break
            tally = self.tally.setdefault(name, {"sent": 0, "failed": 0, "error": "", "ok_at": None})
            try:
                self.send(item.message, min(left, 10.0))
            except DeliveryFailed as error:
                tally["failed"] += 1
                tally["error"] = error.message
                self._failed(item, error)
                if error.refused:
                    continue
                break
            tally["sent"] += 1
            tally.update(error="", ok_at=self.now)
            _remember(item, self.where.run)
            sent.add(item.path.name)
        return self._detours([item for item in queue if item.path.name not in sent])

    def _failed(self, item: Item, error: DeliveryFailed) -> None:
        record = item.record
        record["attempts"] += 1
        record["error"] = error.message
        record["refused"] = error.refused
        record["next"] = self.now + RETRIES[min(record["attempts"], len(RETRIES)) - 1]
        _store(self.where, item.path.name, record)

    def _detours(self, queue: Sequence[Item]) -> list[Item]:
        """Send by another channel too what failed three times, and what waits behind it."""
        made = []
        failing: Item | None = None
        for item in queue:
            record = item.record
            if failing is None and not record["refused"] and record["attempts"] >= DETOUR_AFTER:
                failing = item
            if record["detour"] or (failing is None and record["attempts"] < DETOUR_AFTER):
                continue
            made += self._detour(item, failing or item)
            record["detour"] = True
            _store(self.where, item.path.name, record)
        return made

    def _detour(self, item: Item, failing: Item) -> list[Item]:
        message = item.message
        if message.get("via"):
            return []  # it is on its way round already
        other = _other_channel(self.config, message)
        if not other:
            return []
        words = _DETOUR_WORDS.get((self.config.get("languages") or ["en"])[0], _DETOUR_WORDS["en"])
        said = words.format(channel=message["channel"], count=failing.record["attempts"], error=failing.record["error"])
        copy = {
            **message,
            "id": f"{message['id'][:100]}.{_digest(other)[:12]}",
            "channel": other,
            "body": f"{said}\n\n{message['body']}",
            "via": message["channel"],
        }
        put(self.where, [copy], self.now)
        return [one for one in waiting(self.where) if one.message["id"] == copy["id"]]

    def _drop_old(self, items: Sequence[Item]) -> list[Item]:
        left = []
        for item in items:
            age = self.now - item.record["put"]
            if age > PATIENCE and not item.record["late"]:
                item.record["late"] = True
                self._event(item, f"not delivered within 24 h: {item.record['error']}")
                _store(self.where, item.path.name, item.record)
            if age > KEPT:
                self._event(item, "given up after 7 days")
                _remember(item, self.where.run)
            else:
                left.append(item)
        return left

    def _event(self, item: Item, message: str) -> None:
        first = (item.message.get("probes") or [""])[0]
        self.events.append(
            {
                "t": self.now,
                "k": "event",
                "event": "delivery_failed",
                "probe": first,
                "severity": item.message.get("severity", ""),
                "reason": "",
                "since": item.record["put"],
                "duration": self.now - item.record["put"],
                "message": f"{item.message['channel']}: {item.message['subject']}: {message}",
            }
        )

    def _fold(self, name: str, items: list[Item]) -> list[Item]:
        """Make one message of many that waited because the channel failed; those about to be sent are one by one."""
        head = next((item for item in items if not item.record["refused"]), None)
        stuck = [item for item in items if not item.record["refused"] and not item.record["members"]]
        if head is None or not head.record["attempts"] or not _due(head, self.now) or len(stuck) < DIGEST_FROM:
            return items
        ids = [item.message["id"] for item in stuck]
        identity = _digest("\n".join(ids))
        words = _DIGEST_WORDS.get((self.config.get("languages") or ["en"])[0], _DIGEST_WORDS["en"])
        first = stuck[0].record["put"]
        lines = [f"{_moment(item.message.get('at', item.record['put']))}  {item.message['subject']}" for item in stuck]
        last = stuck[-1].message
        worst = min((item.message.get("severity") or "low" for item in stuck), key=_severity_rank)
        message = {
            "id": identity,
            "kind": "digest",
            "channel": name,
            "severity": worst,
            "subject": words["subject"].format(host=self.config["host"], count=len(stuck)),
            "body": "\n".join(
                [
                    words["body"].format(count=len(stuck), since=_moment(first), error=head.record["error"]),
                    "",
                    *lines,
                    "",
                    words["last"],
                    "",
                    last["body"],
                ]
            ),
            "at": self.now,
            "probes": sorted({probe for item in stuck for probe in item.message.get("probes") or ()}),
            "data": {"kind": "digest", "messages": [_bare(item.message) for item in stuck]},
        }
        record = {
            **_record(message, stuck[0].record["order"], first),
            "attempts": head.record["attempts"],
            "error": head.record["error"],
            "detour": all(item.record["detour"] for item in stuck),
            "late": any(item.record["late"] for item in stuck),
            "members": ids,
        }
        if not _store(self.where, _file(identity), record):
            return items
        folded = waiting(self.where)  # this also turns the members into delivered ones
        kept = {item.path.name for item in items} - {_file(one) for one in ids} | {_file(identity)}
        return [item for item in folded if item.path.name in kept]


def _due(item: Item, now: float) -> bool:
    # A clock that was set back must not make a message wait for longer than the longest pause.
    at = float(item.record["next"])
    return at <= now or at - now > RETRIES[-1]


def _severity_rank(severity: str) -> int:
    order = ("critical", "high", "medium", "low")
    return order.index(severity) if severity in order else len(order)


def _bare(message: Mapping[str, Any]) -> dict[str, Any]:
    return {key: message.get(key) for key in ("id", "kind", "severity", "subject", "at", "probes", "data")}


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


def _digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _other_channel(config: Mapping[str, Any], message: Message) -> str:
    """Another channel that the policies behind a message name: the same severity first, then any, then the watch's."""
    policies = config.get("policies") or {}
    by_name = {probe["name"]: probe.get("policy") for probe in config.get("probes") or ()}
    names: list[str] = []
    for probe in message.get("probes") or ():
        rules = policies.get(by_name.get(probe)) or {}
        severity = message.get("severity") or ""
        for rule in [rules[one] for one in (severity, *rules) if one in rules]:
            names += [*(rule.get("notify") or ()), *(rule.get("escalate_to") or ())]
    names += config.get("own_fault_channels") or ()
    for name in names:
        if name != message["channel"] and name in (config.get("channels") or {}):
            return name
    return ""


def _tally(where: Paths, tally: Mapping[str, Mapping[str, Any]]) -> None:
    """Add to the counts of each channel, for metrics and page."""
    if not tally:
        return
    totals = channels(where)
    for name, one in tally.items():
        total = totals.setdefault(name, {"sent": 0, "failed": 0, "error": "", "ok_at": None})
        total["sent"] += one["sent"]
        total["failed"] += one["failed"]
        total["error"] = one["error"]
        total["ok_at"] = one["ok_at"] if one["ok_at"] is not None else total["ok_at"]
    for home in _homes(where):
        with suppress(OSError):
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(home / "channels.json", dumps(totals), sync=False)
            return


def channels(where: Paths) -> dict[str, dict[str, Any]]:
    """Return what is counted per channel: C({sent, failed, error, ok_at})."""
    for home in _homes(where):
        with suppress(OSError, ValueError):
            totals: dict[str, dict[str, Any]] | None = json.loads((home / "channels.json").read_bytes())
            if isinstance(totals, dict):
                return totals
    return {}


_DETOUR_WORDS: Final = {
    "en": "Sent here too, because the channel {channel} failed {count} times: {error}",
    "fr": "Envoyé ici aussi, car le canal {channel} a échoué {count} fois : {error}",
}
_DIGEST_WORDS: Final[dict[str, dict[str, str]]] = {
    "en": {
        "subject": "[{host}] {count} messages that waited",
        "body": "{count} messages waited since {since}, because this channel failed: {error}",
        "last": "The last of them:",
    },
    "fr": {
        "subject": "[{host}] {count} messages en attente",
        "body": "{count} messages attendaient depuis le {since}, car ce canal a échoué : {error}",
        "last": "Le dernier :",
    },
}

__all__ = [
    "BUDGET",
    "DETOUR_AFTER",
    "DIGEST_FROM",
    "KEPT",
    "PATIENCE",
    "REMEMBERED",
    "RETRIES",
    "Delivered",
    "DeliveryFailed",
    "Item",
    "Message",
    "Send",
    "channels",
    "deliver",
    "forget",
    "put",
    "waiting",
]
