# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the probes of databases share: where the server is, the numbers of its answers, and the words of its fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final

from ansible_collections.quai.ops.plugins.module_utils._probe_address import split_address
from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed, Spec

# Words for TLS in the addresses of PostgreSQL (sslmode) and MySQL (ssl-mode).
_MODES: Final = {
    **dict.fromkeys(("disable", "disabled"), "off"),
    **dict.fromkeys(("allow", "prefer", "preferred"), "prefer"),
    **dict.fromkeys(("require", "required"), "require"),
    **dict.fromkeys(("verify-ca", "verify_ca", "verify-full", "verify_identity"), "verify"),
}
# What larger messages announce is no answer to a question for one value.
MAX_MESSAGE: Final = 16 * 1024 * 1024


def endpoint(spec: Spec, schemes: Sequence[str], port: int) -> dict[str, Any]:
    """The spec with the parts of its url in their own options. Raises OwnFault.

    Options of the address that are about anything else than the connection are left alone: applications have them.
    """
    found = dict(spec)
    if spec["url"]:
        address = split_address(spec["url"], schemes)
        options = address.options
        host = options.get("host") or address.host
        socket = options.get("socket", "")
        if host.startswith("/"):  # PostgreSQL's way to name the directory of its socket
            host, socket = "", host
        found.update(
            url="",
            host=host or "127.0.0.1",
            port=address.port or port,
            socket=socket,
            user=address.user or options.get("user", ""),
            password=address.password or options.get("password", ""),
            database=address.path or options.get("dbname", ""),
        )
        mode = options.get("sslmode") or options.get("ssl-mode") or ""
        if mode:
            if mode.lower() not in _MODES:
                raise OwnFault(f'url: sslmode is "{mode[:20]}"; one of: {", ".join(_MODES)}')
            found["tls"] = _MODES[mode.lower()]
        found["ca_file"] = options.get("sslrootcert") or options.get("ssl-ca") or spec["ca_file"]
    if not found["user"]:
        raise OwnFault("user: a database server must be told one")
    for option in ("user", "password", "database", "query"):
        if "\0" in found[option]:
            raise OwnFault(f"{option}: it holds a NUL character, which no database server takes")
    return found


def number(text: str) -> int | float | str:
    """A number as SQL writes it; the text itself when it is none, such as NaN."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        return text
    return value if isfinite(value) else text


def fill(context: Context, kind: str, facts: Mapping[str, Any]) -> None:
    """Write what is known of a server to the fields: version, connections, allowed, size_bytes, in_recovery."""
    fields = context.found.fields
    for name in ("connections", "size_bytes", "in_recovery", "version"):
        fields[name] = facts.get(name)
    allowed = facts.get("allowed")
    known = fields["connections"] is not None and allowed
    fields["connections_pct"] = 100.0 * fields["connections"] / allowed if known else None
    if fields["version"]:
        context.found.details["version"] = fields["version"]
    used = f", {fields['connections']} of {allowed} connections" if known else ""
    context.found.message = f"{kind} {fields['version'] or ''}".strip() + f" answers{used}"


def unencrypted(kind: str, method: str) -> ProbeFailed:
    """The failure of a login that would show the password to everybody on the way."""
    return ProbeFailed(
        "auth",
        f"{kind} asks for the password in clear text ({method}), which is only sent over TLS or a Unix socket; set tls:"
        " require, or let the server use another method",
    )


__all__ = ["MAX_MESSAGE", "endpoint", "fill", "number", "unencrypted"]
