# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines that were added to files, to a container's output or to a unit's journal, each seen once.

A file is known by device, inode and two digests: of its first bytes and of those before the place up to which it was
read. So what follows is noticed, and nothing is counted twice or lost:

- renamed by a rotation: the rest is read from where the inode is now, as long as it is there;
- copied and truncated: it is shorter, or other bytes are where the last ones were; the rest is read from the copy;
- rotated and compressed at once: the rest is read from the compressed file;
- removed, and its inode given to another file: the digests differ.

A first run begins at the end of each file: what was written before is not counted. A last line without its end waits.
"""

from __future__ import annotations

import os
import re
from binascii import crc32
from collections.abc import Iterator, Sequence
from typing import Any, Callable, Final, NamedTuple, Optional

from ansible_collections.quai.ops.plugins.module_utils._probe_base import (
    Context,
    Memory,
    OwnFault,
    ProbeFailed,
    Spec,
    shorten,
)

# Longer lines are cut, so that no expression can take for ever on one.
LINE: Final = 65536
SAMPLES: Final = 3
SAMPLE: Final = 200
_CHUNK: Final = 262144
# Bytes that each of the two digests covers.
_DIGEST: Final = 256
_PAGE: Final = 4096
_COMPRESSED: Final = (".gz", ".bz2", ".xz", ".zst", ".Z", ".zip", ".lz4")
# A rotated file that nobody wrote to for so long is done with.
_QUIET: Final = 3600
_HOUR: Final = 3600
# Share of the time of the check after which the next run goes on.
_SHARE: Final = 0.7
_MOST_FILES: Final = 1000

# Takes a line and, where the source knows it, its time.
Sink = Callable[[str, Optional[float]], None]


class Matcher:
    """Which lines count, what was seen of them, and how many more bytes may be read in this run."""

    def __init__(self, match: str, ignore: str, context: Context, budget: int) -> None:
        self._match = _expression("match", match)
        self._ignore = _expression("ignore", ignore) if ignore else None
        self._context = context
        self._left = context.remaining()
        # Less than a line would never come to its end.
        self.budget = max(budget, 2 * LINE)
        self.new = 0
        self.scanned = 0
        self.samples: list[str] = []
        self.last: float | None = None

    def line(self, text: str, at: float | None = None) -> None:
        """Take a whole line. C(at): when it was written, seconds since 1970, if that is known."""
        self.scanned += 1
        text = text[:LINE]
        if self._match.search(text) is None or (self._ignore and self._ignore.search(text)):
            return
        self.new += 1
        self.last = max(self.last or 0.0, self._context.now if at is None else at)
        if len(self.samples) < SAMPLES:
            self.samples.append(shorten(text.strip(), SAMPLE))

    @property
    def full(self) -> bool:
        """Whether this run has read enough: of bytes, or for its time."""
        return self.budget <= 0 or self._context.remaining() < self._left * (1 - _SHARE)


def _expression(option: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise OwnFault(f"{option} is {text!r}, which is no regular expression: {error}") from None


class _File(NamedTuple):
    """A file that is there now."""

    path: str
    key: str
    size: int
    mtime: float


def _look(path: str) -> _File | None:
    """A regular file; None for anything else, and for one that is gone."""
    import stat

    try:
        seen = os.stat(path)  # noqa: PTH116
    except OSError as error:
        if isinstance(error, PermissionError):
            raise OwnFault(f"{path} may not be read by this user; run as root, or let it read the file") from None
        return None
    if not stat.S_ISREG(seen.st_mode):
        return None
    return _File(path, f"{seen.st_dev}:{seen.st_ino}", seen.st_size, seen.st_mtime)


def expand(pattern: str) -> list[str]:
    """Paths that a pattern with C(*) and C(?) means, sorted; the path itself when it has neither and is there."""
    if "*" not in pattern and "?" not in pattern:
        return [pattern] if os.path.lexists(pattern) else []
    import fnmatch

    found = [""]
    for step in pattern.split("/")[1:]:
        wild = re.compile(fnmatch.translate(step.replace("[", "[[]"))) if "*" in step or "?" in step else None
        following = []
        for base in found:
            if wild is None:
                following.append(f"{base}/{step}")
                continue
            try:
                names = sorted(entry.name for entry in os.scandir(base or "/"))
            except PermissionError:
                raise OwnFault(f"the directory {base or '/'} may not be read by this user; run as root") from None
            except OSError:
                continue
            following += [
                f"{base}/{name}" for name in names if wild.match(name) and not (name[0] == "." and step[0] != ".")
            ]
        found = following
    return [path for path in found if os.path.lexists(path)]


def check(spec: Spec, context: Context) -> None:
    """Count new lines that match. Fields: see the table of types."""
    matcher = Matcher(spec["match"], spec["ignore"], context, int(spec["max_bytes"]))
    memory, found = context.memory, context.found
    first = "total" not in memory
    try:
        files = follow(spec, context, matcher)
    finally:
        # What was read is read: it must be counted now, also when the rest could not be.
        _count(memory, matcher, context.now)
        found.fields.update(
            new=matcher.new,
            per_hour=sum(number for _minute, number in memory["minutes"]),
            total=memory["total"],
            scanned=matcher.scanned,
            age_s=None if memory["last"] is None else max(0.0, context.now - memory["last"]),
        )
        if matcher.samples:
            found.details["samples"] = matcher.samples
    found.fields["files"] = files
    if first:
        found.details["first_run"] = True
        found.message = "watched from now on; what was there before is not counted"
    else:
        found.message = f"{matcher.new} new, {found.fields['per_hour']} in the last hour, {matcher.scanned} lines read"


def _count(memory: Memory, matcher: Matcher, now: float) -> None:
    minute = int(now // 60)
    minutes = [one for one in memory.get("minutes", []) if minute - 60 < one[0] <= minute]
    if matcher.new:
        if minutes and minutes[-1][0] == minute:
            minutes[-1][1] += matcher.new
        else:
            minutes.append([minute, matcher.new])
    memory["minutes"] = minutes
    memory["total"] = memory.get("total", 0) + matcher.new
    memory.setdefault("last", None)
    if matcher.last is not None:
        memory["last"] = max(memory["last"] or 0.0, min(matcher.last, now))


def follow(spec: Spec, context: Context, matcher: Matcher, *, back: float = 0.0) -> int:
    """Give all lines that are new to the matcher; returns the number of files, or 1 for a container or unit.

    C(back): in a first run, also look at what is there already: so many seconds of a container's output, so many
    megabytes of a file.
    """
    path = spec.get("path") or spec.get("log")
    if path:
        return _follow_files(path, context, matcher, back=back)
    if spec["container"]:
        return _follow_container(spec["container"], context, matcher, back)
    return _follow_unit(spec["unit"], context, matcher)


# Files


def _follow_files(pattern: str, context: Context, matcher: Matcher, *, back: float) -> int:
    memory = context.memory
    first = "files" not in memory
    known: dict[str, dict[str, Any]] = memory.setdefault("files", {})
    paths = [path for path in expand(pattern) if not path.endswith(_COMPRESSED)]
    if len(paths) > _MOST_FILES:
        raise OwnFault(f"{pattern} means {len(paths)} files, more than {_MOST_FILES}; narrow it")
    there = {one.key: one for one in map(_look, paths) if one is not None}
    lost = backlog = 0
    # Other bytes in a known file: it was truncated after a copy was made, or its inode was given to another file.
    for one in [one for key, one in there.items() if key in known and not _same(known[key], one)]:
        lost += not _hand_over(known, one, matcher)
        known[one.key] = _start(one.path)
    fresh = [one for key, one in there.items() if key not in known]
    copies = {one.key for one in fresh if _is_copy(one, known)}
    # What was rotated comes first, since its lines are older.
    for key in [key for key in known if key not in there]:
        lost += not _follow_rotated(known, key, context, matcher)
    for one in fresh:
        known[one.key] = _start(one.path)
        if one.key in copies:
            _skip_to_end(known[one.key], one, waiting=False)
        elif first:
            if back:
                _look_back(one, matcher, int(back * 1e6))
            _skip_to_end(known[one.key], one)
    for key in sorted(there, key=lambda key: (there[key].mtime, key)):
        known[key]["path"] = there[key].path
        _read_on(known[key], there[key].path, matcher)
        backlog += max(0, there[key].size - known[key]["offset"]) if matcher.full else 0
    if backlog:
        context.found.details["backlog_bytes"] = backlog
    if lost:
        context.found.details["rotated_not_found"] = lost
    return len(there)


def _start(path: str) -> dict[str, Any]:
    """What is remembered of a file of which nothing was read."""
    return {"path": path, "offset": 0, "head": [0, 0], "tail": [0, 0], "mtime": 0, "cut": False}


def _digest(handle: int, start: int, size: int) -> list[int]:
    """Length and digest of some bytes."""
    content = os.pread(handle, size, start)
    return [len(content), crc32(content)]


def _same(entry: dict[str, Any], one: _File) -> bool:
    """Whether a file still holds what was read of it."""
    if one.size < entry["offset"]:
        return False
    handle = _open(one.path)
    if handle is None:
        return True  # removed since; the next run looks for it elsewhere
    try:
        return _matches(entry, lambda start, size: os.pread(handle, size, start))
    finally:
        os.close(handle)


def _matches(entry: dict[str, Any], piece: Callable[[int, int], bytes]) -> bool:
    """Whether the bytes before the place that was read up to, and the first ones, are those that were read."""
    size, digest = entry["head"]
    if crc32(piece(0, size)) != digest:
        return False
    size, digest = entry["tail"]
    return bool(crc32(piece(entry["offset"] - size, size)) == digest)


def _open(path: str) -> int | None:
    """A file to read; None when it is gone. Raises OwnFault when it may not be read."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OwnFault(f"{path} cannot be read: {error.strerror}; run as root, or let this user read it") from None


