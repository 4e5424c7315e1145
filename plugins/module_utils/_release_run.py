# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One release on one host, step by step, and the way back from each of them.

The new copies start beside those that serve; nginx is switched when they are good, and the old ones end when that was
seen from outside. Until then they run on, so that the way back is one switch. Before each step the ledger is told what
the way back needs, so that a release that was killed is undone by whoever comes next exactly as one that failed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Callable, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils import _files, _release_front
from ansible_collections.quai.ops.plugins.module_utils._release_front import Door, FrontError, Nginx
from ansible_collections.quai.ops.plugins.module_utils._release_ledger import (
    BROKEN,
    FAILED,
    GOOD,
    RETURNED,
    Ledger,
    Release,
    unfinished,
)

DRAIN_POLL_SECONDS = 0.1
VERDICT_POLL_SECONDS = 0.1
CONFIRMED, REFUSED = "confirmed", "refused"


class StepFailed(Exception):
    """A step of a release did not succeed; the message says which and why."""


class Runtime:
    """What runs the copies of one service; one subclass for each kind. Methods raise StepFailed."""

    def start(self, colour: str, directory: Path) -> None:
        """Start the copy of this colour from the files of a release. A former one of this colour goes first."""
        raise NotImplementedError

    def resume(self, colour: str) -> None:
        """Start a copy again that was stopped, from what it was started from. One that runs is fine."""
        raise NotImplementedError

    def probes(self, colour: str) -> list[dict[str, Any]]:
        """What must be good before the copy may serve, as the probe engine takes it."""
        raise NotImplementedError

    def connections(self, colour: str) -> int:
        """Requests that the copy still answers, as far as that can be seen."""
        raise NotImplementedError

    def stop(self, colour: str) -> None:
        """End the copy as it wants to be ended, at the latest after its grace. One that does not run is fine."""
        raise NotImplementedError

    def keep(self, colour: str) -> None:
        """From now on this copy starts with the host."""
        raise NotImplementedError

    def forget(self, colour: str) -> None:
        """Stop the copy and remove what it was started from."""
        raise NotImplementedError


class Service(NamedTuple):
    """One service of a release. C(port) is the declared one, where nginx listens; None for a worker."""

    name: str
    port: int | None
    runtime: Runtime
    alone: bool = False  # two copies must not run at once: the old one stops first


class Plan(NamedTuple):
    """What is to be released. Times are seconds."""

    id: str
    project: str
    version: str
    kind: str  # release, or rollback
    by: str
    reason: str
    target: str  # of a rollback: the release that is brought back
    services: Sequence[Service]  # all of the project that run in copies
    replace: Sequence[str]  # names of those that are replaced; the others go on as they are
    drain: float  # most that is waited for requests which the old copies are answering
    verdict: float  # most that is waited for word from outside


class Places(NamedTuple):
    """Where things are on the host."""

    state: Path  # /var/lib/quai/PROJECT
    run: Path  # /run/quai/release/PROJECT
    front: Path  # the project's file for nginx
    nginx: Nginx = Nginx()

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.state / "releases.jsonl"

    @property
    def live(self) -> Path:
        """What serves now."""
        return self.state / "live.json"

    @property
    def word(self) -> Path:
        """Where the word from outside is put."""
        return self.run / "verdict.json"


class Hands(NamedTuple):
    """What a release does beyond its copies; a test puts its own in."""

    prepare: Callable[[], Path]  # makes the files of the release ready beside the old ones; returns their directory
    migrate: Callable[[Path], dict[str, Any]]  # returns what the ledger keeps of it
    gate: Callable[[Sequence[dict[str, Any]]], str]  # asks probes until they are good; returns why not, or nothing
    verify: Callable[[], str]  # asks the public addresses from the host; returns what is wrong, or nothing
    say: Callable[[str], None]  # a line for whoever watches
    now: Callable[[], float] = time.time


class Colours(NamedTuple):
    """The live colour of each service, before a release and after it. What did not run has none."""

    former: Mapping[str, str]
    new: Mapping[str, str]

    def replaced(self, services: Sequence[Service]) -> list[Service]:
        """The services whose copy becomes another one."""
        return [one for one in services if one.name in self.new and self.new[one.name] != self.former.get(one.name)]


class Outcome(NamedTuple):
    """How a release ended."""

    result: str
    message: str


