# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that behave as bad as real ones do, and certificates that are wrong in one way each.

In tests: C(with Server(hang_every(50)) as server: … server.url …). As a program, for what must not share a process:
C(servers.py --delay 0.05 | --hang-every 50 | --drip | --chunk-split TEXT | --ok-then-503 2) prints its port.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

# What a server does with a connection: the connection, its number from 1, what was asked (up to the empty line).
Behaviour = Callable[[socket.socket, int, bytes], None]
BODY = b'{"status":"ok"}'


def answer(body: bytes = BODY, status: str = "200 OK", headers: str = "", length: bool = True) -> bytes:
    """A whole answer of HTTP/1.1."""
    size = f"Content-Length: {len(body)}\r\n" if length else ""
    return f"HTTP/1.1 {status}\r\n{size}Connection: close\r\n{headers}\r\n".encode() + body


class Server:
    """Listens on a free port of 127.0.0.1 until the end of the C(with). Keeps what it was asked in C(requests)."""

    def __init__(self, behaviour: Behaviour, tls: ssl.SSLContext | None = None, port: int = 0, path: str = "") -> None:
        self._behaviour = behaviour
        self._tls = tls
        self._path = path
        self._numbers = itertools.count(1)
        self.requests: list[bytes] = []
        self.closing = threading.Event()
        if path:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
        else:
            self._listener = socket.socket()
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(("127.0.0.1", port))
        self._listener.listen(512)
        self.port: int = 0 if path else self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """Its address."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/"

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def serve(self) -> None:
        """Accept until it is closed."""
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection, next(self._numbers)), daemon=True).start()

    def _one(self, connection: socket.socket, number: int) -> None:
        # A client that goes away is what many of these tests are about.
        with contextlib.suppress(OSError), connection:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                asked = b""
                if not getattr(self._behaviour, "speaks_first", False):
                    while b"\r\n\r\n" not in asked:
                        data = connection.recv(65536)
                        if not data:
                            return
                        asked += data
                    length = asked.lower().partition(b"content-length:")[2].partition(b"\r\n")[0].strip()
                    head, _empty, body = asked.partition(b"\r\n\r\n")
                    while length and len(body) < int(length):
                        body += connection.recv(65536)
                    asked = head + b"\r\n\r\n" + body
                    self.requests.append(asked)
                self._behaviour(connection, number, asked)


def fixed(data: bytes) -> Behaviour:
    """Always the same answer."""
    return lambda connection, _number, _asked: connection.sendall(data)


def by_path(answers: dict[str, bytes]) -> Behaviour:
    """An answer for each path; 404 for the others."""

    def behave(connection: socket.socket, _number: int, asked: bytes) -> None:
        path = asked.split(b" ", 2)[1].decode()
        connection.sendall(answers.get(path, answer(b"", "404 Not Found")))

    return behave


def greeting(data: bytes) -> Behaviour:
    """Speaks first, as mail servers do."""

    def behave(connection: socket.socket, _number: int, _asked: bytes) -> None:
        connection.sendall(data)

    behave.speaks_first = True  # type: ignore[attr-defined]
    return behave


def delay(seconds: float) -> Behaviour:
    """Answers late."""

    def behave(connection: socket.socket, _number: int, _asked: bytes) -> None:
        threading.Event().wait(seconds)
        connection.sendall(answer())

    return behave


def hang(connection: socket.socket, _number: int = 0, _asked: bytes = b"") -> None:
    """Never answers; ends when the client does."""
    while connection.recv(65536):
        pass


def hang_every(every: int) -> Behaviour:
    """Each C(every)-th connection is never answered, the others at once."""

    def behave(connection: socket.socket, number: int, asked: bytes) -> None:
        if number % every == 0:
            hang(connection)
        else:
            connection.sendall(answer())

    return behave


def drip(pause: float = 0.5) -> Behaviour:
    """A byte now and then, so that no single read is slow."""

    def behave(connection: socket.socket, _number: int, _asked: bytes) -> None:
        for byte in answer():
            connection.sendall(bytes([byte]))
            threading.Event().wait(pause)

    return behave


def chunk_split(text: str) -> Behaviour:
    """Chunks whose borders cut C(text) in two."""

    def behave(connection: socket.socket, _number: int, _asked: bytes) -> None:
        middle = len(text) // 2
        parts = [b"# first\n" + text[:middle].encode(), text[middle:].encode(), b"\n# last\n"]
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")

    return behave


def ok_then_503(good: int) -> Behaviour:
    """Good for the first C(good) connections, then overloaded for ever."""

    def behave(connection: socket.socket, number: int, _asked: bytes) -> None:
        connection.sendall(answer() if number <= good else answer(b"", "503 Service Unavailable"))

    return behave


class Certificates(NamedTuple):
    """Where certificates and keys lie. All are for the name C(good.test) but that of C(wrong)."""

    authority: Path
    directory: Path

    def context(self, name: str) -> ssl.SSLContext:
        """A server's context with the certificate C(name)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / f"{name}.pem")
        return context


def tlsset(directory: Path, now: float) -> Certificates:
    """Make an authority, an intermediate one, and certificates: good, expired, wrong (name), nochain, shortint.

    The authority lacks what RFC 5280 asks for (an authority key identifier and a key usage), as private ones often do.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    moment = datetime.datetime.fromtimestamp(now, datetime.timezone.utc)
    pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]

    def make(name: str, days: float, issuer: pair | None, hosts: tuple[str, ...] = ()) -> pair:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer[0].subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - datetime.timedelta(days=400))
            .not_valid_after(moment + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in hosts]), False)
        return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key

    root = make("Test root", 30, None)  # ends first, which must not matter
    intermediate = make("Test intermediate", 1000, root)
    short = make("Test short intermediate", 5, root)

    def write(name: str, leaf: pair, *chain: pair) -> None:
        key = leaf[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        certificates = b"".join(one[0].public_bytes(Encoding.PEM) for one in (leaf, *chain))
        (directory / f"{name}.pem").write_bytes(key + certificates)

    names = ("good.test", "localhost")
    write("good", make("good.test", 90, intermediate, names), intermediate)
    write("expired", make("good.test", -12, intermediate, names), intermediate)
    write("wrong", make("other.test", 90, intermediate, ("other.test",)), intermediate)
    write("nochain", make("good.test", 90, intermediate, names))
    write("shortint", make("good.test", 90, short, names), short)
    authority = directory / "authority.pem"
    authority.write_bytes(root[0].public_bytes(Encoding.PEM))
    return Certificates(authority, directory)


@contextlib.contextmanager
def nothing_listens() -> Iterator[int]:
    """A port on which nobody listens, kept from others for the body."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def main() -> None:
    """Serve until the program is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate", help="key and certificates in PEM")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--delay", type=float)
    kinds.add_argument("--hang-every", type=int)
    kinds.add_argument("--drip", action="store_true")
    kinds.add_argument("--chunk-split")
    kinds.add_argument("--ok-then-503", type=int)
    options = parser.parse_args()
    behaviour: Behaviour = fixed(answer())
    if options.delay is not None:
        behaviour = delay(options.delay)
    elif options.hang_every is not None:
        behaviour = hang_every(options.hang_every)
    elif options.drip:
        behaviour = drip()
    elif options.chunk_split is not None:
        behaviour = chunk_split(options.chunk_split)
    elif options.ok_then_503 is not None:
        behaviour = ok_then_503(options.ok_then_503)
    tls = None
    if options.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.certificate)
    server = Server(behaviour, tls, options.port)
    print(server.port, flush=True)
    server.serve()


if __name__ == "__main__":
    main()
