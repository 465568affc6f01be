"""The name of a worker, by which it recovers the images of its dead predecessor."""

from __future__ import annotations

import uuid
from itertools import count
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from pathlib import Path


class WorkerLease:
    """A worker name that one process holds while it lives; a later process can take it over.

    A lock on a file in the data folder makes it exclusive. The system releases the lock however
    the process ends.

    Attributes:
        dead: names of dead workers of this folder, whose images can be recovered. The first is
            the name that was taken.
    """

    def __init__(self, folder: Path | None) -> None:
        """Take the first free name.

        Args:
            folder: the data folder; None if tasks are in memory, where the name is always new.

        Raises:
            OSError: the folder cannot be written.
        """
        self._lock: FileLock | None = None
        self.dead: list[str] = []
        if folder is None:
            self.dead.append(f"memory-{uuid.uuid4().hex}")
            return
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "workers.lock"):  # one process at a time looks for names
            self._take(folder, _folder_id(folder))

    @property
    def name(self) -> str:
        return self.dead[0]

    def close(self) -> None:
        """Release the name."""
        if self._lock is not None:
            self._lock.release()

    def _take(self, folder: Path, folder_id: str) -> None:
        for number in count():
            path = folder / f"worker-{number}.lock"
            if self._lock is not None and not path.exists():
                return
            lock = FileLock(path, timeout=0, thread_local=False)
            try:
                lock.acquire()
            except Timeout:
                continue  # its worker lives
            self.dead.append(f"{folder_id}-{number}")
            if self._lock is None:
                self._lock = lock
            else:
                lock.release()


def _folder_id(folder: Path) -> str:
    """The id of this folder, among all folders that share a database."""
    path = folder / "worker.id"
    if not path.exists():
        draft = path.with_suffix(".tmp")
        draft.write_text(uuid.uuid4().hex, "ascii")
        draft.replace(path)
    return path.read_text("ascii")