def _remember(entry: dict[str, Any], handle: int) -> None:
    """Keep what goes with the offset: digests, and when the file was last written."""
    offset = entry["offset"]
    entry["mtime"] = os.fstat(handle).st_mtime
    if entry["head"][0] < _DIGEST:
        entry["head"] = _digest(handle, 0, min(_DIGEST, offset))
    size = min(_DIGEST, offset)
    entry["tail"] = _digest(handle, offset - size, size)


def _skip_to_end(entry: dict[str, Any], one: _File, *, waiting: bool = True) -> None:
    """Begin after the last whole line; C(waiting) false: after everything."""
    handle = _open(one.path)
    if handle is None:
        return
    try:
        size = os.fstat(handle).st_size
        begin = max(0, size - LINE)
        whole = os.pread(handle, size - begin, begin).rfind(b"\n") + 1 if waiting else size - begin
        # A last line that is longer than any is cut here already.
        entry["offset"] = begin + whole
        entry["cut"] = waiting and whole == 0 and begin > 0
        if entry["cut"]:
            entry["offset"] = size
        _remember(entry, handle)
    finally:
        os.close(handle)


def _look_back(one: _File, matcher: Matcher, most: int) -> None:
    """Look at the end of a file for a first time; its lines are no younger than the file's last change."""
    handle = _open(one.path)
    if handle is None:
        return
    try:
        begin = max(0, one.size - most)
        lines = os.pread(handle, one.size - begin, begin).decode("utf-8", "replace").split("\n")
    finally:
        os.close(handle)
    for line in lines[1 if begin else 0 : -1]:
        matcher.line(line, one.mtime)


