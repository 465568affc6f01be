"""Operations with many replies, through both sides: in this process, and over the socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sightline.backend.base import Backend
from sightline.backend.framing import WINDOW
from sightline.backend.operations import OPERATIONS, Streaming
from sightline.backend.remote import RemoteBackend
from sightline.errors import BadOption, DetectorClosed, SightlineError
from support.backends import Bench, local, remote, rpc_server


@dataclass(frozen=True, slots=True)
class CountTo:
    """Asks for the numbers up to `last`; beyond them it fails, or goes on waiting."""

    last: int
    then: str = "end"


@dataclass(frozen=True, slots=True)
class Number:
    """A reply with fields and a body."""

    number: int
    body: bytes


class Counter:
    """The handler, which knows what became of its calls."""

    def __init__(self) -> None:
        self.produced = 0
        self.running = 0

    async def count(self, request: CountTo) -> AsyncGenerator[Number]:
        self.running += 1
        try:
            for number in range(1, request.last + 1):
                self.produced = number
                yield Number(number, bytes([number % 256]) * 1000)
            if request.then == "fail":
                raise BadOption("There are no more numbers.")
            if request.then == "break":
                raise ConnectionError("a handler's own")
            if request.then == "wait":
                await asyncio.Event().wait()
        finally:
            self.running -= 1


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def numbers(counter: Counter) -> Iterator[Streaming[CountTo, Number]]:
    """An operation that is in the table for the time of one test."""
    operation = Streaming("numbers", CountTo, Number, lambda _, request: counter.count(request))
    OPERATIONS[operation.name] = operation
    yield operation
    del OPERATIONS[operation.name]


@asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncGenerator[Bench]:
    path = folder / "engine"
    async with local(folder) as bench:
        if kind == "local":
            yield bench
        else:
            async with rpc_server(path, bench), remote(path, bench) as seen:
                yield seen


@pytest.fixture(params=["local", "remote"])
def check(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[Callable[[Backend], Any]], None]:
    def run(scenario: Callable[[Backend], Any]) -> None:
        async def whole() -> None:
            async with asyncio.timeout(120), opened(request.param, tmp_path) as bench:
                await scenario(bench.backend)
                await until(lambda: under_way(bench.backend) == 0)

        asyncio.run(whole())

    return run


def under_way(backend: Backend) -> int:
    """Calls that the front end's side of the socket still knows of."""
    if not isinstance(backend, RemoteBackend):
        return 0
    return 0 if backend._connection is None else len(backend._connection._waiting)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_all_replies_come_in_order(
    check: Any, counter: Counter, numbers: Streaming[CountTo, Number]
) -> None:
    async def scenario(backend: Backend) -> None:
        async with aclosing(backend.stream(numbers, CountTo(300))) as replies:
            got = [reply async for reply in replies]
        assert [reply.number for reply in got] == list(range(1, 301))
        assert all(reply.body == bytes([reply.number % 256]) * 1000 for reply in got)
        assert counter.running == 0

    check(scenario)


def test_a_stream_may_be_empty(
    check: Any, counter: Counter, numbers: Streaming[CountTo, Number]
) -> None:
    async def scenario(backend: Backend) -> None:
        async with aclosing(backend.stream(numbers, CountTo(0))) as replies:
            assert [reply async for reply in replies] == []
        assert counter.running == 0

    check(scenario)


def test_closed_half_way_it_leaves_nothing_behind(
    check: Any, counter: Counter, numbers: Streaming[CountTo, Number]
) -> None:
    async def scenario(backend: Backend) -> None:
        async with aclosing(backend.stream(numbers, CountTo(1000, "wait"))) as replies:
            async for reply in replies:
                if reply.number == 10:
                    break
        await until(lambda: counter.running == 0)
        assert counter.produced <= 10 + WINDOW + 1, "no further than its window"

    check(scenario)


def test_cancelled_while_it_waits_it_leaves_nothing_behind(
    check: Any, counter: Counter, numbers: Streaming[CountTo, Number]
) -> None:
    async def scenario(backend: Backend) -> None:
        reached = asyncio.Event()

        async def read() -> None:
            async with aclosing(backend.stream(numbers, CountTo(3, "wait"))) as replies:
                async for reply in replies:
                    if reply.number == 3:
                        reached.set()

        reading = asyncio.create_task(read())
        await reached.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until(lambda: counter.running == 0)

    check(scenario)


def test_an_error_ends_it_as_it_was_raised(
    check: Any, counter: Counter, numbers: Streaming[CountTo, Number]
) -> None:
    async def scenario(backend: Backend) -> None:
        replies = backend.stream(numbers, CountTo(5, "fail"))
        assert [(await anext(replies)).number for _ in range(5)] == [1, 2, 3, 4, 5]
        with pytest.raises(BadOption, match="no more numbers"):
            await anext(replies)
        assert counter.running == 0

    check(scenario)


def test_a_handler_that_breaks_ends_its_call_alone(
    tmp_path: Path, counter: Counter, numbers: Streaming[CountTo, Number]
) -> None:
    path = tmp_path / "engine"

    async def scenario() -> None:
        async with (
            asyncio.timeout(120),
            local(tmp_path) as bench,
            rpc_server(path, bench),
            remote(path, bench) as front,
        ):
            broken = front.backend.stream(numbers, CountTo(1, "break"))
            assert (await anext(broken)).number == 1
            with pytest.raises(SightlineError, match="its log says how"):
                await anext(broken)
            async with aclosing(front.backend.stream(numbers, CountTo(3))) as replies:
                assert len([reply async for reply in replies]) == 3

    asyncio.run(scenario())


def test_who_reads_slowly_is_waited_for_and_holds_up_nobody(
    check: Any, counter: Counter, numbers: Streaming[CountTo, Number]
) -> None:
    async def scenario(backend: Backend) -> None:
        async with aclosing(backend.stream(numbers, CountTo(1000))) as slow:
            assert (await anext(slow)).number == 1
            async with aclosing(backend.stream(numbers, CountTo(20))) as other:
                assert len([reply async for reply in other]) == 20
            counter.produced = 0
            assert (await anext(slow)).number == 2
            assert counter.produced <= 2 + WINDOW + 1
        await until(lambda: counter.running == 0)

    check(scenario)


def test_when_the_engine_process_ends_its_streams_fail_and_are_closed(
    tmp_path: Path, counter: Counter, numbers: Streaming[CountTo, Number]
) -> None:
    path = tmp_path / "engine"

    async def scenario() -> None:
        async with asyncio.timeout(120), local(tmp_path) as bench:
            async with rpc_server(path, bench) as server, remote(path, bench) as front:
                replies = front.backend.stream(numbers, CountTo(2, "wait"))
                assert [(await anext(replies)).number for _ in range(2)] == [1, 2]
                await server.drain(0)
                with pytest.raises(DetectorClosed, match="ended meanwhile"):
                    await anext(replies)
            await until(lambda: counter.running == 0)

    asyncio.run(scenario())


def test_when_a_front_end_ends_its_streams_are_closed(
    tmp_path: Path, counter: Counter, numbers: Streaming[CountTo, Number]
) -> None:
    path = tmp_path / "engine"

    async def scenario() -> None:
        async with asyncio.timeout(120), local(tmp_path) as bench, rpc_server(path, bench):
            async with remote(path, bench) as front:
                replies = front.backend.stream(numbers, CountTo(2, "wait"))
                assert (await anext(replies)).number == 1
            await until(lambda: counter.running == 0)
            with pytest.raises(DetectorClosed):
                [reply async for reply in replies]  # after those that had come

    asyncio.run(scenario())
