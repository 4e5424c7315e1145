# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of what runs on the host itself: systemd units, applications under pm2, processes, and commands that check."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._probe_base import (
    Context,
    Memory,
    OwnFault,
    ProbeFailed,
    Spec,
    shorten,
)

PROC = "/proc"
LOG_LINES: Final = 20
# Most that is kept of what a command says.
OUTPUT: Final = 65536
SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DAY = 86400
# Restarts are counted by pieces of ten minutes, so that a crash loop does not fill the memory.
_PIECE = 600
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_NAGIOS = {0: "ok", 1: "warning", 2: "critical"}
_UNIT_PROPERTIES = (
    *("LoadState", "ActiveState", "SubState", "Result", "ExecMainStatus", "ExecMainCode", "MemoryCurrent"),
    *("NRestarts", "ActiveEnterTimestampMonotonic", "Description"),
)


class Ended(NamedTuple):
    """How a command ended. C(code) is as a shell has it: 128 and the signal's number for a killed one."""

    code: int
    out: bytes
    err: bytes


class User(NamedTuple):
    """An account, as far as running a program as it needs."""

    name: str
    uid: int
    gid: int
    home: str


def read(path: str, most: int = OUTPUT, *, end: bool = False) -> bytes:
    """At most C(most) bytes of a file, of its end when asked for. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if end:
            os.lseek(handle, max(0, os.fstat(handle).st_size - most), os.SEEK_SET)
        content = os.read(handle, most)
        # Files of the kernel may come in pieces.
        while content and len(content) < most:
            part = os.read(handle, most - len(content))
            if not part:
                break
            content += part
        return content
    finally:
        os.close(handle)


def restarts_of_day(memory: Memory, counts: Mapping[str, tuple[str, int]], now: float) -> int | None:
    """Restarts in the last 24 h that this memory saw; None in the first run, which has nothing to compare with.

    C(counts) has for each thing who it is and how often it has been restarted. One that was made anew, or whose
    counter was set back, counts from 0 again.
    """
    kept = memory.get("restarts")
    known: dict[str, Any] = kept["counts"] if kept else {}
    new = 0
    for name, (identity, count) in counts.items():
        before = known.get(name, ["", 0])
        same = before[0] == identity and before[1] <= count
        new += count - before[1] if same else count
    seen: list[list[int]] = [one for one in kept["seen"] if now - _DAY < one[0] <= now + _PIECE] if kept else []
    if kept and new:
        piece = int(now // _PIECE * _PIECE)
        if seen and seen[-1][0] == piece:
            seen[-1][1] += new
        else:
            seen.append([piece, new])
    memory["restarts"] = {"counts": {name: list(one) for name, one in counts.items()}, "seen": seen}
    return sum(one[1] for one in seen) if kept else None


def account(name: str) -> User:
    """The account of that name. Raises OwnFault when the host has none."""
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise OwnFault(f"this host has no user {name!r}; name one that it has") from None
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


def run(
    context: Context,
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    user: str = "",
    most: int = OUTPUT,
    cut: bool = False,
) -> Ended:
    """Run a command until the deadline of the check; then it is killed, with all that it started.

    It gets a session and an environment of its own, and at most C(most) bytes of each of its outputs are kept; C(cut):
    it is killed when it has said so much, which is fine. Raises ProbeFailed C(timeout), and OwnFault when the command
    cannot be started.
    """
    import subprocess

    variables = {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "HOME": "/"}
    options: dict[str, Any] = {}
    if user:
        whose = account(user)
        variables.update(HOME=whose.home, USER=whose.name, LOGNAME=whose.name)
        if whose.uid != os.geteuid():
            if os.geteuid() != 0:
                raise OwnFault(f"only root can run a command as {user}; run as root, or name no user")
            options = {"user": whose.uid, "group": whose.gid, "extra_groups": os.getgrouplist(whose.name, whose.gid)}
    variables.update(environment or {})
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=variables,
            cwd="/",
            start_new_session=True,
            bufsize=0,
            **options,
        )
    except FileNotFoundError:
        raise OwnFault(f"{command[0]} is not installed on this host") from None
    except (PermissionError, OSError) as error:
        raise OwnFault(f"{command[0]} cannot be run: {error.strerror}") from None
    try:
        return _listen(process, context, most, cut)
    finally:
        _end(process)


def _listen(process: Any, context: Context, most: int, cut: bool) -> Ended:
    """Read both outputs until they are closed or the command has ended."""
    import select

    kept = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    out, err = kept.values()
    poller = select.poll()
    for handle in kept:
        poller.register(handle, select.POLLIN | select.POLLHUP)
    opened = set(kept)
    while opened:
        ready = poller.poll(min(context.remaining(), 0.1) * 1000)
        for handle, _event in ready:
            part = os.read(handle, 65536)
            if part:
                kept[handle] += part[: max(0, most - len(kept[handle]))]
            else:
                poller.unregister(handle)
                opened.discard(handle)
        if cut and len(out) >= most:
            return Ended(0, bytes(out), bytes(err))
        # What it left running in the background may keep the outputs open for ever.
        if not ready and process.poll() is not None:
            break
    import subprocess

    try:
        code = process.wait(context.remaining())
    except subprocess.TimeoutExpired:
        context.remaining()
        raise ProbeFailed("timeout", f"no end within {context.timeout:g} s") from None
    return Ended(code if code >= 0 else 128 - code, bytes(out), bytes(err))


def _end(process: Any) -> None:
    """Close the outputs; kill what still runs, with its whole group."""
    import signal

    process.stdout.close()
    process.stderr.close()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def show(context: Context, unit: str, properties: Sequence[str]) -> dict[str, str]:
    """Properties of a unit, as systemd has them. Raises OwnFault without systemd, ProbeFailed for an unknown unit."""
    # Times are asked for in UTC, because that is the one zone that can be read back anywhere.
    done = run(
        context,
        ["systemctl", "show", "--no-pager", "-p", ",".join(properties), "--", unit],
        environment={"LC_ALL": "C", "TZ": "UTC", "SYSTEMD_COLORS": "0"},
    )
    if done.code:
        said = done.err.decode("utf-8", "replace").strip().splitlines()
        raise OwnFault(f"systemctl show {unit} failed: {said[0] if said else f'exit code {done.code}'}")
    lines = done.out.decode("utf-8", "replace").splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    if values.get("LoadState") == "not-found":
        raise ProbeFailed("missing", f"there is no unit {unit}")
    return values


def is_known(context: Context, unit: str) -> bool:
    """Whether there is such a unit."""
    try:
        show(context, unit, ("LoadState",))
    except ProbeFailed as error:
        if error.reason != "missing":
            raise
        return False
    return True


def journal(context: Context, unit: str, lines: int = LOG_LINES) -> list[str]:
    """The last lines that a unit wrote to the journal; a remark when they cannot be read."""
    try:
        done = run(
            context,
            ["journalctl", "--no-pager", "-q", "-o", "short-iso", "--no-hostname", "-n", str(lines), "-u", unit],
            environment={"LC_ALL": "C"},
            most=256 * 1024,
        )
    except (ProbeFailed, OwnFault) as error:
        return [f"(its journal cannot be read: {error})"]
    return [shorten(line, 500) for line in done.out.decode("utf-8", "replace").splitlines()[-lines:]]


def _number(text: str | None) -> int | None:
    """A property's number; None for an empty one and for systemd's ways to say that there is none."""
    if text is None or not text.isdigit() or int(text) == 2**64 - 1:
        return None
    return int(text)


def check_systemd(spec: Spec, context: Context) -> None:
    """Look at a unit. Fields: see the table of types."""
    unit = spec["unit"] if "." in spec["unit"] else f"{spec['unit']}.service"
    values = show(context, unit, _UNIT_PROPERTIES)
    active, sub = values.get("ActiveState", ""), values.get("SubState", "")
    entered = _number(values.get("ActiveEnterTimestampMonotonic"))
    # 0 is the code of a main process that has not ended.
    ended = values.get("ExecMainCode", "0") != "0"
    count = _number(values.get("NRestarts"))
    age = None
    if active in ("active", "reloading") and entered:
        age = max(0.0, time.clock_gettime(time.CLOCK_MONOTONIC) - entered / 1e6)
    context.found.fields.update(
        active=active,
        sub=sub,
        result=values.get("Result", ""),
        exit_code=_number(values.get("ExecMainStatus")) if ended else None,
        memory_bytes=_number(values.get("MemoryCurrent")),
        age_s=age,
        restarts=count,
        restarts_day=None if count is None else restarts_of_day(context.memory, {unit: ("", count)}, context.now),
    )
    context.found.details["state"] = active
    context.found.message = f"{active} ({sub})"
    if age is not None:
        from ansible_collections.quai.ops.plugins.module_utils._probe_docker import rfc3339

        context.found.details["started_at"] = rfc3339(context.now - age)
    if values.get("LoadState") == "masked":
        context.found.message += ", masked"
    if active == "failed" or sub.startswith("auto-restart") or values.get("Result", "success") != "success":
        context.found.log += journal(context, unit)


def check_pm2(spec: Spec, context: Context) -> None:
    """Look at an application under pm2. Fields: see the table of types.

    The daemon is asked through its socket. The program C(pm2) would start a daemon where none runs, and costs a start
    of Node.js each time; it is used only when the daemon answers in words that are not understood.
    """
    home = spec["home"] or f"{account(spec['user']).home}/.pm2"
    _refuse_dead_daemon(home, spec["user"])
    try:
        everything = _ask_daemon(context, f"{home}/rpc.sock", spec["user"])
    except ValueError:
        everything = _list_by_program(context, home, spec["user"])
    found = [one for one in everything if one.get("name") == spec["app"]]
    if not found:
        names = ", ".join(sorted({str(one.get("name")) for one in everything})) or "none"
        raise ProbeFailed("missing", f"pm2 of user {spec['user']} has no application {spec['app']}; it has {names}")
    places = [one.get("pm2_env") or {} for one in found]
    usage = [one.get("monit") or {} for one in found]
    states = [str(place.get("status")) for place in places]
    bad = [state for state in states if state != "online"]
    up = [place for place in places if place.get("status") == "online" and place.get("pm_uptime")]
    starts = [place["pm_uptime"] / 1000 for place in up]
    counts = {
        str(one.get("pm_id")): (str(place.get("created_at", "")), int(place.get("restart_time") or 0))
        for one, place in zip(found, places)
    }
    context.found.fields.update(
        status=bad[0] if bad else "online",
        instances=len(found),
        online=len(found) - len(bad),
        memory_bytes=_sum(one.get("memory") for one in usage),
        cpu_pct=_sum(one.get("cpu") for one in usage),
        # Of several the one that started last, since it is the one that may have just been restarted.
        age_s=max(0.0, context.now - max(starts)) if starts else None,
        restarts=sum(count for _identity, count in counts.values()),
        restarts_day=restarts_of_day(context.memory, counts, context.now),
    )
    context.found.details["state"] = context.found.fields["status"]
    versions = sorted({str(place["version"]) for place in places if place.get("version") not in (None, "", "N/A")})
    if versions:
        context.found.details["version"] = ",".join(versions)
    if starts:
        from ansible_collections.quai.ops.plugins.module_utils._probe_docker import rfc3339

        context.found.details["started_at"] = rfc3339(max(starts))
    context.found.message = f"{len(found) - len(bad)} of {len(found)} online"
    if bad:
        logs = [str(place.get("pm_err_log_path") or "") for place, state in zip(places, states) if state != "online"]
        context.found.log += _last_lines(logs[0])


def _sum(numbers: Iterator[Any]) -> float | None:
    known = [number for number in numbers if isinstance(number, (int, float))]
    return sum(known) if known else None


def _refuse_dead_daemon(home: str, user: str) -> None:
    """Raise ProbeFailed unless the daemon of that home runs."""
    said = f"pm2 daemon of user {user} does not run"
    try:
        pid = int(read(f"{home}/pm2.pid", 100).strip() or 0)
        command = _command_line(pid)
    except FileNotFoundError:
        raise ProbeFailed("missing", f"{said}: there is no {home}/pm2.pid") from None
    except PermissionError:
        raise OwnFault(f"{home}/pm2.pid may not be read by this user; run as root") from None
    except ValueError:
        raise ProbeFailed("missing", f"{said}: {home}/pm2.pid holds no process id") from None
    # Another program may have got the id of a daemon that was killed.
    if "God Daemon" not in command and "pm2" not in command.lower():
        raise ProbeFailed("missing", f"{said}: process {pid} of {home}/pm2.pid is gone")


def _ask_daemon(context: Context, path: str, user: str) -> list[dict[str, Any]]:
    """All applications, from the daemon's socket. Raises ValueError for an answer that is not understood.

    A message is a byte with version and number of its parts, then the length and content of each. Parts begin with
    j: for JSON and s: for text; the last one is an id that the answer repeats.
    """
    import json
    import socket

    request = json.dumps({"type": "call", "method": "getMonitorData", "args": [{}]}).encode()
    parts = (b"j:" + request, b"s:quai:0")
    message = bytes([0x10 | len(parts)]) + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(context.remaining())
        connection.connect(path)
        connection.sendall(message)
        answer = _answer(connection, context)
    except (FileNotFoundError, ConnectionRefusedError):
        raise ProbeFailed("refused", f"pm2 daemon of user {user} does not listen on {path}") from None
    except PermissionError:
        raise OwnFault(f"{path} may not be used by this user; run as root") from None
    except socket.timeout:
        context.remaining()
        raise ProbeFailed("timeout", f"pm2 daemon of user {user} did not answer in time") from None
    except OSError as error:
        raise ProbeFailed("reset", f"pm2 daemon of user {user} hung up: {error.strerror}") from None
    finally:
        connection.close()
    documents = [json.loads(part[2:]) for part in answer if part[:2] == b"j:"]
    for document in documents:
        if isinstance(document, dict) and isinstance(document.get("args"), list):
            for one in document["args"]:
                if isinstance(one, list):
                    return [item for item in one if isinstance(item, dict)]
    raise ValueError("no list of applications in the answer")


def _answer(connection: Any, context: Context) -> list[bytes]:
    """The parts of one message."""
    received = bytearray()

    def need(size: int) -> None:
        while len(received) < size:
            connection.settimeout(context.remaining())
            part = connection.recv(65536)
            if not part:
                raise ValueError("the answer ends too early")
            received.extend(part)

    need(1)
    count, at = received[0] & 15, 1
    parts = []
    for _index in range(count):
        need(at + 4)
        size = int.from_bytes(received[at : at + 4], "big")
        if size > 64 * 1024 * 1024:
            raise ValueError(f"a part of {size} bytes")
        need(at + 4 + size)
        parts.append(bytes(received[at + 4 : at + 4 + size]))
        at += 4 + size
    return parts


def _list_by_program(context: Context, home: str, user: str) -> list[dict[str, Any]]:
    import json

    done = run(context, ["pm2", "jlist"], environment={"PM2_HOME": home}, user=user, most=16 * 1024 * 1024)
    # It may say other things before the list.
    text = done.out.decode("utf-8", "replace")
    start = text.find("[{") if "[{" in text else text.find("[]")
    try:
        listed = json.loads(text[start:].strip()) if start >= 0 else None
    except ValueError:
        listed = None
    if not isinstance(listed, list):
        raise OwnFault(f"pm2 jlist of user {user} gave no list (exit code {done.code})")
    return [one for one in listed if isinstance(one, dict)]


def _last_lines(path: str) -> list[str]:
    """The last lines of a file; a remark when it cannot be read."""
    if not path:
        return []
    try:
        text = read(path, 65536, end=True).decode("utf-8", "replace")
    except OSError as error:
        return [f"({path} cannot be read: {error.strerror})"]
    return [shorten(line, 500) for line in text.splitlines()[-LOG_LINES:]]


def _command_line(pid: int) -> str:
    """Command line of a process, its parts joined by spaces; empty for one that is gone and for the kernel's own."""
    try:
        return read(f"{PROC}/{pid}/cmdline").rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _stat(pid: int) -> tuple[int, int]:
    """Parent of a process, and its start in ticks since the boot. Raises OSError for one that is gone."""
    # The name in parentheses may hold anything, parentheses too.
    rest = read(f"{PROC}/{pid}/stat").rpartition(b")")[2].split()
    if rest[0] in (b"Z", b"X"):  # it has ended, and its parent has not asked how
        raise ProcessLookupError(pid)
    return int(rest[1]), int(rest[19])


