"""Callbacks, from the end of a task to a receiver that takes them, whatever happens between."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sightline.errors import StorageUnavailable
from sightline.net.guard import Guard, parse_allowed
from sightline.net.webhooks import CallFailed, Reply, WebhookSender, read_secret
from sightline.storage.blobs import MemoryBlobs
from sightline.storage.database import Database
from sightline.tasks.delivery.outbox import Outbox
from sightline.tasks.delivery.worker import DeliveryWorker
from sightline.tasks.queue import TaskQueue
from sightline.tasks.store import TaskStore
from sightline.tasks.task import Backlog, Delivery, Failure, NewImage, NewTask, Outcome
from support.bad_servers import bad_server, read_request
from support.eventually import eventually
from support.hosts import nobody
from support.receivers import SECRET, receiver, verifier

if TYPE_CHECKING:
    import socket

QUICK = (0.02,) * 200
ONCE = (3600.0,)  # a second attempt is not to come within the test
LEASE = 300.0


@dataclass
class Place:
    """A store, and what calls from it."""

    database: Database
    store: TaskStore
    queue: TaskQueue

    def ended(self, url: str | None, *, failed: bool = False) -> str:
        """The id of a task of one picture that has just ended."""
        task_id = uuid.uuid4().hex
        images = (NewImage("a.jpg", url="https://pictures.example/a.jpg"),)
        self.store.submit(NewTask(task_id, "", images, {}, callback_url=url))
        (claim,) = self.queue.claim("w", 1, idle=True)
        result = None if failed else {"count": 0, "detections": []}
        failure = Failure("BrokenImage", "It is damaged.") if failed else None
        self.queue.finish("w", [Outcome(claim, result, failure)])
        return task_id

    @contextmanager
    def calling(
        self,
        schedule: tuple[float, ...] = QUICK,
        guard: Guard | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Iterator[DeliveryWorker]:
        guard = guard or Guard(parse_allowed("127.0.0.1"))
        caller = WebhookSender(read_secret(SECRET), guard, seconds=60)
        deliveries = DeliveryWorker(Outbox(self.database, clock, LEASE), caller.post, schedule)
        deliveries.start()
        for told in (self.store.on_change, self.queue.on_change):
            told.append(deliveries.wake)
        try:
            yield deliveries
        finally:
            deliveries.stop()

    def state(self, task_id: str) -> str | None:
        return self.store.get(task_id).callback_state

    def attempts(self, task_id: str) -> tuple[Delivery, ...]:
        return self.store.get(task_id).deliveries


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    yield from open_place(tmp_path / "tasks.db")


def open_place(path: Path, ttl: float = 300.0) -> Iterator[Place]:
    database = Database(path)
    store = TaskStore(database, MemoryBlobs(), Backlog(1000, 2**30), ttl=ttl)
    yield Place(database, store, TaskQueue(database, ttl=ttl))
    database.close()


def test_a_receiver_is_told_and_can_verify_it_as_the_docs_say(place: Place) -> None:
    verify = verifier()
    with receiver() as it, place.calling():
        task_id = place.ended(it.url)
        assert it.came.acquire(timeout=60)
        eventually(lambda: place.state(task_id) == "delivered", "the call is noted")
    ((headers, body),) = it.calls
    assert verify(SECRET, headers, body)
    assert not verify("whsec_" + "A" * 32, headers, body)
    assert not verify(SECRET, headers, body + b" ")
    assert not verify(SECRET, {**headers, "webhook-id": "msg_other"}, body)
    late = str(int(headers["webhook-timestamp"]) - 301)
    assert not verify(SECRET, {**headers, "webhook-timestamp": late}, body)
    told = json.loads(body)
    assert told.pop("timestamp").endswith("Z")
    assert told == {
        "type": "task.completed",
        "data": {
            "task_id": task_id,
            "status": "completed",
            "progress": {"done": 1, "total": 1, "failed": 0},
            "result": f"/result/{task_id}",
        },
    }
    assert headers["content-type"] == "application/json"
    assert "." not in headers["webhook-id"]
    (attempt,) = place.attempts(task_id)
    assert (attempt.status, attempt.error) == (204, None)
    assert time.time() - 60 < attempt.at <= time.time()


def test_a_service_below_a_prefix_says_where_it_shows_the_task(place: Place) -> None:
    task_id = place.ended("https://example.com/hook")
    call = Outbox(place.database, root_path="/vision").claim()
    assert call is not None
    assert json.loads(call.body)["data"]["result"] == f"/vision/result/{task_id}"


def test_calls_do_not_wait_for_a_clock_that_was_set_back(place: Place) -> None:
    """What was never tried is due at once; what was, after the longest pause that there is."""
    now = [time.time()]
    outbox = Outbox(place.database, lambda: now[0])
    place.ended("https://one.example/hook")
    now[0] -= 3600
    assert outbox.next_due() == 0
    call = outbox.claim()
    assert call is not None
    outbox.record(call, Delivery(now[0], 500, "answered 500"), "due", 8 * 3600)
    assert outbox.next_due() == pytest.approx(8 * 3600)
    now[0] -= 12 * 3600
    assert outbox.claim() is None, "it may have been put off for so long"
    now[0] -= 12 * 3600
    assert outbox.next_due() == 0
    assert outbox.claim() is not None


def test_one_that_is_down_for_a_while_gets_its_call(place: Place) -> None:
    with nobody() as port, place.calling():
        task_id = place.ended(f"http://127.0.0.1:{port}/hook", failed=True)
        eventually(lambda: len(place.attempts(task_id)) > 2, "it is tried more than once")
        assert place.state(task_id) == "due"
        with receiver(port) as back:
            assert back.came.acquire(timeout=60)
            eventually(lambda: place.state(task_id) == "delivered", "the call is noted")
    *before, last = place.attempts(task_id)
    assert {attempt.error for attempt in before} == {"no connection, or it broke"}
    assert last.status == 204
    (call,) = back.calls
    assert json.loads(call[1])["type"] == "task.error"
    assert verifier()(SECRET, *call)


def test_a_call_outlives_the_results_and_the_process(tmp_path: Path) -> None:
    """The task has expired before anybody could call; what is told was kept."""
    with receiver() as it:
        for place in open_place(tmp_path / "tasks.db", ttl=0.001):
            task_id = place.ended(it.url)
        for place in open_place(tmp_path / "tasks.db"):
            with place.calling():
                assert it.came.acquire(timeout=60)
    assert json.loads(it.calls[0][1])["data"]["task_id"] == task_id


@pytest.mark.parametrize(("status", "state"), [(410, "failed"), (404, "due"), (302, "due")])
def test_what_an_answer_means(place: Place, status: int, state: str) -> None:
    with receiver(status=status) as it, place.calling(ONCE):
        it.headers["Location"] = it.url
        task_id = place.ended(it.url)
        eventually(lambda: place.attempts(task_id), "the attempt is noted")
    assert place.state(task_id) == state
    (attempt,) = place.attempts(task_id)
    assert (attempt.status, attempt.error) == (status, f"answered {status}")
    assert len(it.calls) == 1


def test_attempts_end_with_the_schedule_and_all_have_one_id(place: Place) -> None:
    with receiver(status=500) as it, place.calling((0.01, 0.01)):
        task_id = place.ended(it.url)
        eventually(lambda: place.state(task_id) == "failed", "it is given up")
    assert len(place.attempts(task_id)) == len(it.calls) == 3
    assert len({headers["webhook-id"] for headers, _ in it.calls}) == 1


def test_retry_after_is_heeded(place: Place) -> None:
    with receiver(status=503) as it, place.calling((0.01,)):
        it.headers["Retry-After"] = "3600"
        task_id = place.ended(it.url)
        eventually(lambda: place.attempts(task_id), "the attempt is noted")
        due = Outbox(place.database).next_due()
    assert due is not None
    assert 3000 < due <= 3600


def test_one_that_never_answers_holds_up_nobody_else(place: Place) -> None:
    with receiver(held=True) as slow, receiver() as quick, place.calling():
        stuck = [place.ended(slow.url) for _ in range(6)]
        told = [place.ended(quick.url) for _ in range(3)]
        for task_id in told:
            eventually(lambda one=task_id: place.state(one) == "delivered", "all others are told")  # type: ignore[misc]
        eventually(lambda: len(slow.calls) >= 2, "it is asked twice")
        assert len(slow.calls) == 2, "and no more at once"
        assert all(place.state(task_id) == "due" for task_id in stuck)
        slow.holds.set()
        eventually(lambda: all(place.state(one) == "delivered" for one in stuck), "in the end")


def test_many_callers_make_each_call_once(place: Place) -> None:
    """Two services on one database."""
    with receiver() as it, place.calling(), place.calling(), place.calling():
        told = [place.ended(it.url) for _ in range(12)]
        eventually(lambda: all(place.state(one) == "delivered" for one in told), "all are told")
    assert len(it.calls) == 12
    assert len({headers["webhook-id"] for headers, _ in it.calls}) == 12


DOOMED = """
import sys, threading
from sightline.errors import StorageUnavailable
from sightline.net.guard import Guard, parse_allowed
from sightline.net.webhooks import WebhookSender, read_secret
from sightline.storage.database import Database
from sightline.tasks.delivery.worker import DeliveryWorker
from sightline.tasks.delivery.outbox import Outbox
from pathlib import Path
caller = WebhookSender(read_secret(sys.argv[2]), Guard(parse_allowed("127.0.0.1")))
DeliveryWorker(Outbox(Database(Path(sys.argv[1])), lease=300.0), caller.post).start()
threading.Event().wait(60)
"""


def test_a_process_killed_in_the_middle_of_a_call(place: Place, tmp_path: Path) -> None:
    with receiver(held=True) as it:
        task_id = place.ended(it.url)
        command = [sys.executable, "-c", DOOMED, str(tmp_path / "tasks.db"), SECRET]
        with subprocess.Popen(command) as process:
            assert it.came.acquire(timeout=60), "the first process calls"
            process.send_signal(signal.SIGKILL)
        it.holds.set()
        assert place.state(task_id) == "due"
        with place.calling(clock=lambda: time.time() + LEASE):
            assert it.came.acquire(timeout=60), "the next one calls again"
            eventually(lambda: place.state(task_id) == "delivered", "it is noted")
    first, second = it.calls
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    assert first[1] == second[1]


def test_a_database_that_is_away_for_a_moment_loses_no_call(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came of the first call cannot be kept, so that it is made again under the same id."""
    away = {"next_due", "record"}

    def failing_once(name: str) -> None:
        whole = getattr(Outbox, name)

        def method(self: Outbox, *arguments: Any) -> Any:
            if name in away:
                away.remove(name)
                raise StorageUnavailable("The database is away.", 1)
            return whole(self, *arguments)

        monkeypatch.setattr(Outbox, name, method)

    failing_once("next_due")
    failing_once("record")
    ahead = [0.0]
    with receiver() as it, place.calling(clock=lambda: time.time() + ahead[0]) as deliveries:
        task_id = place.ended(it.url)
        assert it.came.acquire(timeout=60)
        eventually(lambda: not away, "it was not kept")
        ahead[0] = LEASE

        def told() -> bool:
            deliveries.wake()
            return place.state(task_id) == "delivered"

        eventually(told, "it is told")
    assert len(it.calls) == 2
    assert it.calls[0][0]["webhook-id"] == it.calls[1][0]["webhook-id"]


