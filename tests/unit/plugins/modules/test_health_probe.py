# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module health_probe: options, secrets, and the exit code that a person sees. It asks a real web server."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quai.ops.plugins.module_utils._probe_types import TYPES
from ansible_collections.quai.ops.plugins.modules import health_probe
from ansible_collections.quai.ops.plugins.plugin_utils import _carried

ROOT = Path(__file__).parents[4]
SECRET = "s3cr3t/p%40ss wörd"
LITERAL = "s3cr3tLiteral"
Run = Callable[..., dict[str, Any]]


class Handler(BaseHTTPRequestHandler):
    """Answers with the status in the path; /echo says back what it was told, as a careless application does."""

    def do_GET(self) -> None:
        """Answer."""
        told = {name: self.headers.get(name, "") for name in ("X-Api-Key", "Authorization")}
        word = self.path.strip("/").split("?", maxsplit=1)[0]
        self.server.asked += 1  # type: ignore[attr-defined]
        status = int(word) if word.isdigit() else 200
        if word == "twice":
            status = 200 if self.server.asked <= 2 else 503  # type: ignore[attr-defined]
        body = json.dumps({"status": "ok", "told": told, "path": self.path}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[str]:
    """Address of a web server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = 0  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def ask(run_module: Run) -> Run:
    """Run the module."""

    def run(probes: list[dict[str, Any]], check: bool = False, **options: Any) -> dict[str, Any]:
        return run_module(health_probe, check=check, probes=probes, **options)

    return run


@pytest.mark.parametrize("check", [False, True], ids=["real", "check mode"])
def test_good(ask: Run, web: str, check: bool) -> None:
    probes = [
        {"name": "web", "url": f"{web}/200", "expect": ['json.status == "ok"']},
        {"name": "memory", "type": "memory"},
    ]
    result = ask(probes, check=check, defaults={"warn": [], "crit": []})
    assert not result.get("failed")
    assert result["changed"] is False
    assert result["summary"] == "2 ok of 2"
    # Newer versions of Ansible tell the invocation only when asked to.
    assert set(result) - {"invocation"} == {
        *("ok", "status", "summary", "attempts", "elapsed_s", "waited_s", "timeline", "failed_probes", "results"),
        *("perfdata", "log_tail", "changed"),
    }
    first = result["results"][0]
    assert set(first) == {
        *("name", "type", "project", "status", "reason", "message", "severity", "value", "unit", "warn", "crit"),
        *("latency_ms", "phases", "tls", "http", "details", "attempts", "ip", "checked_at"),
    }
    assert first["http"]["status"] == 200
    assert first["ip"] == "127.0.0.1"


def test_bad(ask: Run, web: str) -> None:
    result = ask([{"name": "web", "url": f"{web}/503"}, {"name": "fine", "url": f"{web}/200"}])
    assert result["failed"]
    assert result["msg"].splitlines()[0] == "1 of 2 probes failed: web (status)"
    assert result["failed_probes"] == ["web"]
    assert result["changed"] is False


def test_fail_on_none_never_fails(ask: Run, web: str) -> None:
    result = ask([{"name": "web", "url": f"{web}/503"}], fail_on="none")
    assert not result.get("failed")
    assert result["ok"] is False


def test_bad_before_and_after(ask: Run, web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, line: said.append(line))
    bad, good = ({"name": "web", "url": f"{web}/{status}"} for status in (503, 200))

    def earlier(probe: dict[str, Any]) -> dict[str, Any]:
        return ask([probe], fail_on="none")

    after = ask([bad], baseline=earlier(bad))
    assert not after.get("failed")
    assert after["ok"] is True
    assert any("it was critical before already" in line for line in said), said
    assert ask([bad], baseline=earlier(good))["failed"]


def test_only(ask: Run, web: str) -> None:
    probes = [{"name": "web", "url": f"{web}/200"}, {"name": "bad", "url": f"{web}/503"}]
    assert ask(probes, only=["web"])["summary"] == "1 ok of 1"
    assert "did you mean 'web'" in ask(probes, only=["wep"])["msg"]


def test_every_mistake_at_once(ask: Run) -> None:
    result = ask([{"name": "web", "urll": "x", "steps": 5}, {"name": "disk", "type": "disk", "warn": "usedpct > 1"}])
    assert result["failed"]
    assert result["msg"].startswith("nothing was asked, because probes are wrong:\n- ")
    assert any("urll" in problem and "web" in problem for problem in result["problems"])
    assert any("usedpct" in problem and "disk" in problem for problem in result["problems"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wait": "soon"}, "wait is 'soon'; a duration is needed"),
        ({"success_threshold": 3}, "success_threshold is 3, which needs wait"),
        ({"baseline": {"results": 5}}, "baseline must be what an earlier run of this module returned"),
        ({"textfile": "/tmp/x.txt"}, "textfile is '/tmp/x.txt', its name must end in .prom"),
    ],
)
def test_options_that_cannot_be(ask: Run, options: dict[str, Any], message: str) -> None:
    result = ask([{"name": "disk", "type": "disk"}], **options)
    assert result["failed"]
    assert result["msg"].startswith(f"nothing was asked: {message}")


# Imports what was sent for each type, in a Python that knows nothing else.
CHILD = f"""
from __future__ import annotations
import json, sys
from importlib import import_module
from importlib.abc import InspectLoader
from importlib.machinery import ModuleSpec
from typing import Mapping
PACKAGE = {health_probe.PACKAGE!r}
{inspect.getsource(health_probe.Carried)}
class Parents(InspectLoader):
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self, is_package=True) if PACKAGE.startswith(name + ".") else None
    def get_source(self, name):
        return ""
