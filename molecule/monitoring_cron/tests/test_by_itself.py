# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch as the role leaves it: it runs by itself, and shows what it knows to those who may see it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from lab.wait import until
from tests.monitoring_cron.watch import STATE, Watch

PAGE = "/var/lib/quai/page"
METRICS = "/var/lib/prometheus/node-exporter/quai.prom"
LIBRARY = "/usr/local/lib/quai/ansible_collections/quai/ops/plugins/module_utils"
UNITS = ("quai-monitor.service", "quai-monitor.timer", "quai-morning.service", "quai-morning.timer")


@pytest.fixture(autouse=True)
def _running(watch: Watch) -> None:
    until("a run", lambda: watch.host.file(STATE).exists and watch.state()["run"]["at"], seconds=30)


def test_the_timer_runs_it_again_and_again(watch: Watch) -> None:
    """Every five seconds in this scenario."""
    first = watch.state()["run"]["at"]
    until("three more runs", lambda: watch.state()["run"]["at"] >= first + 10, seconds=60)


def test_all_is_well(watch: Watch) -> None:
    """And seen to be: every probe was asked, those of a project that is not live yet left out."""
    until("every probe to be asked", lambda: len(watch.state()["probes"]) >= 6, seconds=90)
    until("good results", lambda: watch.bad() == {}, seconds=60)
    asked = {name for name, one in watch.state()["probes"].items() if one["status"] == "ok"}
    assert asked == {"demo.web", "demo.unit", "demo.redis", "demo.beat", "host.disk", "host.memory"}


def test_the_host_can_be_asked_now(host: Any, given: dict[str, Any]) -> None:
    """A line for each probe, and a verdict."""
    done = host.run("quai-monitor check")
    lines = done.stdout.splitlines()
    assert done.rc == 0, done.stdout + done.stderr
    for probe in given["monitoring_cron_probes"]:
        if probe["name"] != "later.web":
            assert any(re.match(rf"ok +{re.escape(probe['name'])} ", line) for line in lines), probe["name"]
    assert lines[-1] == "watched: 6 ok of 6; waiting: later"
    assert host.run("quai-monitor validate").rc == 0


def test_who_may_not_run_it_is_told_so(host: Any) -> None:
    """Its secrets are root's."""
    done = host.run("runuser -u www-data -- quai-monitor run")
    assert done.rc != 0
    assert "permission denied; run it as root" in done.stderr
    assert "Traceback" not in done.stderr


def test_metrics(host: Any, watch: Watch) -> None:
    """For a collector that runs as another user; a sample has no time of its own."""
    until("metrics", lambda: host.file(METRICS).exists, seconds=30)
    text = host.check_output(f"runuser -u nobody -- cat {METRICS}")
    assert re.search(r'^health_probe_success\{[^}]*probe="demo\.web"[^}]*\} 1$', text, re.M)
    ran = float(re.findall(r"^health_run_timestamp_seconds (\S+)$", text, re.M)[0])
    assert abs(ran - watch.state()["run"]["at"]) < 60
    assert not re.search(r" [0-9.e+-]+ [0-9]{10,}$", text, re.M)


def test_the_page_is_for_the_web_server_and_nobody_else(host: Any) -> None:
    """It may have to be served with a password, so no other user reads it behind the server's back."""
    until("a page", lambda: host.file(f"{PAGE}/index.html").exists, seconds=60)
    for name in ("index.html", "report.json"):
        assert host.run(f"runuser -u www-data -- cat {PAGE}/{name}").rc == 0, name
        assert host.run(f"runuser -u nobody -- cat {PAGE}/{name}").rc != 0, name
        assert host.run(f"runuser -u www-data -- touch {PAGE}/{name}").rc != 0, name
    page = host.file(f"{PAGE}/index.html").content_string
    assert "demo.web" in page
    assert "<script" not in page
    report = json.loads(host.file(f"{PAGE}/report.json").content_string)
    assert report["host"] == "watched" or report["host"].get("name") == "watched"


def test_what_it_knows_is_private(host: Any) -> None:
    """Of everything below its directories nothing can be read by others."""
    assert host.file("/var/lib/quai/monitor").mode == 0o700
    assert host.file("/etc/quai/monitor/secrets.json").mode == 0o600
    assert host.file("/etc/quai/monitor/config.json").mode == 0o644
    assert host.run("runuser -u nobody -- ls /var/lib/quai/monitor /var/log/quai/monitor").stdout == ""


