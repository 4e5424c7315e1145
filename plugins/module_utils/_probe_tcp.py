# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A port or Unix socket that accepts connections, and what it says first."""

from __future__ import annotations

from typing import Final

from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, Spec, shorten
from ansible_collections.quai.ops.plugins.module_utils._probe_net import dial
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import asks

MAX_BANNER: Final = 4096


def check(spec: Spec, context: Context) -> None:
    """Connect; send and read only when the specification asks for it."""
    with dial(spec, context) as connection:
        if spec["tls"]:
            connection.start_tls(spec, spec["host"])
        context.found.fields["connected"] = True
        context.found.message = f"{connection.label} accepts connections"
        if spec["send"]:
            connection.send(spec["send"].encode("utf-8"))
        if asks(spec, "banner"):
            banner = connection.recv_text_line(MAX_BANNER)
            context.found.fields["banner"] = banner
            context.found.message = f"{connection.label} says {shorten(banner, 80)!r}"


__all__ = ["check"]
