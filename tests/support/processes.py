"""What a process holds, by /proc."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


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
