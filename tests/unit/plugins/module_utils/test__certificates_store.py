# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of certificates and a run over it, with real keys and a CA made of openssl."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _lock, _pending, _tls_store, _tls_work
from ansible_collections.quai.ops.plugins.module_utils._certificates import Acme, CertificateError, Wanted

NOW = time.time()
CA_URL = "https://ca.example.org/dir"


@pytest.fixture(autouse=True)
def run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Locks and flags below the test's own directory."""
    held, read, mark, clear = _lock.held, _pending.read, _pending.mark, _pending.clear
    flags = tmp_path / "flags"

    def locked(name: str, wait_seconds: float) -> AbstractContextManager[None]:
        return held(name, wait_seconds, tmp_path / "locks")

    monkeypatch.setattr(_lock, "held", locked)
    monkeypatch.setattr(_pending, "read", lambda: read(flags))
    monkeypatch.setattr(_pending, "mark", lambda flag: mark(flag, flags))
    monkeypatch.setattr(_pending, "clear", lambda flag: clear(flag, flags))
    yield flags


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An empty store."""
    return tmp_path / "tls"


class Ca:
    """Signs what it is asked to and keeps it as certbot would."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.letsencrypt = directory / "letsencrypt"
        self.asked: list[str] = []
        self.refuses: dict[str, str] = {}
        directory.mkdir()
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "365",
            "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test CA",
        )  # fmt: skip

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)

    def pair(self, *domains: str, days: int = 90, ocsp: str = "") -> _tls_store.Pair:
        """A new pair with the CA's certificate behind it."""
        extensions = "subjectAltName=" + ",".join(f"DNS:{domain}" for domain in domains)
        if ocsp:
            extensions += f"\nauthorityInfoAccess=OCSP;URI:{ocsp}"
        (self.directory / "ext").write_text(extensions, encoding="utf-8")
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key",
            "-out", "csr", "-subj", f"/CN={domains[0]}",
        )  # fmt: skip
        self._openssl(
            "x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", str(days), "-extfile", "ext",
            "-out", "leaf",
        )  # fmt: skip
        chain = (self.directory / "leaf").read_bytes() + (self.directory / "ca.pem").read_bytes()
        return _tls_store.Pair(chain, (self.directory / "key").read_bytes())

    def keep(self, name: str, pair: _tls_store.Pair, server: str = CA_URL, authenticator: str = "webroot") -> Path:
        """Write a lineage; returns its live directory."""
        live = self.letsencrypt / "live" / name
        live.mkdir(parents=True, exist_ok=True)
        (live / "fullchain.pem").write_bytes(pair.fullchain)
        (live / "privkey.pem").write_bytes(pair.privkey)
        renewal = self.letsencrypt / "renewal"
        renewal.mkdir(exist_ok=True)
        (renewal / f"{name}.conf").write_text(f"server = {server}\nauthenticator = {authenticator}\n", encoding="utf-8")
        return live

    def issue(self, wanted: Wanted, acme: Acme) -> None:
        """What certbot does."""
        self.asked.append(wanted.name)
        if wanted.name in self.refuses:
            raise CertificateError(self.refuses[wanted.name])
        self.keep(wanted.name, self.pair(*wanted.domains), acme.server, acme.authenticator(wanted.challenge))


@pytest.fixture
def ca(tmp_path: Path) -> Ca:
    """A CA."""
    return Ca(tmp_path / "ca")


def item(name: str, *domains: str, **more: object) -> dict[str, Any]:
    """A declared certificate with the module's defaults."""
    return {
        "name": name, "domains": list(domains or (name,)), "provider": "acme", "challenge": "http-01",
        "state": "present", "certificate_file": None, "key_file": None, "certificate": None, "key": None,
        **more,
    }  # fmt: skip


class Host:
    """Runs of the module on one host."""

    def __init__(self, store: Path, ca: Ca, webroot: Path) -> None:
        self.ca = ca
        self.webroot = webroot
        self.unreachable: dict[str, str] = {}
        self.now = NOW
        self.around = _tls_work.Surroundings(store, ca.letsencrypt, self.preflight, ca.issue)

    def preflight(self, domains: Sequence[str], webroot: Path) -> list[str]:
        """Reasons for the domains that do not lead here."""
        assert webroot == self.webroot
        return [self.unreachable[domain] for domain in domains if domain in self.unreachable]

    def run(self, phase: str, *items: dict[str, Any], act: bool = True, **acme: object) -> _tls_work.Outcome:
        """One call of the module."""
        params = {
            "phase": phase, "certificates": list(items), "webroot": str(self.webroot), "renew_days": 21,
            "acme": {
                "directory_url": CA_URL, "email": "", "ca_bundle": "", "dns_plugin": "", "dns_credentials_file": "",
                "dns_propagation_seconds": 1, "preflight": True, **acme,
            },
        }  # fmt: skip
        return _tls_work.run(params, act=act, now=self.now, around=self.around)

    def converge(self, *items: dict[str, Any], **acme: Any) -> _tls_work.Outcome:
        """What the role does."""
        first = self.run("prepare", *items, **acme)
        return self.run("issue", *items, **acme) if first.result["todo"] else first


