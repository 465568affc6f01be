"""PostgreSQL as task database, through pg8000."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError

from sightline.errors import ConfigError

_WRITERS = 0x7369_6768_746C_696E
"""Key of the advisory lock that serialises writers: "sightlin" in ASCII."""

_CONNECTIONS = 8
_ANSWER_TIMEOUT = 30  # seconds for each answer: the server may have disappeared silently


def engine(address: str) -> Engine:
    """A SQLAlchemy engine for the database at `address`.

    Raises:
        ConfigError: it is not an address of PostgreSQL through pg8000, or pg8000 is not installed.
    """
    try:
        url = make_url(address)
    except ArgumentError:
        raise ConfigError(_form("it is not an address")) from None
    if url.drivername not in {"postgresql", "postgresql+pg8000"}:
        raise ConfigError(_form(f"not {url.drivername}"))
    try:
        made = create_engine(
            url.set(drivername="postgresql+pg8000"),
            pool_size=_CONNECTIONS,
            max_overflow=0,
            pool_timeout=10,
            hide_parameters=True,
            connect_args={"timeout": _ANSWER_TIMEOUT},
        )
    except ModuleNotFoundError as error:
        raise ConfigError(
            "PostgreSQL needs a package that is not installed: pip install 'sightline[postgres]'"
        ) from error
    event.listen(made, "connect", _prepare)
    event.listen(made, "checkout", _ping)
    return made


def begin_read(connection: Connection) -> None:
    """Begin a transaction on a consistent snapshot."""
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


def begin_write(connection: Connection) -> None:
    """Wait to be the only writer, as on SQLite: writers neither race nor deadlock."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")


def compact(_connection: Connection) -> bool:
    """Do nothing: PostgreSQL's autovacuum frees the space."""
    return False


def _prepare(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("SET lock_timeout = '5s'")
    cursor.execute("SET idle_in_transaction_session_timeout = '60s'")  # if a process hangs
    connection.commit()


def _ping(connection: Any, _record: Any, _proxy: Any) -> None:
    """Replace a lost connection. SQLAlchemy's own ping does not handle ConnectionError."""
    from pg8000 import Error

    try:
        connection.cursor().execute("SELECT 1")
        connection.rollback()
    except (Error, OSError) as error:
        raise DisconnectionError from error


def _form(problem: str) -> str:
    return (
        "option 'database_url': the form is postgresql+pg8000://user:password@host/database, and "
        f"{problem}"
    )
