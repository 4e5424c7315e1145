# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP probes: one request, or the path of a user with cookies.

The parser is strict: what browsers forgive is often what a proxy in between will not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Callable, Final, NamedTuple

from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed, Spec, shorten
from ansible_collections.quai.ops.plugins.module_utils._probe_net import Connection, dial, split_host
from ansible_collections.quai.ops.plugins.module_utils._probe_rules import Unknown
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import asked, unmet

MAX_HEAD: Final = 65536
MAX_CHUNK_LINE: Final = 1024
_URL: Final = re.compile(
    r"(https?)://(?:([^/?#@]*)@)?(\[[0-9a-fA-F:.]+\]|[^\s/?#:\[\]@]+)(?::(\d{1,5}))?([/?][^#]*)?(?:#.*)?", re.IGNORECASE
)
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [^\r\n]*)?")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# A time that is further ahead, in seconds, is none.
FUTURE: Final = 300
_REDIRECTS: Final = (301, 302, 303, 307, 308)


class Answer(NamedTuple):
    """An answer. C(headers) by lower-case name, repeated ones joined; C(cookies) are the raw Set-Cookie headers."""

    status: int
    headers: dict[str, str]
    cookies: list[str]
    body: bytes


class Url(NamedTuple):
    """An address in its parts; C(target) is path and query."""

    scheme: str
    user: str
    host: str
    port: int
    target: str

    def text(self) -> str:
        """The address without user and password."""
        return f"{self.scheme}://{self.authority()}{self.target}"

    def authority(self) -> str:
        """What a Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


_PORTS: Final = {"http": 80, "https": 443}


class _Elsewhere(ProbeFailed):
    """A redirect that is not followed: worth a warning, and no more."""

    status = "warning"


def parse_url(text: str) -> Url:
    """Read an http:// or https:// address. Raises OwnFault."""
    match = _URL.fullmatch(text.strip())
    if match is None:
        raise OwnFault(f'url: "{_without_user(text)}" is no http:// or https:// address')
    scheme, user, host, port, target = match.groups()
    scheme = scheme.lower()
    host = host.strip("[]").lower()
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise OwnFault(f'url: "{host}" is no name of a host: {error}') from None
    number = int(port) if port else _PORTS[scheme]
    if not 0 < number < 65536:
        raise OwnFault(f'url: "{number}" is no port')
    target = target or "/"
    if target.startswith("?"):
        target = "/" + target
    if not target.isascii() or re.search(r"[\x00-\x20\x7f]", target):
        from urllib.parse import quote

        target = quote(target, safe="/?%:@!$&'()*+,;=~-._[]")
    return Url(scheme, user or "", host, number, target)


def _without_user(text: str) -> str:
    # Greedy: a password that is not encoded may have any character in it.
    return re.sub(r"//.*@", "//", text, flags=re.DOTALL)


def exchange(connection: Connection, request: bytes, method: str, max_body: int) -> Answer:
    """Send a request and read its answer. Raises ProbeFailed; a body above C(max_body) bytes has the reason size."""
    context = connection.context
    phases = context.found.phases
    began = context.clock()
    connection.send(request)
    while True:
        head = _head(connection)
        if began >= 0:
            now = context.clock()
            phases["ttfb"] = phases.get("ttfb", 0.0) + now - began
            began = -1.0
        status, headers, cookies = _parse_head(head, connection.label)
        if status >= 200:
            break
        if status == 101:
            raise ProbeFailed("proto", f"{connection.label} went over to another protocol without being asked")
    began = context.clock()
    empty = method == "HEAD" or status in {204, 304}
    body = b"" if empty else _body(connection, headers, max_body)
    phases["transfer"] = phases.get("transfer", 0.0) + context.clock() - began
    return Answer(status, headers, cookies, body)


def _head(connection: Connection) -> bytes:
    """Everything up to the empty line."""
    data = connection.recv_some()
    while True:
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            connection.push_back(data[end + 4 :])
            return data[:end]
        if len(data) > MAX_HEAD:
            raise ProbeFailed("proto", f"{connection.label}: headers of more than {MAX_HEAD} bytes")
        if len(data) >= 5 and not data.startswith(b"HTTP/"):
            raise ProbeFailed("proto", f"{connection.label} does not speak HTTP; it begins with {_excerpt(data)}")
        more = connection.recv_some()
        if not more:
            if data:
                raise ProbeFailed("proto", f"{connection.label} closed the connection within the headers")
            raise ProbeFailed("reset", f"{connection.label} closed the connection without an answer")
        data += more


