# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command quai-monitor: what the timer calls, and what people ask the watch.

    quai-monitor run [--only NAME]... [--dry-run]
    quai-monitor check [--only NAME]... [--json]
    quai-monitor status [--json]
    quai-monitor ack NAME --for 4h --by PERSON
    quai-monitor maintenance start|end [--project NAME] [--for 1h] [--by PERSON] [--reason TEXT]
    quai-monitor guard reset NAME
    quai-monitor report [--from DIR] [--out FILE] [--text] [--mail]
    quai-monitor fleet [--out FILE] [--text]
    quai-monitor messages [--json]
    quai-monitor validate
    quai-monitor simulate --series "1x60 0x360" [--probe NAME]

Every verb takes --root DIR, in place of /.

Exit codes: 0 all is well, 1 warnings, 2 something is critical or could not be asked (of
check and status); 2 also when it was used wrongly, 1 when what was asked for could not be done.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils import _lock
from ansible_collections.quai.ops.plugins.module_utils import _monitor_run as running
from ansible_collections.quai.ops.plugins.module_utils import _monitor_store as store

# Seconds that a person's command waits for a run to end.
PATIENCE: Final = 60.0
WRONG_USE: Final = 2
_CODES: Final = {"ok": 0, "degraded": 1, "warning": 1, "critical": 2, "unknown": 2, "waiting": 0}
_MARKS: Final = {
    "ok": "ok",
    "degraded": "WARN",
    "warning": "WARN",
    "critical": "CRIT",
    "unknown": "UNKN",
    "waiting": "-",
}
_LONGEST: Final = 7 * 86400


class UsageError(Exception):
    """The command was used wrongly; the message says what would be right."""


class Refused(Exception):
    """What was asked for cannot be done."""


class Verb(NamedTuple):
    """One verb: what it takes, and what it does."""

    words: tuple[str, ...]  # names of what must follow
    values: tuple[str, ...]  # options with a value
    flags: tuple[str, ...]
    do: Callable[[Arguments], int]
    optional: bool = False  # whether the words may be left out


class Arguments(NamedTuple):
    """What was asked for."""

    verb: str
    words: dict[str, str]
    values: dict[str, list[str]]
    flags: set[str]

    def one(self, option: str, default: str = "") -> str:
        """The value of an option that may be given once."""
        given = self.values.get(option) or [default]
        if len(given) > 1:
            raise UsageError(f"--{option} is given {len(given)} times; give it once")
        return given[0]

    def needed(self, option: str, example: str) -> str:
        """The value of an option that must be given."""
        value = self.one(option)
        if not value:
            raise UsageError(f"{self.verb}: --{option} is missing; for example --{option} {example}")
        return value

    @property
    def where(self) -> store.Paths:
        """The places it is about."""
        return store.paths(self.one("root", "/"))


def parse(arguments: Sequence[str]) -> Arguments:
    """Read a command line. Raises UsageError."""
    if not arguments:
        raise UsageError(f"a verb is missing; use one of {', '.join(VERBS)}")
    name, rest = arguments[0], list(arguments[1:])
    if name not in VERBS:
        raise UsageError(f"there is no verb {name!r}{_close(name, VERBS)}; use one of {', '.join(VERBS)}")
    verb = VERBS[name]
    words: list[str] = []
    values: dict[str, list[str]] = {}
    flags: set[str] = set()
    while rest:
        one = rest.pop(0)
        option, equals, value = one[2:].partition("=")
        if not one.startswith("-"):
            words.append(one)
        elif one.startswith("--") and option in (*verb.values, "root"):
            if not equals:
                if not rest or rest[0].startswith("--"):
                    raise UsageError(f"{name}: --{option} needs a value")
                value = rest.pop(0)
            values.setdefault(option, []).append(value)
        elif one.startswith("--") and option in verb.flags and not equals:
            flags.add(option)
        else:
            known = [f"--{each}" for each in (*verb.values, *verb.flags, "root")]
            raise UsageError(
                f"quai-monitor {name} has no option {one!r}{_close(one, known)}; it has {', '.join(known)}"
            )
    if len(words) > len(verb.words):
        raise UsageError(f"{name}: {words[len(verb.words)]!r} is too much; write {_use(name, verb)}")
    if len(words) < len(verb.words) and not verb.optional:
        raise UsageError(f"{name}: {verb.words[len(words)]} is missing; write {_use(name, verb)}")
    return Arguments(name, dict(zip(verb.words, words)), values, flags)


