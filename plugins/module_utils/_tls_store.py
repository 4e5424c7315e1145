# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host keeps the certificates it serves, and how one is exchanged for another.

C(/etc/quai/tls/NAME) is a link to a directory below C(/etc/quai/tls/.store/NAME). A new pair gets a new directory, is
checked there, and becomes the served one by renaming a link: key, chain and OCSP snippet change together or not at all.

The same code runs as certbot's deploy hook when the timer renews a certificate (C(deploy)).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import secrets
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.quai.ops.plugins.module_utils import _certificates, _lock, _pending

STORE = Path("/etc/quai/tls")
LETSENCRYPT = Path("/etc/letsencrypt")
FLAG = "nginx"
FILES = ("fullchain.pem", "privkey.pem", "nginx.conf", "meta.json")
PLACEHOLDER_DAYS = 30
SELFSIGNED_DAYS = 397

STAPLING = """\
# The CA of this certificate answers OCSP requests, so nginx sends its answer along. Clients verify that answer:
# nginx would need the CA's root for it, which a chain does not carry.
ssl_stapling on;
"""
NO_STAPLING = "# This certificate names no OCSP responder, so there is nothing to staple.\n"


@dataclass(frozen=True)
class Pair:
    """A chain with its key, as bytes."""

    fullchain: bytes
    privkey: bytes


def openssl(arguments: Sequence[str], stdin: bytes = b"") -> str:
    """Output of a command; raises CertificateError with its complaint."""
    try:
        done = subprocess.run(arguments, input=stdin, check=False, capture_output=True)
    except FileNotFoundError as error:
        raise _certificates.CertificateError(f"{arguments[0]} is not installed on this host") from error
    if done.returncode != 0:
        complaint = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        raise _certificates.CertificateError(f"{' '.join(arguments[:2])} refused it: {complaint[0]}")
    return done.stdout.decode("utf-8", "replace")


@functools.lru_cache(maxsize=256)
def describe(fullchain: bytes) -> _certificates.Certificate:
    """The first certificate of a chain; raises CertificateError when it is none."""
    return _certificates.parse_certificate(openssl(_certificates.OPENSSL_X509, fullchain))


def check_pair(pair: Pair) -> None:
    """Raise CertificateError unless a TLS server could start with this pair."""

    def no_password() -> str:
        raise _certificates.CertificateError("the key is encrypted; nginx needs one without a password")

    with tempfile.TemporaryDirectory(prefix="quai-tls-") as scratch:
        chain, key = Path(scratch) / "fullchain.pem", Path(scratch) / "privkey.pem"
        _create(chain, pair.fullchain, 0o644)
        _create(key, pair.privkey, 0o600)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, no_password)
        except (ssl.SSLError, ValueError) as error:
            raise _certificates.CertificateError(f"certificate and key do not make a pair: {error}") from error


def self_signed(domains: Sequence[str], days: int) -> Pair:
    """A new key with a certificate that vouches for itself."""
    config = "\n".join([
        "[req]", "distinguished_name=name", "x509_extensions=server", "prompt=no",
        "[name]", f"CN={domains[0] if len(domains[0]) <= 64 else 'quai'}",
        "[server]", "basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature",
        "extendedKeyUsage=serverAuth", f"subjectAltName={','.join(f'DNS:{domain}' for domain in domains)}", "",
    ])  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="quai-tls-") as scratch:
        paths = {name: Path(scratch) / name for name in ("config", "key", "certificate")}
        paths["config"].write_text(config, encoding="utf-8")
        openssl([
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-batch",
            "-config", str(paths["config"]), "-days", str(days),
            "-keyout", str(paths["key"]), "-out", str(paths["certificate"]),
        ])  # fmt: skip
        return Pair(paths["certificate"].read_bytes(), paths["key"].read_bytes())


