# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections of probes: one address, one try, and no step that outlives the probe's time.

C(dial) opens a connection, C(Connection) reads and writes it, in the clear or in TLS. Whatever goes wrong is raised as
ProbeFailed with its reason, or as OwnFault when this machine could not even try.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Mapping
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, Callable, Final

from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed

if TYPE_CHECKING:
    import ssl

DOCKER_SOCKET: Final = "/var/run/docker.sock"
_CHUNK: Final = 65536
# A deadline may be missed by this much, in seconds.
_SLACK: Final = 0.02
# What an errno says when it is the other side's doing.
_REFUSED: Final = {
    errno.ECONNREFUSED: "refused the connection",
    errno.EHOSTUNREACH: "cannot be reached: no route to the host",
    errno.ENETUNREACH: "cannot be reached: no route to its network",
    errno.EHOSTDOWN: "is down",
    errno.ENOENT: "does not exist",
}
_FAMILIES: Final = {"4": socket.AF_INET, "6": socket.AF_INET6, "any": socket.AF_UNSPEC}
# What it says when it is this machine's: no descriptors, ports, permission or IPv6.
_OWN_CODES: Final = frozenset(
    {
        *(errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.ENOBUFS, errno.ENOMEM),
        *(errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT),
    }
)

Address = tuple[int, Any]  # family, and what connect() takes


class _Lookup:
    """One name being resolved, in a daemon thread that may never come back."""

    __slots__ = ("address", "done", "error")

    def __init__(self) -> None:
        self.done = Event()
        self.address: tuple[int, str] | None = None
        self.error = ""


_lookups: dict[tuple[str, str], _Lookup] = {}
_containers: dict[tuple[str, str], str] = {}
_lock: Final = Lock()


def forget() -> None:
    """Forget the names that were resolved: a new run begins."""
    with _lock:
        _lookups.clear()
        _containers.clear()


def literal_family(host: str) -> int | None:
    """AF_INET or AF_INET6 when the host is an address, None when it is a name."""
    if ":" in host:
        return socket.AF_INET6
    if host[-1:].isdigit():
        try:
            socket.inet_pton(socket.AF_INET, host)
        except OSError:
            return None
        return socket.AF_INET
    return None


def resolve(host: str, context: Context, family: str = "any") -> tuple[int, str]:
    """Family and address of a host; the first one only. Raises ProbeFailed with the reason dns."""
    literal = literal_family(host)
    if literal is not None:
        if family != "any" and literal != _FAMILIES[family]:
            raise ProbeFailed("dns", f"{host} is no IPv{family} address")
        return literal, host
    key = (host, family)
    began = context.clock()
    with _lock:
        lookup = _lookups.get(key)
        if lookup is None:
            lookup = _lookups[key] = _Lookup()
            Thread(target=_look_up, args=(lookup, host, family), name="resolver", daemon=True).start()
    if not lookup.done.wait(context.remaining()):
        raise ProbeFailed("dns", f"{host} was not resolved within {context.timeout:g} s")
    phases = context.found.phases
    phases["resolve"] = phases.get("resolve", 0.0) + context.clock() - began
    if lookup.address is None:
        raise ProbeFailed("dns", f"{host} cannot be resolved: {lookup.error}")
    return lookup.address


def _look_up(lookup: _Lookup, host: str, family: str) -> None:
    try:
        found = socket.getaddrinfo(host, None, _FAMILIES[family], socket.SOCK_STREAM)
        if host == "localhost":  # most of what listens there has IPv4 only
            found.sort(key=lambda one: one[0] != socket.AF_INET)
        lookup.address = (int(found[0][0]), str(found[0][4][0]))
    except (OSError, ValueError, IndexError) as error:  # ValueError: a label that is empty or too long, a NUL
        lookup.error = getattr(error, "strerror", None) or str(error)
        with _lock:  # a further try asks again
            if _lookups.get((host, family)) is lookup:
                del _lookups[host, family]
    finally:
        lookup.done.set()


