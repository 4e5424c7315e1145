# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second project, declared and released by nothing but the README's words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab import apps, topology
from lab.names import ROOT
from lab.topology import DEFAULT_HOSTS, DEFAULT_ZONES, Plan
from lab.zones import Zone
from tests.whole_host import web
from tests.whole_host.operations import Operator
from tests.whole_host.prober import Prober
from tests.whole_host.world import World

pytestmark = pytest.mark.lab

DOMAIN = "hello.example"
_EXAMPLE = re.compile(r"^( *)<!-- example: ([^>]*) -->\n\s*```\w*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def examples(readme: str) -> dict[str, str]:
    """The marked blocks of the README by their marks, without the indentation of the list they stand in."""
    found = {}
    for indent, mark, block in _EXAMPLE.findall(readme):
        found[mark.strip()] = re.sub(f"^{indent}", "", block, flags=re.MULTILINE)
    return found


@pytest.fixture
def image_and_name(served: World, tmp_path: Path) -> Iterator[None]:
    """What the README leaves to the reader: an image in the registry and an A record that leads to the host."""
    listing = yaml.safe_load(apps.MASSTOCK.read_text("utf-8"))
    wanted = [{**one, "context": str(apps.MASSTOCK.parent / one["context"])} for one in listing if one.get("local")]
    vitrine = next(one for one in listing if one["name"] == "masstock/vitrine")
    wanted.append({**vitrine, "name": "hello/web", "context": str(apps.MASSTOCK.parent / vitrine["context"])})
    images = tmp_path / "images.yml"
    images.write_text(yaml.safe_dump(wanted), "utf-8")
    apps.ensure(served.lab, images, served.console)
    zones = {**DEFAULT_ZONES, DOMAIN: Zone(next(iter(DEFAULT_HOSTS)), ("@",))}
    topology.up(served.lab, Plan(zones=zones), served.console)
    yield
    topology.up(served.lab, Plan(), served.console)


@pytest.mark.usefixtures("image_and_name")
def test_by_the_readme(served: World, operator: Operator, visitors: Prober) -> None:
    """The file, the group, the commands; then the page is there, over TLS, and MasStock never noticed."""
    said = examples((operator.tree / "README.md").read_text("utf-8"))
    (operator.tree / "projects/hello.yml").write_text(said["projects/hello.yml"], "utf-8")
    with (operator.tree / "inventories/lab/hosts.yml").open("a", encoding="utf-8") as hosts:
        hosts.write("\n" + said["group hello"])
    commands = [line.split() for line in said["commands hello"].splitlines() if line.strip()]
    assert len(commands) == 2
    for command in commands:
        assert command[0] == "ansible-playbook"
        operator.play(*command[1:])
    answer = web.ask(served.subject.address, DOMAIN, authority=served.subject.authority)
    assert (answer.status, b"MasStock" in answer.body) == (200, True)
    assert set(served.subject.inspect(project="hello")) == {"web"}
    visitors.nothing_failed()
    # The second time nothing is left to do.
    assert [operator.play(*command[1:]).changed for command in commands] == [0, 0]


def test_the_readme_has_every_example() -> None:
    """A mark that is mistyped would be an example that nobody tries."""
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme.count("<!-- example:") == len(examples(readme)) == 3
