# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count again what the report shows. A timer starts this; each start is a run in the ledger."""

from __future__ import annotations

import logging
import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone

from showcase import ledger
from showcase.models import Category, Product, Statistic
from showcase.numbers import count

log = logging.getLogger("showcase.stats")


class Command(BaseCommand):
    help = "Count products, and the products of each category; also for runs that an earlier start did not end."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--slot", default=f"refresh-stats-{timezone.now():%Y-%m-%dT%H:%M:%S.%f}", help="name of the run"
        )

    def handle(self, *_args: Any, slot: str, **_options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        ledger.add(slot)
        for due in ledger.due():
            if stop.is_set():
                break
            if ledger.claim(due):
                self._run(due, stop)

    def _run(self, slot: str, stop: threading.Event) -> None:
        log.info("run %s begun", slot)
        numbers = count()
        for category in Category.objects.all():
            numbers[f"category {category.pk}"] = Product.objects.filter(category=category).count()
            ledger.beat(slot)
            if stop.wait(settings.ENVIRONMENT.step_ms / 1000):
                ledger.hand_back(slot)
                log.info("run %s handed back", slot)
                return
        with transaction.atomic():
            for name, value in numbers.items():
                Statistic.objects.update_or_create(name=name, defaults={"value": value})
            ledger.complete(slot)
        log.info("run %s ended", slot)
