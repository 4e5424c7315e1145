# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's images: root file systems by mmdebstrap, everything else by Dockerfiles on top of them.

Each image carries the key of what it was made from (see `dockerfile.context_key`), so it is made again exactly when
that changes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import docker.errors

from lab import engine
from lab.console import Console
from lab.dockerfile import context_key
from lab.engine import client
from lab.errors import LabError
from lab.names import BUILD, LABEL_KEY
from lab.wait import lock

SUITES = {"debian12": "bookworm", "debian13": "trixie"}
SERVICES_IMAGE = "quai-lab-services:latest"
_FILES = Path(__file__).resolve().parent / "files"
_LOGS = BUILD / "images"
_MIRROR = "http://deb.debian.org"
# The machine's own additions to the public authorities: npm and pip inside containers need them too.
_AUTHORITIES = Path("/usr/local/share/ca-certificates")


@dataclass(frozen=True)
class Rootfs:
    """A minimal Debian, security updates included."""

    ref: str
    suite: str

    # Bump when the commands below change what comes out.
    _recipe = 1

    @cached_property
    def authorities(self) -> list[Path]:
        return sorted(_AUTHORITIES.glob("**/*.crt"))

    @cached_property
    def sources(self) -> list[str]:
        archive, security = f"{_MIRROR}/debian", f"{_MIRROR}/debian-security"
        suites = [(archive, self.suite), (archive, f"{self.suite}-updates"), (security, f"{self.suite}-security")]
        return [f"deb {uri} {suite} main" for uri, suite in suites]

    @cached_property
    def key(self) -> str:
        certificates = [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.authorities]
        return hashlib.sha256(json.dumps([self._recipe, self.sources, certificates]).encode()).hexdigest()

    @property
    def parents(self) -> tuple[Image, ...]:
        return ()

    def build(self, log: Path) -> None:
        if not shutil.which("mmdebstrap"):
            engine.apt_install("mmdebstrap")
        tarball = log.with_suffix(".tar")
        command = [
            "mmdebstrap",
            "--variant=minbase",
            "--include=ca-certificates",
            # Losing power never costs a container anything, so dpkg need not wait for the disk.
            "--dpkgopt=force-unsafe-io",
            f'--customize-hook=install -d "$1{_AUTHORITIES}"',
            *(f'--customize-hook=upload "{path}" "{_AUTHORITIES}/{path.name}"' for path in self.authorities),
            '--customize-hook=chroot "$1" update-ca-certificates',
            '--customize-hook=: > "$1/etc/machine-id"',
            self.suite,
            str(tarball),
            *self.sources,
        ]
        try:
            with log.open("w", encoding="utf-8") as output:
                done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
            if done.returncode:
                raise LabError(f"mmdebstrap of {self.suite} ended with {done.returncode}:\n{_tail(log)}", f"read {log}")
            repository, _, tag = self.ref.partition(":")
            changes = [
                f"LABEL {LABEL_KEY}={self.key}",
                "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ]
            answer = client().api.import_image_from_file(str(tarball), repository=repository, tag=tag, changes=changes)
            if "error" in json.loads(answer.splitlines()[-1]):
                raise LabError(f"docker import of {self.ref} failed: {answer}")
        finally:
            tarball.unlink(missing_ok=True)


@dataclass(frozen=True)
class Built:
    """An image made by a Dockerfile."""

    ref: str
    context: Path
    args: Mapping[str, str] = field(default_factory=dict)
    parents: tuple[Image, ...] = ()

    @cached_property
    def key(self) -> str:
        return context_key(self.context, self.args, [parent.key for parent in self.parents])

    def build(self, log: Path) -> None:
        lines = client().api.build(
            path=str(self.context),
            tag=self.ref,
            buildargs=dict(self.args),
            labels={LABEL_KEY: self.key},
            rm=True,
            forcerm=True,
            decode=True,
        )
        with log.open("w", encoding="utf-8") as output:
            for line in lines:
                output.write(str(line.get("stream", "")))
                if "error" in line:
                    output.flush()
                    reason = f"building {self.ref} from {self.context} failed: {line['error']}"
                    raise LabError(f"{reason}\n{_tail(log)}", f"read {log}")


Image = Rootfs | Built


def base(system: str) -> Rootfs:
    """The root file system that application images start from."""
    if system not in SUITES:
        raise LabError(f"unknown system {system!r}", f"one of: {', '.join(SUITES)}")
    return Rootfs(f"quai-base:{system}", SUITES[system])


def host(system: str) -> Built:
    """A bare server."""
    rootfs = base(system)
    return Built(f"quai-host:{system}", _FILES / "host", {"BASE": rootfs.ref}, (rootfs,))


def services() -> Built:
    """The image of the lab's own services."""
    rootfs = base("debian13")
    return Built(SERVICES_IMAGE, _FILES / "services", {"BASE": rootfs.ref}, (rootfs,))


def present(image: Image) -> bool:
    """Whether the engine has this image as it would be made now."""
    try:
        return bool(client().images.get(image.ref).labels.get(LABEL_KEY) == image.key)
    except docker.errors.ImageNotFound:
        return False


def ensure(images: Sequence[Image], console: Console) -> None:
    """Make the images that are missing, parents first, two at a time."""
    todo = missing(images, present)
    if not todo:
        return
    _LOGS.mkdir(parents=True, exist_ok=True)
    # One lock for all labs, because they share the images.
    with lock("images", "images", console):
        todo = missing(images, present)
        if todo:
            engine.check_room()
        for wave in waves(todo):
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda group: _make(group, console), siblings(wave)))


