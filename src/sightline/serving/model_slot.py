"""A model under its name, and a loaded version of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from sightline.backoff import Backoff

if TYPE_CHECKING:
    from sightline.serving.detector import Detector

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts to open it again


@dataclass(slots=True, eq=False)
class LoadedModel:
    """One loaded version of a model. Closed once it is retired and nobody uses it any more.

    Attributes:
        detector: answers for it.
        leases: how many requests use it now.
        retired: a newer version has taken its place, or it was unloaded.
        fault: what was found wrong with it, or None.
    """

    detector: Detector
    leases: int = 0
    retired: bool = False
    fault: str | None = None


@dataclass(slots=True, eq=False)
class ModelSlot:
    """A model under its name: where it comes from, and its loaded version if there is one.

    Attributes:
        backoff: after deaths of its workers, and failures to open it again, in a row.
    """

    name: str
    source: str | None
    loaded: LoadedModel | None = None
    last_used: float = field(default_factory=monotonic)
    backoff: Backoff = field(default_factory=lambda: Backoff(_FIRST_PAUSE, _LONGEST_PAUSE))
