# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every complaint about a declaration, word for word, and the declarations that must get none."""

from __future__ import annotations

import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.plugin_utils._load import Document, load_file, load_text
from ansible_collections.quai.ops.plugins.plugin_utils._problems import DeclarationError, report
from ansible_collections.quai.ops.plugins.plugin_utils._validate import Surroundings, validate

ROOT = Path(__file__).parents[3]
FIXTURES = Path(__file__).parent / "fixtures"
EXAMPLES = sorted({p.name: p for p in (*FIXTURES.glob("*.yml"), *(ROOT / "projects").glob("*.yml"))}.values())

TOP = "name: demo\ntitle: Demo\n"  # what a case adds starts on line 3
WEB = "services:\n  web: {image: demo/web, port: 8000}\n"  # ... and after this on line 5


def document(text: str, name: str = "demo") -> Document:
    return load_text(textwrap.dedent(text), f"projects/{name}.yml")


def complaints(text: str, around: Surroundings | None = None, name: str = "demo") -> list[str]:
    _declarations, problems = validate([document(text, name)], around)
    return [str(problem) for problem in problems]


FORM = [
    pytest.param(
        TOP + "services:\n  api: {image: demo/api, port: 3000a}\n",
        ['4: services.api.port is "3000a", must be a whole number from 1 to 65535'],
        id="integer",
    ),
    pytest.param(
        TOP + "services:\n  api: {image: demo/api, port: 70000}\n",
        ["4: services.api.port is 70000, must be a whole number from 1 to 65535"],
        id="integer-out-of-range",
    ),
    pytest.param(
        TOP + "services:\n  api: {image: demo/api, port: true}\n",
        ["4: services.api.port is true, must be a whole number from 1 to 65535"],
        id="true-is-no-integer",
    ),
    pytest.param(
        TOP + WEB + "requirements: {memory_mb: 12}\n",
        ["5: requirements.memory_mb is 12, must be a whole number of at least 64"],
        id="integer-at-least",
    ),
    pytest.param(
        TOP + WEB + "settings: {X: {description: x, value: 1, maximum: high, services: [web]}}\n",
        ['5: settings.X.maximum is "high", must be a number'],
        id="number",
    ),
    pytest.param(
        TOP + "services:\n  web: {image: demo/web, init: 'yes'}\n",
        ['4: services.web.init is "yes", must be true or false'],
        id="boolean",
    ),
    pytest.param(
        TOP + "services:\n  web: {image: demo/web, restart: allways}\n",
        [
            (
                '4: services.web.restart is "allways", must be one of unless-stopped, always, on-failure, no'
                ' (did you mean "always"?)'
            )
        ],
        id="choice",
    ),
    pytest.param(
        TOP + "services:\n  web: {image: [x]}\n",
        [
            (
                "4: services.web.image is a list, must be an image such as redis:7-alpine, or masstock/backend for"
                " an own image that gets the release's version"
            )
        ],
        id="text-from-list",
    ),
    pytest.param(
        TOP + WEB + "requirements: {docker: 20.10}\n",
        ["5: requirements.docker is 20.1, must be a version such as 20.10; put it in quotes"],
        id="text-from-number",
    ),
    pytest.param(
        TOP + WEB + "domains:\n",
        ["5: domains is empty, must be a mapping of names"],
        id="empty-section",
    ),
    pytest.param(
        TOP + WEB + "domains: [a]\n",
        ["5: domains is a list, must be a mapping of names"],
        id="mapping-from-list",
    ),
    pytest.param(
        TOP + "services:\n  web: demo/web\n",
        ['4: services.web is "demo/web", must be a mapping of fields'],
        id="object-from-text",
    ),
    pytest.param(
        TOP + "services:\n  web: {image: demo/web, command: node server.js}\n",
        ['4: services.web.command is "node server.js", must be a list'],
        id="list-from-text",
    ),
    pytest.param(
        TOP + WEB + "domains: {web: {names: [], service: web}}\n",
        ["5: domains.web.names has no item, must have at least one"],
        id="empty-list",
    ),
    pytest.param(TOP + "services: {}\n", ["3: services has no entry, must have at least one"], id="empty-mapping"),
    pytest.param(
        TOP + "services:\n  web: {image: demo/web, environment: {A: [1]}}\n",
        ["4: services.web.environment.A is a list, must be text, a number, true or false"],
        id="scalar",
    ),
    pytest.param(
        TOP + "services:\n  web: {image: demo/web, environment: {A: }}\n",
        ["4: services.web.environment.A is empty, must be text, a number, true or false"],
        id="scalar-empty",
    ),
    pytest.param(
        TOP + WEB + "overrides: nothing\n", ['5: overrides is "nothing", must be a mapping'], id="overrides-from-text"
    ),
    pytest.param(
        TOP + "services:\n  web: {imagee: demo/web}\n",
        [
            (
                "4: services.web.image is missing, must be an image such as redis:7-alpine, or masstock/backend for"
                " an own image that gets the release's version"
            ),
            '4: services.web.imagee is unknown (did you mean "image"?)',
        ],
        id="unknown-key-near",
    ),
    pytest.param(
        TOP + WEB + "volumes: {data: {zzz: 1}}\n",
        ["5: volumes.data.zzz is unknown; known here: description, shared"],
        id="unknown-key-far",
    ),
    pytest.param(
        "title: Demo\n" + WEB,
        [
            (
                "1: name is missing, must be a name of lower-case letters, digits and dashes that"
                " starts with a letter, 32 characters at most"
            )
        ],
        id="missing",
    ),
    pytest.param(
        TOP + "services:\n  web: {image: demo/web, root: dist}\n",
        ["4: services.web.root is only for runtime: static; runtime is compose"],
        id="field-of-another-runtime",
    ),
    pytest.param(
        TOP + "services:\n  web: {runtime: pm2}\nsource: {repository: x}\n",
        [
            (
                "4: services.web.script is missing, must be a path inside the release that neither starts with /"
                " nor climbs with .."
            )
        ],
        id="missing-for-runtime",
    ),
    pytest.param(
        TOP + "services:\n  web: {image: demo/web, port: 8000, health: {interval: 5s}}\n",
        ["4: services.web.health has none, must have exactly one of http, command, shell"],
        id="exactly-one-none",
    ),
    pytest.param(
        TOP + "services:\n  web: {image: demo/web, port: 8000, health: {http: /, shell: x}}\n",
        ["4: services.web.health has http and shell, must have exactly one of http, command, shell"],
        id="exactly-one-two",
    ),
    pytest.param(
        TOP + WEB + "domains: {d: {names: [a.fr], service: web}}\nprobes: {p: {service: web, domain: d}}\n",
        ["6: probes.p has domain and service, must have at most one of url, domain, service"],
        id="at-most-one",
    ),
    pytest.param(
        TOP + WEB + "contacts: {ops: {role: Ops, level: 1}}\n",
        ["5: contacts.ops has none, must have at least one of email, phone, link"],
        id="at-least-one",
    ),
    pytest.param(
        TOP + "services:\n  Web: {image: demo/web}\n",
        [
            (
                "4: services.Web has a wrong name: must be a name of lower-case letters, digits and dashes that"
                " starts with a"
                " letter, 32 characters at most"
            )
        ],
        id="name-of-service",
    ),
    pytest.param(
        TOP + WEB + "severities: {hihg: {respond_within: 1h, notify: [x]}}\n",
        ['5: severities.hihg has a wrong name: must be one of critical, high, medium, low (did you mean "high"?)'],
        id="name-of-severity",
    ),
    pytest.param(
        TOP + "services:\n  web: {image: demo/web, environment: {A-B: 1}}\n",
        ["4: services.web.environment.A-B has a wrong name: must be a variable name such as LOG_LEVEL"],
        id="name-of-variable",
    ),
    pytest.param(
        TOP + "services:\n  web: {image: demo/web, files: {etc/x: y}}\n",
        ['4: services.web.files["etc/x"] has a wrong name: must be an absolute path such as /app/uploads'],
        id="path-as-key",
    ),
    pytest.param(
        "- demo\n", ["1: is no declaration, it must be a mapping that starts with name: and title:"], id="a-list"
    ),
]

