# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was released on this host, when, by whom and how it ended: a file of JSON lines that is only ever added to.

A release writes a line when it begins, one for each step, and one when it ends. What has begun and neither ended nor
runs was broken off; its steps tell how far it came. So the same file tells people what happened and the next run what
is left to do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

# How a release can end. Only what is good can be gone back to.
GOOD: Final = "good"  # it serves, and that was seen from outside
FAILED: Final = "failed"  # the one before was not touched
RETURNED: Final = "returned"  # the one before was touched, and serves again
BROKEN: Final = "broken"  # and the one before could not be brought back
RESULTS: Final = (GOOD, FAILED, RETURNED, BROKEN)
# A release is some 2 kB; the file is cut to the newest ones when it has grown beyond this.
MOST_BYTES: Final = 2_000_000
KEPT: Final = 200


class LedgerError(Exception):
    """The ledger cannot be read or written, or what is asked of it is not possible; the message says why."""


class Step(NamedTuple):
    """One step that was reached. C(at) is in seconds since 1970."""

    name: str
    at: float
    data: Mapping[str, Any]


class Release(NamedTuple):
    """One release as the ledger has it. Times are in seconds since 1970."""

    id: str
    kind: str  # release, or rollback
    version: str
    by: str
    reason: str
    begun: float
    target: str  # of a rollback: the id of the release that it brings back
    steps: tuple[Step, ...]
    ended: float | None
    result: str  # one of RESULTS; empty while it runs or when it was broken off
    message: str

    @property
    def seconds(self) -> float | None:
        """How long it took; None when it has not ended."""
        return None if self.ended is None else self.ended - self.begun

    @property
    def origin(self) -> str:
        """The id of the release whose files and images this one runs: its own, or what a rollback brought back."""
        return self.target or self.id

    def data(self, step: str) -> Mapping[str, Any]:
        """What the last step of this name had to say; nothing when it was not reached."""
        return next((one.data for one in reversed(self.steps) if one.name == step), {})

    def reached(self, step: str) -> bool:
        """Whether it came as far as this step."""
        return any(one.name == step for one in self.steps)


class Ledger:
    """The ledger of one project on one host. Whoever writes holds the project's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(
        self, identity: str, at: float, *, kind: str, version: str, by: str, reason: str = "", target: str = ""
    ) -> None:
        """Note that a release begins."""
        if len(_lines(self.path)[0]) and self.path.stat().st_size > MOST_BYTES:
            self._cut()
        self._add(
            identity, at, "begun", {"kind": kind, "version": version, "by": by, "reason": reason, "target": target}
        )

    def step(self, identity: str, at: float, name: str, **data: Any) -> None:
        """Note that a release has reached a step, with what a return to the one before needs to know of it."""
        self._add(identity, at, "step", {"step": name, "data": data})

    def end(self, identity: str, at: float, result: str, message: str = "") -> None:
        """Note how a release ended; C(result) is one of RESULTS."""
        if result not in RESULTS:
            raise LedgerError(f"a release cannot end as {result!r}; one of: {', '.join(RESULTS)}")
        self._add(identity, at, "ended", {"result": result, "message": message})

    def releases(self) -> list[Release]:
        """All releases, the oldest first. Lines that a power cut left damaged are left out."""
        lines, _whole = _lines(self.path)
        return _fold(lines)

    def _add(self, identity: str, at: float, event: str, more: Mapping[str, Any]) -> None:
        line = json.dumps({"id": identity, "at": at, "event": event, **more}, ensure_ascii=False, sort_keys=True)
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            try:
                # A torn line of a power cut must not swallow this one.
                torn = os.fstat(handle).st_size and not _lines(self.path)[1]
                data = ("\n" if torn else "").encode() + line.encode() + b"\n"
                while data:
                    data = data[os.write(handle, data) :]
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise LedgerError(f"{self.path} cannot be written: {error.strerror}") from error

    def _cut(self) -> None:
        """Keep the newest releases and the live one."""
        lines, _whole = _lines(self.path)
        now = live(_fold(lines))
        ids = {*list(dict.fromkeys(str(line["id"]) for line in lines))[-KEPT:], *((now.id, now.origin) if now else ())}
        kept = [json.dumps(line, ensure_ascii=False, sort_keys=True) for line in lines if str(line["id"]) in ids]
        new = self.path.with_name(f"{self.path.name}.new")
        try:
            with new.open("w", encoding="utf-8") as stream:
                stream.write("".join(f"{line}\n" for line in kept))
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(self.path)
        except OSError as error:
            raise LedgerError(f"{new} cannot be written: {error.strerror}") from error


def live(releases: Sequence[Release]) -> Release | None:
    """The release that serves: the newest good one. None before the first."""
    return next((one for one in reversed(releases) if one.result == GOOD), None)


def unfinished(releases: Sequence[Release]) -> Release | None:
    """The newest release when it has begun and not ended. It runs if the project's lock is held; else it broke off."""
    return releases[-1] if releases and not releases[-1].result else None


