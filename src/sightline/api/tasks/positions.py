"""Positions of tasks in the queue, and estimates of their waits."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from sightline.api.tasks.ttl_cache import TTLCache

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_CACHE_SECONDS = 1.0  # between two reads of the queue, however many clients poll
_RECENT = 60.0  # seconds after which a measured rate is out of date
_NEWEST = 0.3  # weight of a new measurement in the moving average


class Positions:
    """Reads the whole queue, and measures how fast it moves."""

    def __init__(self, positions: Callable[[], Coroutine[Any, Any, dict[str, int]]]) -> None:
        """`positions` reads, for each waiting task, the number of images before its next one."""
        self._positions = positions
        self._queue = TTLCache(self._read, _CACHE_SECONDS)
        self._seen: dict[str, int] = {}
        self._read_at = 0.0  # `monotonic` seconds
        self._rate: float | None = None  # images a second
        self._measured = 0.0  # `monotonic` seconds

    async def of(self, task_id: str) -> dict[str, Any]:
        """`position` in images, and `estimated_wait_s` (None while no rate is known)."""
        queue = await self._queue.get()
        if task_id not in queue:  # it was submitted after the last read
            self._queue.forget()
            queue = await self._queue.get()
        position = queue.get(task_id, 0)
        return {"position": position, "estimated_wait_s": self._seconds(position)}

    async def _read(self) -> dict[str, int]:
        queue, now = await self._positions(), monotonic()
        # The task that moved most was behind every image that has ended.
        moved = max((self._seen[one] - queue[one] for one in queue.keys() & self._seen), default=0)
        if moved > 0 and now > self._read_at:
            rate = moved / (now - self._read_at)
            if self._rate is None or now - self._measured > _RECENT:
                self._rate = rate
            self._rate += _NEWEST * (rate - self._rate)
            self._measured = now
        self._seen, self._read_at = queue, now
        return queue

    def _seconds(self, position: int) -> float | None:
        if self._rate is None or monotonic() - self._measured > _RECENT:
            return None
        return round(position / self._rate, 1)
