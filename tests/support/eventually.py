"""Wait for what happens elsewhere: another thread, another process."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(holds: Callable[[], object], what: str, within: float = 60) -> None:
    """Return once `holds()` is true; fail with `what` if it is not within so many seconds."""
    end = time.monotonic() + within
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)
