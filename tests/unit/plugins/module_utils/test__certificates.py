# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about certificates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.quai.ops.plugins.module_utils._certificates import (
    DAY,
    Acme,
    Certificate,
    CertificateError,
    Facts,
    Held,
    Lineage,
    Probe,
    Wanted,
    certbot_command,
    certbot_reasons,
    check_pair,
    check_wanted,
    covers,
    explain,
    failure_message,
    parse_certificate,
    parse_renewal,
    plan,
)

NOW = 1_800_000_000.0
CA = "https://ca.example.org/dir"
ACME = Acme(directory_url=CA, webroot="/var/lib/quai/acme", dns_plugin="rfc2136")
SHOP = Wanted("shop", ("shop.example.org", "www.example.org"))


def certificate(
    *names: str, days_left: float = 80, life: float = 90, fingerprint: str = "aa", issuer: str = "CN=CA"
) -> Certificate:
    """A certificate as the store would describe it."""
    return Certificate(
        names=frozenset(names or SHOP.domains),
        subject="CN=shop.example.org",
        issuer=issuer,
        serial="01",
        not_before=NOW + (days_left - life) * DAY,
        not_after=NOW + days_left * DAY,
        fingerprint=fingerprint,
    )


ISSUED = Lineage(certificate(), CA, "webroot")
SERVED = Held(certificate(), "acme", "acme")
PLACEHOLDER = Held(certificate(days_left=29, life=30, fingerprint="ph"), "placeholder", "acme")


@pytest.mark.parametrize(
    ("held", "lineage", "action", "issue"),
    [
        pytest.param(None, None, "placeholder", "none was issued yet", id="bare host"),
        pytest.param(PLACEHOLDER, None, "keep", "none was issued yet", id="placeholder waits"),
        pytest.param(
            replace(PLACEHOLDER, certificate=certificate("old.example.org")),
            None,
            "placeholder",
            "none was issued yet",
            id="placeholder for other names",
        ),
        pytest.param(
            replace(PLACEHOLDER, certificate=certificate(days_left=-1)),
            None,
            "placeholder",
            "none was issued yet",
            id="placeholder expired",
        ),
        pytest.param(
            replace(PLACEHOLDER, intact=False), None, "placeholder", "none was issued yet", id="placeholder edited"
        ),
        pytest.param(SERVED, ISSUED, "keep", "", id="all is well"),
        pytest.param(replace(SERVED, intact=False), ISSUED, "lineage", "", id="served files edited"),
        pytest.param(None, ISSUED, "lineage", "", id="link deleted"),
        pytest.param(PLACEHOLDER, ISSUED, "lineage", "", id="killed between issue and exchange"),
        pytest.param(
            replace(SERVED, certificate=certificate(fingerprint="old")),
            ISSUED,
            "lineage",
            "",
            id="renewed, hook failed",
        ),
        pytest.param(SERVED, Lineage(), "keep", "none was issued yet", id="certbot's files half gone"),
        pytest.param(
            SERVED,
            replace(ISSUED, server="https://acme-staging-v02.api.letsencrypt.org/directory"),
            "keep",
            f"it was issued by https://acme-staging-v02.api.letsencrypt.org/directory, and {CA} is wanted",
            id="other CA",
        ),
        pytest.param(
            SERVED,
            replace(ISSUED, authenticator="nginx"),
            "keep",
            "certbot would renew it by nginx, and webroot is wanted",
            id="taken over from certbot --nginx",
        ),
        pytest.param(
            None,
            Lineage(certificate("shop.example.org"), CA, "webroot"),
            "lineage",
            "it is for shop.example.org, and shop.example.org, www.example.org is wanted",
            id="a name was added and the link is gone",
        ),
        pytest.param(
            None,
            Lineage(certificate("else.example.org"), CA, "webroot"),
            "placeholder",
            "it is for else.example.org, and shop.example.org, www.example.org is wanted",
            id="issued for other names",
        ),
        pytest.param(
            SERVED,
            Lineage(certificate(days_left=20), CA, "webroot"),
            "keep",
            "it expires in 20 days",
            id="timer failed",
        ),
        pytest.param(
            SERVED, Lineage(certificate(days_left=-2), CA, "webroot"), "keep", "it expired 2 days ago", id="expired"
        ),
        pytest.param(
            None,
            Lineage(certificate(days_left=-2), CA, "webroot"),
            "placeholder",
            "it expired 2 days ago",
            id="nothing good left",
        ),
        pytest.param(
            replace(SERVED, certificate=certificate(days_left=5, life=6)),
            Lineage(certificate(days_left=5, life=6), CA, "webroot"),
            "keep",
            "",
            id="short-lived and young",
        ),
        pytest.param(
            Held(certificate(fingerprint="self"), "selfsigned", "selfsigned"),
            None,
            "restore",
            "none was issued yet",
            id="was self-signed before",
        ),
        pytest.param(
            Held(certificate(fingerprint="hand"), "unknown", "unknown", intact=False),
            None,
            "restore",
            "none was issued yet",
            id="put there by hand",
        ),
        pytest.param(
            Held(certificate(), "provided", "provided"), ISSUED, "lineage", "", id="provided before, issued long ago"
        ),
    ],
)
def test_plan_of_an_acme_certificate(held: Held | None, lineage: Lineage | None, action: str, issue: str) -> None:
    """A certificate that serves is only ever replaced by a better one."""
    result = plan(SHOP, Facts(held, lineage), ACME, NOW, renew_days=21)
    assert (result.now.action, result.issue) == (action, issue)


