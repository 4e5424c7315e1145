# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Specifications: defaults, units, and every mistake told at once with its probe and its option."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _monitor_guard
from ansible_collections.quai.ops.plugins.module_utils._probe_base import REASONS
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import (
    SpecError,
    asks,
    normalise,
    reason_of,
    rule,
    unmet,
)
from ansible_collections.quai.ops.plugins.module_utils._probe_types import COMMON, TYPES

NEEDED: dict[str, dict[str, Any]] = {
    "http": {"url": "https://example.test/up"},
    "tls": {"host": "example.test"},
    "tcp": {"port": 80},
    "queue": {"queue": "mail"},
    "docker": {"container": "app"},
    "containers": {"compose": "app"},
    "systemd": {"unit": "nginx.service"},
    "pm2": {"app": "api"},
    "process": {"match": "worker"},
    "log": {"path": "/var/log/app.log", "match": "ERROR"},
    "backup": {"glob": "/var/backups/*.zst"},
    "drill": {"success_file": "/var/lib/drill"},
    "heartbeat": {"file": "/var/lib/beat", "max_age": "130s"},
    "size": {"path": "/var/lib"},
    "command": {"command": ["true"]},
}


def one(**options: Any) -> dict[str, Any]:
    return normalise([{"name": "a", **options}])[0]


def problems(*probes: Any, defaults: Any = None) -> list[str]:
    with pytest.raises(SpecError) as caught:
        normalise(list(probes), defaults or {})
    return caught.value.problems


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_whole_and_comes_back_unchanged(kind: str) -> None:
    spec = one(type=kind, **NEEDED.get(kind, {}))
    assert set(spec) == {*COMMON, *TYPES[kind].options, "policy"}
    assert spec["expect"] == list(TYPES[kind].expect)
    assert spec["warn"] == list(TYPES[kind].warn)
    assert spec["crit"] == list(TYPES[kind].crit)
    assert json.loads(json.dumps(spec)) == spec
    assert normalise([spec]) == [spec]


def test_units() -> None:
    spec = one(url="http://x.test", timeout="2s", every="5m", max_body="2MiB", start_period=60, follow_redirects="3")
    assert (spec["timeout"], spec["every"], spec["max_body"], spec["start_period"]) == (2.0, 300.0, 2 << 20, 60.0)
    assert spec["follow_redirects"] == 3
    assert one(type="backup", glob="/b/*", max_age="26h")["max_age"] == 93600.0
    assert one(type="command", command="sh -c 'exit 3'")["command"] == ["sh", "-c", "exit 3"]
    assert one(type="smtp", tls=False)["tls"] == "off"  # YAML reads a bare off as a boolean


def test_defaults_go_to_the_probes_that_know_them() -> None:
    first, second = normalise(
        [{"name": "a", "url": "http://x.test", "timeout": 1}, {"name": "b", "type": "disk"}],
        {"timeout": 9, "verify": False, "severity": "low"},
    )
    assert (first["timeout"], first["verify"], first["severity"]) == (1.0, False, "low")
    assert (second["timeout"], second["severity"]) == (9.0, "low")
    assert "verify" not in second
    assert problems({"name": "a", "type": "disk"}, defaults={"verfy": True}) == [
        'defaults: there is no option "verfy"; did you mean "verify"?'
    ]


def test_limits() -> None:
    spec = one(
        type="disk",
        warn={"on": "used_pct > 85", "clear": "used_pct < 80"},
        crit=["95", {"on": "free_gib < 1", "clear": "free_gib > 2"}],
    )
    assert spec["warn"] == [{"on": "used_pct > 85", "clear": "used_pct < 80"}]
    assert spec["crit"] == ["95", {"on": "free_gib < 1", "clear": "free_gib > 2"}]
    assert one(type="disk", warn=[])["warn"] == []  # no limit is a decision; no expectation is not
    assert one(type="disk", crit=90)["crit"] == ["90"]


def test_unverified_tls_asks_for_what_it_can_know() -> None:
    assert one(type="tls", host="x.test", verify=False)["expect"] == ["tls_days >= 0"]