def _excerpt(data: bytes) -> str:
    return json.dumps(shorten(data[:80].decode("latin-1"), 41), ensure_ascii=False)


def _parse_head(head: bytes, label: str) -> tuple[int, dict[str, str], list[str]]:
    first, _newline, rest = head.partition(b"\r\n")
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise ProbeFailed("proto", f"{label}: {_excerpt(first)} is no status line of HTTP/1")
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for line in rest.decode("latin-1").split("\r\n") if rest else ():
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or "\n" in value or "\r" in value or "\0" in value:
            raise ProbeFailed("proto", f"{label}: {json.dumps(shorten(line, 40), ensure_ascii=False)} is no header")
        name = name.lower()
        value = value.strip(" \t")
        if name == "set-cookie":
            cookies.append(value)
        elif name in headers:
            if name == "content-length" and headers[name] != value:
                raise ProbeFailed("proto", f"{label}: two different Content-Length headers")
            if name != "content-length":
                headers[name] += ", " + value
        else:
            headers[name] = value
    return int(match.group(1)), headers, cookies


def _body(connection: Connection, headers: Mapping[str, str], max_body: int) -> bytes:
    coding = headers.get("transfer-encoding", "").lower()
    if coding and coding != "identity":
        if coding != "chunked":
            coding = shorten(coding, 40)
            raise ProbeFailed("proto", f'{connection.label}: Transfer-Encoding "{coding}" was not asked for')
        return _chunks(connection, max_body)
    length = headers.get("content-length")
    if length is not None:
        if not re.fullmatch(r"[0-9]{1,18}", length):
            raise ProbeFailed("proto", f'{connection.label}: Content-Length "{shorten(length, 40)}" is no number')
        size = int(length)
        if size > max_body:
            raise ProbeFailed("size", f"a body of {size} bytes, more than max_body ({max_body})")
        return connection.recv_exactly(size)
    parts: list[bytes] = []
    size = 0
    while True:
        data = connection.recv_some()
        if not data:
            return b"".join(parts)
        parts.append(data)
        size += len(data)
        if size > max_body:
            raise ProbeFailed("size", f"a body of more than max_body ({max_body} bytes)")


def _chunks(connection: Connection, max_body: int) -> bytes:
    parts: list[bytes] = []
    total = 0
    while True:
        line = connection.recv_line(MAX_CHUNK_LINE).partition(b";")[0].strip(b" \t")
        if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", line):
            raise ProbeFailed("proto", f"{connection.label}: {_excerpt(line)} is no size of a chunk")
        size = int(line, 16)
        if size == 0:
            break
        total += size
        if total > max_body:
            raise ProbeFailed("size", f"a body of more than max_body ({max_body} bytes)")
        parts.append(connection.recv_exactly(size))
        if connection.recv_exactly(2) != b"\r\n":
            raise ProbeFailed("proto", f"{connection.label}: a chunk is longer than it says")
    trailer = 0
    while True:
        line = connection.recv_line()
        if not line:
            return b"".join(parts)
        trailer += len(line)
        if trailer > MAX_HEAD:
            raise ProbeFailed("proto", f"{connection.label}: trailers of more than {MAX_HEAD} bytes")


class Cookie(NamedTuple):
    """A cookie of a jar."""

    name: str
    value: str
    domain: str
    only_host: bool
    path: str
    secure: bool


def parse_cookie(text: str) -> tuple[str, str, dict[str, str]]:
    """Name, value and attributes (lower case, without a value empty) of a Set-Cookie header."""
    first, *rest = text.split(";")
    name, _equals, value = first.partition("=")
    attributes = {}
    for part in rest:
        key, _equals, said = part.partition("=")
        attributes[key.strip().lower()] = said.strip()
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return name.strip(), value, attributes


