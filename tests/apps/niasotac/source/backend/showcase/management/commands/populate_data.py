# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill an empty shop; what is there already stays as it is."""

from __future__ import annotations

import io
from typing import Any

from django.core.files.base import ContentFile
from django.core.management.base import BaseCommand
from django.db import transaction
from PIL import Image

from showcase.models import Category, Product

CATEGORIES = {"Ordinateurs": ["Ordinateurs portables", "Ordinateurs de bureau"], "Téléphones": [], "Accessoires": []}
PRODUCTS = (
    ("Pavilion 15", "HP", 450_000, "Ordinateurs", "Ordinateurs portables", True, True),
    ("Latitude 5420", "Dell", 520_000, "Ordinateurs", "Ordinateurs portables", False, False),
    ("XPS 15", "Dell", 850_000, "Ordinateurs", "Ordinateurs portables", True, True),
    ("ProDesk 400", "HP", 390_000, "Ordinateurs", "Ordinateurs de bureau", True, False),
    ("Galaxy A54", "Samsung", 230_000, "Téléphones", None, True, False),
    ("Souris M185", "Logitech", 12_000, "Accessoires", None, True, False),
)


class Command(BaseCommand):
    help = "Add the categories and products that are missing."

    def handle(self, *_args: Any, **_options: Any) -> str:
        added = 0
        for name, children in CATEGORIES.items():
            parent, _new = Category.objects.get_or_create(name=name)
            for child in children:
                Category.objects.get_or_create(name=child, defaults={"parent": parent})
        category = {one.name: one for one in Category.objects.all()}
        for number, (name, brand, price, main, sub, in_stock, featured) in enumerate(PRODUCTS):
            if Product.objects.filter(name=name, brand=brand).exists():
                continue
            product = Product(
                name=name,
                brand=brand,
                price=price,
                description=f"{name} de {brand}, garanti un an.",
                category=category[main],
                subcategory=category.get(sub),
                in_stock=in_stock,
                featured=featured,
            )
            with transaction.atomic():
                product.image.save(
                    f"{name} {brand}.jpg".lower().replace(" ", "-"), ContentFile(_picture(number)), save=False
                )
                product.save()
            added += 1
        return f"{added} products added"


def _picture(number: int) -> bytes:
    """A photograph of nothing, 800 by 600."""
    image = Image.linear_gradient("L").resize((800, 600)).rotate(17 * number)
    colour = Image.merge("RGB", (image, image.rotate(90), image.rotate(180)))
    content = io.BytesIO()
    colour.save(content, "JPEG", quality=95)
    return content.getvalue()
