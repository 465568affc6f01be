"""A submission whose idempotency key came before: it is compared, and nothing of it is kept."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import anyio.to_thread

from sightline.api.uploads.task_file import shown_name
from sightline.api.uploads.task_files import require_file, require_pictures

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

    from sightline.api.uploads.task_file import Fingerprint

_BLOCK = 128 * 1024  # bytes that are held until a thread has looked at them


class FingerprintReader:
    """Takes the files of a form, as its `Parts`, and keeps of each what tells it from others.

    It takes no room, on disk or in the backlog: a task that is there can be asked for again however
    much waits.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._hashes: list[Hash] = []
        self._held: list[tuple[Hash, bytes]] = []
        self._bytes = self._unseen = 0

    def begin(self, name: str, filename: str) -> None:
        """Raises WrongFileCount if the field is another, or there are too many."""
        require_file(name, len(self._names))
        self._names.append(shown_name(filename))
        self._hashes.append(hashlib.sha256())

    def append(self, data: bytes) -> None:
        self._bytes += len(data)
        self._unseen += len(data)
        self._held.append((self._hashes[-1], data))

    def end(self) -> None:
        """There is nothing to judge."""

    def require_pictures(self, received: int) -> None:
        """Raises MalformedBody if far more bytes were received than there are of files."""
        require_pictures(received, self._bytes, len(self._names))

    async def flush(self) -> None:
        """Have what has arrived looked at."""
        if self._unseen >= _BLOCK:
            await self._look()

    async def fingerprints(self) -> list[Fingerprint]:
        """What tells these files from others, once all of them are there."""
        await self._look()
        return [
            (name, one.hexdigest()) for name, one in zip(self._names, self._hashes, strict=True)
        ]

    async def _look(self) -> None:
        held, self._held, self._unseen = self._held, [], 0
        await anyio.to_thread.run_sync(_update, held)


def _update(held: list[tuple[Hash, bytes]]) -> None:
    for one, data in held:
        one.update(data)
