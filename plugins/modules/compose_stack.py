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
      - A service may say C(x-quai.stateful=true). It is then never tried beside the running one, because two
        copies on the same data would damage them.
    type: dict
    required: true
  secrets:
    description: What each service gets from its secrets. The files themselves are written by M(quai.ops.file_set).
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
    description: Seconds that the services have to become healthy.
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
images:
  description: Each reference by tag and the reference by digest that runs.
  returned: always
  type: dict
  sample: {}
"""

import json
import time
from pathlib import Path
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quai.ops.plugins.module_utils import _compose, _files, _lock
from ansible_collections.quai.ops.plugins.module_utils._docker import Docker, DockerFailed, version_tuple

POLL_SECONDS = 0.5


class ReleaseFailed(Exception):
    """The new stack did not come up."""


class Release:
    """One release of one stack: the steps, in the order in which ``main`` takes them."""

    def __init__(self, docker: Docker, name: str, directory: Path, warn: Callable[[str], None]) -> None:
        self.docker, self.name, self.warn = docker, name, warn
        self.accepted_file = directory / "compose.json"
        self.candidate_file = directory / "compose.next.json"

    def accepted(self) -> _compose.Definition | None:
        """The definition that was accepted last; None before the first release."""
        try:
            loaded: _compose.Definition = json.loads(self.accepted_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
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

    def compose(self, file: Path, *arguments: str, timeout: float | None = None) -> str:
        """Run Compose on one of the two definitions."""
        return self.docker.run([*self.docker.compose(), "-p", self.name, "-f", str(file), *arguments], timeout)

    def rehearse(self, services: list[str], definition: _compose.Definition, timeout: float) -> None:
        """Start changed services beside the running ones, without their ports, and wait until they are healthy."""
        trials = {service: f"{self.name}_{service}_rehearsal" for service in services}
        if not trials:
            return
        self.docker.remove(list(trials.values()))
        try:
            for service, trial in trials.items():
                self.compose(self.candidate_file, "run", "-d", "--no-deps", "--name", trial, service)
            self.wait(
                {"services": {service: definition["services"][service] for service in services}},
                lambda: [self._trial(one, trials) for one in self.docker.inspect(list(trials.values()))],
                timeout,
            )
        finally:
            self.docker.remove(list(trials.values()))

    @staticmethod
    def _trial(found: dict[str, Any], trials: dict[str, str]) -> _compose.Container:
        name = str(found["Name"]).lstrip("/")
        state = found["State"]
        return _compose.Container(
            service=next(service for service, trial in trials.items() if trial == name),
            name=name,
            config="",
            # A one-off container is not restarted by the engine, so one that ended has failed for good.
            status="dead" if state["Status"] == "exited" else state["Status"],
            health=(state.get("Health") or {}).get("Status", ""),
            exit_code=int(state.get("ExitCode", 0)),
            id=found["Id"],
        )

    def up(self, file: Path, definition: _compose.Definition, services: list[str], timeout: float) -> None:
        """Let Compose bring the services to a definition. It waits for dependencies itself, and may give up on one."""
        try:
            self.compose(
                file, "up", "-d", "--no-build", *([] if services else ["--remove-orphans"]), *services, timeout=timeout
            )
        except DockerFailed as error:
            containers = self.docker.containers(self.name)
            waiting = _compose.verdict(definition, containers, {})
            bad = {name: why for name, why in waiting.items() if why.startswith("failed:")}
            raise ReleaseFailed(self._reason(bad, containers) if bad else str(error)) from error

    def wait(
        self, definition: _compose.Definition, look: Callable[[], list[_compose.Container]], timeout: float
    ) -> None:
        """Wait until every service is ready; raises ReleaseFailed with the failed one's last words."""
        deadline = time.monotonic() + timeout
        before = {container.id: container.restarts for container in look()}
        while True:
            containers = look()
            waiting = _compose.verdict(definition, containers, before)
            if not waiting:
                return
            failed = {name: why for name, why in waiting.items() if why.startswith("failed:")}
            if failed or time.monotonic() >= deadline:
                late = "" if failed else f" after {timeout:g} s"
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

    def go_back(self, former: _compose.Definition | None, timeout: float) -> str:
        """Bring the former definition back; returns what serves now, for the message."""
        if former is None:
            self.compose(self.candidate_file, "stop")
            return "nothing was released before, so the new containers were stopped; their logs can still be read"
        self.up(self.accepted_file, former, [], timeout)
        self.wait(former, lambda: self.docker.containers(self.name), timeout)
        return "the former release is serving again"

    def accept(self) -> None:
        """From now on the candidate is what runs."""
        self.candidate_file.replace(self.accepted_file)


