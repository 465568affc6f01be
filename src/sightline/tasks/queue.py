"""The queue of images, for workers: claims with a lease, and their outcomes."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from sightline.storage.database import Database
from sightline.storage.schema import images
from sightline.tasks import claims, rows
from sightline.tasks.rows import Row
from sightline.tasks.store import RESULT_TTL
from sightline.tasks.task import Claim, Outcome

LEASE_SECONDS = 30.0
DEADLY = 2
"""After so many deaths of a process that held this image alone, the image fails."""

_HELD = select(images.c.task_id, images.c.position).where(images.c.worker == bindparam("mine"))
_IMAGE = update(images).where(
    images.c.task_id == bindparam("of_task"), images.c.position == bindparam("at")
)
_RELEASE = _IMAGE.values(status="queued", **rows.RELEASED)
_WRITE = _IMAGE.values(
    status=bindparam("to_status"),
    worker=None,
    lease_until=None,
    quarantined=False,
    attempts=images.c.attempts + bindparam("begun"),
    not_before=bindparam("to_not_before"),
    result=bindparam("to_result"),
    error=bindparam("to_error"),
    detail=bindparam("to_detail"),
)
_HEARTBEAT = (
    update(images)
    .where(images.c.worker == bindparam("mine"))
    .values(lease_until=bindparam("until"))
)
_EARLIEST = select(func.min(images.c.not_before)).where(images.c.not_before.is_not(None))

_log = logging.getLogger("sightline.tasks")


class TaskQueue:
    """The images that wait or are being processed. Safe for many threads.

    Every method raises StorageUnavailable if the database cannot be used now.

    Attributes:
        on_change: called after each commit that changed a task, on the thread that committed.
        dropped: number of outcomes that came too late, or for cancelled images.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float] = time.time,
        lease: float = LEASE_SECONDS,
        *,
        ttl: float = RESULT_TTL,
    ) -> None:
        """A queue with claims of `lease` seconds, that keeps results for `ttl` seconds."""
        self._database = database
        self._clock = clock
        self._lease = lease
        self._ttl = ttl
        self.on_change: list[Callable[[], None]] = []
        self.dropped = 0

    def recover(self, worker: str | None) -> int:
        """Queue the images of dead workers again: all with an expired lease, and all of `worker`.

        Images that a worker held when it died are quarantined: from then on each runs alone. An
        image that was alone at two deaths ends as a `PoisonImage`.

        Args:
            worker: name of a worker that is dead; None for expired leases only.

        Returns:
            The number of images.
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
            held_by = Counter(row.worker for row in held)
            lost = [row for row in held if row.worker == worker or row.lease_until <= now]
            for row in lost:
                _requeue_lost(connection, row, alone=held_by[row.worker] == 1)
            if lost:
                rows.refresh_status(connection, {row.task_id for row in lost}, now, self._ttl)
        if lost:
            _log.warning("%d images of a worker that died are queued again", len(lost))
            self._changed()
        return len(lost)

    def claim(self, worker: str, most: int, *, idle: bool, addresses: bool = True) -> list[Claim]:
        """Claim up to `most` due images for `worker`, in fair order.

        A quarantined image is claimed alone, by an idle worker, which gets nothing else until the
        image has ended. It keeps its turn: the images behind it wait until the worker is idle.

        Args:
            worker: name of the worker.
            most: number of images, at least 1.
            idle: the worker holds nothing.
            addresses: include images whose bytes are still to be fetched.
        """
        now = self._clock()
        with self._database.write() as connection:
            if claims.holds_quarantined(connection, worker):
                return []
            chosen = claims.choose(connection, now, most, idle=idle, addresses=addresses)
            if chosen is None:
                return []
            taken = claims.take(connection, chosen, worker, now, now + self._lease)
        self._changed()
        return taken

    def heartbeat(self, worker: str) -> None:
        """Extend the leases of all images that the worker holds."""
        with self._database.write() as connection:
            until = self._clock() + self._lease
            connection.execute(_HEARTBEAT, {"mine": worker, "until": until})

    def finish(self, worker: str, outcomes: Sequence[Outcome]) -> None:
        """Write the outcomes of claims, in one transaction.

        Outcomes of images that the worker does not hold any more are counted in `dropped`.
        """
        now = self._clock()
        with self._database.write() as connection:
            held = _held(connection, worker)
            ours = [
                outcome
                for outcome in outcomes
                if (outcome.claim.task_id, outcome.claim.index) in held
            ]
            if ours:
                connection.execute(_WRITE, [_written(outcome, now) for outcome in ours])
                of_tasks = {outcome.claim.task_id for outcome in ours}
                rows.refresh_status(connection, of_tasks, now, self._ttl)
        self.dropped += len(outcomes) - len(ours)
        if ours:
            self._changed()

    def give_back(self, worker: str, given: Sequence[Claim]) -> None:
        """Queue claims again that were not finished."""
        with self._database.write() as connection:
            held = _held(connection, worker)
            ours = [claim for claim in given if (claim.task_id, claim.index) in held]
            if ours:
                connection.execute(_RELEASE, [_key(claim) for claim in ours])
                rows.touch(connection, {claim.task_id for claim in ours})
        if ours:
            self._changed()

    def next_due(self) -> float | None:
        """Unix time of the earliest retry of an image; None if there is none."""
        with self._database.read() as connection:
            found: float | None = connection.execute(_EARLIEST).scalar_one()
            return found

    def _changed(self) -> None:
        for call in self.on_change:
            call()


def _held(connection: Connection, worker: str) -> set[tuple[str, int]]:
    """Task and index of each image that the worker holds."""
    return {(row.task_id, row.position) for row in connection.execute(_HELD, {"mine": worker})}


def _key(claim: Claim) -> dict[str, Any]:
    return {"of_task": claim.task_id, "at": claim.index}


def _requeue_lost(connection: Connection, row: Row, *, alone: bool) -> None:
    """Quarantine and queue an image whose worker died, or end it as a poison image."""
    kills = row.kills + alone
    values: dict[str, Any] = {"status": "queued", "quarantined": True}
    if kills >= DEADLY:
        values = {
            "status": "error",
            "error": "PoisonImage",
            "detail": f"The service died {kills} times while it worked on this picture and on "
            "nothing else. It will not be tried again by itself.",
        }
    key = {"of_task": row.task_id, "at": row.position}
    connection.execute(_IMAGE.values(kills=kills, **values, **rows.RELEASED), key)


def _written(outcome: Outcome, now: float) -> dict[str, Any]:
    """The parameters of `_WRITE` for an outcome."""
    values: dict[str, Any] = {
        "to_status": "completed",
        "begun": int(outcome.counts),
        "to_result": None,
        "to_error": None,
        "to_detail": None,
        "to_not_before": None,
    }
    failure = outcome.failure
    if failure is None:
        values["to_result"] = rows.to_json(outcome.result or {})
    elif outcome.retry_in is not None:
        values |= {"to_status": "queued", "to_not_before": now + outcome.retry_in}
    else:
        detail = rows.text(failure.detail)
        values |= {"to_status": "error", "to_error": failure.error, "to_detail": detail}
    return _key(outcome.claim) | values
