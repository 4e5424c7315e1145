# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of containers and Compose projects, through the engine's socket and nothing else.

Requests are HTTP/1.0: the engine then answers without chunks and closes the connection, so that the end of the answer
is the end of the stream, and no HTTP library has to be loaded.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable, Final

from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed, Spec, shorten
from ansible_collections.quai.ops.plugins.module_utils._probe_units import read, restarts_of_day

SOCKET: Final = "/var/run/docker.sock"
# Label of a container in which a release may say which version it is; images pinned by digest lose their tag.
VERSION_LABEL: Final = "quai.version"
# Most that is read of one answer; logs have limits of their own.
MOST: Final = 8 * 1024 * 1024
LOG_LINES: Final = 20
# Containers whose last lines are shown when several are bad.
_LOGS_SHOWN = 3
_REHEARSAL = "_rehearsal"
# While Compose replaces a container, the one that does not serve has the start of an id before its name.
_REPLACED = re.compile(r"[0-9a-f]{12}_")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:?\d\d)?")
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")


class Refused(ProbeFailed):
    """The engine answered with an error. C(code) is the status of HTTP."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__("missing" if code == 404 else "status", message)
        self.code = code


class Engine:
    """The Docker engine behind a Unix socket. C(remaining) returns the seconds that are left, or raises.

    C(known): whether this engine was seen before, so that a socket that is gone means that it was stopped.
    """

    def __init__(self, remaining: Callable[[], float], path: str = SOCKET, *, known: bool = False) -> None:
        self._remaining = remaining
        self.path = path
        self._known = known

    def get(self, path: str) -> Any:
        """The JSON that the engine answers to a GET. Raises ProbeFailed (Refused when it answers with an error)."""
        return self.send("GET", path)

    def send(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Any:
        """The JSON that the engine answers; None for an empty answer."""
        status, body, whole = self.request(method, path, document)
        if not whole:
            raise ProbeFailed("size", f"the Docker engine answered {path} with more than {MOST} bytes")
        try:
            answer = json.loads(body) if body else None
        except ValueError:
            answer = shorten(body.decode("utf-8", "replace"), 200)
            if status < 300:
                raise ProbeFailed("proto", f"the Docker engine answered {path} with no JSON: {answer!r}") from None
        if status >= 300:
            said = answer.get("message") if isinstance(answer, dict) else answer
            raise Refused(status, f"the Docker engine refused {path} with {status}: {said}")
        return answer

    def request(
        self, method: str, path: str, document: Mapping[str, Any] | None = None, most: int = MOST
    ) -> tuple[int, bytes, bool]:
        """Status, body, and whether that is the whole body: at most C(most) bytes are read of it."""
        parts = self.stream(method, path, document)
        status = int(next(parts))
        body = bytearray()
        for part in parts:
            body += part
            if len(body) > most:
                parts.close()
                return status, bytes(body[:most]), False
        return status, bytes(body), True

    def stream(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Generator[bytes, None, None]:
        """The status as digits, then the body piece by piece as it comes. To be used up or closed."""
        content = b"" if document is None else json.dumps(document).encode()
        head = f"{method} {path} HTTP/1.0\r\nHost: docker\r\n"
        if document is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        connection = self._connect()
        try:
            connection.settimeout(self._remaining())
            connection.sendall(f"{head}\r\n".encode() + content)
            received = b""
            while b"\r\n\r\n" not in received:
                part = b"" if len(received) > 65536 else self._receive(connection)
                received += part
                if not part:
                    raise ProbeFailed("proto", f"the Docker engine closed {self.path} without an answer")
            header, _gap, rest = received.partition(b"\r\n\r\n")
            match = re.match(rb"HTTP/1\.[01] (\d{3})", header)
            if match is None:
                raise ProbeFailed("proto", f"what listens on {self.path} does not speak HTTP: {header[:80]!r}")
            yield match.group(1)
            rest = rest or self._receive(connection)  # the body may come with the header or after it
            while rest:
                yield rest
                rest = self._receive(connection)
        except socket.timeout:
            self._remaining()
            raise ProbeFailed("timeout", f"the Docker engine on {self.path} did not answer in time") from None
        except OSError as error:
            raise ProbeFailed("reset", f"the Docker engine on {self.path} hung up: {error.strerror}") from None
        finally:
            connection.close()

    def _receive(self, connection: socket.socket) -> bytes:
        connection.settimeout(self._remaining())
        return connection.recv(65536)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self._remaining())
            connection.connect(self.path)
        except FileNotFoundError:
            connection.close()
            if self._known:
                raise ProbeFailed("refused", f"the Docker engine was stopped: {self.path} is gone") from None
            raise OwnFault(f"there is no Docker socket {self.path}; install Docker, or name the socket") from None
        except PermissionError:
            connection.close()
            raise OwnFault(f"the Docker socket {self.path} may not be used by this user; run as root") from None
        except socket.timeout:
            connection.close()
            self._remaining()
            raise ProbeFailed("timeout", f"the Docker engine on {self.path} accepts no connection in time") from None
        except OSError as error:
            connection.close()
            raise ProbeFailed("refused", f"no Docker engine listens on {self.path}: {error.strerror}") from None
        return connection

    def container(self, name: str) -> dict[str, Any]:
        """What the engine knows of a container. Raises ProbeFailed C(missing)."""
        try:
            found: dict[str, Any] = self.get(f"/containers/{quote(name)}/json")
        except Refused as error:
            if error.code == 404:
                raise ProbeFailed("missing", f"there is no container {name}") from None
            raise
        return found

    def tail(self, found: Mapping[str, Any], lines: int = LOG_LINES) -> list[str]:
        """The last lines of a container, and what its last failed health check said."""
        query = f"stdout=1&stderr=1&tail={lines}"
        status, body, _whole = self.request("GET", f"/containers/{found['Id']}/logs?{query}", most=256 * 1024)
        said = b"".join(part for _kind, part in frames(body, raw=is_tty(found))) if status == 200 else b""
        result = [shorten(line.rstrip("\r"), 500) for line in said.decode("utf-8", "replace").splitlines()[-lines:]]
        health = (found["State"].get("Health") or {}).get("Log") or []
        if health and health[-1].get("ExitCode"):
            last = shorten(" ".join(str(health[-1].get("Output", "")).split()), 300)
            result.append(f"last health check (exit {health[-1]['ExitCode']}): {last}")
        return result


def engine(context: Context, path: str = "") -> Engine:
    """The engine for a check, which remembers in the check's memory that it was there."""
    return Engine(context.remaining, path or SOCKET, known=bool(context.memory.get("engine")))


