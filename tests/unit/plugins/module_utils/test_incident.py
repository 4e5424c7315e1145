# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bundle of an incident: what is in it, what never is, and what it says of a stricken host."""

from __future__ import annotations

import io
import json
import os
import socketserver
import struct
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _incident
from ansible_collections.quai.ops.plugins.module_utils._incident import Asked, Bundle, Places
from ansible_collections.quai.ops.plugins.module_utils._probe_rules import seconds

NOW = time.time()
ENV_SECRET, FILE_SECRET, VAULT_SECRET = "s3cr3tFromEnv", "s3cr3tFromFile", "s3cr3tFromVault"
IDENTITY = "c" * 64


def frame(kind: int, text: str) -> bytes:
    """A piece of a container's log as the engine sends it."""
    data = text.encode()
    return struct.pack(">BxxxL", kind, len(data)) + data


INSPECTED: Mapping[str, Any] = {
    "Id": IDENTITY,
    "Name": "/shop-web-1",
    "Config": {
        "Env": ["NODE_ENV=production", f"DB_PASSWORD={ENV_SECRET}"],
        "Cmd": ["server", "--admin-password", "s3cr3tArgument"],
        "Labels": {"com.docker.compose.project": "shop"},
    },
    "State": {"Status": "restarting", "ExitCode": 137, "OOMKilled": True, "StartedAt": "2026-11-21T10:00:00Z"},
}
ANSWERS: Mapping[str, Any] = {
    "/containers/json": [
        {
            "Id": IDENTITY,
            "Names": ["/shop-web-1"],
            "State": "restarting",
            "Image": "shop:1",
            "Status": "Restarting (137)",
            "Labels": {"com.docker.compose.project": "shop"},
        },
        {"Id": "d" * 64, "Names": ["/other-web-1"], "State": "running", "Image": "o:1", "Status": "Up", "Labels": {}},
    ],
    f"/containers/{IDENTITY}/json": INSPECTED,
    "/version": {"Version": "26.1.5"},
    "/images/json": [{"RepoTags": ["shop:1"], "Created": 1}],
}
EVENTS = [
    {
        "time": NOW - 60,
        "Type": "container",
        "Action": "die",
        "Actor": {"Attributes": {"name": "shop-web-1", "exitCode": "137"}},
    },
    {
        "time": NOW - 50,
        "Type": "container",
        "Action": "exec_create: sh -c s3cr3tExec",
        "Actor": {"Attributes": {"name": "shop-web-1"}},
    },
]


class Engine(socketserver.BaseRequestHandler):
    """Docker's engine, as far as it is asked."""

    def handle(self) -> None:
        """Answer one request."""
        line = b""
        while b"\r\n\r\n" not in line:
            line += self.request.recv(4096)
        path = line.split()[1].decode().partition("?")[0]
        if path.endswith("/logs"):
            noise = frame(1, f"{'x' * 100}\n") * 400
            said = (
                frame(1, "first line\n")
                + noise
                + frame(2, f"cannot log in with {ENV_SECRET}\n")
                + frame(1, "last line\n")
            )
            self.answer(200, said)
        elif path == "/events":
            self.answer(200, "\n".join(json.dumps(event) for event in EVENTS).encode())
        elif path in ANSWERS:
            self.answer(200, json.dumps(ANSWERS[path]).encode())
        else:
            self.answer(404, b'{"message":"no such thing"}')

    def answer(self, status: int, body: bytes) -> None:
        """Send an answer."""
        self.request.sendall(f"HTTP/1.0 {status} X\r\n\r\n".encode() + body)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A host below a directory of the test."""
    files = {
        "quai/shop/secrets/web.env": f"TOKEN={FILE_SECRET}\n",
        "state/monitor/state.json": json.dumps(
            {
                "version": 1,
                "memory": {"shop.log": {"line": f"unfinished {FILE_SECRET}"}},
                "probes": {
                    "shop.api": {
                        "status": "critical",
                        "since": NOW - 600,
                        "result": {"reason": "status", "message": f"status is 502, body {VAULT_SECRET} {ENV_SECRET}"},
                        "alert": {"state": "firing"},
                    },
                    "shop.fine": {"status": "ok", "since": NOW, "result": {"reason": "", "message": "12 ms"}},
                    "other.api": {"status": "ok", "result": {}},
                    "disk": {"status": "warning", "result": {"reason": "threshold", "message": "used_pct is 91"}},
                },
            }
        ),
        "state/monitor/history/2026-11-21.jsonl": "\n".join(
            (
                json.dumps({"t": NOW - 86400, "k": "event", "event": "too-old"}),
                json.dumps({"t": NOW - 60, "k": "event", "event": "firing", "message": f"password={FILE_SECRET}"}),
                '{"torn',
            )
        ),
        "state/shop/release.json": json.dumps({"version": "1.4.0"}),
        "srv/shop/stack/compose.json": json.dumps(
            {"services": {"web": {"image": "shop:1", "environment": {"A": "s3cr3tCompose", "B": "x"}}}}
        ),
        "log/nginx/shop-web-access.log": f"GET /reset?token={FILE_SECRET}xyz HTTP/2\n",
        "log/nginx/other-access.log": "somebody else's visitors\n",
        "log/apt/history.log": "Install: nginx\n",
        "docker/volumes/shop_logs/_data/app.log": f"login failed for {VAULT_SECRET} {FILE_SECRET}\n" * 3,
        "docker/volumes/other_logs/_data/app.log": "not ours\n",
        "extra/deep/import.log": "imported 5\n",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "quai/shop/secrets/web.env").chmod(0o600)
    return below(tmp_path)


def below(place: Path) -> Places:
    """A host below a directory, with this machine's processes."""
    return Places(
        quai=place / "quai",
        state=place / "state",
        log=place / "log",
        letsencrypt=place / "letsencrypt",
        docker=place / "docker",
        srv=place / "srv",
        socket=str(place / "docker.sock"),
    )