class _Jar:
    """Cookies of one probe, kept from one of its requests to the next."""

    def __init__(self) -> None:
        self._cookies: dict[tuple[str, str, str], Cookie] = {}

    def store(self, answer: Answer, url: Url, now: float) -> None:
        for text in answer.cookies:
            name, value, attributes = parse_cookie(text)
            domain = attributes.get("domain", "").lstrip(".").lower()
            if domain and url.host != domain and not (url.host.endswith("." + domain) and "." in domain):
                continue
            secure = "secure" in attributes
            if not name or (secure and url.scheme != "https"):
                continue
            path = attributes.get("path", "")
            if not path.startswith("/"):
                path = url.target.partition("?")[0].rpartition("/")[0] or "/"
            key = (domain or url.host, path, name)
            if _ended(attributes, now):
                self._cookies.pop(key, None)
            else:
                self._cookies[key] = Cookie(name, value, domain or url.host, not domain, path, secure)

    def header(self, url: Url) -> str:
        if not self._cookies:
            return ""
        target = url.target.partition("?")[0]
        fitting = [
            cookie
            for cookie in self._cookies.values()
            if (url.host == cookie.domain or (not cookie.only_host and url.host.endswith("." + cookie.domain)))
            and (target == cookie.path or target.startswith(cookie.path.rstrip("/") + "/"))
            and (url.scheme == "https" or not cookie.secure)
        ]
        fitting.sort(key=lambda cookie: -len(cookie.path))
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in fitting)


_MONTHS: Final = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DATE: Final = r"(\d{1,2})[ -]([A-Za-z]{3})[a-z]*[ -](\d{4}|\d\d)\s+(\d\d):(\d\d):(\d\d)"


def _ended(attributes: Mapping[str, str], now: float) -> bool:
    age = attributes.get("max-age", "")
    if re.fullmatch(r"-?[0-9]+", age):
        return age[0] == "-" or not age.strip("0")
    match = re.search(_DATE, attributes.get("expires", ""))
    if match is None or match.group(2).lower() not in _MONTHS:
        return False
    from calendar import timegm

    year = int(match.group(3))
    if year < 100:
        year += 1900 if year >= 70 else 2000
    month = _MONTHS.index(match.group(2).lower()) + 1
    return timegm((year, month, int(match.group(1)), *(int(match.group(part)) for part in (4, 5, 6)))) <= now


def check(spec: Spec, context: Context) -> None:
    """Ask, and tell what was answered. The fields are those of the last answer."""
    client = _Client(spec, context)
    steps = spec.get("steps")
    if not steps:
        answer, redirects = client.ask(spec, parse_url(spec["url"]))
        _tell(spec, answer, redirects, context)
        return
    base = parse_url(spec["url"]) if spec.get("url") else None
    for number, step in enumerate(steps, 1):
        where = f"step {number}" + (f" ({step['name']})" if step["name"] else "")
        context.found.http = {"step": number}
        began = context.clock()
        before = dict(context.found.phases)
        try:
            answer, redirects = client.ask(step, _step_url(step, base))
        except ProbeFailed as failed:
            failed.message = f"{where}: {failed.message}"
            raise
        _tell(spec, answer, redirects, context)
        context.found.http["step"] = number
        fields = dict(context.found.fields, latency_ms=(context.clock() - began) * 1000)
        for phase, seconds in context.found.phases.items():
            fields[f"{phase}_ms"] = (seconds - before.get(phase, 0.0)) * 1000
        bad = unmet(spec, fields, step["expect"])
        if bad is not None:
            raise ProbeFailed(bad[0], f"{where}: {bad[1]}")


def _step_url(step: Mapping[str, Any], base: Url | None) -> Url:
    if step["url"]:
        return parse_url(step["url"])
    if base is None:
        raise OwnFault("steps: a step needs a url, because the probe has none")
    return _joined(base, step["path"]) if step["path"] else base


def _joined(base: Url, location: str) -> Url:
    from urllib.parse import urljoin

    try:
        return parse_url(urljoin(base.text(), location))._replace(user=base.user)
    except (OwnFault, ValueError):
        place = shorten(_without_user(location), 80)
        raise ProbeFailed("redirect", f'"{place}" is no address to go on to') from None


def _place(url: Url) -> str:
    """An address for people; what follows the path may hold a token."""
    return f"{url.scheme}://{url.authority()}{url.target.partition('?')[0]}"


