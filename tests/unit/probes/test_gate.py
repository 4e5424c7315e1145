# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: when it opens, when it gives up, and what it says. Time is the test's own; no round is waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _probe_engine, _probe_gate, _probe_spec
from ansible_collections.quai.ops.plugins.module_utils._probe_gate import Clock, GateError, Options, Verdict

Result = dict[str, Any]
# What one probe answers, round after round; the last one stays.
Script = Sequence[Mapping[str, Any]]
START = 1_800_000_000.0
OK: Mapping[str, Any] = {}
BAD: Mapping[str, Any] = {"status": "critical", "reason": "status", "message": "status is 503, not in 200-299"}
WARNING: Mapping[str, Any] = {"status": "warning", "reason": "threshold", "message": "used_pct is 91 (> 80)"}
UNKNOWN: Mapping[str, Any] = {"status": "unknown", "reason": "own_error", "message": "no permission"}


class World:
    """Time that passes only while somebody sleeps or is asked, and probes that answer as the script says."""

    def __init__(self, scripts: Mapping[str, Script], takes: float = 0.0) -> None:
        self.scripts, self.takes, self.seconds = scripts, takes, 0.0
        self.calls: list[dict[str, Any]] = []

    @property
    def clock(self) -> Clock:
        """This time."""

        def sleep(seconds: float) -> None:
            self.seconds += seconds

        return Clock(lambda: self.seconds, sleep, lambda: START + self.seconds)

    def run(self, probes: Sequence[Mapping[str, Any]], **options: Any) -> list[Result]:
        """Answer a round."""
        number = len(self.calls)
        self.calls.append(
            {"at": self.seconds, "timeouts": {spec["name"]: spec["timeout"] for spec in probes}, **options}
        )
        results = []
        for spec in probes:
            script = self.scripts[spec["name"]]
            results.append(result(spec["name"], spec["type"], script[min(number, len(script) - 1)], options["now"]))
        self.seconds += self.takes
        return results

    def ask(
        self, types: Mapping[str, str] | None = None, logs: Mapping[str, list[str]] | None = None, **kw: Any
    ) -> Verdict:
        """Ask these probes; C(kw) holds the gate's options and what else ask() takes."""
        more = {name: kw.pop(name) for name in ("baseline", "secrets") if name in kw}
        probes = [
            {"name": name, "type": (types or {}).get(name, "http"), "timeout": 5.0, "restart": None}
            for name in self.scripts
        ]

        def tail(spec: Mapping[str, Any], lines: int) -> list[str]:
            return (logs or {}).get(spec["name"], [])[-lines:]

        return _probe_gate.ask(probes, Options(**kw), self.run, tail=tail, clock=self.clock, **more)


def result(name: str, kind: str, changes: Mapping[str, Any], now: float) -> Result:
    """A result as the engine makes them."""
    return {
        "name": name,
        "type": kind,
        "project": "",
        "severity": "high",
        "status": "ok",
        "reason": "",
        "message": "",
        "value": 12.5,
        "unit": "ms",
        "warn": None,
        "crit": None,
        "latency_ms": 12.5,
        "phases": {},
        "tls": {},
        "http": {},
        "details": {},
        "attempts": 1,
        "ip": "",
        "checked_at": now,
        "log": [],
        **changes,
    }


def container(state: str, up: float = 0.0, **more: Any) -> Mapping[str, Any]:
    """A container in a state, started C(up) seconds after the start of the test."""
    if state == "running":
        import time

        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START + up))
        return {"details": {"started_at": started}, "value": None, "unit": "s", **more}
    return {
        "status": "critical",
        "reason": "threshold",
        "message": f'state is "{state}", not == running',
        "details": {"state": state},
        "value": None,
        **more,
    }


