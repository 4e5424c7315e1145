#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask any list of probes in one task: once, or until they stay good."""

from __future__ import annotations

DOCUMENTATION = r"""
module: health_probe
short_description: Ask any list of probes in one task, once or until they stay good
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Asks web addresses, certificates, ports, mail servers, databases, queues, containers, units, processes, disks,
    logs, backups and more, all from the host on which it runs, many at once and each within its own time.
  - It is the engine that the watch on a host runs by itself, so that a release and the watch never disagree.
  - With O(wait) it is a gate. It asks again and again, and opens when every probe was good O(success_threshold) times
    in a row and what runs has stayed up for O(stable_for).
attributes:
  check_mode:
    support: full
    description: Probes only read, so they are asked in check mode as well.
    details: Probes of type C(command) run their command in check mode too. A probe's command must only look.
      O(textfile) is not written in check mode.
  diff_mode:
    support: none
    description: Nothing is changed, so there is nothing to compare.
  idempotent:
    support: full
    description: Nothing is ever changed. O(textfile) holds what was found, and is no change.
requirements:
  - Python 3.9 or later on the host, and nothing else
options:
  probes:
    description:
      - What to ask. Each is a dictionary of C(name), C(type) and what the type needs. An empty list is an error,
        because it would prove nothing.
      - C(expect) lists conditions that must hold, C(warn) and C(crit) conditions of which none may. A condition is
        C(FIELD OP VALUE), joined by C(and) and C(or), with the operators C(==), C(!=), C(<), C(<=), C(>), C(>=), C(in),
        C(!in), C(~) and C(!~).
      - C(timeout) is the time for the whole probe, name resolution included.
      - Options that hold secrets, headers and environments may name O(secrets) as C(${NAME}).
    type: list
    elements: dict
    required: true
  defaults:
    description: Options for every probe that does not say otherwise, such as C(timeout) and C(severity).
    type: dict
    default: {}
  secrets:
    description: Values for C(${NAME}) in probes. They are in no result, message or log.
    type: dict
    default: {}
  wait:
    description:
      - How long the probes may need to become good, such as V(60) (seconds) or V(2m). With V(0) they are asked once.
    type: str
    default: "0"
  interval:
    description: Time from one round to the next, with O(wait).
    type: str
    default: "1"
  success_threshold:
    description: How many rounds in a row must be good. V(3) with O(wait) when not given, else V(1).
    type: int
  stable_for:
    description:
      - How long what is only known to run must have stayed up before the gate opens. That is probes of type C(docker),
        C(containers), C(systemd), C(pm2) and C(process). One that started that long ago need not be waited for.
      - It is of no use without O(wait).
    type: str
    default: "7"
  start_period:
    description: Time from the beginning in which O(fail_fast) does not stop the wait.
    type: str
    default: "0"
  fail_fast:
    description:
      - Stop waiting when a container, unit, pm2 application or process came to its end, because it will not get better.
        It has to be seen in two rounds, so that a restart does not count.
    type: bool
    default: true
  baseline:
    description:
      - What this module returned before something was changed. A probe that was as bad then only warns now. One that
        was good, or not as bad, fails.
      - Empty, or the result of a skipped task, means that nothing was bad before.
    type: dict
    default: {}
  log_tail:
    description: How many last lines of logs of containers, units and pm2 applications to show when the probes fail.
    type: int
    default: 20
  concurrency:
    description: How many probes are asked at once.
    type: int
    default: 20
  only:
    description: Names of probes. The others are checked for mistakes and not asked.
    type: list
    elements: str
    default: []
  textfile:
    description:
      - File of metrics to write for the textfile collector of Prometheus' node_exporter. Its name ends in C(.prom).
    type: path
  fail_on:
    description:
      - V(critical) fails when a probe is critical, or unknown because it could not be asked.
      - V(warning) fails when a probe is anything but ok.
      - V(none) never fails; look at RV(ok). With O(wait) it waits for the same as V(critical).
    type: str
    choices: [critical, warning, none]
    default: critical
  engine:
    description: The engine's sources. Filled in by the action plugin of this name.
    type: str
notes:
  - A number that is not known is null, never 0.
  - Prefer O(secrets) or options such as C(password_file) to a password in a probe. What a probe's own options hold is
    hidden too, but it would have to be in a playbook.
seealso:
  - module: ansible.builtin.uri
  - module: ansible.builtin.wait_for
"""

