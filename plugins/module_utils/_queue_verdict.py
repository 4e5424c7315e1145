# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the facts about a queue mean: a verdict, why, and what would help. Pure.

Everything that is wrong is a finding; the verdict is the first finding in this order, what stops work before what
lost work before what slows it:

    unknown        it cannot be read
    paused         somebody paused it
    no_workers     jobs wait and no worker is connected
    stuck          jobs wait where no worker looks, or nothing moved while somebody watched
    asleep         jobs wait, workers are idle, and what would wake them is missing
    stalled        a job is active, but whoever took it does not hold it any more
    parent_stuck   a parent waits for children that will not finish by themselves
    dead_schedule  a schedule whose next run is nowhere
    damaged        ids without a job, or jobs without a state
    throttled      a limit of the queue holds jobs back
    unknown        jobs wait, a worker is there, and only a second look can say whether they move
    healthy        jobs move, or are worked on
    idle           nothing waits and nothing is active
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

ORDER: Final = (
    "unreadable",
    "paused",
    "no_workers",
    "stuck",
    "asleep",
    "stalled",
    "parent_stuck",
    "dead_schedule",
    "damaged",
    "throttled",
    "unseen",
    "healthy",
    "idle",
)
VERDICTS: Final = (
    "healthy",
    "idle",
    "paused",
    "no_workers",
    "stuck",
    "asleep",
    "throttled",
    "stalled",
    "parent_stuck",
    "dead_schedule",
    "damaged",
    "unknown",
)
# Good for whoever waits for all to be well: nothing has to be done.
GOOD: Final = frozenset({"healthy", "idle", "throttled"})
# How long a job is active without a lock before that is no accident: twice the time of a lock, 30 s unless set.
STALLED_AFTER: Final = 60.0
# The same, for a job whose worker never began: between taking and locking there is one round trip.
UNBEGUN_AFTER: Final = 5.0
# How long jobs wait before it is asked why.
WAIT_AFTER: Final = 5.0


class Finding(NamedTuple):
    """One thing that is so. C(repairs) are names of repairs; C(advice) is what a person can do."""

    kind: str
    evidence: str
    repairs: tuple[str, ...] = ()
    advice: str = ""


def verdict(found: Mapping[str, Any], *, stalled_after: float = STALLED_AFTER) -> dict[str, Any]:
    """C(verdict), C(evidence) (lines, those of the verdict first), C(repair) (what would help, for people), C(repairs)

    (names for the module that repairs, only what is safe to do without asking) and C(findings) (their kinds).
    """
    findings = sorted(_findings(found, stalled_after), key=lambda one: ORDER.index(one.kind))
    first = {"unreadable": "unknown", "unseen": "unknown"}.get(findings[0].kind, findings[0].kind)
    return {
        "verdict": first,
        "evidence": [one.evidence for one in findings],
        "repair": [one.advice for one in findings if one.advice],
        "repairs": list(dict.fromkeys(name for one in findings for name in one.repairs)),
        "findings": list(
            dict.fromkeys("unknown" if one.kind in ("unreadable", "unseen") else one.kind for one in findings)
        ),
    }


def stalled_jobs(found: Mapping[str, Any], after: float = STALLED_AFTER) -> list[Mapping[str, Any]]:
    """Active jobs that nobody holds for long enough to be sure."""
    return [one for one in found.get("unlocked") or () if _stalled(one, after)]


def _stalled(one: Mapping[str, Any], after: float) -> bool:
    if one["since_s"] is None:
        return bool(one["seen_for_s"] >= UNBEGUN_AFTER)
    return bool(one["since_s"] >= after)


