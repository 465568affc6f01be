"""Load test of tasks: submits tasks, polls them until they end, and checks their results.

Each picture counts as one request, from when its task was due to be submitted until the task was
seen to have ended. Every client has one task at a time.
"""

from __future__ import annotations

import asyncio
import json
import time
from array import array
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httptools
import numpy as np

from sightline.bench.answers import problem_type
from sightline.bench.client import Connection, HttpReply, kind_of
from sightline.bench.load import Load, OnProgress
from sightline.bench.phase import Phase, retry_after
from sightline.bench.plan import Plan
from sightline.bench.record import RequestOutcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

DONE = RequestOutcome(200)
LOST = RequestOutcome(0, "lost")
WRONG = RequestOutcome(0, "another picture's")
STUCK = RequestOutcome(0, "stuck")

_ENDED = frozenset({"completed", "error", "cancelled"})
_POLL = 1.0  # seconds between polls, without Retry-After
_HELD = 20.0  # seconds that the service may hold a response (long polling)
_NEAR = 0.05  # tolerance between answers to one picture: share of a box's side, and confidence
_UNMATCHED = (
    0.1  # share of boxes that may be in one answer only: near the threshold they come and go
)


class TaskLoad(Load):
    """A load test of `POST /predict`."""

    def __init__(self, plan: Plan, on_progress: OnProgress | None) -> None:
        super().__init__(plan, on_progress)
        self._submits: array[float] = array("d")
        self._batch = plan.batch or 1
        self._seen: dict[int, list[Any]] = {}
        self._progressed = time.perf_counter()

    def submits_ms(self) -> NDArray[np.float64]:
        """Latency of each accepted submission, from its first byte to its response, ms."""
        return np.array(self._submits) * 1000

    def begin(self) -> None:
        self._submits = array("d")

    async def request(
        self, phase: Phase, connection: Connection | None, index: int, due: float
    ) -> Connection | None:
        phase.record.sent += self._batch
        try:
            connection, outcomes, refusal = await self._task(phase, connection, index)
        except asyncio.CancelledError:
            phase.record.unfinished += self._batch
            raise
        except (OSError, httptools.HttpParserError) as error:
            for _ in range(self._batch):
                phase.note(due, RequestOutcome(0, kind_of(error)))
            await self.failed(phase, error)
            return None
        for outcome in outcomes:
            phase.note(due, outcome)
        if refusal is not None and not self.plan.rate and self.plan.wait:
            await phase.heed(refusal)
        return connection

    async def _task(
        self, phase: Phase, connection: Connection | None, index: int
    ) -> tuple[Connection, list[RequestOutcome], HttpReply | None]:
        """Run one task from its submission to its end; returns each picture's outcome."""
        wanted = [index * self._batch + number for number in range(self._batch)]
        files = [(str(number), self._picture(number)) for number in wanted]
        started = time.perf_counter()
        connection, answer = await self.send(
            connection, self.plan.encode_task(files), phase.record, keep=True
        )
        phase.heard()
        if answer.status != 201:
            return (
                connection,
                [RequestOutcome(answer.status, problem_type(answer))] * self._batch,
                answer,
            )
        self._submits.append(time.perf_counter() - started)
        where = urlsplit(answer.headers.get("location", "")).path
        connection, task = await self._poll(phase, connection, where)
        if isinstance(task, RequestOutcome):
            return connection, [task] * self._batch, None
        return connection, self._outcomes(task, wanted), None

    async def _poll(
        self, phase: Phase, connection: Connection, where: str
    ) -> tuple[Connection, dict[str, Any] | RequestOutcome]:
        """Poll until the task has ended; returns it, or an outcome if it cannot be fetched."""
        # Long polling until the end: the task is measured, not the polling interval.
        request = self.plan.result_request(f"{where}?wait={min(_HELD, self.plan.timeout / 2):g}")
        done = -1
        self._progressed = time.perf_counter()
        while True:
            sent = time.perf_counter()
            connection, answer = await self.send(connection, request, phase.record, keep=True)
            phase.heard()
            if answer.status == 200:
                task = json.loads(answer.body)
                if task["status"] in _ENDED:
                    return connection, task
                if task["progress"]["done"] != done:
                    done = task["progress"]["done"]
                    self._progressed = time.perf_counter()
            elif answer.status not in {429, 503}:
                return connection, RequestOutcome(answer.status, problem_type(answer))
            if time.perf_counter() - self._progressed > self.plan.timeout:
                return connection, STUCK
            if time.perf_counter() - sent < _POLL:  # the response was not held
                await asyncio.sleep(retry_after(answer) or _POLL)

    def _outcomes(self, task: dict[str, Any], wanted: list[int]) -> list[RequestOutcome]:
        """The outcome of each sent picture: its own result must be there exactly once."""
        results = task.get("results") or []
        return [
            self._outcome([one for one in results if one["index"] == place], number)
            for place, number in enumerate(wanted)
        ]

    def _outcome(self, results: list[dict[str, Any]], number: int) -> RequestOutcome:
        if len(results) != 1:
            return LOST
        (result,) = results
        if result["filename"] != str(number):
            return WRONG
        if result["status"] != "completed":
            problem = result.get("error") or {}
            kind = str(problem.get("type") or result["status"])[:200]
            return RequestOutcome(int(problem.get("status") or 0), kind)
        first = self._seen.setdefault(number % len(self.plan.pictures), result["detections"])
        return DONE if alike(first, result["detections"]) else WRONG

    def _picture(self, number: int) -> bytes:
        return self.plan.pictures[number % len(self.plan.pictures)].data


def alike(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    """Whether two answers may be of one picture: at least nine tenths of their boxes match."""
    unmatched = sum(
        not any(_same(found, twin) for twin in there)
        for here, there in ((one, other), (other, one))
        for found in here
    )
    return unmatched <= _UNMATCHED * (len(one) + len(other))


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if one["label"] != other["label"] or abs(one["confidence"] - other["confidence"]) > _NEAR:
        return False
    box, twin = one["bbox"], other["bbox"]
    far = 4 + _NEAR * max(box["x2"] - box["x1"], box["y2"] - box["y1"])
    return all(abs(box[side] - twin[side]) <= far for side in box)
