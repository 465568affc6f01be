"""Groups decoded pictures that wait for one engine call, and runs it."""

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
    """One call: how many seconds it took, for how many images, and if it had all cores."""

    seconds: float
    images: int
    alone: bool


class Batcher:
    """The threads that call the engine, one for each of its streams.

    A thread takes the oldest waiting picture of the first lane and with it those of the same input
    shape, up to `max_batch`; it never waits for more to come. Where one call is all that there is
    to do, the engine is told so.
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
            max_batch: most images a call.
            fixed_batch: images a call, where the model fixes it; short batches are padded.
            coming: how many jobs are on their way here, or wait here.
            deliver: gets each job with its outputs (without the batch dimension) and what the
                engine call was; it ends the job.
            release: told which jobs have left the queue, to the engine or failed.
            died: called on a thread with what killed it, once every job of its has failed; the
                others end with it.
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
        self._refusal: Callable[[], DetectorClosed] | None = None  # once no job is taken any more
        self._streams = [_Stream(self._run) for _ in range(engine.streams)]
        for stream in self._streams:
            stream.thread.start()

    @property
    def alive(self) -> bool:
        """False once it was closed, or one of its threads died."""
        return self._refusal is None

    @property
    def running(self) -> int:
        """Jobs in the engine now."""
        return sum(len(stream.jobs) for stream in self._streams)

    @property
    def call_seconds(self) -> float:
        """How long the oldest engine call under way has taken; 0 if there is none."""
        began = [stream.call_began for stream in self._streams]
        return max((perf_counter() - one for one in began if one is not None), default=0.0)

    def put(self, job: Job) -> None:
        """Queue a decoded job. After `close`, or if a thread has died, it fails at once."""
        with self._wake:
            if self._refusal is None:
                self._ready.append(job)
                self._wake.notify()
                return
            refusal = self._refusal()
        job.fail(refusal)
        self._release([job])

    def close(self, timeout: float) -> bool:
        """Finish the running calls, fail what waits, end the threads.

        Args:
            timeout: seconds that the running calls may still take; what they work on fails then.

        Returns:
            False if a thread is still inside the engine: nothing can end it there.
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
        """Take no jobs any more, for the first reason given.

        Returns:
            Whether this is it.
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
                del jobs  # it would keep their pictures until the next batch comes
        except BaseException as error:  # noqa: BLE001  whatever it is, no future may be left behind
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
        except Exception as error:  # noqa: BLE001  whatever the engine raises must reach its futures
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
        """A failed batch is tried again one by one, so that one picture cannot fail another."""
        if len(jobs) == 1:
            jobs[0].fail(as_inference_error(error))
            return
        for job in jobs:
            self._infer(stream, [job])

    def _abandon(self, stream: _Stream) -> None:
        """Fail what a stream leaves, once it is closed."""
        with self._wake:
            refusal = self._refusal or _closed
            left, self._ready = [*stream.jobs, *self._ready], deque()
        for job in left:
            job.fail(refusal())
        self._release(left)  # whoever waits in a lane is let through, and fails too


class _Stream:
    """A thread, and what it works on.

    Attributes:
        jobs: of the batch that it took.
        call_began: `perf_counter` seconds; None outside the engine.
    """

    def __init__(self, run: Callable[[_Stream], None]) -> None:
        self.jobs: list[Job] = []
        self.call_began: float | None = None
        self.thread = BATCHERS.make(run, self)


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
