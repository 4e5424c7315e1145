# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two actions, by real ansible-playbook runs against hosts that do not exist: no connection may be tried."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ONE = """name: one
title: One
services:
  web: {image: one/web, command: [web], port: 3000, secrets: [KEY, BROUGHT]}
domains:
  web: {names: [one.example.fr], service: web}
secrets:
  KEY: {description: Made., generate: {bytes: 16}}
  BROUGHT: {description: Brought., supplied_by: a person}
"""
TWO = """name: two-b
title: Two
services:
  web: {image: 'nginx:1.27', port: 3001}
domains:
  web: {names: [two.example.fr], service: web}
"""


class Controller:
    """A project directory with an inventory, and ansible-playbook in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.variables = root / "inventories" / "lab" / "group_vars" / "all"
        self.vault_file = self.variables / "vault_one.yml"
        for directory in (root / "projects", root / "playbooks", self.variables):
            directory.mkdir(parents=True)
        self.declare("one", ONE)
        self.declare("two-b", TWO)
        self.set(quai_environment="lab", quai_registry="registry.lab:5000", quai_versions={"one": "1.2.3"})
        hosts = {
            "one": {"hosts": {"alpha": {"ansible_host": "192.0.2.1"}}},
            "two_b": {"hosts": {"alpha": None, "beta": {"ansible_host": "192.0.2.2"}}},
            "idle": {"hosts": {"gamma": {"ansible_host": "192.0.2.3"}}},
        }
        (root / "inventories" / "lab" / "hosts.yml").write_text(json.dumps({"all": {"children": hosts}}))

    def declare(self, name: str, text: str) -> None:
        (self.root / "projects" / f"{name}.yml").write_text(text)

    def set(self, **variables: Any) -> None:
        (self.variables / "quai.yml").write_text(yaml.safe_dump(variables))

    def run(self, playbook: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            "inventories/lab",
            str(playbook),
            *arguments,
        ]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE")},
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
        }
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)

    def play(self, hosts: str, tasks: list[dict[str, Any]], *arguments: str) -> subprocess.CompletedProcess[str]:
        playbook = self.root / "playbooks" / "test.yml"
        playbook.write_text(yaml.safe_dump([{"hosts": hosts, "gather_facts": False, "tasks": tasks}], sort_keys=False))
        return self.run(playbook, *arguments)

    def facts(self, hosts: str = "all", *arguments: str, **options: Any) -> dict[str, Any]:
        """Return the facts of each host."""
        out = self.root / "facts"
        out.mkdir(exist_ok=True)
        tasks: list[dict[str, Any]] = [
            {"quai.ops.project_facts": {"secrets": False, **options}},
            {
                "ansible.builtin.copy": {
                    "content": "{{ ansible_facts | to_json }}",
                    "dest": f"{out}/{{{{ inventory_hostname }}}}",
                },
                "delegate_to": "localhost",
                "connection": "local",
                "check_mode": False,
                "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
            },
        ]
        run = self.play(hosts, tasks, *arguments)
        assert run.returncode == 0, run.stdout + run.stderr
        return {path.name: json.loads(path.read_text()) for path in out.iterdir()}

    def failure(self, **options: Any) -> str:
        """Return what the action says when it refuses."""
        run = self.play("alpha", [{"quai.ops.project_facts": options}])
        assert run.returncode == 2, run.stdout + run.stderr
        return run.stdout + run.stderr


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return Controller(tmp_path)


def test_facts_of_every_host(controller: Controller) -> None:
    facts = controller.facts()
    assert {host: found["quai_project_names"] for host, found in facts.items()} == {
        "alpha": ["one", "two-b"],
        "beta": ["two-b"],
        "gamma": [],
    }
    assert [item["name"] for item in facts["alpha"]["quai_host"]["nginx_tls_sites"]] == ["one-web", "two-b-web"]
    one = facts["alpha"]["quai_derived"]["one"]
    assert one["docker_stack_compose"]["services"]["web"]["image"] == "registry.lab:5000/one/web:1.2.3"
    assert (one["hosts"], facts["beta"]["quai_derived"]["two-b"]["hosts"]) == (["alpha"], ["alpha", "beta"])
    assert facts["gamma"]["quai_host"]["nginx_tls_sites"] == []


def test_facts_in_check_mode(controller: Controller) -> None:
    assert controller.facts("alpha", "--check")["alpha"]["quai_project_names"] == ["one", "two-b"]


def test_facts_of_named_projects_and_version(controller: Controller) -> None:
    found = controller.facts("alpha", projects=["one"], version="9.9", release=True)["alpha"]
    assert list(found["quai_derived"]) == ["one"]
    assert found["quai_derived"]["one"]["version"] == "9.9"


