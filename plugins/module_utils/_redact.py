# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes secrets out of text that leaves a host: values that are known, and what looks like one.

Known values come from the caller and from the host's own files of secrets. What only looks like a secret is found by
the words beside it (C(password=), C(Authorization:)) or by its shape (keys of services, tokens, private keys).
Too much is hidden rather than too little.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

HIDDEN: Final = "***"
SHORTEST: Final = 4
# Files of secrets are small; what is larger is data.
LARGEST_FILE: Final = 256 * 1024
MOST_FILES: Final = 2000
# Values of settings that stand beside secrets, and that would blank every log.
ORDINARY: Final = frozenset(
    (
        *("true", "false", "none", "null", "yes", "no", "on", "off", "production", "development", "staging", "test"),
        *("localhost", "redis", "postgres", "postgresql", "mysql", "mariadb", "root", "admin", "default", "require"),
        *("prefer", "info", "debug", "warn", "warning", "error", "http", "https"),
    )
)

_WORDS: Final = (
    "password|passwd|passphrase|passcode|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|encryption[_-]?key"
    "|signing[_-]?key|requirepass|masterauth|redisc?li?_?auth|credential|session[_-]?id|sessid|connect\\.sid|csrf|xsrf"
    "|jwt|webhook_url|database_url|redis_url|dsn"
)
# The value after a key: quoted, quoted inside quotes, or up to the next blank or separator.
_VALUE: Final = r"""(\\*"(?:[^"\\]|\\[^"])*\\*"|\\*'(?:[^'\\]|\\[^'])*\\*'|[^\s"'&;,<>()\[\]{}\\]+)"""
_QUOTES: Final = re.compile(r"""\A(\\*["']).*?(\\*["'])\Z""", re.DOTALL)