def read(name: str, store: Path = STORE) -> tuple[_certificates.Held, Pair] | None:
    """What is served under a name; None when nothing usable is."""
    directory = store / name
    try:
        content = {file: (directory / file).read_bytes() for file in ("fullchain.pem", "privkey.pem")}
        pair = Pair(content["fullchain.pem"], content["privkey.pem"])
        certificate = describe(pair.fullchain)
        check_pair(pair)
    except (OSError, _certificates.CertificateError):
        return None
    try:
        meta = json.loads((directory / "meta.json").read_text(encoding="utf-8"))
        source, provider = str(meta["source"]), str(meta["provider"])
    except (OSError, ValueError, KeyError, TypeError):
        # Not ours any more: whatever the files are, they were put there by hand.
        return _certificates.Held(certificate, "unknown", "unknown", intact=False), pair
    return _certificates.Held(certificate, source, provider, _intact(store, name)), pair


def _intact(store: Path, name: str) -> bool:
    link = store / name
    if not link.is_symlink() or link.readlink().parent != Path(".store") / name:
        return False
    try:
        content = {file: (link / file).read_bytes() for file in FILES if (link / file).exists()}
        private = (link / "privkey.pem").stat()
    except OSError:
        return False
    wanted = link.readlink().name.partition("-")[0]
    return private.st_mode & 0o777 == 0o600 and private.st_uid == os.geteuid() and _digest(content) == wanted


