#!/usr/bin/env python3
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An OCSP responder for pebble: asks pebble's management API what became of a certificate and signs the answer."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp

_MANAGEMENT = "https://localhost:15000"
_AUTHORITY = "/etc/lab/lab-ca.pem"
_LIFETIME = timedelta(hours=12)


def ask(path: str) -> bytes:
    """Pebble's answer; HTTPError when it knows nothing of that kind."""
    context = ssl.create_default_context(cafile=_AUTHORITY)
    with urllib.request.urlopen(f"{_MANAGEMENT}{path}", context=context, timeout=10) as answer:  # noqa: S310
        return bytes(answer.read())


def respond(question: bytes) -> bytes:
    """The DER answer to a DER question."""
    try:
        request = ocsp.load_der_ocsp_request(question)
    except ValueError:
        return unsuccessful(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
    try:
        known = json.loads(ask(f"/cert-status-by-serial/{request.serial_number:x}"))
    except urllib.error.HTTPError:
        return unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED)
    issuer = x509.load_pem_x509_certificate(ask("/intermediates/0"))
    key = serialization.load_pem_private_key(ask("/intermediate-keys/0"), password=None)
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        return unsuccessful(ocsp.OCSPResponseStatus.INTERNAL_ERROR)
    revoked = known["Status"] == "Revoked"
    now = datetime.now(timezone.utc)
    answer = ocsp.OCSPResponseBuilder().add_response(
        cert=x509.load_pem_x509_certificate(known["Certificate"].encode()),
        issuer=issuer,
        algorithm=request.hash_algorithm,
        cert_status=ocsp.OCSPCertStatus.REVOKED if revoked else ocsp.OCSPCertStatus.GOOD,
        this_update=now - timedelta(minutes=1),
        next_update=now + _LIFETIME,
        revocation_time=now if revoked else None,
        revocation_reason=None,
    )
    signed = answer.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def unsuccessful(status: ocsp.OCSPResponseStatus) -> bytes:
    """An answer without a certificate's state."""
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(serialization.Encoding.DER)


class Handler(BaseHTTPRequestHandler):
    """OCSP over HTTP (RFC 6960, appendix A): GET with the question in the path, or POST."""

    def do_GET(self) -> None:
        try:
            question = base64.b64decode(urllib.parse.unquote(self.path.lstrip("/")), validate=True)
        except ValueError:
            question = b""
        self._answer(question)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def _answer(self, question: bytes) -> None:
        body = respond(question)
        self.send_response(200)
        self.send_header("Content-Type", "application/ocsp-response")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", 80), Handler).serve_forever()
