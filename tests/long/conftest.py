# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab of the faults serves the long tests as well."""

from __future__ import annotations

from tests.faults.conftest import operator, provisioned, served, visitors, world

__all__ = ["operator", "provisioned", "served", "visitors", "world"]