LONG = "a" * 80
FORMATS = [
    (
        "domain",
        "domains: {{d: {{names: [{}], service: web}}}}",
        "domains.d.names[0]",
        "API.example.fr",
        "must be a domain name in lower case such as api.example.com",
    ),
    (
        "domain-without-dot",
        "domains: {{d: {{names: [{}], service: web}}}}",
        "domains.d.names[0]",
        "localhost",
        "must be a domain name in lower case such as api.example.com",
    ),
    (
        "origin",
        "domains: {{d: {{names: [a.fr], service: web, cors: {{allowed_origins: [{}]}}}}}}",
        "domains.d.cors.allowed_origins[0]",
        "https://a.fr/x",
        "must be an origin such as https://app.example.com, without a path",
    ),
    (
        "url",
        "domains: {{d: {{names: [a.fr], redirect_to: '{}'}}}}",
        "domains.d.redirect_to",
        "a.fr",
        "must be an address that starts with http:// or https://",
    ),
    (
        "urlpath",
        "probes: {{p: {{service: web, path: '{}'}}}}",
        "probes.p.path",
        "health",
        "must be a path that starts with /, without blanks, quotes, braces or ;",
    ),
    ("email", "channels: {{c: {{type: mail, to: ['{}']}}}}", "channels.c.to[0]", "ops", "must be a mail address"),
    (
        "duration",
        "release: {{health_timeout: '{}'}}",
        "release.health_timeout",
        "5 minutes",
        "must be a duration such as 30s, 10m, 1h or 7d",
    ),
    (
        "size",
        "rate_zones: {{z: {{rate: 1r/s, size: '{}'}}}}",
        "rate_zones.z.size",
        "10mb",
        "must be a size such as 512k, 10m or 5g",
    ),
    (
        "rate",
        "rate_zones: {{z: {{rate: '{}'}}}}",
        "rate_zones.z.rate",
        "10/s",
        "must be a rate such as 10r/s or 100r/m",
    ),
    (
        "network",
        "domains: {{d: {{names: [a.fr], service: web, allow: ['{}']}}}}",
        "domains.d.allow[0]",
        "office",
        "must be an address or network such as 192.0.2.0/24",
    ),
    (
        "network-bits",
        "domains: {{d: {{names: [a.fr], service: web, allow: ['{}']}}}}",
        "domains.d.allow[0]",
        "192.0.2.7/24",
        "must be an address or network such as 192.0.2.0/24 (192.0.2.7/24 has host bits set)",
    ),
    (
        "relative",
        "source: {{repository: x, shared: ['{}']}}",
        "source.shared[0]",
        "../media",
        "must be a path inside the release that neither starts with / nor climbs with ..",
    ),
    (
        "absolute",
        "domains: {{d: {{names: [a.fr], service: web, certificate: {{key_file: '{}'}}}}}}",
        "domains.d.certificate.key_file",
        "/etc/../key",
        "must be an absolute path such as /app/uploads",
    ),
    ("path", "files: {{f: {{path: '{}'}}}}", "files.f.path", "a b", "must be a path without spaces or .."),
    (
        "user",
        "logs: {{l: {{path: /x, create: {{owner: '{}'}}}}}}",
        "logs.l.create.owner",
        "No One",
        "must be a user name or uid, with :group if wanted",
    ),
    (
        "mode",
        "files: {{f: {{path: x, mode: '{}'}}}}",
        "files.f.mode",
        "755",
        'must be a file mode in quotes such as "0644"',
    ),
    (
        "one-line",
        "volumes: {{v: {{description: '{}'}}}}",
        "volumes.v.description",
        "a\n\n    b",
        "must be text on one line",
    ),
    (
        "long-values-are-shortened",
        "requirements: {{docker: {}}}",
        "requirements.docker",
        LONG,
        "must be a version such as 20.10",
    ),
]

