"""The backend in this process: models, queue and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from sightline.backend.messages import DeviceInfo
    from sightline.backend.operations import Handlers, Streaming, Unary
    from sightline.backend.protocols import EncodedImage

Q = TypeVar("Q")
R = TypeVar("R")


class LocalBackend:
    """Runs operations with their handlers. See `base.Backend`."""

    def __init__(
        self,
        handlers: Handlers,
        device: Callable[[], DeviceInfo | None],
        hung: Callable[[], list[str]],
    ) -> None:
        """A backend on open handlers; `device` and `hung` compute the properties of that name."""
        self._handlers = handlers
        self._device = device
        self._hung = hung

    @property
    def device(self) -> DeviceInfo | None:
        return self._device()

    @property
    def hung(self) -> list[str]:
        return self._hung()

    async def call(
        self, operation: Unary[Q, R], request: Q, image: EncodedImage | None = None
    ) -> R:
        return await operation.handle(self._handlers, request, image)

    def stream(self, operation: Streaming[Q, R], request: Q) -> AsyncGenerator[R]:
        return operation.handle(self._handlers, request)
