# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets in every form in which logs and configurations write them, and what must stay readable."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest
from ansible_collections.quai.ops.plugins.module_utils._redact import Redactor, flat, known, looks_secret, values_of

SECRET = "s3cr3tS3cr3tS3cr3t"
TWISTED = 's3cr3t "q\'uo$te%d" päss/w+rd='
JWT = "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiJzM2NyM3QifQ" + "." + "s3cr3tSignature_abc-def"
KEY_BODY = "\n".join("MIIEvs3cr3t" + "A" * 50 for _line in range(5))
KIND = "PRIVATE KEY"
KEY = f"-----BEGIN {KIND}-----\n{KEY_BODY}\n-----END {KIND}-----"


@pytest.mark.parametrize(
    "line",
    [
        f"password={SECRET}",
        f"DB_PASSWORD={SECRET} NODE_ENV=production",
        f'{{"level":"error","password":"{SECRET}","user":"bob"}}',
        f'{{\\"password\\":\\"{SECRET}\\"}}',
        f"{{ password: '{SECRET}', user: 'bob' }}",
        f'"api_key" : "with blanks {SECRET}"',
        f"apiKey: {SECRET}",
        f"REDISCLI_AUTH={SECRET}",
        f"accessToken => {SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"authorization: Basic {base64.b64encode(b'user:s3cr3t-s3cr3t').decode()} {SECRET}",
        f"authorization: 'Bearer {SECRET}',",
        f'"authorization":"Bearer {SECRET}","accept":"*/*"',
        f'"cookie":"sid={SECRET}; theme=dark"',
        f"Cookie: session={SECRET}; other={SECRET}",
        f"set-cookie: refresh={SECRET}; Path=/; HttpOnly",
        f"'set-cookie': [ 'refresh={SECRET}; Path=/' ]",
        f"got Bearer {SECRET} from the client",
        f"postgresql://app:{SECRET}@db.invalid:5432/app",
        f"redis://:{SECRET}@127.0.0.1:6379/0",
        f"https://{SECRET}@git.invalid/x.git",
        f"https://hooks.slack.com/services/T000/B000/{SECRET}",
        f"https://discord.com/api/webhooks/1/{SECRET}",
        f'GET /reset?token={SECRET}&x=1 HTTP/2.0" 200',
        f'GET /cb?code={SECRET}&state=abc HTTP/1.1"',
        f"https://maps.invalid/x?key={SECRET}",
        f"mysqldump --user=x --password={SECRET} app",
        f"tool --api-token {SECRET} --verbose",
        f"mysql -u root -p{SECRET} app",
        f"redis-cli -h x -a {SECRET} ping",
        f'requirepass "{SECRET}"',
        f"ALTER USER app WITH PASSWORD '{SECRET}'",
        f"CREATE USER x IDENTIFIED BY '{SECRET}';",
        f"session_id={SECRET}",
        f"Invalid token: {SECRET}",
        JWT,
        "key AKIA" + "S3CR3TS3CR3TS3CR" + " refused",
        "AIza" + "s3cr3t" * 6,
        "ghp_" + "s3cr3t" * 6,
        "xoxb-" + "s3cr3t-s3cr3t",
        "sk_live_" + "s3cr3ts3cr3t",
        "hash $2b$10$s3cr3ts3cr3ts3cr3ts3cr3t in users",
        "root:$6$s3cr3t$s3cr3ts3cr3t:19000:0:99999:7:::",
    ],
)
def test_what_looks_like_a_secret(line: str) -> None:
    redactor = Redactor()
    found = redactor.text(f"before\n2026-11-21 {line}\nafter")
    assert "s3cr3t" not in found.lower(), found
    assert found.startswith("before\n2026-11-21 ")
    assert found.endswith("\nafter")
    assert "***" in found
    assert redactor.hits >= 1


@pytest.mark.parametrize(
    "text",
    [
        f"before\n{KEY}\nafter",
        f"before\n{KEY[: len(KEY) // 2]}",
        f"{KEY_BODY[30:]}\n-----END {KIND}-----\nafter",
        f"before {json.dumps(KEY)} after",
        "before\n" + KEY.replace(KIND, "OPENSSH " + KIND) + "\nafter",
    ],
    ids=["whole", "cut end", "cut beginning", "JSON", "OpenSSH"],
)
def test_private_keys(text: str) -> None:
    assert "s3cr3t" not in Redactor().text(text)


