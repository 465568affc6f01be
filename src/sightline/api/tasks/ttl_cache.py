"""What many ask for and may be a moment old."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class TTLCache(Generic[T]):
    """Asks once, and hands the answer to all who ask within some seconds. For one event loop."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._begun = 0.0
        self._asking: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """The answer, or whatever asking raises."""
        if self._asking is None or (
            self._asking.done() and monotonic() - self._begun > self._seconds
        ):
            self._begun = monotonic()
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    def forget(self) -> None:
        """Whoever asks next gets a new answer."""
        self._asking = None
