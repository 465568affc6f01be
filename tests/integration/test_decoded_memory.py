"""Decoded pixels stay within their budget, and whoever waits for room gets it."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sightline import Detector
from sightline.errors import BrokenImage, DetectorClosed
from sightline.machine import DECODING_BYTES
from sightline.serving import pipeline as pipeline_module
from sightline.serving.decoded_memory import decoded_memory
from sightline.vision.decode import decode_shrunk
from sightline.vision.draw import draw_detections, encode_jpeg
from support import pictures
from support.eventually import eventually

if TYPE_CHECKING:
    from concurrent.futures import Future

    from sightline.serving.job import InferenceResult

SIDE = 512
SIZE = SIDE * SIDE * 3
WEIGHT = SIDE * SIDE * DECODING_BYTES


@pytest.fixture
def fake() -> Iterator[Detector]:
    with Detector(engine="fake") as detector:
        yield detector


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    """Pixels are to go when the last one who needs them lets go, not when the collector comes."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    wait_until(lambda: decoded_memory().alive == 0)


@pytest.fixture
def picture() -> bytes:
    return pictures.jpeg(SIDE, SIDE)


class Barrier:
    """Holds whoever comes until it is opened."""

    def __init__(self, then: Callable[..., Any] = lambda _: None) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self.then = then

    def __call__(self, *given: Any) -> Any:
        self.reached.set()
        assert self.open.wait(60)
        return self.then(*given)


def wait_until(true: Callable[[], bool]) -> None:
    eventually(true, "it never came about")


class Census:
    """Stands in for `decode_shrunk`: counts decoded pictures that are alive, and bytes booked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._lock = threading.Lock()
        self._alive: list[weakref.ref[Any]] = []
        self.most_pictures = self.most_booked = 0
        monkeypatch.setattr(pipeline_module, "decode_shrunk", self)

    def __call__(self, data: bytes, max_pixels: int, part: int) -> Any:
        self.most_booked = max(self.most_booked, decoded_memory().alive)
        image, size = decode_shrunk(data, max_pixels, part)
        with self._lock:
            self._alive = [one for one in self._alive if one() is not None]
            self._alive.append(weakref.ref(image))
            self.most_pictures = max(self.most_pictures, len(self._alive))
        return image, size


def test_16_large_pictures_to_draw_on_are_never_alive_together(
    fake: Detector, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While two that are decoded and wait to be drawn on fill the budget, no third comes in.

    But for one that was let in with them, and those whose work is done but whose threads, on a busy
    machine, have not let go of them yet.
    """
    monkeypatch.setattr(decoded_memory(), "limit", 4 * SIZE)
    census = Census(monkeypatch)
    # Nothing is decoded before all callbacks are there: who asks later for a drawing than its
    # picture was ready may find that one more was let in meanwhile.
    barrier = Barrier(census)
    monkeypatch.setattr(pipeline_module, "decode_shrunk", barrier)
    drawn: list[Future[bytes]] = []
    all_drawn = threading.Semaphore(0)

    def draw(future: Future[InferenceResult]) -> None:
        result = future.result()
        assert result.image is not None
        image, found = result.image, result.detections
        drawn.append(fake.run_on_pool(lambda: encode_jpeg(draw_detections(image, found))))
        all_drawn.release()

    for _ in range(16):
        fake.submit(picture, keep_image=True).add_done_callback(draw)
    barrier.open.set()
    assert all(all_drawn.acquire(timeout=60) for _ in range(16))
    assert all(future.result(60).startswith(b"\xff\xd8") for future in drawn)
    threads = fake._pipeline._pool._max_workers
    assert threads <= 5
    assert census.most_pictures <= 3 + threads
    # Drawn, and not swept up yet, one more may be booked than the limit lets in.
    assert census.most_booked < decoded_memory().limit + (1 + threads) * 2 * SIZE + WEIGHT


def test_without_pictures_to_keep_many_pass_through_a_small_budget(
    fake: Detector, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded_memory(), "limit", 1)
    census = Census(monkeypatch)
    futures = [fake.submit(picture, confidence=0) for _ in range(40)]
    assert all(len(future.result(60).detections) == 1 for future in futures)
    assert census.most_booked <= WEIGHT


