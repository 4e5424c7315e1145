#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write all files of a role in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: file_set
short_description: Write all files of a role in one call
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Brings a list of files, directories and links to their wanted content, owner and mode in one round trip.
  - Everything is compared and checked before the first write. A file is replaced atomically.
  - Templates are rendered on the controller, as M(ansible.builtin.template) does.
  - A path with O(files[].notify) raises a flag on the host that M(quai.ops.units) acts on and lowers.
    The flag outlives a killed run, which a handler does not.
attributes:
  check_mode:
    support: full
    description: Says what would change, including the flags that would be raised.
    details: In check mode, a check whose program is not installed yet is named in RV(skipped_checks) and does not fail.
  diff_mode:
    support: full
    description: One diff entry for each path. The content of a file with O(files[].secret) is never shown.
    details: Nor is that of a file which not everybody on the host may read.
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  files:
    description: The wanted paths, in the order in which they are made.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path on the host. Missing parent directories are made with mode V(0755).
        type: path
        required: true
      state:
        description: What is wanted at the path.
        type: str
        choices: [file, directory, link, absent]
        default: file
      template:
        description: A template, found as M(ansible.builtin.template) finds it. Excludes O(files[].content).
        type: str
      content:
        description: The content itself. Excludes O(files[].template).
        type: str
      vars:
        description: Further variables for the template.
        type: dict
        default: {}
      target:
        description: Where a link points to.
        type: str
        default: ""
      owner:
        description: Name or number of the owning user.
        type: str
        default: root
      group:
        description: Name or number of the owning group.
        type: str
        default: root
      mode:
        description:
          - Octal mode as a string. For a new file V(0644) and for a new directory V(0755) when not given, and an
            existing one keeps its mode.
        type: str
      secret:
        description: Never show the content in a diff. A file that not everybody may read is secret anyway.
        type: bool
        default: false
      force:
        description: Replace the content of a file that is there already. V(false) only makes a missing one. Owner and
          mode are brought about in either case.
        type: bool
        default: true
      notify:
        description: Names of the flags to raise when this path changes.
        type: list
        elements: str
        default: []
      validate:
        description: Command that must accept the file before it is written. V(%s) stands for the candidate's path.
        type: str
        default: ""
      data:
        description: The content, base64. Filled in by the action plugin from O(files[].content) or O(files[].template).
        type: str
  purge:
    description: Directories in which nothing else may match.
    type: list
    elements: dict
    default: []
    suboptions:
      directory:
        description: Directory to clear of files and links that are not in O(files).
        type: path
        required: true
      patterns:
        description: Shell patterns of the names that are meant.
        type: list
        elements: str
        required: true
      notify:
        description: Names of the flags to raise when something is removed.
        type: list
        elements: str
        default: []
  checks:
    description:
      - Programs that must accept a whole tree. The tree is copied, every change is applied to the copy, and the
        program runs on the copy. When it refuses, nothing is written.
    type: list
    elements: dict
    default: []
    suboptions:
      tree:
        description: Directory that is copied.
        type: path
        required: true
      command:
        description: Command and arguments. V({tree}) stands for the copy.
        type: list
        elements: str
        required: true
seealso:
  - module: quai.ops.units
"""

EXAMPLES = r"""
- name: Configure | Write the configuration of nginx
  quai.ops.file_set:
    files:
      - {path: /etc/nginx/nginx.conf, template: etc/nginx/nginx.conf.j2, mode: "0644", notify: [nginx]}
      - {path: /etc/nginx/quai/sites, state: directory, mode: "0755"}
      - {path: /etc/nginx/sites-enabled/default, state: absent, notify: [nginx]}
    purge:
      - {directory: /etc/nginx/quai/sites, patterns: ["*.conf"], notify: [nginx]}
    checks:
      - {tree: /etc/nginx, command: [nginx, -t, -q, -c, "{tree}/nginx.conf"]}
  register: __web_files
"""

RETURN = r"""
changed_paths:
  description: Paths that were or would be changed.
  returned: always
  type: list
  elements: str
  sample: [/etc/nginx/nginx.conf]