EXAMPLES = r"""
- name: Gate | Wait until the new release stays good
  quai.ops.health_probe:
    wait: 60
    probes:
      - name: api
        url: http://127.0.0.1:3000/health
        expect: ["status == 200", 'json.status == "ok"', 'json.version == "1.4.0"']
        crit: ["latency_ms > 3000"]
      - {name: worker, type: docker, container: shop-worker-1}
      - {name: database, type: postgresql, url: "${DATABASE_URL}", severity: critical}
    secrets:
      DATABASE_URL: "{{ vault_shop.DATABASE_URL }}"

- name: Gate | See what was bad before
  quai.ops.health_probe:
    probes: "{{ shop_probes }}"
    fail_on: none
  register: shop_before

- name: Gate | Do not blame the release for it
  quai.ops.health_probe:
    probes: "{{ shop_probes }}"
    wait: 2m
    baseline: "{{ shop_before }}"

- name: Host | Look at the host once
  quai.ops.health_probe:
    defaults: {severity: medium}
    probes:
      - {name: disk, type: disk, path: /, warn: ["used_pct > 80"], crit: ["used_pct > 90 and free_gib < 5"]}
      - {name: backup, type: backup, glob: "/var/backups/shop/*.zst", max_age: 26h, min_bytes: 1MiB}
      - {name: certificate, type: tls, host: shop.example.org}
"""

RETURN = r"""
ok:
  description: Whether nothing failed.
  returned: when the options can be understood
  type: bool
  sample: true
status:
  description: The worst status of all probes, of ok, degraded, warning, critical and unknown.
  returned: when the options can be understood
  type: str
  sample: warning
summary:
  description: How many probes ended how.
  returned: when the options can be understood
  type: str
  sample: 18 ok, 1 warning, 1 critical of 20
attempts:
  description: How many rounds were made.
  returned: when the options can be understood
  type: int
  sample: 4
elapsed_s:
  description: How long it took in all, s.
  returned: when the options can be understood
  type: float
  sample: 7.412
waited_s:
  description: Time from the first round to the last, s. V(0) for one shot.
  returned: when the options can be understood
  type: float
  sample: 7.003
timeline:
  description: The last 50 rounds, with the time since the first, and the names of those that failed.
  returned: when the options can be understood
  type: list
  elements: dict
  sample: [{t: 0.0, ok: false, bad: [api]}, {t: 1.0, ok: true, bad: []}]
failed_probes:
  description: Names of the probes because of which it failed.
  returned: when the options can be understood
  type: list
  elements: str
  sample: []
results:
  description: The last result of each probe, in the order of O(probes).
  returned: when the options can be understood
  type: list
  elements: dict
  contains:
    name:
      description: Name of the probe.
      type: str
      returned: always
    type:
      description: Its type.
      type: str
      returned: always
    project:
      description: The project it belongs to; empty when it belongs to none.
      type: str
      returned: always
    status:
      description: One of ok, degraded (good after a retry), warning, critical, and unknown (it could not be asked).
      type: str
      returned: always
    reason:
      description: Why it is not ok, from a closed list; empty when it is.
      type: str
      returned: always
      sample: refused
    message:
      description: One line for people.
      type: str
      returned: always
    severity:
      description: How bad it is when it is bad.
      type: str
      returned: always
    value:
      description: The main value of its type; null when unknown.
      type: raw
      returned: always
    unit:
      description: Unit of the value.
      type: str
      returned: always
    warn:
      description: Conditions of a warning.
      type: raw
      returned: always
    crit:
      description: Conditions of a critical result.
      type: raw
      returned: always
    latency_ms:
      description: Time that the probe took, ms.
      type: float
      returned: always
    phases:
      description: Time of C(resolve), C(connect), C(tls), C(ttfb) and C(transfer), s.
      type: dict
      returned: always
    tls:
      description: Certificate, as C(days), C(not_after), C(chain_days), C(issuer), C(version), C(verify_code).
      type: dict
      returned: always
    http:
      description: Answer, as C(status), C(bytes), C(redirects).
      type: dict
      returned: always
    details:
      description: What else is known of it.
      type: dict
      returned: always
    attempts:
      description: How often it was tried in the last round.
      type: int
      returned: always
    ip:
      description: Address that was asked.
      type: str
      returned: always
    checked_at:
      description: When it was asked.
      type: raw
      returned: always
perfdata:
  description: The values as Nagios plugins print them.
  returned: when the options can be understood
  type: str
  sample: "'api'=12.4ms 'disk'=61.2%"
log_tail:
  description: Last lines of the logs of what failed, by name of the probe.
  returned: when the options can be understood
  type: dict
  sample: {}
"""

