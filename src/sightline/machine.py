"""CPU and memory limits of this process: cgroup limits, affinity, and the budgets derived.

Sources: Linux Documentation/admin-guide/cgroup-v2.rst (`cpu.max`, `memory.max`, `memory.high`),
cgroup-v1/memory.rst (`memory.limit_in_bytes`), scheduler/sched-bwc.rst (`cpu.cfs_quota_us`),
proc_pid_cgroup(5), proc_pid_mountinfo(5), cgroup_namespaces(7). Missing, unreadable or malformed
files count as no limit. Without cgroups (macOS, Windows), the machine's size is the limit.
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

# Measured: 3 for a plain JPEG, 12 for one in CMYK, 4 to 8 for PNG and TIFF, 16.4 for a WebP
# (benchmarks/soak.md).
DECODING_BYTES = 17
"""Peak memory of decoding a picture, in bytes per pixel."""

_ROOT = Path("/")
_MOST_WAITING = 512 * 2**20
_MOST_UPLOADS = 256 * 2**20
_UNKNOWN_MEMORY = 4 * 2**30
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_ESCAPED = re.compile(r"\\([0-7]{3})")  # space, tab, newline and backslash in mountinfo


@dataclass(frozen=True, slots=True)
class Budget:
    """Memory budgets for pictures.

    Attributes:
        waiting: most compressed bytes in the queue.
        decoded: bytes of decoded pixels up to which another picture is admitted.
        pixels: most pixels of one picture.
        uploads: most bytes of bodies being read, beyond each request's own share.
    """

    waiting: int
    decoded: int
    pixels: int
    uploads: int

    @classmethod
    def of(cls, memory: int) -> Budget:
        """Budgets out of `memory` bytes.

        An eighth is for the queue, an eighth for decoded pictures, a third for the one picture
        that is admitted on top of these, and a sixteenth for uploads. The rest is for the model
        and Python.
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
    """Number of cores that this process may use, at least 1.

    The minimum of its affinity and the CPU quotas of its cgroup and its parents, rounded up.

    Args:
        root: folder that contains `proc` and the cgroup mounts; another one in tests.
    """
    allowed = [float(_affinity())]
    for folder in _cgroups("cpu", root):
        quota, period = _cpu_max(folder)
        if quota and period:
            allowed.append(quota / period)
    return max(1, ceil(min(allowed)))


def engine_threads() -> int:
    """Number of threads for an engine on the CPU; 0 (the engine chooses) without a limit.

    An engine chooses well: it distinguishes physical from logical cores, and fast from slow ones.
    """
    allowed = cores()
    return allowed if allowed < (os.cpu_count() or 1) else 0


def memory_limit(root: Path = _ROOT) -> int:
    """Memory that this process may use, in bytes.

    The minimum of the physical memory and the limits of its cgroup and its parents.
    `memory.high` counts: the kernel does not kill a process beyond it, but throttles it so much
    that requests would time out.

    Args:
        root: folder that contains `proc` and the cgroup mounts; another one in tests.
    """
    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    found = [_number(folder / name) for folder in _cgroups("memory", root) for name in names]
    return min([_physical_memory(), *(limit for limit in found if limit)])


def give_memory_back() -> None:
    """Configure glibc to return large blocks to the system as soon as they are free.

    By default it learns to keep blocks of up to 32 MB, in a heap per thread: a service that has
    decoded large pictures then holds several times the memory that it uses. Source: mallopt(3),
    malloc.h. Without glibc this does nothing.
    """
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):  # musl has none
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 8 * 2**20)
        mallopt(_M_TRIM_THRESHOLD, 16 * 2**20)


class _Mount(NamedTuple):
    """One line of mountinfo: the mounted folder of a filesystem, and its mount point."""

    root: PurePosixPath
    point: PurePosixPath
    kind: str
    options: list[str]


def _cgroups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of this process's cgroup and its parents, in all hierarchies with `controller`."""
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
    """`path` relative to the mounted folder.

    In a container the cgroup's path may be the host's while only its own part is mounted, or lie
    outside its namespace ("/.."): then the mounted folder itself is used.
    """
    if ".." in path.parts or not path.is_relative_to(mounted):
        return PurePosixPath()
    return path.relative_to(mounted)


def _cgroup_path(controller: str, root: Path) -> PurePosixPath | None:
    """This process's cgroup in the v1 hierarchy with `controller`, or in that of v2 (`""`)."""
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if path.startswith("/") and controller in controllers.split(","):
            return PurePosixPath(path)
    return None


def _mounts(root: Path) -> Iterator[_Mount]:
    for line in _lines(root / "proc/self/mountinfo"):
        target, _, source = line.partition(" - ")
        fields, source_fields = target.split(" "), source.split(" ")
        if len(fields) >= 5 and len(source_fields) >= 3 and fields[4].startswith("/"):
            root_folder, point = (PurePosixPath(_unescaped(field)) for field in fields[3:5])
            yield _Mount(root_folder, point, source_fields[0], source_fields[2].split(","))


def _unescaped(field: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), field)


def _cpu_max(folder: Path) -> tuple[int | None, int | None]:
    """(quota, period) in microseconds, of v2 or v1; None where there is no limit."""
    match " ".join(_lines(folder / "cpu.max")).split():
        case [quota, period]:
            return _positive(quota), _positive(period)
        case _:
            return _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")


def _number(path: Path) -> int | None:
    return _positive("".join(_lines(path)))


def _positive(text: str) -> int | None:
    """The number in `text`; None for `max` and -1 (no limit), and if it is not a number."""
    try:
        number = int(text)
    except ValueError:
        return None
    return number if number > 0 else None


def _lines(path: Path) -> list[str]:
    """Lines of a kernel file; empty if it cannot be read."""
    try:
        return path.read_text("utf-8", "surrogateescape").splitlines()
    except (OSError, ValueError):  # ValueError: a NUL byte in the path
        return []


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _physical_memory() -> int:
    """Physical memory of this machine, in bytes."""
    if sys.platform == "win32":
        return _windows_memory()
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # not supported by this system
        return _UNKNOWN_MEMORY


def _windows_memory() -> int:
    """Physical memory in bytes, by GlobalMemoryStatusEx (sysinfoapi.h)."""

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