pending:
  description: Flags that are raised on the host now, those of earlier runs included. In check mode those that would be.
  returned: always
  type: list
  elements: str
  sample: [nginx]
skipped_checks:
  description: Checks that could not run because their program is not installed yet. Only in check mode.
  returned: always
  type: list
  elements: str
  sample: []
"""

import base64
import os
import shlex
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quai.ops.plugins.module_utils import _files, _lock, _pending


def entry(item: dict[str, object]) -> _files.Entry:
    """An entry of the set from the module's parameters; raises FileSetError when it makes no sense."""
    path = str(item["path"])
    if not path.startswith("/"):
        raise _files.FileSetError(f"path {path!r} is not absolute; every path of the set starts with /")
    if ".." in Path(path).parts:
        raise _files.FileSetError(f"path {path!r} goes through ..; name the place itself")
    mode = item["mode"]
    try:
        octal = None if mode is None else int(str(mode), 8)
    except ValueError as error:
        raise _files.FileSetError(f"{path}: mode {mode!r} is not octal; write it like \"0644\"") from error
    if item["state"] == "link" and not item["target"]:
        raise _files.FileSetError(f"{path}: a link needs a target")
    return _files.Entry(
        path=Path(path),
        state=str(item["state"]),
        content=base64.b64decode(str(item["data"] or "")),
        target=str(item["target"]),
        owner=str(item["owner"]),
        group=str(item["group"]),
        mode=octal,
        secret=bool(item["secret"]),
        force=bool(item["force"]),
        notify=tuple(item["notify"]),  # type: ignore[arg-type]
        validate=tuple(shlex.split(str(item["validate"]))),
    )


def main() -> None:
    """Compare, check, then write."""
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "state": {"choices": ["file", "directory", "link", "absent"], "default": "file"},
                    "template": {"type": "str"},
                    "content": {"type": "str"},
                    "vars": {"type": "dict", "default": {}},
                    "target": {"type": "str", "default": ""},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str", "default": "root"},
                    "mode": {"type": "str"},
                    "secret": {"type": "bool", "default": False, "no_log": False},
                    "force": {"type": "bool", "default": True},
                    "notify": {"type": "list", "elements": "str", "default": []},
                    "validate": {"type": "str", "default": ""},
                    # Contents may be secret and are long: neither journal nor result repeats them.
                    "data": {"type": "str", "no_log": True},
                },
            },
            "purge": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "directory": {"type": "path", "required": True},
                    "patterns": {"type": "list", "elements": "str", "required": True},
                    "notify": {"type": "list", "elements": "str", "default": []},
                },
            },
            "checks": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "tree": {"type": "path", "required": True},
                    "command": {"type": "list", "elements": "str", "required": True},
                },
            },
        },
        supports_check_mode=True,
    )
    # Missing parents and what validators write must not depend on the umask of whoever logged in.
    os.umask(0o022)
    params = module.params
    try:
        entries = [entry(item) for item in params["files"]]
        purges = [
            _files.Purge(Path(item["directory"]), tuple(item["patterns"]), tuple(item["notify"]))
            for item in params["purge"]
        ]
        checks = [_files.TreeCheck(Path(item["tree"]), tuple(item["command"])) for item in params["checks"]]
        for flags_of_one in [*(item.notify for item in entries), *(item.notify for item in purges)]:
            _pending.refuse_bad(flags_of_one)
        with _lock.held(_pending.LOCK, wait_seconds=600):
            changes = _files.plan(entries, purges)
            skipped = _files.verify(changes, checks, may_skip=module.check_mode)
            flags = {flag for change in changes for flag in change.entry.notify}
            if not module.check_mode:
                # Raised before the first write: a run killed right after it must not lose the reload.
                for flag in sorted(flags):
                    _pending.mark(flag)
                _files.apply(changes)
    except (_files.FileSetError, _lock.LockHeld, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(changes),
        changed_paths=[str(change.entry.path) for change in changes],
        pending=sorted(flags | _pending.read()),
        skipped_checks=skipped,
        diff=[_files.describe(change) for change in changes],
    )


if __name__ == "__main__":
    main()
