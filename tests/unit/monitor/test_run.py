# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs of the watch, one after the other, against real servers: what is asked, decided, written and told."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _monitor_outbox as outbox
from ansible_collections.quai.ops.plugins.module_utils import _monitor_run as running
from ansible_collections.quai.ops.plugins.module_utils import _monitor_store as store

from tests.unit.monitor.parts import T0, Watch, Web, policy


@pytest.fixture
def app() -> Iterator[Web]:
    with Web() as web:
        yield web


@pytest.fixture
def hook() -> Iterator[Web]:
    with Web() as web:
        yield web


def probe(app: Web, name: str = "shop.api", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "http", "url": f"{app.url}/{name}", "policy": "p", "severity": "critical", **more}


def config(hook: Web, *probes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "probes": list(probes),
        "policies": {"p": policy("hook")},
        "channels": {"hook": {"type": "webhook", "url": hook.url}},
        "own_fault_channels": ["hook"],
        **more,
    }


def told(hook: Web) -> list[str]:
    return [request.json["kind"] for request in hook.requests]


def test_a_probe_that_fails_and_recovers(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(hook, probe(app)))
    host.run()
    app.status = 503
    for _minute in range(3):
        assert told(hook) == []
        host.run()
    assert told(hook) == ["firing"]
    host.run()
    app.status = 200
    host.run()
    host.run()
    assert told(hook) == ["firing", "resolved"]
    assert [event["event"] for event in host.events()] == ["firing", "resolved"]
    state = host.state
    assert state["run"]["at"] == host.now
    assert state["run"]["probes"] == 1
    assert outbox.waiting(host.where) == []
    host.run()
    assert (host.state["outgoing"], host.state["journal"]) == ([], [])


def test_a_restart_of_the_host_tells_nothing_twice_and_forgets_no_recovery(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(hook, probe(app)))
    app.status = 503
    for _minute in range(5):
        host.run()
    for path in sorted(host.where.run.rglob("*"), reverse=True):  # what a boot does to /run
        path.unlink() if path.is_file() else path.rmdir()
    host.run(after=1800)
    host.run()
    assert told(hook) == ["firing"]
    app.status = 200
    host.run(after=3600)
    host.run()
    assert told(hook) == ["firing", "resolved"]


def test_only_what_is_due_is_asked(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(hook, probe(app, "often"), probe(app, "seldom", every="10m")))
    for second in range(0, 1800, 60):
        host.run(after=60 + (second % 3) - 1)  # a timer is never exact
    paths = [request.path for request in app.requests]
    assert paths.count("/often") == 30
    assert paths.count("/seldom") == 3
    assert host.state["run"]["probes"] == 1


def test_a_seldom_probe_that_is_bad_is_asked_again_soon(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(hook, probe(app, "seldom", every="1h", failures=2)))
    host.run()
    app.status = 503
    host.run(after=3600)
    host.run()
    assert "firing" in told(hook)
    app.status = 200
    host.run()
    host.run()
    assert "resolved" in told(hook)
    asked = len(app.requests)
    host.run()
    assert len(app.requests) == asked  # and is seldom again


def test_a_probe_that_asks_something_else_now_is_due(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(hook, probe(app, "seldom", every="1h")))
    host.run()
    host.configure(config(hook, {**probe(app, "seldom", every="1h"), "timeout": 2}))
    host.run()
    host.run()
    assert len(app.requests) == 2


def test_one_probe_can_be_asked_alone(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(hook, probe(app, "a"), probe(app, "b")))
    host.run(only=["b"])
    assert [request.path for request in app.requests] == ["/b"]


def test_a_clock_that_is_set_back_makes_every_probe_due(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(hook, probe(app, every="1h")))
    host.run()
    host.run(after=-3600)
    assert len(app.requests) == 2


def test_a_project_that_is_not_live_is_not_asked(tmp_path: Path, app: Web, hook: Web) -> None:
    flag = tmp_path / "current"
    projects = {"shop": {"active_when": "/current"}}
    host = Watch(tmp_path, config(hook, probe(app, project="shop"), probe(app, "other"), projects=projects))
    for _minute in range(5):
        host.run()
    assert {request.path for request in app.requests} == {"/other"}
    entry = host.state["probes"]["shop.api"]
    assert (entry["status"], entry["alert"]["state"]) == ("waiting", "ok")
    assert "shop.api" not in json.dumps(list(store.history(host.where)))
    flag.touch()
    app.status = 503
    for _minute in range(4):
        host.run()
    assert "/shop.api" in {request.path for request in app.requests}
    assert "firing" in told(hook)


