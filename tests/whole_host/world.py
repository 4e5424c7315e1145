# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab with somebody who works in it."""

from __future__ import annotations

from dataclasses import dataclass

from lab.console import Console
from lab.names import Lab
from tests.whole_host.operations import Operator
from tests.whole_host.subject import Subject


@dataclass(frozen=True)
class World:
    """The lab, who operates it, and the host."""

    lab: Lab
    operator: Operator
    subject: Subject
    console: Console
