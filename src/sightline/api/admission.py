"""Holds each request to the limits on its client, which are kept where the models are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.backend.messages import ClientRequest
from sightline.backend.operations import ADMIT, COUNT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sightline.backend.base import Backend
    from sightline.settings import Settings


class Admission:
    """Asks the backend about a client. Where no limit is set, nobody is asked."""

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self._backend = backend
        self._holds_places = settings.max_concurrent is not None
        self._counts = self._holds_places or settings.rate_limit is not None

    async def count(self, client: str) -> None:
        """Count a request of `client`: the name of its key, or its address.

        Raises:
            RateLimited: it has sent too many.
        """
        if self._counts:
            await self._backend.call(COUNT, ClientRequest(client))

    async def admit(self, client: str) -> Callable[[], Awaitable[None]]:
        """Count a request of `client`, and hold a place for it until what is returned is called.

        Raises:
            RateLimited: it has sent too many.
            TooManyAtOnce: it has as many under way as it may.
        """
        if not self._holds_places:
            await self.count(client)
            return nothing
        place = self._backend.stream(ADMIT, ClientRequest(client))
        try:
            await anext(place)
        except BaseException:
            await place.aclose()
            raise
        return place.aclose


async def nothing() -> None:
    """No place is held."""
