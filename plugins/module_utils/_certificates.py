# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must happen so that every name is served with a good certificate: decisions only, nothing is touched here.

Two moments are kept apart. Before nginx gets its configuration, C(prepare) makes sure that some usable pair lies where
the sites expect one (C(at_hand)); once nginx answers the challenge, C(issue) asks the CA for what is still missing
(C(to_issue)). A certificate that serves now is replaced only by a better one.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

DAY = 86400
DIRECTORIES = {
    "production": "https://acme-v02.api.letsencrypt.org/directory",
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")
DOMAIN = re.compile(r"(\*\.)?(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*\Z")


class CertificateError(Exception):
    """A certificate cannot be had as asked; the message says which, why, and what would be right."""


@dataclass(frozen=True)
class Certificate:
    """The first certificate of a chain, as far as decisions need it. Times are seconds since the epoch."""

    names: frozenset[str]
    subject: str
    issuer: str
    serial: str
    not_before: float
    not_after: float
    fingerprint: str
    ocsp_url: str = ""

    @property
    def self_signed(self) -> bool:
        """Whether it vouches for itself."""
        return self.subject == self.issuer


@dataclass(frozen=True)
class Wanted:
    """A certificate as declared. A provided one carries its pair."""

    name: str
    domains: tuple[str, ...]
    provider: str = "acme"
    challenge: str = "http-01"
    fullchain: bytes = b""
    privkey: bytes = b""


@dataclass(frozen=True)
class Held:
    """What is served under a name now. ``intact`` is false when somebody edited its files."""

    certificate: Certificate
    source: str
    provider: str
    intact: bool = True


@dataclass(frozen=True)
class Lineage:
    """What certbot keeps under a name. Without a certificate it is the rest of an interrupted run."""

    certificate: Certificate | None = None
    server: str = ""
    authenticator: str = ""


@dataclass(frozen=True)
class Acme:
    """The CA, and how it is asked."""

    directory_url: str = "production"
    email: str = ""
    ca_bundle: str = ""
    webroot: str = ""
    dns_plugin: str = ""
    dns_credentials_file: str = ""
    dns_propagation_seconds: int = 60

    @property
    def server(self) -> str:
        """Directory URL, the words for Let's Encrypt's two resolved."""
        return DIRECTORIES.get(self.directory_url, self.directory_url)

    def authenticator(self, challenge: str) -> str:
        """Certbot's plugin for a challenge."""
        return f"dns-{self.dns_plugin}" if challenge == "dns-01" else "webroot"


@dataclass(frozen=True)
class Step:
    """One action and its reason. Actions: keep, restore, lineage, placeholder, generate, provide."""

    action: str
    reason: str = ""


@dataclass(frozen=True)
class Plan:
    """What one certificate needs: ``now`` before nginx is configured, ``issue`` (a reason, or empty) afterwards."""

    now: Step
    issue: str = ""


@dataclass(frozen=True)
class Facts:
    """Everything known of one name."""

    held: Held | None = None
    lineage: Lineage | None = None


def parse_certificate(text: str) -> Certificate:
    """A certificate from C(openssl x509)'s words; see C(OPENSSL_X509) for the options. Raises CertificateError."""
    values: dict[str, str] = {}
    names: set[str] = set()
    ocsp = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith(("DNS:", "IP Address:")):
            names |= {part.split(":", 1)[1].strip().lower() for part in line.split(",") if ":" in part}
        elif line.startswith("OCSP - URI:"):
            ocsp = ocsp or line.partition(":")[2]
        elif line.startswith("CA Issuers"):
            continue
        elif "=" in line:
            key, value = line.split("=", 1)
            values[key.strip().lower()] = value.strip()
    try:
        return Certificate(
            names=frozenset(names),
            subject=values["subject"],
            issuer=values["issuer"],
            serial=values["serial"].lower(),
            not_before=float(ssl.cert_time_to_seconds(values["notbefore"])),
            not_after=float(ssl.cert_time_to_seconds(values["notafter"])),
            fingerprint=next(v for k, v in values.items() if k.endswith("fingerprint")).replace(":", "").lower(),
            ocsp_url=ocsp,
        )
    except (KeyError, StopIteration, ValueError) as error:
        raise CertificateError(f"openssl described a certificate in words that quai does not know: {text!r}") from error


OPENSSL_X509 = (
    "openssl", "x509", "-noout", "-subject", "-issuer", "-serial", "-startdate", "-enddate",
    "-nameopt", "RFC2253", "-ext", "subjectAltName,authorityInfoAccess", "-fingerprint", "-sha256",
)  # fmt: skip


def covers(names: Iterable[str], domain: str) -> bool:
    """Whether a certificate for ``names`` is good for ``domain``; a wildcard stands for exactly one label."""
    have = set(names)
    parent = domain.partition(".")[2]
    return domain in have or (bool(parent) and f"*.{parent}" in have)


def check_wanted(wanted: Sequence[Wanted], acme: Acme) -> list[str]:
    """Everything that is wrong with the declaration, as sentences; empty when it can be worked on."""
    problems = []
    names = [one.name for one in wanted]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"certificate {name!r} is declared {names.count(name)} times; a name may stand once")
    for one in wanted:
        here = f"certificate {one.name!r}"
        if not NAME.match(one.name):
            problems.append(f"{here}: a name has lowercase letters, digits and . _ - and starts with a letter")
        if not one.domains:
            problems.append(f"{here}: domains is empty; give at least one")
        for domain in one.domains:
            if not DOMAIN.match(domain):
                problems.append(f"{here}: {domain!r} is not a domain name (an international one in its xn-- form is)")
        wildcards = [domain for domain in one.domains if domain.startswith("*.")]
        if one.provider == "acme":
            if wildcards and one.challenge != "dns-01":
                problems.append(f"{here}: {wildcards[0]!r} can only be proven by dns-01, not by {one.challenge}")
            if one.challenge == "dns-01" and not acme.dns_plugin:
                problems.append(f"{here}: dns-01 needs acme.dns_plugin, for example rfc2136, ovh or cloudflare")
            if not acme.server.startswith("https://"):
                problems.append(
                    f"{here}: acme.directory_url is {acme.directory_url!r};"
                    " it is 'production', 'staging' or the https:// address of a CA's directory"
                )
        if one.provider == "provided" and not (one.fullchain and one.privkey):
            problems.append(
                f"{here}: a provided certificate needs certificate_file and key_file, or certificate and key"
            )
    return problems


