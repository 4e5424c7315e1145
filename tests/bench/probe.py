# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe engine beside blackbox_exporter, the Nagios plugins, curl and Ansible's own uri.

Every contender gets the same nginx, which is not counted, and a new connection for each probe. What is too slow for the
whole list gets a part of it and is scaled by the count; its name says so. The peers are favoured where they differ:
blackbox_exporter and check_http search a text where the engine reads JSON, curl judges the status alone, and
blackbox_exporter is driven by one curl for all targets, the cheapest client there is.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tests.bench import services
from tests.bench.frame import (
    BUILD,
    ROOT,
    BenchError,
    Figure,
    Usage,
    figure,
    peak_rss,
    rounds,
    run,
    unpack,
    version,
)
from tests.bench.services import Daemon

Say = Callable[[str], None]
PACKAGES = ("nginx", "prometheus-blackbox-exporter", "monitoring-plugins-basic", "monitoring-plugins-common")
TARGETS, TLS_TARGETS, LOOP_TARGETS, HANGING = 1000, 300, 200, 20
HANG_SECONDS = 2
AT_ONCE = 50
LIBRARY = ROOT / "collections"
# As on a host: Debian's own Python, without the virtual environment.
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable


def measure(say: Say, times: int, parts: Sequence[str] = ()) -> list[Figure]:
    """Measure all parts of the group, or those that are named."""
    known = {
        "http_1000": http_1000,
        "tls_300": tls_300,
        "hang_20_of_1000": hang,
        "host_run_20": host_run,
        "ansible_20": in_ansible,
    }
    unknown = sorted(set(parts) - set(known))
    if unknown:
        raise BenchError(f"no such part: {', '.join(unknown)}; there are {', '.join(known)}")
    root = unpack(*PACKAGES)
    figures: list[Figure] = []
    with ExitStack() as stack:
        bench = Bench(
            root, stack.enter_context(services.nginx(root)), stack.enter_context(services.blackbox(root)), say, times
        )
        for name, part in known.items():
            if not parts or name in parts:
                say(name)
                figures += part(bench)
    return figures


class Bench:
    """What every part needs."""

    def __init__(self, root: Path, web: Daemon, blackbox: Daemon, say: Say, times: int) -> None:
        self.root, self.web, self.blackbox, self.say, self.times = root, web, blackbox, say, times

    def plugin(self, name: str) -> Path:
        """Return a Nagios plugin."""
        return self.root / "usr/lib/nagios/plugins" / name

    def rounds(self, contenders: dict[str, Callable[[], Usage]]) -> dict[str, list[Usage]]:
        """Measure in interleaved rounds."""
        return rounds(contenders, self.times, lambda line: self.say(f"  {line}"))


def engine(probes: Sequence[dict[str, Any]], concurrency: int, expected: dict[str, int]) -> Callable[[], Usage]:
    """Return a run of the engine as a program of its own; it must find what is expected."""
    path = BUILD / f"probes-{zlib.crc32(json.dumps(probes).encode())}.json"
    path.write_text(json.dumps(probes), encoding="utf-8")

    def once() -> Usage:
        ran = run(
            [PYTHON, "-S", ROOT / "tests/bench/ask.py", path, str(concurrency)],
            environment={"PYTHONPATH": str(LIBRARY), "PYTHONDONTWRITEBYTECODE": ""},
        )
        said = json.loads(ran.output)
        if said["counts"] != expected:
            raise BenchError(f"the engine found {said['counts']}, expected {expected}: {said['wrong']}")
        return replace(ran.usage, rss_mib=said["rss_kib"] / 1024)

    return once


def shell(script: str, **options: Any) -> Usage:
    """Run a loop of the shell."""
    return run(["/bin/sh", "-c", script], **options).usage


def scrape(bench: Bench, targets: Sequence[str]) -> Callable[[], Usage]:
    """Return a run of blackbox_exporter over targets, 20 at once; every one must be good."""
    place = BUILD / "scraped"
    config = BUILD / "scrape.curl"
    lines = ["silent", "no-progress-meter"]
    for number, target in enumerate(targets):
        lines.append(f'url = "http://127.0.0.1:{bench.blackbox.http}/probe?module=json&target={target}"')
        lines.append(f'output = "{place}/{number}"')
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def once() -> Usage:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        ran = run(["curl", "--parallel", "--parallel-max", "20", "--config", config], daemons=bench.blackbox.pids)
        good = sum("\nprobe_success 1" in path.read_text(encoding="utf-8") for path in place.iterdir())
        if good != len(targets):
            raise BenchError(f"blackbox_exporter found {good} of {len(targets)} targets good")
        return replace(ran.usage, rss_mib=peak_rss(bench.blackbox.pids[0]))

    return once