def _use(name: str, verb: Verb) -> str:
    return " ".join(["quai-monitor", name, *verb.words, *(f"[--{one} …]" for one in verb.values)])


def _close(word: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), 1)
    return f", did you mean {near[0]!r}" if near else ""


def duration(text: str) -> float:
    """Seconds of "90s", "30m", "4h", "2d". Raises UsageError."""
    factor = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(text[-1:])
    number = text[:-1] if factor else text
    try:
        value = float(number) * (factor or 1)
    except ValueError:
        raise UsageError(f"{text!r} is no duration; write 30m, 4h or 2d") from None
    if not 0 < value <= _LONGEST:
        raise UsageError(f"{text!r} is not between 1 second and 7 days; write 30m, 4h or 2d")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    wrong, code = "", 1
    try:
        done = _do(given)
        sys.stdout.flush()
        return done
    except (UsageError, store.StoreError) as error:
        wrong, code = str(error), WRONG_USE
    except (Refused, _lock.LockHeld) as error:
        wrong = str(error)
    except BrokenPipeError:
        # Whoever read has read enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except PermissionError as error:
        wrong = f"{error.filename}: permission denied; run it as root"
    except OSError as error:
        wrong = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    sys.stderr.write(f"quai-monitor: {wrong}\n")
    return code


def _do(given: Sequence[str]) -> int:
    if any(one in ("-h", "--help") for one in given) or given[:1] == ["help"]:
        _say((__doc__ or "").strip())
        return 0
    asked = parse(given)
    return VERBS[asked.verb].do(asked)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


# --- the timer -------------------------------------------------------------------------------------------------------


def _run(asked: Arguments) -> int:
    where = asked.where
    now = time.time()
    dry = "dry-run" in asked.flags
    only = _only(asked)
    if dry:
        ran = running.run_once(where, _setup(where, only), now, only=only, dry=True)
        _table(ran.results)
        for message in ran.messages:
            _say(f"would be sent by {message['channel']}: {message['subject']}")
        _say(f"{len(ran.messages)} message(s) would be sent")
        return 0
    try:
        with _lock.held(running.LOCK, 0, where.locks):
            setup = _setup(where, only)
            _arm(running.run_limit(setup.config))
            ran = running.run_once(where, setup, now, only=only)
            _disarm()
    except _lock.LockHeld as held:
        store.overrun(where)
        sys.stderr.write(f"quai-monitor: {held}; this run is left out and counted\n")
        return 0
    for fault in ran.faults:
        sys.stderr.write(f"quai-monitor: own fault: {fault.text}\n")
    for message in ran.messages:
        _say(f"{message['channel']}: {message['subject']}")
    if ran.delivered.failed:
        sys.stderr.write(f"quai-monitor: {ran.delivered.failed} message(s) could not be delivered and wait\n")
    return 0


def _only(asked: Arguments) -> list[str]:
    return asked.values.get("only") or []


def _setup(where: store.Paths, only: Sequence[str] = ()) -> running.Setup:
    setup = running.setup(where)
    names = [spec["name"] for spec in setup.config["probes"]]
    for name in only:
        if name not in names:
            raise UsageError(f"there is no probe {name!r}{_close(name, names)}; quai-monitor status lists them")
    return setup


def _arm(limit: float) -> None:
    """Kill this process when its time is over; the next run tells of it."""
    import signal

    # The default action, so that no library and no hung call can hold it back.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limit)


def _disarm() -> None:
    import signal

    signal.setitimer(signal.ITIMER_REAL, 0)


# --- looking ---------------------------------------------------------------------------------------------------------


