# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs probes: a bounded number at once, each within its time, and judges what they find.

Checks run in daemon threads. One that does not come back, because a name server or a dead disk holds it, is given up
when its time is over; it delays neither the other probes nor the end of the program.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Callable, Final

from ansible_collections.quai.ops.plugins.module_utils._probe_base import (
    CUT,
    Context,
    Found,
    Memory,
    OwnFault,
    ProbeFailed,
    Spec,
)
from ansible_collections.quai.ops.plugins.module_utils._probe_rules import Rule, explain, holds, shown
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import REFERENCE, reason_of, rule, unmet
from ansible_collections.quai.ops.plugins.module_utils._probe_types import TYPES

Result = dict[str, Any]

PACKAGE: Final = "ansible_collections.quai.ops.plugins.module_utils."
# More workers are started only when nothing comes for a while: those that wait for an answer cost nothing, those that
# all have work to do hinder each other.
FIRST_WORKERS: Final = 4
PATIENCE_SECONDS: Final = 0.002
# A check ends by itself at its deadline; one that is this late is given up.
GRACE_SECONDS: Final = 0.5
# Between two tries of one probe.
PAUSE_SECONDS: Final = 0.1
HIDDEN: Final = "***"
_SHORTEST_SECRET: Final = 4
_USERINFO: Final = re.compile(r"^[a-z][a-z0-9+.-]*://([^/?#]*)@", re.IGNORECASE)
# What could forge a line, reorder a text, move a cursor, or be no UTF-8: control characters, surrogates, directions.
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_secret_options: dict[str, tuple[tuple[str, str], ...]] = {}
_checks: dict[str, Callable[[Spec, Context], None]] = {}


