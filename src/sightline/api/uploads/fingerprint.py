"""Fingerprints of a repeated submission: hashes its files without storing them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import anyio.to_thread

from sightline.api.uploads.task_file import shown_name
from sightline.api.uploads.task_files import require_file, require_pictures

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

    from sightline.api.uploads.task_file import Fingerprint

_BLOCK = 128 * 1024  # bytes that are collected before a thread hashes them


class FingerprintReader:
    """`Parts` of a form that keeps only the name and the hash of each file.

    It uses no disk and no backlog room, so a submission can be repeated while the backlog is full.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._hashes: list[Hash] = []
        self._held: list[tuple[Hash, bytes]] = []
        self._bytes = self._unseen = 0

    def begin(self, name: str, filename: str) -> None:
        """Raises WrongFileCount for an unknown field, or too many files."""
        require_file(name, len(self._names))
        self._names.append(shown_name(filename))
        self._hashes.append(hashlib.sha256())

    def append(self, data: bytes) -> None:
        self._bytes += len(data)
        self._unseen += len(data)
        self._held.append((self._hashes[-1], data))

    def end(self) -> None:
        """Nothing to check."""

    def require_pictures(self, received: int) -> None:
        """Raises MalformedBody if far more bytes were received than the files have."""
        require_pictures(received, self._bytes, len(self._names))

    async def flush(self) -> None:
        """Hash the received bytes on a thread, if there are enough."""
        if self._unseen >= _BLOCK:
            await self._look()

    async def fingerprints(self) -> list[Fingerprint]:
        """Fingerprints of all files, after the end of the body."""
        await self._look()
        return [
            (name, file_hash.hexdigest())
            for name, file_hash in zip(self._names, self._hashes, strict=True)
        ]

    async def _look(self) -> None:
        held, self._held, self._unseen = self._held, [], 0
        await anyio.to_thread.run_sync(_update, held)


def _update(held: list[tuple[Hash, bytes]]) -> None:
    for file_hash, data in held:
        file_hash.update(data)
