"""Task handles: progress and results of submitted pictures."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from sightline.client.answers import ENDED, Progress, Result, Status, read
from sightline.client.errors import ClientError, ExpiredTask, TimedOut
from sightline.client.service import Request
from sightline.client.task import Task

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    import httpx

    from sightline.client.service import HttpService

_LONG = 20.0
"""Long-polling time, seconds: the service may hold an answer until there is something new."""

_MIN_INTERVAL = 0.1
"""Least seconds from one poll to the next: results then come several at a time."""

_SWEEP = 5.0
"""Seconds after which each task of a handle is polled, so that none expires unseen."""

_GLANCE = 1.0
"""Least seconds between glances: polls during other work, such as an upload or the caller's."""

_REST = 4.0
"""Least pause between glances, as a multiple of the last one's time, for slow networks."""

_GLANCE_LASTS = 4.0
"""Timeout of a glance, seconds: the upload may fill a slow network."""

_PARTING_LASTS = 4.0
"""Timeout for cancelling the tasks of a failed submission, seconds."""

_BEST_FIRST: tuple[Status, ...] = ("completed", "error", "cancelled")


class AsyncTaskHandle:
    """Handle of pictures that were submitted with an AsyncClient. `TaskHandle` is a Client's.

    More than 100 pictures become several tasks; `index` counts through all of them. While one
    thread (or coroutine) waits for the results, another may get the status, or cancel.

    Attributes:
        total: number of pictures.
    """

    def __init__(self, service: HttpService) -> None:
        """An empty handle; `AsyncClient.submit` and `AsyncClient.task` add the tasks."""
        self._service = service
        self._tasks: list[Task] = []
        self._next_glance = time.monotonic() + _GLANCE
        self.total = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __str__(self) -> str:
        now = self._progress()
        first = next(iter(self.ids), "no task")
        more = f" and {len(self._tasks) - 1} more" if len(self._tasks) > 1 else ""
        return f"{first}{more}: {now.status}, {now.done} of {now.total} pictures have ended"

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the tasks; `AsyncClient.task(*ids)` makes a handle of them again."""
        return tuple(task.id for task in self._tasks)

    async def results(
        self, timeout: float | None = None, progress: Callable[[Progress], object] | None = None
    ) -> AsyncGenerator[Result, None]:
        """Yield each picture when it has ended, failed ones included; in that order, not by index.

        Continues across restarts of the service. A picture whose result expired before it was
        fetched (SIGHTLINE_RESULT_TTL) has failed, with an `ExpiredTask` as its error. Only a caller
        that stops iterating for so long loses results: the tasks are polled between results.

        Args:
            timeout: seconds for all pictures; None for no limit.
            progress: called once at the start, and on each change.

        Raises:
            TimedOut: they took longer. They are still being processed: call `results` or `wait`
                again.
            ClientError: the service did not answer, or not as expected.
        """
        until = _end_of(timeout)
        yielded: set[int] = set()
        last = None
        while True:
            now = self._progress()
            if progress is not None and now != last:
                progress(now)
            last = now
            for result in self._results():
                if result.index not in yielded:
                    yielded.add(result.index)
                    yield result
                    await self.glance()
            if now.status in ENDED:
                return
            await self._poll(until, each=True)

    async def wait(
        self, timeout: float | None = None, progress: Callable[[Progress], object] | None = None
    ) -> list[Result]:
        """Wait until all pictures have ended; returns them by index, failed ones included.

        Arguments and errors are those of `results`.
        """
        if progress is not None:
            async for _ in self.results(timeout, progress):
                pass
        until = _end_of(timeout)
        while self._progress().status not in ENDED:
            await self._poll(until, each=False)
        return sorted(self._results(), key=lambda result: result.index)

    async def status(self) -> Progress:
        """The current progress."""
        for task in self._open():
            await self._refresh(task)
        return self._progress()

    async def cancel(self) -> Progress:
        """Cancel pictures whose processing has not begun. Those that have ended do not change."""
        for task in self._open():
            try:
                answer = await self._service.send(Request("DELETE", task.path, {"forget": False}))
            except ExpiredTask as error:
                task.expire(error)
            else:
                self._update(task, answer)
        return self._progress()

    async def retry(self) -> Progress:
        """Run failed pictures again if the failure may have been temporary.

        Invalid pictures stay failed, and so do those that the service has deleted.
        """
        for task in self._tasks:
            try:
                answer = await self._service.send(Request("POST", f"{task.path}/retry"))
            except ExpiredTask as error:
                task.expire(error)
                continue
            task.forget_failures()
            self._update(task, answer)
        return self._progress()

    async def annotated(self, index: int) -> bytes:
        """The picture as a JPEG with its boxes drawn, while the service keeps it.

        Raises:
            IndexError: there is no such picture.
            NotYet: it has not been processed yet.
            ClientError: it failed; the class says why.
        """
        for task in self._tasks:
            if 0 <= index < task.total:
                answer = await self._service.send(Request("GET", f"{task.path}/images/{index}"))
                return answer.content
            index -= task.total
        raise IndexError(f"There are {self.total} pictures.")

    # For the client that makes the handle

    async def add(self, task_id: str, sources: Sequence[str] = ()) -> None:
        """Add a task, with its pictures' sources, if known."""
        task = Task(task_id, self.total, sources)
        if not sources:
            await self._refresh(task)
        self._tasks.append(task)
        self.total += task.total

    async def glance(self) -> None:
        """Poll one task if it is due: its results could otherwise expire during a long upload."""
        began = time.monotonic()
        tasks = self._open()
        if began < self._next_glance or not tasks:
            return
        with suppress(ClientError):  # if it persists, `results` or `wait` raises it
            await self._refresh(min(tasks, key=lambda task: task.polled), began + _GLANCE_LASTS)
        now = time.monotonic()
        self._next_glance = now + max(_GLANCE, _REST * (now - began))

    async def abandon(self) -> None:
        """Delete all tasks, as far as the service can be reached."""
        until = time.monotonic() + _PARTING_LASTS
        for task in self._tasks:
            with suppress(ClientError):
                await self._service.send(Request("DELETE", task.path), until)

    # Polling

    def _results(self) -> list[Result]:
        # list() copies a dict atomically; a loop would fail if another thread changed it.
        return [result for task in self._tasks for result in list(task.results.values())]

    def _open(self) -> list[Task]:
        return [task for task in self._tasks if task.status not in ENDED]

    def _progress(self) -> Progress:
        statuses = {task.status for task in self._tasks}
        queue = next((task.queue for task in self._tasks if task.queue), {})
        return Progress(
            status=_status_of(statuses),
            done=sum(len(task.results) for task in self._tasks),
            total=self.total,
            failed=sum(task.failed for task in self._tasks),
            position=queue.get("position"),
            estimated_wait_s=queue.get("estimated_wait_s"),
        )

    async def _poll(self, until: float, *, each: bool) -> None:
        """Long-poll one task until it ends (with `each`, changes); poll the others now and then.

        Raises:
            TimedOut: it is past `until` on `time.monotonic`.
        """
        began = time.monotonic()
        if not (tasks := self._open()):
            return  # a glance has found the end
        longest = _LONG if len(tasks) == 1 else _SWEEP
        try:
            await self._refresh(tasks[0], until, max(0, min(longest, until - began)), each=each)
            await self._sweep(until)
        except TimedOut as error:
            raise self._timed_out() from error.__cause__
        if self._open():
            now = time.monotonic()
            if now >= until:
                raise self._timed_out()
            await self._service.io.sleep(max(0, min(began + _MIN_INTERVAL, until) - now))

    def _timed_out(self) -> TimedOut:
        now = self._progress()
        return TimedOut(
            f"{now.done} of {now.total} pictures have ended in the time given. The others are "
            "worked on still: wait again."
        )

    async def _sweep(self, until: float) -> None:
        overdue = time.monotonic() - _SWEEP
        for task in self._open():
            if task.polled < overdue:
                await self._refresh(task, until)

    async def _refresh(
        self, task: Task, until: float = math.inf, wait: float = 0, *, each: bool = True
    ) -> None:
        headers = {}
        if each and task.tag:
            headers["If-None-Match"] = task.tag
        elif each:
            wait = 0  # without an ETag the service would wait for the task's end
        request = Request("GET", task.path, {"wait": wait} if wait else {}, headers)
        try:
            answer = await self._service.send(request, until)
        except ExpiredTask as error:
            if not task.total:
                raise  # the number of lost pictures is unknown
            task.expire(error)
            return
        finally:
            task.polled = time.monotonic()
        if answer.status_code != HTTPStatus.NOT_MODIFIED:
            self._update(task, answer)

    def _update(self, task: Task, answer: httpx.Response) -> None:
        tag = answer.headers.get("etag", "")
        read(answer, lambda state: task.update(state, tag))


def _end_of(timeout: float | None) -> float:
    """The deadline on `time.monotonic`."""
    return math.inf if timeout is None else time.monotonic() + timeout


def _status_of(statuses: set[Status]) -> Status:
    """The status of all tasks together."""
    if statuses <= ENDED:
        return next((one for one in _BEST_FIRST if one in statuses), "completed")
    return "queued" if statuses == {"queued"} else "processing"