class TestOneShot:
    """Without wait."""

    def test_good(self) -> None:
        world = World({"web": [OK], "disk": [OK]})
        verdict = world.ask(success_threshold=1)
        assert verdict.passed
        assert verdict.message == ""
        assert verdict.warnings == []
        got = verdict.result
        assert {key: got[key] for key in ("ok", "status", "summary", "attempts", "waited_s", "failed_probes")} == {
            "ok": True,
            "status": "ok",
            "summary": "2 ok of 2",
            "attempts": 1,
            "waited_s": 0.0,
            "failed_probes": [],
        }
        assert got["timeline"] == [{"t": 0.0, "ok": True, "bad": []}]
        assert got["perfdata"] == "'web'=12.5ms 'disk'=12.5ms"
        assert world.calls[0]["timeouts"] == {"web": 5.0, "disk": 5.0}

    def test_bad_says_what_and_why(self) -> None:
        verdict = World({"web": [BAD], "db": [UNKNOWN], "disk": [WARNING]}).ask(success_threshold=1)
        assert not verdict.passed
        assert verdict.message.splitlines() == [
            "2 of 3 probes failed: web (status), db (own_error)",
            "- web is critical (status): status is 503, not in 200-299",
            "- db is unknown (own_error): no permission",
        ]
        assert verdict.result["status"] == "unknown"
        assert verdict.result["summary"] == "1 warning, 1 critical, 1 unknown of 3"
        assert verdict.result["failed_probes"] == ["web", "db"]

    def test_nothing_is_kept_from_people_when_it_passes(self) -> None:
        verdict = World({"disk": [WARNING]}).ask(success_threshold=1)
        assert verdict.passed
        assert verdict.warnings == ["disk is warning (threshold): used_pct is 91 (> 80)"]

    @pytest.mark.parametrize(
        ("fail_on", "answer", "passed", "ok"),
        [
            ("critical", WARNING, True, True),
            ("critical", {"status": "degraded", "reason": "timeout"}, True, True),
            ("critical", UNKNOWN, False, False),
            ("warning", WARNING, False, False),
            ("warning", {"status": "degraded", "reason": "timeout"}, False, False),
            ("none", BAD, True, False),
            ("none", WARNING, True, True),
        ],
    )
    def test_fail_on(self, fail_on: str, answer: Mapping[str, Any], passed: bool, ok: bool) -> None:
        verdict = World({"web": [answer]}).ask(success_threshold=1, fail_on=fail_on)
        assert (verdict.passed, verdict.result["ok"]) == (passed, ok)

    def test_log_of_what_failed(self) -> None:
        long = {**BAD, "log": [f"line {number}" for number in range(30)]}
        verdict = World({"app": [long]}).ask(success_threshold=1, log_tail=2)
        assert verdict.result["log_tail"] == {"app": ["line 28", "line 29"]}
        assert verdict.message.splitlines()[-3:] == ["The log of app ends with:", "  line 28", "  line 29"]
        assert "log" not in verdict.result["results"][0]

    def test_log_of_what_runs_beside_it(self) -> None:
        logs = {"app-ct": ["Error: cannot reach s3cr3t-host"], "other": ["nobody asked"]}
        world = World({"web": [BAD], "app-ct": [container("running")], "other": [OK]})
        verdict = world.ask(
            {"app-ct": "docker"}, logs, success_threshold=1, secrets={"HOST": "s3cr3t-host", "SHORT": "to"}
        )
        assert verdict.result["log_tail"] == {"app-ct": ["Error: cannot reach ***"]}
        assert World({"web": [BAD]}).ask(logs={"web": ["x"]}, success_threshold=1, log_tail=0).result["log_tail"] == {}


class TestGate:
    """With wait."""

    def test_three_in_a_row(self) -> None:
        world = World({"web": [BAD, BAD, OK, BAD, OK, OK, OK]})
        verdict = world.ask(wait=20.0)
        assert verdict.passed
        assert verdict.result["attempts"] == 7
        assert verdict.result["waited_s"] == 6.0
        assert [entry["ok"] for entry in verdict.result["timeline"]] == [False, False, True, False, True, True, True]

    def test_two_good_answers_are_not_enough(self) -> None:
        verdict = World({"web": [OK, OK, BAD]}).ask(wait=10.0)
        assert not verdict.passed
        assert [entry["ok"] for entry in verdict.result["timeline"]][:4] == [True, True, False, False]
        assert verdict.message.splitlines() == [
            "1 of 1 probe not good 3 times in a row within 10 s: web (status)",
            "- web is critical (status): status is 503, not in 200-299 [bad in 9 of 11 rounds]",
        ]

    def test_all_in_the_same_rounds(self) -> None:
        verdict = World({"a": [OK, OK, BAD, OK, OK, OK], "b": [OK]}).ask(wait=20.0)
        assert verdict.result["attempts"] == 6

    @pytest.mark.parametrize("takes", [0.0, 0.3, 4.0])
    def test_ends_when_the_time_is_over(self, takes: float) -> None:
        world = World({"web": [BAD]}, takes)
        verdict = world.ask(wait=20.0)
        assert not verdict.passed
        assert 20.0 <= world.seconds - takes <= 21.0 or 20.0 <= world.seconds <= 21.0
        assert all(call["timeouts"]["web"] <= max(20.0 - call["at"], 0.5) for call in world.calls)

    def test_what_our_own_deadline_cut_short_does_not_hide_the_reason(self) -> None:
        late = {"status": "critical", "reason": "timeout", "message": "no answer within 0.5 s"}
        verdict = World({"web": [BAD, BAD, BAD, late]}).ask(wait=3.0)
        assert verdict.result["results"][0]["reason"] == "status"

    def test_says_that_the_time_was_too_short(self) -> None:
        verdict = World({"web": [*[BAD] * 9, OK]}).ask(wait=10.0)
        assert verdict.message.splitlines()[0] == (
            "the time to wait, 10 s, was over too soon: it became good at last but stayed good for 2 of 3 rounds"
        )

    def test_timeline_is_bounded(self) -> None:
        verdict = World({"web": [BAD]}).ask(wait=100.0)
        assert len(verdict.result["timeline"]) == 50
        assert verdict.result["timeline"][-1]["t"] == 100.0

    def test_checks_remember_from_round_to_round(self) -> None:
        world = World({"web": [BAD, WARNING, OK]})
        world.ask(wait=10.0, concurrency=7, secrets={"A": "b"})
        assert [call["previous"] for call in world.calls[:3]] == [{}, {"web": "critical"}, {"web": "warning"}]
        assert world.calls[0]["memory"] is world.calls[1]["memory"]
        assert world.calls[0]["concurrency"] == 7
        assert world.calls[0]["secrets"] == {"A": "b"}