_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
# The end of a key whose beginning was cut off.
_KEY_REST: Final = re.compile(
    r"(?:^[^\n]*[A-Za-z0-9+/=]{40,}[^\n]*\n)*[^\n]*-----END [A-Z0-9 ]*PRIVATE KEY", re.MULTILINE
)
_HEADER_NAMES: Final = (
    "authorization|proxy-authorization|x-registry-auth|set-cookie2?|cookie|x-api-key|x-auth-token|x-csrf-token"
    "|x-access-token|x-vault-token|www-authenticate"
)
# Each with words of which one must be in a line for it to be tried.
_LINES: Final = (
    # Header: the rest of a line, or a quoted text.
    (
        ("authorization", "cookie", "x-api-key", "-token", "x-registry-auth", "www-authenticate"),
        re.compile(
            rf"""(?i)((?:{_HEADER_NAMES})\\*["']?\s*[:=]\s*)(\[?\s*\\*"(?:[^"\\]|\\[^"])*\\*"|\[?\s*\\*'(?:[^'\\]|\\[^'])*\\*'|[^\r\n"']+)"""
        ),
        rf"\1{HIDDEN}",
    ),
    (
        ("bearer", "basic ", "digest "),
        re.compile(r"(?i)\b(bearer|basic|digest)\s+[A-Za-z0-9._~+/=-]{6,}"),
        rf"\1 {HIDDEN}",
    ),
    # scheme://user:password@host, and scheme://token@host.
    (("://",), re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://[^\s/?#@:\"'<>]*):[^\s/?#\"'<>]*@"), rf"\1:{HIDDEN}@"),
    (("://",), re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/?#@:\"'<>]{16,}@"), rf"\1{HIDDEN}@"),
    (("hooks.slack",), re.compile(r"(hooks\.slack\.com/(?:services|workflows|triggers)/)[^\s\"'<>]+"), rf"\1{HIDDEN}"),
    (("discord",), re.compile(r"(discord(?:app)?\.com/api/webhooks/)[^\s\"'<>]+"), rf"\1{HIDDEN}"),
    (
        ("?", "&"),
        re.compile(
            r"(?i)([?&](?:key|code|sig|signature|auth|sid|state|otp|nonce|assertion|samlresponse|x-amz-[a-z-]+)=)[^&\s\"'<>#]+"
        ),
        rf"\1{HIDDEN}",
    ),
    (
        ("--",),
        re.compile(
            r"(?i)(--?(?:[a-z0-9-]*(?:password|passwd|secret|token|api-key|passphrase|pass|auth))(?:\s+|=))(\"[^\"]*\"|'[^']*'|[^\s\"',\]]+)"
        ),
        rf"\1{HIDDEN}",
    ),
    (("redis-cli",), re.compile(r"(redis-cli\b[^\n]*?\s-a\s+)\S+"), rf"\1{HIDDEN}"),
    (("mysql", "mariadb"), re.compile(r"((?:mysql|mariadb)[a-z-]*\b[^\n]*?\s-p)[^\s-]\S*"), rf"\1{HIDDEN}"),
    (
        ("requirepass", "masterauth", "auth "),
        re.compile(r"(?i)(\b(?:requirepass|masterauth|auth)\s+)(\"[^\"]*\"|'[^']*'|\S{8,})"),
        rf"\1{HIDDEN}",
    ),
    (
        ("password", "identified by"),
        re.compile(r"(?i)(\b(?:password|identified\s+by)\s+)('(?:[^']|'')*')"),
        rf"\1{HIDDEN}",
    ),
    # By shape.
    (("eyj",), re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"), HIDDEN),
    (("akia", "asia"), re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), HIDDEN),
    (("aiza",), re.compile(r"\bAIza[0-9A-Za-z_-]{30,}"), HIDDEN),
    (("gh", "glpat-"), re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,})"), HIDDEN),
    (("xox",), re.compile(r"\bxox[abeoprs]-[0-9A-Za-z-]{8,}"), HIDDEN),
    (("_live_", "_test_"), re.compile(r"\b(?:[sr]k|whsec|pk)_(?:live|test)_[0-9A-Za-z]{10,}"), HIDDEN),
    (("whsec_",), re.compile(r"\bwhsec_[0-9A-Za-z]{10,}"), HIDDEN),
    (("sk-",), re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"), HIDDEN),
    (
        ("$2", "$6$", "$5$", "$1$", "$y$", "$argon2"),
        re.compile(r"\$(?:2[abxy]?|1|5|6|y|argon2id?)\$[^\s:\"']{10,}"),
        HIDDEN,
    ),
)
_SETTING: Final = re.compile(r"(?:export\s+)?([A-Za-z_][\w.-]*)\s*=\s*(.*)")
_NAMED: Final = re.compile(rf"(?i){_WORDS}|\bpass\b|\bauth\b|_pass\b|_auth\b")
_KEYED: Final = re.compile(rf"(?i)((?:{_WORDS})[\w.-]{{0,40}}\\*[\"']?\]?\s*(?:=>|[:=])\s*)(?:u?{_VALUE})")
_KEYED_HINTS: Final = (
    *("passw", "passph", "passc", "pwd", "secret", "token", "key", "requirepass", "masterauth", "auth", "credential"),
    *("session", "sessid", "sid", "csrf", "xsrf", "jwt", "url", "dsn"),
)


class Redactor:
    """Takes secrets out of texts. C(hits) counts what it took out."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        variants: set[str] = set()
        for value in values:
            variants |= _variants(value)
        self._values = sorted(variants, key=len, reverse=True)
        self.hits = 0

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        text = self.known(text)
        if "PRIVATE KEY" in text:
            text = self._sub(_PRIVATE_KEY, "-----PRIVATE KEY " + HIDDEN + "-----", text)
            text = self._sub(_KEY_REST, "-----PRIVATE KEY " + HIDDEN, text)
        return "\n".join(map(self._line, text.split("\n")))

    def known(self, text: str) -> str:
        """Return the text without the values that are known."""
        for value in self._values:
            if value in text:
                self.hits += text.count(value)
                text = text.replace(value, HIDDEN)
        return text

    def _line(self, line: str) -> str:
        low = line.lower()
        for hints, pattern, replacement in _LINES:
            if any(hint in low for hint in hints):
                line = self._sub(pattern, replacement, line)
        if any(hint in low for hint in _KEYED_HINTS):
            line = _KEYED.sub(self._keyed, line)
        return line

    def _sub(self, pattern: re.Pattern[str], replacement: str, text: str) -> str:
        text, count = pattern.subn(replacement, text)
        self.hits += count
        return text

    def _keyed(self, match: re.Match[str]) -> str:
        value = match.group(2)
        quotes = _QUOTES.match(value)
        bare = value.strip("\\\"'")
        if bare.lower() in ("", "null", "none", "undefined", "true", "false", HIDDEN) or bare.startswith(HIDDEN):
            return match.group(0)
        self.hits += 1
        first, last = quotes.groups() if quotes else ("", "")
        return f"{match.group(1)}{first}{HIDDEN}{last}"


def _variants(value: str) -> set[str]:
    """Return a value as it is and as addresses, JSON, shells and Basic authentication write it."""
    value = value.strip()
    found: set[str] = set()
    if len(value) < SHORTEST or value.lower() in ORDINARY:
        return found
    found |= {value, quote(value, safe=""), quote(value), quote_plus(value), quote(value, safe="%/:=&?~#+!$,;'@()*[]")}
    found |= {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    found |= {value.replace("'", "'\\''"), value.replace("$", "$$"), value.replace("%", "%%")}
    if len(value) >= 8:
        found.add(base64.b64encode(value.encode()).decode().rstrip("="))
    if "\n" in value:
        found |= {line.strip() for line in value.splitlines() if len(line.strip()) >= 16 and "-----" not in line}
    password = _password(value)
    if password:
        found |= _variants(password) | _variants(unquote(password))
    return found


def _password(value: str) -> str:
    if "://" not in value or "\n" in value:
        return ""
    try:
        return urlsplit(value).password or ""
    except ValueError:
        return ""


def flat(value: Any) -> Iterator[str]:
    """Yield every text and number in a JSON value."""
    if isinstance(value, Mapping):
        for one in value.values():
            yield from flat(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from flat(one)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def values_of(content: str, *, everything: bool) -> Iterator[str]:
    """Yield what is secret in a file that only its owner may read.

    With C(everything), for a file of secrets and nothing else: all values of JSON and of NAME=VALUE lines, all that is
    quoted, a single line as a whole. Otherwise only what is named like a secret, because the rest are settings.
    """
    text = content.strip()
    if text.startswith(("{", "[")):
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if document is not None:
            for value in flat(document) if everything else _named(document):
                yield value
                yield from _decoded(value)
            return
    if "PRIVATE KEY" in text:
        yield text
        return
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("#", ";"))]
    if everything and len(lines) == 1 and not _SETTING.match(lines[0]):
        yield lines[0]
    for line in lines:
        setting = _SETTING.match(line)
        named = _NAMED.search(line) is not None
        if setting is not None:
            value = setting.group(2).strip().strip("\"'")
            if everything or named or _random(value):
                yield value
        elif everything or named:
            # A program's own configuration: what is quoted in it, and the last word of a line that names a secret.
            yield from (quoted for quoted in re.findall(r"""["']([^"']{6,})["']""", line))
            if named:
                yield line.split()[-1].strip("\"';,")
        if re.fullmatch(r"[\w.@-]+:\S+", line):  # a file of logins
            yield line.partition(":")[2]


def _named(value: Any, name: str = "") -> Iterator[str]:
    """Yield the texts of a JSON value whose names say that they are secret."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _named(one, str(key))
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _named(one, name)
    elif isinstance(value, str) and (_NAMED.search(name) or _password(value)):
        yield value


def _random(value: str) -> bool:
    return len(value) >= 16 and re.search("[0-9]", value) is not None and re.fullmatch(r"[\w+/=.-]+", value) is not None


def _decoded(value: str) -> Iterator[str]:
    """Yield the password of a base64 C(user:password), as C(config.json) of Docker has it."""
    if len(value) < 8 or not re.fullmatch(r"[A-Za-z0-9+/]+=*", value):
        return
    try:
        text = base64.b64decode(value + "=" * (-len(value) % 4)).decode("utf-8")
    except ValueError:
        return
    if ":" in text and text.isprintable():
        yield text.partition(":")[2]


def looks_secret(name: str) -> bool:
    """Whether a name says that its value is secret."""
    return _NAMED.search(name) is not None


def secret_files(directory: Path) -> Iterator[Path]:
    """Yield the files below a directory that only their owner may read, or that lie in a directory named so."""
    seen = 0
    for place, directories, names in os.walk(directory):
        directories.sort()
        for name in sorted(names):
            path = Path(place) / name
            seen += 1
            if seen > MOST_FILES:
                return
            try:
                info = path.stat()
            except OSError:
                continue
            private = not info.st_mode & 0o077 or "secrets" in path.parts or name.endswith(".env")
            if stat.S_ISREG(info.st_mode) and private and info.st_size <= LARGEST_FILE:
                yield path


def known(directories: Iterable[Path]) -> tuple[set[str], list[str]]:
    """Return the values of every file of secrets below some directories, and the files that could not be read."""
    values: set[str] = set()
    unread = []
    for directory in directories:
        for path in secret_files(directory):
            try:
                content = path.read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                unread.append(f"{path}: {error.strerror}")
                continue
            everything = path.name == "secrets.json" or "secrets" in path.parts or path.suffix == ".env"
            values.update(values_of(content, everything=everything))
    return values, unread


__all__ = ["HIDDEN", "ORDINARY", "Redactor", "flat", "known", "looks_secret", "secret_files", "values_of"]
