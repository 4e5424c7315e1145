# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL by its own protocol, version 3: TLS, login, and all queries in one round trip."""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from contextlib import suppress
from typing import Any, Final

from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed, Spec
from ansible_collections.quai.ops.plugins.module_utils._probe_net import Connection, dial
from ansible_collections.quai.ops.plugins.module_utils._probe_sql import (
    MAX_MESSAGE,
    endpoint,
    fill,
    number,
    unencrypted,
)

PORT: Final = 5432
_PROTOCOL: Final = 196608  # 3.0
_SSL_REQUEST: Final = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
_MECHANISM: Final = "SCRAM-SHA-256"
# So many take about a second of this host, and cannot be interrupted; servers ask for 4096.
_MAX_ITERATIONS: Final = 1_000_000
_NUMBERS: Final = frozenset({20, 21, 23, 26, 700, 701, 1700})
_BOOLEAN: Final = 16
# Each by itself, so that one that is not allowed leaves the others. A user who may not see the others' sessions still
# sees that they are there, but not of what type.
_CONNECTIONS: Final = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datid IS NOT NULL AND usesysid IS NOT NULL
      AND coalesce(backend_type, 'client backend') = 'client backend'"""
_LIMITS: Final = """
    SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
      - coalesce(current_setting('reserved_connections', true)::int, 0), pg_is_in_recovery()"""
_FACTS: Final = (
    (_CONNECTIONS, ("connections",)),
    (_LIMITS, ("allowed", "in_recovery")),
    ("SELECT pg_database_size(current_database())", ("size_bytes",)),
)
_METHODS: Final = {2: "Kerberos 5", 6: "SCM credentials", 7: "GSSAPI", 8: "GSSAPI", 9: "SSPI"}
# Rows of the probe's own query that are read, and thrown away, after the one that counts.
_MAX_ROWS: Final = 1000


def check(spec: Spec, context: Context) -> None:
    """Log in and ask."""
    spec = endpoint(spec, ("postgres", "postgresql"), PORT)
    path = spec["socket"]
    if path and "/.s.PGSQL." not in path:
        path = f"{path.rstrip('/')}/.s.PGSQL.{spec['port']}"
    with dial({**spec, "socket": path}, context) as connection:
        if not path and spec["tls"] != "off":
            _start_tls(connection, spec)
        parameters = _Login(connection, spec, bool(path)).run()
        _query(connection, spec, context, parameters)


def _start_tls(connection: Connection, spec: Spec) -> None:
    def request(one: Connection) -> None:
        one.send(_SSL_REQUEST)
        answer = one.recv_exactly(1)
        if answer == b"S":
            return
        if answer == b"E":  # no process left to ask, or a server from before TLS
            one.push_back(answer)
            _Messages(one).expect(b"")
        if answer != b"N":
            raise ProbeFailed("proto", f"{one.label} answers {answer!r}, which is not the protocol of PostgreSQL")
        raise _NoTls("tls_other", f"{one.label} does not offer TLS, but tls is {spec['tls']}")

    try:
        request(connection)
    except _NoTls:
        if spec["tls"] == "prefer":
            return
        raise
    connection.start_tls(spec, spec["host"], prepare=request, verify=spec["tls"] == "verify")


class _NoTls(ProbeFailed):
    """The server does not offer TLS."""


class _Messages:
    """Messages of the server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.parameters: dict[str, str] = {}

    def read(self) -> tuple[bytes, bytes]:
        """Type and content of the next message that is about what was asked."""
        while True:
            head = self._connection.recv_exactly(5)
            kind, size = head[:1], int.from_bytes(head[1:], "big") - 4
            if not kind.isalnum() or not 0 <= size <= MAX_MESSAGE:
                text = f"{self._connection.label} answers {head!r}, which is not the protocol of PostgreSQL"
                raise ProbeFailed("proto", text)
            content = self._connection.recv_exactly(size)
            if kind == b"S":
                name, value = content.split(b"\0")[:2]
                self.parameters[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
            elif kind not in (b"N", b"A", b"K"):  # notices, notifications, the key to cancel with
                return kind, content

    def expect(self, wanted: bytes) -> bytes:
        """Content of the next message, which must be of a type. Raises ProbeFailed, also when it is an error."""
        kind, content = self.read()
        if kind == b"E":
            raise refusal(content)
        if kind != wanted:
            text = f"{self._connection.label} sends a message of the type {kind!r} in place of {wanted!r}"
            raise ProbeFailed("proto", text)
        return content


def refusal(content: bytes) -> ProbeFailed:
    """What an ErrorResponse means."""
    parts = {part[:1]: part[1:].decode("utf-8", "replace") for part in content.split(b"\0") if part}
    code, severity = parts.get(b"C", ""), parts.get(b"S", "ERROR")
    text = parts.get(b"M", "no message")[:300]
    # PgBouncer has one code for all.
    denied = code.startswith("28") or (code == "08P01" and "authentication" in text)
    reason = "auth" if denied else "timeout" if code == "57014" else "proto"
    return ProbeFailed(reason, f"{severity} {code}: {text}")


class _Login:
    """From the startup message to the point where queries are taken."""

    def __init__(self, connection: Connection, spec: Spec, local: bool) -> None:
        self._connection = connection
        self._messages = _Messages(connection)
        self._spec = spec
        self._local = local

    def run(self) -> dict[str, str]:
        """Log in; the server's parameters. Raises ProbeFailed."""
        self._connection.send(startup(self._spec["user"], self._spec["database"]))
        proof: Scram | None = None
        while True:
            content = self._messages.expect(b"R")
            method = int.from_bytes(content[:4], "big")
            if method == 0:
                if proof is not None and not proof.verified:
                    raise ProbeFailed("auth", "the server ends SCRAM without proof that it knows the password")
                break
            if method == 10:
                proof = self._begin_scram(content[4:])
            elif method in (11, 12) and proof is not None:
                if method == 11:
                    self._send(proof.final(content[4:]))
                else:
                    proof.verify(content[4:])
            else:
                self._send(self._password(method, content[4:]) + b"\0")
        self._messages.expect(b"Z")
        return self._messages.parameters

    def _send(self, content: bytes) -> None:
        self._connection.send(b"p" + (len(content) + 4).to_bytes(4, "big") + content)

    def _needed(self) -> str:
        password = self._spec["password"]
        if not password:
            raise ProbeFailed("auth", f'the server asks for a password of "{self._spec["user"]}", and none is given')
        return str(password)

    def _begin_scram(self, content: bytes) -> Scram:
        offered = [name.decode("ascii", "replace") for name in content.split(b"\0") if name]
        if _MECHANISM not in offered:
            raise ProbeFailed("auth", f"the server offers {', '.join(offered)}; this probe knows {_MECHANISM}")
        proof = Scram(self._needed())
        first = proof.first()
        self._send(_MECHANISM.encode() + b"\0" + len(first).to_bytes(4, "big") + first)
        return proof

    def _password(self, method: int, content: bytes) -> bytes:
        if method == 5:
            return md5_answer(self._spec["user"], self._needed(), content[:4])
        if method == 3:
            if not (self._local or self._connection.secure):
                raise unencrypted("PostgreSQL", "password")
            return self._needed().encode()
        name = _METHODS.get(method, f"method {method}")
        raise ProbeFailed("auth", f"the server asks for {name}; this probe knows SCRAM-SHA-256, MD5 and clear text")


def startup(user: str, database: str) -> bytes:
    """The first message of a session."""
    pairs = {"user": user, "database": database or user, "application_name": "quai", "client_encoding": "UTF8"}
    content = b"".join(f"{name}\0{value}\0".encode() for name, value in pairs.items()) + b"\0"
    return (len(content) + 8).to_bytes(4, "big") + _PROTOCOL.to_bytes(4, "big") + content


def md5_answer(user: str, password: str, salt: bytes) -> bytes:
    """What proves the password to a server that asks for MD5."""
    import hashlib

    try:
        inner = hashlib.md5((password + user).encode(), usedforsecurity=False).hexdigest()
        return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()
    except ValueError as error:
        raise OwnFault(f"the server asks for MD5, which this host does not allow: {error}") from None


class Scram:
    """The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.

    C(user) is empty for PostgreSQL, which has it from the startup message.
    """

    def __init__(self, password: str, user: str = "", nonce: str = "") -> None:
        self._password = prepared(password)
        self._nonce = nonce or _new_nonce()
        self._bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={self._nonce}"
        self._signature = b""
        self.verified = False

    def first(self) -> bytes:
        """The client-first-message."""
        return f"n,,{self._bare}".encode()

    def final(self, answer: bytes) -> bytes:
        """The client-final-message, in answer to the server-first-message. Raises ProbeFailed."""
        import hashlib
        import hmac

        given = _attributes(answer)
        nonce, iterations = given.get("r", ""), given.get("i", "")
        try:
            salt = a2b_base64(given.get("s", "").encode())
        except Base64Error:
            salt = b""
        if not nonce.startswith(self._nonce) or nonce == self._nonce or not salt or not iterations.isdigit():
            raise ProbeFailed("proto", "the server's SCRAM message is not one: its nonce, salt or count is wrong")
        if not 0 < int(iterations) <= _MAX_ITERATIONS:
            text = f"the server asks for {iterations} iterations of SCRAM; at most {_MAX_ITERATIONS} are done"
            raise ProbeFailed("proto", text)
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, int(iterations))
        key = hmac.digest(salted, b"Client Key", "sha256")
        final = f"c=biws,r={nonce}"
        signed = ",".join((self._bare, answer.decode(), final)).encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = bytes(left ^ right for left, right in zip(key, signature))
        self._signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        return f"{final},p={_base64(proof)}".encode()

    def verify(self, answer: bytes) -> None:
        """Whether the server knows the password too. Raises ProbeFailed."""
        import hmac

        given = _attributes(answer)
        if "e" in given:
            raise ProbeFailed("auth", f"the server refuses the login: {given['e'][:80]}")
        expected = _base64(self._signature).encode()
        if not self._signature or not hmac.compare_digest(given.get("v", "").encode(), expected):
            raise ProbeFailed("auth", "the server does not know the password: its SCRAM signature is wrong")
        self.verified = True


