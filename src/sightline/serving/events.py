"""Events that serving emits, and how others hear of them (wiring connects them)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from sightline.serving.job import LaneName
    from sightline.types import Detections, Timing

E = TypeVar("E")

_log = logging.getLogger("sightline")


@dataclass(frozen=True, slots=True)
class InferenceFinished:
    """A picture has its answer, or has failed. One whose caller has gone gives no event.

    Attributes:
        model: the model's name.
        digest: of its weights.
        lane: the lane that the picture came through.
        timing: where its time went; None if it failed.
        detections: what was found; None if it failed.
        error: why it failed; None if it did not.
    """

    model: str
    digest: str
    lane: LaneName
    timing: Timing | None = None
    detections: Detections | None = None
    error: BaseException | None = None


class Events:
    """Hands each event to those who subscribed to its class. Safe from many threads."""

    def __init__(self) -> None:
        self._handlers: dict[type, tuple[Callable[[Any], None], ...]] = {}

    def subscribe(self, event: type[E], handler: Callable[[E], None]) -> None:
        """Call `handler` with each event of this class, on the thread that emits it: be quick."""
        self._handlers[event] = (*self._handlers.get(event, ()), handler)

    def emit(self, event: object) -> None:
        """Call the handlers. One that fails is logged, and keeps nobody else from the event."""
        for handler in self._handlers.get(type(event), ()):
            try:
                handler(event)
            except Exception:  # noqa: BLE001  whoever listens must not fail the picture
                _log.exception("a handler of %s failed", type(event).__name__)