def test_facts_hold_no_values_of_secrets(controller: Controller) -> None:
    controller.vault_file.write_text("vault_one: {KEY: hunter2, BROUGHT: hunter3}\n")
    facts = controller.facts("alpha", secrets=True)
    assert "hunter" not in json.dumps(facts)
    assert facts["alpha"]["quai_derived"]["one"]["docker_stack_secrets"]["web"]["environment"]["KEY"] == "${KEY}"


def test_environment_s_settings_and_overrides_apply(controller: Controller) -> None:
    controller.set(
        quai_registry="",
        quai_certificate={"provider": "selfsigned"},
        quai_overrides={"one": {"docker_stack_ready_timeout": 7}},
    )
    one = controller.facts("alpha")["alpha"]["quai_derived"]["one"]
    assert one["docker_stack_ready_timeout"] == 7
    assert one["nginx_tls_certificates"][0]["provider"] == "selfsigned"


def test_refuses_with_every_problem_and_where_to_mend_it(controller: Controller) -> None:
    controller.declare("two-b", TWO.replace("3001", "3000").replace("image", "imagee"))
    said = controller.failure()
    where = "inventories/lab/group_vars/all/vault_one.yml"
    for line in (
        "projects/one.yml, projects/two-b.yml: 5 problems, no host was touched.",
        (
            f"projects/one.yml:8: secrets.KEY has no value in this environment; set vault_one.KEY in {where}"
            " or run: ansible-playbook playbooks/secrets.yml -e project=one"
        ),
        (
            f"projects/one.yml:9: secrets.BROUGHT has no value in this environment; set vault_one.BROUGHT in {where};"
            " get it from: a person"
        ),
        'projects/two-b.yml:4: services.web.imagee is unknown (did you mean "image"?)',
        "projects/two-b.yml:4: services.web.port is 3000, is already the port of one services.web on host alpha",
    ):
        assert line in said


def test_refuses_broken_yaml_together_with_other_problems(controller: Controller) -> None:
    controller.declare("two-b", "name: [\n")
    controller.declare("one", ONE.replace("3000", "three"))
    said = controller.failure(secrets=False)
    assert "projects/one.yml, projects/two-b.yml: 2 problems, no host was touched." in said
    assert 'services.web.port is "three", must be a whole number from 1 to 65535' in said
    assert "projects/two-b.yml:2:1: is not YAML: while parsing a flow node" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"projects": ["onee"]}, 'projects/onee.yml: does not exist (did you mean "one"?)'),
        ({"projects": ["zzz"]}, "projects/zzz.yml: does not exist; declared: one, two-b"),
        ({"projects_dir": "/nowhere"}, "projects: no such directory; looked for /nowhere"),
        ({"wrong": 1}, "Unsupported parameters"),
    ],
)
def test_refuses_what_is_not_there(controller: Controller, options: dict[str, Any], message: str) -> None:
    assert message in controller.failure(secrets=False, **options)


def test_refuses_a_release_without_version(controller: Controller) -> None:
    controller.set(quai_environment="lab")
    assert (
        "projects/one.yml: has no version to release; add -e version=1.2.3 or set quai_versions.one in the inventory"
        in controller.failure(projects=["one"], secrets=False, release=True)
    )


def test_a_release_of_public_images_only_needs_no_version(controller: Controller) -> None:
    assert controller.facts("alpha", projects=["two-b"], release=True)["alpha"]["quai_project_names"] == ["two-b"]


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("quai_registry", ["x"], "quai_registry must be a str, it is a"),
        ("quai_overrides", {"one": "x"}, "quai_overrides.one must be a dict, it is a"),
        ("vault_one", "x", "vault_one must be a dict, it is a"),
    ],
)
def test_refuses_inventory_variables_of_a_wrong_type(
    controller: Controller, variable: str, value: Any, message: str
) -> None:
    controller.set(**{variable: value})
    assert message in controller.failure()


# ---- the playbooks ---------------------------------------------------------------------------------------------


def test_explain_shows_everything_and_no_value(controller: Controller) -> None:
    controller.vault_file.write_text("vault_one: {KEY: hunter2}\n")
    run = controller.run(
        ROOT / "playbooks" / "explain.yml", "-e", "project=one", "-e", f"quai_projects_dir={controller.root}/projects"
    )
    assert run.returncode == 0, run.stdout + run.stderr
    for words in ("one on alpha", "container_name: one_web", "KEY: ${KEY}", "image: registry.lab:5000/one/web:1.2.3"):
        assert words in run.stdout
    assert "hunter2" not in run.stdout


def test_explain_of_all_projects(controller: Controller) -> None:
    run = controller.run(ROOT / "playbooks" / "explain.yml", "-e", f"quai_projects_dir={controller.root}/projects")
    assert "one on alpha" in run.stdout
    assert "two-b on alpha, beta" in run.stdout


def make_secrets(controller: Controller, *arguments: str) -> subprocess.CompletedProcess[str]:
    own = f"quai_projects_dir={controller.root}/projects"
    return controller.run(ROOT / "playbooks" / "secrets.yml", "-e", "project=one", "-e", own, *arguments)