def test_the_page_tells_a_first_release_at_once(tmp_path: Path, app: Web, hook: Web) -> None:
    flag = tmp_path / "current"
    wanted = config(hook, probe(app, project="shop"), projects={"shop": {"title": "Shop", "active_when": "/current"}})
    host = Watch(tmp_path, {**wanted, "report": {"directory": str(tmp_path / "page")}})
    page = tmp_path / "page" / "report.json"
    host.run()
    before = json.loads(page.read_text())["run_at"]
    host.run()
    assert json.loads(page.read_text())["run_at"] == before
    flag.touch()
    host.run()
    assert json.loads(page.read_text())["run_at"] != before


def test_a_release_holds_messages_back_until_its_lock_is_free(tmp_path: Path, app: Web, hook: Web) -> None:
    projects = {"shop": {"locks": ["compose-shop"]}}
    host = Watch(tmp_path, config(hook, probe(app, project="shop"), projects=projects))
    host.where.locks.mkdir(parents=True)
    app.status = 503
    with (host.where.locks / "compose-shop").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for _minute in range(6):
            host.run()
        assert told(hook) == []
        assert host.state["probes"]["shop.api"]["alert"]["suppressed"] == "release"
    for _minute in range(2):
        host.run()
    assert len(told(hook)) == 1


def test_looking_at_a_lock_does_not_disturb_who_wants_it(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(hook, projects={"shop": {"locks": ["compose-shop", "never-made"]}}))
    host.where.locks.mkdir(parents=True)
    path = host.where.locks / "compose-shop"
    path.touch()
    read = running.setup(host.where).config
    assert running.releases(read, host.where) == set()
    with path.open() as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        assert running.releases(read, host.where) == set(), "somebody else who only looks is no release"
    with path.open() as mine:
        fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert running.releases(read, host.where) == {"shop"}
    assert not (host.where.locks / "never-made").exists()


def test_secrets_reach_the_probe_and_the_channel_and_nothing_on_disk(tmp_path: Path, app: Web, hook: Web) -> None:
    one = probe(app, headers={"Authorization": "Bearer ${shop.TOKEN}"}, expect=["status == 200", 'body ~ "fine"'])
    host = Watch(tmp_path, config(hook, one))
    host.configure({**host.config, "channels": {"hook": {"type": "webhook", "url": f"{hook.url}/${{shop.HOOK}}"}}})
    host.secrets(**{"shop.TOKEN": "s3cr3t-token", "shop.HOOK": "s3cr3t-hook"})
    app.content = b"token s3cr3t-token is wrong"
    hook.status, hook.content = 500, b"no such hook s3cr3t-hook"
    for _minute in range(5):
        host.run()
    assert app.requests[0].headers["authorization"] == "Bearer s3cr3t-token"
    assert hook.requests[0].path == "/s3cr3t-hook"
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "secrets.json"]
    assert len(written) > 4
    for path in written:
        assert b"s3cr3t" not in path.read_bytes(), path


def test_one_wrong_probe_does_not_silence_the_others(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(hook, probe(app, depends_on=["wrong"]), {"name": "wrong", "type": "htp", "url": "x"}))
    app.status = 503
    for _minute in range(4):
        host.run()
    assert host.state["probes"]["wrong"]["status"] == "unknown"
    (message,) = (request.json for request in hook.requests)
    assert [(item["name"], item["kind"]) for item in message["data"]["items"]] == [
        ("shop.api", "firing"),
        ("wrong", "own_fault"),
    ]
    assert "there is no type" in message["body"]


@pytest.mark.parametrize("wrong", [{"depends_on": 5}, {"depends_on": [["a"]]}, {"name": "shop.api"}, {"name": 7}])
def test_a_probe_that_is_wrong_in_any_way_does_not_silence_the_others(
    tmp_path: Path, app: Web, hook: Web, wrong: dict[str, Any]
) -> None:
    host = Watch(tmp_path, config(hook, probe(app), {"name": "odd", "type": "load", **wrong}))
    app.status = 503
    for _minute in range(4):
        host.run()
    said = [request.json for request in hook.requests]
    items = [item for one in said for item in one["data"].get("items", ())]
    assert ("shop.api", "firing") in {(item["name"], item["kind"]) for item in items}
    assert "own_fault" in {one["kind"] for one in said} | {item["kind"] for item in items}
    assert len(host.state["probes"]) == 2


