"""The database and the blobs of tasks when something is wrong: disks, locks, kills, versions."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Connection,
    event,
    select,
    text,
)

from sightline.errors import ConfigError, StorageUnavailable
from sightline.storage import schema, sqlite
from sightline.storage.blobs import FolderBlobs
from sightline.storage.database import Database
from sightline.storage.schema import images
from sightline.tasks.task import ENDED, Outcome
from support import task_process
from support.task_fixture import TaskFixture, answer, failed, open_tasks


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "tasks" / "tasks.db"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.1)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[TaskFixture]:
    with open_tasks("file", tmp_path) as kept:
        yield kept


# Versions of the tables


@pytest.fixture(params=["file", "postgres"])
def new_tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TaskFixture]:
    """A place whose tables nobody else will use."""
    address = None if request.param == "file" else request.getfixturevalue("postgres_address")
    with open_tasks(request.param, tmp_path, address) as kept:
        yield kept


NEXT = schema.SCHEMA_VERSION + 1


def add_colour(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE tasks ADD COLUMN colour VARCHAR"))


def test_a_newer_program_brings_older_tables_up_to_date(
    new_tables: TaskFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = new_tables.submit(2)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", NEXT)
    monkeypatch.setattr(schema, "MIGRATIONS", {NEXT - 1: add_colour})
    for _ in range(2):  # once, and then it is there
        with new_tables.database.write() as connection:
            schema.prepare(connection)
    with new_tables.database.write() as connection:
        connection.execute(text("UPDATE tasks SET colour = 'red'"))
    assert new_tables.store.get(task.id) == task


def test_tables_of_version_1_become_todays(new_tables: TaskFixture) -> None:
    task = new_tables.submit(2)
    with new_tables.database.write() as connection:
        connection.execute(text("ALTER TABLE images RENAME COLUMN quarantined TO suspect"))
        connection.execute(text("UPDATE images SET error = 'Culprit', status = 'error'"))
        connection.execute(text("UPDATE sightline_schema SET version = 1"))
    with new_tables.database.write() as connection:
        schema.prepare(connection)
    failures = [image.failure for image in new_tables.store.get(task.id).images]
    assert [failure and failure.error for failure in failures] == ["PoisonImage"] * 2
    assert new_tables.claim(2) == [], "they have ended"


def test_a_migration_that_fails_changes_nothing(
    new_tables: TaskFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(connection: Connection) -> None:
        add_colour(connection)
        raise RuntimeError("half-way")

    with monkeypatch.context() as patch:
        patch.setattr(schema, "SCHEMA_VERSION", NEXT)
        patch.setattr(schema, "MIGRATIONS", {NEXT - 1: fails})
        with pytest.raises(RuntimeError), new_tables.database.write() as connection:
            schema.prepare(connection)
    with new_tables.database.write() as connection:
        schema.prepare(connection)
        add_colour(connection)  # the column is not there yet


def test_an_older_program_refuses_newer_tables(place: Path) -> None:
    Database(place).close()
    with sqlite3.connect(place) as connection:
        connection.execute("UPDATE sightline_schema SET version = 9")
    connection.close()
    with pytest.raises(ConfigError, match=r"newer Sightline \(format 9.*SIGHTLINE_DATA_DIR"):
        Database(place)


@pytest.mark.parametrize("kind", ["file", "postgres"])
def test_many_processes_open_a_new_place_at_once(
    kind: str, place: Path, request: pytest.FixtureRequest
) -> None:
    where = place if kind == "file" else request.getfixturevalue("postgres_address")
    processes = [
        task_process.start("submit", where, place.parent / "blobs")
        for _ in range(3 if kind == "file" else 2)
    ]
    for child in processes:
        task_process.go(child)
    said = [child.communicate(timeout=60)[0].split() for child in processes]
    assert not any(child.returncode for child in processes)
    assert len({tuple(ids) for ids in said}) == 1, "one key, and more than one task"
    assert len(said[0]) == 1
    assert [found.name for found in FolderBlobs(place.parent / "blobs").folders()] == said[0]


# Places that are not to be had


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("mysql://localhost/tasks", "postgresql\\+pg8000://.*not mysql"),
        ("tasks", "it is not an address"),
    ],
)
def test_an_address_that_is_not_understood(address: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Database(address)


def test_a_database_that_does_not_answer() -> None:
    with pytest.raises(StorageUnavailable, match="does not answer") as caught:
        Database("postgresql+pg8000://sightline:secret@127.0.0.1:9/tasks")
    assert "secret" not in str(caught.value)


def test_a_database_that_is_not_there(postgres_address: str) -> None:
    with pytest.raises(StorageUnavailable, match="refuses"):
        Database(f"{postgres_address.removesuffix('/postgres')}/nowhere")


def test_a_connection_that_was_lost_is_made_again(postgres_address: str, tmp_path: Path) -> None:
    with open_tasks("postgres", tmp_path, postgres_address) as kept:
        task = kept.submit()
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        other = Database(postgres_address)
        with other.read() as connection:
            connection.execute(text(end))
        other.close()
        assert kept.store.get(task.id) == task


def test_a_connection_that_is_lost_in_the_middle(postgres_address: str, tmp_path: Path) -> None:
    with open_tasks("postgres", tmp_path, postgres_address) as kept:
        other = Database(postgres_address)

        def break_off() -> None:
            with other.write() as connection:
                mine = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
                stone = {"id": "x", "version": 1, "until": 1}
                connection.execute(schema.tombstones.insert(), stone)
                with kept.database.read() as killing:
                    killing.execute(text(f"SELECT pg_terminate_backend({mine})"))
                connection.execute(text("SELECT 1"))

        with pytest.raises(StorageUnavailable):
            break_off()
        with other.read() as connection:
            assert connection.execute(select(schema.tombstones)).all() == []
        other.close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot be made.*SIGHTLINE_DATA_DIR"):
        Database(tmp_path / "file" / "tasks" / "tasks.db")


def test_a_file_that_is_no_database(place: Path) -> None:
    place.parent.mkdir()
    place.write_bytes(b"no database " * 1000)
    with pytest.raises(StorageUnavailable, match=r"damaged.*move tasks\.db"):
        Database(place)


# Trouble that passes


@pytest.mark.usefixtures("impatient")
def test_a_database_that_another_program_locks(tmp_path: Path, place: Path) -> None:
    with open_tasks("file", tmp_path) as kept:
        task = kept.submit()
        other = sqlite3.connect(place, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="locked") as caught:
            kept.submit()
        assert caught.value.retry_after > 0
        assert kept.store.get(task.id) == task, "reading waits for nobody"
        other.execute("ROLLBACK")
        other.close()
        kept.submit()


@pytest.mark.usefixtures("impatient")
def test_a_thread_that_holds_the_database_for_too_long(tmp_path: Path) -> None:
    with open_tasks("file", tmp_path) as kept, ThreadPoolExecutor(1) as pool:
        with kept.database.write(), pytest.raises(StorageUnavailable, match="locked"):
            pool.submit(kept.submit).result()
        pool.submit(kept.submit).result()


def test_a_database_that_has_no_room(kept: TaskFixture) -> None:
    task = kept.submit()
    with kept.database.engine.connect() as connection:
        used = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {used + 1}")
    before = kept.store.changes(0)
    with pytest.raises(StorageUnavailable, match=r"full.*SIGHTLINE_MAX_BACKLOG_MB"):
        kept.submit(100, options={"filler": 20_000 * "x"})
    assert kept.store.changes(0) == before, "half of it was written"
    with kept.database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    kept.submit(100)
    assert kept.store.get(task.id) == task


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "is full. Free some"),
        (errno.EROFS, "may not write"),
        (errno.EACCES, "may not write"),
        (errno.EIO, "fails, or was taken away"),
        (errno.EMFILE, "too many files open"),
    ],
)
def test_blobs_that_cannot_be_written(
    kept: TaskFixture, code: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    for function in ("fsync", "mkdir", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, fails)
            with pytest.raises(StorageUnavailable, match=words):
                kept.blob(f"{function}/0")
    blobs = kept.blobs.folders()
    assert sum(folder.bytes for folder in blobs) == 0, "something half-written is there"
    kept.submit()


def test_many_read_at_once(kept: TaskFixture) -> None:
    task = kept.submit(100)
    with ThreadPoolExecutor(40) as pool:
        assert all(read == task for read in pool.map(kept.store.get, 120 * [task.id]))


# Cleaning


def test_the_disk_has_its_room_back(
    kept: TaskFixture, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.ended()
    kept.cleaner.clean()
    empty = place.stat().st_size
    tasks = [kept.submit(50) for _ in range(4)]
    while claims := kept.claim(50):
        filler = {"filler": 12_000 * "x"}
        kept.queue.finish("w", [Outcome(claim, answer(claim) | filler) for claim in claims])
    assert kept.store.get(tasks[0].id).status == "completed"
    assert sum(path.stat().st_size for path in place.parent.glob("tasks.db*")) > 2_000_000
    kept.clock.now += 301
    steps: list[bool] = []
    whole = kept.database.compact

    def compact() -> bool:
        steps.append(whole())
        return steps[-1]

    monkeypatch.setattr(kept.database, "compact", compact)
    kept.cleaner.clean()
    assert 2 < len(steps) < 20, "pages go many at a time, and others may write in between"
    left = sum(path.stat().st_size for path in place.parent.glob("tasks.db*"))
    shm = place.with_name("tasks.db-shm").stat().st_size
    assert left - shm <= 2 * empty
    assert list((place.parent / "blobs").iterdir()) == []


def test_the_cleaner_runs_at_its_start_and_again(kept: TaskFixture) -> None:
    for _ in range(2):
        kept.ended()
    kept.clock.now += 301
    cleaned = iter_event(kept)
    kept.cleaner._interval = 0.01
    kept.cleaner.start()
    try:
        cleaned()
        kept.ended()
        kept.clock.now += 301
        cleaned()
    finally:
        kept.cleaner.stop()


def iter_event(kept: TaskFixture) -> Callable[[], None]:
    """Wait for the next round that forgot something."""
    done = threading.Semaphore(0)
    kept.cleaner.on_change.append(done.release)

    def wait() -> None:
        assert done.acquire(timeout=60), "nothing was cleaned"

    return wait


def test_the_cleaner_outlives_trouble(kept: TaskFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    unhealthy_reasons: list[Exception] = [RuntimeError("a mistake"), StorageUnavailable("Full.", 5)]
    whole = kept.cleaner._evict
    outlived = threading.Event()

    def evict() -> int:
        if unhealthy_reasons:
            raise unhealthy_reasons.pop()
        outlived.set()
        return whole()

    monkeypatch.setattr(kept.cleaner, "_evict", evict)
    kept.cleaner._interval = 0.01
    kept.ended()
    kept.clock.now += 301
    done = iter_event(kept)
    kept.cleaner.start()
    try:
        kept.ended()
        assert outlived.wait(60)
        kept.clock.now += 301
        done()
    finally:
        kept.cleaner.stop()


# Queries


Plan = list[str]


def plans(kept: TaskFixture, call: Callable[[], object]) -> dict[str, Plan]:
    """What SQLite does for each statement that `call` makes."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            seen.append((statement, parameters))

    event.listen(kept.database.engine, "before_cursor_execute", note)
    call()
    event.remove(kept.database.engine, "before_cursor_execute", note)
    found = {}
    with kept.database.read() as connection:
        for statement, parameters in seen:
            one = parameters[0] if isinstance(parameters, list) else parameters
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", one).all()
            found[statement] = [str(row[-1]) for row in rows]
    assert found
    return found