def _check(asked: Arguments) -> int:
    import json

    from ansible_collections.quai.ops.plugins.module_utils._probe_engine import run_probes

    where = asked.where
    only = _only(asked)
    setup = _setup(where, only)
    config = setup.config
    specs = [spec for spec in config["probes"] if not only or spec["name"] in only]
    state = json.loads(json.dumps(store.read_state(where)))  # a copy: nothing that the checks learn is kept
    idle = running.waiting_projects(config, where, state)
    previous = {name: entry.get("status", "") for name, entry in state["probes"].items()}
    results = run_probes(
        [spec for spec in specs if not spec["project"] or spec["project"] not in idle],
        concurrency=int(config["concurrency"]),
        secrets=setup.secrets,
        memory=state["memory"],
        previous=previous,
        now=time.time(),
    )
    if not only:
        results += setup.unusable
    waiting = sorted({spec["project"] for spec in specs if spec["project"] in idle})
    code = max((_CODES[result["status"]] for result in results), default=0)
    counts = {status: sum(result["status"] == status for result in results) for status in _CODES}
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "nothing was asked"
    summary = f"{said} of {len(results)}" + (f"; waiting: {', '.join(waiting)}" if waiting else "")
    if not results:
        code = max(code, 1)  # nothing asked proves nothing
    if "json" in asked.flags:
        document = {"host": config["host"], "code": code, "summary": summary, "waiting": waiting, "results": results}
        _say(json.dumps(document, ensure_ascii=False))
    else:
        _table(results)
        _say(f"{config['host']}: {summary}")
    return code


def _table(results: Sequence[Mapping[str, Any]]) -> None:
    width = max((len(result["name"]) for result in results), default=4)
    order = ("critical", "unknown", "warning", "degraded", "ok", "waiting")
    for result in sorted(results, key=lambda one: (order.index(one["status"]), one["name"])):
        took = "" if result["latency_ms"] is None else f"{result['latency_ms']:.0f} ms"
        what = f"{result['reason']}: {result['message']}" if result["reason"] else result["message"]
        line = f"{_MARKS[result['status']]:4}  {result['name']:{width}}  {took:>8}  {_one_line(what)}"
        _say(line.rstrip())


