# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person needs to understand an incident, as one archive in memory.

Nothing is written on the host: it may have no room left. Every part is bounded in size and time, secrets are taken out
of all of it, and what could not be had is named with its reason, so that nobody takes a gap for good news.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import subprocess
import tarfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils import _redact
from ansible_collections.quai.ops.plugins.module_utils._probe_base import OwnFault, ProbeFailed
from ansible_collections.quai.ops.plugins.module_utils._probe_docker import SOCKET, Engine, is_tty, parse_time, quote

MIB: Final = 1024 * 1024
COMMAND_SECONDS: Final = 15.0
ENGINE_SECONDS: Final = 10.0
MOST_CONTAINERS: Final = 60
MOST_FILES: Final = 60
TOP: Final = 15
# Names of environment variables are useful, and what they say is not for everyone.
_ENVIRONMENT: Final = re.compile(r"^([A-Za-z_][A-Za-z0-9_]*)=.*\Z", re.DOTALL)


class Asked(NamedTuple):
    """What is wanted. Times are seconds, sizes bytes."""

    project: str
    since: float  # seconds since 1970
    now: float
    note: str = ""
    title: str = ""
    contacts: tuple[Mapping[str, Any], ...] = ()
    logs: tuple[str, ...] = ()  # patterns of further files
    secrets: tuple[str, ...] = ()
    file_bytes: int = 2 * MIB
    total_bytes: int = 20 * MIB
    timeout: float = 120.0


class Places(NamedTuple):
    """Where things are on a host."""

    quai: Path = Path("/etc/quai")
    state: Path = Path("/var/lib/quai")
    log: Path = Path("/var/log")
    letsencrypt: Path = Path("/etc/letsencrypt/live")
    docker: Path = Path("/var/lib/docker")
    srv: Path = Path("/srv")
    proc: Path = Path("/proc")
    run: Path = Path("/run/quai/monitor")
    socket: str = SOCKET


class Part(NamedTuple):
    """One file of the archive. C(french) and C(english) say what it is."""

    path: str
    french: str
    english: str
    text: str
    cut: bool = False


class Missing(NamedTuple):
    """What could not be had, and why."""

    what: str
    why: str


class Bundle(NamedTuple):
    """What was collected. C(archive) is a gzipped tar."""

    archive: bytes
    directory: str
    parts: tuple[Part, ...]
    missing: tuple[Missing, ...]
    redactions: int


class _Late(Exception):
    """The time for the whole bundle is over."""


Clock = Callable[[], float]