def _findings(found: Mapping[str, Any], stalled_after: float) -> list[Finding]:
    if found["problems"]:
        return [Finding("unreadable", problem, (), _explained(problem)) for problem in found["problems"]]
    counts = found["counts"]
    waiting, workers, active = found["waiting"], found["workers"], counts["active"]
    findings = _flow(found, stalled_after)
    findings += _stalls(found, stalled_after)
    findings += _parents(found["parents"]["stuck"])
    findings += _schedules(found["schedules"]["dead"])
    findings += _damage(found)
    if not findings or all(one.kind == "throttled" for one in findings):
        by = "nobody may be asked who is connected" if workers is None else f"{_n(workers, 'worker')} connected"
        if waiting or active:
            findings.append(Finding("healthy", f"{_waits(found)}, {active} active, {by}{_moved(found)}"))
        else:
            later = f", {counts['delayed']} for later" if counts["delayed"] else ""
            findings.append(Finding("idle", f"nothing waits{later}, {by}"))
    return findings


def _explained(problem: str) -> str:
    """What helps when a queue cannot be read."""
    if "another type" in problem:
        return "Another program uses the keys of this queue: find it, or name another prefix."
    return "Check name, prefix and database; say library and version when the keys do not tell them."


def _flow(found: Mapping[str, Any], stalled_after: float) -> list[Finding]:
    """What keeps waiting jobs from being taken."""
    counts, waiting, workers = found["counts"], found["waiting"], found["workers"]
    findings = []
    if found["paused"]:
        findings.append(
            Finding(
                "paused", f"paused, {_waits(found)}", (), "Resume it (queue_state: running) when the reason is gone."
            )
        )
    if not waiting:
        return findings
    if workers == 0:
        findings.append(
            Finding("no_workers", f"{_waits(found)} and no worker is connected", (), "Start the workers of this queue.")
        )
    if found["paused"]:
        return findings
    if counts["paused"]:
        findings.append(
            Finding(
                "stuck",
                f"{_n(counts['paused'], 'job')} in the list of a paused queue, where no worker looks: it is not paused",
                ("paused_list",),
                "Repair paused_list puts them back in turn.",
            )
        )
        if waiting == counts["paused"]:
            return findings
    if workers == 0:
        return findings
    return findings + (_limits(found) or _still(found, stalled_after))


def _limits(found: Mapping[str, Any]) -> list[Finding]:
    """Limits of the queue that hold jobs back."""
    throttled = found["throttled"]
    if throttled["limited"]:
        seconds = throttled["limited_for_ms"] / 1000
        return [Finding("throttled", f"its rate limit holds jobs back for {seconds:.1f} s")]
    if throttled["full"]:
        active, most = found["counts"]["active"], throttled["concurrency"]
        return [Finding("throttled", f"{active} active is all its concurrency of {most} allows; {_waits(found)}")]
    return []


def _still(found: Mapping[str, Any], stalled_after: float) -> list[Finding]:
    """What it means that jobs have waited for long, when nothing else explains it."""
    active, oldest, workers = found["counts"]["active"], found["oldest_wait_s"], found["workers"]
    if oldest is None or oldest < WAIT_AFTER or active is None:
        return []
    waits = found["waiting"]
    busy = active > len(stalled_jobs(found, stalled_after))
    if found["idle_without_marker"] and not found["moving"]:
        return [
            Finding(
                "asleep",
                f"{_waits(found)}, nothing is active, and the marker that wakes workers is missing",
                ("wake",),
                "Repair wake sets the marker. A worker also looks by itself every drainDelay, 5 s unless set.",
            )
        ]
    if busy or found["moving"]:
        return []
    if found["moving"] is False and found["library"] == "bullmq" and found["major"] == 1 and found["overdue"] == waits:
        return [
            Finding(
                "stuck",
                f"{_n(waits, 'delayed job')} due, and none was put where workers look in {found['watched_s']:.0f} s",
                (),
                "Start a QueueScheduler of this queue: without it BullMQ 1 never runs delayed jobs.",
            )
        ]
    if found["moving"] is False:
        return [
            Finding(
                "stuck",
                f"{_waits(found)}, {_known(workers)}, nothing was taken or finished in {found['watched_s']:.0f} s",
                (),
                "Restart the workers, then look again with watch. If they are connected and idle, read their log.",
            )
        ]
    maybe = ""
    if found["throttled"]["limited"] is None:
        maybe = "; a rate limit counts, but whether it is reached is known to the workers only"
    return [
        Finding(
            "unseen",
            f"{_waits(found)}, {_known(workers)}, nothing is active; whether jobs move only watch can tell{maybe}",
            (),
            "Look again with watch.",
        )
    ]


