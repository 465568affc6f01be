"""The asynchronous client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.client.core import ClientCore
from sightline.client.service import HttpService, address_of
from sightline.client.transport import AsyncTransport

if TYPE_CHECKING:
    from typing import Self

    import httpx


class AsyncClient(ClientCore):
    """Asynchronous client of a Sightline service.

    At most 24 requests are in flight at once; further ones wait.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 30,
        patience: float = 120,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """See `Client`."""
        address, here = address_of(base_url)
        io = AsyncTransport(transport, trust_env=not here)
        super().__init__(HttpService(io, address, api_key, timeout, patience))

    def __repr__(self) -> str:
        return f"AsyncClient({self._service.shown!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
