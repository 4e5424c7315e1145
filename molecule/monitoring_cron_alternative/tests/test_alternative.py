# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""monitoring_cron with nearly every variable changed, on the older Debian."""

from __future__ import annotations

import json
from email.message import EmailMessage
from typing import Any

from lab.wait import until
from tests.monitoring_cron.play import Converge
from tests.monitoring_cron.watch import STATE, Watch

CRON = "/etc/cron.d/quai-monitor"


def test_cron_starts_it(host: Any, watch: Watch) -> None:
    """Once a minute, by itself; no timer does."""
    lines = [line for line in host.file(CRON).content_string.splitlines() if "quai-monitor" in line and line[0] != "#"]
    run, report = lines
    assert run.startswith("* * * * * root flock -n /run/quai-monitor.cron nice -n 5 timeout --kill-after=10 50 ")
    assert run.endswith("/usr/local/bin/quai-monitor run")
    assert report.startswith("30 12 * * * root ")
    assert report.endswith("quai-monitor report --mail")
    assert host.run("systemctl list-unit-files 'quai-mo*' --no-legend").stdout == ""
    until("a run", lambda: host.file(STATE).exists, seconds=90)
    first = watch.state()["run"]["at"]
    until("the next run", lambda: watch.state()["run"]["at"] > first, seconds=90)
    assert host.run("journalctl --no-pager -o cat -u cron.service | grep -i 'bad minute\\|error'").stdout == ""


def test_it_is_told_what_was_given(host: Any) -> None:
    """Each variable, where the watch reads it."""
    config = json.loads(host.file("/etc/quai/monitor/config.json").content_string)
    assert (config["host"], config["languages"], config["interval"]) == ("old-server", ["fr", "en"], 60)
    assert (config["concurrency"], config["messages_per_hour"], config["run_limit"]) == (2, 50, 50)
    assert config["mail"] == {"from": "watch@old.lab"}
    assert config["peers"][0]["password"] == "${peer}"
    assert config["report"] == {"directory": "/srv/page", "mail_to": ["ops"], "url": "https://old.example.org/"}
    assert config["uplink_probe"] == "host.uplink"
    assert config["textfile"] == ""


def told(watch: Watch) -> list[EmailMessage]:
    """Mails about the probe that the test plays with, after one more run.

    Cron runs it as well: a run by hand that meets one of cron's leaves the work to that one.
    """
    watch.run()
    return [mail for mail in watch.mails() if "host.flag" in str(mail["Subject"])]


def test_mail_by_the_host_s_own_server_in_french(host: Any, watch: Watch) -> None:
    """To everybody of the channel, from the given address; and its end too."""
    watch.clear_mails()
    host.check_output("rm -f /srv/flag")
    until("a failure", lambda: watch.host.run("quai-monitor run").rc == 0 and "host.flag" in watch.bad(), seconds=30)
    mail = until("a mail", lambda: told(watch), seconds=90)[0]
    assert mail["X-MailFrom"] == "watch@old.lab"
    assert sorted(str(mail["X-RcptTo"]).split(", ")) == ["duty@example.org", "ops@example.org"]
    assert "old-server" in str(mail["Subject"])
    text = mail.get_content()
    assert "Depuis" in text
    assert "Message-ID" not in text, "the header ends too early"
    watch.clear_mails()
    host.check_output("touch /srv/flag")
    until("its end", lambda: told(watch), seconds=90)
    # A queue that nobody empties would be silence.
    until("an empty queue", lambda: host.check_output("ls /var/spool/nullmailer/queue") == "", seconds=60)


def test_the_page_is_where_it_was_wanted(host: Any) -> None:
    """For the given group, in the first of the languages."""
    until("a page", lambda: host.file("/srv/page/index.html").exists, seconds=120)
    directory = host.file("/srv/page")
    assert (directory.mode & 0o777, directory.group) == (0o750, "adm")
    assert host.file("/srv/page/index.html").group == "adm"
    assert 'lang="fr"' in host.file("/srv/page/index.html").content_string
    assert not host.file("/var/lib/quai/page").exists


def test_old_python(host: Any) -> None:
    """Debian 12 has Python 3.11; nothing of the watch warns."""
    done = host.run("quai-monitor check --json")
    assert done.stderr == ""
    document = json.loads(done.stdout)
    names = {one["name"] for one in document["results"]}
    assert names == {"host.cron", "host.uplink", "host.flag", "host.load", "peer.gone"}


def test_cron_cannot_do_what_it_cannot(converge: Converge) -> None:
    """Seconds, and minutes that an hour is no multiple of."""
    for interval in (30, 420):
        done = converge(monitoring_cron_interval=interval)
        assert done.failed
        assert f"monitoring_cron_interval is {interval}; cron knows whole minutes that divide an hour" in done.said


def test_switched_off(host: Any, converge: Converge) -> None:
    """Under cron too."""
    try:
        done = converge(monitoring_cron_enabled=False)
        assert not done.failed, done.said
        for path in (CRON, "/usr/local/bin/quai-monitor", "/etc/quai/monitor", "/srv/page/index.html"):
            assert not host.file(path).exists, path
        assert host.file(STATE).exists
    finally:
        back = converge()
    assert not back.failed, back.said
    assert "changed=0" in converge().said