def _new_nonce() -> str:
    import os

    return _base64(os.urandom(18))


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def _attributes(message: bytes) -> dict[str, str]:
    """The letters of a SCRAM message and what they say."""
    return {part[:1]: part[2:] for part in message.decode("utf-8", "replace").split(",") if part[1:2] == "="}


def prepared(password: str) -> bytes:
    """A password as SCRAM compares it: SASLprep (RFC 4013), or as it is where that forbids it, as PostgreSQL does."""
    if password.isascii():
        return password.encode()
    import stringprep
    import unicodedata

    mapped = "".join(
        " " if stringprep.in_table_c12(one) else one for one in password if not stringprep.in_table_b1(one)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    forbidden = (
        *(stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4),
        *(stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8),
        *(stringprep.in_table_c9, stringprep.in_table_a1),
    )
    rightward = [stringprep.in_table_d1(one) for one in normal]
    mixed = any(rightward) and (any(map(stringprep.in_table_d2, normal)) or not (rightward[0] and rightward[-1]))
    if not normal or mixed or any(test(one) for one in normal for test in forbidden):
        return password.encode()
    return normal.encode()


def _query(connection: Connection, spec: Spec, context: Context, parameters: dict[str, str]) -> None:
    """Send everything together: what the fields tell, and the probe's own query."""
    own = spec["query"]
    if own.lstrip()[:6].upper() in ("SELECT", "WITH"):
        # A query that is too slow for the probe must not go on and meet the next one. Holds for this one message.
        own = f"SET LOCAL statement_timeout = {max(1, int(context.remaining() * 1000))}; {own}"
    texts = [text for text, _names in _FACTS]
    connection.send(b"".join(_message(b"Q", text.encode() + b"\0") for text in (*texts, own)))
    messages = _Messages(connection)
    facts: dict[str, Any] = {"version": parameters.get("server_version", "").partition(" ")[0] or None}
    for _text, names in _FACTS:
        row, _failed = _result(messages)
        facts.update(zip(names, row or ()))
    fill(context, "PostgreSQL", facts)
    row, failed = _result(messages)
    if failed is not None:
        raise failed
    context.found.fields["value"] = row[0] if row else None
    # Not before: PgBouncer ends the session there and then, whatever is still to be answered.
    with suppress(ProbeFailed):
        connection.send(_message(b"X", b""))


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + (len(content) + 4).to_bytes(4, "big") + content


def _result(messages: _Messages) -> tuple[list[Any] | None, ProbeFailed | None]:
    """First row of the answer to one query, and why it failed."""
    types: list[int] = []
    row: list[Any] | None = None
    failed: ProbeFailed | None = None
    rows = 0
    while rows <= _MAX_ROWS:
        kind, content = messages.read()
        if kind == b"Z":
            break
        if kind == b"T":
            types = column_types(content)
        elif kind == b"D":
            rows += 1
            row = row or row_values(content, types)
        elif kind == b"E":
            failed = refusal(content)
            if failed.message.startswith(("FATAL", "PANIC")):
                break  # nothing comes after it
        elif kind not in (b"C", b"I"):
            raise ProbeFailed("proto", f"the query makes the server send a message of the type {kind!r}")
    return row, failed


def column_types(content: bytes) -> list[int]:
    """Type of each column, from a RowDescription."""
    types = []
    at = 2
    for _column in range(int.from_bytes(content[:2], "big")):
        at = content.index(b"\0", at) + 1
        types.append(int.from_bytes(content[at + 6 : at + 10], "big"))
        at += 18
    return types


def row_values(content: bytes, types: list[int]) -> list[Any]:
    """Values of a DataRow: numbers and booleans as such, anything else as text."""
    values: list[Any] = []
    at = 2
    for column in types[: int.from_bytes(content[:2], "big")]:
        size = int.from_bytes(content[at : at + 4], "big", signed=True)
        at += 4
        if size < 0:
            values.append(None)
            continue
        text = content[at : at + size].decode("utf-8", "replace")
        at += size
        values.append(text == "t" if column == _BOOLEAN else number(text) if column in _NUMBERS else text)
    return values


__all__ = ["Scram", "check", "column_types", "md5_answer", "prepared", "refusal", "row_values", "startup"]