class TestStability:
    """What is only known to run."""

    def test_it_has_to_stay_up(self) -> None:
        world = World({"app": [container("running")]})
        verdict = world.ask({"app": "docker"}, wait=30.0)
        assert verdict.passed
        assert verdict.result["waited_s"] == 7.0

    def test_one_that_runs_for_long_is_believed(self) -> None:
        verdict = World({"app": [container("running", up=-3600)]}).ask({"app": "docker"}, wait=30.0)
        assert verdict.result["waited_s"] == 2.0

    def test_no_time_of_start_means_that_it_is_watched(self) -> None:
        verdict = World({"app": [{"value": 3}]}).ask({"app": "process"}, wait=30.0)
        assert verdict.result["waited_s"] == 7.0

    def test_a_web_address_needs_no_such_time(self) -> None:
        assert World({"web": [OK]}).ask(wait=30.0).result["waited_s"] == 2.0

    def test_a_restart_between_two_looks(self) -> None:
        """It is up whenever it is looked at, and was started anew at 5 s."""
        first, second = container("running", up=0), container("running", up=5)
        verdict = World({"app": [*[first] * 6, second]}).ask({"app": "docker"}, wait=30.0)
        assert verdict.passed
        assert verdict.result["waited_s"] == 12.0

    def test_a_crash_loop_never_opens_it(self) -> None:
        script = [container("running", up=4 * (number // 4)) for number in range(40)]
        verdict = World({"app": script}).ask({"app": "docker"}, wait=30.0)
        assert not verdict.passed
        assert "it became good at last but did not run for 7 s without a break (app)" in verdict.message
        assert verdict.result["failed_probes"] == ["app"]


class TestFailFast:
    """What came to its end."""

    @pytest.mark.parametrize(
        ("kind", "answer"),
        [
            ("docker", container("exited")),
            ("docker", container("dead", message="it is no more")),
            ("systemd", container("failed", message="failed (Result: exit-code)")),
            ("pm2", container("errored", message="0 of 2 online")),
            ("containers", {**BAD, "details": {"services": {"web": "running", "api": "exited (1)"}}}),
        ],
    )
    def test_ends_the_wait(self, kind: str, answer: Mapping[str, Any]) -> None:
        world = World({"app": [answer], "web": [BAD]})
        verdict = world.ask({"app": kind}, wait=60.0)
        assert not verdict.passed
        assert world.seconds < 3
        first = verdict.message.splitlines()[0]
        assert "and waiting longer is no use: app came to an end (1 s of 60 s): app (" in first

    @pytest.mark.parametrize(
        ("kind", "answer"),
        [
            ("docker", container("restarting")),
            ("docker", {**BAD, "reason": "missing", "message": "there is no container app"}),
            ("systemd", container("activating", message='active is "failed", it said earlier')),
            ("containers", {**BAD, "details": {"services": {"web": "starting"}}}),
            ("http", {**BAD, "message": 'state is "exited", not == running'}),
            ("process", {**BAD, "reason": "threshold", "value": 0}),
        ],
    )
    def test_what_may_still_come_is_waited_for(self, kind: str, answer: Mapping[str, Any]) -> None:
        world = World({"app": [answer]})
        world.ask({"app": kind}, wait=10.0)
        assert world.seconds == 10.0

    def test_a_process_that_was_there_and_is_gone(self) -> None:
        world = World({"app": [{"value": 1}, {"value": 1}, {**BAD, "value": 0}]})
        world.ask({"app": "process"}, wait=60.0)
        assert world.seconds == 3.0

    def test_a_restart_by_hand_is_no_end(self) -> None:
        script = [container("running", up=-99), container("exited"), container("running", up=1)]
        assert World({"app": script}).ask({"app": "docker"}, wait=30.0).passed

    def test_not_in_the_start_period(self) -> None:
        world = World({"app": [container("exited")]})
        world.ask({"app": "docker"}, wait=60.0, start_period=20.0)
        assert world.seconds == 20.0

    def test_only_if_wanted(self) -> None:
        world = World({"app": [container("exited")]})
        world.ask({"app": "docker"}, wait=10.0, fail_fast=False)
        assert world.seconds == 10.0

    def test_what_was_dead_before_stops_nothing(self) -> None:
        world = World({"app": [container("exited")], "web": [BAD, BAD, BAD, OK]})
        verdict = world.ask({"app": "docker"}, wait=20.0, baseline={"app": "critical"})
        assert verdict.passed


class TestBaseline:
    """What was bad before."""

    def test_it_warns_and_the_gate_opens(self) -> None:
        verdict = World({"old": [BAD], "web": [OK]}).ask(wait=10.0, baseline={"old": "critical", "web": "ok"})
        assert verdict.passed
        assert verdict.result["ok"]
        assert verdict.result["status"] == "critical"
        assert verdict.result["failed_probes"] == []
        assert verdict.warnings == [
            "old is critical (status): status is 503, not in 200-299 (it was critical before already)"
        ]

    @pytest.mark.parametrize(
        ("before", "now", "passed"),
        [
            ("ok", BAD, False),
            ("warning", BAD, False),  # it became worse
            ("degraded", BAD, False),
            ("critical", BAD, True),
            ("critical", UNKNOWN, False),  # whether it is better or worse is not known
            ("unknown", BAD, False),
            ("unknown", UNKNOWN, True),
        ],
    )
    def test_only_as_bad_as_before(self, before: str, now: Mapping[str, Any], passed: bool) -> None:
        assert World({"web": [now]}).ask(success_threshold=1, baseline={"web": before}).passed is passed

    def test_a_warning_is_excused_by_a_warning(self) -> None:
        for before, passed in (("warning", True), ("degraded", True), ("ok", False)):
            world = World({"web": [WARNING]})
            assert world.ask(success_threshold=1, fail_on="warning", baseline={"web": before}).passed is passed

    def test_a_warning_does_not_excuse_what_is_critical(self) -> None:
        world = World({"web": [BAD]})
        assert not world.ask(success_threshold=1, fail_on="warning", baseline={"web": "warning"}).passed

    def test_a_new_probe_has_no_excuse(self) -> None:
        assert not World({"new": [BAD]}).ask(success_threshold=1, baseline={"other": "critical"}).passed

    def test_read_from_an_earlier_result(self) -> None:
        earlier = {"results": [{"name": "a", "status": "critical"}, {"name": "b", "status": "ok"}]}
        assert _probe_gate.former(earlier) == {"a": "critical", "b": "ok"}
        assert _probe_gate.former({}) == _probe_gate.former(None) == _probe_gate.former({"skipped": True}) == {}

    @pytest.mark.parametrize(
        "wrong", [{"results": "x"}, {"ok": True}, {"results": [1]}, {"results": [{"status": "ok"}]}]
    )
    def test_what_is_none_is_refused(self, wrong: Mapping[str, Any]) -> None:
        with pytest.raises(GateError, match="baseline must be what an earlier run"):
            _probe_gate.former(wrong)


class TestOptions:
    """Mistakes are refused before anything is asked."""

    WEB: Sequence[dict[str, Any]] = ({"name": "web", "type": "http"},)
    APP: Sequence[dict[str, Any]] = ({"name": "app", "type": "docker"},)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"fail_on": "never"}, "fail_on is 'never', it must be one of critical, warning, none"),
            ({"interval": 0.0}, "interval is 0, it must be more than 0"),
            ({"success_threshold": 0, "wait": 9.0}, "success_threshold is 0, it must be 1 or more"),
            ({"success_threshold": 2}, "success_threshold is 2, which needs wait"),
            ({"wait": 5.0, "success_threshold": 10}, "10 rounds 1 s apart take 9 s"),
            ({"concurrency": 0, "success_threshold": 1}, "concurrency is 0"),
            ({"log_tail": -1, "success_threshold": 1}, "log_tail is -1"),
        ],
    )
    def test_contradictions(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(GateError, match=message):
            _probe_gate.check(Options(**options), self.WEB)

    def test_stable_for_must_fit(self) -> None:
        with pytest.raises(GateError, match="wait is 5 s, but what runs has to stay up for stable_for, 7 s"):
            _probe_gate.check(Options(wait=5.0), self.APP)
        _probe_gate.check(Options(wait=5.0), self.WEB)
        _probe_gate.check(Options(wait=5.0, stable_for=3.0), self.APP)

    def test_only(self) -> None:
        probes = [*self.WEB, *self.APP]
        assert _probe_gate.choose(probes, []) == probes
        assert _probe_gate.choose(probes, ["app"]) == list(self.APP)
        with pytest.raises(GateError, match="only names 'ap', which is no probe, did you mean 'app'"):
            _probe_gate.choose(probes, ["ap"])
        with pytest.raises(GateError, match="an empty list proves nothing"):
            _probe_gate.choose([], [])

    @pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), (5, 5.0), ("2m", 120.0), ("1.5s", 1.5)])
    def test_durations(self, text: Any, seconds: float) -> None:
        assert _probe_gate.duration(text, "wait") == seconds

    @pytest.mark.parametrize("text", ["soon", "-1", "5 parsecs", ""])
    def test_no_durations(self, text: str) -> None:
        with pytest.raises(GateError, match=r"wait is .*; a duration is needed"):
            _probe_gate.duration(text, "wait")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"value": None}, "'it''s=x'=U".replace("=x'", "_x'")),
        ({"value": 61.256789, "unit": "%"}, "'it''s_x'=61.2568%"),
        ({"value": 3, "unit": "jobs"}, "'it''s_x'=3"),
        ({"value": 1.5, "unit": "s", "warn": 2, "crit": 3.5}, "'it''s_x'=1.5s;2;3.5"),
        ({"value": 1.5, "unit": "s", "crit": 3.5}, "'it''s_x'=1.5s;;3.5"),
        ({"value": "text"}, ""),
        ({"value": True}, ""),
    ],
)
def test_perfdata(changes: Mapping[str, Any], expected: str) -> None:
    assert _probe_gate.perfdata([result("it's=x", "http", changes, START)]) == expected


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's function says."""

    server: Server

    def do_GET(self) -> None:
        """Answer."""
        self.server.asked += 1
        body = b'{"status":"ok"}'
        self.send_response(self.server.answer(self.server.asked))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """A web server on 127.0.0.1 whose status depends on how often it was asked."""

    daemon_threads = True
    asked = 0

    def __init__(self, answer: Callable[[int], int]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer

    @property
    def probe(self) -> dict[str, Any]:
        """A probe that asks it."""
        return {
            "name": "web",
            "url": f"http://127.0.0.1:{self.server_port}/up",
            "expect": ['json.status == "ok"', "status == 200"],
        }


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[int], int]], Server]]:
    """Start servers."""
    running: list[Server] = []

    def start(answer: Callable[[int], int]) -> Server:
        server = Server(answer)
        running.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def ask_really(server: Server, **options: Any) -> Verdict:
    """Ask a real server through the real engine, in real time."""
    return _probe_gate.ask(_probe_spec.normalise([server.probe]), Options(**options), _probe_engine.run_probes)