def _stalls(found: Mapping[str, Any], after: float) -> list[Finding]:
    lost = stalled_jobs(found, after)
    if not lost:
        return []
    since = [one["since_s"] for one in lost if one["since_s"] is not None]
    how_long = f", the longest for {_span(max(since))}" if since else ""
    ids = ", ".join(one["id"] for one in lost[:3]) + (" …" if len(lost) > 3 else "")
    # A worker that is connected looks for them itself; one that has lost its lock may still be at work.
    none: tuple[str, ...] = ()
    repairs = none
    if found["workers"] == 0:
        advice, repairs = "Repair stalled puts them back to be taken first.", ("stalled",)
    else:
        advice = (
            "Connected workers take them back within two of their intervals (30 s each unless set). Restart the workers"
            " when they do not; repair stalled, named by you, does it when no worker is still at them."
        )
    return [Finding("stalled", f"{_n(len(lost), 'active job')} without a lock{how_long} ({ids})", repairs, advice)]


def _parents(stuck: Sequence[Mapping[str, Any]]) -> list[Finding]:
    findings = []
    for why, evidence, repairs, advice in (
        (
            "done",
            "all children are done",
            ("parents",),
            "Repair parents releases them, as their last child should have.",
        ),
        (
            "lost",
            "what is left of the children is gone",
            (),
            "Repair parents_lost, named by you, runs them without those children, as removing the children does.",
        ),
        (
            "failed",
            "every child that is left failed or is gone",
            (),
            "Retry the failed children, or remove the parents.",
        ),
    ):
        some = [one["id"] for one in stuck if one["why"] == why]
        if some:
            ids = ", ".join(some[:3]) + (" …" if len(some) > 3 else "")
            findings.append(
                Finding(
                    "parent_stuck", f"{_n(len(some), 'parent')} waiting although {evidence} ({ids})", repairs, advice
                )
            )
    return findings


def _schedules(dead: Sequence[Mapping[str, Any]]) -> list[Finding]:
    advice = "Restart the application that registers it; it must add or upsert the schedule when it starts."
    return [
        Finding(
            "dead_schedule",
            f"schedule {one['schedule']}: its next run is in no state, so it never runs again",
            (),
            advice,
        )
        for one in dead
    ]


def _damage(found: Mapping[str, Any]) -> list[Finding]:
    findings = []
    ghosts = found["ghosts"]
    if ghosts["count"]:
        where = ", ".join(f"{state} {count}" for state, count in ghosts["states"].items())
        least = "" if ghosts["complete"] else "at least "
        findings.append(
            Finding(
                "damaged",
                f"{least}{_n(ghosts['count'], 'id')} without a job ({where}); who takes one runs a job without a name",
                (),
                "Clean up with ghosts: remove (queue_cleanup).",
            )
        )
    orphans = found.get("orphans")
    if orphans and orphans["count"]:
        least = "" if orphans["complete"] else "at least "
        findings.append(
            Finding(
                "damaged",
                f"{least}{_n(orphans['count'], 'job')} in no state; nothing will ever take or remove them",
                (),
                "Clean up with orphans: remove (queue_cleanup).",
            )
        )
    return findings


def _waits(found: Mapping[str, Any]) -> str:
    waiting, oldest = found["waiting"], found["oldest_wait_s"]
    if not waiting:
        return "nothing waits"
    since = "since when is not known" if oldest is None else f"the oldest for {_span(oldest)}"
    return f"{_n(waiting, 'job')} waiting, {since}"


