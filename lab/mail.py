# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What arrived at the lab's mail sink."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

from lab import containers
from lab.errors import LabError
from lab.names import Lab

_MAILDIR = "/var/mail/lab/maildir"


def messages(lab: Lab) -> list[EmailMessage]:
    """Every message received, oldest first. X-MailFrom and X-RcptTo are the envelope's."""
    container = containers.find(lab, "mail")
    if container is None:
        raise LabError(f"lab {lab.name} has no mail sink", "start it: python -m lab up")
    if containers.run(container, "test", "-d", f"{_MAILDIR}/new")[0]:
        return []
    # Maildir names begin with the time of arrival.
    files = sorted(containers.read(container, f"{_MAILDIR}/new").items())
    return [email.message_from_bytes(content, _class=EmailMessage, policy=email.policy.default) for _, content in files]


def clear(lab: Lab) -> None:
    """Forget what has arrived so far."""
    container = containers.find(lab, "mail")
    if container is not None:
        containers.run(container, "find", _MAILDIR, "-type", "f", "-delete")