def collect(asked: Asked, host: str, places: Places | None = None, clock: Clock = time.monotonic) -> Bundle:
    """Collect everything that can be had within the limits. Raises nothing because of the state of the host."""
    work = _Collector(asked, places or Places(), clock)
    for step in (
        work.monitor,
        work.overview,
        work.containers,
        work.releases,
        work.application_logs,
        work.nginx,
        work.units,
        work.journal,
        work.network,
        work.certificates,
        work.changes,
    ):
        name = step.__name__.replace("_", " ")
        try:
            step()
        except _Late:
            work.missing.append(Missing(name, f"the {asked.timeout:g} s for the whole bundle were over"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OwnFault, ProbeFailed) as error:
            # A stricken host may answer anything; the other parts are still wanted.
            work.missing.append(Missing(name, f"{type(error).__name__}: {error}"))
    return _bundle(asked, host, work)


class _Collector:
    """Gathers parts until the room or the time is used up."""

    def __init__(self, asked: Asked, places: Places, clock: Clock) -> None:
        self.asked, self.places, self.clock = asked, places, clock
        self.end = clock() + asked.timeout
        self.parts: list[Part] = []
        self.missing: list[Missing] = []
        self.size = 0
        values, unread = _redact.known([places.quai])
        self.missing += [Missing("secrets to hide", line) for line in unread]
        self.values = {*values, *asked.secrets}
        self.redactor = _redact.Redactor(self.values)

    # --- what every step uses ---

    def remaining(self) -> float:
        """Return the time that is left. Raises _Late when there is none."""
        left = self.end - self.clock()
        if left <= 0:
            raise _Late
        return left

    def engine(self) -> Engine:
        """Return the Docker engine, which has a while for each request."""
        end = self.clock() + min(self.remaining(), ENGINE_SECONDS)

        def left() -> float:
            seconds = end - self.clock()
            if seconds <= 0:
                raise ProbeFailed("timeout", f"the Docker engine gave no answer within {ENGINE_SECONDS:g} s")
            return seconds

        return Engine(left, self.places.socket)

    def hide(self, values: Iterable[str]) -> None:
        """Hide further values from now on."""
        more = {value for value in values if len(value) >= _redact.SHORTEST} - self.values
        if more:
            self.values |= more
            hits = self.redactor.hits
            self.redactor = _redact.Redactor(self.values)
            self.redactor.hits = hits

    def add(self, path: str, french: str, english: str, text: str, *, cut: bool = False) -> None:
        """Add a text without its secrets; what is too long loses its beginning."""
        text = text.replace("\x00", "")
        data = text.encode("utf-8", "replace")
        room = min(self.asked.file_bytes, self.asked.total_bytes - self.size)
        if len(data) > room:
            if room < 1024:
                self.missing.append(
                    Missing(path, f"the {self.asked.total_bytes} bytes for the whole bundle were used up")
                )
                return
            # From the start of a line on: half a line may hold half a secret, which nobody would recognise.
            data = data[-room:].partition(b"\n")[2]
            cut = True
        text = self.redactor.text(data.decode("utf-8", "replace"))
        self.size += len(data)
        self.parts.append(Part(path, french, english, text, cut))

    def lack(self, what: str, why: object) -> None:
        """Name what could not be had."""
        self.missing.append(Missing(what, str(why)))

    def run(self, *command: str, most: int | None = None) -> str:
        """Return the last bytes of what a command says. Raises OSError with its own words when it fails."""
        limit = most or self.asked.file_bytes
        environment = {**os.environ, "LC_ALL": "C", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        except FileNotFoundError:
            raise OSError(f"{command[0]} is not installed") from None
        import threading

        guard = threading.Timer(min(COMMAND_SECONDS, self.remaining()), process.kill)
        guard.start()
        try:
            stream = process.stdout
            said = _last(iter(lambda: stream.read(65536) if stream else b"", b""), limit)
            code = process.wait()
        finally:
            guard.cancel()
        # Half a line may hold half a secret, which nobody would recognise.
        text = (said.partition(b"\n")[2] if len(said) == limit else said).decode("utf-8", "replace")
        if code < 0:
            raise OSError(f"{command[0]} was ended after {COMMAND_SECONDS:g} s")
        if code and not text.strip():
            raise OSError(f"{command[0]} ended with {code}")
        return text

    def ran(self, *command: str) -> str:
        """Return a command with what it said, or why it said nothing."""
        try:
            said = self.run(*command)
        except OSError as error:
            said = f"({error})\n"
        return f"$ {' '.join(command)}\n{said.rstrip()}\n"

    def tail(self, path: Path) -> tuple[str, bool]:
        """Return the end of a file, and whether its beginning is missing. Raises OSError."""
        most = min(self.asked.file_bytes, max(0, self.asked.total_bytes - self.size))
        if path.suffix == ".gz":
            with gzip.open(path) as packed:
                data = _last(iter(lambda: packed.read(65536), b""), most)
            cut = len(data) >= most
            return (data.partition(b"\n")[2] if cut else data).decode("utf-8", "replace"), cut
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - most))
            data = stream.read(most)
        if size > most:
            data = data.partition(b"\n")[2]
        return data.decode("utf-8", "replace"), size > most

    def file(self, path: Path, name: str, french: str, english: str) -> None:
        """Add the end of a file."""
        try:
            text, cut = self.tail(path)
        except FileNotFoundError:
            return
        except (OSError, EOFError) as error:
            self.lack(str(path), error)
            return
        self.add(name, french, english, text, cut=cut)

    def recent(self, pattern: str) -> list[Path]:
        """Return the files that match, were written in the window, newest first."""
        found = []
        for path in Path("/").glob(pattern.lstrip("/")):
            try:
                info = path.stat()
            except OSError:
                continue
            if path.is_file() and info.st_size and info.st_mtime >= self.asked.since:
                found.append((info.st_mtime, path))
        return [path for _at, path in sorted(found, reverse=True)]

    # --- the steps ---

    def monitor(self) -> None:
        """What the watch knows: the last result of every probe, alerts, and what happened."""
        place = self.places.state / "monitor"
        wanted = self.asked.project
        state = self._state(place)
        if state is None:
            return
        probes = {
            name: entry
            for name, entry in (state.get("probes") or {}).items()
            if not wanted or name.split(".")[0] == wanted or "." not in name
        }
        lines = ["status    since (UTC)          alert      probe: message"]
        for name, entry in sorted(probes.items(), key=lambda item: (item[1].get("status") == "ok", item[0])):
            result, alert = entry.get("result") or {}, entry.get("alert") or {}
            lines.append(
                f"{entry.get('status', '?'):9} {_utc(entry.get('since')):20} {alert.get('state', '-'):10} {name}:"
                f" {result.get('reason') or ''} {result.get('message') or ''}".rstrip()
            )
        self.add(
            "monitor/probes.txt",
            "dernier résultat de chaque sonde, le plus grave d'abord",
            "last result of each probe, bad ones first",
            "\n".join(lines) + "\n",
        )
        document = {key: value for key, value in state.items() if key not in ("memory", "bucket", "outgoing")}
        self.add(
            "monitor/state.json",
            "état complet de la surveillance",
            "the whole state of the watch",
            json.dumps({**document, "probes": probes}, indent=1, ensure_ascii=False) + "\n",
        )
        events, cut = [], False
        for path in sorted((place / "history").glob("*.jsonl"))[-35:]:
            if path.stat().st_mtime < self.asked.since:
                continue
            text, half = self.tail(path)
            cut = cut or half
            for line in text.splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # torn by a kill
                if isinstance(entry, dict) and entry.get("t", 0) >= self.asked.since:
                    events.append(line)
        self.add(
            "monitor/history.jsonl",
            "alertes, redémarrages et mesures par 5 minutes dans la période",
            "alerts, restarts and measurements by 5 minutes in the window",
            "\n".join(events) + "\n",
            cut=cut,
        )

    def _state(self, place: Path) -> dict[str, Any] | None:
        """The younger one of the state on disk and, when the disk takes nothing, in memory."""
        found: list[dict[str, Any]] = []
        for path in (place / "state.json", self.places.run / "state.json"):
            try:
                state = json.loads(path.read_text(encoding="utf-8"))
                found.append({"run": {}, **state})
            except FileNotFoundError:
                continue
            except (ValueError, TypeError) as error:
                self.file(path, "monitor/state.damaged", "état illisible", "a state that is damaged")
                self.lack("monitor", f"{path} is damaged: {error}")
        if not found and not any(one.what == "monitor" for one in self.missing):
            self.lack("monitor", f"there is no {place / 'state.json'}: this host is not watched")
        return max(found, key=lambda state: float(state["run"].get("serial") or 0), default=None)

    def overview(self) -> None:
        """State of the machine: memory, disks, load, the largest processes without their arguments."""
        proc = self.places.proc
        text = [f"time            {_utc(self.asked.now)} UTC, window from {_utc(self.asked.since)} UTC"]
        for label, path in (("kernel", proc / "version"), ("load", proc / "loadavg"), ("uptime s", proc / "uptime")):
            text.append(f"{label:15} {_read(path)}")
        text += ["", _read(Path("/etc/os-release")), "", _read(proc / "meminfo"), ""]
        for name in ("cpu", "memory", "io"):
            text.append(f"pressure {name}: {_read(proc / 'pressure' / name)}")
        text += ["", self.ran("df", "-PTh", "-l"), self.ran("df", "-PTi", "-l")]
        self.add(
            "host/overview.txt",
            "mémoire, disques, inodes, charge, noyau",
            "memory, disks, inodes, load, kernel",
            "\n".join(text),
        )
        self.add(
            "host/processes.txt",
            "processus les plus gourmands, sans leurs arguments (qui peuvent contenir des secrets)",
            "largest processes, without their arguments (which may hold secrets)",
            processes(proc),
        )

    def containers(self) -> None:
        """Containers of the project: state, configuration without values of the environment, logs."""
        try:
            listed = self.engine().get("/containers/json?all=1")
        except (ProbeFailed, OwnFault) as error:
            self.lack("containers", f"{error}; their logs were read from {self.places.docker} instead")
            self._containers_on_disk()
            return
        rows = ["name                                     state      image                  status"]
        mine = []
        for one in listed:
            labels = one.get("Labels") or {}
            name = (one.get("Names") or ["?"])[0].lstrip("/")
            rows.append(f"{name:40} {one.get('State', '?'):10} {one.get('Image', '?')}  {one.get('Status', '')}")
            if not self.asked.project or labels.get("com.docker.compose.project") == self.asked.project:
                mine.append((name, one["Id"]))
        self.add(
            "containers/list.txt", "tous les conteneurs de l'hôte", "all containers of the host", "\n".join(rows) + "\n"
        )
        for what, french, english in (
            ("version", "version du moteur", "version of the engine"),
            ("images/json", "images présentes et leurs dates", "images that are there, and their dates"),
        ):
            self._ask(f"/{what}", f"containers/{what.split('/', maxsplit=1)[0]}.json", french, english)
        self._events()
        if not mine:
            self.lack("containers", f"the engine has no container of the project {self.asked.project}")
        for name, identity in mine[:MOST_CONTAINERS]:
            try:
                self._container(name, identity)
            except (ProbeFailed, OwnFault) as error:
                self.lack(f"container {name}", error)

    def _ask(self, request: str, path: str, french: str, english: str) -> None:
        try:
            answer = self.engine().get(request)
        except (ProbeFailed, OwnFault) as error:
            self.lack(path, error)
            return
        self.add(path, french, english, json.dumps(answer, indent=1, ensure_ascii=False) + "\n")

    def _events(self) -> None:
        query = f"/events?since={int(self.asked.since)}&until={int(self.asked.now)}"
        if self.asked.project:
            wanted = {"label": [f"com.docker.compose.project={self.asked.project}"]}
            query += f"&filters={quote(json.dumps(wanted))}"
        try:
            parts = self.engine().stream("GET", query)
            status = int(next(parts))
            said = _last(parts, self.asked.file_bytes).decode("utf-8", "replace")
        except (ProbeFailed, OwnFault) as error:
            self.lack("containers/events.txt", error)
            return
        if status != 200:
            self.lack("containers/events.txt", f"the engine answered {status}: {said[:200]}")
            return
        lines = []
        for line in said.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue  # the first line, cut in two
            actor = (event.get("Actor") or {}).get("Attributes") or {}
            code = f" exit {actor['exitCode']}" if "exitCode" in actor else ""
            # Commands of health checks would fill it, and may hold secrets.
            action = str(event.get("Action", "?")).partition(":")[0]
            if not action.startswith("exec_"):
                lines.append(
                    f"{_utc(event.get('time'))} {event.get('Type', '?')} {action} {actor.get('name', '')}{code}"
                )
        self.add("containers/events.txt", "événements du moteur", "events of the engine", "\n".join(lines) + "\n")

    def _container(self, name: str, identity: str) -> None:
        found = self.engine().container(identity)
        variables = [str(one) for one in (found.get("Config") or {}).get("Env") or []]
        self.hide(
            value
            for variable in variables
            for key, _equals, value in [variable.partition("=")]
            if _redact.looks_secret(key)
        )
        self.add(
            f"containers/{name}.json",
            "état et configuration, sans les valeurs d'environnement",
            "state and configuration, without values of the environment",
            json.dumps(without_values(found), indent=1, ensure_ascii=False) + "\n",
        )
        query = f"/containers/{identity}/logs?stdout=1&stderr=1&timestamps=1&since={int(self.asked.since)}"
        parts = self.engine().stream("GET", query)
        status = int(next(parts))
        most = min(self.asked.file_bytes, max(0, self.asked.total_bytes - self.size))
        counted = _Counted(demultiplexed(parts, raw=is_tty(found)))
        said = _last(counted, most)
        if status != 200:
            self.lack(f"containers/{name}.log", f"the engine answered {status}: {said[:200]!r}")
            return
        cut = counted.size > len(said)
        text = (said.partition(b"\n")[2] if cut else said).decode("utf-8", "replace")
        self.add(f"containers/{name}.log", "journal du conteneur", "log of the container", text, cut=cut)

    def _containers_on_disk(self) -> None:
        """Logs as the engine has them on disk, for when it does not answer. Of older ones the time is not asked."""
        for place in sorted((self.places.docker / "containers").glob("*")):
            try:
                config = json.loads((place / "config.v2.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            labels = (config.get("Config") or {}).get("Labels") or {}
            if self.asked.project and labels.get("com.docker.compose.project") != self.asked.project:
                continue
            name = str(config.get("Name", place.name)).lstrip("/")
            variables = [str(one).partition("=") for one in (config.get("Config") or {}).get("Env") or []]
            self.hide(value for key, _equals, value in variables if _redact.looks_secret(key))
            state = config.get("State") or {}
            self.add(
                f"containers/{name}.json",
                "état d'après le disque : le moteur ne répond pas",
                "state as it is on disk: the engine does not answer",
                json.dumps({"Name": name, "State": state, "Image": config.get("Config", {}).get("Image")}, indent=1)
                + "\n",
            )
            try:
                raw, cut = self.tail(place / f"{place.name}-json.log")
            except OSError as error:
                self.lack(f"containers/{name}.log", error)
                continue
            self.add(f"containers/{name}.log", "journal du conteneur", "log of the container", _plain_log(raw), cut=cut)

    def releases(self) -> None:
        """What was released: the ledger, the accepted stack, and when its files were written."""
        project = self.asked.project
        for path in sorted((self.places.state / project).glob("*")) if project else []:
            if path.is_file() and path.suffix in (".json", ".jsonl", ".txt", ".log"):
                self.file(path, f"releases/{path.name}", "journal des mises en production", "ledger of releases")
        if project:
            stack = self.places.srv / project / "stack" / "compose.json"
            try:
                text = json.dumps(
                    without_values(json.loads(stack.read_text(encoding="utf-8"))), indent=1, ensure_ascii=False
                )
            except FileNotFoundError:
                return
            except (OSError, ValueError) as error:
                self.lack(str(stack), error)
                return
            self.add(
                "releases/compose.json",
                "définition acceptée, sans les valeurs d'environnement",
                "accepted definition, without values of the environment",
                text,
            )

    def application_logs(self) -> None:
        """Logs that applications write themselves: those that are named, and those in the project's volumes."""
        patterns = list(self.asked.logs)
        if self.asked.project:
            volumes = self.places.docker / "volumes"
            patterns += [f"{volumes}/{self.asked.project}_*/_data/{depth}*.log" for depth in ("", "*/")]
        taken = 0
        for pattern in patterns:
            for path in self.recent(pattern):
                if taken >= MOST_FILES:
                    self.lack(str(path), f"more than {MOST_FILES} files of logs")
                    return
                name = str(path).strip("/").replace("/", "_")
                self.file(path, f"logs/{name}", "journal de l'application", "log of the application")
                taken += 1

    def nginx(self) -> None:
        """nginx' logs of the project's sites, and its own."""
        self.remaining()
        place = self.places.log / "nginx"
        names = [f"{self.asked.project}*" if self.asked.project else "*"]
        for name in (*names, "error"):
            for path in self.recent(f"{place}/{name}.log") + self.recent(f"{place}/{name}.log.1"):
                kind = ("erreurs", "errors") if "error" in path.name else ("requêtes", "requests")
                if any(part.path == f"nginx/{path.name}" for part in self.parts):
                    continue
                self.file(path, f"nginx/{path.name}", f"nginx, {kind[0]}", f"nginx, {kind[1]}")

    def units(self) -> None:
        """State of units: what failed, what belongs to quai and the project, and timers."""
        project = self.asked.project
        names = ["quai-*", "docker.service", "containerd.service", "nginx.service", "cron.service", "ssh.service"]
        names += [f"{project}*"] if project else []
        text = [
            self.ran("systemctl", "--no-pager", "--failed", "--plain"),
            self.ran("systemctl", "--no-pager", "list-units", "--all", "--plain", "--no-legend", *names),
            self.ran("systemctl", "--no-pager", "list-timers", "--all"),
        ]
        self.add(
            "host/units.txt",
            "services en échec, services du projet, minuteries",
            "failed units, the project's, timers",
            "\n".join(text),
        )

    def journal(self) -> None:
        """Journal of the units that matter, and of everything that is a warning or worse, the kernel included."""
        project, since = self.asked.project, f"@{int(self.asked.since)}"
        options = ["--no-pager", "-q", "-o", "short-iso", "--no-hostname", "--since", since]
        units = ["quai-*", "docker", "nginx", *([f"{project}*"] if project else [])]
        for path, arguments, french, english in (
            (
                "logs/journal-units.log",
                [f"--unit={one}" for one in units],
                "journal des services",
                "journal of the units",
            ),
            (
                "logs/journal-warnings.log",
                ["-p", "warning"],
                "journal, avertissements et au-delà",
                "journal, warnings and worse",
            ),
            (
                "logs/journal-kernel.log",
                ["-k"],
                "messages du noyau (mémoire insuffisante, disques)",
                "kernel (lack of memory, disks)",
            ),
        ):
            try:
                text = self.run("journalctl", *options, *arguments)
            except OSError as error:
                self.lack(path, error)
                continue
            if text.strip():
                self.add(path, french, english, text)
        for name in ("syslog", "kern.log"):
            for place in self.recent(str(self.places.log / name)):
                self.file(place, f"logs/{name}", "journal du système", "log of the system")

    def network(self) -> None:
        """Who listens, how many connections there are, addresses and routes."""
        text = [
            self.ran("ss", "-Htlnup"),
            self.ran("ss", "-s"),
            self.ran("ip", "-brief", "address"),
            self.ran("ip", "route"),
        ]
        self.add(
            "host/network.txt",
            "ports en écoute, connexions, adresses",
            "listeners, connections, addresses",
            "\n".join(text),
        )

    def certificates(self) -> None:
        """Dates and names of certificates; never a key."""
        found = [*self.places.quai.glob("tls/*/fullchain.pem"), *self.places.quai.glob("tls/*/cert*.pem")]
        found += [*self.places.letsencrypt.glob("*/cert.pem")]
        text = []
        for path in sorted(found):
            told = self.ran(
                "openssl", "x509", "-noout", "-subject", "-issuer", "-dates", "-ext", "subjectAltName", "-in", str(path)
            )
            text.append(told)
        self.add(
            "host/certificates.txt",
            "certificats : noms et dates",
            "certificates: names and dates",
            "\n".join(text) or "none\n",
        )

    def changes(self) -> None:
        """What changed lately: packages, files of configuration, boots and logins."""
        text = [
            self.ran("last", "-n", "20", "-w"),
            self.ran("journalctl", "--no-pager", "--list-boots", "-q"),
            "files, newest first:",
        ]
        places = [self.places.quai, Path("/etc/nginx"), Path("/etc/systemd/system"), Path("/etc/docker")]
        places += (
            [self.places.srv / self.asked.project, self.places.state / self.asked.project] if self.asked.project else []
        )
        text += [f"{_utc(at)} {path}" for at, path in newest(places, 200)]
        self.add(
            "host/changes.txt",
            "redémarrages, connexions, fichiers modifiés",
            "boots, logins, files that changed",
            "\n".join(text) + "\n",
        )
        for name in ("apt/history.log", "dpkg.log"):
            self.file(
                self.places.log / name,
                f"host/{name.replace('/', '-')}",
                "paquets installés",
                "packages that were installed",
            )


class _Counted:
    """Counts the bytes that pass."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            self.size += len(part)
            yield part


def _last(parts: Iterable[bytes], most: int) -> bytes:
    """Return the last bytes of a stream, of which no more is held in memory."""
    kept: deque[bytes] = deque()
    size = 0
    for part in parts:
        kept.append(part)
        size += len(part)
        while size - len(kept[0]) >= most:
            size -= len(kept.popleft())
    return b"".join(kept)[-most:] if most else b""


def demultiplexed(parts: Iterable[bytes], *, raw: bool) -> Iterator[bytes]:
    """Yield what a container said from the engine's stream of frames, as it comes."""
    if raw:
        yield from parts
        return
    buffer = bytearray()
    for part in parts:
        buffer += part
        while len(buffer) >= 8:
            size = int.from_bytes(buffer[4:8], "big")
            if len(buffer) < 8 + size:
                break
            yield bytes(buffer[8 : 8 + size])
            del buffer[: 8 + size]


def _plain_log(raw: str) -> str:
    """Return the lines of Docker's own json-file log as text."""
    lines = []
    for line in raw.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the last one, torn by a crash
        lines.append(f"{entry.get('time', '')} {str(entry.get('log', '')).rstrip()}")
    return "\n".join(lines) + "\n"


def without_values(document: Any, name: str = "") -> Any:
    """Return what is said of containers with the names of environment variables, but not their values."""
    if isinstance(document, Mapping):
        if name.lower() in ("environment", "env"):
            return {str(key): _redact.HIDDEN for key in document}
        return {key: without_values(value, str(key)) for key, value in document.items()}
    if isinstance(document, list):
        if name.lower() in ("env", "environment"):
            return [_ENVIRONMENT.sub(rf"\1={_redact.HIDDEN}", str(one)) for one in document]
        if name.lower() in ("args", "cmd", "command", "entrypoint", "test"):
            # On one line, so that an option and the secret after it are seen together.
            return " ".join(map(str, document))
        return [without_values(one, name) for one in document]
    return document


def processes(proc: Path) -> str:
    """Return the processes with the most memory and the most CPU time, by name only."""
    page, ticks = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    found: list[tuple[int, float, str, str, int, str]] = []
    for place in proc.glob("[0-9]*"):
        try:
            head, _paren, rest = (place / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
            owner = place.stat().st_uid
        except OSError:
            continue  # it ended meanwhile
        fields = rest.split()
        name = head.partition("(")[2]
        found.append(
            (int(fields[21]) * page, (int(fields[11]) + int(fields[12])) / ticks, place.name, fields[0], owner, name)
        )
    lines = [f"{len(found)} processes"]
    by_memory, by_time = sorted(found, key=lambda row: -row[0]), sorted(found, key=lambda row: -row[1])
    for title, rows in (("by memory", by_memory), ("by CPU time", by_time)):
        lines += ["", title, "  MiB      CPU s  pid      state uid    name"]
        for one in rows[:TOP]:
            lines.append(f"{one[0] / MIB:5.0f} {one[1]:10.1f}  {one[2]:8} {one[3]:5} {one[4]:<6} {one[5]}")
    blocked = [f"{one[2]} {one[5]}" for one in found if one[3] == "D"]
    if blocked:
        lines += ["", f"waiting for a disk: {', '.join(blocked)}"]
    return "\n".join(lines) + "\n"


def newest(places: Sequence[Path], most: int) -> list[tuple[float, Path]]:
    """Return the files below some directories that were written last, with when."""
    found: list[tuple[float, Path]] = []
    for place in places:
        for directory, directories, names in os.walk(place):
            # Data of applications is not configuration, and there may be millions of files.
            directories[:] = [name for name in directories if name not in ("data", "node_modules", ".git", ".store")]
            for name in names:
                path = Path(directory) / name
                try:
                    found.append((path.lstat().st_mtime, path))
                except OSError:
                    continue
            if len(found) > 20000:
                break
    return sorted(found, reverse=True)[:most]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        return f"({error.strerror})"


def _utc(at: Any) -> str:
    if isinstance(at, bool) or not isinstance(at, (int, float)) or not at:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


def since(text: str, now: float, seconds: Callable[[str], float | None]) -> float:
    """Return a beginning in seconds since 1970 from a duration (C(2h)) or a time (C(2026-11-21T14:00:00Z)).

    Raises ValueError with what would be right.
    """
    duration = seconds(text)
    at = parse_time(text.strip()) if duration is None else now - duration
    if at is None or at > now or (duration is not None and duration <= 0):
        raise ValueError(
            f'since is {text!r}; a duration back from now, as "2h" or "45m", or a time that is past, as'
            ' "2026-11-21T14:00:00Z", is needed'
        )
    return at


def name_of(asked: Asked, host: str) -> str:
    """Return the name of the bundle: project, host, time in UTC."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(asked.now))
    return "-".join(re.sub(r"[^A-Za-z0-9_.-]", "_", part) for part in (asked.project or "host", host, stamp))


class _Words(NamedTuple):
    """The words of the first page in one language."""

    title: str
    window: str
    whom_title: str
    whom: str
    nobody: str
    content: str
    header: str
    cut: str
    limits: str
    missing: str
    nothing: str


_FRENCH: Final = _Words(
    "Incident : {} ({})",
    "Période : {} – {} UTC. Recueilli par quai, en lecture seule.",
    "Pour qui",
    "Pour les personnes qui analysent l'incident. Les secrets que l'hôte connaît, et ce qui ressemble à un secret, sont"
    " remplacés par `***` ({} fois). Les journaux peuvent contenir des données personnelles (adresses IP, courriels) :"
    " ne transmettez l'archive qu'à ceux qui en ont besoin, et supprimez-la ensuite.",
    "Aucun contact n'est déclaré.",
    "Contenu",
    "| fichier | octets | contenu |",
    " (fin seulement)",
    "Limites : {} Kio par fichier, {} Kio en tout ; {} Kio recueillis.",
    "Ce qui manque",
    "Rien.",
)
_ENGLISH: Final = _Words(
    "Incident: {} ({})",
    "Window: {} – {} UTC. Collected by quai, reading only.",
    "For whom",
    "For those who find out what happened. Secrets that the host knows, and what looks like one, are replaced by `***`"
    " ({} times). Logs may hold personal data (IP addresses, mail addresses): pass the archive on only to those who"
    " need it, and delete it afterwards.",
    "No contact is declared.",
    "Content",
    "| file | bytes | content |",
    " (the end only)",
    "Limits: {} KiB for each file, {} KiB in all; {} KiB were collected.",
    "What is missing",
    "Nothing.",
)


def index(asked: Asked, host: str, parts: Sequence[Part], missing: Sequence[Missing], redactions: int) -> str:
    """Return the first page, in French and in English."""
    size = sum(len(part.text.encode()) for part in parts)
    lines: list[str] = []
    for words in (_FRENCH, _ENGLISH):
        lines += ["", "---", ""] if lines else []
        lines += [f"# {words.title.format(asked.title or asked.project or host, host)}", ""]
        lines += [words.window.format(_utc(asked.since), _utc(asked.now)), ""]
        lines += [f"## {words.whom_title}", "", words.whom.format(redactions), ""]
        lines += ["## Note", "", asked.note, ""] if asked.note else []
        lines += ["## Contacts", ""]
        for contact in asked.contacts:
            keys = ("role", "email", "phone", "link", "availability", "handles")
            said = [str(contact[key]) for key in keys if contact.get(key)]
            lines.append(f"- {contact.get('name', '?')}: {', '.join(said)}")
        lines += [*([] if asked.contacts else [words.nobody]), ""]
        lines += [f"## {words.content}", "", words.header, "| --- | ---: | --- |"]
        for part in parts:
            said_of = part.french if words is _FRENCH else part.english
            lines.append(f"| `{part.path}` | {len(part.text.encode())} | {said_of}{words.cut if part.cut else ''} |")
        lines += ["", words.limits.format(asked.file_bytes // 1024, asked.total_bytes // 1024, size // 1024), ""]
        lines += [f"## {words.missing}", "", *([f"- {one.what}: {one.why}" for one in missing] or [words.nothing])]
    return "\n".join(lines) + "\n"


def _bundle(asked: Asked, host: str, work: _Collector) -> Bundle:
    # Values that were learnt from later containers may stand in earlier parts.
    redactor = work.redactor
    parts = [part._replace(text=redactor.known(part.text)) for part in work.parts]
    missing = [Missing(one.what, redactor.text(one.why)) for one in work.missing]
    asked = asked._replace(note=redactor.text(asked.note))
    directory = name_of(asked, host)
    first = Part("index.md", "cette page", "this page", index(asked, host, parts, missing, redactor.hits))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=6) as archive:
        for part in (first, *parts):
            data = part.text.encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"{directory}/{part.path}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(asked.now)
            archive.addfile(entry, io.BytesIO(data))
    return Bundle(packed.getvalue(), directory, (first, *parts), tuple(missing), redactor.hits)


__all__ = [
    "Asked",
    "Bundle",
    "Missing",
    "Part",
    "Places",
    "collect",
    "demultiplexed",
    "index",
    "name_of",
    "newest",
    "processes",
    "since",
    "without_values",
]
