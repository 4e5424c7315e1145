# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job: a bare server becomes MasStock's, by the playbooks that an operator would run."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import hosts, https, services
from lab.console import Console, table
from lab.errors import LabError
from lab.names import ROOT, Lab
from lab.topology import DEFAULT_ZONES
from lab.wait import until

PROJECT = "masstock"
VERSION = "1.0.0"
PAGE = "quai.masstock.fr"  # the morning page, behind a password
# What each domain is asked for; the API and n8n have nothing to show at /.
_PATHS = {"api.masstock.fr": "/health", "n8n.masstock.fr": "/healthz"}
_ANSWER_SECONDS = 60
_RECAP = re.compile(r"^(\S+)\s*:\s*ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)")


def domains() -> list[str]:
    """The names that the project must answer under."""
    return [
        domain if name == "@" else f"{name}.{domain}" for domain, zone in DEFAULT_ZONES.items() for name in zone.names
    ]


def run(lab: Lab, console: Console) -> None:
    """Everything after `up`: secrets, provision, deploy, the question from outside, and how everything is."""
    steps = [
        ("Secrets", ["playbooks/secrets.yml", "-e", f"project={PROJECT}"]),
        ("Provision", ["playbooks/provision.yml"]),
        ("Deploy", ["deploy.yml", "-e", f"project={PROJECT}", "-e", f"version={VERSION}"]),
        ("Health", ["playbooks/health.yml"]),
    ]
    recaps = {title: _playbook(lab, title, arguments, console) for title, arguments in steps}
    address = hosts.known(lab)["vps1"]
    with ThreadPoolExecutor(4) as pool:
        answers = dict(
            zip(domains(), pool.map(lambda name: _answers(lab, name, address, console), domains()), strict=True)
        )
    _report(lab, address, recaps, answers, console)


def _playbook(lab: Lab, title: str, arguments: list[str], console: Console) -> str:
    """Run a playbook, showing its output as it comes; return what the recap says was changed."""
    log = lab.directory / "logs" / f"{title.lower()}.log"
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = ["ansible-playbook", "-i", "inventories/lab", *arguments]
    # Ours, not whichever comes first on the PATH.
    executable = Path(sys.executable).with_name("ansible-playbook")
    if not executable.exists():
        raise LabError(f"{executable} does not exist", "use the project's own Python: `make venv`, then `make up`")
    environment = {
        **os.environ,
        "QUAI_LAB": lab.name,
        "QUAI_LAB_NET": lab.net,
        "PYTHONUNBUFFERED": "1",
    }
    if console.stream.isatty():
        environment["ANSIBLE_FORCE_COLOR"] = "1"
    console.line(console.paint("bold", f"\n$ {' '.join(command)}"))
    recap: list[str] = []
    with console.step(f"{title} ({' '.join(arguments[:1])})"), log.open("w", encoding="utf-8") as kept:
        process = subprocess.Popen(
            [str(executable), *command[1:]],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None  # noqa: S101 - it was asked for
        for line in process.stdout:
            kept.write(line)
            console.line(f"    {line.rstrip()}")
            recap += recap_of(line)
        if process.wait():
            raise LabError(
                f"`{' '.join(command)}` ended with {process.returncode}",
                f"the reason is above and in {log.relative_to(ROOT)}; the command can be run again as it is",
            )
    return "; ".join(recap)


def recap_of(line: str) -> list[str]:
    """`host changed=n` out of a line of Ansible's recap, nothing out of any other line. Pure."""
    found = _RECAP.match(re.sub(r"\033\[[0-9;]*m", "", line))
    return [f"{found.group(1)} ok={found.group(2)} changed={found.group(3)}"] if found else []


def _answers(lab: Lab, domain: str, address: str, console: Console) -> str:
    """Ask a domain over TLS, trusting nothing but the lab's ACME CA; return the status."""
    path = _PATHS.get(domain, "/")

    account = f"{services.REGISTRY_USER}:{services.page_password(lab)}".encode()
    headers = {"Authorization": f"Basic {base64.b64encode(account).decode()}"} if domain == PAGE else {}

    def ask() -> int:
        answer = https.get(address, domain, path, authority=services.acme_root(lab), headers=headers)
        if answer.status != 200:
            raise LabError(f"status {answer.status}")
        return answer.status

    with console.step(f"https://{domain}{path} answers"):
        status = until(
            f"https://{domain}{path} at {address}",
            ask,
            seconds=_ANSWER_SECONDS,
            fix=f"look on the host: python -m lab shell vps1, then `docker ps` and /var/log/nginx (lab {lab.name})",
        )
    return str(status)


def _report(lab: Lab, address: str, recaps: dict[str, str], answers: dict[str, str], console: Console) -> None:
    root = services.acme_root(lab).relative_to(ROOT)
    console.line(f"\n{console.paint('bold', 'What is up')}")
    for domain, status in answers.items():
        url = f"https://{domain}{_PATHS.get(domain, '/')}"
        login = f" --user quai:$(cat {lab.directory.relative_to(ROOT)}/page/password)" if domain == PAGE else ""
        console.line(f"  {status}  curl{login} --cacert {root} --connect-to ::{address}: {url}")
    console.line("  the page of all hosts: build/health/index.html")
    console.line("  the host: .venv/bin/python -m lab shell vps1     the lab: make status")
    console.line(f"\n{console.paint('bold', 'What was changed')}")
    for title, recap in recaps.items():
        console.line(f"  {title.lower():<10} {recap}")
    console.line(f"\n{console.paint('bold', 'How long it took')}")
    rows = [(title, f"{seconds:.1f}") for title, seconds in console.timings if seconds >= 0.5]
    for line in table([*rows, ("all of it", f"{console.seconds:.1f}")], ("part", "seconds")):
        console.line(f"  {line}")
