"""Where pictures wait, still compressed: bounded in number and bytes, fair between lanes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from sightline.errors import Overloaded

if TYPE_CHECKING:
    from sightline.serving.job import Job, LaneName

# Under load interactive work gets 8 of 13 turns, and batch work still 1: nothing starves.
_SHARES: dict[LaneName, int] = {"interactive": 8, "stream": 4, "batch": 1}


@dataclass(slots=True)
class _Lane:
    share: int
    jobs: deque[Job] = field(default_factory=deque)
    turn: float = 0.0  # virtual time of its next turn (stride scheduling, Waldspurger 1995)


class Lanes:
    """A queue in three lanes. Safe from many threads; never blocks."""

    def __init__(self, max_jobs: int, max_bytes: int) -> None:
        """A queue of at most `max_jobs` pictures that are at most `max_bytes` together."""
        self._lanes = {name: _Lane(share) for name, share in _SHARES.items()}
        self._lock = Lock()
        self._now = 0.0
        self._jobs = 0
        self._bytes = 0
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes

    def __len__(self) -> int:
        return self._jobs

    def put(self, job: Job, lane: LaneName, retry_after: int) -> None:
        """Let `job` wait in `lane`.

        Args:
            job: the picture.
            lane: its class of work.
            retry_after: seconds, told to the caller if there is no room.

        Raises:
            Overloaded: the queue is full, in number or in bytes.
        """
        with self._lock:
            full = self._jobs >= self._max_jobs
            # One picture larger than the whole allowance is still served when it is alone.
            heavy = self._jobs > 0 and self._bytes + job.nbytes > self._max_bytes
            if full or heavy:
                raise Overloaded(f"The queue is full ({self._jobs} pictures wait).", retry_after)
            waiting = self._lanes[lane]
            if not waiting.jobs:
                waiting.turn = max(waiting.turn, self._now)  # no credit for having been idle
            waiting.jobs.append(job)
            self._jobs += 1
            self._bytes += job.nbytes
        job.future.add_done_callback(lambda _: self._discard(job, waiting))

    def _discard(self, job: Job, lane: _Lane) -> None:
        """A job that ended while it waited (its caller left) gives its place back at once."""
        with self._lock:
            try:
                lane.jobs.remove(job)
            except ValueError:
                return  # it had been taken
            self._jobs -= 1
            self._bytes -= job.nbytes

    def take(self) -> Job | None:
        """The job whose turn it is, or None if none waits."""
        with self._lock:
            waiting = [lane for lane in self._lanes.values() if lane.jobs]
            if not waiting:
                return None
            lane = min(waiting, key=lambda lane: lane.turn)
            self._now = lane.turn
            lane.turn += 1 / lane.share
            job = lane.jobs.popleft()
            self._jobs -= 1
            self._bytes -= job.nbytes
            return job
