# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault stops with one clear message and a non-zero exit, leaves the host as it was, and no visitor notices."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

import pytest
import yaml

from lab import containers, services
from lab.wait import until
from tests.faults import clone
from tests.whole_host import state
from tests.whole_host.operations import Operator, Run
from tests.whole_host.prober import Prober
from tests.whole_host.world import World

pytestmark = pytest.mark.lab

DECLARATION = "projects/masstock.yml"
Refused = Callable[..., str]


@pytest.fixture
def refused(served: World, visitors: Prober) -> Iterator[Callable[[Run], str]]:
    """Takes a run that must have failed and returns its one message. The host is compared before and after."""
    before = state.of(served.subject)

    def message(run: Run) -> str:
        assert run.code != 0, f"the run did not fail:\n{run.tail}"
        fatal = re.findall(r"^fatal: .*", run.output, flags=re.MULTILINE)
        assert len(fatal) == 1, f"one message is clear, {len(fatal)} are not:\n{run.tail}"
        assert "Traceback" not in run.output, run.tail
        assert "object has no attribute" not in run.output, run.tail
        return run.output

    yield message
    assert state.differences(before, state.of(served.subject)) == []
    visitors.nothing_failed()


def stated(output: str, *parts: str) -> None:
    """Assert that the message says all of this; wrapping of long lines plays no part."""
    flat = " ".join(output.split())
    missing = [part for part in parts if part not in flat]
    assert not missing, f"the message does not say {missing}:\n{output[-3000:]}"


def test_broken_yaml(operator: Operator, refused: Refused) -> None:
    """The line, and what the parser could not read there."""
    clone.edit(operator.tree, DECLARATION, "title: MasStock\n", "title: MasStock: the shop\n")
    stated(
        refused(operator.deploy("1.1.0", check=False)), "projects/masstock.yml:4:16: is not YAML", "no host was touched"
    )


def test_unknown_key(operator: Operator, refused: Refused) -> None:
    """With what was probably meant."""
    clone.edit(operator.tree, DECLARATION, "    read_timeout: 10m\n", "    read_timeuot: 10m\n")
    output = refused(operator.deploy("1.1.0", check=False))
    stated(output, "domains.n8n.read_timeuot", 'did you mean "read_timeout"', "no host was touched")


def test_wrong_type(operator: Operator, refused: Refused) -> None:
    """With the value, and what would be right; two mistakes are told at once."""
    clone.edit(operator.tree, DECLARATION, "    uid: 999\n", "    uid: redis\n")
    clone.edit(operator.tree, DECLARATION, "  cpus: 2\n", "  cpus: many\n")
    output = refused(operator.provision(check=False))
    stated(
        output, 'services.redis.uid is "redis", must be a whole number from 0 to 65535', 'cpus is "many"', "2 problems"
    )


def test_missing_secret(operator: Operator, refused: Refused) -> None:
    """With its name, and where to set it."""
    vault = operator.vault_file()
    content = yaml.safe_load(vault.read_text("utf-8"))
    del content["vault_masstock"]["JWT_SECRET"]
    vault.write_text(yaml.safe_dump(content), "utf-8")
    output = refused(operator.deploy("1.1.0", check=False))
    stated(output, "JWT_SECRET", "vault_masstock", "playbooks/secrets.yml", "no host was touched")


def test_taken_port(operator: Operator, refused: Refused, served: World) -> None:
    """With who has it."""
    clone.edit(operator.tree, DECLARATION, "    port: 8081\n", "    port: 8095\n")
    with background(served, "python3 -m http.server --bind 127.0.0.1 8095"):
        output = refused(operator.deploy("1.1.0", check=False))
    stated(output, "port 8095", "taken by python3")


@contextlib.contextmanager
def background(served: World, command: str) -> Iterator[None]:
    """A program that runs on the host meanwhile, as a unit, so that exactly it can be ended."""
    served.subject.run(f"systemd-run --quiet --unit=squatter {command}")
    try:
        until(
            "the port to be taken", lambda: served.subject.succeeds("ss -Hltn 'sport = 8095' | grep -q ."), seconds=10
        )
        yield
    finally:
        served.subject.run("systemctl stop squatter")


