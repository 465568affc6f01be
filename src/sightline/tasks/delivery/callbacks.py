"""Callbacks as rows of the database: one for each time that a task with a `callback_url` ended.

The row is written in the transaction that ends the task, so neither exists without the other. It
holds the whole body except the path of the task, so the task may expire before delivery.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import insert, select

from sightline.storage.schema import webhooks
from sightline.tasks.task import CallbackState, Delivery, Status

if TYPE_CHECKING:
    from sqlalchemy import Connection

Calls: TypeAlias = tuple[CallbackState | None, tuple[Delivery, ...]]
"""The state of a callback (None: there is none), and its attempts, oldest first."""


def announce(
    connection: Connection,
    *,
    task_id: str,
    url: str,
    status: Status,
    total: int,
    failed: int,
    now: float,
) -> None:
    """Insert a callback to `url` for a task that has ended, in the caller's transaction."""
    body = {
        "type": f"task.{status}",
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z"),
        "data": {
            "task_id": task_id,
            "status": status,
            "progress": {"done": total, "total": total, "failed": failed},
        },
    }
    connection.execute(
        insert(webhooks).values(
            id=f"msg_{uuid.uuid4().hex}",
            task_id=task_id,
            url=url,
            host="".join(url.split("/")[2:3]).lower()[:255],
            body=json.dumps(body, separators=(",", ":")),
            state="due",
            due=now,
            created=now,
            attempts="[]",
        )
    )


def deliveries_of(connection: Connection, task_id: str) -> Calls:
    """The state of the last callback of a task, and its attempts, oldest first.

    Returns:
        The state is `due`, `delivered` or `failed`. None and () if there is no callback yet.
    """
    row = connection.execute(
        select(webhooks.c.state, webhooks.c.attempts)
        .where(webhooks.c.task_id == task_id)
        .order_by(webhooks.c.created.desc())
        .limit(1)
    ).first()
    return (None, ()) if row is None else (row.state, read_attempts(row.attempts))


def read_attempts(attempts: str) -> tuple[Delivery, ...]:
    """The attempts in a row's `attempts` column, in JSON."""
    found: list[Any] = json.loads(attempts)
    return tuple(Delivery(at, status, error) for at, status, error in found)