SELF = Wanted("shop", SHOP.domains, provider="selfsigned")
SELF_HELD = Held(certificate(days_left=300, life=397), "selfsigned", "selfsigned")


@pytest.mark.parametrize(
    ("held", "action"),
    [
        pytest.param(None, "generate", id="none yet"),
        pytest.param(SELF_HELD, "keep", id="good"),
        pytest.param(replace(SELF_HELD, intact=False), "restore", id="edited"),
        pytest.param(replace(SELF_HELD, source="acme"), "generate", id="from a CA before"),
        pytest.param(replace(SELF_HELD, certificate=certificate("a.example.org")), "generate", id="other names"),
        pytest.param(replace(SELF_HELD, certificate=certificate(days_left=3, life=397)), "generate", id="expires"),
    ],
)
def test_plan_of_a_self_signed_certificate(held: Held | None, action: str) -> None:
    """It is made once, and again when it stops fitting; nobody is asked."""
    result = plan(SELF, Facts(held), ACME, NOW, renew_days=21)
    assert (result.now.action, result.issue) == (action, "")


def test_a_dns_certificate_is_renewed_by_its_plugin() -> None:
    """Changing the challenge of a valid certificate asks again, else its next renewal would fail."""
    wanted = Wanted("shop", SHOP.domains, challenge="dns-01")
    assert plan(wanted, Facts(SERVED, ISSUED), ACME, NOW, 21).issue.startswith("certbot would renew it by webroot")
    dns = replace(ISSUED, authenticator="dns-rfc2136")
    assert plan(wanted, Facts(SERVED, dns), ACME, NOW, 21).issue == ""


OPENSSL_3 = """\
subject=CN=api.example.org
issuer=CN=Pebble Intermediate CA 060f8d
serial=23ED8F953C05AABD
notBefore=Nov 21 02:48:42 2026 GMT
notAfter=Feb 19 02:48:41 2027 GMT
X509v3 Subject Alternative Name: critical
    DNS:API.example.org, DNS:*.example.org, IP Address:192.0.2.7
Authority Information Access:
    OCSP - URI:http://ocsp.example.org/?a=b
    CA Issuers - URI:http://ca.example.org/ca.crt?subject=c
sha256 Fingerprint=AB:CD:EF
"""


def test_parse_certificate() -> None:
    """What openssl prints for a certificate with everything."""
    parsed = parse_certificate(OPENSSL_3)
    assert parsed.names == {"api.example.org", "*.example.org", "192.0.2.7"}
    assert (parsed.serial, parsed.fingerprint) == ("23ed8f953c05aabd", "abcdef")
    assert parsed.not_after - parsed.not_before == 90 * DAY - 1
    assert parsed.ocsp_url == "http://ocsp.example.org/?a=b"
    assert not parsed.self_signed


def test_parse_certificate_without_names_and_ocsp() -> None:
    """A certificate may lack both."""
    lines = [line for line in OPENSSL_3.splitlines() if not line.strip().startswith(("DNS", "OCSP", "X509v3"))]
    parsed = parse_certificate("\n".join(lines).replace("SHA256", "sha256"))
    assert (parsed.names, parsed.ocsp_url) == (frozenset(), "")


