"""SQLite as task database: a file that many processes share, or memory for one process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, QueuePool, StaticPool, create_engine, event

if TYPE_CHECKING:
    import sqlite3

BUSY_SECONDS = 5.0
"""How long a transaction waits for one of another process."""

_CONNECTIONS = 8
_PAGES = 250  # freed per step


def file_engine(path: Path) -> Engine:
    """A SQLAlchemy engine for the file at `path`."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        poolclass=QueuePool,
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=2 * BUSY_SECONDS,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare_file)
    return engine


def memory_engine() -> Engine:
    """A SQLAlchemy engine in memory: one connection, for one thread at a time."""
    engine = create_engine(
        "sqlite://",
        connect_args={"check_same_thread": False},
        poolclass=StaticPool,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare)
    return engine


def begin_read(connection: Connection) -> None:
    """Begin a transaction on a consistent snapshot."""
    connection.exec_driver_sql("BEGIN")


def begin_write(connection: Connection) -> None:
    """Take the write lock now: SQLite does not wait for it in the middle of a transaction."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def compact(connection: Connection) -> bool:
    """Return some free pages to the disk (or to memory); when none is left, truncate the WAL.

    Returns:
        Whether there is more to do.
    """
    free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    if free:
        cursor: Any = connection.connection.cursor()
        # It frees one page per step, and execute() would make only one step: it returns no rows.
        cursor.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
        cursor.close()
        # A file made without auto_vacuum cannot shrink: then nothing is freed.
        return bool(connection.exec_driver_sql("PRAGMA freelist_count").scalar_one() < free)
    connection.exec_driver_sql(
        "PRAGMA busy_timeout = 200"
    )  # writers must not wait for a long reader
    try:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
    return False


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun explicitly, not by the driver
    if not connection.execute("PRAGMA page_count").fetchone()[0]:
        # In an existing database it has no effect, but takes the write lock.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")


def _prepare_file(connection: sqlite3.Connection, record: Any) -> None:
    _prepare(connection, record)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