SCHEDULES = [
    ("cron", "0 2 * * 0", "; this is cron's way of writing, write Sun *-*-* 02:00:00"),
    ("cron-day-of-month", "30 4 1 * *", "; this is cron's way of writing, write *-*-01 04:30:00"),
    ("cron-complex", "*/5 * * * *", "; this is cron's way of writing"),
    ("hour", "*-*-* 25:00:00", "; hour 25 does not exist"),
    ("minute", "*-*-* 02:61", "; minute 61 does not exist"),
    ("month", "*-13-01", "; month 13 does not exist"),
    ("weekday", "Sonntag 02:00", ""),
    ("word", "nightly", ""),
]

REFERENCES = [
    (
        "domain-service",
        "domains:\n  d: {names: [a.fr], service: wep}\n",
        ['6: domains.d.service is "wep", no such service (did you mean "web"?)'],
    ),
    (
        "far-name-lists-all",
        "domains:\n  d: {names: [a.fr], service: database}\n",
        ['6: domains.d.service is "database", no such service; declared: web'],
    ),
    (
        "rate-zone",
        "domains:\n  d: {names: [a.fr], service: web, rate_limits: [{zone: api}]}\n",
        ['6: domains.d.rate_limits[0].zone is "api", no such rate zone; rate_zones declares none'],
    ),
    (
        "probe-of-release",
        "release:\n  verify: [site]\n",
        ['6: release.verify[0] is "site", no such probe; probes declares none'],
    ),
    (
        "backup-destination",
        (
            "files: {f: {path: x}}\nbackups:\n  b: {files: [f], schedule: daily, keep: {last: 1}, copies: [{to:"
            " s3, keep: {last: 1}}]}\n"
        ),
        ['7: backups.b.copies[0].to is "s3", no such destination; destinations declares none'],
    ),
    (
        "queue",
        "probes:\n  p: {type: queue, queue: jobs}\n",
        ['6: probes.p.queue is "jobs", no such queue; queues declares none'],
    ),
    (
        "channel",
        "severities:\n  low: {respond_within: 1h, notify: [mail]}\n",
        ['6: severities.low.notify[0] is "mail", no such channel; channels declares none'],
    ),
    (
        "queue-rule",
        (
            "redis: {r: {host: h}}\nqueues:\n  q:\n    {library: bull, redis: r, worker: web, keep_failed: 1d, clean: ["
            "{state: delayed, older_than: 1d, failed_reason: x}, {state: delayed, keep_last: 5}, {state: wait}]}\n"
        ),
        [
            "8: queues.q.clean[0] failed_reason: only failed jobs have one, not delayed jobs",
            (
                "8: queues.q.clean[1] keep_last: delayed is not sorted by age; it goes with completed, failed,"
                " waiting-children, wait, paused"
            ),
            "8: queues.q.clean[2] has none, must have at least one of older_than, keep_last",
            '8: queues.q.keep_failed is "1d", is not used beside clean; say it there as a rule, or take clean away',
        ],
    ),
    (
        "redis-pattern",
        "redis:\n  r: {host: h, clean: [{pattern: '*'}, {pattern: 'a*'}]}\n",
        [
            (
                '6: redis.r.clean[0].pattern is "*", would match keys of everybody, must begin with what the keys begin'
                " with"
            ),
        ],
    ),
    (
        "cleanup-jobs",
        (
            "redis: {r: {host: h}}\nqueues:\n  q: {library: bull, redis: r, worker: web, protect: true}\n"
            "maintenance:\n  a: {description: a, kind: queue_cleanup, queue: q}\n"
            "  b: {description: b, kind: redis_cleanup, redis: r}\n"
        ),
        [
            '9: maintenance.a.queue is "q", is protected by queues.q.protect',
            '10: maintenance.b.redis is "r", has nothing to clean, must have redis.r.clean',
        ],
    ),
    (
        "checklist-section",
        "checklists:\n  daily: [prob.site]\n",
        ['6: checklists.daily[0] is "prob.site", must start with a section (did you mean "probes"?)'],
    ),
    (
        "checklist-name",
        "probes: {site: {service: web}}\nchecklists:\n  daily: [probes.sit]\n",
        ['7: checklists.daily[0] is "probes.sit", no such probe (did you mean "site"?)'],
    ),
]

