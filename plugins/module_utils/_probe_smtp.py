# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mail server up to the point where it would take mail: banner, EHLO, TLS, login. No mail is sent."""

from __future__ import annotations

from typing import Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed, Spec
from ansible_collections.quai.ops.plugins.module_utils._probe_net import Connection, dial

# RFC 5321 allows 512; servers that say more in one line exist, servers that say this many lines do not.
_MAX_LINE: Final = 2048
_MAX_LINES: Final = 100


class Answer(NamedTuple):
    """A reply: its code, and the texts of its lines."""

    code: int
    lines: list[str]

    @property
    def text(self) -> str:
        """All of it in one line."""
        return f"{self.code} {' '.join(self.lines)}"[:200]


def read_answer(connection: Connection) -> Answer:
    """Read one reply. Raises ProbeFailed."""
    lines: list[str] = []
    while len(lines) < _MAX_LINES:
        line = connection.recv_line(_MAX_LINE)
        code, mark = line[:3], line[3:4]
        if not code.isdigit() or len(code) != 3 or mark not in (b"-", b" ", b""):
            text = f"{connection.label} answers {line[:60]!r}, which is not SMTP"
            raise ProbeFailed("proto", text)
        lines.append(line[4:].decode("utf-8", "replace"))
        if mark != b"-":
            return Answer(int(code), lines)
    raise ProbeFailed("proto", f"{connection.label} sends a reply of more than {_MAX_LINES} lines")


def extensions(answer: Answer) -> dict[str, list[str]]:
    """What a server offers in answer to EHLO: keywords in capitals, and what follows them."""
    offered: dict[str, list[str]] = {}
    for line in answer.lines[1:]:
        # AUTH=PLAIN is how servers of the last century write it.
        keyword, *words = line.replace("=", " ", 1).split()[:50] or [""]
        offered.setdefault(keyword.upper(), []).extend(word.upper() for word in words)
    return offered


class _Dialogue:
    """One session."""

    def __init__(self, connection: Connection, spec: Spec, context: Context) -> None:
        self._connection = connection
        self._spec = spec
        self._context = context
        self._name = own_name(spec["helo"])

    def ask(self, command: str) -> Answer:
        """Send a command and read the reply."""
        self._connection.send(f"{command}\r\n".encode())
        return read_answer(self._connection)

    def greet(self) -> dict[str, list[str]]:
        """Say EHLO; what the server offers."""
        answer = self.ask(f"EHLO {self._name}")
        self._context.found.fields["code"] = answer.code
        if answer.code != 250:
            raise ProbeFailed("status", f"EHLO {self._name} is answered with {answer.text}")
        return extensions(answer)


def own_name(wanted: str) -> str:
    """The name for EHLO: the one that is wanted, this host's when it is a full one, else an address."""
    if wanted:
        if not wanted.isprintable() or " " in wanted or not wanted.isascii():
            raise OwnFault(f"helo: {wanted!r} is no name of a host")
        return wanted
    import socket

    name = socket.gethostname()
    # Asking DNS for the full name could take longer than the probe has.
    return name if "." in name and name.isascii() else "[127.0.0.1]"


def check(spec: Spec, context: Context) -> None:
    """Ask for service as a client that has mail would."""
    fields = context.found.fields
    fields.update(starttls=False, auth=None)
    with dial(spec, context) as connection:
        if spec["tls"] == "implicit":
            connection.start_tls(spec, spec["host"])
        banner = read_answer(connection)
        if banner.code != 220:
            raise ProbeFailed("status", f"{connection.label} does not want to talk: {banner.text}")
        dialogue = _Dialogue(connection, spec, context)
        offered = dialogue.greet()
        if spec["tls"] in ("prefer", "starttls"):
            if "STARTTLS" in offered:
                _request_tls(connection)
                connection.start_tls(spec, spec["host"], prepare=_before_tls)
                offered = dialogue.greet()
            elif spec["tls"] == "starttls":
                raise ProbeFailed("tls_other", f"{connection.label} does not offer STARTTLS")
        fields["starttls"] = connection.secure
        if spec["user"]:
            fields["auth"] = False
            _log_in(dialogue, connection, spec, offered)
            fields["auth"] = True
        _leave(dialogue)
    context.found.message = f"answers EHLO{' over TLS' if connection.secure else ''}"
    if spec["user"]:
        context.found.message += f' and lets "{spec["user"]}" in'


def _request_tls(connection: Connection) -> None:
    connection.send(b"STARTTLS\r\n")
    answer = read_answer(connection)
    if answer.code != 220:
        raise ProbeFailed("tls_other", f"STARTTLS is answered with {answer.text}")


def _before_tls(connection: Connection) -> None:
    """What comes before TLS, on a connection of its own."""
    read_answer(connection)
    connection.send(f"EHLO {own_name('')}\r\n".encode())
    read_answer(connection)
    _request_tls(connection)


def _log_in(dialogue: _Dialogue, connection: Connection, spec: Spec, offered: dict[str, list[str]]) -> None:
    """Raises ProbeFailed when the server does not want the user, or only in a way that would show the password."""
    if not connection.secure and spec["tls"] != "off":
        raise ProbeFailed(
            "auth",
            f"{connection.label} does not offer TLS, and the password is not sent in clear text; tls: off allows it",
        )
    from base64 import b64encode

    ways = offered.get("AUTH", [])
    user, password = spec["user"].encode(), spec["password"].encode()
    if "PLAIN" in ways:
        answer = dialogue.ask("AUTH PLAIN " + b64encode(b"\0" + user + b"\0" + password).decode())
    elif "LOGIN" in ways:
        answer = dialogue.ask("AUTH LOGIN")
        for word in (user, password):
            if answer.code == 334:
                answer = dialogue.ask(b64encode(word).decode())
    else:
        says = f"only {', '.join(ways)}" if ways else "no way to log in"
        raise ProbeFailed("auth", f"{connection.label} offers {says}; this probe knows PLAIN and LOGIN")
    if answer.code != 235:
        raise ProbeFailed("auth", f'the login of "{spec["user"]}" is answered with {answer.code} {_safe(answer, spec)}')


def _safe(answer: Answer, spec: Spec) -> str:
    """The words of a refusal. They come after the password was sent, and some servers repeat what they did not like."""
    from base64 import b64encode

    text = " ".join(answer.lines)[:200]
    secret = spec["password"]
    plain = b64encode(f"\0{spec['user']}\0{secret}".encode()).decode()
    for word in (plain, b64encode(secret.encode()).decode(), secret):
        text = text.replace(word, "***") if word else text
    return text


def _leave(dialogue: _Dialogue) -> None:
    """Say QUIT. What is answered, or not, changes nothing any more."""
    try:
        dialogue.ask("QUIT")
    except ProbeFailed:
        return


__all__ = ["Answer", "check", "extensions", "own_name", "read_answer"]
