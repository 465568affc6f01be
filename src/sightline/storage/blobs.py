"""Blob storage: the bytes of pictures, under keys, in files or in memory.

A key is `task/index`. The blobs of one task form a folder.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from sightline.errors import ExpiredTask, UnreadablePicture
from sightline.storage.outages import RETRY_SECONDS, Outage, disk_outage

_PART = ".part"
_NAME = "the folder of pictures"
_OF_ALL = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}  # errors that affect all files

_log = logging.getLogger("sightline.storage")


class BlobFolder(NamedTuple):
    """The blobs of one task: their total bytes, and the Unix time of the last write."""

    name: str
    bytes: int
    written: float


class BlobWriter(Protocol):
    """A blob that is being written. It cannot be read before `finish`."""

    def write(self, data: bytes | bytearray) -> None:
        """Add `data`. If that fails, aborts the blob and raises StorageUnavailable."""

    def finish(self) -> None:
        """Complete the blob: its bytes are on disk, and its key is visible.

        The key survives a power cut only after `Blobs.commit`.
        """

    def abort(self) -> None:
        """Remove the blob. Does nothing after `finish` or `abort`."""


class Blobs(Protocol):
    """Storage of bytes under keys. Safe for many threads; not for the event loop, it blocks."""

    def create(self, key: str) -> BlobWriter:
        """Begin a new blob. Raises StorageUnavailable."""

    def commit(self, folder: str) -> None:
        """Make the finished blobs of `folder` survive a power cut. Raises StorageUnavailable."""

    def read(self, key: str) -> bytes:
        """The bytes of a blob.

        Raises:
            ExpiredTask: there is no such blob (any more).
            UnreadablePicture: only this blob cannot be read.
            StorageUnavailable: no blob can be read now.
        """

    def delete(self, folder: str) -> None:
        """Remove `folder` with its blobs, if it exists. Raises StorageUnavailable."""

    def folders(self) -> list[BlobFolder]:
        """All folders. Raises StorageUnavailable."""


class FolderBlobs:
    """Blobs as files: `root/task/index`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._unread, self._unwritten = (Outage(_NAME, how) for how in ("read", "written"))

    def create(self, key: str) -> BlobWriter:
        path = self._path(key)
        with _translated(self._unwritten):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return _FileWriter(path, self._unwritten)

    def commit(self, folder: str) -> None:
        with _translated(self._unwritten):
            for path in (self._path(folder), self._root, self._root.parent):
                _sync_folder(path)

    def read(self, key: str) -> bytes:
        with _translated(self._unread):
            try:
                data = self._path(key).read_bytes()
            except OSError as error:
                if error.errno in _OF_ALL or not self._is_readable():
                    raise
                if isinstance(error, FileNotFoundError):
                    raise ExpiredTask(key.partition("/")[0]) from None
                _log.warning("picture %s cannot be read: %s", key, error)
                raise UnreadablePicture(
                    "The disk does not give the bytes of this picture "
                    f"({error.strerror or 'it does not say why'}), though it gives others. Have "
                    "it checked, and retry the task or upload the picture again.",
                    RETRY_SECONDS,
                ) from error
        self._unread.worked()
        return data

    def delete(self, folder: str) -> None:
        with _translated(self._unwritten), suppress(FileNotFoundError):
            shutil.rmtree(self._path(folder))

    def folders(self) -> list[BlobFolder]:
        with _translated(self._unread):
            if not self._root.is_dir():
                return []
            return [
                found
                for path in self._root.iterdir()
                if path.name.isalnum() and path.is_dir() and (found := _measure(path)) is not None
            ]

    def _is_readable(self) -> bool:
        """Whether the root folder can be read, so that a read error concerns one blob only."""
        try:
            with os.scandir(self._root) as entries:
                next(entries, None)
        except OSError:
            return False
        return True

    def _path(self, key: str) -> Path:
        if not all(part.isalnum() for part in key.split("/")):
            raise ValueError(f"{key!r} is not a key of a blob")
        return self._root / key


class _FileWriter:
    def __init__(self, path: Path, outage: Outage) -> None:
        self._path = path
        self._outage = outage
        self._part = path.with_name(f"{path.name}-{secrets.token_hex(4)}{_PART}")
        self._file = self._part.open("xb", buffering=0)
        self._open = True

    def write(self, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        with self._or_abort():
            while rest:
                rest = rest[self._file.write(rest) :]

    def finish(self) -> None:
        with self._or_abort():
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._path)
            self._open = False
        self._outage.worked()

    def abort(self) -> None:
        if self._open:
            self._open = False
            self._file.close()
            with suppress(OSError):  # the cleaner removes it as an orphan
                self._part.unlink()

    @contextmanager
    def _or_abort(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.abort()
            self._outage.failed(error)
            raise disk_outage(error) from error


class MemoryBlobs:
    """Blobs in memory. They are lost when the process ends."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._folders: dict[str, dict[str, bytes]] = {}
        self._written: dict[str, float] = {}

    def create(self, key: str) -> BlobWriter:
        return _MemoryWriter(self, key)

    def commit(self, folder: str) -> None:
        """Does nothing: memory does not survive a power cut."""

    def read(self, key: str) -> bytes:
        folder, _, name = key.partition("/")
        with self._lock:
            try:
                return self._folders[folder][name]
            except KeyError:
                raise ExpiredTask(folder) from None

    def delete(self, folder: str) -> None:
        with self._lock:
            self._folders.pop(folder, None)
            self._written.pop(folder, None)

    def folders(self) -> list[BlobFolder]:
        with self._lock:
            return [
                BlobFolder(name, sum(map(len, blobs.values())), self._written[name])
                for name, blobs in self._folders.items()
            ]

    def put(self, key: str, data: bytes) -> None:
        folder, _, name = key.partition("/")
        with self._lock:
            self._folders.setdefault(folder, {})[name] = data
            self._written[folder] = self._clock()


class _MemoryWriter:
    def __init__(self, blobs: MemoryBlobs, key: str) -> None:
        self._blobs = blobs
        self._key = key
        self._data = bytearray()

    def write(self, data: bytes | bytearray) -> None:
        self._data += data

    def finish(self) -> None:
        self._blobs.put(self._key, bytes(self._data))
        self._data = bytearray()

    def abort(self) -> None:
        self._data = bytearray()


def _sync_folder(path: Path) -> None:
    """Make renames in `path` survive a power cut. Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _measure(path: Path) -> BlobFolder | None:
    """Measure the folder at `path`; None if it has just been removed."""
    try:
        stats = [entry.stat() for entry in path.iterdir()]
        written = max([path.stat().st_mtime, *(stat.st_mtime for stat in stats)])
    except FileNotFoundError:
        return None
    return BlobFolder(path.name, sum(stat.st_size for stat in stats), written)


@contextmanager
def _translated(outage: Outage) -> Iterator[None]:
    """Report OSErrors to `outage`, and raise them as StorageUnavailable.

    Success is not reported: files can be created and removed on a full disk too.
    """
    try:
        yield
    except OSError as error:
        outage.failed(error)
        raise disk_outage(error) from error
