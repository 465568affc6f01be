"""Which images are claimed next."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, or_, select, update

from sightline.storage.schema import images, state, tasks, turns
from sightline.tasks.fairness import PRIORITIES, RANKS, Turns
from sightline.tasks.rows import Row
from sightline.tasks.task import Claim


def choose(connection: Connection, now: float, most: int, *, idle: bool) -> tuple[list[Row], Turns]:
    """Images whose turn it is, and the turns once they have had it."""
    waiting = {name: _due(connection, RANKS[name], now, most) for name in PRIORITIES}
    clock = connection.execute(select(state.c.turn)).scalar_one()
    due = {row.priority: row.due for row in connection.execute(select(turns))}
    taken = Turns(clock, due)
    chosen: list[Row] = []
    while len(chosen) < most and (left := {name for name in PRIORITIES if waiting[name]}):
        before = Turns(taken.clock, taken.due)
        row = waiting[taken.next(left)].pop(0)
        if row.suspect and (chosen or not idle):
            return chosen, before
        chosen.append(row)
        if row.suspect:
            break
    return chosen, taken


def _due(connection: Connection, rank: int, now: float, most: int) -> list[Row]:
    """The first images of a class, in the order of their keys."""
    found = (
        select(
            images.c.task_id,
            images.c.position,
            images.c.rank,
            images.c.order_key,
            images.c.suspect,
        )
        .where(
            images.c.status == "queued",
            images.c.rank == rank,
            or_(images.c.not_before.is_(None), images.c.not_before <= now),
        )
        .order_by(images.c.order_key, images.c.created, images.c.task_id, images.c.position)
        .limit(most)
    )
    return list(connection.execute(found))


def save(connection: Connection, taken: Turns, chosen: Sequence[Row]) -> None:
    connection.execute(update(state).values(turn=taken.clock))
    for name in PRIORITIES:
        reached = max((row.order_key for row in chosen if row.rank == RANKS[name]), default=0)
        of_class = update(turns).where(turns.c.priority == name)
        connection.execute(of_class.values(due=taken.due[name]))
        connection.execute(of_class.where(turns.c.order_key < reached).values(order_key=reached))


def as_claims(connection: Connection, chosen: Sequence[Row], until: float) -> list[Claim]:
    ids = {row.task_id for row in chosen}
    found = connection.execute(
        select(
            images.c.task_id,
            images.c.position,
            images.c.blob,
            images.c.url,
            images.c.attempts,
            images.c.suspect,
            tasks.c.owner,
            tasks.c.options,
            tasks.c.model,
            tasks.c.digest,
        )
        .join(tasks, tasks.c.id == images.c.task_id)
        .where(images.c.task_id.in_(ids))
    )
    rows_by_key = {(row.task_id, row.position): row for row in found}
    return [_claim(rows_by_key[row.task_id, row.position], until) for row in chosen]


def _claim(row: Row, until: float) -> Claim:
    return Claim(
        task_id=row.task_id,
        index=row.position,
        owner=row.owner,
        blob=row.blob,
        url=row.url,
        options=json.loads(row.options),
        model=row.model,
        digest=row.digest,
        attempts=row.attempts,
        lease_until=until,
        suspect=row.suspect,
    )
