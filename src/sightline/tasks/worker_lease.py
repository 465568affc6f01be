"""What a worker is called, so that it finds again what its dead predecessor held."""

from __future__ import annotations

import uuid
from itertools import count
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from pathlib import Path


class WorkerLease:
    """A name that is this process's for as long as it lives, and its successor's afterwards.

    A lock on a file in the data folder keeps others from it; the system takes the lock back however
    the process ends.

    Attributes:
        dead: names of workers of this folder that are no more: what they held is free. The name
            that was taken is the first.
    """

    def __init__(self, folder: Path | None) -> None:
        """Take the first name that is free.

        Args:
            folder: where tasks are kept; None if they are in memory, and nobody outlives them.

        Raises:
            OSError: nothing can be written there.
        """
        self._lock: FileLock | None = None
        self.dead: list[str] = []
        if folder is None:
            self.dead.append(f"memory-{uuid.uuid4().hex}")
            return
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "workers.lock"):  # nobody else looks for a name meanwhile
            self._take(folder, _folder_id(folder))

    @property
    def name(self) -> str:
        return self.dead[0]

    def close(self) -> None:
        """Leave the name to others."""
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
                continue  # it lives
            self.dead.append(f"{folder_id}-{number}")
            if self._lock is None:
                self._lock = lock
            else:
                lock.release()


def _folder_id(folder: Path) -> str:
    """Tells this folder from others that share a database."""
    path = folder / "worker.id"
    if not path.exists():
        draft = path.with_suffix(".tmp")
        draft.write_text(uuid.uuid4().hex, "ascii")
        draft.replace(path)
    return path.read_text("ascii")
