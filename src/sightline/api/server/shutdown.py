"""A server that goes down tells those requests that would go on for long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.types import Scope

T = TypeVar("T")

SHUTDOWN = "sightline.leaving"
"""Key in a request's scope of an `asyncio.Event`. Other servers than ours set none."""


async def until_shutdown(scope: Scope, work: Coroutine[Any, Any, T]) -> T | None:
    """What comes of `work`; None if the server goes down first, and the work is given up."""
    shutting_down: asyncio.Event = scope.get(SHUTDOWN) or asyncio.Event()
    told = asyncio.create_task(shutting_down.wait())
    working = asyncio.create_task(work)
    try:
        await asyncio.wait({told, working}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        told.cancel()
        working.cancel()