def split_host(text: str, port: int) -> tuple[str, int]:
    """Read HOST, HOST:PORT, [IPv6] or [IPv6]:PORT. Raises OwnFault."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise OwnFault(f'"{text}" is no HOST or HOST:PORT')
        number = rest[1:]
    elif text.count(":") > 1:
        host, number = text, ""
    else:
        host, _colon, number = text.partition(":")
    if number and not (number.isascii() and number.isdigit() and 0 < int(number) < 65536):
        raise OwnFault(f'"{text}": "{number}" is no port')
    return host, int(number) if number else port


def dial(
    spec: Mapping[str, Any],
    context: Context,
    *,
    host: str = "",
    port: int = 0,
    path: str = "",
) -> Connection:
    """Connect to C(path), a Unix socket, or to C(host) and C(port), and return the connection, in the clear.

    What is not given is the spec's own C(socket), C(host), C(port), the address of its C(container) or its
    C(connect_to). The time of each step goes to C(context.found.phases), the address to C(context.found.ip).
    """
    path = path or ("" if host else spec.get("socket") or "")
    if path:
        return Connection(context, (socket.AF_UNIX, path), path)
    host = host or spec.get("host") or ""
    port = port or spec.get("port") or 0
    label = f"{host}:{port}"
    if spec.get("connect_to"):
        host, port = split_host(spec["connect_to"], port)
        label = f"{host}:{port}"
    elif spec.get("container"):
        label = f"{spec['container']}:{port}"
        host = container_address(spec["container"], context, spec.get("docker") or DOCKER_SOCKET)
    family, address = resolve(host, context, spec.get("ip_family") or "any")
    context.found.ip = address
    return Connection(context, (family, (address, port)), label)


def container_address(name: str, context: Context, docker: str = DOCKER_SOCKET) -> str:
    """Address of a running container in the first of its networks. Raises ProbeFailed or OwnFault."""
    key = (docker, name)
    known = _containers.get(key)
    if known is not None:
        return known
    from ansible_collections.quai.ops.plugins.module_utils._probe_docker import Engine

    facts = Engine(context.remaining, docker).container(name)
    try:
        running = facts["State"]["Running"]
        networks = facts["NetworkSettings"]["Networks"] or {}
        addresses = [one.get("IPAddress") or one.get("GlobalIPv6Address") for one in networks.values()]
    except (KeyError, TypeError, AttributeError):
        raise OwnFault(f"{docker}: the facts of the container {name} cannot be read") from None
    if not running:
        raise ProbeFailed("missing", f"the container {name} does not run: {facts['State'].get('Status', 'stopped')}")
    address = "127.0.0.1" if "host" in networks else next((one for one in addresses if one), "")
    if not address:
        raise ProbeFailed("missing", f"the container {name} is in no network")
    _containers[key] = address
    return address


class Connection:
    """A connection whose every step ends with the time of the probe. Use it in a C(with) statement."""

    def __init__(self, context: Context, address: Address, label: str) -> None:
        began = context.clock()
        try:
            ours = socket.socket(address[0], socket.SOCK_STREAM)
        except OSError as error:
            raise OwnFault(f"no socket: {error}") from None
        self._begin(ours, context, address, label)
        try:
            self._limit = context.remaining()
            ours.settimeout(self._limit)
            ours.connect(address[1])
        except OSError as error:
            ours.close()
            raise self._failure(error, "connect") from None
        except BaseException:
            ours.close()
            raise
        self._add("connect", began)

    def _begin(self, ours: socket.socket, context: Context, address: Address, label: str) -> None:
        self.context = context
        self.label = label
        self.used = False  # whether anything was said
        self.secure = False
        self._socket = ours
        self._address = address
        self._buffer = b""
        self._limit = float("inf")  # the time-out that the socket has, in seconds

    @classmethod
    def over(cls, ours: socket.socket, context: Context, label: str) -> Connection:
        """A connection over a socket that is connected already."""
        connection = cls.__new__(cls)
        connection._begin(ours, context, (int(ours.family), ours.getpeername()), label)
        return connection

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; nothing is said to the other side."""
        self._socket.close()

    def _add(self, phase: str, began: float) -> None:
        phases = self.context.found.phases
        phases[phase] = phases.get(phase, 0.0) + self.context.clock() - began

    def _failure(self, error: OSError, doing: str) -> Exception:
        """What an error of the system means."""
        if isinstance(error, (socket.timeout, TimeoutError)):
            return ProbeFailed("timeout", f"{self.label}: no answer within {self.context.timeout:g} s ({doing})")
        if isinstance(error, (ConnectionResetError, BrokenPipeError, ConnectionAbortedError)):
            return ProbeFailed("reset", f"{self.label} broke the connection off ({doing})")
        if "ssl" in sys.modules and isinstance(error, sys.modules["ssl"].SSLError):  # its errno is no errno
            return ProbeFailed("tls_other", f"{self.label}: {_tls_words(error)}")
        if error.errno in _REFUSED:
            return ProbeFailed("refused", f"{self.label} {_REFUSED[error.errno]}")
        if error.errno in _OWN_CODES or self._address[0] == socket.AF_UNIX:
            return OwnFault(f"{self.label}: {error}")
        return ProbeFailed("refused" if doing == "connect" else "reset", f"{self.label}: {error}")

    def _arm(self) -> None:
        """Give the next call the time that is left. Setting it is a system call, so small changes are let go."""
        left = self.context.remaining()
        if self._limit - left > _SLACK:
            self._limit = left
            self._socket.settimeout(left)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.used = True
        try:
            self._arm()
            self._socket.sendall(data)
        except OSError as error:
            raise self._failure(error, "send") from None

    def _read(self) -> bytes:
        self.used = True
        try:
            self._arm()
            return self._socket.recv(_CHUNK)
        except OSError as error:
            raise self._failure(error, "receive") from None

    def recv_some(self) -> bytes:
        """Return what has come, at least a byte; empty when the other side has closed."""
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return data
        return self._read()

    def recv_exactly(self, size: int) -> bytes:
        """Return C(size) bytes."""
        if len(self._buffer) < size:
            parts = [self._buffer]
            have = len(self._buffer)
            while have < size:
                data = self._read()
                if not data:
                    raise ProbeFailed("reset", f"{self.label} closed the connection after {have} of {size} bytes")
                parts.append(data)
                have += len(data)
            self._buffer = b"".join(parts)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def recv_line(self, limit: int = 8192) -> bytes:
        """Return a line without its end, LF or CR LF. A line longer than C(limit) bytes is a fault of the protocol."""
        while True:
            end = self._buffer.find(b"\n", 0, limit + 2)
            if end >= 0:
                line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
                return line[:-1] if line.endswith(b"\r") else line
            if len(self._buffer) > limit:
                raise ProbeFailed("proto", f"{self.label} sent a line of more than {limit} bytes")
            data = self._read()
            if not data:
                raise ProbeFailed("reset", f"{self.label} closed the connection in the middle of a line")
            self._buffer += data

    def recv_text_line(self, limit: int = 8192) -> str:
        """Return a line as text, or what came of it before C(limit) or the end of the connection."""
        while b"\n" not in self._buffer and len(self._buffer) < limit:
            data = self._read()
            if not data:
                break
            self._buffer += data
        line, _newline, self._buffer = self._buffer.partition(b"\n")
        return line[:limit].rstrip(b"\r").decode("utf-8", "replace")

    def push_back(self, data: bytes) -> None:
        """Give back what was read too far."""
        self._buffer = data + self._buffer

    def start_tls(
        self,
        spec: Mapping[str, Any],
        server_name: str,
        prepare: Callable[[Connection], None] | None = None,
        verify: bool | None = None,
    ) -> None:
        """Go over to TLS, and write what the certificate says to C(context.found.tls) and its fields.

        C(server_name) is the name to ask for and to verify, unless the spec has C(sni). C(verify) comes before the
        spec's. When the certificate is bad, its dates are got over a second connection, on which C(prepare) must say
        what the protocol has before TLS; without it there are no dates when something was said already.
        """
        from ansible_collections.quai.ops.plugins.module_utils import _probe_tls

        begin: Callable[..., None] = _probe_tls.start
        begin(self, spec, server_name, prepare, verify)

    def again(self) -> Connection:
        """A second connection to the same address, in the clear."""
        return Connection(self.context, self._address, self.label)

    def wrap(self, tls: ssl.SSLContext, name: str) -> None:
        """Shake hands with this TLS context. C(ssl.SSLCertVerificationError) comes through as it is."""
        import ssl as ssl_module

        if self._buffer:
            raise ProbeFailed("proto", f"{self.label} said something in the clear after it agreed on TLS")
        context = self.context
        began = context.clock()
        try:
            self._arm()
            self._socket = tls.wrap_socket(self._socket, server_hostname=name or None)
        except ssl_module.SSLCertVerificationError:
            raise
        except OSError as error:
            raise self._failure(error, "TLS") from None
        except ValueError as error:  # a name that IDNA refuses
            raise ProbeFailed("tls_host", f"{name!r} is no name for a certificate: {error}") from None
        self.secure = True
        self._add("tls", began)

    def peer(self) -> tuple[bytes | None, list[bytes] | None, str]:
        """The certificate of the other side, its verified chain (leaf first; None when unknown), the version of TLS."""
        tls: Any = self._socket
        return tls.getpeercert(True), _verified_chain(tls), tls.version() or ""

    def tls_info(self) -> dict[str, Any]:
        """What is known of its certificate: days, not_after, chain_days, issuer, version, verify_code."""
        return self.context.found.tls


def _verified_chain(tls: Any) -> list[bytes] | None:
    """Public from Python 3.13, there under another name from 3.10."""
    public = getattr(tls, "get_verified_chain", None)
    if public is not None:
        return list(public())
    private = getattr(tls._sslobj, "get_verified_chain", None)
    if private is None:
        return None
    chain = private()
    return [one.public_bytes(2) for one in chain] if chain else None  # 2 is ENCODING_DER


def _tls_words(error: OSError) -> str:
    reason = getattr(error, "reason", "") or str(error)
    return str(reason).replace("_", " ").lower()


__all__ = ["Connection", "container_address", "dial", "forget", "literal_family", "resolve", "split_host"]
