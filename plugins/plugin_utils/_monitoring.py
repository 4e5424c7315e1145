# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role monitoring_cron is given: what is wrong with it, and which code of this collection the watch runs.

Pure. Probes are judged by the code that a host will read them with; here stand the rules for what is around them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Final
from zoneinfo import available_timezones

from ansible_collections.quai.ops.plugins.module_utils._probe_spec import REFERENCE, SpecError, normalise
from ansible_collections.quai.ops.plugins.module_utils._probe_types import TYPES

PACKAGE: Final = "ansible_collections.quai.ops.plugins.module_utils"
IMPORT: Final = re.compile(
    rf"^[ \t]*(?:from {re.escape(PACKAGE)}(?:\.(?P<module>\w+))? import (?P<names>\([^)]*\)|[^\n#]*)"
    rf"|import {re.escape(PACKAGE)}\.(?P<plain>\w+))",
    re.MULTILINE,
)
MODULES: Final = Path(__file__).resolve().parents[1] / "module_utils"

LANGUAGES: Final = ("fr", "en")
SEVERITIES: Final = ("critical", "high", "medium", "low")
POLICY: Final = ("respond_within", "notify", "escalate_to", "remind_every")
# What each type of channel needs, and what it may have beside.
CHANNELS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "mail": ("to", ()),
    "slack": ("url", ("headers", "ca_file")),
    "webhook": ("url", ("headers", "ca_file")),
}
PROJECT: Final = (
    *("title", "active_when", "locks", "contacts", "backups", "domains", "containers_probe", "release_file"),
)
PEER: Final = ("name", "url", "user", "password", "max_age", "ca_file")
MAIL: Final = ("from", "relay")
RELAY: Final = ("host", "port", "tls", "user", "password", "ca_file")
RELAY_TLS: Final = ("off", "prefer", "require", "implicit")
SECRET_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+\Z")
ADDRESS: Final = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+\Z")
URL: Final = re.compile(r"https?://[^\s/?#]+\S*\Z")
TIME: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]\Z")
HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
SHORTEST, LONGEST = 5, 3600  # of an interval, s
# Options of probes in which ${NAME} means a secret, beside those of the kind "secret".
FILLED: Final = ("headers", "environment", "steps")


def problems(config: Mapping[str, Any], secrets: Mapping[str, Any], scheduler: str, report_at: str) -> list[str]:
    """Return everything that is wrong, one line each, with the variable, the value and what would be right.

    C(config) is what becomes config.json. No value of a secret is repeated.
    """
    found = [
        *_plain(config, scheduler, report_at),
        *_probes(config),
        *_channels(config),
        *_policies(config),
        *_projects(config),
        *_ways(config),
        *_secrets(config, secrets),
    ]
    return [f"monitoring_cron_{line}" for line in found]


def _plain(config: Mapping[str, Any], scheduler: str, report_at: str) -> Iterator[str]:
    if not HOST.match(str(config["host"])):
        yield f"host is {config['host']!r}; a host's name has letters, digits and - . _"
    languages = list(config["languages"])
    if not languages or set(languages) - set(LANGUAGES) or len(set(languages)) < len(languages):
        yield f"languages is {languages!r}; name one or both of {', '.join(LANGUAGES)}, the first one first"
    if config.get("timezone", "UTC") not in available_timezones():
        yield f"timezone is {config['timezone']!r}; it is a name such as UTC or Europe/Paris"
    interval = config["interval"]
    if not SHORTEST <= interval <= LONGEST:
        yield f"interval is {interval}; it is {SHORTEST} to {LONGEST} seconds"
    elif scheduler == "cron" and (interval % 60 or 3600 % interval):
        yield f"interval is {interval}; cron knows whole minutes that divide an hour: 60, 120, 180, … 1800, 3600"
    for name in ("concurrency", "messages_per_hour", "run_limit"):
        if config[name] < 1:
            yield f"{name} is {config[name]}; it is 1 or more"
    if report_at and not TIME.match(str(report_at)):
        yield f'report.at is {report_at!r}; a time of the day reads "07:00", with its quotes'
    if config["textfile"] and not (config["textfile"].startswith("/") and config["textfile"].endswith(".prom")):
        yield f"textfile is {config['textfile']!r}; it is an absolute path that ends in .prom"
    if not str(config["report"]["directory"]).startswith("/"):
        yield f"report.directory is {config['report']['directory']!r}; it is an absolute path"


