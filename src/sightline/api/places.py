"""Where a task is in the queue, and when its turn may come."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from sightline.api.fresh import Fresh

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_GOOD_FOR = 1.0  # seconds: however many poll a task, it is looked up once in so long
_KEPT = 1000  # tasks whose place is remembered
_RECENT = 60.0  # seconds after which a throughput says nothing any more
_NEWEST = 0.3  # what a new measurement counts for


class Places:
    """Looks places up, and learns from how they change how fast the queue moves."""

    def __init__(self, position: Callable[[str], Coroutine[Any, Any, int]]) -> None:
        """`position` tells how many images come before a task's next one."""
        self._position = position
        self._places: OrderedDict[str, Fresh[int]] = OrderedDict()
        self._seen: dict[str, tuple[float, int]] = {}
        self._rate: float | None = None  # images a second
        self._measured = 0.0

    async def of(self, task_id: str) -> dict[str, Any]:
        """`position`, in images, and `estimated_wait_s`; None where nothing is known."""
        place = self._places.get(task_id)
        if place is None:
            place = self._places[task_id] = Fresh(partial(self._look, task_id), _GOOD_FOR)
            while len(self._places) > _KEPT:
                self._seen.pop(self._places.popitem(last=False)[0], None)
        self._places.move_to_end(task_id)
        position = await place.get()
        return {"position": position, "estimated_wait_s": self._seconds(position)}

    async def _look(self, task_id: str) -> int:
        position, now = await self._position(task_id), monotonic()
        then, before = self._seen.get(task_id, (now, position))
        self._seen[task_id] = now, position
        if position < before and now > then:
            rate = (before - position) / (now - then)
            if self._rate is None or now - self._measured > _RECENT:
                self._rate = rate
            self._rate += _NEWEST * (rate - self._rate)
            self._measured = now
        return position

    def _seconds(self, position: int) -> float | None:
        if self._rate is None or monotonic() - self._measured > _RECENT:
            return None
        return round(position / self._rate, 1)
