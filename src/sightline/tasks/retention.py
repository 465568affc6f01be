"""The cleaner: removes expired tasks, the oldest results on a full disk, and orphaned blobs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

from sqlalchemy import Connection, delete, insert, select, update

from sightline.errors import StorageUnavailable
from sightline.storage.blobs import BlobFolder, Blobs
from sightline.storage.database import Database
from sightline.storage.schema import leases, tasks, tombstones
from sightline.tasks import admission, rows
from sightline.threads import RETENTION

INTERVAL_SECONDS = 60.0

ORPHAN_SECONDS = 3600.0
"""Blobs without a task are orphans at this age: no submission takes so long."""

_LEASE_SECONDS = 120.0  # a killed cleaner blocks others no longer than this
_PAUSE_SECONDS = 0.005  # between batches, so that others may write
_BATCH = 25  # tasks
_SURELY_SECONDS = 30.0  # after its expiry a task can not be in the middle of a retry

_Item = TypeVar("_Item")

_log = logging.getLogger("sightline.tasks")


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Counts of one round: expired tasks, tasks evicted for disk space, orphaned folders."""

    expired: int
    evicted: int
    orphans: int


class Cleaner:
    """Removes expired data at the start and every minute, in one process at a time.

    Attributes:
        on_change: called after each round that removed a task.
    """

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        max_bytes: int,
        clock: Callable[[], float] = time.time,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        """A cleaner that keeps at most `max_bytes` of blobs of ended tasks."""
        self._database = database
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._clock = clock
        self._interval = interval
        self._name = uuid4().hex
        self._put_off = False
        self._stopping = threading.Event()
        self._thread = RETENTION.make(self._run)
        self.on_change: list[Callable[[], None]] = []

    def start(self) -> None:
        """Clean now and every `interval` seconds, on its own thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; waits for the batch that is being removed."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def clean(self) -> Cleaned | None:
        """Run one round; None if another cleaner is running one.

        Raises:
            StorageUnavailable: the database or the blobs cannot be used now.
        """
        if not self._begin():
            return None
        try:
            expired = self._expire()
            evicted = self._evict()
            orphans = self._remove_orphans()
            self._forget_tombstones()
            while not self._stopping.is_set() and self._database.compact():
                self._stopping.wait(_PAUSE_SECONDS)
        finally:
            self._leave_lease()
        if expired or evicted:
            for call in self.on_change:
                call()
        return Cleaned(expired, evicted, orphans)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                cleaned = self.clean()
                if cleaned is not None and (cleaned.evicted or cleaned.orphans):
                    _log.info("cleaned: %s", cleaned)
                self._put_off = False
            except StorageUnavailable as error:
                if not self._put_off:
                    _log.warning("cleaning is put off: %s", error.reason)
                self._put_off = True
            except Exception:  # noqa: BLE001  results must go in a minute, whatever failed now
                _log.exception("cleaning failed; it is tried again in a minute")
            self._stopping.wait(self._interval)

    def _begin(self) -> bool:
        """Take the lease; False if another cleaner has it."""
        try:
            return self._take_lease()
        except StorageUnavailable:
            self._make_room()
            raise

    def _make_room(self) -> None:
        """Remove the blobs of expired tasks, but not their rows.

        On a full disk the database cannot be written, not even to remove a task.
        """
        over = select(tasks.c.id).where(tasks.c.expires <= self._clock() - _SURELY_SECONDS)
        with self._database.read() as connection:
            found = connection.execute(over).scalars().all()
        for task_id in found:
            self._blobs.delete(task_id)

    def _expire(self) -> int:
        """Remove expired tasks, unless they have just been retried.

        After a crash, their blobs are removed as orphans.
        """
        over = select(tasks.c.id).where(tasks.c.expires <= self._clock()).limit(_BATCH)
        count = 0
        while not self._stopping.is_set():
            with self._database.read() as connection:
                found = connection.execute(over).scalars().all()
            if not found:
                break
            with self._database.write() as connection:
                still = tasks.c.id.in_(found) & (tasks.c.expires <= self._clock())
                gone = connection.execute(select(tasks.c.id).where(still)).scalars().all()
                if gone:
                    admission.tombstone(connection, gone, self._clock())
                self._prolong(connection)
            for task_id in gone:
                self._blobs.delete(task_id)
            count += len(gone)
        return count

    def _evict(self) -> int:
        """Expire the oldest ended tasks until their blobs fit `max_bytes`."""
        held = {folder.name: folder.bytes for folder in self._blobs.folders()}
        by_age = select(tasks.c.id).where(tasks.c.ended.is_not(None)).order_by(tasks.c.ended)
        with self._database.read() as connection:
            ended = connection.execute(by_age).scalars().all()
        surplus = sum(held.get(task_id, 0) for task_id in ended) - self._max_bytes
        evicted = []
        for task_id in ended:
            if surplus <= 0:
                break
            if task_id in held:
                surplus -= held[task_id]
                evicted.append(task_id)
        for batch in _batches(evicted):
            with self._database.write() as connection:
                still_ended = tasks.c.id.in_(batch) & tasks.c.ended.is_not(None)
                ended = connection.execute(select(tasks.c.id).where(still_ended)).scalars().all()
                rows.touch(connection, ended, expires=self._clock())
        return self._expire() if evicted else 0

    def _remove_orphans(self) -> int:
        """Remove blobs whose task was removed, or was never submitted."""
        count = 0
        for folders in _batches(self._blobs.folders()):
            for folder in self._orphans(folders):
                self._blobs.delete(folder.name)
                count += 1
        return count

    def _orphans(self, folders: Sequence[BlobFolder]) -> Iterator[BlobFolder]:
        names = [folder.name for folder in folders]
        with self._database.read() as connection:
            known = set(
                connection.execute(select(tasks.c.id).where(tasks.c.id.in_(names))).scalars()
            )
            dead = select(tombstones.c.id).where(tombstones.c.id.in_(names))
            tombstoned = set(connection.execute(dead).scalars())
        old = self._clock() - ORPHAN_SECONDS
        for folder in folders:
            if folder.name in tombstoned or (folder.name not in known and folder.written < old):
                yield folder

    def _forget_tombstones(self) -> None:
        with self._database.write() as connection:
            connection.execute(delete(tombstones).where(tombstones.c.until <= self._clock()))

    def _take_lease(self) -> bool:
        now = self._clock()
        with self._database.write() as connection:
            # A lease that ends later than any can was given by a wrong clock.
            held = leases.c.until.between(now, now + _LEASE_SECONDS)
            others = select(leases.c.holder).where(leases.c.name == "cleaner", held)
            if connection.execute(others).first() is not None:
                return False
            connection.execute(delete(leases).where(leases.c.name == "cleaner"))
            connection.execute(
                insert(leases).values(name="cleaner", holder=self._name, until=now + _LEASE_SECONDS)
            )
        return True

    def _prolong(self, connection: Connection) -> None:
        ours = update(leases).where(leases.c.name == "cleaner", leases.c.holder == self._name)
        connection.execute(ours.values(until=self._clock() + _LEASE_SECONDS))

    def _leave_lease(self) -> None:
        with self._database.write() as connection:
            connection.execute(delete(leases).where(leases.c.holder == self._name))


def _batches(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
