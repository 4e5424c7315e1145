# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups (acceptance check 22), proofs of a restore, signs of life, sizes: on real files."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _probe_files
from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, Found, OwnFault, ProbeFailed
from ansible_collections.quai.ops.plugins.module_utils._probe_engine import run_probes
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import normalise

HOUR = 3600
NOW = float(int(time.time()))


def probe(kind: str, memory: dict[str, Any] | None = None, now: float = NOW, **options: Any) -> dict[str, Any]:
    """Through the engine, as the watch does."""
    specs = normalise([{"name": "x", "type": kind, **options}])
    kept = {} if memory is None else {"x": memory}
    (result,) = run_probes(specs, memory=kept, now=now)
    if memory is not None:
        kept = json.loads(json.dumps(kept))
        memory.clear()
        memory.update(kept.get("x", {}))
    return result


def ask(kind: str, memory: dict[str, Any] | None = None, now: float = NOW, **options: Any) -> Found:
    context = Context(5, memory, now)
    getattr(_probe_files, f"check_{kind}")(normalise([{"name": "x", "type": kind, **options}])[0], context)
    return context.found


def make(path: Path, age: float, size: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (NOW - age, NOW - age))
    return path


def test_check_22_a_backup_a_little_older_than_a_day_is_fine(tmp_path: Path) -> None:
    make(tmp_path / "a.zst", 24 * HOUR + 3)
    result = probe("backup", glob=f"{tmp_path}/*.zst", max_age="26h")
    assert (result["status"], result["value"], result["unit"]) == ("ok", 24 * HOUR + 3, "s")
    assert result["message"] == "the last backup: 24 h ago"


def test_check_22_an_empty_newest_backup(tmp_path: Path) -> None:
    make(tmp_path / "a.zst", HOUR * 20)
    make(tmp_path / "b.zst", HOUR, 0)
    result = probe("backup", glob=f"{tmp_path}/*.zst", max_age="26h")
    assert (result["status"], result["reason"]) == ("critical", "empty")
    assert result["message"] == f"the newest backup, {tmp_path}/b.zst, is empty"


def test_check_22_no_backup_at_all(tmp_path: Path) -> None:
    result = probe("backup", glob=f"{tmp_path}/*.zst")
    assert (result["status"], result["reason"], result["value"]) == ("critical", "missing", None)
    result = probe("backup", success_file=f"{tmp_path}/.ok")
    assert (result["status"], result["reason"], result["value"]) == ("critical", "missing", None)


def test_check_22_a_fresh_sentinel_beside_old_objects(tmp_path: Path) -> None:
    make(tmp_path / "a.zst", 90 * 24 * HOUR)
    make(tmp_path / ".ok", HOUR, 0)
    result = probe("backup", glob=f"{tmp_path}/*.zst", success_file=f"{tmp_path}/.ok", max_age="26h")
    assert (result["status"], result["value"]) == ("ok", HOUR)


def test_an_old_sentinel_counts_although_the_files_are_new(tmp_path: Path) -> None:
    make(tmp_path / "a.zst", HOUR)
    make(tmp_path / ".ok", 31 * HOUR, 0)
    result = probe("backup", glob=f"{tmp_path}/*.zst", success_file=f"{tmp_path}/.ok", max_age="26h")
    assert (result["status"], result["reason"]) == ("critical", "stale")
    assert result["message"] == "the last backup: 31 h ago, more than 26 h"


def test_a_backup_that_is_too_small_and_one_that_shrank(tmp_path: Path) -> None:
    make(tmp_path / "a.zst", 25 * HOUR, 1000)
    make(tmp_path / "b.zst", HOUR, 400)
    result = probe("backup", glob=f"{tmp_path}/*.zst", min_bytes=500)
    assert (result["status"], result["reason"]) == ("critical", "size")
    result = probe("backup", glob=f"{tmp_path}/*.zst")
    assert result["status"] == "warning"
    found = ask("backup", glob=f"{tmp_path}/*.zst")
    assert found.fields == {
        "age_s": HOUR, "bytes": 400, "change_pct": -60.0, "shrunk": True, "count": 2,
    }  # fmt: skip
    assert probe("backup", glob=f"{tmp_path}/*.zst", shrink_warn_pct=70)["status"] == "ok"
    (tmp_path / "a.zst").unlink()
    fields = ask("backup", glob=f"{tmp_path}/*.zst").fields
    assert (fields["change_pct"], fields["shrunk"]) == (None, None)


