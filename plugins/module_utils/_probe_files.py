# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of what files tell: backups, proofs that a restore works, signs of life, and how much room things take."""

from __future__ import annotations

import os
import re
import stat
from typing import Any, Final

from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed, Spec
from ansible_collections.quai.ops.plugins.module_utils._probe_log import Matcher, expand, follow

# A file from further in the future says nothing: either its clock or this one is wrong.
FUTURE: Final = 300
# What a first look at a log for a sign of life goes back.
_BACK_MEGABYTES: Final = 1.0
_SIGN = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC")


def words(seconds: float) -> str:
    """A duration in a few words: C(31 h), C(4 min)."""
    for size, unit in ((2 * 86400, "days"), (2 * 3600, "h"), (120, "min")):
        if seconds >= size:
            return f"{seconds / {'days': 86400, 'h': 3600, 'min': 60}[unit]:.0f} {unit}"
    return f"{seconds:.0f} s"


def _look(path: str) -> os.stat_result | None:
    """What a path leads to; None when it is not there. Raises OwnFault when it may not be looked at."""
    try:
        return os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OwnFault(f"{path} cannot be looked at: {error.strerror}; run as root") from None


def _age(context: Context, what: str, at: float, reason: str) -> float:
    """Age of something, filled in as C(age_s). Raises ProbeFailed for a time that cannot be."""
    ahead = at - context.now
    if ahead > FUTURE:
        raise ProbeFailed(reason, f"{what} is {words(ahead)} in the future, so its age is unknown; was a clock wrong?")
    context.found.fields["age_s"] = age = max(0.0, -ahead)
    return age


def _refuse_old(context: Context, what: str, age: float, most: float, reason: str) -> None:
    context.found.message = f"{what}: {words(age)} ago"
    if age > most:
        raise ProbeFailed(reason, f"{what}: {words(age)} ago, more than {words(most)}")


def check_backup(spec: Spec, context: Context) -> None:
    """Look at the newest backup. Fields: see the table of types."""
    fields = context.found.fields
    fields.update(age_s=None, bytes=None, change_pct=None, shrunk=None, count=None)
    sentinel = _look(spec["success_file"]) if spec["success_file"] else None
    age: float | None = None
    files: list[tuple[float, int, str]] = []
    if spec["glob"]:
        for path in expand(spec["glob"]):
            seen = _look(path)
            if seen is not None and stat.S_ISREG(seen.st_mode):
                files.append((seen.st_mtime, seen.st_size, path))
        files.sort()
        fields["count"] = len(files)
    if spec["success_file"]:
        if sentinel is None:
            raise ProbeFailed("missing", f"no backup ever succeeded: there is no {spec['success_file']}")
        age = _age(context, spec["success_file"], sentinel.st_mtime, "stale")
    if spec["glob"]:
        if not files:
            fields["age_s"] = None
            raise ProbeFailed("missing", f"there is no backup: no file is {spec['glob']}")
        modified, size, newest = files[-1]
        _compare(spec, context, files)
        if age is None:
            age = _age(context, newest, modified, "stale")
        if size == 0:
            raise ProbeFailed("empty", f"the newest backup, {newest}, is empty")
        if size < spec["min_bytes"]:
            raise ProbeFailed("size", f"the newest backup, {newest}, has {size} bytes, less than {spec['min_bytes']}")
    if age is not None:  # the specification names one of the two
        _refuse_old(context, "the last backup", age, spec["max_age"], "stale")


def _compare(spec: Spec, context: Context, files: list[tuple[float, int, str]]) -> None:
    size = files[-1][1]
    context.found.fields["bytes"] = size
    context.found.details["newest"] = files[-1][2]
    if len(files) > 1 and files[-2][1] > 0:
        change = 100.0 * (size - files[-2][1]) / files[-2][1]
        context.found.fields.update(change_pct=round(change, 1), shrunk=-change > spec["shrink_warn_pct"])


def check_drill(spec: Spec, context: Context) -> None:
    """Look at when a restore was last proved. Fields: see the table of types."""
    context.found.fields["age_s"] = None
    seen = _look(spec["success_file"])
    if seen is None:
        raise ProbeFailed("missing", f"no restore was ever proved: there is no {spec['success_file']}")
    age = _age(context, spec["success_file"], seen.st_mtime, "stale")
    _refuse_old(context, "the last proved restore", age, spec["max_age"], "stale")


