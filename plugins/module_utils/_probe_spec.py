# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Specifications of probes: refuses what is wrong, all of it at once, and fills in what is not said."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ansible_collections.quai.ops.plugins.module_utils._probe_base import Spec
from ansible_collections.quai.ops.plugins.module_utils._probe_rules import (
    Rule,
    RuleError,
    close_to,
    explain,
    first_decisive,
    holds,
    parse,
    seconds,
    size,
    value_of,
)
from ansible_collections.quai.ops.plugins.module_utils._probe_types import COMMON, TYPES, Option

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]*")
REFERENCE: Final = re.compile(r"\$\$\{|\$\{([A-Za-z0-9_.-]+)\}")
# Longest time of a probe, in seconds.
MOST_SECONDS: Final = 3600
# Options of the watch that no check reads and that have no row of their own.
_EXTRA: Final = {"policy": Option("text", "Policy of the watch that says who is told.", "")}
# Types that tell whether something lives: only these may restart it.
LIVENESS: Final = ("containers", "docker", "pm2", "process", "systemd")
_STEP: Final = {
    "name": Option("text", "What the step does.", ""),
    "url": Option("secret", "Address; the probe's own when neither url nor path is given.", ""),
    "path": Option("text", "Path, resolved against the probe's url.", ""),
    "method": Option("text", "Method.", "GET"),
    "headers": Option("map", "Headers to send.", {}),
    "body": Option("secret", "Body to send.", ""),
    "expect": Option("list", "Conditions that must hold.", None),
}
_HOST_OF: Final = re.compile(r"https?://(\[[^\]]*\]|[^/:?#]*)")
_BY_HAND: Final = frozenset({"expect", "warn", "crit", "steps", "restart"})
_TRUE: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_POSITIVE: Final = ("timeout", "every", "failures", "successes", "max_age", "stuck_after", "max_body", "max_bytes")

_Wrong = Callable[[str, str], None]
_parsed: dict[tuple[str, str, bool], Rule] = {}


