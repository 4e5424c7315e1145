# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of migrations: Django itself records only those that ended well."""

from __future__ import annotations

from django.apps.registry import Apps
from django.db import connection, models
from django.utils import timezone

# Any number that nothing else in the database locks.
_LOCK = 8000


class Attempt(models.Model):
    """A migration that was begun and did not end well."""

    migration = models.CharField(max_length=255, primary_key=True)
    begun = models.DateTimeField()
    error = models.TextField(default="it was interrupted")

    class Meta:
        # No migration makes this table: it must be there before the first one.
        apps = Apps()
        app_label = "showcase"
        db_table = "showcase_migration_attempt"


def _there() -> bool:
    return Attempt._meta.db_table in connection.introspection.table_names()


def begin(migration: str) -> None:
    if not _there():
        with connection.schema_editor() as editor:
            editor.create_model(Attempt)
    Attempt.objects.update_or_create(migration=migration, defaults={"begun": timezone.now()})


def fail(migration: str, error: str) -> None:
    Attempt.objects.filter(migration=migration).update(error=error)


def forget(migration: str) -> bool:
    return _there() and Attempt.objects.filter(migration=migration).delete()[0] > 0


def failures() -> dict[str, str]:
    return dict(Attempt.objects.values_list("migration", "error")) if _there() else {}


def lock() -> bool:
    """Whether this process may migrate. The lock ends with its connection; SQLite locks its file by itself."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        return bool(cursor.fetchone()[0])
