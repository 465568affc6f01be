"""Claims: selects the next images by fairness, and assigns them to a worker.

The statements of this hot path are built once: building one takes longer than running it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, or_, select, update

from sightline.storage.schema import images, state, tasks, turns
from sightline.tasks import rows
from sightline.tasks.fairness import PRIORITIES, RANKS, Turns
from sightline.tasks.rows import Row
from sightline.tasks.task import LONGEST_PAUSE, Claim, Priority

_DUE = (
    select(
        images.c.task_id,
        images.c.position,
        images.c.rank,
        images.c.order_key,
        images.c.blob,
        images.c.url,
        images.c.attempts,
        images.c.quarantined,
    )
    .where(
        images.c.status == "queued",
        images.c.rank == bindparam("of_rank"),
        or_(
            images.c.not_before.is_(None),
            images.c.not_before <= bindparam("now"),
            images.c.not_before > bindparam("never"),  # the clock was set back
        ),
    )
    .order_by(images.c.order_key, images.c.arrival, images.c.position)
    .limit(bindparam("most"))
)
_DUE_HERE = _DUE.where(images.c.url.is_(None))

_GUARDED = (
    select(images.c.position)
    .where(images.c.worker == bindparam("mine"), images.c.quarantined)
    .limit(1)
)
_CLOCK = select(state.c.turn)
_TURNS = select(turns)
_SET_CLOCK = update(state).values(turn=bindparam("to_turn"))
_SET_TURN = (
    update(turns)
    .where(turns.c.priority == bindparam("of_class"))
    .values(due=bindparam("to_due"), order_key=bindparam("to_key"))
)
_TAKE = (
    update(images)
    .where(images.c.task_id == bindparam("of_task"), images.c.position == bindparam("at"))
    .values(
        status="processing",
        worker=bindparam("mine"),
        lease_until=bindparam("until"),
        not_before=None,
    )
)
_BEGIN = (
    update(tasks)
    .where(tasks.c.id.in_(bindparam("ids", expanding=True)))
    .values(
        status="processing",
        started=func.coalesce(tasks.c.started, bindparam("now")),
        version=bindparam("to_version"),
    )
)
_OF_TASKS = select(tasks.c.id, tasks.c.owner, tasks.c.options, tasks.c.model, tasks.c.digest).where(
    tasks.c.id.in_(bindparam("ids", expanding=True))
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The images to claim next, and the state of the turns after them.

    Attributes:
        reached: the largest order key of each class that was ever claimed, these included.
    """

    images: list[Row]
    turns: Turns
    reached: dict[Priority, int]


def holds_quarantined(connection: Connection, worker: str) -> bool:
    """Whether the worker holds a quarantined image. Nothing else may run beside it."""
    return connection.execute(_GUARDED, {"mine": worker}).first() is not None


def choose(
    connection: Connection, now: float, most: int, *, idle: bool, addresses: bool
) -> Chosen | None:
    """The next images; None if there are none for this worker."""
    waiting = {name: _due(connection, name, now, most, addresses) for name in PRIORITIES}
    left = [name for name in PRIORITIES if waiting[name]]
    if not left:
        return None
    stored = {row.priority: row for row in connection.execute(_TURNS)}
    clock = connection.execute(_CLOCK).scalar_one()
    taken = Turns(clock, {name: row.due for name, row in stored.items()})
    if addresses:  # otherwise a class may only seem to be empty
        taken.leave([name for name in PRIORITIES if not waiting[name]])
    chosen: list[Row] = []
    reached: dict[Priority, int] = {name: row.order_key for name, row in stored.items()}
    while len(chosen) < most and (left := [name for name in PRIORITIES if waiting[name]]):
        name = taken.next(left)
        image = waiting[name][0]
        if image.quarantined and (chosen or not idle):
            break
        taken.serve(name)
        reached[name] = max(reached[name], image.order_key)
        chosen.append(waiting[name].pop(0))
        if image.quarantined:
            break
    return Chosen(chosen, taken, reached) if chosen else None


def take(
    connection: Connection, chosen: Chosen, worker: str, now: float, until: float
) -> list[Claim]:
    """Assign the chosen images to the worker until `until` (Unix time)."""
    connection.execute(_SET_CLOCK, {"to_turn": chosen.turns.clock})
    classes = [
        {"of_class": name, "to_due": chosen.turns.due[name], "to_key": chosen.reached[name]}
        for name in PRIORITIES
    ]
    connection.execute(_SET_TURN, classes)
    taken = [
        {"of_task": image.task_id, "at": image.position, "mine": worker, "until": until}
        for image in chosen.images
    ]
    connection.execute(_TAKE, taken)
    ids = sorted({image.task_id for image in chosen.images})
    version = rows.next_version(connection)
    connection.execute(_BEGIN, {"ids": ids, "now": now, "to_version": version})
    of_tasks = {row.id: row for row in connection.execute(_OF_TASKS, {"ids": ids})}
    return [_claim(image, of_tasks[image.task_id], until) for image in chosen.images]


def _due(
    connection: Connection, name: Priority, now: float, most: int, addresses: bool
) -> list[Row]:
    """The first `most` images of a class, by order key."""
    statement = _DUE if addresses else _DUE_HERE
    parameters = {"of_rank": RANKS[name], "now": now, "never": now + LONGEST_PAUSE, "most": most}
    return list(connection.execute(statement, parameters))


def _claim(image: Row, task: Row, until: float) -> Claim:
    return Claim(
        task_id=task.id,
        index=image.position,
        owner=task.owner,
        blob=image.blob,
        url=image.url,
        options=json.loads(task.options),
        model=task.model,
        digest=task.digest,
        attempts=image.attempts,
        lease_until=until,
        quarantined=image.quarantined,
    )
