"""A client's own deadline."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from support import pictures
from support.eventually import eventually
from support.problems import problem
from support.servers import Live, live

GOOD = pictures.encode(Image.new("RGB", (64, 48), (220, 220, 220)), "JPEG")


@pytest.fixture
def stuck() -> Iterator[tuple[Live, threading.Event, list[int]]]:
    """A service whose engine waits for an event, and the sizes of its batches."""
    with live(request_timeout=60) as server:
        engine, go_on = server.detector._engine, threading.Event()
        infer, batches = engine.infer, list[int]()

        def slow(images: Any, **how: Any) -> Any:
            batches.append(len(images))
            go_on.wait(60)
            return infer(images, **how)

        engine.infer = slow  # type: ignore[method-assign]
        yield server, go_on, batches
        go_on.set()


def test_a_deadline_that_passes_is_a_504_and_costs_no_inference(
    stuck: tuple[Live, threading.Event, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, go_on, batches = stuck
    url = f"{server.url}/detect"
    first = threading.Thread(target=httpx.post, args=(url,), kwargs={"content": GOOD})
    first.start()
    eventually(lambda: batches, "the engine is busy")
    make, made = server.detector._job, list[Any]()

    def noted(*given: Any) -> Any:
        made.append(make(*given))
        return made[-1]

    monkeypatch.setattr(server.detector, "_job", noted)
    for _ in range(3):
        answer = httpx.post(url, content=GOOD, headers={"X-Timeout-Ms": "100"}, timeout=60)
        assert "0.1 s" in problem(answer, 504, "deadline-exceeded")["detail"]
    # A busy machine queues some when their time is up.
    eventually(lambda: all(job.future.cancelled() for job in made), "nobody waits for them")
    go_on.set()
    first.join(60)
    assert httpx.post(url, content=GOOD, timeout=60).json()["count"] == 1
    assert batches == [1, 1]


def test_a_deadline_that_passes_while_a_picture_is_queued_costs_no_inference(
    stuck: tuple[Live, threading.Event, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, go_on, batches = stuck
    url = f"{server.url}/detect"
    first = threading.Thread(target=httpx.post, args=(url,), kwargs={"content": GOOD})
    first.start()
    eventually(lambda: batches, "the engine is busy")
    make, may_make, made = server.detector._job, threading.Event(), list[Any]()

    def late(*given: Any) -> Any:
        assert may_make.wait(60)
        made.append(make(*given))
        return made[-1]

    with monkeypatch.context() as patch:
        patch.setattr(server.detector, "_job", late)
        answer = httpx.post(url, content=GOOD, headers={"X-Timeout-Ms": "1000"}, timeout=60)
    problem(answer, 504, "deadline-exceeded")
    may_make.set()
    eventually(lambda: made and made[0].future.cancelled(), "nobody waits for it")
    go_on.set()
    first.join(60)
    assert httpx.post(url, content=GOOD, timeout=60).json()["count"] == 1
    assert batches == [1, 1]


def test_time_enough(stuck: tuple[Live, threading.Event, list[int]]) -> None:
    server, go_on, _ = stuck
    go_on.set()
    headers = {"X-Timeout-Ms": "3600000"}
    answer = httpx.post(f"{server.url}/detect", content=GOOD, headers=headers, timeout=60)
    assert answer.json()["count"] == 1


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "soon", "", "3600001", "9" * 400, "\u0661"])
def test_what_is_no_time(stuck: tuple[Live, threading.Event, list[int]], given: str) -> None:
    headers = {b"x-timeout-ms": given.encode()}
    answer = httpx.post(f"{stuck[0].url}/detect", content=GOOD, headers=headers)
    assert "X-Timeout-Ms" in problem(answer, 422, "bad-option")["detail"]


def test_the_service_has_a_deadline_of_its_own() -> None:
    with live(request_timeout=0.2) as server:
        go_on = threading.Event()
        engine = server.detector._engine
        engine.infer = lambda _, **__: go_on.wait(60)  # type: ignore[assignment, method-assign]
        answer = httpx.post(f"{server.url}/detect", content=GOOD, timeout=60)
        problem(answer, 504, "deadline-exceeded")
        go_on.set()
