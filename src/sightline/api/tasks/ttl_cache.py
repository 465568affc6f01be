"""A cache of one value with a time to live."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class TTLCache(Generic[T]):
    """Loads a value once, and returns it to all callers for some seconds. For one event loop."""

    def __init__(self, load: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> None:
        """An empty cache; `load` gets a value, which is good for `seconds`."""
        self._load = load
        self._seconds = seconds
        self._begun = 0.0
        self._loading: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """The value. Raises what `load` raises."""
        if self._loading is None or (
            self._loading.done() and monotonic() - self._begun > self._seconds
        ):
            self._begun = monotonic()
            self._loading = asyncio.create_task(self._load())
        return await asyncio.shield(self._loading)

    def forget(self) -> None:
        """Drop the value: the next `get` loads a new one."""
        self._loading = None
