"""A job: one picture in the detector, with its options and its future."""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, Literal

from sightline.errors import DeadlineExceeded, Overloaded

if TYPE_CHECKING:
    from sightline.types import BGRImage, Detections, DetectOptions, Timing
    from sightline.vision.letterbox import Placement

LaneName = Literal["interactive", "stream", "batch"]


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """The answer for one picture.

    Attributes:
        detections: in upright source pixels.
        timing: time in each stage.
        image: the upright picture, if `keep_image` was set.
    """

    detections: Detections
    timing: Timing
    image: BGRImage | None


@dataclass(slots=True, eq=False, weakref_slot=True)
class Job:
    """A picture, its options, and a future that always ends.

    Attributes:
        source: compressed bytes, or decoded pixels.
        deadline: `perf_counter` seconds after which it fails unprocessed; None for never.
        max_wait: most seconds in the queue; after them it is refused, although the predicted wait
            was shorter.
        keep_image: return the decoded picture with the result (for drawing).
        shrink: divisor of width and height at which a JPEG may be decoded: 1, 2, 4 or 8.
        weight: most bytes of its pixels during processing.
        lane: its class of work.
        passed: number of engine calls that took other jobs while it was ready.
    """

    source: bytes | BGRImage
    options: DetectOptions
    deadline: float | None = None
    keep_image: bool = False
    shrink: int = 1
    weight: int = 0
    max_wait: float | None = None
    future: Future[InferenceResult] = field(default_factory=Future)
    submitted: float = field(default_factory=perf_counter)

    # Set during processing.
    lane: LaneName = "interactive"
    passed: int = 0
    started: float = 0.0
    decoded: float = 0.0
    image: BGRImage | None = None
    tensor: BGRImage | None = None
    placement: Placement | None = None

    @property
    def nbytes(self) -> int:
        return len(self.source) if isinstance(self.source, bytes) else self.source.nbytes

    def is_wanted(self) -> bool:
        """False if the future has ended. Fails the job first if it has waited too long."""
        if self.future.done():
            return False
        now = perf_counter()
        if self.deadline is not None and now > self.deadline:
            self.fail(DeadlineExceeded("The deadline passed before the picture's turn came."))
            return False
        if self.max_wait is not None and now > self.submitted + self.max_wait:
            # The jobs behind it came later, so they have waited no longer.
            reason = f"The picture still waited after {self.max_wait:g} s, longer than foreseen."
            self.fail(Overloaded(reason, max(1, ceil(self.max_wait))))
            return False
        return True

    def succeed(self, result: InferenceResult) -> None:
        with suppress(InvalidStateError):  # cancelled, or its worker died
            self.future.set_result(result)

    def fail(self, error: Exception) -> None:
        # The error's traceback may keep this job alive.
        self.image = self.tensor = None
        with suppress(InvalidStateError):  # it has ended already
            self.future.set_exception(error)
