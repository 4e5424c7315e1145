# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine: order, deadlines, retries, limits with hysteresis, secrets, and checks that never come back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _probe_engine
from ansible_collections.quai.ops.plugins.module_utils._probe_base import REASONS, Context, OwnFault, ProbeFailed, Spec
from ansible_collections.quai.ops.plugins.module_utils._probe_engine import run_probes
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import normalise
from ansible_collections.quai.ops.plugins.module_utils._probe_types import TYPES

from tests.unit.probes.servers import Server, answer, by_path, fixed, hang_every, nothing_listens, ok_then_503

NOW = 1_790_000_000.0
LIBRARY = Path(__file__).resolve().parents[3] / "collections"
Check = Callable[[Spec, Context], None]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[Check], None]:
    """Put a check of the test's own in place of that of disks, for what no real disk does on demand."""

    def put(check: Check) -> None:
        monkeypatch.setitem(_probe_engine._checks, "disk", check)

    return put


@pytest.fixture
def freed() -> Iterator[threading.Event]:
    """An event that is set in the end, so that what waits for it does not outlive the test."""
    event = threading.Event()
    yield event
    event.set()


def used(value: float | None) -> Check:
    def check(_spec: Spec, context: Context) -> None:
        context.found.fields.update(used_pct=value, read_only=False, free_gib=1)

    return check