def _digest(content: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for file in sorted(content):
        digest.update(f"{file} {len(content[file])}\n".encode() + content[file])
    return digest.hexdigest()[:16]


def install(name: str, pair: Pair, source: str, provider: str, store: Path = STORE) -> bool:
    """Serve a pair under a name from now on; returns whether that changed anything.

    Raises CertificateError, and leaves what is served, when the pair would not do.
    """
    with _lock.held(_pending.LOCK, wait_seconds=60):
        return _exchange(name, pair, source, provider, store)


def _exchange(name: str, pair: Pair, source: str, provider: str, store: Path) -> bool:
    certificate = describe(pair.fullchain)
    check_pair(pair)
    # nginx needs the issuer's certificate to ask about ours.
    staples = bool(certificate.ocsp_url) and pair.fullchain.count(b"-----BEGIN CERTIFICATE-----") > 1
    content = {
        "fullchain.pem": pair.fullchain,
        "privkey.pem": pair.privkey,
        "nginx.conf": (STAPLING if staples else NO_STAPLING).encode(),
        "meta.json": (json.dumps({"provider": provider, "source": source}, sort_keys=True) + "\n").encode(),
    }
    link = store / name
    digest = _digest(content)
    if link.is_symlink() and link.readlink().name.partition("-")[0] == digest and _intact(store, name):
        return False
    _make_private(store)
    home = store / ".store" / name
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = home / f"{digest}-{secrets.token_hex(4)}"
    fresh.mkdir(mode=0o700)
    for file, data in content.items():
        _create(fresh / file, data, 0o600 if file == "privkey.pem" else 0o644)
    _sync(fresh)
    _sync(home)
    # Before the exchange, so that a run killed right after it still gets nginx to read the new one.
    _pending.mark(FLAG)
    _point(link, Path(".store") / name / fresh.name)
    _tidy(store, name)
    return True


def _make_private(store: Path) -> None:
    # nginx reads certificates as root before it drops its rights, so nobody else needs to look in.
    store.mkdir(mode=0o755, parents=True, exist_ok=True)
    (store / ".store").mkdir(mode=0o700, exist_ok=True)


def _point(link: Path, target: Path) -> None:
    beside = link.with_name(f".{link.name}.quai-new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    if link.is_dir() and not link.is_symlink():
        # A directory made by hand: move it aside first, a rename cannot replace it.
        link.rename(link.parent / ".store" / link.name / f"found-{secrets.token_hex(4)}")
    beside.replace(link)
    _sync(link.parent)


def _tidy(store: Path, name: str) -> None:
    """Remove what no link points to any more: former pairs, and rests of killed runs."""
    link = store / name
    current = link.readlink().name if link.is_symlink() else ""
    home = store / ".store" / name
    if home.is_dir():
        for entry in home.iterdir():
            if entry.name != current:
                shutil.rmtree(entry)


def names(store: Path = STORE) -> list[str]:
    """Every name that the store knows."""
    found = set()
    for directory in (store, store / ".store"):
        if directory.is_dir():
            found |= {entry.name for entry in directory.iterdir() if _certificates.NAME.match(entry.name)}
    return sorted(found)


def remove(name: str, store: Path = STORE) -> None:
    """Forget a name: link first, then what it pointed to."""
    with _lock.held(_pending.LOCK, wait_seconds=60):
        link = store / name
        if link.is_symlink():
            link.unlink()
        elif link.is_dir():
            shutil.rmtree(link)
        if (store / ".store" / name).is_dir():
            shutil.rmtree(store / ".store" / name)


def lineage(name: str, base: Path = LETSENCRYPT) -> _certificates.Lineage | None:
    """What certbot keeps under a name; None when it knows nothing of it."""
    config, live = base / "renewal" / f"{name}.conf", base / "live" / name
    if not (config.exists() or live.exists() or (base / "archive" / name).exists()):
        return None
    try:
        server, authenticator = _certificates.parse_renewal(config.read_text(encoding="utf-8"))
        pair = lineage_pair(live)
        certificate = describe(pair.fullchain)
        check_pair(pair)
    except (OSError, _certificates.CertificateError):
        return _certificates.Lineage()
    return _certificates.Lineage(certificate, server, authenticator)


def lineage_pair(live: Path) -> Pair:
    """The newest pair of certbot's directory C(live/NAME)."""
    return Pair((live / "fullchain.pem").read_bytes(), (live / "privkey.pem").read_bytes())


def clear_lineage(name: str, base: Path = LETSENCRYPT) -> None:
    """Remove everything certbot keeps under a name, whole or half: the store has its own copy of what is served."""
    (base / "renewal" / f"{name}.conf").unlink(missing_ok=True)
    for part in ("live", "archive"):
        if (base / part / name).is_dir():
            shutil.rmtree(base / part / name)


def _create(path: Path, data: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _command(arguments: Sequence[str]) -> tuple[int, str]:
    done = subprocess.run(arguments, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()


def deploy(live: Path, store: Path = STORE, execute: Callable[[Sequence[str]], tuple[int, str]] = _command) -> str:
    """Serve what certbot renewed; returns what was done, raises CertificateError when it cannot be served.

    nginx is only told when it accepts the whole configuration; when it does not, the former pair is put back.
    """
    name = live.name
    with _lock.held(_pending.LOCK, wait_seconds=600):
        before = read(name, store)
        if before is None or before[0].provider != "acme":
            return f"{name}: not one of quai's certificates, left alone"
        held, former = before
        if not _exchange(name, lineage_pair(live), "acme", "acme", store):
            return f"{name}: served already"
        code, said = execute(["nginx", "-t", "-q"])
        if code != 0:
            _exchange(name, former, held.source, held.provider, store)
            raise _certificates.CertificateError(
                f"{name}: nginx refuses the renewed certificate, the former one serves on: {said}"
            )
        code, said = execute(["systemctl", "try-reload-or-restart", "nginx.service"])
        if code != 0:
            raise _certificates.CertificateError(
                f"{name}: systemctl try-reload-or-restart nginx.service failed: {said}"
            )
        _pending.clear(FLAG)
    return f"{name}: the renewed certificate is served"


def main() -> None:
    """Certbot's deploy hook."""
    live = os.environ.get("RENEWED_LINEAGE", "")
    if not live:
        raise SystemExit("RENEWED_LINEAGE is not set: certbot calls this after it renewed a certificate")
    try:
        # Certbot logs what its hooks say.
        sys.stdout.write(f"{deploy(Path(live))}\n")
    except (_certificates.CertificateError, _lock.LockHeld, OSError) as error:
        raise SystemExit(str(error)) from error


__all__ = [
    "LETSENCRYPT", "STORE", "Pair", "check_pair", "clear_lineage", "deploy", "describe", "install", "lineage",
    "lineage_pair", "names", "openssl", "read", "remove", "self_signed",
]  # fmt: skip

if __name__ == "__main__":
    main()
