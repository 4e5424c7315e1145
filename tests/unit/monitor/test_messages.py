# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of alerts: complete in each language, short in the subject, safe with what others wrote."""

from __future__ import annotations

import json
import re
import string
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils._monitor_messages import (
    REASON_WORDS,
    WORDS,
    amount,
    compose,
    moment,
    one_line,
    rules,
    span,
)
from ansible_collections.quai.ops.plugins.module_utils._monitor_state import KINDS, acknowledge, advance
from ansible_collections.quai.ops.plugins.module_utils._probe_base import REASONS

NOW = 1_795_269_780.0  # 2026-11-21 14:03 UTC
CONTACTS = [
    {"name": "developers", "role": "Developers", "level": 2, "email": "dev@shop.example", "handles": "API"},
    {"name": "operators", "role": "Operations", "level": 1, "email": "ops@shop.example", "phone": "+33 1 23"},
    {"name": "boss", "role": "Direction", "level": 3, "link": "https://shop.example/boss", "availability": "24/7"},
]


def config(**more: Any) -> dict[str, Any]:
    """A host with one project, in French and English."""
    return {
        "host": "vps1",
        "languages": ["fr", "en"],
        "projects": {"shop": {"title": "The Shop", "contacts": CONTACTS}},
        **more,
    }


def item(name: str = "shop.web", kind: str = "firing", **more: Any) -> dict[str, Any]:
    """News of an open alert, as the state machine makes it."""
    return {
        "kind": kind,
        "name": name,
        "project": "shop",
        "severity": "critical",
        "level": "critical",
        "status": "critical",
        "reason": "latency",
        "message": "took 5012 ms",
        "value": 5012,
        "unit": "ms",
        "warn": ["latency_ms > 800"],
        "crit": {"on": "latency_ms > 3000", "clear": "latency_ms < 2000"},
        "since": NOW - 180,
        "last_ok": NOW - 240,
        "next": NOW + 3600,
        "next_to": ["shop.boss"],
        "behind": [],
        "hint": "Restart it",
        "runbook": "https://wiki/web",
        "log": ["boom", "bang"],
        **more,
    }


def ended(name: str = "shop.web", kind: str = "resolved", **more: Any) -> dict[str, Any]:
    """News of an alert that is over."""
    over = {"ended": NOW, "duration": 21720.0, "min": 3100, "max": 7200, "runs": 360, "bad_runs": 358, "missed": 2}
    return item(name, kind, **{**over, **more})


def write(*items: dict[str, Any], **more: Any) -> tuple[str, str, dict[str, Any]]:
    """Compose a message of these news."""
    still, digest = more.pop("still", ()), more.pop("digest", None)
    kind = "digest" if digest else str(items[0]["kind"])
    return compose(kind, "team", items, config(**more), NOW, still=still, digest=digest)


def test_every_reason_has_words_in_every_language() -> None:
    assert set(REASON_WORDS) == set(WORDS) == {"fr", "en"}
    for language, words in REASON_WORDS.items():
        assert set(words) == set(REASONS), language
        assert all(words.values())
        assert len(set(words.values())) == len(words), "two reasons read alike"
    assert not set(REASON_WORDS["fr"].values()) & set(REASON_WORDS["en"].values())


def test_the_languages_have_the_same_words_with_the_same_gaps() -> None:
    assert set(WORDS["fr"]) == set(WORDS["en"])
    for key, text in WORDS["en"].items():
        gaps = [field for _text, field, _spec, _conversion in string.Formatter().parse(text) if field is not None]
        other = [
            field
            for _text, field, _spec, _conversion in string.Formatter().parse(WORDS["fr"][key])
            if field is not None
        ]
        assert sorted(gaps) == sorted(other), key
    assert {kind for kind in KINDS if kind not in WORDS["en"]} == set()