def written(definition: _compose.Definition) -> str:
    """A definition as it stands in the file."""
    return json.dumps(definition, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def release(module: AnsibleModule, docker: Docker) -> dict[str, Any]:
    """Plan, and unless in check mode act; returns the module's result."""
    params = module.params
    directory = Path(params["directory"] or f"/srv/{params['name']}/stack")
    run = Release(docker, params["name"], directory, module.warn)
    former = run.accepted()
    present = docker.present
    if not present and not module.check_mode:
        raise DockerFailed("no Docker engine answers on this host; provision it first")
    images = run.resolve(params["definition"], params["only"]) if present else {}
    secrets = {
        name: _compose.SecretMount(item["environment"], tuple(sorted(item["files"].items())), item["digest"])
        for name, item in params["secrets"].items()
    }
    wanted = _compose.prepare(
        params["definition"],
        secrets=secrets,
        images=images,
        log_max_size=params["log_max_size"],
        log_max_files=params["log_max_files"],
        public_ports=params["public_ports"],
        early_probes=version_tuple(docker.engine_version()) >= (25,),
    )
    wanted = _compose.narrow(wanted, former, params["only"])
    actions = _compose.plan(wanted, docker.containers(params["name"]) if present else [])
    if params["only"]:
        actions = [action for action in actions if action.service in params["only"]]
    text, former_text = written(wanted), written(former) if former else ""
    result = {
        "changed": bool(actions) or text != former_text,
        "actions": [vars(action) for action in actions],
        "images": images,
        "diff": {
            "before": former_text,
            "after": text,
            "before_header": str(run.accepted_file),
            "after_header": str(run.accepted_file),
        },
    }
    if module.check_mode:
        return result
    if result["changed"]:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        _files.write(run.candidate_file, text.encode(), 0o644)
        run.compose(run.candidate_file, "config", "-q")
        run.pull(wanted, params["pull_timeout"])
    timeout = float(params["timeout"])
    touched = False
    try:
        if actions:
            run.rehearse(_compose.rehearsable(wanted, actions, params["definition"]), wanted, timeout)
            touched = True
            chosen = [action.service for action in actions] if params["only"] else []
            run.up(run.candidate_file, wanted, chosen, timeout)
        run.wait(wanted, lambda: docker.containers(params["name"]), timeout)
    except ReleaseFailed as error:
        if not actions:
            raise ReleaseFailed(f"{error}\nNothing was to change, so nothing was done") from error
        if not touched:
            raise ReleaseFailed(f"{error}\nThe running services were not touched: they serve as before") from error
        raise ReleaseFailed(f"{error}\n{back(run, former, timeout)}") from error
    if result["changed"]:
        run.accept()
    return result


def back(run: Release, former: _compose.Definition | None, timeout: float) -> str:
    """Go back to the former release; says how that went."""
    try:
        return f"So {run.go_back(former, timeout)}"
    except (ReleaseFailed, DockerFailed) as error:
        return f"And the former release did not come back by itself: {error}"


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
    try:
        with _lock.held(f"stack-{module.params['name']}", wait_seconds=0):
            result = release(module, Docker())
    except _lock.LockHeld as error:
        module.fail_json(msg=f"another release of {module.params['name']} is running on this host: {error}")
    except (_compose.StackError, DockerFailed, ReleaseFailed, OSError, ValueError) as error:
        module.fail_json(msg=f"{module.params['name']}: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
