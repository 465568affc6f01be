"""What handles operations: small protocols, one a concern, without HTTP."""

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
    """A compressed picture on its way in."""

    def load(self) -> bytes:
        """All its bytes. It may read the disk: not for the event loop."""

    def close(self) -> None:
        """Give back what it takes; more than once does no harm. For the event loop."""


class Inference(Protocol):
    """Detects objects."""

    async def detect(self, request: DetectRequest, image: EncodedImage) -> DetectReply:
        """The objects in a picture. The image is closed as soon as it is queued.

        Raises:
            BadOption, ImageError, Overloaded, ConfigError, InferenceError: as `Repository.lease`
                and `Detector.submit`.
        """

    async def require_room(self, request: RoomRequest) -> Done:
        """Let a request go on if its picture would be served soon, as far as can be told.

        Raises:
            BadOption: there is no such model.
            Overloaded: it would wait too long.
        """


class Models(Protocol):
    """Loads and unloads models."""

    async def load(self, request: LoadRequest) -> ModelInfo:
        """Load a model, and serve it in place of what had its name.

        Raises:
            NotAllowed: nothing may be loaded from there.
            ConfigError: it cannot be loaded; what was there serves on.
        """

    async def remove(self, request: RemoveRequest) -> Done:
        """Unload a model and forget it; requests under way finish.

        Raises:
            BadOption: there is no such model.
            NotAllowed: it is the default.
        """


class Limits(Protocol):
    """The limits on one client."""

    async def count(self, request: ClientRequest) -> Done:
        """Count a request against the client's rates.

        Raises:
            RateLimited: it has sent too many.
        """

    def admit(self, request: ClientRequest) -> AsyncGenerator[Done]:
        """Count a request, and hold a place for it until the stream is closed. One reply.

        Raises:
            RateLimited: the client has sent too many.
            TooManyAtOnce: it has as many under way as it may.
        """


class Status(Protocol):
    """Tells how the service is."""

    async def status(self, request: Empty) -> BackendStatus:
        """How the models are, and what goes through them."""

    async def wake_default(self, request: Empty) -> Done:
        """Load the default model again, if it has given way to others."""

    async def wake_tasks(self, request: Empty) -> Done:
        """Tasks were submitted or cancelled: have background work look at once."""


class Background(Protocol):
    """Work that goes on by itself for as long as the service runs: tasks, the canary, streams."""

    def start(self) -> None:
        """Begin, on threads of its own."""

    def wake(self) -> None:
        """There may be something to do: look at once. It does not block."""

    def unhealthy_reasons(self) -> list[str]:
        """Why it does not do its work; empty if it does."""

    def close(self) -> None:
        """End, and return when it has ended."""
