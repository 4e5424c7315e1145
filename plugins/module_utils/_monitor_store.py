# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the watch keeps on disk: its configuration, its secrets, its state and its history.

The state is replaced whole, so that a run which is killed leaves the old one or the new one. When the disk is full it
goes to memory (/run) instead, and the younger of the two counts: alerts go on, and nothing is decided twice. What is to
be appended to the history is part of the state first, and looked for in the history before it is appended.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

State = dict[str, Any]

VERSION: Final = 1
BUCKET: Final = 300  # seconds
HISTORY_DAYS: Final = 35
COPY_EVERY: Final = 3600  # seconds between two copies of a good state
JOURNAL_MOST: Final = 2000  # lines that wait for a disk that takes no more
CORRUPT_KEPT: Final = 3
_TAIL: Final = 262144
_HISTORY_NAME: Final = re.compile(r"\d{4}-\d{2}-\d{2}\.jsonl\Z")
# Keys of the configuration that this part reads, and what each must be.
_SHAPE: Final[dict[str, tuple[type, ...]]] = {
    "host": (str,),
    "languages": (list,),
    "interval": (int, float),
    "concurrency": (int,),
    "probes": (list,),
    "policies": (dict,),
    "channels": (dict,),
    "timezone": (str,),
    "own_fault_channels": (list,),
    "mail": (dict,),
    "messages_per_hour": (int,),
    "projects": (dict,),
    "uplink_probe": (str,),
    "textfile": (str,),
    "ping": (dict,),
    "peers": (list,),
    "report": (dict,),
    "run_limit": (int, float),
}
_DEFAULTS: Final[dict[str, Any]] = {
    "languages": ["en"],
    "timezone": "UTC",
    "interval": 60,
    "concurrency": 20,
    "policies": {},
    "channels": {},
    "projects": {},
    "own_fault_channels": [],
    "mail": {},
    "messages_per_hour": 20,
    "uplink_probe": "",
    "textfile": "",
    "ping": {},
    "peers": [],
    "report": {},
}
_CHANNEL_NEEDS: Final = {"mail": "to", "slack": "url", "webhook": "url"}


class StoreError(Exception):
    """Configuration or secrets cannot be used; the message says what, where and what would be right."""


class Paths(NamedTuple):
    """Where things are."""

    config: Path
    state: Path
    run: Path  # in memory, empty after a boot
    log: Path
    locks: Path
    root: Path = Path("/")


class Fault(NamedTuple):
    """Something that is wrong with the watch itself. C(key) tells one from another."""

    key: str
    text: str


class Loaded(NamedTuple):
    """A state, whether it came from the usual place, and what was wrong with it."""

    state: State
    good: bool
    faults: list[Fault]


class Written(NamedTuple):
    """Where the state went: C(disk), C(memory) or C(nowhere), and why not to the disk."""

    where: str
    error: str


def paths(root: str = "/") -> Paths:
    """Return the places below C(root)."""
    top = Path(root)
    return Paths(
        top / "etc/quai/monitor",
        top / "var/lib/quai/monitor",
        top / "run/quai/monitor",
        top / "var/log/quai/monitor",
        top / "run/quai/locks",
        top,
    )