def test_the_body_says_all_in_both_languages_french_first() -> None:
    _subject, body, _data = write(item())
    french, english = body.split("== English ==")
    assert french.startswith("== Français ==\n")
    assert french.strip().splitlines()[2:] == [
        "CRITIQUE  shop.web – trop lent  [nouvelle alerte]",
        "  Constaté : took 5012 ms",
        "  Valeur : 5012 ms (avertissement : latency_ms > 800; critique : latency_ms > 3000)",
        "  Depuis : 2026-11-21 14:00 UTC (3 min)",
        "  Dernier bon résultat : 2026-11-21 13:59 UTC",
        "  Prochaine étape, faute de réponse : 2026-11-21 15:03 UTC → shop.boss",
        "  Que faire : Restart it",
        "  Procédure : https://wiki/web",
        "  Acquitter : sudo quai-monitor ack shop.web --for 4h --by VOUS",
        "  Dernières lignes :",
        "    | boom",
        "    | bang",
        "",
        "Contacts de The Shop :",
        "  niveau 1  operators : Operations, ops@shop.example, +33 1 23",
        "  niveau 2  developers : Developers, dev@shop.example, API",
        "  niveau 3  boss : Direction, https://shop.example/boss, 24/7",
    ]
    assert english.strip().splitlines() == [
        "CRITICAL  shop.web – it is too slow  [new alert]",
        "  Seen: took 5012 ms",
        "  Value: 5012 ms (warning: latency_ms > 800; critical: latency_ms > 3000)",
        "  Since: 2026-11-21 14:00 UTC (3 min)",
        "  Last good: 2026-11-21 13:59 UTC",
        "  Next step without an answer: 2026-11-21 15:03 UTC → shop.boss",
        "  What to do: Restart it",
        "  Runbook: https://wiki/web",
        "  Acknowledge: sudo quai-monitor ack shop.web --for 4h --by YOU",
        "  Last lines:",
        "    | boom",
        "    | bang",
        "",
        "Contacts of The Shop:",
        "  level 1  operators: Operations, ops@shop.example, +33 1 23",
        "  level 2  developers: Developers, dev@shop.example, API",
        "  level 3  boss: Direction, https://shop.example/boss, 24/7",
    ]


def test_one_language_has_no_headings_and_an_unknown_one_does_no_harm() -> None:
    assert "==" not in write(item(), languages=["en"])[1]
    assert write(item(), languages=["de"])[1].startswith("CRITICAL  shop.web")
    assert write(item(), languages=["en", "fr"])[1].startswith("== English ==")


def test_a_recovery_says_how_long_how_bad_and_what_is_left() -> None:
    still = [{"name": "shop.db", "level": "warning", "since": NOW - 7200}]
    subject, body, _data = write(ended(), still=still, languages=["en"])
    assert subject == "[vps1] 1 OK: shop.web (6 h 2 min)"
    assert body.splitlines() == [
        "shop.web  [RESOLVED]",
        "  Seen: took 5012 ms",
        "  It was bad for: 6 h 2 min, from 2026-11-21 14:00 UTC to 2026-11-21 14:03 UTC",
        "  Lowest and highest value: 3100 ms … 7200 ms",
        "  Runs: 358 bad of 360; 2 runs of the watch did not take place",
        "",
        "Still bad: shop.db (WARNING, 2 h)",
    ]


def test_what_is_not_known_is_not_made_up() -> None:
    body = write(item(value=None, last_ok=None, hint="", runbook="", log=[], next=None, reason=""), languages=["en"])[1]
    lines = body.splitlines()[:4]
    assert lines == [
        "CRITICAL  shop.web  [new alert]",
        "  Seen: took 5012 ms",
        "  Since: 2026-11-21 14:00 UTC (3 min)",
        "  Last good: never since it is watched",
    ]
    assert "None" not in body
    body = write(ended(min=None, max=None, runs=0), languages=["en"])[1]
    assert "Lowest" not in body
    assert "None" not in body


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "digest"])
@pytest.mark.parametrize("language", ["fr", "en"])
def test_every_kind_of_news_can_be_said(kind: str, language: str) -> None:
    news = ended(kind=kind) if kind in ("resolved", "steady") else item(kind=kind, by="Zoé", until=NOW + 3600)
    subject, body, data = write(news, languages=[language])
    assert f"[{WORDS[language][kind]}]" in body
    assert "shop.web" in subject
    assert len(subject) <= 120
    json.dumps(data)
    assert not re.search(r"\{\d?\}|None", subject + body + data["text"])
    lead = WORDS[language].get(f"subject_{kind}", "")
    assert subject.startswith(f"[vps1] {lead}")


def test_acknowledgement_names_who_and_until_when() -> None:
    body = write(item(kind="ack", by="Zoé\nx", until=NOW + 3600), languages=["en"])[1]
    assert "  By: Zoé x, silent until 2026-11-21 15:03 UTC" in body
    assert "sudo" not in body


