"""Change feed: one thread a process that reads changed tasks for all waiting clients."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition
from time import monotonic, time
from typing import TYPE_CHECKING

from sightline.errors import SightlineError, StorageUnavailable
from sightline.threads import CHANGE_FEED

if TYPE_CHECKING:
    from sightline.tasks.store import TaskStore
    from sightline.tasks.task import Task

_LOOK_EVERY = 0.2  # seconds between polls for commits of other processes, while a reader waits
_MIN_INTERVAL = 0.01  # seconds between two polls; requests in between share the next poll
_FROM_NOW = 2**62  # a sequence number that is never reached: no change comes after it
_KEPT = 32 * 2**20  # bytes of cached tasks, about
_IMAGE_BYTES = 400  # of an image in the cache, without its answer

_log = logging.getLogger("sightline")


@dataclass(eq=False, slots=True)
class _Reader:
    """A request for a task with another version than `version` (None: any version)."""

    task_id: str
    version: int | None
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Task]
    gone: bool = False

    def answer(self, answer: Task | SightlineError) -> None:
        with suppress(RuntimeError):  # its event loop is closed
            self.loop.call_soon_threadsafe(_resolve, self.future, answer)


class ChangeFeed:
    """Current tasks, and waits for their changes, for the event loop.

    One thread polls the database for changes, and reads each requested task that changed once:
    the load does not grow with the number of readers. An answer is never older than its request,
    so no reader sees a task go back.
    """

    def __init__(self, store: TaskStore) -> None:
        """Start the thread. It polls `store` only while there are requests.

        Every writer of this process must call `committed` after a commit.
        """
        self._store = store
        self._wake = Condition()
        self._closed = False
        self._committed = False
        self._readers: list[_Reader] = []
        self._waiting: dict[str, list[_Reader]] = {}
        self._tasks: OrderedDict[str, Task] = OrderedDict()
        self._stale: set[str] = set()
        self._kept = 0
        self._sequence: int | None = None
        self._looked = 0.0
        self._thread = CHANGE_FEED.start(self._run)

    async def get(self, task_id: str) -> Task:
        """The current task.

        Raises:
            UnknownTask, ExpiredTask: as `TaskStore.get`.
            StorageUnavailable: the task cannot be read now.
        """
        return await self._request(task_id, None)

    async def wait(self, task_id: str, version: int, timeout: float) -> Task:
        """The task once its version is not `version`; the current one after `timeout` seconds.

        Raises:
            UnknownTask, ExpiredTask, StorageUnavailable: as `get`.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._request(task_id, version)
        except TimeoutError:
            return await self.get(task_id)

    def close(self) -> None:
        """End the thread. Waiting requests fail with StorageUnavailable."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._thread.join()

    async def _request(self, task_id: str, version: int | None) -> Task:
        loop = asyncio.get_running_loop()
        reader = _Reader(task_id, version, loop, loop.create_future())
        with self._wake:
            if self._closed:
                raise _stopping()
            self._readers.append(reader)
            self._wake.notify_all()
        try:
            return await reader.future
        finally:
            self._forget(reader)

    def _forget(self, reader: _Reader) -> None:
        with self._wake:
            reader.gone = True
            self._keep_waiting(reader.task_id, self._waiting.pop(reader.task_id, []))

    def committed(self) -> None:
        """Poll at once: this process has changed a task. From any thread."""
        with self._wake:
            self._committed = True
            self._wake.notify_all()

    def _keep_waiting(self, task_id: str, readers: list[_Reader]) -> None:
        """Keep waiting for those `readers` that are not gone. Call it with the lock held."""
        if left := [reader for reader in readers if not reader.gone]:
            self._waiting[task_id] = left

    def _run(self) -> None:
        while (readers := self._next()) is not None:
            try:
                changed = self._changed() if readers or self._waiting else set()
            except Exception as error:  # noqa: BLE001  the next poll may succeed
                _answer_all(readers, _why(error))
                continue
            self._tell_all(readers, changed)
        with self._wake:
            left = [*self._readers, *(r for readers in self._waiting.values() for r in readers)]
            self._readers, self._waiting = [], {}
        _answer_all(left, _stopping())

    def _next(self) -> list[_Reader] | None:
        """The new requests, once it is time for a poll; None once this is closed."""
        with self._wake:
            self._wake.wait_for(self._has_work, _LOOK_EVERY if self._waiting else None)
            pause = self._looked + _MIN_INTERVAL - monotonic()
            self._wake.wait_for(lambda: self._closed, max(0.0, pause))
            if self._closed:
                return None
            readers, self._readers = self._readers, []
            self._committed = False
            self._looked = monotonic()
            return readers

    def _has_work(self) -> bool:
        return self._closed or bool(self._readers or (self._committed and self._waiting))

    def _tell_all(self, readers: list[_Reader], changed: set[str]) -> None:
        told: dict[str, list[_Reader]] = {}
        for reader in readers:
            told.setdefault(reader.task_id, []).append(reader)
        with self._wake:
            for task_id in [*(told.keys() | changed)]:
                if waiting := self._waiting.pop(task_id, []):
                    told.setdefault(task_id, []).extend(waiting)
        for task_id, readers in told.items():
            self._tell(task_id, readers)

    def _changed(self) -> set[str]:
        """Ids of the tasks that changed since the last poll; marks them as stale in the cache."""
        if self._sequence is None:
            self._sequence = self._store.changes(_FROM_NOW).sequence
            return set()  # the cache is empty
        changes = self._store.changes(self._sequence)
        self._sequence = changes.sequence
        self._stale |= self._tasks.keys() & changes.tasks
        return set(changes.tasks)

    def _tell(self, task_id: str, readers: list[_Reader]) -> None:
        """Answer the readers that have another version of the task; the others keep waiting."""
        try:
            task = self._read(task_id)
        except Exception as error:  # noqa: BLE001  no reader may wait for ever
            _answer_all(readers, _why(error))
            return
        waiting = []
        for reader in readers:
            if task.version == reader.version:
                waiting.append(reader)
            else:
                reader.answer(task)
        with self._wake:
            self._keep_waiting(task_id, waiting)

    def _read(self, task_id: str) -> Task:
        kept = self._tasks.get(task_id)
        if kept is not None and task_id not in self._stale and not _is_over(kept):
            self._tasks.move_to_end(task_id)
            return kept
        self._drop(task_id)
        task = self._tasks[task_id] = self._store.get(task_id, kept)
        self._kept += _weight(task)
        while self._kept > _KEPT and len(self._tasks) > 1:
            self._drop(next(iter(self._tasks)))
        return task

    def _drop(self, task_id: str) -> None:
        self._stale.discard(task_id)
        if (task := self._tasks.pop(task_id, None)) is not None:
            self._kept -= _weight(task)


def _weight(task: Task) -> int:
    return sum(_IMAGE_BYTES + len(image.answer or "") for image in task.images)


def _is_over(task: Task) -> bool:
    return task.expires is not None and task.expires <= time()


def _resolve(future: asyncio.Future[Task], answer: Task | SightlineError) -> None:
    if future.done():
        return
    if isinstance(answer, SightlineError):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _answer_all(readers: list[_Reader], error: SightlineError) -> None:
    for reader in readers:
        reader.answer(error)


def _why(error: Exception) -> SightlineError:
    if isinstance(error, SightlineError):
        return error
    _log.error("tasks cannot be read", exc_info=error)
    return StorageUnavailable("Tasks cannot be read now.", 5)


def _stopping() -> StorageUnavailable:
    return StorageUnavailable("The service is stopping.", 5)
