"""The detector: pictures in, Detections out, from any number of threads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Self

import numpy as np

from sightline.engines.cache import EngineCache
from sightline.engines.choose import open_engine
from sightline.errors import (
    ConfigError,
    InferenceError,
    ModelError,
    Overloaded,
    WorkerDied,
)
from sightline.machine import DECODING_BYTES
from sightline.models.digest import digest, weight_bytes
from sightline.models.spec import read_spec
from sightline.serving.events import Events, InferenceFinished
from sightline.serving.job import InferenceResult, Job, LaneName
from sightline.serving.options import make_options
from sightline.serving.pipeline import Pipeline
from sightline.serving.reading import Source, read_source
from sightline.serving.tuning import best_batch
from sightline.types import BGRImage, Detections, DetectOptions, ModelSpec
from sightline.vision.header_check import check_header
from sightline.vision.letterbox import surplus

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from sightline.settings import EngineName

FAKE_SPEC = ModelSpec("fake", "end2end", ("bright", "dark"), input_size=(640, 640), dynamic=True)


class Detector:
    """Finds objects in pictures with one model on one device.

    Safe to use from many threads; use it as a context manager, or call `close`.

        with Detector("model.onnx") as detector:
            for detection in detector.detect("photo.jpg"):
                print(detection.label, detection.confidence, detection.bbox)
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
        engine: EngineName = "auto",
        device: str = "auto",
        confidence: float = 0.5,
        max_pixels: int = 50_000_000,
        max_queue: int = 1024,
        max_batch: int | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        events: Events | None = None,
    ) -> None:
        """Load a model and warm it up.

        Args:
            model: path to an `.onnx` or OpenVINO `.xml` file; only engine `fake` needs none.
            name: what the model is called in answers; the file's name if None.
            engine, device: as in `settings`: `auto`, `openvino`, …; `auto`, `cpu`, `cuda:1`, ….
            confidence, max_pixels: lowest reported (0..1), and limit for compressed pictures.
            max_queue, max_batch: most pictures that wait, and of an engine call (None: measured).
            cache_dir: folder for compiled networks (TensorRT takes minutes); None keeps nothing.
            events: gets an `InferenceFinished` for each picture.

        Raises ConfigError (engine or device is missing) or ModelError (the file is no detector).
        """
        spec, path = _locate(model, engine)
        self.spec = replace(spec, name=name or spec.name)
        self.digest = "fake" if engine == "fake" else digest(path)
        self.weight_bytes = 0 if engine == "fake" else weight_bytes(path)
        self.confidence = make_options(self.spec, confidence, None, None, 1).confidence
        self._max_pixels = max_pixels
        cache = None if cache_dir is None else EngineCache(cache_dir, self.digest)
        self._engine = open_engine(path, self.spec, engine=engine, device=device, cache=cache)
        self._engine.limit_batch(self._batch(max_batch, cache))
        self._events = Events()  # without subscribers: the warm-up emits no events
        self._pipeline = Pipeline(self._engine, self.spec, max_pixels, max_queue, self._emit)
        self._warm_up()
        self._events = events or self._events

    @property
    def engine(self) -> str:
        """The engine in use: `openvino`, `onnxruntime`, `fake`."""
        return self._engine.name

    @property
    def device(self) -> str:
        """The device in use, for example `cpu` or `cuda:0`."""
        return self._engine.device

    @property
    def precision(self) -> str:
        """The numeric precision in use, for example `fp32` or `fp16`."""
        return self._engine.precision

    @property
    def alive(self) -> bool:
        """False after `close`, or after its worker died: every call fails then."""
        return self._pipeline.alive

    @property
    def depth(self) -> int:
        """Number of queued pictures of a background lane that keeps the engine busy."""
        return self._pipeline.depth

    @property
    def waiting(self) -> int:
        """Number of pictures that wait for the engine, decoded or not."""
        return self._pipeline.waiting

    @property
    def call_seconds(self) -> float:
        """Seconds since the oldest running engine call began; 0 if there is none."""
        return self._pipeline.call_seconds

    def when_dead(self, tell: Callable[[], None]) -> None:
        """Call `tell` once its worker dies, or now if it is dead. `close` is not a death."""
        self._pipeline.death.add_done_callback(lambda _: tell())

    def detect(
        self,
        image: Source,
        *,
        confidence: float | None = None,
        iou: float | None = None,
        classes: Iterable[int | str] | None = None,
        max_detections: int = 300,
    ) -> Detections:
        """Detect objects in one picture and wait for the answer.

        Args:
            image: a path, a compressed file's bytes, a uint8 [height, width, 3] BGR array, or a
                Pillow image.
            confidence: lowest confidence reported, 0..1; the detector's own if None.
            iou: NMS threshold, 0..1; the family's usual one if None.
            classes: labels or class ids to report; all if None.
            max_detections: most boxes reported, 1..1000.

        Raises:
            BadOption: an option out of its range, or an unknown class.
            ImageError: the picture is missing, damaged, too large, or of an unknown type.
            Overloaded: the queue is full.
            InferenceError: the engine failed.
        """
        future = self.submit(
            image,
            confidence=confidence,
            iou=iou,
            classes=classes,
            max_detections=max_detections,
        )
        return future.result().detections

    def submit(
        self,
        image: Source,
        *,
        confidence: float | None = None,
        iou: float | None = None,
        classes: Iterable[int | str] | None = None,
        max_detections: int = 300,
        lane: LaneName = "interactive",
        max_wait: float | None = None,
        timeout: float | None = None,
        keep_image: bool = False,
    ) -> Future[InferenceResult]:
        """Queue one picture. Cancelling the future spares its inference.

        Args:
            image: see `detect`.
            confidence, iou, classes, max_detections: see `detect`.
            lane: `interactive` before `stream` before `batch`; no lane starves.
            max_wait: most seconds in the queue; the picture is refused if the predicted wait is
                longer, or once the real one is.
            timeout: seconds; the future fails with DeadlineExceeded if its turn comes later.
            keep_image: hand the decoded picture back in the result.

        Raises:
            BadOption, ImageError, Overloaded, DetectorClosed: found at once; later errors are
                raised by the future.
        """
        self._pipeline.require_alive()
        least = self.confidence if confidence is None else confidence
        options = make_options(self.spec, least, iou, classes, max_detections)
        deadline = None if timeout is None else perf_counter() + timeout
        job = self._job(read_source(image), options, deadline, keep_image)
        if max_wait is not None:
            self.require_room(max_wait, lane)
            job.max_wait = max_wait
        self._pipeline.put(job, lane)
        return job.future

    def require_room(self, max_wait: float, lane: LaneName = "interactive") -> None:
        """Raises Overloaded if a picture queued now would wait more than `max_wait` seconds."""
        wait = self._pipeline.predicted_wait(lane)
        if wait > max_wait:
            retry_after = self._pipeline.retry_after(wait, max_wait)
            raise Overloaded(f"A picture would wait {wait:.1f} s.", retry_after)

    def run_on_pool(self, work: Callable[[], bytes]) -> Future[bytes]:
        """Run drawing or encoding on the decode pool."""
        return self._pipeline.run_on_pool(work)

    def close(self) -> None:
        """End the threads, fail waiting pictures, and free the engine's memory."""
        self._pipeline.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _emit(self, lane: LaneName, future: Future[InferenceResult]) -> None:
        if future.cancelled():
            return
        if (error := future.exception()) is not None:
            event = InferenceFinished(self.spec.name, self.digest, lane, error=error)
        else:
            result = future.result()
            event = InferenceFinished(
                self.spec.name, self.digest, lane, result.timing, result.detections
            )
        self._events.emit(event)

    def _batch(self, wanted: int | None, cache: EngineCache | None) -> int:
        if wanted is not None:
            return self.spec.batch or min(wanted, self._engine.max_batch)
        if self._engine.name == "fake":  # there is nothing to measure
            return self._engine.max_batch
        return best_batch(self._engine, self.spec, cache)

    def _warm_up(self) -> None:
        """Detect once on a grey picture.

        So the first request is not slow, and outputs that do not fit the model family fail at
        start.
        """
        height, width = self.spec.input_size
        grey = np.full((height, width, 3), self.spec.pad, np.uint8)
        try:
            self.detect(grey, confidence=1.0)
        except (InferenceError, WorkerDied) as error:
            self.close()
            raise ModelError(f"{self.spec.name} was loaded but cannot be used: {error}") from error

    def _job(
        self,
        source: bytes | BGRImage,
        options: DetectOptions,
        deadline: float | None,
        keep_image: bool,
    ) -> Job:
        if not isinstance(source, bytes):
            return Job(source, options, deadline, keep_image, weight=source.nbytes)
        width, height = check_header(source, self._max_pixels)
        shrink = 1 if keep_image else surplus(width, height, self.spec)
        weight = DECODING_BYTES * width * height
        return Job(source, options, deadline, keep_image, shrink, weight)


def _locate(model: str | os.PathLike[str] | None, engine: EngineName) -> tuple[ModelSpec, Path]:
    if engine == "fake":
        return replace(FAKE_SPEC, name=Path(model).stem if model else "fake"), Path()
    if model is None:
        raise ConfigError("no model is named; give the path of an .onnx or OpenVINO .xml file")
    path = Path(model).expanduser()
    return read_spec(path), path