class Engine:
    """One release. Whoever runs it holds the project's lock."""

    def __init__(self, plan: Plan, places: Places, hands: Hands) -> None:
        self.plan, self.places, self.hands = plan, places, hands
        self.ledger = Ledger(places.ledger)
        former = serving(places)
        taken = {name: _release_front.other(former.get(name, "")) for name in plan.replace}
        self.colours = Colours(former, {**former, **taken})
        self.current = dict(former)  # what nginx sends requests to
        self.touched = False

    def run(self) -> Outcome:
        """Release; returns how it ended, which the ledger knows by then."""
        plan = self.plan
        self.ledger.begin(
            plan.id,
            self.hands.now(),
            kind=plan.kind,
            version=plan.version,
            by=plan.by,
            reason=plan.reason,
            target=plan.target,
        )
        try:
            directory = self._prepare()
            self._start(directory)
            self._switch()
            message = self._verdict()
        except Exception as error:  # whatever it is, what served before has to serve again
            return self._end(*undo(plan, self.places, self.hands, self.colours, _reason(error), touched=self.touched))
        self._step("confirmed", seen=message)
        return self._end(GOOD, finish(plan, self.places, self.hands, self.colours, message))

    def _prepare(self) -> Path:
        self.hands.say("prepare the release beside the one that serves")
        directory = self.hands.prepare()
        self._step("prepared", directory=str(directory))
        self.hands.say("migrate the database")
        self._step("migrating")
        self._step("migrated", **self.hands.migrate(directory))
        return directory

    def _start(self, directory: Path) -> None:
        plan = self.plan
        # Told before, so that whoever finds it knows what to stop and what to bring back.
        self._step("starting", new=self.colours.new, former=self.colours.former, directory=str(directory))
        replaced = self.colours.replaced(plan.services)
        together = [service for service in replaced if not service.alone]
        for service in together:
            self.hands.say(f"start {service.name} ({self.colours.new[service.name]})")
            service.runtime.start(self.colours.new[service.name], directory)
        self._gate(together)
        for service in replaced:
            if not service.alone:
                continue
            self.touched = True
            former = self.colours.former.get(service.name)
            self.hands.say(f"stop {service.name}: two of it must not run at once")
            self._door(service.name, None)
            if former:
                service.runtime.stop(former)
            service.runtime.start(self.colours.new[service.name], directory)
            self._gate([service])
            self._door(service.name, self.colours.new[service.name])

    def _gate(self, services: Sequence[Service]) -> None:
        probes = [probe for service in services for probe in service.runtime.probes(self.colours.new[service.name])]
        if not probes:
            return
        self.hands.say(f"wait until {', '.join(service.name for service in services)} is good")
        why = self.hands.gate(probes)
        if why:
            raise StepFailed(why)

    def _door(self, service: str, colour: str | None) -> None:
        """Let nginx send one service's requests to a colour, or nowhere; the other doors stay as they are."""
        self.current = {name: live for name, live in self.current.items() if name != service}
        if colour:
            self.current[service] = colour
        point(self.plan, self.places, self.current)

    def _switch(self) -> None:
        self.hands.say("switch to the new copies")
        self.touched = True
        self._step("switching")
        point(self.plan, self.places, self.colours.new)
        self._step("switched")

    def _verdict(self) -> str:
        """Wait for word from outside; without any, what the host itself sees decides."""
        wrong = self.hands.verify()
        if wrong:
            raise StepFailed(wrong)
        self._step("serving")
        self.hands.say("serving; waits for word from outside")
        deadline = time.monotonic() + self.plan.verdict
        while True:
            word = heard(self.places, self.plan.id)
            if word.get("verdict") == CONFIRMED:
                return "seen from outside"
            if word.get("verdict") == REFUSED:
                raise StepFailed(str(word.get("why") or "refused from outside"))
            if time.monotonic() >= deadline:
                break
            time.sleep(VERDICT_POLL_SECONDS)
        wrong = self.hands.verify()
        if wrong:
            raise StepFailed(wrong)
        return f"no word from outside within {self.plan.verdict:g} s; seen from the host"

    def _step(self, name: str, **data: Any) -> None:
        self.ledger.step(self.plan.id, self.hands.now(), name, **data)

    def _end(self, result: str, message: str) -> Outcome:
        self.ledger.end(self.plan.id, self.hands.now(), result, message)
        self.hands.say(f"{result}: {message}" if message else result)
        return Outcome(result, message)


def finish(plan: Plan, places: Places, hands: Hands, colours: Colours, message: str) -> str:
    """Make the new copies those that stay, then end the old ones once nothing asks them any more. It can be repeated.

    Nothing that goes wrong here makes the release a bad one: what is left over is told in the message that is returned.
    """
    replaced = colours.replaced(plan.services)
    left = []
    for service in replaced:
        new = colours.new[service.name]
        # After a boot in between only what was kept runs.
        left += _tried(f"{service.name} ({new}) may not start with the host", partial(service.runtime.keep, new))
        left += _tried(f"{service.name} ({new}) may not run", partial(service.runtime.resume, new))
    note(places, plan, colours.new)
    if left:
        return "; ".join([message, *left])
    deadline = time.monotonic() + plan.drain
    for service in replaced:
        old = colours.former.get(service.name)
        if not old:
            continue
        hands.say(f"end the old {service.name} ({old})")
        while service.port and service.runtime.connections(old) and time.monotonic() < deadline:
            time.sleep(DRAIN_POLL_SECONDS)
        left += _tried(f"the old {service.name} ({old}) is left over", partial(service.runtime.forget, old))
    return "; ".join([message, *left])


