"""Submissions while somebody else holds the database of tasks, or while its one writer is slow."""

from __future__ import annotations

import socket
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx

from sightline.storage import sqlite
from support.eventually import eventually
from support.predict import files
from support.problems import problem
from support.servers import Live, live
from support.tasks import picture

if TYPE_CHECKING:
    import pytest

MANY = 40


def test_whoever_waits_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, their attempts would take minutes to fail."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 1.0)
    monkeypatch.setattr("sightline.api.tasks.service._MAX_WAIT", 0.5)
    with live() as server, httpx.Client(base_url=server.url, timeout=30) as client:
        folder = server.settings.tasks_dir
        assert folder is not None
        task = client.post("/predict", files=files(picture(1))).headers["location"]
        other = sqlite3.connect(folder / "tasks.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with ThreadPoolExecutor(MANY + 1) as people:
            asked = [
                people.submit(client.post, "/predict", files=files(picture(1))) for _ in range(MANY)
            ]
            retried = people.submit(client.post, f"{task}/retry")
            for one in [*asked, retried]:
                problem(one.result(), 503, "storage-unavailable")
        other.execute("ROLLBACK")
        other.close()
        assert client.post("/predict", files=files(picture(1))).status_code == 201


def test_who_has_gone_before_it_was_written_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with live() as server, httpx.Client(base_url=server.url, timeout=90) as client:
        tasks = server.context.tasks
        go_on, begun = threading.Event(), threading.Semaphore(0)
        submit = tasks._services.store.submit

        def slow(new: Any) -> Any:
            begun.release()
            go_on.wait(60)
            return submit(new)

        monkeypatch.setattr(tasks._services.store, "submit", slow)
        with ThreadPoolExecutor(4) as people:
            first = [
                people.submit(client.post, "/predict", files=files(picture(n))) for n in range(4)
            ]
            for _ in first:
                assert begun.acquire(timeout=60)
            hang_up_after_asking(server)
            eventually(lambda: len(tasks.blobs.folders()) == 4, "its picture is removed")
            go_on.set()
            assert {one.result().status_code for one in first} == {201}
        assert not begun.acquire(blocking=False), "the fifth was never begun"
        eventually(lambda: sum(client.get("/tasks").json()["statuses"].values()) == 4, "the four")


def hang_up_after_asking(server: Live) -> None:
    """Send all of a submission, and leave once its picture is safe."""
    blobs = server.context.tasks.blobs
    body = httpx.Request("POST", server.url, files=files(picture(9)))
    head = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body.read())}\r\n"
        f"Content-Type: {body.headers['content-type']}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head.encode() + body.content)
        eventually(lambda: len(blobs.folders()) == 5, "it is there")
        jobs = server.context.tasks._changing._threads._work_queue
        eventually(lambda: jobs.qsize() == 1, "it waits for its turn")
