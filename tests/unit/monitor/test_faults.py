# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch when all goes wrong: killed anywhere, disk full, state damaged, clock set back, mail down for a day."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _monitor_outbox as outbox
from ansible_collections.quai.ops.plugins.module_utils import _monitor_store as store
from ansible_collections.quai.ops.plugins.module_utils._probe_net import Connection

from tests.unit.monitor.parts import Post, Watch, Web, policy


@pytest.fixture
def app() -> Iterator[Web]:
    with Web() as web:
        yield web


@pytest.fixture
def hook() -> Iterator[Web]:
    with Web() as web:
        yield web


def config(app: Web, hook: Web, **more: Any) -> dict[str, Any]:
    probe = {"name": "api", "type": "http", "url": app.url, "policy": "p", "severity": "critical"}
    return {
        "probes": [probe],
        "policies": {"p": policy("hook")},
        "channels": {"hook": {"type": "webhook", "url": hook.url}},
        "own_fault_channels": ["hook"],
        **more,
    }


def ids(hook: Web, kind: str) -> Counter[str]:
    return Counter(request.json["id"] for request in hook.requests if request.json["kind"] == kind)


# --- killed ----------------------------------------------------------------------------------------------------------

_CALLS = ("write", "fsync", "replace", "rename", "link", "unlink", "mkdir")


def killed_at(host: Watch, number: int, after: bool) -> bool:
    """Do a run in a child that is killed at its C(number)th step on disk or network; False when it had fewer."""
    child = os.fork()
    if child == 0:
        count = 0

        def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
            def step(*arguments: Any, **options: Any) -> Any:
                nonlocal count
                count += 1
                if count == number and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                mine = count == number
                try:
                    return original(*arguments, **options)
                finally:
                    if mine:
                        os.kill(os.getpid(), signal.SIGKILL)

            return step

        for name in _CALLS:
            setattr(os, name, wrap(getattr(os, name)))
        Connection.send = wrap(Connection.send)  # type: ignore[method-assign]
        Connection.recv_line = wrap(Connection.recv_line)  # type: ignore[method-assign]
        code = 1
        try:
            host.run()
            code = 0
        finally:
            os._exit(code)
    host.now += 60
    _pid, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        return False
    assert os.WTERMSIG(status) == signal.SIGKILL
    return True


def everywhere(host: Watch, after: bool, check: Callable[[], None], reset: Callable[[], None]) -> int:
    """Kill the next run at each of its steps in turn, each time from the same beginning, and look what comes of it."""
    start, now = host.root.with_name("start"), host.now
    shutil.copytree(host.root, start, symlinks=True)
    number = 0
    while True:
        number += 1
        reset()
        if not killed_at(host, number, after):
            return number
        for _minute in range(2):
            host.run()
        check()
        shutil.rmtree(host.root)
        shutil.copytree(start, host.root, symlinks=True)
        host.now = now


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", ["firing", "resolved"])
def test_a_run_killed_anywhere_tells_everything_and_nothing_as_something_new(
    tmp_path: Path, app: Web, hook: Web, kind: str, after: bool
) -> None:
    host = Watch(tmp_path / "host", config(app, hook))
    app.status = 503
    for _minute in range(2 if kind == "firing" else 4):
        host.run()
    if kind == "resolved":
        app.status = 200
        host.run()
    assert len(ids(hook, kind)) == 0
    delivered = Counter[int]()

    def check() -> None:
        found = ids(hook, kind)
        assert len(found) == 1, "one decision, one id"
        assert max(found.values()) <= 2, "at worst once more, with the same id"
        delivered[max(found.values())] += 1
        assert len(host.events(kind)) == 1, "and one line of history"
        assert outbox.waiting(host.where) == []
        assert not list(host.where.state.glob("state.json.corrupt-*"))
        host.run()

    steps = everywhere(host, after, check, hook.requests.clear)
    assert steps > 15, "there was something to interrupt"
    assert delivered[1] > delivered[2], "to send twice is the exception"


def test_a_run_that_was_killed_is_reported_by_the_next_one(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path / "host", config(app, hook))
    host.run()
    assert killed_at(host, 4, after=True)
    host.run()
    (message,) = (request.json for request in hook.requests)
    assert message["kind"] == "own_fault"
    assert "was killed before its end" in message["body"]
    assert [event["event"] for event in host.events()] == ["overrun"]
    host.run()
    assert len(hook.requests) == 1


def test_a_restart_that_was_counted_is_never_made_twice_by_a_kill(tmp_path: Path, app: Web, hook: Web) -> None:
    from ansible_collections.quai.ops.plugins.module_utils import _monitor_guard as guard
    from ansible_collections.quai.ops.plugins.module_utils import _monitor_run as running

    made = tmp_path / "made"

    def act(action: guard.Action, where: store.Paths, now: float) -> None:
        with made.open("a") as stream:
            stream.write(f"{now}\n")
        os.kill(os.getpid(), signal.SIGKILL)

    hands = running.Hands(inspect=lambda target: guard.Life("failed", None), act=act)
    spec = config(app, hook)
    spec["probes"][0].update(failures=1, restart={"unit": "app.service"})
    host = Watch(tmp_path / "host", spec)
    app.status = 503
    for _minute in range(60):
        child = os.fork()
        if child == 0:
            try:
                host.run(hands)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        host.now += 60
    assert len(made.read_text().splitlines()) == 3