def test_steps() -> None:
    spec = one(url="https://x.test/", steps=[{"path": "/login", "method": "POST", "body": "a=1"}, {"path": "/home"}])
    assert [step["expect"] for step in spec["steps"]] == [["status in 200-299"]] * 2
    assert spec["expect"] == ["status in 200-299"]
    own = one(steps=[{"url": "https://x.test/old", "expect": "status == 301"}])
    assert own["expect"] == ["status == 301"]  # the type's own would contradict it
    quick = one(steps=[{"url": "https://x.test/", "expect": ["latency_ms < 500", "ttfb_ms < 5 and status == 200"]}])
    assert quick["expect"] == ["status != null"]  # what a step takes is not what the whole path takes
    assert normalise([quick]) == [quick]
    said = problems({"name": "a", "steps": [{"path": "/x"}, {"url": "http://x.test", "expct": "status == 1"}, 5]})
    assert "a: steps[1]: it needs a url, because the probe has none" in said
    assert 'a: steps[2].expct: a step has no such option; did you mean "expect"?' in said
    assert "a: steps[3]: a mapping is needed, not a number" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "a: url or steps: the type http needs one of them"),
        ({"url": "http://x.test", "timout": 3}, 'a: timout: the type http has no such option; did you mean "timeout"?'),
        ({"url": "http://x.test", "timeout": 0}, "a: timeout: 0 must be more than 0"),
        ({"url": "http://x.test", "timeout": "soon"}, "a: timeout: a duration is needed"),
        ({"url": "http://x.test", "max_body": "big"}, "a: max_body: a size is needed"),
        ({"url": "http://x.test", "expect": []}, "a: expect: an empty list asks for nothing"),
        ({"url": "http://x.test", "expect": "stats == 1"}, 'did you mean "status"?'),
        ({"url": "http://x.test", "expect": [{"on": "x"}]}, "a: expect: a condition is a text, not a mapping"),
        ({"url": "http://x.test", "expect": "85"}, "a: expect:"),  # a range is a limit, not an expectation
        ({"url": "http://x.test", "warn": {"on": "latency_ms > 5"}}, "exactly the two conditions {on, clear}"),
        ({"url": "http://x.test", "warn": [True]}, "a: warn: a condition or {on, clear} is needed, not a boolean"),
        ({"url": "http://x.test", "verify": "perhaps"}, "a: verify: 'perhaps' must be true or false"),
        ({"url": "http://x.test", "severity": "hihg"}, 'a: severity: "hihg" is none of'),
        ({"url": "http://x.test", "retries": 11}, "a: retries: 11 tries in one run are too many"),
        ({"url": "http://x.test", "retries": -1}, "a: retries: -1 must be a whole number"),
        ({"url": "http://x.test", "window": "5/3"}, 'a: window: "5/3" must be bad/results'),
        ({"url": "http://x.test", "window": "3/21"}, "at most 20 results"),
        ({"url": "http://x.test", "headers": ["a"]}, "a: headers: a mapping is needed, not a list"),
        ({"url": "http://x.test", "ca_file": "ca.pem"}, 'a: ca_file: "ca.pem" must be an absolute path'),
        ({"url": "http://x.test", "restart": {"unit": "x"}}, "does not tell whether something lives"),
        ({"url": "http://x.test", "depends_on": ["b"]}, 'a: depends_on: there is no probe "b"'),
        ({"url": "http://x.test", "password": "x", "password_file": "/x"}, "a: password: it is given twice"),
        ({"type": "htttp"}, 'a: type: there is no type "htttp"; did you mean "http"?'),
        ({"type": "tcp"}, "a: port or socket: the type tcp needs one of them"),
        ({"type": "tcp", "port": 1, "timeout": "2h"}, "a: timeout: 7200 s are too long for a probe; at most 3600 s"),
        ({"type": "tcp", "port": 1, "timeout": 1e300}, "a: timeout: 1e+300 s are too long for a probe"),
        ({"url": "http://x.test", "max_body": "9" * 400}, "a: max_body: a size is needed"),
        ({"type": "tcp", "port": 70000}, "a: port: 70000 is no port"),
        ({"type": "systemd", "unit": "x", "restart": {}}, None),
        ({"type": "systemd", "unit": "x", "restart": {"most": 3}}, "exactly one of unit and container"),
        ({"type": "systemd", "unit": "x", "restart": {"unit": "x", "most": 0}}, "must be more than 0"),
        ({"type": "systemd", "unit": "x", "restart": {"unit": "x", "within": "?"}}, "a duration is needed"),
        ({"type": "command", "command": "'"}, "a: command:"),
        ({"type": "command", "command": []}, "a command is needed"),
        ({"type": "log", "path": "/x", "match": "("}, "a: match: it is no regular expression"),
    ],
)
def test_mistakes(options: dict[str, Any], said: str | None) -> None:
    probe = {"name": "a", **options}
    if said is None:
        assert normalise([probe])[0]["restart"] is None
        return
    found = problems(probe)
    assert any(said in line for line in found), found
    assert all(line.startswith("a: ") for line in found)


def test_defaults_that_are_no_mapping() -> None:
    assert problems({"name": "a", "url": "http://x.test"}, defaults=["timeout"]) == [
        "defaults: a mapping is needed, not a list"
    ]


def test_all_mistakes_at_once() -> None:
    found = problems(
        {"name": "A", "url": "http://x.test"},
        {"name": "b", "type": "disk", "path": "x"},
        {"name": "b", "type": "disk", "every": "never"},
        "text",
    )
    assert len(found) == 5
    assert found[0].startswith("A: name: 'A' is no name")
    assert "b: two probes have this name, number 2 and number 3" in found
    assert "probe 4: a mapping is needed, not a text" in found
    with pytest.raises(SpecError, match="a list of mappings is needed"):
        normalise({"name": "a"})  # type: ignore[arg-type]


JUNK: tuple[Any, ...] = (
    *(True, 5, -1, 0, 1.5, float("nan"), float("inf"), "", "x", "1/0", "${A}", b"x", object()),
    *([], [None], ["a"], [["a"]], [{}], {}, {"on": 1}, {"on": [], "clear": {}}, {"unit": []}, {1: 2}),
)


