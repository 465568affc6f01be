"""Tasks and images as rows of the database: reading, versions, and the end of a task."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy import Row as SomeRow

from sightline.errors import ExpiredTask, UnknownTask
from sightline.storage.schema import images, state, tasks, tombstones
from sightline.tasks.delivery.callbacks import Calls, announce, deliveries_of
from sightline.tasks.task import ENDED, Failure, Image, Status, Task

Row: TypeAlias = SomeRow[*tuple[Any, ...]]
"""A row of a query's result, with any columns."""

RELEASED: dict[str, Any] = {"worker": None, "lease_until": None, "not_before": None}
"""Column values of an image that no worker holds."""

_RAISE = update(state).values(sequence=state.c.sequence + 1).returning(state.c.sequence)
_TOUCH = (
    update(tasks)
    .where(tasks.c.id.in_(bindparam("ids", expanding=True)))
    .values(version=bindparam("to_version"))
)
_COUNTS = (
    select(images.c.task_id, images.c.status, func.count())
    .where(images.c.task_id.in_(bindparam("ids", expanding=True)))
    .group_by(images.c.task_id, images.c.status)
)
_END = (
    update(tasks)
    .where(tasks.c.id == bindparam("of_task"), tasks.c.ended.is_(None))
    .values(
        status=bindparam("to_status"), ended=bindparam("to_ended"), expires=bindparam("to_expires")
    )
    .returning(tasks.c.callback_url)
)
_TASK = select(tasks).where(tasks.c.id == bindparam("of_task"))
_IMAGES = (
    select(*(column for column in images.c if column is not images.c.result))
    .where(images.c.task_id == bindparam("of_task"))
    .order_by(images.c.position)
)
_ANSWERS = select(images.c.position, images.c.result).where(
    images.c.task_id == bindparam("of_task"),
    images.c.position.in_(bindparam("positions", expanding=True)),
)


def next_version(connection: Connection) -> int:
    """The next version: greater than all before it, in the order of commits."""
    return int(connection.execute(_RAISE).scalar_one())


def touch(connection: Connection, task_ids: Collection[str], **values: Any) -> None:
    """Give the tasks a new version and set `values`."""
    if task_ids:
        changed = _TOUCH.values(**values) if values else _TOUCH
        version = next_version(connection)
        connection.execute(changed, {"ids": sorted(task_ids), "to_version": version})


def refresh_status(
    connection: Connection, task_ids: Collection[str], now: float, ttl: float
) -> None:
    """Give the tasks a new version; end those whose images have all ended."""
    counts: dict[str, dict[Status, int]] = defaultdict(dict)
    parameters = {"ids": sorted(task_ids)}
    for task_id, status, count in connection.execute(_COUNTS, parameters):
        counts[task_id][status] = count
    touch(connection, task_ids)
    for task_id, statuses in counts.items():
        if statuses.keys() <= ENDED:
            end(connection, task_id, ended_status(statuses), now, ttl)


def end(connection: Connection, task_id: str, status: Status, now: float, ttl: float) -> None:
    """End the task: its results expire `ttl` seconds from now, and its callback is due."""
    values = {"to_status": status, "to_ended": now, "to_expires": now + ttl}
    url = connection.execute(_END, {"of_task": task_id, **values}).scalar_one_or_none()
    if url is not None:
        of_task = images.c.task_id == task_id
        failed = select(func.count()).where(of_task, images.c.status == "error")
        total = select(func.count()).where(of_task)
        announce(
            connection,
            task_id=task_id,
            url=url,
            status=status,
            total=connection.execute(total).scalar_one(),
            failed=connection.execute(failed).scalar_one(),
            now=now,
        )


def ended_status(counts: Collection[Status]) -> Status:
    """The status of a task whose images have ended with these statuses."""
    if "cancelled" in counts:
        return "cancelled"
    return "completed" if "completed" in counts else "error"


def load(connection: Connection, task_id: str, now: float, known: Task | None = None) -> Task:
    """The task with its images.

    Args:
        connection: within a transaction.
        task_id: unchecked, from the client.
        now: Unix time.
        known: an earlier version of the task. Its answers are not read again: they do not change,
            and are most of the data.

    Raises:
        UnknownTask: there is no such task, or it expired long ago.
        ExpiredTask: the task has expired.
    """
    if not task_id.isalnum():  # also keeps out what database text cannot hold
        raise UnknownTask(task_id)
    row = connection.execute(_TASK, {"of_task": task_id}).one_or_none()
    if row is None:
        gone = select(tombstones.c.until).where(tombstones.c.id == task_id)
        until = connection.execute(gone).scalar_one_or_none()
        raise UnknownTask(task_id) if until is None or until <= now else ExpiredTask(task_id)
    if row.expires is not None and row.expires <= now:
        raise ExpiredTask(task_id)
    called: Calls = (None, ())
    if row.callback_url is not None:
        called = deliveries_of(connection, task_id)
    found = connection.execute(_IMAGES, {"of_task": task_id}).all()
    answers = _answers(connection, task_id, found, known)
    return _task(row, found, answers, called, known)


def _answers(
    connection: Connection, task_id: str, found: Sequence[Row], known: Task | None
) -> dict[int, str]:
    """Answers by the positions of their images, as far as there are any."""
    answers = {image.index: image.answer for image in known.images if image.answer} if known else {}
    new = [
        row.position for row in found if row.status == "completed" and row.position not in answers
    ]
    parameters = {"of_task": task_id, "positions": new}
    for row in connection.execute(_ANSWERS, parameters) if new else ():
        answers[row.position] = row.result
    return answers


def _task(
    row: Row, found: Sequence[Row], answers: dict[int, str], called: Calls, known: Task | None
) -> Task:
    answered = known.answered if known else None
    if answered is None and answers:
        answered = json.loads(answers[min(answers)]).get("model")
    return Task(
        id=row.id,
        owner=row.owner,
        status=row.status,
        priority=row.priority,
        options=json.loads(row.options),
        model=row.model,
        digest=row.digest,
        callback_url=row.callback_url,
        version=row.version,
        created=row.created,
        started=row.started,
        ended=row.ended,
        expires=row.expires,
        images=tuple(_image(image, answers.get(image.position)) for image in found),
        answered=answered,
        callback_state=called[0],
        deliveries=called[1],
    )


def _image(row: Row, answer: str | None) -> Image:
    return Image(
        index=row.position,
        filename=row.filename,
        status=row.status,
        blob=row.blob,
        url=row.url,
        size=row.size,
        attempts=row.attempts,
        answer=answer,
        failure=None if row.error is None else Failure(row.error, row.detail or ""),
    )


def to_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def text(value: str) -> str:
    """`value` without what database text cannot hold: NUL and lone surrogates."""
    return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