class TestReally:
    """With the engine, a web server and seconds that pass."""

    def test_ok_twice_then_503_does_not_pass(self, serve: Callable[[Callable[[int], int]], Server]) -> None:
        server = serve(lambda times: 200 if times <= 2 else 503)
        verdict = ask_really(server, wait=1.0, interval=0.1)
        assert not verdict.passed
        assert [entry["ok"] for entry in verdict.result["timeline"]][:3] == [True, True, False]
        assert verdict.result["results"][0]["http"]["status"] == 503
        assert 0.9 <= verdict.result["elapsed_s"] <= 2

    def test_ready_after_a_while(self, serve: Callable[[Callable[[int], int]], Server]) -> None:
        server = serve(lambda times: 503 if times <= 5 else 200)
        verdict = ask_really(server, wait=20.0, interval=0.1)
        assert verdict.passed
        assert verdict.result["attempts"] == 8
        assert server.asked == 8
        assert 0.7 <= verdict.result["waited_s"] < 3

    def test_nobody_there(self, serve: Callable[[Callable[[int], int]], Server]) -> None:
        server = serve(lambda _times: 200)
        server.shutdown()
        server.server_close()
        verdict = ask_really(server, wait=0.5, interval=0.1)
        assert verdict.result["results"][0]["reason"] == "refused"
        assert "web (refused)" in verdict.message.splitlines()[0]