RULES = [
    pytest.param(
        "name: other\ntitle: Demo\n" + WEB, ['1: name is "other", must be the file\'s name, demo'], id="name-of-file"
    ),
    pytest.param(
        TOP
        + "services:\n  a: {image: demo/a, depends_on: {b: started}}\n  b: {image: demo/b, depends_on: {a: started}}\n",
        ["4: services.a.depends_on goes in a circle: a -> b -> a"],
        id="circle",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: demo/a, depends_on: {a: started}}\n",
        ["4: services.a.depends_on goes in a circle: a -> a"],
        id="circle-of-one",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: demo/a, depends_on: {reddis: started}}\n  redis: {image: 'redis:7'}\n",
        ['4: services.a.depends_on.reddis names no declared service (did you mean "redis"?)'],
        id="depends-on-nothing",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: demo/a, depends_on: {redis: healthy}}\n  redis: {image: 'redis:7'}\n",
        ['4: services.a.depends_on.redis is "healthy", needs services.redis.health to be declared, or must be started'],
        id="healthy-without-check",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: demo/a, port: 3000}\n  b: {image: demo/b, port: 3000}\n",
        ["5: services.b.port is 3000, is already the port of services.a"],
        id="port-twice",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: demo/a, port: 443}\n",
        ["4: services.a.port is 443, belongs to the host (ssh, http, https); take another"],
        id="port-of-host",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: demo/a, port: 40000}\n",
        ["4: services.a.port is 40000, must not be from 32768 to 60999: any outgoing connection may have taken it"],
        id="port-ephemeral",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: demo/a, public: true}\n",
        ["4: services.a.public is true, publishes nothing, services with public: true must have a port"],
        id="public-without-port",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: demo/a, health: {http: /}}\n",
        ['4: services.a.health.http is "/", needs a port or container_port to ask'],
        id="health-without-port",
    ),
    pytest.param(
        TOP + "services:\n  a: {runtime: systemd}\nsource: {repository: x}\n",
        ["4: services.a.command is missing, a systemd service must say what to run"],
        id="systemd-without-command",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: demo/a, secrets: [K]}\nsecrets: {K: {description: x, generate: {}}}\n",
        [
            (
                "4: services.a.command is missing, must be the image's own or another: quai starts a service with"
                " secrets through a shell that reads them first"
            )
        ],
        id="secrets-without-command",
    ),
    pytest.param(
        TOP + "services:\n  a: {runtime: static, root: dist}\n",
        ["1: source is missing, must say where the code of systemd, pm2 and static services comes from"],
        id="no-source",
    ),
    pytest.param(
        TOP
        + "services:\n  a: {image: demo/a, volumes: {d: /d}}\n  b: {image: demo/b, volumes: {d:"
        + " /d}}\nvolumes: {d: {}}\n",
        ["5: services.b.volumes.d is mounted by a and b; when that is meant, say volumes.d.shared: true"],
        id="volume-of-two",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: demo/a, volumes: {d: /d}}\n",
        ["4: services.a.volumes.d names no declared volume; volumes declares none"],
        id="volume-undeclared",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: 'redis:latest'}\n",
        ['4: services.a.image is "redis:latest", must name a version: latest is another image every day'],
        id="image-latest",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: 'Redis 7'}\n",
        [
            (
                '4: services.a.image is "Redis 7", must be an image such as redis:7-alpine, or masstock/backend for'
                " an own image that gets the release's version"
            )
        ],
        id="image-form",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: demo/a, environment: {JWT_SECRET: hunter2hunter2}}\n",
        [
            (
                "4: services.a.environment.JWT_SECRET looks like a secret with its value in the file (not shown);"
                " declare secrets.JWT_SECRET and list it there"
            )
        ],
        id="literal-secret",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: demo/a, environment: {ADMIN_PASSWORD: 12345}}\n",
        [
            (
                "4: services.a.environment.ADMIN_PASSWORD looks like a secret with its value in the file (not shown);"
                " declare secrets.ADMIN_PASSWORD and list it there"
            )
        ],
        id="literal-secret-number",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: demo/a, environment: {DB: 'postgres://u:hunter2@db/x'}}\n",
        [
            (
                "4: services.a.environment.DB has a password in its address (not shown); declare it under secrets"
                " and write ${NAME} there"
            )
        ],
        id="literal-secret-in-url",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: demo/a, command: [a], environment: {DB: 'postgres://u:${DB_PASS}@db/x'}}\n",
        ['4: services.a.environment.DB is "DB_PASS", no such secret; secrets declares none'],
        id="secret-undeclared-placeholder",
    ),
    pytest.param(
        TOP
        + "services:\n  a: {image: a, command: [a], secrets: [JWT_SECERT]}\nsecrets:\n  JWT_SECRET:"
        + " {description: x, generate: {}}\n",
        ['4: services.a.secrets[0] is "JWT_SECERT", no such secret (did you mean "JWT_SECRET"?)'],
        id="secret-undeclared",
    ),
    pytest.param(
        TOP
        + "services:\n  a: {image: a, command: [a], secrets: [K], environment: {K: '${K}'}}\nsecrets: {K:"
        + " {description: x, generate: {}}}\n",
        ["4: services.a.environment.K is set twice: services.a.secrets has it too"],
        id="variable-twice",
    ),
    pytest.param(
        TOP
        + "services:\n  a: {image: demo/a, environment: {N: 1}}\nsettings: {N: {description: x, value: 1,"
        + " services: [a]}}\n",
        ["4: services.a.environment.N is set twice: settings.N has it too"],
        id="setting-twice",
    ),
    pytest.param(
        TOP + WEB + "domains:\n  a: {names: [a.fr], service: web}\n  b: {names: [b.fr, a.fr], service: web}\n",
        ['7: domains.b.names[1] is "a.fr", is already a name of domains.a'],
        id="domain-twice",
    ),
    pytest.param(
        TOP + WEB + "domains:\n  a: {names: ['*.a.fr'], service: web}\n",
        ['6: domains.a.names[0] is "*.a.fr", is a wildcard, which needs domains.a.certificate.challenge: dns-01'],
        id="wildcard-by-http",
    ),
    pytest.param(
        TOP + WEB + "domains:\n  a: {names: [a.fr], service: web, certificate: {provider: provided, key_file: /k}}\n",
        ["6: domains.a.certificate.certificate_file is missing, must be there where it is provided"],
        id="provided-nowhere",
    ),
    pytest.param(
        TOP + "services:\n  a: {image: demo/a}\ndomains:\n  a: {names: [a.fr], service: a}\n",
        ['6: domains.a.service is "a", has no port that nginx could ask; give services.a.port'],
        id="domain-of-portless",
    ),
    pytest.param(
        TOP + WEB + "databases:\n  d: {engine: postgresql}\n",
        ["6: databases.d cannot be reached, must have url_secret, or a service or host"],
        id="database-nowhere",
    ),
    pytest.param(
        TOP + WEB + "databases:\n  d: {engine: mysql, host: 127.0.0.1, user: u}\n",
        ["6: databases.d lacks database, password_secret, must have them or a url_secret"],
        id="database-half",
    ),
    pytest.param(
        TOP + WEB + "settings:\n  N: {description: x, value: 40, minimum: 1, maximum: 32, services: [web]}\n",
        ["6: settings.N.value is 40, must be a whole number from 1 to 32"],
        id="setting-range",
    ),
    pytest.param(
        TOP
        + WEB
        + "settings:\n  N: {description: x, type: choice, choices: [info, warn], value: inof, services: [web]}\n",
        ['6: settings.N.value is "inof", must be one of info, warn (did you mean "info"?)'],
        id="setting-choice",
    ),
    pytest.param(
        TOP + WEB + "settings:\n  N: {description: x, type: boolean, value: 1, services: [web]}\n",
        ["6: settings.N.value is 1, must be true or false"],
        id="setting-boolean",
    ),
    pytest.param(
        TOP + WEB + "settings:\n  N: {description: x, type: text, value: 1, services: [web]}\n",
        ["6: settings.N.value is 1, must be text"],
        id="setting-text",
    ),
    pytest.param(
        TOP + WEB + "settings:\n  N: {description: x, type: number, minimum: 0, value: -0.5, services: [web]}\n",
        ["6: settings.N.value is -0.5, must be a number from 0"],
        id="setting-number",
    ),
    pytest.param(
        TOP + WEB + "probes:\n  p: {}\n",
        ["6: probes.p has nothing to ask, must have url, domain or service"],
        id="probe-of-nothing",
    ),
    pytest.param(
        TOP + WEB + "probes:\n  p: {type: smtp}\n",
        ["6: probes.p must have host and port to ask smtp"],
        id="smtp-nowhere",
    ),
    pytest.param(
        TOP + WEB + "probes:\n  p: {type: tcp, port: 1}\n",
        ["6: probes.p must have a service, or host and port"],
        id="tcp-nowhere",
    ),
    pytest.param(
        TOP + WEB + "probes:\n  p: {type: heartbeat, age: 1h}\n",
        ["6: probes.p has no sign of life, must have log and pattern, or file"],
        id="heartbeat-of-nothing",
    ),
    pytest.param(
        TOP + WEB + "overrides:\n  nginx_tls_site: []\n",
        ['6: overrides.nginx_tls_site is no derived variable (did you mean "nginx_tls_sites"?)'],
        id="override-of-nothing",
    ),
]


