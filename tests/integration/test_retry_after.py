"""Who is told to come back in so many seconds, and does, is served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from sightline import Detector, Overloaded
from sightline.engines.fake import FakeEngine
from sightline.serving.events import Events, InferenceFinished
from sightline.serving.lanes import waiting_bytes
from sightline.serving.wait_estimator import WaitEstimator
from support import pictures
from support.eventually import eventually

A_PICTURE = 0.1  # seconds of the slow engine, which takes four at once
FOR_EVER = float("inf")


class Time:
    """Passes as far as the test lets it, and by what the engine takes: not on this machine's clock.

    Attributes:
        now: seconds.
        until: no engine call ends later.
    """

    def __init__(self) -> None:
        self.now, self.until = 100.0, FOR_EVER
        self._ends: float | None = None  # the engine call under way
        self._seen = self._told = 0  # pictures, by the engine and by whoever asked

    def __call__(self) -> float:
        return self.now

    def watch(self, detector: Detector) -> None:
        """From here on, no engine call begins before all was told of those before."""
        self._seen = 0
        self._pipeline = detector._pipeline
        detector._events = Events()
        detector._events.subscribe(InferenceFinished, self._tell)

    def _tell(self, event: InferenceFinished) -> None:
        self._told += event.error is None

    def infer(self, pictures: int) -> None:
        """On the engine's thread."""
        eventually(lambda: self._told >= self._seen, "all are told")
        self._seen += pictures
        ends = self._ends = self.now + A_PICTURE * pictures
        eventually(lambda: ends <= self.until, "time passes")
        self.now, self._ends = ends, None

    def pass_by(self, seconds: float) -> None:
        """Let the engine do what it can within so many seconds."""
        self.until = self.now + seconds
        eventually(self._nothing_more_by_then, "the engine has come so far")
        self.now = self.until

    def _nothing_more_by_then(self) -> bool:
        if self._ends is not None:
            return self._ends > self.until
        return not (self._pipeline.waiting or self._pipeline._batcher.running)


