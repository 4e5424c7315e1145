# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One message through one channel: mail by a relay or sendmail, Slack, a webhook. Each try has a total deadline.

Nothing here is loaded by a run that has nothing to say. Addresses of channels are secrets: no error names them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from ansible_collections.quai.ops.plugins.module_utils._monitor_outbox import DeliveryFailed, Message

if TYPE_CHECKING:
    import smtplib
    import socket
    import ssl
    from email.message import EmailMessage

SENDMAIL: Final = "/usr/sbin/sendmail"
SLACK_MOST: Final = 3500  # characters; longer texts are folded or refused
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
# Answers that concern the message and not the channel: the next message may pass.
_REFUSED: Final = (400, 406, 409, 410, 413, 415, 422)


class Sender:
    """Sends messages by the channels of a configuration."""

    def __init__(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        self._config = config
        self._secrets = secrets

    def __call__(self, message: Message, seconds: float) -> None:
        """Deliver one message within C(seconds). Raises DeliveryFailed."""
        name = message["channel"]
        channel = self._config["channels"].get(name)
        if channel is None:
            raise DeliveryFailed(f"there is no channel {name!r} any more", refused=True)
        send = {"mail": self._mail, "slack": self._slack, "webhook": self._webhook}[channel["type"]]
        try:
            send(channel, message, seconds)
        except DeliveryFailed as error:
            raise DeliveryFailed(hide(error.message, self._secrets)[:300], error.refused) from None
        except Exception as error:  # a mistake in one channel or message must hold up neither the others nor the run
            said = hide(f"{type(error).__name__}: {error}", self._secrets)[:300]
            raise DeliveryFailed(f"cannot be sent: {said}", refused=True) from None

    def _value(self, text: str) -> str:
        return fill(text, self._secrets)

    # --- mail --------------------------------------------------------------------------------------------------------

    def _mail(self, channel: Mapping[str, Any], message: Message, seconds: float) -> None:
        to = [channel["to"]] if isinstance(channel["to"], str) else list(channel["to"])
        settings = self._config.get("mail") or {}
        sender = settings.get("from") or f"quai@{self._config['host']}"
        mail = compose(message, self._config["host"], sender, to)
        if settings.get("relay"):
            self._relay(settings["relay"], mail, sender, to, seconds)
        else:
            _sendmail(settings.get("sendmail") or SENDMAIL, mail, sender, seconds)

    def _relay(
        self, relay: Mapping[str, Any], mail: EmailMessage, sender: str, to: Sequence[str], seconds: float
    ) -> None:
        import smtplib
        import ssl

        host, port, tls = relay["host"], int(relay.get("port") or 25), relay.get("tls") or "prefer"
        where = f"mail relay {host}:{port}"
        user, password = self._value(relay.get("user") or ""), self._value(relay.get("password") or "")
        # A password goes only over a connection whose other end is proved, or that does not leave the host.
        verified = tls in ("require", "implicit") or bool(user and host not in _LOCAL)
        try:
            context = _context(relay.get("ca_file") or "", verified) if tls != "off" else None
            with _connected(
                host, port, seconds, self._config["host"], context if tls == "implicit" else None
            ) as client:
                client.ehlo_or_helo_if_needed()
                if context is not None and tls != "implicit":
                    if client.has_extn("starttls"):
                        client.starttls(context=context)
                        client.ehlo()
                    elif verified:
                        raise DeliveryFailed(f"{where} offers no STARTTLS, and tls is {tls}")
                if user:
                    client.login(user, password)
                client.send_message(mail, sender, to)
        except smtplib.SMTPRecipientsRefused as error:
            code = max(code for code, _text in error.recipients.values())
            text = next(iter(error.recipients.values()))[1]
            raise DeliveryFailed(f"{where} takes no recipient: {_said(code, text)}", refused=code >= 500) from None
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            refused = error.smtp_code >= 500
            raise DeliveryFailed(f"{where}: {_said(error.smtp_code, error.smtp_error)}", refused) from None
        except smtplib.SMTPResponseException as error:
            raise DeliveryFailed(f"{where}: {_said(error.smtp_code, error.smtp_error)}") from None
        except smtplib.SMTPException as error:
            raise DeliveryFailed(f"{where}: {error or 'the connection ended'}") from None
        except ssl.SSLCertVerificationError as error:
            raise DeliveryFailed(f"{where}: certificate: {error.verify_message}") from None
        except TimeoutError:
            raise DeliveryFailed(f"{where}: no answer within {seconds:.0f} s") from None
        except OSError as error:
            raise DeliveryFailed(f"{where}: {error.strerror or error}") from None

    # --- HTTP --------------------------------------------------------------------------------------------------------

    def _slack(self, channel: Mapping[str, Any], message: Message, seconds: float) -> None:
        text = str((message.get("data") or {}).get("text") or "")
        if text:
            # Made for chats, and escaped already. What a detour has to say stands before the body.
            said = message["body"].partition("\n")[0] if message.get("via") else ""
            text = f"{_escaped(said)}\n{text}" if said else text
        else:
            text = f"*{_escaped(message['subject'])}*\n{_escaped(message['body'])}"
        if len(text) > SLACK_MOST:
            text = text[: SLACK_MOST - 1] + "…"
        self._post(channel, message, {"text": text}, seconds)

    def _webhook(self, channel: Mapping[str, Any], message: Message, seconds: float) -> None:
        keys = ("id", "kind", "severity", "subject", "body", "at", "probes", "data", "via")
        content = {"host": self._config["host"], **{key: message[key] for key in keys if key in message}}
        self._post(channel, message, content, seconds)

    def _post(self, channel: Mapping[str, Any], message: Message, content: Mapping[str, Any], seconds: float) -> None:
        import json

        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "X-Quai-Id": message["id"],
            "Idempotency-Key": message["id"],
            **{name: self._value(str(value)) for name, value in (channel.get("headers") or {}).items()},
        }
        body = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
        status, said = request(
            self._value(channel["url"]), seconds, method="POST", headers=headers, body=body,
            ca_file=channel.get("ca_file") or "",
        )  # fmt: skip
        if not 200 <= status < 300:
            answer = " ".join(said.decode("utf-8", "replace").split())[:120]
            raise DeliveryFailed(f"answered {status} {answer}".rstrip(), refused=status in _REFUSED)