def test_a_time_in_the_future_is_never_fresh(tmp_path: Path) -> None:
    make(tmp_path / "a.zst", -HOUR)
    result = probe("backup", glob=f"{tmp_path}/*.zst")
    assert (result["status"], result["reason"], result["value"]) == ("critical", "stale", None)
    assert "is 60 min in the future, so its age is unknown" in result["message"]
    make(tmp_path / "a.zst", -200)
    assert probe("backup", glob=f"{tmp_path}/*.zst")["value"] == 0
    make(tmp_path / "beat", -301)
    result = probe("heartbeat", file=str(tmp_path / "beat"), max_age="2m")
    assert (result["status"], result["reason"], result["value"]) == ("critical", "heartbeat", None)


def test_proof_of_a_restore(tmp_path: Path) -> None:
    proof = tmp_path / "restored"
    result = probe("drill", success_file=str(proof))
    assert (result["status"], result["reason"], result["value"]) == ("critical", "missing", None)
    assert result["message"] == f"no restore was ever proved: there is no {proof}"
    make(proof, 39 * 24 * HOUR)
    assert probe("drill", success_file=str(proof))["status"] == "ok"
    make(proof, 41 * 24 * HOUR)
    result = probe("drill", success_file=str(proof))
    assert (result["status"], result["reason"]) == ("critical", "stale")
    assert result["message"] == "the last proved restore: 41 days ago, more than 40 days"


