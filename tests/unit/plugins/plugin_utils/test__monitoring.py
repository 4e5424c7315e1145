# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of the watch: what is refused, and which code goes with it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.plugin_utils._monitoring import MODULES, needed, problems

SECRETS = {"shop.HOOK": "s3cr3t-hook", "relay": "s3cr3t-relay", "peer": "s3cr3t-peer", "db": "s3cr3t-db"}
RULE = {"respond_within": 3600, "notify": ["chat"], "escalate_to": ["ops"], "remind_every": 86400}


def config(**changes: Any) -> dict[str, Any]:
    """A good configuration that uses everything, changed."""
    good: dict[str, Any] = {
        "host": "vps1",
        "languages": ["fr", "en"],
        "interval": 60,
        "run_limit": 240,
        "concurrency": 20,
        "messages_per_hour": 20,
        "probes": [
            {
                "name": "shop.site", "project": "shop", "policy": "shop", "url": "https://shop.example/$${x}/${shop.HOOK}",
                "headers": {"Authorization": "Bearer ${db}"}, "depends_on": ["shop.db"],
            },
            {"name": "shop.db", "type": "postgresql", "project": "shop", "password": "${db}", "every": 60},
            {"name": "host.disk", "type": "disk", "project": "host"},
        ],
        "policies": {"shop": {"critical": RULE, "high": {**RULE, "escalate_to": []}}},
        "channels": {
            "ops": {"type": "mail", "to": ["ops@shop.example"]},
            "chat": {"type": "slack", "url": "${shop.HOOK}"},
            "hook": {"type": "webhook", "url": "https://hooks.example/${shop.HOOK}", "headers": {"X": "${relay}"}},
        },
        "own_fault_channels": ["ops"],
        "projects": {"shop": {"title": "Shop", "active_when": "/srv/shop", "locks": ["stack-shop"], "contacts": []}},
        "mail": {"from": "quai@shop.example", "relay": {"host": "smtp", "port": 587, "password": "${relay}"}},
        "uplink_probe": "host.disk",
        "textfile": "/var/lib/x/quai.prom",
        "ping": {"url": "https://ping.example/${peer}", "start": True},
        "peers": [{"name": "vps2", "url": "https://vps2.example/report.json", "user": "u", "password": "${peer}"}],
        "report": {"directory": "/var/lib/quai/page", "mail_to": ["ops"], "url": ""},
    }  # fmt: skip
    return {**good, **changes}


def found(secrets: dict[str, Any] | None = None, scheduler: str = "systemd", at: str = "07:00", **changes: Any) -> Any:
    """Problems of a configuration."""
    return problems(config(**changes), SECRETS if secrets is None else secrets, scheduler, at)


def test_a_good_configuration_has_no_problems() -> None:
    assert found() == []
    assert found(scheduler="cron", interval=300, at="") == []


def test_a_watch_of_nothing_is_a_watch() -> None:
    nothing = config(
        probes=[], policies={}, channels={}, own_fault_channels=[], projects={}, mail={"from": "a@b"}, uplink_probe="",
        textfile="", ping={"url": "", "start": True}, peers=[], report={"directory": "/x", "mail_to": [], "url": ""},
    )  # fmt: skip
    assert problems(nothing, {}, "systemd", "07:00") == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"host": "a b"}, "host is 'a b'"),
        ({"languages": ["de"]}, "languages is ['de']; name one or both of fr, en"),
        ({"languages": []}, "languages is []"),
        ({"interval": 1}, "interval is 1; it is 5 to 3600 seconds"),
        ({"interval": 5, "scheduler": "cron"}, "interval is 5; cron knows whole minutes"),
        ({"interval": 420, "scheduler": "cron"}, "interval is 420; cron knows whole minutes"),
        ({"concurrency": 0}, "concurrency is 0; it is 1 or more"),
        ({"run_limit": 0}, "run_limit is 0; it is 1 or more"),
        ({"at": "7:00"}, "report.at is '7:00'; a time of the day reads \"07:00\""),
        ({"at": 750}, "report.at is 750"),
        ({"textfile": "/x/quai.txt"}, "textfile is '/x/quai.txt'; it is an absolute path that ends in .prom"),
        ({"report": {"directory": "page", "mail_to": []}}, "report.directory is 'page'; it is an absolute path"),
        ({"report": {"directory": "/x", "mail_to": ["chat"]}}, "report.mail_to names 'chat', which is no channel of"),
        ({"uplink_probe": "host.dsk"}, "uplink_probe is 'host.dsk', which is not in monitoring_cron_probes"),
        ({"own_fault_channels": ["opps"]}, "own_fault_channels is 'opps', which is not in monitoring_cron_channels"),
        ({"mail": {"from": "quai"}}, "mail.from: 'quai' is no mail address"),
        ({"mail": {"from": "a@b", "relais": {}}}, "mail has no 'relais'; did you mean \"relay\"?"),
        ({"mail": {"from": "a@b", "relay": {"port": 25}}}, "mail.relay: host is missing"),
        ({"mail": {"from": "a@b", "relay": {"host": "x", "port": 0}}}, "mail.relay.port is 0; ports are 1 to 65535"),
        ({"mail": {"from": "a@b", "relay": {"host": "x", "tls": "yes"}}}, "mail.relay.tls is 'yes'; there is off,"),
        ({"ping": {"url": "ping.example"}}, "ping.url is no http(s):// address"),
        ({"peers": [{"name": "", "url": "https://x/"}]}, "peers[0]: name is missing"),
        ({"peers": [{"name": "x", "url": "x"}]}, "peers[0].url is no http(s):// address"),
        ({"projects": {"shop": {"tite": "x"}}}, "projects.shop has no 'tite'; did you mean \"title\"?"),
        ({"projects": {"shop": {"active_when": "srv"}}}, "projects.shop.active_when is 'srv'; it is an absolute path"),
        ({"projects": {"shop": {"locks": ["../x"]}}}, "projects.shop.locks: '../x' is no name of a file in"),
    ],
)  # fmt: skip
def test_problems(changes: dict[str, Any], problem: str) -> None:
    """One mistake, one line, with the variable and the value."""
    said = found(**changes)
    assert len(said) == 1, said
    assert said[0].startswith(f"monitoring_cron_{problem}")