def _ancestors() -> set[int]:
    """This process and those that it comes from: their command lines may hold the very expression."""
    found, pid = set(), os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            pid = _stat(pid)[0]
        except (OSError, IndexError, ValueError):
            break
    return found


def check_process(spec: Spec, context: Context) -> None:
    """Look for processes. Fields: see the table of types."""
    uid = account(spec["user"]).uid if spec["user"] else None
    try:
        pattern = re.compile(spec["match"]) if spec["match"] else None
    except re.error as error:
        raise OwnFault(f"match is {spec['match']!r}, which is no regular expression: {error}") from None
    if spec["pid_file"]:
        pids, own = _pid_of(spec["pid_file"]), set()
    else:
        try:
            pids = [int(entry.name) for entry in os.scandir(PROC) if entry.name.isdigit()]
        except OSError as error:
            raise OwnFault(f"{PROC} cannot be read: {error.strerror}") from None
        own = _ancestors()
    count, memory, starts = 0, 0, []
    page = os.sysconf("SC_PAGE_SIZE")
    for pid in pids:
        if pid in own:
            continue
        try:
            if uid is not None and os.lstat(f"{PROC}/{pid}").st_uid != uid:
                continue
            command = _command_line(pid)
            if pattern and not (command and pattern.search(command)):
                continue
            start = _stat(pid)[1]
            memory += int(read(f"{PROC}/{pid}/statm").split()[1]) * page
        except (OSError, IndexError, ValueError):
            continue  # it ended while we looked
        count += 1
        starts.append(start)
        context.remaining()
    context.found.fields.update(count=count, memory_bytes=memory if count else None, oldest_s=None)
    if starts:
        uptime = float(read(f"{PROC}/uptime").split()[0])
        context.found.fields["oldest_s"] = max(0.0, uptime - min(starts) / os.sysconf("SC_CLK_TCK"))
    context.found.message = f"{count} process{'' if count == 1 else 'es'}"