@pytest.mark.parametrize(("text", "messages"), [*FORM, *RULES])
def test_complains(text: str, messages: list[str]) -> None:
    assert complaints(text) == [f"projects/demo.yml:{message}" for message in messages]


@pytest.mark.parametrize(
    ("template", "path", "value", "message"), [pytest.param(*row[1:], id=row[0]) for row in FORMATS]
)
def test_complains_about_format(template: str, path: str, value: str, message: str) -> None:
    [found] = complaints(TOP + WEB + template.format(value) + "\n")
    assert found.startswith(f'projects/demo.yml:5: {path} is "')
    assert found.endswith(f'", {message}')


@pytest.mark.parametrize(("value", "message"), [pytest.param(*row[1:], id=row[0]) for row in SCHEDULES])
def test_complains_about_schedule(value: str, message: str) -> None:
    words = "a time as systemd's OnCalendar writes it, such as *-*-* 02:00:00, Sun *-*-* 02:00:00 or hourly"
    [found] = complaints(TOP + WEB + f"databases: {{d: {{engine: sqlite, path: x, check: '{value}'}}}}\n")
    assert found == f'projects/demo.yml:5: databases.d.check is "{value}", must be {words}{message}'


GOOD_SCHEDULES = [
    *("daily", "hourly", "*:0/5", "Mon..Fri 08:00", "Sat,Sun *-*-* 02:00:00"),
    *("*-*-01 04:30", "2026-01-01", "*-*-* 00/2:30", "*-1,7-01 00:00", "Mon *-*-1..7 03:00"),
]


