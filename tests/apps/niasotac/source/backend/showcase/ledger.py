# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who works on which run of a background job."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from niasotac_backend.environment import VERSION

from showcase.models import Execution

# Without a sign of life for so long, whoever worked on it is gone.
LEASE = timedelta(seconds=settings.ENVIRONMENT.lease_seconds)


def abandoned() -> QuerySet[Execution]:
    return Execution.objects.filter(completions=0, beat__lt=timezone.now() - LEASE).order_by("created")


def due() -> list[str]:
    """Runs that nobody works on, the oldest first."""
    free = Q(beat=None) | Q(beat__lt=timezone.now() - LEASE)
    return list(Execution.objects.filter(free, completions=0).order_by("created").values_list("slot", flat=True))


def add(slot: str) -> None:
    Execution.objects.get_or_create(slot=slot)


def claim(slot: str) -> bool:
    """Take a run, unless somebody else has."""
    now = timezone.now()
    free = Execution.objects.filter(Q(beat=None) | Q(beat__lt=now - LEASE), slot=slot, completions=0)
    return bool(free.update(starts=F("starts") + 1, beat=now, release=VERSION))


def beat(slot: str) -> None:
    Execution.objects.filter(slot=slot).update(beat=timezone.now())


def hand_back(slot: str) -> None:
    Execution.objects.filter(slot=slot).update(beat=None)


def complete(slot: str) -> None:
    Execution.objects.filter(slot=slot).update(completions=F("completions") + 1, beat=None)
