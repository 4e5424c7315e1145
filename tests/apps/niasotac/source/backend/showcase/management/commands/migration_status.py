# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print which migrations are applied, pending or failed, as JSON."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from showcase import attempts


class Command(BaseCommand):
    help = "Print applied, pending, failed, unknown and irreversible migrations."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--resolve", metavar="MIGRATION", help="forget that this one failed")

    def handle(self, *_args: Any, resolve: str | None, **_options: Any) -> str:
        if resolve and not attempts.forget(resolve):
            raise CommandError(f"{resolve} is not among the failed ones")
        loader = MigrationLoader(connection)
        applied = {".".join(name) for name in loader.applied_migrations}
        known = {".".join(name): migration for name, migration in loader.disk_migrations.items()}
        failures = attempts.failures()
        return json.dumps(
            {
                "applied": sorted(applied & known.keys()),
                "pending": sorted(known.keys() - applied - failures.keys()),
                "failed": {name: failures[name] for name in sorted(failures) if name in known},
                # Applied by another release, which knows more than this one.
                "unknown": sorted(applied - known.keys()),
                "irreversible": sorted(
                    name for name, migration in known.items() if not all(one.reversible for one in migration.operations)
                ),
            }
        )