def test_flapping_says_how_often() -> None:
    assert "  Changes: 12, bad in 40.5 % of the runs" in write(item(kind="flapping", flips=12, duty=40.5))[1]
    body = write(item(kind="steady", flips=12, duty=None), languages=["en"])[1]
    assert "[no longer flapping, and bad]" in body
    assert "bad in ? %" in body


def test_a_probe_that_is_gone() -> None:
    assert "shop.web  [RESOLVED: no longer watched]" in write(ended(cause="unwatched"), languages=["en"])[1]


# Subjects


def test_subject_like_the_reference() -> None:
    items = [
        item("masstock.web", reason="timeout"),
        item("shop.db", reason="refused"),
        item("backup", level="warning", reason="stale", value=111600, unit="s"),
    ]
    assert write(*items)[0] == "[vps1] 2 CRIT 1 WARN: masstock.web (timeout), shop.db (refused), backup (stale 31 h)"


@pytest.mark.parametrize("count", [1, 2, 5, 30, 400])
@pytest.mark.parametrize("length", [3, 20, 60, 200])
def test_subjects_stay_short(count: int, length: int) -> None:
    items = [item(f"{number:03}" + "n" * (length - 3), behind=["x"] * 30) for number in range(count)]
    subject = write(*items)[0]
    assert len(subject) <= 120
    assert f"{count} CRIT" in subject
    assert "000" in subject
    shown = len(re.findall(r"\d{3}n* \(|\d{3}n*…", subject))
    left = re.search(r", \+(\d+)$", subject)
    assert shown + (int(left.group(1)) if left else 0) == count


def test_nothing_in_a_name_or_a_reason_makes_a_second_line_or_header() -> None:
    evil = "web\r\nBcc: all@example.com\r\n\r\nhello\x00\x1b[31m\u2028"
    subject, body, data = write(
        item(evil, message=evil, reason=evil, hint=evil, behind=[evil], log=[evil], unit=evil),
        host=evil,
        still=[{"name": evil, "level": "critical", "since": NOW}],
    )
    assert all(one.isprintable() for one in subject)
    for line in (*body.split("\n"), *data["text"].split("\n")):
        assert all(one.isprintable() for one in line), line
        assert not line.startswith("Bcc")


def test_long_messages_are_cut() -> None:
    subject, body, data = write(*(item(f"p{number}", message="m" * 5000, log=["l" * 999]) for number in range(60)))
    assert max(map(len, body.splitlines())) <= 330
    assert len(data["text"]) <= 3000
    assert len(subject) <= 120


def test_children_are_named_and_counted() -> None:
    names = [f"child{number:02}" for number in range(45)]
    subject, body, data = write(item(behind=names), languages=["en"])
    assert subject == "[vps1] 1 CRIT: shop.web (latency 5012 ms) + 45 behind it"
    assert "because it depends on this: (45) child00, child01," in body
    assert "child39 and 5 more" in body
    assert "child39 and 5 more" in data["text"]


def test_digest() -> None:
    digest = {"sent": 20, "held": 7, "loudest": [("shop.web", 9), ("shop.db", 3)], "until": NOW + 900}
    subject, body, data = write(digest=digest, languages=["en"])
    assert subject == "[vps1] DIGEST 27 messages in 1 h: shop.web (9), shop.db (3)"
    assert body.splitlines() == [
        "Too many messages: 20 in the last hour, 7 news held back. Loudest: shop.web (9), shop.db (3).",
        "Until 2026-11-21 14:18 UTC only critical news is sent; then a summary.",
        "Nothing is bad any more.",
    ]
    assert data["digest"]["held"] == 7
    assert "Nothing is bad" not in write(item(), digest=digest, languages=["en"])[1]


# For machines


def test_the_twin_for_machines_holds_it_all() -> None:
    _subject, _body, data = write(item(), item("shop.db"))
    assert (data["version"], data["host"], data["kind"], data["channel"]) == (1, "vps1", "firing", "team")
    assert (data["at"], data["time"]) == (NOW, "2026-11-21 14:03 UTC")
    assert [one["name"] for one in data["items"]] == ["shop.web", "shop.db"]
    assert data["items"][0]["value"] == 5012
    assert json.loads(json.dumps(data)) == data


