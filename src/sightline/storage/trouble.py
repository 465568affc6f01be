"""What is wrong with a disk or a database, in words that say what to do."""

from __future__ import annotations

import errno
import logging

from sqlalchemy import exc

from sightline.errors import StorageUnavailable

RETRY_SECONDS = 5
"""Told to clients: by then a lock has gone; a full disk may not have."""

_log = logging.getLogger("sightline.storage")

_FULL = (
    "The disk that tasks are kept on is full. Free some of it, or lower SIGHTLINE_MAX_BACKLOG_MB "
    "and SIGHTLINE_MAX_RESULTS_MB on the server."
)
_READ_ONLY = "The service may not write to where tasks are kept. Make the folder writable for it."
_LOCKED = "The database of tasks is locked by another program."
_AWAY = "The database of tasks does not answer. Check that it runs, and that it can be reached."
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

# Result codes: https://www.sqlite.org/rescode.html; the low byte is the primary one.
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

# https://www.postgresql.org/docs/current/errcodes-appendix.html; by code, or by class.
_BY_SQLSTATE = {"53100": _FULL, "25006": _READ_ONLY, "55P03": _LOCKED, "57014": _LOCKED}


def disk_trouble(error: OSError) -> StorageUnavailable:
    """`error`, of a folder of blobs, as what a client is told."""
    return _told(_BY_ERRNO.get(error.errno or 0, _BROKEN), error)


def database_trouble(error: exc.SQLAlchemyError) -> StorageUnavailable | None:
    """`error` as what a client is told; None if it is a mistake of ours."""
    if isinstance(error, exc.TimeoutError):
        return _told("Too many ask the database of tasks at once.", error)
    if not isinstance(error, exc.DBAPIError) or isinstance(error, exc.IntegrityError):
        return None
    original = error.orig
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None:
        reason = _BY_SQLITE.get(code & 0xFF)
        return _told(reason, error) if reason else None
    facts = original.args[0] if original is not None and original.args else None
    state = str(facts.get("C", "")) if isinstance(facts, dict) else ""
    if state in _BY_SQLSTATE:
        return _told(_BY_SQLSTATE[state], error)
    # Connections, resources, operators' interventions, deadlocks; and without a code the network.
    lost = error.connection_invalidated or isinstance(error, exc.InterfaceError)
    if lost or state[:2] in {"08", "53", "57", "58", "40"}:
        return _told(_AWAY, error)
    return None


def locked() -> StorageUnavailable:
    """Another thread of this process has held the database for too long."""
    return StorageUnavailable(_LOCKED, RETRY_SECONDS)


def _told(reason: str, error: Exception) -> StorageUnavailable:
    _log.warning("storage unavailable: %s", error)
    return StorageUnavailable(reason, RETRY_SECONDS)
