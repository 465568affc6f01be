"""A download that is not complete yet, and what it takes to go on with it."""

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
    """Bytes at `path`; beside them, in a `.json`, their address and the ETag they belong to."""

    path: Path

    def size(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def etag(self) -> str | None:
        """The ETag of what is there; None if the server gave none that can be relied on."""
        return self._origin().get("etag")

    def resumable(self, address: str) -> tuple[int, str | None]:
        """Bytes to go on from, and their ETag; 0 and None where it has to start anew."""
        origin, size = self._origin(), self.size()
        if size == 0 or origin.get("address") != address or origin.get("etag") is None:
            return 0, None
        return size, origin["etag"]

    @contextmanager
    def open(self, address: str, etag: str | None, offset: int) -> Iterator[IO[bytes]]:
        """The file, open for writing from `offset`; what was written is on disk at the end."""
        if offset == 0:
            # First, so that no crash leaves old bytes under a new ETag.
            self.path.unlink(missing_ok=True)
        self._note.write_text(json.dumps({"address": address, "etag": etag}), "utf-8")
        with self.path.open("ab") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def discard(self) -> None:
        """Remove it. Where even that fails there is nothing more to be done."""
        for path in (self.path, self._note):
            with suppress(OSError):
                path.unlink()

    @property
    def _note(self) -> Path:
        return self.path.with_suffix(".json")

    def _origin(self) -> dict[str, str | None]:
        try:
            origin = json.loads(self._note.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return origin if isinstance(origin, dict) else {}
