#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action of the same name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: project_facts
short_description: Read, check and derive the declarations of projects
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Reads C(projects/*.yml), refuses what is wrong with every problem at once, and turns each declaration into the
    variables of the roles.
  - Runs on the controller only, needs no gathered facts and opens no connection.
  - The facts hold no values of secrets. Where a secret belongs stands C(${NAME}); the filter
    P(quai.ops.stack_secrets#filter) joins the values at the place of use.
attributes:
  check_mode:
    description: Can run in check mode and return what it returns without.
    support: full
  diff_mode:
    description: Changes nothing, so there is nothing to show.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
options:
  projects_dir:
    description:
      - The directory of declarations.
      - When not given, the variable C(quai_projects_dir). When that is not set either, the first of C(../projects) and
        C(projects) beside the playbooks, C(../../projects) from the inventory, C(projects) where Ansible was started.
    type: path
  projects:
    description:
      - The projects to derive; C(all) alone stands for every declared one.
      - When not given, those whose inventory group contains the host. The group is named like the project, with
        underscores for dashes.
      - Every project with a host in the inventory is checked in any case, since projects may get in each other's way.
    type: list
    elements: str
  version:
    description:
      - The version that images of the projects' own get.
      - When empty, C(quai_versions.<project>).
    type: str
    default: ""
  release:
    description: The facts are for a release, so that a version must be known.
    type: bool
    default: false
  secrets:
    description: Refuse when a declared secret has no value in C(vault_<project>).
    type: bool
    default: true
seealso:
  - module: quai.ops.project_secrets
  - plugin: quai.ops.stack_secrets
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read and check the declarations of the host's projects
  quai.ops.project_facts:

- name: Read the declaration of the project to release
  quai.ops.project_facts:
    projects: [masstock]
    version: 1.4.0
    release: true
"""

RETURN = r"""
ansible_facts:
  description: What the declarations become.
  returned: success
  type: dict
  contains:
    quai_project_names:
      description: The projects.
      type: list
      elements: str
      sample: [masstock]
    quai_derived:
      description: Role variables by project, and the C(hosts) of each.
      type: dict
    quai_host:
      description: The same, joined over all projects, for the host that they share.
      type: dict
"""