def fill(text: str, secrets: Mapping[str, str]) -> str:
    """Put secrets in the place of C(${NAME}); C($${) is a plain C(${). Raises DeliveryFailed for an unknown name."""
    if "${" not in text:
        return text
    import re

    def one(match: Any) -> str:
        if match.group(0).startswith("$$"):
            return "${"
        if match.group(1) not in secrets:
            raise DeliveryFailed(f"the secret {match.group(1)} is not in secrets.json")
        return secrets[match.group(1)]

    return re.sub(r"\$\$\{|\$\{([A-Za-z0-9_.-]+)\}", one, text)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def hide(text: str, secrets: Mapping[str, str]) -> str:
    """Replace every secret in a text, the longest first."""
    for value in sorted(secrets.values(), key=len, reverse=True):
        if len(value) >= 4:
            text = text.replace(value, "***")
    return text


def compose(message: Message, host: str, sender: str, to: Sequence[str]) -> EmailMessage:
    """Return the mail of a message: the same message has the same Message-ID, an incident's mails are one thread."""
    from email.message import EmailMessage
    from email.policy import SMTP
    from email.utils import format_datetime

    domain = "".join(one for one in host if one.isalnum() or one in ".-") or "quai"
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Subject"] = " ".join(message["subject"].split())
    mail["Date"] = format_datetime(_utc(float(message.get("at") or time.time())))
    mail["Message-ID"] = f"<{message['id']}@{domain}>"
    incident = _incident(message)
    if incident:
        root = f"<incident.{incident}@{domain}>"
        mail["In-Reply-To"] = root
        mail["References"] = root
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["X-Quai-Id"] = message["id"]
    mail["X-Quai-Host"] = domain
    mail.set_content(message["body"])
    if message.get("html"):
        mail.add_attachment(message["html"], subtype="html", filename=message.get("file") or "report.html")
    return mail


def _incident(message: Message) -> str:
    """What all messages about one incident have in common; of several, the first one's."""
    items = (message.get("data") or {}).get("items") or [{}]
    name, since = items[0].get("name"), items[0].get("since")
    if not name or not isinstance(since, (int, float)):
        return ""
    return "".join(one for one in f"{name}.{since:.0f}" if one.isalnum() or one in "._-")


def _utc(at: float) -> Any:
    from datetime import datetime, timezone

    return datetime.fromtimestamp(at, timezone.utc)