def quote(text: str) -> str:
    """A text as a part of an address."""
    return "".join(chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in text.encode())


def frames(body: bytes, *, raw: bool = False) -> Iterator[tuple[int, bytes]]:
    """Kind (1 output, 2 errors) and content of each piece of a multiplexed stream; a cut last piece is given as is.

    C(raw): the container has a terminal, whose output the engine does not multiplex.
    """
    if raw:
        yield 1, body
        return
    at = 0
    while at + 8 <= len(body):
        size = int.from_bytes(body[at + 4 : at + 8], "big")
        yield body[at], body[at + 8 : at + 8 + size]
        at += 8 + size


def is_tty(found: Mapping[str, Any]) -> bool:
    """Whether a container has a terminal."""
    return bool((found.get("Config") or {}).get("Tty"))


def parse_time(text: str) -> float | None:
    """Seconds since 1970 of an RFC 3339 time; None when it is none, or the engine's word for never."""
    match = _TIME.match(text or "")
    if match is None or match.group(1) == "0001":
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    zone = match.group(8) or "Z"
    offset = 0
    if zone != "Z":
        offset = (int(zone[1:3]) * 60 + int(zone[-2:])) * (-60 if zone[0] == "-" else 60)
    fraction = float(f"0.{match.group(7) or 0}")
    return _days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset + fraction