def _one_line(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= 160 else f"{plain[:159]}…"


def _status(asked: Arguments) -> int:
    import json

    where, now = asked.where, time.time()
    config = running.setup(where).config
    state = store.read_state(where)
    from ansible_collections.quai.ops.plugins.module_utils import _monitor_outbox as outbox

    idle = running.waiting_projects(config, where, state)
    left = outbox.waiting(where)
    run = state["run"]
    age = now - run["at"] if run["at"] else None
    rows = [_row(spec, state, idle, now) for spec in config["probes"]]
    silent = age is None or age > 3 * float(config["interval"]) + 60
    code = max((row["code"] for row in rows), default=0)
    code = 2 if silent else code
    verdict = _verdict(rows, config, state, age=age, left=len(left), silent=silent)
    if "json" in asked.flags:
        document = {
            "host": config["host"],
            "code": code,
            "verdict": verdict,
            "run": run,
            "probes": rows,
            "maintenance": [one for one in state["maintenance"] if one["until"] > now],
            "undelivered": len(left),
            "faults": state["faults"],
            "overruns": store.overruns(where),
        }
        _say(json.dumps(document, ensure_ascii=False))
        return code
    width = max((len(row["name"]) for row in rows), default=4)
    for row in sorted(rows, key=lambda one: (-one["code"], one["name"])):
        since = "" if row["since"] is None else _span(now - row["since"])
        _say(f"{row['mark']:4}  {row['name']:{width}}  {since:>7}  {row['alert']:9}  {_one_line(row['text'])}".rstrip())
    for one in state["maintenance"]:
        if one["until"] > now:
            what = one["project"] or "the whole host"
            _say(f"maintenance of {what} for another {_span(one['until'] - now)}, by {one['by']}: {one['reason']}")
    for text in state["faults"].values():
        _say(f"own fault: {_one_line(text)}")
    _say(verdict)
    return code


def _row(spec: Mapping[str, Any], state: Mapping[str, Any], idle: Any, now: float) -> dict[str, Any]:
    entry = state["probes"].get(spec["name"]) or {}
    alert = entry.get("alert") or {}
    result = entry.get("result") or {}
    status = str(entry.get("status") or "")
    if spec["project"] and spec["project"] in idle:
        status = "waiting"
    notes = [str(alert.get("state") or "")] if alert.get("state") not in (None, "", "ok") else []
    if alert.get("suppressed"):
        notes.append(f"quiet: {alert['suppressed']}")
    acked = alert.get("acked") or {}
    if (acked.get("until") or 0) > now:
        notes.append(f"acked by {acked['by']}")
    guard = (state["guards"].get(spec["name"]) or {}).get("open_since")
    if guard is not None:
        notes.append("restarts given up")
    return {
        "name": spec["name"],
        "status": status or "no data",
        "code": _CODES.get(status, 2),
        "mark": _MARKS.get(status, "NONE"),
        "since": entry.get("since"),
        "alert": ", ".join(notes),
        "open": alert.get("state") in ("firing", "escalated", "flapping"),
        "text": str(result.get("message") or ("never asked" if not status else "")),
    }


def _verdict(
    rows: Sequence[Mapping[str, Any]],
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    *,
    age: float | None,
    left: int,
    silent: bool,
) -> str:
    bad = [row["name"] for row in rows if row["code"] == 2]
    warned = sum(row["code"] == 1 for row in rows)
    waiting = sum(row["status"] == "waiting" for row in rows)
    parts = [f"{sum(row['status'] == 'ok' for row in rows)} of {len(rows)} ok"]
    if bad:
        parts.append(f"{len(bad)} bad ({', '.join(bad[:5])}{', …' if len(bad) > 5 else ''})")
    if warned:
        parts.append(f"{warned} with a warning")
    if waiting:
        parts.append(f"{waiting} waiting")
    if left:
        parts.append(f"{left} message(s) not delivered yet")
    if state["faults"]:
        parts.append(f"{len(state['faults'])} fault(s) of the watch itself")
    ran = "it never ran" if age is None else f"last run {_span(max(0.0, age))} ago"
    head = "SILENT" if silent else "CRITICAL" if bad else "WARNING" if warned else "OK"
    return f"{config['host']}: {head}: {', '.join(parts)}; {ran}"


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _messages(asked: Arguments) -> int:
    import json

    from ansible_collections.quai.ops.plugins.module_utils import _monitor_outbox as outbox

    items = outbox.waiting(asked.where)
    if "json" in asked.flags:
        _say(json.dumps([item.record for item in items], ensure_ascii=False))
        return 0
    now = time.time()
    for item in items:
        record = item.record
        error = f", {record['attempts']} failed: {record['error']}" if record["attempts"] else ""
        _say(f"{_span(now - record['put']):>7}  {item.message['channel']}: {item.message['subject']}{error}")
    for name, one in sorted(outbox.channels(asked.where).items()):
        said = f", last error: {one['error']}" if one["error"] else ""
        _say(f"{name}: {one['sent']} sent, {one['failed']} failed{said}")
    _say(f"{len(items)} message(s) wait")
    return 0


def _validate(asked: Arguments) -> int:
    setup = running.setup(asked.where)
    wrong = [*setup.wrong, *(f"{result['name']}: {result['message']}" for result in setup.unusable)]
    for line in wrong:
        sys.stderr.write(f"{line}\n")
    if wrong:
        return 1
    _say(f"{len(setup.config['probes'])} probes, {len(setup.config['channels'])} channels: fine")
    return 0


# --- changing --------------------------------------------------------------------------------------------------------


@contextmanager
def _changing(where: store.Paths) -> Iterator[store.State]:
    """The state, to be changed by a person; written when the body ends well."""
    now = time.time()
    with _lock.held(running.LOCK, PATIENCE, where.locks):
        loaded = store.load_state(where, now)
        state = loaded.state
        yield state
        written = store.write_state(where, state, now, copy=loaded.good)
        if written.where == "nowhere":
            raise Refused(written.error)


def _decided(state: store.State, outcome: Any) -> None:
    """Take over what was decided; the next run sends it."""
    state.update(outcome.state)
    state["outgoing"] = [*state["outgoing"], *outcome.messages]
    store.note(state, outcome.events)


def _ack(asked: Arguments) -> int:
    from ansible_collections.quai.ops.plugins.module_utils import _monitor_state as machine

    where, now = asked.where, time.time()
    seconds, person = duration(asked.needed("for", "4h")), asked.needed("by", "anna")
    config, name = running.setup(where).config, asked.words["NAME"]
    with _changing(where) as state:
        try:
            _decided(state, machine.acknowledge(state, name, by=person, until=now + seconds, now=now, config=config))
        except machine.Refused as error:
            raise Refused(error) from None
    _say(f"{name} is acknowledged by {person} for {_span(seconds)}; after that it is told again")
    return 0


def _maintenance(asked: Arguments) -> int:
    from ansible_collections.quai.ops.plugins.module_utils import _monitor_state as machine

    what, project, where, now = asked.words["start|end"], asked.one("project"), asked.where, time.time()
    config = running.setup(where).config
    if what not in ("start", "end"):
        raise UsageError(f"maintenance: {what!r} is neither start nor end")
    if project and project not in config["projects"]:
        there = ", ".join(sorted(config["projects"])) or "none"
        raise UsageError(f"there is no project {project!r}{_close(project, config['projects'])}; there is {there}")
    name = project or "the whole host"
    if what == "end":
        with _changing(where) as state:
            try:
                _decided(state, machine.end_maintenance(state, project, now=now))
            except machine.Refused as error:
                raise Refused(error) from None
        _say(f"the maintenance of {name} is over; the next run tells what is still bad")
        return 0
    seconds = duration(asked.needed("for", "1h"))
    person, reason = asked.needed("by", "anna"), asked.needed("reason", '"new disk"')
    with _changing(where) as state:
        _decided(state, machine.maintain(state, project, until=now + seconds, by=person, reason=reason, now=now))
    _say(f"maintenance of {name} for {_span(seconds)}: nothing is sent, and its end tells what is still bad")
    return 0


def _guard(asked: Arguments) -> int:
    from ansible_collections.quai.ops.plugins.module_utils import _monitor_guard as guard

    if asked.words["reset"] != "reset":
        raise UsageError(
            f"quai-monitor guard: {asked.words['reset']!r} is not known; write quai-monitor guard reset NAME"
        )
    name = asked.words["NAME"]
    with _changing(asked.where) as state:
        try:
            store.note(state, [guard.reset(state, name, time.time())])
        except ValueError as error:
            raise Refused(error) from None
    _say(f"the guard of {name} may restart again")
    return 0


# --- pages -----------------------------------------------------------------------------------------------------------


def _report(asked: Arguments) -> int:
    from ansible_collections.quai.ops.plugins.module_utils import _monitor_page as page
    from ansible_collections.quai.ops.plugins.module_utils._report_read import clean

    where, now = asked.where, time.time()
    given = asked.one("from")
    config: dict[str, Any] = {}
    if given:
        files = sorted(Path(given).glob("*.json")) or sorted(Path(given).glob("*/report.json"))
        if not files:
            raise UsageError(f"--from {given}: there is no HOST.json and no HOST/report.json below it")
        reports = page.gather(files)
    else:
        config = running.setup(where).config
        reports = [clean(page.report(where, config, store.read_state(where), now))]
    _show(asked, reports, now)
    if "mail" in asked.flags:
        return _mail(where, config or running.setup(where).config, reports, now)
    return 0


def _show(asked: Arguments, reports: Sequence[Any], now: float) -> None:
    from ansible_collections.quai.ops.plugins.module_utils._report_html import html
    from ansible_collections.quai.ops.plugins.module_utils._report_text import text

    out = asked.one("out")
    made = text(reports, now) if "text" in asked.flags else html(reports, now)
    if out:
        store.replace(Path(out), made.encode(), 0o644)
    elif "mail" not in asked.flags or "text" in asked.flags:
        sys.stdout.write(made if made.endswith("\n") else f"{made}\n")


def _mail(where: store.Paths, config: Mapping[str, Any], reports: Sequence[Any], now: float) -> int:
    """Put the report into the outbox, from which it goes like every message, and try at once."""
    from ansible_collections.quai.ops.plugins.module_utils import _monitor_outbox as outbox
    from ansible_collections.quai.ops.plugins.module_utils._monitor_deliver import Sender
    from ansible_collections.quai.ops.plugins.module_utils._report_html import html
    from ansible_collections.quai.ops.plugins.module_utils._report_text import subject, text

    targets = config["report"].get("mail_to") or []
    if not targets:
        raise Refused("report.mail_to of the configuration names no channel; give one of type mail")
    languages = config["languages"]
    told, page = subject(reports, now), html(reports, now, languages=languages)
    body = "\n\n".join(text(reports, now, language, url=config["report"].get("url") or "") for language in languages)
    day = time.strftime("%Y-%m-%d", time.gmtime(now))
    messages = [
        {
            "id": running.identity(config["host"], channel, "report", f"{now:.6f}"),
            "kind": "report",
            "channel": channel,
            "severity": "low",
            "subject": told,
            "body": body,
            "html": page,
            "file": f"quai-{config['host']}-{day}.html",
            "at": now,
            "probes": [],
            "data": {"version": 1, "host": config["host"], "kind": "report", "text": told},
        }
        for channel in targets
    ]
    with _lock.held(running.LOCK, PATIENCE, where.locks):
        lost = outbox.put(where, messages, now)
        if lost:
            raise Refused(f"{where.state / 'outbox'} cannot be written, nor {where.run / 'outbox'}")
        done = outbox.deliver(where, config, now, Sender(config, store.load_secrets(where)))
    if done.failed:
        sys.stderr.write("quai-monitor: the report could not be delivered yet; it waits, see quai-monitor messages\n")
    return 1 if done.failed else 0


def _fleet(asked: Arguments) -> int:
    from ansible_collections.quai.ops.plugins.module_utils import _monitor_page as page
    from ansible_collections.quai.ops.plugins.module_utils._report_html import html
    from ansible_collections.quai.ops.plugins.module_utils._report_read import clean

    where, now = asked.where, time.time()
    setup = running.setup(where)
    config = setup.config
    own = clean(page.report(where, config, store.read_state(where), now))
    reports = [own, *page.fetch(config, lambda peer: _fetch(peer, setup.secrets))]
    directory = config["report"].get("directory")
    if directory and not asked.one("out") and "text" not in asked.flags:
        out = Path(directory) / "fleet.html"
        out.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        store.replace(out, html(reports, now).encode(), 0o644)
        _say(f"{out}: {len(reports)} hosts")
        return 0
    _show(asked, reports, now)
    return 0


def _fetch(peer: Mapping[str, Any], secrets: Mapping[str, str]) -> bytes:
    import base64

    from ansible_collections.quai.ops.plugins.module_utils._monitor_deliver import fill, hide, request
    from ansible_collections.quai.ops.plugins.module_utils._monitor_outbox import DeliveryFailed

    try:
        headers = {}
        if peer.get("user"):
            login = f"{fill(str(peer['user']), secrets)}:{fill(str(peer.get('password') or ''), secrets)}"
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        url, ca_file = fill(str(peer["url"]), secrets), str(peer.get("ca_file") or "")
        status, body = request(url, 10.0, headers=headers, ca_file=ca_file, most=2097152)
    except DeliveryFailed as error:
        raise ValueError(hide(error.message, secrets)) from None
    if status != 200:
        raise ValueError(f"it answers {status}")
    return body


def _simulate(asked: Arguments) -> int:
    from ansible_collections.quai.ops.plugins.module_utils import _monitor_simulate as simulator
    from ansible_collections.quai.ops.plugins.module_utils._monitor_state import Refused as Impossible

    series, probe = asked.needed("series", '"1x60 0x360 1x60"'), asked.one("probe")
    try:
        messages = simulator.simulate(series, running.setup(asked.where).config if probe else None, name=probe)
    except Impossible as error:
        raise UsageError(f"simulate: {error}") from None
    for line in simulator.lines(messages):
        _say(line)
    _say(f"{len(messages)} message(s)")
    return 0


VERBS: Final = {
    "run": Verb((), ("only",), ("dry-run",), _run),
    "check": Verb((), ("only",), ("json",), _check),
    "status": Verb((), (), ("json",), _status),
    "ack": Verb(("NAME",), ("for", "by"), (), _ack),
    "maintenance": Verb(("start|end",), ("project", "for", "by", "reason"), (), _maintenance),
    "guard": Verb(("reset", "NAME"), (), (), _guard),
    "report": Verb((), ("from", "out"), ("text", "mail"), _report),
    "fleet": Verb((), ("out",), ("text",), _fleet),
    "simulate": Verb((), ("series", "probe"), (), _simulate),
    "messages": Verb((), (), ("json",), _messages),
    "validate": Verb((), (), (), _validate),
}

if __name__ == "__main__":
    raise SystemExit(main())

__all__ = ["Arguments", "UsageError", "Verb", "duration", "main", "parse"]
