# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m lab <verb>. The lab is chosen by QUAI_LAB (default: lab) and QUAI_LAB_NET (default: 10.213.0, or auto)."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker.errors
import requests

from lab import apps, containers, engine, hosts, images, mail, main_job, services, topology
from lab.console import Console, table
from lab.errors import LabError
from lab.names import LABEL_ROLE, ROOT, Lab, directory, lab_name, lab_net
from lab.topology import DEFAULT_HOSTS, DEFAULT_ZONES, Plan
from lab.wait import lock
from lab.zones import parse_zone

Arguments = argparse.Namespace

_PACKAGES = {"dns": "bind9", "registry": "docker-registry", "acme": "pebble", "mail": "python3-aiosmtpd"}
_VERSIONS = {
    **{role: ("dpkg-query", "-W", "-f", "${Package} ${Version}", package) for role, package in _PACKAGES.items()},
    hosts.ROLE: ("sh", "-c", "echo Debian $(cat /etc/debian_version)"),
}


def _running() -> Lab:
    return topology.running(lab_name(os.environ))


def _host(text: str) -> tuple[str, str]:
    name, equals, system = text.partition("=")
    if not (name and equals):
        raise LabError(f"--host {text!r} is not a host", "write it like vps2=debian12")
    images.base(system)
    return name, system


def _plan(arguments: Arguments) -> Plan:
    return Plan(
        hosts=dict(map(_host, arguments.host)) if arguments.host else DEFAULT_HOSTS,
        zones=dict(map(parse_zone, arguments.zone)) if arguments.zone else ({} if arguments.host else DEFAULT_ZONES),
        services=arguments.service or services.SERVICES,
    )


def _up(arguments: Arguments, console: Console) -> str:
    plan = _plan(arguments)
    engine.ensure(console)
    lab = topology.open_lab(lab_name(os.environ), lab_net(os.environ))
    with lock(f"lab-{lab.name}", f"lab {lab.name}", console):
        topology.up(lab, plan, console)
        if "registry" in plan.services and arguments.apps != "none":
            apps.ensure(lab, Path(arguments.apps).resolve(), console)
    console.save_timings(lab.directory / "timings.json", "up")
    return f"lab {lab.name} is up on {lab.net}.0/24"


def _main_job(arguments: Arguments, console: Console) -> str:
    _up(arguments, console)
    lab = _running()
    main_job.run(lab, console)
    console.save_timings(lab.directory / "timings.json", "main-job")
    return f"{main_job.PROJECT} {main_job.VERSION} answers over TLS on all of its domains"


def _down(arguments: Arguments, console: Console) -> str:
    name = lab_name(os.environ)
    if engine.answers():
        with lock(f"lab-{name}", f"lab {name}", console):
            topology.down(name, console)
        if not arguments.keep_engine:
            engine.stop_if_ours(console)
    return f"lab {name} is gone; its images are kept (python -m lab purge removes them)"


def _status(_: Arguments, console: Console) -> str:
    name = lab_name(os.environ)
    if not engine.answers():
        return f"lab {name} is down: no Docker engine answers"
    found = containers.of_lab(name)
    if not found:
        return f"lab {name} is down"
    with ThreadPoolExecutor(max_workers=8) as pool:
        rows = list(pool.map(_row, found))
    for line in table(rows, ("role", "container", "address", "state", "software", "image")):
        console.line(f"  {line}")
    console.line(f"  keys, authorities and logs: {directory(name).relative_to(ROOT)}/")
    return f"lab {name}: {sum(row[3] == 'running' for row in rows)} of {len(rows)} containers run"


def _row(container: Any) -> tuple[str, ...]:
    role = str(container.labels.get(LABEL_ROLE))
    version = containers.run(container, *_VERSIONS[role])[1] if container.status == "running" else ""
    tags = container.image.tags
    image = str(tags[0]) if tags else "one that was replaced since"
    return role, str(container.name), containers.address_of(container), str(container.status), version, image


def _host_add(arguments: Arguments, console: Console) -> str:
    engine.ensure(console)
    lab = _running()
    present = [service for service in services.SERVICES if containers.find(lab, service)]
    plan = Plan(hosts={arguments.name: arguments.system}, zones=topology.zones_of(lab), services=present)
    with lock(f"lab-{lab.name}", f"lab {lab.name}", console):
        topology.up(lab, plan, console)
    return f"host {arguments.name} is at {hosts.known(lab)[arguments.name]}"


