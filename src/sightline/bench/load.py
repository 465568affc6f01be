"""Load generator: clients that send one request after the other, each on a keep-alive connection.

Closed loop: a client sends its next request after the answer to the last. A stalled service then
gets fewer requests, so the stall affects few latencies (coordinated omission). Open loop (`rate`):
requests are due at a constant rate; if all clients are busy, a request is sent late, and its
latency counts from when it was due.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httptools

from sightline.bench.answers import Saver
from sightline.bench.client import Connection, HttpReply, connect, kind_of, reach
from sightline.bench.phase import Phase
from sightline.bench.plan import Plan
from sightline.bench.record import RequestOutcome, RequestRecord

OnProgress = Callable[[RequestRecord, float], None]
"""Called about once a second with the record so far, and the seconds since the start."""

_BACK_OFF = 0.1  # seconds after a failed connection, to spare a service that is down
_PROGRESS_EVERY = 1.0


def run(plan: Plan, on_progress: OnProgress | None = None) -> tuple[RequestRecord, dict[str, Any]]:
    """Run a load test of `POST /detect`; Ctrl-C ends it early, and its record counts.

    Returns:
        The record, and the answer of the service's `/health` (empty without one).

    Raises:
        ConfigError: nothing listens there, or the folder to save to cannot be created.
        OSError: an answer cannot be saved.
    """
    return run_load(Load(plan, on_progress))


def run_load(load: Load) -> tuple[RequestRecord, dict[str, Any]]:
    """Run any kind of load; see `run`."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(load.run())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


class Load:
    """A load test of `POST /detect`.

    Attributes:
        plan: its parameters.
    """

    def __init__(self, plan: Plan, on_progress: OnProgress | None) -> None:
        self.plan = plan
        self._on_progress = on_progress
        self._requests = [] if plan.batch else [plan.encode(one) for one in plan.pictures]
        self._saver = Saver(plan.save, plan.pictures)
        self._stopped = asyncio.Event()
        self._idle: list[Connection] = []

    async def run(self) -> tuple[RequestRecord, dict[str, Any]]:
        plan = self.plan
        self._address = await reach(plan.target, plan.timeout)
        about = await self._health()
        record = RequestRecord()
        try:
            with _on_signals(self._stopped.set):
                if plan.warm_up:
                    record = await self._phase(plan.warm_up, None, None)
                if record.stopped:
                    record = RequestRecord(stopped=True)
                elif not record.gave_up:  # otherwise the warm-up is the result
                    record = await self._phase(plan.duration, plan.requests, self._on_progress)
        finally:
            for connection in self._idle:
                connection.close()
        return record, about

    async def _health(self) -> dict[str, Any]:
        """The answer of the service's `/health`; empty if it is not a Sightline service."""
        import json

        try:
            async with asyncio.timeout(self.plan.timeout):
                connection = await connect(self.plan.target, self._address)
                answer = await connection.send(self.plan.health_request(), keep=True)
            connection.close()
            about = json.loads(answer.body)
        except (OSError, httptools.HttpParserError, ValueError):
            return {}
        return about if isinstance(about, dict) and answer.status == 200 else {}

    async def _phase(
        self, seconds: float | None, most: int | None, on_progress: OnProgress | None
    ) -> RequestRecord:
        """Run all clients until they finish, or the test is stopped."""
        self.begin()
        phase = Phase(self.plan.rate, seconds, most)
        cpu = time.process_time()
        clients = [asyncio.ensure_future(self._client(phase)) for _ in range(self.plan.concurrency)]
        ticker = asyncio.ensure_future(_tick(phase, on_progress)) if on_progress else None
        stopper = asyncio.ensure_future(self._stopped.wait())
        finished = asyncio.gather(*clients)
        either: set[asyncio.Future[Any]] = {finished, stopper}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if finished.done():
                finished.result()  # an answer that cannot be saved ends the test
        finally:
            for task in (*clients, stopper, *([ticker] if ticker else [])):
                task.cancel()
            await asyncio.gather(finished, *clients, return_exceptions=True)
        record = phase.close(stopped=self._stopped.is_set())
        record.cpu = time.process_time() - cpu
        return record

    def begin(self) -> None:
        """Reset at the beginning of a phase."""

    async def _client(self, phase: Phase) -> None:
        connection = self._idle.pop() if self._idle else None
        try:
            while (scheduled := await phase.next()) is not None:
                connection = await self.request(phase, connection, *scheduled)
        finally:
            if connection is not None:
                self._idle.append(connection)

    async def request(
        self, phase: Phase, connection: Connection | None, index: int, due: float
    ) -> Connection | None:
        """Send one request, and heed its answer's Retry-After; returns a reusable connection."""
        closed_loop = not self.plan.rate
        phase.record.sent += 1
        request = self._requests[index % len(self._requests)]
        keep = self._saver.wants(index)
        try:
            connection, answer = await self.send(connection, request, phase.record, keep=keep)
        except asyncio.CancelledError:
            phase.record.unfinished += 1
            raise
        except (OSError, httptools.HttpParserError) as error:
            phase.note(due, RequestOutcome(0, kind_of(error)))
            await self.failed(phase, error)
            return None
        phase.answered(due, answer)
        if answer.status == 200:
            self._saver.save(index, answer)
        elif closed_loop and self.plan.wait:
            await phase.heed(answer)
        return connection

    async def send(
        self, connection: Connection | None, request: bytes, record: RequestRecord, *, keep: bool
    ) -> tuple[Connection, HttpReply]:
        """Send `request` on `connection` if it is open, else on a new one."""
        before = 0
        try:
            async with asyncio.timeout(self.plan.timeout):
                if connection is None or not connection.open:
                    connection = await connect(self.plan.target, self._address)
                before = connection.received
                record.bytes_sent += len(request)
                answer = await connection.send(request, keep)
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        record.bytes_received += connection.received - before
        return connection, answer

    async def failed(self, phase: Phase, error: Exception) -> None:
        """Give up if there was no answer for too long; else pause (in a closed loop)."""
        kind = kind_of(error)
        slow = 2 * self.plan.timeout if kind == "timed out" else 0.0
        if phase.silence() >= max(self.plan.silence_timeout, slow):
            phase.give_up(f"no answer for {phase.silence():.0f} s, the last try: {kind}")
        if not self.plan.rate:
            await phase.pause(_BACK_OFF)


async def _tick(phase: Phase, on_progress: OnProgress) -> None:
    started = time.perf_counter()
    while True:
        await asyncio.sleep(_PROGRESS_EVERY)
        on_progress(phase.record, time.perf_counter() - started)


@contextmanager
def _on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Stop the test on Ctrl-C and SIGTERM (where the system and the thread allow it)."""
    loop = asyncio.get_running_loop()
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