def _probes(config: Mapping[str, Any]) -> Iterator[str]:
    probes = config["probes"]
    try:
        normalise(probes)
    except SpecError as error:
        yield from (f"probes, {problem}" for problem in error.problems)
    for probe in probes:
        if not isinstance(probe, Mapping):
            continue
        here = f"probes, {probe.get('name')}"
        if probe.get("policy"):
            yield from _known(f"{here}: policy", [probe["policy"]], config["policies"], "monitoring_cron_policies")
        if probe.get("project") not in (None, "", "host"):
            yield from _known(f"{here}: project", [probe["project"]], config["projects"], "monitoring_cron_projects")
    names = [probe["name"] for probe in probes if isinstance(probe, Mapping) and probe.get("name")]
    if config["uplink_probe"]:
        yield from _known("uplink_probe", [config["uplink_probe"]], names, "monitoring_cron_probes")


def _channels(config: Mapping[str, Any]) -> Iterator[str]:
    for name, channel in config["channels"].items():
        here = f"channels.{name}"
        if not isinstance(channel, Mapping) or channel.get("type") not in CHANNELS:
            kind = channel.get("type") if isinstance(channel, Mapping) else channel
            yield f"{here}: type is {kind!r}; there is {', '.join(CHANNELS)}"
            continue
        needed, more = CHANNELS[channel["type"]]
        yield from _unknown(here, channel, ("type", needed, *more))
        given = channel.get(needed)
        if not given:
            yield f"{here}: a channel of the type {channel['type']} needs {needed}"
        elif needed == "to":
            yield from _addresses(f"{here}.to", given)
        else:
            yield from _url(f"{here}.url", given)
    yield from _known(
        "own_fault_channels", config["own_fault_channels"], config["channels"], "monitoring_cron_channels"
    )
    mailed = [
        name for name, one in config["channels"].items() if isinstance(one, Mapping) and one.get("type") == "mail"
    ]
    for name in config["report"]["mail_to"]:
        if name not in mailed:
            yield f"report.mail_to names {name!r}, which is no channel of type mail (there is {_listed(mailed)})"


def _policies(config: Mapping[str, Any]) -> Iterator[str]:
    for name, policy in config["policies"].items():
        here = f"policies.{name}"
        if not isinstance(policy, Mapping):
            yield f"{here} is {policy!r}; it maps severities to what they mean"
            continue
        yield from _unknown(here, policy, SEVERITIES)
        for severity, rule in policy.items():
            place = f"{here}.{severity}"
            if not isinstance(rule, Mapping):
                yield f"{place} is {rule!r}; it has {', '.join(POLICY)}"
                continue
            yield from _unknown(place, rule, POLICY)
            for option in ("respond_within", "remind_every"):
                value = rule.get(option, 1)
                if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
                    yield f"{place}.{option} is {value!r}; it is a number of seconds, more than 0"
            for option in ("notify", "escalate_to"):
                wanted = rule.get(option) or []
                yield from _known(f"{place}.{option}", wanted, config["channels"], "monitoring_cron_channels")


def _projects(config: Mapping[str, Any]) -> Iterator[str]:
    for name, project in config["projects"].items():
        here = f"projects.{name}"
        if not isinstance(project, Mapping):
            yield f"{here} is {project!r}; it maps to {', '.join(PROJECT)}"
            continue
        yield from _unknown(here, project, PROJECT)
        active = project.get("active_when") or "/"
        if not str(active).startswith("/"):
            yield f"{here}.active_when is {active!r}; it is an absolute path on the host"
        for lock in project.get("locks") or []:
            if "/" in str(lock):
                yield f"{here}.locks: {lock!r} is no name of a file in /run/quai/locks"


def _ways(config: Mapping[str, Any]) -> Iterator[str]:
    """Ways out of the host: mail, the switch elsewhere, and the watches of other hosts."""
    mail = config["mail"]
    yield from _unknown("mail", mail, MAIL)
    yield from _addresses("mail.from", [mail.get("from", "")])
    relay = mail.get("relay")
    if relay:
        yield from _unknown("mail.relay", relay, RELAY)
        if not relay.get("host"):
            yield "mail.relay: host is missing; without a relay leave mail.relay out, and sendmail takes the mail"
        if not isinstance(relay.get("port", 25), int) or not 1 <= relay.get("port", 25) <= 65535:
            yield f"mail.relay.port is {relay['port']!r}; ports are 1 to 65535"
        if relay.get("tls", "prefer") not in RELAY_TLS:
            yield f"mail.relay.tls is {relay['tls']!r}; there is {', '.join(RELAY_TLS)}"
    yield from _unknown("ping", config["ping"], ("url", "start"))
    if config["ping"].get("url"):
        yield from _url("ping.url", config["ping"]["url"])
    for position, peer in enumerate(config["peers"]):
        here = f"peers[{position}]"
        if not isinstance(peer, Mapping):
            yield f"{here} is {peer!r}; it has name and url"
            continue
        yield from _unknown(here, peer, PEER)
        if not peer.get("name"):
            yield f"{here}: name is missing"
        yield from _url(f"{here}.url", peer.get("url", ""))


