# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the back end answers."""

from __future__ import annotations

import json
import logging
import time

from django.contrib import auth
from django.core.paginator import Paginator
from django.db import Error
from django.db.models import Q
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods
from niasotac_backend.environment import FAULT, VERSION

from showcase import ledger
from showcase.models import Category, Execution, Product
from showcase.numbers import count

log = logging.getLogger("showcase.views")
SERVICE = "niasotac-backend"
LONGEST_MS = 10_000
PAGE = 20
SHOWN = 1000


@require_GET
def health(request: HttpRequest) -> JsonResponse:
    """Whether this code works with this database: a product can be read, as each page does."""
    if FAULT == "never-healthy":
        return JsonResponse({"status": "failing", "reason": "made to fail"}, status=503)
    try:
        Product.objects.select_related("category").first()
    except Error as error:
        log.error("health: %s", type(error).__name__)
        return JsonResponse({"status": "failing", "reason": f"database: {type(error).__name__}"}, status=503)
    return JsonResponse({"status": "ok", "version": VERSION})


@require_GET
def version(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"service": SERVICE, "version": VERSION})


@require_GET
def slow(request: HttpRequest) -> JsonResponse:
    text = request.GET.get("ms", "")
    if not text.isdecimal() or int(text) > LONGEST_MS:
        return JsonResponse({"error": f"ms is a number from 0 to {LONGEST_MS}"}, status=400)
    log.info("slow request begun")
    time.sleep(int(text) / 1000)
    return JsonResponse({"service": SERVICE, "version": VERSION, "ms": int(text)})


@require_GET
def products(request: HttpRequest) -> JsonResponse:
    """Products: ?search= in name, brand and description, ?category=, ?featured=true, ?page=."""
    found = Product.objects.select_related("category")
    for word in request.GET.get("search", "").split():
        found = found.filter(Q(name__icontains=word) | Q(brand__icontains=word) | Q(description__icontains=word))
    if category := request.GET.get("category"):
        found = found.filter(Q(category__name=category) | Q(subcategory__name=category))
    if request.GET.get("featured") == "true":
        found = found.filter(featured=True)
    page = Paginator(found, PAGE).get_page(request.GET.get("page"))
    return JsonResponse({"count": page.paginator.count, "results": [one.shown() for one in page]})


@require_GET
def product(request: HttpRequest, slug: str) -> JsonResponse:
    return JsonResponse(get_object_or_404(Product.objects.select_related("category"), slug=slug).shown())


@require_GET
def categories(request: HttpRequest) -> JsonResponse:
    found = Category.objects.select_related("parent")
    return JsonResponse(
        {"results": [{"name": one.name, "parent": one.parent.name if one.parent else None} for one in found]}
    )


@require_GET
def statistics(request: HttpRequest) -> JsonResponse:
    return JsonResponse(count())


@csrf_exempt
@require_http_methods(["GET", "POST", "DELETE"])
def session(request: HttpRequest) -> JsonResponse:
    """The administration's login for programs: the same users, the same cookie."""
    if request.method == "POST":
        # A form of another site cannot send this type without asking first.
        if request.content_type != "application/json":
            return JsonResponse({"error": "invalid_request"}, status=400)
        try:
            body = json.loads(request.body)
            given = {"username": body["email"], "password": body["password"]}
        except (ValueError, KeyError, TypeError):
            return JsonResponse({"error": "invalid_request"}, status=400)
        user = auth.authenticate(request, **given)
        if user is None:
            return JsonResponse({"error": "invalid_credentials"}, status=401)
        auth.login(request, user)
    elif request.method == "DELETE":
        auth.logout(request)
    if not request.user.is_authenticated:
        return JsonResponse({"error": "not_logged_in"}, status=200 if request.method == "DELETE" else 401)
    return JsonResponse({"user": {"email": request.user.get_username(), "staff": request.user.is_staff}})


@require_GET
def executions_summary(request: HttpRequest) -> JsonResponse:
    """The ledger. A run that nobody works on waits for the next one of the timer; one whose worker vanished is lost."""
    runs = Execution.objects.order_by("-created")
    lost = ledger.abandoned()
    return JsonResponse(
        {
            "total": runs.count(),
            "counts": {
                "completed": runs.filter(completions__gt=0).count(),
                "processing": runs.filter(completions=0, beat__isnull=False).count(),
                "waiting": runs.filter(completions=0, beat=None).count(),
            },
            "lost": list(lost.values_list("slot", flat=True)[:SHOWN]),
            "repeated": list(runs.filter(completions__gt=1).values_list("slot", flat=True)[:SHOWN]),
            "executions": {
                run.slot: {"starts": run.starts, "completions": run.completions, "release": run.release}
                for run in runs[:SHOWN]
            },
        }
    )
