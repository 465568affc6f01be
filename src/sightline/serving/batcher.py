"""Groups decoded pictures that wait for one engine call, and runs it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import Condition, Thread
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from sightline.errors import DetectorClosed, InferenceError, SightlineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sightline.engines.base import Engine
    from sightline.serving.job import Job

CLOSED = "The detector is closed."
DIED = "The inference worker died. Restart the service, and report the traceback in its log."


@dataclass(frozen=True, slots=True)
class EngineCall:
    """One call: how many seconds it took, for how many images, and if it had all cores."""

    seconds: float
    images: int
    alone: bool


class Batcher:
    """The threads that call the engine, one for each of its streams.

    A thread takes the oldest waiting picture and with it those of the same input shape, up to
    `max_batch`; it never waits for more to come. Where one picture is all that there is, the
    engine is told so.
    """

    def __init__(
        self,
        engine: Engine,
        max_batch: int,
        fixed_batch: int | None,
        coming: Callable[[], int],
        deliver: Callable[[Job, list[NDArray[np.float32]], EngineCall], None],
        release: Callable[[int], None],
    ) -> None:
        """Start the threads.

        Args:
            engine: called from these threads only.
            max_batch: most images a call.
            fixed_batch: images a call, where the model fixes it; short batches are padded.
            coming: how many jobs are on their way here, or wait here.
            deliver: gets each job with its outputs (without the batch dimension) and what the
                engine call was; it ends the job.
            release: told how many jobs have left the queue, to the engine or failed.
        """
        self._engine = engine
        self._max_batch = max_batch
        self._coming = coming
        self._fixed_batch = fixed_batch
        self._deliver = deliver
        self._release = release
        self._ready: deque[Job] = deque()
        self._running: dict[int, list[Job]] = {}
        self._wake = Condition()
        self._closing = False
        self._reason = CLOSED
        self._threads = [
            Thread(target=self._run, args=(stream,), name="sightline-batcher", daemon=True)
            for stream in range(engine.streams)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """False once it was closed, or one of its threads died: all of them end then."""
        return not self._closing

    @property
    def running(self) -> int:
        """Jobs in the engine now."""
        return sum(len(jobs) for jobs in list(self._running.values()))

    def put(self, job: Job) -> None:
        """Queue a decoded job. After `close`, or if the thread has died, it fails at once."""
        with self._wake:
            if not self._closing:
                self._ready.append(job)
                self._wake.notify()
                return
            reason = self._reason
        job.fail(DetectorClosed(reason))
        self._release(1)

    def close(self) -> None:
        """Finish the running calls, fail what waits, end the threads."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self, stream: int) -> None:
        try:
            while jobs := self._next_batch(stream):
                self._release(len(jobs))
                self._infer([job for job in jobs if job.is_wanted()])
                self._running[stream] = []
                del jobs  # it would keep their pictures until the next batch comes
        finally:
            self._abandon(stream)

    def _next_batch(self, stream: int) -> list[Job]:
        """The next jobs of one shape, oldest first; empty once closing."""
        with self._wake:
            self._wake.wait_for(lambda: self._ready or self._closing)
            if self._closing:
                return []
            shape = _tensor(self._ready[0]).shape
            batch: list[Job] = []
            others: deque[Job] = deque()
            for job in self._ready:
                fits = len(batch) < self._max_batch and _tensor(job).shape == shape
                (batch if fits else others).append(job)
            self._ready = others
            self._running[stream] = batch
            return batch

    def _infer(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        alone = self.running <= len(jobs) and self._coming() == 0
        started = perf_counter()
        try:
            outputs = self._call_engine(jobs, alone)
        except Exception as error:  # noqa: BLE001  whatever the engine raises must reach its futures
            self._isolate(jobs, error)
            return
        call = EngineCall(perf_counter() - started, len(jobs), alone)
        for index, job in enumerate(jobs):
            self._deliver(job, [output[index] for output in outputs], call)

    def _call_engine(self, jobs: list[Job], alone: bool) -> list[NDArray[np.float32]]:
        images = np.stack([_tensor(job) for job in jobs]) if jobs[1:] else _tensor(jobs[0])[None]
        expected = len(jobs)
        if self._fixed_batch and self._fixed_batch > expected:
            padding = np.zeros((self._fixed_batch - expected, *images.shape[1:]), np.uint8)
            images = np.concatenate((images, padding))
            expected = self._fixed_batch
        outputs = self._engine.infer(images, alone=alone)
        counts = [len(output) for output in outputs]
        if not outputs or any(count != expected for count in counts):
            raise InferenceError(f"The engine answered {counts} rows for {expected} images.")
        return outputs

    def _isolate(self, jobs: list[Job], error: Exception) -> None:
        """A failed batch is tried again one by one, so that one picture cannot fail another."""
        if len(jobs) == 1:
            jobs[0].fail(as_inference_error(error))
            return
        for job in jobs:
            self._infer([job])

    def _abandon(self, stream: int) -> None:
        with self._wake:
            if not self._closing:
                self._closing, self._reason = True, DIED
                self._wake.notify_all()
            left, self._ready = [*self._running.pop(stream, []), *self._ready], deque()
        for job in left:
            job.fail(DetectorClosed(self._reason))
        self._release(len(left))  # whoever waits in a lane is let through, and fails too


def _tensor(job: Job) -> NDArray[np.uint8]:
    if job.tensor is None:
        raise InferenceError("A picture reached the batcher before it was decoded.")
    return job.tensor


def as_inference_error(error: Exception) -> Exception:
    """`error` if it is one of ours, else an InferenceError with it as the cause."""
    if isinstance(error, SightlineError):
        return error
    wrapped = InferenceError(f"Inference failed: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
