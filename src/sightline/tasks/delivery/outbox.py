"""Which callbacks are due, and what came of them.

`due` is when the next attempt may begin. Whoever begins one moves it to when the attempt is given
up for lost (its lease), and may record what came of it only while it is still there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, delete, func, select, update

from sightline.storage.schema import tasks, webhooks
from sightline.tasks.delivery.callbacks import read_attempts
from sightline.tasks.rows import touch
from sightline.tasks.task import CallbackState, Delivery

if TYPE_CHECKING:
    from sightline.storage.database import Database

LONGEST_PAUSE = 86_400.0
"""Most seconds between two attempts at a call."""

_LONGEST_LEASE = 600.0  # seconds: a call that was not tried yet is put off for no longer

_KEPT = 86_400.0  # seconds that a call outlives its task, once there is nothing more to do about it


@dataclass(frozen=True, slots=True)
class Call:
    """An attempt that is to be made now.

    Attributes:
        id: the same for all attempts; `webhook-id`.
        host: whom it goes to, port included.
        attempts: those before, oldest first.
        lease_until: Unix time after which somebody else may make it.
    """

    id: str
    task_id: str
    url: str
    host: str
    body: bytes
    attempts: tuple[Delivery, ...]
    lease_until: float


class Outbox:
    """What is due, each to one caller at a time, across processes."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float] = time.time,
        lease: float = 30.0,
        *,
        root_path: str = "",
    ) -> None:
        """The calls in `database`; `root_path` goes before the paths of the service they name."""
        self._root_path = root_path
        self._database = database
        self._clock = clock
        self._lease = lease

    def next_due(self, busy: Collection[str] = ()) -> float | None:
        """Seconds until an attempt at a host that is not `busy` may begin; None if there is none.

        Raises:
            StorageUnavailable: it cannot be known now.
        """
        of_these = (webhooks.c.state == "due") & webhooks.c.host.not_in(busy)
        with self._database.read() as connection:
            now = self._clock()
            due = connection.execute(select(func.min(webhooks.c.due)).where(of_these)).scalar()
            if due is not None and due > now:
                lost = select(webhooks.c.due).where(of_these, _is_never(now)).limit(1)
                if connection.execute(lost).first() is not None:
                    return 0.0
        return None if due is None else max(0.0, due - now)

    def claim(self, busy: Collection[str] = ()) -> Call | None:
        """The attempt that has been due for longest, now the caller's; None if there is none.

        Raises:
            StorageUnavailable: it cannot be claimed now.
        """
        with self._database.write() as connection:
            now = self._clock()
            row = connection.execute(
                select(webhooks)
                .where(webhooks.c.state == "due", (webhooks.c.due <= now) | _is_never(now))
                .where(webhooks.c.host.not_in(busy))
                .order_by(webhooks.c.due)
                .limit(1)
                .with_for_update(skip_locked=True)
            ).first()
            if row is None:
                return None
            until = now + self._lease
            connection.execute(update(webhooks).where(webhooks.c.id == row.id).values(due=until))
        return Call(
            row.id,
            row.task_id,
            row.url,
            row.host,
            self._body(row.task_id, row.body),
            read_attempts(row.attempts),
            until,
        )

    def _body(self, task_id: str, kept: str) -> bytes:
        """What is sent: what is kept, and where this service shows the task."""
        body = json.loads(kept)
        body["data"]["result"] = f"{self._root_path}/result/{task_id}"
        return json.dumps(body, separators=(",", ":")).encode()

    def record(
        self, call: Call, attempt: Delivery | None, state: CallbackState, again_in: float = 0.0
    ) -> bool:
        """What came of `call`; False if it had been given up for lost, and nothing is kept.

        Args:
            call: as it was claimed.
            attempt: what came of it; None if it was not even made.
            state: `delivered`, `failed`, or `due` again …
            again_in: … after so many seconds.

        Raises:
            StorageUnavailable: it cannot be kept now.
        """
        attempts = call.attempts if attempt is None else (*call.attempts, attempt)
        mine = (webhooks.c.id == call.id) & (webhooks.c.due == call.lease_until)
        values = {
            "state": state,
            "due": self._clock() + again_in,
            "attempts": json.dumps([[one.at, one.status, one.error] for one in attempts]),
        }
        with self._database.write() as connection:
            written = connection.execute(update(webhooks).where(mine).values(values))
            kept = bool(written.rowcount)
            if kept:
                touch(connection, [call.task_id])
        return kept

    def sweep(self) -> int:
        """Forget calls that are through and whose tasks are gone; how many.

        Raises:
            StorageUnavailable: not now.
        """
        old = (webhooks.c.state != "due") & (webhooks.c.due < self._clock() - _KEPT)
        alone = webhooks.c.task_id.not_in(select(tasks.c.id))
        with self._database.write() as connection:
            return int(connection.execute(delete(webhooks).where(old & alone)).rowcount)


def _is_never(now: float) -> ColumnElement[bool]:
    """What is due later than anything is put off: the clock was set back meanwhile."""
    untried = webhooks.c.attempts == "[]"
    return (webhooks.c.due > now + LONGEST_PAUSE) | (
        untried & (webhooks.c.due > now + _LONGEST_LEASE)
    )
