"""Exponential backoff: pauses between attempts that double while they fail."""

from __future__ import annotations

_MAX_DOUBLINGS = 30  # an exponent that no float overflows with


class Backoff:
    """Exponential backoff. Not safe for several threads at once.

    Attributes:
        failures: in a row.
    """

    def __init__(self, first: float, longest: float, *, immediate: int = 0) -> None:
        """No failure yet.

        Args:
            first: pause, in seconds; each further one is twice as long.
            longest: pause, in seconds.
            immediate: failures that are followed by no pause.
        """
        self.failures = 0
        self._first = first
        self._longest = longest
        self._immediate = immediate

    @property
    def pause(self) -> float:
        """Seconds until the next attempt; 0 if nothing failed."""
        paused = self.failures - self._immediate
        if paused <= 0:
            return 0.0
        return min(self._longest, self._first * 2.0 ** min(paused - 1, _MAX_DOUBLINGS))

    def fail(self) -> float:
        """Count a failure; returns the pause that follows it, in seconds."""
        self.failures += 1
        return self.pause

    def reset(self) -> None:
        """Forget all failures: an attempt succeeded."""
        self.failures = 0
