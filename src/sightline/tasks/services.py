"""Task services of an HTTP process: store, blobs and change feed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightline.storage.blobs import Blobs
    from sightline.storage.database import Database
    from sightline.tasks.changes import ChangeFeed
    from sightline.tasks.store import TaskStore
    from sightline.tasks.task import Backlog
    from sightline.tasks.url_policy import UrlPolicy


@dataclass(frozen=True, slots=True)
class TaskServices:
    """The open services. Close them after their last use.

    Attributes:
        addresses: decides which URLs a task may name.
        backlog: limits on waiting images.
    """

    database: Database
    blobs: Blobs
    store: TaskStore
    changes: ChangeFeed
    addresses: UrlPolicy
    backlog: Backlog

    def close(self) -> None:
        self.changes.close()
        self.database.close()
