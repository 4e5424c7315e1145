# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a project may declare. The one source of validation, defaults, JSON Schema and docs/declaration.md.

C(source) names the row of the requirements (or the guide's section) that a field or its figure comes from.
"""

from __future__ import annotations

from typing import Final

from ansible_collections.quai.ops.plugins.plugin_utils._fields import (
    Field,
    anything,
    boolean,
    choice,
    duration,
    integer,
    listing,
    mapping,
    number,
    obj,
    only_for,
    port,
    ref,
    required,
    scalar,
    schedule,
    size,
    text,
)

# Ports that belong to the host itself, and the range from which the kernel gives ports to outgoing connections.
HOST_PORTS: Final = (22, 80, 443)
EPHEMERAL_PORTS: Final = range(32768, 61000)

CONTAINER, PROCESS = ("compose",), ("systemd", "pm2")
SEVERITIES: Final = ("critical", "high", "medium", "low")


def _argv(description: str, **more: object) -> Field:
    return listing(description, text("One argument."), **more)


def _path(description: str, **more: object) -> Field:
    return text(description, format="path", **more)


def _severity(default: str) -> Field:
    return choice("How bad it is when this fails.", *SEVERITIES, default=default, source="TEC-16, CDM-6")


JSON_CONDITION = obj(
    "A condition on one value of a JSON answer.",
    {
        "path": required(text("Where the value is: names and list positions joined by dots.", example="checks.redis")),
        "is": choice(
            "How it is compared.",
            *("equal", "not_equal", "at_least", "at_most", "above", "below", "matches", "present", "absent"),
            default="equal",
        ),
        "value": scalar("What it is compared with.", example=True),
    },
)

COOKIE = obj(
    "What must hold of a cookie that the answer sets.",
    {
        "http_only": boolean("Must carry HttpOnly.", True),
        "secure": boolean("Must carry Secure.", True),
        "same_site": choice("Must carry this SameSite.", "strict", "lax", "none", default="lax"),
    },
    default={},
    source="MAS-16",
)

EXPECT = obj(
    "What a good answer looks like.",
    {
        "status": listing("HTTP statuses that are good.", integer("A status.", 100, 599), default=[200]),
        "contains": listing("Texts that the body must contain.", text("A text.")),
        "lacks": listing("Texts that the body must not contain.", text("A text.")),
        "headers": mapping(
            "Headers of the answer: a text the value must equal, or null for a header that must not be there.",
            text("The value.", nullable=True),
            key=text("The header.", example="access-control-allow-origin"),
        ),
        "cookies": mapping("Cookies that the answer must set.", COOKIE, key=text("The cookie's name.")),
        "json": listing("Conditions on a JSON body.", JSON_CONDITION, source="MOV-5, TEC-3"),
        "within": duration("Longest time the answer may take.", default="5s", source="CDM, slow above 5 s"),
    },
    default={},
)

REQUEST = {
    "method": choice("HTTP method.", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", default="GET"),
    "headers": mapping(
        "Headers to send.",
        text("The value.", takes_secrets=True),
        key=text("The header."),
        example={"Accept": "text/html"},
    ),
    "body": text("Body to send.", format="text", takes_secrets=True),
    "expect": EXPECT,
}

HEALTH = obj(
    "How the runtime sees that the service works.",
    {
        "http": text("Path on the service that must answer 2xx.", format="urlpath", example="/health"),
        "command": _argv("Command that must exit with 0.", example=["node", "src/worker-health.js"]),
        "shell": text("Shell command that must exit with 0.", format="text", example="redis-cli ping | grep -qx PONG"),
        "interval": duration("Time between two checks.", default="30s", source="MAS-6"),
        "timeout": duration("Time one check may take.", default="10s", source="MAS-6"),
        "retries": integer("Failures in a row that make it unhealthy.", 1, 20, default=3, source="MAS-6"),
        "start_period": duration("Time after the start in which failures do not count.", default="0s", source="MAS-6"),
    },
    exactly_one=(("http", "command", "shell"),),
)

RESTART = obj(
    "When a probe keeps failing, the service is restarted: never more often than this.",
    {
        "probe": required(ref("probes", "The probe that watches it.")),
        "wait": duration(
            "Time the service gets after a restart before it is probed again.", default="30s", source="TEC-11"
        ),
        "most": integer("Restarts allowed in `within`; after that only an alert.", 1, 20, default=3, source="TEC-11"),
        "within": duration("The time in which `most` counts.", default="1h"),
    },
    source="TEC-11",
)

SERVICE = obj(
    "One thing that runs.",
    {
        "description": text("What it does, in one sentence."),
        "runtime": choice(
            "What runs it: a container, a systemd unit, pm2, or nginx serving files.",
            *("compose", "systemd", "pm2", "static"),
            default="compose",
        ),
        "port": port("Port on the host; on loopback only unless `public`.", example=3000),
        **only_for(
            "runtime",
            *CONTAINER,
            image=required(
                text(
                    "Image. With a tag: a public one, pinned. Without: an own one, which gets the version of the "
                    "release and the registry of the environment.",
                    format="image",
                    example="masstock/backend",
                )
            ),
            container_port=port("Port inside the container; the same as `port` when not given.", example=80),
            public=boolean("Publish the port to everyone, past nginx. Say so only when that is meant.", False),
            entrypoint=_argv("Replaces the image's entry point."),
            uid=integer("User id that the process has inside; owns its secret files.", 0, 65535, default=0),
            depends_on=mapping(
                "Services that must be there first.",
                choice(
                    "started, healthy (needs a health check there) or completed.", "started", "healthy", "completed"
                ),
                key=ref("services", "The other service."),
                example={"redis": "healthy"},
                source="MAS-6",
            ),
            volumes=mapping(
                "Volumes it sees, and where.",
                text("Path inside the container.", format="absolute"),
                key=ref("volumes", "A volume declared under `volumes`."),
                example={"uploads": "/app/uploads"},
            ),
            memory=size("Most memory it may use.", example="512m"),
            cpus=text("Most processors it may use.", format="cpus", example="1.5"),
            read_only=boolean("Mount the image read-only.", False),
            tmpfs=listing("Paths that live in memory.", text("Path.", format="absolute")),
            restart=choice(
                "Restart policy.",
                "unless-stopped",
                "always",
                "on-failure",
                "no",
                default="unless-stopped",
                source="MAS-6",
            ),
            init=boolean("Run a small init that reaps processes and passes signals on.", True),
            stop_signal=text("Signal that asks it to stop.", example="SIGQUIT"),
            stop_grace_period=duration("Time it gets to stop.", default="10s"),
            log_max_size=size("Size at which its container log is rotated.", default="10m"),
            log_max_files=integer("Rotated container logs that are kept.", 1, 100, default=5),
        ),
        **only_for(
            "runtime",
            *PROCESS,
            packages=listing("Debian packages it needs.", text("A package.", example="python3-venv")),
            reload=boolean("The process takes over its socket on reload, so that a release drops no request.", False),
            instances=integer("How many of it run.", 1, 64, default=1, source="TEC-1"),
        ),
        **only_for(
            "runtime",
            "pm2",
            script=required(text("File that pm2 starts.", format="relative", example="dist/server.js")),
        ),
        **only_for(
            "runtime",
            *PROCESS,
            "static",
            directory=text("Directory of the release it lives in.", format="relative", default=".", example="backend"),
        ),
        **only_for(
            "runtime",
            "static",
            root=required(text("Built files inside `directory` that nginx serves.", format="relative", example="dist")),
            spa=boolean("Unknown paths get /index.html.", False),
        ),
        **only_for(
            "runtime",
            "compose",
            "systemd",
            command=_argv("Command; empty keeps the image's own.", example=["node", "src/server.js"]),
        ),
        **only_for(
            "runtime",
            *CONTAINER,
            *PROCESS,
            user=text(
                "User it runs as; empty keeps the image's or makes one named after the project.",
                format="user",
                example="nodejs",
            ),
            environment=mapping(
                "Its environment. ${NAME} stands for a secret; such a value reaches the process through a 0600 file.",
                scalar("The value.", takes_secrets=True),
                key=text("The variable.", format="variable"),
                example={"NODE_ENV": "production"},
            ),
            secrets=listing(
                "Secrets that it gets in its environment under their own names.",
                ref("secrets", "A secret."),
                example=["JWT_SECRET"],
            ),
            files=mapping(
                "Small files it reads, owned by `uid`, mode 0600; ${NAME} stands for a secret.",
                text("The content.", format="text", takes_secrets=True),
                key=text("Path.", format="absolute", example="/etc/redis/redis.conf"),
            ),
            health=HEALTH,
            restart_on=RESTART,
        ),
    },
)

VOLUME = obj(
    "A directory that outlives its containers.",
    {
        "description": text("What it holds."),
        "shared": boolean(
            "Several processes may write to it at once: more than one service may mount it, and a release may try the "
            "new version of a service beside the running one. Never for the files of a database.",
            False,
        ),
    },
    default={},
)

CORS = obj(
    "Cross-origin rules that nginx answers for the service.",
    {
        "allowed_origins": listing(
            "Origins that may call.", text("An origin.", format="origin"), required=True, min_items=1
        ),
        "allowed_methods": listing(
            "Methods they may use.", text("A method."), default=["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
        ),
        "allowed_headers": listing(
            "Headers they may send.", text("A header."), default=["Content-Type", "Authorization", "X-Requested-With"]
        ),
        "allow_credentials": boolean("Cookies may be sent.", True),
        "max_age": integer("Time a browser keeps the answer.", 0, 86400, default=86400, unit="seconds"),
    },
    source="MAS-4",
)

CERTIFICATE = obj(
    "Where the certificate of this domain comes from.",
    {
        "provider": choice(
            "acme (as a rule) asks a CA, selfsigned makes one, provided uses files on the host.",
            *("acme", "selfsigned", "provided"),
        ),
        "challenge": choice("How the CA is convinced: http-01 as a rule, dns-01 for a wildcard.", "http-01", "dns-01"),
        "certificate_file": text("Chain on the host (provided).", format="absolute"),
        "key_file": text("Key on the host (provided).", format="absolute"),
    },
    default={},
    source="MAS-2",
)

DOMAIN = obj(
    "One site that nginx serves.",
    {
        "names": listing(
            "Its names; the first is the canonical one.", text("A name.", format="domain"), required=True, min_items=1
        ),
        "redirect_names": listing("Names answered with 301 to the canonical one.", text("A name.", format="domain")),
        "service": ref("services", "The service that answers.", example="api"),
        "redirect_to": text("Instead of a service: where every request is sent.", format="url"),
        "certificate": CERTIFICATE,
        "websocket": boolean("Let connections upgrade to WebSocket.", False),
        "max_body_size": size("Largest request body.", default="10m"),
        "read_timeout": duration("Time the service may take to answer.", default="60s"),
        "http3": boolean("Offer HTTP/3 where nginx has it.", True),
        "headers": mapping(
            "Changes to the standard security headers; null removes one.",
            text("The value.", nullable=True),
            key=text("The header."),
            source="MAS-3",
        ),
        "cors": CORS,
        "rate_limits": listing(
            "Which paths count against which zone.",
            obj(
                "A limit.",
                {
                    "path": text("Start of the paths it holds for.", format="urlpath", default="/"),
                    "zone": required(ref("rate_zones", "A zone declared under `rate_zones`.")),
                },
            ),
            source="MAS-5",
        ),
        "rate_limit_exempt": listing("Callers that are never limited.", text("A network.", format="network")),
        "cache": listing(
            "What browsers may keep.",
            obj(
                "A rule.",
                {
                    "path": required(text("Start of the paths it holds for.", format="urlpath")),
                    "max_age": required(integer("How long.", 0, 31536000, unit="seconds")),
                    "immutable": boolean("The file behind a name never changes.", False),
                },
            ),
        ),
        "blocked_paths": listing(
            "Paths that are not answered from outside.",
            text("Start of a path.", format="urlpath"),
            source="MOV-2, TEC-4",
        ),
        "allow": listing("Networks that may come in; empty means everyone.", text("A network.", format="network")),
    },
    exactly_one=(("service", "redirect_to"),),
)

RATE_ZONE = obj(
    "A counter of requests per caller.",
    {
        "rate": required(text("Requests allowed.", format="rate")),
        "burst": integer("Requests above the rate that are still answered at once.", 0, 10000, default=0),
        "size": size("Memory for it; 1m holds about 16,000 callers.", default="10m"),
        "description": text("What it protects."),
    },
    source="MAS-5",
)

SECRET = obj(
    "A value that is in no file of this repository.",
    {
        "description": required(text("What it is for.")),
        "generate": obj(
            "quai makes it.",
            {
                "format": choice("How it is written.", "hex", "base64", "base64url", "alphanumeric", default="hex"),
                "bytes": integer("Random bytes in it.", 16, 128, default=32),
            },
            source="MAS-9",
        ),
        "supplied_by": text(
            "A person brings it: where it is to be had.", example="https://aistudio.google.com, API keys"
        ),
        "placeholder": text(
            "What a lab uses instead of a supplied one; {random} becomes 32 hex digits.", default="placeholder-{random}"
        ),
        "rotate_after": duration("Age at which a new one is due.", source="MOV-10"),
    },
    exactly_one=(("generate", "supplied_by"),),
)

SETTING_TYPES = ("integer", "number", "boolean", "choice", "text")
SETTING = obj(
    "A tuning value: declared, checked, and changed by a run (`quai_settings` in the inventory), never by hand.",
    {
        "description": required(text("What it changes.")),
        "type": choice("What it is.", *SETTING_TYPES, default="integer"),
        "value": required(scalar("Its value unless the environment says otherwise.")),
        **only_for(
            "type", "integer", "number", minimum=number("Smallest good value."), maximum=number("Largest good value.")
        ),
        **only_for("type", "choice", choices=listing("Good values.", text("A value."), required=True, min_items=1)),
        "unit": text("Unit of the value.", example="ms"),
        "services": listing(
            "Services that get it in their environment.", ref("services", "A service."), required=True, min_items=1
        ),
    },
    source="MOV-9",
)

DATABASE = obj(
    "A database of the project.",
    {
        "engine": required(choice("What it is.", "postgresql", "mysql", "mariadb", "sqlite")),
        "description": text("What it holds."),
        **only_for(
            "engine",
            *("postgresql", "mysql", "mariadb"),
            service=ref("services", "The service of this project that runs it; none means that it is elsewhere."),
            host=text(
                "Name of the host it runs on, when it is neither a service nor behind a URL.", example="127.0.0.1"
            ),
            port=port("Port it listens on.", example=5432),
            database=text("Its name there.", example="check_du_matin"),
            user=text("User that quai uses.", example="laravel"),
            url_secret=ref("secrets", "Secret with the whole connection URL.", source="MOV-3"),
            password_secret=ref("secrets", "Secret with the user's password."),
            direct_url_secret=ref("secrets", "Secret with the URL for migrations, past any pooler.", source="MOV-4"),
        ),
        **only_for("engine", "sqlite", path=required(_path("Its file, inside the release's shared data."))),
        "largest": size("Size above which an alert is raised.", example="2g", source="NIA-2"),
        "drill": listing(
            "What a restored copy must satisfy.",
            obj(
                "A check.",
                {
                    "query": required(text("SQL that returns one number.", example="SELECT count(*) FROM users")),
                    "at_least": integer("Smallest good number.", 0, default=1),
                },
            ),
            source="TEC-15, ALL-5",
        ),
        "optimise": schedule("When it is optimised.", source="NIA-8, CDM-10"),
        "check": schedule("When its integrity is checked.", source="CDM-10, NIA-14"),
        "report_slow_queries": boolean(
            "Report slow queries, table sizes and unused indexes.", True, source="TEC-8, CDM-9"
        ),
    },
)

REDIS = obj(
    "A Redis that queues, sessions or caches live in.",
    {
        "service": ref("services", "The service of this project that runs it."),
        "url_secret": ref("secrets", "Secret with its URL, when it is elsewhere."),
        "host": text("Host, when it is neither.", example="127.0.0.1"),
        "port": port("Port.", default=6379),
        "database": integer("Number of the database.", 0, 15, default=0),
        "user": text("User of Redis' access control lists.", format="user"),
        "password_secret": ref("secrets", "Secret with its password."),
        "tls": boolean("Speak TLS; its certificate must be valid.", False),
        "clean": listing(
            "Keys that maintenance deletes.",
            obj(
                "A rule.",
                {
                    "pattern": required(text("Pattern of the keys.", example="session:*")),
                    "only_without_ttl": boolean("Only keys that would never expire.", False),
                },
            ),
            source="TEC-10",
        ),
    },
    exactly_one=(("service", "url_secret", "host"),),
)

QUEUE_RULE = obj(
    "Which jobs go. All that is said must hold.",
    {
        "state": required(
            choice(
                "The state they are in. `waiting` means wait, paused and prioritized.",
                *("completed", "failed", "delayed", "waiting", "wait", "paused", "prioritized", "waiting-children"),
            )
        ),
        "older_than": duration("Jobs that are older; `0s` for all of them.", example="7d"),
        "keep_last": integer("All but so many of the youngest.", 0, 10_000_000),
        "limit": integer("At most so many in one run, the oldest first.", 1, 10_000_000),
        "name": text("Pattern of their name, such as send-*."),
        "failed_reason": text("Pattern of the reason for which they failed, such as ECONN*."),
    },
    at_least_one=(("older_than", "keep_last"),),
    source="MOV-6",
)

QUEUE = obj(
    "A job queue.",
    {
        "name": text("Its name in Redis; the entry's own name when not given.", example="photo-analyze"),
        "library": required(choice("What writes it.", "bull", "bullmq")),
        "version": text(
            "Version of the library, where the queue itself does not say it (Bull, BullMQ 1 and 2).",
            format="version",
            example="4.16",
        ),
        "prefix": text("Prefix of its keys.", default="bull"),
        "redis": required(ref("redis", "Where it lives.")),
        "worker": required(ref("services", "The service that works on it.")),
        "keep_completed": duration("Age after which completed jobs are cleaned.", default="24h", source="MOV-6"),
        "keep_failed": duration("Age after which failed jobs are cleaned; never when not given.", example="30d"),
        "clean": listing("Instead of `keep_completed` and `keep_failed`: what a clean-up removes.", QUEUE_RULE),
        "most_removed": text(
            "A clean-up that would remove more than this, a number or a share of all jobs, removes nothing and fails.",
            format="amount",
            example="20%",
        ),
        "protect": boolean("No run of quai removes any of its jobs.", False),
        "stuck_after": duration(
            "Waiting jobs that do not move for this long are an incident.", default="10m", source="MOV-7, MAS-11"
        ),
        "most_waiting": integer("Waiting jobs above which an alert is raised.", 1, default=1000),
        "most_failed": integer("Failed jobs above which an alert is raised.", 0, default=10),
        "severity": _severity("high"),
    },
    source="MAS-11, MOV-6",
)

FILE_SET = obj(
    "Files that belong to the project's data.",
    {
        "description": text("What they are."),
        "volume": ref("volumes", "The volume they are in."),
        "path": _path("Where they are: in the shared data of the release, or absolute on the host."),
        "mode": text("Mode its files must have.", format="mode", source="NIA-15"),
        "largest": size("Size above which an alert is raised.", example="5g", source="NIA-2"),
        "optimise_images": boolean(
            "Losslessly-enough optimise new JPEG and PNG files (--max=85, -o2).", False, source="NIA-9"
        ),
    },
    exactly_one=(("volume", "path"),),
)

DESTINATION = obj(
    "Somewhere else where backups are copied to.",
    {
        "type": required(choice("What it is.", "s3", "sftp", "rest", "directory")),
        "location": required(
            text("Where: bucket/prefix, user@host:/path, URL or directory.", example="techplus-backups/database")
        ),
        "endpoint": text("Address of the S3 service, when it is not AWS.", format="url"),
        "region": text("S3 region.", example="eu-west-3"),
        "access_key_secret": ref("secrets", "Secret with the user or access key."),
        "secret_key_secret": ref("secrets", "Secret with the password or secret key."),
    },
    source="TEC-7",
)

KEEP = obj(
    "How many are kept; 0 means that this rule keeps none.",
    {
        "last": integer("The newest.", 0, default=0, source="NIA-3, NIA-4"),
        "daily": integer("One per day.", 0, default=0, source="CDM-12"),
        "weekly": integer("One per week.", 0, default=0, source="CDM-12"),
        "monthly": integer("One per month.", 0, default=0, source="CDM-12"),
        "yearly": integer("One per year.", 0, default=0),
        "within": duration("Everything younger than this.", source="TEC-7"),
    },
    at_least_one=(("last", "daily", "weekly", "monthly", "yearly", "within"),),
)

BACKUP = obj(
    "What is kept together, when, how long, and how it is proved.",
    {
        "description": text("What it is for."),
        "databases": listing("Databases in it.", ref("databases", "A database.")),
        "files": listing("File sets in it.", ref("files", "A file set.")),
        "secrets": listing(
            "Secrets in it, encrypted: without them the rest cannot be read.", ref("secrets", "A secret.")
        ),
        "configuration": boolean("Also the declaration and the rendered configuration.", False, source="NIA-5, CDM-12"),
        "schedule": required(schedule("When it runs.")),
        "on_change": boolean("Also whenever the configuration changed.", False, source="CDM-12"),
        "keep": required(KEEP),
        "copies": listing(
            "Copies elsewhere.",
            obj("A copy.", {"to": required(ref("destinations", "Where.")), "keep": required(KEEP)}),
            source="TEC-7",
        ),
        "drill": schedule("When a restore is proved.", default="monthly", source="ALL-5, CDM-13, NIA-16"),
        "too_old": duration(
            "Age of the newest good one at which an alert is raised; twice its interval when not given."
        ),
        "severity": _severity("high"),
    },
    at_least_one=(("databases", "files", "secrets", "configuration"),),
)

RETENTION = obj(
    "Rows that are deleted when they are old: counted first, deleted in batches.",
    {
        "database": required(ref("databases", "Where.")),
        "table": required(text("The table.", example="reservations")),
        "where": required(text("Condition of the rows to delete.", format="text")),
        "schedule": required(schedule("When.")),
        "batch": integer("Rows per statement.", 1, 100000, default=1000),
        "reindex": listing("Tables to reindex afterwards.", text("A table.")),
    },
    source="TEC-6",
)

LOG = obj(
    "A log that is rotated and read.",
    {
        "path": _path("Its files on the host.", example="/var/log/techplus/*.log"),
        "service": ref("services", "Instead: the output of this service."),
        "directory": _path("With `volume`: the files in it.", example="*.log"),
        "volume": ref("volumes", "Instead: files in this volume."),
        "every": choice(
            "How often it is rotated.", "hourly", "daily", "weekly", "monthly", default="daily", source="TEC-2"
        ),
        "rotations": integer("Rotated files that are kept.", 0, 1000, default=30, source="TEC-2"),
        "largest": size("Size at which it is rotated early."),
        "compress": boolean("Compress rotated files, from the second on.", True, source="TEC-2"),
        "create": obj(
            "The new, empty file.",
            {
                "mode": text("Mode.", format="mode", default="0644"),
                "owner": text("Owner.", format="user", default="root"),
                "group": text("Group.", format="user", default="root"),
            },
            source="TEC-2",
        ),
        "copy_truncate": boolean("The writer keeps its file open and cannot be told.", False),
        "reload": ref("services", "Service to tell after a rotation.", source="TEC-2"),
        "keep_lines": integer("Instead of rotating: keep the last lines only.", 1, source="MOV-11"),
        "delete_after": duration("Age at which files are deleted.", source="NIA-6, CDM-7"),
        "filters": mapping(
            "Named patterns for reading it.",
            obj(
                "A filter.",
                {
                    "pattern": required(text("Regular expression.", example="ERROR")),
                    "most_per_hour": integer("Lines an hour above which an alert is raised.", 0),
                    "severity": _severity("medium"),
                },
            ),
            source="MOV-11, NIA-13, CDM-10",
        ),
    },
    exactly_one=(("path", "service", "volume"),),
)

HTTP = ("http",)
PROBE = obj(
    "One question about the project whose answer is good or bad.",
    {
        "description": text("What a good answer means."),
        "type": choice(
            "What is asked.",
            *("http", "tcp", "tls", "smtp", "command", "containers", "process", "database", "queue", "redis"),
            *("disk", "memory", "cpu", "size", "heartbeat", "log"),
            default="http",
        ),
        **only_for(
            "type",
            *HTTP,
            url=text("Absolute address.", format="url"),
            path=text("Path on the `domain` or `service`.", format="urlpath", default="/"),
            domain=ref("domains", "Ask this site from outside, through TLS."),
            **REQUEST,
            steps=listing(
                "Instead of one request: a user's path. Cookies are kept from step to step.",
                obj("A step.", {"path": required(text("Path.", format="urlpath")), **REQUEST}),
                source="CDM-15",
            ),
        ),
        **only_for(
            "type",
            "http",
            "tcp",
            "containers",
            "process",
            "command",
            service=ref("services", "Ask this service on the host."),
        ),
        **only_for(
            "type",
            "tcp",
            "smtp",
            "tls",
            host=text("Host to connect to.", example="smtp.example.com"),
            port=port("Port to connect to."),
        ),
        **only_for(
            "type", "tls", days=integer("Days the certificate must still hold.", 1, 90, default=21, source="MAS-2")
        ),
        **only_for(
            "type",
            "command",
            command=required(
                _argv(
                    "Command that must exit with 0, run in the service.",
                    example=["php", "artisan", "migrate:status"],
                    min_items=1,
                )
            ),
        ),
        **only_for(
            "type",
            "containers",
            most_restarts=integer("Restarts a day above which it is bad.", 0, default=3, source="MAS-13"),
        ),
        **only_for("type", "database", database=required(ref("databases", "The database that must answer."))),
        **only_for("type", "queue", queue=required(ref("queues", "The queue that must move."))),
        **only_for("type", "redis", redis=required(ref("redis", "The Redis that must answer."))),
        **only_for(
            "type",
            *("disk", "memory", "cpu"),
            most_percent=integer("Use above which it is bad.", 1, 99, default=80, unit="%", source="CDM-5, NIA-2"),
        ),
        **only_for("type", "size", files=required(ref("files", "The file set whose size counts."))),
        **only_for(
            "type",
            "heartbeat",
            "log",
            log=ref("logs", "Log in which a sign of life must appear, or whose lines count."),
            pattern=text("What such a line looks like.", example="Running scheduled command"),
        ),
        **only_for(
            "type",
            "heartbeat",
            file=_path("File whose change is the sign of life."),
            age=required(duration("Age at which the last sign is too old.", source="CDM-11")),
        ),
        **only_for(
            "type", "log", most_per_hour=integer("Lines an hour above which it is bad.", 0, default=0, source="NIA-2")
        ),
        "every": duration("Time between two probes.", default="5m"),
        "timeout": duration("Time one probe may take.", default="10s"),
        "failures": integer("Failures in a row before an alert.", 1, 20, default=2),
        "severity": _severity("high"),
        "warn": listing(
            "Further conditions that make it a warning; the fields are those of the type in docs/probes.md.",
            text("A condition.", example="latency_ms > 800"),
        ),
        "crit": listing(
            "Further conditions that make it critical.", text("A condition.", example="json.queue.failed > 10")
        ),
        "depends_on": listing(
            "Probes without which this one cannot be good: while one of them is bad, this one raises no alert.",
            ref("probes", "Another probe."),
        ),
        "hint": text("What to do when it fails; goes into the alert and the runbook.", format="text"),
    },
    at_most_one=(("url", "domain", "service"),),
    source="MAS-10, CDM-4, NIA-2",
)

CHANNEL = obj(
    "A way to reach people.",
    {
        "type": required(choice("What it is.", "mail", "slack", "webhook")),
        **only_for(
            "type", "mail", to=listing("Who gets it.", text("An address.", format="email"), required=True, min_items=1)
        ),
        **only_for(
            "type", "slack", "webhook", url_secret=required(ref("secrets", "Secret with the address to post to."))
        ),
    },
    source="ALL-6",
)

SEVERITY = obj(
    "What a severity means.",
    {
        "description": text("When something is this bad."),
        "respond_within": required(duration("Time in which someone must act.", source="TEC-16, CDM-6")),
        "notify": listing("Who is told at once.", ref("channels", "A channel."), required=True, min_items=1),
        "escalate_to": listing("Who is told when nobody acted in time.", ref("channels", "A channel.")),
        "remind_every": duration(
            "Longest time between two reminders; they begin at `respond_within`, and the time between them doubles.",
            default="24h",
        ),
    },
    source="TEC-16",
)

CONTACT = obj(
    "Someone who helps.",
    {
        "role": required(text("What they do.", example="Administrateur système")),
        "level": required(integer("Level of escalation; 1 is asked first.", 1, 9)),
        "email": text("Mail address.", format="email"),
        "phone": text("Telephone number.", example="+33 1 00 00 00 00"),
        "link": text("Where they are asked instead.", format="url"),
        "availability": text("When they can be reached.", example="24/7"),
        "handles": text("What they are for."),
    },
    at_least_one=(("email", "phone", "link"),),
    source="CDM-17, MOV contacts",
)

COMMAND_IN_SERVICE = {
    "service": required(ref("services", "The service it runs in.")),
    "command": required(_argv("The command.", min_items=1)),
}

JOB = obj(
    "Work that is done on a schedule and on demand.",
    {
        "description": required(text("What it does.")),
        "kind": choice(
            "command runs one in a service; the others are quai's own.",
            *("command", "docker_cleanup", "journal_cleanup", "redis_cleanup", "queue_cleanup", "orphan_files"),
            *("dependency_audit", "security_audit"),
            default="command",
        ),
        **only_for("kind", "command", **COMMAND_IN_SERVICE),
        **only_for("kind", "redis_cleanup", redis=required(ref("redis", "Where."))),
        **only_for("kind", "queue_cleanup", queue=required(ref("queues", "Which."))),
        **only_for(
            "kind",
            "orphan_files",
            files=required(ref("files", "The file set.")),
            in_use=required(
                obj("The command whose output names the files in use.", COMMAND_IN_SERVICE, source="NIA-11")
            ),
        ),
        **only_for(
            "kind",
            "journal_cleanup",
            "docker_cleanup",
            older_than=duration("Age at which things go.", default="7d", source="MAS-12"),
        ),
        **only_for(
            "kind",
            "dependency_audit",
            ecosystems=listing(
                "Whose packages.",
                choice("A package manager.", "npm", "pip", "composer", "apt"),
                required=True,
                min_items=1,
            ),
        ),
        "schedule": schedule("When; on demand only when not given."),
        "timeout": duration("Time it may take.", default="1h"),
        "severity": _severity("medium"),
    },
)

OPERATION = obj(
    "Something dangerous that is done only on demand, with a confirmation that names its target.",
    {
        "description": required(text("What it does.")),
        **COMMAND_IN_SERVICE,
        "parameters": mapping(
            "What the person must give; {name} in the command stands for it.",
            text("What it is."),
            key=text("Its name.", format="key"),
        ),
        "backup_first": listing("Backups made before.", ref("backups", "A backup.")),
    },
    source="MOV-14",
)

STATISTIC = obj(
    "A number for the report.",
    {
        "label": required(text("What it counts.")),
        "database": ref("databases", "Where it is counted."),
        "query": text("SQL that returns one number."),
        "service": ref("services", "Instead: the service in which a command prints it."),
        "command": _argv("The command."),
    },
    exactly_one=(("query", "command"),),
    source="NIA-10",
)

SOURCE = obj(
    "Where the code of systemd, pm2 and static services comes from.",
    {
        "type": choice("git clones a repository, artifact fetches an archive.", "git", "artifact", default="git"),
        **only_for(
            "type",
            "git",
            repository=required(text("Address of the repository.", example="https://github.com/example/app.git")),
            ref=text("Branch or tag when a release names none.", default="main"),
        ),
        **only_for(
            "type",
            "artifact",
            url=required(text("Address; {version} stands for the release's version.", format="url")),
            checksum_url=text("Address of its SHA-256 sum; {version} stands for the version.", format="url"),
        ),
        "credentials_secret": ref("secrets", "Secret with the token or deploy key."),
        "build": listing(
            "What makes a release of it, in order.",
            obj(
                "A step.",
                {
                    "command": required(_argv("The command.", example=["npm", "ci"], min_items=1)),
                    "directory": text("Where, in the release.", format="relative", default="."),
                    "environment": mapping(
                        "Its environment.", scalar("The value."), key=text("The variable.", format="variable")
                    ),
                    "timeout": duration("Time it may take.", default="15m"),
                },
            ),
            source="TEC-1",
        ),
        "shared": listing(
            "Paths that all releases share, such as uploads.",
            text("A path in the release.", format="relative"),
            example=["backend/media"],
        ),
    },
)

HOOK = obj("A command in a service.", {**COMMAND_IN_SERVICE, "timeout": duration("Time it may take.", default="5m")})

RELEASE = obj(
    "How a new version replaces the old one.",
    {
        "order": listing(
            "Services in the order they are replaced; by their dependencies when empty.", ref("services", "A service.")
        ),
        "rollout": choice(
            "recreate replaces one service after the other; beside starts the new next to the old and then switches.",
            *("recreate", "beside"),
            default="recreate",
        ),
        "backup_first": listing("Backups made before.", ref("backups", "A backup."), source="CDM-14, TEC-12"),
        "migrations": listing(
            "Database migrations, before the switch.",
            obj(
                "A migration.",
                {
                    **COMMAND_IN_SERVICE,
                    "database": ref("databases", "The database it changes."),
                    "status": _argv("Command that lists pending, applied and failed ones.", source="MOV-4"),
                    "resolve": _argv("Command that marks {migration} as rolled back.", source="MOV-4"),
                    "timeout": duration("Time they may take.", default="10m"),
                },
            ),
            source="MOV-4, CDM-14, TEC-12",
        ),
        "before_switch": listing("Commands in the new version before it serves.", HOOK),
        "after_switch": listing("Commands in the new version once it serves.", HOOK, source="CDM-8"),
        "health_timeout": duration("Time in which every service must be healthy.", default="5m"),
        "verify": listing(
            "Probes that must be good from outside, else the old version comes back.", ref("probes", "A probe.")
        ),
        "keep": integer("Releases kept for a rollback.", 2, 50, default=5),
    },
    default={},
    source="ALL-2",
)

REQUIREMENTS = obj(
    "What a host must have before anything is touched.",
    {
        "docker": text("Oldest Docker engine.", format="version", default="20.10", source="CDM-1"),
        "compose": text("Oldest compose.", format="version", default="2.0", source="CDM-1"),
        "memory_mb": integer("Memory.", 64, default=1024, unit="MB"),
        "disk_gb": integer("Disk.", 1, default=10, unit="GB"),
        "cpus": integer("Processors.", 1, 256, default=1),
    },
    default={},
    source="CDM-1",
)

CHECKLIST = listing(
    "What is looked at, as section.name; the section alone means all of it.",
    text("An entry.", format="path", example="probes.site"),
)

PROJECT: Final = obj(
    "A project: everything that runs, and everything that has to be done for it.",
    {
        "name": required(
            text("Its name: the file's name, the inventory group, the start of every name on a host.", format="name")
        ),
        "title": required(text("Its name for people.")),
        "description": text("What it is, in a sentence or two.", format="text"),
        "requirements": REQUIREMENTS,
        "source": SOURCE,
        "services": mapping("What runs.", SERVICE, key=text("Its name.", format="name"), required=True, min_items=1),
        "volumes": mapping("Directories that outlive containers.", VOLUME),
        "domains": mapping("Sites, under a short name each.", DOMAIN, key=text("Its short name.", format="name")),
        "rate_zones": mapping("Counters for rate limits.", RATE_ZONE),
        "secrets": mapping("Secrets, without their values.", SECRET, key=text("Its name.", format="secret")),
        "settings": mapping("Tuning values.", SETTING, key=text("The variable.", format="variable")),
        "databases": mapping("Databases.", DATABASE),
        "redis": mapping("Redis servers.", REDIS),
        "queues": mapping("Job queues.", QUEUE),
        "files": mapping("File sets.", FILE_SET),
        "destinations": mapping("Where copies of backups go.", DESTINATION),
        "backups": mapping("Backups.", BACKUP),
        "retention": mapping("Old rows that are deleted.", RETENTION),
        "logs": mapping("Logs.", LOG),
        "probes": mapping("Health probes.", PROBE),
        "channels": mapping("Ways to reach people.", CHANNEL),
        "severities": mapping(
            "What critical, high, medium and low mean here.", SEVERITY, key=choice("A severity.", *SEVERITIES)
        ),
        "contacts": mapping("People.", CONTACT),
        "maintenance": mapping("Jobs.", JOB),
        "operations": mapping("Dangerous things.", OPERATION),
        "statistics": mapping("Numbers for the report.", STATISTIC),
        "checklists": obj(
            "What is looked at and how often.",
            {
                "daily": CHECKLIST,
                "weekly": CHECKLIST,
                "monthly": CHECKLIST,
                "quarterly": CHECKLIST,
            },
            default={},
            source="NIA-17",
        ),
        "release": RELEASE,
        "overrides": anything(
            "The last word over derived role variables: merged deeply, lists of named items by name.",
            default={},
            example={"docker_stack_compose": {"services": {"api": {"mem_limit": "1g"}}}},
        ),
    },
)
