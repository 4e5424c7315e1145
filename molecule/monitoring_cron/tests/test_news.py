# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is told what, run by run."""

from __future__ import annotations

from lab.wait import until
from tests.monitoring_cron.watch import Watch, kinds


def test_a_failure_is_told_once_and_its_end_too(by_hand: Watch) -> None:
    """By both channels of its severity: after two bad results, and after two good ones."""
    by_hand.wish("broken")
    by_hand.run()
    assert by_hand.bad() == {"demo.web": "critical"}
    assert by_hand.subjects() == []
    by_hand.run()
    (mail,) = by_hand.mails()
    assert "demo.web" in str(mail["Subject"])
    assert "watched" in str(mail["Subject"])
    assert (mail["X-MailFrom"], mail["X-RcptTo"]) == ("quai@watched.lab", "ops@example.org")
    assert "Look at /srv/demo." in mail.get_content()
    assert "quai-monitor ack demo.web" in mail.get_content()
    assert kinds(by_hand.posts()) == ["firing"]
    assert by_hand.posts()[0]["probes"] == ["demo.web"]
    by_hand.run(3)
    assert len(by_hand.mails()) == len(by_hand.posts()) == 1
    by_hand.repair()
    by_hand.run()
    assert len(by_hand.mails()) == 1
    by_hand.run()
    assert kinds(by_hand.posts()) == ["firing", "resolved"]
    assert len(by_hand.mails()) == 2
    by_hand.run(2)
    assert len(by_hand.mails()) == len(by_hand.posts()) == 2
    assert len({one["id"] for one in by_hand.posts()}) == 2


def test_what_depends_on_it_is_named_and_not_told_by_itself(by_hand: Watch) -> None:
    """The unit is down, so its page is too."""
    by_hand.wish("dead")
    by_hand.host.check_output("systemctl stop demo.service")
    by_hand.run(4)
    assert by_hand.bad() == {"demo.unit": "critical", "demo.web": "critical"}
    fired = [one for one in by_hand.posts() if one["kind"] == "firing"]
    assert len(fired) == 1
    assert "demo.unit" in fired[0]["probes"]
    assert by_hand.state()["probes"]["demo.web"]["alert"]["suppressed"] == "dependency"


def test_a_channel_that_fails_gets_its_news_later(by_hand: Watch) -> None:
    """Once, with the id it had; the other channel does not wait for it."""
    by_hand.wish("refuse")
    by_hand.wish("broken")
    by_hand.run(3)
    assert len(by_hand.mails()) == 1
    assert by_hand.posts() == []
    waiting = by_hand.host.check_output("quai-monitor messages")
    assert "demo.hook" in waiting
    assert "1 message(s) wait" in waiting
    by_hand.host.check_output("rm /srv/receiver/refuse")
    # Its next try is a minute away; the waiting room is on disk, so its clock can be put forward.
    by_hand.host.check_output(
        "python3 -c %s",
        "import json, pathlib\n"
        "for path in pathlib.Path('/var/lib/quai/monitor/outbox').glob('*.json'):\n"
        "    record = json.loads(path.read_bytes())\n"
        "    record['next'] = 0\n"
        "    path.write_text(json.dumps(record))\n",
    )
    by_hand.run(2)
    assert kinds(by_hand.posts()) == ["firing"]
    assert len(by_hand.mails()) == 1
    assert "0 message(s) wait" in by_hand.host.check_output("quai-monitor messages")


def test_what_is_acknowledged_is_quiet(by_hand: Watch) -> None:
    """Its end is told nevertheless."""
    by_hand.wish("broken")
    by_hand.run(2)
    said = by_hand.host.check_output("quai-monitor ack demo.web --for 2h --by ann")
    assert said == "demo.web is acknowledged by ann for 2 h; after that it is told again"
    by_hand.run()
    assert "acked by ann" in by_hand.host.run("quai-monitor status").stdout
    # Long past the time to respond: nobody is bothered.
    before = len(by_hand.posts())
    by_hand.edit("a = s['probes']['demo.web']['alert']\nfor key in ('since', 'fired', 'next'): a[key] -= 5000")
    by_hand.run(2)
    assert len(by_hand.posts()) == before
    by_hand.repair()
    by_hand.run(2)
    assert kinds(by_hand.posts())[-1] == "resolved"


