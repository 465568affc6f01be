"""The client's I/O: sending, sleeping, and blocking calls.

The client is written once, as coroutines that await a `Transport` (docs/decisions/0023). With an
`AsyncTransport` they run on an event loop. With a `BlockingTransport` they never suspend, so that
`run` gets their result at once, without a loop.
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
"""Most concurrent requests on an event loop: with hundreds, httpx's connection pool costs more than
the requests. A third each is for long polls, uploads, and short requests."""

_LIMITS = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)


class Transport(Protocol):
    """The I/O that the client needs."""

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request; returns the response, its body read.

        Raises:
            httpx.RequestError: there is no response.
        """

    async def sleep(self, seconds: float) -> None: ...

    async def call(self, work: Callable[[], T]) -> T:
        """The result of `work`, which may block."""

    async def close(self) -> None: ...


class AsyncTransport:
    """I/O on the running event loop."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None, *, trust_env: bool) -> None:
        self._http = httpx.AsyncClient(transport=transport, trust_env=trust_env, limits=_LIMITS)
        # Long polls must not block all others. Short requests are made during an upload: if they
        # had to wait for uploads, there would be a deadlock.
        self._long_polls = anyio.Semaphore(AT_ONCE // 3)
        self._uploads = anyio.Semaphore(AT_ONCE // 3)
        self._short = anyio.Semaphore(AT_ONCE // 3)

    async def send(self, request: httpx.Request) -> httpx.Response:
        async with self._limit_for(request):
            return await self._http.send(request)

    def _limit_for(self, request: httpx.Request) -> anyio.Semaphore:
        if "wait" in request.url.params:
            return self._long_polls
        in_memory = isinstance(request.stream, httpx.ByteStream)
        return self._short if in_memory else self._uploads

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def call(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work)

    async def close(self) -> None:
        await self._http.aclose()


class BlockingTransport:
    """I/O on the calling thread. Threads may share one."""

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
    raise AssertionError("a BlockingTransport never suspends")


def run_each(work: AsyncGenerator[T, None]) -> Generator[T]:
    """The items of an asynchronous generator that awaits nothing but a `BlockingTransport`."""
    try:
        while True:
            try:
                item = run(work.__anext__())
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(work.aclose())
