"""Limits on one client: its rate of requests, and its concurrent requests."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from limits import RateLimitItem, RateLimitItemPerSecond, parse_many
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from sightline.backend.messages import Done
from sightline.errors import ConfigError, RateLimited, TooManyAtOnce

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from sightline.backend.messages import ClientRequest
    from sightline.settings import Settings

_HALF_LIFE = 60.0  # seconds in which the longest request halves


class ClientLimits:
    """The limits on each client, by the name of its key or its address.

    For the event loop only. See `protocols.Limits`.
    """

    def __init__(self, settings: Settings) -> None:
        """The limits in `settings`.

        Raises:
            ConfigError: the rate limit cannot be parsed.
        """
        self._rates = _parse(settings.rate_limit)
        self._window = MovingWindowRateLimiter(MemoryStorage()) if self._rates else None
        self._max_concurrent = settings.max_concurrent
        self._running: Counter[str] = Counter()
        self._longest = LongestRequest(settings.max_wait)
        self._most = settings.request_timeout

    async def count(self, request: ClientRequest) -> Done:
        self._count(request.client)
        return Done()

    async def admit(self, request: ClientRequest) -> AsyncGenerator[Done]:
        self._count(request.client)
        release = self._take(request.client)
        try:
            yield Done()
            await asyncio.Event().wait()  # until the stream is closed
        finally:
            release()

    def _count(self, client: str) -> None:
        if self._window is None:
            return
        full = [rate for rate in self._rates if not self._window.test(rate, client)]
        if full:
            # An entry leaves the window only when it is older than the window: hence + 1.
            resets = [self._window.get_window_stats(rate, client).reset_time for rate in full]
            wait = max(1, int(max(resets) - time.time()) + 1)
            raise RateLimited(f"More than {full[0]} are not answered.", wait)
        for rate in self._rates:
            self._window.hit(rate, client)

    def _take(self, client: str) -> Callable[[], None]:
        """Take a place for a request of `client`; call the result to give it back."""
        if self._max_concurrent is None:
            return _nothing
        if self._running[client] >= self._max_concurrent:
            raise TooManyAtOnce(
                f"{self._max_concurrent} requests of yours are under way, and no more are taken.",
                max(1, ceil(self._longest.seconds())),
            )
        self._running[client] += 1
        return partial(self._give_back, client, time.monotonic())

    def _give_back(self, client: str, started: float) -> None:
        # Bounded, since a stream of events lasts as long as its task.
        self._longest.note(min(time.monotonic() - started, self._most))
        self._running[client] -= 1
        if not self._running[client]:
            del self._running[client]


def _nothing() -> None:
    """Gives nothing back, since no place was taken."""


class LongestRequest:
    """Estimates when a place is free: the longest recent request, halved every `_HALF_LIFE`."""

    def __init__(self, first: float) -> None:
        """An estimate that begins at `first` seconds."""
        self._seconds = first
        self._noted = time.monotonic()

    def note(self, seconds: float) -> None:
        """Record a request that took `seconds`."""
        if seconds >= self.seconds():
            self._seconds, self._noted = seconds, time.monotonic()

    def seconds(self) -> float:
        """The current estimate."""
        return float(self._seconds * 0.5 ** ((time.monotonic() - self._noted) / _HALF_LIFE))


def _parse(text: str | None) -> list[RateLimitItem]:
    if text is None:
        return []
    try:
        if text.strip().isdigit():
            return [RateLimitItemPerSecond(_positive(int(text)))]
        rates = parse_many(text)
        for rate in rates:
            _positive(rate.amount)
    except ValueError as error:
        raise ConfigError(
            f"option 'rate_limit' must be a number a second or like '100/minute', not '{text}'"
        ) from error
    return rates


def _positive(amount: int) -> int:
    if amount < 1:
        raise ValueError(amount)
    return amount
