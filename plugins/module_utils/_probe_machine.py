# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of the machine: room on its disks and when that ends, memory, processors, load.

Numbers are those of the whole host, as its kernel counts them. Limits of control groups are those of containers and
units, whose own probes show them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final

from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed, Spec
from ansible_collections.quai.ops.plugins.module_utils._probe_units import read

PROC = "/proc"
_DAY: Final = 86400
_HOUR: Final = 3600
_GIB: Final = 1024**3
# Samples of a disk: one an hour, for as many days.
KEPT_DAYS: Final = 30
# A disk that is full in more than ten years counts as flat.
_FLAT_DAYS: Final = 3650
# Times of /proc/stat in their order.
_IDLE, _IOWAIT, _STEAL = 3, 4, 7


def check_disk(spec: Spec, context: Context) -> None:
    """Look at the filesystem of a path. Fields: see the table of types. Percentages are those of df."""
    path = spec["path"]
    try:
        seen = os.statvfs(path)
    except (FileNotFoundError, NotADirectoryError):
        raise ProbeFailed("missing", f"{path} is not there; is its filesystem mounted?") from None
    except PermissionError:
        raise OwnFault(f"{path} may not be looked at by this user; run as root") from None
    except OSError as error:
        raise ProbeFailed("missing", f"{path} cannot be looked at: {error.strerror}") from None
    used = (seen.f_blocks - seen.f_bfree) * seen.f_frsize
    free = seen.f_bavail * seen.f_frsize
    if used + free == 0:
        raise ProbeFailed("missing", f"{path} is on a filesystem without any room of its own, as /proc is")
    used_pct = 100.0 * used / (used + free)
    inodes_used = seen.f_files - seen.f_ffree
    inodes = inodes_used + seen.f_favail
    context.found.fields.update(
        used_pct=round(used_pct, 1),
        free_pct=round(100 - used_pct, 1),
        free_gib=round(free / _GIB, 2),
        free_bytes=free,
        # Some filesystems, as btrfs, make them as they need.
        inodes_used_pct=round(100.0 * inodes_used / inodes, 1) if seen.f_files and inodes else None,
        read_only=bool(seen.f_flag & os.ST_RDONLY),
    )
    samples = _remember(context, used)
    recent = [one for one in samples if one[0] >= context.now - float(spec["fit_days"]) * _DAY]
    full = full_in_days(recent, free, float(spec["min_days"]))
    context.found.fields["full_in_days"] = None if full is None else round(full, 1)
    context.found.details.update(mount=_mount_point(path), size_bytes=used + free)
    context.found.message = f"{used_pct:.0f} % used, {free / _GIB:.1f} GiB free"
    if full is not None:
        context.found.message += f", full in {full:.0f} days"


def _remember(context: Context, used: int) -> list[list[int]]:
    """Keep a sample an hour; returns all that are kept, oldest first."""
    now = int(context.now)
    kept: list[list[int]] = context.memory.get("samples") or []
    # What a clock that was wrong has left in the future would count for ever.
    kept = [one for one in kept if now - KEPT_DAYS * _DAY <= one[0] <= now + _DAY]
    if not kept or now - kept[-1][0] >= _HOUR:
        kept.append([now, used])
    context.memory["samples"] = kept
    return kept


def full_in_days(samples: Sequence[Sequence[float]], free: float, min_days: float) -> float | None:
    """Days until C(free) bytes are used at the trend of C(samples), pairs of seconds and bytes used.

    Least squares over all. None when they cover less than C(min_days), have too many holes, are flat or shrinking, or
    vary by more than they grow.
    """
    if len(samples) < max(3, 12 * min_days) or samples[-1][0] - samples[0][0] < min_days * _DAY:
        return None
    count = len(samples)
    # Around the middle, so that large numbers do not eat up the precision.
    middle = sum(one[0] for one in samples) / count
    mean = sum(one[1] for one in samples) / count
    spread = sum((one[0] - middle) ** 2 for one in samples)
    if spread == 0:
        return None
    slope = sum((one[0] - middle) * (one[1] - mean) for one in samples) / spread
    if slope <= 0:
        return None
    noise = (sum((one[1] - mean - slope * (one[0] - middle)) ** 2 for one in samples) / count) ** 0.5
    if slope * (samples[-1][0] - samples[0][0]) < noise:
        return None
    days = free / slope / _DAY
    return days if days <= _FLAT_DAYS else None


def _mount_point(path: str) -> str:
    """The directory on which the filesystem of a path is mounted."""
    here = os.path.realpath(path)
    try:
        device = os.lstat(here).st_dev
        while here != "/" and os.lstat(os.path.dirname(here)).st_dev == device:  # noqa: PTH120
            here = os.path.dirname(here)  # noqa: PTH120
    except OSError:
        return path
    return here


