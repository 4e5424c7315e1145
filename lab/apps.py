# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in applications: built here as their images.yml says, and pushed to the lab's registry."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab import containers, https, images, services
from lab.authority import ensure_authority
from lab.console import Console
from lab.dockerfile import parents, with_tag
from lab.engine import client
from lab.errors import LabError
from lab.images import Built, Image
from lab.names import LABEL_KEY, ROOT, Lab

MASSTOCK = ROOT / "tests" / "apps" / "masstock" / "images.yml"
# Published images are built under this prefix, so that they never replace a real redis:7-alpine on this machine.
_PREFIX = "quai-lab/"
_FIELDS = {"name", "context", "tags", "local", "mirror"}
_MANIFESTS = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Published:
    """An image and the name under which the registry has it."""

    name: str
    tag: str
    image: Built


def load(listing: Path) -> list[Published]:
    """Read an images.yml; see tests/apps/masstock/images.yml for its form."""
    try:
        entries = yaml.safe_load(listing.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise LabError(f"{listing} cannot be read: {error}") from error
    if not isinstance(entries, list):
        raise LabError(f"{listing} is not a list of images")
    known: dict[str, Image] = {images.base(system).ref: images.base(system) for system in images.SUITES}
    published: list[Published] = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not {"name", "context"} <= entry.keys() <= _FIELDS:
            raise LabError(
                f"{listing}, image {number}: {entry!r}",
                f"it needs name and context and may have {', '.join(sorted(_FIELDS))}",
            )
        for tag, args in _tags(entry):
            ref = with_tag(f"{entry['name']}:{tag}")
            image = _built(listing.parent / entry["context"], args, ref if entry.get("local") else _PREFIX + ref, known)
            if entry.get("local"):
                known[ref] = image
            else:
                published.append(Published(entry["name"], tag, image))
    return published


def _tags(entry: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    tags = entry.get("tags") or [{"tag": "latest"}]
    return [(str(tag["tag"]), {k: str(v) for k, v in tag.get("args", {}).items()}) for tag in tags]


def _built(context: Path, args: Mapping[str, str], ref: str, known: Mapping[str, Image]) -> Built:
    dockerfile = context / "Dockerfile"
    if not dockerfile.exists():
        raise LabError(f"image {ref}: {dockerfile} does not exist")
    found: list[Image] = []
    for parent in parents(dockerfile.read_text("utf-8"), args):
        if parent not in known:
            raise LabError(
                f"{dockerfile} starts FROM {parent}, which is not an image of the lab",
                f"known above it: {', '.join(known)} (an image of images.yml needs `local: true` for that)",
            )
        found.append(known[parent])
    return Built(ref, context, dict(args), tuple(found))


def ensure(lab: Lab, listing: Path, console: Console) -> list[str]:
    """Build and push what the registry does not have as it would be built now; return what was pushed."""
    apps = load(listing)
    with console.step(f"Compare the registry with the {len(apps)} images of {_shown(listing)}"):
        wanted = [app for app in apps if _registry_key(lab, app) != app.image.key]
    if not wanted:
        return []
    images.ensure([app.image for app in wanted], console)
    # By repository, because its tags share layers that the second push then finds there.
    repositories = {app.name: [other for other in wanted if other.name == app.name] for app in wanted}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda tags: _push(lab, tags, console), repositories.values()))
    return [f"{app.name}:{app.tag}" for app in wanted]


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _push(lab: Lab, apps: list[Published], console: Console) -> None:
    for app in apps:
        with console.step(f"Push {app.name}:{app.tag}"):
            _push_image(lab, app)


def _push_image(lab: Lab, app: Published) -> None:
    """Push through the published port under a temporary name."""
    container = containers.find(lab, "registry")
    if container is None:
        raise LabError(f"lab {lab.name} has no registry to push {app.name} to", "start it: python -m lab up")
    port = container.attrs["NetworkSettings"]["Ports"][f"{services.REGISTRY_PORT}/tcp"][0]["HostPort"]
    repository = f"127.0.0.1:{port}/{app.name}"
    api = client().api
    api.tag(app.image.ref, repository, app.tag)
    try:
        account = {"username": services.REGISTRY_USER, "password": services.registry_password(lab)}
        for line in api.push(repository, app.tag, stream=True, decode=True, auth_config=account):
            if "error" in line:
                raise LabError(f"pushing {app.name}:{app.tag} failed: {line['error']}")
    finally:
        api.remove_image(f"{repository}:{app.tag}", noprune=True)


def _registry_key(lab: Lab, app: Published) -> str:
    """The key of the image that the registry has under this name; empty when it has none."""
    document = _ask(lab, f"/v2/{app.name}/manifests/{app.tag}")
    if document is None:
        return ""
    configuration = _ask(lab, f"/v2/{app.name}/blobs/{document['config']['digest']}")
    labels = (configuration or {}).get("config", {}).get("Labels") or {}
    return str(labels.get(LABEL_KEY, ""))


def _ask(lab: Lab, path: str) -> dict[str, Any] | None:
    account = f"{services.REGISTRY_USER}:{services.registry_password(lab)}".encode()
    answer = https.get(
        services.address(lab, "registry"),
        "registry.lab",
        path,
        authority=ensure_authority(lab.directory / "ca"),
        port=services.REGISTRY_PORT,
        headers={"Authorization": f"Basic {base64.b64encode(account).decode()}", "Accept": _MANIFESTS},
    )
    if answer.status == 404:
        return None
    if answer.status != 200:
        raise LabError(f"the lab's registry answered {answer.status} to GET {path}: {answer.body[:200]!r}")
    document: dict[str, Any] = json.loads(answer.body)
    return document
