# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import json
import os
import ssl
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from lab import engine, main_job
from lab.authority import ensure_authority, ensure_certificate, write_private
from lab.console import Console, table
from lab.containers import File, Spec, archive
from lab.errors import LabError
from lab.wait import until


def spec(**changes: object) -> Spec:
    given = {"part": "dns", "role": "dns", "image": "i", "address": "10.9.8.2", "command": ("named",)}
    return Spec(**{**given, **changes})  # type: ignore[arg-type]


class TestSpec:
    def test_the_digest_is_stable(self) -> None:
        assert spec().digest("sha256:1") == spec().digest("sha256:1")

    @pytest.mark.parametrize(
        "change",
        [
            {"address": "10.9.8.3"},
            {"command": ("named", "-g")},
            {"files": {"/a": File(b"1")}},
            {"files": {"/a": File(b"1", 0o600)}},
            {"volumes": {"v": "/v"}},
            {"caches": {"v": "/v"}},
            {"binds": ("/a:/a",)},
            {"environment": {"A": "1"}},
            {"publish": 5000},
            {"system": True},
        ],
        ids=str,
    )
    def test_the_digest_changes_with_everything_the_container_is_made_from(self, change: dict[str, object]) -> None:
        assert spec(**change).digest("sha256:1") != spec().digest("sha256:1")
        assert spec().digest("sha256:2") != spec().digest("sha256:1")


def test_archive_keeps_modes_and_makes_the_ssh_directory_private() -> None:
    data = archive({"/root/.ssh/authorized_keys": File(b"key", 0o600), "/etc/lab/a": File(b"x")})
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        modes = {member.name: member.mode for member in tar.getmembers()}
    assert modes == {"root/.ssh": 0o700, "root/.ssh/authorized_keys": 0o600, "etc/lab/a": 0o644}


class TestUntil:
    def test_returns_the_first_true_result_and_counts_failures_as_not_yet(self) -> None:
        answers: Iterator[int | Exception] = iter([OSError("refused"), LabError("no"), 0, 42])

        def attempt() -> int:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        assert until("it", attempt, seconds=5, pause=0) == 42

    def test_the_deadline_says_what_was_waited_for_and_what_was_seen_last(self) -> None:
        def attempt() -> bool:
            raise ConnectionRefusedError("connection refused")

        with pytest.raises(LabError, match="waited 0 s for the moon; last seen: connection refused") as caught:
            until("the moon", attempt, seconds=0, fix="look up")
        assert caught.value.fix == "look up"

    def test_other_errors_are_not_swallowed(self) -> None:
        nothing: dict[str, int] = {}
        with pytest.raises(KeyError):
            until("it", lambda: nothing["x"], seconds=5)


class TestConsole:
    def test_steps_are_timed_and_told_apart(self, tmp_path: Path) -> None:
        stream = io.StringIO()
        console = Console(stream)
        with console.step("good"):
            pass
        with pytest.raises(ValueError, match="no"), console.step("bad"):
            raise ValueError("no")
        good, bad = stream.getvalue().splitlines()
        assert "✓ good" in good
        assert "✗ bad" in bad
        assert "\033" not in stream.getvalue()
        assert [name for name, _ in console.timings] == ["good"]
        console.save_timings(tmp_path / "new" / "timings.json", "up")
        document = json.loads((tmp_path / "new" / "timings.json").read_text())
        assert document["verb"] == "up"
        assert [step["name"] for step in document["steps"]] == ["good"]

    def test_a_long_step_is_announced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lab.console._ANNOUNCE_AFTER", 0.01)
        announced = threading.Event()

        class Stream(io.StringIO):
            def write(self, text: str) -> int:
                if "…" in text:
                    announced.set()
                return super().write(text)

        stream = Stream()
        with Console(stream).step("slow"):
            assert announced.wait(5)
        assert stream.getvalue().splitlines()[0].endswith("… slow")

    def test_table_columns_are_aligned(self) -> None:
        assert table([("a", "1"), ("long", "22")], ("part", "s")) == [
            "part  s",
            "----  --",
            "a     1",
            "long  22",
        ]


