# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Products, their categories, and the ledger of background jobs."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.files import File
from django.core.validators import FileExtensionValidator
from django.db import models
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils.text import slugify

LARGEST_IMAGE = 2 * 1024 * 1024


def at_most_2_mb(file: File) -> None:
    """The guide's limit for an image."""
    if file.size > LARGEST_IMAGE:
        raise ValidationError("2 MB at most")


class Category(models.Model):
    name = models.CharField("nom", max_length=100, unique=True)
    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="children")

    class Meta:
        verbose_name = "catégorie"
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    name = models.CharField("nom", max_length=200)
    brand = models.CharField("marque", max_length=100)
    slug = models.SlugField(max_length=200, unique=True, blank=True)
    price = models.PositiveIntegerField("prix (FCFA)")
    former_price = models.PositiveIntegerField("ancien prix (FCFA)", null=True, blank=True)
    description = models.TextField()
    image = models.ImageField(
        upload_to="products", validators=[at_most_2_mb, FileExtensionValidator(["jpg", "jpeg", "png"])]
    )
    category = models.ForeignKey(Category, models.PROTECT, related_name="products", verbose_name="catégorie")
    subcategory = models.ForeignKey(
        Category, models.PROTECT, null=True, blank=True, related_name="+", verbose_name="sous-catégorie"
    )
    in_stock = models.BooleanField("en stock", default=True)
    featured = models.BooleanField("vedette", default=False)

    class Meta:
        verbose_name = "produit"
        ordering = ("name", "pk")

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.slug = self.slug or slugify(f"{self.name}-{self.brand}")
        super().save(*args, **kwargs)

    def shown(self) -> dict[str, Any]:
        """What the interface says of it."""
        return {
            "name": self.name,
            "brand": self.brand,
            "slug": self.slug,
            "price": self.price,
            "former_price": self.former_price,
            "description": self.description,
            "image": self.image.url,
            "category": self.category.name,
            "in_stock": self.in_stock,
            "featured": self.featured,
        }


@receiver(post_delete, sender=Product)
def _delete_image(sender: Any, instance: Product, **_more: Any) -> None:
    instance.image.delete(save=False)


class Statistic(models.Model):
    name = models.CharField(max_length=100, primary_key=True)
    value = models.PositiveIntegerField()


class Execution(models.Model):
    """One run of a background job: how often it was started, and how often it came to its end."""

    slot = models.CharField(max_length=100, primary_key=True)
    starts = models.PositiveIntegerField(default=0)
    completions = models.PositiveIntegerField(default=0)
    created = models.DateTimeField(auto_now_add=True)
    # The last sign of life of who works on it; none when nobody does.
    beat = models.DateTimeField(null=True)
    release = models.CharField(max_length=60, blank=True)
