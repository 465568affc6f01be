"""Tasks as a test keeps them: a store, a queue and blobs in one place, and a clock that it sets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import NullPool, create_engine, inspect, text

from sightline.storage import schema
from sightline.storage.blobs import Blobs, FolderBlobs, MemoryBlobs
from sightline.storage.database import Database
from sightline.tasks.queue import TaskQueue
from sightline.tasks.retention import Cleaner
from sightline.tasks.store import TaskStore
from sightline.tasks.task import Backlog, Claim, Failure, NewImage, NewTask, Outcome, Task

TTL = 300.0
LEASE = 30.0
PICTURE = b"a picture, or so"


@dataclass
class Clock:
    """Unix time that stands until somebody moves it."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class TaskFixture:
    """Everything about tasks in one place, as one process has it."""

    database: Database
    blobs: Blobs
    clock: Clock = field(default_factory=Clock)
    limits: Backlog = field(default_factory=lambda: Backlog(10_000, 2**30))
    max_bytes: int = 2**30

    def __post_init__(self) -> None:
        self.store = TaskStore(self.database, self.blobs, self.limits, self.clock, ttl=TTL)
        self.queue = TaskQueue(self.database, self.clock, LEASE, ttl=TTL)
        self.cleaner = Cleaner(self.database, self.blobs, self.max_bytes, self.clock)

    def blob(self, key: str, data: bytes = PICTURE) -> str:
        writer = self.blobs.create(key)
        writer.write(data)
        writer.finish()
        return key

    def new(self, count: int = 1, **values: Any) -> NewTask:
        """A task of `count` images whose blobs are written."""
        task_id = uuid4().hex
        images = tuple(
            NewImage(f"{i}.jpg", self.blob(f"{task_id}/{i}"), size=len(PICTURE))
            for i in range(count)
        )
        return NewTask(**{"id": task_id, "owner": "", "images": images, "options": {}} | values)

    def submit(self, count: int = 1, **values: Any) -> Task:
        return self.store.submit(self.new(count, **values))

    def claim(self, most: int = 1, worker: str = "w", *, idle: bool = True) -> list[Claim]:
        return self.queue.claim(worker, most, idle=idle)

    def work(self, most: int = 1, worker: str = "w") -> list[Claim]:
        """Claim so many, and complete them."""
        claims = self.claim(most, worker)
        self.queue.finish(worker, [Outcome(claim, answer(claim)) for claim in claims])
        return claims

    def ended(self, count: int = 1, **values: Any) -> Task:
        """A task that has ended, and nothing else was waiting."""
        task = self.submit(count, **values)
        while self.work(100):
            pass
        return self.store.get(task.id)


def answer(claim: Claim) -> dict[str, Any]:
    """A result that tells whose it is."""
    return {"task": claim.task_id, "index": claim.index}


def failed(claim: Claim, **values: Any) -> Outcome:
    return Outcome(claim, failure=Failure("BrokenImage", "It is damaged."), **values)


@contextmanager
def open_tasks(
    kind: str, folder: Path, postgres: str | None = None, **values: Any
) -> Iterator[TaskFixture]:
    """A place of a kind: "file", "memory", "postgres" (with the address of an empty one)."""
    place = {"file": folder / "tasks" / "tasks.db", "memory": None, "postgres": postgres}[kind]
    database = Database(place)
    blobs = MemoryBlobs() if kind == "memory" else FolderBlobs(folder / "tasks" / "blobs")
    try:
        yield TaskFixture(database, blobs, **values)
    finally:
        database.close()


def wipe(address: str) -> None:
    """Leave the tables at `address` as they are at first; far quicker than to make them again."""
    with create_engine(address, poolclass=NullPool).begin() as connection:
        if inspect(connection).has_table(schema.versions.name):
            for table in schema.metadata.sorted_tables:
                connection.execute(table.delete())
            schema.fill(connection)


def drop(address: str) -> None:
    """Leave nothing at `address`."""
    with create_engine(address, poolclass=NullPool).begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
