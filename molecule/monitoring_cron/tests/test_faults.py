# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a watch on a real host, and what people do to it."""

from __future__ import annotations

import json
from typing import Any

from lab.wait import until
from tests.monitoring_cron.play import Converge
from tests.monitoring_cron.watch import STATE, Watch, kinds

# Starts a run, kills it after a part of a second, and looks whether the memory can still be read; many times.
KILL = """
bad=0
for part in 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 18 20 22 24 26 28 30 35 40; do
  quai-monitor run >/dev/null 2>&1 & pid=$!
  sleep 0.$part
  kill -KILL $pid 2>/dev/null && killed=$((killed + 1))
  wait $pid 2>/dev/null
  python3 -c "import json; json.load(open('/var/lib/quai/monitor/state.json'))" || bad=$((bad + 1))
done
echo "$killed $bad"
"""


def test_two_runs_at_once(by_hand: Watch) -> None:
    """The second one leaves at once, and is counted."""
    done = by_hand.host.run("flock /run/quai/locks/monitor -c 'quai-monitor run'")
    assert done.rc == 0
    assert "this run is left out and counted" in done.stderr
    assert json.loads(by_hand.host.run("quai-monitor status --json").stdout)["overruns"] == 1
    by_hand.run()
    assert by_hand.bad() == {}


def test_a_run_that_is_killed_at_any_moment(by_hand: Watch) -> None:
    """Leaves a memory that can be read; the next one goes on, and nobody is told twice."""
    by_hand.wish("broken")
    killed, bad = by_hand.host.check_output("bash -c %s", KILL).split()
    assert int(killed) >= 8
    assert bad == "0"
    by_hand.run(4)
    assert by_hand.bad() == {"demo.web": "critical"}
    assert kinds(by_hand.posts()).count("firing") == 1
    ids = [one["id"] for one in by_hand.posts()]
    assert len(ids) == len(set(ids))
    assert [subject for subject in by_hand.subjects() if "demo.web" in subject]
    by_hand.repair()
    by_hand.run(2)
    assert by_hand.bad() == {}


def test_a_memory_that_is_cut_off(by_hand: Watch) -> None:
    """Is kept aside, replaced, and told to those who care for the watch."""
    by_hand.host.check_output(f"truncate --size=100 {STATE}")
    by_hand.run(2)
    assert by_hand.bad() == {}
    kept = by_hand.host.check_output("ls /var/lib/quai/monitor").split()
    assert any(name.startswith("state.json.corrupt-") for name in kept)
    assert len(by_hand.mails()) == 1


def test_a_disk_that_is_full(by_hand: Watch) -> None:
    """Alerts go out nevertheless."""
    host = by_hand.host
    host.check_output("mkdir -p /srv/small && cp -a /var/lib/quai/monitor/. /srv/small/")
    host.check_output("mount -t tmpfs -o size=256k,mode=0700 tmpfs /var/lib/quai/monitor")
    try:
        host.check_output("cp -a /srv/small/. /var/lib/quai/monitor/")
        host.run("dd if=/dev/zero of=/var/lib/quai/monitor/fill bs=4k")
        by_hand.wish("broken")
        by_hand.run(3)
        assert kinds(by_hand.posts()).count("firing") == 1
    finally:
        host.check_output("umount /var/lib/quai/monitor && rm -r /srv/small")


def tree(host: Any) -> str:
    """Every file that the role answers for, with its content."""
    return str(
        host.check_output(
            "find /etc/quai/monitor /etc/systemd/system /usr/local -type f -not -name '*.pyc' | sort | xargs sha256sum"
        )
    )