@pytest.mark.parametrize("value", GOOD_SCHEDULES)
def test_accepts_schedule(value: str) -> None:
    assert complaints(TOP + WEB + f"databases: {{d: {{engine: sqlite, path: x, check: '{value}'}}}}\n") == []


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here to be asked")
@pytest.mark.parametrize(
    ("value", "good"), [*((value, True) for value in GOOD_SCHEDULES), *((row[1], False) for row in SCHEDULES)]
)
def test_systemd_thinks_the_same_of_schedules(value: str, good: bool) -> None:
    asked = subprocess.run(["systemd-analyze", "calendar", value], capture_output=True, check=False)
    assert (asked.returncode == 0) is good


@pytest.mark.parametrize(("text", "messages"), [pytest.param(*row[1:], id=row[0]) for row in REFERENCES])
def test_complains_about_names_of_nothing(text: str, messages: list[str]) -> None:
    assert complaints(TOP + WEB + text) == [f"projects/demo.yml:{message}" for message in messages]


@pytest.mark.parametrize("name", ["all", "ungrouped", "localhost"])
def test_names_that_every_inventory_uses(name: str) -> None:
    found = complaints(f"name: {name}\ntitle: x\n" + WEB, name=name)
    assert found == [f'projects/{name}.yml:1: name is "{name}", has a meaning in every inventory, must be another']