def test_an_acknowledgement_of_nothing_is_refused(by_hand: Watch) -> None:
    """With what would be right."""
    for words in ("ack demo.wep --for 2h --by ann", "ack demo.web --by ann", "ack demo.web --for 2h --by ann", "akc"):
        done = by_hand.host.run(f"quai-monitor {words}")
        assert done.rc != 0, words
        assert done.stderr.startswith("quai-monitor: "), words
        assert "Traceback" not in done.stderr


def test_maintenance_is_quiet_and_its_end_tells_what_is_left(by_hand: Watch) -> None:
    """Known before, so no news while it lasts."""
    by_hand.host.check_output("quai-monitor maintenance start --project demo --for 1h --by ann --reason 'new disk'")
    by_hand.wish("broken")
    by_hand.run(4)
    assert by_hand.bad() == {"demo.web": "critical"}
    assert by_hand.mails() == []
    assert by_hand.posts() == []
    by_hand.host.check_output("quai-monitor maintenance end --project demo")
    by_hand.run(3)
    told = [one for one in by_hand.posts() if "demo.web" in one["probes"]]
    assert len(told) == 1
    assert len(by_hand.mails()) == 1


def test_a_release_is_quiet(by_hand: Watch) -> None:
    """As long as it holds the project's lock; what is still bad afterwards is told."""
    by_hand.wish("broken")
    held = by_hand.host.run(
        "flock /run/quai/locks/stack-demo -c 'quai-monitor run; quai-monitor run; quai-monitor run'"
    )
    assert held.rc == 0
    assert by_hand.bad() == {"demo.web": "critical"}
    assert by_hand.posts() == []
    by_hand.run(3)
    (told,) = by_hand.posts()
    assert told["probes"] == ["demo.web"]


def test_a_project_that_is_not_live_yet_is_neither_good_nor_bad(by_hand: Watch) -> None:
    """It waits, until the path is there that says it is live."""
    probe = by_hand.state()["probes"].get("later.web") or {}
    assert probe.get("status", "waiting") == "waiting"
    by_hand.host.check_output("mkdir -p /srv/later/current")
    try:
        by_hand.run()
        assert by_hand.bad() == {"later.web": "critical"}
    finally:
        by_hand.host.check_output("rm -r /srv/later")
    assert "later.web" in by_hand.host.run("quai-monitor status").stdout


def test_a_dead_unit_is_restarted_three_times_and_then_given_up(by_hand: Watch) -> None:
    """With gaps in between; the log from before each restart is kept; one alert says that it stops."""
    by_hand.wish("dead")
    by_hand.host.check_output("systemctl kill --signal=KILL demo.service")
    by_hand.settle()
    count = "systemctl show -p InvocationID --value demo.service"
    lives = {by_hand.host.check_output(count)}
    for number in range(1, 4):
        by_hand.run()
        lives.add(by_hand.host.check_output(count))
        assert len(lives) == number + 1
        guard = by_hand.state()["guards"]["demo.unit"]
        assert len(guard["restarts"]) == number, guard
        # Not before its gap is over, however often it is asked.
        by_hand.run(2)
        assert len(by_hand.state()["guards"]["demo.unit"]["restarts"]) == number
        by_hand.edit(
            "g = s['guards']['demo.unit']\nfor key in ('restarts', 'series'): g[key] = [t - 960 for t in g[key]]"
        )
    assert by_hand.state()["guards"]["demo.unit"]["open_since"] is None
    by_hand.run(2)
    assert by_hand.state()["guards"]["demo.unit"]["open_since"] is not None
    assert [one["kind"] for one in by_hand.posts()].count("guard_open") == 1
    assert len(by_hand.host.check_output("ls /var/log/quai/monitor").split()) == 3
    assert by_hand.host.run("grep -q 'told to be dead' /var/log/quai/monitor/restart-demo.unit-*.log").rc == 0
    by_hand.edit("g = s['guards']['demo.unit']\ng['restarts'] = [t - 7200 for t in g['restarts']]")
    by_hand.run(3)
    assert len(by_hand.state()["guards"]["demo.unit"]["restarts"]) == 3
    # Until somebody says so.
    by_hand.host.check_output("quai-monitor guard reset demo.unit")
    by_hand.live()
    by_hand.run()
    until("it to run", lambda: by_hand.host.service("demo.service").is_running, seconds=20)
    by_hand.run(2)
    assert by_hand.bad() == {}


def test_what_merely_answers_badly_is_not_restarted(by_hand: Watch) -> None:
    """Its unit lives."""
    by_hand.wish("broken")
    by_hand.run(5)
    assert by_hand.state()["guards"] == {}