def replace(path: Path, content: bytes, mode: int = 0o600, *, sync: bool = True) -> None:
    """Replace a file whole: its bytes are on disk before its name points to them. Raises OSError."""
    # A leading dot and a foreign ending keep the candidate out of every pattern; its name is fixed, because one run
    # at a time writes, so that what a killed run left is overwritten.
    beside = path.with_name(f".{path.name}.tmp")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(handle, left) :]
            os.fchmod(handle, mode)
            if sync:
                os.fsync(handle)
        finally:
            os.close(handle)
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise
    if sync:
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make sure that names in a directory are on disk."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def dumps(value: Any) -> bytes:
    """JSON as it is stored: compact, UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


# --- configuration ---------------------------------------------------------------------------------------------------


def load_config(where: Paths) -> tuple[dict[str, Any], list[str]]:
    """Return the configuration with defaults filled in, and what is wrong with it and was left out.

    Raises StoreError when nothing can be done with it: the probes that are right go on in spite of a wrong channel.
    """
    path = where.config / "config.json"
    config = _read_map(path, "the role monitoring_cron writes it")
    problems = [
        f"{key} is {_short(config[key])}, not {_kind(kinds)}"
        for key, kinds in _SHAPE.items()
        if key in config and (not isinstance(config[key], kinds) or isinstance(config[key], bool))
    ]
    if not config.get("host"):
        problems.append("host is missing; give the name that messages call this host by")
    if "probes" not in config:
        problems.append("probes is missing; give the list of probes, which may be empty")
    if problems:
        raise StoreError(f"{path}: {'; '.join(problems)}")
    config = {**_DEFAULTS, **config}
    return config, [f"{path}: {problem}" for problem in (*_numbers(config), *_parts(config), *_references(config))]


def _numbers(config: dict[str, Any]) -> Iterator[str]:
    """What is wrong with numbers, which get their defaults then."""
    for key, least in (("interval", 1), ("concurrency", 1), ("messages_per_hour", 1), ("run_limit", 0.1)):
        if key in config and not least <= config[key] < float("inf"):
            yield f"{key} is {_short(config.pop(key))}; it must be {least} or more"
            if key in _DEFAULTS:
                config[key] = _DEFAULTS[key]


def _parts(config: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the parts of lists and maps, which are left out then."""
    yield from _channels(config["channels"])
    yield from _policies(config["policies"])
    for name, project in list(config["projects"].items()):
        right = isinstance(project, dict) and _texts(project.get("locks"))
        if not right or not isinstance(project.get("active_when") or "", str):
            yield f"projects.{name} is no map, or its locks are no list of names, or active_when is no path"
            del config["projects"][name]
    for number, peer in enumerate(list(config["peers"])):
        right = isinstance(peer, dict) and all(isinstance(peer.get(key), str) for key in ("name", "url"))
        if not right or not isinstance(peer.get("max_age") or 0, (int, float)):
            # Not shown, because it may hold a password.
            yield f"peers[{number}] is no map with name, url, and max_age in seconds"
            config["peers"].remove(peer)
    for key in ("languages", "own_fault_channels"):
        if not _texts(config[key]):
            yield f"{key} is {_short(config[key])}, not a list of texts"
            config[key] = _DEFAULTS[key]


def _channels(channels: dict[str, Any]) -> Iterator[str]:
    for name, channel in list(channels.items()):
        kind = channel.get("type") if isinstance(channel, dict) else None
        need = _CHANNEL_NEEDS.get(str(kind))
        if need is None:
            yield f"channels.{name}: type is {_short(kind)}; use one of {', '.join(_CHANNEL_NEEDS)}"
        elif not channel.get(need):
            yield f"channels.{name}: {need} is missing; a channel of type {kind} needs it"
        else:
            continue
        del channels[name]


def _policies(policies: dict[str, Any]) -> Iterator[str]:
    for name, policy in list(policies.items()):
        if not isinstance(policy, dict):
            yield f"policies.{name} is {_short(policy)}, not a map of severities"
            del policies[name]
            continue
        for severity, rule in list(policy.items()):
            if not isinstance(rule, dict) or not all(_texts(rule.get(one)) for one in ("notify", "escalate_to")):
                yield f"policies.{name}.{severity} is {_short(rule)}; it is a map, and lists channels by their names"
                del policy[severity]


