# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the administration shows."""

from django.contrib import admin

from showcase.models import Category, Product


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ("name", "brand", "price", "category", "in_stock", "featured")
    list_filter = ("category", "in_stock", "featured")
    search_fields = ("name", "brand")


admin.site.register(Category)