def _figures(name: str, unit: str, taken: dict[str, list[Usage]], value: Callable[[Usage], float]) -> Iterator[Figure]:
    """Yield our figure beside each peer's: the first peer's under the figure's own name."""
    ours, *peers = taken
    for number, peer in enumerate(peers):
        suffix = f".vs_{peer.split()[0].removesuffix(',')}" if number else ""
        yield figure(
            f"{name}{suffix}", unit, [value(one) for one in taken[ours]], peer, [value(one) for one in taken[peer]]
        )


def http_1000(bench: Bench) -> Iterator[Figure]:
    """CPU for each of 1,000 different addresses: status and a value in the JSON body."""
    base = f"http://127.0.0.1:{bench.web.http}/probe"
    probes = [
        {"name": f"p{number}", "url": f"{base}/{number}", "expect": ["status == 200", 'json.status == "ok"']}
        for number in range(TARGETS)
    ]
    yield from _web(bench, "http_1000", probes, check_http=f"-p {bench.web.http}", curl="", base=base)


def tls_300(bench: Bench) -> Iterator[Figure]:
    """CPU for each of 300 addresses over TLS, each with a handshake of its own and RSA keys."""
    base = f"https://127.0.0.1:{bench.web.https}/probe"
    probes = [
        {
            "name": f"p{number}",
            "url": f"{base}/{number}",
            "expect": ["status == 200", 'json.status == "ok"'],
            "ca_file": str(BUILD / "ca.pem"),
        }
        for number in range(TLS_TARGETS)
    ]
    yield from _web(
        bench, "tls_300", probes, check_http=f"-S -p {bench.web.https}", curl=f"--cacert {BUILD}/ca.pem", base=base
    )


def _web(
    bench: Bench, name: str, probes: Sequence[dict[str, Any]], *, check_http: str, curl: str, base: str
) -> Iterator[Figure]:
    count = len(probes)
    loop = min(LOOP_TARGETS, count)
    scaled = f"{loop} of {count}, scaled"
    plugin = f'{bench.plugin("check_http")} -I 127.0.0.1 {check_http} -e 200 -s \'"status":"ok"\' -t 5'
    numbers = f"n=0; while [ $n -lt {loop} ]; do"
    taken = bench.rounds(
        {
            "quai": engine(probes, AT_ONCE, {"ok": count}),
            f"blackbox_exporter {version('prometheus-blackbox-exporter')}, with its client": scrape(
                bench, [str(probe["url"]) for probe in probes]
            ),
            f"check_http {version('monitoring-plugins-basic')} in a loop ({scaled})": lambda: shell(
                f"{numbers} {plugin} -u /probe/$n >/dev/null || exit 1; n=$((n+1)); done"
            ).scaled(count / loop),
            f"curl in a loop, status only ({scaled})": lambda: shell(
                f"{numbers} curl -fsS -m 5 {curl} -o /dev/null {base}/$n || exit 1; n=$((n+1)); done"
            ).scaled(count / loop),
        }
    )
    yield from _figures(f"probe.{name}.cpu_ms", "ms CPU per probe", taken, lambda usage: usage.cpu_s * 1000 / count)
    memory = {peer: usages for peer, usages in taken.items() if usages[0].rss_mib is not None}
    yield from _figures(f"probe.{name}.rss_mib", "MiB at most", memory, lambda usage: usage.rss_mib or 0.0)
    ours, blackbox, *_rest = taken
    pair = {ours: taken[ours], blackbox: taken[blackbox]}
    yield from _figures(f"probe.{name}.wall_s", "s", pair, lambda usage: usage.wall_s)


