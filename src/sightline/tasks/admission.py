"""Admission of new tasks: idempotency keys, backlog limits, and the rows of a new task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from sightline.errors import BodyTooLarge, Conflict, Overloaded, WrongFileCount
from sightline.storage.schema import images, tasks, tombstones, turns
from sightline.tasks import rows
from sightline.tasks.fairness import RANKS, order_key
from sightline.tasks.task import Backlog, NewTask, Priority

TOMBSTONE_SECONDS = 86_400.0
"""Seconds that a tombstone tells that a task has expired."""

BACKLOG_SECONDS = 10
"""Seconds after which a client may retry when the backlog is full."""

FEWER = "Send fewer or smaller pictures a task, or raise SIGHTLINE_MAX_BACKLOG_MB on the server."
"""Advice to clients whose task is larger than the whole backlog."""

# Built once: building a statement and looking up its compiled form costs more than running it.
_BACKLOG = select(func.count(), func.coalesce(func.sum(images.c.size), 0)).where(
    images.c.status.in_(bindparam("statuses", expanding=True))
)
_REACHED = select(turns.c.order_key).where(turns.c.priority == bindparam("of_class"))
_ADD_TASK, _ADD_IMAGES = insert(tasks), insert(images)


class Found(NamedTuple):
    """An earlier task with the same idempotency key, and the fingerprint of its request."""

    id: str
    fingerprint: str


def known(connection: Connection, task: NewTask, now: float) -> str | None:
    """Id of the earlier task with the same idempotency key; None if there is none.

    Removes that task if it has expired.

    Raises:
        Conflict: the earlier request was another one.
    """
    found = _under_key(connection, task)
    if found is None:
        return None
    if found.expires is not None and found.expires <= now:
        tombstone(connection, [found.id], now)  # the cleaner removes its blobs as orphans
        return None
    require_same(task, found.fingerprint)
    return str(found.id)


def find(connection: Connection, task: NewTask, now: float) -> Found | None:
    """The earlier task with the same key that has not expired. Reads only, compares nothing."""
    found = _under_key(connection, task)
    if found is None or (found.expires is not None and found.expires <= now):
        return None
    return Found(found.id, found.fingerprint)


def require_same(task: NewTask, fingerprint: str) -> None:
    """Raises Conflict if an earlier request with the same key has another fingerprint."""
    if fingerprint != task.fingerprint:
        raise Conflict(
            "This Idempotency-Key came with another request before. Use a new key for a new "
            "request, and the same key only to repeat the very same one."
        )


def _under_key(connection: Connection, task: NewTask) -> rows.Row | None:
    if task.idempotency_key is None:
        return None
    return connection.execute(
        select(tasks.c.id, tasks.c.fingerprint, tasks.c.expires).where(
            tasks.c.owner == task.owner,
            tasks.c.idempotency_key == rows.text(task.idempotency_key),
        )
    ).one_or_none()


def make_room(connection: Connection, limits: Backlog, sizes: Sequence[int]) -> None:
    """Check that the backlog has room for images with blobs of `sizes` bytes.

    Raises:
        Overloaded: it has no room now.
        WrongFileCount, BodyTooLarge: it could not hold them even if it were empty.
    """
    if len(sizes) > limits.images:
        raise WrongFileCount(f"At most {limits.images} pictures may wait: send fewer a task.")
    if sum(sizes) > limits.bytes:
        raise BodyTooLarge(limits.bytes, FEWER)
    waiting, held = backlog(connection, ("queued", "processing"))
    if waiting + len(sizes) > limits.images or held + sum(sizes) > limits.bytes:
        raise Overloaded(
            f"Too much waits: {waiting} pictures of {held / 2**20:.0f} MB, and at most "
            f"{limits.images} of {limits.bytes / 2**20:.0f} MB may.",
            BACKLOG_SECONDS,
        )


def backlog(connection: Connection, statuses: Iterable[str]) -> tuple[int, int]:
    """Number of images with one of `statuses`, and the bytes of their blobs."""
    count, size = connection.execute(_BACKLOG, {"statuses": list(statuses)}).one()
    return int(count), int(size)


def add(connection: Connection, task: NewTask, now: float, ttl: float) -> None:
    """Insert a new task. It ends at once if all its images have failed already."""
    arrival = rows.next_version(connection)
    new_task = {
        "id": task.id,
        "owner": task.owner,
        "status": "queued",
        "priority": task.priority,
        "options": rows.to_json(task.options),
        "model": task.model and rows.text(task.model),
        "digest": task.digest,
        "callback_url": task.callback_url,
        "idempotency_key": task.idempotency_key and rows.text(task.idempotency_key),
        "fingerprint": task.fingerprint,
        "version": arrival,
        "bytes": sum(image.size for image in task.images),
        "created": now,
    }
    connection.execute(_ADD_TASK, new_task)
    reached = reached_key(connection, task.priority)
    new = [_row(task, number, reached, arrival) for number in range(len(task.images))]
    connection.execute(_ADD_IMAGES, new)
    rows.refresh_status(connection, [task.id], now, ttl)


def reached_key(connection: Connection, priority: Priority) -> int:
    """The largest order key of this priority that was ever claimed."""
    return int(connection.execute(_REACHED, {"of_class": priority}).scalar_one())


def tombstone(connection: Connection, task_ids: Sequence[str], now: float) -> None:
    """Replace the rows of each task by a tombstone, which is kept for a day."""
    for table, column in (
        (images, images.c.task_id),
        (tasks, tasks.c.id),
    ):
        connection.execute(delete(table).where(column.in_(task_ids)))
    version = rows.next_version(connection)
    until = now + TOMBSTONE_SECONDS
    new_tombstones = [{"id": task_id, "version": version, "until": until} for task_id in task_ids]
    connection.execute(insert(tombstones), new_tombstones)


def _row(task: NewTask, number: int, reached: int, arrival: int) -> dict[str, Any]:
    image = task.images[number]
    failure = image.failure
    return {
        "task_id": task.id,
        "position": number,
        "filename": rows.text(image.filename),
        "status": "queued" if failure is None else "error",
        "blob": image.blob,
        "url": image.url and rows.text(image.url),
        "size": image.size,
        "rank": RANKS[task.priority],
        "order_key": order_key(reached, number),
        "arrival": arrival,
        "error": failure and failure.error,
        "detail": failure and rows.text(failure.detail),
    }