@pytest.fixture
def engine(places: Places) -> Iterator[None]:
    """Docker answers."""
    with socketserver.ThreadingUnixStreamServer(places.socket, Engine) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield
        server.shutdown()


def asked(**changes: Any) -> Asked:
    """What is wanted of the shop."""
    return Asked(project="shop", since=NOW - 7200, now=NOW, secrets=(VAULT_SECRET,))._replace(**changes)


def unpacked(bundle: Bundle) -> dict[str, str]:
    """The files of the archive by their path."""
    files = {}
    with tarfile.open(fileobj=io.BytesIO(bundle.archive)) as archive:
        for entry in archive.getmembers():
            assert entry.mode == 0o600
            assert entry.name.startswith(f"{bundle.directory}/")
            stream = archive.extractfile(entry)
            assert stream
            files[entry.name.removeprefix(f"{bundle.directory}/")] = stream.read().decode()
    return files


@pytest.fixture
def files(places: Places, engine: None) -> dict[str, str]:
    """The archive of a host on which everything answers."""
    return unpacked(_incident.collect(asked(logs=(f"{places.srv.parent}/extra/*/*.log",)), "vps1", places))


def test_no_secret_is_in_it(files: dict[str, str]) -> None:
    found = [
        f"{name}: {line}" for name, text in files.items() for line in text.splitlines() if "s3cr3t" in line.lower()
    ]
    assert found == []


def test_what_the_watch_knows(files: dict[str, str]) -> None:
    lines = files["monitor/probes.txt"].splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["warning", "critical", "ok"]
    assert "shop.api: status status is 502, body *** ***" in files["monitor/probes.txt"]
    assert "other.api" not in files["monitor/state.json"]
    assert "unfinished" not in files["monitor/state.json"]
    assert "firing" in files["monitor/history.jsonl"]
    assert "too-old" not in files["monitor/history.jsonl"]


def test_containers(files: dict[str, str]) -> None:
    assert "other-web-1" in files["containers/list.txt"]
    assert [name for name in files if "other" in name] == []
    found = json.loads(files["containers/shop-web-1.json"])
    assert found["Config"]["Env"] == ["NODE_ENV=***", "DB_PASSWORD=***"]
    assert found["State"]["ExitCode"] == 137
    log = files["containers/shop-web-1.log"]
    assert log.startswith("first line\n")
    assert log.endswith("cannot log in with ***\nlast line\n")
    assert "container die shop-web-1 exit 137" in files["containers/events.txt"]
    assert "exec" not in files["containers/events.txt"]


