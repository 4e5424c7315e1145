# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the proofs of the whole host share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.names import ROOT
from tests.whole_host import web
from tests.whole_host.operations import Operator
from tests.whole_host.subject import DOMAINS, Subject

# Of the Molecule scenario: its own inventory with its own secrets first, then that which says where the host is.
_SCENARIO = ROOT / "molecule" / "masstock" / "inventory"


@pytest.fixture(scope="session")
def subject() -> Subject:
    """The host: that of the Molecule scenario, or of whichever lab QUAI_LAB names."""
    return Subject.from_environment()


@pytest.fixture(scope="session")
def operator(subject: Subject) -> Operator:
    """Who provisioned it and released on it."""
    ephemeral = os.environ.get("MOLECULE_EPHEMERAL_DIRECTORY")
    if not ephemeral:
        return Operator(ROOT, subject.lab, (os.environ.get("QUAI_INVENTORY", "inventories/lab"),))
    return Operator(ROOT, subject.lab, (str(_SCENARIO), str(Path(ephemeral) / "inventory")))


@pytest.fixture(scope="session")
def ask(subject: Subject) -> Callable[..., web.Answer]:
    """Ask one of MasStock's sites, by its short name."""

    def asked(site: str, path: str = "/", **options: object) -> web.Answer:
        settings = {"authority": subject.authority, **options}
        return web.ask(subject.address, DOMAINS.get(site, site), path, **settings)  # type: ignore[arg-type]

    return asked


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures that tests measured."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "figures":
                terminalreporter.write_line(f"  {value}")
