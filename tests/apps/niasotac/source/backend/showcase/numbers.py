# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide's four numbers."""

from showcase.models import Category, Product


def count() -> dict[str, int]:
    return {
        "products": Product.objects.count(),
        "in_stock": Product.objects.filter(in_stock=True).count(),
        "featured": Product.objects.filter(featured=True).count(),
        "categories": Category.objects.count(),
    }
