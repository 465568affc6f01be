"""Spooling of uploads: in memory while there is room, then on disk."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import anyio.to_thread

from sightline.errors import Overloaded
from sightline.vision.formats import Sniffer

if TYPE_CHECKING:
    from io import FileIO

SMALL = 64 * 1024
"""Bytes of each body that are always held in memory."""

DISK_BYTES = 4 * 2**30
"""Most bytes of all bodies on disk at once."""


class UploadBudget:
    """Bytes in memory and on disk that are free for uploads.

    For the event loop only.
    """

    def __init__(self, memory: int, disk: int, retry_after: int) -> None:
        """A budget that is all free.

        Args:
            memory: bytes in memory, beyond the first `SMALL` of each body.
            disk: bytes on disk; without room there, bodies are refused.
            retry_after: seconds after which all current bodies have ended.
        """
        self.memory = memory
        self.disk = disk
        self.retry_after = retry_after


class Upload:
    """The bytes of one picture: in memory while there is room, else in an unnamed temporary file.

    The system deletes the file once it is closed, even if the process is killed.
    """

    def __init__(self, budget: UploadBudget) -> None:
        self._budget = budget
        self._bytes = bytearray()
        self._held = 0  # bytes of the budget's memory
        self._file: FileIO | None = None
        self._writing = self._closed = False
        self._on_disk = 0
        self._sniffer = Sniffer()

    def __len__(self) -> int:
        return self._on_disk + len(self._bytes)

    def append(self, chunk: bytes) -> None:
        """Add the next bytes of the picture.

        Raises:
            ImageError: the first bytes are not those of a picture.
        """
        self._bytes += chunk
        self._sniffer.feed(chunk)

    def finish(self) -> None:
        """End the picture.

        Raises:
            ImageError: it is empty, or not a picture.
        """
        self._sniffer.finish()

    async def flush(self) -> None:
        """Reserve memory for the received bytes, or write them to disk.

        Raises:
            Overloaded: there is no room on disk either.
        """
        more = len(self._bytes) - self._held - SMALL
        if more <= 0:
            return
        if self._file is None and more <= self._budget.memory:
            self._budget.memory -= more
            self._held += more
            return
        if len(self._bytes) > self._budget.disk:
            raise Overloaded("Too many uploads are under way.", self._budget.retry_after)
        self._budget.disk -= len(self._bytes)
        self._on_disk += len(self._bytes)
        try:
            await anyio.to_thread.run_sync(self._write)
        except OSError as error:
            raise Overloaded(
                "The disk has no room for uploads.", self._budget.retry_after
            ) from error
        self._budget.memory += self._held
        self._held = 0

    def _write(self) -> None:
        """Write to the file, on a thread. If `close` comes first, closes the file itself."""
        self._writing = True
        try:
            if not self._closed:
                self._append()
        finally:
            self._writing = False
            if self._closed and self._file is not None:
                self._file.close()

    def _append(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  closed by close()
        rest = memoryview(self._bytes)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._bytes = bytearray()

    def load(self) -> bytes:
        """All bytes of the picture. Reads the disk: not for the event loop."""
        if self._file is None:
            return bytes(self._bytes)
        self._file.seek(0)
        return (self._file.read() or b"") + bytes(self._bytes)

    def close(self) -> None:
        """Delete the bytes, and give their room back to the budget."""
        self._budget.memory += self._held
        self._budget.disk += self._on_disk
        self._held = self._on_disk = 0
        self._bytes = bytearray()
        self._closed = True
        if self._file is not None and not self._writing:
            self._file.close()
