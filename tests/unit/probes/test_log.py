# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log scan: every line counted once, whatever happens to the files (acceptance check 21), and what a run may cost."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _probe_log
from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, Found, OwnFault, ProbeFailed
from ansible_collections.quai.ops.plugins.module_utils._probe_engine import run_probes
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import normalise

NOW = 1_800_000_000.0


class Watch:
    """A probe of a log that is run again and again, its memory going through JSON as in a state file."""

    def __init__(self, path: Path | str, match: str = "ERROR", **options: Any) -> None:
        self.spec = normalise([{"name": "x", "type": "log", "path": str(path), "match": match, **options}])[0]
        self.memory: dict[str, Any] = {}
        self.now = time.time()

    def run(self, after: float = 60) -> Found:
        self.now += after
        context = Context(5, self.memory, self.now)
        try:
            _probe_log.check(self.spec, context)
        finally:
            self.memory = json.loads(json.dumps(self.memory))
        return context.found

    def new(self, after: float = 60) -> int:
        return int(self.run(after).fields["new"])


def append(path: Path, *lines: str, end: str = "\n") -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write("".join(f"{line}\n" for line in lines[:-1]) + lines[-1] + end)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    append(path, "ERROR of old", "INFO of old")
    return path


def test_a_first_run_counts_nothing_old_and_says_so(log: Path) -> None:
    watch = Watch(log)
    first = watch.run()
    assert first.fields == {
        "new": 0, "per_hour": 0, "total": 0, "scanned": 0, "files": 1, "age_s": None,
    }  # fmt: skip
    assert first.details["first_run"] is True
    assert "what was there before is not counted" in first.message
    append(log, "ERROR 1", "INFO", "ERROR 2")
    os.utime(log, (watch.now + 60, watch.now + 60))
    second = watch.run()
    assert second.fields == {"new": 2, "per_hour": 2, "total": 2, "scanned": 3, "files": 1, "age_s": 0.0}
    assert second.details == {"samples": ["ERROR 1", "ERROR 2"]}
    third = watch.run(120)
    assert (third.fields["new"], third.fields["total"], third.fields["age_s"]) == (0, 2, 120.0)


def test_check_21_every_line_once_through_rotation_and_truncation(log: Path) -> None:
    watch = Watch(log)
    watch.new()
    append(log, "ERROR a")
    assert watch.new() == 1
    append(log, "ERROR b before the rotation")
    rotated = log.rename(log.with_name("app.log.1"))
    append(rotated, "ERROR c by a program that was not told yet")
    append(log, "ERROR d in the new file")
    assert watch.new() == 3
    append(rotated, "ERROR e late")
    append(log, "ERROR f")
    assert watch.new() == 2
    append(log, "ERROR g before the copy")
    shutil.copyfile(log, log.with_name("app.log.2"))
    os.truncate(log, 0)
    append(log, "ERROR h after the truncation")
    assert watch.new() == 2
    assert watch.new() == 0
    assert watch.memory["total"] == 8


def test_truncated_and_grown_beyond_where_it_was(log: Path) -> None:
    watch = Watch(log)
    watch.new()
    append(log, "ERROR before")
    shutil.copyfile(log, log.with_name("app.log.1"))
    os.truncate(log, 0)
    append(log, *[f"ERROR {number} after the truncation" for number in range(50)])
    assert log.stat().st_size > log.with_name("app.log.1").stat().st_size
    assert watch.new() == 51


def test_truncated_and_grown_again_behind_the_same_title(log: Path) -> None:
    """The first bytes are the same: those before the place that was read up to tell."""
    title = "=" * 300
    log.write_text(f"{title}\n" + "INFO of old\n" * 10)
    watch = Watch(log)
    watch.new()
    log.write_text(f"{title}\n" + "ERROR new\n" * 20)
    assert watch.new() == 20