@pytest.mark.parametrize(
    "line",
    [
        "password authentication failed for user bob",
        "GET /health HTTP/1.1 200 12ms",
        "token expired 3 s ago",
        "https://app.masstock.fr/path?page=2&sort=asc",
        "redis://127.0.0.1:6379/0 refused the connection",
        "postgresql://app@db.invalid/app: connection refused",
        "mail to ops@masstock.fr at 10:20:30",
        '{"status":"ok","passwordless":true,"password":null}',
        "user=bob keys=12 monkey=3",
        "2026-11-21T14:00:00Z web-1 restarted: exit 137",
    ],
)
def test_what_people_need_stays(line: str) -> None:
    redactor = Redactor()
    assert redactor.text(line) == line
    assert redactor.hits == 0


@pytest.mark.parametrize(
    "form",
    [
        TWISTED,
        quote(TWISTED, safe=""),
        quote(TWISTED),
        json.dumps(TWISTED),
        json.dumps(TWISTED, ensure_ascii=False),
        json.dumps({"x": [TWISTED]}),
        base64.b64encode(TWISTED.encode()).decode(),
        TWISTED.replace("'", "'\\''"),
    ],
    ids=["plain", "URL", "path", "JSON", "JSON in UTF-8", "nested", "base64", "shell"],
)
def test_known_values_in_every_form(form: str) -> None:
    found = Redactor([TWISTED]).text(f"nothing beside it says so: <{form}>")
    assert "s3cr3t" not in found
    assert form not in found


def test_the_password_of_a_known_address_alone() -> None:
    assert "s3cr3t" not in Redactor(["postgresql://app:s3cr3t%2Fx@db/app"]).text(
        "login with s3cr3t/x and s3cr3t%2Fx failed"
    )


def test_ordinary_values_are_not_hidden_everywhere() -> None:
    text = "NODE_ENV production, redis on port 3000, true"
    assert Redactor(["production", "redis", "true", "on", "300"]).text(text) == text


def test_longer_values_first() -> None:
    assert Redactor(["abcd", "abcdefgh"]).text("x abcdefgh y") == "x *** y"


class TestFiles:
    """Files of secrets on a host."""

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (f"{SECRET}\n", {SECRET}),
            (f"# comment\nA={SECRET}\nexport B='x y z'\n", {SECRET, "x y z"}),
            (json.dumps({"a": SECRET, "b": {"c": ["deep-one"]}}), {SECRET, "deep-one"}),
            (f'requirepass "{SECRET}"\ndir /data\n', {SECRET}),
            ("alice:pa55word\nbob:other1\n", {"pa55word", "other1"}),
            (KEY, {KEY}),
        ],
    )
    def test_of_secrets_alone(self, content: str, expected: set[str]) -> None:
        assert expected <= set(values_of(content, everything=True))

    def test_settings_among_which_some_are_secret(self) -> None:
        document = {"host": "vps1", "probes": [{"name": "masstock.api"}], "mail": {"password": SECRET, "port": 25}}
        assert set(values_of(json.dumps(document), everything=False)) == {SECRET}
        lines = f"HOST=vps1\nMAIL_PASSWORD={SECRET}\nSALT=0a1b2c3d4e5f6a7b8c9d\nMODE=production\n"
        assert set(values_of(lines, everything=False)) == {SECRET, "0a1b2c3d4e5f6a7b8c9d"}

    def test_logins_of_registries(self) -> None:
        document = {"auths": {"registry.invalid": {"auth": base64.b64encode(b"deploy:s3cr3tLogin").decode()}}}
        assert "s3cr3tLogin" in set(values_of(json.dumps(document), everything=False))

    def test_found_on_disk(self, tmp_path: Path) -> None:
        for name, mode, content in (
            ("shop/secrets/web.env", 0o644, "A=from-secrets-directory\n"),
            ("monitor/secrets.json", 0o600, '{"x": "from-secrets-json"}'),
            ("monitor/config.json", 0o600, '{"host": "vps1-is-no-secret"}'),
            ("key", 0o600, "password=from-private-file\n"),
            ("nginx.conf", 0o644, "password=from-public-file\n"),
        ):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            path.chmod(mode)
        values, unread = known([tmp_path, tmp_path / "none"])
        assert values == {"from-secrets-directory", "from-secrets-json", "from-private-file"}
        assert unread == []

    def test_names(self) -> None:
        assert all(map(looks_secret, ["DB_PASSWORD", "jwtSecret", "API_KEY", "REDISCLI_AUTH", "DATABASE_URL"]))
        assert not any(map(looks_secret, ["PATH", "NODE_ENV", "AUTHOR", "PORT", "KEYBOARD"]))

    def test_values_in_any_depth(self) -> None:
        assert list(flat({"a": ["b", {"c": 5, "d": None, "e": True}]})) == ["b", "5"]


def test_a_large_log_takes_no_time() -> None:
    """Not measured in seconds: a pattern that goes back and forth would not end at all."""
    blob = "A" * 300_000
    line = f'{{"level":"info","password":"{blob}'
    assert Redactor(["unrelated-value"]).text(f"{line}\n" + "x = y\n" * 20_000)
