"""Events: who hears of a picture, and what is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest
from PIL import Image

from sightline import Detector
from sightline.serving.events import Events, InferenceFinished
from support import pictures

GOOD = pictures.encode(Image.new("RGB", (64, 48), (220, 220, 220)), "JPEG")


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def heard(events: Events) -> SimpleQueue[InferenceFinished]:
    queue: SimpleQueue[InferenceFinished] = SimpleQueue()
    events.subscribe(InferenceFinished, queue.put)
    return queue


@pytest.fixture
def detector(events: Events) -> Iterator[Detector]:
    with Detector(engine="fake", name="toys", events=events) as detector:
        yield detector


def test_a_picture_is_told_of_with_its_boxes_and_where_its_time_went(
    detector: Detector, heard: SimpleQueue[InferenceFinished]
) -> None:
    result = detector.submit(GOOD, lane="stream").result(60)
    event = heard.get(timeout=60)
    assert (event.model, event.digest, event.lane) == ("toys", "fake", "stream")
    assert event.detections is result.detections
    assert event.timing is result.timing
    assert event.error is None
    assert heard.empty(), "the warm-up is nobody's picture"


def test_a_picture_that_fails_is_told_of_with_its_error(
    detector: Detector, heard: SimpleQueue[InferenceFinished]
) -> None:
    future = detector.submit(GOOD[:-40])
    error = future.exception(60)
    event = heard.get(timeout=60)
    assert event.error is error
    assert event.error is not None
    assert (event.detections, event.timing, event.lane) == (None, None, "interactive")


def test_nobody_hears_of_a_picture_whose_caller_has_gone(
    detector: Detector, heard: SimpleQueue[InferenceFinished]
) -> None:
    reached, go_on = threading.Event(), threading.Event()
    engine: Any = detector._engine

    def hold(_: Any) -> None:
        reached.set()
        assert go_on.wait(60)

    usual, engine.before_infer = engine.before_infer, hold
    first = detector.submit(GOOD)
    assert reached.wait(60)
    gone = detector.submit(GOOD)
    assert gone.cancel()
    go_on.set()
    first.result(60)
    engine.before_infer = usual
    detector.submit(GOOD, lane="batch").result(60)
    assert [heard.get(timeout=60).lane for _ in range(2)] == ["interactive", "batch"]
    assert heard.empty()


def test_a_handler_that_fails_keeps_nobody_else_from_an_event(
    events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: object) -> None:
        raise LookupError("a handler's own")

    got: list[object] = []
    events.subscribe(InferenceFinished, fails)
    events.subscribe(InferenceFinished, got.append)
    event = InferenceFinished("toys", "fake", "batch")
    events.emit(event)
    events.emit("of a class that nobody subscribed to")
    assert got == [event]
    assert "a handler of InferenceFinished failed" in caplog.text