# --- disk full -------------------------------------------------------------------------------------------------------


def mounted(directory: Path, size: str = "64k") -> None:
    directory.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    directories: list[Path] = []

    def mount(directory: Path) -> None:
        mounted(directory)
        directories.append(directory)

    yield mount
    for directory in directories:
        subprocess.run(["umount", str(directory)], check=True)


def fill(directory: Path) -> Path:
    path = directory / "big"
    with path.open("wb", buffering=0) as stream:
        for block in (4096, 1):
            try:
                while True:
                    stream.write(b"x" * block)
            except OSError as error:
                assert error.errno == 28  # ENOSPC
    return path


def test_alerts_go_out_while_the_disk_is_full(
    tmp_path: Path, app: Web, hook: Web, small: Callable[[Path], None]
) -> None:
    host = Watch(tmp_path, config(app, hook))
    small(host.where.state)
    host.run()
    big = fill(host.where.state)
    before = (host.where.state / "state.json").read_bytes()
    host.run()
    assert [request.json["kind"] for request in hook.requests] == ["own_fault"]
    assert "the state cannot be written" in hook.requests[0].json["body"]
    assert "No space left on device" in hook.requests[0].json["body"]
    app.status = 503
    for _minute in range(6):
        host.run()
    assert len(ids(hook, "firing")) == 1
    assert sum(ids(hook, "firing").values()) == 1
    app.status = 200
    for _minute in range(60):
        host.run()
    assert sum(ids(hook, "resolved").values()) == 1
    assert sum(ids(hook, "own_fault").values()) == 1, "not every minute"
    assert (host.where.state / "state.json").read_bytes() == before, "the old state is whole"
    big.unlink()
    host.run()
    host.run()
    assert host.state["run"]["at"] == host.now
    assert not (host.where.run / "state.json").exists()
    kinds = Counter(request.json["kind"] for request in hook.requests)
    # The second one is the end of the watch's own fault.
    assert kinds == {"own_fault": 1, "firing": 1, "resolved": 2}
    assert [event["event"] for event in host.events("firing", "resolved")] == ["firing", "resolved"], "nothing is lost"
    assert host.state["faults"] == {}


def test_a_message_that_waits_survives_a_full_disk(
    tmp_path: Path, app: Web, hook: Web, small: Callable[[Path], None]
) -> None:
    host = Watch(tmp_path, config(app, hook))
    small(host.where.state)
    host.run()
    hook.status = 500
    app.status = 503
    big = fill(host.where.state)
    for _minute in range(5):
        host.run()
    assert outbox.waiting(host.where) != []
    hook.requests.clear()
    hook.status = 200
    for _minute in range(6):
        host.run(after=300)
    assert outbox.waiting(host.where) == []
    assert len(ids(hook, "firing")) == 1
    big.unlink()
    host.run()
    assert len(ids(hook, "firing")) == 1


def test_alerts_go_out_when_neither_disk_nor_memory_take_anything(
    tmp_path: Path, app: Web, hook: Web, small: Callable[[Path], None]
) -> None:
    spec = config(app, hook)
    spec["probes"][0]["failures"] = 1
    host = Watch(tmp_path, spec)
    small(host.where.state)
    small(host.where.run)
    host.run()
    fill(host.where.state)
    fill(host.where.run)
    app.status = 503
    host.run()
    assert len(ids(hook, "firing")) == 1
    for _minute in range(5):
        host.run()
    assert len(ids(hook, "firing")) == 1, "nothing can be remembered, but it is always the same id"
    assert len(ids(hook, "own_fault")) == 1


# --- damaged, and out of time ----------------------------------------------------------------------------------------


def test_a_truncated_state_is_told_once_and_nothing_fires_again(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(app, hook))
    app.status = 503
    for _minute in range(90):
        host.run()
    firing = ids(hook, "firing")
    assert len(firing) == 1
    path = host.where.state / "state.json"
    path.write_bytes(path.read_bytes()[:1000])
    for _minute in range(10):
        host.run()
    assert ids(hook, "firing") == firing
    assert sum(ids(hook, "own_fault").values()) == 1
    assert len(list(host.where.state.glob("state.json.corrupt-*"))) == 1
    app.status = 200
    host.run()
    host.run()
    assert sum(ids(hook, "resolved").values()) == 1


