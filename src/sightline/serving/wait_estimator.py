"""Wait estimator: predicts waits from the measured time of pictures in each stage."""

from __future__ import annotations

from math import ceil
from time import perf_counter

_WEIGHT = 0.1  # of the newest picture in the running means, after the first ten
_SPREAD = 10.0  # seconds over which the retries of refused callers are spread
_MOST_LOST = 2.0  # cap on the measured pace, in times of the slower stage: ignores machine pauses
_MARGIN = 1.25  # factor on waits: means lag behind, and a retry too early is refused again


class WaitEstimator:
    """Exponential running means of the seconds of a picture in each stage.

    Used from many threads without a lock: a lost update only moves a mean a little.
    """

    def __init__(self, workers: int, streams: int, batch: int) -> None:
        """An estimator without measurements: predicts 0 until the first picture is finished.

        Args:
            workers: number of decode threads.
            streams: number of engine calls that run at once.
            batch: most images of an engine call.
        """
        self._workers = workers
        self._streams = streams
        self._batch = batch
        self._noted = 0
        self._vision = 0.0
        self._inference = 0.0
        self._between = 0.0  # seconds between two finished pictures, while the stages are busy
        self._left: float | None = None  # when the last one finished, if the stages were busy
        self._promised = 0.0  # latest time that a caller was told to retry at (`perf_counter`)

    def note(self, vision: float, inference: float) -> None:
        """Record the seconds of one picture in each stage.

        Args:
            vision: seconds of decoding and postprocessing.
            inference: its share of an engine call, divided by the calls that run at once.
        """
        # The first picture is the warm-up, which is slow and has nothing to decode: the second
        # replaces it.
        weight = max(_WEIGHT, 1 / max(1, self._noted))
        self._noted += 1
        self._vision += weight * (vision - self._vision)
        self._inference += weight * (inference - self._inference)

    def leave(self, busy: bool) -> None:
        """Record that a picture is finished.

        Args:
            busy: the stages have enough work until the next one is finished.
        """
        now = perf_counter()
        if self._left is not None:
            self._between += _WEIGHT * (now - self._left - self._between)
        self._left = now if busy else None

    def seconds(self, pictures: int) -> float:
        """Predicted seconds until so many pictures are finished.

        The pace is that of the slower stage, or the measured one if that is slower: threads wait
        for each other, for HTTP, and for other work on the machine.
        """
        stage = max(self._inference, self._vision / self._workers)
        return pictures * max(stage, min(self._between, _MOST_LOST * stage))

    def retry_after(self, wait: float, bearable: float = 0) -> int:
        """Whole seconds, at least 1, until a wait of `wait` seconds has shrunk to `bearable`.

        Assumes that no other callers arrive than those that were told to retry. Each is told
        another time, so that they do not all return at once. Includes one more batch, because
        pictures finish in batches.
        """
        step = self._vision + self._streams * self._batch * self._inference
        now = perf_counter()
        earliest = now + _MARGIN * (wait + step) - bearable
        back = min(earliest + _SPREAD, max(earliest, self._promised + self.seconds(1)))
        self._promised = back
        return max(1, ceil(back - now))