def _table(name: str) -> list[list[str]]:
    """The words of each line of a file of the kernel."""
    try:
        return [line.split() for line in read(f"{PROC}/{name}", 1 << 20).decode("utf-8", "replace").splitlines()]
    except OSError as error:
        raise OwnFault(f"{PROC}/{name} cannot be read: {error.strerror}") from None


def _boot() -> str:
    """What tells one boot of the machine from another; empty when it cannot be told."""
    try:
        return read(f"{PROC}/sys/kernel/random/boot_id").decode().strip()
    except OSError:
        return ""


def check_memory(spec: Spec, context: Context) -> None:
    """Look at memory and swap. Fields: see the table of types."""
    sizes = {words[0].rstrip(":"): int(words[1]) * 1024 for words in _table("meminfo") if len(words) > 1}
    total, available = sizes.get("MemTotal"), sizes.get("MemAvailable")
    if not total or available is None:
        raise OwnFault(f"{PROC}/meminfo does not say MemTotal and MemAvailable")
    swap, swap_free = sizes.get("SwapTotal"), sizes.get("SwapFree")
    used_pct = 100.0 * (total - available) / total
    context.found.fields.update(
        used_pct=round(used_pct, 1),
        available_bytes=available,
        swap_used_pct=round(100.0 * (swap - swap_free) / swap, 1) if swap and swap_free is not None else None,
        oom_kills=_oom_kills(context),
    )
    context.found.details["total_bytes"] = total
    context.found.message = f"{used_pct:.0f} % used, {available / _GIB:.1f} GiB available"


def _oom_kills(context: Context) -> int | None:
    """Kills since the last run; None in a first one, and on kernels that do not count them."""
    counts = [int(words[1]) for words in _table("vmstat") if words[:1] == ["oom_kill"]]
    if not counts:
        return None
    boot, before = _boot(), context.memory.get("oom")
    context.memory["oom"] = [boot, counts[0]]
    if before is None:
        return None
    # After a boot it counts from 0 again.
    return counts[0] - before[1] if before[0] == boot and before[1] <= counts[0] else counts[0]


def _times() -> list[int]:
    """Time of all processors in each state since the boot, in ticks."""
    for words in _table("stat"):
        if words[:1] == ["cpu"]:
            times = [int(word) for word in words[1:]]
            # Time of guests is counted in that of the user already.
            return (times + [0] * 8)[:8]
    raise OwnFault(f"{PROC}/stat does not say the times of the processors")


def check_cpu(spec: Spec, context: Context) -> None:
    """Look at what the processors did since the last run. Fields: see the table of types."""
    boot, before, now = _boot(), context.memory.get("cpu"), _times()
    context.memory["cpu"] = [boot, now]
    # A negative difference means another boot. The kernel sets the times of waiting back now and then.
    if (
        before is None
        or before[0] != boot
        or sum(now) <= sum(before[1])
        or any(new < old for index, (new, old) in enumerate(zip(now, before[1])) if index not in (_IDLE, _IOWAIT))
    ):
        first = now
        time.sleep(min(0.2, context.remaining() / 2))
        now = _times()
        context.found.details["sample"] = "0.2 s"
    else:
        first = before[1]
    spent = [max(0, new - old) for new, old in zip(now, first)]
    whole = sum(spent)
    if whole == 0:
        context.found.fields.update(used_pct=None, iowait_pct=None, steal_pct=None)
        raise OwnFault(f"{PROC}/stat did not move, so the use of the processors is unknown")
    waiting, stolen = spent[_IOWAIT], spent[_STEAL]
    used_pct = 100.0 * (whole - spent[_IDLE] - waiting - stolen) / whole
    context.found.fields.update(
        used_pct=round(used_pct, 1),
        iowait_pct=round(100.0 * waiting / whole, 1),
        steal_pct=round(100.0 * stolen / whole, 1),
    )
    context.found.message = f"{used_pct:.0f} % used"


def check_load(spec: Spec, context: Context) -> None:
    """Look at the load average. Fields: see the table of types."""
    words = _table("loadavg")[0]
    loads = [float(word) for word in words[:3]]
    processors = sum(1 for line in _table("stat") if line and line[0][:3] == "cpu" and line[0] != "cpu")
    context.found.fields.update(
        load1=loads[0],
        load5=loads[1],
        load15=loads[2],
        per_cpu=round(loads[1] / processors, 2) if processors else None,
    )
    context.found.details["processors"] = processors or None
    context.found.message = f"{loads[0]:g} {loads[1]:g} {loads[2]:g} on {processors} processors"


__all__ = ["KEPT_DAYS", "check_cpu", "check_disk", "check_load", "check_memory", "full_in_days"]