def _pid_of(path: str) -> list[int]:
    """The process that a file names; none when the file is not there, as after a clean stop."""
    try:
        text = read(path, 100).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OwnFault(f"{path} cannot be read: {error.strerror}") from None
    if not text.split()[:1] or not text.split()[0].isdigit():
        raise ProbeFailed("proto", f"{path} holds {text[:40]!r}, where a process id is right")
    return [int(text.split()[0])]


def check_command(spec: Spec, context: Context) -> None:
    """Run a command, in a container where one is named. Fields: see the table of types."""
    command = [str(part) for part in spec["command"]]
    if not command:
        raise OwnFault("command is empty; give a program and its arguments as a list")
    environment = {str(name): str(value) for name, value in spec["environment"].items()}
    begin = context.clock()
    if spec["container"]:
        from ansible_collections.quai.ops.plugins.module_utils import _probe_docker

        code, out, err = _probe_docker.execute(
            context, spec["container"], command, environment=environment, user=spec["user"], most=OUTPUT
        )
    else:
        code, out, err = run(context, command, environment=environment, user=spec["user"])
    text = out.decode("utf-8", "replace")
    number = _NUMBER.search(text)
    context.found.fields.update(
        exit=code,
        stdout=text,
        stderr=err.decode("utf-8", "replace"),
        number=float(number.group()) if number else None,
        nagios=_NAGIOS.get(code, "unknown"),
        latency_ms=round((context.clock() - begin) * 1000, 1),
    )
    said = (text.strip() or context.found.fields["stderr"].strip()).splitlines()
    context.found.message = shorten(said[0], 200) if said else f"exit code {code}"
    if code:
        context.found.log += [
            shorten(line, 500) for line in (text + context.found.fields["stderr"]).splitlines()[-LOG_LINES:]
        ]


__all__ = [
    "Ended",
    "User",
    "account",
    "check_command",
    "check_pm2",
    "check_process",
    "check_systemd",
    "is_known",
    "journal",
    "read",
    "restarts_of_day",
    "run",
    "show",
]
