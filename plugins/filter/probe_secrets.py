# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets that probes and channels name, and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: probe_secrets
short_description: Pick the secrets that probes and channels name
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Probes that M(quai.ops.project_facts) derives say C(${project.NAME}) where a secret stands.
  - Use this filter at the place of use, in a task with C(no_log), so that no other secret gets there.
positional: _vaults
options:
  _input:
    description: What names secrets, such as C(monitoring_cron_probes).
    type: raw
    required: true
  _vaults:
    description: The secrets of each project, by the project's name.
    type: dict
    required: true
seealso:
  - plugin: quai.ops.stack_secrets
    plugin_type: filter
  - module: quai.ops.health_probe
"""

EXAMPLES = r"""
- name: Ask the public addresses
  quai.ops.health_probe:
    probes: "{{ ansible_facts.quai_derived.masstock.release_verify }}"
    secrets: >-
      {{ ansible_facts.quai_derived.masstock.release_verify | quai.ops.probe_secrets({'masstock': vault_masstock}) }}
"""

RETURN = r"""
_value:
  description: Values by C(project.NAME).
  type: dict
"""

PLACEHOLDER = re.compile(r"(?<!\$)\$\{([a-z0-9-]+)\.([A-Z][A-Z0-9_]*)\}")


def probe_secrets(wanted: Any, vaults: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the values by C(project.NAME). Raises with the names, never the values, that have none."""
    found, missing = {}, []
    for project, name in sorted(set(PLACEHOLDER.findall(json.dumps(wanted, default=str)))):
        value = (vaults.get(project) or {}).get(name)
        if value in (None, ""):
            missing.append(f"{project}.{name}")
        found[f"{project}.{name}"] = str(value)
    if missing:
        raise AnsibleFilterError(f"probe_secrets: no value for {', '.join(missing)}")
    return found


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"probe_secrets": probe_secrets}
