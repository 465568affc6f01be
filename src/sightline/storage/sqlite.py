"""SQLite as the database of tasks: a file that many processes share, or memory for one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, QueuePool, StaticPool, create_engine, event

if TYPE_CHECKING:
    import sqlite3

BUSY_SECONDS = 5.0
"""How long a transaction waits for another process's."""

_CONNECTIONS = 8
_PAGES = 250


def file_engine(path: Path) -> Engine:
    """An engine on the file at `path`."""
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
    """An engine on memory: one connection, for one thread at a time."""
    engine = create_engine(
        "sqlite://",
        connect_args={"check_same_thread": False},
        poolclass=StaticPool,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare)
    return engine


def begin_read(connection: Connection) -> None:
    """All that is read shows one moment."""
    connection.exec_driver_sql("BEGIN")


def begin_write(connection: Connection) -> None:
    """Wait for the lock now and not in the middle, where SQLite would not wait at all."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def compact(connection: Connection) -> bool:
    """Give some of the free pages back to the disk (or to memory); at last, what the WAL takes.

    Returns:
        Whether there is more to do.
    """
    free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    if free:
        cursor: Any = connection.connection.cursor()
        # It frees a page a step; execute() makes one step, as it sees no columns to fetch.
        cursor.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
        cursor.close()
        # A file that others made may not be able to: then it stays as large as it is.
        return bool(connection.exec_driver_sql("PRAGMA freelist_count").scalar_one() < free)
    connection.exec_driver_sql("PRAGMA busy_timeout = 200")  # no writer waits for a long reader
    try:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
    return False


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun above, not by the driver's guess
    if not connection.execute("PRAGMA page_count").fetchone()[0]:
        # Later it means nothing, and takes the lock for writing all the same.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")


def _prepare_file(connection: sqlite3.Connection, record: Any) -> None:
    _prepare(connection, record)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
