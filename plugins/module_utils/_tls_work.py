# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of C(tls_certificates): look, decide, act on one certificate after the other, tell what became of each."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from ansible_collections.quai.ops.plugins.module_utils import _certificates, _lock, _pending, _tls_acme, _tls_store


class WorkError(Exception):
    """Nothing could be done at all; the message says why."""


@dataclass(frozen=True)
class Surroundings:
    """Where a run works and whom it asks; tests bring their own."""

    store: Path = _tls_store.STORE
    letsencrypt: Path = _tls_store.LETSENCRYPT
    preflight: Callable[[Sequence[str], Path], list[str]] = _tls_acme.preflight
    issue: Callable[[_certificates.Wanted, _certificates.Acme], None] = _tls_acme.issue


@dataclass(frozen=True)
class Outcome:
    """The module's answer; with failures, ``message`` names them all."""

    result: dict[str, Any]
    failures: dict[str, list[str]]
    message: str = ""


def wanted_of(item: dict[str, Any]) -> _certificates.Wanted:
    """A declared certificate with the bytes of a provided one; raises CertificateError when they cannot be read."""
    pair = {"certificate": b"", "key": b""}
    if item["provider"] == "provided":
        for part in pair:
            path = item[f"{part}_file"]
            try:
                data = Path(path).read_bytes() if path else (item[part] or "").encode()
            except OSError as error:
                raise _certificates.CertificateError(
                    f"{part}_file {path!r} cannot be read on the host: {error.strerror}"
                ) from error
            pair[part] = data.replace(b"\r\n", b"\n").strip() + b"\n" if data.strip() else b""
    return _certificates.Wanted(
        name=item["name"],
        domains=tuple(domain.lower() for domain in item["domains"]),
        provider=item["provider"],
        challenge=item["challenge"],
        fullchain=pair["certificate"],
        privkey=pair["key"],
    )


class Work:
    """One run over the declared certificates."""

    def __init__(self, params: dict[str, Any], *, act: bool, now: float, around: Surroundings) -> None:
        options = dict(params["acme"])
        self.preflight = options.pop("preflight")
        self.acme = _certificates.Acme(webroot=params["webroot"], **options)
        self.webroot = Path(params["webroot"])
        self.renew_days = params["renew_days"]
        self.act = act
        self.now = now
        self.around = around
        self.failures: dict[str, list[str]] = {}
        self.actions: dict[str, list[str]] = {}
        self.todo: dict[str, str] = {}
        self.missing: list[str] = []

    def facts(self, name: str) -> _certificates.Facts:
        """What the host has under a name."""
        found = self._read(name)
        return _certificates.Facts(found[0] if found else None, _tls_store.lineage(name, self.around.letsencrypt))

    def plan(self, one: _certificates.Wanted) -> _certificates.Plan:
        """What one certificate needs now."""
        return _certificates.plan(one, self.facts(one.name), self.acme, self.now, self.renew_days)

    def _read(self, name: str) -> tuple[_certificates.Held, _tls_store.Pair] | None:
        return _tls_store.read(name, self.around.store)

    def _issued(self, name: str) -> _tls_store.Pair:
        return _tls_store.lineage_pair(self.around.letsencrypt / "live" / name)

    def note(self, name: str, action: str) -> None:
        """Remember what was or would be done."""
        self.actions.setdefault(name, []).append(action)

    def prepare(self, one: _certificates.Wanted) -> None:
        """Make sure that something usable is served under the name."""
        plan = self.plan(one)
        if plan.issue:
            self.todo[one.name] = plan.issue
        step = plan.now
        if step.action == "keep":
            return
        if step.action == "provide":
            self._provide(one)
            return
        if not self.act:
            if self._read(one.name) is None:
                self.missing.append(one.name)
            self.note(one.name, f"{step.action}: {step.reason}")
            return
        self._forget_lineage(one)
        if step.action == "placeholder":
            pair, source = _tls_store.self_signed(one.domains, _tls_store.PLACEHOLDER_DAYS), "placeholder"
        elif step.action == "generate":
            pair, source = _tls_store.self_signed(one.domains, _tls_store.SELFSIGNED_DAYS), "selfsigned"
        elif step.action == "lineage":
            pair, source = self._issued(one.name), "acme"
        else:
            found = self._read(one.name)
            if found is None:
                raise _certificates.CertificateError("the served pair vanished while it was being repaired; run again")
            pair, source = found[1], found[0].source
        _tls_store.install(one.name, pair, source, one.provider, self.around.store)
        self.note(one.name, f"{step.action}: {step.reason}")

    def _provide(self, one: _certificates.Wanted) -> None:
        if not self.act and shutil.which("openssl") is None:
            self.missing.append(one.name)
            self.note(one.name, "provide: it would be checked with openssl, which is not installed yet, and served")
            return
        _certificates.check_pair(one, _tls_store.describe(one.fullchain), self.now)
        pair = _tls_store.Pair(one.fullchain, one.privkey)
        _tls_store.check_pair(pair)
        found = self._read(one.name)
        if found and found[1] == pair and found[0].intact and found[0].source == "provided":
            return
        if self.act:
            self._forget_lineage(one)
            _tls_store.install(one.name, pair, "provided", one.provider, self.around.store)
        elif found is None:
            self.missing.append(one.name)
        self.note(one.name, "provide: the one that is served is another one" if found else "provide: there is none yet")

    def _forget_lineage(self, one: _certificates.Wanted) -> None:
        # Else certbot's timer would go on renewing what nobody serves.
        found = self._read(one.name)
        if one.provider != "acme" and found and found[0].provider == "acme":
            _tls_store.clear_lineage(one.name, self.around.letsencrypt)

    def issue(self, one: _certificates.Wanted) -> None:
        """Ask the CA when the plan says so, and serve its answer."""
        reason = self.plan(one).issue
        if not reason:
            return
        self.todo[one.name] = reason
        self.note(one.name, f"issued by {self.acme.server}: {reason}")
        if not self.act:
            return
        if one.challenge == "http-01" and self.preflight:
            problems = self.around.preflight(one.domains, self.webroot)
            if problems:
                raise _certificates.CertificateError("\n".join(f"{line}. The CA was not asked" for line in problems))
        known = _tls_store.lineage(one.name, self.around.letsencrypt)
        if known is not None and known.certificate is None:
            _tls_store.clear_lineage(one.name, self.around.letsencrypt)
        self.around.issue(one, self.acme)
        _tls_store.install(one.name, self._issued(one.name), "acme", "acme", self.around.store)
        del self.todo[one.name]

    def remove(self, name: str) -> None:
        """Forget a name that is not declared any more."""
        self.note(name, "remove: it is not declared")
        if self.act:
            found = self._read(name)
            if found and found[0].provider == "acme":
                _tls_store.clear_lineage(name, self.around.letsencrypt)
            _tls_store.remove(name, self.around.store)

    def fail(self, name: str, error: Exception) -> None:
        """Remember why, and go on with the others."""
        self.failures[name] = str(error).splitlines()
        self.actions.pop(name, None)

    def report(self, name: str) -> dict[str, Any]:
        """What is served under a name, for the result."""
        found = self._read(name)
        entry: dict[str, Any] = {"name": name, "changed": name in self.actions, "actions": self.actions.get(name, [])}
        if found:
            held = found[0]
            entry.update(
                names=sorted(held.certificate.names),
                issuer=held.certificate.issuer,
                not_after=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(held.certificate.not_after)),
                serial=held.certificate.serial,
                source=held.source,
            )
        return entry


