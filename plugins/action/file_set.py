# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of C(file_set): templates become contents, then one module call does the rest."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

MANAGED = "Written by quai: change the declaration or the role's variables, not this file."
# Block tags may be indented like the text around them without leaving blanks behind.
WHITESPACE = {"trim_blocks": True, "lstrip_blocks": True}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Render what is a template, hand everything over as base64."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module with contents filled in."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        files = arguments.get("files")
        if not isinstance(files, list) or not all(isinstance(item, dict) for item in files):
            raise AnsibleActionFail("files must be a list of dictionaries, each with a path")
        arguments["files"] = [self._filled(item, task_vars or {}) for item in files]
        result: dict[str, Any] = self._execute_module(
            module_name="quai.ops.file_set", module_args=arguments, task_vars=task_vars
        )
        # The whole list of wanted files, contents included, is no part of the answer.
        result.pop("invocation", None)
        return result

    def _filled(self, item: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        item = dict(item)
        path = item.get("path", "(no path)")
        template, content = item.pop("template", None), item.pop("content", None)
        extra = item.pop("vars", {})
        if item.get("notify") is not None and isinstance(item["notify"], str):
            item["notify"] = [item["notify"]]
        if isinstance(item.get("mode"), int):
            raise AnsibleActionFail(f"{path}: mode is the number {item['mode']}; quote it, as in mode: \"0644\"")
        if item.get("state", "file") != "file":
            if template is not None or content is not None:
                raise AnsibleActionFail(f"{path}: only a file has a template or content")
            return item
        if (template is None) == (content is None):
            raise AnsibleActionFail(f"{path}: give either template or content")
        if isinstance(content, (dict, list)):
            raise AnsibleActionFail(f"{path}: content must be text; pass data through a filter such as to_json")
        text = str(content) if template is None else self._rendered(template, {**task_vars, **extra})
        item["data"] = base64.b64encode(text.encode()).decode()
        return item

    def _rendered(self, template: str, variables: dict[str, Any]) -> str:
        source = self._find_needle("templates", template)
        # The loader decrypts a vaulted template, and lets errors name the file and the line.
        text = trust_as_template(self._loader.get_text_file_contents(source))
        # Includes are looked for beside the template first, then where Ansible looks for templates.
        places = [str(Path(source).parent)]
        for place in self._task.get_search_path():
            places += [str(Path(place) / "templates"), place]
        templar = self._templar.copy_with_new_env(
            searchpath=places,
            available_variables={"ansible_managed": MANAGED, **variables},
        )
        rendered = templar.template(text, escape_backslashes=False, overrides=WHITESPACE)
        return str(rendered) if rendered is not None else ""
