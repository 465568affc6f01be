"""The tables of the task database, and their migrations."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
    text,
    update,
)

from sightline.errors import ConfigError

SCHEMA_VERSION = 2
"""Version of the tables below. Every change adds one, and a step in `MIGRATIONS`."""

metadata = MetaData()

versions = Table("sightline_schema", metadata, Column("version", Integer, nullable=False))

tasks = Table(
    "tasks",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("status", String, nullable=False),
    Column("priority", String, nullable=False),
    Column("options", Text, nullable=False),  # JSON
    Column("model", String),
    Column("digest", String),
    Column("callback_url", Text),
    Column("idempotency_key", Text),
    Column("fingerprint", String, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),  # total size of its blobs
    Column("created", Double, nullable=False),
    Column("started", Double),
    Column("ended", Double),
    Column("expires", Double),
    Index("tasks_by_version", "version"),
    Index("tasks_by_key", "owner", "idempotency_key", unique=True),
    Index("tasks_by_status", "status", "priority"),
    Index("tasks_by_end", "ended", "bytes"),
    Index("tasks_by_expiry", "expires"),
)

images = Table(
    "images",
    metadata,
    Column("task_id", String, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("filename", Text, nullable=False),
    Column("status", String, nullable=False),
    Column("blob", String),
    Column("url", Text),
    Column("size", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("kills", Integer, nullable=False, default=0),
    Column("quarantined", Boolean, nullable=False, default=False),
    Column("class", Integer, key="rank", nullable=False),  # its priority: 0 is high
    Column("order_key", BigInteger, nullable=False),
    Column("arrival", BigInteger, nullable=False),  # the first version of its task
    Column("not_before", Double),  # time of the next attempt, after a failed one
    Column("worker", String),  # while it is processing
    Column("lease_until", Double),
    Column("result", Text),  # JSON
    Column("error", String),
    Column("detail", Text),
    Index("images_by_turn", "status", "rank", "order_key", "arrival", "position", "size"),
    Index("images_by_worker", "worker"),
    Index("images_postponed", "not_before"),
)

webhooks = Table(  # rows outlive their tasks
    "webhooks",
    metadata,
    Column("id", String, primary_key=True),
    Column("task_id", String, nullable=False),
    Column("url", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("body", Text, nullable=False),  # JSON as it is sent, without `data.result`
    Column("state", String, nullable=False),  # due, delivered, failed
    Column("due", Double, nullable=False),  # time of the next attempt, or of the end of the last
    Column("created", Double, nullable=False),
    Column("attempts", Text, nullable=False),  # JSON: [[at, status, error], …]
    Index("webhooks_by_due", "state", "due"),
    Index("webhooks_by_task", "task_id", "created"),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("id", String, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("until", Double, nullable=False),
    Index("tombstones_by_version", "version"),
    Index("tombstones_by_end", "until"),
)

state = Table(
    "task_state",
    metadata,
    Column("sequence", BigInteger, nullable=False),  # the last version that was assigned
    Column("turn", BigInteger, nullable=False),
)

turns = Table(
    "task_turns",
    metadata,
    Column("priority", String, primary_key=True),
    Column("due", BigInteger),  # the turn at which it is next; NULL if nothing waits
    Column("order_key", BigInteger, nullable=False),  # the largest that was ever claimed
)

leases = Table(  # of jobs that one process at a time may do
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("until", Double, nullable=False),
)


def _to_version_2(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE images RENAME COLUMN suspect TO quarantined"))
    renamed = update(images).where(images.c.error == "Culprit").values(error="PoisonImage")
    connection.execute(renamed)


MIGRATIONS: dict[int, Callable[[Connection], None]] = {1: _to_version_2}
"""By old version, the migration to the next one."""


def prepare(connection: Connection) -> None:
    """Create or migrate the tables, in the given write transaction.

    Raises:
        ConfigError: they were made by a newer program.
    """
    if not inspect(connection).has_table(versions.name):
        metadata.create_all(connection)
        fill(connection)
        return
    found = connection.execute(select(versions.c.version)).scalar_one()
    if found > SCHEMA_VERSION:
        raise ConfigError(
            f"The tasks were kept by a newer Sightline (format {found}; this one knows formats up "
            f"to {SCHEMA_VERSION}). Install that version again, or name another folder with "
            "SIGHTLINE_DATA_DIR (or another SIGHTLINE_DATABASE_URL)."
        )
    for version in range(found, SCHEMA_VERSION):
        MIGRATIONS[version](connection)
    if found < SCHEMA_VERSION:
        connection.execute(update(versions).values(version=SCHEMA_VERSION))


def fill(connection: Connection) -> None:
    """Insert the initial rows."""
    connection.execute(insert(versions).values(version=SCHEMA_VERSION))
    connection.execute(insert(state).values(sequence=0, turn=0))
    rows = [{"priority": name, "order_key": 0} for name in ("high", "normal", "low")]
    connection.execute(insert(turns), rows)
