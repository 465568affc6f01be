"""The shutdown event, which ends requests that would otherwise go on for long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.types import Scope

T = TypeVar("T")

SHUTDOWN = "sightline.shutdown"
"""The key in a request's scope of an `asyncio.Event`. Servers other than ours set none."""


async def until_shutdown(scope: Scope, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`; None if the server shuts down first, which cancels the work."""
    shutting_down: asyncio.Event = scope.get(SHUTDOWN) or asyncio.Event()
    shutdown = asyncio.create_task(shutting_down.wait())
    running = asyncio.create_task(work)
    try:
        await asyncio.wait({shutdown, running}, return_when=asyncio.FIRST_COMPLETED)
        return running.result() if running.done() else None
    finally:
        shutdown.cancel()
        running.cancel()