def test_a_file_that_is_touched(tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    result = probe("heartbeat", file=str(beat), max_age=130)
    assert (result["status"], result["reason"], result["value"]) == ("critical", "missing", None)
    make(beat, 129)
    assert (probe("heartbeat", file=str(beat), max_age=130)["status"]) == "ok"
    make(beat, 131)
    result = probe("heartbeat", file=str(beat), max_age=130)
    assert (result["status"], result["reason"], result["value"]) == ("critical", "heartbeat", 131)
    assert result["message"] == f"{beat} was touched: 2 min ago, more than 2 min"


def test_a_line_in_a_log(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    memory: dict[str, Any] = {}
    options: dict[str, Any] = {"log": str(log), "match": "done$", "max_age": "5m"}
    result = probe("heartbeat", memory, **options)
    assert (result["status"], result["reason"], result["value"]) == ("critical", "missing", None)
    log.write_text("starting\n")
    result = probe("heartbeat", memory, **options)
    assert (result["reason"], result["message"]) == (
        "missing",
        f"there never was a sign of life: {log} has no line that is 'done$'",
    )
    with log.open("a") as stream:
        stream.write("job 1 done\n")
    os.utime(log, (NOW + 60, NOW + 60))
    assert probe("heartbeat", memory, NOW + 60, **options)["value"] == 0
    with log.open("a") as stream:
        stream.write("job 2 fails\n" * 100)
    assert probe("heartbeat", memory, NOW + 360, **options)["status"] == "ok"
    result = probe("heartbeat", memory, NOW + 361, **options)
    assert (result["status"], result["reason"], result["value"]) == ("critical", "heartbeat", 301)
    # A rotation is no sign of life, and hides none.
    log.rename(log.with_name("worker.log.1"))
    with log.with_name("worker.log.1").open("a") as stream:
        stream.write("job 3 done\n")
    os.utime(log.with_name("worker.log.1"), (NOW + 400, NOW + 400))
    log.touch()
    assert probe("heartbeat", memory, NOW + 400, **options)["value"] == 0
    # What was written while nobody watched is as old as the file, however late it is read.
    log.write_text("job 4 done\n")
    os.utime(log, (NOW + 500, NOW + 500))
    result = probe("heartbeat", memory, NOW + 4000, **options)
    assert (result["status"], result["reason"], result["value"]) == ("critical", "heartbeat", 3500)


def test_a_first_look_at_a_log_goes_back(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("job 1 done\n" + "x" * 500_000 + "\njob 2\n")
    os.utime(log, (NOW - 100, NOW - 100))
    options: dict[str, Any] = {"log": str(log), "match": "done$", "max_age": "5m"}
    assert probe("heartbeat", None, **options)["value"] == 100
    memory: dict[str, Any] = {}
    assert probe("heartbeat", memory, **options)["value"] == 100
    assert probe("heartbeat", memory, NOW + 100, **options)["value"] == 200
    assert probe("heartbeat", memory, NOW + 201, **options)["reason"] == "heartbeat"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not look")
def test_what_may_not_be_looked_at_is_an_own_fault(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    make(hidden / "file", 10)
    hidden.chmod(0o700)
    os.seteuid(65534)
    try:
        for kind, options in (
            ("backup", {"glob": f"{hidden}/*"}),
            ("backup", {"success_file": f"{hidden}/file"}),
            ("drill", {"success_file": f"{hidden}/file"}),
            ("heartbeat", {"file": f"{hidden}/file", "max_age": 60}),
            ("size", {"path": str(hidden)}),
        ):
            with pytest.raises(OwnFault, match="run as root"):
                ask(kind, **options)
    finally:
        os.seteuid(0)


def test_size_is_that_of_du(tmp_path: Path) -> None:
    make(tmp_path / "tree/a", 0, 100_000)
    make(tmp_path / "tree/b/c/d", 0, 5)
    os.link(tmp_path / "tree/a", tmp_path / "tree/b/a-again")
    (tmp_path / "tree/loop").symlink_to(tmp_path)
    (tmp_path / "tree/dangling").symlink_to("/no/such")
    du = subprocess.run(["du", "-s", "-B1", str(tmp_path / "tree")], capture_output=True, text=True, check=True)
    found = ask("size", path=str(tmp_path / "tree"))
    assert found.fields["bytes"] == int(du.stdout.split()[0])
    assert (found.fields["files"], found.fields["too_big"]) == (4, None)


def test_size_of_one_file_of_a_link_and_of_nothing(tmp_path: Path) -> None:
    make(tmp_path / "a", 0, 5000)
    (tmp_path / "current").symlink_to("a")
    assert ask("size", path=str(tmp_path / "current")).fields["bytes"] == (tmp_path / "a").stat().st_blocks * 512
    with pytest.raises(ProbeFailed, match="there is no") as raised:
        ask("size", path=str(tmp_path / "none"))
    assert raised.value.reason == "missing"


def test_a_size_above_its_limit_is_a_warning(tmp_path: Path) -> None:
    make(tmp_path / "a", 0, 50_000)
    assert probe("size", path=str(tmp_path / "a"), max_bytes="40KiB")["status"] == "warning"
    assert probe("size", path=str(tmp_path / "a"), max_bytes="1MiB")["status"] == "ok"


def test_size_stays_on_its_filesystem() -> None:
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    assert any(place.startswith("/dev/") for place in mounted)
    command = ["find", "/dev", "-xdev", "!", "-type", "d", "!", "-path", "/dev/fd/*"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    inside = [name for name in names if name not in mounted]  # a mounted file belongs to its own filesystem
    assert ask("size", path="/dev").fields["files"] == len(inside)


def test_size_ends_at_its_deadline(tmp_path: Path) -> None:
    make(tmp_path / "a", 0)
    ticks = iter(range(1000))
    context = Context(5, clock=lambda: next(ticks) * 3.0)
    with pytest.raises(ProbeFailed, match="no answer within 5 s") as raised:
        _probe_files.check_size({"path": str(tmp_path.parent), "max_bytes": None}, context)
    assert raised.value.reason == "timeout"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172799, "48 h"), (172800, "2 days")],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert _probe_files.words(seconds) == text
