# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role nginx_tls; the logic is in plugin_utils/_nginx_sites.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.quai.ops.plugins.plugin_utils import _nginx_sites


def nginx_site_file(site: Mapping[str, Any]) -> dict[str, Any]:
    """Entry for C(quai.ops.file_set): the file of one normalised site. What only its users know is left out."""
    auth = {key: value for key, value in (site.get("basic_auth") or {}).items() if key != "users"}
    return {
        "path": f"/etc/nginx/quai/sites/{site['name']}.conf",
        "template": "etc/nginx/quai/sites/site.conf.j2",
        "vars": {"site": {**site, "basic_auth": auth}},
        "mode": "0644",
        "notify": ["nginx"],
    }


def nginx_password_file(site: Mapping[str, Any]) -> dict[str, Any]:
    """Entry for C(quai.ops.file_set): who may open a site. nginx reads it at each request, so it need not be told."""
    return {
        "path": f"/etc/nginx/quai/passwords/{site['name']}",
        "content": _nginx_sites.htpasswd(site),
        "group": "www-data",
        "mode": "0640",
        "secret": True,
    }


def nginx_site_problems(
    sites: Sequence[Mapping[str, Any]],
    certificates: Sequence[Mapping[str, Any]],
    zones: Mapping[str, Mapping[str, Any]],
    acme: Mapping[str, Any],
) -> list[str]:
    """What is wrong with the role's variables; empty when nothing is."""
    return _nginx_sites.problems(sites, certificates, zones, acme)


def nginx_sites(
    sites: Sequence[Mapping[str, Any]], zones: Mapping[str, Mapping[str, Any]], headers: Mapping[str, str | None]
) -> list[dict[str, Any]]:
    """The sites to serve, with everything the templates print worked out."""
    return _nginx_sites.normalise(sites, zones, headers)


class FilterModule:
    """Filters for Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names and functions."""
        return {
            "nginx_password_file": nginx_password_file,
            "nginx_site_file": nginx_site_file,
            "nginx_site_problems": nginx_site_problems,
            "nginx_sites": nginx_sites,
        }