def test_a_name_that_is_a_file_on_every_host() -> None:
    """/etc/quai/maintenance has a file of each project, and one of the role's own."""
    (found,) = complaints("name: units\ntitle: x\n" + WEB, name="units")
    assert found.startswith('projects/units.yml:1: name is "units", is the name of a file on every host')


@pytest.mark.parametrize(
    "variables",
    [
        "TOKEN_TTL: 900",
        "JWT_SECRET_FILE: /run/jwt",
        "KEY_ID: k1",
        "MONKEY: banana",
        "PASSWORD: ''",
        "USE_TOKEN: true",
        "URL: https://a.fr/x",
        "LITERAL_KEY: '$${NOT_A_SECRET} and ${K}'",
    ],
)
def test_what_only_looks_like_a_secret(variables: str) -> None:
    text = (
        TOP
        + f"services:\n  a: {{image: a, command: [a], environment: {{{variables}}}}}\nsecrets: {{K:"
        + " {description: x, generate: {}}}\n"
    )
    assert complaints(text) == []


def test_one_run_shows_every_problem_in_order() -> None:
    text = """        name: demo
        title: Demo
        services:
          api:
            image: demo/api
            port: 3000a
            depends_on: {redis: healthy}
        domains:
          api: {names: [api.example.fr], service: apii}
        """
    _declarations, problems = validate([document(text)])
    assert report(problems).splitlines() == [
        "projects/demo.yml: 3 problems, no host was touched.",
        'projects/demo.yml:6: services.api.port is "3000a", must be a whole number from 1 to 65535',
        "projects/demo.yml:7: services.api.depends_on.redis names no declared service; declared: api",
        'projects/demo.yml:9: domains.api.service is "apii", no such service (did you mean "api"?)',
    ]


def test_a_broken_entry_causes_no_further_complaints() -> None:
    text = TOP + "services:\n  web: 3\ndomains: {d: {names: [a.fr], service: web}}\n"
    assert complaints(text) == ["projects/demo.yml:4: services.web is 3, must be a mapping of fields"]


# ---- against the environment -----------------------------------------------------------------------------------

SECRETS = (
    TOP
    + WEB
    + ("secrets:\n  A: {description: a, generate: {}}\n  B: {description: b, supplied_by: 'https://b.example, keys'}\n")
)


def test_secrets_without_value() -> None:
    around = Surroundings(secrets={"demo": frozenset()}, vault_directory="inventories/lab/group_vars/all")
    where = "inventories/lab/group_vars/all/vault_demo.yml"
    assert complaints(SECRETS, around) == [
        (
            f"projects/demo.yml:6: secrets.A has no value in this environment; set vault_demo.A in {where}"
            " or run: ansible-playbook playbooks/secrets.yml -e project=demo"
        ),
        (
            f"projects/demo.yml:7: secrets.B has no value in this environment; set vault_demo.B in {where};"
            " get it from: https://b.example, keys"
        ),
    ]


@pytest.mark.parametrize(
    "secrets",
    [
        pytest.param({"demo": frozenset({"A", "B"})}, id="all-there"),
        pytest.param(None, id="not-asked"),
        pytest.param({"other": frozenset()}, id="not-asked-of-this-project"),
    ],
)
def test_secrets_that_are_no_problem(secrets: Any) -> None:
    assert complaints(SECRETS, Surroundings(secrets=secrets)) == []


def test_changed_settings_are_checked_too() -> None:
    text = TOP + WEB + "settings: {N: {description: x, value: 1, minimum: 1, services: [web]}}\n"
    around = Surroundings(settings={"demo": {"N": 0, "M": 1}})
    assert complaints(text, around) == [
        "inventory: quai_settings.demo.M is no declared setting",
        "inventory: quai_settings.demo.N is 0, must be a whole number from 1",
    ]