def test_who_keeps_every_picture_still_gets_them_all(
    fake: Detector, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that collects results holds more than any budget, and must not wait for ever."""
    monkeypatch.setattr(decoded_memory(), "limit", 1)
    futures = [fake.submit(picture, keep_image=True) for _ in range(20)]
    images = [future.result(60).image for future in futures]
    assert all(image is not None and image.shape == (SIDE, SIDE, 3) for image in images)
    wait_until(lambda: decoded_memory().alive == 20 * 2 * SIZE)
    array = np.zeros((SIDE, SIDE, 3), np.uint8)
    assert fake.submit(array, keep_image=True).result(60).image is not None


@pytest.mark.parametrize("keep_image", [False, True])
def test_cancelled_pictures_give_their_weight_back(
    fake: Detector, picture: bytes, monkeypatch: pytest.MonkeyPatch, keep_image: bool
) -> None:
    """Wherever they were: waiting, being decoded, decoded, in the engine."""
    monkeypatch.setattr(decoded_memory(), "limit", 3 * WEIGHT)
    barrier = Barrier()
    fake._engine.before_infer = barrier  # type: ignore[attr-defined]
    futures = [fake.submit(picture, keep_image=keep_image) for _ in range(30)]
    assert barrier.reached.wait(60)
    for future in futures:
        future.cancel()
    barrier.open.set()
    wait_until(lambda: decoded_memory().alive == 0)
    assert len(fake.submit(picture, confidence=0).result(60).detections) == 1


@pytest.mark.parametrize("keep_image", [False, True])
def test_failed_pictures_give_their_pixels_back_though_their_errors_live(
    fake: Detector, picture: bytes, monkeypatch: pytest.MonkeyPatch, keep_image: bool
) -> None:
    """An error holds the frames it came through, and they held the picture."""
    decoded: list[weakref.ref[Any]] = []

    def fail(image: Any, *_: Any) -> Any:
        decoded.append(weakref.ref(image))
        raise ValueError("no")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline_module, "fit", fail)
        failed = [fake.submit(picture, keep_image=keep_image) for _ in range(10)]
        errors = [future.exception(60) for future in failed]
    broken = fake.submit(picture[:-200], keep_image=keep_image)
    assert isinstance(broken.exception(60), BrokenImage)
    wait_until(lambda: decoded_memory().alive == 0)
    assert all("no" in str(error) for error in errors)
    wait_until(lambda: all(image() is None for image in decoded))
    assert len(decoded) == 10


def test_pictures_that_the_engine_failed_on_are_gone(fake: Detector, picture: bytes) -> None:
    fake._engine.before_infer = Barrier(lambda _: 1 / 0)  # type: ignore[attr-defined]
    fake._engine.before_infer.open.set()  # type: ignore[attr-defined]
    futures = [fake.submit(picture, keep_image=True) for _ in range(10)]
    errors = [future.exception(60) for future in futures]
    assert all("ZeroDivisionError" in str(error) for error in errors)
    wait_until(lambda: decoded_memory().alive == 0)


def test_closing_gives_everything_back(picture: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded_memory(), "limit", WEIGHT)
    detector = Detector(engine="fake")
    barrier = Barrier()
    detector._engine.before_infer = barrier  # type: ignore[attr-defined]
    futures = [detector.submit(picture, keep_image=True) for _ in range(30)]
    assert barrier.reached.wait(60)
    closing = threading.Thread(target=detector.close)
    closing.start()
    wait_until(lambda: not detector.alive)
    barrier.open.set()
    closing.join(60)
    ended = [future.exception(60) for future in futures]
    assert {type(error) for error in ended} == {type(None), DetectorClosed}
    futures.clear()
    wait_until(lambda: decoded_memory().alive == 0)


def test_models_share_the_budget_and_wake_each_other(
    fake: Detector, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one model decodes a large picture, another's waits; then it gets its turn."""
    monkeypatch.setattr(decoded_memory(), "limit", 1)
    barrier = Barrier(decode_shrunk)
    with Detector(engine="fake") as other:
        monkeypatch.setattr(pipeline_module, "decode_shrunk", barrier)
        first = fake.submit(picture, confidence=0)
        assert barrier.reached.wait(60)
        second = other.submit(picture, confidence=0)
        assert len(other._pipeline._lanes) == 1
        barrier.open.set()
        assert len(first.result(60).detections) == len(second.result(60).detections) == 1
