"""Work on threads that is begun within some seconds, or not at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from sightline.errors import StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from sightline.threads import Threads

P = ParamSpec("P")
T = TypeVar("T")

_RETRY_AFTER = 5  # seconds


class BoundedPool:
    """Threads for what changes tasks, which waits for the database's one writer.

    While somebody else holds the database each attempt takes its seconds to fail, and those behind
    it would wait for all before them. What has not begun in time is withdrawn.
    """

    def __init__(self, threads: Threads, seconds: float) -> None:
        """A pool of `threads`, and the longest that work waits for one, in seconds."""
        self._threads = threads.pool()
        self._seconds = seconds

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return self._threads.submit(work, *args, **kwargs)

    async def result(self, job: Future[T]) -> T:
        """What comes of `job`, which `submit` gave. It is withdrawn if nobody waits any more.

        Raises:
            StorageUnavailable: it was not begun in time, and never will be.
        """
        waiting = asyncio.wrap_future(job)
        try:
            await asyncio.wait({waiting}, timeout=self._seconds)
            if not waiting.done() and job.cancel():
                raise StorageUnavailable(
                    "Others wait for the database of tasks already, which is slow or locked.",
                    _RETRY_AFTER,
                )
            return await waiting
        finally:
            job.cancel()
