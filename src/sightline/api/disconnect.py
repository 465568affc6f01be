"""Cancels work whose client disconnects."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.requests import Request

T = TypeVar("T")


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`.

    Raises:
        ClientDisconnect: the client disconnected first; the work is cancelled.
    """
    answer = asyncio.ensure_future(work)
    gone = asyncio.create_task(_until_disconnect(request))
    try:
        waiting: set[asyncio.Future[Any]] = {answer, gone}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        gone.cancel()
        answer.cancel()


async def _until_disconnect(request: Request) -> None:
    """Returns once the client is gone. The body has been read, so nothing else can arrive."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
