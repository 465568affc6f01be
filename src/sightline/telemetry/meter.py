"""Throughput and latency of this process's detectors."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sightline.types import Timing

_LATENCY_WINDOW = 60  # seconds over which latencies are averaged
_RATE_WINDOW = 5  # whole seconds over which the rate is computed


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading of a `Meter`.

    Attributes:
        images: number of pictures answered since the start.
        failed: number of pictures that failed since the start.
        rate: pictures answered per second, over the last 5 s.
        latency_ms: mean time from queueing a picture to its boxes, over the last minute; None
            without pictures.
    """

    images: int
    failed: int
    rate: float
    latency_ms: float | None


@dataclass(slots=True)
class _Second:
    number: int
    images: int = 0
    latency_ms: float = 0.0  # sum over the images


class Meter:
    """Counts pictures and their latencies. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """`clock` returns seconds."""
        self._clock = clock
        self._lock = Lock()
        self._images = 0
        self._failed = 0
        self._seconds: deque[_Second] = deque(maxlen=_LATENCY_WINDOW)

    def note(self, timing: Timing | None) -> None:
        """Count a picture: its timing if it was answered, None if it failed."""
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
        """The current figures."""
        with self._lock:
            now = int(self._clock())
            recent = [second for second in self._seconds if second.number > now - _LATENCY_WINDOW]
            # The current second is incomplete, and left out.
            rated = sum(s.images for s in recent if now - _RATE_WINDOW <= s.number < now)
            images = sum(second.images for second in recent)
            latency = sum(second.latency_ms for second in recent) / images if images else None
            return Reading(self._images, self._failed, rated / _RATE_WINDOW, latency)