def undo(plan: Plan, places: Places, hands: Hands, colours: Colours, why: str, *, touched: bool) -> tuple[str, str]:
    """Go back to what served before; returns the result and the message. It can be repeated.

    C(touched): whether what served before may have been touched. If not, only the new copies go. Every part of the way
    back is gone, whatever became of the others.
    """
    hands.say(f"go back: {why.splitlines()[0]}")
    replaced = colours.replaced(plan.services)
    wrong: list[str] = []
    if touched:
        for service in replaced:
            if service.alone:
                wrong += _tried(service.name, partial(service.runtime.stop, colours.new[service.name]))
            if service.name in colours.former:
                wrong += _tried(service.name, partial(service.runtime.resume, colours.former[service.name]))
        # Before it is asked whether it is good: it was, and what is there now is known to be bad.
        wrong += _tried("nginx", partial(point, plan, places, colours.former))
        probes = [
            probe
            for one in replaced
            if one.name in colours.former
            for probe in one.runtime.probes(colours.former[one.name])
        ]
        missing = hands.gate(probes) if probes else ""
        if missing:
            wrong.append(f"what served before is not good any more: {missing}")
    left = []
    for service in replaced if not wrong else []:
        left += _tried(f"{service.name} is left over", partial(service.runtime.forget, colours.new[service.name]))
    if wrong:
        return BROKEN, "\n".join([why, *(f"And the way back failed: {one}" for one in wrong)])
    if not touched:
        end = "What served before was not touched."
    elif colours.former:
        end = "What served before serves again."
    else:
        end = "Nothing served before, so nothing serves now."
    return RETURNED if touched else FAILED, "\n".join([why, end, *left])


def _tried(what: str, act: Callable[[], None]) -> list[str]:
    """Do it; returns what went wrong, so that the rest is done all the same."""
    try:
        act()
    except (StepFailed, FrontError, OSError) as error:
        return [f"{what}: {_reason(error)}"]
    return []


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, (StepFailed, FrontError)) else f"{type(error).__name__}: {error}"


def recover(plan: Plan, places: Places, hands: Hands) -> Outcome | None:
    """End what a killed release has begun; None when there is nothing. C(plan) holds the services as they are declared.

    What was confirmed is finished. Anything less is undone, because nobody has seen it good.
    """
    ledger = Ledger(places.ledger)
    late = unfinished(ledger.releases())
    if late is None:
        return None
    begun = late.data("starting")
    colours = Colours(dict(begun.get("former", {})), dict(begun.get("new", {})))
    plan = plan._replace(id=late.id, version=late.version)
    # A word that came and was not noted any more counts.
    if late.reached("confirmed") or heard(places, late.id).get("verdict") == CONFIRMED:
        result, message = GOOD, finish(plan, places, hands, colours, "broken off after it was confirmed")
    else:
        # One that must be alone was stopped at some moment after the start; when is not known.
        touched = late.reached("switching") or any(one.alone for one in colours.replaced(plan.services))
        result, message = undo(plan, places, hands, colours, _broken_off(late), touched=touched)
    ledger.end(late.id, hands.now(), result, message)
    return Outcome(result, message)


def _broken_off(late: Release) -> str:
    reached = late.steps[-1].name if late.steps else "begun"
    return f"the release of {late.version} by {late.by} was broken off after: {reached}"


def doors(services: Sequence[Service], live: Mapping[str, str]) -> list[Door]:
    """The project's front with these colours."""
    return [
        Door(one.name, one.port, _release_front.ports(one.port)[live[one.name]] if one.name in live else None)
        for one in services
        if one.port
    ]


def point(plan: Plan, places: Places, live: Mapping[str, str]) -> None:
    """Let nginx send all requests to these colours."""
    fronts = doors(plan.services, live)
    if fronts:
        _release_front.switch(places.front, _release_front.render(plan.project, fronts), places.nginx)


def serving(places: Places) -> dict[str, str]:
    """The colour of each service that serves now; nothing before the first release. Raises StepFailed."""
    try:
        loaded = json.loads(places.live.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StepFailed(f"{places.live} cannot be read: {error}") from error
    return {str(name): str(colour) for name, colour in loaded["colours"].items()}


def note(places: Places, plan: Plan, live: Mapping[str, str]) -> None:
    """Note what serves now."""
    text = json.dumps({"release": plan.id, "version": plan.version, "colours": dict(live)}, sort_keys=True)
    places.state.mkdir(mode=0o755, parents=True, exist_ok=True)
    _files.write(places.live, f"{text}\n".encode(), 0o644)


def tell(places: Places, identity: str, verdict: str, why: str = "") -> None:
    """Give the word from outside to a release that waits for it; C(verdict) is CONFIRMED or REFUSED."""
    places.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    _files.write(places.word, json.dumps({"id": identity, "verdict": verdict, "why": why}).encode(), 0o600)


def heard(places: Places, identity: str) -> Mapping[str, Any]:
    """The word from outside about this release; nothing as long as there is none."""
    try:
        word = json.loads(places.word.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return word if isinstance(word, dict) and word.get("id") == identity else {}


__all__ = [
    "CONFIRMED",
    "REFUSED",
    "Colours",
    "Engine",
    "Hands",
    "Outcome",
    "Places",
    "Plan",
    "Runtime",
    "Service",
    "StepFailed",
    "doors",
    "finish",
    "heard",
    "note",
    "point",
    "recover",
    "serving",
    "tell",
    "undo",
]