def _secrets(config: Mapping[str, Any], secrets: Mapping[str, Any]) -> Iterator[str]:
    for name, value in secrets.items():
        if not SECRET_NAME.match(str(name)):
            yield f"secrets: {name!r} is no name; it has letters, digits and _ . -"
        # The type only: the value is nobody's business.
        if value is None or isinstance(value, (bool, int, float, list, dict)):
            yield f"secrets.{name} is not text; put its value in quotes"
    used: dict[str, str] = {}
    for place, text in _filled(config):
        for match in REFERENCE.finditer(text):
            if match[1]:
                used.setdefault(match[1], place)
    for name, place in used.items():
        if name not in secrets:
            yield f"{place} names ${{{name}}}, which is not in monitoring_cron_secrets{_close(name, secrets)}"


def _filled(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Texts in which ${NAME} means a secret, each with its place."""
    for part in ("channels", "mail", "ping", "peers"):
        yield from _texts(part, config[part])
    for probe in config["probes"]:
        if not isinstance(probe, Mapping) or probe.get("type", "http") not in TYPES:
            continue
        rows = TYPES[probe.get("type", "http")].options
        for option, value in probe.items():
            if option in FILLED or (option in rows and rows[option].kind == "secret"):
                yield from _texts(f"probes, {probe.get('name')}: {option}", value)


def _texts(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(f"{place}.{key}", inner)
    elif isinstance(value, (list, tuple)):
        for position, inner in enumerate(value):
            yield from _texts(f"{place}[{position}]", inner)


def _unknown(place: str, given: Mapping[str, Any], known: Sequence[str]) -> Iterator[str]:
    for key in given:
        if key not in known:
            yield f"{place} has no {key!r}{_close(str(key), known)}; it has {', '.join(known)}"


def _known(place: str, names: Iterable[Any], there: Iterable[Any], where: str) -> Iterator[str]:
    known = [str(one) for one in there]
    for name in names:
        if str(name) not in known:
            yield f"{place} is {name!r}, which is not in {where}{_close(str(name), known)} (there is {_listed(known)})"


def _addresses(place: str, given: Any) -> Iterator[str]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        yield f"{place} is {given!r}; it is a list of addresses"
        return
    for address in given:
        if not ADDRESS.match(str(address)):
            yield f"{place}: {address!r} is no mail address"


def _url(place: str, given: Any) -> Iterator[str]:
    # A secret may stand for all of it or for a part.
    if not URL.match(REFERENCE.sub("x", str(given))) and not REFERENCE.match(str(given)):
        yield f"{place} is no http(s):// address"


def _close(name: str, known: Iterable[Any]) -> str:
    near = get_close_matches(name, [str(one) for one in known], n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:10]) + (", …" if len(names) > 10 else "") if names else "none"


# ---- the code that a host runs ---------------------------------------------------------------------------------


@cache
def needed(program: str) -> tuple[str, ...]:
    """Return the files of module_utils, without C(.py), that a program imports, those of every type of probe too."""
    found: set[str] = set()
    todo = [program]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        todo += _imports(MODULES / f"{name}.py")
        if name == "_probe_types":
            # Imported by name, when a probe of the type is run.
            todo += [kind.check.partition(":")[0] for kind in TYPES.values()]
    return tuple(sorted(found))


def _imports(source: Path) -> Iterator[str]:
    # By their text: parsing forty files takes a second, which every run of the role would pay.
    for match in IMPORT.finditer(source.read_text(encoding="utf-8")):
        if match["module"] or match["plain"]:
            yield match["module"] or match["plain"]
        else:
            yield from (name.split()[0] for name in match["names"].strip("()").split(",") if name.strip())


__all__ = ["needed", "problems"]