def test_a_call_that_fails_here_is_an_attempt_too(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    def post(*_: object) -> Reply:
        raise RuntimeError("a bug")

    deliveries = DeliveryWorker(Outbox(place.database), post, (0.0,))
    task_id = place.ended("https://hooks.example/")
    deliveries.start()
    try:
        eventually(lambda: place.state(task_id) == "failed", "it comes to an end")
    finally:
        deliveries.stop()
    assert [one.error for one in place.attempts(task_id)] == ["the service failed at it"] * 2
    assert "a bug" in caplog.text


def test_an_address_inside_is_refused_when_the_call_is_made(place: Place) -> None:
    """Whatever was said at submission: the name means something else by then."""
    with receiver() as it, place.calling(ONCE, Guard()):
        task_id = place.ended(it.url)
        eventually(lambda: place.attempts(task_id), "the attempt is noted")
    (attempt,) = place.attempts(task_id)
    assert attempt.status is None
    assert attempt.error == "its host is not one that can be called from here"
    assert not it.calls


def test_a_task_that_is_tried_again_is_told_of_again(place: Place) -> None:
    with receiver() as it, place.calling():
        task_id = place.ended(it.url, failed=True)
        assert it.came.acquire(timeout=60)
        assert place.state(place.store.retry(task_id).id) in {"due", "delivered"}
        (claim,) = place.queue.claim("w", 1, idle=True)
        place.queue.finish("w", [Outcome(claim, {"count": 0, "detections": []})])
        assert it.came.acquire(timeout=60)
    types = [json.loads(body)["type"] for _, body in it.calls]
    assert types == ["task.error", "task.completed"]
    assert len({headers["webhook-id"] for headers, _ in it.calls}) == 2


def test_a_cancelled_task_is_told_of_and_one_without_a_callback_is_not(place: Place) -> None:
    with receiver() as it, place.calling():
        place.ended(None)
        images = (NewImage("a.jpg", url="https://pictures.example/a.jpg"),)
        task_id = uuid.uuid4().hex
        place.store.submit(NewTask(task_id, "", images, {}, callback_url=it.url))
        place.store.cancel(task_id)
        place.store.cancel(task_id)
        eventually(lambda: place.state(task_id) == "delivered", "it is told")
    assert [json.loads(body)["type"] for _, body in it.calls] == ["task.cancelled"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"nonsense\r\n\r\n", "what it answered is not proper HTTP"),
        (b"", "what it answered is not proper HTTP"),
        (None, "no answer within 0.2 s"),
    ],
)
def test_what_goes_wrong_is_told_in_words(answer: bytes | None, told: str) -> None:
    def behave(connection: socket.socket) -> None:
        read_request(connection)
        if answer is None:
            connection.recv(1)
        else:
            connection.sendall(answer)

    with bad_server(behave) as url:
        guard = Guard(parse_allowed("127.0.0.1"))
        caller = WebhookSender(read_secret(SECRET), guard, seconds=0.2 if answer is None else 20)
        with pytest.raises(CallFailed) as caught:
            caller.post(url, "msg_1", b"{}")
    assert str(caught.value) == told


def test_an_answer_without_end_costs_little_and_counts_by_its_status() -> None:
    left = threading.Event()

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                connection.sendall(bytes(4096))
        except ConnectionError:
            left.set()

    with bad_server(behave) as url:
        caller = WebhookSender(read_secret(SECRET), Guard(parse_allowed("127.0.0.1")))
        reply = caller.post(url, "msg_1", b"{}")
        assert left.wait(60)
    assert reply.accepted
