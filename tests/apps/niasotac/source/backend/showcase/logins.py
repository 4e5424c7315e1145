# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every login leaves a line: the guide wants suspicious ones found."""

import logging
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.dispatch import receiver

log = logging.getLogger("showcase.logins")


@receiver(user_logged_in)
def _logged_in(sender: Any, request: Any, user: Any, **_more: Any) -> None:
    log.info("admin login of user %s", user.pk)


@receiver(user_login_failed)
def _login_failed(sender: Any, **_more: Any) -> None:
    # Without the name that was tried: people type their password there.
    log.warning("admin login failed")