def values(controller: Controller) -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load(controller.vault_file.read_text())["vault_one"]
    return found


def test_secrets_are_completed_once(controller: Controller) -> None:
    controller.set(quai_environment="lab", quai_secrets_plaintext=True)
    first = make_secrets(controller)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "changed=1" in first.stdout
    assert "BROUGHT: a person" in first.stdout
    assert stat.S_IMODE(controller.vault_file.stat().st_mode) == 0o600
    made = values(controller)
    assert list(made) == ["KEY"]
    assert len(made["KEY"]) == 32
    assert made["KEY"] not in first.stdout + first.stderr
    second = make_secrets(controller)
    assert "changed=0" in second.stdout
    assert values(controller) == made
    assert [path.name for path in controller.variables.iterdir() if "vault" in path.name] == ["vault_one.yml"]


def test_secrets_in_check_mode_write_nothing(controller: Controller) -> None:
    controller.set(quai_environment="lab", quai_secrets_plaintext=True)
    run = make_secrets(controller, "--check")
    assert "changed=1" in run.stdout
    assert not controller.vault_file.exists()


def test_a_laboratory_gets_placeholders(controller: Controller) -> None:
    controller.set(quai_environment="lab", quai_secrets_plaintext=True, quai_generate_supplied=True)
    assert make_secrets(controller).returncode == 0
    assert values(controller)["BROUGHT"].startswith("placeholder-")


def test_a_value_that_is_there_is_never_touched(controller: Controller) -> None:
    controller.set(quai_environment="lab", quai_secrets_plaintext=True)
    controller.vault_file.write_text("vault_one: {BROUGHT: mine, OLD: kept}\n")
    assert make_secrets(controller).returncode == 0
    made = values(controller)
    assert (made["BROUGHT"], made["OLD"], len(made["KEY"])) == ("mine", "kept", 32)


def test_secrets_are_encrypted_where_there_is_a_password(controller: Controller) -> None:
    controller.set(quai_environment="production")
    password = controller.root / "password"
    password.write_text("correct horse\n")
    vault = ("--vault-password-file", str(password))
    run = make_secrets(controller, *vault)
    assert run.returncode == 0, run.stdout + run.stderr
    sealed = controller.vault_file.read_bytes()
    assert sealed.startswith(b"$ANSIBLE_VAULT;1.")
    assert stat.S_IMODE(controller.vault_file.stat().st_mode) == 0o600
    assert "changed=0" in make_secrets(controller, *vault).stdout
    assert controller.vault_file.read_bytes() == sealed
    # What was written is what project_facts reads: only the secret that a person brings is still missing.
    facts = controller.play("alpha", [{"quai.ops.project_facts": {"projects": ["one"]}}], *vault)
    said = facts.stdout + facts.stderr
    assert "secrets.BROUGHT has no value" in said
    assert "secrets.KEY has no value" not in said


@pytest.mark.parametrize(
    ("variables", "content", "message"),
    [
        pytest.param({}, None, "would hold secrets without encryption, nothing was written", id="no-password"),
        pytest.param(
            {"quai_environment": "production", "quai_secrets_plaintext": True},
            None,
            "is not for production",
            id="plaintext",
        ),
        pytest.param(
            {"quai_secrets_plaintext": True}, None, "is not for production", id="unnamed-environment-is-production"
        ),
        pytest.param(
            {"quai_environment": "production", "quai_generate_supplied": True},
            None,
            "is not for production",
            id="placeholders",
        ),
        pytest.param({}, "other: {A: 1}\n", "must hold vault_one alone", id="other-variables"),
        pytest.param({}, "vault_one: [hunter2\n", "vault_one.yml:2:1 is not YAML", id="broken"),
        pytest.param(
            {},
            "vault_one: {KEY: !vault hunter2}\n",
            "a value of its own !vault cannot be completed here",
            id="inline-vault",
        ),
    ],
)
def test_secrets_refuses(controller: Controller, variables: dict[str, Any], content: str | None, message: str) -> None:
    controller.set(**variables)
    directory = controller.root / "elsewhere"
    directory.mkdir()
    file = directory / "vault_one.yml"
    if content is not None:
        file.write_text(content)
    options = {"project": "one", "directory": str(directory)}
    run = controller.play("localhost", [{"quai.ops.project_secrets": options}])
    said = run.stdout + run.stderr
    assert run.returncode == 2, said
    assert message in said
    assert "hunter2" not in said
    assert (file.read_text() if file.exists() else None) == content


def test_secrets_needs_a_project(controller: Controller) -> None:
    run = controller.run(ROOT / "playbooks" / "secrets.yml")
    assert run.returncode == 2
    assert "say which project: -e project=masstock" in run.stdout + run.stderr
