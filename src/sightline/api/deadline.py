"""The deadline of a request: how long its client waits for the answer."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sightline.errors import BadOption, DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

HEADER = "X-Timeout-Ms"
MOST_MS = 3_600_000


def seconds_of(request: Request, default: float) -> float:
    """Seconds that the client of `request` waits: `X-Timeout-Ms`, at most the default.

    Raises:
        BadOption: the header is no whole number from 1 to `MOST_MS`.
    """
    given = request.headers.get(HEADER)
    if given is None:
        return default
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:10]) <= MOST_MS):
        raise BadOption(f"{HEADER} must be a whole number of milliseconds, 1 to {MOST_MS}.")
    return min(default, int(given) / 1000)


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """Cancel the work inside after `seconds`.

    Raises:
        DeadlineExceeded: the time is over.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"The answer was not there within {seconds:g} s. The service is busy: send the request "
            f"again, or wait longer ({HEADER})."
        ) from error