def _read_on(entry: dict[str, Any], path: str, matcher: Matcher, *, to_the_end: bool = False) -> None:
    """Read the whole lines that follow, as many as this run may. C(to_the_end): a last line without its end as well."""
    handle = _open(path)
    if handle is None:
        return
    try:
        seen = os.fstat(handle)
        if seen.st_size == entry["offset"]:
            entry["mtime"] = seen.st_mtime
            return
        try:
            _lines(
                entry,
                lambda start, size: os.pread(handle, size, start),
                matcher,
                seen.st_mtime,
                to_the_end=to_the_end,
            )
        finally:
            # Also when the time is over: an offset without its digests would look like another file.
            _remember(entry, handle)
    finally:
        os.close(handle)


def _lines(
    entry: dict[str, Any],
    piece: Callable[[int, int], bytes],
    matcher: Matcher,
    changed: float,
    *,
    to_the_end: bool = False,
) -> None:
    """Take lines from C(piece(start, size)) and move the offset behind each whole one.

    C(changed): the last change of the file. No line is younger, however late it is read.
    """
    while not matcher.full:
        chunk = piece(entry["offset"], _CHUNK)
        if not chunk:
            return
        whole = chunk.rfind(b"\n") + 1
        if whole == 0:
            if len(chunk) < LINE and not to_the_end:
                return
            # A line without end in sight: what is there is taken, cut, and the rest of it is skipped.
            if not entry["cut"]:
                matcher.line(chunk.decode("utf-8", "replace").rstrip("\r"), changed)
            entry["cut"] = True
            entry["offset"] += len(chunk)
            matcher.budget -= len(chunk)
            continue
        lines = chunk[: whole - 1].decode("utf-8", "replace").split("\n")
        for line in lines[1:] if entry["cut"] else lines:
            matcher.line(line, changed)
        entry["cut"] = False
        entry["offset"] += whole
        matcher.budget -= whole


