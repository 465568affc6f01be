"""Where tasks are in the queue, and when their turns may come."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from sightline.api.tasks.ttl_cache import TTLCache

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_GOOD_FOR = 1.0  # seconds: however many poll however many tasks, the queue is looked at this often
_RECENT = 60.0  # seconds after which a throughput says nothing any more
_NEWEST = 0.3  # what a new measurement counts for


class Positions:
    """Looks at the whole queue, and learns from how it changes how fast it moves."""

    def __init__(self, positions: Callable[[], Coroutine[Any, Any, dict[str, int]]]) -> None:
        """`positions` tells how many images come before the next one of each task that waits."""
        self._positions = positions
        self._queue = TTLCache(self._look, _GOOD_FOR)
        self._seen: dict[str, int] = {}
        self._looked = 0.0
        self._rate: float | None = None  # images a second
        self._measured = 0.0

    async def of(self, task_id: str) -> dict[str, Any]:
        """`position`, in images, and `estimated_wait_s`; None where nothing is known."""
        queue = await self._queue.get()
        if task_id not in queue:  # it came a moment ago
            self._queue.forget()
            queue = await self._queue.get()
        position = queue.get(task_id, 0)
        return {"position": position, "estimated_wait_s": self._seconds(position)}

    async def _look(self) -> dict[str, int]:
        queue, now = await self._positions(), monotonic()
        # Who is last has seen all go that went.
        moved = max((self._seen[one] - queue[one] for one in queue.keys() & self._seen), default=0)
        if moved > 0 and now > self._looked:
            rate = moved / (now - self._looked)
            if self._rate is None or now - self._measured > _RECENT:
                self._rate = rate
            self._rate += _NEWEST * (rate - self._rate)
            self._measured = now
        self._seen, self._looked = queue, now
        return queue

    def _seconds(self, position: int) -> float | None:
        if self._rate is None or monotonic() - self._measured > _RECENT:
            return None
        return round(position / self._rate, 1)