def check_pair(wanted: Wanted, certificate: Certificate, now: float) -> None:
    """Refuse a provided certificate that would not serve its names; raises CertificateError."""
    missing = [domain for domain in wanted.domains if domain not in certificate.names]
    missing = [domain for domain in missing if not covers(certificate.names, domain)]
    if missing:
        raise CertificateError(
            f"the provided certificate is for {', '.join(sorted(certificate.names)) or 'no name'},"
            f" not for {', '.join(missing)}"
        )
    if certificate.not_after <= now:
        raise CertificateError(f"the provided certificate expired {_days(now - certificate.not_after)} ago")


def plan(wanted: Wanted, facts: Facts, acme: Acme, now: float, renew_days: int) -> Plan:
    """What one declared certificate needs, from what is there."""
    held = facts.held
    if wanted.provider == "acme":
        return _plan_acme(wanted, facts, acme, now, renew_days)
    if wanted.provider == "provided":
        # Whether the bytes differ is for the store to see: it compares contents before it writes.
        return Plan(Step("provide"))
    if held is None:
        return Plan(Step("generate", "there is none yet"))
    reason = _unfit(held.certificate, wanted, now, renew_days)
    if held.source != "selfsigned":
        reason = f"the one there is {held.source}"
    if reason:
        return Plan(Step("generate", reason))
    return Plan(Step("keep") if held.intact else Step("restore", "its files were changed by hand"))


