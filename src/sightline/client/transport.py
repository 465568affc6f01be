"""How a client reaches the world: sends, sleeps, and does what would block.

What a client does is written once, as coroutines that await a `Transport` (docs/decisions/0023).
On an `AsyncTransport` they are run by an event loop. On a `BlockingTransport` nothing they await
ever suspends, so that `run` gets their result at once, without a loop.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio
import anyio.to_thread
import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator

T = TypeVar("T")

AT_ONCE = 24
"""Requests under way on an event loop: with hundreds, the pool of connections costs more than they
do. A third each for those that the service holds back, that send pictures, and that are brief."""

_LIMITS = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)


class Transport(Protocol):
    """The world, as a client sees it."""

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The answer, its body read.

        Raises:
            httpx.RequestError: there is none.
        """

    async def sleep(self, seconds: float) -> None: ...

    async def call(self, work: Callable[[], T]) -> T:
        """What `work` gives, which may take a while."""

    async def close(self) -> None: ...


class AsyncTransport:
    """On the event loop of whoever awaits."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None, *, trust_env: bool) -> None:
        self._http = httpx.AsyncClient(transport=transport, trust_env=trust_env, limits=_LIMITS)
        # Those that the service holds back must not keep all others waiting, and brief ones are
        # made in the middle of an upload: if they waited for uploads, all would wait for ever.
        self._held = anyio.Semaphore(AT_ONCE // 3)
        self._uploads = anyio.Semaphore(AT_ONCE // 3)
        self._brief = anyio.Semaphore(AT_ONCE // 3)

    async def send(self, request: httpx.Request) -> httpx.Response:
        async with self._turn_of(request):
            return await self._http.send(request)

    def _turn_of(self, request: httpx.Request) -> anyio.Semaphore:
        if "wait" in request.url.params:
            return self._held
        in_memory = isinstance(request.stream, httpx.ByteStream)
        return self._brief if in_memory else self._uploads

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def call(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work)

    async def close(self) -> None:
        await self._http.aclose()


class BlockingTransport:
    """On the thread of whoever calls. Several may share it."""

    def __init__(self, transport: httpx.BaseTransport | None, *, trust_env: bool) -> None:
        self._http = httpx.Client(transport=transport, trust_env=trust_env)

    async def send(self, request: httpx.Request) -> httpx.Response:
        return self._http.send(request)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def call(self, work: Callable[[], T]) -> T:
        return work()

    async def close(self) -> None:
        self._http.close()


def run(work: Coroutine[None, None, T]) -> T:
    """The result of a coroutine that awaits nothing but a `BlockingTransport`."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("a BlockingWire never suspends")


def run_each(work: AsyncGenerator[T, None]) -> Generator[T]:
    """What an asynchronous generator yields that awaits nothing but a `BlockingTransport`."""
    try:
        while True:
            try:
                item = run(work.__anext__())
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(work.aclose())