@pytest.mark.parametrize("text", ["", "subject=CN=x\n", OPENSSL_3.replace("Feb 19", "Zug 19")])
def test_unknown_words_are_refused(text: str) -> None:
    """Guessing an expiry would be worse than failing."""
    with pytest.raises(CertificateError, match="words that quai does not know"):
        parse_certificate(text)


@pytest.mark.parametrize(
    ("names", "domain", "expected"),
    [
        (["a.example.org"], "a.example.org", True),
        (["*.example.org"], "a.example.org", True),
        (["*.example.org"], "example.org", False),
        (["*.example.org"], "a.b.example.org", False),
        (["*.example.org"], "*.example.org", True),
        (["a.example.org"], "b.example.org", False),
        ([], "localhost", False),
    ],
)
def test_covers(names: list[str], domain: str, expected: bool) -> None:
    """A wildcard stands for one label."""
    assert covers(names, domain) is expected


@pytest.mark.parametrize(
    ("wanted", "acme", "problem"),
    [
        pytest.param([SHOP, SHOP], ACME, "'shop' is declared 2 times", id="twice"),
        pytest.param([replace(SHOP, name="../x")], ACME, "a name has lowercase letters", id="name that is a path"),
        pytest.param([replace(SHOP, name="x\n")], ACME, "a name has lowercase letters", id="name with an end of line"),
        pytest.param([replace(SHOP, domains=())], ACME, "domains is empty", id="no domain"),
        pytest.param([replace(SHOP, domains=("é.fr",))], ACME, "'é.fr' is not a domain name", id="not in xn-- form"),
        pytest.param([replace(SHOP, domains=("a b",))], ACME, "'a b' is not a domain name", id="space"),
        pytest.param([replace(SHOP, domains=("-a.org",))], ACME, "is not a domain name", id="leading dash"),
        pytest.param(
            [replace(SHOP, domains=("*.a.org",))], ACME, "can only be proven by dns-01", id="wildcard by http"
        ),
        pytest.param(
            [replace(SHOP, challenge="dns-01")], replace(ACME, dns_plugin=""), "needs acme.dns_plugin", id="no plugin"
        ),
        pytest.param([SHOP], replace(ACME, directory_url="prod"), "acme.directory_url is 'prod'", id="no such CA"),
        pytest.param([SHOP], replace(ACME, directory_url="http://x/dir"), "https:// address", id="plain CA"),
        pytest.param([replace(SHOP, provider="provided")], ACME, "needs certificate_file and key_file", id="no files"),
    ],
)
def test_check_wanted(wanted: list[Wanted], acme: Acme, problem: str) -> None:
    """Each mistake is named with its certificate."""
    found = check_wanted(wanted, acme)
    assert len(found) == 1
    assert problem in found[0]
    assert "certificate '" in found[0]


def test_a_good_declaration_has_no_problems() -> None:
    """Everything at once."""
    wanted = [
        SHOP,
        Wanted("wild", ("*.example.org", "example.org"), challenge="dns-01"),
        Wanted("own", ("own.example.org",), "selfsigned"),
        Wanted("given", ("given.example.org",), "provided", fullchain=b"x", privkey=b"y"),
    ]
    assert check_wanted(wanted, replace(ACME, directory_url="staging")) == []


def test_a_provided_certificate_must_fit() -> None:
    """Names and expiry are checked before it serves."""
    check_pair(SHOP, certificate("*.example.org"), NOW)
    with pytest.raises(
        CertificateError, match=r"is for a\.example\.org, not for shop\.example\.org, www\.example\.org"
    ):
        check_pair(SHOP, certificate("a.example.org"), NOW)
    with pytest.raises(CertificateError, match="expired 3 days ago"):
        check_pair(SHOP, certificate(days_left=-3), NOW)


def test_certbot_command_for_http() -> None:
    """Certbot only carries out what was decided, and keeps what the timer needs."""
    command = certbot_command(SHOP, replace(ACME, email="ops@example.org"))
    assert command[:2] == ["certbot", "certonly"]
    assert "--force-renewal" in command
    assert command[command.index("--server") + 1] == CA
    assert command[command.index("--email") + 1] == "ops@example.org"
    assert command[command.index("--webroot-path") + 1] == "/var/lib/quai/acme"
    assert command[-4:] == ["--domain", "shop.example.org", "--domain", "www.example.org"]


