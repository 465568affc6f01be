"""Storage failures: from errors of a disk or database to messages that say what to do."""

from __future__ import annotations

import errno
import logging
import sqlite3
import threading
from time import monotonic

from sqlalchemy import exc

from sightline.errors import StorageUnavailable

RETRY_SECONDS = 5
"""Retry-After of storage failures: most locks are gone by then."""

_QUIET_SECONDS = 2.0  # without a failure, after which a success ends the outage

_log = logging.getLogger("sightline.storage")

_FULL = (
    "The disk that tasks are kept on is full. Free some of it, or lower SIGHTLINE_MAX_BACKLOG_MB "
    "and SIGHTLINE_MAX_RESULTS_MB on the server."
)
_READ_ONLY = "The service may not write to where tasks are kept. Make the folder writable for it."
_LOCKED = "The database of tasks is locked by another program."
_AWAY = "The database of tasks does not answer. Check that it runs, and that it can be reached."
_REFUSED = (
    "The database of tasks refuses the service. Check the name, the password, the database and the "
    "rights in SIGHTLINE_DATABASE_URL."
)
_BROKEN = "The disk that tasks are kept on fails, or was taken away. Check it, and its file system."
_DAMAGED = (
    "The database of tasks is damaged. Stop the service, move tasks.db and its -wal and -shm away "
    "from its data folder, and start again: a new one is made."
)

_BY_ERRNO = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EMFILE: "The service has too many files open. Raise its limit (ulimit -n).",
    errno.ENFILE: "The machine has too many files open. Raise its limit (sysctl fs.file-max).",
}

# Result codes: https://www.sqlite.org/rescode.html; the low byte is the primary code.
_BY_SQLITE = {
    5: _LOCKED,
    6: _LOCKED,
    8: _READ_ONLY,
    10: _BROKEN,
    11: _DAMAGED,
    13: _FULL,
    14: _READ_ONLY,
    26: _DAMAGED,
}

# https://www.postgresql.org/docs/current/errcodes-appendix.html; by code or by class.
_BY_SQLSTATE = {
    "08": _AWAY,
    "25006": _READ_ONLY,
    "25P03": _LOCKED,  # our transaction took too long
    "28": _REFUSED,
    "3D": _REFUSED,
    "40": _LOCKED,
    "42501": _REFUSED,
    "53": _AWAY,
    "53100": _FULL,
    "55P03": _LOCKED,
    "57": _AWAY,
    "58": _BROKEN,
}


class Outage:
    """Logs the start and the end of an outage, once each."""

    def __init__(self, what: str, how: str) -> None:
        """Words for the log: during the outage `what` cannot be `how` ("read", "written")."""
        self._words = what, how
        self._lock = threading.Lock()
        self._failed: float | None = None

    def failed(self, error: Exception) -> None:
        """Record a failure."""
        with self._lock:
            begins, self._failed = self._failed is None, monotonic()
        if begins:
            cause = error.orig if isinstance(error, exc.DBAPIError) else error
            _log.warning("storage unavailable: %s cannot be %s: %s", *self._words, cause)

    def worked(self) -> None:
        """Record a success."""
        with self._lock:
            ends = self._failed is not None and monotonic() - self._failed > _QUIET_SECONDS
            if ends:
                self._failed = None
        if ends:
            _log.warning("storage is back: %s can be %s", *self._words)


def disk_outage(error: OSError) -> StorageUnavailable:
    """The client's error for an `error` of a folder of blobs."""
    return StorageUnavailable(_BY_ERRNO.get(error.errno or 0, _BROKEN), RETRY_SECONDS)


def database_outage(
    error: exc.SQLAlchemyError | sqlite3.Error | OSError,
) -> StorageUnavailable | None:
    """The client's error for a database `error`; None if it is a bug."""
    if isinstance(error, OSError):
        return StorageUnavailable(_AWAY, RETRY_SECONDS)
    if isinstance(error, exc.TimeoutError):
        return StorageUnavailable("Too many ask the database of tasks at once.", RETRY_SECONDS)
    reason = _reason(error)
    return StorageUnavailable(reason, RETRY_SECONDS) if reason else None


def _reason(error: exc.SQLAlchemyError | sqlite3.Error) -> str | None:
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _BY_SQLITE.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF)
    if not isinstance(error, exc.DBAPIError):
        return None
    facts = cause.args[0] if cause is not None and cause.args else None
    if isinstance(facts, dict):
        state = str(facts.get("C", ""))
        return _BY_SQLSTATE.get(state) or _BY_SQLSTATE.get(state[:2])
    # An error without a code does not come from the server.
    return _AWAY if isinstance(error, exc.InterfaceError) else None


def locked() -> StorageUnavailable:
    """The client's error when another thread or process holds the database for too long."""
    return StorageUnavailable(_LOCKED, RETRY_SECONDS)
