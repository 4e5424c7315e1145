# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of a stack, as the files that hold them and as what the compose file says of those."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.quai.ops.plugins.module_utils._docker import login_key

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def environment_text(environment: Mapping[str, Any]) -> str:
    """The variables as a file that a POSIX shell reads; every value is quoted, so none is ever interpreted."""
    lines = []
    for name in sorted(environment):
        if not VARIABLE.match(name):
            raise AnsibleFilterError(f"{name!r} is not the name of an environment variable: letters, digits and _ are")
        value = str(environment[name]).replace("'", "'\\''")
        lines.append(f"{name}='{value}'\n")
    return "".join(lines)


def _stem(directory: str, service: str, given: Mapping[str, Any]) -> str:
    """Start of the paths of a service's files. It changes with their content, so that the former ones are kept.

    The compose file and C(docker inspect) show it. A slow digest keeps a short password from being guessed from it.
    """
    document = json.dumps([given.get("owner", 0), given.get("environment"), given.get("files")], sort_keys=True)
    digest = hashlib.scrypt(document.encode(), salt=service.encode(), n=2**12, r=8, p=1, dklen=8).hex()
    return f"{directory}/{service}.{digest}"


def _flat(path: str) -> str:
    return path.strip("/").replace("/", "--")


def secret_files(secrets: Mapping[str, Mapping[str, Any]], directory: str) -> list[dict[str, Any]]:
    """Entries for C(quai.ops.file_set): one file of variables and one for each rendered file of each service."""
    if not secrets:
        return []
    entries: list[dict[str, Any]] = [{"path": directory, "state": "directory", "mode": "0700"}]
    for service, given in sorted(secrets.items()):
        stem, owner = _stem(directory, service, given), str(given.get("owner", 0))
        common = {"owner": owner, "group": owner, "mode": "0600", "secret": True}
        if given.get("environment"):
            entries.append({"path": f"{stem}.env", "content": environment_text(given["environment"]), **common})
        for path, content in sorted((given.get("files") or {}).items()):
            entries.append({"path": f"{stem}--{_flat(path)}", "content": content, **common})
    return entries


def secret_mounts(secrets: Mapping[str, Mapping[str, Any]], directory: str) -> dict[str, Any]:
    """Option O(secrets) of C(quai.ops.compose_stack): where the files of C(secret_files) are."""
    mounts = {}
    for service, given in secrets.items():
        stem = _stem(directory, service, given)
        mounts[service] = {
            "environment": f"{stem}.env" if given.get("environment") else "",
            "files": {f"{stem}--{_flat(path)}": path for path in sorted(given.get("files") or {})},
        }
    return mounts


def registry_logins(registries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Docker's C(config.json) with the logins of those registries that have a user name."""
    auths = {}
    for registry in registries:
        if registry.get("username"):
            text = f"{registry['username']}:{registry.get('password', '')}"
            auths[login_key(registry["host"])] = {"auth": base64.b64encode(text.encode()).decode()}
    return {"auths": auths}


def registry_ca_file(registry: Mapping[str, Any]) -> dict[str, str]:
    """Entry for C(quai.ops.file_set): the authority that the engine trusts for a registry."""
    return {
        "path": f"/etc/docker/certs.d/{registry['host']}/ca.crt",
        "content": str(registry["ca_certificate"]).rstrip("\n") + "\n",
        "mode": "0644",
    }


def authority_file(authority: Mapping[str, Any]) -> dict[str, str]:
    """Entry for C(quai.ops.file_set): the certificate of a private authority, from an item of C(dict2items)."""
    return {
        "path": f"/etc/quai/ca/{authority['key']}.pem",
        "content": str(authority["value"]).rstrip("\n") + "\n",
        "mode": "0644",
    }


class FilterModule:
    """Filters of the roles docker_stack and host_base."""

    def filters(self) -> dict[str, Any]:
        """Names and functions."""
        return {
            "authority_file": authority_file,
            "registry_ca_file": registry_ca_file,
            "registry_logins": registry_logins,
            "secret_files": secret_files,
            "secret_mounts": secret_mounts,
        }