def test_truncated_and_grown_again_with_the_same_line_there(log: Path) -> None:
    """The bytes before the place that was read up to are the same: the first ones tell."""
    log.write_text("old " * 100 + "\n" + "INFO\n" * 100)
    watch = Watch(log)
    watch.new()
    log.write_text("new " * 100 + "\n" + "INFO\n" * 100 + "ERROR\n" * 3 + "ERROR\n")
    found = watch.run()
    assert (found.fields["new"], found.fields["scanned"]) == (4, 105)


def test_an_old_log_that_began_alike_is_no_copy(log: Path) -> None:
    yesterday = log.with_name("app.log.1")
    yesterday.write_text("INFO start\nINFO\nERROR of yesterday\n")
    os.utime(yesterday, (time.time() - 90000, time.time() - 90000))
    log.write_text("INFO start\n")
    watch = Watch(log)
    watch.new()
    log.write_text("ERROR 1\n")
    assert watch.new() == 1


def test_truncated_without_a_copy_begins_anew_and_says_what_may_be_lost(log: Path) -> None:
    watch = Watch(log)
    watch.new()
    log.write_text("ERROR 1\nERROR 2\n")
    found = watch.run()
    assert found.fields["new"] == 2
    assert found.details["rotated_not_found"] == 1


def test_a_pattern_that_also_means_the_rotated_files(log: Path) -> None:
    watch = Watch(f"{log}*")
    watch.new()
    append(log, "ERROR 1")
    log.rename(log.with_name("app.log.1"))
    append(log, "ERROR 2", *["INFO"] * 1000)
    assert watch.new() == 2
    shutil.copyfile(log, log.with_name("app.log.2"))
    assert watch.new() == 0
    append(log, "ERROR 3")
    shutil.copyfile(log, log.with_name("app.log.2"))
    os.truncate(log, 0)
    append(log, "ERROR 4")
    assert watch.new() == 2
    assert watch.new() == 0


@pytest.mark.parametrize("how", ["rename", "compress"])
@pytest.mark.parametrize("wild", ["", "*"])
def test_logs_that_say_the_same_each_day(log: Path, how: str, wild: str) -> None:
    """Without times in the lines, a new log begins as the one before."""
    watch = Watch(f"{log}{wild}")
    watch.new()
    for day in range(4):
        # As long as somebody has the former file open its inode is not given to the new one, which could not be told
        # from the former one then: it begins with the same bytes.
        with log.open("rb") as stream:
            before = stream.read()
            rotated = log.rename(log.with_name(f"app.log.{9 - day}"))
            if how == "compress":
                rotated.with_name(f"{rotated.name}.gz").write_bytes(gzip.compress(before))
                rotated.unlink()
            append(log, "ERROR the job failed", "INFO", *["INFO"] * day)
        assert watch.new() == 1, day
        assert watch.new() == 0


