"""The task store, for clients: submit, read, cancel, remove and retry tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, func, select, union_all, update

from sightline.errors import NotEnded, SightlineError, StorageUnavailable
from sightline.storage.blobs import Blobs
from sightline.storage.database import Database
from sightline.storage.schema import images, state, tasks, tombstones
from sightline.tasks import admission, rows
from sightline.tasks.admission import Found
from sightline.tasks.fairness import PRIORITIES, ahead, order_key
from sightline.tasks.task import ENDED, Backlog, ChangeSet, Glance, Image, NewTask, Priority, Task

RESULT_TTL = 300.0  # seconds

MOST_IDS = 1000
"""Most ids in a `Glance`."""

_TURN = (images.c.order_key, images.c.arrival, images.c.position)


class TaskStore:
    """All tasks. Safe for many threads; not for the event loop, it blocks.

    Every method raises StorageUnavailable if the database or the blobs cannot be used now.

    Attributes:
        on_change: called after each commit of this store, on the thread that committed.
    """

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        limits: Backlog,
        clock: Callable[[], float] = time.time,
        *,
        ttl: float = RESULT_TTL,
    ) -> None:
        """A store that admits up to `limits`, and keeps results for `ttl` seconds."""
        self._database = database
        self._blobs = blobs
        self._limits = limits
        self._clock = clock
        self._ttl = ttl
        self.on_change: list[Callable[[], None]] = []

    def submit(self, task: NewTask) -> Task:
        """Add a task whose blobs are written. The task and its blobs are on disk on return.

        The blobs of a task that is not added are removed.

        Returns:
            The new task, or the earlier one of the same idempotency key and request.

        Raises:
            Conflict: the idempotency key was used for another request.
            Overloaded: the backlog has no room.
            WrongFileCount, BodyTooLarge: the task is larger than the whole backlog.
        """
        now = self._clock()
        written = False
        try:
            if any(image.blob for image in task.images):
                self._blobs.commit(task.id)
            with self._database.write() as connection:
                taken = admission.known(connection, task, now)
                if taken is None:
                    sizes = [image.size for image in task.images if image.failure is None]
                    admission.make_room(connection, self._limits, sizes)
                    admission.add(connection, task, now, self._ttl)
                kept = rows.load(connection, taken or task.id, now)
                written = True
        except SightlineError:
            if not (written and self._arrived(task.id)):
                self._remove(task.id)
                raise
        if taken is None:
            self._changed()
        else:
            self._remove(task.id)
        return kept

    def find(self, task: NewTask) -> Found | None:
        """The earlier task of the same owner with the same idempotency key, if there is one."""
        with self._database.read() as connection:
            return admission.find(connection, task, self._clock())

    def get(self, task_id: str, known: Task | None = None) -> Task:
        """The task with its images. Answers of `known`, an earlier version, are not read again.

        Raises:
            UnknownTask: there is no such task, or it expired long ago.
            ExpiredTask: the task has expired.
        """
        with self._database.read() as connection:
            return rows.load(connection, task_id, self._clock(), known)

    def cancel(self, task_id: str) -> Task:
        """Cancel the images that have not ended, and end the task. Leaves an ended task as it is.

        Results of images in progress are dropped.

        Raises:
            UnknownTask, ExpiredTask: as `get`.
        """
        now = self._clock()
        with self._database.write() as connection:
            task = rows.load(connection, task_id, now)
            if task.status in ENDED:
                return task
            ended = update(images).where(
                images.c.task_id == task_id, images.c.status.in_(("queued", "processing"))
            )
            connection.execute(ended.values(status="cancelled", **rows.RELEASED))
            rows.touch(connection, [task_id])
            rows.end(connection, task_id, "cancelled", now, self._ttl)
            task = rows.load(connection, task_id, now)
        self._changed()
        return task

    def forget(self, task_id: str) -> None:
        """Remove an ended task and its blobs. For a day, `get` reports it as expired.

        Raises:
            UnknownTask, ExpiredTask: as `get`.
            NotEnded: the task has not ended.
        """
        now = self._clock()
        with self._database.write() as connection:
            task = rows.load(connection, task_id, now)
            if task.status not in ENDED:
                raise NotEnded(
                    "The task has not ended, or runs again because somebody retried it: DELETE it "
                    "once more to cancel it, and again to forget it."
                )
            admission.tombstone(connection, [task_id], now)
        self._remove(task_id)
        self._changed()

    def retry(self, task_id: str) -> Task:
        """Queue the failed images again that have a blob or a URL.

        Raises:
            UnknownTask, ExpiredTask: as `get`.
            Overloaded: the backlog has no room.
            WrongFileCount, BodyTooLarge: the images are more than the whole backlog holds.
        """
        now = self._clock()
        with self._database.write() as connection:
            task = rows.load(connection, task_id, now)
            failed = [
                image
                for image in task.images
                if image.status == "error" and (image.blob or image.url)
            ]
            if not failed:
                return task
            admission.make_room(connection, self._limits, [image.size for image in failed])
            _requeue(connection, task, failed)
            status = task.status if task.status == "processing" else "queued"
            rows.touch(connection, [task_id], status=status, ended=None, expires=None)
            task = rows.load(connection, task_id, now)
        self._changed()
        return task

    def glance(self) -> Glance:
        """Counts of all tasks, and the ids of those that changed last."""
        counted = select(tasks.c.status, tasks.c.priority, func.count()).group_by(
            tasks.c.status, tasks.c.priority
        )
        latest = select(tasks.c.id).order_by(tasks.c.version.desc()).limit(MOST_IDS)
        statuses: dict[Any, int] = {}
        priorities: dict[Any, int] = {}
        with self._database.read() as connection:
            for status, priority, count in connection.execute(counted):
                statuses[status] = statuses.get(status, 0) + count
                priorities[priority] = priorities.get(priority, 0) + count
            waiting, size = admission.backlog(connection, ["queued"])
            ids = tuple(connection.execute(latest).scalars())
        return Glance(statuses, priorities, waiting, size, ids)

    def positions(self) -> dict[str, int]:
        """Task id → about how many images are begun before the next one of that task."""
        queued = (
            select(images.c.rank, images.c.task_id)
            .where(images.c.status == "queued")
            .order_by(images.c.rank, *_TURN)
        )
        with self._database.read() as connection:
            found = connection.execute(queued).all()
        waiting: dict[Priority, int] = {}
        firsts: dict[str, tuple[Priority, int]] = {}
        for rank, task_id in found:
            priority = PRIORITIES[rank]
            before = waiting.get(priority, 0)
            firsts.setdefault(task_id, (priority, before))
            waiting[priority] = before + 1
        return {
            task_id: ahead(priority, before, waiting)
            for task_id, (priority, before) in firsts.items()
        }

    def changes(self, since: int) -> ChangeSet:
        """The tasks that changed or were removed after the sequence number `since`."""
        changed = union_all(
            select(tasks.c.id).where(tasks.c.version > since),
            select(tombstones.c.id).where(tombstones.c.version > since),
        )
        with self._database.read() as connection:
            sequence = connection.execute(select(state.c.sequence)).scalar_one()
            if sequence == since:
                return ChangeSet(since, ())
            return ChangeSet(sequence, tuple(connection.execute(changed).scalars()))

    def _arrived(self, task_id: str) -> bool:
        """Whether the task was committed although its transaction failed (lost connection)."""
        with self._database.write() as connection:  # waits until that transaction has ended
            found = select(tasks.c.id).where(tasks.c.id == task_id)
            return connection.execute(found).first() is not None

    def _remove(self, task_id: str) -> None:
        with suppress(StorageUnavailable):  # logged already; the cleaner removes them
            self._blobs.delete(task_id)

    def _changed(self) -> None:
        for call in self.on_change:
            call()


def _requeue(connection: Connection, task: Task, failed: Sequence[Image]) -> None:
    reached = admission.reached_key(connection, task.priority)
    for number, image in enumerate(failed):
        queued = update(images).where(images.c.task_id == task.id, images.c.position == image.index)
        connection.execute(
            queued.values(
                status="queued",
                order_key=order_key(reached, number),
                attempts=0,
                kills=0,
                quarantined=False,
                error=None,
                detail=None,
            )
        )
