"""Groups decoded pictures that wait for one engine call, and runs it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import Condition, Thread
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from sightline.errors import DetectorClosed, InferenceError, SightlineError, WorkerDied
from sightline.serving.lanes import SHARES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sightline.engines.base import Engine
    from sightline.serving.job import Job

CLOSED = "The detector is closed."


@dataclass(frozen=True, slots=True)
class EngineCall:
    """One call: how many seconds it took, for how many images."""

    seconds: float
    images: int


class Batcher:
    """One thread that owns the engine.

    It takes the oldest waiting picture of the first lane and with it those of the same input shape,
    up to the engine's `max_batch`; it never waits for more to come.
    """

    def __init__(
        self,
        engine: Engine,
        fixed_batch: int | None,
        deliver: Callable[[Job, list[NDArray[np.float32]], EngineCall], None],
        release: Callable[[Sequence[Job]], None],
        died: Callable[[BaseException], None],
    ) -> None:
        """Start the thread.

        Args:
            engine: called from this thread only.
            fixed_batch: images a call, where the model fixes it; short batches are padded.
            deliver: gets each job with its outputs (without the batch dimension) and what the
                engine call was; it ends the job.
            release: told which jobs have left the queue, to the engine or failed.
            died: called on the thread with what killed it, once every job has failed.
        """
        self._engine = engine
        self._fixed_batch = fixed_batch
        self._deliver = deliver
        self._release = release
        self._died = died
        self._ready: deque[Job] = deque()
        self._running: list[Job] = []
        self._wake = Condition()
        self._refusal: Callable[[], DetectorClosed] | None = None  # once no job is taken any more
        self._call_began: float | None = None
        self._thread = Thread(target=self._run, name="sightline-batcher", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._refusal is not WorkerDied and self._thread.is_alive()

    @property
    def running(self) -> int:
        """Jobs in the engine now."""
        return len(self._running)

    @property
    def call_seconds(self) -> float:
        """How long the engine call under way has taken; 0 if there is none."""
        began = self._call_began
        return 0.0 if began is None else perf_counter() - began

    def put(self, job: Job) -> None:
        """Queue a decoded job. After `close`, or if the thread has died, it fails at once."""
        with self._wake:
            if self._refusal is None:
                self._ready.append(job)
                self._wake.notify()
                return
            refusal = self._refusal()
        job.fail(refusal)
        self._release([job])

    def close(self, patience: float) -> bool:
        """Finish the running call, fail what waits, end the thread.

        Args:
            patience: seconds that the running call may still take; what it works on fails then.

        Returns:
            False if the thread is still inside the engine: nothing can end it there.
        """
        with self._wake:
            self._refusal = self._refusal or _closed
            self._wake.notify()
        self._thread.join(patience)
        if self._thread.is_alive():
            self._abandon()
            return False
        return True

    def _run(self) -> None:
        try:
            while jobs := self._next_batch():
                self._running = jobs
                self._release(jobs)
                self._infer([job for job in jobs if job.is_wanted()])
                self._running = []
                del jobs  # it would keep their pictures until the next batch comes
        except BaseException as error:  # noqa: BLE001  whatever it is, no future may be left behind
            self._refusal = WorkerDied
            try:
                self._abandon()
            finally:
                self._died(error)
        else:
            self._abandon()

    def _next_batch(self) -> list[Job]:
        """The next jobs of one shape, most urgent first; empty once closing."""
        with self._wake:
            self._wake.wait_for(lambda: self._ready or self._refusal)
            if self._refusal:
                return []
            order = sorted(self._ready, key=_rank)
            shape = _tensor(order[0]).shape
            fit = [job for job in order if _tensor(job).shape == shape]
            batch = fit[: self._engine.max_batch]
            self._ready = deque(job for job in self._ready if job not in batch)
            for job in self._ready:
                job.passed += 1
            return batch

    def _infer(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        started = perf_counter()
        try:
            outputs = self._call_engine(jobs)
        except Exception as error:  # noqa: BLE001  whatever the engine raises must reach its futures
            self._isolate(jobs, error)
            return
        call = EngineCall(perf_counter() - started, len(jobs))
        for index, job in enumerate(jobs):
            self._deliver(job, [output[index] for output in outputs], call)

    def _call_engine(self, jobs: list[Job]) -> list[NDArray[np.float32]]:
        images = np.stack([_tensor(job) for job in jobs])
        expected = len(jobs)
        if self._fixed_batch and self._fixed_batch > expected:
            padding = np.zeros((self._fixed_batch - expected, *images.shape[1:]), np.uint8)
            images = np.concatenate((images, padding))
            expected = self._fixed_batch
        self._call_began = perf_counter()
        try:
            outputs = self._engine.infer(images)
        finally:
            self._call_began = None
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

    def _abandon(self) -> None:
        """Fail what is left, once it is closed."""
        with self._wake:
            refusal = self._refusal or _closed
            left, self._ready = [*self._running, *self._ready], deque()
        for job in left:
            job.fail(refusal())
        self._release(left)  # whoever waits in a lane is let through, and fails too


def _rank(job: Job) -> float:
    """What is lower goes first: an interactive picture, or one that its share of calls passed."""
    turns = SHARES["interactive"] / SHARES[job.lane]
    return 1 if job.passed >= turns else turns


def _closed() -> DetectorClosed:
    return DetectorClosed(CLOSED)


def _tensor(job: Job) -> NDArray[np.uint8]:
    if job.tensor is None:
        raise InferenceError("A picture reached the batcher before it was decoded.")
    return job.tensor


def as_inference_error(error: BaseException) -> Exception:
    """`error` if it is one of ours, else an InferenceError with it as the cause."""
    if isinstance(error, SightlineError):
        return error
    wrapped = InferenceError(f"Inference failed: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
