# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Debian packages are missing, and whether an earlier installation was cut short."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# ${db:Status-Abbrev} is "ii " for a package that is wanted and wholly installed.
QUERY = ("dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n")


def parse_status(text: str) -> dict[str, str]:
    """Package to its two state letters, from the output of C(QUERY)."""
    states = {}
    for line in text.splitlines():
        name, _space, state = line.partition(" ")
        if name:
            states[name] = state.strip()
    return states


def missing(wanted: Iterable[str], states: dict[str, str]) -> list[str]:
    """Wanted packages that are not wholly installed, in the order wanted."""
    return [name for name in wanted if states.get(name, "")[1:2] != "i"]


def interrupted(states: dict[str, str], journal: Iterable[str] = ()) -> bool:
    """Whether an installation was cut short: a package is half done, or dpkg's C(journal) was not taken over.

    Apt refuses to do anything before that is completed.
    """
    half_done = any(state[1:2] in ("U", "F", "H", "W", "t") for state in states.values())
    return half_done or any(name.isdigit() for name in journal)


def outdated(fetched: float | None, sources: Iterable[float], now: float, valid_seconds: float) -> bool:
    """Whether package lists must be fetched: never completed, older than a source, or simply too old.

    All are times of files in seconds. A time that is yet to come means that the clock was wrong, and proves nothing.
    """
    if fetched is None:
        return True
    return any(time >= fetched for time in sources) or not 0 <= now - fetched <= valid_seconds


def reason(output: str) -> str:
    """The lines of apt that say what went wrong; its last ones when none does."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("E:", "Err:", "dpkg: error"))]
    return "; ".join((telling or lines)[-4:])


def install_command(names: Sequence[str], *, recommends: bool) -> list[str]:
    """The apt call: it waits for another apt instead of failing, and keeps configuration files that were edited.

    Without names it completes packages that were cut short; apt does not do that while it has something to install.
    """
    return [
        "apt-get", "install", "-y", "-q", "--fix-broken",
        "-o", "DPkg::Lock::Timeout=300",
        "-o", "Dpkg::Options::=--force-confdef",
        "-o", "Dpkg::Options::=--force-confold",
        *([] if recommends else ["--no-install-recommends"]),
        *names,
    ]  # fmt: skip


__all__ = ["QUERY", "install_command", "interrupted", "missing", "outdated", "parse_status", "reason"]