def test_no_query_grows_with_what_is_kept(kept: TaskFixture) -> None:
    """Every table that grows is searched by an index; none is read as a whole, none is sorted."""
    task = kept.submit(5, callback_url="https://example.org", idempotency_key="k")
    low = kept.submit(5, priority="low")
    finish = kept.queue.finish
    calls: dict[str, Callable[[], object]] = {
        "submit": lambda: kept.submit(idempotency_key="k2"),
        "get": lambda: kept.store.get(task.id),
        "changes": lambda: kept.store.changes(1),
        "positions": kept.store.positions,
        "claim": lambda: kept.claim(3),
        "beat": lambda: kept.queue.heartbeat("w"),
        "finish": lambda: finish("w", [failed(one, retry_in=1) for one in kept.claim(3, "w")]),
        "next_due": kept.queue.next_due,
        "give_back": lambda: kept.queue.give_back("w", kept.claim(3, "w")),
        "recover": lambda: kept.queue.recover("w"),
        "cancel": lambda: kept.store.cancel(low.id),
        "forget": lambda: kept.store.forget(low.id),
        "clean": kept.cleaner._expire,
    }
    for name, call in calls.items():
        for statement, plan in plans(kept, call).items():
            for step in plan:
                table = step.removeprefix("SCAN ").split()[0]
                grows = step.startswith("SCAN") and table in {"tasks", "images", "tombstones"}
                assert not grows, f"{name}: {step}\n{statement}"
                sorts = name in {"claim", "changes"} and "TEMP B-TREE" in step
                assert not sorts, f"{name}: {step}\n{statement}"


