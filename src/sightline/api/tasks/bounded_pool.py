"""A thread pool with a timeout for waiting jobs."""

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
    """A thread pool for changes of tasks, which cancels jobs that wait too long for a thread.

    The database has one writer. While another process holds it, each job takes seconds to fail, and
    the jobs behind would wait for all of these.
    """

    def __init__(self, threads: Threads, seconds: float) -> None:
        """A pool of `threads`, in which a job waits up to `seconds` for a thread."""
        self._threads = threads.pool()
        self._seconds = seconds

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return self._threads.submit(work, *args, **kwargs)

    async def result(self, job: Future[T]) -> T:
        """The result of `job`, which is cancelled if the caller is.

        Raises:
            StorageUnavailable: the job did not begin in time, and was cancelled.
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
