"""What tasks promise wherever they are kept: a file, memory, PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sightline.errors import (
    BodyTooLarge,
    Conflict,
    ExpiredTask,
    NotEnded,
    Overloaded,
    StorageUnavailable,
    UnknownTask,
    WrongFileCount,
)
from sightline.storage.blobs import BlobFolder
from sightline.tasks.task import Backlog, Failure, NewImage, Outcome
from support.task_fixture import PICTURE, TTL, TaskFixture, answer, failed

if TYPE_CHECKING:
    from sqlalchemy import Connection


def statuses(kept: TaskFixture, task_id: str) -> list[str]:
    return [image.status for image in kept.store.get(task_id).images]


def folders(kept: TaskFixture) -> set[str]:
    return {folder.name for folder in kept.blobs.folders()}


def finish(kept: TaskFixture, *outcomes: Outcome, worker: str = "w") -> None:
    kept.queue.finish(worker, outcomes)


def test_a_task_is_kept_as_it_was_sent(tasks_kept: TaskFixture) -> None:
    given = tasks_kept.new(
        2,
        owner="anna",
        options={"confidence": 0.3, "classes": ["cat", "Hünd"]},
        priority="low",
        model="m",
        digest="sha256:1",
        callback_url="https://example.org/hook",
    )
    images = (given.images[0], NewImage("über\0 \udcff.png", url="https://example.org/1.jpg"))
    task = tasks_kept.store.submit(replace(given, images=images))
    assert task == tasks_kept.store.get(task.id)
    for name in ("id", "owner", "options", "priority", "model", "digest", "callback_url"):
        assert getattr(task, name) == getattr(given, name)
    assert (task.status, task.created) == ("queued", tasks_kept.clock.now)
    assert (task.started, task.ended, task.expires, task.deliveries) == (None, None, None, ())
    first, second = task.images
    assert (first.filename, first.blob, first.size) == ("0.jpg", f"{task.id}/0", len(PICTURE))
    assert (second.filename, second.url) == ("über ?.png", "https://example.org/1.jpg")


def test_a_task_goes_its_way(tasks_kept: TaskFixture) -> None:
    task = tasks_kept.submit(3)
    first, second = tasks_kept.claim(2)
    assert (first.task_id, first.index, first.blob) == (task.id, 0, f"{task.id}/0")
    assert statuses(tasks_kept, task.id) == ["processing", "processing", "queued"]
    begun = tasks_kept.store.get(task.id)
    assert (begun.status, begun.started, begun.done) == ("processing", tasks_kept.clock.now, 0)
    tasks_kept.clock.now += 5
    finish(tasks_kept, Outcome(first, {"count": 1}), failed(second))
    under_way = tasks_kept.store.get(task.id)
    assert (under_way.status, under_way.done, under_way.failed) == ("processing", 2, 1)
    assert under_way.images[0].result == {"count": 1}
    assert under_way.images[1].failure == Failure("BrokenImage", "It is damaged.")
    tasks_kept.work()
    ended = tasks_kept.store.get(task.id)
    assert (ended.status, ended.ended) == ("completed", tasks_kept.clock.now)
    assert ended.expires == tasks_kept.clock.now + TTL
    assert task.version < begun.version < under_way.version < ended.version
    assert [image.attempts for image in ended.images] == [1, 1, 1]


def test_a_task_whose_images_all_fail_is_an_error(tasks_kept: TaskFixture) -> None:
    task = tasks_kept.submit(2)
    finish(tasks_kept, *(failed(claim) for claim in tasks_kept.claim(2)))
    assert tasks_kept.store.get(task.id).status == "error"


def test_images_that_failed_before_are_not_run(tasks_kept: TaskFixture) -> None:
    task = tasks_kept.new(2)
    broken = NewImage("b.txt", failure=Failure("UnsupportedImage", "Not a picture."))
    mixed = tasks_kept.store.submit(replace(task, images=(broken, task.images[1])))
    assert statuses(tasks_kept, mixed.id) == ["error", "queued"]
    assert [claim.index for claim in tasks_kept.work(5)] == [1]
    assert tasks_kept.store.get(mixed.id).status == "completed"
    dead = tasks_kept.store.submit(replace(tasks_kept.new(0), images=(broken, broken)))
    assert (dead.status, dead.ended) == ("error", tasks_kept.clock.now)
    assert tasks_kept.claim() == []


def test_a_failure_that_may_pass_is_tried_again_later(tasks_kept: TaskFixture) -> None:
    task = tasks_kept.submit()
    assert tasks_kept.queue.next_due() is None
    finish(tasks_kept, failed(tasks_kept.claim()[0], retry_in=4.0))
    assert tasks_kept.claim() == []
    assert tasks_kept.queue.next_due() == tasks_kept.clock.now + 4
    tasks_kept.clock.now += 4
    claim = tasks_kept.claim()[0]
    assert (claim.attempts, tasks_kept.queue.next_due()) == (1, None)
    finish(tasks_kept, failed(claim, retry_in=0, counts=False))
    assert tasks_kept.claim()[0].attempts == 1
    image = tasks_kept.store.get(task.id).images[0]
    assert (image.status, image.failure) == ("processing", None)


def test_images_to_fetch_may_be_left_out(tasks_kept: TaskFixture) -> None:
    task = tasks_kept.new(2)
    far = NewImage("1", url="https://example.org/1.jpg")
    tasks_kept.store.submit(replace(task, images=(far, task.images[1])))
    assert [one.index for one in tasks_kept.queue.claim("w", 5, idle=True, addresses=False)] == [1]
    assert [one.index for one in tasks_kept.claim(5)] == [0]


def test_what_is_given_back_is_next_again(tasks_kept: TaskFixture) -> None:
    tasks_kept.submit(2)
    claims = tasks_kept.claim(1)
    tasks_kept.queue.give_back("w", claims)
    again = tasks_kept.claim(1)
    assert (again[0].index, again[0].attempts, again[0].quarantined) == (0, 0, False)


def test_a_worker_that_beats_keeps_what_it_holds(tasks_kept: TaskFixture) -> None:
    tasks_kept.submit()
    tasks_kept.claim(worker="a")
    for _ in range(3):
        tasks_kept.clock.now += 20
        tasks_kept.queue.heartbeat("a")
        assert tasks_kept.queue.recover(None) == 0


def test_a_late_outcome_is_dropped(tasks_kept: TaskFixture) -> None:
    task = tasks_kept.submit()
    late = tasks_kept.claim(worker="a")[0]
    tasks_kept.clock.now += 31
    assert tasks_kept.queue.recover(None) == 1
    finish(tasks_kept, Outcome(late, {"late": True}), worker="a")
    assert (tasks_kept.queue.dropped, statuses(tasks_kept, task.id)) == (1, ["queued"])
    tasks_kept.work(worker="b")
    finish(tasks_kept, failed(late), worker="a")
    assert tasks_kept.queue.dropped == 2
    assert tasks_kept.store.get(task.id).images[0].result == answer(late)


def test_who_dies_of_an_image_alone_condemns_it_the_second_time(tasks_kept: TaskFixture) -> None:
    task = tasks_kept.submit(5)
    tasks_kept.claim(4)
    assert tasks_kept.queue.recover("w") == 4
    tasks_kept.submit(priority="high")  # comes in between, and waits for nothing
    assert [claim.quarantined for claim in tasks_kept.work(5)] == [False]
    for _ in range(2):
        assert tasks_kept.claim(5, idle=False) == [], "others beside a quarantined image"
        alone = tasks_kept.claim(5)
        assert [(claim.index, claim.quarantined) for claim in alone] == [(0, True)]
        assert tasks_kept.claim(5) == [], "others beside a quarantined image"
        assert tasks_kept.queue.recover("w") == 1
    condemned = tasks_kept.store.get(task.id).images[0]
    assert condemned.status == "error"
    assert condemned.failure is not None
    assert condemned.failure.error == "PoisonImage"
    while tasks_kept.work(5):
        pass
    ended = tasks_kept.store.get(task.id)
    assert [image.status for image in ended.images] == ["error"] + 4 * ["completed"]
    assert ended.status == "completed"


def test_the_death_of_another_worker_harms_nobody(tasks_kept: TaskFixture) -> None:
    tasks_kept.submit(2)
    mine = tasks_kept.claim(worker="a")
    tasks_kept.claim(worker="b")
    assert tasks_kept.queue.recover("b") == 1
    finish(tasks_kept, Outcome(mine[0], {}), worker="a")
    assert tasks_kept.queue.dropped == 0


def test_cancelled_images_never_run(tasks_kept: TaskFixture) -> None:
    task = tasks_kept.submit(4)
    done, held = tasks_kept.claim(2)
    finish(tasks_kept, Outcome(done, {}))
    ended = tasks_kept.store.cancel(task.id)
    assert (ended.status, ended.expires) == ("cancelled", tasks_kept.clock.now + TTL)
    assert statuses(tasks_kept, task.id) == ["completed"] + 3 * ["cancelled"]
    assert tasks_kept.claim() == []
    finish(tasks_kept, Outcome(held, {}))
    assert (tasks_kept.queue.dropped, tasks_kept.store.get(task.id)) == (1, ended)
    assert tasks_kept.store.cancel(task.id) == ended


def test_failed_images_are_tried_again_when_asked(tasks_kept: TaskFixture) -> None:
    broken = NewImage("b", failure=Failure("UnsupportedImage", "Not a picture."))
    new = tasks_kept.new(2)
    task = tasks_kept.store.submit(replace(new, images=(*new.images, broken)))
    good, bad = tasks_kept.claim(2)
    finish(tasks_kept, Outcome(good, {}), failed(bad))
    again = tasks_kept.store.retry(task.id)
    assert (again.status, again.ended, again.expires) == ("queued", None, None)
    assert [image.status for image in again.images] == ["completed", "queued", "error"]
    assert (again.images[1].attempts, again.images[1].failure) == (0, None)
    assert [claim.index for claim in tasks_kept.work(5)] == [1]
    ended = tasks_kept.store.get(task.id)
    assert (ended.status, ended.failed) == ("completed", 1)
    assert tasks_kept.store.retry(task.id) == ended, "nothing left that could be run"


def test_who_is_forgotten_is_known_to_have_been(tasks_kept: TaskFixture) -> None:
    task = tasks_kept.submit()
    with pytest.raises(NotEnded, match="has not ended"):
        tasks_kept.store.forget(task.id)
    tasks_kept.store.cancel(task.id)
    since = tasks_kept.store.changes(0).sequence
    tasks_kept.store.forget(task.id)
    assert tasks_kept.store.changes(since).tasks == (task.id,)
    assert folders(tasks_kept) == set()
    for call in _calls(tasks_kept):
        with pytest.raises(ExpiredTask):
            call(task.id)
        with pytest.raises(UnknownTask):
            call("0" * 32)


def _calls(kept: TaskFixture) -> list[Callable[[str], object]]:
    return [kept.store.get, kept.store.cancel, kept.store.forget, kept.store.retry]


def test_the_same_key_gives_the_same_task(tasks_kept: TaskFixture) -> None:
    first = tasks_kept.submit(idempotency_key="k", fingerprint="a")
    assert tasks_kept.submit(idempotency_key="k", fingerprint="a").id == first.id
    with pytest.raises(Conflict):
        tasks_kept.submit(idempotency_key="k", fingerprint="b")
    assert folders(tasks_kept) == {first.id}
    other = tasks_kept.submit(idempotency_key="k", fingerprint="b", owner="somebody")
    assert other.id != first.id
    tasks_kept.work(2)
    tasks_kept.clock.now += TTL
    later = tasks_kept.submit(idempotency_key="k", fingerprint="b")
    assert later.id != first.id, "its time was over"


def test_the_same_key_at_once_gives_one_task(tasks_kept: TaskFixture) -> None:
    new = [tasks_kept.new(idempotency_key="k", fingerprint="a") for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        ids = {task.id for task in pool.map(tasks_kept.store.submit, new)}
    assert len(ids) == 1
    assert folders(tasks_kept) == ids
    assert tasks_kept.store.glance().images_waiting == 1


def test_more_than_may_wait_is_refused(tasks_kept: TaskFixture) -> None:
    tasks_kept.store._limits = Backlog(3, 1000)
    task = tasks_kept.submit(2)
    with pytest.raises(Overloaded, match=r"2 pictures .* at most 3"):
        tasks_kept.submit(2)
    assert folders(tasks_kept) == {task.id}
    finish(tasks_kept, *(failed(claim) for claim in tasks_kept.claim(2)))
    tasks_kept.submit(1)
    tasks_kept.store._limits = Backlog(1000, 2 * len(PICTURE))
    with pytest.raises(Overloaded):
        tasks_kept.submit(2)
    with pytest.raises(Overloaded):
        tasks_kept.store.retry(task.id)
    tasks_kept.submit(1)


def test_the_backlog_is_bounded_when_many_come_at_once(tasks_kept: TaskFixture) -> None:
    tasks_kept.store._limits = Backlog(10, 2**30)

    def submit(_: int) -> bool:
        try:
            tasks_kept.submit(3)
        except Overloaded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        taken = sum(pool.map(submit, range(8)))
    assert taken == 3
    assert tasks_kept.store.glance().images_waiting == 9


def test_changes_are_told_once(tasks_kept: TaskFixture) -> None:
    heard: list[int] = []
    tasks_kept.store.on_change.append(lambda: heard.append(1))
    tasks_kept.queue.on_change.append(lambda: heard.append(2))
    one, two = tasks_kept.submit(), tasks_kept.submit()
    seen = tasks_kept.store.changes(0)
    assert set(seen.tasks) == {one.id, two.id}
    assert tasks_kept.store.changes(seen.sequence).tasks == ()
    tasks_kept.claim()
    after = tasks_kept.store.changes(seen.sequence)
    assert after.tasks == (one.id,)
    tasks_kept.store.cancel(two.id)
    assert tasks_kept.store.changes(after.sequence).tasks == (two.id,)
    tasks_kept.claim()
    assert heard == [1, 1, 2, 1]


def test_the_queue_at_a_glance(tasks_kept: TaskFixture) -> None:
    tasks_kept.ended(2)
    task = tasks_kept.submit(3)
    high = tasks_kept.submit(priority="high")
    glance = tasks_kept.store.glance()
    assert glance.statuses == {"completed": 1, "queued": 2}
    assert glance.priorities == {"normal": 2, "high": 1}
    assert (glance.images_waiting, glance.bytes_waiting) == (4, 4 * len(PICTURE))
    assert glance.ids[:2] == (high.id, task.id)


def test_the_places_in_the_queue(tasks_kept: TaskFixture) -> None:
    long, short = tasks_kept.submit(50), tasks_kept.submit()
    last = tasks_kept.submit()
    assert tasks_kept.store.positions() == {long.id: 0, short.id: 1, last.id: 2}
    tasks_kept.work(2)
    assert tasks_kept.store.positions() == {last.id: 0, long.id: 1}
    high, low = tasks_kept.submit(priority="high"), tasks_kept.submit(priority="low")
    # Before the low one: 1 high, 8 / 2 normal.
    assert tasks_kept.store.positions() == {high.id: 0, last.id: 1, long.id: 2, low.id: 5}


def test_one_image_is_not_stuck_behind_a_hundred(tasks_kept: TaskFixture) -> None:
    tasks_kept.submit(100)
    tasks_kept.work(3)
    short = tasks_kept.submit()
    order = [tasks_kept.work()[0].task_id for _ in range(10)]
    assert short.id in order[:2]


def test_high_is_next_whatever_waits(tasks_kept: TaskFixture) -> None:
    for _ in range(30):
        tasks_kept.submit()
    tasks_kept.submit(50, priority="low")
    tasks_kept.work(7)
    high = tasks_kept.submit(priority="high")
    assert tasks_kept.work()[0].task_id == high.id


def test_low_advances_under_constant_high(tasks_kept: TaskFixture) -> None:
    low = tasks_kept.submit(2, priority="low")
    for _ in range(20):
        tasks_kept.submit(priority="high")
        tasks_kept.work()
    assert statuses(tasks_kept, low.id) == ["completed", "completed"]


def test_no_image_is_claimed_twice(tasks_kept: TaskFixture) -> None:
    ids = {tasks_kept.submit(20).id for _ in range(3)}

    def work(name: str) -> list[tuple[str, int]]:
        mine = []
        while claims := tasks_kept.work(3, name):
            mine += [(claim.task_id, claim.index) for claim in claims]
        return mine

    with ThreadPoolExecutor(4) as pool:
        worked = [key for part in pool.map(work, "abcd") for key in part]
    assert sorted(worked) == sorted((task_id, i) for task_id in ids for i in range(20))
    for task_id in ids:
        task = tasks_kept.store.get(task_id)
        assert task.status == "completed"
        expected = [{"task": task_id, "index": i} for i in range(20)]
        assert [image.result for image in task.images] == expected


def test_cleaning_removes_what_is_over(tasks_kept: TaskFixture) -> None:
    old = tasks_kept.ended(3, callback_url="https://example.org/")
    tasks_kept.clock.now += 100
    fresh, waiting = tasks_kept.ended(), tasks_kept.submit()
    tasks_kept.clock.now += 200
    with pytest.raises(ExpiredTask):
        tasks_kept.store.get(old.id)
    cleaned = tasks_kept.cleaner.clean()
    assert cleaned is not None
    assert (cleaned.expired, cleaned.evicted, cleaned.orphans) == (1, 0, 0)
    assert folders(tasks_kept) == {fresh.id, waiting.id}
    assert tasks_kept.store.get(fresh.id) == fresh
    with pytest.raises(ExpiredTask, match="Upload the pictures again"):
        tasks_kept.store.get(old.id)
    tasks_kept.clock.now += 86_401
    tasks_kept.cleaner.clean()
    with pytest.raises(UnknownTask):
        tasks_kept.store.get(old.id)


def test_what_is_too_much_for_the_disk_goes_oldest_first(tasks_kept: TaskFixture) -> None:
    ended = []
    for _ in range(4):
        tasks_kept.clock.now += 1
        ended.append(tasks_kept.ended(2))
    waiting = tasks_kept.submit(10)
    tasks_kept.cleaner._max_bytes = 5 * len(PICTURE)
    heard: list[int] = []
    tasks_kept.cleaner.on_change.append(lambda: heard.append(1))
    since = tasks_kept.store.changes(0).sequence
    cleaned = tasks_kept.cleaner.clean()
    assert cleaned is not None
    assert (cleaned.expired, cleaned.evicted) == (0, 2)
    assert folders(tasks_kept) == {ended[2].id, ended[3].id, waiting.id}
    assert set(tasks_kept.store.changes(since).tasks) == {ended[0].id, ended[1].id}
    assert heard == [1]


def test_a_task_that_is_retried_in_this_moment_is_not_removed(
    tasks_kept: TaskFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = tasks_kept.submit()
    (claim,) = tasks_kept.claim()
    tasks_kept.queue.finish("w", [failed(claim)])
    tasks_kept.cleaner._max_bytes = 0
    look, write = tasks_kept.blobs.folders, tasks_kept.database.write

    def after_a_retry() -> Any:
        monkeypatch.undo()
        tasks_kept.store.retry(task.id)
        return write()

    def look_once() -> list[BlobFolder]:
        monkeypatch.setattr(tasks_kept.database, "write", after_a_retry)
        return look()

    monkeypatch.setattr(tasks_kept.blobs, "folders", look_once)
    tasks_kept.cleaner.clean()
    assert tasks_kept.store.get(task.id).status == "queued"
    assert tasks_kept.blobs.read(f"{task.id}/0") == PICTURE


def test_a_full_disk_gets_room_from_what_is_over(
    tasks_kept: TaskFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tasks_kept.ended()
    tasks_kept.clock.now += TTL + 31
    fresh = tasks_kept.ended()

    def full() -> Any:
        raise StorageUnavailable("There is no room left on the disk.", 5)

    monkeypatch.setattr(tasks_kept.database, "write", full)
    with pytest.raises(StorageUnavailable):
        tasks_kept.cleaner.clean()
    assert folders(tasks_kept) == {fresh.id}
    monkeypatch.undo()
    cleaned = tasks_kept.cleaner.clean()
    assert cleaned is not None
    assert cleaned.expired == 1
    with pytest.raises(ExpiredTask):
        tasks_kept.store.get(old.id)


def test_what_could_never_be_kept_is_no_matter_of_time(tasks_kept: TaskFixture) -> None:
    tasks_kept.store._limits = Backlog(3, 2 * len(PICTURE))
    with pytest.raises(WrongFileCount):
        tasks_kept.submit(4)
    with pytest.raises(BodyTooLarge, match="SIGHTLINE_MAX_BACKLOG_MB"):
        tasks_kept.submit(3)
    assert not folders(tasks_kept)
    assert tasks_kept.submit(2).status == "queued"


def test_one_cleans_at_a_time(tasks_kept: TaskFixture) -> None:
    assert tasks_kept.cleaner._take_lease()
    assert tasks_kept.cleaner.clean() is None
    tasks_kept.clock.now += 121  # whoever held it was killed
    assert tasks_kept.cleaner.clean() is not None
    assert tasks_kept.cleaner.clean() is not None


def test_blobs_that_nobody_knows_are_removed_in_time(
    tasks_kept: TaskFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, dead = tasks_kept.ended(), tasks_kept.ended()
    tasks_kept.store.forget(dead.id)
    under_way, lost = "a" * 32, "b" * 32
    now = tasks_kept.clock.now
    found = [
        BlobFolder(known.id, 1, now - 7200),
        BlobFolder(dead.id, 1, now),  # written by a worker that did not know
        BlobFolder(under_way, 1, now - 60),
        BlobFolder(lost, 1, now - 3601),
    ]
    for folder in found[1:]:
        tasks_kept.blob(f"{folder.name}/0")
    monkeypatch.setattr(tasks_kept.blobs, "folders", lambda: found)
    cleaned = tasks_kept.cleaner.clean()
    assert cleaned is not None
    assert cleaned.orphans == 2
    monkeypatch.undo()
    assert folders(tasks_kept) == {known.id, under_way}


def test_a_task_that_cannot_be_written_leaves_no_blobs(
    tasks_kept: TaskFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageUnavailable("The disk is full.", 5)

    with monkeypatch.context() as patch:
        patch.setattr("sightline.tasks.admission.add", full)
        with pytest.raises(StorageUnavailable):
            tasks_kept.submit(2)
        patch.setattr(tasks_kept.blobs, "commit", full)
        with pytest.raises(StorageUnavailable):
            tasks_kept.submit(2)
    assert folders(tasks_kept) == set()
    assert tasks_kept.store.changes(0).tasks == ()


def test_a_task_counts_once_it_is_written_whatever_was_heard_of_it(
    tasks_kept: TaskFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tasks_kept.database.write

    @contextmanager
    def breaks_after() -> Iterator[Connection]:
        with whole() as connection:
            yield connection
        monkeypatch.undo()
        raise StorageUnavailable("The connection broke.", 5)

    @contextmanager
    def breaks_before() -> Iterator[Connection]:
        with whole() as connection:
            yield connection
            monkeypatch.undo()
            raise StorageUnavailable("The connection broke.", 5)

    new = tasks_kept.new()
    monkeypatch.setattr(tasks_kept.database, "write", breaks_after)
    assert tasks_kept.store.submit(new) == tasks_kept.store.get(new.id)
    monkeypatch.setattr(tasks_kept.database, "write", breaks_before)
    with pytest.raises(StorageUnavailable):
        tasks_kept.submit()
    assert folders(tasks_kept) == {new.id}


def test_what_no_task_can_be_called_is_unknown(tasks_kept: TaskFixture) -> None:
    for name in ("", "\0", "a\0b", "\udcff", "a" * 10_000, "../..", "'; DROP TABLE tasks"):
        with pytest.raises(UnknownTask):
            tasks_kept.store.get(name)


def test_what_is_put_off_does_not_wait_for_a_clock_that_was_set_back(
    tasks_kept: TaskFixture,
) -> None:
    tasks_kept.submit(1)
    (claim,) = tasks_kept.claim()
    tasks_kept.queue.finish("w", [failed(claim, retry_in=60.0)])
    assert not tasks_kept.claim(), "it is put off"
    tasks_kept.clock.now -= 1
    assert tasks_kept.claim(), "nothing is put off for longer than a minute"