def test_certbot_command_for_dns() -> None:
    """Credentials are a file's name, never a value."""
    acme = replace(ACME, dns_credentials_file="/etc/quai/acme/dns-credentials.ini", dns_propagation_seconds=5)
    command = certbot_command(replace(SHOP, challenge="dns-01"), acme)
    assert "--webroot" not in command
    assert command[command.index("--dns-rfc2136-credentials") + 1] == "/etc/quai/acme/dns-credentials.ini"
    assert command[command.index("--dns-rfc2136-propagation-seconds") + 1] == "5"
    assert "--register-unsafely-without-email" in command
    # Plugins such as route53 take their credentials from elsewhere and know no such option.
    assert not any("credentials" in word for word in certbot_command(replace(SHOP, challenge="dns-01"), ACME))


CASES = Path(__file__).parent / "certbot_output"
CA_SAID = (
    "acme.messages.Error: urn:ietf:params:acme:error:rejectedIdentifier :: The server will not issue certificates for"
    " the identifier :: Order included an identifier for which issuance is forbidden by policy:"
    ' "blocked-domain.example"\n'
    "Problem for blocked-domain.example: urn:ietf:params:acme:error:rejectedIdentifier :: The server will not …\n"
)


@pytest.mark.parametrize("version", ["2.1", "4.0"])
@pytest.mark.parametrize(
    ("case", "log", "expected"),
    [
        ("two-domains", "", ["other.example.org: Get ", "nowhere.example.org: Get "]),
        ("directory-unreachable", "", ["ValueError: Requesting ca.example.org/dir: Connection refused"]),
        ("unknown-ca", "", ["requests.exceptions.SSLError: HTTPSConnectionPool(host='ca.example.org'"]),
        ("wrong-tsig-key", "", ["Encountered error "]),
        ("no-credentials-file", "", ["File not found: /root/none.ini"]),
        ("forbidden-by-policy", CA_SAID, ["Order included an identifier for which issuance is forbidden by policy"]),
    ],
)
def test_certbot_reasons(version: str, case: str, log: str, expected: list[str]) -> None:
    """Outputs captured from certbot 2.1 (Debian 12) and 4.0 (Debian 13)."""
    reasons = certbot_reasons((CASES / f"{version}-{case}.txt").read_text(encoding="utf-8"), log)
    assert [reason[: len(start)] for reason, start in zip(reasons, expected, strict=True)] == expected
    assert not any("Ask for help" in reason or "Hint" in reason for reason in reasons)


def test_certbot_says_nothing() -> None:
    """Even then there is a reason to print."""
    assert certbot_reasons("Saving debug log to /x\n") == ["certbot failed and said nothing"]


def test_parse_renewal() -> None:
    """Server and plugin of certbot's own file."""
    text = "version = 4.0.0\n[renewalparams]\naccount = x\nauthenticator = dns-rfc2136\nserver = https://ca/dir\n"
    assert parse_renewal(text) == ("https://ca/dir", "dns-rfc2136")
    assert parse_renewal("") == ("", "")


OWN = ["198.51.100.7", "2001:db8::7"]


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (Probe("a.org", ("198.51.100.7",), 200, right=True), ""),
        (
            Probe("a.org", error="Name or service not known"),
            "a.org resolves nowhere (Name or service not known); point its",
        ),
        (
            Probe("a.org", ("203.0.113.9",), error="timed out"),
            (
                "a.org resolves to 203.0.113.9, which is no address of this host (198.51.100.7, 2001:db8::7), and"
                " http://a.org/ cannot be reached there: timed out"
            ),
        ),
        (
            Probe("a.org", ("198.51.100.7",), 404),
            "a.org resolves to 198.51.100.7, and the answer there to the challenge's path was 404 instead of 200",
        ),
        (
            Probe("a.org", ("203.0.113.9",), 200),
            (
                "a.org resolves to 203.0.113.9, which is no address of this host (198.51.100.7, 2001:db8::7), and the"
                " answer there to the challenge's path was 200 with another content"
            ),
        ),
    ],
)
def test_explain(probe: Probe, words: str) -> None:
    """Which name fails, and why."""
    said = explain(probe, OWN)
    assert said.startswith(words)
    assert bool(said) is bool(words)


def test_failure_message_names_every_reason() -> None:
    """All of them, one a line."""
    assert failure_message({"a": ["x", "y"], "b": ["z"]}, 3).splitlines() == [
        "2 of 3 certificates could not be had; what was served before still is.", "- a: x", "- a: y", "- b: z",
    ]  # fmt: skip
