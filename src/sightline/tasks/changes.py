"""Who waits for a task learns of its changes from one reader a process, however many they are."""

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

_LOOK_EVERY = 0.2  # seconds between looks at what others commit, while somebody waits
_MIN_INTERVAL = 0.01  # seconds between two looks at least: whoever asks meanwhile shares the next
_FROM_NOW = 2**62  # a sequence number that none has reached: nothing has changed since
_KEPT = 32 * 2**20  # about so many bytes of tasks are kept in memory
_IMAGE_BYTES = 400  # of an image, but for its answer

_log = logging.getLogger("sightline")


@dataclass(eq=False, slots=True)
class _Reader:
    """Somebody who asks for a task, and knows `version` of it already (None: none)."""

    task_id: str
    version: int | None
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Task]
    gone: bool = False

    def answer(self, answer: Task | SightlineError) -> None:
        with suppress(RuntimeError):  # its loop has ended, and so has whoever asked
            self.loop.call_soon_threadsafe(_resolve, self.future, answer)


class ChangeFeed:
    """The tasks as they are now, for the event loop.

    One thread asks the database what has changed, and reads each task that changed and is asked
    for once: neither grows with the number of readers. What it answers is never older than the
    question, so that no reader sees a task go back.
    """

    def __init__(self, store: TaskStore) -> None:
        """Start the thread; it looks at `store` while somebody asks, and else rests.

        Whoever commits in this process is to call `committed`.
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
        """The task as it is now.

        Raises:
            UnknownTask, ExpiredTask: as `TaskStore.get`.
            StorageUnavailable: it cannot be read now.
        """
        return await self._request(task_id, None)

    async def wait(self, task_id: str, version: int, timeout: float) -> Task:
        """The task as soon as it is another than `version` of it; after `timeout` s as it is then.

        Raises:
            UnknownTask, ExpiredTask, StorageUnavailable: as `get`.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._request(task_id, version)
        except TimeoutError:
            return await self.get(task_id)

    def close(self) -> None:
        """End the thread; whoever still waits is told that tasks cannot be read."""
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
        """This process has changed a task: look at once. From any thread."""
        with self._wake:
            self._committed = True
            self._wake.notify_all()

    def _keep_waiting(self, task_id: str, readers: list[_Reader]) -> None:
        """With the lock held: those of `readers` that are still there wait on."""
        if left := [reader for reader in readers if not reader.gone]:
            self._waiting[task_id] = left

    def _run(self) -> None:
        while (readers := self._next()) is not None:
            try:
                changed = self._changed() if readers or self._waiting else set()
            except Exception as error:  # noqa: BLE001  one look's failure is not the next one's
                _answer_all(readers, _why(error))
                continue
            self._tell_all(readers, changed)
        with self._wake:
            left = [*self._readers, *(one for some in self._waiting.values() for one in some)]
            self._readers, self._waiting = [], {}
        _answer_all(left, _stopping())

    def _next(self) -> list[_Reader] | None:
        """Who asks, once it is time for a look; None once this is closed."""
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
        """Ids of the tasks that changed since the last look; what is kept of them is stale."""
        if self._sequence is None:
            self._sequence = self._store.changes(_FROM_NOW).sequence
            return set()  # nothing is kept yet
        seen = self._store.changes(self._sequence)
        self._sequence = seen.sequence
        self._stale |= self._tasks.keys() & seen.tasks
        return set(seen.tasks)

    def _tell(self, task_id: str, readers: list[_Reader]) -> None:
        """Answer those for whom the task is new; the others wait on."""
        try:
            task = self._read(task_id)
        except Exception as error:  # noqa: BLE001  whatever it is, nobody may wait for ever
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