def test_secrets_are_in_one_place(host: Any, watch: Watch, given: dict[str, Any]) -> None:
    """Every probe, message and ping used one of them; only the role's file holds any."""
    until("a ping", lambda: watch.received("/ping-"), seconds=30)
    values = given["monitoring_cron_secrets"].values()
    patterns = " ".join(f"-e {value}" for value in values)
    # The state has gone through a failure too, which is when messages quote what they should not.
    watch.wish("broken")
    try:
        until("a failure", lambda: "demo.web" in watch.bad(), seconds=60)
    finally:
        watch.repair()
    places = "/etc/quai /var/lib/quai /var/log /var/cache/quai /run/quai /usr/local /etc/systemd /etc/cron.d /tmp"
    found = host.run(f"grep -rlaF {patterns} {places}").stdout.split()
    assert [path for path in found if not path.startswith("/var/log/journal/")] == ["/etc/quai/monitor/secrets.json"]
    # The host is told them by Ansible, whose modules write what they are called with into the journal.
    assert host.run(f"journalctl --no-pager -o cat -a | grep -F {patterns}").stdout == ""


def test_units(host: Any) -> None:
    """Started with the host; systemd has no word against them."""
    for name in ("quai-monitor.timer", "quai-morning.timer"):
        assert host.service(name).is_enabled
        assert host.service(name).is_running
    done = host.run(f"systemd-analyze verify {' '.join(f'/etc/systemd/system/{name}' for name in UNITS)}")
    assert (done.rc, done.stderr) == (0, "")
    assert "OnCalendar=*-*-* 07:00:00" in host.check_output("systemctl show quai-morning.timer -p TimersCalendar")


def test_the_journal_is_not_filled(host: Any, watch: Watch) -> None:
    """A run in which nothing happens leaves no line."""
    first = watch.state()["run"]["at"]
    until("two runs", lambda: watch.state()["run"]["at"] >= first + 9, seconds=60)
    said = host.check_output(f"journalctl --no-pager -o cat -u quai-monitor.service --since @{int(first) + 1}")
    assert "Starting" not in said
    assert "Finished" not in said
    assert "Deactivated" not in said


def test_the_switch_elsewhere_is_told_of_each_run(watch: Watch) -> None:
    """Of its start and of its end."""
    until("pings", lambda: {len(one["path"].split("/")) for one in watch.received("/ping-")} == {2, 3}, seconds=30)


def test_the_morning_page_is_mailed(host: Any, watch: Watch) -> None:
    """As the timer does it: the text in the mail, the page with it."""
    watch.clear()
    host.check_output("systemctl start quai-morning.service")
    mails = until(
        "the mail", lambda: [one for one in watch.mails() if one.get_content_type() != "text/plain"], seconds=30
    )
    (mail,) = mails
    assert mail["X-RcptTo"] == "ops@example.org"
    assert mail["X-Quai-Host"] == "watched"
    assert "[watched]" in str(mail["Subject"])
    parts = {part.get_content_type(): part.get_content() for part in mail.walk() if not part.is_multipart()}
    assert set(parts) == {"text/plain", "text/html"}
    assert "demo.web" in parts["text/html"]
    assert "watched" in parts["text/plain"]
    assert max(map(len, parts["text/plain"].splitlines())) <= 80


def test_only_its_own_code_is_on_its_path(host: Any) -> None:
    """Neither the directory it is called from nor the environment brings code in."""
    host.check_output("mkdir -p /root/trap && echo 'raise SystemExit(3)' > /root/trap/json.py")
    assert host.run("cd /root/trap && PYTHONPATH=/root/trap quai-monitor status").rc == 0


def test_compiled_code_is_kept(host: Any) -> None:
    """Else each run would compile everything again, since the unit may not write below /usr."""
    assert (
        host.run("ls /var/cache/quai/monitor/usr/local/lib/quai/ansible_collections/*/*/*/*/_probe_engine*.pyc").rc == 0
    )
    assert host.run(f"ls -d {LIBRARY}/__pycache__").rc != 0
