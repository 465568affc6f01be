"""Other processes: how they find the tests' modules, and what one holds, by /proc."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path


def environment() -> dict[str, str]:
    """Ours, in which a child finds `support` too."""
    found = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, found))}


@dataclass(frozen=True, slots=True)
class Usage:
    """Resident MB, open files and sockets, threads."""

    mb: float
    files: int
    threads: int

    def __str__(self) -> str:
        return f"{self.mb:.0f} MB, {self.files} files, {self.threads} threads"


def usage(pid: int) -> Usage:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    found = dict(re.findall(r"(VmRSS|Threads):\s+(\d+)", status))
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Usage(int(found["VmRSS"]) / 1024, files, int(found["Threads"]))


def children(pid: int) -> list[tuple[int, str]]:
    """The processes that `pid` has started and that still run: their ids and command lines."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text("ascii", "replace").rpartition(")")[2].split()[:2]
            line = (status.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid and state != "Z":
            found.append((int(status.parent.name), line))
    return sorted(found)


def connections(pid: int, port: int) -> set[int]:
    """Ports of the clients (over IPv4) that `pid` is connected with at its own `port`."""
    inodes = {_target(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    found = set()
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        _, ours, theirs, *rest = line.split()
        if int(ours.rpartition(":")[2], 16) == port and f"socket:[{rest[6]}]" in inodes:
            found.add(int(theirs.rpartition(":")[2], 16))
    return found - {0}


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""
