# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disk, memory, processors and load: against what the kernel says here, and against files of other kernels."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.quai.ops.plugins.module_utils import _probe_machine
from ansible_collections.quai.ops.plugins.module_utils._probe_base import Context, Found, OwnFault, ProbeFailed
from ansible_collections.quai.ops.plugins.module_utils._probe_engine import run_probes
from ansible_collections.quai.ops.plugins.module_utils._probe_machine import full_in_days
from ansible_collections.quai.ops.plugins.module_utils._probe_spec import normalise

DAY = 86400
NOW = 1_800_000_000.0
GIB = 1024**3
MEMINFO = """MemTotal:        4000000 kB
MemFree:          100000 kB
MemAvailable:    1000000 kB
SwapTotal:       1000000 kB
SwapFree:         750000 kB
HugePages_Total:       0
"""


def ask(kind: str, memory: dict[str, Any] | None = None, now: float = NOW, **options: Any) -> Found:
    spec = normalise([{"name": "x", "type": kind, **options}])[0]
    context = Context(5, memory, now)
    getattr(_probe_machine, f"check_{kind}")(spec, context)
    return context.found


def proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **files: str) -> Path:
    """A /proc with these files, by their names with slashes as two underscores."""
    for name, content in files.items():
        path = tmp_path / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.setattr(_probe_machine, "PROC", str(tmp_path))
    return tmp_path


def test_disk_has_the_numbers_of_df(tmp_path: Path) -> None:
    found = ask("disk", path=str(tmp_path))
    command = ["df", "--output=pcent,avail,ipcent,target", "-B1", str(tmp_path)]
    percent, available, inodes, mount = (
        subprocess.run(
            command, capture_output=True, text=True, check=True, env={"LC_ALL": "C", "PATH": os.environ["PATH"]}
        )
        .stdout.splitlines()[1]
        .split()
    )
    # df rounds up, and the disk is in use while we look.
    assert found.fields["used_pct"] == pytest.approx(float(percent.rstrip("%")), abs=1.1)
    assert found.fields["free_bytes"] == pytest.approx(int(available), rel=0.02)
    assert found.fields["free_gib"] == pytest.approx(found.fields["free_bytes"] / GIB, abs=0.01)
    assert found.fields["inodes_used_pct"] == pytest.approx(float(inodes.rstrip("%")), abs=1.1)
    assert found.fields["read_only"] is False
    assert found.fields["full_in_days"] is None
    assert found.details["mount"] == mount


def test_a_path_that_is_not_there_and_one_without_room() -> None:
    with pytest.raises(ProbeFailed, match="/no/such/disk is not there; is its filesystem mounted") as raised:
        ask("disk", path="/no/such/disk")
    assert raised.value.reason == "missing"
    with pytest.raises(ProbeFailed, match="without any room"):
        ask("disk", path="/proc")


def test_a_read_only_disk_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs("/")
    seen = os.statvfs_result((*real[:8], real.f_flag | os.ST_RDONLY, real.f_namemax))
    monkeypatch.setattr(os, "statvfs", lambda path: seen)
    (result,) = run_probes(normalise([{"name": "disk", "type": "disk", "path": "/"}]))
    assert result["status"] == "critical"
    assert "read_only is true" in result["message"]


def test_a_disk_without_inodes_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs("/")
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((*real[:5], 0, 0, 0, *real[8:])))
    assert ask("disk", path="/").fields["inodes_used_pct"] is None


def grow(monkeypatch: pytest.MonkeyPatch, used: Callable[[float], float], days: float, step: float = 600) -> Any:
    """Probe a disk of 1000 GiB every ten minutes; the last run's C(full_in_days) and the memory."""
    memory: dict[str, Any] = {}
    found = Found()
    total = 1000 * GIB // 4096
    at = NOW
    while at <= NOW + days * DAY:
        blocks = int(used(at - NOW) * GIB) // 4096
        seen = os.statvfs_result((4096, 4096, total, total - blocks, total - blocks, 1000, 900, 900, 0, 255))
        monkeypatch.setattr(os, "statvfs", lambda path, seen=seen: seen)
        found = ask("disk", memory, at, path="/")
        at += step
    return found.fields["full_in_days"], memory


def test_trend_of_a_disk_that_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    full, memory = grow(monkeypatch, lambda seconds: 100 + 10 * seconds / DAY, 8)
    assert full == pytest.approx((900 - 80) / 10, abs=0.5)
    assert len(memory["samples"]) == pytest.approx(8 * 24, abs=1)


def test_trend_needs_days_and_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    assert grow(monkeypatch, lambda seconds: 100 + 10 * seconds / DAY, 6.9)[0] is None
    assert grow(monkeypatch, lambda seconds: 500.0, 8, 3600)[0] is None
    assert grow(monkeypatch, lambda seconds: 500 - seconds / DAY, 8, 3600)[0] is None
    # Logs that are written all day and removed at night are no trend.
    assert grow(monkeypatch, lambda seconds: 500 + 20 * (seconds % DAY) / DAY, 8, 3600)[0] is None