def way_back(releases: Sequence[Release], wanted: str = "") -> Release:
    """The release that a rollback brings back: the last good one before the live one, or the newest of a version.

    What was rolled back from is no longer good, unless it is asked for by its version or id: two rollbacks in a row go
    back two releases and not to and fro.
    Raises LedgerError with what can be gone back to.
    """
    now = live(releases)
    if now is None:
        raise LedgerError("nothing was released here yet, so there is nothing to go back to")
    known = {one.id: one for one in releases}
    origin = known.get(now.origin, now)
    good = [one for one in releases if one.result == GOOD and not one.target and one.id != origin.id]
    if wanted:
        found = [one for one in good if wanted in (one.version, one.id)]
        if found:
            return found[-1]
        if wanted in (origin.version, origin.id):
            raise LedgerError(f"{wanted} is what is live, since {now.id}")
        bad = [one for one in releases if wanted in (one.version, one.id)]
        why = f"{wanted} was never good here ({bad[-1].result or 'broken off'})" if bad else f"{wanted} was never here"
        names = ", ".join(dict.fromkeys(one.version for one in reversed(good))) or "nothing"
        raise LedgerError(f"{why}; what can be gone back to: {names}")
    left = _left(releases)
    older = [one for one in good if one.begun < origin.begun and one.id not in left]
    if not older:
        raise LedgerError(f"{origin.version} is the first good release here; there is nothing to go back to")
    return older[-1]


def crossed(releases: Sequence[Release], back_to: Release) -> list[Release]:
    """Releases after C(back_to) that left the database as older code cannot use it; a rollback would cross them.

    Their step C(migrated) names such migrations as C(irreversible). A release that failed after it counts as well. What
    a rollback undid by bringing the database back, which its step C(restored) says, does not.
    """
    known = {one.id: one for one in releases}
    undone: set[str] = set()
    for one in releases:
        if one.reached("restored") and one.target in known:
            since = known[one.target].begun
            undone |= {other.id for other in releases if since < other.begun < one.begun}
    later = [one for one in releases if one.begun > back_to.begun and one.id not in undone]
    return [one for one in later if one.data("migrated").get("irreversible")]


def _left(releases: Sequence[Release]) -> set[str]:
    """Ids of the releases that somebody rolled back from: those between a good rollback and what it brought back."""
    known = {one.id: one for one in releases}
    left: set[str] = set()
    for one in releases:
        if one.result == GOOD and one.target in known:
            left |= {other.id for other in releases if known[one.target].begun < other.begun < one.begun}
    return left


def _fold(lines: Sequence[Mapping[str, Any]]) -> list[Release]:
    found: dict[str, Release] = {}
    for line in lines:
        identity, event, at = str(line["id"]), line["event"], float(line["at"])
        if event == "begun":
            words = {name: str(line.get(name, "")) for name in ("kind", "version", "by", "reason", "target")}
            found[identity] = Release(identity, begun=at, steps=(), ended=None, result="", message="", **words)
        elif identity in found and event == "step":
            one = found[identity]
            step = Step(str(line.get("step", "")), at, dict(line.get("data") or {}))
            found[identity] = one._replace(steps=(*one.steps, step))
        elif identity in found and event == "ended" and line.get("result") in RESULTS:
            found[identity] = found[identity]._replace(
                ended=at, result=str(line["result"]), message=str(line.get("message", ""))
            )
    return list(found.values())


def _lines(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The file's lines that can be read, and whether its last line is whole."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], True
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error.strerror}") from error
    lines: list[dict[str, Any]] = []
    for raw in data.split(b"\n"):
        try:
            line = json.loads(raw)
        except ValueError:
            continue
        if isinstance(line, dict) and {"id", "event", "at"} <= line.keys() and _number(line["at"]):
            lines.append(line)
    return lines, not data or data.endswith(b"\n")


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


__all__ = [
    "BROKEN",
    "FAILED",
    "GOOD",
    "RESULTS",
    "RETURNED",
    "Ledger",
    "LedgerError",
    "Release",
    "Step",
    "crossed",
    "live",
    "unfinished",
    "way_back",
]
