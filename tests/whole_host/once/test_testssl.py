# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What testssl.sh, an independent judge, finds in the sites: nothing of medium weight or worse, and no new trifle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import containers, images
from lab.console import Console
from lab.engine import client
from lab.names import LABEL_LAB, LABEL_ROLE
from lab.wait import until
from tests.whole_host.subject import DOMAINS, Subject

SITES = ("api", "app")
_HERE = Path(__file__).parent
_BAD = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}
# Protocols, cipher classes, forward secrecy, preferences, certificate, headers, known attacks. Left out: how 40 clients
# would connect, which takes as long as all of these and finds no weakness.
_LOOK = "-p -s -f -P -S -h -U"
_AT_ONCE = 24


@pytest.fixture(scope="module")
def judge(subject: Subject) -> Iterator[Any]:
    """A machine beside the host that has testssl.sh and trusts the lab's ACME CA."""
    lab = subject.lab
    image = images.Built("quai-lab-testssl:latest", _HERE / "testssl", {}, (images.base("debian13"),))
    images.ensure([image], Console())
    container = client().containers.run(
        image.ref,
        ["sleep", "infinity"],
        name=lab.container("testssl"),
        detach=True,
        init=True,
        network=lab.network,
        labels={LABEL_LAB: lab.name, LABEL_ROLE: "testssl"},
        # The OCSP responder's name is the lab's.
        dns=[lab.dns],
    )
    container.put_archive("/", containers.archive({"/root/ca.pem": containers.File(subject.authority.read_bytes())}))
    yield container
    container.remove(force=True)


def stapled(judge: Any, subject: Subject, site: str) -> bool:
    """Whether handshakes carry an OCSP answer: many at once, because each worker of nginx asks for its own."""
    command = f"openssl s_client -connect {subject.address}:443 -servername {DOMAINS[site]} -status </dev/null 2>&1"
    # One after the other they could all come to the same worker.
    many = f"for one in {{1..{_AT_ONCE}}}; do {command} & done | grep -c 'OCSP Response Status: successful'"
    return containers.run(judge, "/bin/bash", "-c", many)[1].strip() == str(_AT_ONCE)


@pytest.fixture(scope="module")
def findings(subject: Subject, judge: Any) -> dict[str, list[dict[str, str]]]:
    """All findings by site; both sites are looked at at once, because most of it is waiting."""
    options = f"--quiet --color 0 --warnings off {_LOOK} --add-ca /root/ca.pem --ip {subject.address}"
    runs = " & ".join(
        f"testssl {options} --jsonfile /root/{site}.json {DOMAINS[site]} > /root/{site}.log 2>&1" for site in SITES
    )
    for site in SITES:
        until(f"{site} to staple what the CA's OCSP responder says", partial(stapled, judge, subject, site), seconds=60)
    containers.run(judge, "/bin/bash", "-c", f"{runs} & wait")
    return {site: json.loads(*containers.read(judge, f"/root/{site}.json").values()) for site in SITES}


@pytest.mark.parametrize("site", SITES)
def test_nothing_medium_or_worse(findings: dict[str, list[dict[str, str]]], site: str) -> None:
    """No weakness that anyone would have to act on."""
    # That it looked at all: protocols, ciphers, certificate, headers, the known attacks.
    looked_at = {one["id"] for one in findings[site]}
    assert looked_at >= {
        "TLS1_2",
        "TLS1_3",
        "cipherlist_LOW",
        "cert_chain_of_trust",
        "HSTS_time",
        "heartbleed",
        "ROBOT",
    }
    assert {one["id"]: one["finding"] for one in findings[site] if one["severity"] in _BAD} == {}


@pytest.mark.parametrize("site", SITES)
def test_trifles_are_known(findings: dict[str, list[dict[str, str]]], site: str) -> None:
    """What it rates LOW is exactly what testssl.yml explains; what it could not tell is explained there too."""
    known = yaml.safe_load((_HERE / "testssl.yml").read_text("utf-8"))
    by_severity = {
        level: {one["id"] for one in findings[site] if one["severity"] == level} for level in ("LOW", "WARN")
    }
    assert by_severity["LOW"] == {entry["id"] for entry in known["low"]}
    assert by_severity["WARN"] <= {entry["id"] for entry in known["unknown"]}


@pytest.mark.parametrize("site", SITES)
def test_grade(findings: dict[str, list[dict[str, str]]], site: str) -> None:
    """The overall grade, as SSL Labs would count."""
    by_id = {one["id"]: one["finding"] for one in findings[site]}
    assert by_id["overall_grade"] == "A+"
