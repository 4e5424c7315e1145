# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS of probes: contexts that are loaded once, what certificates say, and why one is not good.

Dates are read from the certificate itself, because Python tells none of one that it did not verify.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from threading import Lock
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed, Spec, shorten
from ansible_collections.quai.ops.plugins.module_utils._probe_net import Connection, dial

_DAY: Final = 86400.0
# OpenSSL's codes, see X509_STORE_CTX_get_error(3).
_EXPIRED: Final = frozenset({9, 10})
_HOST: Final = frozenset({62, 63, 64})
# From 79 on: what only the strict flag of RFC 5280 refuses.
_CHAIN: Final = frozenset({2, *range(18, 29), 32, 34, *range(79, 96)})
_COMMON_NAME: Final = bytes((0x06, 0x03, 0x55, 0x04, 0x03))
_ORGANISATION: Final = bytes((0x06, 0x03, 0x55, 0x04, 0x0A))

_contexts: dict[tuple[bool, str, bool], ssl.SSLContext] = {}
_dates: dict[bytes, Certificate] = {}
_lock: Final = Lock()


class Certificate(NamedTuple):
    """What matters of a certificate. Times are seconds since 1970."""

    not_before: float
    not_after: float
    issuer: str
    subject: str


def tls_context(verify: bool, ca_file: str, strict: bool) -> ssl.SSLContext:
    """The context for these options, made once in a program: loading authorities costs more than a probe.

    Raises OwnFault when C(ca_file) cannot be read.
    """
    key = (verify, ca_file, strict)
    with _lock:
        found = _contexts.get(key)
        if found is None:
            found = _contexts[key] = _new_context(*key)
    return found


def prepare(specs: Iterable[Mapping[str, Any]]) -> None:
    """Make the contexts of these probes."""
    for verify, ca_file, strict in {_options(spec) for spec in specs}:
        with suppress(OwnFault):  # it is told where it is needed
            tls_context(verify, ca_file, strict)


def _options(spec: Mapping[str, Any], verify: bool | None = None) -> tuple[bool, str, bool]:
    wanted = bool(spec.get("verify", True)) if verify is None else verify
    return wanted, (spec.get("ca_file") or "") if wanted else "", wanted and bool(spec.get("x509_strict"))