def hang(bench: Bench) -> Iterator[Figure]:
    """Wall time for 1,000 targets of which 20 never answer: the limit is 2 s for each."""
    with services.silent() as deaf:
        every = TARGETS // HANGING
        ports = [deaf if number % every == every // 2 else bench.web.http for number in range(TARGETS)]
        urls = [f"http://127.0.0.1:{port}/probe/{number}" for number, port in enumerate(ports)]
        probes = [
            {"name": f"p{number}", "url": url, "timeout": HANG_SECONDS, "expect": ["status == 200"]}
            for number, url in enumerate(urls)
        ]
        listing = BUILD / "hang.urls"
        listing.write_text("\n".join(urls) + "\n", encoding="utf-8")
        command = f"xargs -P20 -n1 curl -fsS -o /dev/null -m {HANG_SECONDS} < {listing} 2>/dev/null"
        taken = bench.rounds(
            {
                "quai": engine(probes, AT_ONCE, {"ok": TARGETS - HANGING, "timeout": HANGING}),
                # 123: some of the commands failed, as they must.
                "xargs -P20 curl": lambda: shell(command, expect=(123,)),
            }
        )
    yield from _figures("probe.hang_20_of_1000.wall_s", "s", taken, lambda usage: usage.wall_s)
    yield from _figures("probe.hang_20_of_1000.cpu_s", "s CPU", taken, lambda usage: usage.cpu_s)


def host_run(bench: Bench) -> Iterator[Figure]:
    """CPU of what a host does every minute: 20 probes in one start of Python, beside 20 plugins."""
    place = BUILD / "host"
    place.mkdir(exist_ok=True)
    now = time.time()
    for name in ("backup-1.zst", "beat", "drill"):
        (place / name).write_bytes(b"x" * 4096)
        os.utime(place / name, (now, now))
    (place / "app.log").write_text("fine\n" * 1000, encoding="utf-8")
    web, port = f"http://127.0.0.1:{bench.web.http}/probe", bench.web.http
    limits: dict[str, Any] = {"warn": [], "crit": []}
    probes: list[dict[str, Any]] = [
        *(
            {"name": f"web{number}", "url": f"{web}/{number}", "expect": ["status == 200", 'json.status == "ok"']}
            for number in range(8)
        ),
        {"name": "port1", "type": "tcp", "port": port},
        {"name": "port2", "type": "tcp", "port": bench.web.https},
        {"name": "disk1", "type": "disk", "path": "/", **limits},
        {"name": "disk2", "type": "disk", "path": str(BUILD), **limits},
        {"name": "memory", "type": "memory", **limits},
        {"name": "load", "type": "load", **limits},
        {"name": "process", "type": "process", "match": "nginx: master"},
        {"name": "log", "type": "log", "path": str(place / "*.log"), "match": "ERROR"},
        {"name": "backup", "type": "backup", "glob": str(place / "backup-*")},
        {"name": "beat", "type": "heartbeat", "file": str(place / "beat"), "max_age": 36000},
        {"name": "drill", "type": "drill", "success_file": str(place / "drill")},
        {"name": "size", "type": "size", "path": str(place)},
    ]
    plugins = [
        *(f'check_http -I 127.0.0.1 -p {port} -u /probe/{number} -e 200 -s \'"status":"ok"\'' for number in range(8)),
        f"check_tcp -H 127.0.0.1 -p {port}",
        f"check_tcp -H 127.0.0.1 -p {bench.web.https}",
        "check_disk -w 1% -c 1% -p /",
        f"check_disk -w 1% -c 1% -p {BUILD}",
        "check_swap -w 1% -c 1% -n ok",
        "check_load -w 999,999,999 -c 999,999,999",
        "check_procs -c 1: -a nginx",
        f"check_log -F {place}/app.log -O {place}/app.old -q ERROR",
        *(
            f"check_file_age -w 99999 -c 99999 -f {place}/{name}"
            for name in ("backup-1.zst", "beat", "drill", "app.log")
        ),
    ]
    script = "; ".join(
        f"{shlex.quote(str(bench.plugin(line.split()[0])))} {line.partition(' ')[2]}" for line in plugins
    )
    (place / "app.old").write_text((place / "app.log").read_text(encoding="utf-8"), encoding="utf-8")
    environment = {
        "PERL5LIB": str(bench.root / "usr/lib/nagios/plugins"),
        "PATH": f"{bench.plugin('')}:{os.environ['PATH']}",
    }
    curls = "".join(f"curl -fsS -m 5 -o /dev/null {web}/{number} || exit 1; " for number in range(20))
    taken = bench.rounds(
        {
            "quai": engine(probes, 20, {"ok": 20}),
            "watch": watch(probes),
            "20 Nagios plugins, one after another": lambda: shell(script, environment=environment),
            "curl, 20 addresses": lambda: shell(curls),
        }
    )
    whole = {"watch": taken.pop("watch"), **{name: taken[name] for name in list(taken)[1:2]}}
    yield from _figures("probe.host_run_20.cpu_s", "s CPU", taken, lambda usage: usage.cpu_s)
    yield from _figures("probe.host_run_20_watch.cpu_s", "s CPU", whole, lambda usage: usage.cpu_s)


def watch(probes: Sequence[dict[str, Any]]) -> Callable[[], Usage]:
    """Return a run of the watch as its timer starts it: probes, alerts, state, history, metrics."""
    root = BUILD / "watch"
    shutil.rmtree(root, ignore_errors=True)
    (root / "etc/quai/monitor").mkdir(parents=True)
    configuration = {
        "host": "bench",
        "languages": ["en"],
        "interval": 60,
        "concurrency": 20,
        "probes": [{**probe, "every": 0.001} for probe in probes],
        "policies": {},
        "channels": {},
        "own_fault_channels": [],
        "mail": {"from": "quai@bench.invalid"},
        "messages_per_hour": 20,
        "projects": {},
        "uplink_probe": "",
        "textfile": "/quai.prom",
        "ping": {"url": "", "start": False},
        "peers": [],
        "report": {"directory": "/page", "mail_to": [], "url": ""},
    }
    (root / "etc/quai/monitor/config.json").write_text(json.dumps(configuration), encoding="utf-8")
    module = "ansible_collections.quai.ops.plugins.module_utils.quai_monitor"
    environment = {"PYTHONPATH": str(LIBRARY), "PYTHONDONTWRITEBYTECODE": ""}

    def once() -> Usage:
        ran = run([PYTHON, "-S", "-m", module, "run", "--root", root], environment=environment)
        state = json.loads((root / "var/lib/quai/monitor/state.json").read_text(encoding="utf-8"))
        bad = [name for name, entry in state["probes"].items() if entry["status"] != "ok"]
        if state["run"]["probes"] != len(probes) or bad:
            raise BenchError(f"the watch ran {state['run']['probes']} probes, and these are bad: {bad}: {ran.output}")
        return ran.usage

    once()  # the first run makes what later ones find
    return once


def in_ansible(bench: Bench) -> Iterator[Figure]:
    """CPU of 20 probes as one task beside uri in a loop; a play that does nothing is taken off both."""
    web = f"http://127.0.0.1:{bench.web.http}/probe"
    probes = [
        {"name": f"p{number}", "url": f"{web}/{number}", "expect": ["status == 200", 'json.status == "ok"']}
        for number in range(20)
    ]
    uri = {
        "name": "Ask",
        "ansible.builtin.uri": {"url": f"{web}/{{{{ item }}}}", "return_content": True},
        "register": "answer",
        "failed_when": "answer.status != 200 or answer.json.status != 'ok'",
        "loop": list(range(20)),
    }
    nothing = play("nothing", {"name": "Nothing", "ansible.builtin.meta": "noop"})
    ours = play("ours", {"name": "Ask", "quai.ops.health_probe": {"probes": probes}})
    theirs = play("uri", uri)
    taken = bench.rounds({"nothing": nothing, "quai": ours, "uri in a loop": theirs})
    empty = sorted(taken.pop("nothing"), key=lambda usage: usage.cpu_s)[bench.times // 2]
    bench.say(f"  a play that does nothing: {empty.cpu_s:.2f} s CPU, taken off")
    less = {name: [usage.less(empty) for usage in usages] for name, usages in taken.items()}
    yield from _figures("probe.ansible_20.cpu_s", "s CPU", less, lambda usage: usage.cpu_s)
    yield from _figures("probe.ansible_20.wall_s", "s", less, lambda usage: usage.wall_s)


def play(name: str, task: dict[str, Any]) -> Callable[[], Usage]:
    """Return a run of a play with one task, on this machine."""
    path = BUILD / f"play-{name}.yml"
    document = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}]
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    # Nobody's own settings.
    settings = BUILD / "ansible.cfg"
    settings.write_text("", encoding="utf-8")
    environment = {
        "ANSIBLE_COLLECTIONS_PATH": str(LIBRARY),
        "ANSIBLE_CONFIG": str(settings),
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_PYTHON_INTERPRETER": PYTHON,
        "ANSIBLE_LOCALHOST_WARNING": "0",
    }
    program = Path(sys.executable).with_name("ansible-playbook")
    return lambda: run([program, "-i", "localhost,", path], environment=environment, limit=600).usage
