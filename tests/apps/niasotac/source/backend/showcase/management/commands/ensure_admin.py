# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the administrator whom the environment names, with the password that it gives."""

import sys
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from niasotac_backend.environment import EX_CONFIG


class Command(BaseCommand):
    help = "Make or renew the administrator DEMO_EMAIL."

    def handle(self, *_args: Any, **_options: Any) -> None:
        if not settings.ENVIRONMENT.demo_password:
            print("fatal: missing environment variables: DEMO_PASSWORD", file=sys.stderr)
            raise SystemExit(EX_CONFIG)
        email = settings.ENVIRONMENT.demo_email
        user, _new = get_user_model().objects.get_or_create(username=email)
        user.email, user.is_staff, user.is_superuser = email, True, True
        # A new hash would end the user's sessions, so only a new password gets one.
        if not user.check_password(settings.ENVIRONMENT.demo_password):
            user.set_password(settings.ENVIRONMENT.demo_password)
        user.save()
