# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A project on a real host: its repository, its plans, its releases, and what a client sees meanwhile."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lab.wait import until
from tests.probes.target import LIBRARY, Target

HERE = Path(__file__).resolve().parent
PORT = 8000
SITE = 8080
CALL = (
    "import sys; from ansible_collections.quai.ops.plugins.module_utils import quai_release;"
    " sys.exit(quai_release.main(sys.argv[1:]))"
)
RUN = f"PYTHONPATH={LIBRARY} python3 -B -c '{CALL}'"
NGINX = f"""
events {{}}
http {{
    include /etc/nginx/quai/fronts/*.conf;
    server {{
        listen 127.0.0.1:{SITE};
        location / {{ proxy_pass http://quai_shop_web; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""
GATE = {"wait": 60, "interval": 0.2, "success_threshold": 3, "stable_for": 1}
BUILD = {"command": ["python3", "-m", "compileall", "-q", "."], "directory": ".", "environment": {}, "seconds": 60}
VERSIONS = {"1.0.0": "", "1.1.0": "", "1.2.0": "", "1.3.0": "never-healthy", "1.4.0": "exits", "1.5.0": "crash-later"}


class Done(NamedTuple):
    """How a release ended."""

    code: int
    said: str


class Shop:
    """The project C(shop) on the host."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.numbers = itertools.count(1)

    def clear(self) -> None:
        """Nothing of the project is left."""
        self.target.sh(
            "systemctl stop 'quai-shop-*' nginx 2>/dev/null; rm -rf /etc/systemd/system/*quai-shop-*"
            " /etc/systemd/system/*/quai-shop-* /srv/shop /var/lib/quai/shop /run/quai /etc/nginx/quai /srv/shop.git;"
            " systemctl daemon-reload; systemctl reset-failed",
            check=False,
        )

    def prepare(self) -> None:
        """A user, a repository with the versions, secrets, and nginx with a site and an empty front."""
        target = self.target
        target.sh("id shop >/dev/null 2>&1 || useradd --system --create-home shop")
        target.put("/etc/nginx/nginx.conf", NGINX)
        target.put("/srv/shop.git/app.py", (HERE / "app.py").read_bytes())
        target.put("/etc/shop.env", "TOKEN=very-secret-9\n", 0o600)
        commits = "".join(
            f"echo {version} > VERSION; echo '{fault}' > FAULT; git add .;"
            f" git commit -qm {version}; git tag v{version}; "
            for version, fault in VERSIONS.items()
        )
        target.sh(
            "cd /srv/shop.git && git init -q . && git config user.email shop@example.org && git config user.name shop;"
            f" {commits} chown -R shop:shop /srv/shop.git"
        )
        target.put("/etc/nginx/quai/fronts/shop.conf", "upstream quai_shop_web { server 127.0.0.1:9; }\n")
        target.start("nginx")

    def plan(self, version: str, **changes: Any) -> dict[str, Any]:
        """A plan to release this version."""
        health = {
            "name": "web",
            "type": "http",
            "url": "http://127.0.0.1:{port}/health",
            "every": "1s",
            "timeout": "2s",
        }
        public = {"name": "site", "type": "http", "url": f"http://127.0.0.1:{SITE}/health", "timeout": "2s"}
        web = {
            "name": "web",
            "port": PORT,
            "directory": ".",
            "command": ["/usr/bin/python3", "app.py"],
            "user": "shop",
            "environment": {"PYTHONUNBUFFERED": "1"},
            "secrets_file": "/etc/shop.env",
            "grace": 12,
            "probes": [health],
        }
        return {
            "id": f"r{next(self.numbers)}-{version}",
            "project": "shop",
            "version": version,
            "kind": "release",
            "by": "ann@desk",
            "reason": "",
            "target": "",
            "root": "/srv/shop",
            "source": {
                "repository": "/srv/shop.git",
                "ref": version,
                "user": "shop",
                "build": [BUILD],
                "shared": [],
            },
            "services": [web],
            "migrations": [],
            "gate": GATE,
            "verify": [public],
            "drain": 10,
            "verdict": 0,
            "lock_wait": 0,
            **changes,
        }

    def release(self, version: str, **changes: Any) -> Done:
        """Release a version, whose plan is changed so."""
        return self.run("run", self.plan(version, **changes))

    def run(self, verb: str, plan: dict[str, Any], *more: str) -> Done:
        """Call the engine on the host."""
        path = f"/root/plan-{plan['id']}.json"
        self.target.put(path, json.dumps(plan), 0o600)
        done = self.target.execute("/bin/bash", "-c", f"{RUN} {verb} {path} {' '.join(more)}")
        return Done(done.returncode, done.stdout + done.stderr)

    @contextmanager
    def running(self, plan: dict[str, Any], *, until_said: str) -> Iterator[subprocess.Popen[str]]:
        """A release that goes on while the body runs, from when it has said this."""
        path = f"/root/plan-{plan['id']}.json"
        self.target.put(path, json.dumps(plan), 0o600)
        process = subprocess.Popen(
            [
                "docker",
                "exec",
                "--interactive",
                self.target.lab.container("target"),
                "/bin/bash",
                "-c",
                f"{RUN} run {path}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if until_said in line:
                    break
            else:
                raise AssertionError("".join(said))
            yield process
        finally:
            self.kill(plan)
            process.wait()

    def kill(self, plan: dict[str, Any]) -> None:
        """Kill the release of this plan, as a crash would; what systemd runs goes on."""
        # In brackets, so that the shell of this very command does not fit.
        identity = plan["id"]
        self.target.sh(f"pkill -KILL -f '/root/[p]lan-{identity}.json' || test $? = 1")

    def serves(self, port: int = SITE) -> dict[str, Any]:
        """What a client gets."""
        answer: dict[str, Any] = json.loads(self.target.sh(f"busybox wget -qO- http://127.0.0.1:{port}/"))
        return answer

    def units(self) -> list[str]:
        """The project's units that run."""
        listed = self.target.sh("systemctl list-units --plain --no-legend --state=active 'quai-shop-*'")
        return [line.split()[0] for line in listed.splitlines()]

    def ledger(self) -> list[dict[str, Any]]:
        """The lines of the ledger."""
        text = self.target.sh("cat /var/lib/quai/shop/releases.jsonl")
        return [json.loads(line) for line in text.splitlines()]

    def results(self) -> list[str]:
        """How the releases ended, in their order."""
        return [line["result"] for line in self.ledger() if line["event"] == "ended"]

    @contextmanager
    def load(self, per_second: int = 100, slow_share: int = 20) -> Iterator[dict[str, Any]]:
        """Requests all the time; what is yielded is filled with what became of them when the body has ended."""
        self.target.put("/root/load.py", (HERE / "load.py").read_bytes())
        command = ["python3", "-B", "/root/load.py", f"http://127.0.0.1:{SITE}/", str(per_second), str(slow_share)]
        process = subprocess.Popen(
            ["docker", "exec", "--interactive", self.target.lab.container("target"), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        found: dict[str, Any] = {}
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield found
            said, _errors = process.communicate("stop\n", timeout=60)
            found.update(json.loads(said.splitlines()[-1]))
        finally:
            process.kill()
            process.wait()

    def wait_for(self, version: str) -> None:
        """Wait until a client gets this version."""
        until(f"version {version}", lambda: self.serves()["version"] == version, seconds=30)
