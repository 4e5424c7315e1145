# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's own certificate authority, for the services that the hosts talk to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA_DAYS = 3650
_SERVICE_DAYS = 800
_RENEW_BEFORE = timedelta(days=30)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, from its first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)


def ensure_authority(directory: Path) -> Path:
    """Make lab-ca.pem and its key when they are missing; return the certificate's path."""
    certificate, key = directory / "lab-ca.pem", directory / "lab-ca.key"
    if not (certificate.exists() and key.exists() and _fresh(certificate)):
        private = ec.generate_private_key(ec.SECP256R1())
        name = _name("quai lab CA")
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        signed = (
            _builder(name, name, private.public_key(), private.public_key(), _CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(private, hashes.SHA256())
        )
        write_private(key, _key_bytes(private))
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return certificate


def ensure_certificate(directory: Path, host: str, address: str) -> tuple[Path, Path]:
    """A certificate and key for a service, valid for its name, its address and, inside its container, localhost."""
    authority = ensure_authority(directory)
    certificate, key = directory / f"{host}.pem", directory / f"{host}.key"
    issuer = x509.load_pem_x509_certificate(authority.read_bytes())
    names: list[x509.GeneralName] = [x509.DNSName(host), x509.DNSName("localhost")]
    names += [x509.IPAddress(IPv4Address(ip)) for ip in (address, "127.0.0.1")]
    if certificate.exists() and key.exists() and _fresh(certificate):
        present = x509.load_pem_x509_certificate(certificate.read_bytes())
        if _names(present) == names and _signed_by(present, issuer):
            return certificate, key
    signer = serialization.load_pem_private_key((directory / "lab-ca.key").read_bytes(), password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)  # noqa: S101 - written by ensure_authority
    private = ec.generate_private_key(ec.SECP256R1())
    signed = (
        _builder(_name(host), issuer.subject, private.public_key(), signer.public_key(), _SERVICE_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    write_private(key, _key_bytes(private))
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePublicKey,
    days: int,
) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _fresh(certificate: Path) -> bool:
    end = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    return end - datetime.now(timezone.utc) > _RENEW_BEFORE


def _names(certificate: x509.Certificate) -> Sequence[x509.GeneralName]:
    return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    named = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    return named == key
