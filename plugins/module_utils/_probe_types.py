# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every type of probe: its options, the fields that conditions can name, and what is good when nothing is said.

The one source of validation and documentation. C(check) names the function that asks, imported only when a probe of
the type is run, because imports are most of what a run on a host costs.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple


class Option(NamedTuple):
    """One option. C(kind): text, path, integer, number, boolean, duration (s), size (bytes), port, list, argv, map,
    secret (text that may hold ${NAME}), choice."""

    kind: str
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    required: bool = False


class ProbeType(NamedTuple):
    """One type. C(main) is the field that is the probe's value; C(at_least_one) are options of which one is needed."""

    check: str
    help: str
    options: dict[str, Option]
    fields: dict[str, str]  # name (a trailing ".*" takes any rest) to what it is, unit included
    main: str = ""
    unit: str = ""
    expect: tuple[str, ...] = ()  # what must hold when the probe says nothing
    warn: tuple[str, ...] = ()
    crit: tuple[str, ...] = ()
    at_least_one: tuple[str, ...] = ()
    remote: bool = True  # crosses the network of the host, so it is held while the host's own uplink is down


def _text(help_: str, default: str = "", required: bool = False) -> Option:
    return Option("text", help_, default, required=required)


def _path(help_: str, default: str = "", required: bool = False) -> Option:
    return Option("path", help_, default, required=required)


def _secret(help_: str) -> Option:
    return Option("secret", help_, "")


def _flag(help_: str, default: bool) -> Option:
    return Option("boolean", help_, default)


# What every probe may say.
COMMON: Final = {
    "name": _text("Its name, [a-z0-9][a-z0-9_.-]*; key of state, metrics and acknowledgements.", required=True),
    "type": _text("One of the types.", "http"),
    "description": _text("What a good answer means."),
    "timeout": Option("duration", "Time for the whole probe, name resolution included.", 5.0),
    "retries": Option("integer", "Further tries in one run; good after a retry is degraded, never ok.", 0),
    "expect": Option("list", "Conditions that must hold; an empty list is an error.", None),
    "warn": Option("list", "Conditions that make it a warning: any of them. {on, clear} gives hysteresis.", None),
    "crit": Option("list", "Conditions that make it critical: any of them.", None),
    "severity": Option("choice", "How bad it is.", "high", ("critical", "high", "medium", "low")),
    "hint": _text("What to do when it is bad."),
    "project": _text("The project it belongs to; empty for the host's own."),
    # Of the watch only; one shot and gate leave them alone.
    "every": Option("duration", "Time between two runs.", 60.0),
    "failures": Option("integer", "Bad results in a row before an alert.", 3),
    "window": _text('Or: x bad of the last y results, as "3/5".'),
    "successes": Option("integer", "Good results in a row that end an alert.", 2),
    "start_period": Option("duration", "Time after the start of what it watches in which it may not restart it.", 0.0),
    "depends_on": Option("list", "Names of probes; while one of them is bad this one raises no alert.", ()),
    "restart": Option("map", "What to restart when it does not live: {unit|container, most: 3, within: 1h}.", None),
}

_DIAL = {
    "ip_family": Option("choice", "Which addresses; one of them is tried, never a second.", "any", ("4", "6", "any")),
    "container": _text("Instead of a host: the address of this container, through the Docker socket."),
}
_TLS = {
    "verify": _flag("The certificate must be valid for the name.", True),
    "ca_file": _path("Certificates to trust in place of the system's."),
    "sni": _text("Name to ask for and to verify; the host's when not given."),
    "x509_strict": _flag("RFC 5280 to the letter, which many private authorities fail.", False),
}
_LOGIN = {
    "user": _text("User."),
    "password": _secret("Password."),
    "password_file": _path("File that holds the password, and nothing else."),
}
_LATENCY = {"latency_ms": "time of the whole probe, ms"}
_CERTIFICATE = {
    "tls_days": "days the certificate still holds",
    "chain_days": "days until the first certificate of the chain ends, the trust anchor left out; null when unknown",
}

_HTTP_REQUEST = {
    "url": _secret("Address, http:// or https://."),
    "method": _text("Method.", "GET"),
    "headers": Option("map", "Headers to send.", {}),
    "body": _secret("Body to send."),
}
_REDIS = {
    "url": _secret("redis://, rediss:// or unix:// address; instead of host, port, user, password, database."),
    "host": _text("Host.", "127.0.0.1"),
    "port": Option("port", "Port.", 6379),
    "socket": _path("Unix socket instead."),
    "database": Option("integer", "Number of the database.", 0),
    "tls": _flag("Speak TLS.", False),
    **_LOGIN,
    **_TLS,
    **_DIAL,
}


