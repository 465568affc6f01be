"""What this process may use of the machine: cores and memory, as its container limits them.

Sources: Linux Documentation/admin-guide/cgroup-v2.rst (`cpu.max`, `memory.max`, `memory.high`),
cgroup-v1/memory.rst (`memory.limit_in_bytes`), scheduler/sched-bwc.rst (`cpu.cfs_quota_us`),
proc_pid_cgroup(5), proc_pid_mountinfo(5), cgroup_namespaces(7). What is missing, unreadable or
odd limits nothing. Where there are no cgroups (macOS, Windows), the machine itself is the limit.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path, PurePosixPath
from typing import NamedTuple

# What decoding a picture takes at its peak: measured 3 for a plain JPEG, 12 for one in CMYK,
# 4 to 8 for PNG and TIFF, 16.4 for a WebP (benchmarks/soak.md).
DECODING_BYTES = 17
"""Bytes a pixel while a picture is decoded."""

_ROOT = Path("/")
_MOST_WAITING = 512 * 2**20
_MOST_UPLOADS = 256 * 2**20
_UNKNOWN_MEMORY = 4 * 2**30
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_ESCAPED = re.compile(r"\\([0-7]{3})")  # space, tab, newline and backslash in mountinfo


@dataclass(frozen=True, slots=True)
class Budget:
    """What pictures may take of the memory that the process has.

    Attributes:
        waiting: compressed bytes in the queue.
        decoded: bytes of decoded pixels up to which another picture is let in.
        pixels: of the largest picture.
        uploads: bytes of bodies that are still being read, beyond what each has for itself.
    """

    waiting: int
    decoded: int
    pixels: int
    uploads: int

    @classmethod
    def of(cls, memory: int) -> Budget:
        """Shares of `memory` bytes.

        An eighth may wait, an eighth may be decoded when another picture is let in, and that one
        takes a third at most while it is decoded; a sixteenth may be on its way in. The rest is
        the model's and Python's.
        """
        return cls(
            waiting=min(_MOST_WAITING, memory // 8),
            decoded=memory // 8,
            pixels=memory // 3 // DECODING_BYTES,
            uploads=min(_MOST_UPLOADS, memory // 16),
        )


@cache
def budget() -> Budget:
    """This process's budget; read once."""
    return Budget.of(memory_limit())


def cores(root: Path = _ROOT) -> int:
    """Cores that this process may keep busy, at least 1.

    The smallest of its affinity and the CPU quotas of its cgroup and of those above it, rounded
    up.

    Args:
        root: folder in which `proc` and the cgroup mounts are found; another one in tests.
    """
    allowed = [float(_affinity())]
    for folder in _cgroups("cpu", root):
        quota, period = _cpu_max(folder)
        if quota and period:
            allowed.append(quota / period)
    return max(1, ceil(min(allowed)))


def engine_threads() -> int:
    """Threads for an engine on the CPU; 0 where the whole machine is ours.

    An engine then counts for itself: it knows physical from logical cores, and fast from slow
    ones.
    """
    allowed = cores()
    return allowed if allowed < (os.cpu_count() or 1) else 0


def memory_limit(root: Path = _ROOT) -> int:
    """Bytes that this process may use.

    The smallest of the physical memory and the limits of its cgroup and of those above it.
    `memory.high` counts: nothing is killed there, but whoever goes beyond it is slowed down
    until it hardly moves, which is as good as dead to those who wait for an answer.

    Args:
        root: folder in which `proc` and the cgroup mounts are found; another one in tests.
    """
    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    found = [_number(folder / name) for folder in _cgroups("memory", root) for name in names]
    return min([_physical_memory(), *(limit for limit in found if limit)])


def give_memory_back() -> None:
    """Have glibc return large blocks to the system as soon as they are free.

    By itself it learns to keep blocks of up to 32 MB, in a heap for each thread: a service that has
    decoded large pictures then holds several times what it uses. Source: mallopt(3), malloc.h.
    Elsewhere this does nothing.
    """
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):  # musl has none
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 8 * 2**20)
        mallopt(_M_TRIM_THRESHOLD, 16 * 2**20)


class _Mount(NamedTuple):
    """One line of mountinfo: which folder of the filesystem is mounted, and where."""

    root: PurePosixPath
    point: PurePosixPath
    kind: str
    options: list[str]


def _cgroups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of this process's cgroup and of those above it, in every hierarchy that counts."""
    for mount in _mounts(root):
        if mount.kind == "cgroup2":
            path = _cgroup_path("", root)
        elif mount.kind == "cgroup" and controller in mount.options:
            path = _cgroup_path(controller, root)
        else:
            continue
        top = root / mount.point.relative_to("/")
        inner = _below(path, mount.root) if path is not None else PurePosixPath()
        yield top / inner
        yield from (top / parent for parent in inner.parents)


def _below(path: PurePosixPath, mounted: PurePosixPath) -> PurePosixPath:
    """`path` seen from the mounted folder.

    A container may see its cgroup's path from outside while only its own part is mounted, or a
    mount from outside its namespace ("/.."): then what is mounted is the best there is.
    """
    if ".." in path.parts or not path.is_relative_to(mounted):
        return PurePosixPath()
    return path.relative_to(mounted)


def _cgroup_path(controller: str, root: Path) -> PurePosixPath | None:
    """This process's cgroup in the v1 hierarchy with `controller`, or ("") in that of v2."""
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if path.startswith("/") and controller in controllers.split(","):
            return PurePosixPath(path)
    return None


def _mounts(root: Path) -> Iterator[_Mount]:
    for line in _lines(root / "proc/self/mountinfo"):
        place, _, source = line.partition(" - ")
        fields, about = place.split(" "), source.split(" ")
        if len(fields) >= 5 and len(about) >= 3 and fields[4].startswith("/"):
            inside, point = (PurePosixPath(_unescaped(field)) for field in fields[3:5])
            yield _Mount(inside, point, about[0], about[2].split(","))


def _unescaped(field: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), field)


def _cpu_max(folder: Path) -> tuple[int | None, int | None]:
    """(quota, period) in microseconds, of v2 or of v1; None for what is not limited."""
    match " ".join(_lines(folder / "cpu.max")).split():
        case [quota, period]:
            return _positive(quota), _positive(period)
        case _:
            return _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")


def _number(path: Path) -> int | None:
    return _positive("".join(_lines(path)))


def _positive(text: str) -> int | None:
    """The number in `text`; None for `max`, for -1 (both: no limit) and for what is no number."""
    try:
        number = int(text)
    except ValueError:
        return None
    return number if number > 0 else None


def _lines(path: Path) -> list[str]:
    """Lines of a file of the kernel; none if it cannot be read."""
    try:
        return path.read_text("utf-8", "surrogateescape").splitlines()
    except (OSError, ValueError):  # ValueError: a zero byte in the path
        return []


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _physical_memory() -> int:
    """Bytes of memory in this machine."""
    if sys.platform == "win32":
        return _windows_memory()
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # a system that does not tell
        return _UNKNOWN_MEMORY


def _windows_memory() -> int:
    """Bytes, as GlobalMemoryStatusEx (sysinfoapi.h) tells."""

    class _Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            *((name, ctypes.c_uint64) for name in ("total", "a", "b", "c", "d", "e", "f")),
        )

    status = _Status(length=ctypes.sizeof(_Status))
    windows = getattr(ctypes, "windll", None)
    if windows is None or not windows.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return _UNKNOWN_MEMORY
    return int(status.total)