import base64
import json
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.abc import InspectLoader
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ansible.module_utils.basic import AnsibleModule

# Not imported by name: the action plugin says why.
PACKAGE = "ansible_collections.quai.ops.plugins.module_utils"
# Headers that let somebody in.
SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization", "x-api-key", "x-auth-token")


SHORTEST_SECRET = 4
# What may stand in an address as it is.
ADDRESS_SAFE = "%/:=&?~#+!$,;'@()*[]"
# Families of metrics that the watch alone can tell.
OF_THE_WATCH = ("health_alert", "health_run", "health_outbox", "health_notifications", "health_restart")


def literal_secrets(probes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Return what probes hold in the clear and nobody should see, so that Ansible hides it as well."""
    types = load("_probe_types").TYPES
    for probe in probes:
        kind = types.get(str(probe.get("type", "http")))
        options = kind.options if kind else {}
        steps = probe.get("steps")
        for request in (probe, *(steps if isinstance(steps, list) else ())):
            if not isinstance(request, Mapping):
                continue
            for name, value in request.items():
                if name == "headers" and isinstance(value, Mapping):
                    yield from (str(one) for key, one in value.items() if str(key).lower() in SECRET_HEADERS)
                elif name == "environment" and isinstance(value, Mapping):
                    yield from (str(one) for one in value.values())
                elif name == "url" and isinstance(value, str):
                    yield from _password(value)
                elif name == "body" or (name in options and options[name].kind == "secret"):
                    yield str(value)


def _password(url: str) -> list[str]:
    try:
        password = urlsplit(url).password
    except ValueError:
        return []
    return [password, unquote(password)] if password else []


def hidden(values: Iterable[str]) -> set[str]:
    """Return values that nobody should see, also as they stand in an address. What is too short would hide too much."""
    found = {value for value in values if len(value) >= SHORTEST_SECRET and "${" not in value}
    return found | {quote(value, safe=safe) for value in found for safe in ("", "/", "/%", ADDRESS_SAFE)}


class Carried(InspectLoader):
    """Imports what the action sent along."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources = {PACKAGE: "", **{f"{PACKAGE}.{name}": source for name, source in sources.items()}}

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return how a module is found; None when it was not sent."""
        if fullname not in self.sources:
            return None
        return ModuleSpec(fullname, self, origin="sent along", is_package=fullname == PACKAGE)

    def get_source(self, fullname: str) -> str:
        """Return a module's source."""
        return self.sources[fullname]


def load(name: str) -> Any:
    """Return a module of the engine."""
    return import_module(f"{PACKAGE}.{name}")


def write_metrics(path: Path, probes: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> None:
    """Write what was found for node_exporter; of alerts, runs and messages only the watch can tell. Raises OSError."""
    _monitor_metrics = load("_monitor_metrics")
    now = time.time()
    state = {
        "run": dict.fromkeys(("at", "duration", "probes")),
        "guards": {},
        "probes": {one["name"]: {"status": one["status"], "result": one} for one in results},
    }
    config = {"probes": probes, "projects": {}}
    text = _monitor_metrics.render(config, state, now, waiting=0, channels={}, overruns=0)
    lines = [line for line in text.splitlines() if not any(f"{name}_" in line.split("{")[0] for name in OF_THE_WATCH)]
    _monitor_metrics.write(path, "\n".join(lines) + "\n")


def options_of(params: Mapping[str, Any]) -> Any:
    """Return the gate's options. Raises GateError."""
    _probe_gate = load("_probe_gate")
    wait = _probe_gate.duration(params["wait"], "wait")
    threshold = params["success_threshold"]
    if threshold is None:
        threshold = 3 if wait else 1
    return _probe_gate.Options(
        wait=wait,
        interval=_probe_gate.duration(params["interval"], "interval"),
        success_threshold=threshold,
        stable_for=_probe_gate.duration(params["stable_for"], "stable_for"),
        start_period=_probe_gate.duration(params["start_period"], "start_period"),
        fail_fast=params["fail_fast"],
        log_tail=params["log_tail"],
        concurrency=params["concurrency"],
        fail_on=params["fail_on"],
    )


def main() -> None:
    """Validate, ask, report."""
    module = AnsibleModule(
        argument_spec={
            "probes": {"type": "list", "elements": "dict", "required": True},
            "defaults": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "wait": {"type": "str", "default": "0"},
            "interval": {"type": "str", "default": "1"},
            "success_threshold": {"type": "int"},
            "stable_for": {"type": "str", "default": "7"},
            "start_period": {"type": "str", "default": "0"},
            "fail_fast": {"type": "bool", "default": True},
            "baseline": {"type": "dict", "default": {}},
            "log_tail": {"type": "int", "default": 20},
            "concurrency": {"type": "int", "default": 20},
            "only": {"type": "list", "elements": "str", "default": []},
            "textfile": {"type": "path"},
            "engine": {"type": "str"},
            "fail_on": {"type": "str", "choices": ["critical", "warning", "none"], "default": "critical"},
        },
        supports_check_mode=True,
    )
    params = module.params
    if params["engine"]:
        sys.meta_path.insert(0, Carried(json.loads(zlib.decompress(base64.b64decode(params.pop("engine"))))))
    _probe_engine, _probe_gate, _probe_spec = map(load, ("_probe_engine", "_probe_gate", "_probe_spec"))
    secrets = {str(name): str(value) for name, value in params["secrets"].items()}
    module.no_log_values.update(hidden([*secrets.values(), *literal_secrets([params["defaults"], *params["probes"]])]))
    try:
        options = options_of(params)
        probes = _probe_gate.choose(_probe_spec.normalise(params["probes"], params["defaults"]), params["only"])
        _probe_gate.check(options, probes)
        before = _probe_gate.former(params["baseline"])
        if params["textfile"] and not params["textfile"].endswith(".prom"):
            raise _probe_gate.GateError(f"textfile is {params['textfile']!r}, its name must end in .prom")
    except _probe_spec.SpecError as error:
        lines = "".join(f"\n- {problem}" for problem in error.problems)
        module.fail_json(msg=f"nothing was asked, because probes are wrong:{lines}", problems=error.problems)
    except _probe_gate.GateError as error:
        module.fail_json(msg=f"nothing was asked: {error}")
    verdict = _probe_gate.ask(
        probes,
        options,
        _probe_engine.run_probes,
        secrets=secrets,
        baseline=before,
    )
    if params["textfile"] and not module.check_mode:
        try:
            write_metrics(Path(params["textfile"]), probes, verdict.result["results"])
        except OSError as error:
            module.warn(f"the metrics could not be written to {params['textfile']}: {error.strerror}")
    for line in verdict.warnings:
        module.warn(line)
    if not verdict.passed:
        module.fail_json(msg=verdict.message, changed=False, **verdict.result)
    module.exit_json(changed=False, **verdict.result)


if __name__ == "__main__":
    main()
