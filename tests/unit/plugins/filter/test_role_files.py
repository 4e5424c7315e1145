# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets as files and mounts, and the other entries that roles need."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.quai.ops.plugins.filter import role_files
from ansible_collections.quai.ops.plugins.module_utils import _compose

DIRECTORY = "/etc/quai/shop/secrets"
SECRETS: dict[str, Any] = {
    "web": {"owner": 1000, "environment": {"KEY": "hunter2", "A": 1}, "files": {"/etc/web/key.pem": "PEM", "/b": "B"}},
    "db": {"environment": {"PASSWORD": "hunter3"}},
    "proxy": {"owner": 33, "files": {"/etc/proxy.key": "PEM"}},
}
NASTY = [
    "",
    " ",
    "it's",
    "a'b'c",
    '"',
    "$HOME",
    "`id`",
    "$(id)",
    "a\nb\n",
    "\\",
    "\\n",
    "#no",
    "é ✓",
    "a=b",
    "!x",
    "*",
    "~",
]


@pytest.mark.parametrize("value", NASTY, ids=repr)
def test_a_shell_reads_back_exactly_what_was_given(value: str, tmp_path: Path) -> None:
    (tmp_path / "env").write_text(role_files.environment_text({"VALUE": value}), encoding="utf-8")
    script = f"set -a; . {tmp_path}/env; set +a; exec printenv VALUE"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode() == value + "\n"


def test_variables_are_sorted_and_values_may_be_numbers() -> None:
    assert role_files.environment_text({"B": 1, "A": "x"}) == "A='x'\nB='1'\n"
    assert role_files.environment_text({}) == ""


@pytest.mark.parametrize("name", ["1A", "A-B", "A B", "", "A;id", "A\n", "Ä"])
def test_a_name_that_a_shell_does_not_take(name: str) -> None:
    with pytest.raises(AnsibleFilterError, match="is not the name of an environment variable"):
        role_files.environment_text({name: "x"})


def test_files() -> None:
    entries = role_files.secret_files(SECRETS, DIRECTORY)
    assert entries[0] == {"path": DIRECTORY, "state": "directory", "mode": "0700"}
    told = {entry["path"].partition(".")[0][len(DIRECTORY) + 1 :] + entry["path"][-8:]: entry for entry in entries[1:]}
    assert len(told) == 5
    for entry in entries[1:]:
        assert (entry["mode"], entry["secret"]) == ("0600", True)
        assert entry["owner"] == entry["group"]
        assert _compose.SECRET_FILE.search(entry["path"].rpartition("/")[2]), "the release could not tidy it away"
    assert [(entry["owner"], entry["content"]) for entry in entries[1:]] == [
        ("0", "PASSWORD='hunter3'\n"),
        ("33", "PEM"),
        ("1000", "A='1'\nKEY='hunter2'\n"),
        ("1000", "B"),
        ("1000", "PEM"),
    ]


def test_mounts_are_of_those_files() -> None:
    files = {entry["path"] for entry in role_files.secret_files(SECRETS, DIRECTORY)[1:]}
    mounts = role_files.secret_mounts(SECRETS, DIRECTORY)
    assert {mount["environment"] for mount in mounts.values()} - {""} | {
        source for mount in mounts.values() for source in mount["files"]
    } == files
    assert sorted(mounts["web"]["files"].values()) == ["/b", "/etc/web/key.pem"]
    assert mounts["proxy"]["environment"] == ""
    assert mounts["db"]["files"] == {}


def test_mounts_hold_no_secret() -> None:
    told = json.dumps(role_files.secret_mounts(SECRETS, DIRECTORY))
    assert "hunter" not in told
    assert "PEM" not in told


def test_nothing_for_a_stack_without_secrets() -> None:
    assert role_files.secret_files({}, DIRECTORY) == []
    assert role_files.secret_mounts({}, DIRECTORY) == {}


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        pytest.param({"environment": {"KEY": "hunter2", "A": 2}}, True, id="value"),
        pytest.param({"environment": {"KEY": "hunter2"}}, True, id="variable-gone"),
        pytest.param({"files": {"/b": "B"}}, True, id="file-gone"),
        pytest.param({"files": {"/etc/web/key.pem": "PEM2", "/b": "B"}}, True, id="file"),
        pytest.param({"owner": 1001}, True, id="owner"),
        pytest.param({"environment": {"A": 1, "KEY": "hunter2"}}, False, id="order"),
        pytest.param({}, False, id="nothing"),
    ],
)
def test_the_name_changes_with_the_content_so_that_a_failed_release_can_return(
    change: dict[str, Any], moves: bool
) -> None:
    before = role_files.secret_mounts(SECRETS, DIRECTORY)
    after = role_files.secret_mounts({**SECRETS, "web": {**SECRETS["web"], **change}}, DIRECTORY)
    assert (before["web"]["environment"] != after["web"]["environment"]) is moves
    assert before["db"] == after["db"]


def test_equal_secrets_of_two_services_do_not_look_equal() -> None:
    mounts = role_files.secret_mounts({"a": SECRETS["db"], "b": SECRETS["db"]}, DIRECTORY)
    assert mounts["a"]["environment"].split(".")[1] != mounts["b"]["environment"].split(".")[1]


def test_registry_logins() -> None:
    logins = role_files.registry_logins(
        [
            {"host": "registry.example.org:5000", "username": "deploy", "password": "pass:word"},
            {"host": "docker.io", "username": "deploy", "password": "x"},
            {"host": "open.example.org", "username": ""},
        ]
    )
    assert base64.b64decode(logins["auths"]["registry.example.org:5000"]["auth"]) == b"deploy:pass:word"
    # Docker Hub's login is found under this name only.
    assert sorted(logins["auths"]) == ["https://index.docker.io/v1/", "registry.example.org:5000"]


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_certificates_of_authorities_end_with_one_newline(end: str) -> None:
    assert role_files.registry_ca_file({"host": "r.example.org:5000", "ca_certificate": f"PEM{end}"}) == {
        "path": "/etc/docker/certs.d/r.example.org:5000/ca.crt",
        "content": "PEM\n",
        "mode": "0644",
    }
    assert role_files.authority_file({"key": "lab", "value": f"PEM{end}"}) == {
        "path": "/etc/quai/ca/lab.pem",
        "content": "PEM\n",
        "mode": "0644",
    }


def test_all_are_offered_as_filters() -> None:
    assert set(role_files.FilterModule().filters()) >= {
        "authority_file",
        "registry_ca_file",
        "registry_logins",
        "secret_files",
        "secret_mounts",
    }
