# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of the host for the morning page: cheap, read-only, and None where the host does not say.

Only the count of pending updates costs more than a few file reads: apt is asked again only after its lists or the
installed packages changed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ansible_collections.quai.ops.plugins.module_utils._lock import LOCKS, is_held

Facts = dict[str, Any]

APT_SECONDS: Final = 20
# What apt's answer depends on.
_APT: Final = ("var/lib/dpkg/status", "var/lib/apt/lists", "etc/apt/preferences.d", "etc/apt/sources.list.d")


def collect(config: Mapping[str, Any], previous: Mapping[str, Any] | None = None, root: str = "/") -> Facts:
    """Return the facts of the host.

    C(previous) are the C(facts) of the last report; with them apt is not asked as long as nothing changed. C(root) is
    another root directory, for tests; apt is not asked then. Keys: distribution, kernel, uptime (s), cpus,
    memory_bytes, updates, security_updates, updates_of (what they were counted from), lists_at (when the lists of
    packages were fetched, s since 1970), reboot, reboot_for (packages), and releases: {project: {waiting, releasing,
    version, at, by}}.
    """
    base = Path(root)
    return {
        "distribution": _distribution(base),
        "kernel": os.uname().release,
        "uptime": _uptime(base),
        "cpus": os.cpu_count(),
        "memory_bytes": _memory(base),
        **_updates(base, previous or {}, ask=root == "/"),
        **_reboot(base),
        "releases": {name: _release(base, project) for name, project in (config.get("projects") or {}).items()},
    }


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _distribution(base: Path) -> str | None:
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)', _read(base / "etc/os-release"), re.MULTILINE)
    return match[1] if match else None


def _uptime(base: Path) -> float | None:
    words = _read(base / "proc/uptime").split()
    return float(words[0]) if words else None


def _memory(base: Path) -> int | None:
    match = re.search(r"^MemTotal:\s+(\d+) kB", _read(base / "proc/meminfo"), re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _updates(base: Path, previous: Mapping[str, Any], *, ask: bool) -> Facts:
    """Count what C(apt-get upgrade) would install, and what of it comes from a security archive."""
    stamps = []
    for place in _APT:
        try:
            stamps.append(str(int((base / place).stat().st_mtime)))
        except OSError:
            stamps.append("-")
    key = ":".join(stamps)
    facts: Facts = {"updates": None, "security_updates": None, "updates_of": key, "lists_at": _lists_at(base)}
    if previous.get("updates_of") == key and "updates" in previous:
        # Also when apt did not answer: it would not answer now either, and asking costs seconds.
        return {**facts, "updates": previous["updates"], "security_updates": previous.get("security_updates")}
    if not ask or facts["lists_at"] is None or not Path("/usr/bin/apt-get").exists():
        return facts
    import subprocess

    try:
        done = subprocess.run(
            ["apt-get", "--simulate", "-o", "Debug::NoLocking=1", "upgrade", "--with-new-pkgs"],
            capture_output=True,
            text=True,
            timeout=APT_SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return facts
    return {**facts, **counted(done.stdout)} if done.returncode == 0 else facts


def counted(simulation: str) -> Facts:
    """Count the installations in the output of C(apt-get --simulate)."""
    lines = re.findall(r"^Inst .*$", simulation, re.MULTILINE)
    security = [line for line in lines if re.search(r"-security\b|Debian-Security|Security:", line)]
    return {"updates": len(lines), "security_updates": len(security)}


def _lists_at(base: Path) -> int | None:
    """Return when the lists of packages were fetched last; None when there are none."""
    lists = base / "var/lib/apt/lists"
    try:
        if not any(entry.name.endswith(("_Packages", "_InRelease", "_Release", ".lz4")) for entry in os.scandir(lists)):
            return None
        # An update that found nothing new touches only "partial".
        return int(max(place.stat().st_mtime for place in (lists, lists / "partial") if place.exists()))
    except OSError:
        return None


def _reboot(base: Path) -> Facts:
    """Whether the host should be restarted: something asked for it, or a newer kernel is installed."""
    if (base / "run/reboot-required").exists():
        packages = sorted(set(_read(base / "run/reboot-required.pkgs").split()))
        return {"reboot": True, "reboot_for": packages[:20]}
    try:
        kernels = [entry.name[8:] for entry in os.scandir(base / "boot") if entry.name.startswith("vmlinuz-")]
    except OSError:
        kernels = []
    running = os.uname().release
    if running not in kernels:
        return {"reboot": None, "reboot_for": []}  # a container, or a kernel from elsewhere
    flavour = _flavour(running)
    newest = max((name for name in kernels if _flavour(name) == flavour), key=_order)
    newer = _order(newest) > _order(running)
    return {"reboot": newer, "reboot_for": [f"linux-image-{newest}"] if newer else []}


def _flavour(release: str) -> str:
    return re.sub(r"[\d.+~-]+(?:deb\d+)?(?:bpo\.?\d*)?", "", release)


def _order(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", release))


def _release(base: Path, project: Mapping[str, Any]) -> Facts:
    """What a project's last release wrote down, and whether one is running now."""
    active_when = str(project.get("active_when") or "")
    facts: Facts = {
        "waiting": bool(active_when) and not (base / active_when.lstrip("/")).exists(),
        "releasing": any(is_held(str(name), base / str(LOCKS).lstrip("/")) for name in project.get("locks") or ()),
        "version": "",
        "at": None,
        "by": "",
    }
    path = base / str(project.get("release_file") or "").lstrip("/")
    try:
        written = json.loads(_read(path) or "{}")
    except (ValueError, RecursionError):
        return facts
    if isinstance(written, dict) and written:
        facts["version"] = str(written.get("version") or "")
        # The file changes with the version only, so that its own time is as good.
        at = written.get("at", path.stat().st_mtime)
        facts["at"] = at if isinstance(at, (int, float, str)) else None
        facts["by"] = str(written.get("by") or "")
    return facts


__all__ = ["collect", "counted"]