@pytest.mark.parametrize("kind", TYPES)
def test_whatever_an_option_is_there_is_a_specification_or_a_message(kind: str) -> None:
    refused = 0
    for option in (*COMMON, *TYPES[kind].options, "policy", "nonsense"):
        for value in JUNK:
            try:
                found = normalise([{"name": "a", "type": kind, **NEEDED.get(kind, {}), option: value}])
            except SpecError as error:
                refused += 1
                assert all(error.problems)
            else:
                assert normalise(found) == found
    assert refused > 200


def test_circles_are_refused() -> None:
    base: dict[str, Any] = {"type": "disk"}
    chain: list[dict[str, Any]] = [{"name": "a", "depends_on": ["b"], **base}, {"name": "b", "depends_on": "c", **base}]
    assert len(normalise([*chain, {"name": "c", **base}])) == 3
    found = problems(*chain, {"name": "c", "depends_on": ["a"], **base})
    assert found == ["a: depends_on: a circle, a -> b -> c -> a"]
    assert "a circle, a -> a" in problems({"name": "a", "depends_on": ["a"], **base})[0]


def test_asks_looks_into_all_conditions() -> None:
    spec = one(url="http://x.test", warn={"on": "json.n > 5", "clear": "json.n < 3"})
    assert asks(spec, "json")
    assert not asks(spec, "body", "json_age_s")


@pytest.mark.parametrize(
    ("kind", "text", "fields", "reason"),
    [
        ("http", "status == 200", {"status": 500}, "status"),
        ("http", "body ~ x", {"body": ""}, "body"),
        ("http", "header.x == 1", {"header": {}}, "body"),
        ("http", "cookie.a.secure == true", {"cookie": {}}, "body"),
        ("http", "json.a == 1", {"json": {}}, "json"),
        ("http", "json_age_s.a < 5", {"json_age_s": {}}, "json"),
        ("http", "ttfb_ms < 5", {"ttfb_ms": 6}, "latency"),
        ("http", "bytes > 5", {"bytes": 1}, "size"),
        ("http", "redirects == 0", {"redirects": 1}, "redirect"),
        ("tls", "tls_days > 7", {"tls_days": -1}, "tls_expired"),
        ("tls", "tls_days > 7", {"tls_days": 3}, "threshold"),
        ("backup", "age_s < 5", {"age_s": 9}, "stale"),
        ("backup", "age_s != null", {"age_s": None}, "missing"),
        ("backup", "bytes > 0", {"bytes": 0}, "size"),
        ("heartbeat", "age_s < 5", {"age_s": 9}, "heartbeat"),
        ("docker", "restarts_day < 5", {"restarts_day": 9}, "restarts"),
        ("docker", "state == running", {"state": "exited"}, "status"),
        ("docker", "health in healthy,none", {"health": "unhealthy"}, "status"),
        ("containers", 'unhealthy == ""', {"unhealthy": "web"}, "status"),
        ("containers", 'missing == ""', {"missing": "web"}, "missing"),
        ("systemd", "active == active", {"active": "failed"}, "status"),
        ("command", "exit == 0", {"exit": 2}, "status"),
        ("log", "files > 0", {"files": 0}, "missing"),
        ("size", "files < 5", {"files": 9}, "threshold"),
        ("disk", "used_pct < 5", {"used_pct": 9}, "threshold"),
        ("tcp", "connected == false or banner ~ x", {"connected": True, "banner": "y"}, "threshold"),
    ],
)
def test_reasons_are_of_the_closed_list(kind: str, text: str, fields: dict[str, Any], reason: str) -> None:
    found = reason_of({"type": kind}, rule(kind, text), fields)
    assert found == reason
    assert found in REASONS


@pytest.mark.parametrize(
    ("kind", "text", "fields"),
    [
        ("docker", "state == running", {"state": "exited"}),
        ("docker", "health in healthy,none", {"health": "unhealthy"}),
        ("containers", 'missing == ""', {"missing": "web"}),
        ("containers", 'unhealthy == ""', {"unhealthy": "web"}),
        ("systemd", "active == active", {"active": "failed"}),
    ],
)
def test_the_guard_of_restarts_understands_the_reason(kind: str, text: str, fields: dict[str, Any]) -> None:
    """What these types say of something that does not live must not be words that the guard does not know."""
    guard: Any = object.__new__(_monitor_guard._One)
    guard.result = {"type": kind, "status": "critical", "reason": reason_of({"type": kind}, rule(kind, text), fields)}
    assert guard._says_dead()


def test_unmet_names_what_fails_and_no_more() -> None:
    spec = one(url="http://x.test", expect=["status == 200", "bytes > 5", "redirects == 0"])
    assert unmet(spec, {"status": 200, "bytes": 6, "redirects": 0}, spec["expect"]) is None
    assert unmet(spec, {"status": 200, "bytes": 1, "redirects": 3}, spec["expect"]) == (
        "size",
        "bytes is 1, not > 5; redirects is 3, should be 0",
    )
