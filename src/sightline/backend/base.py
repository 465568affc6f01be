"""The backend interface, between HTTP and the process that holds the models.

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
    """Runs operations (`backend.operations` lists them), in this process or in another.

    Used from one event loop. Every operation raises DetectorClosed while no process can answer, and
    no errors but SightlineErrors. Cancelling a call, or closing a stream, cancels its work at once.
    """

    @property
    def device(self) -> DeviceInfo | None:
        """What the default model runs on; None if that is not known."""

    @property
    def hung(self) -> list[str]:
        """The reasons why this process hangs and must be ended; empty if it works."""

    async def call(
        self, operation: Unary[Q, R], request: Q, image: EncodedImage | None = None
    ) -> R:
        """Run an operation with one reply. Closes the image once its bytes are not needed."""

    def stream(self, operation: Streaming[Q, R], request: Q) -> AsyncGenerator[R]:
        """Run an operation with many replies; close it (`contextlib.aclosing`) to cancel it."""