def test_unreachable_registry(operator: Operator, refused: Refused, served: World) -> None:
    """With the registry's name, before anything is stopped."""
    registry = containers.find(served.lab, "registry")
    assert registry is not None
    registry.stop(timeout=1)
    try:
        output = refused(operator.deploy("1.1.0", check=False))
    finally:
        registry.start()
        services.wait(served.lab, "registry")
    stated(output, "registry.lab:5000")


def test_image_that_does_not_exist(operator: Operator, refused: Refused) -> None:
    """A version that nobody has built."""
    stated(refused(operator.deploy("9.9.9", check=False)), "registry.lab:5000/masstock/", "9.9.9")


def test_image_that_never_becomes_healthy(operator: Operator, refused: Refused) -> None:
    """It is tried beside the running one, which is never touched; the end of its log is in the message."""
    # The guide's own figures would give it 130 s to fail.
    patience = ("-e", "docker_stack_ready_timeout=20")
    output = refused(operator.deploy("1.2.0-broken", "-e", "only=api", *patience, check=False))
    stated(output, "service api", "health check", "its log ends with", "serve as before")


def test_bad_site(operator: Operator, refused: Refused) -> None:
    """nginx refuses the staged tree, so nothing is written."""
    broken = "\noverrides:\n  nginx_tls_sites:\n    - {name: masstock-app, extra_config: no_such_directive on;}\n"
    path = operator.tree / DECLARATION
    path.write_text(path.read_text("utf-8") + broken, "utf-8")
    stated(refused(operator.provision(check=False)), 'unknown directive "no_such_directive"', "masstock-app.conf")


def test_too_little_room(operator: Operator, refused: Refused) -> None:
    """Room is asked for before anything is pulled."""
    output = refused(operator.deploy("1.1.0", "-e", "docker_stack_disk_free_mb=99000000", check=False))
    stated(output, "disk:", "MB free", "at least 9.9e+07 MB" if "9.9e+07" in output else "99000000", "enlarge the disk")


@contextlib.contextmanager
def full(served: World, directory: str) -> Iterator[None]:
    """The directory's file system has no byte left; what is in the directory stays readable."""
    run = served.subject.run
    run(f"cp -a {directory} /run/kept && mount -t tmpfs -o size=256k,mode=0755 full {directory}")
    run(f"cp -a /run/kept/. {directory}/")
    run(f"dd if=/dev/zero of={directory}/filler bs=1k 2>/dev/null || true")
    run(f"! dd if=/dev/zero of={directory}/more bs=4k count=1 2>/dev/null; rm -f {directory}/more")
    try:
        yield
    finally:
        run(f"umount {directory} && rm -r /run/kept")


def test_full_disk_at_a_release(operator: Operator, refused: Refused, served: World) -> None:
    """The definition cannot be written: said with its path, and the release is not begun."""
    with full(served, "/srv/masstock/stack"):
        output = refused(operator.deploy("1.1.0", check=False))
    stated(output, "No space left on device", "/srv/masstock/stack")


def test_full_disk_at_provisioning(operator: Operator, refused: Refused, served: World) -> None:
    """A site cannot be written: the old one is whole, and nginx goes on with it. With room again all is well."""
    clone.edit(operator.tree, DECLARATION, "    read_timeout: 10m\n", "    read_timeout: 11m\n")
    with full(served, "/etc/nginx/quai/sites"):
        output = refused(operator.provision(check=False))
        assert served.subject.succeeds("nginx -t -q")
    # The flag that nginx is to be reloaded was raised before the writing began; the next run lowers it.
    served.operator.provision()
    stated(output, "No space left on device", "/etc/nginx/quai/sites")


def test_certificate_that_cannot_be_had(operator: Operator, served: World, visitors: Prober) -> None:
    """A new domain that leads nowhere: its name and the reason are told, and the others never notice."""
    before = state.of(served.subject)
    lost = "domains:\n  lost:\n    names: [lost.example]\n    service: vitrine\n"
    clone.edit(operator.tree, DECLARATION, "domains:\n", lost)
    run = operator.provision(check=False)
    assert run.code != 0
    stated(run.output, "lost.example", "what was served before still is")
    assert not re.search(r"- (app\.|api\.|n8n\.)?masstock\.fr: ", run.output), "a good domain is blamed"
    # Without the mistake the host comes back to what it was.
    served.operator.provision()
    assert state.differences(before, state.of(served.subject)) == []
    visitors.nothing_failed()