def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 in the Gregorian calendar. The datetime library costs more than the probe."""
    year -= month <= 2
    era_year = year % 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return (year // 400) * 146097 + era_year * 365 + era_year // 4 - era_year // 100 + of_year - 719468


def _restarts(context: Context, containers: Iterable[Mapping[str, Any]]) -> None:
    """Fill the fields about restarts."""
    counts = {str(one["Name"]).lstrip("/"): (str(one["Id"]), int(one.get("RestartCount") or 0)) for one in containers}
    context.found.fields["restarts"] = sum(count for _identity, count in counts.values())
    context.found.fields["restarts_day"] = restarts_of_day(context.memory, counts, context.now)


def check_container(spec: Spec, context: Context) -> None:
    """Look at one container. Fields: see the table of types."""
    docker = engine(context, spec["docker"])
    found = docker.container(spec["container"])
    context.memory["engine"] = True
    state = found["State"]
    running = state["Status"] == "running"
    health = _health(state)
    started = parse_time(state.get("StartedAt", ""))
    context.found.fields.update(
        state=state["Status"],
        health=health,
        # Of a container that runs the engine says 0, which is no exit code.
        exit_code=None if running or state["Status"] == "created" else int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        age_s=max(0.0, context.now - started) if running and started else None,
        memory_pct=None,
    )
    _restarts(context, [found])
    details = context.found.details
    details["state"] = state["Status"]
    details["image"] = str(found["Config"]["Image"])
    version = version_of(found)
    if version:
        details["version"] = version
    if running and started:
        details["started_at"] = rfc3339(started)
    context.found.message = f"{state['Status']}" + ("" if health == "none" else f", {health}")
    if not running or health == "unhealthy":
        _add_log(docker, found, context, "")
    elif int((found.get("HostConfig") or {}).get("Memory") or 0) > 0:
        context.found.fields["memory_pct"] = _memory(docker, found)


def _health(state: Mapping[str, Any]) -> str:
    return str((state.get("Health") or {}).get("Status") or "none")


def _memory(docker: Engine, found: Mapping[str, Any]) -> float | None:
    """Memory in use as % of the limit, without the file cache that can be given back; None when unknown."""
    try:
        stats = docker.get(f"/containers/{found['Id']}/stats?stream=false&one-shot=true").get("memory_stats") or {}
    except Refused:
        return None  # it ended meanwhile
    usage, limit = stats.get("usage"), found["HostConfig"]["Memory"]
    if usage is None:
        return None
    parts = stats.get("stats") or {}
    cache = parts.get("inactive_file", parts.get("total_inactive_file", 0))
    return round(100.0 * max(0, int(usage) - int(cache)) / int(limit), 1)


def _add_log(docker: Engine, found: Mapping[str, Any], context: Context, title: str) -> None:
    """Keep the last lines of a bad container. What was found counts, also when there is no time left for them."""
    try:
        lines = docker.tail(found)
    except (ProbeFailed, OwnFault) as error:
        lines = [f"(its log cannot be read: {error})"]
    context.found.log += [*([title] if title else []), *lines]


def tag_of(reference: str) -> str:
    """Tag of an image reference; empty when it has none."""
    name = reference.split("@", 1)[0].rpartition("/")[2]
    return name.partition(":")[2]


def version_of(found: Mapping[str, Any]) -> str:
    """Version that a container runs: what the release said, the tag of its image, or what the image says; or empty.

    The last may be inherited from the image that it was built on, so it counts only when nothing else is known.
    """
    labels = found["Config"].get("Labels") or {}
    return str(
        labels.get(VERSION_LABEL)
        or tag_of(str(found["Config"]["Image"]))
        or labels.get("org.opencontainers.image.version")
        or ""
    )


def rfc3339(seconds: float) -> str:
    """A time in UTC as RFC 3339 has it, without fractions."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _counts(found: Mapping[str, Any]) -> bool:
    """Whether a container is one of a service: not of C(compose run), not a rehearsal, not one being replaced."""
    name = str(found["Name"]).lstrip("/")
    if str((found["Config"].get("Labels") or {}).get("com.docker.compose.oneoff")) == "True":
        return False
    return not name.endswith(_REHEARSAL) and not (
        found["State"]["Status"] != "running" and _REPLACED.match(name) is not None
    )