def siblings(wave: Sequence[Image]) -> list[list[Image]]:
    """Images of one context together: built one after the other, the later ones find the layers of the first."""
    groups: dict[str, list[Image]] = {}
    for image in wave:
        # The recipe of the root file systems is code, so each of them is alone.
        groups.setdefault(str(image.context) if isinstance(image, Built) else image.ref, []).append(image)
    return list(groups.values())


def _make(images: Sequence[Image], console: Console) -> None:
    for image in images:
        log = _LOGS / f"{image.ref.replace('/', '_').replace(':', '_')}.log"
        with console.step(f"Build image {image.ref}"):
            image.build(log)


def missing(images: Sequence[Image], is_present: Any) -> list[Image]:
    """Images to make, each after its parents. The parents of a present image are of no interest."""
    ordered: dict[str, Image] = {}

    def visit(image: Image) -> None:
        if image.ref not in ordered and not is_present(image):
            for parent in image.parents:
                visit(parent)
            ordered[image.ref] = image

    for image in images:
        visit(image)
    return list(ordered.values())


def waves(images: Sequence[Image]) -> list[list[Image]]:
    """Groups in which every image only needs images of earlier groups (or none of these)."""
    level: dict[str, int] = {}
    for image in images:
        level[image.ref] = 1 + max((level.get(parent.ref, -1) for parent in image.parents), default=-1)
    groups: list[list[Image]] = [[] for _ in range(1 + max(level.values(), default=-1))]
    for image in images:
        groups[level[image.ref]].append(image)
    return groups


def purge(console: Console) -> None:
    """Remove every image that the lab made, those in registries included. Containers that use one keep it."""
    kept = []
    for image in client().images.list(filters={"label": LABEL_KEY}):
        for tag in image.tags or [image.id]:
            try:
                client().images.remove(tag, force=not image.tags)
            except docker.errors.APIError as error:
                kept.append(f"{tag}: {error.explanation}")
    client().images.prune(filters={"label": LABEL_KEY})
    for volume in client().volumes.list(filters={"label": LABEL_KEY}):
        try:
            volume.remove()
        except docker.errors.APIError as error:
            kept.append(f"volume {volume.name}: {error.explanation}")
    for line in kept:
        console.note(f"kept {line}")


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text("utf-8", "replace").strip().splitlines()[-lines:])
