"""One picture on its way through the detector."""

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
        timing: where the time went.
        image: the upright picture that was detected in, if it was asked for.
    """

    detections: Detections
    timing: Timing
    image: BGRImage | None


@dataclass(slots=True, eq=False, weakref_slot=True)
class Job:
    """A picture, what was asked of it, and the future that always ends.

    Attributes:
        source: compressed bytes, or pixels that a caller had decoded already.
        deadline: `perf_counter` seconds after which nobody waits any more; None for never.
        max_wait: seconds; it is refused if it still waits then, though less was foreseen.
        keep_image: hand the decoded picture back with the result (for drawing).
        shrink: a JPEG may be decoded to this part of its width and height: 1, 2, 4 or 8.
        weight: bytes that its pixels take at most while they are worked on.
        lane: its class of work.
        passed: engine calls that took others while it was ready.
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

    # Filled on the way.
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
        """False once its caller has gone, or it has waited for too long (and then it is ended)."""
        if self.future.done():
            return False
        now = perf_counter()
        if self.deadline is not None and now > self.deadline:
            self.fail(DeadlineExceeded("The deadline passed before the picture's turn came."))
            return False
        if self.max_wait is not None and now > self.submitted + self.max_wait:
            # Those behind it came later, and none waits longer either.
            reason = f"The picture still waited after {self.max_wait:g} s, longer than foreseen."
            self.fail(Overloaded(reason, max(1, ceil(self.max_wait))))
            return False
        return True

    def succeed(self, result: InferenceResult) -> None:
        with suppress(InvalidStateError):  # its caller has gone, or its worker died meanwhile
            self.future.set_result(result)

    def fail(self, error: Exception) -> None:
        # The error's traceback may hold this job for as long as it is held.
        self.image = self.tensor = None
        with suppress(InvalidStateError):  # it has ended already
            self.future.set_exception(error)