def test_logs_releases_and_the_machine(files: dict[str, str], places: Places) -> None:
    assert "nginx/shop-web-access.log" in files
    assert "nginx/other-access.log" not in files
    logs = {name.rpartition("_")[2]: text for name, text in files.items() if name.startswith("logs/")}
    assert logs["app.log"] == "login failed for *** ***\n" * 3
    assert logs["import.log"] == "imported 5\n"
    assert json.loads(files["releases/release.json"]) == {"version": "1.4.0"}
    assert json.loads(files["releases/compose.json"])["services"]["web"]["environment"] == {"A": "***", "B": "***"}
    assert "MemAvailable" in files["host/overview.txt"]
    assert "by memory" in files["host/processes.txt"]
    assert "web.env" in files["host/changes.txt"]
    assert files["host/apt-history.log"] == "Install: nginx\n"


def test_first_page(places: Places, engine: None) -> None:
    contacts = ({"name": "operators", "email": "ops@shop.invalid", "level": 1},)
    bundle = _incident.collect(
        asked(note=f"502 depuis 14 h, {VAULT_SECRET}", title="Le Shop", contacts=contacts), "vps1", places
    )
    text = unpacked(bundle)["index.md"]
    french, english = text.split("\n---\n")
    assert french.startswith("# Incident : Le Shop (vps1)")
    assert "# Incident: Le Shop (vps1)" in english
    for part in (french, english):
        assert "- operators: ops@shop.invalid" in part
        assert "502 depuis 14 h, ***" in part
        assert all(f"`{one.path}`" in part for one in bundle.parts[1:])
        assert f"({bundle.redactions} " in part
    assert bundle.redactions >= 8


def test_docker_is_down(places: Places) -> None:
    """The logs are read where the engine keeps them."""
    place = places.docker / "containers" / IDENTITY
    place.mkdir(parents=True)
    config = {
        "Name": "/shop-web-1",
        "Config": {"Labels": {"com.docker.compose.project": "shop"}, "Env": [f"DB_PASSWORD={ENV_SECRET}"]},
        "State": {"ExitCode": 1},
    }
    (place / "config.v2.json").write_text(json.dumps(config))
    line = json.dumps({"log": f"no access with {ENV_SECRET}\n", "time": "2026-11-21T10:00:00Z"})
    (place / f"{IDENTITY}-json.log").write_text(f'{line}\n{{"log":"torn')
    bundle = _incident.collect(asked(), "vps1", places)
    files = unpacked(bundle)
    assert files["containers/shop-web-1.log"] == "2026-11-21T10:00:00Z no access with ***\n"
    assert any(one.what == "containers" and "docker.sock" in one.why for one in bundle.missing)
    assert "docker.sock" in files["index.md"]
    assert "host/overview.txt" in files


def test_a_host_that_has_nothing(tmp_path: Path) -> None:
    empty = below(tmp_path)._replace(proc=tmp_path)
    bundle = _incident.collect(asked(), "vps1", empty)
    assert {"monitor", "containers"} <= {one.what for one in bundle.missing}
    assert "index.md" in unpacked(bundle)


def test_a_damaged_state_is_kept_as_it_is(places: Places, engine: None) -> None:
    (places.state / "monitor/state.json").write_text('{"probes": {"shop.api"')
    bundle = _incident.collect(asked(), "vps1", places)
    assert unpacked(bundle)["monitor/state.damaged"] == '{"probes": {"shop.api"'
    assert any("damaged" in one.why for one in bundle.missing)


def test_the_state_in_memory_counts_when_the_disk_takes_none(places: Places, engine: None, tmp_path: Path) -> None:
    places = places._replace(run=tmp_path / "run")
    places.run.mkdir()
    younger = {"run": {"serial": 9}, "probes": {"shop.api": {"status": "critical", "result": {"message": "gone"}}}}
    (places.run / "state.json").write_text(json.dumps(younger))
    files = unpacked(_incident.collect(asked(), "vps1", places))
    assert "shop.api:  gone" in files["monitor/probes.txt"]
    (places.run / "state.json").write_text("{")
    files = unpacked(_incident.collect(asked(), "vps1", places))
    assert "gone" not in files["monitor/probes.txt"]
    assert "run/state.json is damaged" in files["index.md"]


