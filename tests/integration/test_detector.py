"""The detector under threads, cancellation, failure and closing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline import (
    ConfigError,
    DeadlineExceeded,
    Detector,
    ImageError,
    InferenceError,
    ModelError,
    Overloaded,
)
from sightline.engines.fake import FakeEngine
from sightline.errors import BadOption, BrokenImage, DetectorClosed, UnsupportedImage, WorkerDied
from support import graphs, pictures
from support.eventually import eventually


@pytest.fixture
def fake() -> Iterator[Detector]:
    with Detector(engine="fake") as detector:
        yield detector


class Barrier:
    """Holds the engine until it is opened, and tells when a batch has reached it."""

    def __init__(self, detector: Detector) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self.batches: list[int] = []
        detector._engine.before_infer = self  # type: ignore[attr-defined]

    def __call__(self, images: np.ndarray) -> None:
        self.batches.append(len(images))
        self.reached.set()
        assert self.open.wait(60)


def shade(value: int, width: int = 64, height: int = 64) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_every_kind_of_source_gives_the_same(tmp_path: Path, fake: Detector) -> None:
    data = pictures.png()
    (tmp_path / "a.png").write_bytes(data)
    pixels = np.ascontiguousarray(pictures.scene()[..., ::-1])
    answers = [
        fake.detect(source, confidence=0).to_dicts()
        for source in (
            tmp_path / "a.png",
            str(tmp_path / "a.png"),
            data,
            pixels,
            Image.fromarray(pictures.scene()),
        )
    ]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0]["bbox"] == {"x1": 0, "y1": 0, "x2": 48, "y2": 32}


def test_options_act(fake: Detector) -> None:
    picture = shade(200)
    assert len(fake.detect(picture, confidence=0.9)) == 0
    assert len(fake.detect(picture, classes=["bright"])) == 1
    assert len(fake.detect(picture, classes=["dark"])) == 0
    with pytest.raises(BadOption):
        fake.detect(picture, classes=["light"])


def test_bad_pictures_say_why(tmp_path: Path, fake: Detector) -> None:
    with pytest.raises(BrokenImage, match="No such file"):
        fake.detect(tmp_path / "missing.jpg")
    with pytest.raises(BrokenImage, match="cannot be read"):
        fake.detect(tmp_path)
    with pytest.raises(UnsupportedImage, match="text"):
        fake.detect(b"some words")
    with pytest.raises(BrokenImage, match="null byte"):
        fake.detect("a\0b")
    with pytest.raises(BrokenImage, match="not int"):
        fake.detect(42)  # type: ignore[arg-type]
    with pytest.raises(ImageError):
        fake.detect(pictures.jpeg(640, 480)[:-800])
    assert len(fake.detect(shade(200))) == 1


@pytest.mark.parametrize(
    ("engine", "each"),
    [
        ("openvino", 1),
        pytest.param("openvino", 5, marks=pytest.mark.soak),
        pytest.param("onnxruntime", 5, marks=pytest.mark.soak),
    ],
)
def test_64_threads_get_each_their_own_answer(
    shared: Path, photos: list[Path], engine: Any, each: int
) -> None:
    """20 different pictures, asked for by 64 threads at once, in as many orders."""
    sources = [
        np.ascontiguousarray(
            np.asarray(Image.open(photo).convert("RGB"))[-300 - 30 * i :, ::-1, ::-1]
        )
        for photo in photos
        for i in range(5)
    ]
    path = shared / "models" / "yolox-nano.onnx"
    with Detector(path, engine=engine, confidence=0.1, max_batch=4) as detector:
        alone = [detector.detect(source).to_dicts() for source in sources]
        assert len({str(answer) for answer in alone}) == 20
        start = threading.Barrier(64)

        def ask(thread: int) -> list[int]:
            start.wait()
            order = [(thread * 7 + i * 3) % 20 for i in range(each)]
            return [i for i in order if detector.detect(sources[i]).to_dicts() != alone[i]]

        with ThreadPoolExecutor(64) as threads:
            wrong = [index for indices in threads.map(ask, range(64)) for index in indices]
    assert wrong == []


def test_64_threads_with_batches(fake: Detector) -> None:
    """The fake engine takes batches of 4; shapes and shades differ."""
    sources = [shade(60 + 9 * i, 64 + 64 * (i % 3), 64) for i in range(20)]
    alone = [fake.detect(source, confidence=0).to_dicts() for source in sources]
    with ThreadPoolExecutor(64) as threads:
        jobs = [i % 20 for i in range(600)]
        answers = threads.map(lambda i: fake.detect(sources[i], confidence=0).to_dicts(), jobs)
        assert all(answer == alone[i] for i, answer in zip(jobs, answers, strict=True))


def test_waiting_pictures_of_one_shape_share_an_engine_call(fake: Detector) -> None:
    barrier = Barrier(fake)
    futures = [fake.submit(shade(200))]
    assert barrier.reached.wait(60)
    futures += [fake.submit(shade(200)) for _ in range(8)]
    wait_for_decoded(fake, 8)
    barrier.open.set()
    for future in futures:
        assert len(future.result(60).detections) == 1
    assert barrier.batches == [1, 4, 4]


def wait_for_decoded(detector: Detector, count: int) -> None:
    """Until so many pictures are decoded and wait for the engine."""
    batcher = detector._pipeline._batcher
    eventually(lambda: len(batcher._ready) >= count, f"{count} are decoded")


def test_pixels_do_not_queue_up_ahead_of_the_engine(fake: Detector) -> None:
    """At most two batches are decoded ahead; everything else waits compressed, in its lane."""
    barrier = Barrier(fake)
    futures = [fake.submit(pictures.png(), confidence=0) for _ in range(60)]
    assert barrier.reached.wait(60)
    pipeline = fake._pipeline
    assert len(pipeline._lanes) >= 60 - 3 * 4
    assert len(pipeline._batcher._ready) <= 2 * 4
    barrier.open.set()
    assert all(len(future.result(60).detections) == 1 for future in futures)


def test_interactive_overtakes_batch_work(fake: Detector) -> None:
    barrier = Barrier(fake)
    for _ in range(60):
        fake.submit(shade(200), lane="batch")
    assert barrier.reached.wait(60)
    wait_for_decoded(fake, 4)
    last = fake.submit(shade(210, 320, 320), lane="interactive")
    wait_for_decoded(fake, 4 + 1)
    shapes: list[tuple[int, ...]] = []
    fake._engine.before_infer = lambda images: shapes.append(images.shape)  # type: ignore[attr-defined]
    barrier.open.set()
    last.result(60)
    assert shapes[0] == max(shapes, key=lambda shape: shape[1]), "the call after the held one"


def test_a_cancelled_picture_costs_no_inference(fake: Detector) -> None:
    barrier = Barrier(fake)
    first = fake.submit(shade(200))
    assert barrier.reached.wait(60)
    dropped = [fake.submit(shade(200)) for _ in range(30)]
    kept = fake.submit(shade(200))
    assert all(future.cancel() for future in dropped)
    barrier.open.set()
    assert len(first.result(60).detections) == len(kept.result(60).detections) == 1
    assert sum(barrier.batches) == 2
    with pytest.raises(CancelledError):
        dropped[0].result(0)


def test_a_passed_deadline_costs_no_inference(fake: Detector) -> None:
    barrier = Barrier(fake)
    first = fake.submit(shade(200))
    assert barrier.reached.wait(60)
    late = fake.submit(shade(200), timeout=0.01)
    assert not barrier.open.wait(0.05)  # its deadline passes
    barrier.open.set()
    with pytest.raises(DeadlineExceeded):
        late.result(60)
    first.result(60)
    assert sum(barrier.batches) == 1


def test_a_picture_that_waits_longer_than_was_foreseen_is_refused(
    fake: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    barrier = Barrier(fake)
    first = fake.submit(shade(200))
    assert barrier.reached.wait(60)
    monkeypatch.setattr(fake._pipeline._estimator, "seconds", lambda _: 0.0)
    late = fake.submit(shade(200), max_wait=0.05)  # it is let in
    waiting = fake.submit(shade(200), max_wait=60)
    assert not barrier.open.wait(0.1)  # the call under way takes its time
    barrier.open.set()
    with pytest.raises(Overloaded, match=r"still waited after 0\.05 s") as caught:
        late.result(60)
    assert caught.value.retry_after == 1
    assert len(first.result(60).detections) == len(waiting.result(60).detections) == 1
    assert sum(barrier.batches) == 2


def test_a_picture_that_left_gives_its_place_back() -> None:
    with Detector(engine="fake", max_queue=10) as detector:
        barrier = Barrier(detector)
        first = detector.submit(shade(200))
        assert barrier.reached.wait(60)
        finishing = [detector.submit(shade(200)) for _ in range(2 * 4)]
        wait_for_decoded(detector, 2 * 4)
        finishing += [detector.submit(shade(200)) for _ in range(10)]
        for future in finishing:
            future.cancel()
        staying = [detector.submit(shade(200)) for _ in range(5)]
        barrier.open.set()
        assert all(len(future.result(60).detections) == 1 for future in [first, *staying])


def test_a_queued_array_is_the_detectors_own(fake: Detector) -> None:
    """A caller that fills one buffer again and again gets each frame's own answer."""
    barrier = Barrier(fake)
    frame, futures = shade(0), []
    for value in range(10, 250, 10):
        frame[:] = value
        futures.append(fake.submit(frame, confidence=0))
    barrier.open.set()
    scores = [float(future.result(60).detections.confidence[0]) for future in futures]
    assert scores == pytest.approx([value / 255 for value in range(10, 250, 10)])


