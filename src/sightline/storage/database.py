"""The task database: SQLite (a file or in memory) or PostgreSQL.

Writers are serialised on both: what a write transaction reads stays true until it ends, versions
follow the order of commits, and there are no deadlocks.
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

_OPEN_TIMEOUT = 30
_NAME = "the database of tasks"


class Database:
    """Transactions on one database. Thread-safe; blocking, so not for the event loop."""

    def __init__(self, place: Path | str | None) -> None:
        """Open the database; create or migrate its tables.

        Args:
            place: path of an SQLite file, address postgresql+pg8000://…, or None for memory.

        Raises:
            ConfigError: the address is invalid, or a newer program made the tables.
            StorageUnavailable: it cannot be opened now.
        """
        self._lock = threading.Lock()
        self._read_outage, self._write_outage = (Outage(_NAME, how) for how in ("read", "written"))
        self._file = place if isinstance(place, Path) else None
        self._shared = place is None
        self._dialect = postgres if isinstance(place, str) else sqlite
        self._engine = self._open(place)
        try:
            with self._file_lock(), self.write() as connection:
                schema.prepare(connection)
        except BaseException:
            self.close()
            raise

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine, for tests and maintenance."""
        return self._engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only transaction on a consistent snapshot.

        Raises:
            StorageUnavailable: the database cannot be read now.
        """
        with (
            self._locked(self._shared),
            _translated(self._read_outage),
            self._engine.begin() as connection,
        ):
            self._dialect.begin_read(connection)
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is durable when it ends, and rolled back if it raises.

        Raises:
            StorageUnavailable: the database cannot be written now.
        """
        with (
            self._locked(True),
            _translated(self._write_outage),
            self._engine.begin() as connection,
        ):
            self._dialect.begin_write(connection)
            yield connection

    def compact(self) -> bool:
        """Free some of the space of deleted rows; returns whether there is more to free.

        Raises:
            StorageUnavailable: the database cannot be written now.
        """
        with (
            self._locked(True),
            _translated(self._write_outage),
            self._engine.connect() as connection,
        ):
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
    def _file_lock(self) -> Iterator[None]:
        """Let one process at a time open a file: switching it to WAL does not wait for locks."""
        if self._file is None:
            yield
            return
        lock = FileLock(f"{self._file}.lock", timeout=_OPEN_TIMEOUT)
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
    def _locked(self, exclusive: bool) -> Iterator[None]:
        if not exclusive:
            yield
            return
        if not self._lock.acquire(timeout=2 * sqlite.BUSY_SECONDS):
            raise locked()
        try:
            yield
        finally:
            self._lock.release()


@contextmanager
def _translated(outage: Outage) -> Iterator[None]:
    try:
        yield
    except (exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
        unavailable = database_outage(error)
        if unavailable is None:
            raise
        outage.failed(error)
        raise unavailable from error
    else:
        outage.worked()
