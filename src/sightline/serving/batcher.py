"""The batcher: groups decoded pictures into engine calls, and runs them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import Condition
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from sightline.errors import DetectorClosed, InferenceError, SightlineError, WorkerDied
from sightline.serving.lanes import SHARES
from sightline.threads import BATCHERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sightline.engines.base import Engine
    from sightline.serving.job import Job

CLOSED = "The detector is closed."


@dataclass(frozen=True, slots=True)
class EngineCall:
    """One engine call: its seconds, its number of images, and whether it had all cores."""

    seconds: float
    images: int
    alone: bool


class Batcher:
    """The threads that call the engine, one for each of its streams.

    A thread takes the most urgent waiting picture, and others of the same input shape up to
    `max_batch`. It never waits for a batch to fill. The engine is told when a call is the only
    work (`alone`).
    """

    def __init__(
        self,
        engine: Engine,
        max_batch: int,
        fixed_batch: int | None,
        coming: Callable[[], int],
        deliver: Callable[[Job, list[NDArray[np.float32]], EngineCall], None],
        release: Callable[[Sequence[Job]], None],
        died: Callable[[BaseException], None],
    ) -> None:
        """Start the threads.

        Args:
            engine: called from these threads only.
            max_batch: most images of a call.
            fixed_batch: images of a call, if the model fixes it; short batches are padded.
            coming: number of jobs that are being decoded, or wait here.
            deliver: gets each job with its outputs (without the batch dimension) and its engine
                call; it must end the job.
            release: gets the jobs that have left the queue, for the engine or by failure.
            died: called with the error that ended a thread, on that thread, after its jobs have
                failed; the other threads end too.
        """
        self._engine = engine
        self._max_batch = max_batch
        self._fixed_batch = fixed_batch
        self._coming = coming
        self._deliver = deliver
        self._release = release
        self._died = died
        self._ready: deque[Job] = deque()
        self._wake = Condition()
        self._refusal: Callable[[], DetectorClosed] | None = None  # set once jobs are refused
        self._streams = [_Stream(self._run) for _ in range(engine.streams)]
        for stream in self._streams:
            stream.thread.start()

    @property
    def alive(self) -> bool:
        """False once it was closed, or one of its threads died."""
        return self._refusal is None

    @property
    def running(self) -> int:
        """Number of jobs in the engine now."""
        return sum(len(stream.jobs) for stream in self._streams)

    @property
    def call_seconds(self) -> float:
        """Seconds since the oldest running engine call began; 0 if there is none."""
        began = [stream.call_began for stream in self._streams]
        return max((perf_counter() - start for start in began if start is not None), default=0.0)

    def put(self, job: Job) -> None:
        """Queue a decoded job. It fails at once after `close`, or after a thread died."""
        with self._wake:
            if self._refusal is None:
                self._ready.append(job)
                self._wake.notify()
                return
            refusal = self._refusal()
        job.fail(refusal)
        self._release([job])

    def close(self, timeout: float) -> bool:
        """Finish the running calls, fail the waiting jobs, end the threads.

        Args:
            timeout: most seconds for the running calls; after it, their jobs fail.

        Returns:
            False if a thread is still inside the engine. It cannot be ended there.
        """
        self._refuse(_closed)
        end = perf_counter() + timeout
        for stream in self._streams:
            stream.thread.join(max(0.0, end - perf_counter()))
        stuck = [stream for stream in self._streams if stream.thread.is_alive()]
        for stream in stuck:
            self._abandon(stream)
        return not stuck

    def _refuse(self, refusal: Callable[[], DetectorClosed]) -> bool:
        """Refuse jobs from now on, with the first refusal that was set.

        Returns:
            Whether this is the first one.
        """
        with self._wake:
            first = self._refusal is None
            self._refusal = self._refusal or refusal
            self._wake.notify_all()
            return first

    def _run(self, stream: _Stream) -> None:
        try:
            while jobs := self._next_batch(stream):
                self._release(jobs)
                self._infer(stream, [job for job in jobs if job.is_wanted()])
                stream.jobs = []
                del jobs  # or their pictures stay in memory until the next batch
        except BaseException as error:  # noqa: BLE001  every future must end
            first = self._refuse(WorkerDied)
            try:
                self._abandon(stream)
            finally:
                if first:
                    self._died(error)
        else:
            self._abandon(stream)

    def _next_batch(self, stream: _Stream) -> list[Job]:
        """The next jobs of one shape, most urgent first; empty once closing."""
        with self._wake:
            self._wake.wait_for(lambda: self._ready or self._refusal)
            if self._refusal:
                return []
            order = sorted(self._ready, key=_rank)
            shape = _tensor(order[0]).shape
            fit = [job for job in order if _tensor(job).shape == shape]
            stream.jobs = fit[: self._max_batch]
            self._ready = deque(job for job in self._ready if job not in stream.jobs)
            for job in self._ready:
                job.passed += 1
            return stream.jobs

    def _infer(self, stream: _Stream, jobs: list[Job]) -> None:
        if not jobs:
            return
        alone = self.running <= len(stream.jobs) and self._coming() == 0
        started = stream.call_began = perf_counter()
        try:
            outputs = self._call_engine(jobs, alone)
        except Exception as error:  # noqa: BLE001  engine errors go to the futures
            self._isolate(stream, jobs, error)
            return
        finally:
            stream.call_began = None
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

    def _isolate(self, stream: _Stream, jobs: list[Job], error: Exception) -> None:
        """Run a failed batch again one by one, so that only the faulty pictures fail."""
        if len(jobs) == 1:
            jobs[0].fail(as_inference_error(error))
            return
        for job in jobs:
            self._infer(stream, [job])

    def _abandon(self, stream: _Stream) -> None:
        """Fail the jobs of an ended stream, and all that wait."""
        with self._wake:
            refusal = self._refusal or _closed
            left, self._ready = [*stream.jobs, *self._ready], deque()
        for job in left:
            job.fail(refusal())
        self._release(left)  # jobs in the lanes move up, and fail too


class _Stream:
    """One batcher thread, and its current work.

    Attributes:
        jobs: the batch that it took.
        call_began: `perf_counter` seconds; None outside an engine call.
    """

    def __init__(self, run: Callable[[_Stream], None]) -> None:
        self.jobs: list[Job] = []
        self.call_began: float | None = None
        self.thread = BATCHERS.make(run, self)


def _rank(job: Job) -> float:
    """Sort key, lowest first: interactive jobs, and those passed over by their share of calls."""
    turns = SHARES["interactive"] / SHARES[job.lane]
    return 1 if job.passed >= turns else turns


def _closed() -> DetectorClosed:
    return DetectorClosed(CLOSED)


def _tensor(job: Job) -> NDArray[np.uint8]:
    if job.tensor is None:
        raise InferenceError("A picture reached the batcher before it was decoded.")
    return job.tensor


def as_inference_error(error: BaseException) -> Exception:
    """`error` if it is a SightlineError, else an InferenceError with it as the cause."""
    if isinstance(error, SightlineError):
        return error
    wrapped = InferenceError(f"Inference failed: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