def test_a_task_is_read_with_two_queries(kept: TaskFixture) -> None:
    task = kept.submit(100)
    assert len(plans(kept, lambda: kept.store.get(task.id))) == 2


# Kills


def check(kept: TaskFixture, ids: set[str]) -> None:
    """Every task that was taken is there as a whole, and can be done."""
    while kept.queue.recover("w") or kept.work(20):
        pass
    for task_id in ids:
        task = kept.store.get(task_id)
        assert task.status == "completed"
        assert len(task.images) == 3
        assert all(image.status in ENDED for image in task.images)
        for image in task.images:
            assert image.result == {"task": task_id, "index": image.index}
            assert kept.blobs.read(f"{task_id}/{image.index}")
    known = {row[0] for row in _rows(kept, select(images.c.task_id).distinct())}
    assert known == {row[0] for row in _rows(kept, select(schema.tasks.c.id))}


def _rows(kept: TaskFixture, query: Any) -> list[Any]:
    with kept.database.read() as connection:
        return list(connection.execute(query).all())


def kill_some(kept: TaskFixture, where: Path | str, blobs: Path, times: int) -> None:
    ids: set[str] = set()
    chance = random.Random(1)
    for _ in range(times):
        child = task_process.start("toil", where, blobs)
        task_process.go(child)
        ids.add(task_process.output(child).readline().strip())
        time.sleep(chance.uniform(0, 0.15))
        child.kill()
        said, _errors = child.communicate(timeout=60)
        ids |= {line for line in said.splitlines() if len(line) == 32}
        check(kept, ids)


@pytest.mark.parametrize("kind", ["file", "postgres"])
def test_a_process_that_is_killed_loses_nothing(
    kind: str, tmp_path: Path, place: Path, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue("postgres_address") if kind == "postgres" else None
    with open_tasks(kind, tmp_path, address) as kept:
        kill_some(kept, address or place, place.parent / "blobs", 3 if kind == "file" else 1)
        if kind == "file":
            assert _rows(kept, text("PRAGMA integrity_check")) == [("ok",)]


@pytest.mark.soak
def test_a_process_that_is_killed_200_times_loses_nothing(tmp_path: Path, place: Path) -> None:
    with open_tasks("file", tmp_path) as kept:
        kill_some(kept, place, place.parent / "blobs", 200)
        assert _rows(kept, text("PRAGMA integrity_check")) == [("ok",)]
