"""The seam between HTTP and what every process that speaks it shares: models, queue and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from pydantic import BaseModel

from sightline.api.schemas.detect import Load
from sightline.api.schemas.models import ModelOut

if TYPE_CHECKING:
    from collections.abc import Callable

    from sightline.api.schemas.detect import DetectQuery
    from sightline.serving.job import LaneName


class EncodedImage(Protocol):
    """A compressed picture on its way in."""

    def load(self) -> bytes:
        """All its bytes. It may read the disk: not for the event loop."""

    def close(self) -> None:
        """Give back what it takes; more than once does no harm. For the event loop."""


@dataclass(frozen=True, slots=True)
class DetectReply:
    """What a client gets for a picture: JSON or a JPEG, as bytes."""

    body: bytes
    media_type: str
    headers: dict[str, str]


class BackendStatus(BaseModel):
    """How the models are.

    Attributes:
        models: all of them, the default first.
        unhealthy_reasons: why it is not ready; empty if all is well.
        notice: what people should know of a default model that nobody asked for, or "".
        gpu_available: whether this machine has a GPU that could be used.
        load: how much goes through them.
    """

    models: list[ModelOut]
    unhealthy_reasons: list[str]
    notice: str
    gpu_available: bool
    load: Load


class Backend(Protocol):
    """What answers behind HTTP; open for as long as it is entered. Used from one event loop.

    Every method raises DetectorClosed while there is nothing to answer; what else it raises is a
    SightlineError. A call that is cancelled is given up at once, and so is its work.
    """

    @property
    def device(self) -> str | None:
        """Device, engine and precision of the default model, as far as they are known."""

    @property
    def hung(self) -> list[str]:
        """Why this process cannot go on and must be ended; empty if it can."""

    async def require_room(self, model: str | None) -> None:
        """Let a request go on if its picture would be served soon, as far as can be told.

        Raises:
            BadOption: there is no such model.
            Overloaded: it would wait too long.
        """

    async def detect(
        self,
        picture: EncodedImage,
        query: DetectQuery,
        *,
        drawn: bool = False,
        lane: LaneName = "interactive",
    ) -> DetectReply:
        """The objects in a picture, as JSON or (`drawn`) on the picture, as JPEG.

        The picture is closed as soon as it is queued, in the lane that is named.

        Raises:
            BadOption, ImageError, Overloaded, ConfigError, InferenceError: as `Repository.lease`
                and `Detector.submit`.
        """

    async def status(self, *, wake: bool = False) -> BackendStatus:
        """How the models are; `wake` loads the default first, if it has given way to others."""

    async def load(self, name: str, source: str) -> ModelOut:
        """Load `source` and serve it as `name`, in place of what was there.

        Raises:
            NotAllowed: nothing may be loaded from there.
            ConfigError: it cannot be loaded; what was there serves on.
        """

    async def remove(self, name: str) -> None:
        """Unload a model and forget it; requests under way finish.

        Raises:
            BadOption: there is no such model.
            NotAllowed: it is the default.
        """

    async def admit(self, client: str, *, place: bool) -> Callable[[], None]:
        """Count a request of `client`, and let it in.

        Args:
            client: the name of its key, or its address.
            place: it takes one of the places for requests under way as well.

        Returns:
            What gives the place back; to be called once.

        Raises:
            RateLimited: it has sent too many.
            TooManyAtOnce: it has as many under way as it may.
        """

    async def wake(self) -> None:
        """Tasks were submitted or cancelled: whoever works on them looks at once."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...
