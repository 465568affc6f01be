"""One reader a process tells everybody who waits for a task."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sightline.api.tasks.representation import Representations
from sightline.errors import ExpiredTask, StorageUnavailable, UnknownTask
from sightline.settings import load_settings
from sightline.tasks.changes import ChangeFeed
from sightline.tasks.queue import TaskQueue
from sightline.tasks.services import TaskServices
from sightline.tasks.store import RESULT_TTL, TaskStore
from sightline.tasks.task import Failure, Outcome, Task
from sightline.wiring.tasks import open_tasks
from support.tasks import picture, submit

LONG = 60.0  # seconds; nothing here takes nearly as long


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[TaskServices]:
    opened = open_tasks(load_settings(engine="fake", data_dir=tmp_path))
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _told_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sleeps on `_wake` is woken when somebody begins to wait for a task."""
    keep = ChangeFeed._keep_waiting

    def keep_and_tell(self: ChangeFeed, *args: Any) -> None:
        keep(self, *args)
        self._wake.notify_all()

    monkeypatch.setattr(ChangeFeed, "_keep_waiting", keep_and_tell)


async def until_they_wait(changes: ChangeFeed, task_id: str, readers: int = 1) -> None:
    """Return once so many readers have been told nothing new, and wait on."""

    def they_wait() -> bool:
        return len(changes._waiting.get(task_id, ())) >= readers

    def sleep() -> bool:
        with changes._wake:
            return changes._wake.wait_for(they_wait, LONG)

    assert await asyncio.to_thread(sleep)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the database is asked what."""
    counted = Counter[str]()
    for name in ("get", "changes"):
        original = getattr(TaskStore, name)

        def count(self: TaskStore, *args: Any, name: str = name, original: Any = original) -> Any:
            counted[name] += 1
            return original(self, *args)

        monkeypatch.setattr(TaskStore, name, count)
    return counted


def test_a_change_of_this_process_is_told_at_once(desk: TaskServices) -> None:
    async def run() -> None:
        task = await desk.changes.get(submit(desk, [picture(0)]))
        waiting = asyncio.create_task(desk.changes.wait(task.id, task.version, LONG))
        await until_they_wait(desk.changes, task.id)
        assert not waiting.done()
        await asyncio.to_thread(desk.store.cancel, task.id)
        assert (await waiting).status == "cancelled"
        assert (await desk.changes.get(task.id)).status == "cancelled"

    asyncio.run(run())


def test_a_change_of_another_process_is_told_too(desk: TaskServices, tmp_path: Path) -> None:
    other = open_tasks(load_settings(engine="fake", data_dir=tmp_path))

    async def run() -> None:
        task = await desk.changes.get(submit(desk, [picture(0)]))
        waiting = asyncio.create_task(desk.changes.wait(task.id, task.version, LONG))
        await until_they_wait(desk.changes, task.id)
        await asyncio.to_thread(other.store.cancel, task.id)
        # Nobody is told less than another was told before.
        assert (await desk.changes.get(task.id)).status == "cancelled"
        assert (await waiting).status == "cancelled"

    asyncio.run(run())
    other.close()


def test_who_waits_too_long_gets_the_task_as_it_is(desk: TaskServices) -> None:
    async def run() -> None:
        task = await desk.changes.get(submit(desk, [picture(0)]))
        assert await desk.changes.wait(task.id, task.version, 0.05) == task
        assert await desk.changes.wait(task.id, task.version - 1, LONG) == task

    asyncio.run(run())
    assert not desk.changes._waiting


def test_the_database_does_not_feel_how_many_wait(
    desk: TaskServices, asked: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.tasks.changes._LOOK_EVERY", LONG)

    async def run(readers: int) -> Counter[str]:
        task = await desk.changes.get(submit(desk, [picture(n) for n in range(20)]))
        waiting = [
            asyncio.create_task(desk.changes.wait(task.id, task.version, LONG))
            for _ in range(readers)
        ]
        await until_they_wait(desk.changes, task.id, readers)
        asked.clear()
        for _ in range(3):
            with desk.changes._wake:  # nobody looks before all have asked
                together = asyncio.gather(*map(ask, [task.id] * readers))
                await asyncio.sleep(0)
            assert {one.version for one in await together}
        await asyncio.to_thread(desk.store.cancel, task.id)
        assert {one.status for one in await asyncio.gather(*waiting)} == {"cancelled"}
        return asked.copy()

    async def ask(task_id: str) -> Any:
        return await desk.changes.get(task_id)

    few, many = asyncio.run(run(2)), asyncio.run(run(400))
    assert many["get"] == few["get"] == 1  # of what it has become
    assert many["changes"] == few["changes"] == 4


def test_nobody_asks_the_database_while_nobody_waits(
    desk: TaskServices, asked: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, resting = desk.changes, threading.Event()
    wait_for = changes._wake.wait_for

    def noted(holds: Any, timeout: float | None = None) -> bool:
        if threading.current_thread() is changes._thread:
            (resting.set if timeout is None else resting.clear)()
        return bool(wait_for(holds, timeout))

    monkeypatch.setattr(changes._wake, "wait_for", noted)
    monkeypatch.setattr("sightline.tasks.changes._LOOK_EVERY", 0.01)

    async def run() -> None:
        task = await changes.get(submit(desk, [picture(0)]))
        waiting = asyncio.create_task(changes.wait(task.id, task.version, LONG))
        await until_they_wait(changes, task.id)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await asyncio.to_thread(resting.wait, LONG)
        before = asked["changes"]
        await asyncio.to_thread(desk.store.cancel, task.id)  # it need not know
        assert (await changes.get(task.id)).status == "cancelled"
        assert asked["changes"] == before + 1

    asyncio.run(run())
    assert not changes._waiting


def test_tasks_that_are_not_there(desk: TaskServices) -> None:
    async def run() -> None:
        with pytest.raises(UnknownTask):
            await desk.changes.get(uuid.uuid4().hex)
        task = await desk.changes.get(submit(desk, [picture(0)]))
        waiting = asyncio.create_task(desk.changes.wait(task.id, task.version, LONG))
        await asyncio.to_thread(desk.store.cancel, task.id)
        version = (await waiting).version
        waiting = asyncio.create_task(desk.changes.wait(task.id, version, LONG))
        await until_they_wait(desk.changes, task.id)
        await asyncio.to_thread(desk.store.forget, task.id)
        with pytest.raises(ExpiredTask):
            await waiting
        with pytest.raises(ExpiredTask):
            await desk.changes.get(task.id)

    asyncio.run(run())


def test_what_has_expired_is_told_no_more(
    desk: TaskServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.time()]
    monkeypatch.setattr("sightline.tasks.changes.time", lambda: now[0])
    monkeypatch.setattr(desk.store, "_clock", lambda: now[0])

    async def run() -> None:
        task = await desk.changes.get(submit(desk, [picture(0)]))
        await asyncio.to_thread(desk.store.cancel, task.id)
        assert (await desk.changes.get(task.id)).status == "cancelled"
        now[0] += RESULT_TTL
        with pytest.raises(ExpiredTask):
            await desk.changes.get(task.id)

    asyncio.run(run())


def test_little_is_kept(desk: TaskServices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.tasks.changes._KEPT", 5)

    async def run() -> None:
        for _ in range(4):
            await desk.changes.get(submit(desk, [picture(n) for n in range(3)]))

    asyncio.run(run())
    assert len(desk.changes._tasks) == 1
    assert desk.changes._kept == 3 * 400


LARGE = {"model": "m", "detections": [{"label": "ä", "confidence": 0.5}] * 1000}


def test_a_version_costs_what_changed(desk: TaskServices) -> None:
    """Answers are read once, and written as they are kept, on another thread than the loop's."""
    queue = TaskQueue(desk.database)
    queue.on_change.append(desk.changes.committed)
    written_by: list[str] = []

    async def run_on_a_thread(write: Any, task: Task) -> bytes:
        def noted(task: Task) -> bytes:
            written_by.append(threading.current_thread().name)
            return bytes(write(task))

        return await asyncio.to_thread(noted, task)

    async def run() -> None:
        states = Representations(run_on_a_thread)
        task_id = submit(desk, [picture(n) for n in range(3)])
        first, second, third = queue.claim("w", 3, idle=True)
        queue.finish("w", [Outcome(first, LARGE)])
        before = await desk.changes.get(task_id)
        queue.finish(
            "w", [Outcome(second, LARGE), Outcome(third, failure=Failure("PoisonImage", "x"))]
        )
        after = await desk.changes.get(task_id)
        assert after.answered == "m"
        assert after.version > before.version
        assert after.images[0].answer is before.images[0].answer, "it is not read again"
        texts = await asyncio.gather(*(states.of(after) for _ in range(5)))
        entries = json.loads(texts[0])["results"]
        assert [entry.get("detections") for entry in entries] == [LARGE["detections"]] * 2 + [None]
        assert entries[2]["error"]["type"] == "urn:sightline:problem:culprit"
        assert len(set(texts)) == 1
        assert len(written_by) == 1, "once, however many ask"
        assert threading.current_thread().name not in written_by

    asyncio.run(run())