def test_a_wrong_part_of_the_configuration_is_told_and_silences_nothing(tmp_path: Path, app: Web, hook: Web) -> None:
    right = config(hook, probe(app))
    channels = {**right["channels"], "fax": {"type": "fax"}}
    host = Watch(tmp_path, {**right, "channels": channels, "interval": 0, "peers": ["vps2"]})
    app.status = 503
    for _minute in range(4):
        host.run()
    assert told(hook) == ["own_fault", "firing"]
    body = hook.requests[0].json["body"]
    assert all(words in body for words in ("interval is 0", "channels.fax: type is 'fax'", "peers[0] is no map"))
    host.configure(right)
    host.run()
    assert told(hook) == ["own_fault", "firing", "resolved"]


def test_a_project_whose_release_is_gone_is_asked(tmp_path: Path, app: Web, hook: Web) -> None:
    (tmp_path / "current").symlink_to("releases/1")
    projects = {"shop": {"active_when": "/current"}}
    page = {"directory": str(tmp_path / "page")}
    host = Watch(tmp_path, config(hook, probe(app, project="shop"), projects=projects, report=page))
    host.run()
    assert [request.path for request in app.requests] == ["/shop.api"]
    (tmp_path / "current").unlink()
    app.status = 503
    for _minute in range(4):
        host.run()
    assert told(hook) == ["firing"]
    (project,) = json.loads((tmp_path / "page" / "report.json").read_text())["projects"]
    assert project["waiting"] is False
    host.configure({**host.config, "projects": {"shop": {"active_when": "/next"}}})
    host.run()
    assert host.state["probes"]["shop.api"]["status"] == "waiting", "it waits for something else now"


def test_a_dry_run_writes_and_sends_nothing(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(hook, probe(app, failures=1), textfile=str(tmp_path / "quai.prom")))
    app.status = 503
    host.run()
    hook.requests.clear()
    app.status = 200
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    host.run()
    app.status = 503
    for path, content in before.items():
        path.write_bytes(content)
    ran = host.run(dry=True)
    assert [result["status"] for result in ran.results] == ["critical"]
    app.status = 200
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}.keys() >= before.keys()
    assert all(path.read_bytes() == content for path, content in before.items())
    assert hook.requests == []


# --- dead man's switch -----------------------------------------------------------------------------------------------


def test_each_run_is_announced_and_reported(tmp_path: Path, app: Web, hook: Web) -> None:
    with Web() as switch:
        ping = {"url": f"{switch.url}/${{ping.ID}}?v=1"}
        host = Watch(tmp_path, config(hook, probe(app), ping=ping))
        host.secrets(**{"ping.ID": "uuid"})
        host.run()
        assert sorted(request.path for request in switch.requests) == ["/uuid/start?v=1", "/uuid?v=1"]
        switch.requests.clear()
        host.configure({**host.config, "ping": {**ping, "start": False}})
        (host.where.state / "state.json").write_text("damaged")
        host.run()
        assert [request.path for request in switch.requests] == ["/uuid/fail?v=1"]