def test_rotated_and_compressed_at_once(log: Path) -> None:
    watch = Watch(f"{log}*")
    watch.new()
    append(log, "ERROR 1", "ERROR 2 just before")
    log.with_name("app.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    append(log, "ERROR 3")
    found = watch.run()
    assert found.fields["new"] == 3
    assert "rotated_not_found" not in found.details
    log.with_name("app.log.1.gz").rename(log.with_name("app.log.2.gz"))
    assert watch.new() == 0


def test_an_empty_log_that_was_written_rotated_and_compressed_before_the_next_run(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    old = tmp_path / "app.log.1.gz"
    old.write_bytes(gzip.compress(b"ERROR of yesterday\n"))
    os.utime(old, (time.time() - 100, time.time() - 100))
    log.touch()
    watch = Watch(log)
    watch.new()
    append(log, "ERROR 1", "ERROR 2")
    log.with_name("app.log.2.gz").write_bytes(gzip.compress(log.read_bytes()))
    with log.open("rb"):  # so that its inode is not given to the new one
        log.unlink()
        append(log, "ERROR 3")
    assert watch.new() == 3


def test_what_was_read_to_the_end_is_not_counted_again_when_it_is_compressed_later(log: Path) -> None:
    watch = Watch(log)
    watch.new()
    append(log, "ERROR 1")
    rotated = log.rename(log.with_name("app.log.1"))
    append(log, "ERROR 2")
    assert watch.new() == 2
    log.with_name("app.log.2.gz").write_bytes(gzip.compress(rotated.read_bytes()))
    rotated.unlink()
    found = watch.run()
    assert (found.fields["new"], "rotated_not_found" in found.details) == (0, False)
    assert len(watch.memory["files"]) == 1


def test_an_inode_that_another_file_got(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ext4 does: a log is compressed, removed, and the new log gets its inode at once."""
    watch = Watch(log)
    watch.new()
    append(log, "ERROR 1")
    key = next(iter(watch.memory["files"]))
    log.with_name("app.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    append(log, *[f"ERROR new {number}" for number in range(5)])
    real = _probe_log._look

    def same_inode(path: str) -> Any:
        one = real(path)
        return one._replace(key=key) if one is not None and path == str(log) else one

    monkeypatch.setattr(_probe_log, "_look", same_inode)
    assert watch.new() == 6


def test_a_rotated_file_is_forgotten_when_it_was_quiet_for_an_hour_and_its_last_line_counts_then(log: Path) -> None:
    watch = Watch(log)
    watch.new()
    append(log, "ERROR 1")
    append(log, "ERROR without an end", end="")
    log.rename(log.with_name("app.log.1"))
    append(log, "INFO")
    assert watch.new() == 1
    assert len(watch.memory["files"]) == 2
    assert watch.new(4000) == 1
    assert len(watch.memory["files"]) == 1


def test_a_last_line_without_its_end_waits(log: Path) -> None:
    append(log, "ERR", end="")
    watch = Watch(log)
    watch.new()
    append(log, "OR begun before the first run", "ERROR", end="")
    assert watch.new() == 1
    append(log, " goes on")
    found = watch.run()
    assert found.details["samples"] == ["ERROR goes on"]


def test_a_file_that_appears_later_counts_from_its_start(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "*.log")
    assert watch.run().fields["files"] == 0
    append(tmp_path / "a.log", "ERROR 1")
    append(tmp_path / "b.log", "ERROR 2", "ERROR 3")
    found = watch.run()
    assert (found.fields["files"], found.fields["new"]) == (2, 3)


def test_a_log_that_is_not_there_is_bad(tmp_path: Path) -> None:
    probe = {"name": "x", "type": "log", "path": str(tmp_path / "none.log"), "match": "ERROR"}
    (result,) = run_probes(normalise([probe]))
    assert (result["status"], "files is 0" in result["message"]) == ("critical", True)


def test_a_run_reads_what_it_may_and_the_next_one_goes_on(log: Path) -> None:
    watch = Watch(log, max_bytes=200_000)
    watch.new()
    append(log, *[f"ERROR {number:06d} {'x' * 80}" for number in range(10_000)])
    counts, backlogs = [], []
    for _run in range(20):
        found = watch.run()
        counts.append(found.fields["new"])
        backlogs.append(found.details.get("backlog_bytes", 0))
        if not backlogs[-1]:
            break
    assert sum(counts) == 10_000
    assert 3 <= len(counts) <= 6
    assert backlogs == sorted(backlogs, reverse=True)


def test_a_run_whose_time_is_over_counts_what_it_read_and_the_next_one_the_rest(log: Path) -> None:
    watch = Watch(log)
    watch.new()
    append(log, *[f"ERROR {number:06d} {'x' * 80}" for number in range(10_000)])
    moments = iter([0.0, 1.0, 2.0, 2.0])  # then the machine stands still, past the deadline
    context = Context(5, watch.memory, watch.now, clock=lambda: next(moments, 99.0))
    with pytest.raises(ProbeFailed, match="no answer within 5 s"):
        _probe_log.check(watch.spec, context)
    first = context.found.fields["new"]
    assert 0 < first < 10_000
    assert watch.new() == 10_000 - first


def test_backlog_in_a_rotated_file_is_read_on(log: Path) -> None:
    watch = Watch(log, max_bytes=200_000)
    watch.new()
    append(log, *[f"ERROR {number:06d} {'x' * 80}" for number in range(6_000)])
    log.rename(log.with_name("app.log.1"))
    append(log, "ERROR last")
    assert sum(watch.new() for _run in range(6)) == 6_001


def test_a_line_of_a_megabyte_is_cut_and_counted_once(log: Path) -> None:
    watch = Watch(log)
    watch.new()
    append(log, "ERROR " + "x" * 1_000_000, end="")
    counts = [watch.new()]
    append(log, "x ERROR in the same line", "ERROR 2")
    counts.append(watch.new())
    assert counts == [1, 1]


def test_a_line_is_looked_at_as_far_as_64_kib(log: Path) -> None:
    watch = Watch(log)
    watch.new()
    append(log, "x" * 65_530 + "ERROR", "x" * 65_535 + " ERROR")
    assert watch.new() == 1


def test_a_first_run_in_the_middle_of_a_long_line(log: Path) -> None:
    append(log, "x" * 100_000 + "ERROR of old" + "x" * 100, end="")
    watch = Watch(log)
    assert watch.new() == 0
    append(log, "x ERROR in the same line", "ERROR 2")
    assert watch.new() == 1


def test_ignore_and_samples(log: Path) -> None:
    watch = Watch(log, match="ERROR|CRITICAL", ignore="ERROR 13")
    watch.new()
    append(log, "ERROR 13", "ERROR 14 " + "y" * 300, "CRITICAL", "ERROR 15", "ERROR 16")
    found = watch.run()
    assert found.fields["new"] == 4
    assert [len(sample) for sample in found.details["samples"]] == [200, 8, 8]


def test_lines_of_the_last_hour(log: Path) -> None:
    watch = Watch(log)
    watch.new()
    for _minute in range(90):
        append(log, "ERROR", "ERROR")
        found = watch.run(60)
    assert (found.fields["per_hour"], found.fields["total"]) == (120, 180)
    assert len(watch.memory["minutes"]) == 60
    assert watch.run(3600).fields["per_hour"] == 0


def test_the_clock_an_hour_back(log: Path) -> None:
    watch = Watch(log)
    watch.new()
    append(log, "ERROR")
    assert watch.run().fields["per_hour"] == 1
    found = watch.run(-3600)
    assert found.fields["age_s"] == 0
    append(log, "ERROR")
    assert watch.run(60).fields["new"] == 1


def test_wrong_expressions_are_own_faults(log: Path) -> None:
    watch = Watch(log)
    for option, text in (("match", "("), ("ignore", "[")):
        watch.spec = {**watch.spec, option: text}
        with pytest.raises(OwnFault, match=rf"{option} is '\{text}', which is no regular expression"):
            watch.run()
        watch.spec["match"] = "ERROR"


def test_bytes_that_are_no_text(log: Path) -> None:
    watch = Watch(log, match="ERROR é")
    watch.new()
    with log.open("ab") as stream:
        stream.write(b"\xff\xfe ERROR \xc3\xa9 \x00\r\nERROR \xe9\n")
    assert watch.new() == 1


def test_names_with_brackets_and_hidden_files(tmp_path: Path) -> None:
    append(tmp_path / "a[1].log", "x")
    append(tmp_path / "a1.log", "x")
    append(tmp_path / ".a.log", "x")
    (tmp_path / "d.log").mkdir()
    expand = _probe_log.expand
    assert expand(f"{tmp_path}/a[1]*") == [f"{tmp_path}/a[1].log"]
    assert expand(f"{tmp_path}/*.log") == [f"{tmp_path}/{name}" for name in ("a1.log", "a[1].log", "d.log")]
    assert expand(f"{tmp_path}/../{tmp_path.name}/a?.log") == [f"{tmp_path}/../{tmp_path.name}/a1.log"]
    assert expand(f"{tmp_path}/none/*") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_a_file_that_may_not_be_read_is_an_own_fault(log: Path) -> None:
    log.parent.chmod(0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(OwnFault, match="may not be read by this user"):
            Watch(log.parent / "*.log").run()
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_events_counts_every_line_once(tmp_path: Path, seed: int) -> None:
    """Lines, rotations of four kinds and runs in any order; a run follows each rotation before the next one."""
    chance = random.Random(seed)  # noqa: S311 - the same order for the same seed
    log = tmp_path / "app.log"
    log.touch()
    watch = Watch(log)
    watch.new()
    written = counted = number = 0
    for _step in range(120):
        event = chance.choice(["write"] * 6 + ["run"] * 2 + ["rename", "copy", "compress", "copy compressed"])
        if event == "write":
            for _line in range(chance.randrange(1, 30)):
                append(log, f"{number} ERROR {'z' * chance.randrange(200)}")
                number += 1
                written += 1
        if event in ("rename", "copy", "compress", "copy compressed") and log.stat().st_size:
            counted += watch.new()
            append(log, f"{number} ERROR between run and rotation")
            number += 1
            written += 1
            for old in sorted(tmp_path.glob("app.log.*"), reverse=True):
                name, _dot, place = old.name.replace(".gz", "").rpartition(".")
                suffix = ".gz" if old.name.endswith(".gz") else ""
                old.rename(tmp_path / f"{name}.{int(place) + 1:03d}{suffix}")
            target = tmp_path / "app.log.001"
            if event == "rename":
                log.rename(target)
            else:
                shutil.copyfile(log, target)
                if event == "compress":
                    log.unlink()
                else:
                    os.truncate(log, 0)
                if event != "copy":
                    target.with_name("app.log.001.gz").write_bytes(gzip.compress(target.read_bytes()))
                    target.unlink()
            if chance.random() < 0.5 or not log.exists():
                append(log, f"{number} ERROR after the rotation")
                number += 1
                written += 1
        if event != "write":
            counted += watch.new()
    counted += watch.new()
    assert counted == written


LOGROTATE = shutil.which("logrotate") or "/usr/sbin/logrotate"


@pytest.mark.skipif(not Path(LOGROTATE).exists(), reason="logrotate is not installed")
@pytest.mark.parametrize("how", ["create", "copytruncate", "compress", "copytruncate\n compress", "nocreate"])
def test_with_logrotate(tmp_path: Path, how: str) -> None:
    tmp_path.chmod(0o755)
    log = tmp_path / "app.log"
    append(log, "INFO")
    watch = Watch(f"{log}*")
    watch.new()
    config = tmp_path / "rotate.conf"
    config.write_text(f"{log} {{\n rotate 3\n missingok\n {how}\n}}\n")
    total = 0
    for number in range(4):
        append(log, *[f"ERROR {number} {line}" for line in range(10)])
        command = [LOGROTATE, "--force", "--state", str(tmp_path / "state"), str(config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        append(log, f"ERROR {number} after")
        total += watch.new()
    assert total == 44
    assert watch.new() == 0


def test_sixteen_megabytes_in_a_second(log: Path) -> None:
    watch = Watch(log, match=r"ERROR|CRITICAL", ignore="ERROR 13")
    watch.new()
    line = f"127.0.0.1 - - [21/Nov/2026:15:00:00 +0000] GET /api/v1/orders HTTP/1.1 200 {'x' * 40}\n"
    with log.open("a", encoding="utf-8") as stream:
        stream.write((line * 1000 + "ERROR\n") * 100)
    began = time.process_time()
    assert watch.new() == 100
    assert time.process_time() - began < 1
