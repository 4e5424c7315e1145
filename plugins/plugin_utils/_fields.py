# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words in which a declaration is described: a field, and the formats a text may have.

A description made of these is the one source of validation, defaults, JSON Schema and reference page.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final


class _Missing:
    """Tells "no default" from a default of null."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()

# A secret stands in a text as ${NAME}; $${NAME} is the text ${NAME} itself.
PLACEHOLDER = re.compile(r"(?<!\$)\$\{([A-Z][A-Z0-9_]*)\}")


@dataclass(frozen=True)
class Format:
    """What a text must look like: C(words) completes "must be ..."."""

    words: str
    pattern: str
    example: str
    check: Callable[[str], str] | None = None  # what a pattern cannot say: returns a complaint or ""

    def complaint(self, text: str) -> str:
        """Return what is wrong with the text, or an empty string."""
        if not re.fullmatch(self.pattern, text):
            return f"must be {self.words}"
        return self.check(text) if self.check else ""


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as problem:
        return f"must be an address or network such as 192.0.2.0/24 ({problem})"
    return ""


def _image(text: str) -> str:
    if text.endswith(":latest"):
        return "must name a version: latest is another image every day"
    return ""


_CALENDAR_RANGES = {"month": (1, 12), "day": (1, 31), "hour": (0, 23), "minute": (0, 59), "second": (0, 59)}
_CALENDAR_WORDS = ("minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "semiannually", "yearly")
_WEEKDAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_PART = r"(?:\*|\d{1,4}(?:\.\.\d{1,4})?)(?:/\d{1,4})?(?:,(?:\*|\d{1,4}(?:\.\.\d{1,4})?)(?:/\d{1,4})?)*"
_CALENDAR = re.compile(
    rf"(?:(?:{_WEEKDAY}(?:\.\.{_WEEKDAY})?)(?:,{_WEEKDAY}(?:\.\.{_WEEKDAY})?)*(?: |$))?"
    rf"(?:(?:{_PART}-)?(?P<month>{_PART})-(?P<day>{_PART})(?: |$))?"
    rf"(?:(?P<hour>{_PART}):(?P<minute>{_PART})(?::(?P<second>{_PART}))?)?"
)
_CRON = re.compile(r"[\d*/,-]+( [\d*/,A-Za-z-]+){4}")
_SCHEDULE_WORDS = "a time as systemd's OnCalendar writes it, such as *-*-* 02:00:00, Sun *-*-* 02:00:00 or hourly"


def _schedule(text: str) -> str:
    if text in _CALENDAR_WORDS:
        return ""
    if _CRON.fullmatch(text):
        return f"must be {_SCHEDULE_WORDS}; this is cron's way of writing{_from_cron(text)}"
    match = _CALENDAR.fullmatch(text)
    if not match or not text.strip():
        return f"must be {_SCHEDULE_WORDS}"
    for name, (low, high) in _CALENDAR_RANGES.items():
        for number in re.findall(r"(?<!/)\b\d+", match.group(name) or ""):
            if not low <= int(number) <= high:
                return f"must be {_SCHEDULE_WORDS}; {name} {number} does not exist"
    return ""


def _from_cron(text: str) -> str:
    """Translate the simple cron entries, which are nearly all of them."""
    minute, hour, day, month, weekday = text.split(" ")
    if not (minute.isdigit() and hour.isdigit() and month == "*"):
        return ""
    days = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    prefix = f"{days[int(weekday)]} " if weekday.isdigit() and int(weekday) < len(days) else ""
    if weekday != "*" and not prefix:
        return ""
    return f", write {prefix}*-*-{day.zfill(2) if day.isdigit() else '*'} {int(hour):02}:{int(minute):02}:00"


_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])"

FORMATS: Final[Mapping[str, Format]] = {
    "text": Format("text", r"[\s\S]*", "any text"),
    "line": Format("text on one line", r"[^\r\n]+", "one line of text"),
    "name": Format(
        "a name of lower-case letters, digits and dashes that starts with a letter, 32 characters at most",
        r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?",
        "workflow-api",
    ),
    "key": Format(
        "a name of lower-case letters, digits, dashes and underscores that starts with a letter",
        r"[a-z][a-z0-9_-]{0,62}",
        "redis_data",
    ),
    "variable": Format("a variable name such as LOG_LEVEL", r"[A-Za-z_][A-Za-z0-9_]*", "LOG_LEVEL"),
    "secret": Format("a secret's name in capitals such as JWT_SECRET", r"[A-Z][A-Z0-9_]*", "JWT_SECRET"),
    "domain": Format("a domain name in lower case such as api.example.com", rf"(?:\*\.)?{_HOST}", "api.example.com"),
    "origin": Format(
        "an origin such as https://app.example.com, without a path",
        rf"https?://(?:localhost|{_HOST})(?::[0-9]+)?",
        "https://app.example.com",
    ),
    "url": Format("an address that starts with http:// or https://", r"https?://[^\s]+", "https://example.com/health"),
    "urlpath": Format("a path that starts with /, without blanks, quotes, braces or ;", r"/[^\s;{}\"'\\]*", "/health"),
    "email": Format("a mail address", r"[^@\s]+@[^@\s]+\.[^@\s]+", "ops@example.com"),
    "duration": Format("a duration such as 30s, 10m, 1h or 7d", r"0s|[1-9][0-9]*(?:ms|s|m|h|d)", "30s"),
    "size": Format("a size such as 512k, 10m or 5g", r"[1-9][0-9]*[kmg]", "10m"),
    "amount": Format('a number or a share in quotes such as "5000" or "20%"', r"[1-9][0-9]*%?", "20%"),
    "rate": Format("a rate such as 10r/s or 100r/m", r"[1-9][0-9]*r/[sm]", "10r/s"),
    "network": Format(
        "an address or network such as 192.0.2.0/24", r"[0-9a-fA-F.:]+(?:/[0-9]+)?", "192.0.2.0/24", _network
    ),
    "absolute": Format("an absolute path such as /app/uploads", r"/(?!.*(?:^|/)\.\.(?:/|$))[^\s:]*", "/app/uploads"),
    "relative": Format(
        "a path inside the release that neither starts with / nor climbs with ..",
        r"(?!/)(?!.*(?:^|/)\.\.(?:/|$))[^\s]+",
        "backend/media",
    ),
    "path": Format("a path without spaces or ..", r"(?!.*(?:^|/)\.\.(?:/|$))[^\s]+", "/var/log/app/*.log"),
    "image": Format(
        "an image such as redis:7-alpine, or masstock/backend for an own image that gets the release's version",
        r"[a-z0-9]+(?:[._-][a-z0-9]+)*(?::[0-9]+(?=/))?(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*"
        r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
        "redis:7-alpine",
        _image,
    ),
    "user": Format(
        "a user name or uid, with :group if wanted", r"[a-z0-9_][a-z0-9_-]*(?::[a-z0-9_][a-z0-9_-]*)?", "nodejs"
    ),
    "mode": Format('a file mode in quotes such as "0644"', r"0[0-7]{3}", "0644"),
    "schedule": Format(_SCHEDULE_WORDS, r"[^\r\n]+", "*-*-* 02:00:00", _schedule),
    "version": Format("a version such as 20.10", r"[0-9]+(?:\.[0-9]+)*", "20.10"),
    "cpus": Format('a number of processors in quotes such as "0.5"', r"[0-9]+(?:\.[0-9]+)?", "0.5"),
}


@dataclass(frozen=True)
class Field:
    """One field of the declaration. Made by the helpers below, never changed."""

    kind: str  # object mapping list text integer number boolean choice scalar any
    description: str
    required: bool = False
    default: Any = MISSING
    format: str = ""
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    choices: tuple[str, ...] = ()
    example: Any = MISSING
    source: str = ""  # the row of the requirements that the field or its figure comes from
    refers_to: str = ""  # the section of the declaration whose names are allowed here
    takes_secrets: bool = False  # ${NAME} stands for a secret's value
    nullable: bool = False
    when: tuple[str, tuple[str, ...]] | None = None  # only beside a sibling of one of these values
    fields: Mapping[str, Field] = field(default_factory=dict)
    exactly_one: tuple[tuple[str, ...], ...] = ()
    at_most_one: tuple[tuple[str, ...], ...] = ()
    at_least_one: tuple[tuple[str, ...], ...] = ()
    keys: Field | None = None
    item: Field | None = None
    min_items: int = 0

    @property
    def words(self) -> str:
        """Return what the value must be, to complete "must be ..."."""
        text = self._words()
        return f"{text} or null" if self.nullable else text

    def _words(self) -> str:
        if self.kind == "text":
            return FORMATS[self.format].words
        if self.kind in ("integer", "number"):
            return ("a whole number" if self.kind == "integer" else "a number") + self._range()
        if self.kind == "choice":
            return f"one of {', '.join(self.choices)}"
        if self.kind == "list":
            return "a list with at least one item" if self.min_items else "a list"
        return {
            "object": "a mapping of fields",
            "mapping": "a mapping of names",
            "boolean": "true or false",
            "scalar": "text, a number, true or false",
            "any": "a mapping",
        }[self.kind]

    def _range(self) -> str:
        low, high = self.minimum, self.maximum
        if low is not None and high is not None:
            return f" from {low:g} to {high:g}"
        if low is not None:
            return f" of at least {low:g}"
        return f" of at most {high:g}" if high is not None else ""


def obj(description: str, fields: Mapping[str, Field], **more: Any) -> Field:
    """Describe a mapping whose keys are known; every other key is a mistake."""
    return Field("object", description, fields=fields, **more)


def mapping(description: str, item: Field, *, key: Field | None = None, **more: Any) -> Field:
    """Describe a mapping from names that the author chooses."""
    if not more.get("required"):
        more.setdefault("default", {})
    return Field("mapping", description, keys=key or text("Its name.", format="key"), item=item, **more)


def listing(description: str, item: Field, **more: Any) -> Field:
    """Describe a list; empty when not given."""
    if not more.get("required"):
        more.setdefault("default", [])
    return Field("list", description, item=item, **more)


def text(description: str, *, format: str = "line", **more: Any) -> Field:
    """Describe a text of a named format."""
    return Field("text", description, format=format, **more)


def integer(description: str, minimum: int | None = None, maximum: int | None = None, **more: Any) -> Field:
    """Describe a whole number."""
    return Field("integer", description, minimum=minimum, maximum=maximum, **more)


def number(description: str, minimum: float | None = None, maximum: float | None = None, **more: Any) -> Field:
    """Describe any number."""
    return Field("number", description, minimum=minimum, maximum=maximum, **more)


def boolean(description: str, default: bool, **more: Any) -> Field:
    """Describe a switch; it always has a default."""
    return Field("boolean", description, default=default, **more)


def choice(description: str, *choices: str, **more: Any) -> Field:
    """Describe one of a few words."""
    return Field("choice", description, choices=choices, **more)


def scalar(description: str, **more: Any) -> Field:
    """Describe a value that ends as text: text, number or switch."""
    return Field("scalar", description, **more)


def anything(description: str, **more: Any) -> Field:
    """Describe a mapping that is checked elsewhere."""
    return Field("any", description, **more)


def port(description: str, **more: Any) -> Field:
    """Describe a TCP or UDP port."""
    return integer(description, 1, 65535, **more)


def duration(description: str, **more: Any) -> Field:
    """Describe a length of time."""
    return text(description, format="duration", **more)


def size(description: str, **more: Any) -> Field:
    """Describe an amount of bytes."""
    return text(description, format="size", **more)


def schedule(description: str, **more: Any) -> Field:
    """Describe when something runs."""
    return text(description, format="schedule", **more)


def ref(section: str, description: str, **more: Any) -> Field:
    """Describe the name of something that another section of the declaration describes."""
    formats = {"secrets": "secret", "services": "name"}
    return text(description, format=formats.get(section, "key"), refers_to=section, **more)


def required(thing: Field) -> Field:
    """Make a field one that has to be given."""
    return replace(thing, required=True, default=MISSING)


def only_for(sibling: str, *values: str, **fields: Field) -> dict[str, Field]:
    """Say that these fields make sense only beside a sibling of one of the values."""
    return {name: replace(item, when=(sibling, values)) for name, item in fields.items()}