@pytest.fixture
def host(store: Path, ca: Ca, tmp_path: Path) -> Host:
    """A host with an empty store."""
    return Host(store, ca, tmp_path / "webroot")


def served(store: Path, name: str) -> tuple[str, str]:
    """Source and serial of what is served."""
    found = _tls_store.read(name, store)
    assert found is not None
    return found[0].source, found[0].certificate.serial


def test_install_serves_key_and_chain_together(store: Path, ca: Ca, run_directory: Path) -> None:
    """Files of one directory behind one link; the key is root's alone."""
    pair = ca.pair("a.example.org")
    assert _tls_store.install("a", pair, "acme", "acme", store)
    assert (store / "a").is_symlink()
    assert (store / "a/fullchain.pem").read_bytes() == pair.fullchain
    assert stat.S_IMODE((store / "a/privkey.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((store / ".store").stat().st_mode) == 0o700
    assert [flag.name for flag in run_directory.iterdir()] == ["nginx"]
    found = _tls_store.read("a", store)
    assert found is not None
    assert found[0].intact
    assert found[0].certificate.names == {"a.example.org"}


def test_install_again_changes_nothing(store: Path, ca: Ca) -> None:
    """The same pair is served already."""
    pair = ca.pair("a.example.org")
    _tls_store.install("a", pair, "acme", "acme", store)
    target = (store / "a").readlink()
    assert not _tls_store.install("a", pair, "acme", "acme", store)
    assert (store / "a").readlink() == target


def test_a_former_pair_is_removed(store: Path, ca: Ca) -> None:
    """Old keys do not lie about, and the rests of a killed run neither."""
    _tls_store.install("a", ca.pair("a.example.org"), "acme", "acme", store)
    (store / ".store/a/0123-interrupted").mkdir()
    _tls_store.install("a", ca.pair("a.example.org"), "acme", "acme", store)
    assert [entry.name for entry in (store / ".store/a").iterdir()] == [(store / "a").readlink().name]


@pytest.mark.parametrize(
    ("fullchain", "privkey", "reason"),
    [
        pytest.param(b"", b"", "openssl x509 refused it", id="empty"),
        pytest.param(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"", "refused it", id="broken"),
        pytest.param(None, b"", "do not make a pair", id="no key"),
        pytest.param(None, b"other", "do not make a pair", id="key of another certificate"),
    ],
)
def test_a_pair_that_would_not_serve_is_refused(
    store: Path, ca: Ca, fullchain: bytes | None, privkey: bytes, reason: str
) -> None:
    """And what is served stays."""
    good, other = ca.pair("a.example.org"), ca.pair("a.example.org")
    _tls_store.install("a", good, "acme", "acme", store)
    bad = _tls_store.Pair(
        other.fullchain if fullchain is None else fullchain, good.privkey if privkey == b"other" else privkey
    )
    with pytest.raises(CertificateError, match=reason):
        _tls_store.install("a", bad, "acme", "acme", store)
    assert (store / "a/privkey.pem").read_bytes() == good.privkey


def test_an_encrypted_key_is_refused(store: Path, ca: Ca) -> None:
    """Nobody is there to type a password."""
    pair = ca.pair("a.example.org")
    done = subprocess.run(
        ["openssl", "pkey", "-aes128", "-passout", "pass:x"], input=pair.privkey, check=True, capture_output=True
    )
    with pytest.raises(CertificateError, match="key is encrypted"):
        _tls_store.install("a", _tls_store.Pair(pair.fullchain, done.stdout), "provided", "provided", store)


@pytest.mark.parametrize(
    ("ocsp", "chain", "stapled"),
    [("http://ocsp.example.org/", True, True), ("", True, False), ("http://o", False, False)],
)
def test_stapling_where_the_certificate_offers_it(store: Path, ca: Ca, ocsp: str, chain: bool, stapled: bool) -> None:
    """nginx needs an OCSP address in the certificate and the issuer behind it."""
    pair = ca.pair("a.example.org", ocsp=ocsp)
    if not chain:
        end = pair.fullchain.index(b"-----END") + len(b"-----END CERTIFICATE-----\n")
        pair = _tls_store.Pair(pair.fullchain[:end], pair.privkey)
    _tls_store.install("a", pair, "provided", "provided", store)
    assert ("ssl_stapling on;" in (store / "a/nginx.conf").read_text(encoding="utf-8")) is stapled


def edit_chain(served_files: Path) -> None:
    """Append to the chain."""
    with (served_files / "fullchain.pem").open("ab") as stream:
        stream.write(b"\n# edited\n")


def open_key(served_files: Path) -> None:
    """Let everybody read the key."""
    (served_files / "privkey.pem").chmod(0o644)


def edit_snippet(served_files: Path) -> None:
    """Put something else into what nginx includes."""
    (served_files / "nginx.conf").write_text("ssl_stapling on;\n", encoding="utf-8")


def lose_meta(served_files: Path) -> None:
    """Forget where it came from."""
    (served_files / "meta.json").unlink()


def copy_instead_of_link(served_files: Path) -> None:
    """A directory made by hand in place of the link."""
    content = {file.name: file.read_bytes() for file in served_files.iterdir()}
    served_files.unlink()
    served_files.mkdir()
    for name, data in content.items():
        (served_files / name).write_bytes(data)


def cut_link(served_files: Path) -> None:
    """Delete the link."""
    served_files.unlink()


def point_nowhere(served_files: Path) -> None:
    """Leave a link to nothing."""
    served_files.unlink()
    served_files.symlink_to("gone")


@pytest.mark.parametrize("provider", ["acme", "selfsigned"])
@pytest.mark.parametrize(
    "damage", [edit_chain, open_key, edit_snippet, lose_meta, copy_instead_of_link, cut_link, point_nowhere]
)
def test_what_was_changed_by_hand_is_repaired(host: Host, store: Path, damage: Any, provider: str) -> None:
    """Without asking the CA again, and a second run finds nothing to do."""
    declared = item("a.example.org", provider=provider)
    host.converge(declared)
    damage(store / "a.example.org")
    repaired = host.converge(declared)
    assert repaired.result["changed"]
    assert not host.converge(declared).result["changed"]
    assert host.ca.asked == (["a.example.org"] if provider == "acme" else [])
    found = _tls_store.read("a.example.org", store)
    assert found is not None
    assert found[0].intact
    assert found[0].source == provider


def test_a_first_run(host: Host, store: Path) -> None:
    """A placeholder at once, the CA's afterwards, and then nothing more."""
    declared = item("a.example.org", "a.example.org", "b.example.org")
    first = host.run("prepare", declared)
    assert first.result["todo"] == {"a.example.org": "none was issued yet"}
    assert served(store, "a.example.org")[0] == "placeholder"
    second = host.run("issue", declared)
    assert second.result["changed"]
    assert second.result["todo"] == {}
    assert second.result["certificates"][0]["names"] == ["a.example.org", "b.example.org"]
    assert second.result["certificates"][0]["source"] == "acme"
    third = host.run("prepare", declared)
    assert (third.result["changed"], third.result["todo"]) == (False, {})


def test_check_mode_touches_nothing(host: Host, store: Path) -> None:
    """And says what would be done."""
    declared = [item("a.example.org"), item("b.example.org", provider="selfsigned")]
    outcome = host.run("prepare", *declared, act=False)
    assert outcome.result["changed"]
    assert outcome.result["missing"] == ["a.example.org", "b.example.org"]
    assert outcome.result["pending"] == ["nginx"]
    assert not store.exists()
    outcome = host.run("issue", *declared, act=False)
    assert outcome.result["certificates"][0]["actions"] == [f"issued by {CA_URL}: none was issued yet"]
    assert host.ca.asked == []
    assert not store.exists()


def test_one_failure_stops_neither_the_others_nor_what_serves(host: Host, store: Path) -> None:
    """A domain that leads nowhere and one that the CA refuses, between two good ones."""
    declared = [item(f"{name}.example.org") for name in "abcd"]
    host.unreachable["b.example.org"] = "b.example.org resolves nowhere"
    host.ca.refuses["c.example.org"] = "c.example.org: too many certificates (rateLimited)"
    outcome = host.converge(*declared)
    assert outcome.message.splitlines() == [
        "2 of 4 certificates could not be had; what was served before still is.",
        "- b.example.org: b.example.org resolves nowhere. The CA was not asked",
        "- c.example.org: c.example.org: too many certificates (rateLimited)",
    ]
    assert [served(store, f"{name}.example.org")[0] for name in "abcd"] == [
        "acme",
        "placeholder",
        "placeholder",
        "acme",
    ]
    assert host.ca.asked == ["a.example.org", "c.example.org", "d.example.org"]
    host.unreachable.clear()
    host.ca.refuses.clear()
    assert host.converge(*declared).failures == {}
    assert host.ca.asked[3:] == ["b.example.org", "c.example.org"]


def test_a_failed_renewal_keeps_the_old_certificate(host: Host, store: Path) -> None:
    """It has ten days left; the CA is down."""
    declared = item("a.example.org")
    host.converge(declared)
    before = served(store, "a.example.org")
    host.now = NOW + 80 * 86400
    host.ca.refuses["a.example.org"] = "connection refused"
    assert "- a.example.org: connection refused" in host.converge(declared).message
    assert served(store, "a.example.org") == before
    assert before[0] == "acme"


@pytest.mark.parametrize(
    ("again", "reason"),
    [
        ({"directory_url": "staging"}, "it was issued by"),
        ({"domains": ["a.example.org", "new.example.org"]}, "it is for"),
        ({"challenge": "dns-01", "dns_plugin": "rfc2136"}, "certbot would renew it by webroot"),
    ],
)
def test_another_wish_asks_the_ca_again(host: Host, store: Path, again: dict[str, Any], reason: str) -> None:
    """Other CA, other names, other challenge. The old one serves until the new one is here."""
    host.converge(item("a.example.org"))
    before = served(store, "a.example.org")
    acme = {key: value for key, value in again.items() if key in ("directory_url", "dns_plugin")}
    declared = item("a.example.org") | {key: value for key, value in again.items() if key not in acme}
    prepared = host.run("prepare", declared, **acme)
    assert prepared.result["todo"]["a.example.org"].startswith(reason)
    assert served(store, "a.example.org") == before
    host.run("issue", declared, **acme)
    assert served(store, "a.example.org") != before
    assert host.run("prepare", declared, **acme).result["todo"] == {}


def test_rests_of_a_killed_certbot_are_cleared(host: Host) -> None:
    """A renewal file without certificate makes certbot number its directories otherwise."""
    renewal = host.ca.letsencrypt / "renewal"
    renewal.mkdir(parents=True)
    (renewal / "a.example.org.conf").write_text("", encoding="utf-8")
    (host.ca.letsencrypt / "archive/a.example.org").mkdir(parents=True)
    host.converge(item("a.example.org"))
    assert not (host.ca.letsencrypt / "archive/a.example.org").exists()
    assert (renewal / "a.example.org.conf").read_text(encoding="utf-8") != ""


@pytest.mark.parametrize("declared", [[], [item("a.example.org", state="absent")]])
def test_what_is_not_declared_disappears(host: Host, store: Path, declared: list[dict[str, Any]]) -> None:
    """From the store, and from certbot, whose timer would renew it for ever."""
    host.converge(item("a.example.org"), item("b.example.org", provider="selfsigned"))
    outcome = host.run("prepare", *declared)
    assert set(outcome.result["todo"]) == {"a.example.org", "b.example.org"}
    assert (store / "a.example.org").exists(), "nginx may still name it"
    host.run("issue", *declared, act=False)
    assert (store / "a.example.org").exists()
    host.run("issue", *declared)
    assert list(store.iterdir()) == [store / ".store"]
    assert list((store / ".store").iterdir()) == []
    assert not (host.ca.letsencrypt / "live/a.example.org").exists()


def test_a_lineage_that_is_not_ours_is_left_alone(host: Host) -> None:
    """Somebody's own certbot certificates on the same host."""
    live = host.ca.keep("theirs.example.org", host.ca.pair("theirs.example.org"))
    host.converge(item("a.example.org"))
    host.converge()
    assert live.exists()


def test_another_provider_ends_the_lineage(host: Host, store: Path) -> None:
    """Else the timer renews, and its hook would serve, what is not wanted any more."""
    host.converge(item("a.example.org"))
    host.converge(item("a.example.org", provider="selfsigned"))
    assert served(store, "a.example.org")[0] == "selfsigned"
    assert not (host.ca.letsencrypt / "live/a.example.org").exists()


def test_provided_certificates(host: Host, store: Path, tmp_path: Path) -> None:
    """From files and from text; a new content is served, a wrong one refused."""
    first, second = host.ca.pair("a.example.org"), host.ca.pair("a.example.org")
    files = {"certificate_file": str(tmp_path / "c.pem"), "key_file": str(tmp_path / "k.pem")}
    (tmp_path / "c.pem").write_bytes(first.fullchain.replace(b"\n", b"\r\n"))
    (tmp_path / "k.pem").write_bytes(first.privkey)
    declared = item("a.example.org", provider="provided", **files)
    assert host.run("prepare", declared, act=False).result["missing"] == ["a.example.org"]
    assert host.converge(declared).result["changed"]
    assert not host.converge(declared).result["changed"]
    text = item(
        "a.example.org", provider="provided", certificate=second.fullchain.decode(), key=second.privkey.decode()
    )
    assert host.converge(text).result["changed"]
    assert (store / "a.example.org/privkey.pem").read_bytes() == second.privkey
    (tmp_path / "k.pem").write_bytes(second.privkey)
    assert "do not make a pair" in host.converge(declared).message
    assert "not for b.example.org" in host.converge(declared | {"domains": ["b.example.org"]}).message
    (tmp_path / "c.pem").unlink()
    assert "c.pem' cannot be read on the host: No such file" in host.converge(declared).message
    assert (store / "a.example.org/privkey.pem").read_bytes() == second.privkey


def test_a_wrong_declaration_is_refused_before_anything_is_done(host: Host, store: Path) -> None:
    """All mistakes at once."""
    with pytest.raises(_tls_work.WorkError, match=r"declared wrongly:\n- .*\n- "):
        host.run("prepare", item("a/b"), item("*.example.org"))
    assert not store.exists()


class Commands:
    """Stands for nginx and systemctl."""

    def __init__(self, refuse: str = "") -> None:
        self.refuse = refuse
        self.ran: list[str] = []

    def __call__(self, arguments: Sequence[str]) -> tuple[int, str]:
        self.ran.append(arguments[0])
        return (1, "no") if arguments[0] == self.refuse else (0, "")


def test_the_deploy_hook_serves_what_was_renewed(host: Host, store: Path, run_directory: Path) -> None:
    """Checked by nginx, then told to it; no flag is left for the next run."""
    host.converge(item("a.example.org"))
    live = host.ca.keep("a.example.org", host.ca.pair("a.example.org"))
    commands = Commands()
    assert "is served" in _tls_store.deploy(live, store, commands)
    assert commands.ran == ["nginx", "systemctl"]
    assert (store / "a.example.org/privkey.pem").read_bytes() == (live / "privkey.pem").read_bytes()
    assert list(run_directory.iterdir()) == []
    assert "served already" in _tls_store.deploy(live, store, commands)
    assert not host.converge(item("a.example.org")).result["changed"]


def test_the_deploy_hook_puts_the_former_one_back(host: Host, store: Path) -> None:
    """When nginx refuses."""
    host.converge(item("a.example.org"))
    before = served(store, "a.example.org")
    live = host.ca.keep("a.example.org", host.ca.pair("a.example.org"))
    with pytest.raises(CertificateError, match="nginx refuses the renewed certificate"):
        _tls_store.deploy(live, store, Commands("nginx"))
    assert served(store, "a.example.org") == before


def test_the_deploy_hook_owes_a_reload_that_failed(host: Host, store: Path, run_directory: Path) -> None:
    """The flag stays, so that the next run reloads."""
    host.converge(item("a.example.org"))
    live = host.ca.keep("a.example.org", host.ca.pair("a.example.org"))
    with pytest.raises(CertificateError, match="failed: no"):
        _tls_store.deploy(live, store, Commands("systemctl"))
    assert [flag.name for flag in run_directory.iterdir()] == ["nginx"]


def test_the_deploy_hook_minds_its_own(host: Host, store: Path) -> None:
    """Lineages of others, and names that are served from elsewhere now."""
    host.converge(item("a.example.org", provider="selfsigned"))
    commands = Commands()
    for name in ("a.example.org", "theirs.example.org"):
        live = host.ca.keep(name, host.ca.pair(name))
        assert "left alone" in _tls_store.deploy(live, store, commands)
    assert commands.ran == []


def test_the_hook_runs_from_its_installed_place(tmp_path: Path) -> None:
    """The three files it imports are enough, without Ansible."""
    from ansible_collections.quai.ops.plugins.filter.host_python import LIBRARY, host_python

    for module in ("_certificates", "_lock", "_pending", "_tls_store"):
        entry = host_python(module)
        path = tmp_path / Path(entry["path"]).relative_to(LIBRARY)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(entry["content"], encoding="utf-8")
    done = subprocess.run(
        ["/usr/bin/python3", "-B", "-S", "-m", "ansible_collections.quai.ops.plugins.module_utils._tls_store"],
        env={"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"]}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "RENEWED_LINEAGE is not set" in done.stderr