def _said(code: int, text: Any) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return f"{code} {' '.join(words.split())[:160]}"


def _context(ca_file: str, verified: bool) -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context(cafile=ca_file or None)
    if not verified:
        # Better than clear text, and no promise of more: what a mail server does by itself.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def _connected(
    host: str, port: int, seconds: float, helo: str, context: ssl.SSLContext | None
) -> Iterator[smtplib.SMTP]:
    """A client whose connection is cut when its time is over, however slowly the other side speaks."""
    import smtplib
    import socket
    import threading

    end = time.monotonic() + seconds
    handles: list[socket.socket] = []
    over = threading.Event()

    class Client(smtplib.SMTP):
        def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
            plain = dial(host, port, timeout)
            plain.settimeout(max(0.1, end - time.monotonic()))
            # A second handle of the same connection, which stays valid when TLS takes the first one over.
            handles.append(plain.dup())
            return plain if context is None else context.wrap_socket(plain, server_hostname=host)

    def cut() -> None:
        over.set()
        for handle in handles:
            with suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    client: smtplib.SMTP | None = None
    try:
        client = Client(host, port, local_hostname=helo, timeout=seconds)
        yield client
        with suppress(smtplib.SMTPException, OSError):
            client.quit()  # the message was accepted already
    except (smtplib.SMTPServerDisconnected, smtplib.SMTPConnectError, OSError):
        if over.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
        if client is not None:
            client.close()
        for handle in handles:
            handle.close()


def dial(host: str, port: int, seconds: float) -> socket.socket:
    """Connect within C(seconds), name resolution included. Raises OSError."""
    import socket

    from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, ProbeFailed
    from ansible_collections.quai.ops.plugins.module_utils._probe_net import resolve

    context = Context(seconds)
    try:
        family, address = resolve(host, context)
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(context.remaining())
            connection.connect((address, port))
        except BaseException:
            connection.close()
            raise
    except ProbeFailed as failed:
        raise OSError(failed.message) from None
    return connection


def _sendmail(program: str, mail: EmailMessage, sender: str, seconds: float) -> None:
    import subprocess

    command = [program, "-t", "-i", "-f", sender]
    # Lines as they are on this host: some servers take the CR of SMTP's line end for a part of the line.
    content = mail.as_bytes(policy=mail.policy.clone(linesep="\n"))
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise DeliveryFailed(f"{program} did not end within {seconds:.0f} s") from None
    except OSError as error:
        raise DeliveryFailed(f"{program}: {error.strerror}; install a mail server or set mail.relay") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[:160]
        # 65 and 67: the data or the address is wrong (sysexits.h), which no other message suffers from.
        raise DeliveryFailed(f"{program} ended with {done.returncode} {said}".rstrip(), done.returncode in (65, 67))


def request(
    url: str,
    seconds: float,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    ca_file: str = "",
    most: int = 1048576,
) -> tuple[int, bytes]:
    """Make one request within C(seconds). Returns status and body. Raises DeliveryFailed, which never has the URL.

    An answer of more than C(most) bytes is a failure.
    """
    from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, OwnFault, ProbeFailed
    from ansible_collections.quai.ops.plugins.module_utils._probe_http import exchange, parse_url
    from ansible_collections.quai.ops.plugins.module_utils._probe_net import dial as connect

    try:
        address = parse_url(url)
    except OwnFault:
        raise DeliveryFailed("its address is not http:// or https://") from None
    lines = [f"{method} {address.target} HTTP/1.1", f"Host: {address.authority()}"]
    lines += ["Connection: close", "User-Agent: quai-monitor"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    if any("\n" in line or "\r" in line for line in lines):
        raise DeliveryFailed("a header has a line break in its value")
    context = Context(seconds)
    try:
        with connect({}, context, host=address.host, port=address.port) as connection:
            if address.scheme == "https":
                trust = {"verify": True, "ca_file": ca_file, "sni": "", "x509_strict": False}
                connection.start_tls(trust, address.host)
            answer = exchange(connection, "\r\n".join([*lines, "", ""]).encode("utf-8") + body, method, most)
    except ProbeFailed as failed:
        raise DeliveryFailed(failed.message) from None
    except (OwnFault, UnicodeError) as fault:
        raise DeliveryFailed(str(fault)) from None
    return answer.status, answer.body


__all__ = ["SENDMAIL", "Sender", "compose", "dial", "fill", "hide", "request"]