class _Client:
    """The requests of one probe, with the cookies that they share."""

    def __init__(self, spec: Spec, context: Context) -> None:
        self._spec = spec
        self._context = context
        self._jar = _Jar()

    def ask(self, request: Mapping[str, Any], url: Url) -> tuple[Answer, int]:
        """One request with the redirects that follow from it, and how many these were."""
        most = self._spec["follow_redirects"]
        method = request["method"].upper()
        body = request["body"]
        port = url.port
        redirects = 0
        while True:
            data = self._request(request["headers"], url, method, body)
            answer = self._once(data, url, method, own_port=url.port == port)
            if answer.status not in _REDIRECTS or not most or "location" not in answer.headers:
                return answer, redirects
            after = _joined(url, answer.headers["location"])
            if after.host != url.host or (url.scheme == "https" and after.scheme != "https"):
                raise _Elsewhere("redirect", f"{answer.status} leads to {_place(after)}, which is not followed")
            redirects += 1
            if redirects > most:
                raise ProbeFailed("redirect", f"more than {most} redirects; the last to {_place(after)}")
            url = after
            if answer.status == 303 or (answer.status in {301, 302} and method == "POST"):
                method, body = ("HEAD" if method == "HEAD" else "GET"), ""

    def _once(self, data: bytes, url: Url, method: str, own_port: bool) -> Answer:
        with self._dial(url, own_port) as connection:
            if url.scheme == "https":
                connection.start_tls(self._spec, url.host)
            answer = exchange(connection, data, method, self._spec["max_body"])
        if answer.cookies:
            self._jar.store(answer, url, self._context.now)
        return answer

    def _dial(self, url: Url, own_port: bool) -> Connection:
        spec = self._spec
        if spec.get("connect_to"):
            # A port given there stands for the probe's own; after a redirect to another one the new one counts.
            host, port = split_host(spec["connect_to"], url.port)
            target = {"host": host, "port": port if own_port else url.port, "ip_family": spec["ip_family"]}
        elif spec.get("container"):
            target = {"host": url.host, "port": url.port, "container": spec["container"]}
        else:
            target = {"host": url.host, "port": url.port, "ip_family": spec["ip_family"]}
        return dial(target, self._context)

    def _request(self, given: Mapping[str, str], url: Url, method: str, body: str) -> bytes:
        if not _TOKEN.fullmatch(method):
            raise OwnFault(f'method: "{method[:40]}" is no method')
        login = url.user
        if self._spec.get("user"):
            login = f"{self._spec['user']}:{self._spec.get('password') or ''}"
        elif login:
            from urllib.parse import unquote

            login = unquote(login)
        cookies = self._jar.header(url)
        if not (given or cookies or login or body) and method in {"GET", "HEAD"}:
            return f"{method} {url.target} HTTP/1.1\r\nHost: {url.authority()}\r\n{_PLAIN}\r\n".encode("ascii")
        payload = body.encode("utf-8")
        headers = {"host": url.authority(), "user-agent": "quai-health", "accept": "*/*", "connection": "close"}
        if login:
            from base64 import b64encode

            headers["authorization"] = "Basic " + b64encode(login.encode("utf-8")).decode("ascii")
        if payload:
            is_json = body.lstrip()[:1] in {"{", "["}
            headers["content-type"] = "application/json" if is_json else "application/x-www-form-urlencoded"
        for name, value in given.items():
            if not _TOKEN.fullmatch(name) or re.search(r"[\r\n\0]", value):
                raise OwnFault(f'headers: "{name[:40]}" is no header, or its value has a line break')
            headers[name.lower()] = value
        if cookies:
            own = headers.get("cookie")
            headers["cookie"] = f"{own}; {cookies}" if own else cookies
        if payload or method in {"POST", "PUT", "PATCH"}:
            headers["content-length"] = str(len(payload))
        lines = "".join(f"{name.title()}: {value}\r\n" for name, value in headers.items())
        try:
            return f"{method} {url.target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + payload
        except UnicodeEncodeError:
            raise OwnFault("headers: a value has characters that HTTP cannot carry (beyond Latin-1)") from None


_PLAIN: Final = "User-Agent: quai-health\r\nAccept: */*\r\nConnection: close\r\n"


