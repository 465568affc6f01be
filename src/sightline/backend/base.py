"""The backend interface: the seam between HTTP and the process that holds the models.

A backend is done when it passes tests/contract/test_backends.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sightline.backend.messages import DeviceInfo
    from sightline.backend.operations import Streaming, Unary
    from sightline.backend.protocols import EncodedImage

Q = TypeVar("Q")
R = TypeVar("R")


class Backend(Protocol):
    """Runs operations (`backend.operations` lists them), here or in another process.

    Used from one event loop. Every operation raises DetectorClosed while there is nothing to
    answer; what else it raises is a SightlineError. A call that is cancelled, or a stream that is
    closed, is given up at once, and so is its work.
    """

    @property
    def device(self) -> DeviceInfo | None:
        """What the default model runs on, as far as it is known."""

    @property
    def hung(self) -> list[str]:
        """Why this process cannot go on and must be ended; empty if it can."""

    async def call(
        self, operation: Unary[Q, R], request: Q, image: EncodedImage | None = None
    ) -> R:
        """The reply. An image is closed as soon as its bytes are no longer needed."""

    def stream(self, operation: Streaming[Q, R], request: Q) -> AsyncGenerator[R]:
        """The replies, one after the other; close it (`contextlib.aclosing`) to give it up."""