def _siblings(path: str) -> Iterator[str]:
    """Files beside a file, the likeliest rotations of it first."""
    directory, _slash, name = path.rpartition("/")
    try:
        names = [entry.name for entry in os.scandir(directory or "/")]
    except OSError:
        return
    stem = name.partition(".")[0]
    likely = sorted(one for one in names if one != name and one.startswith(stem))
    yield from (f"{directory}/{one}" for one in likely)
    yield from (f"{directory}/{one}" for one in sorted(names) if one != name and not one.startswith(stem))


def _follow_rotated(known: dict[str, dict[str, Any]], key: str, context: Context, matcher: Matcher) -> bool:
    """Read the rest of a file that no longer has its name. Returns whether it was found.

    It is kept in mind while it is there, because its program goes on writing to it until it is told.
    """
    entry = known[key]
    for path in (entry["path"], *_siblings(entry["path"])):
        one = None if path.endswith(_COMPRESSED) else _look_or_none(path)
        if one is not None and one.key == key and _same(entry, one):
            quiet = context.now - one.mtime > _QUIET
            _read_on(entry, path, matcher, to_the_end=quiet)
            if quiet and entry["offset"] >= one.size:
                del known[key]
            return True
    if matcher.full:
        return True  # the next run looks for it
    del known[key]
    return _rest_of_compressed(entry, matcher) or entry["offset"] == 0


def _look_or_none(path: str) -> _File | None:
    """As C(_look), for files that nobody asked for."""
    try:
        return _look(path)
    except OwnFault:
        return None


def _is_copy(one: _File, known: dict[str, dict[str, Any]]) -> bool:
    """Whether a new file is a copy of a known one that has not been truncated (yet).

    Two short logs may begin alike, as those of a job that says the same each day, so less than a page is no proof.
    """
    return any(
        _PAGE <= entry["offset"] <= one.size and entry["path"] != one.path and _same(entry, one)
        for entry in known.values()
    )


def _hand_over(known: dict[str, dict[str, Any]], one: _File, matcher: Matcher) -> bool:
    """Let the copy of a truncated file be read on in its place. Returns whether what follows there was found."""
    entry = known[one.key]
    if entry["offset"] == 0:
        return True
    for path in _siblings(one.path):
        copy = None if path.endswith(_COMPRESSED) else _look_or_none(path)
        # One that was last written before the last run has nothing new, however much alike it is.
        if copy is not None and copy.mtime >= entry["mtime"] and _same(entry, copy):
            if copy.key not in known:
                known[copy.key] = {**entry, "path": path}
            return True
    return _rest_of_compressed(entry, matcher)


def _rest_of_compressed(entry: dict[str, Any], matcher: Matcher) -> bool:
    """Read the rest of a file that was compressed since the last run. Returns whether it was found."""
    for path in _siblings(entry["path"]):
        if not path.endswith((".gz", ".bz2", ".xz")) or path.rpartition("/")[2][0] == ".":
            continue
        packed = _look_or_none(path)
        # It has the time of what it was made from, perhaps without the fraction. One that was empty has no digests,
        # so its name and a time after the last run must do.
        if packed is None or packed.mtime < int(entry["mtime"]):
            continue
        if entry["offset"] == 0 and not (path.startswith(entry["path"]) and packed.mtime > entry["mtime"]):
            continue
        try:
            with _unpacked(path) as stream:

                def piece(start: int, size: int, stream: Any = stream) -> bytes:
                    stream.seek(start)
                    return bytes(stream.read(size))

                # The beginning is compared first, so that the many that it is not cost little.
                if _matches(entry, piece):
                    _lines(dict(entry), piece, matcher, packed.mtime, to_the_end=True)
                    return True
        except (OSError, EOFError, ValueError):
            continue  # another file, or one that is being written
    return False


def _unpacked(path: str) -> Any:
    """A compressed file, to be read as what it was."""
    if path.endswith(".gz"):
        import gzip

        return gzip.open(path)
    if path.endswith(".bz2"):
        import bz2

        return bz2.open(path)
    import lzma

    return lzma.open(path)


# Containers and units


