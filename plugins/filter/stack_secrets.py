# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Join secrets with the places that need them, where they are used and nowhere before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.quai.ops.plugins.plugin_utils._secrets import MissingSecretsError, fill

DOCUMENTATION = r"""
name: stack_secrets
short_description: Put secrets' values where a project's derived variables name them
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Facts of M(quai.ops.project_facts) hold no values of secrets, only C(${NAME}) in their places.
  - Use this filter at the place of use, in a task or role with C(no_log), so that values are nowhere else.
positional: _values
options:
  _input:
    description: What names secrets, such as C(docker_stack_secrets) of a project's entry of C(quai_derived).
    type: raw
    required: true
  _values:
    description: The secrets by name, such as C(vault_masstock).
    type: dict
    required: true
seealso:
  - module: quai.ops.project_facts
"""

EXAMPLES = r"""
- name: Release the stack
  ansible.builtin.include_role:
    name: quai.ops.docker_stack
  vars:
    docker_stack_secrets: >-
      {{ ansible_facts.quai_derived.masstock.docker_stack_secrets | quai.ops.stack_secrets(vault_masstock) }}
"""

RETURN = r"""
_value:
  description: The same, with values.
  type: raw
"""


def stack_secrets(template: Any, values: Mapping[str, Any]) -> Any:
    """Return the template with the values of its secrets."""
    if not isinstance(values, Mapping):
        raise AnsibleFilterError("stack_secrets: the secrets must be a mapping from names to values")
    try:
        return fill(template, values)
    except MissingSecretsError as error:
        raise AnsibleFilterError(f"stack_secrets: {error}") from None


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"stack_secrets": stack_secrets}
