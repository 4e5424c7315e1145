#!/usr/bin/python
# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give every name a certificate to serve: a placeholder at once, the CA's as soon as it can be had."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tls_certificates
short_description: Give every name a certificate to serve, from an ACME CA, provided, or self-signed
version_added: 1.0.0
author:
  - The quai contributors (@quai-ops)
description:
  - Keeps V(/etc/quai/tls/NAME/fullchain.pem) and V(privkey.pem) for a list of names. Each V(NAME) is a link that is
    exchanged atomically, so a web server never sees a key without its certificate.
  - With O(phase=prepare), every name gets a usable pair without asking anybody, a self-signed placeholder if need be.
    With O(phase=issue), the CA is asked for what is missing, expires, or is for other names or from another CA.
  - A certificate that serves is kept until a better one is here, whatever fails.
  - The flag V(nginx) is raised on the host when the served pair changed; M(quai.ops.units) acts on it.
requirements:
  - openssl
  - certbot and, for O(certificates[].challenge=dns-01), its plugin, with O(phase=issue)
attributes:
  check_mode:
    support: full
    description: Says what would be made, issued and removed. Nobody is asked and nothing is written.
    details: Whether the CA would agree is only known when it is asked.
  diff_mode:
    support: full
    description: Names, issuer and expiry before and after, never a key.
  idempotent:
    support: full
    description: A second run changes nothing until a certificate comes near its end.
options:
  phase:
    description:
      - V(prepare) runs before the web server is configured, V(issue) once it answers the challenge.
    type: str
    choices: [prepare, issue]
    required: true
  certificates:
    description: The complete list. With O(phase=issue), what the store has beyond it is removed.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the certificate, usually its first domain.
        type: str
        required: true
      domains:
        description: The names it is for. V(*.example.org) needs O(certificates[].challenge=dns-01).
        type: list
        elements: str
        default: []
      provider:
        description: Where it comes from.
        type: str
        choices: [acme, selfsigned, provided]
        default: acme
      challenge:
        description: How the CA is shown that the domains are this host's.
        type: str
        choices: [http-01, dns-01]
        default: http-01
      certificate_file:
        description: Path on the host of a provided certificate with its chain.
        type: path
      key_file:
        description: Path on the host of its key.
        type: path
      certificate:
        description: A provided certificate with its chain, as PEM text.
        type: str
      key:
        description: Its key, as PEM text.
        type: str
      state:
        description: V(absent) removes it, also from certbot.
        type: str
        choices: [present, absent]
        default: present
  acme:
    description: The CA.
    type: dict
    default: {}
    suboptions:
      directory_url:
        description: V(production) and V(staging) are Let's Encrypt; any other CA by the address of its directory.
        type: str
        default: production
      email:
        description: Address of the account. None is registered when empty.
        type: str
        default: ""
      ca_bundle:
        description: Path on the host of the certificates that the CA's own server is verified with.
        type: str
        default: ""
      dns_plugin:
        description: Certbot's DNS plugin, without the V(dns-) in front.
        type: str
        default: ""
      dns_credentials_file:
        description: Path on the host of the plugin's credentials.
        type: str
        default: ""
      dns_propagation_seconds:
        description: How long the plugin waits before the CA looks.
        type: int
        default: 60
      preflight:
        description:
          - Whether to fetch a token through each domain before the CA is asked. Switch it off where the host cannot
            reach itself by its public address.
        type: bool
        default: true
  webroot:
    description: Directory that the web server serves the challenge's path from.
    type: path
    default: /var/lib/quai/acme
  renew_days:
    description:
      - A certificate with fewer days left is asked for again. Certbot's timer does so earlier (30 days), so this only
        acts when the timer could not.
    type: int
    default: 21
seealso:
  - module: quai.ops.units
"""

EXAMPLES = r"""
- name: Configure | Give every site a certificate to start with
  quai.ops.tls_certificates:
    phase: prepare
    certificates:
      - {name: app.example.org, domains: [app.example.org]}
    acme: {email: ops@example.org}
  register: __web_certificates

- name: Certificates | Ask the CA for what is missing
  quai.ops.tls_certificates:
    phase: issue
    certificates:
      - {name: app.example.org, domains: [app.example.org]}
    acme: {email: ops@example.org}
  when: __web_certificates.todo | length > 0
"""

RETURN = r"""
certificates:
  description: What is served under each name after the run. In check mode what is served now.
  returned: always
  type: list
  elements: dict
  sample:
    - name: app.example.org
      names: [app.example.org]
      issuer: CN=E7,O=Let's Encrypt,C=US
      not_after: "2027-02-19T02:14:07Z"
      serial: 03a1
      source: acme
      changed: true
      actions: ["issued by https://acme-v02.api.letsencrypt.org/directory: none was issued yet"]
todo:
  description: What is left for O(phase=issue), with reasons; empty when it has nothing to do.
  returned: always
  type: dict
  sample: {app.example.org: none was issued yet}
missing:
  description: Names without a usable pair. Only in check mode, where none is made.
  returned: always
  type: list
  elements: str
  sample: []
pending:
  description: Flags that are raised on the host now. In check mode those that would be.
  returned: always
  type: list
  elements: str
  sample: [nginx]
failures:
  description: Reasons for each certificate that could not be had.
  returned: failure
  type: dict
  sample: {}
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.quai.ops.plugins.module_utils import _tls_work


def main() -> None:
    """Check the parameters, do the work, answer."""
    module = AnsibleModule(
        argument_spec={
            "phase": {"choices": ["prepare", "issue"], "required": True},
            "certificates": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "domains": {"type": "list", "elements": "str", "default": []},
                    "provider": {"choices": ["acme", "selfsigned", "provided"], "default": "acme"},
                    "challenge": {"choices": ["http-01", "dns-01"], "default": "http-01"},
                    "certificate_file": {"type": "path"},
                    "key_file": {"type": "path", "no_log": False},
                    "certificate": {"type": "str"},
                    "key": {"type": "str", "no_log": True},
                    "state": {"choices": ["present", "absent"], "default": "present"},
                },
                "mutually_exclusive": [["certificate_file", "certificate"], ["key_file", "key"]],
            },
            "acme": {
                "type": "dict",
                "default": {},
                "apply_defaults": True,
                "options": {
                    "directory_url": {"type": "str", "default": "production"},
                    "email": {"type": "str", "default": ""},
                    "ca_bundle": {"type": "str", "default": ""},
                    "dns_plugin": {"type": "str", "default": ""},
                    "dns_credentials_file": {"type": "str", "default": ""},
                    "dns_propagation_seconds": {"type": "int", "default": 60},
                    "preflight": {"type": "bool", "default": True},
                },
            },
            "webroot": {"type": "path", "default": "/var/lib/quai/acme"},
            "renew_days": {"type": "int", "default": 21},
        },
        supports_check_mode=True,
    )
    try:
        outcome = _tls_work.run(module.params, act=not module.check_mode, now=time.time())
    except _tls_work.WorkError as error:
        module.fail_json(msg=str(error))
    if outcome.failures:
        module.fail_json(msg=outcome.message, failures=outcome.failures, **outcome.result)
    module.exit_json(**outcome.result)


if __name__ == "__main__":
    main()