def _new_context(verify: bool, ca_file: str, strict: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    # Python 3.13 sets the flag in contexts of create_default_context; here the option alone decides.
    if strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    else:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        if ca_file:
            context.load_verify_locations(cafile=ca_file)
        else:
            context.load_default_certs()
    except (OSError, ssl.SSLError) as error:
        raise OwnFault(f"ca_file: {ca_file or 'the certificates of the system'} cannot be read: {error}") from None
    return context


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start and end of the content of the DER element at C(at)."""
    length = data[at + 1]
    start = at + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    if start + length > len(data):
        raise ValueError("an element is longer than what holds it")
    return data[at], start, start + length


def _time(tag: int, data: bytes) -> float:
    """UTCTime (17) or GeneralizedTime (18)."""
    from calendar import timegm

    text = data.decode("ascii").rstrip("Z")
    if tag == 0x17:
        text = ("19" if text[:2] >= "50" else "20") + text
    year, rest = int(text[:4]), text[4:14]
    return float(timegm((year, *(int(rest[part : part + 2]) for part in range(0, 10, 2)))))


def _name(data: bytes) -> str:
    """The common name of a Name, else its organisation."""
    for kind in (_COMMON_NAME, _ORGANISATION):
        at = data.rfind(kind)
        if at >= 0:
            _tag, start, end = _element(data, at + len(kind))
            return data[start:end].decode("utf-8", "replace")
    return ""


def read_certificate(der: bytes) -> Certificate:
    """Dates and names of a certificate in DER. Raises ValueError."""
    known = _dates.get(der)
    if known is not None:
        return known
    try:
        _tag, at, _end = _element(der, 0)  # Certificate
        _tag, at, _end = _element(der, at)  # tbsCertificate
        tag, start, end = _element(der, at)
        if tag == 0xA0:  # version
            at = end
        parts = []
        for _part in range(5):  # serialNumber, signature, issuer, validity, subject
            _tag, start, end = _element(der, at)
            parts.append((start, end))
            at = end
        start = parts[3][0]
        tag, first, end = _element(der, start)
        not_before = _time(tag, der[first:end])
        tag, first, end = _element(der, end)
        found = Certificate(
            not_before, _time(tag, der[first:end]), _name(der[slice(*parts[2])]), _name(der[slice(*parts[4])])
        )
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"no certificate: {error}") from None
    if len(_dates) > 2000:
        _dates.clear()
    _dates[der] = found
    return found


def start(
    connection: Connection,
    spec: Mapping[str, Any],
    server_name: str,
    prepare: Callable[[Connection], None] | None,
    verify: bool | None,
) -> None:
    """See C(Connection.start_tls)."""
    name = (spec.get("sni") or server_name).rstrip(".")
    options = _options(spec, verify)
    fresh = not connection.used
    try:
        connection.wrap(tls_context(*options), name)
    except ssl.SSLCertVerificationError as error:
        reason, message = _verdict(error, name)
        _note_bad(connection, error, name, prepare, fresh)
        days = connection.context.found.tls.get("days")
        if reason == "tls_expired" and days is not None:
            message = f"the certificate of {name} expired {-days:.0f} days ago" if days < 0 else message
        raise ProbeFailed(reason, message) from None
    _note(connection, verified=options[0])


def _verdict(error: ssl.SSLCertVerificationError, name: str) -> tuple[str, str]:
    code = error.verify_code
    words = error.verify_message or str(error)
    if code in _EXPIRED:
        return "tls_expired", f"the certificate of {name} or its chain is not valid now: {words}"
    if code in _HOST:
        return "tls_host", f"the certificate is not for {name}: {words}"
    if code in _CHAIN:
        return "tls_chain", f"the chain of {name} does not hold: {words}"
    return "tls_other", f"the certificate of {name} is not accepted: {words} (code {code})"


def _note(connection: Connection, verified: bool) -> None:
    context = connection.context
    der, chain, version = connection.peer()
    tls = context.found.tls
    tls.update(version=version, verify_code=0 if verified else None, chain_days=None)
    if der is None:
        raise ProbeFailed("tls_other", f"{connection.label} sent no certificate")
    _dates_of(context, der)
    if not verified or chain is None:
        context.found.details["chain"] = "unavailable"
        return
    # The last one is the trust anchor, whose end does not matter; a certificate that is its own anchor counts.
    below = chain[:-1] or chain
    try:
        first = min(read_certificate(one).not_after for one in below)
    except ValueError:
        context.found.details["chain"] = "unavailable"
        return
    tls["chain_days"] = round((first - context.now) / _DAY, 2)
    context.found.fields["chain_days"] = tls["chain_days"]


def _dates_of(context: Context, der: bytes) -> None:
    try:
        certificate = read_certificate(der)
    except ValueError as error:
        raise ProbeFailed("tls_other", f"the certificate cannot be read: {error}") from None
    tls = context.found.tls
    tls["not_after"] = certificate.not_after
    tls["issuer"] = certificate.issuer
    tls["subject"] = certificate.subject
    tls["days"] = round((certificate.not_after - context.now) / _DAY, 2)
    context.found.fields["tls_days"] = tls["days"]


def _note_bad(
    connection: Connection,
    error: ssl.SSLCertVerificationError,
    name: str,
    prepare: Callable[[Connection], None] | None,
    fresh: bool,
) -> None:
    """Dates of a certificate that was not accepted, over a second connection that accepts everything."""
    context = connection.context
    context.found.tls.update(verify_code=error.verify_code, chain_days=None)
    context.found.details["chain"] = "unavailable"
    if not fresh and prepare is None:
        return
    phases = dict(context.found.phases)
    try:
        with connection.again() as second:
            if not fresh and prepare is not None:
                prepare(second)
            second.wrap(tls_context(False, "", False), name)
            der, _chain, version = second.peer()
        context.found.tls["version"] = version
        if der is not None:
            _dates_of(context, der)
    except (ProbeFailed, OwnFault, ssl.SSLError):
        pass  # what is known already is the reason; there are no dates then
    finally:
        context.found.phases = phases


def check(spec: Spec, context: Context) -> None:
    """Connect, go over to TLS, tell what the certificate says."""
    fields = context.found.fields
    fields.update(verified=False, tls_days=None, chain_days=None)
    with dial(spec, context) as connection:
        prepare = _smtp_preamble if spec["starttls"] == "smtp" else None
        if prepare is not None:
            prepare(connection)
        connection.start_tls(spec, spec["host"], prepare)
    tls = context.found.tls
    fields["verified"] = bool(spec["verify"])
    fields["version"] = tls.get("version")
    context.found.message = (
        f"{tls.get('subject') or spec['host']}: {tls.get('days', 0):.0f} days, by {tls.get('issuer')}"
    )


def _smtp_preamble(connection: Connection) -> None:
    for said, wanted in ((b"", 220), (b"EHLO quai.invalid\r\n", 250), (b"STARTTLS\r\n", 220)):
        if said:
            connection.send(said)
        while True:
            line = connection.recv_line(1024)
            if line[:3] != b"%d" % wanted:
                answer = shorten(line.decode("utf-8", "replace"), 80)
                raise ProbeFailed(
                    "proto", f"{connection.label} answers {answer!r} to {said.strip().decode() or 'the connection'}"
                )
            if line[3:4] != b"-":
                break


__all__ = ["Certificate", "check", "read_certificate", "start", "tls_context"]