def _tell(spec: Spec, answer: Answer, redirects: int, context: Context) -> None:
    found = context.found
    status = answer.status
    found.http = {"status": status, "bytes": len(answer.body), "redirects": redirects}
    found.message = f"{status}, {len(answer.body)} bytes"
    fields = found.fields
    fields["status"] = status
    fields["bytes"] = len(answer.body)
    fields["redirects"] = redirects
    fields["header"] = answer.headers.get
    fields["cookie"] = _cookie_field(answer)
    names = asked(spec)
    body = answer.body
    if body and answer.headers.get("content-encoding", "identity").lower() != "identity" and names & {"body", *_JSON}:
        body = _inflated(answer, spec["max_body"])
    if "body" in names:
        fields["body"] = _decoded(body, answer.headers.get("content-type", ""))
    if names & _JSON:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):  # RecursionError: thousands of brackets
            document = Unknown(
                f"the body is not JSON, it begins with {_excerpt(body)}" if body else "the body is empty"
            )
        fields["json"] = document
        fields["json_age_s"] = _ages(document, context.now)


_JSON: Final = frozenset({"json", "json_age_s"})


def _inflated(answer: Answer, limit: int) -> bytes:
    import zlib

    stream = zlib.decompressobj(47)
    try:
        body = stream.decompress(answer.body, limit + 1)
    except zlib.error:
        coding = shorten(answer.headers["content-encoding"], 40)
        raise ProbeFailed("proto", f'the body cannot be read: Content-Encoding "{coding}" was not asked for') from None
    # Of a part of it nothing follows: what must not be in it may be in the rest.
    if len(body) > limit:
        raise ProbeFailed("size", f"a body of more than max_body ({limit} bytes) when it is decompressed")
    if not stream.eof:
        raise ProbeFailed("proto", "the compressed body ends too early")
    return body


# Those of the web: among Python's are some that need minutes for a megabyte.
_CHARSET: Final = (
    r"""charset\s*=\s*["']?((?:utf-(?:8|16|32)|iso-8859|windows|us-ascii|koi8|gb|big5|euc|shift_jis)[\w-]*)"""
)


def _decoded(body: bytes, content_type: str) -> str:
    match = re.search(_CHARSET, content_type, re.IGNORECASE)
    try:
        return body.decode(match.group(1) if match else "utf-8", "replace")
    except (LookupError, UnicodeError):
        return body.decode("utf-8", "replace")


def _cookie_field(answer: Answer) -> Callable[[str], Any]:
    def value(rest: str) -> Any:
        set_here: dict[str, Any] = {}
        for text in answer.cookies:
            name, content, attributes = parse_cookie(text)
            set_here[name] = True
            set_here[f"{name}.value"] = content
            set_here[f"{name}.http_only"] = "httponly" in attributes
            set_here[f"{name}.secure"] = "secure" in attributes
            set_here[f"{name}.same_site"] = attributes.get("samesite", "").lower() or None
        if rest in set_here:
            return set_here[rest]
        # A cookie that is not set has no flags; that it is not set is known.
        return None if rest.endswith((".value", ".http_only", ".secure", ".same_site")) else False

    return value


def _ages(document: Any, now: float) -> Callable[[str], Any]:
    def age(rest: str) -> Any:
        from ansible_collections.quai.ops.plugins.module_utils._probe_rules import walk

        value = document if isinstance(document, Unknown) else walk(document, tuple(rest.split(".")))
        if isinstance(value, Unknown) or value is None:
            return value
        stamp: float | int | None = _timestamp(value) if isinstance(value, str) else None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            stamp = value
        if stamp is None:
            return Unknown("it is no time of RFC 3339 and no number of seconds")
        # What is in milliseconds would be below every limit, and so good, for ever. NaN is not below anything.
        if not stamp <= now + FUTURE:
            return Unknown("it is in the future; is it in milliseconds, or is a clock wrong?")
        return max(0.0, now - max(stamp, 0))

    return age


_RFC3339: Final = r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d+))?\s*([Zz]|[+-]\d\d:?\d\d)?"


def _timestamp(text: str) -> float | None:
    """Seconds since 1970 of a time of RFC 3339; one without a zone is in UTC."""
    match = re.fullmatch(_RFC3339, text.strip())
    if match is None:
        try:
            return float(text)
        except ValueError:
            return None
    from datetime import datetime, timedelta, timezone

    zone = match.group(8) or "Z"
    offset = timedelta(0)
    if zone not in "Zz":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:])) * (-1 if zone[0] == "-" else 1)
    try:
        year, month, day, hour, minute, second = (int(match.group(part)) for part in range(1, 7))
        moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc) - offset
    except (ValueError, OverflowError):
        return None
    return moment.timestamp() + float(f"0.{match.group(7) or 0}")


__all__ = ["Answer", "Url", "check", "exchange", "parse_cookie", "parse_url"]
