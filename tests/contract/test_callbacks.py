"""What callbacks promise wherever they are kept: a file, memory, PostgreSQL."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from sightline.tasks.delivery.outbox import Call, Outbox
from sightline.tasks.task import Delivery
from support.task_fixture import TaskFixture, failed

URL = "https://hooks.example/a"
OTHER = "http://inside.lan:9000/b?c"
LEASE = 30.0
DONE = Delivery(1.0, 204, None)
FAILED = Delivery(1.0, None, "no connection, or it broke")


def outbox(kept: TaskFixture) -> Outbox:
    return Outbox(kept.database, kept.clock, LEASE)


def claimed(kept: TaskFixture, *busy: str) -> Call:
    call = outbox(kept).claim(busy)
    assert call is not None
    return call


def test_a_call_is_due_once_its_task_has_ended(tasks_kept: TaskFixture) -> None:
    task = tasks_kept.submit(2, callback_url=URL)
    (first,) = tasks_kept.work()
    assert first.task_id == task.id
    assert outbox(tasks_kept).next_due() is None
    assert outbox(tasks_kept).claim() is None
    (second,) = tasks_kept.claim()
    tasks_kept.queue.finish("w", [failed(second)])
    assert outbox(tasks_kept).next_due() == 0.0
    assert tasks_kept.store.get(task.id).callback_state == "due"
    call = claimed(tasks_kept)
    assert (call.task_id, call.url, call.host, call.attempts) == (task.id, URL, "hooks.example", ())
    told = json.loads(call.body)
    assert told["type"] == "task.completed"
    assert told["timestamp"] == "2027-01-15T08:00:00Z"
    assert told["data"]["progress"] == {"done": 2, "total": 2, "failed": 1}


def test_no_call_where_none_was_asked_for(tasks_kept: TaskFixture) -> None:
    task = tasks_kept.ended()
    assert outbox(tasks_kept).next_due() is None
    assert tasks_kept.store.get(task.id).callback_state is None


def test_who_claims_has_it_until_the_lease_ends(tasks_kept: TaskFixture) -> None:
    task = tasks_kept.ended(callback_url=URL)
    lost = claimed(tasks_kept)
    assert outbox(tasks_kept).claim() is None
    assert outbox(tasks_kept).next_due() == LEASE
    tasks_kept.clock.now += LEASE
    again = claimed(tasks_kept)
    assert (again.id, again.body) == (lost.id, lost.body)
    assert not outbox(tasks_kept).record(lost, DONE, "delivered")
    assert outbox(tasks_kept).record(again, FAILED, "due", 60)
    assert outbox(tasks_kept).next_due() == 60
    assert tasks_kept.store.get(task.id).deliveries == (FAILED,)


def test_an_attempt_is_a_change_of_its_task(tasks_kept: TaskFixture) -> None:
    task = tasks_kept.ended(callback_url=URL)
    assert outbox(tasks_kept).record(claimed(tasks_kept), FAILED, "due", 5)
    tasks_kept.clock.now += 5
    assert outbox(tasks_kept).record(claimed(tasks_kept), DONE, "delivered")
    now = tasks_kept.store.get(task.id)
    assert now.version > task.version
    assert tasks_kept.store.changes(task.version).tasks == (task.id,)
    assert (now.callback_state, now.deliveries) == ("delivered", (FAILED, DONE))
    tasks_kept.clock.now += 10
    assert outbox(tasks_kept).claim() is None


def test_what_was_not_even_tried_is_no_attempt(tasks_kept: TaskFixture) -> None:
    task = tasks_kept.ended(callback_url=URL)
    assert outbox(tasks_kept).record(claimed(tasks_kept), None, "due", 10)
    assert tasks_kept.store.get(task.id).deliveries == ()
    assert outbox(tasks_kept).next_due() == 10


def test_busy_hosts_are_passed_over(tasks_kept: TaskFixture) -> None:
    tasks_kept.ended(callback_url=URL)
    tasks_kept.clock.now += 1
    tasks_kept.ended(callback_url=OTHER)
    assert claimed(tasks_kept, "hooks.example").url == OTHER
    assert outbox(tasks_kept).next_due(["hooks.example"]) == LEASE
    assert outbox(tasks_kept).claim(["hooks.example"]) is None
    assert claimed(tasks_kept, "inside.lan:9000").url == URL


def test_each_call_is_claimed_once_however_many_ask(tasks_kept: TaskFixture) -> None:
    for _ in range(8):
        tasks_kept.ended(callback_url=URL)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: outbox(tasks_kept).claim(), range(12)))
    ids = [call.id for call in found if call is not None]
    assert len(ids) == len(set(ids)) == 8


def test_a_call_outlives_its_task(tasks_kept: TaskFixture) -> None:
    task = tasks_kept.ended(callback_url=URL)
    tasks_kept.store.forget(task.id)
    call = claimed(tasks_kept)
    assert call.task_id == task.id
    assert outbox(tasks_kept).record(call, DONE, "delivered")


def test_what_is_through_is_swept_a_day_later_and_not_before_its_task(
    tasks_kept: TaskFixture,
) -> None:
    forgotten, kept = (tasks_kept.ended(callback_url=URL) for _ in range(2))
    for _ in range(2):
        outbox(tasks_kept).record(claimed(tasks_kept), DONE, "delivered")
    tasks_kept.ended(callback_url=OTHER)
    tasks_kept.store.forget(forgotten.id)
    tasks_kept.clock.now += 86_000
    assert outbox(tasks_kept).sweep() == 0
    tasks_kept.clock.now += 401
    assert outbox(tasks_kept).sweep() == 1
    tasks_kept.clock.now = kept.created
    assert tasks_kept.store.get(kept.id).callback_state == "delivered"
    assert outbox(tasks_kept).next_due() == 0.0
