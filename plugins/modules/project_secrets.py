#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action of the same name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: project_secrets
short_description: Complete the secrets of a project in the inventory
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Generates the secrets that a declaration wants generated and that have no value yet, and says which ones a person
    must supply.
  - Writes C(vault_<project>.yml) with mode 0600, encrypted by Ansible Vault when a vault password is given.
  - A value that is there is never touched.
  - Runs on the controller only. Values are neither returned nor shown.
attributes:
  check_mode:
    description: Says what it would generate and writes nothing.
    support: full
  diff_mode:
    description: A difference would show secrets.
    support: none
  idempotent:
    description: A second run finds nothing missing.
    support: full
options:
  project:
    description: The project.
    type: str
    required: true
  projects_dir:
    description: The directory of declarations, found as M(quai.ops.project_facts) does when not given.
    type: path
  directory:
    description: Where the file is written; C(group_vars/all) of the inventory when not given.
    type: path
  plaintext:
    description:
      - Write the file without encryption when no vault password is given.
      - When not given, the variable C(quai_secrets_plaintext). Refused where C(quai_environment) is C(production).
    type: bool
  placeholders:
    description:
      - Invent placeholders for secrets that a person would have to supply, for a laboratory.
      - When not given, the variable C(quai_generate_supplied). Refused where C(quai_environment) is C(production).
    type: bool
seealso:
  - module: quai.ops.project_facts
"""

EXAMPLES = r"""
- name: Complete the secrets
  quai.ops.project_secrets:
    project: masstock
"""

RETURN = r"""
path:
  description: The file.
  returned: success
  type: str
  sample: inventories/production/group_vars/all/vault_masstock.yml
generated:
  description: Names of the secrets that got a value.
  returned: success
  type: list
  elements: str
  sample: [JWT_SECRET]
to_supply:
  description: Names of the secrets that a person must supply, each with where it is to be had.
  returned: success
  type: dict
  sample: {GEMINI_API_KEY: "https://aistudio.google.com, API keys"}
encrypted:
  description: Whether the file is encrypted.
  returned: success
  type: bool
"""
