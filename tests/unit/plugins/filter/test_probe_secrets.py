# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Only named secrets reach a host, and a missing one is refused by its name."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.quai.ops.plugins.filter.probe_secrets import probe_secrets

VAULTS = {"shop": {"TOKEN": "t0ken", "OTHER": "never"}, "two-b": {"URL": "u"}}


def test_only_named_ones_are_picked() -> None:
    wanted = [{"headers": {"A": "Bearer ${shop.TOKEN}"}, "steps": [{"body": "x ${two-b.URL} $${shop.OTHER}"}]}]
    assert probe_secrets(wanted, VAULTS) == {"shop.TOKEN": "t0ken", "two-b.URL": "u"}


def test_a_missing_one_is_named_and_no_value_shown() -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        probe_secrets(["${shop.GONE}", "${shop.TOKEN}", "${nobody.X}"], VAULTS)
    assert "nobody.X, shop.GONE" in str(caught.value)
    assert "t0ken" not in str(caught.value)


def test_nothing_named_is_nothing_picked() -> None:
    assert probe_secrets([], {}) == {}