def picture(entries: list[dict[str, Any]]) -> str:
    """The served certificates as lines for a diff."""
    return "".join(
        f"{one['name']}: {', '.join(one['names'])}; {one['source']}, by {one['issuer']}, until {one['not_after']}\n"
        for one in entries
        if "names" in one
    )


def run(params: dict[str, Any], *, act: bool, now: float, around: Surroundings | None = None) -> Outcome:
    """Do one phase for every declared certificate; a failure of one does not stop the others. Raises WorkError."""
    around = around or Surroundings()
    work = Work(params, act=act, now=now, around=around)
    items = [item for item in params["certificates"] if item["state"] == "present"]
    wanted: list[_certificates.Wanted] = []
    for item in items:
        try:
            wanted.append(wanted_of(item))
        except _certificates.CertificateError as error:
            work.fail(item["name"], error)
    problems = _certificates.check_wanted(wanted, work.acme)
    if problems:
        raise WorkError("the certificates are declared wrongly:\n" + "\n".join(f"- {one}" for one in problems))
    names = [item["name"] for item in items]
    surplus = [name for name in _tls_store.names(around.store) if name not in names]
    issuing = params["phase"] == "issue"
    try:
        with _lock.held("tls_certificates", wait_seconds=600):
            before = [work.report(name) for name in [*names, *surplus]]
            for one in wanted:
                try:
                    (work.issue if issuing else work.prepare)(one)
                except (_certificates.CertificateError, _lock.LockHeld, OSError) as error:
                    work.fail(one.name, error)
            for name in surplus:
                if issuing:
                    work.remove(name)
                else:
                    work.todo[name] = "remove: it is not declared"
            after = [work.report(name) for name in [*names, *surplus]]
    except (_lock.LockHeld, OSError) as error:
        raise WorkError(str(error)) from error
    flags = _pending.read()
    if not act and any(name in names for name in work.actions):
        flags |= {_tls_store.FLAG}
    result = {
        "changed": bool(work.actions),
        "certificates": [one for one in after if one["name"] in names],
        "todo": work.todo,
        "missing": work.missing,
        "pending": sorted(flags),
        "diff": {"before": picture(before), "after": picture(after)},
    }
    message = ""
    if work.failures:
        message = _certificates.failure_message(work.failures, len(names))
    return Outcome(result, work.failures, message)


__all__ = ["Outcome", "Surroundings", "Work", "WorkError", "run"]
