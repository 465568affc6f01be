"""Refusals that are held back when they come in a storm."""

from __future__ import annotations

import time

_RATE = 20.0  # refusals a second that are answered at once
_BURST = 20


class RefusalThrottle:
    """Lets refusals go at a steady rate: clients that ask again at once then ask less often.

    A refusal costs a fortieth of what a picture does. Hundreds a second, which a few hundred
    clients on fast connections bring about, would take a third of the service from those that
    were let in.
    """

    def __init__(self, longest: float) -> None:
        """None is held back longer than `longest` seconds."""
        self._longest = longest
        self._next = 0.0  # `monotonic` seconds at which the next may go

    def delay(self) -> float:
        """Seconds for which another refusal is held back, counted from now."""
        now = time.monotonic()
        turn = max(self._next, now - _BURST / _RATE) + 1 / _RATE
        self._next = min(turn, now + self._longest)
        return max(0.0, self._next - now)