def check_heartbeat(spec: Spec, context: Context) -> None:
    """Look for a sign of life. Fields: see the table of types."""
    context.found.fields["age_s"] = None
    if spec["file"]:
        what = f"{spec['file']} was touched"
        seen = _look(spec["file"])
        if seen is None:
            raise ProbeFailed("missing", f"there never was a sign of life: there is no {spec['file']}")
        at = seen.st_mtime
    elif spec["unit"] and not spec["log"] and not spec["container"]:
        what = f"{spec['unit']} last ended well"
        at = _last_success(spec["unit"], context)
    else:
        source = spec["log"] or f"the output of container {spec['container']}"
        what = f"the last line in {source}"
        at = _last_line(spec, context, source)
    age = _age(context, what.partition(" ")[0] if spec["file"] else what, at, "heartbeat")
    _refuse_old(context, what, age, spec["max_age"], "heartbeat")


def _last_line(spec: Spec, context: Context, source: str) -> float:
    """When the last line that is a sign was seen."""
    matcher = Matcher(spec["match"] or "", "", context, 16 * 1024 * 1024)
    memory = context.memory
    # A first look goes back, or what works well would be without a sign until the next one.
    back = _BACK_MEGABYTES if spec["log"] else float(spec["max_age"]) + 60
    files = follow({**spec, "unit": ""}, context, matcher, back=back)
    last: float | None = memory.setdefault("last", None)
    if matcher.last is not None:
        # A last line is seen when it is read; that of a clock that was ahead counts as of now.
        last = memory["last"] = max(last or 0.0, min(matcher.last, context.now))
    if not files:
        if spec["container"]:
            raise ProbeFailed("missing", f"there is no container {spec['container']}")
        raise ProbeFailed("missing", f"there is no file {spec['log']}")
    if last is None:
        looked = f" that is {spec['match']!r}" if spec["match"] else ""
        raise ProbeFailed("missing", f"there never was a sign of life: {source} has no line{looked}")
    return last


def _last_success(unit: str, context: Context) -> float:
    """When a service last ended with success, as far as systemd or this watch knows."""
    from ansible_collections.quai.ops.plugins.module_utils import _probe_units as units

    name = unit if "." in unit else f"{unit}.service"
    if name.endswith(".timer"):
        name = f"{name[:-6]}.service"
    wanted = ("LoadState", "ActiveState", "Result", "ExecMainExitTimestamp")
    values = units.show(context, name, wanted)
    ended = _SIGN.search(values.get("ExecMainExitTimestamp", ""))
    last: Any = context.memory.get("success")
    result = values.get("Result", "")
    if ended is not None and result == "success":
        from ansible_collections.quai.ops.plugins.module_utils._probe_docker import parse_time

        at = parse_time(ended.group(1))
        last = context.memory["success"] = at if last is None or at is None else max(at, last)
    if result not in ("success", ""):
        context.found.details["result"] = result
        context.found.log += units.journal(context, name)
    if last is not None:
        return float(last)
    if result not in ("success", ""):
        raise ProbeFailed("heartbeat", f"{name} ended with {result}, and no success of it is known")
    if values.get("ActiveState") in ("activating", "active"):
        raise OwnFault(f"{name} runs just now, and how it ended before is not known; ask again when it has ended")
    raise ProbeFailed("missing", f"there never was a sign of life: {name} has not run since the host was started")


def check_size(spec: Spec, context: Context) -> None:
    """Add up what files take on their disk, as du does. Fields: see the table of types.

    Links are not followed, other filesystems not entered, and a file with several names counts once.
    """
    top = spec["path"]
    seen = _look(top)
    if seen is None:
        raise ProbeFailed("missing", f"there is no {top}")
    fields = context.found.fields
    fields.update(bytes=None, files=None, too_big=None)
    size, files = (seen.st_blocks * 512, 0) if stat.S_ISDIR(seen.st_mode) else (seen.st_blocks * 512, 1)
    known: set[int] = set()
    waiting = [top] if stat.S_ISDIR(seen.st_mode) else []
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(directory) as entries:
                for number, entry in enumerate(entries):
                    if number % 256 == 0:
                        context.remaining()
                    try:
                        one = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # removed meanwhile
                    if one.st_dev != seen.st_dev:
                        continue
                    if stat.S_ISDIR(one.st_mode):
                        waiting.append(entry.path)
                    elif one.st_nlink > 1:
                        if one.st_ino in known:
                            continue
                        known.add(one.st_ino)
                    files += not stat.S_ISDIR(one.st_mode)
                    size += one.st_blocks * 512
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OwnFault(f"{directory} cannot be read: {error.strerror}; run as root") from None
    fields.update(bytes=size, files=files)
    if spec["max_bytes"] is not None:
        fields["too_big"] = size > spec["max_bytes"]
    context.found.message = f"{size} bytes in {files} files"


__all__ = ["FUTURE", "check_backup", "check_drill", "check_heartbeat", "check_size", "words"]
