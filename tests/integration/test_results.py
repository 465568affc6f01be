"""What a task's readers are told, on a real socket, with the fake engine behind it."""

from __future__ import annotations

import base64
import json
import socket
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from sightline.vision.decode import decode
from support import pictures
from support.eventually import eventually
from support.predict import ended, files, stuck
from support.problems import problem
from support.servers import Live, live
from support.tasks import is_of, picture

WHOLE = pictures.png(64, 64)
BROKEN = WHOLE[: len(WHOLE) // 2]  # its header is good


@pytest.fixture(scope="module", params=["disk", "memory"])
def server(request: pytest.FixtureRequest) -> Iterator[Live]:
    where = {"data_dir": ":memory:"} if request.param == "memory" else {}
    with live(**where) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=90) as client:
        yield client


def submit(client: httpx.Client, *data: bytes, **query: Any) -> str:
    """Where to ask for a new task."""
    accepted = client.post("/predict", files=files(*data), params=query)
    assert accepted.status_code == 201, accepted.text
    return str(accepted.headers["location"])


def until_full(server: Live) -> None:
    """Until nothing more can be under way: what is submitted then waits in the queue."""
    pipeline = server.detector._pipeline
    eventually(
        lambda: pipeline.waiting + pipeline._batcher.running == pipeline.depth, "it has enough"
    )


# The state


def test_unknown_tasks(client: httpx.Client) -> None:
    for name in (uuid.uuid4().hex, "x", "x" * 500, "%00", "A" * 32):
        for method, path in [
            ("GET", ""),
            ("GET", "?wait=5"),
            ("GET", "/events"),
            ("GET", "/images/0"),
            ("POST", "/retry"),
            ("DELETE", ""),
            ("DELETE", "?forget=false"),
        ]:
            problem(client.request(method, f"/result/{name}{path}"), 404, "unknown-task")


@pytest.mark.parametrize("query", ["wait=61", "wait=-1", "wait=nan", "annotated=all", "waits=3"])
def test_bad_parameters(client: httpx.Client, query: str) -> None:
    problem(client.get(f"/result/{uuid.uuid4().hex}?{query}"), 422, "bad-option")


def test_partial_results_while_it_is_processing(client: httpx.Client, server: Live) -> None:
    with stuck(server) as go_on:
        first = submit(client, picture(1), b"no picture")
        eventually(lambda: client.get(first).json()["status"] == "processing", "it begins")
        answer = client.get(first)
        state = answer.json()
        assert answer.headers["retry-after"] == "1"
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert state["started_at"]
        assert state["completed_at"] is state["expires_at"] is None
        assert state["progress"] == {"done": 1, "total": 2, "failed": 1}
        assert [entry["status"] for entry in state["results"]] == ["processing", "error"]
        assert "count" not in state["results"][0]
        go_on.set()
        state = client.get(f"{first}?wait=30").json()
    assert state["completed_at"] < state["expires_at"]
    assert is_of(state["results"][0], 1)


def test_the_place_in_the_queue(client: httpx.Client, server: Live) -> None:
    with stuck(server):
        many = submit(client, *[picture(1)] * 60)
        until_full(server)
        last = submit(client, *[picture(2)] * 2, priority="low")
        answer = client.get(last)
        queue = answer.json()["queue"]
        assert answer.json()["status"] == "queued"
        assert queue["position"] > 0
        assert queue["estimated_wait_s"] is None or queue["estimated_wait_s"] >= 0
        tag = answer.headers["etag"]
        assert client.get(last, headers={"if-none-match": tag}).status_code == 304
    for task in (many, last):
        state = client.get(f"{task}?wait=30").json()
        assert state["status"] == "completed"
        assert "queue" not in state


def test_etags(client: httpx.Client) -> None:
    task = submit(client, picture(1))
    state = client.get(f"{task}?wait=30")
    tag = state.headers["etag"]
    for sent in (tag, f'"other", {tag}', f"W/{tag}"):
        again = client.get(task, headers={"if-none-match": sent})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    assert client.get(task, headers={"if-none-match": '"other"'}).content == state.content
    drawn = client.get(f"{task}?annotated=inline", headers={"if-none-match": tag})
    assert drawn.status_code == 200, "that is another form of it"