def _sql(port: int) -> dict[str, Option]:
    return {
        "url": _secret("Address as applications have it; instead of host, port, user, password, database."),
        "host": _text("Host.", "127.0.0.1"),
        "port": Option("port", "Port.", port),
        "socket": _path("Unix socket instead: the directory of PostgreSQL's, the file of MySQL's."),
        "database": _text("Name of the database."),
        "tls": Option(
            "choice",
            "TLS: not, if offered, needed, needed and verified.",
            "prefer",
            ("off", "prefer", "require", "verify"),
        ),
        "query": _text("SQL that returns one value.", "SELECT 1"),
        **_LOGIN,
        **_TLS,
        **_DIAL,
    }


_SQL_FIELDS = {
    "value": "first column of the first row of the query",
    "connections": "connections in use",
    "connections_pct": "connections in use, % of those allowed",
    "size_bytes": "size of the database, bytes",
    "in_recovery": "true on a replica",
    "version": "version of the server",
    **_LATENCY,
}
_RESTARTS = {"restarts": "restarts since it was made", "restarts_day": "restarts in the last 24 h that a watch saw"}

TYPES: Final = {
    "http": ProbeType(
        "_probe_http:check",
        "An HTTP or HTTPS answer.",
        {
            **_HTTP_REQUEST,
            "connect_to": _text("HOST or HOST:PORT to connect to in place of the address' own."),
            "user": _text("User, Basic authentication."),
            "password": _secret("Password."),
            "password_file": _path("File that holds the password."),
            "follow_redirects": Option(
                "integer", "Redirects to follow, on the same host; to another one is a warning.", 0
            ),
            "max_body": Option("size", "Largest body that is read.", 1048576),
            "steps": Option(
                "list", "A user's path: requests {url|path, method, headers, body, expect}; cookies are kept.", None
            ),
            **_TLS,
            **_DIAL,
        },
        {
            "status": "status of the answer",
            "body": "body as text",
            "bytes": "length of the body, bytes",
            "json": "the body as JSON",
            "json.*": "value in a JSON body: names and list positions joined by dots",
            "json_age_s.*": "age of the time (RFC 3339 or seconds since 1970) in a JSON body, s",
            "header.*": "header of the answer, lower case; null when it is not there",
            "cookie.*": "whether the answer sets it; then .value, .http_only, .secure, .same_site (lower case)",
            "redirects": "redirects followed",
            **{f"{phase}_ms": "time of this phase, ms" for phase in ("resolve", "connect", "tls", "ttfb", "transfer")},
            **_LATENCY,
            **_CERTIFICATE,
        },
        main="latency_ms",
        unit="ms",
        expect=("status in 200-299",),
        at_least_one=("url", "steps"),
    ),
    "tls": ProbeType(
        "_probe_tls:check",
        "A certificate as it is served, with its chain.",
        {
            "host": _text("Host to connect to.", required=True),
            "port": Option("port", "Port.", 443),
            "starttls": Option("choice", "Protocol that begins in the clear.", "", ("", "smtp")),
            "connect_to": _text("HOST or HOST:PORT to connect to instead."),
            **_TLS,
            **_DIAL,
        },
        {
            **_CERTIFICATE,
            "verified": "whether the chain and the name hold",
            "version": "protocol, as TLSv1.3",
            **_LATENCY,
        },
        main="tls_days",
        unit="days",
        expect=("verified == true",),
        warn=("tls_days < 21",),
        crit=("tls_days < 7", "chain_days < 7"),
    ),
    "tcp": ProbeType(
        "_probe_tcp:check",
        "A port that accepts connections.",
        {
            "host": _text("Host.", "127.0.0.1"),
            "port": Option("port", "Port."),
            "socket": _path("Unix socket instead."),
            "send": _text("Text to send."),
            "tls": _flag("Speak TLS.", False),
            **_TLS,
            **_DIAL,
        },
        {"connected": "true", "banner": "first line it sends, when a condition asks for it", **_LATENCY},
        main="latency_ms",
        unit="ms",
        expect=("connected == true",),
        at_least_one=("port", "socket"),
    ),
    "smtp": ProbeType(
        "_probe_smtp:check",
        "A mail server: banner, EHLO, STARTTLS, and login where a user is given. Sends no mail.",
        {
            "host": _text("Host.", "127.0.0.1"),
            "port": Option("port", "Port.", 25),
            "tls": Option(
                "choice",
                "TLS: off, STARTTLS if offered, STARTTLS needed, from the start.",
                "prefer",
                ("off", "prefer", "starttls", "implicit"),
            ),
            "helo": _text("Name to say in EHLO; this host's when not given."),
            **_LOGIN,
            **_TLS,
            **_DIAL,
        },
        {
            "code": "reply code of EHLO",
            "starttls": "whether TLS is spoken",
            "auth": "whether the login was accepted",
            **_CERTIFICATE,
            **_LATENCY,
        },
        main="latency_ms",
        unit="ms",
        expect=("code == 250",),
    ),
    "redis": ProbeType(
        "_probe_redis:check",
        "A Redis or Valkey server: PING and INFO.",
        _REDIS,
        {
            "ping": "PONG",
            "role": "master or slave",
            "master_link": "up or down, on a replica",
            "loading": "whether it still reads its data",
            "memory_bytes": "memory in use, bytes",
            "memory_pct": "memory in use, % of maxmemory; null without one",
            "clients": "connected clients",
            "evicted": "keys evicted since its start",
            "rejected": "connections rejected since its start",
            "last_save_ok": "whether the last save to disk worked",
            "version": "its version",
            **_LATENCY,
        },
        main="latency_ms",
        unit="ms",
        expect=("ping == PONG", "loading == false"),
        crit=("last_save_ok == false",),
    ),
    "postgresql": ProbeType(
        "_probe_postgresql:check",
        "A PostgreSQL server that accepts the login (SCRAM, MD5, clear text over TLS, trust) and answers a query.",
        _sql(5432),
        _SQL_FIELDS,
        main="latency_ms",
        unit="ms",
        expect=("value != null",),
        crit=("connections_pct > 90",),
    ),
    "mysql": ProbeType(
        "_probe_mysql:check",
        "A MySQL or MariaDB server that accepts the login and answers a query.",
        _sql(3306),
        _SQL_FIELDS,
        main="latency_ms",
        unit="ms",
        expect=("value != null",),
        crit=("connections_pct > 90",),
    ),
    "queue": ProbeType(
        "_probe_queue:check",
        "A job queue in Redis: how many wait, and for how long.",
        {
            "queue": _text("Name of the queue, or of the key.", required=True),
            "library": Option("choice", "What writes it.", "bullmq", ("bull", "bullmq", "list", "stream")),
            "prefix": _text("Prefix of its keys.", "bull"),
            "stuck_after": Option(
                "duration", "Jobs that wait while nothing is finished for this long are stuck.", 600.0
            ),
            **_REDIS,
        },
        {
            "depth": "jobs that wait",
            "oldest_s": "how long the oldest has waited, s; 0 when none waits, null when unknown",
            "active": "jobs being worked on",
            "delayed": "jobs for later",
            "failed": "failed jobs that are kept",
            "completed": "completed jobs that are kept",
            "paused": "whether it is paused",
            "workers": "workers connected; null when the library does not say",
            "stuck": "whether jobs wait and nothing moved for stuck_after",
            **_LATENCY,
        },
        main="depth",
        unit="jobs",
        expect=("depth != null",),
        crit=("stuck == true",),
    ),
    "docker": ProbeType(
        "_probe_docker:check_container",
        "A container, through the Docker socket.",
        {"container": _text("Its name.", required=True), "docker": _path("The socket.", "/var/run/docker.sock")},
        {
            "state": "running, exited, restarting, …",
            "health": "healthy, unhealthy, starting or none",
            "exit_code": "code of its last end",
            "oom_killed": "whether it was killed for its memory",
            "age_s": "time since its start, s",
            "memory_pct": "memory in use, % of its limit; null without one",
            **_RESTARTS,
        },
        main="age_s",
        unit="s",
        expect=("state == running", "health in healthy,none,starting"),
        warn=("restarts_day > 3",),
        remote=False,
    ),
    "containers": ProbeType(
        "_probe_docker:check_project",
        "All containers of a Compose project: there, running, healthy, not restarting.",
        {
            "compose": _text("Name of the Compose project.", required=True),
            "services": Option("list", "Services that must run; those that have containers when empty.", ()),
            "versioned": Option("list", "Services whose image's tag is the version that is live.", ()),
            "docker": _path("The socket.", "/var/run/docker.sock"),
        },
        {
            "running": "services that run",
            "expected": "services that should run",
            "missing": "services that do not run, as a text joined by commas",
            "unhealthy": "services that are unhealthy, as a text joined by commas",
            "version": "the version that is live, as the images say",
            **_RESTARTS,
        },
        main="running",
        unit="services",
        expect=('missing == ""', 'unhealthy == ""'),
        warn=("restarts_day > 3",),
        remote=False,
    ),
    "systemd": ProbeType(
        "_probe_units:check_systemd",
        "A systemd unit.",
        {"unit": _text("Its name.", required=True)},
        {
            "active": "active, inactive, failed, activating, …",
            "sub": "running, dead, exited, …",
            "result": "success, exit-code, …",
            "exit_code": "code of its last end",
            "memory_bytes": "memory in use, bytes",
            "age_s": "time since it became active, s",
            **_RESTARTS,
        },
        main="age_s",
        unit="s",
        expect=("active == active",),
        warn=("restarts_day > 3",),
        remote=False,
    ),
    "pm2": ProbeType(
        "_probe_units:check_pm2",
        "An application under pm2.",
        {
            "app": _text("Its name in pm2.", required=True),
            "user": _text("User whose pm2 it is.", "root"),
            "home": _path("PM2_HOME; .pm2 of the user's home when not given."),
        },
        {
            "status": "online, errored, stopped, launching",
            "instances": "instances",
            "online": "instances online",
            "memory_bytes": "memory in use, bytes",
            "cpu_pct": "processor in use, %",
            "age_s": "time since its start, s",
            **_RESTARTS,
        },
        main="online",
        unit="instances",
        expect=("status == online",),
        warn=("restarts_day > 3",),
        remote=False,
    ),
    "process": ProbeType(
        "_probe_units:check_process",
        "Processes of this host.",
        {
            "match": _text("Regular expression on the command line."),
            "pid_file": _path("File that holds a process id."),
            "user": _text("Only those of this user."),
        },
        {
            "count": "processes found",
            "memory_bytes": "their resident memory, bytes",
            "oldest_s": "age of the oldest, s",
        },
        main="count",
        unit="processes",
        expect=("count > 0",),
        at_least_one=("match", "pid_file"),
        remote=False,
    ),
    "disk": ProbeType(
        "_probe_machine:check_disk",
        "Room on a filesystem, its inodes, and when it will be full.",
        {
            "path": _path("A path on it.", "/"),
            "min_days": Option("number", "Days of samples before a trend is told.", 7),
            "fit_days": Option("number", "Days of samples the trend is fitted to.", 30),
        },
        {
            "used_pct": "used, % of what unprivileged programs may use",
            "free_pct": "free, %",
            "free_gib": "free, GiB",
            "free_bytes": "free, bytes",
            "inodes_used_pct": "inodes used, %; null where there are none",
            "full_in_days": "days until it is full at its trend; null when unknown, flat or shrinking",
            "read_only": "whether it is mounted read-only",
        },
        main="used_pct",
        unit="%",
        expect=("read_only == false",),
        warn=("used_pct > 80", "inodes_used_pct > 80", "full_in_days < 14"),
        crit=("used_pct > 95", "inodes_used_pct > 95"),
        remote=False,
    ),
    "memory": ProbeType(
        "_probe_machine:check_memory",
        "Memory of the host.",
        {},
        {
            "used_pct": "memory that is not available, %",
            "available_bytes": "available, bytes",
            "swap_used_pct": "swap used, %; null without swap",
            "oom_kills": "kills for lack of memory since the last run",
        },
        main="used_pct",
        unit="%",
        expect=("used_pct <= 100",),
        warn=("used_pct > 80", "oom_kills > 0"),
        crit=("used_pct > 95",),
        remote=False,
    ),
    "cpu": ProbeType(
        "_probe_machine:check_cpu",
        "Processors of the host, since the last run (a short sample in a first one).",
        {},
        {
            "used_pct": "in use, % of all",
            "iowait_pct": "waiting for disks, %",
            "steal_pct": "taken by other machines, %",
        },
        main="used_pct",
        unit="%",
        expect=("used_pct <= 100",),
        warn=("used_pct > 80",),
        remote=False,
    ),
    "load": ProbeType(
        "_probe_machine:check_load",
        "Load average of the host.",
        {},
        {"load1": "1 minute", "load5": "5 minutes", "load15": "15 minutes", "per_cpu": "5 minutes, per processor"},
        main="load5",
        expect=("load5 >= 0",),
        warn=("per_cpu > 2",),
        crit=("per_cpu > 6",),
        remote=False,
    ),
    "log": ProbeType(
        "_probe_log:check",
        "Lines that were added to a log and match. Every line is counted once, through rotations too.",
        {
            "path": _path("Files, * and ? allowed."),
            "container": _text("Instead: the output of this container."),
            "unit": _text("Instead: the journal of this unit."),
            "match": _text("Regular expression.", required=True),
            "ignore": _text("Regular expression of lines that do not count."),
            "max_bytes": Option("size", "Most that is read in one run; what is left waits for the next.", 16777216),
        },
        {
            "new": "matching lines since the last run",
            "per_hour": "matching lines in the last hour",
            "total": "matching lines since it is watched",
            "scanned": "lines read in this run",
            "files": "files found",
            "age_s": "time since the last matching line was seen, s; null when none was",
        },
        main="per_hour",
        unit="lines/h",
        expect=("files > 0",),
        at_least_one=("path", "container", "unit"),
        remote=False,
    ),
    "backup": ProbeType(
        "_probe_files:check_backup",
        "The newest backup: its age, its size, and how it compares with the one before.",
        {
            "glob": _path("Its files, * and ? allowed."),
            "success_file": _path(
                "File that is touched when a backup succeeded: its age counts then, not that of files."
            ),
            "max_age": Option(
                "duration", "Age at which it is too old: the period and the time it takes, with slack.", 93600.0
            ),
            "min_bytes": Option("size", "Smallest good size.", 1),
            "shrink_warn_pct": Option("number", "Loss of size against the one before that is a warning.", 50),
        },
        {
            "age_s": "age, s; null when there is none",
            "bytes": "size of the newest, bytes",
            "change_pct": "change of size against the one before, %",
            "shrunk": "whether it lost more than shrink_warn_pct; null without one before",
            "count": "files found",
        },
        main="age_s",
        unit="s",
        expect=("age_s != null",),
        warn=("shrunk == true",),
        at_least_one=("glob", "success_file"),
        remote=False,
    ),
    "drill": ProbeType(
        "_probe_files:check_drill",
        "The last restore that was proved.",
        {
            "success_file": _path("File that is touched when a restore was proved.", required=True),
            "max_age": Option("duration", "Age at which the proof is too old.", 3456000.0),
        },
        {"age_s": "age, s; null when there never was one"},
        main="age_s",
        unit="s",
        expect=("age_s != null",),
        remote=False,
    ),
    "heartbeat": ProbeType(
        "_probe_files:check_heartbeat",
        "A sign of life of something that runs by itself.",
        {
            "file": _path("File that it touches."),
            "log": _path("Instead: log in which a line must appear, * and ? allowed."),
            "container": _text("Instead: container in whose output a line must appear."),
            "unit": _text("Instead: unit (a timer's service) whose last successful end is the sign."),
            "match": _text("With log and container: what the line looks like."),
            "max_age": Option(
                "duration", "Age at which the last sign is too old; at least twice the period.", required=True
            ),
        },
        {"age_s": "age of the last sign, s; null when there never was one"},
        main="age_s",
        unit="s",
        expect=("age_s != null",),
        at_least_one=("file", "log", "container", "unit"),
        remote=False,
    ),
    "size": ProbeType(
        "_probe_files:check_size",
        "Size of files.",
        {
            "path": _path("A file or directory.", required=True),
            "max_bytes": Option("size", "Size above which it is a warning.", None),
        },
        {
            "bytes": "bytes on disk",
            "files": "files",
            "too_big": "whether it is above max_bytes; null without one",
        },
        main="bytes",
        unit="B",
        expect=("bytes != null",),
        warn=("too_big == true",),
        remote=False,
    ),
    "command": ProbeType(
        "_probe_units:check_command",
        "A command that must end well.",
        {
            "command": Option("argv", "The command and its arguments; no shell.", required=True),
            "container": _text("Container to run it in, through the Docker socket."),
            "user": _text("User to run it as; root outside containers when not given."),
            "environment": Option("map", "Its environment; values may hold ${NAME}.", {}),
        },
        {
            "exit": "exit code",
            "stdout": "first 64 KiB of its output",
            "stderr": "first 64 KiB of its errors",
            "number": "first number in its output; null without one",
            "nagios": "ok, warning, critical or unknown, as Nagios plugins say it by their exit code",
            **_LATENCY,
        },
        main="exit",
        expect=("exit == 0",),
        remote=False,
    ),
}

__all__ = ["COMMON", "TYPES", "Option", "ProbeType"]
