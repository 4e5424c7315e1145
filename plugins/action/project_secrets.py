# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Complete a project's secrets in the inventory. Runs on the controller only."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.vault import match_encrypt_secret
from ansible.plugins.action import ActionBase
from ansible_collections.quai.ops.plugins.plugin_utils import _controller, _projects, _secrets, _validate
from ansible_collections.quai.ops.plugins.plugin_utils._problems import DeclarationError

PRODUCTION = "production"


class ActionModule(ActionBase):  # type: ignore[misc]
    """Read the file, add what is missing, write it back."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return names of what was generated and of what a person must supply; never a value."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _spec, options = self.validate_argument_spec(
            argument_spec={
                "project": {"type": "str", "required": True},
                "projects_dir": {"type": "path"},
                "directory": {"type": "path"},
                "plaintext": {"type": "bool"},
                "placeholders": {"type": "bool"},
            }
        )
        variables = _controller.Variables(self._templar, task_vars or {})
        try:
            declared = _declared_secrets(options, variables)
        except DeclarationError as error:
            raise AnsibleActionFail(str(error)) from None
        project, variable = options["project"], _validate.vault_variable(options["project"])
        path = _directory(options, variables) / f"{variable}.yml"
        existing = self._existing(path, variable)
        placeholders = _switch(options, "placeholders", variables, "quai_generate_supplied")
        completion = _secrets.complete(declared, existing, secrets.token_bytes, placeholders)
        encrypted = bool(self._loader._vault.secrets)
        result.update(
            changed=bool(completion.generated),
            path=str(path),
            generated=completion.generated,
            to_supply=completion.to_supply,
            encrypted=encrypted,
        )
        if not completion.generated:
            return result
        if not encrypted and not _switch(options, "plaintext", variables, "quai_secrets_plaintext"):
            raise AnsibleActionFail(
                f"{path} would hold secrets without encryption, nothing was written; give a vault password"
                " (--vault-password-file, --ask-vault-pass or ANSIBLE_VAULT_PASSWORD_FILE)"
            )
        if not self._task.check_mode:
            _write(path, self._sealed(_secrets.render(variable, project, completion, declared)))
        return result

    def _existing(self, path: Path, variable: str) -> dict[str, Any]:
        """Return the values in the file, whether it is encrypted or not."""
        if not path.exists():
            return {}
        vault = self._loader._vault
        content = path.read_bytes()
        try:
            if vault.is_encrypted(content):
                content = vault.decrypt(content)
            data = yaml.safe_load(content)
        except AnsibleError as error:
            raise AnsibleActionFail(f"{path} cannot be decrypted: {error}") from None
        except yaml.YAMLError as error:
            # The parser's own message quotes the text around the mistake, which here is a secret.
            mark = getattr(error, "problem_mark", None)
            where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
            tagged = " (a value of its own !vault cannot be completed here, encrypt the whole file)"
            hint = tagged if b"!vault" in content else ""
            raise AnsibleActionFail(f"{path}{where} is not YAML that secrets can be added to{hint}") from None
        values = (data or {}).get(variable) if isinstance(data or {}, dict) else None
        others = sorted({*data} - {variable}) if isinstance(data, dict) else []
        if others or (data and not isinstance(values, dict)):
            raise AnsibleActionFail(f"{path} must hold {variable} alone, a mapping from names to values")
        return dict(values or {})

    def _sealed(self, text: str) -> bytes:
        vault = self._loader._vault
        if not vault.secrets:
            return text.encode()
        identity = constants.config.get_config_value("DEFAULT_VAULT_ENCRYPT_IDENTITY")
        vault_id, secret = match_encrypt_secret(vault.secrets, identity)
        sealed: bytes = vault.encrypt(text.encode(), secret, vault_id)
        return sealed


def _declared_secrets(options: Mapping[str, Any], variables: _controller.Variables) -> dict[str, Any]:
    directory = _projects.find_directory(_controller.directories(options, variables))
    documents = _projects.load_projects(directory, [options["project"]], {})
    declarations, problems = _validate.validate(documents)
    if problems:
        raise DeclarationError(problems)
    found: dict[str, Any] = declarations[options["project"]].data["secrets"]
    return found


def _directory(options: Mapping[str, Any], variables: _controller.Variables) -> Path:
    if options["directory"]:
        return Path(options["directory"])
    inventory = _controller.inventory_directory(variables)
    if not inventory:
        raise AnsibleActionFail("there is no inventory directory to write to; give -i inventories/<environment>")
    return inventory / "group_vars" / "all"


def _switch(options: Mapping[str, Any], option: str, variables: _controller.Variables, variable: str) -> bool:
    """Return a switch that only an environment other than production may turn on."""
    on = bool(variables.get(variable, False) if options[option] is None else options[option])
    if on and variables.get("quai_environment", PRODUCTION) == PRODUCTION:
        raise AnsibleActionFail(
            f"{option} ({variable}) is not for production; quai_environment must say what else this is"
        )
    return on


def _write(path: Path, content: bytes) -> None:
    """Replace the file in one step; it is never there half or readable by others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
