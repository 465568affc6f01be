"""Tasks are worked on: each image once, in its turn, whatever is wrong with others."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select

from sightline.errors import Overloaded
from sightline.serving.job import Job, LaneName
from sightline.storage.schema import images
from sightline.tasks.queue import LEASE_SECONDS, TaskQueue
from sightline.tasks.task import Claim, Outcome
from support.eventually import eventually
from support.servers import live
from support.tasks import DARKEST, Place, picture, place, require_right
from support.watching import post


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as opened:
        yield opened


def test_every_image_gets_its_own_answer(here: Place) -> None:
    tasks = [here.submit([picture(n, t) for n in range(100)]) for t in range(3)]
    for number, task_id in enumerate(tasks):
        require_right(here.ended(task_id), number)


def test_a_broken_image_fails_alone_and_at_once(here: Place) -> None:
    task = here.ended(here.submit([picture(0), b"no picture at all", picture(2)], confidence=0.1))
    assert [image.status for image in task.images] == ["completed", "error", "completed"]
    assert task.status == "completed"
    failure = task.images[1].failure
    assert failure is not None
    assert failure.error == "UnsupportedImage"
    assert task.images[1].attempts == 1


def test_memory_alone_will_do() -> None:
    with place(":memory:") as here:
        require_right(here.ended(here.submit([picture(n) for n in range(10)])))
    assert not Path(":memory:").exists()


class Noted:
    """Notes the level of grey of each picture in each engine call; after so many, it waits."""

    def __init__(self, here: Place, after: int) -> None:
        self.calls: list[list[int]] = []
        self.reached, self.go_on = threading.Event(), threading.Event()
        self._after = after
        here.engine.before_infer = self

    @property
    def levels(self) -> list[int]:
        return [level for call in self.calls for level in call]

    def __call__(self, images: NDArray[np.uint8]) -> None:
        if len(self.levels) >= self._after:
            self.reached.set()
            assert self.go_on.wait(60)
        _, height, width, _ = images.shape
        self.calls.append(images[:, height // 2, width // 2, 0].tolist())


def test_one_image_does_not_wait_for_somebodys_hundred(here: Place) -> None:
    engine = Noted(here, 10)
    many = here.submit([picture(n) for n in range(1, 100)])
    assert engine.reached.wait(60)
    before = len(engine.levels)
    one = here.submit([picture(0, 7)])
    engine.go_on.set()
    require_right(here.ended(one), 7)
    assert here.ended(many).status == "completed"
    # What had been claimed goes first, and few of the others.
    assert engine.levels.index(DARKEST) - before < 10 + here.detector.depth


def test_high_goes_first(here: Place) -> None:
    engine = Noted(here, 12)
    here.submit([picture(n) for n in range(80)])
    assert engine.reached.wait(60)
    high = here.submit([picture(n) for n in range(80, 100)], "high")
    engine.go_on.set()
    here.ended(high)
    is_high = [level >= DARKEST + 80 for level in engine.levels]
    first, last = is_high.index(True), len(is_high) - is_high[::-1].index(True)
    # At 8:4 turns 10 go by while it gets 20; and what had been claimed goes first.
    assert is_high[first:last].count(False) <= 10 + here.detector.depth


def test_what_ends_while_the_engine_has_enough_to_do_is_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    finish = TaskQueue.finish

    def finish_and_count(queue: TaskQueue, worker: str, outcomes: Sequence[Outcome]) -> None:
        written.append(len(outcomes))
        finish(queue, worker, outcomes)

    monkeypatch.setattr(TaskQueue, "finish", finish_and_count)
    with place(tmp_path, max_batch=1) as here:
        here.engine.before_infer = lambda _: time.sleep(0.01)
        require_right(here.ended(here.submit([picture(n) for n in range(100)])))
    assert sum(written) == 100
    assert len(written) <= 60


def test_low_advances_under_constant_high(here: Place) -> None:
    engine = Noted(here, 0)
    high = [here.submit([picture(n) for n in range(4, 44)], "high")]
    assert engine.reached.wait(60)
    low = here.submit([picture(n) for n in range(4)], "low")
    high += [here.submit([picture(n) for n in range(4, 44)], "high") for _ in range(2)]
    engine.go_on.set()
    require_right(here.ended(low))
    for task_id in high:
        here.ended(task_id)
    assert engine.levels[-1] >= DARKEST + 4, "the low ones were not the last"


def test_tasks_do_not_hold_up_pictures_that_somebody_waits_for(here: Place) -> None:
    engine = Noted(here, 0)
    here.submit([picture(n) for n in range(1, 100)])
    ready = here.detector._pipeline._batcher
    for _ in range(5):
        assert engine.reached.wait(60)
        urgent = here.detector.submit(picture(0))
        eventually(
            lambda: any(job.lane == "interactive" for job in list(ready._ready)), "it is decoded"
        )
        held, engine = engine, Noted(here, 4)
        held.go_on.set()
        urgent.result(60)
        assert DARKEST in engine.levels[:4], "it is in the call after the one under way"
    engine.go_on.set()


def test_what_may_pass_is_tried_again(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.tasks.retry_policy._FIRST_PAUSE", 0.05)
    failing = ["once", "twice"]

    def fail(_images: object) -> None:
        if failing:
            raise RuntimeError(failing.pop())

    here.engine.before_infer = fail
    task = here.ended(here.submit([picture(0)]))
    require_right(task)
    assert task.images[0].attempts == 3


def test_what_does_not_pass_ends_after_five_attempts(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.tasks.retry_policy._FIRST_PAUSE", 0.01)

    def fail(_images: object) -> None:
        raise RuntimeError("out of order")

    here.engine.before_infer = fail
    task = here.ended(here.submit([picture(0)]))
    assert task.status == "error"
    assert task.images[0].attempts == 5
    failure = task.images[0].failure
    assert failure is not None
    assert failure.error == "InferenceError"
    assert "out of order" in failure.detail

    here.engine.before_infer = lambda _: None
    here.services.store.retry(task.id)
    here.processing.wake()
    require_right(here.ended(task.id))


def test_a_full_queue_is_nobodys_fault(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.tasks.retry_policy._SHORT_PAUSE", 0.02)
    refusals = iter(range(8))
    put = here.detector._pipeline.put

    def refuse(job: Job, lane: LaneName) -> None:
        if next(refusals, None) is not None:
            raise Overloaded("The queue is full.", 1)
        put(job, lane)

    monkeypatch.setattr(here.detector._pipeline, "put", refuse)
    task = here.ended(here.submit([picture(0)]))
    require_right(task)
    assert task.images[0].attempts == 1


def test_a_worker_that_dies_says_so_and_comes_back(
    here: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sightline.tasks.worker._FIRST_PAUSE", 0.05)
    # It dies again until that is seen, and would rest twice as long each time.
    monkeypatch.setattr("sightline.tasks.worker._LONGEST_PAUSE", 0.05)
    died, seen = threading.Event(), threading.Event()
    claim = TaskQueue.claim

    def die(*args: Any, **options: Any) -> list[Claim]:
        if not died.is_set() or seen.is_set():
            taken = claim(*args, **options)
            if not taken or died.is_set():
                return taken
        died.set()
        raise RuntimeError("a bug, after the claim")

    monkeypatch.setattr(TaskQueue, "claim", die)
    task_id = here.submit([picture(n) for n in range(20)])
    eventually(here.processing.unhealthy_reasons, "it says so")
    eventually(
        lambda: any("a bug, after the claim" in str(record.exc_info) for record in caplog.records),
        "and why",
    )
    seen.set()
    require_right(here.ended(task_id))
    eventually(lambda: not here.processing.unhealthy_reasons(), "and that it is well again")


def test_a_dead_worker_is_seen_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.tasks.worker._FIRST_PAUSE", 0.01)
    monkeypatch.setattr("sightline.tasks.worker._LONGEST_PAUSE", 0.01)
    with live() as running:
        ready = f"{running.url}/health/ready"
        assert httpx.get(ready).status_code == 200
        with monkeypatch.context() as patch:
            patch.setattr(TaskQueue, "claim", None)
            post(running.url, [picture(0)], "while it is dead")
            eventually(lambda: httpx.get(ready).status_code == 503, "it is not ready")
            assert "works on tasks died" in httpx.get(ready).json()["detail"]
        eventually(lambda: httpx.get(ready).status_code == 200, "it is ready again")


def test_leases_are_prolonged_while_work_is_long(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.tasks.worker._HEARTBEAT_EVERY", 0.05)
    monkeypatch.setattr("sightline.tasks.worker._LOOK_EVERY", 0.05)
    now = [time.time()]
    queue = here.processing.worker._queue
    monkeypatch.setattr(queue, "_clock", lambda: now[0])
    release = threading.Event()
    here.engine.before_infer = lambda _: release.wait(60)
    task_id = here.submit([picture(n) for n in range(4)])
    eventually(lambda: counts(here, task_id)["processing"] == 4, "it works")
    for _ in range(3):  # more than twice as long as a lease
        now[0] += 0.9 * LEASE_SECONDS
        eventually(lambda: ends_of_leases(here) == {now[0] + LEASE_SECONDS}, "it is prolonged")
    assert queue.recover(None) == 0
    release.set()
    require_right(here.ended(task_id))


def ends_of_leases(here: Place) -> set[float]:
    with here.services.database.read() as connection:
        return set(connection.execute(select(images.c.lease_until)).scalars())


def test_a_cancelled_task_is_run_no_further(here: Place) -> None:
    engine = Noted(here, 8)
    task_id = here.submit([picture(n) for n in range(100)])
    assert engine.reached.wait(60)
    cancelled = here.services.store.cancel(task_id)
    calls = len(engine.calls)
    other = here.submit([picture(0)])
    engine.go_on.set()
    require_right(here.ended(other))
    assert len(engine.calls) - calls <= here.detector.depth + 2
    assert [image.status for image in here.services.store.get(task_id).images] == [
        image.status for image in cancelled.images
    ]


def test_what_is_not_done_at_the_end_is_given_back(tmp_path: Path) -> None:
    release = threading.Event()
    with place(tmp_path) as here:
        here.engine.before_infer = lambda _: release.wait(60)
        task_id = here.submit([picture(n) for n in range(100)])
        eventually(lambda: counts(here, task_id)["processing"] > 4, "it works")
        here.processing.close()
        release.set()
        assert counts(here, task_id) == {"queued": 100}
        with here.services.database.read() as connection:
            assert not connection.execute(select(images).where(images.c.quarantined)).all()
    with place(tmp_path) as here:
        task = here.ended(task_id)
        require_right(task)
        assert {image.attempts for image in task.images} == {1}


def counts(here: Place, task_id: str) -> Counter[str]:
    return Counter(image.status for image in here.services.store.get(task_id).images)
