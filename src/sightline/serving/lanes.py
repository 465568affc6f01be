"""The queue of compressed pictures: bounded in number and bytes, fair between three lanes."""

from __future__ import annotations

import weakref
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from math import floor
from operator import itemgetter
from threading import Lock
from typing import TYPE_CHECKING

from sightline.errors import Overloaded
from sightline.machine import budget

if TYPE_CHECKING:
    from collections.abc import Callable

    from sightline.serving.job import Job, LaneName

# Under load, interactive work gets 8 of 13 turns, and batch work still 1: no lane starves.
SHARES: dict[LaneName, int] = {"interactive": 8, "stream": 4, "batch": 1}


@dataclass(slots=True)
class _Lane:
    share: int
    jobs: deque[Job] = field(default_factory=deque)
    turn: float = 0.0  # virtual time of its next turn (stride scheduling, Waldspurger 1995)


class Waiting:
    """Counts the compressed bytes in all queues that share it. Safe from many threads."""

    def __init__(self, limit: int) -> None:
        """A count that is full at `limit` bytes."""
        self.limit = limit
        self._lock = Lock()
        self._bytes = 0

    def excess(self, more: int) -> int:
        """Bytes beyond the limit after `more` bytes are added; 0 if there is room."""
        return max(0, self._bytes + more - self.limit)

    def add(self, count: int) -> None:
        """Add `count` bytes; remove them if it is negative."""
        with self._lock:
            self._bytes += count


@cache
def waiting_bytes() -> Waiting:
    """The count of this process, for all models together."""
    return Waiting(budget().waiting)


class Lanes:
    """A queue with three lanes. Safe from many threads; never blocks."""

    def __init__(self, max_jobs: int, waiting: Waiting) -> None:
        """A queue of at most `max_jobs` pictures; their bytes are counted in `waiting`."""
        self._lanes = {name: _Lane(share) for name, share in SHARES.items()}
        self._lock = Lock()
        self._now = 0.0
        self._jobs = 0
        self._max_jobs = max_jobs
        self._waiting = waiting

    def __len__(self) -> int:
        return self._jobs

    def put(self, job: Job, lane: LaneName, retry_after: Callable[[int], int]) -> None:
        """Queue `job` in `lane`.

        Args:
            job: the picture.
            lane: its class of work.
            retry_after: estimates the seconds until so many pictures have left the queue, for
                `Overloaded`.

        Raises:
            Overloaded: the queue is full, in number or in bytes.
        """
        with self._lock:
            full = self._jobs >= self._max_jobs
            # A picture larger than the whole limit is still accepted into an empty queue.
            excess = self._waiting.excess(job.nbytes) if self._jobs else 0
            if full or excess:
                must_leave = self._takes_until(max(1, excess))
                raise Overloaded(
                    f"The queue is full ({self._jobs} pictures wait).", retry_after(must_leave)
                )
            job.lane, waiting = lane, self._lanes[lane]
            if not waiting.jobs:
                waiting.turn = max(waiting.turn, self._now)  # no credit for having been idle
            waiting.jobs.append(job)
            self._jobs += 1
            self._waiting.add(job.nbytes)
        # A weak reference: the job holds the future, and the future its callbacks. Such a cycle
        # would keep the result's picture alive until a garbage collection.
        reference = weakref.ref(job)
        job.future.add_done_callback(lambda _: self._discard(reference(), waiting))

    def _discard(self, job: Job | None, lane: _Lane) -> None:
        """Remove a job whose future ended while it waited (its caller cancelled it)."""
        with self._lock:
            if job is None or job not in lane.jobs:
                return  # it was taken
            lane.jobs.remove(job)
            self._jobs -= 1
            self._waiting.add(-job.nbytes)

    def before(self, lane: LaneName) -> int:
        """Number of waiting jobs that are taken before one that joins `lane` now."""
        with self._lock:
            own = self._lanes[lane]
            turn = max(own.turn, self._now) + len(own.jobs) / own.share
            turns = [(turn - other.turn) * other.share for other in self._lanes.values()]
            waiting = [len(other.jobs) for other in self._lanes.values()]
        return sum(
            min(count, max(0, floor(until) + 1))
            for count, until in zip(waiting, turns, strict=True)
        )

    def take(self, background: bool = True) -> Job | None:
        """Remove and return the next job; None if none waits.

        Args:
            background: whether jobs of other lanes than `interactive` may be taken.
        """
        with self._lock:
            waiting = [
                lane
                for name, lane in self._lanes.items()
                if lane.jobs and (background or name == "interactive")
            ]
            if not waiting:
                return None
            lane = min(waiting, key=lambda lane: lane.turn)
            self._now = lane.turn
            for other in self._lanes.values():
                other.turn = max(other.turn, self._now)  # no credit for having been passed over
            lane.turn += 1 / lane.share
            job = lane.jobs.popleft()
            self._jobs -= 1
            self._waiting.add(-job.nbytes)
            return job

    def _takes_until(self, freed: int) -> int:
        """Number of pictures to take until `freed` bytes are free, or none is left."""
        turns = [
            (lane.turn + place / lane.share, job.nbytes)
            for lane in self._lanes.values()
            for place, job in enumerate(lane.jobs)
        ]
        turns.sort(key=itemgetter(0))
        for count, (_, size) in enumerate(turns, start=1):
            freed -= size
            if freed <= 0:
                return count
        return len(turns)