def run(*probes: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    named = [{"name": f"p{number}", **probe} for number, probe in enumerate(probes)]
    return run_probes(normalise(named), now=NOW, **options)


def test_nothing_to_do() -> None:
    assert run_probes([]) == []


def test_results_come_whole_and_in_order() -> None:
    with Server(by_path({f"/{number}": answer() for number in range(30)})) as server:
        seen: list[str] = []
        probes = [{"url": f"{server.url}{number}", "warn": "800", "crit": "3000"} for number in range(31)]
        results = run(*probes, concurrency=7, progress=lambda result: seen.append(result["name"]))
    assert [result["name"] for result in results] == [f"p{number}" for number in range(31)]
    assert sorted(seen) == sorted(result["name"] for result in results)
    assert [result["status"] for result in results] == ["ok"] * 30 + ["critical"]
    bad = results[-1]
    assert (bad["reason"], bad["message"]) == ("status", "status is 404, not in 200-299")
    good = results[0]
    assert set(good) == {
        *("name", "type", "project", "severity", "status", "reason", "message", "value", "unit", "warn", "crit"),
        *("latency_ms", "phases", "tls", "http", "details", "attempts", "ip", "checked_at", "log"),
    }
    assert (good["reason"], good["ip"], good["attempts"], good["unit"]) == ("", "127.0.0.1", 1, "ms")
    assert (good["warn"], good["crit"]) == (800, 3000)
    assert good["http"] == {"status": 200, "bytes": 15, "redirects": 0}
    assert set(good["phases"]) == {"connect", "ttfb", "transfer"}
    assert good["value"] > 0
    assert NOW <= good["checked_at"] < NOW + 60
    assert json.loads(json.dumps(results)) == results


def test_those_that_hang_are_named_and_no_others() -> None:
    """Acceptance check 2, a fifth of its size."""
    with Server(hang_every(50)) as server:
        results = run(*[{"url": server.url, "timeout": 2}] * 200, concurrency=50)
    reasons = [result["reason"] for result in results]
    assert reasons.count("timeout") == 4
    assert reasons.count("") == 196
    late = next(result for result in results if result["reason"] == "timeout")
    assert late["status"] == "critical"
    assert "no answer within 2 s" in late["message"]
    assert late["value"] is None  # the time it did not take to answer is no latency
    assert 1900 < late["latency_ms"] < 4000


def test_a_check_that_never_comes_back_is_given_up(disk: Callable[[Check], None], freed: threading.Event) -> None:
    def stuck(spec: Spec, context: Context) -> None:
        context.memory["asked"] = True
        if spec["path"] == "/dead":
            freed.wait()
        used(5)(spec, context)

    disk(stuck)
    memory: dict[str, Any] = {}
    began = time.monotonic()
    dead = {"type": "disk", "path": "/dead", "timeout": 0.3}
    results = run(dead, dead, {"type": "disk"}, {"type": "disk"}, concurrency=2, memory=memory)
    assert time.monotonic() - began < 5
    assert [result["status"] for result in results] == ["critical", "critical", "ok", "ok"]
    assert results[0]["reason"] == "timeout"
    assert results[0]["message"] == "no end within 0.3 s; given up"
    assert memory["p2"] == {"asked": True}


def test_what_a_lost_check_still_does_to_its_memory_does_not_count(
    disk: Callable[[Check], None], freed: threading.Event
) -> None:
    ended = threading.Event()

    def half(_spec: Spec, context: Context) -> None:
        context.memory["offset"] = 2  # and what goes with it would follow
        freed.wait()
        context.memory["digest"] = 2
        ended.set()

    disk(half)
    before = {"p0": {"offset": 1, "digest": 1}}
    memory = json.loads(json.dumps(before))
    assert run({"type": "disk", "timeout": 0.1}, memory=memory)[0]["reason"] == "timeout"
    assert memory == before
    freed.set()
    assert ended.wait(5)
    for thread in threading.enumerate():
        if thread.name.startswith("probe-"):
            thread.join(5)
    assert memory == before


def test_the_program_ends_although_the_resolver_hangs() -> None:
    """Acceptance check 5: name resolution of 8 s, a limit of 1 s."""
    code = (
        "import socket, time, json, sys\n"
        "socket.getaddrinfo = lambda *a, **k: time.sleep(8)\n"
        "from ansible_collections.quai.ops.plugins.module_utils._probe_engine import run_probes\n"
        "from ansible_collections.quai.ops.plugins.module_utils._probe_spec import normalise\n"
        "probes = [{'name': f'p{n}', 'url': 'http://slow.test/', 'timeout': 1} for n in range(3)]\n"
        "sys.stdout.write(json.dumps([[r['reason'], r['message']] for r in run_probes(normalise(probes))]))\n"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": str(LIBRARY)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert time.monotonic() - began < 3
    assert json.loads(done.stdout) == [["dns", "slow.test was not resolved within 1 s"]] * 3


def test_a_name_is_resolved_once_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    asked: list[str] = []
    real = socket.getaddrinfo

    def counting(host: str, *rest: Any, **named: Any) -> Any:
        asked.append(host)
        return real(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", counting)
    with Server(fixed(answer())) as server:
        probes = [{"url": f"http://localhost:{server.port}/", "ip_family": "4"}] * 10
        for _run in range(2):
            assert {result["status"] for result in run(*probes)} == {"ok"}
    assert asked == ["localhost", "localhost"]


def test_a_name_that_could_not_be_resolved_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    real = socket.getaddrinfo
    answers: list[Any] = [socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), ValueError("embedded null byte")]

    def once_more(host: str, *rest: Any, **named: Any) -> Any:
        if answers:
            raise answers.pop(0)
        return real(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", once_more)
    with Server(fixed(answer())) as server:
        result = run({"url": f"http://localhost:{server.port}/", "ip_family": "4", "retries": 2})[0]
    assert (result["status"], result["reason"], result["attempts"]) == ("degraded", "dns", 3)


def test_a_number_without_end_is_unknown(disk: Callable[[Check], None]) -> None:
    def check(spec: Spec, context: Context) -> None:
        used(float("inf"))(spec, context)
        context.found.fields["free_gib"] = float("inf")

    disk(check)
    result = run({"type": "disk", "expect": "used_pct > 1", "warn": [], "crit": []})[0]
    assert (result["value"], result["details"]["free_gib"]) == (None, None)
    json.dumps(result, allow_nan=False)


def test_good_after_a_retry_is_degraded_and_bad_stays_bad() -> None:
    def second_time(connection: Any, number: int, asked: bytes) -> None:
        connection.sendall(answer(b"", "503 Busy") if number == 1 else answer())

    with Server(second_time) as server:
        result = run({"url": server.url, "retries": 2})[0]
    assert (result["status"], result["reason"], result["attempts"]) == ("degraded", "status", 2)
    assert result["message"] == "good at try 2; before: status is 503, not in 200-299"
    with Server(ok_then_503(0)) as server:
        result = run({"url": server.url, "retries": 2})[0]
        assert len(server.requests) == 3
    assert (result["status"], result["reason"], result["attempts"]) == ("critical", "status", 3)


def test_refused() -> None:
    with nothing_listens() as port:
        result = run({"url": f"http://127.0.0.1:{port}/"})[0]
    assert (result["status"], result["reason"]) == ("critical", "refused")
    assert result["message"] == f"127.0.0.1:{port} refused the connection"


@pytest.mark.parametrize(
    ("raised", "status", "reason", "message"),
    [
        (ProbeFailed("missing", "gone"), "critical", "missing", "gone"),
        (OwnFault("no permission"), "unknown", "own_error", "no permission"),
        (ValueError("oops"), "unknown", "own_error", "ValueError: oops"),
        (PermissionError(13, "Permission denied", "/x"), "unknown", "own_error", "PermissionError: [Errno 13]"),
    ],
)
def test_what_checks_raise(
    disk: Callable[[Check], None], raised: Exception, status: str, reason: str, message: str
) -> None:
    def check(_spec: Spec, context: Context) -> None:
        context.found.fields["used_pct"] = 12.3456
        context.found.log.append("last words")
        raise raised

    disk(check)
    result = run({"type": "disk"})[0]
    assert (result["status"], result["reason"]) == (status, reason)
    assert result["message"].startswith(message)
    assert result["value"] == 12.346  # what was found before is kept
    assert result["log"] == ["last words"]


def test_a_type_that_is_not_installed_is_an_own_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = dict(TYPES)
    kinds["disk"] = kinds["disk"]._replace(check="_probe_nowhere:check")
    probes = normalise([{"name": "a", "type": "disk"}])
    monkeypatch.setattr(_probe_engine, "TYPES", kinds)
    monkeypatch.setattr(_probe_engine, "_checks", {})
    result = run_probes(probes)[0]
    assert (result["status"], result["reason"]) == ("unknown", "own_error")
    assert "the type disk is not installed here" in result["message"]


@pytest.mark.parametrize(
    ("value", "status", "reason", "message"),
    [
        (50, "ok", "", "used_pct is 50"),
        (81.234, "warning", "threshold", "used_pct is 81.23 (> 80)"),
        (96, "critical", "threshold", "used_pct is 96 (> 95)"),
        (None, "ok", "", "used_pct is unknown"),  # expect says what must be known, and it does not ask for this
    ],
)
def test_limits(disk: Callable[[Check], None], value: float | None, status: str, reason: str, message: str) -> None:
    disk(used(value))
    result = run({"type": "disk"})[0]
    assert (result["status"], result["reason"], result["message"]) == (status, reason, message)
    assert (result["warn"], result["crit"], result["value"]) == (80, 95, value)


def test_an_unknown_that_is_expected_is_never_green(disk: Callable[[Check], None]) -> None:
    disk(used(None))
    result = run({"type": "disk", "expect": "used_pct < 99"})[0]
    assert (result["status"], result["message"]) == ("critical", "used_pct is unknown, not < 99")


def test_all_limits_of_the_worst_level_are_told(disk: Callable[[Check], None]) -> None:
    disk(used(97))
    result = run({"type": "disk", "warn": ["used_pct > 50"], "crit": ["used_pct > 95", "free_gib < 5"]})[0]
    assert (result["status"], result["message"]) == ("critical", "used_pct is 97 (> 95); free_gib is 1 (< 5)")


HYSTERESIS = {"type": "disk", "warn": {"on": "used_pct > 85", "clear": "used_pct < 80"}, "crit": []}


def test_hysteresis_by_the_last_status(disk: Callable[[Check], None]) -> None:
    disk(used(82))
    assert run(HYSTERESIS)[0]["status"] == "ok"
    assert run(HYSTERESIS, previous={"p0": "ok"})[0]["status"] == "ok"
    for last in ("warning", "critical"):
        result = run(HYSTERESIS, previous={"p0": last})[0]
        assert (result["status"], result["reason"]) == ("warning", "threshold")
        assert result["message"] == "used_pct is 82, not > 85, good when used_pct < 80"
    disk(used(79))
    assert run(HYSTERESIS, previous={"p0": "warning"})[0]["status"] == "ok"
    disk(used(None))  # not known to be clear
    assert run(HYSTERESIS, previous={"p0": "warning"})[0]["status"] == "warning"


def test_hysteresis_by_memory_is_of_the_limit_itself(disk: Callable[[Check], None]) -> None:
    memory: dict[str, Any] = {}
    statuses = []
    for value in (82, 86, 82, 81, 79, 82):
        disk(used(value))
        # The status before was bad for another reason: that must not hold this limit on.
        statuses.append(run(HYSTERESIS, memory=memory, previous={"p0": "critical"})[0]["status"])
        memory = json.loads(json.dumps(memory))
    assert statuses == ["warning", "warning", "warning", "warning", "ok", "ok"]


def test_memory_is_kept_between_runs_and_retries(disk: Callable[[Check], None]) -> None:
    def counting(spec: Spec, context: Context) -> None:
        context.memory["runs"] = context.memory.get("runs", 0) + 1
        used(1)(spec, context)
        if context.memory["runs"] < 3:
            raise ProbeFailed("missing", "not yet")

    disk(counting)
    memory: dict[str, Any] = {}
    assert run({"type": "disk", "retries": 1}, memory=memory)[0]["status"] == "critical"
    assert memory == {"p0": {"runs": 2}}
    assert run({"type": "disk"}, memory=memory)[0]["status"] == "ok"
    assert memory == {"p0": {"runs": 3}}
    assert run({"type": "disk"})[0]["status"] == "critical"  # without memory each run is the first


SECRET = 'p@ss/w"örd&1'


def test_secrets_are_filled_in_late_and_shown_nowhere() -> None:
    echo = {
        "plain": SECRET,
        "quoted": "p%40ss%2Fw%22%C3%B6rd%261",
        "token": "tok-12345678",
    }
    body = (json.dumps(echo, ensure_ascii=False) + json.dumps(echo)).encode()
    with Server(fixed(answer(body, "500 Error", "X-Echo: tok-12345678\r\n"))) as server:
        spec = {
            "url": f"http://user:${{db.PASSWORD}}@127.0.0.1:{server.port}/hook/${{TOKEN}}",
            "headers": {"X-Api-Key": "${TOKEN}", "X-Literal": "$${TOKEN}", "Authorization": "Bearer literal-token"},
            "body": "key=${TOKEN}",
            "method": "POST",
            "expect": ["status == 200", "body ~ never", 'header.x-echo == ""'],
        }
        secrets = {"db.PASSWORD": "p%40ss%2Fw%22%C3%B6rd%261", "TOKEN": "tok-12345678", "unused": SECRET}
        result = run(spec, secrets=secrets)[0]
        asked = server.requests[0].decode()
    assert asked.startswith("POST /hook/tok-12345678 HTTP/1.1\r\n")
    assert "X-Api-Key: tok-12345678\r\n" in asked
    assert "X-Literal: ${TOKEN}\r\n" in asked
    assert asked.endswith("\r\n\r\nkey=tok-12345678")
    said = json.dumps(result, ensure_ascii=False)
    assert "***" in said
    for secret in ("tok-1234", "p@ss", "p%40", "örd", "literal-token"):
        assert secret not in said


def test_passwords_of_the_spec_itself_are_hidden_too(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("from-a-file\n", encoding="utf-8")

    def reflect(connection: Any, _number: int, asked: bytes) -> None:
        login = asked.partition(b"Authorization: ")[2].partition(b"\r\n")[0]
        connection.sendall(answer(login + b" literal-password from-a-file"))

    with Server(reflect) as server:
        results = run(
            {"url": server.url, "user": "u", "password": "literal-password", "expect": 'body ~ "^HTTP"'},
            {"url": server.url, "user": "u", "password_file": str(password), "expect": 'body ~ "^HTTP"'},
            {"url": server.url, "user": "u", "password_file": str(tmp_path / "none")},
        )
        asked = sorted(server.requests)
    assert len(asked) == 2
    assert any(b"Authorization: Basic dTpmcm9tLWEtZmlsZQ==\r\n" in one for one in asked)
    assert "literal-password" not in json.dumps(results[0])
    assert "from-a-file" not in json.dumps(results[1])
    assert "dTpmcm9t" not in json.dumps(results[1])
    assert results[1]["message"] == 'body is "Basic *** literal-password ***", should match "^HTTP"'
    assert (results[2]["status"], results[2]["reason"]) == ("unknown", "own_error")
    assert "cannot be read" in results[2]["message"]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("tok-12345678 and more", "*** and more"),
        ("it is tok-12345…", "it is ***…"),
        ("…345678 is the end", "…*** is the end"),
        ("tok…", "tok…"),
        ("nothing…", "nothing…"),
    ],
)
def test_halves_of_secrets_are_hidden_where_a_text_was_cut(
    disk: Callable[[Check], None], said: str, shown: str
) -> None:
    def check(_spec: Spec, context: Context) -> None:
        context.found.details["of"] = {"lines": [said]}
        raise ProbeFailed("missing", said)

    disk(check)
    result = run({"type": "disk"}, secrets={"TOKEN": "tok-12345678", "word": "high", "short": "abc"})[0]
    assert (result["message"], result["details"]) == (shown, {"of": {"lines": [shown]}})
    assert result["severity"] == "high"  # of the specification, not of a secret


def test_what_others_say_is_one_line_that_can_be_shown_and_sent(disk: Callable[[Check], None]) -> None:
    def check(_spec: Spec, context: Context) -> None:
        context.found.details["said"] = ["\x1b[2Jred", {"a\0b": "\u202etxt.exe"}, 5, None]
        raise ProbeFailed("missing", "bad\r\nSubject: all is well \ud800")

    disk(check)
    result = run({"type": "disk"})[0]
    assert result["message"] == "bad  Subject: all is well \ufffd"
    assert result["details"] == {"said": ["\ufffd[2Jred", {"a\ufffdb": "\ufffdtxt.exe"}, 5, None]}
    json.dumps(result, ensure_ascii=False).encode()


def test_secrets_of_several_lines_are_hidden_line_by_line(disk: Callable[[Check], None]) -> None:
    def check(_spec: Spec, context: Context) -> None:
        context.found.log = ["MIIEvQIBADANBgkq", "next", "}"]
        raise ProbeFailed("missing", "key 'MIIEvQIBADANBgkq'")

    disk(check)
    result = run({"type": "disk"}, secrets={"KEY": "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\n}\n"})[0]
    assert (result["message"], result["log"]) == ("key '***'", ["***", "next", "}"])


def test_logins_in_addresses_are_hidden_as_basic_authentication_sends_them() -> None:
    def reflect(connection: Any, _number: int, asked: bytes) -> None:
        login = asked.partition(b"Authorization: ")[2].partition(b"\r\n")[0]
        connection.sendall(answer(login, "302 Found", f"Location: ftp://x/?q={login.decode()[6:]}\r\n"))

    with Server(reflect) as server:
        place = f"127.0.0.1:{server.port}/"
        path: dict[str, Any] = {"steps": [{"url": f"http://me:pass-w0rd@{place}", "expect": "body ~ ^HTTP"}]}
        probes = [{"url": f"http://me:pass-w0rd@{place}"}, {"url": f"http://tok-12345678@{place}"}, path]
        results = run(
            *probes, *({**one, "expect": "body ~ ^HTTP"} for one in probes), {**probes[0], "follow_redirects": 1}
        )
        assert all(b"\r\nAuthorization: Basic " in one for one in server.requests)
    said = json.dumps(results)
    assert said.count("***") == 5
    for secret in ("bWU6cGFzcy13MHJk", "pass-w0rd", "dG9rLTEyMzQ1Njc4", "tok-1234"):
        assert secret not in said


def test_a_password_that_breaks_its_address_is_not_shown() -> None:
    result = run({"url": "http://me:pa/ss-w0rd@x.test/"})[0]
    assert result["status"] == "unknown"
    assert result["message"] == 'url: "http://x.test/" is no http:// or https:// address'


def test_a_secret_that_is_not_there_is_an_own_fault() -> None:
    result = run({"url": "http://127.0.0.1:9/${NOWHERE}"})[0]
    assert (result["status"], result["reason"]) == ("unknown", "own_error")
    assert result["message"].startswith("url: there is no secret NOWHERE")


def test_every_reason_of_the_engine_is_in_the_list() -> None:
    assert {"timeout", "own_error"} <= set(REASONS)


def test_a_run_of_host_probes_imports_little() -> None:
    """What costs time at each start of the watch must not creep back in."""
    code = (
        "import sys\n"
        "from ansible_collections.quai.ops.plugins.module_utils import _probe_engine, _probe_spec\n"
        "specs = _probe_spec.normalise([{'name': 'a', 'type': 'disk'}, {'name': 'b', 'type': 'memory'}])\n"
        "assert [r['status'] != 'unknown' for r in _probe_engine.run_probes(specs)] == [True, True]\n"
        "sys.stdout.write(' '.join(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": str(LIBRARY)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    heavy = {"asyncio", "ssl", "http.client", "dataclasses", "argparse", "logging", "email", "urllib.request", "socket"}
    assert heavy.isdisjoint(done.stdout.split())
