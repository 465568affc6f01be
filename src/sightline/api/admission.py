"""Admission of requests: checks the limits on a client, which the backend keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.backend.messages import ClientRequest
from sightline.backend.operations import ADMIT, COUNT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sightline.backend.base import Backend
    from sightline.settings import Settings


class Admission:
    """Checks the limits on clients with the backend. Makes no call if no limit is set."""

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self._backend = backend
        self._limits_concurrency = settings.max_concurrent is not None
        self._counts = self._limits_concurrency or settings.rate_limit is not None

    async def count(self, client: str) -> None:
        """Count a request of `client` (the name of its key, or its address).

        Raises:
            RateLimited: the client has sent too many.
        """
        if self._counts:
            await self._backend.call(COUNT, ClientRequest(client))

    async def admit(self, client: str) -> Callable[[], Awaitable[None]]:
        """Count a request of `client`, and take a place among its concurrent requests.

        Returns:
            Releases the place.

        Raises:
            RateLimited: the client has sent too many.
            TooManyAtOnce: the client has as many under way as it may.
        """
        if not self._limits_concurrency:
            await self.count(client)
            return release_nothing
        place = self._backend.stream(ADMIT, ClientRequest(client))
        try:
            await anext(place)
        except BaseException:
            await place.aclose()
            raise
        return place.aclose


async def release_nothing() -> None:
    """Releases nothing, since no place was taken."""
