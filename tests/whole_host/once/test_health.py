# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host knows how it is, says so to who may know, and says when it is not well."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from lab import mail, services
from lab.wait import until
from tests.whole_host import web
from tests.whole_host.operations import Operator
from tests.whole_host.subject import DOMAINS, Subject

PAGE = "quai.masstock.fr"
TIMER = "quai-monitor.timer"


def checked(subject: Subject) -> dict[str, dict[str, Any]]:
    """What every probe of the host finds now."""
    found = json.loads(subject.run("quai-monitor check --json; test $? -le 2"))
    return {result["name"]: result for result in found["results"]}


def test_everything_is_asked_and_well(subject: Subject) -> None:
    """All that the declaration asks for, on the host: sites, cookies, containers, Redis, the queue, certificates."""
    found = checked(subject)
    for name in ("host.cpu", "host.load"):  # a machine that proves several hosts at once may be busy
        found.pop(name)
    assert {
        name: (result["reason"], result["message"]) for name, result in found.items() if result["status"] != "ok"
    } == {}
    asked = {"api", "app", "vitrine", "n8n", "preflight", "login", "api_inside", "containers", "queue", "redis"}
    assert {f"masstock.{name}" for name in asked} <= set(found)
    assert {f"masstock.tls.{site}" for site in DOMAINS} <= set(found)
    assert {"host.disk", "host.memory"} <= set(found)


def test_one_playbook_asks_inside_and_outside(operator: Operator) -> None:
    run = operator.play("playbooks/health.yml")
    assert run.changed == 0
    # A machine that proves several hosts at once may be busy; nothing else may be found.
    busy = r"host\.(cpu|load) on vps1 \(threshold\)"
    assert re.search(rf"1 host: ([12] warning, )?\d+ ok; (all is well|{busy})", run.output)
    assert "from outside" in run.output and "on the host" in run.output


@pytest.fixture(scope="module")
def account(subject: Subject) -> dict[str, str]:
    password = services.page_password(subject.lab)
    return {"Authorization": "Basic " + base64.b64encode(f"quai:{password}".encode()).decode()}


def test_the_page_is_for_those_who_may_see_it(
    subject: Subject, ask: Callable[..., web.Answer], account: dict[str, str]
) -> None:
    """It is written by the timer's own run, without anybody's doing."""
    page = "/var/lib/quai/page/index.html"
    until("the timer writes the page", lambda: subject.succeeds(f"grep -q 1.0.0 {page}"), seconds=150)
    assert ask(PAGE).status == 401
    served = ask(PAGE, headers=account)
    assert served.status == 200
    assert b"MasStock" in served.body and b"1.0.0" in served.body
    assert ask(PAGE, "/report.json", headers=account).json["host"] == "vps1"
    assert ask(PAGE, "/report.json").status == 401


def test_an_outage_is_told_once_and_its_end_too(subject: Subject) -> None:
    """The API stops: people are told after its third bad minute, once, in both languages; and when it is back."""
    mail.clear(subject.lab)
    subject.run(f"systemctl stop {TIMER}")
    try:
        subject.run("docker update --restart=no masstock_n8n && docker stop masstock_n8n")
        # What the timer does, without its minutes: the state is told that time has passed by running what is due.
        for _round in range(3):
            subject.run("quai-monitor run --only masstock.n8n --only masstock.containers")
        first = until("a mail about it", lambda: mail.messages(subject.lab), seconds=30)
        told = "\n".join(str(message["Subject"]) for message in first)
        assert "masstock.containers" in told or "masstock.n8n" in told
        body = first[0].get_body(("plain",)).get_content()  # type: ignore[union-attr]
        assert "quai-monitor ack" in body
        count = len(mail.messages(subject.lab))
        subject.run("quai-monitor run --only masstock.n8n --only masstock.containers")
        assert len(mail.messages(subject.lab)) == count
    finally:
        subject.run("docker start masstock_n8n && docker update --restart=unless-stopped masstock_n8n")
    until("n8n is well again", lambda: "n8n" not in subject.unhealthy(), seconds=120)
    for _round in range(2):
        subject.run("quai-monitor run --only masstock.n8n --only masstock.containers")
    until("a mail that it is over", lambda: len(mail.messages(subject.lab)) > count, seconds=30)
    subject.run(f"systemctl start {TIMER}")
