"""Cores and memory, read from cgroup trees as they look in containers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sightline import machine
from sightline.machine import Budget, cores, engine_threads, memory_limit

GIB = 2**30
UNLIMITED = str(2**63 - 4096)  # what v1 says where there is no limit
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"


def v1(controller: str, mounted: str = "/") -> str:
    point = f"/sys/fs/cgroup/{controller}"
    return f"33 31 0:30 {mounted} {point} rw,relatime master:9 - cgroup cgroup rw,{controller}"


@pytest.fixture(autouse=True)
def _large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_affinity", lambda: 16)
    monkeypatch.setattr(machine, "_physical_memory", lambda: 64 * GIB)


def tree(root: Path, cgroup: str, mounts: list[str], **files: str) -> Path:
    """A root folder whose kernel files say so; `files` lie under /sys/fs/cgroup."""
    proc = root / "proc/self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text(cgroup)
    (proc / "mountinfo").write_text(
        "\n".join(["23 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw", *mounts])
    )
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def test_v2_limits_of_every_level_count(tmp_path: Path) -> None:
    """The pod's limit binds although the container's own cgroup has none."""
    files = {
        "pod/app/cpu.max": "max 100000",
        "pod/cpu.max": "250000 100000",
        "cpu.max": "800000 100000",
        "pod/app/memory.max": "max",
        "pod/memory.max": str(2 * GIB),
    }
    root = tree(tmp_path, "0::/pod/app\n", [V2], **files)
    assert cores(root) == 3, "two and a half, rounded up"
    assert memory_limit(root) == 2 * GIB


def test_v2_in_a_namespace_of_its_own(tmp_path: Path) -> None:
    """Docker's default: the path is "/", and the mounted folder has the limits."""
    files = {"cpu.max": "50000 100000", "memory.max": str(GIB), "memory.high": "max"}
    root = tree(tmp_path, "0::/\n", [V2], **files)
    assert cores(root) == 1
    assert memory_limit(root) == GIB


def test_memory_high_counts(tmp_path: Path) -> None:
    files = {"memory.max": str(2 * GIB), "memory.high": str(GIB)}
    assert memory_limit(tree(tmp_path, "0::/\n", [V2], **files)) == GIB


def test_v1(tmp_path: Path) -> None:
    files = {
        "cpu/app/cpu.cfs_quota_us": "-1",
        "cpu/app/cpu.cfs_period_us": "100000",
        "cpu/cpu.cfs_quota_us": "400000",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/app/memory.limit_in_bytes": str(3 * GIB),
        "memory/memory.limit_in_bytes": UNLIMITED,
    }
    root = tree(tmp_path, "4:memory:/app\n3:cpu,cpuacct:/app\n", [v1("cpu"), v1("memory")], **files)
    assert cores(root) == 4
    assert memory_limit(root) == 3 * GIB


def test_v1_seen_from_inside_a_container(tmp_path: Path) -> None:
    """The path is the host's, and only that folder is mounted."""
    files = {
        "cpu/cpu.cfs_quota_us": "150000",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": str(GIB),
    }
    mounts = [v1("cpu", "/docker/8f"), v1("memory", "/docker/8f")]
    root = tree(tmp_path, "4:memory:/docker/8f\n3:cpu:/docker/8f\n0::/\n", mounts, **files)
    assert cores(root) == 2
    assert memory_limit(root) == GIB


