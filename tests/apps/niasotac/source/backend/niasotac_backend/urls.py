# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses."""

from django.conf import settings
from django.contrib import admin
from django.urls import path
from django.views.static import serve
from showcase import views

urlpatterns = [
    path("health", views.health),
    path("version", views.version),
    path("slow", views.slow),
    path("executions-summary", views.executions_summary),
    path("api/products/", views.products),
    path("api/products/<slug:slug>/", views.product),
    path("api/categories/", views.categories),
    path("api/statistics/", views.statistics),
    path("api/session/", views.session),
    path("admin/", admin.site.urls),
    path("media/<path:path>", serve, {"document_root": settings.MEDIA_ROOT}),
]