def _moved(found: Mapping[str, Any]) -> str:
    if found["moving"] is None:
        return ""
    if found["moving"]:
        return "; jobs move"
    longest = found["longest_active_s"]
    at_work = f", the longest active job for {_span(longest)}" if longest is not None else ""
    return f"; nothing was taken or finished in {found['watched_s']:.0f} s{at_work}, locks are held"


def _known(workers: int | None) -> str:
    return "who is connected is not known" if workers is None else f"{_n(workers, 'worker')} connected"


def _n(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _span(seconds: float) -> str:
    """A time for people, with one unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


# What operators read: headings, and verdicts as words.
LANGUAGES: Final = ("en", "fr")
_HEADS: Final = {
    "en": ("VERDICT", "QUEUE", "WAITING", "OLDEST", "ACTIVE", "DELAYED", "FAILED", "WORKERS", "VERSION"),
    "fr": ("VERDICT", "FILE", "EN ATTENTE", "PLUS ANCIEN", "ACTIFS", "DIFFÉRÉS", "ÉCHOUÉS", "WORKERS", "VERSION"),
}
_FRENCH: Final = {
    "healthy": "saine",
    "idle": "au repos",
    "paused": "en pause",
    "no_workers": "sans worker",
    "stuck": "bloquée",
    "asleep": "endormie",
    "throttled": "freinée",
    "stalled": "abandons",
    "parent_stuck": "parent bloqué",
    "dead_schedule": "planification morte",
    "damaged": "abîmée",
    "unknown": "inconnu",
}
# The worst first, as ORDER has them.
_RANK: Final = {"unknown": 0, **{name: rank for rank, name in enumerate(ORDER) if name in VERDICTS}}


def report(
    results: Sequence[Mapping[str, Any]], language: str = "en", extra: tuple[str, Mapping[str, str]] | None = None
) -> list[str]:
    """A table of queues with their verdicts, the worst first, and under it why and what helps, for those not good.

    C(extra) is one more column: its head, and its cells by the name of the queue.
    """
    worst = sorted(results, key=lambda one: (_RANK[one["verdict"]], one["name"]))
    lines = [_HEADS[language], *(_row(one, language) for one in worst)]
    if extra:
        cells = (extra[0], *(extra[1].get(one["name"], "-") for one in worst))
        lines = [(*line, cell) for line, cell in zip(lines, cells)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    # Words to the left, numbers to the right.
    left = (0, 1, 8, 9)
    table = [
        "  ".join(cell.ljust(width) if at in left else cell.rjust(width) for at, (cell, width) in enumerate(row))
        for row in (tuple(zip(line, widths)) for line in lines)
    ]
    why = [
        f"{one['name']}: {line}"
        for one in worst
        if one["verdict"] not in GOOD
        for line in (*one["evidence"], *(f"-> {advice}" for advice in one["repair"]))
    ]
    return [line.rstrip() for line in table] + ([""] if why else []) + why


def _row(one: Mapping[str, Any], language: str) -> tuple[str, ...]:
    counts, oldest = one.get("counts") or {}, one.get("oldest_wait_s")
    age = "?" if oldest is None else "-" if not one.get("waiting") else _span(oldest)
    numbers = (counts.get("active"), counts.get("delayed"), counts.get("failed"), one.get("workers"))
    return (
        _FRENCH[one["verdict"]] if language == "fr" else str(one["verdict"]),
        str(one["name"]),
        _number(one.get("waiting")),
        age,
        *map(_number, numbers),
        f"{one.get('library') or '?'} {one.get('version') or one.get('major') or ''}".strip(),
    )


def _number(value: Any) -> str:
    return "?" if value is None else str(value)


__all__ = ["GOOD", "LANGUAGES", "ORDER", "STALLED_AFTER", "VERDICTS", "Finding", "report", "stalled_jobs", "verdict"]