class SpecError(ValueError):
    """Specifications that are wrong. C(problems) has one line for each mistake, with the probe and the option."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class _Bad(ValueError):
    """What is wrong with one option."""


def rule(kind: str, text: str, limit: bool = False) -> Rule:
    """Read a condition of a probe of the type C(kind); Nagios ranges too when it is a limit. Raises RuleError."""
    key = (kind, text, limit)
    found = _parsed.get(key)
    if found is None:
        fields = TYPES[kind].fields
        found = parse(text, fields, TYPES[kind].main if limit else "")
        if len(_parsed) > 5000:  # texts may hold versions: a long-lived program must not gather them
            _parsed.clear()
        _parsed[key] = found
    return found


def rules_of(spec: Mapping[str, Any]) -> list[Rule]:
    """All conditions of a normalised specification."""
    kind = spec["type"]
    found = [rule(kind, text) for text in spec["expect"]]
    for limit in (*spec["warn"], *spec["crit"]):
        for text in limit.values() if isinstance(limit, Mapping) else (limit,):
            found.append(rule(kind, text, limit=True))
    return found


def asked(spec: Mapping[str, Any]) -> set[str]:
    """The fields that its conditions and those of its steps name, without what follows the first dot."""
    found: set[str] = set()
    for one in rules_of(spec):
        found |= one.names
    for step in spec.get("steps") or ():
        for text in step["expect"]:
            found |= rule(spec["type"], text).names
    return found


def asks(spec: Mapping[str, Any], *names: str) -> bool:
    """Whether a condition names one of these fields (what follows the first dot left out)."""
    return not asked(spec).isdisjoint(names)


def unmet(
    spec: Mapping[str, Any],
    fields: Mapping[str, Any],
    expect: Sequence[str],
    hide: Callable[[str], str] | None = None,
) -> tuple[str, str] | None:
    """Reason and message of the conditions that do not hold, the reason being that of the first; None when all do."""
    reason = ""
    said = []
    for text in expect:
        one = rule(spec["type"], text)
        if holds(one, fields) is not True:
            reason = reason or reason_of(spec, one, fields)
            said.append(explain(one, fields, hide))
    if not said:
        return None
    more = f" (and {len(said) - 3} more)" if len(said) > 3 else ""
    return reason, "; ".join(said[:3]) + more


_REASONS: Final = {
    **dict.fromkeys(("status", "body", "json", "heartbeat"), ""),
    **dict.fromkeys(("header", "cookie", "banner"), "body"),
    "json_age_s": "json",
    **dict.fromkeys(("bytes", "size_bytes", "change_pct"), "size"),
    **dict.fromkeys(("restarts", "restarts_day"), "restarts"),
    **dict.fromkeys(("state", "health", "unhealthy", "active", "sub", "result", "exit", "exit_code"), "status"),
    **dict.fromkeys(("missing", "files"), "missing"),
    "redirects": "redirect",
}
_LATENCIES: Final = ("latency_ms", "resolve_ms", "connect_ms", "tls_ms", "ttfb_ms", "transfer_ms")


def reason_of(spec: Mapping[str, Any], one: Rule, fields: Mapping[str, Any]) -> str:
    """The reason, one of REASONS, for which a condition makes a probe bad; headers, cookies, banners count as body."""
    condition = first_decisive(one, fields)
    name = condition.path[0]
    value = value_of(condition, fields)
    if name in _LATENCIES:
        return "latency"
    if name in {"tls_days", "chain_days"}:
        return "tls_expired" if isinstance(value, (int, float)) and value < 0 else "threshold"
    if name == "files" and value:  # there are some, but too few or too many
        return "threshold"
    if name == "age_s" and spec["type"] in {"backup", "drill", "heartbeat"}:
        if spec["type"] == "heartbeat":
            return "heartbeat"
        return "stale" if isinstance(value, (int, float)) else "missing"
    return _REASONS.get(name, "threshold") or name


def normalise(probes: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any] | None = None) -> list[Spec]:
    """Return the probes with every default filled in. Raises SpecError, which names all mistakes.

    Durations become seconds, sizes bytes. C(defaults) holds options for the probes that know them and do not set them.
    What this returns may be given to it again, and comes back unchanged.
    """
    problems: list[str] = []
    known = {**COMMON, **_EXTRA}
    if defaults is not None and not isinstance(defaults, Mapping):
        raise SpecError([f"defaults: a mapping is needed, not {_kind(defaults)}"])
    common = dict(defaults or {})
    everything = {*known, *(name for kind in TYPES.values() for name in kind.options)} - {"name"}
    for option in common:
        if option not in everything:
            problems.append(f'defaults: there is no option "{option}"{close_to(str(option), everything)}')
    specs = []
    seen: dict[str, int] = {}
    if isinstance(probes, (str, bytes, Mapping)) or not isinstance(probes, Sequence):
        raise SpecError([f"probes: a list of mappings is needed, not {_kind(probes)}"])
    given: Any
    for index, given in enumerate(probes):
        if not isinstance(given, Mapping):
            problems.append(f"probe {index + 1}: a mapping is needed, not {_kind(given)}")
            continue
        spec = _one(given, common, index, problems)
        name = spec.get("name")
        if isinstance(name, str):
            if name in seen:
                problems.append(f"{name}: two probes have this name, number {seen[name] + 1} and number {index + 1}")
            seen.setdefault(name, index)
        specs.append(spec)
    _check_parents(specs, seen, problems)
    if problems:
        raise SpecError(problems)
    return specs


def _one(given: Mapping[str, Any], common: Mapping[str, Any], index: int, problems: list[str]) -> Spec:
    name = given.get("name")
    label = name if isinstance(name, str) and name else f"probe {index + 1}"

    def wrong(option: str, message: str) -> None:
        problems.append(f"{label}: {option}: {message}")

    if not isinstance(name, str) or not NAME.fullmatch(name):
        wrong("name", f"{name!r} is no name; it needs lower-case letters, digits, and _ . - after the first")
    kind = given.get("type", common.get("type", "http"))
    if not isinstance(kind, str) or kind not in TYPES:
        wrong("type", f'there is no type "{kind}"{close_to(str(kind), TYPES)}; types are {", ".join(TYPES)}')
        return {"name": name}
    probe = TYPES[kind]
    options = {**COMMON, **_EXTRA, **probe.options}
    for option in given:
        if option not in options:
            wrong(str(option), f"the type {kind} has no such option{close_to(str(option), options)}")
    chosen = {**{key: value for key, value in common.items() if key in options}, **given}
    spec = {
        option: _value(option, row, chosen.get(option), wrong)
        for option, row in options.items()
        if option not in _BY_HAND
    }
    spec["type"] = kind
    if probe.at_least_one and not any(chosen.get(option) for option in probe.at_least_one):
        wrong(" or ".join(probe.at_least_one), f"the type {kind} needs one of them")
    if spec.get("password") and spec.get("password_file"):
        wrong("password", "it is given twice; keep password or password_file")
    for option in ("match", "ignore"):
        try:
            re.compile(spec.get(option) or "")
        except re.error as error:
            wrong(option, f"it is no regular expression: {error}")
    if kind == "http":
        _steps(spec, chosen, wrong)
    _conditions(spec, chosen, kind, wrong)
    _watch(spec, chosen, kind, wrong)
    return spec


def _value(option: str, row: Option, given: Any, wrong: _Wrong) -> Any:
    if given is None:
        if row.required and option not in {"name", "type"}:
            wrong(option, f"it is needed: {row.help}")
        if isinstance(row.default, tuple):
            return list(row.default)
        # A mutable default must not be shared between probes.
        return dict(row.default) if isinstance(row.default, dict) else row.default
    try:
        value = _READERS[row.kind](row, given)
        if option in _POSITIVE and value is not None and value <= 0:
            raise _Bad(f"{given!r} must be more than 0")
    except _Bad as error:
        wrong(option, str(error))
        return row.default
    return value


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    names = {
        list: "a list",
        str: "a text",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        type(None): "nothing",
    }
    return names.get(type(value), type(value).__name__)


def _read_text(row: Option, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _Bad(f"a text is needed, not {_kind(value)}")
    text = str(value)
    if row.required and not text.strip():
        raise _Bad(f"it must not be empty: {row.help}")
    return text


def _read_path(row: Option, value: Any) -> str:
    text = _read_text(row, value)
    if text and not text.startswith("/"):
        raise _Bad(f'"{text}" must be an absolute path')
    return text


def _read_integer(row: Option, value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d+\s*", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _Bad(f"{value!r} must be a whole number, 0 or more")
    return value


def _read_number(row: Option, value: Any) -> float | int:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise _Bad(f'"{value}" must be a number') from None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise _Bad(f"{value!r} must be a number, 0 or more")
    return value


def _read_boolean(row: Option, value: Any) -> bool:
    if isinstance(value, str):
        value = _TRUE.get(value.strip().lower(), value)
    if not isinstance(value, bool):
        raise _Bad(f"{value!r} must be true or false")
    return value


def _read_duration(row: Option, value: Any) -> float:
    if isinstance(value, str):
        value = seconds(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise _Bad('a duration is needed, as 5, "130s", "26h" or "1h30m"')
    return float(value)


def _read_size(row: Option, value: Any) -> int:
    if isinstance(value, str):
        value = size(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise _Bad('a size is needed, as 1048576, "1MiB" or "2g"')
    return int(value)


def _read_port(row: Option, value: Any) -> int:
    port = _read_integer(row, value)
    if not 1 <= port <= 65535:
        raise _Bad(f"{value!r} is no port; ports are 1 to 65535")
    return port


def _read_list(row: Option, value: Any) -> list[str]:
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise _Bad(f"a list is needed, not {_kind(value)}")
    return [_read_text(row, one) for one in value]


def _read_argv(row: Option, value: Any) -> list[str]:
    if isinstance(value, str):
        from shlex import split

        try:
            value = split(value)
        except ValueError as error:
            raise _Bad(f'"{value}" cannot be cut into arguments: {error}') from None
    words = _read_list(row, value)
    if not words or not words[0]:
        raise _Bad("a command is needed, as a list of arguments")
    return words


def _read_map(row: Option, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise _Bad(f"a mapping is needed, not {_kind(value)}")
    return {str(key): _read_text(row, one) for key, one in value.items()}


def _read_choice(row: Option, value: Any) -> str:
    if value is False and "off" in row.choices:  # YAML 1.1 reads a bare "off" as a boolean
        value = "off"
    text = str(value)
    if text not in row.choices:
        raise _Bad(
            f'"{text}" is none of {", ".join(one or "(empty)" for one in row.choices)}{close_to(text, row.choices)}'
        )
    return text


_READERS: Final[dict[str, Callable[[Option, Any], Any]]] = {
    "text": _read_text,
    "secret": _read_text,
    "path": _read_path,
    "integer": _read_integer,
    "number": _read_number,
    "boolean": _read_boolean,
    "duration": _read_duration,
    "size": _read_size,
    "port": _read_port,
    "list": _read_list,
    "argv": _read_argv,
    "map": _read_map,
    "choice": _read_choice,
}


def _conditions(spec: Spec, given: Mapping[str, Any], kind: str, wrong: _Wrong) -> None:
    probe = TYPES[kind]
    spec["expect"] = _expect(given.get("expect"), kind, "expect", wrong)
    if spec["expect"] is None:
        steps = spec.get("steps")
        if steps:
            # The whole path takes longer than its last step, whose own times were looked at already.
            spec["expect"] = [text for text in steps[-1]["expect"] if not _asks_times(text)] or ["status != null"]
        elif kind == "tls" and not spec.get("verify", True):
            spec["expect"] = ["tls_days >= 0"]
        else:
            spec["expect"] = list(probe.expect)
    for level, default in (("warn", probe.warn), ("crit", probe.crit)):
        value = given.get(level)
        if value is None:
            spec[level] = list(default)
            continue
        limits = value if isinstance(value, (list, tuple)) else [value]
        read = (_limit(limit, kind, level, wrong) for limit in limits)
        spec[level] = [limit for limit in read if limit is not None]


def _asks_times(text: str) -> bool:
    try:
        return not rule("http", text).names.isdisjoint(_LATENCIES)
    except (RuleError, TypeError):  # it is told where it stands
        return False


def _limit(limit: Any, kind: str, level: str, wrong: _Wrong) -> str | dict[str, str] | None:
    if isinstance(limit, Mapping):
        if set(limit) != {"on", "clear"}:
            wrong(level, "a mapping has exactly the two conditions {on, clear}")
            return None
        texts = {key: str(limit[key]) for key in ("on", "clear")}
    elif isinstance(limit, bool) or not isinstance(limit, (str, int, float)):
        wrong(level, f"a condition or {{on, clear}} is needed, not {_kind(limit)}")
        return None
    else:
        texts = {"": str(limit)}
    for text in texts.values():
        try:
            rule(kind, text, limit=True)
        except RuleError as error:
            wrong(level, str(error))
    return texts.get("", texts)


def _expect(value: Any, kind: str, option: str, wrong: _Wrong) -> list[str] | None:
    if value is None:
        return None
    conditions = [value] if isinstance(value, str) else value
    if not isinstance(conditions, (list, tuple)):
        wrong(option, f"a list of conditions is needed, not {_kind(value)}")
        return []
    if not conditions:
        wrong(option, "an empty list asks for nothing and would always be good; leave it out for the type's own")
    for text in conditions:
        try:
            rule(kind, text)
        except RuleError as error:
            wrong(option, str(error))
        except TypeError:  # not even hashable: a mapping where a text should be
            wrong(option, f"a condition is a text, not {_kind(text)}")
    return list(conditions)


def _steps(spec: Spec, given: Mapping[str, Any], wrong: _Wrong) -> None:
    value = given.get("steps")
    spec["steps"] = None
    if value is None:
        return
    if not isinstance(value, (list, tuple)) or not value:
        wrong("steps", "a list of at least one request is needed")
        return
    steps = []
    for number, given_step in enumerate(value, 1):
        where = f"steps[{number}]"
        if not isinstance(given_step, Mapping):
            wrong(where, f"a mapping is needed, not {_kind(given_step)}")
            continue
        for option in given_step:
            if option not in _STEP:
                wrong(f"{where}.{option}", f"a step has no such option{close_to(str(option), _STEP)}")
        step: dict[str, Any] = {}
        for option, row in _STEP.items():
            one = given_step.get(option)
            if option == "expect":
                step[option] = _expect(one, "http", f"{where}.expect", wrong) or list(TYPES["http"].expect)
                continue
            try:
                step[option] = (
                    (dict(row.default) if row.kind == "map" else row.default)
                    if one is None
                    else _READERS[row.kind](row, one)
                )
            except _Bad as error:
                wrong(f"{where}.{option}", str(error))
        if not step.get("url") and not spec.get("url"):
            wrong(where, "it needs a url, because the probe has none")
        steps.append(step)
    spec["steps"] = steps


def _watch(spec: Spec, given: Mapping[str, Any], kind: str, wrong: _Wrong) -> None:
    window = spec.get("window")
    if window:
        match = re.fullmatch(r"(\d+)/(\d+)", window)
        if match is None or not 1 <= int(match.group(1)) <= int(match.group(2)) <= 20:
            wrong("window", f'"{window}" must be bad/results, as "3/5", with at most 20 results')
    if spec["timeout"] > MOST_SECONDS:
        wrong("timeout", f"{spec['timeout']:g} s are too long for a probe; at most {MOST_SECONDS} s")
    if spec.get("retries", 0) > 10:
        wrong("retries", f"{spec['retries']} tries in one run are too many; at most 10")
    value = given.get("restart")
    if not value:
        spec["restart"] = None
        return
    if kind not in LIVENESS and not _of_this_host(spec, kind):
        own = "http and tcp do where they ask 127.0.0.1 or a container"
        wrong("restart", f"the type {kind} does not tell whether something lives; {', '.join(LIVENESS)} do, and {own}")
    if not isinstance(value, Mapping) or set(value) - {"unit", "container", "most", "within"}:
        wrong("restart", "a mapping {unit or container, most, within} is needed")
        return
    if bool(value.get("unit")) == bool(value.get("container")):
        wrong("restart", "exactly one of unit and container is needed")
    restart: dict[str, Any] = {key: str(value.get(key) or "") for key in ("unit", "container")}
    try:
        restart["most"] = _read_integer(COMMON["failures"], value.get("most", 3))
        restart["within"] = _read_duration(COMMON["every"], value.get("within", 3600))
    except _Bad as error:
        wrong("restart", str(error))
        return
    if restart["most"] < 1 or restart["within"] <= 0:
        wrong("restart", "most and within must be more than 0")
    spec["restart"] = restart


def _of_this_host(spec: Mapping[str, Any], kind: str) -> bool:
    """Whether an http or tcp probe asks a service on the host directly, past the network and its web server."""
    if kind not in ("http", "tcp"):
        return False
    host = str(spec.get("host") or "") if kind == "tcp" else _HOST_OF.match(str(spec.get("url") or ""))
    name = host if isinstance(host, str) else host.group(1) if host else ""
    return bool(spec.get("container")) or name in ("127.0.0.1", "localhost", "[::1]", "::1")


def _check_parents(specs: Sequence[Spec], names: Mapping[str, int], problems: list[str]) -> None:
    parents = {spec["name"]: spec.get("depends_on") or [] for spec in specs if isinstance(spec.get("name"), str)}
    for name, needed in parents.items():
        for parent in needed:
            if parent not in names:
                problems.append(f'{name}: depends_on: there is no probe "{parent}"{close_to(parent, names)}')
    done: set[str] = set()
    for start, first in parents.items():
        chain = [start]
        rest = [list(first)]
        while rest:
            if not rest[-1]:
                rest.pop()
                done.add(chain.pop())
                continue
            parent = rest[-1].pop()
            if parent in chain:
                loop = [*chain[chain.index(parent) :], parent]
                problems.append(f"{start}: depends_on: a circle, {' -> '.join(loop)}")
                return
            if parent in parents and parent not in done:
                chain.append(parent)
                rest.append(list(parents[parent]))


__all__ = [
    "LIVENESS",
    "NAME",
    "REFERENCE",
    "SpecError",
    "asked",
    "asks",
    "normalise",
    "reason_of",
    "rule",
    "rules_of",
    "unmet",
]
