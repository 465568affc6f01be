"""Decoded pixels that are alive in this process, all models together, and who may add to them."""

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
    """An account of decoded bytes. Safe from many threads; nobody ever waits in it.

    A picture is let in while less than `limit` is alive: there is one too many at most. If
    nothing is worked on, one is let in whatever is alive: callers who keep the pictures they
    were handed must not wait for ever.
    """

    def __init__(self, limit: int) -> None:
        """An account in which up to `limit` bytes another picture is let in."""
        self.limit = limit
        self._lock = Lock()
        self._alive = 0
        self._at_work = 0
        self._listeners: deque[Callable[[], None]] = deque()
        self._gone: SimpleQueue[int] | None = None

    @property
    def alive(self) -> int:
        """Bytes."""
        return self._alive

    def admit(self, take: Callable[[], Job | None]) -> Job | None:
        """The job that `take` gives, with its weight booked; None if it must wait, or gives none.

        What is booked is given back by `leave`.
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
        """Work has begun on pictures that are booked already; `leave` ends it."""
        with self._lock:
            self._at_work += 1

    def leave(self, weight: int) -> None:
        """A piece of work ended, and `weight` bytes with it."""
        self._book(-weight, -1)

    def shrink(self, weight: int) -> None:
        """Of what is worked on, `weight` bytes are gone."""
        self._book(-weight, 0)

    def free_with(self, image: BGRImage, weight: int) -> None:
        """Let `weight` bytes be gone when `image` is, whoever holds it."""
        with self._lock:
            if self._gone is None:
                self._gone = SimpleQueue()
                PIXELS.start(self._sweep)
        # Garbage collection may come on any thread, in the middle of anything, with locks held:
        # putting into a SimpleQueue is what is safe there.
        weakref.finalize(image, self._gone.put, weight).atexit = False

    def listen(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, without locks held, whenever there may be room."""
        with self._lock:
            self._listeners.append(listener)

    def forget(self, listener: Callable[[], None]) -> None:
        """Call `listener` no more."""
        with self._lock:
            self._listeners.remove(listener)

    def _sweep(self) -> None:
        while self._gone is not None:
            self._book(-self._gone.get(), 0)

    def _book(self, weight: int, at_work: int) -> None:
        with self._lock:
            self._alive += weight
            self._at_work += at_work
            self._listeners.rotate()  # each model is asked first in its turn
            listeners = list(self._listeners)
        for listener in listeners:
            listener()


@cache
def decoded_memory() -> DecodedMemory:
    """This process's account."""
    return DecodedMemory(budget().decoded)
