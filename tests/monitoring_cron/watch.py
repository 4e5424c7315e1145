# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's watch, seen from a test: what it knows, whom it told, and how to make it unhappy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from email.message import EmailMessage
from typing import Any

from lab import mail
from lab.names import Lab
from lab.wait import until

STATE = "/var/lib/quai/monitor/state.json"
RECEIVED = "/srv/receiver/received.jsonl"


class Watch:
    """The watch of the scenario's host."""

    def __init__(self, host: Any, scenario: str) -> None:
        self.host = host
        self.lab = Lab(f"mol-{scenario}", "")
        self.dead = False

    # --- running -----------------------------------------------------------------------------------------------------

    def run(self, times: int = 1) -> None:
        """Run it by hand, each time to a good end."""
        for _ in range(times):
            done = self.host.run("quai-monitor run")
            assert done.rc == 0, done.stdout + done.stderr
            if self.dead:
                # Just started again it lives for a moment. Runs of a real watch are too far apart to see that.
                self.settle()

    def settle(self) -> None:
        """Wait until the dead unit is down."""
        down = ("failed\n", "inactive\n")
        until("its end", lambda: self.host.run("systemctl is-active demo.service").stdout in down, seconds=20)

    def stop(self) -> None:
        """No run but by hand."""
        self.host.check_output("systemctl stop quai-monitor.timer quai-monitor.service")

    def start(self) -> None:
        """Let it run by itself."""
        # systemd refuses more than five starts in ten seconds; tests may be quicker than any operator.
        self.host.check_output("systemctl reset-failed quai-monitor.timer && systemctl start quai-monitor.timer")

    def forget(self) -> None:
        """As on the first day, with everything well."""
        self.repair()
        self.host.check_output(
            "find /var/lib/quai/monitor /run/quai/monitor /var/log/quai/monitor -mindepth 1 -delete 2>/dev/null || true"
        )
        self.clear()

    def repair(self) -> None:
        """Take back all wishes."""
        self.dead = False
        self.host.check_output(
            "rm -f /srv/demo/broken /srv/demo/dead /srv/receiver/refuse && systemctl reset-failed demo.service;"
            " systemctl start demo.service"
        )
        until("demo to answer", lambda: self.host.run("exec 3<>/dev/tcp/127.0.0.1/8099").rc == 0, seconds=20)

    def wish(self, name: str) -> None:
        """Make something bad: C(broken) answers 503, C(dead) does not start any more, C(refuse) takes no webhook."""
        self.dead = self.dead or name == "dead"
        place = "receiver" if name == "refuse" else "demo"
        self.host.check_output(f"touch /srv/{place}/{name}")

    def live(self) -> None:
        """Let what is dead start again; nobody starts it here."""
        self.dead = False
        self.host.check_output("rm /srv/demo/dead")

    # --- what it knows -----------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Its memory."""
        return dict(json.loads(self.host.file(STATE).content_string))

    def edit(self, script: str) -> None:
        """Change its memory: C(script) is Python that finds it in C(s)."""
        program = f"import json\ns = json.load(open('{STATE}'))\n{script}\njson.dump(s, open('{STATE}', 'w'))"
        self.host.check_output("python3 -c %s", program)

    def bad(self) -> dict[str, str]:
        """Probes that are not ok, with their status."""
        probes = self.state()["probes"]
        return {name: one["status"] for name, one in probes.items() if one["status"] not in ("ok", "waiting")}

    # --- whom it told ------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget what has arrived."""
        self.clear_mails()
        self.host.check_output(f"rm -f {RECEIVED}")

    def clear_mails(self) -> None:
        """Forget mails that have arrived."""
        mail.clear(self.lab)

    def mails(self) -> list[EmailMessage]:
        """Mails that arrived."""
        return mail.messages(self.lab)

    def subjects(self) -> list[str]:
        """Their subjects."""
        return [str(one["Subject"]) for one in self.mails()]

    def received(self, path: str) -> list[dict[str, Any]]:
        """Requests to the receiver whose path begins so."""
        file = self.host.file(RECEIVED)
        lines = file.content_string.splitlines() if file.exists else []
        return [one for one in map(json.loads, lines) if one["path"].startswith(path)]

    def posts(self) -> list[dict[str, Any]]:
        """Bodies of webhooks."""
        return [json.loads(one["body"]) for one in self.received("/hook-")]


def kinds(messages: Sequence[dict[str, Any]]) -> list[str]:
    """What the messages are about."""
    return [str(one["kind"]) for one in messages]
