# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret is where it does not belong, after everything else has happened on this host."""

from __future__ import annotations

import base64
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.names import ROOT
from tests.whole_host.operations import Operator
from tests.whole_host.subject import Subject

_PATTERNS = "/root/patterns-of-the-test"
# Every place of the host where something is written.
_PLACES = "/etc /home /opt /root /run /srv /tmp /usr/local /var"
_ALLOWED = "/etc/quai/masstock/secrets/"
_LOGIN = "/etc/quai/docker/config.json"
# What the watch needs to ask as the applications do.
_WATCH = "/etc/quai/monitor/secrets.json"
_JOBS = "/etc/quai/maintenance/masstock.secrets.json"
# What the applications store: it is theirs, and it is their business to encrypt it.
_THEIRS = "/var/lib/docker/volumes/"


class Values(dict[str, str]):
    """Secrets that a failing test does not print."""

    def __repr__(self) -> str:
        return f"the values of {', '.join(self)}"


def forms(value: str) -> set[str]:
    """A secret as it may look once something has encoded it: as it is, in Base64 at any offset, in a URL, in JSON."""
    found = {value, urllib.parse.quote(value, safe=""), urllib.parse.quote(value), value.replace("/", r"\/")}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + value.encode()).decode()
        # The first and last characters depend on the neighbours.
        found.add(encoded[(0, 2, 3)[before] : -4])
    return found


@pytest.fixture(scope="module")
def values(operator: Operator, subject: Subject) -> Values:
    """Every secret of the project, and the registry's password."""
    found = Values({name: str(value) for name, value in operator.vault().items()})
    # Not the project's, but the environment's; a login is kept as Base64 of user:password.
    found["REGISTRY"] = (subject.lab.directory / "registry" / "password").read_text("utf-8")
    assert len(found) >= 8 and min(map(len, found.values())) >= 16
    return found


@pytest.fixture(scope="module")
def patterns(subject: Subject, values: Values) -> Iterator[str]:
    """A file with what is searched for. In a file, because an argument would be the very leak that is searched for."""
    lines = sorted({form for value in values.values() for form in forms(value)})
    assert min(map(len, lines)) >= 12
    subject.put(_PATTERNS, "\n".join(lines).encode())
    yield _PATTERNS
    subject.run(f"rm {_PATTERNS}")


def named(values: Values, text: str) -> list[str]:
    """Names of the secrets that a text holds; a failing test must not print the values."""
    return [name for name, value in values.items() if any(form in text for form in forms(value))]


def test_the_search_finds_them_where_they_belong(subject: Subject, operator: Operator, values: Values) -> None:
    """Each secret that a service gets is in its file, mode 0600; so the searches below would find it elsewhere."""
    held = subject.run(f"cat {_ALLOWED}*")
    declared = {name for name in values if name in subject.run(f"grep -ho '^[A-Z_0-9]*' {_ALLOWED}*.env")}
    assert {
        "REDIS_PASSWORD",
        "JWT_SECRET",
        "ENCRYPTION_KEY",
        "N8N_ENCRYPTION_KEY",
        "GEMINI_API_KEY",
        "DATABASE_URL",
    } <= declared
    assert set(named(values, held)) == declared
    assert set(subject.run(f"stat -c %a {_ALLOWED}*").split()) == {"600"}
    assert operator.vault_file().stat().st_mode & 0o777 == 0o600
    assert named(values, operator.vault_file().read_text("utf-8")) == [name for name in values if name != "REGISTRY"]
    assert named(values, subject.run(f"cat {_LOGIN}")) == ["REGISTRY"]
    assert set(named(values, subject.run(f"cat {_WATCH}"))) == {"REDIS_PASSWORD", "DEMO_PASSWORD", "SLACK_WEBHOOK_URL"}
    assert named(values, subject.run(f"cat {_JOBS}")) == ["REDIS_PASSWORD"]
    assert subject.run(f"stat -c %a {_LOGIN} {_WATCH} {_JOBS}").split() == ["600"] * 3


def test_files(subject: Subject, patterns: str) -> None:
    """Nothing on disk, whatever wrote it: logs, container configurations, leftovers of Ansible, nginx, the engine."""
    found = subject.run(
        f"grep --recursive --files-with-matches --fixed-strings --file={patterns} {_PLACES} 2>/dev/null || true"
    )
    paths = [path for path in found.splitlines() if path != patterns]
    assert [path for path in paths if path.startswith(_ALLOWED)], "the search does not even find the secrets' own files"
    # The engine's view of the same files, mounted into containers.
    own = {_LOGIN, _WATCH, _JOBS}
    assert own <= set(paths)
    assert [path for path in paths if not path.startswith((_ALLOWED, _THEIRS)) and path not in own] == []


def test_journal(subject: Subject, patterns: str) -> None:
    """Nothing in the journal, which compresses what it stores, so a search of its files would not see it."""
    subject.run("logger -t quai-test the journal is read")
    assert "the journal is read" in subject.run("journalctl --sync; journalctl -t quai-test --output=cat")
    assert subject.run(f"journalctl --all --output=export | grep -aFc --file={patterns} || true") == "0"


def test_container_logs_and_configurations(subject: Subject, values: Values) -> None:
    """Neither what services print, nor what the engine tells about them."""
    inspected = subject.run("docker inspect $(docker ps --all --quiet)")
    assert '"Name": "/masstock_api"' in inspected
    assert named(values, inspected) == []
    printed = subject.run("for one in $(docker ps --all --quiet); do docker logs $one 2>&1; done")
    assert "listening" in printed
    assert named(values, printed) == []


def test_process_list(subject: Subject, values: Values) -> None:
    """No argument of any process; the environment of the services is where they are."""
    arguments = subject.run("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' || true")
    assert "src/server.js" in arguments
    assert named(values, arguments) == []
    process = subject.run("pgrep -f '^node src/server.js' | head -1")
    assert "JWT_SECRET" in named(values, subject.run(f"tr '\\0' '\\n' < /proc/{process}/environ"))


def test_output_of_ansible(operator: Operator, subject: Subject, values: Values) -> None:
    """A release that changes everything, as verbose as it gets, with differences; and every log that the lab keeps."""
    subject.run(f"rm {_ALLOWED}* {_LOGIN}")
    runs = [
        operator.provision("-vvv", "--diff"),
        operator.deploy("1.1.0", "-vvv", "--diff"),
        operator.deploy("1.0.0", "-vvv", "--diff"),
    ]
    assert all(run.changed for run in runs)
    output = "".join(run.output for run in runs)
    # That this was as verbose as it gets, and that the files with secrets were written.
    assert all(part in output for part in ("invocation:", "compose.json", _LOGIN, f"{_ALLOWED}worker."))
    assert named(values, output) == []
    logs = [path for path in (ROOT / "build" / subject.lab.name).rglob("*.log") if path.is_file()]
    assert {path.name: leaked for path in logs if (leaked := named(values, path.read_text("utf-8", "replace")))} == {}


def test_repository(values: Values) -> None:
    """No file that git knows, or would add, holds one."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [ROOT / name for name in listing.stdout.split("\0") if name]
    assert Path(__file__) in files
    texts = {path: path.read_text("utf-8", "replace") for path in files if path.is_file()}
    assert {str(path): leaked for path, text in texts.items() if (leaked := named(values, text))} == {}
