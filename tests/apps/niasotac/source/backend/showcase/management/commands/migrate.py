# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Django's migrate: one at a time, and it remembers which migration failed."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate

from showcase import attempts


class Command(migrate.Command):
    _current = ""

    def handle(self, *args: Any, **options: Any) -> None:
        if options["plan"] or options["check_unapplied"]:
            super().handle(*args, **options)
            return
        if not attempts.lock():
            raise CommandError("another migration is running")
        try:
            super().handle(*args, **options)
        except Exception as error:
            if self._current:
                attempts.fail(self._current, f"{type(error).__name__}: {error}")
                raise CommandError(f"migration {self._current} failed: {error}") from error
            raise

    def migration_progress_callback(self, action: str, migration: Any = None, fake: bool = False) -> None:
        if action == "apply_start":
            self._current = f"{migration.app_label}.{migration.name}"
            attempts.begin(self._current)
        elif action == "apply_success":
            attempts.forget(self._current)
            self._current = ""
        super().migration_progress_callback(action, migration, fake)
