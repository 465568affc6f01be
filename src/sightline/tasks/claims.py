"""Which images are claimed next."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, or_, select, true, update

from sightline.storage.schema import images, state, tasks, turns
from sightline.tasks.fairness import PRIORITIES, RANKS, Turns
from sightline.tasks.rows import Row
from sightline.tasks.task import Claim, Priority


def choose(
    connection: Connection, now: float, most: int, *, idle: bool, addresses: bool
) -> tuple[list[Row], Turns]:
    """Images whose turn it is, and the turns once they have had it."""
    waiting = {name: _due(connection, name, now, most, addresses) for name in PRIORITIES}
    clock = connection.execute(select(state.c.turn)).scalar_one()
    taken = Turns(clock, {row.priority: row.due for row in connection.execute(select(turns))})
    if addresses:  # else a class may seem to be empty that is not
        taken.leave([name for name in PRIORITIES if not waiting[name]])
    chosen: list[Row] = []
    while len(chosen) < most and (left := [name for name in PRIORITIES if waiting[name]]):
        name = taken.next(left)
        image = waiting[name][0]
        if image.suspect and (chosen or not idle):
            break
        taken.serve(name)
        chosen.append(waiting[name].pop(0))
        if image.suspect:
            break
    return chosen, taken


def _due(
    connection: Connection, name: Priority, now: float, most: int, addresses: bool
) -> list[Row]:
    """The first images of a class, in the order of their keys."""
    found = (
        select(
            images.c.task_id,
            images.c.position,
            images.c.rank,
            images.c.order_key,
            images.c.blob,
            images.c.url,
            images.c.attempts,
            images.c.suspect,
        )
        .where(
            images.c.status == "queued",
            images.c.rank == RANKS[name],
            or_(images.c.not_before.is_(None), images.c.not_before <= now),
            true() if addresses else images.c.url.is_(None),
        )
        .order_by(images.c.order_key, images.c.arrival, images.c.position)
        .limit(most)
    )
    return list(connection.execute(found))


def save(connection: Connection, taken: Turns, chosen: Sequence[Row]) -> None:
    """Write where the turns stand once `chosen` have had theirs."""
    connection.execute(update(state).values(turn=taken.clock))
    for name in PRIORITIES:
        reached = max((row.order_key for row in chosen if row.rank == RANKS[name]), default=0)
        of_class = update(turns).where(turns.c.priority == name)
        connection.execute(of_class.values(due=taken.due[name]))
        connection.execute(of_class.where(turns.c.order_key < reached).values(order_key=reached))


def as_claims(connection: Connection, chosen: Sequence[Row], until: float) -> list[Claim]:
    """The images with what their tasks say of them."""
    of_tasks = select(
        tasks.c.id, tasks.c.owner, tasks.c.options, tasks.c.model, tasks.c.digest
    ).where(tasks.c.id.in_({row.task_id for row in chosen}))
    found = {row.id: row for row in connection.execute(of_tasks)}
    return [_claim(row, found[row.task_id], until) for row in chosen]


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
        suspect=image.suspect,
    )