def test_the_text_for_chats_is_escaped_and_can_be_acted_on() -> None:
    text = write(item(message="<!channel> a & b > c"), languages=["en"])[2]["text"]
    assert text.splitlines() == [
        "*[vps1] 1 CRIT: shop.web (latency 5012 ms)*",
        "• shop.web [new alert]: &lt;!channel&gt; a &amp; b &gt; c",
        "   `sudo quai-monitor ack shop.web --for 4h --by YOU`",
    ]


# Times, values


def test_times_are_local_where_a_zone_is_given() -> None:
    assert moment(NOW) == "2026-11-21 14:03 UTC"
    assert moment(NOW, "Europe/Paris") == "2026-11-21 15:03 CET"
    assert moment(NOW, "Nowhere/Land") == "2026-11-21 14:03 UTC"
    assert "2026-11-21 16:03 CET → shop.boss" in write(item(), timezone="Europe/Paris")[1]


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        *((0, "0 s"), (59, "59 s"), (59.6, "1 min"), (60, "1 min"), (3599, "59 min"), (3600, "1 h")),
        *((21720, "6 h 2 min"), (111600, "31 h"), (172800, "2 d"), (180000, "2 d 2 h"), (-5, "0 s")),
    ],
)
def test_durations(duration: float, text: str) -> None:
    assert span(duration) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        *((91.234, "%", "91.23 %"), (5012.4, "ms", "5012 ms"), (0.5, "", "0.5"), (30, "s", "30 s")),
        *((111600, "s", "31 h"), (512, "B", "512 B"), (1536, "B", "1.5 KiB"), (5 * 2**40, "B", "5 TiB")),
        *((True, "", "True"), ("up", "x", "up"), (-3, "days", "-3 days")),
    ],
)
def test_values(value: Any, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_days_are_in_the_language() -> None:
    assert "2 j 2 h" in write(item(since=NOW - 180000), languages=["fr"])[1]


def test_conditions_however_they_are_written() -> None:
    assert rules(None) == rules([]) == rules({}) == []
    assert rules("x > 1") == ["x > 1"]
    assert rules(["x > 1", {"on": "y > 2", "clear": "y < 1"}]) == ["x > 1", "y > 2"]


def test_one_line() -> None:
    assert one_line(" a\tb\n\nc ") == "a b c"
    assert one_line("abcdef", 4) == "abc…"


# From the state machine, through and through


def test_what_the_state_machine_says_is_what_people_read() -> None:
    probe = {
        "name": "shop.web",
        "project": "shop",
        "policy": "shop",
        "severity": "critical",
        "failures": 1,
        "hint": "Look at nginx",
        "runbook": "https://wiki/web",
    }
    given = config(probes=[probe], channels={"team": {}}, policies={}, interval=60)
    result = {
        "name": "shop.web",
        "project": "shop",
        "status": "critical",
        "reason": "timeout",
        "message": "no answer within 5 s",
        "value": None,
        "unit": "ms",
        "crit": ["latency_ms > 3000"],
    }
    first = advance({}, [{**result, "status": "ok", "reason": ""}], given, NOW)
    outcome = advance(first.state, [result], given, NOW + 60)
    (message,) = outcome.messages
    for words in (
        *("pas de réponse à temps", "no answer in time", "no answer within 5 s", "Look at nginx", "https://wiki/web"),
        *("2026-11-21 14:04 UTC", "Last good: 2026-11-21 14:03 UTC", "15:04 UTC → team", "ops@shop.example"),
        "sudo quai-monitor ack shop.web --for 4h --by YOU",
    ):
        assert words in message["body"], words
    acked = acknowledge(outcome.state, "shop.web", by="Zoé", until=NOW + 999, now=NOW + 90, config=given)
    assert "Zoé" in acked.messages[0]["body"]
    # Well for one run: what is told then is still what was wrong.
    flapping = outcome.state
    messages: list[dict[str, Any]] = []
    for minute in range(40):
        status = {"status": "ok", "reason": "", "message": "200"} if minute % 2 else {}
        outcome = advance(flapping, [{**result, **status}], {**given, "languages": ["en"]}, NOW + 120 + 60 * minute)
        flapping, messages = outcome.state, messages + outcome.messages
    assert [one["kind"] for one in messages] == ["flapping"]
    assert "no answer in time" in messages[0]["body"]
