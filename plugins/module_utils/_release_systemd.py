# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of a service that systemd runs: one unit for each colour, and the plain name as an alias of the live one.

So C(quai-shop-api.service) is always what serves, for people, probes and restarts, whichever colour that is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils import _files, _release_front
from ansible_collections.quai.ops.plugins.module_utils._release_run import Runtime, StepFailed

UNITS: Final = Path("/etc/systemd/system")
# Beyond the time that systemd itself gives a unit to stop.
MARGIN_SECONDS: Final = 15.0
COMMAND_SECONDS: Final = 60.0


class UnitCopy(NamedTuple):
    """One copy of a service. C(command) is as the process gets it; the unit's quoting is ours."""

    project: str
    service: str
    colour: str
    description: str
    command: Sequence[str]
    directory: Path  # where it starts, in the directory of its release
    user: str
    environment: Mapping[str, str]  # what may be seen
    secrets_file: str  # variables that may not, a file of mode 0600; empty for none
    grace: float  # s that it has to end what it is doing

    @property
    def unit(self) -> str:
        """The unit's name."""
        return unit_name(self.project, self.service, self.colour)


def unit_name(project: str, service: str, colour: str) -> str:
    """The name of a copy's unit."""
    return f"quai-{project}-{service}-{colour}.service"


def alias(project: str, service: str) -> str:
    """The name that always means the copy that serves."""
    return f"quai-{project}-{service}.service"


def render(copy: UnitCopy) -> str:
    """The unit file."""
    environment = "".join(
        f"Environment={quote(f'{name}={value}')}\n" for name, value in sorted(copy.environment.items())
    )
    secrets = f"EnvironmentFile={escape(copy.secrets_file)}\n" if copy.secrets_file else ""
    first, *rest = copy.command
    # A name without a slash is looked for below the release first, as a shell in its directory would be told to.
    program = str(copy.directory / first) if "/" in first and not first.startswith("/") else first
    return f"""\
# Written by the releases of this project; what is changed here by hand is lost.
[Unit]
Description={escape(copy.description)}
After=network-online.target postgresql.service mariadb.service redis-server.service
Wants=network-online.target
StartLimitIntervalSec=60
StartLimitBurst=10

[Service]
Type=exec
User={copy.user}
WorkingDirectory={escape(str(copy.directory))}
{environment}{secrets}ExecStart={" ".join(quote(word, command=True) for word in [program, *rest])}
Restart=always
RestartSec=1
# The main process is asked to end; what it leaves behind is ended after its grace.
KillMode=mixed
TimeoutStopSec={copy.grace:g}
NoNewPrivileges=true
PrivateTmp=true
ProtectSystem=full
ProtectHome=read-only
ProtectControlGroups=true
ProtectKernelModules=true
ProtectKernelTunables=true
RestrictSUIDSGID=true
SyslogIdentifier={copy.project}-{copy.service}

[Install]
WantedBy=multi-user.target
Alias={alias(copy.project, copy.service)}
"""


def escape(text: str) -> str:
    """Double what systemd would replace by something of its own."""
    return text.replace("%", "%%")


def quote(word: str, *, command: bool = False) -> str:
    """One word as systemd reads it: in quotes, nothing replaced. C(command): of ExecStart, where $ means more."""
    escaped = escape(word).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return '"' + (escaped.replace("$", "$$") if command else escaped) + '"'


class Systemd(Runtime):
    """The copies of one service. C(describe) makes the copy of a colour from the files in a release's directory."""

    def __init__(
        self,
        project: str,
        service: str,
        port: int | None,
        describe: Callable[[str, Path], UnitCopy],
        probes: Callable[[str], Sequence[dict[str, Any]]],
        *,
        grace: float,
    ) -> None:
        self.project, self.service, self.port, self.grace = project, service, port, grace
        self._describe, self._probes = describe, probes

    def start(self, colour: str, directory: Path) -> None:
        """Write the unit and start it."""
        copy = self._describe(colour, directory)
        self.stop(colour)
        _files.write(UNITS / copy.unit, render(copy).encode(), 0o644)
        systemctl("daemon-reload")
        systemctl("reset-failed", copy.unit, check=False)
        systemctl("start", copy.unit)

    def resume(self, colour: str) -> None:
        """Start the unit that is there."""
        systemctl("start", unit_name(self.project, self.service, colour))

    def probes(self, colour: str) -> list[dict[str, Any]]:
        """That the unit runs, and what the declaration asks of it."""
        unit = unit_name(self.project, self.service, colour)
        return [{"name": f"{self.service}.unit", "type": "systemd", "unit": unit}, *self._probes(colour)]

    def connections(self, colour: str) -> int:
        """Connections to the port of this copy."""
        return _release_front.established(_release_front.ports(self.port)[colour]) if self.port else 0

    def stop(self, colour: str) -> None:
        """Ask it to end, and wait until it has: after its grace systemd ends it by force."""
        unit = unit_name(self.project, self.service, colour)
        if (UNITS / unit).exists():
            systemctl("stop", unit, seconds=self.grace + MARGIN_SECONDS)

    def keep(self, colour: str) -> None:
        """Enable it, and let the plain name mean it."""
        systemctl("enable", "--force", unit_name(self.project, self.service, colour))

    def forget(self, colour: str) -> None:
        """Stop it and remove its unit."""
        unit = unit_name(self.project, self.service, colour)
        if not (UNITS / unit).exists():
            return
        self.stop(colour)
        # Only its own links: the alias may mean the other copy already.
        (UNITS / "multi-user.target.wants" / unit).unlink(missing_ok=True)
        link = UNITS / alias(self.project, self.service)
        if link.is_symlink() and link.resolve() == (UNITS / unit).resolve():
            link.unlink()
        (UNITS / unit).unlink()
        systemctl("daemon-reload")
        systemctl("reset-failed", unit, check=False)


def systemctl(*arguments: str, seconds: float = COMMAND_SECONDS, check: bool = True) -> str:
    """Run systemctl; returns what it printed. Raises StepFailed."""
    command = ["systemctl", "--no-ask-password", *arguments]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StepFailed(f"{' '.join(command[2:])} did not end within {seconds:g} s") from error
    said = done.stdout.decode("utf-8", "replace").strip()
    if check and done.returncode:
        raise StepFailed(f"{' '.join(command[2:])} ended with {done.returncode}: {said[-300:]}")
    return said


__all__ = ["Systemd", "UnitCopy", "alias", "escape", "quote", "render", "systemctl", "unit_name"]
