#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Release a Compose stack so that what served before serves until the new one is healthy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_stack
short_description: Release a Compose stack, and return to the former one when the new one is not healthy
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Resolves every image to its digest, pulls what is missing, tries changed services beside the running ones, and only
    then replaces them. Services that did not change are left alone.
  - When a service does not become healthy the former definition is brought back, and the message holds the end of
    the failed container's log.
  - The accepted definition stands in C(compose.json) in O(directory). It can be used with C(docker compose) by hand.
attributes:
  check_mode:
    support: full
    description: Says which services would be created, recreated, started or removed, also on a host without Docker.
    details: Without Docker, images cannot be resolved, and every service counts as to be created.
  diff_mode:
    support: full
    description: Compares the accepted definition with the new one. Secrets are in neither.
  idempotent:
    support: full
    description: A second run changes nothing.
requirements:
  - Docker Engine 20.10 or later
  - Compose 2, or 1.29
options:
  name:
    description: Name of the Compose project.
    type: str
    required: true
  directory:
    description: Directory of the definition. V(/srv/NAME/stack) when not given.
    type: path
  definition:
    description:
      - A compose file as a dictionary.
      - A service that writes to a mount is never tried beside the running one, because two processes on the same data
        may damage it. It says C(x-quai.stateful=false) when that is safe. C(x-quai.stateful=true) rules it out for any.
    type: dict
    required: true
  secrets:
    description:
      - What each service gets from its secrets, a dictionary of C(environment), the path of a file of variables, and
        C(files), a dictionary of paths on the host and in the container.
      - The files themselves are written by M(quai.ops.file_set). A name that holds the digest of the content, as in
        C(SERVICE.0123456789abcdef.env), lets a failed release return to the former secrets. Files with such names
        that no service mounts any more are removed after a release.
    type: dict
    default: {}
  only:
    description: Replace these services only. Empty means the whole stack.
    type: list
    elements: str
    default: []
  public_ports:
    description: Ports that may be published beyond loopback.
    type: list
    elements: int
    default: []
  log_max_size:
    description: Size at which a container's log is rotated.
    type: str
    default: 10m
  log_max_files:
    description: Number of log files kept for each container.
    type: int
    default: 3
  timeout:
    description: Seconds that the services have to become healthy, and that another release is waited for.
    type: int
    default: 180
  pull_timeout:
    description: Seconds that one image has to be pulled.
    type: int
    default: 900
"""

EXAMPLES = r"""
- name: Stack | Release
  quai.ops.compose_stack:
    name: shop
    definition:
      services:
        web:
          image: registry.example.org/shop/web:1.4.0
          ports: ["127.0.0.1:8080:80"]
          healthcheck: {test: [CMD, wget, -q, --spider, "http://localhost/health"], interval: 30s}
"""

RETURN = r"""
actions:
  description: What was or would be done to each service that was not as wanted.
  returned: always
  type: list
  elements: dict
  sample: [{service: web, verb: recreate, image: "registry.example.org/shop/web@sha256:…"}]
removed_rests:
  description: Containers that a killed release had left, and that were or would be removed.
  returned: always
  type: list
  elements: str
  sample: []
images:
  description: Each reference by tag and the reference by digest that runs.
  returned: always
  type: dict
  sample: {}
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quai.ops.plugins.module_utils import _compose, _files, _lock
from ansible_collections.quai.ops.plugins.module_utils._docker import (
    REHEARSAL,
    Docker,
    DockerFailed,
    parse_container,
    version_tuple,
)

POLL_SECONDS = 0.5
# Ids of the containers that were there before a release, with how often each had been restarted.
Before = dict[str, int]


class ReleaseFailed(Exception):
    """The new stack did not come up."""


