# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the images that products use, as paths below the media directory."""

from typing import Any

from django.core.management.base import BaseCommand

from showcase.models import Product


class Command(BaseCommand):
    help = "Print the images in use, one a line."

    def handle(self, *_args: Any, **_options: Any) -> None:
        for image in Product.objects.order_by("image").values_list("image", flat=True).distinct():
            self.stdout.write(image)
