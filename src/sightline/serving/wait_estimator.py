"""How fast pictures go through, as measured, to predict a wait."""

from __future__ import annotations

from math import ceil
from time import perf_counter

_WEIGHT = 0.1  # of the newest picture in the running means, once there are ten
_SPREAD = 10.0  # seconds over which callers who were refused come back, at most
_MOST_LOST = (
    2.0  # times what the stages take: a pause of the whole machine says nothing of a picture
)
_MARGIN = 1.25  # means lag behind, and who comes back too early is refused twice


class WaitEstimator:
    """Exponential means of what a picture costs each stage.

    Used from many threads without a lock: a lost update moves a mean a little, and nothing else.
    """

    def __init__(self, workers: int, streams: int, batch: int) -> None:
        """Nothing is predicted before the first picture has gone through.

        Args:
            workers: threads of the vision pool.
            streams: engine calls that run at once.
            batch: most images an engine call.
        """
        self._workers = workers
        self._streams = streams
        self._batch = batch
        self._noted = 0
        self._vision = 0.0
        self._inference = 0.0
        self._between = 0.0  # one picture and the next that leave, while there is more to do
        self._left: float | None = None  # when the last left, if there was more to do
        self._promised = 0.0  # `perf_counter` seconds until when others were told to come back

    def note(self, vision: float, inference: float) -> None:
        """One picture took so many seconds of the vision pool, and of the engine.

        Args:
            vision: decoding and reading the outputs.
            inference: its share of an engine call, and of the engine where calls run at once.
        """
        # The first was the warm-up, slower than any other and with nothing to decode: the second
        # takes its place.
        weight = max(_WEIGHT, 1 / max(1, self._noted))
        self._noted += 1
        self._vision += weight * (vision - self._vision)
        self._inference += weight * (inference - self._inference)

    def leave(self, busy: bool) -> None:
        """A picture is through.

        Args:
            busy: there is enough to do until the next one is.
        """
        now = perf_counter()
        if self._left is not None:
            self._between += _WEIGHT * (now - self._left - self._between)
        self._left = now if busy else None

    def seconds(self, pictures: int) -> float:
        """Until so many pictures are through.

        The slower of the two stages sets the pace, but for what is lost between them: threads that
        wait for each other, HTTP, other work on the machine.
        """
        stage = max(self._inference, self._vision / self._workers)
        return pictures * max(stage, min(self._between, _MOST_LOST * stage))

    def retry_after(self, wait: float, bearable: float = 0) -> int:
        """Whole seconds, at least 1, until a wait of `wait` seconds has become a bearable one.

        If nobody comes meanwhile but those who were told so: each is told a moment of its own, or
        all would be back at once for one place. Pictures leave in batches: one more has to be
        through.
        """
        step = self._vision + self._streams * self._batch * self._inference
        now = perf_counter()
        earliest = now + _MARGIN * (wait + step) - bearable
        back = min(earliest + _SPREAD, max(earliest, self._promised + self.seconds(1)))
        self._promised = back
        return max(1, ceil(back - now))
