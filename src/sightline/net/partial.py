"""A partial download on disk, and the metadata to resume it."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Partial:
    """A partial file at `path`; a `.json` beside it has its address and its ETag."""

    path: Path

    def size(self) -> int:
        """The number of bytes so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def etag(self) -> str | None:
        """The ETag of the file; None if the server gave no strong one."""
        return self._origin().get("etag")

    def resumable(self, address: str) -> tuple[int, str | None]:
        """The offset to resume from, and the ETag; 0 and None if the download has to start anew."""
        origin, size = self._origin(), self.size()
        if size == 0 or origin.get("address") != address or origin.get("etag") is None:
            return 0, None
        return size, origin["etag"]

    @contextmanager
    def open(self, address: str, etag: str | None, offset: int) -> Iterator[IO[bytes]]:
        """The file, open for appending at `offset`; flushed to disk at the end."""
        if offset == 0:
            # Before the metadata, so that no crash leaves old bytes with a new ETag.
            self.path.unlink(missing_ok=True)
        self._metadata.write_text(json.dumps({"address": address, "etag": etag}), "utf-8")
        with self.path.open("ab") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def discard(self) -> None:
        """Remove the file and its metadata; ignores errors."""
        for path in (self.path, self._metadata):
            with suppress(OSError):
                path.unlink()

    @property
    def _metadata(self) -> Path:
        return self.path.with_suffix(".json")

    def _origin(self) -> dict[str, str | None]:
        try:
            origin = json.loads(self._metadata.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return origin if isinstance(origin, dict) else {}
