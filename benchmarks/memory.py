"""What a service holds in memory: all its processes together, by /proc (Linux)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_KB_A_MB = 1024
_SIZE = re.compile(r"^(VmHWM|VmRSS|Pss):\s+(\d+) kB", re.MULTILINE)


class Memory(NamedTuple):
    """MB of a service's processes together.

    Attributes:
        peak: each one's own peak of resident memory, summed; they need not fall together.
        resident: resident now, pages that they share counted in each.
        own: resident now, shared pages split among those that share them (PSS).
    """

    peak: float
    resident: float
    own: float


def of_children() -> Memory:
    """Of all that this process has started and is still running: one service at a time."""
    found = [_of(pid) for pid in _descendants(os.getpid())]
    return Memory(*(sum(values) for values in zip(*found, strict=True)))


def _descendants(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            yield child
            yield from _descendants(child)


def _of(pid: int) -> Memory:
    folder = Path(f"/proc/{pid}")
    told = folder.joinpath("status").read_text("utf-8", "replace")
    told += folder.joinpath("smaps_rollup").read_text("utf-8", "replace")
    sizes = {name: int(kb) for name, kb in _SIZE.findall(told)}
    return Memory(*(sizes.get(name, 0) / _KB_A_MB for name in ("VmHWM", "VmRSS", "Pss")))