def _done(found: Mapping[str, Any]) -> bool:
    """Whether it did its one task, as a migration does."""
    policy = str(((found.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no")
    state = found["State"]
    return state["Status"] == "exited" and int(state.get("ExitCode") or 0) == 0 and policy == "no"


def _word(found: Mapping[str, Any]) -> str:
    """State of one container in a word or two."""
    state = found["State"]
    status = str(state["Status"])
    if status == "running":
        health = _health(state)
        return status if health == "none" else health
    if _done(found):
        return "done"
    if status in ("exited", "dead"):
        return f"{status} ({int(state.get('ExitCode') or 0)}{', out of memory' if state.get('OOMKilled') else ''})"
    return status


def _containers(docker: Engine, project: str) -> dict[str, list[dict[str, Any]]]:
    """Containers of a Compose project by service."""
    wanted = quote(json.dumps({"label": [f"com.docker.compose.project={project}"]}))
    services: dict[str, list[dict[str, Any]]] = {}
    for one in docker.get(f"/containers/json?all=1&filters={wanted}"):
        try:
            found = docker.container(one["Id"])
        except ProbeFailed as error:
            if error.reason == "missing":
                continue  # removed since the list was made
            raise
        if _counts(found):
            service = str((found["Config"].get("Labels") or {}).get("com.docker.compose.service") or "")
            services.setdefault(service, []).append(found)
    return services


def check_project(spec: Spec, context: Context) -> None:
    """Look at all containers of a Compose project. Fields: see the table of types."""
    docker = engine(context, spec["docker"])
    services = _containers(docker, spec["compose"])
    context.memory["engine"] = True
    names = list(spec["services"]) or sorted(services)
    if not names:
        raise ProbeFailed("missing", f"there is no container of the Compose project {spec['compose']}")
    states = {name: sorted({_word(one) for one in services.get(name, [])}) or ["no container"] for name in names}
    missing, unhealthy, bad, finished = [], [], [], 0
    for name in names:
        containers = services.get(name, [])
        down = [one for one in containers if one["State"]["Status"] != "running" and not _done(one)]
        sick = [one for one in containers if _word(one) == "unhealthy"]
        bad += [(name, one) for one in (*down, *sick)]
        if down or not containers:
            missing.append(name)
        elif all(_done(one) for one in containers):
            finished += 1
        if sick:
            unhealthy.append(name)
    if finished == len(names):  # stopped, as far as one can tell: a project is there to run something
        missing, finished = names, 0
    expected = len(names) - finished
    versioned = [one for name in spec["versioned"] for one in services.get(name, [])]
    versions = sorted({version for version in map(version_of, versioned) if version})
    starts = [parse_time(one["State"].get("StartedAt", "")) for one in versioned if one["State"]["Status"] == "running"]
    known = [start for start in starts if start is not None]
    context.found.fields.update(
        running=expected - len(missing),
        expected=expected,
        missing=",".join(missing),
        unhealthy=",".join(unhealthy),
        version=",".join(versions) or None,
    )
    _restarts(context, (one for name in names for one in services.get(name, [])))
    context.found.details["services"] = {name: ", ".join(words) for name, words in states.items()}
    if versions:
        context.found.details["version"] = ",".join(versions)
    if known:
        context.found.details["started_at"] = rfc3339(max(known))
    context.found.message = f"{expected - len(missing)} of {expected} services run"
    for name, one in bad[:_LOGS_SHOWN]:
        _add_log(docker, one, context, f"{name} is {_word(one)}; it said last:")


def execute(
    context: Context,
    name: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    user: str = "",
    most: int = 65536,
    path: str = "",
) -> tuple[int, bytes, bytes]:
    """Run a command in a container; returns exit code, output and errors, at most C(most) bytes of each.

    At the deadline of the check it is killed, where this process may do so. Raises ProbeFailed C(missing) when the
    container does not run.
    """
    docker = engine(context, path)
    wanted = {
        "AttachStdout": True,
        "AttachStderr": True,
        "Cmd": list(command),
        "Env": [f"{key}={value}" for key, value in (environment or {}).items()],
        "User": user,
    }
    try:
        made = docker.send("POST", f"/containers/{quote(name)}/exec", wanted)["Id"]
    except Refused as error:
        if error.code == 404:
            raise ProbeFailed("missing", f"there is no container {name}") from None
        if error.code == 409:
            raise ProbeFailed("missing", f"container {name} does not run") from None
        raise
    try:
        out, err = _collect(docker.stream("POST", f"/exec/{made}/start", {"Detach": False, "Tty": False}), most)
        ended = docker.get(f"/exec/{made}/json")
        while ended.get("Running"):
            # The streams were closed before the end.
            time.sleep(min(0.05, context.remaining()))
            ended = docker.get(f"/exec/{made}/json")
    except ProbeFailed as error:
        if error.reason == "timeout":
            _kill(made, path)
        raise
    code = ended.get("ExitCode")
    if code in (126, 127) and b"OCI runtime exec failed" in out + err:
        said = shorten((out + err).decode("utf-8", "replace").strip(), 200)
        raise OwnFault(f"{command[0]} cannot be run in container {name}: {said}")
    if code is None:
        raise ProbeFailed("proto", f"the Docker engine does not say how {command[0]} ended in container {name}")
    return int(code), out, err


def _collect(parts: Iterator[bytes], most: int) -> tuple[bytes, bytes]:
    """Output and errors of a multiplexed stream, each cut."""
    status, received = int(next(parts)), bytearray()
    kept = {1: bytearray(), 2: bytearray()}
    if status >= 300:
        said = shorten(b"".join(parts).decode("utf-8", "replace").strip(), 300)
        raise OwnFault(f"the Docker engine did not start the command ({status}): {said}")
    for part in parts:
        received += part
        while len(received) >= 8:
            size = int.from_bytes(received[4:8], "big")
            if len(received) < 8 + size:
                break
            target = kept[2 if received[0] == 2 else 1]
            target += received[8 : 8 + min(size, max(0, most - len(target)))]
            del received[: 8 + size]
    return bytes(kept[1]), bytes(kept[2])


def _kill(made: str, path: str) -> None:
    """Kill what was started in a container and did not end: the engine itself has no word for that."""
    import os
    import signal

    end = time.monotonic() + 1
    try:
        found = Engine(lambda: max(0.01, end - time.monotonic()), path or SOCKET).get(f"/exec/{made}/json")
        pid = int(found.get("Pid") or 0)
        # Where this process is in a container itself, the number may be that of something else.
        if not found.get("Running") or str(found["ContainerID"]).encode() not in read(f"/proc/{pid}/cgroup"):
            return
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except (OSError, ValueError, KeyError, ProbeFailed, OwnFault):
        return  # it stays until it ends by itself; the check has failed already, and says so


__all__ = [
    "LOG_LINES",
    "SOCKET",
    "VERSION_LABEL",
    "Engine",
    "Refused",
    "check_container",
    "check_project",
    "engine",
    "execute",
    "frames",
    "is_tty",
    "parse_time",
    "quote",
    "rfc3339",
    "tag_of",
    "version_of",
]