@contextmanager
def slow_detector(
    monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Iterator[tuple[Detector, Time]]:
    """Slow from its warm-up on: what was measured of it is true before the first picture."""
    see, passing = FakeEngine.infer, Time()

    def infer(self: FakeEngine, images: np.ndarray, *, alone: bool = True) -> list[np.ndarray]:
        passing.infer(len(images))
        return see(self, images, alone=alone)

    monkeypatch.setattr(FakeEngine, "infer", infer)
    for module in ("batcher", "job", "wait_estimator", "pipeline"):
        monkeypatch.setattr(f"sightline.serving.{module}.perf_counter", passing)
    with Detector(engine="fake", **options) as detector:
        passing.watch(detector)
        make = detector._job

        def job(*given: Any) -> Any:
            made = make(*given)
            made.submitted = passing.now
            return made

        monkeypatch.setattr(detector, "_job", job)
        try:
            yield detector, passing
        finally:
            passing.until = FOR_EVER


def fill(detector: Detector, picture: bytes, **options: Any) -> tuple[list[Any], Overloaded]:
    """Queue pictures until one is refused: those queued, and the refusal."""
    futures: list[Any] = []
    while len(futures) < 500:
        try:
            futures.append(detector.submit(picture, confidence=0, **options))
        except Overloaded as refusal:
            return futures, refusal
    raise AssertionError("nothing was refused")


def come_back(
    detector: Detector, passing: Time, picture: bytes, refusal: Overloaded, **options: Any
) -> None:
    assert 1 <= refusal.retry_after <= 8
    passing.pass_by(refusal.retry_after)
    future = detector.submit(picture, confidence=0, **options)
    passing.until = FOR_EVER
    assert len(future.result(60).detections) == 1


@pytest.mark.parametrize("measured", [False, True])
def test_a_queue_full_in_number(monkeypatch: pytest.MonkeyPatch, measured: bool) -> None:
    picture = pictures.png()
    with slow_detector(monkeypatch, max_queue=12) as (detector, passing):
        if measured:
            for future in [detector.submit(picture) for _ in range(8)]:
                future.result(60)
        passing.until = passing.now
        futures, refusal = fill(detector, picture)
        assert refusal.retry_after == 1, "the first place is free when a batch of four is through"
        come_back(detector, passing, picture, refusal)
        assert all(len(future.result(60).detections) == 1 for future in futures)


def test_a_queue_full_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The large one that is refused needs the places of many small ones."""
    small = pictures.png()
    large = small + bytes(20 * len(small))
    monkeypatch.setattr(waiting_bytes(), "limit", 26 * len(small))
    with slow_detector(monkeypatch) as (detector, passing):
        passing.until = passing.now
        futures = [detector.submit(small, confidence=0) for _ in range(25)]
        with pytest.raises(Overloaded) as caught:
            detector.submit(large)
        assert caught.value.retry_after >= 2, "eight at least must leave, ten a second"
        come_back(detector, passing, large, caught.value)
        assert all(len(future.result(60).detections) == 1 for future in futures)


def test_a_wait_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = pictures.png()
    with slow_detector(monkeypatch) as (detector, passing):
        passing.until = passing.now
        futures = [detector.submit(picture, confidence=0) for _ in range(35)]
        with pytest.raises(Overloaded, match="would wait") as caught:
            detector.submit(picture, max_wait=1.5)
        assert 2 <= caught.value.retry_after <= 5
        come_back(detector, passing, picture, caught.value, max_wait=1.5)
        assert all(len(future.result(60).detections) == 1 for future in futures)


def test_a_pace_that_was_underestimated_is_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is a fifth slower than it was: who comes back as told is let in.

    Of those that were let in before, who would now be later than was promised is told so.
    """
    picture = pictures.png()
    with slow_detector(monkeypatch) as (detector, passing):
        for future in [detector.submit(picture) for _ in range(8)]:
            future.result(60)
        monkeypatch.setitem(globals(), "A_PICTURE", 1.2 * A_PICTURE)
        passing.until = passing.now
        futures, refusal = fill(detector, picture, max_wait=2)
        come_back(detector, passing, picture, refusal, max_wait=2)
        errors = [error for future in futures if (error := future.exception(60))]
        assert all("still waited after 2 s" in str(error) for error in errors)
        assert len(errors) < len(futures) / 3


def test_the_warm_up_is_forgotten_once_something_was_measured() -> None:
    estimator = WaitEstimator(workers=2, streams=1, batch=1)
    assert estimator.seconds(10) == 0
    estimator.note(0, 5.0)
    assert estimator.seconds(10) == 50
    estimator.note(0.2, 0.01)
    assert estimator.seconds(10) == pytest.approx(1)
    for _ in range(40):
        estimator.note(0.02, 0.03)
    assert estimator.seconds(10) == pytest.approx(0.3, rel=0.05)


def test_a_retry_counts_the_margin_on_the_whole_wait() -> None:
    """A pace that is a quarter off shifts the whole wait, not only what was too much of it."""
    estimator = WaitEstimator(workers=1, streams=1, batch=1)
    estimator.note(0, 0.1)
    assert estimator.retry_after(12, bearable=10) == 6  # 1.25 * 12.1 - 10
    estimator = WaitEstimator(workers=1, streams=1, batch=1)
    estimator.note(0, 0.1)
    assert estimator.retry_after(0) == 1


def test_each_of_many_is_told_a_moment_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told the same moment, all but one of them would come back for nothing."""
    now = [100.0]
    monkeypatch.setattr("sightline.serving.wait_estimator.perf_counter", lambda: now[0])
    estimator = WaitEstimator(workers=1, streams=1, batch=1)
    estimator.note(0, 0.5)
    told = [estimator.retry_after(12, bearable=10) for _ in range(6)]
    assert told == [6, 7, 7, 8, 8, 9]
    assert max(estimator.retry_after(12, bearable=10) for _ in range(100)) == 16  # and no later
    now[0] += 60
    assert estimator.retry_after(12, bearable=10) == 6
