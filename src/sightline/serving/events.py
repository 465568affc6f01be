"""Events of serving, and their subscriptions (made in `wiring`)."""

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
    """A picture has an answer, or has failed. Cancelled pictures emit no event.

    Attributes:
        model: the model's name.
        digest: of the model's weights.
        lane: the picture's lane.
        timing: time in each stage; None if it failed.
        detections: None if it failed.
        error: why it failed; None if it did not.
    """

    model: str
    digest: str
    lane: LaneName
    timing: Timing | None = None
    detections: Detections | None = None
    error: BaseException | None = None


class Events:
    """Calls the handlers that are subscribed to an event's class. Safe from many threads."""

    def __init__(self) -> None:
        self._handlers: dict[type, tuple[Callable[[Any], None], ...]] = {}

    def subscribe(self, event: type[E], handler: Callable[[E], None]) -> None:
        """Call `handler` with each event of this class, on the emitting thread: be quick."""
        self._handlers[event] = (*self._handlers.get(event, ()), handler)

    def emit(self, event: object) -> None:
        """Call the handlers. A handler's error is logged; the others are still called."""
        for handler in self._handlers.get(type(event), ()):
            try:
                handler(event)
            except Exception:  # noqa: BLE001  a handler must not fail the picture
                _log.exception("a handler of %s failed", type(event).__name__)