def _follow_container(name: str, context: Context, matcher: Matcher, back: float) -> int:
    """The engine puts a time before each line, so the time of the last one is the place to go on from."""
    from ansible_collections.quai.ops.plugins.module_utils import _probe_docker as docker

    memory = context.memory
    engine = docker.engine(context)
    try:
        found = engine.container(name)
    except ProbeFailed as error:
        if error.reason != "missing":
            raise
        memory["engine"] = True
        memory.setdefault("since", [int(context.now), 0])
        return 0
    memory["engine"] = True
    if "since" not in memory:
        memory["since"] = [int(context.now - back), 0 if back else int(context.now % 1 * 1e9)]
    seconds, nanoseconds = memory["since"]
    query = f"stdout=1&stderr=1&timestamps=1&since={seconds}.{nanoseconds:09d}"
    status, body, whole = engine.request("GET", f"/containers/{found['Id']}/logs?{query}", most=matcher.budget)
    if status >= 300:
        said = shorten(body.decode("utf-8", "replace").strip(), 200)
        raise OwnFault(f"the engine cannot read the log of container {name} ({status}): {said}")
    text = b"".join(part for _kind, part in docker.frames(body, raw=docker.is_tty(found)))
    lines = text.split(b"\n")
    # Of what was cut, the last line is not whole.
    for line in lines[:-1] if not whole else [line for line in lines if line]:
        stamp, _space, rest = line.partition(b" ")
        at = docker.parse_time(stamp.decode("ascii", "replace"))
        if at is None:
            continue
        matcher.line(rest.decode("utf-8", "replace").rstrip("\r"), at)
        # What comes next was written later than the last one. A float cannot tell so exactly.
        second = int(docker.parse_time(stamp[:19].decode()) or 0)
        nanosecond = int((stamp[20:].rstrip(b"Z") + b"0" * 9)[:9])
        seconds, nanoseconds = max((seconds, nanoseconds), _next_nanosecond(second, nanosecond))
    memory["since"] = [seconds, nanoseconds]
    if not whole:
        context.found.details["backlog_bytes"] = "more"
    return 1


def _next_nanosecond(seconds: int, nanosecond: int) -> tuple[int, int]:
    return (seconds, nanosecond + 1) if nanosecond < 999_999_999 else (seconds + 1, 0)


def _follow_unit(unit: str, context: Context, matcher: Matcher) -> int:
    """The journal has a cursor for each entry, so that of the last one is the place to go on from."""
    import json

    from ansible_collections.quai.ops.plugins.module_utils import _probe_units as units

    memory = context.memory
    name = unit if "." in unit else f"{unit}.service"
    command = ["journalctl", "--no-pager", "-q", "-o", "json", "--output-fields=MESSAGE", "-u", name]
    first = "cursor" not in memory
    if first:
        command += ["-n", "1"]
    elif memory["cursor"]:
        command += [f"--after-cursor={memory['cursor']}"]
    else:
        command += [f"--since=@{memory['from']}"]
    done = units.run(context, command, environment={"LC_ALL": "C"}, most=matcher.budget, cut=True)
    if done.code:
        said = shorten(done.err.decode("utf-8", "replace").strip(), 200)
        raise OwnFault(f"the journal of {name} cannot be read (exit code {done.code}): {said}")
    if first:
        memory["cursor"], memory["from"] = "", int(context.now)
    for line in done.out.split(b"\n")[:-1]:
        _take_entry(json.loads(line), memory, None if first else matcher)
    if len(done.out) >= matcher.budget:
        context.found.details["backlog_bytes"] = "more"
    # A unit with a wrong name, or one that was removed, would be quiet, and look good, for ever.
    return 1 if matcher.scanned else int(units.is_known(context, name))


def _take_entry(entry: dict[str, Any], memory: Memory, matcher: Matcher | None) -> None:
    memory["cursor"] = str(entry.get("__CURSOR", memory["cursor"]))
    if matcher is not None:
        at = int(entry.get("__REALTIME_TIMESTAMP", 0)) / 1e6
        for line in _message(entry.get("MESSAGE")).split("\n"):
            matcher.line(line, at or None)


def _message(value: Any) -> str:
    """A journal's message, which is a list of numbers when it is no text."""
    if isinstance(value, list):
        parts: Sequence[Any] = value
        if all(isinstance(part, int) for part in parts):
            return bytes(parts).decode("utf-8", "replace")
        return "\n".join(str(part) for part in parts)
    return str(value or "")


__all__ = ["LINE", "Matcher", "check", "expand", "follow"]