def test_changed_variables_are_checked_too() -> None:
    around = Surroundings(overrides={"demo": {"docker_stack_compos": {}}})
    assert complaints(TOP + WEB, around) == [
        (
            "inventory: quai_overrides.demo.docker_stack_compos is no derived variable (did you mean"
            ' "docker_stack_compose"?)'
        )
    ]


# ---- between projects ------------------------------------------------------------------------------------------

ONE = "name: one\ntitle: One\nservices:\n  a: {image: one/a, port: 3000}\ndomains:\n  a: {names: [a.fr], service: a}\n"
TWO = "name: two\ntitle: Two\nservices:\n  b: {image: two/b, port: 3000}\ndomains:\n  b: {names: [b.fr], service: b}\n"


def between(one: str, two: str, hosts: dict[str, tuple[str, ...]]) -> list[str]:
    _declarations, problems = validate([document(one, "one"), document(two, "two")], Surroundings(hosts=hosts))
    return [str(problem) for problem in problems]


def test_a_port_of_two_projects_on_one_host() -> None:
    assert between(ONE, TWO, {"vps": ("one", "two"), "other": ("two",)}) == [
        "projects/two.yml:4: services.b.port is 3000, is already the port of one services.a on host vps"
    ]


def test_a_port_of_two_projects_on_two_hosts() -> None:
    assert between(ONE, TWO, {"vps": ("one",), "other": ("two",)}) == []


def test_a_clash_on_two_hosts_is_said_once() -> None:
    assert len(between(ONE, TWO, {"x": ("one", "two"), "y": ("one", "two")})) == 1


def test_a_domain_of_two_projects() -> None:
    assert between(ONE, TWO.replace("b.fr", "a.fr"), {}) == [
        'projects/two.yml:6: domains.b.names[0] is "a.fr", is already a domain of project one'
    ]


# ---- the real ones ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_declarations_of_the_five_guides_are_right(path: Path) -> None:
    _declarations, problems = validate([load_file(path, f"projects/{path.name}")])
    assert [str(problem) for problem in problems] == []


def test_the_five_share_one_host() -> None:
    documents = [load_file(path, f"projects/{path.name}") for path in EXAMPLES]
    names = tuple(path.stem for path in EXAMPLES)
    declarations, problems = validate(documents, Surroundings(hosts={"vps": names}))
    assert [str(problem) for problem in problems] == []
    assert sorted(declarations) == ["check-du-matin", "masstock", "moverz", "niasotac", "techplus"]


def test_the_error_carries_its_problems() -> None:
    _declarations, problems = validate([document(TOP + "services:\n  web: 3\n")])
    error = DeclarationError(problems)
    assert error.problems == problems
    assert str(error).startswith("projects/demo.yml: 1 problem, no host was touched.\n")


@pytest.mark.parametrize(
    ("probes", "problem"),
    [
        pytest.param("{a: {service: web, crit: [latency > 5]}}", "latency", id="unknown-field"),
        pytest.param("{a: {type: disk, warn: ['used_pct >']}}", "used_pct >", id="no-value"),
        pytest.param("{a: {type: log, log: l}}", "must have log and pattern", id="log-without-pattern"),
        pytest.param("{a: {type: process}}", "must have service", id="process-of-nothing"),
        pytest.param("{a: {service: web, depends_on: [b]}}", "b", id="unknown-parent"),
    ],
)
def test_a_probe_that_cannot_be_asked_is_refused(probes: str, problem: str) -> None:
    text = f"services: {{web: {{image: 'a/b', port: 3000}}}}\nlogs: {{l: {{service: web}}}}\nprobes: {probes}\n"
    _declarations, problems = validate([load_text(f"name: demo\ntitle: Demo\n{text}", "projects/demo.yml")])
    assert [problem in str(found) for found in problems] == [True]


def test_a_wrong_port_is_one_mistake() -> None:
    text = "services: {web: {image: 'a/b', port: high, health: {http: /}}}\n"
    _declarations, problems = validate([load_text(f"name: demo\ntitle: Demo\n{text}", "projects/demo.yml")])
    assert ["port" in str(found) for found in problems] == [True]


def test_a_job_may_not_have_the_unit_of_a_service() -> None:
    text = (
        "source: {repository: 'https://example.org/x.git'}\nservices:\n  w: {runtime: systemd, command: [x]}\n"
        "  c: {image: demo/c}\nmaintenance:\n  w: {description: a, kind: journal_cleanup}\n"
        "  c: {description: a, kind: journal_cleanup}\n"
    )
    assert complaints(TOP + text) == [
        "projects/demo.yml:8: maintenance.w would have the unit of services.w, must have another name"
    ]
