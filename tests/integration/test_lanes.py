"""A hundred large pictures in the batch lane, and what they cost an interactive request.

Told by the order of what happens, not by the clock: each test holds the engine or the decoders.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from sightline import Detector
from sightline.engines.fake import FakeEngine
from sightline.serving.job import Job, LaneName
from support import pictures
from support.eventually import eventually

if TYPE_CHECKING:
    from concurrent.futures import Future

SMALL = pictures.png()


@pytest.fixture(scope="module")
def large() -> bytes:
    """12 megapixels of detail that costs a decoder something."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (750, 1000, 3), dtype=np.uint8))
    return pictures.encode(coarse.resize((4000, 3000), Image.Resampling.BILINEAR), "JPEG")


class Course:
    """What a detector does, in order: (what, lane) of each decode and each picture in a call."""

    def __init__(self, detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
        self.detector = detector
        self.events: list[tuple[str, LaneName | str]] = []
        self.decoder = {lane: _open() for lane in ("interactive", "stream", "batch")}
        self.engine = _open()
        self.passed: list[int] = []
        self._pipeline: Any = detector._pipeline
        self._take = self._pipeline._lanes.take
        self._decode, self._infer = self._pipeline._decode, self._pipeline._batcher._infer
        monkeypatch.setattr(self._pipeline._lanes, "take", self._note_take)
        monkeypatch.setattr(self._pipeline, "_decode", self._note_decode)
        monkeypatch.setattr(self._pipeline._batcher, "_infer", self._note_call)

    def _note_take(self, background: bool = True) -> Job | None:
        """One after the other: the pipeline holds its lock."""
        job: Job | None = self._take(background)
        if job is not None:
            self.events.append(("taken", job.lane))
        return job

    def _note_decode(self, job: Job) -> None:
        self.events.append(("decode", job.lane))
        self._decode(job)
        assert self.decoder[job.lane].wait(60)
        self.events.append(("decoded", job.lane))

    def _note_call(self, stream: Any, jobs: list[Job]) -> None:
        self.events.append(("call", "+".join(sorted(job.lane for job in jobs))))
        self.passed += [job.passed for job in jobs if job.lane == "interactive"]
        assert self.engine.wait(60)
        self._infer(stream, jobs)

    def since(self, mark: int) -> list[tuple[str, LaneName | str]]:
        return self.events[mark:]

    @property
    def ready(self) -> int:
        """Pictures that are decoded and wait for the engine."""
        return len(self._pipeline._batcher._ready)

    def put(self, picture: bytes, lane: LaneName) -> Future[Any]:
        return self.detector.submit(picture, confidence=0, lane=lane)


def _open() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@pytest.fixture(params=[1, 4], ids=["one a call", "four a call"])
def course(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Course]:
    monkeypatch.setattr(FakeEngine, "max_batch", request.param)
    with Detector(engine="fake") as detector:
        course = Course(detector, monkeypatch)
        yield course
        course.engine.set()
        for decoder in course.decoder.values():
            decoder.set()


def leave(futures: list[Future[Any]]) -> None:
    """Nobody wants the rest of them."""
    for future in futures:
        future.cancel()


def test_an_interactive_picture_is_in_the_next_call(course: Course, large: bytes) -> None:
    """The engine is held, and all that may be decoded ahead of it is."""
    course.engine.clear()
    ahead = course._pipeline._background
    waiting = [course.put(large, "batch") for _ in range(100)]
    eventually(lambda: course.ready == ahead, f"{ahead} are ready", within=60)
    mark = len(course.events)
    urgent = course.put(SMALL, "interactive")
    eventually(lambda: ("decoded", "interactive") in course.since(mark), "it is decoded", within=60)
    steps = ("taken", "decode", "decoded")
    assert course.since(mark) == [(step, "interactive") for step in steps]
    eventually(lambda: course.ready == ahead + 1, "it is ready")
    course.engine.set()
    assert len(urgent.result(60).detections) == 1
    leave(waiting)
    calls = [lanes for what, lanes in course.since(mark) if what == "call"]
    assert "interactive" in calls[0]


def test_an_interactive_picture_is_decoded_next_and_finished_at_once(
    course: Course, large: bytes
) -> None:
    """Every decoder is held by a large picture; then one of them is done."""
    course.decoder["batch"].clear()
    waiting = [course.put(large, "batch") for _ in range(100)]
    decoders = course.detector._pipeline._estimator._workers
    eventually(lambda: course.events.count(("decode", "batch")) == decoders, "all are busy")
    mark = len(course.events)
    urgent = course.put(SMALL, "interactive")
    held, course.decoder["batch"] = course.decoder["batch"], threading.Event()
    assert course.since(mark) == []
    held.set()
    assert len(urgent.result(60).detections) == 1, "the decoders are held: no one else finishes it"
    begun = [event for event in course.since(mark) if event[0] == "decode"]
    assert begun.index(("decode", "interactive")) < decoders
    leave(waiting)


@pytest.mark.parametrize("times", [2, pytest.param(8, marks=pytest.mark.soak)])
def test_under_way_it_is_one_decode_and_one_call_at_most(
    course: Course, large: bytes, times: int
) -> None:
    """Nothing is held: pictures come while the hundred go through."""
    waiting: list[Future[Any]] = []
    for _ in range(times):
        waiting += [course.put(large, "batch") for _ in range(40)]
        urgent = course.put(SMALL, "interactive")
        queued = len(course.events)
        assert len(urgent.result(60).detections) == 1
        taken = [lane for what, lane in course.since(queued) if what == "taken"]
        if "interactive" in taken:
            others = taken[: taken.index("interactive")]
            assert len(others) <= 1, "one may have been about to be taken"
        leave(waiting)
    assert course.passed == [0] * times, "each was in the first call that began once it was ready"


@pytest.mark.parametrize(("lane", "least"), [("batch", 5), ("stream", 15)])
def test_under_constant_interactive_load_others_advance(
    course: Course, lane: LaneName, least: int
) -> None:
    course.engine.clear()
    futures = [course.put(SMALL, lane) for _ in range(100)]
    futures += [course.put(SMALL, "interactive") for _ in range(400)]
    course.engine.set()
    eventually(
        lambda: sum(future.done() for future in futures) >= 200, "they go through", within=60
    )
    course.engine.clear()
    went = [one for what, lanes in course.events if what == "call" for one in str(lanes).split("+")]
    assert least <= went[:200].count(lane) <= 80
    course.engine.set()
    leave(futures)


def test_what_waits_in_the_batch_lane_refuses_no_interactive_picture(course: Course) -> None:
    course.engine.clear()
    course._pipeline._estimator.note(0, 0)
    for _ in range(200):
        course._pipeline._estimator.note(0, 1.0)
    waiting = [course.put(SMALL, "batch") for _ in range(100)]
    eventually(lambda: course._pipeline._background == 0, "as many as may be are ahead")
    assert course.detector._pipeline.predicted_wait("batch") > 95
    assert course.detector._pipeline.predicted_wait("interactive") < 15
    leave(waiting)
