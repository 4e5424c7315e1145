# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a CA: the challenge's path tried through the real name first, then certbot."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ansible_collections.quai.ops.plugins.module_utils import _lock
from ansible_collections.quai.ops.plugins.module_utils._certificates import (
    Acme,
    CertificateError,
    Probe,
    Wanted,
    certbot_command,
    certbot_reasons,
    explain,
)

CHALLENGES = Path(".well-known/acme-challenge")
CERTBOT_LOCK = Path("/var/lib/letsencrypt/.certbot.lock")
CERTBOT_LOG = Path("/var/log/letsencrypt/letsencrypt.log")
BUSY = "Another instance of Certbot is already running"
BUSY_SECONDS = 300
# Words of the reason when a CA refused a nonce. Certbot repeats such a request once; a CA may refuse the second too and
# expects to be asked again (RFC 8555, 6.5).
BAD_NONCE = ("badNonce", "anti-replay nonce")
NONCE_TRIES = 4
PROBE_SECONDS = 10
PATIENCE_SECONDS = 5


def own_addresses() -> list[str]:
    """This host's addresses, without loopback."""
    done = subprocess.run(["ip", "-json", "address"], check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if done.returncode != 0:
        return []
    return [
        info["local"]
        for interface in json.loads(done.stdout or b"[]")
        for info in interface.get("addr_info", [])
        if info.get("scope") == "global" and "local" in info
    ]


def probe(domain: str, token: str, content: str) -> Probe:
    """Fetch the token as the CA will: by name, on port 80."""
    try:
        found = socket.getaddrinfo(domain, 80, type=socket.SOCK_STREAM)
    except OSError as error:
        return Probe(domain, error=_words(error))
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    url = f"http://{domain}/{CHALLENGES}/{token}"
    # A proxy of this host's environment is not the way the CA takes. No certificate is verified after a redirect to
    # https, as the CA does not either.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=PROBE_SECONDS) as answer:
            body = answer.read(1000).decode("utf-8", "replace")
            return Probe(domain, addresses, answer.status, right=body.strip() == content)
    except urllib.error.HTTPError as error:
        return Probe(domain, addresses, error.code)
    except urllib.error.URLError as error:
        return Probe(domain, addresses, error=_words(error.reason))
    except OSError as error:
        return Probe(domain, addresses, error=_words(error))


def _words(reason: object) -> str:
    return str(getattr(reason, "strerror", None) or reason)


def preflight(domains: Sequence[str], webroot: Path, patience: float = PATIENCE_SECONDS) -> list[str]:
    """Why the CA would fail to reach which domain; empty when it would reach all.

    A web server that was just told to reload may answer with its former configuration for a moment, so a wrong answer
    is asked for again until C(patience) seconds are over.
    """
    folder = webroot / CHALLENGES
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    token, content = f"quai-{secrets.token_hex(8)}", secrets.token_hex(16)
    file = folder / token
    file.write_text(content, encoding="utf-8")
    deadline = time.monotonic() + patience
    try:
        file.chmod(0o644)
        with ThreadPoolExecutor(max_workers=8) as pool:
            answers = list(pool.map(lambda domain: probe(domain, token, content), domains))
            while any(answer.addresses and not answer.right for answer in answers) and time.monotonic() < deadline:
                time.sleep(0.2)
                answers = list(pool.map(lambda domain: probe(domain, token, content), domains))
    finally:
        file.unlink()
    if all(answer.right for answer in answers):
        return []
    own = own_addresses()
    return [reason for reason in (explain(answer, own) for answer in answers) if reason]


def issue(wanted: Wanted, acme: Acme) -> None:
    """Get one certificate from the CA; raises CertificateError with the CA's reasons, one a line."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    if acme.ca_bundle:
        environment["REQUESTS_CA_BUNDLE"] = acme.ca_bundle
    deadline = time.monotonic() + BUSY_SECONDS
    nonces = NONCE_TRIES
    while True:
        try:
            done = subprocess.run(
                certbot_command(wanted, acme),
                check=False,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # It holds our lock too, so that the next run waits for it should this one be killed.
                close_fds=False,
            )
        except FileNotFoundError as error:
            raise CertificateError("certbot is not installed on this host") from error
        said = done.stdout.decode("utf-8", "replace")
        if done.returncode == 0:
            return
        reasons = certbot_reasons(said, _log())
        if nonces > 1 and any(word in reason for reason in reasons for word in BAD_NONCE):
            nonces -= 1
            continue
        if BUSY not in said or time.monotonic() > deadline:
            raise CertificateError("\n".join([*reasons, f"certbot's log is {CERTBOT_LOG}"]))
        try:
            _lock.wait_until_free([CERTBOT_LOCK], deadline - time.monotonic())
        except _lock.LockHeld as error:
            raise CertificateError(f"another certbot runs on this host: {error}; end it and run again") from error


def _log() -> str:
    # Certbot begins a new file with every run.
    try:
        return CERTBOT_LOG.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


__all__ = ["CERTBOT_LOG", "issue", "own_addresses", "preflight", "probe"]
