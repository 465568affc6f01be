"""The database that tasks are kept in: SQLite (a file, or memory) or PostgreSQL.

One writer at a time on either: what a transaction has read stays true until it ends, versions are
given in the order of commits, and nothing deadlocks.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, exc

from sightline.errors import ConfigError
from sightline.storage import postgres, schema, sqlite
from sightline.storage.outages import Outage, database_outage, disk_outage, locked

_OPENING_SECONDS = 30
_NAME = "the database of tasks"


class Database:
    """Transactions on one database. Safe for many threads; never for the event loop."""

    def __init__(self, place: Path | str | None) -> None:
        """Open it, and make its tables or bring them up to date.

        Args:
            place: a file of SQLite; an address postgresql+pg8000://…; None for memory.

        Raises:
            ConfigError: the address is not understood, or a newer program made the tables.
            StorageUnavailable: it cannot be opened now.
        """
        self._writing = threading.Lock()
        self._unread, self._unwritten = (Outage(_NAME, how) for how in ("read", "written"))
        self._file = place if isinstance(place, Path) else None
        self._shared = place is None
        self._dialect = postgres if isinstance(place, str) else sqlite
        self._engine = self._open(place)
        try:
            with self._opening(), self.write() as connection:
                schema.prepare(connection)
        except BaseException:
            self.close()
            raise

    @property
    def engine(self) -> Engine:
        """For tests and for maintenance."""
        return self._engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads, and sees one moment.

        Raises:
            StorageUnavailable: the database cannot be read now.
        """
        with (
            self._turn(self._shared),
            _translated(self._unread),
            self._engine.begin() as connection,
        ):
            self._dialect.begin_read(connection)
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is on disk when it ends, and did nothing if it raises.

        Raises:
            StorageUnavailable: the database cannot be written now.
        """
        with self._turn(True), _translated(self._unwritten), self._engine.begin() as connection:
            self._dialect.begin_write(connection)
            yield connection

    def compact(self) -> bool:
        """Give back some of what deleted rows took; whether there is more of it.

        Raises:
            StorageUnavailable: the database cannot be written now.
        """
        with self._turn(True), _translated(self._unwritten), self._engine.connect() as connection:
            more: bool = self._dialect.compact(connection)
        return more

    def close(self) -> None:
        """Close all connections that are not in use."""
        self._engine.dispose()

    def _open(self, place: Path | str | None) -> Engine:
        match place:
            case None:
                return sqlite.memory_engine()
            case Path():
                try:
                    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                except OSError as error:
                    raise ConfigError(
                        f"The folder for tasks, {place.parent}, cannot be made: {error.strerror}. "
                        "Name another with SIGHTLINE_DATA_DIR, or `:memory:` to keep none."
                    ) from error
                return sqlite.file_engine(place)
            case _:
                return postgres.engine(place)

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """Switching a new file to WAL waits for nobody: one process at a time opens it."""
        if self._file is None:
            yield
            return
        lock = FileLock(f"{self._file}.lock", timeout=_OPENING_SECONDS)
        try:
            lock.acquire()
        except Timeout:
            raise locked() from None
        except OSError as error:
            raise disk_outage(error) from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _turn(self, one_at_a_time: bool) -> Iterator[None]:
        if not one_at_a_time:
            yield
            return
        if not self._writing.acquire(timeout=2 * sqlite.BUSY_SECONDS):
            raise locked()
        try:
            yield
        finally:
            self._writing.release()


@contextmanager
def _translated(outage: Outage) -> Iterator[None]:
    try:
        yield
    except (exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
        trouble = database_outage(error)
        if trouble is None:
            raise
        outage.failed(error)
        raise trouble from error
    else:
        outage.worked()