def test_wrong_variables_are_refused_before_the_host_is_touched(host: Any, converge: Converge) -> None:
    """All at once, each with what would be right, and no secret in them."""
    before = tree(host)
    done = converge(
        monitoring_cron_probes=[
            {"name": "demo.web", "type": "htpp", "policy": "demo"},
            {"name": "demo.unit", "type": "systemd", "unit": "x", "polcy": "demo", "expect": ["actve == active"]},
            {"name": "demo.redis", "type": "redis", "password": "${demo.RDIS}", "depends_on": ["demo.rediss"]},
        ],
        monitoring_cron_policies={"demo": {"critical": {"notify": ["nobody"]}}},
    )
    assert done.failed
    assert "The variables of monitoring_cron are wrong; nothing was changed:" in done.said
    for reason in (
        'demo.web: type: there is no type "htpp"; did you mean "http"?',
        "demo.unit: polcy: the type systemd has no such option",
        "demo.unit: expect: ",
        'demo.redis: depends_on: there is no probe "demo.rediss"',
        "demo.redis: password names ${demo.RDIS}, which is not in monitoring_cron_secrets",
        "policies.demo.critical.notify is 'nobody', which is not in monitoring_cron_channels",
    ):
        assert reason in done.said.replace("\\", ""), reason
    assert "install |" not in done.said
    assert tree(host) == before


def test_a_secret_is_in_no_output(converge: Converge, given: dict[str, Any]) -> None:
    """Neither when it changes nor in check mode with all there is to see."""
    secrets = {**given["monitoring_cron_secrets"], "demo.HOOK": "hook-0cc175b9c0f1b6a8"}
    done = converge("--check", "--diff", "-vv", monitoring_cron_secrets=secrets)
    assert not done.failed, done.said
    assert "/etc/quai/monitor/secrets.json" in done.said
    assert "content, not shown" in done.said
    assert not [value for value in secrets.values() if value in done.said]


def test_a_watch_that_is_switched_off_and_on(host: Any, watch: Watch, converge: Converge) -> None:
    """It is gone without leaving a page that still says all is well; what it learnt is there when it comes back."""
    until("a memory", lambda: host.file(STATE).exists, seconds=60)
    since = watch.state()["probes"]["demo.web"]["since"]
    try:
        done = converge(monitoring_cron_enabled=False)
        assert not done.failed, done.said
        for name in ("quai-monitor.timer", "quai-morning.timer", "quai-monitor.service", "quai-morning.service"):
            assert not host.file(f"/etc/systemd/system/{name}").exists
            assert host.check_output(f"systemctl show -p LoadState --value {name}") == "not-found"
        for path in (
            "/usr/local/bin/quai-monitor", "/etc/quai/monitor", "/etc/cron.d/quai-monitor", "/var/cache/quai/monitor",
            "/var/lib/quai/page/index.html", "/var/lib/quai/page/report.json", "/var/lib/quai/page/report.txt",
            "/var/lib/prometheus/node-exporter/quai.prom",
        ):  # fmt: skip
            assert not host.file(path).exists, path
        assert host.run("ls -A /usr/local/lib/quai/*/quai/ops/plugins/module_utils | grep -E 'probe|monitor|report'").rc
        assert host.run("find /etc/systemd/system -name 'quai-mo*'").stdout == ""
        assert host.file(STATE).exists
        assert "changed=0" in converge(monitoring_cron_enabled=False).said
    finally:
        back = converge()
    assert not back.failed, back.said
    until("a run", lambda: watch.state()["run"]["at"], seconds=30)
    assert watch.state()["probes"]["demo.web"]["since"] == since
    assert "changed=0" in converge().said


def test_without_a_morning_mail(host: Any, converge: Converge) -> None:
    """Its timer goes, the watch stays."""
    try:
        done = converge(monitoring_cron_report={"at": "", "mail_to": ["demo.operators"]})
        assert not done.failed, done.said
        assert not host.file("/etc/systemd/system/quai-morning.timer").exists
        assert host.run("find /etc/systemd/system -name 'quai-morning*'").stdout == ""
        assert host.service("quai-monitor.timer").is_running
    finally:
        back = converge()
    assert not back.failed, back.said
    assert host.service("quai-morning.timer").is_running