def test_a_long_poll_returns_when_anything_changes(client: httpx.Client, server: Live) -> None:
    with stuck(server) as go_on, ThreadPoolExecutor(2) as readers:
        task = submit(client, picture(1), picture(2))
        eventually(lambda: client.get(task).json()["status"] == "processing", "it begins")
        tag = client.get(task).headers["etag"]
        url = f"{server.url}{task}?wait=30"
        polls = [
            readers.submit(httpx.get, url, headers={"if-none-match": tag}, timeout=60),
            readers.submit(httpx.get, url, timeout=60),
        ]
        eventually(lambda: waiting(server, task) == 2, "both wait")
        assert not any(poll.done() for poll in polls)
        go_on.set()
        assert polls[0].result().headers["etag"] != tag
        assert polls[1].result().json()["status"] == "completed"


def waiting(server: Live, task: str) -> int:
    """How many readers wait for its changes."""
    return len(server.context.tasks.changes._waiting.get(task.rpartition("/")[2], ()))


def test_a_long_poll_that_nothing_happens_to(client: httpx.Client, server: Live) -> None:
    with stuck(server):
        task = submit(client, picture(1))
        eventually(lambda: client.get(task).json()["status"] == "processing", "it begins")
        state = client.get(f"{task}?wait=0.3")
        assert state.json()["status"] == "processing"
        tag = {"if-none-match": state.headers["etag"]}
        assert client.get(f"{task}?wait=0.3", headers=tag).status_code == 304


# Events


def read_events(lines: Iterator[str]) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """Name, id and data of each event."""
    event: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            event[name] = value
        elif "data" in event:
            yield event.pop("event"), event.pop("id", None), json.loads(event.pop("data"))