def _host_remove(arguments: Arguments, _: Console) -> str:
    topology.remove_host(_running(), arguments.name)
    return f"host {arguments.name} is gone"


def _hosts(_: Arguments, __: Console) -> str:
    lab = _running()
    print(json.dumps([hosts.connection(lab, name, address) for name, address in hosts.known(lab).items()], indent=2))
    return ""


def _mail(_: Arguments, console: Console) -> str:
    found = mail.messages(_running())
    for message in found:
        console.line(f"  {message['X-MailFrom']} -> {message['X-RcptTo']}: {message['Subject']}")
    return f"{len(found)} messages"


def _shell(arguments: Arguments, _: Console) -> str:
    lab = _running()
    known = hosts.known(lab)
    if arguments.name not in known:
        raise LabError(f"lab {lab.name} has no host {arguments.name!r}", f"it has: {', '.join(known) or 'none'}")
    command = [*hosts.ssh_command(lab, known[arguments.name]), *arguments.command]
    os.execvp(command[0], command)  # noqa: S606 - ssh takes this process's place and terminal


def _images(_: Arguments, console: Console) -> str:
    engine.ensure(console)
    images.ensure([images.services(), *map(images.base, images.SUITES), *map(images.host, images.SUITES)], console)
    return "all images of the lab are built"


def _purge(_: Arguments, console: Console) -> str:
    engine.ensure(console)
    with console.step("Remove the images that the lab made"):
        images.purge(console)
    return "cached images are gone"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")

    def verb(name: str, run: Callable[[Arguments, Console], str], text: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        return made

    up = verb("up", _up, "engine, images, network, services, hosts, applications; what is there already stays")
    up.add_argument("--host", action="append", metavar="NAME=SYSTEM", help="instead of vps1=debian13; repeatable")
    up.add_argument("--zone", action="append", metavar="DOMAIN=HOST:NAMES", help="like masstock.fr=vps1:@,app,api")
    up.add_argument("--service", action="append", choices=services.SERVICES, help="instead of all; repeatable")
    up.add_argument("--apps", default=str(apps.MASSTOCK), metavar="FILE", help="images.yml to publish, or none")
    job = verb(
        "main-job", _main_job, "up, then provision and deploy MasStock as an operator would, then ask its domains"
    )
    job.set_defaults(host=None, zone=None, service=None, apps=str(apps.MASSTOCK))
    down = verb("down", _down, "remove everything of this lab, and the engine if quai started it")
    down.add_argument("--keep-engine", action="store_true", help="leave the engine running in any case")
    verb("status", _status, "what runs where")
    verb("hosts", _hosts, "the servers and how to reach them, as JSON")
    verb("mail", _mail, "what arrived at the mail sink")
    verb("images", _images, "build every image that the lab may need")
    verb("purge", _purge, "remove the cached images")
    add = verb("host-add", _host_add, "one more bare server in a running lab")
    add.add_argument("name")
    add.add_argument("system", choices=sorted(images.SUITES))
    remove = verb("host-remove", _host_remove, "remove a server and its data")
    remove.add_argument("name")
    shell = verb("shell", _shell, "log in to a server, or run a command there")
    shell.add_argument("name", nargs="?", default="vps1")
    shell.add_argument("command", nargs=argparse.REMAINDER)
    return parser


def main() -> int:
    """Run a verb; the last line says how it went."""
    console = Console()
    arguments = _parser().parse_args()
    try:
        outcome = arguments.run(arguments, console)
    except LabError as error:
        return _failed(console, error.reason, error.fix)
    except (docker.errors.DockerException, requests.RequestException) as error:
        return _failed(console, f"the Docker engine refused: {error}", "is it running? `docker info` tells")
    except OSError as error:
        return _failed(console, str(error), "")
    except KeyboardInterrupt:
        return _failed(console, "interrupted", "the same command continues where it was")
    if outcome:
        console.line(
            f"{console.paint('green', 'quai')}: {outcome} {console.paint('dim', f'({console.seconds:.1f} s)')}"
        )
    return 0


def _failed(console: Console, reason: str, fix: str) -> int:
    console.line(f"{console.paint('red', 'quai: failed')}: {reason}")
    if fix:
        console.line(f"  what to do: {fix}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
