"""Counts pictures, and measures how many a second are answered, and how fast."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sightline.types import Timing

_AVERAGED = 60  # seconds over which latencies are averaged
_RATED = 5  # whole seconds over which the rate is taken


@dataclass(frozen=True, slots=True)
class Reading:
    """What a meter shows.

    Attributes:
        images: that were answered since the start.
        failed: that failed since then.
        rate: answered a second, lately.
        latency_ms: from queueing a picture to its boxes, on average over the last minute; None
            if there was none.
    """

    images: int
    failed: int
    rate: float
    latency_ms: float | None


@dataclass(slots=True)
class _Second:
    number: int
    images: int = 0
    latency_ms: float = 0.0  # of all of them together


class Meter:
    """Counts pictures. Safe from many threads."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """`clock` tells seconds."""
        self._clock = clock
        self._lock = Lock()
        self._images = 0
        self._failed = 0
        self._seconds: deque[_Second] = deque(maxlen=_AVERAGED)

    def note(self, timing: Timing | None) -> None:
        """A picture was answered; None: it failed."""
        with self._lock:
            if timing is None:
                self._failed += 1
                return
            now = int(self._clock())
            if not self._seconds or self._seconds[-1].number != now:
                self._seconds.append(_Second(now))
            self._images += 1
            self._seconds[-1].images += 1
            self._seconds[-1].latency_ms += timing.total_ms

    def read(self) -> Reading:
        """How it is now."""
        with self._lock:
            now = int(self._clock())
            recent = [second for second in self._seconds if second.number > now - _AVERAGED]
            # The second that has just begun would always look slow.
            rated = sum(s.images for s in recent if now - _RATED <= s.number < now)
            images = sum(second.images for second in recent)
            latency = sum(second.latency_ms for second in recent) / images if images else None
            return Reading(self._images, self._failed, rated / _RATED, latency)