@pytest.mark.parametrize(
    ("channel", "problem"),
    [
        ("ops@shop.example", "channels.hook: type is 'ops@shop.example'; there is mail, slack, webhook"),
        ({"type": "sms"}, "channels.hook: type is 'sms'"),
        ({"type": "mail"}, "channels.hook: a channel of the type mail needs to"),
        ({"type": "mail", "to": "a@b"}, "channels.hook.to is 'a@b'; it is a list of addresses"),
        ({"type": "mail", "to": ["ops"]}, "channels.hook.to: 'ops' is no mail address"),
        ({"type": "slack", "url": "${relay}", "to": []}, "channels.hook has no 'to'"),
        ({"type": "webhook", "url": "hooks.example"}, "channels.hook.url is no http(s):// address"),
        ({"type": "webhook", "url": "${shop.HOK}"}, 'channels.hook.url names ${shop.HOK}, which is not in monitoring_'),
    ],
)  # fmt: skip
def test_problems_of_a_channel(channel: Any, problem: str) -> None:
    said = found(channels={**config()["channels"], "hook": channel})
    assert len(said) == 1, said
    assert said[0].startswith(f"monitoring_cron_{problem}")


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ([], "policies.shop is []; it maps severities"),
        ({"urgent": RULE}, "policies.shop has no 'urgent'; it has critical, high, medium, low"),
        ({"high": "ops"}, "policies.shop.high is 'ops'; it has respond_within"),
        ({"high": {**RULE, "notfy": []}}, "policies.shop.high has no 'notfy'; did you mean \"notify\"?"),
        ({"high": {**RULE, "respond_within": "1h"}}, "policies.shop.high.respond_within is '1h'; it is a number"),
        ({"high": {**RULE, "escalate_to": ["boss"]}}, "policies.shop.high.escalate_to is 'boss', which is not in"),
    ],
)
def test_problems_of_a_policy(policy: Any, problem: str) -> None:
    rest = [{"name": "host.disk", "type": "disk"}]
    said = found(policies={"shop": policy}, probes=rest)
    assert len(said) == 1, said
    assert said[0].startswith(f"monitoring_cron_{problem}")


def test_problems_of_probes_come_from_the_code_that_reads_them_on_a_host() -> None:
    """All of them at once, and what they name is looked for."""
    probes = [
        {"name": "a", "type": "htp"},
        {"name": "b", "url": "https://x/", "expect": ["staus == 200"]},
        {"name": "c", "type": "disk", "policy": "shp", "project": "shoop"},
        {"name": "d", "type": "redis", "password": "${gone}"},
        "e",
    ]
    said = "\n".join(found(probes=probes, uplink_probe=""))
    for words in (
        'probes, a: type: there is no type "htp"',
        "probes, b: expect: ",
        "probes, c: policy is 'shp', which is not in monitoring_cron_policies; did you mean \"shop\"?",
        "probes, c: project is 'shoop', which is not in monitoring_cron_projects; did you mean \"shop\"?",
        "probes, d: password names ${gone}, which is not in monitoring_cron_secrets",
        "probes, probe 5: ",
    ):
        assert words in said, words


@pytest.mark.parametrize("value", [12345678, True, None, ["s3cr3t-list"], {"a": "s3cr3t-dict"}])
def test_a_secret_is_text_and_no_message_repeats_it(value: Any) -> None:
    said = found(secrets={**SECRETS, "db": value})
    assert said == ["monitoring_cron_secrets.db is not text; put its value in quotes"]


def test_names_of_secrets() -> None:
    (said,) = found(secrets={**SECRETS, "a b": "x"})
    assert said == "monitoring_cron_secrets: 'a b' is no name; it has letters, digits and _ . -"


def test_needed_follows_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Wherever they stand and however they are written."""
    package = "ansible_collections.quai.ops.plugins.module_utils"
    (tmp_path / "_top.py").write_text(
        f"import json\nfrom {package} import (\n    _a,\n    _b as c,\n)\nfrom os import path\n"
    )
    (tmp_path / "_a.py").write_text(f"def f():\n    from {package}._c import x\n    from . import y\n")
    (tmp_path / "_b.py").write_text(f"if True:\n    import {package}._a\n")
    (tmp_path / "_c.py").write_text(f"from {package}._top import z\n")
    monkeypatch.setattr("ansible_collections.quai.ops.plugins.plugin_utils._monitoring.MODULES", tmp_path)
    assert needed("_top") == ("_a", "_b", "_c", "_top")
    needed.cache_clear()


def test_needed_knows_what_the_table_of_probe_types_names() -> None:
    """The engine imports those only when a probe of the type is run."""
    names = needed("_probe_engine")
    assert {"_probe_http", "_probe_units", "_probe_machine", "_probe_spec"} <= set(names)
    assert all((MODULES / f"{name}.py").exists() for name in names)