def test_samples_are_kept_for_30_days_and_those_of_a_wrong_clock_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    full, memory = grow(monkeypatch, lambda seconds: 100 + seconds / DAY, 40, 3600)
    assert full == pytest.approx(900 - 40, rel=0.01)
    assert len(memory["samples"]) == 30 * 24 + 1
    memory["samples"].append([NOW + 400 * DAY, 5])
    ask("disk", memory, NOW + 40 * DAY + 3600, path="/")
    assert memory["samples"][-1][0] == NOW + 40 * DAY + 3600


def test_the_clock_an_hour_back_adds_no_sample_and_harms_nothing() -> None:
    memory: dict[str, Any] = {}
    ask("disk", memory, NOW, path="/")
    ask("disk", memory, NOW - 3600, path="/")
    assert [one[0] for one in memory["samples"]] == [NOW]


def test_two_samples_far_apart_are_no_trend() -> None:
    assert full_in_days([(0, 0), (8 * DAY, 8 * GIB)], GIB, 7) is None
    assert full_in_days([], GIB, 7) is None


def test_memory_of_this_host_is_that_of_free() -> None:
    found = ask("memory")
    words = subprocess.run(["free", "-b"], capture_output=True, text=True, check=True).stdout.splitlines()[1].split()
    assert found.details["total_bytes"] == int(words[1])
    assert found.fields["available_bytes"] == pytest.approx(int(words[6]), rel=0.1)


def test_memory_swap_and_kills(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = proc(monkeypatch, tmp_path, meminfo=MEMINFO, vmstat="nr_free 1\noom_kill 7\n")
    memory: dict[str, Any] = {}
    first = ask("memory", memory)
    assert first.fields == {
        "used_pct": 75.0, "available_bytes": 1_024_000_000, "swap_used_pct": 25.0, "oom_kills": None,
    }  # fmt: skip
    (root / "vmstat").write_text("oom_kill 9\n")
    assert ask("memory", memory).fields["oom_kills"] == 2
    assert ask("memory", memory).fields["oom_kills"] == 0
    # After a boot the kernel counts from 0 again.
    (root / "vmstat").write_text("oom_kill 1\n")
    assert ask("memory", memory).fields["oom_kills"] == 1


def test_a_boot_with_as_many_kills_as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = proc(monkeypatch, tmp_path, meminfo=MEMINFO, vmstat="oom_kill 2\n", sys__kernel__random__boot_id="one\n")
    memory: dict[str, Any] = {}
    ask("memory", memory)
    (root / "sys/kernel/random/boot_id").write_text("two\n")
    assert ask("memory", memory).fields["oom_kills"] == 2


def test_memory_without_swap_and_without_a_count_of_kills(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    meminfo = MEMINFO.replace("1000000 kB\nSwapFree:         750000", "0 kB\nSwapFree:              0")
    proc(monkeypatch, tmp_path, meminfo=meminfo, vmstat="nr_free 1\n")
    fields = ask("memory").fields
    assert (fields["swap_used_pct"], fields["oom_kills"]) == (None, None)


def test_a_kernel_that_does_not_say_is_an_own_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    proc(monkeypatch, tmp_path, meminfo="MemTotal: 5 kB\n", vmstat="", stat="intr 5\n")
    with pytest.raises(OwnFault, match="MemAvailable"):
        ask("memory")
    with pytest.raises(OwnFault, match="does not say the times"):
        ask("cpu")
    with pytest.raises(OwnFault, match="loadavg cannot be read: No such file"):
        ask("load")


def test_cpu_since_the_last_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = proc(monkeypatch, tmp_path, stat="cpu  1000 0 1000 8000 500 0 0 100 300 0\ncpu0 1 2\n")
    memory = {"cpu": ["", [0, 0, 0, 0, 0, 0, 0, 0]]}
    first = ask("cpu", memory)
    # 2000 of 10600 ticks, the time of guests not twice.
    assert first.fields == {"used_pct": 18.9, "iowait_pct": 4.7, "steal_pct": 0.9}
    (root / "stat").write_text("cpu  1050 0 1050 8100 490 0 0 100 300 0\n")
    # The time of waiting went back, as it does now and then: it counts as none.
    assert ask("cpu", memory).fields == {"used_pct": 50.0, "iowait_pct": 0.0, "steal_pct": 0.0}


def test_cpu_in_a_first_run_and_after_a_boot_is_a_sample() -> None:
    memory: dict[str, Any] = {}
    first = ask("cpu", memory)
    assert first.details["sample"] == "0.2 s"
    assert 0 <= first.fields["used_pct"] <= 100
    memory["cpu"][0] = "another boot"
    assert "sample" in ask("cpu", memory).details
    memory["cpu"][1] = [number + 10**9 for number in memory["cpu"][1]]
    assert "sample" in ask("cpu", memory).details


def test_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    proc(monkeypatch, tmp_path, loadavg="0.50 3.00 1.25 2/345 6789\n", stat="cpu  1 2\ncpu0 1\ncpu1 1\n")
    found = ask("load")
    assert found.fields == {"load1": 0.5, "load5": 3.0, "load15": 1.25, "per_cpu": 1.5}
    assert found.details["processors"] == 2


@pytest.mark.skipif(shutil.which("nproc") is None, reason="nproc is not installed")
def test_processors_of_this_host() -> None:
    count = int(subprocess.run(["nproc", "--all"], capture_output=True, text=True, check=True).stdout)
    assert ask("load").details["processors"] == count