for kind, sources in json.load(sys.stdin).items():
    sys.meta_path[:0] = [Carried(sources), Parents()]
    for name in sources:
        import_module(PACKAGE + "." + name)
    del sys.meta_path[:2]
    for name in [name for name in sys.modules if name.startswith("ansible")]:
        del sys.modules[name]
    print(kind)
"""


def test_the_action_sends_what_each_type_needs_and_no_more() -> None:
    sent = {kind: _carried.closure(_carried.names({"probes": [{"name": "x", "type": kind}]})) for kind in TYPES}
    for kind, sources in sent.items():
        assert TYPES[kind].check.split(":")[0] in sources
        assert len(sources) < 20
    assert "_probe_mysql" not in sent["http"]
    done = subprocess.run(
        [sys.executable, "-ISc", CHILD], input=json.dumps(sent), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(TYPES)


@pytest.mark.parametrize("wrong", [None, "text", [5], [{"type": "no such"}], [{}]])
def test_the_action_leaves_mistakes_to_the_module(wrong: Any) -> None:
    assert set(_carried.CORE) <= _carried.names({"probes": wrong})


def test_metrics(ask: Run, web: str, tmp_path: Path) -> None:
    path = tmp_path / "quai-gate.prom"
    probes = [{"name": "web", "url": f"{web}/503"}, {"name": "disk", "type": "disk", "warn": [], "crit": []}]
    ask(probes, check=True, textfile=str(path))
    assert not path.exists()
    result = ask(probes, textfile=str(path))
    assert result["changed"] is False
    text = path.read_text()
    labels = 'probe="web",type="http",severity="high",service=""'
    assert f"health_probe_success{{{labels}}} 0\n" in text
    assert f'health_probe_failed{{{labels},reason="status"}} 1\n' in text
    assert 'health_probe_success{probe="disk"' in text
    # What only the watch knows would stand twice in the collector's directory.
    assert not re.search("health_(alert|run|outbox|restart|notifications)_", text)
    assert ask(probes, textfile=str(tmp_path / "none" / "x.prom"), fail_on="none").get("failed") is not True


def test_empty_list(ask: Run) -> None:
    assert "an empty list proves nothing" in ask([])["msg"]


def test_gate(ask: Run, web: str) -> None:
    """OK twice and then 503: whoever asks once believes it."""
    result = ask([{"name": "web", "url": f"{web}/twice"}], wait="1s", interval="0.1")
    assert result["failed"]
    assert [entry["ok"] for entry in result["timeline"]][:3] == [True, True, False]


def secretive(web: str) -> list[dict[str, Any]]:
    """Probes that fail with answers in which every secret stands."""
    expect = ['json.status == "never"']
    return [
        {"name": "header", "url": f"{web}/echo", "headers": {"X-Api-Key": "${KEY}"}, "expect": ['body ~ "^never"']},
        {"name": "query", "url": f"{web}/echo?k=${{KEY}}", "expect": ['json.path == "never"']},
        {"name": "literal", "url": f"{web}/echo", "user": "u", "password": LITERAL, "expect": expect},
        {
            "name": "in-header",
            "url": f"{web}/echo",
            "headers": {"Authorization": f"Bearer {LITERAL}"},
            "expect": ['body ~ "^n"'],
        },
        {"name": "in-url", "url": web.replace("//", f"//u:{LITERAL}@") + "/503"},
        {
            "name": "in-environment",
            "type": "command",
            "command": ["env"],
            "environment": {"P": LITERAL},
            "expect": ["exit == 9"],
        },
        {"name": "redis", "type": "redis", "port": 1, "password": LITERAL, "timeout": 1},
    ]


@pytest.mark.parametrize("secret", [SECRET, LITERAL])
def test_secrets_are_nowhere_in_the_result(ask: Run, web: str, secret: str) -> None:
    result = ask(secretive(web), secrets={"KEY": SECRET})
    assert result["failed"]
    assert len(result["failed_probes"]) == len(secretive(web))
    text = json.dumps(result, ensure_ascii=False)
    assert secret not in text
    assert re.findall(".{80}s3cr3t.{20}", text) == []


def ansible(tmp_path: Path, options: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the module as a person does, on this machine."""
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_HOME": str(tmp_path),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
    }
    program = str(Path(sys.executable).with_name("ansible"))
    command = [
        program,
        "localhost",
        "-i",
        "localhost,",
        "-c",
        "local",
        "-e",
        f"ansible_python_interpreter={sys.executable}",
    ]
    return subprocess.run(
        [*command, "-m", "quai.ops.health_probe", "-a", json.dumps(options), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_exit_code_of_a_gate_that_opens(tmp_path: Path, web: str) -> None:
    done = ansible(
        tmp_path, {"probes": [{"name": "web", "url": f"{web}/200"}], "wait": 20, "interval": "0.2"}, "--check"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "localhost | SUCCESS" in done.stdout
    assert "changed: false" in done.stdout.lower() or '"changed": false' in done.stdout


def test_exit_code_of_a_gate_that_does_not_open_and_what_vvv_shows(tmp_path: Path, web: str) -> None:
    options = {"probes": secretive(web), "secrets": {"KEY": SECRET}, "wait": 1, "interval": "0.3"}
    done = ansible(tmp_path, options, "-vvv")
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "7 of 7 probes not good 3 times in a row within 1 s" in said
    # The command line that we gave holds them; nothing else may.
    assert "s3cr3t" not in said