def test_hybrid(tmp_path: Path) -> None:
    """Memory under v1, the cpu controller under v2: each counts where it is."""
    unified = V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    files = {
        "unified/app/cpu.max": "200000 100000",
        "memory/job/memory.limit_in_bytes": str(GIB),
        "unified/app/memory.max": "1",  # seen only if the hierarchies were mixed up
    }
    root = tree(tmp_path, "4:memory:/job\n1:name=systemd:/app\n0::/app\n", [v1("memory"), unified])
    (root / "sys/fs/cgroup").mkdir(parents=True)
    for name, text in files.items():
        if name != "unified/app/memory.max":
            (root / "sys/fs/cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "sys/fs/cgroup" / name).write_text(text)
    assert cores(root) == 2
    assert memory_limit(root) == GIB


@pytest.mark.parametrize("path", ["/../other", "/elsewhere"])
def test_a_path_outside_what_is_mounted(tmp_path: Path, path: str) -> None:
    """What is mounted is the best there is."""
    mounts = [V2.replace(" / /sys", " /pod /sys")]
    root = tree(tmp_path, f"0::{path}\n", mounts, **{"memory.max": str(GIB)})
    (root / "sys/fs/other").mkdir()
    (root / "sys/fs/other/memory.max").write_text("1")
    assert memory_limit(root) == GIB


def test_a_mount_point_with_a_space(tmp_path: Path) -> None:
    root = tree(tmp_path, "0::/\n", [V2.replace("fs/cgroup", "fs/cgroup/my\\040groups")])
    folder = root / "sys/fs/cgroup/my groups"
    folder.mkdir(parents=True)
    (folder / "memory.max").write_text(str(GIB))
    assert memory_limit(root) == GIB


def test_no_cgroups_at_all(tmp_path: Path) -> None:
    assert cores(tmp_path) == 16
    assert memory_limit(tmp_path) == 64 * GIB


@pytest.mark.parametrize("text", ["", "max", "-1", "0", "many", "9" * 5000, "1 2 3", "\x00", "½"])
def test_odd_values_limit_nothing(tmp_path: Path, text: str) -> None:
    names = ("cpu.max", "memory.max", "memory.high", "memory.limit_in_bytes", "cpu.cfs_quota_us")
    root = tree(tmp_path, "0::/a\n4:memory:/\n", [V2, v1("memory")])
    for folder in (root / "sys/fs/cgroup", root / "sys/fs/cgroup/a", root / "sys/fs/cgroup/memory"):
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).write_text(text)
    assert cores(root) == 16
    assert memory_limit(root) == 64 * GIB


@pytest.mark.parametrize(
    "lines", ["", "nonsense", "0:", "::::", "a - b", "- - -", " - cgroup2 x y"]
)
def test_odd_tables_limit_nothing(tmp_path: Path, lines: str) -> None:
    root = tree(tmp_path, lines, [lines], **{"memory.max": str(GIB)})
    assert cores(root) == 16
    assert memory_limit(root) == 64 * GIB


def test_bytes_that_are_no_text_limit_nothing(tmp_path: Path) -> None:
    root = tree(tmp_path, "0::/\n", [V2], **{"cpu.max": "100000 100000"})
    (root / "sys/fs/cgroup/memory.max").write_bytes(b"\xff\xfe\x80")
    assert memory_limit(root) == 64 * GIB
    assert cores(root) == 1


def test_a_folder_where_a_file_should_be_limits_nothing(tmp_path: Path) -> None:
    root = tree(tmp_path, "0::/\n", [V2])
    (root / "sys/fs/cgroup/memory.max").mkdir(parents=True)
    assert memory_limit(root) == 64 * GIB


def test_the_smallest_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"cpu.max": "400000 100000", "memory.max": str(128 * GIB)}
    root = tree(tmp_path, "0::/\n", [V2], **files)
    assert memory_limit(root) == 64 * GIB, "more than the machine has"
    monkeypatch.setattr(machine, "_affinity", lambda: 2)
    assert cores(root) == 2


def test_an_engine_counts_for_itself_where_the_machine_is_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(machine, "cores", lambda: 8)
    assert engine_threads() == 0
    monkeypatch.setattr(machine, "cores", lambda: 3)
    assert engine_threads() == 3


HOARD = """
from pathlib import Path
from sightline.machine import give_memory_back
give_memory_back()

def used():
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in x)
    return int(line.split()[1]) // 1024

bytearray(31 << 20)  # freed: from here on glibc would keep what is smaller
before, blocks, pins = used(), [], []
for _ in range(20):
    blocks.append(bytearray(b"x") * (12 << 20))
    pins.append(bytearray(b"x") * (1 << 16))
assert used() > before + 200
blocks.clear()
print(used() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc")
def test_large_blocks_are_returned_when_they_are_free() -> None:
    output = subprocess.check_output([sys.executable, "-c", HOARD], text=True, timeout=120)
    assert int(output) < 30, "MB that are still held"


def test_this_machine() -> None:
    assert 1 <= cores() <= 16
    assert 2**20 < memory_limit() <= 64 * GIB


def test_shares_of_a_small_and_of_a_large_memory() -> None:
    small, large = Budget.of(600 * 2**20), Budget.of(64 * GIB)
    assert small.waiting == small.decoded == 75 * 2**20
    assert small.pixels * machine.DECODING_BYTES <= 200 * 2**20
    assert large.waiting == 512 * 2**20
    assert large.pixels > 50_000_000, "the default limit stands"