def test_bounded_in_size(places: Places, engine: None) -> None:
    log = places.docker / "volumes/shop_logs/_data/app.log"
    log.write_text("".join(f"line {number}\n" for number in range(20_000)))
    bundle = _incident.collect(asked(file_bytes=8192), "vps1", places)
    files = unpacked(bundle)
    (name,) = [name for name in files if name.endswith("app.log")]
    assert files[name].endswith("line 19999\n")
    assert files[name].startswith("line 1")  # from the start of a line
    assert len(files[name]) <= 8192
    assert {one.path for one in bundle.parts if one.cut} >= {name, "containers/shop-web-1.log"}
    assert files["containers/shop-web-1.log"].endswith("last line\n")
    assert f"`{name}` | {len(files[name])} | journal de l'application (fin seulement) |" in files["index.md"]
    small = _incident.collect(asked(file_bytes=8192, total_bytes=20_000), "vps1", places)
    assert sum(len(text) for path, text in unpacked(small).items() if path != "index.md") <= 20_000
    assert any("were used up" in one.why for one in small.missing)


def test_what_is_cut_starts_with_a_whole_line(places: Places) -> None:
    """Half a line may hold half a secret, which nobody would recognise."""
    line = json.dumps({"t": NOW - 60, "k": "event", "message": "x" * 90})
    (places.state / "monitor/history/2026-11-21.jsonl").write_text(f"{line}\n" * 300)
    parts = {part.path: part for part in _incident.collect(asked(file_bytes=4096), "vps1", places).parts}
    assert parts["monitor/history.jsonl"].cut
    assert set(parts["monitor/history.jsonl"].text.splitlines()) == {line}
    # Of what a command says as well: 100 lines of four bytes, of which the last seven bytes are wanted.
    said = _incident._Collector(asked(), places, time.monotonic).run("seq", "100", "199", most=7)
    assert said == "199\n"


def test_bounded_in_time(places: Places, engine: None) -> None:
    """After the second step the time is over."""
    readings = iter([0.0, *[1.0] * 8])
    bundle = _incident.collect(asked(timeout=60.0), "vps1", places, clock=lambda: next(readings, 61.0))
    assert any("the 60 s for the whole bundle were over" in one.why for one in bundle.missing)
    assert "index.md" in unpacked(bundle)


def test_an_engine_that_hangs_does_not_hold_it_up(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_incident, "ENGINE_SECONDS", 0.2)
    with socketserver.UnixStreamServer(places.socket, Engine):  # accepts by its backlog, and answers nobody
        started = time.monotonic()
        bundle = _incident.collect(asked(), "vps1", places)
        assert time.monotonic() - started < 10
    assert any(one.what == "containers" and "gave no answer within 0.2 s" in one.why for one in bundle.missing)


def test_it_only_reads(places: Places, engine: None) -> None:
    def seen() -> dict[str, tuple[int, int]]:
        root = places.quai.parent
        return {
            str(path): (path.lstat().st_mtime_ns, path.lstat().st_size)
            for path in root.rglob("*")
            if path.name != "docker.sock"
        }

    before = seen()
    _incident.collect(asked(), "vps1", places)
    assert seen() == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", NOW - 7200),
        ("45m", NOW - 2700),
        ("2026-01-02T03:04:05Z", 1767323045.0),
        ("2026-01-02 03:04:05", 1767323045.0),
    ],
)
def test_since(text: str, expected: float) -> None:
    assert _incident.since(text, NOW, seconds) == expected


@pytest.mark.parametrize("text", ["yesterday", "-2h", "0", "2999-01-01T00:00:00Z", ""])
def test_no_since(text: str) -> None:
    with pytest.raises(ValueError, match="a duration back from now"):
        _incident.since(text, NOW, seconds)


def test_frames_that_come_in_pieces() -> None:
    stream = frame(1, "one\n") + frame(2, "two\n") + frame(1, "")
    pieces = [stream[at : at + 3] for at in range(0, len(stream), 3)]
    assert b"".join(_incident.demultiplexed(pieces, raw=False)) == b"one\ntwo\n"
    assert b"".join(_incident.demultiplexed([b"as ", b"is"], raw=True)) == b"as is"


def test_names_of_files_are_safe() -> None:
    name = _incident.name_of(asked(project="../shop"), "vps 1/x")
    assert os.sep not in name
    assert name.startswith(".._shop-vps_1_x-")
