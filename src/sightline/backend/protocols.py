"""The protocols of operation handlers, one for each concern, without HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sightline.backend.messages import (
        BackendStatus,
        ClientRequest,
        DetectReply,
        DetectRequest,
        Done,
        Empty,
        LoadRequest,
        ModelInfo,
        RemoveRequest,
        RoomRequest,
    )


class EncodedImage(Protocol):
    """A compressed picture of a request."""

    def load(self) -> bytes:
        """All its bytes. May read the disk, so not for the event loop."""

    def close(self) -> None:
        """Free its memory or file; may be called again. For the event loop."""


class Inference(Protocol):
    """Detects objects."""

    async def detect(self, request: DetectRequest, image: EncodedImage) -> DetectReply:
        """The objects in a picture. Closes the image once it is queued.

        Raises:
            BadOption, ImageError, Overloaded, ConfigError, InferenceError: as `Repository.lease`
                and `Detector.submit`.
        """

    async def require_room(self, request: RoomRequest) -> Done:
        """Check that a picture would not wait too long, by the current estimate.

        Raises:
            BadOption: there is no such model.
            Overloaded: it would wait too long.
        """


class Models(Protocol):
    """Loads and unloads models."""

    async def load(self, request: LoadRequest) -> ModelInfo:
        """Load a model, and serve it in place of the model of its name.

        Raises:
            NotAllowed: models may not be loaded from that source.
            ConfigError: the model cannot be loaded; the old one stays in service.
        """

    async def remove(self, request: RemoveRequest) -> Done:
        """Unload a model and forget it; requests under way finish.

        Raises:
            BadOption: there is no such model.
            NotAllowed: it is the default model.
        """


class Limits(Protocol):
    """The limits on one client."""

    async def count(self, request: ClientRequest) -> Done:
        """Count a request against the client's rates.

        Raises:
            RateLimited: the client has sent too many.
        """

    def admit(self, request: ClientRequest) -> AsyncGenerator[Done]:
        """Count a request, and hold a place for it until the stream is closed; replies once.

        Raises:
            RateLimited: the client has sent too many.
            TooManyAtOnce: the client has as many under way as it may.
        """


class Status(Protocol):
    """Reports the status of the service, and wakes idle parts."""

    async def status(self, request: Empty) -> BackendStatus:
        """The status of the models and their load."""

    async def wake_default(self, request: Empty) -> Done:
        """Load the default model again, if it was unloaded to make room for others."""

    async def wake_tasks(self, request: Empty) -> Done:
        """Wake background work after tasks were submitted or cancelled."""


class Background(Protocol):
    """Background work that runs as long as the service: tasks, the canary, streams."""

    def start(self) -> None:
        """Start it, on threads of its own."""

    def wake(self) -> None:
        """Make it look for work at once. Does not block."""

    def unhealthy_reasons(self) -> list[str]:
        """Why it does not work; empty if it does."""

    def close(self) -> None:
        """Stop it, and return when it has stopped."""
