# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first tables."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

import showcase.models


class Migration(migrations.Migration):
    initial = True

    dependencies = ()

    operations = (
        migrations.CreateModel(
            name="Execution",
            fields=[
                ("slot", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("starts", models.PositiveIntegerField(default=0)),
                ("completions", models.PositiveIntegerField(default=0)),
                ("created", models.DateTimeField(auto_now_add=True)),
                ("beat", models.DateTimeField(null=True)),
                ("release", models.CharField(blank=True, max_length=60)),
            ],
        ),
        migrations.CreateModel(
            name="Statistic",
            fields=[
                ("name", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("value", models.PositiveIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="Category",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100, unique=True, verbose_name="nom")),
                (
                    "parent",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="children",
                        to="showcase.category",
                    ),
                ),
            ],
            options={
                "verbose_name": "catégorie",
                "ordering": ("name",),
            },
        ),
        migrations.CreateModel(
            name="Product",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200, verbose_name="nom")),
                ("brand", models.CharField(max_length=100, verbose_name="marque")),
                ("slug", models.SlugField(blank=True, max_length=200, unique=True)),
                ("price", models.PositiveIntegerField(verbose_name="prix (FCFA)")),
                ("reference", models.CharField(blank=True, db_default="", max_length=40, verbose_name="référence")),
                ("description", models.TextField()),
                (
                    "image",
                    models.ImageField(
                        upload_to="products",
                        validators=[
                            showcase.models.at_most_2_mb,
                            django.core.validators.FileExtensionValidator(["jpg", "jpeg", "png"]),
                        ],
                    ),
                ),
                ("in_stock", models.BooleanField(default=True, verbose_name="en stock")),
                ("featured", models.BooleanField(default=False, verbose_name="vedette")),
                (
                    "category",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="products",
                        to="showcase.category",
                        verbose_name="catégorie",
                    ),
                ),
                (
                    "subcategory",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="showcase.category",
                        verbose_name="sous-catégorie",
                    ),
                ),
            ],
            options={
                "verbose_name": "produit",
                "ordering": ("name", "pk"),
            },
        ),
    )
