# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the guide's four numbers, as JSON or one of them alone."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from showcase.numbers import count


class Command(BaseCommand):
    help = "Print products, in_stock, featured and categories."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("only", nargs="?", choices=["products", "in_stock", "featured", "categories"])

    def handle(self, *_args: Any, only: str | None, **_options: Any) -> str:
        numbers = count()
        return str(numbers[only]) if only else json.dumps(numbers)
