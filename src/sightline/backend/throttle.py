"""A throttle for refusals, which delays them when there are too many."""

from __future__ import annotations

import time

_RATE = 20.0  # refusals a second without delay
_BURST = 20


class RefusalThrottle:
    """Delays refusals to a steady rate, so that clients that retry at once retry less often.

    A refusal costs a fortieth of what a picture costs. A few hundred clients on fast connections
    cause hundreds of refusals a second, which would take a third of the service's time.
    """

    def __init__(self, longest: float) -> None:
        """A throttle whose delays are at most `longest` seconds."""
        self._longest = longest
        self._next = 0.0  # `monotonic` seconds of the next refusal

    def delay(self) -> float:
        """Seconds, from now, to delay one more refusal."""
        now = time.monotonic()
        turn = max(self._next, now - _BURST / _RATE) + 1 / _RATE
        self._next = min(turn, now + self._longest)
        return max(0.0, self._next - now)
