"""The inference pipeline: lane -> decode -> letterbox -> batch -> infer -> boxes."""

from __future__ import annotations

import logging
import traceback
from concurrent.futures import Future
from functools import partial
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias

import cv2

from sightline.errors import DetectorClosed, InferenceError, WorkerDied
from sightline.machine import cores
from sightline.serving.batcher import CLOSED, Batcher, EngineCall, as_inference_error
from sightline.serving.decoded_memory import decoded_memory
from sightline.serving.job import InferenceResult, Job, LaneName
from sightline.serving.lanes import Lanes, waiting_bytes
from sightline.serving.postprocess import to_detections
from sightline.serving.wait_estimator import WaitEstimator
from sightline.threads import DECODERS
from sightline.types import Timing
from sightline.vision.decode import decode_shrunk
from sightline.vision.letterbox import fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sightline.engines.base import Engine
    from sightline.types import ModelSpec

OnFinished: TypeAlias = "Callable[[LaneName, Future[InferenceResult]], None]"

_log = logging.getLogger("sightline")

_CLOSE_TIMEOUT = 30.0  # seconds that `close` waits for engine calls
_ERROR = 1.1  # factor on the predicted mean wait: nearly all real waits are below the product
_DRAWN = 2  # a kept picture counts so many times its size: drawing copies it


