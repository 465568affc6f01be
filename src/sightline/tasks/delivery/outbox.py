"""Outbox: claims callbacks that are due, and records their attempts.

The column `due` is the time of the next attempt. A claim moves it to the end of the claim's lease.
An outcome is recorded only if `due` still has that value: otherwise another process has claimed the
callback.
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

_LONGEST_LEASE = 600.0  # seconds; `due` of a call that was never tried is not later than this

_KEPT = 86_400.0  # seconds that a call is kept after its last attempt


@dataclass(frozen=True, slots=True)
class Call:
    """A claimed callback, to be sent now.

    Attributes:
        id: the header `webhook-id`, the same for all attempts.
        host: the receiver's host, with its port if the URL has one.
        attempts: earlier attempts, oldest first.
        lease_until: Unix time from which another process may claim it.
    """

    id: str
    task_id: str
    url: str
    host: str
    body: bytes
    attempts: tuple[Delivery, ...]
    lease_until: float


class Outbox:
    """The callbacks in the database. Each is claimed by one process at a time."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float] = time.time,
        lease: float = 30.0,
        *,
        root_path: str = "",
    ) -> None:
        """The callbacks in `database`; `root_path` is the prefix of the service's paths in them."""
        self._root_path = root_path
        self._database = database
        self._clock = clock
        self._lease = lease

    def next_due(self, busy: Collection[str] = ()) -> float | None:
        """Seconds until the next attempt at a host that is not `busy`; None if there is none.

        Raises:
            StorageUnavailable: the database cannot be read now.
        """
        waiting = (webhooks.c.state == "due") & webhooks.c.host.not_in(busy)
        with self._database.read() as connection:
            now = self._clock()
            due = connection.execute(select(func.min(webhooks.c.due)).where(waiting)).scalar()
            if due is not None and due > now:
                lost = select(webhooks.c.due).where(waiting, _is_never(now)).limit(1)
                if connection.execute(lost).first() is not None:
                    return 0.0
        return None if due is None else max(0.0, due - now)

    def claim(self, busy: Collection[str] = ()) -> Call | None:
        """Claim the callback that has been due for longest; None if there is none.

        Raises:
            StorageUnavailable: the database cannot be written now.
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
        """The body to send: the stored one, and the path of the task's result."""
        body = json.loads(kept)
        body["data"]["result"] = f"{self._root_path}/result/{task_id}"
        return json.dumps(body, separators=(",", ":")).encode()

    def record(
        self, call: Call, attempt: Delivery | None, state: CallbackState, again_in: float = 0.0
    ) -> bool:
        """Record an attempt at `call`. Returns False, and records nothing, if its lease was lost.

        Args:
            call: as it was claimed.
            attempt: the attempt; None if none was made.
            state: `delivered`, `failed`, or `due` for another attempt.
            again_in: seconds until that attempt.

        Raises:
            StorageUnavailable: the database cannot be written now.
        """
        attempts = call.attempts if attempt is None else (*call.attempts, attempt)
        mine = (webhooks.c.id == call.id) & (webhooks.c.due == call.lease_until)
        values = {
            "state": state,
            "due": self._clock() + again_in,
            "attempts": json.dumps([[made.at, made.status, made.error] for made in attempts]),
        }
        with self._database.write() as connection:
            written = connection.execute(update(webhooks).where(mine).values(values))
            kept = bool(written.rowcount)
            if kept:
                touch(connection, [call.task_id])
        return kept

    def sweep(self) -> int:
        """Delete finished calls whose tasks are gone. Returns their number.

        Raises:
            StorageUnavailable: the database cannot be written now.
        """
        old = (webhooks.c.state != "due") & (webhooks.c.due < self._clock() - _KEPT)
        orphaned = webhooks.c.task_id.not_in(select(tasks.c.id))
        with self._database.write() as connection:
            return int(connection.execute(delete(webhooks).where(old & orphaned)).rowcount)


def _is_never(now: float) -> ColumnElement[bool]:
    """Rows that are due later than any pause allows: the clock was set back."""
    untried = webhooks.c.attempts == "[]"
    return (webhooks.c.due > now + LONGEST_PAUSE) | (
        untried & (webhooks.c.due > now + _LONGEST_LEASE)
    )