def _plan_acme(wanted: Wanted, facts: Facts, acme: Acme, now: float, renew_days: int) -> Plan:
    held, lineage = facts.held, facts.lineage
    issued = lineage.certificate if lineage else None
    issue = _why_issue(wanted, lineage, acme, now, renew_days)
    now_step = Step("keep")
    if issued is not None and not issue:
        if held is None or held.source != "acme" or held.certificate.fingerprint != issued.fingerprint:
            now_step = Step("lineage", "the issued certificate is not the one that is served")
        elif not held.intact:
            now_step = Step("lineage", "its files were changed by hand")
    elif held is None:
        if issued is not None and issued.not_after > now and wanted_names(wanted) & issued.names:
            now_step = Step("lineage", "what was issued last serves until the new one is here")
        else:
            now_step = Step("placeholder", "sites need one before the CA can be asked")
    elif held.source == "placeholder":
        if not (held.intact and held.certificate.names == wanted_names(wanted) and held.certificate.not_after > now):
            now_step = Step("placeholder", "its names changed, or it did, or it expired")
    elif not held.intact or held.provider != "acme":
        # An older certificate, or another provider's: better than a placeholder.
        now_step = Step("restore", "it serves until the CA's is here")
    return Plan(now_step, issue)


def _why_issue(wanted: Wanted, lineage: Lineage | None, acme: Acme, now: float, renew_days: int) -> str:
    if lineage is None or lineage.certificate is None:
        return "none was issued yet"
    if lineage.server != acme.server:
        return f"it was issued by {lineage.server or 'an unknown CA'}, and {acme.server} is wanted"
    plugin = acme.authenticator(wanted.challenge)
    if lineage.authenticator != plugin:
        return f"certbot would renew it by {lineage.authenticator or 'an unknown plugin'}, and {plugin} is wanted"
    return _unfit(lineage.certificate, wanted, now, renew_days)


def wanted_names(wanted: Wanted) -> frozenset[str]:
    """The names a certificate is to carry."""
    return frozenset(wanted.domains)


def _unfit(certificate: Certificate, wanted: Wanted, now: float, renew_days: int) -> str:
    if certificate.names != wanted_names(wanted):
        names = ", ".join(sorted(certificate.names)) or "no name"
        return f"it is for {names}, and {', '.join(wanted.domains)} is wanted"
    # A third of its life at most, so that a CA with short-lived certificates is not asked on every run.
    margin = min(renew_days * DAY, (certificate.not_after - certificate.not_before) / 3)
    if certificate.not_after - now < margin:
        left = certificate.not_after - now
        return f"it expires in {_days(left)}" if left > 0 else f"it expired {_days(-left)} ago"
    return ""