def test_predicted_wait_counts_a_batch_once(
    fake: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four images in one call: each is a quarter of it, not the whole."""
    noted: list[float] = []
    monkeypatch.setattr(
        fake._pipeline._estimator, "note", lambda _vision, inference: noted.append(inference)
    )
    barrier = Barrier(fake)
    first = fake.submit(shade(200))
    assert barrier.reached.wait(60)
    futures = [fake.submit(shade(200)) for _ in range(4)]
    wait_for_decoded(fake, 4)
    barrier.open.set()
    first.result(60)
    calls = {future.result(60).timing.inference_ms for future in futures}
    assert barrier.batches == [1, 4]
    share = calls.pop() / 4000
    assert len([one for one in noted if one == pytest.approx(share)]) == 4


def test_a_full_queue_refuses_with_a_time_and_loses_nothing() -> None:
    with Detector(engine="fake", max_queue=10) as detector:
        barrier = Barrier(detector)
        futures = [detector.submit(shade(200))]
        assert barrier.reached.wait(60)
        futures += [detector.submit(shade(200)) for _ in range(2 * 4)]
        wait_for_decoded(detector, 2 * 4)
        futures += [detector.submit(shade(200)) for _ in range(10)]
        with pytest.raises(Overloaded) as caught:
            detector.submit(shade(200))
        assert caught.value.retry_after >= 1
        barrier.open.set()
        assert all(len(future.result(60).detections) == 1 for future in futures)
        assert len(detector.detect(shade(200))) == 1


def test_a_wait_that_would_be_too_long_is_refused_at_once(fake: Detector) -> None:
    barrier = Barrier(fake)
    fake._pipeline._estimator.note(0, 2.0)
    futures = [fake.submit(shade(200)) for _ in range(50)]
    with pytest.raises(Overloaded, match="would wait") as caught:
        fake.submit(shade(200), max_wait=5)
    assert caught.value.retry_after > 1
    barrier.open.set()
    for future in futures:
        future.result(60)


def test_one_bad_picture_fails_alone(fake: Detector) -> None:
    """In a batch of four, the engine chokes on one: the other three are answered."""
    barrier = Barrier(fake)

    def choke(images: np.ndarray) -> None:
        if (images == 13).all(axis=(1, 2, 3)).any():
            raise RuntimeError("choked")

    first = fake.submit(shade(200))
    assert barrier.reached.wait(60)
    futures = [fake.submit(shade(value, 640, 640)) for value in (200, 13, 210, 220)]
    wait_for_decoded(fake, 4)
    fake._engine.before_infer = choke  # type: ignore[attr-defined]
    barrier.open.set()
    first.result(60)
    with pytest.raises(InferenceError, match="choked"):
        futures[1].result(60)
    scores = [future.result(60).detections.confidence[0] for future in futures[:1] + futures[2:]]
    assert scores == pytest.approx([200 / 255, 210 / 255, 220 / 255])
    assert fake.alive


def test_answers_that_do_not_belong_to_their_inputs_are_an_error(
    fake: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    infer = fake._engine.infer
    monkeypatch.setattr(fake._engine, "infer", lambda images, **_: [infer(images)[0][:0]])
    with pytest.raises(InferenceError, match=r"answered \[0\] rows for 1 images"):
        fake.detect(shade(200))


def test_a_dead_worker_is_known_and_strands_nobody(
    fake: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    def die(_images: np.ndarray) -> None:
        raise SystemExit

    barrier = Barrier(fake)
    futures = [fake.submit(shade(200)) for _ in range(30)]
    assert barrier.reached.wait(60)
    fake._engine.before_infer = die  # type: ignore[attr-defined]
    barrier.open.set()
    outcomes = [future.exception(60) for future in futures]
    answered = outcomes.count(None)
    assert 1 <= answered <= 4, "what the engine had taken before is answered"
    assert sum(isinstance(error, WorkerDied) for error in outcomes) == 30 - answered
    assert not fake.alive
    told = threading.Event()
    fake.when_dead(told.set)
    assert told.wait(60), "whoever asks later is told too"
    (line,) = [record for record in caplog.records if "worker died" in record.message]
    assert line.levelname == "CRITICAL"
    assert line.exc_info
    assert line.exc_info[0] is SystemExit
    with pytest.raises(WorkerDied):
        fake.detect(shade(200))


def test_closing_is_no_death(fake: Detector) -> None:
    deaths: list[bool] = []
    fake.when_dead(lambda: deaths.append(True))
    fake.close()
    assert deaths == []


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
def test_an_engine_that_fails_is_not_dead(fake: Detector, error: type[Exception]) -> None:
    barrier = Barrier(fake)
    futures = [fake.submit(shade(200)) for _ in range(9)]
    assert barrier.reached.wait(60)

    def fail(_images: np.ndarray) -> None:
        raise error

    before, fake._engine.before_infer = fake._engine.before_infer, fail  # type: ignore[attr-defined]
    barrier.open.set()
    outcomes = [future.exception(60) for future in futures]
    assert {type(outcome) for outcome in outcomes} == {type(None), InferenceError}
    assert fake.alive
    fake._engine.before_infer = before  # type: ignore[attr-defined]
    assert len(fake.detect(shade(200))) == 1


def test_a_decoder_that_is_ended_strands_nobody(
    fake: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr("sightline.serving.pipeline.decode_shrunk", end)
    with pytest.raises(InferenceError, match="SystemExit"):
        fake.submit(pictures.png()).result(60)
    assert len(fake.detect(shade(200))) == 1


def test_a_death_in_the_warm_up_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object, **__: object) -> None:
        raise SystemExit

    before = set(threading.enumerate())
    monkeypatch.setattr(FakeEngine, "infer", die)
    with pytest.raises(ModelError, match="cannot be used: The inference worker died"):
        Detector(engine="fake")
    eventually(lambda: set(threading.enumerate()) <= before, "no thread is left")


def test_closing_over_an_engine_that_hangs_ends_every_future(
    fake: Detector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sightline.serving.pipeline._CLOSE_TIMEOUT", 0.1)
    barrier = Barrier(fake)
    futures = [fake.submit(shade(200)) for _ in range(30)]
    assert barrier.reached.wait(60)
    fake.close()
    assert all(isinstance(future.exception(60), DetectorClosed) for future in futures)
    assert "has not returned from a call" in caplog.text
    barrier.open.set()
    (stream,) = fake._pipeline._batcher._streams
    eventually(lambda: not stream.thread.is_alive(), "the thread ends then")


def test_closing_ends_every_future_and_every_thread() -> None:
    before = set(threading.enumerate())
    detector = Detector(engine="fake")
    barrier = Barrier(detector)
    futures = [detector.submit(shade(200)) for _ in range(100)]
    assert barrier.reached.wait(60)
    closing = threading.Thread(target=detector.close)
    closing.start()
    eventually(lambda: not detector.alive, "it is being closed")
    barrier.open.set()
    closing.join(60)
    ended = [future.exception(60) for future in futures]
    answered = ended.count(None)
    assert 1 <= answered <= 3 * 4
    assert sum(isinstance(error, DetectorClosed) for error in ended) == 100 - answered
    eventually(lambda: set(threading.enumerate()) <= before, "no thread is left")
    with pytest.raises(DetectorClosed, match="closed"):
        detector.detect(shade(200))
    detector.close()


def test_a_fixed_batch_is_padded(tmp_path: Path) -> None:
    path = graphs.seeing_network(tmp_path / "m.onnx", image=(4, 3, 64, 64))
    with Detector(path) as detector, ThreadPoolExecutor(8) as threads:
        assert detector.spec.batch == 4
        shades = [10 * i for i in range(1, 20)]
        answers = threads.map(lambda v: detector.detect(shade(v), confidence=0), shades)
        for value, answer in zip(shades, answers, strict=True):
            assert answer.confidence == pytest.approx([value / 255], abs=1e-3)


def test_a_model_whose_outputs_do_not_fit_shows_at_start(tmp_path: Path) -> None:
    outputs = {"out": np.zeros((50, 7), np.float32)}
    path = graphs.constant_network(tmp_path / "m.onnx", outputs)
    (tmp_path / "model.toml").write_text('family = "yolox"\n')
    with pytest.raises(ModelError, match="50 rows fit no grid"):
        Detector(path)


def test_a_class_without_a_label_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    row = np.array([[1, 1, 9, 9, 0.9, 5]], np.float32)
    path = graphs.constant_network(
        tmp_path / "m.onnx", {"out": row}, metadata=graphs.names("a", "b")
    )
    with Detector(path) as detector, pytest.raises(InferenceError, match=r"class 5.*model\.toml"):
        detector.detect(shade(100))


def test_a_default_confidence_out_of_range_shows_at_start() -> None:
    with pytest.raises(BadOption, match="confidence"):
        Detector(engine="fake", confidence=7)


def test_infinite_boxes_are_left_out(tmp_path: Path) -> None:
    rows = np.array(
        [[np.inf, 1, 9, 9, 0.9, 0], [1, 1, np.inf, 9, 0.8, 0], [1, 1, 9, 9, 0.7, 0]], np.float32
    )
    path = graphs.constant_network(tmp_path / "m.onnx", {"out": rows})
    with Detector(path) as detector:
        assert detector.detect(shade(100)).confidence.tolist() == pytest.approx([0.7])


def test_no_model_is_an_error_with_a_hint() -> None:
    with pytest.raises(ConfigError, match="no model is named"):
        Detector()