def test_a_state_that_is_lost_altogether_fires_again_and_says_why(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(app, hook))
    app.status = 503
    for _minute in range(5):
        host.run()
    for path in host.where.state.glob("state.json*"):
        path.write_text("{")
    for _minute in range(5):
        host.run()
    kinds = Counter(request.json["kind"] for request in hook.requests)
    assert kinds == {"firing": 2, "own_fault": 1}


def test_a_clock_an_hour_back_tells_nothing_new(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(app, hook))
    app.status = 503
    for _minute in range(10):
        host.run()
    host.now -= 3600
    for _minute in range(30):
        host.run()
    assert Counter(request.json["kind"] for request in hook.requests) == {"firing": 1}
    app.status = 200
    for _minute in range(3):
        host.run()
    assert Counter(request.json["kind"] for request in hook.requests) == {"firing": 1, "resolved": 1}
    assert all(line["t"] <= host.now + 3600 for line in store.history(host.where))


def test_a_damaged_history_and_outbox_stop_nothing(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(app, hook))
    for place in ("outbox/x.json", "delivered/y.json", "history/2027-01-15.jsonl", "channels.json"):
        path = host.where.state / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'{"t": 1, "k":\xff')
    for place in ("late.json", "running.json", "state.json"):
        host.where.run.mkdir(parents=True, exist_ok=True)
        (host.where.run / place).write_bytes(b"{\xff")
    app.status = 503
    for _minute in range(4):
        host.run()
    assert len(ids(hook, "firing")) == 1


# --- delivery --------------------------------------------------------------------------------------------------------


def test_a_webhook_that_answers_500_twice_gets_one_message(tmp_path: Path, app: Web, hook: Web) -> None:
    host = Watch(tmp_path, config(app, hook))
    app.status = 503
    hook.answers = [500, 500]
    for _minute in range(8):
        host.run()
    assert len(hook.requests) == 3
    assert len(ids(hook, "firing")) == 1
    for _minute in range(10):
        host.run()
    assert len(hook.requests) == 3, "delivered, and never again"


def test_mail_that_is_down_for_a_day(tmp_path: Path) -> None:
    with Post() as one:
        port = one.port
    probes = [
        {"name": f"file{number}", "type": "heartbeat", "file": str(tmp_path / f"{number}"), "max_age": "100d",
         "policy": "p", "failures": 1, "successes": 1}
        for number in range(12)
    ]  # fmt: skip
    host = Watch(
        tmp_path / "host",
        {
            "interval": 600,
            "probes": probes,
            "policies": {"p": policy("ops")},
            "channels": {"ops": {"type": "mail", "to": "ops@example.org"}},
            "mail": {"relay": {"host": "127.0.0.1", "port": port}},
        },
    )
    for number in range(12):
        (tmp_path / f"{number}").touch()
    host.now = (tmp_path / "0").stat().st_mtime
    expected = []
    for run in range(156):
        if run % 13 == 6:
            (tmp_path / f"{run // 13}").unlink()
        expected += [message["id"] for message in host.run(after=600).messages if message["channel"] == "ops"]
    assert len(expected) >= 12
    assert len(outbox.waiting(host.where)) > 0
    with Post(port=port) as post:
        for _run in range(12):
            expected += [message["id"] for message in host.run(after=600).messages]
        assert outbox.waiting(host.where) == []
        assert len(post.ids) == len(set(post.ids)), "nothing twice"
        texts = [f"{mail['Subject']}\n{mail.get_content()}" for mail in post.mails]
        assert len(texts) < len(expected), "many became few"
        whole = "\n".join(texts)
        places = [whole.find(f"file{number}") for number in range(12)]
        assert -1 not in places
        assert places == sorted(places), "in order"
        sent = len(post.ids)
        for _run in range(3):
            host.run(after=600)
        assert len(post.ids) == sent
    assert any(event["event"] == "delivery_failed" for event in host.events())


def test_a_relay_that_dies_after_it_took_the_mail_gets_the_same_id_again(tmp_path: Path, app: Web) -> None:
    with Post() as post:
        spec = config(app, app)
        spec["channels"] = {"hook": {"type": "mail", "to": "ops@example.org"}}
        spec["mail"] = {"relay": {"host": "127.0.0.1", "port": post.port}}
        host = Watch(tmp_path, spec)
        app.status = 503
        for _minute in range(2):
            host.run()

        def die() -> None:
            post.after_data = None
            raise ConnectionResetError

        post.after_data = die
        for _minute in range(4):
            host.run()
        assert len(post.mails) == 2
        assert len(set(post.ids)) == 1
        assert len({mail["Message-ID"] for mail in post.mails}) == 1


def test_the_state_says_what_the_page_needs_to_know_of_undelivered_messages(
    tmp_path: Path, app: Web, hook: Web
) -> None:
    directory = tmp_path / "page"
    host = Watch(tmp_path / "host", config(app, hook, report={"directory": str(directory)}))
    hook.status = app.status = 500
    for _minute in range(4):
        host.run()
    assert json.loads((directory / "report.json").read_bytes())["monitor"]["undelivered"] == 1
