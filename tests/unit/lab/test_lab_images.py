# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from lab import apps, images
from lab.dockerfile import context_key, parents
from lab.errors import LabError
from lab.images import Built, Image, Rootfs


@pytest.mark.parametrize(
    ("text", "args", "expected"),
    [
        pytest.param("FROM debian", {}, ["debian:latest"], id="tag"),
        pytest.param("FROM host:5000/a/b", {}, ["host:5000/a/b:latest"], id="a port is no tag"),
        pytest.param("ARG BASE=x:1\nFROM ${BASE}", {}, ["x:1"], id="default of an argument"),
        pytest.param("ARG BASE=x:1\nFROM $BASE", {"BASE": "y:2"}, ["y:2"], id="given argument"),
        pytest.param(
            "from a:1 as build\nRUN x\nFROM b:1\nCOPY --from=build /a /a", {}, ["a:1", "b:1"], id="two parents"
        ),
        pytest.param("FROM a:1 AS one\nFROM one AS two\nFROM two", {}, ["a:1"], id="own stages"),
        pytest.param("FROM --platform=linux/amd64 a:1\n", {}, ["a:1"], id="option"),
        pytest.param("# FROM z\nFROM scratch\n", {}, [], id="comment and scratch"),
    ],
)
def test_parents(text: str, args: Mapping[str, str], expected: list[str]) -> None:
    assert parents(text, args) == expected


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM quai-base:debian13\n")
    (tmp_path / ".dockerignore").write_text("# not sent\nnode_modules\n")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.js").write_text("1")
    (tmp_path / "node_modules").mkdir()
    return tmp_path


class TestContextKey:
    def test_stays_while_nothing_that_is_sent_changes(self, context: Path) -> None:
        before = context_key(context, {"V": "1"}, ["p"])
        (context / "node_modules" / "x.js").write_text("installed")
        (context / "src" / "a.js").touch()
        assert context_key(context, {"V": "1"}, ["p"]) == before

    def test_changes_with_content_mode_name_arguments_and_parents(self, context: Path) -> None:
        keys = [context_key(context, {"V": "1"}, ["p"])]
        keys += [context_key(context, {"V": "2"}, ["p"]), context_key(context, {"V": "1"}, ["q"])]
        source = context / "src" / "a.js"
        source.write_text("2")
        keys.append(context_key(context, {"V": "1"}, ["p"]))
        source.chmod(0o755)
        keys.append(context_key(context, {"V": "1"}, ["p"]))
        source.rename(context / "src" / "b.js")
        keys.append(context_key(context, {"V": "1"}, ["p"]))
        assert len(set(keys)) == 6


def _image(ref: str, *needs: Image, context: str = "") -> Built:
    return Built(ref, Path(context or ref), {}, needs)


class TestOrder:
    A = _image("a:1")
    B = _image("b:1", A)
    C = _image("c:1", A)
    D = _image("d:1", B, C)

    def test_parents_come_first_and_each_once(self) -> None:
        order = [image.ref for image in images.missing([self.D, self.B], lambda _: False)]
        assert sorted(order) == ["a:1", "b:1", "c:1", "d:1"]
        assert order[0] == "a:1"
        assert order[-1] == "d:1"

    def test_what_is_present_needs_neither_itself_nor_its_parents(self) -> None:
        assert images.missing([self.D], lambda image: image.ref == "d:1") == []
        assert images.missing([self.D], lambda image: image.ref in {"b:1", "c:1"}) == [self.D]

    def test_waves_hold_only_what_earlier_waves_allow(self) -> None:
        waves = images.waves([self.A, self.B, self.C, self.D])
        assert [[image.ref for image in wave] for wave in waves] == [["a:1"], ["b:1", "c:1"], ["d:1"]]
        assert images.waves([]) == []

    def test_siblings_share_a_context(self) -> None:
        wave = [_image("a:1", context="a"), _image("b:1"), _image("a:2", context="a")]
        assert [[image.ref for image in group] for group in images.siblings(wave)] == [["a:1", "a:2"], ["b:1"]]


def test_root_file_systems_get_security_updates() -> None:
    assert images.base("debian12").sources == [
        "deb http://deb.debian.org/debian bookworm main",
        "deb http://deb.debian.org/debian bookworm-updates main",
        "deb http://deb.debian.org/debian-security bookworm-security main",
    ]


def test_every_image_of_a_system_has_its_own_key() -> None:
    assert len({image.key for s in images.SUITES for image in (images.base(s), images.host(s))}) == 4


def test_an_unknown_system_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LabError, match="debian11") as caught:
        images.base("debian11")
    assert "debian12, debian13" in caught.value.fix


class TestImagesYml:
    def _write(self, directory: Path, text: str, **dockerfiles: str) -> Path:
        for name, content in dockerfiles.items():
            (directory / name).mkdir()
            (directory / name / "Dockerfile").write_text(content)
        (directory / "images.yml").write_text(text)
        return directory / "images.yml"

    def test_local_images_are_parents_and_the_others_are_published(self, tmp_path: Path) -> None:
        listing = self._write(
            tmp_path,
            "- {name: node, context: node, local: true}\n"
            "- {name: shop/api, context: api, tags: [{tag: '1.0', args: {V: 1}}, {tag: '1.1'}]}\n",
            node="FROM quai-base:debian13\n",
            api="FROM node\n",
        )
        published = apps.load(listing)
        assert [(app.name, app.tag, app.image.ref) for app in published] == [
            ("shop/api", "1.0", "quai-lab/shop/api:1.0"),
            ("shop/api", "1.1", "quai-lab/shop/api:1.1"),
        ]
        (node,) = published[0].image.parents
        assert isinstance(node, Built)
        assert node.ref == "node:latest"
        assert [type(parent) for parent in node.parents] == [Rootfs]
        assert published[0].image.args == {"V": "1"}

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            pytest.param("a: [", "cannot be read", id="broken YAML"),
            pytest.param("a: 1", "is not a list", id="no list"),
            pytest.param("- {name: a}", "image 1", id="no context"),
            pytest.param("- {name: a, context: a, colour: red}", "image 1", id="unknown key"),
            pytest.param("- {name: a, context: nowhere}", "nowhere/Dockerfile does not exist", id="no Dockerfile"),
            pytest.param("- {name: a, context: api}", "starts FROM node:latest, which is not", id="unknown parent"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path: Path, text: str, reason: str) -> None:
        with pytest.raises(LabError, match=reason):
            apps.load(self._write(tmp_path, text, api="FROM node\n"))

    def test_the_applications_of_the_repository_are_read(self) -> None:
        assert {"masstock/backend", "redis"} <= {app.name for app in apps.load(apps.MASSTOCK)}