def test_a_database_that_is_away_is_told_and_comes_back(
    desk: TaskServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = [StorageUnavailable("It is away.", 5), RuntimeError("a bug")]
    changes = TaskStore.changes

    def fail(self: TaskStore, since: int) -> Any:
        if failing:
            raise failing.pop()
        return changes(self, since)

    async def run() -> None:
        task_id = submit(desk, [picture(0)])
        monkeypatch.setattr(TaskStore, "changes", fail)
        with pytest.raises(StorageUnavailable, match="cannot be read now"):
            await desk.changes.get(task_id)
        with pytest.raises(StorageUnavailable, match="It is away"):
            await desk.changes.get(task_id)
        assert (await desk.changes.get(task_id)).id == task_id

    asyncio.run(run())


def test_whoever_waits_at_the_end_is_told(desk: TaskServices) -> None:
    changes = ChangeFeed(desk.store)

    async def run() -> None:
        task = await changes.get(submit(desk, [picture(0)]))
        waiting = asyncio.create_task(changes.wait(task.id, task.version, LONG))
        await until_they_wait(changes, task.id)
        await asyncio.to_thread(changes.close)
        with pytest.raises(StorageUnavailable, match="stopping"):
            await waiting
        with pytest.raises(StorageUnavailable, match="stopping"):
            await changes.get(task.id)

    asyncio.run(run())
