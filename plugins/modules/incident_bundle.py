#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect what explains an incident on a host, without secrets; the action of the same name keeps the archive."""

from __future__ import annotations

DOCUMENTATION = r"""
module: incident_bundle
short_description: Collect what explains an incident into one archive without secrets
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Collects the last results of every probe, alerts, state and logs of containers and units, logs of nginx and of
    applications, recent releases and changes, memory, disks, load, listeners and dates of certificates.
  - Takes out of every file the secrets that the host has in files, those in O(secrets), and what looks like one.
  - Only reads on the host and writes nothing there, so it works when the disk is full or Docker does not answer. What
    could not be had is named in the archive with its reason.
  - The archive gets mode 0600 on the controller. Its first page, C(index.md), is in French and in English.
attributes:
  check_mode:
    support: full
    description: Collects as usual, so that it can say what the archive would hold, and writes no archive.
  diff_mode:
    support: none
    description: Nothing is changed.
  idempotent:
    support: none
    description: Each run makes an archive of its own. It changes nothing on the host and never reports a change.
options:
  project:
    description: The project whose containers, sites and logs are collected. All of the host when empty.
    type: str
    default: ""
  dest:
    description: Directory on the controller in which the archive is written. It is created with mode 0700.
    type: path
    required: true
  host:
    description: Name of the host in the bundle. The one of the inventory when not given.
    type: str
    default: ""
  since:
    description: Beginning of the window, back from now as V(2h) or as a time such as V(2026-11-21T14:00:00Z).
    type: str
    default: 2h
  note:
    description: What a person has to say about it. It stands on the first page.
    type: str
    default: ""
  about:
    description:
      - What the first page says of the project, its C(title) and C(contacts), as C(monitoring_cron_projects) has them.
        Each contact has a C(name), and some of C(role), C(email), C(phone), C(link), C(availability) and C(handles).
    type: dict
    default: {}
  logs:
    description:
      - Patterns of further log files, with V(*) and V(?). Logs in volumes named after the project are found without.
    type: list
    elements: str
    default: []
  secrets:
    description: Secrets to hide, in any depth of lists and dictionaries, such as the project's vault.
    type: dict
    default: {}
  file_bytes:
    description: Most bytes of one file; the end is kept.
    type: int
    default: 2097152
  total_bytes:
    description: Most bytes of all files together, before they are packed.
    type: int
    default: 20971520
  timeout:
    description: Seconds for the whole collection. What was not collected by then is named.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Incident | Collect what explains it
  quai.ops.incident_bundle:
    project: shop
    since: 4h
    note: The shop answers 502 since 14:10.
    dest: "{{ playbook_dir }}/../build/incidents"
    secrets: "{{ vault_shop }}"
"""

RETURN = r"""
path:
  description: The archive on the controller. Empty in check mode.
  returned: success
  type: str
  sample: build/incidents/shop-vps1-20261121T143000Z.tar.gz
bytes:
  description: Size of the archive.
  returned: success
  type: int
  sample: 183211
files:
  description: What is in the archive.
  returned: success
  type: list
  elements: str
  sample: [index.md, monitor/probes.txt, containers/shop-web-1.log]
cut:
  description: Files of which only the end is in the archive.
  returned: success
  type: list
  elements: str
  sample: []
missing:
  description: What could not be had, with the reason.
  returned: success
  type: list
  elements: str
  sample: ["containers: no Docker engine listens on /var/run/docker.sock: Connection refused"]
redactions:
  description: How many times a secret was taken out.
  returned: success
  type: int
  sample: 12
"""

import base64
import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quai.ops.plugins.module_utils import _incident
from ansible_collections.quai.ops.plugins.module_utils._probe_rules import seconds
from ansible_collections.quai.ops.plugins.module_utils._redact import flat


def main() -> None:
    """Collect, and hand the archive to the action on the controller."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "str", "default": ""},
            "dest": {"type": "path", "required": True},
            "host": {"type": "str", "default": ""},
            "since": {"type": "str", "default": "2h"},
            "note": {"type": "str", "default": ""},
            "about": {"type": "dict", "default": {}},
            "logs": {"type": "list", "elements": "str", "default": []},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "file_bytes": {"type": "int", "default": 2097152},
            "total_bytes": {"type": "int", "default": 20971520},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    params = module.params
    for name, least in (("file_bytes", 4096), ("total_bytes", 65536), ("timeout", 1)):
        if params[name] < least:
            module.fail_json(msg=f"{name} is {params[name]}, it must be {least} or more")
    for pattern in params["logs"]:
        if not pattern.startswith("/"):
            module.fail_json(msg=f"logs names {pattern!r}, which must be an absolute path")
    now = time.time()
    try:
        since = _incident.since(params["since"], now, seconds)
    except ValueError as error:
        module.fail_json(msg=str(error))
    asked = _incident.Asked(
        project=params["project"],
        since=since,
        now=now,
        note=params["note"],
        title=str(params["about"].get("title") or ""),
        contacts=tuple(one for one in params["about"].get("contacts") or [] if isinstance(one, dict)),
        logs=tuple(params["logs"]),
        secrets=tuple(flat(params["secrets"])),
        file_bytes=params["file_bytes"],
        total_bytes=params["total_bytes"],
        timeout=float(params["timeout"]),
    )
    bundle = _incident.collect(asked, params["host"] or os.uname().nodename)
    # Everything below has lost its secrets already. Ansible's own filter would look for them in the archive's letters
    # too, and a short one that it finds there by chance would damage it.
    params["secrets"] = {}
    module.no_log_values.clear()
    module.exit_json(
        changed=False,
        directory=bundle.directory,
        content=base64.b64encode(bundle.archive).decode(),
        bytes=len(bundle.archive),
        files=[part.path for part in bundle.parts],
        cut=[part.path for part in bundle.parts if part.cut],
        missing=[f"{one.what}: {one.why}" for one in bundle.missing],
        redactions=bundle.redactions,
    )


if __name__ == "__main__":
    main()