class TestAuthority:
    def test_certificates_are_valid_for_name_and_address_and_made_once(self, tmp_path: Path) -> None:
        certificate, key = ensure_certificate(tmp_path / "ca", "registry.lab", "10.9.8.3")
        first = certificate.read_bytes()
        assert ensure_certificate(tmp_path / "ca", "registry.lab", "10.9.8.3")[0].read_bytes() == first
        names = x509.load_pem_x509_certificate(first).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert names.value.get_values_for_type(x509.DNSName) == ["registry.lab", "localhost"]
        assert [str(ip) for ip in names.value.get_values_for_type(x509.IPAddress)] == ["10.9.8.3", "127.0.0.1"]
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "ca" / "lab-ca.key").stat().st_mode) == 0o600

    def test_a_new_address_or_a_new_authority_makes_a_new_certificate(self, tmp_path: Path) -> None:
        first = ensure_certificate(tmp_path, "acme.lab", "10.9.8.4")[0].read_bytes()
        second = ensure_certificate(tmp_path, "acme.lab", "10.9.7.4")[0].read_bytes()
        ensure_authority(tmp_path).unlink()
        third = ensure_certificate(tmp_path, "acme.lab", "10.9.7.4")[0].read_bytes()
        assert len({first, second, third}) == 3

    def test_strict_verification_accepts_the_chain(self, tmp_path: Path) -> None:
        certificate, key = ensure_certificate(tmp_path, "acme.lab", "10.9.8.4")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate, key)
        client = ssl.create_default_context(cafile=str(tmp_path / "lab-ca.pem"))
        client.verify_flags |= ssl.VERIFY_X509_STRICT
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        asking = client.wrap_bio(to_client, to_server, server_hostname="acme.lab")
        answering = server.wrap_bio(to_server, to_client, server_side=True)
        for side in (asking, answering, asking):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
        assert asking.getpeercert()

    def test_private_files_are_private_from_their_first_byte(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_text("old")
        path.chmod(0o644)
        write_private(path, b"new")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_bytes() == b"new"


class TestEngine:
    def test_a_process_is_known_by_its_start_time(self) -> None:
        assert engine._start_time(os.getpid()) != ""
        assert engine._start_time(os.getpid()) != engine._start_time(1)
        assert engine._start_time(2**22 + 1) == ""

    def test_a_remote_engine_that_is_silent_is_not_started_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
        with pytest.raises(LabError, match=r"DOCKER_HOST=tcp://127\.0\.0\.1:1"):
            engine.ensure(Console(io.StringIO()))


class TestMainJob:
    def test_recap_lines_are_read_with_and_without_colours(self) -> None:
        plain = "vps1                       : ok=40   changed=0    unreachable=0    failed=0    skipped=3"
        assert main_job.recap_of(plain) == ["vps1 ok=40 changed=0"]
        assert main_job.recap_of(f"\033[0;32m{plain}\033[0m") == ["vps1 ok=40 changed=0"]
        assert main_job.recap_of("ok: [vps1]") == []

    def test_the_four_domains(self) -> None:
        assert main_job.domains() == [
            *("masstock.fr", "app.masstock.fr", "api.masstock.fr", "n8n.masstock.fr"),
            "quai.masstock.fr",
        ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")
def test_waits_for_another_apt_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two images are made at once, and each may need a package."""
    apt = tmp_path / "apt-get"
    apt.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/calls\n'
        f"test $(wc -l < {tmp_path}/calls) -gt 2 && exit\n"
        "echo E: Could not get lock /var/lib/apt/lists/lock; exit 100\n"
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(engine, "_APT_PAUSE", 0.01)
    engine.apt_install("jq")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == ["update -q"] * 3 + ["install -yq --no-install-recommends jq"]
    apt.write_text("#!/bin/sh\necho no mirror; exit 100\n")
    with pytest.raises(LabError, match="no mirror"):
        engine.apt_install("jq")