def run_probes(
    probes: Sequence[Spec],
    *,
    concurrency: int = 20,
    secrets: Mapping[str, str] | None = None,
    memory: dict[str, Memory] | None = None,
    previous: Mapping[str, str] | None = None,
    now: float | None = None,
    progress: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Run normalised probes and return their results in the same order. Raises nothing because of a target.

    C(secrets): values of ${NAME}. C(memory): what the checks remember, by the probe's name; it is changed, and JSON can
    hold it. C(previous): the last status by name, for {on, clear}. C(now): seconds since 1970. C(progress) is called
    with each result as it comes, from the caller's thread.
    """
    if not probes:
        return []
    run = _Run(
        probes,
        secrets=secrets or {},
        memory=memory,
        previous=previous or {},
        now=time.time() if now is None else now,
    )
    if PACKAGE + "_probe_net" in sys.modules:
        # Imported by its name and not taken from there: another thread may still be importing it, which this waits for.
        from ansible_collections.quai.ops.plugins.module_utils import _probe_net

        _probe_net.forget()  # names are resolved once in a run, not once for ever
    return run.all(max(1, min(concurrency, len(probes))), progress)


class _Run:
    """One run of a list of probes."""

    def __init__(
        self,
        probes: Sequence[Spec],
        *,
        secrets: Mapping[str, str],
        memory: dict[str, Memory] | None,
        previous: Mapping[str, str],
        now: float,
    ) -> None:
        self._probes = probes
        self._secrets = secrets
        self._scrub = _Scrubber(secrets.values())
        self._memory = memory
        self._previous = previous
        self._now = now
        self._zero = time.monotonic()
        self._waiting = deque(range(len(probes)))
        self._limits: dict[int, float] = {}  # of those that are being asked: when they are given up
        self._workers = 0
        self._most = 1
        self._done: SimpleQueue[tuple[int, Result]] = SimpleQueue()

    def all(self, concurrency: int, progress: Callable[[Result], None] | None) -> list[Result]:
        results: list[Result | None] = [None] * len(self._probes)
        left = len(self._probes)
        self._prepare()
        self._most = concurrency
        self._add(min(concurrency, FIRST_WORKERS))
        while left:
            for index, result in self._next():
                if results[index] is not None:  # came back after it was given up
                    continue
                results[index] = result
                left -= 1
                if progress is not None:
                    progress(result)
        return [result for result in results if result is not None]

    def _prepare(self) -> None:
        """Load what the checks need now, so that it is not part of the time of any of them."""
        for kind in {spec["type"] for spec in self._probes}:
            with suppress(OwnFault):  # it is told where it is needed
                check_of(kind)
        secure = [spec for spec in self._probes if _secure(spec)]
        if secure:
            import_module(PACKAGE + "_probe_tls").prepare(secure)

    def _add(self, workers: int) -> None:
        for _worker in range(workers):
            try:
                Thread(target=self._work, name=f"probe-{self._workers}", daemon=True).start()
            except RuntimeError:  # the system gives no more threads
                if not self._workers:
                    raise
                self._most = self._workers
                return
            self._workers += 1

    def _work(self) -> None:
        while True:
            try:
                index = self._waiting.popleft()
            except IndexError:
                return
            spec = self._probes[index]
            self._limits[index] = time.monotonic() + _longest(spec)
            remembered = self._remembered(spec["name"])
            result = self._probe(spec, remembered)
            if self._limits.pop(index, None) is None:
                return  # given up meanwhile; another worker has taken this one's place
            if self._memory is not None and remembered:
                self._memory[spec["name"]] = remembered
            self._done.put((index, result))

    def _remembered(self, name: str) -> Memory:
        """A copy of what the check remembers: of one that is given up, nothing that it half changed is kept."""
        kept = None if self._memory is None else self._memory.get(name)
        copied: Memory = json.loads(json.dumps(kept)) if kept else {}
        return copied

    def _next(self) -> Iterable[tuple[int, Result]]:
        """The next result, or those that are given up because nothing came in time."""
        if self._workers < self._most and self._waiting:
            try:
                return [self._done.get(timeout=PATIENCE_SECONDS)]
            except Empty:
                self._add(min(self._workers, self._most - self._workers))
        try:
            return [self._done.get_nowait()]
        except Empty:
            pass
        now = time.monotonic()
        try:
            return [self._done.get(timeout=max(0.01, min(list(self._limits.values()), default=now) - now))]
        except Empty:
            return self._give_up()

    def _give_up(self) -> list[tuple[int, Result]]:
        found = []
        now = time.monotonic()
        for index, limit in list(self._limits.items()):
            if now >= limit and self._limits.pop(index, None) is not None:
                spec = self._probes[index]
                took = now - limit + _longest(spec)
                message = f"no end within {_longest(spec) - GRACE_SECONDS:g} s; given up"
                verdict = ("critical", "timeout", message)
                found.append((index, self._result(spec, Found(), verdict, attempts=1, elapsed=took)))
                self._workers -= 1
                self._add(1)
        return found

    def _probe(self, spec: Spec, remembered: Memory) -> Result:
        started = time.monotonic()
        attempts = 0
        first = ""
        reason_before = ""
        scrub = self._scrub
        while True:
            attempts += 1
            context = Context(spec["timeout"], remembered, self._now)
            asked = time.monotonic()
            try:
                resolved, private = _substitute(spec, self._secrets)
                if private:
                    scrub = _Scrubber([*self._secrets.values(), *private])
                check_of(spec["type"])(resolved, context)
                elapsed = time.monotonic() - asked
                status, reason, message = self._judge(spec, context, elapsed, scrub.text)
            except ProbeFailed as failed:
                status, reason, message = failed.status, failed.reason, failed.message
            except OwnFault as fault:
                status, reason, message = "unknown", "own_error", str(fault)
            except Exception as error:  # a mistake of a check must not take the other probes with it
                status, reason, message = "unknown", "own_error", f"{type(error).__name__}: {error}"
            elapsed = time.monotonic() - asked
            if status != "critical" or attempts > spec["retries"]:
                break
            first = first or message
            reason_before = reason
            time.sleep(PAUSE_SECONDS)
        if status == "ok" and attempts > 1:
            status, reason, message = "degraded", reason_before, f"good at try {attempts}; before: {first}"
        result = self._result(
            spec, context.found, (status, reason, message), attempts=attempts, elapsed=elapsed, scrub=scrub
        )
        result["checked_at"] = round(self._now + started - self._zero, 3)
        return result

    def _judge(self, spec: Spec, context: Context, elapsed: float, hide: Callable[[str], str]) -> tuple[str, str, str]:
        fields = context.found.fields
        _fill(spec, context.found, elapsed)
        bad = unmet(spec, fields, spec["expect"], hide)
        if bad is not None:
            return "critical", bad[0], bad[1]
        held = _Held(spec, context.memory, self._previous.get(spec["name"], ""))
        reason = ""
        said: list[str] = []
        worst = "ok"
        for level, status in _LEVELS:
            for limit in spec[level]:
                fired = held.fires(level, status, limit, fields)
                if fired is None or worst not in {"ok", status}:
                    continue
                worst = status
                reason = reason or reason_of(spec, fired, fields)
                still = holds(fired, fields) is not True
                said.append(explain(fired, fields, hide) + (f", good when {limit['clear']}" if still else ""))
        held.remember()
        if worst == "ok":
            return "ok", "", context.found.message or _plain(spec, fields)
        # The numbers around the one that counts: whoever is woken by it wants them too.
        return worst, reason, "; ".join([*said, *([context.found.message] if context.found.message else [])])

    def _result(
        self,
        spec: Spec,
        found: Found,
        verdict: tuple[str, str, str],
        *,
        attempts: int,
        elapsed: float,
        scrub: _Scrubber | None = None,
    ) -> Result:
        probe = TYPES[spec["type"]]
        result: Result = {
            "name": spec["name"],
            "type": spec["type"],
            "project": spec["project"],
            "severity": spec["severity"],
            "status": verdict[0],
            "reason": verdict[1],
            "message": verdict[2],
            "value": _rounded(found.fields.get(probe.main)),
            "unit": probe.unit,
            "warn": _limit(spec, "warn"),
            "crit": _limit(spec, "crit"),
            "latency_ms": round(found.fields.get("latency_ms") or elapsed * 1000, 3),
            "phases": {phase: round(seconds, 6) for phase, seconds in found.phases.items()},
            "tls": found.tls,
            "http": found.http,
            "details": {**_numbers(spec, found.fields), **found.details},
            "attempts": attempts,
            "ip": found.ip,
            "checked_at": round(self._now, 3),
            "log": found.log,
        }
        # What the specification says itself is not touched: a short secret may be a word like "high".
        for part in ("message", "tls", "http", "details", "log"):
            result[part] = _printable((scrub or self._scrub).clean(result[part]))
        return result


def _numbers(spec: Spec, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The known numbers and flags besides the main one and the times. Texts may hold what others said: not here."""
    probe = TYPES[spec["type"]]
    shown = [name for name in probe.fields if name not in (probe.main, "value") and not name.endswith(("_ms", "*"))]
    known = {name: fields[name] for name in shown if isinstance(fields.get(name), (bool, int, float))}
    return {name: value if isinstance(value, bool) else _rounded(value) for name, value in known.items()}


_LEVELS: Final = (("crit", "critical"), ("warn", "warning"))


class _Held:
    """Which of a probe's {on, clear} limits are on: remembered where the caller keeps a memory, else by its status."""

    def __init__(self, spec: Spec, memory: Memory, last: str) -> None:
        self._spec = spec
        self._memory = memory
        self._last = last
        before = memory.get("held")
        self._before = before if isinstance(before, dict) else None
        self._now: dict[str, list[str]] = {}
        self._any = False

    def fires(self, level: str, status: str, limit: Any, fields: Mapping[str, Any]) -> Rule | None:
        """The condition that is on, or was and is not clear yet; None when the limit is fine."""
        kind = self._spec["type"]
        if not isinstance(limit, Mapping):
            plain = rule(kind, limit, limit=True)
            return plain if holds(plain, fields) is True else None
        self._any = True
        on = rule(kind, limit["on"], limit=True)
        if holds(on, fields) is not True:
            if self._before is None:
                was = self._last in {"critical", status}
            else:
                was = limit["on"] in self._before.get(level, ())
            if not was or holds(rule(kind, limit["clear"], limit=True), fields) is True:
                return None
        self._now.setdefault(level, []).append(limit["on"])
        return on

    def remember(self) -> None:
        """Keep what is on for the next run."""
        if self._any:
            self._memory["held"] = self._now


def _fill(spec: Spec, found: Found, elapsed: float) -> None:
    """Fields that every check of a type has in common."""
    known = TYPES[spec["type"]].fields
    fields = found.fields
    if "latency_ms" in known:
        fields.setdefault("latency_ms", elapsed * 1000)
    for phase, seconds in found.phases.items():
        if f"{phase}_ms" in known:
            fields.setdefault(f"{phase}_ms", seconds * 1000)
    for key, field in (("days", "tls_days"), ("chain_days", "chain_days")):
        if key in found.tls and field in known:
            fields.setdefault(field, found.tls[key])


def check_of(kind: str) -> Callable[[Spec, Context], None]:
    """The function that asks a probe of this type, its module imported now if it is not yet. Raises OwnFault."""
    found = _checks.get(kind)
    if found is None:
        module, name = TYPES[kind].check.split(":")
        try:
            found = _checks[kind] = getattr(import_module(PACKAGE + module), name)
        except (ImportError, AttributeError) as error:
            raise OwnFault(f"the type {kind} is not installed here: {error}") from None
    return found


class _Scrubber:
    """Replaces secrets, as they are and as URLs and JSON write them."""

    def __init__(self, secrets: Iterable[str]) -> None:
        variants: set[str] = set()
        for secret in secrets:
            if len(secret) >= _SHORTEST_SECRET:
                variants |= _variants(secret)
        self._variants = sorted(variants, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._variants))) if variants else None

    def text(self, text: str) -> str:
        """The text without secrets."""
        if self._pattern is None:
            return text
        text = self._pattern.sub(HIDDEN, text)
        return self._without_halves(text) if CUT in text else text

    def _without_halves(self, text: str) -> str:
        """Take out what is left of a secret where a text was shortened, which checks mark with C(CUT)."""
        parts = text.split(CUT)
        for at in range(len(parts)):
            if at + 1 < len(parts):
                parts[at] = self._without_end(parts[at])
            if at > 0:
                parts[at] = self._without_begin(parts[at])
        return CUT.join(parts)

    def _without_end(self, text: str) -> str:
        for variant in self._variants:
            for size in range(len(variant) - 1, _SHORTEST_SECRET - 1, -1):
                if text.endswith(variant[:size]):
                    return text[:-size] + HIDDEN
        return text

    def _without_begin(self, text: str) -> str:
        for variant in self._variants:
            for size in range(len(variant) - 1, _SHORTEST_SECRET - 1, -1):
                if text.startswith(variant[-size:]):
                    return HIDDEN + text[size:]
        return text

    def clean(self, value: Any) -> Any:
        """A copy of a JSON value without secrets in its texts and keys."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.clean(key): self.clean(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.clean(one) for one in value]
        return value


def _printable(value: Any) -> Any:
    """A copy of a JSON value whose texts are one line each, of characters that can be shown and sent."""
    if isinstance(value, str):
        return _UNPRINTABLE.sub(lambda found: " " if found.group().isspace() else "\ufffd", value)
    if isinstance(value, dict):
        return {_printable(key): _printable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(one) for one in value]
    return value


def _variants(secret: str) -> set[str]:
    found = {secret}
    if "\n" in secret:  # it is shown line by line
        found |= {line for line in map(str.strip, secret.splitlines()) if len(line) >= 2 * _SHORTEST_SECRET}
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", secret):
        from urllib.parse import quote, quote_plus

        found |= {quote(secret), quote(secret, safe=""), quote_plus(secret)}
        found |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    return found


def _substitute(spec: Spec, secrets: Mapping[str, str]) -> tuple[Spec, list[str]]:
    """The specification with its secrets filled in, and those texts in it that are secret by themselves."""
    resolved = dict(spec)
    private: list[str] = []
    for option, kind in _options(spec["type"]):
        value = spec.get(option)
        if not value:
            continue
        if kind == "secret":
            resolved[option] = _filled(value, secrets, option)
            if option == "url":
                private += _logins(resolved[option])
            elif option == "password":
                private.append(resolved[option])
        elif kind == "map":
            resolved[option] = _filled_map(value, secrets, option, private)
        else:
            resolved[option] = [
                {
                    **step,
                    "url": _filled(step["url"], secrets, "url"),
                    "path": _filled(step["path"], secrets, "path"),
                    "body": _filled(step["body"], secrets, "body"),
                    "headers": _filled_map(step["headers"], secrets, "headers", private),
                }
                for step in value
            ]
            for step in resolved[option]:
                private += _logins(step["url"])
    if resolved.get("password_file"):
        resolved["password"] = _password_in(resolved["password_file"])
        resolved["password_file"] = ""
        private.append(resolved["password"])
    if resolved.get("user") and resolved.get("password"):
        private.append(_basic(f"{resolved['user']}:{resolved['password']}"))
    return resolved, private


def _basic(login: str) -> str:
    """A login as Basic authentication sends it."""
    from base64 import b64encode

    return b64encode(login.encode()).decode("ascii")


def _logins(url: str) -> list[str]:
    """What is secret in the user and password of an address; a user alone is a token."""
    match = _USERINFO.match(url)
    if match is None:
        return []
    from urllib.parse import unquote

    user, colon, password = match.group(1).partition(":")
    written = password if colon else user
    return [written, unquote(written), _basic(unquote(match.group(1)))]


def _options(kind: str) -> tuple[tuple[str, str], ...]:
    """Options of a type that may hold secrets, with their kinds."""
    found = _secret_options.get(kind)
    if found is None:
        rows = TYPES[kind].options.items()
        found = tuple((name, row.kind) for name, row in rows if row.kind in {"secret", "map"} or name == "steps")
        _secret_options[kind] = found
    return found


def _filled(text: str, secrets: Mapping[str, str], option: str) -> str:
    if "${" not in text:
        return text

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return "${"
        if name not in secrets:
            raise OwnFault(
                f"{option}: there is no secret {name}; add it to the secrets, or write $${{ for a literal ${{"
            )
        return secrets[name]

    return REFERENCE.sub(value, text)


_PRIVATE_NAME: Final = re.compile(r"auth|pass|secret|token|key|cookie", re.IGNORECASE)


def _filled_map(
    values: Mapping[str, str], secrets: Mapping[str, str], option: str, private: list[str]
) -> dict[str, str]:
    filled = {}
    for name, value in values.items():
        filled[name] = _filled(value, secrets, f"{option}.{name}")
        if _PRIVATE_NAME.search(name):
            private += [filled[name], filled[name].partition(" ")[2]]  # "Bearer TOKEN"
    return filled


def _password_in(path: str) -> str:
    from pathlib import Path

    try:
        with Path(path).open(encoding="utf-8") as stream:
            return stream.read(65536).strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise OwnFault(f"password_file: {path} cannot be read: {error}") from None


def _longest(spec: Spec) -> float:
    """Seconds after which a check that has not come back is given up."""
    tries = spec["retries"] + 1
    return float(spec["timeout"] * tries + PAUSE_SECONDS * (tries - 1) + GRACE_SECONDS)


def _secure(spec: Spec) -> bool:
    """Whether the check will certainly speak TLS."""
    url = str(spec.get("url") or "")
    return spec["type"] == "tls" or spec.get("tls") is True or url.startswith(("https:", "rediss:"))


def _rounded(value: Any) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not math.isfinite(value):  # JSON has no word for it
        return None
    return round(value, 3)


def _limit(spec: Spec, level: str) -> float | int | None:
    """The number with which the first limit of a level compares the probe's value; of a range its end."""
    main = TYPES[spec["type"]].main
    for limit in spec[level]:
        one = rule(spec["type"], limit["on"] if isinstance(limit, Mapping) else limit, limit=True)
        found: float | int | None = None
        for every in one.alternatives:
            for condition in every:
                if condition.field == main and condition.op in {"<", "<=", ">", ">="}:
                    found = condition.values[0].value
        if found is not None:
            return found
    return None


def _plain(spec: Spec, fields: Mapping[str, Any]) -> str:
    probe = TYPES[spec["type"]]
    return f"{probe.main} is {shown(fields.get(probe.main))}"


__all__ = ["Result", "check_of", "run_probes"]
