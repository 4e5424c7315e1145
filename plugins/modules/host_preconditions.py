#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check what a host must offer, before anything on it is changed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_preconditions
short_description: Check what a host must offer before anything is changed
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Compares memory, processors, disk, versions of Docker and Compose, and free ports with what is required.
  - All problems are reported at once, each with what would be right.
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed.
    details: In check mode a Docker or Compose that is not there yet is no problem, because the run would install it.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: Nothing is ever changed.
options:
  requirements:
    description: What is required. What is not named is not checked.
    type: dict
    required: true
    suboptions:
      memory_mb:
        description: Memory in MB. Ten percent less is accepted, because the kernel keeps some.
        type: float
      cpus:
        description: Number of processors.
        type: float
      disk_gb:
        description: Size in GB of the filesystem of O(disk_path). Ten percent less is accepted.
        type: float
      disk_free_mb:
        description: Free MB on the filesystem of O(disk_path).
        type: float
      docker:
        description: Lowest version of the Docker engine.
        type: str
      compose:
        description: Lowest version of Compose.
        type: str
      ports:
        description: TCP ports that must be free, or used by O(project) itself.
        type: list
        elements: int
  disk_path:
    description: A path on the filesystem that needs room. It need not exist yet.
    type: path
    default: /var/lib/docker
  project:
    description: Compose project whose own ports count as free. While another run works on it, ports are not looked at,
      because they come and go; who comes second waits for that run anyway.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Preflight | Check the host
  quai.ops.host_preconditions:
    project: shop
    requirements: {memory_mb: 2048, cpus: 2, disk_gb: 20, docker: "20.10", compose: "2.0", ports: [8080]}
"""

RETURN = r"""
offer:
  description: What the host has.
  returned: always
  type: dict
  sample: {memory_mb: 3924, cpus: 2, disk_gb: 41.1, disk_free_mb: 30211, docker: 26.1.5, compose: 2.26.1}
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quai.ops.plugins.module_utils import _lock, _preconditions
from ansible_collections.quai.ops.plugins.module_utils._docker import Docker, DockerFailed


def measured(wanted: Mapping[str, Any], disk_path: str, docker: Docker, *, check_mode: bool) -> _preconditions.Offer:
    """What this host has. In check mode a version that is yet to be installed counts as not looked at."""
    offer = replace(_preconditions.measure(disk_path), listeners=_preconditions.listeners())
    if wanted["docker"]:
        offer = replace(offer, docker=docker.engine_version() or (None if check_mode else ""))
    if wanted["compose"]:
        offer = replace(offer, compose=docker.compose_version() or (None if check_mode else ""))
    return offer


def _at_work(project: str) -> bool:
    """Whether a run works on the project's stack; it may be what a killed one left, and ends by itself."""
    return bool(project) and _lock.is_held(f"stack-{project}")


def main() -> None:
    """Measure, compare, report."""
    module = AnsibleModule(
        argument_spec={
            "requirements": {
                "type": "dict",
                "required": True,
                "options": {
                    "memory_mb": {"type": "float"},
                    "cpus": {"type": "float"},
                    "disk_gb": {"type": "float"},
                    "disk_free_mb": {"type": "float"},
                    "docker": {"type": "str"},
                    "compose": {"type": "str"},
                    "ports": {"type": "list", "elements": "int"},
                },
            },
            "disk_path": {"type": "path", "default": "/var/lib/docker"},
            "project": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    wanted, project = module.params["requirements"], module.params["project"]
    docker = Docker()
    own_ports: set[int] = set()
    try:
        at_work = _at_work(project)
        offer = measured(wanted, module.params["disk_path"], docker, check_mode=module.check_mode)
        if project and docker.present:
            label = f"label=com.docker.compose.project={project}"
            own_ports = _preconditions.parse_published(
                docker.run(["docker", "ps", "--filter", label, "--format", "{{.Ports}}"])
            )
        if at_work or _at_work(project):
            wanted = {**wanted, "ports": []}
        problems = _preconditions.unmet(wanted, offer, own_ports)
    except (DockerFailed, OSError, ValueError) as error:
        module.fail_json(msg=f"what this host offers cannot be found out: {error}")
    seen = {key: value for key, value in vars(offer).items() if key != "listeners"}
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        module.fail_json(
            msg=f"this host does not offer what is required, and nothing was changed:{lines}",
            problems=problems,
            offer=seen,
        )
    module.exit_json(changed=False, offer=seen)


if __name__ == "__main__":
    main()