class Pipeline:
    """Lanes, a decode pool and a batcher around one engine. Safe from many threads.

    Attributes:
        depth: number of queued pictures of a background lane that keeps the engine busy.
        death: done once the worker has died; never otherwise.
    """

    def __init__(
        self,
        engine: Engine,
        spec: ModelSpec,
        max_pixels: int,
        max_queue: int,
        on_finished: OnFinished,
    ) -> None:
        """Start the threads. Owns `engine` from now on. `on_finished` gets the ended futures."""
        max_batch = engine.max_batch
        self._engine = engine
        self._spec = spec
        self._max_pixels = max_pixels
        workers = min(4, cores())
        # OpenCV ignores some CPU quotas. A lower number that a program has set stays.
        cv2.setNumThreads(min(cv2.getNumThreads(), cores()))
        # One thread more than decoders: postprocessing never waits for a decode.
        self._pool = DECODERS.pool(workers + 1)
        self._idle = workers  # decoders: a job leaves its lane only when one is free
        self._lanes = Lanes(max_queue, waiting_bytes())
        self._estimator = WaitEstimator(workers, engine.streams, max_batch)
        self._decoded_memory = decoded_memory()
        self._lock = Lock()
        # Few pictures are decoded ahead of the engine: pixels have 50 times the size of their JPEG,
        # and lanes do not order them. One batch of room is reserved for interactive pictures, so
        # they wait only for a decoder and the running call.
        self._background = max(workers, max_batch)  # room for pictures of other lanes
        self._capacity = self._room = self._background + max_batch
        # Decoded pictures, those in the engine, one batch in postprocessing, and those that the
        # decoders take next.
        self.depth = self._background + (engine.streams + 1) * max_batch + workers
        self._closed = False
        self._on_finished = on_finished
        self.death: Future[None] = Future()
        self._batcher = Batcher(
            engine, max_batch, spec.batch, self._coming, self._deliver, self._release, self._died
        )
        self._decoded_memory.listen(self._pump)

    @property
    def alive(self) -> bool:
        """False after `close`, or after its worker died."""
        return not self._closed and self._batcher.alive

    def require_alive(self) -> None:
        """Raises DetectorClosed after `close`, WorkerDied after its worker died."""
        if self._closed:
            raise DetectorClosed(CLOSED)
        if not self._batcher.alive:
            raise WorkerDied

    @property
    def call_seconds(self) -> float:
        """Seconds since the oldest running engine call began; 0 if there is none."""
        return self._batcher.call_seconds

    @property
    def waiting(self) -> int:
        """Number of jobs that wait for the engine, decoded or not."""
        return len(self._lanes) + self._coming()

    def put(self, job: Job, lane: LaneName) -> None:
        """Queue a job; its future always ends.

        Raises:
            Overloaded: the queue is full.
            DetectorClosed: it is closed, or its worker died.
        """
        self.require_alive()
        self._lanes.put(job, lane, lambda left: self.retry_after(self._estimator.seconds(left)))
        job.future.add_done_callback(partial(self._on_finished, lane))
        self._pump()

    def run_on_pool(self, work: Callable[[], bytes]) -> Future[bytes]:
        """Run drawing or encoding on the decode pool."""
        self.require_alive()
        future = self._pool.submit(work)
        self._decoded_memory.enter()
        future.add_done_callback(lambda _: self._decoded_memory.leave(0))
        return future

    def predicted_wait(self, lane: LaneName) -> float:
        """Predicted seconds until a picture queued in `lane` now would be finished."""
        ahead = self._lanes.before(lane) + self._coming()
        return _ERROR * self._estimator.seconds(ahead + self._batcher.running)

    def retry_after(self, wait: float, bearable: float = 0) -> int:
        """Whole seconds until a wait of `wait` seconds has shrunk to `bearable` seconds."""
        return self._estimator.retry_after(wait, bearable)

    def close(self) -> None:
        """Finish the running calls, fail the waiting jobs, end the threads. Safe to repeat."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._fail_waiting()
        returned = self._batcher.close(_CLOSE_TIMEOUT)
        self._pool.shutdown(wait=True)
        self._decoded_memory.forget(self._pump)
        if returned:
            self._engine.close()
            return
        _log.error(
            "%s: the engine has not returned from a call for %.0f s. Its memory is free once it "
            "does, or the process ends.",
            self._spec.name, self.call_seconds,
        )  # fmt: skip

    def _died(self, error: BaseException) -> None:
        _log.critical("%s: the inference worker died", self._spec.name, exc_info=error)
        _drop_pixels(error)
        self.death.set_result(None)

    def _coming(self) -> int:
        """Number of jobs that are being decoded, or are decoded and wait for the engine."""
        return self._capacity - self._room

    def _pump(self) -> None:
        """Move jobs from the lanes to the decoders while there is room for their pixels."""
        while True:
            with self._lock:
                if self._closed or not self._batcher.alive:
                    break
                take = partial(self._lanes.take, self._background > 0)
                if (
                    not (self._idle and self._room)
                    or (job := self._decoded_memory.admit(take)) is None
                ):
                    return
                self._idle -= 1
                self._book(job, -1)
            if not self._run_or_fail(job, partial(self._prepare, job)):
                self._decoded_memory.leave(job.weight)
        self._fail_waiting()  # a job may have been queued while close() was emptying the lanes

    def _fail_waiting(self) -> None:
        refusal: Callable[[], DetectorClosed]
        refusal = partial(DetectorClosed, CLOSED) if self._closed else WorkerDied
        while (job := self._lanes.take()) is not None:
            job.fail(refusal())

    def _prepare(self, job: Job) -> None:
        """Decode and letterbox one job (on the pool) and hand it to the batcher."""
        decoded = False
        try:
            if job.is_wanted():
                self._decode(job)
                decoded = True
        finally:
            with self._lock:
                self._idle += 1
            self._give_back(job)
            if not decoded:
                self._release([job])
        if decoded:
            self._batcher.put(job)

    def _give_back(self, job: Job) -> None:
        """Release the memory of a prepared job, except that of a picture its caller keeps."""
        if job.image is None:
            self._decoded_memory.leave(job.weight)
            return
        kept = _DRAWN * job.image.nbytes
        self._decoded_memory.shrink(job.weight - kept)
        self._decoded_memory.free_with(job.image, kept)
        job.future.add_done_callback(lambda _: self._decoded_memory.leave(0))

    def _decode(self, job: Job) -> None:
        job.started = perf_counter()
        source, job.source = job.source, b""
        if isinstance(source, bytes):
            image, size = decode_shrunk(source, self._max_pixels, job.shrink)
        else:
            image, size = source, None
        job.tensor, job.placement = fit(image, self._spec, size)
        job.image = image if job.keep_image else None
        job.decoded = perf_counter()

    def _deliver(self, job: Job, outputs: list[NDArray[np.float32]], call: EngineCall) -> None:
        """Finish one job on the pool, so that the engine thread can go on."""
        self._run_or_fail(job, lambda: self._finish(job, outputs, call))

    def _finish(self, job: Job, outputs: list[NDArray[np.float32]], call: EngineCall) -> None:
        """Turn one job's outputs into its result (on the pool)."""
        if job.tensor is None or job.placement is None:
            raise InferenceError("A picture was inferred before it was decoded.")
        started = perf_counter()
        size = (job.tensor.shape[0], job.tensor.shape[1])
        detections = to_detections(outputs, self._spec, size, job.placement, job.options)
        done = perf_counter()
        decoding, reading = job.decoded - job.started, done - started
        streams = 1 if call.alone else self._engine.streams
        self._estimator.note(decoding + reading, call.seconds / call.images / streams)
        self._estimator.leave(self._coming() > 0 and self._batcher.running >= self._engine.streams)
        total = done - job.submitted
        timing = Timing(
            queue_ms=1000 * max(0.0, total - decoding - call.seconds - reading),
            decode_ms=1000 * decoding,
            inference_ms=1000 * call.seconds,
            postprocess_ms=1000 * reading,
            total_ms=1000 * total,
        )
        job.succeed(InferenceResult(detections, timing, job.image))

    def _run_or_fail(self, job: Job, step: Callable[[], None]) -> bool:
        """Run a step of a job on the pool; the job fails if the step does.

        Returns:
            False if it cannot be run; the job has failed then.
        """

        def run() -> None:
            try:
                step()
            except BaseException as error:  # noqa: BLE001  every future must end
                _drop_pixels(error)
                job.fail(as_inference_error(error))

        try:
            self._pool.submit(run)
        except RuntimeError:  # the pool, or the interpreter, is shutting down
            job.fail(DetectorClosed(CLOSED))
            return False
        return True

    def _release(self, jobs: Sequence[Job]) -> None:
        with self._lock:
            for job in jobs:
                self._book(job, 1)
        self._pump()

    def _book(self, job: Job, change: int) -> None:
        self._room += change
        if job.lane != "interactive":
            self._background += change


def _drop_pixels(error: BaseException | None) -> None:
    """Clear the frames of an error, or they keep the picture alive as long as its future."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
