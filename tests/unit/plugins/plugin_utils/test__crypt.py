# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hashes of passwords beside those of openssl."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.quai.ops.plugins.plugin_utils._crypt import sha512_crypt, stable_salt


@pytest.mark.parametrize(
    ("password", "salt"),
    [("x", "a"), ("correct horse", "saltsalt"), ("é ✓ $x", "./Zz"), *(("0" * n, "0" * 16) for n in (63, 64, 65, 129))],
)
def test_the_same_as_openssl(password: str, salt: str) -> None:
    command = ["openssl", "passwd", "-6", "-salt", salt, "-stdin"]
    done = subprocess.run(command, input=password, capture_output=True, text=True, check=True)
    assert sha512_crypt(password, salt) == done.stdout.strip()


@pytest.mark.parametrize("salt", ["", "a" * 17, "a$b"])
def test_a_salt_that_is_none(salt: str) -> None:
    with pytest.raises(ValueError, match="1 to 16 characters"):
        sha512_crypt("x", salt)


def test_a_stable_salt() -> None:
    """The same in the same place; another one elsewhere, and for another password."""
    salt = stable_salt("x", "site", "ann")
    assert salt == stable_salt("x", "site", "ann")
    assert (
        len({salt, stable_salt("y", "site", "ann"), stable_salt("x", "site", "bob"), stable_salt("x", "o", "a")}) == 4
    )
    assert sha512_crypt("x", salt).startswith(f"$6${salt}$")