def _texts(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def _references(config: dict[str, Any]) -> Iterator[str]:
    channels = config["channels"]
    known = ", ".join(sorted(channels)) or "none"
    for name, policy in config["policies"].items():
        for severity, rule in policy.items():
            for option in ("notify", "escalate_to"):
                for channel in rule.get(option) or ():
                    if channel not in channels:
                        yield f"policies.{name}.{severity}.{option} names the channel {channel!r}; there is {known}"
    for channel in config["own_fault_channels"]:
        if channel not in channels:
            yield f"own_fault_channels names {channel!r}; there is {known}"
    config["own_fault_channels"] = [one for one in config["own_fault_channels"] if one in channels]
    for probe in config["probes"]:
        policy = probe.get("policy") if isinstance(probe, dict) else None
        if policy and str(policy) not in config["policies"]:
            there = ", ".join(sorted(config["policies"])) or "none"
            yield f"probe {probe.get('name')!r}: policy is {policy!r}; there is {there}"


def load_secrets(where: Paths) -> dict[str, str]:
    """Return the secrets by name; none when there is no file. Raises StoreError when others can read the file."""
    path = where.config / "secrets.json"
    try:
        info = path.stat()
    except FileNotFoundError:
        return {}
    mode = stat.S_IMODE(info.st_mode)
    if mode & 0o077:
        raise StoreError(f"{path} has mode {mode:04o}, so that others than root can read it; make it 0600")
    if info.st_uid not in (0, os.geteuid()):
        raise StoreError(f"{path} belongs to user {info.st_uid}, who can change it; make it root's")
    secrets = _read_map(path, "the role monitoring_cron writes it")
    wrong = sorted(name for name, value in secrets.items() if not isinstance(value, str))
    if wrong:
        # Names only: the values are secret.
        raise StoreError(f"{path}: the value of {', '.join(wrong)} is no text; every value must be one")
    return secrets


def _read_map(path: Path, hint: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise StoreError(f"{path} does not exist; {hint}") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        # The text of the decoder's error has a position and no content.
        raise StoreError(f"{path} is not JSON ({error}); {hint}") from None
    if not isinstance(value, dict):
        raise StoreError(f"{path} holds {_kind((type(value),))}, not a map")
    return value


def _kind(kinds: tuple[type, ...]) -> str:
    names = {str: "text", list: "a list", dict: "a map", int: "a whole number", float: "a number"}
    return names.get(kinds[-1], kinds[-1].__name__)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"


# --- state -----------------------------------------------------------------------------------------------------------


def new_state() -> State:
    """State of a watch that has not run yet."""
    return {
        "version": VERSION,
        "run": {"at": 0, "duration": 0.0, "probes": 0, "overruns": 0, "serial": 0},
        "probes": {},
        "memory": {},
        "maintenance": [],
        "guards": {},
        "bucket": {"t": 0, "p": {}},
        "outgoing": [],
        "journal": [],
        "faults": {},
    }


def _complete(value: Any) -> State:
    """Check a state that was read and fill in what is missing. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError("it is no map")
    if value.get("version") != VERSION:
        raise ValueError(f"its version is {_short(value.get('version'))}, and this program writes {VERSION}")
    empty = new_state()
    for key, example in empty.items():
        if not isinstance(value.get(key, example), type(example)):
            raise ValueError(f"{key} is {_short(value[key])}")
    state = {**empty, **value}
    state["run"] = {**empty["run"], **state["run"]}
    return state


def _read_state(path: Path) -> State | None:
    """State in a file; None when there is no file. Raises ValueError when it is damaged, OSError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return _complete(json.loads(content))


def read_state(where: Paths) -> State:
    """Return the state as it is, for those who only look. A damaged one is as good as none."""
    found = []
    for path in (where.state / "state.json", where.run / "state.json"):
        with suppress(ValueError, OSError):
            found.append(_read_state(path))
    known = [state for state in found if state is not None]
    return max(known, key=lambda state: float(state["run"]["serial"])) if known else new_state()


def load_state(where: Paths, now: float) -> Loaded:
    """Return the state to go on from. A damaged file is kept aside, and the last good copy is used."""
    path = where.state / "state.json"
    faults: list[Fault] = []
    state: State | None = None
    good = False
    try:
        state = _read_state(path)
        good = state is not None
    except OSError as error:
        faults.append(Fault("state_unreadable", f"{path} cannot be read: {error.strerror}"))
    except ValueError as error:
        kept = _aside(path, now)
        copy = path.with_name("state.json.1")
        with suppress(ValueError, OSError):
            state = _read_state(copy)
        if state is None:
            went = "the watch starts anew: what was firing is told again"
        else:
            age = max(0.0, now - float(state["run"]["at"]))
            went = f"the copy of {age / 60:.0f} min ago is used"
        faults.append(Fault("state_damaged", f"{path} is damaged ({error}); it was kept as {kept}, and {went}"))
    spilled: State | None = None
    with suppress(ValueError, OSError):
        spilled = _read_state(where.run / "state.json")
    if spilled is not None and (state is None or spilled["run"]["serial"] > state["run"]["serial"]):
        state, good = spilled, False
    return Loaded(new_state() if state is None else state, good, faults)


def _aside(path: Path, now: float) -> str:
    kept = path.with_name(f"{path.name}.corrupt-{stamp(now)}")
    try:
        path.replace(kept)
        older = sorted(path.parent.glob(f"{path.name}.corrupt-*"), key=lambda one: one.stat().st_mtime)
        for one in older[:-CORRUPT_KEPT]:
            one.unlink()
    except OSError as error:
        return f"itself ({error.strerror})"
    return kept.name


def stamp(now: float) -> str:
    """Time for names of files: UTC."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))


def write_state(where: Paths, state: State, now: float, *, copy: bool) -> Written:
    """Write the state, to the disk or else to memory. C(copy): the file that is there now is good.

    Never raises because of a disk: what could be done is returned.
    """
    path = where.state / "state.json"
    spill = where.run / "state.json"
    run = state["run"]
    run["serial"] = int(run.get("serial", 0)) + 1
    since = now - float(run.get("copied", 0))
    try:
        where.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if copy and (since >= COPY_EVERY or since < 0):
            beside = path.with_name(".state.json.1.tmp")
            beside.unlink(missing_ok=True)
            os.link(path, beside)  # another name for the old content: no bytes are needed for it
            beside.replace(path.with_name("state.json.1"))
            run["copied"] = now
        replace(path, dumps(state))
    except OSError as error:
        said = f"{path} cannot be written: {error.strerror}"
        try:
            where.run.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(spill, dumps(state), sync=False)
        except OSError as other:
            return Written("nowhere", f"{said}; {spill} neither: {other.strerror}")
        return Written("memory", said)
    with suppress(OSError):
        spill.unlink(missing_ok=True)
    return Written("disk", "")


# --- history ---------------------------------------------------------------------------------------------------------


def note(state: State, entries: Iterable[Mapping[str, Any]]) -> None:
    """Put lines for the history into the state; C(flush) appends them once the state is written."""
    journal = state["journal"]
    journal += [dumps(entry).decode() for entry in entries]
    del journal[:-JOURNAL_MOST]


def flush(where: Paths, lines: Sequence[str]) -> str:
    """Append lines to the history of their days, each once. Returns what went wrong, or nothing."""
    by_day: dict[str, list[str]] = {}
    for line in lines:
        t = float(json.loads(line)["t"])
        by_day.setdefault(time.strftime("%Y-%m-%d", time.gmtime(t)), []).append(line)
    directory = where.state / "history"
    try:
        if by_day:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for day, some in by_day.items():
            new = _append(directory / f"{day}.jsonl", some)
            if new:
                _retain(directory)
    except OSError as error:
        return f"{directory} cannot be written: {error.strerror}"
    return ""


def _append(path: Path, lines: Sequence[str]) -> bool:
    """Append the lines that the end of the file does not have yet. Returns whether the file is new."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(handle).st_size
        tail = os.pread(handle, _TAIL, max(0, size - _TAIL))
        there = set(tail.split(b"\n"))
        content = b"".join(line + b"\n" for line in (one.encode() for one in lines) if line not in there)
        if content and tail and not tail.endswith(b"\n"):
            content = b"\n" + content  # a torn line stays one line, and is left out by readers
        left = memoryview(content)
        while left:
            left = left[os.write(handle, left) :]
        if content:
            os.fsync(handle)
    finally:
        os.close(handle)
    return size == 0


def _retain(directory: Path) -> None:
    # By number, not by age: a clock that was wrong for a minute must not empty the history.
    days = sorted(path for path in directory.iterdir() if _HISTORY_NAME.match(path.name))
    for path in days[:-HISTORY_DAYS]:
        path.unlink()


def history(where: Paths, days: int = HISTORY_DAYS) -> list[dict[str, Any]]:
    """Return the lines of the last C(days) files, oldest first. Torn lines are left out."""
    lines: list[dict[str, Any]] = []
    try:
        files = sorted(path for path in (where.state / "history").iterdir() if _HISTORY_NAME.match(path.name))
    except FileNotFoundError:
        return lines
    for path in files[-days:]:
        for line in path.read_bytes().split(b"\n"):
            if line:
                with suppress(ValueError):
                    entry = json.loads(line)
                    if isinstance(entry, dict):
                        lines.append(entry)
    return lines


def count(state: State, results: Sequence[Mapping[str, Any]], now: float) -> None:
    """Add results to the bucket of five minutes; one that is over becomes a line of the history."""
    start = int(now // BUCKET) * BUCKET
    bucket = state["bucket"]
    if bucket["t"] != start:
        if bucket["p"]:
            note(state, [{"t": bucket["t"], "k": "bucket", "p": bucket["p"]}])
        bucket = state["bucket"] = {"t": start, "p": {}}
    for result in results:
        level = LEVELS.get(result["status"])
        if level is None:
            continue  # waiting: nothing is known, so nothing is counted
        entry = bucket["p"].setdefault(result["name"], [0, 0, 0, [], None])
        entry[0] = max(entry[0], level)
        entry[1] += 1
        entry[2] += level > 0
        latency = result.get("latency_ms")
        if latency is not None:
            entry[3].append(round(latency, 1))
        value = result.get("value")
        entry[4] = round(value, 3) if isinstance(value, float) else value


LEVELS: Final = {"ok": 0, "degraded": 1, "warning": 1, "critical": 2, "unknown": 3}


# --- runs that found another one at work -----------------------------------------------------------------------------


def overrun(where: Paths) -> None:
    """Count a run that could not start because the one before still ran. A full disk loses it."""
    with suppress(OSError):
        where.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(where.state / "overruns", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, b".")
        finally:
            os.close(handle)


def overruns(where: Paths) -> int:
    """Return how many were counted, ever."""
    try:
        return (where.state / "overruns").stat().st_size
    except OSError:
        return 0


__all__ = [
    "BUCKET",
    "HISTORY_DAYS",
    "LEVELS",
    "Fault",
    "Loaded",
    "Paths",
    "State",
    "StoreError",
    "Written",
    "count",
    "dumps",
    "flush",
    "history",
    "load_config",
    "load_secrets",
    "load_state",
    "new_state",
    "note",
    "overrun",
    "overruns",
    "paths",
    "read_state",
    "replace",
    "stamp",
    "sync_directory",
    "write_state",
]
