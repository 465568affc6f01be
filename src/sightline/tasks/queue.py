"""Tasks as their workers see them: images that are claimed with a lease, and what came of them."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Update, func, select, update

from sightline.storage.database import Database
from sightline.storage.schema import images, tasks
from sightline.tasks import claims, rows
from sightline.tasks.rows import Row
from sightline.tasks.store import RESULT_TTL
from sightline.tasks.task import Claim, Outcome

LEASE_SECONDS = 30.0
DEADLY = 2
"""Deaths of a process that worked on one image and nothing else, after which it is given up."""

_log = logging.getLogger("sightline.tasks")


class TaskQueue:
    """The images that wait, and those that are under way. Safe for many threads.

    Every method raises StorageUnavailable where the database cannot be used now.

    Attributes:
        on_change: called after each commit that changed a task, from the thread that made it.
        dropped: outcomes that came too late, or for images that were cancelled.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float] = time.time,
        lease: float = LEASE_SECONDS,
        *,
        ttl: float = RESULT_TTL,
    ) -> None:
        """A queue whose claims hold for `lease` seconds, and whose results live for `ttl`."""
        self._database = database
        self._clock = clock
        self._lease = lease
        self._ttl = ttl
        self.on_change: list[Callable[[], None]] = []
        self.dropped = 0

    def recover(self, worker: str | None) -> int:
        """Queue again what the dead held: all whose lease has run out, and all of `worker`'s.

        Images that a process held when it died are suspect, and are run alone from then on; one
        that was alone when the process died, for the second time, ends as the culprit.

        Args:
            worker: a name whose former bearer is dead, because its new one has just started.

        Returns:
            How many images it were.
        """
        now = self._clock()
        with self._database.write() as connection:
            held = connection.execute(
                select(
                    images.c.task_id,
                    images.c.position,
                    images.c.worker,
                    images.c.kills,
                    images.c.lease_until,
                ).where(images.c.status == "processing")
            ).all()
            company = Counter(row.worker for row in held)
            lost = [row for row in held if row.worker == worker or row.lease_until <= now]
            for row in lost:
                _mourn(connection, row, alone=company[row.worker] == 1)
            if lost:
                rows.settle(connection, {row.task_id for row in lost}, now, self._ttl)
        if lost:
            _log.warning("%d images of a worker that died are queued again", len(lost))
            self._changed()
        return len(lost)

    def claim(self, worker: str, most: int, *, idle: bool, addresses: bool = True) -> list[Claim]:
        """Take up to `most` images that are due, in the order of their turns.

        A suspect comes alone, to a worker that is `idle`, and nothing else before it has ended; one
        whose turn it is, is not passed over: the others wait until the worker is idle.

        Args:
            worker: name of who will work on them.
            most: images, at least 1.
            idle: the worker holds nothing.
            addresses: whether images may be among them whose bytes are still to be fetched.
        """
        now = self._clock()
        with self._database.write() as connection:
            if self._guards_suspect(connection, worker):
                return []
            chosen, turns = claims.choose(connection, now, most, idle=idle, addresses=addresses)
            if not chosen:
                return []
            claims.save(connection, turns, chosen)
            until = now + self._lease
            for row in chosen:
                connection.execute(
                    _image(row.task_id, row.position).values(
                        status="processing", worker=worker, lease_until=until, not_before=None
                    )
                )
            of_tasks = {row.task_id for row in chosen}
            rows.touch(connection, of_tasks, status="processing")
            begun = update(tasks).where(tasks.c.id.in_(of_tasks), tasks.c.started.is_(None))
            connection.execute(begun.values(started=now))
            taken = claims.as_claims(connection, chosen, until)
        self._changed()
        return taken

    def beat(self, worker: str) -> None:
        """Prolong all that the worker holds."""
        with self._database.write() as connection:
            held = update(images).where(images.c.worker == worker)
            connection.execute(held.values(lease_until=self._clock() + self._lease))

    def finish(self, worker: str, outcomes: Sequence[Outcome]) -> None:
        """Write what came of claims, all or nothing.

        What is not this worker's any more is dropped, and counted in `dropped`.
        """
        now = self._clock()
        changed = set()
        dropped = 0
        with self._database.write() as connection:
            for outcome in outcomes:
                claim = outcome.claim
                written = connection.execute(
                    _image(claim.task_id, claim.index)
                    .where(images.c.worker == worker)
                    .values(_written(outcome, now))
                )
                if written.rowcount:
                    changed.add(claim.task_id)
                else:
                    dropped += 1
            if changed:
                rows.settle(connection, changed, now, self._ttl)
        self.dropped += dropped
        if changed:
            self._changed()

    def give_back(self, worker: str, given: Sequence[Claim]) -> None:
        """Queue claims again that were not begun, or not to their end."""
        changed = set()
        with self._database.write() as connection:
            for claim in given:
                held = _image(claim.task_id, claim.index).where(images.c.worker == worker)
                if connection.execute(held.values(status="queued", **rows.RELEASED)).rowcount:
                    changed.add(claim.task_id)
            rows.touch(connection, changed)
        if changed:
            self._changed()

    def next_due(self) -> float | None:
        """When (Unix time) the earliest image that failed and is to be repeated may run."""
        with self._database.read() as connection:
            earliest = select(func.min(images.c.not_before)).where(images.c.not_before.is_not(None))
            found: float | None = connection.execute(earliest).scalar_one()
            return found

    def _guards_suspect(self, connection: Connection, worker: str) -> bool:
        held = select(images.c.position).where(images.c.worker == worker, images.c.suspect)
        return connection.execute(held.limit(1)).first() is not None

    def _changed(self) -> None:
        for call in self.on_change:
            call()


def _image(task_id: str, position: int) -> Update:
    return update(images).where(images.c.task_id == task_id, images.c.position == position)


def _mourn(connection: Connection, row: Row, *, alone: bool) -> None:
    """Queue an image again whose worker died, or end it as the culprit."""
    kills = row.kills + alone
    values: dict[str, Any] = {"status": "queued", "suspect": True}
    if kills >= DEADLY:
        values = {
            "status": "error",
            "error": "Culprit",
            "detail": f"The service died {kills} times while it worked on this picture and on "
            "nothing else. It will not be tried again by itself.",
        }
    connection.execute(
        _image(row.task_id, row.position).values(kills=kills, **values, **rows.RELEASED)
    )


def _written(outcome: Outcome, now: float) -> dict[str, Any]:
    """What an image's row says after `outcome`."""
    values = dict(rows.RELEASED)
    if outcome.counts:
        values["attempts"] = images.c.attempts + 1
    if outcome.failure is None:
        return values | {"status": "completed", "result": rows.to_json(outcome.result or {})}
    if outcome.retry_in is not None:
        return values | {"status": "queued", "suspect": False, "not_before": now + outcome.retry_in}
    failure = outcome.failure
    return values | {"status": "error", "error": failure.error, "detail": rows.text(failure.detail)}
