"""Model slots: a model's name and source, and its loaded version."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from sightline.backoff import Backoff

if TYPE_CHECKING:
    from sightline.serving.detector import Detector

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts to open a model again


@dataclass(slots=True, eq=False)
class LoadedModel:
    """One loaded version of a model. Closed once it is retired and has no leases.

    Attributes:
        detector: runs this version.
        leases: number of requests that use it now.
        retired: it was replaced or unloaded.
        fault: a fault that was found, in words; None if there is none.
    """

    detector: Detector
    leases: int = 0
    retired: bool = False
    fault: str | None = None


@dataclass(slots=True, eq=False)
class ModelSlot:
    """A named model: its source, and its loaded version if there is one.

    Attributes:
        backoff: pause after consecutive deaths of its worker or failed attempts to open it.
    """

    name: str
    source: str | None
    loaded: LoadedModel | None = None
    last_used: float = field(default_factory=monotonic)
    backoff: Backoff = field(default_factory=lambda: Backoff(_FIRST_PAUSE, _LONGEST_PAUSE))