def test_events(client: httpx.Client, server: Live) -> None:
    with stuck(server) as go_on:
        task = submit(client, *map(picture, range(20)), b"no picture")
        with client.stream("GET", f"{task}/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert stream.headers["cache-control"] == "no-store"
            events = read_events(stream.iter_lines())
            name, version, state = next(events)
            assert (name, len(state["results"])) == ("task", 21)
            assert version is not None
            go_on.set()
            told = list(events)
    results = [data for name, _, data in told if name == "image"]
    assert sorted(entry["index"] for entry in results) == list(range(20)), "each ends once"
    assert all(is_of(entry, entry["index"]) for entry in results)
    versions = [int(number) for name, number, _ in told if number is not None]
    assert versions == sorted(versions)
    done = [data["progress"]["done"] for name, _, data in told if name == "progress"]
    assert done == sorted(done)
    assert done[-1] == 21
    assert [name for name, *_ in told].count("end") == 1
    name, version, end = told[-1]
    assert (name, end["status"]) == ("end", "completed")
    assert "results" not in end
    assert version is not None
    assert client.get(f"{task}/events", headers={"last-event-id": version}).status_code == 204
    later = client.get(f"{task}/events", headers={"last-event-id": "1"})
    assert [name for name, *_ in read_events(iter(later.text.splitlines()))] == ["task", "end"]


def test_a_reader_who_comes_back_is_not_told_twice(client: httpx.Client, server: Live) -> None:
    with stuck(server) as go_on:
        task = submit(client, picture(1))
        eventually(lambda: client.get(task).json()["status"] == "processing", "it begins")
        known = client.get(task).headers["etag"].strip('"').split("-")[1]
        headers = {"last-event-id": known}
        with client.stream("GET", f"{task}/events", headers=headers) as stream:
            eventually(lambda: waiting(server, task), "it waits")
            go_on.set()
            names = [name for name, *_ in read_events(stream.iter_lines())]
    assert names == ["image", "progress", "end"]


def test_readers_who_leave_hold_nothing(client: httpx.Client, server: Live) -> None:
    with stuck(server):
        task = submit(client, picture(1))
        head = f"GET {task}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        for connection in connections:
            connection.sendall(head)
        eventually(lambda: waiting(server, task) == 20, "they wait")
        for connection in connections:
            connection.close()
        eventually(lambda: waiting(server, task) == 0, "they are gone")


def test_a_reader_is_told_when_the_task_is_forgotten(client: httpx.Client, server: Live) -> None:
    with stuck(server):
        task = submit(client, picture(1))
        with client.stream("GET", f"{task}/events") as stream:
            events = read_events(stream.iter_lines())
            next(events)
            assert client.delete(task).json()["status"] == "cancelled"
            assert [name for name, *_ in events][-1] == "end"


def test_silence_is_broken(
    client: httpx.Client, server: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.api.tasks.events.HEARTBEAT", 0.1)
    with stuck(server):
        task = submit(client, picture(1))
        eventually(lambda: client.get(task).json()["status"] == "processing", "it begins")
        with client.stream("GET", f"{task}/events") as stream:
            comments = (line for line in stream.iter_lines() if line.startswith(":"))
            assert [next(comments) for _ in range(3)] == [": nothing new"] * 3


@pytest.mark.parametrize("path", ["/events", "?wait=60"])
def test_a_service_that_goes_down_ends_streams_and_long_polls_at_once(path: str) -> None:
    """They would go on for a minute; a service waits 20 s for what is under way, then cuts."""
    with (
        ThreadPoolExecutor(1) as reader,
        live() as server,
        stuck(server),
        httpx.Client(base_url=server.url) as client,
    ):
        task = submit(client, picture(1))
        eventually(lambda: client.get(task).json()["status"] == "processing", "it begins")
        reading = reader.submit(httpx.get, f"{server.url}{task}{path}", timeout=60)
        eventually(lambda: waiting(server, task) == 1, "it waits")
        server.stop()
        answer = reading.result(60)
    assert answer.status_code == 200
    assert "processing" in answer.text


# Pictures


def test_annotated_pictures(client: httpx.Client) -> None:
    data = [picture(60), b"no picture", picture(99)]
    task = submit(client, *data)
    client.get(f"{task}?wait=30")
    for index in (0, 2):
        answer = client.get(f"{task}/images/{index}")
        assert answer.headers["content-type"] == "image/jpeg"
        assert int(answer.headers["content-length"]) == len(answer.content)
        now = client.post(
            "/detect", files={"file": data[index]}, headers={"accept": "image/jpeg"}
        ).content
        drawn = decode(answer.content, 10**6).astype(int)
        assert np.abs(drawn - decode(now, 10**6)).mean() < 1
    problem(client.get(f"{task}/images/1"), 415, "unsupported-image")
    for other in ("3", "-1"):
        problem(client.get(f"{task}/images/{other}"), 404, "not-found")
    problem(client.get(f"{task}/images/x"), 422, "bad-option")

    inline = client.get(f"{task}?annotated=inline").json()["results"]
    for index in (0, 2):
        scheme, _, encoded = inline[index].pop("annotated").partition(",")
        assert scheme == "data:image/jpeg;base64"
        assert base64.b64decode(encoded) == client.get(f"{task}/images/{index}").content
    assert inline == client.get(task).json()["results"]


def test_pictures_whose_turn_has_not_come(client: httpx.Client, server: Live) -> None:
    with stuck(server):
        task = submit(client, picture(1))
        problem(client.get(f"{task}/images/0"), 409, "not-yet")
        client.delete(task)
        problem(client.get(f"{task}/images/0"), 409, "not-yet")
    assert client.get(f"{task}?annotated=inline").json()["results"][0]["status"] == "cancelled"


# Changes of course


def test_retry_runs_what_failed_again(client: httpx.Client) -> None:
    task = submit(client, picture(1), BROKEN, b"no picture")
    before = client.get(f"{task}?wait=30")
    assert before.json()["results"][1]["error"]["type"] == "urn:sightline:problem:broken-image"
    problem(client.get(f"{task}/images/1"), 422, "broken-image")
    again = client.post(f"{task}/retry")
    assert again.json()["status"] in {"queued", "processing"}
    assert again.json()["progress"]["done"] == 2
    after = client.get(f"{task}?wait=30")
    assert after.headers["etag"] != before.headers["etag"]
    assert after.json()["results"] == before.json()["results"]


def test_cancel(client: httpx.Client, server: Live) -> None:
    seen: set[int] = set()
    with stuck(server) as go_on:
        running = submit(client, *[picture(1)] * 60)
        until_full(server)
        cancelled = submit(client, *[picture(2)] * 30)
        answer = client.delete(cancelled)
        assert answer.json()["status"] == "cancelled"
        assert {entry["status"] for entry in answer.json()["results"]} == {"cancelled"}
        engine: Any = server.detector._engine
        wait = engine.before_infer

        def look(images: Any) -> None:
            wait(images)
            seen.update(int(image.max()) for image in images)

        engine.before_infer = look
        go_on.set()
        client.get(f"{running}?wait=30")
    assert seen == {141}, "none of the other was run"
    assert client.get(cancelled).json()["status"] == "cancelled"


def test_forget(client: httpx.Client, server: Live) -> None:
    task = submit(client, picture(1))
    client.get(f"{task}?wait=30")
    assert client.delete(task).status_code == 204
    for method, path in [
        ("GET", ""),
        ("GET", "?wait=5"),
        ("GET", "/events"),
        ("GET", "/images/0"),
        ("POST", "/retry"),
        ("DELETE", ""),
    ]:
        answer = problem(client.request(method, f"{task}{path}"), 410, "expired-task")
        assert "pload" in answer["detail"]
    names = {folder.name for folder in server.context.tasks.blobs.folders()}
    assert task.rpartition("/")[2] not in names


def test_cancelling_alone_leaves_what_has_ended(client: httpx.Client, server: Live) -> None:
    task = submit(client, picture(1), BROKEN)
    before = client.get(f"{task}?wait=30")
    for _ in range(2):
        answer = client.delete(f"{task}?forget=false")
        assert (answer.status_code, answer.json()) == (200, before.json())
        assert answer.headers["etag"] == before.headers["etag"]
    assert client.get(task).json() == before.json()
    assert client.get(f"{task}/images/0").status_code == 200
    with stuck(server):
        running = submit(client, picture(2))
        assert client.delete(f"{running}?forget=false").json()["status"] == "cancelled"
    assert client.delete(f"{running}?forget=false").json()["status"] == "cancelled"
    assert client.delete(f"{task}?forget=true").status_code == 204
    problem(client.delete(f"{task}?forget=false"), 410, "expired-task")


@pytest.mark.parametrize("query", ["forget=maybe", "forgets=false"])
def test_what_is_to_be_deleted_must_be_clear(client: httpx.Client, query: str) -> None:
    task = submit(client, picture(1))
    client.get(f"{task}?wait=30")
    problem(client.delete(f"{task}?{query}"), 422, "bad-option")
    assert client.get(task).json()["status"] == "completed"


def test_forgetting_a_task_that_somebody_retries(
    client: httpx.Client, server: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = server.context.tasks._services.store
    forget = store.forget
    task = submit(client, BROKEN)
    assert client.get(f"{task}?wait=30").json()["status"] == "error"

    def forget_too_late(task_id: str) -> None:
        store.retry(task_id)
        forget(task_id)

    monkeypatch.setattr(store, "forget", forget_too_late)
    with stuck(server):
        told = problem(client.delete(task), 409, "not-ended")
    assert told["title"] == "The task has not ended"
    client.get(f"{task}?wait=30")
    monkeypatch.undo()
    assert client.delete(task).status_code == 204


# Who may see what


def test_tasks_are_seen_by_their_owner_and_the_admin() -> None:
    def bearer(key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}

    with (
        live(api_keys="alice:a-key,bob:b-key", admin_key="boss") as server,
        httpx.Client(base_url=server.url, timeout=90) as client,
    ):
        key = {"Idempotency-Key": "mine"}
        sent = files(picture(1))
        hers = client.post("/predict", files=sent, headers=bearer("a-key") | key)
        his = client.post("/predict", files=sent, headers=bearer("b-key") | key)
        task = hers.headers["location"]
        assert task != his.headers["location"], "keys are each owner's own"
        client.get(f"{task}?wait=30", headers=bearer("a-key"))
        for method, path in [("GET", ""), ("GET", "/events"), ("GET", "/images/0"), ("DELETE", "")]:
            answer = client.request(method, f"{task}{path}", headers=bearer("b-key"))
            problem(answer, 404, "unknown-task")
        problem(client.post(f"{task}/retry", headers=bearer("b-key")), 404, "unknown-task")
        for name in ("a-key", "boss"):
            assert client.get(task, headers=bearer(name)).json()["status"] == "completed"
        problem(client.get(task), 401, "key-wrong")

        def overview(name: str) -> dict[str, Any]:
            found: dict[str, Any] = client.get("/tasks", headers=bearer(name)).json()
            return found

        eventually(lambda: overview("boss")["statuses"] == {"completed": 2}, "both are counted")
        assert overview("a-key")["priorities"] == {"normal": 2}
        assert "ids" not in overview("a-key")
        assert len(overview("boss")["ids"]) == 2


# Many at once


@pytest.mark.parametrize(
    ("polling", "listening"), [(10, 10), pytest.param(200, 100, marks=pytest.mark.soak)]
)
def test_many_pollers_uploaders_and_readers(
    server: Live, monkeypatch: pytest.MonkeyPatch, polling: int, listening: int
) -> None:
    """Each polls five times a second, beside 8 uploaders; the long form is 200 of them."""
    stop = threading.Event()
    store = server.context.tasks._services.store
    reads: list[str] = []
    get = store.get

    def counted(task_id: str, known: Any = None) -> Any:
        reads.append(task_id)
        return get(task_id, known)

    monkeypatch.setattr(store, "get", counted)

    with httpx.Client(base_url=server.url, timeout=90) as client, stuck(server) as go_on:
        task = submit(client, *map(picture, range(50)))
        eventually(lambda: client.get(task).json()["status"] == "processing", "it begins")

        def poll(http: httpx.Client) -> set[int]:
            seen = set()
            while not stop.wait(0.2):
                seen.add(http.get(task).status_code)
            return seen

        def listen(http: httpx.Client) -> list[str]:
            with http.stream("GET", f"{task}/events") as stream:
                return [name for name, *_ in read_events(stream.iter_lines())]

        def upload(http: httpx.Client) -> dict[str, Any]:
            return ended(http, http.post("/predict", files=files(picture(1), picture(2))))

        limits = httpx.Limits(max_connections=None)
        with (
            ThreadPoolExecutor(polling + listening + 8) as people,
            httpx.Client(base_url=server.url, timeout=60, limits=limits) as http,
        ):
            readers = [people.submit(listen, http) for _ in range(listening)]
            pollers = [people.submit(poll, http) for _ in range(polling)]
            eventually(lambda: waiting(server, task) >= listening, "the readers wait")
            reads.clear()
            go_on.set()
            uploads = [people.submit(upload, http) for _ in range(8)]
            assert all(one.result()["status"] == "completed" for one in uploads)
            assert all(one.result()[-1] == "end" for one in readers)
            stop.set()
            assert all(one.result() <= {200} for one in pollers)
        versions = int(client.get(task).headers["etag"].strip('"').split("-")[1])
    own = task.rpartition("/")[2]
    assert reads.count(own) <= versions, "one look at each version, however many read"


def test_readers_do_not_wait_for_writers(
    client: httpx.Client, server: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process holds the database: submissions wait for it, and nobody else does."""
    monkeypatch.setattr(server.context.tasks._changing, "_seconds", 60)
    store = server.context.tasks._services.store
    with stuck(server), ThreadPoolExecutor(8) as people:
        submit(client, *[picture(1)] * 30)
        until_full(server)
        waiting_task = submit(client, picture(1), priority="low")
        entered, go_on = threading.Semaphore(0), threading.Event()
        real = store.submit

        def held(new: Any) -> Any:
            entered.release()
            assert go_on.wait(60)
            return real(new)

        store.submit = held  # type: ignore[method-assign, assignment]
        try:
            sent = [people.submit(submit, client, picture(1)) for _ in range(8)]
            assert entered.acquire(timeout=60)
            assert client.get(waiting_task).json()["queue"]["position"] >= 0
            assert client.get("/tasks").status_code == 200
            assert client.get("/health/live").status_code == 200
            assert not any(one.done() for one in sent)
        finally:
            go_on.set()
            del store.submit
        assert len({one.result() for one in sent}) == 8
