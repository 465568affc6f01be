"""Both clients by one interface, so that one suite holds for either."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from sightline.client import AsyncClient, AsyncTaskHandle, Client

Kind = Literal["sync", "async"]


class Told:
    """An asynchronous client, or handle, whose methods are called and not awaited."""

    def __init__(self, inner: Any, runner: asyncio.Runner) -> None:
        self._inner = inner
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inner, name)
        return self._calling(member) if callable(member) else member

    def _calling(self, method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            made = method(*args, **kwargs)
            if inspect.isasyncgen(made):
                return self._each(made)
            result = self._runner.run(made)
            return Told(result, self._runner) if isinstance(result, AsyncTaskHandle) else result

        return call

    def _each(self, made: Any) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(made, None)

        try:
            while (item := self._runner.run(following())) is not None:
                yield item
        finally:
            self._runner.run(made.aclose())


@contextmanager
def client_of(kind: Kind, base_url: str | None = None, **options: Any) -> Iterator[Any]:
    """A client of this kind, to be used as a `Client` is."""
    if kind == "sync":
        with Client(base_url, **options) as client:
            yield client
        return
    with asyncio.Runner() as runner:
        told = Told(AsyncClient(base_url, **options), runner)
        yield told
        told.close()
