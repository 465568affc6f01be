"""Very many requests at once, and what came of them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import uvloop

from fuzz.client import Answer, Client, Wrong
from fuzz.requests import Request, build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fuzz.watch import Watched
    from support.processes import Usage

_CLIENTS = 12
_ENOUGH_FAILURES = 10


@dataclass
class Report:
    """What happened so far.

    Attributes:
        answers: how many of each status.
        kinds: of each kind of request, how many of each status.
        problems: of each problem type, the (status, title) that it came with.
        settled: what the server held after a fifth of the requests.
    """

    seed: int
    done: int = 0
    seconds: float = 0.0
    answers: Counter[int] = field(default_factory=Counter)
    kinds: Counter[tuple[str, int]] = field(default_factory=Counter)
    problems: dict[str, tuple[int, str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    settled: Usage | None = None

    def __str__(self) -> str:
        statuses = "  ".join(f"{status}: {count}" for status, count in sorted(self.answers.items()))
        return f"{self.done} requests, {self.done / max(self.seconds, 1e-9):.0f}/s   {statuses}"

    def note(self, request: Request, answers: Iterable[Answer]) -> None:
        self.done += 1
        for answer in answers:
            self.answers[answer.status] += 1
            self.kinds[request.kind, answer.status] += 1
            if answer.status >= 400 and answer.body:
                self._note_problem(answer)

    def _note_problem(self, answer: Answer) -> None:
        kind, title = answer.problem()
        told = (answer.status, title)
        if (known := self.problems.setdefault(kind, told)) != told:
            raise Wrong(f"{kind} was {known} before, and is {told} now")


def storm(
    server: Watched,
    seed: int,
    count: int,
    tell: Callable[[str], None] = lambda _: None,
    tell_seconds: float = 5,
) -> Report:
    """Send requests 0..count-1 of `seed`; ends early after a few failures."""
    report = Report(seed)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_storm(server, report, count, tell, tell_seconds))
    return report


async def _storm(
    server: Watched,
    report: Report,
    count: int,
    tell: Callable[[str], None],
    tell_seconds: float,
) -> None:
    indexes = iter(range(count))
    started = told = time.perf_counter()

    async def work() -> None:
        nonlocal told
        client = Client(server.host, server.port)
        for index in indexes:
            if len(report.failures) >= _ENOUGH_FAILURES:
                break
            await one(client, report, index)
            now = time.perf_counter()
            report.seconds = now - started
            if report.settled is None and report.done >= count / 5:
                report.settled = server.usage
            if now - told > tell_seconds:
                told = now
                tell(f"{report}   {server.usage}")
        await client.close()

    await asyncio.gather(*(work() for _ in range(_CLIENTS)))


async def one(client: Client, report: Report, index: int) -> None:
    """Send one request; what is wrong goes into the report, with what repeats it."""
    request = build(report.seed, index)
    try:
        report.note(request, await client.ask(request))
    except (Wrong, OSError) as error:
        await client.close()
        report.failures.append(
            f"{type(error).__name__}: {error}\n  {request.kind}, {request.framing.value}, "
            f"{len(request.data)} bytes: {shortened(request.data)}\n  again: PYTHONPATH=tests "
            f"{sys.executable} -m fuzz --seed {report.seed} --only {index}"
        )


def shortened(data: bytes, most: int = 600) -> str:
    """Escaped, its middle left out."""
    if len(data) <= most:
        return repr(data)
    return f"{data[: most * 2 // 3]!r} … {data[-most // 3 :]!r}"
