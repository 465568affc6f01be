"""What a process holds, by /proc, and waiting for it to let go."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

OUTER_SECONDS = 60
"""Tells "never" from "not yet" on a machine however busy."""


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
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return Usage(int(found["VmRSS"]) / 1024, files, int(found["Threads"]))


def wait_until(holds: Callable[[], bool], told: Callable[[], object]) -> None:
    """Until `holds()`; fails with what is `told()` then if it never does."""
    deadline = time.monotonic() + OUTER_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"never: {told()}"
        time.sleep(0.02)
