"""The memory of decoded pixels in this process: a limit for all models together."""

from __future__ import annotations

import weakref
from collections import deque
from functools import cache
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING

from sightline.machine import budget
from sightline.threads import PIXELS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sightline.serving.job import Job
    from sightline.types import BGRImage


class DecodedMemory:
    """Counts decoded bytes, and admits jobs within a limit. Safe from many threads; never blocks.

    A job is admitted while fewer than `limit` bytes are alive, so the limit is exceeded by one
    picture at most. If nothing is being processed, one job is admitted in any case: callers may
    keep the pictures of their results, and must not block themselves.
    """

    def __init__(self, limit: int) -> None:
        """An account that admits jobs while fewer than `limit` bytes are alive."""
        self.limit = limit
        self._lock = Lock()
        self._alive = 0
        self._at_work = 0
        self._listeners: deque[Callable[[], None]] = deque()
        self._gone: SimpleQueue[int] | None = None

    @property
    def alive(self) -> int:
        """Decoded bytes that are alive."""
        return self._alive

    def admit(self, take: Callable[[], Job | None]) -> Job | None:
        """The job that `take` returns, with its weight counted; None if there is no room or no job.

        Each admitted job must end with `leave`.
        """
        with self._lock:
            if self._alive >= self.limit and self._at_work:
                return None
            job = take()
            if job is not None:
                self._alive += job.weight
                self._at_work += 1
            return job

    def enter(self) -> None:
        """Begin work on pictures that are counted already; it must end with `leave`."""
        with self._lock:
            self._at_work += 1

    def leave(self, weight: int) -> None:
        """End one piece of work, and release `weight` bytes."""
        self._book(-weight, -1)

    def shrink(self, weight: int) -> None:
        """Release `weight` bytes while the work goes on."""
        self._book(-weight, 0)

    def free_with(self, image: BGRImage, weight: int) -> None:
        """Release `weight` bytes when `image` is garbage-collected."""
        with self._lock:
            if self._gone is None:
                self._gone = SimpleQueue()
                PIXELS.start(self._sweep)
        # Garbage collection may run on any thread, with locks held: `SimpleQueue.put` is safe
        # there.
        weakref.finalize(image, self._gone.put, weight).atexit = False

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener`, without locks held, whenever there may be room."""
        with self._lock:
            self._listeners.append(listener)

    def forget(self, listener: Callable[[], None]) -> None:
        """Stop calling `listener`."""
        with self._lock:
            self._listeners.remove(listener)

    def _sweep(self) -> None:
        while self._gone is not None:
            self._book(-self._gone.get(), 0)

    def _book(self, weight: int, at_work: int) -> None:
        with self._lock:
            self._alive += weight
            self._at_work += at_work
            self._listeners.rotate()  # each model is first in turn
            listeners = list(self._listeners)
        for listener in listeners:
            listener()


@cache
def decoded_memory() -> DecodedMemory:
    """This process's account."""
    return DecodedMemory(budget().decoded)
