"""Pictures that were submitted: how far they are, and what came of them."""

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
"""Seconds that the service may hold an answer back until there is something new."""

_ROUND = 0.1
"""Seconds that a look takes at least: results come in handfuls, and leave the service in peace."""

_SWEEP = 5.0
"""Seconds after which all tasks of a handle are looked at, so that none expires unseen."""

_GLANCE = 1.0
"""Seconds between looks while something else goes on, such as an upload or the caller's work."""

_REST = 4.0
"""Times as long as such a look took until the next: a long way to the service slows little down."""

_GLANCE_LASTS = 4.0
"""Seconds that such a look may take: a slow line is full of the upload."""

_PARTING_LASTS = 4.0
"""Seconds that it may take to cancel what was made of a submission that came to nothing."""

_BEST_FIRST: tuple[Status, ...] = ("completed", "error", "cancelled")


class AsyncTaskHandle:
    """Pictures that were submitted with an AsyncClient. `TaskHandle` is the same for a Client.

    More than 100 pictures are several tasks; `index` counts through all of them. While one thread
    (or coroutine) waits for the results, another may ask for the status, or cancel.

    Attributes:
        total: how many pictures there are.
    """

    def __init__(self, service: HttpService) -> None:
        """Without tasks; `AsyncClient.submit` and `AsyncClient.task` add them."""
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
        """The service's names for the tasks: `AsyncClient.task(*ids)` finds them again."""
        return tuple(task.id for task in self._tasks)

    async def results(
        self, timeout: float | None = None, progress: Callable[[Progress], object] | None = None
    ) -> AsyncGenerator[Result, None]:
        """Each picture once it has ended, those that failed too: in that order, not by index.

        Goes on where the service is restarted meanwhile. What was not fetched in time
        (SIGHTLINE_RESULT_TTL) has failed, with an `ExpiredTask` as its error. That needs a caller
        who is away for as long: between any two results it is looked at what else has ended.

        Args:
            timeout: seconds for all of them; None for as long as it takes.
            progress: called at first, and when anything has changed.

        Raises:
            TimedOut: they took longer. They are worked on still: `results` or `wait` go on.
            ClientError: the service does not answer, or not as it should.
        """
        until = _end_of(timeout)
        given: set[int] = set()
        told = None
        while True:
            now = self._progress()
            if progress is not None and now != told:
                progress(now)
            told = now
            for result in self._known():
                if result.index not in given:
                    given.add(result.index)
                    yield result
                    await self.glance()
            if now.status in ENDED:
                return
            await self._more(until, each=True)

    async def wait(
        self, timeout: float | None = None, progress: Callable[[Progress], object] | None = None
    ) -> list[Result]:
        """All pictures by index, once all have ended, those that failed too.

        Arguments and errors are those of `results`.
        """
        if progress is not None:
            async for _ in self.results(timeout, progress):
                pass
        until = _end_of(timeout)
        while self._progress().status not in ENDED:
            await self._more(until, each=False)
        return sorted(self._known(), key=lambda result: result.index)

    async def status(self) -> Progress:
        """How far they are now."""
        for task in self._open():
            await self._look(task)
        return self._progress()

    async def cancel(self) -> Progress:
        """Cancel what has not begun; it is then never looked at. What has ended stays as it is."""
        for task in self._open():
            try:
                answer = await self._service.ask(Request("DELETE", task.path, {"forget": False}))
            except ExpiredTask as error:
                task.expire(error)
            else:
                self._absorb(task, answer)
        return self._progress()

    async def retry(self) -> Progress:
        """Run again what failed for reasons that may have passed; what was no picture stays so.

        So does what the service does not keep any more.
        """
        for task in self._tasks:
            try:
                answer = await self._service.ask(Request("POST", f"{task.path}/retry"))
            except ExpiredTask as error:
                task.expire(error)
                continue
            task.forget_failures()
            self._absorb(task, answer)
        return self._progress()

    async def annotated(self, index: int) -> bytes:
        """A JPEG of the picture with its boxes, while the service keeps it.

        Raises:
            IndexError: there is no such picture.
            NotYet: its turn has not come.
            ClientError: it failed; the class says why.
        """
        for task in self._tasks:
            if 0 <= index < task.total:
                answer = await self._service.ask(Request("GET", f"{task.path}/images/{index}"))
                return answer.content
            index -= task.total
        raise IndexError(f"There are {self.total} pictures.")

    # For the client that makes it

    async def add(self, task_id: str, sources: Sequence[str] = ()) -> None:
        """Another task, and its pictures' sources, if known."""
        task = Task(task_id, self.total, sources)
        if not sources:
            await self._look(task)
        self._tasks.append(task)
        self.total += task.total

    async def glance(self) -> None:
        """Look at one task, if it is time to: else results would expire during a long upload."""
        began = time.monotonic()
        tasks = self._open()
        if began < self._next_glance or not tasks:
            return
        with suppress(ClientError):  # if it lasts, whoever waits for the results is told
            await self._look(min(tasks, key=lambda task: task.looked), began + _GLANCE_LASTS)
        now = time.monotonic()
        self._next_glance = now + max(_GLANCE, _REST * (now - began))

    async def abandon(self) -> None:
        """Let nothing be left of it, as far as the service can be reached."""
        until = time.monotonic() + _PARTING_LASTS
        for task in self._tasks:
            with suppress(ClientError):
                await self._service.ask(Request("DELETE", task.path), until)

    # Looking

    def _known(self) -> list[Result]:
        # list() of a dict is not interrupted by another thread, as a loop over it would be.
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

    async def _more(self, until: float, *, each: bool) -> None:
        """Look again: at one task once it has ended (with `each`, changed), now and then at all.

        Raises:
            TimedOut: it is past `until` on `time.monotonic`.
        """
        began = time.monotonic()
        if not (tasks := self._open()):
            return  # a glance was enough
        longest = _LONG if len(tasks) == 1 else _SWEEP
        try:
            await self._look(tasks[0], until, max(0, min(longest, until - began)), each=each)
            await self._sweep(until)
        except TimedOut as error:
            raise self._timed_out() from error.__cause__
        if self._open():
            now = time.monotonic()
            if now >= until:
                raise self._timed_out()
            await self._service.io.sleep(max(0, min(began + _ROUND, until) - now))

    def _timed_out(self) -> TimedOut:
        now = self._progress()
        return TimedOut(
            f"{now.done} of {now.total} pictures have ended in the time given. The others are "
            "worked on still: wait again."
        )

    async def _sweep(self, until: float) -> None:
        overdue = time.monotonic() - _SWEEP
        for task in self._open():
            if task.looked < overdue:
                await self._look(task, until)

    async def _look(
        self, task: Task, until: float = math.inf, wait: float = 0, *, each: bool = True
    ) -> None:
        headers = {}
        if each and task.tag:
            headers["If-None-Match"] = task.tag
        elif each:
            wait = 0  # nothing is known yet, and waiting would be for its end
        ask = Request("GET", task.path, {"wait": wait} if wait else {}, headers)
        try:
            answer = await self._service.ask(ask, until)
        except ExpiredTask as error:
            if not task.total:
                raise  # nobody knows how many pictures are lost
            task.expire(error)
            return
        finally:
            task.looked = time.monotonic()
        if answer.status_code != HTTPStatus.NOT_MODIFIED:
            self._absorb(task, answer)

    def _absorb(self, task: Task, answer: httpx.Response) -> None:
        tag = answer.headers.get("etag", "")
        read(answer, lambda state: task.absorb(state, tag))


def _end_of(timeout: float | None) -> float:
    """On `time.monotonic`."""
    return math.inf if timeout is None else time.monotonic() + timeout


def _status_of(statuses: set[Status]) -> Status:
    """Of all tasks together."""
    if statuses <= ENDED:
        return next((one for one in _BEST_FIRST if one in statuses), "completed")
    return "queued" if statuses == {"queued"} else "processing"