def test_a_run_that_fails_altogether_says_so(
    tmp_path: Path, app: Web, hook: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise ZeroDivisionError("s3cr3t / 0")

    with Web() as switch:
        host = Watch(tmp_path, config(hook, probe(app), ping={"url": f"{switch.url}/uuid", "start": False}))
        host.secrets(TOKEN="s3cr3t")
        monkeypatch.setattr(running, "advance", broken)
        for _minute in range(5):
            with pytest.raises(ZeroDivisionError):
                host.run()
        assert [request.path for request in switch.requests] == ["/uuid/fail"] * 5
    assert told(hook) == ["own_fault"], "once a day"
    assert "a run of the watch failed: ZeroDivisionError: *** / 0" in hook.requests[0].json["body"]
    monkeypatch.undo()
    host.run()
    assert told(hook) == ["own_fault"]


def test_a_switch_that_is_dead_harms_nothing(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(hook, probe(app), ping={"url": "http://127.0.0.1:9/x"}))
    ran = host.run()
    assert ran.faults == []
    assert host.state["probes"]["shop.api"]["status"] == "ok"


# --- hosts that watch each other -------------------------------------------------------------------------------------


def test_a_peer_whose_last_run_is_old_is_bad(tmp_path: Path, hook: Web) -> None:
    from datetime import datetime, timezone

    with Web() as other:
        peer = {"name": "VPS2", "url": f"{other.url}/report.json", "max_age": 600, "user": "quai", "password": "${pw}"}
        host = Watch(tmp_path, config(hook, peers=[{**peer, "policy": "p"}]))
        host.secrets(pw="s3cr3t")

        def ran(ago: float) -> None:
            at = datetime.fromtimestamp(host.now + 60 - ago, timezone.utc)
            other.content = json.dumps({"run_at": at.isoformat()}).encode()

        ran(100)
        host.run()
        assert host.state["probes"]["peer.vps2"]["status"] == "ok"
        assert other.requests[0].headers["authorization"].startswith("Basic ")
        for _minute in range(6):
            ran(700)
            host.run()
        assert host.state["probes"]["peer.vps2"]["status"] == "critical"
        assert told(hook) == ["firing"]


# --- what others read ------------------------------------------------------------------------------------------------


def test_metrics_history_and_page_are_written(tmp_path: Path, app: Web, hook: Web) -> None:
    page = tmp_path / "page"
    textfile = tmp_path / "quai.prom"
    more: dict[str, Any] = {"textfile": str(textfile), "report": {"directory": str(page)}}
    host = Watch(tmp_path / "host", config(hook, probe(app), **more))
    for _minute in range(6):
        assert host.run().faults == []
    assert "health_probe_success" in textfile.read_text()
    assert f"health_run_timestamp_seconds {host.now:.0f}" in textfile.read_text()
    report = json.loads((page / "report.json").read_bytes())
    assert (report["host"], [one["name"] for one in report["probes"]]) == ("vps1", ["shop.api"])
    assert host.now - report["run"] <= store.BUCKET
    assert "shop.api" in (page / "index.html").read_text()
    assert "vps1" in (page / "report.txt").read_text()
    (line,) = [line for line in store.history(host.where) if line["k"] == "bucket"]
    worst, runs, bad, latencies, value = line["p"]["shop.api"]
    assert (worst, runs, bad, len(latencies)) == (0, 4, 0, 4)
    assert value == pytest.approx(latencies[-1], abs=0.1)


def test_a_page_or_textfile_that_cannot_be_written_is_told_once_and_its_end_too(
    tmp_path: Path, app: Web, hook: Web
) -> None:
    there = tmp_path / "not-yet"
    host = Watch(tmp_path / "host", config(hook, probe(app), textfile=str(there / "quai.prom")))
    for _minute in range(5):
        host.run()
    assert told(hook) == ["own_fault"]
    assert "quai.prom cannot be written: No such file" in hook.requests[0].json["body"]
    there.mkdir()
    for _minute in range(3):
        host.run()
    assert told(hook) == ["own_fault", "resolved"]
    assert host.state["faults"] == {}


def test_runs_that_did_not_take_place_are_said_in_the_recovery(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(hook, probe(app)))
    app.status = 503
    for _minute in range(4):
        host.run()
    app.status = 200
    host.run(after=11 * 60)
    host.run()
    assert told(hook) == ["firing", "resolved"]
    assert hook.requests[1].json["data"]["items"][0]["missed"] == 10


def test_a_limit_has_room_for_the_slowest_probe() -> None:
    spec = {"timeout": 5.0, "retries": 0}
    assert running.run_limit({"interval": 60, "probes": [spec]}) == 120
    assert running.run_limit({"interval": 300, "probes": []}) == 600
    assert running.run_limit({"interval": 60, "probes": [{"timeout": 300.0, "retries": 1}]}) == 680
    assert running.run_limit({"interval": 60, "probes": [spec], "run_limit": 7}) == 7


def test_the_first_run_of_all_knows_nothing_and_says_nothing(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(hook, probe(app)))
    ran = host.run()
    assert (ran.messages, ran.faults) == ([], [])
    assert host.now == T0 + 60