class Release:
    """One release of one stack: the steps, in the order in which ``main`` takes them."""

    def __init__(self, docker: Docker, name: str, directory: Path, timeout: float) -> None:
        self.docker, self.name, self.timeout = docker, name, timeout
        self.accepted_file = directory / "compose.json"
        self.candidate_file = directory / "compose.next.json"

    def accepted(self) -> _compose.Definition | None:
        """The definition that was accepted last; None before the first release."""
        try:
            loaded: _compose.Definition = json.loads(self.accepted_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise _compose.StackError(
                f"{self.accepted_file} is no JSON any more ({error}); remove it, and the next run makes it again"
            ) from error
        return loaded

    def resolve(self, definition: _compose.Definition, only: list[str]) -> dict[str, str]:
        """The images by digest, as the registries have them now."""
        return {
            reference: _compose.pinned(reference, self.docker.digest(reference))
            for reference in _compose.own_images(definition, only)
        }

    def pull(self, definition: _compose.Definition, timeout: float) -> None:
        """Fetch the images that this host does not have."""
        for image in sorted({service["image"] for service in definition["services"].values()}):
            if not self.docker.has_image(image):
                self.docker.run(["docker", "pull", "--quiet", image], timeout)

    def compose(self, file: Path, *arguments: str) -> str:
        """Run Compose on one of the two definitions."""
        return self.docker.run([*self.docker.compose(), "-p", self.name, "-f", str(file), *arguments], self.timeout)

    def look(self) -> list[_compose.Container]:
        """The containers of the stack as they are now."""
        return self.docker.containers(self.name)

    def rehearse(self, services: list[str], definition: _compose.Definition) -> None:
        """Start changed services beside the running ones, without their ports, and wait until they are healthy."""
        trials = {f"{self.name}_{service}{REHEARSAL}": service for service in services}
        try:
            for trial, service in trials.items():
                self.compose(self.candidate_file, "run", "-d", "--no-deps", "--name", trial, service)
            self.wait(
                {service: definition["services"][service] for service in services},
                lambda: [_trial(one, trials) for one in self.docker.inspect(list(trials))],
                {},
            )
        finally:
            self.docker.remove(list(trials), volumes=True)

    def bring(
        self, file: Path, definition: _compose.Definition, actions: list[_compose.Action], before: Before
    ) -> None:
        """Let Compose do what must be done to some services, and wait for them. It leaves the others alone."""
        services = [action.service for action in actions if action.verb != "remove"]
        try:
            if services:
                self.compose(file, "up", "-d", "--no-build", *services)
        except DockerFailed as error:
            # Compose waits for dependencies, and its message does not say why one did not come up.
            containers = self.look()
            waiting = _compose.verdict(definition["services"], containers, before)
            bad = {name: why for name, why in waiting.items() if why.startswith("failed:")}
            raise ReleaseFailed(self._reason(bad, containers) if bad else str(error)) from error
        removed = {action.service for action in actions if action.verb == "remove"}
        self.docker.remove([container.name for container in self.look() if container.service in removed])

    def wait(
        self, services: dict[str, _compose.Definition], look: Callable[[], list[_compose.Container]], before: Before
    ) -> None:
        """Wait until the services are ready; raises ReleaseFailed with the failed one's last words."""
        deadline = time.monotonic() + self.timeout
        while True:
            containers = look()
            waiting = _compose.verdict(services, containers, before)
            if not waiting:
                return
            failed = {name: why for name, why in waiting.items() if why.startswith("failed:")}
            if failed or time.monotonic() >= deadline:
                late = "" if failed else f" after {self.timeout:g} s"
                raise ReleaseFailed(self._reason(failed or waiting, containers, late))
            time.sleep(POLL_SECONDS)

    def _reason(self, bad: dict[str, str], containers: list[_compose.Container], late: str = "") -> str:
        parts = []
        for name, why in sorted(bad.items()):
            parts.append(f"service {name}: {why.replace('failed: ', '')}{late}")
            for container in containers:
                if container.service == name:
                    parts.append(f"its log ends with:\n{self.docker.last_words(container.name)}")
        return "; ".join(parts)

    def go_back(self, former: _compose.Definition | None, before: Before) -> str:
        """Bring the former definition back; says how that went."""
        try:
            if former is None:
                self.compose(self.candidate_file, "stop")
                return "Nothing was released before, so the containers were stopped; their logs can still be read"
            self.docker.remove(self.docker.rests(self.name))
            actions = _compose.plan(former, self.look())
            self.bring(self.accepted_file, former, actions, before)
            touched = {action.service for action in actions} & set(former["services"])
            self.wait({name: former["services"][name] for name in touched}, self.look, before)
        except (ReleaseFailed, DockerFailed) as error:
            return f"And the former release did not come back by itself: {error}"
        return "So the former release was brought back, and it serves again"

    def accept(self) -> None:
        """From now on the candidate is what runs."""
        self.candidate_file.replace(self.accepted_file)


def sweep(definition: _compose.Definition, former: _compose.Definition) -> None:
    """Remove files of secrets that no service mounts any more."""
    used = _compose.secret_sources(definition)
    for directory in {Path(source).parent for source in used | _compose.secret_sources(former)}:
        for path in directory.iterdir() if directory.is_dir() else []:
            if _compose.SECRET_FILE.search(path.name) and str(path) not in used:
                path.unlink()


def _trial(found: dict[str, Any], trials: dict[str, str]) -> _compose.Container:
    """A rehearsal's container. The engine does not restart it, so one that ended has failed for good."""
    container = parse_container(found, time.time())
    status = "dead" if container.status == "exited" else container.status
    return replace(container, service=trials[container.name], status=status)


def written(definition: _compose.Definition) -> str:
    """A definition as it stands in the file."""
    return json.dumps(definition, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def release(params: dict[str, Any], docker: Docker, *, check_mode: bool) -> dict[str, Any]:
    """Plan, and unless in check mode act; returns the module's result."""
    directory = Path(params["directory"] or f"/srv/{params['name']}/stack")
    run = Release(docker, params["name"], directory, float(params["timeout"]))
    former = run.accepted()
    present = docker.present
    if not present and not check_mode:
        raise DockerFailed("no Docker engine answers on this host; provision it first")
    images = run.resolve(params["definition"], params["only"]) if present else {}
    wanted = _compose.prepare(
        params["definition"],
        secrets={
            name: _compose.SecretMount(item["environment"], tuple(sorted(item["files"].items())))
            for name, item in params["secrets"].items()
        },
        images=images,
        log_max_size=params["log_max_size"],
        log_max_files=params["log_max_files"],
        public_ports=params["public_ports"],
        early_probes=version_tuple(docker.engine_version()) >= (25,),
    )
    wanted = _compose.narrow(wanted, former, params["only"])
    rests = docker.rests(params["name"]) if present else []
    if rests and not check_mode:
        docker.remove(rests)
    containers = run.look() if present else []
    actions = _compose.plan(wanted, containers)
    if params["only"]:
        actions = [action for action in actions if action.service in params["only"]]
    text, former_text = written(wanted), written(former) if former else ""
    result = {
        "changed": bool(actions or rests) or text != former_text,
        "actions": [vars(action) for action in actions],
        "images": images,
        "removed_rests": rests,
        "diff": {
            "before": former_text,
            "after": text,
            "before_header": str(run.accepted_file),
            "after_header": str(run.accepted_file),
        },
    }
    if check_mode:
        return result
    if result["changed"]:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        _files.write(run.candidate_file, text.encode(), 0o644)
        run.compose(run.candidate_file, "config", "-q")
        run.pull(wanted, params["pull_timeout"])
    before = {container.id: container.restarts for container in containers}
    services = {name: wanted["services"][name] for name in params["only"] or wanted["services"]}
    touched = False
    try:
        run.rehearse(_compose.rehearsable(wanted, actions, params["definition"]), wanted)
        touched = bool(actions)
        run.bring(run.candidate_file, wanted, actions, before)
        run.wait(services, run.look, before)
    except (ReleaseFailed, DockerFailed) as error:
        if not actions:
            end = "Nothing was to change, so nothing was done"
        elif not touched:
            end = "The running services were not touched: they serve as before"
        else:
            end = run.go_back(former, before)
        raise ReleaseFailed(f"{error}\n{end}") from error
    if result["changed"]:
        run.accept()
    sweep(wanted, former or wanted)
    return result


def main() -> None:
    """Release under the stack's lock."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "directory": {"type": "path"},
            "definition": {"type": "dict", "required": True},
            # Paths and digests only, no secret is among them.
            "secrets": {"type": "dict", "default": {}, "no_log": False},
            "only": {"type": "list", "elements": "str", "default": []},
            "public_ports": {"type": "list", "elements": "int", "default": []},
            "log_max_size": {"type": "str", "default": "10m"},
            "log_max_files": {"type": "int", "default": 3},
            "timeout": {"type": "int", "default": 180},
            "pull_timeout": {"type": "int", "default": 900},
        },
        supports_check_mode=True,
    )
    if not _compose.NAME.match(module.params["name"]):
        module.fail_json(msg=f"name is {module.params['name']!r}; lowercase letters, digits, - and _ are right")
    try:
        # What a killed run left working on the stack holds the lock, and ends by itself.
        with _lock.held(f"stack-{module.params['name']}", module.params["timeout"], purpose="a release"):
            result = release(module.params, Docker(), check_mode=module.check_mode)
    except _lock.LockHeld as error:
        module.fail_json(msg=f"another release of {module.params['name']} is running on this host: {error}")
    except (_compose.StackError, DockerFailed, ReleaseFailed, OSError, ValueError) as error:
        module.fail_json(msg=f"{module.params['name']}: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
