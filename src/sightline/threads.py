"""All threads of the service: one table of their names and numbers.

Besides these there are the main thread with the event loop, anyio's worker threads (up to 40, for
work in `anyio.to_thread`), and the inference engine's own.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "sightline-"
"""Of the names of all threads."""


@dataclass(frozen=True, slots=True)
class Threads:
    """A row of the table: threads that do the same.

    Attributes:
        name: without `PREFIX`.
        count: most of them at once; 0 if it depends on the machine, the models or the load.
        daemon: the process may end while they work.
    """

    name: str
    count: int = 1
    daemon: bool = True

    def pool(self, count: int = 0) -> ThreadPoolExecutor:
        """A new pool of them; `count` is for rows that have none."""
        return ThreadPoolExecutor(count or self.count, PREFIX + self.name)

    def start(self, target: Callable[..., object], *args: Any) -> Thread:
        """A new thread that runs `target`, started."""
        thread = self.make(target, *args)
        thread.start()
        return thread

    def make(self, target: Callable[..., object], *args: Any) -> Thread:
        """A new thread that will run `target`, not started yet."""
        return Thread(target=target, args=args, name=PREFIX + self.name, daemon=self.daemon)


# Inference
REQUESTS = Threads("request", 40)  # wait for the detector: as many as anyio has
DECODERS = Threads("decoder", 0)  # a model: one per core up to 4, and one whose result waits
BATCHERS = Threads("batcher", 0)  # a model: one per stream of its engine
CANARY = Threads("canary")
RESTARTS = Threads("restart", 0)  # one per model whose worker died
RETIREMENTS = Threads("retirement", 0, daemon=False)  # one per model that is being closed
PIXELS = Threads("pixels")  # frees the memory of decoded images that were garbage-collected

# Requests that fetch, write or draw images
FETCHES = Threads("fetch", 16)  # wait for other hosts, for /detect: cheap, and slow hosts are many
BLOB_WRITERS = Threads("blob-writer", 8)  # wait for fsync: the disk takes several together
ANNOTATIONS = Threads("annotation", 2)  # hold decoded images, which are large

# Requests about tasks
TASK_CHANGES = Threads("task-change", 4)  # wait for the one writer of the database
TASK_READS = Threads("task-read", 4)  # apart from those, so that readers do not wait for writers
CHANGE_FEED = Threads("change-feed")

# Work on tasks
TASK_WORKER = Threads("task-worker")
BLOB_READERS = Threads("blob-reader", 2)  # one reads while what the other has read is decoded
TASK_FETCHES = Threads("task-fetch", 8)  # fewer than FETCHES: nobody waits at the other end
RETENTION = Threads("retention")
DELIVERY = Threads("delivery")
CALLBACKS = Threads("callback", 8)  # wait for receivers

# Network and process
LOOK_UPS = Threads("look-up", 32)  # wait for name servers; they cannot be interrupted
DOWNLOADS = Threads("download", 0)  # one per model that is being pulled
LOG = Threads("log")
ORPHAN = Threads("orphan")  # of a worker process: waits for the end of its supervisor