def _days(seconds: float) -> str:
    days = int(seconds // DAY)
    return f"{days} day{'' if days == 1 else 's'}" if days else f"{int(seconds // 3600)} hours"


def certbot_command(wanted: Wanted, acme: Acme) -> list[str]:
    """The command that gets one certificate and leaves a renewal configuration for the timer.

    Whether to ask the CA at all was decided before, so certbot is told not to decide again.
    """
    command = [
        "certbot", "certonly", "--non-interactive", "--agree-tos", "--cert-name", wanted.name,
        "--server", acme.server, "--key-type", "ecdsa", "--force-renewal", "--renew-with-new-domains",
    ]  # fmt: skip
    command += ["--email", acme.email, "--no-eff-email"] if acme.email else ["--register-unsafely-without-email"]
    if wanted.challenge == "dns-01":
        plugin = f"--dns-{acme.dns_plugin}"
        command += [plugin, f"{plugin}-propagation-seconds", str(acme.dns_propagation_seconds)]
        if acme.dns_credentials_file:
            command += [f"{plugin}-credentials", acme.dns_credentials_file]
    else:
        command += ["--webroot", "--webroot-path", acme.webroot]
    for domain in wanted.domains:
        command += ["--domain", domain]
    return command


_PROBLEM = re.compile(
    r"^\s*(?:Domain|Identifier):\s*(\S+)\s*\n\s*Type:\s*(\S+)\s*\n\s*Detail:\s*(.+?)"
    r"(?=\n\s*\n|\n\s*(?:Domain|Identifier):|\Z)",
    re.M | re.S,
)
_ACME_ERROR = re.compile(r"^acme\.messages\.Error: urn:ietf:params:acme:error:(\w+) :: .*? :: (.*)$", re.M)
_BOILERPLATE = re.compile(
    r"^(Saving debug log|Plugins selected|Requesting a certificate|Renewing an existing|Account registered|Performing|"
    r"Simulating|Certbot failed to authenticate|Hint:|Some challenges have failed|Ask for help|"
    r"An unexpected error occurred|Unsafe permissions|Waiting \d|Encountered exception|Cleaning up|- - -)"
)


def certbot_reasons(output: str, log: str = "") -> list[str]:
    """Why certbot failed, without its advice: the CA's words where it said something, else certbot's last ones.

    ``log`` is certbot's debug log of the run. Certbot 2.1 on Python 3.11 prints "can't set attribute" in place of what
    the CA answered to an order; there only the log has it.
    """
    found = [f"{domain}: {' '.join(detail.split())} ({kind})" for domain, kind, detail in _PROBLEM.findall(output)]
    if not found:
        found = list(dict.fromkeys(f"{' '.join(detail.split())} ({kind})" for kind, detail in _ACME_ERROR.findall(log)))
    if found:
        return found
    lines = [line.strip() for line in output.splitlines()]
    lines = [line for line in lines if line and not _BOILERPLATE.match(line)]
    return lines[-3:] or ["certbot failed and said nothing"]


def parse_renewal(text: str) -> tuple[str, str]:
    """Server and authenticator of certbot's renewal configuration."""
    values = dict(re.findall(r"^(server|authenticator)\s*=\s*(\S+)\s*$", text, re.M))
    return values.get("server", ""), values.get("authenticator", "")


@dataclass(frozen=True)
class Probe:
    """What one domain answered to the challenge's preflight."""

    domain: str
    addresses: tuple[str, ...] = ()
    status: int = 0
    right: bool = False
    error: str = ""


def explain(probe: Probe, own_addresses: Iterable[str]) -> str:
    """Why the CA would refuse a domain, and what would be right; empty when it would not."""
    if probe.right:
        return ""
    own = sorted(own_addresses)
    if not probe.addresses:
        here = ", ".join(own)
        return f"{probe.domain} resolves nowhere ({probe.error}); point its A/AAAA record to this host ({here})"
    where = f"{probe.domain} resolves to {', '.join(probe.addresses)}"
    if not set(probe.addresses) & set(own):
        where += f", which is no address of this host ({', '.join(own)})"
    if probe.error:
        return f"{where}, and http://{probe.domain}/ cannot be reached there: {probe.error}"
    if probe.status != 200:
        return f"{where}, and the answer there to the challenge's path was {probe.status} instead of 200 with the token"
    return f"{where}, and the answer there to the challenge's path was 200 with another content: another server answers"


def failure_message(failures: Mapping[str, Sequence[str]], total: int) -> str:
    """One message for everything that failed."""
    lines = [f"{len(failures)} of {total} certificates could not be had; what was served before still is."]
    for name, reasons in failures.items():
        lines += [f"- {name}: {reason}" for reason in reasons]
    return "\n".join(lines)


__all__ = [
    "DIRECTORIES", "NAME", "OPENSSL_X509",
    "Acme", "Certificate", "CertificateError", "Facts", "Held", "Lineage", "Plan", "Probe", "Step", "Wanted",
    "certbot_command", "certbot_reasons", "check_pair", "check_wanted", "covers", "explain", "failure_message",
    "parse_certificate", "parse_renewal", "plan", "wanted_names",
]  # fmt: skip
